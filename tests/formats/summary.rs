//! `summarize`: many reports as one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::json::strict;
use crate::markdown::structure;
use crate::support::{self, PROGRAM, Ran, copy_tree, run, run_on, scratch};

/// The JSON report of a fixture's plan.
fn report(fixture: &str) -> String {
    let fixture = support::fixture(fixture);
    let ran = run_on(&fixture, &fixture.node(), &["plan", "--format", "json"]);
    assert_eq!(ran.stderr, "");
    ran.stdout
}

/// The same report of a node with this label.
fn of_node(report: &str, node: &str) -> String {
    let field = format!("\"node\": {},\n  \"versions\"", json!(node));
    assert!(report.contains("\"versions\""));
    report.replacen("\"versions\"", &field, 1)
}

/// A node without a config.toml.
fn failed() -> String {
    let root = scratch("summary-failed");
    fs::create_dir_all(root.join("etc/containerd")).unwrap();
    let missing = ["--config", "/etc/containerd/missing.toml"];
    let common = ["plan", "--format", "json", "--root", root.to_str().unwrap()];
    let ran = run([&common[..], &missing].concat());
    assert_eq!(ran.code, 4, "{ran:?}");
    ran.stdout
}

fn summarize(files: &[&Path], options: &[&str]) -> Ran {
    let files = files.iter().map(|file| file.to_str().unwrap());
    run(["summarize"]
        .into_iter()
        .chain(files)
        .chain(options.iter().copied()))
}

/// What `summarize -` makes of a stream.
fn of_stream(stream: &str, options: &[&str]) -> Ran {
    let mut child = Command::new(PROGRAM)
        .args(["summarize", "-"])
        .args(options)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stream.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn parsed(ran: &Ran) -> Value {
    let summary: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let errors: Vec<String> = strict()
        .iter_errors(&summary)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        (&summary["exit_code"], &*ran.stderr),
        (&json!(ran.code), "")
    );
    summary
}

/// Nodes with something to migrate, each of its own kind.
const PLANS: [&str; 4] = [
    "private-http-registry",
    "whole-node",
    "order-kept",
    "k3s-style-flat",
];

/// A fleet: five kinds of nodes, two that are refused, one that failed, one file that is no report.
struct Fleet {
    directory: PathBuf,
    files: Vec<PathBuf>,
    /// The nodes of each kind.
    nodes: BTreeMap<&'static str, Vec<String>>,
}

fn fleet(name: &str, count: usize) -> Fleet {
    let directory = scratch(name);
    let kinds: Vec<(&str, String)> = ["a", "b", "c", "d", "nothing"]
        .into_iter()
        .zip(PLANS.into_iter().chain(["default-dump"]).map(report))
        .collect();
    let mut fleet = Fleet {
        files: Vec::new(),
        nodes: BTreeMap::new(),
        directory,
    };
    let mut write = |kind: &'static str, report: &str, node: String| {
        let file = fleet.directory.join(format!("{node}.json"));
        fs::write(&file, of_node(report, &node)).unwrap();
        fleet.files.push(file);
        fleet.nodes.entry(kind).or_default().push(node);
    };
    for number in 0..count - 4 {
        // Each kind has another share of the nodes.
        let (kind, report) = &kinds[[0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4][number % 15]];
        write(kind, report, format!("node-{number:04}"));
    }
    let (mut refused, mut found) = (0, support::fixtures().into_iter());
    while refused < 2 {
        let fixture = found.find(|fixture| fixture.exit == 3).unwrap();
        let ran = run_on(&fixture, &fixture.node(), &["plan", "--format", "json"]);
        write("refused", &ran.stdout, format!("refused-{refused}"));
        refused += 1;
    }
    write("failed", &failed(), "failed-0".to_owned());
    let foreign = fleet.directory.join("foreign.json");
    fs::write(&foreign, "{\"kind\": \"Pod\", \"items\": []}\n").unwrap();
    fleet.files.push(foreign);
    fleet
}

