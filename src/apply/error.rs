//! Why files are not as they were to be, and what to do then.

use std::fmt;

use super::RunState;
use super::guard::Unhealthy;
use super::obstacle::Obstacle;
use crate::node::{NodeError, NodePath};
use crate::printable::printable;

/// Why an apply or a rollback did not end as it was to.
#[derive(Debug)]
pub enum ApplyError {
    /// These files are not what they were when the plan was made; nothing was written.
    ChangedSincePlan(Vec<NodePath>),
    /// Someone changed these files after the run; nothing was written.
    ChangedSinceApply {
        /// The run.
        run: u32,
        /// The files.
        files: Vec<ChangedFile>,
    },
    /// There is no such run, or none that can be rolled back.
    NoSuchRun {
        /// Its number.
        run: u32,
        /// What it is, if there is one.
        state: Option<RunState>,
    },
    /// A newer run has changed the same files, and is in effect.
    Beneath {
        /// The run.
        run: u32,
        /// The newer one.
        newer: u32,
    },
    /// A link leads to another file than the one that the run changed.
    LeadsElsewhere {
        /// The run.
        run: u32,
        /// The path with the link.
        named: NodePath,
        /// Where it leads now.
        now: NodePath,
        /// The file of the run.
        then: NodePath,
    },
    /// Something keeps these files from being written; nothing was.
    Obstacles(Vec<Obstacle>),
    /// A run waits for a restart of containerd, and the commands for it were not given again; nothing was written.
    RestartPending {
        /// The run.
        run: u32,
        /// Whether the old files are being put back.
        is_going_back: bool,
        /// The command that undoes it.
        next: Vec<Next>,
    },
    /// A journal that cannot be read, of a run that may be unfinished or in the way.
    Damaged {
        /// What is wrong with it.
        error: NodeError,
        /// The files whose old bytes it still gives, with the number of the line.
        intact: Vec<(usize, NodePath)>,
    },
    /// Another run holds the lock.
    Locked {
        /// The lock's path.
        lock: NodePath,
        /// What it says about its holder; may be empty.
        holder: String,
    },
    /// A signal came before the commit point; everything is as it was.
    Interrupted,
    /// A step failed; everything is as it was.
    Failed(NodeError),
    /// There is no shell, so that no command can be run; nothing was written.
    NoShell(std::io::Error),
    /// There is no way to ask whether CRI is up; nothing was written.
    NoHealth(std::io::Error),
    /// The health command fails before anything is changed; nothing was written.
    UnhealthyBefore {
        /// The end of what it printed; may hold secrets.
        lines: Vec<String>,
    },
    /// CRI was not up after the restart; the old files are back.
    Unhealthy {
        /// The run.
        run: u32,
        /// What was wrong.
        verdict: Unhealthy,
        /// How CRI is with the old files.
        again: Again,
        /// What to do if it is not up.
        next: Vec<Next>,
    },
    /// A step failed, and so did undoing what was done until then.
    NotUndone {
        /// Why it was to be undone.
        cause: Box<ApplyError>,
        /// What failed then.
        undo: Box<ApplyError>,
        /// What each file is now.
        files: Vec<(NodePath, FileState)>,
        /// The commands that lead home.
        next: Vec<Next>,
    },
    /// A rollback failed halfway.
    NotRolledBack {
        /// What failed.
        cause: NodeError,
        /// What each file is now.
        files: Vec<(NodePath, FileState)>,
        /// The commands that lead home.
        next: Vec<Next>,
    },
}

/// A command that comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// `rollback` of this run.
    Rollback(u32),
    /// The restart command that was given; may hold secrets.
    Restart(String),
}

/// A file that is neither the old nor the new one of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its path.
    pub path: NodePath,
    /// What the run left.
    pub after: Vec<u8>,
    /// What it is now; `None` if it is gone (or a link).
    pub found: Option<Vec<u8>>,
}

/// Which of its two states a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// As before the apply.
    Old,
    /// As planned.
    New,
    /// Neither, or not readable.
    Unknown,
}

