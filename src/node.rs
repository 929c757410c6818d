//! The node's file tree: the only module that reads the disk.
//!
//! Every path is one as the node sees it; with `--root` it is resolved inside that directory, links included.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxFlags,
};
use rustix::io::Errno;

use crate::printable::printable;
use crate::secret::shown_file;
use crate::work;

/// The largest configuration file or hosts file that is read.
pub const LARGEST_FILE: u64 = 16 << 20;

/// The largest certificate or key that is read.
pub const LARGEST_CERTIFICATE: u64 = 4 << 20;

/// The largest journal that is read, and that is written.
pub const LARGEST_JOURNAL: u64 = 128 << 20;

/// An absolute, lexically cleaned path as the node itself sees it (never with `--root` in front).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(String);

impl NodePath {
    /// Cleans `path` as Go's `path.Clean("/" + path)` does; a relative one is taken against `/`.
    pub fn new(path: &str) -> Self {
        work::count(path.len());
        // Most paths are clean as they are.
        let may_be_unclean = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
        let is_absolute = path.len() > 1 && path.starts_with('/') && !path.ends_with('/');
        if is_absolute && !path.as_bytes().windows(2).any(may_be_unclean) {
            return Self(path.to_owned());
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        Self(format!("/{}", parts.join("/")))
    }

    /// The path below `self` with the relative `path` appended.
    pub fn join(&self, path: &str) -> Self {
        Self::new(&[self.0.trim_end_matches('/'), path].join("/"))
    }

    /// The directory that holds this path; the root is its own parent.
    pub fn parent(&self) -> Self {
        Self(self.parent_and_name().0.to_owned())
    }

    /// The last name; empty for the root.
    pub fn name(&self) -> &str {
        self.parent_and_name().1
    }

    /// Whether this is the file `name` in a directory of `directory`; the name of that directory.
    pub fn directory_in<'p>(&'p self, directory: &Self, name: &str) -> Option<&'p str> {
        let inside = self.0.strip_prefix(directory.0.trim_end_matches('/'))?;
        let (between, file) = inside.strip_prefix('/')?.split_once('/')?;
        (file == name).then_some(between)
    }

    fn parent_and_name(&self) -> (&str, &str) {
        match self.0.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some(parts) => parts,
            None => ("/", ""),
        }
    }

    /// The path as text, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Opening files under `--root` failed: which one, at which step, and what the kernel said.
#[derive(Debug)]
pub struct NodeError {
    /// The path as the node sees it.
    pub path: NodePath,
    /// What was being done, as a verb: `read`, `list`, `open`.
    pub step: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
}

impl NodeError {
    pub(crate) fn new(path: &NodePath, step: &'static str, source: impl Into<io::Error>) -> Self {
        Self {
            path: path.clone(),
            step,
            source: source.into(),
        }
    }
}

impl NodeError {
    /// Whether root could do what this user may not.
    pub fn needs_root(&self) -> bool {
        let is_refused = self.source.kind() == io::ErrorKind::PermissionDenied;
        is_refused && !rustix::process::geteuid().is_root()
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(shown_file(self.path.as_str()));
        let source = printable(&self.source.to_string());
        write!(formatter, "cannot {} `{path}`: {source}", self.step)?;
        if self.needs_root() {
            write!(formatter, "; run this as root")?;
        }
        Ok(())
    }
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// Where it really is: every link was followed, inside the root.
    pub path: NodePath,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// What a name in a directory leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A pipe, a socket or a device.
    Special,
    /// A link that leads nowhere.
    Dangling,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name; where it is not UTF-8, with replacement characters.
    pub name: String,
    /// The name on disk, its bytes escaped, where it is not UTF-8. Such an entry cannot be opened.
    pub escaped: Option<String>,
    /// What it is, after following links inside the root.
    pub kind: EntryKind,
}

/// The node's file tree: everything below `--root`.
///
/// With a root other than `/` no path and no link leads out of it: the kernel resolves (`openat2`), or where it
/// cannot, a walk name by name does.
#[derive(Debug)]
pub struct Node {
    root: OwnedFd,
    name: String,
    is_host: bool,
    /// What stands in place of what is on the disk, by its real path: a file's bytes, or nothing.
    instead: BTreeMap<NodePath, Option<Vec<u8>>>,
}

