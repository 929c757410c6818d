//! The certs directory as containerd sees it: which directory a namespace leads to, and what is in it.
//!
//! This is data; `inputs` reads it from the disk, `plan` puts planned files into it.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::containerd::release::Behaviour;
use crate::finding::FileId;
use crate::near::is_near;
use crate::node::NodePath;
use crate::text::{FileText, NotToml};
use crate::toml::spelling::GoToml;
use crate::toml::syntax::Syntax;
use crate::work;

/// The name of the directory for everything that has none of its own.
pub const DEFAULT: &str = "_default";

/// The name of the file in each directory.
pub const HOSTS_FILE: &str = "hosts.toml";

/// What the names of files end with. Some are domains as well, of which no registry is known.
const ENDINGS_OF_FILES: &[&str] = &[
    "backup", "bak", "bck", "bkp", "ca", "cer", "cert", "cfg", "cnf", "conf", "copy", "crl", "crt",
    "csr", "default", "disabled", "dist", "gz", "json", "key", "lock", "log", "md", "new", "off",
    "old", "orig", "part", "pem", "pub", "rej", "rpmnew", "rpmorig", "rpmsave", "save", "saved",
    "sh", "swo", "swp", "tar", "template", "tgz", "tml", "tmp", "tmpl", "toml", "txt", "yaml",
    "yml", "zip",
];

/// Whether a file that is not called [`HOSTS_FILE`] was probably meant to be: `host.toml`, `hosts.tml`, `docker.io.toml`. One
/// that someone keeps as a copy is not.
pub fn looks_like_hosts_file(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let (stem, ending) = name.rsplit_once('.').unwrap_or((&name, ""));
    let is_text = [
        "", "toml", "tml", "tom", "txt", "yaml", "yml", "json", "conf", "cfg",
    ]
    .contains(&ending);
    !name.starts_with('.')
        && !name.ends_with('~')
        && (ending == "toml"
            || is_near(&name, HOSTS_FILE)
            || is_text && ["host", "hosts", "hosts.toml", "host.toml"].contains(&stem))
}

/// Whether a file in the certs directory is called like a registry, and not as notes, copies and certificates are, which
/// people keep beside the directories.
fn is_meant_for_registry(name: &str) -> bool {
    let Some((_, ending)) = name.rsplit_once('.').filter(|_| !name.contains(':')) else {
        return name.contains(':') || name == "localhost";
    };
    let ending = ending.to_ascii_lowercase();
    // Domains end in letters or, in Punycode, begin with `xn--`.
    let is_domain =
        ending.bytes().all(|byte| byte.is_ascii_alphabetic()) || ending.starts_with("xn--");
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    is_address || is_domain && !ending.is_empty() && !ENDINGS_OF_FILES.contains(&&*ending)
}

/// One directory of the certs directory.
#[derive(Clone, Debug)]
pub struct RegistryDirectory {
    /// Where it really is: several names may lead to one directory.
    pub real: NodePath,
    /// `hosts.toml`, if it is there.
    pub hosts_file: Option<HostsFile>,
    /// The names of the files beside it that end in `.crt`, `.cert` or `.key`, sorted.
    pub certificates: Vec<String>,
    /// Why containerd cannot read the directory or its hosts.toml, so that every pull fails.
    pub unreadable: Option<String>,
    /// Whether it is no directory at all, but a file that someone left there.
    pub is_file: bool,
    /// What looks like a hosts file below it and stands where containerd never looks, by the path from here, sorted.
    pub unread: Vec<String>,
}

impl RegistryDirectory {
    /// A directory with nothing in it.
    pub fn empty(real: NodePath) -> Self {
        Self {
            real,
            hosts_file: None,
            certificates: Vec::new(),
            unreadable: None,
            is_file: false,
            unread: Vec::new(),
        }
    }

    /// Whether there is a hosts.toml with something in it; else the certificates beside it are read.
    pub fn has_hosts_file(&self) -> bool {
        self.hosts_file
            .as_ref()
            .is_some_and(|file| !file.is_empty())
    }

    /// Where its hosts.toml really is, or would be.
    pub fn hosts_path(&self) -> NodePath {
        match &self.hosts_file {
            Some(file) => file.real.clone(),
            None => self.real.join(HOSTS_FILE),
        }
    }
}

/// A hosts.toml.
#[derive(Clone, Debug)]
pub struct HostsFile {
    /// Where it really is, links followed.
    pub real: NodePath,
    /// What is in it.
    pub content: FileText,
    /// Its number in findings, if it is a file that was read.
    pub id: Option<FileId>,
    /// Whether it is written in the plainest way, once for all copies.
    pub(super) plain: Rc<OnceCell<Plain>>,
}

