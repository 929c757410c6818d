//! The edge of the program: the command line becomes a request, the request a report, and the report text and an exit code.
//! Only here is anything printed.

mod apply;
mod arguments;
mod generate;
mod hints;
mod hosts;
mod manual;
mod output;
mod restart;
mod rollback;
mod summarize;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::time::Duration;

use anstream::ColorChoice;
use anyhow::Context;
use clap::error::ContextKind;

use crate::apply::{ApplyError, Busy, Interrupt, RunState, command};
use crate::commands::{self, Migration, Unread};
use crate::containerd::release::{NEWEST, OLDEST, Version};
use crate::node::{Node, NodeError, NodePath};
use crate::printable::printable;
use crate::read::Sources;
use crate::report::transaction::{self, Failure};
use crate::report::{self, Outcome, Report, Shown};
use crate::request::{Argument, Request, command_line};
use crate::secret::TextKind;
use crate::shell;
use crate::text::FileText;

use arguments::{AnyCommand, Cli, Color, Command, Format};
use output::Output;

/// Exit codes, as in docs/guide.md.
mod exit {
    pub(super) const DONE: u8 = 0;
    pub(super) const USAGE: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const FAILED: u8 = 4;
}

/// Why a command ends without doing its work.
#[derive(Debug)]
struct Stop {
    exit_code: u8,
    /// Whether root could do what this user may not.
    needs_root: bool,
    failure: Failure,
}

impl Stop {
    /// What is asked makes no sense, or not on this node.
    fn usage(reason: impl Into<String>) -> Self {
        Self::new(exit::USAGE, reason)
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::new(exit::REFUSED, reason)
    }

    fn failed(reason: impl Into<String>) -> Self {
        Self::new(exit::FAILED, reason)
    }

    fn new(exit_code: u8, reason: impl Into<String>) -> Self {
        Self {
            exit_code,
            needs_root: false,
            failure: Failure::new(reason),
        }
    }

    /// The stop that an error is: whatever is none has failed.
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| {
            let mut text = String::new();
            let node_errors = error.chain().filter_map(|cause| cause.downcast_ref());
            let needs_root = node_errors.into_iter().any(NodeError::needs_root);
            for cause in error.chain().map(ToString::to_string) {
                // Some errors say themselves what caused them.
                if !text.ends_with(&cause) {
                    let separator = if text.is_empty() { "" } else { ": " };
                    text.push_str(separator);
                    text.push_str(&cause);
                }
            }
            Self {
                needs_root,
                ..Self::failed(text)
            }
        })
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.failure.message)
    }
}

impl std::error::Error for Stop {}

/// What clap says of a wrong command line. It repeats arguments as they are: one with a line break would forge a line.
fn usage(error: &clap::Error, arguments: &[OsString]) -> String {
    let mut text = error.render().ansi().to_string();
    for argument in arguments {
        let argument = argument.to_string_lossy();
        let (_, value) = argument.split_once('=').unwrap_or_default();
        for shown in [&*argument, value] {
            let printable = printable(shown);
            if printable != shown {
                text = text.replace(shown, &printable);
            }
        }
    }
    text
}

/// Runs the program; the result is its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = match Cli::parse_from(arguments.clone()) {
        Ok(AnyCommand::Node(command)) => command,
        Ok(AnyCommand::Generate(what)) => return generate::generate(&what),
        Ok(AnyCommand::Summarize(what)) => return summarize::summarize(&what),
        Err(mut error) if error.use_stderr() => {
            let meant = hints::meant(&arguments, &error);
            if meant.is_some() {
                // clap's own tip may be another one.
                error.remove(ContextKind::Suggested);
            }
            output::error(&usage(&error, &arguments));
            if let Some(command) = meant {
                output::error(&format!("next: {command}\n"));
            }
            return exit::USAGE;
        }
        // What `--help` and `--version` print.
        Err(text) => return show(&text.render().ansi().to_string()),
    };
    choose(command.common().color);
    if let Some(code) = command.common().explain {
        return show(&report::explain::render(code));
    }
    let run = Run::new(&command, arguments);
    let report = run.command(&command);
    run.end(report)
}