impl Node {
    /// Opens the tree whose root is the directory `root` of this machine.
    pub fn open(root: &str) -> Result<Self, NodeError> {
        // Opened by the name that was given: `/proc/PID/root` leads into another process's tree, though as a link it
        // reads `/`. These are the two paths that are not paths inside the root: shown as they are, not cleaned.
        let open = |path: &str| {
            let failed = |errno: Errno| NodeError::new(&NodePath(path.to_owned()), "open", errno);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
            let identity = Identity::of(&directory).map_err(failed)?;
            Ok((directory, identity))
        };
        let (directory, identity) = open(root)?;
        let is_host = identity == open("/")?.1;
        Ok(Self {
            root: directory,
            name: root.to_owned(),
            is_host,
            instead: BTreeMap::new(),
        })
    }

    /// The tree as it would be read with these files in place of those on the disk, by their real paths; `None` stands
    /// for a file or a directory that does not exist.
    pub fn with(self, instead: BTreeMap<NodePath, Option<Vec<u8>>>) -> Self {
        Self { instead, ..self }
    }

    /// Whether this is the machine that the program runs on, not a tree somewhere in it.
    pub fn is_host(&self) -> bool {
        self.is_host
    }

    /// The root as it was typed.
    pub fn root(&self) -> &str {
        &self.name
    }

    /// Reads a configuration file or a hosts file; `None` if there is none of this name (or the link leads nowhere).
    pub fn read(&self, path: &NodePath) -> Result<Option<NodeFile>, NodeError> {
        self.read_up_to(LARGEST_FILE, path)
    }

    /// Reads the bytes of a certificate or a key; `None` as for [`Node::read`].
    pub fn read_certificate(&self, path: &NodePath) -> Result<Option<Vec<u8>>, NodeError> {
        // Nobody asks where it really is.
        match self.open_regular(path, path, OFlags::empty())? {
            Some(file) => Ok(Some(read_up_to(LARGEST_CERTIFICATE, path, file)?)),
            None => Ok(None),
        }
    }

    /// Reads a journal; `None` as for [`Node::read`].
    pub(crate) fn read_journal(&self, path: &NodePath) -> Result<Option<NodeFile>, NodeError> {
        self.read_up_to(LARGEST_JOURNAL, path)
    }

