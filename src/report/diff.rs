//! The unified diff of a plan, which `git apply` and `patch -p1` take in the node's root.

use std::fmt::Write;
use std::ops::Range;

use similar::DiffOp;

use super::changed::{ChangedLines, Side, range};
use super::{FileChange, Report, Shown};
use crate::containerd::hosts_file::directory::HOSTS_FILE;
use crate::node::NodePath;
use crate::printable::printable;
use crate::secret::TextKind;
use crate::text::FileText;

/// A diff that may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The diff; empty if nothing changes.
    pub text: String,
    /// Whether something in it is not shown as it is, a secret or what a terminal would obey, so that it cannot be
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

/// The diff of files of which only the names are known, each with its bytes before and after; `None` is a file that does
/// not exist.
pub fn of_files<'c>(
    files: impl IntoIterator<Item = (&'c NodePath, Option<&'c [u8]>, Option<&'c [u8]>)>,
    shown: &Shown,
) -> Diff {
    let mut all = Diff::default();
    for (path, before, after) in files {
        let kind = if path.name() == HOSTS_FILE {
            TextKind::HostsFile
        } else {
            TextKind::Configuration
        };
        let [before, after] =
            [before, after].map(|bytes| Some(FileText::new(bytes?.to_vec(), kind)));
        let diff = of_file(path, before.as_ref(), after.as_ref(), shown);
        all.text.push_str(&diff.text);
        all.masked |= diff.masked;
    }
    all
}

/// A diff with its lines coloured.
pub fn styled(diff: &str) -> String {
    let mut styled = String::with_capacity(diff.len());
    style(diff, &mut styled);
    styled
}

/// Adds a diff with its lines coloured.
pub(super) fn style(diff: &str, styled: &mut String) {
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
}

/// The diff of one file.
pub fn of_file(
    path: &NodePath,
    before: Option<&FileText>,
    after: Option<&FileText>,
    shown: &Shown,
) -> Diff {
    let changed = match shown.secrets {
        true => ChangedLines::of_bytes(before, after),
        false => ChangedLines::new(before, after),
    };
    of_lines(path, &changed, shown)
}

/// The diff of one file whose changed lines are known, which are those that may be shown.
pub(super) fn of_lines(path: &NodePath, changed: &ChangedLines<'_>, shown: &Shown) -> Diff {
    let mut diff = Diff::default();
    let (before, after) = (&changed.before, &changed.after);
    if changed.groups.is_empty() {
        return diff;
    }
    let shown_path = printable(path.as_str());
    let name = |sign: &str, side: &Side<'_>| {
        if side.content.is_none() {
            return "/dev/null".to_owned();
        }
        // As GNU diff does, so that `patch` does not take a space for the end of the name.
        let end = if shown_path.contains(' ') { "\t" } else { "" };
        format!("{sign}{shown_path}{end}")
    };
    diff.masked |= shown_path != path.as_str();
    let _ = writeln!(diff.text, "--- {}", name("a", before));
    let _ = writeln!(diff.text, "+++ {}", name("b", after));
    for group in &changed.groups {
        let old = ShownLines::new(before, range(group, DiffOp::old_range), shown.secrets);
        let new = ShownLines::new(after, range(group, DiffOp::new_range), shown.secrets);
        diff.masked |= old.altered || new.altered;
        let _ = writeln!(
            diff.text,
            "@@ -{} +{} @@",
            hunk_range(&old.lines),
            hunk_range(&new.lines)
        );
        let (old_lines, new_lines) = (old.split(), new.split());
        for op in group {
            let removed = old_lines.of(op.old_range());
            let added = new_lines.of(op.new_range());
            match op {
                DiffOp::Equal { .. } => push_lines(' ', removed, &mut diff.text),
                DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                    push_lines('-', removed, &mut diff.text);
                    push_lines('+', added, &mut diff.text);
                }
            }
        }
    }
    diff
}

/// Consecutive lines of a file as they are shown.
struct ShownLines {
    lines: Range<usize>,
    text: String,
    /// Whether something in them is not shown as it is.
    altered: bool,
}

