//! Text from outside, made fit for Markdown as GitHub, GitLab and importers read it: a name or a message is no markup,
//! no link, no mention and no HTML, whatever it holds.
//!
//! Backslashes do not keep a forge from linking `@team`, `#1` or a URL: it looks for them in the rendered text. Code spans
//! do. So everything but plain words is a code span.

use std::fmt::Write;

use crate::printable::printable;

/// Text as a code span.
pub fn code(text: &str) -> String {
    let text = printable(text);
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let is_edge = |c: char| c == '`' || c == ' ';
    let pads = text.starts_with(is_edge) || text.ends_with(is_edge);
    let pad = if pads { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A sentence: what is between backticks, and every word that is more than letters, is a code span.
pub fn prose(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            if !part.is_empty() {
                push_code(part, &mut prose);
            }
            continue;
        }
        for (number, word) in part.split(char::is_whitespace).enumerate() {
            if number > 0 && !prose.is_empty() && !prose.ends_with(' ') {
                prose.push(' ');
            }
            if !word.is_empty() {
                push_word(word, &mut prose);
            }
        }
    }
    prose.trim_end().to_owned()
}

/// Two spans without anything between them would be one.
fn push_code(text: &str, prose: &mut String) {
    if prose.ends_with('`') {
        prose.push(' ');
    }
    prose.push_str(&code(text));
}

fn push_word(word: &str, prose: &mut String) {
    let core = word.trim_start_matches(['(', '"']);
    let (before, _) = word.split_at(word.len() - core.len());
    let opens = core.contains('(');
    let is_end =
        |c: char| matches!(c, ',' | '.' | ';' | ':' | '!' | '?' | '"') || c == ')' && !opens;
    let trimmed = core.trim_end_matches(is_end);
    let (core, after) = core.split_at(trimmed.len());
    // At the start of a line a number begins a list, and other signs something else.
    if prose.is_empty() && core.bytes().all(|byte| byte.is_ascii_digit()) {
        return push_code(word, prose);
    }
    prose.push_str(before);
    if core.is_empty() || is_plain(core) {
        prose.push_str(core);
    } else {
        push_code(core, prose);
    }
    prose.push_str(after);
}

/// Whether a word is letters, or a version, and nothing that a forge takes for the name of a commit.
fn is_plain(word: &str) -> bool {
    let is_hash = word.len() >= 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_version = word
        .split('.')
        .all(|part| part == "x" || !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let is_word = word
        .split(['-', '\''])
        .all(|part| !part.is_empty() && part.chars().all(char::is_alphabetic));
    !is_hash && (is_version || is_word)
}

/// A block of code that no line of it can end.
pub fn fence(language: &str, text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{language}\n{text}{end}{fence}\n")
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|c: char| c != '`').map(str::len);
    runs.max().unwrap_or_default()
}

/// A table; its cells are Markdown already.
pub fn table<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = String::new();
    let mut row = |cells: [&str; N]| {
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    };
    row(heading);
    row(["---"; N]);
    for cells in rows {
        row(cells.each_ref().map(String::as_str));
    }
    table
}

/// Text as a code span in a cell of a table. A bar ends a cell even in a code span, so that it is written between two.
pub fn cell(text: &str) -> String {
    let parts = text.split('|');
    let spans = parts.map(|part| {
        if part.is_empty() {
            String::new()
        } else {
            code(part)
        }
    });
    let spans: Vec<String> = spans.collect();
    if text.is_empty() {
        code(text)
    } else {
        spans.join("\\|")
    }
}

/// A sentence in a cell of a table.
pub fn prose_cell(text: &str) -> String {
    if text.contains('|') {
        cell(text)
    } else {
        prose(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_ends_where_its_text_does() {
        for (text, span) in [
            ("a.b", "`a.b`"),
            ("a`b", "``a`b``"),
            ("`a``", "``` `a`` ```"),
            (" a", "`  a `"),
            ("a\nb", "`a\\nb`"),
            ("", "(empty)"),
        ] {
            assert_eq!(code(text), span, "{text:?}");
        }
    }

    #[test]
    fn only_plain_words_are_not_code() {
        for (text, shown) in [
            (
                "plain words, and (more) \"of\" them.",
                "plain words, and (more) \"of\" them.",
            ),
            (
                "containerd's drop-in of 1.7.35 on 2.x",
                "containerd's drop-in of 1.7.35 on 2.x",
            ),
            ("the key `a`, twice", "the key `a`, twice"),
            ("`a`: b", "`a`: b"),
            ("ask @team, #12 or !3", "ask `@team`, `#12` or `!3`"),
            ("see (https://m.example).", "see (`https://m.example`)."),
            (
                "<b> *x* _y_ [z](u) ~~s~~",
                "`<b>` `*x*` `_y_` `[z](u)` `~~s~~`",
            ),
            ("1. first", "`1.` first"),
            ("- item", "`-` item"),
            ("# heading", "`#` heading"),
            ("GH-1 deadbeef 1234567", "`GH-1` `deadbeef` `1234567`"),
            ("a `b", "a `b`"),
            ("``", ""),
            ("docker.io asks", "`docker.io` asks"),
            ("`a`b.c, `d`s", "`a` `b.c`, `d`s"),
            (":smile: it's", "`:smile`: it's"),
        ] {
            assert_eq!(prose(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_fence_is_longer_than_any_in_the_text() {
        assert_eq!(fence("diff", "+a"), "```diff\n+a\n```\n");
        assert_eq!(fence("diff", "+````\n"), "`````diff\n+````\n`````\n");
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        assert_eq!(cell("a|b"), "`a`\\|`b`");
        assert_eq!(cell("a\\|b|"), "`a\\`\\|`b`\\|");
        assert_eq!(prose_cell("a|b c"), "`a`\\|`b c`");
        let text = table(["x", "y"], [[cell("a|b"), prose("c")]]);
        assert_eq!(text, "| x | y |\n| --- | --- |\n| `a`\\|`b` | c |\n");
    }
}
