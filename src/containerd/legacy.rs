//! The ordered hosts of a namespace as the legacy settings give them: `registryEndpoints` and `registryHosts` of
//! `pkg/cri/server/image_pull.go` (1.x) and `internal/cri/server/images/image_pull.go` (2.x).
//!
//! What a tree of hosts files gives is in [`crate::containerd::hosts_file::reader`]; both end in the same [`Host`].

use std::collections::HashMap;
use std::rc::Rc;

use crate::containerd::host::{Host, Pulls, Scheme, TlsSettings, default_host, is_loopback};
use crate::containerd::reference::is_component;
use crate::containerd::registry::{HostConfig, Mirror, Registry, absolute};
use crate::containerd::release::{Behaviour, LocalNames};
use crate::finding::{Place, Placed};
use crate::go::url;
use crate::work;

/// The name of the mirror entry for every namespace that has none of its own.
pub const WILDCARD: &str = "*";

/// The legacy settings with an index by name: a node may have thousands.
#[derive(Debug, Default)]
pub struct Legacy {
    registry: Rc<Registry>,
    mirrors: HashMap<String, usize>,
    configs: HashMap<String, usize>,
}

/// Where a host of a legacy list comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The endpoint of this number in the mirror entry.
    Endpoint(usize),
    /// containerd appended the namespace's own registry.
    Default,
}

/// A host of a legacy list.
#[derive(Clone, Debug)]
pub struct LegacyHost {
    /// The host.
    pub host: Host,
    /// Why it is in the list.
    pub origin: Origin,
}

/// Something in the settings of a namespace that makes containerd fail or skip.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The endpoint cannot be parsed: every pull of the namespace fails.
    Unparsable {
        /// The endpoint.
        place: Place,
        /// What is wrong with it.
        reason: String,
        /// Whether a template left it as it is: with `{{ … }}` or `${…}`.
        is_template: bool,
    },
    /// A client certificate without its key, or the reverse, for this host: every pull through it fails.
    LonePair {
        /// The setting that stands alone.
        place: Place,
        /// The host that it is for.
        host: String,
    },
    /// An IPv6 address without brackets: Go reads it in the modules that containerd 2.2 and older are, and refuses it in
    /// those of 2.3 and newer.
    WithoutBrackets {
        /// The endpoint.
        place: Place,
        /// Its host with brackets.
        host: String,
    },
    /// The endpoint names no host that could be asked; containerd goes on to the next one.
    Unreachable {
        /// The endpoint.
        place: Place,
        /// Whether a template left it as it is: with `{{ … }}` or `${…}`.
        is_template: bool,
    },
}

/// Whether a value is, or has in it, what a template engine or a shell was to replace.
fn is_template(value: &str) -> bool {
    [("{{", "}}"), ("${", "}")].iter().any(|(begin, end)| {
        let rest = value.split_once(begin).map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.contains(end))
    })
}

impl Trouble {
    /// Whether containerd fails every pull of the namespace because of it.
    pub fn fails(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable { .. } | Self::WithoutBrackets { .. }
        )
    }
}

/// What the legacy settings give for a namespace.
#[derive(Clone, Debug)]
pub struct Resolved<'r> {
    /// The hosts that can be asked, in order, repeats and all.
    pub hosts: Vec<LegacyHost>,
    /// What is wrong.
    pub trouble: Vec<Trouble>,
    /// The mirror entry that the list comes from: the namespace's own, or the wildcard's.
    pub mirror: Option<&'r Mirror>,
}

impl Resolved<'_> {
    /// The list as containerd has it: none at all where something makes every pull fail.
    pub fn pulls(&self) -> Pulls {
        let reason = self.trouble.iter().find_map(|trouble| match trouble {
            Trouble::Unparsable { reason, .. } => Some(format!("endpoint: {reason}")),
            Trouble::LonePair { host, .. } => Some(format!(
                "the client certificate of {host} has no key, or the key no certificate"
            )),
            Trouble::Unreachable { .. } | Trouble::WithoutBrackets { .. } => None,
        });
        match reason {
            Some(reason) => Pulls::Fail(reason),
            None => self.usable(),
        }
    }

    /// The list without the endpoints that fail.
    pub fn usable(&self) -> Pulls {
        if self.hosts.is_empty() {
            return Pulls::Fail("no host to ask".to_owned());
        }
        Pulls::Hosts(self.hosts.iter().map(|host| host.host.clone()).collect())
    }
}

