//! Findings about what stands where containerd does not look: misspelt tables, credentials under names that no host
//! has, settings that 2.x has no successor for, files that something else writes. None of it is changed.

use std::collections::BTreeSet;

use super::{FileKind, Planner};
use crate::containerd::contents::PluginId;
use crate::containerd::file::ConfigFile;
use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{parse_endpoint, unmatchable};
use crate::containerd::registry::{HostConfig, Nested, quote_name};
use crate::containerd::release::TomlReader;
use crate::containerd::sight::{State, auths_host};
use crate::finding::{self, FileId, Findings, Place, Placed};
use crate::node::NodePath;
use crate::read::Version1;
use crate::toml::edit::ANSIBLE_BLOCK;
use crate::toml::syntax::{Node, Table, ValueKind};

/// Words in the head of a file that something else writes.
const GENERATED: [&str; 7] = [
    "generated",
    "managed by",
    "ansible managed",
    "k0s_managed",
    "do not edit",
    "don't edit",
    "do not modify",
];

/// Directories whose files are written again and again, and from what.
const GENERATED_BELOW: [(&str, &str); 6] = [
    (
        "/var/lib/rancher/k3s/",
        "k3s writes it at every start, from registries.yaml and config.toml.tmpl",
    ),
    (
        "/var/lib/rancher/rke2/",
        "rke2 writes it at every start, from registries.yaml and config.toml.tmpl",
    ),
    (
        "/var/lib/k0s/",
        "k0s writes it at every start; put drop-ins into /etc/k0s/containerd.d",
    ),
    (
        "/run/k0s/",
        "k0s writes it at every start; put drop-ins into /etc/k0s/containerd.d",
    ),
    (
        "/var/snap/microk8s/",
        "microk8s writes it at every start, from containerd-template.toml",
    ),
    (
        "/nix/store/",
        "Nix builds it from the configuration of the system",
    ),
];

/// What the names of files below them end with from which the others are rendered.
const TEMPLATES: [&str; 2] = [".tmpl", "-template.toml"];
/// What stands in the names of directories below them whose files are an operator's.
const DROP_INS: &str = ".toml.d/";

