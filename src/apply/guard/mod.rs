//! Whether containerd's CRI plugin is up after a restart, as it was before.
//!
//! The rule is measured (docs/containerd.md §12.3): only the row of the plugin in `ctr plugins ls` tells; systemd calls a
//! containerd whose CRI is broken started. This module restarts and judges; it does not touch files, and what follows
//! from its verdict is decided in its parent. `ask` is how containerd is asked, `watch` the rule by which a restart is
//! judged. What each part protects from:
//!
//! | part | without it |
//! |---|---|
//! | the shell is tried first | no shell is found only after the files are changed |
//! | the socket must be the daemon's | a good migration is taken back, since nobody answers where nobody listens |
//! | a health command must succeed before | it fails afterwards, whatever the files are |
//! | the baseline | a CRI that is disabled, or was down before, is taken for a failure of the migration |
//! | the old daemon does not count | a restart that did nothing looks like one that went well |
//! | a failed restart of a daemon that is still there | containerd is restarted again for nothing, and that fails, too |
//! | CRI must stay up, in one daemon | one that exits a second after it said that it is up |
//! | `crictl version`, if it answered before | CRI is loaded, and busy with its recovery |
//! | the limit for each question | `ctr` 1.x waits for ever for a frozen daemon |

mod ask;
mod watch;

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::command::{self, Ended};
use super::{Again, ApplyError};
use crate::request::is_digest;
use ask::{Daemon, containerd_pid, cri_row, error_lines, is_listening, plugins};
use watch::Watch;

/// What restarts containerd, if nothing else is said.
pub const RESTART_COMMAND: &str = "systemctl restart containerd";

/// Where containerd listens, if nothing else is said.
pub const ADDRESS: &str = "/run/containerd/containerd.sock";

/// How long a restart may take at least: systemd gives a service 90 seconds to stop. With a longer `--health-timeout` it
/// may take as long as that.
const RESTART_LIMIT: Duration = Duration::from_secs(120);
/// With this a shell ends that does not find a command.
const NOT_FOUND: i32 = 127;
/// How long one question may take; `ctr` 1.x ignores its own limit when the daemon is frozen.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// How often those who watch are told that it still takes.
const TELL: Duration = Duration::from_secs(5);
/// How long a daemon that has just started may take until it listens.
const STARTING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);

/// How to restart containerd and how to ask whether CRI is up. It comes from the command line, never from a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The restart command, for `sh -c`.
    pub restart_command: String,
    /// How to ask.
    pub health: Health,
    /// For how many seconds to wait until CRI is up.
    pub timeout: u64,
    /// Whether CRI may be down before, because what is done is to bring it up.
    pub is_rescue: bool,
}

/// How to ask whether CRI is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The node's own `ctr` asks the daemon at this socket.
    Ctr(String),
    /// This command, for `sh -c`, ends with 0.
    Command(String),
}

/// A guard, and how things were before the files were changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    pub(crate) guard: Guard,
    pub(crate) before: Baseline,
}

impl RestartRecord {
    /// Whether it has the form that this program writes.
    pub(crate) fn is_as_written(&self) -> bool {
        is_digest(&self.commands)
    }
}

/// What a journal keeps of a [`Restart`], for a session that goes on with it. It holds no command: a journal may come
/// from elsewhere, and a command may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartRecord {
    /// [`Guard::digest`].
    commands: String,
    pub(crate) before: Baseline,
}

impl Restart {
    pub(crate) fn record(&self) -> RestartRecord {
        RestartRecord {
            commands: self.guard.digest(),
            before: self.before,
        }
    }
}

impl RestartRecord {
    /// The restart to go on with, if the operator has given the same commands again.
    pub(crate) fn resume(&self, guard: Option<&Guard>) -> Option<Restart> {
        let guard = guard.filter(|guard| guard.digest() == self.commands)?;
        Some(Restart {
            guard: guard.clone(),
            before: self.before,
        })
    }
}

/// How things were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    pub(crate) cri: Cri,
    /// Whether `crictl version` answered; only then it is asked afterwards.
    crictl: bool,
}

impl Baseline {
    /// Whether there is something to lose.
    pub(crate) fn was_up(self) -> bool {
        matches!(self.cri, Cri::Up | Cri::Disabled)
    }
}

/// What is known of the CRI plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cri {
    /// It is loaded.
    Up,
    /// It is there, and failed to load.
    Failed,
    /// The daemon runs without it.
    Disabled,
    /// No answer.
    Silent,
}

