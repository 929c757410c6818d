//! The legacy registry settings of a config.toml, typed, each with its place.
//!
//! Keys are looked up with Go's rules, which differ between containerd 1.x and 2.x, so nothing here is derived with
//! serde. The model says what is written; what containerd makes of it is the business of `view` and `resolve`.

use std::collections::HashMap;

use super::lookup::Lookup;
use crate::containerd::release::Behaviour;
use crate::finding::{Place, Placed};
use crate::go::url::{self, GoUrlError};
use crate::node::NodePath;
use crate::secret::Secret;
pub use crate::secret::shown_name as quote_name;
use crate::toml::syntax::{Node, Table, Value, ValueKind};

/// Registry settings: those of one section of one file, or what several files give together.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// `config_path`, if it is set to something.
    pub config_path: Option<Placed<String>>,
    /// Where `config_path` is set to an empty string, which clears what an earlier file says.
    pub cleared_config_path: Option<Place>,
    /// The entries of `mirrors`, in file order.
    pub mirrors: Vec<Mirror>,
    /// The entries of `configs`, in file order.
    pub configs: Vec<HostConfig>,
    /// The entries of `auths`, in file order.
    pub auths: Vec<AuthsEntry>,
    /// `headers`, which containerd sends to every registry.
    pub headers: Headers,
    /// The settings that stay: `configs.*.auth`, `auths`, `headers` and what else is beside them.
    pub kept: Vec<Leaf>,
}

/// How the parts of a section's registry table are spelled, for edits.
#[derive(Clone, Debug)]
pub struct Spelling {
    /// Where the settings are: `plugins`, the plugin's name, `registry`, as they are spelled.
    pub table: [String; 3],
    /// How `config_path` is spelled, or would be.
    pub config_path: String,
    /// How `mirrors` is spelled, if it is there.
    pub mirrors: Option<String>,
    /// How `configs` is spelled, if it is there.
    pub configs: Option<String>,
}

/// Headers by name, with all values of each.
pub type Headers = HashMap<String, Vec<Secret>>;

/// What `configs.*.auth` or an entry of `auths` says: the known keys and their values.
pub type Credentials = HashMap<&'static str, Secret>;

/// The keys that containerd knows beside credentials.
const CREDENTIAL_KEYS: [&str; 4] = ["username", "password", "auth", "identitytoken"];

/// An entry of `auths`.
#[derive(Clone, Debug)]
pub struct AuthsEntry {
    /// Its name, a URL or a host.
    pub name: Placed<String>,
    /// What it says.
    pub credentials: Credentials,
}

impl AuthsEntry {
    /// The host that the credentials are for: with a scheme the name is a URL, which may have no host, else it is the
    /// host itself (`ValidatePluginConfig`, `pkg/cri/config/config.go@v1.7.34`:535).
    pub fn host(&self, strict_colons: bool) -> Result<String, GoUrlError> {
        let name = &self.name.value;
        let url = url::parse(name, strict_colons)?;
        Ok(match url.scheme.is_empty() {
            true => name.clone(),
            false => url.host,
        })
    }
}

/// A setting by its path below `registry`.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The path as an operator writes it, from `registry` on.
    pub name: String,
    /// The key.
    pub place: Place,
}

/// An entry of `mirrors`.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The namespace that it is for, or `*`.
    pub name: Placed<String>,
    /// The endpoints in order.
    pub endpoints: Vec<Placed<String>>,
    /// The key `endpoint`, if it is there.
    pub endpoint_key: Option<Place>,
    /// Keys that containerd does not know.
    pub unknown: Vec<Placed<String>>,
}

/// An entry of `configs`.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The host that it is for.
    pub name: Placed<String>,
    /// Its TLS settings, if there is a table of them, even an empty one.
    pub tls: Option<Tls>,
    /// How `tls` is spelled.
    pub tls_key: String,
    /// `auth`, if there is a table of it.
    pub auth: Option<Credentials>,
    /// Whether there is anything else in the entry.
    pub has_more: bool,
}

