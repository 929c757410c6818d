//! Spellings of TOML that one release of containerd reads and another does not.
//!
//! containerd reads config.toml and hosts.toml with pelletier/go-toml, whose versions take different texts for TOML. A
//! config.toml that is refused keeps the daemon from starting, a hosts.toml is discarded without a word, so the
//! difference has to be said before the upgrade finds it. Here is one row for each spelling that toml_edit reads and
//! some go-toml does not, measured with the versions that containerd was released with (`tests/data/toml-dialects`).
//!
//! A text that toml_edit does not read is not looked at here, with one exception: `nobody_reads`.

use std::ops::Range;

use toml_parser::Source;
use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;
use toml_parser::parser::{Event, EventKind};

use super::syntax::{Entry, Section};

/// The versions of go-toml that containerd was released with, as far as they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GoToml {
    /// 1.8.1 and 1.9.5: containerd 1.5 to 1.7.
    V1,
    /// 2.2.3 and 2.2.4: containerd 2.0 to 2.2. Debian's 2.1.9 links a newer one.
    V2_2,
    /// 2.3.0: containerd 2.3.
    V2_3,
    /// 2.4.3: containerd 2.4.
    V2_4,
}

impl GoToml {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V1, Self::V2_2, Self::V2_3, Self::V2_4];
}

/// A spelling that not every go-toml reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// A byte order mark before the text.
    ByteOrderMark,
    /// A line that ends between the braces of an inline table.
    InlineLineBreak,
    /// `{ a = 1 # c` with the brace on a later line.
    InlineComment,
    /// `{ a = 1, }`.
    InlineTrailingComma,
    /// An inline table with a comma at the start of a line.
    InlineLeadingComma,
    /// `"\e"`.
    EscapeE,
    /// `"\x41"`.
    EscapeX,
    /// `["\x41"]`, which go-toml 1 reads, as it decodes no header.
    EscapeXInHeader,
    /// `"""a""""`.
    QuoteBeforeQuotes,
    /// `["a]"]`.
    BracketInHeader,
    /// `["a\"b"]`, `"a\"b" = 1`.
    QuoteInKey,
    /// `a. b = 1`.
    SpaceBehindDot,
    /// `[a.b.c]`, and then `b.d = 1` below `[a]`.
    DottedKeyIntoTable,
    /// `07:32`.
    TimeWithoutSeconds,
    /// `07:32:60`.
    LeapSecond,
    /// `1979-05-27` with anything but a space behind it.
    DateAtLineEnd,
    /// `1979-05-27t07:32:00z`.
    LowerCaseTime,
    /// `0e5`.
    ExponentOfZero,
    /// `1e999`.
    HugeFloat,
}

impl Spelling {
    /// What it is, as a phrase without any of the text (which may hold a secret), and who refuses it.
    fn row(self) -> (&'static str, &'static [GoToml]) {
        use GoToml::{V1, V2_2, V2_3, V2_4};
        match self {
            Self::ByteOrderMark => ("a byte order mark", &[V2_2, V2_3, V2_4]),
            Self::InlineLineBreak => ("a line break in an inline table", &[V2_2, V2_3]),
            Self::InlineComment => ("a comment in an inline table", &[V2_2, V2_3]),
            Self::InlineTrailingComma => {
                ("a comma at the end of an inline table", &[V1, V2_2, V2_3])
            }
            Self::InlineLeadingComma => (
                "a comma at the start of a line of an inline table",
                &[V1, V2_2, V2_3],
            ),
            Self::EscapeE => ("the escape sequence `\\e`", &[V1]),
            Self::EscapeX => ("the escape sequence `\\x`", &[V1, V2_2, V2_3]),
            Self::EscapeXInHeader => ("the escape sequence `\\x`", &[V2_2, V2_3]),
            Self::QuoteBeforeQuotes => (
                "a quote directly before the closing quotes of a multi-line string",
                &[V1],
            ),
            Self::BracketInHeader => ("a bracket in a quoted table name", &[V1]),
            Self::QuoteInKey => ("an escaped quote in a quoted key", &[V1]),
            Self::SpaceBehindDot => ("white space after a dot in a key", &[V1]),
            Self::DottedKeyIntoTable => ("a dotted key into a table that exists already", &[V2_4]),
            Self::TimeWithoutSeconds => ("a time without seconds", &[V1, V2_2, V2_3]),
            Self::LeapSecond => ("a time with 60 seconds", &[V1, V2_3, V2_4]),
            Self::DateAtLineEnd => ("a date without a space after it", &[V1]),
            Self::LowerCaseTime => ("a time with a lower-case `t` or `z`", &[V1]),
            Self::ExponentOfZero => ("an exponent directly after a zero", &[V1]),
            Self::HugeFloat => ("a number that is too large", &GoToml::ALL),
        }
    }

