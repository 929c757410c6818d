//! hosts.toml as containerd reads it, with what each version makes of it.
//!
//! A port of the behaviour of `remotes/docker/config/hosts.go` (1.x) and `core/remotes/docker/config/hosts.go` (2.x),
//! in the order of its functions: `ConfigureHosts`, `loadHostDir`, `parseHostsFile`, `parseHostConfig`,
//! `getSortedHosts`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use super::directory::{CertsDirectory, HOSTS_FILE, HostsFile, Plain, RegistryDirectory};
use crate::containerd::host::{
    Host, Pulls, Scheme, TlsSettings, default_host, is_loopback, request_path,
};
use crate::containerd::release::{Behaviour, HttpsFirst, LocalDefault, Major};
use crate::go::url;
use crate::node::NodePath;
use crate::secret::{Content, shown_url, shown_word};
use crate::toml::spelling::GoToml;
use crate::toml::syntax::{Entry, Node, Syntax, Table, Value, ValueKind};
use crate::work;

/// The hosts that a pull from `namespace` tries when `config_path` is this directory.
pub fn pulls(certs: &CertsDirectory, namespace: &str, behaviour: &Behaviour) -> Pulls {
    match read(certs, namespace, behaviour) {
        Ok(hosts) => Pulls::Hosts(hosts.into_iter().map(|read| read.host).collect()),
        Err(reason) => Pulls::Fail(reason),
    }
}

/// A host, and where a hosts.toml names it.
#[derive(Clone, Debug)]
pub struct ReadHost {
    /// The host.
    pub host: Host,
    /// Its name; `None` if no file names it, so that it is the namespace's own registry.
    pub place: Option<Range<usize>>,
    /// The first of its TLS settings.
    pub tls_place: Option<Range<usize>>,
}

/// The same hosts with their places, or why every pull fails.
pub fn read(
    certs: &CertsDirectory,
    namespace: &str,
    behaviour: &Behaviour,
) -> Result<Vec<ReadHost>, String> {
    let mut hosts = vec![HostEntry::default()];
    if let Some((name, directory)) = certs.find(namespace, behaviour) {
        let path = certs.path.join(name);
        hosts = load(directory, &path, behaviour)?;
        if let Some(reason) = hosts.iter().find_map(|host| host.unreadable_ca(&path)) {
            return Err(reason);
        }
    }
    if let Some(last) = hosts.last_mut()
        && last.host.is_empty()
    {
        last.make_default(namespace, behaviour);
    }
    let read = |mut entry: HostEntry| {
        let (place, tls_place) = (entry.place.take(), entry.tls_place.take());
        Some(ReadHost {
            host: entry.finish(behaviour)?,
            place,
            tls_place,
        })
    };
    Ok(hosts.into_iter().filter_map(read).collect())
}

/// Whether releases read the hosts of `namespace` from this directory alike if they agree about `_default` and
/// `override_path`. `false` is for where that is not known without reading.
pub fn is_plain(certs: &CertsDirectory, namespace: &str, behaviour: &Behaviour) -> bool {
    let is_remote = || !is_loopback(namespace);
    let Some((_, directory)) = certs.find(namespace, behaviour) else {
        return is_remote();
    };
    let file = directory.hosts_file.as_ref();
    match file.map(|file| file.plain.get_or_init(|| plain(file))) {
        Some(Plain::Yes { has_server }) => *has_server || is_remote(),
        Some(Plain::No) | None => false,
    }
}

/// Whether the file has only what no release reads differently: lower-case keys that all know, hosts in headers of
/// their own, https URLs with at most a port, and no spelling that some TOML library refuses.
fn plain(file: &HostsFile) -> Plain {
    let readers = GoToml::ALL.iter();
    let mut texts = readers.map(|reader| file.read_by(*reader));
    let Some(Ok(syntax)) = texts.next() else {
        return Plain::No;
    };
    if !texts.all(|read| read.is_ok()) {
        return Plain::No;
    }
    let is_url = |url: &str| {
        let host = url.strip_prefix("https://");
        host.is_some_and(|host| {
            let ordinary = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
            host.chars().all(ordinary) && host.matches(':').count() < 2
        })
    };
    let (mut has_server, mut has_host) = (false, false);
    for section in &syntax.sections {
        let is_plain = match section.header.as_ref() {
            None => true,
            Some(header) if header.array => false,
            Some(header) => match header.keys.as_slice() {
                [host] => host.name == "host" && section.entries.is_empty(),
                [host, url] => host.name == "host" && is_url(&url.name) && !url.has_escapes(),
                _ => false,
            },
        };
        has_host |= section.header.is_some();
        let known = |entry: &Entry| {
            let [key] = entry.keys.as_slice() else {
                return false;
            };
            match key.name.as_str() {
                "server" => {
                    has_server = true;
                    section.header.is_none() && as_string(&entry.value).is_some_and(is_url)
                }
                "capabilities" => match &entry.value.kind {
                    ValueKind::Array(all) => all.iter().all(|one| {
                        as_string(one).is_some_and(|one| ["pull", "resolve", "push"].contains(&one))
                    }),
                    _ => false,
                },
                "override_path" | "ca" | "client" | "skip_verify" => true,
                _ => false,
            }
        };
        if !is_plain || !section.entries.iter().all(known) {
            return Plain::No;
        }
    }
    match has_host {
        true => Plain::Yes { has_server },
        false => Plain::No,
    }
}

