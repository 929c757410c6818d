//! What every containerd version makes of a node, as it is and after the migration. Pure: `report` makes text of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::containerd::configuration::Configuration;
use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{Legacy, unmatchable};
use crate::containerd::release::{Behaviour, NEWEST, OLDEST, Version, generations};
use crate::containerd::sight::{Roots, State, View, Views, missing_import};
use crate::finding::{self, Findings, Place};
use crate::plan::{self, Plan};
use crate::read::Inputs;

/// What comes of a node's registry configuration, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The daemon does not start.
    DoesNotStart,
    /// The daemon runs, but CRI fails to load.
    CriFails,
    /// The daemon runs, with CRI switched off.
    CriDisabled,
    /// Registry settings are there that this version does not read.
    RegistrySettingsIgnored,
    /// Settings of certificates are there that this version does not read.
    TlsSettingsIgnored,
    /// Hosts files are there that this version does not find or discards.
    HostsFilesIgnored,
    /// Everything counts.
    Works,
}

impl Outcome {
    /// The outcome as the table has it.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::DoesNotStart => "daemon does not start",
            Self::CriFails => "CRI does not load",
            Self::CriDisabled => "CRI is disabled",
            Self::RegistrySettingsIgnored => "registry settings ignored",
            Self::TlsSettingsIgnored => "TLS settings ignored",
            Self::HostsFilesIgnored => "hosts files ignored",
            Self::Works => "works",
        }
    }
}

/// An outcome and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What comes of it.
    pub outcome: Outcome,
    /// Why, as a phrase.
    pub reason: String,
}

/// Versions that follow each other and behave alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The versions, oldest first.
    pub versions: Vec<Version>,
    /// The node as it is.
    pub today: Verdict,
    /// The node after the migration; `None` if there is no plan that could be written.
    pub afterwards: Option<Verdict>,
}

/// What `check` says.
#[derive(Clone, Debug)]
pub struct Check {
    /// All known versions.
    pub rows: Vec<Row>,
    /// Why the node as it is must not be upgraded; empty if it works on `--to` as it does on `--from`.
    pub not_ready: Vec<String>,
    /// What is not compared, and changes all the same.
    pub remark: Option<String>,
}

/// A node's files, as they are or as they are planned, for any containerd to look at.
pub struct Side {
    configuration: Configuration,
    roots: Roots,
    views: Views,
    /// CA files without a certificate, which containerd ignores in legacy settings.
    empty_ca_files: BTreeSet<String>,
    /// A table with registry settings that no version from `--from` to `--to` reads, for what it is called or where it
    /// stands.
    misspelt: Option<String>,
}

impl Side {
    /// The node as it is. What `--v1 convert` would make of it does not count.
    pub fn today(inputs: &Inputs) -> Option<Self> {
        let mut texts = BTreeMap::new();
        texts.extend(inputs.converted_from.clone().map(|text| (0, text)));
        Some(Self {
            configuration: inputs.configuration.with_texts(&texts)?,
            roots: inputs.roots.clone(),
            views: Views::default(),
            empty_ca_files: inputs.empty_ca_files(),
            misspelt: None,
        })
    }

    /// The node as the plan leaves it. `None` if the planned files cannot be read.
    pub fn afterwards(inputs: &Inputs, plan: &Plan) -> Option<Self> {
        let after = plan.after(inputs)?;
        Some(Self {
            configuration: after.configuration,
            roots: after.roots,
            views: Views::default(),
            empty_ca_files: inputs.empty_ca_files(),
            misspelt: None,
        })
    }

    /// What this version makes of it. That an import is not there counts, accepted or not.
    pub fn view(&mut self, version: Version) -> View {
        let mut view = self.views.of(&self.configuration, &Behaviour::of(version));
        let order = self.configuration.order(&view.behaviour);
        if let Some(reason) = order.and_then(missing_import) {
            view.state = State::DoesNotStart(reason);
        }
        if !self.empty_ca_files.is_empty() {
            Rc::make_mut(&mut view.registry)
                .ignore_ca_files(|path| self.empty_ca_files.contains(path));
        }
        view
    }

