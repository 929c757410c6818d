//! Releases that the plan is not verified for and that do something else: older patches, and the lines that a direct
//! upgrade skips. They are warnings.

use std::collections::{BTreeMap, BTreeSet};

use crate::containerd::loader::{Reason, Startup};
use crate::containerd::release::{Version, ranges, runs};
use crate::finding::{self, Findings, Place};
use crate::read::{Inputs, Release};

/// Which releases do something else, and what.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// All of them, also those that something else is said about.
    different: BTreeSet<Version>,
    /// What those do that nothing else is said about.
    said: BTreeMap<Version, Said>,
}

/// What a release does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// The first thing, as a phrase.
    what: String,
    place: Option<Place>,
    /// How many more there are.
    more: usize,
}

impl Others {
    /// These releases do something else, which is said elsewhere.
    pub(crate) fn note<'v>(&mut self, versions: impl IntoIterator<Item = &'v Version>) {
        self.different.extend(versions);
    }

    /// These releases do something else.
    pub(crate) fn say(&mut self, versions: &[Version], what: &str, place: Option<&Place>) {
        self.note(versions);
        for version in versions {
            let first = || Said {
                what: what.to_owned(),
                place: place.cloned(),
                more: 0,
            };
            let said = self.said.entry(*version);
            said.and_modify(|said| said.more += 1).or_insert_with(first);
        }
    }

    /// A finding for each group of releases that do the same. `when` is with which files.
    pub(crate) fn report(self, inputs: &Inputs, when: &str, findings: &mut Findings) {
        let known = inputs.releases.iter();
        let known: BTreeSet<Version> = known
            .flat_map(|release: &Release| release.generation.versions.iter().copied())
            .collect();
        for run in runs(self.different.iter().copied().collect()) {
            let mut groups: Vec<(&Said, Vec<Version>)> = Vec::new();
            for version in &run {
                let Some(said) = self.said.get(version) else {
                    continue;
                };
                match groups.iter_mut().find(|(known, _)| *known == said) {
                    Some((_, versions)) => versions.push(*version),
                    None => groups.push((said, vec![*version])),
                }
            }
            let last = run.last().copied();
            let first_good = last.and_then(|last| known.iter().find(|version| **version > last));
            // The newest target is among them, and what it does is said in its own right.
            let Some(good) = first_good else {
                continue;
            };
            let help = format!("{good} is the first later release with the same pulls");
            for (said, versions) in groups {
                let more = match said.more {
                    0 => String::new(),
                    1 => "; and 1 more difference".to_owned(),
                    more => format!("; and {more} more differences"),
                };
                findings.add(
                    &finding::INTERMEDIATE_VERSION,
                    said.place.clone(),
                    format!(
                        "{when}, pulls on containerd {} are not those on {}: {}{more}",
                        ranges(versions),
                        inputs.from,
                        said.what
                    ),
                    help.as_str(),
                );
            }
        }
    }
}

/// How far a daemon gets that does not get up, as a phrase.
pub(crate) fn phrase(startup: &Startup, reason: &Reason) -> String {
    let what = match startup {
        Startup::CriDisabled(_) => "CRI is disabled",
        Startup::CriFails(_) => "CRI does not load",
        Startup::DoesNotStart(_) | Startup::Loads => "the daemon does not start",
    };
    format!("{what}: {}", reason.text)
}
