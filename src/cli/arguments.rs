//! The command line as it is typed: nothing is derived here, and nothing is read.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::containerd::release::Version;
use crate::finding::{self, Code, Decision};
use crate::node::NodePath;
use crate::question::{ExistingValue, Inert, Version1};
use crate::report::fold::Detail;
use crate::request::{Argument, CONFIG, Request, STATE_DIR};

/// For how many seconds to wait until CRI is up, if nothing else is said.
pub(super) const HEALTH_TIMEOUT: u64 = 60;

/// Migrates containerd's legacy registry settings to certs.d/<host>/hosts.toml
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) common: Common,
}

const AFTER_HELP: &str = "\
Exit codes: 0 nothing to do, done, or ready; 1 changes are pending, answered no, or not ready; 2 usage error;
3 refused, something needs a decision; 4 failed, the node is as it was; 5 failed, and it is not";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what would change; write nothing (the default)
    Plan,
    /// Show the same, ask, then write it
    Apply(Apply),
    /// Undo an apply: show what would change back, ask, then write it
    Rollback(Rollback),
    /// Say what each containerd version makes of this node, today and after the migration; write nothing
    Check(Check),
    /// Generate manual pages, shell completions or the JSON schema
    #[command(subcommand)]
    Generate(Generate),
}

#[derive(Debug, Subcommand)]
pub(super) enum Generate {
    /// Write the manual pages to a directory
    Man {
        /// The directory, created if it does not exist
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the completion script for a shell
    Completions {
        /// The shell that reads the script
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of all that `--format json` prints
    Schema,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Explain a finding by its code, and look at nothing
    #[arg(long, value_name = "CODE", value_parser = parse_any_code)]
    pub(super) explain: Option<&'static Code>,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Write without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// Write without asking, if the plan has this digest
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
    pub(super) expect: Option<String>,
    #[command(flatten)]
    pub(super) changing: Changing,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The number of the run to undo [default: the last one that is in effect]
    pub(super) run: Option<u32>,
    /// List the runs; change nothing
    #[arg(long, conflicts_with = "run")]
    pub(super) list: bool,
    /// Write without asking
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) changing: Changing,
}

/// What the commands that change the node share.
#[derive(Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Changing the node")]
pub(super) struct Changing {
    /// Restart containerd and watch whether CRI comes up; if not, `apply` puts the old files back
    #[arg(long)]
    pub(super) restart: bool,
    /// How to restart it, for `sh -c`, in at most 120 seconds [default: systemctl restart containerd]
    #[arg(long, value_name = "COMMAND", requires = "restart")]
    pub(super) restart_command: Option<String>,
    /// What ends with 0 when CRI is up, for `sh -c`, in at most --health-timeout seconds [default: ask the daemon with ctr]
    #[arg(long, value_name = "COMMAND", requires = "restart")]
    pub(super) health_command: Option<String>,
    /// For how many seconds to wait until CRI is up
    #[arg(long, value_name = "SECONDS", requires = "restart", default_value_t = HEALTH_TIMEOUT, value_parser = parse_seconds)]
    pub(super) health_timeout: u64,
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// The root of the node's file system; every path is inside it
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(super) root: String,
    /// The file that the daemon reads
    #[arg(
        short,
        long,
        global = true,
        value_name = "PATH",
        default_value = CONFIG
    )]
    pub(super) config: String,
    /// The directory for hosts files [default: what config_path says, else /etc/containerd/certs.d]
    #[arg(long, global = true, value_name = "PATH", value_parser = parse_directory)]
    pub(super) certs_dir: Option<NodePath>,
    /// The containerd whose behaviour is kept [default: the node's own, else by the file's version]
    #[arg(long, global = true, value_name = "VERSION", value_parser = parse_version)]
    pub(super) from: Option<Version>,
    /// The containerd that comes [default: the newest known]
    #[arg(long, global = true, value_name = "VERSION", value_parser = parse_version)]
    pub(super) to: Option<Version>,
    /// If a different hosts.toml exists: refuse, keep it, or replace it; HOST=keep for one registry; repeatable
    #[arg(long, global = true, value_name = "[HOST=]refuse|keep|replace")]
    pub(super) existing: Vec<ExistingValue>,
    /// What to do with settings that one release reads and another does not [default: refuse]
    #[arg(long, global = true, value_enum)]
    pub(super) inert: Option<Inert>,
    /// What to do with a version-1 file, whose CRI section containerd 2.0 to 2.2 drop
    #[arg(long, global = true, value_enum, default_value_t = Version1::Auto)]
    pub(super) v1: Version1,
    /// Keep containerd 2.1 and later from pulling through the transfer service once no legacy setting is left
    #[arg(long, global = true)]
    pub(super) keep_local_pull: bool,
    /// Accept a finding by its code; repeatable
    #[arg(long, global = true, value_name = "CODE", value_parser = parse_code, long_help = allow_help())]
    pub(super) allow: Vec<&'static Code>,
    /// Where the journals of all runs are, as the node sees it
    #[arg(long, global = true, value_name = "PATH", default_value = STATE_DIR, value_parser = parse_path)]
    pub(super) state_dir: NodePath,
    /// How the plan is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Show all of a large change: every registry, and each of the hosts files that are alike
    #[arg(long, global = true)]
    pub(super) all: bool,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(super) color: Color,
    /// Print passwords and tokens as they are
    #[arg(long, global = true)]
    pub(super) show_secrets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The diff, the pull table and what becomes of every setting
    Text,
    /// The unified diff alone
    Diff,
    /// The whole report as JSON, for other programs
    Json,
    /// A section for a ticket or a job's summary
    Markdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Common {
    /// How much of a large change is shown.
    pub(super) fn detail(&self) -> Detail {
        if self.all {
            Detail::All
        } else {
            Detail::Folded
        }
    }

    /// What is asked of the program; the containerd that runs here is not looked for.
    pub(super) fn request(&self) -> Request {
        Request {
            root: self.root.clone(),
            config: NodePath::new(&self.config),
            certs_directory: self.certs_dir.clone(),
            from: self.from,
            to: self.to,
            existing: self.existing.iter().cloned().collect(),
            inert: self.inert,
            version_1: self.v1,
            keep_local_pull: self.keep_local_pull,
            state_dir: self.state_dir.clone(),
            allow: self.allow.clone(),
            show_secrets: self.show_secrets,
        }
    }
}

