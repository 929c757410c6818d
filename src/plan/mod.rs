//! The change: what every file is before and after, and what becomes of every setting. Pure: same inputs, same plan.
//!
//! ```text
//! findings about single settings → wanted: the hosts that every namespace must have → files → edit of the config
//! ```
//! Nothing here reads or writes a disk, and nothing here is believed: `verify` reads the result back.

use std::collections::{BTreeMap, BTreeSet};

use crate::containerd::configuration::{Configuration, LoadedFile};
use crate::containerd::contents::{Contents, PluginId};
use crate::containerd::file::ConfigFile;
use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::{CertsDirectory, DEFAULT};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::Legacy;
use crate::containerd::registry::{HostConfig, Registry};
use crate::containerd::release::{Behaviour, Generation};
use crate::containerd::sight::{Roots, State, View};
use crate::finding::{self, Code, Findings, Place};
use crate::go::glob;
use crate::node::NodePath;
use crate::read::{Existing, Inputs, import_path};
use crate::toml::edit::{self, MovedComment, NewValue, PathSet, Setting};

pub mod carry;
mod files;
mod misplaced;
mod sections;
mod settings;
mod wanted;

use files::Draft;
use sections::Placement;
use wanted::AllWanted;

pub use settings::{Fate, Outcome};
pub use wanted::{Decider, Wanted};

/// What a file is to containerd, in the order in which files are written. Names do not tell: an imported file may be
/// called anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A hosts.toml in the certs directory: read at every pull.
    HostsFile,
    /// config.toml or a file that it imports: read when containerd starts.
    Configuration,
}

/// What the names of temporary files look like that an apply makes beside a file.
const TEMPORARY_NAME: &str = ".containerd-registry-migrate.1.0";

/// One file that the plan writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What containerd takes it for.
    pub kind: FileKind,
    /// The real file (links already followed inside the root).
    pub path: NodePath,
    /// The path as it is named, where a link on it leads to `path`.
    pub named: Option<NodePath>,
    /// The bytes that were read when the plan was made; `None` if the file did not exist.
    pub before: Option<Vec<u8>>,
    /// The bytes to write.
    pub after: Vec<u8>,
}

/// What is to be done to a node.
#[derive(Debug, Default)]
pub struct Plan {
    /// The files to write, in this order: hosts files, configuration files, and last of them the one that takes
    /// `config_path`, which is the commit point.
    pub changes: Vec<Change>,
    /// What becomes of every setting.
    pub outcomes: Vec<Outcome>,
    /// The hosts of every interesting namespace, before and after.
    pub namespaces: Vec<Wanted>,
    /// The configuration files as they will be.
    pub edits: Vec<ConfigEdit>,
    /// Whether hosts files take effect as soon as they are written, since `config_path` is in effect already.
    pub live: bool,
}

/// A node as a plan leaves it.
#[derive(Debug)]
pub struct After {
    /// The configuration.
    pub configuration: Configuration,
    /// Every certs directory that some containerd reads.
    pub roots: Roots,
    /// The one that `config_path` names.
    pub certs: CertsDirectory,
}

impl Plan {
    /// The node as it will be: what is there, and the bytes to write at their real paths, links and all. `None` if an
    /// edited file cannot be read any more.
    pub fn after(&self, inputs: &Inputs) -> Option<After> {
        let edits = self.edits.iter();
        let texts = edits.map(|edit| (edit.file, edit.text.clone())).collect();
        let mut after = After {
            configuration: inputs.configuration.with_texts(&texts)?,
            roots: inputs.roots.clone(),
            certs: inputs.certs.clone(),
        };
        for change in &self.changes {
            after.certs.write(&change.path, &change.after);
            for root in after.roots.values_mut() {
                root.write(&change.path, &change.after);
            }
        }
        Some(after)
    }
}

/// A configuration file as it will be.
#[derive(Clone, Debug)]
pub struct ConfigEdit {
    /// Its index in the configuration.
    pub file: usize,
    /// The text.
    pub text: String,
    /// The key paths that it loses.
    pub removed: Vec<Vec<String>>,
    /// What is set in it.
    pub set: Vec<Setting>,
}

/// What containerd does with the registry settings today, as far as they are in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Today {
    /// The legacy settings are in effect.
    Legacy,
    /// The hosts files are; legacy TLS settings beside them are ignored (2.x).
    HostsFiles,
    /// CRI does not load, because of what this code says.
    Down(&'static Code),
}

