//! Findings about single settings, and what becomes of each one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::sections::Worth;
use super::wanted::{AllWanted, Decider, Wanted};
use super::{Planner, Today};
use crate::containerd::host::{Host, Scheme};
use crate::containerd::hosts_file::directory::{CertsDirectory, DEFAULT};
use crate::containerd::legacy::{Origin, Trouble, WILDCARD, is_live, parse_endpoint, unmatchable};
use crate::containerd::registry::{Leaf, Mirror, Registry, Tls, absolute, quote_name};
use crate::finding::{self, Code, Findings, Place, Placed};
use crate::node::NodePath;
use crate::read::CertificateFile;

/// What becomes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in these hosts files now.
    Carried(Vec<NodePath>),
    /// It had no effect and goes; the code says why.
    WithoutEffect(&'static Code),
    /// It is left out, as the operator accepted or as the code explains.
    LeftOut(&'static Code),
    /// A hosts file that is there decides instead.
    Overruled(&'static Code),
    /// It stays in config.toml.
    Stays,
}

/// A legacy setting and what becomes of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The setting's path, from `registry` on.
    pub setting: String,
    /// Where it stands.
    pub place: Place,
    /// What becomes of it.
    pub fate: Fate,
}

/// Where hosts occur in the lists that the settings give.
#[derive(Default)]
struct Uses<'w> {
    by_host: BTreeMap<&'w str, Use>,
}

#[derive(Clone, Copy, Default)]
struct Use {
    http: bool,
    https: bool,
}

impl<'w> Uses<'w> {
    fn of(wanted: &'w AllWanted) -> Self {
        let mut uses = Self::default();
        for host in wanted.namespaces.iter().flat_map(settings_hosts) {
            let entry = uses.by_host.entry(host.host.as_str()).or_default();
            match host.scheme {
                Scheme::Http => entry.http = true,
                Scheme::Https | Scheme::HttpsThenHttp => entry.https = true,
            }
        }
        uses
    }

    fn get(&self, host: &str) -> Use {
        self.by_host.get(host).copied().unwrap_or_default()
    }
}

fn settings_hosts(wanted: &Wanted) -> impl Iterator<Item = &Host> {
    wanted.legacy.iter().map(|host| &host.host)
}

