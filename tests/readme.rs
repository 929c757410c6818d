//! What README.md and the guide show is what happens, and the README is short and has its parts.
//!
//! A `console` block has commands after `$ ` and the stdout of each; a line `...` stands for any lines. A `sh` block has
//! commands alone, which end well. They are run on a node that tests/data/node.sh makes of the fixture
//! `mirror-with-private-ca`, with the files at their real places (`/etc/containerd/config.toml`), in namespaces of its own:
//! as root, or as a user who may make them. Where neither is possible, the test says so and passes, except under `CI=true`.
//! containerd 1.7.24, `ctr`, `crictl` and `systemctl` are stand-ins there. Commands from the repository (`cargo run`) are run
//! in the repository.
//!
//! What GitHub does not show is said in a comment above the block: `<!-- exit: 1 -->` is the exit code of its commands,
//! and `<!-- not run: WHY -->` is for blocks that are tested elsewhere or cannot be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use containerd_registry_migrate::finding::{ALL, Code, Decision, Severity};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A block of code in a document.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: String,
    /// What the comment above it says.
    comment: String,
    lines: Vec<String>,
}

/// A command of a document, and what comes of it.
struct Step {
    command: String,
    code: i32,
    /// The lines that it prints; none where the document does not show them.
    expected: Option<Vec<String>>,
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut above = "";
    for line in text.lines() {
        match fence {
            Some(end) if line == end => fence = None,
            Some(_) => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            None if line.starts_with("```") => {
                let language = line.trim_start_matches('`');
                fence = line.get(..line.len() - language.len());
                let comment = above.strip_prefix("<!-- ");
                let comment = comment.and_then(|comment| comment.strip_suffix(" -->"));
                blocks.push(Block {
                    language: language.to_owned(),
                    comment: comment.unwrap_or_default().to_owned(),
                    lines: Vec::new(),
                });
            }
            None => {}
        }
        above = line;
    }
    assert_eq!(fence, None, "a block does not end");
    blocks
}

fn steps(block: &Block) -> Vec<Step> {
    let code = block.comment.strip_prefix("exit: ");
    let code = code.map_or(0, |code| code.parse().unwrap());
    let mut steps: Vec<Step> = Vec::new();
    for line in &block.lines {
        if block.language == "sh" {
            let command = line.split(" #").next().unwrap_or_default().trim();
            steps.push(Step {
                command: command.to_owned(),
                code,
                expected: None,
            });
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                code,
                expected: Some(Vec::new()),
            });
        } else {
            let step = steps.last_mut().unwrap();
            step.expected.as_mut().unwrap().push(line.clone());
        }
    }
    steps.retain(|step| !step.command.is_empty());
    steps
}

/// The commands of a document that are run, in its order.
fn steps_of(name: &str) -> Vec<Step> {
    let mut steps_of_all = Vec::new();
    for block in blocks(&document(name)) {
        let is_run = !block.comment.starts_with("not run: ");
        match block.language.as_str() {
            "console" | "sh" if is_run => steps_of_all.extend(steps(&block)),
            "console" | "sh" | "text" | "toml" => {}
            other => panic!("{name}: a block of `{other}`, which nothing tests"),
        }
    }
    steps_of_all
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

fn check(name: &str, step: &Step, code: Option<i32>, stdout: &str, stderr: &str) {
    let said = format!("{name}: {}\nexit {code:?}\n{stdout}{stderr}", step.command);
    assert_eq!(code, Some(step.code), "{said}");
    let found: Vec<&str> = stdout.lines().collect();
    if let Some(expected) = &step.expected {
        assert!(matches(expected, &found), "{said}");
    }
}

/// Runs the commands on a node of their own. False if this user cannot have one.
fn run_on_a_node(name: &str, steps: &[Step]) -> bool {
    let scratch = support::scratch(&format!("readme-{}", name.replace('/', "-")));
    let (root, commands) = (scratch.join("root"), scratch.join("commands"));
    for directory in [&root, &commands] {
        fs::create_dir(directory).unwrap();
    }
    for (place, step) in steps.iter().enumerate() {
        let file = commands.join(format!("{}.command", place + 1));
        fs::write(file, &step.command).unwrap();
    }
    let is_root = rustix::process::geteuid().is_root();
    let user: &[&str] = if is_root { &[] } else { &["--map-root-user"] };
    let node = support::fixture("mirror-with-private-ca").node();
    let output = Command::new("unshare")
        .args(user)
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", include_str!("data/node.sh"), "sh"])
        .args([&root, &node, Path::new(support::PROGRAM), &commands])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() && !commands.join("1.code").exists() {
        assert!(
            !is_root && std::env::var("CI").as_deref() != Ok("true"),
            "{stderr}"
        );
        println!("{name}: not run, since this user may not make namespaces: {stderr}");
        return false;
    }
    for (place, step) in steps.iter().enumerate() {
        let read = |kind: &str| {
            let file = commands.join(format!("{}.{kind}", place + 1));
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}\n{stderr}"))
        };
        let code = read("code").trim().parse().ok();
        check(name, step, code, &read("stdout"), &read("stderr"));
    }
    true
}

