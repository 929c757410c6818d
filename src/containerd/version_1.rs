//! A version-1 config.toml as version 2: the names of plugins, and nothing else.
//!
//! Version 1 calls plugins by their id alone, version 2 by type and id. containerd 2.0 to 2.2 do that conversion in
//! memory and then lose the whole CRI section over it (`cmd/containerd/server/config/config.go@v2.0.11`:315), so the
//! file has to say version 2 before the upgrade. Done as byte-range edits, so that everything else stays as it is.
//!
//! What a name stands for is what the plugins of containerd 1.5 to 1.7 were registered as (`plugin.Register` in
//! v1.5.18, v1.6.39 and v1.7.34), not the table in `v1MigratePluginName`, which takes `nri`, `blockfile`, `walking`,
//! `content`, `local` and `shim` for gRPC services. An id may stand for several plugins. A table then is for the one
//! that has settings; in a list it means all of them, and as no node can run without those the list is refused.
//!
//! What one name cannot say for both generations is refused as well: a list is read by today's containerd and by the
//! next one, and a plugin that is required and not there keeps either from starting.

use std::ops::Range;

use crate::toml::edit::quote;
use crate::toml::syntax::{Entry, Key, Node, Section, Syntax, Table, Value, ValueKind};

/// A replacement of some bytes; an empty range inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// What is replaced.
    pub range: Range<usize>,
    /// What it is replaced with.
    pub replacement: String,
}

/// Why a file is not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name, value or header that is in the way.
    pub range: Range<usize>,
    /// What is wrong with it. Names of plugins are quoted in it, values of settings never are.
    pub reason: String,
}

fn refuse<T>(range: &Range<usize>, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        range: range.clone(),
        reason: reason.into(),
    })
}

/// What is done with tables whose names are those of version 2 already: containerd 1.x does not find them in a version-1
/// file, 2.3 and later do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullNames {
    /// The file is refused, since they would take effect.
    Refuse,
    /// They are to take effect.
    Keep,
}

/// The edits that make a version-2 file of a version-1 file, in order and apart from each other.
///
/// `syntax` is that of `text`.
pub fn convert(text: &str, syntax: &Syntax, full_names: FullNames) -> Result<Vec<Rename>, Refusal> {
    let tree = syntax.tree();
    spelled_exactly(tree)?;
    let mut converter = Converter {
        text,
        tree,
        full_names,
        renames: Vec::new(),
    };
    converter.version()?;
    for section in &syntax.sections {
        converter.section(section)?;
    }
    converter.renames.sort_by_key(|rename| rename.range.start);
    Ok(converter.renames)
}

/// The text with the edits of [`convert`] made; `None` if they are not for this text.
pub fn apply(text: &str, renames: &[Rename]) -> Option<String> {
    let mut converted = String::with_capacity(text.len());
    let mut copied = 0;
    for rename in renames {
        converted.push_str(text.get(copied..rename.range.start)?);
        converted.push_str(&rename.replacement);
        copied = rename.range.end;
    }
    converted.push_str(text.get(copied..)?);
    Some(converted)
}

const VERSION: &str = "version";
const PLUGINS: &str = "plugins";
const DISABLED: &str = "disabled_plugins";
const REQUIRED: &str = "required_plugins";

/// Other capitals are the same key to some of containerd's readers and another one to the rest.
fn spelled_exactly(tree: &Table) -> Result<(), Refusal> {
    for node in tree.iter() {
        let name = &node.key.name;
        let same = [VERSION, PLUGINS, DISABLED, REQUIRED]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name) && known != name);
        if let Some(known) = same {
            return refuse(
                &node.key.range,
                format!("`{known}` has capitals, which containerd 1.x and 2.x read differently"),
            );
        }
    }
    Ok(())
}

/// What an id of version 1 stands for: the type that has settings first.
enum Plugin {
    One(&'static str),
    Several(&'static [&'static str]),
}

