//! Several files changed as one: all of them, or none.
//!
//! The last file is the commit point: before its rename the old configuration is in effect, after it the new one.
//! Everything that can fail for want of space or rights (writing, mode, owner, fsync) is done before the first rename.
//! This module keeps no journal and makes no decisions: it is told what each file was and is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use super::ApplyError;
use super::interrupt::Interrupt;
use super::replace::{self, Metadata, Staged};
use crate::node::{Node, NodeError, NodePath, read_all};

/// One file on its way between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileChange {
    /// The real path.
    pub(crate) path: NodePath,
    /// What it was; `None` if it did not exist.
    pub(crate) before: Option<Image>,
    /// The bytes that it gets; its metadata stays, or is that of a new file.
    pub(crate) after: Vec<u8>,
}

/// A file as it was: its bytes and all else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) metadata: Metadata,
}

/// What is found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    File(Image),
    /// A link that was not there when the path was resolved. Replacing it would not change the file that it leads to.
    Link,
}

impl Found {
    /// Looks at `path`, which is the path of a real file.
    pub(crate) fn at(node: &Node, path: &NodePath) -> Result<Self, NodeError> {
        let (real, file) = node.open_existing(path)?;
        if real != *path {
            return Ok(Self::Link);
        }
        let Some(file) = file else {
            return Ok(Self::Absent);
        };
        let metadata =
            Metadata::of(&file).map_err(|errno| NodeError::new(path, "look at", errno))?;
        let bytes =
            read_all(File::from(file)).map_err(|error| NodeError::new(path, "read", error))?;
        Ok(Self::File(Image { bytes, metadata }))
    }

    /// The bytes, if it is a file.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::File(image) => Some(&image.bytes),
            Self::Absent | Self::Link => None,
        }
    }

    /// Whether it is a file with these bytes, or with `None`, nothing.
    pub(crate) fn is(&self, bytes: Option<&[u8]>) -> bool {
        match self {
            Self::File(image) => Some(image.bytes.as_slice()) == bytes,
            Self::Absent => bytes.is_none(),
            Self::Link => false,
        }
    }
}

impl FileChange {
    pub(crate) fn before_bytes(&self) -> Option<&[u8]> {
        self.before.as_ref().map(|image| image.bytes.as_slice())
    }

    /// Whether containerd reads it at every pull; every other file it reads when it starts.
    fn is_hosts_file(&self) -> bool {
        self.path.name() == "hosts.toml"
    }
}

/// Files that change together.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(crate) node: &'a Node,
    /// The number of the run, for the names of temporary files.
    pub(crate) run: u32,
    /// In the order in which they are changed; the last one is the commit point.
    pub(crate) files: &'a [FileChange],
    /// Directories that did not exist before, parents first.
    pub(crate) directories: &'a [NodePath],
}

impl Transaction<'_> {
    /// Changes every file, or stops at the first failure with whatever was done until then: [`Self::undo`] is next.
    pub(crate) fn forward(&self, interrupt: &Interrupt) -> Result<(), ApplyError> {
        allow_many_open_files();
        for directory in self.directories {
            interrupt.check()?;
            replace::make_directory(self.node, directory)?;
        }
        let mut staged = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            interrupt.check()?;
            staged.push(Staged::write(
                self.node,
                &file.path,
                self.temporary(index),
                &file.after,
                file.before.as_ref().map(|image| &image.metadata),
            )?);
        }
        // Written first and synced afterwards, the first sync takes most of the others with it.
        for file in &staged {
            interrupt.check()?;
            file.sync()?;
        }
        // Waiting for the disk may have taken long.
        for file in self.files {
            self.check_unchanged(file)?;
        }
        let Some((last, others)) = self.files.split_last() else {
            return Ok(());
        };
        let commit = staged.pop();
        for file in staged {
            interrupt.check()?;
            file.put_in_place()?;
        }
        let parents = self.directories.iter().map(NodePath::parent);
        let parents: BTreeSet<NodePath> = parents
            .chain(others.iter().map(|file| file.path.parent()))
            .collect();
        for directory in &parents {
            interrupt.check()?;
            replace::sync_directory(self.node, directory)?;
        }
        self.check_unchanged(last)?;
        interrupt.check()?;
        if let Some(commit) = commit {
            commit.put_in_place()?;
        }
        replace::sync_directory(self.node, &last.path.parent())?;
        Ok(())
    }

    fn check_unchanged(&self, file: &FileChange) -> Result<(), ApplyError> {
        if Found::at(self.node, &file.path)?.is(file.before_bytes()) {
            Ok(())
        } else {
            Err(ApplyError::ChangedSincePlan(vec![file.path.clone()]))
        }
    }

    /// Puts everything back, whatever was done of [`Self::forward`].
    pub(crate) fn undo(&self) -> Result<(), NodeError> {
        let mut back = self.back(Others::Leave)?;
        back.configuration()?;
        back.hosts_files()
    }

    /// Prepares the way back: what has to be written is on disk under temporary names.
    pub(crate) fn back(&self, others: Others) -> Result<Back<'_>, NodeError> {
        allow_many_open_files();
        self.remove_temporaries()?;
        let mut back = Back {
            transaction: self,
            steps: BTreeMap::new(),
        };
        for (index, file) in self.files.iter().enumerate() {
            let found = Found::at(self.node, &file.path)?;
            let is_ours = found.is(Some(&file.after)) || others == Others::Overwrite;
            if found.is(file.before_bytes()) || !is_ours {
                continue;
            }
            let step = match &file.before {
                None => Step::Remove,
                Some(image) => Step::Write(Staged::write(
                    self.node,
                    &file.path,
                    self.temporary(index),
                    &image.bytes,
                    Some(&image.metadata),
                )?),
            };
            back.steps.insert(index, step);
        }
        for step in back.steps.values() {
            if let Step::Write(staged) = step {
                staged.sync()?;
            }
        }
        Ok(back)
    }

    /// Whether the file at the commit point is the new one; `None` if it is neither the old nor the new one.
    pub(crate) fn is_committed(&self) -> Result<Option<bool>, NodeError> {
        let Some(last) = self.files.last() else {
            return Ok(Some(true));
        };
        let found = Found::at(self.node, &last.path)?;
        Ok(if found.is(Some(&last.after)) {
            Some(true)
        } else {
            found.is(last.before_bytes()).then_some(false)
        })
    }

    /// Waits until the names of all files are on disk.
    pub(crate) fn sync_names(&self) -> Result<(), NodeError> {
        let parents = self.files.iter().map(|file| file.path.parent()).collect();
        sync_those_that_exist(self.node, &parents)
    }

    /// Removes what a killed or failed run has left under temporary names.
    pub(crate) fn remove_temporaries(&self) -> Result<(), NodeError> {
        let mut result = Ok(());
        for (index, file) in self.files.iter().enumerate() {
            let removed = replace::remove(self.node, &file.path, &self.temporary(index));
            result = result.and(removed);
        }
        result
    }

    /// A name that nobody else uses, that ends as nothing which containerd or its imports read, and that the journal
    /// gives, so that nothing else is ever removed.
    fn temporary(&self, index: usize) -> String {
        format!(".containerd-registry-migrate.{}.{index}", self.run)
    }
}

