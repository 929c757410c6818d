//! The CRI plugin's tables of all files: which of them are in effect today, which would come alive after the upgrade,
//! and what goes of each.

use std::collections::BTreeSet;

use super::Planner;
use crate::containerd::contents::{Contents, PluginId, Section};
use crate::containerd::file::ConfigFile;
use crate::containerd::registry::Registry;
use crate::containerd::release::{Merging, TomlReader, Version, ranges};
use crate::containerd::sight::{SectionId, View};
use crate::finding::{self, Code, Decision, Findings};
use crate::node::NodePath;
use crate::read::Inputs;
use crate::toml::edit;

/// A table of the CRI plugin that has registry settings, and what they are worth.
pub(super) struct Placement<'i> {
    /// Which one it is.
    pub(super) id: SectionId,
    pub(super) file: &'i ConfigFile,
    pub(super) section: &'i Section,
    pub(super) registry: &'i Registry,
    pub(super) worth: Worth,
}

/// What a section's registry settings are worth.
pub(super) enum Worth {
    /// They are in effect for the containerd whose behaviour is kept.
    Live,
    /// They are not, but are for later versions, because of what the code says.
    ComesAlive {
        code: &'static Code,
        versions: Vec<Version>,
    },
    /// They are in effect by another name of the file.
    SameAs,
    /// Some version reads them, but another file says the same again there.
    Overruled,
    /// No version on the way reads them.
    Dead,
}

impl Placement<'_> {
    /// Whether its whole registry table goes, because it must stay as dead as it is.
    pub(super) fn is_silenced(&self) -> bool {
        matches!(self.worth, Worth::ComesAlive { .. })
    }
}

/// All sections with registry settings, by file and name.
pub(super) fn placements(inputs: &Inputs) -> Vec<Placement<'_>> {
    let views = &inputs.views;
    let mut placements = Vec::new();
    for (index, loaded) in inputs.configuration.files.iter().enumerate() {
        let contents = loaded.contents(inputs.behaviour().toml);
        for section in &contents.sections {
            let Some(registry) = &section.registry else {
                continue;
            };
            let id = (index, section.id);
            let live: Vec<_> = views
                .iter()
                .filter(|(_, view)| view.live.contains(&id))
                .collect();
            let versions: Vec<Version> = live
                .iter()
                .filter(|(_, view)| counts(registry, view, inputs))
                .flat_map(|(generation, _)| generation.versions.iter().copied())
                .collect();
            // Even an empty table of an older name replaces the newer one's where it is migrated.
            let replaces = contents.version >= 3 && section.id != PluginId::Images;
            let worth = if inputs.view.live.contains(&id) {
                Worth::Live
            } else if inputs
                .view
                .is_live_by_another_name(&inputs.configuration, id)
            {
                Worth::SameAs
            } else if !versions.is_empty() && (registry.says_something() || replaces) {
                // On 1.x all files together have one version.
                let version = match inputs.behaviour().merging {
                    Merging::Sections => inputs.view.version,
                    Merging::KeysThenMigration | Merging::MigrationThenKeys => contents.version,
                };
                let is_shadowed = inputs.view.last.is_some_and(|(_, id)| id == section.id);
                let code = if section.id == PluginId::Cri
                    && contents.version <= 1
                    && inputs.behaviour().loses_version_1
                {
                    &finding::VERSION_1
                } else if section.id == PluginId::of_version(version) && is_shadowed {
                    &finding::SECTION_SHADOWED
                } else if contents.version == 0 && section.id != PluginId::Cri {
                    &finding::VERSION_MISSING
                } else if section.id == PluginId::of_version(contents.version) {
                    &finding::MIXED_VERSIONS
                } else {
                    &finding::OTHER_PLUGIN_ID
                };
                Worth::ComesAlive { code, versions }
            } else if live.is_empty() {
                Worth::Dead
            } else {
                Worth::Overruled
            };
            placements.push(Placement {
                id,
                file: &loaded.file,
                section,
                registry,
                worth,
            });
        }
    }
    let numbered = placements.iter().enumerate();
    let uncovered: Vec<(usize, Vec<Version>)> = numbered
        .filter_map(|(index, one)| Some((index, uncovered(one, &placements, inputs)?)))
        .collect();
    for (index, versions) in uncovered {
        if let Some(placement) = placements.get_mut(index) {
            let code = &finding::MIXED_VERSIONS;
            placement.worth = Worth::ComesAlive { code, versions };
        }
    }
    placements
}

