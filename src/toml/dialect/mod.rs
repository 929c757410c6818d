//! Which of containerd's TOML readers take a text, and where the first one stops that does not.
//!
//! containerd reads config.toml and hosts.toml with pelletier/go-toml, whose versions take different texts for TOML. A
//! config.toml that is refused keeps the daemon from starting, a hosts.toml is dropped without a word, so the
//! difference has to be said before the upgrade finds it. Neither toml_edit nor the TOML specification can say it:
//! go-toml 1 takes byte order marks, broken UTF-8, line breaks in strings and a table that is defined twice in
//! different quotes, and refuses `]` in a quoted header and a date at the end of a line; 2.4 takes most of TOML 1.1.
//! So there are two readers here that follow go-toml's own, `one` for 1.x and `two` for 2.x, on bytes.
//!
//! The vendored sources are the reference (`vendor/github.com/pelletier/go-toml` at containerd's tags v1.7.34, v2.2.7
//! and v2.3.4, and 2.4.3 on main); `tests/data/toml-dialects` was measured.
//!
//! What is not decided here:
//!
//! * Types. `version = "2"` is TOML, and whether a setting has the right type is a question about the setting.
//! * containerd 1.5 has go-toml 1.8.1, which refuses integers of 2⁶³ and more and reads a date at the end of a line;
//!   1.9.5 has it the other way round. No setting of containerd is either, so 1.9.5 stands for both.
//! * Under a top-level name that containerd does not know, go-toml 2 does not look at dates and numbers, and before 2.4
//!   not for repeated keys. Here they are refused wherever they are.
//! * Values that are nested deeper than 500 levels are said to be refused. Of the readers only 2.4 has a limit, 10000.

mod one;
mod two;

use std::ops::Range;

use crate::containerd::release::GoToml;

/// The deepest nesting of arrays and inline tables that is followed; toml_edit gives up long before.
const DEPTH: u32 = 500;

/// Why and where a reader stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The bytes that it stops at; empty at the end of the text.
    pub range: Range<usize>,
    /// What they are, as a phrase without any of the text (which may hold a secret).
    pub reason: &'static str,
}

/// Why `reader` does not take `text` for TOML; `None` if it does.
pub fn refusal(text: &[u8], reader: GoToml) -> Option<Refusal> {
    let refusal = match reader {
        GoToml::V1 => one::read(text),
        GoToml::V2_2 | GoToml::V2_3 | GoToml::V2_4 => two::read(text, reader),
    }
    .err()?;
    let end = refusal.range.end.min(text.len());
    Some(Refusal {
        range: refusal.range.start.min(end)..end,
        ..refusal
    })
}

type Read<T> = Result<T, Refusal>;

fn refuse<T>(range: Range<usize>, reason: &'static str) -> Read<T> {
    Err(Refusal { range, reason })
}

/// Whether the digits are a day that there is, `YYYY-MM-DD`.
fn is_date(text: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return false;
    };
    let (Some(century), Some(year), Some(month), Some(day)) = (
        two_digits(*y1, *y2),
        two_digits(*y3, *y4),
        two_digits(*m1, *m2),
        two_digits(*d1, *d2),
    ) else {
        return false;
    };
    let leap = if year == 0 {
        century % 4 == 0
    } else {
        year % 4 == 0
    };
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

