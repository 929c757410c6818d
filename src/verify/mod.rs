//! The proof: the planned files are read back, and must give what is wanted on `--from` and on every target.
//!
//! Nothing of the plan is believed here but its bytes. Where something differs the plan is refused, with what differs;
//! a difference that a version makes inevitable has a code of its own, which an operator can accept. The other releases
//! are looked at in the same way, and what they do differently is a warning.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::containerd::contents::PluginId;
use crate::containerd::difference;
use crate::containerd::host::{Host, Pulls};
use crate::containerd::hosts_file::directory::{CertsDirectory, DEFAULT};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::Legacy;
use crate::containerd::loader::{Reason, Startup};
use crate::containerd::release::{Behaviour, Major, Version, list, ranges};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;
use crate::finding::{self, Code, Decision, Findings};
use crate::node::NodePath;
use crate::plan::{Decider, Plan, Wanted};
use crate::question::{Existing, Question};
use crate::read::{Inputs, Release};

mod edit;
mod others;

pub(crate) use others::{Others, phrase};

/// With which files other releases are looked at.
const PLANNED: &str = "with the planned files";

/// Proves `plan`, or adds what is in its way to `findings`. Accepted differences are noted in the plan's table.
pub fn verify(inputs: &Inputs, plan: &mut Plan, findings: &mut Findings) {
    if findings.refused() {
        // A refused plan is not written, and its other differences would only hide the reason.
        return;
    }
    if plan.changes.is_empty() {
        as_it_is(inputs, findings);
        return;
    }
    let (failed, help) = failure(plan);
    for edit in &plan.edits {
        let Some(loaded) = inputs.snapshot.configuration().files.get(edit.file) else {
            continue;
        };
        if let Err(reason) = edit.steps.iter().try_for_each(edit::step_is_right) {
            let path = &loaded.file.path;
            let message = format!("the edited `{path}` is not what it should be: {reason}");
            findings.add(failed, loaded.file.place(0..0), message, help);
        }
    }
    let Some(after) = plan.after(inputs) else {
        let message = "an edited configuration file cannot be read any more";
        findings.add(failed, None, message, help);
        return;
    };
    let proof = Proof::new(inputs, plan, &after);
    let mut others = Others::default();
    proof.starts(&mut others, findings);
    for wanted in &mut plan.namespaces {
        proof.pulls_are_the_same(wanted, &mut others, findings);
    }
    proof.credentials_are_the_same(&plan.namespaces, &mut others, findings);
    proof.check_puller(findings);
    others.report(inputs, PLANNED, findings);
}

/// Where nothing is to be written, that a daemon does not start is still said.
fn as_it_is(inputs: &Inputs, findings: &mut Findings) {
    let from = inputs.from;
    let today = inputs.startup(&inputs.sight());
    let fails =
        |startup: &Startup| matches!(startup, Startup::DoesNotStart(_) | Startup::CriFails(_));
    let mut groups: Vec<Failure> = Vec::new();
    for release in &inputs.releases {
        let startup = inputs.startup(&release.sight);
        if fails(&startup) {
            Failure::add(&mut groups, startup, release);
        }
    }
    let mut others = Others::default();
    for group in groups {
        others.note(&group.versions);
        let Some(reason) = group.startup.reason() else {
            continue;
        };
        if group.startup == today {
            report(
                &today,
                reason,
                inputs.verified(&group.versions),
                false,
                findings,
            );
            if inputs.sight().registry().pending() && findings.allows(reason.code) {
                findings.add_refused(
                    reason.code,
                    reason.place.clone(),
                    format!("containerd {from} does not start with these files, and nothing can be kept of what it does"),
                    "fix them, or name the containerd that they were written for with --from",
                );
            }
        } else if group.is_verified {
            report(&group.startup, reason, group.versions, true, findings);
        } else if !fails(&today) && !reason.code.said_once {
            // Where the installed one does not start, older patches are none of anybody's concern yet.
            let what = phrase(&group.startup, reason);
            others.say(&group.versions, &what, reason.place.as_ref());
        }
    }
    others.report(inputs, "with these files", findings);
}

