//! What every containerd version makes of a node, as it is and after the migration. Pure: `report` makes text of it.

use std::collections::BTreeSet;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::unmatchable;
use crate::containerd::loader::{Reason, Startup};
use crate::containerd::release::{Behaviour, NEWEST, OLDEST, Version, generations};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;
use crate::finding::{self, Findings, Place};
use crate::plan::{self, Namespace, Plan};
use crate::read::Inputs;
use crate::secret::{shown_path, shown_url};

/// What comes of a node's registry configuration, the worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// A node's files, as they are or as they are planned, judged release by release.
struct Judge<'s> {
    snapshot: &'s Snapshot,
    /// A table with registry settings that no version from `--from` to `--to` reads, for what it is called or where it
    /// stands.
    misspelt: Option<String>,
}

impl<'s> Judge<'s> {
    fn new(snapshot: &'s Snapshot) -> Self {
        Self {
            snapshot,
            misspelt: None,
        }
    }

    fn sight(&self, version: Version) -> Rc<Sight> {
        self.snapshot.seen_by(&Behaviour::of(version))
    }

    /// What comes of it on this version.
    fn verdict(&self, version: Version) -> Verdict {
        let sight = self.sight(version);
        let verdict = |outcome, reason: String| Verdict { outcome, reason };
        match sight.startup(false) {
            Startup::DoesNotStart(reason) => {
                return verdict(Outcome::DoesNotStart, self.said(&reason));
            }
            Startup::CriFails(reason) => return verdict(Outcome::CriFails, self.said(&reason)),
            Startup::CriDisabled(reason) => {
                return verdict(Outcome::CriDisabled, self.said(&reason));
            }
            Startup::Loads => {}
        }
        if let Some([(file, _), _]) = sight.by_chance
            && let Some(loaded) = self.snapshot.configuration().files.get(file)
        {
            let path = &loaded.file.path;
            let reason = format!("those of one of two names of CRI in {path}, at random");
            return verdict(Outcome::RegistrySettingsIgnored, reason);
        }
        let registry = sight.registry();
        // With both of them CRI loads only if the rest of the legacy settings is nothing to it.
        let in_effect = if registry.config_path.is_some() || self.has_files(&sight) {
            Some(format!("hosts files in {}", sight.config_path))
        } else {
            registry.has_legacy().then(|| "legacy settings".to_owned())
        };
        let misspelt = || {
            let place = self.misspelt.as_ref()?;
            Some(format!("those of a misspelt table ({place})"))
        };
        if let Some(mut reason) = self.ignored_settings(&sight).or_else(misspelt) {
            if let Some(others) = in_effect {
                reason = format!("{reason}, but {others} count");
            }
            return verdict(Outcome::RegistrySettingsIgnored, reason);
        }
        if let Some(reason) = self.ignored_tls(&sight) {
            return verdict(Outcome::TlsSettingsIgnored, reason);
        }
        if let Some(reason) = self.ignored_hosts_files(&sight) {
            return verdict(Outcome::HostsFilesIgnored, reason);
        }
        let nothing = || "no mirrors, no config_path".to_owned();
        verdict(Outcome::Works, in_effect.unwrap_or_else(nothing))
    }

    /// Whether there is anything in the directories that this containerd looks into.
    fn has_files(&self, sight: &Sight) -> bool {
        let mut directories = sight
            .roots()
            .into_iter()
            .filter_map(|root| self.snapshot.certs().get(root));
        directories.any(|certs| !certs.directories.is_empty())
    }

    fn said(&self, reason: &Reason) -> String {
        match &reason.place {
            Some(place) => format!("{} ({})", reason.text, self.line(place)),
            None => reason.text.clone(),
        }
    }

    /// `FILE:LINE`.
    fn line(&self, place: &Place) -> String {
        let mut files = self
            .snapshot
            .configuration()
            .files
            .iter()
            .map(|loaded| &loaded.file);
        let Some(file) = files.find(|file| file.id == place.file) else {
            return String::new();
        };
        let before = file.toml.text.get(..place.range.start).unwrap_or_default();
        format!("{}:{}", file.path, before.matches('\n').count() + 1)
    }

