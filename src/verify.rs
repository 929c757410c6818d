//! The proof: the planned files are read back, and must give what is wanted on every containerd on the way.
//!
//! Nothing of the plan is believed here but its bytes. Where something differs the plan is refused, with both lists;
//! a difference that a version makes inevitable has a code of its own, which an operator can accept.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::containerd::contents::PluginId;
use crate::containerd::host::{Host, Pulls};
use crate::containerd::hosts_file::directory::{CertsDirectory, DEFAULT};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::Legacy;
use crate::containerd::loader::{Reason, Startup};
use crate::containerd::release::{Behaviour, Generation, Major, Version, ranges};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;
use crate::finding::{self, Code, Decision, Findings};
use crate::node::NodePath;
use crate::plan::{Decider, EditStep, Plan, Release, Wanted};
use crate::question::{Existing, Question, Version1};
use crate::read::Inputs;
use crate::text::{FileText, TomlText};
use crate::toml::edit::PathSet;
use crate::toml::syntax::{Entry, Value, ValueKind};

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
    let bug = "nothing is written; report this as a bug, with the file";
    for edit in &plan.edits {
        let Some(loaded) = inputs.snapshot.configuration().files.get(edit.file) else {
            continue;
        };
        if let Err(reason) = edit.steps.iter().try_for_each(step_is_right) {
            let path = &loaded.file.path;
            let message = format!("the edited `{path}` is not what it should be: {reason}");
            findings.add(
                &finding::PROOF_FAILED,
                loaded.file.place(0..0),
                message,
                bug,
            );
        }
    }
    let Some(after) = plan.after(inputs) else {
        let message = "an edited configuration file cannot be read any more";
        findings.add(&finding::PROOF_FAILED, None, message, bug);
        return;
    };
    let planned = Planned::new(inputs, plan, &after);
    planned.starts(findings);
    for wanted in &mut plan.namespaces {
        planned.pulls_are_the_same(wanted, findings);
    }
    planned.credentials_are_the_same(&plan.namespaces, findings);
    planned.check_puller(findings);
}

/// Where nothing is to be written, that a daemon does not start is still said.
fn as_it_is(inputs: &Inputs, findings: &mut Findings) {
    let (from, to) = (inputs.from, inputs.options.to);
    let releases: Vec<(Release, Startup)> = Release::all(inputs)
        .into_iter()
        .map(|release| {
            let startup = inputs.startup(&release.sight);
            (release, startup)
        })
        .collect();
    let today = inputs.startup(&inputs.sight());
    let mut targets = releases.iter().filter(|(release, _)| release.has(to));
    let afterwards = targets.next().map_or(&today, |(_, startup)| startup);
    let fails =
        |startup: &Startup| matches!(startup, Startup::DoesNotStart(_) | Startup::CriFails(_));
    if let Some(reason) = today.reason().filter(|_| fails(&today)) {
        let mut versions = vec![from];
        versions.extend(Some(to).filter(|_| today == *afterwards));
        report(&today, reason, versions, false, findings);
        if inputs.sight().registry().pending() && findings.allows(reason.code) {
            findings.add_refused(
                reason.code,
                reason.place.clone(),
                format!("containerd {from} does not start with these files, and nothing can be kept of what it does"),
                "mend them, or name the containerd that they were written for with --from",
            );
        }
    }
    // Where the one that runs does not start, those in between are none of anybody's concern yet.
    let mut others: Vec<(&Startup, Vec<Version>)> = Vec::new();
    for (release, startup) in &releases {
        let matters = !fails(&today) || release.has(to);
        if !fails(startup) || *startup == today || !matters {
            continue;
        }
        let versions = &release.generation.versions;
        match others.iter_mut().find(|(other, _)| *other == startup) {
            Some((_, known)) => known.extend(versions),
            None => others.push((startup, versions.clone())),
        }
    }
    for (startup, versions) in others {
        if let Some(reason) = startup.reason() {
            report(startup, reason, versions, true, findings);
        }
    }
}

