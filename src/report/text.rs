//! The report in words: what the plan is for, the diff, the pull table, what becomes of every setting.

use std::fmt::Write;

use super::diff::Diff;
use crate::containerd::host::Pulls;
use crate::plan::{Fate, Plan, Wanted};
use crate::read::Inputs;
use crate::secret::shown_url;

/// The report of a plan with changes, up to the summary with its digest.
pub fn render(inputs: &Inputs, plan: &Plan, diff: &Diff, digest: &str) -> String {
    let mut text = String::new();
    let config = &inputs.options.config;
    let version = match (plan.converts, inputs.file_version()) {
        (true, _) => "version 1, converted to 2".to_owned(),
        (false, 0) => "no version".to_owned(),
        (false, version) => format!("version {version}"),
    };
    let _ = writeln!(text, "Migration of {config} ({version})");
    let configuration = inputs.snapshot.configuration();
    let order = configuration.order(&inputs.behaviour());
    let imported = order.iter().flat_map(|order| &order.files).skip(1);
    for (number, index) in imported.enumerate() {
        if let Some(loaded) = configuration.files.get(*index) {
            let with = if number == 0 { "with" } else { "and" };
            let _ = writeln!(text, "{with} {}", loaded.file.path);
        }
    }
    let _ = writeln!(
        text,
        "Keeps what containerd {} does; upgrade to containerd {}\n",
        inputs.from, inputs.options.to
    );
    text.push_str(&diff.text);
    text.push_str("\nPulls: the hosts that containerd tries, in order\n");
    for namespace in &plan.namespaces {
        pulls(namespace, &mut text);
    }
    text.push_str("\nSettings\n");
    if plan.outcomes.is_empty() {
        text.push_str("  none of the legacy ones\n");
    }
    for outcome in &plan.outcomes {
        let _ = write!(text, "  {}", outcome.setting);
        let mut files = configuration
            .files
            .iter()
            .skip(1)
            .map(|loaded| &loaded.file);
        if let Some(file) = files.find(|file| file.id == outcome.place.file) {
            let _ = write!(text, " in {}", file.path);
        }
        text.push('\n');
        match &outcome.fate {
            Fate::Carried(files) => {
                for file in files {
                    let _ = writeln!(text, "    -> {file}");
                }
            }
            Fate::WithoutEffect(code) => {
                let _ = writeln!(text, "    without effect: {}", code.name);
            }
            Fate::LeftOut(code) => {
                let _ = writeln!(text, "    left out: {}", code.name);
            }
            Fate::Overruled(code) => {
                let _ = writeln!(text, "    a hosts file decides instead: {}", code.name);
            }
            Fate::Stays => text.push_str("    stays as it is\n"),
        }
    }
    text.push('\n');
    text.push_str(&summary(plan));
    let _ = writeln!(text, "Digest: {digest}");
    text
}

fn pulls(wanted: &Wanted, text: &mut String) {
    let name = if wanted.unnamed {
        "any other registry".to_owned()
    } else {
        shown_url(&wanted.name)
    };
    match wanted.changed {
        None => {
            let _ = writeln!(text, "  {name}: identical");
            hosts(wanted, &wanted.after, "    ", text);
        }
        Some(code) => {
            let _ = writeln!(text, "  {name}: changed: {}", code.name);
            text.push_str("    today\n");
            hosts(wanted, &wanted.before, "      ", text);
            text.push_str("    afterwards\n");
            hosts(wanted, &wanted.after, "      ", text);
        }
    }
}

fn hosts(wanted: &Wanted, pulls: &Pulls, indentation: &str, text: &mut String) {
    match pulls.folded() {
        Pulls::Hosts(hosts) => {
            for host in hosts {
                let mut host = host.to_string();
                if wanted.unnamed {
                    host = host.replace(&wanted.name, "<registry>");
                }
                let _ = writeln!(text, "{indentation}{host}");
            }
        }
        Pulls::Fail(reason) => {
            let _ = writeln!(text, "{indentation}every pull fails: {reason}");
        }
    }
}

fn summary(plan: &Plan) -> String {
    let new = plan
        .changes
        .iter()
        .filter(|change| change.before.is_none())
        .count();
    let changed = plan.changes.len() - new;
    let files = |count: usize| if count == 1 { "file" } else { "files" };
    let mut text = format!(
        "{new} {} to create, {changed} {} to change; nothing is written yet\n",
        files(new),
        files(changed)
    );
    if plan.hosts_files_take_effect && new + changed > 1 {
        text.push_str(
            "config_path is in effect already: hosts files count from the moment they are written\n",
        );
    }
    text
}
