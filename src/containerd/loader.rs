//! How one containerd puts a node's configuration files together when it starts: which registry tables take effect,
//! whether the daemon starts, and whether CRI loads.

use crate::containerd::configuration::{Configuration, LoadOrder, LoadedFile};
use crate::containerd::contents::{Contents, PluginId, PluginSection, PullerSettings};
use crate::containerd::registry::Registry;
use crate::containerd::release::{Behaviour, DefaultConfigPath, Major, Merging, PluginNames};
use crate::finding::{self, Code, Place, Placed};
use crate::secret::shown_word;
use crate::toml::spelling::Spelling;

/// The built-in `config_path` of 2.2 and later (`internal/cri/config/config_unix.go@v2.2.1`:36).
pub const BUILT_IN_CONFIG_PATH: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";

/// Plugins of 1.x that 2.x has under another name, or not at all.
const GONE_FROM_2: [&str; 4] = [
    "io.containerd.internal.v1.restart",
    "io.containerd.monitor.v1.cgroups",
    "io.containerd.runtime.v1.linux",
    "io.containerd.snapshotter.v1.aufs",
];

/// How far a daemon gets when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// CRI loads.
    Loads,
    /// The daemon runs, but CRI is switched off.
    CriDisabled(Reason),
    /// The daemon runs, but CRI fails to load.
    CriFails(Reason),
    /// The daemon does not start.
    DoesNotStart(Reason),
}

/// Why a daemon does not get further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The finding that explains it.
    pub code: &'static Code,
    /// Where it is.
    pub place: Option<Place>,
    /// What it is, as a phrase.
    pub text: String,
}

impl Reason {
    pub(super) fn new(
        code: &'static Code,
        place: impl Into<Option<Place>>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            code,
            place: place.into(),
            text: text.into(),
        }
    }
}

impl Startup {
    /// Why it gets no further.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Loads => None,
            Self::CriDisabled(reason) | Self::CriFails(reason) | Self::DoesNotStart(reason) => {
                Some(reason)
            }
        }
    }
}

/// A table of the CRI plugin: the file's index in the configuration, and the name.
pub type SectionId = (usize, PluginId);

/// The files of one containerd, in load order.
pub(super) struct Loader<'c> {
    files: Vec<(usize, &'c LoadedFile)>,
    order: Option<&'c LoadOrder>,
    behaviour: &'c Behaviour,
}

/// The files put together.
pub(super) struct Loaded {
    /// The version of all files together.
    pub(super) version: i64,
    /// The sections whose registry tables take effect, in load order.
    pub(super) in_effect: Vec<SectionId>,
    /// The last file that has a place for registry settings, and the name of the section there.
    pub(super) last: Option<SectionId>,
    /// The settings beside `registry` that choose the puller.
    pub(super) puller: PullerSettings,
    /// See [`Sight::by_chance`](crate::containerd::sight::Sight::by_chance).
    pub(super) by_chance: Option<[SectionId; 2]>,
    /// Values of the wrong type in what takes effect.
    errors: Vec<Reason>,
}

impl<'c> Loader<'c> {
    pub(super) fn new(configuration: &'c Configuration, behaviour: &'c Behaviour) -> Self {
        let order = configuration.order(behaviour);
        Self {
            files: order
                .into_iter()
                .flat_map(|order| &order.files)
                .filter_map(|index| Some((*index, configuration.files.get(*index)?)))
                .collect(),
            order,
            behaviour,
        }
    }

    /// Why the daemon does not start: something that is imported does not exist.
    pub(super) fn missing_import(&self) -> Option<Reason> {
        let (text, place) = self.order?.missing.first()?;
        Some(Reason::new(
            &finding::IMPORT_MISSING,
            place.clone(),
            text.as_str(),
        ))
    }

    /// How far the daemon gets with these files, as if imports that do not exist were empty files.
    pub(super) fn startup(&self, loaded: &Loaded, conflict: Option<Reason>) -> Startup {
        match self.start(loaded.version, &loaded.errors) {
            Err(reason) => Startup::DoesNotStart(reason),
            Ok(()) => self.cri(conflict, loaded.version),
        }
    }