/// Releases that do not come up, for one reason.
struct Failure {
    startup: Startup,
    versions: Vec<Version>,
    /// Whether the plan is verified for one of them.
    is_verified: bool,
}

impl Failure {
    fn add(failures: &mut Vec<Self>, startup: Startup, release: &Release) {
        let known = failures.iter_mut().find(|known| known.startup == startup);
        let versions = &release.generation.versions;
        match known {
            Some(failure) => {
                failure.versions.extend(versions);
                failure.is_verified |= release.is_verified();
            }
            None => failures.push(Self {
                startup,
                versions: versions.clone(),
                is_verified: release.is_verified(),
            }),
        }
    }
}

/// The node as it will be, with what each release makes of it.
struct Proof<'i> {
    inputs: &'i Inputs,
    /// What the release whose view is kept makes of the node as it is.
    from: Rc<Sight>,
    /// The settings that are kept.
    settings: Rc<Legacy>,
    /// Before and after the migration, by behaviour.
    releases: Vec<Compared<'i>>,
    /// One of each [kind](Sight::kind) of those that are compared, by their numbers; empty if one of them is of no kind, or
    /// has other headers or credentials.
    kinds: Vec<usize>,
    /// The directory that `config_path` names, before and after the hosts files are written.
    kept_certs: Rc<CertsDirectory>,
    certs: Rc<CertsDirectory>,
    converts: bool,
    /// What is said where the plan does not do what it should.
    failure: (&'static Code, &'static str),
}

/// Releases that behave alike, and what they make of the node as it will be.
struct Compared<'i> {
    release: &'i Release,
    after: Rc<Sight>,
    startup: Startup,
    /// Whether what they pull is compared: where a text is not read, an operator may have accepted that for good reasons,
    /// such as a parser that a distribution has replaced.
    pulls: bool,
    /// Whether headers and credentials are those of the containerd whose behaviour is kept.
    same_headers: bool,
    same_credentials: bool,
}

impl<'i> Proof<'i> {
    fn new(inputs: &'i Inputs, plan: &Plan, after: &Snapshot) -> Self {
        let from = inputs.kept();
        let releases = inputs.releases.iter().map(|release| {
            let after = after.seen_by(&release.generation.behaviour);
            let startup = inputs.startup(&after);
            Compared {
                pulls: match startup {
                    Startup::DoesNotStart(_) => after.text_refused().is_some(),
                    Startup::CriFails(_) => false,
                    Startup::Loads | Startup::CriDisabled(_) => true,
                },
                startup,
                // Headers stay in their files as credentials do.
                same_headers: after.headers() == from.headers()
                    || inputs.carries() && after.headers() == release.sight.headers(),
                same_credentials: after.all_credentials() == from.all_credentials(),
                release,
                after,
            }
        });
        let releases: Vec<Compared<'i>> = releases.collect();
        let certs = after.certs().get(plan.certs.path.as_str());
        Self {
            inputs,
            kinds: kinds(&releases).unwrap_or_default(),
            releases,
            settings: inputs.kept_settings(),
            from,
            certs: certs.cloned().unwrap_or_else(|| Rc::clone(&plan.certs)),
            kept_certs: Rc::clone(&plan.certs),
            converts: plan.converts,
            failure: failure(plan),
        }
    }

