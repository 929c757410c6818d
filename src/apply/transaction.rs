//! Several files changed as one: all of them, or none.
//!
//! The last file is the commit point: before its rename the old configuration is in effect, after it the new one.
//! Everything that can fail for want of space or rights (writing, mode, owner, fsync) is done before the first rename.
//!
//! With imports the configuration is several files, and the one at the commit point is the one that gets `config_path`.
//! containerd 2.x merges all of them, and with `config_path` in one and `mirrors` in another CRI does not load
//! (`internal/cri/config/config.go`, ValidatePluginConfig). So the others have lost their mirrors, durably, before the
//! commit point gets its `config_path`; and on the way back it is the first, and the others follow only once it is
//! back, durably. At every instant, also after a power failure, containerd starts with CRI.
//! This module keeps no journal and makes no decisions: it is told what each file was and is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::ApplyError;
use super::interrupt::Interrupt;
use super::replace::{self, Give, Metadata, NEW_DIRECTORY, PRIVATE_DIRECTORY, Staged};
use crate::node::{LARGEST_FILE, Node, NodeError, NodePath, read_up_to};
use crate::plan::FileKind;

/// How many files are synced before the next look at whether the run is interrupted.
const AT_A_TIME: usize = 256;

/// How the names of temporary files begin.
pub(crate) const TEMPORARY: &str = ".containerd-registry-migrate.";

/// One file on its way between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileChange {
    /// What containerd takes it for.
    pub(crate) kind: FileKind,
    /// The real path.
    pub(crate) path: NodePath,
    /// The path as it is named, where a link on it leads to the real one.
    pub(crate) named: Option<NodePath>,
    /// What it was; `None` if it did not exist.
    pub(crate) before: Option<Image>,
    /// The bytes that it gets; its metadata stays.
    pub(crate) after: Vec<u8>,
    /// The mode that it gets if it is created.
    pub(crate) mode: u32,
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
        let bytes = read_up_to(LARGEST_FILE, path, file)?;
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
        self.kind == FileKind::HostsFile
    }
}

/// Files that change together.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(crate) node: &'a Node,
    /// The number of the run, for the names of temporary files.
    pub(crate) run: u32,
    /// In the order in which they are changed: hosts files first, and the last one is the commit point.
    pub(crate) files: &'a [FileChange],
    /// Directories that did not exist before, parents first.
    pub(crate) directories: &'a [NodePath],
}

