//! The report as a section of a ticket or of a job's summary, for GitHub, GitLab and importers of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::check::removal;
use super::fold::{self, Detail};
use super::images::{self, ImageHost, ImageHosts, ImagePull};
use super::text::{UNTIL_RESTART, changed_on};
use super::{
    Action, Command, NamespacePulls, Outcome, Question, ReleaseRow, Report, RunRow, ShownFinding,
    UsedVersion, text, transaction,
};
use crate::check::Verdict;
use crate::containerd::host::ShownHost;
use crate::containerd::release::ranges;
use crate::containerd::trace::Source;
use crate::finding::Severity;
use crate::markdown::{cell, code, fence, prose, prose_cell, table};

/// A job's summary has room for 1 MiB. What is before the diff is small; the diff gets what is left.
const LONGEST: usize = 900_000;
/// So many rows of a table are shown.
const ROWS: usize = 200;
/// So many findings of one code are listed.
const LISTED: usize = 50;

/// Everything that the report says.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut text = format!("{}\n", summary(report));
    notes(report, &mut text);
    questions(&report.questions, &mut text);
    reasons(report, &mut text);
    runs(report.runs.as_deref().unwrap_or_default(), &mut text);
    pulls(&report.namespaces, detail, &mut text);
    releases(&report.releases, &mut text);
    for image in &report.images {
        hosts_of(image, &mut text);
    }
    findings(&report.findings, &mut text);
    let mut end = String::new();
    commands(report, &mut end);
    let room = LONGEST.saturating_sub(text.len() + end.len());
    diff(report, detail, room, &mut text);
    trim(&mut text);
    text + &end
}

/// Sentences, and what belongs to them: a diff, or what a command has printed.
fn notes(report: &Report, text: &mut String) {
    for note in &report.notes {
        let mut block = String::new();
        for (number, line) in note.lines().enumerate() {
            let (title, sentence) = match line.split_once(": ") {
                Some(("note", rest)) => ("Note", rest),
                Some(("warning", rest)) => ("Warning", rest),
                _ if number == 0 && !line.starts_with(transaction::PRINTED) && !is_diff(note) => {
                    ("Note", line)
                }
                _ => {
                    let line = line.strip_prefix(transaction::PRINTED).unwrap_or(line);
                    let _ = writeln!(block, "{line}");
                    continue;
                }
            };
            push_block(&mut block, text);
            let _ = writeln!(text, "\n{title}: {}", prose(sentence));
        }
        push_block(&mut block, text);
    }
}

fn is_diff(note: &str) -> bool {
    note.starts_with("--- ")
}

fn push_block(block: &mut String, text: &mut String) {
    if !block.is_empty() {
        let _ = write!(text, "\n{}", fence("text", block));
        block.clear();
    }
}

/// The list of runs.
fn runs(runs: &[RunRow], text: &mut String) {
    if runs.is_empty() {
        return;
    }
    heading("Runs", text);
    let row = |run: &RunRow| {
        let known = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                cell(text)
            }
        };
        [
            run.run.to_string(),
            known(&run.begun),
            run.files.len().to_string(),
            run.state.to_string(),
            known(&run.digest),
        ]
    };
    let heading = ["run", "begun", "files", "state", "plan"];
    text.push_str(&table(heading, runs.iter().map(row)));
}

