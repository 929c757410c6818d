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

/// A JSON text in which nothing stands that a terminal would obey: there it is inside of strings only, and escaped as JSON
/// does it.
pub fn printable_json(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for character in json.chars() {
        if is_harmful(character) && character != '\n' {
            let mut buffer = [0; 2];
            for unit in character.encode_utf16(&mut buffer) {
                printable.push_str(&format!("\\u{unit:04x}"));
            }
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
    fn a_json_text_stays_what_it_is() {
        let text = "x\u{1b}[2J\u{9b}1m\u{7f}\u{202e}\u{2028}\n\u{e0041}\u{feff}é";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.contains(|c| is_harmful(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
        assert_eq!(printable_json("{\n  \"é\": 1\n}"), "{\n  \"é\": 1\n}");
    }

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
