//! What must not be shown: where the secrets of a text are, and a filter for everything that leaves the process.
//!
//! Masks have one fixed width and keep line ends, so that masked texts can be compared and digested and say nothing
//! about a secret, not even its length. This module prints nothing.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use crate::toml::syntax::{Entry, Key, Syntax, Value, ValueKind};

/// What stands where a secret stood.
pub const MASK: &str = "********";

/// A text that cannot print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text that nobody is to see.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// Tables all of whose values are secret, wherever they stand.
const CREDENTIAL_TABLES: &[&str] = &["auth", "auths"];
/// Tables of headers. Their values are masked, but most are no secret to look for elsewhere: `https`, `true`.
const HEADER_TABLES: &[&str] = &["header", "headers"];
/// The key below a credential table whose value is masked in place but not hunted for: half of the world is called
/// admin.
const USER_NAME: &str = "username";
/// A string whose key ends like this is secret in any table, and so is what follows such a word and `=` or `:` in a
/// comment, or in text that is not understood.
const SECRET_WORDS: &[&str] = &[
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "key",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "token",
];
/// The keys of an entry of `registry.mirrors`. Whatever else is in one may be a credential in the wrong place.
const MIRROR_KEYS: &[&str] = &["endpoint", "rewrite"];
/// The same of `registry.configs`.
const CONFIG_KEYS: &[&str] = &["tls", "auth"];
/// The same of `registry.configs.*.tls`.
const TLS_KEYS: &[&str] = &["ca_file", "cert_file", "key_file", "insecure_skip_verify"];
/// Keys whose strings are URLs or host names, with or without a scheme.
const URL_KEYS: &[&str] = &["endpoint", "server"];
/// Tables whose keys are URLs or host names.
const URL_TABLES: &[&str] = &["mirrors", "configs", "auths", "host"];
/// A shorter value is masked where it stands, but not hunted for in other text.
const SHORTEST_HUNTED: usize = 4;
/// The same for values of which it is not certain that they are secret.
const SHORTEST_DOUBTFUL: usize = 8;

/// The secrets of one text.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The ranges to mask, in order, not overlapping.
    pub ranges: Vec<Range<usize>>,
    /// The values themselves, and what their base64 decodes to.
    values: Vec<Secret>,
}

impl Secrets {
    /// Finds the secrets of a TOML text. With `None` for its syntax nobody knows which of its values are secret, and
    /// all are taken to be.
    pub fn of(text: &str, syntax: Option<&Syntax>) -> Self {
        let secrets = Self::default();
        let mut finder = Finder { text, secrets };
        match syntax {
            Some(syntax) => {
                for section in &syntax.sections {
                    let mut place = Place::default();
                    for key in section.header.iter().flat_map(|header| &header.keys) {
                        finder.key(key, &mut place);
                    }
                    finder.entries(&section.entries, place);
                }
                for comment in &syntax.comments {
                    finder.line(comment.clone());
                }
            }
            None => {
                let mut start = 0;
                for line in text.split_inclusive('\n') {
                    finder.unknown_line(start..start + line.trim_end().len());
                    start += line.len();
                }
            }
        }
        finder.done()
    }

    /// Finds what looks like a secret in a line that is for people to read.
    pub fn of_prose(line: &str) -> Self {
        let secrets = Self::default();
        let mut finder = Finder {
            text: line,
            secrets,
        };
        finder.line(0..line.trim_end().len());
        finder.done()
    }

    /// Finds the secrets of a text that may be TOML or not.
    pub fn of_text(text: &str) -> Self {
        Self::of(text, Syntax::parse(text).ok().as_ref())
    }

    fn hunt(&mut self, text: &str, shortest: usize) {
        if text.len() < shortest {
            return;
        }
        self.values.push(Secret(text.to_owned()));
        // `Basic dXNlcjpwdw==` and the like: the last word may be base64 of user and password.
        let last_word = text.rsplit(' ').next().unwrap_or(text);
        if last_word != text {
            self.values.push(Secret(last_word.to_owned()));
        }
        if let Some(decoded) = decode_base64(last_word) {
            if let Some((_, password)) = decoded.split_once(':') {
                self.values.push(Secret(password.to_owned()));
            }
            self.values.push(Secret(decoded));
        }
    }