/// The plan, as it grows.
pub(crate) struct Planner<'i> {
    inputs: &'i Inputs,
    registry: &'i Registry,
    /// config.toml itself.
    config: &'i ConfigFile,
    placements: Vec<Placement<'i>>,
    legacy: Legacy<'i>,
    /// What every containerd on the way makes of the node as it is, with an index of its settings.
    on_the_way: Vec<OnTheWay<'i>>,
    today: Today,
    /// Where each certificate file is named first.
    first_mentions: BTreeMap<String, Place>,
}

/// Plans the migration. Without anything to do the plan is empty; what is in the way is in the findings, and a plan
/// with refusals is for looking at only.
pub fn plan(inputs: &Inputs, findings: &mut Findings) -> Plan {
    let Some(config) = inputs.configuration.main() else {
        return Plan::default();
    };
    let registry = &inputs.registry;
    let planner = Planner {
        inputs,
        registry,
        config,
        placements: sections::placements(inputs),
        legacy: Legacy::new(Some(registry)),
        on_the_way: OnTheWay::all(inputs),
        today: wanted::today(inputs),
        first_mentions: settings::first_mentions(registry),
    };
    planner.check_contents(findings);
    if planner.is_not_read(findings) || planner.reads_other_files(findings) {
        return Plan::default();
    }
    planner.check_placements(findings);
    planner.check_misplaced(findings);
    planner.check_version_1(findings);
    if !planner.migrates() {
        planner.check_built_in_config_path(findings);
    }
    if !planner.migrates() && inputs.converted_from.is_none() {
        let mut others: Vec<&str> = registry.config_paths();
        others.retain(|path| NodePath::new(path) != inputs.certs.path);
        let others = others.into_iter().filter_map(|path| inputs.roots.get(path));
        for certs in std::iter::once(&inputs.certs).chain(others) {
            if registry.config_path.is_some() {
                planner.check_directory(certs, &BTreeSet::new(), findings);
            }
        }
        if registry.says_something() {
            planner.check_generated(findings);
        }
        return Plan::default();
    }
    planner.check_config_path(findings);
    planner.check_before_writing(findings);
    let mut wanted = planner.wanted(findings);
    let plan = planner.assemble(&mut wanted, findings);
    planner.check_settings(&wanted, findings);
    // Where a file is written over, what was wrong with it is over, too.
    let replaces = inputs.options.existing == Existing::Replace;
    let written = plan.changes.iter().filter(|_| replaces);
    let written = written.map(|change| &change.path).collect();
    planner.check_directory(&inputs.certs, &written, findings);
    // What they give today is carried, or changes.
    for path in inputs.view.roots() {
        if NodePath::new(path) != inputs.certs.path
            && let Some(certs) = inputs.roots.get(path)
        {
            planner.check_directory(certs, &BTreeSet::new(), findings);
        }
    }
    Plan {
        namespaces: wanted.namespaces,
        ..plan
    }
}

/// A containerd between `--from` and `--to`, and what it makes of the node as it is.
pub(crate) struct OnTheWay<'i> {
    generation: &'i Generation,
    view: &'i View,
    legacy: Legacy<'i>,
}

impl<'i> OnTheWay<'i> {
    fn all(inputs: &'i Inputs) -> Vec<Self> {
        let generations = inputs.views.iter().map(|(generation, _)| generation);
        let new = |(generation, view): (&'i Generation, &'i View)| Self {
            generation,
            view,
            legacy: Legacy::new(Some(&view.registry)),
        };
        generations.zip(&inputs.today).map(new).collect()
    }

    /// The hosts that a pull from `namespace` tries there.
    fn pulls(&self, namespace: &str, roots: &Roots) -> Pulls {
        self.view.pulls(namespace, roots, &self.legacy)
    }
}

