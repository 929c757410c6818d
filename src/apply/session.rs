//! What a command that changes the node does: recover, lock, apply, roll back.
//!
//! Every way through this file ends in one of the states of [`RunState`], and so does every way that is cut off by a
//! kill: what was written to the journal last decides how the next session goes on.

use std::collections::{BTreeMap, BTreeSet};

use rustix::fd::OwnedFd;

use super::error::{Again, ApplyError, ChangedFile, FileState, Next};
use super::guard::{Guard, Progress, Report, Restart, RestartRecord, Unhealthy};
use super::interrupt::{Busy, Interrupt};
use super::journal::{Bytes, Entry, Event, Held, Journal, Lock, Record, Store};
use super::obstacle;
use super::transaction::{self, Content, FileChange, Found, NotAsBefore, OnFailure, Transaction};
use super::{Applied, Notice, Origin, Recovered, Recovery, RolledBack, RunState, WayBack};
use crate::node::{Node, NodeError, NodePath};
use crate::plan::Change;
use crate::text::FileText;

/// What the operator accepts, for recovery and rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChangedSinceApply {
    /// A file that someone changed since the run stops everything.
    #[default]
    Refuse,
    /// It is overwritten; the journal keeps its bytes.
    Overwrite,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write a plan.
    Apply,
    /// To roll back this run, or with `None` the last one.
    Rollback(Option<u32>),
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback(_) => "rollback",
        }
    }

    fn is_rollback_of(self, run: u32) -> bool {
        match self {
            Self::Apply => false,
            Self::Rollback(wanted) => wanted.is_none_or(|wanted| wanted == run),
        }
    }
}

/// A command that changes the node.
#[derive(Debug)]
pub struct Session<'a> {
    store: Store<'a>,
    purpose: Purpose,
    interrupt: Interrupt,
    /// Once something was changed.
    busy: Option<Busy>,
    changed: ChangedSinceApply,
    lock: Option<Lock>,
    /// The highest run that was there when the session began.
    seen: u32,
    /// What the files that are changed were written for.
    origin: Option<Origin>,
}

impl<'a> Session<'a> {
    /// Ends the session. While what is returned lives, a signal does not end the program: what was done is to be said.
    pub(crate) fn end(mut self) -> Option<Busy> {
        self.busy.take()
    }

    /// Begins with finishing or undoing what a killed run has left. Takes the lock only for that: a command that in the
    /// end writes nothing makes no state directory either.
    ///
    /// A run that waits for a restart goes on only with `guard`, and only if its commands are those that the run was
    /// given: a journal does not say what is executed. A rollback of that run needs none of it.
    pub fn begin(
        node: &'a Node,
        state_dir: &NodePath,
        purpose: Purpose,
        interrupt: Interrupt,
        changed: ChangedSinceApply,
        guard: Option<&Guard>,
        report: Report<'_>,
    ) -> Result<(Self, Vec<Recovered>), ApplyError> {
        let mut session = Self {
            store: Store::new(node, state_dir),
            purpose,
            interrupt,
            busy: None,
            changed,
            lock: None,
            seen: 0,
            origin: None,
        };
        let mut recovered = Vec::new();
        // Before the runs are looked at: one that begins in between is then noticed by `lock`.
        session.seen = session.store.last()?;
        if !session.store.unfinished()?.is_empty() {
            let _busy = session.interrupt.busy();
            session.take_lock()?;
            // Read again: until now someone else may have been at work.
            for journal in session.store.unfinished()? {
                recovered.extend(session.recover(&journal, guard, report)?);
            }
            session.interrupt.check()?;
            session.seen = session.store.last()?;
        }
        Ok((session, recovered))
    }

    /// Says what the files were written for that a plan changes: a rollback compares it with what is installed then.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Takes the lock, before anybody is asked to confirm a plan. `false` if another run changed the node since this
    /// session began: begin again.
    pub fn lock(&mut self) -> Result<bool, ApplyError> {
        self.take_lock()?;
        Ok(self.store.last()? == self.seen)
    }

