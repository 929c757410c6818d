//! What was typed, made into options, and one function for each command. The edge of the program: only here is
//! anything printed, and only here does an error become an exit code.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::apply::guard::{self, Guard, Health};
use crate::apply::{
    self, Applied, ApplyError, ChangedSinceApply, Interrupt, Recovered, Recovery, RunState, Session,
};
use crate::config::ConfigFile;
use crate::finding::{self, Code, Decision, Findings, Severity};
use crate::inputs::{self, Existing, Inputs, Options, ReadError, Sources, Version1};
use crate::node::{Node, NodePath};
use crate::plan::{self, Plan};
use crate::report::{self, Shown, diff::Diff};
use crate::shell;
use crate::verify;
use crate::version::{self, Version};

/// Exit codes, as in the README.
mod exit {
    pub(super) const DONE: u8 = 0;
    pub(super) const PENDING: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const FAILED: u8 = 4;
}

/// Migrates containerd's legacy registry settings to certs.d/<host>/hosts.toml
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

const AFTER_HELP: &str = "\
Exit codes: 0 nothing to do, or done; 1 changes are pending, or answered no; 2 usage error;
3 refused, something needs a decision; 4 failed, the node is as it was; 5 failed, and it is not";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what would change; write nothing (the default)
    Plan,
    /// Show the same, ask, then write it
    Apply(Apply),
    /// Undo an apply: show what would change back, ask, then write it
    Rollback(Rollback),
}

