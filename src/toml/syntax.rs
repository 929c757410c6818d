//! A TOML file as it is written: every header, entry, value and comment with its byte range.
//!
//! `config.toml` is edited by byte ranges, and go-toml's key rules need every spelling of a key, so neither a
//! parsed document nor serde will do. toml_edit says whether the text is TOML; the ranges come from the token
//! stream below it. Nothing here knows what the keys mean.

use std::collections::HashMap;
use std::ops::Range;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{Raw, Source, Span as TokenSpan};

/// Why a text is not TOML: toml_edit's words, without the line that it stands on (the line may hold a secret).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, as a phrase.
    pub message: String,
    /// Where it is.
    pub range: Range<usize>,
}

/// One part of a dotted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The decoded name.
    pub name: String,
    /// The part as written, quotes included.
    pub range: Range<usize>,
}

/// `key = value`, in a section or in an inline table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The parts of the key; never empty.
    pub keys: Vec<Key>,
    /// What it is set to.
    pub value: Value,
}

impl Entry {
    /// From the first key's first byte to the value's last.
    pub fn range(&self) -> Range<usize> {
        self.keys
            .first()
            .map_or(self.value.range.start, |key| key.range.start)..self.value.range.end
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Value {
    /// The value as written.
    pub range: Range<usize>,
    /// What it is.
    pub kind: ValueKind,
}

/// The kinds of values that containerd's registry settings use, and one for all others.
#[derive(Clone, Debug)]
pub enum ValueKind {
    /// Any kind of string, decoded.
    String(String),
    /// `true` or `false`.
    Boolean(bool),
    /// An integer that fits.
    Integer(i64),
    /// A number or a date that no registry setting has.
    Other,
    /// An array with its elements.
    Array(Vec<Value>),
    /// An inline table with its entries.
    Table(Vec<Entry>),
}

/// The entries before the first header, or a header with the entries below it.
#[derive(Clone, Debug)]
pub struct Section {
    /// The header, if the section has one.
    pub header: Option<Header>,
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

/// `[a.b]` or `[[a.b]]`.
#[derive(Clone, Debug)]
pub struct Header {
    /// The brackets and what is between them.
    pub range: Range<usize>,
    /// The parts of the name; never empty.
    pub keys: Vec<Key>,
    /// Whether it is `[[a.b]]`.
    pub array: bool,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Syntax {
    /// The sections in file order; the first has no header.
    pub sections: Vec<Section>,
    /// Every comment from its `#` to before the line end, in file order.
    pub comments: Vec<Range<usize>>,
}

/// The deepest nesting of arrays and inline tables; toml_edit refuses deeper ones before us.
const DEPTH: u32 = 100;

impl Syntax {
    /// Parses `text`, or says why it is not TOML.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if let Err(error) = toml_edit::Document::parse(text) {
            return Err(SyntaxError {
                message: error.message().trim_end().replace('\n', ", "),
                range: error.span().unwrap_or(0..0),
            });
        }
        let source = Source::new(text);
        let tokens = source.lex().into_vec();
        let mut events: Vec<Event> = Vec::new();
        let mut first_error: Option<toml_parser::ParseError> = None;
        parse_document(
            &tokens,
            &mut RecursionGuard::new(&mut events, DEPTH),
            &mut first_error,
        );
        let comments = events
            .iter()
            .filter(|event| event.kind() == EventKind::Comment)
            .map(|event| range(event.span()))
            .collect();
        events.retain(|event| {
            !matches!(
                event.kind(),
                EventKind::Comment | EventKind::Whitespace | EventKind::Newline
            )
        });
        let mut reader = Reader {
            source,
            events: events.into_iter().peekable(),
        };
        Ok(Self {
            sections: reader.sections(),
            comments,
        })
    }

    /// The tree that the sections make together.
    pub fn tree(&self) -> Table {
        let mut root = Table::default();
        for section in &self.sections {
            let table = match &section.header {
                Some(header) => root.descend(&header.keys, Some(header)),
                None => Some(&mut root),
            };
            if let Some(table) = table {
                // An array of tables is no registry setting; its elements are merged, which nothing looks at.
                table.array_of_tables |= section.header.as_ref().is_some_and(|header| header.array);
                table.extend(&section.entries);
            }
        }
        root
    }
}

fn range(span: TokenSpan) -> Range<usize> {
    span.start()..span.end()
}

struct Reader<'s> {
    source: Source<'s>,
    events: std::iter::Peekable<std::vec::IntoIter<Event>>,
}

impl Reader<'_> {
    fn sections(&mut self) -> Vec<Section> {
        let mut sections = vec![Section {
            header: None,
            entries: Vec::new(),
        }];
        while let Some(event) = self.events.peek() {
            match event.kind() {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    let header = self.header();
                    sections.push(Section {
                        header: Some(header),
                        entries: Vec::new(),
                    });
                }
                EventKind::SimpleKey => {
                    let entry = self.entry();
                    if let Some(section) = sections.last_mut() {
                        section.entries.push(entry);
                    }
                }
                _ => {
                    self.events.next();
                }
            }
        }
        sections
    }

    fn header(&mut self) -> Header {
        let mut header = Header {
            range: 0..0,
            keys: Vec::new(),
            array: false,
        };
        for event in self.events.by_ref() {
            match event.kind() {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    header.range = range(event.span());
                    header.array = event.kind() == EventKind::ArrayTableOpen;
                }
                EventKind::SimpleKey => header.keys.push(key(&self.source, &event)),
                EventKind::StdTableClose | EventKind::ArrayTableClose => {
                    header.range.end = event.span().end();
                    break;
                }
                _ => {}
            }
        }
        header
    }

    fn entry(&mut self) -> Entry {
        let mut keys = Vec::new();
        for event in self.events.by_ref() {
            match event.kind() {
                EventKind::SimpleKey => keys.push(key(&self.source, &event)),
                EventKind::KeyValSep => break,
                _ => {}
            }
        }
        Entry {
            keys,
            value: self.value(),
        }
    }

    fn value(&mut self) -> Value {
        let Some(event) = self.events.next() else {
            return Value {
                range: 0..0,
                kind: ValueKind::Other,
            };
        };
        let mut range = range(event.span());
        let kind = match event.kind() {
            EventKind::ArrayOpen => {
                let mut elements = Vec::new();
                range.end = self.elements(EventKind::ArrayClose, |reader| {
                    elements.push(reader.value());
                });
                ValueKind::Array(elements)
            }
            EventKind::InlineTableOpen => {
                let mut entries = Vec::new();
                range.end = self.elements(EventKind::InlineTableClose, |reader| {
                    entries.push(reader.entry());
                });
                ValueKind::Table(entries)
            }
            _ => scalar(&self.source, &event),
        };
        Value { range, kind }
    }

    /// Calls `element` at the start of each element up to `close`; returns where `close` ends.
    fn elements(&mut self, close: EventKind, mut element: impl FnMut(&mut Self)) -> usize {
        let mut end = 0;
        while let Some(event) = self.events.peek() {
            if event.kind() == close {
                end = event.span().end();
                self.events.next();
                break;
            }
            if event.kind() == EventKind::ValueSep {
                self.events.next();
            } else {
                element(self);
            }
        }
        end
    }
}

