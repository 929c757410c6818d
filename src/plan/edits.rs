//! The edits of the configuration files: what is removed from each, and what is set.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::change::{Change, ConfigEdit, EditStep, FileKind, NEW_FILE};
use super::conversion;
use super::placement::{Effect, Placement};
use super::planner::Planner;
use crate::containerd::contents::{Contents, PluginId};
use crate::containerd::file::ConfigFile;
use crate::containerd::release::Major;
use crate::finding::{self, Findings};
use crate::node::NodePath;
use crate::secret::TextKind;
use crate::text::{FileText, TomlText};
use crate::toml::edit::{self, MovedComment, NewValue, PathSet, Setting};

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

/// Takes the legacy settings out of every file, sets `config_path`, and converts config.toml. `None` if there is no
/// place for `config_path`, which is then a finding.
pub(crate) fn edits(planner: &Planner<'_>, findings: &mut Findings) -> Option<Edits> {
    let sets_config_path = !planner.registry().config_path_stays() && planner.migrates();
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
        let last = planner
            .from
            .last
            .filter(|(file, _)| sets_config_path && *file == decides);
        let Some((step, comments)) = edit(planner, decides, &loaded.file, last.map(|(_, id)| id))
        else {
            no_place(&loaded.file, "config_path", findings);
            return None;
        };
        let converts = planner.converts() && index == 0;
        let converted = converts.then(|| conversion::converted(&step.after));
        let text = converted.flatten().unwrap_or_else(|| step.after.clone());
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
    Some(edits)
}

fn no_place(file: &ConfigFile, key: &str, findings: &mut Findings) {
    findings.add(
        &finding::PROOF_FAILED,
        file.place(0..0),
        format!("`{key}` cannot be set in this file"),
        format!("set `{key}` by hand and report this file as a bug"),
    );
}

/// One file without what is removed, with `config_path` if `last` is the name of the section in the last file that has
/// it.
fn edit(
    planner: &Planner<'_>,
    index: usize,
    file: &ConfigFile,
    last: Option<PluginId>,
) -> Option<(EditStep, Vec<MovedComment>)> {
    let removed = removed(planner, index);
    let mut removed_set = PathSet::default();
    for path in &removed {
        removed_set.insert(path);
    }
    let loaded = planner.configuration().files.get(index)?;
    let contents = loaded.contents(planner.behaviour().major);
    let mut settings = Vec::new();
    if let Some(section) = last.and_then(|id| contents.section(id)) {
        let spelling = &section.spelling;
        settings.push(Setting {
            table: spelling.table.to_vec(),
            key: spelling.config_path.clone(),
            value: NewValue::String(planner.certs.path.to_string()),
            new_header: None,
        });
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
fn removed(planner: &Planner<'_>, file: usize) -> Vec<Vec<String>> {
    let mut removed = Vec::new();
    for placement in planner.placements_of(file) {
        match placement.effect {
            Effect::Now => removed_legacy(placement, &mut removed),
            Effect::Later { .. } => removed.push(placement.section.spelling.table.to_vec()),
            Effect::UnderAnotherName | Effect::Overruled | Effect::Never => {}
        }
    }
    removed
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
    let id = PluginId::Images.name();
    // In quotes like those of the other section.
    let mut quoted = contents
        .sections
        .iter()
        .filter_map(|section| file.toml.text.get(section.place.range.clone()));
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
