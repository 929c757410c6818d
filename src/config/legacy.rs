//! The legacy registry settings of a config.toml, typed, each with its place.
//!
//! Keys are looked up with Go's rules, which differ between containerd 1.x and 2.x, so nothing here is derived with
//! serde. The model says what is written; what containerd makes of it is the business of `resolve`.

use std::collections::HashSet;

use super::ConfigFile;
use super::syntax::{Node, Table, Value, ValueKind};
use crate::finding::{self, Findings, Place, Placed};
use crate::version::TomlReader;

/// The names of the CRI plugin's table that holds `registry`, by the file's version.
const PLUGIN_IDS: [(&str, &[i64]); 3] = [
    ("cri", &[1]),
    ("io.containerd.grpc.v1.cri", &[2]),
    ("io.containerd.cri.v1.images", &[3, 4]),
];

/// The registry settings of one file.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The file's version, 1 to 4.
    pub version: i64,
    /// Where the settings are: `plugins`, the plugin's name, `registry`, as they are spelled.
    pub table: [String; 3],
    /// How `config_path` is spelled, or would be.
    pub config_path_key: String,
    /// `config_path`, if it is set to something.
    pub config_path: Option<Placed<String>>,
    /// The entries of `mirrors`, in file order.
    pub mirrors: Vec<Mirror>,
    /// The entries of `configs`, in file order.
    pub configs: Vec<HostConfig>,
    /// How `mirrors` is spelled, if it is there.
    pub mirrors_key: Option<String>,
    /// How `configs` is spelled, if it is there.
    pub configs_key: Option<String>,
    /// The settings that stay: `configs.*.auth`, `auths`, `headers` and what else is beside them.
    pub kept: Vec<Leaf>,
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

impl Registry {
    /// Whether the file holds anything that has to go: a mirror, or a TLS table.
    pub fn has_legacy(&self) -> bool {
        !self.mirrors.is_empty() || self.configs.iter().any(|config| config.tls.is_some())
    }

    /// The directories of `config_path`, as containerd splits it.
    pub fn config_paths(&self) -> Vec<&str> {
        self.config_path
            .iter()
            .flat_map(|path| path.value.split(':'))
            .collect()
    }

    /// Whether there is something to migrate (design §3): legacy settings, or one relative `config_path`.
    pub fn pending(&self) -> bool {
        self.has_legacy()
            || matches!(self.config_paths().as_slice(), [path] if !path.starts_with('/'))
    }
}

/// Writes a name as a part of a setting's path: bare where TOML allows it and it has no dot.
pub fn quote_name(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        super::edit::quote(name, false)
    }
}

/// Looks up what containerd's Go structs would find, for all of several readers at once.
struct Reader<'a> {
    file: &'a ConfigFile,
    readers: &'a [TomlReader],
    findings: &'a mut Findings,
    /// Where the keys stand that are a finding because of their capitals; they are not unknown as well.
    wrong_case: HashSet<usize>,
}

/// Reads the registry settings of `file` as all of `readers` would.
///
/// `None` if the file has no such settings, or none that could be understood; what cannot be is a finding.
pub fn read(
    file: &ConfigFile,
    readers: &[TomlReader],
    findings: &mut Findings,
) -> Option<Registry> {
    let mut reader = Reader {
        file,
        readers,
        findings,
        wrong_case: HashSet::new(),
    };
    let version = reader.version()?;
    let (plugins_key, plugins) = reader.child_table(&file.tree, "plugins")?;
    let (id, _) = PLUGIN_IDS
        .iter()
        .find(|(_, versions)| versions.contains(&version.max(1)))?;
    let others = PLUGIN_IDS
        .iter()
        .map(|(other, _)| *other)
        .filter(|other| other != id);
    let own = plugins
        .get(id)
        .and_then(Node::table)
        .and_then(|plugin| reader.child_table(plugin, "registry"))
        .map(|(key, table)| {
            let path = [plugins_key, id, key].map(str::to_owned);
            reader.registry(table, path, version.max(1))
        });
    let pending = own.as_ref().is_some_and(Registry::pending);

    if version == 0 {
        let all = std::iter::once(*id).chain(others);
        if let Some(place) = all
            .filter_map(|id| reader.settings_below(plugins, id, false))
            .next()
        {
            reader.findings.add(
                &finding::VERSION_MISSING,
                place,
                "registry settings in a file without a `version`",
                "containerd 1.x takes the file for version 1, 2.0 to 2.2 drop its CRI section, 2.3 reads it: \
                 put `version = 2` in the first line if the sections are `io.containerd.grpc.v1.cri`, \
                 and try that on one node first",
            );
        }
        return None;
    }
    for other in others {
        if let Some(place) = reader.settings_below(plugins, other, pending) {
            reader.findings.add(
                &finding::OTHER_PLUGIN_ID,
                place,
                format!("registry settings under `{other}`, which is not the name that a version {version} file has"),
                format!("some containerd versions read them and others do not; move them under `{id}` or remove them"),
            );
        }
    }
    own
}