/// Something in a hosts.toml that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Why, as a phrase.
    pub reason: String,
    /// Where in the file.
    pub range: Range<usize>,
    /// Whether the whole file is discarded, and not a part of it.
    pub whole: bool,
}

/// What this containerd discards of a hosts.toml in a directory that config_path calls `path`.
pub fn discarded(file: &HostsFile, path: &NodePath, behaviour: &Behaviour) -> Option<Discarded> {
    if file.is_empty() {
        return None;
    }
    let syntax = match file.read_by(behaviour.go_toml) {
        Ok(syntax) => syntax,
        // What this containerd may read is not discarded, whatever it is.
        Err(unread) if !unread.is_discarded => return None,
        Err(unread) => {
            return Some(Discarded {
                reason: unread.reason,
                range: unread.range,
                whole: true,
            });
        }
    };
    if let Err(broken) = parse(syntax, path, behaviour) {
        return Some(Discarded {
            reason: broken.reason,
            range: broken.range,
            whole: true,
        });
    }
    let part = |reason: &str, range| Discarded {
        reason: reason.to_owned(),
        range,
        whole: false,
    };
    for section in &syntax.sections {
        let below_host = section
            .header
            .as_ref()
            .is_some_and(|header| header.keys.first().is_some_and(|key| key.name == "host"));
        let server = section
            .entries
            .iter()
            .find(|entry| matches!(entry.keys.as_slice(), [key] if key.name == "server"));
        if let (true, Some(server)) = (below_host, server) {
            return Some(part(
                "`server` below a host table is a key of that table",
                server.range(),
            ));
        }
    }
    if behaviour.major == Major::Two {
        let seen: HashSet<&str> = header_hosts(syntax).into_iter().collect();
        let hosts = syntax.tree().table_at(&["host"]);
        let unseen = hosts
            .into_iter()
            .flat_map(Table::iter)
            .find(|node| node.table().is_some() && !seen.contains(node.key.name.as_str()));
        if let Some(node) = unseen {
            let reason = "containerd 2.x reads only hosts with a table header of their own";
            return Some(part(reason, node.key.range.clone()));
        }
    }
    None
}

/// Why containerd discards a whole hosts.toml, and where.
#[derive(Debug)]
struct Broken {
    reason: String,
    range: Range<usize>,
}

fn broken(node: &Node, reason: impl Into<String>) -> Broken {
    Broken {
        reason: reason.into(),
        range: node.range(),
    }
}

/// containerd's `hostConfig`.
#[derive(Clone, Debug, Default)]
struct HostEntry {
    scheme: String,
    host: String,
    path: Vec<u8>,
    /// `None` is all of them.
    capabilities: Option<Vec<String>>,
    ca: Option<Vec<String>>,
    client: Vec<(String, String)>,
    skip_verify: Option<bool>,
    headers: BTreeMap<String, Vec<String>>,
    /// Those of `ca` and `client` that are masked.
    masked: BTreeSet<String>,
    dial_timeout: bool,
    /// Where its name is.
    place: Option<Range<usize>>,
    /// Where the first of `ca`, `client` and `skip_verify` is.
    tls_place: Option<Range<usize>>,
}

