//! One file replaced by another in one step, with everything that the old one had but its bytes.
//!
//! A file is written under a temporary name in the directory where it will be, made durable, and then renamed: at no
//! instant is there half a file. Mode, owner, extended attributes (and with them ACLs and the SELinux label) are those
//! of the file that it replaces. This module does not know what is being replaced, nor in which order; and it never
//! removes a file of a name that is not its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::panic::resume_unwind;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use crate::node::{Node, NodeError, NodePath};

/// The mode of a new directory.
pub(crate) const NEW_DIRECTORY: u32 = 0o755;
/// The mode of a new directory in which only root has anything to read.
pub(crate) const PRIVATE_DIRECTORY: u32 = 0o700;

/// Bound to the bytes or the inode, by the kernel itself; neither may nor can they be copied.
const NOT_COPIED: [&str; 2] = ["security.ima", "security.evm"];
/// An overlay's own notes on the inode.
const OVERLAY: &str = "trusted.overlay.";
const ACL: &str = "system.posix_acl_access";

/// What a file has besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The permission bits, set-id and sticky bits included.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Extended attributes: ACLs and the SELinux label are among them.
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// What an open file has.
    pub(crate) fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(&file)?;
        Ok(Self {
            mode: Mode::from_raw_mode(stat.st_mode).as_raw_mode(),
            uid: stat.st_uid,
            gid: stat.st_gid,
            xattrs: xattrs(&file)?,
        })
    }

    /// Gives all of it to `file`.
    fn give_to(&self, file: impl AsFd) -> rustix::io::Result<()> {
        let now = Self::of(&file)?;
        if (now.uid, now.gid) != (self.uid, self.gid) {
            let (owner, group) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            rustix::fs::fchown(&file, Some(owner), Some(group))?;
        }
        // A directory's default ACL gives new files one that the old file may not have had. It goes before the mode is
        // set, since with an ACL the group bits of the mode are the ACL's mask.
        for name in now
            .xattrs
            .keys()
            .filter(|name| !name.starts_with("security."))
        {
            if !self.xattrs.contains_key(name) {
                rustix::fs::fremovexattr(&file, name.as_str())?;
            }
        }
        // After the owner: changing it clears set-id bits. Before the attributes: an ACL carries its own bits.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            // What is already so is not set again: a label that was inherited needs no right to relabel.
            if now.xattrs.get(name) != Some(value) {
                rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty())?;
            }
        }
        // Unless the mode was made stricter than the ACL, this changes nothing.
        if self.xattrs.contains_key(ACL) {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))?;
        }
        Ok(())
    }
}

