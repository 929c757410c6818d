//! Lines and columns of a text, and excerpts of its lines, with secrets masked: one pass over a text, however many
//! places in it are asked for.

use std::borrow::Cow;
use std::ops::Range;

use super::{Excerpt, Position, Shown};
use crate::read::Source;
use crate::secret::{Masked, Secrets};
use crate::text::line_starts;
use crate::work;

/// A longer line is cut.
const LONGEST: usize = 400;
/// How much of a long line is shown on each side of the mark, and at most of the mark itself.
const NEAR: usize = 120;
/// For each so many bytes it is known how many characters there are before them.
const STEP: usize = 1024;

/// A text, of which some lines are shown.
pub(super) struct Lines<'s> {
    source: &'s Source,
    /// The text with its masks; `None` if it is not TOML, so that nobody knows what is secret in it, or if no line of it is
    /// shown.
    masked: Option<Masked>,
    /// The text without masks, with replacement characters where it is not UTF-8.
    unmasked: Cow<'s, str>,
    /// The first byte of each line. Masks keep line ends, so the numbers are those of the file.
    starts: Vec<usize>,
    /// How many characters begin before each `STEP` bytes.
    characters: Vec<usize>,
}

impl<'s> Lines<'s> {
    /// The lines in which these places begin are shown.
    pub(super) fn new(source: &'s Source, places: &[&Range<usize>], shown: &Shown) -> Self {
        let masked = source.content.toml().map(|toml| {
            let secrets = match shown.secrets {
                true => Secrets::default(),
                false => {
                    let starts = toml.line_starts();
                    let lines = places.iter().map(|place| {
                        let line = starts.partition_point(|start| *start <= place.start);
                        let end = starts.get(line).copied().unwrap_or(toml.text.len());
                        starts.get(line - 1).copied().unwrap_or_default()..end
                    });
                    toml.secrets_in(&lines.collect::<Vec<_>>())
                }
            };
            Masked::new(&toml.text, secrets.ranges())
        });
        Self::of(source, masked)
    }

    /// Lines of which only the numbers are asked for.
    pub(super) fn numbers(source: &'s Source) -> Self {
        Self::of(source, None)
    }

    fn of(source: &'s Source, masked: Option<Masked>) -> Self {
        let unmasked = match source.content.toml() {
            Some(toml) => Cow::Borrowed(toml.text.as_str()),
            None => String::from_utf8_lossy(source.content.bytes()),
        };
        let text = masked.as_ref().map_or(&*unmasked, |masked| &masked.text);
        let starts = line_starts(text.as_bytes());
        let mut characters = vec![0];
        let mut before = 0;
        for chunk in text.as_bytes().chunks(STEP) {
            before += count(chunk);
            characters.push(before);
        }
        Self {
            source,
            masked,
            unmasked,
            starts,
            characters,
        }
    }

    /// The text in which positions are.
    fn text(&self) -> &str {
        let masked = self.masked.as_ref();
        masked.map_or(&self.unmasked, |masked| &masked.text)
    }

    /// Where a byte of the file is in the text; inside a secret, at the mask's start or, for `end`, its end.
    fn at(&self, at: usize, end: bool) -> usize {
        let at = match &self.unmasked {
            Cow::Borrowed(_) => at,
            Cow::Owned(_) => {
                let bytes = self.source.content.bytes();
                String::from_utf8_lossy(bytes.get(..at).unwrap_or(bytes)).len()
            }
        };
        let at = self.unmasked.floor_char_boundary(at);
        let masked = self.masked.as_ref();
        masked.map_or(at, |masked| masked.position(at, end))
    }