impl Planner<'_> {
    /// Findings about endpoints and TLS settings that make containerd fail or skip.
    pub(super) fn check_trouble(&self, trouble: &[Trouble], findings: &mut Findings) {
        for trouble in trouble {
            match trouble {
                Trouble::Unparsable { place, reason } => findings.add(
                    &finding::UNPARSABLE_ENDPOINT,
                    place.clone(),
                    format!("containerd cannot parse this endpoint, so every pull of this name fails: {reason}"),
                    "mend the endpoint, or leave it out with --allow unparsable-endpoint",
                ),
                Trouble::LonePair { place, host } => findings.add(
                    &finding::CERTIFICATE_WITHOUT_KEY,
                    place.clone(),
                    if self.inputs.behaviour().legacy_tls {
                        format!("`cert_file` and `key_file` of `{host}` go together, and one is missing: every pull through it fails")
                    } else {
                        format!("`cert_file` and `key_file` of `{host}` go together, and one is missing: it cannot be carried")
                    },
                    "add the other one, or leave this one out with --allow certificate-without-key",
                ),
                Trouble::Unreachable { place } => findings.add(
                    &finding::UNREACHABLE_ENDPOINT,
                    place.clone(),
                    "this endpoint names no host that can be asked over HTTP",
                    "containerd goes on to the next one, today and without it; it is left out",
                ),
            }
        }
    }

    pub(super) fn check_no_host(
        &self,
        namespace: &str,
        mirror: Option<&Mirror>,
        findings: &mut Findings,
    ) {
        findings.add(
            &finding::NO_USABLE_ENDPOINT,
            mirror.map(|mirror| mirror.name.place.clone()),
            format!("no endpoint of `{namespace}` can be asked, so every pull of it fails"),
            "mend the endpoints; --allow no-usable-endpoint leaves them out, so that the registry itself is asked",
        );
    }

    /// Findings about every mirror and TLS table.
    pub(super) fn check_settings(&self, wanted: &AllWanted, findings: &mut Findings) {
        self.check_overridden(findings);
        if let Some(config_path) = &self.registry.config_path
            && let Some(path) = self.registry.config_paths().first()
            && !path.starts_with('/')
        {
            findings.add(
                &finding::RELATIVE_CONFIG_PATH,
                config_path.place.clone(),
                format!("`{path}` is relative to where containerd was started"),
                format!(
                    "that is / under systemd: it becomes `{}`",
                    self.inputs.certs.path
                ),
            );
        }
        // Where something is wrong with an entry, that it says nothing is no news.
        let says_nothing = |wanted: &&Wanted| {
            wanted.same_as_default && (wanted.changed.is_none() || self.today != Today::Legacy)
        };
        let needless: BTreeSet<&str> = wanted
            .namespaces
            .iter()
            .filter(says_nothing)
            .map(|wanted| {
                if wanted.unnamed {
                    WILDCARD
                } else {
                    wanted.name.as_str()
                }
            })
            .collect();
        for mirror in &self.registry.mirrors {
            let name = mirror.name.value.as_str();
            if !is_live(name) {
                self.dead_mirror(mirror, findings);
                continue;
            }
            self.unknown_keys(&mirror.unknown, findings);
            self.check_endpoints(mirror, findings);
            if needless.contains(name) && !findings.refused() {
                findings.add(
                    &finding::SAME_AS_DEFAULT,
                    mirror.name.place.clone(),
                    format!("this entry gives `{name}` the hosts that it has anyway"),
                    "no hosts file is needed for it",
                );
            }
        }
        let uses = Uses::of(wanted);
        for config in &self.registry.configs {
            let Some(tls) = &config.tls else { continue };
            let host = config.name.value.as_str();
            let used = uses.get(host);
            if used.http || used.https {
                self.unknown_keys(&tls.unknown, findings);
                self.check_tls(tls, host, used, findings);
            } else {
                self.dead_config(&config.name, findings);
            }
        }
    }

    fn dead_mirror(&self, mirror: &Mirror, findings: &mut Findings) {
        let name = mirror.name.value.as_str();
        let reason = unmatchable(name).unwrap_or_default();
        let probably = probably_meant(name, &mirror.unknown);
        findings.add(
            &finding::DEAD_MIRROR_KEY,
            mirror.name.place.clone(),
            format!("no image comes from {}: {reason}", quote_name(name)),
            match probably {
                Some(meant) => {
                    format!(
                        "it has no effect today and is removed; was {} meant?",
                        quote_name(&meant)
                    )
                }
                None => "it has no effect today and is removed".to_owned(),
            },
        );
    }

    fn dead_config(&self, name: &Placed<String>, findings: &mut Findings) {
        let host = name.value.as_str();
        let meant = match host {
            "docker.io" | "index.docker.io" => Some("registry-1.docker.io".to_owned()),
            _ => probably_meant(host, &[]),
        };
        findings.add(
            &finding::DEAD_CONFIG_KEY,
            name.place.clone(),
            format!("no endpoint's host is {}, so that these TLS settings are never used", quote_name(host)),
            match meant {
                Some(meant) => format!(
                    "containerd looks them up by the endpoint's host; was {} meant? They are removed",
                    quote_name(&meant)
                ),
                None => "containerd looks them up by the endpoint's host; they are removed".to_owned(),
            },
        );
    }

    fn unknown_keys(&self, unknown: &[Placed<String>], findings: &mut Findings) {
        for key in unknown {
            if findings.has(&finding::KEY_CASE, &key.place) {
                continue;
            }
            let help = if key.value == "rewrite" {
                "`rewrite` is read by the containerd of k3s and rke2 only, which writes hosts files itself from \
                 registries.yaml; --allow unknown-key drops it here"
            } else {
                "mend a misspelt key; --allow unknown-key drops it"
            };
            findings.add(
                &finding::UNKNOWN_KEY,
                key.place.clone(),
                format!("containerd does not know `{}` here", key.value),
                help,
            );
        }
    }

    fn check_endpoints(&self, mirror: &Mirror, findings: &mut Findings) {
        let behaviour = self.inputs.behaviour();
        let resolved = self.legacy.resolve(&mirror.name.value, &behaviour, true);
        for (index, host) in resolved.hosts.iter().enumerate() {
            let Origin::Endpoint(number) = host.origin else {
                continue;
            };
            let Some(endpoint) = mirror.endpoints.get(number) else {
                continue;
            };
            let earlier = resolved
                .hosts
                .iter()
                .take(index)
                .any(|other| other.host.same_try(&host.host));
            let default_too = mirror.name.value != WILDCARD
                && resolved.hosts.iter().skip(index + 1).any(|other| {
                    other.origin == Origin::Default && other.host.same_try(&host.host)
                });
            if earlier || default_too {
                findings.add(
                    &finding::REPEATED_ENDPOINT,
                    endpoint.place.clone(),
                    if earlier {
                        "this endpoint stands there twice"
                    } else {
                        "containerd appends this endpoint itself, and so asks it twice"
                    },
                    "asked a second time it gives the same answer; it is written once",
                );
            }
            let path = parse_endpoint(&endpoint.value, &behaviour);
            let has_path = path.is_ok_and(|parsed| !parsed.path().is_empty());
            let request = host.host.path.as_str();
            let has_v2 = request.ends_with("/v2") || request.starts_with("/v2/");
            if has_path && !has_v2 {
                findings.add(
                    &finding::PATH_WITHOUT_V2,
                    endpoint.place.clone(),
                    format!(
                        "requests go to `{}`, without /v2: most registries answer 404 there",
                        host.host.url()
                    ),
                    "it stays like that; if this mirror never worked, this is why",
                );
            }
        }
    }

    fn check_tls(&self, tls: &Tls, host: &str, used: Use, findings: &mut Findings) {
        if used.http {
            if let Some(place) = &tls.skip_verify {
                findings.add(
                    &finding::SKIP_VERIFY_ON_HTTP_ENDPOINT,
                    place.clone(),
                    format!("`{host}` is an http endpoint, where no certificate is verified"),
                    "it is left out there: in a hosts file it would make newer containerd try HTTPS first",
                );
            }
            let files = [&tls.ca_file, &tls.cert_file, &tls.key_file];
            if let Some(file) = files.into_iter().flatten().next() {
                findings.add(
                    &finding::TLS_ON_HTTP_ENDPOINT,
                    file.place.clone(),
                    format!("`{host}` is an http endpoint: certificates only matter if it redirects to https"),
                    "they are left out there: in a hosts file they would make newer containerd try HTTPS first",
                );
            }
        }
        if !used.https {
            return;
        }
        if let Some(file) = &tls.empty_ca_file {
            findings.add(
                &finding::CA_WITHOUT_CERTIFICATE,
                file.place.clone(),
                format!("`{}` holds no certificate", absolute(&file.value)),
                "containerd ignores it today, but a hosts file that names it would fail every pull; it is left out",
            );
        }
        for file in [&tls.ca_file, &tls.cert_file, &tls.key_file]
            .into_iter()
            .flatten()
        {
            let path = absolute(&file.value);
            if path != file.value {
                findings.add(
                    &finding::RELATIVE_CERTIFICATE_PATH,
                    file.place.clone(),
                    format!(
                        "`{}` is relative to where containerd was started",
                        file.value
                    ),
                    format!("that is / under systemd: it becomes `{path}`"),
                );
            }
            match self.inputs.certificates.get(&path) {
                Some(CertificateFile::Read | CertificateFile::WithoutCertificate) | None => {}
                Some(CertificateFile::Missing) => {
                    if self.first_mention(file) {
                        findings.add(
                            &finding::CERTIFICATE_FILE_MISSING,
                            file.place.clone(),
                            format!("`{path}` is not there"),
                            "pulls fail without it: today on containerd 1.x, afterwards everywhere; the path is carried",
                        );
                    }
                }
                Some(CertificateFile::Unreadable(reason)) => findings.add(
                    &finding::CERTIFICATE_FILE_MISSING,
                    file.place.clone(),
                    format!("`{path}` cannot be read: {reason}"),
                    "the path is carried; see that root can read it on the node",
                ),
            }
        }
    }

    /// Whether no earlier setting names the same file.
    fn first_mention(&self, file: &Placed<String>) -> bool {
        self.first_mentions.get(&absolute(&file.value)) == Some(&file.place)
    }

    /// What becomes of every setting.
    pub(super) fn outcomes(&self, wanted: &AllWanted, certs: &CertsDirectory) -> Vec<Outcome> {
        let uses = Uses::of(wanted);
        let mut files_of_mirror: BTreeMap<&str, BTreeSet<NodePath>> = BTreeMap::new();
        let mut files_of_host: BTreeMap<&str, BTreeSet<NodePath>> = BTreeMap::new();
        let mut overruled: BTreeSet<&str> = BTreeSet::new();
        for namespace in &wanted.namespaces {
            let directory = certs.own(&namespace.name);
            let directory = directory.or_else(|| {
                certs
                    .directories
                    .contains_key(DEFAULT)
                    .then(|| DEFAULT.to_owned())
            });
            let path = directory.map(|name| certs.path.join(&name).join("hosts.toml"));
            let mirror = namespace.mirror.as_deref();
            if [Decider::InEffect, Decider::Kept].contains(&namespace.decider) {
                overruled.extend(mirror.filter(|mirror| *mirror == namespace.name));
                continue;
            }
            let Some(path) = path else { continue };
            if let Some(mirror) = mirror {
                files_of_mirror
                    .entry(mirror)
                    .or_default()
                    .insert(path.clone());
            }
            for host in settings_hosts(namespace).filter(|host| host.scheme != Scheme::Http) {
                files_of_host
                    .entry(host.host.as_str())
                    .or_default()
                    .insert(path.clone());
            }
        }
        let carried = |files: Option<&BTreeSet<NodePath>>| match files {
            Some(files) => Fate::Carried(files.iter().cloned().collect()),
            None => Fate::WithoutEffect(&finding::SAME_AS_DEFAULT),
        };
        let mut outcomes = Vec::new();
        for mirror in &self.registry.mirrors {
            let name = mirror.name.value.as_str();
            let setting = format!("registry.mirrors.{}", quote_name(name));
            let live = is_live(name);
            let fate = match live {
                false => Fate::WithoutEffect(&finding::DEAD_MIRROR_KEY),
                true if overruled.contains(name) => Fate::Overruled(&finding::EXISTING_HOSTS_FILE),
                true => carried(files_of_mirror.get(name)),
            };
            outcomes.extend(self.endpoint_outcomes(mirror, &setting, fate));
            let fate = match live {
                true => Fate::LeftOut(&finding::UNKNOWN_KEY),
                false => Fate::WithoutEffect(&finding::DEAD_MIRROR_KEY),
            };
            outcomes.extend(unknown_outcomes(&setting, &mirror.unknown, &fate));
        }
        for config in &self.registry.configs {
            let Some(tls) = &config.tls else { continue };
            let host = config.name.value.as_str();
            let setting = format!("registry.configs.{}.{}", quote_name(host), config.tls_key);
            let used = uses.get(host);
            let dead = Fate::WithoutEffect(&finding::DEAD_CONFIG_KEY);
            let live = used.http || used.https;
            if tls.keys.is_empty() && tls.unknown.is_empty() {
                let fate = if live {
                    Fate::WithoutEffect(&finding::SAME_AS_DEFAULT)
                } else {
                    dead.clone()
                };
                outcomes.push(Outcome {
                    setting: setting.clone(),
                    place: tls.place.clone(),
                    fate,
                });
            }
            for key in &tls.keys {
                let fate = if live {
                    self.tls_key_fate(tls, key, used, carried(files_of_host.get(host)))
                } else {
                    dead.clone()
                };
                let setting = format!("{setting}.{}", quote_name(&key.value));
                outcomes.push(Outcome {
                    setting,
                    place: key.place.clone(),
                    fate,
                });
            }
            let fate = if live {
                Fate::LeftOut(&finding::UNKNOWN_KEY)
            } else {
                dead
            };
            outcomes.extend(unknown_outcomes(&setting, &tls.unknown, &fate));
        }
        let kept = self.registry.kept.iter().map(|leaf| Outcome {
            setting: leaf.name.clone(),
            place: leaf.place.clone(),
            fate: Fate::Stays,
        });
        outcomes.extend(kept);
        outcomes.extend(self.outcomes_without_effect());
        outcomes
    }

    /// What becomes of the settings that are not in effect.
    fn outcomes_without_effect(&self) -> Vec<Outcome> {
        let start = |place: &Place| (place.file, place.range.start);
        let in_effect: HashSet<_> = self
            .registry
            .leaves()
            .iter()
            .map(|leaf| start(&leaf.place))
            .collect();
        let mut outcomes = Vec::new();
        for placement in &self.placements {
            let fate = match &placement.worth {
                Worth::Live => Fate::WithoutEffect(&finding::OVERRIDDEN_SETTING),
                Worth::ComesAlive { code, .. } => Fate::LeftOut(code),
                // Said of the other name.
                Worth::SameAs => continue,
                Worth::Overruled | Worth::Dead => Fate::Stays,
            };
            let mut leaves = placement.registry.leaves();
            if let (Some(path), true) = (&placement.registry.config_path, placement.is_silenced()) {
                leaves.push(Leaf {
                    name: "registry.config_path".to_owned(),
                    place: path.place.clone(),
                });
            }
            let is_empty_entry = |leaf: &Leaf| {
                let mut mirrors = placement.registry.mirrors.iter();
                mirrors.any(|mirror| mirror.name.place == leaf.place)
            };
            for leaf in leaves {
                if in_effect.contains(&start(&leaf.place)) {
                    continue;
                }
                // An entry without endpoints says nothing that could be set again.
                let fate = match placement.worth {
                    Worth::Live if is_empty_entry(&leaf) => {
                        Fate::WithoutEffect(&finding::SAME_AS_DEFAULT)
                    }
                    _ => fate.clone(),
                };
                outcomes.push(Outcome {
                    setting: leaf.name,
                    place: leaf.place,
                    fate,
                });
            }
        }
        outcomes
    }

    /// Findings about settings that a file sets again that is read later.
    pub(super) fn check_overridden(&self, findings: &mut Findings) {
        for outcome in self.outcomes_without_effect() {
            if outcome.fate == Fate::WithoutEffect(&finding::OVERRIDDEN_SETTING) {
                findings.add(
                    &finding::OVERRIDDEN_SETTING,
                    outcome.place,
                    format!(
                        "`{}` is set again by a file that is read later",
                        outcome.setting
                    ),
                    "this one has no effect, and goes",
                );
            }
        }
    }

    /// One outcome for the whole list, or one for each endpoint where some are left out.
    fn endpoint_outcomes(&self, mirror: &Mirror, setting: &str, fate: Fate) -> Vec<Outcome> {
        let Some(place) = &mirror.endpoint_key else {
            let place = mirror.name.place.clone();
            return vec![Outcome {
                setting: setting.to_owned(),
                place,
                fate,
            }];
        };
        let behaviour = self.inputs.behaviour();
        let trouble = match fate {
            Fate::WithoutEffect(code) if code == &finding::DEAD_MIRROR_KEY => Vec::new(),
            _ => {
                self.legacy
                    .resolve(&mirror.name.value, &behaviour, true)
                    .trouble
            }
        };
        let left_out = |endpoint: &Placed<String>| {
            trouble.iter().find_map(|trouble| match trouble {
                Trouble::Unparsable { place, .. } if *place == endpoint.place => {
                    Some(&finding::UNPARSABLE_ENDPOINT)
                }
                Trouble::Unreachable { place } if *place == endpoint.place => {
                    Some(&finding::UNREACHABLE_ENDPOINT)
                }
                _ => None,
            })
        };
        if !mirror
            .endpoints
            .iter()
            .any(|endpoint| left_out(endpoint).is_some())
        {
            let setting = format!("{setting}.endpoint");
            return vec![Outcome {
                setting,
                place: place.clone(),
                fate,
            }];
        }
        let of_endpoint = |(index, endpoint): (usize, &Placed<String>)| Outcome {
            setting: format!("{setting}.endpoint[{index}]"),
            place: endpoint.place.clone(),
            fate: left_out(endpoint).map_or_else(|| fate.clone(), Fate::LeftOut),
        };
        mirror
            .endpoints
            .iter()
            .enumerate()
            .map(of_endpoint)
            .collect()
    }

    fn tls_key_fate(&self, tls: &Tls, key: &Placed<String>, used: Use, carried: Fate) -> Fate {
        let lone = tls.cert_file.is_some() != tls.key_file.is_some();
        let (set, http) = match key.value.to_ascii_lowercase().as_str() {
            "ca_file" if tls.empty_ca_file.is_some() => {
                return Fate::LeftOut(&finding::CA_WITHOUT_CERTIFICATE);
            }
            "ca_file" => (tls.ca_file.is_some(), &finding::TLS_ON_HTTP_ENDPOINT),
            "insecure_skip_verify" => (
                tls.skip_verify.is_some(),
                &finding::SKIP_VERIFY_ON_HTTP_ENDPOINT,
            ),
            pair => {
                let file = if pair == "cert_file" {
                    &tls.cert_file
                } else {
                    &tls.key_file
                };
                if lone && file.is_some() {
                    return Fate::LeftOut(&finding::CERTIFICATE_WITHOUT_KEY);
                }
                (file.is_some(), &finding::TLS_ON_HTTP_ENDPOINT)
            }
        };
        match (set, used.https) {
            (false, _) => Fate::WithoutEffect(&finding::SAME_AS_DEFAULT),
            (true, true) => carried,
            (true, false) => Fate::LeftOut(http),
        }
    }
}

