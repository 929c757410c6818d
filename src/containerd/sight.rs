//! What one containerd makes of a node: whether the daemon starts and CRI loads, which registry settings take effect,
//! which hosts a pull tries, and with which credentials.
//!
//! [`Snapshot::seen_by`](crate::containerd::snapshot::Snapshot::seen_by) makes it; `plan` keeps what it says, `verify`
//! compares it, `check` shows it.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::containerd::configuration::Configuration;
use crate::containerd::contents::PullerSettings;
use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::{CertsDirectories, CertsDirectory};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{Legacy, unmatchable};
use crate::containerd::loader::{Reason, SectionId, Startup, auths_error};
use crate::containerd::registry::{Credentials, Headers, Registry};
use crate::containerd::release::Behaviour;
use crate::finding;
use crate::node::NodePath;

/// What one containerd makes of a node's files.
#[derive(Debug)]
pub struct Sight {
    /// How far it gets, as if imports that do not exist were empty files: see [`Sight::startup`].
    pub(super) startup: Startup,
    pub(super) missing_import: Option<Reason>,
    pub(super) conflict: Option<Reason>,
    /// The sections whose registry tables take effect, in load order.
    pub in_effect: Vec<SectionId>,
    /// The last file that has a place for registry settings (L in docs/containerd.md §12.1), and the name under which
    /// the section is read there.
    pub last: Option<SectionId>,
    /// Two sections of one file under two names of the CRI plugin, of which this containerd takes one at random at each
    /// start, and by that other registry settings. Everything else here takes one of them.
    pub by_chance: Option<[SectionId; 2]>,
    /// `config_path` as it takes effect: the setting's, or a built-in one.
    pub config_path: String,
    /// The version of all files together.
    pub version: i64,
    /// Whether pulls go through the transfer service.
    pub transfer_service: bool,
    /// What the settings beside `registry` say about that.
    pub puller: PullerSettings,
    /// What this containerd does.
    pub behaviour: Behaviour,
    pub(super) legacy: Rc<Legacy>,
    pub(super) certs: Rc<CertsDirectories>,
    /// By host, collected when they are first asked for.
    pub(super) credentials: OnceCell<HashMap<String, Credentials>>,
}

impl Sight {
    /// How far this containerd gets. With `empty_imports` imports that do not exist count as empty files: what an
    /// operator accepts who looks at a copy of a node.
    pub fn startup(&self, empty_imports: bool) -> Startup {
        match &self.missing_import {
            Some(reason) if !empty_imports => Startup::DoesNotStart(reason.clone()),
            _ => self.startup.clone(),
        }
    }

    /// The registry settings that take effect, also where the daemon does not get far enough to use them.
    pub fn registry(&self) -> &Registry {
        self.legacy.registry()
    }

    /// The legacy settings among them, by name.
    pub fn legacy(&self) -> &Legacy {
        &self.legacy
    }

    /// The same, to keep.
    pub fn settings(&self) -> Rc<Legacy> {
        Rc::clone(&self.legacy)
    }

    /// Why CRI refuses the registry settings.
    pub fn conflict(&self) -> Option<&Reason> {
        self.conflict.as_ref()
    }

    /// Why CRI refuses a name in `auths`.
    pub fn auths_error(&self) -> Option<Reason> {
        auths_error(self.registry(), &self.behaviour)
    }

    /// Why the daemon does not start, if it does not take one of the files for TOML.
    pub fn text_refused(&self) -> Option<&Reason> {
        match &self.startup {
            Startup::DoesNotStart(reason)
                if [&finding::TOML_DIALECT, &finding::BYTE_ORDER_MARK].contains(&reason.code) =>
            {
                Some(reason)
            }
            _ => None,
        }
    }

    /// Whether the same table of the same file takes effect by another name of the file.
    pub fn takes_effect_by_another_name(
        &self,
        configuration: &Configuration,
        (file, id): SectionId,
    ) -> bool {
        let real = |index: usize| Some(&configuration.files.get(index)?.file.real);
        self.in_effect.iter().any(|(other, other_id)| {
            *other != file && *other_id == id && real(*other) == real(file)
        })
    }

