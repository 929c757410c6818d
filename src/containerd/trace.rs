//! Where every host of a pull comes from: which setting of which file names it, gives its TLS settings and its
//! credentials, and what becomes of the hosts files.
//!
//! [`Sight::pulls`] says which hosts they are; this says why.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::containerd::host::{Host, Pulls, Scheme, TlsSettings};
use crate::containerd::hosts_file::directory::{CertsDirectory, DEFAULT, HOSTS_FILE};
use crate::containerd::hosts_file::reader::{self, ReadHost};
use crate::containerd::legacy::{LegacyHost, Origin, WILDCARD};
use crate::containerd::registry::{Credentials, quote_name};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;
use crate::finding::Place;
use crate::node::NodePath;
use crate::secret::Content;

/// What gives a host, its TLS settings or its credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// What kind of setting it is.
    pub kind: SourceKind,
    /// The path of the setting, from `registry` on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// The file that has it; of certificate files the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<NodePath>,
    /// The line, counted from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// The kinds of settings that give a host, its TLS settings or its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// An entry of `mirrors` for the namespace.
    Mirror,
    /// The entry `"*"` of `mirrors`.
    WildcardMirror,
    /// A table of `configs`.
    Configs,
    /// An entry of `auths`.
    Auths,
    /// The hosts file of the namespace.
    HostsFile,
    /// The hosts file for every namespace without a directory of its own.
    DefaultHostsFile,
    /// Certificate files in the namespace's directory, without a hosts file that counts.
    CertificateFiles,
    /// containerd itself: the registry that the namespace stands for.
    BuiltIn,
}

/// A host that a pull tries, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedHost {
    /// The host.
    pub host: Host,
    /// What names it.
    pub source: Source,
    /// What gives its TLS settings, if it has any that matter.
    pub tls: Option<Source>,
    /// What gives the credentials for it, if there are any, and which keys those are.
    pub credentials: Option<(Source, Vec<&'static str>)>,
}

/// What becomes of hosts files at a pull from a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostsFiles {
    /// None is read: `config_path` is not set.
    NotRead,
    /// There is no directory for the namespace, and no `_default`.
    NoDirectory,
    /// This hosts file decides.
    InEffect(NodePath),
    /// This directory has no hosts file: its certificate files count.
    CertificatesOnly(NodePath),
    /// containerd discards this hosts file, for this reason.
    Discarded(NodePath, String),
}

/// Everything about the hosts of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The hosts in order, or why every pull fails.
    pub hosts: Result<Vec<TracedHost>, String>,
    /// The directories that are looked into.
    pub directories: Vec<NodePath>,
    /// What becomes of hosts files.
    pub hosts_files: HostsFiles,
}

/// What becomes of the hosts file in this directory.
fn state(certs: &CertsDirectory, name: &str, sight: &Sight) -> HostsFiles {
    let directory = certs.path.join(name);
    let path = directory.join(HOSTS_FILE);
    let file = certs.directories.get(name);
    let file = file.and_then(|directory| directory.hosts_file.as_ref());
    let Some(file) = file.filter(|file| !file.is_empty()) else {
        return HostsFiles::CertificatesOnly(directory);
    };
    match reader::discarded(file, &directory, &sight.behaviour) {
        Some(discarded) if discarded.whole => HostsFiles::Discarded(path, discarded.reason),
        _ => HostsFiles::InEffect(path),
    }
}

/// Traces the pulls of one containerd.
pub struct Tracer<'s> {
    snapshot: &'s Snapshot,
    sight: Rc<Sight>,
    /// The entry of `auths` for each host: of two the later.
    auths: HashMap<String, usize>,
}

impl<'s> Tracer<'s> {
    /// For the containerd that sees the files so.
    pub fn new(snapshot: &'s Snapshot, sight: Rc<Sight>) -> Self {
        let strict_colons = sight.behaviour.strict_colons;
        let auths = sight.registry().auths.iter().enumerate();
        let auths =
            auths.filter_map(|(index, entry)| Some((entry.host(strict_colons).ok()?, index)));
        Self {
            snapshot,
            auths: auths.collect(),
            sight,
        }
    }

    /// The hosts that are tried for a namespace, and where each comes from.
    pub fn trace(&self, namespace: &str) -> Trace {
        let roots = self.sight.roots();
        if roots.is_empty() {
            return Trace {
                hosts: self.legacy(namespace),
                directories: Vec::new(),
                hosts_files: HostsFiles::NotRead,
            };
        }
        let shown = |root: &&str| NodePath::new(&Content::Path.shown(root));
        let directories = roots.iter().map(shown).collect();
        let known = roots.iter();
        let known = known.filter_map(|root| Some(&**self.snapshot.certs().get(*root)?));
        let behaviour = &self.sight.behaviour;
        let found = known
            .clone()
            .find_map(|certs| Some((certs, certs.lookup(namespace, behaviour)?)));
        let empty = CertsDirectory::empty(NodePath::new("/"));
        let (certs, name) = match &found {
            Some((certs, name)) => (*certs, Some(*name)),
            None => (known.clone().next().unwrap_or(&empty), None),
        };
        let hosts_files = match name {
            Some(name) => state(certs, name, &self.sight),
            None => HostsFiles::NoDirectory,
        };
        let hosts = reader::read(certs, namespace, behaviour).map(|hosts| {
            let trace = |read| self.read(read, certs, name, &hosts_files);
            hosts.into_iter().map(trace).collect()
        });
        Trace {
            hosts,
            directories,
            hosts_files,
        }
    }

