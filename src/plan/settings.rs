//! What becomes of every legacy setting, and what is said of each: one pass gives both.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::hosts_files::Draft;
use super::namespaces::{AllWanted, Decider, Wanted};
use super::placement::Effect;
use super::planner::{InEffect, Planner};
use crate::containerd::host::{Host, Scheme};
use crate::containerd::hosts_file::directory::{DEFAULT, HOSTS_FILE};
use crate::containerd::legacy::{
    LegacyHost, Origin, Resolved, Trouble, WILDCARD, is_matchable, parse_endpoint, unmatchable,
};
use crate::containerd::registry::{HostConfig, Leaf, Mirror, Tls, absolute, quote_name};
use crate::finding::{self, Code, FileId, Findings, Place, Placed};
use crate::node::NodePath;
use crate::plan::rules::wrong_places::advice::Adviser;
use crate::plan::rules::wrong_places::names;
use crate::read::CertificateFile;
use crate::secret::{shown_path, shown_url};

/// What becomes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in these hosts files now, or in certificate files that exist.
    Carried(Vec<NodePath>),
    /// It had no effect and is removed; the code says why.
    WithoutEffect(&'static Code),
    /// It is left out, as the operator accepted or as the code explains.
    LeftOut(&'static Code),
    /// A hosts file that exists decides instead.
    Overruled(&'static Code),
    /// It stays in config.toml.
    Stays,
}

/// A legacy setting and what becomes of it.
#[derive(Clone, Debug)]
pub struct SettingOutcome {
    /// The setting's path, from `registry` on.
    pub setting: String,
    /// Its place.
    pub place: Place,
    /// What becomes of it.
    pub fate: Fate,
}

/// What is asked about many settings, worked out once.
struct Settled<'w> {
    uses: Uses<'w>,
    /// The hosts files that say what a mirror entry said, by its name.
    files_of_mirror: HashMap<&'w str, BTreeSet<NodePath>>,
    /// The hosts files in which a host occurs, by the host; of a directory without one, its certificates.
    files_of_host: HashMap<&'w str, BTreeSet<NodePath>>,
    /// Mirror entries for whose namespace a hosts file decides that exists.
    overruled: BTreeSet<&'w str>,
    /// The hosts that the settings give for such namespaces.
    overruled_hosts: BTreeSet<&'w str>,
    /// Mirror entries for which no hosts file is needed.
    needless: BTreeSet<&'w str>,
}

impl<'w> Settled<'w> {
    fn of(planner: &Planner<'_>, wanted: &'w AllWanted, drafts: &BTreeMap<String, Draft>) -> Self {
        let mut settled = Self {
            uses: Uses::of(wanted),
            files_of_mirror: HashMap::new(),
            files_of_host: HashMap::new(),
            overruled: BTreeSet::new(),
            overruled_hosts: BTreeSet::new(),
            needless: BTreeSet::new(),
        };
        let certs = &planner.certs;
        for namespace in &wanted.namespaces {
            // Where something is wrong with an entry, that it says nothing is no news.
            if namespace.same_as_default
                && (namespace.changed.is_none() || planner.in_effect != InEffect::Settings)
            {
                let name = namespace.name.as_str();
                let name = if namespace.unnamed { WILDCARD } else { name };
                settled.needless.insert(name);
            }
            let mirror = namespace.mirror.as_deref();
            if [Decider::HostsFile, Decider::KeptFile].contains(&namespace.decider) {
                let own = mirror.filter(|mirror| *mirror == namespace.name);
                settled.overruled.extend(own);
                let hosts = settings_hosts(namespace).map(|host| host.host.as_str());
                settled.overruled_hosts.extend(hosts);
                continue;
            }
            if !planner.uses_hosts_files {
                continue;
            }
            // The directory that decides afterwards.
            let exists =
                |name: &str| certs.directories.contains_key(name) || drafts.contains_key(name);
            let own = certs.own(&namespace.name).unwrap_or(&namespace.name);
            let directory = match exists(own) {
                true => own,
                false if exists(DEFAULT) => DEFAULT,
                false => continue,
            };
            let path = certs.path.join(directory);
            let existing = certs.directories.get(directory);
            let certificates = existing
                .filter(|existing| !drafts.contains_key(directory) && !existing.has_hosts_file());
            let paths: Vec<NodePath> = match certificates {
                Some(existing) => existing
                    .certificates
                    .iter()
                    .map(|file| path.join(file))
                    .collect(),
                None => vec![path.join(HOSTS_FILE)],
            };
            if let Some(mirror) = mirror {
                let files = settled.files_of_mirror.entry(mirror).or_default();
                files.extend(paths.iter().cloned());
            }
            for host in settings_hosts(namespace).filter(|host| host.scheme != Scheme::Http) {
                let files = settled.files_of_host.entry(host.host.as_str()).or_default();
                files.extend(paths.iter().cloned());
            }
        }
        settled
    }
}

fn carried(files: Option<&BTreeSet<NodePath>>) -> Fate {
    match files.filter(|files| !files.is_empty()) {
        Some(files) => Fate::Carried(files.iter().cloned().collect()),
        None => Fate::WithoutEffect(&finding::SAME_AS_DEFAULT),
    }
}

/// Where hosts occur in the lists that the settings give.
#[derive(Default)]
struct Uses<'w> {
    by_host: HashMap<&'w str, Use>,
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

/// What becomes of every setting.
pub(crate) fn settle(
    planner: &Planner<'_>,
    wanted: &AllWanted,
    drafts: &BTreeMap<String, Draft>,
    findings: &mut Findings,
) -> Vec<SettingOutcome> {
    let settled = Settled::of(planner, wanted, drafts);
    let mut outcomes = Vec::new();
    for mirror in &planner.registry().mirrors {
        settle_mirror(planner, mirror, &settled, &mut outcomes, findings);
    }
    for config in &planner.registry().configs {
        if let Some(tls) = &config.tls {
            settle_tls(planner, config, tls, &settled, &mut outcomes, findings);
        }
    }
    let kept = planner.registry().kept.iter();
    outcomes.extend(kept.map(|leaf| SettingOutcome {
        setting: leaf.name.clone(),
        place: leaf.place.clone(),
        fate: Fate::Stays,
    }));
    settle_without_effect(planner, &mut outcomes, findings);
    outcomes
}

fn settle_mirror(
    planner: &Planner<'_>,
    mirror: &Mirror,
    settled: &Settled<'_>,
    outcomes: &mut Vec<SettingOutcome>,
    findings: &mut Findings,
) {
    let name = mirror.name.value.as_str();
    let setting = format!("registry.mirrors.{}", quote_name(name));
    if !is_matchable(name) {
        dead_mirror(planner, mirror, findings);
        let fate = Fate::WithoutEffect(&finding::DEAD_MIRROR_KEY);
        outcomes.push(endpoint_list(mirror, &setting, fate.clone()));
        outcomes.extend(unknown_outcomes(&setting, &mirror.unknown, &fate));
        return;
    }
    let resolved = planner.legacy().resolve(name, planner.behaviour(), true);
    if !settled.needless.contains(name) {
        check_endpoints(planner, mirror, &resolved, findings);
    } else {
        findings.add(
            &finding::SAME_AS_DEFAULT,
            mirror.name.place.clone(),
            format!("this entry gives `{name}` the hosts that it has anyway"),
            "no hosts file is needed for it",
        );
    }
    let fate = if settled.overruled.contains(name) {
        Fate::Overruled(&finding::EXISTING_HOSTS_FILE)
    } else {
        carried(settled.files_of_mirror.get(name))
    };
    endpoint_outcomes(mirror, &resolved, &setting, &fate, outcomes);
    let fate = Fate::WithoutEffect(&finding::UNKNOWN_KEY);
    outcomes.extend(unknown_outcomes(&setting, &mirror.unknown, &fate));
}

fn settle_tls(
    planner: &Planner<'_>,
    config: &HostConfig,
    tls: &Tls,
    settled: &Settled<'_>,
    outcomes: &mut Vec<SettingOutcome>,
    findings: &mut Findings,
) {
    let host = config.name.value.as_str();
    let setting = format!("registry.configs.{}.{}", quote_name(host), config.tls_key);
    let used = settled.uses.get(host);
    let takes_effect = used.http || used.https;
    let dead = Fate::WithoutEffect(&finding::DEAD_CONFIG_KEY);
    let files = settled.files_of_host.get(host);
    let is_overruled = files.is_none() && settled.overruled_hosts.contains(host);
    let is_ignored = !planner.behaviour().reads_legacy_tls();
    if takes_effect {
        if is_ignored {
            check_ignored_tls(planner, tls, host, used.https && !is_overruled, findings);
        }
        if !is_ignored || planner.inputs.carries() {
            check_tls(planner, tls, host, used, findings);
        }
    } else {
        dead_config(planner, config, tls, findings);
    }
    let mut push = |setting: String, place: &Place, fate: Fate| {
        outcomes.push(SettingOutcome {
            setting,
            place: place.clone(),
            fate,
        });
    };
    if tls.keys.is_empty() && tls.unknown.is_empty() {
        let fate = match takes_effect {
            true => Fate::WithoutEffect(&finding::SAME_AS_DEFAULT),
            false => dead.clone(),
        };
        push(setting.clone(), &tls.place, fate);
    }
    for key in &tls.keys {
        let is_skip = key.value.eq_ignore_ascii_case("insecure_skip_verify");
        let has_no_effect =
            is_ignored && !planner.inputs.carries() && (is_skip || is_overruled || !used.https);
        let fate = match takes_effect {
            true if has_no_effect => Fate::WithoutEffect(&finding::TLS_IGNORED_TODAY),
            true if is_overruled => Fate::Overruled(&finding::EXISTING_HOSTS_FILE),
            true => tls_key_fate(tls, key, used, carried(files)),
            false => dead.clone(),
        };
        let setting = format!("{setting}.{}", quote_name(&key.value));
        push(setting, &key.place, fate);
    }
    let fate = match takes_effect {
        true => Fate::WithoutEffect(&finding::UNKNOWN_KEY),
        false => dead,
    };
    outcomes.extend(unknown_outcomes(&setting, &tls.unknown, &fate));
}

/// Settings that have no effect on the containerd whose behaviour is kept.
fn settle_without_effect(
    planner: &Planner<'_>,
    outcomes: &mut Vec<SettingOutcome>,
    findings: &mut Findings,
) {
    let mut in_effect: Option<HashSet<_>> = None;
    for placement in &planner.placements {
        // Most nodes have one table, and all of it takes effect.
        if std::ptr::eq(placement.registry, planner.registry()) {
            continue;
        }
        let in_effect = in_effect.get_or_insert_with(|| {
            let leaves = planner.registry().leaves().into_iter();
            leaves.map(|leaf| start(&leaf.place)).collect()
        });
        let fate = match &placement.effect {
            Effect::Now => Fate::WithoutEffect(&finding::OVERRIDDEN_SETTING),
            Effect::Later { code, .. } => {
                let code = planner
                    .inert_code()
                    .filter(|_| planner.inputs.carries())
                    .unwrap_or(code);
                Fate::LeftOut(code)
            }
            // Said of the other name.
            Effect::UnderAnotherName => continue,
            Effect::Overruled | Effect::Never => Fate::Stays,
            Effect::Idle => Fate::WithoutEffect(&finding::INERT_SECTION),
        };
        let mut leaves = placement.registry.leaves();
        if let (Some(path), true) = (&placement.registry.config_path, placement.is_silenced()) {
            leaves.push(Leaf {
                name: "registry.config_path".to_owned(),
                place: path.place.clone(),
            });
        }
        let mirrors = placement.registry.mirrors.iter();
        let mirrors: HashSet<_> = mirrors.map(|mirror| start(&mirror.name.place)).collect();
        let is_empty_entry = |leaf: &Leaf| mirrors.contains(&start(&leaf.place));
        for leaf in leaves {
            if in_effect.contains(&start(&leaf.place)) {
                continue;
            }
            // An entry without endpoints says nothing that could be set again.
            let fate = match placement.effect {
                Effect::Now if is_empty_entry(&leaf) => {
                    Fate::WithoutEffect(&finding::SAME_AS_DEFAULT)
                }
                _ => fate.clone(),
            };
            if fate == Fate::WithoutEffect(&finding::OVERRIDDEN_SETTING) {
                findings.add(
                    &finding::OVERRIDDEN_SETTING,
                    leaf.place.clone(),
                    format!("`{}` is set again by a file that is read later", leaf.name),
                    "this one has no effect, and is removed",
                );
            }
            outcomes.push(SettingOutcome {
                setting: leaf.name,
                place: leaf.place,
                fate,
            });
        }
    }
}

/// Where a place begins, which tells it from others.
fn start(place: &Place) -> (FileId, usize) {
    (place.file, place.range.start)
}

fn endpoint_list(mirror: &Mirror, setting: &str, fate: Fate) -> SettingOutcome {
    let (setting, place) = match &mirror.endpoint_key {
        Some(place) => (format!("{setting}.endpoint"), place),
        None => (setting.to_owned(), &mirror.name.place),
    };
    SettingOutcome {
        setting,
        place: place.clone(),
        fate,
    }
}

/// One outcome for the whole list, or one for each endpoint where some are left out.
fn endpoint_outcomes(
    mirror: &Mirror,
    resolved: &Resolved<'_>,
    setting: &str,
    fate: &Fate,
    outcomes: &mut Vec<SettingOutcome>,
) {
    let left_out = resolved.trouble.iter().filter_map(|trouble| match trouble {
        Trouble::Unparsable { place, .. } => Some((place, &finding::UNPARSABLE_ENDPOINT)),
        Trouble::Unreachable { place, .. } => Some((place, &finding::UNREACHABLE_ENDPOINT)),
        _ => None,
    });
    let left_out: HashMap<_, _> = left_out.map(|(place, code)| (start(place), code)).collect();
    let left_out = |endpoint: &Placed<String>| left_out.get(&start(&endpoint.place)).copied();
    if mirror.endpoint_key.is_none() || mirror.endpoints.iter().all(|one| left_out(one).is_none()) {
        outcomes.push(endpoint_list(mirror, setting, fate.clone()));
        return;
    }
    let numbered = mirror.endpoints.iter().enumerate();
    outcomes.extend(numbered.map(|(index, endpoint)| SettingOutcome {
        setting: format!("{setting}.endpoint[{index}]"),
        place: endpoint.place.clone(),
        fate: left_out(endpoint).map_or_else(|| fate.clone(), Fate::LeftOut),
    }));
}

fn tls_key_fate(tls: &Tls, key: &Placed<String>, used: Use, carried: Fate) -> Fate {
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
        (true, true) => of_kind(carried, &key.value),
        (true, false) => Fate::LeftOut(http),
    }
}

