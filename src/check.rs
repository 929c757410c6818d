//! Whether a node can be upgraded as it is, and what every containerd release makes of it, as it is and after the
//! migration. Pure: `report` makes text of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::containerd::difference;
use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::unmatchable;
use crate::containerd::loader::{Reason, Startup};
use crate::containerd::release::{
    Behaviour, NEWEST, OLDEST, REMOVES_LEGACY, REMOVES_LEGACY_WHEN, Version, generations,
};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;
use crate::finding::{self, Findings, Place};
use crate::plan::{self, Namespace, Plan};
use crate::read::{Inputs, Release};
use crate::secret::{shown_path, shown_url};
use crate::verify::{Others, phrase};

/// What becomes of a node's registry configuration on a release, the worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The release is older than `--from`, and cannot read a file of this version at all.
    VersionNotRead,
    /// The daemon does not start.
    DoesNotStart,
    /// The daemon runs, but CRI fails to load.
    CriFails,
    /// The daemon runs, with CRI disabled.
    CriDisabled,
    /// The release does not read some registry settings.
    RegistrySettingsIgnored,
    /// The release does not read the TLS settings.
    TlsSettingsIgnored,
    /// The release does not find some hosts files, or discards them.
    HostsFilesIgnored,
    /// Everything takes effect.
    Works,
}

impl Condition {
    /// The condition as the table has it.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::VersionNotRead => "file version not read",
            Self::DoesNotStart => "daemon does not start",
            Self::CriFails => "CRI does not load",
            Self::CriDisabled => "CRI is disabled",
            Self::RegistrySettingsIgnored => "some settings ignored",
            Self::TlsSettingsIgnored => "TLS settings ignored",
            Self::HostsFilesIgnored => "hosts files ignored",
            Self::Works => "works",
        }
    }
}

/// A condition and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// What becomes of it.
    #[serde(rename = "outcome")]
    pub condition: Condition,
    /// Why, as a phrase; if everything works, what decides pulls.
    pub reason: String,
}

/// What releases of containerd that follow each other and behave alike make of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRow {
    /// The releases, oldest first.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// The node as it is.
    pub today: Verdict,
    /// The node after the migration; `null` if there is no plan that can be written.
    pub after: Option<Verdict>,
}

/// Settings in use that a later release removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removal {
    /// The settings, by the names of their tables.
    #[serde(default)]
    pub settings: Vec<String>,
    /// The release line.
    pub release: String,
    /// When it is planned.
    pub planned_for: String,
}

/// What `check` says of a node.
#[derive(Clone, Debug)]
pub struct Check {
    /// What each known release makes of it.
    pub rows: Vec<ReleaseRow>,
    /// The targets that pull as `--from` does with the files as they are.
    pub ready_for: Vec<Version>,
    /// What breaks, and on which release; empty if nothing does.
    pub not_ready: Vec<String>,
    /// The settings in use that a later release removes.
    pub removal: Option<Removal>,
    /// What is not compared, and changes all the same.
    pub remark: Option<String>,
}

