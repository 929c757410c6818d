//! Files of version 1: what some releases drop, and settings that 2.x has no successor for.

use crate::containerd::contents::PluginId;
use crate::containerd::release::Major;
use crate::finding::{self, Findings};
use crate::plan::planner::Planner;
use crate::read::Version1;
use crate::toml::syntax::{Node, ValueKind};

/// A version-1 file whose registry settings some version on the way drops.
pub(crate) fn check_version_1(planner: &Planner<'_>, findings: &mut Findings) {
    let reads_version_1 = planner.from.last.is_some_and(|(_, id)| id == PluginId::Cri);
    // A drop-in of version 1 below a newer file is not lost: it is renamed before it is merged.
    let is_lost = planner.inputs.file_version() <= 1
        && planner.generations().any(|g| g.behaviour.loses_version_1);
    let matters = planner.registry().says_something() || planner.migrates();
    if reads_version_1 && is_lost && matters {
        let help = "--v1 convert gives every plugin its version-2 name, which all containerd versions read; \
                    --v1 keep migrates the file as it is, which is enough for 2.3 and later";
        let message = "containerd 2.0 to 2.2 drop the whole CRI section of a version-1 file";
        match planner.inputs.options.version_1 {
            // Why it could not be converted has been said.
            crate::read::Version1::Convert => {}
            crate::read::Version1::Refuse => {
                findings.add(
                    &finding::VERSION_1,
                    planner.config.version_place(),
                    message,
                    help,
                );
            }
            crate::read::Version1::Keep => {
                findings.add_decided(
                    &finding::VERSION_1,
                    planner.config.version_place(),
                    message,
                    help,
                );
            }
        }
    }
}

/// Settings of a version-1 file that 2.x reads under no name (docs/containerd.md §12.2).
pub(crate) fn check_version_1_settings(planner: &Planner<'_>, findings: &mut Findings) {
    let was_version_1 = planner.inputs.file_version() <= 1 || planner.converts;
    let comes_to_2 = planner
        .generations()
        .any(|g| g.behaviour.major == Major::Two);
    if !was_version_1 || !comes_to_2 || planner.inputs.options.version_1 == Version1::Refuse {
        return;
    }
    let file = planner.config;
    let mut say = |node: &Node, what: &str| {
        findings.add(
            &finding::VERSION_1_SETTING,
            file.place(node.key.range.clone()),
            what,
            "it is not about registries, and stays; look at it before the upgrade",
        );
    };
    let Some(plugins) = file.tree().table_at(&["plugins"]) else {
        return;
    };
    for name in ["linux", "io.containerd.runtime.v1.linux"] {
        if let Some(node) = plugins.get(name) {
            say(node, "containerd 2.x has no such plugin any more");
        }
    }
    for id in [PluginId::Cri, PluginId::Grpc] {
        let Some(containerd) = plugins.table_at(&[id.name(), "containerd"]) else {
            continue;
        };
        if let Some(node) = containerd
            .get("default_runtime")
            .filter(|node| node.table().is_some())
        {
            say(
                node,
                "containerd 2.x ignores `default_runtime` and takes runc",
            );
        }
        let other = |node: &&Node| !matches!(node.value().map(|value| &value.kind), Some(ValueKind::String(name)) if name == "overlayfs");
        if let (Some(node), None) = (
            containerd.get("snapshotter").filter(other),
            containerd.get("runtimes"),
        ) {
            say(
                node,
                "containerd 2.x ignores `snapshotter` where no `runtimes` are configured",
            );
        }
    }
    if planner.converts {
        // The conversion lists the older and the newer name.
        return;
    }
    let contents = planner
        .configuration()
        .files
        .first()
        .map(|main| main.contents(Major::One));
    for name in contents.iter().flat_map(|contents| &contents.disabled) {
        if ["restart", "cgroups"].contains(&name.value.as_str()) {
            findings.add(
                &finding::VERSION_1_SETTING,
                name.place.clone(),
                format!(
                    "containerd 2.x calls `{}` otherwise, and does not disable it by this name",
                    name.value
                ),
                "it is not about registries, and stays; look at it before the upgrade",
            );
        }
    }
}