/// The types of containerd's plugins on Linux, 1.5 to 1.7. What is not here is a gRPC service, or not containerd's.
fn plugin(id: &str) -> Plugin {
    Plugin::One(match id {
        "aufs" | "blockfile" | "btrfs" | "devmapper" | "native" | "overlayfs" | "zfs" => {
            "io.containerd.snapshotter.v1"
        }
        "bolt" => "io.containerd.metadata.v1",
        "cgroups" => "io.containerd.monitor.v1",
        "deprecations" => "io.containerd.warning.v1",
        "exchange" => "io.containerd.event.v1",
        "linux" => "io.containerd.runtime.v1",
        "nri" => "io.containerd.nri.v1",
        "opt" | "restart" | "tracing" => "io.containerd.internal.v1",
        "otlp" => "io.containerd.tracing.processor.v1",
        "scheduler" => "io.containerd.gc.v1",
        "shim" | "task" => "io.containerd.runtime.v2",
        "walking" => "io.containerd.differ.v1",
        id if id.ends_with("-service") => "io.containerd.service.v1",
        "content" => {
            return Plugin::Several(&["io.containerd.content.v1", "io.containerd.grpc.v1"]);
        }
        "local" => {
            return Plugin::Several(&[
                "io.containerd.transfer.v1",
                "io.containerd.sandbox.controller.v1",
                "io.containerd.sandbox.store.v1",
            ]);
        }
        "manager" => {
            return Plugin::Several(&["io.containerd.lease.v1", "io.containerd.streaming.v1"]);
        }
        _ => "io.containerd.grpc.v1",
    })
}

/// What 2.x calls a plugin that it has under another type (`plugins/types.go@v2.0.11`). It moves the plugin's settings
/// over by itself, but not the lists.
fn new_name(id: &str) -> Option<&'static str> {
    match id {
        "cgroups" => Some("io.containerd.monitor.task.v1.cgroups"),
        "restart" => Some("io.containerd.monitor.container.v1.restart"),
        _ => None,
    }
}

/// Plugins that 2.x does not have, or (`shim`) has under a name that meant nothing before 1.7.
const GONE: [&str; 3] = ["aufs", "linux", "shim"];

struct Converter<'s> {
    text: &'s str,
    tree: &'s Table,
    full_names: FullNames,
    renames: Vec<Rename>,
}

