//! What messages quote from files. A message shows no more than the excerpt beside it.

use std::borrow::Cow;

use super::MASK;
use super::setting::{CONFIGURATION, Content, HOSTS_FILE};
use super::url::{self, shown_name};

/// Names of tables, keys and plugins that containerd knows, beside those of shown settings.
const OTHER_NAMES: &[&str] = &[
    "SystemdCgroup",
    "auth",
    "auths",
    "cgroup",
    "cri",
    "grpc",
    "header",
    "headers",
    "identitytoken",
    "insecure_skip_verify",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.runtime.v1.linux",
    "oom_score",
    "options",
    "override_path",
    "password",
    "root",
    "runc",
    "skip_verify",
    "state",
    "ttrpc",
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

    /// Whether the excerpt of its line shows the string as it is.
    pub fn is_shown(self, text: &str) -> bool {
        self.hidden(text).is_some_and(|hidden| hidden.is_empty())
    }
}

/// The names of a setting in a text that is not TOML, where nobody knows what a name stands for: only those that
/// containerd knows are shown.
pub fn known_names<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| match is_known(name) {
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
    fn of_a_text_that_is_not_toml_only_known_names_are_shown() {
        let shown = |names: &[&str]| known_names(names.iter().copied());
        let table = [
            "plugins",
            "io.containerd.grpc.v1.cri",
            "registry",
            "mirrors",
        ];
        assert_eq!(
            shown(&table),
            "plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors"
        );
        for secret in [
            "hUnTr2",
            "hUnTr2.x",
            "io.containerd.hUnTr2.v1.x",
            "Basic Ym9iOmh1bnRlcjI=",
            "-----BEGIN X-----\nS",
            "bob:hUnTr2",
            "hUnTr2:5000",
        ] {
            assert_eq!(
                shown(&["auths", secret]),
                format!("auths.{MASK}"),
                "{secret}"
            );
        }
    }
}