    /// `--from` and every target must start and load CRI with the planned files. Where one does not today for the same
    /// reason, that is for an operator to decide; where it does, the plan is wrong.
    fn starts(&self, others: &mut Others, findings: &mut Findings) {
        let (failed, help) = self.failure;
        // Versions that fail for the same reason at the same place are one finding.
        let mut failures: Vec<Failure> = Vec::new();
        let mut fixed: Vec<(Reason, Vec<Version>)> = Vec::new();
        for compared in &self.releases {
            let release = compared.release;
            let versions = &release.generation.versions;
            let (before, after) = (self.inputs.startup(&release.sight), &compared.startup);
            if release.is_verified() && compared.after.registry().has_legacy() {
                let message = "legacy settings would be left";
                findings.add(failed, None, message, help);
            }
            let reason = match after {
                Startup::Loads | Startup::CriDisabled(_) => {
                    if let Some(reason) = release.sight.text_refused() {
                        match fixed.iter_mut().find(|(known, _)| known == reason) {
                            Some((_, known)) => known.extend(versions),
                            None => fixed.push((reason.clone(), versions.clone())),
                        }
                    }
                    continue;
                }
                Startup::CriFails(reason) | Startup::DoesNotStart(reason) => reason,
            };
            let same_code = before
                .reason()
                .is_some_and(|today| today.code == reason.code);
            // A daemon that does not start today stops at the first thing that is wrong: what the migration removes may
            // have hidden another.
            let state = match (&before, after) {
                (Startup::DoesNotStart(_), Startup::DoesNotStart(_)) if !same_code => {
                    Startup::DoesNotStart(Reason {
                        place: None,
                        ..reason.clone()
                    })
                }
                (Startup::DoesNotStart(_), Startup::DoesNotStart(_))
                | (Startup::CriFails(_), Startup::CriFails(_))
                    if same_code =>
                {
                    // Places are those in the files as they are.
                    before.clone()
                }
                _ if !release.is_verified() => {
                    others.say(versions, &phrase(after, reason), None);
                    continue;
                }
                _ => {
                    let versions = ranges(versions.clone());
                    let message =
                        format!("containerd {versions} would not come up: {}", reason.text);
                    findings.add(failed, None, message, help);
                    continue;
                }
            };
            Failure::add(&mut failures, state, release);
        }
        self.is_not_by_chance(others, findings);
        for (reason, versions) in fixed {
            let versions = ranges(versions);
            findings.add_decided(
                reason.code,
                reason.place.clone(),
                format!(
                    "containerd {versions} does not start with this file as it is: {}",
                    reason.text
                ),
                "it is removed with the settings that it stands in",
            );
        }
        for failure in failures {
            others.note(&failure.versions);
            let Some(reason) = failure.startup.reason() else {
                continue;
            };
            if failure.is_verified {
                report(&failure.startup, reason, failure.versions, false, findings);
            } else if !reason.code.said_once {
                let what = phrase(&failure.startup, reason);
                others.say(&failure.versions, &what, reason.place.as_ref());
            }
        }
    }

    /// Where a plan makes a release take one of two sections at random, no list of hosts can be proven.
    fn is_not_by_chance(&self, others: &mut Others, findings: &mut Findings) {
        let by_chance = self
            .releases
            .iter()
            .filter(|one| one.after.by_chance.is_some());
        let releases: Vec<&Release> = by_chance.map(|one| one.release).collect();
        let all = releases.iter().flat_map(|one| &one.generation.versions);
        let all: Vec<Version> = all.copied().collect();
        if !releases.iter().any(|release| release.is_verified()) {
            let what =
                "the registry settings are those of one of two names of the CRI plugin, at random";
            others.say(&all, what, None);
        } else {
            others.note(&all);
            findings.add(
                &finding::SAME_PLUGIN_TWICE,
                None,
                format!(
                    "containerd {} would take one of two names of the CRI plugin at random, with other registry settings",
                    ranges(all)
                ),
                "move all settings that are meant under one of the two names, and remove the other table",
            );
        }
    }

