//! What is in a certs directory: files that some release discards, and names that are in the way.

use std::collections::BTreeSet;

use crate::containerd::hosts_file::directory::{
    CertsDirectory, Dangling, HostsFile, looks_like_hosts_file,
};
use crate::containerd::hosts_file::reader::{self, Discarded};
use crate::containerd::legacy::unmatchable;
use crate::containerd::release::{Version, ranges};
use crate::finding::{self, Findings, Place};
use crate::node::NodePath;
use crate::plan::change::Change;
use crate::plan::planner::Planner;
use crate::plan::rules::wrong_places::hosts_files;

/// Findings about what is in a certs directory, other than that it would change pulls. `written` are the files
/// that are written over.
pub(crate) fn check_directory(
    planner: &Planner<'_>,
    certs: &CertsDirectory,
    written: &BTreeSet<&NodePath>,
    findings: &mut Findings,
) {
    let carried: BTreeSet<&NodePath> = match certs.path == planner.certs.path {
        true => planner.carried.iter().map(|file| &file.path).collect(),
        false => BTreeSet::new(),
    };
    hosts_files::check(planner, certs, written, findings);
    for (name, directory) in &certs.directories {
        // What is only to be written there is looked at where it is.
        if carried.contains(&directory.hosts_path()) {
            continue;
        }
        let path = certs.path.join(name);
        if let Some(hides) = certs.hidden_by(name) {
            let hides = certs.path.join(&hides);
            findings.add(
                &finding::SHADOWED_DIRECTORY,
                None,
                format!("`{path}` is never read: containerd looks for `{hides}` first"),
                "it stays as it is; merge the two by hand if it is meant to count",
            );
            continue;
        }
        if directory.is_file
            && is_registry(name)
            && !looks_like_hosts_file(name)
            && !is_looked_at(planner, name)
        {
            findings.add(
                &finding::STRAY_FILE,
                None,
                format!("`{path}` is a file: pulls of a registry of this name fail"),
                format!(
                    "move it to `{path}/hosts.toml` if it is a hosts file, and else out of the certs directory"
                ),
            );
        }
        let Some(file) = directory
            .hosts_file
            .as_ref()
            .filter(|file| !written.contains(&file.real))
        else {
            continue;
        };
        check_understood(planner, file, findings);
        let mut found: Vec<(Discarded, Vec<Version>)> = Vec::new();
        for generation in planner.generations() {
            let Some(discarded) = reader::discarded(file, &path, &generation.behaviour) else {
                continue;
            };
            let same = |(other, _): &&mut (Discarded, Vec<Version>)| {
                other.whole && discarded.whole || other.range.start == discarded.range.start
            };
            match found.iter_mut().find(same) {
                Some((_, versions)) => versions.extend(&generation.versions),
                None => found.push((discarded, generation.versions.clone())),
            }
        }
        for (discarded, versions) in found {
            let what = if discarded.whole {
                "discards this file"
            } else {
                "does not see this"
            };
            let place = file.id.map(|file| Place {
                file,
                range: discarded.range,
            });
            findings.add(
                &finding::DISCARDED_HOSTS_FILE,
                place,
                format!(
                    "containerd {} {what}: {}",
                    ranges(versions),
                    discarded.reason
                ),
                format!("`{path}/hosts.toml` stays as it is; fix it if it is meant to take effect"),
            );
        }
    }
}

/// Whether the plan is about this namespace, which then says what is wrong with its directory.
fn is_looked_at(planner: &Planner<'_>, namespace: &str) -> bool {
    planner.registry().pending() && planner.namespace_names.contains(namespace)
}

/// What is not TOML cannot be looked at, but containerd 1.x may read it, so nobody can say what the file gives.
fn check_understood(planner: &Planner<'_>, file: &HostsFile, findings: &mut Findings) {
    let mut generations = planner.generations();
    let Some(unread) =
        generations.find_map(|generation| file.not_understood(generation.behaviour.go_toml))
    else {
        return;
    };
    let place = file.id.map(|file| Place { file, range: 0..0 });
    findings.add(
        &finding::INVALID_TOML,
        place,
        format!(
            "`{}`: {}, which containerd 1.x may read all the same",
            file.real, unread.reason
        ),
        "fix the file, or remove it",
    );
}

/// A link that leads nowhere is in the way of the hosts file that would be written there, and takes effect with the one
/// that it leads to.
pub(crate) fn check_dangling(planner: &Planner<'_>, changes: &[Change], findings: &mut Findings) {
    let help = "remove the link, or make what it leads to";
    let written: BTreeSet<&NodePath> = changes.iter().map(|change| &change.path).collect();
    for dangling in &planner.certs.dangling {
        let Dangling {
            link,
            blocked,
            target,
        } = dangling;
        if written.contains(blocked) {
            findings.add(
                &finding::UNREADABLE_DIRECTORY,
                None,
                format!("`{link}` leads nowhere, so that no hosts file can be written there"),
                help,
            );
        }
        if written.contains(target) && target != blocked {
            findings.add(
                &finding::LINKED_HOSTS_FILE,
                None,
                format!("`{link}` leads nowhere today, but to `{target}` once that is written"),
                help,
            );
        }
    }
}

/// Whether a registry may be called this: without a dot or a port it would be a part of an image's path.
fn is_registry(name: &str) -> bool {
    unmatchable(name).is_none() && (name.contains(['.', ':']) || name == "localhost")
}
