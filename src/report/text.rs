//! The report in words, the whole document: notes and findings, and what the command has found out about the node.

use std::fmt::Write;

use super::fold::{self, Detail};
use super::wrap::wrapped;
use super::{
    Action, Command, ConfigSummary, Conversion, FileChange, FoundBy, NamespacePulls, Outcome,
    Report, RunRow, SettingFate, TakesEffect, check, diff, findings, images, list, questions,
};
use crate::containerd::host::ShownHost;
use crate::finding::Code;
use crate::printable::printable;

/// Everything that the report says before anything is changed.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut text = preamble(report);
    text.push_str(&match report.outcome {
        Outcome::Nothing => nothing(report),
        Outcome::Changes => changes(report, detail),
        Outcome::Ready | Outcome::NotReady => check::render(report),
        Outcome::Refused if report.command == Command::Check => check::render(report),
        Outcome::Shown => images::render(report),
        Outcome::Refused | Outcome::Failed | Outcome::Applied | Outcome::RolledBack => {
            String::new()
        }
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
    if report.outcome == Outcome::Refused && report.command != Command::Check {
        text.push_str(&findings::refusal(report));
        text.push_str(&questions::render(report));
    }
    text
}

fn nothing(report: &Report) -> String {
    let config = &report.config;
    let path = printable(config.path.as_str());
    if report.command == Command::Rollback {
        return report.runs.as_deref().map(runs).unwrap_or_default();
    }
    if config.found == FoundBy::BuiltIn {
        return format!(
            "Nothing to migrate: `{path}` does not exist, and containerd runs on its built-in defaults\n"
        );
    }
    let stays = match config.conversion {
        Some(Conversion::NotNeeded) => ", and no registry setting in it to convert it for",
        Some(Conversion::Converted) | None => "",
    };
    format!("Nothing to migrate in {path} ({}){stays}\n", found(config))
}

/// How the file was found.
fn found(config: &ConfigSummary) -> String {
    match (config.found, &config.unit) {
        (FoundBy::Unit, Some(unit)) => format!("named in {}", printable(unit.as_str())),
        (FoundBy::Option, _) => "set by --config".to_owned(),
        _ => "the default path".to_owned(),
    }
}

fn changes(report: &Report, detail: Detail) -> String {
    let mut text = String::new();
    if report.command == Command::Rollback {
        rollback(report, detail, &mut text);
        return text;
    }
    let config = &report.config;
    let version = match (config.conversion, config.version) {
        (Some(Conversion::Converted), _) => "version 1 converted to 2".to_owned(),
        (_, None) => "no version".to_owned(),
        (_, Some(version)) => format!("version {version}"),
    };
    let path = printable(config.path.as_str());
    let _ = writeln!(text, "Migration of {path} ({version}, {})", found(config));
    for (number, file) in config.imports.iter().enumerate() {
        let with = if number == 0 { "with" } else { "and" };
        let _ = writeln!(text, "{with} {}", printable(file.as_str()));
    }
    if let Some(promise) = report.promise() {
        let _ = writeln!(text, "{promise}\n");
    }
    diff_of(report, detail, &mut text);
    text.push_str("\nPulls: the hosts that containerd tries, in order\n");
    let (shown, hidden) = fold::namespaces(&report.namespaces, detail);
    for namespace in shown {
        pulls(namespace, &mut text);
    }
    if hidden > 0 {
        let _ = writeln!(text, "  {hidden} more: identical (--all shows them)");
    }
    if let Some(remark) = &report.remark {
        let remark = format!("Not compared: {}", printable(remark));
        text.push_str(&wrapped(&remark, "", "  "));
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
        if let Some(command) = &report.way_back {
            let _ = writeln!(text, "To go back: {command}");
        }
    }
    text
}

fn diff_of(report: &Report, detail: Detail, text: &mut String) {
    for group in fold::files(&report.files, detail) {
        diff::style(&group.file.diff, text);
        let names: Vec<String> = group.names().map(|name| printable(&name)).collect();
        if !names.is_empty() {
            let same = format!("The same, each with its own name, for {}", names.join(", "));
            text.push_str(&wrapped(&same, "", "  "));
        }
    }
    if report.files.iter().any(|file| file.masked) {
        text.push_str("Secrets are masked; this diff cannot be applied with patch\n");
    }
}

fn rollback(report: &Report, detail: Detail, text: &mut String) {
    if let Some(run) = report.run {
        let _ = writeln!(text, "Rollback of run {run}");
    }
    if report.restart_needed {
        let _ = writeln!(
            text,
            "Restart containerd as soon as the files are back (systemctl restart containerd): {UNTIL_RESTART}"
        );
    }
    text.push('\n');
    diff_of(report, detail, text);
}

/// On which target versions, where it is not all of them.
pub(super) fn changed_on(namespace: &NamespacePulls) -> String {
    match &*namespace.changed_on {
        [] => String::new(),
        versions => format!(" on {}", list(versions, "and")),
    }
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
            let on = changed_on(namespace);
            let _ = writeln!(text, "  {name}: changed{on}: {}", code.name);
            text.push_str("    today\n");
            hosts(before, "      ", text);
            text.push_str("    after the migration\n");
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
                let _ = writeln!(text, "    has no effect and is removed: {}", why(code));
            }
            SettingFate::LeftOut { code } => {
                let _ = writeln!(text, "    is dropped: {}", why(code));
            }
            SettingFate::Overruled { code } => {
                let _ = writeln!(text, "    is removed: {}", why(code));
            }
            SettingFate::Stays => text.push_str("    is kept as it is\n"),
        }
    }
    text.push('\n');
}

