//! Text from outside, made fit to be printed: on a terminal or in a ticket a line is a line, and says what it says.

/// Escapes what a terminal would obey, or what would make text look like something else: line breaks, control characters
/// (C0 and C1, escape sequences with them), marks of writing direction, and characters that nobody sees.
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
    let after = IGNORED.partition_point(|(first, _)| *first <= character);
    let ignored = after.checked_sub(1).and_then(|at| IGNORED.get(at));
    character.is_control() || ignored.is_some_and(|(_, last)| character <= *last)
}

/// What nobody sees, or what a line of text is not: `Default_Ignorable_Code_Point` of Unicode's
/// `DerivedCoreProperties.txt`, less U+200C and U+200D, without which words of some scripts are wrong. Marks of writing
/// direction are among them. Line and paragraph separator (U+2028, U+2029) and the signs of annotations (U+FFF9 to U+FFFB)
/// come on top. In order.
const IGNORED: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200b}'),
    ('\u{200e}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

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
        for invisible in
            "\u{200b}\u{2060}\u{ad}\u{115f}\u{3164}\u{180e}\u{fff9}\u{fffb}\u{feff}\u{e0100}"
                .chars()
        {
            let name = format!("m{invisible}.example");
            assert_eq!(
                printable(&name),
                format!("m{}.example", invisible.escape_default())
            );
        }
        assert!(IGNORED.iter().all(|(first, last)| first <= last));
        assert!(IGNORED.is_sorted());
        let harmless = "/etc/containerd/\"x\" 'y' \\ `é` 東京 שלום \u{200c}\u{200d}";
        assert_eq!(printable(harmless), harmless);
    }
}
