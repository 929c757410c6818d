//! Which of containerd's own deprecation warnings a setting or a place in a file belongs to
//! (`pkg/deprecation/deprecation.go`; listed since 1.6.25 and 1.7.9: docs/containerd.md §3.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::toml::syntax::{Entry, Key, Syntax, ValueKind};

/// containerd's own identifier of a deprecation, as `ctr deprecations list` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deprecation {
    /// `registry.mirrors`
    #[serde(rename = "io.containerd.deprecation/cri-registry-mirrors")]
    Mirrors,
    /// `registry.configs`
    #[serde(rename = "io.containerd.deprecation/cri-registry-configs")]
    Configs,
    /// `registry.auths`
    #[serde(rename = "io.containerd.deprecation/cri-registry-auths")]
    Auths,
}

impl Deprecation {
    /// The deprecation of a table of the registry settings.
    fn of_table(name: &str) -> Option<Self> {
        match name {
            "mirrors" => Some(Self::Mirrors),
            "configs" => Some(Self::Configs),
            "auths" => Some(Self::Auths),
            _ => None,
        }
    }

    /// The deprecation of a setting, by its path from `registry` on.
    pub(super) fn of_setting(path: &str) -> Option<Self> {
        let table = path.strip_prefix("registry.")?.split('.').next()?;
        Self::of_table(table)
    }

    /// The deprecation of the table that a byte of a configuration file is in.
    pub(super) fn at(syntax: &Syntax, at: usize) -> Option<Self> {
        let sections = &syntax.sections;
        let after = sections.partition_point(|section| section.start() <= at);
        let section = sections.get(after.checked_sub(1)?)?;
        let header = section.header.as_ref();
        let mut path: Vec<&str> = header.map_or(Vec::new(), |header| names(&header.keys).collect());
        extend(&mut path, &section.entries, at);
        match path.as_slice() {
            ["plugins", _, registry, table, ..] if registry.eq_ignore_ascii_case("registry") => {
                Self::of_table(&table.to_ascii_lowercase())
            }
            _ => None,
        }
    }
}

/// The path goes on with the entry that a byte is in, and what is in that.
fn extend<'s>(path: &mut Vec<&'s str>, entries: &'s [Entry], at: usize) {
    let after = entries.partition_point(|entry| entry.range().start <= at);
    let entry = after.checked_sub(1).and_then(|index| entries.get(index));
    let Some(entry) = entry.filter(|entry| at < entry.range().end) else {
        return;
    };
    path.extend(names(&entry.keys));
    if let ValueKind::Table(entries) = &entry.value.kind {
        extend(path, entries, at);
    }
}

fn names(keys: &[Key]) -> impl Iterator<Item = &str> {
    keys.iter().map(|key| key.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_belongs_to_the_deprecated_table_that_it_is_in() {
        let text = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "A"
  mirrors = { "m" = { endpoint = ["B"] } }
  auths."h".auth = "C"
[plugins."io.containerd.grpc.v1.cri".registry.configs."D".tls]
  ca_file = "E"
[plugins."io.containerd.grpc.v1.cri".registry.headers]
  X = ["F"]
[mirrors."G"]
"#;
        let syntax = Syntax::parse(text).unwrap();
        let at = |marked: &str| Deprecation::at(&syntax, text.find(marked).unwrap());
        for marked in ["version", "[plugins", "A", "F", "G"] {
            assert_eq!(at(marked), None, "{marked}");
        }
        assert_eq!(at("B"), Some(Deprecation::Mirrors));
        assert_eq!(at("C"), Some(Deprecation::Auths));
        for marked in ["D", "E"] {
            assert_eq!(at(marked), Some(Deprecation::Configs), "{marked}");
        }
    }

    #[test]
    fn a_setting_is_deprecated_by_its_first_table() {
        let of = Deprecation::of_setting;
        assert_eq!(
            of(r#"registry.mirrors."a.b".endpoint"#),
            Some(Deprecation::Mirrors)
        );
        assert_eq!(
            of("registry.configs.a.auth.password"),
            Some(Deprecation::Configs)
        );
        assert_eq!(of("registry.auths.a.auth"), Some(Deprecation::Auths));
        assert_eq!(of("registry.headers.X"), None);
    }
}
