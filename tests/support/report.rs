//! What a plan says, as data without its words: what golden files hold, so that a change of words or layout does not
//! change them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Ran;

/// The report of a `plan`, taken from what it printed.
pub fn report(plan: &Ran) -> Value {
    let pulls: Vec<Value> = pulls(&plan.stdout)
        .iter()
        .map(|pull| {
            let mut value = json!({ "namespace": pull.namespace, "afterwards": pull.afterwards });
            if let Some(change) = &pull.change {
                value["change"] = json!(change);
                value["today"] = json!(pull.today);
            }
            value
        })
        .collect();
    json!({
        "exit": plan.code,
        "findings": findings(&plan.stderr),
        "files": files(&plan.stdout),
        "pulls": pulls,
        "settings": settings(&plan.stdout),
    })
}

/// Where the images of a namespace are pulled from.
#[derive(Debug, Default)]
pub struct Pull {
    /// None for every registry that is not listed.
    pub namespace: Option<String>,
    /// The code of the finding that says why pulls change, if they do.
    pub change: Option<String>,
    pub today: Vec<String>,
    pub afterwards: Vec<String>,
}

/// The pull table of a printed plan.
pub fn pulls(plan: &str) -> Vec<Pull> {
    let mut pulls: Vec<Pull> = Vec::new();
    let mut is_today = false;
    for line in section(plan, "\nPulls: ", "\nSettings\n").lines().skip(1) {
        let Some(row) = line.strip_prefix("  ") else {
            continue;
        };
        let Some(pull) = pulls.last_mut().filter(|_| row.starts_with("  ")) else {
            let (namespace, change) = row
                .strip_suffix(": identical")
                .map(|namespace| (namespace, None))
                .or_else(|| {
                    let (namespace, code) = row.split_once(": changed")?;
                    Some((namespace, Some(code.trim_start_matches(": ").to_owned())))
                })
                .unwrap_or_else(|| panic!("neither identical nor changed: {row}"));
            pulls.push(Pull {
                namespace: (namespace != "any other registry").then(|| namespace.to_owned()),
                change,
                ..Pull::default()
            });
            is_today = false;
            continue;
        };
        match row.trim() {
            "today" => is_today = true,
            "afterwards" => is_today = false,
            host if is_today => pull.today.push(host.to_owned()),
            host => pull.afterwards.push(host.to_owned()),
        }
    }
    pulls
}

/// Level, code and place of each finding.
fn findings(stderr: &str) -> Vec<Value> {
    let mut findings: Vec<Value> = Vec::new();
    for line in stderr.lines() {
        if let Some((level, code)) = super::finding(line) {
            findings.push(json!({ "level": level, "code": code }));
        } else if let Some(place) = line.trim_start().strip_prefix("--> ")
            && let Some(finding) = findings.last_mut()
        {
            // The column is where the excerpt points; the place is file and line.
            let place = place.rsplit_once(':').map_or(place, |(place, _)| place);
            finding["place"] = json!(place);
        }
    }
    findings
}

/// The files of the diff, with what becomes of each.
fn files(plan: &str) -> BTreeMap<String, &'static str> {
    let lines: Vec<&str> = plan.lines().collect();
    let headers = lines.windows(3).filter_map(|lines| match lines {
        [old, new, hunk] if hunk.starts_with("@@ ") => {
            Some((old.strip_prefix("--- ")?, new.strip_prefix("+++ ")?))
        }
        _ => None,
    });
    headers
        .map(|(old, new)| match (old, new) {
            ("/dev/null", new) => (new.trim_start_matches('b').to_owned(), "created"),
            (old, "/dev/null") => (old.trim_start_matches('a').to_owned(), "removed"),
            (_, new) => (new.trim_start_matches('b').to_owned(), "changed"),
        })
        .collect()
}

/// What becomes of each setting: paths that it is carried to, codes of findings that say why it is not, or "stays".
fn settings(plan: &str) -> Vec<Value> {
    let mut settings: Vec<(String, Vec<String>)> = Vec::new();
    for line in section(plan, "\nSettings\n", "\nDigest: ").lines() {
        if let Some(outcome) = line.strip_prefix("    ") {
            let outcome = outcome
                .strip_prefix("-> ")
                .or_else(|| outcome.rsplit_once(": ").map(|(_, code)| code))
                .unwrap_or("stays");
            if let Some((_, outcomes)) = settings.last_mut() {
                outcomes.push(outcome.to_owned());
            }
        } else if let Some(setting) = line.strip_prefix("  ") {
            settings.push((setting.to_owned(), Vec::new()));
        }
    }
    settings
        .into_iter()
        .map(|(setting, becomes)| json!({ "setting": setting, "becomes": becomes }))
        .collect()
}

fn section<'text>(text: &'text str, start: &str, end: &str) -> &'text str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or(rest, |(section, _)| section)
}
