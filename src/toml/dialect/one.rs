//! go-toml 1.9.5: what `LoadBytes` takes.
//!
//! It is a lexer without much of a grammar, whose two states are a place for a key and a place for a value, and a
//! parser over its tokens. The states leak: what is on a line of its own, what a header may hold and how a key is cut
//! into parts all follow from them, so they are kept as they are.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{DEPTH, Read, Refusal, is_date, is_float, refuse, two_digits};

pub(super) fn read(text: &[u8]) -> Read<()> {
    // `LoadBytes` skips the marks of all encodings, and then reads UTF-8.
    let marks: [&[u8]; 5] = [
        b"\0\0\xfe\xff",
        b"\xff\xfe\0\0",
        b"\xef\xbb\xbf",
        b"\xfe\xff",
        b"\xff\xfe",
    ];
    let mark = marks
        .iter()
        .find(|mark| text.starts_with(mark))
        .map_or(0, |mark| mark.len());
    let mut lexer = Lexer {
        characters: characters(text, mark),
        end: text.len(),
        at: 0,
        brackets: Vec::new(),
        tokens: Vec::new(),
    };
    // The parser meets every token, so it stops at the lexer's error if at nothing before it.
    let error = lexer.run().err();
    Parser {
        tokens: lexer.tokens.into_iter().peekable(),
        error,
        end: text.len(),
        nodes: vec![Node::table(false)],
        table: Vec::new(),
        headers: HashSet::new(),
    }
    .document()
}

/// The characters with their places; each byte that is not UTF-8 becomes one replacement character, as in Go.
fn characters(text: &[u8], start: usize) -> Vec<(usize, char)> {
    let mut characters = Vec::with_capacity(text.len());
    let mut at = start;
    for chunk in text.get(start..).unwrap_or_default().utf8_chunks() {
        for c in chunk.valid().chars() {
            characters.push((at, c));
            at += c.len_utf8();
        }
        for _ in chunk.invalid() {
            characters.push((at, char::REPLACEMENT_CHARACTER));
            at += 1;
        }
    }
    characters
}

struct Token {
    kind: TokenKind,
    range: Range<usize>,
}

enum TokenKind {
    /// `[` of a header or an array.
    Open,
    /// `[[`.
    OpenTwice,
    /// What stands between the brackets of a header, as written.
    Header(String),
    /// `]`.
    Close,
    /// `]]`.
    CloseTwice,
    /// A whole key; its strings are decoded and in their quotes.
    Key(String),
    Equals,
    Comma,
    OpenCurly,
    CloseCurly,
    /// A string, a boolean or a number.
    Scalar,
    Date,
    Time,
    Offset,
}

#[derive(Clone, Copy)]
enum State {
    Key,
    Value,
}