/// Whether Go's `strconv.ParseFloat` takes a text of digits, signs, dots and exponents: too large is an error there.
fn is_float(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each reader, oldest first, says.
    fn answers(text: impl AsRef<[u8]>) -> [bool; 4] {
        GoToml::ALL.map(|reader| refusal(text.as_ref(), reader).is_none())
    }

    fn why(text: &[u8], reader: GoToml) -> (&[u8], &'static str) {
        let refusal = refusal(text, reader).unwrap();
        (&text[refusal.range], refusal.reason)
    }

    #[test]
    fn every_measured_file_has_go_tomls_answer() {
        let data =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toml-dialects");
        let table = std::fs::read_to_string(data.join("answers.tsv")).unwrap();
        let mut seen = 0;
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let text = std::fs::read(data.join(columns[0])).unwrap();
            let expected: Vec<bool> = columns[1..].iter().map(|answer| *answer == "ok").collect();
            assert_eq!(answers(&text).as_slice(), expected, "{line}");
            seen += 1;
        }
        assert_eq!(seen, 54);
    }

    #[test]
    fn what_an_upgrade_finds_is_named_with_its_place() {
        for (text, stop, reason) in [
            ("\u{feff}version = 2\n", "\u{feff}", "a byte order mark"),
            ("# a\u{1}\n", "\u{1}", "a control character"),
            ("a = {\n b = 1 }\n", "\n", "a line break in an inline table"),
            ("a = { # c\n b = 1 }\n", "#", "a comment in an inline table"),
            ("[\"a\"]\n['a']\n", "'a'", "a table that is there already"),
            ("a.b = 1\n[a]\n", "a", "a table that is there already"),
            (
                "a = 1\r# c\r\n",
                "\r",
                "a carriage return without a line feed",
            ),
            (
                "k = \"\\ud800\"\n",
                "\\ud800",
                "an escape of no Unicode character",
            ),
        ] {
            assert_eq!(refusal(text.as_bytes(), GoToml::V1), None, "{text:?}");
            assert_eq!(
                why(text.as_bytes(), GoToml::V2_2),
                (stop.as_bytes(), reason),
                "{text:?}"
            );
        }
        assert_eq!(
            why(b"# \xff\n", GoToml::V2_3),
            (&b"\xff"[..], "a byte that is not UTF-8")
        );
        assert_eq!(
            why(b"[\"a]\"]\n", GoToml::V1),
            (&b"\"a"[..], "a quoted key that is not closed")
        );
        assert_eq!(
            why(b"k = \"\\e\"", GoToml::V1),
            (&b"\\e"[..], "an escape sequence that it does not know")
        );
        assert_eq!(
            why(b"k = [1", GoToml::V1),
            (&b""[..], "the end of the text, where more is expected")
        );
        assert_eq!(
            why(b"k = [1", GoToml::V2_4),
            (&b""[..], "an array that is not closed")
        );
    }

    // The answers below are those of the vendored sources, run.
    #[test]
    fn go_toml_1_has_rules_of_its_own() {
        const ONLY_ONE: [bool; 4] = [true, false, false, false];
        const NOT_ONE: [bool; 4] = [false, true, true, true];
        for text in [
            "[a] b = 1",
            ".a = 1",
            "'a'b = 1",
            "k = 'a\nb'",
            "k = \"a\\ b\"",
            "k = \"\\/\"",
            "k = 01",
            "k = 1_.5",
            "a = { b.c = 1 }\n[a.b]\nd = 1",
            "[[a]]\n[ a ]",
            "a = 1\n[[a.b]]",
            "a = [{ b = 1 }]\n[[a]]",
            "\"a\nb\" = 1",
        ] {
            assert_eq!(answers(text), ONLY_ONE, "{text}");
        }
        for text in [
            "k = 0e5",
            "k = 1979-05-27\n",
            "k = 1979-05-27t07:32:00",
            "a. b = 1",
            "\"a\\\"b\" = 1",
            "k = \"\"\"x\"\"\"\"",
            "['a[']",
        ] {
            assert_eq!(answers(text), NOT_ONE, "{text}");
        }
        // Decoded in a key, not decoded in a header.
        assert_eq!(answers("\"\\u0061\" = 1\na = 2"), [false; 4]);
        assert_eq!(answers("[\"\\u0061\"]\n[a]"), ONLY_ONE);
    }

    #[test]
    fn go_toml_2_changed_from_release_to_release() {
        assert_eq!(answers("[a.b.c]\n[a]\nb.d = 1"), [true, true, true, false]);
        assert_eq!(answers("k = 07:32:60"), [false, true, false, false]);
        assert_eq!(answers("k = 07:32"), [false, false, false, true]);
        assert_eq!(answers("a = { b = 1,\r\n}"), [false, false, false, true]);
        assert_eq!(answers("a = { b = 1 # c\n}"), [true, false, false, true]);
        assert_eq!(answers("a = { b = 1, b = 2 }"), [true, false, false, false]);
        assert_eq!(answers("k = \"\"\"a\\ \n b\"\"\""), [true; 4]);
    }

    #[test]
    fn nothing_is_too_deep_or_too_long() {
        let deep = "[".repeat(100_000);
        assert_eq!(answers(format!("k = {deep}")), [false; 4]);
        assert_eq!(answers("k = {a = ".repeat(50_000)), [false; 4]);
        assert_eq!(answers(format!("a{} = 1", ".a".repeat(20_000))), [true; 4]);
        let many: String = (0..20_000).map(|n| format!("[a.b{n}]\nk = 1\n")).collect();
        assert_eq!(answers(many), [true; 4]);
    }

    #[test]
    fn each_containerd_has_its_reader() {
        let of = |text| GoToml::of(crate::containerd::release::Version::parse(text).unwrap());
        assert_eq!([of("1.5.0"), of("1.7.34")], [GoToml::V1; 2]);
        assert_eq!([of("2.0.0"), of("2.2.7")], [GoToml::V2_2; 2]);
        assert_eq!(of("2.3.4"), GoToml::V2_3);
        assert_eq!([of("2.4.0"), of("3.0.0")], [GoToml::V2_4; 2]);
    }
}
