//! What changes in a file, line by line. The diff shows it, and the digest is made of it.

use std::ops::Range;

use similar::DiffOp;

use super::line_diff::line_diff;
use crate::secret::{Masked, Secrets};
use crate::text::FileText;

/// A file before and after a change.
pub struct ChangedLines<'t> {
    pub(super) before: Side<'t>,
    pub(super) after: Side<'t>,
    pub(super) ops: Vec<DiffOp>,
    /// The same in groups, with the lines around them.
    pub(super) groups: Vec<Vec<DiffOp>>,
}

/// How many lines are shown around a change.
const CONTEXT: usize = 3;

/// The lines of a file.
pub(super) struct Side<'t> {
    /// `None` if the file does not exist.
    pub(super) content: Option<&'t FileText>,
    /// Where each line begins, and last the end.
    starts: Vec<usize>,
    /// The secrets in the lines that are shown.
    secrets: Secrets,
}

impl<'t> ChangedLines<'t> {
    /// `None` is a file that does not exist. What is not TOML is shown as one line, and changes as one.
    pub fn new(before: Option<&'t FileText>, after: Option<&'t FileText>) -> Self {
        let is_toml = |content: &FileText| content.toml().is_some();
        Self::of([before, after].map(|content| Side::new(content, is_toml)))
    }

    /// The same with each line of what is not TOML as a line, for one who may see it.
    pub(super) fn of_bytes(before: Option<&'t FileText>, after: Option<&'t FileText>) -> Self {
        Self::of([before, after].map(|content| Side::new(content, |_| true)))
    }

    fn of([mut before, mut after]: [Side<'t>; 2]) -> Self {
        let [old, new] = [&before, &after].map(|side| side.lines().collect::<Vec<_>>());
        let ops = line_diff(&old, &new);
        let groups = similar::group_diff_ops(ops.clone(), CONTEXT);
        before.find_secrets(groups.iter().map(|group| range(group, DiffOp::old_range)));
        after.find_secrets(groups.iter().map(|group| range(group, DiffOp::new_range)));
        Self {
            before,
            after,
            ops,
            groups,
        }
    }
}

/// The lines of a group on one side.
pub(super) fn range(group: &[DiffOp], of: impl Fn(&DiffOp) -> Range<usize>) -> Range<usize> {
    match (group.first(), group.last()) {
        (Some(first), Some(last)) => of(first).start..of(last).end,
        _ => 0..0,
    }
}

impl<'t> Side<'t> {
    fn new(content: Option<&'t FileText>, has_lines: impl Fn(&FileText) -> bool) -> Self {
        let bytes = content.map(FileText::bytes).unwrap_or_default();
        let mut starts = vec![0];
        if content.is_some_and(has_lines) {
            let feeds = (1..).zip(bytes).filter(|(_, byte)| **byte == b'\n');
            starts.extend(feeds.map(|(end, _)| end));
        }
        if starts.last() != Some(&bytes.len()) {
            starts.push(bytes.len());
        }
        Self {
            content,
            starts,
            secrets: Secrets::default(),
        }
    }

    fn find_secrets(&mut self, lines: impl Iterator<Item = Range<usize>>) {
        if let Some(toml) = self.content.and_then(FileText::toml) {
            let parts: Vec<_> = lines.map(|lines| self.range(&lines)).collect();
            self.secrets = toml.secrets_in(&parts);
        }
    }

    /// The secrets in lines that are shown.
    pub(super) fn secrets(&self, lines: &Range<usize>) -> &[Range<usize>] {
        self.secrets.inside(&self.range(lines))
    }

    pub(super) fn bytes(&self) -> &'t [u8] {
        self.content.map(FileText::bytes).unwrap_or_default()
    }

    fn lines(&self) -> impl Iterator<Item = &'t [u8]> {
        let bytes = self.bytes();
        let ends = self.starts.iter().zip(self.starts.iter().skip(1));
        ends.map(|(start, end)| bytes.get(*start..*end).unwrap_or_default())
    }

    /// Where lines are in the file.
    pub(super) fn range(&self, lines: &Range<usize>) -> Range<usize> {
        let at = |line: usize| self.starts.get(line).copied().unwrap_or_default();
        at(lines.start)..at(lines.end)
    }

    /// The text of lines that are shown with its secrets masked; `None` if it is not TOML.
    pub(super) fn masked(&self, lines: &Range<usize>) -> Option<Masked> {
        let Some(content) = self.content else {
            return Some(Masked::new("", &[]));
        };
        let toml = content.toml()?;
        let range = self.range(lines);
        let secrets = self.secrets(lines).iter();
        let secrets = secrets.map(|secret| {
            secret.start.max(range.start) - range.start..secret.end.min(range.end) - range.start
        });
        let text = toml.text.get(range.clone()).unwrap_or_default();
        Some(Masked::new(text, &secrets.collect::<Vec<_>>()))
    }
}
