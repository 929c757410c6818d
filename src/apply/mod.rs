//! The only writer: takes the changes of a plan to the disk, all of them or none.
//!
//! ```text
//! compare with the plan → write and fsync under temporary names → rename the hosts files → rename the config: commit
//! ```
//! It does not know what the files mean, and touches none that the plan does not name.

use std::fmt;

use crate::node::{Node, NodeError, NodePath};
use crate::plan::Change;

pub mod interrupt;
mod replace;
mod transaction;

use interrupt::Interrupt;
use transaction::{FileChange, Found, Transaction};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The files that were written, in that order.
    pub files: Vec<NodePath>,
}

/// Why the files of the plan are not in effect.
#[derive(Debug)]
pub enum ApplyError {
    /// These files are not what they were when the plan was made; nothing was written.
    ChangedSincePlan(Vec<NodePath>),
    /// A signal came before the commit point; everything is as it was.
    Interrupted,
    /// A step failed; everything is as it was.
    Failed(NodeError),
    /// A step failed, and so did undoing what was done until then.
    NotUndone {
        /// Why it was to be undone.
        cause: Box<ApplyError>,
        /// What failed then.
        undo: NodeError,
        /// What each file is now.
        files: Vec<(NodePath, FileState)>,
    },
}

/// Which of its two states a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// As before the apply.
    Old,
    /// As planned.
    New,
    /// Neither, or not readable.
    Unknown,
}

impl ApplyError {
    /// The exit code of design §2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ChangedSincePlan(_) => 3,
            Self::Interrupted | Self::Failed(_) => 4,
            Self::NotUndone { .. } => 5,
        }
    }
}

impl From<NodeError> for ApplyError {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedSincePlan(paths) => {
                write!(
                    formatter,
                    "changed since the plan was made: {}",
                    list(paths)
                )
            }
            Self::Interrupted => write!(formatter, "interrupted; every file is as it was"),
            Self::Failed(error) => write!(formatter, "{error}; every file is as it was"),
            Self::NotUndone { cause, undo, files } => {
                write!(formatter, "{cause}; and then: {undo}")?;
                for (path, state) in files {
                    let state = match state {
                        FileState::Old => "is the old file",
                        FileState::New => "is the new file",
                        FileState::Unknown => "is neither the old nor the new file",
                    };
                    write!(formatter, "\n  `{path}` {state}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ApplyError {}

fn list(paths: &[NodePath]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    paths.join(", ")
}

/// Writes `changes`, in their order, if every file is still what it was for the plan. The last one is the commit
/// point; on an error before it everything is undone.
pub fn apply(
    node: &Node,
    changes: &[Change],
    interrupt: &Interrupt,
) -> Result<Applied, ApplyError> {
    let files = compare(node, changes)?;
    let paths = files.iter().map(|file| &file.path);
    let directories = transaction::missing_directories(node, paths)?;
    let transaction = Transaction {
        node,
        run: std::process::id(),
        files: &files,
        directories: &directories,
    };
    if let Err(cause) = transaction.forward(interrupt) {
        return Err(match transaction.undo() {
            Ok(()) => cause,
            Err(undo) => ApplyError::NotUndone {
                cause: Box::new(cause),
                undo,
                files: states(node, &files),
            },
        });
    }
    Ok(Applied {
        files: files.into_iter().map(|file| file.path).collect(),
    })
}

/// Reads every file again, with what it has besides its bytes.
fn compare(node: &Node, changes: &[Change]) -> Result<Vec<FileChange>, ApplyError> {
    let mut files = Vec::new();
    let mut changed = Vec::new();
    for change in changes {
        let found = Found::at(node, &change.path)?;
        if !found.is(change.before.as_deref()) {
            changed.push(change.path.clone());
        }
        files.push(FileChange {
            path: change.path.clone(),
            before: match found {
                Found::File(image) => Some(image),
                Found::Absent | Found::Link => None,
            },
            after: change.after.clone(),
        });
    }
    if changed.is_empty() {
        Ok(files)
    } else {
        Err(ApplyError::ChangedSincePlan(changed))
    }
}

fn states(node: &Node, files: &[FileChange]) -> Vec<(NodePath, FileState)> {
    let state = |file: &FileChange| match Found::at(node, &file.path) {
        Ok(found) if found.is(file.before.as_ref().map(|image| image.bytes.as_slice())) => {
            FileState::Old
        }
        Ok(found) if found.is(Some(&file.after)) => FileState::New,
        _ => FileState::Unknown,
    };
    files
        .iter()
        .map(|file| (file.path.clone(), state(file)))
        .collect()
}

#[cfg(test)]
mod tests;
