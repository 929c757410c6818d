//! What a run has to remember, so that a killed one can be finished or undone, and a finished one rolled back.
//!
//! The state directory (0700, its files 0600: they hold the old credentials) has a `lock` that is never renamed, and
//! for each run a file `NNNN.journal` that is never overwritten. Each line of a journal is the SHA-256 of a JSON text in
//! 64 hexadecimal digits, a space, and that text. A line whose checksum does not fit is damaged, and so is the journal;
//! one without its line feed is one whose writing was cut off, and does not count.
//!
//! ```text
//! <sha256> {"schema":3,"run":1,"tool":"0.1.0","plan":"<sha256>","begun":"2026-11-22T09:48:00Z",
//!           "directories":["/etc/containerd/certs.d"],"files":1,"restart":null}
//! <sha256> {"path":"/etc/containerd/config.toml","kind":"configuration",
//!           "before":{"bytes":{"text":"…"},"mode":"0644","uid":0,"gid":0,"xattrs":{}},"after":{"text":"…"},
//!           "mode":"0644"}
//! <sha256> {"event":"applied"}
//! ```
//! * The first line is a [`Record`]. `directories` are those that the run makes, parents first. `files` is the number of
//!   lines that follow, one for each file. All of them are on disk before anything is changed.
//! * `restart`: with `--restart`, how CRI was before, and the SHA-256 of the commands. The commands themselves are not
//!   there: nothing that is read from a journal is ever executed.
//! * `origin` is for a rollback: the version of containerd whose pulls the run preserves, and the path of its config.toml.
//! * A file's line is a [`FileRecord`], in the order in which files are changed. `path` is the real one, and `named` is
//!   there where a link on the path that was given leads to it. `kind` is `hosts-file` or `configuration`. `before` is
//!   `null` for a file that did not exist, which gets `mode`. Bytes that are not UTF-8 are `{"hex":"…"}`. Where another line is damaged,
//!   this one still gives the old bytes of its file.
//! * Each later line is an [`Event`], and the last one says how far the run is.
//!
//! This module knows the format and the directory; what follows from an event is decided in its parent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::guard::{Restart, RestartRecord};
use super::replace::{self, Metadata, NEW_DIRECTORY};
use super::transaction::{FileChange, Image};
use super::{ApplyError, Origin};
use crate::containerd::release::Version;
use crate::node::{LARGEST_JOURNAL, Node, NodeError, NodePath, read_all, too_large};
use crate::plan::FileKind;
use crate::request::is_digest;
use crate::shell;

/// Raised whenever another program would misread a journal.
const SCHEMA: u32 = 3;
const LOCK: &str = "lock";
/// How much of a lock is read to say who holds it.
const HOLDER: u64 = 200;
const SUFFIX: &str = ".journal";
const TEMPORARY: &str = "journal.new";

/// The first line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    schema: u32,
    pub(crate) run: u32,
    /// The version of the program that wrote it.
    pub(crate) tool: String,
    /// The digest of the plan.
    pub(crate) plan: String,
    /// When it began, in UTC.
    pub(crate) begun: String,
    directories: Vec<String>,
    /// How many files there are, each in a line of its own.
    files: usize,
    /// With `--restart`: what the guard needs to go on after it was killed.
    pub(crate) restart: Option<RestartRecord>,
    /// What the old files were written for, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<OriginRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginRecord {
    from: String,
    config: String,
}

/// What a journal keeps of a file: what it was, and what it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRecord {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<String>,
    kind: KindRecord,
    before: Option<ImageRecord>,
    after: Bytes,
    /// Octal, as `chmod` takes it.
    mode: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindRecord {
    HostsFile,
    Configuration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageRecord {
    bytes: Bytes,
    /// Octal, as `chmod` takes it.
    mode: String,
    uid: u32,
    gid: u32,
    xattrs: BTreeMap<String, Bytes>,
}

/// Bytes, readable where they can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bytes {
    Text(String),
    Hex(String),
}