    fn take_lock(&mut self) -> Result<&Lock, ApplyError> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => self.store.lock(self.purpose.name())?,
        };
        Ok(self.lock.insert(lock))
    }

    /// Writes `changes`, in their order but hosts files first, if every file is still what it was for the plan. The last
    /// one is the commit point; on an error before it everything is undone. With a guard, containerd is restarted afterwards, and if CRI
    /// does not come up as it was before, everything is put back.
    pub fn apply(
        &mut self,
        changes: &[Change],
        digest: &str,
        guard: Option<&Guard>,
        report: Report<'_>,
    ) -> Result<Applied, ApplyError> {
        self.busy = Some(self.interrupt.busy());
        let node = self.store.node;
        if !self.lock()? {
            let paths = changes.iter().map(|change| change.path.clone()).collect();
            return Err(ApplyError::ChangedSincePlan(paths));
        }
        let paths = changes.iter().map(|change| (change.kind, &change.path));
        let _locks = self.store.lock_files(paths)?;
        let (files, directories) = compare(node, changes)?;
        check_obstacles(node, &files, &directories)?;
        let paths: Vec<NodePath> = files.iter().map(|file| file.path.clone()).collect();
        let restart = match guard {
            None => None,
            Some(guard) => Some(Restart {
                guard: guard.clone(),
                before: guard.baseline(report)?,
            }),
        };
        self.interrupt.check()?;
        let run = self.seen + 1;
        let record = Record::new(run, digest, &directories, &files, restart.as_ref());
        let record = record.with_origin(self.origin.as_ref());
        let store = self.store.clone();
        let lock = self.take_lock()?;
        if let Err(error) = store.begin(lock, &record, &files) {
            // If it is there all the same, it is one of a run that changed nothing.
            if store.forget(lock, run).is_err() {
                let _ = store.append(lock, run, &Event::Undone);
            }
            return Err(error.into());
        }
        let transaction = Transaction {
            node,
            run,
            files: &files,
            directories: &directories,
        };
        let mut renamed = BTreeSet::new();
        let forward = transaction.forward(&self.interrupt, restart.is_some(), &mut renamed);
        if let Err(cause) = forward {
            if let Err(undo) = transaction.undo(&renamed) {
                return Err(ApplyError::NotUndone {
                    cause: Box::new(cause),
                    undo: Box::new(undo.into()),
                    files: states(node, &files),
                    next: vec![Next::Rollback(run)],
                });
            }
            if !renamed.is_empty() || !self.forget(run) {
                self.note(run, &Event::Undone, report);
            }
            return Err(cause);
        }
        self.seen = run;
        let Some(restart) = restart else {
            self.note(run, &Event::Applied, report);
            return Ok(Applied { run, files: paths });
        };
        self.note(run, &Event::RestartPending, report);
        let journal = Journal::new(record, files, directories);
        // Until it is judged, nobody else has a say in these files: a node that is up again is worth more than an edit,
        // which the journal keeps.
        self.changed = ChangedSinceApply::Overwrite;
        self.restart(&journal, &restart, report)?;
        Ok(Applied { run, files: paths })
    }

    /// What [`Self::rollback`] of this run would change, in the order of the run; an error if it would refuse.
    pub fn way_back(&self, run: u32) -> Result<Vec<WayBack>, ApplyError> {
        let journal = self.applied(run)?;
        self.changed_files(&journal)?;
        check_obstacles(self.store.node, &journal.files, &journal.directories)?;
        let mut files = Vec::new();
        for file in journal.files {
            let now = Found::at(self.store.node, &file.path)?
                .bytes()
                .map(<[u8]>::to_vec);
            let old = file.before.map(|image| image.bytes);
            if now != old {
                files.push(WayBack {
                    kind: file.kind,
                    path: file.path,
                    now,
                    old,
                });
            }
        }
        Ok(files)
    }

    /// The run of this number, if it is one to roll back.
    fn applied(&self, run: u32) -> Result<Journal, ApplyError> {
        // Its restart, which was not judged, does not matter any more.
        let is_in_effect = |journal: &Journal| {
            journal.state() == RunState::Applied || journal.pending_restart().is_some()
        };
        let mut wanted = None;
        for entry in self.store.entries()? {
            match (entry?, &wanted) {
                (Entry::Run(journal), None) if journal.record.run == run => wanted = Some(journal),
                // A newer one that is in effect must not lose what it was made from.
                (Entry::Run(newer), Some(wanted))
                    if is_in_effect(wanted)
                        && matches!(
                            newer.state(),
                            RunState::Applied | RunState::RestartPending
                        )
                        && newer.shares_a_file_with(wanted) =>
                {
                    let newer = newer.record.run;
                    return Err(ApplyError::Beneath { run, newer });
                }
                (Entry::Damaged(damaged), _) if damaged.run >= run => {
                    return Err(damaged.error());
                }
                _ => {}
            }
        }
        match wanted {
            Some(journal) if is_in_effect(&journal) => {
                self.check_links(&journal)?;
                Ok(*journal)
            }
            other => Err(ApplyError::NoSuchRun {
                run,
                state: other.map(|journal| journal.state()),
            }),
        }
    }

    /// Putting back a file that containerd does not read any more would not be a way back.
    fn check_links(&self, journal: &Journal) -> Result<(), ApplyError> {
        for file in &journal.files {
            let Some(named) = &file.named else {
                continue;
            };
            let now = self.store.node.real(named)?;
            if now != file.path {
                return Err(ApplyError::LeadsElsewhere {
                    run: journal.record.run,
                    named: named.clone(),
                    now,
                    then: file.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// Puts back the files from before `run`. With a guard, containerd is restarted between the configuration and the
    /// hosts files, which the running daemon reads at every pull. CRI has to come up as it was before the rollback, or
    /// before the run if its own restart was not judged.
    pub fn rollback(
        &mut self,
        run: u32,
        guard: Option<&Guard>,
        report: Report<'_>,
    ) -> Result<RolledBack, ApplyError> {
        self.busy = Some(self.interrupt.busy());
        self.take_lock()?;
        let journal = self.applied(run)?;
        let mut restart = match guard {
            None => None,
            Some(guard) => Some(Restart {
                guard: guard.clone(),
                before: guard.baseline(report)?,
            }),
        };
        let mut judged = true;
        if let (Some(restart), Some(pending)) = (&mut restart, journal.pending_restart()) {
            restart.before = pending.before;
            judged = pending.before.was_up();
        }
        let _locks = self.lock_files(&journal)?;
        self.interrupt.check()?;
        let on_failure = OnFailure::ChangeNothing;
        let health = self.go_back(&journal, restart.as_ref(), judged, on_failure, report)?;
        let files = journal.files.into_iter().map(|file| file.path).collect();
        match health {
            Ok(()) => Ok(RolledBack { run, files }),
            Err(verdict) => Err(self.still_down(run, restart.as_ref(), verdict)),
        }
    }

    fn lock_files(&self, journal: &Journal) -> Result<Vec<Held<OwnedFd>>, ApplyError> {
        let paths = journal.files.iter().map(|file| (file.kind, &file.path));
        self.store.lock_files(paths)
    }

    /// The restart of a killed session that this one takes up. `None` if this is a rollback of the run, which then
    /// begins where that one stopped; an error if the operator has not given the same commands.
    fn resume(
        &self,
        journal: &Journal,
        pending: &RestartRecord,
        guard: Option<&Guard>,
    ) -> Result<Option<Restart>, ApplyError> {
        let run = journal.record.run;
        if self.purpose.is_rollback_of(run) {
            return Ok(None);
        }
        match pending.resume(guard) {
            Some(restart) => Ok(Some(restart)),
            None => Err(ApplyError::RestartPending {
                run,
                is_going_back: journal.state() == RunState::GoingBack,
                next: vec![Next::Rollback(run)],
            }),
        }
    }

    /// Goes on where a killed session stopped; `None` if that is left to the rollback that this session is for.
    fn recover(
        &self,
        journal: &Journal,
        guard: Option<&Guard>,
        report: Report<'_>,
    ) -> Result<Option<Recovered>, ApplyError> {
        let run = journal.record.run;
        let _locks = self.lock_files(journal)?;
        let transaction = journal.transaction(self.store.node);
        let kept = self.not_ours(journal)?;
        let recovered = |what, kept: Vec<ChangedFile>| {
            Some(Recovered {
                run,
                what,
                files: journal.files.iter().map(|file| file.path.clone()).collect(),
                kept: kept.into_iter().map(|file| file.path).collect(),
            })
        };
        let look = transaction.look()?;
        let is_edited = transaction.is_edited(&look);
        let last = journal.events.last();
        let going_back = match (last, &journal.record.restart) {
            (
                Some(Event::GoingBack {
                    restart, judged, ..
                }),
                _,
            ) => Some((restart.as_ref(), *judged)),
            // Half of a way back that could not be recorded, or someone else's. Without the other half, what the other
            // configuration files said is in none.
            (Some(Event::RestartPending | Event::Restarted), Some(restart))
                if transaction.is_back(&look) && look.contains(&Content::New) =>
            {
                Some((Some(restart), restart.before.was_up()))
            }
            _ => None,
        };
        if let Some((pending, judged)) = going_back {
            let restart = match pending {
                None => None,
                Some(pending) => match self.resume(journal, pending, guard)? {
                    None => return Ok(None),
                    restart => restart,
                },
            };
            check_obstacles(self.store.node, &journal.files, &journal.directories)?;
            let restart = restart.as_ref();
            let on_failure = OnFailure::GoOn;
            // Where all of ours is gone, there is nothing that an edit is in the way of.
            let is_left = look.contains(&Content::New);
            return match self.go_back(journal, restart, judged, on_failure, report)? {
                Ok(()) if is_left => Ok(recovered(Recovery::RolledBack, Vec::new())),
                Ok(()) => Ok(recovered(Recovery::RolledBack, kept)),
                Err(verdict) => Err(self.still_down(run, restart, verdict)),
            };
        }
        match (last, &journal.record.restart) {
            // Whether it is up with someone else's configuration is not for this run to judge.
            (Some(Event::RestartPending | Event::Restarted), Some(pending)) if !is_edited => {
                let Some(restart) = self.resume(journal, pending, guard)? else {
                    return Ok(None);
                };
                self.restart(journal, &restart, report)?;
                Ok(recovered(Recovery::Healthy, Vec::new()))
            }
            (Some(Event::RestartPending | Event::Restarted), _) => {
                transaction.remove_temporaries()?;
                self.note(run, &Event::Applied, report);
                Ok(recovered(Recovery::Finished, kept))
            }
            _ if transaction.is_committed(&look)? => {
                let pending = journal.record.restart.as_ref().filter(|_| !is_edited);
                transaction.sync_names()?;
                let Some(pending) = pending else {
                    transaction.remove_temporaries()?;
                    self.note(run, &Event::Applied, report);
                    return Ok(recovered(Recovery::Finished, kept));
                };
                // Whoever goes on with it, or rolls it back, has to know that it is committed.
                self.append(run, &Event::RestartPending)?;
                let Some(restart) = self.resume(journal, pending, guard)? else {
                    return Ok(None);
                };
                self.restart(journal, &restart, report)?;
                Ok(recovered(Recovery::Healthy, Vec::new()))
            }
            _ => {
                if look.contains(&Content::New) && self.changed == ChangedSinceApply::Refuse {
                    self.refuse_changed(journal, &kept)?;
                }
                check_obstacles(self.store.node, &journal.files, &journal.directories)?;
                let has_changed_nothing = look.iter().all(|content| *content == Content::Old);
                self.undo_killed(journal, has_changed_nothing, report)?;
                Ok(recovered(Recovery::Undone, kept))
            }
        }
    }

    /// Undoes a run that did not get to its commit point. What someone has changed since stays: the old files go with
    /// it as well as with the old configuration.
    fn undo_killed(
        &self,
        journal: &Journal,
        has_changed_nothing: bool,
        report: Report<'_>,
    ) -> Result<(), ApplyError> {
        let transaction = journal.transaction(self.store.node);
        let is_ours = |_, file: &FileChange, found: &Found| found.is(Some(file.after.as_slice()));
        let mut back = transaction.back(&is_ours, false, OnFailure::ChangeNothing)?;
        let done = back.configuration().and_then(|()| back.hosts_files());
        let done = done.and_then(|rest| transaction.remove_temporaries().map(|()| rest));
        say(
            done.map_err(|cause| self.not_rolled_back(journal, cause))?,
            report,
        );
        let run = journal.record.run;
        if !has_changed_nothing || !self.forget(run) {
            self.note(run, &Event::Undone, report);
        }
        Ok(())
    }

    /// Restarts containerd with the new files, unless that was done; puts the old ones back if CRI does not come up.
    fn restart(
        &self,
        journal: &Journal,
        restart: &Restart,
        report: Report<'_>,
    ) -> Result<(), ApplyError> {
        let run = journal.record.run;
        let Restart { guard, before } = restart;
        let verdict = if journal.events.last() == Some(&Event::Restarted) {
            guard.watch_on(*before, report)
        } else {
            let mut noted = Ok(());
            let mut restarted = || noted = self.append(run, &Event::Restarted);
            let verdict = guard.restart(*before, &mut restarted, report);
            not_recorded(run, noted, report);
            verdict
        };
        let Err(verdict) = verdict else {
            // What is left of the old file is found again if the run is not closed.
            match journal.transaction(self.store.node).remove_temporaries() {
                Ok(()) => self.note(run, &Event::Applied, report),
                Err(error) => not_recorded(run, Err(error), report),
            }
            return Ok(());
        };
        report(Progress::PuttingBack);
        let judged = before.was_up();
        // A daemon that never saw the new files need not be made to see the old ones.
        let again = Some(restart).filter(|_| verdict.is_restarted);
        match self.go_back(journal, again, judged, OnFailure::GoOn, report) {
            Ok(health) => {
                let again = match health {
                    _ if !judged => Again::WasDown,
                    Ok(()) => Again::Up,
                    Err(failed) => failed.again(),
                };
                Err(self.not_up(run, Some(restart), verdict, again))
            }
            Err(undo) => Err(ApplyError::NotUndone {
                cause: Box::new(self.not_up(run, None, verdict, Again::WasDown)),
                undo: Box::new(undo),
                files: states(self.store.node, &journal.files),
                next: vec![
                    Next::Rollback(run),
                    Next::Restart(guard.restart_command.clone()),
                ],
            }),
        }
    }

    /// CRI is not up with the old files. Where it was down before, too, the node is as it was.
    fn still_down(&self, run: u32, restart: Option<&Restart>, verdict: Unhealthy) -> ApplyError {
        let was_up = restart.is_none_or(|restart| restart.before.was_up());
        let again = if was_up {
            verdict.again()
        } else {
            Again::WasDown
        };
        self.not_up(run, restart, verdict, again)
    }

    fn not_up(
        &self,
        run: u32,
        restart: Option<&Restart>,
        verdict: Unhealthy,
        again: Again,
    ) -> ApplyError {
        let is_down = again != Again::Up;
        let command = restart
            .filter(|_| is_down)
            .map(|restart| Next::Restart(restart.guard.restart_command.clone()));
        ApplyError::Unhealthy {
            run,
            verdict,
            again,
            next: command.into_iter().collect(),
        }
    }

    /// Puts the old files back: first what containerd reads when it starts, then, with `restart`, a restart, and then
    /// what it reads at every pull. What the restart came to is in the inner result; the files are back in any case.
    fn go_back(
        &self,
        journal: &Journal,
        restart: Option<&Restart>,
        judged: bool,
        on_failure: OnFailure,
        report: Report<'_>,
    ) -> Result<Result<(), Unhealthy>, ApplyError> {
        let run = journal.record.run;
        let transaction = journal.transaction(self.store.node);
        let is_new = !matches!(journal.events.last(), Some(Event::GoingBack { .. }));
        let mut given_up = if is_new || transaction.look()?.contains(&Content::New) {
            self.changed_files(journal)?
        } else {
            Vec::new()
        };
        if is_new || !given_up.is_empty() {
            match self.append(run, &going_back(&given_up, restart, judged)) {
                Ok(()) => {}
                Err(error) if on_failure == OnFailure::ChangeNothing => return Err(error.into()),
                Err(error) => {
                    // What the journal does not keep is not overwritten.
                    given_up.clear();
                    not_recorded(run, Err(error), report);
                }
            }
        }
        if !given_up.is_empty() {
            let files = given_up.clone();
            report(Progress::Notice(Notice::GivenUp { run, files }));
        }
        let is_ours = |_, file: &FileChange, found: &Found| {
            let is_given_up = || {
                let bytes = found.bytes();
                journal.has_found(&file.path, bytes)
                    || given_up
                        .iter()
                        .any(|up| up.path == file.path && up.found.as_deref() == bytes)
            };
            found.is(Some(&file.after)) || is_given_up()
        };
        let mut back = match transaction.back(&is_ours, true, on_failure) {
            Ok(back) => back,
            Err(error) => {
                // Nothing has changed yet; without this, the next session would go on with it. It has to if there are
                // leftovers that only it will find.
                if transaction.remove_temporaries().is_err() {
                    return Err(self.not_rolled_back(journal, error));
                }
                if let (true, Some(event)) = (is_new, journal.events.last()) {
                    self.note(run, event, report);
                }
                return Err(error.into());
            }
        };
        let not_rolled_back = |cause| self.not_rolled_back(journal, cause);
        back.configuration().map_err(not_rolled_back)?;
        if let Err(error) = back.stuck() {
            self.refuse_changed(journal, &self.not_ours(journal)?)?;
            return Err(not_rolled_back(error));
        }
        let health = match restart {
            None => Ok(()),
            Some(Restart { guard, before }) if judged => guard.restart(*before, &mut || {}, report),
            Some(Restart { guard, .. }) => {
                // How it ended has been shown.
                let _ = guard.run_restart(report);
                Ok(())
            }
        };
        let done = back.hosts_files();
        let done = done.and_then(|rest| transaction.remove_temporaries().map(|()| rest));
        say(done.map_err(not_rolled_back)?, report);
        self.note(run, &Event::RolledBack, report);
        Ok(health)
    }

    /// The files that are neither old nor new, nor known to the journal otherwise.
    fn not_ours(&self, journal: &Journal) -> Result<Vec<ChangedFile>, ApplyError> {
        let mut changed = Vec::new();
        for file in &journal.files {
            let found = Found::at(self.store.node, &file.path)?;
            let known = [file.before_bytes(), Some(file.after.as_slice())];
            if known.into_iter().any(|bytes| found.is(bytes)) {
                continue;
            }
            let found = found.bytes().map(<[u8]>::to_vec);
            if journal.has_found(&file.path, found.as_deref()) {
                continue;
            }
            changed.push(ChangedFile {
                path: file.path.clone(),
                after: file.after.clone(),
                found,
            });
        }
        Ok(changed)
    }

    /// The files that are not ours; an error unless they may be overwritten.
    fn changed_files(&self, journal: &Journal) -> Result<Vec<ChangedFile>, ApplyError> {
        let changed = self.not_ours(journal)?;
        if self.changed == ChangedSinceApply::Refuse {
            self.refuse_changed(journal, &changed)?;
        }
        Ok(changed)
    }

    fn refuse_changed(&self, journal: &Journal, files: &[ChangedFile]) -> Result<(), ApplyError> {
        if files.is_empty() {
            return Ok(());
        }
        Err(ApplyError::ChangedSinceApply {
            run: journal.record.run,
            files: files.to_vec(),
        })
    }

    fn not_rolled_back(&self, journal: &Journal, cause: NodeError) -> ApplyError {
        ApplyError::NotRolledBack {
            cause,
            files: states(self.store.node, &journal.files),
            next: vec![Next::Rollback(journal.record.run)],
        }
    }

    fn append(&self, run: u32, event: &Event) -> Result<(), NodeError> {
        match &self.lock {
            Some(lock) => self.store.append(lock, run, event),
            None => Ok(()),
        }
    }

    /// Removes the journal of a run that has changed nothing; says whether it is gone.
    fn forget(&self, run: u32) -> bool {
        let lock = self.lock.as_ref();
        lock.is_some_and(|lock| self.store.forget(lock, run).is_ok())
    }

    /// Adds an event whose loss does no harm as long as nobody touches the files: the next session looks at them, comes
    /// to the same end and adds it then.
    fn note(&self, run: u32, event: &Event, report: Report<'_>) {
        not_recorded(run, self.append(run, event), report);
    }
}

/// Reads every file again, with what it has besides its bytes; and the directories that are to be made.
fn compare(
    node: &Node,
    changes: &[Change],
) -> Result<(Vec<FileChange>, Vec<NodePath>), ApplyError> {
    let mut files = Vec::new();
    let mut changed = Vec::new();
    for change in changes {
        let found = Found::at(node, &change.path)?;
        let is_named = match &change.named {
            Some(named) => node.real(named)? == change.path,
            None => true,
        };
        if !is_named || !found.is(change.before.as_ref().map(FileText::bytes)) {
            changed.push(change.path.clone());
        } else if !found.is(Some(change.after.bytes())) {
            files.push(FileChange {
                kind: change.kind,
                path: change.path.clone(),
                named: change.named.clone(),
                before: match found {
                    Found::File(image) => Some(image),
                    Found::Absent | Found::Link => None,
                },
                after: change.after.bytes().to_vec(),
                mode: change.mode,
            });
        }
    }
    if !changed.is_empty() {
        return Err(ApplyError::ChangedSincePlan(changed));
    }
    // As the plan has it already; the commit point stays the last of its kind.
    files.sort_by_key(|file| file.kind);
    let directories = transaction::missing_directories(node, files.iter().map(|file| &file.path))?;
    Ok((files, directories))
}

/// An error if something keeps the files from being written: after the first rename it would be too late.
fn check_obstacles(
    node: &Node,
    files: &[FileChange],
    directories: &[NodePath],
) -> Result<(), ApplyError> {
    let files = files.iter().map(|file| &file.path);
    let found = obstacle::find(node, files.chain(directories));
    if found.is_empty() {
        Ok(())
    } else {
        Err(ApplyError::Obstacles(found))
    }
}

fn not_recorded(run: u32, result: Result<(), NodeError>, report: Report<'_>) {
    if let Err(error) = result {
        let reason = error.to_string();
        report(Progress::Notice(Notice::NotRecorded { run, reason }));
    }
}

/// Says which files are not quite as they were.
fn say(files: NotAsBefore, report: Report<'_>) {
    for (path, mode) in files.stricter {
        report(Progress::Notice(Notice::Stricter(path, mode)));
    }
    if !files.left.is_empty() {
        report(Progress::Notice(Notice::Left(files.left)));
    }
}

fn states(node: &Node, files: &[FileChange]) -> Vec<(NodePath, FileState)> {
    let state = |file: &FileChange| match Found::at(node, &file.path) {
        Ok(found) if found.is(file.before_bytes()) => FileState::Old,
        Ok(found) if found.is(Some(&file.after)) => FileState::New,
        _ => FileState::Unknown,
    };
    files
        .iter()
        .map(|file| (file.path.clone(), state(file)))
        .collect()
}

fn going_back(changed: &[ChangedFile], restart: Option<&Restart>, judged: bool) -> Event {
    let found: BTreeMap<String, Option<Bytes>> = changed
        .iter()
        .map(|file| {
            let found = file.found.as_deref().map(Bytes::new);
            (file.path.as_str().to_owned(), found)
        })
        .collect();
    Event::GoingBack {
        found,
        restart: restart.map(Restart::record),
        judged,
    }
}