impl HostEntry {
    /// The entry without a host is the namespace's own registry; what it says of path and capabilities is overwritten.
    fn make_default(&mut self, namespace: &str, behaviour: &Behaviour) {
        default_host(namespace).clone_into(&mut self.host);
        "https".clone_into(&mut self.scheme);
        let local = namespace != "docker.io"
            && match behaviour.local_default {
                LocalDefault::Https => false,
                LocalDefault::Http | LocalDefault::HttpsFirst => is_loopback(namespace),
            };
        if local {
            let port = url::split_host_port(namespace).map_or("", |(_, port)| port);
            let https_only = behaviour.local_default == LocalDefault::HttpsFirst
                && (port.is_empty() || port == "443");
            if !https_only {
                "http".clone_into(&mut self.scheme);
            }
            if behaviour.local_default == LocalDefault::Http || port != "80" {
                self.skip_verify = Some(true);
            }
        }
        self.path = b"/v2".to_vec();
        self.capabilities = None;
    }

    /// Why its CA cannot be read: an empty name is the directory itself.
    fn unreadable_ca(&self, directory: &NodePath) -> Option<String> {
        let directory = directory.as_str();
        let names_directory = |file: &String| file == directory;
        self.ca
            .iter()
            .flatten()
            .any(names_directory)
            .then(|| format!("the CA is the directory {directory}"))
    }

    /// The host as pulls use it; `None` if no request can reach it (a scheme that is not HTTP's, or no host).
    fn finish(self, behaviour: &Behaviour) -> Option<Host> {
        let tls_set = self.ca.is_some() || !self.client.is_empty() || self.skip_verify.is_some();
        let tls_set = tls_set || behaviour.dial_timeout_is_tls && self.dial_timeout;
        let port = url::split_host_port(&self.host).map_or("", |(_, port)| port);
        let https_first = tls_set
            && match behaviour.https_first {
                HttpsFirst::Never => false,
                HttpsFirst::OtherPort => !port.is_empty() && port != "80",
                HttpsFirst::NotPort80 => port != "80",
            };
        let scheme = match (self.scheme.as_str(), https_first) {
            ("https", _) => Scheme::Https,
            ("http", true) => Scheme::HttpsThenHttp,
            ("http", false) => Scheme::Http,
            _ => return None,
        };
        if self.host.is_empty() {
            return None;
        }
        let can = |name: &str| {
            self.capabilities
                .as_ref()
                .is_none_or(|all| all.iter().any(|c| c.eq_ignore_ascii_case(name)))
        };
        Some(Host {
            scheme,
            path: request_path(&self.path),
            pull: can("pull"),
            resolve: can("resolve"),
            host: self.host,
            tls: TlsSettings {
                ca: self.ca.unwrap_or_default(),
                client: self.client,
                skip_verify: self.skip_verify == Some(true),
                masked: self.masked,
            },
            headers: self.headers,
        })
    }
}

/// `loadHostDir`: a hosts.toml that is missing, empty or discarded leaves Docker's certificate files.
fn load(
    directory: &RegistryDirectory,
    path: &NodePath,
    behaviour: &Behaviour,
) -> Result<Vec<HostEntry>, String> {
    if let Some(reason) = &directory.unreadable {
        return Err(reason.clone());
    }
    if let Some(file) = &directory.hosts_file
        && !file.is_empty()
    {
        match file.read_by(behaviour.go_toml) {
            Ok(syntax) => {
                if let Ok(hosts) = parse(syntax, path, behaviour) {
                    return Ok(hosts);
                }
            }
            Err(unread) if !unread.is_discarded => {
                return Err(format!(
                    "`{path}/{HOSTS_FILE}` is not valid TOML, which containerd 1.x may read all the same"
                ));
            }
            Err(_) => {}
        }
    }
    let mut entry = HostEntry::default();
    for name in &directory.certificates {
        let file = path.join(name);
        if name.ends_with(".crt") {
            entry.ca.get_or_insert_default().push(file.to_string());
        } else if let Some(stem) = name.strip_suffix(".cert") {
            let key = format!("{stem}.key");
            let is_there = directory.certificates.binary_search(&key).is_ok();
            let key = is_there.then(|| path.join(&key).to_string());
            entry
                .client
                .push((file.to_string(), key.unwrap_or_default()));
        }
    }
    Ok(vec![entry])
}

