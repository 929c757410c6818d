//! The world outside of one node: which hosts speak plain HTTP, whose certificate is signed by whom,
//! who wants credentials. It is read from the legacy settings (and hosts files that were there
//! before), so that it is the same before and after a migration and every setting matters:
//! a host with a `ca_file` cannot be reached without it, one with `insecure_skip_verify` is signed by
//! nobody, one with credentials asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml_edit::{DocumentMut, Item, TableLike};

use crate::certificates::{Certificates, Signer};

/// An image that one host really has.
pub(crate) struct ServedImage {
    /// `host` or `host:port` that serves it, and the path before the repository's name.
    pub(crate) host: String,
    pub(crate) prefix: String,
    /// Answered only to this client certificate.
    pub(crate) client: String,
    /// Manifest and blobs by what stands after the repository's name: media type and bytes.
    pub(crate) contents: BTreeMap<String, (String, Vec<u8>)>,
    /// What of `contents` comes in part only, and how much of it.
    pub(crate) stalled: Option<(String, Stall)>,
}

/// Where an answer stops while its connection stays.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stall {
    /// Before its head.
    Head,
    /// After so many bytes of its body.
    Body(usize),
}

/// What the daemons of a case meet.
pub(crate) struct World {
    pub(crate) certificates: Certificates,
    /// The path of config.toml on the node.
    pub(crate) config: PathBuf,
    /// Hosts that know plain HTTP only, each with its port.
    plain: BTreeSet<String>,
    signers: BTreeMap<String, Signer>,
    credentials: BTreeSet<String>,
    /// Every port that is named anywhere: on loopback they are listened on.
    pub(crate) ports: BTreeSet<u16>,
    /// Namespaces whose images are worth a pull.
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) image: Option<ServedImage>,
    /// How long a pull may take.
    pub(crate) patience: Duration,
}

impl World {
    /// Reads what a node names, and puts certificates where it names them.
    pub(crate) fn of(tree: &Path, config: &str) -> World {
        let mut world = World {
            certificates: Certificates::new(),
            config: config.into(),
            plain: BTreeSet::new(),
            signers: BTreeMap::new(),
            credentials: BTreeSet::new(),
            ports: BTreeSet::from([80, 443]),
            namespaces: BTreeSet::from(["docker.io".to_string(), "unnamed.example".to_string()]),
            image: None,
            patience: Duration::from_secs(60),
        };
        let mut urls = Vec::new();
        let files = toml_files(tree);
        for (_, document) in &files {
            let Some(plugins) = document.get("plugins").and_then(Item::as_table_like) else {
                continue;
            };
            for (_, plugin) in plugins.iter() {
                if let Some(registry) = child(plugin, "registry") {
                    world.read_registry(tree, registry, &mut urls);
                }
                write_runtime_specifications(tree, plugin);
            }
        }
        for (path, document) in &files {
            if path.file_name().is_some_and(|name| name == "hosts.toml") {
                world.read_hosts(tree, path, document, &mut urls);
            }
        }
        world.read_certificate_directories(tree);
        world.read_urls(&urls);
        world
            .namespaces
            .retain(|namespace| can_be_pulled(namespace));
        world
    }

