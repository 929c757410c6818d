//! What all rules of a plan look at: what was asked, what each containerd makes of the node, and what is worked out
//! from that once.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::carry::{Carried, carry};
use super::change::{NEW_FILE, mode_of_new};
use super::conversion::Conversion;
use super::namespaces::{Namespace, namespaces};
use super::placement::{self, Effect, Placement};
use crate::containerd::configuration::Configuration;
use crate::containerd::file::ConfigFile;
use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::legacy::Legacy;
use crate::containerd::registry::Registry;
use crate::containerd::release::{Behaviour, Generation};
use crate::containerd::sight::Sight;
use crate::finding::{Code, FileId, Findings, Place};
use crate::node::NodePath;
use crate::question::{Existing, Question};
use crate::read::{Inputs, Release};

/// What decides pulls today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InEffect {
    /// The legacy settings.
    Settings,
    /// The hosts files; legacy TLS settings beside them are ignored (2.x).
    HostsFiles,
    /// Nothing: CRI does not load, because of what this code says.
    Nothing(&'static Code),
}

/// What all rules look at.
pub(crate) struct Planner<'i> {
    pub inputs: &'i Inputs,
    /// What the release whose view is kept makes of the node: the installed one, or with `--inert carry` the newest target.
    pub from: Rc<Sight>,
    /// What the installed containerd makes of it.
    pub installed: Rc<Sight>,
    /// The settings that are kept, by name.
    pub settings: Rc<Legacy>,
    /// That one, the targets, and every known release between them, with what each makes of it.
    pub releases: &'i [Release],
    /// config.toml itself.
    pub config: &'i ConfigFile,
    /// Every configuration file by its number in findings.
    files: HashMap<FileId, &'i ConfigFile>,
    pub placements: Vec<Placement<'i>>,
    /// The same as the installed containerd has it: what `--inert` decides about.
    pub inert: Vec<Placement<'i>>,
    pub in_effect: InEffect,
    /// Whether `config_path` is set after the migration.
    pub uses_hosts_files: bool,
    /// The directory that `config_path` names afterwards, with `carried` already in it.
    pub certs: Rc<CertsDirectory>,
    /// Files that are to be written into it, since another directory of `config_path` gives them today.
    pub carried: Vec<Carried>,
    /// Whether the file becomes one of version 2.
    pub conversion: Conversion,
    /// The namespaces that are worth a look.
    pub namespaces: Vec<Namespace>,
    pub namespace_names: HashSet<String>,
    /// Where each certificate file is named first.
    pub first_mentions: HashMap<String, Place>,
}

impl<'i> Planner<'i> {
    /// `None` if there is no configuration at all.
    pub(crate) fn new(inputs: &'i Inputs) -> Option<Self> {
        let config = inputs.snapshot.configuration().main()?;
        let (from, installed) = (inputs.kept(), inputs.sight());
        let releases = inputs.releases.as_slice();
        let path = inputs.certs_path();
        let empty = || Rc::new(CertsDirectory::empty(path.clone()));
        let directories = inputs.snapshot.certs();
        let mut certs = directories
            .get(path.as_str())
            .cloned()
            .unwrap_or_else(empty);
        let carried = carried(inputs, &from, &certs);
        for file in &carried {
            Rc::make_mut(&mut certs).write(&file.path, &file.content);
        }
        let namespaces = namespaces(inputs, &from, &certs);
        let inert = placement::placements(inputs, &installed);
        let files = inputs.snapshot.configuration().files.iter();
        let files = files.map(|loaded| &loaded.file);
        Some(Self {
            in_effect: in_effect(&from),
            conversion: Conversion::of(inputs, &inert),
            placements: placement::placements(inputs, &from),
            inert,
            uses_hosts_files: true,
            settings: inputs.kept_settings(),
            namespace_names: namespaces.iter().map(|one| one.name.clone()).collect(),
            first_mentions: from.registry().first_mentions(),
            namespaces,
            inputs,
            config,
            files: files.map(|file| (file.id, file)).collect(),
            certs,
            carried,
            releases,
            from,
            installed,
        })
    }

    /// The settings that take effect on the containerd whose behaviour is kept.
    pub(crate) fn registry(&self) -> &Registry {
        self.from.registry()
    }

    /// Those of them that are kept, by name.
    pub(crate) fn legacy(&self) -> &Legacy {
        &self.settings
    }

    /// The hosts that they give for a registry, without what fails; where nothing is left, its default host.
    pub(crate) fn settings_pulls(&self, registry: &str) -> Pulls {
        let resolved = self.legacy().resolve(registry, self.behaviour(), true);
        if resolved.hosts.is_empty() {
            return self.default_pulls(registry);
        }
        resolved.usable()
    }

    /// The hosts of a registry for which nothing is set.
    pub(crate) fn default_pulls(&self, registry: &str) -> Pulls {
        let nothing = Legacy::default();
        nothing.resolve(registry, self.behaviour(), true).usable()
    }

