//! go-toml 2: what `Unmarshal` takes into a `map[string]any`.
//!
//! 2.2 and 2.3 read TOML 1.0 and the escape `\e`; 2.4 is a new parser with the rest of TOML 1.1. The rules for keys
//! that are written twice are those of `internal/tracker/seen.go`, which 2.4 tightened.

use std::collections::HashMap;
use std::ops::Range;

use super::{DEPTH, Read, is_date, is_float, refuse, two_digits};
use crate::containerd::release::GoToml;

pub(super) fn read(text: &[u8], version: GoToml) -> Read<()> {
    if text.starts_with("\u{feff}".as_bytes()) {
        return refuse(0..3, "a byte order mark");
    }
    Reader {
        text,
        at: 0,
        version,
        seen: Seen::new(version),
    }
    .document()
}

/// One part of a key, decoded.
struct Part {
    name: Vec<u8>,
    range: Range<usize>,
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    version: GoToml,
    seen: Seen,
}

impl Reader<'_> {
    fn document(mut self) -> Read<()> {
        loop {
            self.blanks();
            match self.peek() {
                None => return Ok(()),
                Some(b'#' | b'\n' | b'\r') => {}
                Some(b'[') => self.header()?,
                Some(_) => self.key_and_value(self.seen.current, 0)?,
            }
            self.blanks();
            if self.peek() == Some(b'#') {
                self.comment()?;
            }
            if self.peek().is_some() && !self.line_end()? {
                return self.refuse_here("more on a line behind a value or a header");
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Steps over `mark` if it is next.
    fn skip(&mut self, mark: &[u8]) -> bool {
        let found = self.rest().starts_with(mark);
        if found {
            self.at += mark.len();
        }
        found
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn refuse_here<T>(&self, reason: &'static str) -> Read<T> {
        refuse(self.at..self.at + 1, reason)
    }

    /// Steps over a line end if one is next.
    fn line_end(&mut self) -> Read<bool> {
        if self.skip(b"\n") || self.skip(b"\r\n") {
            return Ok(true);
        }
        if self.peek() == Some(b'\r') {
            return self.refuse_here("a carriage return without a line feed");
        }
        Ok(false)
    }

    fn comment(&mut self) -> Read<()> {
        loop {
            match self.peek() {
                None | Some(b'\n') => return Ok(()),
                Some(b'\r') if self.rest().starts_with(b"\r\n") => return Ok(()),
                Some(_) => self.character()?,
            }
        }
    }

    /// Steps over one character that may stand in a comment or a string.
    fn character(&mut self) -> Read<()> {
        let rest = self.rest();
        let length = match rest.first() {
            Some(b'\r') => {
                return self.refuse_here("a carriage return without a line feed");
            }
            Some(byte) if byte.is_ascii_control() && *byte != b'\t' => {
                return self.refuse_here("a control character");
            }
            Some(byte) if byte.is_ascii() => Some(1),
            _ => (2..=4).find(|length| {
                rest.get(..*length)
                    .is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
            }),
        };
        match length {
            Some(length) => self.at += length,
            None => return self.refuse_here("a byte that is not UTF-8"),
        }
        Ok(())
    }

    fn header(&mut self) -> Read<()> {
        let start = self.at;
        let array = self.skip(b"[[");
        if !array {
            self.skip(b"[");
        }
        self.blanks();
        let parts = self.key()?;
        if !self.skip(if array { b"]]" } else { b"]" }) {
            return refuse(start..self.at, "a header that is not closed");
        }
        self.seen.header(&parts, array)
    }

    fn key_and_value(&mut self, table: usize, depth: u32) -> Read<()> {
        let parts = self.key()?;
        if !self.skip(b"=") {
            return self.refuse_here("a key without `=`");
        }
        self.seen.key(table, &parts)?;
        self.blanks();
        self.value(depth)
    }

    /// The parts of a key and the blanks behind it.
    fn key(&mut self) -> Read<Vec<Part>> {
        let mut parts = Vec::new();
        loop {
            let start = self.at;
            let name = match self.peek() {
                Some(b'"') => self.string(b'"', false)?,
                Some(b'\'') => self.string(b'\'', false)?,
                _ => {
                    while self
                        .peek()
                        .is_some_and(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
                    {
                        self.at += 1;
                    }
                    if self.at == start {
                        return self.refuse_here("something else where a key is expected");
                    }
                    self.text.get(start..self.at).unwrap_or_default().to_vec()
                }
            };
            parts.push(Part {
                name,
                range: start..self.at,
            });
            self.blanks();
            if !self.skip(b".") {
                return Ok(parts);
            }
            self.blanks();
        }
    }

    fn value(&mut self, depth: u32) -> Read<()> {
        if depth > DEPTH {
            return self.refuse_here("values that are nested too deep");
        }
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => {
                let multiline = self.rest().starts_with(&[quote; 3]);
                self.string(quote, multiline).map(|_| ())
            }
            Some(b'[') => self.array(depth),
            Some(b'{') => self.inline_table(depth),
            _ => self.literal(),
        }
    }

    fn array(&mut self, depth: u32) -> Read<()> {
        self.at += 1;
        let mut separated = true;
        loop {
            self.blanks();
            match self.peek() {
                None => return self.refuse_here("an array that is not closed"),
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'#') => self.comment()?,
                Some(b'\n' | b'\r') => {
                    self.line_end()?;
                }
                Some(b',') if separated => {
                    return self.refuse_here("a comma without an element before it");
                }
                Some(b',') => {
                    self.at += 1;
                    separated = true;
                }
                Some(_) if !separated => {
                    return self.refuse_here("elements without a comma between them");
                }
                Some(_) => {
                    self.value(depth + 1)?;
                    separated = false;
                }
            }
        }
    }

    fn inline_table(&mut self, depth: u32) -> Read<()> {
        let lines = self.version >= GoToml::V2_4;
        self.at += 1;
        let table = self.seen.anonymous();
        let (mut separated, mut comma) = (true, None);
        loop {
            self.blanks();
            match self.peek() {
                None => return self.refuse_here("an inline table that is not closed"),
                Some(b'}') => {
                    if let (Some(comma), false) = (comma, lines) {
                        return refuse(comma..comma + 1, "a comma at the end of an inline table");
                    }
                    self.at += 1;
                    return Ok(());
                }
                Some(b'#') if lines => self.comment()?,
                Some(b'#') => return self.refuse_here("a comment in an inline table"),
                Some(b'\n' | b'\r') => {
                    let at = self.at;
                    self.line_end()?;
                    if !lines {
                        return refuse(at..self.at, "a line break in an inline table");
                    }
                }
                Some(b',') if separated => {
                    return self.refuse_here("a comma without an entry before it");
                }
                Some(b',') => {
                    comma = Some(self.at);
                    self.at += 1;
                    separated = true;
                }
                Some(_) if !separated => {
                    return self.refuse_here("entries without a comma between them");
                }
                Some(_) => {
                    self.key_and_value(table, depth + 1)?;
                    (separated, comma) = (false, None);
                }
            }
        }
    }

    /// A string of any of the four kinds, decoded as far as keys need it.
    fn string(&mut self, quote: u8, multiline: bool) -> Read<Vec<u8>> {
        let start = self.at;
        self.at += if multiline { 3 } else { 1 };
        let mut decoded = Vec::new();
        loop {
            let at = self.at;
            match self.peek() {
                None => return refuse(start..at, "a string that is not closed"),
                Some(c) if c == quote => {
                    while self.peek() == Some(quote) && (multiline || self.at == at) {
                        self.at += 1;
                    }
                    match self.at - at {
                        1 if !multiline => return Ok(decoded),
                        1 | 2 => {}
                        // Up to two quotes before the last three belong to the string.
                        3..=5 => return Ok(decoded),
                        _ => {
                            return refuse(at..self.at, "too many quotes at the end of a string");
                        }
                    }
                }
                Some(b'\\') if quote == b'"' => self.escape(multiline, &mut decoded)?,
                Some(b'\n') if !multiline => {
                    return self.refuse_here("a line break in a string of one line");
                }
                Some(b'\n') => self.at += 1,
                Some(b'\r') if multiline && self.rest().starts_with(b"\r\n") => self.at += 2,
                Some(_) => {
                    self.character()?;
                    decoded.extend(self.text.get(at..self.at).unwrap_or_default());
                }
            }
        }
    }

    fn escape(&mut self, multiline: bool, decoded: &mut Vec<u8>) -> Read<()> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.peek() else {
            return Ok(());
        };
        self.at += 1;
        let digits = match c {
            b'"' | b'\\' => {
                decoded.push(c);
                return Ok(());
            }
            b'b' | b'f' | b'n' | b'r' | b't' | b'e' => {
                // The name stands for the character: it is enough to tell keys apart.
                decoded.extend([b'\\', c]);
                return Ok(());
            }
            b'x' if self.version >= GoToml::V2_4 => 2,
            b'u' => 4,
            b'U' => 8,
            b' ' | b'\t' | b'\n' | b'\r' if multiline => {
                self.at -= 1;
                self.blanks();
                if self.line_end()? {
                    return Ok(());
                }
                return refuse(start..self.at, "a backslash before a space");
            }
            _ => return refuse(start..self.at, "an escape sequence that it does not know"),
        };
        let hex = self.rest().get(..digits).unwrap_or_default();
        let character = std::str::from_utf8(hex)
            .ok()
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(char::from_u32);
        match character {
            Some(character) => {
                decoded.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += digits;
                Ok(())
            }
            None => refuse(
                start..self.at + hex.len(),
                "an escape of no Unicode character",
            ),
        }
    }

    /// A boolean, a number or a date.
    fn literal(&mut self) -> Read<()> {
        let start = self.at;
        loop {
            match self.peek() {
                Some(c) if c.is_ascii_alphanumeric() || b"_+-.:".contains(&c) => self.at += 1,
                // The one space that a date and a time may have between them.
                Some(b' ')
                    if self.at - start == 10
                        && self.text.get(start..self.at).is_some_and(is_date)
                        && self.rest().get(1).is_some_and(u8::is_ascii_digit) =>
                {
                    self.at += 1;
                }
                _ => break,
            }
        }
        let range = start..self.at;
        match self.text.get(range.clone()).unwrap_or_default() {
            [] => self.refuse_here("a key or a comma without a value"),
            b"true" | b"false" => Ok(()),
            token => match number_or_date(token, self.version) {
                Ok(()) => Ok(()),
                Err(reason) => refuse(range, reason),
            },
        }
    }
}

fn number_or_date(token: &[u8], version: GoToml) -> Result<(), &'static str> {
    const NEITHER: &str = "neither a number nor a date nor a boolean";
    if token.get(2) == Some(&b':') || token.get(4) == Some(&b'-') {
        return date_or_time(token, version);
    }
    let text = std::str::from_utf8(token).unwrap_or_default();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, "inf" | "nan") {
        return Ok(());
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            if !are_digits(digits, radix) {
                return Err(NEITHER);
            }
            return integer(digits, radix);
        }
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let valid = [Some(whole), fraction, exponent]
        .iter()
        .flatten()
        .all(|digits| are_digits(digits, 10));
    if !valid {
        return Err(NEITHER);
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Err("a number that begins with zero");
    }
    if fraction.is_none() && exponent.is_none() {
        integer(text, 10)
    } else if is_float(&text.replace('_', "")) {
        Ok(())
    } else {
        Err("a number that is too large")
    }
}

