//! The proof: the planned files are read back, and must give what is wanted on every containerd on the way.
//!
//! Nothing of the plan is believed here but its bytes. Where something differs the plan is refused, with both lists;
//! a difference that a version makes inevitable has a code of its own, which an operator can accept.

use std::collections::BTreeMap;

use toml_edit::{Document, Item, TableLike, Value};

use crate::config::ConfigFile;
use crate::config::dialect::{self, GoToml};
use crate::config::legacy;
use crate::finding::{self, Code, Decision, Findings};
use crate::hosts::directory::CertsDirectory;
use crate::hosts::{Host, Pulls, reader};
use crate::inputs::{Inputs, Version1};
use crate::plan::{Decider, Plan, Wanted};
use crate::resolve::Legacy;
use crate::version::{Generation, TomlReader, Version, generations, ranges};

/// Proves `plan`, or adds what is in its way to `findings`. Accepted differences are noted in the plan's table.
pub fn verify(inputs: &Inputs, plan: &mut Plan, findings: &mut Findings) {
    let (Some(config), Some(registry)) = (inputs.files.last(), &inputs.registry) else {
        return;
    };
    if plan.changes.is_empty() || findings.refused() {
        // A refused plan is not written, and its other differences would only hide the reason.
        return;
    }
    if let Err(reason) = config_is_right(inputs, config, plan) {
        findings.add(
            &finding::PROOF_FAILED,
            config.place(0..0),
            format!("the edited config.toml is not what it should be: {reason}"),
            "nothing is written; report this as a bug, with the file",
        );
    }
    let legacy = Legacy::new(Some(registry));
    let generations = generations(inputs.from, inputs.options.to);
    text_is_read(config, plan, &generations, findings);
    // The tree is made of what is there and of the bytes to write at their real paths, links and all.
    let mut certs = inputs.certs.clone();
    for change in &plan.changes {
        certs.write(&change.path, &change.after);
    }
    let certs = &certs;
    for wanted in &mut plan.namespaces {
        let from_settings = from_settings(inputs, &legacy, wanted);
        let mut differences: Vec<Difference> = Vec::new();
        for generation in &generations {
            let behaviour = &generation.behaviour;
            let lost = registry.version == 1 && behaviour.loses_version_1;
            let planned = if lost {
                Legacy::new(None)
                    .resolve(&wanted.name, behaviour, false)
                    .pulls()
            } else {
                reader::pulls(certs, &wanted.name, behaviour)
            };
            // A file that is kept is for each version what it was.
            let expected = match wanted.decider {
                Decider::Settings => from_settings.clone(),
                Decider::HostsFile => reader::pulls(&inputs.certs, &wanted.name, behaviour),
            };
            if planned.same(&expected) {
                continue;
            }
            let cause = if lost {
                Some(&finding::VERSION_1)
            } else {
                cause(generation, &expected, certs, &wanted.name)
            };
            let code = judge(inputs, wanted, generation, cause, findings);
            let planned = planned.to_string();
            match differences
                .iter_mut()
                .find(|d| d.code == code && d.planned == planned)
            {
                Some(difference) => difference.versions.extend(&generation.versions),
                None => differences.push(Difference {
                    code,
                    versions: generation.versions.clone(),
                    expected: expected.to_string(),
                    planned,
                }),
            }
        }
        for difference in differences {
            difference.report(inputs, wanted, findings);
        }
    }
}

