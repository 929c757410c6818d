//! Other programs, run with a time limit.
//!
//! A restart that hangs or a `ctr` that waits for a frozen daemon must not hold up the way back, and a dropped terminal
//! must not end them.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal};

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

/// The limit of open files that this program was started with, if it was raised.
static USUAL_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of open files as far as it goes, for this program alone: a daemon that a restart command starts
/// must not inherit it.
pub(crate) fn allow_many_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = USUAL_LIMIT.set(limit);
    limit.current = limit.maximum;
    // Where this is not allowed, opening fails later, with the path in the message.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// Starts `command` with the usual limit. It is that of the whole program for a moment, so nothing is opened in it.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let Some(usual) = USUAL_LIMIT.get() else {
        return command.spawn();
    };
    let raised = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, *usual);
    let child = command.spawn();
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    child
}

/// Runs `command` and waits for its end, at most as long as `limit`.
pub(crate) fn run(command: Command, limit: Duration) -> io::Result<Ended> {
    run_watched(command, limit, &mut |_| {})
}

/// Does the same, and calls `waiting` again and again with how long it has taken so far.
pub(crate) fn run_watched(
    mut command: Command,
    limit: Duration,
    waiting: &mut dyn FnMut(Duration),
) -> io::Result<Ended> {
    const LOOK: Duration = Duration::from_millis(20);
    // A file and not a pipe: a daemon that the command leaves behind would keep a pipe open for ever.
    let mut output = File::from(rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?);
    let input = File::open("/dev/null")?;
    command
        .stdin(input)
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        // Away from the terminal's signals; and with it go the children of a shell when it is killed.
        .process_group(0);
    let mut child = spawn(&mut command).map_err(|error| {
        let program = command.get_program().to_string_lossy();
        io::Error::new(error.kind(), format!("cannot run `{program}`: {error}"))
    })?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() >= limit {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                // It may have ended just now.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            break None;
        }
        waiting(begun.elapsed());
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