    fn contents(&self) -> impl Iterator<Item = (usize, &'c Contents)> + '_ {
        let reader = self.behaviour.major;
        self.files
            .iter()
            .map(move |(index, file)| (*index, file.contents(reader)))
    }

    pub(super) fn section(&self, (file, id): SectionId) -> Option<&'c PluginSection> {
        let (_, loaded) = self.files.iter().find(|(index, _)| *index == file)?;
        loaded.contents(self.behaviour.major).section(id)
    }

    /// Puts the files together.
    pub(super) fn load(&self) -> Loaded {
        let (version, layers) = match self.behaviour.merging {
            Merging::Sections => self.last_section(),
            Merging::KeysThenMigration => self.merged_and_migrated(),
            Merging::MigrationThenKeys => self.migrated_and_merged(),
        };
        let has_registry =
            |id: &&SectionId| self.section(**id).is_some_and(|s| s.registry.is_some());
        let in_effect: Vec<SectionId> = layers
            .registries
            .iter()
            .filter(has_registry)
            .copied()
            .collect();
        let mut puller = PullerSettings::default();
        let mut errors = Vec::new();
        for section in layers.all.iter().filter_map(|id| self.section(*id)) {
            puller = puller.merged(section.puller);
            let seen = section
                .errors
                .iter()
                .filter(|error| self.behaviour.reads_legacy_tls() || !error.in_tls);
            errors.extend(seen.map(|error| {
                Reason::new(
                    &finding::WRONG_TYPE,
                    error.place.clone(),
                    error.message.clone(),
                )
            }));
        }
        Loaded {
            version,
            in_effect,
            last: layers.last,
            puller,
            by_chance: layers.by_chance,
            errors,
        }
    }

    /// 1.x: the last file with the section has all of it.
    fn last_section(&self) -> (i64, Layers) {
        let version = self
            .contents()
            .filter(|(_, contents)| contents.version != 0)
            .last()
            .map_or(1, |(_, contents)| contents.version);
        let id = if version == 1 {
            PluginId::Cri
        } else {
            PluginId::Grpc
        };
        let last = self
            .contents()
            .filter(|(_, contents)| contents.section(id).is_some())
            .last()
            .map(|(index, _)| (index, id));
        (version, Layers::of(last.into_iter().collect()))
    }

    /// 2.0 to 2.2: files of version 1 get the names and the number of what is merged so far; then all is merged, and
    /// what is not of version 3 by then is migrated.
    fn merged_and_migrated(&self) -> (i64, Layers) {
        let mut version = self.behaviour.newest_file_version;
        let mut grpc = Vec::new();
        let mut images = Vec::new();
        let mut by_chance = None;
        for (index, contents) in self.contents() {
            let renamed = contents.version <= 1;
            if renamed {
                by_chance = by_chance.or(one_name_replaces_the_other(index, contents));
            } else {
                version = contents.version;
            }
            for section in &contents.sections {
                match section.id {
                    PluginId::Cri if renamed => grpc.push((index, PluginId::Cri)),
                    PluginId::Cri => {}
                    PluginId::Grpc => grpc.push((index, PluginId::Grpc)),
                    PluginId::Images => images.push((index, PluginId::Images)),
                }
            }
        }
        if version >= self.behaviour.newest_file_version {
            return (version, Layers::of(images));
        }
        // The older name's registry table replaces the newer one's.
        let replaces = grpc.iter().any(|id| {
            self.section(*id)
                .is_some_and(|section| section.registry.is_some())
        });
        let mut layers = Layers {
            registries: if replaces {
                grpc.clone()
            } else {
                images.clone()
            },
            last: None,
            all: images,
            by_chance,
        };
        // What is migrated is put over what is there, whatever file it came from.
        layers.all.extend(grpc);
        let of_registry = layers.registries.last().copied();
        layers.last = of_registry.or(layers.all.last().copied());
        (version, layers)
    }

