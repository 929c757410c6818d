//! The commands that change the node: `apply` and `rollback`. What they do to the disk is in `apply`; here is who is
//! asked, what is said, and which exit code comes of it.

use std::io::IsTerminal;

use super::arguments::{Apply, Changing, Format, Rollback};
use super::{Planned, Run, exit, explain, print, print_error};
use crate::apply::guard::{self, Guard, Health, Progress};
use crate::apply::{
    self, Applied, ApplyError, ChangedSinceApply, Interrupt, Purpose, Recovered, Recovery,
    RunState, Session,
};
use crate::containerd::file::ConfigFile;
use crate::containerd::loader::Startup;
use crate::finding;
use crate::node::{Node, NodeError, NodePath};
use crate::plan::{Change, FileKind};
use crate::read::{self, Sources};
use crate::report::{self, Shown};
use crate::request::{Request, command_line};
use crate::secret::TextKind;
use crate::text::FileText;

impl Run {
    pub(super) fn apply(&self, apply: &Apply) -> Result<u8, u8> {
        let node = self.node()?;
        check_restart(&apply.changing, &node)?;
        let interrupt = listen()?;
        let asks = !apply.yes && apply.expect.is_none();
        // Another run may change the node between the plan and the lock; then there is another plan.
        let (mut session, planned, guard) = loop {
            let mut guard = self.guard(&apply.changing, &node, &mut Sources::default())?;
            let (mut session, _) = self.begin(&node, Purpose::Apply, &interrupt, guard.as_ref())?;
            let Some(planned) = self.make_plan(&node)? else {
                return Ok(exit::DONE);
            };
            self.check_expected(apply, &planned)?;
            if let Some(guard) = &mut guard {
                // The plan is proven, so CRI loads with it.
                guard.is_rescue = matches!(
                    planned.inputs.sight().startup(false),
                    Startup::CriFails(_) | Startup::DoesNotStart(_)
                );
            }
            if asks || self.lock(&mut session, &planned.shown)? {
                break (session, planned, guard);
            }
        };
        self.print_report(&planned.report)
            .map_err(|error| explain(&error))?;
        if asks && !self.ask("Write these changes?")? {
            return Ok(exit::PENDING);
        }
        let (shown, changes) = (&planned.shown, &planned.plan.changes);
        let report = &mut |progress| self.print_progress(&progress, shown, &interrupt);
        match session.apply(changes, &planned.digest, guard.as_ref(), report) {
            Ok(applied) => {
                let text = self.applied(&planned, &applied, &apply.changing);
                match self.common.format {
                    Format::Text | Format::Markdown => print(&text),
                    // stdout is a diff and nothing else.
                    Format::Diff | Format::Json => print_error(&text),
                }
                Ok(exit::DONE)
            }
            Err(error) => Err(self.failed(&error, shown)),
        }
    }

