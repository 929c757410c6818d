//! Which lines of two texts differ, in a time that does not grow with the square of their length.
//!
//! Short texts are compared with Myers' algorithm, whose time grows with the number of differences times the length. Long
//! ones are first taken apart at lines that are in both of them exactly once, in the same order ("patience"); what is
//! between two of those is short, or is replaced as a whole.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Range;

use similar::{Algorithm, DiffOp};

use crate::work;

/// As many lines are compared with Myers' algorithm at most.
const SHORT: usize = 1024;

/// What makes `new` of `old`.
pub(super) fn line_diff<T: Hash + Ord>(old: &[T], new: &[T]) -> Vec<DiffOp> {
    work::count(old.len() + new.len());
    if old.len() + new.len() <= SHORT {
        return similar::capture_diff_slices(Algorithm::Myers, old, new);
    }
    let mut ops = Ops(Vec::new());
    between_anchors(old, new, 0..old.len(), 0..new.len(), &mut ops, true);
    ops.0
}

/// The edits so far, neighbours joined.
struct Ops(Vec<DiffOp>);

impl Ops {
    fn equal(&mut self, old_index: usize, new_index: usize, len: usize) {
        match self.0.last_mut() {
            _ if len == 0 => {}
            Some(DiffOp::Equal { len: before, .. }) => *before += len,
            _ => self.0.push(DiffOp::Equal {
                old_index,
                new_index,
                len,
            }),
        }
    }

    fn replace(&mut self, old: Range<usize>, new: Range<usize>) {
        let (old, new) = match self.0.last() {
            _ if old.is_empty() && new.is_empty() => return,
            Some(last) if !matches!(last, DiffOp::Equal { .. }) => {
                let joined = (
                    last.old_range().start..old.end,
                    last.new_range().start..new.end,
                );
                self.0.pop();
                joined
            }
            _ => (old, new),
        };
        let (old_index, old_len) = (old.start, old.len());
        let (new_index, new_len) = (new.start, new.len());
        self.0.push(match (old_len, new_len) {
            (_, 0) => DiffOp::Delete {
                old_index,
                old_len,
                new_index,
            },
            (0, _) => DiffOp::Insert {
                old_index,
                new_index,
                new_len,
            },
            _ => DiffOp::Replace {
                old_index,
                old_len,
                new_index,
                new_len,
            },
        });
    }

    fn push(&mut self, op: &DiffOp, old_start: usize, new_start: usize) {
        let shift = |range: Range<usize>, by: usize| range.start + by..range.end + by;
        let (old, new) = (
            shift(op.old_range(), old_start),
            shift(op.new_range(), new_start),
        );
        match op {
            DiffOp::Equal { len, .. } => self.equal(old.start, new.start, *len),
            _ => self.replace(old, new),
        }
    }
}

/// Compares two ranges of lines. `is_whole` is whether they may still be taken apart.
fn between_anchors<T: Hash + Ord>(
    old: &[T],
    new: &[T],
    mut old_range: Range<usize>,
    mut new_range: Range<usize>,
    ops: &mut Ops,
    is_whole: bool,
) {
    let of = |old_range: &Range<usize>, new_range: &Range<usize>| {
        (
            old.get(old_range.clone()).unwrap_or_default(),
            new.get(new_range.clone()).unwrap_or_default(),
        )
    };
    let (olds, news) = of(&old_range, &new_range);
    let prefix = olds.iter().zip(news).take_while(|(a, b)| a == b).count();
    ops.equal(old_range.start, new_range.start, prefix);
    old_range.start += prefix;
    new_range.start += prefix;
    let (olds, news) = of(&old_range, &new_range);
    let pairs = olds.iter().rev().zip(news.iter().rev());
    let suffix = pairs.take_while(|(a, b)| a == b).count();
    old_range.end -= suffix;
    new_range.end -= suffix;
    let (olds, news) = of(&old_range, &new_range);
    let anchors = if is_whole {
        anchors(olds, news)
    } else {
        Vec::new()
    };
    if olds.len() + news.len() <= SHORT {
        for op in similar::capture_diff_slices(Algorithm::Myers, olds, news) {
            ops.push(&op, old_range.start, new_range.start);
        }
    } else if anchors.is_empty() {
        ops.replace(old_range.clone(), new_range.clone());
    } else {
        let (mut old_start, mut new_start) = (old_range.start, new_range.start);
        let ends = [(olds.len(), news.len())];
        for (old_at, new_at) in anchors.into_iter().chain(ends) {
            let (old_end, new_end) = (old_range.start + old_at, new_range.start + new_at);
            let (olds, news) = (old_start..old_end, new_start..new_end);
            between_anchors(old, new, olds, news, ops, false);
            // The anchor itself begins the next part.
            (old_start, new_start) = (old_end, new_end);
        }
    }
    ops.equal(old_range.end, new_range.end, suffix);
}