/// A node's files, as they are or as they are planned, judged release by release.
struct Judge<'s> {
    snapshot: &'s Snapshot,
    /// A table with registry settings that no version from `--from` to the newest target reads, for what it is called or
    /// where it stands.
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

    /// What becomes of it on this release.
    fn verdict(&self, version: Version) -> Verdict {
        let sight = self.sight(version);
        let verdict = |condition, reason: String| Verdict { condition, reason };
        match sight.startup(false) {
            Startup::DoesNotStart(reason) => {
                return verdict(Condition::DoesNotStart, self.said(&reason));
            }
            Startup::CriFails(reason) => return verdict(Condition::CriFails, self.said(&reason)),
            Startup::CriDisabled(reason) => {
                return verdict(Condition::CriDisabled, self.said(&reason));
            }
            Startup::Loads => {}
        }
        if let Some(reason) = self.by_chance(&sight) {
            return verdict(Condition::RegistrySettingsIgnored, reason);
        }
        let registry = sight.registry();
        // With both of them CRI loads only if the rest of the legacy settings is nothing to it.
        let in_effect = if registry.config_path.is_some() || self.has_files(&sight) {
            "hosts files"
        } else if registry.has_legacy() {
            "legacy settings"
        } else {
            "defaults"
        };
        let misspelt = || {
            let place = self.misspelt.as_ref()?;
            Some(format!("those of a misspelt table ({place})"))
        };
        if let Some(mut reason) = self.ignored_settings(&sight).or_else(misspelt) {
            if in_effect != "defaults" {
                reason.push_str(&format!(", but {in_effect} take effect"));
            }
            return verdict(Condition::RegistrySettingsIgnored, reason);
        }
        if let Some(reason) = self.ignored_tls(&sight) {
            return verdict(Condition::TlsSettingsIgnored, reason);
        }
        if let Some(reason) = self.ignored_hosts_files(&sight) {
            return verdict(Condition::HostsFilesIgnored, reason);
        }
        verdict(Condition::Works, in_effect.to_owned())
    }

    /// That of two sections one takes effect, at random.
    fn by_chance(&self, sight: &Sight) -> Option<String> {
        let [(file, _), _] = sight.by_chance?;
        let loaded = self.snapshot.configuration().files.get(file)?;
        let path = &loaded.file.path;
        Some(format!(
            "those of one of two names of CRI in {path}, at random"
        ))
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
                    "`{}` is not read ({})",
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
                    "`{}` is read as the name of one directory",
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

/// The rows of the table: releases that follow each other and behave alike.
fn rows(mut cells: Vec<(Version, Verdict, Option<Verdict>)>) -> Vec<ReleaseRow> {
    cells.sort_by_key(|(version, _, _)| *version);
    let mut rows: Vec<ReleaseRow> = Vec::new();
    for (version, today, after) in cells {
        match rows.last_mut() {
            Some(row) if (&row.today, &row.after) == (&today, &after) => row.versions.push(version),
            _ => rows.push(ReleaseRow {
                versions: vec![version],
                today,
                after,
            }),
        }
    }
    rows
}

/// Compares the node as it is on `--from` and on every target, and looks at it with the eyes of every known release.
/// `findings` are those of the plan; that older patches or skipped lines pull differently is added to them.
pub fn check(inputs: &Inputs, plan: Option<&Plan>, findings: &mut Findings) -> Check {
    // What they do with the planned files, `plan` says.
    findings.remove(&finding::INTERMEDIATE_VERSION);
    let after = plan.and_then(|plan| plan.after(inputs));
    let mut today = Judge::new(&inputs.snapshot);
    let mut afterwards = after.as_ref().map(Judge::new);
    let file_version = inputs.file_version();
    let not_read = Verdict {
        condition: Condition::VersionNotRead,
        reason: format!("it cannot read a file of version {file_version}"),
    };
    let misspelt = findings.places(&finding::MISSPELT_TABLE);
    let misspelt = misspelt.first().map(|place| today.line(place));
    let mut cells: Vec<(Version, Verdict, Option<Verdict>)> = Vec::new();
    for generation in generations(OLDEST, NEWEST) {
        let Some(first) = generation.versions.first() else {
            continue;
        };
        let major = generation.behaviour.major;
        let mut compared = inputs.releases.iter();
        let is_compared = compared.any(|other| other.generation.behaviour.major == major);
        for judge in std::iter::once(&mut today).chain(&mut afterwards) {
            judge.misspelt = misspelt.clone().filter(|_| is_compared);
        }
        let verdict = today.verdict(*first);
        let after = afterwards.as_ref().map(|judge| judge.verdict(*first));
        let reads_file = generation.behaviour.newest_file_version >= file_version;
        for version in &generation.versions {
            // An older release that was never meant to read the file does not fail.
            let is_meant = reads_file || *version >= inputs.from;
            let of = |verdict: &Verdict| if is_meant { verdict } else { &not_read }.clone();
            cells.push((*version, of(&verdict), after.as_ref().map(of)));
        }
    }
    let compared = Comparison::new(inputs, &today).compare(findings);
    Check {
        rows: rows(cells),
        ready_for: compared.ready_for,
        not_ready: compared.not_ready,
        removal: removal(inputs),
        remark: loopback_remark(inputs, after.as_ref()),
    }
}

/// What the targets do with the files as they are that `--from` does not. Where `--from` gets nowhere with them, nothing
/// is lost.
pub fn differences(inputs: &Inputs) -> Vec<String> {
    match inputs.sight().startup(false) {
        Startup::Loads | Startup::CriDisabled(_) => {}
        Startup::CriFails(_) | Startup::DoesNotStart(_) => return Vec::new(),
    }
    let judge = Judge::new(&inputs.snapshot);
    let compared = Comparison::new(inputs, &judge).compare(&mut Findings::default());
    compared.not_ready
}

/// What a release does that `--from` does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    /// What it is about, if that is a part of the node.
    subject: Option<String>,
    /// What is different, as a phrase.
    what: String,
    /// Why.
    reason: Option<String>,
}