fn raw<'s>(source: &Source<'s>, event: &Event) -> Option<Raw<'s>> {
    let text = source.get(event.span())?.as_str();
    Some(Raw::new_unchecked(text, event.encoding(), event.span()))
}

fn key(source: &Source<'_>, event: &Event) -> Key {
    let mut name = std::borrow::Cow::Borrowed("");
    if let Some(raw) = raw(source, event) {
        raw.decode_key(&mut name, &mut ());
    }
    Key {
        name: name.into_owned(),
        range: range(event.span()),
    }
}

fn scalar(source: &Source<'_>, event: &Event) -> ValueKind {
    let mut decoded = std::borrow::Cow::Borrowed("");
    let Some(raw) = raw(source, event) else {
        return ValueKind::Other;
    };
    match raw.decode_scalar(&mut decoded, &mut ()) {
        ScalarKind::String => ValueKind::String(decoded.into_owned()),
        ScalarKind::Boolean(value) => ValueKind::Boolean(value),
        ScalarKind::Integer(radix) => i64::from_str_radix(&decoded, radix.value())
            .map_or(ValueKind::Other, ValueKind::Integer),
        _ => ValueKind::Other,
    }
}

/// A table of the merged tree: what headers, dotted keys and inline tables make together.
#[derive(Clone, Debug, Default)]
pub struct Table {
    children: Vec<Node>,
    index: HashMap<String, usize>,
    /// Whether some header says `[[…]]`.
    pub array_of_tables: bool,
}

/// A name in the merged tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name where it is first written.
    pub key: Key,
    /// The header `[…]` of exactly this table, if it has one.
    pub header: Option<Range<usize>>,
    /// What it is.
    pub item: Item,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Item {
    /// A table of any spelling.
    Table(Table),
    /// Any other value.
    Value(Value),
}

impl Node {
    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table> {
        match &self.item {
            Item::Table(table) if !table.array_of_tables => Some(table),
            _ => None,
        }
    }