    /// 2.3 and later: each file is migrated, and then merged.
    fn migrated_and_merged(&self) -> (i64, Layers) {
        let newest = self.behaviour.newest_file_version;
        let mut version = newest;
        let mut layers = Layers::default();
        for (index, contents) in self.contents() {
            version = version.max(contents.version);
            let native = contents
                .section(PluginId::Images)
                .map(|_| (index, PluginId::Images));
            let replaces = |id: &SectionId| self.section(*id).is_some_and(|s| s.registry.is_some());
            let mut older = None;
            if contents.version < newest {
                let section = |id| contents.section(id).map(|_| (index, id));
                let (short, long) = (section(PluginId::Cri), section(PluginId::Grpc));
                older = match contents.version {
                    0 => long.filter(replaces).or(short).or(long),
                    1 => short.or(long),
                    _ => long,
                };
                let by_chance = match contents.version {
                    0 => one_name_is_laid_over_the_other(index, contents),
                    1 => one_name_replaces_the_other(index, contents),
                    _ => None,
                };
                layers.by_chance = layers.by_chance.or(by_chance);
            }
            let registry = older.filter(replaces).or(native).or(older);
            layers.all.extend(native);
            if contents.version == 0 && older.is_some_and(|(_, id)| id == PluginId::Cri) {
                // What the long name says counts in any case.
                let long = contents.section(PluginId::Grpc);
                layers.all.extend(long.map(|_| (index, PluginId::Grpc)));
            }
            layers.all.extend(older);
            layers.registries.extend(registry);
            layers.last = registry.or(layers.last);
        }
        (version, layers)
    }

    fn position(&self, file: usize) -> usize {
        self.files
            .iter()
            .position(|(index, _)| *index == file)
            .unwrap_or_default()
    }

