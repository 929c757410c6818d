//! The commands that only read, from the node to the report. Nothing here prints: the command line does, and tests look
//! at the data.

use crate::apply::{Run, WayBack};
use crate::ask::{self, Open};
use crate::check;
use crate::containerd::reference::ImageReference;
use crate::containerd::release::Version;
use crate::finding::{self, Findings};
use crate::images;
use crate::node::Node;
use crate::plan::Plan;
use crate::read::locate::{Located, locate};
use crate::read::{self, Inputs, Options, ReadError, Sources};
use crate::report::build::Basis;
use crate::report::{Command, Report, Shown};
use crate::request::Request;

#[cfg(test)]
mod growth;

/// A plan and what is said of it.
pub struct Migration {
    /// What is said.
    pub report: Report,
    /// What was read, and what is to be done; `None` if the configuration is not understood.
    pub plan: Option<(Inputs, Plan)>,
}

/// The node could not be read.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub error: ReadError,
    /// What was found before.
    pub report: Box<Report>,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for Unread {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// Plans the migration and proves the plan. `command` is for whom: `plan` or `apply`.
pub fn plan(node: &Node, command: Command, request: &Request) -> Result<Migration, Unread> {
    let mut material = Material::read(node, command, request)?;
    let plan = material.plan(node);
    let basis = material.basis();
    let report = match (&material.inputs, &plan) {
        (Some(inputs), Some(plan)) => basis.plan(inputs, plan),
        _ => basis.refused(),
    };
    Ok(Migration {
        report,
        plan: material.inputs.zip(plan),
    })
}

/// Compares the node as it is on `--from` and on every target, and looks at it with the eyes of every known release.
pub fn check(node: &Node, request: &Request) -> Result<Report, Unread> {
    let mut material = Material::read(node, Command::Check, request)?;
    let plan = material.plan(node);
    let Some(inputs) = &material.inputs else {
        return Ok(material.basis().refused());
    };
    let plan = plan.filter(|_| !material.findings.refused());
    let is_pending = plan.as_ref().is_some_and(|plan| !plan.changes.is_empty());
    let check = check::check(inputs, plan.as_ref(), &mut material.findings);
    Ok(material.basis().check(check, is_pending))
}

/// Looks for the hosts that containerd tries for images, each given by its name. `all_releases` is every known release, and
/// not just `--from` and the targets.
pub fn hosts(
    node: &Node,
    request: &Request,
    names: &[(String, ImageReference)],
    all_releases: bool,
) -> Result<Report, Unread> {
    let mut material = Material::read(node, Command::Hosts, request)?;
    let plan = material.plan(node);
    let basis = material.basis();
    let Some(inputs) = &material.inputs else {
        return Ok(basis.refused());
    };
    let plan = plan.filter(|_| !material.findings.refused());
    let (names, references): (Vec<String>, Vec<ImageReference>) = names.iter().cloned().unzip();
    let images = images::images(inputs, plan.as_ref(), &references, all_releases);
    Ok(basis.hosts(&names, &images))
}

/// What a rollback of a run would change back, and what each containerd that may read the files then makes of that: the
/// installed one, and `--from`.
pub fn way_back(
    request: &Request,
    installed: &[Version],
    run: &Run,
    files: &[WayBack],
    restarts: bool,
    shown: &Shown,
) -> Report {
    let mut findings = Findings::new(request.allow.iter().copied());
    let mut notes = Vec::new();
    for installed in installed {
        match other_reading(request, run, files, *installed) {
            Ok(None) => {}
            Ok(Some((from, differences))) => findings.add(
                &finding::ROLLBACK_AFTER_UPGRADE,
                None,
                format!(
                    "with the files from before run {}, containerd {installed} does not do what containerd {from} did: {}",
                    run.run,
                    some_of(&differences)
                ),
                format!(
                    "install containerd {from} first, or accept it with --allow {}",
                    finding::ROLLBACK_AFTER_UPGRADE.name
                ),
            ),
            Err(error) => notes.push(format!(
                "note: what containerd {installed} makes of the old files is not known: {error}"
            )),
        }
    }
    let basis = Basis {
        command: Command::Rollback,
        request,
        config: None,
        inputs: None,
        findings: &findings,
        questions: &[],
        sources: &Sources::default(),
    };
    let mut report = basis.way_back(run, installed, files, restarts, shown);
    report.notes = notes;
    report
}

/// What is said in one line; what is beyond it is counted.
fn some_of(differences: &[String]) -> String {
    const LISTED: usize = 3;
    let mut text = differences
        .iter()
        .take(LISTED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    if let Some(more @ 1..) = differences.len().checked_sub(LISTED) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// What the installed containerd does with the files from before a run that the one that they were written for does not,
/// and which one that is.
fn other_reading(
    request: &Request,
    run: &Run,
    files: &[WayBack],
    installed: Version,
) -> Result<Option<(Version, Vec<String>)>, ReadError> {
    let files = files
        .iter()
        .map(|file| (file.path.clone(), file.old.clone()));
    let made = run.directories.iter().map(|path| (path.clone(), None));
    let node = Node::open(&request.root)?.with(files.chain(made).collect());
    let given = run.origin.as_ref().map(|origin| &origin.config);
    let config = locate(&node, request.config.as_ref().or(given))?;
    let from = run.origin.as_ref().map(|origin| origin.from);
    // Which of the two is newer does not matter to a comparison.
    let (from, to) = match from {
        Some(from) if from > installed => (Some(installed), from),
        from => (from, installed),
    };
    let request = Request {
        from,
        to: Some(to),
        ..Request::default()
    };
    let mut findings = Findings::default();
    let options = options(&request, config, &mut findings);
    let inputs = read::read(&node, options, &mut findings, &mut Sources::default())?;
    let Some(inputs) = inputs else {
        return Ok(None);
    };
    let differences = check::differences(&inputs);
    let from = run
        .origin
        .as_ref()
        .map_or(inputs.from, |origin| origin.from);
    Ok((!differences.is_empty()).then_some((from, differences)))
}

/// What was read and found.
struct Material<'r> {
    command: Command,
    request: &'r Request,
    /// The config.toml, once someone has looked for it.
    config: Option<Located>,
    inputs: Option<Inputs>,
    findings: Findings,
    questions: Vec<Open>,
    sources: Sources,
}

impl<'r> Material<'r> {
    fn read(node: &Node, command: Command, request: &'r Request) -> Result<Self, Unread> {
        let mut material = Self {
            command,
            request,
            config: None,
            inputs: None,
            findings: Findings::new(request.allow.iter().copied()),
            questions: Vec::new(),
            sources: Sources::default(),
        };
        match material.read_node(node) {
            Ok(()) => Ok(material),
            Err(error) => {
                let report = material.basis().failed(&error);
                Err(Unread {
                    error,
                    report: Box::new(report),
                })
            }
        }
    }

    fn read_node(&mut self, node: &Node) -> Result<(), ReadError> {
        let config = locate(node, self.request.config.as_ref())?;
        let config = self.config.insert(config).clone();
        let options = options(self.request, config, &mut self.findings);
        self.inputs = read::read(node, options, &mut self.findings, &mut self.sources)?;
        Ok(())
    }

    /// Makes a plan, verifies it, and looks at what would keep it from being written. What is open is tried.
    fn plan(&mut self, node: &Node) -> Option<Plan> {
        let inputs = self.inputs.as_mut()?;
        let settled = ask::settle(node, inputs, &self.findings);
        self.findings = settled.findings;
        self.questions = settled.questions;
        Some(settled.plan)
    }

    fn basis(&self) -> Basis<'_> {
        Basis {
            command: self.command,
            request: self.request,
            config: self.config.as_ref(),
            inputs: self.inputs.as_ref(),
            findings: &self.findings,
            questions: &self.questions,
            sources: &self.sources,
        }
    }
}

/// What is read, and for which containerd: releases count as the table knows them.
fn options(request: &Request, config: Located, findings: &mut Findings) -> Options {
    let mut known =
        |version: Option<Version>, option| version.map(|version| known(version, option, findings));
    Options {
        config,
        certs_directory: request.certs_directory.clone(),
        from: known(request.from, "--from"),
        to: known(request.to, "--to"),
        existing: request.existing.clone(),
        inert: request.inert,
        version_1: request.version_1,
        keep_local_pull: request.keep_local_pull,
        allow: request.allow.clone(),
    }
}

/// The release as the table knows it. That a patch of a known line is newer than the table is not said: it changes nothing
/// that the table has, or a release of this program follows.
fn known(version: Version, option: &str, findings: &mut Findings) -> Version {
    let known = version.known();
    if !version.is_of_known_line() {
        findings.add(
            &finding::VERSION_NEWER_THAN_KNOWN,
            None,
            format!(
                "{option}: this program does not know the release line {}; it takes containerd {version} for {known}",
                version.line()
            ),
            "look for a newer release of this program",
        );
    }
    known
}
