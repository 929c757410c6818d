//! The edits of the configuration files: what is removed from each, and what is set.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::change::{Change, ConfigEdit, EditStep, FileKind, NEW_FILE};
use super::conversion::{self, Conversion};
use super::placement::{Effect, Placement};
use super::planner::{InEffect, Planner};
use crate::containerd::contents::{Contents, PluginId, PluginSection};
use crate::containerd::file::ConfigFile;
use crate::containerd::release::Major;
use crate::containerd::sight::Sight;
use crate::finding::{self, Findings};
use crate::node::NodePath;
use crate::read::DOCKER_CERTS_DIRECTORY;
use crate::secret::TextKind;
use crate::text::{FileText, TomlText};
use crate::toml::edit::{self, MovedComment, NewValue, PathSet, Setting};
use crate::toml::syntax::Table;

/// The edits of all files, with the comments that leave each.
pub(crate) struct Edits {
    pub files: Vec<ConfigEdit>,
    pub comments: Vec<(usize, MovedComment)>,
}

impl Edits {
    pub(crate) fn texts(&self) -> BTreeMap<usize, FileText> {
        let edits = self.files.iter();
        edits.map(|edit| (edit.file, edit.text.clone())).collect()
    }
}

/// A section in which `config_path` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Site {
    file: usize,
    id: PluginId,
    /// Whether the section is made for it.
    is_new: bool,
}

/// Takes the legacy settings out of every file, sets `config_path`, and converts config.toml. `None` if there is no
/// place for `config_path`, which is then a finding.
pub(crate) fn edits(planner: &Planner<'_>, findings: &mut Findings) -> Option<Edits> {
    match build(planner, &sites(planner)) {
        Ok(edits) => Some(edits),
        Err(file) => {
            let mut files = planner.configuration().files.get(file).into_iter();
            let file = files.next().map_or(planner.config, |loaded| &loaded.file);
            no_place(file, "config_path", findings);
            None
        }
    }
}

/// The edits with `config_path` set in these sections; the error is the file in which there is no place for it.
fn build(planner: &Planner<'_>, sites: &[Site]) -> Result<Edits, usize> {
    let mut edits = Edits {
        files: Vec::new(),
        comments: Vec::new(),
    };
    let files = &planner.configuration().files;
    let numbered = files.iter().enumerate();
    let last_names: HashMap<&NodePath, usize> = numbered
        .map(|(index, loaded)| (&loaded.file.real, index))
        .collect();
    for (index, loaded) in files.iter().enumerate() {
        // Of several names of one file the last one says what becomes of it.
        let decides = last_names.get(&loaded.file.real).copied().unwrap_or(index);
        let sites = sites.iter().filter(|site| site.file == decides);
        let (step, comments) = edit(planner, decides, &loaded.file, sites).ok_or(index)?;
        let converted = match planner.conversion {
            Conversion::Yes(full_names) if index == 0 => {
                conversion::converted(&step.after, full_names)
            }
            _ => None,
        };
        let text = converted.unwrap_or_else(|| step.after.clone());
        edits.files.push(ConfigEdit {
            file: index,
            text,
            steps: vec![step],
        });
        let comments = comments.into_iter().filter(|_| decides == index);
        edits
            .comments
            .extend(comments.map(|comment| (index, comment)));
    }
    Ok(edits)
}

/// Where `config_path` is set: in the last file that has the section on the installed containerd (L in
/// docs/containerd.md §12.1). Where settings are to take effect on every release that not all of them read, it may have
/// to be in another one, or in two.
fn sites(planner: &Planner<'_>) -> Vec<Site> {
    let sets = planner.uses_hosts_files && planner.migrates();
    let existing = |(file, id)| Site {
        file,
        id,
        is_new: false,
    };
    let last = planner.from.last.map(existing);
    if !planner.inputs.carries() {
        let stays = planner.registry().config_path_stays();
        return last.filter(|_| sets && !stays).into_iter().collect();
    }
    if !sets {
        return Vec::new();
    }
    let installed = planner.installed.last.map(existing);
    let file = last.map_or(0, |site| site.file);
    let files = &planner.configuration().files;
    let version = files.get(file).map_or(0, |loaded| {
        loaded.contents(planner.behaviour().major).version
    });
    let new = Site {
        file,
        // A file without a version becomes one of version 2.
        id: PluginId::of_version(version.max(2)),
        is_new: true,
    };
    let candidates = [
        vec![],
        installed.into_iter().collect(),
        last.into_iter().collect(),
        installed.into_iter().chain(last).collect(),
        vec![new],
        last.into_iter().chain([new]).collect(),
    ];
    let takes = |sites: &&Vec<Site>| {
        let edits = build(planner, sites).ok();
        let after = edits.and_then(|edits| planner.inputs.snapshot.after(&edits.texts(), []));
        after.is_some_and(|after| {
            planner.verified().all(|release| {
                let sight = after.seen_by(&release.generation.behaviour);
                sight.config_path.starts_with('/')
                    && NodePath::new(&sight.config_path) == planner.certs.path
                    && !is_replaced(&release.sight, &sight)
            })
        })
    };
    let found = candidates.iter().find(takes);
    found.map_or_else(|| last.into_iter().collect(), Clone::clone)
}

