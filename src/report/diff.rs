//! The unified diff of a plan, which `git apply` and `patch -p1` take in the node's root, and its digest.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use similar::{DiffOp, TextDiff};

use super::{FileChange, Report, Shown};
use crate::node::NodePath;
use crate::secret::{Masked, Secrets};

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// A diff that may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The diff; empty if nothing changes.
    pub text: String,
    /// Whether something in it is not shown as it is, a secret or bytes that are not UTF-8, so that it cannot be
    /// applied.
    pub masked: bool,
}

/// The diffs of a report's files, in the order in which they are written.
pub fn render(report: &Report) -> String {
    joined(&report.files)
}

/// The diffs of files as one.
pub fn joined(files: &[FileChange]) -> String {
    files.iter().map(|file| file.diff.as_str()).collect()
}

/// The diff of files, each with its bytes before and after; `None` is a file that is not there.
pub fn of_files<'c>(
    files: impl IntoIterator<Item = (&'c NodePath, Option<&'c [u8]>, Option<&'c [u8]>)>,
    shown: &Shown,
) -> Diff {
    let mut all = Diff::default();
    for (path, before, after) in files {
        let diff = of_file(path, before, after, shown);
        all.text.push_str(&diff.text);
        all.masked |= diff.masked;
    }
    all
}

