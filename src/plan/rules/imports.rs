//! `imports`: patterns that releases read in different ways, or that take temporary files.

use std::collections::BTreeSet;

use crate::finding::{self, Findings};
use crate::go::glob;
use crate::node::NodePath;
use crate::plan::change::{Change, FileKind};
use crate::plan::planner::Planner;
use crate::read::import_path;

/// What the names of temporary files look like that an apply makes beside a file.
const TEMPORARY_NAME: &str = ".containerd-registry-migrate.1.0";

/// A pattern in `imports` that also takes the names that an apply gives to its temporary files would let containerd
/// read a file that is half done, beside the one that it is for.
pub(crate) fn check_patterns(planner: &Planner<'_>, changes: &[Change], findings: &mut Findings) {
    let changed: BTreeSet<&NodePath> = changes
        .iter()
        .filter(|change| change.kind == FileKind::Configuration)
        .map(|change| &change.path)
        .collect();
    let files = planner.configuration().files.iter();
    // A pattern may lead to the directory by another name than the file's real one.
    let directories: BTreeSet<NodePath> = files
        .filter(|loaded| changed.contains(&loaded.file.real))
        .flat_map(|loaded| [loaded.file.path.parent(), loaded.file.real.parent()])
        .collect();
    for loaded in &planner.configuration().files {
        for pattern in &loaded.contents(planner.behaviour().major).imports {
            let bases = planner.generations().map(|g| g.behaviour.pattern_base);
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

/// Whether `--from` and the targets do not even read the same files, which is said.
pub(crate) fn reads_other_files(planner: &Planner<'_>, findings: &mut Findings) -> bool {
    let configuration = planner.configuration();
    let orders: Vec<_> = planner
        .verified()
        .map(|release| configuration.order(&release.generation.behaviour))
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
        .flat_map(|loaded| &loaded.contents(planner.behaviour().major).imports);
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

/// Whether a pattern takes a file, part by part.
fn takes(pattern: &NodePath, file: &NodePath) -> bool {
    let (pattern, file) = (pattern.as_str().split('/'), file.as_str().split('/'));
    pattern.clone().count() == file.clone().count()
        && pattern
            .zip(file)
            .all(|(pattern, name)| glob::matches(pattern, name))
}
