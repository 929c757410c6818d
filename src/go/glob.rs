//! Go's `path/filepath.Match` for one name, as containerd expands `imports`: `*`, `?`, `[a-z]`, `[^a]` and `\`.

use crate::work;

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

/// A pattern for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Element>);

impl Pattern {
    /// Takes a pattern apart; `None` if Go calls it malformed.
    pub fn parse(pattern: &str) -> Option<Self> {
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
        // Any number of any number of characters.
        elements.dedup_by(|one, before| *one == Element::Any && *before == Element::Any);
        Some(Self(elements))
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.matches_in(name).0
    }

    /// The same, and in how many steps that was found out.
    pub fn matches_in(&self, name: &str) -> (bool, usize) {
        let Self(elements) = self;
        let mut steps = 0;
        let mut rest = name.chars();
        let mut element = 0;
        // Where to go on if the rest does not match: behind the last star, with one more character for it. Earlier stars
        // need not be tried again, so that no pattern takes more than the product of both lengths.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            steps += 1;
            work::count(1);
            let mut next = rest.clone();
            match (elements.get(element), next.next()) {
                (None, None) => return (true, steps),
                (Some(Element::Any), _) => {
                    retry = Some((element, rest.clone()));
                    element += 1;
                    continue;
                }
                (Some(other), Some(c)) if other.matches(c) => {
                    element += 1;
                    rest = next;
                    continue;
                }
                _ => {}
            }
            let Some((star, from)) = &mut retry else {
                return (false, steps);
            };
            if from.next().is_none() {
                return (false, steps);
            }
            element = *star + 1;
            rest = from.clone();
        }
    }
}

/// Whether `name` matches `pattern`. A pattern that Go calls malformed matches nothing.
pub fn matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern).is_some_and(|pattern| pattern.matches(name))
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
