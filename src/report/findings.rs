//! Findings as rustc would print them: with file, line, column and the line itself.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Excerpt, Position, Report, ShownFinding};
use crate::finding::Severity;
use crate::printable::printable;

/// As many findings of one code are listed; more of them are only counted.
const LISTED: usize = 50;

/// The findings as text, each followed by an empty line; empty if there are none.
pub fn render(report: &Report) -> String {
    let renderer = Renderer::styled()
        .decor_style(DecorStyle::Ascii)
        .term_width(120);
    let mut text = String::new();
    let mut counts: BTreeMap<(&str, Severity), usize> = BTreeMap::new();
    for finding in &report.findings {
        let count = counts
            .entry((finding.code.name, finding.severity))
            .or_default();
        *count += 1;
        if *count > LISTED {
            continue;
        }
        let excerpt = finding
            .position
            .as_ref()
            .and_then(|position| Some((position, position.excerpt.as_ref()?)));
        let line = excerpt.map(|(position, excerpt)| line(position, excerpt));
        text.push_str(&renderer.render(&[group(finding, line.as_ref())]));
        text.push_str("\n\n");
    }
    for ((code, severity), count) in counts {
        if let Some(more @ 1..) = count.checked_sub(LISTED) {
            let title = format!("{more} more of these are not listed");
            let title = level(severity).primary_title(title).id(code);
            text.push_str(&renderer.render(&[Group::with_title(title)]));
            text.push_str("\n\n");
        }
    }
    text
}

/// How many findings are in the way.
pub fn refusal(report: &Report) -> String {
    let errors = report.findings.iter();
    let count = errors
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let findings = if count == 1 {
        "finding is"
    } else {
        "findings are"
    };
    format!("error: refused: {count} {findings} in the way; nothing was written\n")
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    }
}

/// The excerpt as a line in which the mark stands in its column, and the mark.
fn line(position: &Position, excerpt: &Excerpt) -> (String, Range<usize>) {
    let cut = (position.column - 1).saturating_sub(excerpt.before.chars().count());
    let mut line = " ".repeat(cut);
    line.extend(excerpt.before.chars().map(harmless));
    let start = line.len();
    line.extend(excerpt.marked.chars().map(harmless));
    let marked = start..line.len();
    line.extend(excerpt.after.chars().map(harmless));
    (line, marked)
}

/// A character without what a terminal would obey. Tabs are the renderer's, and the byte order mark of a file is seen by
/// nobody.
fn harmless(c: char) -> char {
    let mut buffer = [0; 4];
    let text = c.encode_utf8(&mut buffer);
    if ['\t', '\u{feff}'].contains(&c) || printable(text) == *text {
        c
    } else {
        '?'
    }
}

fn group<'a>(finding: &'a ShownFinding, line: Option<&'a (String, Range<usize>)>) -> Group<'a> {
    let title = level(finding.severity)
        .primary_title(finding.message.as_str())
        .id(finding.code.name);
    let mut group = Group::with_title(title);
    if let Some(position) = &finding.position {
        group = match line {
            Some((line, marked)) => group.element(
                Snippet::source(line.as_str())
                    .path(printable(position.file.as_str()))
                    .line_start(position.line)
                    .annotation(AnnotationKind::Primary.span(marked.clone())),
            ),
            None => group.element(
                Origin::path(printable(position.file.as_str()))
                    .line(position.line)
                    .char_column(position.column),
            ),
        };
    }
    if finding.help.is_empty() {
        return group;
    }
    group.element(Level::HELP.message(finding.help.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{self, Findings, Place};
    use crate::node::NodePath;
    use crate::read::Sources;
    use crate::report::Command;
    use crate::report::build::Basis;
    use crate::request::Request;
    use crate::secret::TextKind;
    use crate::text::FileText;

    /// The report on a text in which each `x` is an unknown key.
    fn report(text: &str) -> Report {
        let mut sources = Sources::default();
        let content = FileText::new(text.into(), TextKind::Configuration);
        let file = sources.add(&NodePath::new("/c.toml"), content);
        let mut findings = Findings::default();
        for (at, _) in text.match_indices('x') {
            let range = at..at + 1;
            findings.add(&finding::UNKNOWN_KEY, Place { file, range }, "a key", "");
        }
        let basis = Basis {
            command: Command::Plan,
            request: &Request::default(),
            config: None,
            inputs: None,
            findings: &findings,
            questions: &[],
            sources: &sources,
        };
        basis.refused()
    }

    fn plain(report: &Report) -> String {
        anstream::adapter::strip_str(&render(report)).to_string()
    }

    #[test]
    fn a_long_line_is_cut_but_its_columns_are_those_of_the_file() {
        let text = plain(&report(&format!(
            "# {}x{}\n",
            "a ".repeat(400),
            " b".repeat(400)
        )));
        assert!(text.contains("--> /c.toml:1:803\n"), "{text}");
        assert!(
            text.contains(" a x b ") && text.lines().all(|line| line.len() <= 120),
            "{text}"
        );
    }

    #[test]
    fn a_terminal_obeys_nothing_in_an_excerpt() {
        let text = plain(&report("# \u{9b}31m \u{202e} x\n"));
        assert!(text.contains("# ?31m ? x\n"), "{text:?}");
        assert!(text.contains("--> /c.toml:1:10\n"), "{text:?}");
    }

    #[test]
    fn more_than_fifty_findings_of_a_code_are_counted() {
        let fifty = plain(&report(&"x\n".repeat(50)));
        assert_eq!(fifty.matches("[unknown-key]: a key").count(), 50);
        assert!(!fifty.contains("not listed"), "{fifty}");
        let more = report(&"x\n".repeat(53));
        let text = plain(&more);
        assert_eq!(text.matches("[unknown-key]: a key").count(), 50);
        assert!(
            text.ends_with("warning[unknown-key]: 3 more of these are not listed\n\n"),
            "{text}"
        );
        assert_eq!(more.findings.len(), 53);
    }

    #[test]
    fn many_findings_on_one_line_do_not_each_carry_the_line() {
        let report = report(&format!("a = [{}]\n", "'x', ".repeat(20_000)));
        assert_eq!(report.findings.len(), 20_000);
        let positions = report.findings.iter().flat_map(|finding| &finding.position);
        let mut excerpts = positions.flat_map(|position| &position.excerpt);
        assert!(excerpts.all(|excerpt| excerpt.before.len() + excerpt.after.len() < 400));
    }
}