impl Change {
    fn of(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            subject: Some(subject.into()),
            what: what.into(),
            reason: None,
        }
    }

    /// The change in one line, on these releases.
    fn on(&self, releases: &str) -> String {
        let subject = self.subject.iter().map(|subject| format!("{subject}: "));
        let reason = self.reason.iter().map(|reason| format!(": {reason}"));
        let subject: String = subject.collect();
        let reason: String = reason.collect();
        format!("{subject}{} on {releases}{reason}", self.what)
    }
}

/// How the node as it is compares on the targets.
#[derive(Default)]
struct Compared {
    ready_for: Vec<Version>,
    not_ready: Vec<String>,
}

/// The node as it is, on `--from` and on other releases.
struct Comparison<'c> {
    inputs: &'c Inputs,
    judge: &'c Judge<'c>,
    from: Rc<Sight>,
    names: Vec<Namespace>,
}

impl<'c> Comparison<'c> {
    fn new(inputs: &'c Inputs, judge: &'c Judge<'c>) -> Self {
        Self {
            inputs,
            judge,
            from: inputs.sight(),
            names: compared_names(inputs),
        }
    }

    fn compare(&self, findings: &mut Findings) -> Compared {
        let mut compared = Compared::default();
        let from = self.inputs.from;
        match self.from.startup(false) {
            Startup::Loads | Startup::CriDisabled(_) => {}
            startup @ (Startup::CriFails(_) | Startup::DoesNotStart(_)) => {
                let reason = startup.reason().map(|reason| self.judge.said(reason));
                let what = Change {
                    subject: None,
                    what: what_startup_is(&startup).to_owned(),
                    reason,
                };
                compared.not_ready.push(what.on(&from.to_string()));
                return compared;
            }
        }
        let mut changes: Vec<(Change, Vec<Version>)> = Vec::new();
        let mut known: BTreeMap<Change, usize> = BTreeMap::new();
        let mut others = Others::default();
        compared.not_ready = self.judge.not_understood(from, &self.from);
        let is_understood = compared.not_ready.is_empty();
        for release in &self.inputs.releases {
            let found = self.changes(release);
            if found.is_empty() {
                compared.ready_for.extend(&release.targets);
                continue;
            }
            if release.targets.is_empty() {
                self.say(release, &found, &mut others);
                continue;
            }
            others.note(&release.generation.versions);
            for change in found {
                let at = *known.entry(change.clone()).or_insert(changes.len());
                match changes.get_mut(at) {
                    Some((_, versions)) => versions.extend(&release.targets),
                    None => changes.push((change, release.targets.clone())),
                }
            }
        }
        if !is_understood {
            compared.ready_for.clear();
        }
        let changes = changes.iter();
        let reasons = changes.map(|(change, targets)| change.on(&self.targets(targets)));
        compared.not_ready.extend(reasons);
        others.report(self.inputs, "with the files as they are", findings);
        compared
    }

    /// Says of older patches and skipped lines what they do.
    fn say(&self, release: &Release, changes: &[Change], others: &mut Others) {
        let startup = release.sight.startup(false);
        let reason = startup.reason();
        for change in changes {
            let what = match (reason, &change.subject) {
                (Some(reason), None) => phrase(&startup, reason),
                (_, Some(subject)) => format!("{subject}: {}", change.what),
                (None, None) => change.what.clone(),
            };
            let place = reason.and_then(|reason| reason.place.as_ref());
            others.say(&release.generation.versions, &what, place);
        }
    }

