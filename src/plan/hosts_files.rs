//! The hosts files that say what the legacy settings said.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use super::change::{Change, FileKind};
use super::namespaces::{AllWanted, Decider, Wanted};
use super::planner::Planner;
use crate::containerd::host::{Host, Pulls, Scheme, default_host};
use crate::containerd::hosts_file::directory::DEFAULT;
use crate::containerd::hosts_file::reader;
use crate::containerd::hosts_file::writer::{NewHost, NewHostsFile};
use crate::containerd::legacy::{LegacyHost, Origin, WILDCARD};
use crate::containerd::registry::Tls;
use crate::finding::{FileId, Place};
use crate::node::NodePath;
use crate::toml::edit::quote;

/// What a mirror is used for: nerdctl, BuildKit and `ctr --hosts-dir` read the same files, and push.
const MIRROR: &[&str] = &["pull", "resolve"];
/// What a namespace's own registry is used for where it is not the `server`, which can do everything without saying so.
const OWN_REGISTRY: &[&str] = &["pull", "resolve", "push"];

/// A hosts file in the making, with what its comments are matched by.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub file: NewHostsFile,
    /// The namespace, or `*` for the file of all others.
    pub namespace: String,
    /// The configuration files that its content comes from.
    pub sources: BTreeSet<FileId>,
    /// The mode of the file that it replaces, if there is one: that stays.
    pub replaced_mode: Option<u32>,
    /// The endpoint numbers that the hosts, and last the server, come from.
    endpoints: Vec<Option<usize>>,
}

/// The hosts files to write, by directory name: one for `_default` if there is a wildcard, and one for each namespace
/// that would have other hosts without it, on a release that the plan is verified for.
pub(crate) fn drafts(planner: &Planner<'_>, wanted: &mut AllWanted) -> BTreeMap<String, Draft> {
    let mut certs = Rc::clone(&planner.certs);
    let mut drafts = BTreeMap::new();
    if let Some(hosts) = wanted.default_hosts.take() {
        let default = default_file(planner, &hosts);
        let path = certs.hosts_path(DEFAULT);
        Rc::make_mut(&mut certs).write(&path, &default.file.content());
        drafts.insert(DEFAULT.to_owned(), default);
    }
    for namespace in &mut wanted.namespaces {
        // The one that nobody named has no directory: it stands for all that fall through.
        if namespace.unnamed {
            namespace.same_as_default =
                namespace.mirror.is_some() && !certs.directories.contains_key(DEFAULT);
            continue;
        }
        if namespace.decider == Decider::Nobody {
            // Without `config_path` no file is needed, whatever the mirror's entry says.
            namespace.same_as_default = planner.legacy().mirror(&namespace.name).is_some();
        }
        if namespace.decider != Decider::Settings {
            continue;
        }
        let mut without_file = planner.verified().map(|release| {
            let behaviour = &release.generation.behaviour;
            reader::pulls(&certs, &namespace.name, behaviour)
        });
        // A file of the operator's may say it in its own way; what is written here is exact.
        let has_file = certs.own(&namespace.name).is_some();
        let is_same = |pulls: Pulls| match has_file {
            true => pulls.same(&namespace.after),
            false => pulls.same_tries(&namespace.after),
        };
        if without_file.all(is_same) {
            namespace.same_as_default =
                planner.legacy().mirror(&namespace.name).is_some() && !has_file;
            continue;
        }
        drafts.insert(
            certs.name_for(&namespace.name),
            hosts_file(planner, namespace),
        );
    }
    drafts
}