/// Why a setting is not kept, and the finding that explains it.
fn why(code: &Code) -> String {
    let reason = match code.name {
        "ca-without-certificate" => {
            "the file holds no certificate, and in a hosts file it would fail every pull"
        }
        "certificate-directory" => "the directory that exists decides",
        "certificate-without-key" => {
            "a hosts file cannot have one half of a certificate and its key"
        }
        "dead-config-key" => "no endpoint has this host",
        "dead-mirror-key" => "no image comes from a registry of this name",
        "existing-hosts-file" => "the hosts file that exists decides",
        "inert-section" => "no containerd reads it there",
        "mixed-versions" | "other-plugin-id" | "section-shadowed" | "version-1"
        | "version-missing" => "the installed containerd does not read it there",
        "no-usable-endpoint" => "no containerd can ask these endpoints",
        "overridden-setting" => "a file that is read later sets it again",
        "same-as-default" => "containerd does the same without it",
        "several-config-paths" => "another directory decides",
        "skip-verify-on-http-endpoint" => {
            "plain HTTP has no certificate, and in a hosts file containerd would try HTTPS first"
        }
        "tls-ignored-today" => "the installed containerd ignores it",
        "tls-on-http-endpoint" => {
            "certificates do nothing on plain HTTP, and in a hosts file containerd would try HTTPS first"
        }
        "unknown-key" => "no containerd reads this key",
        "unparsable-endpoint" => "containerd cannot parse this endpoint",
        "unreachable-endpoint" => "no containerd can ask this endpoint",
        _ => code.meaning,
    };
    format!("{reason} [{}]", code.name)
}

fn summary(report: &Report, text: &mut String) {
    let count = |action| {
        let of_it = |file: &&FileChange| file.action == action;
        report.files.iter().filter(of_it).count()
    };
    let _ = writeln!(
        text,
        "{} to create, {} to change",
        files(count(Action::Create)),
        files(count(Action::Change))
    );
    let at_once = |file: &FileChange| file.takes_effect == TakesEffect::AtOnce;
    if report.files.iter().any(at_once) && report.files.len() > 1 {
        text.push_str(
            "config_path is in effect already: hosts files take effect as soon as they are written\n",
        );
    }
    text.push_str(if report.restart_needed {
        "Restart: containerd reads its configuration when it starts (systemctl restart containerd); running pods are \
         not touched\n"
    } else {
        "Restart: not needed\n"
    });
}