    /// What these releases do with the files as they are that `--from` does not.
    fn changes(&self, release: &Release) -> Vec<Change> {
        let (ours, theirs) = (&self.from, &release.sight);
        let startup = theirs.startup(false);
        let is_disabled = |startup: &Startup| matches!(startup, Startup::CriDisabled(_));
        match (is_disabled(&ours.startup(false)), is_disabled(&startup)) {
            (true, true) => return Vec::new(),
            (true, false) => {
                let what = format!("CRI is disabled on {}, and not", self.inputs.from);
                return vec![Change {
                    subject: None,
                    what,
                    reason: None,
                }];
            }
            (false, _) => {}
        }
        if let Some(reason) = startup.reason() {
            return vec![Change {
                subject: None,
                what: what_startup_is(&startup).to_owned(),
                reason: Some(self.judge.said(reason)),
            }];
        }
        if let Some(reason) = self.judge.by_chance(theirs) {
            return vec![Change {
                subject: None,
                what: "some registry settings are ignored".to_owned(),
                reason: Some(reason),
            }];
        }
        let mut changes = Vec::new();
        let mut other_credentials = ours.other_credentials(theirs);
        for Namespace { name, unnamed } in &self.names {
            let (today, on_target) = (ours.pulls(name), theirs.pulls(name));
            if !today.same(&on_target) {
                let title = if *unnamed { "any other registry" } else { name };
                let [today, on_target] =
                    [&today, &on_target].map(|pulls| pulls.shown(unnamed.then_some(name)));
                let found = difference::changes(&today, &on_target).into_iter();
                changes.extend(found.map(|what| Change::of(title, what)));
            }
            if let Pulls::Hosts(hosts) = &today {
                let hosts = hosts.iter().map(|host| &host.host);
                let other = hosts.filter(|host| ours.credentials(host) != theirs.credentials(host));
                other_credentials.extend(other.cloned());
            }
        }
        let credentials = other_credentials.into_iter();
        changes.extend(credentials.map(|host| Change::of(host, "other credentials are sent")));
        if ours.headers() != theirs.headers() {
            changes.push(Change::of("`registry.headers`", "other headers are sent"));
        }
        if let Some(version) = release.targets.first() {
            let unread = self.judge.not_understood(*version, theirs).into_iter();
            changes.extend(unread.map(|reason| Change {
                subject: None,
                what: "nobody can say what pulls do".to_owned(),
                reason: Some(reason),
            }));
        }
        changes
    }

    /// These targets in few words: lines, where nobody has named a target.
    fn targets(&self, targets: &[Version]) -> String {
        let is_named = self.inputs.options.to.is_some();
        let word = |version: &Version| match is_named {
            true => version.to_string(),
            false => version.line(),
        };
        match targets {
            [first, .., last] if targets.len() > 2 && self.inputs.targets.ends_with(targets) => {
                format!("{} to {}", word(first), word(last))
            }
            [rest @ .., last] if !rest.is_empty() => {
                let rest: Vec<String> = rest.iter().map(word).collect();
                format!("{} and {}", rest.join(", "), word(last))
            }
            _ => targets.iter().map(word).collect(),
        }
    }
}

fn what_startup_is(startup: &Startup) -> &'static str {
    match startup {
        Startup::Loads => "CRI loads",
        Startup::CriDisabled(_) => "CRI is disabled",
        Startup::CriFails(_) => "CRI does not load",
        Startup::DoesNotStart(_) => "the daemon does not start",
    }
}

/// The namespaces of the node as it is.
fn namespaces(inputs: &Inputs) -> Vec<Namespace> {
    let path = inputs.certs_path();
    let empty = CertsDirectory::empty(path.clone());
    let certs = inputs.snapshot.certs().get(path.as_str());
    plan::namespaces(inputs, &inputs.sight(), certs.map_or(&empty, Rc::as_ref))
}