    /// What it is, as a phrase without any of the text.
    pub fn phrase(self) -> &'static str {
        self.row().0
    }
}

/// A spelling in a text that some go-toml does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The bytes that a reader stops at.
    pub range: Range<usize>,
    /// What they are.
    pub spelling: Spelling,
}

/// The first spelling that each go-toml refuses, in the order of [`GoToml::ALL`].
#[derive(Clone, Debug, Default)]
pub struct Refusals([Option<Refusal>; GoToml::ALL.len()]);

impl Refusals {
    /// What `reader` stops at; `None` if it reads the text.
    pub fn of(&self, reader: GoToml) -> Option<&Refusal> {
        let at = GoToml::ALL.iter().position(|other| *other == reader)?;
        self.0.get(at)?.as_ref()
    }

    pub(super) fn add(&mut self, spelling: Spelling, range: Range<usize>) {
        for (reader, first) in GoToml::ALL.iter().zip(&mut self.0) {
            let is_first = first
                .as_ref()
                .is_none_or(|first| range.start < first.range.start);
            if is_first && spelling.row().1.contains(reader) {
                let range = range.clone();
                *first = Some(Refusal { range, spelling });
            }
        }
    }
}

/// Looks for the spellings in the events of a text that toml_edit reads.
pub(super) struct Scan<'t> {
    text: &'t str,
    found: Refusals,
    /// The arrays and inline tables around.
    around: Vec<Around>,
    in_header: bool,
    before: Before,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Array,
    InlineTable,
}

