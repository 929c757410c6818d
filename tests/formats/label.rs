//! The label that `--node` gives.

use std::fs;

use serde_json::{Value, json};

use crate::support::{self, copy_tree, run_on, scratch};

const FIXTURE: &str = "private-http-registry";
/// Where the program keeps its journals.
const STATE_DIR: &str = "var/lib/containerd-registry-migrate";
const LABEL: &str = "zaunkoenig";

#[test]
fn the_label_is_in_the_json_report_and_in_nothing_else() {
    let fixture = support::fixture(FIXTURE);
    let node = fixture.node();
    for command in [&["plan"][..], &["check"], &["hosts", "nginx"]] {
        for format in ["text", "markdown"] {
            let command = [command, &["--format", format]].concat();
            let labelled = [&command[..], &["--node", LABEL]].concat();
            let ran = run_on(&fixture, &node, &labelled);
            let plain = run_on(&fixture, &node, &command);
            assert_eq!(
                (ran.code, ran.stdout),
                (plain.code, plain.stdout),
                "{command:?}"
            );
        }
        let command = [command, &["--format", "json"]].concat();
        let labelled = [&command[..], &["--node", LABEL]].concat();
        let ran = run_on(&fixture, &node, &labelled);
        assert_eq!(ran.stdout.matches(LABEL).count(), 1, "{}", ran.stdout);
        let mut report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let label = report.as_object_mut().unwrap().remove("node");
        assert_eq!(label, Some(json!(LABEL)));
        let plain = run_on(&fixture, &node, &command);
        let plain: Value = serde_json::from_str(&plain.stdout).unwrap();
        assert_eq!(report, plain);
    }
}

#[test]
fn the_label_is_not_written_to_the_node() {
    let fixture = support::fixture(FIXTURE);
    let directory = scratch("formats-label");
    let node = directory.join("node");
    copy_tree(&fixture.node(), &node);
    let apply = ["apply", "--yes", "--format", "json", "--node", LABEL];
    let ran = run_on(&fixture, &node, &apply);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.matches(LABEL).count(), 1, "{}", ran.stdout);
    let mut directories = vec![node];
    let mut journals = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains(LABEL), "{}: {text}", path.display());
            journals += usize::from(path.to_str().unwrap().contains(STATE_DIR));
        }
    }
    assert!(journals > 0);
}