impl Planner<'_> {
    fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.inputs.views.iter().map(|(generation, _)| generation)
    }

    /// Whether anything is to be migrated; else the file is converted at most.
    fn migrates(&self) -> bool {
        self.registry.pending()
            || self.placements.iter().any(Placement::is_silenced)
            || self.several_directories_matter()
            // What is converted is written, and then with one directory.
            || self.inputs.converted_from.is_some() && self.registry.config_paths().len() > 1
    }

    /// The configuration file of this place.
    fn file_of(&self, place: &Place) -> &ConfigFile {
        let mut files = self
            .inputs
            .configuration
            .files
            .iter()
            .map(|loaded| &loaded.file);
        files
            .find(|file| file.id == place.file)
            .unwrap_or(self.config)
    }

    /// Puts the parts together: removals, edited configuration files, hosts files, outcomes.
    fn assemble(&self, wanted: &mut AllWanted, findings: &mut Findings) -> Plan {
        let sets_config_path = !self.registry.config_path_stays() && self.migrates();
        let mut edits = Vec::new();
        let mut comments = Vec::new();
        let files = &self.inputs.configuration.files;
        for (index, loaded) in files.iter().enumerate() {
            // Of several names of one file the last one says what becomes of it.
            let same = |other: &LoadedFile| other.file.real == loaded.file.real;
            let decides = files.iter().rposition(same).unwrap_or(index);
            let last = self
                .inputs
                .view
                .last
                .filter(|(file, _)| sets_config_path && *file == decides);
            let Some((edit, moved)) = self.edit(decides, &loaded.file, last.map(|(_, id)| id))
            else {
                findings.add(
                    &finding::PROOF_FAILED,
                    loaded.file.place(0..0),
                    "there is no place for `config_path` in this file",
                    "set `config_path` by hand and report this file as a bug",
                );
                return Plan::default();
            };
            edits.push(ConfigEdit {
                file: index,
                ..edit
            });
            let moved = moved.into_iter().filter(|_| decides == index);
            comments.extend(moved.map(|comment| (index, comment)));
        }
        let mut certs = self.inputs.certs.clone();
        let hosts_file = |path, before, after| Change {
            kind: FileKind::HostsFile,
            path,
            named: None,
            before,
            after,
        };
        let carried = self.inputs.carried.iter().map(|carried| {
            let path = carried.path.clone();
            let change = hosts_file(path.clone(), None, carried.bytes.clone());
            (path, change)
        });
        let mut hosts_files: BTreeMap<NodePath, Change> = carried.collect();
        for (name, draft) in self.drafts(wanted, &comments, findings) {
            let path = certs.hosts_path(&name);
            let directory = certs.directories.get(&name);
            let file = directory.and_then(|directory| directory.hosts_file.as_ref());
            let before = match hosts_files.get(&path) {
                // Two names may lead to one file. It is written once; `verify` says whether it serves both.
                Some(known) => known.before.clone(),
                None => file.map(|file| file.bytes.clone()),
            };
            let change = hosts_file(path.clone(), before, draft.file.render().into_bytes());
            hosts_files.insert(path, change);
        }
        let mut changes: Vec<Change> = hosts_files.into_values().collect();
        for change in changes.iter().filter(|change| change.before.is_some()) {
            let text = String::from_utf8_lossy(change.before.as_deref().unwrap_or_default());
            let directory = certs.directories.get(change.path.parent().name());
            let file = directory.and_then(|directory| directory.hosts_file.as_ref()?.id);
            misplaced::check_generated(&change.path, &text, file, FileKind::HostsFile, findings);
        }
        for change in &changes {
            certs.write(&change.path, &change.after);
            self.check_dangling(&change.path, findings);
        }
        let outcomes = self.outcomes(wanted, &certs);
        changes.extend(self.config_changes(&edits));
        self.check_patterns(&changes, findings);
        Plan {
            changes,
            outcomes,
            namespaces: Vec::new(),
            edits,
            live: self.today == Today::HostsFiles
                && self
                    .inputs
                    .view
                    .roots()
                    .into_iter()
                    .any(|root| NodePath::new(root) == self.inputs.certs.path),
        }
    }

    /// The file as it will be, and the comments that leave it. `None` if there is no place for what is to be set.
    ///
    /// `config_path` is set if `last` is the name of the section in the last file that has it.
    fn edit(
        &self,
        index: usize,
        file: &ConfigFile,
        last: Option<PluginId>,
    ) -> Option<(ConfigEdit, Vec<MovedComment>)> {
        let removed = self.removed(index);
        let mut removed_set = PathSet::default();
        for path in &removed {
            removed_set.insert(path);
        }
        let contents = self
            .inputs
            .configuration
            .files
            .get(index)?
            .contents(self.inputs.behaviour().toml);
        let mut settings = Vec::new();
        if let Some(section) = last.and_then(|id| contents.section(id)) {
            let spelling = &section.spelling;
            settings.push(Setting {
                table: spelling.table.to_vec(),
                key: spelling.config_path.clone(),
                value: NewValue::String(self.inputs.certs.path.to_string()),
                new_header: None,
            });
        }
        if self.keeps_local_pull(index) {
            settings.push(local_pull(file, contents));
        }
        let edited = edit::edit(&file.text, &file.syntax, &removed_set, &settings)?;
        let edit = ConfigEdit {
            file: index,
            text: edited.text,
            removed,
            set: settings,
        };
        Some((edit, edited.comments))
    }

    /// Whether this file is to say that images are pulled as they are today: with the last legacy setting gone, 2.1 and
    /// later would pull through the transfer service (semantics §12.4).
    fn keeps_local_pull(&self, file: usize) -> bool {
        let behaviour = Behaviour::of(self.inputs.options.to);
        let is_last = self.inputs.view.last.is_some_and(|(last, _)| last == file);
        if !self.inputs.options.keep_local_pull || !behaviour.transfer_service || !is_last {
            return false;
        }
        let to = self.inputs.options.to;
        let mut views = self.inputs.views.iter();
        let Some((_, view)) = views.find(|(generation, _)| generation.versions.contains(&to))
        else {
            return false;
        };
        let goes = |config: &HostConfig| config.tls.is_some() && !config.has_more;
        let nothing_stays = |placement: &Placement<'_>| {
            placement.is_silenced()
                || placement.registry.auths.is_empty()
                    && placement.registry.configs.iter().all(goes)
        };
        let mut live = self.placements.iter().filter(|p| view.live.contains(&p.id));
        !view.transfer_service && !view.puller.local() && live.all(nothing_stays)
    }

    /// The configuration files that change, in the order in which they are written: the last one that has the section
    /// comes last, since 2.x would find `config_path` there beside mirrors that are still in another file.
    fn config_changes(&self, edits: &[ConfigEdit]) -> Vec<Change> {
        let last = self.inputs.view.last.map_or(0, |(file, _)| file);
        let mut ordered: Vec<&ConfigEdit> = edits.iter().collect();
        ordered.sort_by_key(|edit| edit.file == last);
        let mut changes: Vec<Change> = Vec::new();
        for edit in ordered {
            let Some(loaded) = self.inputs.configuration.files.get(edit.file) else {
                continue;
            };
            let file = &loaded.file;
            let converted = self
                .inputs
                .converted_from
                .as_ref()
                .filter(|_| edit.file == 0);
            let on_disk = converted.unwrap_or(&file.text);
            if edit.text != *on_disk && changes.iter().all(|change| change.path != file.real) {
                changes.push(Change {
                    kind: FileKind::Configuration,
                    path: file.real.clone(),
                    named: Some(file.path.clone()).filter(|path| *path != file.real),
                    before: Some(on_disk.clone().into_bytes()),
                    after: edit.text.clone().into_bytes(),
                });
            }
        }
        changes
    }

    /// A link that leads nowhere is in the way of the hosts file that would be written there, and comes alive with
    /// the one that it leads to.
    fn check_dangling(&self, hosts_file: &NodePath, findings: &mut Findings) {
        let help = "remove the link, or make what it leads to";
        for dangling in &self.inputs.certs.dangling {
            let link = &dangling.link;
            if dangling.blocked == *hosts_file {
                findings.add(
                    &finding::UNREADABLE_DIRECTORY,
                    None,
                    format!("`{link}` leads nowhere, so that no hosts file can be written there"),
                    help,
                );
            } else if dangling.target == *hosts_file {
                findings.add(
                    &finding::LINKED_HOSTS_FILE,
                    None,
                    format!(
                        "`{link}` leads nowhere today, but to `{hosts_file}` once that is written"
                    ),
                    help,
                );
            }
        }
    }

    /// Whether the configuration cannot be looked at with the eyes of the containerd whose behaviour is kept, which is
    /// said.
    fn is_not_read(&self, findings: &mut Findings) -> bool {
        let (from, to) = (self.inputs.from, self.inputs.options.to);
        let file_version = self.inputs.file_version();
        if !(0..=4).contains(&file_version) {
            return true;
        }
        let views = self.inputs.views.iter();
        let mut ends =
            views.filter(|(g, _)| g.versions.contains(&from) || g.versions.contains(&to));
        let unread = ends.find(|(generation, view)| {
            let newest = generation.behaviour.newest_file_version;
            // 1.x goes by the number that comes last, which may be a drop-in's.
            newest < file_version && newest < view.version
        });
        if let Some((unread, _)) = unread {
            let version = unread
                .versions
                .iter()
                .find(|v| **v == from || **v == to)
                .copied()
                .unwrap_or(to);
            findings.add(
                &finding::VERSION_NOT_READ,
                self.config.version_place(),
                format!(
                    "containerd {version} does not read a config.toml of version {file_version}"
                ),
                "name the containerd that runs here with --from, and the one that comes with --to",
            );
            return true;
        }
        if let Some(reason) = self.inputs.view.auths_error() {
            findings.add(
                reason.code,
                reason.place,
                format!("CRI does not load: {}", reason.text),
                "write the name with its scheme: `https://` and the host",
            );
            return true;
        }
        // Of these nothing is mended by a migration, and a plan for a daemon that does not start would mean nothing.
        let hopeless = [
            &finding::IMPORT_MISSING,
            &finding::INVALID_PLUGIN_ID,
            &finding::MIXED_VERSIONS,
            &finding::WRONG_TYPE,
        ];
        let reason = self.inputs.view.state.reason();
        matches!(self.inputs.view.state, State::DoesNotStart(_))
            && reason.is_some_and(|reason| hopeless.contains(&reason.code))
    }

    /// A pattern in `imports` that also takes the names that an apply gives to its temporary files would let containerd
    /// read a file that is half done, beside the one that it is for.
    fn check_patterns(&self, changes: &[Change], findings: &mut Findings) {
        let changed: BTreeSet<&NodePath> = changes
            .iter()
            .filter(|change| change.kind == FileKind::Configuration)
            .map(|change| &change.path)
            .collect();
        let files = self.inputs.configuration.files.iter();
        // A pattern may lead to the directory by another name than the file's real one.
        let directories: BTreeSet<NodePath> = files
            .filter(|loaded| changed.contains(&loaded.file.real))
            .flat_map(|loaded| [loaded.file.path.parent(), loaded.file.real.parent()])
            .collect();
        for loaded in &self.inputs.configuration.files {
            for pattern in &loaded.contents(self.inputs.behaviour().toml).imports {
                let bases = self.generations().map(|g| g.behaviour.pattern_base);
                let patterns: BTreeSet<NodePath> = bases
                    .map(|base| import_path(&loaded.file.path, &pattern.value, base))
                    .collect();
                let mut paths = directories
                    .iter()
                    .map(|directory| directory.join(TEMPORARY_NAME));
                let is_taken = |file: NodePath| patterns.iter().any(|path| takes(path, &file));
                if pattern.value.contains('*') && paths.any(is_taken) {
                    findings.add(
                        &finding::OPEN_IMPORT_PATTERN,
                        pattern.place.clone(),
                        "this pattern takes every name, also that of a file that is only just being written",
                        "write `*.toml`, as containerd's own default does",
                    );
                }
            }
        }
    }

    /// Whether some version on the way does not find the hosts files, since `config_path` names several directories.
    fn several_directories_matter(&self) -> bool {
        let inputs = self.inputs;
        let paths = self.registry.config_paths();
        let has_files = |path: &&str| {
            let directory = inputs.roots.get(*path);
            directory.is_some_and(|directory| !directory.directories.is_empty())
        };
        if paths.len() < 2 || !paths.iter().any(has_files) {
            return false;
        }
        inputs.views.iter().any(|(_, view)| view.transfer_service)
    }

    /// Whether the versions on the way do not even read the same files, which is said.
    fn reads_other_files(&self, findings: &mut Findings) -> bool {
        let configuration = &self.inputs.configuration;
        let orders: Vec<_> = self
            .generations()
            .map(|generation| configuration.order(&generation.behaviour))
            .collect();
        if orders
            .windows(2)
            .all(|pair| matches!(pair, [one, other] if one == other))
        {
            return false;
        }
        let imports = configuration
            .files
            .iter()
            .flat_map(|loaded| &loaded.contents(self.inputs.behaviour().toml).imports);
        let pattern = imports
            .into_iter()
            .find(|pattern| !pattern.value.starts_with('/') && pattern.value.contains('*'));
        // Without one it is the spelling of `imports`, which has been said.
        let Some(pattern) = pattern else {
            return true;
        };
        findings.add(
            &finding::RELATIVE_IMPORT_PATTERN,
            pattern.place.clone(),
            "containerd before 1.6.29 and 1.7.16 looks for this pattern below /, where it was started, and newer \
             containerd beside this file: they do not read the same files",
            "write the pattern with its whole path, and see on one node that the containerd that runs today starts with \
             the files that it then reads",
        );
        true
    }

    /// What is to be said of `config_path`: several directories, and what of them cannot be carried.
    fn check_config_path(&self, findings: &mut Findings) {
        let registry = self.registry;
        if let Some(config_path) = &registry.config_path
            && registry.config_paths().len() > 1
        {
            let place = config_path.place.clone();
            let first = &self.inputs.certs.path;
            let message = "`config_path` names several directories, which the transfer service of containerd 2.1 and later \
                           takes for one name, so that it finds no hosts file";
            let becomes = format!("it becomes `{first}`");
            let refused = format!(
                "{becomes}; --existing keep: what the other directories give today is written there; --existing \
                 replace: the settings decide"
            );
            let kept =
                format!("{becomes}, and what the other directories give today is written there");
            let replaced = format!("{becomes}, and the other directories are not read any more");
            let help = [refused.as_str(), &kept, &replaced];
            let code = &finding::SEVERAL_CONFIG_PATHS;
            self.existing_decides(code, Some(place), message, help, findings);
        }
        for carried in self.inputs.carried.iter().filter(|carried| !carried.same) {
            let from = &carried.from;
            findings.add(
                &finding::SEVERAL_CONFIG_PATHS,
                None,
                format!("what `{from}` gives cannot be written into another directory as it is"),
                "make the paths in its hosts.toml absolute first",
            );
        }
    }

    /// A version-1 file whose registry settings some version on the way drops.
    fn check_version_1(&self, findings: &mut Findings) {
        let reads_version_1 = self
            .inputs
            .view
            .last
            .is_some_and(|(_, id)| id == PluginId::Cri);
        // A drop-in of version 1 below a newer file is not lost: it is renamed before it is merged.
        let is_lost = self.inputs.file_version() <= 1
            && self.generations().any(|g| g.behaviour.loses_version_1);
        let matters = self.registry.says_something() || self.migrates();
        if reads_version_1 && is_lost && matters {
            let help = "--v1 convert gives every plugin its version-2 name, which all containerd versions read; \
                        --v1 keep migrates the file as it is, which is enough for 2.3 and later";
            let message = "containerd 2.0 to 2.2 drop the whole CRI section of a version-1 file";
            match self.inputs.options.version_1 {
                // Why it could not be converted has been said.
                crate::read::Version1::Convert => {}
                crate::read::Version1::Refuse => {
                    findings.add(
                        &finding::VERSION_1,
                        self.config.version_place(),
                        message,
                        help,
                    );
                }
                crate::read::Version1::Keep => {
                    findings.add_decided(
                        &finding::VERSION_1,
                        self.config.version_place(),
                        message,
                        help,
                    );
                }
            }
        }
    }

    /// The hosts files to write, by directory name: one for `_default` if there is a wildcard, and one for each
    /// namespace that would have other hosts without it, on any version.
    fn drafts(
        &self,
        wanted: &mut AllWanted,
        comments: &[(usize, MovedComment)],
        findings: &mut Findings,
    ) -> BTreeMap<String, Draft> {
        let mut certs = self.inputs.certs.clone();
        let mut drafts = BTreeMap::new();
        if let Some(default) = wanted.default_file.take() {
            certs.write(&certs.hosts_path(DEFAULT), default.file.render().as_bytes());
            drafts.insert(DEFAULT.to_owned(), default);
        }
        for namespace in &mut wanted.namespaces {
            // The one that nobody named has no directory: it stands for all that fall through.
            if namespace.unnamed {
                namespace.same_as_default =
                    namespace.mirror.is_some() && !certs.directories.contains_key(DEFAULT);
                continue;
            }
            if namespace.decider != Decider::Settings {
                continue;
            }
            let without_file = |generation: &Generation| {
                reader::pulls(&certs, &namespace.name, &generation.behaviour)
            };
            if self
                .generations()
                .all(|g| without_file(g).same(&namespace.after))
            {
                namespace.same_as_default = self.legacy.mirror(&namespace.name).is_some()
                    && certs.own(&namespace.name).is_none();
                continue;
            }
            drafts.insert(certs.name_for(&namespace.name), self.hosts_file(namespace));
        }
        self.place_comments(comments, &mut drafts, findings);
        drafts
    }
}