    /// The hosts that the legacy settings give.
    fn legacy(&self, namespace: &str) -> Result<Vec<TracedHost>, String> {
        let behaviour = &self.sight.behaviour;
        let legacy = self.sight.legacy();
        let resolved = legacy.resolve(namespace, behaviour, behaviour.reads_legacy_tls());
        if let Pulls::Fail(reason) = resolved.pulls() {
            return Err(reason);
        }
        let trace = |LegacyHost { host, origin }: &LegacyHost| {
            let source = match (origin, resolved.mirror) {
                (Origin::Endpoint(index), Some(mirror)) => {
                    let name = &mirror.name.value;
                    let kind = if name == WILDCARD {
                        SourceKind::WildcardMirror
                    } else {
                        SourceKind::Mirror
                    };
                    let place = mirror.endpoints.get(*index).map(|endpoint| &endpoint.place);
                    let setting = format!("registry.mirrors.{}.endpoint", quote_name(name));
                    self.setting(kind, setting, place)
                }
                _ => built_in(),
            };
            let tls = legacy.config(&host.host).filter(|_| has_tls(host));
            let tls = tls.and_then(|config| Some((config, config.tls.as_ref()?)));
            TracedHost {
                tls: tls.map(|(config, tls)| {
                    let name = quote_name(&config.name.value);
                    let setting = format!("registry.configs.{name}.{}", config.tls_key);
                    self.setting(SourceKind::Configs, setting, Some(&tls.place))
                }),
                source,
                credentials: self.credentials(&host.host),
                host: host.clone(),
            }
        };
        Ok(resolved.hosts.iter().map(trace).collect())
    }

    /// A host of the hosts file in the directory `name`, or the namespace's own where there is none.
    fn read(
        &self,
        read: ReadHost,
        certs: &CertsDirectory,
        name: Option<&str>,
        state: &HostsFiles,
    ) -> TracedHost {
        let ReadHost {
            host,
            place,
            tls_place,
        } = read;
        let file = name.and_then(|name| certs.directories.get(name)?.hosts_file.as_ref());
        let kind = match name {
            Some(DEFAULT) => SourceKind::DefaultHostsFile,
            _ => SourceKind::HostsFile,
        };
        let in_file = |place: Range<usize>| Source {
            kind,
            setting: None,
            file: name.map(|name| certs.path.join(name).join(HOSTS_FILE)),
            line: file.map(|file| file.content.line(place.start)),
        };
        let tls = match (tls_place, state) {
            (Some(place), _) => Some(in_file(place)),
            (None, HostsFiles::CertificatesOnly(_) | HostsFiles::Discarded(..)) => {
                name.map(|name| Source {
                    kind: SourceKind::CertificateFiles,
                    setting: None,
                    file: Some(certs.path.join(name)),
                    line: None,
                })
            }
            // Of a registry on the local machine containerd verifies no certificate.
            (None, _) => Some(built_in()),
        };
        TracedHost {
            source: place.map_or_else(built_in, in_file),
            tls: tls.filter(|_| has_tls(&host)),
            credentials: self.credentials(&host.host),
            host,
        }
    }

    /// The credentials that this containerd has for a host: of two the later count, and `auths` after `configs`.
    fn credentials(&self, host: &str) -> Option<(Source, Vec<&'static str>)> {
        let entry = self.auths.get(host);
        if let Some(entry) = entry.and_then(|index| self.sight.registry().auths.get(*index)) {
            let setting = format!("registry.auths.{}", quote_name(&entry.name.value));
            let source = self.setting(SourceKind::Auths, setting, Some(&entry.name.place));
            return Some((source, keys(&entry.credentials)));
        }
        let config = self.sight.legacy().config(host)?;
        let credentials = config.auth.as_ref()?;
        let setting = format!("registry.configs.{}.auth", quote_name(&config.name.value));
        let source = self.setting(SourceKind::Configs, setting, Some(&config.name.place));
        Some((source, keys(credentials)))
    }

    fn setting(&self, kind: SourceKind, setting: String, place: Option<&Place>) -> Source {
        let position = place.and_then(|place| position(self.snapshot, place));
        let (file, line) = position.unzip();
        Source {
            kind,
            setting: Some(setting),
            file,
            line,
        }
    }
}

/// Whether any TLS setting of the host is used.
fn has_tls(host: &Host) -> bool {
    host.scheme != Scheme::Http && host.tls != TlsSettings::default()
}

/// Which keys hold them, in the order of the alphabet. Of empty values containerd makes nothing.
fn keys(credentials: &Credentials) -> Vec<&'static str> {
    let mut keys: Vec<&'static str> = credentials.keys().copied().collect();
    keys.sort_unstable();
    keys
}

fn built_in() -> Source {
    Source {
        kind: SourceKind::BuiltIn,
        setting: None,
        file: None,
        line: None,
    }
}

/// The configuration file that a place is in, and the number of its line.
pub fn position(snapshot: &Snapshot, place: &Place) -> Option<(NodePath, usize)> {
    let files = snapshot.configuration().files.iter();
    let mut files = files.map(|loaded| &loaded.file);
    let file = files.find(|file| file.id == place.file)?;
    let line = file.toml.line(place.range.start);
    Some((file.path.clone(), line))
}
