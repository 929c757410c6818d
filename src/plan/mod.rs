//! The change: what every file is before and after, and what becomes of every setting. Pure: same inputs, same plan.
//!
//! ```text
//! findings about single settings → wanted: the hosts that every namespace must have → files → edit of the config
//! ```
//! Nothing here reads or writes a disk, and nothing here is believed: `verify` reads the result back.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ConfigFile;
use crate::config::edit::{self, Edited, PathSet, Setting};
use crate::config::legacy::Registry;
use crate::finding::{self, Code, Findings, Place};
use crate::hosts::directory::DEFAULT;
use crate::hosts::reader;
use crate::inputs::Inputs;
use crate::node::NodePath;
use crate::resolve::Legacy;
use crate::version::{Generation, generations};

mod files;
mod settings;
mod wanted;

use files::Draft;
use wanted::AllWanted;

pub use settings::{Fate, Outcome};
pub use wanted::{Decider, Wanted};

/// One file that the plan writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The real file (links already followed inside the root).
    pub path: NodePath,
    /// The path as it is named, where a link on it leads to `path`.
    pub named: Option<NodePath>,
    /// The bytes that were read when the plan was made; `None` if the file did not exist.
    pub before: Option<Vec<u8>>,
    /// The bytes to write.
    pub after: Vec<u8>,
}

/// What is to be done to a node.
#[derive(Debug, Default)]
pub struct Plan {
    /// The files to write, in this order; the last one is the commit point.
    pub changes: Vec<Change>,
    /// What becomes of every setting.
    pub outcomes: Vec<Outcome>,
    /// The hosts of every interesting namespace, before and after.
    pub namespaces: Vec<Wanted>,
    /// The text of config.toml as it will be.
    pub config: Option<String>,
    /// The key paths that config.toml loses.
    pub removed: Vec<Vec<String>>,
    /// Whether hosts files take effect as soon as they are written, since `config_path` is in effect already.
    pub live: bool,
}

/// What containerd does with the registry settings today, as far as they are in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Today {
    /// The legacy settings are in effect.
    Legacy,
    /// The hosts files are; legacy TLS settings beside them are ignored (2.x).
    HostsFiles,
    /// CRI does not load, because of what this code says.
    Down(&'static Code),
}

/// The plan, as it grows.
pub(crate) struct Planner<'i> {
    inputs: &'i Inputs,
    registry: &'i Registry,
    config: &'i ConfigFile,
    legacy: Legacy<'i>,
    generations: Vec<Generation>,
    today: Today,
    /// Where each certificate file is named first.
    first_mentions: BTreeMap<String, usize>,
}

/// Plans the migration. Without anything to do the plan is empty; what is in the way is in the findings, and a plan
/// with refusals is for looking at only.
pub fn plan(inputs: &Inputs, findings: &mut Findings) -> Plan {
    let (Some(registry), Some(config)) = (&inputs.registry, inputs.files.last()) else {
        return Plan::default();
    };
    if !registry.pending() {
        return Plan::default();
    }
    let planner = Planner {
        inputs,
        registry,
        config,
        legacy: Legacy::new(Some(registry)),
        generations: generations(inputs.from, inputs.options.to),
        today: wanted::today(inputs, registry),
        first_mentions: settings::first_mentions(registry),
    };
    planner.check_file(findings);
    let mut wanted = planner.wanted(findings);
    let plan = planner.assemble(&mut wanted, findings);
    planner.check_settings(&wanted, findings);
    Plan {
        namespaces: wanted.namespaces,
        ..plan
    }
}

