//! What is said while a node is changed: what a killed run had left, how a restart goes, what failed. Whatever comes from
//! files or from containerd is masked.

use std::fmt::{self, Write};

use super::Shown;
use super::diff;
use crate::apply::guard::Progress;
use crate::apply::{ApplyError, ChangedFile, Next, Notice, Recovered, Recovery, Run, RunState};
use crate::finding::{CHANGED_SINCE_APPLY, Code};
use crate::printable::printable;
use crate::report::RunRow;
use crate::request::Request;

/// Why a command was refused or has failed, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The finding that it is, if it is one that can be accepted.
    pub code: Option<&'static Code>,
    /// What happened.
    pub message: String,
    /// What belongs to it: a diff, what a command has printed.
    pub details: String,
    /// What to do.
    pub help: Vec<String>,
    /// Commands to go on with.
    pub next: Vec<String>,
}

impl Failure {
    /// A failure that its message explains.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }
}

/// As rustc would print it, with a line end.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(formatter, "error[{}]: {}", code.name, self.message)?,
            None => writeln!(formatter, "error: {}", self.message)?,
        }
        formatter.write_str(&self.details)?;
        for help in &self.help {
            writeln!(formatter, "help: {help}")?;
        }
        for command in &self.next {
            writeln!(formatter, "next: {command}")?;
        }
        Ok(())
    }
}

/// What was done about a run that had been killed, and whether containerd was restarted for it.
pub fn recovered(recovered: &Recovered, is_restarted: bool) -> String {
    let run = recovered.run;
    let text = match recovered.what {
        Recovery::Finished => format!(
            "run {run} was killed after it had written its files: they are in place, and take effect when containerd \
             is restarted"
        ),
        Recovery::Undone if recovered.kept.is_empty() => {
            format!("run {run} was killed while it wrote: every file is as it was before the run")
        }
        Recovery::Undone => {
            format!(
                "run {run} was killed while it wrote: every other file is as it was before the run"
            )
        }
        Recovery::RolledBack if is_restarted => {
            format!(
                "the rollback of run {run} was killed: it is complete now, and containerd was restarted"
            )
        }
        Recovery::RolledBack => format!(
            "the rollback of run {run} was killed: it is complete now, and takes effect when containerd is restarted"
        ),
        Recovery::Healthy => format!(
            "run {run} was killed while it waited for containerd: CRI is up, and the new files stay"
        ),
    };
    let mut text = format!("note: {text}\n");
    for path in &recovered.kept {
        let path = printable(path.as_str());
        let _ = writeln!(
            text,
            "note: `{path}` was changed since the run: it stays as it is"
        );
    }
    text
}

/// A run that a command which only reads has found.
pub fn unfinished(run: &Run) -> String {
    let Run { run, state, .. } = run;
    match state {
        RunState::Damaged => format!("note: the journal of run {run} cannot be read\n"),
        RunState::RestartPending => format!(
            "note: run {run} is {state}: `apply --restart` with the same commands continues it, `rollback {run}` undoes \
             it\n"
        ),
        _ => format!(
            "note: run {run} is {state}: the next `apply` or `rollback` finishes it or undoes it\n"
        ),
    }
}

/// A command that changes the node at this moment.
pub fn at_work(holder: &str) -> String {
    let holder = printable(holder);
    format!(
        "note: another command is changing this node ({holder}): look again when it has ended\n"
    )
}

/// A run as a list of runs shows it.
pub fn row(run: &Run) -> RunRow {
    RunRow {
        run: run.run,
        state: run.state,
        begun: run.begun.clone(),
        tool: run.tool.clone(),
        digest: run.plan.clone(),
        from: run.origin.as_ref().map(|origin| origin.from),
        files: run.files.clone(),
    }
}