/// The node as it will be, with what each containerd on the way makes of it.
struct Planned<'i> {
    inputs: &'i Inputs,
    /// What the containerd whose behaviour is kept makes of the node as it is.
    from: Rc<Sight>,
    /// Today and afterwards, by generation.
    releases: Vec<Compared>,
    /// One of each [kind](Sight::kind) of those that are compared, by their numbers; empty if one of them is of no kind, or
    /// has other headers or credentials.
    kinds: Vec<usize>,
    /// The directory that `config_path` names, before and after the hosts files are written.
    kept_certs: Rc<CertsDirectory>,
    certs: Rc<CertsDirectory>,
    converts: bool,
}

/// Releases that behave alike, and what they make of the node as it will be.
struct Compared {
    release: Release,
    after: Rc<Sight>,
    startup: Startup,
    /// Whether what they pull is compared: where a text is not read, an operator may have accepted that for good reasons,
    /// such as a parser that a distribution has replaced.
    pulls: bool,
    /// Whether headers and credentials are those of the containerd whose behaviour is kept.
    same_headers: bool,
    same_credentials: bool,
}

impl<'i> Planned<'i> {
    fn new(inputs: &'i Inputs, plan: &Plan, after: &Snapshot) -> Self {
        let from = inputs.sight();
        let releases = Release::all(inputs).into_iter().map(|release| {
            let after = after.seen_by(&release.generation.behaviour);
            let startup = inputs.startup(&after);
            Compared {
                pulls: match startup {
                    Startup::DoesNotStart(_) => after.text_refused().is_some(),
                    Startup::CriFails(_) => false,
                    Startup::Loads | Startup::CriDisabled(_) => true,
                },
                startup,
                same_headers: after.headers() == from.headers(),
                same_credentials: after.all_credentials() == from.all_credentials(),
                release,
                after,
            }
        });
        let releases: Vec<Compared> = releases.collect();
        let certs = after.certs().get(plan.certs.path.as_str());
        Self {
            inputs,
            kinds: kinds(&releases).unwrap_or_default(),
            releases,
            from,
            certs: certs.cloned().unwrap_or_else(|| Rc::clone(&plan.certs)),
            kept_certs: Rc::clone(&plan.certs),
            converts: plan.converts,
        }
    }