    /// The hosts that a pull from `namespace` tries; `legacy` is the index of the view's settings.
    pub fn pulls(&self, view: &View, legacy: &Legacy<'_>, namespace: &str) -> Pulls {
        view.pulls(namespace, &self.roots, legacy)
    }

    /// What comes of it on this version.
    pub fn verdict(&mut self, version: Version) -> Verdict {
        let view = self.view(version);
        let verdict = |outcome, reason: String| Verdict { outcome, reason };
        match &view.state {
            State::DoesNotStart(reason) => {
                return verdict(Outcome::DoesNotStart, self.said(reason));
            }
            State::CriFails(reason) => return verdict(Outcome::CriFails, self.said(reason)),
            State::CriDisabled(reason) => return verdict(Outcome::CriDisabled, self.said(reason)),
            State::Loads => {}
        }
        let registry = &view.registry;
        // With both of them CRI loads only if the rest of the legacy settings is nothing to it.
        let in_effect = if registry.config_path.is_some() || self.has_files(&view) {
            Some(format!("hosts files in {}", view.config_path))
        } else {
            registry.has_legacy().then(|| "legacy settings".to_owned())
        };
        let misspelt = || {
            let place = self.misspelt.as_ref()?;
            Some(format!("those of a misspelt table ({place})"))
        };
        if let Some(mut reason) = self.ignored_settings(&view).or_else(misspelt) {
            if let Some(others) = in_effect {
                reason = format!("{reason}, but {others} count");
            }
            return verdict(Outcome::RegistrySettingsIgnored, reason);
        }
        if let Some(reason) = self.ignored_tls(&view) {
            return verdict(Outcome::TlsSettingsIgnored, reason);
        }
        if let Some(reason) = self.ignored_hosts_files(&view) {
            return verdict(Outcome::HostsFilesIgnored, reason);
        }
        let nothing = || "no mirrors, no config_path".to_owned();
        verdict(Outcome::Works, in_effect.unwrap_or_else(nothing))
    }

    /// Whether there is anything in the directories that this containerd looks into.
    fn has_files(&self, view: &View) -> bool {
        let mut directories = view
            .roots()
            .into_iter()
            .filter_map(|root| self.roots.get(root));
        directories.any(|certs| !certs.directories.is_empty())
    }

    fn said(&self, reason: &crate::containerd::sight::Reason) -> String {
        match &reason.place {
            Some(place) => format!("{} ({})", reason.text, self.line(place)),
            None => reason.text.clone(),
        }
    }

    /// `FILE:LINE`.
    fn line(&self, place: &Place) -> String {
        let mut files = self.configuration.files.iter().map(|loaded| &loaded.file);
        let Some(file) = files.find(|file| file.id == place.file) else {
            return String::new();
        };
        let before = file.text.get(..place.range.start).unwrap_or_default();
        format!("{}:{}", file.path, before.matches('\n').count() + 1)
    }

    /// Registry settings in a section of the CRI plugin that this version does not read.
    fn ignored_settings(&self, view: &View) -> Option<String> {
        let order = self.configuration.order(&view.behaviour)?;
        for index in &order.files {
            let loaded = self.configuration.files.get(*index)?;
            let contents = loaded.contents(view.behaviour.toml);
            for section in &contents.sections {
                let Some(registry) = &section.registry else {
                    continue;
                };
                // A `config_path` that another file sets as well is not missed.
                let matters = registry.says_more_than_config_path()
                    || registry.config_path.is_some() && view.registry.config_path.is_none();
                let id = (*index, section.id);
                if !matters
                    || view.live.contains(&id)
                    || view.is_live_by_another_name(&self.configuration, id)
                {
                    continue;
                }
                let place = section.registry_place.as_ref().unwrap_or(&section.place);
                return Some(format!(
                    "`{}` is not read in {}",
                    section.id.name(),
                    self.line(place)
                ));
            }
        }
        None
    }

    /// Settings of certificates that this version does not read.
    fn ignored_tls(&self, view: &View) -> Option<String> {
        if view.behaviour.legacy_tls {
            return None;
        }
        let configs = view.registry.configs.iter();
        let tls = configs.filter_map(|config| Some((config, config.tls.as_ref()?)));
        let (config, tls) = tls.into_iter().find(|(_, tls)| tls.says_something())?;
        Some(format!(
            "those of `{}` ({})",
            config.name.value,
            self.line(&tls.place)
        ))
    }