/// The SHA-256 of a diff that shows no secret, in hexadecimal.
pub fn digest(diff: &str) -> String {
    let mut digest = String::new();
    for byte in Sha256::digest(diff.as_bytes()) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// A diff with its lines coloured.
pub fn styled(diff: &str) -> String {
    let mut styled = String::with_capacity(diff.len());
    for line in diff.split_inclusive('\n') {
        let color = match line.as_bytes() {
            [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => "\u{1b}[1m",
            [b'-', ..] => "\u{1b}[31m",
            [b'+', ..] => "\u{1b}[32m",
            [b'@', ..] => "\u{1b}[36m",
            _ => {
                styled.push_str(line);
                continue;
            }
        };
        let content = line.trim_end_matches('\n');
        styled.push_str(color);
        styled.push_str(content);
        styled.push_str("\u{1b}[0m");
        styled.push_str(line.get(content.len()..).unwrap_or_default());
    }
    styled
}

/// A file before or after the change: its lines as they are shown.
struct ShownText {
    text: String,
    masked_lines: Vec<usize>,
}

impl ShownText {
    fn new(bytes: Option<&[u8]>, shown: &Shown) -> Self {
        let text = String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        if shown.secrets {
            let masked_lines = replaced_lines(&text, bytes);
            return Self { text, masked_lines };
        }
        let masked = Masked::new(&text, &Secrets::of_text(&text).ranges);
        let mut masked_lines = Vec::new();
        let (mut line, mut at) = (0, 0);
        for mask in &masked.masks {
            line += masked
                .text
                .get(at..mask.start)
                .unwrap_or_default()
                .matches('\n')
                .count();
            at = mask.start;
            masked_lines.push(line);
        }
        masked_lines.extend(replaced_lines(&text, bytes));
        masked_lines.sort_unstable();
        Self {
            text: masked.text,
            masked_lines,
        }
    }

    fn lines(&self) -> Vec<&str> {
        self.text.split_inclusive('\n').collect()
    }

    fn masks(&self, lines: std::ops::Range<usize>) -> bool {
        let at = self
            .masked_lines
            .partition_point(|line| *line < lines.start);
        self.masked_lines
            .get(at)
            .is_some_and(|line| *line < lines.end)
    }
}

/// The lines in which bytes were replaced that are not UTF-8.
fn replaced_lines(text: &str, bytes: Option<&[u8]>) -> Vec<usize> {
    if bytes.unwrap_or_default() == text.as_bytes() {
        return Vec::new();
    }
    let lines = text.split('\n').enumerate();
    let replaced = lines.filter(|(_, line)| line.contains(char::REPLACEMENT_CHARACTER));
    replaced.map(|(number, _)| number).collect()
}

/// The diff of one file.
pub fn of_file(
    path: &NodePath,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
    shown: &Shown,
) -> Diff {
    let mut diff = Diff::default();
    let (old, new) = (ShownText::new(before, shown), ShownText::new(after, shown));
    let (old_lines, new_lines) = (old.lines(), new.lines());
    let text_diff = TextDiff::configure()
        .newline_terminated(true)
        .diff_slices(&old_lines, &new_lines);
    let name = |side: &str, there: bool| {
        if !there {
            return "/dev/null".to_owned();
        }
        // As GNU diff does, so that `patch` does not take a space for the end of the name.
        let end = if path.as_str().contains(' ') {
            "\t"
        } else {
            ""
        };
        format!("{side}{path}{end}")
    };
    let groups = text_diff.grouped_ops(CONTEXT);
    if groups.is_empty() {
        return diff;
    }
    let _ = writeln!(diff.text, "--- {}", name("a", before.is_some()));
    let _ = writeln!(diff.text, "+++ {}", name("b", after.is_some()));
    for group in groups {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        diff.masked |= old.masks(old_range.clone()) || new.masks(new_range.clone());
        let _ = writeln!(
            diff.text,
            "@@ -{} +{} @@",
            hunk_range(&old_range),
            hunk_range(&new_range)
        );
        for op in &group {
            let (removed, added) = match op {
                DiffOp::Equal { .. } => (None, None),
                DiffOp::Delete { .. } => (Some('-'), None),
                DiffOp::Insert { .. } => (None, Some('+')),
                DiffOp::Replace { .. } => (Some('-'), Some('+')),
            };
            if removed.is_none() && added.is_none() {
                push_lines(' ', old_lines.get(op.old_range()), &mut diff.text);
            }
            if let Some(sign) = removed {
                push_lines(sign, old_lines.get(op.old_range()), &mut diff.text);
            }
            if let Some(sign) = added {
                push_lines(sign, new_lines.get(op.new_range()), &mut diff.text);
            }
        }
    }
    // This goes with `secret::Filter`.
    let filtered = shown.filtered(&diff.text);
    diff.masked |= filtered != diff.text;
    diff.text = filtered;
    diff
}

fn push_lines(sign: char, lines: Option<&[&str]>, text: &mut String) {
    for line in lines.unwrap_or_default() {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// `start,count` as in GNU diff: counted from one, the line before an empty range, and no count of one.
fn hunk_range(range: &std::ops::Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: Option<&str>, after: &str) -> Diff {
        let path = NodePath::new("/etc/c.toml");
        let before = before.map(str::as_bytes);
        of_file(&path, before, Some(after.as_bytes()), &Shown::default())
    }

    #[test]
    fn new_files_line_ends_and_missing_newlines_are_as_in_gnu_diff() {
        assert_eq!(
            of(None, "[a]\n[b]").text,
            "--- /dev/null\n+++ b/etc/c.toml\n@@ -0,0 +1,2 @@\n+[a]\n+[b]\n\\ No newline at end of file\n"
        );
        assert_eq!(
            of(Some("[a]\r\n[b]\r\n"), "[a]\r\n").text,
            "--- a/etc/c.toml\n+++ b/etc/c.toml\n@@ -1,2 +1 @@\n [a]\r\n-[b]\r\n"
        );
        assert_eq!(of(Some("a = 1"), "a = 1"), Diff::default());
    }

    #[test]
    fn secrets_in_context_are_masked_and_the_diff_says_so() {
        let diff = of(
            Some("[auth]\npassword = \"hunter2\"\nx = 1\n[t]\n"),
            "[auth]\npassword = \"hunter2\"\n[t]\n",
        );
        assert!(
            diff.masked
                && !diff.text.contains("hunter2")
                && diff.text.contains(" password = ********\n"),
            "{}",
            diff.text
        );
        let far = "[auth]\npassword = \"hunter2\"\n[t]\n";
        let lines: String = (0..20).map(|n| format!("k{n} = 1\n")).collect();
        let diff = of(
            Some(&format!("{far}{lines}x = 1\n")),
            &format!("{far}{lines}"),
        );
        assert!(!diff.masked && !diff.text.is_empty());
    }
}