/// What stands before an event, comments and white space aside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The comma that starts here.
    Comma(usize),
    /// A line break in an inline table.
    LineBreak,
    /// The dot of a key; whether white space stands before it.
    Dot {
        spaced: bool,
    },
    WhiteSpace,
    Other,
}

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut found = Refusals::default();
        if text.starts_with('\u{feff}') {
            found.add(Spelling::ByteOrderMark, 0..'\u{feff}'.len_utf8());
        }
        Self {
            text,
            found,
            around: Vec::new(),
            in_header: false,
            before: Before::Other,
        }
    }

    pub(super) fn finish(self) -> Refusals {
        self.found
    }

    fn in_inline_table(&self) -> bool {
        self.around.last() == Some(&Around::InlineTable)
    }

    pub(super) fn event(&mut self, event: &Event) {
        let range = event.span().start()..event.span().end();
        let mut before = Before::Other;
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => self.in_header = true,
            EventKind::StdTableClose | EventKind::ArrayTableClose => self.in_header = false,
            EventKind::ArrayOpen => self.around.push(Around::Array),
            EventKind::InlineTableOpen => self.around.push(Around::InlineTable),
            EventKind::ArrayClose => {
                self.around.pop();
            }
            EventKind::InlineTableClose => {
                if let Before::Comma(at) = self.before {
                    self.found.add(Spelling::InlineTrailingComma, at..at + 1);
                }
                self.around.pop();
            }
            EventKind::ValueSep => {
                if self.before == Before::LineBreak {
                    self.found.add(Spelling::InlineLeadingComma, range.clone());
                }
                before = Before::Comma(range.start);
            }
            EventKind::KeySep => {
                let spaced = self.before == Before::WhiteSpace;
                before = Before::Dot { spaced };
            }
            EventKind::Newline if self.in_inline_table() => {
                self.found.add(Spelling::InlineLineBreak, range);
                before = match self.before {
                    Before::Comma(at) => Before::Comma(at),
                    _ => Before::LineBreak,
                };
            }
            EventKind::Comment if self.in_inline_table() => {
                self.found
                    .add(Spelling::InlineComment, range.start..range.start + 1);
                before = self.before;
            }
            EventKind::Whitespace => {
                before = match self.before {
                    Before::Dot { spaced } => {
                        // go-toml 1 takes a space there in a header, and where one stands before the dot.
                        if !self.in_header && !spaced || self.text_of(&range).starts_with('\t') {
                            self.found.add(Spelling::SpaceBehindDot, range);
                        }
                        Before::Other
                    }
                    Before::Other => Before::WhiteSpace,
                    before => before,
                };
            }
            EventKind::SimpleKey => self.key(event.encoding(), range),
            EventKind::Scalar => match event.encoding() {
                Some(encoding) => self.string(encoding, &range),
                None => self.literal(range),
            },
            EventKind::Newline | EventKind::Comment | EventKind::KeyValSep | EventKind::Error => {}
        }
        self.before = before;
    }

    fn text_of(&self, range: &Range<usize>) -> &'t str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn key(&mut self, encoding: Option<Encoding>, range: Range<usize>) {
        let Some(encoding) = encoding else {
            return;
        };
        let text = self.text_of(&range);
        // go-toml 1 ends a header at the first bracket, also at one in quotes.
        if self.in_header
            && let Some(at) = text.find(['[', ']'])
        {
            let at = range.start + at;
            self.found.add(Spelling::BracketInHeader, at..at + 1);
        }
        if encoding != Encoding::BasicString || !text.contains('\\') {
            return;
        }
        // It cuts a key into parts at its quotes after it has decoded it, so that it stops or finds another key; a header
        // it does not decode at all.
        let is_quote = |(_, escape): &(usize, &str)| {
            let code = escape
                .get(1..)
                .and_then(|hex| u32::from_str_radix(hex, 16).ok());
            escape.starts_with('"') || code == Some(u32::from('"')) && !self.in_header
        };
        if escapes(text).any(|escape| is_quote(&escape)) {
            self.found.add(Spelling::QuoteInKey, range.clone());
        }
        self.escapes(text, range.start);
    }

    fn string(&mut self, encoding: Encoding, range: &Range<usize>) {
        let text = self.text_of(range);
        let is_basic = matches!(encoding, Encoding::BasicString | Encoding::MlBasicString);
        if is_basic && text.contains('\\') {
            self.escapes(text, range.start);
        }
        let (quote, quotes) = match encoding {
            Encoding::MlBasicString => ('"', "\"\"\""),
            Encoding::MlLiteralString => ('\'', "'''"),
            Encoding::BasicString | Encoding::LiteralString => return,
        };
        let inner = text
            .strip_prefix(quotes)
            .and_then(|text| text.strip_suffix(quotes))
            .unwrap_or_default();
        let is_escaped = || {
            let mut escapes = escapes(inner);
            is_basic && escapes.any(|(at, _)| at + 2 == inner.len())
        };
        if inner.ends_with(quote) && !is_escaped() {
            self.found.add(Spelling::QuoteBeforeQuotes, range.clone());
        }
    }

    fn escapes(&mut self, text: &str, start: usize) {
        for (at, escape) in escapes(text) {
            let range = start + at..start + at + 2;
            match escape.bytes().next() {
                Some(b'e') if !self.in_header => self.found.add(Spelling::EscapeE, range),
                Some(b'x') if self.in_header => self.found.add(Spelling::EscapeXInHeader, range),
                Some(b'x') => self.found.add(Spelling::EscapeX, range),
                _ => {}
            }
        }
    }

    /// A boolean, a number or a date.
    fn literal(&mut self, range: Range<usize>) {
        let text = self.text_of(&range);
        let is_date = text.as_bytes().get(4) == Some(&b'-') && !text.starts_with(['+', '-']);
        let is_time = text.as_bytes().get(2) == Some(&b':');
        if is_date || is_time {
            self.date(text, range);
        } else if text.starts_with("0e") || text.starts_with("0E") {
            self.found.add(Spelling::ExponentOfZero, range);
        } else if text.contains(['e', 'E', '.'])
            && !text.starts_with("0x")
            && text.replace('_', "").parse().is_ok_and(f64::is_infinite)
        {
            self.found.add(Spelling::HugeFloat, range);
        }
    }

    fn date(&mut self, text: &str, range: Range<usize>) {
        let time = match text.split_at_checked(10) {
            Some((date, time)) if date.as_bytes().get(4) == Some(&b'-') => {
                if time.is_empty() {
                    let next = self.text.as_bytes().get(range.end);
                    if next.is_some_and(|next| *next != b' ') {
                        self.found.add(Spelling::DateAtLineEnd, range);
                    }
                    return;
                }
                time.get(1..).unwrap_or_default()
            }
            _ => text,
        };
        if text.contains(['t', 'z']) {
            self.found.add(Spelling::LowerCaseTime, range.clone());
        }
        match time.get(5..).unwrap_or_default() {
            seconds if seconds.starts_with(":60") => self.found.add(Spelling::LeapSecond, range),
            seconds if !seconds.starts_with(':') => {
                self.found.add(Spelling::TimeWithoutSeconds, range);
            }
            _ => {}
        }
    }
}

