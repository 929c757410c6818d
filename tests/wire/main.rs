//! What goes over the wire is the same before and after a migration: real containerd daemons pull
//! through their CRI from nodes before and after `apply`, and everything that leaves them is
//! compared. `tests/containerd.sh` installs the daemons; root is needed for their namespaces.
//!
//! ```text
//! cargo test --test wire                      all of it
//! cargo test --test wire -- mirrors/wildcard  the tests whose names contain this
//! WIRE_SEED=7 cargo test --test wire          one random node
//! WIRE_NODES=1000 cargo test --test wire -- random
//! ```
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and prints"
)]

mod certificates;
mod check;
mod compare;
mod cri;
mod daemon;
mod expected;
mod fixtures;
mod hosts;
mod model;
mod node;
#[path = "../support/random.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each test crate uses a part of it"
)]
mod numbers;
mod pairs;
mod proxy;
mod random;
mod scenes;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::check::{Accepted, Case, Compared, Side, differences, images, run_all};
use crate::daemon::Containerd;
use crate::node::{CONFIG, Node, same_files};
use crate::pairs::{PAIRS, Pair};

/// How many random nodes are checked when nothing else is said.
const RANDOM_NODES: u64 = 50;

/// The release lines that are proven.
const LINES: [(u32, u32); 7] = [(1, 6), (1, 7), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)];

/// The daemons that all tests share.
struct Daemons(Vec<Containerd>);

impl Daemons {
    /// Those whose legacy settings count as they were meant.
    fn one(&self) -> Vec<&Containerd> {
        self.0
            .iter()
            .filter(|daemon| daemon.generation.0 == 1)
            .collect()
    }

    fn two(&self) -> Vec<&Containerd> {
        self.0
            .iter()
            .filter(|daemon| daemon.generation.0 >= 2)
            .collect()
    }

    fn all(&self) -> Vec<&Containerd> {
        self.0.iter().collect()
    }
}

/// One test, with what is wrong as its error.
type Test = Box<dyn FnOnce(&Daemons) -> Result<(), String> + Send>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Daemons wait more than they work.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * 2);
    let (daemons, mut skipped) = daemon::available();
    // A suite whose daemon does not start on this machine's libc is no failure, if another one has its line.
    let is_release = env::var_os("WIRE_RELEASE").is_some();
    let missing: Vec<_> = LINES
        .iter()
        .filter(|line| !is_release && !daemons.iter().any(|daemon| daemon.generation == **line))
        .collect();
    for (major, minor) in &missing {
        skipped.push(format!(
            "no containerd {major}.{minor} is here that starts: run tests/containerd.sh"
        ));
    }
    let namespaces = Command::new("unshare")
        .args(["--mount", "--net", "true"])
        .status();
    let namespaces = namespaces.is_ok_and(|status| status.success());
    if !namespaces {
        skipped.push("namespaces of one's own need root".to_string());
    }
    // Without 1.x there is nothing to compare with.
    let skip = !namespaces || !daemons.iter().any(|daemon| daemon.generation.0 == 1);
    if !arguments.list {
        for daemon in &daemons {
            println!("wire: {daemon} of {}", daemon.suite);
        }
        for line in &skipped {
            println!("wire: skipped: {line}");
        }
        if env::var("CI").as_deref() == Ok("true") && (skip || !missing.is_empty()) {
            println!("wire: under CI=true all daemons must be there");
            return ExitCode::FAILURE;
        }
    }

    let daemons = Arc::new(Daemons(daemons));
    let shared = Arc::clone(&daemons);
    let mut trials = Vec::new();
    let mut add_where = |name: String, is_possible: bool, test: Test| {
        let daemons = Arc::clone(&daemons);
        let run = move || test(&daemons).map_err(Failed::from);
        let skip = skip || !is_possible;
        trials.push(Trial::test(name, run).with_ignored_flag(skip));
    };
    let has_two = !shared.two().is_empty();
    for pair in PAIRS {
        let name = format!("by-hand/{}", pair.name);
        // Some of what is wrong is wrong for old releases only.
        add_where(
            format!("{name}/wrong"),
            !is_release,
            Box::new(|daemons| wrong_is_noticed(daemons, pair)),
        );
        add_where(
            name,
            true,
            Box::new(|daemons| pair_is_the_same(daemons, pair)),
        );
    }
    let mut add = |name, test| add_where(name, true, test);
    let fixtures = fixtures::all();
    let names: Vec<_> = fixtures
        .iter()
        .map(|fixture| fixture.run_name().to_string())
        .collect();
    add(
        "expected".to_string(),
        Box::new(move |_| every_exception_has_a_case(&names)),
    );
    for broken in scenes::BROKEN {
        let name = format!("broken/{}", broken.name);
        add(name, Box::new(|daemons| scenes::broken(daemons, broken)));
    }
    for stalled in scenes::STALLED {
        let name = format!("stalled/{}", stalled.name);
        add(name, Box::new(|daemons| scenes::stalled(daemons, stalled)));
    }
    add(
        "real-pull/by-hand".to_string(),
        Box::new(|daemons| scenes::real_pull(daemons, true)),
    );
    add(
        "real-pull/applied".to_string(),
        Box::new(|daemons| scenes::real_pull(daemons, false)),
    );
    for fixture in fixtures {
        let name = format!("fixture/{}", fixture.name());
        add_where(name, true, Box::new(move |daemons| fixture.check(daemons)));
    }
    for seed in seeds() {
        add_where(
            format!("random/{seed}"),
            has_two || !random::plan(seed).is_version_3,
            Box::new(move |daemons| random_node(daemons, seed)),
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for ((_, build), compared) in check::compared() {
        let Compared {
            with_before,
            with_model,
        } = compared;
        println!(
            "wire: containerd {build}: {with_model} pulls compared with the model, {with_before} with those before a migration"
        );
    }
    conclusion.exit_code()
}

fn every_exception_has_a_case(fixtures: &[String]) -> Result<(), String> {
    let lost: Vec<_> = expected::cases()
        .filter(|case| !fixtures.iter().any(|f| f == case))
        .collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(format!("no such fixtures: {}", lost.join(", ")))
    }
}