/// A later line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// All files are new, and nothing is left to do.
    Applied,
    /// All files are new; containerd is to be restarted.
    RestartPending,
    /// The restart command has ended; whether containerd is healthy is not known yet.
    Restarted,
    /// The old files are being put back.
    GoingBack {
        /// What stood in place of the files of the journal and was given up by `--allow changed-since-apply`.
        found: BTreeMap<String, Option<Bytes>>,
        /// With `--restart`: as in [`Record::restart`].
        restart: Option<RestartRecord>,
        /// Whether CRI has to come up with the old files: not if they are put back because it did not come up with the
        /// new ones, and was not up before.
        judged: bool,
    },
    /// It did not get to its commit point, and all files are old.
    Undone,
    /// All files are old again.
    RolledBack,
}

impl Bytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    pub(crate) fn get(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Hex(hex) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let byte = |pair: &[u8]| match pair {
                    [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
                    _ => None,
                };
                let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
                bytes.ok_or_else(|| io::Error::other("bytes are not pairs of hexadecimal digits"))
            }
        }
    }
}

impl Record {
    pub(crate) fn new(
        run: u32,
        plan: &str,
        directories: &[NodePath],
        files: &[FileChange],
        restart: Option<&Restart>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            run,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            plan: plan.to_owned(),
            begun: utc(SystemTime::now()),
            directories: texts(directories),
            files: files.len(),
            restart: restart.map(Restart::record),
            origin: None,
        }
    }

    /// The same with what the old files were written for.
    pub(crate) fn with_origin(self, origin: Option<&Origin>) -> Self {
        let origin = origin.map(|origin| OriginRecord {
            from: origin.from.to_string(),
            config: origin.config.as_str().to_owned(),
        });
        Self { origin, ..self }
    }

    /// Whether it has the form that this program writes: a journal in a tree is anyone's, and some of this is printed.
    fn is_as_written(&self) -> bool {
        let is_time = |text: &str| {
            let form = "0000-00-00T00:00:00Z";
            let is_alike = |(byte, form): (u8, u8)| match form {
                b'0' => byte.is_ascii_digit(),
                _ => byte == form,
            };
            text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_alike)
        };
        let is_origin = |origin: &OriginRecord| {
            Version::parse(&origin.from).is_some() && is_path(&origin.config)
        };
        is_digest(&self.plan)
            && is_time(&self.begun)
            && is_version(&self.tool)
            && self.directories.iter().all(|path| is_path(path))
            && self
                .restart
                .as_ref()
                .is_none_or(RestartRecord::is_as_written)
            && self.origin.as_ref().is_none_or(is_origin)
    }

    /// What the old files were written for.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let origin = self.origin.as_ref()?;
        Some(Origin {
            from: Version::parse(&origin.from)?,
            config: NodePath::new(&origin.config),
        })
    }
}

/// Whether it is a path as the program writes one.
fn is_path(text: &str) -> bool {
    NodePath::new(text).as_str() == text
}

/// Whether it is a version of this program: `1.2.3`, or `1.2.3-rc.4`.
fn is_version(text: &str) -> bool {
    let is_number =
        |text: &str| matches!(text.len(), 1..=9) && text.bytes().all(|byte| byte.is_ascii_digit());
    let (release, pre) = match text.split_once('-') {
        Some((release, pre)) => (release, Some(pre)),
        None => (text, None),
    };
    let is_pre = |pre: &str| {
        let (stage, number) = pre.split_once('.').unwrap_or((pre, "0"));
        ["alpha", "beta", "rc"].contains(&stage) && is_number(number)
    };
    release.split('.').count() == 3 && release.split('.').all(is_number) && pre.is_none_or(is_pre)
}

fn texts(paths: &[NodePath]) -> Vec<String> {
    paths.iter().map(|path| path.as_str().to_owned()).collect()
}

impl FileRecord {
    fn of(file: &FileChange) -> Self {
        let image = |image: &Image| ImageRecord {
            bytes: Bytes::new(&image.bytes),
            mode: format!("{:04o}", image.metadata.mode),
            uid: image.metadata.uid,
            gid: image.metadata.gid,
            xattrs: image
                .metadata
                .xattrs
                .iter()
                .map(|(name, value)| (name.clone(), Bytes::new(value)))
                .collect(),
        };
        Self {
            path: file.path.as_str().to_owned(),
            named: file.named.as_ref().map(|path| path.as_str().to_owned()),
            kind: match file.kind {
                FileKind::HostsFile => KindRecord::HostsFile,
                FileKind::Configuration => KindRecord::Configuration,
            },
            before: file.before.as_ref().map(image),
            after: Bytes::new(&file.after),
            mode: format!("{:04o}", file.mode),
        }
    }