fn unknown_outcomes(above: &str, unknown: &[Placed<String>], fate: &Fate) -> Vec<Outcome> {
    unknown
        .iter()
        .map(|key| Outcome {
            setting: format!("{above}.{}", quote_name(&key.value)),
            place: key.place.clone(),
            fate: fate.clone(),
        })
        .collect()
}

/// What somebody probably meant with a name that matches nothing.
fn probably_meant(name: &str, unknown: &[Placed<String>]) -> Option<String> {
    if name == "index.docker.io" {
        return Some("docker.io".to_owned());
    }
    // `[mirrors.docker.io]` without quotes is a table `docker` with a key `io`.
    if let [key] = unknown
        && unmatchable(&format!("{name}.{}", key.value)).is_none()
    {
        return Some(format!("{name}.{}", key.value));
    }
    let without_scheme = name.split_once("://").map_or(name, |(_, rest)| rest);
    let host = without_scheme.split('/').next().unwrap_or_default();
    (host != name && unmatchable(host).is_none()).then(|| host.to_owned())
}

/// Where each certificate file is named first.
pub(super) fn first_mentions(registry: &Registry) -> BTreeMap<String, Place> {
    let mut mentions = BTreeMap::new();
    for tls in registry
        .configs
        .iter()
        .filter_map(|config| config.tls.as_ref())
    {
        for file in [&tls.ca_file, &tls.cert_file, &tls.key_file]
            .into_iter()
            .flatten()
        {
            mentions
                .entry(absolute(&file.value))
                .or_insert_with(|| file.place.clone());
        }
    }
    mentions
}
