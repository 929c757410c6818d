//! The summary as text and as Markdown.

use std::fmt::Write;

use super::{Broken, Group, Summary, shown};
use crate::finding::Severity;
use crate::markdown::{code, prose};
use crate::printable::printable;
use crate::report::fold::Detail;
use crate::report::{Report, markdown as ticket, text as words};

/// The width of lists of names.
const WIDTH: usize = 100;
/// So many documents that are no reports are listed, unless everything is to be shown.
const LISTED: usize = 50;

/// Everything, in words.
pub fn text(summary: &Summary, detail: Detail) -> String {
    let mut text = format!("{}\n", counts(summary, printable));
    for group in &summary.groups {
        let _ = writeln!(text, "\n{}", printable(&title(group, str::to_owned)));
        for line in wrapped(&group.nodes) {
            let _ = writeln!(text, "  {line}");
        }
        let words = report(group).map(|report| words::render(&report, detail));
        let words = words.unwrap_or_default();
        let words = words.trim();
        if words.is_empty() {
            for reason in &group.reasons {
                let _ = writeln!(text, "\n{}", printable(reason));
            }
        } else {
            let _ = writeln!(text, "\n{}{words}", told_by(group, str::to_owned));
        }
    }
    let (listed, more) = broken(summary, detail);
    if !listed.is_empty() {
        text.push_str("\nNot understood\n");
    }
    for broken in listed {
        let _ = writeln!(
            text,
            "  {}:{}: {}",
            printable(&broken.file),
            broken.line,
            printable(&broken.reason)
        );
    }
    if more > 0 {
        let _ = writeln!(text, "  {more} more");
    }
    if !summary.repeated.is_empty() {
        text.push_str("\nNodes with more than one report\n");
        for line in wrapped(&summary.repeated) {
            let _ = writeln!(text, "  {line}");
        }
    }
    if !summary.digests.is_empty() {
        text.push_str("\nDigests of the plans above, for `apply --expect-from`\n");
    }
    for digest in &summary.digests {
        let _ = writeln!(text, "{digest}");
    }
    text
}

/// Everything, as a section of a ticket.
pub fn markdown(summary: &Summary, detail: Detail) -> String {
    let mut text = format!("**Summary**: {}\n", counts(summary, code));
    for group in &summary.groups {
        let _ = writeln!(text, "\n## {}\n", title(group, code));
        let nodes: Vec<String> = group.nodes.iter().map(|node| code(node)).collect();
        let _ = writeln!(text, "{}", nodes.join(", "));
        match report(group) {
            Some(report) => {
                let told_by = told_by(group, code);
                let _ = write!(text, "\n{told_by}{}", ticket::render(&report, detail));
            }
            None => {
                let reasons = group.reasons.iter();
                let reasons: Vec<String> = reasons.map(|reason| prose(reason)).collect();
                if !reasons.is_empty() {
                    let _ = writeln!(text, "\n{}", reasons.join("; "));
                }
            }
        }
    }
    let (listed, more) = broken(summary, detail);
    if !listed.is_empty() {
        text.push_str("\n## Not understood\n\n");
    }
    for broken in listed {
        let place = format!("{}:{}", broken.file, broken.line);
        let _ = writeln!(text, "- {}: {}", code(&place), prose(&broken.reason));
    }
    if more > 0 {
        let _ = writeln!(text, "\n{more} more are not shown.");
    }
    if !summary.repeated.is_empty() {
        let nodes: Vec<String> = summary.repeated.iter().map(|node| code(node)).collect();
        let _ = writeln!(
            text,
            "\n## Nodes with more than one report\n\n{}",
            nodes.join(", ")
        );
    }
    if !summary.digests.is_empty() {
        text.push_str("\n## Digests of the plans above\n\n");
        let digests = summary.digests.join("\n");
        text.push_str(&crate::markdown::fence("text", &digests));
    }
    text
}

/// How many of what there are, in one line.
fn counts(summary: &Summary, code: impl Fn(&str) -> String) -> String {
    let reports = if summary.reports == 1 {
        "report"
    } else {
        "reports"
    };
    let mut counts = format!("{} {reports}", summary.reports);
    for (number, (outcome, count)) in summary.outcomes.iter().enumerate() {
        let before = if number == 0 { ":" } else { "," };
        let outcome = match (count, outcome.as_ref()) {
            (1, "changes") => "change",
            (_, outcome) => outcome,
        };
        let _ = write!(counts, "{before} {count} {}", code(outcome));
    }
    if summary.broken_count > 0 {
        let _ = write!(counts, "; not understood: {}", summary.broken_count);
    }
    if !summary.repeated.is_empty() {
        let repeated = summary.repeated.len();
        let _ = write!(counts, "; nodes with more than one report: {repeated}");
    }
    counts
}

/// What the nodes of a group have in common.
fn title(group: &Group, code: impl Fn(&str) -> String) -> String {
    let count = group.nodes.len();
    let nodes = if count == 1 { "node" } else { "nodes" };
    let mut title = format!("{count} {nodes}: {}", code(&group.outcome));
    if let Some(digest) = &group.digest {
        let _ = write!(title, ", digest {}", code(digest));
    }
    title
}

/// Whose report stands for the group, where those of the others may differ from it.
fn told_by(group: &Group, code: impl Fn(&str) -> String) -> String {
    match group.nodes.as_slice() {
        [_, _, ..] if group.digest.is_none() => {
            format!(
                "As {} reports it:\n\n",
                code(&printable(&group.reported_by))
            )
        }
        _ => String::new(),
    }
}

/// What of the first report stands for all of them: not its commands, which are for that one node.
fn report(group: &Group) -> Option<Report> {
    let mut report = shown(group)?;
    report.next.clear();
    report.way_back = None;
    // The title has it.
    report.digest = None;
    report.notes.clear();
    if report.files.is_empty() && report.namespaces.is_empty() && report.releases.is_empty() {
        report
            .findings
            .retain(|finding| finding.severity == Severity::Error);
    }
    Some(report)
}

fn broken(summary: &Summary, detail: Detail) -> (&[Broken], usize) {
    let count = match detail {
        Detail::All => summary.broken.len(),
        Detail::Folded => summary.broken.len().min(LISTED),
    };
    let listed = summary.broken.get(..count).unwrap_or_default();
    (listed, summary.broken_count - count)
}

/// Names with commas between them, in lines.
fn wrapped(names: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let last = names.len().saturating_sub(1);
    for (number, name) in names.iter().enumerate() {
        let comma = if number == last { "" } else { "," };
        let name = format!("{}{comma}", printable(name));
        match lines.last_mut() {
            Some(line) if line.len() + 1 + name.len() <= WIDTH => {
                line.push(' ');
                line.push_str(&name);
            }
            _ => lines.push(name),
        }
    }
    lines
}