    fn change(&self) -> io::Result<FileChange> {
        let mode = |octal: &str| {
            let mode = u32::from_str_radix(octal, 8).map_err(io::Error::other)?;
            match mode {
                0..=0o7777 => Ok(mode),
                _ => Err(io::Error::other(format!("a file has no mode {mode:o}"))),
            }
        };
        let image = |image: &ImageRecord| {
            let mut xattrs = BTreeMap::new();
            for (name, value) in &image.xattrs {
                xattrs.insert(name.clone(), value.get()?);
            }
            // To the kernel this number means that the owner stays.
            if [image.uid, image.gid].contains(&u32::MAX) {
                return Err(io::Error::other("a file has an owner that does not exist"));
            }
            io::Result::Ok(Image {
                bytes: image.bytes.get()?,
                metadata: Metadata {
                    mode: mode(&image.mode)?,
                    uid: image.uid,
                    gid: image.gid,
                    xattrs,
                },
            })
        };
        let mut paths = std::iter::once(&self.path).chain(&self.named);
        if !paths.all(|path| is_path(path)) {
            return Err(io::Error::other(
                "a file has a path that this program does not write",
            ));
        }
        Ok(FileChange {
            kind: match self.kind {
                KindRecord::HostsFile => FileKind::HostsFile,
                KindRecord::Configuration => FileKind::Configuration,
            },
            path: NodePath::new(&self.path),
            named: self.named.as_deref().map(NodePath::new),
            before: self.before.as_ref().map(image).transpose()?,
            after: self.after.get()?,
            mode: mode(&self.mode)?,
        })
    }
}

/// A line of a journal.
pub(crate) fn line(json: &[u8]) -> Vec<u8> {
    let mut line = sha256(json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

/// The JSON text of a whole line; `None` if the line is damaged.
fn json(line: &[u8]) -> Option<&[u8]> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_at_checked(64)?;
    let json = json.strip_prefix(b" ")?;
    (sha256(json).as_bytes() == checksum).then_some(json)
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a journal, less one that was cut off.
fn lines(journal: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let lines = journal.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n"))
}

/// What a line of a journal says; `number` counts from 1.
fn parse<T: DeserializeOwned>(number: usize, line: Option<&[u8]>) -> io::Result<T> {
    let failed = |what: String| io::Error::other(format!("line {number} {what}"));
    let line = line.ok_or_else(|| failed("is missing".to_owned()))?;
    let json = json(line)
        .ok_or_else(|| failed("is damaged: its checksum is not that of its text".to_owned()))?;
    // What serde says of it may have old bytes of a file in it.
    serde_json::from_slice(json).map_err(|error| {
        failed(format!(
            "is not understood, from column {} on",
            error.column()
        ))
    })
}

/// A run, read from its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) record: Record,
    pub(crate) directories: Vec<NodePath>,
    pub(crate) files: Vec<FileChange>,
    pub(crate) events: Vec<Event>,
}

impl Journal {
    /// A run that has just begun.
    pub(crate) fn new(record: Record, files: Vec<FileChange>, directories: Vec<NodePath>) -> Self {
        Self {
            record,
            directories,
            files,
            events: Vec::new(),
        }
    }

    /// Whether the journal keeps these bytes as what someone else had made of the file.
    pub(crate) fn has_found(&self, path: &NodePath, bytes: Option<&[u8]>) -> bool {
        self.events.iter().any(|event| match event {
            Event::GoingBack { found, .. } => {
                found.get(path.as_str()) == Some(&bytes.map(Bytes::new))
            }
            _ => false,
        })
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        /// What every schema has.
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let mut lines = lines(bytes);
        let first = lines.next();
        let Schema { schema } = parse(1, first)?;
        if schema != SCHEMA {
            return Err(io::Error::other(format!(
                "it has schema {schema}, and this program knows only {SCHEMA}: another version of it wrote this"
            )));
        }
        let record: Record = parse(1, first)?;
        if !record.is_as_written() {
            let what = "line 1 has a digest, a time, a version or a path in a form that this program does not write";
            return Err(io::Error::other(what));
        }
        let mut numbers = 2..;
        let mut files = Vec::new();
        for number in numbers.by_ref().take(record.files) {
            let file = parse::<FileRecord>(number, lines.next())?.change();
            let failed =
                |error| io::Error::other(format!("line {number} is not understood: {error}"));
            files.push(file.map_err(failed)?);
        }
        let events = numbers.zip(lines);
        let events = events.map(|(number, line)| parse(number, Some(line)));
        Ok(Self {
            directories: record
                .directories
                .iter()
                .map(|path| NodePath::new(path))
                .collect(),
            events: events.collect::<io::Result<_>>()?,
            record,
            files,
        })
    }
}

/// What is in the state directory under the name of a journal.
#[derive(Debug)]
pub(crate) enum Entry {
    Run(Box<Journal>),
    Damaged(Damaged),
}

/// A journal that cannot be read.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) run: u32,
    pub(crate) error: NodeError,
    /// Whether its last line can be, and says that nothing is left to do.
    pub(crate) is_closed: bool,
    /// The files whose old bytes it still gives, with the number of the line.
    pub(crate) intact: Vec<(usize, NodePath)>,
}

