//! What messages quote from files. A message shows no more than the excerpt beside it.

use std::borrow::Cow;

use super::MASK;
use super::setting::{CONFIGURATION, Content, HOSTS_FILE};
use super::url::{self, shown_name};

/// Names of tables and keys that containerd knows, beside those of shown settings.
const OTHER_NAMES: &[&str] = &[
    "auth",
    "auths",
    "header",
    "headers",
    "identitytoken",
    "insecure_skip_verify",
    "override_path",
    "password",
    "skip_verify",
    "username",
];

impl Content {
    /// A string of a setting with this content, as the excerpt of its line shows it.
    pub fn shown(self, text: &str) -> Cow<'_, str> {
        match self.hidden(text) {
            None => Cow::Borrowed(MASK),
            Some(hidden) if hidden.is_empty() => Cow::Borrowed(text),
            Some(hidden) => Cow::Owned(url::shown(text, hidden)),
        }
    }
}

/// The names of a setting in a text that is not TOML, where nobody knows what a name stands for: those that containerd
/// knows, and what is like a registry host or the name of a plugin.
pub fn known_names<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| match is_known(name) || is_like_a_host(name) {
            true => shown_name(name),
            false => MASK.to_owned(),
        })
        .collect();
    names.join(".")
}

fn is_known(name: &str) -> bool {
    let settings = CONFIGURATION.iter().chain(HOSTS_FILE);
    let mut known = settings.flat_map(|(setting, _)| setting.split('.'));
    known.any(|known| known == name) || OTHER_NAMES.contains(&name)
}

/// Whether it has the form of a host or of a plugin's name, with a scheme or without, and nothing that is masked.
fn is_like_a_host(name: &str) -> bool {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = host.starts_with('[') && host.ends_with(']');
    let of_host = |c: char| {
        c.is_ascii_alphanumeric() || "-_.*".contains(c) || is_address && ":[]".contains(c)
    };
    host.chars().all(of_host)
        && port.is_none_or(is_port)
        && (port.is_some() || host.contains('.') || host == "localhost" || is_address)
        && url::hidden_in_name(name).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_shown_as_the_excerpt_shows_it() {
        for (content, text, shown) in [
            (Content::Path, "/etc/certs.d", "/etc/certs.d"),
            (Content::Path, "certs.d", "certs.d"),
            (Content::Path, "bob:hunter2@h", MASK),
            (Content::Path, "password: x", MASK),
            (Content::Endpoint, "https://u:p@h/x", "https://********@h/x"),
            (Content::Endpoint, "Basic Ym9iOmg=", MASK),
        ] {
            assert_eq!(content.shown(text), shown, "{text}");
        }
    }

    #[test]
    fn of_unknown_names_only_hosts_and_plugins_are_shown() {
        let shown = |names: &[&str]| known_names(names.iter().copied());
        let table = [
            "plugins",
            "io.containerd.grpc.v1.cri",
            "registry",
            "mirrors",
            "docker.io",
        ];
        assert_eq!(
            shown(&table),
            "plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\""
        );
        for host in ["http://h:5000", "[::1]:5000", "*.example", "127.0.0.1:5000"] {
            assert_eq!(shown(&["host", host]), format!("host.\"{host}\""));
        }
        for secret in [
            "hUnTr2",
            "Basic Ym9iOmh1bnRlcjI=",
            "-----BEGIN X-----\nS",
            "bob:hUnTr2",
            "bob:h.x",
        ] {
            assert_eq!(
                shown(&["auths", secret]),
                format!("auths.{MASK}"),
                "{secret}"
            );
        }
    }
}
