//! The report of what was found: the one place that knows the types of the other modules and those of the report.

use std::collections::BTreeMap;
use std::ops::Range;

use super::changed::ChangedLines;
use super::digest::Digester;
use super::lines::Lines;
use super::{
    Action, Answer, Command, ConfigSummary, Conversion, Deprecation, FileChange, NamespacePulls,
    Outcome, Question, ReleaseRow, Report, SCHEMA, Setting, SettingFate, Shown, ShownFinding,
    TakesEffect, UsedVersion, Versions, diff,
};
use crate::ask::{self, Open};
use crate::check;
use crate::containerd::file::ConfigFile;
use crate::containerd::release::{NEWEST, Version};
use crate::finding::{self, FileId, Findings, Place};
use crate::plan::{Change, Fate, FileKind, Plan, SettingOutcome, Wanted};
use crate::question::Version1;
use crate::read::{Inputs, Options, Sources};
use crate::request::{Argument, Request, command_line};
use crate::secret::shown_url;

/// What every report is made from.
#[derive(Clone, Copy)]
pub struct Basis<'b> {
    /// The command that was run.
    pub command: Command,
    /// What was asked.
    pub request: &'b Request,
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
    pub fn failed(&self, error: String) -> Report {
        let mut report = self.report(Outcome::Failed);
        report.error = Some(error);
        report
    }

    /// The report where something needs a decision before there is anything else to say.
    pub fn refused(&self) -> Report {
        self.report(Outcome::Refused)
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
            report.next = vec![self.apply_command(inputs, &digest)];
            report.digest = Some(digest);
        }
        report
    }

    /// The report of what every containerd makes of the node.
    pub fn check(&self, check: &check::Check) -> Report {
        let mut reasons = check.not_ready.clone();
        let sorted = self.findings.sorted();
        let doubts = sorted.iter().filter(|finding| finding.code.doubt);
        reasons.extend(doubts.map(|found| format!("{}: {}", found.code.name, found.message)));
        let outcome = if reasons.is_empty() {
            Outcome::Ready
        } else {
            Outcome::NotReady
        };
        let mut report = self.report(outcome);
        report.releases = check.rows.iter().map(release).collect();
        report.not_ready = reasons;
        report.remark = check.remark.clone();
        report
    }

    fn shown(&self) -> Shown {
        Shown::new(self.request.show_secrets)
    }

    /// What every report says.
    fn report(&self, outcome: Outcome) -> Report {
        Report {
            schema: SCHEMA,
            command: self.command,
            node: None,
            outcome,
            error: None,
            changed: false,
            digest: None,
            run: None,
            restart_needed: false,
            versions: self.versions(),
            config: self.config(),
            files: Vec::new(),
            namespaces: Vec::new(),
            settings: Vec::new(),
            questions: self
                .questions
                .iter()
                .map(|open| self.question(open))
                .collect(),
            findings: self.findings(),
            releases: Vec::new(),
            not_ready: Vec::new(),
            remark: None,
            notes: Vec::new(),
            next: Vec::new(),
            exit_code: outcome.exit_code(),
        }
    }

    fn versions(&self) -> Versions {
        let asked = self.request;
        let known = |version: Version| version.min(version.newest_known());
        let from = match self.inputs {
            Some(inputs) => Some(inputs.from),
            None => asked.from.map(known),
        };
        let to = asked.to.unwrap_or(NEWEST);
        Versions {
            from: from.map(|version| UsedVersion {
                version,
                assumed: asked.from.is_none(),
            }),
            to: vec![UsedVersion {
                version: known(to),
                assumed: asked.to.is_none(),
            }],
        }
    }

    fn config(&self) -> ConfigSummary {
        let mut config = ConfigSummary {
            path: self.request.config.clone(),
            version: None,
            conversion: None,
            imports: Vec::new(),
        };
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
                None => inputs.options.config.clone(),
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

    /// The command that writes exactly this plan: all that was asked, the containerd that was found, and the digest.
    fn apply_command(&self, inputs: &Inputs, digest: &str) -> String {
        let request = Request {
            from: inputs.options.from,
            to: self.request.to.map(|_| inputs.options.to),
            ..self.request.clone()
        };
        let mut arguments: Vec<Argument> = request.arguments();
        arguments.push(("--expect", Some(digest.to_owned())));
        command_line("apply", arguments)
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
    }
}

fn release(row: &check::Row) -> ReleaseRow {
    ReleaseRow {
        versions: row.versions.clone(),
        today: row.today.clone(),
        after: row.afterwards.clone(),
    }
}
