//! A tree written down in one of very many ways, and what must become of each line of it.
//!
//! Every choice is made by the seed and the key path alone, so that a tree with one setting less is written down in the
//! same way: that is what makes a failure shrink.

use crate::random::Random;
use crate::tree::{Path, Tree};

/// How a file is written. All chances are in percent.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) seed: u64,
    /// Tables with a header, and with dotted keys; the rest is inline.
    pub(crate) headers: usize,
    pub(crate) dotted: usize,
    pub(crate) comments: usize,
    pub(crate) secrets: usize,
    pub(crate) literal: usize,
    pub(crate) long_arrays: usize,
    /// Inline tables of several lines (TOML 1.1).
    pub(crate) long_tables: usize,
    pub(crate) blanks: usize,
    pub(crate) odd_spaces: usize,
    pub(crate) indentation: &'static str,
    pub(crate) shuffled: bool,
    pub(crate) crlf: bool,
    pub(crate) bom: bool,
    pub(crate) final_newline: bool,
}

impl Style {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::of(seed, "style");
        let chance = |random: &mut Random, list: &[usize]| list[random.below(list.len())];
        let headers = chance(&mut random, &[100, 90, 70, 50, 20, 0]);
        Self {
            seed,
            headers,
            dotted: chance(&mut random, &[0, 30, 50, 70, 100]) * (100 - headers) / 100,
            comments: chance(&mut random, &[0, 5, 15, 40]),
            secrets: chance(&mut random, &[0, 0, 10, 30]),
            literal: chance(&mut random, &[0, 20, 100]),
            long_arrays: chance(&mut random, &[0, 30, 80]),
            long_tables: chance(&mut random, &[0, 0, 0, 50]),
            blanks: chance(&mut random, &[0, 30, 60, 100]),
            odd_spaces: chance(&mut random, &[0, 0, 10]),
            indentation: ["", "  ", "  ", "    ", "\t"][random.below(5)],
            shuffled: random.percent(60),
            crlf: random.percent(15),
            bom: random.percent(5),
            final_newline: random.percent(85),
        }
    }

    /// The same in plainer ways, for shrinking.
    pub(crate) fn plainer(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut plainer = self.clone();
            change(&mut plainer);
            if format!("{plainer:?}") != format!("{self:?}") {
                all.push(plainer);
            }
        };
        add(&|style| style.comments = 0);
        add(&|style| style.comments /= 2);
        add(&|style| style.secrets = 0);
        add(&|style| style.blanks = 0);
        add(&|style| style.headers = 100);
        add(&|style| style.long_arrays = 0);
        add(&|style| style.long_tables = 0);
        add(&|style| style.literal = 0);
        add(&|style| style.odd_spaces = 0);
        add(&|style| style.indentation = "");
        add(&|style| style.shuffled = false);
        add(&|style| style.crlf = false);
        add(&|style| style.bom = false);
        add(&|style| style.final_newline = true);
        all
    }

    fn dice(&self, path: &[String], purpose: &str) -> Random {
        Random::of(self.seed, &format!("{}\n{purpose}", path.join("\n")))
    }
}

/// What must become of what is at a key path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Goes,
    /// Some of it goes, or something may be put into it.
    Changes,
}

/// A line, and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blank,
    Code(Fate),
    /// Directly above something.
    Above(Fate),
    /// Below the last entry of a section.
    Below(Fate),
    /// With blank lines around it.
    Detached,
    /// A comment that may go or stay.
    Free,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) lines: Vec<Line>,
    /// The marks of all comments.
    pub(crate) comments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Header,
    /// Only the headers of the tables in it.
    Implied,
    Dotted,
    Inline,
}

struct Section {
    path: Path,
    head: Vec<Line>,
    body: Vec<Line>,
    fate: Fate,
}

struct Writer<'w> {
    style: &'w Style,
    fate: &'w dyn Fn(&[String]) -> Fate,
    sections: Vec<Section>,
    comments: Vec<String>,
}

