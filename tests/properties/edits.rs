//! The edit engine on trees that mean nothing.

use containerd_registry_migrate::toml::edit::{self, NewValue, PathSet, Setting};
use containerd_registry_migrate::toml::syntax::Syntax;

use crate::check::{NewSetting, check_lines};
use crate::layout::{Style, write};
use crate::node::fate;
use crate::random::Random;
use crate::tree::{Meaning, Path, Tree, table};

const KEYS: &[&str] = &["a", "b", "c", "d.e", "", "a b", "\u{fc}", "'q'"];

/// Paths are cut out of a random tree, and a string is set in one of its tables.
pub(crate) fn check(seed: u64) -> Result<(), String> {
    let mut random = Random::of(seed, "edit");
    let mut tree = random_table(&mut random, 0);
    // The table that gets the setting is there, and something stays or goes in it.
    let setting_table = ["t", "r"];
    let inside = random_table(&mut random, 2);
    tree.at(&setting_table)
        .extend(inside.entries().iter().cloned());
    if random.percent(30) {
        let entry = ("set".to_owned(), Tree::Text("old".to_owned()));
        tree.at(&setting_table).push(entry);
    }
    let mut all = Vec::new();
    paths(&tree, &[], &mut all);
    let path: Path = ["t", "r", "set"].map(str::to_owned).to_vec();
    all.retain(|candidate| !path.starts_with(candidate));
    let removed: Vec<Path> = (0..random.below(4))
        .filter_map(|_| all.get(random.below(all.len().max(1))).cloned())
        .collect();
    let style = Style::of(seed);
    let written = write(&tree, &style, &|at| fate(at, &removed, Some(&path)));
    let fail = |what: String, after: &str| {
        format!(
            "{what}\nremoved {removed:?}\n{}\n--- after\n{after}",
            written.text
        )
    };
    match Meaning::parse(&written.text) {
        Ok(meaning) if meaning == tree.meaning() => {}
        other => return Err(fail(format!("generator: {other:?}"), "")),
    }
    let syntax =
        Syntax::parse(&written.text).map_err(|error| fail(format!("{:?}", error.mistake), ""))?;
    let mut set = PathSet::default();
    for path in &removed {
        set.insert(path);
    }
    let setting = Setting {
        table: path[..path.len() - 1].to_vec(),
        key: "set".to_owned(),
        value: NewValue::String("/new".to_owned()),
        new_header: None,
    };
    let edited = edit::edit(&written.text, &syntax, &set, &[setting])
        .ok_or_else(|| fail("no place".to_owned(), ""))?;
    let mut wanted = tree.meaning();
    for path in &removed {
        wanted.remove(path);
    }
    wanted.set(&path, "/new");
    let found = Meaning::parse(&edited.text)
        .map_err(|error| fail(format!("meaning: {error}"), &edited.text))?;
    if found.pruned() != wanted.pruned() {
        return Err(fail("meaning: another".to_owned(), &edited.text));
    }
    let new = NewSetting {
        table: &path[..2],
        key: "set",
        value: "/new",
    };
    check_lines(&written.lines, &written.text, &edited.text, Some(new))
        .map_err(|error| fail(error, &edited.text))?;
    // A comment is in the text or among those that moved, and not in both.
    for mark in &written.comments {
        let moved = edited
            .comments
            .iter()
            .filter(|comment| comment.text.contains(mark.as_str()))
            .count();
        if moved + edited.text.matches(mark.as_str()).count() != 1 {
            return Err(fail(format!("comments: {mark}"), &edited.text));
        }
    }
    Ok(())
}

fn random_table(random: &mut Random, depth: usize) -> Tree {
    let mut entries: Vec<(&str, Tree)> = Vec::new();
    for key in KEYS {
        if !random.percent(35) {
            continue;
        }
        let value = match random.below(if depth < 4 { 6 } else { 3 }) {
            0 => Tree::Text("x # y".to_owned()),
            1 => Tree::Raw("\"\"\"\n[t]\n# z\"\"\"".to_owned()),
            2 => Tree::Strings(vec!["x".to_owned(); random.below(3)]),
            _ => random_table(random, depth + 1),
        };
        entries.push((key, value));
    }
    table(entries)
}

fn paths(tree: &Tree, above: &[String], all: &mut Vec<Path>) {
    for (name, child) in tree.entries() {
        let mut path = above.to_vec();
        path.push(name.clone());
        paths(child, &path, all);
        all.push(path);
    }
}
