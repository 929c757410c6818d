//! The command that was meant, where the command line has a mistake that others have made before.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::arguments::Cli;
use crate::shell;

/// What people write, and what it is here.
type Meaning = (&'static [&'static str], &'static [&'static str]);

/// Names of other programs for what the commands do.
const COMMANDS: [Meaning; 6] = [
    (&["diff"], &["plan", "--format", "diff"]),
    (
        &[
            "dry-run", "dryrun", "preview", "show", "review", "migrate", "convert", "run",
        ],
        &["plan"],
    ),
    (&["write", "execute", "install"], &["apply"]),
    (&["undo", "revert", "restore", "back"], &["rollback"]),
    (&["list", "runs", "history", "log"], &["rollback", "--list"]),
    (
        &["status", "verify", "validate", "test", "lint", "audit"],
        &["check"],
    ),
];

/// Names of other programs for options. A value that follows stays where it is.
const OPTIONS: [Meaning; 13] = [
    (
        &[
            "--dry-run",
            "--dryrun",
            "--check",
            "--what-if",
            "-n",
            "--verbose",
            "-v",
            "--quiet",
            "-q",
        ],
        &[],
    ),
    (&["--json"], &["--format", "json"]),
    (&["--diff"], &["--format", "diff"]),
    (&["--markdown", "--md"], &["--format", "markdown"]),
    (&["--text"], &["--format", "text"]),
    (&["--output", "-o"], &["--format"]),
    (
        &["--force", "--assume-yes", "--no-confirm", "-y"],
        &["--yes"],
    ),
    (
        &["--file", "--config-file", "--config-path", "-f"],
        &["--config"],
    ),
    (
        &["--rootfs", "--root-dir", "--chroot", "--prefix", "-r"],
        &["--root"],
    ),
    (&["--from-version", "--current"], &["--from"]),
    (&["--target", "--to-version"], &["--to"]),
    (&["--no-color", "--no-colour"], &["--color", "never"]),
    (&["--digest"], &["--expect"]),
];

/// Mistakes that are put right in one command line.
const MOST: usize = 4;

/// The command that was probably meant, if it is one.
pub(super) fn meant(arguments: &[OsString], error: &clap::Error) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    for argument in arguments {
        words.push(argument.to_str()?.to_owned());
    }
    let mut correct = |error: &clap::Error| -> Option<Result<(), clap::Error>> {
        correct(&mut words, error)?;
        let arguments = words.iter().map(OsString::from).collect();
        match Cli::parse_from(arguments) {
            Err(error) if error.use_stderr() => Some(Err(error)),
            _ => Some(Ok(())),
        }
    };
    let mut result = correct(error)?;
    for _ in 1..MOST {
        match result {
            Ok(()) => break,
            Err(error) => result = correct(&error)?,
        }
    }
    result.ok()?;
    let words = words.iter().skip(1).map(|word| shell::quote(word));
    let words: Vec<String> = words.collect();
    Some(format!("{} {}", env!("CARGO_PKG_NAME"), words.join(" ")))
}

/// Puts the one mistake right that the error is about.
fn correct(words: &mut Vec<String>, error: &clap::Error) -> Option<()> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            // What says how to restart is given without what says that it is done.
            let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
                return None;
            };
            let is_restart = missing.iter().any(|argument| argument == "--restart");
            is_restart.then(|| words.push("--restart".to_owned()))
        }
        ErrorKind::InvalidSubcommand => {
            let wrong = context(ContextKind::InvalidSubcommand)?;
            let found = lookup(&COMMANDS, &wrong).or_else(|| path(&wrong));
            replace(words, &wrong, found?)
        }
        ErrorKind::UnknownArgument => {
            let wrong = context(ContextKind::InvalidArg)?;
            let Some(mut right) = lookup(&OPTIONS, &wrong) else {
                return replace(words, &wrong, path(&wrong)?);
            };
            // The option is named without the value that it has.
            let is_it = |word: &&String| word.split('=').next() == Some(&wrong);
            let typed = words.iter().find(is_it)?.clone();
            right.extend(typed.split_once('=').map(|(_, value)| value.to_owned()));
            replace(words, &typed, right)
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            // A path where `rollback` takes a number.
            let wrong = context(ContextKind::InvalidValue)?;
            let is_positional = context(ContextKind::InvalidArg)?.starts_with('[');
            is_positional.then_some(())?;
            replace(words, &wrong, path(&wrong)?)
        }
        _ => None,
    }
}