fn xattrs(file: impl AsFd) -> rustix::io::Result<BTreeMap<String, Vec<u8>>> {
    /// The kernel's own limit for one value and for the list of names.
    const LIMIT: usize = 64 * 1024;
    let mut buffer = vec![0; LIMIT];
    let length = match rustix::fs::flistxattr(&file, buffer.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let list = buffer.get(..length).unwrap_or_default().to_vec();
    let mut found = BTreeMap::new();
    for name in list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = str::from_utf8(name).map_err(|_| Errno::ILSEQ)?;
        if NOT_COPIED.contains(&name) || name.starts_with(OVERLAY) {
            continue;
        }
        match rustix::fs::fgetxattr(&file, name, buffer.as_mut_slice()) {
            Ok(length) => {
                let value = buffer.get(..length).unwrap_or_default().to_vec();
                found.insert(name.to_owned(), value);
            }
            // Gone since it was listed.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// Gives the file at `path` a second name in its directory. Going back to it is then a rename, which needs no room.
pub(crate) fn keep(node: &Node, path: &NodePath, name: &str) -> Result<(), NodeError> {
    let directory = directory(node, &path.parent())?;
    rustix::fs::linkat(&directory, path.name(), &directory, name, AtFlags::empty())
        .map_err(|errno| NodeError::new(path, "link", errno))
}

/// What a file that is written gets besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Give<'a> {
    /// All that another file has.
    All(&'a Metadata),
    /// This mode. The rest is that of any new file in its directory.
    Mode(u32),
}

/// A file that is written, but not yet under its name.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) path: NodePath,
    directory: OwnedFd,
    temporary: String,
    file: File,
}

impl Staged {
    /// Writes `bytes` under the name `temporary` beside `path`. If this fails, a file of that name may be left, which
    /// [`remove`] removes.
    pub(crate) fn write(
        node: &Node,
        path: &NodePath,
        temporary: String,
        bytes: &[u8],
        give: Give<'_>,
    ) -> Result<Self, NodeError> {
        let directory = directory(node, &path.parent())?;
        let mut file = create(&directory, &temporary)
            .map_err(|errno| NodeError::new(path, "create a file beside", errno))?;
        file.write_all(bytes)
            .map_err(|error| NodeError::new(path, "write", error))?;
        // The disk is given its work now; fsync, which comes when all files are written, waits for what is left of it.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        match give {
            Give::All(metadata) => metadata.give_to(&file),
            Give::Mode(mode) => rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)),
        }
        .map_err(|errno| NodeError::new(path, "set mode, owner and attributes of", errno))?;
        Ok(Self {
            path: path.clone(),
            directory,
            temporary,
            file,
        })
    }

    /// A file that is there already under the name `temporary`.
    pub(crate) fn kept(
        node: &Node,
        path: &NodePath,
        temporary: String,
        file: OwnedFd,
    ) -> Result<Self, NodeError> {
        Ok(Self {
            path: path.clone(),
            directory: directory(node, &path.parent())?,
            temporary,
            file: File::from(file),
        })
    }

    /// Waits until bytes and metadata are on disk.
    pub(crate) fn sync(&self) -> Result<(), NodeError> {
        self.written().sync()
    }

    /// Gives the file its name, replacing what has it.
    pub(crate) fn put_in_place(&self) -> Result<(), NodeError> {
        let (directory, name) = (&self.directory, self.path.name());
        rustix::fs::renameat(directory, &self.temporary, directory, name)
            .map_err(|errno| NodeError::new(&self.path, "rename what was written to", errno))
    }

    /// The file, and what is said of it if it cannot be synced.
    pub(crate) fn written(&self) -> Unsynced<'_> {
        Unsynced {
            path: &self.path,
            step: "fsync what was written for",
            file: self.file.as_fd(),
        }
    }

    /// Waits until its name is on disk; nothing has to be opened for that.
    pub(crate) fn sync_directory(&self) -> Result<(), NodeError> {
        rustix::fs::fsync(&self.directory)
            .map_err(|errno| NodeError::new(&self.path.parent(), "fsync", errno))
    }
}

/// A new file that only root can read, whatever will be its mode.
fn create(directory: impl AsFd, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(&directory, name, flags, Mode::RUSR | Mode::WUSR);
    match create() {
        // The name is ours alone, and nobody else holds the lock: a leftover whose journal was deleted.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
            create()
        }
        created => created,
    }
    .map(File::from)
}

/// Removes the file `name` from the directory that holds `path`; that it is absent is fine.
pub(crate) fn remove(node: &Node, path: &NodePath, name: &str) -> Result<(), NodeError> {
    let Some(directory) = node.open_directory(&path.parent())? else {
        return Ok(());
    };
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        // A directory of this name is someone else's.
        Ok(()) | Err(Errno::ISDIR) => Ok(()),
        Err(_) if is_absent(&directory, name) => Ok(()),
        Err(errno) => Err(NodeError::new(&path.parent().join(name), "remove", errno)),
    }
}

/// Whether there is a regular file `name` in the directory that holds `path`.
pub(crate) fn exists(node: &Node, path: &NodePath, name: &str) -> Result<bool, NodeError> {
    let Some(directory) = node.open_directory(&path.parent())? else {
        return Ok(false);
    };
    match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(FileType::from_raw_mode(found.st_mode) == FileType::RegularFile),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(NodeError::new(&path.parent().join(name), "look at", errno)),
    }
}

/// A read-only file system refuses to remove even what is not there.
fn is_absent(directory: impl AsFd, name: &str) -> bool {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_err_and(|errno| errno == Errno::NOENT)
}

