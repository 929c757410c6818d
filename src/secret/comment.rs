//! Comments: they are shown, less what looks like a secret in them. Settings that are commented out follow the rules of
//! settings; the rest is prose. Every line is read a bounded number of times.

use std::ops::Range;

use super::setting::{Position, Settings};
use super::words::{self, Announces};
use super::{TextKind, url};
use crate::toml::syntax::Syntax;
use crate::work;

/// So many comments before a part may say what is in it: that a key begins.
const LOOK_BACK: usize = 128;

/// The comments of a text, which are looked at in blocks: on consecutive lines, with nothing between them.
pub(super) struct Comments<'t> {
    text: &'t str,
    kind: TextKind,
    comments: &'t [Range<usize>],
    /// The first comment that has not been looked at.
    next: usize,
    /// What the blocks before it say about the next.
    state: State,
    /// What was found, in file order.
    pub(super) secrets: Vec<Range<usize>>,
}

impl<'t> Comments<'t> {
    pub(super) fn new(text: &'t str, kind: TextKind, comments: &'t [Range<usize>]) -> Self {
        Self {
            text,
            kind,
            comments,
            next: 0,
            state: State::default(),
            secrets: Vec::new(),
        }
    }

    /// Finds the secrets in the comments of a part of the text, which is not before the one looked at last.
    pub(super) fn find(&mut self, part: &Range<usize>) {
        let first = self
            .comments
            .partition_point(|comment| comment.end <= part.start);
        let is_in_part = |comment: &Range<usize>| comment.start < part.end;
        if !self.comments.get(first).is_some_and(is_in_part) {
            return;
        }
        let mut start = self.next.max(first.saturating_sub(LOOK_BACK));
        while start > self.next && self.joins(start - 1) {
            start -= 1;
        }
        if start > self.next {
            self.state = State::default();
        }
        self.next = start;
        while self.comments.get(self.next).is_some_and(is_in_part) {
            let start = self.next;
            while self.joins(self.next) {
                self.next += 1;
            }
            self.next += 1;
            let block = self.comments.get(start..self.next).unwrap_or_default();
            let lines = block.iter().map(|comment| content(self.text, comment));
            let block = Block {
                text: self.text,
                kind: self.kind,
                lines: lines.collect(),
            };
            let end_before = start.checked_sub(1).and_then(|at| self.comments.get(at));
            let between = end_before.zip(self.comments.get(start));
            let between = between.and_then(|(one, next)| self.text.get(one.end..next.start));
            self.state.prose.begin_block();
            self.state.in_secret_table &= between.is_some_and(|it| it.trim().is_empty());
            block.find(&mut self.state, &mut self.secrets);
            // The table goes on behind an empty line if it has nothing in it yet.
            let last = block.lines.last().map_or("", |line| block.line(line));
            self.state.in_secret_table &= last.trim_start().starts_with('[');
        }
    }

    /// Whether a comment is in one block with the next.
    fn joins(&self, comment: usize) -> bool {
        let pair = self.comments.get(comment..comment + 2);
        let Some([one, next]) = pair else {
            return false;
        };
        let between = self.text.get(one.end..next.start).unwrap_or_default();
        between.trim().is_empty() && between.bytes().filter(|byte| *byte == b'\n').count() == 1
    }
}

/// A comment without its number signs.
fn content(text: &str, comment: &Range<usize>) -> Range<usize> {
    let raw = text.get(comment.clone()).unwrap_or_default();
    comment.end - raw.trim_start_matches('#').len()..comment.end
}

/// The longest block that is looked at as TOML.
const LONGEST_BLOCK: usize = 1 << 16;

/// What comments say about those behind them.
#[derive(Debug, Default)]
struct State {
    prose: Prose,
    /// Whether the last table that is commented out is one of credentials.
    in_secret_table: bool,
}

struct Block<'t> {
    text: &'t str,
    kind: TextKind,
    lines: Vec<Range<usize>>,
}