    /// Registry settings in a section of the CRI plugin that this version does not read.
    fn ignored_settings(&self, sight: &Sight) -> Option<String> {
        let order = self.snapshot.configuration().order(&sight.behaviour)?;
        for index in &order.files {
            let loaded = self.snapshot.configuration().files.get(*index)?;
            let contents = loaded.contents(sight.behaviour.major);
            for section in &contents.sections {
                let Some(registry) = &section.registry else {
                    continue;
                };
                // A `config_path` that another file sets as well is not missed.
                let matters = registry.says_more_than_config_path()
                    || registry.config_path.is_some() && sight.registry().config_path.is_none();
                let id = (*index, section.id);
                if !matters
                    || sight.in_effect.contains(&id)
                    || sight.takes_effect_by_another_name(self.snapshot.configuration(), id)
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
    fn ignored_tls(&self, sight: &Sight) -> Option<String> {
        if sight.behaviour.reads_legacy_tls() {
            return None;
        }
        let configs = sight.registry().configs.iter();
        let tls = configs.filter_map(|config| Some((config, config.tls.as_ref()?)));
        let (config, tls) = tls.into_iter().find(|(_, tls)| tls.says_something())?;
        Some(format!(
            "those of `{}` ({})",
            shown_url(&config.name.value),
            self.line(&tls.place)
        ))
    }

    /// Hosts files that this version may read although they are not TOML, so that nobody can say what they give.
    fn not_understood(&self, version: Version, sight: &Sight) -> Vec<String> {
        let roots = sight.roots().into_iter();
        let directories = roots.filter_map(|root| self.snapshot.certs().get(root));
        let files = directories.flat_map(|certs| {
            let files = certs.directories.iter();
            files.filter_map(|(name, directory)| {
                Some((certs.path.join(name), directory.hosts_file.as_ref()?))
            })
        });
        files
            .filter_map(|(path, file)| {
                let reason = file.not_understood(sight.behaviour.go_toml)?.reason;
                Some(format!(
                    "{path}/hosts.toml: {reason}, which containerd {version} may read"
                ))
            })
            .collect()
    }

    /// Hosts files that this version does not find, or discards.
    fn ignored_hosts_files(&self, sight: &Sight) -> Option<String> {
        if sight.registry().config_path.is_none() && sight.transfer_service {
            // Nobody has named them.
            return None;
        }
        let named: Vec<&str> = sight.config_path.split(':').collect();
        let directories = named
            .iter()
            .filter_map(|root| self.snapshot.certs().get(*root));
        if sight.transfer_service && named.len() > 1 {
            let has_files = directories
                .clone()
                .any(|directory| !directory.directories.is_empty());
            return has_files.then(|| {
                format!(
                    "`{}` is taken for the name of one directory",
                    sight
                        .config_path
                        .split(':')
                        .map(shown_path)
                        .collect::<Vec<_>>()
                        .join(":")
                )
            });
        }
        for certs in directories {
            let read = certs.directories.iter();
            for (name, directory) in read.filter(|(name, _)| certs.hidden_by(name).is_none()) {
                let path = certs.path.join(name);
                let file = directory.hosts_file.as_ref();
                if let Some(found) =
                    file.and_then(|file| reader::discarded(file, &path, &sight.behaviour))
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
pub fn check(inputs: &Inputs, plan: Option<&Plan>, findings: &Findings) -> Check {
    let after = plan.and_then(|plan| plan.after(inputs));
    let mut today = Judge::new(&inputs.snapshot);
    let mut afterwards = after.as_ref().map(Judge::new);
    let misspelt = findings.places(&finding::MISSPELT_TABLE);
    let misspelt = misspelt.first().map(|place| today.line(place));
    let targets = generations(inputs.from, inputs.options.to);
    let mut cells: Vec<(Version, Verdict, Option<Verdict>)> = Vec::new();
    for generation in generations(OLDEST, NEWEST) {
        let Some(first) = generation.versions.first() else {
            continue;
        };
        let major = generation.behaviour.major;
        let is_on_the_way = targets.iter().any(|other| other.behaviour.major == major);
        for judge in std::iter::once(&mut today).chain(&mut afterwards) {
            judge.misspelt = misspelt.clone().filter(|_| is_on_the_way);
        }
        let verdict = today.verdict(*first);
        let after = afterwards.as_ref().map(|judge| judge.verdict(*first));
        let versions = generation.versions.iter();
        cells.extend(versions.map(|version| (*version, verdict.clone(), after.clone())));
    }
    Check {
        rows: rows(cells),
        not_ready: not_ready(inputs, &today),
        remark: loopback_remark(inputs, after.as_ref()),
    }
}

/// The namespaces of the node as it is.
fn namespaces(inputs: &Inputs) -> Vec<Namespace> {
    let path = inputs.certs_path();
    let empty = CertsDirectory::empty(path.clone());
    let certs = inputs.snapshot.certs().get(path.as_str());
    plan::namespaces(inputs, &inputs.sight(), certs.map_or(&empty, Rc::as_ref))
}

/// What becomes of registries on this host that no setting names: containerd's default for them is another with hosts
/// files (docs/containerd.md §2.10). It is no finding, since nobody is known to use one.
fn loopback_remark(inputs: &Inputs, afterwards: Option<&Snapshot>) -> Option<String> {
    let (from, to) = (inputs.from, inputs.options.to);
    let known: BTreeSet<String> = namespaces(inputs).into_iter().map(|one| one.name).collect();
    let mut names = (5000..=u16::MAX).map(|port| format!("localhost:{port}"));
    let name = names.find(|name| !known.contains(name))?;
    let pulls = |snapshot: &Snapshot, version| {
        let sight = snapshot.seen_by(&Behaviour::of(version));
        (sight.startup(false) == Startup::Loads).then(|| sight.pulls(&name))
    };
    let kept = pulls(&inputs.snapshot, from)?;
    let changed = |pulls: Option<Pulls>| pulls.filter(|pulls| !pulls.same(&kept));
    let (comes, when) = match changed(pulls(&inputs.snapshot, to)) {
        Some(comes) => (comes, ""),
        None => (changed(pulls(afterwards?, to))?, " after the migration"),
    };
    Some(format!(
        "registries on localhost that nothing names, such as {name}: {kept} on containerd {from}, but {comes} on \
         {to}{when}"
    ))
}

/// Why the node as it is does not do on `--to` what it does on `--from`.
fn not_ready(inputs: &Inputs, judge: &Judge<'_>) -> Vec<String> {
    let (from, to) = (inputs.from, inputs.options.to);
    let (sight_from, sight_to) = (judge.sight(from), judge.sight(to));
    let disabled = |sight: &Sight| matches!(sight.startup(false), Startup::CriDisabled(_));
    if disabled(&sight_from) && disabled(&sight_to) {
        return Vec::new();
    }
    for (version, sight) in [(from, &sight_from), (to, &sight_to)] {
        if sight.startup(false) != Startup::Loads {
            let verdict = judge.verdict(version);
            return vec![format!(
                "containerd {version}: {}: {}",
                verdict.outcome.phrase(),
                verdict.reason
            )];
        }
    }
    let mut names = namespaces(inputs);
    let known: BTreeSet<String> = names.iter().map(|one| one.name.clone()).collect();
    let mirrors = sight_to
        .registry()
        .mirrors
        .iter()
        .map(|mirror| mirror.name.value.clone());
    let roots = [&sight_from, &sight_to]
        .into_iter()
        .flat_map(|sight| sight.roots());
    let directories = roots
        .filter_map(|root| judge.snapshot.certs().get(root))
        .flat_map(|certs| certs.namespaces());
    let more: BTreeSet<String> = mirrors.chain(directories).collect();
    let possible = more
        .into_iter()
        .filter(|name| !known.contains(name) && unmatchable(name).is_none());
    names.extend(possible.map(|name| Namespace {
        name,
        unnamed: false,
    }));
    let mut reasons = Vec::new();
    let mut other_credentials = sight_from.other_credentials(&sight_to);
    for Namespace { name, unnamed } in names {
        let (today, comes) = (sight_from.pulls(&name), sight_to.pulls(&name));
        let title = if unnamed { "any other registry" } else { &name };
        if !today.same(&comes) {
            let [today, comes] =
                [&today, &comes].map(|pulls| pulls.shown(unnamed.then_some(&name)));
            reasons.push(format!(
                "{title}: {today} on containerd {from}, but {comes} on {to}"
            ));
        }
        if let Pulls::Hosts(hosts) = &today {
            let hosts = hosts.iter().map(|host| host.host.clone());
            let other =
                hosts.filter(|host| sight_from.credentials(host) != sight_to.credentials(host));
            other_credentials.extend(other);
        }
    }
    let credentials = other_credentials
        .into_iter()
        .map(|host| format!("{host}: other credentials on containerd {to} than on {from}"));
    reasons.extend(credentials);
    for (version, sight) in [(from, &sight_from), (to, &sight_to)] {
        reasons.extend(judge.not_understood(version, sight));
    }
    if sight_from.headers() != sight_to.headers() {
        reasons.push(format!(
            "other `registry.headers` on containerd {to} than on {from}"
        ));
    }
    reasons
}