impl Planner<'_> {
    /// Puts the parts together: removals, edited config, hosts files, outcomes.
    fn assemble(&self, wanted: &mut AllWanted, findings: &mut Findings) -> Plan {
        let removed = self.removed();
        let mut removed_set = PathSet::default();
        for path in &removed {
            removed_set.insert(path);
        }
        let certs_path = self.inputs.certs.path.as_str();
        let is_set = self
            .registry
            .config_path
            .as_ref()
            .is_some_and(|path| path.value.starts_with('/'));
        let table = self.registry.table.each_ref().map(String::as_str);
        let setting = Setting {
            table: &table,
            key: &self.registry.config_path_key,
            value: certs_path,
        };
        let setting = (!is_set).then_some(setting);
        let text = &self.config.text;
        let Some(edited) = edit::edit(text, &self.config.syntax, &removed_set, setting) else {
            findings.add(
                &finding::PROOF_FAILED,
                self.config.place(0..0),
                "there is no place for `config_path` in this file",
                "set `config_path` by hand and report this file as a bug",
            );
            return Plan::default();
        };
        let mut certs = self.inputs.certs.clone();
        let mut changes = Vec::new();
        for (name, draft) in self.drafts(wanted, &edited, findings) {
            let bytes = draft.file.render().into_bytes();
            let path = certs.hosts_path(&name);
            let directory = certs.directories.get(&name);
            let file = directory.and_then(|directory| directory.hosts_file.as_ref());
            let before = file.map(|file| file.bytes.clone());
            // Two names may lead to one file. It is written once; `verify` says whether it serves both.
            changes.retain(|change: &Change| change.path != path);
            changes.push(Change {
                path,
                named: None,
                before,
                after: bytes,
            });
        }
        for change in &changes {
            certs.write(&change.path, &change.after);
            self.check_dangling(&change.path, findings);
        }
        let outcomes = self.outcomes(wanted, &certs);
        let on_disk = self.inputs.converted_from.as_ref().unwrap_or(text);
        if edited.text != *on_disk {
            changes.push(Change {
                path: self.config.real.clone(),
                named: Some(self.config.path.clone()).filter(|path| *path != self.config.real),
                before: Some(on_disk.clone().into_bytes()),
                after: edited.text.clone().into_bytes(),
            });
        }
        Plan {
            changes,
            outcomes,
            namespaces: Vec::new(),
            config: Some(edited.text),
            removed,
            live: is_set,
        }
    }

    /// A link that leads nowhere is in the way of the hosts file that would be written there, and comes alive with
    /// the one that it leads to.
    fn check_dangling(&self, hosts_file: &NodePath, findings: &mut Findings) {
        let help = "remove the link, or make what it leads to";
        for dangling in &self.inputs.certs.dangling {
            let link = &dangling.link;
            if dangling.blocked == *hosts_file {
                findings.add(
                    &finding::UNREADABLE_DIRECTORY,
                    None,
                    format!("`{link}` leads nowhere, so that no hosts file can be written there"),
                    help,
                );
            } else if dangling.target == *hosts_file {
                findings.add(
                    &finding::LINKED_HOSTS_FILE,
                    None,
                    format!(
                        "`{link}` leads nowhere today, but to `{hosts_file}` once that is written"
                    ),
                    help,
                );
            }
        }
    }

    /// The key paths to remove: `mirrors`, every `configs.*.tls`, and those of their parents that are empty by that.
    fn removed(&self) -> Vec<Vec<String>> {
        let below = |names: &[&str]| -> Vec<String> {
            self.registry
                .table
                .iter()
                .map(String::as_str)
                .chain(names.iter().copied())
                .map(str::to_owned)
                .collect()
        };
        let mut removed = Vec::new();
        if let Some(key) = self.registry.mirrors_key.as_deref()
            && self.registry.has_legacy()
        {
            removed.push(below(&[key]));
        }
        let Some(key) = self.registry.configs_key.as_deref() else {
            return removed;
        };
        let configs = &self.registry.configs;
        if !configs.is_empty()
            && configs
                .iter()
                .all(|config| config.tls.is_some() && !config.has_more)
        {
            removed.push(below(&[key]));
            return removed;
        }
        for config in configs.iter().filter(|config| config.tls.is_some()) {
            let name = config.name.value.as_str();
            removed.push(if config.has_more {
                below(&[key, name, &config.tls_key])
            } else {
                below(&[key, name])
            });
        }
        removed
    }

    /// What is wrong with the file as a whole.
    fn check_file(&self, findings: &mut Findings) {
        let registry = self.registry;
        let (from, to) = (self.inputs.from, self.inputs.options.to);
        let ends = || {
            self.generations
                .iter()
                .filter(|g| g.versions.contains(&from) || g.versions.contains(&to))
        };
        if let Some(config_path) = &registry.config_path
            && registry.config_paths().len() > 1
        {
            findings.add(
                &finding::SEVERAL_CONFIG_PATHS,
                config_path.place.clone(),
                "`config_path` names several directories",
                "containerd 2.1 and later take them for one name and find no hosts file: \
                 name one directory and put all hosts files there",
            );
        }
        if let Some(unread) = ends().find(|g| g.behaviour.newest_file_version < registry.version) {
            let version = unread
                .versions
                .iter()
                .find(|v| **v == from || **v == to)
                .copied()
                .unwrap_or(to);
            findings.add(
                &finding::VERSION_NOT_READ,
                self.file_version_place(),
                format!(
                    "containerd {version} does not read a config.toml of version {}",
                    registry.version
                ),
                "name the containerd that runs here with --from, and the one that comes with --to",
            );
        }
        if registry.version == 1 && self.generations.iter().any(|g| g.behaviour.loses_version_1) {
            let help = "--v1 convert gives every plugin its version-2 name, which all containerd versions read; \
                        --v1 keep migrates the file as it is, which is enough for 2.3 and later";
            let message = "containerd 2.0 to 2.2 drop the whole CRI section of a version-1 file";
            match self.inputs.options.version_1 {
                crate::inputs::Version1::Refuse | crate::inputs::Version1::Convert => {
                    findings.add(
                        &finding::VERSION_1,
                        self.file_version_place(),
                        message,
                        help,
                    );
                }
                crate::inputs::Version1::Keep => {
                    findings.add_decided(
                        &finding::VERSION_1,
                        self.file_version_place(),
                        message,
                        help,
                    );
                }
            }
        }
    }

    fn file_version_place(&self) -> Place {
        let node = self
            .config
            .tree
            .iter()
            .find(|node| node.key.name.eq_ignore_ascii_case("version"));
        let range = node.map_or(0..0, |node| {
            node.key.range.start
                ..node
                    .value()
                    .map_or(node.key.range.end, |value| value.range.end)
        });
        self.config.place(range)
    }

    /// The hosts files to write, by directory name: one for `_default` if there is a wildcard, and one for each
    /// namespace that would have other hosts without it, on any version.
    fn drafts(
        &self,
        wanted: &mut AllWanted,
        edited: &Edited,
        findings: &mut Findings,
    ) -> BTreeMap<String, Draft> {
        let mut certs = self.inputs.certs.clone();
        let mut drafts = BTreeMap::new();
        if let Some(default) = wanted.default_file.take() {
            certs.write(&certs.hosts_path(DEFAULT), default.file.render().as_bytes());
            drafts.insert(DEFAULT.to_owned(), default);
        }
        for namespace in &mut wanted.namespaces {
            // The one that nobody named has no directory: it stands for all that fall through.
            if namespace.unnamed {
                namespace.same_as_default =
                    namespace.mirror.is_some() && !certs.directories.contains_key(DEFAULT);
                continue;
            }
            if namespace.decider == Decider::HostsFile {
                continue;
            }
            let without_file = |generation: &Generation| {
                reader::pulls(&certs, &namespace.name, &generation.behaviour)
            };
            if self
                .generations
                .iter()
                .all(|g| without_file(g).same(&namespace.after))
            {
                namespace.same_as_default = self.legacy.mirror(&namespace.name).is_some()
                    && certs.own(&namespace.name).is_none();
                continue;
            }
            drafts.insert(certs.name_for(&namespace.name), self.hosts_file(namespace));
        }
        self.place_comments(&edited.comments, &mut drafts, findings);
        drafts
    }
}