impl Block<'_> {
    fn find(&self, state: &mut State, ranges: &mut Vec<Range<usize>>) {
        let State {
            prose,
            in_secret_table,
        } = state;
        let length: usize = self.lines.iter().map(|line| line.len() + 1).sum();
        let has_settings = |line: &Range<usize>| self.line(line).contains(['=', '[']);
        let is_toml =
            prose.is_outside() && length <= LONGEST_BLOCK && self.lines.iter().any(has_settings);
        if is_toml && self.settings(&self.lines, in_secret_table, ranges) {
            return;
        }
        for line in &self.lines {
            let text = self.line(line);
            let may_be_setting =
                prose.is_outside() && text.len() <= LONGEST_BLOCK && text.contains(['=', '[']);
            if text.trim_start().starts_with('[') {
                *in_secret_table = false;
            }
            let mut found = Vec::new();
            let one = std::slice::from_ref(line);
            if !(may_be_setting && self.settings(one, in_secret_table, &mut found)) {
                let was_outside = prose.is_outside();
                found = prose.line(text);
                // A value without its quotes.
                let value = text.split_once('=').map(|(_, value)| value.trim());
                match value {
                    Some(value) if *in_secret_table && was_outside => {
                        let end = text.trim_end().len();
                        found.push(end - value.len()..end);
                    }
                    _ => *in_secret_table &= text.trim().is_empty(),
                }
                for part in &mut found {
                    *part = line.start + part.start..line.start + part.end;
                }
            }
            ranges.extend(found);
        }
    }

    fn line(&self, line: &Range<usize>) -> &str {
        self.text.get(line.clone()).unwrap_or_default()
    }

    /// Takes lines for settings that are commented out; `false` if they are none.
    fn settings(
        &self,
        lines: &[Range<usize>],
        in_secret_table: &mut bool,
        ranges: &mut Vec<Range<usize>>,
    ) -> bool {
        let mut text = String::new();
        let mut starts = Vec::new();
        for line in lines {
            starts.push(text.len());
            text.push_str(self.line(line));
            text.push('\n');
        }
        let Ok(syntax) = Syntax::parse(&text) else {
            return false;
        };
        let mut settings = Settings {
            text: &text,
            kind: self.kind,
            ranges: Vec::new(),
        };
        let mut found_any = false;
        let mut is_secret = *in_secret_table;
        for section in &syntax.sections {
            found_any |= section.header.is_some() || !section.entries.is_empty();
            let outside = Position::unknown();
            let position = match &section.header {
                Some(header) => {
                    settings.keys(&header.keys, &outside);
                    outside.below(&header.keys)
                }
                None if *in_secret_table => Position::in_secret_table(),
                None => outside,
            };
            settings.entries(&section.entries, &position);
            is_secret = position.in_secret_table;
        }
        if !found_any {
            return false;
        }
        *in_secret_table = is_secret;
        let mut found = settings.ranges;
        // What is a comment in a comment is prose.
        let mut prose = Prose::default();
        for comment in &syntax.comments {
            let inner = content(&text, comment);
            let parts = prose.line(text.get(inner.clone()).unwrap_or_default());
            found.extend(
                parts
                    .into_iter()
                    .map(|part| inner.start + part.start..inner.start + part.end),
            );
        }
        for range in found {
            self.map(lines, &starts, &range, ranges);
        }
        true
    }

    /// Puts a range of the joined lines where it stands in the file, line by line.
    fn map(
        &self,
        lines: &[Range<usize>],
        starts: &[usize],
        range: &Range<usize>,
        ranges: &mut Vec<Range<usize>>,
    ) {
        let first = starts
            .partition_point(|start| *start <= range.start)
            .saturating_sub(1);
        let (lines, starts) = (lines.get(first..), starts.get(first..));
        for (line, start) in lines
            .into_iter()
            .flatten()
            .zip(starts.into_iter().flatten())
        {
            if *start >= range.end {
                break;
            }
            let from = range.start.max(*start) - start;
            let to = (range.end - start).min(line.len());
            if from < to {
                ranges.push(line.start + from..line.start + to);
            }
        }
    }
}

/// Lines for people, one after the other: what one ends with may be about the next.
#[derive(Debug, Default)]
pub(super) struct Prose {
    /// Whether the lines are inside a PEM block.
    in_pem: bool,
    /// Whether the last line ends with a word that announces a secret.
    announced: bool,
    /// Whether a sign stands behind that word: what follows may be further away.
    has_sign: bool,
}

