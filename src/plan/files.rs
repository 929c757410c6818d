//! The hosts files that say what the legacy settings said, with the comments that stood with them.

use std::collections::{BTreeMap, BTreeSet};

use super::Planner;
use super::sections::Worth;
use super::wanted::Wanted;
use crate::containerd::file::ConfigFile;
use crate::containerd::host::{Host, Scheme, default_host, fold};
use crate::containerd::hosts_file::directory::DEFAULT;
use crate::containerd::hosts_file::writer::{NewHost, NewHostsFile};
use crate::containerd::legacy::{LegacyHost, Origin, WILDCARD};
use crate::finding::{self, Findings, Place};
use crate::secret::{Filter, Secrets};
use crate::toml::edit::{MovedComment, quote};

/// What a mirror is used for: nerdctl, BuildKit and `ctr --hosts-dir` read the same files, and push.
const MIRROR: &[&str] = &["pull", "resolve"];
/// What a namespace's own registry is used for where it is not the `server`, which can do everything without saying so.
const OWN_REGISTRY: &[&str] = &["pull", "resolve", "push"];

/// A hosts file in the making, with what its comments are matched by.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) file: NewHostsFile,
    /// The namespace, or `*` for the file of all others.
    namespace: String,
    /// The endpoint numbers that the hosts, and last the server, come from.
    endpoints: Vec<Option<usize>>,
}