impl Legacy {
    /// Indexes `registry`; without any setting, every namespace gets its own registry alone.
    pub fn new(registry: Rc<Registry>) -> Self {
        let numbered = registry.mirrors.iter().enumerate();
        let mirrors = numbered.map(|(index, mirror)| (mirror.name.value.clone(), index));
        let numbered = registry.configs.iter().enumerate();
        let configs = numbered.map(|(index, config)| (config.name.value.clone(), index));
        Self {
            mirrors: mirrors.collect(),
            configs: configs.collect(),
            registry,
        }
    }

    /// All settings.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The mirror entry of exactly this name.
    pub fn mirror(&self, name: &str) -> Option<&Mirror> {
        self.registry.mirrors.get(*self.mirrors.get(name)?)
    }

    /// The entry of `configs` for exactly this host.
    pub fn config(&self, host: &str) -> Option<&HostConfig> {
        self.registry.configs.get(*self.configs.get(host)?)
    }

    /// The hosts for `namespace`. With `tls`, `configs.*.tls` count whether or not this containerd reads them.
    pub fn resolve(&self, namespace: &str, behaviour: &Behaviour, tls: bool) -> Resolved<'_> {
        // The key alone decides: an entry without endpoints hides the wildcard.
        let mirror = self.mirror(namespace).or_else(|| self.mirror(WILDCARD));
        let mut resolved = Resolved {
            hosts: Vec::new(),
            trouble: Vec::new(),
            mirror,
        };
        let mut own_host_listed = false;
        for (index, endpoint) in mirror
            .iter()
            .flat_map(|mirror| &mirror.endpoints)
            .enumerate()
        {
            match parse_endpoint(&endpoint.value, behaviour) {
                Ok(parsed) => {
                    // Compared with the namespace, never with its default host: see registryEndpoints.
                    own_host_listed |= parsed.host == namespace;
                    if let Some(host) = with_brackets(&parsed.host) {
                        resolved.trouble.push(Trouble::WithoutBrackets {
                            place: endpoint.place.clone(),
                            host,
                        });
                    }
                    let host = parsed.to_host();
                    self.push(
                        host,
                        Origin::Endpoint(index),
                        Some(endpoint),
                        tls,
                        &mut resolved,
                    );
                }
                Err(reason) => resolved.trouble.push(Trouble::Unparsable {
                    place: endpoint.place.clone(),
                    reason,
                    is_template: is_template(&endpoint.value),
                }),
            }
        }
        if !own_host_listed {
            let host = default_host(namespace);
            let host = Host::new(default_scheme(host, behaviour), host, b"/v2");
            self.push(Some(host), Origin::Default, None, tls, &mut resolved);
        }
        resolved
    }

    fn push(
        &self,
        host: Option<Host>,
        origin: Origin,
        endpoint: Option<&Placed<String>>,
        tls: bool,
        resolved: &mut Resolved<'_>,
    ) {
        let Some(mut host) = host else {
            if let Some(endpoint) = endpoint {
                resolved.trouble.push(Trouble::Unreachable {
                    place: endpoint.place.clone(),
                    is_template: is_template(&endpoint.value),
                });
            }
            return;
        };
        let settings = self
            .config(&host.host)
            .and_then(|config| config.tls.as_ref());
        if let Some(settings) = settings.filter(|_| tls) {
            let absolute = |path: &Placed<String>| absolute(&path.value);
            host.tls = TlsSettings {
                ca: settings.ca_file.iter().map(absolute).collect(),
                client: settings
                    .cert_file
                    .iter()
                    .zip(&settings.key_file)
                    .map(|(certificate, key)| (absolute(certificate), absolute(key)))
                    .collect(),
                skip_verify: settings.skip_verify.is_some(),
                ..TlsSettings::default()
            };
            let lone = match (&settings.cert_file, &settings.key_file) {
                (Some(file), None) | (None, Some(file)) => Some(file.place.clone()),
                _ => None,
            };
            if let Some(place) = lone {
                resolved.trouble.push(Trouble::LonePair {
                    place,
                    host: host.host.clone(),
                });
            }
        }
        resolved.hosts.push(LegacyHost { host, origin });
    }
}

