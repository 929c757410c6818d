//! Hosts files where containerd never looks, and keys in hosts files that it does not read.

use std::collections::{BTreeMap, BTreeSet};

use super::advice::{self, Adviser};
use super::names::{self, Setting};
use super::{Kind, Unread, named_host, names_of, parts, select};
use crate::containerd::hosts_file::directory::{
    CertsDirectory, DEFAULT, HOSTS_FILE, HostsFile, RegistryDirectory, looks_like_hosts_file,
};
use crate::containerd::legacy::unmatchable;
use crate::finding::{self, Findings, Place};
use crate::near::is_near;
use crate::node::NodePath;
use crate::plan::planner::Planner;
use crate::secret::{TextKind, shown_names};
use crate::toml::syntax::{Node, Table};

/// Names of directories that are meant for every registry.
const EVERY: &[&str] = &[
    "*",
    "all",
    "any",
    "default",
    "_all",
    "_default_",
    "__default",
];

/// The keys of a hosts file, and what else they are called.
const KEYS: &[(&str, &[&str])] = &[
    ("server", &["upstream", "registry"]),
    ("host", &["hosts", "mirror", "mirrors"]),
    ("capabilities", &["capability"]),
    ("ca", &[]),
    ("client", &[]),
    ("skip_verify", &[]),
    ("header", &["headers"]),
    ("override_path", &[]),
    ("dial_timeout", &[]),
];

/// Looks at a certs directory. `written` are the hosts files that are written over.
pub(crate) fn check(
    planner: &Planner<'_>,
    certs: &CertsDirectory,
    written: &BTreeSet<&NodePath>,
    findings: &mut Findings,
) {
    for (name, directory) in &certs.directories {
        check_names(certs, name, directory, findings);
        let file = directory.hosts_file.as_ref();
        if let Some(file) = file.filter(|file| !written.contains(&file.real)) {
            check_keys(planner, file, findings);
        }
    }
}

/// Files and directories whose names containerd does not look up.
fn check_names(
    certs: &CertsDirectory,
    name: &str,
    directory: &RegistryDirectory,
    findings: &mut Findings,
) {
    let path = certs.path.join(name);
    let mut say = |message: String, help: String| {
        findings.add(&finding::MISPLACED_HOSTS_FILE, None, message, help);
    };
    if directory.is_file {
        if looks_like_hosts_file(name) {
            let registry = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            let right = match names::is_host(registry) && unmatchable(registry).is_none() {
                true => certs.path.join(registry).join(HOSTS_FILE).to_string(),
                false => format!("{}/REGISTRY/{HOSTS_FILE}", certs.path),
            };
            say(
                format!(
                    "containerd does not read `{path}`: each registry has a directory of its own"
                ),
                format!(
                    "move it to `{right}` if it is meant; `{DEFAULT}` is the directory for all other registries"
                ),
            );
        }
        return;
    }
    for unread in &directory.unread {
        let file = format!("{path}/{unread}");
        match unread.contains('/') {
            false => say(
                format!("containerd does not read `{file}`: the file is called `{HOSTS_FILE}`"),
                match &directory.hosts_file {
                    Some(_) => {
                        format!("`{path}/{HOSTS_FILE}` is used; merge what is meant into it")
                    }
                    None => format!("rename it to `{path}/{HOSTS_FILE}` if it is meant"),
                },
            ),
            true => {
                let parts = std::iter::once(name).chain(unread.split('/'));
                let mut hosts = parts.filter(|part| is_registry(part));
                let right = certs
                    .path
                    .join(hosts.next().unwrap_or(name))
                    .join(HOSTS_FILE);
                say(
                    format!(
                        "containerd does not read `{file}`: it looks up the host of a registry, never a repository \
                         below it"
                    ),
                    format!("move it to `{right}` if it is meant for the whole registry"),
                );
            }
        }
    }
    // Another name may lead to it.
    let is_linked = certs.linked.contains_key(&directory.hosts_path());
    let is_used =
        !is_linked && (directory.hosts_file.is_some() || !directory.certificates.is_empty());
    let namespace = certs.namespace_of(name);
    if let (true, true, Some(reason)) = (is_used, name != DEFAULT, unmatchable(&namespace)) {
        let right = meant_directory(name).map(|meant| certs.path.join(&meant));
        say(
            format!(
                "containerd does not read `{path}`: no image comes from a registry of this name ({reason})"
            ),
            match right {
                Some(right) => format!("rename it to `{right}` if that is meant"),
                None => "a directory is called like the registry in an image's name, with its port"
                    .to_owned(),
            },
        );
    }
}

/// Whether a part of a path can only be a registry.
fn is_registry(name: &str) -> bool {
    unmatchable(name).is_none() && name != HOSTS_FILE
}

/// What the directory is probably meant to be called.
fn meant_directory(name: &str) -> Option<String> {
    if EVERY.contains(&name) || is_near(name, DEFAULT) {
        return Some(DEFAULT.to_owned());
    }
    if let Some((host, port)) = name.rsplit_once('_')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !port.is_empty()
    {
        return Some(format!("{host}:{port}"));
    }
    names::meant_namespace(name).map(str::to_owned)
}

