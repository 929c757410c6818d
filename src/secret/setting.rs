//! Settings: which values of a TOML file are shown. A string is shown only where its position is known and its content
//! is harmless; a list of ordinary settings is in one table, which docs/security.md repeats.

use std::ops::Range;

use super::{MASK, TextKind, url, words};
use crate::toml::syntax::{Entry, Key, Section, Value, ValueKind};

/// What the strings of a shown setting are. Anything else in its place is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A URL or a host, shown without user information, query and fragment.
    Endpoint,
    /// A path: absolute, or of a file whose ending says what is in it.
    Path,
    /// Paths with colons between them.
    Paths,
    /// A name, a version, an address or a media type: no spaces, and not the shape of a token.
    Word,
    /// The name of an image.
    Image,
    /// A length of time, as Go writes it.
    Duration,
}

use Content::{Duration, Endpoint, Image, Path, Paths, Word};

/// The shown settings of config.toml; `*` is any name. Booleans and numbers are shown anyway, and so are absolute paths
/// and http(s) URLs outside tables of credentials.
pub const CONFIGURATION: &[(&str, Content)] = &[
    ("version", Word),
    ("imports", Path),
    ("disabled_plugins", Word),
    ("required_plugins", Word),
    ("debug.level", Word),
    ("debug.format", Word),
    ("metrics.address", Word),
    ("proxy_plugins.*.type", Word),
    ("stream_processors.*.accepts", Word),
    ("stream_processors.*.returns", Word),
    ("stream_processors.*.path", Word),
    ("timeouts.*", Duration),
    ("plugins.*.registry.config_path", Paths),
    ("plugins.*.registry.mirrors.*.endpoint", Endpoint),
    ("plugins.*.registry.configs.*.tls.ca_file", Path),
    ("plugins.*.registry.configs.*.tls.cert_file", Path),
    ("plugins.*.registry.configs.*.tls.key_file", Path),
    ("plugins.*.sandbox_image", Image),
    ("plugins.*.pinned_images.sandbox", Image),
    ("plugins.*.snapshotter", Word),
    ("plugins.*.containerd.snapshotter", Word),
    ("plugins.*.containerd.default_runtime_name", Word),
    ("plugins.*.containerd.runtimes.*.runtime_type", Word),
    ("plugins.*.containerd.runtimes.*.sandboxer", Word),
    ("plugins.*.containerd.runtimes.*.options.BinaryName", Word),
    ("plugins.*.image_decryption.key_model", Word),
    ("plugins.*.cni.ip_pref", Word),
    ("plugins.*.stream_server_address", Word),
    ("plugins.*.stream_server_port", Word),
    ("plugins.*.stream_idle_timeout", Duration),
    ("plugins.*.image_pull_progress_timeout", Duration),
];

/// The shown settings of hosts.toml. Those of the namespace's own registry stand at the top, those of other hosts below
/// `host.*`.
pub const HOSTS_FILE: &[(&str, Content)] = &[
    ("server", Endpoint),
    ("capabilities", Word),
    ("ca", Path),
    ("client", Path),
    ("dial_timeout", Duration),
    ("host.*.capabilities", Word),
    ("host.*.ca", Path),
    ("host.*.client", Path),
    ("host.*.dial_timeout", Duration),
];

/// Tables whose keys are names that someone chose. What such a name says is nothing about what is below it.
const TABLES_OF_NAMES: &[&str] = &[
    "plugins",
    "mirrors",
    "configs",
    "host",
    "auths",
    "runtimes",
    "proxy_plugins",
    "stream_processors",
];
/// Settings whose strings are handed to other programs: an absolute path among them may be the value of an option.
const ARGUMENTS: &[&str] = &[
    "args",
    "arguments",
    "env",
    "environment",
    "cmd",
    "command",
    "entrypoint",
];

/// What is known of a position from the names above it.
#[derive(Clone, Debug, Default)]
pub(super) struct Position<'s> {
    path: Vec<&'s str>,
    /// Whether a table above is one of credentials or headers.
    pub(super) in_secret_table: bool,
    /// Whether names above it may be missing: a setting that is commented out without its table.
    is_tail: bool,
}

impl<'s> Position<'s> {
    /// The position of a setting of which it is not known in which table it stands.
    pub(super) fn unknown() -> Self {
        Self {
            is_tail: true,
            ..Self::default()
        }
    }