fn every_command_does_what_is_shown(name: &str) {
    let mut on_node = Vec::new();
    let mut in_repository = 0;
    for step in steps_of(name) {
        if step.command == "tests/run.sh" {
            // It is what runs this test.
            assert!(Path::new(ROOT).join("tests/run.sh").exists());
        } else if let Some(arguments) = step.command.strip_prefix("cargo run --release -- ") {
            let output = Command::new(support::PROGRAM)
                .args(arguments.split(' '))
                .current_dir(ROOT)
                .env("NO_COLOR", "1")
                .output()
                .unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            check(name, &step, output.status.code(), &stdout, &stderr);
            in_repository += 1;
        } else {
            on_node.push(step);
        }
    }
    assert!(on_node.len() >= 5, "{name}: the blocks are found");
    assert_eq!(in_repository, usize::from(name == "README.md"));
    run_on_a_node(name, &on_node);
}

#[test]
fn every_command_of_the_readme_does_what_is_shown() {
    every_command_does_what_is_shown("README.md");
}

#[test]
fn every_command_of_the_guide_does_what_is_shown() {
    every_command_does_what_is_shown("docs/guide.md");
}

/// So the commands of the translation are tested, too.
#[test]
fn the_translation_has_the_blocks_of_the_readme() {
    let without_remarks = |name| {
        let mut blocks = blocks(&document(name));
        for block in &mut blocks {
            for line in &mut block.lines {
                if block.language == "sh" {
                    *line = line
                        .split(" #")
                        .next()
                        .unwrap_or_default()
                        .trim_end()
                        .to_owned();
                }
            }
        }
        blocks
    };
    let (original, translation) = ("README.md", "README.zh-CN.md");
    assert_eq!(without_remarks(original), without_remarks(translation));
}

/// `dist/test.sh` installs these packages, and looks for the names in the README among them.
#[test]
fn the_packages_of_the_readme_have_the_name_and_version_of_this_one() {
    let readme = blocks(&document("README.md"));
    let is_install = |block: &&Block| block.comment.starts_with("not run: dist/test.sh");
    let install = readme.iter().find(is_install).unwrap();
    assert!(install.lines.len() >= 6);
    for line in &install.lines {
        assert!(
            line.contains(env!("CARGO_PKG_NAME")) || line.contains("--path ."),
            "{line}"
        );
        let names_a_file = ["dpkg", "rpm", "tar", "skopeo"]
            .iter()
            .any(|tool| line.starts_with(tool));
        assert!(
            !names_a_file || line.contains(env!("CARGO_PKG_VERSION")),
            "{line}"
        );
    }
}