/// The same, and those that only another release finds.
fn compared_names(inputs: &Inputs) -> Vec<Namespace> {
    let mut names = namespaces(inputs);
    let known: BTreeSet<String> = names.iter().map(|one| one.name.clone()).collect();
    let mut more: BTreeSet<String> = BTreeSet::new();
    let mut roots: BTreeSet<&str> = BTreeSet::new();
    for release in &inputs.releases {
        let mirrors = release.sight.registry().mirrors.iter();
        more.extend(mirrors.map(|mirror| mirror.name.value.clone()));
        roots.extend(release.sight.roots());
    }
    let certs = inputs.snapshot.certs();
    let directories = roots.into_iter().filter_map(|root| certs.get(root));
    more.extend(directories.flat_map(|certs| certs.namespaces()));
    let possible = more
        .into_iter()
        .filter(|name| !known.contains(name) && unmatchable(name).is_none());
    names.extend(possible.map(|name| Namespace {
        name,
        unnamed: false,
    }));
    names
}

/// The settings that the newest target reads and a later release removes.
fn removal(inputs: &Inputs) -> Option<Removal> {
    let newest = inputs.targets.last()?;
    let sight = inputs.snapshot.seen_by(&Behaviour::of(*newest));
    if sight.startup(false) != Startup::Loads {
        return None;
    }
    let registry = sight.registry();
    let settings = [
        ("mirrors", !registry.mirrors.is_empty()),
        ("configs", !registry.configs.is_empty()),
        ("auths", !registry.auths.is_empty()),
    ];
    let used = settings.into_iter().filter(|(_, is_used)| *is_used);
    let settings: Vec<String> = used.map(|(name, _)| name.to_owned()).collect();
    (!settings.is_empty()).then_some(Removal {
        settings,
        release: REMOVES_LEGACY.to_owned(),
        planned_for: REMOVES_LEGACY_WHEN.to_owned(),
    })
}

/// What becomes of registries on this host that no setting names: containerd's default for them is another with hosts
/// files (docs/containerd.md §2.10). It is no finding, since nobody is known to use one.
fn loopback_remark(inputs: &Inputs, after: Option<&Snapshot>) -> Option<String> {
    let loopback = Loopback::of(inputs)?;
    let targets = || inputs.targets.iter().rev().copied();
    match loopback.changed(&inputs.snapshot, targets()) {
        Some(change) => Some(loopback.remark(&change, "")),
        None => {
            let change = loopback.changed(after?, targets())?;
            Some(loopback.remark(&change, AFTER))
        }
    }
}

/// The same for a plan, which changes it for the installed containerd, too.
pub fn not_compared(inputs: &Inputs, after: &Snapshot) -> Option<String> {
    let loopback = Loopback::of(inputs)?;
    let versions = std::iter::once(inputs.from).chain(inputs.targets.iter().copied());
    let change = loopback.changed(after, versions)?;
    Some(loopback.remark(&change, AFTER))
}

const AFTER: &str = " after the migration";

/// A registry on this host that no setting names.
struct Loopback {
    name: String,
    /// What the installed containerd does for it.
    kept: Pulls,
}

impl Loopback {
    /// `None` if the installed containerd pulls nothing.
    fn of(inputs: &Inputs) -> Option<Self> {
        let known: BTreeSet<String> = namespaces(inputs).into_iter().map(|one| one.name).collect();
        let mut names = (5000..=u16::MAX).map(|port| format!("localhost:{port}"));
        let name = names.find(|name| !known.contains(name))?;
        let kept = pulls_of(&inputs.snapshot, inputs.from, &name)?;
        Some(Self { name, kept })
    }

    /// The first of these releases that does something else, and what.
    fn changed(
        &self,
        snapshot: &Snapshot,
        mut versions: impl Iterator<Item = Version>,
    ) -> Option<(Version, Pulls)> {
        versions.find_map(|version| {
            let pulls = pulls_of(snapshot, version, &self.name)?;
            (!pulls.same(&self.kept)).then_some((version, pulls))
        })
    }

    fn remark(&self, (version, pulls): &(Version, Pulls), when: &str) -> String {
        let changes = difference::changes(&self.kept.shown(None), &pulls.shown(None)).join("; ");
        let name = &self.name;
        format!(
            "registries on localhost that nothing names, such as {name}: {changes} on {version}{when}"
        )
    }
}

/// What a release pulls, if CRI loads.
fn pulls_of(snapshot: &Snapshot, version: Version, name: &str) -> Option<Pulls> {
    let sight = snapshot.seen_by(&Behaviour::of(version));
    (sight.startup(false) == Startup::Loads).then(|| sight.pulls(name))
}