impl ApplyError {
    /// The exit code, as the help and docs/guide.md list them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ChangedSincePlan(_)
            | Self::ChangedSinceApply { .. }
            | Self::NoSuchRun { .. }
            | Self::Beneath { .. }
            | Self::LeadsElsewhere { .. }
            | Self::Obstacles(_)
            | Self::UnhealthyBefore { .. }
            | Self::RestartPending { .. } => 3,
            Self::Damaged { .. }
            | Self::Locked { .. }
            | Self::Interrupted
            | Self::Failed(_)
            | Self::NoShell(_)
            | Self::NoHealth(_) => 4,
            Self::Unhealthy { again, .. } => match again {
                Again::Down | Again::NotRestarted => 5,
                Again::Up | Again::WasDown => 4,
            },
            Self::NotUndone { .. } | Self::NotRolledBack { .. } => 5,
        }
    }

    /// Whether root could do what this user may not.
    pub fn needs_root(&self) -> bool {
        match self {
            Self::Failed(error) | Self::Damaged { error, .. } => error.needs_root(),
            Self::NotRolledBack { cause, .. } => cause.needs_root(),
            Self::NotUndone { undo, .. } => undo.needs_root(),
            _ => false,
        }
    }

    /// What containerd itself, or the health command, says about a CRI that is not up; may hold secrets.
    pub fn daemon_lines(&self) -> &[String] {
        match self {
            Self::Unhealthy { verdict, .. } => &verdict.lines,
            Self::UnhealthyBefore { lines } => lines,
            Self::NotUndone { cause, .. } => cause.daemon_lines(),
            _ => &[],
        }
    }

    /// What happened, without what became of the files.
    fn reason(&self) -> String {
        match self {
            Self::Failed(error) => error.to_string(),
            Self::Interrupted => "interrupted".to_owned(),
            Self::Unhealthy { verdict, .. } => verdict.reason.clone(),
            error => error.to_string(),
        }
    }

    /// The exact commands that come next, where the message alone does not say it.
    pub fn next(&self) -> &[Next] {
        match self {
            Self::RestartPending { next, .. }
            | Self::Unhealthy { next, .. }
            | Self::NotUndone { next, .. }
            | Self::NotRolledBack { next, .. } => next,
            _ => &[],
        }
    }
}

/// How CRI is once the old files are back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Up.
    Up,
    /// Not up.
    Down,
    /// The restart command failed, so that nobody can tell which files containerd runs with.
    NotRestarted,
    /// It was down before, too, and nobody asked.
    WasDown,
}

