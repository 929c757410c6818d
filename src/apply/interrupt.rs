//! Signals that ask the program to stop, turned into a flag that is looked at between two steps.
//!
//! Nothing is done in a handler: a step that has begun is finished, and then what was done is undone or completed.
//! While nothing is being changed, for example at a prompt, a signal ends the program as it always does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::ApplyError;

/// Whether someone asked the program to stop.
#[derive(Clone, Debug)]
pub struct Interrupt {
    idle: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches `SIGINT`, `SIGTERM` and `SIGHUP` (a dropped terminal) from now on. One that is ignored stays so:
    /// `nohup` asked for that.
    pub fn listen() -> std::io::Result<Self> {
        let interrupt = Self::deaf();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if is_ignored(&status, signal) {
                continue;
            }
            // Called in this order: the first one ends the program if nothing is being changed.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupt.idle))?;
            signal_hook::flag::register(signal, Arc::clone(&interrupt.asked))?;
        }
        Ok(interrupt)
    }

    /// One that no signal sets.
    pub fn deaf() -> Self {
        Self {
            idle: Arc::new(AtomicBool::new(true)),
            asked: Arc::default(),
        }
    }

    /// One that is set already.
    #[cfg(test)]
    pub(crate) fn set() -> Self {
        let interrupt = Self::deaf();
        interrupt.asked.store(true, Ordering::Relaxed);
        interrupt
    }

    /// Whether a signal came while something was being changed.
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), ApplyError> {
        if self.is_set() {
            Err(ApplyError::Interrupted)
        } else {
            Ok(())
        }
    }

    /// From now on a signal does not end the program, until the value is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.idle.store(false, Ordering::Relaxed);
        Busy(Arc::clone(&self.idle))
    }
}

/// Reads `SigIgn` in `/proc/PID/status`, which is the only way to ask without `unsafe`.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// While it lives, the program is not ended by a signal.
#[derive(Debug)]
pub(crate) struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_seen() {
        let status = "Name:\tsh\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGINT) && !is_ignored(status, SIGTERM));
        assert!(!is_ignored("", SIGHUP));
    }
}
