//! Two plans that write different things never share a digest.

use std::fs;
use std::path::{Path, PathBuf};

use containerd_registry_migrate::plan::{Change, Decider, Plan};
use containerd_registry_migrate::report::{self, Shown};

use crate::check::{Ended, Planned};
use crate::node::Node;
use crate::random::Random;

/// How two nodes compare that differ in a few characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// One of them cannot be planned, or has nothing to do.
    NotPlanned,
    Different,
    Equal,
}

/// Plans a node and one that differs from it in a few characters of its files.
pub(crate) fn check(seed: u64, root: &Path) -> Result<Pair, String> {
    let node = Node::of(seed);
    let mut random = Random::of(seed, "digests");
    let text = node.write().text;
    let plan = |change: &mut dyn FnMut(&Path)| -> Result<Option<Plan>, String> {
        if root.exists() {
            fs::remove_dir_all(root).unwrap();
        }
        fs::create_dir_all(root).unwrap();
        node.lay_out(root, &text);
        change(root);
        let planned = Planned::of(&node, root)?;
        Ok((planned.ended == Ended::Pending).then_some(planned.plan))
    };
    let Some(one) = plan(&mut |_| {})? else {
        return Ok(Pair::NotPlanned);
    };
    let Some(other) = plan(&mut |root| alter(root, &mut random))? else {
        return Ok(Pair::NotPlanned);
    };
    if report::digest::digest(&one) != report::digest::digest(&other) {
        return Ok(Pair::Different);
    }
    let (one, other) = (reviewed(&one), reviewed(&other));
    if one != other {
        return Err(format!("one digest for\n{one:#?}\nand\n{other:#?}"));
    }
    Ok(Pair::Equal)
}

/// Puts other letters in place of one to four letters of a file.
fn alter(root: &Path, random: &mut Random) {
    let mut files = Vec::new();
    files_below(root, &mut files);
    files.sort();
    let path = &files[random.below(files.len())];
    let mut bytes = fs::read(path).unwrap();
    let letters: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at].is_ascii_alphanumeric())
        .collect();
    if letters.is_empty() {
        return;
    }
    for _ in 0..=random.below(3) {
        bytes[letters[random.below(letters.len())]] = b"abxyz019"[random.below(8)];
    }
    fs::write(path, bytes).unwrap();
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files_below(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

/// What the digest is made of, put together in another way than the digest does it: from the diff. What is written is here as
/// it is, secrets and all; what is removed is masked.
fn reviewed(plan: &Plan) -> Vec<String> {
    let mut reviewed = Vec::new();
    for change in &plan.changes {
        let is_new = change.before.is_none();
        reviewed.push(format!(
            "{:?} {} {:?} {is_new}",
            change.kind, change.path, change.named
        ));
        for (sign, secrets) in [('-', false), ('+', false), ('+', true)] {
            let diff = shown_diff(change, secrets);
            let lines = diff.lines().skip_while(|line| !line.starts_with("@@"));
            reviewed.extend(
                lines
                    .filter(|line| line.starts_with(sign))
                    .map(str::to_owned),
            );
        }
    }
    let decided = plan.namespaces.iter().filter(|wanted| {
        wanted.changed.is_some() || matches!(wanted.decider, Decider::HostsFile | Decider::KeptFile)
    });
    reviewed.extend(decided.map(|wanted| format!("{} {:?}", wanted.name, wanted.after.folded())));
    reviewed
}

fn shown_diff(change: &Change, secrets: bool) -> String {
    let (before, after) = (change.before.as_ref(), Some(&change.after));
    report::diff::of_file(&change.path, before, after, &Shown::new(secrets)).text
}