    /// Whether pulls move to the transfer service on a target (docs/containerd.md §12.4).
    fn check_puller(&self, findings: &mut Findings) {
        let moves = self.releases.iter().filter(|compared| {
            !compared.release.sight.transfer_service && compared.after.transfer_service
        });
        let targets: Vec<Version> = moves
            .flat_map(|compared| compared.release.targets.iter().copied())
            .collect();
        if !targets.is_empty() {
            findings.add(
                &finding::PULL_SERVICE_CHANGES,
                None,
                format!(
                    "once no legacy setting is left, pulls go through the transfer service on containerd {}",
                    list(&targets, "and")
                ),
                "requests, credentials and images stay the same; `registry.headers` no longer reach token servers, and \
                 `image_pull_progress_timeout` acts only once the first mebibyte of a layer has arrived; \
                 --keep-local-pull keeps CRI's own puller",
            );
        }
    }

    fn pulls_are_the_same(
        &self,
        wanted: &mut Wanted,
        others: &mut Others,
        findings: &mut Findings,
    ) {
        let from_settings = from_settings(&self.settings, &self.from.behaviour, wanted);
        let expected = |behaviour: &Behaviour| match wanted.decider {
            Decider::Settings => Cow::Borrowed(&from_settings),
            Decider::HostsFile | Decider::Nobody => Cow::Borrowed(&wanted.after),
            Decider::KeptFile => {
                Cow::Owned(reader::pulls(&self.kept_certs, &wanted.name, behaviour))
            }
        };
        // Most files are read alike by all releases: what is proven for one of each kind is proven for the others.
        let mut kinds = self
            .kinds
            .iter()
            .filter_map(|kind| self.releases.get(*kind));
        let is_proven = |compared: &Compared<'_>| {
            let view = &compared.after;
            view.is_plain(&wanted.name) && view.pulls(&wanted.name).same(&expected(&view.behaviour))
        };
        if !self.kinds.is_empty() && kinds.all(is_proven) {
            return;
        }
        let mut differences: Vec<Difference> = Vec::new();
        let mut on_target = None;
        let mut changed_on = Vec::new();
        let mut changed = wanted.changed;
        for compared in self.releases.iter().filter(|compared| compared.pulls) {
            let (release, view) = (compared.release, &compared.after);
            let behaviour = &release.generation.behaviour;
            let planned = view.pulls(&wanted.name);
            let expected = &*expected(behaviour);
            let same_credentials = compared.same_headers
                && (compared.same_credentials || self.has_credentials(compared, expected));
            if planned.same(expected) && same_credentials {
                continue;
            }
            // What a version does differently with the node as it is, is not the plan's doing.
            let is_today = || {
                let kept = || reader::pulls(&self.kept_certs, &wanted.name, behaviour);
                let today = || release.sight.pulls(&wanted.name);
                match wanted.decider {
                    Decider::HostsFile => planned.same(&kept()) || planned.same(&today()),
                    Decider::Nobody => planned.same(&today()),
                    Decider::Settings | Decider::KeptFile => false,
                }
            };
            let cause = if same_credentials && is_today() {
                Some(&finding::UPGRADE_CHANGES_PULLS)
            } else {
                self.unread(behaviour, view)
                    .or_else(|| cause(behaviour, expected, &self.certs, &wanted.name))
            };
            let code = cause.unwrap_or(self.failure.0);
            if release.is_verified() {
                changed.get_or_insert(code);
            }
            if !release.targets.is_empty() {
                on_target = Some(planned.clone());
                changed_on.extend(&release.targets);
            }
            let unnamed = wanted.unnamed.then_some(wanted.name.as_str());
            let [expected, planned] = [expected, &planned].map(|pulls| pulls.shown(unnamed));
            let mut changes = difference::changes(&expected, &planned);
            if !same_credentials {
                changes.push("other credentials or headers are sent".to_owned());
            }
            let changes = changes.join("; ");
            let mut known = differences.iter_mut();
            match known.find(|known| known.code == code && known.changes == changes) {
                Some(difference) => difference.extend(release),
                None => differences.push(Difference::new(code, changes, release)),
            }
        }
        wanted.changed = changed;
        changed_on.sort_unstable();
        wanted.changed_on = changed_on;
        if let Some(on_target) = on_target {
            wanted.after = on_target;
        }
        for difference in differences {
            let way_out = self.way_out(difference.code);
            difference.report(self.inputs, wanted, way_out, others, findings);
        }
    }

    fn way_out(&self, code: &Code) -> String {
        match self.failure {
            (failed, help) if failed == code => help.to_owned(),
            _ => way_out(code),
        }
    }

    /// Whether the credentials for these hosts are those that are kept. Where settings are to take effect on every release,
    /// credentials stay in their files, so that a release which does not read them there does without, as today.
    fn has_credentials(&self, compared: &Compared<'_>, pulls: &Pulls) -> bool {
        let planned = compared.after.credentials_of(pulls);
        planned == self.from.credentials_of(pulls)
            || self.inputs.carries() && planned == compared.release.sight.credentials_of(pulls)
    }

    /// Why this version does not read the section that `config_path` is set in, if that is known.
    fn unread(&self, behaviour: &Behaviour, view: &Sight) -> Option<&'static Code> {
        let inputs = self.inputs;
        let last = self.from.last.map(|(file, id)| match id {
            PluginId::Cri if self.converts => (file, PluginId::Grpc),
            id => (file, id),
        });
        let is_read = last.is_none_or(|last| {
            view.in_effect.contains(&last) && NodePath::new(&view.config_path) == self.certs.path
        });
        let is_built_in = view.registry().config_path.is_none() && !view.config_path.is_empty();
        if last.is_none() && is_built_in {
            // Without mirrors the built-in `config_path` takes effect, and with it what is there.
            Some(&finding::EXISTING_HOSTS_FILE)
        } else if is_read {
            None
        } else if behaviour.loses_version_1 && inputs.file_version() <= 1 && !self.converts {
            Some(&finding::VERSION_1)
        } else {
            (inputs.snapshot.configuration().files.len() > 1).then_some(&finding::MIXED_VERSIONS)
        }
    }

    /// Credentials of hosts that no other setting names must be what they are, too.
    fn credentials_are_the_same(
        &self,
        namespaces: &[Wanted],
        others: &mut Others,
        findings: &mut Findings,
    ) {
        let known = namespaces.iter().flat_map(|wanted| match &wanted.after {
            Pulls::Hosts(hosts) => hosts.as_slice(),
            Pulls::Fail(_) => &[],
        });
        let known: BTreeSet<&str> = known.map(|host| host.host.as_str()).collect();
        let mut differences: Vec<(String, Difference)> = Vec::new();
        for compared in &self.releases {
            let (release, view) = (compared.release, &compared.after);
            if matches!(
                compared.startup,
                Startup::CriFails(_) | Startup::DoesNotStart(_)
            ) {
                continue;
            }
            let mut other = self.from.other_credentials(view).into_iter();
            let as_today = |host: &str| {
                let today = &release.sight;
                self.inputs.carries() && view.credentials(host) == today.credentials(host)
            };
            let is_other = |host: &String| !known.contains(host.as_str()) && !as_today(host);
            let Some(host) = other.find(is_other) else {
                continue;
            };
            let unread = self.unread(&release.generation.behaviour, view);
            let code = unread.unwrap_or(self.failure.0);
            let mut differences_known = differences.iter_mut();
            match differences_known.find(|(other, known)| *other == host && known.code == code) {
                Some((_, difference)) => difference.extend(release),
                None => differences.push((host, Difference::new(code, String::new(), release))),
            }
        }
        for (host, difference) in differences {
            others.note(&difference.versions);
            // Said once for the whole file.
            if difference.code == &finding::VERSION_1 {
                continue;
            }
            if !difference.is_verified {
                let what = format!("the credentials for `{host}` are others");
                others.say(&difference.versions, &what, None);
                continue;
            }
            let (versions, from) = (ranges(difference.versions), self.inputs.from);
            let message = format!(
                "{PLANNED}, containerd {versions} does not have the credentials for `{host}` that {from} has"
            );
            let code = difference.code;
            findings.add(code, None, message, self.way_out(code));
        }
    }
}

