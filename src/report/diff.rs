//! The unified diff of a plan, which `git apply` and `patch -p1` take in the node's root.

use std::fmt::Write;

use similar::{DiffOp, TextDiff};

use super::{FileChange, Report, Shown};
use crate::containerd::hosts_file::directory::HOSTS_FILE;
use crate::node::NodePath;
use crate::printable::printable;
use crate::secret::{FileText, Masked, TextKind, Understood};

/// Lines of context around a change.
const CONTEXT: usize = 3;

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
        let [before, after] = [before, after].map(|bytes| Some(FileText::new(bytes?, kind)));
        let diff = of_file(path, before.as_ref(), after.as_ref(), shown);
        all.text.push_str(&diff.text);
        all.masked |= diff.masked;
    }
    all
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
    /// The lines that are not shown as they are.
    altered: Vec<usize>,
}

impl ShownText {
    fn new(file: Option<&FileText<'_>>, shown: &Shown) -> Self {
        let Some(file) = file else {
            return Self::printable("");
        };
        let bytes = file.bytes;
        if shown.secrets {
            let text = String::from_utf8_lossy(bytes);
            let mut shown_text = Self::printable(&text);
            if *text.as_bytes() != *bytes {
                let lines = text.split('\n').enumerate();
                let replaced = lines.filter(|(_, line)| line.contains(char::REPLACEMENT_CHARACTER));
                shown_text
                    .altered
                    .extend(replaced.map(|(number, _)| number));
                shown_text.altered.sort_unstable();
            }
            return shown_text;
        }
        let Some(Understood { text, secrets, .. }) = &file.understood else {
            return Self {
                text: format!("(not TOML, and so not shown: {})\n", super::summary(bytes)),
                altered: vec![0],
            };
        };
        let masked = Masked::new(text, secrets.ranges());
        let mut shown_text = Self::printable(&masked.text);
        let (mut line, mut at) = (0, 0);
        for mask in &masked.masks {
            let between = masked.text.get(at..mask.start).unwrap_or_default();
            line += between.matches('\n').count();
            at = mask.start;
            shown_text.altered.push(line);
        }
        shown_text.altered.sort_unstable();
        shown_text
    }

    /// The lines of a text with what a terminal would obey escaped. Tabs and line ends are as they are, and so is the
    /// byte order mark at the start of a file.
    fn printable(text: &str) -> Self {
        let mut shown_text = Self {
            text: String::with_capacity(text.len()),
            altered: Vec::new(),
        };
        let (mark, text) = text.split_at(text.len() - text.trim_start_matches('\u{feff}').len());
        shown_text.text.push_str(mark);
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let content = line.strip_suffix('\n').unwrap_or(line);
            let content = content.strip_suffix('\r').unwrap_or(content);
            if content
                .bytes()
                .all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte))
            {
                shown_text.text.push_str(content);
            } else {
                let fields: Vec<String> = content.split('\t').map(printable).collect();
                let shown = fields.join("\t");
                if shown != content {
                    shown_text.altered.push(number);
                }
                shown_text.text.push_str(&shown);
            }
            shown_text
                .text
                .push_str(line.get(content.len()..).unwrap_or_default());
        }
        shown_text
    }

    fn lines(&self) -> Vec<&str> {
        self.text.split_inclusive('\n').collect()
    }

    fn alters(&self, lines: std::ops::Range<usize>) -> bool {
        let at = self.altered.partition_point(|line| *line < lines.start);
        self.altered.get(at).is_some_and(|line| *line < lines.end)
    }
}

/// The diff of one file.
pub fn of_file(
    path: &NodePath,
    before: Option<&FileText<'_>>,
    after: Option<&FileText<'_>>,
    shown: &Shown,
) -> Diff {
    let mut diff = Diff::default();
    let [old, new] = [before, after].map(|file| ShownText::new(file, shown));
    let (old_lines, new_lines) = (old.lines(), new.lines());
    let text_diff = TextDiff::configure()
        .newline_terminated(true)
        .diff_slices(&old_lines, &new_lines);
    let shown_path = printable(path.as_str());
    let name = |side: &str, there: bool| {
        if !there {
            return "/dev/null".to_owned();
        }
        // As GNU diff does, so that `patch` does not take a space for the end of the name.
        let end = if shown_path.contains(' ') { "\t" } else { "" };
        format!("{side}{shown_path}{end}")
    };
    let groups = text_diff.grouped_ops(CONTEXT);
    if groups.is_empty() {
        return diff;
    }
    diff.masked |= shown_path != path.as_str();
    let _ = writeln!(diff.text, "--- {}", name("a", before.is_some()));
    let _ = writeln!(diff.text, "+++ {}", name("b", after.is_some()));
    for group in groups {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        diff.masked |= old.alters(old_range.clone()) || new.alters(new_range.clone());
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
        let kind = TextKind::Configuration;
        let before = before.map(|bytes| FileText::new(bytes, kind));
        let after = FileText::new(after.as_bytes(), kind);
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
            let [before, after] = [text.as_bytes(), after].map(|bytes| FileText::new(bytes, kind));
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
