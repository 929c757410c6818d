//! Byte-range edits on the raw text of a config.toml: what goes is cut out, what is set is put in, and every other
//! byte stays (`toml_edit` normalises line ends, BOM and the final newline when it prints a document back).
//!
//! This module knows TOML and how people lay files out, but no registry setting: it is told key paths.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::commented::{self, Shape};
use super::syntax::{Entry, Header, Key, Section, Syntax, Value, ValueKind};

/// A set of key paths; a path in it covers everything below it.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    whole: bool,
    children: HashMap<String, PathSet>,
}

impl PathSet {
    /// Adds `path` and all below it.
    pub fn insert<S: AsRef<str>>(&mut self, path: &[S]) {
        let mut set = self;
        for name in path {
            set = set.children.entry(name.as_ref().to_owned()).or_default();
        }
        set.whole = true;
    }

    /// What of the set is at `path` or below it; `None` if nothing is.
    pub fn at(&self, path: &[Key]) -> Option<&Self> {
        let mut set = self;
        for key in path {
            if set.whole {
                break;
            }
            set = set.children.get(key.name.as_str())?;
        }
        Some(set)
    }

    /// Whether it is everything.
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

/// What stands in the comments around the lines that Ansible writes in a file that is otherwise someone else's.
pub const ANSIBLE_BLOCK: &str = "ANSIBLE MANAGED BLOCK";

/// A comment that goes away, and what it stood with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedComment {
    /// The comment from `#` on.
    pub text: String,
    /// Where it stands in the old text.
    pub range: Range<usize>,
    /// The key path of the header or entry that it stands above or beside.
    pub path: Vec<String>,
    /// The element, if it stands above or beside one in an array.
    pub element: Option<usize>,
}

/// The new text and what was cut out with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole file.
    pub text: String,
    /// The comments that went, in file order.
    pub comments: Vec<MovedComment>,
}

/// A value to set at a key path.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The table that gets the key.
    pub table: Vec<String>,
    /// The key.
    pub key: String,
    /// The value.
    pub value: NewValue,
    /// The table's name as it is to be written in a header at the end of the file, if it has none of its own. Without
    /// it, a new table comes beside what is around it.
    pub new_header: Option<String>,
}

/// What is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewValue {
    /// Text, written as a TOML string.
    String(String),
    /// `true`.
    True,
}

impl NewValue {
    /// Whether a value says this.
    pub fn is(&self, value: &Value) -> bool {
        match (self, &value.kind) {
            (Self::String(new), ValueKind::String(text)) => new == text,
            (Self::True, ValueKind::Boolean(truth)) => *truth,
            _ => false,
        }
    }

    fn written(&self, literal: bool) -> String {
        match self {
            Self::String(text) => quote(text, literal),
            Self::True => "true".to_owned(),
        }
    }
}

impl Setting {
    /// The whole key path, and the value.
    pub fn path_and_value(&self) -> (Vec<String>, NewValue) {
        let path = self.table.iter().chain([&self.key]).cloned().collect();
        (path, self.value.clone())
    }

    fn table(&self) -> Vec<&str> {
        self.table.iter().map(String::as_str).collect()
    }
}

/// Cuts `removed` out of `text` and makes `settings`.
///
/// `None` if there is no place for a setting.
pub fn edit(
    text: &str,
    syntax: &Syntax,
    removed: &PathSet,
    settings: &[Setting],
) -> Option<Edited> {
    let layout = Layout::new(text, syntax);
    let mut cuts = layout.cuts(removed);
    // Of two that come to the same place the first stands first.
    for setting in settings.iter().rev() {
        layout.set(setting, &mut cuts)?;
    }
    layout.trim_end(&mut cuts);
    let mut edited = String::with_capacity(text.len());
    let mut copied = 0;
    for (start, (end, replacement)) in &cuts.edits {
        edited.push_str(text.get(copied..*start)?);
        edited.push_str(replacement);
        copied = *end;
    }
    edited.push_str(text.get(copied..)?);
    Some(Edited {
        text: edited,
        comments: cuts.comments,
    })
}

/// Writes `value` as a TOML string that every go-toml reads: a basic one, or a literal where that is possible.
pub fn quote(value: &str, literal: bool) -> String {
    if literal && !value.contains(|c: char| c == '\'' || c.is_control()) {
        return ["'", value, "'"].concat();
    }
    let as_it_is = |c: char| c != '"' && c != '\\' && !c.is_control();
    if value.chars().all(as_it_is) {
        return ["\"", value, "\""].concat();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An entry whose first `depth` key parts lead to the table that gets the setting.
#[derive(Clone, Copy)]
struct Dotted<'s> {
    entry: &'s Entry,
    depth: usize,
}

/// Where a setting can be put.
enum Site<'s> {
    /// The key is there: its value is replaced.
    Value(&'s Value),
    /// The table has a header, with this first entry: a line below it.
    Below(&'s Header, Option<&'s Entry>),
    /// The table is this inline table, or is made by dotted keys in it.
    Inline {
        table: &'s Value,
        dotted: Option<Dotted<'s>>,
    },
    /// The table is made by dotted keys in a section, of which this is the first.
    Dotted(Dotted<'s>),
    /// The table is only implied by headers of tables below it, of which this is the first.
    Above(&'s Header),
}

impl Site<'_> {
    /// The site with the lowest rank is taken: a table that is made by dotted keys must not get a header of its own.
    fn rank(&self) -> u8 {
        match self {
            Self::Value(_) => 0,
            Self::Below(..) => 1,
            Self::Inline { dotted: None, .. } => 2,
            Self::Inline { .. } | Self::Dotted(_) => 3,
            Self::Above(_) => 4,
        }
    }
}

fn names(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(|key| key.name.as_str()).collect()
}

fn section_path(section: &Section) -> Vec<&str> {
    let header = section.header.as_ref();
    header.map(|header| names(&header.keys)).unwrap_or_default()
}

fn site<'s>(syntax: &'s Syntax, setting: &Setting) -> Option<Site<'s>> {
    let table = setting.table();
    let mut sites = Vec::new();
    for section in &syntax.sections {
        let path = section_path(section);
        if let Some(header) = &section.header
            && path.starts_with(&table)
        {
            sites.push(if path == table {
                Site::Below(header, section.entries.first())
            } else {
                Site::Above(header)
            });
        }
        if let Some(rest) = table.strip_prefix(path.as_slice()) {
            entry_sites(&section.entries, rest, &setting.key, None, &mut sites);
        }
    }
    // `min_by_key` takes the first of equals, which is the first in the file.
    sites.into_iter().min_by_key(Site::rank)
}

