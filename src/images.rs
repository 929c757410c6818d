//! The hosts that containerd tries for an image: today and after the migration, on each release that is asked for. Pure.

use crate::containerd::loader::Startup;
use crate::containerd::reference::ImageReference;
use crate::containerd::release::{Behaviour, NEWEST, OLDEST, Version};
use crate::containerd::snapshot::Snapshot;
use crate::containerd::trace::{Trace, Tracer, position};
use crate::plan::Plan;
use crate::read::Inputs;

/// An image, and its hosts.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in full.
    pub reference: ImageReference,
    /// What each release does, oldest first.
    pub rows: Vec<Row>,
}

/// Releases that do the same.
#[derive(Clone, Debug)]
pub struct Row {
    /// The releases, oldest first.
    pub versions: Vec<Version>,
    /// What they do with the node as it is.
    pub today: Pull,
    /// What they do after the migration; `None` if there is no plan that can be written.
    pub after: Option<Pull>,
}

/// What a containerd does for a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// It tries these hosts.
    Trace(Trace),
    /// It serves no pulls, for this reason.
    Down(String),
}

/// The hosts for every image. `plan` is one that can be written.
pub fn images(
    inputs: &Inputs,
    plan: Option<&Plan>,
    references: &[ImageReference],
    all_releases: bool,
) -> Vec<Image> {
    let after = plan.and_then(|plan| plan.after(inputs));
    let image = |reference: &ImageReference| Image {
        reference: reference.clone(),
        rows: Vec::new(),
    };
    let mut images: Vec<Image> = references.iter().map(image).collect();
    for version in versions(inputs, all_releases) {
        let today = Release::new(inputs, &inputs.snapshot, version);
        let after = after.as_ref();
        let after = after.map(|after| Release::new(inputs, after, version));
        for Image { reference, rows } in &mut images {
            let pull = |release: &Release| release.pull(&reference.namespace);
            let today = pull(&today);
            let after = after.as_ref().map(pull);
            match rows.last_mut() {
                Some(row) if (&row.today, &row.after) == (&today, &after) => {
                    row.versions.push(version);
                }
                _ => rows.push(Row {
                    versions: vec![version],
                    today,
                    after,
                }),
            }
        }
    }
    images
}

/// `--from` and the targets, or all that are known.
fn versions(inputs: &Inputs, all_releases: bool) -> Vec<Version> {
    if all_releases {
        return Version::between(OLDEST, NEWEST);
    }
    let mut versions = inputs.versions();
    versions.sort_unstable();
    versions
}

/// A release with a node's files.
enum Release<'s> {
    Serves(Tracer<'s>),
    Down(String),
}

impl<'s> Release<'s> {
    fn new(inputs: &Inputs, snapshot: &'s Snapshot, version: Version) -> Self {
        let sight = snapshot.seen_by(&Behaviour::of(version));
        let (what, reason) = match inputs.startup(&sight) {
            Startup::Loads => return Self::Serves(Tracer::new(snapshot, sight)),
            Startup::CriDisabled(reason) => ("CRI is disabled", reason),
            Startup::CriFails(reason) => ("CRI does not load", reason),
            Startup::DoesNotStart(reason) => ("containerd does not start", reason),
        };
        let place = reason.place.as_ref();
        let place = match place.and_then(|place| position(snapshot, place)) {
            Some((file, line)) => format!(" ({file}:{line})"),
            None => String::new(),
        };
        Self::Down(format!("{what}: {}{place}", reason.text))
    }

    fn pull(&self, namespace: &str) -> Pull {
        match self {
            Self::Serves(tracer) => Pull::Trace(tracer.trace(namespace)),
            Self::Down(reason) => Pull::Down(reason.clone()),
        }
    }
}
