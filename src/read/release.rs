//! The releases that a node is looked at with: the installed one, the targets, and every known one between them.

use std::rc::Rc;

use crate::containerd::release::{Generation, Version, generations};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;

/// Known releases from `--from` to the newest target that behave alike, and what they make of the node as it is.
///
/// A plan is made and verified for `--from` and the targets. The other releases are looked at: what they do differently
/// is a warning, and never keeps a plan from being written.
#[derive(Clone, Debug)]
pub struct Release {
    /// The releases.
    pub generation: Generation,
    /// What they make of the node.
    pub sight: Rc<Sight>,
    /// Whether the one whose behaviour is kept is among them.
    pub is_from: bool,
    /// The targets among them, oldest first.
    pub targets: Vec<Version>,
}

impl Release {
    /// All of them, oldest first.
    pub(super) fn all(snapshot: &Snapshot, from: Version, targets: &[Version]) -> Vec<Self> {
        let newest = targets.iter().copied().max().unwrap_or(from);
        generations(from, newest)
            .into_iter()
            .map(|generation| Self {
                sight: snapshot.seen_by(&generation.behaviour),
                is_from: generation.versions.contains(&from),
                targets: targets
                    .iter()
                    .filter(|target| generation.versions.contains(target))
                    .copied()
                    .collect(),
                generation,
            })
            .collect()
    }

    /// Whether the plan is verified for them.
    pub fn is_verified(&self) -> bool {
        self.is_from || !self.targets.is_empty()
    }
}
