//! What keeps a planned file from being written, found before anything is.
//!
//! A file is replaced by a rename, which fails where the file is a mount point, and where it or its directory is
//! immutable or append-only (`chattr`), or on a file system that is mounted read-only. In an append-only directory a
//! temporary file cannot even be removed again. So this is looked for while a plan is made.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::successors;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, IFlags, StatxAttributes, StatxFlags};

use super::transaction::TEMPORARY;
use crate::node::{EntryKind, Node, NodePath, is_read_only};
use crate::plan::Change;
use crate::printable::printable;

/// The longest name that a file can have on Linux.
const NAME_MAX: usize = 255;

/// Something that keeps a planned file from being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The file or directory that is in the way.
    pub path: NodePath,
    /// Why.
    pub kind: ObstacleKind,
}

/// Why a file cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObstacleKind {
    /// It is a file that is mounted by itself.
    MountPoint,
    /// It has the attribute `i`.
    Immutable,
    /// It has the attribute `a`.
    AppendOnly,
    /// Its name has more than 255 bytes.
    NameTooLong,
    /// It is a directory that has the name of one of this program's temporary files.
    TemporaryName,
    /// It is a directory on a file system that is mounted read-only.
    ReadOnly,
}

impl Obstacle {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self.kind {
            ObstacleKind::MountPoint => {
                "run this where the file is not a mount point, or unmount it while this program writes"
            }
            ObstacleKind::Immutable => {
                "something protects it: find out what, and remove the attribute with `chattr -i` while this program \
                 writes"
            }
            ObstacleKind::AppendOnly => {
                "something protects it: find out what, and remove the attribute with `chattr -a` while this program \
                 writes"
            }
            ObstacleKind::NameTooLong => {
                "no image has a registry with such a long name: correct the name in config.toml, or remove the entry"
            }
            ObstacleKind::TemporaryName => {
                "this program did not create it: move it to another place"
            }
            ObstacleKind::ReadOnly => {
                "run this where it can be written, or mount it read-write while this program writes"
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(self.path.as_str());
        match self.kind {
            ObstacleKind::MountPoint => {
                write!(
                    formatter,
                    "`{path}` is a mount point, and cannot be replaced"
                )
            }
            ObstacleKind::Immutable => write!(formatter, "`{path}` is immutable"),
            ObstacleKind::AppendOnly => write!(
                formatter,
                "`{path}` is append-only: no file can be replaced there"
            ),
            ObstacleKind::NameTooLong => write!(
                formatter,
                "`{path}` cannot be created: a name has at most {NAME_MAX} bytes"
            ),
            ObstacleKind::TemporaryName => write!(
                formatter,
                "`{path}` is a directory, and has the name of a temporary file of this program"
            ),
            ObstacleKind::ReadOnly => {
                write!(formatter, "`{path}` is on a read-only file system")
            }
        }
    }
}

/// All that keeps `changes` from being written, by path. What cannot be looked at is none: writing it says why. In a tree
/// that is read-only from its root on, as a container for plans alone has it, that is none, either.
pub fn obstacles(node: &Node, changes: &[Change]) -> Vec<Obstacle> {
    let mut found = find(node, changes.iter().map(|change| &change.path));
    if node.is_read_only() {
        found.retain(|obstacle| obstacle.kind != ObstacleKind::ReadOnly);
    }
    found
}

/// All that keeps the files at these paths from being written.
pub(super) fn find<'a>(node: &Node, paths: impl Iterator<Item = &'a NodePath>) -> Vec<Obstacle> {
    let mut found = BTreeMap::new();
    let mut directories: BTreeMap<NodePath, Vec<&NodePath>> = BTreeMap::new();
    for path in paths {
        match too_long(path) {
            Some(long) => {
                found.insert(long, ObstacleKind::NameTooLong);
            }
            None => directories.entry(path.parent()).or_default().push(path),
        }
    }
    // Whether they are missing.
    let mut looked_at: BTreeMap<NodePath, bool> = BTreeMap::new();
    for (directory, files) in directories {
        // What is in a missing directory is missing, too.
        if looked_at.get(&directory.parent()) == Some(&true) {
            continue;
        }
        // A directory that is to be made needs one in which that can be done, and undone.
        let mut at = directory.clone();
        while !looked_at.contains_key(&at) {
            let opened = node.open_directory(&at);
            looked_at.insert(at.clone(), matches!(opened, Ok(None)));
            match opened {
                Ok(Some(opened)) => {
                    let files = files.iter().filter(|_| at == directory);
                    look(node, &at, &opened, files.copied(), &mut found);
                    break;
                }
                Ok(None) => at = at.parent(),
                Err(_) => break,
            }
        }
    }
    // Below a read-only directory the others are, too.
    let is_read_only = |path: &NodePath| found.get(path) == Some(&ObstacleKind::ReadOnly);
    let up = |path: &NodePath| Some(path.parent()).filter(|parent| parent != path);
    let is_said = |path: &NodePath| {
        is_read_only(path) && successors(up(path), up).any(|above| is_read_only(&above))
    };
    let obstacle = |(path, kind): (&NodePath, &ObstacleKind)| Obstacle {
        path: path.clone(),
        kind: *kind,
    };
    let found = found.iter().filter(|(path, _)| !is_said(path));
    found.map(obstacle).collect()
}