impl ShownLines {
    fn new(side: &Side<'_>, lines: Range<usize>, with_secrets: bool) -> Self {
        let mut shown = Self {
            text: String::new(),
            altered: false,
            lines,
        };
        if with_secrets {
            let bytes = side.bytes().get(side.range(&shown.lines));
            let text = String::from_utf8_lossy(bytes.unwrap_or_default());
            shown.altered |= Some(text.as_bytes()) != bytes;
            shown.push(&text);
        } else if let Some(masked) = side.masked(&shown.lines) {
            shown.altered |= !masked.masks.is_empty();
            shown.push(&masked.text);
        } else if !shown.lines.is_empty() {
            let summary = super::summary(side.bytes());
            shown.text = format!("(not TOML, and so not shown: {summary})\n");
            shown.altered = true;
        }
        shown
    }

    /// Adds text with what a terminal would obey escaped. Tabs and line ends are as they are, and so is the byte order mark at
    /// the start of a file.
    fn push(&mut self, mut text: &str) {
        if self.lines.start == 0 {
            let (mark, rest) =
                text.split_at(text.len() - text.trim_start_matches('\u{feff}').len());
            self.text.push_str(mark);
            text = rest;
        }
        for line in text.split_inclusive('\n') {
            let content = line.strip_suffix('\n').unwrap_or(line);
            let content = content.strip_suffix('\r').unwrap_or(content);
            if content
                .bytes()
                .all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte))
            {
                self.text.push_str(content);
            } else {
                let fields: Vec<String> = content.split('\t').map(printable).collect();
                let shown = fields.join("\t");
                self.altered |= shown != content;
                self.text.push_str(&shown);
            }
            self.text
                .push_str(line.get(content.len()..).unwrap_or_default());
        }
    }

    fn split(&self) -> SplitLines<'_> {
        SplitLines {
            first: self.lines.start,
            lines: self.text.split_inclusive('\n').collect(),
        }
    }
}

/// Consecutive lines, one by one.
struct SplitLines<'s> {
    /// The number of the first one in the file.
    first: usize,
    lines: Vec<&'s str>,
}

impl SplitLines<'_> {
    fn of(&self, lines: Range<usize>) -> &[&str] {
        let at = |line: usize| line.saturating_sub(self.first);
        let lines = self.lines.get(at(lines.start)..at(lines.end));
        lines.unwrap_or_default()
    }
}

fn push_lines(sign: char, lines: &[&str], text: &mut String) {
    for line in lines {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// `start,count` as in GNU diff: counted from one, the line before an empty range, and no count of one.
fn hunk_range(range: &Range<usize>) -> String {
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
        let content = |text: &str| FileText::new(text.into(), TextKind::Configuration);
        let (before, after) = (before.map(content), content(after));
        of_file(&path, before.as_ref(), Some(&after), &Shown::default())
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

    #[test]
    fn of_a_file_that_is_not_toml_only_its_size_is_shown() {
        let diff = of(Some("Authorization: Basic Ym9iOlM=\n\nx\n"), "a = 1\n");
        let (_, hunk) = diff.text.split_once("+++ b/etc/c.toml\n").unwrap();
        let (before, sha) = hunk.split_once("SHA-256 ").unwrap();
        assert_eq!(
            before,
            "@@ -1 +1 @@\n-(not TOML, and so not shown: 3 lines, 33 bytes, "
        );
        assert_eq!(sha.find(")\n+a = 1\n"), Some(64));
        assert!(diff.masked);
    }

    #[test]
    fn a_terminal_obeys_nothing_in_a_diff() {
        let text = "# \u{1b}[2J\u{9b}31m \u{202e}x\ty\n";
        let path = NodePath::new("/etc/x\n+++ b/etc/FAKE\n.toml");
        let after = "\u{feff}a = 1\r\n".as_bytes();
        for secrets in [false, true] {
            let shown = Shown::new(secrets);
            let kind = TextKind::Configuration;
            let [before, after] =
                [text.as_bytes(), after].map(|bytes| FileText::new(bytes.to_vec(), kind));
            let diff = of_file(&path, Some(&before), Some(&after), &shown);
            let old = if secrets {
                "-# \\u{1b}[2J\\u{9b}31m \\u{202e}x\ty\n".to_owned()
            } else {
                format!(
                    "-(not TOML, and so not shown: {})\n",
                    super::super::summary(text.as_bytes())
                )
            };
            let path = "/etc/x\\n+++ b/etc/FAKE\\n.toml\t";
            let expected =
                format!("--- a{path}\n+++ b{path}\n@@ -1 +1 @@\n{old}+\u{feff}a = 1\r\n");
            assert_eq!(diff.text, expected);
            assert!(diff.masked);
        }
    }
}
