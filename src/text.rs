//! The content of a file, taken apart once for everything that looks at it: what it is to containerd, the diff, the digest and
//! the excerpts of findings share one parsed text.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use crate::secret::{Secrets, TextKind, known_names};
use crate::toml::mistake::{Mistake, SyntaxError, Written};
use crate::toml::syntax::{Name, Syntax, Table};
use crate::work;

/// The content of a file. Copies share it.
#[derive(Clone, Debug)]
pub enum FileText {
    /// It is TOML.
    Toml(Rc<TomlText>),
    /// It is not.
    Other(Rc<OtherText>),
}

/// A TOML text with what is written in it.
#[derive(Debug)]
pub struct TomlText {
    /// The text, byte for byte.
    pub text: String,
    /// What is written in it.
    pub syntax: Syntax,
    kind: TextKind,
    /// The first byte of each line, once someone asks for the number of one.
    lines: OnceCell<Vec<usize>>,
}

/// Bytes that are not TOML, so that nobody knows what is secret in them.
#[derive(Debug)]
pub struct OtherText {
    bytes: Vec<u8>,
    /// Why they are not.
    pub reason: NotToml,
}

/// Why bytes are not TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotToml {
    /// They are not UTF-8 from this one on.
    NotUtf8(usize),
    /// The text does not parse.
    Invalid(SyntaxError),
}

impl FileText {
    /// Takes the bytes apart.
    pub fn new(bytes: Vec<u8>, kind: TextKind) -> Self {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let reason = NotToml::NotUtf8(error.utf8_error().valid_up_to());
                let bytes = error.into_bytes();
                return Self::Other(Rc::new(OtherText { bytes, reason }));
            }
        };
        match Syntax::parse(&text) {
            Ok(syntax) => Self::Toml(Rc::new(TomlText::new(text, syntax, kind))),
            Err(error) => Self::Other(Rc::new(OtherText {
                bytes: text.into_bytes(),
                reason: NotToml::Invalid(error),
            })),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Toml(toml) => toml.text.as_bytes(),
            Self::Other(other) => &other.bytes,
        }
    }

    /// The number of the line that a byte is in, from one.
    pub fn line(&self, at: usize) -> usize {
        match self {
            Self::Toml(toml) => toml.line(at),
            // Nothing in it has a place but the mistake.
            Self::Other(other) => line_of(&line_starts(&other.bytes), at),
        }
    }

    /// The text, if it is TOML.
    pub fn toml(&self) -> Option<&Rc<TomlText>> {
        match self {
            Self::Toml(toml) => Some(toml),
            Self::Other(_) => None,
        }
    }
}

impl std::fmt::Display for NotToml {
    /// Why, as a phrase.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotUtf8(_) => formatter.write_str("it is not UTF-8"),
            Self::Invalid(error) => {
                let what = match &error.mistake {
                    Mistake::Other { reason, .. } => reason.clone(),
                    Mistake::Twice { .. } => phrase(error),
                };
                write!(formatter, "it is not valid TOML: {what}")
            }
        }
    }
}

/// What is wrong with a text, as a phrase without any value of it.
pub fn phrase(error: &SyntaxError) -> String {
    let shown = |path: &[Name]| known_names(path.iter().map(Name::as_str));
    match &error.mistake {
        Mistake::Twice {
            path,
            first,
            first_line,
            second,
        } => {
            let name = shown(path);
            match (first, second) {
                (Written::Table, Written::Table) => {
                    format!("the table `[{name}]` appears twice, first in line {first_line}")
                }
                (Written::Key, Written::Key) => {
                    format!("the key `{name}` appears twice, first in line {first_line}")
                }
                (Written::Key, Written::Table) => format!(
                    "`{name}` is a key with a value in line {first_line}, and a table `[{name}]` here"
                ),
                (Written::Table, Written::Key) => format!(
                    "`{name}` is a table with a header in line {first_line}, and a key with a value here"
                ),
            }
        }
        Mistake::Other { reason, table } if table.is_empty() => reason.clone(),
        Mistake::Other { reason, table } => format!("in the table `[{}]`: {reason}", shown(table)),
    }
}

/// What to do about it.
pub fn advice(error: &SyntaxError) -> String {
    let line = error.line;
    let advice = match &error.mistake {
        Mistake::Twice {
            first: Written::Table,
            first_line,
            second: Written::Table,
            ..
        } => format!(
            "merge the two: move the keys below line {line} to the table in line {first_line}, and remove line {line}"
        ),
        Mistake::Twice {
            first: Written::Key,
            first_line,
            second: Written::Key,
            ..
        } => format!("keep line {first_line} or line {line}, and remove the other"),
        Mistake::Twice { first_line, .. } => {
            format!("write it in one way, where it is in line {first_line} or in line {line}")
        }
        Mistake::Other { reason, .. } => {
            let mut known = ADVICE.iter();
            let advice = known.find(|(words, _)| reason.contains(words));
            advice
                .map_or("fix the line", |(_, advice)| advice)
                .to_owned()
        }
    };
    match error.nobody_reads {
        true => format!("{advice}; no containerd starts with this file"),
        false => advice,
    }
}