impl Prose {
    /// Whether the next line is not hidden whatever it says.
    fn is_outside(&self) -> bool {
        !self.in_pem && !self.announced
    }

    /// What follows is not right below the lines before.
    fn begin_block(&mut self) {
        self.announced &= self.has_sign;
    }

    /// The parts of a line that are not shown.
    pub(super) fn line(&mut self, line: &str) -> Vec<Range<usize>> {
        work::count(line.len());
        let trimmed = line.trim();
        let start = line.len() - line.trim_start().len();
        let whole = start..start + trimmed.len();
        if self.in_pem {
            self.in_pem = !trimmed.contains("-----END");
            return if self.in_pem { vec![whole] } else { Vec::new() };
        }
        if trimmed.is_empty() {
            return Vec::new();
        }
        if let Some(at) = line.find("-----BEGIN") {
            let rest = line.get(at..).unwrap_or_default();
            self.in_pem = !rest.contains("-----END");
            return std::iter::once(at..whole.end).collect();
        }
        // `echo SECRET | docker login --password-stdin HOST`: the secret is before the word that announces it.
        if std::mem::take(&mut self.announced) || line.contains("-stdin") {
            self.announced = trimmed.ends_with('\\');
            self.has_sign = self.announced;
            return vec![whole];
        }
        let mut ranges = Vec::new();
        let login = line.rfind("login").and_then(|at| line.get(..at));
        // In a table nothing stands between the two.
        if let Some((before, command)) = login.and_then(|before| before.rsplit_once('|'))
            && !command.trim().is_empty()
        {
            let pipe = before.len();
            ranges.push(
                start
                    ..line
                        .get(..pipe)
                        .unwrap_or_default()
                        .trim_end()
                        .len()
                        .max(start),
            );
        }
        if let Some(at) = line.find("<<<").filter(|at| *at > start) {
            ranges.push(at + "<<<".len()..whole.end);
        }
        let end = match announced(line) {
            Some(Value { start, has_sign }) => {
                let value = line.get(start..whole.end).unwrap_or_default();
                let opens = |c: char| c.is_whitespace() || "\\|>-{([\"'`".contains(c);
                // A value that begins on the next line.
                if value.trim_matches(opens).is_empty() {
                    self.announced = true;
                    self.has_sign = has_sign;
                    whole.end
                } else {
                    ranges.push(start..whole.end);
                    start
                }
            }
            None => whole.end,
        };
        let shown = line.get(..end).unwrap_or_default();
        words_of(shown, &mut ranges);
        for part in words::tokens(shown).chain(words::odd_words(shown, &words::authorities(shown)))
        {
            ranges.push(part);
        }
        ranges
    }
}

/// A secret that a word announces.
struct Value {
    /// Where it begins.
    start: usize,
    /// Whether a colon or the like stands before it.
    has_sign: bool,
}

/// The first secret of a line that a word announces.
fn announced(line: &str) -> Option<Value> {
    let of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || is_mark(c);
    let mut runs = words::runs(line, of_word).peekable();
    while let Some(run) = runs.next() {
        let mut word = line.get(run.clone()).unwrap_or_default();
        let next = runs.peek().map_or(line.len(), |next| next.start);
        let gap = line.get(run.end..next).unwrap_or_default();
        let mut says = words::announces(word);
        if gap == "/" && is_abbreviated(line, &run) {
            says = Announces::Nothing;
        } else if run.len() == 1 && is_abbreviated(line, &(run.start.saturating_sub(2)..run.end)) {
            says = Announces::Perhaps;
            word = "pw";
        }
        if says == Announces::Nothing {
            continue;
        }
        let has_sign = gap.contains([':', '=', '：', '＝', '→', '>']);
        let next_word = next_word(line, next);
        let rest = line.get(next..).unwrap_or_default();
        let is_secret = match says {
            Announces::Password(length) if run.start + length < run.end => {
                let start = run.start + length;
                return Some(Value { start, has_sign });
            }
            Announces::Password(_) => true,
            // Words end with it: `the key:`.
            _ => {
                has_sign
                    || is_odd(next_word)
                    || says_is(word, rest)
                    || is_user_and_password(word, rest)
            }
        };
        if is_secret && !(has_sign && gap.contains("://")) {
            // `"password": "x"`: the first quote is the name's, the second one the value's.
            let value = gap.trim_start_matches(['"', '\'', '`']);
            let value =
                value.trim_start_matches(|c: char| c.is_whitespace() || ":=：＝→>".contains(c));
            let start = run.end + gap.len() - value.len();
            return Some(Value { start, has_sign });
        }
    }
    None
}

