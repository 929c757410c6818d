//! What the configuration files say that no two releases read alike, or that keeps the daemon from starting.

use crate::containerd::contents::PluginSection;
use crate::containerd::file::ConfigFile;
use crate::containerd::legacy::unmatchable;
use crate::containerd::release::Major;
use crate::finding::{self, Findings};
use crate::plan::placement::Effect;
use crate::plan::planner::Planner;
use crate::secret::shown_url;
use crate::toml::edit;
use crate::toml::syntax::Key;

/// Findings about what the files say that nobody reads alike, or that keeps the daemon from starting.
pub(crate) fn check_contents(planner: &Planner<'_>, findings: &mut Findings) {
    let mut readers: Vec<Major> = planner.generations().map(|g| g.behaviour.major).collect();
    readers.dedup();
    for (index, loaded) in planner.configuration().files.iter().enumerate() {
        let contents = loaded.contents(planner.behaviour().major);
        if !(0..=4).contains(&contents.version) {
            // What newer files look like, nobody knows.
            findings.add(
                &finding::UNSUPPORTED_VERSION,
                loaded.file.version_place(),
                format!("no containerd reads a config.toml of version {}", contents.version),
                "fix the number: containerd knows the versions 1 to 4; for a newer one you need a newer release of this program",
            );
        }
        if readers.contains(&Major::One) {
            check_escapes(&loaded.file, findings);
        }
        for case in loaded.cases(&readers) {
            case.report(findings);
        }
        let counts = |section: &&PluginSection| {
            let mut placements = planner.placements.iter();
            placements.all(|placement| {
                placement.id != (index, section.id) || !matches!(placement.effect, Effect::Never)
            })
        };
        let sections = contents.sections.iter().filter(counts);
        for error in contents
            .errors
            .iter()
            .chain(sections.flat_map(|section| &section.errors))
        {
            let reads_tls = planner
                .generations()
                .any(|g| g.behaviour.reads_legacy_tls());
            let help = if error.in_tls && !reads_tls {
                "it cannot be carried over; fix the value"
            } else {
                "containerd does not start with this value; fix it"
            };
            error.report(help, findings);
        }
    }
}

/// go-toml v1 takes escapes in the quoted name of a table as they are (docs/containerd.md §7.2).
fn check_escapes(file: &ConfigFile, findings: &mut Findings) {
    let headers = file
        .toml
        .syntax
        .sections
        .iter()
        .filter_map(|section| section.header.as_ref());
    let plugins =
        headers.filter(|header| header.keys.first().is_some_and(|key| key.name == "plugins"));
    // To 1.x the name has a backslash, so that it is no registry's; it may be none to 2.x, either.
    let of_registry = |above: &Key| ["mirrors", "configs"].contains(&above.name.as_str());
    let pairs = plugins.flat_map(|header| {
        let above = std::iter::once(None).chain(header.keys.iter().map(Some));
        above.zip(&header.keys)
    });
    for (above, key) in pairs {
        if above.is_some_and(of_registry) && unmatchable(&key.name).is_some() {
            continue;
        }
        let raw = file.toml.text.get(key.range.clone()).unwrap_or_default();
        if raw.starts_with('"') && raw.contains('\\') {
            findings.add(
                &finding::KEY_CASE,
                file.place(key.range.clone()),
                "containerd 2.x decodes the escape sequence in this name, 1.x does not: it is another name to each",
                format!("write the name without an escape sequence: {}", edit::quote(&shown_url(&key.name), true)),
            );
        }
    }
}
