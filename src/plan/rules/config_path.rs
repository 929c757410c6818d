//! `config_path`: several directories, relative ones, and the built-in one.

use crate::containerd::loader::Startup;
use crate::containerd::release::ranges;
use crate::finding::{self, Findings};
use crate::plan::planner::Planner;
use crate::read::{DEFAULT_CERTS_DIRECTORY, DOCKER_CERTS_DIRECTORY};

/// `--certs-dir` beside a `config_path` that names another directory.
pub(crate) fn check_certs_dir(planner: &Planner<'_>, findings: &mut Findings) {
    let (Some(asked), Some(config_path)) = (
        &planner.inputs.options.certs_directory,
        &planner.registry().config_path,
    ) else {
        return;
    };
    let set = &planner.certs.path;
    if set != asked {
        findings.add(
            &finding::CERTS_DIR_CONTRADICTS_CONFIG_PATH,
            config_path.place.clone(),
            format!("`config_path` is `{set}`, but --certs-dir is `{asked}`"),
            "leave --certs-dir out, or change `config_path` first",
        );
    }
}

/// Several directories, of which the first stays: what the others give is written there.
pub(crate) fn check_several(planner: &Planner<'_>, findings: &mut Findings) {
    let registry = planner.registry();
    let first = &planner.certs.path;
    let others = if planner.carried.is_empty() {
        "the other directories hold nothing that changes a pull"
    } else {
        "what only the other directories give is written there"
    };
    if let Some(config_path) = &registry.config_path
        && registry.config_paths().len() > 1
    {
        findings.add(
            &finding::SEVERAL_CONFIG_PATHS,
            config_path.place.clone(),
            "`config_path` names several directories, which the transfer service of containerd 2.1 and later takes for \
             one name, so that it finds no hosts file",
            format!("it becomes `{first}`; {others}"),
        );
    } else if !planner.carried.is_empty() {
        findings.add(
            &finding::SEVERAL_CONFIG_PATHS,
            None,
            format!(
                "without `config_path`, containerd {} reads {DEFAULT_CERTS_DIRECTORY} and {DOCKER_CERTS_DIRECTORY}",
                planner.inputs.from
            ),
            format!("`config_path` is set to `{first}`; {others}"),
        );
    }
    for carried in planner.carried.iter().filter(|carried| !carried.same) {
        let from = &carried.from;
        findings.add_refused(
            &finding::SEVERAL_CONFIG_PATHS,
            None,
            format!("`{from}/hosts.toml` would not mean the same in `{first}`"),
            "make the paths in it absolute first",
        );
    }
}

/// Several directories where the transfer service finds none of them already, and nothing is to be migrated.
pub(crate) fn check_several_unread(planner: &Planner<'_>, findings: &mut Findings) {
    let registry = planner.registry();
    let Some(config_path) = &registry.config_path else {
        return;
    };
    let paths = registry.config_paths();
    let directories = planner.inputs.snapshot.certs();
    let is_filled = |path: &&&str| {
        let certs = directories.get(**path);
        certs.is_some_and(|certs| !certs.directories.is_empty())
    };
    if paths.len() < 2 || !planner.from.transfer_service {
        return;
    }
    let Some(filled) = paths.iter().find(is_filled) else {
        return;
    };
    findings.add(
        &finding::SEVERAL_CONFIG_PATHS,
        config_path.place.clone(),
        format!(
            "`config_path` names several directories, which containerd {} takes for one name: the hosts files have no \
             effect",
            planner.inputs.from
        ),
        format!("they still have none after an upgrade; write `config_path = \"{filled}\"` if they are meant"),
    );
}

/// A relative `config_path`.
pub(crate) fn check_relative(planner: &Planner<'_>, findings: &mut Findings) {
    let registry = planner.registry();
    if let Some(config_path) = &registry.config_path
        && let Some(path) = registry.config_paths().first()
        && !path.starts_with('/')
    {
        findings.add(
            &finding::RELATIVE_CONFIG_PATH,
            config_path.place.clone(),
            format!("`{path}` is relative to where containerd was started"),
            format!(
                "that is / under systemd: it becomes `{}`",
                planner.certs.path
            ),
        );
    }
}

/// A finding where hosts files take effect that nobody has named in `config_path`.
pub(crate) fn check_built_in_config_path(planner: &Planner<'_>, findings: &mut Findings) {
    if !planner.from.config_path.is_empty() {
        return;
    }
    let mut versions = Vec::new();
    for release in planner.releases {
        let sight = &release.sight;
        let has_files = |root: &str| {
            let directory = planner.inputs.snapshot.certs().get(root);
            directory.is_some_and(|directory| !directory.directories.is_empty())
        };
        if planner.inputs.startup(sight) == Startup::Loads
            && sight.registry().config_path.is_none()
            && sight.roots().into_iter().any(has_files)
        {
            versions.extend(&release.generation.versions);
        }
    }
    if !versions.is_empty() {
        findings.add(
            &finding::BUILT_IN_CONFIG_PATH,
            None,
            format!(
                "containerd {} reads {DEFAULT_CERTS_DIRECTORY} and {DOCKER_CERTS_DIRECTORY} by itself, and \
                 the files there take effect",
                ranges(versions)
            ),
            "look at what is there before the upgrade, or set `config_path`",
        );
    }
}