/// `configs.*.tls`. An empty string is the same as no setting, as in containerd.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The table, or its first mention.
    pub place: Place,
    /// `ca_file`.
    pub ca_file: Option<Placed<String>>,
    /// `ca_file`, if it was read and holds no certificate: containerd ignores what `AppendCertsFromPEM` says of it
    /// (`getTLSConfig`, `pkg/cri/server/image_pull.go@v1.7.34`:366), so it is as if it were not set.
    pub empty_ca_file: Option<Placed<String>>,
    /// `cert_file`.
    pub cert_file: Option<Placed<String>>,
    /// `key_file`.
    pub key_file: Option<Placed<String>>,
    /// `insecure_skip_verify`, if it is true.
    pub skip_verify: Option<Place>,
    /// Every key that is there and known.
    pub keys: Vec<Placed<String>>,
    /// Keys that containerd does not know.
    pub unknown: Vec<Placed<String>>,
}

impl Tls {
    /// Whether anything in it changes a connection.
    pub fn says_something(&self) -> bool {
        self.skip_verify.is_some() || self.files().next().is_some()
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Placed<String>> {
        let files = [&self.ca_file, &self.cert_file, &self.key_file];
        files.into_iter().flatten()
    }
}

impl Registry {
    /// Takes `ca_file` for not set where it is one of these, by its absolute path: containerd ignores a file in which it
    /// finds no certificate.
    pub fn ignore_ca_files(&mut self, is_ignored: impl Fn(&String) -> bool) {
        for tls in self
            .configs
            .iter_mut()
            .filter_map(|config| config.tls.as_mut())
        {
            let absolute = |file: &Placed<String>| absolute(&file.value);
            if tls
                .ca_file
                .as_ref()
                .map(absolute)
                .is_some_and(|path| is_ignored(&path))
            {
                tls.empty_ca_file = tls.ca_file.take();
            }
        }
    }

    /// The files that TLS settings name.
    pub fn certificate_files(&self) -> impl Iterator<Item = &Placed<String>> {
        let configs = self.configs.iter();
        configs
            .filter_map(|config| config.tls.as_ref())
            .flat_map(Tls::files)
    }

    /// Where each certificate file is named first.
    pub fn first_mentions(&self) -> HashMap<String, Place> {
        let mut mentions = HashMap::new();
        for file in self.certificate_files() {
            mentions
                .entry(absolute(&file.value))
                .or_insert_with(|| file.place.clone());
        }
        mentions
    }

    /// Every setting that has to have an outcome: those that go, and those that stay.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let mut push = |name: String, place: &Place| {
            leaves.push(Leaf {
                name,
                place: place.clone(),
            });
        };
        for mirror in &self.mirrors {
            let name = format!("registry.mirrors.{}", quote_name(&mirror.name.value));
            match &mirror.endpoint_key {
                Some(place) => push(format!("{name}.endpoint"), place),
                None => push(name.clone(), &mirror.name.place),
            }
            for key in &mirror.unknown {
                push(format!("{name}.{}", quote_name(&key.value)), &key.place);
            }
        }
        for config in &self.configs {
            let Some(tls) = &config.tls else { continue };
            let name = format!(
                "registry.configs.{}.{}",
                quote_name(&config.name.value),
                config.tls_key
            );
            if tls.keys.is_empty() && tls.unknown.is_empty() {
                push(name.clone(), &tls.place);
            }
            for key in tls.keys.iter().chain(&tls.unknown) {
                push(format!("{name}.{}", quote_name(&key.value)), &key.place);
            }
        }
        leaves.extend(self.kept.iter().cloned());
        leaves
    }

    /// Whether there is anything in it that could change a pull.
    pub fn says_something(&self) -> bool {
        self.config_path.is_some() || self.says_more_than_config_path()
    }

    /// Whether there is anything in it besides `config_path` that could change a pull.
    pub fn says_more_than_config_path(&self) -> bool {
        !self.mirrors.is_empty()
            || !self.configs.is_empty()
            || !self.auths.is_empty()
            || !self.headers.is_empty()
    }

    /// Whether there is anything in it besides `config_path` that could change a pull of this release: 2.x does not look at
    /// `configs.*.tls`.
    pub fn says_more_to(&self, behaviour: &Behaviour) -> bool {
        let tls = behaviour.reads_legacy_tls();
        !self.mirrors.is_empty()
            || !self.auths.is_empty()
            || !self.headers.is_empty()
            || self
                .configs
                .iter()
                .any(|config| config.has_more || tls && config.tls.is_some())
    }

    /// Whether it keeps containerd 2.1 and later from pulling through the transfer service
    /// (`CheckLocalImagePullConfigs`, `internal/cri/config/config.go@v2.1.9`:535).
    pub fn keeps_local_pull(&self) -> bool {
        !self.mirrors.is_empty() || !self.configs.is_empty() || !self.auths.is_empty()
    }

    /// Whether the file holds anything that has to go: a mirror, or a TLS table.
    pub fn has_legacy(&self) -> bool {
        !self.mirrors.is_empty() || self.configs.iter().any(|config| config.tls.is_some())
    }

    /// Whether `config_path` names one directory by its whole path, so that it can stay as it is.
    pub fn config_path_stays(&self) -> bool {
        let path = self.config_path.as_ref().map(|path| path.value.as_str());
        path.is_some_and(|path| path.starts_with('/') && !path.contains(':'))
    }

    /// Whether nothing is left of it when that goes.
    pub fn is_all_legacy(&self) -> bool {
        let goes = |config: &HostConfig| config.tls.is_some() && !config.has_more;
        self.config_path.is_none()
            && self.cleared_config_path.is_none()
            && self.auths.is_empty()
            && self.kept.is_empty()
            && self.configs.iter().all(goes)
    }

    /// The directories of `config_path`, as containerd splits it.
    pub fn config_paths(&self) -> Vec<&str> {
        self.config_path
            .iter()
            .flat_map(|path| path.value.split(':'))
            .collect()
    }

    /// Whether there is something to migrate: legacy settings, or one relative `config_path`.
    pub fn pending(&self) -> bool {
        self.has_legacy()
            || matches!(self.config_paths().as_slice(), [path] if !path.starts_with('/'))
    }
}

