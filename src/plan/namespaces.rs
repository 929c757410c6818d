//! The namespaces that are worth a look, and what each must have afterwards.

use std::collections::HashSet;

use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::legacy::{LegacyHost, is_matchable, parse_endpoint, unmatchable};
use crate::containerd::release::Version;
use crate::containerd::sight::Sight;
use crate::finding::Code;
use crate::read::Inputs;

/// A namespace that is worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Whether it stands for every registry that nobody named.
    pub unnamed: bool,
}

/// A namespace with its hosts today and afterwards.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The namespace.
    pub name: String,
    /// Whether it stands for every registry that nobody named.
    pub unnamed: bool,
    /// What a pull does today.
    pub before: Pulls,
    /// What it must do afterwards.
    pub after: Pulls,
    /// Why the two differ, if they do.
    pub changed: Option<&'static Code>,
    /// The target versions on which they are not those of the containerd whose pulls are kept.
    pub changed_on: Vec<Version>,
    /// The list that the legacy settings give.
    pub legacy: Vec<LegacyHost>,
    /// The mirror entry that the list comes from: the namespace's own name, or `*`.
    pub mirror: Option<String>,
    /// Who decides.
    pub decider: Decider,
    /// Whether there is a mirror entry, but no hosts file is needed for what it says.
    pub same_as_default: bool,
}

/// The wanted hosts of all interesting namespaces, and the file for all others.
pub(crate) struct AllWanted {
    pub namespaces: Vec<Wanted>,
    /// The hosts of the `_default` hosts file, if one is to be written.
    pub default_hosts: Option<Vec<LegacyHost>>,
}

/// Who says what a namespace's hosts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The legacy settings.
    Settings,
    /// A hosts file that takes effect today: for each containerd it gives what it gave.
    HostsFile,
    /// A hosts file that had no effect: an operator has decided for it.
    KeptFile,
    /// Nobody: pulls stay as they are, since `config_path` is not set: nothing is migrated, or no file has a section in
    /// which it would be read.
    Nobody,
}

/// Every namespace that a setting or a directory names or leads to, `docker.io`, and one that stands for all others.
/// `certs` is the directory that `config_path` names afterwards.
pub fn namespaces(inputs: &Inputs, from: &Sight, certs: &CertsDirectory) -> Vec<Namespace> {
    let behaviour = &from.behaviour;
    let registry = from.registry();
    let mirrors = registry
        .mirrors
        .iter()
        .map(|mirror| mirror.name.value.clone());
    let configs = registry
        .configs
        .iter()
        .filter(|config| config.tls.is_some());
    let endpoints = registry
        .mirrors
        .iter()
        .filter(|mirror| is_matchable(&mirror.name.value))
        .flat_map(|mirror| &mirror.endpoints)
        .filter_map(|endpoint| Some(parse_endpoint(&endpoint.value, behaviour).ok()?.host));
    // What has no effect today may take effect by the upgrade, or be removed by the migration.
    let inert = inputs
        .snapshot
        .configuration()
        .files
        .iter()
        .flat_map(|loaded| loaded.contents(behaviour.major).registries())
        .flat_map(|registry| &registry.mirrors);
    let directories = inputs.snapshot.certs();
    let named = mirrors
        .chain(configs.map(|config| config.name.value.clone()))
        .chain(endpoints)
        .chain(["docker.io".to_owned()])
        .chain(inert.map(|mirror| mirror.name.value.clone()))
        .chain(certs.namespaces())
        .chain(
            from.roots()
                .into_iter()
                .filter_map(|root| directories.get(root))
                .flat_map(|certs| certs.namespaces()),
        );
    let mut seen = HashSet::new();
    let mut namespaces: Vec<Namespace> = named
        .filter(|name| unmatchable(name).is_none() && seen.insert(name.clone()))
        .map(|name| Namespace {
            name,
            unnamed: false,
        })
        .collect();
    let mut unnamed = "registry.invalid".to_owned();
    while seen.contains(&unnamed) || from.legacy().config(&unnamed).is_some() {
        unnamed.insert_str(0, "x.");
    }
    namespaces.push(Namespace {
        name: unnamed,
        unnamed: true,
    });
    namespaces
}
