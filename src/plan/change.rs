//! What a plan consists of: files before and after, and the edits that lead there.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::NodePath;
use crate::text::{FileText, TomlText};
use crate::toml::edit::NewValue;

/// The mode of a new file, unless its content comes from a file that fewer can read. containerd runs as root, but other
/// tools read hosts files, too.
pub const NEW_FILE: u32 = 0o644;

/// The mode of a new file whose content comes from files of these modes: no more open than any of them. What not everyone
/// can read is for its owner alone, since the groups of the files may differ.
pub(crate) fn mode_of_new(sources: impl IntoIterator<Item = u32>) -> u32 {
    const EVERYONE: u32 = 0o004;
    const OWNER: u32 = 0o700;
    let mode = sources
        .into_iter()
        .fold(NEW_FILE, |mode, source| mode & source);
    if mode & EVERYONE == 0 {
        mode & OWNER
    } else {
        mode
    }
}

/// Whether others than the owner can read a file of the mode `one`, and not one of the mode `other`.
pub(crate) fn lets_in_more(one: u32, other: u32) -> bool {
    const OTHERS: u32 = 0o044;
    one & !other & OTHERS != 0
}

/// What a file is to containerd, in the order in which files are written. Names do not tell: an imported file may be
/// called anything.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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
    /// What was read when the plan was made; `None` if the file did not exist.
    pub before: Option<FileText>,
    /// What is written.
    pub after: FileText,
    /// The permission bits of the file if it is created. A file that exists keeps its own.
    pub mode: u32,
}

/// A configuration file as it will be.
#[derive(Clone, Debug)]
pub struct ConfigEdit {
    /// Its index in the configuration.
    pub file: usize,
    /// The text.
    pub text: FileText,
    /// How the text came about, in order. A conversion to version 2 between two of them is not listed: it renames
    /// every plugin, and what it means is proven by what containerd makes of the file.
    pub steps: Vec<EditStep>,
}

/// One edit of a text.
#[derive(Clone, Debug)]
pub struct EditStep {
    /// The text before.
    pub before: Rc<TomlText>,
    /// The text after.
    pub after: FileText,
    /// The key paths that it loses.
    pub removed: Vec<Vec<String>>,
    /// The key paths that are set in it, with their values.
    pub set: Vec<(Vec<String>, NewValue)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_has_no_bit_that_a_source_has_not() {
        for (sources, mode) in [
            (&[][..], 0o644),
            (&[0o644, 0o755], 0o644),
            (&[0o644, 0o600], 0o600),
            (&[0o640], 0o600),
            (&[0o604], 0o604),
            (&[0o060], 0),
            (&[0o400, 0o444], 0o400),
        ] {
            assert_eq!(mode_of_new(sources.iter().copied()), mode, "{sources:?}");
        }
    }
}
