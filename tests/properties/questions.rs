//! Every command that a report prints to answer its questions works, and the answers to one question differ.

use std::fs;
use std::path::Path;
use std::process::Command as Process;

use containerd_registry_migrate::commands;
use containerd_registry_migrate::containerd::release::Version;
use containerd_registry_migrate::node as disk;
use containerd_registry_migrate::report::{Command, Outcome, Question};
use containerd_registry_migrate::request::Request;
use serde_json::Value;

use crate::node::{CONFIG, Node, SECRETS};
use crate::random::Random;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-registry-migrate");

/// Plans a node without any answer and runs every command that is printed; the result is the answers that were tried.
pub(crate) fn check(seed: u64, root: &Path) -> Result<Vec<String>, String> {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    fs::create_dir_all(root).unwrap();
    let node = lay_out(seed, root);
    let version = |text: &str| Version::parse(text).unwrap();
    let request = Request {
        root: root.to_str().unwrap().to_owned(),
        from: node.options.from.map(version),
        to: node.options.to.map(version),
        ..Request::default()
    };
    let disk = disk::Node::open(&request.root).map_err(|error| error.to_string())?;
    let planned = commands::plan(&disk, Command::Plan, &request);
    let report = planned
        .map_err(|unread| format!("not read: {unread}"))?
        .report;
    if report.outcome != Outcome::Refused && !report.questions.is_empty() {
        return Err(format!("asked without need: {:?}", report.questions));
    }
    let mut tried = Vec::new();
    for question in &report.questions {
        let mut written = Vec::new();
        for answer in &question.answers {
            tried.push(answer.option.clone());
            let files = run(&answer.command)?;
            if written.contains(&files) {
                return Err(format!("the same files: {question:?}"));
            }
            written.push(files);
        }
    }
    is_said_in_full(&report.questions)?;
    Ok(tried)
}

/// A random node: one file, or config.toml with a drop-in of its own version, of another one, or of none.
fn lay_out(seed: u64, root: &Path) -> Node {
    let node = Node::of(seed);
    let mut random = Random::of(seed, "questions");
    let main = node.write().text;
    if random.percent(40) || main.starts_with('\u{feff}') || main.contains("\r\n") {
        node.lay_out(root, &main);
        return node;
    }
    let main = match random.below(3) {
        0 => main.replacen("version = ", "# version = ", 1),
        _ => main,
    };
    let imports = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    node.lay_out(root, &format!("{imports}{main}"));
    let directory = root.join("etc/containerd/conf.d");
    fs::create_dir_all(&directory).unwrap();
    let drop_in = match random.below(4) {
        0 => "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  default_runtime_name = \"nvidia\"\n".to_owned(),
        1 => "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n  endpoint = [\"https://drop-in.example\"]\n".to_owned(),
        2 => "[plugins.\"io.containerd.cri.v1.images\".registry.mirrors.\"quay.io\"]\n  endpoint = [\"http://drop-in.example\"]\n".to_owned(),
        _ => Node::of(seed * 7 + 100_003).write().text,
    };
    fs::write(directory.join("10-drop-in.toml"), drop_in).unwrap();
    assert!(root.join(CONFIG).is_file());
    node
}

/// Runs a printed command as it is printed, and returns the files that it would write.
fn run(command: &str) -> Result<Value, String> {
    let directory = Path::new(PROGRAM).parent().unwrap().display();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let run = |more: &str| {
        Process::new("sh")
            .args(["-c", &format!("{command}{more}")])
            .env("PATH", &path)
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    };
    let printed = run("");
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    if !matches!(printed.status.code(), Some(0 | 1)) {
        return Err(format!("refused: {command}\n{text}"));
    }
    for secret in SECRETS {
        if text.contains(secret) {
            return Err(format!("secrets: {command}\n{text}"));
        }
    }
    let document = run(" --format json --show-secrets").stdout;
    let report: Value = serde_json::from_slice(&document).map_err(|error| error.to_string())?;
    match report["questions"].as_array() {
        Some(questions) if questions.is_empty() => Ok(report["files"].clone()),
        _ => Err(format!("still asked: {command}\n{}", report["questions"])),
    }
}

/// Each command answers every question that has an answer.
fn is_said_in_full(questions: &[Question]) -> Result<(), String> {
    for question in questions {
        for answer in &question.answers {
            if !answer.command.contains(&answer.option) {
                return Err(format!("without its answer: {answer:?}"));
            }
        }
    }
    Ok(())
}