    pub(super) fn rollback(&self, rollback: &Rollback) -> Result<u8, u8> {
        let changing = &rollback.changing;
        let node = self.node()?;
        check_restart(changing, &node)?;
        let runs = || {
            let runs = apply::runs(&node, &self.common.state_dir);
            runs.map_err(|error| self.failed(&error, &Shown::default()))
        };
        if rollback.list {
            print(&report::transaction::runs(&runs()?, &self.common.state_dir));
            return Ok(exit::DONE);
        }
        let interrupt = listen()?;
        let mut sources = Sources::default();
        let mut guard = self.guard(changing, &node, &mut sources)?;
        if let Some(guard) = &mut guard {
            // A migration after which CRI is down is one to roll back.
            guard.is_rescue = true;
        }
        let purpose = Purpose::Rollback(rollback.run);
        let (mut session, recovered) = self.begin(&node, purpose, &interrupt, guard.as_ref())?;
        // What was recovered just now is what somebody wants to be rid of: not a run before it.
        let is_back = |run: &Recovered| {
            rollback.run.is_none_or(|wanted| wanted == run.run)
                && matches!(run.what, Recovery::RolledBack | Recovery::Undone)
        };
        if recovered.iter().any(is_back) {
            return Ok(exit::DONE);
        }
        let last = || -> Result<Option<u32>, u8> {
            let runs = runs()?;
            let newest = |state| runs.iter().rfind(|run| run.state == state);
            // A journal that cannot be read may be of a run that is in effect: that is an error to explain, not
            // "nothing to roll back".
            let run = newest(RunState::RestartPending)
                .or_else(|| newest(RunState::GoingBack))
                .or_else(|| newest(RunState::Applied))
                .or_else(|| newest(RunState::Damaged));
            Ok(run.map(|run| run.run))
        };
        let run = match rollback.run {
            Some(run) => Some(run),
            None => last()?,
        };
        let Some(run) = run else {
            print_error("no run is in effect: there is nothing to roll back\n");
            return Ok(exit::DONE);
        };
        let files = match session.way_back(run) {
            Ok(files) => files,
            Err(ApplyError::NoSuchRun {
                state: Some(RunState::RolledBack | RunState::Undone),
                ..
            }) => {
                print_error(&format!(
                    "run {run} is not in effect: there is nothing to roll back\n"
                ));
                return Ok(exit::DONE);
            }
            Err(error) => return Err(self.failed_on(&error, Sources::default())),
        };
        for bytes in files.iter().flat_map(|file| [&file.now, &file.old]) {
            add(&mut sources, bytes.as_deref().unwrap_or_default());
        }
        let shown = Shown::knowing(self.common.show_secrets, sources.texts());
        let restart =
            "until containerd is restarted, pulls use no mirror: systemctl restart containerd\n";
        let is_text = self.common.format == Format::Text;
        if is_text && guard.is_none() {
            print(&format!("Rolling back run {run}; {restart}\n"));
        }
        let sides = files
            .iter()
            .map(|file| (&file.path, file.now.as_deref(), file.old.as_deref()));
        let diff = report::diff::of_files(sides, &shown).text;
        print(&if is_text {
            report::diff::styled(&diff)
        } else {
            diff
        });
        if !rollback.yes && !self.ask("Roll back?")? {
            return Ok(exit::PENDING);
        }
        let report = &mut |progress| self.print_progress(&progress, &shown, &interrupt);
        match session.rollback(run, guard.as_ref(), report) {
            Ok(done) => {
                if is_text {
                    let files = count_files(done.files.len());
                    print(&format!("\nRolled back run {run}: {files}\n"));
                    if guard.is_none() {
                        print(&format!("Next: {restart}"));
                    }
                }
                Ok(exit::DONE)
            }
            Err(error) => Err(self.failed(&error, &shown)),
        }
    }