/// What the guard is doing.
pub fn progress(progress: &Progress, shown: &Shown) -> String {
    match progress {
        Progress::Before(cri) => format!("before the restart: CRI {}\n", cri.phrase()),
        Progress::PuttingBack => "putting the old files back\n".to_owned(),
        Progress::Notice(notice) => self::notice(notice, shown),
        Progress::Restarting(command) => {
            format!("restarting: {}\n", shown.typed(command))
        }
        Progress::Stopped(address) => format!(
            "before the restart: nobody listens at `{}` and no containerd runs; it is taken to be stopped\n",
            printable(address)
        ),
        Progress::StillRestarting { seconds, limit } => {
            format!("{seconds} s of {limit} s: the restart command has not ended\n")
        }
        Progress::RestartFailed(failed) => {
            let mut text = format!("warning: {}\n", failed.reason);
            printed(&failed.lines, shown, &mut text);
            text
        }
        Progress::Waiting {
            cri,
            seconds,
            timeout,
        } => {
            let limit = if seconds <= timeout {
                format!(" of {timeout} s")
            } else {
                // An answer took long.
                String::new()
            };
            format!("{seconds} s{limit}: CRI {}\n", cri.phrase())
        }
    }
}

/// Whether this is part of the report, and not only of how far the command is.
pub fn is_notice(progress: &Progress) -> bool {
    matches!(
        progress,
        Progress::Notice(_) | Progress::RestartFailed(_) | Progress::Stopped(_)
    )
}

fn notice(notice: &Notice, shown: &Shown) -> String {
    match notice {
        Notice::NotRecorded { run, reason } => format!(
            "warning: the journal of run {run} could not be written: {reason}; the next `apply` or `rollback` finds out \
             how far the run is\n"
        ),
        Notice::GivenUp { run, files } => {
            let changes = files.iter().map(|file| {
                let after = Some(file.after.as_slice());
                (&file.path, after, file.found.as_deref())
            });
            format!(
                "warning: what was changed since run {run} is given up; its journal keeps it:\n{}",
                diff::of_files(changes, shown).text
            )
        }
        Notice::Left(paths) => paths
            .iter()
            .map(|path| {
                format!(
                    "warning: `{}` was changed by another program just now: it stays as it is\n",
                    printable(path.as_str())
                )
            })
            .collect(),
        Notice::Stricter(path, mode) => format!(
            "warning: `{}` keeps its mode {mode:04o}, which is stricter than the one before the run\n",
            printable(path.as_str())
        ),
    }
}

/// Why a command has failed, and what to do. `back` is what a rollback is asked for.
pub fn failure(error: &ApplyError, shown: &Shown, back: &Request) -> Failure {
    let files = changed(error);
    let mut failure = Failure::new(error.to_string());
    if !files.is_empty() {
        let name = CHANGED_SINCE_APPLY.name;
        if matches!(error, ApplyError::ChangedSinceApply { .. }) {
            failure.message.push_str("; nothing was written");
        }
        let changes = files.iter().map(|file| {
            (
                &file.path,
                Some(file.after.as_slice()),
                file.found.as_deref(),
            )
        });
        failure.code = Some(&CHANGED_SINCE_APPLY);
        failure.details = diff::of_files(changes, shown).text;
        failure.help.push(format!(
            "`--allow {name}` gives these changes up; the journal keeps them"
        ));
    }
    printed(error.daemon_lines(), shown, &mut failure.details);
    if let ApplyError::RestartPending { run, .. } = error {
        failure.help.push(format!(
            "`apply` with `--restart` and the same `--restart-command` and `--health-command` as for run {run} continues \
             the restart"
        ));
        failure
            .help
            .push("or roll the run back; without `--restart` this runs no command".to_owned());
    }
    let next = error.next().iter().map(|command| match command {
        // Without it, this command stops where this one has.
        Next::Rollback(run) if !files.is_empty() => {
            let mut back = back.clone();
            if !back.allow.contains(&&CHANGED_SINCE_APPLY) {
                back.allow.push(&CHANGED_SINCE_APPLY);
            }
            back.rollback_command(Some(*run))
        }
        Next::Rollback(run) => back.rollback_command(Some(*run)),
        Next::Restart(command) => shown.typed(command),
    });
    failure.next = next.collect();
    failure
}

/// The files that someone has changed, if that is why.
pub fn changed(error: &ApplyError) -> &[ChangedFile] {
    match error {
        ApplyError::ChangedSinceApply { files, .. } => files,
        ApplyError::NotUndone { undo, .. } => changed(undo),
        _ => &[],
    }
}

/// What stands before each line that a command has printed.
pub(super) const PRINTED: &str = "  | ";