/// Every containerd on the way must be able to read the planned text. Where it cannot read the old one either, that is
/// for an operator to decide; where it could, the edit is wrong.
fn text_is_read(
    config: &ConfigFile,
    plan: &Plan,
    generations: &[Generation],
    findings: &mut Findings,
) {
    let Some(after) = plan.config.as_deref() else {
        return;
    };
    let mut readers: BTreeMap<GoToml, Vec<Version>> = BTreeMap::new();
    for generation in generations {
        let versions = readers.entry(generation.behaviour.go_toml).or_default();
        versions.extend(&generation.versions);
    }
    // Readers that stop at the same place for the same reason are one finding.
    let mut refusals: Vec<(dialect::Refusal, Vec<Version>)> = Vec::new();
    for (reader, versions) in readers {
        let Some(refusal) = dialect::refusal(after.as_bytes(), reader) else {
            continue;
        };
        let Some(old) = dialect::refusal(config.text.as_bytes(), reader) else {
            findings.add(
                &finding::PROOF_FAILED,
                config.place(0..0),
                format!(
                    "containerd {} reads the old config.toml but not the edited one: {}",
                    ranges(versions),
                    refusal.reason
                ),
                "nothing is written; report this as a bug, with the file",
            );
            continue;
        };
        match refusals.iter_mut().find(|(other, _)| *other == old) {
            Some((_, all)) => all.extend(versions),
            None => refusals.push((old, versions)),
        }
    }
    for (refusal, versions) in refusals {
        let versions = ranges(versions);
        if after.starts_with('\u{feff}') && refusal.range.start == 0 {
            findings.add(
                &finding::BYTE_ORDER_MARK,
                config.place(0..'\u{feff}'.len_utf8()),
                format!("the file begins with a byte order mark, with which containerd {versions} does not start"),
                "take the mark out before the upgrade (`sed -i '1s/^\\xef\\xbb\\xbf//'`)",
            );
        } else {
            findings.add(
                &finding::TOML_DIALECT,
                config.place(refusal.range),
                format!("containerd {versions} does not start with this file: {}", refusal.reason),
                "write it in a way that every containerd reads, or --allow toml-dialect if those versions never run here",
            );
        }
    }
}

/// What some versions would do instead of what is wanted.
struct Difference {
    code: &'static Code,
    versions: Vec<Version>,
    expected: String,
    planned: String,
}

impl Difference {
    fn report(self, inputs: &Inputs, wanted: &Wanted, findings: &mut Findings) {
        if self.code == &finding::VERSION_1 {
            // Said once for the whole file.
            return;
        }
        let name = if wanted.unnamed {
            "a registry that nobody named".to_owned()
        } else {
            format!("`{}`", wanted.name)
        };
        let help = match self.code.decision {
            Decision::Allow(effect) => format!("--allow {} {effect}", self.code.name),
            Decision::Option(help) => help.to_owned(),
            Decision::HandEdit if self.code == &finding::LINKED_HOSTS_FILE => {
                "make files of their own of the links in the certs directory".to_owned()
            }
            Decision::HandEdit => "report this as a bug, with the file".to_owned(),
        };
        let mut message = format!(
            "containerd {} would not pull from {name} as {} does: wanted {}; it would be {}",
            ranges(self.versions),
            inputs.from,
            self.expected,
            self.planned
        );
        if wanted.unnamed {
            message = message.replace(&wanted.name, "<registry>");
        }
        findings.add(self.code, None, message, help);
    }
}

/// What the settings give the namespace, computed anew.
fn from_settings(inputs: &Inputs, legacy: &Legacy<'_>, wanted: &Wanted) -> Pulls {
    let behaviour = inputs.behaviour();
    let resolved = legacy.resolve(&wanted.name, &behaviour, true);
    if resolved.hosts.is_empty() {
        return Legacy::new(None)
            .resolve(&wanted.name, &behaviour, true)
            .pulls();
    }
    resolved.usable()
}

/// What makes the difference, if it is something that is known to.
fn cause(
    generation: &Generation,
    expected: &Pulls,
    certs: &CertsDirectory,
    namespace: &str,
) -> Option<&'static Code> {
    let directory = certs.lookup(namespace, &generation.behaviour);
    if directory.is_some_and(|name| certs.is_shared(&name)) {
        return Some(&finding::LINKED_HOSTS_FILE);
    }
    let Pulls::Hosts(hosts) = expected else {
        return None;
    };
    let behaviour = &generation.behaviour;
    let tables = hosts
        .split_last()
        .map_or(&[] as &[Host], |(_, tables)| tables);
    if !behaviour.default_directory && certs.own(namespace).is_none() {
        Some(&finding::WILDCARD_UNSUPPORTED)
    } else if !behaviour.override_path && hosts.iter().any(|host| !host.path.ends_with("/v2")) {
        Some(&finding::OVERRIDE_PATH_UNSUPPORTED)
    } else if behaviour.toml == TomlReader::One && tables.iter().any(|host| host.host.contains('['))
    {
        Some(&finding::IPV6_ENDPOINT_NOT_LAST)
    } else {
        None
    }
}