fn integer(digits: &str, radix: u32) -> Result<(), &'static str> {
    match i64::from_str_radix(&digits.replace('_', ""), radix) {
        Ok(_) => Ok(()),
        Err(_) => Err("an integer that does not fit into 64 bits"),
    }
}

/// Digits with underscores, each of them between two digits.
fn are_digits(text: &str, radix: u32) -> bool {
    text.split('_')
        .all(|run| !run.is_empty() && run.chars().all(|c| c.is_digit(radix)))
}

fn date_or_time(token: &[u8], version: GoToml) -> Result<(), &'static str> {
    const NO_DATE: &str = "a date or a time that there is not";
    let (time, dated) = match token.split_at_checked(10) {
        Some((date, time)) if is_date(date) => (time, true),
        _ => (token, false),
    };
    let time = match time {
        [] => return Ok(()),
        [b'T' | b't' | b' ', time @ ..] if dated => time,
        _ if dated => return Err(NO_DATE),
        _ => time,
    };
    let [h1, h2, b':', m1, m2, rest @ ..] = time else {
        return Err(NO_DATE);
    };
    let below = |tens, ones, limit| two_digits(tens, ones).is_some_and(|number| number < limit);
    if !below(*h1, *h2, 24) || !below(*m1, *m2, 60) {
        return Err(NO_DATE);
    }
    let rest = match rest {
        [b':', s1, s2, rest @ ..] => {
            // 2.2 knows leap seconds (`decode.go`, "seconds cannot be greater 60").
            if !below(*s1, *s2, if version == GoToml::V2_2 { 61 } else { 60 }) {
                return Err(NO_DATE);
            }
            match rest {
                [b'.', fraction @ ..] => {
                    let digits = fraction
                        .iter()
                        .take_while(|digit| digit.is_ascii_digit())
                        .count();
                    if digits == 0 {
                        return Err(NO_DATE);
                    }
                    fraction.get(digits..).unwrap_or_default()
                }
                _ => rest,
            }
        }
        rest if version >= GoToml::V2_4 => rest,
        _ => return Err("a time without seconds"),
    };
    match rest {
        [] => Ok(()),
        [b'Z' | b'z'] if dated => Ok(()),
        [b'+' | b'-', h1, h2, b':', m1, m2]
            if dated && below(*h1, *h2, 24) && below(*m1, *m2, 60) =>
        {
            Ok(())
        }
        _ => Err(NO_DATE),
    }
}