    fn merge(&mut self) {
        self.ranges.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in self.ranges.drain(..) {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        self.ranges = merged;
    }

    /// Whether `range` touches a secret.
    pub fn touches(&self, range: &Range<usize>) -> bool {
        let at = self
            .ranges
            .partition_point(|secret| secret.end <= range.start);
        self.ranges
            .get(at)
            .is_some_and(|secret| secret.start < range.end)
    }
}

/// What is known of a value from the tables that it is in.
#[derive(Clone, Copy, Default)]
struct Place {
    credentials: bool,
    headers: bool,
    /// Whether the next key is a URL or a host name.
    urls: bool,
    /// Whether the registry settings are above.
    registry: bool,
    /// What the next key is, if it is a part of those.
    next: Option<Next>,
    /// Whether a key above is none that belongs there, so that what is below may be anything.
    doubtful: bool,
}

/// What a key in the registry settings is.
#[derive(Clone, Copy)]
enum Next {
    /// The name of an entry that has these keys.
    Name(&'static [&'static str]),
    /// One of these.
    OneOf(&'static [&'static str]),
}

struct Finder<'t> {
    text: &'t str,
    secrets: Secrets,
}

impl Finder<'_> {
    fn done(mut self) -> Secrets {
        self.secrets.merge();
        self.secrets
    }

    /// Looks at one part of a key, and says what that means for what is below it.
    fn key(&mut self, key: &Key, place: &mut Place) {
        if place.urls || self.raw(&key.range).contains("://") {
            self.url(key.range.clone());
        }
        place.credentials |= is_one_of(&key.name, CREDENTIAL_TABLES);
        place.headers |= is_one_of(&key.name, HEADER_TABLES);
        place.urls = is_one_of(&key.name, URL_TABLES);
        let is = |name: &str| key.name.eq_ignore_ascii_case(name);
        place.next = match place.next {
            Some(Next::Name(keys)) => Some(Next::OneOf(keys)),
            Some(Next::OneOf(keys)) => {
                place.doubtful |= !is_one_of(&key.name, keys);
                is("tls").then_some(Next::OneOf(TLS_KEYS))
            }
            None if place.registry && is("mirrors") => Some(Next::Name(MIRROR_KEYS)),
            None if place.registry && is("configs") => Some(Next::Name(CONFIG_KEYS)),
            None => None,
        };
        place.registry |= is("registry");
    }

    fn raw(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn entries(&mut self, entries: &[Entry], place: Place) {
        for entry in entries {
            let Some(last) = entry.keys.last() else {
                continue;
            };
            let mut below = place;
            for key in &entry.keys {
                self.key(key, &mut below);
            }
            if let ValueKind::Table(inner) = &entry.value.kind {
                self.entries(inner, below);
                continue;
            }
            // `auth = "…"` is a value, not a table of them; that it is one is known by its name below.
            below.credentials = place.credentials
                || entry
                    .keys
                    .iter()
                    .rev()
                    .skip(1)
                    .any(|key| is_one_of(&key.name, CREDENTIAL_TABLES));
            let named = ends_like_secret(&last.name);
            let hunted = match (below.credentials, named) {
                (true, _) if last.name.eq_ignore_ascii_case(USER_NAME) => usize::MAX,
                (true, _) => SHORTEST_HUNTED,
                (false, true) => SHORTEST_DOUBTFUL,
                (false, false) => usize::MAX,
            };
            let secret = below.credentials || below.headers;
            let is_url = is_one_of(&last.name, URL_KEYS);
            // A misspelt `endpoint` is no secret.
            let doubtful = below.doubtful && !says_url(&entry.value);
            self.value(&entry.value, secret, named || doubtful, hunted, is_url);
        }
    }

    fn value(&mut self, value: &Value, secret: bool, named: bool, hunted: usize, is_url: bool) {
        match &value.kind {
            ValueKind::Table(entries) => self.entries(entries, Place::default()),
            ValueKind::Array(elements) => {
                let mut after_option = false;
                for element in elements {
                    self.value(element, secret, named || after_option, hunted, is_url);
                    // `["--password", "hunter2"]`
                    after_option = matches!(&element.kind, ValueKind::String(text)
                        if text.starts_with('-') && ends_like_secret(text));
                }
            }
            ValueKind::String(text) if text.is_empty() => {}
            ValueKind::String(text) if secret || named || is_assignment(text) => {
                self.secrets.ranges.push(value.range.clone());
                self.secrets.hunt(text, hunted);
            }
            ValueKind::String(text) if is_url || text.contains("://") => {
                self.url(value.range.clone());
            }
            ValueKind::String(_) => {}
            _ if secret => self.secrets.ranges.push(value.range.clone()),
            _ => {}
        }
    }

    /// A line of a text that is no TOML: what is not clearly a comment, a table's header or a key is masked, since it
    /// may be the rest of a value.
    fn unknown_line(&mut self, range: Range<usize>) {
        let line = self.text.get(range.clone()).unwrap_or_default();
        let trimmed = line.trim_start();
        let start = range.end - trimmed.len();
        let is_header =
            trimmed.starts_with('[') && !trimmed.starts_with("[\"") && !trimmed.starts_with("['");
        if trimmed.is_empty() || trimmed.starts_with('#') || is_header {
            self.line(range);
            return;
        }
        let begins_value = |value: &str| {
            value.starts_with(|c: char| c.is_alphanumeric() || ['"', '\'', '[', '{'].contains(&c))
        };
        let value = trimmed
            .split_once('=')
            .map(|(_, value)| value.trim_start())
            .filter(|value| begins_value(value));
        let start = value.map_or(start, |value| range.end - value.len());
        self.secrets.ranges.push(start..range.end);
    }

    /// A comment, or the like: what follows a secret word and `=` or `:`, what follows `Bearer`, and URLs.
    fn line(&mut self, range: Range<usize>) {
        let text = self.text;
        let line = text.get(range.clone()).unwrap_or_default();
        for (at, _) in line.match_indices(['=', ':']) {
            let before = line
                .get(..at)
                .unwrap_or_default()
                .trim_end()
                .trim_end_matches(['"', '\'']);
            let word = before
                .rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
                .next();
            let value = line.get(at + 1..).unwrap_or_default();
            let shown = value.trim();
            if ends_like_secret(word.unwrap_or_default()) && !shown.is_empty() {
                // It is not hunted for elsewhere: `# key: /etc/ssl/m.key` must not mask the path of a setting.
                let start = range.start + at + 1 + (value.len() - value.trim_start().len());
                self.secrets.ranges.push(start..start + shown.len());
                break;
            }
        }
        let ends = |c: char| c.is_whitespace() || "\"`<>".contains(c);
        let mut start = range.start;
        let mut before = ["", ""];
        for word in line.split_inclusive(ends) {
            let bare = word.trim_end_matches(ends);
            if follows_as_secret(before, bare) {
                self.secrets.ranges.push(start..start + bare.len());
            }
            if !bare.is_empty() {
                let [_, last] = before;
                before = [last, bare];
            }
            let with_password = bare
                .split_once('@')
                .is_some_and(|(before, _)| before.contains(':'));
            if bare.contains("://") || with_password {
                self.url(start..start + bare.len());
            }
            start += word.len();
        }
    }

    /// Masks user info and query of a URL, or of a host name with user info. An unescaped slash or at sign in a
    /// password makes it something else to Go, but not less of a password: all up to the last at sign goes.
    fn url(&mut self, range: Range<usize>) {
        let text = self.text;
        let raw = text.get(range.clone()).unwrap_or_default();
        let trimmed = raw.trim_start_matches(['"', '\'', '#']);
        let start = match raw.find("://") {
            Some(at) => at + "://".len(),
            None => raw.len() - trimmed.len(),
        };
        let end = raw.trim_end_matches(['"', '\'']).len();
        if let Some(at) = raw.rfind('@').filter(|at| *at > start) {
            self.secrets
                .ranges
                .push(range.start + start..range.start + at);
            let user_info = raw.get(start..at).unwrap_or_default();
            self.secrets.hunt(user_info, SHORTEST_HUNTED);
            // The part before the first colon is a user's name, unless it is all there is.
            for part in user_info.split([':', '@', '/']).skip(1) {
                self.secrets.hunt(part, SHORTEST_HUNTED);
            }
        }
        if let Some(at) = raw.find('?').filter(|at| at + 1 < end) {
            self.secrets
                .ranges
                .push(range.start + at + 1..range.start + end);
        }
    }
}

