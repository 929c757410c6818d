//! Credentials under names that no host has.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{parse_endpoint, unmatchable};
use crate::containerd::registry::{HostConfig, Nested, quote_name};
use crate::finding::{self, Findings, Placed};
use crate::plan::planner::Planner;
use crate::secret::shown_url;

/// Says where credentials are never used.
pub(crate) fn check(planner: &Planner<'_>, findings: &mut Findings) {
    let endpoints: Endpoints<'_> = LazyCell::new(Box::new(|| endpoint_hosts(planner)));
    for config in &planner.registry().configs {
        check_config(planner, config, &endpoints, findings);
    }
    check_auths(planner, &endpoints, findings);
    for key in &planner.registry().unknown_credentials {
        findings.add(
            &finding::UNKNOWN_CREDENTIAL_KEY,
            key.place.clone(),
            format!(
                "containerd does not know `{}` beside credentials",
                shown_url(&key.value)
            ),
            match key.value.as_str() {
                "identity_token" => "it has no effect and stays; was `identitytoken` meant?",
                _ => "it has no effect, today or afterwards, and stays",
            },
        );
    }
}

/// The hosts that endpoints name: few nodes have credentials for which that matters.
type Endpoints<'p> = LazyCell<BTreeSet<String>, Box<dyn FnOnce() -> BTreeSet<String> + 'p>>;

fn endpoint_hosts(planner: &Planner<'_>) -> BTreeSet<String> {
    let behaviour = planner.behaviour();
    let mirrors = planner.registry().mirrors.iter();
    let endpoints = mirrors
        .flat_map(|mirror| &mirror.endpoints)
        .filter_map(|endpoint| Some(parse_endpoint(&endpoint.value, behaviour).ok()?.host));
    let mut hosts: BTreeSet<String> = endpoints.collect();
    // Hosts files may ask any host.
    let directories = planner.inputs.snapshot.certs().values().flat_map(|certs| {
        certs
            .namespaces()
            .map(|namespace| reader::pulls(certs, &namespace, behaviour))
    });
    for pulls in directories {
        if let Pulls::Hosts(asked) = pulls {
            hosts.extend(asked.into_iter().map(|host| host.host));
        }
    }
    hosts
}

fn check_config(
    planner: &Planner<'_>,
    config: &HostConfig,
    endpoints: &Endpoints<'_>,
    findings: &mut Findings,
) {
    let name = &config.name;
    let mut dead = |place: &Placed<String>, message: String, help: String| {
        findings.add(
            &finding::DEAD_CREDENTIALS,
            place.place.clone(),
            message,
            help,
        );
    };
    if config.auth.is_some() && !can_be_asked(&name.value, endpoints) {
        dead(
            name,
            format!(
                "no registry's host is {}, so that these credentials are never used",
                quote_name(&name.value)
            ),
            format!("they stay; {}", meant(&name.value)),
        );
    } else if config.auth.is_some() && is_overwritten(planner, config) {
        dead(
            name,
            format!(
                "`auths` has other credentials for {}, which count instead of these",
                quote_name(&name.value)
            ),
            "they are never used, and stay; remove those that are not meant".to_owned(),
        );
    } else if !config.too_high.is_empty() {
        dead(
            name,
            format!(
                "containerd looks for credentials in `auth`, not in {} itself",
                quote_name(&name.value)
            ),
            "they are never used, and stay; put them into a table `auth` if they are meant"
                .to_owned(),
        );
    }
    for inner in &config.nested {
        check_nested(config, inner, findings);
    }
}

/// Whether `auths` overwrites what this entry says.
fn is_overwritten(planner: &Planner<'_>, config: &HostConfig) -> bool {
    let used = planner.from.credentials(&config.name.value);
    used.is_some_and(|used| config.auth.as_ref() != Some(used))
}

fn check_nested(config: &HostConfig, nested: &Nested, findings: &mut Findings) {
    let name = format!(
        "`configs.{}.{}`",
        quote_name(&config.name.value),
        quote_name(&nested.name.value)
    );
    if nested.has_auth {
        findings.add(
            &finding::DEAD_CREDENTIALS,
            config.name.place.clone(),
            format!("{name} is no name of a host, so that these credentials are never used"),
            "they stay; `configs.\"HOST\".auth` with the host in quotes is where containerd looks",
        );
    } else {
        findings.add(
            &finding::MISSPELT_TABLE,
            nested.name.place.clone(),
            format!("{name} is no name of a host: without quotes it is taken apart at its dots"),
            "it has no effect, today or afterwards, and stays",
        );
    }
}

/// Names in `auths` are URLs to containerd: what looks like `host:port` has a scheme and no host (docs/containerd.md §4.2).
fn check_auths(planner: &Planner<'_>, endpoints: &Endpoints<'_>, findings: &mut Findings) {
    for entry in &planner.registry().auths {
        let name = entry.name.value.as_str();
        let Ok(host) = entry.host(planner.behaviour().strict_colons) else {
            continue;
        };
        if can_be_asked(&host, endpoints) {
            continue;
        }
        let (message, help) = if host.is_empty() {
            (
                format!(
                    "containerd takes {} for a URL without a host, so that these credentials are never used",
                    quote_name(name)
                ),
                format!("they stay; was `https://{}` meant?", shown_url(name)),
            )
        } else {
            (
                format!(
                    "no registry's host is {}, so that these credentials are never used",
                    quote_name(&host)
                ),
                format!("they stay; {}", meant(&host)),
            )
        };
        findings.add(
            &finding::DEAD_CREDENTIALS,
            entry.name.place.clone(),
            message,
            help,
        );
    }
}

/// Whether a registry of this host can be asked: `docker.io` itself is asked only as an endpoint.
fn can_be_asked(host: &str, endpoints: &Endpoints<'_>) -> bool {
    let is_possible = unmatchable(host).is_none() && host != "docker.io";
    is_possible || endpoints.contains(host)
}

/// What somebody probably meant with a name that no host has.
fn meant(name: &str) -> String {
    if ["docker.io", "index.docker.io"].contains(&name) {
        return "was `registry-1.docker.io` meant?".to_owned();
    }
    let host = name.split_once("://").map_or(name, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    if host != name && unmatchable(host).is_none() {
        format!("was {} meant?", quote_name(host))
    } else {
        "containerd looks them up by the host that asks for them".to_owned()
    }
}
