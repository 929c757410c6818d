//! Files that something else writes again and again.

use crate::finding::{self, FileId, Findings, Place};
use crate::node::NodePath;
use crate::plan::change::{Change, FileKind};
use crate::plan::planner::Planner;
use crate::toml::edit::ANSIBLE_BLOCK;

/// Words in the head of a file that something else writes.
const GENERATED: [&str; 7] = [
    "generated",
    "managed by",
    "ansible managed",
    "k0s_managed",
    "do not edit",
    "don't edit",
    "do not modify",
];

/// Directories whose files are written again and again, and from what.
const GENERATED_BELOW: [(&str, &str); 6] = [
    (
        "/var/lib/rancher/k3s/",
        "k3s writes it at every start, from registries.yaml and config.toml.tmpl",
    ),
    (
        "/var/lib/rancher/rke2/",
        "rke2 writes it at every start, from registries.yaml and config.toml.tmpl",
    ),
    (
        "/var/lib/k0s/",
        "k0s writes it at every start; drop-ins belong into /etc/k0s/containerd.d",
    ),
    (
        "/run/k0s/",
        "k0s writes it at every start; drop-ins belong into /etc/k0s/containerd.d",
    ),
    (
        "/var/snap/microk8s/",
        "microk8s writes it at every start, from containerd-template.toml",
    ),
    (
        "/nix/store/",
        "Nix builds it from the configuration of the system",
    ),
];

/// What the names of files below them end with from which the others are rendered.
const TEMPLATES: [&str; 2] = [".tmpl", "-template.toml"];
/// What stands in the names of directories below them whose files are an operator's.
const DROP_INS: &str = ".toml.d/";

/// Who else writes the configuration files.
pub(crate) fn check_generated(planner: &Planner<'_>, findings: &mut Findings) {
    for loaded in &planner.configuration().files {
        check_file(
            &loaded.file.path,
            &loaded.file.toml.text,
            Some(loaded.file.id),
            FileKind::Configuration,
            findings,
        );
    }
}

/// Who else writes the hosts files that are replaced.
pub(crate) fn check_replaced(planner: &Planner<'_>, changes: &[Change], findings: &mut Findings) {
    for change in changes {
        let Some(before) = &change.before else {
            continue;
        };
        let directory = planner.certs.directories.get(change.path.parent().name());
        let file = directory.and_then(|directory| directory.hosts_file.as_ref()?.id);
        check_file(
            &change.path,
            &String::from_utf8_lossy(before.bytes()),
            file,
            FileKind::HostsFile,
            findings,
        );
    }
}

/// A finding if something else writes the file, going by its path or by the comments at its head.
fn check_file(
    path: &NodePath,
    text: &str,
    file: Option<FileId>,
    kind: FileKind,
    findings: &mut Findings,
) {
    let source = match kind {
        FileKind::Configuration => {
            "change its source as well: if that renders `mirrors` again, CRI does not load after the next restart"
        }
        FileKind::HostsFile => {
            "change its source as well: else the file is overwritten the next time"
        }
    };
    let named = path.as_str();
    let template = TEMPLATES.iter().any(|ending| named.ends_with(ending));
    let below = GENERATED_BELOW
        .iter()
        .find(|(directory, _)| named.starts_with(directory) && !named.contains(DROP_INS));
    let mut start = 0;
    let mut head = None;
    let mut in_head = true;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start_matches('\u{feff}').trim();
        in_head &= trimmed.is_empty() || trimmed.starts_with('#');
        if head.is_none() && trimmed.starts_with('#') {
            let lower = trimmed.to_ascii_lowercase();
            let says_so = in_head && GENERATED.iter().any(|word| lower.contains(word));
            if says_so || trimmed.contains(ANSIBLE_BLOCK) {
                head = Some(start..start + line.trim_end().len());
            }
        }
        start += line.len();
    }
    if below.is_none() && head.is_none() {
        return;
    }
    let message = match below {
        Some(_) if template => {
            format!("`{path}` is a template: the files that are rendered from it are not migrated")
        }
        Some((_, by)) => format!("another program writes `{path}`: {by}"),
        None => format!("a comment in `{path}` says that another program writes it"),
    };
    let range = head.unwrap_or(0..0);
    let place = file.map(|file| Place { file, range });
    findings.add(&finding::GENERATED_FILE, place, message, source);
}