/// A path in config.toml as containerd opens it: a relative one from its working directory, which is `/` under systemd.
pub fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        NodePath::new(path).to_string()
    }
}

/// Reads the registry table of a section.
pub(super) fn read(
    lookup: &mut Lookup<'_, '_>,
    table: &Table,
    path: [String; 3],
) -> (Registry, Spelling) {
    let config_path_node = lookup.find(table, "config_path");
    let mirrors_node = lookup.find(table, "mirrors");
    let configs_node = lookup.find(table, "configs");
    let mut registry = Registry {
        config_path: config_path_node.and_then(|node| lookup.string(node)),
        ..Registry::default()
    };
    match (config_path_node, &registry.config_path) {
        (Some(node), Some(path)) if path.value.contains(char::is_control) => {
            lookup.wrong_type(node, "a path without control characters");
        }
        (Some(node), None) if node.value().is_some_and(is_empty_string) => {
            registry.cleared_config_path = Some(lookup.key_place(node));
        }
        _ => {}
    }
    for (node, is_mirror) in [(mirrors_node, true), (configs_node, false)] {
        let Some(node) = node else { continue };
        for (entry, table) in lookup.tables(node) {
            if is_mirror {
                registry.mirrors.push(mirror(lookup, entry, table));
                continue;
            }
            let config = host_config(lookup, entry, table);
            let name = format!("registry.configs.{}", quote_name(&entry.key.name));
            for child in table
                .iter()
                .filter(|child| child.key.name != config.tls_key)
            {
                leaves(lookup, child, &name, &mut registry.kept);
            }
            registry.configs.push(config);
        }
    }
    if let Some(node) = lookup.find(table, "auths") {
        for (entry, table) in lookup.tables(node) {
            registry.auths.push(AuthsEntry {
                name: lookup
                    .file
                    .placed(entry.key.name.to_string(), entry.key.range.clone()),
                credentials: credentials(lookup, table),
            });
        }
    }
    if let Some(node) = lookup.find(table, "headers") {
        match node.table() {
            Some(table) => registry.headers = headers(lookup, table),
            None => lookup.wrong_type(node, "a table"),
        }
    }
    for node in table.iter() {
        let handled = [mirrors_node, configs_node]
            .iter()
            .flatten()
            .any(|n| n.key == node.key);
        if !handled && !node.key.name.eq_ignore_ascii_case("config_path") {
            leaves(lookup, node, "registry", &mut registry.kept);
        }
    }
    let key = |node: Option<&Node>| node.map(|node| node.key.name.to_string());
    let spelling = Spelling {
        table: path,
        config_path: key(config_path_node).unwrap_or_else(|| "config_path".to_owned()),
        mirrors: key(mirrors_node),
        configs: key(configs_node),
    };
    (registry, spelling)
}