impl Planner<'_> {
    /// All of them.
    pub(super) fn check_misplaced(&self, findings: &mut Findings) {
        for loaded in &self.inputs.configuration.files {
            self.check_misspelt(&loaded.file, findings);
        }
        let endpoints = self.endpoint_hosts();
        for config in &self.registry.configs {
            self.check_config(config, &endpoints, findings);
        }
        self.check_auths(&endpoints, findings);
        for key in &self.registry.unknown_credentials {
            findings.add(
                &finding::UNKNOWN_CREDENTIAL_KEY,
                key.place.clone(),
                format!(
                    "containerd does not know `{}` beside credentials",
                    key.value
                ),
                match key.value.as_str() {
                    "identity_token" => "it has no effect and stays; was `identitytoken` meant?",
                    _ => "it has no effect, today or afterwards, and stays",
                },
            );
        }
    }

    /// What concerns the files only if they are to be written.
    pub(super) fn check_before_writing(&self, findings: &mut Findings) {
        self.check_generated(findings);
        self.check_version_1_settings(findings);
    }

    /// Who else writes the configuration files.
    pub(super) fn check_generated(&self, findings: &mut Findings) {
        for loaded in &self.inputs.configuration.files {
            check_generated(
                &loaded.file.path,
                &loaded.file.text,
                Some(loaded.file.id),
                FileKind::Configuration,
                findings,
            );
        }
    }

    fn check_misspelt(&self, file: &ConfigFile, findings: &mut Findings) {
        let mut say = |node: &Node, what: String, help: &str| {
            findings.add(
                &finding::MISSPELT_TABLE,
                file.place(node.key.range.clone()),
                what,
                help,
            );
        };
        let readers: Vec<TomlReader> = self.generations().map(|g| g.behaviour.toml).collect();
        let stays = "it has no effect, today or afterwards, and stays; write it right if it is meant, and see what changes";
        for node in file.tree.iter() {
            let name = node.key.name.as_str();
            let Some(table) = node.table() else { continue };
            let unread = name.eq_ignore_ascii_case("plugins")
                && name != "plugins"
                && readers
                    .iter()
                    .all(|reader| *reader == TomlReader::One && name != "PLUGINS");
            if (name == "plugin" || unread) && has_registry(table) {
                say(
                    node,
                    format!(
                        "`[{name}…]` is no table that containerd reads; it is called `plugins`"
                    ),
                    stays,
                );
            } else if name == "registry"
                && ["mirrors", "configs"]
                    .iter()
                    .any(|key| table.get(key).is_some())
            {
                say(
                    node,
                    "`registry` belongs into the table of the CRI plugin".to_owned(),
                    stays,
                );
            }
            if name == "plugins" {
                let starts = !matches!(self.inputs.view.state, State::DoesNotStart(_));
                let unquoted = table.get("io").filter(|io| starts && unquoted_registry(io));
                if let Some(io) = unquoted {
                    say(
                        io,
                        "a plugin's name without quotes is taken apart at its dots".to_owned(),
                        stays,
                    );
                }
            }
            for inner in table.iter() {
                landed_below(inner, &mut |node| {
                    say(
                        node,
                        format!(
                            "this `plugins` stands below another table (`{name}`), and belongs to that"
                        ),
                        stays,
                    );
                });
            }
        }
        for id in PluginId::ALL {
            let Some(section) = file.tree.table_at(&["plugins", id.name()]) else {
                continue;
            };
            for node in section.iter() {
                let name = node.key.name.as_str();
                let reads = |reader: &TomlReader| match reader {
                    TomlReader::One => name == "registry" || name == "REGISTRY",
                    TomlReader::Two => name == "registry" || id == PluginId::Images,
                };
                if name.eq_ignore_ascii_case("registry") && !readers.iter().any(reads) {
                    say(
                        node,
                        format!("`{name}` is not how any containerd spells `registry` here"),
                        stays,
                    );
                } else if ["mirrors", "configs"].contains(&name) && node.table().is_some() {
                    say(node, format!("`{name}` belongs into `registry`"), stays);
                }
            }
        }
    }

    /// The hosts that endpoints name.
    fn endpoint_hosts(&self) -> BTreeSet<String> {
        let behaviour = self.inputs.behaviour();
        let mirrors = self.registry.mirrors.iter();
        let endpoints = mirrors
            .flat_map(|mirror| &mirror.endpoints)
            .filter_map(|endpoint| Some(parse_endpoint(&endpoint.value, &behaviour).ok()?.host));
        let mut hosts: BTreeSet<String> = endpoints.collect();
        // Hosts files may ask any host.
        let directories = self.inputs.roots.values().flat_map(|certs| {
            certs
                .namespaces()
                .map(|namespace| reader::pulls(certs, &namespace, &behaviour))
        });
        for pulls in directories {
            if let Pulls::Hosts(asked) = pulls {
                hosts.extend(asked.into_iter().map(|host| host.host));
            }
        }
        hosts
    }

    fn check_config(
        &self,
        config: &HostConfig,
        endpoints: &BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let name = &config.name;
        let mut dead = |place: &Placed<String>, message: String, help: String| {
            findings.add(
                &finding::DEAD_CREDENTIALS,
                place.place.clone(),
                message,
                help,
            );
        };
        if config.auth.is_some() && !can_be_asked(&name.value, endpoints) {
            dead(
                name,
                format!(
                    "no registry's host is {}, so that these credentials are never used",
                    quote_name(&name.value)
                ),
                format!("they stay; {}", meant(&name.value)),
            );
        } else if config.auth.is_some() && self.is_overwritten(config) {
            dead(
                name,
                format!(
                    "`auths` has other credentials for {}, which count instead of these",
                    quote_name(&name.value)
                ),
                "they are never used, and stay; remove those that are not meant".to_owned(),
            );
        } else if !config.too_high.is_empty() {
            dead(
                name,
                format!(
                    "containerd looks for credentials in `auth`, not in {} itself",
                    quote_name(&name.value)
                ),
                "they are never used, and stay; put them into a table `auth` if they are meant"
                    .to_owned(),
            );
        }
        for inner in &config.nested {
            self.check_nested(config, inner, findings);
        }
    }

    /// Whether `auths` overwrites what this entry says.
    fn is_overwritten(&self, config: &HostConfig) -> bool {
        let used = self.inputs.view.credentials(&config.name.value);
        used.is_some_and(|used| config.auth.as_ref() != Some(used))
    }

    fn check_nested(&self, config: &HostConfig, nested: &Nested, findings: &mut Findings) {
        let name = format!(
            "`configs.{}.{}`",
            quote_name(&config.name.value),
            quote_name(&nested.name.value)
        );
        if nested.has_auth {
            findings.add(
                &finding::DEAD_CREDENTIALS,
                config.name.place.clone(),
                format!("{name} is no name of a host, so that these credentials are never used"),
                "they stay; `configs.\"HOST\".auth` with the host in quotes is where containerd looks",
            );
        } else {
            findings.add(
                &finding::MISSPELT_TABLE,
                nested.name.place.clone(),
                format!(
                    "{name} is no name of a host: without quotes it is taken apart at its dots"
                ),
                "it has no effect, today or afterwards, and stays",
            );
        }
    }

    /// Names in `auths` are URLs to containerd: what looks like `host:port` has a scheme and no host (semantics §4.2).
    fn check_auths(&self, endpoints: &BTreeSet<String>, findings: &mut Findings) {
        for entry in &self.registry.auths {
            let name = entry.name.value.as_str();
            let Ok(host) = auths_host(name, self.inputs.behaviour().strict_colons) else {
                continue;
            };
            if can_be_asked(&host, endpoints) {
                continue;
            }
            let (message, help) = if host.is_empty() {
                (
                    format!(
                        "containerd takes {} for a URL without a host, so that these credentials are never used",
                        quote_name(name)
                    ),
                    format!("they stay; was `https://{name}` meant?"),
                )
            } else {
                (
                    format!(
                        "no registry's host is {}, so that these credentials are never used",
                        quote_name(&host)
                    ),
                    format!("they stay; {}", meant(&host)),
                )
            };
            findings.add(
                &finding::DEAD_CREDENTIALS,
                entry.name.place.clone(),
                message,
                help,
            );
        }
    }

    /// Settings of a version-1 file that 2.x reads under no name (semantics §12.2).
    fn check_version_1_settings(&self, findings: &mut Findings) {
        let was_version_1 = self.inputs.file_version() <= 1 || self.inputs.converted_from.is_some();
        let comes_to_2 = self
            .generations()
            .any(|g| g.behaviour.toml == TomlReader::Two);
        if !was_version_1 || !comes_to_2 || self.inputs.options.version_1 == Version1::Refuse {
            return;
        }
        let file = self.config;
        let mut say = |node: &Node, what: &str| {
            findings.add(
                &finding::VERSION_1_SETTING,
                file.place(node.key.range.clone()),
                what,
                "it is not about registries, and stays; look at it before the upgrade",
            );
        };
        let Some(plugins) = file.tree.table_at(&["plugins"]) else {
            return;
        };
        for name in ["linux", "io.containerd.runtime.v1.linux"] {
            if let Some(node) = plugins.get(name) {
                say(node, "containerd 2.x has no such plugin any more");
            }
        }
        for id in [PluginId::Cri, PluginId::Grpc] {
            let Some(containerd) = plugins.table_at(&[id.name(), "containerd"]) else {
                continue;
            };
            if let Some(node) = containerd
                .get("default_runtime")
                .filter(|node| node.table().is_some())
            {
                say(
                    node,
                    "containerd 2.x ignores `default_runtime` and takes runc",
                );
            }
            let other = |node: &&Node| !matches!(node.value().map(|value| &value.kind), Some(ValueKind::String(name)) if name == "overlayfs");
            if let (Some(node), None) = (
                containerd.get("snapshotter").filter(other),
                containerd.get("runtimes"),
            ) {
                say(
                    node,
                    "containerd 2.x ignores `snapshotter` where no `runtimes` are configured",
                );
            }
        }
        if self.inputs.converted_from.is_some() {
            // The conversion lists the older and the newer name.
            return;
        }
        let contents = self
            .inputs
            .configuration
            .files
            .first()
            .map(|main| main.contents(TomlReader::One));
        for name in contents.iter().flat_map(|contents| &contents.disabled) {
            if ["restart", "cgroups"].contains(&name.value.as_str()) {
                findings.add(
                    &finding::VERSION_1_SETTING,
                    name.place.clone(),
                    format!(
                        "containerd 2.x calls `{}` otherwise, and does not disable it by this name",
                        name.value
                    ),
                    "it is not about registries, and stays; look at it before the upgrade",
                );
            }
        }
    }
}

