//! What left a daemon, and when two sequences of it are the same.

use std::fmt;

use crate::proxy::TOKEN_PATH;

/// One thing that a daemon tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) scheme: &'static str,
    /// As the daemon wrote it, with a port or without.
    pub(crate) host: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A request that arrived.
    Request {
        path: String,
        query: String,
        /// The subject of the client certificate.
        client: Option<String>,
        credentials: Option<String>,
        /// Headers that containerd does not send of itself.
        headers: Vec<String>,
        status: u16,
    },
    /// The daemon did not accept the host's certificate.
    TlsRefused,
    /// A TLS hello at a host that speaks plain HTTP only.
    TlsOnPlainHost,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme, self.host)?;
        match &self.what {
            What::Request {
                path,
                query,
                client,
                credentials,
                headers,
                status,
            } => {
                write!(formatter, "{path}")?;
                if !query.is_empty() {
                    write!(formatter, "?{query}")?;
                }
                if let Some(client) = client {
                    write!(formatter, " [client {client}]")?;
                }
                if let Some(credentials) = credentials {
                    write!(formatter, " [{credentials}]")?;
                }
                for header in headers {
                    write!(formatter, " [{header}]")?;
                }
                write!(formatter, " {status}")
            }
            What::TlsRefused => write!(formatter, " refused the certificate"),
            What::TlsOnPlainHost => write!(formatter, " TLS tried on a plain host"),
        }
    }
}

/// The sequence with what was tried before folded away: retries, HEAD and then GET, and a host that
/// is named twice. When a host is asked again, under another path or scheme, whether it says 401 once
/// more and a token is fetched once more before it gets the credentials is folded away, too: with a
/// `config_path` the hosts of a namespace share what they know of credentials, with legacy settings
/// they do not.
pub(crate) fn folded(events: &[Event]) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in events {
        let mut same_host = kept.iter().filter(|other| other.host == event.host);
        let is_known = if event.is_challenge() {
            same_host.any(Event::is_challenge) && events.iter().any(|later| later.answers(event))
        } else {
            event.token_request().is_some()
                && same_host.any(|other| other.token_request() == event.token_request())
        };
        if !is_known && !kept.contains(event) {
            kept.push(event.clone());
        }
    }
    kept
}

impl Event {
    /// Whether a host asks for credentials.
    fn is_challenge(&self) -> bool {
        matches!(
            &self.what,
            What::Request {
                status: 401,
                credentials: None,
                ..
            }
        )
    }

    /// The query and the credentials of a request to a token server.
    fn token_request(&self) -> Option<(&str, Option<&str>)> {
        match &self.what {
            What::Request {
                path,
                query,
                credentials,
                ..
            } if path == TOKEN_PATH => Some((query, credentials.as_deref())),
            _ => None,
        }
    }

    /// Whether this is the other's request with credentials.
    fn answers(&self, other: &Event) -> bool {
        let What::Request {
            path,
            credentials: Some(_),
            ..
        } = &self.what
        else {
            return false;
        };
        let What::Request { path: asked, .. } = &other.what else {
            return false;
        };
        (self.scheme, &self.host, path) == (other.scheme, &other.host, asked)
    }
}

/// The hosts in the order in which they were asked for an image, each as `scheme://host/path` where
/// the path is what stood before the repository's name. This is what the model predicts.
pub(crate) fn hosts(events: &[Event], repository: &str) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for event in events {
        let path = match &event.what {
            What::Request { path, .. } => match path.split_once(&format!("/{repository}/")) {
                Some((prefix, _)) => prefix,
                // A token server, not a host of the list.
                None => continue,
            },
            // Nothing was asked, so nothing is known of the path.
            What::TlsRefused => "/… (TLS refused)",
            What::TlsOnPlainHost => "/…",
        };
        let host = format!("{}://{}{path}", event.scheme, event.host);
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Two sequences side by side, the differing lines marked.
pub(crate) fn side_by_side(left: (&str, &[String]), right: (&str, &[String])) -> String {
    let width = left
        .1
        .iter()
        .map(String::len)
        .chain([left.0.len()])
        .max()
        .unwrap_or_default();
    let mut text = format!("    {:width$}   | {}\n", left.0, right.0);
    for row in 0..left.1.len().max(right.1.len()) {
        let one = left.1.get(row).map_or("", String::as_str);
        let other = right.1.get(row).map_or("", String::as_str);
        let mark = if one == other { ' ' } else { '!' };
        text.push_str(&format!("    {one:width$} {mark} | {other}\n"));
    }
    text
}

/// Each as it is printed.
pub(crate) fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(ToString::to_string).collect()
}

/// `host:port` without the port that the scheme has anyway.
pub(crate) fn without_own_port(scheme: &str, host: &str) -> String {
    let own = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(own).unwrap_or(host).to_ascii_lowercase()
}
