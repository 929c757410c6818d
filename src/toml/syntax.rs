//! A TOML file as it is written: every header, entry, value and comment with its byte range.
//!
//! `config.toml` is edited by byte ranges, and go-toml's key rules need every spelling of a key, so neither a
//! parsed document nor serde will do. Everything comes from the token stream below toml_edit. Whether the text is TOML is
//! plain to see for most texts; of all others toml_edit says whether they are, and why not. Nothing here knows what the
//! keys mean.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::{Event, EventKind, EventReceiver, parse_document};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span as TokenSpan};

use super::mistake::{Mistake, SyntaxError};
use super::spelling::{GoToml, Refusal, Refusals, Scan, Spelling};
use crate::work;

/// A decoded name; copies share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Rc<str>);

impl Name {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<Name> for &str {
    fn eq(&self, other: &Name) -> bool {
        *self == other.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One part of a dotted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The decoded name.
    pub name: Name,
    /// The part as written, quotes included.
    pub range: Range<usize>,
}

impl Key {
    /// Whether it is written with escape sequences, each of which is longer than what it stands for.
    pub fn has_escapes(&self) -> bool {
        self.range.len() > self.name.len() + "\"\"".len()
    }
}

/// `key = value`, in a section or in an inline table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The parts of the key; never empty.
    pub keys: Vec<Key>,
    /// What it is set to; the tree shares it.
    pub value: Rc<Value>,
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

/// The most bytes of the names of a key or header together. What is said of a file repeats them, for each of its lines.
const LONGEST_KEY: usize = 1024;

/// The deepest nesting of arrays and inline tables; toml_edit refuses deeper ones, and longer keys.
const DEPTH: u32 = 100;

/// Nesting and keys of this length may be too deep for toml_edit.
const DEEP: usize = 64;

impl Syntax {
    /// Parses `text`, or says why it is not TOML.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Self::parse_with(text, |sections| ask_toml_edit(text, sections))
    }

