//! Registry settings that have no effect on the containerd whose behaviour is kept.

use std::collections::BTreeSet;

use crate::containerd::contents::PluginId;
use crate::containerd::file::ConfigFile;
use crate::containerd::release::{list, ranges};
use crate::finding::{self, Code, Findings, Place};
use crate::node::NodePath;
use crate::plan::placement::{Effect, Placement};
use crate::plan::planner::Planner;
use crate::plan::rules::names;
use crate::question::{Inert, Question};
use crate::secret::shown_url;

/// Findings about registry settings that are not in effect.
pub(crate) fn check_placements(planner: &Planner<'_>, findings: &mut Findings) {
    let disabled = planner.releases.iter().find_map(|release| {
        let startup = planner.inputs.startup(&release.sight);
        let reason = startup.reason().cloned();
        reason.filter(|reason| reason.code == &finding::CRI_DISABLED)
    });
    let says_something = |placement: &Placement<'_>| placement.registry.says_something();
    if let Some(reason) = disabled
        && planner.placements.iter().any(says_something)
    {
        findings.add(
            reason.code,
            reason.place,
            format!(
                "{}: nothing pulls with these registry settings",
                reason.text
            ),
            "they are carried all the same; if CRI is to be used, take it out of the list",
        );
    }
    // What was inert takes effect with `--inert carry`; what the target does not read is removed then.
    let carried = planner.inert.iter().filter(|_| planner.inputs.carries());
    let carried = carried.filter(|placement| placement.is_silenced());
    let mut said: BTreeSet<(&NodePath, PluginId)> = BTreeSet::new();
    for placement in carried.chain(&planner.placements) {
        // A file may have several names.
        if !said.insert((&placement.file.real, placement.id.1)) {
            continue;
        }
        // Of what a release takes at random that has been said.
        let mut sights = planner.verified().map(|release| &release.sight);
        if sights.any(|sight| {
            sight
                .by_chance
                .is_some_and(|ids| ids.contains(&placement.id))
        }) {
            continue;
        }
        check_placement(planner, placement, findings);
    }
    if planner.inputs.carries() {
        check_sent_credentials(planner, findings);
    }
}

fn check_placement(planner: &Planner<'_>, placement: &Placement<'_>, findings: &mut Findings) {
    let name = placement.section.id.name();
    let place = placement
        .section
        .registry_place
        .clone()
        .unwrap_or_else(|| placement.section.place.clone());
    match &placement.effect {
        Effect::Now | Effect::UnderAnotherName | Effect::Overruled => {}
        Effect::Never if !placement.registry.says_something() => {}
        Effect::Never => findings.add(
            &finding::INERT_SECTION,
            place,
            format!(
                "containerd {} does not read the registry settings under `{name}` in this file",
                list(&planner.inputs.versions(), "or")
            ),
            format!(
                "{}; they have no effect and are kept as they are",
                names::of_file(planner, placement.id.0)
            ),
        ),
        Effect::Idle => {
            let what = match planner.migrates() {
                true => "they are removed",
                false => "they are kept as they are",
            };
            findings.add(
                &finding::INERT_SECTION,
                place,
                format!(
                    "these TLS settings take effect nowhere: containerd {} does not read this section, and 2.x does not \
                     read `configs.*.tls`",
                    planner.inputs.from
                ),
                format!("{what}; write hosts files for these registries if they need the certificates"),
            );
            findings.hint_carry();
        }
        Effect::Later { code, versions } => {
            check_inert(
                planner,
                placement,
                code,
                ranges(versions.clone()),
                place,
                findings,
            );
        }
    }
}

