//! Why a text is not TOML, without any value of it: what was written twice, or the table in which it goes wrong.

use std::ops::Range;

use super::spelling;
use super::syntax::{Entry, Header, Key, Name, Section};

/// Why a text is not TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub mistake: Mistake,
    /// Where it is.
    pub range: Range<usize>,
    /// The line that it is in, from one.
    pub line: usize,
    /// Whether surely no containerd reads the text. containerd 1.x reads some that are not TOML.
    pub nobody_reads: bool,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Something has one name and is there twice.
    Twice {
        /// The whole name.
        path: Vec<Name>,
        /// What it is at its first place.
        first: Written,
        /// The line of that, from one.
        first_line: usize,
        /// What it is at the second.
        second: Written,
    },
    /// Anything else, in toml_edit's words, which have no value of the text.
    Other {
        /// The words.
        reason: String,
        /// The table that it is in, by the header above.
        table: Vec<Name>,
    },
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// With a header.
    Table,
    /// As a key with a value.
    Key,
}

impl SyntaxError {
    /// toml_edit's error with what the sections before it tell. `sections` are those of the text, as far as it is TOML.
    pub(super) fn new(text: &str, error: &toml_edit::TomlError, sections: &[Section]) -> Self {
        let range = error.span().unwrap_or(0..0);
        let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let before = sections.partition_point(|section| section.start() <= range.start);
        let before = sections.get(..before).unwrap_or_default();
        let mistake =
            twice(before, range.start).map(|(path, [first, second], at)| Mistake::Twice {
                path,
                first,
                first_line: line(at),
                second,
            });
        // In a header it is not known what the name was to be.
        let is_above = |section: &&Section| {
            let header = section.header.as_ref();
            header.is_none_or(|header| header.range.end <= range.start)
        };
        let other = || Mistake::Other {
            reason: error.message().trim_end().replace('\n', ", "),
            table: before.last().filter(is_above).map(path).unwrap_or_default(),
        };
        Self {
            mistake: mistake.unwrap_or_else(other),
            line: line(range.start),
            nobody_reads: spelling::nobody_reads(text, range.start, sections),
            range,
        }
    }
}

fn path(section: &Section) -> Vec<Name> {
    let header = section.header.as_ref();
    header.map(|header| names(&header.keys)).unwrap_or_default()
}

fn names(keys: &[Key]) -> Vec<Name> {
    keys.iter().map(|key| key.name.clone()).collect()
}

/// What is at `at` for the second time: its name, how it is written at both places, and where the first one is.
/// `sections` are those that begin before.
fn twice(sections: &[Section], at: usize) -> Option<(Vec<Name>, [Written; 2], usize)> {
    let (last, before) = sections.split_last()?;
    if let Some(header) = last
        .header
        .as_ref()
        .filter(|header| header.range.contains(&at))
    {
        return before
            .iter()
            .find_map(|section| header_twice(section, header));
    }
    let entries = last
        .entries
        .partition_point(|entry| entry.range().start <= at);
    let (entry, earlier) = last.entries.get(..entries)?.split_last()?;
    if !entry.key_range().contains(&at) {
        return None;
    }
    let above = path(last);
    let name = |entry: &Entry| [above.clone(), names(&entry.keys)].concat();
    let this = name(entry);
    let of_header = before.iter().find_map(|section| {
        let header = section.header.as_ref()?;
        let other = path(section);
        let inside = other.len() > above.len() && this.starts_with(&other);
        (inside || other.starts_with(&this)).then(|| {
            let shared = other.len().min(this.len());
            let shared = this.get(..shared).unwrap_or_default().to_vec();
            (shared, [Written::Table, Written::Key], header.range.start)
        })
    });
    let of_entry = || {
        earlier.iter().find_map(|other| {
            let shared = shared(&name(other), &this)?;
            Some((shared, [Written::Key, Written::Key], other.range().start))
        })
    };
    of_header.or_else(of_entry)
}