    /// Parses `text`. It asks whether that is TOML, if it is not plain to see: that it is where the token stream has no
    /// error, no value needs a closer look, and nothing is named twice but tables in headers of tables below them.
    fn parse_with(
        text: &str,
        ask: impl Fn(&[Section]) -> Result<(), SyntaxError>,
    ) -> Result<Self, SyntaxError> {
        let source = Source::new(text);
        let tokens = source.lex().into_vec();
        work::count(text.len() + tokens.len());
        let mut reader = Reader {
            builder: Builder::new(source),
            scan: Scan::new(text),
            depth: 0,
        };
        let mut error: Option<ParseError> = None;
        parse_document(&tokens, &mut reader, &mut error);
        let Reader { builder, scan, .. } = reader;
        let is_plain = error.is_none() && builder.error.is_none() && !builder.is_doubtful;
        if !is_plain {
            // Before the tree is made: no stack is large enough for some texts that are not TOML.
            ask(&builder.sections)?;
        }
        if let Some(range) = builder.long_key {
            return Err(SyntaxError {
                mistake: Mistake::Other {
                    reason: format!(
                        "a key of more than {LONGEST_KEY} bytes, which this program does not read"
                    ),
                    table: Vec::new(),
                },
                line: text
                    .get(..range.start)
                    .unwrap_or_default()
                    .matches('\n')
                    .count()
                    + 1,
                nobody_reads: false,
                range,
            });
        }
        let mut tree = TreeBuilder {
            refusals: scan.finish(),
            is_plain: true,
        };
        let root = tree.build(&builder.sections);
        if is_plain && !tree.is_plain {
            ask(&builder.sections)?;
        }
        Ok(Self {
            sections: builder.sections,
            comments: builder.comments,
            tree: root,
            refusals: tree.refusals,
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

/// Whether a text with these sections is TOML, or why not.
fn ask_toml_edit(text: &str, sections: &[Section]) -> Result<(), SyntaxError> {
    toml_edit::Document::parse(text)
        .map(|_| ())
        .map_err(|error| SyntaxError::new(text, &error, sections))
}

fn range(span: TokenSpan) -> Range<usize> {
    span.start()..span.end()
}

/// Takes the events of a text.
struct Reader<'s> {
    builder: Builder<'s>,
    scan: Scan<'s>,
    depth: u32,
}

impl Reader<'_> {
    fn event(&mut self, kind: EventKind, encoding: Option<Encoding>, span: TokenSpan) {
        let event = Event::new_unchecked(kind, encoding, span);
        self.scan.event(&event);
        self.builder.event(&event);
    }

    /// Whether an array or an inline table is not too deep to be read.
    fn enter(&mut self) -> bool {
        self.depth += 1;
        let is_read = self.depth <= DEPTH;
        self.builder.is_doubtful |= !is_read;
        is_read
    }
}

/// The methods for events that are as they are.
macro_rules! events {
    ($($method:ident $kind:ident)*) => {
        $(fn $method(&mut self, span: TokenSpan, _: &mut dyn ErrorSink) {
            self.event(EventKind::$kind, None, span);
        })*
    };
}

impl EventReceiver for Reader<'_> {
    events! {
        std_table_open StdTableOpen
        std_table_close StdTableClose
        array_table_open ArrayTableOpen
        array_table_close ArrayTableClose
        key_sep KeySep
        key_val_sep KeyValSep
        value_sep ValueSep
        whitespace Whitespace
        error Error
    }

    fn simple_key(&mut self, span: TokenSpan, encoding: Option<Encoding>, _: &mut dyn ErrorSink) {
        self.event(EventKind::SimpleKey, encoding, span);
    }

    fn scalar(&mut self, span: TokenSpan, encoding: Option<Encoding>, _: &mut dyn ErrorSink) {
        self.event(EventKind::Scalar, encoding, span);
    }

    fn inline_table_open(&mut self, span: TokenSpan, _: &mut dyn ErrorSink) -> bool {
        self.event(EventKind::InlineTableOpen, None, span);
        self.enter()
    }

    fn inline_table_close(&mut self, span: TokenSpan, _: &mut dyn ErrorSink) {
        self.depth = self.depth.saturating_sub(1);
        self.event(EventKind::InlineTableClose, None, span);
    }

    fn array_open(&mut self, span: TokenSpan, _: &mut dyn ErrorSink) -> bool {
        self.event(EventKind::ArrayOpen, None, span);
        self.enter()
    }

    fn array_close(&mut self, span: TokenSpan, _: &mut dyn ErrorSink) {
        self.depth = self.depth.saturating_sub(1);
        self.event(EventKind::ArrayClose, None, span);
    }

    fn comment(&mut self, span: TokenSpan, errors: &mut dyn ErrorSink) {
        if let Some(raw) = self.builder.source.get(span) {
            raw.decode_comment(errors);
        }
        self.event(EventKind::Comment, None, span);
    }

    fn newline(&mut self, span: TokenSpan, errors: &mut dyn ErrorSink) {
        if let Some(raw) = self.builder.source.get(span) {
            raw.decode_newline(errors);
        }
        self.event(EventKind::Newline, None, span);
    }
}

/// Puts sections together from the events of a text.
struct Builder<'s> {
    source: Source<'s>,
    sections: Vec<Section>,
    comments: Vec<Range<usize>>,
    /// The parts of the key that is being read.
    keys: Vec<Key>,
    /// How long the names in `keys` are together.
    key_length: usize,
    /// The keys whose values are being read, the innermost last.
    open_keys: Vec<Vec<Key>>,
    /// The arrays and inline tables that are being read, and where they start.
    open_values: Vec<(usize, ValueKind)>,
    header: Option<(usize, bool)>,
    /// What is wrong with a key or a value.
    error: Option<ParseError>,
    /// Whether something may be wrong that is not looked at here.
    is_doubtful: bool,
    /// The first key that is too long.
    long_key: Option<Range<usize>>,
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
            key_length: 0,
            open_keys: Vec::new(),
            open_values: Vec::new(),
            header: None,
            error: None,
            is_doubtful: false,
            long_key: None,
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
                        keys: self.take_keys(),
                        array,
                    };
                    self.sections.push(Section {
                        header: Some(header),
                        entries: Vec::new(),
                    });
                }
            }
            EventKind::SimpleKey => {
                let name = self.name(event);
                self.is_doubtful |= self.keys.len() >= DEEP;
                self.key_length += name.len();
                if self.key_length > LONGEST_KEY {
                    self.long_key.get_or_insert(range.clone());
                }
                self.keys.push(Key { name, range });
            }
            EventKind::KeyValSep => {
                let keys = self.take_keys();
                self.open_keys.push(keys);
            }
            EventKind::ArrayOpen => self.open(range.start, ValueKind::Array(Vec::new())),
            EventKind::InlineTableOpen => {
                // What is in tables in arrays is not in the tree, where names are compared.
                let around = self.open_values.last();
                self.is_doubtful |= matches!(around, Some((_, ValueKind::Array(_))));
                self.open(range.start, ValueKind::Table(Vec::new()));
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
                let kind = self.scalar(event);
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

    fn take_keys(&mut self) -> Vec<Key> {
        self.key_length = 0;
        self.keys.drain(..).collect()
    }

    fn open(&mut self, start: usize, kind: ValueKind) {
        self.is_doubtful |= self.open_values.len() >= DEEP;
        self.open_values.push((start, kind));
    }

    /// The name that a key stands for. Most headers begin as the one before them, and share its names.
    fn name(&mut self, event: &Event) -> Name {
        let Some(raw) = raw(&self.source, event) else {
            return Name(Rc::from(""));
        };
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let mut decoded = Cow::Borrowed(raw.as_str());
        if event.encoding().is_some() || raw.is_empty() || !raw.as_str().bytes().all(is_bare) {
            raw.decode_key(&mut decoded, &mut self.error);
        }
        let header = self
            .header
            .and(self.sections.last())
            .and_then(|section| section.header.as_ref());
        let before = header.and_then(|header| header.keys.get(self.keys.len()));
        match before {
            Some(before) if before.name == *decoded => before.name.clone(),
            _ => Name(Rc::from(decoded)),
        }
    }

    fn scalar(&mut self, event: &Event) -> ValueKind {
        let mut decoded = Cow::Borrowed("");
        let Some(raw) = raw(&self.source, event) else {
            return ValueKind::Other;
        };
        match raw.decode_scalar(&mut decoded, &mut self.error) {
            ScalarKind::String => return ValueKind::String(decoded.into_owned()),
            ScalarKind::Boolean(value) => return ValueKind::Boolean(value),
            ScalarKind::Integer(radix) => {
                if let Ok(number) = i64::from_str_radix(&decoded, radix.value()) {
                    return ValueKind::Integer(number);
                }
                self.is_doubtful = true;
            }
            ScalarKind::Float => {
                self.is_doubtful |= !decoded.parse().is_ok_and(f64::is_finite);
            }
            ScalarKind::DateTime => self.is_doubtful = true,
        }
        ValueKind::Other
    }

    /// Puts a value where it belongs.
    fn value(&mut self, value: Value) {
        if let Some((_, ValueKind::Array(elements))) = self.open_values.last_mut() {
            push(elements, value);
            return;
        }
        let Some(keys) = self.open_keys.pop() else {
            return;
        };
        let value = Rc::new(value);
        let entry = Entry { keys, value };
        match self.open_values.last_mut() {
            Some((_, ValueKind::Table(entries))) => push(entries, entry),
            _ => {
                if let Some(section) = self.sections.last_mut() {
                    push(&mut section.entries, entry);
                }
            }
        }
    }
}

