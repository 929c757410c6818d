//! Looking up keys as containerd's Go structs do, which depends on the TOML library: for one, or for several at once.

use std::collections::HashSet;

use super::file::ConfigFile;
use crate::containerd::release::Major;
use crate::finding::{self, Findings, Place, Placed};
use crate::toml::syntax::{Node, Table, ValueKind};

/// A value of the wrong type, with which containerd does not start once it looks at it.
#[derive(Clone, Debug)]
pub struct TypeError {
    /// The value.
    pub place: Place,
    /// What is wrong, as a phrase.
    pub message: String,
    /// Whether it is below `configs.*.tls`, at which 2.x does not look.
    pub in_tls: bool,
}

impl TypeError {
    /// Says it, with what to do.
    pub fn report(&self, help: &str, findings: &mut Findings) {
        findings.add(
            &finding::WRONG_TYPE,
            self.place.clone(),
            self.message.clone(),
            help,
        );
    }
}

/// A key whose capitals matter.
#[derive(Clone, Debug)]
pub struct CaseError {
    place: Place,
    spelled: String,
    name: String,
}

impl CaseError {
    /// Says it.
    pub fn report(&self, findings: &mut Findings) {
        findings.add(
            &finding::KEY_CASE,
            self.place.clone(),
            format!(
                "one of containerd 1.x and 2.x reads `{}` as `{}`, the other does not",
                self.spelled, self.name
            ),
            format!(
                "write `{}`, once, if it is meant; else remove the key",
                self.name
            ),
        );
    }
}

/// Looks keys up in one file.
pub(super) struct Lookup<'a, 'r> {
    pub(super) file: &'a ConfigFile,
    readers: &'r [Major],
    /// What has the wrong type.
    pub(super) errors: Vec<TypeError>,
    /// What the readers do not agree about.
    pub(super) cases: Vec<CaseError>,
    /// Where the keys stand that are a finding because of their capitals; they are not unknown as well.
    wrong_case: HashSet<usize>,
    /// Whether what is looked at is below `configs.*.tls`.
    pub(super) in_tls: bool,
}

impl<'a, 'r> Lookup<'a, 'r> {
    /// A key is found if all of `readers` find it.
    pub(super) fn new(file: &'a ConfigFile, readers: &'r [Major]) -> Self {
        Self {
            file,
            readers,
            errors: Vec::new(),
            cases: Vec::new(),
            wrong_case: HashSet::new(),
            in_tls: false,
        }
    }

