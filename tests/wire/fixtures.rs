//! The golden nodes of `fixtures/`: on every daemon each one does what the library's views say, as it is and after the
//! migration, and each one that is meant to be migrated is the same over the wire.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use containerd_registry_migrate::containerd::release::{Behaviour, Version};
use serde_json::Value;

use crate::Daemons;
use crate::check::{Accepted, Case};
use crate::daemon::Containerd;
use crate::model::Model;
use crate::node::{Node, same_files};
use crate::support;

/// One run of a golden node.
pub(crate) struct Fixture {
    run: support::Fixture,
    accepted: Accepted,
}

/// What the plans of a node warn of.
#[derive(Default)]
struct Said {
    /// Releases that the plan is not verified for do something else.
    skips: bool,
    /// The file stays version 1, which 2.0 to 2.2 lose.
    stays_version_1: bool,
}

impl Said {
    fn add(&mut self, said: &str) {
        self.skips |= said.contains("[intermediate-version]");
        self.stays_version_1 |= said.contains("[version-1]");
    }
}

/// All of them, by name. `WIRE_FIXTURES` names another folder than the project's.
pub(crate) fn all() -> Vec<Fixture> {
    let runs = match env::var_os("WIRE_FIXTURES") {
        Some(folder) => support::fixtures_in(Path::new(&folder)),
        None => support::fixtures(),
    };
    let with_accepted = |run| Fixture {
        accepted: accepted(&run),
        run,
    };
    // More hosts than the program looks at are more than daemons are asked about.
    let is_asked =
        |run: &support::Fixture| !run.findings.iter().any(|code| code == "too-many-hosts");
    runs.into_iter()
        .filter(is_asked)
        .map(with_accepted)
        .collect()
}

/// What the reviewed plan says will change.
fn accepted(run: &support::Fixture) -> Accepted {
    let mut accepted = Accepted {
        down: run.args.iter().any(|argument| argument == "--allow"),
        ..Accepted::default()
    };
    let report = fs::read_to_string(run.golden("report", "json")).unwrap_or_default();
    let report: Value = serde_json::from_str(&report).unwrap_or_default();
    for pulls in report["namespaces"].as_array().into_iter().flatten() {
        let changes = pulls["same"] == false;
        match pulls["name"].as_str() {
            Some(namespace) => {
                accepted.namespaces.insert(namespace.to_string(), changes);
            }
            None => accepted.others = changes,
        }
    }
    accepted
}

impl Fixture {
    pub(crate) fn name(&self) -> &str {
        &self.run.name
    }

    pub(crate) fn run_name(&self) -> &str {
        self.run.run_name()
    }