/// Whether a pattern takes a file, part by part.
fn takes(pattern: &NodePath, file: &NodePath) -> bool {
    let (pattern, file) = (pattern.as_str().split('/'), file.as_str().split('/'));
    pattern.clone().count() == file.clone().count()
        && pattern
            .zip(file)
            .all(|(pattern, name)| glob::matches(pattern, name))
}

/// `use_local_image_pull = true` in the table that 2.x reads and 1.x does not, in whatever file.
fn local_pull(file: &ConfigFile, contents: &Contents) -> Setting {
    let id = PluginId::Images.name();
    // In quotes like those of the other section.
    let mut quoted = contents
        .sections
        .iter()
        .filter_map(|section| file.text.get(section.place.range.clone()));
    let literal = quoted.next_back().is_some_and(|raw| raw.starts_with('\''));
    let plugins = contents.sections.first().map_or("plugins", |section| {
        let [plugins, _] = &section.table;
        plugins
    });
    Setting {
        table: vec![plugins.to_owned(), id.to_owned()],
        key: "use_local_image_pull".to_owned(),
        value: NewValue::True,
        new_header: Some(format!("{plugins}.{}", edit::quote(id, literal))),
    }
}

/// The namespaces that are worth a look, each with whether it stands for every registry that nobody named.
pub fn namespaces(inputs: &Inputs) -> Vec<(String, bool)> {
    interesting(
        &inputs.registry,
        &Legacy::new(Some(&inputs.registry)),
        inputs,
    )
}

