//! The releases that a plan is proven for.

use std::rc::Rc;

use crate::containerd::release::{Generation, Version, generations};
use crate::containerd::sight::Sight;
use crate::read::Inputs;

/// Releases from `--from` to `--to` that behave alike, and what they make of the node as it is.
#[derive(Clone, Debug)]
pub struct Release {
    /// The releases.
    pub generation: Generation,
    /// What they make of the node.
    pub sight: Rc<Sight>,
}

impl Release {
    /// All of them, oldest first.
    pub fn all(inputs: &Inputs) -> Vec<Self> {
        generations(inputs.from, inputs.options.to)
            .into_iter()
            .map(|generation| Self {
                sight: inputs.snapshot.seen_by(&generation.behaviour),
                generation,
            })
            .collect()
    }

    /// Whether this version is among them.
    pub fn has(&self, version: Version) -> bool {
        self.generation.versions.contains(&version)
    }
}
