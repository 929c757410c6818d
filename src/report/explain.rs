//! What `check --explain` prints of a finding.

use super::wrap::wrapped;
use crate::finding::{Code, Decision, Severity};

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
        text.push_str(&wrapped(words, "", ""));
    };
    paragraph(code.meaning);
    paragraph(code.explanation);
    match code.decision {
        Decision::Allow(effect) => paragraph(&format!("--allow {}: {effect}", code.name)),
        Decision::Option(options) => paragraph(options),
        Decision::HandEdit if code.severity == Severity::Error => {
            paragraph("Nothing to accept: fix what is named.");
        }
        Decision::HandEdit => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::finding::{self, Decision, Severity};

    /// Sentences end at a full stop before a space or at the end; the one in `1.6.32` is none.
    fn sentences(text: &str) -> usize {
        text.split(' ').filter(|word| word.ends_with('.')).count()
    }

    #[test]
    fn every_finding_is_explained_in_a_few_sentences() {
        for code in finding::ALL {
            let (name, text) = (code.name, code.explanation);
            let sentences = sentences(text);
            assert!((2..=6).contains(&sentences), "{name}: {sentences}");
            assert!(text.ends_with('.'), "{name}");
            // A line of the table that is continued without a space, or with two, shows here.
            assert!(!text.contains("  "), "{name}");
            let printed = [code.meaning, text].concat();
            assert!(!printed.contains(char::is_control), "{name}");
        }
    }

    #[test]
    fn every_explanation_says_all_of_its_row_in_lines_that_fit() {
        for code in finding::ALL {
            let text = render(code);
            assert!(text.starts_with(&format!("{} (", code.name)), "{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            let words = words.join(" ");
            let decided = match code.decision {
                Decision::Allow(effect) => format!("--allow {}: {effect}", code.name),
                Decision::Option(options) => options.to_owned(),
                Decision::HandEdit if code.severity == Severity::Error => {
                    "Nothing to accept".to_owned()
                }
                Decision::HandEdit => String::new(),
            };
            for part in [code.meaning, code.explanation, &decided] {
                assert!(words.contains(part), "{part}\n{text}");
            }
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(control), "{text}");
        }
    }
}
