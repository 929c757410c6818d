//! TOML that is commented out: tables and settings in comments, line by line. Someone who takes the `#` away again wants
//! to find them where they were.

use super::syntax::Syntax;

/// What the line of a comment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A header, or what follows it of that table.
    Table,
    /// `key = value` below no header.
    Setting,
    /// Anything else.
    Prose,
}

/// The shapes of the lines of one block of comments: consecutive lines with nothing but a comment on each. `lines` are
/// without their number signs.
pub(super) fn shapes(lines: &[&str]) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::with_capacity(lines.len());
    // The brackets of a value that are open.
    let mut open = 0;
    let mut header = None;
    for (at, line) in lines.iter().enumerate() {
        let text = line.trim();
        let shape = if open > 0 {
            open += brackets(text);
            Some(Shape::Setting)
        } else if is_header(text) {
            header.get_or_insert(at);
            Some(Shape::Table)
        } else if is_setting(text) {
            Some(Shape::Setting)
        } else if opens_value(text) {
            open = brackets(text);
            Some(Shape::Setting)
        } else {
            None
        };
        shapes.push(shape.unwrap_or(Shape::Prose));
        // What stands between two lines of a table is about the table.
        if let (Some(_), Some(first)) = (shape, header) {
            for earlier in shapes.iter_mut().skip(first) {
                *earlier = Shape::Table;
            }
            header = Some(at + 1);
        }
    }
    shapes
}

fn is_header(text: &str) -> bool {
    text.starts_with('[')
        && Syntax::parse(text)
            .is_ok_and(|syntax| syntax.sections.iter().any(|s| s.header.is_some()))
}

fn is_setting(text: &str) -> bool {
    let has_entry = |syntax: Syntax| syntax.sections.iter().any(|s| !s.entries.is_empty());
    text.contains('=') && Syntax::parse(text).is_ok_and(has_entry)
}

/// Whether a value begins in this line that ends in another one.
fn opens_value(text: &str) -> bool {
    let Some((key, value)) = text.split_once('=') else {
        return false;
    };
    value.trim_start().starts_with(['[', '{'])
        && brackets(value) > 0
        && is_setting(&format!("{key}= 0"))
}

/// How many more brackets are opened than closed, quoted ones aside.
fn brackets(text: &str) -> i32 {
    let mut quote = None;
    let mut open = 0;
    for c in text.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => open += 1,
            (None, ']' | '}') => open -= 1,
            (None, '#') => break,
            (None, _) => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_commented_out_reaches_to_its_last_setting() {
        let lines = [
            " about root",
            "root = \"/var\"",
            "",
            "[debug]",
            "  what follows is about the level",
            "  level = \"info\"",
            " [a.\"b\"]",
            "  k = [",
            "    \"[\", # one",
            "    anything",
            "  ]",
            " our own mirror = slow",
            "",
        ];
        use Shape::{Prose, Setting, Table};
        let expected = [
            Prose, Setting, Prose, Table, Table, Table, Table, Table, Table, Table, Table, Prose,
            Prose,
        ];
        assert_eq!(shapes(&lines), expected);
    }

    #[test]
    fn prose_is_no_toml() {
        for line in [
            "see [1] and [2]",
            "[a], [b]",
            "timeout = 5 is too short",
            "was: endpoint = [\"https://old\"]",
            "https://example?a=b",
            "--- [x] ---",
        ] {
            assert_eq!(shapes(&[line]), [Shape::Prose], "{line}");
        }
    }

    #[test]
    fn many_lines_take_no_time() {
        let lines = ["[a]", "b = 1", "c"].repeat(10_000);
        assert_eq!(shapes(&lines).len(), lines.len());
    }
}
