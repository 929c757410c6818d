//! JSON documents and their schema.

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::on_every_fixture;
use crate::support::{self, Ran, run, run_on};

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");

fn schema() -> Value {
    serde_json::from_str(&run(["generate", "schema"]).stdout).unwrap()
}

/// The schema without its promise that fields may be added: a field that it does not list is an error.
pub(crate) fn strict() -> Validator {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(object) => {
                object.values_mut().for_each(close);
                if object.contains_key("properties") {
                    object.insert("additionalProperties".to_owned(), json!(false));
                }
            }
            Value::Array(array) => array.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema = schema();
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

/// The document that a command printed, if it is one and all else is as it must be.
pub(crate) fn document(ran: &Ran, validator: &Validator) -> Result<Value, String> {
    let document: Value = serde_json::from_str(&ran.stdout)
        .map_err(|error| format!("{error}: {}{}", ran.stdout, ran.stderr))?;
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    if !ran.stderr.is_empty() {
        return Err(format!("stderr: {}", ran.stderr));
    }
    let outcome = document["outcome"].as_str().unwrap_or_default();
    let codes: &[i32] = match outcome {
        "nothing" | "ready" | "applied" | "rolled-back" | "shown" => &[0],
        "changes" | "not-ready" => &[1],
        "refused" => &[3],
        "failed" => &[4, 5],
        _ => return Err(format!("outcome {outcome}")),
    };
    if document["exit_code"] != ran.code || !codes.contains(&ran.code) {
        return Err(format!("exit {} with {outcome}", ran.code));
    }
    Ok(document)
}

#[test]
fn the_schema_is_current() {
    let printed = run(["generate", "schema"]);
    assert_eq!((printed.code, &*printed.stderr), (0, ""));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(SCHEMA, &printed.stdout).unwrap();
    }
    let kept = fs::read_to_string(SCHEMA).unwrap_or_default();
    assert!(
        kept == printed.stdout,
        "docs/report.schema.json is not what `generate schema` prints: UPDATE=1 writes it"
    );
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let fixture = support::fixture("private-http-registry");
    let ran = run_on(&fixture, &fixture.node(), &["plan", "--format", "json"]);
    let document = document(&ran, &strict()).unwrap();
    let open = jsonschema::validator_for(&schema()).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    assert!(open.is_valid(&document));
    for (pointer, value) in [
        ("/outcome", json!("done")),
        ("/exit_code", json!("1")),
        ("/files/0/action", json!("burn")),
        ("/files/0/path", json!("relative")),
        ("/versions/from/version", json!("latest")),
        ("/namespaces/0/after/0", json!("https://m.example")),
        ("/settings/0/outcome/kind", json!("lost")),
    ] {
        assert!(!open.is_valid(&with(pointer, value)), "{pointer}");
    }
    let mut later = document.clone();
    later["added_later"] = json!(1);
    assert!(open.is_valid(&later) && !strict().is_valid(&later));
}

#[test]
fn every_document_is_valid_and_agrees_with_the_exit_code() {
    let validator = strict();
    on_every_fixture(|fixture| {
        for (command, exit) in [("plan", Some(fixture.exit)), ("check", fixture.check)] {
            let ran = run_on(fixture, &fixture.node(), &[command, "--format", "json"]);
            let in_command = |error: String| format!("{command}: {error}");
            let document = document(&ran, &validator).map_err(in_command)?;
            if document["command"] != command {
                return Err(in_command(format!("command {}", document["command"])));
            }
            if exit.is_some_and(|exit| exit != ran.code) {
                return Err(in_command(format!("exit {}", ran.code)));
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_written_and_undone_is_a_document_too() {
    let validator = strict();
    let scratch = support::MemoryScratch::new("formats-written");
    on_every_fixture(|fixture| {
        let root = scratch.join(fixture.name.replace('/', "-") + fixture.run_name());
        support::copy_tree(&fixture.node(), &root);
        let checked = |command: &str, ran: &Ran, outcome: &[&str]| {
            let in_command = |error: String| format!("{command}: {error}");
            let document = document(ran, &validator).map_err(in_command)?;
            let is_it = outcome
                .iter()
                .any(|outcome| document["outcome"] == *outcome);
            match is_it && document["command"] == command {
                true => Ok(()),
                false => Err(in_command(document.to_string())),
            }
        };
        let applied = run_on(fixture, &root, &["apply", "--yes", "--format", "json"]);
        let outcome = match fixture.exit {
            0 => "nothing",
            1 => "applied",
            3 => "refused",
            _ => "failed",
        };
        checked("apply", &applied, &[outcome])?;
        let root = root.to_str().unwrap();
        let rollback = |option: &str| run(["rollback", option, "--root", root, "--format", "json"]);
        checked("rollback", &rollback("--list"), &["nothing", "shown"])?;
        let undone = match outcome {
            "applied" => "rolled-back",
            _ => "nothing",
        };
        checked("rollback", &rollback("--yes"), &[undone])
    });
}

#[test]
fn a_node_that_cannot_be_read_is_a_document_too() {
    let root = support::scratch("formats-no-config");
    let root = Path::new(&root).to_str().unwrap();
    for command in ["plan", "check"] {
        let ran = run([command, "--root", root, "--format", "json"]);
        let document = document(&ran, &strict()).unwrap();
        assert_eq!(document["outcome"], "failed", "{document}");
        assert!(
            document["error"].as_str().unwrap().contains("config.toml"),
            "{document}"
        );
    }
}
