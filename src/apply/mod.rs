//! The only writer: takes the changes of a plan to the disk, all of them or none, and back.
//!
//! ```text
//! recover what a killed run left → lock → compare with the plan → journal
//!   → write and fsync under temporary names → rename the hosts files → rename the other configuration files
//!   → rename the one that gets config_path: the commit point
//!   → restart containerd and watch it (only if asked) → close the journal
//! ```
//! Whatever is killed, full or refused: the files are the old ones or the new ones, and the journal leads home. This
//! module knows of a file only when containerd reads it, and touches none that the plan does not name.

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::containerd::release::Version;
use crate::node::{Node, NodeError, NodePath};
use crate::plan::FileKind;

pub(crate) mod command;
mod error;
pub mod guard;
mod interrupt;
mod journal;
mod obstacle;
mod replace;
mod session;
mod transaction;

pub use error::{Again, ApplyError, ChangedFile, FileState, Next};
pub(crate) use interrupt::Busy;
pub use interrupt::Interrupt;
pub use obstacle::{Obstacle, ObstacleKind, obstacles};
pub use session::{ChangedSinceApply, Purpose, Session};

use guard::RestartRecord;
use journal::{Entry, Event, Journal, Store};
use transaction::Transaction;

/// What an apply has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The number of the run.
    pub run: u32,
    /// The files that were written, in that order.
    pub files: Vec<NodePath>,
}

/// What a rollback has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The number of the run that was rolled back.
    pub run: u32,
    /// The files that are as they were before it.
    pub files: Vec<NodePath>,
}

/// What was done about a run that had been killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its number.
    pub run: u32,
    /// What was done.
    pub what: Recovery,
    /// The files of the run.
    pub files: Vec<NodePath>,
    /// Those among them that someone has changed since, and that were left as they are.
    pub kept: Vec<NodePath>,
}

/// What is to be known of the files while they are changed, besides success and failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// How far the run is could not be written to its journal, for this reason.
    NotRecorded {
        /// The run.
        run: u32,
        /// What failed.
        reason: String,
    },
    /// Someone's changes to these files are given up; the journal keeps them.
    GivenUp {
        /// The run.
        run: u32,
        /// The files.
        files: Vec<ChangedFile>,
    },
    /// These files were changed while the old ones were being put back, and were left as they are.
    Left(Vec<NodePath>),
    /// This file keeps its mode, which lets in fewer than the one that it had before the run.
    Stricter(NodePath, u32),
}

/// How a killed run was brought to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It had reached its commit point: its files are in place.
    Finished,
    /// It had not: the old files are in place.
    Undone,
    /// Its rollback was completed.
    RolledBack,
    /// Its restart was taken up again, and CRI is up.
    Healthy,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// It was killed, or is at work.
    Unfinished,
    /// Its files are in effect.
    Applied,
    /// Its files are in place, and its restart was not judged.
    RestartPending,
    /// It failed, and the old files are in place.
    Undone,
    /// Its rollback was killed, or is at work.
    GoingBack,
    /// It was rolled back.
    RolledBack,
    /// Its journal cannot be read.
    Damaged,
}

impl fmt::Display for RunState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unfinished => "unfinished",
            Self::Applied => "applied",
            Self::RestartPending => "waiting for its restart",
            Self::Undone => "undone",
            Self::GoingBack => "being rolled back",
            Self::RolledBack => "rolled back",
            Self::Damaged => "damaged",
        })
    }
}

/// What the files from before a run were written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The containerd whose pulls the run preserves.
    pub from: Version,
    /// The config.toml.
    pub config: NodePath,
}

/// A run, as a list of runs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub run: u32,
    /// How far it is.
    pub state: RunState,
    /// When it began, in UTC, as RFC 3339 writes it.
    pub begun: String,
    /// The version of the program that made it.
    pub tool: String,
    /// The digest of its plan.
    pub plan: String,
    /// What the old files were written for, if the journal says it.
    pub origin: Option<Origin>,
    /// The files that it changes.
    pub files: Vec<NodePath>,
    /// The directories that it made.
    pub directories: Vec<NodePath>,
    /// Why its journal cannot be read, and what is left of it.
    pub damage: Option<String>,
}

/// What a rollback would do to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// What containerd reads it for.
    pub kind: FileKind,
    /// The real file.
    pub path: NodePath,
    /// Its bytes now; `None` if it does not exist.
    pub now: Option<Vec<u8>>,
    /// Its bytes before the run; `None` if it did not exist.
    pub old: Option<Vec<u8>>,
}