    fn read_registry(&mut self, tree: &Path, registry: &dyn TableLike, urls: &mut Vec<String>) {
        for (namespace, mirror) in children(registry, "mirrors") {
            self.namespaces.insert(namespace);
            let endpoints = mirror.and_then(|mirror| mirror.get("endpoint")?.as_array());
            for endpoint in endpoints
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str())
            {
                urls.push(with_scheme(endpoint));
            }
        }
        for (host, config) in children(registry, "configs") {
            let Some(config) = config else { continue };
            if config.get("auth").is_some() {
                self.credentials.insert(host.clone());
            }
            let Some(tls) = config.get("tls").and_then(Item::as_table_like) else {
                continue;
            };
            self.namespaces.insert(host.clone());
            let text = |key: &str| {
                let value = tls.get(key).and_then(Item::as_str).unwrap_or_default();
                (!value.is_empty()).then(|| absolute("/", value))
            };
            if let (Some(certificate), Some(key)) = (text("cert_file"), text("key_file")) {
                self.write_pair(tree, &certificate, &key);
            }
            let signer = text("ca_file").map(|path| self.write_authority(tree, &path));
            let skips = tls.get("insecure_skip_verify").and_then(Item::as_bool) == Some(true);
            let signer = if skips { Some(Signer::Rogue) } else { signer };
            self.signers
                .entry(host)
                .or_insert(signer.unwrap_or(Signer::System));
        }
        for (key, _) in children(registry, "auths") {
            let host = key
                .split_once("://")
                .map_or(key.as_str(), |(_, after)| after);
            self.credentials
                .insert(host.split('/').next().unwrap_or_default().to_string());
        }
    }

    /// A hosts file that was there before.
    fn read_hosts(
        &mut self,
        tree: &Path,
        path: &Path,
        document: &DocumentMut,
        urls: &mut Vec<String>,
    ) {
        let directory = path.parent().unwrap_or(path);
        let inside = Path::new("/").join(directory.strip_prefix(tree).unwrap_or(directory));
        let inside = inside.to_string_lossy();
        let namespace = namespace_of(directory);
        self.namespaces.insert(namespace.clone());
        let server = document
            .get("server")
            .and_then(Item::as_str)
            .unwrap_or(&namespace);
        let mut entries = vec![(server.to_string(), document.as_table() as &dyn TableLike)];
        for (host, table) in children(document.as_table(), "host") {
            if let Some(table) = table {
                entries.push((host, table));
            }
        }
        for (url, table) in entries {
            let url = if url.contains("://") {
                url
            } else {
                format!("https://{url}")
            };
            let (_, host, _) = split_url(&url);
            urls.push(url.clone());
            for client in strings(table.get("client")).chunks(2) {
                if let [certificate, key] = client {
                    self.write_pair(
                        tree,
                        &absolute(&inside, certificate),
                        &absolute(&inside, key),
                    );
                }
            }
            let mut signer = None;
            for authority in strings(table.get("ca")) {
                let written = self.write_authority(tree, &absolute(&inside, &authority));
                signer.get_or_insert(written);
            }
            if table.get("skip_verify").and_then(Item::as_bool) == Some(true) {
                signer = Some(Signer::Rogue);
            }
            if let Some(signer) = signer {
                self.signers.entry(host).or_insert(signer);
            }
        }
    }

    /// Docker's own layout: certificates beside, or instead of, a hosts file.
    fn read_certificate_directories(&mut self, tree: &Path) {
        for root in ["etc/containerd/certs.d", "etc/docker/certs.d"] {
            for directory in entries(&tree.join(root))
                .into_iter()
                .filter(|path| path.is_dir())
            {
                let namespace = namespace_of(&directory);
                self.namespaces.insert(namespace.clone());
                for file in entries(&directory) {
                    let inside = format!("/{}", file.strip_prefix(tree).unwrap().display());
                    match file.extension().and_then(|extension| extension.to_str()) {
                        Some("crt") => {
                            let signer = self.write_authority(tree, &inside);
                            self.signers.entry(namespace.clone()).or_insert(signer);
                        }
                        Some("cert") => {
                            let key = format!("{}.key", inside.trim_end_matches(".cert"));
                            self.write_pair(tree, &inside, &key);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn read_urls(&mut self, urls: &[String]) {
        let mut secure = BTreeSet::new();
        let mut plain = BTreeSet::new();
        let named: Vec<_> = self
            .namespaces
            .iter()
            .map(|name| with_scheme(name))
            .collect();
        for (url, is_endpoint) in urls
            .iter()
            .map(|url| (url, true))
            .chain(named.iter().map(|url| (url, false)))
        {
            let (scheme, host, port) = split_url(url);
            self.ports.insert(port);
            if !is_endpoint {
                continue;
            }
            // Registries on loopback that no setting names are not pulled from: see `expected`.
            if !is_loopback(without_port(&host)) {
                self.namespaces.insert(host.clone());
            }
            let known = canonical(&host, port);
            if scheme == "http" {
                plain.insert(known)
            } else {
                secure.insert(known)
            };
        }
        // A registry on loopback that nothing else says anything about speaks plain HTTP.
        for url in named.iter().filter(|url| url.starts_with("http://")) {
            let (_, host, port) = split_url(url);
            plain.insert(canonical(&host, port));
        }
        self.plain = plain.difference(&secure).cloned().collect();
    }

    /// Writes a private authority; a file that is there and holds no certificate stays as it is,
    /// since that is what the case is about.
    fn write_authority(&mut self, tree: &Path, path: &str) -> Signer {
        if is_without(tree, path, "-----BEGIN CERTIFICATE") {
            return Signer::System;
        }
        let pem = self.certificates.authority_pem(path).to_string();
        write_inside(tree, path, &pem);
        Signer::Private(path.to_string())
    }

    fn write_pair(&mut self, tree: &Path, certificate: &str, key: &str) {
        let is_no_pem = |path| is_without(tree, path, "-----BEGIN ");
        if is_no_pem(certificate) || is_no_pem(key) {
            return;
        }
        self.certificates.client_pair(certificate, key);
        for path in [certificate, key] {
            if let Some(pem) = self.certificates.client_pem(path) {
                write_inside(tree, path, pem);
            }
        }
    }

    pub(crate) fn speaks_plain_only(&self, host: &str, port: u16) -> bool {
        self.plain.contains(&canonical(host, port))
    }

    pub(crate) fn signer(&self, host: &str, port: u16) -> Signer {
        let found = spellings(host, port).find_map(|name| self.signers.get(&name).cloned());
        found.unwrap_or(Signer::System)
    }

    pub(crate) fn wants_credentials(&self, host: &str, port: u16) -> bool {
        spellings(host, port).any(|name| self.credentials.contains(&name))
    }

    /// Where the answer to a request for this path stops, if it does.
    pub(crate) fn stall(&self, path: &str) -> Option<Stall> {
        let (content, stall) = self.image.as_ref()?.stalled.as_ref()?;
        path.ends_with(content).then_some(*stall)
    }
}

/// How a configuration may name the host at this port.
fn spellings(host: &str, port: u16) -> impl Iterator<Item = String> {
    let names = match is_loopback(host) {
        true => vec!["localhost", "127.0.0.1", "[::1]"],
        false => vec![host],
    };
    let own_port = port == 443 || port == 80;
    let both = names.into_iter().flat_map(move |name| {
        [
            Some(format!("{name}:{port}")),
            own_port.then(|| name.to_string()),
        ]
    });
    both.flatten().collect::<Vec<_>>().into_iter()
}

/// All names of loopback are one host.
fn canonical(host: &str, port: u16) -> String {
    let name = without_port(host);
    let name = if is_loopback(name) { "localhost" } else { name };
    format!("{}:{port}", name.to_ascii_lowercase())
}

pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

pub(crate) fn is_loopback(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// containerd's rule for an endpoint that is written without a scheme.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") {
        return endpoint.to_string();
    }
    let host = endpoint.split('/').next().unwrap_or_default();
    let scheme = if is_loopback(without_port(host)) {
        "http"
    } else {
        "https"
    };
    format!("{scheme}://{endpoint}")
}

/// Scheme, host as written without user info, and port.
pub(crate) fn split_url(url: &str) -> (String, String, u16) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let own = if scheme == "http" { 80 } else { 443 };
    let port = match host.rsplit_once(':') {
        Some((_, port)) => port.parse().unwrap_or(own),
        None => own,
    };
    (scheme, host.to_string(), port)
}

/// Whether the name can be the first part of an image's name and is looked up as it is.
fn can_be_pulled(namespace: &str) -> bool {
    let name = match namespace.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) => return false,
        None => namespace,
    };
    let labels = name.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    // Without a port, what may be a part of a repository is as good as a host.
    let is_part = name == namespace
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte)
        })
        && !name.split(['.', '_']).any(str::is_empty);
    let is_host = namespace.contains(['.', ':']) || namespace == "localhost";
    (labels || is_part) && is_host && namespace != "index.docker.io"
}

