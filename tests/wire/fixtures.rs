//! The golden nodes of `fixtures/`: on every daemon each one does what the library's views say, as it is and after the
//! migration, and each one that is meant to be migrated is the same over the wire.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

use crate::Daemons;
use crate::check::{Accepted, Case};
use crate::daemon::Containerd;
use crate::model::Model;
use crate::node::{CONFIG, Node, same_files};

/// One golden node.
pub(crate) struct Fixture {
    pub(crate) name: String,
    folder: PathBuf,
    arguments: Vec<String>,
    is_migrated: bool,
    accepted: Accepted,
    pulls: BTreeMap<String, Vec<String>>,
}

/// All of them, by name. `WIRE_FIXTURES` names another folder than the project's.
pub(crate) fn all() -> Vec<Fixture> {
    let folder = env::var_os("WIRE_FIXTURES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"));
    let below = |path: PathBuf| {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path())
    };
    let mut found: Vec<_> = below(folder)
        .flat_map(below)
        .filter_map(|path| read(&path))
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// The fixture in a folder, if there is one.
fn read(folder: &Path) -> Option<Fixture> {
    let text = fs::read_to_string(folder.join("case.toml")).ok()?;
    let case: DocumentMut = text.parse().unwrap();
    let strings = |item: &Item| -> Vec<String> {
        let values = item.as_array().into_iter().flatten();
        values
            .filter_map(|value| value.as_str().map(String::from))
            .collect()
    };
    let pulls = case.get("pulls").and_then(Item::as_table_like);
    let pulls = pulls.into_iter().flat_map(|table| table.iter());
    let arguments = case.get("args").map(strings).unwrap_or_default();
    let pulls: BTreeMap<String, Vec<String>> = pulls
        .map(|(name, item)| (name.to_string(), strings(item)))
        .collect();
    Some(Fixture {
        is_migrated: folder.join("after").is_dir(),
        accepted: accepted(folder, &arguments),
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        folder: folder.to_path_buf(),
        arguments,
        pulls,
    })
}

/// What the reviewed plan says will change.
fn accepted(folder: &Path, arguments: &[String]) -> Accepted {
    let plan = fs::read_to_string(folder.join("plan.txt")).unwrap_or_default();
    let table = plan.split("\nPulls: ").nth(1).unwrap_or_default();
    let table = table.split("\nSettings\n").next().unwrap_or_default();
    let mut accepted = Accepted {
        down: arguments.iter().any(|argument| argument == "--allow"),
        ..Accepted::default()
    };
    for line in table
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let Some((name, state)) =
            line.trim()
                .rsplit_once(": ")
                .map(|(head, tail)| match head.rsplit_once(": changed") {
                    Some((name, _)) => (name, "changed"),
                    None => (head.strip_suffix(": changed").unwrap_or(head), tail),
                })
        else {
            continue;
        };
        let changes = state != "identical";
        if name == "any other registry" {
            accepted.others = changes;
        } else {
            accepted.namespaces.insert(name.to_string(), changes);
        }
    }
    accepted
}

impl Fixture {
    fn references<'daemons>(
        &self,
        daemons: &'daemons Daemons,
        config: &str,
    ) -> Vec<&'daemons Containerd> {
        let from = self.option("--from").map(generation);
        let version = self.config_version(&self.folder.join("node"));
        let default = match version {
            ..=2 => (1, 0),
            3 => (2, 0),
            _ => (2, 3),
        };
        let from = from.unwrap_or(default);
        let of_two = from.0 >= 2;
        let candidates = if of_two { daemons.two() } else { daemons.one() };
        // What a daemon does not load today, it does not show.
        candidates
            .into_iter()
            .filter(|daemon| !of_two || daemon.generation >= from)
            .filter(|daemon| {
                let model = Model::of(
                    &self.folder.join("node"),
                    Path::new(config),
                    &daemon.version,
                );
                model.is_some_and(|model| model.loads())
            })
            .collect()
    }

    /// Whether this daemon is to do after the migration what the references did before.
    fn is_promised(&self, daemon: &Containerd, of_two: bool) -> bool {
        let below = self
            .option("--to")
            .is_none_or(|to| daemon.generation <= generation(to));
        let above = !of_two
            || self
                .option("--from")
                .is_none_or(|from| daemon.generation >= generation(from));
        let loses_version_1 = self.option("--v1") == Some("keep") && daemon.generation.0 == 2;
        let allowed = |code: &str| {
            self.arguments
                .windows(2)
                .any(|pair| pair == ["--allow", code])
        };
        let between = allowed("intermediate-version") || allowed("mixed-versions");
        below
            && above
            && !loses_version_1
            && !(between && daemon.generation.0 == 2)
            && (!of_two || daemon.generation.0 >= 2)
    }

    pub(crate) fn check(&self, daemons: &Daemons) -> Result<(), String> {
        let config = self.option("--config").unwrap_or(CONFIG);
        let node = Node::copy_of(&self.folder.join("node"), config);
        let references = if self.is_migrated {
            self.references(daemons, config)
        } else {
            Vec::new()
        };
        let of_two =
            references.iter().all(|daemon| daemon.generation.0 >= 2) && !references.is_empty();

        // The options may leave nothing to the reference's version. If they do and the versions'
        // migrations are equal, as they should be, the daemons run once.
        let mut trees: Vec<(PathBuf, Vec<&Containerd>)> = Vec::new();
        for reference in references {
            let tree = match self.migrated(&node, &reference.version) {
                Ok(tree) => tree,
                // What this version reads otherwise than the fixture's is refused for it.
                Err(said) if said.contains("error[relative-import-pattern]") => continue,
                Err(said) => return Err(said),
            };
            match trees.iter_mut().find(|(known, _)| same_files(known, &tree)) {
                Some((_, references)) => references.push(reference),
                None => trees.push((tree, vec![reference])),
            }
        }
        if trees.is_empty() && self.is_migrated {
            trees.push((self.migrated(&node, "")?, Vec::new()));
        }
        let mut report = String::new();
        let mut is_first = true;
        for (tree, references) in &trees {
            let (promised, others): (Vec<_>, Vec<_>) = daemons
                .all()
                .into_iter()
                .partition(|daemon| !references.is_empty() && self.is_promised(daemon, of_two));
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
                name: &self.name,
                node: &node,
                references: references.clone(),
                migrated: promised
                    .iter()
                    .map(|(daemon, tree)| (daemon, tree.clone()))
                    .collect(),
                claims,
                pulls: self.pulls.clone(),
                accepted: self.accepted.clone(),
            };
            report.push_str(&case.check().err().unwrap_or_default());
        }
        if trees.is_empty() {
            let case = Case {
                name: &self.name,
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
    fn migrated(&self, node: &Node, from: &str) -> Result<PathBuf, String> {
        if env::var_os("WIRE_GOLDEN").is_some() {
            let after = self.folder.join("after");
            return Ok(node.with_configuration_of(&format!("after-{from}"), &after));
        }
        let mut options = self.arguments.clone();
        if self.option("--from").is_none() && !from.is_empty() {
            options.extend(["--from".to_string(), from.to_string()]);
        }
        node.applied(&format!("after-{from}"), &options)
    }

    fn option(&self, name: &str) -> Option<&str> {
        let place = self
            .arguments
            .iter()
            .position(|argument| argument == name)?;
        self.arguments.get(place + 1).map(String::as_str)
    }

    /// The `version` of config.toml, by its line: some of these files only old parsers read.
    fn config_version(&self, tree: &Path) -> u32 {
        let path = self.option("--config").unwrap_or(CONFIG);
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
