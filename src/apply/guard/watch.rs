//! The rule by which a restart is judged: pure, fed with one observation after the other.

use std::time::Duration;

use super::ask::Daemon;
use super::{Baseline, Cri};

/// How long CRI must stay up: a daemon may say that it is and exit a second later (a busy stream port).
const HOLD: Duration = Duration::from_secs(5);

/// The rule: what was seen so far, and what it means.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) before: Baseline,
    /// The daemon that was to go.
    pub(super) old: Option<Daemon>,
    /// Whether the restart command ended well.
    pub(super) is_run: bool,
    pub(super) timeout: Duration,
    /// Since when it is up, and in which daemon.
    pub(super) up_since: Option<(Duration, Option<Daemon>)>,
}

impl Watch {
    /// For how long it may take.
    pub(super) fn limit(&self, daemon: Option<Daemon>) -> Duration {
        let is_old = daemon.is_some() && daemon == self.old;
        match self.up_since {
            // Once up, it gets the time to prove that it stays.
            Some((since, _)) => self.timeout.max(since + HOLD + HOLD),
            None if is_old && !self.is_run => HOLD,
            None => self.timeout,
        }
    }

    /// Takes one observation; `None` is "look again".
    pub(super) fn look(
        &mut self,
        at: Duration,
        cri: Cri,
        daemon: Option<Daemon>,
        is_serving: &mut dyn FnMut() -> bool,
    ) -> Option<Result<(), String>> {
        let is_old = daemon.is_some() && daemon == self.old;
        let is_up = match cri {
            // The restart has not begun yet.
            _ if is_old => false,
            Cri::Up => true,
            Cri::Silent => false,
            Cri::Disabled if self.before.cri == Cri::Disabled => true,
            // A status never changes after the first answer.
            Cri::Failed | Cri::Disabled => return Some(Err(format!("CRI {}", cri.phrase()))),
        };
        match self.up_since {
            _ if !is_up => self.up_since = None,
            Some((since, same)) if same == daemon => {
                if at.saturating_sub(since) >= HOLD && (!self.before.crictl || is_serving()) {
                    return Some(Ok(()));
                }
            }
            _ => self.up_since = Some((at, daemon)),
        }
        let limit = self.limit(daemon);
        if at < limit {
            return None;
        }
        let seconds = limit.as_secs();
        Some(Err(if is_old {
            format!("containerd was not restarted within {seconds} s")
        } else if is_up {
            format!(
                "CRI is loaded, but does not answer `crictl version` after {} s",
                at.as_secs()
            )
        } else {
            format!("CRI {} after {seconds} s", cri.phrase())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds, what CRI is, which daemon, whether `crictl` is answered.
    type Seen = (u64, Cri, Option<i32>, bool);

    /// Feeds observations to a watch over daemon 1, with a limit of 60 seconds; the verdict and when it came.
    fn verdict(before: Cri, crictl: bool, seen: &[Seen]) -> Option<(u64, Result<(), String>)> {
        let mut watch = Watch {
            before: Baseline {
                cri: before,
                crictl,
            },
            old: Some(Daemon(1)),
            is_run: true,
            timeout: Duration::from_secs(60),
            up_since: None,
        };
        seen.iter().find_map(|(at, cri, daemon, serving)| {
            let at_time = Duration::from_secs(*at);
            let verdict = watch.look(at_time, *cri, daemon.map(Daemon), &mut || *serving)?;
            Some((*at, verdict))
        })
    }

    #[test]
    fn up_must_hold_in_one_daemon() {
        let up = |at| (at, Cri::Up, Some(2), true);
        assert_eq!(verdict(Cri::Up, true, &[up(0), up(4)]), None);
        assert_eq!(verdict(Cri::Up, true, &[up(0), up(5)]), Some((5, Ok(()))));
        // It exited, and another one came.
        let restarted = [
            up(0),
            (4, Cri::Up, Some(3), true),
            (8, Cri::Up, Some(3), true),
        ];
        assert_eq!(verdict(Cri::Up, true, &restarted), None);
        let silent = [up(0), (3, Cri::Silent, None, true), up(4), up(8)];
        assert_eq!(verdict(Cri::Up, true, &silent), None);
    }

    #[test]
    fn the_daemon_that_was_to_go_proves_nothing() {
        let old = |at| (at, Cri::Up, Some(1), true);
        let seen = [old(0), old(30), old(60)];
        let reason = "containerd was not restarted within 60 s".to_owned();
        assert_eq!(verdict(Cri::Up, true, &seen), Some((60, Err(reason))));
        let failed = [
            (0, Cri::Failed, Some(1), true),
            (1, Cri::Up, Some(2), true),
            (6, Cri::Up, Some(2), true),
        ];
        assert_eq!(verdict(Cri::Failed, false, &failed), Some((6, Ok(()))));
    }

    #[test]
    fn a_restart_that_failed_gets_little_time() {
        let mut watch = Watch {
            before: Baseline {
                cri: Cri::Up,
                crictl: false,
            },
            old: Some(Daemon(1)),
            is_run: false,
            timeout: Duration::from_secs(60),
            up_since: None,
        };
        let mut look = |at, daemon| {
            watch.look(
                Duration::from_secs(at),
                Cri::Up,
                Some(Daemon(daemon)),
                &mut || true,
            )
        };
        assert_eq!(look(0, 1), None);
        let reason = "containerd was not restarted within 5 s".to_owned();
        assert_eq!(look(5, 1), Some(Err(reason)));
        // Unless there is another daemon all the same.
        assert_eq!(look(6, 2), None);
        assert_eq!(look(11, 2), Some(Ok(())));
    }

    #[test]
    fn a_failed_plugin_is_judged_at_once() {
        let seen = [
            (0, Cri::Silent, None, true),
            (1, Cri::Failed, Some(2), true),
        ];
        assert_eq!(
            verdict(Cri::Up, true, &seen),
            Some((1, Err("CRI failed to load".to_owned())))
        );
        assert_eq!(
            verdict(Cri::Failed, false, &seen),
            Some((1, Err("CRI failed to load".to_owned())))
        );
    }

    #[test]
    fn a_disabled_cri_may_stay_so() {
        let seen = [
            (1, Cri::Disabled, Some(2), true),
            (7, Cri::Disabled, Some(2), true),
        ];
        assert_eq!(verdict(Cri::Disabled, false, &seen), Some((7, Ok(()))));
        assert_eq!(
            verdict(Cri::Up, false, &seen),
            Some((1, Err("CRI is not loaded".to_owned())))
        );
    }

    #[test]
    fn no_answer_is_a_question_of_time() {
        let silent = |at| (at, Cri::Silent, None, true);
        let reason = "CRI does not answer after 60 s".to_owned();
        assert_eq!(verdict(Cri::Up, true, &[silent(0), silent(59)]), None);
        assert_eq!(
            verdict(Cri::Up, true, &[silent(0), silent(60)]),
            Some((60, Err(reason)))
        );
        // Loaded, but busy with its recovery: asked only if it answered before.
        let busy = |at| (at, Cri::Up, Some(2), false);
        let reason = "CRI is loaded, but does not answer `crictl version` after 70 s".to_owned();
        assert_eq!(
            verdict(Cri::Up, true, &[busy(0), busy(59), busy(70)]),
            Some((70, Err(reason)))
        );
        assert_eq!(
            verdict(Cri::Up, false, &[busy(0), busy(5)]),
            Some((5, Ok(())))
        );
    }
}
