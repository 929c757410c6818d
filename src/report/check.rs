//! The table of `check`: what each containerd makes of the node, today and after the migration.

use std::fmt::Write;

use super::{Outcome, Report, UsedVersion};
use crate::check::Verdict;
use crate::containerd::release::ranges;
use crate::printable::printable;

/// The width of a cell with reasons.
const CELL: usize = 37;

/// The table and the verdict; empty if the configuration was not read.
pub fn render(report: &Report) -> String {
    let versions = &report.versions;
    let (Some(UsedVersion { version: from, .. }), Some(to)) = (versions.from, versions.newest())
    else {
        return String::new();
    };
    let releases = &report.releases;
    if releases.is_empty() {
        return String::new();
    }
    let mut text = table(report);
    text.push('\n');
    if releases.iter().any(|release| release.after.is_none()) {
        text.push_str("There is no plan that could be written: see the findings.\n");
    }
    if report.outcome == Outcome::Ready {
        let _ = writeln!(
            text,
            "Ready: containerd {to} does with this node as it is what {from} does"
        );
    } else {
        let _ = writeln!(
            text,
            "Not ready: containerd {to} does not do with this node what {from} does"
        );
        for reason in &report.not_ready {
            let _ = writeln!(text, "  {}", printable(reason));
        }
    }
    if let Some(remark) = &report.remark {
        let _ = writeln!(text, "Not compared: {}", printable(remark));
    }
    text
}

/// The table alone, below the name of the file.
fn table(report: &Report) -> String {
    let path = printable(report.config.path.as_str());
    let mut text = format!("What each containerd makes of {path}\n\n");
    let releases = &report.releases;
    let versions: Vec<String> = releases
        .iter()
        .map(|release| ranges(release.versions.clone()))
        .collect();
    let heading = "containerd".to_owned();
    let width = versions
        .iter()
        .chain([&heading])
        .map(String::len)
        .max()
        .unwrap_or_default();
    line(width, &heading, "today", "after the migration", &mut text);
    for (versions, release) in versions.iter().zip(releases) {
        let today = cell(&release.today);
        let after = match &release.after {
            Some(verdict) => cell(verdict),
            None => vec!["-".to_owned()],
        };
        for index in 0..today.len().max(after.len()) {
            let at = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
            let versions = if index == 0 { versions } else { "" };
            line(width, versions, &at(&today), &at(&after), &mut text);
        }
    }
    text
}

fn line(width: usize, versions: &str, today: &str, after: &str, text: &mut String) {
    let line = format!("{versions:width$}  {today:CELL$}  {after}");
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The lines of a cell: the outcome, and the reason below it.
fn cell(verdict: &Verdict) -> Vec<String> {
    let mut lines = vec![verdict.outcome.phrase().to_owned()];
    lines.extend(
        wrapped(&printable(&verdict.reason), CELL - 2)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines
}

/// The text in lines of at most `width` characters, broken between words; a longer word is broken anywhere.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        let fits = |line: &String| line.chars().count() + 1 + rest.len() <= width;
        if let Some(last) = lines.last_mut().filter(|last| fits(last)) {
            last.push(' ');
            last.push_str(word);
            continue;
        }
        while rest.len() > width {
            let tail = rest.split_off(width);
            lines.push(std::mem::replace(&mut rest, tail).into_iter().collect());
        }
        lines.push(rest.into_iter().collect());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert!(wrapped("", 4).is_empty());
    }
}
