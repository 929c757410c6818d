//! A certs directory as it is on the disk: what containerd would find in it, links followed.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Sources;
use crate::containerd::hosts_file::directory::{
    CertsDirectory, Dangling, HOSTS_FILE, HostsFile, RegistryDirectory, looks_like_hosts_file,
};
use crate::node::{EntryKind, Node, NodeError, NodePath};
use crate::secret::TextKind;

/// So deep below a registry's directory is looked for hosts files that nobody reads: an image has few parts in its name.
const DEEPEST: usize = 4;
/// So many directories below a registry's are looked into.
const MOST_DIRECTORIES: usize = 200;

/// Reads the directory that `config_path` calls `path`; one that is not there is empty.
pub(super) fn read(
    node: &Node,
    path: NodePath,
    sources: &mut Sources,
) -> Result<CertsDirectory, NodeError> {
    let real = node.real(&path)?;
    let mut directories = BTreeMap::new();
    let mut dangling = Vec::new();
    for entry in node.list(&real)?.unwrap_or_default() {
        let directory = match entry.kind {
            EntryKind::Directory => {
                let inside = node.real(&real.join(&entry.name))?;
                let (directory, is_dangling) = read_registry_directory(node, inside, sources)?;
                if is_dangling {
                    let hosts_path = directory.real.join(HOSTS_FILE);
                    dangling.push(Dangling {
                        link: path.join(&entry.name).join(HOSTS_FILE),
                        target: target(node, &hosts_path),
                        blocked: hosts_path,
                    });
                }
                directory
            }
            EntryKind::File => RegistryDirectory {
                unreadable: Some(format!("`{}` is a file", path.join(&entry.name))),
                is_file: true,
                ..RegistryDirectory::empty(real.join(&entry.name))
            },
            EntryKind::Special => RegistryDirectory {
                unreadable: Some(format!("`{}` is not a directory", path.join(&entry.name))),
                is_file: true,
                ..RegistryDirectory::empty(real.join(&entry.name))
            },
            // A link that leads nowhere is no directory to containerd either.
            EntryKind::Dangling => {
                let link = real.join(&entry.name);
                dangling.push(Dangling {
                    blocked: link.join(HOSTS_FILE),
                    target: target(node, &link).join(HOSTS_FILE),
                    link: path.join(&entry.name),
                });
                continue;
            }
        };
        if entry.escaped.is_none() {
            directories.insert(entry.name, Rc::new(directory));
        }
    }
    let mut linked: BTreeMap<NodePath, Vec<String>> = BTreeMap::new();
    for (name, directory) in &directories {
        let hosts_path = directory.hosts_path();
        if hosts_path != real.join(name).join(HOSTS_FILE) {
            linked.entry(hosts_path).or_default().push(name.clone());
        }
    }
    Ok(CertsDirectory {
        linked,
        path,
        real,
        directories,
        dangling,
    })
}

/// Where a link that leads nowhere would lead; one that cannot be followed leads to itself.
fn target(node: &Node, link: &NodePath) -> NodePath {
    node.real(link).unwrap_or_else(|_| link.clone())
}

/// What is in a registry's directory, and whether its hosts.toml is a link that leads nowhere.
fn read_registry_directory(
    node: &Node,
    real: NodePath,
    sources: &mut Sources,
) -> Result<(RegistryDirectory, bool), NodeError> {
    let entries = node.list(&real)?.unwrap_or_default();
    let mut directory = RegistryDirectory::empty(real);
    let mut is_dangling = false;
    let mut left = MOST_DIRECTORIES;
    for entry in entries {
        let file = directory.real.join(&entry.name);
        if entry.name == HOSTS_FILE {
            match entry.kind {
                EntryKind::File => {
                    if let Some(file) = node.read(&file)? {
                        let (path, content, id) = sources.add_file(TextKind::HostsFile, file)?;
                        let file = HostsFile::new(path, content).numbered(id);
                        directory.hosts_file = Some(file);
                    }
                }
                EntryKind::Directory => {
                    directory.unreadable = Some(format!("`{file}` is a directory"));
                }
                // containerd waits for whoever writes into a pipe, and cannot open a socket.
                EntryKind::Special => {
                    directory.unreadable = Some(format!("`{file}` is not a regular file"));
                }
                EntryKind::Dangling => is_dangling = true,
            }
        } else if entry.kind == EntryKind::Directory {
            find_unread(
                node,
                &file,
                &entry.name,
                (DEEPEST, &mut left),
                &mut directory.unread,
            );
        } else if entry.kind == EntryKind::File && looks_like_hosts_file(&entry.name) {
            directory.unread.push(entry.name);
        } else if [".crt", ".cert", ".key"]
            .iter()
            .any(|ending| entry.name.ends_with(ending))
        {
            directory.certificates.push(entry.name);
        }
    }
    Ok((directory, is_dangling))
}

/// Finds hosts files in a directory below a registry's, where containerd never looks. What cannot be listed is no matter
/// here. `left` is how many more directories are listed.
fn find_unread(
    node: &Node,
    directory: &NodePath,
    below: &str,
    (deep, left): (usize, &mut usize),
    unread: &mut Vec<String>,
) {
    let (Some(deeper), Some(fewer)) = (deep.checked_sub(1), left.checked_sub(1)) else {
        return;
    };
    *left = fewer;
    let Ok(Some(entries)) = node.list(directory) else {
        return;
    };
    for entry in entries {
        let path = format!("{below}/{}", entry.name);
        match entry.kind {
            EntryKind::Directory => {
                let inside = directory.join(&entry.name);
                find_unread(node, &inside, &path, (deeper, &mut *left), unread);
            }
            EntryKind::File if entry.name == HOSTS_FILE => unread.push(path),
            EntryKind::File | EntryKind::Special | EntryKind::Dangling => {}
        }
    }
}