    /// The same in a table of credentials.
    pub(super) fn in_secret_table() -> Self {
        Self {
            in_secret_table: true,
            ..Self::unknown()
        }
    }

    /// The position below more names.
    pub(super) fn below(&self, keys: &'s [Key]) -> Self {
        let mut position = self.clone();
        for key in keys {
            position.push(&key.name);
        }
        position
    }

    fn push(&mut self, name: &'s str) {
        // A registry may be called `oauth`, but hardly `auth`: the two were swapped.
        self.in_secret_table |= if self.is_chosen() {
            is_one_of(name, &["auth", "auths", "header", "headers"])
        } else {
            words::names_secret_table(name)
        };
        self.path.push(name);
    }

    /// Whether the next name is one that someone chose.
    fn is_chosen(&self) -> bool {
        self.path
            .last()
            .is_some_and(|above| is_one_of(above, TABLES_OF_NAMES))
    }

    /// Goes to the setting of this name, of whose strings it says what is known.
    fn enter(&mut self, name: &'s str, kind: TextKind) -> Strings {
        // `auth = "…"` is a value, not a table of them; that it is one is known by its name.
        let in_secret_table = self.in_secret_table;
        let names_secret = !self.is_chosen() && words::names_secret(name);
        self.push(name);
        let content = self.content(kind).filter(|_| !in_secret_table);
        Strings {
            content,
            is_secret: in_secret_table || names_secret || is_one_of(name, ARGUMENTS),
            hides_numbers: content.is_none() && (in_secret_table || names_secret),
            hides_all: in_secret_table,
        }
    }

    fn content(&self, kind: TextKind) -> Option<Content> {
        let table = match kind {
            TextKind::Configuration => CONFIGURATION,
            TextKind::HostsFile => HOSTS_FILE,
        };
        let last = self.path.last()?;
        // Most settings are in no table, which the last name tells without taking patterns apart.
        let ends = |pattern: &str| {
            let start = pattern.len().checked_sub(last.len());
            let end = start.and_then(|start| pattern.get(start..));
            pattern.ends_with('*') || end.is_some_and(|end| end.eq_ignore_ascii_case(last))
        };
        let mut candidates = table.iter().filter(|(pattern, _)| ends(pattern));
        let found = candidates.find(|(pattern, content)| {
            // Words such as `level` and `type` are known in their own tables only.
            let is_tail = self.is_tail && *content != Word && !pattern.ends_with('*');
            self.matches(pattern, is_tail)
        });
        found.map(|(_, content)| *content)
    }

    fn matches(&self, pattern: &str, is_tail: bool) -> bool {
        let mut names = self.path.iter().rev();
        let mut parts = pattern.rsplit('.');
        loop {
            match (names.next(), parts.next()) {
                (Some(name), Some(part)) if part == "*" || part.eq_ignore_ascii_case(name) => {}
                (None, None) => return true,
                (None, Some(_)) => return is_tail,
                _ => return false,
            }
        }
    }
}

/// Finds what is to be masked in the settings of a text.
pub(super) struct Settings<'t> {
    pub(super) text: &'t str,
    pub(super) kind: TextKind,
    /// What was found, in file order.
    pub(super) ranges: Vec<Range<usize>>,
}

/// What is known of the strings of one setting.
#[derive(Clone, Copy)]
struct Strings {
    content: Option<Content>,
    /// Whether nothing of them is harmless.
    is_secret: bool,
    /// Whether numbers are secret, too.
    hides_numbers: bool,
    /// Whether even booleans are.
    hides_all: bool,
}

impl Strings {
    /// The parts of one of them that are not shown; all of it for `None`.
    fn hidden(self, text: &str) -> Option<Vec<Range<usize>>> {
        match self.content {
            _ if text.is_empty() => (!self.hides_all).then(Vec::new),
            Some(content) => content.hidden(text),
            None if self.is_secret => None,
            None => (is_plain_url(text) || is_plain_path(text)).then(Vec::new),
        }
    }
}