/// Whether a string is like `--token=a1b2` or `AWS_SECRET_ACCESS_KEY=a1b2`.
fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        !value.is_empty() && !name.contains(['/', ' ']) && ends_like_secret(name)
    })
}

/// Whether there is a URL in a value.
fn says_url(value: &Value) -> bool {
    match &value.kind {
        ValueKind::String(text) => text.contains("://"),
        ValueKind::Array(elements) => elements.iter().any(says_url),
        _ => false,
    }
}

/// Whether `word` is a secret because of the word `before` it: `Bearer eyJh…`, `curl -u admin:hunter2`,
/// `apikey a1b2c3d4`. After most words that is prose, as in `the key is elsewhere`.
fn follows_as_secret(words: [&str; 2], word: &str) -> bool {
    let [earlier, before] = words.map(|word| word.trim_matches(['\'', '(', ',', ':']));
    let is = |names: &[&str]| is_one_of(before, names);
    let is_password = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["password", "passwd", "passphrase", "pwd", "secret"]
            .iter()
            .any(|name| word.ends_with(name))
    };
    let has_letter = word.contains(|c: char| c.is_ascii_alphabetic());
    let is_mixed = word.contains(|c: char| c.is_ascii_digit())
        && word.contains(|c: char| c.is_ascii_alphabetic());
    let is_long = word.len() >= SHORTEST_DOUBTFUL;
    let is_odd = is_mixed || word.chars().skip(1).any(|c| c.is_ascii_uppercase());
    is(&["bearer", "basic"]) && is_long && is_odd
        || is(&["-u", "--user"]) && word.contains(':')
        || is(&["-p", "--pass"]) && has_letter
        || before.starts_with("--") && ends_like_secret(before)
        || is_password(before) && is_mixed
        || is(&["is", "was"]) && is_password(earlier) && is_mixed
        || ends_like_secret(before) && is_long && is_mixed
}

