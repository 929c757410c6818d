//! What `apply` and `rollback` share: the restart that is asked for, the session that recovers first, the question, and
//! what is said while files are changed.

use std::io::IsTerminal;

use super::arguments::Changing;
use super::output;
use super::{Run, Stop};
use crate::apply::guard::{self, Guard, Health, Progress};
use crate::apply::{self, ChangedSinceApply, Interrupt, Purpose, Recovered, Session};
use crate::containerd::file::ConfigFile;
use crate::finding;
use crate::node::{Node, NodeError};
use crate::read::{self, Sources, locate::locate};
use crate::report::{self, Shown, transaction};

impl Run {
    /// Begins a session: what a killed run had left is finished or undone, and said.
    pub(super) fn begin<'n>(
        &self,
        node: &'n Node,
        purpose: Purpose,
        interrupt: &Interrupt,
        guard: Option<&Guard>,
    ) -> anyhow::Result<(Session<'n>, Vec<Recovered>)> {
        let changed = if self.request.allow.contains(&&finding::CHANGED_SINCE_APPLY) {
            ChangedSinceApply::Overwrite
        } else {
            ChangedSinceApply::Refuse
        };
        // What a killed run left may be a restart: what containerd says then is not to show what is in its files.
        let mut sources = Sources::default();
        // A configuration that cannot be read now is said where it matters.
        let _ = self.configuration(node, &mut sources);
        for bytes in apply::unfinished_bytes(node, &self.request.state_dir) {
            super::add(&mut sources, &bytes);
        }
        let shown = Shown::knowing(self.request.show_secrets, sources.texts());
        let mut is_restarted = false;
        let report = &mut |progress: Progress| {
            match progress {
                Progress::Restarting(_) => is_restarted = true,
                Progress::RestartFailed(_) => is_restarted = false,
                _ => {}
            }
            self.show_progress(&progress, &shown, interrupt);
        };
        let begun = Session::begin(
            node,
            &self.request.state_dir,
            purpose,
            interrupt.clone(),
            changed,
            guard,
            report,
        );
        let (session, recovered) = begun.map_err(|error| self.stopped(&error, sources))?;
        for run in &recovered {
            self.output.note(&transaction::recovered(run, is_restarted));
        }
        Ok((session, recovered))
    }

    /// What is needed to restart containerd, if that was asked for.
    pub(super) fn guard(
        &self,
        changing: &Changing,
        node: &Node,
        sources: &mut Sources,
    ) -> anyhow::Result<Option<Guard>> {
        if !changing.restart {
            return Ok(None);
        }
        let has_both = changing.restart_command.is_some() && changing.health_command.is_some();
        if !has_both && !node.is_host() {
            return Err(Stop::usage(
                "--restart with a --root other than / needs --restart-command and --health-command: no daemon of this \
                 machine reads these files",
            )
            .into());
        }
        let health = match &changing.health_command {
            Some(command) => Health::Command(command.clone()),
            None => {
                let files = self.configuration(node, sources)?;
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
        let located = locate(node, self.request.config.as_ref())?;
        read::configuration(node, &located, sources)
    }

    /// Says what the guard is doing, and once, that a signal that came meanwhile is not lost.
    pub(super) fn show_progress(&self, progress: &Progress, shown: &Shown, interrupt: &Interrupt) {
        let is_begun = !matches!(
            progress,
            Progress::Before(_) | Progress::Stopped(_) | Progress::Notice(_)
        );
        if is_begun && interrupt.is_set() && !self.is_noted.replace(true) {
            let end = match self.name {
                report::Command::Apply => "; if it does not come up, the old files are put back",
                _ => "",
            };
            let (restart, health) = (guard::restart_limit(self.timeout), self.timeout);
            self.output.note(&format!(
                "signal noted: waiting until CRI is up, at most {restart} s for the restart command and {health} s \
                 for CRI{end}\n",
            ));
        }
        let text = transaction::progress(progress, shown);
        if transaction::is_notice(progress) {
            self.output.note(&text);
        } else {
            self.output.progress(&text);
        }
    }

    /// Whether someone can be asked who has seen the report.
    pub(super) fn can_ask(&self) -> bool {
        !self.output.is_json() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Why a restart that was asked for is not made. Someone may have relied on it after a run without one.
    pub(super) fn not_restarted(&self, guard: &Guard) -> String {
        let command = Shown::new(self.request.show_secrets).typed(&guard.restart_command);
        format!(
            "note: containerd is not restarted, because nothing was written; if it has not been restarted since the \
             last run: {command}"
        )
    }

    /// Asks on the terminal.
    pub(super) fn ask(&self, question: &str) -> bool {
        output::error(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        let is_yes = ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
        if read.is_ok() && is_yes {
            return true;
        }
        output::error("nothing was written\n");
        false
    }
}