/// Whether another file's section takes the place of one that is gone, as on 1.x, with all that it says besides `registry`.
fn is_replaced(before: &Sight, after: &Sight) -> bool {
    match (before.last, after.last) {
        (Some((before, _)), Some((other, _))) => {
            after.behaviour.major == Major::One && before != other
        }
        _ => false,
    }
}

/// Whether the settings that stay are no longer those in effect, since another section takes the place of the one that is gone.
fn has_others(before: &Sight, after: &Sight) -> bool {
    before.all_credentials() != after.all_credentials() || before.headers() != after.headers()
}

/// Whether `config_path` is set after the migration: where a hosts file is needed for what the settings give, or where
/// the files without it would be read in another way.
pub(crate) fn uses_hosts_files(planner: &Planner<'_>) -> bool {
    let directories = planner.inputs.snapshot.certs();
    let is_filled = |root: &str| {
        let directory = directories.get(root);
        directory.is_some_and(|directory| !directory.directories.is_empty())
    };
    // A built-in `config_path` matters if there is anything where it leads.
    let is_read = planner.in_effect == InEffect::HostsFiles;
    if planner.registry().config_path.is_some()
        || is_read && planner.from.roots().into_iter().any(is_filled)
    {
        return true;
    }
    if !planner.migrates() || planner.from.last.is_none() {
        return false;
    }
    let mut names = planner.namespaces.iter().map(|one| one.name.as_str());
    if names.any(|name| {
        !planner
            .settings_pulls(name)
            .same(&planner.default_pulls(name))
    }) {
        return true;
    }
    let Some(after) = build(planner, &[])
        .ok()
        .and_then(|edits| planner.inputs.snapshot.after(&edits.texts(), []))
    else {
        return true;
    };
    planner.verified().any(|release| {
        let (today, after) = (&release.sight, after.seen_by(&release.generation.behaviour));
        // Without mirrors the built-in directories take effect, and with them what Docker has there.
        let is_built_in = today.config_path.is_empty()
            && !after.config_path.is_empty()
            && is_filled(DOCKER_CERTS_DIRECTORY);
        let mut names = planner.namespaces.iter().map(|one| one.name.as_str());
        is_replaced(today, &after)
            || after.registry().has_legacy()
            || has_others(today, &after) && has_others(&planner.from, &after)
            || is_built_in
            || names.any(|name| !after.pulls(name).same(&planner.settings_pulls(name)))
    })
}

fn no_place(file: &ConfigFile, key: &str, findings: &mut Findings) {
    findings.add(
        &finding::PROOF_FAILED,
        file.place(0..0),
        format!("`{key}` cannot be set in this file"),
        format!("set `{key}` by hand and report this file as a bug"),
    );
}

/// Whether a section leads to the certs directory already, in whatever spelling.
fn says_so(planner: &Planner<'_>, section: &PluginSection) -> bool {
    let registry = section.registry.as_ref();
    let path = registry.filter(|registry| registry.config_path_stays());
    let path = path.and_then(|registry| registry.config_path.as_ref());
    path.is_some_and(|path| NodePath::new(&path.value) == planner.certs.path)
}