    /// Begins a session: what a killed run had left is finished or undone, and said.
    fn begin<'n>(
        &self,
        node: &'n Node,
        purpose: Purpose,
        interrupt: &Interrupt,
        guard: Option<&Guard>,
    ) -> Result<(Session<'n>, Vec<Recovered>), u8> {
        let changed = if self.common.allow.contains(&&finding::CHANGED_SINCE_APPLY) {
            ChangedSinceApply::Overwrite
        } else {
            ChangedSinceApply::Refuse
        };
        // What a killed run left may be a restart: what containerd says then is not to show what is in its files.
        let mut sources = Sources::default();
        // A configuration that cannot be read now is said where it matters.
        let _ = self.configuration(node, &mut sources);
        for bytes in apply::unfinished_bytes(node, &self.common.state_dir) {
            add(&mut sources, &bytes);
        }
        let shown = Shown::knowing(self.common.show_secrets, sources.texts());
        let mut is_restarted = false;
        let report = &mut |progress: Progress| {
            match progress {
                Progress::Restarting(_) => is_restarted = true,
                Progress::RestartFailed(_) => is_restarted = false,
                _ => {}
            }
            self.print_progress(&progress, &shown, interrupt);
        };
        let begun = Session::begin(
            node,
            &self.common.state_dir,
            purpose,
            interrupt.clone(),
            changed,
            guard,
            report,
        );
        let (session, recovered) = begun.map_err(|error| self.failed_on(&error, sources))?;
        for run in &recovered {
            print_error(&report::transaction::recovered(run, is_restarted));
        }
        Ok((session, recovered))
    }

    fn lock(&self, session: &mut Session<'_>, shown: &Shown) -> Result<bool, u8> {
        session.lock().map_err(|error| self.failed(&error, shown))
    }

    /// What is needed to restart containerd, if that was asked for.
    fn guard(
        &self,
        changing: &Changing,
        node: &Node,
        sources: &mut Sources,
    ) -> Result<Option<Guard>, u8> {
        if !changing.restart {
            return Ok(None);
        }
        let health = match &changing.health_command {
            Some(command) => Health::Command(command.clone()),
            None => {
                let files = self
                    .configuration(node, sources)
                    .map_err(|error| self.failed(&error.into(), &Shown::default()))?;
                // An import counts more than what imports it, and an empty text says nothing.
                let addresses = files.iter().rev().filter_map(ConfigFile::grpc_address);
                let mut addresses = addresses.filter(|address| !address.is_empty());
                let address = addresses.next().unwrap_or(guard::ADDRESS);
                Health::Ctr(address.trim_start_matches("unix://").to_owned())
            }
        };
        Ok(Some(Guard {
            restart_command: changing
                .restart_command
                .clone()
                .unwrap_or_else(|| guard::RESTART_COMMAND.to_owned()),
            health,
            timeout: changing.health_timeout,
            is_rescue: false,
        }))
    }

    /// The config.toml as it is now, with its imports.
    fn configuration(
        &self,
        node: &Node,
        sources: &mut Sources,
    ) -> Result<Vec<ConfigFile>, NodeError> {
        read::configuration(node, &NodePath::new(&self.common.config), sources)
    }

    /// Explains an error whose text holds bytes of files: those of `sources`, and those that it brings itself.
    fn failed_on(&self, error: &ApplyError, mut sources: Sources) -> u8 {
        for file in report::transaction::changed(error) {
            add(&mut sources, &file.after);
            add(&mut sources, file.found.as_deref().unwrap_or_default());
        }
        let shown = Shown::knowing(self.common.show_secrets, sources.texts());
        self.failed(error, &shown)
    }

    /// Says what the guard is doing, and once, that a signal that came meanwhile is not lost.
    fn print_progress(&self, progress: &Progress, shown: &Shown, interrupt: &Interrupt) {
        let is_begun = !matches!(progress, Progress::Before(_) | Progress::Stopped(_));
        if is_begun && interrupt.is_set() && !self.is_noted.replace(true) {
            print_error("signal noted, waiting for the verdict\n");
        }
        print_error(&report::transaction::progress(progress, shown));
    }

    /// Explains an error; the result is its exit code.
    fn failed(&self, error: &ApplyError, shown: &Shown) -> u8 {
        print_error(&report::transaction::error(error, shown));
        error.exit_code()
    }

    /// Refuses another plan than the one that was reviewed.
    fn check_expected(&self, apply: &Apply, planned: &Planned) -> Result<(), u8> {
        match &apply.expect {
            Some(expected) if *expected != planned.digest => {
                print_error(&format!(
                    "error: this is not the plan that was reviewed: its digest is {}, not {expected}; \
                     nothing was written\n",
                    planned.digest
                ));
                Err(exit::REFUSED)
            }
            _ => Ok(()),
        }
    }

    /// Asks on the terminal; an error if there is none.
    fn ask(&self, question: &str) -> Result<bool, u8> {
        if !std::io::stdin().is_terminal() {
            print_error(
                "error: there is no terminal to ask on: pass --yes, or for `apply` --expect with the digest of the \
                 plan that was reviewed; nothing was written\n",
            );
            return Err(exit::USAGE);
        }
        print_error(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        let is_yes = ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
        if read.is_ok() && is_yes {
            return Ok(true);
        }
        print_error("nothing was written\n");
        Ok(false)
    }

    fn applied(&self, planned: &Planned, applied: &Applied, changing: &Changing) -> String {
        let files = count_files(applied.files.len());
        let mut text = format!("Written: {files} (run {})\n", applied.run);
        let image = planned
            .plan
            .namespaces
            .iter()
            .find(|namespace| namespace.mirror.is_some() && !namespace.unnamed)
            .map_or("docker.io", |namespace| namespace.name.as_str());
        let config = &planned.inputs.options.config;
        let changed = configuration(&planned.plan.changes, config);
        let mut steps = Vec::new();
        if changing.restart {
            text.push_str("Restarted: CRI is up\n");
        } else {
            let names = changed.iter().map(|path| {
                if path == config {
                    path.name()
                } else {
                    path.as_str()
                }
            });
            steps.push(format!(
                "Restart containerd: it reads {} only when it starts (systemctl restart containerd)",
                names.collect::<Vec<_>>().join(" and ")
            ));
            steps.push("See that CRI is up: crictl info".to_owned());
        }
        steps.push(format!(
            "Pull an image through it: crictl pull {image}/<image>\n     \
             (not with ctr, which does not read these settings)"
        ));
        steps.push(format!(
            "Change whatever renders {} on this node: `mirrors` beside config_path stop CRI at its next restart",
            changed
                .iter()
                .map(|path| path.as_str())
                .collect::<Vec<_>>()
                .join(" and ")
        ));
        text.push_str("\nNext:\n");
        for (number, step) in (1..).zip(steps) {
            text.push_str(&format!("  {number}. {step}\n"));
        }
        text.push_str(&format!(
            "To go back: {}\n",
            self.way_back(changing, applied.run, &planned.shown)
        ));
        text
    }

    /// The command that undoes a run as it was done: with the same restart.
    fn way_back(&self, changing: &Changing, run: u32, shown: &Shown) -> String {
        let Request {
            root,
            state_dir,
            config,
            ..
        } = self.common.request();
        let mut request = Request {
            root,
            state_dir,
            ..Request::default()
        };
        if changing.restart {
            // It says where the daemon listens.
            request.config = config;
        }
        let mut arguments = request.arguments();
        let masked = |value: String| shown.prose(&value);
        let restart = changing.arguments().into_iter();
        arguments.extend(restart.map(|(name, value)| (name, value.map(masked))));
        command_line(&format!("rollback {run}"), arguments)
    }
}