/// The namespaces that are worth a look: design §3, "interesting namespaces".
fn interesting(registry: &Registry, legacy: &Legacy<'_>, inputs: &Inputs) -> Vec<(String, bool)> {
    let behaviour = inputs.behaviour();
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
        .filter(|m| crate::resolve::is_live(&m.name.value));
    let endpoints = endpoints
        .flat_map(|mirror| &mirror.endpoints)
        .filter_map(|endpoint| {
            Some(
                crate::resolve::parse_endpoint(&endpoint.value, &behaviour)
                    .ok()?
                    .host,
            )
        });
    let named = mirrors
        .chain(configs.map(|config| config.name.value.clone()))
        .chain(endpoints)
        .chain(["docker.io".to_owned()])
        .chain(inputs.certs.namespaces());
    let mut seen = BTreeSet::new();
    let mut namespaces: Vec<(String, bool)> = named
        .filter(|name| crate::resolve::unmatchable(name).is_none() && seen.insert(name.clone()))
        .map(|name| (name, false))
        .collect();
    // One that nobody named: it stands for every other registry.
    let mut unnamed = "registry.invalid".to_owned();
    while seen.contains(&unnamed) || legacy.config(&unnamed).is_some() {
        unnamed.insert_str(0, "x.");
    }
    namespaces.push((unnamed, true));
    namespaces
}
