//! Files of version 1: what some releases drop, and settings that 2.x has no successor for.

use crate::containerd::contents::PluginId;
use crate::containerd::release::{Major, Version, list};
use crate::finding::{self, Findings};
use crate::plan::conversion::{Conversion, Obstacle};
use crate::plan::planner::Planner;
use crate::question::{Question, Version1};
use crate::toml::syntax::{Node, ValueKind};

/// A version-1 file whose registry settings some release drops, and that stays version 1.
pub(crate) fn check_version_1(planner: &Planner<'_>, findings: &mut Findings) {
    let wants = planner.inputs.options.version_1;
    if let (Conversion::Impossible(obstacle), Version1::Convert) = (&planner.conversion, wants) {
        findings.add(
            &finding::VERSION_1,
            obstacle.place.clone(),
            format!("cannot convert this file to version 2: {}", obstacle.reason),
            "fix this, or keep the file at version 1 with --v1 keep",
        );
        return;
    }
    let reads_version_1 = planner.from.last.is_some_and(|(_, id)| id == PluginId::Cri);
    // A drop-in of version 1 below a newer file is not lost: it is renamed before it is merged.
    let is_lost = planner.inputs.file_version() <= 1
        && planner.generations().any(|g| g.behaviour.loses_version_1);
    let matters = planner.registry().says_something() || planner.migrates();
    if !reads_version_1 || !is_lost || !matters || planner.converts() {
        return;
    }
    let drops = "containerd 2.0 to 2.2 drop the whole CRI section of a version-1 file";
    let Conversion::Impossible(Obstacle { place, reason }) = &planner.conversion else {
        findings.add_decided(
            &finding::VERSION_1,
            planner.config.version_place(),
            drops,
            "the file stays version 1, as --v1 keep says; do not upgrade it to 2.0 to 2.2",
        );
        return;
    };
    let message = format!("{drops}, and this one cannot be converted to version 2: {reason}");
    let losing = planner.verified();
    let losing = losing.filter(|release| release.generation.behaviour.loses_version_1);
    let losing: Vec<Version> = losing.flat_map(|release| release.targets.clone()).collect();
    if planner.inputs.options.to.is_some() && !losing.is_empty() {
        findings.ask(
            Question::Version1,
            &finding::VERSION_1,
            place.clone(),
            message,
            format!(
                "fix this, or set --to to 2.3 or later; with --v1 keep, no registry setting takes effect on containerd {}",
                list(&losing, "and")
            ),
        );
    } else {
        findings.add_decided(
            &finding::VERSION_1,
            place.clone(),
            message,
            "the file stays version 1, which containerd 2.3 and later read; fix this before an upgrade to 2.0 to 2.2",
        );
    }
}

/// Settings of a version-1 file that 2.x reads under no name (docs/containerd.md §12.2).
pub(crate) fn check_version_1_settings(planner: &Planner<'_>, findings: &mut Findings) {
    let was_version_1 = planner.inputs.file_version() <= 1 || planner.converts();
    let comes_to_2 = planner
        .generations()
        .any(|g| g.behaviour.major == Major::Two);
    if !was_version_1 || !comes_to_2 {
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
    if planner.converts() {
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
