//! The documents are tests too: links lead somewhere, citations name a section or row that exists, and
//! docs/architecture.md describes the tree as it is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// All files below some of the project's directories and files whose names end so.
fn files(places: &[&str], ending: &str) -> Vec<PathBuf> {
    fn collect(path: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                collect(&entry.unwrap().path(), ending, found);
            }
        } else if path.to_str().is_some_and(|name| name.ends_with(ending)) {
            found.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    for place in places {
        collect(&Path::new(ROOT).join(place), ending, &mut found);
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let mut documents = files(&["docs", "deploy"], ".md");
    for folder in ["", "benches", "dist", "fuzz"] {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        documents.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    assert!(documents.len() > 10, "the documents are found");
    documents
}

/// The lines of a Markdown text that are not in a block of code.
fn prose(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push(line);
        }
    }
    lines
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let lines = prose(text).into_iter();
    lines.filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()))
}

/// The anchor of a heading, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for line in prose(&text) {
            for rest in line.split("](").skip(1) {
                let target = rest.split(')').next().unwrap_or_default();
                if target.contains("://") {
                    continue;
                }
                let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
                let file = match path {
                    "" => document.clone(),
                    path => document.parent().unwrap().join(path),
                };
                let there = match fragment {
                    "" => file.exists(),
                    fragment => fs::read_to_string(&file).is_ok_and(|text| {
                        headings(&text).any(|heading| anchor(heading) == fragment)
                    }),
                };
                if !there {
                    broken.push(format!("{}: {target}", document.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What a document numbers: sections, and the rows, rules and traps of each.
fn numbered(document: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let text = fs::read_to_string(Path::new(ROOT).join(document)).unwrap();
    let mut found: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut section = String::new();
    for line in prose(&text) {
        if let Some(heading) = line.strip_prefix('#') {
            let label = heading.trim_start_matches('#').trim().split(' ').next();
            section = label.unwrap_or_default().trim_end_matches('.').to_owned();
            found.entry(section.clone()).or_default();
        }
        let number = line.trim_start_matches("| ").split(['.', ' ']).next();
        if let Some(Ok(number)) = number.map(str::parse) {
            found.get_mut(&section).unwrap().insert(number);
        }
    }
    found
}

/// The citations of a document in a line: each section, with the number of a row, rule or trap if one is named.
fn citations(line: &str, document: &str) -> Vec<(String, Option<u32>)> {
    let mut found: Vec<(String, Option<u32>)> = Vec::new();
    for citation in line.split(document).skip(1) {
        // Up to the next document, or the end of what is cited.
        let citation = citation.split("docs/").next().unwrap_or_default();
        let mut numbers = false;
        for word in citation.split([' ', ',', ';', ')', '(', '`', '"']) {
            let word = word
                .trim_end_matches(['.', ':', '\\'])
                .trim_end_matches("'s");
            let label = word.trim_start_matches('§');
            let is_section = match document {
                "docs/shapes.md" => matches!(label.split('.').next(), Some("A" | "B" | "C")),
                _ => word.starts_with('§'),
            };
            if is_section && !label.is_empty() {
                found.push((label.to_owned(), None));
                numbers = false;
            } else if matches!(word, "row" | "rows" | "rule" | "rules" | "trap" | "traps") {
                numbers = true;
            } else if let (true, Ok(number)) = (numbers, word.parse()) {
                let section = found.last().map(|(section, _)| section.clone());
                found.extend(section.map(|section| (section, Some(number))));
            } else if !matches!(word, "" | "and" | "to") {
                break;
            }
        }
    }
    found
}

#[test]
fn every_citation_names_a_section_or_row_that_exists() {
    let documents = ["docs/containerd.md", "docs/shapes.md"].map(|name| (name, numbered(name)));
    let mut citing = files(&["fixtures"], "case.toml");
    citing.extend(files(&["src", "tests"], ".rs"));
    let mut wrong = Vec::new();
    for file in citing.iter().filter(|file| !file.ends_with("documents.rs")) {
        for line in fs::read_to_string(file).unwrap().lines() {
            for (document, numbers) in &documents {
                for (section, number) in citations(line, document) {
                    let there = numbers.get(&section).is_some_and(|numbers| {
                        number.is_none_or(|number| numbers.contains(&number))
                    });
                    if !there {
                        wrong.push(format!(
                            "{}: {document} {section} {number:?}",
                            file.display()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_citation_is_read_with_its_rows() {
    let line = "x: docs/containerd.md §0 rules 10 and 12, §8.1 trap 3, docs/shapes.md C.1 row 7 (k3s#9341), C.2";
    let cited = |document| citations(line, document);
    let own = |text: &str, number| (text.to_owned(), number);
    assert_eq!(
        cited("docs/containerd.md"),
        [
            own("0", None),
            own("0", Some(10)),
            own("0", Some(12)),
            own("8.1", None),
            own("8.1", Some(3))
        ]
    );
    assert_eq!(
        cited("docs/shapes.md"),
        [own("C.1", None), own("C.1", Some(7))]
    );
}

/// The modules of the table in docs/architecture.md, top to bottom.
fn modules_of_the_document() -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/architecture.md")).unwrap();
    let (_, table) = text.split_once("| module | its one job |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

/// A module as the table names it: its own row, or that of the module that it is in.
fn row_of(path: &str, rows: &[String]) -> Option<usize> {
    let within = |row: &String| path == row || path.starts_with(&format!("{row}::"));
    let found = rows.iter().enumerate().filter(|(_, row)| within(row));
    found
        .max_by_key(|(_, row)| row.len())
        .map(|(place, _)| place)
}

#[test]
fn every_module_is_in_the_document_and_uses_only_those_above_it() {
    let rows = modules_of_the_document();
    let source = Path::new(ROOT).join("src");
    let mut wrong = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for file in files(&["src"], ".rs") {
        let path = file.strip_prefix(&source).unwrap().with_extension("");
        let path = path.to_str().unwrap().replace('/', "::");
        let path = path.trim_end_matches("::mod").to_owned();
        if path == "lib" || path == "main" {
            continue;
        }
        let Some(own) = row_of(&path, &rows) else {
            wrong.insert(format!("{path} is not in docs/architecture.md"));
            continue;
        };
        seen.insert(own);
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for rest in line.split("crate::").skip(1) {
                let used: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
                    .collect();
                match row_of(&used, &rows) {
                    Some(place) if place <= own => {}
                    Some(place) => {
                        wrong.insert(format!("{path} uses {}, which is below it", rows[place]));
                    }
                    None => {
                        wrong.insert(format!("{path} uses {used}, which is not in the document"));
                    }
                }
            }
        }
    }
    let unseen = rows
        .iter()
        .enumerate()
        .filter(|(place, _)| !seen.contains(place));
    wrong.extend(unseen.map(|(_, row)| format!("{row} is in docs/architecture.md and not in src")));
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}
