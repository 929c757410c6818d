//! The certs directory as containerd sees it: which directory a namespace leads to, and what is in it.
//!
//! This is data; `inputs` reads it from the disk, `plan` puts planned files into it.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::containerd::release::Behaviour;
use crate::finding::FileId;
use crate::node::NodePath;
use crate::toml::spelling::GoToml;
use crate::toml::syntax::{Syntax, SyntaxError};

/// The name of the directory for everything that has none of its own.
pub const DEFAULT: &str = "_default";

/// The name of the file in each directory.
pub const HOSTS_FILE: &str = "hosts.toml";

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
    /// Whether it is no directory at all, but a file that somebody left there.
    pub is_file: bool,
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
        }
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
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its number in findings, if it is a file that was read.
    pub id: Option<FileId>,
    /// The text parsed, once for all copies and versions.
    parsed: Rc<OnceCell<Result<Syntax, SyntaxError>>>,
    /// Whether it is written in the plainest way, once for all copies.
    pub(super) plain: Rc<OnceCell<Plain>>,
}

/// How plainly a hosts.toml is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// Releases may read it in different ways.
    No,
    /// Every release reads it alike, but for `override_path` and a missing `server`.
    Yes {
        has_override_path: bool,
        has_server: bool,
    },
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
    /// A hosts.toml with these bytes.
    pub fn new(real: NodePath, bytes: Vec<u8>) -> Self {
        Self {
            real,
            bytes,
            id: None,
            parsed: Rc::default(),
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

    /// What is written in the file, or why this reader gets nothing of it.
    pub(super) fn read_by(&self, reader: GoToml) -> Result<&Syntax, Unread> {
        let syntax = self.parsed.get_or_init(|| self.parse()).as_ref();
        // go-toml 1 reads many texts that are not TOML.
        let syntax = syntax.map_err(|error| Unread {
            reason: error.message.clone(),
            range: error.range.clone(),
            is_discarded: error.nobody_reads || reader != GoToml::V1,
        })?;
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
        (!self.bytes.is_empty() && !unread.is_discarded).then_some(unread)
    }

    fn parse(&self) -> Result<Syntax, SyntaxError> {
        let text = std::str::from_utf8(&self.bytes).map_err(|error| SyntaxError {
            message: "it is not UTF-8".to_owned(),
            range: error.valid_up_to()..error.valid_up_to() + 1,
            nobody_reads: false,
        })?;
        Syntax::parse(text).map_err(|error| SyntaxError {
            message: format!("it is not valid TOML: {}", error.message),
            ..error
        })
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
    pub directories: BTreeMap<String, RegistryDirectory>,
    /// Names whose hosts file is really elsewhere, since a link is on the way, by where that is.
    pub linked: BTreeMap<NodePath, Vec<String>>,
    /// Names that are nothing to containerd today, but stand where a hosts file may be written.
    pub dangling: Vec<Dangling>,
}

/// The certs directories of a node, by the path that `config_path` says.
pub type CertsDirectories = BTreeMap<String, CertsDirectory>;

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

    /// The name of the directory that a pull from `namespace` reads, if there is one
    /// (`hostPaths`, `core/remotes/docker/config/config_unix.go`; `_default` since 1.6.17).
    pub fn lookup(&self, namespace: &str, behaviour: &Behaviour) -> Option<String> {
        self.own(namespace).or_else(|| {
            (behaviour.default_directory && self.directories.contains_key(DEFAULT))
                .then(|| DEFAULT.to_owned())
        })
    }

    /// The name of the directory that is there for this very namespace.
    pub fn own(&self, namespace: &str) -> Option<String> {
        let spellings = [port_spelling(namespace), Some(namespace.to_owned())];
        spellings
            .into_iter()
            .flatten()
            .find(|name| self.directories.contains_key(name))
    }

    /// The other spelling of the directory `name`, which containerd looks up first and finds.
    pub fn hidden_by(&self, name: &str) -> Option<String> {
        port_spelling(name).filter(|other| self.directories.contains_key(other))
    }

    /// The name under which a hosts file for `namespace` is written: what is there, else the plain spelling.
    pub fn name_for(&self, namespace: &str) -> String {
        self.own(namespace).unwrap_or_else(|| namespace.to_owned())
    }

    /// The directory with `bytes` written to the hosts file `path`, under whatever names that file is reached.
    pub fn write(&mut self, path: &NodePath, bytes: &[u8]) {
        let file = || HostsFile::new(path.clone(), bytes.to_vec());
        for name in self.linked.get(path).into_iter().flatten() {
            if let Some(directory) = self.directories.get_mut(name) {
                directory.hosts_file = Some(file());
            }
        }
        let parent = path.parent();
        if path.name() != HOSTS_FILE || parent.parent() != self.real {
            return;
        }
        let directory = self
            .directories
            .entry(parent.name().to_owned())
            .or_insert_with(|| RegistryDirectory::empty(parent.clone()));
        if directory.hosts_path() == *path {
            directory.hosts_file = Some(file());
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
            .map(RegistryDirectory::hosts_path)
        else {
            return false;
        };
        let linked = self.linked.get(&path).into_iter().flatten();
        let parent = path.parent();
        let own = (parent.parent() == self.real && path.name() == HOSTS_FILE)
            .then(|| parent.name().to_owned())
            .filter(|own| {
                self.directories
                    .get(own)
                    .is_some_and(|d| d.hosts_path() == path)
            });
        linked.chain(own.iter()).any(|other| other != name)
    }

    /// The namespaces that the directories are for. A file in the place of one counts only if its name has a port: a
    /// `README.md` is a possible name of a registry, too, but nobody means it.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        self.directories
            .iter()
            .filter(|(name, _)| *name != DEFAULT)
            .filter_map(|(name, directory)| {
                let spelled = name
                    .strip_suffix('_')
                    .and_then(|rest| rest.rsplit_once('_'));
                let namespace = match spelled {
                    Some((host, port))
                        if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) =>
                    {
                        format!("{host}:{port}")
                    }
                    _ => name.clone(),
                };
                (!directory.is_file || namespace.contains(':')).then_some(namespace)
            })
    }
}
