//! Hosts files where containerd never looks, and keys in hosts files that it does not read.

use std::collections::{BTreeMap, BTreeSet};

use super::advice::{self, Adviser, Pair};
use super::names::{self, Setting};
use super::{named_host, parts};
use crate::containerd::hosts_file::directory::{
    CertsDirectory, DEFAULT, HOSTS_FILE, HostsFile, RegistryDirectory, looks_like_hosts_file,
};
use crate::containerd::legacy::unmatchable;
use crate::finding::{self, Findings, Place};
use crate::near::is_near;
use crate::node::NodePath;
use crate::plan::planner::Planner;
use crate::secret::{shown_names, shown_path};
use crate::toml::edit::quote;
use crate::toml::syntax::{Node, Table, Value};

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
    let mut unread: BTreeMap<usize, Unread<'_>> = BTreeMap::new();
    walk(toml.tree(), &mut Vec::new(), &mut unread);
    for (_, unread) in unread {
        let place = file.id.map(|file| Place {
            file,
            range: unread.range(),
        });
        let names: Vec<&str> = unread
            .path
            .iter()
            .map(|node| node.key.name.as_str())
            .collect();
        let shown = match (names.split_last(), unread.whole) {
            (_, true) => format!("`[{}]`", shown_names(names.iter().copied())),
            (Some((key, [])), _) => format!("`{}`", shown_names([*key])),
            (Some((key, table)), _) => {
                let table = shown_names(table.iter().copied());
                format!("`{}` in `[{table}]`", shown_names([*key]))
            }
            (None, _) => continue,
        };
        findings.add(
            &finding::UNKNOWN_HOSTS_KEY,
            place,
            format!("no containerd reads {shown} of a hosts file"),
            format!(
                "{}; this has no effect, and is kept",
                unread.advice(planner, &names)
            ),
        );
    }
}

/// A key, or a table, that containerd does not read.
struct Unread<'t> {
    path: Vec<&'t Node>,
    whole: bool,
    settings: Vec<&'t Node>,
}

fn walk<'t>(table: &'t Table, path: &mut Vec<&'t Node>, unread: &mut BTreeMap<usize, Unread<'t>>) {
    for node in table.iter() {
        path.push(node);
        let names: Vec<&str> = path.iter().map(|node| node.key.name.as_str()).collect();
        match node.table() {
            Some(inner) if !is_header_table(&names) => walk(inner, path, unread),
            Some(_) => {}
            None if is_read(&names) => {}
            None => {
                let whole = !is_host_table(names.get(..names.len() - 1).unwrap_or_default());
                let end = path.len() - usize::from(whole);
                let path = path.get(..end).unwrap_or_default();
                let start = path.last().map_or(0, |node| node.key.range.start);
                let found = unread.entry(start).or_insert_with(|| Unread {
                    path: path.to_vec(),
                    whole,
                    settings: Vec::new(),
                });
                found.settings.push(node);
            }
        }
        path.pop();
    }
}

/// Whether containerd looks for keys of a host in this table: at the top, and in `host."URL"`.
fn is_host_table(names: &[&str]) -> bool {
    matches!(names, [] | [_, _])
        && names
            .first()
            .is_none_or(|name| name.eq_ignore_ascii_case("host"))
}

/// Whether the names in this table are those of HTTP headers.
fn is_header_table(names: &[&str]) -> bool {
    let Some((last, above)) = names.split_last() else {
        return false;
    };
    last.eq_ignore_ascii_case("header") && is_host_table(above)
}

fn is_read(names: &[&str]) -> bool {
    let Some((last, above)) = names.split_last() else {
        return false;
    };
    // `server` below a host is said where files are discarded.
    is_host_table(above) && KEYS.iter().any(|(key, _)| key.eq_ignore_ascii_case(last))
        || matches!(above, [host] if host.eq_ignore_ascii_case("host"))
}

