//! Misspelt names.

/// Whether a name is another one with a letter or two wrong, missing, too many or swapped: one of four to seven letters,
/// two of eight and more.
pub(crate) fn is_near(name: &str, known: &str) -> bool {
    let allowed = match known.chars().count() {
        ..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    name != known && distance(name, known, allowed).is_some()
}

/// The number of letters in which two names differ (Damerau, optimal alignment), if it is not more than `most`.
fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, d) in other.iter().enumerate() {
            let replaced = at(&last, j) + usize::from(c != d);
            let mut least = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(d) && other.get(j - 1) == Some(c);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_or_two_make_a_name_another_one() {
        for (name, known) in [
            ("regsitry", "registry"),
            ("registery", "registry"),
            ("mirrrors", "mirrors"),
            ("endpont", "endpoint"),
            ("caflie", "cafile"),
            ("hosts.tml", "hosts.toml"),
            ("host.toml", "hosts.toml"),
        ] {
            assert!(is_near(name, known), "{name}");
        }
        for (name, known) in [
            ("registry", "registry"),
            ("keys", "key"),
            ("metrics", "mirrors"),
            ("debug", "bug"),
            ("root.toml", "hosts.toml"),
            ("", "key"),
        ] {
            assert!(!is_near(name, known), "{name}");
        }
    }
}