    /// Every containerd on the way must start and load CRI with the planned files. Where it does not today for the
    /// same reason, that is for an operator to decide; where it does, the plan is wrong.
    fn starts(&self, findings: &mut Findings) {
        let bug = "nothing is written; report this as a bug, with the file";
        // Versions that fail for the same reason at the same place are one finding.
        let mut failures: Vec<(Startup, Vec<Version>)> = Vec::new();
        let mut mended: Vec<(Reason, Vec<Version>)> = Vec::new();
        for compared in &self.releases {
            let (today, afterwards) = (&compared.release.sight, &compared.after);
            let generation = &compared.release.generation;
            let (before, after) = (self.inputs.startup(today), &compared.startup);
            if afterwards.registry().has_legacy() {
                findings.add(
                    &finding::PROOF_FAILED,
                    None,
                    "legacy settings would be left",
                    bug,
                );
            }
            let reason = match after {
                Startup::Loads | Startup::CriDisabled(_) => {
                    if let Some(reason) = today.text_refused() {
                        match mended.iter_mut().find(|(known, _)| known == reason) {
                            Some((_, versions)) => versions.extend(&generation.versions),
                            None => mended.push((reason.clone(), generation.versions.clone())),
                        }
                    }
                    continue;
                }
                Startup::CriFails(reason) | Startup::DoesNotStart(reason) => reason,
            };
            let same_code = before
                .reason()
                .is_some_and(|today| today.code == reason.code);
            // A daemon that does not start today stops at the first thing that is wrong: what the migration takes out
            // may have hidden another.
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
                _ => {
                    let versions = ranges(generation.versions.clone());
                    let message =
                        format!("containerd {versions} would not come up: {}", reason.text);
                    findings.add(&finding::PROOF_FAILED, None, message, bug);
                    continue;
                }
            };
            match failures.iter_mut().find(|(known, _)| *known == state) {
                Some((_, versions)) => versions.extend(&generation.versions),
                None => failures.push((state, generation.versions.clone())),
            }
        }
        // Where a plan would bring that about, no list of hosts can be proven.
        let by_chance = self
            .releases
            .iter()
            .filter(|one| one.after.by_chance.is_some());
        let by_chance: Vec<Version> = by_chance
            .flat_map(|one| one.release.generation.versions.clone())
            .collect();
        if !by_chance.is_empty() {
            findings.add(
                &finding::SAME_PLUGIN_TWICE,
                None,
                format!(
                    "containerd {} would take one of two names of the CRI plugin at random, with other registry settings",
                    ranges(by_chance)
                ),
                "move all settings that are meant under one of the two names, and remove the other table",
            );
        }
        for (reason, versions) in mended {
            let versions = ranges(versions);
            findings.add_decided(
                reason.code,
                reason.place.clone(),
                format!(
                    "containerd {versions} does not start with this file as it is: {}",
                    reason.text
                ),
                "it goes with the settings that it stands in",
            );
        }
        for (state, versions) in failures {
            if let Some(reason) = state.reason() {
                report(&state, reason, versions, false, findings);
            }
        }
    }

    /// Whether pulls move to the transfer service on the containerd that comes (docs/containerd.md §12.4).
    fn check_puller(&self, findings: &mut Findings) {
        let to = self.inputs.options.to;
        let mut releases = self.releases.iter();
        let moves = releases.any(|Compared { release, after, .. }| {
            release.has(to) && !release.sight.transfer_service && after.transfer_service
        });
        if moves {
            findings.add(
                &finding::PULL_SERVICE_CHANGES,
                None,
                format!("containerd {to} pulls through its transfer service once no legacy setting is left"),
                "requests, credentials and images stay the same; `registry.headers` no longer reach token servers, and \
                 `image_pull_progress_timeout` acts only once the first mebibyte of a layer has arrived; --keep-local-pull stays with the puller of today",
            );
        }
    }

    fn pulls_are_the_same(&self, wanted: &mut Wanted, findings: &mut Findings) {
        let inputs = self.inputs;
        let from_settings = from_settings(&self.from, wanted);
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
        let is_proven = |compared: &Compared| {
            let view = &compared.after;
            view.is_plain(&wanted.name) && view.pulls(&wanted.name).same(&expected(&view.behaviour))
        };
        if !self.kinds.is_empty() && kinds.all(is_proven) {
            return;
        }
        let mut differences: Vec<Difference> = Vec::new();
        let mut comes = None;
        let mut changed = wanted.changed;
        for compared in self.releases.iter().filter(|compared| compared.pulls) {
            let (generation, today) = (&compared.release.generation, &compared.release.sight);
            let view = &compared.after;
            let behaviour = &generation.behaviour;
            let planned = view.pulls(&wanted.name);
            let expected = &*expected(behaviour);
            let same_credentials = compared.same_headers
                && (compared.same_credentials
                    || view.credentials_of(expected) == self.from.credentials_of(expected));
            if planned.same(expected) && same_credentials {
                continue;
            }
            // What a version does differently with the node as it is, is not the plan's doing.
            let is_today = || {
                let kept = || reader::pulls(&self.kept_certs, &wanted.name, behaviour);
                let today = || today.pulls(&wanted.name);
                match wanted.decider {
                    Decider::HostsFile => planned.same(&kept()) || planned.same(&today()),
                    Decider::Nobody => planned.same(&today()),
                    Decider::Settings | Decider::KeptFile => false,
                }
            };
            let cause = if same_credentials && is_today() {
                Some(&finding::UPGRADE_CHANGES_PULLS)
            } else {
                self.unread(generation, view)
                    .or_else(|| cause(generation, expected, &self.certs, &wanted.name))
            };
            let keeps = is_kept(inputs, wanted);
            let code = judge(inputs, generation, cause, keeps, findings);
            if !is_between(inputs, generation) {
                changed.get_or_insert(code);
            }
            if generation.versions.contains(&inputs.options.to) {
                comes = Some(planned.clone());
            }
            let unnamed = wanted.unnamed.then_some(wanted.name.as_str());
            let mut planned_text = planned.shown(unnamed).to_string();
            if !same_credentials {
                planned_text.push_str(", with other credentials or headers");
            }
            let planned = planned_text;
            match differences
                .iter_mut()
                .find(|d| d.code == code && d.planned == planned)
            {
                Some(difference) => difference.versions.extend(&generation.versions),
                None => differences.push(Difference {
                    code,
                    versions: generation.versions.clone(),
                    expected: expected.shown(unnamed).to_string(),
                    planned,
                }),
            }
        }
        wanted.changed = changed;
        if let Some(comes) = comes {
            wanted.after = comes;
        }
        for difference in differences {
            difference.report(inputs, wanted, findings);
        }
    }

    /// Why this version does not read the section that `config_path` is set in, if that is known.
    fn unread(&self, generation: &Generation, view: &Sight) -> Option<&'static Code> {
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
            // With the last mirror gone the built-in `config_path` counts, and what is there comes alive.
            Some(&finding::EXISTING_HOSTS_FILE)
        } else if is_read {
            None
        } else if generation.behaviour.loses_version_1
            && inputs.file_version() <= 1
            && !self.converts
        {
            Some(&finding::VERSION_1)
        } else {
            (inputs.snapshot.configuration().files.len() > 1).then_some(&finding::MIXED_VERSIONS)
        }
    }

    /// Credentials of hosts that no other setting names must be what they are, too.
    fn credentials_are_the_same(&self, namespaces: &[Wanted], findings: &mut Findings) {
        let inputs = self.inputs;
        let known = namespaces.iter().flat_map(|wanted| match &wanted.after {
            Pulls::Hosts(hosts) => hosts.as_slice(),
            Pulls::Fail(_) => &[],
        });
        let known: BTreeSet<&str> = known.map(|host| host.host.as_str()).collect();
        let mut differences: Vec<(&'static Code, String, Vec<Version>)> = Vec::new();
        for compared in &self.releases {
            let (generation, view) = (&compared.release.generation, &compared.after);
            if matches!(
                compared.startup,
                Startup::CriFails(_) | Startup::DoesNotStart(_)
            ) {
                continue;
            }
            let mut other = self.from.other_credentials(view).into_iter();
            let Some(host) = other.find(|host| !known.contains(host.as_str())) else {
                continue;
            };
            let cause = self.unread(generation, view);
            let code = judge(inputs, generation, cause, false, findings);
            match differences
                .iter_mut()
                .find(|(c, h, _)| (*c, h) == (code, &host))
            {
                Some((_, _, versions)) => versions.extend(&generation.versions),
                None => differences.push((code, host, generation.versions.clone())),
            }
        }
        for (code, host, versions) in differences {
            // Said once for the whole file.
            if code == &finding::VERSION_1 {
                continue;
            }
            let (versions, from) = (ranges(versions), inputs.from);
            let message = format!(
                "containerd {versions} would not have the credentials for `{host}` that {from} has"
            );
            findings.add(code, None, message, way_out(code));
        }
    }
}