impl Unread<'_> {
    fn range(&self) -> std::ops::Range<usize> {
        let last = self.path.last();
        match last {
            Some(node) if self.whole => node.range(),
            Some(node) => node.key.range.clone(),
            None => 0..0,
        }
    }

    fn advice(&self, planner: &Planner<'_>, names: &[&str]) -> String {
        if let (Some((first, below)), true) = (names.split_first(), self.whole)
            && called(first) == Some("host")
        {
            return format!(
                "write `[{}]`",
                shown_names(std::iter::once("host").chain(below.iter().copied()))
            );
        }
        let mut pairs: Vec<Pair<'_>> = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for node in &self.settings {
            match (Setting::called(&node.key.name), node.value()) {
                (Some(setting), Some(value)) if setting != Setting::OfHostsFile => {
                    pairs.push((setting, value))
                }
                _ => others.push(&node.key.name),
            }
        }
        let adviser = Adviser::new(planner, 0);
        let mut advice: Vec<String> = Vec::new();
        let tables = names.len() - usize::from(!self.whole && !names.is_empty());
        let words = parts(names.get(..tables).unwrap_or_default());
        let host = named_host(&words).or_else(|| match names {
            [_, url, ..] => Some(names::host(url).to_owned()),
            _ => None,
        });
        let of = |is: &dyn Fn(Setting) -> bool| -> Vec<Pair<'_>> {
            pairs
                .iter()
                .copied()
                .filter(|(setting, _)| is(*setting))
                .collect()
        };
        let (tls, credentials) = (of(&Setting::is_tls), of(&Setting::is_credential));
        if !tls.is_empty() {
            let keys: Vec<String> = tls_keys(&tls)
                .into_iter()
                .map(|key| format!("`{key}`"))
                .collect();
            advice.push(match self.whole {
                true => format!(
                    "write {} at the top, or below the `[host.\"URL\"]` that it is for",
                    keys.join(" and ")
                ),
                false => format!("write {}", keys.join(" and ")),
            });
        }
        if !credentials.is_empty() {
            let hosts: Vec<String> = host.clone().into_iter().collect();
            let file = &planner.config.path;
            advice.push(format!(
                "{} in `{file}`",
                adviser.credentials(&hosts, &credentials)
            ));
        }
        for (setting, value) in &pairs {
            match setting {
                Setting::Endpoint => {
                    let urls: Vec<String> = advice::strings(value)
                        .into_iter()
                        .map(|url| format!("`[host.{}]`", shown_names([url])))
                        .collect();
                    advice.push(format!("write {}", urls.join(", ")));
                }
                Setting::ConfigPath => advice.push(adviser.config_path(value)),
                Setting::Rewrite => {
                    advice.push("only the containerd of k3s and rke2 reads `rewrite`".to_owned())
                }
                _ => {}
            }
        }
        let known = others.iter().filter_map(|name| called(name));
        advice.extend(known.map(|key| format!("write `{key}`")));
        if advice.is_empty() {
            return "containerd knows no such key there".to_owned();
        }
        advice.join("; ")
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

/// Certificates and their verification as a hosts file says it.
fn tls_keys(pairs: &[Pair<'_>]) -> Vec<String> {
    let path = |setting| {
        let found = pairs.iter().find(|(other, _)| *other == setting);
        let text = found.and_then(|(_, value): &(Setting, &Value)| advice::text(value))?;
        Some(quote(shown_path(text), false))
    };
    let mut keys = Vec::new();
    keys.extend(path(Setting::CaFile).map(|path| format!("ca = {path}")));
    match (path(Setting::CertFile), path(Setting::KeyFile)) {
        (Some(cert), Some(key)) => keys.push(format!("client = [[{cert}, {key}]]")),
        (None, None) => {}
        _ => keys.push("client = [[\"CERTIFICATE\", \"KEY\"]]".to_owned()),
    }
    if pairs
        .iter()
        .any(|(setting, _)| *setting == Setting::SkipVerify)
    {
        keys.push("skip_verify = true".to_owned());
    }
    keys
}