#[test]
fn the_picture_of_the_readme_is_what_becomes_of_the_node() {
    let readme = blocks(&document("README.md"));
    let picture = readme
        .iter()
        .find(|block| block.language == "text")
        .unwrap();
    let fixture = support::fixture("mirror-with-private-ca");
    let mut tree = fixture.node();
    let mut lines_of_file: Vec<String> = Vec::new();
    let mut files = 0;
    for line in picture.lines.iter().filter(|line| !line.is_empty()) {
        if line.starts_with("after") {
            tree = fixture.after();
        }
        match line
            .split_once('/')
            .filter(|(before, _)| !before.contains(['[', '=']))
        {
            Some((_, path)) => {
                let text = fs::read_to_string(tree.join(path)).unwrap();
                lines_of_file = text.lines().map(|line| line.trim().to_owned()).collect();
                files += 1;
            }
            None => assert!(
                lines_of_file.iter().any(|other| other == line.trim()),
                "{line}"
            ),
        }
    }
    assert_eq!(files, 3);
}

/// Two minutes: a newcomer reads it, and has installed it after the second section.
#[test]
fn the_readme_is_short_and_in_its_order() {
    let readme = document("README.md");
    let words = readme.split_whitespace().count();
    assert!(words <= 1_200, "{words} words");
    let headings: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let expected = [
        "Install",
        "Use",
        "The ticket",
        "Upgrade paths",
        "Guarantees",
        "Try it from this repository",
        "Links",
    ];
    assert_eq!(headings, expected);
}

/// The top of docs/findings.md.
const FINDINGS: &str = "\
# Findings

What the program reports about the content of a node's files. This page is generated from `src/finding.rs` and the fixtures; `UPDATE=1 cargo test --test readme` writes it anew.
`containerd-registry-migrate check --explain CODE` prints the explanation of one finding.

| severity | meaning |
|---|---|
| error | nothing is written until it is decided or fixed (exit code 3) |
| warning | someone should look; nothing is blocked |
| note | for the record |

An error that `--allow CODE` accepts becomes a warning. [questions.md](questions.md) has more about the other options.

";

/// A fixture that has a finding, the plainest one: no option that decides it, its name, few other findings, few files.
fn example(fixtures: &[support::Fixture], code: &Code) -> Option<String> {
    let has_it =
        |fixture: &&support::Fixture| fixture.findings.iter().any(|name| name == code.name);
    let mut candidates: Vec<&support::Fixture> = fixtures.iter().filter(has_it).collect();
    candidates.sort_by_key(|fixture| {
        let is_decided = fixture
            .args
            .iter()
            .any(|word| word == "--allow" || word == "--existing" || word == "--v1");
        let files = support::tree(&fixture.node()).len();
        (
            is_decided,
            !fixture.run_name().starts_with(code.name),
            fixture.findings.len(),
            files,
            fixture.name.clone(),
        )
    });
    candidates.into_iter().find_map(|fixture| {
        let marks =
            ["error", "warning", "note"].map(|severity| format!("{severity}[{}]:", code.name));
        let node = fixture.node();
        let ran = support::run_on(fixture, &node, &["plan"]);
        let report = ran.stdout.replace(node.to_str().unwrap(), "node");
        let is_first = |line: &&str| !marks.iter().any(|mark| line.starts_with(mark));
        let lines = report.lines().skip_while(is_first);
        let finding: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        let topic = fixture
            .name
            .split('/')
            .take(2)
            .collect::<Vec<_>>()
            .join("/");
        (!finding.is_empty()).then(|| {
            format!(
                "Example, from `fixtures/{topic}`:\n\n```text\n{}\n```\n\n",
                finding.join("\n")
            )
        })
    })
}

/// Options whose answer belongs to them.
const ANSWERED: [&str; 3] = ["--existing", "--inert", "--v1"];

