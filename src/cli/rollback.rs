//! `rollback`: who is asked, what is said, and which exit code comes of it. What it does to the disk is in `crate::apply`.

use super::arguments::{Format, Rollback};
use super::{Run, Stop, installed_version, listen, unprinted};
use crate::apply::guard::{Guard, RESTART_COMMAND};
use crate::apply::{self, ApplyError, Purpose, Recovered, Recovery, RunState};
use crate::commands;
use crate::containerd::release::Version;
use crate::node::Node;
use crate::printable::printable;
use crate::read::Sources;
use crate::report::{self, Outcome, Report, Shown, transaction};
use crate::request::command_line;

impl Run {
    pub(super) fn rollback(&self, rollback: &Rollback) -> anyhow::Result<Report> {
        let node = self.node()?;
        if rollback.list {
            return self.list(&node);
        }
        let interrupt = listen()?;
        let mut sources = Sources::default();
        let mut guard = self.guard(&rollback.common.changing, &node, &mut sources)?;
        if let Some(guard) = &mut guard {
            // A migration after which CRI is down is one to roll back.
            guard.is_rescue = true;
        }
        let purpose = Purpose::Rollback(rollback.run);
        let (mut session, recovered) = self.begin(&node, purpose, &interrupt, guard.as_ref())?;
        // What was recovered just now is what someone wants to be rid of: not a run before it.
        let is_back = |run: &&Recovered| {
            rollback.run.is_none_or(|wanted| wanted == run.run)
                && matches!(run.what, Recovery::RolledBack | Recovery::Undone)
        };
        if let Some(back) = recovered.iter().find(is_back) {
            let mut report = self.empty();
            report.ends(Outcome::RolledBack);
            report.changed = true;
            report.run = Some(back.run);
            return Ok(report);
        }
        let run = match rollback.run {
            Some(run) => Some(run),
            None => self.last(&node)?,
        };
        let Some(run) = run else {
            let state_dir = printable(self.request.state_dir.as_str());
            let text = format!(
                "no run is in effect in {state_dir}: there is nothing to roll back; if `apply` had another --state-dir or \
                 --root, give it here, too"
            );
            return Ok(self.nothing(text, guard.as_ref()));
        };
        let files = match session.way_back(run) {
            Ok(files) => files,
            Err(ApplyError::NoSuchRun {
                state: Some(RunState::RolledBack | RunState::Undone),
                ..
            }) => {
                let text = format!(
                    "run {run} is not in effect: there is nothing to roll back; `rollback --list` lists the runs"
                );
                return Ok(self.nothing(text, guard.as_ref()));
            }
            Err(error) => return Err(self.stopped(&error, Sources::default()).into()),
        };
        for bytes in files.iter().flat_map(|file| [&file.now, &file.old]) {
            super::add(&mut sources, bytes.as_deref().unwrap_or_default());
        }
        let shown = Shown::knowing(self.request.show_secrets, sources.texts());
        // `--from` may be about the next restart; what is installed reads the files at that, too.
        let installed = [installed_version(&node), self.request.from].into_iter();
        let mut installed: Vec<Version> = installed.flatten().map(Version::known).collect();
        installed.dedup();
        let runs = self.runs(&node)?;
        let Some(undone) = runs.iter().find(|known| known.run == run) else {
            let text = format!("run {run} does not exist any more");
            return Ok(self.nothing(text, guard.as_ref()));
        };
        let restarts = guard.is_some();
        let mut report =
            commands::way_back(&self.request, &installed, undone, &files, restarts, &shown);
        if report.outcome == Outcome::Refused {
            return Ok(report);
        }
        if !rollback.yes && !self.can_ask() {
            return Err(self.unasked_rollback(run).into());
        }
        self.output.begin(&report).map_err(unprinted)?;
        if !rollback.yes && !self.ask("Roll back?") {
            return Ok(report);
        }
        let progress = &mut |progress| self.show_progress(&progress, &shown, &interrupt);
        session
            .rollback(run, guard.as_ref(), progress)
            .map_err(|error| self.stop(&error, &shown))?;
        self.busy.set(session.end());
        report.ends(Outcome::RolledBack);
        report.changed = true;
        report.restarted = guard.is_some();
        if report.restart_needed {
            report.next.push(RESTART_COMMAND.to_owned());
        }
        Ok(report)
    }

    fn list(&self, node: &Node) -> anyhow::Result<Report> {
        if self.output.format == Format::Diff {
            return Err(Stop::usage("`rollback --list` has no diff; leave --format out").into());
        }
        let runs = self.runs(node)?;
        let mut report = self.empty();
        if runs.is_empty() {
            let state_dir = printable(self.request.state_dir.as_str());
            report.notes.push(format!("No runs in {state_dir}"));
        }
        let damaged = |run: &apply::Run| {
            let damage = run.damage.as_ref()?;
            Some(format!("warning: run {} is damaged: {damage}", run.run))
        };
        report.notes.extend(runs.iter().filter_map(damaged));
        report.runs = Some(runs.iter().map(transaction::row).collect());
        Ok(report)
    }

    fn empty(&self) -> Report {
        Report {
            node: self.request.node.clone(),
            ..Report::new(report::Command::Rollback, Outcome::Nothing)
        }
    }

    fn nothing(&self, why: String, guard: Option<&Guard>) -> Report {
        let mut report = self.empty();
        report.notes.push(why);
        report
            .notes
            .extend(guard.map(|guard| self.not_restarted(guard)));
        report
    }

    fn runs(&self, node: &Node) -> anyhow::Result<Vec<apply::Run>> {
        let runs = apply::runs(node, &self.request.state_dir);
        Ok(runs.map_err(|error| self.stop(&error, &Shown::default()))?)
    }

    /// The run that is rolled back if none is named.
    fn last(&self, node: &Node) -> anyhow::Result<Option<u32>> {
        let runs = self.runs(node)?;
        let newest = |state| runs.iter().rfind(|run| run.state == state);
        // A journal that cannot be read may be of a run that is in effect: that is an error to explain, not "nothing to
        // roll back".
        let run = newest(RunState::RestartPending)
            .or_else(|| newest(RunState::GoingBack))
            .or_else(|| newest(RunState::Applied))
            .or_else(|| newest(RunState::Damaged));
        Ok(run.map(|run| run.run))
    }

    /// There is nobody to ask.
    fn unasked_rollback(&self, run: u32) -> Stop {
        let mut stop = Stop::usage(
            "stdin and stdout are not both a terminal, so nobody can be asked: add --yes; nothing was written",
        );
        let mut arguments = self.request.arguments();
        arguments.push(("--yes", None));
        stop.failure
            .next
            .push(command_line(&format!("rollback {run}"), arguments));
        stop
    }
}