fn ends_like_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.ends_with(word))
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// A text whose secrets are masked, with the way from old to new positions.
#[derive(Clone, Debug)]
pub struct Masked {
    /// The text to show.
    pub text: String,
    /// The ranges of the masks in the new text.
    pub masks: Vec<Range<usize>>,
    /// For each secret: its range in the old text and the range of what replaces it.
    moved: Vec<(Range<usize>, Range<usize>)>,
}

impl Masked {
    /// Masks `ranges` of `text`. A secret of several lines keeps its line ends, so that line numbers stay.
    pub fn new(text: &str, ranges: &[Range<usize>]) -> Self {
        let mut masked = Self {
            text: String::with_capacity(text.len()),
            masks: Vec::new(),
            moved: Vec::new(),
        };
        let mut copied = 0;
        for range in ranges {
            masked
                .text
                .push_str(text.get(copied..range.start).unwrap_or_default());
            let start = masked.text.len();
            for line in text
                .get(range.clone())
                .unwrap_or_default()
                .split_inclusive('\n')
            {
                let content = line.trim_end_matches(['\r', '\n']);
                let mask_start = masked.text.len();
                masked.text.push_str(MASK);
                masked.masks.push(mask_start..masked.text.len());
                masked
                    .text
                    .push_str(line.get(content.len()..).unwrap_or_default());
            }
            masked.moved.push((range.clone(), start..masked.text.len()));
            copied = range.end;
        }
        masked.text.push_str(text.get(copied..).unwrap_or_default());
        masked
    }

    /// Where a position of the old text is in the new one; inside a secret, the mask's start or, for `end`, its end.
    pub fn position(&self, at: usize, end: bool) -> usize {
        let index = self.moved.partition_point(|(old, _)| old.start <= at);
        let Some((old, new)) = index.checked_sub(1).and_then(|last| self.moved.get(last)) else {
            return at;
        };
        match (at < old.end, end) {
            (true, false) => new.start,
            (true, true) => new.end,
            (false, _) => new.end + (at - old.end),
        }
    }
}

/// Takes known secret values out of any text, as the last step before it leaves the process.
#[derive(Default)]
pub struct Filter {
    /// The values by their first four bytes, so that one pass over a text is enough however many there are.
    by_start: HashMap<[u8; SHORTEST_HUNTED], Vec<String>>,
}

