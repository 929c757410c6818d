//! Tables of registry settings where no containerd reads them.

use crate::containerd::contents::PluginId;
use crate::containerd::file::ConfigFile;
use crate::containerd::loader::Startup;
use crate::containerd::release::Major;
use crate::finding::{self, Findings};
use crate::plan::planner::Planner;
use crate::secret::shown_url;
use crate::toml::syntax::{Node, Table};

/// Looks at every file.
pub(crate) fn check(planner: &Planner<'_>, findings: &mut Findings) {
    for loaded in &planner.configuration().files {
        check_misspelt(planner, &loaded.file, findings);
    }
}

fn check_misspelt(planner: &Planner<'_>, file: &ConfigFile, findings: &mut Findings) {
    let mut say = |node: &Node, what: String, help: &str| {
        findings.add(
            &finding::MISSPELT_TABLE,
            file.place(node.key.range.clone()),
            what,
            help,
        );
    };
    let readers: Vec<Major> = planner.generations().map(|g| g.behaviour.major).collect();
    let stays = "it has no effect, today or afterwards, and stays; write it right if it is meant, and see what changes";
    for node in file.tree().iter() {
        let name = node.key.name.as_str();
        let Some(table) = node.table() else { continue };
        let unread = name.eq_ignore_ascii_case("plugins")
            && name != "plugins"
            && readers
                .iter()
                .all(|reader| *reader == Major::One && name != "PLUGINS");
        if (name == "plugin" || unread) && has_registry(table) {
            say(
                node,
                format!(
                    "`[{}…]` is no table that containerd reads; it is called `plugins`",
                    shown_url(name)
                ),
                stays,
            );
        } else if name == "registry"
            && ["mirrors", "configs"]
                .iter()
                .any(|key| table.get(key).is_some())
        {
            say(
                node,
                "`registry` belongs into the table of the CRI plugin".to_owned(),
                stays,
            );
        }
        if name == "plugins" {
            let starts = !matches!(
                planner.inputs.startup(&planner.from),
                Startup::DoesNotStart(_)
            );
            let unquoted = table.get("io").filter(|io| starts && unquoted_registry(io));
            if let Some(io) = unquoted {
                say(
                    io,
                    "a plugin's name without quotes is taken apart at its dots".to_owned(),
                    stays,
                );
            }
        }
        for inner in table.iter() {
            landed_below(inner, &mut |node| {
                say(
                    node,
                    format!(
                        "this `plugins` stands below another table (`{}`), and belongs to that",
                        shown_url(name)
                    ),
                    stays,
                );
            });
        }
    }
    for id in PluginId::ALL {
        let Some(section) = file.tree().table_at(&["plugins", id.name()]) else {
            continue;
        };
        for node in section.iter() {
            let name = node.key.name.as_str();
            let reads = |reader: &Major| match reader {
                Major::One => name == "registry" || name == "REGISTRY",
                Major::Two => name == "registry" || id == PluginId::Images,
            };
            if name.eq_ignore_ascii_case("registry") && !readers.iter().any(reads) {
                say(
                    node,
                    format!("`{name}` is not how any containerd spells `registry` here"),
                    stays,
                );
            } else if ["mirrors", "configs"].contains(&name) && node.table().is_some() {
                say(node, format!("`{name}` belongs into `registry`"), stays);
            }
        }
    }
}

/// Whether a table of plugins has registry settings of CRI.
fn has_registry(plugins: &Table) -> bool {
    PluginId::ALL.iter().any(|id| {
        plugins
            .get(id.name())
            .and_then(Node::table)
            .is_some_and(|table| table.get("registry").is_some())
    })
}

/// Whether below `plugins.io` a name without quotes leads to registry settings.
fn unquoted_registry(io: &Node) -> bool {
    let paths: [&[&str]; 2] = [
        &["containerd", "grpc", "v1", "cri"],
        &["containerd", "cri", "v1", "images"],
    ];
    paths.iter().any(|path| {
        io.table()
            .and_then(|table| table.table_at(path))
            .is_some_and(|table| table.get("registry").is_some())
    })
}

/// Finds tables called `plugins` that stand below another one.
fn landed_below(node: &Node, say: &mut impl FnMut(&Node)) {
    let Some(table) = node.table() else { return };
    if node.key.name == "plugins" && has_registry(table) {
        say(node);
        return;
    }
    // In an entry that goes away it is an unknown key.
    let goes = |node: &&Node| ["mirrors", "configs"].contains(&node.key.name.as_str());
    for child in table.iter().filter(|child| !goes(child)) {
        landed_below(child, say);
    }
}