/// Of the files in a directory without a hosts.toml those that containerd takes for what this key names.
fn of_kind(carried: Fate, key: &str) -> Fate {
    let Fate::Carried(mut files) = carried else {
        return carried;
    };
    let ending = match key.to_ascii_lowercase().as_str() {
        "ca_file" => ".crt",
        "cert_file" => ".cert",
        _ => ".key",
    };
    files.retain(|file| file.name() == HOSTS_FILE || file.name().ends_with(ending));
    Fate::Carried(files)
}

fn dead_mirror(planner: &Planner<'_>, mirror: &Mirror, findings: &mut Findings) {
    let name = mirror.name.value.as_str();
    let reason = unmatchable(name).unwrap_or_default();
    let advice = probably_meant(name, &mirror.unknown).map(|meant| {
        let adviser = Adviser::at(planner, &mirror.name.place);
        let advice = adviser.mirror_called(&meant, &mirror.endpoints);
        format!("; if {} is meant, {advice}", quote_name(&meant))
    });
    findings.add(
        &finding::DEAD_MIRROR_KEY,
        mirror.name.place.clone(),
        format!("no image comes from {}: {reason}", quote_name(name)),
        format!(
            "it has no effect, and is removed{}",
            advice.unwrap_or_default()
        ),
    );
}