/// All runs, oldest first.
pub fn runs(node: &Node, state_dir: &NodePath) -> Result<Vec<Run>, ApplyError> {
    let store = Store::new(node, state_dir);
    let entries = store.entries()?;
    let runs = entries.map(|entry| Ok(entry?.summary()));
    runs.collect()
}

/// Runs that a command which only reads should mention; an error if it may not look.
pub fn unfinished(node: &Node, state_dir: &NodePath) -> Result<Vec<Run>, NodeError> {
    let store = Store::new(node, state_dir);
    let entries = store.entries()?.flatten();
    let unfinished = entries.filter(|entry| match entry {
        Entry::Run(journal) => journal.is_unfinished(),
        Entry::Damaged(damaged) => !damaged.is_closed,
    });
    Ok(unfinished.map(|entry| entry.summary()).collect())
}

/// Who is changing the node at this moment, as far as that can be seen without stopping anybody.
pub fn holder(node: &Node, state_dir: &NodePath) -> Option<String> {
    Store::new(node, state_dir).holder()
}

/// The bytes of all files of unfinished runs, from before and after, for masks: nothing where the journals cannot be
/// read, since then no session begins.
pub fn unfinished_bytes(node: &Node, state_dir: &NodePath) -> Vec<Vec<u8>> {
    let unfinished = Store::new(node, state_dir).unfinished();
    let unfinished = unfinished.unwrap_or_default();
    unfinished.iter().flat_map(Journal::bytes).collect()
}

impl Entry {
    fn summary(&self) -> Run {
        match self {
            Self::Run(journal) => journal.summary(),
            Self::Damaged(damaged) => Run {
                run: damaged.run,
                state: RunState::Damaged,
                begun: String::new(),
                tool: String::new(),
                plan: String::new(),
                origin: None,
                files: Vec::new(),
                directories: Vec::new(),
                damage: Some(format!(
                    "{}{}",
                    damaged.error,
                    error::what_is_left(&damaged.error, &damaged.intact)
                )),
            },
        }
    }
}

impl Event {
    /// Whether nothing is left to do after it.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Applied | Self::Undone | Self::RolledBack)
    }
}

impl Journal {
    fn state(&self) -> RunState {
        match self.events.last() {
            None => RunState::Unfinished,
            Some(Event::Applied) => RunState::Applied,
            Some(Event::RestartPending | Event::Restarted) => RunState::RestartPending,
            Some(Event::GoingBack { .. }) => RunState::GoingBack,
            Some(Event::Undone) => RunState::Undone,
            Some(Event::RolledBack) => RunState::RolledBack,
        }
    }

    fn is_unfinished(&self) -> bool {
        !self.events.last().is_some_and(Event::is_end)
    }

    fn shares_a_file_with(&self, other: &Self) -> bool {
        let paths: HashSet<&NodePath> = other.files.iter().map(|file| &file.path).collect();
        self.files.iter().any(|file| paths.contains(&file.path))
    }

    fn summary(&self) -> Run {
        Run {
            run: self.record.run,
            state: self.state(),
            begun: self.record.begun.clone(),
            tool: self.record.tool.clone(),
            plan: self.record.plan.clone(),
            origin: self.record.origin(),
            files: self.files.iter().map(|file| file.path.clone()).collect(),
            directories: self.directories.clone(),
            damage: None,
        }
    }

    /// What the journal keeps of a restart that was not judged.
    fn pending_restart(&self) -> Option<&RestartRecord> {
        match self.events.last() {
            Some(Event::GoingBack { restart, .. }) => restart.as_ref(),
            Some(Event::RestartPending | Event::Restarted) => self.record.restart.as_ref(),
            _ => None,
        }
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        for file in &self.files {
            bytes.extend(file.before_bytes().map(<[u8]>::to_vec));
            bytes.push(file.after.clone());
        }
        for event in &self.events {
            if let Event::GoingBack { found, .. } = event {
                let found = found.values().flatten();
                bytes.extend(found.filter_map(|found| found.get().ok()));
            }
        }
        bytes
    }

    fn transaction<'a>(&'a self, node: &'a Node) -> Transaction<'a> {
        Transaction {
            node,
            run: self.record.run,
            files: &self.files,
            directories: &self.directories,
        }
    }
}

#[cfg(test)]
mod tests;