/// What a command has printed.
fn printed(lines: &[String], shown: &Shown, text: &mut String) {
    for line in lines {
        let _ = writeln!(text, "{PRINTED}{}", shown.printed(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::guard::Unhealthy;
    use crate::apply::{Again, FileState};
    use crate::node::{NodeError, NodePath};

    /// Everything that a journal, a lock, a tree or a daemon says.
    #[test]
    fn no_text_from_outside_makes_a_line_of_its_own() {
        const FORGED: &str = "x\nerror: forged\r\u{1b}[2J\u{9b}1m\u{202e}\u{2028}y";
        let path = NodePath::new(&format!("/etc/{FORGED}"));
        let broken = || NodeError::new(&path, "read", std::io::Error::other(FORGED));
        let shown = Shown::default();
        let unhealthy = Unhealthy {
            reason: "CRI failed to load".to_owned(),
            lines: vec![FORGED.to_owned()],
            is_restarted: true,
            is_command: false,
        };
        let errors = [
            ApplyError::ChangedSincePlan(vec![path.clone()]),
            ApplyError::LeadsElsewhere {
                run: 1,
                named: path.clone(),
                now: path.clone(),
                then: path.clone(),
            },
            ApplyError::Damaged {
                error: broken(),
                intact: vec![(2, path.clone())],
            },
            ApplyError::Locked {
                lock: path.clone(),
                holder: FORGED.to_owned(),
            },
            ApplyError::Failed(broken()),
            ApplyError::NoShell(std::io::Error::other(FORGED)),
            ApplyError::NoHealth(std::io::Error::other(FORGED)),
            ApplyError::Unhealthy {
                run: 1,
                verdict: unhealthy.clone(),
                again: Again::WasDown,
                next: Vec::new(),
            },
            ApplyError::NotRolledBack {
                cause: broken(),
                files: vec![(path.clone(), FileState::Old)],
                next: Vec::new(),
            },
        ];
        let mut texts: Vec<String> = errors
            .iter()
            .map(|found| failure(found, &shown, &Request::default()).to_string())
            .collect();
        let run = Run {
            run: 1,
            state: RunState::Applied,
            begun: FORGED.to_owned(),
            tool: FORGED.to_owned(),
            plan: FORGED.to_owned(),
            origin: None,
            files: vec![path.clone()],
            directories: Vec::new(),
            damage: None,
        };
        texts.push(unfinished(&run));
        let kept = Recovered {
            run: 1,
            what: Recovery::Undone,
            files: vec![path.clone()],
            kept: vec![path.clone()],
        };
        texts.push(recovered(&kept, false));
        let reason = broken().to_string();
        let notices = [
            Notice::NotRecorded { run: 1, reason },
            Notice::Left(vec![path.clone()]),
            Notice::Stricter(path.clone(), 0o600),
        ];
        texts.extend(notices.iter().map(|found| notice(found, &shown)));
        let said = [
            Progress::Restarting(FORGED.to_owned()),
            Progress::Stopped(FORGED.to_owned()),
            Progress::RestartFailed(unhealthy),
        ];
        texts.extend(said.iter().map(|found| progress(found, &shown)));
        for text in texts {
            let is_harmless = |line: &str| !line.starts_with("error: forged");
            assert!(text.lines().all(is_harmless), "{text}");
            let harmful = ['\r', '\u{1b}', '\u{9b}', '\u{202e}', '\u{2028}'];
            assert!(!text.contains(harmful), "{text:?}");
        }
    }

    #[test]
    fn what_stops_at_an_edit_shows_it_and_says_how_to_go_on() {
        let path = NodePath::new("/etc/containerd/config.toml");
        let undo = ApplyError::ChangedSinceApply {
            run: 1,
            files: vec![ChangedFile {
                path,
                after: b"version = 2\n".to_vec(),
                found: Some(b"version = 3\n".to_vec()),
            }],
        };
        let text = failure(
            &ApplyError::NotUndone {
                cause: Box::new(ApplyError::Interrupted),
                undo: Box::new(undo),
                files: Vec::new(),
                next: vec![
                    Next::Rollback(1),
                    Next::Restart("systemctl restart containerd".to_owned()),
                ],
            },
            &Shown::default(),
            &Request::default(),
        )
        .to_string();
        for line in [
            "error[changed-since-apply]: interrupted; this could not be undone",
            "+version = 3\n",
            "next: containerd-registry-migrate rollback 1 --allow changed-since-apply\n",
            "next: systemctl restart containerd\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