/// The versions for which a table of the newer name comes alive when those of the older name, whose registry settings
/// replace its own, go: 2.0 to 2.2 put all files together first, newer ones look at each file by itself. In the last
/// file the older one stays, if it takes `config_path`.
fn uncovered(
    placement: &Placement<'_>,
    placements: &[Placement<'_>],
    inputs: &Inputs,
) -> Option<Vec<Version>> {
    let (file, id) = placement.id;
    let is_read =
        |other: &Placement<'_>| matches!(other.worth, Worth::Live | Worth::ComesAlive { .. });
    if id != PluginId::Images || is_read(placement) || !placement.registry.says_something() {
        return None;
    }
    let goes = |other: &Placement<'_>| {
        other.is_silenced()
            || matches!(other.worth, Worth::Live)
                && (inputs.view.last != Some(other.id) || inputs.registry.config_path_stays())
                && other.registry.is_all_legacy()
    };
    let reads = inputs.views.iter().filter(|(generation, view)| {
        let mut covers = placements
            .iter()
            .filter(|other| other.id.1 != id && view.live.contains(&other.id));
        match generation.behaviour.merging {
            Merging::Sections => false,
            Merging::KeysThenMigration => covers.clone().next().is_some() && covers.all(goes),
            Merging::MigrationThenKeys => covers.any(|other| other.id.0 == file && goes(other)),
        }
    });
    let versions: Vec<Version> = reads
        .flat_map(|(generation, _)| generation.versions.clone())
        .collect();
    (!versions.is_empty()).then_some(versions)
}

/// Whether a section that is live in `view` adds anything: a `config_path` that a later file sets again, or clears, does
/// not, as long as that file's is in effect today and stays.
fn counts(registry: &Registry, view: &View, inputs: &Inputs) -> bool {
    let place = |registry: &Registry| {
        let set = registry.config_path.as_ref().map(|path| path.place.clone());
        set.or_else(|| registry.cleared_config_path.clone())
    };
    let decider = place(&view.registry);
    let decides = |registry: &Registry| decider.is_some() && place(registry) == decider;
    let mut live_today = inputs.view.live.iter().filter_map(|(index, id)| {
        let loaded = inputs.configuration.files.get(*index)?;
        let contents = loaded.contents(inputs.behaviour().toml);
        contents.section(*id)?.registry.as_ref()
    });
    registry.config_path.is_some() && (decides(registry) || !live_today.any(decides))
        || registry.says_more_than_config_path()
}

