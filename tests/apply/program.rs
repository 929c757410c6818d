//! Applies any files to a tree and rolls them back: what the disk tests run, kill and starve.
//!
//! ```text
//! apply-files apply ROOT AFTER [RESTART-COMMAND HEALTH-COMMAND]
//! apply-files rollback ROOT RUN [RESTART-COMMAND HEALTH-COMMAND]
//! ```
//! `AFTER` holds the files to write, by their paths below `ROOT`. `config.toml` is the last.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::io::Write;
use std::process::ExitCode;

use containerd_registry_migrate::apply::guard::{Guard, Health};
use containerd_registry_migrate::apply::{
    ApplyError, ChangedSinceApply, Interrupt, STATE_DIR, Session,
};
use containerd_registry_migrate::node::{EntryKind, Node, NodePath};
use containerd_registry_migrate::plan::Change;

/// A full disk under stderr is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {error}");
            for line in error.next() {
                say!("next: {line}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &[String]) -> Result<(), ApplyError> {
    let guard = arguments.get(3).map(|restart| Guard {
        restart_command: restart.clone(),
        health: Health::Command(arguments[4].clone()),
        timeout: 2,
    });
    let node = Node::open(&arguments[1])?;
    let state_dir = NodePath::new(STATE_DIR);
    let interrupt = Interrupt::listen().unwrap();
    let refuse = ChangedSinceApply::Refuse;
    let purpose = if arguments[0] == "apply" {
        "apply"
    } else {
        "rollback"
    };
    let mut report = |progress| say!("progress: {progress:?}");
    let (mut session, recovered) =
        Session::begin(&node, &state_dir, purpose, interrupt, refuse, &mut report)?;
    for run in recovered {
        say!("recovered: {run:?}");
    }
    if purpose == "rollback" {
        let run = arguments[2].parse().unwrap();
        session.rollback(run, guard.as_ref(), &mut report)?;
        return Ok(());
    }
    let mut changes = Vec::new();
    read(
        &node,
        &Node::open(&arguments[2])?,
        &NodePath::new("/"),
        &mut changes,
    )?;
    changes.sort_by_key(|change| change.path.name() == "config.toml");
    if changes.is_empty() {
        return Ok(());
    }
    // Where a real command shows the plan and asks.
    if let Ok(pause) = std::env::var("PAUSE") {
        std::process::Command::new("sh")
            .args(["-c", &pause])
            .status()
            .unwrap();
    }
    session.apply(&changes, "digest", guard.as_ref(), &mut report)?;
    let _ = writeln!(std::io::stdout(), "applied");
    Ok(())
}

/// The files of `after` that differ from the node's.
fn read(
    node: &Node,
    after: &Node,
    directory: &NodePath,
    changes: &mut Vec<Change>,
) -> Result<(), ApplyError> {
    for entry in after.list(directory)?.unwrap_or_default() {
        let path = directory.join(&entry.name);
        let Some(file) = (entry.kind == EntryKind::File)
            .then(|| after.read(&path))
            .transpose()?
            .flatten()
        else {
            read(node, after, &path, changes)?;
            continue;
        };
        let path = node.real(&path)?;
        let before = node.read(&path)?.map(|file| file.bytes);
        let after = file.bytes;
        if before.as_ref() != Some(&after) {
            changes.push(Change {
                path,
                before,
                after,
            });
        }
    }
    Ok(())
}