struct Lexer {
    characters: Vec<(usize, char)>,
    end: usize,
    at: usize,
    brackets: Vec<char>,
    tokens: Vec<Token>,
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

impl Lexer {
    fn run(&mut self) -> Read<()> {
        let mut state = Some(State::Key);
        while let Some(next) = state {
            state = match next {
                State::Key => self.before_key()?,
                State::Value => self.before_value()?,
            };
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).map(|(_, c)| *c)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn follows(&self, text: &str) -> bool {
        let mut characters = self
            .characters
            .get(self.at..)
            .unwrap_or_default()
            .iter()
            .map(|(_, c)| *c);
        text.chars().all(|c| characters.next() == Some(c))
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.follows(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn offset(&self, at: usize) -> usize {
        self.characters
            .get(at)
            .map_or(self.end, |(offset, _)| *offset)
    }

    fn range(&self, start: usize) -> Range<usize> {
        self.offset(start)..self.offset(self.at)
    }

    fn text(&self, start: usize) -> String {
        self.characters
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .map(|(_, c)| c)
            .collect()
    }

    fn emit(&mut self, kind: TokenKind, start: usize) {
        let range = self.range(start);
        self.tokens.push(Token { kind, range });
    }

    fn refuse<T>(&self, start: usize, reason: &'static str) -> Read<T> {
        refuse(self.range(start), reason)
    }

    fn refuse_here<T>(&self, reason: &'static str) -> Read<T> {
        refuse(self.offset(self.at)..self.offset(self.at + 1), reason)
    }

    fn before_key(&mut self) -> Read<Option<State>> {
        loop {
            let start = self.at;
            match self.peek() {
                None => return Ok(None),
                Some('\r' | '\n' | ' ' | '\t') => self.at += 1,
                Some('#') => self.comment(),
                Some('}') => return self.close_curly(),
                Some('[') => return self.header(),
                Some('=') => {
                    self.at += 1;
                    self.emit(TokenKind::Equals, start);
                    return Ok(Some(State::Value));
                }
                Some(_) => return self.key(),
            }
        }
    }

    fn before_value(&mut self) -> Read<Option<State>> {
        loop {
            let start = self.at;
            let Some(c) = self.peek() else {
                return Ok(None);
            };
            match c {
                ' ' | '\t' => self.at += 1,
                '#' => self.comment(),
                '\r' | '\n' => {
                    self.at += 1;
                    if self.brackets.last() != Some(&'[') {
                        return Ok(Some(State::Key));
                    }
                }
                '=' => {
                    self.at += 1;
                    self.emit(TokenKind::Equals, start);
                }
                '[' => {
                    self.at += 1;
                    self.emit(TokenKind::Open, start);
                    self.brackets.push('[');
                }
                ']' => {
                    self.at += 1;
                    self.emit(TokenKind::Close, start);
                    if self.brackets.pop() != Some('[') {
                        return self.refuse(start, "`]` without its `[`");
                    }
                }
                '{' => {
                    self.at += 1;
                    self.emit(TokenKind::OpenCurly, start);
                    self.brackets.push('{');
                    return Ok(Some(State::Key));
                }
                '}' => return self.close_curly(),
                ',' => {
                    self.at += 1;
                    self.emit(TokenKind::Comma, start);
                    if self.brackets.last() == Some(&'{') {
                        return Ok(Some(State::Key));
                    }
                }
                '"' => {
                    self.at += 1;
                    let multiline = self.skip("\"\"");
                    self.basic_string(if multiline { "\"\"\"" } else { "\"" }, multiline)?;
                    self.emit(TokenKind::Scalar, start);
                }
                '\'' => {
                    self.at += 1;
                    let multiline = self.skip("''");
                    self.literal_string(if multiline { "'''" } else { "'" })?;
                    self.emit(TokenKind::Scalar, start);
                }
                '+' | '-' => self.number()?,
                _ if ["true", "false", "inf", "nan"]
                    .iter()
                    .any(|word| self.skip(word)) =>
                {
                    self.emit(TokenKind::Scalar, start);
                }
                '0'..='9' => match self.date_or_number().as_slice() {
                    [_, _, ':'] => self.time()?,
                    [_, _, _, _, '-'] => self.date()?,
                    _ => self.number()?,
                },
                _ => return self.refuse_here("something that no value begins with"),
            }
        }
    }

    fn comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') && !self.follows("\r\n") {
            self.at += 1;
        }
    }

    fn close_curly(&mut self) -> Read<Option<State>> {
        let start = self.at;
        self.at += 1;
        self.emit(TokenKind::CloseCurly, start);
        if self.brackets.pop() != Some('{') {
            return self.refuse(start, "`}` without its `{`");
        }
        Ok(Some(State::Value))
    }

    /// A header ends at the first `]`, also at one in quotes.
    fn header(&mut self) -> Read<Option<State>> {
        let start = self.at;
        let twice = self.skip("[[");
        if !twice {
            self.at += 1;
        }
        self.emit(
            if twice {
                TokenKind::OpenTwice
            } else {
                TokenKind::Open
            },
            start,
        );
        let name = self.at;
        loop {
            match self.peek() {
                None => return self.refuse(start, "a header that is not closed"),
                Some('[') => return self.refuse_here("`[` in a header"),
                Some(']') => break,
                Some(_) => self.at += 1,
            }
        }
        if self.at > name {
            self.emit(TokenKind::Header(self.text(name)), name);
        }
        let close = self.at;
        if !self.skip(if twice { "]]" } else { "]" }) {
            return self.refuse_here("`]` in a header");
        }
        self.emit(
            if twice {
                TokenKind::CloseTwice
            } else {
                TokenKind::Close
            },
            close,
        );
        Ok(Some(State::Key))
    }

    fn key(&mut self) -> Read<Option<State>> {
        let start = self.at;
        let mut key = String::new();
        while let Some(c) = self.peek() {
            match c {
                '=' => break,
                '"' => {
                    self.at += 1;
                    let name = self.basic_string("\"", true)?;
                    key.push('"');
                    key.push_str(&name);
                    key.push('"');
                }
                '\'' => {
                    self.at += 1;
                    let name = self.literal_string("'")?;
                    key.push('\'');
                    key.push_str(&name);
                    key.push('\'');
                }
                '\n' => return self.refuse_here("a line break in a key"),
                c if is_space(c) => {
                    let spaces = self.at;
                    self.spaces();
                    if self.peek() != Some('.') {
                        break;
                    }
                    self.at += 1;
                    self.spaces();
                    key.push_str(&self.text(spaces));
                }
                c if c == '.' || is_bare(c) => {
                    key.push(c);
                    self.at += 1;
                }
                _ => return self.refuse_here("something that no key has"),
            }
        }
        self.emit(TokenKind::Key(key), start);
        Ok(Some(State::Key))
    }

    /// Steps over a literal string behind its first quotes; it may have line breaks.
    fn literal_string(&mut self, quotes: &str) -> Read<String> {
        let start = self.at;
        let mut decoded = String::new();
        while !self.skip(quotes) {
            match self.next() {
                Some(c) => decoded.push(c),
                None => return self.refuse(start, "a string that is not closed"),
            }
        }
        Ok(decoded)
    }

    /// Steps over a basic string behind its first quotes.
    fn basic_string(&mut self, quotes: &str, line_breaks: bool) -> Read<String> {
        let start = self.at;
        let mut decoded = String::new();
        if quotes.len() == 3 && !self.skip("\r\n") {
            self.skip("\n");
        }
        loop {
            if self.skip(quotes) {
                return Ok(decoded);
            }
            let at = self.at;
            match self.next() {
                Some('\\') => {
                    if let Some(c) = self.escape(at)? {
                        decoded.push(c);
                    }
                }
                Some(c @ ('\r' | '\n')) if line_breaks => decoded.push(c),
                Some(c) if c < ' ' && c != '\t' => {
                    return self.refuse(at, "a control character or a line break in a string");
                }
                Some(c) => decoded.push(c),
                None => return self.refuse(start, "a string that is not closed"),
            }
        }
    }

    /// The character behind a backslash; a backslash also takes all white space behind it away, in any string.
    fn escape(&mut self, start: usize) -> Read<Option<char>> {
        let digits = match self.peek() {
            Some('\r' | '\n' | '\t' | ' ') => {
                while matches!(self.peek(), Some('\r' | '\n' | '\t' | ' ')) {
                    self.at += 1;
                }
                return Ok(None);
            }
            Some(c @ ('"' | '/' | '\\')) => {
                self.at += 1;
                return Ok(Some(c));
            }
            Some('n' | 'b' | 'f' | 't' | 'r') => {
                let c = self.next();
                return Ok(match c {
                    Some('n') => Some('\n'),
                    Some('b') => Some('\u{8}'),
                    Some('f') => Some('\u{c}'),
                    Some('t') => Some('\t'),
                    _ => Some('\r'),
                });
            }
            Some('u') => 4,
            Some('U') => 8,
            _ => {
                return refuse(
                    self.offset(start)..self.offset(self.at + 1),
                    "an escape sequence that it does not know",
                );
            }
        };
        self.at += 1;
        let mut code = 0;
        for _ in 0..digits {
            match self.peek().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code << 4 | digit,
                None => return self.refuse(start, "an escape with too few digits"),
            }
            self.at += 1;
        }
        // Halves of pairs and numbers of no character become the replacement character.
        Ok(Some(
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
        ))
    }

