//! A TOML file as it is written: every header, entry, value and comment with its byte range.
//!
//! `config.toml` is edited by byte ranges, and go-toml's key rules need every spelling of a key, so neither a
//! parsed document nor serde will do. toml_edit says whether the text is TOML; the ranges come from the token
//! stream below it. Nothing here knows what the keys mean.

use std::collections::HashMap;
use std::ops::Range;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{Raw, Source, Span as TokenSpan};

use super::spelling::{self, Refusal, Refusals, Scan, Spelling};
use crate::containerd::release::GoToml;

/// Why a text is not TOML: toml_edit's words, without the line that it stands on (the line may hold a secret).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, as a phrase.
    pub message: String,
    /// Where it is.
    pub range: Range<usize>,
    /// Whether surely no containerd reads the text. containerd 1.x reads some that are not TOML.
    pub nobody_reads: bool,
}

/// One part of a dotted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The decoded name.
    pub name: String,
    /// The part as written, quotes included.
    pub range: Range<usize>,
    /// Whether it is written with escape sequences.
    pub has_escapes: bool,
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

    /// From the first key's first byte to the last key's last.
    pub fn key_range(&self) -> Range<usize> {
        let end = self.keys.last().map_or(0, |key| key.range.end);
        self.range().start..end
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

impl Section {
    /// Where it starts.
    pub fn start(&self) -> usize {
        self.header.as_ref().map_or(0, |header| header.range.start)
    }
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
    tree: Table,
    refusals: Refusals,
}

/// The deepest nesting of arrays and inline tables; toml_edit refuses deeper ones, and longer keys.
const DEPTH: u32 = 100;

impl Syntax {
    /// Parses `text`, or says why it is not TOML.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if let Err(error) = toml_edit::Document::parse(text) {
            let range = error.span().unwrap_or(0..0);
            return Err(SyntaxError {
                message: error.message().trim_end().replace('\n', ", "),
                nobody_reads: spelling::nobody_reads(text, range.start, &read(text).0.sections),
                range,
            });
        }
        let (builder, mut refusals) = read(text);
        Ok(Self {
            tree: tree(&builder.sections, &mut refusals),
            sections: builder.sections,
            comments: builder.comments,
            refusals,
        })
    }

    /// The tree that the sections make together.
    pub fn tree(&self) -> &Table {
        &self.tree
    }

    /// The first spelling that this reader of containerd's does not read.
    pub fn refusal(&self, reader: GoToml) -> Option<&Refusal> {
        self.refusals.of(reader)
    }
}

/// The sections of a text, and what is spelled as not every containerd reads it.
fn read(text: &str) -> (Builder<'_>, Refusals) {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut builder = Builder::new(source);
    let mut scan = Scan::new(text);
    let mut receiver = |event: Event| {
        scan.event(&event);
        builder.event(&event);
    };
    // toml_edit says what is wrong.
    let mut errors = ();
    parse_document(
        &tokens,
        &mut RecursionGuard::new(&mut receiver, DEPTH),
        &mut errors,
    );
    (builder, scan.finish())
}

fn tree(sections: &[Section], refusals: &mut Refusals) -> Table {
    let mut root = Table::default();
    for section in sections {
        let table = match &section.header {
            Some(header) => root.header(header),
            None => Some(&mut root),
        };
        if let Some(table) = table {
            // An array of tables is no registry setting; its elements are merged, which nothing looks at.
            table.array_of_tables |= section.header.as_ref().is_some_and(|header| header.array);
            table.extend(&section.entries, refusals);
        }
    }
    root
}

fn range(span: TokenSpan) -> Range<usize> {
    span.start()..span.end()
}

/// Puts sections together from the events of a text.
struct Builder<'s> {
    source: Source<'s>,
    sections: Vec<Section>,
    comments: Vec<Range<usize>>,
    /// The parts of the key that is being read.
    keys: Vec<Key>,
    /// The keys whose values are being read, the innermost last.
    open_keys: Vec<Vec<Key>>,
    /// The arrays and inline tables that are being read, and where they start.
    open_values: Vec<(usize, ValueKind)>,
    header: Option<(usize, bool)>,
}

impl<'s> Builder<'s> {
    fn new(source: Source<'s>) -> Self {
        Self {
            source,
            sections: vec![Section {
                header: None,
                entries: Vec::new(),
            }],
            comments: Vec::new(),
            keys: Vec::new(),
            open_keys: Vec::new(),
            open_values: Vec::new(),
            header: None,
        }
    }

