//! A node's files at one moment: as they are on the disk, or as a plan leaves them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::containerd::configuration::Configuration;
use crate::containerd::hosts_file::directory::CertsDirectories;
use crate::containerd::legacy::Legacy;
use crate::containerd::loader::{Loader, SectionId, config_path, conflict};
use crate::containerd::merge::merge;
use crate::containerd::registry::Registry;
use crate::containerd::release::{Behaviour, Major};
use crate::containerd::sight::Sight;
use crate::node::NodePath;
use crate::text::FileText;

/// The registry settings of the same sections together, by the generation that reads them.
type Merged = Vec<((Vec<SectionId>, Major), Rc<Legacy>)>;

/// The configuration and every certs directory that some containerd reads. What a release makes of them is worked out
/// when it is first asked for, and once.
#[derive(Debug, Default)]
pub struct Snapshot {
    configuration: Configuration,
    certs: Rc<CertsDirectories>,
    empty_ca_files: Rc<BTreeSet<String>>,
    merged: RefCell<Merged>,
    sights: RefCell<Vec<Rc<Sight>>>,
}

impl Snapshot {
    /// A configuration without any certs directory. `empty_ca_files` are the CA files that exist and hold no
    /// certificate, by their absolute paths: containerd takes such a `ca_file` for not set.
    pub fn new(configuration: Configuration, empty_ca_files: BTreeSet<String>) -> Self {
        Self {
            configuration,
            empty_ca_files: Rc::new(empty_ca_files),
            ..Self::default()
        }
    }

    /// The same configuration with these certs directories.
    pub fn with_certs(self, certs: CertsDirectories) -> Self {
        Self {
            certs: Rc::new(certs),
            sights: RefCell::default(),
            ..self
        }
    }

    /// This node with other texts in some configuration files, by their indexes, and with hosts files written to their
    /// real paths. `None` if one of the texts is not TOML.
    pub fn after<'c>(
        &self,
        texts: &BTreeMap<usize, FileText>,
        hosts_files: impl IntoIterator<Item = (&'c NodePath, &'c FileText)>,
    ) -> Option<Self> {
        let configuration = self.configuration.with_texts(texts)?;
        let mut certs = CertsDirectories::clone(&self.certs);
        for (path, content) in hosts_files {
            for directory in certs.values_mut() {
                Rc::make_mut(directory).write(path, content);
            }
        }
        Some(Self {
            configuration,
            certs: Rc::new(certs),
            empty_ca_files: Rc::clone(&self.empty_ca_files),
            ..Self::default()
        })
    }

    /// config.toml and what it imports.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Every certs directory.
    pub fn certs(&self) -> &CertsDirectories {
        &self.certs
    }

    /// What a containerd of this behaviour makes of the files.
    pub fn seen_by(&self, behaviour: &Behaviour) -> Rc<Sight> {
        // There are about ten kinds of them.
        let is_it = |sight: &&Rc<Sight>| sight.behaviour == *behaviour;
        if let Some(sight) = self.sights.borrow().iter().find(is_it) {
            return Rc::clone(sight);
        }
        let sight = Rc::new(self.see(behaviour));
        self.sights.borrow_mut().push(Rc::clone(&sight));
        sight
    }

    fn see(&self, behaviour: &Behaviour) -> Sight {
        let loader = Loader::new(&self.configuration, behaviour);
        let loaded = loader.load();
        let legacy = self.settings(&loader, &loaded.in_effect, behaviour);
        let registry = legacy.registry();
        let config_path = config_path(registry, &loaded, behaviour);
        let conflict = conflict(registry, &config_path, behaviour);
        Sight {
            startup: loader.startup(&loaded, conflict.clone()),
            missing_import: loader.missing_import(),
            conflict,
            transfer_service: behaviour.transfer_service
                && !loaded.puller.keeps_local_pull()
                && !registry.keeps_local_pull(),
            in_effect: loaded.in_effect,
            last: loaded.last,
            by_chance: loaded.by_chance,
            config_path,
            version: loaded.version,
            puller: loaded.puller,
            behaviour: *behaviour,
            legacy,
            certs: Rc::clone(&self.certs),
            credentials: Default::default(),
        }
    }

    /// The registry settings of these sections together: releases share them.
    fn settings(
        &self,
        loader: &Loader<'_>,
        in_effect: &[SectionId],
        behaviour: &Behaviour,
    ) -> Rc<Legacy> {
        let key = (in_effect.to_vec(), behaviour.major);
        let is_it = |(other, _): &&((Vec<SectionId>, Major), Rc<Legacy>)| *other == key;
        if let Some((_, legacy)) = self.merged.borrow().iter().find(is_it) {
            return Rc::clone(legacy);
        }
        let sections = in_effect.iter().filter_map(|id| loader.section(*id));
        let layers: Vec<&Rc<Registry>> = sections
            .filter_map(|section| section.registry.as_ref())
            .collect();
        let mut registry = merge(&layers);
        if !self.empty_ca_files.is_empty() {
            Rc::make_mut(&mut registry).ignore_ca_files(|path| self.empty_ca_files.contains(path));
        }
        let legacy = Rc::new(Legacy::new(registry));
        self.merged.borrow_mut().push((key, Rc::clone(&legacy)));
        legacy
    }
}