/// Chooses colours for everything that is printed.
fn choose(color: Color) {
    match color {
        // anstream looks at NO_COLOR and at what the stream is.
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
}

/// Prints what someone has asked for without looking at a node.
fn show(text: &str) -> u8 {
    match output::print(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            output::error(&Failure::new(format!("cannot print: {error}")).to_string());
            exit::FAILED
        }
        _ => exit::DONE,
    }
}

/// One run of a command.
struct Run {
    name: report::Command,
    /// The command line.
    typed: Vec<OsString>,
    request: Request,
    output: Output,
    /// For how many seconds to wait until CRI is up.
    timeout: u64,
    /// Whether it was said that a signal has come.
    is_noted: Cell<bool>,
    /// From when something was changed until the report of it is printed.
    busy: Cell<Option<Busy>>,
}

impl Run {
    fn new(command: &Command, typed: Vec<OsString>) -> Self {
        let (name, only_reads) = match command {
            Command::Plan(_) => (report::Command::Plan, true),
            Command::Check(_) => (report::Command::Check, true),
            Command::Hosts(_) => (report::Command::Hosts, true),
            Command::Apply(apply) if apply.dry_run => (report::Command::Plan, true),
            Command::Apply(_) => (report::Command::Apply, false),
            Command::Rollback(rollback) => (report::Command::Rollback, rollback.list),
        };
        let mut request = command.request();
        let shown = Shown::new(request.show_secrets);
        mask(&mut request.restart, &shown);
        Self {
            name,
            typed,
            request,
            output: Output::new(command.common(), only_reads),
            timeout: command.common().changing.health_timeout,
            is_noted: Cell::new(false),
            busy: Cell::new(None),
        }
    }

    fn command(&self, command: &Command) -> anyhow::Result<Report> {
        match command {
            Command::Plan(_) => self.plan(),
            Command::Check(_) => self.check(),
            Command::Hosts(hosts) => self.hosts(hosts),
            Command::Apply(apply) => self.apply(apply),
            Command::Rollback(rollback) => self.rollback(rollback),
        }
    }

    fn plan(&self) -> anyhow::Result<Report> {
        let node = self.node()?;
        self.unfinished(&node);
        let Migration { report, plan } = self.migration(&node)?;
        // The process ends with the report; to free a plan piece by piece is a fifteenth of an ordinary run.
        std::mem::forget(plan);
        Ok(report)
    }

    fn check(&self) -> anyhow::Result<Report> {
        if self.output.format == Format::Diff {
            return Err(Stop::usage("`check` has no diff; leave --format out").into());
        }
        let node = self.node()?;
        let unfinished = self.unfinished(&node);
        let checked = commands::check(&node, &self.asked(&node)?);
        let mut report = checked.map_err(|unread| self.unread(unread))?;
        if let (Outcome::Ready | Outcome::NotReady, Some(command)) = (report.outcome, unfinished) {
            report.next = vec![command];
        }
        Ok(report)
    }

    /// Mentions that the node is being changed, or which runs were killed; the result is the command that comes before
    /// any other then.
    fn unfinished(&self, node: &Node) -> Option<String> {
        let state_dir = &self.request.state_dir;
        if let Some(holder) = crate::apply::holder(node, state_dir) {
            self.output.remark(&transaction::at_work(&holder));
            return Some(command_line("check", self.request.arguments()));
        }
        let unfinished = crate::apply::unfinished(node, state_dir).unwrap_or_else(|error| {
            if error.needs_root() {
                let state_dir = printable(state_dir.as_str());
                self.output.remark(&format!(
                    "note: `{state_dir}` cannot be read; run this as root to see unfinished runs"
                ));
            }
            Vec::new()
        });
        for run in &unfinished {
            self.output.remark(&transaction::unfinished(run));
        }
        let run = unfinished.last()?;
        let mut request = self.request.clone();
        Some(match run.state {
            RunState::Damaged => command_line("rollback --list", request.back().arguments()),
            RunState::GoingBack => request.back().rollback_command(Some(run.run)),
            RunState::RestartPending => {
                if request.restart.is_empty() {
                    request.restart.push(("--restart", None));
                }
                command_line("apply", request.arguments())
            }
            _ => command_line("apply", request.arguments()),
        })
    }