pub(crate) fn write(tree: &Tree, style: &Style, fate: &dyn Fn(&[String]) -> Fate) -> Written {
    let mut writer = Writer {
        style,
        fate,
        sections: Vec::new(),
        comments: Vec::new(),
    };
    writer.section(&[], false, tree);
    let mut sections = std::mem::take(&mut writer.sections);
    if style.shuffled {
        sections.sort_by_key(|section| {
            let order = style.dice(&section.path, "order").next();
            (!section.path.is_empty(), order)
        });
    }
    let mut lines: Vec<Line> = Vec::new();
    let blank = || Line {
        text: String::new(),
        kind: Kind::Blank,
    };
    if style.dice(&[], "head").percent(style.comments) {
        writer.comment_lines(&[], "head", "", Kind::Detached, &mut lines);
        lines.push(blank());
    }
    for section in sections {
        let mut dice = style.dice(&section.path, "around");
        lines.extend(section.head);
        lines.extend(section.body);
        let indentation = style.indentation;
        if dice.percent(style.comments) {
            let kind = Kind::Below(section.fate);
            writer.comment_lines(&section.path, "below", indentation, kind, &mut lines);
        }
        if dice.percent(style.comments) {
            lines.push(blank());
            writer.comment_lines(&section.path, "detached", "", Kind::Detached, &mut lines);
            lines.push(blank());
        } else if dice.percent(style.blanks) {
            lines.extend((0..1 + dice.below(3) / 2).map(|_| blank()));
        }
    }
    for index in 0..lines.len() {
        lines[index].kind = resolved(&lines, index);
    }
    let newline = if style.crlf { "\r\n" } else { "\n" };
    let mut text = String::new();
    if style.bom {
        text.push('\u{feff}');
    }
    for line in &lines {
        text.push_str(&line.text);
        text.push_str(newline);
    }
    if !style.final_newline {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        while lines
            .last()
            .is_some_and(|line| line.kind == Kind::Blank && line.text.is_empty())
        {
            lines.pop();
        }
    }
    Written {
        text,
        lines,
        comments: writer.comments,
    }
}

/// What must become of a comment: it belongs to what stands directly below it.
fn resolved(lines: &[Line], index: usize) -> Kind {
    let kind = lines[index].kind;
    let is_comment = |kind: Kind| matches!(kind, Kind::Above(_) | Kind::Below(_) | Kind::Free);
    let fate = match kind {
        Kind::Above(fate) => fate,
        Kind::Below(fate) => {
            let below = lines[index..].iter().find(|line| !is_comment(line.kind));
            match below.map(|line| line.kind) {
                Some(Kind::Code(fate)) => fate,
                _ => fate,
            }
        }
        other => return other,
    };
    match fate {
        Fate::Stays | Fate::Changes => Kind::Code(Fate::Stays),
        Fate::Goes => Kind::Free,
    }
}