    fn event(&mut self, event: &Event) {
        let range = range(event.span());
        match event.kind() {
            EventKind::StdTableOpen => self.header = Some((range.start, false)),
            EventKind::ArrayTableOpen => self.header = Some((range.start, true)),
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                if let Some((start, array)) = self.header.take() {
                    let header = Header {
                        range: start..range.end,
                        keys: std::mem::take(&mut self.keys),
                        array,
                    };
                    self.sections.push(Section {
                        header: Some(header),
                        entries: Vec::new(),
                    });
                }
            }
            EventKind::SimpleKey => self.keys.push(key(&self.source, event)),
            EventKind::KeyValSep => self.open_keys.push(std::mem::take(&mut self.keys)),
            EventKind::ArrayOpen => {
                self.open_values
                    .push((range.start, ValueKind::Array(Vec::new())));
            }
            EventKind::InlineTableOpen => {
                self.open_values
                    .push((range.start, ValueKind::Table(Vec::new())));
            }
            EventKind::ArrayClose | EventKind::InlineTableClose => {
                if let Some((start, kind)) = self.open_values.pop() {
                    self.value(Value {
                        range: start..range.end,
                        kind,
                    });
                }
            }
            EventKind::Scalar => {
                let kind = scalar(&self.source, event);
                self.value(Value { range, kind });
            }
            EventKind::Comment => self.comments.push(range),
            EventKind::ValueSep
            | EventKind::KeySep
            | EventKind::Whitespace
            | EventKind::Newline
            | EventKind::Error => {}
        }
    }

    /// Puts a value where it belongs.
    fn value(&mut self, value: Value) {
        if let Some((_, ValueKind::Array(elements))) = self.open_values.last_mut() {
            elements.push(value);
            return;
        }
        let Some(keys) = self.open_keys.pop() else {
            return;
        };
        let entry = Entry { keys, value };
        match self.open_values.last_mut() {
            Some((_, ValueKind::Table(entries))) => entries.push(entry),
            _ => {
                if let Some(section) = self.sections.last_mut() {
                    section.entries.push(entry);
                }
            }
        }
    }
}

fn raw<'s>(source: &Source<'s>, event: &Event) -> Option<Raw<'s>> {
    let text = source.get(event.span())?.as_str();
    Some(Raw::new_unchecked(text, event.encoding(), event.span()))
}

fn key(source: &Source<'_>, event: &Event) -> Key {
    let mut name = std::borrow::Cow::Borrowed("");
    let raw = raw(source, event);
    if let Some(raw) = &raw {
        raw.decode_key(&mut name, &mut ());
    }
    let is_basic = event.encoding() == Some(Encoding::BasicString);
    Key {
        has_escapes: is_basic && raw.is_some_and(|raw| raw.as_str().contains('\\')),
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
    made_by: MadeBy,
    /// What it is.
    pub item: Item,
}

/// What names something first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeBy {
    /// Its own header, or one of a table below it.
    Header,
    /// An entry.
    Key,
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

    /// From the name to the end of the value; of a table, its header or name.
    pub fn range(&self) -> Range<usize> {
        match (&self.item, &self.header) {
            (Item::Value(value), _) => self.key.range.start..value.range.end,
            (Item::Table(_), Some(header)) => header.clone(),
            (Item::Table(_), None) => self.key.range.clone(),
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

    fn child(
        &mut self,
        key: &Key,
        made_by: MadeBy,
        item: impl FnOnce() -> Item,
    ) -> Option<&mut Node> {
        let next = self.children.len();
        let index = *self.index.entry(key.name.clone()).or_insert(next);
        if index == next {
            self.children.push(Node {
                key: key.clone(),
                header: None,
                made_by,
                item: item(),
            });
        }
        self.children.get_mut(index)
    }

    /// The table of this key, made if it does not exist; `None` if it is something else, which toml_edit has ruled out
    /// before.
    fn child_table(&mut self, key: &Key, made_by: MadeBy) -> Option<(&mut Self, MadeBy)> {
        let node = self.child(key, made_by, || Item::Table(Self::default()))?;
        let made_by = node.made_by;
        match &mut node.item {
            Item::Table(table) => Some((table, made_by)),
            Item::Value(_) => None,
        }
    }

    /// The table of a header.
    fn header(&mut self, header: &Header) -> Option<&mut Self> {
        let (last, parents) = header.keys.split_last()?;
        let mut table = self;
        for key in parents {
            (table, _) = table.child_table(key, MadeBy::Header)?;
        }
        let node = table.child(last, MadeBy::Header, || Item::Table(Self::default()))?;
        node.header.get_or_insert(header.range.clone());
        match &mut node.item {
            Item::Table(table) => Some(table),
            Item::Value(_) => None,
        }
    }

    fn extend(&mut self, entries: &[Entry], refusals: &mut Refusals) {
        for entry in entries {
            let Some((last, parents)) = entry.keys.split_last() else {
                continue;
            };
            let Some(table) = self.dotted(parents, refusals) else {
                continue;
            };
            if let ValueKind::Table(inner) = &entry.value.kind {
                if let Some((table, _)) = table.child_table(last, MadeBy::Key) {
                    table.extend(inner, refusals);
                }
            } else {
                table.child(last, MadeBy::Key, || Item::Value(entry.value.clone()));
            }
        }
    }

    /// The table that the parts of a dotted key lead to.
    fn dotted(&mut self, parents: &[Key], refusals: &mut Refusals) -> Option<&mut Self> {
        let mut table = self;
        for key in parents {
            let (next, made_by) = table.child_table(key, MadeBy::Key)?;
            if made_by == MadeBy::Header {
                refusals.add(Spelling::DottedKeyIntoTable, key.range.clone());
            }
            table = next;
        }
        Some(table)
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