fn entry_sites<'s>(
    entries: &'s [Entry],
    table: &[&str],
    key: &str,
    inline: Option<&'s Value>,
    sites: &mut Vec<Site<'s>>,
) {
    for entry in entries {
        let path = names(&entry.keys);
        if path.strip_prefix(table) == Some(&[key]) {
            sites.push(Site::Value(&entry.value));
        } else if !table.is_empty() && path.len() > table.len() && path.starts_with(table) {
            let dotted = Dotted {
                entry,
                depth: table.len(),
            };
            sites.push(match inline {
                Some(table) => Site::Inline {
                    table,
                    dotted: Some(dotted),
                },
                None => Site::Dotted(dotted),
            });
        }
        if let (Some(rest), ValueKind::Table(inner)) =
            (table.strip_prefix(path.as_slice()), &entry.value.kind)
        {
            if rest.is_empty() {
                sites.push(Site::Inline {
                    table: &entry.value,
                    dotted: None,
                });
            }
            entry_sites(inner, rest, key, Some(&entry.value), sites);
        }
    }
}

/// The edits by start: the end of what is replaced, and the replacement. They never overlap.
struct Cuts {
    edits: BTreeMap<usize, (usize, String)>,
    comments: Vec<MovedComment>,
}

impl Cuts {
    fn covers(&self, at: usize) -> bool {
        let before = self.edits.range(..=at).next_back();
        before.is_some_and(|(_, (end, _))| at < *end)
    }
}

/// A file's lines and comments.
struct Layout<'s> {
    text: &'s str,
    syntax: &'s Syntax,
    /// The first byte of each line; of the first one, behind a byte order mark, which is the file's.
    starts: Vec<usize>,
    newline: &'static str,
    /// The lines that hold TOML that is commented out. Comments inside a value are the value's.
    commented: BTreeMap<usize, Shape>,
}

impl<'s> Layout<'s> {
    fn new(text: &'s str, syntax: &'s Syntax) -> Self {
        let mark = text.len() - text.trim_start_matches('\u{feff}').len();
        let mut starts = vec![mark];
        starts.extend(
            text.match_indices('\n')
                .map(|(at, _)| at + 1)
                .filter(|at| *at < text.len()),
        );
        let first_line = text.split_inclusive('\n').next().unwrap_or_default();
        let newline = if first_line.ends_with("\r\n") {
            "\r\n"
        } else {
            "\n"
        };
        let mut layout = Self {
            text,
            syntax,
            starts,
            newline,
            commented: BTreeMap::new(),
        };
        layout.commented = layout.commented_out();
        layout
    }

    /// Looks through every block of comments that have lines of their own.
    fn commented_out(&self) -> BTreeMap<usize, Shape> {
        let entries = self
            .syntax
            .sections
            .iter()
            .flat_map(|section| &section.entries);
        let mut values = entries.map(|entry| &entry.value.range).peekable();
        let mut commented = BTreeMap::new();
        let mut block: Vec<&str> = Vec::new();
        let mut block_end = 0;
        let mut finish = |block: &mut Vec<&str>, end: usize| {
            let shapes = commented::shapes(block).into_iter();
            let lines = (end - block.len()..end).zip(shapes);
            commented.extend(lines.filter(|(_, shape)| *shape != Shape::Prose));
            block.clear();
        };
        for comment in &self.syntax.comments {
            while values.next_if(|value| value.end <= comment.start).is_some() {}
            let line = self.line_of(comment.start);
            let before = self.text.get(self.line_start(line)..comment.start);
            let is_alone = before.is_some_and(|before| before.trim().is_empty());
            if !is_alone
                || values
                    .peek()
                    .is_some_and(|value| value.contains(&comment.start))
            {
                continue;
            }
            if line != block_end {
                finish(&mut block, block_end);
            }
            let text = self.text.get(comment.clone()).unwrap_or_default();
            block.push(text.trim_start_matches('#'));
            block_end = line + 1;
        }
        finish(&mut block, block_end);
        commented
    }

    /// Whether a line belongs to a table that is commented out. It stays whatever goes around it.
    fn is_commented_table(&self, line: usize) -> bool {
        self.commented.get(&line) == Some(&Shape::Table)
    }

