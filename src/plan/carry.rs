//! Several directories of a `config_path` made into one: what only the later ones give, as files for the first.
//!
//! containerd's own puller looks into one after the other, and the first that has something decides, `_default`
//! included (docs/containerd.md §2.8).

use crate::containerd::host::{Host, Pulls};
use crate::containerd::hosts_file::directory::{CertsDirectory, DEFAULT, HOSTS_FILE};
use crate::containerd::hosts_file::reader;
use crate::containerd::hosts_file::writer::{NewHost, NewHostsFile};
use crate::containerd::release::Behaviour;
use crate::finding::FileId;
use crate::node::NodePath;
use crate::text::FileText;

/// A hosts file for the first directory.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// Where it is to be.
    pub path: NodePath,
    /// What it says.
    pub content: FileText,
    /// The file that the content is copied from, if it is.
    pub copied: Option<FileId>,
    /// The directory that it comes from.
    pub from: NodePath,
    /// Whether it says there what it said where it was.
    pub same: bool,
}

/// What `others` give beyond `first`.
pub(crate) fn carry(
    first: &CertsDirectory,
    others: &[&CertsDirectory],
    behaviour: &Behaviour,
) -> Vec<Carried> {
    let mut merged = first.clone();
    let mut carried = Vec::new();
    for other in others {
        let mut found = Vec::new();
        let default = other
            .directories
            .contains_key(DEFAULT)
            .then(|| DEFAULT.to_owned());
        for namespace in other.namespaces().chain(default) {
            // A directory that has something for it already hides this one.
            if merged.lookup(&namespace, behaviour).is_some() {
                continue;
            }
            let Some(name) = other.lookup(&namespace, behaviour) else {
                continue;
            };
            let Some(directory) = other.directories.get(name) else {
                continue;
            };
            let before = reader::pulls(other, &namespace, behaviour);
            let from = other.path.join(name);
            let (content, copied) = match &directory.hosts_file {
                Some(file) if !file.is_empty() => (file.content.clone(), file.id),
                _ => match &before {
                    Pulls::Hosts(hosts) => (from_certificates(hosts, &from), None),
                    Pulls::Fail(_) => continue,
                },
            };
            let path = merged.real.join(name).join(HOSTS_FILE);
            let mut alone = CertsDirectory::empty(merged.path.clone());
            alone.real = merged.real.clone();
            alone.write(&path, &content);
            let same = reader::pulls(&alone, &namespace, behaviour).same(&before);
            found.push(Carried {
                path,
                content,
                copied,
                from,
                same,
            });
        }
        for file in &found {
            merged.write(&file.path, &file.content);
        }
        carried.append(&mut found);
    }
    carried
}

/// A hosts file that names the certificates that containerd takes from a directory without one.
fn from_certificates(hosts: &[Host], directory: &NodePath) -> FileText {
    let server = hosts.last().map(|host| NewHost {
        host: host.clone(),
        capabilities: None,
        comments: Vec::new(),
    });
    let file = NewHostsFile {
        origins: vec![format!("from the certificates in {directory}")],
        comments: Vec::new(),
        server,
        hosts: Vec::new(),
    };
    file.content()
}