/// Looks at a directory, and at the planned files in it.
fn look<'a>(
    node: &Node,
    path: &NodePath,
    directory: &OwnedFd,
    files: impl Iterator<Item = &'a NodePath>,
    found: &mut BTreeMap<NodePath, ObstacleKind>,
) {
    for path in files {
        if let Ok((real, Some(file))) = node.open_existing(path)
            && real == *path
        {
            let kind = if is_mount_point(&file, directory) {
                Some(ObstacleKind::MountPoint)
            } else {
                attribute(&file)
            };
            found.extend(kind.map(|kind| (path.clone(), kind)));
        }
    }
    for entry in node.list(path).ok().flatten().unwrap_or_default() {
        if entry.kind == EntryKind::Directory && entry.name.starts_with(TEMPORARY) {
            found.insert(path.join(&entry.name), ObstacleKind::TemporaryName);
        }
    }
    let kind = match is_read_only(directory) {
        true => Some(ObstacleKind::ReadOnly),
        false => attribute(directory),
    };
    found.extend(kind.map(|kind| (path.clone(), kind)));
}

/// The path as far as its first name that is too long.
fn too_long(path: &NodePath) -> Option<NodePath> {
    path.as_str()
        .split('/')
        .find(|name| name.len() > NAME_MAX)?;
    let mut upper = NodePath::new("/");
    for name in path.as_str().split('/') {
        upper = upper.join(name);
        if name.len() > NAME_MAX {
            return Some(upper);
        }
    }
    None
}

fn statx(file: impl AsFd) -> Option<(StatxAttributes, StatxAttributes)> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
    Some((found.stx_attributes, found.stx_attributes_mask))
}

/// Which attribute forbids to replace it, or what is in it.
fn attribute(file: impl AsFd) -> Option<ObstacleKind> {
    let known = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    let (is_immutable, is_append_only) = match statx(&file) {
        Some((found, mask)) if mask.contains(known) => (
            found.contains(StatxAttributes::IMMUTABLE),
            found.contains(StatxAttributes::APPEND),
        ),
        // A file system that does not tell statx, or a kernel before 4.11. One that has no attributes says so.
        _ => {
            let found = rustix::fs::ioctl_getflags(&file).unwrap_or(IFlags::empty());
            (
                found.contains(IFlags::IMMUTABLE),
                found.contains(IFlags::APPEND),
            )
        }
    };
    if is_immutable {
        Some(ObstacleKind::Immutable)
    } else {
        is_append_only.then_some(ObstacleKind::AppendOnly)
    }
}

/// Whether `file`, which is in `directory`, is mounted there.
fn is_mount_point(file: &OwnedFd, directory: &OwnedFd) -> bool {
    match statx(file) {
        Some((found, mask)) if mask.contains(StatxAttributes::MOUNT_ROOT) => {
            found.contains(StatxAttributes::MOUNT_ROOT)
        }
        // Kernels before 5.8.
        _ => {
            let (own, parent) = (mount_of(file), mount_of(directory));
            own.is_some() && parent.is_some() && own != parent
        }
    }
}

/// The number of the mount that an open file is in.
fn mount_of(file: &OwnedFd) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    Some(mount.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_is_too_long() {
        let long = "x".repeat(256);
        let path = NodePath::new(&format!("/certs.d/{long}/hosts.toml"));
        assert_eq!(
            too_long(&path),
            Some(NodePath::new(&format!("/certs.d/{long}")))
        );
        assert_eq!(
            too_long(&NodePath::new(&format!("/{}", "x".repeat(255)))),
            None
        );
    }
}