/// Whether `p/w` stands there.
fn is_abbreviated(line: &str, range: &Range<usize>) -> bool {
    let text = line.get(range.start..range.start + 3);
    text.is_some_and(|text| text.eq_ignore_ascii_case("p/w"))
}

/// `login bob hunter`, `creds bob / hunter`: two words and no more, neither of which is a host or a word of a sentence.
fn is_user_and_password(word: &str, rest: &str) -> bool {
    const NAMES: &[&str] = &[
        "login",
        "logins",
        "cred",
        "creds",
        "credential",
        "credentials",
    ];
    const OF_SENTENCES: &[&str] = &[
        "a", "and", "are", "as", "at", "below", "by", "for", "from", "here", "if", "in", "is",
        "not", "of", "on", "once", "or", "required", "see", "the", "them", "then", "there", "to",
        "via", "was", "were", "with", "you",
    ];
    if !NAMES.iter().any(|name| word.eq_ignore_ascii_case(name)) {
        return false;
    }
    let between = |c: char| c.is_whitespace() || "/,;|".contains(c);
    let mut words = rest.split(between).filter(|word| !word.is_empty());
    let (Some(user), Some(password), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let is_of_sentence = |word: &str| OF_SENTENCES.iter().any(|it| word.eq_ignore_ascii_case(it));
    let is_name = |word: &str| !is_of_sentence(word) && !is_host(word) && !word.starts_with('-');
    is_name(user) && is_name(password) && !rest.contains("://")
}

/// Combining marks, and the vowel signs of scripts that write them apart.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c) || ('\u{900}'..='\u{e4f}').contains(&c)
}

fn next_word(line: &str, at: usize) -> &str {
    /// No more of it is looked at.
    const LONGEST: usize = 64;
    let rest = line.get(at..).unwrap_or_default();
    let rest = rest
        .get(..rest.floor_char_boundary(LONGEST))
        .unwrap_or_default();
    rest.split(|c: char| c.is_whitespace() || "\"'`,;".contains(c))
        .next()
        .unwrap_or_default()
}

/// `the token is …`; of a key it is a secret only if it looks like one.
fn says_is(word: &str, rest: &str) -> bool {
    const IS: &[&str] = &[
        "is",
        "was",
        "ist",
        "est",
        "es",
        "é",
        "è",
        "jest",
        "равен",
        "это",
        "是",
        "は",
    ];
    let lower = word.to_lowercase();
    let names = [
        "secret",
        "token",
        "pass",
        "pw",
        "pin",
        "mdp",
        "clave",
        "секрет",
        "токен",
        "令牌",
        "密钥",
        "秘密",
    ];
    let is = next_word(rest, 0);
    let after = rest.get(is.len()..).unwrap_or_default();
    let gap = after.len() - after.trim_start().len();
    IS.contains(&is)
        && (names.iter().any(|name| lower.contains(name)) || is_odd(next_word(after, gap)))
}