    /// The characters up to the one that decides what a value with digits is.
    fn date_or_number(&self) -> Vec<char> {
        let mut characters = Vec::new();
        for (_, c) in self
            .characters
            .get(self.at..)
            .unwrap_or_default()
            .iter()
            .take(5)
        {
            characters.push(*c);
            if !c.is_ascii_digit() {
                break;
            }
        }
        characters
    }

    fn number(&mut self) -> Read<()> {
        let start = self.at;
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if self.skip(prefix) {
                let digits = self.at;
                while self.peek().is_some_and(|c| c == '_' || c.is_digit(radix)) {
                    self.at += 1;
                }
                // An underscore stands behind a digit, which the `x` is not, and before something.
                let text = self.text(digits);
                if !underscores_behind_digits(&text, radix)
                    || u64::from_str_radix(&text.replace('_', ""), radix).is_err()
                {
                    return self.refuse(start, "no number of 64 bits");
                }
                self.emit(TokenKind::Scalar, start);
                return Ok(());
            }
        }
        if self.skip("0") {
            if self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
                return self.refuse(start, "a number with a base that there is not");
            }
            self.at = start;
        }
        if matches!(self.peek(), Some('+' | '-')) {
            self.at += 1;
            if self.skip("inf") || self.skip("nan") {
                self.emit(TokenKind::Scalar, start);
                return Ok(());
            }
        }
        let (mut point, mut float, mut digit) = (false, false, false);
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.at += 1;
                    if point || !digit || !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                        return self.refuse(start, "no number");
                    }
                    (point, float) = (true, true);
                }
                'e' | 'E' => {
                    float = true;
                    self.at += 1;
                    if matches!(self.peek(), Some('+' | '-')) {
                        self.at += 1;
                    }
                }
                '0'..='9' => {
                    digit = true;
                    self.at += 1;
                }
                '_' => self.at += 1,
                _ => break,
            }
        }
        let text = self.text(start);
        let plain = text.replace('_', "");
        // Zeros in front are refused from three digits on, and only without a sign.
        let leading_zero = !float && plain.len() >= 3 && plain.starts_with('0');
        let in_range = if float {
            is_float(&plain)
        } else {
            plain.parse::<i64>().is_ok() || !plain.starts_with('+') && plain.parse::<u64>().is_ok()
        };
        if !digit || leading_zero || !in_range || !underscores_behind_digits(&text, 10) {
            return self.refuse(start, "no number of 64 bits");
        }
        self.emit(TokenKind::Scalar, start);
        Ok(())
    }

    fn digit_pair(&mut self, start: usize) -> Read<u8> {
        let pair = (self.next(), self.next());
        let digit = |c: Option<char>| c.and_then(|c| u8::try_from(c).ok()).unwrap_or_default();
        match two_digits(digit(pair.0), digit(pair.1)) {
            Some(number) => Ok(number),
            None => self.refuse(start, "no date or time"),
        }
    }

    fn date(&mut self) -> Read<()> {
        let start = self.at;
        self.at = self.characters.len().min(start + 10);
        if !is_date(self.text(start).as_bytes()) {
            return self.refuse(start, "no date");
        }
        self.emit(TokenKind::Date, start);
        match self.peek() {
            None => return Ok(()),
            // Two digits behind the space make it a time; anything else is somebody else's.
            Some(' ') => {
                let digits = self.characters.get(self.at + 1..self.at + 3);
                if !digits.is_some_and(|pair| pair.iter().all(|(_, c)| c.is_ascii_digit())) {
                    return Ok(());
                }
            }
            Some('T') => {}
            Some(_) => return self.refuse_here("a date that neither a space nor a time follows"),
        }
        self.at += 1;
        self.time()?;
        let offset = self.at;
        match self.peek() {
            Some('Z') => self.at += 1,
            Some('+' | '-') => {
                self.at += 1;
                let hours = self.digit_pair(offset)?;
                let colon = self.skip(":");
                if self.digit_pair(offset)? > 60 || !colon || hours > 24 {
                    return self.refuse(offset, "no offset of a time");
                }
            }
            _ => return Ok(()),
        }
        self.emit(TokenKind::Offset, offset);
        Ok(())
    }

    fn time(&mut self) -> Read<()> {
        let start = self.at;
        let hour = self.digit_pair(start)?;
        if !self.skip(":") {
            return self.refuse(start, "no time");
        }
        let minute = self.digit_pair(start)?;
        if !self.skip(":") {
            return self.refuse(start, "a time without seconds");
        }
        let second = self.digit_pair(start)?;
        if self.skip(".") {
            let fraction = self.at;
            while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
            }
            if self.at == fraction {
                return self.refuse(start, "no time");
            }
        }
        if hour > 23 || minute > 59 || second > 59 {
            return self.refuse(start, "a time that there is not");
        }
        self.emit(TokenKind::Time, start);
        Ok(())
    }
}

