//! The verdict of `check`, below the table of what each release makes of the node.

use std::fmt::Write;

use super::wrap::wrapped;
use super::{Outcome, Report};
use crate::check::{Condition, ReleaseRow, Verdict};
use crate::containerd::release::{Version, list, ranges};
use crate::printable::printable;

/// As many reasons are printed; JSON has all.
const LISTED: usize = 50;

/// The table, the verdict and the next command.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    if !report.releases.is_empty() {
        table(report, &mut text);
        verdict(report, &mut text);
    }
    let first = match report.outcome {
        Outcome::Refused => {
            "Unreadable: what containerd makes of the node cannot be said\nNext: fix the file, then "
        }
        _ => "Next: ",
    };
    let is_ready = report.next.is_empty() && report.outcome == Outcome::Ready;
    if is_ready && !report.versions.is_reached() {
        let _ = writeln!(text, "{first}upgrade containerd");
    }
    for command in &report.next {
        let _ = writeln!(text, "{first}{command}");
    }
    text
}

/// The table, below the name of the file.
fn table(report: &Report, text: &mut String) {
    let path = printable(report.config.path.as_str());
    let _ = writeln!(text, "What each containerd makes of {path}\n");
    let (old, rows): (Vec<&ReleaseRow>, Vec<&ReleaseRow>) = report
        .releases
        .iter()
        .partition(|row| row.today.condition == Condition::VersionNotRead);
    let rows: Vec<Row> = rows.into_iter().map(Row::new).collect();
    let heading = Row {
        cells: ["containerd", "today", "after the migration"].map(str::to_owned),
        reasons: Vec::new(),
    };
    let width = |index: usize| -> usize {
        let cells = rows.iter().chain([&heading]).map(|row| &row.cells);
        let widths = cells.filter_map(|cells| Some(cells.get(index)?.chars().count()));
        widths.max().unwrap_or_default()
    };
    let [first, second] = [width(0), width(1)];
    for row in [&heading].into_iter().chain(&rows) {
        let [versions, today, after] = &row.cells;
        let line = format!("{versions:first$}  {today:second$}  {after}");
        let _ = writeln!(text, "{}", line.trim_end());
        for reason in &row.reasons {
            text.push_str(&wrapped(reason, "    ", "      "));
        }
    }
    text.push('\n');
    for row in old {
        let versions = ranges(row.versions.clone());
        let version = report.config.version.unwrap_or_default();
        let line = format!("Not listed: {versions}, which cannot read a file of version {version}");
        text.push_str(&wrapped(&line, "", "  "));
    }
    if report.releases.iter().any(|row| row.after.is_none()) {
        let none = "No plan can be written until the errors above are fixed or decided.";
        let _ = writeln!(text, "{none}");
    }
}

/// A line of the table, and what is said below it.
struct Row {
    cells: [String; 3],
    reasons: Vec<String>,
}

impl Row {
    fn new(row: &ReleaseRow) -> Self {
        let cell = |verdict: &Verdict| match verdict.condition {
            Condition::Works => format!("works: {}", printable(&verdict.reason)),
            condition => condition.phrase().to_owned(),
        };
        let reason = |verdict: &Verdict| {
            let is_said = verdict.condition == Condition::Works;
            (!is_said).then(|| printable(&verdict.reason))
        };
        let (today, after) = (&row.today, row.after.as_ref());
        let reasons = match (reason(today), after.and_then(reason)) {
            (Some(today), None) if after.is_none() => vec![today],
            (Some(today), Some(after)) if today == after => vec![today],
            (today, after) => {
                let today = today.map(|reason| format!("today: {reason}"));
                let after = after.map(|reason| format!("after the migration: {reason}"));
                today.into_iter().chain(after).collect()
            }
        };
        Self {
            cells: [
                ranges(row.versions.clone()),
                cell(today),
                after.map_or_else(|| "-".to_owned(), cell),
            ],
            reasons,
        }
    }
}

/// Whether the node can be upgraded as it is, and what is to be known of that.
fn verdict(report: &Report, text: &mut String) {
    let versions = &report.versions;
    let Some(from) = &versions.from else { return };
    let targets = &versions.targets();
    let bad = targets
        .iter()
        .filter(|target| !report.ready_for.contains(target));
    let bad: Vec<_> = bad.copied().collect();
    let as_they_are = "with the files as they are";
    let pull = if targets.len() > 1 { "pull" } else { "pulls" };
    let line = if report.outcome == Outcome::Ready && versions.is_reached() {
        // In a summary of many reports none has a next command.
        let mut rows = report.releases.iter();
        let row = rows.find(|row| row.versions.contains(&from.version));
        let is_same = row.is_none_or(|row| row.after.as_ref() == Some(&row.today));
        let done = match report.next.is_empty() && is_same {
            true => ", and nothing is left to migrate",
            false => "",
        };
        format!("Ready: containerd {from} reads these files{done}")
    } else if report.outcome == Outcome::Ready {
        let targets = list(targets, "and");
        format!("Ready: containerd {targets} {pull} as {from} does, {as_they_are}")
    } else if !comes_up(report, from.version) {
        format!("Not ready: nothing is pulled on containerd {from}, {as_they_are}")
    } else if bad.is_empty() {
        let targets = list(targets, "and");
        format!(
            "Not ready: containerd {targets} {pull} as {from} does, {as_they_are}, but a finding has to be decided"
        )
    } else {
        let do_not = if bad.len() > 1 { "do" } else { "does" };
        let bad = list(&bad, "and");
        format!("Not ready: containerd {bad} {do_not} not pull as {from} does, {as_they_are}")
    };
    text.push_str(&wrapped(&line, "", "  "));
    for reason in report.not_ready.iter().take(LISTED) {
        text.push_str(&wrapped(&printable(reason), "  ", "    "));
    }
    if let Some(more @ 1..) = report.not_ready.len().checked_sub(LISTED) {
        let _ = writeln!(text, "  and {more} more (all of them: --format json)");
    }
    if !bad.is_empty() && !report.ready_for.is_empty() {
        let good = list(&report.ready_for, "and");
        let line = format!("Only {good} would; --to asks about a direct upgrade to one of them");
        text.push_str(&wrapped(&line, "", "  "));
    }
    if let Some(removal) = removal(report) {
        text.push_str(&wrapped(&removal, "", "  "));
    }
    if let Some(remark) = &report.remark {
        text.push_str(&wrapped(
            &format!("Not compared: {}", printable(remark)),
            "",
            "  ",
        ));
    }
}

/// Whether CRI loads on this release, with the files as they are, or is disabled there.
fn comes_up(report: &Report, version: Version) -> bool {
    let mut rows = report.releases.iter();
    let row = rows.find(|row| row.versions.contains(&version));
    row.is_none_or(|row| row.today.condition > Condition::CriFails)
}

/// What a later release removes of the settings of a node that is ready.
pub(super) fn removal(report: &Report) -> Option<String> {
    let ready = report.outcome == Outcome::Ready;
    let removal = report.removal.as_ref().filter(|_| ready)?;
    let names: Vec<String> = removal
        .settings
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let names = match names.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    };
    Some(format!(
        "containerd {} (planned for {}) removes {names}, which this node uses",
        removal.release, removal.planned_for
    ))
}