/// Whether `header` names something that is in `section` already.
fn header_twice(section: &Section, header: &Header) -> Option<(Vec<Name>, [Written; 2], usize)> {
    let (above, this) = (path(section), names(&header.keys));
    if let Some(other) = section.header.as_ref().filter(|_| above == this) {
        return Some((this, [Written::Table, Written::Table], other.range.start));
    }
    if above.len() >= this.len() || !this.starts_with(&above) {
        return None;
    }
    section.entries.iter().find_map(|entry| {
        let shared = shared(&[above.clone(), names(&entry.keys)].concat(), &this)?;
        Some((shared, [Written::Key, Written::Table], entry.range().start))
    })
}

/// The shorter of two names if the longer one begins with it.
fn shared(one: &[Name], other: &[Name]) -> Option<Vec<Name>> {
    let (short, long) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.starts_with(short).then(|| short.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toml::syntax::Syntax;

    fn mistake(text: &str) -> (String, usize) {
        let error = Syntax::parse(text).unwrap_err();
        let said = match error.mistake {
            Mistake::Twice {
                path,
                first,
                first_line,
                second,
            } => {
                let path: Vec<&str> = path.iter().map(Name::as_str).collect();
                format!("{} {first:?} {first_line} {second:?}", path.join("."))
            }
            Mistake::Other { reason, table } => {
                let table: Vec<&str> = table.iter().map(Name::as_str).collect();
                format!("[{}] {reason}", table.join("."))
            }
        };
        (said, error.line)
    }

    #[test]
    fn what_is_there_twice_is_named_with_its_first_place() {
        for (text, said, line) in [
            ("v = 1\n[a.\"b\"]\n[c]\n[a.b]\n", "a.b Table 2 Table", 4),
            ("[a]\nb.c = 1\nb.d = 1\nb.c = 2\n", "a.b.c Key 2 Key", 4),
            ("[a.b]\n[a]\nb.y = 2\n", "a.b Table 1 Key", 3),
            ("[a.b.c]\n[a]\nb = 2\n", "a.b Table 1 Key", 3),
            ("a.b = 1\n[a]\n", "a Key 1 Table", 2),
            ("[x]\na = { b = 1 }\n[x.a]\n", "x.a Key 2 Table", 3),
            ("[x]\na = { b = 1 }\n[x.a.c]\n", "x.a Key 2 Table", 3),
            ("[x]\na = { b = 1 }\na.c = 1\n", "x.a Key 2 Key", 3),
            ("[[a]]\n[a]\n", "a Table 1 Table", 2),
            ("k = 1\r\n# c\r\n'k' = 2\r\n", "k Key 1 Key", 3),
        ] {
            assert_eq!(mistake(text), (said.to_owned(), line), "{text:?}");
        }
    }

    #[test]
    fn of_what_is_written_wrong_the_table_is_known() {
        for (text, table, line) in [
            ("[a.b]\nk = x\n", "[a.b] ", 2),
            ("k = \"x\n[a]\n", "[] ", 1),
            ("[a]\nk = [\n  \"x\"\n  \"y\"\n]\n", "[a] ", 4),
            ("[a]\nk: 1\n", "[a] ", 2),
            ("[a]\n[b.c:5]\nk = 1\n", "[] ", 2),
            ("[a]\nk = { a = 1, a = 2 }\n", "[a] duplicate key", 2),
        ] {
            let (said, at) = mistake(text);
            assert!(said.starts_with(table), "{text:?}: {said}");
            assert_eq!(at, line, "{text:?}");
        }
    }

    #[test]
    fn many_sections_before_a_mistake_take_no_time() {
        let sections: String = (0..20_000).map(|n| format!("[a.b{n}]\nk = 1\n")).collect();
        let (said, line) = mistake(&format!("{sections}[a.b7]\n"));
        assert_eq!((said.as_str(), line), ("a.b7 Table 15 Table", 40_001));
    }
}