/// Whether a registry of this host can be asked: `docker.io` itself is asked only as an endpoint.
fn can_be_asked(host: &str, endpoints: &BTreeSet<String>) -> bool {
    let is_possible = unmatchable(host).is_none() && host != "docker.io";
    is_possible || endpoints.contains(host)
}

/// What somebody probably meant with a name that no host has.
fn meant(name: &str) -> String {
    if ["docker.io", "index.docker.io"].contains(&name) {
        return "was `registry-1.docker.io` meant?".to_owned();
    }
    let host = name.split_once("://").map_or(name, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    if host != name && unmatchable(host).is_none() {
        format!("was {} meant?", quote_name(host))
    } else {
        "containerd looks them up by the host that asks for them".to_owned()
    }
}

/// Whether a table of plugins has registry settings of CRI.
fn has_registry(plugins: &Table) -> bool {
    PluginId::ALL.iter().any(|id| {
        plugins
            .get(id.name())
            .and_then(Node::table)
            .is_some_and(|table| table.get("registry").is_some())
    })
}

/// Whether below `plugins.io` a name without quotes leads to registry settings.
fn unquoted_registry(io: &Node) -> bool {
    let paths: [&[&str]; 2] = [
        &["containerd", "grpc", "v1", "cri"],
        &["containerd", "cri", "v1", "images"],
    ];
    paths.iter().any(|path| {
        io.table()
            .and_then(|table| table.table_at(path))
            .is_some_and(|table| table.get("registry").is_some())
    })
}

/// Finds tables called `plugins` that stand below another one.
fn landed_below(node: &Node, say: &mut impl FnMut(&Node)) {
    let Some(table) = node.table() else { return };
    if node.key.name == "plugins" && has_registry(table) {
        say(node);
        return;
    }
    // In an entry that goes away it is an unknown key.
    let goes = |node: &&Node| ["mirrors", "configs"].contains(&node.key.name.as_str());
    for child in table.iter().filter(|child| !goes(child)) {
        landed_below(child, say);
    }
}

/// A finding if something else writes the file, going by its path or by the comments at its head.
pub(super) fn check_generated(
    path: &NodePath,
    text: &str,
    file: Option<FileId>,
    kind: FileKind,
    findings: &mut Findings,
) {
    let source = match kind {
        FileKind::Configuration => {
            "change what is rendered at its source, too: with `mirrors` rendered again CRI fails at its next restart"
        }
        FileKind::HostsFile => {
            "change what is rendered at its source, too: it would be written over again"
        }
    };
    let named = path.as_str();
    let template = TEMPLATES.iter().any(|ending| named.ends_with(ending));
    let below = GENERATED_BELOW
        .iter()
        .find(|(directory, _)| named.starts_with(directory) && !named.contains(DROP_INS));
    let mut start = 0;
    let mut head = None;
    let mut in_head = true;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start_matches('\u{feff}').trim();
        in_head &= trimmed.is_empty() || trimmed.starts_with('#');
        if head.is_none() && trimmed.starts_with('#') {
            let lower = trimmed.to_ascii_lowercase();
            let says_so = in_head && GENERATED.iter().any(|word| lower.contains(word));
            if says_so || trimmed.contains(ANSIBLE_BLOCK) {
                head = Some(start..start + line.trim_end().len());
            }
        }
        start += line.len();
    }
    if below.is_none() && head.is_none() {
        return;
    }
    let message = match below {
        Some(_) if template => {
            format!("`{path}` is a template: what is rendered from it has registries of its own")
        }
        Some((_, by)) => format!("`{path}` is written by something else: {by}"),
        None => format!("`{path}` says of itself that something else writes it"),
    };
    let range = head.unwrap_or(0..0);
    let place = file.map(|file| Place { file, range });
    findings.add(&finding::GENERATED_FILE, place, message, source);
}
