//! The check itself: a node before and after, on every daemon, image by image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use crate::compare::{self, lines, side_by_side, without_own_port};
use crate::cri::Answer;
use crate::daemon::{self, Boot, Containerd, Pull, Run};
use crate::expected::{Expectations, From};
use crate::hosts;
use crate::model::Model;
use crate::node::Node;

/// Every image has this name in its namespace.
pub(crate) const REPOSITORY: &str = "wire/image";

/// By tag, which asks hosts that may resolve, and by digest, which asks those that may pull.
const SUFFIXES: [&str; 2] = [
    ":t",
    "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// So many complaints about one case are shown; the rest is more of the same.
const SHOWN: usize = 8;

/// How many pulls of one daemon were compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    /// With what was pulled before the migration.
    pub(crate) with_before: usize,
    /// With what the model says.
    pub(crate) with_model: usize,
}

/// By release line and build.
type Counts = BTreeMap<((u32, u32), String), Compared>;

static COMPARED: Mutex<Counts> = Mutex::new(BTreeMap::new());

/// What was compared so far.
pub(crate) fn compared() -> Counts {
    COMPARED.lock().unwrap().clone()
}

fn count(daemon: &Containerd, what: impl FnOnce(&mut Compared)) {
    let mut compared = COMPARED.lock().unwrap();
    what(
        compared
            .entry((daemon.generation, daemon.build()))
            .or_default(),
    );
}

/// The images of every namespace that a node's settings can concern.
pub(crate) fn images(node: &Node) -> Vec<String> {
    let names = node.world.namespaces.iter();
    names
        .flat_map(|namespace| SUFFIXES.map(|suffix| format!("{namespace}/{REPOSITORY}{suffix}")))
        .collect()
}

/// The namespace of an image that [`images`] made.
fn namespace(image: &str) -> &str {
    image.split('/').next().unwrap_or_default()
}

