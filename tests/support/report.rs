//! What a plan says, as data without its words: what golden files hold, so that a change of words or layout does not
//! change them.

use serde_json::{Map, Value, json};

/// What is kept of the report of a `plan`: all that is decided, and none of the texts.
pub fn golden(report: &Value) -> Value {
    let mut golden = Map::new();
    for key in ["outcome", "exit_code"] {
        golden.insert(key.to_owned(), report[key].clone());
    }
    let files = map(report, "files", |file| {
        without(file, &["diff", "kind", "masked", "mode"])
    });
    golden.insert("files".to_owned(), files);
    golden.insert("findings".to_owned(), map(report, "findings", finding));
    let pulls = map(report, "namespaces", |namespace| {
        let mut pulls = without(namespace, &["unnamed"]);
        for side in ["before", "after"] {
            pulls[side] = map(namespace, side, host);
        }
        // Why they fail is a text; that they do is not.
        for fails in ["before_fails", "after_fails"] {
            if pulls.get(fails).is_some() {
                pulls[fails] = json!(true);
            }
        }
        if pulls["same"] == true && pulls["before"] == pulls["after"] {
            pulls.as_object_mut().unwrap().remove("before");
        }
        pulls
    });
    golden.insert("namespaces".to_owned(), pulls);
    // It follows from the setting's name.
    let settings = map(report, "settings", |setting| {
        without(setting, &["deprecation"])
    });
    golden.insert("settings".to_owned(), settings);
    let questions = map(report, "questions", |question| {
        let answers = map(question, "answers", |answer| answer["option"].clone());
        json!({ "code": question["code"], "answers": answers })
    });
    golden.insert("questions".to_owned(), questions);
    golden.retain(|_, value| value.as_array().is_none_or(|array| !array.is_empty()));
    Value::Object(golden)
}

/// The codes of the findings of a report, sorted.
pub fn codes(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let code = |finding: &Value| finding["code"].as_str().unwrap().to_owned();
    let mut codes: Vec<String> = findings.map(code).collect();
    codes.sort();
    codes
}

/// The URLs of the hosts that are tried for a namespace after the migration; `None` if the report does not say.
pub fn urls_after(report: &Value, namespace: &str) -> Option<Vec<String>> {
    let namespaces = report["namespaces"].as_array()?;
    let named = |name: Value| namespaces.iter().find(|row| row["name"] == name);
    let row = named(json!(namespace)).or_else(|| named(Value::Null))?;
    let hosts = row["after"].as_array()?.iter();
    let url = |host: &Value| {
        host["url"]
            .as_str()
            .unwrap()
            .replace("<registry>", namespace)
    };
    Some(hosts.map(url).collect())
}

/// Code, severity and place of a finding.
fn finding(finding: &Value) -> Value {
    let (code, severity) = (finding["code"].as_str(), finding["severity"].as_str());
    let text = format!("{}[{}]", severity.unwrap(), code.unwrap());
    match finding["file"].as_str() {
        Some(file) => json!(format!("{text} {file}:{}", finding["line"])),
        None => json!(text),
    }
}

/// A host without what every ordinary one has: its URL alone, if that is all that there is to it.
fn host(host: &Value) -> Value {
    let mut host = host.as_object().unwrap().clone();
    host.retain(|key, value| match key.as_str() {
        "pull" | "resolve" => value != true,
        _ => value != false && *value != json!([]),
    });
    match host.get("url") {
        Some(url) if host.len() == 1 => url.clone(),
        _ => Value::Object(host),
    }
}

fn map(value: &Value, key: &str, each: impl Fn(&Value) -> Value) -> Value {
    let array = value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} in {value}"));
    Value::Array(array.iter().map(each).collect())
}

fn without(value: &Value, keys: &[&str]) -> Value {
    let mut object = value.as_object().unwrap().clone();
    object.retain(|key, _| !keys.contains(&key.as_str()));
    Value::Object(object)
}
