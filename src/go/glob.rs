//! Go's `path/filepath.Match` for one name, as containerd expands `imports`: `*`, `?`, `[a-z]`, `[^a]` and `\`.

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    /// Any number of characters.
    Any,
    /// One character.
    One,
    /// This character.
    Literal(char),
    /// One of these ranges, or none of them.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Element {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// Whether `name` matches `pattern`. A pattern that Go calls malformed matches nothing.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some(elements) = parse(pattern) else {
        return false;
    };
    let name: Vec<char> = name.chars().collect();
    let (mut element, mut at) = (0, 0);
    // Where to go on if the rest does not match: behind the last star, with one more character for it. Earlier stars
    // need not be tried again, so that no pattern takes more than the product of both lengths.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (elements.get(element), name.get(at)) {
            (None, None) => return true,
            (Some(Element::Any), _) => {
                retry = Some((element, at));
                element += 1;
                continue;
            }
            (Some(other), Some(c)) if other.matches(*c) => {
                element += 1;
                at += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((star, from)) if from < name.len() => {
                retry = Some((star, from + 1));
                element = star + 1;
                at = from + 1;
            }
            _ => return false,
        }
    }
}

/// Whether Go takes `pattern` for one.
pub fn is_pattern(pattern: &str) -> bool {
    parse(pattern).is_some()
}

fn parse(pattern: &str) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        elements.push(match c {
            '*' => Element::Any,
            '?' => Element::One,
            '\\' => Element::Literal(characters.next()?),
            '[' => {
                let negated = characters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || characters.next_if_eq(&']').is_none() {
                    let low = class_character(&mut characters)?;
                    let high = match characters.next_if_eq(&'-') {
                        Some(_) => class_character(&mut characters)?,
                        None => low,
                    };
                    ranges.push((low, high));
                }
                Element::Class { negated, ranges }
            }
            literal => Element::Literal(literal),
        });
    }
    Some(elements)
}

fn class_character(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match characters.next()? {
        '\\' => characters.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*", "", true),
            ("[0-9]?-*", "10-x", true),
            ("[^0-9]*", "1x", false),
            ("[a-", "a", false),
            ("[]a]", "]", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(
            &"*a".repeat(200),
            &"a".repeat(10_000).replace("a", "ab")
        ));
    }
}
