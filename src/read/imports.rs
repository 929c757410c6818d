//! The files that containerd reads when it starts, in load order: config.toml first, then what it imports, then what
//! that imports (`LoadConfig`, `services/server/config/config.go@v1.7.34`:295,
//! `cmd/containerd/server/config/config.go@v2.0.11`:295).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::{MOST_IMPORTS, MOST_STEPS, Sources};
use crate::containerd::configuration::{Configuration, LoadOrder, LoadedFile};
use crate::containerd::file::ConfigFile;
use crate::containerd::release::{Major, PatternBase};
use crate::finding::{self, Findings, Place, Placed};
use crate::go::glob::Pattern;
use crate::node::{DirectoryEntry, Node, NodeError, NodePath};
use crate::secret::{Content, MASK, TextKind, shown_path};

/// What came of reading an imported file.
enum Read {
    /// It is the file of this index.
    File(usize),
    /// It is not there, or no file, which has been said in these words.
    Missing(String),
    /// It is no TOML, which has been said.
    NotUnderstood,
}

/// Reads everything that `main` imports. `None` if a file cannot be understood, which the findings say.
pub(super) fn read(
    node: &Node,
    main: ConfigFile,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<Option<Configuration>, NodeError> {
    let mut reader = Importer {
        node,
        files: vec![LoadedFile::new(main)],
        read: BTreeMap::new(),
        resolved: BTreeMap::new(),
        listed: BTreeMap::new(),
        findings,
        sources,
        understood: true,
        steps: 0,
    };
    // Every one that there is: 2.x always looks beside the importing file.
    let kinds = [
        (PatternBase::ImportingFile, Major::Two),
        (PatternBase::ImportingFile, Major::One),
        (PatternBase::WorkingDirectory, Major::One),
    ];
    let mut orders = BTreeMap::new();
    for kind in kinds {
        orders.insert(kind, reader.order(kind)?);
    }
    let Importer {
        files, understood, ..
    } = reader;
    Ok(understood.then_some(Configuration { files, orders }))
}

struct Importer<'a> {
    node: &'a Node,
    files: Vec<LoadedFile>,
    /// What came of each path: containerd does not resolve links before it compares.
    read: BTreeMap<NodePath, Read>,
    /// What each element of `imports` leads to, by the whole path or pattern.
    resolved: BTreeMap<NodePath, Option<Rc<[NodePath]>>>,
    listed: BTreeMap<NodePath, Rc<[DirectoryEntry]>>,
    findings: &'a mut Findings,
    sources: &'a mut Sources,
    understood: bool,
    /// How many steps it took to compare names with patterns.
    steps: usize,
}

