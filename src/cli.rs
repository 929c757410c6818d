//! What was typed, made into options, and one function for each command. The edge of the program: only here is
//! anything printed, and only here does an error become an exit code.

use std::io::{IsTerminal, Write};

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::apply::{self, interrupt::Interrupt};
use crate::finding::{self, Code, Decision, Findings, Severity};
use crate::inputs::{self, Existing, Inputs, Options, ReadError, Sources, Version1};
use crate::node::{Node, NodePath};
use crate::plan::{self, Plan};
use crate::report::{self, Shown, diff::Diff};
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
Exit codes: 0 nothing to do, or applied; 1 changes are pending, or answered no; 2 usage error;
3 refused, something needs a decision; 4 failed, the node is as it was; 5 failed, and it is not";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what would change; write nothing (the default)
    Plan,
    /// Show the same, ask, then write it
    Apply(Apply),
}

#[derive(Debug, Args)]
struct Apply {
    /// Write without asking
    #[arg(long)]
    yes: bool,
    /// Write without asking, if the plan has this digest
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
    expect: Option<String>,
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
        Command::Plan => Run::new(cli.common).plan(),
        Command::Apply(apply) => Run::new(cli.common).apply(&apply),
    }
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
    node: Node,
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

    fn plan(&self) -> u8 {
        match self.make_plan() {
            Err(code) => code,
            Ok(None) => exit::DONE,
            Ok(Some(planned)) => {
                self.print_plan(&planned);
                if self.common.format == Format::Text {
                    print(&format!("Next: {}\n", self.next_command(&planned)));
                }
                exit::PENDING
            }
        }
    }

    fn apply(&self, apply: &Apply) -> u8 {
        let planned = match self.make_plan() {
            Err(code) => return code,
            Ok(None) => return exit::DONE,
            Ok(Some(planned)) => planned,
        };
        self.print_plan(&planned);
        if let Some(expected) = &apply.expect {
            if *expected != planned.digest {
                print_error(&format!(
                    "error: this is not the plan that was reviewed: its digest is {}, not {expected}; \
                     nothing was written\n",
                    planned.digest
                ));
                return exit::REFUSED;
            }
        } else if !apply.yes {
            if !std::io::stdin().is_terminal() {
                print_error(
                    "error: there is no terminal to ask on: pass --yes, or --expect with the digest of the plan that \
                     was reviewed; nothing was written\n",
                );
                return exit::USAGE;
            }
            if !ask() {
                print_error("nothing was written\n");
                return exit::PENDING;
            }
        }
        match apply::apply(&planned.node, &planned.plan.changes, &Interrupt::default()) {
            Ok(applied) => {
                print(&self.applied(&planned, applied.files.len()));
                exit::DONE
            }
            Err(error) => {
                let message = format!("error: {error}\n");
                print_error(&planned.shown.filtered(&message));
                error.exit_code()
            }
        }
    }

    /// Makes the plan and prints its findings. `None` if there is nothing to do, which has been said; an error is
    /// the exit code, and has been explained.
    fn make_plan(&self) -> Result<Option<Planned>, u8> {
        let common = &self.common;
        let mut findings = Findings::new(common.allow.iter().copied());
        let mut sources = Sources::default();
        let node = Node::open(&common.root).map_err(|error| {
            print_error(&format!("error: {error}\n"));
            exit::FAILED
        })?;
        let options = self.options(&node, &mut findings)?;
        let read = inputs::read(&node, options, &mut findings, &mut sources);
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
        if inputs.from > inputs.options.to {
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
            node,
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
            words.push(shell_quote(value));
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
        if common.v1 == Version1Arg::Keep {
            option("--v1", "keep");
        }
        for code in &common.allow {
            option("--allow", code.name);
        }
        option("--expect", &planned.digest);
        words.join(" ")
    }

    fn applied(&self, planned: &Planned, files: usize) -> String {
        let mut text = format!(
            "Written: {files} {}\n",
            if files == 1 { "file" } else { "files" }
        );
        let image = planned
            .plan
            .namespaces
            .iter()
            .find(|namespace| namespace.mirror.is_some() && !namespace.unnamed)
            .map_or("docker.io", |namespace| namespace.name.as_str());
        text.push_str(&format!(
            "\
Next:
  1. Restart containerd: it reads config.toml only when it starts (systemctl restart containerd)
  2. See that CRI is up: crictl info
  3. Pull an image through it: crictl pull {image}/<image>
     (not with ctr, which does not read these settings)
  4. Change whatever renders {} on this node: `mirrors` beside config_path stop CRI at its next restart
",
            planned.inputs.options.config
        ));
        text
    }
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

fn ask() -> bool {
    print_error("Write these changes? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// The version of the containerd that is installed on this machine, if it says.
fn installed_version() -> Option<Version> {
    let output = std::process::Command::new("containerd")
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `containerd github.com/containerd/containerd v1.7.24 <revision>`
    text.split_whitespace().skip(2).find_map(Version::parse)
}

/// Quotes a word for a POSIX shell where it needs it.
fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
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

    #[test]
    fn words_are_quoted_for_the_shell_only_where_needed() {
        assert_eq!(shell_quote("/a/b:c"), "/a/b:c");
        assert_eq!(shell_quote("a b'c"), "'a b'\\''c'");
        assert_eq!(shell_quote(""), "''");
    }
}
