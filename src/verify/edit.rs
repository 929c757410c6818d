//! What an edit of a configuration file must leave: what was there less what is removed, and what is set.

use crate::plan::EditStep;
use crate::text::{FileText, TomlText};
use crate::toml::edit::PathSet;
use crate::toml::syntax::{Entry, Value, ValueKind};

/// Whether an edit did what it was meant to: the text after it has the headers and entries of the one before, in their order and
/// with every value as it was written, less what is removed, and what is set.
pub(super) fn step_is_right(edit: &EditStep) -> Result<(), String> {
    let after = match &edit.after {
        FileText::Toml(toml) => toml,
        FileText::Other(other) => return Err(other.reason.to_string()),
    };
    let mut other = PathSet::default();
    let set = edit.set.iter().map(|(path, _)| path);
    edit.removed
        .iter()
        .chain(set)
        .for_each(|path| other.insert(path));
    let (wanted, found) = (
        Parts::of(&edit.before, Some(&other)),
        Parts::of(after, None),
    );
    let mut wanted = wanted.iter().peekable();
    let mut unset: Vec<_> = edit.set.iter().collect();
    for (path, item) in found.iter() {
        if wanted.next_if_eq(&(path, item)).is_some() {
            continue;
        }
        let mut sets = unset.iter();
        let is_right = match item {
            Item::Value { value, .. } => {
                let set = sets.position(|(set, new)| set == path && new.is(value));
                set.map(|at| unset.remove(at)).is_some()
            }
            // What is set may get a header for its table.
            Item::Header { is_array } => {
                !is_array
                    && sets.any(|(set, _)| set.get(..path.len()).is_some_and(|set| set == path))
            }
            Item::InlineTable => false,
        };
        if !is_right {
            return Err("more is in it than was meant to".to_owned());
        }
    }
    match wanted.next().is_none() && unset.is_empty() {
        true => Ok(()),
        false => Err("less is in it than was meant to".to_owned()),
    }
}

/// The headers and entries of a text, and the tables in braces, in the order in which they are written.
struct Parts<'t> {
    text: &'t str,
    /// The key path of what is looked at.
    path: Vec<&'t str>,
    /// The key paths of all parts, one after the other.
    names: Vec<&'t str>,
    /// Where the path of each part ends in them, and what it is.
    found: Vec<(usize, Item<'t>)>,
}

#[derive(Clone, Copy)]
enum Item<'t> {
    Header { is_array: bool },
    InlineTable,
    Value { value: &'t Value, raw: &'t str },
}

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { is_array }, Self::Header { is_array: other }) => is_array == other,
            (Self::InlineTable, Self::InlineTable) => true,
            (Self::Value { raw, .. }, Self::Value { raw: other, .. }) => raw == other,
            _ => false,
        }
    }
}

impl<'t> Parts<'t> {
    /// All of a text but what is `left_out`.
    fn of(toml: &'t TomlText, left_out: Option<&PathSet>) -> Self {
        let mut parts = Self {
            text: &toml.text,
            path: Vec::new(),
            names: Vec::new(),
            found: Vec::new(),
        };
        for section in &toml.syntax.sections {
            parts.path.clear();
            let mut left_out = left_out;
            if let Some(header) = &section.header {
                left_out = left_out.and_then(|set| set.at(&header.keys));
                parts
                    .path
                    .extend(header.keys.iter().map(|key| key.name.as_str()));
                let is_array = header.array;
                parts.push(Item::Header { is_array }, left_out);
            }
            parts.entries(&section.entries, left_out);
        }
        parts
    }

    fn entries(&mut self, entries: &'t [Entry], left_out: Option<&PathSet>) {
        let above = self.path.len();
        for entry in entries {
            let left_out = left_out.and_then(|set| set.at(&entry.keys));
            self.path
                .extend(entry.keys.iter().map(|key| key.name.as_str()));
            let value = &entry.value;
            match &value.kind {
                ValueKind::Table(inner) => {
                    self.push(Item::InlineTable, left_out);
                    self.entries(inner, left_out);
                }
                _ => {
                    let raw = self.text.get(value.range.clone()).unwrap_or_default();
                    self.push(Item::Value { value, raw }, left_out);
                }
            }
            self.path.truncate(above);
        }
    }

    fn push(&mut self, item: Item<'t>, left_out: Option<&PathSet>) {
        if !left_out.is_some_and(PathSet::is_whole) {
            self.names.extend(&self.path);
            self.found.push((self.names.len(), item));
        }
    }

    /// Each part with its path.
    fn iter(&self) -> impl Iterator<Item = (&[&'t str], Item<'t>)> {
        let mut start = 0;
        self.found.iter().map(move |(end, item)| {
            let path = self.names.get(start..*end).unwrap_or_default();
            start = *end;
            (path, *item)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::secret::TextKind;
    use crate::toml::edit::NewValue;

    /// Whether the texts are those of an edit that removes `r.gone`, and sets `r.new`.
    fn is_right(before: &str, after: &str) -> bool {
        let content = |text: &str| FileText::new(text.into(), TextKind::Configuration);
        let path = |last: &str| ["r", last].map(str::to_owned).to_vec();
        let edit = EditStep {
            before: Rc::clone(content(before).toml().unwrap()),
            after: content(after),
            removed: vec![path("gone")],
            set: vec![(path("new"), NewValue::String("x".to_owned()))],
        };
        step_is_right(&edit).is_ok()
    }

    #[test]
    fn an_edit_that_does_what_it_was_meant_to_is_right() {
        for (before, after) in [
            ("[r]\ngone = 1\na = 1 # c\n", "[r]\nnew = \"x\"\na = 1\n"),
            ("[r]\nnew = 'y'\n[r.gone.a]\nb = 1\n", "[r]\nnew = 'x'\n"),
            (
                "[r.gone]\n[r.a]\nb = 1e3\n",
                "[r]\nnew = 'x'\n[r.a]\nb = 1e3\n",
            ),
            ("r = { gone = 1, a = {} }", "r = { new = 'x', a = {} }"),
            (
                "r.gone.b = 1\n[[t]]\na = 1\n[[t]]\n",
                "r.new = 'x'\n[[t]]\na = 1\n[[t]]\n",
            ),
        ] {
            assert!(is_right(before, after), "{before}");
        }
    }

    #[test]
    fn an_edit_that_does_more_or_less_is_not_right() {
        let before = "a = [1]\n[r]\ngone = 1\nb = 2\n[[t]]\nc = 1\n[[t]]\nc = 2\n[s]\n";
        let after = "a = [1]\n[r]\nnew = 'x'\nb = 2\n[[t]]\nc = 1\n[[t]]\nc = 2\n[s]\n";
        assert!(is_right(before, after));
        for (part, other) in [
            ("a = [1]\n", ""),
            ("[1]", "[1, 2]"),
            ("[1]", "[01]"),
            ("new = 'x'\n", ""),
            ("new = 'x'\n", "new = 'y'\n"),
            ("new = 'x'\n", "new = 'x'\ngone = 1\n"),
            ("b = 2\n", "b = 2\nd = 3\n"),
            ("[r]\nnew = 'x'\nb = 2\n", "[r]\nnew = 'x'\n[s.r]\nb = 2\n"),
            ("c = 2", "c = 3"),
            ("[[t]]\nc = 2\n", ""),
            ("[s]\n", ""),
            ("[s]\n", "[s]\n[q]\n"),
            ("[s]\n", "s = {}\n"),
        ] {
            let other = after.replacen(part, other, 1);
            assert!(!is_right(before, &other), "{other}");
        }
    }
}