/// What came of it, in one line.
fn summary(report: &Report) -> String {
    let config = code(report.config.path.as_str());
    let upgrade = upgrade(report);
    match report.outcome {
        Outcome::Nothing if report.command == Command::Rollback => match &report.runs {
            Some(runs) if runs.len() == 1 => "**1 run**.".to_owned(),
            Some(runs) => format!("**{} runs**.", runs.len()),
            None => "**Nothing to roll back**.".to_owned(),
        },
        Outcome::Nothing => format!("**Nothing to migrate** in {config}{upgrade}."),
        Outcome::Applied => format!("**Applied** to {config}{upgrade}."),
        Outcome::RolledBack => match report.run {
            Some(run) => format!("**Rolled back**: run {run}."),
            None => "**Rolled back**.".to_owned(),
        },
        // It is asked for, and about to be done.
        Outcome::Changes if report.command == Command::Rollback => {
            let run = report
                .run
                .map(|run| format!("run {run}, "))
                .unwrap_or_default();
            format!("**To be rolled back**: {run}{}.", files(report))
        }
        Outcome::Changes => {
            let changed = report.namespaces.iter().filter(|pulls| !pulls.same).count();
            let pulls = match changed {
                0 => "pulls stay the same".to_owned(),
                1 => "the pulls of 1 registry change".to_owned(),
                _ => format!("the pulls of {changed} registries change"),
            };
            let files = files(report);
            let what = match is_head(report) {
                true => "**To be applied** to",
                false => "**Changes pending** in",
            };
            format!("{what} {config}{upgrade}: {files}; {pulls}.")
        }
        Outcome::Refused => {
            let is_error = |finding: &&ShownFinding| finding.severity == Severity::Error;
            let errors = report.findings.iter().filter(is_error).count();
            let why = match (&report.error, errors) {
                (Some(error), _) => prose(error),
                (None, 1) => "1 finding is in the way".to_owned(),
                (None, _) => format!("{errors} findings are in the way"),
            };
            format!("**Refused**, nothing was written to {config}{upgrade}: {why}.")
        }
        Outcome::Ready => format!("**Ready**: {config} can stay as it is{upgrade}."),
        Outcome::NotReady => format!("**Not ready**: {config} cannot stay as it is{upgrade}."),
        Outcome::Shown => format!("**Hosts** with {config}{upgrade}."),
        Outcome::Failed => {
            let why = report.error.as_deref().map(prose).unwrap_or_default();
            format!("**Failed**: {why}.")
        }
    }
}

/// Whether the report is about what a command is about to do.
fn is_head(report: &Report) -> bool {
    report.outcome == Outcome::Changes
        && matches!(report.command, Command::Apply | Command::Rollback)
}

/// `, containerd 1.7.35 (assumed) to 2.4.2`; nothing where no upgrade is planned.
fn upgrade(report: &Report) -> String {
    if report.command == Command::Rollback {
        return String::new();
    }
    let version = |used: &UsedVersion, is_said: bool| {
        let assumed = if used.assumed && is_said {
            " (assumed)"
        } else {
            ""
        };
        format!("{}{assumed}", used.version)
    };
    let to: Vec<String> = report
        .versions
        .to
        .iter()
        .map(|to| version(to, false))
        .collect();
    match &report.versions.from {
        Some(from) if report.versions.is_reached() => {
            format!(", containerd {}", version(from, true))
        }
        Some(from) => format!(", containerd {} to {}", version(from, true), to.join(", ")),
        None => String::new(),
    }
}

