//! The golden nodes: what `plan` and `check` say of each, and what `apply` makes of it.
//!
//! ```text
//! cargo test --test golden                      all of it
//! cargo test --test golden -- mirrors/wildcard  the tests whose names contain this
//! UPDATE=1 cargo test --test golden             writes the golden files anew, for review
//! ```
//!
//! A test is named `golden::<topic>/<node>::<aspect>`, with `/<run>` after the node where several runs share it.
//! `case.toml` and the `after` trees are written by hand from containerd's rules and never by these tests. `report.json`
//! is the report of the plan without its texts; some forty runs each have the printed plan (`text = true` in case.toml, `plan.txt`) and
//! the printed table of `check` (`table = true`, `check.txt`), too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use support::report::{codes as codes_of, golden, urls_after};
use support::{Fixture, MemoryScratch, Ran, copy_tree, fixtures, run_on, tree_difference};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scratch = Arc::new(MemoryScratch::new("golden"));
    let fixtures = fixtures();
    let mut trials = vec![
        whole("every_code_has_a_fixture", every_code_has_a_fixture),
        whole("every_run_has_a_name_of_its_own", every_run_has_its_name),
        whole("no_file_is_left_over", no_file_is_left_over),
    ];
    for fixture in fixtures {
        let subject = Arc::new(Subject {
            fixture,
            scratch: Arc::clone(&scratch),
            plan: OnceLock::new(),
            report: OnceLock::new(),
            diff: OnceLock::new(),
        });
        let mut aspects: Vec<(&str, Aspect)> = vec![
            ("plan", plan_says_what_the_case_says),
            ("apply", apply_makes_the_tree_and_rollback_undoes_it),
        ];
        if subject.fixture.check.is_some() {
            aspects.push(("check", check_says_what_every_containerd_makes_of_it));
        }
        if subject.fixture.is_migrated() {
            aspects.push(("diff", diff_is_what_apply_does));
        }
        for (aspect, test) in aspects {
            let subject = Arc::clone(&subject);
            let name = format!("golden::{}::{aspect}", subject.fixture.name);
            trials.push(Trial::test(name, move || {
                test(&subject).map_err(Failed::from)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test of all fixtures together.
fn whole(name: &str, test: fn(&[Fixture]) -> Result<(), String>) -> Trial {
    Trial::test(format!("fixtures::{name}"), move || {
        test(&fixtures()).map_err(Failed::from)
    })
}

/// A fixture, with what the program prints of its node: each is asked for once, by whichever test comes first.
struct Subject {
    fixture: Fixture,
    scratch: Arc<MemoryScratch>,
    plan: OnceLock<Ran>,
    report: OnceLock<Value>,
    diff: OnceLock<Ran>,
}

/// What a test looks at; the error is what is wrong.
type Aspect = fn(&Subject) -> Result<(), String>;

impl Subject {
    fn plan(&self) -> &Ran {
        self.plan
            .get_or_init(|| run_on(&self.fixture, &self.fixture.node(), &["plan"]))
    }

    /// The report that the plan was printed from.
    fn report(&self) -> &Value {
        self.report.get_or_init(|| {
            let command = ["plan", "--format", "json"];
            let ran = run_on(&self.fixture, &self.fixture.node(), &command);
            let report: Value = serde_json::from_str(&ran.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
            assert_eq!(
                report.get("exit_code"),
                Some(&Value::from(ran.code)),
                "what it says and what it does"
            );
            report
        })
    }

    fn diff(&self) -> &Ran {
        let command = ["plan", "--format", "diff"];
        self.diff
            .get_or_init(|| run_on(&self.fixture, &self.fixture.node(), &command))
    }

    /// The digest that the plan says.
    fn digest(&self) -> Result<&str, String> {
        let mut lines = self.plan().stdout.lines();
        let digest = lines.find_map(|line| line.strip_prefix("Digest: "));
        digest.ok_or_else(|| "no digest".to_owned())
    }

    /// A copy of the node to change, as a test of its own.
    fn copy(&self, purpose: &str) -> PathBuf {
        let node = self.scratch.join(purpose).join(&self.fixture.name);
        copy_tree(&self.fixture.node(), &node);
        node
    }
}

fn expect(what: &str, holds: bool, ran: &Ran) -> Result<(), String> {
    if holds {
        return Ok(());
    }
    Err(format!(
        "{what}\nexit {}\n{}{}",
        ran.code, ran.stdout, ran.stderr
    ))
}

fn expect_tree(expected: &Path, found: &Path) -> Result<(), String> {
    let difference = tree_difference(expected, found);
    if difference.is_empty() {
        Ok(())
    } else {
        Err(difference)
    }
}

/// Compares with the golden file; with `UPDATE=1` writes it.
fn expect_golden(path: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, found).unwrap();
        return Ok(());
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    if golden == found {
        return Ok(());
    }
    let diff = similar::TextDiff::from_lines(&*golden, found);
    Err(format!(
        "{} (UPDATE=1 writes it)\n{}",
        path.display(),
        diff.unified_diff().header("golden", "found")
    ))
}

/// Hides the one path of this machine that is printed: the root, in the next command and in errors.
fn hide(text: &str, root: &Path) -> String {
    text.replace(root.to_str().unwrap(), "NODE")
}

fn plan_says_what_the_case_says(subject: &Subject) -> Result<(), String> {
    let (fixture, plan, report) = (&subject.fixture, subject.plan(), subject.report());
    let (exit, codes) = (fixture.exit, &fixture.findings);
    expect(
        &format!("exit {exit} was expected"),
        plan.code == exit,
        plan,
    )?;
    let read = report.pointer("/config/path").and_then(Value::as_str);
    let is_right = read == Some(fixture.config());
    expect(
        &format!("{read:?} is not the file that the daemon reads"),
        is_right,
        plan,
    )?;
    let (found, mut codes) = (codes_of(report), codes.clone());
    codes.sort();
    let text = format!("findings: expected {codes:?}, found {found:?}");
    expect(&text, found == codes, plan)?;
    // Only what went wrong is not part of the report.
    let is_on_stdout = plan.stderr.is_empty() || exit == 4;
    expect("the whole report is on stdout", is_on_stdout, plan)?;
    if fixture.is_migrated() {
        pulls_are_those_derived_by_hand(fixture, report)?;
    }
    let data = serde_json::to_string_pretty(&golden(report)).unwrap() + "\n";
    let data = hide(&data, &fixture.node());
    expect_golden(&fixture.golden("report", "json"), &data)?;
    if fixture.text {
        let text = hide(&plan.stdout, &fixture.node());
        expect_golden(&fixture.golden("plan", "txt"), &text)?;
    }
    Ok(())
}

fn pulls_are_those_derived_by_hand(fixture: &Fixture, report: &Value) -> Result<(), String> {
    for (namespace, hosts) in &fixture.pulls {
        let found = urls_after(report, namespace);
        if found.as_ref() != Some(hosts) {
            return Err(format!(
                "{namespace}: expected {hosts:#?}, found {found:#?}"
            ));
        }
    }
    Ok(())
}

fn check_says_what_every_containerd_makes_of_it(subject: &Subject) -> Result<(), String> {
    let fixture = &subject.fixture;
    let ran = run_on(fixture, &fixture.node(), &["check"]);
    let exit = fixture.check.unwrap_or_default();
    expect(&format!("exit {exit} was expected"), ran.code == exit, &ran)?;
    if fixture.table {
        let text = hide(&ran.stdout, &fixture.node());
        expect_golden(&fixture.golden("check", "txt"), &text)?;
    }
    Ok(())
}

fn apply_makes_the_tree_and_rollback_undoes_it(subject: &Subject) -> Result<(), String> {
    let (fixture, plan) = (&subject.fixture, subject.plan());
    let node = subject.copy("apply");
    // Apply plans again: whatever it prints of that is what `plan` printed.
    let prints_the_plan = |ran: &Ran| {
        let text = |ran: &Ran, root: &Path| {
            let (report, _) = ran
                .stdout
                .rsplit_once("\nNext: ")
                .unwrap_or((&ran.stdout, ""));
            (hide(report, root), hide(&ran.stderr, root))
        };
        let (stdout, stderr) = text(plan, &fixture.node());
        let again = text(ran, &node);
        let holds = again.0.starts_with(&stdout) && again.1.starts_with(&stderr);
        expect("two runs print the same plan", holds, ran)
    };
    if !fixture.is_migrated() {
        let ran = run_on(fixture, &node, &["apply", "--yes"]);
        let exit = fixture.exit;
        expect(&format!("exit {exit} was expected"), ran.code == exit, &ran)?;
        prints_the_plan(&ran)?;
        return expect_tree(&fixture.node(), &node);
    }

    // Whether a digest is compared does not depend on the node: some forty nodes are enough.
    if fixture.text {
        let other = "0".repeat(64);
        let ran = run_on(fixture, &node, &["apply", "--expect", &other]);
        expect("another digest is refused", ran.code == 3, &ran)?;
        expect_tree(&fixture.node(), &node)?;
    }

    let ran = run_on(fixture, &node, &["apply", "--expect", subject.digest()?]);
    expect("the reviewed digest is applied", ran.code == 0, &ran)?;
    prints_the_plan(&ran)?;
    expect_tree(&fixture.after(), &node)?;

    // Whatever made the first run need an option, the second has nothing to do. It would have to ask before it writes.
    let again = run_on(fixture, &node, &["apply", "--format", "diff"]);
    let is_empty = again.code == 0 && again.stdout.is_empty();
    expect("a second apply has nothing to do", is_empty, &again)?;
    expect_tree(&fixture.after(), &node)?;

    let back = run_on(fixture, &node, &["rollback", "--yes"]);
    expect("the run is rolled back", back.code == 0, &back)?;
    expect_tree(&fixture.node(), &node)?;
    fs::remove_dir_all(node).unwrap();
    Ok(())
}

fn diff_is_what_apply_does(subject: &Subject) -> Result<(), String> {
    let (fixture, diff) = (&subject.fixture, subject.diff());
    if diff.stderr.contains("secrets are masked") {
        return Ok(());
    }
    let node = subject.copy("diff");
    git_apply(&node, &diff.stdout)?;
    expect_tree(&fixture.after(), &node)?;
    fs::remove_dir_all(node).unwrap();
    Ok(())
}

fn git_apply(root: &Path, patch: &str) -> Result<(), String> {
    let file = root.with_extension("patch");
    fs::write(&file, patch).unwrap();
    let output = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(&file)
        .current_dir(root)
        // Inside a repository git would leave out what is not below its own top.
        .env("GIT_DIR", root.join("no-repository"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("git apply: {said}"))
}

fn every_code_has_a_fixture(fixtures: &[Fixture]) -> Result<(), String> {
    let seen: BTreeSet<&str> = fixtures
        .iter()
        .flat_map(|fixture| &fixture.findings)
        .map(String::as_str)
        .collect();
    // A proof that fails is a bug in the plan, and what changed since an apply is no node to plan for.
    let impossible = [
        "proof-failed",
        "changed-since-apply",
        "rollback-after-upgrade",
    ];
    let missing: Vec<&str> = containerd_registry_migrate::finding::ALL
        .iter()
        .map(|code| code.name)
        .filter(|name| !impossible.contains(name) && !seen.contains(name))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("no fixture: {}", missing.join(", ")))
    }
}

/// The wire tests and others name runs by the last component.
fn every_run_has_its_name(fixtures: &[Fixture]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut twice = fixtures.iter().map(Fixture::run_name);
    match twice.find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(format!("two runs are named {name}")),
    }
}

/// A file that no run reads says nothing, and would not be noticed when it is wrong.
fn no_file_is_left_over(fixtures: &[Fixture]) -> Result<(), String> {
    let mut read = BTreeSet::new();
    let mut directories = BTreeSet::new();
    for fixture in fixtures {
        directories.insert(fixture.path.clone());
        read.extend([fixture.path.join("case.toml"), fixture.node()]);
        read.insert(fixture.golden("report", "json"));
        read.extend(fixture.is_migrated().then(|| fixture.after()));
        read.extend(fixture.text.then(|| fixture.golden("plan", "txt")));
        read.extend(fixture.table.then(|| fixture.golden("check", "txt")));
    }
    let entries = directories
        .iter()
        .flat_map(|path| fs::read_dir(path).unwrap());
    let found: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let left_over: Vec<_> = found.difference(&read).collect();
    if left_over.is_empty() {
        Ok(())
    } else {
        Err(format!("left over: {left_over:#?}"))
    }
}