impl From<NodeError> for ApplyError {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

/// What a journal that cannot be read still gives: each in a line of its own.
pub(super) fn what_is_left(error: &NodeError, intact: &[(usize, NodePath)]) -> String {
    let path = quoted([&error.path]);
    let mut text = String::new();
    for (line, file) in intact {
        let file = quoted([file]);
        text.push_str(&format!(
            "\n  line {line} of {path} has the old bytes of {file}, intact"
        ));
    }
    if intact.is_empty() && error.source.kind() != std::io::ErrorKind::FileTooLarge {
        text.push_str("\n  no line of it has old bytes of a file that are intact");
    }
    text
}

impl fmt::Display for ApplyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedSincePlan(paths) => {
                let paths = quoted(paths.iter());
                write!(
                    formatter,
                    "changed since the plan was made: {paths}; nothing was written"
                )
            }
            Self::ChangedSinceApply { run, files } => {
                let paths = quoted(files.iter().map(|file| &file.path));
                write!(formatter, "changed since run {run}: {paths}")
            }
            Self::NoSuchRun { run, state: None } => write!(formatter, "there is no run {run}"),
            Self::NoSuchRun {
                run,
                state: Some(state),
            } => {
                write!(formatter, "run {run} cannot be rolled back: it is {state}")
            }
            Self::Beneath { run, newer } => write!(
                formatter,
                "run {newer} has changed the files of run {run} since: roll back run {newer} first"
            ),
            Self::LeadsElsewhere {
                run,
                named,
                now,
                then,
            } => write!(
                formatter,
                "{} leads to {} now, and run {run} changed {}: nothing was written",
                quoted([named]),
                quoted([now]),
                quoted([then])
            ),
            Self::Obstacles(obstacles) => {
                for obstacle in obstacles {
                    write!(formatter, "{obstacle} ({}); ", obstacle.help())?;
                }
                write!(formatter, "nothing was written")
            }
            Self::RestartPending {
                run, is_going_back, ..
            } => {
                let done = if *is_going_back {
                    "was putting the old files back"
                } else {
                    "has written its files"
                };
                write!(
                    formatter,
                    "run {run} {done}, and ended before it saw whether CRI is up after the restart of containerd; \
                     nothing was written"
                )
            }
            Self::Damaged { error, intact } => {
                let path = quoted([&error.path]);
                let left = what_is_left(error, intact);
                write!(
                    formatter,
                    "{error}; nothing was written{left}\n  if this run is known to be complete, move {path} out of the state directory"
                )
            }
            Self::Locked { lock, holder } if holder.is_empty() => {
                write!(formatter, "another run holds the lock {}", quoted([lock]))
            }
            Self::Locked { lock, holder } => {
                let (lock, holder) = (quoted([lock]), printable(holder));
                write!(formatter, "another run holds the lock {lock}: {holder}")
            }
            Self::Interrupted => write!(formatter, "interrupted; every file is as it was"),
            Self::Failed(error) => write!(formatter, "{error}; every file is as it was"),
            Self::NoShell(error) => write!(
                formatter,
                "no restart without a shell: {}; nothing was written",
                printable(&error.to_string())
            ),
            Self::NoHealth(error) => write!(
                formatter,
                "cannot ask whether CRI is up: {}; nothing was written; set `--health-command` to ask in another way",
                printable(&error.to_string())
            ),
            Self::UnhealthyBefore { .. } => write!(
                formatter,
                "the health command fails before anything is changed, so it cannot tell whether the restart succeeds; \
                 nothing was written; run it by hand and correct `--health-command`, or leave `--restart` out and restart \
                 containerd yourself"
            ),
            Self::Unhealthy {
                run,
                verdict,
                again,
                ..
            } => {
                let now = match again {
                    Again::Up => "and CRI is up again",
                    Again::Down => "but CRI is not up with them",
                    Again::NotRestarted => {
                        "but containerd could not be restarted with them: until someone does that by hand, it may run \
                         with the new ones"
                    }
                    Again::WasDown => "and CRI was not up before, either",
                };
                let reason = &verdict.reason;
                write!(
                    formatter,
                    "{reason}; the files from before run {run} are back, {now}"
                )
            }
            Self::NotUndone {
                cause, undo, files, ..
            } => {
                let (cause, undo) = (cause.reason(), undo.reason());
                write!(formatter, "{cause}; this could not be undone: {undo}")?;
                write_states(formatter, files)
            }
            Self::NotRolledBack { cause, files, .. } => {
                write!(formatter, "{cause}; the rollback is not complete")?;
                write_states(formatter, files)
            }
        }
    }
}

impl std::error::Error for ApplyError {}

fn quoted<'a>(paths: impl IntoIterator<Item = &'a NodePath>) -> String {
    let paths = paths.into_iter().map(|path| printable(path.as_str()));
    let paths: Vec<String> = paths.collect();
    format!("`{}`", paths.join("`, `"))
}

fn write_states(
    formatter: &mut fmt::Formatter<'_>,
    files: &[(NodePath, FileState)],
) -> fmt::Result {
    for (path, state) in files {
        let state = match state {
            FileState::Old => "is as before the apply",
            FileState::New => "is as planned",
            FileState::Unknown => "is neither the old nor the new file",
        };
        write!(formatter, "\n  {} {state}", quoted([path]))?;
    }
    Ok(())
}
