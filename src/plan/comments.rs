//! Comments that leave config.toml with their entries.

use std::collections::{BTreeMap, BTreeSet};

use super::change::lets_in_more;
use super::hosts_files::Draft;
use super::placement::Effect;
use super::planner::Planner;
use crate::containerd::file::ConfigFile;
use crate::containerd::host::Scheme;
use crate::finding::{self, Findings};
use crate::secret::{Secrets, shown_path, shown_url};
use crate::toml::edit::MovedComment;

/// Puts every comment that leaves config.toml into the hosts file of what it stood with.
pub(crate) fn place_comments(
    planner: &Planner<'_>,
    comments: &[(usize, MovedComment)],
    drafts: &mut BTreeMap<String, Draft>,
    findings: &mut Findings,
) {
    if comments.is_empty() {
        return;
    }
    let by_namespace: BTreeMap<String, String> = drafts
        .iter()
        .map(|(name, draft)| (draft.namespace.clone(), name.clone()))
        .collect();
    let mut by_tls_host: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, draft) in drafts.iter() {
        for host in draft.file.hosts.iter().chain(&draft.file.server) {
            if host.host.scheme != Scheme::Http {
                by_tls_host.entry(&host.host.host).or_insert(name);
            }
        }
    }
    let by_tls_host: BTreeMap<String, String> = by_tls_host
        .into_iter()
        .map(|(host, name)| (host.to_owned(), name.to_owned()))
        .collect();
    let files: Vec<&ConfigFile> = planner
        .configuration()
        .files
        .iter()
        .map(|loaded| &loaded.file)
        .collect();
    let secrets = files.iter().enumerate().map(|(index, file)| {
        let moved = comments.iter().filter(|(file, _)| *file == index);
        let parts = moved.map(|(_, comment)| &comment.range);
        file.toml.secrets_in(parts)
    });
    let secrets: Vec<Secrets> = secrets.collect();
    let mut said: BTreeSet<(usize, &[String])> = BTreeSet::new();
    for (index, comment) in comments {
        let (Some(file), Some(secrets)) = (files.get(*index), secrets.get(*index)) else {
            continue;
        };
        let Some((name, element)) =
            destination(planner, *index, comment, &by_namespace, &by_tls_host)
        else {
            // Once for each entry, however many lines it has.
            if said.insert((*index, &comment.path)) {
                findings.add(
                    &finding::COMMENT_DROPPED,
                    file.place(comment.range.clone()),
                    "this comment is removed with its entry, for which no hosts file is written",
                    "write it down elsewhere if you need it",
                );
            }
            continue;
        };
        if secrets.touches(&comment.range) {
            findings.add(
                &finding::SECRET_COMMENT,
                file.place(comment.range.clone()),
                "this comment looks like a secret and is not moved into a hosts file",
                "all users may be able to read hosts files; write it down elsewhere if you need it",
            );
            continue;
        }
        let Some(draft) = drafts.get_mut(&name) else {
            continue;
        };
        let mode = planner.mode_of_new([&file.id]);
        if draft
            .replaced_mode
            .is_some_and(|replaced| lets_in_more(replaced, mode))
        {
            findings.add(
                &finding::COMMENT_DROPPED,
                file.place(comment.range.clone()),
                format!(
                    "this comment is not moved: more users can read the existing hosts.toml for `{}` than `{}`",
                    shown_url(&draft.namespace),
                    shown_path(file.path.as_str())
                ),
                "write it down elsewhere if you need it",
            );
            continue;
        }
        draft.sources.insert(file.id);
        draft.comments_of(element).push(comment.text.clone());
    }
}

/// The file that a comment goes into, and the endpoint in it.
fn destination(
    planner: &Planner<'_>,
    file: usize,
    comment: &MovedComment,
    by_namespace: &BTreeMap<String, String>,
    by_tls_host: &BTreeMap<String, String>,
) -> Option<(String, Option<usize>)> {
    // Only what was in effect has a hosts file that its comments can go with.
    let mut placements = planner.placements_of(file).iter();
    let placement = placements.find(|placement| {
        matches!(placement.effect, Effect::Now)
            && comment.path.starts_with(&placement.section.spelling.table)
    })?;
    let (registry, spelling) = (placement.registry, &placement.section.spelling);
    let below = comment.path.get(spelling.table.len()..)?;
    let (key, rest) = below.split_first()?;
    if Some(key) == spelling.mirrors.as_ref() {
        let file = |name: &str| by_namespace.get(name).cloned();
        let name = match rest.first() {
            Some(name) => file(name),
            // Above all mirrors: it goes with the first that has a file.
            None => registry
                .mirrors
                .iter()
                .find_map(|mirror| file(&mirror.name.value)),
        };
        return name.map(|name| (name, comment.element));
    }
    let file = |host: &str| {
        by_namespace
            .get(host)
            .or_else(|| by_tls_host.get(host))
            .cloned()
    };
    let name = match rest.first() {
        Some(host) => file(host),
        None => registry
            .configs
            .iter()
            .filter(|config| config.tls.is_some())
            .find_map(|config| file(&config.name.value)),
    };
    name.map(|name| (name, None))
}