impl Damaged {
    pub(crate) fn error(self) -> ApplyError {
        ApplyError::Damaged {
            error: self.error,
            intact: self.intact,
        }
    }
}

/// The state directory.
#[derive(Clone, Debug)]
pub(crate) struct Store<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: NodePath,
}

/// The right to change the node: held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: OwnedFd,
    _file: Held<File>,
}

/// An open file that is locked. Closing it is not enough: a child that was just forked may have it open, too.
#[derive(Debug)]
pub(crate) struct Held<F: AsFd>(F);

impl<F: AsFd> Drop for Held<F> {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl<'a> Store<'a> {
    pub(crate) fn new(node: &'a Node, path: &NodePath) -> Self {
        Self {
            node,
            path: path.clone(),
        }
    }

    /// Everything that is there, oldest first, one after the other: each may be large.
    pub(crate) fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, NodeError>> + use<'_, 'a>, NodeError> {
        let mut numbers = self.numbers()?;
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(|run| self.read(run)))
    }

    /// Every unfinished run, oldest first; an error if there is one that may be unfinished, and nobody can tell.
    pub(crate) fn unfinished(&self) -> Result<Vec<Journal>, ApplyError> {
        let mut unfinished = Vec::new();
        for entry in self.entries()? {
            match entry? {
                Entry::Run(journal) if journal.is_unfinished() => unfinished.push(*journal),
                Entry::Run(_) => {}
                Entry::Damaged(damaged) if damaged.is_closed => {}
                Entry::Damaged(damaged) => return Err(damaged.error()),
            }
        }
        Ok(unfinished)
    }

    fn numbers(&self) -> Result<Vec<u32>, NodeError> {
        let entries = self.node.list(&self.path)?.unwrap_or_default();
        Ok(entries
            .iter()
            .filter_map(|entry| number(&entry.name))
            .collect())
    }

    /// The highest number that a run has, or 0.
    pub(crate) fn last(&self) -> Result<u32, NodeError> {
        Ok(self.numbers()?.into_iter().max().unwrap_or(0))
    }

    pub(crate) fn journal_path(&self, run: u32) -> NodePath {
        self.path.join(&name(run))
    }

