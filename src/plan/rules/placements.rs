//! Registry settings that have no effect on the containerd whose behaviour is kept.

use std::collections::BTreeSet;

use crate::containerd::contents::PluginId;
use crate::containerd::file::ConfigFile;
use crate::containerd::release::{list, ranges};
use crate::finding::{self, Code, Decision, Findings};
use crate::node::NodePath;
use crate::plan::placement::{Effect, Placement};
use crate::plan::planner::Planner;
use crate::plan::rules::names;

/// Findings about registry settings that are not in effect.
pub(crate) fn check_placements(planner: &Planner<'_>, findings: &mut Findings) {
    let from = planner.inputs.from;
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
    let mut said: BTreeSet<(&NodePath, PluginId)> = BTreeSet::new();
    for placement in &planner.placements {
        // A file may have several names.
        if !said.insert((&placement.file.real, placement.id.1)) {
            continue;
        }
        let place = placement
            .section
            .registry_place
            .clone()
            .unwrap_or_else(|| placement.section.place.clone());
        let name = placement.section.id.name();
        // Of what a release takes at random that has been said.
        let mut sights = planner.verified().map(|release| &release.sight);
        if sights.any(|sight| {
            sight
                .by_chance
                .is_some_and(|ids| ids.contains(&placement.id))
        }) {
            continue;
        }
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
            Effect::Later { code, versions } => {
                let versions = ranges(versions.clone());
                let (why, mut help) = why(planner, placement, code);
                if let Decision::Allow(_) = code.decision {
                    help.push_str(&format!(
                        "; --allow {} removes them, so that pulls stay as they are on {from}",
                        code.name
                    ));
                }
                let message = format!(
                    "containerd {from} does not read these registry settings, but {versions} would: {why}"
                );
                findings.add(code, place, message, help);
            }
        }
    }
}

fn why(planner: &Planner<'_>, placement: &Placement<'_>, code: &Code) -> (String, String) {
    let name = placement.section.id.name();
    if code == &finding::VERSION_MISSING {
        let below = version_below_a_table(placement.file);
        let help = "put `version = 2` into the first line if they are meant to count, and try that on one node first";
        return (
            format!(
                "{}, and `{name}` is not the name that the plugin has in a version-1 file",
                if below {
                    "`version` stands below a table and belongs to that"
                } else {
                    "the file has no `version`"
                }
            ),
            help.to_owned(),
        );
    }
    if code == &finding::VERSION_1 {
        return (
            "it drops the whole CRI section of a version-1 file".to_owned(),
            "name the containerd that they were written for: --from 1.7 keeps what it did with them".to_owned(),
        );
    }
    if code == &finding::OTHER_PLUGIN_ID {
        return (
            format!("`{name}` is the name that the plugin has in a file of another version"),
            "move them under the name that fits, if they are meant to count".to_owned(),
        );
    }
    let last = planner
        .from
        .last
        .and_then(|(index, _)| planner.configuration().files.get(index));
    let last = last.map_or_else(String::new, |loaded| loaded.file.path.to_string());
    if code == &finding::SECTION_SHADOWED {
        return (
            format!(
                "`{last}` has a section of the same plugin and is read later, which replaces this one on 1.x and is merged with it on 2.x"
            ),
            format!("--from 2.0 keeps what the merged settings do; or move them into `{last}`"),
        );
    }
    (
        "the imported files are not all of the same version".to_owned(),
        "give every file the same `version`".to_owned(),
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