/// The hosts files as changes: what is carried from other directories, and the drafts.
pub(crate) fn changes(planner: &Planner<'_>, drafts: &BTreeMap<String, Draft>) -> Vec<Change> {
    let certs = &planner.certs;
    let hosts_file = |path, before, after, mode| Change {
        kind: FileKind::HostsFile,
        path,
        named: None,
        before,
        after,
        mode,
    };
    let mut changes: BTreeMap<NodePath, Change> = BTreeMap::new();
    for carried in &planner.carried {
        let mode = planner.mode_of_new(&carried.copied);
        let change = hosts_file(carried.path.clone(), None, carried.content.clone(), mode);
        changes.insert(carried.path.clone(), change);
    }
    for (name, draft) in drafts {
        let path = certs.hosts_path(name);
        let directory = certs.directories.get(name);
        let file = directory.and_then(|directory| directory.hosts_file.as_ref());
        let before = match changes.get(&path) {
            // Two names may lead to one file. It is written once; `verify` says whether it serves both.
            Some(known) => known.before.clone(),
            None => file.map(|file| file.content.clone()),
        };
        let mode = planner.mode_of_new(&draft.sources);
        changes.insert(
            path.clone(),
            hosts_file(path, before, draft.file.content(), mode),
        );
    }
    changes.into_values().collect()
}

/// The file for one namespace: the last host of the list is the `server`, the others are tables, in order.
fn hosts_file(planner: &Planner<'_>, wanted: &Wanted) -> Draft {
    let namespace = wanted.name.as_str();
    let (last, others) = match wanted.legacy.split_last() {
        Some((last, others)) => (Some(last), others),
        None => (None, wanted.legacy.as_slice()),
    };
    let mut others = first_of_each(others);
    // A host that equals the server directly before it would ask it twice in a row.
    if let (Some(last), Some(before)) = (last, others.last())
        && before.host.same_try(&last.host)
    {
        others.pop();
    }
    let own = |host: &Host| host.host == namespace || host.host == default_host(namespace);
    let table = |host: &LegacyHost| NewHost {
        host: host.host.clone(),
        capabilities: Some(if own(&host.host) {
            OWN_REGISTRY
        } else {
            MIRROR
        }),
        comments: Vec::new(),
    };
    let server = last.map(|last| NewHost {
        host: last.host.clone(),
        capabilities: (!own(&last.host)).then_some(MIRROR),
        comments: Vec::new(),
    });
    let mut origins = Vec::new();
    let mut sources = BTreeSet::new();
    if let Some(name) = &wanted.mirror {
        let setting = format!("registry.mirrors.{}", quote(name, false));
        origins.push(origin(planner, &setting, mirror_place(planner, name)));
        sources.extend(mirror_sources(planner, name));
    }
    let written = others.iter().chain(last);
    for (name, tls) in tls_of(planner, written.clone().map(|host| &host.host)) {
        let setting = format!("registry.configs.{}.tls", quote(name, false));
        origins.push(origin(planner, &setting, tls.map(|tls| &tls.place)));
        sources.extend(tls.into_iter().flat_map(tls_sources));
    }
    // The name of the registry comes from there, too.
    if sources.is_empty() {
        sources.insert(planner.config.id);
    }
    if origins.is_empty() {
        origins.push(format!(
            "from the legacy default: no mirror or TLS setting in {} names {namespace}",
            planner.config.path
        ));
    }
    Draft {
        endpoints: written.map(|host| endpoint_number(host.origin)).collect(),
        file: NewHostsFile {
            origins,
            comments: Vec::new(),
            server,
            hosts: others.iter().map(table).collect(),
        },
        namespace: namespace.to_owned(),
        sources,
        replaced_mode: replaced_mode(planner, &planner.certs.name_for(namespace)),
    }
}

/// The file for every namespace without a file of its own: the wildcard's endpoints, and no `server`, so that
/// containerd appends each namespace's own registry.
fn default_file(planner: &Planner<'_>, list: &[LegacyHost]) -> Draft {
    let listed: Vec<LegacyHost> = list
        .iter()
        .filter(|host| host.origin != Origin::Default)
        .cloned()
        .collect();
    let hosts = first_of_each(&listed);
    let mut origins = Vec::new();
    let mut sources = mirror_sources(planner, WILDCARD);
    if planner.legacy().mirror(WILDCARD).is_some() {
        origins.push(origin(
            planner,
            "registry.mirrors.\"*\"",
            mirror_place(planner, WILDCARD),
        ));
    } else {
        origins.push(format!(
            "from the legacy default: no mirror or TLS setting in {} names {DEFAULT}",
            planner.config.path
        ));
    }
    for (name, tls) in tls_of(planner, hosts.iter().map(|host| &host.host)) {
        let setting = format!("registry.configs.{}.tls", quote(name, false));
        origins.push(origin(planner, &setting, tls.map(|tls| &tls.place)));
        sources.extend(tls.into_iter().flat_map(tls_sources));
    }
    Draft {
        sources,
        replaced_mode: replaced_mode(planner, DEFAULT),
        endpoints: hosts
            .iter()
            .map(|host| endpoint_number(host.origin))
            .collect(),
        file: NewHostsFile {
            origins,
            comments: Vec::new(),
            server: None,
            hosts: hosts
                .into_iter()
                .map(|host| NewHost {
                    host: host.host,
                    capabilities: Some(MIRROR),
                    comments: Vec::new(),
                })
                .collect(),
        },
        namespace: WILDCARD.to_owned(),
    }
}

