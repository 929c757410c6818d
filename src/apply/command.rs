//! Other programs, run with a time limit.
//!
//! A restart that hangs or a `ctr` that waits for a frozen daemon must not hold up the way back, and a dropped terminal
//! must not end them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, SealFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::node::read_all;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if it was killed because its time was up.
    pub(crate) status: Option<ExitStatus>,
    /// The end of what it wrote to stdout and stderr, at most [`KEPT`] bytes.
    pub(crate) output: String,
}

impl Ended {
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// How much of what a program prints is kept.
const KEPT: u64 = 64 * 1024;

/// What a program prints goes into a file in memory, and not into a pipe: a daemon that the program leaves behind would
/// be killed by its next line once nobody reads the pipe any more.
struct Output {
    file: File,
    /// Up to here its memory was given back.
    freed: u64,
}

impl Output {
    fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("output", flags)?);
        // A program may open its /dev/stdout again, and then write from the start.
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(Self { file, freed: 0 })
    }

    /// Gives back the memory of all but the end; says whether there was any.
    fn discard(&mut self) -> io::Result<bool> {
        let end = self.file.metadata()?.len().saturating_sub(KEPT);
        self.freed = self.freed.min(end);
        if end - self.freed < KEPT {
            return Ok(false);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, self.freed, end - self.freed)?;
        self.freed = end;
        Ok(true)
    }

    /// The end of it. What still has it open finds an empty file that cannot be written to.
    fn close(mut self) -> io::Result<String> {
        for seal in [SealFlags::GROW, SealFlags::WRITE] {
            // The second one is refused while someone has the file mapped.
            let _ = rustix::fs::fcntl_add_seals(&self.file, seal);
        }
        let end = self.file.metadata()?.len();
        self.file.seek(SeekFrom::Start(end.saturating_sub(KEPT)))?;
        let bytes = read_all((&self.file).take(KEPT))?;
        self.file.set_len(0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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
    /// While it prints so much that something was discarded.
    const LOOK_SOON: Duration = Duration::from_millis(1);
    let mut output = Output::new()?;
    let input = File::open("/dev/null")?;
    command
        .stdin(input)
        .stdout(output.file.try_clone()?)
        .stderr(output.file.try_clone()?)
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
        let is_much = output.discard().unwrap_or(false);
        std::thread::sleep(if is_much { LOOK_SOON } else { LOOK });
    };
    // The command holds these, too.
    drop(command);
    let output = output.close()?;
    Ok(Ended { status, output })
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

    #[test]
    fn the_end_of_a_long_output_is_kept() {
        let script = "yes | head -c 1000000; echo the end";
        let ended = run(shell(script), Duration::from_secs(60)).unwrap();
        assert!(ended.is_success());
        assert!(ended.output.ends_with("y\nthe end\n"));
        assert_eq!(u64::try_from(ended.output.len()).unwrap(), KEPT);
    }

    #[test]
    fn endless_output_ends_with_its_time_and_takes_no_memory() {
        let ended = run(shell("exec yes"), Duration::from_millis(500)).unwrap();
        assert!(ended.status.is_none());
        assert!(u64::try_from(ended.output.len()).unwrap() <= KEPT);
        // Its size and its blocks, once what went on is discarded.
        let script = "yes & sleep 1; kill $!; sleep 1; stat -L -c '=%s %b' /proc/self/fd/1";
        let ended = run(shell(script), Duration::from_secs(60)).unwrap();
        let (_, numbers) = ended.output.rsplit_once('=').unwrap();
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(numbers[0] > 16 * KEPT, "{numbers:?}");
        assert!(numbers[1] * 512 < 4 * KEPT, "{numbers:?}");
    }

    #[test]
    fn what_stays_behind_can_neither_write_nor_hold_memory() {
        let path = std::env::temp_dir().join(format!("command-stays-{}", std::process::id()));
        let script = format!(
            "echo started; {{ until [ -e {path}.go ]; do sleep 0.1; done; exec 3>&1
            {{ echo late; }} 2>/dev/null && echo wrote >{path}.new || echo refused >{path}.new
            stat -L -c %s /proc/self/fd/3 >>{path}.new; mv {path}.new {path}; }} &",
            path = path.display()
        );
        let ended = run(shell(&script), Duration::from_secs(60)).unwrap();
        assert_eq!(ended.output, "started\n");
        std::fs::write(path.with_extension("go"), "").unwrap();
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "refused\n0\n");
        for path in [path.with_extension("go"), path] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