fn dead_config(planner: &Planner<'_>, config: &HostConfig, tls: &Tls, findings: &mut Findings) {
    let host = config.name.value.as_str();
    let advice = names::meant_host(host).map(|meant| {
        let adviser = Adviser::at(planner, &config.name.place);
        let advice = adviser.tls_called(meant, tls);
        format!("; if {} is meant, {advice}", quote_name(meant))
    });
    findings.add(
        &finding::DEAD_CONFIG_KEY,
        config.name.place.clone(),
        format!(
            "no endpoint's host is {}, so that these TLS settings are never used",
            quote_name(host)
        ),
        format!(
            "containerd looks them up by the endpoint's host; they are removed{}",
            advice.unwrap_or_default()
        ),
    );
}

fn check_endpoints(
    planner: &Planner<'_>,
    mirror: &Mirror,
    resolved: &Resolved<'_>,
    findings: &mut Findings,
) {
    let behaviour = planner.behaviour();
    let is_default = |host: &&LegacyHost| host.origin == Origin::Default;
    // What containerd appends comes last.
    let default = resolved.hosts.last().filter(is_default);
    let default = default.filter(|_| mirror.name.value != WILDCARD);
    let mut tried = HashSet::new();
    for host in &resolved.hosts {
        let Origin::Endpoint(number) = host.origin else {
            continue;
        };
        let Some(endpoint) = mirror.endpoints.get(number) else {
            continue;
        };
        let earlier = !tried.insert(host.host.one_try());
        let default_too = default.is_some_and(|default| default.host.same_try(&host.host));
        if earlier || default_too {
            findings.add(
                &finding::REPEATED_ENDPOINT,
                endpoint.place.clone(),
                if earlier {
                    "this endpoint appears twice"
                } else {
                    "containerd appends this endpoint itself, and asks it twice"
                },
                "asked a second time it gives the same answer; it is written once",
            );
        }
        let path = parse_endpoint(&endpoint.value, behaviour);
        let has_path = path.is_ok_and(|parsed| !parsed.path().is_empty());
        let request = host.host.path.as_str();
        let has_v2 = request.ends_with("/v2") || request.starts_with("/v2/");
        if has_path && !has_v2 {
            findings.add(
                &finding::PATH_WITHOUT_V2,
                endpoint.place.clone(),
                format!(
                    "requests go to `{}`, without /v2: most registries answer 404 there",
                    shown_url(&host.host.url())
                ),
                "it stays like that; if this mirror never worked, this is why",
            );
        }
    }
}

