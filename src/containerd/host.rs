//! Registry hosts: the one type in which legacy settings and hosts files meet, and hosts.toml itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::hash::Hash;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::go::url;
use crate::printable::printable;
use crate::secret::{MASK, shown_path, shown_url};
use crate::work;

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
    /// HTTPS, and plain HTTP where that is refused: what newer containerd makes of an http host with TLS settings.
    HttpsThenHttp,
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::HttpsThenHttp => "https-then-http",
        })
    }
}

/// What is presented to, and demanded of, a host over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Files with certificates to trust besides the system's.
    pub ca: Vec<String>,
    /// Client certificates and their keys; the key is empty if it is in the certificate's file.
    pub client: Vec<(String, String)>,
    /// Whether any certificate will do.
    pub skip_verify: bool,
    /// Those of the files whose relative paths are masked in the hosts file.
    pub masked: BTreeSet<String>,
}

impl TlsSettings {
    /// The path of one of its files as it is shown.
    fn shown(&self, file: &str) -> String {
        let is_masked = self.masked.contains(file);
        if is_masked { MASK } else { shown_path(file) }.to_owned()
    }
}

/// One host that containerd tries for a pull: containerd's `docker.RegistryHost`, as far as a pull can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Host and port, as written. Credentials are looked up under this name.
    pub host: String,
    /// The cleaned path before the repository's name in requests, in ASCII; it begins with a slash.
    pub path: String,
    /// Whether blobs and manifests are fetched here.
    pub pull: bool,
    /// Whether tags are resolved here.
    pub resolve: bool,
    /// TLS settings; they say nothing for plain HTTP, other than on redirects.
    pub tls: TlsSettings,
    /// Headers that hosts.toml adds to each request.
    pub headers: BTreeMap<String, Vec<String>>,
}

impl Host {
    /// A host without TLS settings and headers that pulls and resolves; `path` is a decoded path of any form.
    pub fn new(scheme: Scheme, host: &str, path: &[u8]) -> Self {
        work::count(1);
        Self {
            scheme,
            host: host.to_owned(),
            path: request_path(path),
            pull: true,
            resolve: true,
            tls: TlsSettings::default(),
            headers: BTreeMap::new(),
        }
    }

    /// What tells one try from another: a second one of the same scheme, host and path asks the same question.
    pub fn one_try(&self) -> (Scheme, &str, &str) {
        work::count(1);
        (self.scheme, &self.host, &self.path)
    }

    /// Whether the two are the same try.
    pub fn same_try(&self, other: &Self) -> bool {
        self.one_try() == other.one_try()
    }

    /// Whether the two are the same for pulls.
    pub fn is_same(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }

    /// What of the host is compared: TLS settings count for https only.
    fn compared(&self) -> Compared<'_> {
        work::count(1);
        let tls = &self.tls;
        let is_https = self.scheme != Scheme::Http;
        Compared {
            scheme: self.scheme,
            host: &self.host,
            path: &self.path,
            uses: (self.pull, self.resolve),
            tls: is_https.then_some((&tls.ca, &tls.client, tls.skip_verify)),
            headers: &self.headers,
        }
    }

    /// Scheme, host and path as one URL.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        ShownHost::of(self).fmt(formatter)
    }
}

/// CA files, client pairs, and whether the certificate is not verified.
type ComparedTls<'h> = (&'h [String], &'h [(String, String)], bool);

/// What two hosts are compared by.
#[derive(PartialEq, Eq, Hash)]
struct Compared<'h> {
    scheme: Scheme,
    host: &'h str,
    path: &'h str,
    uses: (bool, bool),
    tls: Option<ComparedTls<'h>>,
    headers: &'h BTreeMap<String, Vec<String>>,
}

impl Compared<'_> {
    /// The same try without verification, for which no CA matters.
    fn unverifying(self) -> Self {
        Self {
            tls: self.tls.map(|(_, client, _)| (&[][..], client, true)),
            ..self
        }
    }
}

/// What containerd does for a pull from a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulls {
    /// It tries these hosts in order.
    Hosts(Vec<Host>),
    /// Every pull fails before any host is tried, for this reason.
    Fail(String),
}

impl Pulls {
    /// The list with repeats folded away: of several tries that are the same the first counts. So does a try without
    /// verification before the same one with it, which cannot succeed where the first has failed.
    pub fn folded(&self) -> Self {
        match self {
            Self::Hosts(hosts) => {
                let hosts = tries(hosts).into_iter().map(|host| Host {
                    tls: match host.scheme {
                        Scheme::Http => TlsSettings::default(),
                        Scheme::Https | Scheme::HttpsThenHttp => host.tls.clone(),
                    },
                    ..host.clone()
                });
                Self::Hosts(hosts.collect())
            }
            Self::Fail(reason) => Self::Fail(reason.clone()),
        }
    }

