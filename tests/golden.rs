//! The golden nodes: what `plan` says of each, and what `apply` makes of it.
//!
//! `case.toml` and `after/` are written by hand from containerd's rules and never by this test. `plan.txt` and
//! `stderr.txt` are what the program prints, kept beside the files for review; `UPDATE=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Fixture, MemoryScratch, Ran, copy_tree, fixtures, run_on, tree_difference};

/// Runs `check` on every fixture and fails with all that went wrong.
fn for_each(check: impl Fn(&Fixture) -> Result<(), String>) {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 40, "the golden nodes are there");
    let only = std::env::var("FIXTURE").ok();
    let mut failures = String::new();
    for fixture in fixtures
        .iter()
        .filter(|f| only.as_ref().is_none_or(|only| f.name == *only))
    {
        if let Err(failure) = check(fixture) {
            failures.push_str(&format!("\n=== {} ===\n{failure}\n", fixture.name));
        }
    }
    assert!(failures.is_empty(), "{failures}");
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

#[test]
fn plan_says_what_the_case_says() {
    for_each(|fixture| {
        let ran = run_on(fixture, &fixture.node(), &["plan"]);
        expect(
            &format!("exit {} was expected", fixture.exit),
            ran.code == fixture.exit,
            &ran,
        )?;
        let findings = ran.findings();
        expect(
            &format!(
                "findings: expected {:?}, found {findings:?}",
                fixture.findings
            ),
            findings == fixture.findings,
            &ran,
        )?;
        let again = run_on(fixture, &fixture.node(), &["plan"]);
        expect(
            "two runs print the same",
            again.stdout == ran.stdout && again.stderr == ran.stderr,
            &again,
        )?;
        if fixture.exit > 1 {
            expect(
                "a refusal prints nothing on stdout",
                ran.stdout.is_empty(),
                &ran,
            )?;
        }
        Ok(())
    });
}

#[test]
fn the_messages_are_the_reviewed_ones() {
    let update = std::env::var_os("UPDATE").is_some();
    for_each(|fixture| {
        let ran = run_on(fixture, &fixture.node(), &["plan"]);
        // The one place where a path of this machine is printed: the root in the next command and in errors.
        let node = fixture.node();
        let hide = |text: &str| text.replace(node.to_str().unwrap(), "NODE");
        for (name, text) in [
            ("plan.txt", hide(&ran.stdout)),
            ("stderr.txt", hide(&ran.stderr)),
        ] {
            let path = fixture.path.join(name);
            if update {
                if text.is_empty() {
                    let _ = fs::remove_file(&path);
                } else {
                    fs::write(&path, &text).unwrap();
                }
            }
            let reviewed = fs::read_to_string(&path).unwrap_or_default();
            if reviewed != text {
                let diff = similar::TextDiff::from_lines(&reviewed, &text);
                return Err(format!(
                    "{name}\n{}",
                    diff.unified_diff().header("reviewed", "printed")
                ));
            }
        }
        Ok(())
    });
}

#[test]
fn check_says_what_every_containerd_makes_of_it() {
    let update = std::env::var_os("UPDATE").is_some();
    for_each(|fixture| {
        let Some(exit) = fixture.check else {
            return Ok(());
        };
        let ran = run_on(fixture, &fixture.node(), &["check"]);
        expect(&format!("exit {exit} was expected"), ran.code == exit, &ran)?;
        let path = fixture.path.join("check.txt");
        if update {
            fs::write(&path, &ran.stdout).unwrap();
        }
        let reviewed = fs::read_to_string(&path).unwrap_or_default();
        expect(
            "check.txt is the reviewed one",
            reviewed == ran.stdout,
            &ran,
        )
    });
}

#[test]
fn the_pull_table_is_the_one_derived_by_hand() {
    for_each(|fixture| {
        if !fixture.is_migrated() {
            return Ok(());
        }
        let ran = run_on(fixture, &fixture.node(), &["plan"]);
        let table = ran
            .stdout
            .split("\nPulls: ")
            .nth(1)
            .and_then(|rest| rest.split("\nSettings\n").next());
        let table = table.ok_or("no pull table")?;
        for (namespace, hosts) in &fixture.pulls {
            let mut found: Vec<String> = Vec::new();
            let mut inside = false;
            // What nobody named stands in the last row.
            let listed = table.contains(&format!("\n  {namespace}: "));
            let row = if listed {
                namespace.as_str()
            } else {
                "any other registry"
            };
            for line in table.lines() {
                if line.starts_with("  ") && !line.starts_with("   ") {
                    inside = line.trim_start().starts_with(&format!("{row}: "));
                } else if inside && line.trim() == "afterwards" {
                    found.clear();
                } else if inside && line.trim() != "today" {
                    let url = line.trim().split(" (").next().unwrap_or_default();
                    found.push(url.replace("<registry>", namespace));
                }
            }
            if found != *hosts {
                return Err(format!(
                    "{namespace}: expected {hosts:#?}, found {found:#?}\n{table}"
                ));
            }
        }
        Ok(())
    });
}