    /// Hosts files that this version may read although they are not TOML, so that nobody can say what they give.
    fn not_understood(&self, version: Version, view: &View) -> Vec<String> {
        let roots = view.roots().into_iter();
        let directories = roots.filter_map(|root| self.roots.get(root));
        let files = directories.flat_map(|certs| {
            let files = certs.directories.iter();
            files.filter_map(|(name, directory)| {
                Some((certs.path.join(name), directory.hosts_file.as_ref()?))
            })
        });
        files
            .filter_map(|(path, file)| {
                let reason = file.not_understood(view.behaviour.go_toml)?.reason;
                Some(format!(
                    "{path}/hosts.toml: {reason}, which containerd {version} may read"
                ))
            })
            .collect()
    }

    /// Hosts files that this version does not find, or discards.
    fn ignored_hosts_files(&self, view: &View) -> Option<String> {
        if view.registry.config_path.is_none() && view.transfer_service {
            // Nobody has named them.
            return None;
        }
        let named: Vec<&str> = view.config_path.split(':').collect();
        let directories = named.iter().filter_map(|root| self.roots.get(*root));
        if view.transfer_service && named.len() > 1 {
            let has_files = directories
                .clone()
                .any(|directory| !directory.directories.is_empty());
            return has_files.then(|| {
                format!(
                    "`{}` is taken for the name of one directory",
                    view.config_path
                )
            });
        }
        for certs in directories {
            let read = certs.directories.iter();
            for (name, directory) in read.filter(|(name, _)| certs.hidden_by(name).is_none()) {
                let path = certs.path.join(name);
                let file = directory.hosts_file.as_ref();
                if let Some(found) =
                    file.and_then(|file| reader::discarded(file, &path, &view.behaviour))
                {
                    return Some(format!("{path}/hosts.toml: {}", found.reason));
                }
            }
        }
        None
    }
}

/// The rows of the table: versions that follow each other and behave alike.
fn rows(mut cells: Vec<(Version, Verdict, Option<Verdict>)>) -> Vec<Row> {
    cells.sort_by_key(|(version, _, _)| *version);
    let mut rows: Vec<Row> = Vec::new();
    for (version, today, afterwards) in cells {
        match rows.last_mut() {
            Some(row) if (&row.today, &row.afterwards) == (&today, &afterwards) => {
                row.versions.push(version)
            }
            _ => rows.push(Row {
                versions: vec![version],
                today,
                afterwards,
            }),
        }
    }
    rows
}

/// Looks at the node with the eyes of every known version. `findings` are those of the plan.
pub fn check(inputs: &Inputs, plan: Option<&Plan>, findings: &Findings) -> Option<Check> {
    let mut today = Side::today(inputs)?;
    let mut afterwards = plan.and_then(|plan| Side::afterwards(inputs, plan));
    let misspelt = findings.places(&finding::MISSPELT_TABLE);
    let misspelt = misspelt.first().map(|place| today.line(place));
    let mut cells: Vec<(Version, Verdict, Option<Verdict>)> = Vec::new();
    for generation in generations(OLDEST, NEWEST) {
        let Some(first) = generation.versions.first() else {
            continue;
        };
        let mut views = inputs.views.iter();
        let reader = generation.behaviour.toml;
        let is_on_the_way = views.any(|(other, _)| other.behaviour.toml == reader);
        for side in std::iter::once(&mut today).chain(&mut afterwards) {
            side.misspelt = misspelt.clone().filter(|_| is_on_the_way);
        }
        let verdict = today.verdict(*first);
        let after = afterwards.as_mut().map(|side| side.verdict(*first));
        let versions = generation.versions.iter();
        cells.extend(versions.map(|version| (*version, verdict.clone(), after.clone())));
    }
    Some(Check {
        rows: rows(cells),
        not_ready: not_ready(inputs, &mut today),
        remark: loopback_remark(inputs, &mut today, afterwards.as_mut()),
    })
}