impl Changing {
    /// The options that say what differs from no restart.
    pub(super) fn arguments(&self) -> Vec<Argument> {
        let Self {
            restart,
            restart_command,
            health_command,
            health_timeout,
        } = self;
        let timeout = (*health_timeout != HEALTH_TIMEOUT).then(|| health_timeout.to_string());
        let valued = [
            ("--restart-command", restart_command.clone()),
            ("--health-command", health_command.clone()),
            ("--health-timeout", timeout),
        ];
        let mut arguments: Vec<Argument> = Vec::new();
        arguments.extend(restart.then_some(("--restart", None)));
        let given = valued.into_iter().filter(|(_, value)| value.is_some());
        arguments.extend(given);
        arguments
    }
}

fn parse_version(text: &str) -> Result<Version, String> {
    Version::parse(text)
        .ok_or_else(|| "a containerd version is meant, such as 1.7 or 2.1.4".to_owned())
}

fn parse_code(name: &str) -> Result<&'static Code, String> {
    match finding::code(name) {
        Some(code) if matches!(code.decision, Decision::Allow(_)) => Ok(code),
        Some(Code {
            decision: Decision::Option(help),
            ..
        }) => Err(format!("this finding is decided by another option: {help}")),
        Some(_) => Err("this finding cannot be accepted".to_owned()),
        None => {
            Err("there is no such finding; `--help` lists those that can be accepted".to_owned())
        }
    }
}

fn parse_any_code(name: &str) -> Result<&'static Code, String> {
    finding::code(name)
        .ok_or_else(|| "there is no such finding; the README lists them all".to_owned())
}

fn parse_directory(path: &str) -> Result<NodePath, String> {
    if !path.starts_with('/') {
        return Err("an absolute path is needed, as the node sees it".to_owned());
    }
    if path.contains(':') {
        return Err(
            "a colon separates directories in config_path, so none can be in a name".to_owned(),
        );
    }
    Ok(NodePath::new(path))
}

fn parse_path(path: &str) -> Result<NodePath, String> {
    if path.starts_with('/') {
        Ok(NodePath::new(path))
    } else {
        Err("an absolute path is needed, as the node sees it".to_owned())
    }
}

fn parse_seconds(text: &str) -> Result<u64, String> {
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(seconds @ 1..=3600) => Ok(seconds),
        _ => Err("a number of seconds from 1 to 3600 is meant".to_owned()),
    }
}

fn parse_digest(text: &str) -> Result<String, String> {
    let digest = text
        .strip_prefix("sha256:")
        .unwrap_or(text)
        .to_ascii_lowercase();
    if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(digest)
    } else {
        Err("the 64 digits that `plan` printed are needed".to_owned())
    }
}

fn allow_help() -> String {
    let mut help =
        "Accept a finding by its code; repeatable. Codes, and what accepting them does:".to_owned();
    for code in finding::ALL {
        if let Decision::Allow(effect) = code.decision {
            help.push_str(&format!("\n  {}: {effect}", code.name));
        }
    }
    help
}
