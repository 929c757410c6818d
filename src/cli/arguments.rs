//! The command line as it is typed: which options each command has. Nothing is derived here, and nothing is read.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::containerd::reference::ImageReference;
use crate::containerd::release::Version;
use crate::finding::{self, Code, Decision};
use crate::near::is_near;
use crate::node::NodePath;
use crate::question::{ExistingValue, Inert, Version1};
use crate::report::fold::Detail;
use crate::request::{Argument, Request, STATE_DIR, is_digest};

/// For how many seconds to wait until CRI is up, without `--health-timeout`.
pub(super) const HEALTH_TIMEOUT: u64 = 60;

/// Move containerd's legacy registry settings to certs.d/<host>/hosts.toml
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP
)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Option<AnyCommand>,
    #[command(flatten)]
    common: Common,
}

const AFTER_HELP: &str = "Without a command: plan. COMMAND --help says more.";

const AFTER_LONG_HELP: &str = "\
Without a command: plan. Each command has its own --help.

Exit codes:
  0  nothing to do; applied; rolled back; check: ready
  1  plan: changes are pending; apply, rollback: answered no; check: not ready
  2  usage error
  3  refused: something needs a decision; nothing was written
  4  failed; the node is as it was
  5  failed, and the node could not be restored: the message names the next command
  130  interrupted before anything was written";

#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one value, and clap flattens no boxed subcommands"
)]
pub(super) enum AnyCommand {
    #[command(flatten)]
    Node(Command),
    /// Group the JSON reports of many nodes: one ticket for a fleet
    Summarize(Summarize),
    /// Generate manual pages, shell completions or the JSON schema
    #[command(subcommand)]
    Generate(Generate),
}

/// The commands that look at a node.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what would change; write nothing
    Plan(Common),
    /// Show the plan, ask, then write it
    Apply(Apply),
    /// Undo an apply: show what would change back, ask, then write it
    Rollback(Rollback),
    /// Say whether this node can be upgraded as it is; write nothing
    Check(Common),
    /// Show the hosts that containerd tries for an image; write nothing
    Hosts(Hosts),
}