#[test]
fn a_fleet_is_in_the_right_groups_and_every_node_is_named() {
    let fleet = fleet("summary-fleet", 1000);
    let files: Vec<&Path> = fleet.files.iter().map(PathBuf::as_path).collect();
    let summary = parsed(&summarize(&files, &["--format", "json"]));
    assert_eq!(summary["exit_code"], 4);
    assert_eq!(summary["reports"], 999);
    assert_eq!(summary["broken_count"], 1);
    assert!(
        summary["broken"][0]["file"]
            .as_str()
            .unwrap()
            .ends_with("foreign.json")
    );
    let groups = summary["groups"].as_array().unwrap();
    let found: Vec<(&str, usize)> = groups
        .iter()
        .map(|group| {
            let nodes = group["nodes"].as_array().unwrap().len();
            (group["outcome"].as_str().unwrap(), nodes)
        })
        .collect();
    let size = |kind| fleet.nodes[kind].len();
    assert_eq!(
        found[..5],
        [
            ("changes", size("a")),
            ("changes", size("b")),
            ("changes", size("c")),
            ("changes", size("d")),
            ("nothing", size("nothing")),
        ]
    );
    for (group, kind) in groups.iter().zip(["a", "b", "c", "d", "nothing"]) {
        assert_eq!(group["nodes"], json!(fleet.nodes[kind]), "{kind}");
    }
    // Both are refused, each by its own question; then what failed.
    let (failed, refused) = groups[5..].split_last().unwrap();
    assert_eq!(failed["outcome"], "failed");
    assert_eq!(failed["nodes"], json!(fleet.nodes["failed"]));
    assert!(refused.iter().all(|group| group["outcome"] == "refused"));
    let names = refused
        .iter()
        .flat_map(|group| group["nodes"].as_array().unwrap());
    let mut names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(json!(names), json!(fleet.nodes["refused"]));
    for group in refused {
        let codes = group["reasons"].as_array().unwrap();
        assert!(!codes.is_empty(), "{group}");
        for code in codes {
            let findings = group["report"]["findings"].as_array().unwrap();
            assert!(findings.iter().any(|finding| finding["code"] == *code));
        }
    }
    let digests: Vec<&Value> = groups[..4].iter().map(|group| &group["digest"]).collect();
    assert_eq!(summary["digests"], json!(digests));

    // As text and as Markdown every node is named, and every plan is there once.
    let text = summarize(&files, &[]);
    let markdown = summarize(&files, &["--format", "markdown"]);
    for ran in [&text, &markdown] {
        assert_eq!((ran.code, &*ran.stderr), (4, ""));
        for node in fleet.nodes.values().flatten() {
            assert!(ran.stdout.contains(node.as_str()), "{node}");
        }
        assert!(ran.stdout.contains("foreign.json"));
        for group in &groups[..4] {
            let files = group["report"]["files"].as_array().unwrap();
            let last = files.last().unwrap()["diff"].as_str().unwrap();
            assert_eq!(ran.stdout.matches(last).count(), 1, "{last}");
        }
        let changes = size("a") + size("b") + size("c") + size("d");
        let counts = format!(
            "999 reports: {changes} changes, 1 failed, {} nothing, 2 refused; not understood: 1",
            size("nothing")
        );
        let line = ran.stdout.lines().next().unwrap().replace('`', "");
        assert_eq!(line.trim_start_matches("**Summary**: "), counts);
    }
    let structure = structure(&markdown.stdout).unwrap();
    let plans = groups
        .iter()
        .flat_map(|group| group["report"]["files"].as_array().unwrap());
    assert!(structure.diffs.len() <= plans.count() && structure.diffs.len() >= 4);

    let digests = summarize(&files, &["--digests"]);
    let expected: String = groups[..4]
        .iter()
        .map(|group| format!("{}\n", group["digest"].as_str().unwrap()))
        .collect();
    assert_eq!((digests.code, digests.stdout), (4, expected));
}