/// One of each kind of the releases whose pulls are compared, by their numbers; `None` if more than that decides for one of
/// them.
fn kinds(releases: &[Compared]) -> Option<Vec<usize>> {
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

/// What to do about a difference.
fn way_out(code: &Code) -> String {
    match code.decision {
        Decision::Allow(effect) => format!("--allow {} {effect}", code.name),
        Decision::Option(help) => help.to_owned(),
        Decision::HandEdit if code == &finding::UPGRADE_CHANGES_PULLS => {
            "it reads what is there in another way, with or without the migration".to_owned()
        }
        Decision::HandEdit if code == &finding::LINKED_HOSTS_FILE => {
            "make files of their own of the links in the certs directory".to_owned()
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
            "take the mark out before the upgrade (`sed -i '1s/^\\xef\\xbb\\xbf//'`)",
        )
    } else if reason.code == &finding::TOML_DIALECT {
        (
            format!("{what}: {}", reason.text),
            "write it in a way that every containerd reads, or --allow toml-dialect if those versions never run here",
        )
    } else if reason.code == &finding::INVALID_PLUGIN_ID {
        (
            format!("{what}: {}", reason.text),
            "give the plugin its full name in quotes, or remove it",
        )
    } else if reason.code == &finding::MIXED_VERSIONS {
        (
            format!("{what}: {}", reason.text),
            "give every file the same `version`, or --allow mixed-versions if those versions never run here",
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

/// What some versions would do instead of what is wanted.
struct Difference {
    code: &'static Code,
    versions: Vec<Version>,
    expected: String,
    planned: String,
}

impl Difference {
    fn report(self, inputs: &Inputs, wanted: &Wanted, findings: &mut Findings) {
        if self.code == &finding::VERSION_1 {
            // Said once for the whole file.
            return;
        }
        let name = if wanted.unnamed {
            "a registry that nobody named".to_owned()
        } else {
            format!("`{}`", wanted.name)
        };
        let message = format!(
            "containerd {} would not pull from {name} as {} does: wanted {}; it would be {}",
            ranges(self.versions),
            inputs.from,
            self.expected,
            self.planned
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
        findings.add(self.code, None, message, way_out(self.code));
    }
}

/// What the settings give the namespace, computed anew.
fn from_settings(from: &Sight, wanted: &Wanted) -> Pulls {
    let resolved = from.legacy().resolve(&wanted.name, &from.behaviour, true);
    if resolved.hosts.is_empty() {
        return Legacy::default()
            .resolve(&wanted.name, &from.behaviour, true)
            .pulls();
    }
    resolved.usable()
}

/// What makes the difference, if it is something that is known to.
fn cause(
    generation: &Generation,
    expected: &Pulls,
    certs: &CertsDirectory,
    namespace: &str,
) -> Option<&'static Code> {
    let directory = certs.lookup(namespace, &generation.behaviour);
    if directory.is_some_and(|name| certs.is_shared(name)) {
        return Some(&finding::LINKED_HOSTS_FILE);
    }
    let Pulls::Hosts(hosts) = expected else {
        return None;
    };
    let behaviour = &generation.behaviour;
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

/// Whether `--existing` says that what is in the certs directory decides for this registry.
fn is_kept(inputs: &Inputs, wanted: &Wanted) -> bool {
    inputs.options.existing.of(registry(wanted)) == Some(Existing::Keep)
}

/// Which finding a difference is; `keeps` is whether what is in the certs directory is to decide.
fn judge(
    inputs: &Inputs,
    generation: &Generation,
    cause: Option<&'static Code>,
    keeps: bool,
    findings: &Findings,
) -> &'static Code {
    let strictly_between = is_between(inputs, generation);
    let accepted = cause.is_some_and(|cause| {
        findings.allows(cause)
            || cause == &finding::VERSION_1 && inputs.options.version_1 != Version1::Convert
            || cause == &finding::EXISTING_HOSTS_FILE && keeps
            || cause == &finding::UPGRADE_CHANGES_PULLS
    });
    match cause {
        Some(cause) if accepted || !strictly_between || cause == &finding::LINKED_HOSTS_FILE => {
            cause
        }
        _ if strictly_between => &finding::INTERMEDIATE_VERSION,
        _ => &finding::PROOF_FAILED,
    }
}

/// Whether these versions are neither the one that runs nor the one that comes.
fn is_between(inputs: &Inputs, generation: &Generation) -> bool {
    let ends = [inputs.from, inputs.options.to];
    !ends.iter().any(|end| generation.versions.contains(end))
}

/// Whether an edit did what it was meant to: the text after it has the headers and entries of the one before, in their order and
/// with every value as it was written, less what is removed, and what is set.
fn step_is_right(edit: &EditStep) -> Result<(), String> {
    let after = match &edit.after {
        FileText::Toml(toml) => toml,
        FileText::Other(other) => return Err(other.reason.to_string()),
    };
    let mut other = PathSet::default();
    let set = edit.set.iter().map(|(path, _)| path);
    edit.removed
        .iter()
        .chain(set)
        .for_each(|path| other.insert(path));
    let (wanted, found) = (
        Parts::of(&edit.before, Some(&other)),
        Parts::of(after, None),
    );
    let mut wanted = wanted.iter().peekable();
    let mut unset: Vec<_> = edit.set.iter().collect();
    for (path, item) in found.iter() {
        if wanted.next_if_eq(&(path, item)).is_some() {
            continue;
        }
        let mut sets = unset.iter();
        let is_right = match item {
            Item::Value { value, .. } => {
                let set = sets.position(|(set, new)| set == path && new.is(value));
                set.map(|at| unset.remove(at)).is_some()
            }
            // What is set may get a header for its table.
            Item::Header { is_array } => {
                !is_array
                    && sets.any(|(set, _)| set.get(..path.len()).is_some_and(|set| set == path))
            }
            Item::InlineTable => false,
        };
        if !is_right {
            return Err("more is in it than was meant to".to_owned());
        }
    }
    match wanted.next().is_none() && unset.is_empty() {
        true => Ok(()),
        false => Err("less is in it than was meant to".to_owned()),
    }
}

/// The headers and entries of a text, and the tables in braces, in the order in which they are written.
struct Parts<'t> {
    text: &'t str,
    /// The key path of what is looked at.
    path: Vec<&'t str>,
    /// The key paths of all parts, one after the other.
    names: Vec<&'t str>,
    /// Where the path of each part ends in them, and what it is.
    found: Vec<(usize, Item<'t>)>,
}

#[derive(Clone, Copy)]
enum Item<'t> {
    Header { is_array: bool },
    InlineTable,
    Value { value: &'t Value, raw: &'t str },
}

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { is_array }, Self::Header { is_array: other }) => is_array == other,
            (Self::InlineTable, Self::InlineTable) => true,
            (Self::Value { raw, .. }, Self::Value { raw: other, .. }) => raw == other,
            _ => false,
        }
    }
}