/// Whether each underscore has a digit before it and anything behind it.
fn underscores_behind_digits(text: &str, radix: u32) -> bool {
    let mut behind_digit = false;
    for c in text.chars() {
        if c == '_' && !behind_digit {
            return false;
        }
        behind_digit = c.is_digit(radix);
    }
    !text.ends_with('_')
}

/// Cuts a key into its parts. Escapes are not decoded here: those of a header never are.
fn parts(key: &str) -> Result<Vec<String>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = key.trim_start_matches(is_space);
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        if is_bare(c) {
            let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            parts.push(name.to_owned());
            let next = tail.trim_start_matches(is_space);
            if !next.is_empty() && !next.starts_with('.') {
                return Err("a key with something in it that a bare key has not");
            }
            rest = next;
        } else if c == '"' || c == '\'' {
            let Some((name, tail)) = tail.split_once(c) else {
                return Err("a quoted key that is not closed");
            };
            parts.push(name.to_owned());
            rest = tail;
        } else if c == '.' {
            if !tail.starts_with(|c| is_bare(c) || matches!(c, '\'' | '"' | ' ')) {
                return Err("a dot without a key behind it");
            }
            rest = tail;
        } else {
            return Err("a key with something in it that a bare key has not");
        }
        rest = rest.trim_start_matches(is_space);
    }
    if parts.is_empty() {
        return Err("an empty key");
    }
    Ok(parts)
}