    /// The directories of `config_path`, as this containerd's puller splits it: the transfer service takes it for one
    /// name (docs/containerd.md §2.8).
    pub fn roots(&self) -> Vec<&str> {
        if self.config_path.is_empty() {
            Vec::new()
        } else if self.transfer_service {
            vec![&self.config_path]
        } else {
            self.config_path
                .split(':')
                .filter(|root| !root.is_empty())
                .collect()
        }
    }

    /// The hosts that a pull from `namespace` tries, if CRI loads: whether it does is another question.
    pub fn pulls(&self, namespace: &str) -> Pulls {
        let behaviour = &self.behaviour;
        let roots = self.roots();
        if roots.is_empty() {
            return self
                .legacy
                .resolve(namespace, behaviour, behaviour.reads_legacy_tls())
                .pulls();
        }
        // The first directory that has something for it, `_default` included; else any, which has nothing.
        let directories = roots.into_iter().filter_map(|root| self.certs.get(root));
        let directories: Vec<&Rc<CertsDirectory>> = directories.collect();
        let has_something = |directory: &&&Rc<CertsDirectory>| {
            let found = directory.lookup(namespace, behaviour);
            found.is_some()
        };
        let found = match directories.as_slice() {
            [only] => Some(only),
            several => several.iter().find(has_something).or(several.first()),
        };
        match found {
            Some(directory) => reader::pulls(directory, namespace, behaviour),
            None => {
                let nothing = CertsDirectory::empty(NodePath::new("/"));
                reader::pulls(&nothing, namespace, behaviour)
            }
        }
    }

    /// Whether the hosts of `namespace` stand in a hosts file of one directory that all releases read alike if they agree
    /// about what is in [`Sight::kind`]: two sights of a snapshot with the same kind then give equal [`Sight::pulls`].
    pub fn is_plain(&self, namespace: &str) -> bool {
        match self.roots().as_slice() {
            [root] => {
                let certs = self.certs.get(*root);
                certs.is_some_and(|certs| reader::is_plain(certs, namespace, &self.behaviour))
            }
            _ => false,
        }
    }

    /// What decides how this containerd reads plain hosts files; `None` where it reads several directories or none.
    pub fn kind(&self) -> Option<(&str, bool, bool)> {
        let behaviour = &self.behaviour;
        match self.roots().as_slice() {
            [root] => Some((root, behaviour.default_directory, behaviour.override_path)),
            _ => None,
        }
    }

    /// The credentials that containerd has for a host.
    pub fn credentials(&self, host: &str) -> Option<&Credentials> {
        self.all_credentials().get(host)
    }

    /// The credentials that containerd has, by host (`ParseAuth`; `auths` overwrite `configs.*.auth`,
    /// `pkg/cri/config/config.go@v1.7.34`:535).
    pub fn all_credentials(&self) -> &HashMap<String, Credentials> {
        self.credentials.get_or_init(|| self.collect_credentials())
    }

    fn collect_credentials(&self) -> HashMap<String, Credentials> {
        let configs = self.registry().configs.iter().filter_map(|config| {
            let credentials = config.auth.as_ref()?;
            Some((config.name.value.clone(), credentials.clone()))
        });
        let auths = self.registry().auths.iter().filter_map(|entry| {
            let host = entry.host(self.behaviour.strict_colons).ok()?;
            Some((host, entry.credentials.clone()))
        });
        // Of two under one host the later counts.
        configs.chain(auths).collect()
    }

    /// The hosts for which this containerd has other credentials than `other`, sorted; only those that a registry can have.
    pub fn other_credentials(&self, other: &Self) -> BTreeSet<String> {
        let all = [self, other].map(Self::all_credentials).into_iter();
        let hosts = all.flat_map(|all| all.keys().map(String::as_str));
        hosts
            .filter(|host| self.credentials(host) != other.credentials(host))
            .filter(|host| unmatchable(host).is_none() && *host != "docker.io")
            .map(str::to_owned)
            .collect()
    }

    /// The credentials for every host of a list.
    pub fn credentials_of(&self, pulls: &Pulls) -> Vec<Option<&Credentials>> {
        match pulls {
            Pulls::Hosts(hosts) => hosts
                .iter()
                .map(|host| self.credentials(&host.host))
                .collect(),
            Pulls::Fail(_) => Vec::new(),
        }
    }

    /// The headers that containerd sends to every registry.
    pub fn headers(&self) -> &Headers {
        &self.registry().headers
    }
}
