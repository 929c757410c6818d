//! `check` says ready only where that is so: no error beside it, and the same pulls on `--from` and on every target.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path as DiskPath;
use std::rc::Rc;

use containerd_registry_migrate::commands;
use containerd_registry_migrate::containerd::legacy::unmatchable;
use containerd_registry_migrate::containerd::loader::Startup;
use containerd_registry_migrate::containerd::release::{Behaviour, Version};
use containerd_registry_migrate::containerd::sight::Sight;
use containerd_registry_migrate::finding::{self, Decision, Findings, Severity};
use containerd_registry_migrate::node::{self as disk, NodePath};
use containerd_registry_migrate::question::{Existing, ExistingAnswers, Version1};
use containerd_registry_migrate::read::locate::{Found, Located};
use containerd_registry_migrate::read::{self, Inputs, Options, Sources};
use containerd_registry_migrate::report::{Outcome, Report};
use containerd_registry_migrate::request::Request;

use crate::check::ASKED;
use crate::node::{CONFIG, Node};

/// A random node of one file or, for every third seed, of three.
pub(crate) fn check(seed: u64, root: &DiskPath) -> Result<Outcome, String> {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    fs::create_dir_all(root).unwrap();
    let node = Node::of(seed);
    let main = node.write().text;
    if seed.is_multiple_of(3) {
        let imports = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
        let main = main.trim_start_matches('\u{feff}');
        node.lay_out(root, &format!("{imports}{main}"));
        let directory = root.join("etc/containerd/conf.d");
        fs::create_dir_all(&directory).unwrap();
        for (number, name) in (1..).zip(["10-one.toml", "20-two.toml"]) {
            let other = Node::of(seed * 7 + 100_003 * number);
            fs::write(directory.join(name), other.write().text).unwrap();
        }
    } else {
        node.lay_out(root, &main);
    }
    let request = request(&node);
    let disk = disk::Node::open(root.to_str().unwrap()).map_err(|error| error.to_string())?;
    let report = match commands::check(&disk, &request) {
        Ok(report) => report,
        Err(unread) => return Ok(unread.report.outcome),
    };
    let mut errors = report.findings.iter();
    let error = errors.find(|finding| finding.severity == Severity::Error);
    match (report.outcome, error) {
        (Outcome::Ready, Some(error)) => {
            return Err(format!("ready beside error[{}]", error.code.name));
        }
        (Outcome::Ready, None) if report.exit_code != 0 || !report.not_ready.is_empty() => {
            return Err(format!("ready: {:?}", report.not_ready));
        }
        (Outcome::NotReady, _) if report.exit_code != 1 || report.not_ready.is_empty() => {
            return Err("not ready, without a reason".to_owned());
        }
        _ => {}
    }
    if let Some(inputs) = inputs(&disk, &request) {
        targets_pull_alike(&inputs, &report)?;
    }
    Ok(report.outcome)
}

fn request(node: &Node) -> Request {
    let options = &node.options;
    let version = |text: &str| Version::parse(text).unwrap();
    let allow = |code: &&'static finding::Code| matches!(code.decision, Decision::Allow(_));
    Request {
        config: Some(NodePath::new(CONFIG)),
        certs_directory: options.certs_directory.map(NodePath::new),
        from: options.from.map(version),
        to: options.to.map(version),
        existing: match options.existing {
            "keep" => Existing::Keep.into(),
            "replace" => Existing::Replace.into(),
            _ => ExistingAnswers::default(),
        },
        inert: options.inert,
        version_1: if options.keeps_version_1 {
            Version1::Keep
        } else {
            Version1::Auto
        },
        allow: match options.allows_all {
            true => finding::ALL.iter().copied().filter(allow).collect(),
            false => Vec::new(),
        },
        ..Request::default()
    }
}

/// The node, read once more, without what `check` makes of it.
fn inputs(node: &disk::Node, request: &Request) -> Option<Inputs> {
    let options = Options {
        config: Located {
            path: NodePath::new(CONFIG),
            found: Found::Given,
        },
        certs_directory: request.certs_directory.clone(),
        from: request.from,
        to: request.to,
        existing: request.existing.clone(),
        inert: request.inert,
        version_1: request.version_1,
        keep_local_pull: false,
        allow: request.allow.clone(),
    };
    read::read(
        node,
        options,
        &mut Findings::default(),
        &mut Sources::default(),
    )
    .unwrap()
}

/// Every release that `check` calls good does with the files as they are what `--from` does, and if it says ready these
/// are all targets.
fn targets_pull_alike(inputs: &Inputs, report: &Report) -> Result<(), String> {
    if report.outcome == Outcome::Ready && report.ready_for != report.versions.targets() {
        return Err(format!("ready for {:?} alone", report.ready_for));
    }
    let sight =
        |version: Version| -> Rc<Sight> { inputs.snapshot.seen_by(&Behaviour::of(version)) };
    let from = sight(inputs.from);
    let loads = |sight: &Sight| match sight.startup(false) {
        Startup::Loads => Some(true),
        Startup::CriDisabled(_) => Some(false),
        Startup::CriFails(_) | Startup::DoesNotStart(_) => None,
    };
    let names = names(inputs);
    for version in &report.ready_for {
        let target = sight(*version);
        let (ours, theirs) = (loads(&from), loads(&target));
        if ours.is_none() || ours != theirs {
            return Err(format!(
                "{version}: {:?}, {:?}",
                from.startup(false),
                target.startup(false)
            ));
        }
        if ours == Some(false) {
            continue;
        }
        for name in &names {
            let (today, then) = (from.pulls(name), target.pulls(name));
            if !today.same(&then) {
                return Err(format!("{name} on {version}: {today}, then {then}"));
            }
            if from.credentials_of(&today) != target.credentials_of(&today) {
                return Err(format!("{name} on {version}: other credentials"));
            }
        }
        if from.headers() != target.headers() {
            return Err(format!("other headers on {version}"));
        }
    }
    Ok(())
}

/// Every name that a file or a directory of the node has, and some that none has; none of localhost, where the default of
/// a registry that nothing names is not compared.
fn names(inputs: &Inputs) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ASKED.iter().map(|name| (*name).to_owned()).collect();
    for generation in &inputs.releases {
        let mirrors = generation.sight.registry().mirrors.iter();
        names.extend(mirrors.map(|mirror| mirror.name.value.clone()));
    }
    for directory in inputs.snapshot.certs().values() {
        names.extend(directory.namespaces());
    }
    let is_named = |name: &String| {
        let is_local = name.starts_with("localhost") || name.starts_with("127.");
        !is_local && unmatchable(name).is_none()
    };
    names.into_iter().filter(is_named).collect()
}