fn is_empty_string(value: &Value) -> bool {
    matches!(&value.kind, ValueKind::String(text) if text.is_empty())
}

fn leaves(lookup: &Lookup<'_, '_>, node: &Node, above: &str, all: &mut Vec<Leaf>) {
    let name = format!("{above}.{}", quote_name(&node.key.name));
    match node.table() {
        Some(table) => {
            for child in table.iter() {
                leaves(lookup, child, &name, all);
            }
        }
        None => all.push(Leaf {
            name,
            place: lookup.key_place(node),
        }),
    }
}

fn mirror(lookup: &mut Lookup<'_, '_>, entry: &Node, table: &Table) -> Mirror {
    let endpoint = lookup.find(table, "endpoint");
    let endpoints = endpoint
        .map(|node| lookup.strings(node))
        .unwrap_or_default();
    Mirror {
        name: lookup
            .file
            .placed(entry.key.name.to_string(), entry.key.range.clone()),
        endpoints,
        endpoint_key: endpoint.map(|node| lookup.key_place(node)),
        unknown: lookup.unknown(table, &[endpoint]),
    }
}

fn host_config(lookup: &mut Lookup<'_, '_>, entry: &Node, table: &Table) -> HostConfig {
    let tls_node = lookup.find(table, "tls");
    let mut tls_settings = None;
    if let Some(node) = tls_node {
        lookup.in_tls = true;
        match node.table() {
            Some(table) => tls_settings = Some(tls(lookup, node, table)),
            None => lookup.wrong_type(node, "a table"),
        }
        lookup.in_tls = false;
    }
    let auth = lookup.find(table, "auth").and_then(|node| {
        if node.table().is_none() {
            lookup.wrong_type(node, "a table");
        }
        Some(credentials(lookup, node.table()?))
    });
    HostConfig {
        name: lookup
            .file
            .placed(entry.key.name.to_string(), entry.key.range.clone()),
        tls: tls_settings,
        tls_key: tls_node
            .map_or("tls", |node| node.key.name.as_str())
            .to_owned(),
        auth,
        has_more: table
            .iter()
            .any(|child| tls_node.is_none_or(|tls| tls.key != child.key)),
    }
}

fn tls(lookup: &mut Lookup<'_, '_>, node: &Node, table: &Table) -> Tls {
    let names = ["ca_file", "cert_file", "key_file", "insecure_skip_verify"];
    let [ca_file, cert_file, key_file, skip_verify] = names.map(|name| lookup.find(table, name));
    let known = [ca_file, cert_file, key_file, skip_verify];
    let mut path = |node: Option<&Node>| node.and_then(|node| lookup.string(node));
    let (ca_file, cert_file, key_file) = (path(ca_file), path(cert_file), path(key_file));
    let skips = skip_verify.filter(|node| lookup.boolean(node) == Some(true));
    let keys = known.iter().flatten();
    Tls {
        place: lookup.file.place(
            node.header
                .clone()
                .unwrap_or_else(|| node.key.range.clone()),
        ),
        ca_file,
        empty_ca_file: None,
        cert_file,
        key_file,
        skip_verify: skips.map(|node| lookup.key_place(node)),
        keys: keys
            .map(|node| {
                lookup
                    .file
                    .placed(node.key.name.to_string(), node.key.range.clone())
            })
            .collect(),
        unknown: lookup.unknown(table, &known),
    }
}

/// What a table says about credentials (`AuthConfig`, `pkg/cri/config/config.go@v1.7.34`).
fn credentials(lookup: &mut Lookup<'_, '_>, table: &Table) -> Credentials {
    let nodes = CREDENTIAL_KEYS.map(|name| lookup.find(table, name));
    let known = CREDENTIAL_KEYS.into_iter().zip(nodes);
    known
        .filter_map(|(name, node)| Some((name, Secret::new(lookup.string(node?)?.value))))
        .collect()
}

fn headers(lookup: &mut Lookup<'_, '_>, table: &Table) -> Headers {
    table
        .iter()
        .map(|node| {
            let values = lookup.strings(node);
            let values = values.into_iter().map(|value| Secret::new(value.value));
            (node.key.name.to_string(), values.collect())
        })
        .collect()
}
