//! What every namespace must have after the migration, and who says so: the legacy settings, or a hosts file that is
//! there already.

use std::collections::BTreeSet;

use super::files::Draft;
use super::{Planner, Today, interesting};
use crate::containerd::host::{Pulls, default_host};
use crate::containerd::hosts_file::directory::{
    CertsDirectory, DEFAULT, HostsFile, RegistryDirectory,
};
use crate::containerd::hosts_file::reader;
use crate::containerd::hosts_file::reader::Discarded;
use crate::containerd::legacy::{LegacyHost, Origin, Trouble, WILDCARD, unmatchable};
use crate::containerd::release::{Generation, TomlReader, Version, ranges};
use crate::containerd::sight::State;
use crate::finding::{self, Code, Findings, Place};
use crate::node::NodePath;
use crate::read::{DEFAULT_CERTS_DIRECTORY, DOCKER_CERTS_DIRECTORY, Existing, Inputs};

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
    /// The list that the legacy settings give.
    pub legacy: Vec<LegacyHost>,
    /// The mirror entry that the list comes from: the namespace's own name, or `*`.
    pub mirror: Option<String>,
    /// Who decides.
    pub decider: Decider,
    /// Whether there is a mirror entry, but no hosts file is needed for what it says.
    pub same_as_default: bool,
}

/// Who says what a namespace's hosts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The legacy settings.
    Settings,
    /// A hosts file that is there and in effect: for each containerd it gives what it gave.
    InEffect,
    /// A hosts file that is there and was without effect: an operator has decided for it.
    Kept,
    /// Nobody: pulls stay as they are, since `config_path` is not set: nothing is migrated, or no file has a section in
    /// which it would be read.
    Nobody,
}

/// The wanted hosts of all interesting namespaces, and the file for all others.
pub(crate) struct AllWanted {
    pub(crate) namespaces: Vec<Wanted>,
    pub(crate) default_file: Option<Draft>,
}

/// What is in effect today.
pub(super) fn today(inputs: &Inputs) -> Today {
    // Where CRI is disabled, or the daemon does not start for another reason, what is kept is what it would do.
    match inputs.view.conflict() {
        Some(reason) => Today::Down(reason.code),
        None if inputs.view.config_path.is_empty() => Today::Legacy,
        None => Today::HostsFiles,
    }
}

/// The two lists that a decision is between.
struct Both<'a> {
    settings: &'a Pulls,
    file: &'a Pulls,
    /// On which containerd, if not on the one that runs.
    on: String,
    /// The name that stands for every registry that nobody named, if it is about those.
    unnamed: Option<&'a str>,
}

impl std::fmt::Display for Both<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!(
            "the settings give {}; the file gives {}{}",
            self.settings, self.file, self.on
        );
        formatter.write_str(&match self.unnamed {
            Some(name) => text.replace(name, "<registry>"),
            None => text,
        })
    }
}