impl Planner<'_> {
    /// The file for one namespace: the last host of the list is the `server`, the others are tables, in order.
    pub(super) fn hosts_file(&self, wanted: &Wanted) -> Draft {
        let namespace = wanted.name.as_str();
        let (last, others) = match wanted.legacy.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, wanted.legacy.as_slice()),
        };
        let mut others = first_of_each(others);
        // A host that equals the server directly before it would ask it twice in a row.
        if let (Some(last), Some(before)) = (last, others.last())
            && before.host.same_try(&last.host)
        {
            others.pop();
        }
        let own = |host: &Host| host.host == namespace || host.host == default_host(namespace);
        let table = |host: &LegacyHost| NewHost {
            host: host.host.clone(),
            capabilities: Some(if own(&host.host) {
                OWN_REGISTRY
            } else {
                MIRROR
            }),
            comments: Vec::new(),
        };
        let server = last.map(|last| NewHost {
            host: last.host.clone(),
            capabilities: (!own(&last.host)).then_some(MIRROR),
            comments: Vec::new(),
        });
        let mut origins = Vec::new();
        if let Some(name) = &wanted.mirror {
            let setting = format!("registry.mirrors.{}", quote(name, false));
            origins.push(self.origin(&setting, self.mirror_place(name)));
        }
        let written = others.iter().chain(last);
        origins.extend(self.tls_origins(written.clone().map(|host| &host.host)));
        if origins.is_empty() {
            origins.push(format!(
                "from the legacy default: no mirror or TLS setting in {} names {namespace}",
                self.config.path
            ));
        }
        Draft {
            endpoints: written.map(|host| endpoint_number(host.origin)).collect(),
            file: NewHostsFile {
                origins,
                comments: Vec::new(),
                server,
                hosts: others.iter().map(table).collect(),
            },
            namespace: namespace.to_owned(),
        }
    }

    /// The file for every namespace without a file of its own: the wildcard's endpoints, and no `server`, so that
    /// containerd appends each namespace's own registry.
    pub(super) fn default_file(&self, list: &[LegacyHost]) -> Draft {
        let listed: Vec<LegacyHost> = list
            .iter()
            .filter(|host| host.origin != Origin::Default)
            .cloned()
            .collect();
        let hosts = first_of_each(&listed);
        let mut origins = Vec::new();
        if self.legacy.mirror(WILDCARD).is_some() {
            origins.push(self.origin("registry.mirrors.\"*\"", self.mirror_place(WILDCARD)));
        } else {
            origins.push(format!(
                "from the legacy default: no mirror or TLS setting in {} names {DEFAULT}",
                self.config.path
            ));
        }
        origins.extend(self.tls_origins(hosts.iter().map(|host| &host.host)));
        Draft {
            endpoints: hosts
                .iter()
                .map(|host| endpoint_number(host.origin))
                .collect(),
            file: NewHostsFile {
                origins,
                comments: Vec::new(),
                server: None,
                hosts: hosts
                    .into_iter()
                    .map(|host| NewHost {
                        host: host.host,
                        capabilities: Some(MIRROR),
                        comments: Vec::new(),
                    })
                    .collect(),
            },
            namespace: WILDCARD.to_owned(),
        }
    }

    fn origin(&self, setting: &str, place: Option<&Place>) -> String {
        let file = place.map_or(self.config, |place| self.file_of(place));
        format!("from {setting} in {}", file.path)
    }

    fn mirror_place(&self, name: &str) -> Option<&Place> {
        let mirror = self.legacy.mirror(name)?;
        Some(mirror.endpoint_key.as_ref().unwrap_or(&mirror.name.place))
    }

    fn tls_origins<'h>(&self, hosts: impl Iterator<Item = &'h Host>) -> Vec<String> {
        let mut origins = Vec::new();
        for host in hosts {
            if host.scheme == Scheme::Http || host.tls == Default::default() {
                continue;
            }
            let tls = self
                .legacy
                .config(&host.host)
                .and_then(|config| config.tls.as_ref());
            let setting = format!("registry.configs.{}.tls", quote(&host.host, false));
            let origin = self.origin(&setting, tls.map(|tls| &tls.place));
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins
    }

    /// Puts every comment that leaves config.toml into the hosts file of what it stood with.
    pub(super) fn place_comments(
        &self,
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
        let files: Vec<&ConfigFile> = self
            .inputs
            .configuration
            .files
            .iter()
            .map(|loaded| &loaded.file)
            .collect();
        let all_secrets: Vec<Secrets> = files
            .iter()
            .map(|file| Secrets::of(&file.text, Some(&file.syntax)))
            .collect();
        let filter = Filter::new(&all_secrets);
        let mut said: BTreeSet<(usize, &[String])> = BTreeSet::new();
        for (index, comment) in comments {
            let (Some(file), Some(secrets)) = (files.get(*index), all_secrets.get(*index)) else {
                continue;
            };
            let Some((name, element)) =
                self.destination(*index, comment, &by_namespace, &by_tls_host)
            else {
                // Once for each entry, however many lines it has.
                if said.insert((*index, &comment.path)) {
                    findings.add(
                        &finding::COMMENT_DROPPED,
                        file.place(comment.range.clone()),
                        "this comment goes away with its entry, for which no hosts file is written",
                        "write it down elsewhere if it is needed",
                    );
                }
                continue;
            };
            // A comment may also repeat a password that stands elsewhere in the file.
            let tells = filter.apply(&comment.text) != comment.text;
            if tells || secrets.touches(&comment.range) {
                findings.add(
                    &finding::SECRET_COMMENT,
                    file.place(comment.range.clone()),
                    "this comment looks like a secret and is not moved into a hosts file",
                    "hosts files are readable by everyone; write it down elsewhere if it is needed",
                );
                continue;
            }
            if let Some(draft) = drafts.get_mut(&name) {
                draft.comments_of(element).push(comment.text.clone());
            }
        }
    }

    /// The file that a comment goes into, and the endpoint in it.
    fn destination(
        &self,
        file: usize,
        comment: &MovedComment,
        by_namespace: &BTreeMap<String, String>,
        by_tls_host: &BTreeMap<String, String>,
    ) -> Option<(String, Option<usize>)> {
        // Only what was in effect has a hosts file that its comments can go with.
        let mut placements = self
            .placements
            .iter()
            .filter(|placement| placement.id.0 == file);
        let placement = placements.find(|placement| {
            matches!(placement.worth, Worth::Live)
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
}

impl Draft {
    /// The comments of the host that comes from this endpoint, else those of the file.
    fn comments_of(&mut self, element: Option<usize>) -> &mut Vec<String> {
        let at = element.and_then(|element| {
            self.endpoints
                .iter()
                .position(|endpoint| *endpoint == Some(element))
        });
        let tables = self.file.hosts.len();
        match at {
            Some(at) if at < tables => match self.file.hosts.get_mut(at) {
                Some(host) => &mut host.comments,
                None => &mut self.file.comments,
            },
            Some(_) => match &mut self.file.server {
                Some(server) => &mut server.comments,
                None => &mut self.file.comments,
            },
            None => &mut self.file.comments,
        }
    }
}

fn endpoint_number(origin: Origin) -> Option<usize> {
    match origin {
        Origin::Endpoint(number) => Some(number),
        Origin::Default => None,
    }
}

/// The hosts without repeats: a table cannot stand twice, so each is written at its first place.
fn first_of_each(hosts: &[LegacyHost]) -> Vec<LegacyHost> {
    let mut kept = fold(hosts.iter().map(|host| host.host.clone()))
        .into_iter()
        .peekable();
    let mut first = Vec::new();
    for host in hosts {
        if kept.next_if(|kept| kept.same_try(&host.host)).is_some() {
            first.push(host.clone());
        }
    }
    first
}