/// Most arrays and tables have one element only, for which `Vec` would make room for four.
fn push<T>(elements: &mut Vec<T>, element: T) {
    if elements.is_empty() {
        elements.reserve_exact(1);
    }
    elements.push(element);
}

fn raw<'s>(source: &Source<'s>, event: &Event) -> Option<Raw<'s>> {
    let text = source.get(event.span())?.as_str();
    Some(Raw::new_unchecked(text, event.encoding(), event.span()))
}

/// A table of the merged tree: what headers, dotted keys and inline tables make together.
#[derive(Clone, Debug, Default)]
pub struct Table {
    children: Vec<Node>,
    /// Where each child is; `None` if there are so few of them that they are found as fast one by one.
    #[expect(
        clippy::box_collection,
        reason = "most tables have none, and there are many tables"
    )]
    index: Option<Box<HashMap<Name, usize>>>,
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

/// How many children are looked through one by one.
const FEW: usize = 8;

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
    Value(Rc<Value>),
}

impl Node {
    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table> {
        match &self.item {
            Item::Table(table) if !table.array_of_tables => Some(table),
            _ => None,
        }
    }

    /// Whether it is a table that only headers of tables below it name, so that it may get a header of its own.
    pub fn is_implied(&self) -> bool {
        self.made_by == MadeBy::Header && self.header.is_none()
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
        self.children.get(self.position(name)?)
    }

