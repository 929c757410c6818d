//! Nodes of several files: what holds of one, whatever containerd makes of several together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use containerd_registry_migrate::containerd::file::ConfigFile;
use containerd_registry_migrate::text::FileText;
use containerd_registry_migrate::toml::syntax::{Node as TomlNode, Table};

use crate::check::{Ended, Planned};
use crate::node::{CONFIG, Node, SECRETS};

/// A node whose config.toml imports two more files, each as random as the first.
pub(crate) fn check(seed: u64, root: &Path) -> Result<Ended, String> {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    fs::create_dir_all(root).unwrap();
    let node = Node::of(seed);
    let main = node.write().text;
    let (mark, main) = match main.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest.to_owned()),
        None => ("", main),
    };
    let end = if main.contains("\r\n") { "\r\n" } else { "\n" };
    let main = format!("{mark}imports = [\"/etc/containerd/conf.d/*.toml\"]{end}{main}");
    node.lay_out(root, &main);
    let directory = root.join("etc/containerd/conf.d");
    fs::create_dir_all(&directory).unwrap();
    for (number, name) in ["10-one.toml", "20-two.toml"].iter().enumerate() {
        let other = Node::of(seed * 7 + 100_003 * (number as u64 + 1));
        fs::write(directory.join(name), other.write().text).unwrap();
    }
    let planned = Planned::of(&node, root)?;
    if planned.says("proof-failed") {
        return Err(format!("proof: {}", planned.printed));
    }
    for secret in SECRETS {
        if let Some(line) = planned.printed.lines().find(|line| line.contains(secret)) {
            return Err(format!("secrets: {line}"));
        }
    }
    if planned.ended != Ended::Pending {
        return Ok(planned.ended);
    }
    every_leaf_has_one_outcome(&planned)?;
    for change in &planned.plan.changes {
        let path = root.join(change.path.as_str().trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if fs::read(&path).ok().as_deref() != change.before.as_ref().map(FileText::bytes) {
            return Err(format!("before: {} is not as the plan has it", change.path));
        }
        fs::write(path, change.after.bytes()).unwrap();
    }
    let last = planned
        .plan
        .changes
        .last()
        .map(|change| change.path.to_string());
    let is_configuration =
        |path: &String| path == CONFIG || path.starts_with("/etc/containerd/conf.d/");
    let absolute = last.map(|path| format!("/{}", path.trim_start_matches('/')));
    if !absolute
        .as_ref()
        .is_some_and(|path| is_configuration(path) || path == &format!("/{CONFIG}"))
    {
        return Err(format!("order: the last change is {absolute:?}"));
    }
    let again = Planned::of(&node, root)?;
    if again.ended != Ended::NothingToDo {
        return Err(format!(
            "again: {:?}\n{}\nafter: {}",
            again.ended, again.printed, planned.printed
        ));
    }
    Ok(planned.ended)
}

/// Everything below the registry tables of all files is in exactly one outcome.
fn every_leaf_has_one_outcome(planned: &Planned) -> Result<(), String> {
    let inputs = planned
        .inputs
        .as_ref()
        .ok_or("outcomes: nothing was read")?;
    let mut outcomes: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for outcome in &planned.plan.outcomes {
        let place = (outcome.place.file.0, outcome.place.range.start);
        outcomes.entry(place).or_default().push(&outcome.setting);
    }
    if let Some((place, settings)) = outcomes.iter().find(|(_, settings)| settings.len() > 1) {
        return Err(format!("outcomes: {settings:?} at {place:?}"));
    }
    for loaded in &inputs.snapshot.configuration().files {
        for id in [
            "cri",
            "io.containerd.grpc.v1.cri",
            "io.containerd.cri.v1.images",
        ] {
            let Some(registry) = loaded.file.tree().table_at(&["plugins", id, "registry"]) else {
                continue;
            };
            for name in ["mirrors", "configs", "auths", "headers"] {
                let Some(table) = registry.get(name).and_then(TomlNode::table) else {
                    continue;
                };
                leaves(&loaded.file, table, &mut Vec::new(), &outcomes)?;
            }
        }
    }
    Ok(())
}

/// Each leaf, or one thing around it, or one element of it has an outcome.
fn leaves(
    file: &ConfigFile,
    table: &Table,
    above: &mut Vec<usize>,
    outcomes: &BTreeMap<(usize, usize), Vec<&str>>,
) -> Result<(), String> {
    for node in table.iter() {
        let start = node.key.range.start;
        if let Some(inner) = node.table() {
            above.push(node.header.as_ref().map_or(start, |header| header.start));
            above.push(start);
            leaves(file, inner, above, outcomes)?;
            above.truncate(above.len() - 2);
            continue;
        }
        let end = node
            .value()
            .map_or(start, |value| value.range.end)
            .max(start);
        let inside = outcomes
            .range((file.id.0, start)..=(file.id.0, end))
            .next()
            .is_some();
        let around = above
            .iter()
            .any(|start| outcomes.contains_key(&(file.id.0, *start)));
        if !inside && !around {
            return Err(format!(
                "outcomes: none for `{}` at {start} of {}",
                node.key.name, file.path
            ));
        }
    }
    Ok(())
}