/// The escape sequences of a basic string: where the backslash is, and what is behind it, with the digits of a number.
fn escapes(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find('\\')?;
        let behind = text.get(at + 1..)?;
        let length = match behind.bytes().next()? {
            b'x' => 3,
            b'u' => 5,
            b'U' => 9,
            _ => behind.chars().next()?.len_utf8(),
        };
        from = at + 1 + length;
        Some((at, behind.get(..length).unwrap_or(behind)))
    })
}

/// Whether a text that toml_edit does not read, with an error at `at`, is surely TOML to no containerd.
///
/// go-toml 1 reads many texts that are not TOML, so only two mistakes count: a table or a key that is there already, in
/// the same spelling, and a `"` that is not closed on its line. All before the error is TOML, so that go-toml 1 has the
/// same idea of the text when it gets there, or has stopped before.
pub(super) fn nobody_reads(text: &str, at: usize, sections: &[Section]) -> bool {
    is_written_twice(text, at, sections) || is_open_string(text, at)
}

fn is_written_twice(text: &str, at: usize, sections: &[Section]) -> bool {
    let written = |range: Range<usize>| text.get(range);
    let before = sections.partition_point(|section| section.start() <= at);
    let Some((section, before)) = sections.get(..before).and_then(<[Section]>::split_last) else {
        return false;
    };
    if let Some(header) = section
        .header
        .as_ref()
        .filter(|header| header.range.contains(&at))
    {
        let headers = || before.iter().filter_map(|section| section.header.as_ref());
        // An array of tables makes room for the tables below it anew.
        return !header.array
            && headers().all(|header| !header.array)
            && headers()
                .any(|other| written(other.range.clone()) == written(header.range.clone()));
    }
    let before = section
        .entries
        .partition_point(|entry| entry.range().start <= at);
    let Some((entry, before)) = section
        .entries
        .get(..before)
        .and_then(<[Entry]>::split_last)
    else {
        return false;
    };
    let key = entry.key_range();
    key.contains(&at)
        && before
            .iter()
            .any(|other| written(other.key_range()) == written(key.clone()))
}