/// What becomes of TLS settings that containerd 2.x ignores. `matters` is whether a hosts file could carry them: the host
/// is asked over HTTPS, and no hosts file that takes effect today decides.
fn check_ignored_tls(
    planner: &Planner<'_>,
    tls: &Tls,
    host: &str,
    matters: bool,
    findings: &mut Findings,
) {
    let kept = planner.inputs.kept_version();
    if !matters || !tls.says_something() {
        return;
    }
    if planner.inputs.carries() {
        findings.add(
            &finding::TLS_IGNORED_TODAY,
            tls.place.clone(),
            format!(
                "containerd {kept} ignores `configs.*.tls`, and with it these settings for `{host}`"
            ),
            "they take effect after the migration, as --inert carry says",
        );
        return;
    }
    if certificate_files(tls).next().is_some() {
        findings.add(
            &finding::TLS_IGNORED_TODAY,
            tls.place.clone(),
            format!("containerd {kept} ignores `configs.*.tls`: `{host}` is asked without these certificates"),
            "they take effect after the migration; pulls that work today still do",
        );
        check_certificates(planner, tls, findings);
    }
    if let Some(place) = &tls.skip_verify {
        findings.add(
            &finding::TLS_IGNORED_TODAY,
            place.clone(),
            format!("containerd {kept} ignores this, and verifies the certificate of `{host}`"),
            "it is removed, and the certificate is still verified",
        );
        findings.hint_carry();
    }
}