    /// An error if the disk does not answer; a journal that cannot be understood is none.
    fn read(&self, run: u32) -> Result<Entry, NodeError> {
        let path = self.journal_path(run);
        let damaged = |error, bytes: &[u8]| {
            Ok(Entry::Damaged(Damaged {
                run,
                error,
                is_closed: is_closed(bytes),
                intact: intact(bytes),
            }))
        };
        let file = match self.node.read_journal(&path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                let error = io::Error::other("it is a link that leads nowhere");
                return damaged(NodeError::new(&path, "read the journal", error), &[]);
            }
            Err(error) => {
                return match error.source.kind() {
                    io::ErrorKind::FileTooLarge
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::InvalidInput => damaged(error, &[]),
                    _ => Err(error),
                };
            }
        };
        let parsed = Journal::parse(&file.bytes).and_then(|journal| {
            if journal.record.run == run {
                Ok(journal)
            } else {
                let number = journal.record.run;
                Err(io::Error::other(format!("it is that of run {number}")))
            }
        });
        match parsed {
            Ok(journal) => Ok(Entry::Run(Box::new(journal))),
            Err(error) => {
                let error = NodeError::new(&path, "understand the journal", error);
                damaged(error, &file.bytes)
            }
        }
    }

    /// Takes the lock on what `files` are in, for runs with another state directory than this one.
    pub(crate) fn lock_files<'f>(
        &self,
        files: impl Iterator<Item = (FileKind, &'f NodePath)>,
    ) -> Result<Vec<Held<OwnedFd>>, ApplyError> {
        let mut directories = BTreeSet::new();
        for (kind, path) in files {
            let mut directory = path.parent();
            // One lock for all namespaces, whose directories may be hundreds.
            if kind == FileKind::HostsFile {
                directory = directory.parent();
            }
            while self.node.open_directory(&directory)?.is_none() {
                directory = directory.parent();
            }
            directories.insert(directory);
        }
        let mut locks = Vec::new();
        for path in directories {
            let Some(directory) = self.node.open_directory(&path)? else {
                continue;
            };
            match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => locks.push(Held(directory)),
                Err(Errno::WOULDBLOCK) => {
                    return Err(ApplyError::Locked {
                        lock: path,
                        holder: "perhaps one with another --state-dir".to_owned(),
                    });
                }
                // Not all file systems of the network can lock a directory.
                Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(NodeError::new(&path, "lock", errno).into()),
            }
        }
        Ok(locks)
    }

    /// Makes the directory if it is not there, and takes the lock.
    pub(crate) fn lock(&self, purpose: &str) -> Result<Lock, ApplyError> {
        let directory = self.open()?;
        let path = self.path.join(LOCK);
        let failed = |error: io::Error| NodeError::new(&path, "lock", error);
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed(errno.into()))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::other("not a regular file")).into());
        }
        // With another name it may be someone's file: it can be locked, and is neither shown nor written to.
        let is_ours = stat.st_nlink == 1;
        let mut file = File::from(file);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // It says who it is right after it took the lock: this may be too early to read it.
                let holder = holder_in(file);
                return Err(ApplyError::Locked {
                    lock: path,
                    holder: if is_ours { holder } else { String::new() },
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        if is_ours {
            let holder = format!(
                "pid {}, `{purpose}`, since {}\n",
                std::process::id(),
                utc(SystemTime::now())
            );
            file.set_len(0).map_err(failed)?;
            file.write_all(holder.as_bytes()).map_err(failed)?;
        }
        Ok(Lock {
            directory,
            _file: Held(file),
        })
    }

    /// Who holds the lock, if that is a process that this one can see. The lock is not tried: a look must not stop a
    /// command that wants it at this moment.
    pub(crate) fn holder(&self) -> Option<String> {
        let directory = self.node.open_directory(&self.path).ok()??;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, LOCK, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return None;
        }
        let holder = holder_in(File::from(file));
        let (pid, _) = holder.strip_prefix("pid ")?.split_once(',')?;
        // `1: FLOCK  ADVISORY  WRITE 26004 fe:00:7866413 0 EOF`
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let inode = format!(":{}", stat.st_ino);
        let is_held = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some("FLOCK")
                && words.nth(2) == Some(pid)
                && words.next().is_some_and(|place| place.ends_with(&inode))
        };
        locks.lines().any(is_held).then_some(holder)
    }

    /// Opens the directory, and makes it if it is not there. The mode of one that was there is changed only if nothing
    /// in it is anybody else's.
    fn open(&self) -> Result<OwnedFd, NodeError> {
        let failed = |errno: Errno| NodeError::new(&self.path, "use the state directory", errno);
        let refused = |why: String| {
            NodeError::new(&self.path, "use the state directory", io::Error::other(why))
        };
        let real = self.node.real(&self.path)?;
        if real.name().is_empty() {
            return Err(refused("it is the root directory".to_owned()));
        }
        let mut missing = Vec::new();
        let mut directory = real.clone();
        while self.node.open_directory(&directory)?.is_none() {
            missing.push(directory.clone());
            directory = directory.parent();
        }
        for directory in missing.iter().rev() {
            replace::make_directory(self.node, directory, NEW_DIRECTORY)?;
        }
        let opened = self
            .node
            .open_directory(&real)?
            .ok_or_else(|| failed(Errno::NOENT))?;
        let stat = rustix::fs::fstat(&opened).map_err(failed)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            // Its owner could make this program write any file.
            return Err(refused(format!(
                "it belongs to uid {}, and this runs as uid {}",
                stat.st_uid,
                rustix::process::geteuid().as_raw()
            )));
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::RWXG | Mode::RWXO) {
            if missing.is_empty() && !self.may_close(mode)? {
                return Err(refused(format!(
                    "others may enter it, and it holds other files or is shared; set another --state-dir, or make it private \
                     (chmod 0700 {})",
                    shell::quote(&self.path_of_machine(&real))
                )));
            }
            rustix::fs::fchmod(&opened, Mode::RWXU).map_err(failed)?;
        }
        for directory in &missing {
            replace::sync_directory(self.node, &directory.parent())?;
        }
        Ok(opened)
    }

    /// Whether a directory that exists may lose the bits that let others in: it is empty, or holds nothing but journals and
    /// only its owner could write to it. One that is shared on purpose, as /tmp is, stays as it is.
    fn may_close(&self, mode: Mode) -> Result<bool, NodeError> {
        let shared = Mode::SVTX | Mode::SUID | Mode::SGID;
        let writable = Mode::WGRP | Mode::WOTH;
        let is_ours = |name: &str| name == LOCK || name == TEMPORARY || number(name).is_some();
        let entries = self.node.list(&self.path)?.unwrap_or_default();
        let is_nobodys = entries.is_empty()
            || !mode.intersects(writable) && entries.iter().all(|entry| is_ours(&entry.name));
        Ok(!mode.intersects(shared) && is_nobodys)
    }

    /// A path of the node as this machine names it.
    fn path_of_machine(&self, path: &NodePath) -> String {
        match self.node.root().trim_end_matches('/') {
            "" => path.as_str().to_owned(),
            root => format!("{root}{path}"),
        }
    }

    /// Writes the journal of a new run; when this returns, it is on disk.
    pub(crate) fn begin(
        &self,
        lock: &Lock,
        record: &Record,
        files: &[FileChange],
    ) -> Result<(), NodeError> {
        let path = self.journal_path(record.run);
        let failed = |error: serde_json::Error| NodeError::new(&path, "write", error);
        let mut lines = line(&serde_json::to_vec(record).map_err(failed)?);
        for file in files {
            let file = serde_json::to_vec(&FileRecord::of(file)).map_err(failed)?;
            lines.extend(line(&file));
        }
        // It must be possible to read it again.
        if is_too_large(lines.len()) {
            return Err(NodeError::new(&path, "write", too_large(LARGEST_JOURNAL)));
        }
        let result = self.write_new(lock, &path, &lines);
        if result.is_err() {
            // If that fails too, the next run does it.
            let _ = remove_temporary(lock);
        }
        result
    }

    fn write_new(&self, lock: &Lock, path: &NodePath, lines: &[u8]) -> Result<(), NodeError> {
        let temporary = self.path.join(TEMPORARY);
        let failed = |step, error: io::Error| NodeError::new(&temporary, step, error);
        remove_temporary(lock).map_err(|errno| failed("remove", errno.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&lock.directory, TEMPORARY, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed("create", errno.into()))?;
        let mut file = File::from(file);
        file.write_all(lines)
            .map_err(|error| failed("write", error))?;
        file.sync_all().map_err(|error| failed("fsync", error))?;
        rustix::fs::renameat(&lock.directory, TEMPORARY, &lock.directory, path.name())
            .map_err(|errno| NodeError::new(path, "rename what was written to", errno))?;
        // From here on it is there, whether or not this says so: a run that changed nothing yet, and is closed.
        rustix::fs::fsync(&lock.directory)
            .map_err(|errno| NodeError::new(&self.path, "fsync", errno))
    }

    /// Removes the journal of a run that has changed nothing.
    pub(crate) fn forget(&self, lock: &Lock, run: u32) -> Result<(), NodeError> {
        let path = self.journal_path(run);
        match rustix::fs::unlinkat(&lock.directory, path.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(NodeError::new(&path, "remove", errno)),
        }
        rustix::fs::fsync(&lock.directory)
            .map_err(|errno| NodeError::new(&self.path, "fsync", errno))
    }

    /// Adds an event; when this returns, it is on disk.
    pub(crate) fn append(&self, lock: &Lock, run: u32, event: &Event) -> Result<(), NodeError> {
        let path = self.journal_path(run);
        let append = || -> io::Result<()> {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(
                &lock.directory,
                path.name(),
                flags,
                Mode::empty(),
            )?);
            let bytes = read_all(&file)?;
            // A line that was cut off by a full disk or a kill.
            let end = bytes
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let line = line(&serde_json::to_vec(event)?);
            if is_too_large(end + line.len()) {
                return Err(too_large(LARGEST_JOURNAL));
            }
            // Under another name it may be the journal of a copy of this tree.
            if rustix::fs::fstat(&file)?.st_nlink > 1 {
                let whole = bytes.get(..end).unwrap_or_default();
                let written = self.write_new(lock, &path, &[whole, &line].concat());
                return written.map_err(|error| error.source);
            }
            let end = u64::try_from(end).map_err(io::Error::other)?;
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&line)?;
            file.sync_all()
        };
        append().map_err(|error| NodeError::new(&path, "add to the journal", error))
    }
}