impl Cri {
    /// As part of a sentence that begins with "CRI".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Up => "is up",
            Self::Failed => "failed to load",
            Self::Disabled => "is not loaded",
            Self::Silent => "does not answer",
        }
    }
}

/// What the guard is doing, for those who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// How CRI was before anything was changed.
    Before(Cri),
    /// Nobody listens at this socket and no containerd runs: it is taken for one that is stopped.
    Stopped(String),
    /// The old files are being put back.
    PuttingBack,
    /// Something about the files that is to be known.
    Notice(super::Notice),
    /// The restart command is being run.
    Restarting(String),
    /// It has not ended yet.
    StillRestarting {
        /// Seconds since it began.
        seconds: u64,
        /// After how many it is killed.
        limit: u64,
    },
    /// The restart command ended badly.
    RestartFailed(Unhealthy),
    /// CRI is being watched.
    Waiting {
        /// How it is now.
        cri: Cri,
        /// Seconds since the restart.
        seconds: u64,
        /// For how long it may take.
        timeout: u64,
    },
}

/// Shows progress.
pub type Report<'a> = &'a mut dyn FnMut(Progress);

/// Why a restart is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealthy {
    /// What is wrong, as a phrase.
    pub reason: String,
    /// What containerd itself, or the command that has failed, says about it; may hold secrets.
    pub lines: Vec<String>,
    /// Whether the daemon from before is gone. If not, it never saw the new files, and CRI is as it was.
    pub is_restarted: bool,
    /// Whether it is the restart command that failed, and nobody has looked at CRI.
    pub is_command: bool,
}

impl Unhealthy {
    /// How CRI is, if this came of a restart with the old files.
    pub(crate) fn again(&self) -> Again {
        match self.is_command {
            true => Again::NotRestarted,
            false => Again::Down,
        }
    }
}

/// After how many seconds a restart command is killed, where CRI may take `timeout` seconds.
pub(crate) fn restart_limit(timeout: u64) -> u64 {
    RESTART_LIMIT.as_secs().max(timeout)
}

