//! What an operator may be asked about a node, and the answers. Which questions are open is found by [`crate::plan`];
//! [`crate::ask`] tries the answers.

use std::collections::BTreeMap;
use std::fmt;

/// What has to be decided before a finding is out of the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// `--inert`: settings that one release reads and another does not.
    Inert,
    /// `--existing`: what is in the certs directory for this registry, and would change its pulls.
    Existing(String),
    /// `--v1`: a version-1 file that cannot be converted, and a target that drops its CRI section.
    Version1,
    /// `--allow` with the finding's code.
    Accept,
}

/// `--existing`: who decides where a hosts file or a certificate directory would change pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// What is in the certs directory.
    Keep,
    /// The settings: a hosts file with what they give is written over it.
    Replace,
}

impl fmt::Display for Existing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
        })
    }
}

/// The answers of `--existing`: one for all registries, and those for single ones, which count before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExistingAnswers {
    /// The answer for every registry that has none of its own.
    pub general: Option<Existing>,
    /// Answers by registry; `_default` is the directory for all that have none.
    pub by_registry: BTreeMap<String, Existing>,
}

impl ExistingAnswers {
    /// The answer for this registry, if there is one.
    pub fn of(&self, registry: &str) -> Option<Existing> {
        self.by_registry.get(registry).copied().or(self.general)
    }

    /// The values of the option that say this.
    pub fn values(&self) -> Vec<String> {
        let general = self.general.iter().map(ToString::to_string);
        let single = self.by_registry.iter();
        let single = single.map(|(registry, answer)| format!("{registry}={answer}"));
        general.chain(single).collect()
    }
}

impl From<Existing> for ExistingAnswers {
    fn from(answer: Existing) -> Self {
        Self {
            general: Some(answer),
            by_registry: BTreeMap::new(),
        }
    }
}

/// One value of `--existing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingValue {
    /// The registry that it is for, if not for all.
    pub registry: Option<String>,
    /// The answer; `None` is `refuse`, which takes an earlier one back.
    pub answer: Option<Existing>,
}

impl std::str::FromStr for ExistingValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (registry, answer) = match text.rsplit_once('=') {
            Some((registry, answer)) => (Some(registry.to_owned()), answer),
            None => (None, text),
        };
        let answer = match answer {
            "keep" => Some(Existing::Keep),
            "replace" => Some(Existing::Replace),
            "refuse" => None,
            _ => return Err("expected keep, replace, refuse, or HOST=keep and the like".to_owned()),
        };
        if registry.as_ref().is_some_and(String::is_empty) {
            return Err("expected the name of a registry before `=`, as docker.io=keep".to_owned());
        }
        Ok(Self { registry, answer })
    }
}

impl FromIterator<ExistingValue> for ExistingAnswers {
    /// Of several values for the same registry the last one counts.
    fn from_iter<I: IntoIterator<Item = ExistingValue>>(values: I) -> Self {
        let mut answers = Self::default();
        for ExistingValue { registry, answer } in values {
            match (registry, answer) {
                (None, answer) => answers.general = answer,
                (Some(registry), Some(answer)) => {
                    answers.by_registry.insert(registry, answer);
                }
                (Some(registry), None) => {
                    answers.by_registry.remove(&registry);
                }
            }
        }
        answers
    }
}

/// `--inert`: what becomes of registry settings that one release reads and another does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Inert {
    /// Remove them: pulls stay as they are on --from
    Drop,
    /// Let them take effect on every release, as the target reads them
    Carry,
}

impl fmt::Display for Inert {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Drop => "drop",
            Self::Carry => "carry",
        })
    }
}

/// `--v1`: what is done with a version-1 file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Version1 {
    /// Convert it if a later release drops its CRI section and the conversion is verified; else keep it
    #[default]
    Auto,
    /// Give every plugin its version-2 name, which all releases read
    Convert,
    /// Keep it version 1
    Keep,
}

impl fmt::Display for Version1 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Convert => "convert",
            Self::Keep => "keep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_for_one_registry_counts_before_the_general_one() {
        let values = [
            "keep",
            "quay.io=replace",
            "reg:5000=keep",
            "reg:5000=refuse",
        ];
        let parsed = values.map(|value| value.parse::<ExistingValue>().unwrap());
        let answers: ExistingAnswers = parsed.into_iter().collect();
        assert_eq!(answers.of("docker.io"), Some(Existing::Keep));
        assert_eq!(answers.of("quay.io"), Some(Existing::Replace));
        assert_eq!(answers.of("reg:5000"), Some(Existing::Keep));
        assert_eq!(answers.values(), ["keep", "quay.io=replace"]);
        for bad in ["", "=keep", "docker.io", "docker.io=", "Keep"] {
            assert!(bad.parse::<ExistingValue>().is_err(), "{bad}");
        }
    }
}
