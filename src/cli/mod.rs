//! What was typed, made into a request, and one function for each command. The edge of the program: only here is
//! anything printed, and only here does an error become an exit code.

mod arguments;
mod changing;
mod generate;
mod manual;

use std::cell::Cell;
use std::io::{BufWriter, Write};
use std::time::Duration;

use anstream::ColorChoice;
use anyhow::Context;
use clap::Parser;

use crate::apply;
use crate::commands::{self, Unread};
use crate::containerd::release::{NEWEST, OLDEST, Version};
use crate::node::Node;
use crate::plan::Plan;
use crate::read::Inputs;
use crate::report::{self, Outcome, Report, Shown};
use crate::request::Request;

use arguments::{Cli, Color, Command, Common, Format};

/// Exit codes, as in the README.
mod exit {
    pub(super) const DONE: u8 = 0;
    pub(super) const PENDING: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const FAILED: u8 = 4;
}

/// A command that ends before it has begun: what is asked makes no sense, or not on this node.
#[derive(Debug)]
struct Stop {
    exit_code: u8,
    reason: String,
}

impl Stop {
    fn usage(reason: impl Into<String>) -> Self {
        Self {
            exit_code: exit::USAGE,
            reason: reason.into(),
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for Stop {}

/// Runs the program; the result is its exit code.
pub fn run(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
            // A closed stream does not change what was asked for.
            let _ = error.print();
            return code;
        }
    };
    match cli.common.color {
        // anstream looks at NO_COLOR and at what the stream is.
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    command(cli).unwrap_or_else(|error| explain(&error))
}

fn command(cli: Cli) -> anyhow::Result<u8> {
    let run = Run::new(cli.common);
    match cli.command.unwrap_or(Command::Plan) {
        Command::Plan => run.plan(),
        Command::Check(check) => match check.explain {
            Some(code) => {
                print(&report::explain::render(code));
                Ok(exit::DONE)
            }
            None => run.check(),
        },
        Command::Generate(what) => generate::generate(&what),
        Command::Apply(_) | Command::Rollback(_) if run.common.format == Format::Json => {
            Err(Stop::usage("only `plan` and `check` print JSON").into())
        }
        Command::Apply(apply) => Ok(code(run.apply(&apply))),
        Command::Rollback(rollback) => Ok(code(run.rollback(&rollback))),
    }
}

/// An exit code, whichever way it came.
fn code(code: Result<u8, u8>) -> u8 {
    code.unwrap_or_else(|code| code)
}

/// Says what went wrong; the result is the exit code.
fn explain(error: &anyhow::Error) -> u8 {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors say themselves what caused them.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    print_error(&format!("error{text}\n"));
    let stop = error.downcast_ref::<Stop>();
    stop.map_or(exit::FAILED, |stop| stop.exit_code)
}

/// A failing stdout or stderr changes neither what is written to disk nor the exit code.
fn print(text: &str) {
    let stdout = std::io::stdout().lock();
    let is_plain = anstream::AutoStream::choice(&stdout) == ColorChoice::Never;
    // What is between colours comes in small pieces.
    let mut stdout = BufWriter::with_capacity(1 << 16, stdout);
    let mut write = |text: &str| stdout.write_all(text.as_bytes());
    let _ = match is_plain {
        true => anstream::adapter::strip_str(text).try_for_each(&mut write),
        false => write(text),
    };
    let _ = stdout.flush();
}

fn print_error(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(document).context("cannot write the report")?;
    text.push('\n');
    print(&text);
    Ok(())
}

/// A plan that changes something.
struct Planned {
    report: Report,
    inputs: Inputs,
    plan: Plan,
    shown: Shown,
    digest: String,
}

struct Run {
    common: Common,
    /// Whether it was said that a signal has come.
    is_noted: Cell<bool>,
}

impl Run {
    fn new(common: Common) -> Self {
        Self {
            common,
            is_noted: Cell::new(false),
        }
    }

    fn plan(&self) -> anyhow::Result<u8> {
        let node = Node::open(&self.common.root)?;
        let unfinished = apply::unfinished(&node, &self.common.state_dir);
        let notes = unfinished.iter().map(report::transaction::unfinished);
        let notes: Vec<String> = notes.map(|note| note.trim_end().to_owned()).collect();
        let request = self.request(&node)?;
        let mut report = match commands::plan(&node, report::Command::Plan, &request) {
            Ok(planned) => planned.report,
            Err(mut unread) => {
                unread.report.notes = notes;
                return self.unread(unread);
            }
        };
        report.notes = notes;
        self.print_report(&report)?;
        Ok(report.exit_code)
    }

    /// Says what each containerd makes of the node.
    fn check(&self) -> anyhow::Result<u8> {
        if self.common.format == Format::Diff {
            return Err(Stop::usage("`check` prints text only; leave --format out").into());
        }
        let node = Node::open(&self.common.root)?;
        let report = match commands::check(&node, &self.request(&node)?) {
            Ok(report) => report,
            Err(unread) => return self.unread(unread),
        };
        self.print_report(&report)?;
        Ok(report.exit_code)
    }

    /// Opens the node for a command that explains its errors itself.
    fn node(&self) -> Result<Node, u8> {
        Node::open(&self.common.root).map_err(|error| explain(&error.into()))
    }

    /// Makes the plan. `None` if there is nothing to do, which has been said; an error is the exit code, and has been
    /// explained.
    fn make_plan(&self, node: &Node) -> Result<Option<Planned>, u8> {
        let made = self
            .request(node)
            .map(|request| commands::plan(node, report::Command::Apply, &request));
        let planned = match made {
            Ok(Ok(planned)) => planned,
            Ok(Err(unread)) => return Err(code(self.unread(unread).map_err(|e| explain(&e)))),
            Err(error) => return Err(explain(&error)),
        };
        let report = planned.report;
        match (report.outcome, planned.plan, report.digest.clone()) {
            (Outcome::Changes, Some((inputs, plan)), Some(digest)) => {
                let files = inputs.snapshot.configuration().files.iter();
                let texts = files.map(|loaded| loaded.file.toml.as_ref());
                Ok(Some(Planned {
                    report,
                    shown: Shown::knowing(self.common.show_secrets, texts),
                    inputs,
                    plan,
                    digest,
                }))
            }
            (outcome, ..) => {
                self.print_report(&report)
                    .map_err(|error| explain(&error))?;
                match outcome {
                    Outcome::Nothing => Ok(None),
                    _ => Err(report.exit_code),
                }
            }
        }
    }

    /// What is asked, and for which containerd.
    fn request(&self, node: &Node) -> anyhow::Result<Request> {
        if !self.common.config.starts_with('/') {
            let reason = "--config needs an absolute path, as the node sees it";
            return Err(Stop::usage(reason).into());
        }
        let mut request = self.common.request();
        if request.from.is_none() && node.is_host() {
            request.from = installed_version();
        }
        let known = |version: Version| version.min(version.newest_known());
        let to = known(request.to.unwrap_or(NEWEST));
        match request.from {
            Some(from) if from < OLDEST => Err(Stop {
                exit_code: exit::REFUSED,
                reason: format!(
                    "containerd {from} has no config_path; hosts files exist since {OLDEST}"
                ),
            }
            .into()),
            Some(from) if known(from) > to => Err(Stop::usage(format!(
                "--from {} is newer than --to {to}; name the containerd that comes with --to",
                known(from)
            ))
            .into()),
            _ => Ok(request),
        }
    }

    /// Says why the node could not be read.
    fn unread(&self, unread: Unread) -> anyhow::Result<u8> {
        self.print_report(&unread.report)?;
        if self.is_one_document() {
            return Ok(unread.report.exit_code);
        }
        let root = &self.common.root;
        Err(match root.as_str() {
            "/" => anyhow::Error::new(unread),
            _ => anyhow::anyhow!("{unread} (inside {root})"),
        })
    }

    /// The whole report on stdout; only what a diff has no place for is on stderr.
    fn print_report(&self, report: &Report) -> anyhow::Result<()> {
        match self.common.format {
            Format::Json => return print_json(report),
            Format::Text => print(&report::text::render(report, self.common.detail())),
            Format::Markdown => print(&report::markdown::render(report, self.common.detail())),
            Format::Diff => {
                print_error(&report::text::preamble(report));
                print(&report::diff::render(report));
                if report.files.iter().any(|file| file.masked) {
                    print_error(
                        "note: secrets are masked; this diff cannot be applied with patch\n",
                    );
                }
            }
        }
        Ok(())
    }

    /// Whether all that there is to say is in one document on stdout.
    fn is_one_document(&self) -> bool {
        matches!(self.common.format, Format::Json | Format::Markdown)
    }
}

/// The version of the containerd that is installed on this machine, if it says.
fn installed_version() -> Option<Version> {
    let mut command = std::process::Command::new("containerd");
    command.arg("--version");
    let text = apply::command::run(command, Duration::from_secs(10))
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
    use crate::request::command_line;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What a POSIX shell makes of a command.
    fn parsed(command: &str) -> Cli {
        let script = format!("printf '%s\\0' {command}");
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        Cli::try_parse_from(words.trim_end_matches('\0').split('\0')).unwrap()
    }

    #[test]
    fn a_printed_command_asks_what_was_asked() {
        let all = Request {
            root: "-it's a root".to_owned(),
            config: NodePath::new("/etc/a b.toml"),
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
            allow: vec![&finding::UNKNOWN_KEY, &finding::BYTE_ORDER_MARK],
            show_secrets: false,
        };
        let others = Request {
            existing: Existing::Replace.into(),
            inert: Some(Inert::Drop),
            version_1: Version1::Keep,
            ..Request::default()
        };
        for request in [all, others, Request::default()] {
            let command = command_line("apply", request.arguments());
            assert_eq!(parsed(&command).common.request(), request, "{command}");
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
        let Some(Command::Rollback(rollback)) = parsed(&command).command else {
            panic!("{command}");
        };
        assert_eq!(rollback.run, Some(3));
        assert_eq!(rollback.changing, changing, "{command}");
    }
}
