//! The golden nodes of `fixtures/`: each one that is meant to be migrated is the same over the wire.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

use crate::Daemons;
use crate::check::Case;
use crate::daemon::Containerd;
use crate::node::{CONFIG, Node, same_files};

/// One golden node that is meant to be migrated.
pub(crate) struct Fixture {
    pub(crate) name: String,
    folder: PathBuf,
    arguments: Vec<String>,
    pulls: BTreeMap<String, Vec<String>>,
}

/// All of them, by name. `WIRE_FIXTURES` names another folder than the project's.
pub(crate) fn all() -> Vec<Fixture> {
    let folder = env::var_os("WIRE_FIXTURES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"));
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| read(&entry.unwrap().path()))
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// The fixture in a folder, if its node is meant to be migrated.
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
    folder.join("after").is_dir().then(|| Fixture {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        folder: folder.to_path_buf(),
        arguments: case.get("args").map(strings).unwrap_or_default(),
        pulls: pulls
            .map(|(name, item)| (name.to_string(), strings(item)))
            .collect(),
    })
}

impl Fixture {
    /// Whether a daemon is here that shows what is to be kept.
    pub(crate) fn has_reference(&self, daemons: &Daemons) -> bool {
        !self.references(daemons).is_empty()
    }

    /// Whether it is a node of 2.x.
    fn is_of_two(&self, config_version: u32) -> bool {
        let from = self.option("--from");
        config_version >= 3 || from.is_some_and(|from| from.starts_with('2'))
    }

    fn references<'daemons>(&self, daemons: &'daemons Daemons) -> Vec<&'daemons Containerd> {
        let config_version = self.config_version(&self.folder.join("node"));
        let references = if self.is_of_two(config_version) {
            daemons.two()
        } else {
            daemons.one()
        };
        // A file of version 4 is read by 2.3 and later only.
        let reads = |daemon: &&Containerd| config_version < 4 || daemon.generation >= (2, 3);
        references.into_iter().filter(reads).collect()
    }

    pub(crate) fn check(&self, daemons: &Daemons) -> Result<(), String> {
        let node = Node::copy_of(
            &self.folder.join("node"),
            self.option("--config").unwrap_or(CONFIG),
        );
        let of_two = self.is_of_two(self.config_version(&node.tree()));
        let references = self.references(daemons);

        // The options may leave nothing to the reference's version. If they do and the versions'
        // migrations are equal, as they should be, the daemons run once.
        let mut trees: Vec<(PathBuf, Vec<&Containerd>)> = Vec::new();
        for reference in references {
            let tree = self.migrated(&node, &reference.version)?;
            match trees.iter_mut().find(|(known, _)| same_files(known, &tree)) {
                Some((_, references)) => references.push(reference),
                None => trees.push((tree, vec![reference])),
            }
        }
        let mut report = String::new();
        for (tree, references) in trees {
            let migrated = daemons.all().into_iter().filter(|daemon| {
                (!of_two || daemon.generation.0 >= 2)
                    && self
                        .option("--to")
                        .is_none_or(|to| daemon.generation <= generation(to))
            });
            let migrated = migrated.map(|daemon| (daemon, tree.clone())).collect();
            let pulls = self.pulls.clone();
            let case = Case {
                name: &self.name,
                node: &node,
                references,
                migrated,
                pulls,
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
        if self.option("--from").is_none() {
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
