//! The CRI plugin's tables of all files: which of them take effect today, and which would after the upgrade.

use crate::containerd::configuration::Configuration;
use crate::containerd::contents::{PluginId, PluginSection};
use crate::containerd::file::ConfigFile;
use crate::containerd::loader::SectionId;
use crate::containerd::registry::Registry;
use crate::containerd::release::{Merging, Version};
use crate::containerd::sight::Sight;
use crate::finding::{self, Code};
use crate::read::{Inputs, Release};

/// A table of the CRI plugin that has registry settings, and when they take effect.
pub(crate) struct Placement<'i> {
    /// Which one it is.
    pub id: SectionId,
    pub file: &'i ConfigFile,
    /// The version that the file says it has; 0 if it says none.
    pub version: i64,
    pub section: &'i PluginSection,
    pub registry: &'i Registry,
    pub effect: Effect,
}

/// When a section's registry settings take effect.
pub(crate) enum Effect {
    /// They take effect on the containerd whose behaviour is kept.
    Now,
    /// They take effect on a target only, and perhaps on other later versions, because of what the code says.
    Later {
        code: &'static Code,
        versions: Vec<Version>,
    },
    /// They take effect under another name of the file.
    UnderAnotherName,
    /// Some version reads them, but another file says the same again there.
    Overruled,
    /// Some version reads the section, but its settings are TLS settings alone, which none of those looks at.
    Idle,
    /// Neither `--from` nor a target reads them.
    Never,
}

impl Placement<'_> {
    /// Whether its whole registry table is removed, so that it does not take effect later.
    pub(crate) fn is_silenced(&self) -> bool {
        matches!(self.effect, Effect::Later { .. })
    }
}

/// All sections with registry settings, by file and name.
pub(crate) fn placements<'i>(inputs: &'i Inputs, from: &Sight) -> Vec<Placement<'i>> {
    let configuration = inputs.snapshot.configuration();
    let releases = &inputs.releases;
    let mut placements = Vec::new();
    for (index, loaded) in configuration.files.iter().enumerate() {
        let contents = loaded.contents(from.behaviour.major);
        for section in &contents.sections {
            let Some(registry) = &section.registry else {
                continue;
            };
            let id = (index, section.id);
            let mut reads: Vec<&Release> = releases
                .iter()
                .filter(|release| release.sight.in_effect.contains(&id))
                .collect();
            if !reads.iter().any(|release| release.is_verified()) {
                // What no target reads is left alone, whatever a release makes of it that is skipped.
                reads.clear();
            }
            // Even an empty table of an older name replaces the newer one's where it is migrated.
            let replaces = contents.version >= 3 && section.id != PluginId::Images;
            let counted = reads.iter().copied().filter(|release| {
                replaces || counts(registry, &release.sight, from, configuration)
            });
            let versions = versions(counted);
            let effect = if from.in_effect.contains(&id) {
                Effect::Now
            } else if from.takes_effect_by_another_name(configuration, id) {
                Effect::UnderAnotherName
            } else if let Some(versions) = versions
                && (registry.says_something() || replaces)
            {
                // On 1.x all files together have one version.
                let version = match from.behaviour.merging {
                    Merging::Sections => from.version,
                    Merging::KeysThenMigration | Merging::MigrationThenKeys => contents.version,
                };
                let is_shadowed = from.last.is_some_and(|(_, id)| id == section.id);
                let code = if section.id == PluginId::Cri
                    && contents.version <= 1
                    && from.behaviour.loses_version_1
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
                Effect::Later { code, versions }
            } else if reads.is_empty() {
                Effect::Never
            } else if registry.has_legacy() {
                Effect::Idle
            } else {
                Effect::Overruled
            };
            placements.push(Placement {
                id,
                file: &loaded.file,
                version: contents.version,
                section,
                registry,
                effect,
            });
        }
    }
    let numbered = placements.iter().enumerate();
    let uncovered: Vec<(usize, Vec<Version>)> = numbered
        .filter_map(|(index, one)| Some((index, uncovered(one, &placements, from, releases)?)))
        .collect();
    for (index, versions) in uncovered {
        if let Some(placement) = placements.get_mut(index) {
            let code = &finding::MIXED_VERSIONS;
            placement.effect = Effect::Later { code, versions };
        }
    }
    placements
}

/// The versions for which a table of the newer name takes effect when those of the older name, whose registry settings
/// replace its own, go: 2.0 to 2.2 put all files together first, newer ones look at each file by itself. In the last
/// file the older one stays, if it takes `config_path`.
fn uncovered(
    placement: &Placement<'_>,
    placements: &[Placement<'_>],
    from: &Sight,
    releases: &[Release],
) -> Option<Vec<Version>> {
    let (file, id) = placement.id;
    let is_read =
        |other: &Placement<'_>| matches!(other.effect, Effect::Now | Effect::Later { .. });
    if id != PluginId::Images || is_read(placement) || !placement.registry.says_something() {
        return None;
    }
    let goes = |other: &Placement<'_>| {
        other.is_silenced()
            || matches!(other.effect, Effect::Now)
                && (from.last != Some(other.id) || from.registry().config_path_stays())
                && other.registry.is_all_legacy()
    };
    let reads = releases.iter().filter(|release| {
        let mut covers = placements
            .iter()
            .filter(|other| other.id.1 != id && release.sight.in_effect.contains(&other.id));
        match release.generation.behaviour.merging {
            Merging::Sections => false,
            Merging::KeysThenMigration => covers.clone().next().is_some() && covers.all(goes),
            Merging::MigrationThenKeys => covers.any(|other| other.id.0 == file && goes(other)),
        }
    });
    versions(reads)
}

/// The versions of these releases, if the plan is verified for one of them.
fn versions<'r>(releases: impl Iterator<Item = &'r Release>) -> Option<Vec<Version>> {
    let mut is_verified = false;
    let mut versions = Vec::new();
    for release in releases {
        is_verified |= release.is_verified();
        versions.extend(&release.generation.versions);
    }
    is_verified.then_some(versions)
}

/// Whether a section that takes effect in `sight` adds anything: a `config_path` that a later file sets again, or clears, does
/// not, as long as that file's is in effect today and stays.
fn counts(registry: &Registry, sight: &Sight, from: &Sight, configuration: &Configuration) -> bool {
    let place = |registry: &Registry| {
        let set = registry.config_path.as_ref().map(|path| path.place.clone());
        set.or_else(|| registry.cleared_config_path.clone())
    };
    let decider = place(sight.registry());
    let decides = |registry: &Registry| decider.is_some() && place(registry) == decider;
    let mut today = from.in_effect.iter().filter_map(|(index, id)| {
        let loaded = configuration.files.get(*index)?;
        let contents = loaded.contents(from.behaviour.major);
        contents.section(*id)?.registry.as_ref()
    });
    registry.config_path.is_some() && (decides(registry) || !today.any(|other| decides(other)))
        || registry.says_more_to(&sight.behaviour)
}