/// What a lock says of who holds it; empty if it cannot be read.
fn holder_in(lock: File) -> String {
    let holder = read_all(lock.take(HOLDER)).unwrap_or_default();
    String::from_utf8_lossy(&holder).trim().to_owned()
}

fn is_too_large(length: usize) -> bool {
    u64::try_from(length).is_ok_and(|length| length > LARGEST_JOURNAL)
}

fn remove_temporary(lock: &Lock) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(lock.directory.as_fd(), TEMPORARY, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether the last whole line says that nothing is left to do, whatever the others are.
fn is_closed(journal: &[u8]) -> bool {
    let last = lines(journal).next_back().and_then(json);
    let event = last.and_then(|json| serde_json::from_slice::<Event>(json).ok());
    event.is_some_and(|event| event.is_end())
}

/// The files whose old bytes are in lines that are not damaged.
fn intact(journal: &[u8]) -> Vec<(usize, NodePath)> {
    let file = |(number, line)| {
        let file: FileRecord = serde_json::from_slice(json(line)?).ok()?;
        file.before
            .is_some()
            .then(|| (number, NodePath::new(&file.path)))
    };
    (1..).zip(lines(journal)).filter_map(file).collect()
}

fn name(run: u32) -> String {
    format!("{run:04}{SUFFIX}")
}

/// The run whose journal has exactly this name.
fn number(file: &str) -> Option<u32> {
    let run = file.strip_suffix(SUFFIX)?.parse().ok()?;
    (name(run) == file).then_some(run)
}

/// A time as people and programs read it, in whole seconds.
fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of the year 0, so that the leap day is the last of a year; Howard Hinnant's
    // "chrono-compatible low-level date algorithms".
    let day = days + 719_468;
    let era = day / 146_097;
    let day_of_era = day % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year_of_era + era * 400 + next;
    format!(
        "{year:04}-{month:02}-{day_of_month:02}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Vec<u8> {
        let metadata = Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::from([("user.a".to_owned(), vec![0xff])]),
        };
        let files = [FileChange {
            kind: FileKind::Configuration,
            path: NodePath::new("/a"),
            named: None,
            before: Some(Image {
                bytes: b"old".to_vec(),
                metadata,
            }),
            after: b"new".to_vec(),
            mode: 0o644,
        }];
        let record = Record::new(7, &"a".repeat(64), &[NodePath::new("/d")], &files, None);
        let mut journal = line(&serde_json::to_vec(&record).unwrap());
        let file = serde_json::to_vec(&FileRecord::of(&files[0])).unwrap();
        journal.extend(line(&file));
        journal.extend(line(&serde_json::to_vec(&Event::RestartPending).unwrap()));
        journal.extend(line(&serde_json::to_vec(&Event::Applied).unwrap()));
        journal
    }

    /// A journal in a tree may be anyone's, and these are printed.
    #[test]
    fn a_record_has_the_form_that_this_program_writes() {
        let journal = journal();
        let first = journal
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .unwrap();
        let written = String::from_utf8(json(first).unwrap().to_vec()).unwrap();
        let of = |from: &str, to: &str| {
            let forged = written.replace(from, to);
            assert!(forged != written, "{from}");
            let mut forged = line(forged.as_bytes());
            forged.extend(&journal[first.len()..]);
            Journal::parse(&forged)
        };
        assert!(of("\"run\":7", "\"run\":8").is_ok());
        let digest = "a".repeat(64);
        for (from, to) in [
            (digest.as_str(), "S https://bob:S@h"),
            (digest.as_str(), "aaaa"),
            ("Z\"", " S\""),
            (env!("CARGO_PKG_VERSION"), "1 S"),
            (env!("CARGO_PKG_VERSION"), "hunterS"),
            (env!("CARGO_PKG_VERSION"), "1.2.S"),
            ("\"/d\"", "\"S\""),
            ("\"/d\"", "\"/d/../S\""),
            ("}", ",\"origin\":{\"from\":\"S\",\"config\":\"/a\"}}"),
            ("}", ",\"origin\":{\"from\":\"1.7.0\",\"config\":\"S\"}}"),
        ] {
            let error = of(from, to).unwrap_err().to_string();
            assert!(
                error.starts_with("line 1 ") && !error.contains('S'),
                "{error}"
            );
        }
        let file = String::from_utf8(journal.clone()).unwrap();
        let file = file.lines().nth(1).unwrap();
        let file = file
            .split_once(' ')
            .unwrap()
            .1
            .replace("\"0644\"", "\"77777\"");
        let file: FileRecord = serde_json::from_str(&file).unwrap();
        assert!(file.change().is_err());
        for hex in ["abc", "+1+2", "ä", "0g"] {
            assert!(Bytes::Hex(hex.to_owned()).get().is_err(), "{hex}");
        }
        assert_eq!(Bytes::new(&[0xff, 0x0a]).get().unwrap(), [0xff, 0x0a]);
    }

    /// `fchown` takes this number as "leave it as it is".
    #[test]
    fn an_owner_that_no_file_has_is_refused() {
        let journal = String::from_utf8(journal()).unwrap();
        let file = journal.lines().nth(1).unwrap().split_once(' ').unwrap().1;
        for owner in ["uid", "gid"] {
            let forged = file.replace(
                &format!("\"{owner}\":0"),
                &format!("\"{owner}\":{}", u32::MAX),
            );
            assert!(forged != file, "{file}");
            let forged: FileRecord = serde_json::from_str(&forged).unwrap();
            assert!(forged.change().is_err());
        }
    }

    /// The line feed at the end is what tells a whole line; without it the last event was not written.
    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let journal = journal();
        let whole = Journal::parse(&journal).unwrap();
        assert_eq!(whole.events, [Event::RestartPending, Event::Applied]);
        for at in 0..journal.len() * 8 {
            let mut flipped = journal.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            match Journal::parse(&flipped) {
                Err(error) => assert!(error.to_string().starts_with("line "), "{error}"),
                Ok(read) => {
                    assert_eq!(at / 8, journal.len() - 1, "bit {at}");
                    assert_eq!(read.files, whole.files);
                    assert_eq!(read.events, [Event::RestartPending]);
                }
            }
        }
    }

    #[test]
    fn a_journal_that_ends_early_is_damaged_or_unfinished() {
        let journal = journal();
        let whole = Journal::parse(&journal).unwrap();
        let ends: Vec<usize> = (1..=journal.len())
            .filter(|end| journal[end - 1] == b'\n')
            .collect();
        for length in 0..journal.len() {
            let read = Journal::parse(&journal[..length]);
            let lines = ends.iter().filter(|end| **end <= length).count();
            match lines {
                0 | 1 => assert!(read.is_err(), "{length}"),
                lines => {
                    let read = read.unwrap();
                    assert_eq!(read.files, whole.files);
                    assert_eq!(read.events, whole.events[..lines - 2]);
                }
            }
        }
    }
}