    fn node(&self) -> anyhow::Result<Node> {
        Ok(Node::open(&self.request.root)?)
    }

    /// Plans the migration.
    fn migration(&self, node: &Node) -> anyhow::Result<Migration> {
        let request = self.asked(node)?;
        commands::plan(node, self.name, &request).map_err(|unread| self.unread(unread))
    }

    /// What is asked, and for which containerd.
    fn asked(&self, node: &Node) -> anyhow::Result<Request> {
        let mut request = self.request.clone();
        request.from = request.from.or_else(|| installed_version(node));
        let to = request.to.unwrap_or(NEWEST).known();
        match request.from {
            Some(from) if from < OLDEST => Err(Stop::refused(format!(
                "containerd {from} has no config_path; hosts files exist since {OLDEST}: upgrade containerd to 1.7 first, \
                 then migrate"
            ))
            .into()),
            Some(from) if from.known() > to => Err(Stop::usage(format!(
                "--from {} is newer than --to {to}; set the target version with --to",
                from.known()
            ))
            .into()),
            _ => Ok(request),
        }
    }

    /// Why the node could not be read. What was found before is part of the report.
    fn unread(&self, unread: Unread) -> anyhow::Error {
        let mut stop = Stop::failed(match self.request.root.as_str() {
            "/" => unread.to_string(),
            root => format!("{unread} (inside {root})"),
        });
        stop.needs_root = unread.error.needs_root();
        stop.failure.next.clone_from(&unread.report.next);
        match self.output.begin(&unread.report) {
            Ok(()) => stop.into(),
            Err(error) => unprinted(error),
        }
    }

    /// Prints what is left of the report, and what went wrong; the result is the exit code.
    fn end(&self, report: anyhow::Result<Report>) -> u8 {
        let report = match report {
            Ok(report) => report,
            Err(error) => return self.fail(Stop::from(error)),
        };
        let exit_code = report.exit_code;
        let result = report.changed.then(|| report::text::result(&report));
        match (self.output.end(report), result) {
            (Ok(()), _) => exit_code,
            // What is done is done.
            (Err(error), Some(result)) => {
                let text = format!("warning: cannot print the report: {error}\n{result}");
                output::error(&text);
                exit_code
            }
            (Err(error), None) => self.fail(Stop::from(unprinted(error))),
        }
    }

    fn fail(&self, stop: Stop) -> u8 {
        let Stop {
            exit_code,
            needs_root,
            mut failure,
        } = stop;
        if needs_root {
            failure.next.insert(0, self.as_root());
        }
        if self.output.is_one_document() && exit_code != exit::USAGE {
            let mut report = self.output.begun().unwrap_or_else(|| Report {
                node: self.request.node.clone(),
                ..Report::new(self.name, Outcome::Failed)
            });
            report.fails(exit_code, &failure);
            if self.output.end(report).is_ok() {
                return exit_code;
            }
        }
        output::error(&failure.to_string());
        exit_code
    }

    /// The same command, run by root.
    fn as_root(&self) -> String {
        let words = self.typed.iter().skip(1).map(|word| word.to_string_lossy());
        let words: Vec<String> = words.map(|word| shell::quote(&word)).collect();
        let shown = Shown::new(self.request.show_secrets);
        shown.typed(&format!(
            "sudo {} {}",
            env!("CARGO_PKG_NAME"),
            words.join(" ")
        ))
    }

    /// Explains an error of a session.
    fn stop(&self, error: &ApplyError, shown: &Shown) -> Stop {
        Stop {
            exit_code: error.exit_code(),
            needs_root: error.needs_root(),
            failure: transaction::failure(error, shown, &self.back(shown)),
        }
    }

    /// What a rollback after this command is asked for. More than in a plan may be known to be secret.
    fn back(&self, shown: &Shown) -> Request {
        let mut back = match self.name {
            report::Command::Rollback => self.request.clone(),
            _ => self.request.back(),
        };
        mask(&mut back.restart, shown);
        back
    }

    /// Explains an error whose text holds bytes of files: those of `sources`, and those that it brings itself.
    fn stopped(&self, error: &ApplyError, mut sources: Sources) -> Stop {
        for file in transaction::changed(error) {
            add(&mut sources, &file.after);
            add(&mut sources, file.found.as_deref().unwrap_or_default());
        }
        let shown = Shown::knowing(self.request.show_secrets, sources.texts());
        self.stop(error, &shown)
    }
}