    /// The value, if it is no table.
    pub fn value(&self) -> Option<&Value> {
        match &self.item {
            Item::Value(value) => Some(value),
            Item::Table(_) => None,
        }
    }
}

impl Table {
    /// The child with exactly this name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.index
            .get(name)
            .and_then(|index| self.children.get(*index))
    }

    /// The child table at the end of `path`, all names exact.
    pub fn table_at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |table, name| table.get(name)?.table())
    }

    /// The children in the order in which they are first named.
    pub fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.children.iter()
    }

    /// Whether there are no children.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    fn child(&mut self, key: &Key, item: impl FnOnce() -> Item) -> Option<&mut Node> {
        let next = self.children.len();
        let index = *self.index.entry(key.name.clone()).or_insert(next);
        if index == next {
            self.children.push(Node {
                key: key.clone(),
                header: None,
                item: item(),
            });
        }
        self.children.get_mut(index)
    }

    /// The table at `keys`, made if it is not there; `None` if a part is something else than a table, which toml_edit
    /// has ruled out before.
    fn descend(&mut self, keys: &[Key], header: Option<&Header>) -> Option<&mut Self> {
        let (first, rest) = keys.split_first()?;
        let node = self.child(first, || Item::Table(Self::default()))?;
        if rest.is_empty()
            && let Some(header) = header
        {
            node.header.get_or_insert(header.range.clone());
        }
        let Item::Table(table) = &mut node.item else {
            return None;
        };
        if rest.is_empty() {
            Some(table)
        } else {
            table.descend(rest, header)
        }
    }

    fn extend(&mut self, entries: &[Entry]) {
        for entry in entries {
            let ValueKind::Table(inner) = &entry.value.kind else {
                let Some((last, parents)) = entry.keys.split_last() else {
                    continue;
                };
                let table = if parents.is_empty() {
                    Some(&mut *self)
                } else {
                    self.descend(parents, None)
                };
                if let Some(table) = table {
                    table.child(last, || Item::Value(entry.value.clone()));
                }
                continue;
            };
            if let Some(table) = self.descend(&entry.keys, None) {
                table.extend(inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(tree: &'a Table, path: &[&str], name: &str) -> &'a ValueKind {
        &tree
            .table_at(path)
            .unwrap()
            .get(name)
            .unwrap()
            .value()
            .unwrap()
            .kind
    }

    #[test]
    fn headers_dotted_keys_and_inline_tables_make_one_tree() {
        let text = "a.b.c = 1\n[x.\"y.z\".'q']\n  k = ['s', \"t\"] # c\n[a2]\nb2 = { d.e = true, f = {} }\n";
        let syntax = Syntax::parse(text).unwrap();
        let tree = syntax.tree();
        assert!(matches!(
            value(&tree, &["a", "b"], "c"),
            ValueKind::Integer(1)
        ));
        assert!(matches!(
            value(&tree, &["a2", "b2", "d"], "e"),
            ValueKind::Boolean(true)
        ));
        assert!(tree.table_at(&["a2", "b2", "f"]).unwrap().is_empty());
        let ValueKind::Array(elements) = value(&tree, &["x", "y.z", "q"], "k") else {
            panic!()
        };
        assert_eq!(text.get(elements[1].range.clone()), Some("\"t\""));
        assert_eq!(text.get(syntax.comments[0].clone()), Some("# c"));
        let header = syntax.sections[1].header.as_ref().unwrap();
        assert_eq!(text.get(header.range.clone()), Some("[x.\"y.z\".'q']"));
        assert_eq!(
            tree.table_at(&["x"]).unwrap().get("y.z").unwrap().header,
            None
        );
    }

    #[test]
    fn ranges_are_those_of_the_raw_text_with_bom_and_crlf() {
        let text = "\u{feff}# c\r\n[t]\r\nk = 'v'\r\n";
        let syntax = Syntax::parse(text).unwrap();
        let entry = &syntax.sections[1].entries[0];
        assert_eq!(text.get(entry.range()), Some("k = 'v'"));
        assert_eq!(text.get(syntax.comments[0].clone()), Some("# c"));
    }

    #[test]
    fn what_is_not_toml_is_said_without_its_line() {
        for text in ["a = ", "[t]\n[t]\n", "password = hunter2", "a = 1\na = 2"] {
            let error = Syntax::parse(text).unwrap_err();
            assert!(
                !error.message.contains("hunter2") && !error.message.contains('\n'),
                "{error:?}"
            );
        }
        assert!(Syntax::parse(&"[".repeat(100_000)).is_err());
        assert!(Syntax::parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    }
}