/// How plainly a hosts.toml is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// Releases may read it in different ways.
    No,
    /// Every release reads it alike, but for `override_path` and a missing `server`.
    Yes { has_server: bool },
}

/// Why nothing that a hosts.toml says is known to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What is wrong with the text, as a phrase.
    pub reason: String,
    /// Where.
    pub range: Range<usize>,
    /// Whether containerd surely discards the file. Else it may read what this program cannot.
    pub is_discarded: bool,
}

impl HostsFile {
    /// A hosts.toml with this content.
    pub fn new(real: NodePath, content: FileText) -> Self {
        Self {
            real,
            content,
            id: None,
            plain: Rc::default(),
        }
    }

    /// The same file with its number in findings.
    pub fn numbered(self, id: FileId) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.content.bytes().is_empty()
    }

    /// What is written in the file, or why this reader gets nothing of it.
    pub(super) fn read_by(&self, reader: GoToml) -> Result<&Syntax, Unread> {
        // go-toml 1 reads many texts that are not TOML.
        let may_read = reader == GoToml::V1;
        let syntax = match &self.content {
            FileText::Toml(toml) => &toml.syntax,
            FileText::Other(other) => {
                let (range, nobody_reads) = match &other.reason {
                    NotToml::NotUtf8(at) => (*at..at + 1, false),
                    NotToml::Invalid(error) => (error.range.clone(), error.nobody_reads),
                };
                return Err(Unread {
                    reason: other.reason.to_string(),
                    range,
                    is_discarded: nobody_reads || !may_read,
                });
            }
        };
        match syntax.refusal(reader) {
            None => Ok(syntax),
            Some(refusal) => Err(Unread {
                reason: refusal.spelling.phrase().to_owned(),
                range: refusal.range.clone(),
                is_discarded: true,
            }),
        }
    }

    /// Why this program cannot say what this reader makes of the file; `None` if it can.
    pub fn not_understood(&self, reader: GoToml) -> Option<Unread> {
        let unread = self.read_by(reader).err()?;
        (!self.is_empty() && !unread.is_discarded).then_some(unread)
    }
}

/// A directory that `config_path` names.
#[derive(Clone, Debug)]
pub struct CertsDirectory {
    /// Its path as `config_path` says it.
    pub path: NodePath,
    /// Where it really is.
    pub real: NodePath,
    /// What is in it, by name.
    pub directories: BTreeMap<String, Rc<RegistryDirectory>>,
    /// Names whose hosts file is really elsewhere, since a link is on the way, by where that is.
    pub linked: BTreeMap<NodePath, Vec<String>>,
    /// Names that are nothing to containerd today, but stand where a hosts file may be written.
    pub dangling: Vec<Dangling>,
}

/// The certs directories of a node, by the path that `config_path` says.
pub type CertsDirectories = BTreeMap<String, Rc<CertsDirectory>>;

/// A link that leads nowhere, in the place of a registry's directory or of its hosts.toml.
#[derive(Clone, Debug)]
pub struct Dangling {
    /// The link as `config_path` says it.
    pub link: NodePath,
    /// The hosts file that is not there because of it.
    pub blocked: NodePath,
    /// The hosts file that it would lead to, if that were there.
    pub target: NodePath,
}

/// `host:port` as a directory name without a colon, which containerd looks up first
/// (`hostDirectory`, `core/remotes/docker/config/hosts.go@HEAD`:307).
fn port_spelling(namespace: &str) -> Option<String> {
    let (host, port) = namespace
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())?;
    Some(format!("{host}_{port}_"))
}

impl CertsDirectory {
    /// A directory with nothing in it.
    pub fn empty(path: NodePath) -> Self {
        Self {
            real: path.clone(),
            path,
            directories: BTreeMap::new(),
            linked: BTreeMap::new(),
            dangling: Vec::new(),
        }
    }

    /// The name of the directory that a pull from `namespace` reads, if there is one.
    pub fn lookup(&self, namespace: &str, behaviour: &Behaviour) -> Option<&str> {
        let (name, _) = self.find(namespace, behaviour)?;
        Some(name)
    }

    /// The directory that a pull from `namespace` reads, with its name
    /// (`hostPaths`, `core/remotes/docker/config/config_unix.go`; `_default` since 1.6.17).
    pub(super) fn find(
        &self,
        namespace: &str,
        behaviour: &Behaviour,
    ) -> Option<(&str, &RegistryDirectory)> {
        let default = || self.named(DEFAULT).filter(|_| behaviour.default_directory);
        self.find_own(namespace).or_else(default)
    }

    /// The name of the directory that exists for this very namespace.
    pub fn own(&self, namespace: &str) -> Option<&str> {
        let (name, _) = self.find_own(namespace)?;
        Some(name)
    }

