//! What a TOML file means, before it is written down in one of many ways.

use std::collections::BTreeMap;

use toml_edit::{Document, Item, TableLike, Value};

/// Keys and values in an order, without any spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Table(Vec<(String, Tree)>),
    Strings(Vec<String>),
    Text(String),
    /// A value as it is written: a number, or a string of several lines.
    Raw(String),
}

pub(crate) type Path = Vec<String>;

pub(crate) fn table(entries: Vec<(&str, Tree)>) -> Tree {
    let named = entries
        .into_iter()
        .map(|(name, tree)| (name.to_owned(), tree));
    Tree::Table(named.collect())
}

impl Tree {
    pub(crate) fn entries(&self) -> &[(String, Tree)] {
        match self {
            Self::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }

    /// The child of this name as it is spelled, in any case.
    pub(crate) fn find(&self, name: &str) -> Option<(&str, &Self)> {
        self.entries()
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(key, tree)| (key.as_str(), tree))
    }

    /// The table at `path`, made if it is not there.
    pub(crate) fn at(&mut self, path: &[&str]) -> &mut Vec<(String, Self)> {
        let Self::Table(entries) = self else {
            panic!("no table")
        };
        let Some((first, rest)) = path.split_first() else {
            return entries;
        };
        let index = entries.iter().position(|(key, _)| key == first);
        let index = index.unwrap_or_else(|| {
            entries.push(((*first).to_owned(), Self::Table(Vec::new())));
            entries.len() - 1
        });
        entries[index].1.at(rest)
    }

    /// Every tree that has one table entry or one array element less.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        match self {
            Self::Table(entries) => {
                for index in 0..entries.len() {
                    let mut less = entries.clone();
                    less.remove(index);
                    all.push(Self::Table(less));
                }
                for (index, (_, child)) in entries.iter().enumerate() {
                    for small in child.smaller() {
                        let mut less = entries.clone();
                        less[index].1 = small;
                        all.push(Self::Table(less));
                    }
                }
            }
            Self::Strings(elements) => {
                for index in 0..elements.len() {
                    let mut less = elements.clone();
                    less.remove(index);
                    all.push(Self::Strings(less));
                }
            }
            Self::Text(_) | Self::Raw(_) => {}
        }
        all
    }

    pub(crate) fn meaning(&self) -> Meaning {
        match self {
            Self::Table(entries) => Meaning::Table(
                entries
                    .iter()
                    .map(|(key, tree)| (key.clone(), tree.meaning()))
                    .collect(),
            ),
            Self::Strings(elements) => Meaning::Array(
                elements
                    .iter()
                    .map(|text| Meaning::Scalar(format!("{text:?}")))
                    .collect(),
            ),
            Self::Text(text) => Meaning::Scalar(format!("{text:?}")),
            Self::Raw(raw) => {
                let Meaning::Table(mut table) = Meaning::parse(&format!("x = {raw}")).unwrap()
                else {
                    panic!("no table")
                };
                table.remove("x").unwrap()
            }
        }
    }
}

/// What `toml_edit` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Table(BTreeMap<String, Meaning>),
    Array(Vec<Meaning>),
    Scalar(String),
}

impl Meaning {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match Document::parse(text) {
            Ok(document) => Ok(Self::of(document.as_table())),
            Err(error) => Err(error.to_string()),
        }
    }

    fn of(table: &dyn TableLike) -> Self {
        let of = |(key, item): (&str, &Item)| (key.to_owned(), Self::of_item(item));
        Self::Table(table.iter().map(of).collect())
    }

    fn of_item(item: &Item) -> Self {
        match item {
            Item::None => panic!("an entry without a value"),
            Item::Value(value) => Self::of_value(value),
            Item::Table(table) => Self::of(table),
            Item::ArrayOfTables(tables) => {
                Self::Array(tables.iter().map(|table| Self::of(table)).collect())
            }
        }
    }

    fn of_value(value: &Value) -> Self {
        Self::Scalar(match value {
            // In a string of several lines the line ends are the file's.
            Value::String(text) => format!("{:?}", text.value().replace("\r\n", "\n")),
            Value::Integer(number) => number.value().to_string(),
            Value::Float(number) => number.value().to_string(),
            Value::Boolean(truth) => truth.value().to_string(),
            Value::Datetime(time) => time.value().to_string(),
            Value::Array(array) => return Self::Array(array.iter().map(Self::of_value).collect()),
            Value::InlineTable(table) => return Self::of(table),
        })
    }

    /// The same without tables that have nothing in them. One that is a part of another's header is there only with it.
    pub(crate) fn without_empty(&self) -> Self {
        let Self::Table(table) = self else {
            return self.clone();
        };
        let entries = table
            .iter()
            .map(|(key, meaning)| (key.clone(), meaning.without_empty()));
        let is_empty = |meaning: &Self| matches!(meaning, Self::Table(table) if table.is_empty());
        Self::Table(entries.filter(|(_, meaning)| !is_empty(meaning)).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&str, &Self)> {
        let Self::Table(table) = self else {
            return None;
        };
        table
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(key, meaning)| (key.as_str(), meaning))
    }

    pub(crate) fn remove(&mut self, path: &[String]) {
        let Self::Table(table) = self else { return };
        match path {
            [] => {}
            [last] => {
                table.remove(last);
            }
            [first, rest @ ..] => {
                if let Some(child) = table.get_mut(first) {
                    child.remove(rest);
                }
            }
        }
    }

    pub(crate) fn set(&mut self, path: &[String], text: &str) {
        let Self::Table(table) = self else { return };
        match path {
            [] => {}
            [last] => {
                table.insert(last.clone(), Self::Scalar(format!("{text:?}")));
            }
            [first, rest @ ..] => table
                .entry(first.clone())
                .or_insert_with(|| Self::Table(BTreeMap::new()))
                .set(rest, text),
        }
    }

    /// Without tables that hold nothing: whether one is left where all of it went depends on its spelling.
    pub(crate) fn pruned(&self) -> Self {
        match self {
            Self::Table(table) => {
                let children = table
                    .iter()
                    .map(|(key, child)| (key.clone(), child.pruned()));
                Self::Table(
                    children
                        .filter(|(_, child)| *child != Self::Table(BTreeMap::new()))
                        .collect(),
                )
            }
            other => other.clone(),
        }
    }

    /// The paths of all values, and of arrays as a whole.
    pub(crate) fn leaves(&self, above: &[String], leaves: &mut Vec<Path>) {
        match self {
            Self::Table(table) => {
                for (key, child) in table {
                    let mut path = above.to_vec();
                    path.push(key.clone());
                    child.leaves(&path, leaves);
                }
            }
            Self::Array(_) | Self::Scalar(_) => leaves.push(above.to_vec()),
        }
    }
}