fn is_open_string(text: &str, at: usize) -> bool {
    let mut before = None;
    for token in Source::new(text).lex() {
        let span = token.span();
        if span.start() <= at && at <= span.end() && token.kind() == TokenKind::BasicString {
            let raw = text.get(span.start()..span.end()).unwrap_or_default();
            let is_closed = raw.len() > 1 && raw.ends_with('"');
            return before == Some(TokenKind::Equals) && !is_closed;
        }
        if token.kind() != TokenKind::Whitespace {
            before = Some(token.kind());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toml::syntax::Syntax;

    /// Which readers, oldest first, read a text.
    fn readers(text: &str) -> [bool; 4] {
        let syntax = Syntax::parse(text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        GoToml::ALL.map(|reader| syntax.refusal(reader).is_none())
    }

    fn stop(text: &str, reader: GoToml) -> (&str, Spelling) {
        let syntax = Syntax::parse(text).unwrap();
        let refusal = syntax.refusal(reader).unwrap();
        let place = text.get(refusal.range.clone()).unwrap();
        (place, refusal.spelling)
    }

    #[test]
    fn every_measured_file_that_toml_edit_reads_has_the_answers_of_go_toml() {
        let data =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toml-dialects");
        let table = std::fs::read_to_string(data.join("answers.tsv")).unwrap();
        let (mut read, mut differ) = (0, 0);
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let expected: Vec<bool> = columns[1..].iter().map(|answer| *answer == "ok").collect();
            let bytes = std::fs::read(data.join(columns[0])).unwrap();
            match std::str::from_utf8(&bytes).map(Syntax::parse) {
                Ok(Ok(_)) => {
                    let text = std::str::from_utf8(&bytes).unwrap();
                    assert_eq!(readers(text).as_slice(), expected, "{line}");
                    read += 1;
                    differ += usize::from(expected.contains(&true) && expected.contains(&false));
                }
                Ok(Err(error)) => {
                    let some_read = expected.contains(&true);
                    assert!(!(error.nobody_reads && some_read), "{line}");
                }
                Err(_) => {}
            }
        }
        assert_eq!((read, differ), (32, 7));
    }

    // The answers below are those of go-toml 1.9.5, 2.2.4, 2.3.0 and 2.4.3, run.
    #[test]
    fn go_toml_1_refuses_what_2_reads() {
        for text in [
            "k = 0e5",
            "k = 1979-05-27\n",
            "k = [1979-05-27]",
            "k = 1979-05-27t07:32:00",
            "k = 1979-05-27T07:32:00z",
            "a. b = 1",
            "a .\tb = 1",
            "[a.\tb]",
            "\"a\\\"b\" = 1",
            "\"a\\u0022b\" = 1",
            "[\"a\\\"b\"]",
            "k = \"\"\"x\"\"\"\"",
            "k = '''x'''''",
            "['a[']",
            "[\"a]\"]",
            "\"\\e\" = 1",
        ] {
            assert_eq!(readers(text), [false, true, true, true], "{text}");
        }
        for text in [
            "k = -0e5",
            "k = 1979-05-27",
            "k = 1979-05-27 # c",
            "k = 1979-05-27 07:32:00Z",
            "a . b = 1",
            "a .b = 1",
            "[a. b]",
            "'a\"b' = 1",
            "k = \"\"\"x\\\"\"\"\"",
            "k = \"\"\"x'\"\"\"",
            "k = \"\"\"a\\ \n b\"\"\"",
            "k = '\\e \\x41 ]'",
            "k = \"\\\\e\"",
            "[\"\\e\"]",
        ] {
            assert_eq!(readers(text), [true; 4], "{text}");
        }
    }

    #[test]
    fn go_toml_2_changed_from_release_to_release() {
        assert_eq!(readers("[a.b.c]\n[a]\nb.d = 1"), [true, true, true, false]);
        assert_eq!(readers("k = 07:32:60"), [false, true, false, false]);
        assert_eq!(readers("k = 07:32"), [false, false, false, true]);
        assert_eq!(readers("[\"\\x41\"]"), [true, false, false, true]);
        assert_eq!(readers("a = { b = 1,\r\n}"), [false, false, false, true]);
        assert_eq!(readers("a = { b = 1 # c\n}"), [true, false, false, true]);
        assert_eq!(
            readers("a = { b = 1\n, c = 1 }"),
            [false, false, false, true]
        );
        assert_eq!(readers("a = { b = [ # c\n] }"), [true; 4]);
    }

    #[test]
    fn the_first_spelling_that_a_reader_refuses_is_named_with_its_place() {
        for (text, reader, place, spelling) in [
            (
                "\u{feff}version = 2\n",
                GoToml::V2_2,
                "\u{feff}",
                Spelling::ByteOrderMark,
            ),
            (
                "a = {\n b = 1 # c\n}\n",
                GoToml::V2_2,
                "\n",
                Spelling::InlineLineBreak,
            ),
            (
                "a = { # c\n b = 1 }\n",
                GoToml::V2_3,
                "#",
                Spelling::InlineComment,
            ),
            (
                "a = { b = 1, # c\n}\n",
                GoToml::V1,
                ",",
                Spelling::InlineTrailingComma,
            ),
            ("k = [\"\\e\", 07:32]", GoToml::V1, "\\e", Spelling::EscapeE),
            (
                "k = [\"\\e\", 07:32]",
                GoToml::V2_2,
                "07:32",
                Spelling::TimeWithoutSeconds,
            ),
            ("[a.\"b]\"]\n", GoToml::V1, "]", Spelling::BracketInHeader),
            (
                "[a.b.c]\n[a]\nb.d = 1",
                GoToml::V2_4,
                "b",
                Spelling::DottedKeyIntoTable,
            ),
        ] {
            assert_eq!(stop(text, reader), (place, spelling), "{text:?}");
        }
    }

    #[test]
    fn what_surely_no_containerd_reads_is_known() {
        let nobody_reads = |text| Syntax::parse(text).unwrap_err().nobody_reads;
        for text in [
            "[a]\n[a]\n",
            "[a.\"b\"]\nk = 1\n[c]\n[a.\"b\"]\n",
            "k = 1\nk = 2\n",
            "[t]\na.b = 1\na.b = 2\n",
            "k = \"a\nb = 1\n",
            "k = \"a",
        ] {
            assert!(nobody_reads(text), "{text:?}");
        }
        // go-toml 1 reads these.
        for text in [
            "[\"a\"]\n['a']\n",
            "# a\u{1}\n",
            "k = 'a\nb'",
            "k = 'a\n[a]\n[a]\n'",
            "a = { b = 1, b = 2 }",
            "[[a]]\n[a.b]\n[[a]]\n[a.b]\n[a.\"b\"]\n",
            "a.b = 1\n[a]\n",
            "[x]\nk = 1\n[y]\nk = 1\n[\"x\"]\n",
            "\"a\nb\" = 1",
        ] {
            assert!(!nobody_reads(text), "{text:?}");
        }
    }
}