/// One file without what is removed, with `config_path` in these sections.
fn edit<'s>(
    planner: &Planner<'_>,
    index: usize,
    file: &ConfigFile,
    sites: impl Iterator<Item = &'s Site>,
) -> Option<(EditStep, Vec<MovedComment>)> {
    let sites: Vec<&Site> = sites.collect();
    let removed = removed(planner, index, &sites);
    let mut removed_set = PathSet::default();
    for path in &removed {
        removed_set.insert(path);
    }
    let loaded = planner.configuration().files.get(index)?;
    let contents = loaded.contents(planner.behaviour().major);
    let path = || NewValue::String(planner.certs.path.to_string());
    let mut settings = Vec::new();
    for site in sites {
        match contents.section(site.id) {
            Some(section) if says_so(planner, section) => {}
            Some(section) => settings.push(Setting {
                table: section.spelling.table.to_vec(),
                key: section.spelling.config_path.clone(),
                value: path(),
                new_header: None,
            }),
            None if site.is_new => {
                let (plugins, quoted) = spelled_like_others(&loaded.file, contents, site.id);
                settings.push(Setting {
                    table: [&plugins, site.id.name(), "registry"]
                        .map(str::to_owned)
                        .to_vec(),
                    key: "config_path".to_owned(),
                    value: path(),
                    new_header: Some(format!("{plugins}.{quoted}.registry")),
                });
            }
            None => {}
        }
    }
    let edited = edit::edit(&file.toml.text, &file.toml.syntax, &removed_set, &settings)?;
    let step = EditStep {
        after: after_edit(&file.toml, edited.text),
        before: Rc::clone(&file.toml),
        removed,
        set: settings.iter().map(Setting::path_and_value).collect(),
    };
    Some((step, edited.comments))
}

/// A text that was edited: the same one if nothing has changed.
fn after_edit(before: &Rc<TomlText>, edited: String) -> FileText {
    if edited == before.text {
        FileText::Toml(Rc::clone(before))
    } else {
        FileText::new(edited.into_bytes(), TextKind::Configuration)
    }
}

/// With the last legacy setting gone, 2.1 and later pull through the transfer service (docs/containerd.md §12.4). Where
/// that is so and the operator wants the puller of today, the last file says so. Where there is no place for that, it is
/// a finding.
pub(crate) fn keep_local_pull(planner: &Planner<'_>, edits: &mut Edits, findings: &mut Findings) {
    let snapshot = &planner.inputs.snapshot;
    if !planner.inputs.options.keep_local_pull {
        return;
    }
    // What cannot be read any more, and what no file has a section for, `verify` says.
    let (Some(after), Some((last, _))) = (snapshot.after(&edits.texts(), []), planner.from.last)
    else {
        return;
    };
    // Where a release drops the section of a version-1 file, the conversion makes it take effect first.
    let pulled_locally = planner.converts() && planner.registry().keeps_local_pull();
    let mut targets = planner
        .verified()
        .filter(|release| !release.targets.is_empty());
    let moves = targets.any(|target| {
        (pulled_locally || !target.sight.transfer_service)
            && after.seen_by(&target.generation.behaviour).transfer_service
    });
    let Some(loaded) = after.configuration().files.get(last) else {
        return;
    };
    if !moves {
        return;
    }
    let setting = local_pull(&loaded.file, loaded.contents(Major::Two));
    let removed = PathSet::default();
    let settings = std::slice::from_ref(&setting);
    let toml = &loaded.file.toml;
    let edited = edit::edit(&toml.text, &toml.syntax, &removed, settings);
    let Some(edited) = edited else {
        no_place(&loaded.file, &setting.key, findings);
        return;
    };
    let text = after_edit(toml, edited.text);
    let real = &loaded.file.real;
    let files = &planner.configuration().files;
    for edit in &mut edits.files {
        if files
            .get(edit.file)
            .is_some_and(|file| file.file.real == *real)
        {
            edit.text = text.clone();
            edit.steps.push(EditStep {
                before: Rc::clone(toml),
                after: text.clone(),
                removed: Vec::new(),
                set: vec![setting.path_and_value()],
            });
        }
    }
}