impl Filter {
    /// A filter for the values of all `secrets`.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secrets>) -> Self {
        let mut filter = Self::default();
        for Secret(value) in secrets.into_iter().flat_map(|secrets| &secrets.values) {
            if let Some(start) = value.as_bytes().first_chunk() {
                filter
                    .by_start
                    .entry(*start)
                    .or_default()
                    .push(value.clone());
            }
        }
        for values in filter.by_start.values_mut() {
            // The longest first: a secret may begin with another one.
            values.sort_by(|a, b| (b.len(), b).cmp(&(a.len(), a)));
            values.dedup();
        }
        filter
    }

    /// `text` without any known secret.
    pub fn apply(&self, text: &str) -> String {
        if self.by_start.is_empty() {
            return text.to_owned();
        }
        let mut filtered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let secret = rest
                .as_bytes()
                .first_chunk()
                .and_then(|start| self.by_start.get(start))
                .and_then(|values| values.iter().find(|value| rest.starts_with(value.as_str())));
            let length = match secret {
                Some(secret) => {
                    filtered.push_str(MASK);
                    secret.len()
                }
                None => {
                    filtered.push(c);
                    c.len_utf8()
                }
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        filtered
    }
}

/// Decodes standard base64 that is text; anything else is `None`.
fn decode_base64(text: &str) -> Option<String> {
    let digits = text.trim_end_matches('=');
    if digits.len() < SHORTEST_HUNTED {
        return None;
    }
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in digits.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|decoded| !decoded.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> (String, Filter) {
        let secrets = Secrets::of(text, Some(&Syntax::parse(text).unwrap()));
        (
            Masked::new(text, &secrets.ranges).text,
            Filter::new([&secrets]),
        )
    }

    #[test]
    fn every_value_of_secret_tables_is_masked_with_one_width() {
        let text = "\
[configs.h.auth]
  username = \"u\"
  password = '''
_json_key
hunter2
''' # kept
[headers]
  X-Secret = [\"a1b2c3\", 'd']
[t]
  password = \"one level too high\"
  auths.\"https://h\".auth = \"dXNlcjpodW50ZXIz\"
  plain = { auth = { identitytoken = \"tok\" }, other = 'x' }
";
        let (shown, filter) = masked(text);
        assert_eq!(
            shown,
            "\
[configs.h.auth]
  username = ********
  password = ********
********
********
******** # kept
[headers]
  X-Secret = [********, ********]
[t]
  password = ********
  auths.\"https://h\".auth = ********
  plain = { auth = { identitytoken = ******** }, other = 'x' }
"
        );
        assert_eq!(
            filter.apply("login user:hunter3 failed for a1b2c3"),
            "login ******** failed for a1b2c3",
            "what a header holds is masked where it stands, but is seldom a secret elsewhere"
        );
    }

    #[test]
    fn comments_and_urls_are_masked() {
        let (shown, _) = masked(
            "# password: swordfish # x\n# my_token = 'abc'\n# see https://u:p@h/x?sig=1 and http://h/y\ne = [\"https://user:pw@m/v2?token=1\", 'https://h']\n# key\n# Author: me\n",
        );
        assert_eq!(
            shown,
            "# password: ********\n# my_token = ********\n# see https://********@h/x?******** and http://h/y\ne = [\"https://********@m/v2?********\", 'https://h']\n# key\n# Author: me\n"
        );
    }

    #[test]
    fn user_info_is_masked_however_it_is_written() {
        let (shown, filter) = masked(
            "\
[mirrors.\"https://ghp_tokenF@quay.io\"]
endpoint = [\"user:sup3rsecretB@m2:5000\", \"https://u:pa,ss'wordA@m1\", 'https://user:s3cretE/x@m4', \"m5\"]
[host.\"https://u:p@ssD/wordD@m4.example\"]
[\"configs\".'https://tokenG@h'.tls]
image = \"registry.k8s.io/pause@sha256:abc\"
api_key = \"k3yk3yk3y\"
passwd = \"x\"
key_file = \"/etc/key.pem\"
x_key = true
",
        );
        assert_eq!(
            shown,
            "\
[mirrors.\"https://********@quay.io\"]
endpoint = [\"********@m2:5000\", \"https://********@m1\", 'https://********@m4', \"m5\"]
[host.\"https://********@m4.example\"]
[\"configs\".'https://********@h'.tls]
image = \"registry.k8s.io/pause@sha256:abc\"
api_key = ********
passwd = ********
key_file = \"/etc/key.pem\"
x_key = true
"
        );
        let said = filter.apply("ghp_tokenF, sup3rsecretB, s3cretE, wordD, k3yk3yk3y, user");
        assert_eq!(
            said,
            "********, ********, ********, ********, ********, user"
        );
    }

    #[test]
    fn header_values_do_not_blot_out_the_rest() {
        let (_, filter) = masked(
            "[headers]\nX-Forwarded-Proto = [\"https\"]\nX-Cache = [\"true\"]\nAuthorization = [\"Bearer abcdefgh\"]\n",
        );
        assert_eq!(
            filter.apply("https://m true abcdefgh"),
            "https://m true ********"
        );
    }

    #[test]
    fn of_text_that_is_not_understood_every_value_is_masked() {
        let text = "\
# a comment
[host.\"https://m\".header]
  X-Foo = \"hunter2
  X-Bar = [
    \"hunter3\",
  [\"hunter4\"]
aHVudGVy==
other = 1
";
        let secrets = Secrets::of(text, None);
        assert_eq!(
            Masked::new(text, &secrets.ranges).text,
            "\
# a comment
[host.\"https://m\".header]
  X-Foo = ********
  X-Bar = ********
    ********
  ********
********
other = ********
"
        );
    }

    #[test]
    fn words_that_a_secret_follows_are_known() {
        let (shown, _) = masked(
            "# curl -u admin:hunter2 -H 'Authorization: Bearer eyJhbGciOi' https://m\n# use Bearer eyJhbGciOi, apikey a1b2c3d4e5\n# the key is elsewhere, the token expired-yesterday\n# Basic authentication is off\n# docker login -u bob -p hunter2xyz quay.io; the robot password is hunter2\n# PASSWORD \"S3cre\", docker run -p 5000:5000 --token abc\n# the password is in the vault\n",
        );
        assert_eq!(
            shown,
            "# curl -u ******** -H 'Authorization: ********\n# use Bearer ******** apikey ********\n# the key is elsewhere, the token expired-yesterday\n# Basic authentication is off\n# docker login -u bob -p ******** quay.io; the robot password is ********\n# PASSWORD \"********\", docker run -p 5000:5000 --token ********\n# the password is in the vault\n"
        );
    }

    #[test]
    fn what_stands_where_nothing_belongs_is_masked() {
        let (shown, filter) = masked(
            "\
[plugins.cri.registry.configs.\"m\".auht]
username = \"bob\"
pasword = \"hunter2\"
[plugins.cri.registry.configs.\"m\".tls]
ca_file = \"/ca\"
key_data = \"hunter3\"
[plugins.cri.registry.mirrors.\"m\"]
endpoints = [\"https://u:p@m\"]
endpoint = [\"m:5000\"]
pw = \"hunter4\"
[stream_processors.x]
env = [\"AWS_SECRET_ACCESS_KEY=hunter5\", \"HOME=/root\"]
args = [\"--password\", \"hunter6\", \"--token=hunter7\"]
[configs.x]
mode = \"fast\"
",
        );
        assert_eq!(
            shown,
            "\
[plugins.cri.registry.configs.\"m\".auht]
username = ********
pasword = ********
[plugins.cri.registry.configs.\"m\".tls]
ca_file = \"/ca\"
key_data = ********
[plugins.cri.registry.mirrors.\"m\"]
endpoints = [\"https://********@m\"]
endpoint = [\"m:5000\"]
pw = ********
[stream_processors.x]
env = [********, \"HOME=/root\"]
args = [\"--password\", ********, ********]
[configs.x]
mode = \"fast\"
"
        );
        assert_eq!(
            filter.apply("bob fast"),
            "bob fast",
            "what may be no secret at all is not hunted for"
        );
    }

    #[test]
    fn positions_move_with_the_masks() {
        let text = "a = \"secret\" b";
        let masked = Masked::new(text, std::slice::from_ref(&(4..12)));
        assert_eq!(masked.text, "a = ******** b");
        assert_eq!(
            (masked.position(0, false), masked.position(5, false)),
            (0, 4)
        );
        assert_eq!(
            (masked.position(5, true), masked.position(13, false)),
            (12, 13)
        );
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret("x".to_owned())), MASK);
    }
}