    /// The child that Go finds for the struct key `name`.
    ///
    /// go-toml v1 takes the name as it is in the struct's tag, or all in capitals; v2 takes any case. Where the readers
    /// disagree, or there are several, it is noted.
    pub(super) fn find<'t>(&mut self, table: &'t Table, name: &str) -> Option<&'t Node> {
        self.find_by(table, name, |reader, spelled| match reader {
            Major::One => spelled == name || spelled == name.to_ascii_uppercase(),
            Major::Two => true,
        })
    }

    /// The same where 2.x does not decode into a struct, but looks into a map: its migrations of older files do
    /// (`migrateConfig`, `plugins/cri/images/plugin.go@v2.0.11`:196).
    pub(super) fn find_migrated<'t>(&mut self, table: &'t Table, name: &str) -> Option<&'t Node> {
        self.find_by(table, name, |reader, spelled| match reader {
            Major::One => spelled == name || spelled == name.to_ascii_uppercase(),
            Major::Two => spelled == name,
        })
    }

    fn find_by<'t>(
        &mut self,
        table: &'t Table,
        name: &str,
        reads: impl Fn(Major, &str) -> bool,
    ) -> Option<&'t Node> {
        let mut found = table
            .iter()
            .filter(|node| node.key.name.eq_ignore_ascii_case(name));
        let (first, second) = (found.next(), found.next());
        // Every reader finds a key that is there once and as it is.
        match (first, second) {
            (None, _) => return None,
            (Some(node), None) if node.key.name == *name => return Some(node),
            _ => {}
        }
        let found = first.into_iter().chain(second).chain(found);
        let mut candidates: Vec<&'t Node> = found.collect();
        let read_by = |reader: Major| {
            let mut read = candidates.clone();
            read.retain(|node| reads(reader, &node.key.name));
            read
        };
        let mut readers = self.readers.iter().map(|reader| read_by(*reader));
        let first = readers.next().unwrap_or_default();
        let start = |node: &&Node| node.key.range.start;
        let alike = readers.all(|read| read.iter().map(start).eq(first.iter().map(start)));
        match first.as_slice() {
            [] if alike => None,
            [node] if alike => Some(node),
            _ => {
                let readers = self.readers;
                candidates.retain(|node| readers.iter().any(|r| reads(*r, &node.key.name)));
                for node in candidates {
                    self.key_case(node, name);
                }
                None
            }
        }
    }

    fn key_case(&mut self, node: &Node, name: &str) {
        self.wrong_case.insert(node.key.range.start);
        self.cases.push(CaseError {
            place: self.key_place(node),
            spelled: node.key.name.to_string(),
            name: name.to_owned(),
        });
    }

    /// Where a setting stands, from its key to its value.
    pub(super) fn place_of(&self, node: &Node) -> Place {
        let end = node
            .value()
            .map_or(node.key.range.end, |value| value.range.end);
        // A table's key stands in a header; the value of another one may stand far away if it was given twice.
        self.file
            .place(node.key.range.start..end.max(node.key.range.end))
    }

    pub(super) fn key_place(&self, node: &Node) -> Place {
        self.file.place(node.key.range.clone())
    }

    pub(super) fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.errors.push(TypeError {
            place: self.place_of(node),
            message: format!("`{}` must be {expected}", node.key.name),
            in_tls: self.in_tls,
        });
    }

    /// The tables in a table; whatever else is there has the wrong type.
    pub(super) fn tables<'t>(&mut self, node: &'t Node) -> Vec<(&'t Node, &'t Table)> {
        let Some(entries) = node.table() else {
            self.wrong_type(node, "a table");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for entry in entries.iter() {
            match entry.table() {
                Some(table) => tables.push((entry, table)),
                None => self.wrong_type(entry, "a table"),
            }
        }
        tables
    }

    /// A string that is not empty.
    pub(super) fn string(&mut self, node: &Node) -> Option<Placed<String>> {
        match node.value().map(|value| (&value.kind, &value.range)) {
            Some((ValueKind::String(text), range)) => {
                (!text.is_empty()).then(|| self.file.placed(text.clone(), range.clone()))
            }
            _ => {
                self.wrong_type(node, "a string");
                None
            }
        }
    }

    /// The elements of an array of strings.
    pub(super) fn strings(&mut self, node: &Node) -> Vec<Placed<String>> {
        let Some(ValueKind::Array(elements)) = node.value().map(|value| &value.kind) else {
            self.wrong_type(node, "an array of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for element in elements {
            match &element.kind {
                ValueKind::String(text) => {
                    strings.push(self.file.placed(text.clone(), element.range.clone()));
                }
                _ => self.wrong_type(node, "an array of strings"),
            }
        }
        strings
    }

    pub(super) fn boolean(&mut self, node: &Node) -> Option<bool> {
        match node.value().map(|value| &value.kind) {
            Some(ValueKind::Boolean(truth)) => Some(*truth),
            _ => {
                self.wrong_type(node, "`true` or `false`");
                None
            }
        }
    }

    /// The keys that nobody looks up.
    pub(super) fn unknown(&self, table: &Table, known: &[Option<&Node>]) -> Vec<Placed<String>> {
        table
            .iter()
            .filter(|node| !known.iter().flatten().any(|known| known.key == node.key))
            .filter(|node| !self.wrong_case.contains(&node.key.range.start))
            .map(|node| {
                self.file
                    .placed(node.key.name.to_string(), node.key.range.clone())
            })
            .collect()
    }
}
