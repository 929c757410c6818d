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

/// What is to be said of `config_path`: several directories, and what of them cannot be carried.
pub(crate) fn check_config_path(planner: &Planner<'_>, findings: &mut Findings) {
    let registry = planner.registry();
    if let Some(config_path) = &registry.config_path
        && registry.config_paths().len() > 1
    {
        let place = config_path.place.clone();
        let first = &planner.certs.path;
        let message = "`config_path` names several directories, which the transfer service of containerd 2.1 and later \
                       takes for one name, so that it finds no hosts file";
        let becomes = format!("it becomes `{first}`");
        let refused = format!(
            "{becomes}; --existing keep: what the other directories give today is written there; --existing \
             replace: the settings decide"
        );
        let kept = format!("{becomes}, and what the other directories give today is written there");
        let replaced = format!("{becomes}, and the other directories are not read any more");
        let help = [refused.as_str(), &kept, &replaced];
        let code = &finding::SEVERAL_CONFIG_PATHS;
        planner.existing_decides(code, Some(place), message, help, findings);
    }
    for carried in planner.carried.iter().filter(|carried| !carried.same) {
        let from = &carried.from;
        findings.add(
            &finding::SEVERAL_CONFIG_PATHS,
            None,
            format!("what `{from}` gives cannot be written into another directory as it is"),
            "make the paths in its hosts.toml absolute first",
        );
    }
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

/// A finding where hosts files come alive that nobody has named in `config_path`.
pub(crate) fn check_built_in_config_path(planner: &Planner<'_>, findings: &mut Findings) {
    if !planner.from.config_path.is_empty() {
        return;
    }
    let mut versions = Vec::new();
    for release in &planner.releases {
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
                "containerd {} reads {DEFAULT_CERTS_DIRECTORY} and {DOCKER_CERTS_DIRECTORY} by itself: what is \
                 there comes alive",
                ranges(versions)
            ),
            "look at what is there before the upgrade, or set `config_path`",
        );
    }
}