impl Transaction<'_> {
    /// Changes every file, or stops at the first failure with whatever was done until then: [`Self::undo`] is next, and
    /// gets `renamed`. With `keep`, the old configuration files stay under names of ours, until
    /// [`Self::remove_temporaries`].
    pub(crate) fn forward(
        &self,
        interrupt: &Interrupt,
        keep: bool,
        renamed: &mut BTreeSet<usize>,
    ) -> Result<(), ApplyError> {
        allow_many_open_files();
        let open = self.open_directories();
        for directory in self.directories {
            interrupt.check()?;
            let mode = if open.contains(directory) {
                NEW_DIRECTORY
            } else {
                PRIVATE_DIRECTORY
            };
            replace::make_directory(self.node, directory, mode)?;
        }
        let mut staged = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            interrupt.check()?;
            staged.push(Staged::write(
                self.node,
                &file.path,
                self.temporary(index),
                &file.after,
                match &file.before {
                    Some(image) => Give::All(&image.metadata),
                    None => Give::Mode(file.mode),
                },
            )?);
        }
        // Written first and synced afterwards, the first sync takes most of the others with it.
        for some in staged.chunks(AT_A_TIME) {
            interrupt.check()?;
            replace::sync(&some.iter().map(Staged::written).collect::<Vec<_>>())?;
        }
        // Waiting for the disk may have taken long.
        for file in self.files {
            self.check_unchanged(file)?;
        }
        let Some((last, others)) = self.files.split_last() else {
            return Ok(());
        };
        let commit = staged.pop();
        let mut parents: BTreeSet<NodePath> =
            self.directories.iter().map(NodePath::parent).collect();
        for kind in [FileKind::HostsFile, FileKind::Configuration] {
            for (index, (file, staged)) in others.iter().zip(&staged).enumerate() {
                if file.kind != kind {
                    continue;
                }
                if kind == FileKind::Configuration {
                    self.prepare(index, file, keep)?;
                }
                interrupt.check()?;
                // A rename that says that it failed may have been done.
                renamed.insert(index);
                staged.put_in_place()?;
                parents.insert(file.path.parent());
            }
            let directories: Vec<&NodePath> = parents.iter().collect();
            for some in directories.chunks(AT_A_TIME) {
                interrupt.check()?;
                replace::sync_directories(self.node, some)?;
            }
            parents.clear();
        }
        self.prepare(others.len(), last, keep)?;
        interrupt.check()?;
        if let Some(commit) = commit {
            renamed.insert(others.len());
            commit.put_in_place()?;
            commit.sync_directory()?;
        }
        Ok(())
    }

    /// The directories that others than root must be able to enter: those of files that others can read. The name of a
    /// directory is the name of a registry, which a configuration that others cannot read does not tell them.
    fn open_directories(&self) -> BTreeSet<NodePath> {
        const OTHERS: u32 = 0o044;
        let mut open = BTreeSet::new();
        for file in self.files.iter().filter(|file| file.mode & OTHERS != 0) {
            let mut directory = file.path.parent();
            while !directory.name().is_empty() && open.insert(directory.clone()) {
                directory = directory.parent();
            }
        }
        open
    }

    /// The last look at a file before it is replaced: what was waited for until now may have taken long.
    fn prepare(&self, index: usize, file: &FileChange, keep: bool) -> Result<(), ApplyError> {
        if keep && file.before.is_some() && self.is_kept(index) {
            // Where there are no hard links, the way back is written when it is needed.
            let _ = replace::keep(self.node, &file.path, &self.kept(index));
        }
        self.check_unchanged(file)
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
        let is_committed = match self.files.split_last() {
            // A rename that was not done has left its file.
            Some((last, others)) if renamed.contains(&others.len()) => {
                let temporary = self.temporary(others.len());
                !replace::exists(self.node, &last.path, &temporary).unwrap_or(false)
            }
            _ => false,
        };
        let mut back = self.back(&is_ours, is_committed, OnFailure::GoOn)?;
        back.configuration()?;
        let result = match back.stuck() {
            Ok(()) => back.hosts_files().map(drop),
            stuck => stuck,
        };
        result.and(self.remove_temporaries())
    }

    /// Prepares the way back for the files that are `is_ours`: what has to be written is on disk under temporary names.
    /// What containerd reads when it starts comes first: if there is not room for everything, it is for that.
    /// `is_committed` is whether the commit point was reached.
    pub(crate) fn back<'b>(
        &'b self,
        is_ours: &'b IsOurs<'b>,
        is_committed: bool,
        on_failure: OnFailure,
    ) -> Result<Back<'b>, NodeError> {
        allow_many_open_files();
        let removed = self.remove_all_but_the_last();
        if on_failure == OnFailure::ChangeNothing {
            removed?;
        }
        let mut back = Back {
            transaction: self,
            is_ours,
            is_committed,
            is_taken_over: false,
            steps: BTreeMap::new(),
            failed: [Ok(()), Ok(())],
            left: Vec::new(),
            stricter: Vec::new(),
        };
        for (index, file) in self.starting_with_configuration() {
            let step = match back.step(index, file) {
                Err(error) if !self.is_commit_point(index) && on_failure == OnFailure::GoOn => {
                    back.fail(index, error);
                    continue;
                }
                step => step?,
            };
            if let Some(step) = step {
                back.steps.insert(index, step);
            }
        }
        for (index, _) in self.starting_with_configuration() {
            let Some(Step::Write(staged)) = back.steps.get(&index) else {
                continue;
            };
            match staged.sync() {
                Ok(()) => {}
                // The right file whose bytes may not be on disk yet is better than the wrong one.
                Err(error) if on_failure == OnFailure::GoOn => back.fail(index, error),
                Err(error) => return Err(error),
            }
        }
        Ok(back)
    }

    /// Whether the configuration is the old or the new one by the file of this number. Where only hosts files change,
    /// there is none.
    fn is_commit_point(&self, index: usize) -> bool {
        let last = self.files.last();
        index + 1 == self.files.len() && last.is_some_and(|last| !last.is_hosts_file())
    }

    /// The commit point first, and hosts files last.
    fn starting_with_configuration(&self) -> impl Iterator<Item = (usize, &FileChange)> {
        let files = || self.files.iter().enumerate().rev();
        let configuration = files().filter(|(_, file)| !file.is_hosts_file());
        configuration.chain(files().filter(|(_, file)| file.is_hosts_file()))
    }

    /// What is at each path, in the order of the files.
    pub(crate) fn look(&self) -> Result<Vec<Content>, NodeError> {
        let content = |file: &FileChange| {
            let found = Found::at(self.node, &file.path)?;
            Ok(if found.is(Some(&file.after)) {
                Content::New
            } else if found.is(file.before_bytes()) {
                Content::Old
            } else {
                Content::Other
            })
        };
        self.files.iter().map(content).collect()
    }

    /// Whether it has reached its commit point, by what is at each path. Where someone has changed the file at the
    /// commit point since, its temporary file tells: it was there before the first rename, and it is the last one that
    /// goes when a run is undone.
    pub(crate) fn is_committed(&self, look: &[Content]) -> Result<bool, NodeError> {
        let (Some(last), Some(content)) = (self.files.last(), look.last()) else {
            return Ok(true);
        };
        Ok(match content {
            Content::New => true,
            Content::Old => false,
            Content::Other => {
                let temporary = self.temporary(self.files.len() - 1);
                look.contains(&Content::New) && !replace::exists(self.node, &last.path, &temporary)?
            }
        })
    }

    /// Whether the old configuration is in effect, by the file at the commit point.
    pub(crate) fn is_back(&self, look: &[Content]) -> bool {
        let is_commit_point = self.is_commit_point(look.len().saturating_sub(1));
        is_commit_point && look.last() == Some(&Content::Old)
    }

    /// Whether someone has changed the configuration since, in any of its files, or the last file.
    pub(crate) fn is_edited(&self, look: &[Content]) -> bool {
        let is_other = |(file, content): (&FileChange, &Content)| {
            !file.is_hosts_file() && *content == Content::Other
        };
        look.last() == Some(&Content::Other) || self.files.iter().zip(look).any(is_other)
    }

    /// Waits until the names of all files are on disk.
    pub(crate) fn sync_names(&self) -> Result<(), NodeError> {
        let parents = self.files.iter().map(|file| file.path.parent()).collect();
        sync_those_that_exist(self.node, &parents)
    }

    /// Removes what a killed or failed run has left under temporary names.
    pub(crate) fn remove_temporaries(&self) -> Result<(), NodeError> {
        let mut result = self.remove_all_but_the_last();
        let Some((last, others)) = self.files.split_last() else {
            return result;
        };
        let kept = others.iter().enumerate();
        let kept = kept.filter(|(index, _)| self.is_kept(*index));
        let kept = kept.map(|(index, file)| (file, self.kept(index)));
        let of_last = [self.kept(others.len()), self.temporary(others.len())];
        for (file, name) in kept.chain(of_last.map(|name| (last, name))) {
            let removed = twice(|| replace::remove(self.node, &file.path, &name));
            result = result.and(removed);
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

    /// Whether the old file of this number may be kept: there are few configuration files, and hundreds of hosts files.
    fn is_kept(&self, index: usize) -> bool {
        let file = self.files.get(index);
        index + 1 == self.files.len() || file.is_some_and(|file| !file.is_hosts_file())
    }

    /// The name under which an old file is kept.
    fn kept(&self, index: usize) -> String {
        let run = self.run;
        if index + 1 == self.files.len() {
            // As it was when there was only this one.
            format!("{TEMPORARY}{run}.old")
        } else {
            format!("{TEMPORARY}{run}.{index}.old")
        }
    }

    /// A name that nobody else uses, that does not end as what imports name by `*.toml`, and that the journal gives, so
    /// that nothing else is ever removed. Go's `*` matches it where nothing follows: imports of `conf.d/*` read it.
    fn temporary(&self, index: usize) -> String {
        format!("{TEMPORARY}{}.{index}", self.run)
    }
}

/// Whose bytes a file of a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Those from before the run.
    Old,
    /// Those that the run writes.
    New,
    /// Others: someone has changed the file.
    Other,
}