/// Something in the tree, by its number.
enum Node {
    Table {
        /// Whether it is closed to headers and dotted keys.
        inline: bool,
        children: HashMap<String, usize>,
    },
    /// An array of tables, however it is written.
    Tables(Vec<usize>),
    Value,
}

impl Node {
    fn table(inline: bool) -> Self {
        Self::Table {
            inline,
            children: HashMap::new(),
        }
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// Why the tokens end before the text does.
    error: Option<Refusal>,
    end: usize,
    nodes: Vec<Node>,
    /// The parts of the last header.
    table: Vec<String>,
    /// The headers as they are written: only these are compared, so other quotes make another table.
    headers: HashSet<String>,
}

const UNEXPECTED: &str = "something else than a key, a header or a value where one is expected";

impl Parser {
    fn document(mut self) -> Read<()> {
        while let Some(token) = self.tokens.next() {
            match token.kind {
                TokenKind::Open => self.header(false)?,
                TokenKind::OpenTwice => self.header(true)?,
                TokenKind::Key(key) => self.assignment(&key, token.range)?,
                _ => return refuse(token.range, UNEXPECTED),
            }
        }
        self.error.map_or(Ok(()), Err)
    }

    fn next(&mut self) -> Read<Token> {
        if let Some(token) = self.tokens.next() {
            return Ok(token);
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => refuse(
                self.end..self.end,
                "the end of the text, where more is expected",
            ),
        }
    }