    /// The code of the settings that one release reads and another does not, if there are any.
    pub(crate) fn inert_code(&self) -> Option<&'static Code> {
        self.inert.iter().find_map(|one| match &one.effect {
            Effect::Later { code, .. } => Some(*code),
            _ => None,
        })
    }

    pub(crate) fn behaviour(&self) -> &Behaviour {
        &self.from.behaviour
    }

    pub(crate) fn configuration(&self) -> &'i Configuration {
        self.inputs.snapshot.configuration()
    }

    /// The mode of a new file with content from these files.
    pub(crate) fn mode_of_new<'f>(&self, sources: impl IntoIterator<Item = &'f FileId>) -> u32 {
        let mode = |file| self.inputs.modes.get(file).copied().unwrap_or(NEW_FILE);
        mode_of_new(sources.into_iter().map(mode))
    }

    /// The behaviours of all releases: for what is said. What is asked and written goes by [`Planner::verified`].
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.releases.iter().map(|release| &release.generation)
    }

    /// The releases that the plan is verified for.
    pub(crate) fn verified(&self) -> impl Iterator<Item = &Release> {
        self.releases.iter().filter(|release| release.is_verified())
    }

    /// Whether anything is to be migrated; else the file is converted at most.
    pub(crate) fn migrates(&self) -> bool {
        self.registry().pending()
            || self.placements.iter().any(Placement::is_silenced)
            || self.inputs.carries() && self.inert.iter().any(Placement::is_silenced)
            || self.several_directories_matter()
            // What is converted is written, and then with one directory.
            || self.converts() && self.from.roots().len() > 1
    }

    /// Whether the file becomes one of version 2.
    pub(crate) fn converts(&self) -> bool {
        matches!(self.conversion, Conversion::Yes(_))
    }

    /// Whether hosts files that take effect today are not found by a target, since `config_path` names several directories.
    fn several_directories_matter(&self) -> bool {
        if self.from.roots().len() < 2 {
            return false;
        }
        let paths = self.registry().config_paths();
        let has_files = |path: &&str| {
            let directory = self.inputs.snapshot.certs().get(*path);
            directory.is_some_and(|directory| !directory.directories.is_empty())
        };
        paths.len() >= 2
            && paths.iter().any(has_files)
            && self
                .verified()
                .any(|release| release.sight.transfer_service)
    }

    /// The configuration file of this place.
    pub(crate) fn file_of(&self, place: &Place) -> &'i ConfigFile {
        self.files.get(&place.file).copied().unwrap_or(self.config)
    }

    /// The tables of the CRI plugin in the configuration file of this index.
    pub(crate) fn placements_of(&self, file: usize) -> &[Placement<'i>] {
        // They are in the order of the files.
        let start = self.placements.partition_point(|one| one.id.0 < file);
        let end = self.placements.partition_point(|one| one.id.0 <= file);
        self.placements.get(start..end).unwrap_or_default()
    }

    /// Whether what is in the certs directory decides for this registry, as `--existing` says. `help` is for a refusal, and
    /// for the answers keep and replace.
    pub(crate) fn existing_decides(
        &self,
        registry: &str,
        code: &'static Code,
        place: Option<Place>,
        message: impl Into<String>,
        help: [&str; 3],
        findings: &mut Findings,
    ) -> bool {
        let [refused, kept, replaced] = help;
        let question = Question::Existing(registry.to_owned());
        match self.inputs.options.existing.of(registry) {
            None => {
                findings.ask(question, code, place, message, refused);
                false
            }
            Some(Existing::Keep) => {
                findings.add_answered(question, code, place, message, kept);
                true
            }
            Some(Existing::Replace) => {
                findings.add_answered(question, code, place, message, replaced);
                false
            }
        }
    }
}

/// What decides pulls today. Where CRI is disabled, or the daemon does not start for another reason, what is kept is
/// what it would do.
pub(crate) fn in_effect(from: &Sight) -> InEffect {
    match from.conflict() {
        Some(reason) => InEffect::Nothing(reason.code),
        None if from.config_path.is_empty() => InEffect::Settings,
        None => InEffect::HostsFiles,
    }
}

/// What the other directories of `config_path` give beyond the first.
fn carried(inputs: &Inputs, from: &Sight, certs: &CertsDirectory) -> Vec<Carried> {
    let registry = from.registry();
    let paths: Vec<&str> = match (&registry.config_path, from.conflict()) {
        (None, None) => from.roots(),
        _ => registry.config_paths(),
    };
    if paths.len() < 2 {
        return Vec::new();
    }
    let others = paths
        .iter()
        .filter(|path| NodePath::new(path) != certs.path);
    let directories = inputs.snapshot.certs();
    let others = others.filter_map(|path| directories.get(*path));
    let others: Vec<&CertsDirectory> = others.map(Rc::as_ref).collect();
    carry(certs, &others, &from.behaviour)
}