fn check_tls(planner: &Planner<'_>, tls: &Tls, host: &str, used: Use, findings: &mut Findings) {
    if used.http {
        if let Some(place) = &tls.skip_verify {
            findings.add(
                &finding::SKIP_VERIFY_ON_HTTP_ENDPOINT,
                place.clone(),
                format!("`{host}` is an http endpoint, where no certificate is verified"),
                "it is left out there: in a hosts file it would make newer containerd try HTTPS first",
            );
        }
        if let Some(file) = tls.files().next() {
            findings.add(
                &finding::TLS_ON_HTTP_ENDPOINT,
                file.place.clone(),
                format!("`{host}` is an http endpoint: certificates only matter if it redirects to https"),
                "they are left out there: in a hosts file they would make newer containerd try HTTPS first",
            );
        }
    }
    if used.https {
        check_certificates(planner, tls, findings);
    }
}

/// What is wrong with the files that TLS settings name.
fn check_certificates(planner: &Planner<'_>, tls: &Tls, findings: &mut Findings) {
    if let Some(file) = &tls.empty_ca_file {
        findings.add(
            &finding::CA_WITHOUT_CERTIFICATE,
            file.place.clone(),
            format!("`{}` holds no certificate", shown_path(&absolute(&file.value))),
            "containerd ignores it today, but a hosts file that names it would fail every pull; it is left out",
        );
    }
    for file in certificate_files(tls) {
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
        match planner.inputs.certificates.get(&path) {
            Some(CertificateFile::Read | CertificateFile::WithoutCertificate) | None => {}
            Some(CertificateFile::Missing) => {
                if first_mention(planner, file) {
                    findings.add(
                        &finding::CERTIFICATE_FILE_MISSING,
                        file.place.clone(),
                        format!("`{}` does not exist", shown_path(&path)),
                        "pulls fail without it: on containerd 1.x as before, after the migration on every release; the \
                         path is carried",
                    );
                }
            }
            Some(CertificateFile::Unreadable(reason)) => findings.add(
                &finding::CERTIFICATE_FILE_MISSING,
                file.place.clone(),
                format!("`{}` cannot be read: {reason}", shown_path(&path)),
                "the path is carried; see that root can read it on the node",
            ),
        }
    }
}