    fn parts(&self, key: &str, range: &Range<usize>) -> Read<Vec<String>> {
        parts(key).map_err(|reason| Refusal {
            range: range.clone(),
            reason,
        })
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn child(&self, table: usize, name: &str) -> Option<usize> {
        match self.nodes.get(table)? {
            Node::Table { children, .. } => children.get(name).copied(),
            Node::Tables(_) | Node::Value => None,
        }
    }

    fn is_inline(&self, table: usize) -> bool {
        matches!(
            self.nodes.get(table),
            Some(Node::Table { inline: true, .. })
        )
    }

    fn insert(&mut self, table: usize, name: &str, node: usize) {
        if let Some(Node::Table { children, .. }) = self.nodes.get_mut(table) {
            children.insert(name.to_owned(), node);
        }
    }

    /// The table that a node is, or the last one of an array.
    fn table_of(&self, node: usize) -> Option<usize> {
        match self.nodes.get(node)? {
            Node::Table { .. } => Some(node),
            Node::Tables(tables) => tables.last().copied(),
            Node::Value => None,
        }
    }

    /// What the path leads to.
    fn get(&self, path: &[String]) -> Option<usize> {
        let Some((last, parents)) = path.split_last() else {
            return Some(0);
        };
        let table = parents
            .iter()
            .try_fold(0, |table, name| self.table_of(self.child(table, name)?))?;
        self.child(table, last)
    }

    /// Makes the tables of a path that are not there; `None` where something else than a table is in the way.
    fn make_tables(&mut self, path: &[String]) -> Option<usize> {
        let mut table = 0;
        for name in path {
            let node = match self.child(table, name) {
                Some(node) => node,
                None => {
                    let node = self.add(Node::table(self.is_inline(table)));
                    self.insert(table, name, node);
                    node
                }
            };
            table = self.table_of(node)?;
        }
        Some(table)
    }

    /// Puts a node at a path as `Tree.SetPath` does: over what is there, and past a value that is in the way.
    fn set(&mut self, root: usize, path: &[String], node: usize) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut table = root;
        for name in parents {
            let next = match self.child(table, name) {
                Some(next) => next,
                None => {
                    let next = self.add(Node::table(false));
                    self.insert(table, name, next);
                    next
                }
            };
            table = self.table_of(next).unwrap_or(table);
        }
        self.insert(table, last, node);
    }

    fn header(&mut self, array: bool) -> Read<()> {
        let token = self.next()?;
        let range = token.range;
        let TokenKind::Header(name) = token.kind else {
            return refuse(range, "a header without a name");
        };
        if !array && self.headers.contains(&name) {
            return refuse(range, "a table that is there already");
        }
        let path = self.parts(&name, &range)?;
        if array {
            if let Some((_, parents)) = path.split_last() {
                // What stands in the way here is passed over.
                let _ = self.make_tables(parents);
            }
            let table = self.add(Node::table(false));
            match self.get(&path) {
                None => {
                    let node = self.add(Node::Tables(vec![table]));
                    self.set(0, &path, node);
                }
                Some(node) => match self.nodes.get_mut(node) {
                    Some(Node::Tables(tables)) => tables.push(table),
                    _ => return refuse(range, "a key that is there already"),
                },
            }
            let below = format!("{name}.");
            self.headers.retain(|header| !header.starts_with(&below));
        } else {
            if self.make_tables(&path).is_none() {
                return refuse(range, "a header below a key that has a value");
            }
            if self.get(&path).is_some_and(|node| self.is_inline(node)) {
                return refuse(range, "a header for an inline table");
            }
        }
        self.headers.insert(name);
        let close = self.next()?;
        match (close.kind, array) {
            (TokenKind::Close, false) | (TokenKind::CloseTwice, true) => {}
            _ => return refuse(close.range, UNEXPECTED),
        }
        self.table = path;
        Ok(())
    }