fn origin(planner: &Planner<'_>, setting: &str, place: Option<&Place>) -> String {
    let file = place.map_or(planner.config, |place| planner.file_of(place));
    format!("from {setting} in {}", file.path)
}

fn mirror_place<'p>(planner: &'p Planner<'_>, name: &str) -> Option<&'p Place> {
    let mirror = planner.legacy().mirror(name)?;
    Some(mirror.endpoint_key.as_ref().unwrap_or(&mirror.name.place))
}

/// The files that say what a mirror is.
fn mirror_sources(planner: &Planner<'_>, name: &str) -> BTreeSet<FileId> {
    let mirror = planner.legacy().mirror(name);
    let places = mirror.into_iter().flat_map(|mirror| {
        let endpoints = mirror.endpoints.iter().map(|endpoint| &endpoint.place);
        endpoints.chain([&mirror.name.place])
    });
    places.map(|place| place.file).collect()
}

/// The hosts with TLS settings, each once, and what the configuration says of them.
fn tls_of<'p, 'h>(
    planner: &'p Planner<'_>,
    hosts: impl Iterator<Item = &'h Host>,
) -> impl Iterator<Item = (&'h str, Option<&'p Tls>)> {
    let mut seen = BTreeSet::new();
    let hosts = hosts.filter(|host| host.scheme != Scheme::Http && host.tls != Default::default());
    let names = hosts.map(|host| host.host.as_str());
    names.filter(move |name| seen.insert(*name)).map(|name| {
        let config = planner.legacy().config(name);
        (name, config.and_then(|config| config.tls.as_ref()))
    })
}

/// The files that say what the TLS settings of a host are: imports may add to what an earlier file says.
fn tls_sources(tls: &Tls) -> impl Iterator<Item = FileId> {
    let files = tls.files().map(|file| &file.place);
    let places = files.chain([&tls.place]).chain(&tls.skip_verify);
    places.map(|place| place.file)
}

/// The mode of the hosts file in this directory, if there is one.
fn replaced_mode(planner: &Planner<'_>, name: &str) -> Option<u32> {
    let directory = planner.certs.directories.get(name)?;
    let file = directory.hosts_file.as_ref()?.id?;
    planner.inputs.modes.get(&file).copied()
}

impl Draft {
    /// The comments of the host that comes from this endpoint, else those of the file.
    pub(crate) fn comments_of(&mut self, element: Option<usize>) -> &mut Vec<String> {
        let at = element.and_then(|element| {
            self.endpoints
                .iter()
                .position(|endpoint| *endpoint == Some(element))
        });
        let tables = self.file.hosts.len();
        match at {
            Some(at) if at < tables => match self.file.hosts.get_mut(at) {
                Some(host) => &mut host.comments,
                None => &mut self.file.comments,
            },
            Some(_) => match &mut self.file.server {
                Some(server) => &mut server.comments,
                None => &mut self.file.comments,
            },
            None => &mut self.file.comments,
        }
    }
}

fn endpoint_number(origin: Origin) -> Option<usize> {
    match origin {
        Origin::Endpoint(number) => Some(number),
        Origin::Default => None,
    }
}

/// The hosts without repeats: a table cannot appear twice, so each is written at its first place.
fn first_of_each(hosts: &[LegacyHost]) -> Vec<LegacyHost> {
    let mut seen = HashSet::new();
    let first = hosts.iter().filter(|host| seen.insert(&host.host));
    first.cloned().collect()
}