/// `parseHostsFile`; an error means that the whole file counts for nothing.
fn parse(
    syntax: &Syntax,
    directory: &NodePath,
    behaviour: &Behaviour,
) -> Result<Vec<HostEntry>, Broken> {
    let tree = syntax.tree();
    let host_table = match find(tree, "host", behaviour.major)? {
        Some(node) => Some(
            node.table()
                .ok_or_else(|| broken(node, "`host` is not a table"))?,
        ),
        None => None,
    };
    let hosts = match behaviour.major {
        Major::One => {
            if host_table.is_none() && behaviour.host_table_required {
                return Err(Broken {
                    reason: "it has no `host` table".to_owned(),
                    range: 0..0,
                });
            }
            // go-toml v1 does not decode escapes in the names of tables.
            let headers = syntax.sections.iter().filter_map(|s| s.header.as_ref());
            let mut names = headers.flat_map(|header| &header.keys);
            if let Some(key) = names.find(|key| key.has_escapes()) {
                return Err(Broken {
                    reason:
                        "a table name has an escape sequence, which containerd 1.x does not decode"
                            .to_owned(),
                    range: key.range.clone(),
                });
            }
            host_table
                .into_iter()
                .flat_map(Table::iter)
                .map(|node| node.key.name.as_str())
                .collect()
        }
        Major::Two => header_hosts(syntax),
    };
    let mut entries = Vec::new();
    let mut seen = HashSet::new();
    // A second try of the same host asks the same question.
    for host in hosts.into_iter().filter(|host| seen.insert(*host)) {
        let Some(node) = host_table.and_then(|table| table.get(host)) else {
            continue;
        };
        let config = node
            .table()
            .ok_or_else(|| broken(node, format!("`host.{}` is not a table", shown_url(host))))?;
        entries.push(entry(Some((host, node)), config, directory, behaviour)?);
    }
    let server = string(tree, "server", behaviour.major)?;
    entries.push(entry(server, tree, directory, behaviour)?);
    Ok(entries)
}

/// `getSortedHosts` of 2.x: the second part of every `[host.…]` header that is not the one before it.
fn header_hosts(syntax: &Syntax) -> Vec<&str> {
    let mut hosts: Vec<&str> = Vec::new();
    for header in syntax
        .sections
        .iter()
        .filter_map(|section| section.header.as_ref())
    {
        if let [first, second, ..] = header.keys.as_slice()
            && first.name == "host"
            && hosts.last() != Some(&second.name.as_str())
        {
            hosts.push(&second.name);
        }
    }
    hosts
}

/// How many hosts the file may give: its headers, of which some may be of one host.
pub fn host_count(file: &HostsFile) -> usize {
    let syntax = GoToml::ALL
        .iter()
        .find_map(|reader| file.read_by(*reader).ok());
    let hosts = syntax.and_then(|syntax| syntax.tree().table_at(&["host"]));
    hosts.map_or(0, |hosts| hosts.iter().count())
}