    /// Whether the daemon starts.
    fn start(&self, version: i64, errors: &[Reason]) -> Result<(), Reason> {
        let behaviour = self.behaviour;
        let mut root_version = 0;
        for (_, loaded) in &self.files {
            let file = &loaded.file;
            if let Some(refusal) = loaded.refusal(behaviour.go_toml) {
                let code = match refusal.spelling {
                    Spelling::ByteOrderMark => &finding::BYTE_ORDER_MARK,
                    _ => &finding::TOML_DIALECT,
                };
                let place = file.place(refusal.range.clone());
                return Err(Reason::new(code, place, refusal.spelling.phrase()));
            }
            let contents = loaded.contents(behaviour.major);
            if let Some(error) = contents.errors.first() {
                let text = error.message.clone();
                return Err(Reason::new(&finding::WRONG_TYPE, error.place.clone(), text));
            }
            if root_version == 0 {
                root_version = contents.version;
            }
            if behaviour.refuses_newer_drop_in && contents.version > root_version {
                let (drop_in, main) = (contents.version, root_version);
                let text =
                    format!("a drop-in of version {drop_in} beside a main file of version {main}");
                return Err(Reason::new(
                    &finding::MIXED_VERSIONS,
                    file.version_place(),
                    text,
                ));
            }
        }
        if behaviour.refuses_newer_file && version > behaviour.newest_file_version {
            let newest = self
                .files
                .iter()
                .rfind(|(_, loaded)| loaded.contents(behaviour.major).version == version);
            let code = match newest {
                Some((index, _)) if self.position(*index) > 0 => &finding::MIXED_VERSIONS,
                _ => &finding::VERSION_NOT_READ,
            };
            let place = newest.map(|(_, loaded)| loaded.file.version_place());
            return Err(Reason::new(
                code,
                place,
                format!("it does not read files of version {version}"),
            ));
        }
        self.names(version)?;
        match errors.first() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Whether all plugins have names that this containerd accepts.
    fn names(&self, version: i64) -> Result<(), Reason> {
        let names = self.behaviour.plugin_names;
        if version < 2 && names != PluginNames::TwoPartsInLists {
            return Ok(());
        }
        for (_, contents) in self.contents() {
            let lists = contents.disabled.iter().chain(&contents.required);
            let tables = contents.plugins.iter();
            let checked: Vec<&Placed<String>> = match names {
                // Names without a dot have been renamed in files of version 1.
                PluginNames::TwoPartsInLists if contents.version <= 1 => Vec::new(),
                PluginNames::TwoPartsInLists => lists.collect(),
                PluginNames::FourParts | PluginNames::FourPartsOfContainerd => {
                    lists.chain(tables).collect()
                }
            };
            let has_four_parts =
                |name: &str| name.bytes().filter(|byte| *byte == b'.').count() >= 3;
            let accepts = |name: &str| match names {
                PluginNames::FourParts => has_four_parts(name),
                PluginNames::FourPartsOfContainerd => {
                    name.starts_with("io.containerd.") && has_four_parts(name)
                }
                PluginNames::TwoPartsInLists => name.contains('.'),
            };
            if let Some(name) = checked.into_iter().find(|name| !accepts(&name.value)) {
                // In a file of version 1 the short name was right, until another one made it all version 2.
                let code = if contents.version <= 1 {
                    &finding::MIXED_VERSIONS
                } else {
                    &finding::INVALID_PLUGIN_ID
                };
                let text = format!(
                    "`{}` is not the full name of a plugin",
                    shown_word(&name.value)
                );
                return Err(Reason::new(code, name.place.clone(), text));
            }
        }
        Ok(())
    }

    /// Whether CRI loads in a daemon that starts.
    fn cri(&self, conflict: Option<Reason>, version: i64) -> Startup {
        let (disabled, required) = (self.listed(|c| &c.disabled), self.listed(|c| &c.required));
        let two = self.behaviour.major == Major::Two;
        let [images, runtime] = [PluginId::Images.name(), "io.containerd.cri.v1.runtime"];
        let absent: &[&str] = if two {
            &GONE_FROM_2
        } else {
            &[images, runtime]
        };
        let absent = required
            .iter()
            .find(|(listed, _)| absent.contains(&listed.as_str()));
        if let Some((plugin, place)) = absent {
            let text =
                format!("`{plugin}` is in `required_plugins`, and this plugin does not exist");
            return Startup::DoesNotStart(Reason::new(
                &finding::INVALID_PLUGIN_ID,
                place.clone(),
                text,
            ));
        }
        let name = if two || version >= 2 {
            PluginId::Grpc.name()
        } else {
            PluginId::Cri.name()
        };
        // With its registry settings refused 2.x has no part that manages images, and without that no CRI.
        let is_required = |part: &str, reason: Reason| match required
            .iter()
            .find(|(listed, _)| listed == name || two && listed == part)
        {
            Some(_) => Startup::DoesNotStart(Reason {
                text: format!("{}, and CRI is in `required_plugins`", reason.text),
                ..reason
            }),
            None => Startup::CriFails(reason),
        };
        if let Some((_, place)) = disabled.iter().find(|(listed, _)| listed == name) {
            let reason = Reason::new(
                &finding::CRI_DISABLED,
                place.clone(),
                "CRI is in `disabled_plugins`",
            );
            return match is_required(name, reason.clone()) {
                Startup::CriFails(_) => Startup::CriDisabled(reason),
                state => state,
            };
        }
        if two
            && let Some((part, place)) = disabled
                .iter()
                .find(|(listed, _)| [images, runtime].contains(&listed.as_str()))
        {
            let text = format!("`{part}`, which CRI needs, is in `disabled_plugins`");
            return is_required(
                part,
                Reason::new(&finding::CRI_DISABLED, place.clone(), text),
            );
        }
        match conflict {
            Some(reason) => is_required(images, reason),
            None => Startup::Loads,
        }
    }

    /// The names in one of the lists of all files, those of version-1 files by their newer names on 2.x.
    fn listed(&self, list: impl Fn(&Contents) -> &Vec<Placed<String>>) -> Vec<(String, Place)> {
        let renames = self.behaviour.major == Major::Two;
        let mut names = Vec::new();
        for (_, contents) in self.contents() {
            for name in list(contents) {
                let renamed = renames && contents.version <= 1;
                let known = match name.value.as_str() {
                    "aufs" if renamed => "io.containerd.snapshotter.v1.aufs",
                    "cri" if renamed => PluginId::Grpc.name(),
                    "cgroups" if renamed => "io.containerd.monitor.v1.cgroups",
                    "linux" if renamed => "io.containerd.runtime.v1.linux",
                    "restart" if renamed => "io.containerd.internal.v1.restart",
                    other => other,
                };
                names.push((known.to_owned(), name.place.clone()));
            }
        }
        names
    }
}

/// Where a file has both names of a version-1 file, and it matters which of the two sections becomes the plugin's: the one
/// that is renamed last replaces the other whole, and they are renamed in the order of a Go map (`v1Migrate`,
/// `cmd/containerd/server/config/config.go@v2.0.11`:152; docs/containerd.md §13).
fn one_name_replaces_the_other(index: usize, contents: &Contents) -> Option<[SectionId; 2]> {
    let sections = both_names(contents)?;
    let mut registries = sections.into_iter().flat_map(|section| &section.registry);
    registries
        .any(|registry| registry.says_something())
        .then_some([(index, PluginId::Cri), (index, PluginId::Grpc)])
}

/// The same in a file without a version on 2.3 and later, which migrate it twice: what the long name says is moved to the
/// images plugin before the names meet, so that only a `registry` below the short one can replace it.
fn one_name_is_laid_over_the_other(index: usize, contents: &Contents) -> Option<[SectionId; 2]> {
    let [short, _] = both_names(contents)?;
    short.registry.as_ref()?;
    one_name_replaces_the_other(index, contents)
}

/// The sections of the short and of the long name, where there are both.
fn both_names(contents: &Contents) -> Option<[&PluginSection; 2]> {
    let (short, long) = (
        contents.section(PluginId::Cri),
        contents.section(PluginId::Grpc),
    );
    Some([short?, long?])
}

/// The sections that count.
#[derive(Default)]
struct Layers {
    /// Those whose registry tables count.
    registries: Vec<SectionId>,
    /// The last one that has a place for registry settings.
    last: Option<SectionId>,
    /// All that count.
    all: Vec<SectionId>,
    /// See [`Loaded::by_chance`].
    by_chance: Option<[SectionId; 2]>,
}

impl Layers {
    fn of(sections: Vec<SectionId>) -> Self {
        Self {
            last: sections.last().copied(),
            registries: sections.clone(),
            all: sections,
            by_chance: None,
        }
    }
}

/// `config_path` as it takes effect: the setting, or what is built in.
pub(super) fn config_path(registry: &Registry, loaded: &Loaded, behaviour: &Behaviour) -> String {
    if let Some(path) = &registry.config_path {
        return path.value.clone();
    }
    // An empty string is filled in by the migration of older files, and stays in a file of version 3
    // (`plugins/cri/images/plugin.go@v2.2.1`:213).
    let stays_empty = registry.cleared_config_path.is_some()
        && loaded
            .in_effect
            .last()
            .is_some_and(|(_, id)| *id == PluginId::Images);
    let built_in = match behaviour.default_config_path {
        DefaultConfigPath::None => false,
        DefaultConfigPath::Always => !stays_empty,
        DefaultConfigPath::WithoutMirrors => registry.mirrors.is_empty(),
    };
    if built_in {
        BUILT_IN_CONFIG_PATH.to_owned()
    } else {
        String::new()
    }
}

/// Why CRI refuses the registry settings (`ValidatePluginConfig` and `ValidateImageConfig`,
/// `pkg/cri/config/config.go@v1.7.34`:510, `internal/cri/config/config.go@v2.1.9`:489).
pub(super) fn conflict(
    registry: &Registry,
    config_path: &str,
    behaviour: &Behaviour,
) -> Option<Reason> {
    if !config_path.is_empty() {
        if let Some(mirror) = registry.mirrors.first() {
            let text = if registry.config_path.is_some() {
                "`mirrors` and `config_path` are both set"
            } else {
                "`mirrors` and its built-in `config_path` are both set"
            };
            let place = mirror.name.place.clone();
            return Some(Reason::new(
                &finding::MIRRORS_BESIDE_CONFIG_PATH,
                place,
                text,
            ));
        }
        let tls = registry
            .configs
            .iter()
            .find_map(|config| config.tls.as_ref());
        if let (true, Some(tls)) = (behaviour.reads_legacy_tls(), tls) {
            let text = "`configs.*.tls` and `config_path` are both set";
            return Some(Reason::new(
                &finding::TLS_BESIDE_CONFIG_PATH,
                tls.place.clone(),
                text,
            ));
        }
    }
    auths_error(registry, behaviour)
}

/// The name in `auths` that containerd cannot parse, which keeps CRI from loading
/// (`ValidateImageConfig`, `internal/cri/config/config.go@v2.0.11`:479).
pub(super) fn auths_error(registry: &Registry, behaviour: &Behaviour) -> Option<Reason> {
    registry.auths.iter().find_map(|entry| {
        let error = entry.host(behaviour.strict_colons).err()?;
        let text = format!("a name in `auths` cannot be parsed as a URL: {error}");
        Some(Reason::new(
            &finding::UNPARSABLE_AUTHS_KEY,
            entry.name.place.clone(),
            text,
        ))
    })
}