impl<'t> Parts<'t> {
    /// All of a text but what is `left_out`.
    fn of(toml: &'t TomlText, left_out: Option<&PathSet>) -> Self {
        let mut parts = Self {
            text: &toml.text,
            path: Vec::new(),
            names: Vec::new(),
            found: Vec::new(),
        };
        for section in &toml.syntax.sections {
            parts.path.clear();
            let mut left_out = left_out;
            if let Some(header) = &section.header {
                left_out = left_out.and_then(|set| set.at(&header.keys));
                parts
                    .path
                    .extend(header.keys.iter().map(|key| key.name.as_str()));
                let is_array = header.array;
                parts.push(Item::Header { is_array }, left_out);
            }
            parts.entries(&section.entries, left_out);
        }
        parts
    }

    fn entries(&mut self, entries: &'t [Entry], left_out: Option<&PathSet>) {
        let above = self.path.len();
        for entry in entries {
            let left_out = left_out.and_then(|set| set.at(&entry.keys));
            self.path
                .extend(entry.keys.iter().map(|key| key.name.as_str()));
            let value = &entry.value;
            match &value.kind {
                ValueKind::Table(inner) => {
                    self.push(Item::InlineTable, left_out);
                    self.entries(inner, left_out);
                }
                _ => {
                    let raw = self.text.get(value.range.clone()).unwrap_or_default();
                    self.push(Item::Value { value, raw }, left_out);
                }
            }
            self.path.truncate(above);
        }
    }