impl<'s> Settings<'_> {
    /// Looks at what a part of the text touches of a section. Returns how far that reaches.
    pub(super) fn section(&mut self, section: &'s Section, part: &Range<usize>) -> usize {
        let mut position = Position::default();
        let mut end = 0;
        if let Some(header) = &section.header {
            if header.range.end > part.start {
                self.keys(&header.keys, &position);
            }
            end = header.range.end;
            position = position.below(&header.keys);
        }
        let entries = &section.entries;
        let first = entries.partition_point(|entry| entry.range().end <= part.start);
        let entries = entries.get(first..).unwrap_or_default();
        let count = entries.partition_point(|entry| entry.range().start < part.end);
        let entries = entries.get(..count).unwrap_or_default();
        self.entries(entries, &position);
        entries.last().map_or(end, |entry| entry.range().end)
    }

    pub(super) fn entries(&mut self, entries: &'s [Entry], position: &Position<'s>) {
        let mut below = position.clone();
        for entry in entries {
            self.keys(&entry.keys, position);
            let Some((last, parents)) = entry.keys.split_last() else {
                continue;
            };
            for key in parents {
                below.push(&key.name);
            }
            if let ValueKind::Table(inner) = &entry.value.kind {
                below.push(&last.name);
                self.entries(inner, &below);
            } else {
                let strings = below.enter(&last.name, self.kind);
                self.value(&entry.value, strings, &below);
            }
            below.path.truncate(position.path.len());
            below.in_secret_table = position.in_secret_table;
        }
    }

    fn value(&mut self, value: &'s Value, strings: Strings, position: &Position<'s>) {
        match &value.kind {
            ValueKind::Table(entries) => self.entries(entries, position),
            ValueKind::Array(elements) => {
                for element in elements {
                    self.value(element, strings, position);
                }
            }
            ValueKind::String(text) => self.hide(&value.range, text, strings.hidden(text)),
            ValueKind::Boolean(_) if !strings.hides_all => {}
            ValueKind::Integer(_) | ValueKind::Other if !strings.hides_numbers => {}
            _ => self.ranges.push(value.range.clone()),
        }
    }

    /// Names are shown, but not user information, PEM blocks and tokens in them.
    pub(super) fn keys(&mut self, keys: &[Key], above: &Position<'_>) {
        let mut before = above.path.last().copied();
        for key in keys {
            let is_url = key.name.contains('@')
                || key.name.contains(':') && key.name.contains("://")
                || before
                    .is_some_and(|name| is_one_of(name, &["mirrors", "configs", "auths", "host"]));
            let hidden = if is_url {
                url::hidden_in_name(&key.name)
            } else {
                url::tokens(&key.name)
            };
            self.hide(&key.range, &key.name, Some(hidden));
            before = Some(&key.name);
        }
    }

    /// Masks these ranges of a decoded string; all of it for `None`, or if it is not written as it is read.
    fn hide(&mut self, range: &Range<usize>, decoded: &str, hidden: Option<Vec<Range<usize>>>) {
        let Some(hidden) = hidden else {
            self.ranges.push(range.clone());
            return;
        };
        if hidden.is_empty() {
            return;
        }
        let raw = self.text.get(range.clone()).unwrap_or_default();
        let quotes = raw.len().saturating_sub(decoded.len()) / 2;
        if raw.get(quotes..quotes + decoded.len()) == Some(decoded) {
            let start = range.start + quotes;
            let ranges = hidden
                .into_iter()
                .map(|part| start + part.start..start + part.end);
            self.ranges.extend(ranges);
        } else {
            self.ranges.push(range.clone());
        }
    }
}

impl Content {
    /// The parts of a string that are not shown; all of it for `None`.
    pub(super) fn hidden(self, text: &str) -> Option<Vec<Range<usize>>> {
        let harmless = match self {
            Self::Endpoint => {
                let odd =
                    |c: char| c.is_whitespace() || c.is_control() || "\"'`<>{}|\\".contains(c);
                return (!text.contains(odd)).then(|| url::hidden(text));
            }
            Self::Path => is_path(text),
            Self::Paths => text.split(':').all(is_path) && is_harmless_path(text),
            Self::Word if text.starts_with('/') => is_harmless_path(text),
            Self::Word => {
                let of_word = |c: char| c.is_alphanumeric() || "._-+/:*@[]".contains(c);
                // Names of plugins have dots: theirs are no tokens.
                let is_name = text.contains(['.', '/']);
                let has_token = if is_name {
                    words::has_exact_token
                } else {
                    words::has_token
                };
                text.len() <= 255
                    && text.chars().all(of_word)
                    && !has_password(text)
                    && !has_token(text)
            }
            Self::Image => {
                let of_image = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
                let (name, digest) = text.split_once('@').unwrap_or((text, ""));
                text.chars().all(of_image)
                    && (digest.is_empty()
                        || digest.starts_with("sha256:")
                        || digest.starts_with("sha512:"))
                    && !words::has_exact_token(name)
                    && !words::is_token(name)
            }
            Self::Duration => {
                text.len() <= 64
                    && text
                        .chars()
                        .all(|c| c.is_ascii_digit() || ".-+nuµmsh".contains(c))
            }
        };
        harmless.then(Vec::new)
    }
}