#[test]
fn apply_makes_the_tree_that_was_written_by_hand() {
    let scratch = MemoryScratch::new("golden-apply");
    for_each(|fixture| {
        let node = scratch.join(&fixture.name);
        copy_tree(&fixture.node(), &node);
        let ran = run_on(fixture, &node, &["apply", "--yes"]);
        let code = if fixture.is_migrated() {
            0
        } else {
            fixture.exit
        };
        expect(&format!("exit {code} was expected"), ran.code == code, &ran)?;
        let expected = if fixture.is_migrated() {
            fixture.after()
        } else {
            fixture.node()
        };
        let difference = tree_difference(&expected, &node);
        if !difference.is_empty() {
            return Err(difference);
        }
        if !fixture.is_migrated() {
            return Ok(());
        }
        // Whatever made the first run need an option, the second has nothing to do.
        let again = run_on(fixture, &node, &["plan", "--format", "diff"]);
        expect(
            "plan after apply has nothing to do",
            again.code == 0 && again.stdout.is_empty(),
            &again,
        )?;
        let again = run_on(fixture, &node, &["apply"]);
        expect(
            "apply after apply has nothing to do",
            again.code == 0,
            &again,
        )?;
        let difference = tree_difference(&expected, &node);
        if !difference.is_empty() {
            return Err(difference);
        }
        let back = run_on(fixture, &node, &["rollback", "--yes"]);
        expect("the run is rolled back", back.code == 0, &back)?;
        let difference = tree_difference(&fixture.node(), &node);
        if difference.is_empty() {
            Ok(())
        } else {
            Err(difference)
        }
    });
}

#[test]
fn the_diff_is_what_apply_does_and_its_digest_is_the_plans() {
    let scratch = MemoryScratch::new("golden-diff");
    for_each(|fixture| {
        if !fixture.is_migrated() {
            return Ok(());
        }
        let diff = run_on(fixture, &fixture.node(), &["plan", "--format", "diff"]);
        let text = run_on(fixture, &fixture.node(), &["plan"]);
        let patch = scratch.join(format!("{}.patch", fixture.name));
        fs::write(&patch, &diff.stdout).unwrap();
        let sum = Command::new("sha256sum").arg(&patch).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        let sum = sum.split_whitespace().next().unwrap();
        let said = text
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("Digest: "));
        expect(
            &format!("digest {said:?}, but the diff's is {sum}"),
            said == Some(sum),
            &text,
        )?;
        let expected = scratch.join(format!("{}.expect", fixture.name));
        copy_tree(&fixture.node(), &expected);
        let other = "0".repeat(64);
        let ran = run_on(fixture, &expected, &["apply", "--expect", &other]);
        expect("another digest is refused", ran.code == 3, &ran)?;
        if !tree_difference(&fixture.node(), &expected).is_empty() {
            return Err("a refused digest has changed the node".to_owned());
        }
        let ran = run_on(fixture, &expected, &["apply", "--expect", sum]);
        expect("the reviewed digest is applied", ran.code == 0, &ran)?;
        if diff.stderr.contains("is masked in this diff") {
            return Ok(());
        }
        let node = scratch.join(&fixture.name);
        copy_tree(&fixture.node(), &node);
        git_apply(&node, &patch)?;
        let difference = tree_difference(&fixture.after(), &node);
        if difference.is_empty() {
            Ok(())
        } else {
            Err(difference)
        }
    });
}

fn git_apply(root: &Path, patch: &Path) -> Result<(), String> {
    // Inside a repository git would leave out what is not below its own top.
    let output = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(patch)
        .current_dir(root)
        .env("GIT_DIR", root.join("no-repository"))
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "git apply: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[test]
fn every_code_but_the_impossible_one_has_a_fixture() {
    let fixtures = fixtures();
    let seen: Vec<&str> = fixtures
        .iter()
        .flat_map(|f| &f.findings)
        .map(String::as_str)
        .collect();
    for code in containerd_registry_migrate::finding::ALL {
        // A proof that fails is a bug in the plan, and what changed since an apply is no node to plan for.
        let impossible = ["proof-failed", "changed-since-apply"].contains(&code.name);
        assert!(
            impossible || seen.contains(&code.name),
            "{} has no fixture",
            code.name
        );
    }
}