/// What to do with a file that is neither the old nor the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// It is somebody else's.
    Leave,
    /// Its bytes are in the journal, and the operator gave them up.
    Overwrite,
}

/// The way back to the old files, in two parts because a daemon may be restarted in between.
#[derive(Debug)]
pub(crate) struct Back<'a> {
    transaction: &'a Transaction<'a>,
    /// What is still to be done, by the file's number.
    steps: BTreeMap<usize, Step>,
}

#[derive(Debug)]
enum Step {
    Write(Staged),
    Remove,
}

impl Back<'_> {
    /// Puts back what containerd reads when it starts, the commit point first.
    pub(crate) fn configuration(&mut self) -> Result<(), NodeError> {
        self.take(|file| !file.is_hosts_file())
    }

    /// Puts back all else, and removes the directories that were made, where they are empty.
    pub(crate) fn hosts_files(mut self) -> Result<(), NodeError> {
        let mut result = self.take(|_| true);
        let node = self.transaction.node;
        let mut parents = BTreeSet::new();
        for directory in self.transaction.directories.iter().rev() {
            let removed = twice(|| replace::remove_directory(node, directory));
            result = result.and(removed);
            parents.insert(directory.parent());
        }
        result.and(sync_those_that_exist(node, &parents))
    }

    /// Goes on after a failure, since each file that is back is one less to put right by hand; the first failure is
    /// returned.
    fn take(&mut self, which: impl Fn(&FileChange) -> bool) -> Result<(), NodeError> {
        let Transaction { node, files, .. } = self.transaction;
        let mut result = Ok(());
        let mut parents = BTreeSet::new();
        for (index, file) in files.iter().enumerate().rev() {
            if !which(file) {
                continue;
            }
            let Some(step) = self.steps.remove(&index) else {
                continue;
            };
            let done = twice(|| match &step {
                Step::Write(staged) => staged.put_in_place(),
                Step::Remove => replace::remove(node, &file.path, file.path.name()),
            });
            result = result.and(done);
            parents.insert(file.path.parent());
        }
        result.and(sync_those_that_exist(node, &parents))
    }
}

/// There is nothing to go back to from the way back, so a step that fails once is tried once more.
fn twice(step: impl Fn() -> Result<(), NodeError>) -> Result<(), NodeError> {
    step().or_else(|_| step())
}

fn sync_those_that_exist(node: &Node, directories: &BTreeSet<NodePath>) -> Result<(), NodeError> {
    let mut result = Ok(());
    for directory in directories {
        let synced = twice(|| match node.open_directory(directory)? {
            Some(_) => replace::sync_directory(node, directory),
            None => Ok(()),
        });
        result = result.and(synced);
    }
    result
}

/// The directories that must be made for `paths`, parents first.
pub(crate) fn missing_directories<'a>(
    node: &Node,
    paths: impl Iterator<Item = &'a NodePath>,
) -> Result<Vec<NodePath>, NodeError> {
    let mut missing = BTreeSet::new();
    for path in paths {
        let mut directory = path.parent();
        while !missing.contains(&directory) && node.open_directory(&directory)?.is_none() {
            missing.insert(directory.clone());
            directory = directory.parent();
        }
    }
    // Sorted as text, a directory comes before what is in it.
    Ok(missing.into_iter().collect())
}

/// Every staged file stays open until it has its name: a file that is opened again for its fsync may have lost the
/// error of a failed write. The usual limit of 1024 is below what a node with 600 registries needs.
fn allow_many_open_files() {
    super::command::allow_many_open_files();
}