/// Which finding a difference is, and whether the pull table shows it.
fn judge(
    inputs: &Inputs,
    wanted: &mut Wanted,
    generation: &Generation,
    cause: Option<&'static Code>,
    findings: &Findings,
) -> &'static Code {
    let ends = [inputs.from, inputs.options.to];
    let strictly_between = !ends.iter().any(|end| generation.versions.contains(end));
    let accepted = cause.is_some_and(|cause| {
        findings.allows(cause)
            || cause == &finding::VERSION_1 && inputs.options.version_1 == Version1::Keep
    });
    let code = match cause {
        Some(cause) if accepted || !strictly_between || cause == &finding::LINKED_HOSTS_FILE => {
            cause
        }
        _ if strictly_between => &finding::INTERMEDIATE_VERSION,
        _ => &finding::PROOF_FAILED,
    };
    if !strictly_between {
        wanted.changed.get_or_insert(code);
    }
    code
}

/// Reads the edited config.toml with toml_edit's own parser: it must be the old tree less what was removed, with
/// `config_path` set; and with the model's reader: no legacy settings may be left.
fn config_is_right(inputs: &Inputs, config: &ConfigFile, plan: &Plan) -> Result<(), String> {
    let Some(after) = plan.config.as_deref() else {
        return Err("there is none".to_owned());
    };
    let registry = inputs
        .registry
        .as_ref()
        .ok_or("it has no registry settings")?;
    let parse = |text| Document::parse(text).map_err(|error| error.message().to_owned());
    let mut wanted = Tree::of(parse(config.text.as_str())?.as_table());
    for path in &plan.removed {
        wanted.remove(path);
    }
    let set = inputs.certs.path.as_str();
    let keeps = registry
        .config_path
        .as_ref()
        .is_some_and(|path| path.value.starts_with('/'));
    if !keeps {
        let path: Vec<String> = registry
            .table
            .iter()
            .chain([&registry.config_path_key])
            .cloned()
            .collect();
        wanted.set(&path, format!("string {set}"));
    }
    if Tree::of(parse(after)?.as_table()) != wanted {
        return Err("more or less has changed than was meant to".to_owned());
    }
    let mut scratch = Findings::default();
    let bytes = after.as_bytes().to_vec();
    let parsed = ConfigFile::parse(
        config.id,
        config.path.clone(),
        config.real.clone(),
        bytes,
        &mut scratch,
    );
    let readers = [TomlReader::One, TomlReader::Two];
    let again = parsed.and_then(|parsed| legacy::read(&parsed, &readers, &mut scratch));
    match again {
        Some(again) if again.pending() => Err("legacy settings are left".to_owned()),
        Some(again) if again.config_paths().len() != 1 => {
            Err("`config_path` is not one directory".to_owned())
        }
        Some(_) => Ok(()),
        None => Err("the registry section is gone".to_owned()),
    }
}

/// What a TOML text means, without its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tree {
    Table(BTreeMap<String, Tree>),
    Array(Vec<Tree>),
    Scalar(String),
}

impl Tree {
    fn of(table: &dyn TableLike) -> Self {
        Self::Table(
            table
                .iter()
                .map(|(name, item)| (name.to_owned(), Self::of_item(item)))
                .collect(),
        )
    }

    fn of_item(item: &Item) -> Self {
        match item {
            Item::None => Self::Scalar(String::new()),
            Item::Value(value) => Self::of_value(value),
            Item::Table(table) => Self::of(table),
            Item::ArrayOfTables(tables) => {
                Self::Array(tables.iter().map(|table| Self::of(table)).collect())
            }
        }
    }

    fn of_value(value: &Value) -> Self {
        Self::Scalar(match value {
            Value::String(text) => format!("string {}", text.value()),
            Value::Integer(number) => format!("integer {}", number.value()),
            Value::Float(number) => format!("float {}", number.value()),
            Value::Boolean(truth) => format!("boolean {}", truth.value()),
            Value::Datetime(time) => format!("time {}", time.value()),
            Value::Array(array) => return Self::Array(array.iter().map(Self::of_value).collect()),
            Value::InlineTable(table) => return Self::of(table),
        })
    }

    fn remove(&mut self, path: &[String]) {
        let Self::Table(table) = self else { return };
        match path {
            [] => {}
            [last] => {
                table.remove(last);
            }
            [first, rest @ ..] => {
                if let Some(child) = table.get_mut(first) {
                    child.remove(rest);
                }
            }
        }
    }

    fn set(&mut self, path: &[String], scalar: String) {
        let Self::Table(table) = self else { return };
        match path {
            [] => {}
            [last] => {
                table.insert(last.clone(), Self::Scalar(scalar));
            }
            [first, rest @ ..] => {
                let child = table
                    .entry(first.clone())
                    .or_insert_with(|| Self::Table(BTreeMap::new()));
                child.set(rest, scalar);
            }
        }
    }
}