#[test]
fn the_approved_digests_are_what_apply_expects() {
    let directory = scratch("summary-approved");
    let plan = directory.join("plan.json");
    fs::write(&plan, report(PLANS[0])).unwrap();
    let digests = summarize(&[&plan], &["--digests"]);
    assert_eq!(digests.code, 1, "{digests:?}");
    let approved = directory.join("approved");
    fs::write(&approved, &digests.stdout).unwrap();
    let fixture = support::fixture(PLANS[0]);
    let node = directory.join("node");
    copy_tree(&fixture.node(), &node);
    let approved = approved.to_str().unwrap();
    let applied = run_on(&fixture, &node, &["apply", "--expect-from", approved]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(support::tree_difference(&fixture.after(), &node), "");
}

#[test]
fn documents_are_read_in_whatever_form_they_come() {
    let one = of_node(&report(PLANS[0]), "one");
    let two = of_node(&report(PLANS[1]), "two");
    let compact = |text: &str| serde_json::from_str::<Value>(text).unwrap().to_string();
    let (line_one, line_two) = (compact(&one), compact(&two));
    for stream in [
        format!("{one}{two}"),
        format!("{line_one}\n{line_two}\n"),
        format!("{line_one}{line_two}"),
        format!("[{line_one},\n{line_two}]"),
        format!("\u{feff}{line_one}\r\n\r\n{line_two}\r\n"),
    ] {
        let summary = parsed(&of_stream(&stream, &["--format", "json"]));
        assert_eq!(summary["reports"], 2, "{stream}");
        assert_eq!(summary["broken_count"], 0);
        assert_eq!(summary["exit_code"], 1);
    }
}

#[test]
fn nothing_is_dropped_in_silence() {
    let whole = of_node(&report(PLANS[0]), "whole");
    let half = of_node(&report(PLANS[1]), "half");
    let (half, _) = half.split_at(half.len() / 2);
    let later = whole.replacen("\"schema\": 1", "\"schema\": 2", 1);
    let stream = format!(
        "{half}\n{whole}W1128 10:00:00 some log line\nand one more\n{{\"kind\": \"Pod\"}}\n{{x}}\n{later}{whole}"
    );
    let ran = of_stream(&stream, &["--format", "json"]);
    let summary = parsed(&ran);
    assert_eq!((ran.code, &summary["reports"]), (4, &json!(2)));
    let reasons: Vec<&str> = summary["broken"]
        .as_array()
        .unwrap()
        .iter()
        .map(|broken| broken["reason"].as_str().unwrap())
        .collect();
    let expected = [
        "the report of `half` breaks off: the command did not come to its end",
        "text, not a report",
        "JSON, but not a report",
        "not JSON",
        "schema is 2",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason}");
    }
    for broken in summary["broken"].as_array().unwrap() {
        // The place is where it says.
        let offset = usize::try_from(broken["offset"].as_u64().unwrap()).unwrap();
        let (before, _) = stream.split_at(offset);
        let line = before.matches('\n').count() + 1;
        assert_eq!(broken["line"], line, "{broken}");
        assert!(offset == 0 || before.ends_with('\n'), "{broken}");
    }
    assert_eq!(summary["repeated"], json!(["whole"]));

    let empty = of_stream("", &["--format", "json"]);
    assert_eq!(
        (empty.code, &parsed(&empty)["broken_count"]),
        (4, &json!(1))
    );
    let missing = summarize(&[Path::new("/no/such/file")], &[]);
    assert!(
        missing.code == 4 && missing.stdout.contains("/no/such/file"),
        "{missing:?}"
    );
}

#[test]
fn a_report_of_a_later_version_is_understood() {
    let later = report(PLANS[0])
        .replacen(
            "\"schema\": 1",
            "\"schema\": 1, \"added_later\": {\"x\": [1]}",
            1,
        )
        .replace("skip-verify-on-http-endpoint", "found-in-2030");
    let ran = of_stream(&later, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("found-in-2030"), "{}", ran.stdout);
}