/// Makes a directory; that it exists is fine.
pub(crate) fn make_directory(node: &Node, path: &NodePath, mode: u32) -> Result<(), NodeError> {
    let failed = |errno: Errno| NodeError::new(path, "make the directory", errno);
    let parent = directory(node, &path.parent())?;
    let mode = Mode::from_raw_mode(mode);
    match rustix::fs::mkdirat(&parent, path.name(), mode) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    }
    // The umask of a root shell may be 077, and containerd is not the only reader.
    rustix::fs::fchmod(directory(node, path)?, mode).map_err(failed)
}

/// Removes a directory if it is empty.
pub(crate) fn remove_directory(node: &Node, path: &NodePath) -> Result<(), NodeError> {
    let Some(parent) = node.open_directory(&path.parent())? else {
        return Ok(());
    };
    match rustix::fs::unlinkat(&parent, path.name(), AtFlags::REMOVEDIR) {
        // Someone else's files are in it, or it is a mount point by now.
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(()),
        Err(_) if is_absent(&parent, path.name()) => Ok(()),
        Err(errno) => Err(NodeError::new(path, "remove the directory", errno)),
    }
}

/// Waits until the names in a directory are on disk.
pub(crate) fn sync_directory(node: &Node, path: &NodePath) -> Result<(), NodeError> {
    sync_directories(node, &[path])
}

/// Waits until the names in all these directories are on disk.
pub(crate) fn sync_directories(node: &Node, paths: &[&NodePath]) -> Result<(), NodeError> {
    let open = paths.iter().map(|path| directory(node, path));
    let open = open.collect::<Result<Vec<_>, _>>()?;
    let unsynced = paths.iter().zip(&open).map(|(path, file)| Unsynced {
        path,
        step: "fsync",
        file: file.as_fd(),
    });
    sync(&unsynced.collect::<Vec<_>>())
}

/// An open file or directory that may not be on disk yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsynced<'a> {
    path: &'a NodePath,
    step: &'static str,
    file: BorrowedFd<'a>,
}

impl Unsynced<'_> {
    fn sync(&self) -> Result<(), NodeError> {
        rustix::fs::fsync(self.file).map_err(|errno| NodeError::new(self.path, self.step, errno))
    }
}

/// Waits until all of these are on disk. Where there are many, several threads wait: a disk that is asked to flush by many
/// at a time does it once, which for a thousand files is seconds.
pub(crate) fn sync(all: &[Unsynced<'_>]) -> Result<(), NodeError> {
    const THREADS: usize = 32;
    const FEW: usize = 16;
    let in_order = |part: &[Unsynced<'_>]| part.iter().try_for_each(Unsynced::sync);
    let mut parts = all.chunks(all.len().div_ceil(THREADS).max(FEW));
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let started: Vec<_> = parts
            .map(|part| {
                let thread = std::thread::Builder::new();
                (part, thread.spawn_scoped(scope, move || in_order(part)))
            })
            .collect();
        let mut result = in_order(own);
        for (part, thread) in started {
            result = result.and(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // There may be no more threads to be had.
                Err(_) => in_order(part),
            });
        }
        result
    })
}

fn directory(node: &Node, path: &NodePath) -> Result<OwnedFd, NodeError> {
    node.open_directory(path)?
        .ok_or_else(|| NodeError::new(path, "open", Errno::NOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe has no disk to be on.
    #[test]
    fn one_file_of_many_that_cannot_be_synced_is_named() {
        let (reader, writer) = std::io::pipe().unwrap();
        let good = tempfile();
        let [path, bad] = ["/etc/good", "/etc/bad"].map(NodePath::new);
        for position in [0, 15, 16, 700, 999] {
            let mut all = vec![
                Unsynced {
                    path: &path,
                    step: "fsync",
                    file: good.as_fd(),
                };
                1000
            ];
            sync(&all).unwrap();
            all[position] = Unsynced {
                path: &bad,
                step: "fsync",
                file: writer.as_fd(),
            };
            let error = sync(&all).unwrap_err().to_string();
            assert!(error.contains("/etc/bad"), "{position}: {error}");
        }
        drop(reader);
    }

    fn tempfile() -> OwnedFd {
        let directory = std::env::temp_dir();
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::open(directory, flags, Mode::RUSR).unwrap()
    }
}
