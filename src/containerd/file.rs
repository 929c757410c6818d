//! config.toml: its text, its legacy registry settings, and the edits that take them out.

use std::rc::Rc;

use crate::finding::{self, FileId, Findings, Place, Placed};
use crate::node::NodePath;
use crate::text::{self, FileText, NotToml, TomlText};
use crate::toml::syntax::{self, Table, ValueKind};

/// A config.toml, or a file that it imports, as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its number in findings.
    pub id: FileId,
    /// The path under which it was asked for.
    pub path: NodePath,
    /// Where it really is, links followed.
    pub real: NodePath,
    /// Its text, and what is written in it.
    pub toml: Rc<TomlText>,
}

impl ConfigFile {
    /// The file with this content; `None` if that is not TOML, which is then a finding.
    pub fn new(
        id: FileId,
        path: NodePath,
        real: NodePath,
        content: &FileText,
        findings: &mut Findings,
    ) -> Option<Self> {
        let other = match content {
            FileText::Toml(toml) => {
                return Some(Self {
                    id,
                    path,
                    real,
                    toml: Rc::clone(toml),
                });
            }
            FileText::Other(other) => other,
        };
        match &other.reason {
            NotToml::NotUtf8(at) => {
                findings.add(
                    &finding::NOT_UTF8,
                    Place {
                        file: id,
                        range: *at..at + 1,
                    },
                    format!("byte {} of `{path}` is not UTF-8", at + 1),
                    "containerd 2.x does not start with it; save the file as UTF-8",
                );
            }
            NotToml::Invalid(error) => {
                let place = Place {
                    file: id,
                    range: error.range.clone(),
                };
                if content.bytes().windows(2).any(|pair| pair == b"{{") {
                    findings.add(
                        &finding::GO_TEMPLATE,
                        place,
                        format!(
                            "`{path}` is a template (it has `{{{{`), not the configuration: {}",
                            text::phrase(error)
                        ),
                        "run on the file that is rendered from it, and change the template by hand",
                    );
                } else {
                    findings.add(
                        &finding::INVALID_TOML,
                        place,
                        format!("`{path}` is not valid TOML: {}", text::phrase(error)),
                        text::advice(error),
                    );
                }
            }
        }
        None
    }

    /// What the text means.
    pub fn tree(&self) -> &Table {
        self.toml.tree()
    }

    /// The socket that containerd listens at, if the file says so.
    pub fn grpc_address(&self) -> Option<&str> {
        let grpc = named(self.tree(), "grpc")?.table()?;
        match &named(grpc, "address")?.value()?.kind {
            ValueKind::String(address) => Some(address),
            _ => None,
        }
    }

    /// Where the file says its version, or its first byte.
    pub fn version_place(&self) -> Place {
        let range = named(self.tree(), "version").map_or(0..0, |node| {
            let end = node
                .value()
                .map_or(node.key.range.end, |value| value.range.end);
            node.key.range.start..end
        });
        self.place(range)
    }

    /// A place in this file.
    pub fn place(&self, range: std::ops::Range<usize>) -> Place {
        Place {
            file: self.id,
            range,
        }
    }

    /// A value at a place in this file.
    pub fn placed<T>(&self, value: T, range: std::ops::Range<usize>) -> Placed<T> {
        Placed {
            value,
            place: self.place(range),
        }
    }
}

/// The child of this name; go-toml 2 does not look at capitals.
fn named<'t>(table: &'t Table, name: &str) -> Option<&'t syntax::Node> {
    let any_case = |node: &&syntax::Node| node.key.name.eq_ignore_ascii_case(name);
    table.get(name).or_else(|| table.iter().rfind(any_case))
}