#[test]
fn a_report_with_an_unknown_outcome_is_not_understood() {
    let weird = of_node(&report(PLANS[0]), "one").replacen(
        "\"outcome\": \"changes\"",
        "\"outcome\": \"weird\"",
        1,
    );
    let summary = parsed(&of_stream(&weird, &["--format", "json"]));
    assert_eq!(
        (&summary["reports"], &summary["groups"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(
        (&summary["broken_count"], &summary["exit_code"]),
        (&json!(1), &json!(4))
    );
    let reason = summary["broken"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("outcome `weird`"), "{reason}");
}

#[test]
fn nodes_with_more_than_one_report_are_counted_and_named() {
    let one = of_node(&report(PLANS[0]), "one");
    let stream = format!("{one}{}{one}", of_node(&report(PLANS[1]), "two"));
    let summary = parsed(&of_stream(&stream, &["--format", "json"]));
    assert_eq!(summary["repeated"], json!(["one"]));
    for (format, named) in [
        ("text", "Nodes with more than one report\n  one\n"),
        ("markdown", "## Nodes with more than one report\n\n`one`\n"),
    ] {
        let ran = of_stream(&stream, &["--format", format]);
        let (counts, rest) = ran.stdout.split_once('\n').unwrap();
        assert!(
            counts.ends_with("; nodes with more than one report: 1"),
            "{counts}"
        );
        assert!(rest.contains(named), "{rest}");
    }
}

#[test]
fn the_worst_outcome_is_the_exit_code() {
    let refused = support::fixtures()
        .into_iter()
        .find(|fixture| fixture.exit == 3);
    let fixture = refused.unwrap();
    let refused = run_on(&fixture, &fixture.node(), &["plan", "--format", "json"]).stdout;
    let changes = report(PLANS[0]);
    for (stream, code) in [
        (changes.clone(), 1),
        (format!("{changes}{refused}"), 3),
        (format!("{changes}{refused}{}", failed()), 4),
    ] {
        assert_eq!(of_stream(&stream, &[]).code, code);
    }
}

/// Reports come from other machines.
#[test]
fn no_report_forges_a_line_or_markup() {
    let forged = "x\n- forged @team\u{1b}[2J\u{202e} <b>```` | [x](http://evil.example)";
    let mut document: Value = serde_json::from_str(&report(PLANS[0])).unwrap();
    fn forge(value: &mut Value, forged: &str) {
        match value {
            Value::String(text) if text.contains('.') || text.contains('/') => {
                *text = format!("{text}{forged}");
            }
            Value::Array(values) => values.iter_mut().for_each(|value| forge(value, forged)),
            Value::Object(fields) => fields.values_mut().for_each(|value| forge(value, forged)),
            _ => {}
        }
    }
    for name in ["files", "namespaces", "findings", "settings", "config"] {
        forge(&mut document[name], forged);
    }
    document["node"] = json!(forged);
    let stream = document.to_string();
    let text = of_stream(&stream, &[]);
    assert_eq!((text.code, &*text.stderr), (1, ""));
    let is_diff =
        |line: &str| line.starts_with(['+', '-', ' ', '@']) && !line.starts_with("- forged");
    for line in text.stdout.lines() {
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
        assert!(
            !line.starts_with("- forged") || is_diff(line),
            "{}",
            text.stdout
        );
    }
    let markdown = of_stream(&stream, &["--format", "markdown"]);
    structure(&markdown.stdout).unwrap_or_else(|error| panic!("{error}\n{}", markdown.stdout));
}

/// Reports come from other machines, and perhaps from other programs.
#[test]
fn what_is_printed_below_a_diff_begins_a_line() {
    let report = report(PLANS[0]);
    let mut report: Value = serde_json::from_str(&report).unwrap();
    let file = &mut report["files"][0];
    file["diff"] = json!(file["diff"].as_str().unwrap().trim_end());
    file["masked"] = json!(true);
    let ran = of_stream(&report.to_string(), &[]);
    assert!(
        ran.stdout.contains("\nSecrets are masked; this diff"),
        "{}",
        ran.stdout
    );
}
