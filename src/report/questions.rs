//! The questions that are open, each with the commands that answer all of them.

use std::fmt::Write;

use super::{Question, Report};
use crate::printable::printable;

/// The questions as text; empty if there are none.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for question in &report.questions {
        let _ = writeln!(text, "\n{}", title(question));
        for answer in &question.answers {
            let differs = printable(&answer.differs);
            let _ = writeln!(text, "  {}: {differs}", printable(&answer.option));
            let _ = writeln!(text, "    {}", answer.command);
        }
    }
    text
}

fn title(question: &Question) -> String {
    let code = question.code.name;
    match question.answers.as_slice() {
        [_] => format!("{code}: edit the files by hand, or"),
        _ => format!("{code}: choose one; each was planned and verified for this node"),
    }
}