/// Keys that containerd does not read, one finding for each table.
fn check_keys(planner: &Planner<'_>, file: &HostsFile, findings: &mut Findings) {
    let Some(toml) = file.content.toml() else {
        return;
    };
    let mut found = BTreeMap::new();
    walk(toml.tree(), &mut Vec::new(), &mut found);
    for unread in found.values() {
        let place = file.id.map(|file| Place {
            file,
            range: unread.place(),
        });
        findings.add(
            &finding::UNKNOWN_HOSTS_KEY,
            place,
            format!("in a hosts file no containerd reads {}", unread.shown()),
            format!(
                "{}; this has no effect, and is kept",
                advice(planner, unread)
            ),
        );
    }
}

fn walk<'t>(
    table: &'t Table,
    path: &mut Vec<&'t Node>,
    found: &mut BTreeMap<(usize, Kind), Unread<'t>>,
) {
    let names = names_of(path);
    for node in table.iter() {
        let name = node.key.name.as_str();
        match node.table() {
            Some(_) if name.eq_ignore_ascii_case("header") && is_host_table(&names) => {}
            Some(inner) => {
                path.push(node);
                walk(inner, path, found);
                path.pop();
            }
            None if is_read(&names, name) => {}
            None => {
                let whole = !is_host_table(&names);
                let start = path.last().map_or(0, |table| table.key.range.start);
                let kind = Kind::of(node, whole);
                let unread = found.entry((start, kind)).or_insert_with(|| Unread {
                    path: path.clone(),
                    whole,
                    settings: Vec::new(),
                });
                unread.settings.push(node);
            }
        }
    }
}

/// Whether containerd looks for keys of a host in this table: at the top, and in `host."URL"`.
fn is_host_table(names: &[&str]) -> bool {
    matches!(names, [] | [_, _])
        && names
            .first()
            .is_none_or(|name| name.eq_ignore_ascii_case("host"))
}

fn is_read(table: &[&str], key: &str) -> bool {
    // `server` below a host is said where files are discarded.
    is_host_table(table)
        && KEYS
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(key))
        || matches!(table, [host] if host.eq_ignore_ascii_case("host"))
}

/// What to write instead.
fn advice(planner: &Planner<'_>, unread: &Unread<'_>) -> String {
    let names = names_of(&unread.path);
    if let (Some((first, below)), true) = (names.split_first(), unread.whole)
        && called(first) == Some("host")
    {
        let names = std::iter::once("host").chain(below.iter().copied());
        return format!("write `[{}]`", shown_names(names));
    }
    let settings = unread.shown_settings(TextKind::HostsFile);
    let pairs = advice::pairs(&settings);
    let mut advice: Vec<String> = Vec::new();
    let keys: Vec<String> = advice::tls_keys(&pairs)
        .into_iter()
        .map(|key| format!("`{key}`"))
        .collect();
    if !keys.is_empty() {
        let place = match unread.whole {
            true => " at the top, or below the `[host.\"URL\"]` that it is for",
            false => "",
        };
        advice.push(format!("write {}{place}", keys.join(" and ")));
    }
    let credentials = select(&pairs, Setting::is_credential);
    if !credentials.is_empty() {
        let host = named_host(&parts(&names));
        let host = host.or_else(|| Some(names::host(names.get(1)?).to_owned()));
        let hosts: Vec<String> = host.into_iter().collect();
        let right = Adviser::new(planner, 0).credentials(&hosts, &credentials);
        advice.push(format!("{right} in `{}`", planner.config.path));
    }
    for (setting, value) in &pairs {
        match setting {
            Setting::Endpoint => {
                let urls = advice::strings(value).into_iter();
                let tables: Vec<String> = urls
                    .map(|url| format!("`[host.{}]`", shown_names([url])))
                    .collect();
                advice.push(format!("write {}", tables.join(", ")));
            }
            Setting::ConfigPath => advice.push(Adviser::new(planner, 0).config_path(value)),
            Setting::Rewrite => {
                advice.push("only the containerd of k3s and rke2 reads `rewrite`".to_owned());
            }
            _ => {}
        }
    }
    let is_other = |name: &&str| matches!(Setting::called(name), None | Some(Setting::OfHostsFile));
    let others = unread.settings.iter().map(|node| node.key.name.as_str());
    let known = others.filter(is_other).filter_map(called);
    advice.extend(known.map(|key| format!("write `{key}`")));
    match advice.is_empty() {
        true => "containerd knows no such key there".to_owned(),
        false => advice.join("; "),
    }
}

/// Which key of a hosts file is called like this.
fn called(name: &str) -> Option<&'static str> {
    let is = |key: &&str, others: &[&str]| {
        key.eq_ignore_ascii_case(name) || others.contains(&name) || is_near(name, key)
    };
    let mut keys = KEYS.iter();
    keys.find(|(key, others)| is(key, others))
        .map(|(key, _)| *key)
}