fn files(report: &Report) -> String {
    let count = |action| {
        let files = report.files.iter();
        files.filter(|file| file.action == action).count()
    };
    let counts = [
        (count(Action::Create), "create"),
        (count(Action::Change), "change"),
        (count(Action::Remove), "remove"),
    ];
    // A plan removes no file, and a rollback seldom does all three.
    let is_shown = |(count, action): &(usize, &str)| {
        *count > 0 || report.command != Command::Rollback && *action != "remove"
    };
    let shown = counts.into_iter().filter(is_shown);
    let shown = shown.map(|(count, action)| {
        let files = if count == 1 { "file" } else { "files" };
        format!("{count} {files} to {action}")
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// What came of a command that changes the node.
pub fn result(report: &Report) -> String {
    let mut text = String::new();
    heading("Result", &mut text);
    if is_head(report) {
        text.push_str("Answered no: nothing was written.\n");
        return text;
    }
    let _ = writeln!(text, "{}", summary(report));
    notes(report, &mut text);
    let result = text::result(report);
    if result.is_empty() {
        next(report, &mut text);
    } else {
        let _ = writeln!(text, "\n{}", fence("text", result.trim_start()));
    }
    text
}

/// Takes away empty lines at the end.
fn trim(text: &mut String) {
    let end = text.trim_end_matches('\n').len();
    text.truncate(end);
    text.push('\n');
}

fn heading(title: &str, text: &mut String) {
    if !text.is_empty() {
        trim(text);
    }
    let _ = writeln!(text, "\n### {title}\n");
}

fn questions(questions: &[Question], text: &mut String) {
    if questions.is_empty() {
        return;
    }
    heading("Questions", text);
    for question in questions {
        let (name, option) = (code(question.code.name), code(&question.option));
        let _ = writeln!(text, "{name} is answered with {option}:\n");
        for answer in &question.answers {
            let _ = writeln!(text, "{}:\n", prose(&answer.differs));
            let _ = writeln!(text, "{}", fence("sh", &answer.command));
        }
    }
}

/// Why a node is not ready.
fn reasons(report: &Report, text: &mut String) {
    if !report.not_ready.is_empty() {
        heading("Reasons", text);
    }
    for reason in report.not_ready.iter().take(ROWS) {
        let _ = writeln!(text, "- {}", prose(reason));
    }
    more(report.not_ready.len().saturating_sub(ROWS), "reasons", text);
    if let Some(removal) = removal(report) {
        let _ = writeln!(text, "\n{}", prose(&removal));
    }
    if let Some(remark) = &report.remark {
        let _ = writeln!(text, "\nNot compared: {}", prose(remark));
    }
}

fn more(count: usize, of: &str, text: &mut String) {
    if count > 0 {
        let _ = writeln!(text, "\n{count} more {of} are not shown.");
    }
}

fn pulls(namespaces: &[NamespacePulls], detail: Detail, text: &mut String) {
    if namespaces.is_empty() {
        return;
    }
    heading("Pulls", text);
    let is_row = |pulls: &&NamespacePulls| !pulls.same || detail == Detail::All;
    let (rows, folded): (Vec<_>, Vec<_>) = namespaces.iter().partition(is_row);
    if !rows.is_empty() {
        let limit = if detail == Detail::All {
            rows.len()
        } else {
            ROWS
        };
        let row = |pulls: &&NamespacePulls| {
            let changed = match pulls.changed_by {
                Some(code) => format!("changed{}: {}", changed_on(pulls), cell(code.name)),
                None if pulls.same => "unchanged".to_owned(),
                None => "changed".to_owned(),
            };
            [
                registry(pulls, cell),
                hosts(&pulls.before, pulls.before_fails.as_deref()),
                hosts(&pulls.after, pulls.after_fails.as_deref()),
                changed,
            ]
        };
        let heading = ["registry", "hosts before", "hosts after", ""];
        text.push_str(&table(heading, rows.iter().take(limit).map(row)));
        more(
            rows.len().saturating_sub(limit),
            "registries whose pulls change",
            text,
        );
    }
    if folded.is_empty() {
        return;
    }
    let names = folded.iter().take(fold::UNCHANGED);
    let mut names: Vec<String> = names.map(|pulls| registry(pulls, code)).collect();
    if let Some(more @ 1..) = folded.len().checked_sub(fold::UNCHANGED) {
        names.push(format!("{more} more"));
    }
    let same = if rows.is_empty() { "" } else { "\n" };
    let _ = writeln!(
        text,
        "{same}Unchanged pulls: {} ({}).",
        folded.len(),
        names.join(", ")
    );
}

fn registry(pulls: &NamespacePulls, code: impl Fn(&str) -> String) -> String {
    match &pulls.name {
        Some(name) => code(name),
        None => "any other registry".to_owned(),
    }
}

fn hosts(hosts: &[ShownHost], fails: Option<&str>) -> String {
    match fails {
        Some(reason) => format!("every pull fails: {}", prose_cell(reason)),
        None => {
            let hosts: Vec<String> = hosts.iter().map(|host| cell(&host.to_string())).collect();
            hosts.join(", then ")
        }
    }
}

fn releases(releases: &[ReleaseRow], text: &mut String) {
    if releases.is_empty() {
        return;
    }
    heading("Releases", text);
    let verdict = |verdict: &Verdict| {
        let reason = prose_cell(&verdict.reason);
        format!("{}: {reason}", verdict.condition.phrase())
    };
    let row = |row: &ReleaseRow| {
        let after = row.after.as_ref().map(verdict);
        [
            ranges(row.versions.clone()),
            verdict(&row.today),
            after.unwrap_or_else(|| "no plan".to_owned()),
        ]
    };
    let heading = ["containerd", "today", "after the migration"];
    text.push_str(&table(heading, releases.iter().map(row)));
}

/// The hosts of an image.
fn hosts_of(image: &ImageHosts, text: &mut String) {
    heading(&code(&image.reference), text);
    for (number, release) in image.releases.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        let versions = ranges(release.versions.clone());
        let _ = writeln!(text, "containerd {versions}, today:");
        pull(&release.today, text);
        let _ = write!(text, "\ncontainerd {versions}, after the migration: ");
        match &release.after {
            None => text.push_str("no plan can be written, see `plan`.\n"),
            Some(after) if *after == release.today => text.push_str("no change.\n"),
            Some(after) => {
                let _ = writeln!(text, "{}.", images::effect(release.same));
                pull(after, text);
            }
        }
    }
}

fn pull(pull: &ImagePull, text: &mut String) {
    let files = images::hosts_files(&pull.hosts_files);
    let _ = writeln!(text, "\nHosts files: {}.", prose(&files));
    if let Some(reason) = &pull.fails {
        let _ = writeln!(text, "\nEvery pull fails: {}.", prose(reason));
    }
    if pull.hosts.is_empty() {
        return;
    }
    let row = |(number, host): (usize, &ImageHost)| {
        let requests: Vec<String> = host.requests.iter().map(|url| cell(url)).collect();
        let requests = match requests.is_empty() {
            true => format!("{} is not asked", cell(&host.host.url)),
            false => requests.join(", then "),
        };
        let tls = images::tls(&host.host);
        let tls = tls.map(|tls| cell(&tls)).into_iter();
        let from = |source: &Source| format!("from {}", cell(&images::source(source)));
        let tls = tls.chain(host.tls_source.as_ref().map(from));
        let credentials = host.credentials.as_ref();
        let credentials = credentials.map(|found| {
            let keys = found.keys.join(" and ");
            format!("{} {}", cell(&keys), from(&found.source))
        });
        [
            number.to_string(),
            requests,
            prose_cell(&images::source(&host.source)),
            tls.collect::<Vec<_>>().join(" "),
            credentials.unwrap_or_default(),
        ]
    };
    let heading = ["", "request", "from", "TLS", "credentials"];
    let _ = write!(
        text,
        "\n{}",
        table(heading, (1..).zip(&pull.hosts).map(row))
    );
}

fn findings(findings: &[ShownFinding], text: &mut String) {
    for (severity, title) in [
        (Severity::Error, "Errors"),
        (Severity::Warning, "Warnings"),
        (Severity::Note, "Notes"),
    ] {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let of_it = findings.iter().filter(|found| found.severity == severity);
        for (number, found) in of_it.enumerate() {
            if number == 0 {
                heading(title, text);
            }
            let count = counts.entry(found.code.name).or_default();
            *count += 1;
            if *count <= LISTED {
                finding(found, text);
            }
        }
        for (name, count) in counts {
            let of = format!("findings {}", code(name));
            more(count.saturating_sub(LISTED), &of, text);
        }
    }
}

/// A finding as an item of a list: what is wrong, and what to do in a paragraph of its own.
fn finding(finding: &ShownFinding, text: &mut String) {
    let _ = write!(text, "- {}", code(finding.code.name));
    if let Some(position) = &finding.position {
        let place = format!("{}:{}", position.file, position.line);
        let _ = write!(text, " at {}", code(&place));
    }
    let _ = writeln!(text, ": {}", prose(&finding.message));
    if !finding.help.is_empty() {
        let _ = writeln!(text, "\n  {}", prose(&finding.help));
    }
}

fn diff(report: &Report, detail: Detail, room: usize, text: &mut String) {
    if report.files.is_empty() {
        return;
    }
    heading("Diff", text);
    if report.files.iter().any(|file| file.masked) {
        text.push_str("Secrets are masked; this diff cannot be applied with `patch`.\n\n");
    }
    let mut room = match detail {
        Detail::Folded => room,
        Detail::All => usize::MAX,
    };
    let mut not_shown = 0;
    for group in fold::files(&report.files, detail) {
        if group.file.diff.len() > room {
            room = 0;
            not_shown += 1 + group.alike.len();
            continue;
        }
        room -= group.file.diff.len();
        let _ = writeln!(text, "{}", fence("diff", &group.file.diff));
        let names: Vec<String> = group.names().map(|name| code(&name)).collect();
        if !names.is_empty() {
            let _ = writeln!(
                text,
                "The same, each with its own name, for {}.\n",
                names.join(", ")
            );
        }
    }
    if not_shown > 0 {
        let _ = writeln!(
            text,
            "The diffs of {not_shown} files are too long for this text; `--format diff` prints them.\n"
        );
    }
}

/// What is approved, and the commands to continue with; a command that is at work needs none.
fn commands(report: &Report, text: &mut String) {
    if is_head(report) {
        if let Some(digest) = &report.digest {
            let _ = writeln!(text, "\nDigest: {}", code(digest));
        }
        return;
    }
    if let Some(digest) = &report.digest {
        heading("Commands", text);
        let _ = writeln!(text, "Digest: {}", code(digest));
        let restart = match report.restart_needed {
            true => {
                "containerd reads its configuration when it starts: `apply --restart`, or \
                 `systemctl restart containerd` after `apply`; running pods are not touched."
            }
            false => "not needed.",
        };
        let _ = writeln!(text, "\nRestart: {restart}");
    }
    next(report, text);
}

fn next(report: &Report, text: &mut String) {
    for command in report.next.iter().chain(&report.way_back) {
        let mut words = command.split(' ').skip(1);
        let label = match words.next() {
            Some("apply") => "Apply",
            Some("hosts" | "check" | "info") => "Verify",
            Some("rollback") => "Roll back",
            _ => "Next",
        };
        let _ = writeln!(text, "\n{label}:\n\n{}", fence("sh", command).trim_end());
        if label == "Roll back" {
            let restart = match report.restart_needed && !command.contains(" --restart") {
                true => format!("Restart containerd right after it: {UNTIL_RESTART}. "),
                false => String::new(),
            };
            let _ = writeln!(
                text,
                "\n{restart}If containerd was upgraded meanwhile, downgrade it first."
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Findings;
    use crate::node::NodePath;
    use crate::plan::FileKind;
    use crate::read::Sources;
    use crate::report::build::Basis;
    use crate::report::{FileChange, TakesEffect};
    use crate::request::Request;

    /// A plan that creates files with diffs of these lengths.
    fn report(lengths: &[usize]) -> Report {
        let basis = Basis {
            command: Command::Plan,
            request: &Request::default(),
            inputs: None,
            findings: &Findings::default(),
            sources: &Sources::default(),
            questions: &[],
            config: None,
        };
        let mut report = basis.refused();
        report.outcome = Outcome::Changes;
        report.digest = Some("0".repeat(64));
        let numbered = lengths.iter().enumerate();
        let files = numbered.map(|(number, length)| FileChange {
            path: NodePath::new(&format!("/c/{number}.example/hosts.toml")),
            named: None,
            kind: FileKind::HostsFile,
            action: Action::Create,
            mode: None,
            takes_effect: TakesEffect::AfterRestart,
            diff: format!("+{}\n", "x".repeat(*length)),
            masked: false,
        });
        report.files = files.collect();
        report
    }

    #[test]
    fn what_does_not_fit_a_jobs_summary_is_counted() {
        let large = report(&[400_000, 400_001, 400_002, 1]);
        let text = render(&large, Detail::Folded);
        assert!(text.len() < 1 << 20, "{}", text.len());
        assert!(text.contains("The diffs of 2 files are too long"));
        assert!(text.contains(&"0".repeat(64)));
        let all = render(&large, Detail::All);
        assert!(all.len() > 1_200_000 && !all.contains("too long"));
    }

    #[test]
    fn hosts_files_that_are_alike_are_shown_once_with_their_names() {
        let text = render(&report(&[9, 9, 9]), Detail::Folded);
        assert_eq!(text.matches("```diff").count(), 1, "{text}");
        assert!(text.contains("for `1.example`, `2.example`."), "{text}");
    }
}