impl Guard {
    /// The SHA-256 of the commands, for a comparison with those of another command line.
    fn digest(&self) -> String {
        let health = match &self.health {
            // The address comes from the configuration.
            Health::Ctr(_) => None,
            Health::Command(command) => Some(command),
        };
        let mut hash = Sha256::new();
        for command in [Some(&self.restart_command), health].into_iter().flatten() {
            hash.update(command.len().to_be_bytes());
            hash.update(command);
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Asks how CRI is before anything is changed; an error if the answer would not tell anything later.
    pub(crate) fn baseline(&self, report: Report<'_>) -> Result<Baseline, ApplyError> {
        // Without a shell there would be no restart, and this is known only after the files are changed.
        command::run(command::shell(":"), PROBE_LIMIT).map_err(ApplyError::NoShell)?;
        self.check_socket(report).map_err(ApplyError::NoHealth)?;
        let Asked { cri, lines } = self.ask().map_err(ApplyError::NoHealth)?;
        let is_command = matches!(self.health, Health::Command(_));
        if is_command && cri != Cri::Up && !self.is_rescue {
            return Err(ApplyError::UnhealthyBefore { lines });
        }
        report(Progress::Before(cri));
        Ok(Baseline {
            cri,
            crictl: cri == Cri::Up && self.is_serving(),
        })
    }

    /// Restarts containerd, calls `restarted`, and watches CRI.
    pub(crate) fn restart(
        &self,
        before: Baseline,
        restarted: &mut dyn FnMut(),
        report: Report<'_>,
    ) -> Result<(), Unhealthy> {
        let old = self.daemon();
        let begun = SystemTime::now();
        let ran = self.run_restart(report);
        restarted();
        match (&self.health, ran) {
            // Nobody can tell whether the daemon is another one, so a restart that says that it failed has failed.
            (Health::Command(_), Err(failed)) => Err(failed),
            (_, ran) => self.watch(Some(begun), before, old, ran.is_ok(), report),
        }
    }

    /// Runs the restart command.
    pub(crate) fn run_restart(&self, report: Report<'_>) -> Result<(), Unhealthy> {
        let limit = Duration::from_secs(restart_limit(self.timeout));
        self.run_restart_within(limit, report)
    }

    fn run_restart_within(&self, limit: Duration, report: Report<'_>) -> Result<(), Unhealthy> {
        report(Progress::Restarting(self.restart_command.clone()));
        let limit_seconds = limit.as_secs();
        let mut told = Duration::ZERO;
        let command = command::shell(&self.restart_command);
        let ended = command::run_watched(command, limit, &mut |at| {
            if at >= told + TELL {
                told = at;
                report(Progress::StillRestarting {
                    seconds: at.as_secs(),
                    limit: limit_seconds,
                });
            }
        });
        let (how, lines) = match ended {
            Ok(ended) if ended.is_success() => return Ok(()),
            Ok(Ended { status, output }) => {
                let how = match status {
                    Some(status) if status.code() == Some(NOT_FOUND) => format!(
                        "failed ({status}: not found; set `--restart-command` to how containerd is restarted here)"
                    ),
                    Some(status) => format!("failed ({status})"),
                    None => format!("was killed after {limit_seconds} s"),
                };
                (how, last_lines(&output))
            }
            Err(error) => ("failed".to_owned(), vec![error.to_string()]),
        };
        let failed = Unhealthy {
            reason: format!("the restart command {how}"),
            lines,
            is_restarted: true,
            is_command: true,
        };
        report(Progress::RestartFailed(failed.clone()));
        Err(failed)
    }

    /// A socket at which nobody listens is the wrong one where a containerd runs. Where none does, it is stopped, which
    /// may be why someone is here.
    fn check_socket(&self, report: Report<'_>) -> std::io::Result<()> {
        let Health::Ctr(address) = &self.health else {
            return Ok(());
        };
        let begun = Instant::now();
        loop {
            if is_listening(address) {
                return Ok(());
            }
            let Some(pid) = containerd_pid() else {
                report(Progress::Stopped(address.clone()));
                return Ok(());
            };
            // One that starts, or one that a supervisor starts again and again.
            if begun.elapsed() >= STARTING {
                return Err(std::io::Error::other(format!(
                    "containerd runs (pid {pid}), but nobody listens at `{address}`, where its configuration and its \
                     imports say that it does"
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Watches CRI after a restart that a killed session has made.
    pub(crate) fn watch_on(&self, before: Baseline, report: Report<'_>) -> Result<(), Unhealthy> {
        self.watch(None, before, None, true, report)
    }

    /// Watches CRI until it is as good as `before`, or cannot be any more. `restart` is when the restart began, if that
    /// is known. `old` is the daemon that was to go; if nothing says that it was restarted, it gets little time for that.
    fn watch(
        &self,
        restart: Option<SystemTime>,
        before: Baseline,
        old: Option<Daemon>,
        is_run: bool,
        report: Report<'_>,
    ) -> Result<(), Unhealthy> {
        let begun = Instant::now();
        let mut watch = Watch {
            before,
            old,
            is_run,
            timeout: Duration::from_secs(self.timeout),
            up_since: None,
        };
        let mut shown = None;
        loop {
            // Asked first: if the daemon goes in between, the answer is the new one's, and counts one round later.
            let daemon = self.daemon();
            let asked = self.ask().unwrap_or_else(|error| Asked {
                cri: Cri::Silent,
                lines: vec![error.to_string()],
            });
            let cri = asked.cri;
            let at = begun.elapsed();
            let verdict = watch.look(at, cri, daemon, &mut || self.is_serving());
            let news = (cri, at.as_secs() / TELL.as_secs());
            if shown.replace(news) != Some(news) {
                report(Progress::Waiting {
                    cri,
                    seconds: at.as_secs(),
                    timeout: watch.limit(daemon).as_secs(),
                });
            }
            if let Some(verdict) = verdict {
                let is_same = daemon.is_some() && daemon == old && cri == before.cri;
                return verdict.map_err(|reason| Unhealthy {
                    reason,
                    lines: match &self.health {
                        _ if is_same => Vec::new(),
                        Health::Command(_) => asked.lines,
                        Health::Ctr(address) => error_lines(address, restart),
                    },
                    is_restarted: !is_same,
                    is_command: false,
                });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask(&self) -> std::io::Result<Asked> {
        let (command, limit) = match &self.health {
            Health::Command(text) => (command::shell(text), Duration::from_secs(self.timeout)),
            Health::Ctr(address) => (plugins(address, &[]), PROBE_LIMIT),
        };
        let ended = command::run(command, limit)?;
        let cri = match &self.health {
            Health::Command(_) if ended.is_success() => Cri::Up,
            Health::Ctr(_) if ended.status.is_some() => cri_row(&ended.output),
            _ => Cri::Silent,
        };
        let mut lines = last_lines(&ended.output);
        if ended.status.is_none() {
            lines.push(format!("(killed after {} s)", limit.as_secs()));
        }
        Ok(Asked { cri, lines })
    }

    /// Whether CRI answers a request. True where nobody can ask.
    fn is_serving(&self) -> bool {
        match &self.health {
            Health::Ctr(address) => ask::is_serving(address),
            Health::Command(_) => true,
        }
    }

    /// The process behind the socket.
    fn daemon(&self) -> Option<Daemon> {
        match &self.health {
            Health::Ctr(address) => ask::daemon(address),
            Health::Command(_) => None,
        }
    }
}

/// An answer to how CRI is, and the end of what the one who was asked has printed.
struct Asked {
    cri: Cri,
    lines: Vec<String>,
}

fn last_lines(text: &str) -> Vec<String> {
    const SHOWN: usize = 10;
    const WIDTH: usize = 500;
    let cut = |line: &str| match line.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    };
    let lines: Vec<String> = text.lines().map(cut).collect();
    let skipped = lines.len().saturating_sub(SHOWN);
    lines.into_iter().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_restart_that_hangs_says_so_and_is_killed() {
        let guard = Guard {
            restart_command: "echo begun; sleep 60".to_owned(),
            health: Health::Command("true".to_owned()),
            timeout: 1,
            is_rescue: false,
        };
        let mut said = Vec::new();
        let limit = TELL + Duration::from_secs(1);
        let ran = guard.run_restart_within(limit, &mut |progress| said.push(progress));
        let failed = Unhealthy {
            reason: "the restart command was killed after 6 s".to_owned(),
            lines: vec!["begun".to_owned()],
            is_restarted: true,
            is_command: true,
        };
        let expected = [
            Progress::Restarting("echo begun; sleep 60".to_owned()),
            Progress::StillRestarting {
                seconds: 5,
                limit: 6,
            },
            Progress::RestartFailed(failed.clone()),
        ];
        assert_eq!(said, expected);
        assert_eq!(ran, Err(failed));
    }

    #[test]
    fn no_more_seconds_are_shown_than_it_may_take() {
        let guard = Guard {
            restart_command: "true".to_owned(),
            health: Health::Command("true".to_owned()),
            timeout: 1,
            is_rescue: false,
        };
        let before = Baseline {
            cri: Cri::Up,
            crictl: false,
        };
        let mut said = 0;
        let verdict = guard.restart(before, &mut || {}, &mut |progress| {
            if let Progress::Waiting {
                seconds, timeout, ..
            } = progress
            {
                assert!(seconds <= timeout, "{seconds} s of {timeout} s");
                said += 1;
            }
        });
        assert_eq!((verdict, said), (Ok(()), 2));
    }

    #[test]
    fn a_restart_may_take_as_long_as_the_wait_for_cri() {
        assert_eq!([1, 120, 300].map(restart_limit), [120, 120, 300]);
    }

    fn asking(health: &str, is_rescue: bool) -> Guard {
        Guard {
            restart_command: "true".to_owned(),
            health: Health::Command(health.to_owned()),
            timeout: 1,
            is_rescue,
        }
    }

    /// It would fail afterwards, too, whatever the files are.
    #[test]
    fn a_health_command_that_fails_before_is_refused_unless_this_is_a_rescue() {
        let fails = asking("echo no such tool; false", false);
        match fails.baseline(&mut |_| {}) {
            Err(ApplyError::UnhealthyBefore { lines }) => assert_eq!(lines, ["no such tool"]),
            other => panic!("{other:?}"),
        }
        let rescue = asking("false", true).baseline(&mut |_| {}).unwrap();
        assert_eq!((rescue.cri, rescue.was_up()), (Cri::Silent, false));
        let works = asking("true", false).baseline(&mut |_| {}).unwrap();
        assert!(works.was_up());
    }

    #[test]
    fn what_a_health_command_prints_is_shown_when_it_fails() {
        let guard = asking("echo the pod network is down; false", false);
        let before = asking("true", false).baseline(&mut |_| {}).unwrap();
        let verdict = guard.restart(before, &mut || {}, &mut |_| {}).unwrap_err();
        assert_eq!(verdict.reason, "CRI does not answer after 1 s");
        assert_eq!(verdict.lines, ["the pod network is down"]);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let missing = Command::new("no-such-ctr");
        let error = command::run(missing, PROBE_LIMIT).unwrap_err();
        assert!(error.to_string().contains("`no-such-ctr`"), "{error}");
    }
}