/// An endpoint that Go could parse.
#[derive(Clone, Debug)]
pub struct ParsedEndpoint {
    scheme: String,
    /// Host and port as written.
    pub host: String,
    path: Vec<u8>,
}

impl ParsedEndpoint {
    /// The host that is asked; `None` if there is none, or if the scheme is not HTTP's.
    pub fn to_host(&self) -> Option<Host> {
        let scheme = match self.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let path = if self.path.is_empty() {
            b"/v2"
        } else {
            self.path.as_slice()
        };
        is_dialled(&self.host).then(|| Host::new(scheme, &self.host, path))
    }

    /// The decoded path as written.
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

/// Whether a connection can be made to this host: Go parses some that no name and no address has.
fn is_dialled(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match address {
        Some((_, port)) => !port.contains(['[', ']']),
        None => {
            let is_name = !host.contains(|c: char| "[]\"<>".contains(c));
            let colons = host.bytes().filter(|byte| *byte == b':').count();
            !host.is_empty() && is_name && (colons < 2 || with_brackets(host).is_some())
        }
    }
}

/// An IPv6 address without brackets, and perhaps with a port, in the form that every release reads.
fn with_brackets(host: &str) -> Option<String> {
    let is_address = |name: &str| name.parse::<std::net::Ipv6Addr>().is_ok();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && is_address(name) => {
            Some(format!("[{name}]:{port}"))
        }
        _ => is_address(host).then(|| format!("[{host}]")),
    }
}

/// `addDefaultScheme` and `url.Parse`.
pub fn parse_endpoint(endpoint: &str, behaviour: &Behaviour) -> Result<ParsedEndpoint, String> {
    let parse =
        |url: &str| url::parse(url, behaviour.strict_colons).map_err(|error| error.to_string());
    let url = if endpoint.contains("://") {
        parse(endpoint)?
    } else {
        let host = parse(&format!("dummy://{endpoint}"))?.host;
        parse(&format!(
            "{}://{endpoint}",
            default_scheme(&host, behaviour)
        ))?
    };
    Ok(ParsedEndpoint {
        scheme: url.scheme,
        host: url.host,
        path: url.path,
    })
}

fn default_scheme(host: &str, behaviour: &Behaviour) -> Scheme {
    let local = match behaviour.local_names {
        LocalNames::Three => {
            let name = url::split_host_port(host).map_or(host, |(name, _)| name);
            ["localhost", "127.0.0.1", "::1"].contains(&name)
        }
        LocalNames::Loopback => is_loopback(host),
    };
    if local { Scheme::Http } else { Scheme::Https }
}

/// Whether a mirror entry of this name can ever be used: the wildcard's, or one for a name that an image can have.
pub fn is_matchable(mirror: &str) -> bool {
    mirror == WILDCARD || unmatchable(mirror).is_none()
}

