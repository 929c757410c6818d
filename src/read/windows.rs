//! Configurations of Windows nodes, which are told by their paths.

use crate::containerd::file::ConfigFile;
use crate::finding::{Place, Placed};
use crate::toml::syntax::{Node, Table, Value, ValueKind};

/// The first path of a Windows node in a file: the key that it is set to.
pub(super) fn path(file: &ConfigFile) -> Option<Placed<String>> {
    let plugins = |node: &Node| node.key.name.eq_ignore_ascii_case("plugins");
    let nodes = file.tree().iter();
    let found = nodes
        .clone()
        .filter(|node| !plugins(node))
        .find_map(in_node);
    let (key, value) = found.or_else(|| {
        let plugins = nodes.filter(|node| plugins(node)).filter_map(Node::table);
        let mut entries = plugins.flat_map(Table::iter).filter_map(Node::table);
        entries.find_map(in_plugin)
    })?;
    let place: Place = file.place(value.range.clone());
    Some(Placed { value: key, place })
}

/// A plugin's table, less what may hold secrets or addresses below `registry`.
fn in_plugin(plugin: &Table) -> Option<(String, &Value)> {
    plugin.iter().find_map(|node| match node.table() {
        Some(registry) if node.key.name.eq_ignore_ascii_case("registry") => in_registry(registry),
        _ => in_node(node),
    })
}

fn in_registry(registry: &Table) -> Option<(String, &Value)> {
    registry.iter().find_map(|node| {
        let name = &node.key.name;
        if name.eq_ignore_ascii_case("config_path") {
            return in_node(node);
        }
        let configs = node
            .table()
            .filter(|_| name.eq_ignore_ascii_case("configs"));
        let entries = configs.into_iter().flat_map(Table::iter);
        let mut tables = entries.filter_map(Node::table).flat_map(Table::iter);
        let tls = tables.find(|node| node.key.name.eq_ignore_ascii_case("tls"))?;
        in_node(tls)
    })
}

/// A path of a Windows node at this key or below it.
fn in_node(node: &Node) -> Option<(String, &Value)> {
    match (node.table(), node.value()) {
        (Some(table), _) => table.iter().find_map(in_node),
        (None, Some(value)) => has_path(value).then(|| (node.key.name.to_string(), value)),
        (None, None) => None,
    }
}

fn has_path(value: &Value) -> bool {
    match &value.kind {
        ValueKind::String(text) => is_path(text),
        ValueKind::Array(elements) => elements.iter().any(has_path),
        _ => false,
    }
}

/// A drive letter, or the beginning of a share or a pipe.
fn is_path(text: &str) -> bool {
    let drive = match text.as_bytes() {
        [letter, b':', b'\\' | b'/', ..] => letter.is_ascii_alphabetic(),
        _ => false,
    };
    drive || text.starts_with("\\\\")
}