    fn references<'daemons>(
        &self,
        daemons: &'daemons Daemons,
        config: &str,
    ) -> Vec<&'daemons Containerd> {
        let from = self.from();
        let of_two = from.0 >= 2;
        let candidates = if of_two { daemons.two() } else { daemons.one() };
        // What a daemon does not load today, it does not show.
        candidates
            .into_iter()
            .filter(|daemon| !of_two || daemon.generation >= from)
            // Who accepts this keeps what 2.0 to 2.2 do; what later lines do has runs of its own.
            .filter(|daemon| {
                daemon.generation < (2, 3) || from >= (2, 3) || self.run.option("--inert").is_none()
            })
            .filter(|daemon| {
                let model = Model::of(&self.run.node(), Path::new(config), &daemon.version);
                model.is_some_and(|model| model.loads())
            })
            .collect()
    }

    /// The line that the node runs today: what it is told, or the oldest that reads such a file.
    fn from(&self) -> (u32, u32) {
        let by_file = match self.config_version(&self.run.node()) {
            ..=2 => (1, 0),
            3 => (2, 0),
            _ => (2, 3),
        };
        self.run.option("--from").map_or(by_file, generation)
    }

    fn allows(&self, code: &str) -> bool {
        let mut pairs = self.run.args.windows(2);
        pairs.any(|pair| pair == ["--allow", code])
    }

    /// The daemons that behave as `--from` and as `--to`, if both are here and `check` says of the node that they pull
    /// alike with the files as they are.
    fn ready<'daemons>(
        &self,
        daemons: &'daemons Daemons,
        config: &str,
    ) -> Option<[&'daemons Containerd; 2]> {
        if self.run.check != Some(0) {
            return None;
        }
        let assumed = match self.config_version(&self.run.node()) {
            ..=2 => "1.7",
            3 => "2.0",
            _ => "2.3",
        };
        let as_daemon = |version: &str| {
            let behaviour = Behaviour::of(Version::parse(version)?.known());
            let of = |daemon: &&Containerd| {
                Version::parse(&daemon.version).map(Behaviour::of) == Some(behaviour)
            };
            let mut all: Vec<&Containerd> = daemons.all().into_iter().filter(of).collect();
            // A distribution's build may read more than the release.
            all.sort_by_key(|daemon| daemon.build().contains("debian"));
            all.into_iter().next()
        };
        let from = as_daemon(self.run.option("--from").unwrap_or(assumed))?;
        let to = as_daemon(self.run.option("--to")?)?;
        let model = Model::of(&self.run.node(), Path::new(config), &from.version);
        model
            .is_some_and(|model| model.loads())
            .then_some([from, to])
    }

    /// Whether this daemon is to do after the migration what the references did before.
    fn is_promised(&self, daemon: &Containerd, references: &[&Containerd], said: &Said) -> bool {
        let of_two = references.iter().all(|daemon| daemon.generation.0 >= 2);
        let below = self
            .run
            .option("--to")
            .is_none_or(|to| daemon.generation <= generation(to));
        let above = !of_two || daemon.generation >= self.from();
        let loses_version_1 = self.run.option("--v1") == Some("keep") && daemon.generation.0 == 2
            || said.stays_version_1 && ((2, 0)..(2, 3)).contains(&daemon.generation);
        let is_target = self
            .run
            .option("--to")
            .is_some_and(|to| daemon.generation == generation(to));
        let is_reference = references.iter().any(|one| one.version == daemon.version);
        let is_skipped = said.skips && !is_target && !is_reference;
        let between = self.allows("mixed-versions");
        below
            && above
            && !loses_version_1
            && !is_skipped
            && !(between && daemon.generation.0 == 2)
            && (!of_two || daemon.generation.0 >= 2)
    }

    pub(crate) fn check(&self, daemons: &Daemons) -> Result<(), String> {
        let config = self.run.config();
        let node = Node::copy_of(&self.run.node(), config);
        let references = if self.run.is_migrated() {
            self.references(daemons, config)
        } else {
            Vec::new()
        };
        // The options may leave nothing to the reference's version. If they do and the versions'
        // migrations are equal, as they should be, the daemons run once.
        let mut trees: Vec<(PathBuf, Vec<&Containerd>)> = Vec::new();
        let mut all_said = Said::default();
        for reference in references {
            let tree = match self.migrated(&node, &reference.version) {
                Ok((tree, said)) => {
                    all_said.add(&said);
                    tree
                }
                // What this version reads otherwise than the fixture's is refused for it.
                Err(said) if said.contains("error[relative-import-pattern]") => continue,
                Err(said) => return Err(said),
            };
            match trees.iter_mut().find(|(known, _)| same_files(known, &tree)) {
                Some((_, references)) => references.push(reference),
                None => trees.push((tree, vec![reference])),
            }
        }
        if trees.is_empty() && self.run.is_migrated() {
            let (tree, _) = self.migrated(&node, "")?;
            trees.push((tree, Vec::new()));
        }
        let mut report = String::new();
        let mut is_first = true;
        for (tree, references) in &trees {
            let (promised, others): (Vec<_>, Vec<_>) =
                daemons.all().into_iter().partition(|daemon| {
                    !references.is_empty() && self.is_promised(daemon, references, &all_said)
                });
            let with_tree = |daemons: Vec<&'_ Containerd>| -> Vec<_> {
                daemons
                    .into_iter()
                    .map(|daemon| (daemon.clone(), tree.clone()))
                    .collect()
            };
            let (promised, others) = (with_tree(promised), with_tree(others));
            let today: Vec<_> = daemons
                .all()
                .into_iter()
                .filter(|daemon| {
                    is_first
                        && references
                            .iter()
                            .all(|known| known.version != daemon.version)
                })
                .collect();
            let ready = self.ready(daemons, config).filter(|_| is_first);
            is_first = false;
            let mut claims: Vec<_> = today
                .iter()
                .map(|daemon| (*daemon, node.tree(), true))
                .collect();
            claims.extend(
                others
                    .iter()
                    .map(|(daemon, tree)| (daemon, tree.clone(), false)),
            );
            let case = Case {
                name: self.run_name(),
                node: &node,
                references: references.clone(),
                migrated: promised
                    .iter()
                    .map(|(daemon, tree)| (daemon, tree.clone()))
                    .collect(),
                claims,
                pulls: self.run.pulls.clone(),
                accepted: self.accepted.clone(),
                ready,
            };
            report.push_str(&case.check().err().unwrap_or_default());
        }
        if trees.is_empty() {
            let case = Case {
                name: self.run_name(),
                node: &node,
                references: Vec::new(),
                migrated: Vec::new(),
                claims: daemons
                    .all()
                    .into_iter()
                    .map(|daemon| (daemon, node.tree(), true))
                    .collect(),
                pulls: BTreeMap::new(),
                accepted: Accepted::default(),
                ready: self.ready(daemons, config),
            };
            report.push_str(&case.check().err().unwrap_or_default());
        }
        if report.is_empty() {
            Ok(())
        } else {
            Err(report)
        }
    }

    /// What `apply` makes of the node. With `WIRE_GOLDEN=1` it is what the fixture says, which tells
    /// a wrong expectation from a wrong program.
    fn migrated(&self, node: &Node, from: &str) -> Result<(PathBuf, String), String> {
        if env::var_os("WIRE_GOLDEN").is_some() {
            let after = self.run.after();
            let tree = node.with_configuration_of(&format!("after-{from}"), &after);
            return Ok((tree, String::new()));
        }
        let mut options = self.run.args.clone();
        if self.run.option("--from").is_none() && !from.is_empty() {
            options.extend(["--from".to_string(), from.to_string()]);
        }
        // The release that a run is pinned to may be older than the daemon of that line.
        let reference = self.run.option("--from").unwrap_or(from);
        let to = options.iter().position(|option| option == "--to");
        if let Some(to) = to.and_then(|place| options.get_mut(place + 1))
            && generation(to) == generation(reference)
        {
            *to = reference.to_string();
        }
        node.apply(&format!("after-{from}"), &options)
    }

    /// The `version` of config.toml, by its line: some of these files only old parsers read.
    fn config_version(&self, tree: &Path) -> u32 {
        let path = self.run.config();
        let mut path = tree.join(path.trim_start_matches('/'));
        // A link to an absolute path means one on the node.
        while let Ok(link) = fs::read_link(&path) {
            let link = link.strip_prefix("/").map_or_else(
                |_| path.with_file_name(&link),
                |below_root| tree.join(below_root),
            );
            path = link;
        }
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines = text
            .lines()
            .map(|line| line.trim_start_matches('\u{feff}').trim());
        let value = lines.find_map(|line| line.strip_prefix("version")?.trim().strip_prefix('='));
        value
            .and_then(|value| value.split('#').next()?.trim().parse().ok())
            .unwrap_or(1)
    }
}

/// Major and minor of a version.
fn generation(version: &str) -> (u32, u32) {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or_default());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}
