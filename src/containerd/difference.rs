//! What another list of hosts changes for a pull, in words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::containerd::host::{ShownHost, ShownPulls};

/// What is different for a pull that does `after` and not `before`, a phrase for each change.
pub fn changes(before: &ShownPulls, after: &ShownPulls) -> Vec<String> {
    let mut changes = match (&before.failure, &after.failure) {
        (Some(_), Some(_)) => Vec::new(),
        (None, Some(reason)) => vec![format!("every pull fails ({reason})")],
        (Some(_), None) => vec![format!("pulls do not fail, but try {after}")],
        (None, None) => match (by_name(&before.hosts), by_name(&after.hosts)) {
            (Some(ours), Some(theirs)) => changes_of_hosts(&ours, &theirs),
            _ => Vec::new(),
        },
    };
    if changes.is_empty() && before != after {
        changes.push(format!("pulls try {after}, not {before}"));
    }
    changes
}

/// Hosts by their URLs without the scheme, and those in order.
struct Hosts<'h> {
    order: Vec<&'h str>,
    by_name: HashMap<&'h str, &'h ShownHost>,
}

/// `None` if two have one name, so that it does not tell which is meant.
fn by_name(hosts: &[ShownHost]) -> Option<Hosts<'_>> {
    let named = hosts.iter().map(|host| {
        (
            host.url.split_once("://").map_or("", |(_, name)| name),
            host,
        )
    });
    let order: Vec<(&str, &ShownHost)> = named.collect();
    let by_name: HashMap<&str, &ShownHost> = order.iter().copied().collect();
    let order: Vec<&str> = order.into_iter().map(|(name, _)| name).collect();
    (by_name.len() == hosts.len()).then_some(Hosts { order, by_name })
}

fn changes_of_hosts(before: &Hosts<'_>, after: &Hosts<'_>) -> Vec<String> {
    let mut changes = Vec::new();
    let only = |one: &Hosts<'_>, other: &Hosts<'_>| -> Vec<String> {
        let names = one.order.iter();
        let missing = names.filter(|name| !other.by_name.contains_key(*name));
        let hosts = missing.filter_map(|name| one.by_name.get(name));
        hosts.map(|host| host.url.clone()).collect()
    };
    match (
        only(before, after).as_slice(),
        only(after, before).as_slice(),
    ) {
        ([ours], [theirs]) => changes.push(format!("{theirs} is asked instead of {ours}")),
        (ours, theirs) => {
            changes.extend(ours.iter().map(|url| format!("{url} is not asked")));
            changes.extend(theirs.iter().map(|url| format!("{url} is asked")));
        }
    }
    let kept = |one: &Hosts<'_>, other: &Hosts<'_>| -> Vec<String> {
        let names = one.order.iter();
        let kept = names.filter(|name| other.by_name.contains_key(*name));
        kept.map(|name| (*name).to_owned()).collect()
    };
    if kept(before, after) != kept(after, before) {
        let urls = after
            .order
            .iter()
            .filter_map(|name| after.by_name.get(name));
        let urls: Vec<&str> = urls.map(|host| host.url.as_str()).collect();
        changes.push(format!("the order is {}", urls.join(", ")));
    }
    for name in &before.order {
        if let (Some(ours), Some(theirs)) = (before.by_name.get(name), after.by_name.get(name)) {
            changes.extend(changes_of_host(host_of(name), ours, theirs));
        }
    }
    let (ours, theirs) = (files(before), files(after));
    changes.extend(only_used(&ours, &theirs, after, "is not used"));
    changes.extend(only_used(&theirs, &ours, before, "is used"));
    changes
}

/// The host of a URL without its scheme.
fn host_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// Changes of one host other than of the files that it is given.
fn changes_of_host(name: &str, before: &ShownHost, after: &ShownHost) -> Vec<String> {
    let mut changes = Vec::new();
    let url = &before.url;
    if *url != after.url {
        changes.push(match after.url.strip_prefix("https-then-") {
            Some(http) if http == url => format!("{url} is tried over HTTPS first"),
            _ => format!("{} is asked instead of {url}", after.url),
        });
    }
    let speaks_tls = |host: &ShownHost| !host.url.starts_with("http:");
    if before.skip_verify != after.skip_verify && speaks_tls(before) && speaks_tls(after) {
        let is = if after.skip_verify { "is not" } else { "is" };
        changes.push(format!("the certificate of {name} {is} verified"));
    }
    let headers = |host: &ShownHost| -> BTreeSet<String> { host.headers.iter().cloned().collect() };
    let (ours, theirs) = (headers(before), headers(after));
    for header in ours.difference(&theirs) {
        changes.push(format!("the header {header} is not sent to {name}"));
    }
    for header in theirs.difference(&ours) {
        changes.push(format!("the header {header} is sent to {name}"));
    }
    let uses = |host: &ShownHost| match (host.pull, host.resolve) {
        (true, true) => "for tags and digests",
        (true, false) => "for digests only",
        (false, true) => "for tags only",
        (false, false) => "for nothing",
    };
    if uses(before) != uses(after) {
        changes.push(format!("{url} is asked {}", uses(after)));
    }
    changes
}