/// `parseHostConfig`.
fn entry(
    server: Option<(&str, &Node)>,
    config: &Table,
    directory: &NodePath,
    behaviour: &Behaviour,
) -> Result<HostEntry, Broken> {
    let reader = behaviour.major;
    work::count(1);
    let mut entry = HostEntry::default();
    let override_path =
        boolean(config, "override_path", reader)?.unwrap_or_default() && behaviour.override_path;
    if let Some((server, node)) = server.filter(|(server, _)| !server.is_empty()) {
        // A name that begins with "http" gets no scheme, whatever follows.
        let url = if server.starts_with("http") {
            server.to_owned()
        } else {
            format!("https://{server}")
        };
        let url = url::parse(&url, behaviour.strict_colons).map_err(|error| {
            broken(
                node,
                format!(
                    "the URL {:?} cannot be parsed: {error}",
                    Content::Endpoint.shown(server)
                ),
            )
        })?;
        entry.path = url.path;
        if !entry.path.is_empty() {
            entry.path = url::clean_path(&entry.path);
        }
        let complete = !entry.path.is_empty() && entry.path.ends_with(b"/v2");
        if !complete && !override_path {
            entry.path.extend(b"/v2");
        }
        entry.scheme = url.scheme;
        entry.host = url.host;
        entry.place = Some(node.key.range.clone());
    }
    entry.skip_verify = boolean(config, "skip_verify", reader)?;
    if let Some(node) = find(config, "capabilities", reader)? {
        let capabilities = node
            .value()
            .and_then(strings)
            .ok_or_else(|| broken(node, "`capabilities` must be an array of strings"))?;
        for capability in &capabilities {
            match capability.to_lowercase().as_str() {
                "pull" | "resolve" | "push" => {}
                "referrers" if behaviour.referrers => {}
                _ => {
                    let name = shown_word(capability);
                    let reason = format!("the capability {name:?} does not exist");
                    return Err(broken(node, reason));
                }
            }
        }
        entry.capabilities = Some(capabilities).filter(|all| !all.is_empty());
    }
    let mut masked = BTreeSet::new();
    let mut absolute = |file: &str| {
        if file.starts_with('/') {
            return file.to_owned();
        }
        let path = directory.join(file).to_string();
        if !Content::Path.is_shown(file) {
            masked.insert(path.clone());
        }
        path
    };
    if let Some(node) = find(config, "ca", reader)? {
        let files = node
            .value()
            .and_then(string_or_strings)
            .ok_or_else(|| broken(node, "`ca` must be a string or strings"))?;
        entry.ca = Some(files.iter().map(|file| absolute(file)).collect());
    }
    if let Some(node) = find(config, "client", reader)? {
        let mut pair = |value: &Value| {
            let (certificate, key) = match &value.kind {
                ValueKind::String(certificate) => (certificate.as_str(), None),
                ValueKind::Array(pair) => match pair.as_slice() {
                    [certificate, key] => (as_string(certificate)?, Some(as_string(key)?)),
                    _ => return None,
                },
                _ => return None,
            };
            let certificate = absolute(certificate);
            Some((certificate, key.map(&mut absolute).unwrap_or_default()))
        };
        let pairs = match node.value().map(|value| (value, &value.kind)) {
            Some((_, ValueKind::Array(elements))) => elements.iter().map(&mut pair).collect(),
            Some((value, ValueKind::String(_))) => pair(value).map(|pair| vec![pair]),
            _ => None,
        };
        let reason = "`client` must be a string, strings or pairs of strings";
        entry.client = pairs.ok_or_else(|| broken(node, reason))?;
    }
    entry.masked = masked;
    if let Some(node) = find(config, "header", reader)? {
        let reason = "`header` must be a table of strings";
        for header in node.table().ok_or_else(|| broken(node, reason))?.iter() {
            let values = header
                .value()
                .and_then(string_or_strings)
                .ok_or_else(|| broken(header, reason))?;
            entry.headers.insert(header.key.name.to_string(), values);
        }
    }
    entry.dial_timeout =
        string(config, "dial_timeout", reader)?.is_some_and(|(text, _)| !text.is_empty());
    for key in ["ca", "client", "skip_verify"] {
        let place = find(config, key, reader)?.map(|node| node.key.range.clone());
        let places = [entry.tls_place.take(), place].into_iter().flatten();
        entry.tls_place = places.min_by_key(|place| place.start);
    }
    Ok(entry)
}

fn as_string(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let ValueKind::Array(elements) = &value.kind else {
        return None;
    };
    let strings = elements.iter().map(as_string);
    strings.map(|text| text.map(str::to_owned)).collect()
}

fn string_or_strings(value: &Value) -> Option<Vec<String>> {
    match as_string(value) {
        Some(text) => Some(vec![text.to_owned()]),
        None => strings(value),
    }
}

/// Looks up a struct key as the reader does: v1 takes the name as it is, or in capitals; v2 any case.
fn find<'a>(table: &'a Table, name: &str, reader: Major) -> Result<Option<&'a Node>, Broken> {
    Ok(match reader {
        Major::One => table
            .get(name)
            .or_else(|| table.get(&name.to_ascii_uppercase())),
        Major::Two => {
            let mut spellings = table
                .iter()
                .filter(|node| node.key.name.eq_ignore_ascii_case(name));
            let first = spellings.next();
            if let (Some(first), Some(_)) = (first, spellings.next()) {
                let reason = format!("`{name}` appears more than once, in different capitals");
                return Err(broken(first, reason));
            }
            first
        }
    })
}

fn string<'a>(
    table: &'a Table,
    name: &str,
    reader: Major,
) -> Result<Option<(&'a str, &'a Node)>, Broken> {
    let Some(node) = find(table, name, reader)? else {
        return Ok(None);
    };
    match node.value().and_then(as_string) {
        Some(text) => Ok(Some((text, node))),
        None => Err(broken(node, format!("`{name}` must be a string"))),
    }
}

fn boolean(table: &Table, name: &str, reader: Major) -> Result<Option<bool>, Broken> {
    let Some(node) = find(table, name, reader)? else {
        return Ok(None);
    };
    match node.value().map(|value| &value.kind) {
        Some(ValueKind::Boolean(value)) => Ok(Some(*value)),
        _ => Err(broken(node, format!("`{name}` must be `true` or `false`"))),
    }
}
