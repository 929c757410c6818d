//! The content of a file, taken apart once for everything that looks at it: what it is to containerd, the diff, the digest and
//! the excerpts of findings share one parsed text.

use std::ops::Range;
use std::rc::Rc;

use crate::secret::{Secrets, TextKind};
use crate::toml::syntax::{Syntax, SyntaxError, Table};

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
            Ok(syntax) => Self::Toml(Rc::new(TomlText { text, syntax, kind })),
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
            Self::Invalid(error) => write!(formatter, "it is not valid TOML: {}", error.message),
        }
    }
}

impl PartialEq for FileText {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for FileText {}

impl TomlText {
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
