//! What a plan consists of: files before and after, and the edits that lead there.

use std::rc::Rc;

use serde::Serialize;

use crate::node::NodePath;
use crate::toml::edit::NewValue;

/// What a file is to containerd, in the order in which files are written. Names do not tell: an imported file may be
/// called anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A hosts.toml in the certs directory: read at every pull.
    HostsFile,
    /// config.toml or a file that it imports: read when containerd starts.
    Configuration,
}

/// One file that the plan writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What containerd takes it for.
    pub kind: FileKind,
    /// The real file (links already followed inside the root).
    pub path: NodePath,
    /// The path as it is named, where a link on it leads to `path`.
    pub named: Option<NodePath>,
    /// The bytes that were read when the plan was made; `None` if the file did not exist.
    pub before: Option<Vec<u8>>,
    /// The bytes to write.
    pub after: Vec<u8>,
}

/// A configuration file as it will be.
#[derive(Clone, Debug)]
pub struct ConfigEdit {
    /// Its index in the configuration.
    pub file: usize,
    /// The text.
    pub text: Rc<str>,
    /// How the text came about, in order. A conversion to version 2 between two of them is not listed: it renames
    /// every plugin, and what it means is proven by what containerd makes of the file.
    pub steps: Vec<EditStep>,
}

/// One edit of a text.
#[derive(Clone, Debug)]
pub struct EditStep {
    /// The text before.
    pub before: Rc<str>,
    /// The text after.
    pub after: Rc<str>,
    /// The key paths that it loses.
    pub removed: Vec<Vec<String>>,
    /// The key paths that are set in it, with their values.
    pub set: Vec<(Vec<String>, NewValue)>,
}
