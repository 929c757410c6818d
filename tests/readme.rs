//! The README is a test: every `console` block is run, and every finding has its row.
//!
//! In a block, `$ command` is run by `sh` in a directory with `node`, a copy of the first fixture, and `fixtures`. What
//! follows is the expected stdout; a line `...` stands for any lines, and `? N` right below the command for its exit code.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use containerd_registry_migrate::finding::{Decision, Severity};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

struct Step {
    command: String,
    code: i32,
    expected: Vec<String>,
}

fn console_steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if !inside {
            continue;
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                code: 0,
                expected: Vec::new(),
            });
        } else if let Some(code) = line.strip_prefix("? ") {
            steps.last_mut().unwrap().code = code.parse().unwrap();
        } else {
            steps.last_mut().unwrap().expected.push(line.to_owned());
        }
    }
    steps
}

/// Whether the lines are as expected, `...` standing for any number of them.
fn matches(expected: &[String], found: &[&str]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=found.len()).any(|skip| matches(rest, &found[skip..]))
        }
        Some((first, rest)) => found
            .split_first()
            .is_some_and(|(line, found)| line == first && matches(rest, found)),
    }
}

#[test]
fn every_console_block_does_what_it_shows() {
    let scratch = support::scratch("readme");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    support::copy_tree(
        &support::fixture("private-http-registry").node(),
        &scratch.join("node"),
    );
    symlink(repository.join("fixtures"), scratch.join("fixtures")).unwrap();
    let bin = scratch.join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(support::PROGRAM, bin.join("containerd-registry-migrate")).unwrap();
    let steps = console_steps();
    assert!(steps.len() >= 6, "the blocks are found");
    for step in steps {
        let command = step
            .command
            .replace("cargo run --release --", "containerd-registry-migrate");
        if command == "tests/run.sh" {
            // It is what runs this test.
            assert!(repository.join("tests/run.sh").exists());
            continue;
        }
        if command.starts_with("systemctl ") {
            // There may be no systemd where the tests run; the operator's node has it.
            continue;
        }
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&scratch)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let found: Vec<&str> = stdout.lines().collect();
        assert_eq!(output.status.code(), Some(step.code), "{command}\n{stdout}");
        assert!(matches(&step.expected, &found), "{command}\n{stdout}");
    }
}

/// The table of findings is the one in the code, row by row.
#[test]
fn every_finding_has_its_row() {
    let mut table = String::new();
    for code in containerd_registry_migrate::finding::ALL {
        let severity = format!("{:?}", code.severity).to_lowercase();
        let decision = match code.decision {
            Decision::Allow(effect) => format!("`--allow`: {effect}"),
            Decision::Option(options) => options.to_owned(),
            Decision::HandEdit if code.severity == Severity::Error => "mend it".to_owned(),
            Decision::HandEdit => String::new(),
        };
        table.push_str(&format!(
            "| `{}` | {severity} | {} | {decision} |\n",
            code.name, code.meaning
        ));
    }
    if std::env::var_os("UPDATE").is_some() {
        let (before, rest) = README.split_once("|---|---|---|---|\n").unwrap();
        let rows = rest
            .lines()
            .take_while(|line| line.starts_with('|'))
            .count();
        let after: String = rest.split_inclusive('\n').skip(rows).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        std::fs::write(path, format!("{before}|---|---|---|---|\n{table}{after}")).unwrap();
        return;
    }
    assert!(README.contains(&table), "UPDATE=1 writes it:\n{table}");
}

#[test]
fn every_option_of_the_readme_is_in_the_help() {
    let help = ["apply", "rollback", "check"]
        .map(|command| support::run([command, "--help"]).stdout)
        .concat();
    let words = README.split(|c: char| c.is_whitespace() || "`(),.;:|".contains(c));
    for option in words.filter(|word| {
        word.strip_prefix("--")
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
    }) {
        let of_others = [
            "--hosts-dir",
            "--release",
            "--profile",
            "--target",
            "--version",
        ];
        assert!(
            of_others.contains(&option) || help.contains(option),
            "{option} is not in the help"
        );
    }
}