impl<'a> Reader<'a> {
    /// The file's version; 0 if it says none.
    fn version(&mut self) -> Option<i64> {
        let Some(node) = self.find(&self.file.tree, "version") else {
            return Some(0);
        };
        match node.value().map(|value| &value.kind) {
            Some(ValueKind::Integer(version @ 0..=4)) => Some(*version),
            Some(ValueKind::Integer(version)) => {
                self.findings.add(
                    &finding::UNSUPPORTED_VERSION,
                    self.place_of(node),
                    format!("config.toml of version {version}"),
                    "containerd knows the versions 1 to 4; a newer file needs a newer release of this program",
                );
                None
            }
            _ => {
                self.wrong_type(node, "an integer such as `version = 2`");
                None
            }
        }
    }

    fn place_of(&self, node: &Node) -> Place {
        let end = node
            .value()
            .map_or(node.key.range.end, |value| value.range.end);
        // A table's key stands in a header; the value of another one may stand far away if it was given twice.
        self.file
            .place(node.key.range.start..end.max(node.key.range.end))
    }

    fn key_place(&self, node: &Node) -> Place {
        self.file.place(node.key.range.clone())
    }

    fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.findings.add(
            &finding::WRONG_TYPE,
            self.place_of(node),
            format!("`{}` must be {expected}", node.key.name),
            "containerd does not start with this value; mend it",
        );
    }

    /// The child that Go finds for the struct key `name`.
    ///
    /// go-toml v1 takes the name as it is in the struct's tag, or all in capitals; v2 takes any case, and the last
    /// one of several. Where the readers disagree, it is a finding.
    fn find(&mut self, table: &'a Table, name: &str) -> Option<&'a Node> {
        let candidates: Vec<&Node> = table
            .iter()
            .filter(|node| node.key.name.eq_ignore_ascii_case(name))
            .collect();
        let &[candidate] = candidates.as_slice() else {
            for node in candidates {
                self.key_case(node, name);
            }
            return None;
        };
        let spelled = candidate.key.name.as_str();
        if spelled == name {
            return Some(candidate);
        }
        let reads = |reader: &TomlReader| match reader {
            TomlReader::One => spelled == name.to_ascii_uppercase(),
            TomlReader::Two => true,
        };
        if self.readers.iter().all(reads) {
            return Some(candidate);
        }
        if self.readers.iter().any(reads) {
            self.key_case(candidate, name);
        }
        None
    }

    fn key_case(&mut self, node: &Node, name: &str) {
        self.wrong_case.insert(node.key.range.start);
        self.findings.add(
            &finding::KEY_CASE,
            self.key_place(node),
            format!(
                "`{}` is not read alike by every containerd from --from to --to",
                node.key.name
            ),
            format!("write `{name}` if it is meant, once, or remove it"),
        );
    }

    /// The table that Go finds for the struct key `name`, and how it is spelled.
    fn child_table(&mut self, table: &'a Table, name: &str) -> Option<(&'a str, &'a Table)> {
        let node = self.find(table, name)?;
        if node.table().is_none() {
            self.wrong_type(node, "a table");
        }
        Some((&node.key.name, node.table()?))
    }

    /// The first legacy setting (or, with `any`, the first setting at all) in the registry table of a plugin.
    fn settings_below(&self, plugins: &'a Table, id: &str, any: bool) -> Option<Place> {
        let registry = plugins.table_at(&[id, "registry"])?;
        registry.iter().find_map(|node| {
            let children = node.table();
            let legacy = match node.key.name.to_ascii_lowercase().as_str() {
                "mirrors" => children.is_some_and(|mirrors| !mirrors.is_empty()),
                "configs" => children.is_some_and(|configs| {
                    configs
                        .iter()
                        .any(|config| config.table().is_some_and(|c| c.get("tls").is_some()))
                }),
                _ => false,
            };
            let set = children.is_none_or(|children| !children.is_empty());
            (legacy || any && set).then(|| self.key_place(node))
        })
    }

    fn registry(&mut self, table: &'a Table, path: [String; 3], version: i64) -> Registry {
        let config_path_node = self.find(table, "config_path");
        let config_path = config_path_node.and_then(|node| self.string(node));
        if let (Some(node), Some(path)) = (config_path_node, &config_path)
            && path.value.contains(char::is_control)
        {
            self.wrong_type(node, "a path without control characters");
        }
        let mirrors_node = self.find(table, "mirrors");
        let configs_node = self.find(table, "configs");
        let mut registry = Registry {
            version,
            table: path,
            config_path_key: config_path_node
                .map_or("config_path", |node| node.key.name.as_str())
                .to_owned(),
            config_path,
            mirrors: Vec::new(),
            configs: Vec::new(),
            mirrors_key: mirrors_node.map(|node| node.key.name.clone()),
            configs_key: configs_node.map(|node| node.key.name.clone()),
            kept: Vec::new(),
        };
        for (node, is_mirror) in [(mirrors_node, true), (configs_node, false)] {
            let Some(node) = node else { continue };
            let Some(entries) = node.table() else {
                self.wrong_type(node, "a table");
                continue;
            };
            for entry in entries.iter() {
                let Some(table) = entry.table() else {
                    self.wrong_type(entry, "a table");
                    continue;
                };
                if is_mirror {
                    let mirror = self.mirror(entry, table);
                    registry.mirrors.push(mirror);
                } else {
                    let config = self.host_config(entry, table);
                    let name = format!("registry.configs.{}", quote_name(&entry.key.name));
                    for child in table
                        .iter()
                        .filter(|child| child.key.name != config.tls_key)
                    {
                        self.leaves(child, &name, &mut registry.kept);
                    }
                    registry.configs.push(config);
                }
            }
        }
        for node in table.iter() {
            let handled = [mirrors_node, configs_node]
                .iter()
                .flatten()
                .any(|n| n.key == node.key);
            if !handled && !node.key.name.eq_ignore_ascii_case("config_path") {
                self.leaves(node, "registry", &mut registry.kept);
            }
        }
        registry
    }

    fn leaves(&self, node: &Node, above: &str, leaves: &mut Vec<Leaf>) {
        let name = format!("{above}.{}", quote_name(&node.key.name));
        match node.table() {
            Some(table) => {
                for child in table.iter() {
                    self.leaves(child, &name, leaves);
                }
            }
            None => leaves.push(Leaf {
                name,
                place: self.key_place(node),
            }),
        }
    }

    fn mirror(&mut self, entry: &'a Node, table: &'a Table) -> Mirror {
        let endpoint = self.find(table, "endpoint");
        let mut endpoints = Vec::new();
        if let Some(node) = endpoint {
            match node.value().map(|value| &value.kind) {
                Some(ValueKind::Array(elements)) => {
                    for element in elements {
                        match &element.kind {
                            ValueKind::String(endpoint) => endpoints
                                .push(self.file.placed(endpoint.clone(), element.range.clone())),
                            _ => self.wrong_type(node, "an array of strings"),
                        }
                    }
                }
                _ => self.wrong_type(node, "an array of strings"),
            }
        }
        Mirror {
            name: self
                .file
                .placed(entry.key.name.clone(), entry.key.range.clone()),
            endpoints,
            endpoint_key: endpoint.map(|node| self.key_place(node)),
            unknown: self.unknown(table, &[endpoint]),
        }
    }

    fn host_config(&mut self, entry: &'a Node, table: &'a Table) -> HostConfig {
        let tls_node = self.find(table, "tls");
        let mut tls = None;
        if let Some(node) = tls_node {
            match node.table() {
                Some(table) => tls = Some(self.tls(node, table)),
                None => self.wrong_type(node, "a table"),
            }
        }
        HostConfig {
            name: self
                .file
                .placed(entry.key.name.clone(), entry.key.range.clone()),
            tls,
            tls_key: tls_node
                .map_or("tls", |node| node.key.name.as_str())
                .to_owned(),
            has_more: table
                .iter()
                .any(|child| tls_node.is_none_or(|tls| tls.key != child.key)),
        }
    }

    fn tls(&mut self, node: &'a Node, table: &'a Table) -> Tls {
        let names = ["ca_file", "cert_file", "key_file", "insecure_skip_verify"];
        let [ca_file, cert_file, key_file, skip_verify] = names.map(|name| self.find(table, name));
        let known = [ca_file, cert_file, key_file, skip_verify];
        let mut path = |node: Option<&'a Node>| node.and_then(|node| self.string(node));
        let (ca_file, cert_file, key_file) = (path(ca_file), path(cert_file), path(key_file));
        let mut skips = None;
        if let Some(node) = skip_verify {
            match node.value().map(|value| &value.kind) {
                Some(ValueKind::Boolean(true)) => skips = Some(self.key_place(node)),
                Some(ValueKind::Boolean(false)) => {}
                _ => self.wrong_type(node, "`true` or `false`"),
            }
        }
        let keys = known.iter().flatten();
        Tls {
            place: self.file.place(
                node.header
                    .clone()
                    .unwrap_or_else(|| node.key.range.clone()),
            ),
            ca_file,
            empty_ca_file: None,
            cert_file,
            key_file,
            skip_verify: skips,
            keys: keys
                .map(|node| {
                    self.file
                        .placed(node.key.name.clone(), node.key.range.clone())
                })
                .collect(),
            unknown: self.unknown(table, &known),
        }
    }

    /// A string that is not empty.
    fn string(&mut self, node: &'a Node) -> Option<Placed<String>> {
        match node.value() {
            Some(Value {
                kind: ValueKind::String(text),
                range,
            }) => (!text.is_empty()).then(|| self.file.placed(text.clone(), range.clone())),
            _ => {
                self.wrong_type(node, "a string");
                None
            }
        }
    }

    fn unknown(&self, table: &Table, known: &[Option<&Node>]) -> Vec<Placed<String>> {
        table
            .iter()
            .filter(|node| !known.iter().flatten().any(|known| known.key == node.key))
            .filter(|node| !self.wrong_case.contains(&node.key.range.start))
            .map(|node| {
                self.file
                    .placed(node.key.name.clone(), node.key.range.clone())
            })
            .collect()
    }
}
