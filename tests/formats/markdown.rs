//! Markdown, rendered with the extensions that forges have.

use std::fs;

use comrak::nodes::{ListType, NodeValue};
use comrak::{Arena, Options, parse_document};
use serde_json::Value;

use crate::on_every_fixture;
use crate::support::{Ran, run, run_on, scratch};

/// Everything that a forge may find in a text and is not meant to be there.
fn options() -> Options<'static> {
    let mut options = Options::default();
    let extension = &mut options.extension;
    extension.table = true;
    extension.autolink = true;
    extension.strikethrough = true;
    extension.tasklist = true;
    extension.footnotes = true;
    extension.alerts = true;
    extension.math_dollars = true;
    extension.math_code = true;
    options.parse.relaxed_autolinks = true;
    options
}

/// What a rendered text consists of.
#[derive(Debug, Default)]
pub(crate) struct Structure {
    /// The text of each block of code, by its language.
    pub(crate) diffs: Vec<String>,
    commands: Vec<String>,
    items: usize,
    /// The cells of each row of tables.
    rows: Vec<Vec<String>>,
    headings: Vec<String>,
}

/// The structure, or what must not be in it.
pub(crate) fn structure(text: &str) -> Result<Structure, String> {
    let arena = Arena::new();
    let root = parse_document(&arena, text, &options());
    let mut found = Structure::default();
    for node in root.descendants() {
        let value = &node.data().value;
        match value {
            NodeValue::Document
            | NodeValue::Paragraph
            | NodeValue::Strong
            | NodeValue::SoftBreak
            | NodeValue::Code(_)
            | NodeValue::Table(_)
            | NodeValue::TableCell => {}
            NodeValue::TableRow(_) => {
                let cells = node.children().map(plain).collect();
                found.rows.push(cells);
            }
            NodeValue::Heading(heading) if [2, 3].contains(&heading.level) && !heading.setext => {
                found.headings.push(plain(node));
            }
            NodeValue::List(list) if list.list_type == ListType::Bullet => {
                let is_top = node
                    .parent()
                    .is_some_and(|parent| matches!(parent.data().value, NodeValue::Document));
                if !is_top {
                    return Err("a list in a list".to_owned());
                }
            }
            NodeValue::Item(_) => found.items += 1,
            NodeValue::CodeBlock(block) if block.fenced => match block.info.as_str() {
                "diff" => found.diffs.push(block.literal.clone()),
                "sh" => found.commands.push(block.literal.clone()),
                // What a command that changes the node says, and lists of digests.
                "text" => {}
                other => return Err(format!("a fence of {other:?}")),
            },
            NodeValue::Text(text) => {
                let suspect = ["@", "://", "www.", "<", "#", "!["];
                if let Some(sign) = suspect.iter().find(|sign| text.contains(**sign)) {
                    return Err(format!("{sign} in {text:?}"));
                }
            }
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(found)
}

/// The text below a node, without markup.
fn plain<'a>(node: comrak::Node<'a>) -> String {
    let mut text = String::new();
    for node in node.descendants() {
        match &node.data().value {
            NodeValue::Text(part) => text.push_str(part),
            NodeValue::Code(code) => text.push_str(&code.literal),
            _ => {}
        }
    }
    text
}

/// Whether the structure is that of the report.
fn agrees(ran: &Ran, report: &Value, is_whole: bool) -> Result<(), String> {
    if ran.code != report["exit_code"] || !ran.stderr.is_empty() {
        return Err(format!("exit {}: {}", ran.code, ran.stderr));
    }
    let found = structure(&ran.stdout).map_err(|error| format!("{error}\n{}", ran.stdout))?;
    let wrong = |what: String| Err(format!("{what}\n{}", ran.stdout));
    let list = |name: &str| report[name].as_array().unwrap();
    let items = list("findings").len() + list("not_ready").len();
    if found.items != items {
        return wrong(format!("{} items, not {items}", found.items));
    }
    let diffs: Vec<&str> = list("files")
        .iter()
        .map(|file| file["diff"].as_str().unwrap())
        .collect();
    if is_whole && found.diffs != diffs {
        return wrong("the diffs are others".to_owned());
    }
    if !found
        .diffs
        .iter()
        .all(|diff| diffs.contains(&diff.as_str()))
    {
        return wrong("a diff that is not the report's".to_owned());
    }
    let changed = list("namespaces")
        .iter()
        .filter(|pulls| is_whole || pulls["same"] == false);
    let mut tables = vec![changed.count(), list("releases").len()];
    let releases = list("images")
        .iter()
        .flat_map(|image| image["releases"].as_array().unwrap());
    for release in releases {
        let rows = |pull: &Value| pull["hosts"].as_array().map_or(0, Vec::len);
        tables.push(rows(&release["today"]));
        if release["after"] != release["today"] {
            tables.push(rows(&release["after"]));
        }
    }
    let headings = tables.iter().filter(|rows| **rows > 0).count();
    let rows: usize = tables.iter().sum();
    if found.rows.len() != rows + headings {
        return wrong(format!("{} rows, not {rows}", found.rows.len()));
    }
    let widths: Vec<usize> = found.rows.iter().map(Vec::len).collect();
    if widths.iter().any(|width| ![3, 4, 5].contains(width)) {
        return wrong(format!("rows of {widths:?} cells"));
    }
    let digest = report["digest"].as_str().unwrap_or_default();
    if !ran.stdout.contains(digest) {
        return wrong("no digest".to_owned());
    }
    let commands: Vec<&str> = found.commands.iter().map(|text| text.trim_end()).collect();
    let answers = list("questions")
        .iter()
        .flat_map(|question| question["answers"].as_array().unwrap())
        .map(|answer| &answer["command"]);
    let expected: Vec<&Value> = answers
        .chain(list("next"))
        .chain(report.get("way_back"))
        .collect();
    if commands != expected {
        return wrong(format!("the commands are {commands:?}"));
    }
    Ok(())
}

#[test]
fn markdown_of_every_fixture_has_the_structure_of_its_report() {
    on_every_fixture(|fixture| {
        for command in [
            &["plan"][..],
            &["check"],
            &["hosts", "nginx", "a.example/x"],
        ] {
            let ran = |options: &[&str]| {
                let command = [command, &["--format"], options].concat();
                run_on(fixture, &fixture.node(), &command)
            };
            let report: Value = serde_json::from_str(&ran(&["json"]).stdout).unwrap();
            let in_command = |error: String| format!("{command:?}: {error}");
            agrees(&ran(&["markdown"]), &report, false).map_err(in_command)?;
            agrees(&ran(&["markdown", "--all"]), &report, true).map_err(in_command)?;
        }
        Ok(())
    });
}

/// Names that are markup wherever they are not code.
#[test]
fn no_name_is_markup() {
    let hostile = [
        "@team",
        "<img src=x onerror=alert(1)>",
        "[x](http://evil.example)",
        "a|b",
        "a\\\\|b",
        "`",
        "```",
        "~~~~",
        "**b** _i_ ~~s~~",
        "- item",
        "1. item",
        "# heading",
        "https://evil.example/x",
        "www.evil.example",
        "mail@evil.example",
        "&lt;b&gt;",
        "$x$ $`y`$ :smile: #1 !2 GH-3",
        "[^1]: note",
        "\\n\\n---\\n\\n> quote\\n",
        "| a | b |",
    ];
    for (number, name) in hostile.iter().enumerate() {
        let root = scratch("formats-hostile");
        let directory = root.join("etc/containerd");
        fs::create_dir_all(&directory).unwrap();
        let registry = "plugins.\"io.containerd.grpc.v1.cri\".registry";
        // A name without escapes that may be a file's.
        let file = name.replace(['/', '\\'], "_");
        fs::create_dir_all(directory.join("certs.d").join(&file)).unwrap();
        fs::write(directory.join(format!("{file}.toml")), "version = 2\n").unwrap();
        let config = format!(
            "version = 2\nimports = [\"/etc/containerd/{file}.toml\"]\n# {file}\n{file:?} = 1\n\
             [{registry}.mirrors.\"docker.io\"]\n# ```\nendpoint = [\"https://m.example/{file}\"] # {file}\n\"{name}\" = 1\n\
             [{registry}.mirrors.\"{name}\"]\nendpoint = [\"https://m.example\"]\n\
             [{registry}.configs.\"m.example\".tls]\nca_file = \"/etc/{name}\"\n\"{name}\" = 1\n\
             [{registry}.configs.\"{name}\".auth]\nusername = \"x\"\n\
             [{registry}.\"{name}\"]\nx = \"{name}\"\n"
        );
        fs::write(directory.join("config.toml"), config).unwrap();
        for (command, allow) in [("plan", true), ("plan", false), ("check", true)] {
            let ran = |format: &[&str]| {
                let root = root.to_str().unwrap();
                let allowed = ["--allow", "no-usable-endpoint"];
                let allowed = allowed.into_iter().take(if allow { 2 } else { 0 });
                let command = [command, "--root", root, "--existing", "keep", "--format"];
                run(command
                    .into_iter()
                    .chain(format.iter().copied())
                    .chain(allowed))
            };
            let json = ran(&["json"]);
            let report: Value = serde_json::from_str(&json.stdout)
                .unwrap_or_else(|error| panic!("{name}: {error}: {json:?}"));
            for options in [&["markdown"][..], &["markdown", "--all"]] {
                if let Err(error) = agrees(&ran(options), &report, options.len() > 1) {
                    panic!("{number} {name} {command}: {error}");
                }
            }
        }
    }
}
