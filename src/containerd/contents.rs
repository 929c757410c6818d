//! What one file tells containerd's loader: its version, its lists of plugins, its tables of the CRI plugin, typed.
//!
//! Nothing here knows of other files: what several make together is the business of [`crate::containerd::sight`].

use std::rc::Rc;

use super::file::ConfigFile;
use super::lookup::{CaseError, Lookup, TypeError};
use super::registry::{self, Registry, Spelling};
use crate::containerd::release::Major;
use crate::finding::{Place, Placed};
use crate::toml::syntax::{Node, Table, ValueKind};

/// The names that the CRI plugin's table with `registry` has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginId {
    /// `cri`, in files of version 1.
    Cri,
    /// `io.containerd.grpc.v1.cri`, in files of version 2.
    Grpc,
    /// `io.containerd.cri.v1.images`, in files of version 3 and 4.
    Images,
}

impl PluginId {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cri, Self::Grpc, Self::Images];

    /// The name as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::Grpc => "io.containerd.grpc.v1.cri",
            Self::Images => "io.containerd.cri.v1.images",
        }
    }

    /// The name that belongs into a file of this version.
    pub fn of_version(version: i64) -> Self {
        match version {
            ..=1 => Self::Cri,
            2 => Self::Grpc,
            _ => Self::Images,
        }
    }
}

/// A table of the CRI plugin.
#[derive(Clone, Debug)]
pub struct PluginSection {
    /// Under which name.
    pub id: PluginId,
    /// The name.
    pub place: Place,
    /// Where it is: `plugins`, the plugin's name, as they are spelled.
    pub table: [String; 2],
    /// Its registry table, if it has one.
    pub registry: Option<Rc<Registry>>,
    /// Where the registry table begins.
    pub registry_place: Option<Place>,
    /// How the registry table is spelled, or would be.
    pub spelling: Spelling,
    /// What it says about how images are pulled.
    pub puller: PullerSettings,
    /// Values of the wrong type in it.
    pub errors: Vec<TypeError>,
}

/// The settings beside `registry` that keep containerd 2.1 and later from pulling through the transfer service
/// (`CheckLocalImagePullConfigs`, `internal/cri/config/config.go@v2.1.9`:535).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullerSettings {
    /// `use_local_image_pull`, which only the images plugin has.
    pub use_local_image_pull: Option<bool>,
    /// `max_concurrent_downloads`; any other number than 3 keeps the local pull.
    pub max_concurrent_downloads: Option<i64>,
    /// `image_pull_with_sync_fs`.
    pub image_pull_with_sync_fs: Option<bool>,
    /// `disable_snapshot_annotations`; `false` keeps the local pull.
    pub disable_snapshot_annotations: Option<bool>,
    /// `discard_unpacked_layers`.
    pub discard_unpacked_layers: Option<bool>,
}

impl PullerSettings {
    /// The settings when `later` is merged over these.
    pub fn merged(self, later: Self) -> Self {
        Self {
            use_local_image_pull: later.use_local_image_pull.or(self.use_local_image_pull),
            max_concurrent_downloads: later
                .max_concurrent_downloads
                .or(self.max_concurrent_downloads),
            image_pull_with_sync_fs: later
                .image_pull_with_sync_fs
                .or(self.image_pull_with_sync_fs),
            disable_snapshot_annotations: later
                .disable_snapshot_annotations
                .or(self.disable_snapshot_annotations),
            discard_unpacked_layers: later
                .discard_unpacked_layers
                .or(self.discard_unpacked_layers),
        }
    }

    /// Whether they alone keep the local pull.
    pub fn keeps_local_pull(self) -> bool {
        self.use_local_image_pull == Some(true)
            || self
                .max_concurrent_downloads
                .is_some_and(|number| number != 3)
            || self.image_pull_with_sync_fs == Some(true)
            || self.disable_snapshot_annotations == Some(false)
            || self.discard_unpacked_layers == Some(true)
    }
}

/// What one file says, as all of some TOML readers read it.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Its `version`; 0 if it says none.
    pub version: i64,
    /// The names below `plugins`.
    pub plugins: Vec<Placed<String>>,
    /// `disabled_plugins`.
    pub disabled: Vec<Placed<String>>,
    /// `required_plugins`.
    pub required: Vec<Placed<String>>,
    /// `imports`.
    pub imports: Vec<Placed<String>>,
    /// The CRI plugin's tables, in the order of [`PluginId`].
    pub sections: Vec<PluginSection>,
    /// Values of the wrong type outside the CRI plugin's tables.
    pub errors: Vec<TypeError>,
    /// What the readers do not agree about.
    pub cases: Vec<CaseError>,
}

impl Contents {
    /// The registry settings of its sections.
    pub fn registries(&self) -> impl Iterator<Item = &Registry> {
        let sections = self.sections.iter();
        sections.filter_map(|section| section.registry.as_deref())
    }

