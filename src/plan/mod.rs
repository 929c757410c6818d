//! The change: what every file is before and after, and what becomes of every setting. Pure: same inputs, same plan.
//!
//! ```text
//! planner: what each release makes of the node → rules: findings about the node
//!    → decide: the hosts that every namespace must have → hosts files, edits of the configuration → settings
//! ```
//! Nothing here reads or writes a disk, and nothing here is believed: `verify` reads the result back.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::snapshot::Snapshot;
use crate::finding::{Code, Findings};
use crate::node::NodePath;
use crate::question::Question;
use crate::read::Inputs;

mod carry;
mod change;
mod comments;
mod conversion;
mod decide;
mod edits;
mod hosts_files;
mod namespaces;
mod placement;
mod planner;
mod rules;
mod settings;

pub use change::{Change, ConfigEdit, EditStep, FileKind, NEW_FILE};
pub use namespaces::{Decider, Namespace, Wanted, namespaces};
pub use settings::{Fate, SettingOutcome};

use planner::{InEffect, Planner};

/// What is to be done to a node.
#[derive(Debug)]
pub struct Plan {
    /// The files to write, in this order: hosts files, configuration files, and last of them the one that takes
    /// `config_path`, which is the commit point.
    pub changes: Vec<Change>,
    /// What becomes of every setting.
    pub outcomes: Vec<SettingOutcome>,
    /// The hosts of every interesting namespace, before and after.
    pub namespaces: Vec<Wanted>,
    /// The configuration files as they will be.
    pub edits: Vec<ConfigEdit>,
    /// The directory that `config_path` names afterwards, before any file for a legacy setting is written: what exists,
    /// and what is carried into it from other directories.
    pub certs: Rc<CertsDirectory>,
    /// Whether the file becomes one of version 2.
    pub converts: bool,
    /// The code of settings that not every release reads today, and that are to take effect on all.
    pub carried: Option<&'static Code>,
    /// Whether hosts files take effect as soon as they are written, since `config_path` names their directory already.
    pub hosts_files_take_effect: bool,
}

impl Plan {
    /// A plan that writes nothing.
    pub fn empty(certs: Rc<CertsDirectory>) -> Self {
        Self {
            changes: Vec::new(),
            outcomes: Vec::new(),
            namespaces: Vec::new(),
            edits: Vec::new(),
            certs,
            converts: false,
            carried: None,
            hosts_files_take_effect: false,
        }
    }

    /// The node as it will be: what exists, and the bytes to write at their real paths, links and all. `None` if an
    /// edited file cannot be read any more.
    pub fn after(&self, inputs: &Inputs) -> Option<Snapshot> {
        let edits = self.edits.iter();
        let texts = edits.map(|edit| (edit.file, edit.text.clone())).collect();
        let changes = self.changes.iter();
        let files = changes.map(|change| (&change.path, &change.after));
        inputs.snapshot.after(&texts, files)
    }
}

/// Plans the migration. Without anything to do the plan is empty; what is in the way is in the findings, and a plan
/// with refusals is for looking at only.
pub fn plan(inputs: &Inputs, findings: &mut Findings) -> Plan {
    let Some(planner) = Planner::new(inputs) else {
        let certs = CertsDirectory::empty(inputs.certs_path());
        return Plan::empty(Rc::new(certs));
    };
    rules::config_path::check_certs_dir(&planner, findings);
    rules::contents::check_contents(&planner, findings);
    rules::names::check(&planner, findings);
    if rules::readable::is_not_read(&planner, findings)
        || rules::imports::reads_other_files(&planner, findings)
    {
        return Plan::empty(planner.certs);
    }
    rules::placements::check_placements(&planner, findings);
    rules::wrong_places::check(&planner, findings);
    rules::credentials::check(&planner, findings);
    rules::version_1::check_version_1(&planner, findings);
    if !planner.migrates() {
        rules::config_path::check_built_in_config_path(&planner, findings);
        rules::config_path::check_several_unread(&planner, findings);
        if !planner.converts() {
            stays_as_it_is(&planner, findings);
            return Plan::empty(planner.certs);
        }
    }
    migrate(planner, findings)
}

/// What is said of a node where nothing is to be migrated.
fn stays_as_it_is(planner: &Planner<'_>, findings: &mut Findings) {
    let registry = planner.registry();
    if registry.config_path.is_some() {
        let mut others = registry.config_paths();
        others.retain(|path| NodePath::new(path) != planner.certs.path);
        let directories = planner.inputs.snapshot.certs();
        let others = others.into_iter().filter_map(|path| directories.get(path));
        for certs in std::iter::once(&planner.certs).chain(others) {
            rules::certs_directory::check_directory(planner, certs, &BTreeSet::new(), findings);
        }
    }
    if registry.says_something() {
        rules::generated::check_generated(planner, findings);
    }
}

fn migrate(mut planner: Planner<'_>, findings: &mut Findings) -> Plan {
    planner.uses_hosts_files = edits::uses_hosts_files(&planner);
    rules::config_path::check_several(&planner, findings);
    rules::config_path::check_relative(&planner, findings);
    rules::generated::check_generated(&planner, findings);
    rules::version_1::check_version_1_settings(&planner, findings);
    rules::in_effect::check_today(&planner, findings);
    let mut wanted = decide::wanted(&planner, findings);
    let Some(mut edits) = edits::edits(&planner, findings) else {
        return Plan::empty(planner.certs);
    };
    let mut drafts = hosts_files::drafts(&planner, &mut wanted);
    comments::place_comments(&planner, &edits.comments, &mut drafts, findings);
    let mut changes = hosts_files::changes(&planner, &drafts);
    rules::generated::check_replaced(&planner, &changes, findings);
    rules::certs_directory::check_dangling(&planner, &changes, findings);
    let outcomes = settings::settle(&planner, &wanted, &drafts, findings);
    edits::keep_local_pull(&planner, &mut edits, findings);
    // Where a file is replaced, what is wrong with it is over, too.
    let questions = findings.questions();
    let is_open = |question: &&Question| matches!(question, Question::Existing(_));
    let is_decided = !questions.into_keys().any(|question| is_open(&question));
    let replaced = changes.iter().filter(|_| is_decided);
    let replaced = replaced.map(|change| &change.path).collect();
    rules::certs_directory::check_directory(&planner, &planner.certs, &replaced, findings);
    // What the other directories give today is carried, or changes.
    let directories = planner.inputs.snapshot.certs();
    for path in planner.from.roots() {
        if NodePath::new(path) != planner.certs.path
            && let Some(certs) = directories.get(path)
        {
            rules::certs_directory::check_directory(&planner, certs, &BTreeSet::new(), findings);
        }
    }
    changes.extend(edits::changes(&planner, &edits.files));
    rules::imports::check_patterns(&planner, &changes, findings);
    let mut roots = planner.from.roots().into_iter();
    Plan {
        changes,
        outcomes,
        namespaces: wanted.namespaces,
        edits: edits.files,
        converts: planner.converts(),
        carried: planner.inert_code().filter(|_| planner.inputs.carries()),
        hosts_files_take_effect: planner.in_effect == InEffect::HostsFiles
            && roots.any(|root| NodePath::new(root) == planner.certs.path),
        certs: planner.certs,
    }
}
