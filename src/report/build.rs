//! The report of what was found: the one place that knows the types of the other modules and those of the report.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::changed::ChangedLines;
use super::digest::Digester;
use super::lines::Lines;
use super::{
    Action, Answer, Command, ConfigSummary, Conversion, Deprecation, FileChange, NamespacePulls,
    Outcome, Question, Report, Setting, SettingFate, Shown, ShownFinding, TakesEffect, UsedVersion,
    Versions, diff,
};
use crate::apply::{Run, WayBack};
use crate::ask::{self, Open};
use crate::check::{self, Check};
use crate::containerd::file::ConfigFile;
use crate::containerd::release::{Version, default_targets};
use crate::finding::{self, FileId, Findings, Place, Severity};
use crate::images;
use crate::node::NodePath;
use crate::plan::{Change, Fate, FileKind, Plan, SettingOutcome, Wanted};
use crate::question::Version1;
use crate::read::locate::{Located, NoConfig};
use crate::read::{Inputs, Options, ReadError, Sources};
use crate::request::{Argument, Request, command_line};
use crate::secret::{TextKind, shown_url};
use crate::text::FileText;

/// What every report is made from.
#[derive(Clone, Copy)]
pub struct Basis<'b> {
    /// The command that was run.
    pub command: Command,
    /// What was asked.
    pub request: &'b Request,
    /// The config.toml, if it was looked for; that of the inputs is known.
    pub config: Option<&'b Located>,
    /// What was read; `None` if the configuration is not understood.
    pub inputs: Option<&'b Inputs>,
    /// What was found.
    pub findings: &'b Findings,
    /// What is to be answered before anything is written.
    pub questions: &'b [Open],
    /// The texts that the findings point into.
    pub sources: &'b Sources,
}