/// What a name was first used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    /// By a header: its own one, or only one of a table below it.
    Table {
        own_header: bool,
    },
    /// By a dotted key in the section with this number.
    Dotted {
        section: usize,
    },
    ArrayOfTables,
}

struct Name {
    kind: Kind,
    children: HashMap<Vec<u8>, usize>,
}

/// The names that were used so far.
struct Seen {
    version: GoToml,
    names: Vec<Name>,
    /// The table of the last header.
    current: usize,
    /// How many headers there were.
    section: usize,
}

const TWICE: &str = "a key that is there already";

impl Seen {
    fn new(version: GoToml) -> Self {
        let mut seen = Self {
            version,
            names: Vec::new(),
            current: 0,
            section: 0,
        };
        seen.anonymous();
        seen
    }

    fn add(&mut self, kind: Kind) -> usize {
        self.names.push(Name {
            kind,
            children: HashMap::new(),
        });
        self.names.len() - 1
    }

    /// A table that no name leads to: the document, or an inline table, whose keys are its own business.
    fn anonymous(&mut self) -> usize {
        self.add(Kind::Table { own_header: true })
    }

    /// What `name` in `parent` was used for before; if it is new, it is taken down as a `kind`.
    fn use_as(&mut self, parent: usize, name: &[u8], kind: Kind) -> (usize, Option<Kind>) {
        let known = self
            .names
            .get(parent)
            .and_then(|parent| parent.children.get(name))
            .copied();
        if let Some(index) = known {
            return (index, self.names.get(index).map(|name| name.kind));
        }
        let index = self.add(kind);
        if let Some(parent) = self.names.get_mut(parent) {
            parent.children.insert(name.to_vec(), index);
        }
        (index, None)
    }

