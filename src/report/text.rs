//! The report in words, the whole document: notes and findings, and what the command has found out about the node.

use std::fmt::Write;

use super::check::wrapped;
use super::fold::{self, Detail};
use super::{
    Action, Command, Conversion, FileChange, NamespacePulls, Outcome, Report, SettingFate,
    TakesEffect, check, diff, findings, questions,
};
use crate::containerd::host::ShownHost;
use crate::printable::printable;

/// The width of lists of names.
const WIDTH: usize = 100;

/// Everything that the report says.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut text = preamble(report);
    text.push_str(&match report.outcome {
        Outcome::Nothing => nothing(report),
        Outcome::Changes => changes(report, detail),
        Outcome::Ready | Outcome::NotReady => check::render(report),
        Outcome::Refused | Outcome::Failed => String::new(),
    });
    text
}

/// What comes before the result: notes, findings, and whether something has to be decided. With a format that has no
/// place for them, they are printed elsewhere.
pub fn preamble(report: &Report) -> String {
    let mut text = String::new();
    for note in &report.notes {
        let _ = writeln!(text, "{note}");
    }
    text.push_str(&findings::render(report));
    if report.outcome == Outcome::Refused {
        text.push_str(&findings::refusal(report));
        text.push_str(&questions::render(report));
    }
    text
}

fn nothing(report: &Report) -> String {
    let stays = match report.config.conversion {
        Some(Conversion::NotNeeded) => ", and no registry setting in it to convert it for",
        Some(Conversion::Converted) | None => "",
    };
    let path = printable(report.config.path.as_str());
    format!("Nothing to migrate in {path}{stays}\n")
}

fn changes(report: &Report, detail: Detail) -> String {
    let mut text = String::new();
    let config = &report.config;
    let version = match (config.conversion, config.version) {
        (Some(Conversion::Converted), _) => "version 1, converted to 2".to_owned(),
        (_, None) => "no version".to_owned(),
        (_, Some(version)) => format!("version {version}"),
    };
    let path = printable(config.path.as_str());
    let _ = writeln!(text, "Migration of {path} ({version})");
    for (number, file) in config.imports.iter().enumerate() {
        let with = if number == 0 { "with" } else { "and" };
        let _ = writeln!(text, "{with} {}", printable(file.as_str()));
    }
    if let (Some(from), Some(to)) = (&report.versions.from, report.versions.newest()) {
        let _ = writeln!(
            text,
            "Keeps what containerd {} does; upgrade to containerd {to}\n",
            from.version
        );
    }
    for group in fold::files(&report.files, detail) {
        diff::style(&group.file.diff, &mut text);
        let names: Vec<String> = group.names().map(|name| printable(&name)).collect();
        if !names.is_empty() {
            let same = format!("The same, each with its own name, for {}", names.join(", "));
            for line in wrapped(&same, WIDTH) {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text.push_str("\nPulls: the hosts that containerd tries, in order\n");
    let (shown, hidden) = fold::namespaces(&report.namespaces, detail);
    for namespace in shown {
        pulls(namespace, &mut text);
    }
    if hidden > 0 {
        let _ = writeln!(text, "  {hidden} more: identical (--all shows them)");
    }
    settings(report, &mut text);
    summary(report, &mut text);
    if let Some(digest) = &report.digest {
        let _ = writeln!(text, "Digest: {digest}");
    }
    if report.command == Command::Plan {
        for command in &report.next {
            let _ = writeln!(text, "Next: {command}");
        }
    }
    text
}

fn pulls(namespace: &NamespacePulls, text: &mut String) {
    let name = printable(namespace.name.as_deref().unwrap_or("any other registry"));
    let (before, after) = (
        (&namespace.before, &namespace.before_fails),
        (&namespace.after, &namespace.after_fails),
    );
    match namespace.changed_by {
        None => {
            let _ = writeln!(text, "  {name}: identical");
            hosts(after, "    ", text);
        }
        Some(code) => {
            let _ = writeln!(text, "  {name}: changed: {}", code.name);
            text.push_str("    today\n");
            hosts(before, "      ", text);
            text.push_str("    afterwards\n");
            hosts(after, "      ", text);
        }
    }
}

fn hosts((hosts, fails): (&Vec<ShownHost>, &Option<String>), indentation: &str, text: &mut String) {
    for host in hosts {
        let _ = writeln!(text, "{indentation}{host}");
    }
    if let Some(reason) = fails {
        let reason = printable(reason);
        let _ = writeln!(text, "{indentation}every pull fails: {reason}");
    }
}

fn settings(report: &Report, text: &mut String) {
    text.push_str("\nSettings\n");
    if report.settings.is_empty() {
        text.push_str("  none of the legacy ones\n");
    }
    for setting in &report.settings {
        let _ = write!(text, "  {}", printable(&setting.setting));
        if setting.file != report.config.path {
            let _ = write!(text, " in {}", printable(setting.file.as_str()));
        }
        text.push('\n');
        match &setting.outcome {
            SettingFate::Carried { files } => {
                for file in files {
                    let _ = writeln!(text, "    -> {}", printable(file.as_str()));
                }
            }
            SettingFate::WithoutEffect { code } => {
                let _ = writeln!(text, "    without effect: {}", code.name);
            }
            SettingFate::LeftOut { code } => {
                let _ = writeln!(text, "    left out: {}", code.name);
            }
            SettingFate::Overruled { code } => {
                let _ = writeln!(text, "    a hosts file decides instead: {}", code.name);
            }
            SettingFate::Stays => text.push_str("    stays as it is\n"),
        }
    }
    text.push('\n');
}

fn summary(report: &Report, text: &mut String) {
    let count = |action| {
        let of_it = |file: &&FileChange| file.action == action;
        report.files.iter().filter(of_it).count()
    };
    let (new, changed) = (count(Action::Create), count(Action::Change));
    let files = |count: usize| if count == 1 { "file" } else { "files" };
    let _ = writeln!(
        text,
        "{new} {} to create, {changed} {} to change; nothing is written yet",
        files(new),
        files(changed)
    );
    let at_once = |file: &FileChange| file.takes_effect == TakesEffect::AtOnce;
    if report.files.iter().any(at_once) && report.files.len() > 1 {
        text.push_str(
            "config_path is in effect already: hosts files count from the moment they are written\n",
        );
    }
}