/// Adds the content of a file, for masks.
fn add(sources: &mut Sources, bytes: &[u8]) {
    let content = FileText::new(bytes.to_vec(), TextKind::Configuration);
    sources.add(&NodePath::new("/"), content);
}

/// Catches signals, once for a command: each call would add handlers that end the program when their session is idle.
fn listen() -> Result<Interrupt, u8> {
    Interrupt::listen().map_err(|error| {
        print_error(&format!("error: cannot catch signals: {error}\n"));
        exit::FAILED
    })
}

/// Refuses to take this machine's containerd for the one that runs on the files of another root.
fn check_restart(changing: &Changing, node: &Node) -> Result<(), u8> {
    let has_both = changing.restart_command.is_some() && changing.health_command.is_some();
    if !changing.restart || has_both || node.is_host() {
        return Ok(());
    }
    print_error(
        "error: --restart with a --root other than / needs --restart-command and --health-command, since no daemon \
         of this machine runs on these files\n",
    );
    Err(exit::USAGE)
}

/// The configuration files that a plan changes, as they are named; `config` if it is none of them.
fn configuration(changes: &[Change], config: &NodePath) -> Vec<NodePath> {
    let changed = changes
        .iter()
        .filter(|change| change.kind == FileKind::Configuration)
        .map(|change| change.named.as_ref().unwrap_or(&change.path).clone());
    let mut changed: Vec<NodePath> = changed.collect();
    if changed.is_empty() {
        changed.push(config.clone());
    }
    changed
}

fn count_files(count: usize) -> String {
    format!("{count} {}", if count == 1 { "file" } else { "files" })
}