impl Basis<'_> {
    /// The report of a node that could not be read.
    pub fn failed(&self, error: &ReadError) -> Report {
        let mut report = self.report(Outcome::Failed);
        report.error = Some(error.to_string());
        if let ReadError::NoConfig(missing) = error {
            report.next = self.elsewhere(missing);
        }
        report
    }

    /// The commands that look at the files that exist elsewhere.
    fn elsewhere(&self, missing: &NoConfig) -> Vec<String> {
        let command = match self.command {
            Command::Check => "check",
            Command::Plan | Command::Apply | Command::Rollback | Command::Hosts => "plan",
        };
        let on = |path: &NodePath| Request {
            config: Some(path.clone()),
            ..self.request.clone()
        };
        let paths = missing.elsewhere.iter().map(|(_, path)| path);
        paths
            .map(|path| command_line(command, on(path).arguments()))
            .collect()
    }

    /// The report where something needs a decision before there is anything else to say.
    pub fn refused(&self) -> Report {
        let mut report = self.report(Outcome::Refused);
        if self.command == Command::Check {
            report.next = vec![self.command("check", [])];
        }
        report
    }

    /// The report of a plan.
    pub fn plan(&self, inputs: &Inputs, plan: &Plan) -> Report {
        let outcome = match (self.findings.refused(), plan.changes.is_empty()) {
            (true, _) => Outcome::Refused,
            (false, true) => Outcome::Nothing,
            (false, false) => Outcome::Changes,
        };
        let mut report = self.report(outcome);
        report.config.conversion = match (plan.converts, inputs.options.version_1) {
            (true, _) => Some(Conversion::Converted),
            (false, Version1::Convert) if inputs.file_version() <= 1 => Some(Conversion::NotNeeded),
            (false, _) => None,
        };
        if outcome == Outcome::Changes {
            let restarts = |change: &Change| change.kind == FileKind::Configuration;
            report.restart_needed = plan.changes.iter().any(restarts);
            let (files, digest) = files_and_digest(plan, &self.shown());
            report.files = files;
            report.namespaces = plan.namespaces.iter().map(namespace).collect();
            report.settings = self.settings(inputs, plan);
            let after = plan.after(inputs);
            report.remark = after.and_then(|after| check::not_compared(inputs, &after));
            let expect = ("--expect", Some(digest.clone()));
            report.next = vec![self.command("apply", [expect])];
            report.digest = Some(digest);
            report.way_back = Some(self.request.back().rollback_command(None));
        }
        report
    }

    /// The report of whether the node can be upgraded as it is. `is_pending` is whether a plan can be written that
    /// changes something.
    pub fn check(&self, check: Check, is_pending: bool) -> Report {
        let mut not_ready = check.not_ready;
        let found = self.findings.sorted();
        let errors = found
            .iter()
            .filter(|found| found.severity == Severity::Error);
        let errors: BTreeSet<&str> = errors.map(|found| found.code.name).collect();
        not_ready.extend(
            errors
                .iter()
                .map(|code| format!("error[{code}] has to be fixed or decided")),
        );
        let is_ready = not_ready.is_empty();
        let outcome = if is_ready {
            Outcome::Ready
        } else {
            Outcome::NotReady
        };
        let mut report = self.report(outcome);
        report.releases = check.rows;
        report.ready_for = check.ready_for;
        report.not_ready = not_ready;
        report.removal = check.removal;
        report.remark = check.remark;
        if !is_ready || is_pending {
            report.next = vec![self.command("plan", [])];
        }
        report
    }

    /// The report of the hosts of images, each by the name that was given.
    pub fn hosts(&self, names: &[String], found: &[images::Image]) -> Report {
        let mut report = self.report(Outcome::Shown);
        // What is to be said about the files, `plan` says.
        report.findings.clear();
        report.questions.clear();
        report.images = super::images::shown(names, found);
        report
    }

    /// The report of a rollback: what it would change back. `shown` knows the secrets of the files.
    /// `installed` are the versions of containerd that may read it then.
    pub fn way_back(
        &self,
        run: &Run,
        installed: &[Version],
        files: &[WayBack],
        restarts: bool,
        shown: &Shown,
    ) -> Report {
        let mut report = self.report(match self.findings.refused() {
            true => Outcome::Refused,
            false => Outcome::Changes,
        });
        report.versions = Versions {
            from: run.origin.as_ref().map(|origin| UsedVersion {
                version: origin.from,
                assumed: false,
            }),
            to: installed
                .iter()
                .map(|installed| UsedVersion {
                    version: *installed,
                    assumed: false,
                })
                .collect(),
            carried: None,
        };
        let is_read_at_start = |file: &WayBack| file.kind == FileKind::Configuration;
        report.run = Some(run.run);
        report.restart_needed = !restarts && files.iter().any(is_read_at_start);
        let file = |file: &WayBack| {
            let kind = match file.kind {
                FileKind::HostsFile => TextKind::HostsFile,
                FileKind::Configuration => TextKind::Configuration,
            };
            let [now, old] =
                [&file.now, &file.old].map(|bytes| Some(FileText::new(bytes.clone()?, kind)));
            let diff = diff::of_file(&file.path, now.as_ref(), old.as_ref(), shown);
            FileChange {
                path: file.path.clone(),
                named: None,
                kind: file.kind,
                action: match (&file.now, &file.old) {
                    (None, _) => Action::Create,
                    (Some(_), Some(_)) => Action::Change,
                    (Some(_), None) => Action::Remove,
                },
                mode: None,
                takes_effect: match file.kind {
                    FileKind::HostsFile => TakesEffect::AtOnce,
                    FileKind::Configuration => TakesEffect::AfterRestart,
                },
                diff: diff.text,
                masked: diff.masked,
            }
        };
        report.files = files.iter().map(file).collect();
        report
    }

    fn shown(&self) -> Shown {
        Shown::new(self.request.show_secrets)
    }

    /// What every report says.
    fn report(&self, outcome: Outcome) -> Report {
        Report {
            node: self.request.node.clone(),
            versions: self.versions(),
            config: self.config(),
            questions: self
                .questions
                .iter()
                .map(|open| self.question(open))
                .collect(),
            findings: self.findings(),
            ..Report::new(self.command, outcome)
        }
    }

    fn versions(&self) -> Versions {
        let asked = self.request;
        let from = match self.inputs {
            Some(inputs) => Some(inputs.from),
            None => asked.from.map(Version::known),
        };
        let targets = match (self.inputs, asked.to, from) {
            (Some(inputs), ..) => inputs.targets.clone(),
            (None, Some(to), _) => vec![to.known()],
            (None, None, from) => from.map(default_targets).unwrap_or_default(),
        };
        Versions {
            from: from.map(|version| UsedVersion {
                version,
                assumed: asked.from.is_none(),
            }),
            to: targets
                .into_iter()
                .map(|version| UsedVersion {
                    version,
                    assumed: asked.to.is_none(),
                })
                .collect(),
            carried: self
                .inputs
                .filter(|inputs| inputs.carries())
                .map(Inputs::kept_version),
        }
    }

    fn config(&self) -> ConfigSummary {
        let located = self.inputs.map(|inputs| &inputs.options.config);
        let located = located.or(self.config);
        let mut config = located.map(ConfigSummary::of).unwrap_or_default();
        let Some(inputs) = self.inputs else {
            return config;
        };
        let version = inputs.file_version();
        config.version = Some(version).filter(|version| *version != 0);
        let configuration = inputs.snapshot.configuration();
        let order = configuration.order(&inputs.behaviour());
        let imported = order.iter().flat_map(|order| &order.files).skip(1);
        let files = imported.filter_map(|index| configuration.files.get(*index));
        config.imports = files.map(|loaded| loaded.file.path.clone()).collect();
        config
    }

    fn settings(&self, inputs: &Inputs, plan: &Plan) -> Vec<Setting> {
        let mut lines: BTreeMap<FileId, Lines<'_>> = BTreeMap::new();
        let files = &inputs.snapshot.configuration().files;
        let paths: BTreeMap<FileId, _> = files
            .iter()
            .map(|loaded| (loaded.file.id, &loaded.file.path))
            .collect();
        let setting = |outcome: &SettingOutcome| Setting {
            setting: outcome.setting.clone(),
            deprecation: Deprecation::of_setting(&outcome.setting),
            file: match paths.get(&outcome.place.file) {
                Some(path) => (*path).clone(),
                None => inputs.options.config.path.clone(),
            },
            line: self.sources.get(outcome.place.file).map_or(1, |source| {
                let lines = lines.entry(outcome.place.file);
                let lines = lines.or_insert_with(|| Lines::numbers(source));
                lines.line(outcome.place.range.start)
            }),
            outcome: match &outcome.fate {
                Fate::Carried(files) => SettingFate::Carried {
                    files: files.clone(),
                },
                Fate::WithoutEffect(code) => SettingFate::WithoutEffect { code },
                Fate::LeftOut(code) => SettingFate::LeftOut { code },
                Fate::Overruled(code) => SettingFate::Overruled { code },
                Fate::Stays => SettingFate::Stays,
            },
        };
        plan.outcomes.iter().map(setting).collect()
    }

    fn findings(&self) -> Vec<ShownFinding> {
        let sorted = self.findings.sorted();
        let mut places: BTreeMap<FileId, Vec<&Range<usize>>> = BTreeMap::new();
        for place in sorted.iter().filter_map(|finding| finding.place.as_ref()) {
            places.entry(place.file).or_default().push(&place.range);
        }
        let shown = self.shown();
        let lines = places.iter().filter_map(|(file, places)| {
            let source = self.sources.get(*file)?;
            Some((*file, Lines::new(source, places, &shown)))
        });
        let lines: BTreeMap<FileId, Lines<'_>> = lines.collect();
        let files = self.inputs.iter();
        let files = files.flat_map(|inputs| &inputs.snapshot.configuration().files);
        let files: BTreeMap<FileId, &ConfigFile> =
            files.map(|loaded| (loaded.file.id, &loaded.file)).collect();
        let deprecation = |place: &Place| {
            let file = files.get(&place.file)?;
            Deprecation::at(&file.toml.syntax, place.range.start)
        };
        let finding = |finding: &&finding::Finding| ShownFinding {
            code: finding.code,
            severity: finding.severity,
            message: finding.message.clone(),
            help: finding.help.clone(),
            deprecation: finding.place.as_ref().and_then(deprecation),
            position: finding
                .place
                .as_ref()
                .and_then(|place| Some(lines.get(&place.file)?.position(&place.range))),
        };
        sorted.iter().map(finding).collect()
    }

    fn question(&self, open: &Open) -> Question {
        let answer = |answer: &ask::Answer| Answer {
            option: format!("{} {}", open.option, answer.value),
            command: self.answering_command(&answer.options),
            differs: answer.differs.clone(),
        };
        Question {
            code: open.code,
            option: open.option.to_owned(),
            answers: open.answers.iter().map(answer).collect(),
        }
    }

    /// The command that plans with these answers.
    fn answering_command(&self, options: &Options) -> String {
        let request = Request {
            from: options.from,
            existing: options.existing.clone(),
            inert: options.inert,
            version_1: options.version_1,
            allow: options.allow.clone(),
            ..self.request.clone()
        };
        command_line("plan", request.arguments())
    }

    /// A command that asks what was asked, with the containerd that was found.
    fn command(&self, name: &str, more: impl IntoIterator<Item = Argument>) -> String {
        let mut request = self.request.clone();
        if let Some(inputs) = self.inputs {
            request.from = inputs.options.from;
            request.to = inputs.options.to;
        }
        let mut arguments: Vec<Argument> = request.arguments();
        arguments.extend(more);
        command_line(name, arguments)
    }
}