#[derive(Debug, Args)]
pub(super) struct Hosts {
    /// An image, such as nginx or quay.io/team/app:1.2
    ///
    /// The name is written as in a pod, and completed as containerd does it
    #[arg(required = true, value_name = "IMAGE", value_parser = parse_image)]
    pub(super) images: Vec<(String, ImageReference)>,
    /// Show every known release of containerd
    ///
    /// [default: --from and the target versions]
    #[arg(long)]
    pub(super) all_releases: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Summarize {
    /// A file with JSON reports; - is stdin
    ///
    /// It may have one report or many, one after the other or in an array
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<OsString>,
    /// Print only the digests of pending plans
    ///
    /// One per line, as `apply --expect-from` reads them
    #[arg(long)]
    pub(super) digests: bool,
    /// Report as text, json or markdown
    #[arg(long, value_enum, default_value_t = SummaryFormat::Text, hide_possible_values = true)]
    pub(super) format: SummaryFormat,
    /// Show all of a large change
    ///
    /// Every registry, and each of the hosts files that are alike
    #[arg(long)]
    pub(super) all: bool,
    /// When to use colours: auto, always or never
    ///
    /// auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto, hide_possible_values = true)]
    pub(super) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SummaryFormat {
    /// Everything, for people
    Text,
    /// One document, for programs
    Json,
    /// A section for a ticket or a job's summary
    Markdown,
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

/// The options without effect in a command, which its help does not list. They are accepted, so that the options of one
/// command can be used again with another.
///
/// The options of a restart are also in every command that continues what a command was given.
const WITHOUT_EFFECT: [(&str, &[&str]); 5] = [
    ("plan", &RESTART),
    (
        "rollback",
        &[
            "to",
            "certs_dir",
            "existing",
            "inert",
            "v1",
            "keep_local_pull",
            "all",
        ],
    ),
    ("check", &RESTART),
    ("hosts", &RESTART),
    ("hosts", &["state_dir", "all", "show_secrets"]),
];

/// The options of [`Changing`].
const RESTART: [&str; 4] = [
    "restart",
    "restart_command",
    "health_command",
    "health_timeout",
];

/// The help of `--format` where there is no diff.
const FORMAT_WITHOUT_DIFF: &str = "\
Report as text, json or markdown

text: everything, for people. json: one document, for programs. markdown: a section for a ticket or a job's summary";

const FORMAT_OF_ROLLBACK: &str = "\
Report as text, diff, json or markdown

text: everything, for people. diff: the unified diff alone, not with --list; findings go to stderr. json: one document, \
for programs. markdown: a section for a ticket or a job's summary";

const RESTART_OF_ROLLBACK: &str = "\
Restart containerd and check that CRI comes up

If CRI does not come up, the old files stay in place, and `rollback` says what containerd prints";

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Write without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// Write without asking if this is the plan's digest
    ///
    /// Repeat the option to expect one of several plans. Any other plan is refused, and shown. The form `DIGEST  -` is
    /// accepted, too
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
    pub(super) expect: Vec<String>,
    /// Read such digests from a file, one per line; - is stdin
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) expect_from: Option<OsString>,
    /// Show the plan only, as `plan` does
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The run to undo [default: the last one in effect]
    pub(super) run: Option<u32>,
    /// List the runs; change nothing
    #[arg(long, conflicts_with = "run")]
    pub(super) list: bool,
    /// Write without asking
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// How containerd is restarted by the commands that change the node.
#[derive(Debug, PartialEq, Eq, Args)]
pub(super) struct Changing {
    /// Restart containerd and check that CRI comes up
    ///
    /// If CRI does not come up as it was before, `apply` puts the old files back and restarts containerd again
    #[arg(long)]
    pub(super) restart: bool,
    /// How to restart containerd, for `sh -c`
    ///
    /// It is killed after 120 seconds, or after --health-timeout if that is longer
    /// [default: systemctl restart containerd]
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "restart",
        hide_short_help = true
    )]
    pub(super) restart_command: Option<String>,
    /// What succeeds when CRI is up, for `sh -c`
    ///
    /// It is run before anything is written, too: if it fails then, nothing is written, unless CRI is down and the plan
    /// brings it up. Each time it is killed after --health-timeout
    /// [default: ask the daemon with ctr, at most 5 seconds for each question]
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "restart",
        hide_short_help = true
    )]
    pub(super) health_command: Option<String>,
    /// How many seconds to wait until CRI is up
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "restart",
        default_value_t = HEALTH_TIMEOUT,
        value_parser = parse_seconds,
        hide_short_help = true
    )]
    pub(super) health_timeout: u64,
}

/// Which node, for which containerd, how open questions are answered, and how it is said.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) changing: Changing,
    /// The node's root directory
    ///
    /// Every other path is inside it, as the node sees it
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: String,
    /// The config.toml [default: the one containerd reads]
    ///
    /// That is the file that `-c` or `--config` in containerd's systemd unit and its drop-ins names, else
    /// /etc/containerd/config.toml
    #[arg(short, long, value_name = "PATH", value_parser = parse_path)]
    config: Option<NodePath>,
    /// The installed containerd, whose pulls are preserved
    ///
    /// A line such as 1.7 means its newest release
    /// [default: what `containerd --version` says; with another --root, assumed from the version of the file]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    from: Option<Version>,
    /// The target version of a direct upgrade
    ///
    /// [default: the newest release of every line after that of --from]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    to: Option<Version>,
    /// The certs directory
    ///
    /// [default: what config_path says, else /etc/containerd/certs.d]
    #[arg(long, value_name = "PATH", value_parser = parse_directory, hide_short_help = true)]
    certs_dir: Option<NodePath>,
    /// If a different hosts.toml exists: refuse, keep it, or replace it; repeatable
    ///
    /// HOST=keep and HOST=replace answer for one registry
    #[arg(long, value_name = "[HOST=]ANSWER")]
    existing: Vec<ExistingValue>,
    /// If only some releases read registry settings: drop or carry them
    ///
    /// drop: remove them, so that pulls stay as they are on --from. carry: let them take effect on every release, as the
    /// target version reads them
    #[arg(long, value_name = "ANSWER", value_enum, hide_possible_values = true)]
    inert: Option<Inert>,
    /// If the file has version 1: auto, convert or keep
    ///
    /// containerd 2.0 to 2.2 drop its CRI section. auto converts it where that matters
    #[arg(
        long,
        value_name = "ANSWER",
        value_enum,
        default_value_t = Version1::Auto,
        hide_possible_values = true,
        hide_default_value = true
    )]
    v1: Version1,
    /// Keep CRI's own puller on containerd 2.1 and later
    ///
    /// Without legacy settings containerd 2.1 and later pull through the transfer service instead
    #[arg(long, hide_short_help = true)]
    keep_local_pull: bool,
    /// Accept a finding; repeatable
    #[arg(long, value_name = "CODE", value_parser = parse_code)]
    allow: Vec<&'static Code>,
    /// Explain a finding and what --allow does with it
    #[arg(long, value_name = "CODE", value_parser = parse_any_code)]
    pub(super) explain: Option<&'static Code>,
    /// Where the journals of all runs are
    #[arg(
        long,
        value_name = "PATH",
        default_value = STATE_DIR,
        value_parser = parse_path,
        hide_short_help = true
    )]
    state_dir: NodePath,
    /// Report as text, diff, json or markdown
    ///
    /// text: everything, for people. diff: the unified diff alone; findings go to stderr. json: one document, for programs.
    /// markdown: a section for a ticket or a job's summary
    #[arg(long, value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    pub(super) format: Format,
    /// Show all of a large change
    ///
    /// Every registry, and each of the hosts files that are alike
    #[arg(long, hide_short_help = true)]
    all: bool,
    /// When to use colours: auto, always or never
    ///
    /// auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t = Color::Auto,
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub(super) color: Color,
    /// Show passwords and tokens instead of masking them
    #[arg(long, hide_short_help = true)]
    pub(super) show_secrets: bool,
    /// A label for the node in the JSON report
    ///
    /// It changes nothing else
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(super) node: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Everything, for people
    Text,
    /// The unified diff alone; findings go to stderr
    Diff,
    /// One document, for programs
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