/// What to do about the mistakes that people make, by toml_edit's words for them.
const ADVICE: &[(&str, &str)] = &[
    (
        "invalid unquoted key",
        "put a name that has other characters than letters, digits, `-` and `_` in double quotes, as in \
         `mirrors.\"registry.example:5000\"`",
    ),
    (
        "string values must be quoted",
        "put a string in double quotes; write a boolean as `true` or `false`",
    ),
    ("invalid boolean", "write `true` or `false`"),
    (
        "invalid basic string",
        "close the string with `\"` on its line",
    ),
    (
        "invalid literal string",
        "close the string with `'` on its line",
    ),
    (
        "between array elements",
        "put a comma between the elements, and `]` after the last one",
    ),
    ("unclosed array", "put `]` after the last element"),
    (
        "unclosed table",
        "close the header with `]`, and each quoted name in it with its quote",
    ),
    ("duplicate key", "keep one of the keys that have one name"),
    ("key with no value", "write `key = value`"),
    (
        "unexpected key or value",
        "put each key and each header on a line of its own",
    ),
];

impl PartialEq for FileText {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for FileText {}

/// The first byte of each line.
pub(crate) fn line_starts(text: &[u8]) -> Vec<usize> {
    work::count(text.len());
    let bytes = text.iter().zip(1..);
    let feeds = bytes.filter_map(|(byte, next)| (*byte == b'\n').then_some(next));
    std::iter::once(0).chain(feeds).collect()
}

fn line_of(starts: &[usize], at: usize) -> usize {
    starts.partition_point(|start| *start <= at)
}

impl TomlText {
    fn new(text: String, syntax: Syntax, kind: TextKind) -> Self {
        Self {
            text,
            syntax,
            kind,
            lines: OnceCell::new(),
        }
    }

    /// The number of the line that a byte is in, from one.
    pub fn line(&self, at: usize) -> usize {
        line_of(self.line_starts(), at)
    }

    /// The first byte of each line.
    pub(crate) fn line_starts(&self) -> &[usize] {
        self.lines.get_or_init(|| line_starts(self.text.as_bytes()))
    }

    /// What the text means.
    pub fn tree(&self) -> &Table {
        self.syntax.tree()
    }

    /// What of it is secret.
    pub fn secrets(&self) -> Secrets {
        self.secrets_in([&(0..self.text.len())])
    }

    /// What of some parts is secret. Of what is beside them not all secrets are known.
    pub fn secrets_in<'p>(&self, parts: impl IntoIterator<Item = &'p Range<usize>>) -> Secrets {
        Secrets::of(&self.text, &self.syntax, self.kind, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> (String, String) {
        let error = Syntax::parse(text).unwrap_err();
        (phrase(&error), advice(&error))
    }

    #[test]
    fn what_appears_twice_is_said_with_both_lines_and_what_to_do() {
        for (text, what, help) in [
            (
                "[host.\"h.example\"]\nk = 1\n[host.\"h.example\"]\n",
                "the table `[host.********]` appears twice, first in line 1",
                "merge the two: move the keys below line 3 to the table in line 1, and remove line 3; no containerd \
                 starts with this file",
            ),
            (
                "[debug]\nlevel = 1\nlevel = 2\n",
                "the key `debug.level` appears twice, first in line 2",
                "keep line 2 or line 3, and remove the other; no containerd starts with this file",
            ),
            (
                "host.\"https://u:p@h\" = 1\n[host.\"https://u:p@h\"]\n",
                "`host.********` is a key with a value in line 1, and a table `[host.********]` here",
                "write it in one way, where it is in line 1 or in line 2",
            ),
        ] {
            assert_eq!(said(text), (what.to_owned(), help.to_owned()), "{text}");
        }
    }

    #[test]
    fn for_each_common_mistake_there_is_advice() {
        for text in [
            "[mirrors.h:5000]",
            "k = http://h",
            "k = True",
            "k = \"x\n",
            "k = 'x\n",
            "k = [\"a\" \"b\"]",
            "k = [\"a\"\n",
            "[a\nk = 1",
            "[a.\"b]\nk = 1",
            "k: 1",
            "k = { a = 1, a = 2 }",
            "v = 2 [a]",
        ] {
            let (what, help) = said(text);
            assert!(help != "fix the line", "{text}: {what}: {help}");
        }
    }
}