#[derive(Debug, Args)]
struct Apply {
    /// Write without asking
    #[arg(long)]
    yes: bool,
    /// Write without asking, if the plan has this digest
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
    expect: Option<String>,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
struct Rollback {
    /// The number of the run to undo [default: the last one that is in effect]
    run: Option<u32>,
    /// List the runs; change nothing
    #[arg(long, conflicts_with = "run")]
    list: bool,
    /// Write without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    changing: Changing,
}

/// What the commands that change the node share.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changing the node")]
struct Changing {
    /// Where the journals of all runs are, as the node sees it
    #[arg(long, value_name = "PATH", default_value = apply::STATE_DIR, value_parser = parse_path)]
    state_dir: NodePath,
    /// Restart containerd and watch whether CRI comes up; if not, `apply` puts the old files back
    #[arg(long)]
    restart: bool,
    /// How to restart it, for `sh -c`
    #[arg(long, value_name = "COMMAND", requires = "restart", default_value = guard::RESTART_COMMAND)]
    restart_command: String,
    /// What ends with 0 when CRI is up, for `sh -c` [default: ask the daemon with ctr]
    #[arg(long, value_name = "COMMAND", requires = "restart")]
    health_command: Option<String>,
    /// For how many seconds to wait until CRI is up
    #[arg(long, value_name = "SECONDS", requires = "restart", default_value_t = 60, value_parser = parse_seconds)]
    health_timeout: u64,
}

#[derive(Debug, Args)]
struct Common {
    /// The root of the node's file system; every path is inside it
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: String,
    /// The file that the daemon reads
    #[arg(
        short,
        long,
        global = true,
        value_name = "PATH",
        default_value = "/etc/containerd/config.toml"
    )]
    config: String,
    /// The directory for hosts files [default: what config_path says, else /etc/containerd/certs.d]
    #[arg(long, global = true, value_name = "PATH", value_parser = parse_directory)]
    certs_dir: Option<NodePath>,
    /// The containerd whose behaviour is kept [default: the node's own, else by the file's version]
    #[arg(long, global = true, value_name = "VERSION", value_parser = parse_version)]
    from: Option<Version>,
    /// The containerd that comes [default: the newest known]
    #[arg(long, global = true, value_name = "VERSION", value_parser = parse_version)]
    to: Option<Version>,
    /// Who decides where a hosts file is there already
    #[arg(long, global = true, value_enum, default_value_t = ExistingArg::Refuse)]
    existing: ExistingArg,
    /// What is done with a version-1 file
    #[arg(long, global = true, value_enum, default_value_t = Version1Arg::Refuse)]
    v1: Version1Arg,
    /// Accept a finding by its code; repeatable
    #[arg(long, global = true, value_name = "CODE", value_parser = parse_code, long_help = allow_help())]
    allow: Vec<&'static Code>,
    /// How the plan is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Print passwords and tokens as they are
    #[arg(long, global = true)]
    show_secrets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExistingArg {
    /// Nobody yet: a difference is refused
    Refuse,
    /// The file
    Keep,
    /// The settings that are in effect today
    Replace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Version1Arg {
    /// It is refused
    Refuse,
    /// Every plugin gets its version-2 name
    Convert,
    /// It is migrated in place and stays version 1
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The diff, the pull table and what becomes of every setting
    Text,
    /// The unified diff alone
    Diff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
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
    match cli.command.unwrap_or(Command::Plan) {
        Command::Plan => result(Run::new(cli.common).plan()),
        Command::Apply(apply) => result(Run::new(cli.common).apply(&apply)),
        Command::Rollback(rollback) => result(Run::new(cli.common).rollback(&rollback)),
    }
}

/// An exit code, whichever way it came.
fn result(code: Result<u8, u8>) -> u8 {
    code.unwrap_or_else(|code| code)
}

/// A failing stdout or stderr changes neither what is written to disk nor the exit code.
fn print(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn print_error(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

/// A plan that was made, with what is printed of it.
struct Planned {
    inputs: Inputs,
    plan: Plan,
    shown: Shown,
    diff: Diff,
    digest: String,
}

struct Run {
    common: Common,
}

impl Run {
    fn new(common: Common) -> Self {
        Self { common }
    }

    fn plan(&self) -> Result<u8, u8> {
        let node = self.node()?;
        for run in apply::unfinished(&node, &NodePath::new(apply::STATE_DIR)) {
            print_error(&report::transaction::unfinished(&run));
        }
        let Some(planned) = self.make_plan(&node)? else {
            return Ok(exit::DONE);
        };
        self.print_plan(&planned);
        if self.common.format == Format::Text {
            print(&format!("Next: {}\n", self.next_command(&planned)));
        }
        Ok(exit::PENDING)
    }

    fn apply(&self, apply: &Apply) -> Result<u8, u8> {
        let node = self.node()?;
        let asks = !apply.yes && apply.expect.is_none();
        // Another run may change the node between the plan and the lock; then there is another plan.
        let (mut session, planned, guard) = loop {
            let (mut session, _) = self.begin(&node, "apply", &apply.changing)?;
            let Some(planned) = self.make_plan(&node)? else {
                return Ok(exit::DONE);
            };
            self.check_expected(apply, &planned)?;
            let guard = self.guard(&apply.changing, &node, &planned.inputs.files)?;
            if asks || self.lock(&mut session, &planned.shown)? {
                break (session, planned, guard);
            }
        };
        self.print_plan(&planned);
        if asks && !self.ask("Write these changes?")? {
            return Ok(exit::PENDING);
        }
        let (shown, changes) = (&planned.shown, &planned.plan.changes);
        let report = &mut |progress| self.print_progress(&progress, shown);
        match session.apply(changes, &planned.digest, guard.as_ref(), report) {
            Ok(applied) => {
                let text = self.applied(&planned, &applied, &apply.changing);
                match self.common.format {
                    Format::Text => print(&text),
                    // stdout is a diff and nothing else.
                    Format::Diff => print_error(&text),
                }
                Ok(exit::DONE)
            }
            Err(error) => Err(self.failed(&error, shown)),
        }
    }

    fn rollback(&self, rollback: &Rollback) -> Result<u8, u8> {
        let changing = &rollback.changing;
        let node = self.node()?;
        let runs = || {
            let runs = apply::runs(&node, &changing.state_dir);
            runs.map_err(|error| self.failed(&error, &Shown::default()))
        };
        if rollback.list {
            print(&report::transaction::runs(&runs()?, &changing.state_dir));
            return Ok(exit::DONE);
        }
        let (mut session, recovered) = self.begin(&node, "rollback", changing)?;
        // What was recovered just now is what somebody wants to be rid of: not a run before it.
        let is_back = |run: &Recovered| {
            rollback.run.is_none_or(|wanted| wanted == run.run)
                && matches!(run.what, Recovery::RolledBack | Recovery::Undone)
        };
        if recovered.iter().any(is_back) {
            return Ok(exit::DONE);
        }
        let last = || -> Result<Option<u32>, u8> {
            let mut runs = runs()?.into_iter();
            Ok(runs
                .rfind(|run| run.state == RunState::Applied)
                .map(|run| run.run))
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
            Err(error) => return Err(self.failed(&error, &self.shown_of_error(&error))),
        };
        let bytes = files
            .iter()
            .flat_map(|file| [&file.now, &file.old])
            .flatten();
        let shown = self.shown_of(bytes.map(Vec::as_slice));
        let guard = self.guard(changing, &node, &self.config(&node))?;
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
            color_diff(&diff, &diff)
        } else {
            diff
        });
        if !rollback.yes && !self.ask("Roll back?")? {
            return Ok(exit::PENDING);
        }
        let report = &mut |progress| self.print_progress(&progress, &shown);
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

    /// Opens the node, whatever the command.
    fn node(&self) -> Result<Node, u8> {
        Node::open(&self.common.root).map_err(|error| {
            print_error(&format!("error: {error}\n"));
            exit::FAILED
        })
    }

    /// Begins a session: what a killed run had left is finished or undone, and said.
    fn begin<'n>(
        &self,
        node: &'n Node,
        purpose: &'static str,
        changing: &Changing,
    ) -> Result<(Session<'n>, Vec<Recovered>), u8> {
        let interrupt = Interrupt::listen().map_err(|error| {
            print_error(&format!("error: cannot catch signals: {error}\n"));
            exit::FAILED
        })?;
        let changed = if self.common.allow.contains(&&finding::CHANGED_SINCE_APPLY) {
            ChangedSinceApply::Overwrite
        } else {
            ChangedSinceApply::Refuse
        };
        let shown = Shown::default();
        let report = &mut |progress| self.print_progress(&progress, &shown);
        let begun = Session::begin(
            node,
            &changing.state_dir,
            purpose,
            interrupt,
            changed,
            report,
        );
        let (session, recovered) =
            begun.map_err(|error| self.failed(&error, &self.shown_of_error(&error)))?;
        for run in &recovered {
            print_error(&report::transaction::recovered(run));
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
        files: &[ConfigFile],
    ) -> Result<Option<Guard>, u8> {
        if !changing.restart {
            return Ok(None);
        }
        let health = match &changing.health_command {
            Some(command) => Health::Command(command.clone()),
            None if node.is_host() => {
                let address = files.iter().rev().find_map(ConfigFile::grpc_address);
                let address = address
                    .filter(|address| !address.is_empty())
                    .unwrap_or(guard::ADDRESS);
                Health::Ctr(address.trim_start_matches("unix://").to_owned())
            }
            None => {
                print_error(
                    "error: --restart with a --root other than / needs --restart-command and --health-command, since \
                     no daemon of this machine runs on these files\n",
                );
                return Err(exit::USAGE);
            }
        };
        Ok(Some(Guard {
            restart_command: changing.restart_command.clone(),
            health,
            timeout: changing.health_timeout,
        }))
    }

    /// The config.toml as it is now, for what the guard needs of it.
    fn config(&self, node: &Node) -> Vec<ConfigFile> {
        let path = NodePath::new(&self.common.config);
        let Ok(Some(file)) = node.read(&path) else {
            return Vec::new();
        };
        let id = Sources::default().add(&path, &file.bytes);
        let mut unused = Findings::new([]);
        ConfigFile::parse(id, path, file.path, file.bytes, &mut unused)
            .into_iter()
            .collect()
    }

    /// What may be shown of these files.
    fn shown_of<'b>(&self, files: impl IntoIterator<Item = &'b [u8]>) -> Shown {
        let mut sources = Sources::default();
        for bytes in files {
            sources.add(&NodePath::new("/"), bytes);
        }
        Shown::new(self.common.show_secrets, &sources, None)
    }

    fn shown_of_error(&self, error: &ApplyError) -> Shown {
        let files = match error {
            ApplyError::ChangedSinceApply { files, .. } => files.as_slice(),
            _ => &[],
        };
        let found = files.iter().filter_map(|file| file.found.as_deref());
        self.shown_of(found.chain(files.iter().map(|file| file.after.as_slice())))
    }

    fn print_progress(&self, progress: &guard::Progress, shown: &Shown) {
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

    /// Makes the plan and prints its findings. `None` if there is nothing to do, which has been said; an error is
    /// the exit code, and has been explained.
    fn make_plan(&self, node: &Node) -> Result<Option<Planned>, u8> {
        let common = &self.common;
        let mut findings = Findings::new(common.allow.iter().copied());
        let mut sources = Sources::default();
        let options = self.options(node, &mut findings)?;
        let read = inputs::read(node, options, &mut findings, &mut sources);
        let inputs = match read {
            Ok(inputs) => inputs,
            Err(error) => {
                self.print_findings(&findings, &sources, None);
                return Err(self.failed_to_read(&error));
            }
        };
        let Some(inputs) = inputs else {
            self.print_findings(&findings, &sources, None);
            return Err(refused(&findings));
        };
        if inputs
            .options
            .from
            .is_some_and(|from| from > inputs.options.to)
        {
            print_error(&format!(
                "error: --from {} is newer than --to {}; name the containerd that comes with --to\n",
                inputs.from, inputs.options.to
            ));
            return Err(exit::USAGE);
        }
        let mut plan = plan::plan(&inputs, &mut findings);
        verify::verify(&inputs, &mut plan, &mut findings);
        let shown = self.print_findings(&findings, &sources, Some(&inputs));
        if findings.refused() {
            return Err(refused(&findings));
        }
        if plan.changes.is_empty() {
            if common.format == Format::Text {
                print(&format!("Nothing to migrate in {}\n", common.config));
            }
            return Ok(None);
        }
        let diff = report::diff::diff(&plan.changes, &shown);
        let digest = if common.show_secrets {
            let masked = Shown::new(false, &sources, Some(&inputs));
            report::diff::digest(&report::diff::diff(&plan.changes, &masked))
        } else {
            report::diff::digest(&diff)
        };
        Ok(Some(Planned {
            inputs,
            plan,
            shown,
            diff,
            digest,
        }))
    }

    fn options(&self, node: &Node, findings: &mut Findings) -> Result<Options, u8> {
        let common = &self.common;
        let installed = || {
            if node.is_host() {
                installed_version()
            } else {
                None
            }
        };
        let from = match common.from.or_else(installed) {
            Some(from) if from < version::OLDEST => {
                print_error(&format!(
                    "error: containerd {from} has no config_path; hosts files exist since {}\n",
                    version::OLDEST
                ));
                return Err(exit::REFUSED);
            }
            from => from.map(|from| newest_known(from, "--from", findings)),
        };
        let to = newest_known(common.to.unwrap_or(version::NEWEST), "--to", findings);
        if !common.config.starts_with('/') {
            print_error("error: --config needs an absolute path, as the node sees it\n");
            return Err(exit::USAGE);
        }
        Ok(Options {
            config: NodePath::new(&common.config),
            certs_directory: common.certs_dir.clone(),
            from,
            to,
            existing: match common.existing {
                ExistingArg::Refuse => Existing::Refuse,
                ExistingArg::Keep => Existing::Keep,
                ExistingArg::Replace => Existing::Replace,
            },
            version_1: match common.v1 {
                Version1Arg::Refuse => Version1::Refuse,
                Version1Arg::Convert => Version1::Convert,
                Version1Arg::Keep => Version1::Keep,
            },
        })
    }

    fn failed_to_read(&self, error: &ReadError) -> u8 {
        let inside = if self.common.root == "/" {
            String::new()
        } else {
            format!(" (inside {})", self.common.root)
        };
        print_error(&format!("error: {error}{inside}\n"));
        exit::FAILED
    }

    fn print_findings(
        &self,
        findings: &Findings,
        sources: &Sources,
        inputs: Option<&Inputs>,
    ) -> Shown {
        let shown = Shown::new(self.common.show_secrets, sources, inputs);
        print_error(&report::findings::render(findings, sources, &shown));
        shown
    }

    fn print_plan(&self, planned: &Planned) {
        match self.common.format {
            Format::Diff => {
                print(&planned.diff.text);
                if planned.diff.masked {
                    print_error(
                        "note: secrets are masked in this diff, so that it is for reading only\n",
                    );
                }
            }
            Format::Text => {
                let report = report::text::render(
                    &planned.inputs,
                    &planned.plan,
                    &planned.diff,
                    &planned.digest,
                );
                let report = planned.shown.filtered(&report);
                print(&color_diff(&report, &planned.diff.text));
            }
        }
    }

    /// The command that writes exactly this plan: every option that was given, and the containerd that was found.
    fn next_command(&self, planned: &Planned) -> String {
        let common = &self.common;
        let mut words = vec!["containerd-registry-migrate".to_owned(), "apply".to_owned()];
        let mut option = |name: &str, value: &str| {
            words.push(name.to_owned());
            words.push(shell::quote(value));
        };
        if common.root != "/" {
            option("--root", &common.root);
        }
        if common.config != "/etc/containerd/config.toml" {
            option("--config", &common.config);
        }
        if let Some(path) = &common.certs_dir {
            option("--certs-dir", path.as_str());
        }
        if planned.inputs.options.from.is_some() {
            option("--from", &planned.inputs.from.to_string());
        }
        if common.to.is_some() {
            option("--to", &planned.inputs.options.to.to_string());
        }
        match common.existing {
            ExistingArg::Refuse => {}
            ExistingArg::Keep => option("--existing", "keep"),
            ExistingArg::Replace => option("--existing", "replace"),
        }
        match common.v1 {
            Version1Arg::Refuse => {}
            Version1Arg::Convert => option("--v1", "convert"),
            Version1Arg::Keep => option("--v1", "keep"),
        }
        for code in &common.allow {
            option("--allow", code.name);
        }
        option("--expect", &planned.digest);
        words.join(" ")
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
        let mut steps = Vec::new();
        if changing.restart {
            text.push_str("Restarted: CRI is up\n");
        } else {
            steps.push(
                "Restart containerd: it reads config.toml only when it starts (systemctl restart containerd)"
                    .to_owned(),
            );
            steps.push("See that CRI is up: crictl info".to_owned());
        }
        steps.push(format!(
            "Pull an image through it: crictl pull {image}/<image>\n     \
             (not with ctr, which does not read these settings)"
        ));
        steps.push(format!(
            "Change whatever renders {} on this node: `mirrors` beside config_path stop CRI at its next restart",
            planned.inputs.options.config
        ));
        text.push_str("\nNext:\n");
        for (number, step) in (1..).zip(steps) {
            text.push_str(&format!("  {number}. {step}\n"));
        }
        text.push_str(&format!(
            "To go back: {}\n",
            apply::rollback_command(&self.common.root, &changing.state_dir, applied.run)
        ));
        text
    }
}

fn count_files(count: usize) -> String {
    format!("{count} {}", if count == 1 { "file" } else { "files" })
}

/// A version newer than the table knows is taken as the newest that it knows.
fn newest_known(version: Version, option: &str, findings: &mut Findings) -> Version {
    if version <= version::NEWEST {
        return version;
    }
    findings.add(
        &finding::VERSION_NEWER_THAN_KNOWN,
        None,
        format!(
            "{option}: containerd {version} is newer than this program, which knows {}",
            version::NEWEST
        ),
        format!(
            "it is taken as {}; look for a newer release of this program",
            version::NEWEST
        ),
    );
    version::NEWEST
}

/// Says how many findings are in the way.
fn refused(findings: &Findings) -> u8 {
    let count = findings
        .sorted()
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let errors = if count == 1 {
        "finding is"
    } else {
        "findings are"
    };
    print_error(&format!(
        "error: refused: {count} {errors} in the way; nothing was written\n"
    ));
    exit::REFUSED
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

/// Colours the lines of the diff inside the report; anstream takes the colours out where they are not wanted.
fn color_diff(report: &str, diff: &str) -> String {
    let Some(start) = report.find(diff).filter(|_| !diff.is_empty()) else {
        return report.to_owned();
    };
    let (before, rest) = report.split_at(start);
    let (diff, after) = rest.split_at(diff.len());
    let mut colored = before.to_owned();
    for line in diff.split_inclusive('\n') {
        let color = match line.as_bytes() {
            [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => "\u{1b}[1m",
            [b'-', ..] => "\u{1b}[31m",
            [b'+', ..] => "\u{1b}[32m",
            [b'@', ..] => "\u{1b}[36m",
            _ => {
                colored.push_str(line);
                continue;
            }
        };
        let content = line.trim_end_matches('\n');
        colored.push_str(color);
        colored.push_str(content);
        colored.push_str("\u{1b}[0m");
        colored.push_str(line.get(content.len()..).unwrap_or_default());
    }
    colored.push_str(after);
    colored
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