    fn read_up_to(&self, limit: u64, path: &NodePath) -> Result<Option<NodeFile>, NodeError> {
        if !self.instead.is_empty() {
            let real = self.real(path)?;
            if let Some(instead) = self.instead.get(&real) {
                let mode = 0o600;
                return Ok(instead.clone().map(|bytes| NodeFile {
                    path: real,
                    bytes,
                    mode,
                }));
            }
        }
        let (real, Some(file)) = self.open_existing(path)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| NodeError::new(path, "read", errno))?;
        let bytes = read_up_to(limit, path, file)?;
        Ok(Some(NodeFile {
            path: real,
            bytes,
            mode: Mode::from_raw_mode(stat.st_mode).as_raw_mode(),
        }))
    }

    /// Lists a directory, sorted by name; `None` if there is none.
    pub fn list(&self, path: &NodePath) -> Result<Option<Vec<DirectoryEntry>>, NodeError> {
        let failed = |errno: Errno| NodeError::new(path, "list", errno);
        let Some(directory) = self.open_directory(path)? else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            work::count(1);
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let (name, escaped) = match str::from_utf8(bytes) {
                Ok(name) => (name.to_owned(), None),
                Err(_) => {
                    let escaped = bytes.escape_ascii().to_string();
                    (String::from_utf8_lossy(bytes).into_owned(), Some(escaped))
                }
            };
            let kind = match entry.file_type() {
                FileType::RegularFile => EntryKind::File,
                FileType::Directory => EntryKind::Directory,
                // Some file systems do not say; a link is what it leads to.
                FileType::Symlink | FileType::Unknown if escaped.is_none() => {
                    self.kind(&path.join(&name))?
                }
                // Nobody can follow it.
                FileType::Symlink | FileType::Unknown => EntryKind::Dangling,
                _ => EntryKind::Special,
            };
            entries.push(DirectoryEntry {
                name,
                escaped,
                kind,
            });
        }
        if !self.instead.is_empty() {
            let real = self.real(path)?;
            let is_gone = |name: &str| self.instead.get(&real.join(name)) == Some(&None);
            entries.retain(|entry| !is_gone(&entry.name));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(entries))
    }

    /// Whether there is anything at `path`, links followed.
    pub fn exists(&self, path: &NodePath) -> Result<bool, NodeError> {
        match self.walk(path) {
            Ok(walk) => Ok(walk.missing.is_empty()),
            Err(error) if error.source.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the file `path` really is, or would be created: links in what exists are followed inside the root, the
    /// rest is appended.
    pub fn real(&self, path: &NodePath) -> Result<NodePath, NodeError> {
        let (real, _) = self.find(path)?;
        Ok(real)
    }

    /// Where a path really is, or would be, and whether it exists.
    fn find(&self, path: &NodePath) -> Result<(NodePath, bool), NodeError> {
        // Most paths have no link on the way, which the kernel says at once.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.root, path.as_str(), flags, Mode::empty(), resolve) {
            Ok(_) => return Ok((path.clone(), true)),
            Err(Errno::NOENT) => return Ok((path.clone(), false)),
            Err(_) => {}
        }
        let walk = self.walk(path)?;
        Ok((walk.real(), walk.missing.is_empty()))
    }

    /// Opens a directory for reading and for `fsync`; `None` if there is none.
    pub(crate) fn open_directory(&self, path: &NodePath) -> Result<Option<OwnedFd>, NodeError> {
        self.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Opens a regular file for reading; says where it really is, or would be.
    pub(crate) fn open_existing(
        &self,
        path: &NodePath,
    ) -> Result<(NodePath, Option<OwnedFd>), NodeError> {
        let (real, exists) = self.find(path)?;
        if !exists {
            return Ok((real, None));
        }
        // Not through a link, since it may have been replaced meanwhile.
        let file = self.open_regular(&real, path, OFlags::NOFOLLOW)?;
        Ok((real, file))
    }

    /// Opens the regular file at `real`, which was asked for as `path`, for reading; `None` if there is nothing.
    fn open_regular(
        &self,
        real: &NodePath,
        path: &NodePath,
        follow: OFlags,
    ) -> Result<Option<OwnedFd>, NodeError> {
        let failed = |errno: Errno| NodeError::new(path, "read", errno);
        // Looked at before it is opened: to open a device or a pipe may already do something. Then not blocking, since it
        // may have been replaced meanwhile.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | follow;
        for flags in [OFlags::PATH, flags] {
            let Some(file) = self.open_file(real, flags)? else {
                return Ok(None);
            };
            let stat = rustix::fs::fstat(&file).map_err(failed)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if flags == OFlags::PATH => {}
                FileType::RegularFile => return Ok(Some(file)),
                FileType::Directory => return Err(failed(Errno::ISDIR)),
                _ => {
                    let what = "not a regular file";
                    let source = io::Error::new(io::ErrorKind::InvalidInput, what);
                    return Err(NodeError::new(path, "read", source));
                }
            }
        }
        Ok(None)
    }

    /// Whether the root is on a file system that is mounted read-only: a tree that nobody means to write to.
    pub(crate) fn is_read_only(&self) -> bool {
        is_read_only(&self.root)
    }

    fn kind(&self, path: &NodePath) -> Result<EntryKind, NodeError> {
        let file = match self.open_file(path, OFlags::PATH) {
            Ok(file) => file,
            // A link to itself is a name that leads nowhere.
            Err(error) if error.source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => None,
            Err(error) => return Err(error),
        };
        let Some(file) = file else {
            return Ok(EntryKind::Dangling);
        };
        let stat =
            rustix::fs::fstat(&file).map_err(|errno| NodeError::new(path, "look at", errno))?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Special,
        })
    }

    /// Opens what exists, never through a link that leads out of the root; `None` if there is nothing.
    fn open_file(&self, path: &NodePath, flags: OFlags) -> Result<Option<OwnedFd>, NodeError> {
        work::count(path.0.len());
        let flags = flags | OFlags::CLOEXEC;
        let opened = if self.is_host {
            rustix::fs::open(path.as_str(), flags, Mode::empty())
        } else {
            self.open_in_root(path, flags)
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            // Kernels before 5.6 have no openat2, old seccomp profiles forbid it, and it gives up when the tree is
            // being renamed under it.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) if !self.is_host => self
                .walk(path)?
                .open(self, flags)
                .map_err(|errno| NodeError::new(path, "open", errno)),
            Err(errno) => Err(NodeError::new(path, "open", errno)),
        }
    }

    fn open_in_root(&self, path: &NodePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        const TRIES: usize = 32;
        let mut last = Errno::AGAIN;
        for _ in 0..TRIES {
            match rustix::fs::openat2(
                &self.root,
                path.as_str(),
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            ) {
                Err(errno @ (Errno::AGAIN | Errno::INTR)) => last = errno,
                opened => return opened,
            }
        }
        Err(last)
    }

    /// Follows `path` name by name, without letting the kernel follow a link: each link is read and its target
    /// continued from here, or from the root, so that it cannot lead out of it. `..` goes back to a directory that was
    /// opened on the way, never to the parent that the file system names.
    fn walk(&self, path: &NodePath) -> Result<Walk, NodeError> {
        /// As many as Linux follows.
        const MAX_LINKS: usize = 40;
        let failed = |errno: Errno| NodeError::new(path, "open", errno);
        let mut walk = Walk::default();
        let mut links = 0;
        let mut rest: VecDeque<String> = names(path.as_str());
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                walk.up();
                continue;
            }
            if !walk.missing.is_empty() {
                walk.missing.push(name);
                continue;
            }
            let opened = rustix::fs::openat(
                walk.here(self),
                &name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            );
            let file = match opened {
                Ok(file) => file,
                Err(Errno::NOENT) => {
                    walk.missing.push(name);
                    continue;
                }
                Err(errno) => return Err(failed(errno)),
            };
            let stat = rustix::fs::fstat(&file).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                walk.found.push((name, file));
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(failed(Errno::LOOP));
            }
            let target = rustix::fs::readlinkat(&file, "", Vec::new()).map_err(failed)?;
            let target = target.to_str().map_err(|_| failed(Errno::ILSEQ))?;
            if target.starts_with('/') {
                walk = Walk::default();
            }
            let mut next = names(target);
            next.append(&mut rest);
            rest = next;
        }
        Ok(walk)
    }
}