    /// Whether the two mean the same for pulls.
    pub fn same(&self, other: &Self) -> bool {
        self.agrees(other, tries)
    }

    /// Whether the two make the same tries, also those that [`Pulls::same`] takes for useless: a second one with
    /// verification finds no image, but its error is the one that a pull of a missing image ends with.
    pub fn same_tries(&self, other: &Self) -> bool {
        self.agrees(other, first_of_each)
    }

    fn agrees(&self, other: &Self, counted: fn(&[Host]) -> Vec<&Host>) -> bool {
        match (self, other) {
            (Self::Hosts(ours), Self::Hosts(theirs)) => {
                let [ours, theirs] = [ours, theirs].map(|hosts| counted(hosts).into_iter());
                ours.map(Host::compared).eq(theirs.map(Host::compared))
            }
            // Two failures are one to whoever pulls, whatever the words.
            (Self::Fail(_), Self::Fail(_)) => true,
            _ => false,
        }
    }

    /// This as it is shown. Where it is about every registry that nothing names, `unnamed` is the made-up name that
    /// stands for them, which is not shown.
    pub fn shown(&self, unnamed: Option<&str>) -> ShownPulls {
        let hosts = match self {
            Self::Fail(reason) => {
                return ShownPulls {
                    hosts: Vec::new(),
                    failure: Some(reason.clone()),
                };
            }
            Self::Hosts(hosts) => hosts,
        };
        let shown = first_of_each(hosts).into_iter().map(|host| {
            let is_unnamed = unnamed == Some(&host.host);
            ShownHost::new(host, if is_unnamed { UNNAMED } else { &host.host })
        });
        ShownPulls {
            hosts: shown.collect(),
            failure: None,
        }
    }
}

impl fmt::Display for Pulls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown(None).fmt(formatter)
    }
}

/// What is shown for the host of a registry that nothing names.
const UNNAMED: &str = "<registry>";

/// A host as people and reports see it: of headers only the names, since the values may be secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownHost {
    /// Scheme, host and the path before the repository's name.
    pub url: String,
    /// Files with certificates to trust besides the system's.
    pub ca: Vec<String>,
    /// Client certificates.
    pub client: Vec<ClientCertificate>,
    /// Whether any certificate will do.
    pub skip_verify: bool,
    /// The names of headers that are added to each request.
    pub headers: Vec<String>,
    /// Whether blobs and manifests are fetched here.
    pub pull: bool,
    /// Whether tags are resolved here.
    pub resolve: bool,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientCertificate {
    /// The file of the certificate.
    pub certificate: String,
    /// The file of the key, if it is not the certificate's.
    pub key: Option<String>,
}

impl fmt::Display for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "client certificate {}", self.certificate)?;
        match &self.key {
            Some(key) => write!(formatter, " with key {key}"),
            None => Ok(()),
        }
    }
}

impl ShownHost {
    /// The host by its own name.
    pub fn of(host: &Host) -> Self {
        Self::new(host, &host.host)
    }

    fn new(host: &Host, name: &str) -> Self {
        let none = TlsSettings::default();
        let tls = match host.scheme {
            Scheme::Http => &none,
            Scheme::Https | Scheme::HttpsThenHttp => &host.tls,
        };
        let client = tls.client.iter().map(|(certificate, key)| {
            let [certificate, key] = [certificate, key].map(|file| tls.shown(file));
            ClientCertificate {
                certificate,
                key: Some(key).filter(|key| !key.is_empty()),
            }
        });
        Self {
            url: shown_url(&format!("{}://{name}{}", host.scheme, host.path)),
            ca: tls.ca.iter().map(|file| tls.shown(file)).collect(),
            client: client.collect(),
            skip_verify: tls.skip_verify,
            headers: host.headers.keys().cloned().collect(),
            pull: host.pull,
            resolve: host.resolve,
        }
    }
}

