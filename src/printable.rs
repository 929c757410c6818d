//! Text from outside, made fit to be printed: on a terminal or in a ticket a line is a line, and says what it says.

/// Escapes what a terminal would obey, or what would make text look like something else: line breaks, control characters
/// (C0 and C1, escape sequences with them) and marks of writing direction.
pub fn printable(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Line and paragraph separator.
            '\u{2028}' | '\u{2029}'
            // Bidirectional marks, embeddings, overrides and isolates.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Seen by nobody: byte order mark and tags.
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        assert_eq!(printable("x\n+++ b/etc\r\t"), "x\\n+++ b/etc\\r\\t");
        assert_eq!(printable("\u{1b}[2J\u{7f}"), "\\u{1b}[2J\\u{7f}");
        assert_eq!(printable("\u{85}\u{9b}31m"), "\\u{85}\\u{9b}31m");
        assert_eq!(printable("a\u{2028}b\u{2029}"), "a\\u{2028}b\\u{2029}");
        assert_eq!(printable("\u{202e}toml\u{2066}"), "\\u{202e}toml\\u{2066}");
        let harmless = "/etc/containerd/\"x\" 'y' \\ `é` 東京 שלום \u{200d}";
        assert_eq!(printable(harmless), harmless);
    }
}