/// The namespace that a directory below `certs.d` is for.
fn namespace_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    match name
        .strip_suffix('_')
        .and_then(|name| name.rsplit_once('_'))
    {
        Some((host, port)) => format!("{host}:{port}"),
        None => name.into_owned(),
    }
}

fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_string();
    }
    format!("{}/{path}", directory.trim_end_matches('/'))
}

/// Whether there is a file already, which does not hold this.
fn is_without(tree: &Path, path: &str, what: &str) -> bool {
    let there = fs::read(tree.join(path.trim_start_matches('/')));
    there.is_ok_and(|bytes| !String::from_utf8_lossy(&bytes).contains(what))
}

/// CRI does not load without the files that runtimes are based on, and fixtures do without them.
fn write_runtime_specifications(tree: &Path, plugin: &Item) {
    let runtimes = child(plugin, "containerd").map(|containerd| children(containerd, "runtimes"));
    for (_, runtime) in runtimes.into_iter().flatten() {
        let path = runtime.and_then(|runtime| runtime.get("base_runtime_spec")?.as_str());
        if let Some(path) = path.filter(|path| !path.is_empty())
            && !tree.join(path.trim_start_matches('/')).exists()
        {
            write_inside(tree, path, r#"{"ociVersion":"1.0.2"}"#);
        }
    }
}

/// Writes below the tree and never through a link, which could lead out of it.
fn write_inside(tree: &Path, path: &str, text: &str) {
    let relative: PathBuf = Path::new(path)
        .components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .collect();
    let target = tree.join(&relative);
    let through_a_link = target
        .ancestors()
        .take_while(|ancestor| *ancestor != tree)
        .any(|ancestor| ancestor.is_symlink());
    if through_a_link || target.is_dir() {
        return;
    }
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(target, text).unwrap();
}

/// The strings of a string, of an array of strings, or of an array of arrays of strings.
fn strings(item: Option<&Item>) -> Vec<String> {
    fn of_value(value: &toml_edit::Value, into: &mut Vec<String>) {
        if let Some(text) = value.as_str() {
            into.push(text.to_string());
        }
        for element in value.as_array().into_iter().flatten() {
            of_value(element, into);
        }
    }
    let mut found = Vec::new();
    if let Some(value) = item.and_then(Item::as_value) {
        of_value(value, &mut found);
    }
    found
}

fn child<'item>(item: &'item Item, key: &str) -> Option<&'item dyn TableLike> {
    item.as_table_like()?.get(key)?.as_table_like()
}

/// The entries of a table in a table; what is no table itself comes as `None`.
fn children<'table>(
    table: &'table dyn TableLike,
    key: &str,
) -> Vec<(String, Option<&'table dyn TableLike>)> {
    let Some(table) = table.get(key).and_then(Item::as_table_like) else {
        return Vec::new();
    };
    table
        .iter()
        .map(|(key, item)| (key.to_string(), item.as_table_like()))
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Every TOML file below a directory.
pub(crate) fn toml_paths(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(directory) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(toml_paths(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(path);
        }
    }
    found
}

/// Every TOML file below a directory that parses.
fn toml_files(directory: &Path) -> Vec<(PathBuf, DocumentMut)> {
    let parsed = toml_paths(directory).into_iter().filter_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        let document = text.trim_start_matches('\u{feff}').parse().ok()?;
        Some((path, document))
    });
    parsed.collect()
}