/// The files of a plan with their diffs, and the digest of it all.
fn files_and_digest(plan: &Plan, shown: &Shown) -> (Vec<FileChange>, String) {
    let mut digester = Digester::new(plan.changes.len());
    let mut files = Vec::with_capacity(plan.changes.len());
    for change in &plan.changes {
        let (before, after) = (change.before.as_ref(), Some(&change.after));
        let changed = ChangedLines::new(before, after);
        digester.change(change, &changed);
        let diff = match shown.secrets {
            true => diff::of_file(&change.path, before, after, shown),
            false => diff::of_lines(&change.path, &changed, shown),
        };
        files.push(FileChange {
            path: change.path.clone(),
            named: change.named.clone(),
            kind: change.kind,
            action: match change.before {
                None => Action::Create,
                Some(_) => Action::Change,
            },
            mode: change
                .before
                .is_none()
                .then(|| format!("{:04o}", change.mode)),
            takes_effect: match change.kind {
                FileKind::HostsFile if plan.hosts_files_take_effect => TakesEffect::AtOnce,
                FileKind::HostsFile | FileKind::Configuration => TakesEffect::AfterRestart,
            },
            diff: diff.text,
            masked: diff.masked,
        });
    }
    (files, digester.finish(plan))
}

fn namespace(wanted: &Wanted) -> NamespacePulls {
    let unnamed = wanted.unnamed.then_some(wanted.name.as_str());
    let after = wanted.after.shown(unnamed);
    let before = match wanted.before == wanted.after {
        true => after.clone(),
        false => wanted.before.shown(unnamed),
    };
    NamespacePulls {
        name: (!wanted.unnamed).then(|| shown_url(&wanted.name)),
        unnamed: wanted.unnamed,
        before: before.hosts,
        before_fails: before.failure,
        after: after.hosts,
        after_fails: after.failure,
        same: wanted.changed.is_none(),
        changed_by: wanted.changed,
        changed_on: wanted.changed_on.clone(),
    }
}