/// One seed, or as many as wanted.
fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("WIRE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("WIRE_NODES").unwrap_or(RANDOM_NODES)).collect(),
    }
}

/// A node of this seed; a failure is shown for the smallest part of it that fails.
fn random_node(daemons: &Daemons, seed: u64) -> Result<(), String> {
    let mut plan = random::plan(seed);
    let Err(mut report) = check_plan(daemons, &plan) else {
        return Ok(());
    };
    let mut index = 0;
    while index < plan.settings.len() {
        let smaller = plan.without(index);
        match check_plan(daemons, &smaller) {
            Err(smaller_report) => (plan, report) = (smaller, smaller_report),
            Ok(()) => index += 1,
        }
    }
    let config = plan.config();
    let again = format!("WIRE_SEED={seed} cargo test --test wire -- random");
    Err(format!(
        "{report}\nagain: {again}\nthe smallest node that fails:\n{config}"
    ))
}

fn check_plan(daemons: &Daemons, plan: &random::Plan) -> Result<(), String> {
    let config = plan.config();
    let node = Node::of_files(&[(CONFIG, &config)]);
    // Where no TLS is concerned, 2.x does with legacy settings what 1.x does.
    let references = match (plan.is_version_3, plan.has_tls()) {
        (true, _) => daemons.two(),
        (false, true) => daemons.one(),
        (false, false) => daemons.all(),
    };
    let mut trees: Vec<PathBuf> = Vec::new();
    for reference in &references {
        let options = ["--from".to_string(), reference.version.clone()];
        let tree = node.applied(&format!("after-{}", reference.version), &options)?;
        // What is made from one version is what is made from another; if not, all of it is tried.
        if !trees.iter().any(|known| same_files(known, &tree)) {
            trees.push(tree);
        }
    }
    let migrated = if plan.is_version_3 {
        daemons.two()
    } else {
        daemons.all()
    };
    let migrated = trees
        .iter()
        .flat_map(|tree| migrated.iter().map(|daemon| (*daemon, tree.clone())));
    let migrated = migrated.collect();
    Case {
        name: "random",
        node: &node,
        references,
        migrated,
        claims: Vec::new(),
        pulls: BTreeMap::new(),
        accepted: Accepted::default(),
        ready: None,
    }
    .check()
}

fn pair_is_the_same(daemons: &Daemons, pair: &Pair) -> Result<(), String> {
    let Pair {
        name,
        before,
        after,
        ..
    } = pair;
    let node = Node::of_files(before);
    let tree = node.with_files("after", after);
    let migrated = daemons
        .all()
        .into_iter()
        .map(|daemon| (daemon, tree.clone()))
        .collect();
    let references = daemons.one();
    Case {
        name,
        node: &node,
        references,
        migrated,
        claims: Vec::new(),
        pulls: BTreeMap::new(),
        accepted: Accepted::default(),
        ready: None,
    }
    .check()
}

/// The harness must find every wrong translation, on some daemon at least.
fn wrong_is_noticed(daemons: &Daemons, pair: &Pair) -> Result<(), String> {
    let Pair {
        before,
        after,
        wrong,
        ..
    } = pair;
    let node = Node::of_files(before);
    let images = images(&node);
    let before: Vec<_> = daemons
        .one()
        .into_iter()
        .map(|daemon| (daemon, node.tree()))
        .collect();
    let references = run_all(&node, &images, &before);
    let mut unnoticed = String::new();
    for (number, (what, files)) in wrong.iter().enumerate() {
        let tree = node.with_files(&format!("wrong-{number}"), &[*after, *files].concat());
        let trees: Vec<_> = daemons
            .all()
            .into_iter()
            .map(|daemon| (daemon, tree.clone()))
            .collect();
        let runs = run_all(&node, &images, &trees);
        let noticed = references.iter().any(|reference| {
            runs.iter().any(|run| {
                !differences(&Side::new("before", reference), &Side::new("after", run)).is_empty()
            })
        });
        if !noticed {
            unnoticed.push_str(&format!("not noticed: {what}\n"));
        }
    }
    if unnoticed.is_empty() {
        Ok(())
    } else {
        Err(unnoticed)
    }
}