/// Whether what is found in place of the file of this number is to be replaced by the old one. It is asked twice: when
/// the way back is prepared and right before the step, since there may be a restart in between.
pub(crate) type IsOurs<'a> = dyn Fn(usize, &FileChange, &Found) -> bool + 'a;

/// What a way back does when a step fails before the first file is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It changes nothing: it can be tried again later.
    ChangeNothing,
    /// It puts back as many files as it can: the new ones must not stay.
    GoOn,
}

/// The files that are not quite as they were before the run, after the way back.
#[derive(Debug, Default)]
pub(crate) struct NotAsBefore {
    /// Someone changed them meanwhile: they keep those bytes.
    pub(crate) left: Vec<NodePath>,
    /// Someone made their mode stricter: they keep that mode.
    pub(crate) stricter: Vec<(NodePath, u32)>,
}

/// The way back to the old files, in two parts because a daemon may be restarted in between.
pub(crate) struct Back<'a> {
    transaction: &'a Transaction<'a>,
    is_ours: &'a IsOurs<'a>,
    /// Whether the commit point was reached: then what someone has made of its file may hold `config_path`.
    is_committed: bool,
    /// Whether the file at the commit point is someone else's.
    is_taken_over: bool,
    /// What is still to be done, by the file's number.
    steps: BTreeMap<usize, Step>,
    /// The first failures so far: at the commit point, and of all other files.
    failed: [Result<(), NodeError>; 2],
    /// The numbers of the files that were changed meanwhile, and left alone.
    left: Vec<usize>,
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
        let node = self.transaction.node;
        let found = Found::at(node, &file.path)?;
        if found.is(file.before_bytes()) {
            return Ok(None);
        }
        if !(self.is_ours)(index, file, &found) {
            self.is_taken_over |= self.transaction.is_commit_point(index);
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
        } else if self.transaction.is_kept(index) {
            let name = self.transaction.kept(index);
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
        let give = Give::All(&metadata);
        let staged = Staged::write(node, &file.path, temporary, &image.bytes, give)?;
        Ok(Some(Step::Write(staged)))
    }

    fn fail(&mut self, index: usize, error: NodeError) {
        let [at_commit_point, others] = &mut self.failed;
        let failed = if self.transaction.is_commit_point(index) {
            at_commit_point
        } else {
            others
        };
        if failed.is_ok() {
            *failed = Err(error);
        }
    }

    /// Puts back what containerd reads when it starts, the commit point first, and nothing more if that is not back:
    /// then this is an error, or [`Self::stuck`] is. A failure at another file is returned by [`Self::hosts_files`]:
    /// containerd starts without it, too.
    pub(crate) fn configuration(&mut self) -> Result<(), NodeError> {
        let transaction = self.transaction;
        let steps = self.steps.len();
        let mut result = self.take(|index, _| transaction.is_commit_point(index));
        if self.is_committed
            && self.steps.len() == steps
            && let Some(last) = transaction.files.last()
        {
            // A way back that was killed may have renamed it, and no more.
            let parent = BTreeSet::from([last.path.parent()]);
            result = result.and(sync_those_that_exist(transaction.node, &parent));
        }
        let [at_commit_point, _] = &mut self.failed;
        std::mem::replace(at_commit_point, Ok(())).and(result)?;
        // Where nothing else is to be put back, nothing is in the way of an edit.
        if self.is_committed && self.is_taken_over && !self.steps.is_empty() {
            self.left.push(transaction.files.len() - 1);
        }
        if self.left.is_empty() {
            let result = self.take(|_, file| !file.is_hosts_file());
            let [_, others] = &mut self.failed;
            *others = std::mem::replace(others, Ok(())).and(result);
        }
        Ok(())
    }

    /// An error if something that containerd reads when it starts was changed meanwhile, and left alone.
    pub(crate) fn stuck(&self) -> Result<(), NodeError> {
        let error = || io::Error::other("someone has changed it just now");
        match self.files_left().find(|file| !file.is_hosts_file()) {
            Some(file) => Err(NodeError::new(&file.path, "put back", error())),
            None => Ok(()),
        }
    }

    /// Puts back all else, and removes the directories that were made, where they are empty.
    pub(crate) fn hosts_files(mut self) -> Result<NotAsBefore, NodeError> {
        let mut result = self.take(|_, file| file.is_hosts_file());
        let node = self.transaction.node;
        let mut parents = BTreeSet::new();
        for directory in self.transaction.directories.iter().rev() {
            let removed = twice(|| replace::remove_directory(node, directory));
            result = result.and(removed);
            parents.insert(directory.parent());
        }
        let synced = sync_those_that_exist(node, &parents);
        let left = self.files_left().map(|file| file.path.clone()).collect();
        let [_, others] = self.failed;
        others.and(result).and(synced).map(|()| NotAsBefore {
            left,
            stricter: self.stricter,
        })
    }

    fn files_left(&self) -> impl Iterator<Item = &FileChange> {
        let files = self.transaction.files;
        self.left.iter().filter_map(|index| files.get(*index))
    }

    /// Goes on after a failure, since each file that is back is one less to put right by hand; the first failure is
    /// returned.
    fn take(&mut self, is_meant: impl Fn(usize, &FileChange) -> bool) -> Result<(), NodeError> {
        let Transaction { node, files, .. } = self.transaction;
        let mut result = Ok(());
        let mut parents = BTreeSet::new();
        for (index, file) in files.iter().enumerate().rev() {
            if !is_meant(index, file) {
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
                    self.left.push(index);
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
