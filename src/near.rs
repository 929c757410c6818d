//! Misspelt names.

/// Longer names are not compared letter by letter.
const LONGEST: usize = 32;

/// Whether a name is another one with a letter or two wrong, missing, too many or swapped: one of four to seven letters,
/// two of eight and more.
pub(crate) fn is_near(name: &str, known: &str) -> bool {
    let allowed = match known.len() {
        ..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    let (a, b) = (name.as_bytes(), known.as_bytes());
    name != known && may_be_within(a, b, allowed) && slips_between(a, b) <= allowed
}

/// Whether two words, in whatever capitals, may have no more than so many slips between them. Of most words it is known at
/// once that they have more.
pub(crate) fn may_be_within(a: &[u8], b: &[u8], slips: usize) -> bool {
    a.len().max(b.len()) <= LONGEST
        // A slip changes the length by one, and what letters there are by two.
        && a.len().abs_diff(b.len()) <= slips
        && (letters(a) ^ letters(b)).count_ones() as usize <= 2 * slips
}

/// Which letters a word has, a bit for each, in either case.
pub(crate) const fn letters(word: &[u8]) -> u32 {
    let mut all = 0;
    let mut rest = word;
    while let [byte, others @ ..] = rest {
        all |= 1 << (*byte & 31);
        rest = others;
    }
    all
}

/// How many letters are to be put in, left out, replaced or swapped to make one word of the other, neither of which is longer
/// than [`LONGEST`].
pub(crate) fn slips_between(a: &[u8], b: &[u8]) -> usize {
    // No more slips than letters, which a byte counts.
    let at = |row: &[u8], j: usize| row.get(j).copied().unwrap_or(u8::MAX / 2);
    let mut before = [0; LONGEST + 1];
    let mut last = [0; LONGEST + 1];
    for (place, count) in last.iter_mut().zip(0..) {
        *place = count;
    }
    for (x, i) in a.iter().zip(0..) {
        let mut row = [i + 1; LONGEST + 1];
        let previous = a.get(usize::from(i).wrapping_sub(1));
        for (j, y) in b.iter().enumerate() {
            let mut least = (at(&last, j + 1) + 1)
                .min(at(&row, j) + 1)
                .min(at(&last, j) + u8::from(x != y));
            let swapped = j > 0 && previous == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            if let Some(place) = row.get_mut(j + 1) {
                *place = least;
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    usize::from(at(&last, b.len()))
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