/// The files that a hosts file can name: a certificate without its key, or a key alone, is left out.
fn certificate_files(tls: &Tls) -> impl Iterator<Item = &Placed<String>> {
    let is_lone = tls.cert_file.is_some() != tls.key_file.is_some();
    let pair = [&tls.cert_file, &tls.key_file].into_iter().flatten();
    tls.ca_file.iter().chain(pair.filter(move |_| !is_lone))
}

/// Whether no earlier setting names the same file.
fn first_mention(planner: &Planner<'_>, file: &Placed<String>) -> bool {
    planner.first_mentions.get(&absolute(&file.value)) == Some(&file.place)
}

/// What to do about a value that a template was to replace.
const NOT_RENDERED: &str = "this is a template that was not rendered (`{{ … }}` or `${…}`): fix what renders the file on \
     this node, or write the endpoint";

/// Findings about endpoints and TLS settings that make containerd fail or skip.
pub(crate) fn check_trouble(planner: &Planner<'_>, trouble: &[Trouble], findings: &mut Findings) {
    for trouble in trouble {
        match trouble {
            Trouble::Unparsable {
                place,
                reason,
                is_template,
            } => findings.add(
                &finding::UNPARSABLE_ENDPOINT,
                place.clone(),
                format!("containerd cannot parse this endpoint, so every pull of this name fails: {reason}"),
                if *is_template { NOT_RENDERED } else { "fix the endpoint" },
            ),
            Trouble::LonePair { place, host } if !planner.behaviour().reads_legacy_tls() => {
                findings.add_decided(
                    &finding::CERTIFICATE_WITHOUT_KEY,
                    place.clone(),
                    format!("`cert_file` and `key_file` of `{host}` go together, and one is missing"),
                    "it is left out; containerd 2.x ignores it today",
                );
            }
            Trouble::LonePair { place, host } => findings.add(
                &finding::CERTIFICATE_WITHOUT_KEY,
                place.clone(),
                format!("`cert_file` and `key_file` of `{host}` go together, and one is missing: every pull through it fails"),
                "add the other one",
            ),
            Trouble::WithoutBrackets { place, host } => findings.add(
                &finding::IPV6_WITHOUT_BRACKETS,
                place.clone(),
                "the address is not in brackets: containerd 2.3 and newer cannot parse it, and every pull of this name fails",
                format!("write `{host}`; credentials and TLS settings for this host need the same spelling"),
            ),
            Trouble::Unreachable { place, is_template } => {
                let mut help =
                    "containerd goes on to the next one, today and without it; it is left out".to_owned();
                if *is_template {
                    help = format!("{NOT_RENDERED}; {help}");
                }
                findings.add(
                    &finding::UNREACHABLE_ENDPOINT,
                    place.clone(),
                    "this endpoint names no host that can be asked over HTTP",
                    help,
                );
            }
        }
    }
}

pub(crate) fn check_no_host(namespace: &str, mirror: Option<&Mirror>, findings: &mut Findings) {
    findings.add(
        &finding::NO_USABLE_ENDPOINT,
        mirror.map(|mirror| mirror.name.place.clone()),
        format!("no endpoint of `{namespace}` can be asked, so every pull of it fails"),
        "fix the endpoints",
    );
}

fn unknown_outcomes(above: &str, unknown: &[Placed<String>], fate: &Fate) -> Vec<SettingOutcome> {
    unknown
        .iter()
        .map(|key| SettingOutcome {
            setting: format!("{above}.{}", quote_name(&key.value)),
            place: key.place.clone(),
            fate: fate.clone(),
        })
        .collect()
}

/// The namespace that is probably meant by the name of a mirror that no image has.
fn probably_meant(name: &str, unknown: &[Placed<String>]) -> Option<String> {
    // `[mirrors.docker.io]` without quotes is a table `docker` with a key `io`.
    if let [key] = unknown
        && unmatchable(&format!("{name}.{}", key.value)).is_none()
    {
        return Some(format!("{name}.{}", key.value));
    }
    names::meant_namespace(name).map(str::to_owned)
}
