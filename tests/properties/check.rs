//! What must hold of every node.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as DiskPath;
use std::rc::Rc;

use containerd_registry_migrate::containerd::hosts_file::directory::CertsDirectory;
use containerd_registry_migrate::containerd::hosts_file::reader;
use containerd_registry_migrate::containerd::legacy::Legacy;
use containerd_registry_migrate::containerd::release::Version;
use containerd_registry_migrate::finding::{self, Decision, Findings};
use containerd_registry_migrate::node::{self as disk, NodePath};
use containerd_registry_migrate::plan::{self, Decider, FileKind, Plan};
use containerd_registry_migrate::question::{Existing, ExistingAnswers, Version1};
use containerd_registry_migrate::read::locate::{Found, Located};
use containerd_registry_migrate::read::{self, Inputs, Options, Sources};
use containerd_registry_migrate::report::build::Basis;
use containerd_registry_migrate::report::{self, Command};
use containerd_registry_migrate::request::Request;
use containerd_registry_migrate::secret::shown_name;
use containerd_registry_migrate::text::FileText;
use containerd_registry_migrate::verify;

use crate::layout::{Fate, Kind, Line, Written};
use crate::node::{CONFIG, Node, SECRETS, stays_inside};
use crate::tree::{Meaning, Path};

/// How a run ended, as `plan` would exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    NothingToDo,
    Pending,
    Refused,
    NotRead,
}

/// All that `plan` knows and prints.
pub(crate) struct Planned {
    pub(crate) ended: Ended,
    pub(crate) inputs: Option<Inputs>,
    pub(crate) plan: Plan,
    findings: Findings,
    pub(crate) printed: String,
    first_source: String,
}

impl Planned {
    pub(crate) fn of(node: &Node, root: &DiskPath) -> Result<Self, String> {
        Self::with(node, root, node.options.certs_directory)
    }

    fn with(node: &Node, root: &DiskPath, certs_directory: Option<&str>) -> Result<Self, String> {
        let options = &node.options;
        let allowed = finding::ALL
            .iter()
            .copied()
            .filter(|code| options.allows_all && matches!(code.decision, Decision::Allow(_)));
        let allowed: Vec<_> = allowed.collect();
        let mut findings = Findings::new(allowed.iter().copied());
        let mut sources = Sources::default();
        let version = |text: &str| Version::parse(text).unwrap();
        let disk = disk::Node::open(root.to_str().unwrap()).map_err(|error| error.to_string())?;
        let options = Options {
            config: Located {
                path: NodePath::new(CONFIG),
                found: Found::Default,
            },
            certs_directory: certs_directory.map(NodePath::new),
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
            keep_local_pull: false,
            allow: allowed.clone(),
        };
        let request = Request {
            existing: options.existing.clone(),
            inert: options.inert,
            version_1: options.version_1,
            ..Request::default()
        };
        let inputs = match read::read(&disk, options, &mut findings, &mut sources) {
            Ok(inputs) => inputs,
            Err(error) => return Err(format!("not read: {error}")),
        };
        let mut plan = Plan::empty(Rc::new(CertsDirectory::empty(NodePath::new("/"))));
        if let Some(inputs) = &inputs {
            plan = plan::plan(inputs, &mut findings);
            verify::verify(inputs, &mut plan, &mut findings);
        }
        let ended = match (&inputs, findings.refused(), plan.changes.is_empty()) {
            (None, _, _) => Ended::NotRead,
            (_, true, _) => Ended::Refused,
            (_, false, true) => Ended::NothingToDo,
            (_, false, false) => Ended::Pending,
        };
        let basis = Basis {
            config: None,
            command: Command::Plan,
            request: &request,
            inputs: inputs.as_ref(),
            findings: &findings,
            questions: &[],
            sources: &sources,
        };
        let report = match &inputs {
            Some(inputs) => basis.plan(inputs, &plan),
            None => basis.refused(),
        };
        let mut printed = report::findings::render(&report);
        printed.push_str(&report::diff::render(&report));
        printed.push_str(&report::text::render(&report, report::fold::Detail::All));
        printed.push_str(&serde_json::to_string(&report).map_err(|error| error.to_string())?);
        Ok(Self {
            ended,
            inputs,
            plan,
            findings,
            printed,
            first_source: sources
                .iter()
                .next()
                .map(|source| String::from_utf8_lossy(source.content.bytes()).into_owned())
                .unwrap_or_default(),
        })
    }