/// Adds the content of a file, for masks.
fn add(sources: &mut Sources, bytes: &[u8]) {
    let content = FileText::new(bytes.to_vec(), TextKind::Configuration);
    sources.add(&NodePath::new("/"), content);
}

/// Masks what was typed, for commands that are printed.
fn mask(arguments: &mut [Argument], shown: &Shown) {
    for value in arguments.iter_mut().filter_map(|(_, value)| value.as_mut()) {
        *value = shown.typed(value);
    }
}

/// Nobody can read the report.
fn unprinted(error: std::io::Error) -> anyhow::Error {
    Stop::failed(format!("cannot print the report: {error}")).into()
}

/// Catches signals, once for a command: each call would add handlers that end the program when their session is idle.
fn listen() -> anyhow::Result<Interrupt> {
    Interrupt::listen().context("cannot catch signals")
}

/// The version of the containerd that is installed, if this is the node and it says.
fn installed_version(node: &Node) -> Option<Version> {
    if !node.is_host() {
        return None;
    }
    let mut containerd = std::process::Command::new("containerd");
    containerd.arg("--version");
    let text = command::run(containerd, Duration::from_secs(10))
        .ok()?
        .output;
    // `containerd github.com/containerd/containerd v1.7.24 <revision>`
    text.split_whitespace().skip(2).find_map(Version::parse)
}

#[cfg(test)]
mod tests {
    use super::arguments::Changing;
    use super::*;
    use crate::finding;
    use crate::node::NodePath;
    use crate::question::{Existing, ExistingAnswers, Inert, Version1};

    #[test]
    fn the_command_line_is_consistent() {
        arguments::definition().debug_assert();
    }

    /// What a POSIX shell makes of a command.
    fn parsed(command: &str) -> Command {
        let script = format!("printf '%s\\0' {command}");
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        let words = words.trim_end_matches('\0').split('\0');
        match Cli::parse_from(words.map(OsString::from).collect()).unwrap() {
            AnyCommand::Node(command) => command,
            AnyCommand::Summarize(_) | AnyCommand::Generate(_) => panic!("{command}"),
        }
    }

    #[test]
    fn a_printed_command_asks_what_was_asked() {
        let all = Request {
            root: "-it's a root".to_owned(),
            config: Some(NodePath::new("/etc/a b.toml")),
            certs_directory: Some(NodePath::new("/certs")),
            from: Version::parse("1.7.3"),
            to: Version::parse("2.1.0"),
            existing: ExistingAnswers {
                general: Some(Existing::Keep),
                by_registry: [("-it's:5000".to_owned(), Existing::Replace)].into(),
            },
            inert: Some(Inert::Carry),
            version_1: Version1::Convert,
            keep_local_pull: true,
            state_dir: NodePath::new("/srv/$HOME"),
            allow: vec![&finding::UNPARSABLE_ENDPOINT, &finding::BYTE_ORDER_MARK],
            restart: vec![
                ("--restart", None),
                ("--restart-command", Some("echo \"it's\"".to_owned())),
                ("--health-command", Some("-true".to_owned())),
                ("--health-timeout", Some("7".to_owned())),
            ],
            ..Request::default()
        };
        let others = Request {
            existing: Existing::Replace.into(),
            inert: Some(Inert::Drop),
            version_1: Version1::Keep,
            ..Request::default()
        };
        for request in [all, others, Request::default()] {
            let command = command_line("apply", request.arguments());
            assert_eq!(parsed(&command).request(), request, "{command}");
        }
    }

    #[test]
    fn a_printed_rollback_restarts_as_the_apply_did() {
        let changing = Changing {
            restart: true,
            restart_command: Some("echo \"it's\"".to_owned()),
            health_command: Some("-true".to_owned()),
            health_timeout: 7,
        };
        let command = command_line("rollback 3", changing.arguments());
        let Command::Rollback(rollback) = parsed(&command) else {
            panic!("{command}");
        };
        assert_eq!(rollback.run, Some(3));
        assert_eq!(rollback.common.changing, changing, "{command}");
    }
}
