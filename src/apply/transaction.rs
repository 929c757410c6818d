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
    /// The path as it is named, where a link on it leads to the real one.
    pub(crate) named: Option<NodePath>,
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
    pub(crate) fn is_hosts_file(&self) -> bool {
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
    /// Changes every file, or stops at the first failure with whatever was done until then: [`Self::undo`] is next, and
    /// gets `renamed`. With `keep`, the old file at the commit point stays under a name of ours, until
    /// [`Self::remove_temporaries`].
    pub(crate) fn forward(
        &self,
        interrupt: &Interrupt,
        keep: bool,
        renamed: &mut BTreeSet<usize>,
    ) -> Result<(), ApplyError> {
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
        for (index, file) in staged.into_iter().enumerate() {
            interrupt.check()?;
            // A rename that says that it failed may have been done.
            renamed.insert(index);
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
        if keep && last.before.is_some() {
            // Where there are no hard links, the way back is written when it is needed.
            let _ = replace::keep(self.node, &last.path, &self.kept());
        }
        self.check_unchanged(last)?;
        interrupt.check()?;
        if let Some(commit) = commit {
            renamed.insert(others.len());
            commit.put_in_place()?;
            commit.sync_directory()?;
        }
        Ok(())
    }

    fn check_unchanged(&self, file: &FileChange) -> Result<(), ApplyError> {
        if Found::at(self.node, &file.path)?.is(file.before_bytes()) {
            Ok(())
        } else {
            Err(ApplyError::ChangedSincePlan(vec![file.path.clone()]))
        }
    }

    /// Puts back what was renamed in [`Self::forward`].
    pub(crate) fn undo(&self, renamed: &BTreeSet<usize>) -> Result<(), NodeError> {
        let is_ours = |index, file: &FileChange, found: &Found| {
            renamed.contains(&index) && found.is(Some(&file.after))
        };
        let mut back = self.back(&is_ours, Care::AsFarAsPossible)?;
        back.configuration()?;
        let result = back.hosts_files().map(drop);
        result.and(self.remove_temporaries())
    }

    /// Prepares the way back for the files that are `is_ours`: what has to be written is on disk under temporary names.
    /// What containerd reads when it starts comes first: if there is not room for everything, it is for that.
    pub(crate) fn back<'b>(
        &'b self,
        is_ours: &'b IsOurs<'b>,
        care: Care,
    ) -> Result<Back<'b>, NodeError> {
        allow_many_open_files();
        let removed = self.remove_all_but_the_last();
        if care == Care::AllOrNothing {
            removed?;
        }
        let mut back = Back {
            transaction: self,
            is_ours,
            steps: BTreeMap::new(),
            failed: [Ok(()), Ok(())],
            left: Vec::new(),
            stricter: Vec::new(),
        };
        for (index, file) in self.starting_with_configuration() {
            let step = match back.step(index, file) {
                Err(error) if file.is_hosts_file() && care == Care::AsFarAsPossible => {
                    back.fail(file, error);
                    continue;
                }
                step => step?,
            };
            if let Some(step) = step {
                back.steps.insert(index, step);
            }
        }
        for (index, file) in self.starting_with_configuration() {
            let Some(Step::Write(staged)) = back.steps.get(&index) else {
                continue;
            };
            match staged.sync() {
                Ok(()) => {}
                // The right file whose bytes may not be on disk yet is better than the wrong one.
                Err(error) if care == Care::AsFarAsPossible => back.fail(file, error),
                Err(error) => return Err(error),
            }
        }
        Ok(back)
    }

    /// The commit point first, and hosts files last.
    fn starting_with_configuration(&self) -> impl Iterator<Item = (usize, &FileChange)> {
        let files = || self.files.iter().enumerate().rev();
        let configuration = files().filter(|(_, file)| !file.is_hosts_file());
        configuration.chain(files().filter(|(_, file)| file.is_hosts_file()))
    }

    /// What is at each path, in the order of the files.
    pub(crate) fn look(&self) -> Result<Vec<Which>, NodeError> {
        let which = |file: &FileChange| {
            let found = Found::at(self.node, &file.path)?;
            Ok(if found.is(Some(&file.after)) {
                Which::New
            } else if found.is(file.before_bytes()) {
                Which::Old
            } else {
                Which::Other
            })
        };
        self.files.iter().map(which).collect()
    }

    /// Whether it has reached its commit point, by what is at each path. Where somebody has changed the file at the
    /// commit point since, its temporary file tells: it was there before the first rename, and it is the last one that
    /// goes when a run is undone.
    pub(crate) fn is_committed(&self, look: &[Which]) -> Result<bool, NodeError> {
        let (Some(last), Some(which)) = (self.files.last(), look.last()) else {
            return Ok(true);
        };
        Ok(match which {
            Which::New => true,
            Which::Old => false,
            Which::Other => {
                let temporary = self.temporary(self.files.len() - 1);
                look.contains(&Which::New) && !replace::exists(self.node, &last.path, &temporary)?
            }
        })
    }

    /// Waits until the names of all files are on disk.
    pub(crate) fn sync_names(&self) -> Result<(), NodeError> {
        let parents = self.files.iter().map(|file| file.path.parent()).collect();
        sync_those_that_exist(self.node, &parents)
    }

    /// Removes what a killed or failed run has left under temporary names.
    pub(crate) fn remove_temporaries(&self) -> Result<(), NodeError> {
        let mut result = self.remove_all_but_the_last();
        if let Some(last) = self.files.last() {
            for name in [self.kept(), self.temporary(self.files.len() - 1)] {
                let removed = twice(|| replace::remove(self.node, &last.path, &name));
                result = result.and(removed);
            }
        }
        result
    }

    fn remove_all_but_the_last(&self) -> Result<(), NodeError> {
        let mut result = Ok(());
        let others = self
            .files
            .split_last()
            .map_or(&[][..], |(_, others)| others);
        for (index, file) in others.iter().enumerate() {
            let name = self.temporary(index);
            let removed = twice(|| replace::remove(self.node, &file.path, &name));
            result = result.and(removed);
        }
        result
    }

    /// The name under which the old file at the commit point is kept.
    fn kept(&self) -> String {
        format!(".containerd-registry-migrate.{}.old", self.run)
    }

    /// A name that nobody else uses, that ends as nothing which containerd or its imports read, and that the journal
    /// gives, so that nothing else is ever removed.
    fn temporary(&self, index: usize) -> String {
        format!(".containerd-registry-migrate.{}.{index}", self.run)
    }
}

