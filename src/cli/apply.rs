//! `apply`: who is asked, what is said, and which exit code comes of it. What it does to the disk is in `crate::apply`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;

use anyhow::Context;

use super::arguments::{Apply, Format, parse_digest};
use super::{Run, Stop, listen, unprinted};
use crate::apply::{ApplyError, Origin, Purpose, Recovered, Recovery};
use crate::commands::Migration;
use crate::containerd::loader::Startup;
use crate::plan::Plan;
use crate::read::{Inputs, Sources};
use crate::report::{Outcome, Report, Shown};
use crate::request::command_line;

/// A plan that changes something.
struct Pending {
    report: Report,
    inputs: Inputs,
    plan: Plan,
    digest: String,
}

impl Pending {
    /// The report alone if there is nothing to write, or nothing that may be written.
    fn of(migration: Migration) -> Result<Self, Box<Report>> {
        let Migration { report, plan } = migration;
        match (report.outcome, plan, report.digest.clone()) {
            (Outcome::Changes, Some((inputs, plan)), Some(digest)) => Ok(Self {
                report,
                inputs,
                plan,
                digest,
            }),
            _ => Err(Box::new(report)),
        }
    }

    /// What may be shown of what commands print.
    fn shown(&self, secrets: bool) -> Shown {
        let files = self.inputs.snapshot.configuration().files.iter();
        let texts = files.map(|loaded| loaded.file.toml.as_ref());
        Shown::knowing(secrets, texts)
    }
}

impl Run {
    pub(super) fn apply(&self, apply: &Apply) -> anyhow::Result<Report> {
        let expected = expected(apply)?;
        if apply.dry_run {
            let report = self.plan()?;
            if let Some(digest) = &report.digest {
                self.check_expected(&expected, digest, &report)?;
            }
            return Ok(report);
        }
        let node = self.node()?;
        let guard = self.guard(&apply.common.changing, &node, &mut Sources::default())?;
        let interrupt = listen()?;
        let asks = !apply.yes && expected.is_empty();
        let (mut session, pending) = loop {
            let begun = self.begin(&node, Purpose::Apply, &interrupt, guard.as_ref())?;
            let (mut session, recovered) = begun;
            let pending = match Pending::of(self.migration(&node)?) {
                Ok(pending) => pending,
                Err(mut report) => {
                    let is_healthy = |run: &Recovered| run.what == Recovery::Healthy;
                    let is_restarted = recovered.iter().any(is_healthy);
                    if let (Outcome::Nothing, Some(guard), false) =
                        (report.outcome, &guard, is_restarted)
                    {
                        report.notes.push(self.not_restarted(guard));
                    }
                    return Ok(*report);
                }
            };
            if asks && !self.can_ask() {
                return Err(self.unasked().into());
            }
            self.check_expected(&expected, &pending.digest, &pending.report)?;
            self.output.begin(&pending.report).map_err(unprinted)?;
            if asks && !self.ask("Write these changes?") {
                return Ok(pending.report);
            }
            let locked = session.lock();
            if locked.map_err(|error| self.stop(&error, &Shown::default()))? {
                break (session, pending);
            }
            // Another run changed the node between the plan and the lock. Who has said yes has said it to this plan, and a
            // document that is begun cannot be taken back.
            if asks || self.output.format != Format::Text {
                let changes = pending.plan.changes.iter();
                let paths = changes.map(|change| change.path.clone()).collect();
                let error = ApplyError::ChangedSincePlan(paths);
                return Err(self.stop(&error, &Shown::default()).into());
            }
            self.output.note(
                "note: another run changed the node meanwhile; this is the plan as it is now\n",
            );
        };
        let mut guard = guard;
        if let Some(guard) = &mut guard {
            // The plan is verified, so CRI loads with it.
            guard.is_rescue = matches!(
                pending.inputs.sight().startup(false),
                Startup::CriFails(_) | Startup::DoesNotStart(_)
            );
        }
        session.set_origin(Origin {
            from: pending.inputs.from,
            config: pending.inputs.options.config.path.clone(),
        });
        let shown = pending.shown(self.request.show_secrets);
        let progress = &mut |progress| self.show_progress(&progress, &shown, &interrupt);
        let changes = &pending.plan.changes;
        let applied = session
            .apply(changes, &pending.digest, guard.as_ref(), progress)
            .map_err(|error| self.stop(&error, &shown))?;
        self.busy.set(session.end());
        let mut report = pending.report;
        report.ends(Outcome::Applied);
        report.changed = true;
        report.run = Some(applied.run);
        report.restarted = guard.is_some();
        report.restart_needed &= guard.is_none();
        report.next = Vec::new();
        if report.restart_needed {
            report
                .next
                .push(crate::apply::guard::RESTART_COMMAND.to_owned());
        }
        report.way_back = Some(self.back(&shown).rollback_command(Some(applied.run)));
        Ok(report)
    }

    /// Refuses another plan than the one that was reviewed, and shows the one that there is now.
    fn check_expected(
        &self,
        expected: &[String],
        digest: &str,
        report: &Report,
    ) -> anyhow::Result<()> {
        if expected.is_empty() || expected.iter().any(|expected| expected == digest) {
            return Ok(());
        }
        self.output.begin(report).map_err(unprinted)?;
        let reviewed = match expected {
            [one] => format!("not {one}"),
            many => format!("none of the {} that are expected", many.len()),
        };
        let mut stop = Stop::refused(format!(
            "this is not the plan that was reviewed: its digest is {digest}, {reviewed}; nothing was written"
        ));
        stop.failure.help.push(
            "the report above is the plan as it is now; review it, and expect its digest"
                .to_owned(),
        );
        stop.failure.next.clone_from(&report.next);
        Err(stop.into())
    }

    /// There is nobody to ask.
    fn unasked(&self) -> Stop {
        let mut stop = Stop::usage(if self.output.is_json() {
            "with --format json nobody is asked: add --expect with the digest of the reviewed plan, or --yes; nothing was \
             written"
        } else {
            "stdin and stdout are not both a terminal, so nobody can be asked: add --expect with the digest of the \
             reviewed plan, or --yes; nothing was written"
        });
        stop.failure
            .next
            .push(command_line("plan", self.request.arguments()));
        stop
    }
}

/// The digests that are expected; none if that was not asked for.
fn expected(apply: &Apply) -> anyhow::Result<Vec<String>> {
    let mut expected = apply.expect.clone();
    if let Some(file) = &apply.expect_from {
        expected.extend(digests(file)?);
    }
    Ok(expected)
}

/// The most bytes of a list of digests.
const LONGEST_LIST: u64 = 1 << 20;

/// The digests in a file, one a line.
fn digests(file: &OsStr) -> anyhow::Result<Vec<String>> {
    let name = file.display();
    let mut text = String::new();
    let most = LONGEST_LIST + 1;
    let read = if file == "-" {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    let length = read.with_context(|| format!("cannot read --expect-from {name}"))?;
    if u64::try_from(length).unwrap_or(most) >= most {
        return Err(Stop::usage(format!(
            "--expect-from {name} has more than {LONGEST_LIST} bytes"
        ))
        .into());
    }
    let mut digests = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let digest = parse_digest(line).map_err(|reason| {
            Stop::usage(format!("--expect-from {name}: line {number}: {reason}"))
        })?;
        digests.push(digest);
    }
    if digests.is_empty() {
        return Err(Stop::usage(format!("--expect-from {name} has no digest")).into());
    }
    Ok(digests)
}
