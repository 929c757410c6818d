//! config.toml: its text, its legacy registry settings, and the edits that take them out.

use std::rc::Rc;

use crate::finding::{self, FileId, Findings, Place, Placed};
use crate::node::NodePath;
use crate::secret::{Secrets, TextKind};
use crate::toml::syntax::{self, Syntax, Table, ValueKind};

/// A config.toml, or a file that it imports, as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its number in findings.
    pub id: FileId,
    /// The path under which it was asked for.
    pub path: NodePath,
    /// Where it really is, links followed.
    pub real: NodePath,
    /// Its text, byte for byte.
    pub text: String,
    /// The text parsed; copies share it.
    pub syntax: Rc<Syntax>,
}

impl ConfigFile {
    /// Takes the file apart; `None` if it is no TOML, which is then a finding.
    pub fn parse(
        id: FileId,
        path: NodePath,
        real: NodePath,
        bytes: Vec<u8>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                findings.add(
                    &finding::NOT_UTF8,
                    Place {
                        file: id,
                        range: at..at + 1,
                    },
                    format!("byte {} of `{path}` is not UTF-8", at + 1),
                    "containerd 2.x does not start with it; save the file as UTF-8",
                );
                return None;
            }
        };
        match Syntax::parse(&text) {
            Ok(syntax) => Some(Self {
                id,
                path,
                real,
                text,
                syntax: Rc::new(syntax),
            }),
            Err(error) => {
                let place = Place {
                    file: id,
                    range: error.range,
                };
                if text.contains("{{") {
                    findings.add(
                        &finding::GO_TEMPLATE,
                        place,
                        format!("`{path}` is a template (`{{{{`): {}", error.message),
                        "run on the file that is made of it, and change the template itself in its source",
                    );
                } else {
                    let help = if error.nobody_reads {
                        "no containerd starts with it; fix the file"
                    } else {
                        "fix the file"
                    };
                    findings.add(
                        &finding::INVALID_TOML,
                        place,
                        format!("`{path}` is not valid TOML: {}", error.message),
                        help,
                    );
                }
                None
            }
        }
    }

    /// What the text means.
    pub fn tree(&self) -> &Table {
        self.syntax.tree()
    }

    /// What of the text is secret.
    pub fn secrets(&self) -> Secrets {
        Secrets::of(&self.text, &self.syntax, TextKind::Configuration)
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
