//! What was typed, made into options, and one function for each command. The edge of the program: only here is
//! anything printed, and only here does an error become an exit code.

mod arguments;
mod changing;

use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use anstream::ColorChoice;
use clap::Parser;

use crate::apply;
use crate::check;
use crate::containerd::release::{self, Version};
use crate::finding::{self, Findings, Severity};
use crate::node::{Node, NodePath};
use crate::plan::{self, Plan};
use crate::read::{self, Existing, Inputs, Options, ReadError, Sources, Version1};
use crate::report::{self, Shown, diff::Diff};
use crate::shell;
use crate::verify;

use arguments::{CONFIG, Cli, Color, Command, Common, Format};

/// Exit codes, as in the README.
mod exit {
    pub(super) const DONE: u8 = 0;
    pub(super) const PENDING: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const FAILED: u8 = 4;
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
        Command::Check(check) => match check.explain {
            Some(code) => {
                print(&report::explain::render(code));
                exit::DONE
            }
            None => result(Run::new(cli.common).check()),
        },
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

    fn plan(&self) -> Result<u8, u8> {
        let node = self.node()?;
        for run in apply::unfinished(&node, &self.common.state_dir) {
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

    /// Opens the node, whatever the command.
    fn node(&self) -> Result<Node, u8> {
        Node::open(&self.common.root).map_err(|error| {
            print_error(&format!("error: {error}\n"));
            exit::FAILED
        })
    }

    /// Makes the plan and prints its findings. `None` if there is nothing to do, which has been said; an error is
    /// the exit code, and has been explained.
    fn make_plan(&self, node: &Node) -> Result<Option<Planned>, u8> {
        let common = &self.common;
        let mut findings = Findings::new(common.allow.iter().copied());
        let mut sources = Sources::default();
        let inputs = self.read(node, &mut findings, &mut sources)?;
        let mut plan = plan::plan(&inputs, &mut findings);
        verify::verify(&inputs, &mut plan, &mut findings);
        changing::add_obstacles(node, &plan, &mut findings);
        let shown = self.print_findings(&findings, &sources, Some(&inputs));
        if findings.refused() {
            return Err(refused(&findings));
        }
        if plan.changes.is_empty() {
            if common.format == Format::Text {
                let stays = match (common.v1, inputs.file_version()) {
                    (Version1::Convert, ..=1) => {
                        ", and no registry setting in it to convert it for"
                    }
                    _ => "",
                };
                print(&format!("Nothing to migrate in {}{stays}\n", common.config));
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

    /// Says what each containerd makes of the node.
    fn check(&self) -> Result<u8, u8> {
        if self.common.format != Format::Text {
            print_error("error: `check` prints text only; leave --format out\n");
            return Err(exit::USAGE);
        }
        let node = self.node()?;
        let mut findings = Findings::new(self.common.allow.iter().copied());
        let mut sources = Sources::default();
        let inputs = self.read(&node, &mut findings, &mut sources)?;
        let mut plan = plan::plan(&inputs, &mut findings);
        verify::verify(&inputs, &mut plan, &mut findings);
        changing::add_obstacles(&node, &plan, &mut findings);
        let mut check = check::check(&inputs, (!findings.refused()).then_some(&plan), &findings);
        let shown = self.print_findings(&findings, &sources, Some(&inputs));
        // Of what versions do not read alike, no view can be sure.
        let sorted = findings.sorted();
        let doubts = sorted.iter().filter(|found| found.code.doubt);
        check
            .not_ready
            .extend(doubts.map(|found| format!("{}: {}", found.code.name, found.message)));
        print(&report::check::render(&inputs, &check, &shown));
        Ok(if check.not_ready.is_empty() {
            exit::DONE
        } else {
            exit::PENDING
        })
    }

    /// Reads the node; an error is the exit code, and has been explained.
    fn read(
        &self,
        node: &Node,
        findings: &mut Findings,
        sources: &mut Sources,
    ) -> Result<Inputs, u8> {
        let options = self.options(node, findings)?;
        let read = read::read(node, options, findings, sources);
        let inputs = match read {
            Ok(inputs) => inputs,
            Err(error) => {
                self.print_findings(findings, sources, None);
                return Err(self.failed_to_read(&error));
            }
        };
        let Some(inputs) = inputs else {
            self.print_findings(findings, sources, None);
            return Err(refused(findings));
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
        Ok(inputs)
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
            Some(from) if from < release::OLDEST => {
                print_error(&format!(
                    "error: containerd {from} has no config_path; hosts files exist since {}\n",
                    release::OLDEST
                ));
                return Err(exit::REFUSED);
            }
            from => from.map(|from| newest_known(from, "--from", findings)),
        };
        let to = newest_known(common.to.unwrap_or(release::NEWEST), "--to", findings);
        if !common.config.starts_with('/') {
            print_error("error: --config needs an absolute path, as the node sees it\n");
            return Err(exit::USAGE);
        }
        Ok(Options {
            config: NodePath::new(&common.config),
            certs_directory: common.certs_dir.clone(),
            from,
            to,
            existing: common.existing,
            version_1: common.v1,
            keep_local_pull: common.keep_local_pull,
            allow: common.allow.clone(),
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
                        "note: what is secret or not UTF-8 is masked in this diff, so that it is for reading only\n",
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
        if common.config != CONFIG {
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
            Existing::Refuse => {}
            Existing::Keep => option("--existing", "keep"),
            Existing::Replace => option("--existing", "replace"),
        }
        match common.v1 {
            Version1::Refuse => {}
            Version1::Convert => option("--v1", "convert"),
            Version1::Keep => option("--v1", "keep"),
        }
        if common.keep_local_pull {
            words.push("--keep-local-pull".to_owned());
        }
        let mut option = |name: &str, value: &str| {
            words.push(name.to_owned());
            words.push(shell::quote(value));
        };
        if common.state_dir.as_str() != apply::STATE_DIR {
            option("--state-dir", common.state_dir.as_str());
        }
        for code in &common.allow {
            option("--allow", code.name);
        }
        option("--expect", &planned.digest);
        words.join(" ")
    }
}

/// A version newer than the table knows is taken as the newest that it knows.
fn newest_known(version: Version, option: &str, findings: &mut Findings) -> Version {
    let known = version.newest_known();
    if version <= known {
        return version;
    }
    findings.add(
        &finding::VERSION_NEWER_THAN_KNOWN,
        None,
        format!("{option}: containerd {version} is newer than this program, which knows {known}"),
        format!("it is taken as {known}; look for a newer release of this program"),
    );
    known
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