    fn equals(&mut self) -> Read<()> {
        let token = self.next()?;
        match token.kind {
            TokenKind::Equals => Ok(()),
            _ => refuse(token.range, "a key without `=`"),
        }
    }

    fn assignment(&mut self, key: &str, range: Range<usize>) -> Read<()> {
        self.equals()?;
        let parts = self.parts(key, &range)?;
        let node = self.value(0)?;
        let Some((last, parents)) = parts.split_last() else {
            return Ok(());
        };
        let path = [self.table.as_slice(), parents].concat();
        let table = match self.get(&path) {
            Some(node) => self.table_of(node),
            None => self.make_tables(&path),
        };
        let Some(table) = table else {
            return refuse(range, "a dotted key below a key that has a value");
        };
        if self.is_inline(table) {
            return refuse(range, "a key for an inline table");
        }
        if self.child(table, last).is_some() {
            return refuse(range, "a key that is there already");
        }
        self.insert(table, last, node);
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Read<usize> {
        let token = self.next()?;
        if depth > DEPTH {
            return refuse(token.range, "values that are nested too deep");
        }
        match token.kind {
            TokenKind::Scalar | TokenKind::Time => {}
            TokenKind::Date => {
                let time = |token: &Token| matches!(token.kind, TokenKind::Time);
                if self.tokens.next_if(time).is_some() {
                    let offset = |token: &Token| matches!(token.kind, TokenKind::Offset);
                    self.tokens.next_if(offset);
                }
            }
            TokenKind::Open => return self.array(depth),
            TokenKind::OpenCurly => return self.inline_table(depth),
            _ => return refuse(token.range, "a key without a value"),
        }
        Ok(self.add(Node::Value))
    }

    fn array(&mut self, depth: u32) -> Read<usize> {
        let mut elements = Vec::new();
        let close = |token: &Token| matches!(token.kind, TokenKind::Close);
        while self.tokens.next_if(close).is_none() {
            elements.push(self.value(depth + 1)?);
            match self.tokens.peek().map(|token| &token.kind) {
                Some(TokenKind::Close) => {}
                Some(TokenKind::Comma) => {
                    self.tokens.next();
                }
                _ => {
                    let token = self.next()?;
                    return refuse(token.range, "elements without a comma between them");
                }
            }
        }
        // An array of nothing but inline tables is an array of tables.
        let tables = elements
            .iter()
            .all(|node| matches!(self.nodes.get(*node), Some(Node::Table { .. })));
        Ok(self.add(if tables && !elements.is_empty() {
            Node::Tables(elements)
        } else {
            Node::Value
        }))
    }

    fn inline_table(&mut self, depth: u32) -> Read<usize> {
        let table = self.add(Node::table(false));
        let (mut first, mut comma) = (true, None::<Range<usize>>);
        loop {
            let token = self.next()?;
            match token.kind {
                TokenKind::CloseCurly => break,
                TokenKind::Comma if comma.is_some() => {
                    return refuse(token.range, "a comma without an entry before it");
                }
                TokenKind::Comma => comma = Some(token.range),
                TokenKind::Key(_) if !first && comma.is_none() => {
                    return refuse(token.range, "entries without a comma between them");
                }
                TokenKind::Key(key) => {
                    self.equals()?;
                    let path = self.parts(&key, &token.range)?;
                    let node = self.value(depth + 1)?;
                    self.set(table, &path, node);
                    (first, comma) = (false, None);
                }
                _ => return refuse(token.range, UNEXPECTED),
            }
        }
        if let Some(comma) = comma {
            return refuse(comma, "a comma at the end of an inline table");
        }
        if let Some(Node::Table { inline, .. }) = self.nodes.get_mut(table) {
            *inline = true;
        }
        Ok(table)
    }
}