    /// What `file` says to all of `readers`.
    pub fn of(file: &ConfigFile, readers: &[Major]) -> Self {
        let mut lookup = Lookup::new(file, readers);
        let mut contents = Self {
            version: version(&mut lookup),
            ..Self::default()
        };
        let mut list = |name: &str| match lookup.find(file.tree(), name) {
            Some(node) => lookup.strings(node),
            None => Vec::new(),
        };
        contents.disabled = list("disabled_plugins");
        contents.required = list("required_plugins");
        contents.imports = list("imports");
        let plugins = lookup.find(file.tree(), "plugins");
        contents.errors = std::mem::take(&mut lookup.errors);
        if let Some(plugins) = plugins {
            for (node, table) in lookup.tables(plugins) {
                let name = node.key.name.to_string();
                contents
                    .plugins
                    .push(file.placed(name, node.key.range.clone()));
                if let Some(id) = PluginId::ALL
                    .into_iter()
                    .find(|id| id.name() == node.key.name)
                {
                    let parent = plugins.key.name.to_string();
                    let outside = std::mem::take(&mut lookup.errors);
                    let mut section = section(&mut lookup, id, parent, node, table);
                    section.errors = std::mem::replace(&mut lookup.errors, outside);
                    contents.sections.push(section);
                }
            }
            contents.sections.sort_by_key(|section| section.id);
        }
        contents.errors.append(&mut lookup.errors);
        contents.cases = lookup.cases;
        contents
    }

    /// The version that `file` says it has to this reader; 0 if it says none.
    pub fn version_of(file: &ConfigFile, reader: Major) -> i64 {
        version(&mut Lookup::new(file, &[reader]))
    }

    /// The CRI plugin's table of this name.
    pub fn section(&self, id: PluginId) -> Option<&PluginSection> {
        self.sections.iter().find(|section| section.id == id)
    }
}

fn version(lookup: &mut Lookup<'_, '_>) -> i64 {
    let Some(node) = lookup.find(lookup.file.tree(), "version") else {
        return 0;
    };
    match node.value().map(|value| &value.kind) {
        Some(ValueKind::Integer(version)) => *version,
        _ => {
            lookup.wrong_type(node, "an integer such as `version = 2`");
            0
        }
    }
}

fn section(
    lookup: &mut Lookup<'_, '_>,
    id: PluginId,
    plugins: String,
    node: &Node,
    table: &Table,
) -> PluginSection {
    let registry_node = match id {
        PluginId::Images => lookup.find(table, "registry"),
        PluginId::Cri | PluginId::Grpc => lookup.find_migrated(table, "registry"),
    };
    let key = registry_node.map_or("registry", |node| node.key.name.as_str());
    let path = [plugins.clone(), id.name().to_owned(), key.to_owned()];
    let mut registry = None;
    let mut spelling = Spelling {
        table: path.clone(),
        config_path: "config_path".to_owned(),
        mirrors: None,
        configs: None,
    };
    if let Some(node) = registry_node {
        match node.table() {
            Some(table) => {
                let read = registry::read(lookup, table, path);
                registry = Some(Rc::new(read.0));
                spelling = read.1;
            }
            None => lookup.wrong_type(node, "a table"),
        }
    }
    PluginSection {
        id,
        place: lookup.key_place(node),
        table: [plugins, id.name().to_owned()],
        registry,
        registry_place: registry_node.map(|node| {
            let range = node
                .header
                .clone()
                .unwrap_or_else(|| node.key.range.clone());
            lookup.file.place(range)
        }),
        spelling,
        puller: puller(id, table),
        errors: Vec::new(),
    }
}

/// Where the migration of older files takes these settings from (`migrateConfig`,
/// `plugins/cri/images/plugin.go@v2.1.9`): two lie below `containerd`, and count only where that has `runtimes`.
fn puller(id: PluginId, table: &Table) -> PullerSettings {
    let boolean = |table: Option<&Table>, name: &str| match table?.get(name)?.value()?.kind {
        ValueKind::Boolean(truth) => Some(truth),
        _ => None,
    };
    let max_concurrent_downloads = match table
        .get("max_concurrent_downloads")
        .and_then(|node| node.value())
        .map(|value| &value.kind)
    {
        Some(ValueKind::Integer(number)) => Some(*number),
        _ => None,
    };
    let native = id == PluginId::Images;
    let snapshots = if native {
        Some(table)
    } else {
        table
            .table_at(&["containerd"])
            .filter(|containerd| containerd.get("runtimes").is_some())
    };
    PullerSettings {
        use_local_image_pull: boolean(Some(table).filter(|_| native), "use_local_image_pull"),
        max_concurrent_downloads,
        image_pull_with_sync_fs: boolean(Some(table), "image_pull_with_sync_fs"),
        disable_snapshot_annotations: boolean(snapshots, "disable_snapshot_annotations"),
        discard_unpacked_layers: boolean(snapshots, "discard_unpacked_layers"),
    }
}
