//! What holds of every node, whatever is in it and however it is written: random nodes through the library.
//!
//! ```text
//! cargo test --test properties
//! PROPERTY_SEED=7 cargo test --test properties             the node of one seed
//! PROPERTY_NODES=20000 cargo test --release --test properties
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod check;
mod digests;
mod edits;
mod imports;
mod layout;
mod node;
mod questions;
#[path = "../support/random.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each test crate uses a part of it"
)]
mod random;
mod tree;
mod verdict;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use check::Ended;
use containerd_registry_migrate::report::Outcome;
use digests::Pair;
use node::{CONFIG, Node};

/// As many as a debug build can check in a few seconds.
const NODES: u64 = 600;

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| -> Option<u64> { Some(std::env::var(name).ok()?.parse().unwrap()) };
    match number("PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PROPERTY_NODES").unwrap_or(NODES),
    }
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Checks a node in a directory of its own; a panic is an error like any other.
fn check(node: &Node, root: &Path) -> Result<Ended, String> {
    if root.exists() {
        std::fs::remove_dir_all(root).unwrap();
    }
    std::fs::create_dir_all(root).unwrap();
    catch_unwind(AssertUnwindSafe(|| check::check(node, root))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn property(failure: &str) -> &str {
    failure.split(':').next().unwrap_or_default()
}

/// The smallest node found that fails in the same property.
fn shrink(node: &Node, failure: String, root: &Path) -> (Node, String) {
    let (mut node, mut failure) = (node.clone(), failure);
    let mut at = 0;
    let mut since = 0;
    loop {
        let candidates = node.smaller();
        if since > candidates.len() {
            return (node, failure);
        }
        let smaller = &candidates[at % candidates.len()];
        match check(smaller, root) {
            Err(other) if property(&other) == property(&failure) => {
                (node, failure) = (smaller.clone(), other);
                since = 0;
            }
            _ => {
                at += 1;
                since += 1;
            }
        }
    }
}

fn describe(seed: u64, node: &Node, failure: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "\n=== PROPERTY_SEED={seed} ===\n{failure}\n{:?}",
        node.options
    );
    for (path, entry) in &node.files {
        let _ = writeln!(text, "{path}: {entry:?}");
    }
    let config = node.write().text;
    let _ = writeln!(text, "--- {CONFIG}\n{config}---\n{config:?}");
}

#[test]
fn every_edit_takes_out_what_it_is_told_and_nothing_else() {
    let mut text = String::new();
    for seed in seeds() {
        if let Err(failure) = edits::check(seed) {
            let _ = writeln!(text, "=== PROPERTY_SEED={seed} ===\n{failure}");
            break;
        }
    }
    assert!(text.is_empty(), "{text}");
}

#[test]
fn every_node_of_several_files_keeps_what_it_has() {
    let mut text = String::new();
    let mut pending = 0;
    let root = scratch("properties-imports");
    for seed in seeds() {
        match imports::check(seed, &root) {
            Ok(ended) => pending += u64::from(ended == Ended::Pending),
            Err(failure) => {
                let _ = writeln!(text, "=== PROPERTY_SEED={seed} ===\n{failure}");
                break;
            }
        }
    }
    assert!(text.is_empty(), "{text}");
    let seeds = seeds();
    let total = seeds.end - seeds.start;
    assert!(
        total == 1 || pending * 10 > total,
        "too few nodes are migrated: {pending}"
    );
}

#[test]
fn check_is_ready_only_where_every_target_pulls_as_from_does_and_no_error_stands() {
    let mut text = String::new();
    let (mut ready, mut not_ready) = (0, 0);
    let root = scratch("properties-verdict");
    for seed in seeds() {
        match verdict::check(seed, &root) {
            Ok(outcome) => {
                ready += u64::from(outcome == Outcome::Ready);
                not_ready += u64::from(outcome == Outcome::NotReady);
            }
            Err(failure) => {
                let _ = writeln!(text, "=== PROPERTY_SEED={seed} ===\n{failure}");
                break;
            }
        }
    }
    assert!(text.is_empty(), "{text}");
    let seeds = seeds();
    let total = seeds.end - seeds.start;
    assert!(
        total == 1 || ready.min(not_ready) * 20 > total,
        "too few nodes to say anything: {ready} ready, {not_ready} not ready"
    );
}

#[test]
fn every_printed_answer_works_and_answers_differ() {
    let mut text = String::new();
    let mut tried: BTreeMap<String, u64> = BTreeMap::new();
    let root = scratch("properties-questions");
    for seed in seeds().step_by(2) {
        match questions::check(seed, &root) {
            Ok(answers) => {
                for answer in answers {
                    *tried.entry(answer).or_default() += 1;
                }
            }
            Err(failure) => {
                let _ = writeln!(text, "=== PROPERTY_SEED={seed} ===\n{failure}");
                break;
            }
        }
    }
    assert!(text.is_empty(), "{text}");
    let seeds = seeds();
    let commands: u64 = tried.values().sum();
    let options = [
        "--existing keep",
        "--existing replace",
        "--inert drop",
        "--inert carry",
    ];
    let are_all_tried = options.iter().all(|answer| tried.contains_key(*answer));
    assert!(
        seeds.end - seeds.start == 1 || are_all_tried && commands * 10 > seeds.end - seeds.start,
        "too few questions to say anything: {tried:?}"
    );
}

#[test]
fn two_plans_that_write_different_things_never_share_a_digest() {
    let mut text = String::new();
    let mut pairs = Vec::new();
    let root = scratch("properties-digests");
    // Each seed is two nodes.
    for seed in seeds().step_by(3) {
        match digests::check(seed, &root) {
            Ok(pair) => pairs.push(pair),
            Err(failure) => {
                let _ = writeln!(text, "=== PROPERTY_SEED={seed} ===\n{failure}");
                break;
            }
        }
    }
    assert!(text.is_empty(), "{text}");
    let count = |pair| pairs.iter().filter(|other| **other == pair).count();
    let (different, equal) = (count(Pair::Different), count(Pair::Equal));
    assert!(
        pairs.len() == 1 || different.min(equal) * 20 > pairs.len(),
        "too few pairs to say anything: {different} different, {equal} equal"
    );
}

#[test]
fn every_node_keeps_what_it_has() {
    // A panic in here is told with its node, and not before; the other tests of this process still tell theirs.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        if thread
            .name()
            .is_some_and(|name| !name.contains("every_node_keeps"))
        {
            told(panic);
        }
    }));
    let seeds = seeds();
    let single = seeds.end - seeds.start == 1;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ends: BTreeMap<Ended, u64> = BTreeMap::new();
    let results: Vec<Vec<(u64, Result<Ended, String>)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let seeds = seeds.clone().skip(number).step_by(threads);
                let root = scratch(&format!("properties-{number}"));
                scope.spawn(move || {
                    seeds
                        .map(|seed| (seed, check(&Node::of(seed), &root)))
                        .collect()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let mut failed = Vec::new();
    for (seed, result) in results.into_iter().flatten() {
        match result {
            Ok(ended) => *ends.entry(ended).or_default() += 1,
            Err(failure) => failed.push((seed, failure)),
        }
    }
    failed.sort();
    let failures = failed;
    let mut text = String::new();
    let mut said: BTreeMap<String, u64> = BTreeMap::new();
    for (seed, failure) in &failures {
        let count = said.entry(property(failure).to_owned()).or_default();
        *count += 1;
        // The first of each kind is enough to look at.
        if *count == 1 {
            let (node, failure) = shrink(&Node::of(*seed), failure.clone(), &scratch("properties"));
            describe(*seed, &node, &failure, &mut text);
        }
    }
    let _ = std::panic::take_hook();
    assert!(
        failures.is_empty(),
        "{} seeds failed: {said:?}\n{text}",
        failures.len()
    );
    let pending = ends.get(&Ended::Pending).copied().unwrap_or_default();
    let total = seeds.end - seeds.start;
    assert!(
        single || pending * 3 > total,
        "too few nodes are migrated to say anything: {ends:?}"
    );
}