    fn find_own(&self, namespace: &str) -> Option<(&str, &RegistryDirectory)> {
        work::count(1);
        let other = port_spelling(namespace);
        let other = other.and_then(|name| self.named(&name));
        other.or_else(|| self.named(namespace))
    }

    fn named(&self, name: &str) -> Option<(&str, &RegistryDirectory)> {
        let (name, directory) = self.directories.get_key_value(name)?;
        Some((name, directory))
    }

    /// The other spelling of the directory `name`, which containerd looks up first and finds.
    pub fn hidden_by(&self, name: &str) -> Option<String> {
        port_spelling(name).filter(|other| self.directories.contains_key(other))
    }

    /// The name under which a hosts file for `namespace` is written: what is there, else the plain spelling.
    pub fn name_for(&self, namespace: &str) -> String {
        self.own(namespace).unwrap_or(namespace).to_owned()
    }

    /// The directory with the hosts file `path` written, under whatever names that file is reached.
    pub fn write(&mut self, path: &NodePath, content: &FileText) {
        let file = || HostsFile::new(path.clone(), content.clone());
        for name in self.linked.get(path).into_iter().flatten() {
            if let Some(directory) = self.directories.get_mut(name) {
                Rc::make_mut(directory).hosts_file = Some(file());
            }
        }
        let Some(name) = path.directory_in(&self.real, HOSTS_FILE) else {
            return;
        };
        let directory = self
            .directories
            .entry(name.to_owned())
            .or_insert_with(|| Rc::new(RegistryDirectory::empty(path.parent())));
        if directory.hosts_path() == *path {
            Rc::make_mut(directory).hosts_file = Some(file());
        }
    }

    /// Where the hosts file in the directory `name` really is, or would be.
    pub fn hosts_path(&self, name: &str) -> NodePath {
        match self.directories.get(name) {
            Some(directory) => directory.hosts_path(),
            None => self.real.join(name).join(HOSTS_FILE),
        }
    }

    /// Whether the hosts file of this directory is reached under another name, too.
    pub fn is_shared(&self, name: &str) -> bool {
        let Some(path) = self
            .directories
            .get(name)
            .map(|directory| directory.hosts_path())
        else {
            return false;
        };
        let linked = self.linked.get(&path).into_iter().flatten();
        let is_reached = |own: &&str| {
            let directory = self.directories.get(*own);
            directory.is_some_and(|directory| directory.hosts_path() == path)
        };
        let own = path.directory_in(&self.real, HOSTS_FILE).filter(is_reached);
        let mut names = linked.map(String::as_str).chain(own);
        names.any(|other| other != name)
    }

    /// The namespaces that the directories are for. A file in the place of one counts if its name is a registry's: a
    /// `README.md` could be one, too, but nobody means it.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        self.directories
            .iter()
            .filter(|(name, _)| *name != DEFAULT)
            .filter_map(|(name, directory)| {
                let namespace = self.namespace_of(name);
                (!directory.is_file || is_meant_for_registry(&namespace)).then_some(namespace)
            })
    }

    /// The namespace that a directory of this name is for.
    pub fn namespace_of(&self, name: &str) -> String {
        let spelled = name
            .strip_suffix('_')
            .and_then(|rest| rest.rsplit_once('_'));
        match spelled {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                format!("{host}:{port}")
            }
            _ => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_name_of_a_registry_is_told_from_a_note_and_a_copy() {
        for name in [
            "quay.io",
            "reg.corp.example",
            "10.0.0.1",
            "h:5000",
            "localhost",
            "x.xn--p1ai",
        ] {
            assert!(is_meant_for_registry(name), "{name}");
        }
        for name in [
            "README.md",
            "hosts.toml",
            "docker.io.bak",
            "ca.crt",
            "LICENSE",
            "notes.2024",
            "quay.io.TXT",
            "a.b~",
            "x.",
        ] {
            assert!(!is_meant_for_registry(name), "{name}");
        }
    }

    #[test]
    fn what_was_meant_to_be_a_hosts_file_is_known_by_its_name() {
        for name in [
            "host.toml",
            "hosts.tml",
            "Hosts.toml",
            "hosts.yaml",
            "hosts.toml.txt",
            "hosts",
            "docker.io.toml",
            "hots.toml",
        ] {
            assert!(looks_like_hosts_file(name), "{name}");
        }
        for name in [
            "hosts.toml.bak",
            "hosts.toml~",
            "hosts.toml.dpkg-old",
            ".hosts.toml.swp",
            "ca.crt",
            "client.key",
            "README.md",
            "notes.txt",
        ] {
            assert!(!looks_like_hosts_file(name), "{name}");
        }
    }
}