impl Cli {
    /// Parses a command line. Options may stand before the command, too.
    pub(super) fn parse_from(arguments: Vec<OsString>) -> Result<AnyCommand, clap::Error> {
        let mut definition = definition();
        let arguments = command_first(&definition, arguments);
        let matches = definition.try_get_matches_from_mut(arguments)?;
        let cli =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        let plan = AnyCommand::Node(Command::Plan(cli.common));
        Ok(cli.command.unwrap_or(plan))
    }
}

/// What the command line may be.
pub(super) fn definition() -> clap::Command {
    // Without a command, the short help is about which commands there are.
    let shown = ["root", "config", "from", "to"];
    let mut definition = Cli::command().mut_args(|argument| {
        let name = argument.get_id().as_str();
        let (is_shown, is_hidden) = (shown.contains(&name), RESTART.contains(&name));
        argument.hide_short_help(!is_shown).hide(is_hidden)
    });
    for (command, options) in WITHOUT_EFFECT {
        definition = definition.mut_subcommand(command, |command| {
            command.mut_args(|argument| {
                let is_hidden = options.contains(&argument.get_id().as_str());
                let is_hidden = is_hidden || argument.is_hide_set();
                argument.hide(is_hidden)
            })
        });
    }
    for command in ["check", "hosts"] {
        definition = definition.mut_subcommand(command, |command| {
            command.mut_arg("format", |format| {
                format
                    .help("Report as text, json or markdown")
                    .long_help(FORMAT_WITHOUT_DIFF)
            })
        });
    }
    let of_rollback = "The installed containerd, which reads the old files";
    definition.mut_subcommand("rollback", |rollback| {
        rollback
            .mut_arg("from", |from| from.help(of_rollback).long_help(of_rollback))
            .mut_arg("restart", |restart| restart.long_help(RESTART_OF_ROLLBACK))
            .mut_arg("format", |format| format.long_help(FORMAT_OF_ROLLBACK))
    })
}

/// The same command line with the options that stand before the command after it.
fn command_first(definition: &clap::Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let takes_value = |option: &str| {
        let (name, is_long) = match option.strip_prefix("--") {
            Some(name) => (name, true),
            None => (option.trim_start_matches('-'), false),
        };
        let has_its_value = name.contains('=') || !is_long && name.chars().count() > 1;
        let is_it = |argument: &&clap::Arg| match is_long {
            true => argument.get_long() == Some(name),
            false => argument.get_short() == name.chars().next(),
        };
        let known = definition.get_arguments().find(is_it);
        !has_its_value && known.is_some_and(|argument| argument.get_action().takes_values())
    };
    let mut at = 1;
    while let Some(word) = arguments.get(at).and_then(|word| word.to_str()) {
        if !word.starts_with('-') || word == "-" {
            if definition.find_subcommand(word).is_some() {
                let command = arguments.remove(at);
                arguments.insert(1, command);
            }
            break;
        }
        if word == "--" {
            break;
        }
        at += if takes_value(word) { 2 } else { 1 };
    }
    arguments
}