/// Whether a word is a host with a dot in it, and perhaps with a port and a path.
fn is_host(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| ".:!?)".contains(c));
    let (name, rest) = word.split_at(word.find([':', '/']).unwrap_or(word.len()));
    let of_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let is_address = || name.parse::<std::net::Ipv4Addr>().is_ok();
    let bytes = name.as_bytes();
    let has_dot = || {
        bytes.windows(3).any(|three| {
            matches!(three, [one, b'.', next] if one.is_ascii_alphabetic() && next.is_ascii_alphabetic())
        })
    };
    let port = rest
        .strip_prefix(':')
        .map(|rest| rest.split('/').next().unwrap_or_default());
    name.bytes().all(of_host)
        && (has_dot() || is_address())
        && port.is_none_or(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a word is no word of a language: letters and digits, or capital letters in it, or a colon. Hosts are none, nor
/// URLs, whose own rules tell what of them is secret.
fn is_odd(word: &str) -> bool {
    if word.contains("://") || is_host(word) {
        return false;
    }
    let has_digit = word.contains(|c: char| c.is_ascii_digit());
    let has_letter = word.contains(|c: char| c.is_alphabetic());
    let has_inner_capital = word.chars().skip(1).any(|c| c.is_ascii_uppercase())
        && word.contains(|c: char| c.is_ascii_lowercase());
    let has_colon = word
        .split_once(':')
        .is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with("//"));
    word.len() >= 4 && (has_digit && has_letter || has_inner_capital || has_colon)
}

/// What can be seen of a word by itself and by the one before it: URLs, and the options of command lines.
fn words_of(line: &str, ranges: &mut Vec<Range<usize>>) {
    let of_word = |c: char| !c.is_whitespace() && !matches!(c, '"' | '`' | '<' | '>');
    let mut before = "";
    for run in words::runs(line, of_word) {
        let word = line.get(run.clone()).unwrap_or_default();
        let bare = word.trim_start_matches(['\'', '(', '[', '{', ',']);
        let start = run.end - bare.len();
        match before {
            // The name of a header stands before its value.
            "-H" | "--header" | "--header=" => ranges.push(start..line.trim_end().len().max(start)),
            "-u" | "--user" | "--username" if bare.contains(':') => ranges.push(start..run.end),
            "-p" | "--pass"
                if bare.contains(|c: char| c.is_ascii_alphabetic()) && !bare.starts_with('-') =>
            {
                ranges.push(start..run.end);
            }
            _ => {}
        }
        if matches!(before, "-H" | "--header" | "--header=") {
            return;
        }
        let header = bare.strip_prefix("-H").filter(|rest| rest.contains(':'));
        let header = header.or_else(|| bare.strip_prefix("--header=").filter(|it| !it.is_empty()));
        if let Some(header) = header {
            ranges.push(run.end - header.len()..line.trim_end().len());
            return;
        }
        let attached = bare
            .strip_prefix("-u")
            .filter(|rest| rest.contains(':') && !rest.starts_with(':'));
        let attached = attached.or_else(|| bare.strip_prefix("-p").filter(|rest| is_odd(rest)));
        if let Some(rest) = attached {
            ranges.push(run.end - rest.len()..run.end);
        }
        urls(word, run.start, ranges);
        before = bare;
    }
}

/// The URLs in a word, and `user:password@host` without a scheme.
fn urls(word: &str, base: usize, ranges: &mut Vec<Range<usize>>) {
    if !word.contains(':') {
        return;
    }
    let mut starts: Vec<usize> = Vec::new();
    for (at, _) in word.match_indices("://") {
        let before = word.get(..at).unwrap_or_default();
        let scheme = before
            .bytes()
            .rev()
            .take(16)
            .take_while(u8::is_ascii_alphanumeric)
            .count();
        starts.push(at - scheme);
    }
    if starts.is_empty() {
        let is_image = |after: &str| after.starts_with("sha256:") || after.starts_with("sha512:");
        if let Some((before, after)) = word.rsplit_once('@')
            && !is_image(after)
        {
            if before.contains(':') {
                ranges.push(base..base + before.len());
            } else if let Some((_, rest)) = after.split_once(':')
                // `git@h:team/repository` is a path, and `bob@h:5000` a port.
                && rest.contains(|c: char| !c.is_ascii_digit())
                && !rest.contains('/')
            {
                let end = base + word.len();
                ranges.push(end - rest.len()..end);
            }
        }
        return;
    }
    let ends = starts.iter().skip(1).copied().chain([word.len()]);
    for (start, end) in starts.iter().copied().zip(ends) {
        let text = word.get(start..end).unwrap_or_default();
        let text = text.trim_end_matches(['\'', ')', ',', ';', ']', '}', '.']);
        let hidden = url::hidden(text).into_iter();
        ranges.extend(hidden.map(|part| base + start + part.start..base + start + part.end));
    }
}
