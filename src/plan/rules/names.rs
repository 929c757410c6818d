//! The names of the CRI plugin: which of those in a file takes effect on which release.

use crate::containerd::contents::PluginId;
use crate::containerd::release::{Version, ranges};
use crate::finding::{self, Findings};
use crate::plan::planner::Planner;
use crate::read::Release;

/// Whose registry settings a release reads, of the names in one file.
#[derive(Clone, PartialEq, Eq)]
enum Read {
    /// Those of these names.
    Names(Vec<PluginId>),
    /// Those of one of the two names of a version-1 file, at random.
    Either,
}

/// Files in which 2.x takes one of two sections at random.
pub(crate) fn check(planner: &Planner<'_>, findings: &mut Findings) {
    let sights = planner.verified().map(|release| &release.sight);
    let mut by_chance: Vec<usize> = sights
        .filter_map(|sight| sight.by_chance.map(|[(file, _), _]| file))
        .collect();
    by_chance.sort_unstable();
    by_chance.dedup();
    for file in by_chance {
        let Some(loaded) = planner.configuration().files.get(file) else {
            continue;
        };
        let contents = loaded.contents(planner.behaviour().major);
        let Some(section) = contents.section(PluginId::Grpc) else {
            continue;
        };
        findings.add(
            &finding::SAME_PLUGIN_TWICE,
            section.place.clone(),
            format!(
                "`{}` and `{}` are two names of the CRI plugin: {}",
                PluginId::Cri.name(),
                section.id.name(),
                phrase(planner, |release| match read(release, file) {
                    // Which section it is, whether or not that has registry settings.
                    Read::Names(_) => {
                        let last = release.sight.last.filter(|(at, _)| *at == file);
                        Read::Names(last.map(|(_, id)| id).into_iter().collect())
                    }
                    Read::Either => Read::Either,
                })
            ),
            "move all settings that are meant under one of the two names, and remove the other table",
        );
    }
}

/// Which name the plugin has in a file, as a phrase: of several that there are, which of them which release reads.
pub(crate) fn of_file(planner: &Planner<'_>, file: usize) -> String {
    let loaded = planner.configuration().files.get(file);
    let Some(contents) = loaded.map(|loaded| loaded.contents(planner.behaviour().major)) else {
        return String::new();
    };
    let with_registry = contents.sections.iter().filter(|s| s.registry.is_some());
    if with_registry.count() > 1 {
        return phrase(planner, |release| read(release, file));
    }
    let name = PluginId::of_version(contents.version).name();
    match contents.version {
        0 => format!("in a file without a version the CRI plugin is called `{name}`"),
        version => format!("in a file of version {version} the CRI plugin is called `{name}`"),
    }
}

fn phrase(planner: &Planner<'_>, read: impl Fn(&Release) -> Read) -> String {
    let mut readers: Vec<(Read, Vec<Version>)> = Vec::new();
    for release in planner.releases {
        let read = read(release);
        let versions = &release.generation.versions;
        match readers.iter_mut().find(|(other, _)| *other == read) {
            Some((_, known)) => known.extend(versions),
            None => readers.push((read, versions.clone())),
        }
    }
    let parts: Vec<String> = readers
        .into_iter()
        .map(|(read, versions)| {
            let reads = if versions.len() == 1 { "reads" } else { "read" };
            let what = match read {
                Read::Either => format!("{reads} one of the two, at random, at each start"),
                Read::Names(names) if names.is_empty() => format!("{reads} none of them"),
                Read::Names(names) => {
                    let names: Vec<String> =
                        names.iter().map(|id| format!("`{}`", id.name())).collect();
                    format!("{reads} {}", names.join(" and "))
                }
            };
            format!("{} {what}", ranges(versions))
        })
        .collect();
    format!("containerd {}", parts.join(", "))
}

fn read(release: &Release, file: usize) -> Read {
    let sight = &release.sight;
    if sight.by_chance.is_some_and(|[(at, _), _]| at == file) {
        return Read::Either;
    }
    let in_file = sight.in_effect.iter().filter(|(at, _)| *at == file);
    Read::Names(in_file.map(|(_, id)| *id).collect())
}