/// A text as Markdown: options with their answers, settings with their values, paths, URLs and names with `_` or `*` are
/// code, as what is in backticks already.
fn plain(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut is_code = false;
    let mut left = text.split(' ').peekable();
    while let Some(word) = left.next() {
        let mut word = word.to_owned();
        let name = word.trim_start_matches('(');
        let more = match left.peek() {
            Some(&"=") => 2,
            Some(answer) => {
                let is_answer = answer.starts_with(|c: char| c.is_ascii_alphabetic());
                usize::from(ANSWERED.contains(&name) && is_answer)
            }
            None => 0,
        };
        for next in left.by_ref().take(more) {
            word += " ";
            word += next;
        }
        let was_code = is_code;
        is_code ^= word.matches('`').count() % 2 == 1;
        let start = word.trim_start_matches('(');
        let name = start.trim_end_matches([',', ';', ':', ')']);
        let end = name.strip_suffix('.').filter(|name| !name.ends_with('.'));
        let name = end.unwrap_or(name);
        let is_name = name.starts_with("--")
            || name.starts_with('/')
            || name.contains("://")
            || name.contains(['_', '*', '<', '[', '|']);
        if was_code || word.contains('`') || !is_name {
            words.push(word);
        } else {
            let before = word.strip_suffix(start).unwrap_or_default();
            let after = start.strip_prefix(name).unwrap_or_default();
            words.push(format!("{before}`{name}`{after}"));
        }
    }
    words.join(" ").replace('|', "\\|")
}

/// What an operator can do.
fn way_out(code: &Code) -> String {
    match code.decision {
        Decision::Allow(effect) => format!(
            "Way out: do what the message says, or `--allow {}`, which {}.",
            code.name,
            plain(effect)
        ),
        Decision::Option(options) => {
            let answers = options
                .split("; ")
                .map(|answer| match answer.split_once(": ") {
                    Some((option, effect)) if option.starts_with("--") => {
                        format!("`{option}`: {}", plain(effect))
                    }
                    _ => plain(answer),
                });
            let answers: Vec<String> = answers.collect();
            format!("Way out: {}.", answers.join("; "))
        }
        Decision::HandEdit if code.severity == Severity::Error => {
            "Way out: do what the message says. No option accepts it.".to_owned()
        }
        Decision::HandEdit => "Nothing is blocked.".to_owned(),
    }
}

#[test]
fn every_finding_has_its_section() {
    let fixtures = support::fixtures();
    let severity = |code: &Code| format!("{:?}", code.severity).to_lowercase();
    let mut text = FINDINGS.to_owned();
    text += "| finding | severity | meaning |\n|---|---|---|\n";
    for code in ALL {
        writeln!(
            text,
            "| [{0}](#{0}) | {1} | {2} |",
            code.name,
            severity(code),
            plain(code.meaning)
        )
        .unwrap();
    }
    for code in ALL {
        writeln!(
            text,
            "\n## {}\n\n**{}**: {}\n",
            code.name,
            severity(code),
            plain(code.meaning)
        )
        .unwrap();
        writeln!(text, "{}\n", plain(code.explanation)).unwrap();
        text += &example(&fixtures, code).unwrap_or_default();
        writeln!(text, "{}", way_out(code)).unwrap();
    }
    let path = Path::new(ROOT).join("docs/findings.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let differs = found
        .lines()
        .zip(text.lines())
        .find(|(found, expected)| found != expected);
    assert!(
        found == text,
        "UPDATE=1 writes docs/findings.md anew; it differs at {differs:?}"
    );
}

#[test]
fn every_option_of_the_documents_is_in_the_help() {
    let mut help = support::run(["--help"]).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let commands = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<String> = commands.map(str::to_owned).collect();
    for command in commands.iter().filter(|command| !command.is_empty()) {
        help += &support::run([command.as_str(), "--help"]).stdout;
    }
    let of_others = [
        "--check",
        "--hosts-dir",
        "--locked",
        "--path",
        "--release",
        "--strip-components",
        "--verify",
        "--version",
    ];
    for name in [
        "README.md",
        "README.zh-CN.md",
        "docs/guide.md",
        "docs/faq.md",
        "docs/stability.md",
        "docs/security.md",
    ] {
        let text = document(name);
        let words = text.split(|c: char| c.is_whitespace() || "`(),.;:|，。；：、（）".contains(c));
        for option in words.filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
        }) {
            let option = option.split('=').next().unwrap_or_default();
            let listed = |line: &str| line.split([' ', ',', '<']).any(|word| word == option);
            assert!(
                of_others.contains(&option) || help.lines().any(listed),
                "{name}: {option} is not in the help"
            );
        }
    }
}