    fn position(&self, name: &str) -> Option<usize> {
        work::count(1);
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => {
                work::count(self.children.len());
                self.children.iter().position(|node| node.key.name == *name)
            }
        }
    }

    /// The child table at the end of `path`, all names exact.
    pub fn table_at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |table, name| table.get(name)?.table())
    }

    /// The children in the order in which they are first named.
    pub fn iter(&self) -> std::slice::Iter<'_, Node> {
        work::count(self.children.len());
        self.children.iter()
    }

    /// Whether there are no children.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The child of this name, made if it does not exist, and whether it did.
    fn child(
        &mut self,
        key: &Key,
        made_by: MadeBy,
        item: impl FnOnce() -> Item,
    ) -> (bool, Option<&mut Node>) {
        if let Some(index) = self.position(&key.name) {
            return (true, self.children.get_mut(index));
        }
        let next = self.children.len();
        if next == FEW {
            let names = self.children.iter().map(|node| &node.key.name);
            self.index = Some(Box::new(names.cloned().zip(0..).collect()));
        }
        if let Some(index) = &mut self.index {
            index.insert(key.name.clone(), next);
        }
        let node = Node {
            key: key.clone(),
            header: None,
            made_by,
            item: item(),
        };
        push(&mut self.children, node);
        (false, self.children.last_mut())
    }
}

/// Puts the sections of a text together.
struct TreeBuilder {
    refusals: Refusals,
    /// Whether it is plain to see that nothing is named twice that may not be.
    is_plain: bool,
}

impl TreeBuilder {
    fn build(&mut self, sections: &[Section]) -> Table {
        let mut root = Table::default();
        for section in sections {
            let table = match &section.header {
                Some(header) => self.header(&mut root, header),
                None => Some(&mut root),
            };
            if let Some(table) = table {
                // An array of tables is no registry setting; its elements are merged, which nothing looks at.
                table.array_of_tables |= section.header.as_ref().is_some_and(|header| header.array);
                self.extend(table, &section.entries);
            }
        }
        root
    }