/// Runs every daemon on its tree, at the same time.
pub(crate) fn run_all(node: &Node, images: &[String], runs: &[(&Containerd, PathBuf)]) -> Vec<Run> {
    thread::scope(|scope| {
        let started: Vec<_> = runs
            .iter()
            .map(|(daemon, tree)| {
                scope.spawn(move || daemon::run(daemon, tree, &node.world, images))
            })
            .collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

/// A run, and what it is called in a message.
pub(crate) struct Side<'run> {
    pub(crate) title: String,
    pub(crate) run: &'run Run,
}

impl<'run> Side<'run> {
    pub(crate) fn new(when: &str, run: &'run Run) -> Side<'run> {
        Side {
            title: format!("{when}, {}", run.daemon),
            run,
        }
    }
}

/// Where two runs differ, each difference with its image and as a text for people.
pub(crate) fn differences(left: &Side<'_>, right: &Side<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if left.run.boot != right.run.boot {
        let text = side_by_side(
            (&left.title, &[format!("{:?}", left.run.boot)]),
            (&right.title, &[format!("{:?}", right.run.boot)]),
        );
        found.push((String::new(), text));
        return found;
    }
    for (one, other) in left.run.pulls.iter().zip(&right.run.pulls) {
        let (one_lines, other_lines) = (outcome(one), outcome(other));
        if one_lines != other_lines {
            let text = side_by_side((&left.title, &one_lines), (&right.title, &other_lines));
            let answers = format!("    {:?}\n    {:?}\n", one.answer, other.answer);
            let text = format!("  {}\n{text}{answers}", one.image);
            found.push((one.image.clone(), text));
        }
    }
    found
}

/// What was tried, and whether the image is there. Error texts are every version's own.
fn outcome(pull: &Pull) -> Vec<String> {
    let mut lines = lines(&pull.events);
    lines.push(match &pull.answer {
        Answer::Pulled(image) => format!("pulled {image}"),
        Answer::Failed(_) => "no image".to_string(),
        Answer::None => "no answer".to_string(),
    });
    lines
}

/// What is wrong with a case: every complaint, and the logs of the runs that they are about.
struct Report<'run> {
    expected: Expectations,
    complaints: Vec<String>,
    logs: BTreeMap<String, &'run Run>,
}

impl<'run> Report<'run> {
    /// A complaint about the last of the runs, unless it is meant to be so.
    fn complain(&mut self, image: &str, from: From, text: String, runs: &[&Side<'run>]) {
        let about = runs.last().map(|side| side.run.daemon.build());
        let about = about.unwrap_or_default();
        if self.expected.covers(namespace(image), &about, from) {
            return;
        }
        self.complaints.push(text);
        self.logs
            .extend(runs.iter().map(|side| (side.title.clone(), side.run)));
    }

    fn finish(mut self, name: &str, versions: &[String]) -> Result<(), String> {
        let unseen = self.expected.unseen(versions);
        let unseen = unseen
            .iter()
            .map(|reason| format!("  expected and not seen: {reason}\n"));
        self.complaints.extend(unseen);
        if self.complaints.is_empty() {
            return Ok(());
        }
        let shown: String = self.complaints.iter().take(SHOWN).cloned().collect();
        let more = self.complaints.len().saturating_sub(SHOWN);
        let more = if more > 0 {
            format!("  and {more} more\n")
        } else {
            String::new()
        };
        let logs = self.logs.iter();
        let logs: String = logs
            .map(|(title, run)| format!("  log, {title}:\n{}", run.log_that_matters()))
            .collect();
        Err(format!("{name}\n{shown}{more}{logs}"))
    }
}

/// A node, what became of it, and which daemons show that it is the same.
pub(crate) struct Case<'case> {
    pub(crate) name: &'case str,
    pub(crate) node: &'case Node,
    /// Daemons whose behaviour on the node as it was is to be kept.
    pub(crate) references: Vec<&'case Containerd>,
    /// Each daemon with the migrated tree that it runs on.
    pub(crate) migrated: Vec<(&'case Containerd, PathBuf)>,
    /// More daemons with trees, each with whether it is the node as it was: nothing is compared but what the library's
    /// view says of them.
    pub(crate) claims: Vec<(&'case Containerd, PathBuf, bool)>,
    /// Hosts by namespace, written by hand, as in a fixture's `[pulls]`.
    pub(crate) pulls: BTreeMap<String, Vec<String>>,
    /// What the operator accepted to change.
    pub(crate) accepted: Accepted,
    /// The installed daemon and the target that `check` calls ready: they do the same with the node as it is. Both are
    /// among those that run on it.
    pub(crate) ready: Option<[&'case Containerd; 2]>,
}

/// What a plan says will change, because the operator accepted it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accepted {
    /// The namespaces that the plan names, with whether they change.
    pub(crate) namespaces: BTreeMap<String, bool>,
    /// Whether all others do.
    pub(crate) others: bool,
    /// Whether a daemon may not come up afterwards.
    pub(crate) down: bool,
}

impl Accepted {
    fn covers(&self, image: &str) -> bool {
        let named = self.namespaces.get(namespace(image));
        named.copied().unwrap_or(self.others)
    }
}

impl Case<'_> {
    /// Ok when everything is the same, else all that is not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let images = images(self.node);
        let before = self
            .references
            .iter()
            .map(|daemon| (*daemon, self.node.tree()));
        let trees: Vec<_> = before.chain(self.migrated.iter().cloned()).collect();
        let claims = self.claims.iter();
        let claims = claims.map(|(daemon, tree, _)| (*daemon, tree.clone()));
        let trees: Vec<_> = trees.into_iter().chain(claims).collect();
        let runs = run_all(self.node, &images, &trees);
        let (references, rest) = runs.split_at(self.references.len());
        let (migrated, _) = rest.split_at(self.migrated.len());

        let mut report = Report {
            expected: Expectations::of(self.name),
            complaints: Vec::new(),
            logs: BTreeMap::new(),
        };
        // Where legacy settings kept CRI down there is nothing to keep: then the migrated runs are
        // compared with each other.
        let up = references.iter().filter(|run| run.boot == Boot::Booted);
        let mut kept: Vec<_> = up.map(|run| Side::new("before", run)).collect();
        if kept.is_empty() {
            kept.extend(migrated.first().map(|run| Side::new("after", run)));
        }
        for after in migrated.iter().map(|run| Side::new("after", run)) {
            if after.run.boot != Boot::Booted && self.accepted.down {
                continue;
            }
            if after.run.boot != Boot::Booted {
                let text = format!("  {}: {:?}\n", after.title, after.run.boot);
                report.complain("", From::Prediction, text, &[&after]);
                continue;
            }
            if !kept.is_empty() {
                let pulls = after.run.pulls.len();
                count(&after.run.daemon, |compared| compared.with_before += pulls);
            }
            for before in &kept {
                for (image, text) in differences(before, &after) {
                    if self.accepted.covers(&image) {
                        continue;
                    }
                    report.complain(&image, From::Before, text, &[before, &after]);
                }
            }
        }
        if let Some(ready) = self.ready {
            let as_it_is = |daemon: &Containerd| {
                let mut all = runs.iter().zip(&trees);
                let (run, _) = all.find(|(run, (_, tree))| {
                    run.daemon.build() == daemon.build() && *tree == self.node.tree()
                })?;
                Some(Side::new("as it is", run))
            };
            let [installed, target] = ready.map(as_it_is);
            if let (Some(installed), Some(target)) = (installed, target) {
                for (image, text) in differences(&installed, &target) {
                    let text = format!("  `check` says ready, but\n{text}");
                    report.complain(&image, From::Prediction, text, &[&installed, &target]);
                }
            }
        }
        for (index, (run, (_, tree))) in runs.iter().zip(&trees).enumerate() {
            let claim = index.checked_sub(references.len() + migrated.len());
            let is_before = match claim.and_then(|claim| self.claims.get(claim)) {
                Some((_, _, is_before)) => *is_before,
                None => index < references.len(),
            };
            let side = Side::new(if is_before { "before" } else { "after" }, run);
            // What was written by hand is what comes out; before, it may be meant to differ.
            let by_hand = if is_before {
                From::Before
            } else {
                From::ByHand
            };
            let model = Model::of(tree, &self.node.world.config, &run.daemon.version);
            if let Some(text) = model
                .as_ref()
                .and_then(|model| model.contradicts(&run.boot))
            {
                report.complain(
                    "",
                    From::Prediction,
                    format!("  {}: {text}\n", side.title),
                    &[&side],
                );
            }
            if model.is_none() && !is_before {
                let text = format!("  {}: the library does not understand it\n", side.title);
                report.complain("", From::Prediction, text, &[&side]);
            }
            let config = &self.node.world.config;
            let shown = hosts::predicted(tree, config, &run.daemon.version, &images);
            if model.is_some() {
                count(&run.daemon, |compared| {
                    compared.with_model += run.pulls.len();
                });
            }
            for pull in &run.pulls {
                let namespace = namespace(&pull.image);
                let asked = compare::hosts(&pull.events, REPOSITORY);
                // Where the settings are not in effect, what was written by hand is for another version.
                let by_hand_counts = claim.is_none()
                    && model.as_ref().is_some_and(Model::loads)
                    && !(is_before && self.accepted.covers(&pull.image));
                let bare: Vec<String> = asked
                    .iter()
                    .map(|host| host.replace(" (TLS refused)", ""))
                    .collect();
                if let Some(predicted) = self.pulls.get(namespace).filter(|_| by_hand_counts)
                    && let Some(text) = contradiction("by hand", predicted, &side, pull, &bare)
                {
                    report.complain(&pull.image, by_hand, text, &[&side]);
                }
                let Some(model) = &model else { continue };
                let predicted = model.hosts(namespace, pull.image.contains('@'));
                // The model does not know what certificate a host shows.
                if let Some(text) = contradiction("the model", &predicted, &side, pull, &bare) {
                    report.complain(&pull.image, From::Prediction, text, &[&side]);
                }
                let shown = shown.as_ref().and_then(|shown| shown.get(&pull.image));
                let recorded = hosts::recorded(&pull.events);
                let predicted = hosts::as_recorded(shown.map_or(&[], Vec::as_slice), &recorded);
                if predicted != recorded {
                    let title = format!("asked {}", side.title);
                    let sides = (("`hosts`", &*predicted), (&*title, &*recorded));
                    let text = format!("  {}\n{}", pull.image, side_by_side(sides.0, sides.1));
                    report.complain(&pull.image, From::Prediction, text, &[&side]);
                }
            }
        }
        let versions: Vec<_> = runs.iter().map(|run| run.daemon.build()).collect();
        report.finish(self.name, &versions)
    }
}

/// Where the hosts that a daemon asked are not those that someone predicted.
fn contradiction(
    who: &str,
    predicted: &[String],
    side: &Side<'_>,
    pull: &Pull,
    asked: &[String],
) -> Option<String> {
    let mut expected: Vec<String> = Vec::new();
    for url in predicted {
        // A path of `/` alone is no path.
        let url = url.trim_end_matches('/').to_string();
        // Where TLS failed nothing was asked, so that host stands there without its path.
        let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
        let host = without_own_port(scheme, rest.split('/').next().unwrap_or_default());
        let failed = format!("{scheme}://{host}/…");
        let url = if asked.contains(&failed) && !asked.contains(&url) {
            failed
        } else {
            url
        };
        if !expected.contains(&url) {
            expected.push(url);
        }
    }
    let asked: Vec<_> = asked
        .iter()
        .map(|host| host.trim_end_matches('/').to_string())
        .collect();
    if asked == expected {
        return None;
    }
    let text = side_by_side((who, &expected), (&format!("asked {}", side.title), &asked));
    Some(format!("  {}\n{text}", pull.image))
}
