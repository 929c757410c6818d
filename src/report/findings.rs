//! Findings as rustc would print them: with file, line, column and the line itself, its secrets masked.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::Shown;
use crate::finding::{Finding, Findings, Severity};
use crate::read::{Source, Sources};
use crate::secret::{Masked, Secrets};

/// All findings as text, each followed by an empty line; empty if there are none.
pub fn render(findings: &Findings, sources: &Sources, shown: &Shown) -> String {
    let renderer = Renderer::styled()
        .decor_style(DecorStyle::Ascii)
        .term_width(120);
    let excerpts: Vec<Excerpts<'_>> = sources
        .iter()
        .map(|source| Excerpts::new(source, shown))
        .collect();
    let mut text = String::new();
    for finding in findings.sorted() {
        let place = finding.place.as_ref().and_then(|place| {
            excerpts
                .get(place.file.0)
                .map(|excerpts| (excerpts, place.range.clone()))
        });
        text.push_str(&renderer.render(&[group(finding, place)]));
        text.push_str("\n\n");
    }
    shown.filtered(&text)
}

fn group<'a>(finding: &'a Finding, place: Option<(&'a Excerpts<'a>, Range<usize>)>) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level
        .primary_title(finding.message.as_str())
        .id(finding.code.name);
    let mut group = Group::with_title(title);
    if let Some((excerpts, range)) = place {
        if !finding.code.excerpt {
            let (line, column) = excerpts.position(range.start);
            let path = excerpts.source.path.as_str();
            group = group.element(Origin::path(path).line(line).char_column(column));
        } else {
            group = group.element(excerpts.snippet(range));
        }
    }
    if finding.help.is_empty() {
        return group;
    }
    group.element(Level::HELP.message(finding.help.as_str()))
}

/// A file whose lines can be shown.
struct Excerpts<'s> {
    source: &'s Source,
    masked: Masked,
    /// The first byte of each line of the masked text; masks keep line ends, so the numbers are the file's.
    starts: Vec<usize>,
}

impl<'s> Excerpts<'s> {
    fn new(source: &'s Source, shown: &Shown) -> Self {
        let ranges = if shown.secrets {
            Vec::new()
        } else {
            Secrets::of_text(&source.text).ranges
        };
        let masked = Masked::new(&source.text, &ranges);
        let mut starts = vec![0];
        starts.extend(masked.text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            source,
            masked,
            starts,
        }
    }

    fn line_of(&self, at: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }

    fn line_range(&self, line: usize) -> Range<usize> {
        let end = self
            .starts
            .get(line + 1)
            .copied()
            .unwrap_or(self.masked.text.len());
        self.starts.get(line).copied().unwrap_or(end)..end
    }

    /// Line and column, both from one, of a position in the file as it was read.
    fn position(&self, at: usize) -> (usize, usize) {
        let text = &self.source.text;
        let before = text.get(..self.source.position(at)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    /// The first line of a range, with the range marked in it. Only that line is handed to the renderer, so that
    /// many findings in a large file cost no more than many in a small one.
    fn snippet(&self, range: Range<usize>) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let [start, end] = [range.start, range.end].map(|at| self.source.position(at));
        let start = self.masked.position(start, false);
        let end = self.masked.position(end, true).max(start);
        let line = self.line_of(start);
        let line_range = self.line_range(line);
        let text = self.masked.text.get(line_range.clone()).unwrap_or_default();
        let text = text.trim_end_matches(['\r', '\n']);
        let start = (start - line_range.start).min(text.len());
        let marked = start..(end - line_range.start).clamp(start, text.len());
        Snippet::source(text)
            .path(self.source.path.as_str())
            .line_start(line + 1)
            .annotation(AnnotationKind::Primary.span(marked))
    }
}