/// The lines that are in both texts exactly once: the longest series of them that is in order in both.
fn anchors<T: Hash + Ord>(old: &[T], new: &[T]) -> Vec<(usize, usize)> {
    // Where a line is in each text, if it is there once.
    let mut places: HashMap<&T, [Option<usize>; 2]> = HashMap::new();
    let mut repeated: HashSet<&T> = HashSet::new();
    for (side, lines) in [old, new].into_iter().enumerate() {
        for (at, line) in lines.iter().enumerate() {
            let place = places.entry(line).or_default();
            match place.get_mut(side) {
                Some(place @ None) => *place = Some(at),
                _ => {
                    repeated.insert(line);
                }
            }
        }
    }
    let once = old.iter().filter(|line| !repeated.contains(line));
    let pairs = once.filter_map(|line| match places.get(line) {
        Some([Some(old), Some(new)]) => Some((*old, *new)),
        _ => None,
    });
    in_order(&pairs.collect::<Vec<_>>())
}

/// The longest series of pairs whose second parts grow; the first parts do.
fn in_order(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The last pair of the best series of each length, and the pair before each in its series.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let second = |index: &usize| pairs.get(*index).map(|(_, second)| *second);
    for (index, (_, new)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| second(end) < Some(*new));
        let last = length.checked_sub(1);
        before.push(last.and_then(|last| ends.get(last).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut series = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(index) = next {
        series.extend(pairs.get(index));
        next = before.get(index).copied().flatten();
    }
    series.reverse();
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes `new` of `old` by what the edits say, and checks that what is called equal is.
    fn applied<'l>(old: &[&'l str], new: &[&'l str], ops: &[DiffOp]) -> Vec<&'l str> {
        let mut made = Vec::new();
        let (mut old_at, mut new_at) = (0, 0);
        for op in ops {
            let (olds, news) = (op.old_range(), op.new_range());
            assert_eq!((olds.start, news.start), (old_at, new_at), "{ops:?}");
            if let DiffOp::Equal { .. } = op {
                assert_eq!(old[olds.clone()], new[news.clone()]);
                made.extend(&old[olds.clone()]);
            } else {
                made.extend(&new[news.clone()]);
            }
            (old_at, new_at) = (olds.end, news.end);
        }
        assert_eq!(old_at, old.len());
        made
    }

    fn removed(ops: &[DiffOp]) -> usize {
        let changes = ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
        changes.map(|op| op.old_range().len()).sum()
    }

    #[test]
    fn long_texts_are_taken_apart_at_lines_that_are_in_both_once() {
        let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
        let old: Vec<&str> = lines.iter().map(String::as_str).collect();
        // Every third line goes, one is new, and two change places.
        let mut new = old.clone();
        let mut number = 0;
        new.retain(|_| {
            number += 1;
            number % 3 != 0
        });
        new.insert(5_000, "new");
        new.swap(100, 101);
        let ops = line_diff(&old, &new);
        assert_eq!(applied(&old, &new, &ops), new);
        assert_eq!(removed(&ops), 6_666 + 1);
        assert_eq!(line_diff(&old, &old).len(), 1);
    }

    #[test]
    fn long_texts_without_such_lines_are_replaced_as_a_whole() {
        let old = vec!["a"; 10_000];
        let new = ["x"]
            .into_iter()
            .chain(vec!["b"; 10_000])
            .collect::<Vec<_>>();
        let ops = line_diff(&old, &new);
        assert_eq!(ops.len(), 1);
        assert_eq!(applied(&old, &new, &ops), new);
        // Beginning and end are left alone all the same.
        let old = [vec!["head"], old, vec!["tail"]].concat();
        let new = [vec!["head"], new, vec!["tail"]].concat();
        let ops = line_diff(&old, &new);
        assert_eq!(ops.len(), 3);
        assert_eq!(applied(&old, &new, &ops), new);
    }

    #[test]
    fn short_texts_have_the_fewest_differences() {
        let old = ["a", "b", "c", "a", "b", "b", "a"];
        let new = ["c", "b", "a", "b", "a", "c"];
        let ops = line_diff(&old, &new);
        assert_eq!(applied(&old, &new, &ops), new);
        assert_eq!(removed(&ops), 3);
        assert!(line_diff::<&str>(&[], &[]).is_empty());
    }
}
