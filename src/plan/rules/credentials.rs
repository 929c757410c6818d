//! Credentials under names that no host has.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use crate::containerd::host::Pulls;
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{parse_endpoint, unmatchable};
use crate::containerd::registry::{Credentials, HostConfig, quote_name};
use crate::finding::{self, Findings, Place};
use crate::plan::planner::Planner;
use crate::plan::rules::wrong_places::advice::Adviser;
use crate::plan::rules::wrong_places::names;

/// Says where credentials are never used.
pub(crate) fn check(planner: &Planner<'_>, findings: &mut Findings) {
    let endpoints: Endpoints<'_> = LazyCell::new(Box::new(|| endpoint_hosts(planner)));
    for config in &planner.registry().configs {
        check_config(planner, config, &endpoints, findings);
    }
    check_auths(planner, &endpoints, findings);
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
    let Some(credentials) = &config.auth else {
        return;
    };
    let name = &config.name;
    let shown = quote_name(&name.value);
    let (message, help) = if !can_be_asked(&name.value, endpoints) {
        (
            format!("no registry's host is {shown}, so that these credentials are never used"),
            meant(planner, &name.place, &name.value, credentials),
        )
    } else if is_overwritten(planner, config) {
        (
            format!("`auths` has other credentials for {shown}, which are used instead of these"),
            "they have no effect, and are kept; remove those that are not meant".to_owned(),
        )
    } else {
        return;
    };
    findings.add(
        &finding::DEAD_CREDENTIALS,
        name.place.clone(),
        message,
        help,
    );
}

/// Whether `auths` overwrites what this entry says.
fn is_overwritten(planner: &Planner<'_>, config: &HostConfig) -> bool {
    let used = planner.from.credentials(&config.name.value);
    used.is_some_and(|used| config.auth.as_ref() != Some(used))
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
        let message = if host.is_empty() {
            format!(
                "containerd takes {} for a URL without a host, so that these credentials are never used",
                quote_name(name)
            )
        } else {
            format!(
                "no registry's host is {}, so that these credentials are never used",
                quote_name(&host)
            )
        };
        let help = match host.is_empty() {
            // What is written is right but for the scheme.
            true => used_under(planner, &entry.name.place, name, &entry.credentials),
            false => meant(planner, &entry.name.place, &host, &entry.credentials),
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

/// What to write if the credentials under a name that no host has are meant.
fn meant(planner: &Planner<'_>, place: &Place, name: &str, credentials: &Credentials) -> String {
    match names::meant_host(name) {
        Some(host) => used_under(planner, place, host, credentials),
        None => "containerd looks them up by the host that asks for them; they have no effect, and are kept".to_owned(),
    }
}

fn used_under(
    planner: &Planner<'_>,
    place: &Place,
    host: &str,
    credentials: &Credentials,
) -> String {
    let advice = Adviser::at(planner, place).credentials_called(host, credentials);
    format!(
        "they have no effect, and are kept; if {} is meant, {advice}",
        quote_name(host)
    )
}