impl Writer<'_> {
    fn section(&mut self, path: &[String], header: bool, tree: &Tree) {
        let style = self.style;
        let fate = (self.fate)(path);
        let index = self.sections.len();
        self.sections.push(Section {
            path: path.to_vec(),
            head: Vec::new(),
            body: Vec::new(),
            fate: if fate == Fate::Goes {
                Fate::Goes
            } else {
                Fate::Stays
            },
        });
        let indentation = style.indentation.repeat(path.len().saturating_sub(2));
        if header {
            let mut head = Vec::new();
            let mut dice = style.dice(path, "header");
            let fate = self.sections[index].fate;
            if dice.percent(style.comments / 3) {
                self.commented_out_table(path, &indentation, &mut head);
            }
            if dice.percent(style.comments) {
                self.comment_lines(path, "above", &indentation, Kind::Above(fate), &mut head);
            }
            let keys: Vec<String> = (0..path.len()).map(|at| self.key(path, at)).collect();
            let odd = dice.percent(style.odd_spaces);
            let name = keys.join(if odd { " . " } else { "." });
            let space = if odd { " " } else { "" };
            let mut text = format!("{indentation}[{space}{name}{space}]");
            if dice.percent(style.comments) {
                text.push_str(&self.comment(path, "beside"));
            } else if odd {
                text.push_str("  ");
            }
            head.push(Line {
                text,
                kind: Kind::Code(fate),
            });
            self.sections[index].head = head;
        }
        let mut body = Vec::new();
        let indentation = match (path.is_empty(), style.dice(path, "deeper").percent(80)) {
            (true, _) => String::new(),
            (false, true) => format!("{indentation}{}", style.indentation),
            (false, false) => indentation,
        };
        self.entries(path, path.len(), &indentation, tree, &mut body);
        self.sections[index].body = body;
    }

    fn entries(
        &mut self,
        path: &[String],
        depth: usize,
        indentation: &str,
        tree: &Tree,
        body: &mut Vec<Line>,
    ) {
        for (name, child) in self.ordered(path, tree) {
            let mut path = path.to_vec();
            path.push(name);
            match self.shape(&path, &child) {
                Some(Shape::Header) => self.section(&path, true, &child),
                Some(Shape::Implied) if path.len() == depth + 1 => {
                    // Nothing in it is an entry of this section.
                    for (name, grandchild) in self.ordered(&path, &child) {
                        let mut path = path.clone();
                        path.push(name);
                        self.implied(&path, &grandchild);
                    }
                }
                Some(Shape::Dotted | Shape::Implied) => {
                    self.entries(&path, depth, indentation, &child, body);
                }
                Some(Shape::Inline) | None => self.entry(&path, depth, indentation, &child, body),
            }
        }
    }

    /// A table below one without a header of its own.
    fn implied(&mut self, path: &[String], tree: &Tree) {
        if self.shape(path, tree) == Some(Shape::Implied) {
            for (name, child) in self.ordered(path, tree) {
                let mut path = path.to_vec();
                path.push(name);
                self.implied(&path, &child);
            }
        } else {
            self.section(path, true, tree);
        }
    }

    fn ordered(&self, path: &[String], tree: &Tree) -> Vec<(String, Tree)> {
        let mut entries = tree.entries().to_vec();
        if self.style.shuffled {
            entries.sort_by_key(|(name, _)| {
                let mut path = path.to_vec();
                path.push(name.clone());
                self.style.dice(&path, "entry").next()
            });
        }
        entries
    }

    /// How a table is written; `None` for what is no table.
    fn shape(&self, path: &[String], tree: &Tree) -> Option<Shape> {
        if !tree.is_table() {
            return None;
        }
        let mut dice = self.style.dice(path, "shape");
        let number = dice.below(100);
        let only_tables = tree.entries().iter().all(|(_, child)| child.is_table());
        let is_empty = tree.entries().is_empty();
        Some(
            if path.len() == 1 && dice.percent(70) || number < self.style.headers {
                if only_tables && !is_empty && dice.percent(70) {
                    Shape::Implied
                } else {
                    Shape::Header
                }
            } else if number < self.style.headers + self.style.dotted && !is_empty {
                Shape::Dotted
            } else {
                Shape::Inline
            },
        )
    }

    fn entry(
        &mut self,
        path: &[String],
        depth: usize,
        indentation: &str,
        tree: &Tree,
        body: &mut Vec<Line>,
    ) {
        let fate = (self.fate)(path);
        let mut dice = self.style.dice(path, "around entry");
        if dice.percent(self.style.blanks / 5) {
            body.push(Line {
                text: String::new(),
                kind: Kind::Blank,
            });
        }
        if dice.percent(self.style.comments) {
            self.comment_lines(path, "above entry", indentation, Kind::Above(fate), body);
        }
        let keys: Vec<String> = (depth..path.len()).map(|at| self.key(path, at)).collect();
        let odd = dice.percent(self.style.odd_spaces);
        let equals = ["=", " =  "][usize::from(dice.percent(50))];
        let mut text = format!(
            "{indentation}{}{}",
            keys.join(if odd { ". " } else { "." }),
            if odd { equals } else { " = " }
        );
        text.push_str(&self.value(path, indentation, tree));
        if dice.percent(self.style.comments) {
            text.push_str(&self.comment(path, "beside entry"));
        }
        body.extend(text.split('\n').map(|line| Line {
            text: line.to_owned(),
            kind: Kind::Code(fate),
        }));
    }

    fn value(&mut self, path: &[String], indentation: &str, tree: &Tree) -> String {
        let style = self.style;
        let mut dice = style.dice(path, "value");
        match tree {
            Tree::Raw(raw) => raw.clone(),
            Tree::Text(text) => self.string(text, &mut dice),
            Tree::Strings(elements) => {
                let strings: Vec<String> = elements
                    .iter()
                    .map(|text| self.string(text, &mut dice))
                    .collect();
                if !dice.percent(style.long_arrays) {
                    let (space, comma) = [("", ""), ("", ""), (" ", ","), (" ", "")][dice.below(4)];
                    let comma = if strings.is_empty() { "" } else { comma };
                    return format!("[{space}{}{comma}{space}]", strings.join(", "));
                }
                let inner = format!("{indentation}{}", style.indentation);
                let mut text = "[".to_owned();
                if dice.percent(style.comments) {
                    text.push_str(&self.comment(path, "bracket"));
                }
                let last = strings.len();
                for (index, string) in strings.into_iter().enumerate() {
                    let here = format!("element {index}");
                    let mut dice = style.dice(path, &here);
                    if dice.percent(style.comments) {
                        let comment = self.comment(path, &format!("above {here}"));
                        text.push_str(&format!("\n{inner}{}", comment.trim_start()));
                    }
                    let together = index > 0 && dice.percent(10) && !text.ends_with(';');
                    let comma = if index + 1 < last || dice.percent(60) {
                        ","
                    } else {
                        ""
                    };
                    if together && !last_line_has_comment(&text) {
                        text.push_str(&format!(" {string}{comma}"));
                    } else {
                        text.push_str(&format!("\n{inner}{string}{comma}"));
                    }
                    if dice.percent(style.comments) {
                        text.push_str(&self.comment(path, &format!("beside {here}")));
                    }
                }
                if dice.percent(style.comments) {
                    let comment = self.comment(path, "in the end");
                    text.push_str(&format!("\n{inner}{}", comment.trim_start()));
                }
                text.push_str(&format!("\n{indentation}]"));
                text
            }
            Tree::Table(_) => {
                let mut entries: Vec<(Path, String)> = Vec::new();
                let inner = format!("{indentation}{}", style.indentation);
                self.inline_entries(path, path.len(), &inner, tree, &mut entries);
                if !dice.percent(style.long_tables) || entries.is_empty() {
                    let entries: Vec<String> = entries.into_iter().map(|(_, text)| text).collect();
                    let separator = [", ", ", ", ",", " , "][dice.below(4)];
                    let space = [" ", " ", ""][dice.below(3)];
                    return format!("{{{space}{}{space}}}", entries.join(separator));
                }
                let mut text = "{".to_owned();
                if dice.percent(style.comments) {
                    text.push_str(&self.comment(path, "brace"));
                }
                let last = entries.len();
                for (index, (path, entry)) in entries.into_iter().enumerate() {
                    let mut dice = style.dice(&path, "inline entry");
                    if dice.percent(style.comments) {
                        let comment = self.comment(&path, "above inline");
                        text.push_str(&format!("\n{inner}{}", comment.trim_start()));
                    }
                    let comma = if index + 1 < last || dice.percent(50) {
                        ","
                    } else {
                        ""
                    };
                    if index > 0 && dice.percent(10) && !last_line_has_comment(&text) {
                        text.push_str(&format!(" {entry}{comma}"));
                    } else {
                        text.push_str(&format!("\n{inner}{entry}{comma}"));
                    }
                    if dice.percent(style.comments) {
                        text.push_str(&self.comment(&path, "beside inline"));
                    }
                }
                text.push_str(&format!("\n{indentation}}}"));
                text
            }
        }
    }

    fn inline_entries(
        &mut self,
        path: &[String],
        depth: usize,
        indentation: &str,
        tree: &Tree,
        entries: &mut Vec<(Path, String)>,
    ) {
        for (name, child) in self.ordered(path, tree) {
            let mut path = path.to_vec();
            path.push(name);
            let dotted = child.is_table()
                && !child.entries().is_empty()
                && self.style.dice(&path, "dotted inside").percent(30);
            if dotted {
                self.inline_entries(&path, depth, indentation, &child, entries);
                continue;
            }
            let keys: Vec<String> = (depth..path.len()).map(|at| self.key(&path, at)).collect();
            let value = self.value(&path, indentation, &child);
            entries.push((path, format!("{} = {value}", keys.join("."))));
        }
    }

    /// One part of a path as a key. It is spelled by what it is a part of, and anew in each place.
    fn key(&self, path: &[String], at: usize) -> String {
        let name = &path[at];
        let mut dice = self.style.dice(&path[..=at], "key");
        let bare = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if bare && dice.percent(90) {
            return name.clone();
        }
        self.plain_string(name, &mut dice)
    }

    fn plain_string(&self, text: &str, dice: &mut Random) -> String {
        let plain = !text.contains(|c: char| c == '\'' || c.is_control());
        if plain && dice.percent(self.style.literal) {
            return format!("'{text}'");
        }
        let mut quoted = "\"".to_owned();
        for c in text.chars() {
            match c {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        quoted
    }

    fn string(&self, text: &str, dice: &mut Random) -> String {
        let plain = !text.contains(|c: char| "\"'\\".contains(c) || c.is_control());
        match dice.below(60) {
            0 if plain => format!("\"\"\"{text}\"\"\""),
            1 if plain => format!("'''{text}'''"),
            2 if text.starts_with('/') => format!("\"\\u002f{}", &self.basic(text)[2..]),
            _ => self.plain_string(text, dice),
        }
    }

    fn basic(&self, text: &str) -> String {
        let mut plain = self.style.clone();
        plain.literal = 0;
        let writer = Writer {
            style: &plain,
            fate: self.fate,
            sections: Vec::new(),
            comments: Vec::new(),
        };
        writer.plain_string(text, &mut Random(0))
    }

    /// A comment with a mark of its own, as it stands behind something.
    fn comment(&mut self, path: &[String], purpose: &str) -> String {
        let mut dice = self.style.dice(path, purpose);
        let mark = format!("c{};", self.comments.len());
        self.comments.push(mark.clone());
        let space = [" ", " ", " ", "  ", "\t"][dice.below(5)];
        if dice.percent(self.style.secrets) {
            let words = [
                "token = SEKRET",
                "password: SEKRET",
                "see https://u:SEKRET@h.example/x",
                "api_key=SEKRET",
            ];
            return format!("{space}# {mark} {}", dice.pick(&words));
        }
        let words = [
            "# M words",
            "# M words",
            "#M",
            "## M ##",
            "# M [mirrors.x]",
            "# M endpoint = [\"x\"]",
            "# M it's \"quoted",
            "# M größer 中",
            "# M\ttab",
            "# M }",
            "# M ,",
        ];
        format!("{space}{}", dice.pick(&words).replace('M', &mark))
    }

    /// A table that is commented out, which stays whatever goes below it.
    fn commented_out_table(&mut self, path: &[String], indentation: &str, lines: &mut Vec<Line>) {
        let mark = self.comment(path, "commented out");
        for text in [
            "#[old.table]".to_owned(),
            format!("#  key = 1 {}", mark.trim_start()),
        ] {
            lines.push(Line {
                text: format!("{indentation}{text}"),
                kind: Kind::Detached,
            });
        }
    }

    fn comment_lines(
        &mut self,
        path: &[String],
        purpose: &str,
        indentation: &str,
        kind: Kind,
        lines: &mut Vec<Line>,
    ) {
        let count = 1 + self.style.dice(path, &format!("{purpose} count")).below(3) / 2;
        for number in 0..count {
            let comment = self.comment(path, &format!("{purpose} {number}"));
            lines.push(Line {
                text: format!("{indentation}{}", comment.trim_start()),
                kind,
            });
        }
    }
}

fn last_line_has_comment(text: &str) -> bool {
    text.rsplit('\n')
        .next()
        .is_some_and(|line| line.contains("c") && line.contains('#'))
}
