//! What must not be shown: where the secrets of a text are, and a filter for everything that leaves the process.
//!
//! Masks have one fixed width and keep line ends, so that masked texts can be compared and digested and say nothing
//! about a secret, not even its length. This module prints nothing.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use crate::config::syntax::{Entry, Syntax, Value, ValueKind};

/// What stands where a secret stood.
pub const MASK: &str = "********";

/// A text that cannot print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// Tables all of whose values are secret, wherever they stand.
const SECRET_TABLES: &[&str] = &["auth", "auths", "header", "headers"];
/// Keys whose value is secret in any table: credentials that somebody put one level too high.
const SECRET_KEYS: &[&str] = &[
    "auth",
    "identity_token",
    "identitytoken",
    "password",
    "registry_token",
    "registrytoken",
    "secret",
    "token",
];
/// The key below a secret table whose value is masked in place but is no secret to look for elsewhere: half of the
/// world is called admin.
const USER_NAME: &str = "username";
/// In comments and in text that is not understood: what follows a word with one of these ends and `=` or `:`.
const SECRET_WORDS: &[&str] = &[
    "auth",
    "authorization",
    "credential",
    "credentials",
    "key",
    "passwd",
    "password",
    "secret",
    "token",
];
/// A shorter value is masked where it stands, but not hunted for in other text.
const SHORTEST_HUNTED: usize = 4;

/// The secrets of one text.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The ranges to mask, in order, not overlapping.
    pub ranges: Vec<Range<usize>>,
    /// The values themselves, and what their base64 decodes to.
    values: Vec<Secret>,
}

impl Secrets {
    /// Finds the secrets of a TOML text; with `None` for its syntax every line is treated as one that is not
    /// understood.
    pub fn of(text: &str, syntax: Option<&Syntax>) -> Self {
        let mut secrets = Self::default();
        match syntax {
            Some(syntax) => {
                for section in &syntax.sections {
                    let keys = section.header.iter().flat_map(|header| &header.keys);
                    let secret = keys
                        .into_iter()
                        .any(|key| is_one_of(&key.name, SECRET_TABLES));
                    secrets.entries(&section.entries, secret);
                }
                for comment in &syntax.comments {
                    secrets.words(text, comment.clone());
                }
            }
            None => {
                let mut start = 0;
                for line in text.split_inclusive('\n') {
                    secrets.words(text, start..start + line.trim_end().len());
                    start += line.len();
                }
            }
        }
        secrets.urls(text);
        secrets.merge();
        secrets
    }

    /// Finds the secrets of a text that may be TOML or not.
    pub fn of_text(text: &str) -> Self {
        Self::of(text, Syntax::parse(text).ok().as_ref())
    }

    fn entries(&mut self, entries: &[Entry], in_secret_table: bool) {
        for entry in entries {
            let Some((last, parents)) = entry.keys.split_last() else {
                continue;
            };
            let is_table = matches!(entry.value.kind, ValueKind::Table(_));
            let secret = in_secret_table
                || parents
                    .iter()
                    .any(|key| is_one_of(&key.name, SECRET_TABLES))
                || (is_table && is_one_of(&last.name, SECRET_TABLES))
                || (!is_table && is_one_of(&last.name, SECRET_KEYS));
            let hunted = !last.name.eq_ignore_ascii_case(USER_NAME);
            self.value(&entry.value, secret, hunted);
        }
    }

    fn value(&mut self, value: &Value, secret: bool, hunted: bool) {
        match &value.kind {
            ValueKind::Table(entries) => self.entries(entries, secret),
            _ if !secret => {}
            ValueKind::Array(elements) => {
                for element in elements {
                    self.value(element, true, hunted);
                }
            }
            ValueKind::String(text) if text.is_empty() => {}
            kind => {
                self.ranges.push(value.range.clone());
                if let (ValueKind::String(text), true) = (kind, hunted) {
                    self.hunt(text);
                }
            }
        }
    }

    fn hunt(&mut self, text: &str) {
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

    /// Masks what follows a secret word and `=` or `:` up to the end of `range`.
    fn words(&mut self, text: &str, range: Range<usize>) {
        let Some(line) = text.get(range.clone()) else {
            return;
        };
        for (at, _) in line.match_indices(['=', ':']) {
            let before = line
                .get(..at)
                .unwrap_or_default()
                .trim_end()
                .trim_end_matches(['"', '\'']);
            let word_start = before
                .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
                .map_or(0, |index| index + 1);
            let word = before
                .get(word_start..)
                .unwrap_or_default()
                .to_ascii_lowercase();
            let value = line.get(at + 1..).unwrap_or_default();
            let shown = value.trim();
            // A URL's `://` follows no secret word, and nothing is masked where nothing stands.
            if SECRET_WORDS.iter().any(|secret| word.ends_with(secret)) && !shown.is_empty() {
                let start = range.start + at + 1 + (value.len() - value.trim_start().len());
                // It is not hunted for elsewhere: `# key: /etc/ssl/m.key` must not mask the path of a setting.
                self.ranges.push(start..start + shown.len());
                return;
            }
        }
    }

    /// Masks user info and queries of URLs, wherever they stand.
    fn urls(&mut self, text: &str) {
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>`,".contains(c);
        for (at, separator) in text.match_indices("://") {
            let start = at + separator.len();
            let Some(rest) = text.get(start..) else {
                continue;
            };
            let url = rest.split(ends).next().unwrap_or_default();
            let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
            if let Some(user_info) = authority.rfind('@').filter(|end| *end > 0) {
                self.ranges.push(start..start + user_info);
                if let Some((_, password)) = authority.split_at(user_info).0.split_once(':') {
                    self.hunt(password);
                }
            }
            if let Some((before, query)) = url.split_once('?')
                && !query.is_empty()
            {
                let start = start + before.len() + 1;
                self.ranges.push(start..start + query.len());
            }
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
            values.sort_by_key(|value| std::cmp::Reverse(value.len()));
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
            "login ******** failed for ********"
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
    fn text_that_is_not_understood_is_masked_by_words() {
        let text = "password = \"hunter2\nother = 1\n";
        let secrets = Secrets::of(text, None);
        assert_eq!(
            Masked::new(text, &secrets.ranges).text,
            "password = ********\nother = 1\n"
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