    fn push(&mut self, item: Item<'t>, left_out: Option<&PathSet>) {
        if !left_out.is_some_and(PathSet::is_whole) {
            self.names.extend(&self.path);
            self.found.push((self.names.len(), item));
        }
    }

    /// Each part with its path.
    fn iter(&self) -> impl Iterator<Item = (&[&'t str], Item<'t>)> {
        let mut start = 0;
        self.found.iter().map(move |(end, item)| {
            let path = self.names.get(start..*end).unwrap_or_default();
            start = *end;
            (path, *item)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::TextKind;
    use crate::toml::edit::NewValue;

    /// Whether the texts are those of an edit that removes `r.gone`, and sets `r.new`.
    fn is_right(before: &str, after: &str) -> bool {
        let content = |text: &str| FileText::new(text.into(), TextKind::Configuration);
        let path = |last: &str| ["r", last].map(str::to_owned).to_vec();
        let edit = EditStep {
            before: Rc::clone(content(before).toml().unwrap()),
            after: content(after),
            removed: vec![path("gone")],
            set: vec![(path("new"), NewValue::String("x".to_owned()))],
        };
        step_is_right(&edit).is_ok()
    }

    #[test]
    fn an_edit_that_does_what_it_was_meant_to_is_right() {
        for (before, after) in [
            ("[r]\ngone = 1\na = 1 # c\n", "[r]\nnew = \"x\"\na = 1\n"),
            ("[r]\nnew = 'y'\n[r.gone.a]\nb = 1\n", "[r]\nnew = 'x'\n"),
            (
                "[r.gone]\n[r.a]\nb = 1e3\n",
                "[r]\nnew = 'x'\n[r.a]\nb = 1e3\n",
            ),
            ("r = { gone = 1, a = {} }", "r = { new = 'x', a = {} }"),
            (
                "r.gone.b = 1\n[[t]]\na = 1\n[[t]]\n",
                "r.new = 'x'\n[[t]]\na = 1\n[[t]]\n",
            ),
        ] {
            assert!(is_right(before, after), "{before}");
        }
    }

    #[test]
    fn an_edit_that_does_more_or_less_is_not_right() {
        let before = "a = [1]\n[r]\ngone = 1\nb = 2\n[[t]]\nc = 1\n[[t]]\nc = 2\n[s]\n";
        let after = "a = [1]\n[r]\nnew = 'x'\nb = 2\n[[t]]\nc = 1\n[[t]]\nc = 2\n[s]\n";
        assert!(is_right(before, after));
        for (part, other) in [
            ("a = [1]\n", ""),
            ("[1]", "[1, 2]"),
            ("[1]", "[01]"),
            ("new = 'x'\n", ""),
            ("new = 'x'\n", "new = 'y'\n"),
            ("new = 'x'\n", "new = 'x'\ngone = 1\n"),
            ("b = 2\n", "b = 2\nd = 3\n"),
            ("[r]\nnew = 'x'\nb = 2\n", "[r]\nnew = 'x'\n[s.r]\nb = 2\n"),
            ("c = 2", "c = 3"),
            ("[[t]]\nc = 2\n", ""),
            ("[s]\n", ""),
            ("[s]\n", "[s]\n[q]\n"),
            ("[s]\n", "s = {}\n"),
        ] {
            let other = after.replacen(part, other, 1);
            assert!(!is_right(before, &other), "{other}");
        }
    }
}
