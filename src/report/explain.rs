//! What `check --explain` prints of a finding.

use std::fmt::Write;

use super::check::wrapped;
use crate::finding::{Code, Decision, Severity};

/// The width of the text.
const WIDTH: usize = 80;

/// Everything that the table of findings says of a code.
pub fn render(code: &Code) -> String {
    let severity = match code.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut text = format!("{} ({severity})\n", code.name);
    let mut paragraph = |words: &str| {
        text.push('\n');
        for line in wrapped(words, WIDTH) {
            let _ = writeln!(text, "{line}");
        }
    };
    paragraph(code.meaning);
    paragraph(code.explanation);
    match code.decision {
        Decision::Allow(effect) => paragraph(&format!("--allow {} {effect}", code.name)),
        Decision::Option(options) => paragraph(options),
        Decision::HandEdit if code.severity == Severity::Error => {
            paragraph("Nothing accepts it: mend what is named.");
        }
        Decision::HandEdit => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::finding;

    #[test]
    fn every_finding_is_explained_in_lines_that_fit() {
        for code in finding::ALL {
            let text = render(code);
            assert!(
                code.explanation.matches(['.', ':']).count() >= 2,
                "{}",
                code.name
            );
            assert!(code.explanation.ends_with('.'), "{}", code.name);
            assert!(text.starts_with(code.name), "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
    }
}