impl Command {
    /// The options that every command has.
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Plan(common) | Self::Check(common) => common,
            Self::Apply(apply) => &apply.common,
            Self::Rollback(rollback) => &rollback.common,
            Self::Hosts(hosts) => &hosts.common,
        }
    }

    /// What is asked of the program; the containerd that is installed here is not looked for.
    pub(super) fn request(&self) -> Request {
        let asked = self.common().request();
        match self {
            Self::Rollback(_) => Request {
                root: asked.root,
                config: asked.config,
                from: asked.from,
                state_dir: asked.state_dir,
                allow: asked.allow,
                restart: asked.restart,
                node: asked.node,
                show_secrets: asked.show_secrets,
                ..Request::default()
            },
            Self::Plan(_) | Self::Apply(_) | Self::Check(_) | Self::Hosts(_) => asked,
        }
    }
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

    fn request(&self) -> Request {
        Request {
            root: self.root.clone(),
            config: self.config.clone(),
            certs_directory: self.certs_dir.clone(),
            from: self.from,
            to: self.to,
            existing: self.existing.iter().cloned().collect(),
            inert: self.inert,
            version_1: self.v1,
            keep_local_pull: self.keep_local_pull,
            state_dir: self.state_dir.clone(),
            allow: self.allow.clone(),
            restart: self.changing.arguments(),
            node: self.node.clone(),
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

fn parse_image(name: &str) -> Result<(String, ImageReference), String> {
    Ok((name.to_owned(), ImageReference::parse(name)?))
}

fn parse_version(text: &str) -> Result<Version, String> {
    // Kubernetes writes `containerd://1.7.24`.
    Version::parse(text.strip_prefix("containerd://").unwrap_or(text))
        .ok_or_else(|| "write a containerd version, such as 1.7 or 2.1.4".to_owned())
}

fn parse_code(name: &str) -> Result<&'static Code, String> {
    let code = known(name, |code| matches!(code.decision, Decision::Allow(_)))?;
    match code.decision {
        Decision::Allow(_) => Ok(code),
        Decision::Option(options) => Err(format!("another option decides this finding: {options}")),
        Decision::HandEdit => Err("this finding cannot be accepted: fix what it names".to_owned()),
    }
}

fn parse_any_code(name: &str) -> Result<&'static Code, String> {
    known(name, |_| true)
}

/// The finding of this name. If there is none, the error names one that may be meant, among those that are offered.
fn known(name: &str, is_offered: fn(&Code) -> bool) -> Result<&'static Code, String> {
    finding::code(name).ok_or_else(|| {
        let mut codes = finding::ALL.iter();
        match codes.find(|code| is_offered(code) && is_near(name, code.name)) {
            Some(near) => format!("no such finding; did you mean `{}`?", near.name),
            None => "no such finding; a report has the name of each in brackets, such as error[invalid-toml]"
                .to_owned(),
        }
    })
}

fn parse_directory(path: &str) -> Result<NodePath, String> {
    if path.contains(':') {
        return Err("the name of a certs directory cannot have a colon, which separates directories in config_path".to_owned());
    }
    parse_path(path)
}

fn parse_path(path: &str) -> Result<NodePath, String> {
    if path.starts_with('/') {
        Ok(NodePath::new(path))
    } else {
        Err("write an absolute path, as the node sees it".to_owned())
    }
}

fn parse_seconds(text: &str) -> Result<u64, String> {
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(seconds @ 1..=3600) => Ok(seconds),
        _ => Err("write a number of seconds from 1 to 3600".to_owned()),
    }
}

/// A digest as `plan` prints it, with `sha256:` before it, or as a line of `sha256sum`.
pub(super) fn parse_digest(text: &str) -> Result<String, String> {
    let digest = text.strip_prefix("sha256:").unwrap_or(text);
    let digest = ["  -", " *-"]
        .iter()
        .find_map(|name| digest.strip_suffix(name))
        .unwrap_or(digest);
    let digest = digest.to_ascii_lowercase();
    if is_digest(&digest) {
        Ok(digest)
    } else {
        Err("write the 64 hexadecimal digits that `plan` prints after `Digest:`".to_owned())
    }
}