    pub(crate) fn says(&self, code: &str) -> bool {
        self.findings
            .sorted()
            .iter()
            .any(|finding| finding.code.name == code)
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Checks every property in an empty directory. An error begins with the property's name and a colon.
pub(crate) fn check(node: &Node, root: &DiskPath) -> Result<Ended, String> {
    let written = node.write();
    match Meaning::parse(&written.text) {
        Ok(meaning) if meaning == node.tree.meaning() => {}
        Ok(meaning) => return Err(format!("generator: other meaning: {meaning:?}")),
        Err(error) => return Err(format!("generator: {error}")),
    }
    node.lay_out(root, &written.text);
    let planned = Planned::of(node, root)?;
    let again = Planned::of(node, root)?;
    ensure(planned.printed == again.printed, || {
        format!("same output: {}\n{}", planned.printed, again.printed)
    })?;
    ensure(!planned.says("proof-failed"), || {
        format!("proof: {}", planned.printed)
    })?;
    for secret in SECRETS {
        ensure(!planned.printed.contains(secret), || {
            let line = planned
                .printed
                .lines()
                .find(|line| line.contains(secret))
                .unwrap_or_default();
            format!("secrets: {line}")
        })?;
    }
    if planned.ended == Ended::Refused || planned.ended == Ended::NotRead {
        return Ok(planned.ended);
    }
    // A file without a version is of version 1 to some and is brought up to date by others.
    let unclear = planned
        .inputs
        .as_ref()
        .is_some_and(|inputs| inputs.file_version() == 0);
    if unclear && planned.ended == Ended::Pending && !node.is_pending() {
        return Ok(planned.ended);
    }
    // Settings that would take effect are removed whole; what a node of one file expects does not cover that.
    // Neither does it know of several directories, or of a `registry` in capitals, which 2.x does not find.
    let elsewhere = [
        "version-missing",
        "other-plugin-id",
        "several-config-paths",
        "misspelt-table",
        "inert-section",
    ];
    // The whole section of a version-1 file goes where 2.0 to 2.2, which do not read it, are to be followed: with
    // --inert drop because it is installed, with --inert carry because it is the target.
    let drops_section = node.options.inert.is_some() && planned.says("version-1");
    if drops_section || elsewhere.iter().any(|code| planned.says(code)) {
        return Ok(planned.ended);
    }
    // A version-1 file is converted for 2.0 to 2.2, whatever else there is to do.
    ensure(
        (planned.ended == Ended::Pending) == (node.is_pending() || planned.plan.converts),
        || format!("pending: {:?}", planned.ended),
    )?;
    if planned.ended == Ended::NothingToDo {
        return Ok(planned.ended);
    }
    outcomes(node, &written, &planned)?;
    for change in &planned.plan.changes {
        let path = root.join(change.path.as_str().trim_start_matches('/'));
        // What `apply` refuses: a plan that it can never write, because something is in the way.
        fs::create_dir_all(path.parent().unwrap())
            .map_err(|error| format!("in the way: {}: {error}", change.path))?;
        ensure(!path.is_symlink(), || {
            format!("in the way: {} is a link", change.path)
        })?;
        stays_inside(root, &path);
        let before = fs::read(&path).ok();
        ensure(
            before.as_deref() == change.before.as_ref().map(FileText::bytes),
            || format!("before: {} is not as the plan has it", change.path),
        )?;
        fs::write(path, change.after.bytes()).unwrap();
    }
    let after = fs::read_to_string(root.join(CONFIG)).map_err(|error| error.to_string())?;
    // A conversion gives every plugin another name; `version_1` has tests of that.
    if !planned.plan.converts {
        // Where no hosts file is needed, `config_path` is not, either.
        let edits = planned.plan.edits.iter();
        let sets = edits
            .flat_map(|edit| &edit.steps)
            .any(|step| !step.set.is_empty());
        let mut changes = planned.plan.changes.iter();
        let writes = changes.any(|change| change.kind == FileKind::HostsFile);
        ensure(sets || !writes || node.setting().is_none(), || {
            "config_path: not set beside hosts files".to_owned()
        })?;
        let setting = node.setting().filter(|_| sets);
        meaning(node, setting.as_ref(), &after)?;
        lines(&written, setting, &after)?;
    }
    comments(&written, &planned, &after)?;
    let second = Planned::of(node, root)?;
    ensure(second.ended == Ended::NothingToDo, || {
        format!("second plan: {:?}\n{}", second.ended, second.printed)
    })?;
    // With nothing pending the program does not look where `config_path` points.
    let after = Planned::with(node, root, Some(&node.certs_directory()))?;
    pulls(&planned, &after)?;
    Ok(planned.ended)
}

/// The tree is the old one less what goes, with `config_path`.
fn meaning(node: &Node, setting: Option<&(Path, String)>, after: &str) -> Result<(), String> {
    let mut wanted = node.tree.meaning();
    for path in node.removed() {
        wanted.remove(&path);
    }
    if let Some((path, value)) = setting {
        wanted.set(path, value);
    }
    let found = Meaning::parse(after).map_err(|error| format!("meaning: {error}\n{after}"))?;
    // What keeps the registry's table where nothing is left in it is `config_path` alone.
    let is_same = match setting {
        Some(_) => found == wanted,
        None => found.without_empty() == wanted.without_empty(),
    };
    ensure(is_same, || {
        format!("meaning:\nwanted {wanted:?}\nfound {found:?}")
    })
}

/// Every line that has to stay is there, byte for byte and in order, and nothing is new but `config_path`.
fn lines(written: &Written, setting: Option<(Path, String)>, after: &str) -> Result<(), String> {
    let settings = setting.map(|(path, value)| (path[..path.len() - 1].to_vec(), path, value));
    check_lines(
        &written.lines,
        &written.text,
        after,
        settings.as_ref().map(|(table, path, value)| NewSetting {
            table,
            key: &path[path.len() - 1],
            value,
        }),
    )
}

/// What may be new in a file.
pub(crate) struct NewSetting<'s> {
    pub(crate) table: &'s [String],
    pub(crate) key: &'s str,
    pub(crate) value: &'s str,
}

pub(crate) fn check_lines(
    old: &[Line],
    text: &str,
    after: &str,
    setting: Option<NewSetting<'_>>,
) -> Result<(), String> {
    let bom = |text: &str| text.starts_with('\u{feff}');
    ensure(bom(text) == bom(after), || {
        "lines: the byte order mark".to_owned()
    })?;
    let crlf = text.contains("\r\n");
    let bare = after.replace("\r\n", "").contains('\n');
    ensure(!crlf || !bare, || "lines: mixed line ends".to_owned())?;
    let after = after.trim_start_matches('\u{feff}');
    let new: Vec<&str> = after
        .split('\n')
        .map(|line| {
            if crlf {
                line.strip_suffix('\r').unwrap_or(line)
            } else {
                line
            }
        })
        .collect();
    let mut rest = new.iter();
    for line in old {
        if line.kind == Kind::Code(Fate::Stays) || line.kind == Kind::Detached {
            ensure(rest.any(|new| *new == line.text), || {
                format!("lines: lost, or at another place: {:?}", line.text)
            })?;
        }
    }
    let is_new = |line: &str| {
        setting.as_ref().is_some_and(|setting| {
            let trimmed = line.trim();
            let header = trimmed.starts_with('[')
                && Meaning::parse(trimmed).is_ok_and(|meaning| {
                    let mut meaning = &meaning;
                    setting.table.iter().all(|name| match meaning.get(name) {
                        Some((_, child)) => {
                            meaning = child;
                            true
                        }
                        None => false,
                    })
                });
            let entry = Meaning::parse(trimmed).is_ok_and(|meaning| {
                let mut leaves = Vec::new();
                meaning.leaves(&[], &mut leaves);
                matches!(leaves.as_slice(), [path] if path.last().map(String::as_str) == Some(setting.key))
                    && line.contains(setting.value)
            });
            header || entry
        })
    };
    let mut at = 0;
    for line in &new {
        if line.trim().is_empty() || is_new(line) {
            continue;
        }
        let found = (at..old.len()).find_map(|index| {
            if old[index].text == *line {
                return Some(index + 1);
            }
            // An entry that changes may lose line ends: what is left of it comes from where the last line did, or later.
            let changes = |old: &&Line| old.kind == Kind::Code(Fate::Changes);
            let entry: Vec<&str> = old[index..]
                .iter()
                .take_while(changes)
                .map(|old| old.text.as_str())
                .collect();
            (!entry.is_empty() && is_cut_from(line, &entry.join("\n"), setting.as_ref()))
                .then_some(index)
        });
        at = found.ok_or_else(|| format!("lines: new, or moved: {line:?}"))?;
    }
    Ok(())
}

/// Whether `new` is `old` with some characters less, and with the setting.
fn is_cut_from(new: &str, old: &str, setting: Option<&NewSetting<'_>>) -> bool {
    let is_part = |new: &str| {
        let mut rest = old.chars();
        new.chars().all(|c| rest.any(|old| old == c))
    };
    if is_part(new) {
        return true;
    }
    setting.is_some_and(|setting| {
        let Some((before, after)) = new.split_once(setting.value) else {
            return false;
        };
        // The key may be new as well.
        let Some(before) = before.get(..before.len() - 1) else {
            return false;
        };
        let keyless = before
            .trim_end_matches([' ', '='])
            .strip_suffix(setting.key)
            .unwrap_or(before);
        let after = after.get(1..).unwrap_or_default();
        let after = after.strip_prefix(',').unwrap_or(after);
        // Below a dotted prefix that is repeated.
        let prefixless = keyless
            .rfind(['{', ','])
            .map_or(keyless, |at| &keyless[..=at]);
        is_part(&format!("{before}{after}"))
            || is_part(&format!("{keyless}{}", after.trim_start()))
            || is_part(&format!("{prefixless}{}", after.trim()))
    })
}

/// Every comment is where it was, or in a hosts file, or named.
fn comments(written: &Written, planned: &Planned, after: &str) -> Result<(), String> {
    let hosts: Vec<String> = planned
        .plan
        .changes
        .iter()
        .filter(|change| change.path.name() == "hosts.toml")
        .map(|change| String::from_utf8_lossy(change.after.bytes()).into_owned())
        .collect();
    for text in &hosts {
        for secret in SECRETS {
            ensure(!text.contains(secret), || {
                format!("secrets: in a hosts file: {text}")
            })?;
        }
    }
    let old = &planned.first_source;
    let found = planned.findings.sorted();
    let named = |code: &str| -> Vec<usize> {
        found
            .iter()
            .filter(|finding| finding.code.name == code)
            .filter_map(|finding| finding.place.as_ref())
            .map(|place| place.range.start)
            .collect()
    };
    let (secret, dropped) = (named("secret-comment"), named("comment-dropped"));
    // In file order.
    let mut places: Vec<(usize, &String)> = written
        .comments
        .iter()
        .map(|mark| {
            let at = old.find(mark.as_str()).unwrap();
            (old[..at].rfind('#').unwrap(), mark)
        })
        .collect();
    places.sort();
    let mut is_gone_since: Option<usize> = None;
    for (at, mark) in places {
        let here = after.matches(mark.as_str()).count();
        let there: usize = hosts
            .iter()
            .map(|text| text.matches(mark.as_str()).count())
            .sum();
        ensure(here + there <= 1, || {
            format!("comments: {mark} is there twice")
        })?;
        let at = if old[..at].ends_with('#') { at - 1 } else { at };
        if here == 1 {
            is_gone_since = None;
            continue;
        }
        let first = *is_gone_since.get_or_insert(at);
        // Of an entry's comments the first is named.
        let is_named =
            secret.contains(&at) || dropped.iter().any(|place| (first..=at).contains(place));
        ensure(there == 1 || is_named, || {
            let line = old[at..].lines().next().unwrap_or_default();
            format!("comments: lost: {line}")
        })?;
    }
    Ok(())
}

/// Every leaf has exactly one outcome.
fn outcomes(node: &Node, written: &Written, planned: &Planned) -> Result<(), String> {
    let Some(path) = node.registry_path() else {
        return Err("outcomes: a plan without settings".to_owned());
    };
    let root = Meaning::parse(&written.text)?;
    let mut registry = &root;
    for name in &path {
        registry = registry.get(name).unwrap().1;
    }
    // What each leaf may be called: itself, or something above it.
    let mut leaves: Vec<Vec<String>> = Vec::new();
    for name in ["mirrors", "configs", "auths", "headers"] {
        let Some((key, child)) = registry.get(name) else {
            continue;
        };
        child.leaves(&[key.to_owned()], &mut leaves);
        // An entry that says nothing is a setting, too.
        if let Meaning::Table(entries) = child {
            for (entry, inside) in entries {
                let only = |key: &str, meaning: &Meaning| {
                    matches!(meaning, Meaning::Table(table) if table.is_empty())
                        .then(|| vec![key.to_owned()])
                };
                if name == "mirrors" && inside.get("endpoint").is_none() {
                    leaves.push(vec![key.to_owned(), entry.clone()]);
                }
                if name == "configs"
                    && let Some((tls, inside)) = inside.get("tls")
                    && let Some(_) = only(tls, inside)
                {
                    leaves.push(vec![key.to_owned(), entry.clone(), tls.to_owned()]);
                }
            }
        }
    }
    let mut there = Vec::new();
    names(registry, "registry", &mut there);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in &planned.plan.outcomes {
        let setting = outcome.setting.to_ascii_lowercase();
        *counts.entry(setting).or_default() += 1;
    }
    let mut used: Vec<String> = Vec::new();
    for leaf in &leaves {
        let names: Vec<String> = (1..=leaf.len())
            .map(|depth| {
                let parts: Vec<String> =
                    leaf[..depth].iter().map(|part| shown_name(part)).collect();
                format!("registry.{}", parts.join(".")).to_ascii_lowercase()
            })
            .collect();
        let whole = names.last().unwrap();
        let mut covered: Vec<&String> = names
            .iter()
            .filter(|name| counts.contains_key(*name))
            .collect();
        // An entry without endpoints has an outcome of its own, whatever else is in it.
        if leaf[0].eq_ignore_ascii_case("mirrors") && leaf.len() > 2 {
            covered.retain(|name| **name != names[1]);
        }
        let elements = (0..)
            .map(|index| format!("{whole}[{index}]"))
            .take_while(|name| counts.contains_key(name))
            .collect::<Vec<_>>();
        let of_array = match leaf_array(registry, leaf) {
            Some(length) => !elements.is_empty() && elements.len() == length,
            None => false,
        };
        let times: usize = covered.iter().map(|name| counts[*name]).sum();
        ensure(
            times + usize::from(of_array) == 1 && (of_array || elements.is_empty()),
            || format!("outcomes: {whole} has {covered:?} and {elements:?} of {counts:?}"),
        )?;
        used.extend(covered.into_iter().cloned());
        used.extend(elements);
    }
    for (name, count) in &counts {
        ensure(*count == 1, || {
            format!("outcomes: {name} stands there twice")
        })?;
        ensure(used.contains(name) || there.contains(name), || {
            format!("outcomes: {name} is no setting")
        })?;
    }
    Ok(())
}

/// What everything below is called.
fn names(meaning: &Meaning, above: &str, all: &mut Vec<String>) {
    if let Meaning::Table(table) = meaning {
        for (key, child) in table {
            let name = format!("{above}.{}", shown_name(key));
            names(child, &name, all);
            all.push(name.to_ascii_lowercase());
        }
    }
}

fn leaf_array(registry: &Meaning, leaf: &[String]) -> Option<usize> {
    let mut meaning = registry;
    for name in leaf {
        let Meaning::Table(table) = meaning else {
            return None;
        };
        meaning = table.get(name)?;
    }
    match meaning {
        Meaning::Array(elements) => Some(elements.len()),
        _ => None,
    }
}

/// Names that no generated node mentions, and those that some do.
pub(crate) const ASKED: &[&str] = &[
    "docker.io",
    "quay.io",
    "m.example",
    "m.example:5000",
    "m.example:443",
    "reg.example:80",
    "registry-1.docker.io",
    "REG",
    "192.168.0.4:5500",
    "[fd00::1]",
    "[fd00::1]:5000",
    "gcr.example",
    "other.example:5000",
    "registry.invalid",
    "zz.example",
];

/// What was written gives, read from the disk, the pulls that the settings gave.
fn pulls(planned: &Planned, after: &Planned) -> Result<(), String> {
    let (plan, after_plan) = (&planned.plan, &after.plan);
    let Some(inputs) = &planned.inputs else {
        return Err("pulls: nothing was read".to_owned());
    };
    // Where a version cannot have the same, the operator has accepted that.
    let accepted = [
        "intermediate-version",
        "ipv6-endpoint-not-last",
        "override-path-unsupported",
        "version-1",
        "wildcard-unsupported",
    ];
    if accepted.iter().any(|code| planned.says(code)) {
        return Ok(());
    }
    let legacy = inputs.kept_settings();
    let behaviour = inputs.kept().behaviour;
    let unnamed = planned.plan.namespaces.iter().find(|wanted| wanted.unnamed);
    let unnamed = unnamed.ok_or("pulls: nobody stands for the others")?;
    let mut asked: Vec<(&str, Decider)> = Vec::new();
    for wanted in &planned.plan.namespaces {
        asked.push((&wanted.name, wanted.decider));
    }
    for name in ASKED {
        if asked.iter().all(|(known, _)| known != name) {
            asked.push((name, unnamed.decider));
        }
    }
    for (name, decider) in asked {
        let resolved = legacy.resolve(name, &behaviour, true);
        let settings = if resolved.hosts.is_empty() {
            Legacy::default().resolve(name, &behaviour, true).usable()
        } else {
            resolved.usable()
        };
        for release in inputs
            .releases
            .iter()
            .filter(|release| release.is_verified())
        {
            let behaviour = &release.generation.behaviour;
            let found = reader::pulls(&after_plan.certs, name, behaviour);
            let wanted = match decider {
                Decider::Settings => settings.clone(),
                Decider::HostsFile | Decider::KeptFile => {
                    reader::pulls(&plan.certs, name, behaviour)
                }
                Decider::Nobody => continue,
            };
            ensure(found.same(&wanted), || {
                format!(
                    "pulls: {name} on {}: wanted {wanted}; found {found}",
                    release.generation.versions[0]
                )
            })?;
        }
    }
    Ok(())
}