/// Which directory it is, and as which mount: in another mount namespace the same root has other things mounted in it.
#[derive(PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// `None` before Linux 5.8.
    mount: Option<u64>,
}

impl Identity {
    fn of(directory: &OwnedFd) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(directory)?;
        let mount = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .ok()
            .filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0);
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mount: mount.map(|found| found.stx_mnt_id),
        })
    }
}

/// Whether an open file is on a file system that is mounted read-only.
pub(crate) fn is_read_only(file: impl AsFd) -> bool {
    let found = rustix::fs::fstatvfs(file);
    found.is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Why a file is not read, or written.
pub(crate) fn too_large(limit: u64) -> io::Error {
    let mebibytes = limit >> 20;
    let text = format!("it is larger than {mebibytes} MiB, the most that is read of such a file");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// All that is left to read.
pub(crate) fn read_all(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn read_up_to(limit: u64, path: &NodePath, file: OwnedFd) -> Result<Vec<u8>, NodeError> {
    let failed = |source| NodeError::new(path, "read", source);
    // A sparse file may say that it is small while it grows.
    let bytes = read_all(File::from(file).take(limit + 1)).map_err(failed)?;
    work::count(bytes.len());
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit => Ok(bytes),
        _ => Err(failed(too_large(limit))),
    }
}

/// The names in a path, `..` included.
fn names(path: &str) -> VecDeque<String> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .map(str::to_owned)
        .collect()
}

/// Where [`Node::walk`] is.
#[derive(Debug, Default)]
struct Walk {
    /// What exists, from the root down; no links.
    found: Vec<(String, OwnedFd)>,
    /// The names after it, which do not exist.
    missing: Vec<String>,
}

impl Walk {
    fn here<'a>(&'a self, node: &'a Node) -> BorrowedFd<'a> {
        match self.found.last() {
            Some((_, file)) => file.as_fd(),
            None => node.root.as_fd(),
        }
    }

    fn up(&mut self) {
        if self.missing.pop().is_none() {
            self.found.pop();
        }
    }

    fn real(&self) -> NodePath {
        let found = self.found.iter().map(|(name, _)| name);
        let names: Vec<&str> = found.chain(&self.missing).map(String::as_str).collect();
        NodePath(format!("/{}", names.join("/")))
    }

    /// Opens what the walk has reached, again without following a link.
    fn open(&self, node: &Node, flags: OFlags) -> rustix::io::Result<Option<OwnedFd>> {
        if !self.missing.is_empty() {
            return Ok(None);
        }
        let (directory, name) = match self.found.as_slice() {
            [] => (node.root.as_fd(), "."),
            [(name, _)] => (node.root.as_fd(), name.as_str()),
            [.., (_, parent), (name, _)] => (parent.as_fd(), name.as_str()),
        };
        match rustix::fs::openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A directory of its own for each test, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("node-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A tree with links of every kind, and a file beside it that no path may reach.
    fn tree(name: &str) -> (Scratch, Node) {
        let scratch = Scratch::new(name);
        let root = scratch.0.join("root");
        fs::create_dir_all(root.join("etc/containerd")).unwrap();
        fs::create_dir_all(root.join("real")).unwrap();
        fs::write(scratch.0.join("outside"), "outside").unwrap();
        fs::write(root.join("real/config.toml"), "inside").unwrap();
        symlink("/real/config.toml", root.join("etc/containerd/config.toml")).unwrap();
        symlink("../../real", root.join("etc/containerd/directory")).unwrap();
        symlink("../../../../outside", root.join("etc/containerd/up")).unwrap();
        symlink(
            scratch.0.join("outside"),
            root.join("etc/containerd/absolute"),
        )
        .unwrap();
        symlink("loop", root.join("etc/containerd/loop")).unwrap();
        symlink("/nowhere/at/all", root.join("etc/containerd/dangling")).unwrap();
        let node = Node::open(root.to_str().unwrap()).unwrap();
        (scratch, node)
    }

    fn path(text: &str) -> NodePath {
        NodePath::new(text)
    }

    #[test]
    fn a_link_is_followed_inside_the_root() {
        let (_scratch, node) = tree("follow");
        assert!(!node.is_host());
        let file = node
            .read(&path("/etc/containerd/config.toml"))
            .unwrap()
            .unwrap();
        assert_eq!(file.path, path("/real/config.toml"));
        assert_eq!(file.bytes, b"inside");
        let file = node
            .read(&path("/etc/containerd/directory/config.toml"))
            .unwrap()
            .unwrap();
        assert_eq!(file.path, path("/real/config.toml"));
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let (scratch, node) = tree("escape");
        for name in ["up", "absolute"] {
            let link = path("/etc/containerd").join(name);
            assert_eq!(node.read(&link).unwrap(), None, "{name}");
            // The same without openat2.
            let opened = node
                .walk(&link)
                .unwrap()
                .open(&node, OFlags::RDONLY)
                .unwrap();
            assert!(opened.is_none(), "{name}");
        }
        assert_eq!(
            node.real(&path("/etc/containerd/up")).unwrap(),
            path("/outside")
        );
        let inside = NodePath::new(scratch.0.join("outside").to_str().unwrap());
        assert_eq!(
            node.real(&path("/etc/containerd/absolute")).unwrap(),
            inside
        );
    }

    #[test]
    fn the_walk_and_the_kernel_open_the_same_files() {
        let (_scratch, node) = tree("walk");
        for text in [
            "/",
            "/real",
            "/etc/containerd/config.toml",
            "/etc/containerd/directory/config.toml",
        ] {
            let kernel = node.open_in_root(&path(text), OFlags::PATH).unwrap();
            let walk = node
                .walk(&path(text))
                .unwrap()
                .open(&node, OFlags::PATH)
                .unwrap()
                .unwrap();
            let stat = |file| {
                rustix::fs::fstat(file)
                    .map(|stat| (stat.st_dev, stat.st_ino))
                    .unwrap()
            };
            assert_eq!(stat(&kernel), stat(&walk), "{text}");
        }
    }

    #[test]
    fn the_path_of_a_file_to_be_created() {
        let (_scratch, node) = tree("create");
        let real = |text| node.real(&path(text)).unwrap();
        assert_eq!(
            real("/etc/containerd/directory/new/hosts.toml"),
            path("/real/new/hosts.toml")
        );
        assert_eq!(real("/etc/containerd/dangling"), path("/nowhere/at/all"));
        assert_eq!(real("/"), path("/"));
        let error = node.real(&path("/real/config.toml/below")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open `/real/config.toml/below`: Not a directory (os error 20)"
        );
    }

    #[test]
    fn a_directory_is_listed_in_order_and_links_say_what_they_lead_to() {
        use std::os::unix::ffi::OsStrExt;
        let (scratch, node) = tree("list");
        let odd = std::ffi::OsStr::from_bytes(b"z\xff");
        fs::write(scratch.0.join("root/etc/containerd").join(odd), "").unwrap();
        let entries = node.list(&path("/etc/containerd")).unwrap().unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|e| (e.name.as_str(), e.escaped.as_deref(), e.kind))
            .collect();
        assert_eq!(
            entries,
            [
                ("absolute", None, EntryKind::Dangling),
                ("config.toml", None, EntryKind::File),
                ("dangling", None, EntryKind::Dangling),
                ("directory", None, EntryKind::Directory),
                ("loop", None, EntryKind::Dangling),
                ("up", None, EntryKind::Dangling),
                ("z\u{fffd}", Some("z\\xff"), EntryKind::File),
            ]
        );
        assert_eq!(node.list(&path("/no/such")).unwrap(), None);
        assert!(node.list(&path("/real/config.toml")).is_err());
    }

    #[test]
    fn what_is_not_a_file_is_an_error_and_does_not_block() {
        let (scratch, node) = tree("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            scratch.0.join("root/pipe"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let error = node.read(&path("/pipe")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/pipe`: not a regular file");
        assert!(
            node.read(&path("/real"))
                .unwrap_err()
                .to_string()
                .contains("Is a directory")
        );
        assert!(
            node.read(&path("/etc/containerd/loop"))
                .unwrap_err()
                .to_string()
                .contains("links")
        );
        assert_eq!(node.read(&path("/absent")).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error_and_is_not_read_to_its_end() {
        let (scratch, node) = tree("large");
        let file = fs::File::create(scratch.0.join("root/large")).unwrap();
        file.set_len(LARGEST_CERTIFICATE).unwrap();
        assert!(node.read_certificate(&path("/large")).unwrap().is_some());
        file.set_len(1 << 40).unwrap();
        for (error, most) in [
            (node.read(&path("/large")).unwrap_err(), 16),
            (node.read_certificate(&path("/large")).unwrap_err(), 4),
        ] {
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot read `/large`: it is larger than {most} MiB, the most that is read of such a file"
                )
            );
        }
    }

    #[test]
    fn the_host_is_read_by_plain_paths() {
        let scratch = Scratch::new("host");
        fs::write(scratch.0.join("file"), "text").unwrap();
        symlink("file", scratch.0.join("link")).unwrap();
        let node = Node::open("//").unwrap();
        assert!(node.is_host());
        let link = NodePath::new(scratch.0.join("link").to_str().unwrap());
        let file = node.read(&link).unwrap().unwrap();
        assert_eq!(file.bytes, b"text");
        assert_eq!(file.path.name(), "file");
        assert!(Node::open("/no/such/root").is_err());
    }
}