    fn header(&mut self, parts: &[Part], array: bool) -> Read<()> {
        self.section += 1;
        let Some((last, parents)) = parts.split_last() else {
            return Ok(());
        };
        let mut table = 0;
        for part in parents {
            let (index, before) = self.use_as(table, &part.name, Kind::Table { own_header: false });
            if before == Some(Kind::Value) {
                return refuse(part.range.clone(), "a header below a key that has a value");
            }
            table = index;
        }
        let kind = if array {
            Kind::ArrayOfTables
        } else {
            Kind::Table { own_header: true }
        };
        let (index, before) = self.use_as(table, &last.name, kind);
        match before {
            None => {}
            Some(Kind::ArrayOfTables) if array => {
                if let Some(name) = self.names.get_mut(index) {
                    name.children.clear();
                }
            }
            Some(Kind::Table { own_header: false }) if !array => {
                if let Some(name) = self.names.get_mut(index) {
                    name.kind = kind;
                }
            }
            Some(Kind::Table { .. } | Kind::Dotted { .. }) => {
                return refuse(last.range.clone(), "a table that is there already");
            }
            Some(_) => return refuse(last.range.clone(), TWICE),
        }
        self.current = index;
        Ok(())
    }

    fn key(&mut self, table: usize, parts: &[Part]) -> Read<()> {
        let Some((last, parents)) = parts.split_last() else {
            return Ok(());
        };
        let section = self.section;
        let mut table = table;
        for part in parents {
            let (index, before) = self.use_as(table, &part.name, Kind::Dotted { section });
            let allowed = match before {
                None => true,
                Some(Kind::Dotted { section: before }) => before == section,
                // A table that has no header of its own yet: 2.4 is the first to refuse it, as TOML does.
                Some(Kind::Table { own_header }) => !own_header && self.version < GoToml::V2_4,
                Some(Kind::Value | Kind::ArrayOfTables) => false,
            };
            if !allowed {
                return refuse(
                    part.range.clone(),
                    "a dotted key into a table that is there already",
                );
            }
            table = index;
        }
        match self.use_as(table, &last.name, Kind::Value) {
            (_, None) => Ok(()),
            (_, Some(_)) => refuse(last.range.clone(), TWICE),
        }
    }
}
