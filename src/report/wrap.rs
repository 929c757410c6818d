//! Text in lines that fit a terminal.

/// The width of every line. Only a word that is longer by itself, such as a path, goes beyond it.
pub(super) const WIDTH: usize = 80;

/// The text in lines that are broken between words, the first after `first`, the others after `rest`.
pub(super) fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut wrapped = String::new();
    let mut line = String::from(first);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            wrapped.push_str(&line);
            wrapped.push('\n');
            line = String::from(rest);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    wrapped.push_str(&line);
    wrapped.push('\n');
    wrapped
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, wrapped};

    #[test]
    fn lines_break_between_words_and_never_in_a_path() {
        let path = format!("/etc/{}/hosts.toml", "d".repeat(WIDTH));
        let text = format!("the file {path} is not read by {}", "it ".repeat(40));
        let text = wrapped(&text, "  ", "    ");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"  the file"));
        assert_eq!(lines.get(1).map(|line| line.trim()), Some(path.as_str()));
        let others = lines.iter().filter(|line| !line.contains('/'));
        assert!(others.clone().count() > 2);
        assert!(others.clone().all(|line| line.chars().count() <= WIDTH));
        assert!(lines.iter().skip(1).all(|line| line.starts_with("    ")));
    }
}