/// Settings that `--inert` decides about.
fn check_inert(
    planner: &Planner<'_>,
    placement: &Placement<'_>,
    code: &'static Code,
    versions: String,
    place: Place,
    findings: &mut Findings,
) {
    let inputs = planner.inputs;
    let is_carried = planner.from.in_effect.contains(&placement.id);
    let reader = match is_carried {
        true => inputs.from,
        false => inputs.kept_version(),
    };
    let reads = if versions.contains([',', ' ']) {
        "do"
    } else {
        "does"
    };
    let message = format!(
        "containerd {reader} does not read these registry settings, but {versions} {reads}"
    );
    let question = Question::Inert;
    if inputs.carries() && !is_carried {
        let code = planner.inert_code().unwrap_or(code);
        let help = "what the target reads takes their place on every release";
        findings.add_answered(question, code, place, message, help);
        return;
    }
    let (why, by_hand) = why(planner, placement, code);
    let message = format!("{message}: {why}");
    // Credentials and headers are not migrated.
    let stays = placement.registry.config_path.is_none() && !placement.registry.has_legacy();
    let help = match inputs.options.inert {
        None => {
            let help = format!(
                "--inert drop: remove them, so that pulls stay as they are on {reader}; --inert carry: let them take \
                 effect on every release; {by_hand}"
            );
            findings.ask(question, code, place, message, help);
            return;
        }
        Some(Inert::Carry) if stays => format!(
            "they stay in this file, where containerd {} reads them and {reader} does not",
            inputs.kept_version()
        ),
        Some(Inert::Carry) => "they take effect on every release after the migration".to_owned(),
        Some(Inert::Drop) => {
            format!("they are removed, so that pulls stay as they are on {reader}")
        }
    };
    findings.add_answered(question, code, place, message, help);
}

/// Hosts whose credentials the target sends and the installed containerd does not.
fn check_sent_credentials(planner: &Planner<'_>, findings: &mut Findings) {
    let (kept, installed) = (&planner.from, &planner.installed);
    let mut hosts = kept.other_credentials(installed);
    hosts.retain(|host| kept.credentials(host).is_some());
    let mut sent = Vec::new();
    if !hosts.is_empty() {
        let names: Vec<String> = hosts
            .iter()
            .map(|host| format!("`{}`", shown_url(host)))
            .collect();
        sent.push(format!("credentials for {}", names.join(", ")));
    }
    if kept.headers() != installed.headers() && !kept.headers().is_empty() {
        sent.push("`registry.headers`".to_owned());
    }
    if sent.is_empty() {
        return;
    }
    let first = hosts.first();
    let config = first.and_then(|host| planner.legacy().config(host));
    findings.add(
        &finding::CREDENTIALS_SENT,
        config.map(|config| config.name.place.clone()),
        format!(
            "containerd {} sends {}, and {} does not today",
            planner.inputs.kept_version(),
            sent.join(" and "),
            planner.inputs.from
        ),
        "credentials are sent to hosts that ask for a login, headers to all; remove them first if that is not meant",
    );
}

/// Why a release does not read the settings, and what can be done by hand.
fn why(planner: &Planner<'_>, placement: &Placement<'_>, code: &Code) -> (String, String) {
    let name = placement.section.id.name();
    if code == &finding::VERSION_MISSING {
        let what = match version_below_a_table(placement.file) {
            true => "`version` is below a table and belongs to that",
            false => "the file has no `version`",
        };
        return (
            format!("{what}, and the CRI plugin of a version-1 file is not called `{name}`"),
            "or write `version = 2` into the first line".to_owned(),
        );
    }
    if code == &finding::VERSION_1 {
        return (
            "it drops the whole CRI section of a version-1 file".to_owned(),
            "or convert the file to version 2".to_owned(),
        );
    }
    if code == &finding::OTHER_PLUGIN_ID {
        return (
            format!("the CRI plugin is called `{name}` in files of another version"),
            "or move them under the name that fits".to_owned(),
        );
    }
    let last = planner
        .installed
        .last
        .and_then(|(index, _)| planner.configuration().files.get(index));
    let last = last.map_or_else(String::new, |loaded| loaded.file.path.to_string());
    if code == &finding::SECTION_SHADOWED {
        return (
            format!(
                "`{last}` is read later and has a section of the same plugin, which replaces this one on 1.x and is \
                 merged with it on 2.x"
            ),
            format!("or move them into `{last}`"),
        );
    }
    (
        "the imported files are not all of the same version".to_owned(),
        "or give every file the same `version`".to_owned(),
    )
}

/// Whether the file has its `version` in a table by mistake.
fn version_below_a_table(file: &ConfigFile) -> bool {
    file.toml
        .syntax
        .sections
        .iter()
        .filter(|section| section.header.is_some())
        .flat_map(|section| &section.entries)
        .any(|entry| matches!(entry.keys.as_slice(), [key] if key.name == "version"))
}
