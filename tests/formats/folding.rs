//! What people see of a large change.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::markdown::structure;
use crate::support::{run, scratch};

/// As many registries with a mirror each, and one more that differs.
const ALIKE: usize = 30;

/// A node with many registries that go through one mirror.
fn node(root: &Path) {
    let mut config = "version = 2\n".to_owned();
    let mirrors = "plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors";
    for number in 0..ALIKE {
        let _ = writeln!(
            config,
            "[{mirrors}.\"r{number:02}.example\"]\nendpoint = [\"https://m.example\"]"
        );
    }
    let _ = writeln!(
        config,
        "[{mirrors}.\"other.example\"]\nendpoint = [\"https://else.example\"]"
    );
    let directory = root.join("etc/containerd");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), config).unwrap();
}

#[test]
fn a_large_change_is_folded_unless_all_of_it_is_asked_for() {
    let root = scratch("formats-large");
    node(&root);
    let plan = |options: &[&str]| {
        let common = ["plan", "--root", root.to_str().unwrap(), "--to", "2.4.2"];
        let ran = run([&common[..], options].concat());
        assert_eq!((ran.code, &*ran.stderr), (1, ""));
        ran.stdout
    };
    let report: Value = serde_json::from_str(&plan(&["--format", "json"])).unwrap();
    let files = report["files"].as_array().unwrap();
    let namespaces = report["namespaces"].as_array().unwrap();
    assert_eq!(files.len(), ALIKE + 2);
    assert!(namespaces.len() > ALIKE);
    assert!(namespaces.iter().all(|namespace| namespace["same"] == true));
    let digest = report["digest"].as_str().unwrap();
    let diffs = |text: &str| text.matches("\n+++ b/").count();
    let identical = |text: &str| text.matches(": identical\n").count();

    let text = plan(&[]);
    // One of those that are alike, the one that is not, and config.toml.
    assert_eq!(diffs(&text), 3, "{text}");
    assert_eq!(identical(&text), 20);
    let hidden = format!(
        "  {} more: identical (--all shows them)\n",
        namespaces.len() - 20
    );
    assert!(text.contains(&hidden), "{text}");
    let whole = plan(&["--all"]);
    assert_eq!(
        (diffs(&whole), identical(&whole)),
        (files.len(), namespaces.len())
    );

    let markdown = plan(&["--format", "markdown"]);
    assert_eq!(structure(&markdown).unwrap().diffs.len(), 3, "{markdown}");
    let count = format!("Unchanged pulls: {}", namespaces.len());
    assert!(markdown.contains(&count), "{markdown}");
    let whole_markdown = plan(&["--format", "markdown", "--all"]);
    let diffs = structure(&whole_markdown).unwrap().diffs;
    assert!(
        diffs
            .iter()
            .eq(files.iter().map(|file| file["diff"].as_str().unwrap()))
    );

    // Whatever is folded, every registry is named, and the digest is of everything.
    for output in [&text, &whole, &markdown, &whole_markdown] {
        assert!(output.contains(digest));
        for number in 0..ALIKE {
            let name = format!("r{number:02}.example");
            assert!(output.contains(&name), "{name}: {output}");
        }
    }
    assert_eq!(
        plan(&["--format", "json", "--all"]),
        plan(&["--format", "json"])
    );
}
