//! Words for a shell, in commands that are printed to be pasted.

use crate::printable::printable;

/// Quotes a word where it needs it, for a POSIX shell. One with characters that a terminal would obey is quoted as Bash, ksh
/// and zsh read it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if printable(word) == word {
        return format!("'{}'", word.replace('\'', "'\\''"));
    }
    let mut quoted = String::from("$'");
    for character in word.chars() {
        let mut bytes = [0; 4];
        let text = character.encode_utf8(&mut bytes);
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            _ if printable(text) == *text => quoted.push(character),
            _ => quoted.extend(text.bytes().map(|byte| format!("\\x{byte:02x}"))),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_needed() {
        assert_eq!(quote("/a/b:c"), "/a/b:c");
        assert_eq!(quote("a b'c"), "'a b'\\''c'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_terminal_obeys_nothing_in_a_word() {
        assert_eq!(
            quote("a\nb\u{1b}[2J'\\é\u{202e}"),
            "$'a\\x0ab\\x1b[2J\\'\\\\é\\xe2\\x80\\xae'"
        );
    }
}