impl Planner<'_> {
    /// The hosts that each interesting namespace must have.
    pub(super) fn wanted(&self, findings: &mut Findings) -> AllWanted {
        self.check_today(findings);
        let behaviour = self.inputs.behaviour();
        let all = interesting(self.registry, &self.legacy, self.inputs);
        let nobody =
            self.inputs.view.last.is_none() || self.today == Today::Legacy && !self.migrates();
        let (default_decider, default_file) = match all.last() {
            Some((unnamed, _)) if !nobody => self.default_directory(unnamed, findings),
            _ => (Decider::Nobody, None),
        };
        // Where the operator accepts that, the daemon that is there may start all the same.
        let refused = self.inputs.view.text_refused().map(|reason| reason.code);
        let not_started = refused.filter(|code| !findings.allows(code));
        let mut namespaces = Vec::new();
        for (name, unnamed) in all {
            let resolved = self.legacy.resolve(&name, &behaviour, true);
            self.check_trouble(&resolved.trouble, findings);
            let mut hosts = resolved.hosts.clone();
            if hosts.is_empty() {
                self.check_no_host(&name, resolved.mirror, findings);
                hosts = crate::containerd::legacy::Legacy::new(None)
                    .resolve(&name, &behaviour, true)
                    .hosts;
            }
            let settings = Pulls::Hosts(hosts.iter().map(|host| host.host.clone()).collect());
            let decider = if nobody {
                Decider::Nobody
            } else {
                self.decider(&name, &settings, default_decider, findings)
            };
            let before = match self.today {
                Today::Legacy | Today::HostsFiles => {
                    self.inputs
                        .view
                        .pulls(&name, &self.inputs.roots, &self.legacy)
                }
                Today::Down(_) => Pulls::Fail("CRI does not load".to_owned()),
            };
            let after = match decider {
                Decider::Nobody => before.clone(),
                Decider::InEffect => reader::pulls(&self.inputs.certs, &name, &behaviour),
                Decider::Kept => self.in_file(&name, &before).0,
                Decider::Settings => settings,
            };
            let before = match &not_started {
                Some(_) => Pulls::Fail("containerd does not start".to_owned()),
                None => before,
            };
            let changed = (!before.same(&after)).then(|| match (self.today, decider) {
                (Today::Down(code), _) => code,
                (Today::HostsFiles, Decider::Settings)
                    if self.registry.config_paths().len() > 1 =>
                {
                    &finding::SEVERAL_CONFIG_PATHS
                }
                (_, Decider::InEffect | Decider::Kept) => &finding::EXISTING_HOSTS_FILE,
                (_, Decider::Settings | Decider::Nobody) => {
                    match resolved.trouble.iter().find(|trouble| trouble.fails()) {
                        Some(Trouble::Unparsable { .. }) => &finding::UNPARSABLE_ENDPOINT,
                        Some(_) => &finding::CERTIFICATE_WITHOUT_KEY,
                        None if resolved.hosts.is_empty() => &finding::NO_USABLE_ENDPOINT,
                        None if self.today == Today::HostsFiles
                            && self.inputs.options.existing == Existing::Replace =>
                        {
                            &finding::EXISTING_HOSTS_FILE
                        }
                        None if self
                            .registry
                            .configs
                            .iter()
                            .any(|config| config.tls.is_some()) =>
                        {
                            &finding::TLS_IGNORED_TODAY
                        }
                        None => &finding::PROOF_FAILED,
                    }
                }
            });
            let changed = not_started.or(changed);
            namespaces.push(Wanted {
                name,
                unnamed,
                before,
                after,
                changed,
                legacy: hosts,
                mirror: resolved.mirror.map(|mirror| mirror.name.value.clone()),
                decider,
                same_as_default: false,
            });
        }
        AllWanted {
            namespaces,
            default_file,
        }
    }

    fn check_today(&self, findings: &mut Findings) {
        let mirror = self
            .registry
            .mirrors
            .first()
            .map(|mirror| mirror.name.place.clone());
        let tls = self
            .registry
            .configs
            .iter()
            .find_map(|config| config.tls.as_ref());
        let tls = tls.map(|tls| tls.place.clone());
        let down = matches!(self.today, Today::Down(_));
        let carried =
            "they are carried into hosts files; hosts files for other registries count as they are";
        if let (true, Some(mirror)) = (down, mirror) {
            findings.add(
                &finding::MIRRORS_BESIDE_CONFIG_PATH,
                mirror,
                if self.registry.config_path.is_some() {
                    "CRI does not load today: `mirrors` and `config_path` are both set"
                } else {
                    "CRI does not load today: containerd 2.2.0 and 2.2.1 have a `config_path` built in"
                },
                carried,
            );
        }
        if self.today == Today::HostsFiles
            && self.registry.config_path.is_none()
            && self.inputs.has_docker_directory
            && self.inputs.view.roots().contains(&DOCKER_CERTS_DIRECTORY)
        {
            let message = format!(
                "containerd {} reads {DOCKER_CERTS_DIRECTORY} today, besides {DEFAULT_CERTS_DIRECTORY}",
                self.inputs.from
            );
            let help = [
                "with a `config_path` of one directory the other is not read any more; --existing keep: what it gives \
                 today is written into the first; --existing replace: the settings decide",
                "what it gives today is written into the first",
                "it is not read any more",
            ];
            let code = &finding::SEVERAL_CONFIG_PATHS;
            self.existing_decides(code, tls.clone(), message, help, findings);
        }
        let reads_tls = self.inputs.behaviour().legacy_tls;
        if let (true, true, Some(tls)) = (down, reads_tls, &tls) {
            findings.add(
                &finding::TLS_BESIDE_CONFIG_PATH,
                tls.clone(),
                "CRI does not load today: `configs.*.tls` and `config_path` are both set",
                carried,
            );
        }
        let mut tls = self.registry.configs.iter().filter_map(|c| c.tls.as_ref());
        let tls = tls.find(|tls| tls.says_something());
        let tls = tls.map(|tls| tls.place.clone());
        if let (Some(tls), TomlReader::Two) = (tls, self.inputs.behaviour().toml) {
            findings.add(
                &finding::TLS_IGNORED_TODAY,
                tls,
                format!("containerd {} ignores `configs.*.tls`", self.inputs.from),
                "the settings are carried as containerd 1.x meant them: pulls get the CA and the certificates that \
                 they lack today",
            );
        }
    }

    /// Findings about what is in a certs directory, other than that it would change pulls. `written` are the files
    /// that are written over.
    pub(super) fn check_directory(
        &self,
        certs: &CertsDirectory,
        written: &BTreeSet<&NodePath>,
        findings: &mut Findings,
    ) {
        let carried: BTreeSet<&NodePath> = match certs.path == self.inputs.certs.path {
            true => self.inputs.carried.iter().map(|file| &file.path).collect(),
            false => BTreeSet::new(),
        };
        for (name, directory) in &certs.directories {
            // What is only to be written there is looked at where it is.
            if carried.contains(&directory.hosts_path()) {
                continue;
            }
            let path = certs.path.join(name);
            if let Some(hides) = certs.hidden_by(name) {
                let hides = certs.path.join(&hides);
                findings.add(
                    &finding::SHADOWED_DIRECTORY,
                    None,
                    format!("`{path}` is never read: containerd looks for `{hides}` first"),
                    "it stays as it is; merge the two by hand if it is meant to count",
                );
                continue;
            }
            if directory.is_file && is_registry(name) && !self.is_looked_at(name) {
                findings.add(
                    &finding::STRAY_FILE,
                    None,
                    format!("`{path}` is a file: pulls of a registry of this name fail"),
                    "move it out of the certs directory if there is such a registry",
                );
            }
            let Some(file) = directory
                .hosts_file
                .as_ref()
                .filter(|file| !written.contains(&file.real))
            else {
                continue;
            };
            self.check_understood(file, findings);
            let mut found: Vec<(Discarded, Vec<Version>)> = Vec::new();
            for generation in self.generations() {
                let Some(discarded) = reader::discarded(file, &path, &generation.behaviour) else {
                    continue;
                };
                let same = |(other, _): &&mut (Discarded, Vec<Version>)| {
                    other.whole && discarded.whole || other.range.start == discarded.range.start
                };
                match found.iter_mut().find(same) {
                    Some((_, versions)) => versions.extend(&generation.versions),
                    None => found.push((discarded, generation.versions.clone())),
                }
            }
            for (discarded, versions) in found {
                let what = if discarded.whole {
                    "discards this file"
                } else {
                    "does not see this"
                };
                let place = file.id.map(|file| Place {
                    file,
                    range: discarded.range,
                });
                findings.add(
                    &finding::DISCARDED_HOSTS_FILE,
                    place,
                    format!(
                        "containerd {} {what}: {}",
                        ranges(versions),
                        discarded.reason
                    ),
                    format!("`{path}/hosts.toml` stays as it is; mend it if it is meant to count"),
                );
            }
        }
    }

    /// Whether the plan is about this namespace, which then says what is wrong with its directory.
    fn is_looked_at(&self, namespace: &str) -> bool {
        let mut names = super::namespaces(self.inputs).into_iter();
        self.registry.pending() && names.any(|(name, _)| name == namespace)
    }

    /// What is not TOML cannot be looked at, but containerd 1.x may read it, so nobody can say what the file gives.
    fn check_understood(&self, file: &HostsFile, findings: &mut Findings) {
        let mut generations = self.generations();
        let Some(unread) = generations.find_map(|g| file.not_understood(g.behaviour.go_toml))
        else {
            return;
        };
        let place = file.id.map(|file| Place { file, range: 0..0 });
        findings.add(
            &finding::INVALID_TOML,
            place,
            format!(
                "`{}`: {}, which containerd 1.x may read all the same",
                file.real, unread.reason
            ),
            "fix the file, or remove it",
        );
    }

    /// A finding where hosts files come alive that nobody has named in `config_path`.
    pub(super) fn check_built_in_config_path(&self, findings: &mut Findings) {
        if !self.inputs.view.config_path.is_empty() {
            return;
        }
        let mut versions = Vec::new();
        for (generation, view) in &self.inputs.views {
            let has_files = |root: &str| {
                let directory = self.inputs.roots.get(root);
                directory.is_some_and(|directory| !directory.directories.is_empty())
            };
            if view.state == State::Loads
                && view.registry.config_path.is_none()
                && view.roots().into_iter().any(has_files)
            {
                versions.extend(&generation.versions);
            }
        }
        if !versions.is_empty() {
            findings.add(
                &finding::BUILT_IN_CONFIG_PATH,
                None,
                format!(
                    "containerd {} reads {DEFAULT_CERTS_DIRECTORY} and {DOCKER_CERTS_DIRECTORY} by itself: what is \
                     there comes alive",
                    ranges(versions)
                ),
                "look at what is there before the upgrade, or set `config_path`",
            );
        }
    }

    /// Who decides for registries that nobody named, and the `_default` file to write for them.
    fn default_directory(
        &self,
        unnamed: &str,
        findings: &mut Findings,
    ) -> (Decider, Option<Draft>) {
        let behaviour = self.inputs.behaviour();
        let resolved = self.legacy.resolve(unnamed, &behaviour, true);
        let wildcard = self.legacy.mirror(WILDCARD).is_some();
        let default_file = || Some(self.default_file(&resolved.hosts));
        let Some(directory) = self.inputs.certs.directories.get(DEFAULT) else {
            let endpoints = resolved
                .hosts
                .iter()
                .any(|host| host.origin != Origin::Default);
            return (
                Decider::Settings,
                if wildcard && endpoints {
                    default_file()
                } else {
                    None
                },
            );
        };
        let settings = resolved.usable();
        let same = self.generations().all(|generation| {
            !generation.behaviour.default_directory
                || reader::pulls(&self.inputs.certs, unnamed, &generation.behaviour).same(&settings)
        });
        if same {
            return (Decider::Settings, None);
        }
        if self.today != Today::Legacy && !wildcard && self.stays_in_effect(unnamed) {
            return (Decider::InEffect, None);
        }
        let named = wildcard || directory.hosts_file.is_some();
        let (file, on) = self.in_file(unnamed, &settings);
        let both = Both {
            settings: &settings,
            file: &file,
            on,
            unnamed: Some(unnamed),
        };
        if !self.file_decides(DEFAULT, directory, named, &both, findings) {
            return (Decider::Settings, default_file());
        }
        (Decider::Kept, None)
    }

    /// Whether what the certs directory gives for `namespace`, whose settings nobody has named, is in effect today, or is
    /// for each containerd what that or the one that runs makes of the node as it is. Else it comes alive by the
    /// migration: a `config_path` of other directories leads to it, or one that is looked into in another way.
    fn stays_in_effect(&self, namespace: &str) -> bool {
        let inputs = self.inputs;
        let behaviour = inputs.behaviour();
        let certs = &inputs.certs;
        let name = certs.lookup(namespace, &behaviour);
        let directory =
            name.and_then(|name| Some((certs.directories.get(&name)?, certs.path.join(&name))));
        let is_read = directory.is_some_and(|(directory, path)| {
            let file = directory.hosts_file.as_ref();
            file.is_some_and(|file| reader::discarded(file, &path, &behaviour).is_none())
        });
        let mut roots = inputs.view.roots().into_iter();
        if is_read && roots.any(|root| NodePath::new(root) == certs.path) {
            return true;
        }
        let today = inputs.view.pulls(namespace, &inputs.roots, &self.legacy);
        self.on_the_way.iter().all(|on_the_way| {
            let behaviour = &on_the_way.generation.behaviour;
            let planned = reader::pulls(&inputs.certs, namespace, behaviour);
            planned.same(&today) || planned.same(&on_the_way.pulls(namespace, &inputs.roots))
        })
    }

    /// Who decides for `namespace`.
    fn decider(
        &self,
        namespace: &str,
        settings: &Pulls,
        default: Decider,
        findings: &mut Findings,
    ) -> Decider {
        let has_tls = [namespace, default_host(namespace)]
            .into_iter()
            .any(|host| {
                self.legacy
                    .config(host)
                    .is_some_and(|config| config.tls.is_some())
            });
        let named = self.legacy.mirror(namespace).is_some() || has_tls;
        let Some(name) = self.inputs.certs.own(namespace) else {
            if default == Decider::Settings || !named {
                return default;
            }
            // With settings of its own a namespace gets a file of its own, which hides `_default`. That is what it
            // has today, unless `_default` is in effect and only TLS settings are to be added.
            let adds_tls = self.today != Today::Legacy && self.legacy.mirror(namespace).is_none();
            if !adds_tls {
                return Decider::Settings;
            }
            return self.decide(namespace, DEFAULT, settings, named, findings);
        };
        let same = self.generations().all(|generation| {
            reader::pulls(&self.inputs.certs, namespace, &generation.behaviour).same(settings)
        });
        if same {
            return Decider::Settings;
        }
        if self.today != Today::Legacy && !named && self.stays_in_effect(namespace) {
            return Decider::InEffect;
        }
        self.decide(namespace, &name, settings, named, findings)
    }

    /// Whether the directory `name` decides for `namespace`, or the settings, which give other pulls.
    fn decide(
        &self,
        namespace: &str,
        name: &str,
        settings: &Pulls,
        named: bool,
        findings: &mut Findings,
    ) -> Decider {
        let Some(directory) = self.inputs.certs.directories.get(name) else {
            return Decider::Settings;
        };
        let (file, on) = self.in_file(namespace, settings);
        let both = Both {
            settings,
            file: &file,
            on,
            unnamed: None,
        };
        match self.file_decides(name, directory, named, &both, findings) {
            true => Decider::Kept,
            false => Decider::Settings,
        }
    }

    /// What the certs directory gives for `namespace`, as the first containerd reads it for which that is not `other`,
    /// and which that is where it is not the one that runs.
    fn in_file(&self, namespace: &str, other: &Pulls) -> (Pulls, String) {
        let read = |g: &Generation| reader::pulls(&self.inputs.certs, namespace, &g.behaviour);
        let mut generations = self.generations().map(|g| (g, read(g)));
        match generations.find(|(_, pulls)| !pulls.same(other)) {
            Some((generation, pulls)) if !generation.versions.contains(&self.inputs.from) => {
                let on = format!(" on containerd {}", ranges(generation.versions.clone()));
                (pulls, on)
            }
            Some((_, pulls)) => (pulls, String::new()),
            None => {
                let behaviour = self.inputs.behaviour();
                let pulls = reader::pulls(&self.inputs.certs, namespace, &behaviour);
                (pulls, String::new())
            }
        }
    }

    /// A directory gives other pulls than the settings: `--existing` decides, or nobody yet.
    fn file_decides(
        &self,
        name: &str,
        directory: &RegistryDirectory,
        named: bool,
        both: &Both<'_>,
        findings: &mut Findings,
    ) -> bool {
        let path = self.inputs.certs.path.join(name);
        if let Some(reason) = &directory.unreadable {
            findings.add(
                &finding::UNREADABLE_DIRECTORY,
                None,
                format!(
                    "{reason}, so that containerd would find no hosts file and fail every pull"
                ),
                format!("move `{path}` out of the certs directory"),
            );
            return false;
        }
        if directory
            .hosts_file
            .as_ref()
            .is_none_or(|file| file.bytes.is_empty())
        {
            // Where the settings name it, the hosts.toml that is written decides, and the certificates beside it are
            // not read: that is what it was until now.
            if named && self.today == Today::Legacy {
                return false;
            }
            let message =
                format!("`{path}` has no hosts.toml, but as a directory it changes pulls: {both}");
            let help = [
                "containerd reads certificates there and looks no further; --existing keep: the directory decides; \
                 --existing replace: a hosts.toml with what the settings give is written into it",
                "it is kept, and decides",
                "a hosts.toml is written into it",
            ];
            let code = &finding::CERTIFICATE_DIRECTORY;
            return self.existing_decides(code, None, message, help, findings);
        }
        let reason = match self.today {
            Today::HostsFiles | Today::Down(_) if named => {
                "beside legacy settings for the same name"
            }
            _ => "without effect until now",
        };
        let mut carried = self.inputs.carried.iter();
        let is_there = match carried.find(|file| file.path == directory.hosts_path()) {
            Some(carried) => format!("`{}/hosts.toml`, which is to be kept,", carried.from),
            None => format!("`{path}/hosts.toml` is there, {reason}, and"),
        };
        let message = format!("{is_there} gives other pulls than the settings: {both}");
        let help = [
            "--existing keep: the file decides; --existing replace: what the settings give is written over it",
            "it is kept, and decides",
            "it is written over; the old file stays in the diff",
        ];
        let code = &finding::EXISTING_HOSTS_FILE;
        self.existing_decides(code, None, message, help, findings)
    }

    /// Whether what is there decides, by `--existing`. `help` is for each of its values: refuse, keep, replace.
    pub(super) fn existing_decides(
        &self,
        code: &'static Code,
        place: Option<Place>,
        message: impl Into<String>,
        help: [&str; 3],
        findings: &mut Findings,
    ) -> bool {
        let [refused, kept, replaced] = help;
        match self.inputs.options.existing {
            Existing::Refuse => {
                findings.add(code, place, message, refused);
                false
            }
            Existing::Keep => {
                findings.add_decided(code, place, message, kept);
                true
            }
            Existing::Replace => {
                findings.add_decided(code, place, message, replaced);
                false
            }
        }
    }
}

/// Whether a registry may be called this: without a dot or a port it would be a part of an image's path.
fn is_registry(name: &str) -> bool {
    unmatchable(name).is_none() && (name.contains(['.', ':']) || name == "localhost")
}