impl Planner<'_> {
    /// Findings about what the files say that nobody reads alike, or that keeps the daemon from starting.
    pub(super) fn check_contents(&self, findings: &mut Findings) {
        let mut readers: Vec<TomlReader> = self.generations().map(|g| g.behaviour.toml).collect();
        readers.dedup();
        for (index, loaded) in self.inputs.configuration.files.iter().enumerate() {
            let contents = loaded.contents(self.inputs.behaviour().toml);
            if !(0..=4).contains(&contents.version) {
                // What newer files look like, nobody knows.
                findings.add(
                    &finding::UNSUPPORTED_VERSION,
                    loaded.file.version_place(),
                    format!("config.toml of version {}", contents.version),
                    "containerd knows the versions 1 to 4; a newer file needs a newer release of this program",
                );
            }
            if readers.contains(&TomlReader::Two) {
                check_names(contents, findings);
            }
            if readers.contains(&TomlReader::One) {
                check_escapes(&loaded.file, findings);
            }
            for case in Contents::of(&loaded.file, &readers).cases {
                case.report(findings);
            }
            let counts = |section: &&Section| {
                let mut placements = self.placements.iter();
                placements.all(|placement| {
                    placement.id != (index, section.id) || !matches!(placement.worth, Worth::Dead)
                })
            };
            let sections = contents.sections.iter().filter(counts);
            for error in contents
                .errors
                .iter()
                .chain(sections.flat_map(|section| &section.errors))
            {
                let reads_tls = self.generations().any(|g| g.behaviour.legacy_tls);
                let help = if error.in_tls && !reads_tls {
                    "it cannot be carried as it is; mend it"
                } else {
                    "containerd does not start with this value; mend it"
                };
                error.report(help, findings);
            }
        }
    }

    /// Findings about registry settings that are not in effect.
    pub(super) fn check_placements(&self, findings: &mut Findings) {
        let from = self.inputs.from;
        let disabled = self.inputs.views.iter().find_map(|(_, view)| {
            view.state
                .reason()
                .filter(|reason| reason.code == &finding::CRI_DISABLED)
                .cloned()
        });
        let says_something = |placement: &Placement<'_>| placement.registry.says_something();
        if let Some(reason) = disabled
            && self.placements.iter().any(says_something)
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
        for placement in &self.placements {
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
            match &placement.worth {
                Worth::Live | Worth::SameAs | Worth::Overruled => {}
                Worth::Dead if !placement.registry.says_something() => {}
                Worth::Dead => findings.add(
                    &finding::INERT_SECTION,
                    place,
                    format!(
                        "no containerd from {from} to {} reads the registry settings under `{name}` in this file",
                        self.inputs.options.to
                    ),
                    "they have no effect, today or afterwards, and stay as they are",
                ),
                Worth::ComesAlive { code, versions } => {
                    let versions = ranges(versions.clone());
                    let (why, mut help) = self.why(placement, code);
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

    fn why(&self, placement: &Placement<'_>, code: &Code) -> (String, String) {
        let name = placement.section.id.name();
        if code == &finding::VERSION_MISSING {
            let below = self.version_below_a_table(placement.file);
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
        let last = self
            .inputs
            .view
            .last
            .and_then(|(index, _)| self.inputs.configuration.files.get(index));
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
    fn version_below_a_table(&self, file: &ConfigFile) -> bool {
        file.syntax
            .sections
            .iter()
            .filter(|section| section.header.is_some())
            .flat_map(|section| &section.entries)
            .any(|entry| matches!(entry.keys.as_slice(), [key] if key.name == "version"))
    }

    /// The key paths that go from one file: of sections in effect `mirrors`, every `configs.*.tls`, and those of their
    /// parents that are empty by that; of sections that would come alive all registry settings.
    pub(super) fn removed(&self, file: usize) -> Vec<Vec<String>> {
        let mut removed = Vec::new();
        for placement in self
            .placements
            .iter()
            .filter(|placement| placement.id.0 == file)
        {
            match placement.worth {
                Worth::Live => removed_legacy(placement, &mut removed),
                Worth::ComesAlive { .. } => removed.push(placement.section.spelling.table.to_vec()),
                Worth::SameAs | Worth::Overruled | Worth::Dead => {}
            }
        }
        removed
    }
}

/// 2.x gives the plugins of a version-1 file their newer names, in the order of a Go map
/// (`cmd/containerd/server/config/config.go@v2.0.11`, `v1Migrate`).
fn check_names(contents: &Contents, findings: &mut Findings) {
    let sections = [PluginId::Cri, PluginId::Grpc].map(|id| contents.section(id));
    let [Some(older), Some(newer)] = sections else {
        return;
    };
    let mut registries = [older, newer]
        .into_iter()
        .filter_map(|s| s.registry.as_ref());
    if contents.version <= 1 && registries.any(Registry::says_something) {
        findings.add(
            &finding::SAME_PLUGIN_TWICE,
            newer.place.clone(),
            "`cri` and this are names of one plugin in a file of version 1, and containerd 2.x takes one of them at random",
            "put what is meant under one name",
        );
    }
}

/// go-toml v1 takes escapes in the quoted name of a table as they are (semantics §7.2).
fn check_escapes(file: &ConfigFile, findings: &mut Findings) {
    let headers = file
        .syntax
        .sections
        .iter()
        .filter_map(|section| section.header.as_ref());
    let plugins =
        headers.filter(|header| header.keys.first().is_some_and(|key| key.name == "plugins"));
    for key in plugins.flat_map(|header| &header.keys) {
        let raw = file.text.get(key.range.clone()).unwrap_or_default();
        if raw.starts_with('"') && raw.contains('\\') {
            findings.add(
                &finding::KEY_CASE,
                file.place(key.range.clone()),
                "containerd 1.x does not decode the escape in this name, and 2.x does: it is not the same name to both",
                format!("write the name without an escape: {}", edit::quote(&key.name, true)),
            );
        }
    }
}

fn removed_legacy(placement: &Placement<'_>, removed: &mut Vec<Vec<String>>) {
    let (registry, spelling) = (placement.registry, &placement.section.spelling);
    let below = |names: &[&str]| -> Vec<String> {
        spelling
            .table
            .iter()
            .map(String::as_str)
            .chain(names.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    if let Some(key) = spelling.mirrors.as_deref()
        && registry.has_legacy()
    {
        removed.push(below(&[key]));
    }
    let Some(key) = spelling.configs.as_deref() else {
        return;
    };
    let configs = &registry.configs;
    if !configs.is_empty()
        && configs
            .iter()
            .all(|config| config.tls.is_some() && !config.has_more)
    {
        removed.push(below(&[key]));
        return;
    }
    for config in configs.iter().filter(|config| config.tls.is_some()) {
        let name = config.name.value.as_str();
        removed.push(if config.has_more {
            below(&[key, name, &config.tls_key])
        } else {
            below(&[key, name])
        });
    }
}