/// Why no image can ever have this namespace; `None` if one can.
///
/// A namespace is the first part of a normalized reference (distribution's `reference.ParseDockerRef`): a domain of
/// dotted labels with an optional port, or an IPv6 address in brackets; one lower-case label without dot and port is
/// taken for a part of the path unless it is `localhost`, and `index.docker.io` becomes `docker.io`. With a dot and
/// without a port it may also be what a repository's part may be, underscores included: `my_registry.example`.
pub fn unmatchable(namespace: &str) -> Option<&'static str> {
    work::count(namespace.len());
    if namespace.is_empty() {
        return Some("it is empty");
    }
    if namespace.contains("://") {
        return Some("a registry's name has no scheme");
    }
    if namespace.contains('/') {
        return Some("a registry's name has no path");
    }
    if namespace == "index.docker.io" {
        return Some("containerd calls it `docker.io`");
    }
    let (domain, port) = match namespace
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, port)) => {
            let valid =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !valid || !(port.is_empty() || port.starts_with(':')) {
                return Some("it is not a host name");
            }
            ("localhost", port.strip_prefix(':'))
        }
        None => match namespace.split_once(':') {
            Some((domain, port)) => (domain, Some(port)),
            None => (namespace, None),
        },
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return Some("its port is not a number");
    }
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if !domain.split('.').all(label) {
        let is_part = port.is_none() && domain.contains('.') && is_component(domain);
        return (!is_part).then_some("it is not a host name");
    }
    let single = port.is_none() && !domain.contains('.') && domain != "localhost";
    (single && domain.bytes().all(|b| !b.is_ascii_uppercase()))
        .then_some("without a dot or a port it is the first part of an image's path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_image_has_are_told_from_those_that_one_can_have() {
        for name in [
            "docker.io",
            "localhost",
            "localhost:5000",
            "h:5000",
            "Registry",
            "192.168.0.4:5500",
            "[fd00::1]:5000",
            "[::1]",
            "registry-1.docker.io",
            "a-b.c.d",
            "my_registry.example",
            "a__b.c--d",
        ] {
            assert_eq!(unmatchable(name), None, "{name}");
        }
        for name in [
            "",
            "..",
            ".",
            "https://docker.io",
            "docker.io/library",
            "index.docker.io",
            "docker",
            "*",
            "host_name:5000",
            "host_name",
            "Host_name.example",
            "_a.example",
            "a_.example",
            "h:",
            "h:port",
            "a..b",
            "-a.b",
            "[fe80::1%eth0]:5000",
            "[]",
            "a b.c",
            "héllo.example",
            "a:b:c",
            "_default",
        ] {
            assert!(unmatchable(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_name_that_an_image_can_have_is_the_namespace_of_one() {
        use crate::containerd::reference::ImageReference;
        for name in [
            "docker.io",
            "localhost",
            "h:5000",
            "Registry",
            "registry",
            "[::1]:5000",
            "[::1]",
            "my_registry.example",
            "my_registry:5000",
            "My_registry.example",
            "a..b",
            "index.docker.io",
            "a_.example",
            "h:",
            "_default",
        ] {
            let image = ImageReference::parse(&format!("{name}/x/y"));
            let is_namespace = image.is_ok_and(|image| image.namespace == name);
            assert_eq!(is_namespace, unmatchable(name).is_none(), "{name}");
        }
    }

    #[test]
    fn endpoints_get_their_scheme_as_in_containerd() {
        let of = |version: &str| {
            Behaviour::of(crate::containerd::release::Version::parse(version).unwrap())
        };
        let url = |endpoint: &str, version: &str| {
            parse_endpoint(endpoint, &of(version))
                .unwrap()
                .to_host()
                .map(|host| host.url())
        };
        for (endpoint, old, new) in [
            ("m:5000", "https://m:5000/v2", "https://m:5000/v2"),
            (
                "localhost:5000",
                "http://localhost:5000/v2",
                "http://localhost:5000/v2",
            ),
            (
                "127.0.0.2:80",
                "https://127.0.0.2:80/v2",
                "http://127.0.0.2:80/v2",
            ),
            ("[::1]:5000", "http://[::1]:5000/v2", "http://[::1]:5000/v2"),
            ("[::1]", "https://[::1]/v2", "https://[::1]/v2"),
            ("LOCALHOST", "https://LOCALHOST/v2", "https://LOCALHOST/v2"),
            ("HTTPS://M/", "https://M/", "https://M/"),
            (
                "https://u:p@m/foo/../v2/x?q#f",
                "https://m/v2/x",
                "https://m/v2/x",
            ),
        ] {
            assert_eq!(url(endpoint, "1.6.8").as_deref(), Some(old), "{endpoint}");
            assert_eq!(url(endpoint, "1.7").as_deref(), Some(new), "{endpoint}");
        }
        assert_eq!(url("", "1.7"), None);
        assert_eq!(url("https:///mirror", "1.7"), None);
        assert_eq!(url("docker://m", "1.7"), None);
        assert!(parse_endpoint(" https://m", &of("1.7")).is_err());
    }
}