fn files(count: usize) -> String {
    format!("{count} {}", if count == 1 { "file" } else { "files" })
}

/// What is to be said of files that are put back without a restart of containerd.
pub(super) const UNTIL_RESTART: &str = "until then pulls bypass all mirrors";

/// What came of a command that changes the node.
pub fn result(report: &Report) -> String {
    match (report.outcome, report.run) {
        (Outcome::Applied, Some(run)) => applied(report, run),
        (Outcome::RolledBack, Some(run)) => rolled_back(report, run),
        _ => String::new(),
    }
}

fn applied(report: &Report, run: u32) -> String {
    let mut text = format!("Written: {} (run {run})\n", files(report.files.len()));
    let changed = report.changed_configuration();
    let paths = |paths: &mut dyn Iterator<Item = &str>| {
        let paths: Vec<String> = paths.map(printable).collect();
        paths.join(" and ")
    };
    let mut steps = Vec::new();
    if report.restarted {
        text.push_str("Restarted: CRI is up\n");
    } else if report.restart_needed {
        let main = &report.config.path;
        let mut names = changed.iter().map(|path| {
            if *path == main {
                path.name()
            } else {
                path.as_str()
            }
        });
        steps.push(format!(
            "Restart containerd, which reads {} when it starts; running pods are not touched:\n     \
             systemctl restart containerd",
            paths(&mut names)
        ));
        steps.push("Check that CRI is up: crictl info".to_owned());
    }
    steps.push(format!(
        "Pull an image through it: crictl pull {}/<image>\n     \
         (not with ctr, which does not read these settings)",
        printable(&report.example())
    ));
    let mut changed = changed.iter().map(|path| path.as_str());
    let rendered = match changed.len() {
        0 => printable(report.config.path.as_str()),
        _ => paths(&mut changed),
    };
    steps.push(format!(
        "Change whatever renders {rendered} on this node: `mirrors` beside config_path stop CRI at its next restart"
    ));
    text.push_str("\nNext:\n");
    for (number, step) in (1..).zip(steps) {
        let _ = writeln!(text, "  {number}. {step}");
    }
    if let Some(command) = &report.way_back {
        let _ = writeln!(text, "To go back: {command}");
    }
    text
}

fn rolled_back(report: &Report, run: u32) -> String {
    let mut text = format!("\nRolled back run {run}: {}\n", files(report.files.len()));
    if report.restarted {
        text.push_str("Restarted: CRI is up\n");
    } else if report.restart_needed {
        let _ = writeln!(
            text,
            "Restart containerd now (systemctl restart containerd): {UNTIL_RESTART}"
        );
    }
    text
}

/// The list of runs.
fn runs(runs: &[RunRow]) -> String {
    let mut text = String::new();
    if !runs.is_empty() {
        text.push_str(" RUN  BEGUN                 FILES  STATE        PLAN\n");
    }
    for run in runs {
        let begun = if run.begun.is_empty() {
            "(not known)"
        } else {
            &printable(&run.begun)
        };
        let state = run.state.to_string();
        let _ = writeln!(
            text,
            "{:>4}  {begun:<20}  {:>5}  {state:<11}  {}",
            run.run,
            run.files.len(),
            printable(&run.digest)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::RunState;

    #[test]
    fn no_text_of_a_journal_makes_a_line_of_its_own() {
        const FORGED: &str = "x\n1  forged\r\u{1b}[2J\u{9b}1m\u{202e}\u{2028}y";
        let text = runs(&[RunRow {
            run: 1,
            state: RunState::Applied,
            begun: FORGED.to_owned(),
            tool: FORGED.to_owned(),
            digest: FORGED.to_owned(),
            from: None,
            files: Vec::new(),
        }]);
        assert_eq!(text.lines().count(), 2, "{text}");
        let harmful = ['\r', '\u{1b}', '\u{9b}', '\u{202e}', '\u{2028}'];
        assert!(!text.contains(harmful), "{text:?}");
    }
}