/// What is at the path of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The old file.
    Old,
    /// The new one.
    New,
    /// Somebody else's.
    Other,
}

/// Whether what is found in place of the file of this number is to be replaced by the old one. It is asked twice: when
/// the way back is prepared and right before the step, since there may be a restart in between.
pub(crate) type IsOurs<'a> = dyn Fn(usize, &FileChange, &Found) -> bool + 'a;

/// What to do when something fails before the first file is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// Change nothing: the way back can wait.
    AllOrNothing,
    /// Go on with what can be put back: what is there now is not to stay.
    AsFarAsPossible,
}

/// What became of the files on the way back, besides being back.
#[derive(Debug, Default)]
pub(crate) struct Came {
    /// Changed while the way back was under way, and left alone.
    pub(crate) left: Vec<NodePath>,
    /// They had a mode that lets in fewer than the old one, and keep it.
    pub(crate) stricter: Vec<(NodePath, u32)>,
}

/// The way back to the old files, in two parts because a daemon may be restarted in between.
pub(crate) struct Back<'a> {
    transaction: &'a Transaction<'a>,
    is_ours: &'a IsOurs<'a>,
    /// What is still to be done, by the file's number.
    steps: BTreeMap<usize, Step>,
    /// The first failures so far: of what containerd reads when it starts, and of hosts files.
    failed: [Result<(), NodeError>; 2],
    left: Vec<NodePath>,
    stricter: Vec<(NodePath, u32)>,
}

#[derive(Debug)]
enum Step {
    Write(Staged),
    Remove,
}

impl Back<'_> {
    /// What is to be done for a file, if anything.
    fn step(&mut self, index: usize, file: &FileChange) -> Result<Option<Step>, NodeError> {
        let Transaction { node, files, .. } = self.transaction;
        let found = Found::at(node, &file.path)?;
        if found.is(file.before_bytes()) || !(self.is_ours)(index, file, &found) {
            return Ok(None);
        }
        let Some(image) = &file.before else {
            return Ok(Some(Step::Remove));
        };
        let mut metadata = image.metadata.clone();
        if let Found::File(now) = &found {
            metadata.mode &= now.metadata.mode;
        }
        if metadata.mode != image.metadata.mode {
            self.stricter.push((file.path.clone(), metadata.mode));
        } else if index + 1 == files.len() {
            let name = self.transaction.kept();
            let path = file.path.parent().join(&name);
            // If it cannot be used, for whatever reason, it is written again.
            let is_old =
                Found::at(node, &path).is_ok_and(|kept| kept == Found::File(image.clone()));
            if let (true, Ok((_, Some(kept)))) = (is_old, node.open_existing(&path)) {
                return Ok(Some(Step::Write(Staged::kept(
                    node, &file.path, name, kept,
                )?)));
            }
        }
        let temporary = self.transaction.temporary(index);
        let staged = Staged::write(node, &file.path, temporary, &image.bytes, Some(&metadata))?;
        Ok(Some(Step::Write(staged)))
    }

    fn fail(&mut self, file: &FileChange, error: NodeError) {
        let [configuration, hosts_files] = &mut self.failed;
        let failed = if file.is_hosts_file() {
            hosts_files
        } else {
            configuration
        };
        if failed.is_ok() {
            *failed = Err(error);
        }
    }

    /// Puts back what containerd reads when it starts, the commit point first.
    pub(crate) fn configuration(&mut self) -> Result<(), NodeError> {
        let result = self.take(|file| !file.is_hosts_file());
        let [configuration, _] = &mut self.failed;
        std::mem::replace(configuration, Ok(())).and(result)
    }

    /// Whether something that containerd reads when it starts was changed meanwhile, and left alone.
    pub(crate) fn is_stuck(&self) -> bool {
        self.left.iter().any(|path| path.name() != "hosts.toml")
    }

    /// Puts back all else, and removes the directories that were made, where they are empty.
    pub(crate) fn hosts_files(mut self) -> Result<Came, NodeError> {
        let mut result = self.take(|_| true);
        let node = self.transaction.node;
        let mut parents = BTreeSet::new();
        for directory in self.transaction.directories.iter().rev() {
            let removed = twice(|| replace::remove_directory(node, directory));
            result = result.and(removed);
            parents.insert(directory.parent());
        }
        let [_, hosts_files] = self.failed;
        hosts_files
            .and(result)
            .and(sync_those_that_exist(node, &parents))
            .map(|()| Came {
                left: self.left,
                stricter: self.stricter,
            })
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
            let found = Found::at(node, &file.path).or_else(|_| Found::at(node, &file.path));
            let done = found.and_then(|found| {
                if found.is(file.before_bytes()) {
                    return Ok(());
                }
                if !(self.is_ours)(index, file, &found) {
                    self.left.push(file.path.clone());
                    return Ok(());
                }
                twice(|| match &step {
                    Step::Write(staged) => staged.put_in_place(),
                    Step::Remove => replace::remove(node, &file.path, file.path.name()),
                })
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