impl Converter<'_> {
    fn rename(&mut self, range: Range<usize>, replacement: String) {
        self.renames.push(Rename { range, replacement });
    }

    fn version(&mut self) -> Result<(), Refusal> {
        let Some(node) = self.tree.get(VERSION) else {
            let start = if self.text.starts_with('\u{feff}') {
                '\u{feff}'.len_utf8()
            } else {
                0
            };
            let first_line = self.text.split_inclusive('\n').next().unwrap_or_default();
            let newline = if first_line.ends_with("\r\n") {
                "\r\n"
            } else {
                "\n"
            };
            self.rename(start..start, format!("version = 2{newline}"));
            return Ok(());
        };
        match node.value().map(|value| (&value.range, &value.kind)) {
            // 0 is what containerd takes a missing line for (`Config.GetVersion`, v1.7.34).
            Some((range, ValueKind::Integer(0 | 1))) => {
                self.rename(range.clone(), "2".to_owned());
                Ok(())
            }
            Some((range, ValueKind::Integer(version))) => {
                refuse(range, format!("the file is of version {version}, not 1"))
            }
            _ => refuse(
                &node.key.range,
                "`version` is not a number; no containerd starts with it",
            ),
        }
    }

    fn section(&mut self, section: &Section) -> Result<(), Refusal> {
        let header = section.header.as_ref();
        let path = header.map_or(&[][..], |header| header.keys.as_slice());
        match path {
            [] => {
                for entry in &section.entries {
                    self.root_entry(entry)?;
                }
                Ok(())
            }
            [plugins, rest @ ..] if plugins.name == PLUGINS => {
                if let Some(header) = header
                    && header.array
                    && rest.len() < 2
                {
                    return refuse(
                        &header.range,
                        "an array where a table is expected; no containerd starts with it",
                    );
                }
                match rest {
                    [] => self.plugins(&section.entries),
                    [plugin, ..] => self.table(plugin),
                }
            }
            [key, ..] if [DISABLED, REQUIRED, VERSION].contains(&key.name.as_str()) => refuse(
                &key.range,
                format!("`{}` is a table; no containerd starts with it", key.name),
            ),
            _ => Ok(()),
        }
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let Some((first, rest)) = entry.keys.split_first() else {
            return Ok(());
        };
        match (first.name.as_str(), rest, &entry.value.kind) {
            (PLUGINS, [plugin, ..], _) => self.table(plugin),
            (PLUGINS, [], ValueKind::Table(entries)) => self.plugins(entries),
            (DISABLED | REQUIRED, [], ValueKind::Array(elements)) => {
                for element in elements {
                    self.element(element, first.name == REQUIRED)?;
                }
                Ok(())
            }
            (name @ (PLUGINS | DISABLED | REQUIRED), ..) => refuse(
                &entry.value.range,
                format!("`{name}` is of another type; no containerd starts with it"),
            ),
            _ => Ok(()),
        }
    }

    /// The entries of the table `plugins`.
    fn plugins(&mut self, entries: &[Entry]) -> Result<(), Refusal> {
        entries
            .iter()
            .filter_map(|entry| entry.keys.first())
            .try_for_each(|plugin| self.table(plugin))
    }

    /// One mention of a plugin's table.
    fn table(&mut self, key: &Key) -> Result<(), Refusal> {
        if key.name.contains('.') && self.full_names == FullNames::Keep {
            return Ok(());
        }
        self.is_id(&key.name, &key.range)?;
        let kind = match plugin(&key.name) {
            Plugin::One(kind) => kind,
            Plugin::Several(kinds) => kinds.first().copied().unwrap_or_default(),
        };
        let name = format!("{kind}.{}", key.name);
        self.rename(key.range.clone(), self.quoted_like(&key.range, &name));
        Ok(())
    }

    /// One entry of a list of plugins.
    fn element(&mut self, element: &Value, required: bool) -> Result<(), Refusal> {
        let range = &element.range;
        let ValueKind::String(id) = &element.kind else {
            return refuse(
                range,
                "the name of a plugin is not a string; no containerd starts with it",
            );
        };
        self.is_id(id, range)?;
        let kind = match (self.proxy(id), plugin(id)) {
            (Some(kind), _) => kind?,
            (None, Plugin::One(kind)) => kind,
            (None, Plugin::Several(kinds)) => {
                let names: Vec<String> =
                    kinds.iter().map(|kind| format!("`{kind}.{id}`")).collect();
                return refuse(
                    range,
                    format!(
                        "`{id}` is the name of several plugins, {}: write the one that is meant in a version-2 file",
                        names.join(", ")
                    ),
                );
            }
        };
        let name = format!("{kind}.{id}");
        if required && (new_name(id).is_some() || GONE.contains(&id.as_str())) {
            return refuse(
                range,
                format!(
                    "`{name}` is required, and containerd 2.x does not have this plugin, so that it would not start"
                ),
            );
        }
        let mut replacement = self.quoted_like(range, &name);
        if let Some(new_name) = new_name(id) {
            replacement.push_str(", ");
            replacement.push_str(&self.quoted_like(range, new_name));
        }
        self.rename(range.clone(), replacement);
        Ok(())
    }

    /// A name with a dot is one of version 2: containerd 1.x finds no plugin under it in this file, 2.x does.
    fn is_id(&self, name: &str, range: &Range<usize>) -> Result<(), Refusal> {
        if name.contains('.') {
            return refuse(
                range,
                format!(
                    "`{name}` is a name of version 2, which containerd 1.x does not read in a version-1 file: it would take effect in the converted file"
                ),
            );
        }
        // `[plugins.io.containerd.grpc.v1.cri]` without quotes.
        if name == "io" {
            return refuse(
                range,
                "the name of a plugin without quotes, which no containerd reads",
            );
        }
        Ok(())
    }

    /// The type of the plugin that `proxy_plugins` makes under this name, if there is one
    /// (`services/server/server.go@v1.7.34`:471).
    fn proxy(&self, id: &str) -> Option<Result<&'static str, Refusal>> {
        let proxy = self.tree.table_at(&["proxy_plugins"])?.get(id)?;
        let kind = proxy
            .table()
            .and_then(|proxy| proxy.get("type"))
            .and_then(Node::value)
            .map(|value| &value.kind);
        let ValueKind::String(kind) = kind? else {
            return None;
        };
        Some(match kind.as_str() {
            "snapshot" | "io.containerd.snapshotter.v1" => Ok("io.containerd.snapshotter.v1"),
            "content" | "io.containerd.content.v1" => Ok("io.containerd.content.v1"),
            "diff" | "io.containerd.differ.v1" => Ok("io.containerd.differ.v1"),
            _ => refuse(
                &proxy.key.range,
                "a list of plugins has a proxy plugin of a type that this program does not know",
            ),
        })
    }

    /// The name in the kind of quotes that the text has at `range`; bare keys get double ones, as it has dots.
    fn quoted_like(&self, range: &Range<usize>, name: &str) -> String {
        let written = self.text.get(range.clone()).unwrap_or_default();
        quote(name, written.starts_with('\''))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toml::spelling::GoToml;

    fn converted(text: &str) -> String {
        let syntax = Syntax::parse(text).unwrap();
        let renames = convert(text, &syntax, FullNames::Refuse).unwrap();
        let converted = apply(text, &renames).unwrap();
        for reader in GoToml::ALL {
            let is_read = |text| Syntax::parse(text).unwrap().refusal(reader).is_none();
            assert_eq!(is_read(text), is_read(&converted), "{converted}");
        }
        converted
    }

    fn refused(text: &str) -> (&str, String) {
        let syntax = Syntax::parse(text).unwrap();
        let refusal = convert(text, &syntax, FullNames::Refuse).unwrap_err();
        (text.get(refusal.range).unwrap(), refusal.reason)
    }

    const REAL: &str = r#"# node 7
version = 1
root = "/var/lib/containerd"   # default
disabled_plugins = ["aufs", 'zfs', "restart"]
required_plugins = [
  "cri", # must be there
]

[grpc]
  address = "/run/containerd/containerd.sock"
  version = 1

[plugins]
  [plugins.cgroups]
    no_prometheus = false
  [plugins.cri]
    sandbox_image = "registry.k8s.io/pause:3.9" # plugins.cri
    [plugins.cri.containerd]
      snapshotter = "overlayfs"
      [plugins.cri.containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
    [plugins."cri".registry.mirrors."docker.io"]
      endpoint = ["https://mirror.example.com"]
  [ plugins . 'linux' ]
    shim = "containerd-shim"
  [plugins.diff-service]
    default = ["walking"]
  [plugins.scheduler]
    pause_threshold = 0.02
"#;

    #[test]
    fn a_real_file_keeps_everything_but_the_names() {
        let expected = REAL
            .replace("version = 1\nroot", "version = 2\nroot")
            .replace(
                r#"["aufs", 'zfs', "restart"]"#,
                r#"["io.containerd.snapshotter.v1.aufs", 'io.containerd.snapshotter.v1.zfs', "io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart"]"#,
            )
            .replace(r#"  "cri", #"#, r#"  "io.containerd.grpc.v1.cri", #"#)
            .replace("[plugins.cgroups", r#"[plugins."io.containerd.monitor.v1.cgroups""#)
            .replace("[plugins.cri", r#"[plugins."io.containerd.grpc.v1.cri""#)
            .replace(r#"[plugins."cri""#, r#"[plugins."io.containerd.grpc.v1.cri""#)
            .replace("'linux'", "'io.containerd.runtime.v1.linux'")
            .replace("diff-service", r#""io.containerd.service.v1.diff-service""#)
            .replace("[plugins.scheduler", r#"[plugins."io.containerd.gc.v1.scheduler""#);
        assert_eq!(converted(REAL), expected);
        assert_eq!(
            converted(&REAL.replace('\n', "\r\n")),
            expected.replace('\n', "\r\n")
        );
    }

    #[test]
    fn every_shape_is_converted() {
        for (text, expected) in [
            (
                "plugins.cri.registry.config_path = ''\nplugins.'cri'.x = 1\nversion = 0x1\n",
                "plugins.\"io.containerd.grpc.v1.cri\".registry.config_path = ''\nplugins.'io.containerd.grpc.v1.cri'.x = 1\nversion = 2\n",
            ),
            (
                "\"version\" = 1\n[plugins]\ncri.a = 1\n\"cri\".b = {cri = 1}\nopt = { path = '/opt' }\n",
                "\"version\" = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\".a = 1\n\"io.containerd.grpc.v1.cri\".b = {cri = 1}\n\"io.containerd.internal.v1.opt\" = { path = '/opt' }\n",
            ),
            (
                "version = 1\nplugins = { cri = { plugins = 1 }, bolt.x = 1 }",
                "version = 2\nplugins = { \"io.containerd.grpc.v1.cri\" = { plugins = 1 }, \"io.containerd.metadata.v1.bolt\".x = 1 }",
            ),
            (
                "version = 1\n[[plugins.cri.a]]\n[x.plugins.cri]\n",
                "version = 2\n[[plugins.\"io.containerd.grpc.v1.cri\".a]]\n[x.plugins.cri]\n",
            ),
            (
                "version = 1\ndisabled_plugins = ['''cri''', \"\"\"restart\"\"\"]",
                "version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri', \"io.containerd.internal.v1.restart\", \"io.containerd.monitor.container.v1.restart\"]",
            ),
        ] {
            assert_eq!(converted(text), expected);
        }
    }

    #[test]
    fn a_missing_version_is_put_first() {
        assert_eq!(converted(""), "version = 2\n");
        assert_eq!(
            converted("# c\nroot = '/x'"),
            "version = 2\n# c\nroot = '/x'"
        );
        assert_eq!(
            converted("\u{feff}root = '/x'\r\n[plugins.cri]\r\n"),
            "\u{feff}version = 2\r\nroot = '/x'\r\n[plugins.\"io.containerd.grpc.v1.cri\"]\r\n"
        );
        // This one is the plugin's.
        assert!(converted("[plugins.x]\nversion = 1\n").starts_with("version = 2\n[plugins"));
    }

    #[test]
    fn plugins_have_their_real_types() {
        for (id, name) in [
            ("nri", "io.containerd.nri.v1.nri"),
            ("blockfile", "io.containerd.snapshotter.v1.blockfile"),
            ("walking", "io.containerd.differ.v1.walking"),
            ("content", "io.containerd.content.v1.content"),
            ("local", "io.containerd.transfer.v1.local"),
            ("shim", "io.containerd.runtime.v2.shim"),
            ("task", "io.containerd.runtime.v2.task"),
            ("tracing", "io.containerd.internal.v1.tracing"),
            ("otlp", "io.containerd.tracing.processor.v1.otlp"),
            ("tasks-service", "io.containerd.service.v1.tasks-service"),
            ("tasks", "io.containerd.grpc.v1.tasks"),
            ("typo", "io.containerd.grpc.v1.typo"),
        ] {
            assert_eq!(
                converted(&format!("version = 1\n[plugins.{id}]")),
                format!("version = 2\n[plugins.\"{name}\"]")
            );
        }
        assert_eq!(
            converted("required_plugins = ['stargz']\nproxy_plugins.stargz.type = 'snapshot'\n"),
            "version = 2\nrequired_plugins = ['io.containerd.snapshotter.v1.stargz']\nproxy_plugins.stargz.type = 'snapshot'\n"
        );
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for (text, at, reason) in [
            (
                "[plugins.\"io.containerd.grpc.v1.cri\".registry]",
                "\"io.containerd.grpc.v1.cri\"",
                "would take effect",
            ),
            (
                "[plugins.io.containerd.grpc.v1.cri]",
                "io",
                "without quotes",
            ),
            (
                "disabled_plugins = ['io.containerd.grpc.v1.cri']",
                "'io.containerd.grpc.v1.cri'",
                "would take effect",
            ),
            (
                "disabled_plugins = ['content']",
                "'content'",
                "`io.containerd.grpc.v1.content`",
            ),
            (
                "required_plugins = ['cgroups']",
                "'cgroups'",
                "2.x does not have this plugin",
            ),
            (
                "required_plugins = ['linux']",
                "'linux'",
                "2.x does not have this plugin",
            ),
            ("required_plugins = [1]", "1", "not a string"),
            ("required_plugins = 'cri'", "'cri'", "another type"),
            ("version = 2", "2", "version 2, not 1"),
            ("version = '1'", "version", "not a number"),
            ("plugins = 1", "1", "another type"),
            ("[[plugins]]", "[[plugins]]", "an array"),
            ("[[plugins.cri]]", "[[plugins.cri]]", "an array"),
            ("[Plugins.cri]", "Plugins", "capitals"),
            ("VERSION = 1", "VERSION", "capitals"),
            (
                "disabled_plugins = ['x']\n[proxy_plugins.x]\ntype = 'other'",
                "x",
                "of a type that this program",
            ),
        ] {
            let (found, said) = refused(text);
            assert_eq!(found, at, "{text}");
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
}