impl fmt::Display for ShownHost {
    /// The URL of requests, and in parentheses what is special about it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut special: Vec<String> = self.ca.iter().map(|file| format!("CA {file}")).collect();
        special.extend(self.client.iter().map(ToString::to_string));
        if self.skip_verify {
            special.push("certificate not verified".to_owned());
        }
        if !self.headers.is_empty() {
            special.push(format!("headers {}", self.headers.join(", ")));
        }
        match (self.pull, self.resolve) {
            (true, true) => {}
            (true, false) => special.push("not for tags".to_owned()),
            (false, true) => special.push("for tags only".to_owned()),
            (false, false) => special.push("not for pulls".to_owned()),
        }
        let mut text = self.url.clone();
        if !special.is_empty() {
            text.push_str(&format!(" ({})", special.join(", ")));
        }
        formatter.write_str(&printable(&text))
    }
}

/// What a pull does, as people and reports see it, repeats folded away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPulls {
    /// The hosts that are tried, in order.
    pub hosts: Vec<ShownHost>,
    /// Why every pull fails before any host is tried.
    pub failure: Option<String>,
}

impl fmt::Display for ShownPulls {
    /// The list in one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.failure {
            return write!(formatter, "a failure ({reason})");
        }
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        formatter.write_str(&hosts.join(", "))
    }
}

/// The hosts without those that repeat an earlier one in all that a pull can tell. With other TLS settings or headers it is
/// another try.
fn first_of_each(hosts: &[Host]) -> Vec<&Host> {
    let mut known = Known::among(hosts.len());
    hosts
        .iter()
        .filter(|host| known.add(host.compared()))
        .collect()
}

/// The hosts without tries that an earlier one makes useless.
fn tries(hosts: &[Host]) -> Vec<&Host> {
    let mut tries = first_of_each(hosts);
    let mut unverified = Known::among(hosts.len());
    tries.retain(
        |host| match host.tls.skip_verify && host.scheme != Scheme::Http {
            true => {
                unverified.add(host.compared().unverifying());
                true
            }
            false => !unverified.has(&host.compared().unverifying()),
        },
    );
    tries
}

/// Values that are known: few of them are compared one by one.
enum Known<T> {
    Few(Vec<T>),
    Many(HashSet<T>),
}

impl<T: Eq + Hash> Known<T> {
    fn among(count: usize) -> Self {
        match count {
            0..=8 => Self::Few(Vec::new()),
            _ => Self::Many(HashSet::new()),
        }
    }

    fn has(&self, value: &T) -> bool {
        match self {
            Self::Few(values) => values.contains(value),
            Self::Many(values) => values.contains(value),
        }
    }

    /// Whether the value is new.
    fn add(&mut self, value: T) -> bool {
        match self {
            Self::Few(values) if values.contains(&value) => false,
            Self::Few(values) => {
                values.push(value);
                true
            }
            Self::Many(values) => values.insert(value),
        }
    }
}

/// The path of requests: what Go's `path.Join("/", path, …)` begins with, escaped.
pub fn request_path(path: &[u8]) -> String {
    if path == b"/v2" {
        return "/v2".to_owned();
    }
    url::escape_path(&url::clean_path(&[b"/", path].concat()))
}

/// Whether a namespace is the local machine to `docker.IsLocalhost`
/// (`core/remotes/docker/resolver.go@HEAD`:990, since 1.6.9).
pub fn is_loopback(host: &str) -> bool {
    let name = url::split_host_port(host).map_or(host, |(name, _)| name);
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Where docker.io really is.
pub const DOCKER_HUB: &str = "registry-1.docker.io";

/// The host of a namespace's own registry (`docker.DefaultHost`).
pub fn default_host(namespace: &str) -> &str {
    if namespace == "docker.io" {
        DOCKER_HUB
    } else {
        namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(skip_verify: bool, ca: &[&str]) -> Host {
        let mut host = Host::new(Scheme::Https, "h.example", b"/v2");
        host.tls.skip_verify = skip_verify;
        host.tls.ca = ca.iter().map(|file| (*file).to_owned()).collect();
        host
    }

    #[test]
    fn a_host_without_verification_and_then_with_it_is_one_host() {
        let once = Pulls::Hosts(vec![host(true, &[])]);
        let twice = Pulls::Hosts(vec![host(true, &[]), host(false, &["/ca.pem"])]);
        assert!(once.same(&twice) && twice.same(&once));
        // The other way round the second one may succeed where the first has failed.
        let reversed = Pulls::Hosts(vec![host(false, &[]), host(true, &[])]);
        assert!(!once.same(&reversed) && !reversed.same(&Pulls::Hosts(vec![host(false, &[])])));
        // Another client certificate is another try.
        let mut client = host(false, &[]);
        client.tls.client = vec![("/c.pem".to_owned(), String::new())];
        assert!(!once.same(&Pulls::Hosts(vec![host(true, &[]), client])));
    }
}