/// What becomes of registries on this host that no setting names: containerd's default for them is another with hosts
/// files (semantics §2.10). It is no finding, since nobody is known to use one.
fn loopback_remark(
    inputs: &Inputs,
    today: &mut Side,
    afterwards: Option<&mut Side>,
) -> Option<String> {
    let (from, to) = (inputs.from, inputs.options.to);
    let known: BTreeSet<String> = plan::namespaces(inputs)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut names = (5000..=u16::MAX).map(|port| format!("localhost:{port}"));
    let name = names.find(|name| !known.contains(name))?;
    let pulls = |side: &mut Side, version| {
        let view = side.view(version);
        let legacy = Legacy::new(Some(&view.registry));
        (view.state == State::Loads).then(|| side.pulls(&view, &legacy, &name))
    };
    let kept = pulls(today, from)?;
    let changed = |pulls: Option<Pulls>| pulls.filter(|pulls| !pulls.same(&kept));
    let (comes, when) = match changed(pulls(today, to)) {
        Some(comes) => (comes, ""),
        None => (changed(pulls(afterwards?, to))?, " after the migration"),
    };
    Some(format!(
        "registries on localhost that nothing names, such as {name}: {kept} on containerd {from}, but {comes} on \
         {to}{when}"
    ))
}

/// Why the node as it is does not do on `--to` what it does on `--from`.
fn not_ready(inputs: &Inputs, side: &mut Side) -> Vec<String> {
    let (from, to) = (inputs.from, inputs.options.to);
    let (view_from, view_to) = (side.view(from), side.view(to));
    let disabled = |view: &View| matches!(view.state, State::CriDisabled(_));
    if disabled(&view_from) && disabled(&view_to) {
        return Vec::new();
    }
    for (version, view) in [(from, &view_from), (to, &view_to)] {
        if view.state != State::Loads {
            let verdict = side.verdict(version);
            return vec![format!(
                "containerd {version}: {}: {}",
                verdict.outcome.phrase(),
                verdict.reason
            )];
        }
    }
    let mut names: Vec<(String, bool)> = plan::namespaces(inputs);
    let known: BTreeSet<String> = names.iter().map(|(name, _)| name.clone()).collect();
    let mirrors = view_to
        .registry
        .mirrors
        .iter()
        .map(|mirror| mirror.name.value.clone());
    let roots = [&view_from, &view_to].into_iter().flat_map(View::roots);
    let directories = roots
        .filter_map(|root| side.roots.get(root))
        .flat_map(CertsDirectory::namespaces);
    let more: BTreeSet<String> = mirrors.chain(directories).collect();
    let possible = more
        .into_iter()
        .filter(|name| !known.contains(name) && unmatchable(name).is_none());
    names.extend(possible.map(|name| (name, false)));
    let mut reasons = Vec::new();
    let mut other_credentials = view_from.other_credentials(&view_to);
    let (legacy_from, legacy_to) = (
        Legacy::new(Some(&view_from.registry)),
        Legacy::new(Some(&view_to.registry)),
    );
    for (name, unnamed) in names {
        let (today, comes) = (
            side.pulls(&view_from, &legacy_from, &name),
            side.pulls(&view_to, &legacy_to, &name),
        );
        let title = if unnamed { "any other registry" } else { &name };
        if !today.same(&comes) {
            let text = format!("{title}: {today} on containerd {from}, but {comes} on {to}");
            let text = if unnamed {
                text.replace(&name, "<registry>")
            } else {
                text
            };
            reasons.push(text);
        }
        if let Pulls::Hosts(hosts) = &today {
            let hosts = hosts.iter().map(|host| host.host.clone());
            let other =
                hosts.filter(|host| view_from.credentials(host) != view_to.credentials(host));
            other_credentials.extend(other);
        }
    }
    let credentials = other_credentials
        .into_iter()
        .map(|host| format!("{host}: other credentials on containerd {to} than on {from}"));
    reasons.extend(credentials);
    for (version, view) in [(from, &view_from), (to, &view_to)] {
        reasons.extend(side.not_understood(version, view));
    }
    if view_from.headers() != view_to.headers() {
        reasons.push(format!(
            "other `registry.headers` on containerd {to} than on {from}"
        ));
    }
    reasons
}