    /// The number of the line that a byte of the file is in, from one.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_of(self.at(at, false))
    }

    /// Where a range of the file begins, with an excerpt of the line, if that may be shown.
    pub(super) fn position(&self, range: &Range<usize>) -> Position {
        let start = self.at(range.start, false);
        let end = self.at(range.end, true).max(start);
        let line = self.line_of(start);
        let text = self.text();
        let line_start = self.starts.get(line - 1).copied().unwrap_or_default();
        let line_end = self.starts.get(line).copied().unwrap_or(text.len());
        let shown = text.get(line_start..line_end).unwrap_or_default();
        let line_end = line_start + shown.trim_end_matches(['\r', '\n']).len();
        let start = start.min(line_end);
        let end = end.clamp(start, line_end);
        let excerpt = || self.excerpt(line_start..line_end, start..end);
        Position {
            file: self.source.path.clone(),
            line,
            column: self.before(start) - self.before(line_start) + 1,
            excerpt: self.masked.is_some().then(excerpt),
        }
    }

    fn excerpt(&self, line: Range<usize>, marked: Range<usize>) -> Excerpt {
        let text = self.text();
        let mut shown = line.clone();
        let mut marked = marked;
        if line.len() > LONGEST {
            shown.start = text.floor_char_boundary(marked.start.saturating_sub(NEAR));
            shown.start = shown.start.max(line.start);
            marked.end = marked
                .end
                .min(text.floor_char_boundary(marked.start + NEAR));
            shown.end = text.floor_char_boundary(marked.end + NEAR).min(line.end);
        }
        work::count(shown.len());
        let of = |range: Range<usize>| text.get(range).unwrap_or_default().to_owned();
        Excerpt {
            before: of(shown.start..marked.start),
            marked: of(marked.clone()),
            after: of(marked.end..shown.end),
        }
    }

    fn line_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// How many characters begin before a byte.
    fn before(&self, at: usize) -> usize {
        let step = at / STEP;
        let rest = self.text().as_bytes().get(step * STEP..at);
        self.characters.get(step).copied().unwrap_or_default() + count(rest.unwrap_or_default())
    }
}

/// How many characters begin in these bytes.
fn count(bytes: &[u8]) -> usize {
    work::count(bytes.len());
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodePath;
    use crate::read::Sources;
    use crate::secret::TextKind;
    use crate::text::FileText;

    /// The positions of these texts' last occurrences.
    fn positions(text: &str, marked: &[&str]) -> Vec<Position> {
        let mut sources = Sources::default();
        let content = FileText::new(text.into(), TextKind::Configuration);
        sources.add(&NodePath::new("/c.toml"), content);
        let source = sources.iter().next().unwrap();
        let ranges = marked.iter().map(|marked| {
            let start = text.rfind(marked).unwrap();
            start..start + marked.len()
        });
        let ranges: Vec<_> = ranges.collect();
        let lines = Lines::new(
            source,
            &ranges.iter().collect::<Vec<_>>(),
            &Shown::default(),
        );
        ranges.iter().map(|range| lines.position(range)).collect()
    }

    #[test]
    fn columns_count_characters_of_the_line_however_far_into_the_text() {
        let text = format!(
            "# {}\nä = 1\n# é{}y\n",
            "é".repeat(STEP),
            "x".repeat(3 * STEP)
        );
        let found = positions(&text, &["= 1", "y", ""]);
        let found: Vec<_> = found.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(found, [(2, 3), (3, 4 + 3 * STEP), (4, 1)]);
    }

    #[test]
    fn of_a_long_line_only_what_is_near_the_mark_is_kept() {
        let text = format!("a = [{}9{}]\n", "1, ".repeat(1000), ", 1".repeat(1000));
        let excerpt = positions(&text, &["9"]).remove(0).excerpt.unwrap();
        assert_eq!(excerpt.marked, "9");
        assert_eq!((excerpt.before.len(), excerpt.after.len()), (NEAR, NEAR));
    }

    #[test]
    fn a_secret_is_masked_and_its_length_moves_no_column() {
        for secret in ["x", "a-much-longer-one"] {
            let text = format!("auth = {{ password = \"{secret}\" }} # here\n");
            let position = positions(&text, &["here"]).remove(0);
            assert_eq!(position.column, 34);
            let excerpt = position.excerpt.unwrap();
            assert_eq!(excerpt.before, "auth = { password = ******** } # ");
        }
    }
}