/// The configuration files that change, in the order in which they are written: the last one that has the section
/// comes last, since 2.x would find `config_path` there beside mirrors that are still in another file.
pub(crate) fn changes(planner: &Planner<'_>, edits: &[ConfigEdit]) -> Vec<Change> {
    let last = planner.from.last.map_or(0, |(file, _)| file);
    let mut ordered: Vec<&ConfigEdit> = edits.iter().collect();
    ordered.sort_by_key(|edit| edit.file == last);
    let mut changes: Vec<Change> = Vec::new();
    let mut seen = HashSet::new();
    for edit in ordered {
        let Some(loaded) = planner.configuration().files.get(edit.file) else {
            continue;
        };
        let file = &loaded.file;
        let before = FileText::Toml(Rc::clone(&file.toml));
        if edit.text != before && seen.insert(&file.real) {
            changes.push(Change {
                kind: FileKind::Configuration,
                path: file.real.clone(),
                named: Some(file.path.clone()).filter(|path| *path != file.real),
                before: Some(before),
                after: edit.text.clone(),
                mode: NEW_FILE,
            });
        }
    }
    changes
}

/// The key paths that are removed from one file: of sections that take effect `mirrors`, every `configs.*.tls`, and
/// those of their parents that are empty by that; of sections that would take effect later all registry settings.
fn removed(planner: &Planner<'_>, file: usize, sites: &[&Site]) -> Vec<Vec<String>> {
    let mut removed = Vec::new();
    for placement in planner.placements_of(file) {
        match placement.effect {
            Effect::Now | Effect::Idle => removed_legacy(placement, &mut removed),
            Effect::Later { .. } => {
                let is_site = sites.iter().any(|site| site.id == placement.id.1);
                removed_later(placement, is_site, &mut removed);
            }
            Effect::UnderAnotherName | Effect::Overruled | Effect::Never => {}
        }
    }
    removed
}

/// The whole registry table, or all but the `config_path` that is set in it.
fn removed_later(placement: &Placement<'_>, is_site: bool, removed: &mut Vec<Vec<String>>) {
    let spelling = &placement.section.spelling;
    let table = spelling.table.to_vec();
    if !is_site {
        removed.push(table);
        return;
    }
    let names = spelling.table.each_ref().map(String::as_str);
    let registry = placement.file.tree().table_at(&names);
    let others = registry.into_iter().flat_map(Table::iter);
    let others = others.filter(|node| node.key.name != *spelling.config_path);
    removed.extend(others.map(|node| {
        let name = [node.key.name.to_string()];
        table.iter().cloned().chain(name).collect()
    }));
}

fn removed_legacy(placement: &Placement<'_>, removed: &mut Vec<Vec<String>>) {
    let (registry, spelling) = (placement.registry, &placement.section.spelling);
    let below = |names: &[&str]| -> Vec<String> {
        spelling
            .table
            .iter()
            .map(String::as_str)
            .chain(names.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    if let Some(key) = spelling.mirrors.as_deref()
        && registry.has_legacy()
    {
        removed.push(below(&[key]));
    }
    let Some(key) = spelling.configs.as_deref() else {
        return;
    };
    let configs = &registry.configs;
    if !configs.is_empty()
        && configs
            .iter()
            .all(|config| config.tls.is_some() && !config.has_more)
    {
        removed.push(below(&[key]));
        return;
    }
    for config in configs.iter().filter(|config| config.tls.is_some()) {
        let name = config.name.value.as_str();
        removed.push(if config.has_more {
            below(&[key, name, &config.tls_key])
        } else {
            below(&[key, name])
        });
    }
}

/// `use_local_image_pull = true` in the table that 2.x reads and 1.x does not, in whatever file.
fn local_pull(file: &ConfigFile, contents: &Contents) -> Setting {
    let id = PluginId::Images;
    let (plugins, quoted) = spelled_like_others(file, contents, id);
    Setting {
        table: vec![plugins.clone(), id.name().to_owned()],
        key: "use_local_image_pull".to_owned(),
        value: NewValue::True,
        new_header: Some(format!("{plugins}.{quoted}")),
    }
}

/// How a new section of the CRI plugin is spelled: `plugins`, and its name in quotes like those of the other sections.
fn spelled_like_others(file: &ConfigFile, contents: &Contents, id: PluginId) -> (String, String) {
    let mut quoted = contents
        .sections
        .iter()
        .filter_map(|section| file.toml.text.get(section.place.range.clone()));
    let literal = quoted.next_back().is_some_and(|raw| raw.starts_with('\''));
    let plugins = contents.sections.first().map_or("plugins", |section| {
        let [plugins, _] = &section.table;
        plugins
    });
    (plugins.to_owned(), edit::quote(id.name(), literal))
}