    fn line_of(&self, at: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    fn line(&self, line: usize) -> &'s str {
        self.text
            .get(self.line_start(line)..self.line_start(line + 1))
            .unwrap_or_default()
    }

    fn is_blank(&self, line: usize) -> bool {
        line < self.starts.len() && self.line(line).trim().is_empty()
    }

    /// Whether there is nothing but a comment on a line that goes with what it stands at. A line that begins with `#` may
    /// also be the end of a multi-line string. The marks of Ansible's blocks go with nothing, since it looks for them at
    /// its next run, and neither does a table that is commented out.
    fn is_comment(&self, line: usize) -> bool {
        let start = self.line_start(line);
        let first = self
            .syntax
            .comments
            .partition_point(|comment| comment.start < start);
        let Some(comment) = self.syntax.comments.get(first) else {
            return false;
        };
        let before = self.text.get(start..comment.start).unwrap_or_default();
        comment.start < self.line_start(line + 1)
            && before.trim().is_empty()
            && !self.is_commented_table(line)
            && !self.line(line).contains(ANSIBLE_BLOCK)
    }

    fn indentation(&self, at: usize) -> &'s str {
        let line = self.line(self.line_of(at));
        line.get(..line.len() - line.trim_start().len())
            .unwrap_or_default()
    }

    /// The first line of the comments directly above the line that holds `at`.
    fn first_line_with_comments(&self, at: usize) -> usize {
        let mut line = self.line_of(at);
        while line > 0 && self.is_comment(line - 1) {
            line -= 1;
        }
        line
    }

    /// The first line of the comments directly above a header. A setting among them that is commented out belongs to the
    /// table before, and so does what is above it.
    fn first_line_of_header(&self, header: &Header) -> usize {
        let mut line = self.line_of(header.range.start);
        while line > 0 && self.is_comment(line - 1) && !self.commented.contains_key(&(line - 1)) {
            line -= 1;
        }
        line
    }

    fn cuts(&self, removed: &PathSet) -> Cuts {
        let mut cuts = Cuts {
            edits: BTreeMap::new(),
            comments: Vec::new(),
        };
        for (index, section) in self.syntax.sections.iter().enumerate() {
            let header = section
                .header
                .as_ref()
                .map_or(&[][..], |header| &header.keys);
            let Some(removed) = removed.at(header) else {
                continue;
            };
            let path = names(header);
            if removed.is_whole() {
                let next = self.syntax.sections.get(index + 1);
                self.cut_section(section, &path, next, &mut cuts);
                continue;
            }
            for entry in &section.entries {
                let Some(removed) = removed.at(&entry.keys) else {
                    continue;
                };
                let mut path = path.clone();
                path.extend(names(&entry.keys));
                if removed.is_whole() {
                    let lines = self.first_line_with_comments(entry.range().start)
                        ..self.line_of(entry.range().end) + 1;
                    self.cut_lines(lines, std::slice::from_ref(entry), &path, None, &mut cuts);
                } else if let ValueKind::Table(entries) = &entry.value.kind {
                    self.cut_inline(entries, &path, removed, &mut cuts);
                }
            }
        }
        self.keep_apart(&mut cuts);
        cuts
    }

    /// Blank lines after a cut go with it only if there are others before it: what is above and below stays apart.
    fn keep_apart(&self, cuts: &mut Cuts) {
        let mut run_start = None;
        let mut given_back = Vec::new();
        let mut edits = cuts.edits.iter().peekable();
        while let Some((start, (end, _))) = edits.next() {
            let first = *run_start.get_or_insert(*start);
            if edits.peek().is_some_and(|(next, _)| *next == end) {
                continue;
            }
            run_start = None;
            let line = self.line_of(first);
            let whole_lines =
                self.line_start(line) == first && self.starts.binary_search(end).is_ok();
            if whole_lines && line > 0 && !self.is_blank(line - 1) {
                let mut last = self.line_of(*end);
                while last > line && self.is_blank(last - 1) {
                    last -= 1;
                }
                given_back.push((*start, self.line_start(last).max(*start)));
            }
        }
        for (start, end) in given_back {
            if let Some(edit) = cuts.edits.get_mut(&start) {
                edit.0 = end;
            }
        }
    }

    /// A section goes with the comments directly above its header and those that follow its last entry without a
    /// blank line, and with the blank lines after it. A comment block behind a blank line stays: it is about
    /// something else.
    fn cut_section(
        &self,
        section: &Section,
        path: &[&str],
        next: Option<&Section>,
        cuts: &mut Cuts,
    ) {
        let Some(header) = &section.header else {
            return;
        };
        let first = self.first_line_of_header(header);
        let next_line = next
            .and_then(|next| next.header.as_ref())
            .map_or(self.starts.len(), |next| {
                self.first_line_with_comments(next.range.start)
            });
        let last = section
            .entries
            .last()
            .map_or(header.range.end, |entry| entry.range().end);
        let mut end = self.line_of(last) + 1;
        while end < next_line && self.is_comment(end) {
            end += 1;
        }
        while end < next_line && self.is_blank(end) {
            end += 1;
        }
        self.cut_lines(first..end, &section.entries, path, Some(header), cuts);
    }

    fn cut_lines(
        &self,
        lines: Range<usize>,
        entries: &[Entry],
        path: &[&str],
        header: Option<&Header>,
        cuts: &mut Cuts,
    ) {
        let mut start = lines.start;
        let kept = self.commented.range(lines.clone());
        let mut kept: Vec<usize> = kept
            .filter(|(_, shape)| **shape == Shape::Table)
            .map(|(line, _)| *line)
            .collect();
        kept.push(lines.end);
        for line in kept {
            if start < line {
                let range = self.line_start(start)..self.line_start(line);
                self.take_comments(&range, entries, path, header, cuts);
                cuts.edits.insert(range.start, (range.end, String::new()));
            }
            start = line + 1;
        }
    }

    /// Notes what each comment in `range` stood with: the array element or entry that it is beside, else the next one
    /// below it; above and beside a header, and behind the last entry, the section. `path` is the section's, or that
    /// of the single entry that goes.
    fn take_comments(
        &self,
        range: &Range<usize>,
        entries: &[Entry],
        path: &[&str],
        header: Option<&Header>,
        cuts: &mut Cuts,
    ) {
        let header_line = header.map(|header| self.line_of(header.range.start));
        let first = self
            .syntax
            .comments
            .partition_point(|comment| comment.start < range.start);
        for comment in self.syntax.comments.iter().skip(first) {
            if comment.start >= range.end {
                break;
            }
            let line = self.line_of(comment.start);
            let mut owner: Vec<String> = path.iter().map(|&name| name.to_owned()).collect();
            let mut element = None;
            // Entries are in order: the first one that ends on this line or later is the one beside or below.
            let at = entries.partition_point(|entry| self.line_of(entry.range().end) < line);
            if let Some(entry) = entries.get(at)
                && header_line.is_none_or(|header_line| header_line < line)
            {
                if header.is_some() {
                    owner.extend(entry.keys.iter().map(|key| key.name.to_string()));
                }
                element = self.element(entry, comment);
            }
            cuts.comments.push(MovedComment {
                text: self
                    .text
                    .get(comment.clone())
                    .unwrap_or_default()
                    .trim_end()
                    .to_owned(),
                range: comment.clone(),
                path: owner,
                element,
            });
        }
    }

    fn element(&self, entry: &Entry, comment: &Range<usize>) -> Option<usize> {
        let ValueKind::Array(elements) = &entry.value.kind else {
            return None;
        };
        if !entry.value.range.contains(&comment.start) {
            return None;
        }
        let next = elements.partition_point(|element| element.range.end <= comment.start);
        let line = self.line_of(comment.start);
        let is_beside = |before: &usize| matches!(elements.get(*before), Some(e) if self.line_of(e.range.end) == line);
        let beside = next.checked_sub(1).filter(is_beside);
        beside.or((next < elements.len()).then_some(next))
    }

    /// Cuts entries out of the inline table at `path`, each with the comma behind it; where the last ones are removed, the
    /// comma before them is too, since go-toml 1 takes none at the end. `removed` is what is removed of the table.
    fn cut_inline(&self, entries: &[Entry], path: &[&str], removed: &PathSet, cuts: &mut Cuts) {
        let mut last_kept: Option<&Entry> = None;
        let mut gone_after = None;
        for (index, entry) in entries.iter().enumerate() {
            let mut path = path.to_vec();
            path.extend(names(&entry.keys));
            let removed = removed.at(&entry.keys);
            if !removed.is_some_and(PathSet::is_whole) {
                last_kept = Some(entry);
                gone_after = None;
                if let (ValueKind::Table(inner), Some(removed)) = (&entry.value.kind, removed) {
                    self.cut_inline(inner, &path, removed, cuts);
                }
                continue;
            }
            gone_after.get_or_insert(entry.range().start);
            let next = entries.get(index + 1).map(|next| next.range().start);
            let range = self.inline_range(entry, next);
            self.take_comments(&range, std::slice::from_ref(entry), &path, None, cuts);
            cuts.edits.insert(range.start, (range.end, String::new()));
        }
        if let (Some(kept), Some(gone)) = (last_kept, gone_after) {
            let end = kept.range().end;
            let between = self.text.get(end..gone).unwrap_or_default();
            if let Some(comma) = between.find(',') {
                // Up to the entry on the same line, else the comma alone: a comment may stand beside it.
                let from = if between.contains('\n') {
                    end + comma
                } else {
                    end
                };
                let to = if between.contains('\n') {
                    from + 1
                } else {
                    gone
                };
                cuts.edits.insert(from, (to, String::new()));
            }
        }
    }

    /// What goes with an entry of an inline table: the comma and the spaces behind it, and whole lines with the
    /// comments above and beside where it has lines of its own (TOML 1.1).
    fn inline_range(&self, entry: &Entry, next: Option<usize>) -> Range<usize> {
        let mut range = entry.range();
        let rest = self.text.get(range.end..).unwrap_or_default();
        if let Some(after) = rest.trim_start().strip_prefix(',') {
            range.end = self.text.len() - after.len();
        }
        let rest = self.text.get(range.end..).unwrap_or_default();
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let line = self.line_of(range.start);
        let before = self
            .text
            .get(self.line_start(line)..range.start)
            .unwrap_or_default();
        let behind = rest.get(spaces..).unwrap_or_default();
        if before.trim().is_empty() && behind.starts_with(['#', '\n', '\r']) {
            let first = self.first_line_with_comments(range.start);
            return self.line_start(first)..self.line_start(self.line_of(range.end) + 1);
        }
        if next.is_some_and(|next| next >= range.end) {
            range.end += spaces;
        }
        range
    }

    /// When the end of the file goes, the blank lines before it go too.
    fn trim_end(&self, cuts: &mut Cuts) {
        // Cuts that touch each other are one; behind a setting nothing is trimmed, as it needs its blank lines.
        let mut from = self.text.len();
        while let Some((start, (end, replacement))) = cuts.edits.range(..from).next_back() {
            if *end != from {
                break;
            }
            if !replacement.is_empty() {
                return;
            }
            from = *start;
        }
        if from == self.text.len() {
            return;
        }
        let mut line = self.line_of(from);
        while line > 0 && self.is_blank(line - 1) {
            line -= 1;
        }
        let start = self.line_start(line);
        if start < from {
            // A setting may have been put at just this place; it stays.
            let edit = cuts.edits.entry(start).or_default();
            edit.0 = from;
        }
    }

    fn set(&self, setting: &Setting, cuts: &mut Cuts) -> Option<()> {
        let (at, inserted) = match (site(self.syntax, setting), &setting.new_header) {
            (None | Some(Site::Above(_)), Some(name)) => self.header_at_end(name, "", setting),
            (None, None) => return self.set_in_new_table(setting, cuts),
            (Some(site), _) => match site {
                Site::Value(value) => {
                    let raw = self.text.get(value.range.clone()).unwrap_or_default();
                    let quoted = setting.value.written(raw.starts_with('\''));
                    cuts.edits
                        .insert(value.range.start, (value.range.end, quoted));
                    return Some(());
                }
                Site::Below(header, first) => self.line_below(header, first, setting),
                Site::Inline { table, dotted } => self.first_entry(table, dotted, setting, cuts)?,
                Site::Dotted(dotted) => self.dotted_line(dotted, setting),
                Site::Above(header) => {
                    let name =
                        self.written(header.keys.get(..setting.table.len()).unwrap_or_default());
                    self.header_above(header, name, setting, cuts)
                }
            },
        };
        self.insert(at, &inserted, cuts);
        Some(())
    }

    /// Sets a key of a table that is not there yet, below a table that is.
    fn set_in_new_table(&self, setting: &Setting, cuts: &mut Cuts) -> Option<()> {
        let table = setting.table();
        let (name, parent) = table.split_last()?;
        let headers = self
            .syntax
            .sections
            .iter()
            .filter_map(|section| section.header.as_ref());
        let headers: Vec<&Header> = headers
            .filter(|header| !header.array && names(&header.keys).starts_with(parent))
            .collect();
        let deeper = headers
            .iter()
            .find(|header| header.keys.len() > parent.len());
        if let Some(header) = deeper.or(headers.first()) {
            let keys = header.keys.get(..parent.len()).unwrap_or_default();
            let name = format!("{}.{name}", self.written(keys));
            let indentation = self.indentation(header.range.start);
            let (at, inserted) = self.header_at_end(&name, indentation, setting);
            self.insert(at, &inserted, cuts);
            return Some(());
        }
        // Only dotted keys or inline tables make the table above.
        let setting = &Setting {
            table: parent.iter().map(|part| (*part).to_owned()).collect(),
            key: format!("{name}.{}", setting.key),
            value: setting.value.clone(),
            new_header: None,
        };
        let (at, inserted) = match site(self.syntax, setting)? {
            Site::Inline { table, dotted } => self.first_entry(table, dotted, setting, cuts)?,
            Site::Dotted(dotted) => self.dotted_line(dotted, setting),
            Site::Value(_) | Site::Below(..) | Site::Above(_) => return None,
        };
        self.insert(at, &inserted, cuts);
        Some(())
    }

    fn header_at_end(&self, name: &str, indentation: &str, setting: &Setting) -> (usize, String) {
        let newline = self.newline;
        let line = self.setting_line(&format!("{indentation}  "), "", setting);
        let ended = if self.text.ends_with('\n') {
            ""
        } else {
            newline
        };
        let last_line = self.line_of(self.text.len().saturating_sub(1));
        let apart = if self.is_blank(last_line) {
            ""
        } else {
            newline
        };
        let text = format!("{ended}{apart}{indentation}[{name}]{newline}{line}{newline}");
        (self.text.len(), text)
    }

    /// Puts a text into the file.
    fn insert(&self, mut at: usize, inserted: &str, cuts: &mut Cuts) {
        // A place inside a cut moves to its start, so that both become one replacement.
        let around = cuts.edits.range(..=at).next_back();
        if let Some((start, _)) = around.filter(|(_, (end, _))| at < *end) {
            at = *start;
        }
        cuts.edits
            .entry(at)
            .or_insert((at, String::new()))
            .1
            .insert_str(0, inserted);
    }

    fn setting_line(&self, indentation: &str, dotted: &str, setting: &Setting) -> String {
        format!(
            "{indentation}{dotted}{} = {}",
            setting.key,
            setting.value.written(false)
        )
    }

    fn line_below(
        &self,
        header: &Header,
        first: Option<&Entry>,
        setting: &Setting,
    ) -> (usize, String) {
        let indentation = match first {
            Some(entry) => self.indentation(entry.range().start).to_owned(),
            None => format!("{}  ", self.indentation(header.range.start)),
        };
        let line = self.setting_line(&indentation, "", setting);
        let header_line = self.line_of(header.range.start);
        let text = if self.line(header_line).ends_with('\n') {
            format!("{line}{}", self.newline)
        } else {
            format!("{}{line}", self.newline)
        };
        (self.line_start(header_line + 1), text)
    }

    fn first_entry(
        &self,
        table: &Value,
        dotted: Option<Dotted<'_>>,
        setting: &Setting,
        cuts: &Cuts,
    ) -> Option<(usize, String)> {
        let prefix = dotted
            .map(|dotted| self.dotted_prefix(dotted))
            .unwrap_or_default();
        let entry = self.setting_line("", &prefix, setting);
        let ValueKind::Table(entries) = &table.kind else {
            return None;
        };
        let Some(first) = entries.first() else {
            return Some((table.range.start + 1, format!(" {entry} ")));
        };
        let is_kept = |entry: &Entry| !cuts.covers(entry.range().start);
        let comma = if entries.iter().any(is_kept) { "," } else { "" };
        let start = first.range().start;
        if self.line_of(table.range.start) < self.line_of(start) {
            // Entries with lines of their own: behind the brace no comment is in the way.
            return Some((table.range.start + 1, format!(" {entry}{comma}")));
        }
        let space = if comma.is_empty() { "" } else { " " };
        Some((start, format!("{entry}{comma}{space}")))
    }

    fn dotted_prefix(&self, dotted: Dotted<'_>) -> String {
        let keys = dotted.entry.keys.get(..dotted.depth).unwrap_or_default();
        format!("{}.", self.written(keys))
    }

    fn dotted_line(&self, dotted: Dotted<'_>, setting: &Setting) -> (usize, String) {
        let start = dotted.entry.range().start;
        let prefix = self.dotted_prefix(dotted);
        let line = self.setting_line(self.indentation(start), &prefix, setting);
        let at = self.line_start(self.first_line_with_comments(start));
        (at, format!("{line}{}", self.newline))
    }

    fn header_above(
        &self,
        header: &Header,
        name: &str,
        setting: &Setting,
        cuts: &Cuts,
    ) -> (usize, String) {
        let newline = self.newline;
        let indentation = self.indentation(header.range.start);
        let line = self.setting_line(&format!("{indentation}  "), "", setting);
        let mut text = format!("{indentation}[{name}]{newline}{line}{newline}");
        let at = self.line_start(self.first_line_of_header(header));
        // What will follow stands behind the cuts that begin here.
        let mut follows = at;
        while let Some((end, _)) = cuts.edits.get(&follows).filter(|(end, _)| *end > follows) {
            follows = *end;
        }
        if follows < self.text.len() && !self.is_blank(self.line_of(follows)) {
            text.push_str(newline);
        }
        (at, text)
    }

    /// The keys as they are written in the file.
    fn written(&self, keys: &[Key]) -> &'s str {
        match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => self
                .text
                .get(first.range.start..last.range.end)
                .unwrap_or_default(),
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> Setting {
        Setting {
            table: ["p", "r"].map(str::to_owned).to_vec(),
            key: "config_path".to_owned(),
            value: NewValue::String("/certs.d".to_owned()),
            new_header: None,
        }
    }

    fn edited(text: &str) -> Edited {
        let syntax = Syntax::parse(text).unwrap();
        let mut removed = PathSet::default();
        removed.insert(&["p", "r", "mirrors"]);
        removed.insert(&["p", "r", "configs", "h"]);
        let edited = edit(text, &syntax, &removed, &[setting()]).unwrap();
        let syntax =
            Syntax::parse(&edited.text).unwrap_or_else(|e| panic!("{e:?}\n{}", edited.text));
        let tree = syntax.tree();
        let table = tree.table_at(&["p", "r"]).unwrap();
        assert!(table.get("mirrors").is_none(), "{}", edited.text);
        assert!(table.get("config_path").is_some(), "{}", edited.text);
        edited
    }

    #[test]
    fn every_spelling_is_edited_where_it_stands() {
        for (before, after) in [
            // The key is there.
            (
                "[p.r]\nconfig_path = ''\n[p.r.mirrors.x]\ne = 1\n",
                "[p.r]\nconfig_path = '/certs.d'\n",
            ),
            // A header with keys, without keys, without a line end.
            (
                "[p.r]\n\tk = 1\n\n[p.r.mirrors]\n",
                "[p.r]\n\tconfig_path = \"/certs.d\"\n\tk = 1\n",
            ),
            (
                " [p.r]\n [p.r.mirrors]\n[z]\n",
                " [p.r]\n   config_path = \"/certs.d\"\n[z]\n",
            ),
            (
                "[p.r.mirrors]\n[p.r]",
                "[p.r]\n  config_path = \"/certs.d\"",
            ),
            // Inline, dotted, dotted in inline.
            (
                "p = { r = { mirrors = {} } }",
                "p = { r = { config_path = \"/certs.d\" } }",
            ),
            (
                "[p]\nr = { a = 1, mirrors = {}, b = 2 }\n",
                "[p]\nr = { config_path = \"/certs.d\", a = 1, b = 2 }\n",
            ),
            (
                "[p]\nr = { a = 1, mirrors = {} }\n",
                "[p]\nr = { config_path = \"/certs.d\", a = 1 }\n",
            ),
            (
                "[p]\nr = { configs = { h = {}, g = {} }, mirrors = {} }\n",
                "[p]\nr = { config_path = \"/certs.d\", configs = { g = {} } }\n",
            ),
            (
                "[p]\nr.mirrors.x.e = 1\nr.a = 2",
                "[p]\nr.config_path = \"/certs.d\"\nr.a = 2",
            ),
            (
                "p.\"r\".mirrors = {}\n",
                "p.\"r\".config_path = \"/certs.d\"\n",
            ),
            (
                "p = { z = 1, r.mirrors.x.e = 1 }",
                "p = { r.config_path = \"/certs.d\", z = 1 }",
            ),
            (
                "p = { r = {\n  # m\n  mirrors = {}, # b\n  # about a\n  a = 1, # a\n} }",
                "p = { r = { config_path = \"/certs.d\",\n  # about a\n  a = 1, # a\n} }",
            ),
            (
                "p = { r = {\n  a = 1, # a\n  mirrors = {} # b\n} }",
                "p = { r = { config_path = \"/certs.d\",\n  a = 1 # a\n} }",
            ),
            (
                "p = { r = {\n  mirrors = {} # b\n} }",
                "p = { r = { config_path = \"/certs.d\"\n} }",
            ),
            (
                "[p]\nr = { mirrors = {}, configs.h = {}, a = 1 }\n",
                "[p]\nr = { config_path = \"/certs.d\", a = 1 }\n",
            ),
            (
                "[p]\nr = { mirrors = {}, configs.h = {} }\n",
                "[p]\nr = { config_path = \"/certs.d\" }\n",
            ),
            (
                "[p]\nr = { a = 1, mirrors = {}, configs.h = {} }\n",
                "[p]\nr = { config_path = \"/certs.d\", a = 1 }\n",
            ),
            // The setting stands where the blank lines at the end are trimmed.
            (
                "[p.r]\n\n[p.r.mirrors.x]\ne = 1\n",
                "[p.r]\n  config_path = \"/certs.d\"\n",
            ),
            (
                "[p.r]\n\n[p.r.mirrors]\n\n[p.r.mirrors.x]\n\n",
                "[p.r]\n  config_path = \"/certs.d\"\n",
            ),
            // A string that ends in a line with a number sign is no comment.
            (
                "[p.r]\nk = \"\"\"\n# x\"\"\"\n[p.r.mirrors.x]\n",
                "[p.r]\nconfig_path = \"/certs.d\"\nk = \"\"\"\n# x\"\"\"\n",
            ),
            (
                "p = { r.mirrors.x.e = 1 }",
                "p = { r.config_path = \"/certs.d\" }",
            ),
            // Only implied.
            (
                "a = 1\n\n[p.r.mirrors.x]\ne = 1\n\n[z]\n",
                "a = 1\n\n[p.r]\n  config_path = \"/certs.d\"\n\n[z]\n",
            ),
            (
                "a = 1\n\n[p.r.mirrors.x]\ne = 1\n",
                "a = 1\n\n[p.r]\n  config_path = \"/certs.d\"\n",
            ),
            (
                "[p.r.auths]\n[p.r.mirrors]\n",
                "[p.r]\n  config_path = \"/certs.d\"\n\n[p.r.auths]\n",
            ),
            // A byte order mark is the file's, whatever goes on the first line.
            (
                "\u{feff}# m\np.r.mirrors = {}\nv = 2\n",
                "\u{feff}p.r.config_path = \"/certs.d\"\nv = 2\n",
            ),
            (
                "\u{feff}[p.r.mirrors]\n[z]\n",
                "\u{feff}[p.r]\n  config_path = \"/certs.d\"\n\n[z]\n",
            ),
            // The line ends of the file.
            (
                "v = 2\r\n[p.r]\r\n[p.r.mirrors]\r\n",
                "v = 2\r\n[p.r]\r\n  config_path = \"/certs.d\"\r\n",
            ),
        ] {
            assert_eq!(edited(before).text, after, "{before:?}");
        }
    }

    #[test]
    fn comments_go_with_what_they_stand_at_and_others_stay() {
        let text = "\
[p.r]
# about auths
[p.r.auths]

# all mirrors
[p.r.mirrors] # beside all
# mirror x
[p.r.mirrors.x] # beside x
  # above e
  e = [ # in e
    \"a\", # beside a
    # above b
    \"b\",
  ] # beside e
  # below e

# something else

# about z
[z]
k = 1 # kept
";
        let edited = edited(text);
        assert_eq!(
            edited.text,
            "[p.r]\n  config_path = \"/certs.d\"\n# about auths\n[p.r.auths]\n\n# something else\n\n# about z\n[z]\nk = 1 # kept\n"
        );
        let moved: Vec<String> = edited
            .comments
            .iter()
            .map(|comment| {
                format!(
                    "{} {:?} {}",
                    comment.path.join("."),
                    comment.element,
                    comment.text
                )
            })
            .collect();
        assert_eq!(
            moved,
            [
                "p.r.mirrors None # all mirrors",
                "p.r.mirrors None # beside all",
                "p.r.mirrors.x None # mirror x",
                "p.r.mirrors.x None # beside x",
                "p.r.mirrors.x.e None # above e",
                "p.r.mirrors.x.e Some(0) # in e",
                "p.r.mirrors.x.e Some(0) # beside a",
                "p.r.mirrors.x.e Some(1) # above b",
                "p.r.mirrors.x.e None # beside e",
                "p.r.mirrors.x None # below e",
            ]
        );
    }

    #[test]
    fn a_table_that_is_commented_out_stays_where_it_is() {
        for (before, after, moved) in [
            (
                "#[d]\n#  l = 1\n[p.r.mirrors.x]\ne = 1\n",
                "#[d]\n#  l = 1\n[p.r]\n  config_path = \"/certs.d\"\n",
                vec![],
            ),
            (
                "# d\n#[d]\n#  l = [\n#   1,\n#  ]\n# x\n[p.r.mirrors.x]\ne = 1\n",
                "# d\n#[d]\n#  l = [\n#   1,\n#  ]\n[p.r]\n  config_path = \"/certs.d\"\n",
                vec!["# x"],
            ),
            (
                "[p.r]\n[p.r.mirrors.x]\ne = 1\n# below x\n#[d]\n#  l = 1\n\n[z]\n",
                "[p.r]\n  config_path = \"/certs.d\"\n#[d]\n#  l = 1\n\n[z]\n",
                vec!["# below x"],
            ),
            (
                "[p.r]\n[p.r.mirrors.x]\n# e = 2\ne = 1\n# [d]\n#  l = 1\nf = 1 # beside\n",
                "[p.r]\n  config_path = \"/certs.d\"\n# [d]\n#  l = 1\n",
                vec!["# e = 2", "# beside"],
            ),
            (
                "[p.r]\nk = 1\n# k = 2\n# x\n[p.r.mirrors.x]\n[z]\n",
                "[p.r]\nconfig_path = \"/certs.d\"\nk = 1\n# k = 2\n[z]\n",
                vec!["# x"],
            ),
            (
                "[p.r]\n# [d]\nmirrors = {}\nconfigs.h = {\n # [d]\n}\nk = 1\n",
                "[p.r]\nconfig_path = \"/certs.d\"\n# [d]\nk = 1\n",
                vec!["# [d]"],
            ),
        ] {
            let edited = edited(before);
            assert_eq!(edited.text, after, "{before:?}");
            let comments: Vec<&str> = edited.comments.iter().map(|c| c.text.as_str()).collect();
            assert_eq!(comments, moved, "{before:?}");
        }
    }

    #[test]
    fn blank_lines_before_what_goes_at_the_end_of_the_file_go_too() {
        assert_eq!(
            edited("[p.r]\nconfig_path = ''\n\n\n[p.r.mirrors]\n\n[p.r.configs.h]\n\n").text,
            "[p.r]\nconfig_path = '/certs.d'\n"
        );
        assert_eq!(
            edited("[p.r]\nconfig_path = ''\n\n[p.r.mirrors]\n\n# end\n").text,
            "[p.r]\nconfig_path = '/certs.d'\n\n# end\n"
        );
    }

    #[test]
    fn a_table_that_is_not_there_comes_last_and_is_written_like_its_siblings() {
        for (text, after) in [
            (
                "[p]\nx = 1\n",
                "[p]\nx = 1\n\n[p.r]\n  config_path = \"/certs.d\"\n",
            ),
            (
                "[p]\r\n  ['p'.c]\r\n    x = 1",
                "[p]\r\n  ['p'.c]\r\n    x = 1\r\n\r\n  ['p'.r]\r\n    config_path = \"/certs.d\"\r\n",
            ),
            (
                "p.x = 1\n[q]\n",
                "p.r.config_path = \"/certs.d\"\np.x = 1\n[q]\n",
            ),
            (
                "p = { x = 1 }\n",
                "p = { r.config_path = \"/certs.d\", x = 1 }\n",
            ),
        ] {
            assert_eq!(edited(text).text, after);
        }
    }

    #[test]
    fn many_sections_elements_and_comments_take_no_time() {
        let mirrors: String = (0..20_000)
            .map(|n| format!("# {n}\n[p.r.mirrors.m{n}] # {n}\ne = 1\n\n"))
            .collect();
        let elements: String = (0..20_000).map(|n| format!("  \"{n}\", # {n}\n")).collect();
        let inline: String = (0..20_000).map(|n| format!("k{n} = 1, ")).collect();
        let comments = "# kept\n".repeat(20_000);
        let text = format!(
            "[p]\nr.mirrors.e = [\n{elements}]\nr.configs = {{ h = {{ {inline} e = 1 }}, {inline} g = 1 }}\n\n{comments}"
        );
        let edited_text = edited(&text);
        assert_eq!(edited_text.comments.len(), 20_000);
        assert_eq!(edited_text.comments[19_999].element, Some(19_999));
        let edited_text = edited(&format!("[p.r]\n{mirrors}{comments}"));
        assert_eq!(edited_text.comments.len(), 40_000);
        assert!(edited_text.text.ends_with("# kept\n"));
    }

    #[test]
    fn two_new_tables_at_the_end_stand_in_the_order_in_which_they_are_set() {
        let text = "[p.c]\nx = 1\n";
        let syntax = Syntax::parse(text).unwrap();
        let flag = Setting {
            table: vec!["q".to_owned()],
            key: "keep".to_owned(),
            value: NewValue::True,
            new_header: Some("q".to_owned()),
        };
        let settings = [setting(), flag];
        let edited = edit(text, &syntax, &PathSet::default(), &settings).unwrap();
        assert_eq!(
            edited.text,
            "[p.c]\nx = 1\n\n[p.r]\n  config_path = \"/certs.d\"\n\n[q]\n  keep = true\n"
        );
    }
}