/// One of each kind of the releases whose pulls are compared, by their numbers; `None` if more than that decides for one of
/// them.
fn kinds(releases: &[Compared<'_>]) -> Option<Vec<usize>> {
    let mut kinds = BTreeMap::new();
    for (number, compared) in releases.iter().enumerate() {
        if compared.pulls {
            let is_same = compared.same_headers && compared.same_credentials;
            let kind = compared.after.kind().filter(|_| is_same)?;
            kinds.entry(kind).or_insert(number);
        }
    }
    Some(kinds.into_values().collect())
}

/// The code for what a plan does not do although it should, and what to do about it. Settings of which not all releases
/// read the file cannot always be made to take effect on every one of them; anything else is a bug.
fn failure(plan: &Plan) -> (&'static Code, &'static str) {
    match plan.carried {
        Some(code) => (
            code,
            "they cannot take effect on every release where they are; move them by hand",
        ),
        None => (
            &finding::PROOF_FAILED,
            "nothing is written; report this as a bug, with the file",
        ),
    }
}

/// What to do about a difference.
fn way_out(code: &Code) -> String {
    match code.decision {
        Decision::Allow(effect) => format!("--allow {} {effect}", code.name),
        Decision::Option(help) => help.to_owned(),
        Decision::HandEdit if code == &finding::UPGRADE_CHANGES_PULLS => {
            "it reads the existing hosts file differently, with or without the migration".to_owned()
        }
        Decision::HandEdit if code == &finding::LINKED_HOSTS_FILE => {
            "replace the links in the certs directory by directories of their own".to_owned()
        }
        Decision::HandEdit => "report this as a bug, with the file".to_owned(),
    }
}

/// Says why these versions do not come up, today and afterwards.
fn report(
    state: &Startup,
    reason: &Reason,
    versions: Vec<Version>,
    decided: bool,
    findings: &mut Findings,
) {
    if reason.code.said_once {
        return;
    }
    let versions = ranges(versions);
    let what = match state {
        Startup::CriFails(_) => format!("CRI of containerd {versions} does not load"),
        _ => format!("containerd {versions} does not start with this file"),
    };
    let (message, help) = if reason.code == &finding::BYTE_ORDER_MARK {
        (
            format!(
                "the file begins with a byte order mark, with which containerd {versions} does not start"
            ),
            "remove the mark before the upgrade (`sed -i '1s/^\\xef\\xbb\\xbf//'`)",
        )
    } else if reason.code == &finding::TOML_DIALECT {
        (
            format!("{what}: {}", reason.text),
            "write it in a way that every release reads, or --allow toml-dialect if those releases never run here",
        )
    } else if reason.code == &finding::INVALID_PLUGIN_ID {
        (
            format!("{what}: {}", reason.text),
            "give the plugin its full name in quotes, or remove it",
        )
    } else if reason.code == &finding::MIXED_VERSIONS {
        (
            format!("{what}: {}", reason.text),
            "give every file the same `version`, or set --from to a containerd that starts with them",
        )
    } else if reason.code == &finding::UNPARSABLE_AUTHS_KEY {
        (
            format!("{what}: {}", reason.text),
            "write the key with its scheme: `https://` and the host",
        )
    } else {
        (format!("{what}: {}", reason.text), reason.code.meaning)
    };
    if decided {
        findings.add_decided(reason.code, reason.place.clone(), message, help);
    } else {
        findings.add(reason.code, reason.place.clone(), message, help);
    }
}

/// What some releases do instead of what is wanted.
struct Difference {
    code: &'static Code,
    versions: Vec<Version>,
    /// Whether the plan is verified for one of them.
    is_verified: bool,
    changes: String,
}

impl Difference {
    fn new(code: &'static Code, changes: String, release: &Release) -> Self {
        Self {
            code,
            versions: release.generation.versions.clone(),
            is_verified: release.is_verified(),
            changes,
        }
    }

    fn extend(&mut self, release: &Release) {
        self.versions.extend(&release.generation.versions);
        self.is_verified |= release.is_verified();
    }

    fn report(
        self,
        inputs: &Inputs,
        wanted: &Wanted,
        way_out: String,
        others: &mut Others,
        findings: &mut Findings,
    ) {
        others.note(&self.versions);
        if self.code == &finding::VERSION_1 {
            // Said once for the whole file.
            return;
        }
        let name = if wanted.unnamed {
            "a registry that nothing names".to_owned()
        } else {
            format!("`{}`", wanted.name)
        };
        // A link in the way of two files is no matter of releases.
        if !self.is_verified && self.code != &finding::LINKED_HOSTS_FILE {
            let what = format!("{name}: {}", self.changes);
            others.say(&self.versions, &what, None);
            return;
        }
        let message = format!(
            "{PLANNED}, pulls from {name} on containerd {} are not those on {}: {}",
            ranges(self.versions),
            inputs.from,
            self.changes
        );
        if self.code == &finding::EXISTING_HOSTS_FILE {
            let built_in = "without mirrors, the built-in `config_path` takes effect";
            let registry = registry(wanted);
            let question = Question::Existing(registry.to_owned());
            let help = format!("{built_in}; move the files out of the certs directory first");
            match inputs.options.existing.of(registry) {
                Some(Existing::Keep) => {
                    findings.add_answered(question, self.code, None, message, built_in);
                }
                // No setting would be left that could be written there.
                Some(Existing::Replace) => findings.add_refused(self.code, None, message, help),
                None => {
                    let help = format!("{help}, or accept that with --existing keep");
                    findings.ask(question, self.code, None, message, help);
                }
            }
            return;
        }
        findings.add(self.code, None, message, way_out);
    }
}

/// What the settings give the namespace, computed anew.
fn from_settings(settings: &Legacy, behaviour: &Behaviour, wanted: &Wanted) -> Pulls {
    let resolved = settings.resolve(&wanted.name, behaviour, true);
    if resolved.hosts.is_empty() {
        let nothing = Legacy::default();
        return nothing.resolve(&wanted.name, behaviour, true).pulls();
    }
    resolved.usable()
}

/// What makes the difference, if it is something that is known to.
fn cause(
    behaviour: &Behaviour,
    expected: &Pulls,
    certs: &CertsDirectory,
    namespace: &str,
) -> Option<&'static Code> {
    let directory = certs.lookup(namespace, behaviour);
    if directory.is_some_and(|name| certs.is_shared(name)) {
        return Some(&finding::LINKED_HOSTS_FILE);
    }
    let Pulls::Hosts(hosts) = expected else {
        return None;
    };
    let tables = hosts
        .split_last()
        .map_or(&[] as &[Host], |(_, tables)| tables);
    if !behaviour.default_directory && certs.own(namespace).is_none() {
        Some(&finding::WILDCARD_UNSUPPORTED)
    } else if !behaviour.override_path && hosts.iter().any(|host| !host.path.ends_with("/v2")) {
        Some(&finding::OVERRIDE_PATH_UNSUPPORTED)
    } else if behaviour.major == Major::One && tables.iter().any(|host| host.host.contains('[')) {
        Some(&finding::IPV6_ENDPOINT_NOT_LAST)
    } else {
        None
    }
}

/// The name of a registry in `--existing`.
fn registry(wanted: &Wanted) -> &str {
    if wanted.unnamed {
        DEFAULT
    } else {
        &wanted.name
    }
}