impl Importer<'_> {
    /// The load order: breadth first, each path once.
    fn order(&mut self, kind: (PatternBase, Major)) -> Result<LoadOrder, NodeError> {
        let (base, toml) = kind;
        let mut order = LoadOrder::default();
        let mut seen: BTreeSet<NodePath> = self
            .files
            .iter()
            .take(1)
            .map(|loaded| loaded.file.path.clone())
            .collect();
        order.files.push(0);
        let mut followed: BTreeSet<NodePath> = BTreeSet::new();
        let mut next = 0;
        while let Some(index) = order.files.get(next).copied() {
            next += 1;
            let Some(importer) = self.files.get(index) else {
                continue;
            };
            let path = importer.file.path.clone();
            for pattern in importer.contents(toml).imports.clone() {
                let imported = import_path(&path, &pattern.value, base);
                // Every file may have the same pattern: what it leads to is in the order already.
                if !followed.insert(imported.clone()) {
                    continue;
                }
                let is_pattern = pattern.value.contains('*');
                let paths = self.resolve(imported, is_pattern, &pattern.place);
                let Some(paths) = paths.map_err(|error| shown_error(error, &pattern))? else {
                    let text = self.not_a_pattern(&pattern);
                    order.missing.push((text, pattern.place));
                    continue;
                };
                for path in paths.iter() {
                    if seen.contains(path) {
                        continue;
                    }
                    seen.insert(path.clone());
                    let read = self.file(path, &pattern);
                    match read.map_err(|error| shown_error(error, &pattern))? {
                        Read::File(index) => order.files.push(*index),
                        Read::Missing(text) => {
                            order.missing.push((text.clone(), pattern.place.clone()));
                        }
                        Read::NotUnderstood => {}
                    }
                }
            }
        }
        Ok(order)
    }

    fn file(&mut self, path: &NodePath, pattern: &Placed<String>) -> Result<&Read, NodeError> {
        if !self.read.contains_key(path) {
            let read = self.open(path, pattern)?;
            self.read.insert(path.clone(), read);
        }
        Ok(self.read.get(path).unwrap_or(&Read::NotUnderstood))
    }

    /// The files that an element of `imports` means: a pattern if it has a `*`, and relative to the importing file, but
    /// in older containerd a pattern is relative to where it was started (`resolveImports`,
    /// `services/server/config/config.go@v1.5.18`:295). `None` if Go does not take it for a pattern.
    fn resolve(
        &mut self,
        imported: NodePath,
        is_pattern: bool,
        place: &Place,
    ) -> Result<Option<Rc<[NodePath]>>, NodeError> {
        if !is_pattern {
            return Ok(Some(Rc::from([imported])));
        }
        if let Some(resolved) = self.resolved.get(&imported) {
            return Ok(resolved.clone());
        }
        let resolved = self.matches(&imported, place)?.map(Rc::from);
        self.resolved.insert(imported, resolved.clone());
        Ok(resolved)
    }

    fn matches(
        &mut self,
        pattern: &NodePath,
        place: &Place,
    ) -> Result<Option<Vec<NodePath>>, NodeError> {
        let parts = pattern.as_str().split('/').filter(|part| !part.is_empty());
        let is_special = |part: &str| part.contains(['*', '?', '[', '\\']);
        if parts
            .clone()
            .any(|part| is_special(part) && Pattern::parse(part).is_none())
        {
            return Ok(None);
        }
        let mut paths = vec![NodePath::new("/")];
        for part in parts {
            let mut matched = Vec::new();
            let glob = Pattern::parse(part).filter(|_| is_special(part));
            for path in paths {
                let Some(glob) = &glob else {
                    matched.push(path.join(part));
                    continue;
                };
                for entry in self.list(&path)?.iter() {
                    let (is_match, steps) = glob.matches_in(&entry.name);
                    self.steps += steps;
                    if self.steps > MOST_STEPS {
                        let why = "it has too many names for the patterns of imports";
                        return Err(NodeError::new(&path, "match", io::Error::other(why)));
                    }
                    match &entry.escaped {
                        _ if !is_match => {}
                        None => matched.push(path.join(&entry.name)),
                        Some(escaped) => self.not_utf8(&path, escaped, place),
                    }
                }
            }
            paths = matched;
        }
        if is_special(pattern.name()) {
            return Ok(Some(paths));
        }
        // Literal parts behind the `*` may not exist. A link that leads nowhere does.
        let mut existing = Vec::new();
        for path in paths {
            let names = self.list(&path.parent())?;
            let is_it =
                |entry: &DirectoryEntry| entry.escaped.is_none() && entry.name == path.name();
            if names.iter().any(is_it) {
                existing.push(path);
            }
        }
        Ok(Some(existing))
    }

    /// Says that a file is imported which no path of this program can name; containerd reads it.
    fn not_utf8(&mut self, directory: &NodePath, escaped: &str, place: &Place) {
        self.understood = false;
        self.findings.add(
            &finding::NOT_UTF8,
            place.clone(),
            format!(
                "the name of `{}` is not UTF-8, and containerd reads the file",
                directory.join(escaped)
            ),
            "rename it: its registry settings are not known",
        );
    }

    /// What is in a directory, read once; nothing if it is a file or does not exist.
    fn list(&mut self, path: &NodePath) -> Result<Rc<[DirectoryEntry]>, NodeError> {
        if let Some(names) = self.listed.get(path) {
            return Ok(Rc::clone(names));
        }
        let entries = match self.node.list(path) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) if error.source.kind() == ErrorKind::NotADirectory => Vec::new(),
            Err(error) => return Err(error),
        };
        let entries: Rc<[DirectoryEntry]> = entries.into();
        self.listed.insert(path.clone(), Rc::clone(&entries));
        Ok(entries)
    }

    /// Says that Go does not understand a pattern, once for all versions.
    fn not_a_pattern(&mut self, pattern: &Placed<String>) -> String {
        let text = format!(
            "Go cannot parse the pattern `{}`",
            Content::Path.shown(&pattern.value)
        );
        if !self.findings.has(&finding::IMPORT_MISSING, &pattern.place) {
            self.findings.add(
                &finding::IMPORT_MISSING,
                pattern.place.clone(),
                text.clone(),
                "containerd does not start with it; fix it: a `[` needs its `]`, and a `\\` needs a character after it",
            );
        }
        text
    }

    fn open(&mut self, path: &NodePath, pattern: &Placed<String>) -> Result<Read, NodeError> {
        let place = &pattern.place;
        let (file, what) = match self.node.read(path) {
            Ok(file) => (file, "does not exist"),
            Err(error) if error.source.kind() == ErrorKind::IsADirectory => {
                (None, "is a directory")
            }
            Err(error) => return Err(error),
        };
        let Some(file) = file else {
            let is_shown = Content::Path.is_shown(&pattern.value);
            let shown = if is_shown {
                shown_path(path.as_str())
            } else {
                MASK
            };
            let text = format!("`{shown}` is imported, but {what}");
            self.findings.add(
                &finding::IMPORT_MISSING,
                place.clone(),
                text.clone(),
                "containerd does not start without it, and its CRI settings would take effect; if this is a copy of a \
                 node, copy the file as well",
            );
            return Ok(Read::Missing(text));
        };
        if self.files.len() > MOST_IMPORTS {
            let why =
                format!("more than {MOST_IMPORTS} files are imported, the most that are read");
            return Err(NodeError::new(path, "read", io::Error::other(why)));
        }
        let (real, content, id) = self.sources.add_file(TextKind::Configuration, file)?;
        let file = ConfigFile::new(id, path.clone(), real, &content, self.findings);
        let Some(file) = file else {
            self.understood = false;
            return Ok(Read::NotUnderstood);
        };
        self.files.push(LoadedFile::new(file));
        Ok(Read::File(self.files.len() - 1))
    }
}

/// An error of a path that an element of `imports` leads to, without the path if the element is masked.
fn shown_error(error: NodeError, pattern: &Placed<String>) -> NodeError {
    match Content::Path.is_shown(&pattern.value) {
        true => error,
        false => NodeError {
            path: NodePath::new(MASK),
            ..error
        },
    }
}

/// The path, or the pattern for paths, that an element of `imports` in the file `importer` stands for.
pub fn import_path(importer: &NodePath, element: &str, base: PatternBase) -> NodePath {
    if element.starts_with('/') {
        NodePath::new(element)
    } else if element.contains('*') && base == PatternBase::WorkingDirectory {
        NodePath::new("/").join(element)
    } else {
        importer.parent().join(element)
    }
}