fn lookup(table: &[Meaning], word: &str) -> Option<Vec<String>> {
    let (_, right) = table.iter().find(|(known, _)| known.contains(&word))?;
    Some(right.iter().map(|word| (*word).to_owned()).collect())
}

/// The option that takes this path.
fn path(word: &str) -> Option<Vec<String>> {
    const CONFIG: &str = "etc/containerd/config.toml";
    let (option, value) = match word.strip_suffix(CONFIG) {
        Some("/") => ("--config", word),
        Some(root) if root.ends_with('/') => ("--root", root.trim_end_matches('/')),
        Some("") => ("--root", "."),
        _ if word.starts_with('/') && word.ends_with(".toml") => ("--config", word),
        _ if word.ends_with(".toml") => return None,
        _ if word.contains('/') || word == "." => ("--root", word),
        _ => return None,
    };
    Some(vec![option.to_owned(), value.to_owned()])
}

fn replace(words: &mut Vec<String>, wrong: &str, right: Vec<String>) -> Option<()> {
    let at = words.iter().skip(1).position(|word| word == wrong)? + 1;
    words.splice(at..=at, right);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant_by(line: &str) -> Option<String> {
        let words = ["program"].into_iter().chain(line.split(' '));
        let words: Vec<OsString> = words.map(OsString::from).collect();
        let error = Cli::parse_from(words.clone()).unwrap_err();
        assert!(error.use_stderr(), "{line}");
        let meant = meant(&words, &error)?;
        let name = concat!(env!("CARGO_PKG_NAME"), " ");
        Some(meant.strip_prefix(name).unwrap().to_owned())
    }

    #[test]
    fn a_mistake_gets_the_right_command_back() {
        for (typed, right) in [
            ("diff", "plan --format diff"),
            ("diff --root node", "plan --format diff --root node"),
            (
                "/etc/containerd/config.toml",
                "--config /etc/containerd/config.toml",
            ),
            (
                "plan /etc/containerd/config.toml",
                "plan --config /etc/containerd/config.toml",
            ),
            (
                "check /opt/x.toml --from 1.7",
                "check --config /opt/x.toml --from 1.7",
            ),
            ("plan node/etc/containerd/config.toml", "plan --root node"),
            ("plan etc/containerd/config.toml", "plan --root ."),
            ("apply ./node --yes", "apply --root ./node --yes"),
            ("rollback ./node", "rollback --root ./node"),
            ("plan --dry-run", "plan"),
            ("--dry-run --root node", "--root node"),
            ("check --dry-run", "check"),
            ("rollback --dry-run 3", "rollback 3"),
            ("plan --json", "plan --format json"),
            ("apply -y --json", "apply --yes --format json"),
            ("check -o json", "check --format json"),
            ("check --output=json", "check --format json"),
            ("plan --markdown", "plan --format markdown"),
            ("undo", "rollback"),
            ("runs", "rollback --list"),
            ("apply --force", "apply --yes"),
            (
                "apply --restart-command true",
                "apply --restart-command true --restart",
            ),
            ("plan --rootfs node", "plan --root node"),
            ("plan --no-color", "plan --color never"),
        ] {
            assert_eq!(meant_by(typed).as_deref(), Some(right), "{typed}");
        }
    }

    #[test]
    fn what_nobody_can_guess_gets_no_command() {
        for typed in [
            "frobnicate",
            "plan x.toml",
            "plan --frobnicate",
            "plan --from latest",
            "plan --json --frobnicate",
            "rollback three",
        ] {
            assert_eq!(meant_by(typed), None, "{typed}");
        }
    }

    #[test]
    fn every_name_is_in_one_row() {
        let names = |table: &[Meaning]| -> Vec<&str> {
            table
                .iter()
                .flat_map(|(names, _)| names.iter().copied())
                .collect()
        };
        let mut all = [names(&COMMANDS), names(&OPTIONS)].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