/// The namespaces that are worth a look: design §3, "interesting namespaces".
fn interesting(registry: &Registry, legacy: &Legacy<'_>, inputs: &Inputs) -> Vec<(String, bool)> {
    let behaviour = inputs.behaviour();
    let mirrors = registry
        .mirrors
        .iter()
        .map(|mirror| mirror.name.value.clone());
    let configs = registry
        .configs
        .iter()
        .filter(|config| config.tls.is_some());
    let endpoints = registry
        .mirrors
        .iter()
        .filter(|m| crate::containerd::legacy::is_live(&m.name.value));
    // What is inert today may come alive by the upgrade, or go by the migration.
    let inert = inputs.configuration.files.iter().flat_map(|loaded| {
        let sections = &loaded.contents(behaviour.toml).sections;
        let registries = sections
            .iter()
            .filter_map(|section| section.registry.as_ref());
        registries.flat_map(|registry| &registry.mirrors)
    });
    let endpoints = endpoints
        .flat_map(|mirror| &mirror.endpoints)
        .filter_map(|endpoint| {
            Some(
                crate::containerd::legacy::parse_endpoint(&endpoint.value, &behaviour)
                    .ok()?
                    .host,
            )
        });
    let named = mirrors
        .chain(configs.map(|config| config.name.value.clone()))
        .chain(endpoints)
        .chain(["docker.io".to_owned()])
        .chain(inert.map(|mirror| mirror.name.value.clone()))
        .chain(inputs.certs.namespaces())
        .chain(
            inputs
                .view
                .roots()
                .into_iter()
                .filter_map(|root| inputs.roots.get(root))
                .flat_map(CertsDirectory::namespaces),
        );
    let mut seen = BTreeSet::new();
    let mut namespaces: Vec<(String, bool)> = named
        .filter(|name| {
            crate::containerd::legacy::unmatchable(name).is_none() && seen.insert(name.clone())
        })
        .map(|name| (name, false))
        .collect();
    // One that nobody named: it stands for every other registry.
    let mut unnamed = "registry.invalid".to_owned();
    while seen.contains(&unnamed) || legacy.config(&unnamed).is_some() {
        unnamed.insert_str(0, "x.");
    }
    namespaces.push((unnamed, true));
    namespaces
}
