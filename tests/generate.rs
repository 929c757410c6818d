//! What the program makes of its own command line: manual pages and completions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use support::{run, scratch};

const NAME: &str = env!("CARGO_PKG_NAME");

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = run(["--help"]).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // A name stands at an indentation of two; what follows a long name is indented further.
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !matches!(*name, "" | "help"));
    names.map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let directory = scratch("generate-man").join("new/pages");
    let ran = run(["generate", "man", directory.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    let commands = commands();
    assert!(commands.contains("rollback"), "{commands:?}");
    for command in &commands {
        let page = directory.join(format!("{NAME}-{command}.8"));
        let page = fs::read_to_string(&page).unwrap_or_else(|_| panic!("no page for {command}"));
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH \"{section}\""))
                    || page.contains(&format!(".SH {section}\n")),
                "{command}: {section}\n{page}"
            );
        }
    }
    for page in fs::read_dir(&directory).unwrap() {
        let page = fs::read_to_string(page.unwrap().path()).unwrap();
        let entries = page.split(".TP\n").skip(1);
        for (name, text) in entries.filter_map(|entry| entry.split_once('\n')) {
            let meaning = text.lines().next().unwrap_or_default();
            assert!(
                !meaning.is_empty() && !meaning.starts_with('.'),
                "{name} has no description\n{page}"
            );
        }
    }
    let rollback = fs::read_to_string(directory.join(format!("{NAME}-rollback.8"))).unwrap();
    assert!(rollback.contains("\\-\\-restart\\-command"), "{rollback}");
    let program = fs::read_to_string(directory.join(format!("{NAME}.8"))).unwrap();
    assert!(program.contains("EXIT STATUS"), "{program}");
}

#[test]
fn a_directory_that_cannot_be_written_is_a_failure() {
    let file = scratch("generate-file").join("file");
    fs::write(&file, "").unwrap();
    let ran = run(["generate", "man", file.to_str().unwrap()]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains(file.to_str().unwrap()), "{ran:?}");
}

/// What bash offers for the last word, as its completion does: `bash -c COMPLETE bash SCRIPT WORD…`.
const COMPLETE: &str = r#"
source "$1"
shift
function=$(complete -p | sed 's/.*-F \([^ ]*\).*/\1/')
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"$function" "$1" "${!#}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_commands_and_options() {
    let script = scratch("generate-bash").join("completions");
    fs::write(&script, run(["generate", "completions", "bash"]).stdout).unwrap();
    let completed = |words: &[&str]| -> BTreeSet<String> {
        let mut command = Command::new("bash");
        command
            .args(["--norc", "-c", COMPLETE, "bash"])
            .arg(&script);
        let output = command.arg(NAME).args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let rollback = BTreeSet::from(["rollback".to_owned()]);
    assert_eq!(completed(&["roll"]), rollback);
    assert!(completed(&[""]).is_superset(&commands()));
    assert!(completed(&["rollback", "--restart-c"]).contains("--restart-command"));
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(["generate", "completions", shell]);
        assert_eq!(ran.code, 0, "{ran:?}");
        for command in commands() {
            assert!(ran.stdout.contains(&command), "{shell}: {command}");
        }
    }
    assert_eq!(run(["generate", "completions", "command.com"]).code, 2);
}
