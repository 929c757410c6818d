//! Other programs, run with a time limit.
//!
//! A restart that hangs or a `ctr` that waits for a frozen daemon must not hold up the way back, and a dropped terminal
//! must not end them.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};

use crate::node::read_all;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if it was killed because its time was up.
    pub(crate) status: Option<ExitStatus>,
    /// What it wrote to stdout and stderr.
    pub(crate) output: String,
}

impl Ended {
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// `text` as a command for the shell.
pub(crate) fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text]);
    command
}

/// Runs `command` and waits for its end, at most as long as `limit`.
pub(crate) fn run(mut command: Command, limit: Duration) -> io::Result<Ended> {
    const LOOK: Duration = Duration::from_millis(20);
    // A file and not a pipe: a daemon that the command leaves behind would keep a pipe open for ever.
    let mut output = File::from(rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        // Away from the terminal's signals; and with it go the children of a shell when it is killed.
        .process_group(0)
        .spawn()?;
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() >= end {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                // It may have ended just now.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            break None;
        }
        std::thread::sleep(LOOK);
    };
    output.rewind()?;
    let bytes = read_all(output)?;
    Ok(Ended {
        status,
        output: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ends_in_time() {
        let ended = run(
            shell("echo out; echo err >&2; exit 3"),
            Duration::from_secs(5),
        )
        .unwrap();
        assert_eq!(ended.status.unwrap().code(), Some(3));
        assert_eq!(ended.output, "out\nerr\n");
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let begun = Instant::now();
        let ended = run(shell("sleep 60; true"), Duration::from_millis(100)).unwrap();
        assert!(ended.status.is_none());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_daemon_that_stays_does_not_hold_up() {
        let begun = Instant::now();
        let ended = run(shell("sleep 3 & echo started"), Duration::from_secs(2)).unwrap();
        assert!(ended.is_success());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