/// An absolute path from a file as it may be quoted in a message. Whether a relative one may be is seen before it becomes
/// absolute.
pub fn shown_path(text: &str) -> &str {
    if is_harmless_path(text) { text } else { MASK }
}

/// The path of a file that could not be used. It is what an operator looks for, so that only what is no path is masked.
pub fn shown_file(path: &str) -> &str {
    if words::has_pem(path) { MASK } else { path }
}

/// A name from a file, such as a plugin's, as it may be quoted in a message.
pub fn shown_word(text: &str) -> &str {
    if Content::Word.hidden(text).is_some() {
        text
    } else {
        MASK
    }
}

/// Whether a text is a path and nothing else: an absolute one, or a relative one to a file of a known kind or a pattern
/// for such files.
fn is_path(text: &str) -> bool {
    let relative = |c: char| c.is_alphanumeric() || "._-/\\*?[] ".contains(c);
    let is_drive = text.len() == 1 && text.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_windows = text.starts_with('\\');
    let known = text.is_empty()
        || is_drive
        || text.starts_with('/')
        || (has_known_ending(text) || is_windows) && text.chars().all(relative);
    known && is_harmless_path(text)
}

/// Whether a path is of a kind of file that nodes have.
fn has_known_ending(path: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "pem", "crt", "cert", "cer", "ca", "key", "toml", "conf", "d",
    ];
    let ending = path.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| is_one_of(ending, ENDINGS))
}

/// Whether a string at an unknown position is an absolute path.
fn is_plain_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.contains(char::is_whitespace)
        // So base64 ends.
        && !text.ends_with('=')
        && is_harmless_path(text)
}

fn is_harmless_path(text: &str) -> bool {
    text.len() <= 4096
        && !text.contains(char::is_control)
        && !text.contains("://")
        && url::password(text).is_none()
        && !words::has_exact_token(text)
}

/// Whether it is like `user:password@host`.
fn has_password(text: &str) -> bool {
    text.split_once('@')
        .is_some_and(|(before, _)| before.contains(':'))
}

/// Whether a string at an unknown position is an http or https URL with nothing secret in it.
fn is_plain_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| is_one_of(scheme, &["http", "https"]))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && crate::go::url::parse(text, false).is_ok()
        && url::hidden(text).is_empty()
        && !words::has_token(text)
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Whether excerpts and diffs show a string as it is in the setting with these names, from the top of the file on.
pub fn is_shown(kind: TextKind, names: &[&str], text: &str) -> bool {
    let Some((last, above)) = names.split_last() else {
        return false;
    };
    let mut position = Position::default();
    for name in above {
        position.push(name);
    }
    let hidden = position.enter(last, kind).hidden(text);
    hidden.is_some_and(|hidden| hidden.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_settings_are_those_of_the_document() {
        let document = include_str!("../../docs/security.md");
        let rows = |heading: &str| -> Vec<String> {
            let (_, section) = document.split_once(heading).unwrap();
            let lines = section.lines().skip_while(|line| !line.starts_with("| `"));
            lines
                .take_while(|line| line.starts_with('|'))
                .map(str::to_owned)
                .collect()
        };
        let written = |table: &[(&str, Content)]| -> Vec<String> {
            let row = |(setting, content): &(&str, Content)| {
                let content = match content {
                    Endpoint => "a URL or a host",
                    Path => "a path",
                    Paths => "paths with `:` between them",
                    Word => "a word",
                    Image => "an image name",
                    Duration => "a duration",
                };
                format!("| `{setting}` | {content} |")
            };
            table.iter().map(row).collect()
        };
        assert_eq!(
            rows("### Shown settings of config.toml"),
            written(CONFIGURATION)
        );
        assert_eq!(
            rows("### Shown settings of hosts.toml"),
            written(HOSTS_FILE)
        );
        assert!(CONFIGURATION.len() + HOSTS_FILE.len() <= 40);
    }
}