    /// The table of a header.
    fn header<'t>(&mut self, root: &'t mut Table, header: &Header) -> Option<&'t mut Table> {
        let (last, parents) = header.keys.split_last()?;
        let mut table = root;
        for key in parents {
            (table, _) = self.table(table, key, MadeBy::Header)?;
        }
        let (exists, node) = table.child(last, MadeBy::Header, || Item::Table(Table::default()));
        let node = node?;
        let is_implied = node.made_by == MadeBy::Header && node.header.is_none();
        self.is_plain &= !exists || is_implied && !header.array;
        node.header.get_or_insert(header.range.clone());
        match &mut node.item {
            Item::Table(table) => Some(table),
            Item::Value(_) => None,
        }
    }

    fn extend(&mut self, table: &mut Table, entries: &[Entry]) {
        for entry in entries {
            let Some((last, parents)) = entry.keys.split_last() else {
                continue;
            };
            let Some(table) = self.dotted(table, parents) else {
                continue;
            };
            if let ValueKind::Table(inner) = &entry.value.kind {
                if let Some((table, _)) = self.table(table, last, MadeBy::Key) {
                    self.extend(table, inner);
                }
            } else {
                let (exists, _) =
                    table.child(last, MadeBy::Key, || Item::Value(entry.value.clone()));
                self.is_plain &= !exists;
            }
        }
    }

    /// The table that the parts of a dotted key lead to.
    fn dotted<'t>(&mut self, mut table: &'t mut Table, parents: &[Key]) -> Option<&'t mut Table> {
        for key in parents {
            let (next, made_by) = self.table(table, key, MadeBy::Key)?;
            if made_by == MadeBy::Header {
                self.refusals
                    .add(Spelling::DottedKeyIntoTable, key.range.clone());
            }
            table = next;
        }
        Some(table)
    }

    /// The table of this key, made if it does not exist, and what made it; `None` if it is something else, of which
    /// toml_edit says that it is no TOML.
    fn table<'t>(
        &mut self,
        table: &'t mut Table,
        key: &Key,
        made_by: MadeBy,
    ) -> Option<(&'t mut Table, MadeBy)> {
        let (exists, node) = table.child(key, made_by, || Item::Table(Table::default()));
        let node = node?;
        // Only headers may name a table again, and only one of headers.
        let headers = made_by == MadeBy::Header && node.made_by == MadeBy::Header;
        self.is_plain &= !exists || headers;
        let made_by = node.made_by;
        match &mut node.item {
            Item::Table(table) => Some((table, made_by)),
            Item::Value(_) => None,
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
            value(tree, &["a", "b"], "c"),
            ValueKind::Integer(1)
        ));
        assert!(matches!(
            value(tree, &["a2", "b2", "d"], "e"),
            ValueKind::Boolean(true)
        ));
        assert!(tree.table_at(&["a2", "b2", "f"]).unwrap().is_empty());
        let ValueKind::Array(elements) = value(tree, &["x", "y.z", "q"], "k") else {
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

    /// Words of which texts are made that are TOML, or almost.
    const WORDS: &[&str] = &[
        "a",
        "b",
        "\"a\"",
        "'b'",
        "1",
        "true",
        "\"x\"",
        "'''y'''",
        ".",
        "=",
        ",",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "\n",
        " ",
        "# c\n",
        "\r\n",
        "\r",
        "\t",
        "\u{1}",
        "1.5",
        "1e999",
        "07",
        "1979-05-27",
        "inf",
        "99999999999999999999",
        "\\",
        "\"",
        "[a]\n",
        "[b]\n",
        "[a.b]\n",
        "[[a]]\n",
        "a = 1\n",
        "b = 2\n",
        "a.b = 1\n",
        "a.c = 2\n",
        "a = {}\n",
        "b = []\n",
        "a = { b = 1, ",
        "b.a = 1",
        " }\n",
        "b = [{ a = 1 }, ",
        "{ a = 1, a = 2 }]\n",
        "\u{feff}",
    ];

    #[test]
    fn what_is_plain_toml_is_toml_to_toml_edit() {
        let mut state = 1_u64;
        let mut below = |most: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % most
        };
        let refused = Syntax::parse("not TOML").unwrap_err();
        let (mut plain, mut others) = (0, 0);
        for _ in 0..30_000 {
            let text: String = (0..=below(7)).map(|_| WORDS[below(WORDS.len())]).collect();
            let is_toml = toml_edit::Document::parse(&*text).is_ok();
            let is_plain = Syntax::parse_with(&text, |_| Err(refused.clone())).is_ok();
            assert!(is_toml || !is_plain, "{text:?}");
            assert_eq!(Syntax::parse(&text).is_ok(), is_toml, "{text:?}");
            plain += usize::from(is_plain);
            others += usize::from(is_toml && !is_plain);
        }
        assert!(plain > 1_000 && others > 10, "{plain} {others}");
    }

    #[test]
    fn what_is_not_toml_is_said_without_its_line() {
        for text in ["a = ", "[t]\n[t]\n", "password = hunter2", "a = 1\na = 2"] {
            let error = Syntax::parse(text).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(Syntax::parse(&"[".repeat(100_000)).is_err());
        assert!(Syntax::parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    }

    #[test]
    fn deep_nesting_is_refused_or_read_on_any_stack() {
        assert!(Syntax::parse(&format!("a{} = 1", ".a".repeat(50_000))).is_err());
        assert!(Syntax::parse(&format!("[a{}]", ".a".repeat(50_000))).is_err());
        assert!(Syntax::parse(&"k = {a = ".repeat(50_000)).is_err());
        // The deepest that toml_edit reads.
        let dotted = format!("a{}", ".a".repeat(79));
        let inline = format!("{{ {dotted} = ").repeat(79);
        let text = format!("[{dotted}]\n{dotted} = {inline} 1 {}", "}".repeat(79));
        let path = vec!["a"; 81 * 80 - 1];
        let is_read = move || {
            Syntax::parse(&text)
                .unwrap()
                .tree()
                .table_at(&path)
                .is_some()
        };
        // Frames are larger than in a release, which needs less than a megabyte.
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        assert!(thread.spawn(is_read).unwrap().join().unwrap());
    }

    #[test]
    fn many_keys_and_comments_take_no_time() {
        let keys: String = (0..20_000).map(|n| format!("k{n} = 1\n")).collect();
        let tables: String = (0..20_000).map(|n| format!("[a.b{n}]\nk = 1\n")).collect();
        let entries: String = (0..20_000).map(|n| format!("k{n} = 1, ")).collect();
        let colons = format!("# {}\n", ":".repeat(80_000));
        let text = format!("{colons}{keys}{tables}[c]\nd = {{ {entries} e = 1 }}\n");
        let syntax = Syntax::parse(&text).unwrap();
        assert_eq!(syntax.tree().iter().count(), 20_002);
        assert_eq!(
            syntax.tree().table_at(&["c", "d"]).unwrap().iter().count(),
            20_001
        );
    }
}