/// What is used with which hosts: `CA /etc/ssl/ca.pem` and the hosts, by their URLs without the scheme.
type Files<'h> = BTreeMap<String, BTreeSet<&'h str>>;

fn files<'h>(hosts: &Hosts<'h>) -> Files<'h> {
    let mut files = Files::new();
    for (name, host) in &hosts.by_name {
        let ca = host.ca.iter().map(|file| format!("CA {file}"));
        let client = host.client.iter().map(ToString::to_string);
        for file in ca.chain(client) {
            files.entry(file).or_default().insert(name);
        }
    }
    files
}

/// The files that are used in `files` and not in `others`; the host is named where another host has the file there.
fn only_used(
    files: &Files<'_>,
    others: &Files<'_>,
    other_hosts: &Hosts<'_>,
    is_used: &str,
) -> Vec<String> {
    let mut changes = Vec::new();
    for (file, hosts) in files {
        // That a host is not asked says that nothing is used with it.
        let asked = |host: &&&str| other_hosts.by_name.contains_key(*host);
        match others.get(file) {
            Some(known) => changes.extend(
                hosts
                    .difference(known)
                    .filter(asked)
                    .map(|host| format!("{file} {is_used} for {}", host_of(host))),
            ),
            None if hosts.iter().any(|host| asked(&host)) => {
                changes.push(format!("{file} {is_used}"));
            }
            None => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::host::{Host, Pulls, Scheme};

    fn pulls(hosts: &[(&str, &[&str], bool)]) -> ShownPulls {
        let hosts = hosts.iter().map(|(url, ca, skip_verify)| {
            let (scheme, rest) = url.split_once("://").unwrap();
            let (host, path) = rest.split_once('/').unwrap_or((rest, "v2"));
            let scheme = match scheme {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                _ => Scheme::HttpsThenHttp,
            };
            let mut host = Host::new(scheme, host, path.as_bytes());
            host.tls.ca = ca.iter().map(|file| (*file).to_owned()).collect();
            host.tls.skip_verify = *skip_verify;
            host
        });
        Pulls::Hosts(hosts.collect()).shown(None)
    }

    #[test]
    fn the_difference_is_what_is_said() {
        let none: &[&str] = &[];
        let with_ca = pulls(&[
            ("https://m", &["/ca.pem"], false),
            ("https://r", none, true),
        ]);
        let without = pulls(&[("https://m", none, false), ("https://r", none, false)]);
        assert_eq!(
            changes(&with_ca, &without),
            ["the certificate of r is verified", "CA /ca.pem is not used"]
        );
        assert_eq!(changes(&with_ca, &with_ca), [""; 0]);

        let alone = pulls(&[("https://r", none, true)]);
        assert_eq!(changes(&with_ca, &alone), ["https://m/v2 is not asked"]);
        assert_eq!(changes(&alone, &with_ca), ["https://m/v2 is asked"]);
        let other = pulls(&[("https://n", none, false), ("https://r", none, true)]);
        assert_eq!(
            changes(&with_ca, &other),
            ["https://n/v2 is asked instead of https://m/v2"]
        );
    }

    #[test]
    fn a_scheme_and_an_order_are_said() {
        let none: &[&str] = &[];
        let http = pulls(&[("http://m", none, false), ("https://r", none, false)]);
        let first = pulls(&[
            ("https-then-http://m", none, false),
            ("https://r", none, false),
        ]);
        assert_eq!(
            changes(&http, &first),
            ["http://m/v2 is tried over HTTPS first"]
        );
        assert_eq!(
            changes(&first, &http),
            ["http://m/v2 is asked instead of https-then-http://m/v2"]
        );
        let reversed = pulls(&[("https://r", none, false), ("http://m", none, false)]);
        assert_eq!(
            changes(&http, &reversed),
            ["the order is https://r/v2, http://m/v2"]
        );
    }

    #[test]
    fn a_file_that_another_host_keeps_is_said_with_its_host() {
        let both = pulls(&[
            ("https://m", &["/ca"], false),
            ("https://r", &["/ca"], false),
        ]);
        let one = pulls(&[("https://m", &["/ca"], false), ("https://r", &[], false)]);
        assert_eq!(changes(&both, &one), ["CA /ca is not used for r"]);
    }

    #[test]
    fn lists_that_have_a_url_twice_are_said_whole() {
        let once = pulls(&[("https://m", &[], true)]);
        let twice = pulls(&[("https://m", &[], true), ("https://m", &[], false)]);
        let said = changes(&once, &twice);
        assert_eq!(
            said,
            [
                "pulls try https://m/v2 (certificate not verified), https://m/v2, not https://m/v2 (certificate not verified)"
            ]
        );
    }

    #[test]
    fn failures_are_said_with_their_reason() {
        let fail = Pulls::Fail("no file".to_owned()).shown(None);
        let works = pulls(&[("https://m", &[], false)]);
        assert_eq!(changes(&works, &fail), ["every pull fails (no file)"]);
        assert_eq!(
            changes(&fail, &works),
            ["pulls do not fail, but try https://m/v2"]
        );
        assert_eq!(changes(&fail, &fail), [""; 0]);
    }
}
