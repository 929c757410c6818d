//! The edges of the command line: exit codes, streams, questions, secrets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{PROGRAM, copy_tree, run, scratch, tree_difference};

fn private_http_registry() -> PathBuf {
    support::fixture("private-http-registry").path
}

/// A node with this config.toml.
fn node(name: &str, config: &str) -> PathBuf {
    let root = scratch(name);
    fs::create_dir_all(root.join("etc/containerd")).unwrap();
    fs::write(root.join("etc/containerd/config.toml"), config).unwrap();
    root
}

const MIRROR: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m.example\"]\n";

#[test]
fn a_missing_config_is_a_failure_and_not_nothing_to_do() {
    let root = scratch("cli-empty");
    let ran = run(["plan", "--root", root.to_str().unwrap()]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.stdout.is_empty() && ran.stderr.contains("/etc/containerd/config.toml"),
        "{ran:?}"
    );
    let ran = run(["plan", "--root", "/no/such/root"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    fs::create_dir_all(root.join("etc/containerd/config.toml")).unwrap();
    let ran = run(["plan", "--root", root.to_str().unwrap()]);
    assert_eq!(ran.code, 4, "a directory is no config: {ran:?}");
}

#[test]
fn an_argument_forges_no_line_of_a_usage_error() {
    for arguments in [
        ["hosts", "a\nerror: forged"],
        ["plan", "--from=x\nerror: forged\u{1b}[2J"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2);
        assert!(
            !ran.stderr
                .lines()
                .any(|line| line.starts_with("error: forged")),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
    }
}

#[test]
fn a_list_of_digests_that_does_not_end_is_refused() {
    let ran = run([
        "apply",
        "--expect-from",
        "/dev/zero",
        "--root",
        "fixtures/mirrors/private-http-registry/node",
    ]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("has more than 1048576 bytes"),
        "{}",
        ran.stderr
    );
}

#[test]
fn usage_errors_are_exit_2_and_old_versions_are_refused() {
    let root = node("cli-usage", MIRROR);
    let root = root.to_str().unwrap();
    for args in [
        &["--from", "2.1", "--to", "1.7"][..],
        &["--from", "latest"],
        &["--allow", "no-such-code"],
        &["--allow", "wrong-type"],
        &["--allow", "existing-hosts-file"],
        &["--certs-dir", "relative"],
        &["--certs-dir", "/a:/b"],
        &["--config", "relative.toml"],
        &["--no-such-option"],
    ] {
        let ran = run([&["plan", "--root", root], args].concat());
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{args:?}: {ran:?}"
        );
    }
    assert_eq!(run(["plan", "--root", root, "--from", "1.4.13"]).code, 3);
    assert_eq!(run(["apply", "--root", root, "--expect", "abc"]).code, 2);
}

#[test]
fn without_a_terminal_apply_needs_an_answer_in_advance() {
    let root = node("cli-no-terminal", MIRROR);
    let ran = run(["apply", "--root", root.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let next = "next: containerd-registry-migrate plan --root ";
    assert!(ran.stderr.contains(next), "{ran:?}");
    assert!(!root.join("etc/containerd/certs.d").exists());
}

#[test]
fn nobody_is_asked_about_changes_that_go_elsewhere() {
    let root = node("cli-terminal-elsewhere", MIRROR);
    let report = root.join("report");
    let command = format!(
        "{PROGRAM} apply --root {} >{}",
        root.display(),
        report.display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(!shown.contains("[y/N]"), "{shown}");
    assert!(!root.join("etc/containerd/certs.d").exists());
}

#[test]
fn on_a_terminal_apply_asks_and_takes_no_for_an_answer() {
    for (answer, code, written) in [("n\n", 1, false), ("\n", 1, false), ("y\n", 0, true)] {
        let root = node("cli-terminal", MIRROR);
        // util-linux's `script` gives the program a terminal.
        let command = format!("{PROGRAM} apply --color never --root {}", root.display());
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(answer.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{answer:?}: {shown}");
        assert!(shown.contains("[y/N]"), "{shown}");
        assert_eq!(
            root.join("etc/containerd/certs.d/docker.io/hosts.toml")
                .exists(),
            written
        );
    }
}

/// Runs a shell command, in which `$0` is the program and `$1` the root.
fn sh(command: &str, root: &Path) -> support::Ran {
    let output = Command::new("sh")
        .args(["-c", command, PROGRAM])
        .arg(root)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    support::ran(output)
}

/// Runs the program with a stdout of which the other end is closed.
fn run_unread(arguments: &[&str]) -> support::Ran {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    support::ran(output)
}

#[test]
fn a_report_that_cannot_be_written_is_a_failure() {
    let root = node("cli-unwritten", MIRROR);
    for command in [
        "plan --root \"$1\"",
        "plan --format diff --root \"$1\"",
        "plan --format json --root \"$1\"",
        "check --root \"$1\"",
        "rollback --list --root \"$1\"",
        "check --explain same-as-default",
        "--help",
    ] {
        // Full, closed, and open for reading only.
        for stdout in [">/dev/full", ">&-", ">&- 2>&-", "1</dev/null"] {
            let ran = sh(&format!("exec \"$0\" {command} {stdout}"), &root);
            assert_eq!(ran.code, 4, "{command} {stdout}: {ran:?}");
            let is_said = ran.stderr.contains("cannot print") || stdout.contains("2>&-");
            assert!(is_said, "{command} {stdout}: {ran:?}");
        }
        // Whoever takes nothing of it has asked for that.
        let ran = sh(&format!("exec \"$0\" {command} >/dev/null"), &root);
        assert!(ran.code <= 1, "{command}: {ran:?}");
        let ran = sh(&format!("exec \"$0\" {command} <>/dev/null 1>&0"), &root);
        assert!(ran.code <= 1, "{command}: {ran:?}");
    }
}

#[test]
fn whoever_closes_the_pipe_of_a_command_that_only_reads_has_seen_enough() {
    let root = node("cli-pipe", MIRROR);
    let root = root.to_str().unwrap();
    for (arguments, code) in [
        (&["plan", "--root", root][..], 1),
        (&["plan", "--root", root, "--format", "json"], 1),
        (&["apply", "--dry-run", "--root", root], 1),
        (&["check", "--root", root], 0),
        (&["rollback", "--list", "--root", root], 0),
        (&["--help"], 0),
    ] {
        let ran = run_unread(arguments);
        assert_eq!((ran.code, &*ran.stderr), (code, ""), "{arguments:?}");
    }
}

#[test]
fn apply_touches_nothing_if_its_report_cannot_be_written() {
    let root = node("cli-unwritten-apply", MIRROR);
    let path = root.to_str().unwrap();
    for format in ["text", "diff", "json"] {
        let command = format!("exec \"$0\" apply --yes --format {format} --root \"$1\"");
        for stdout in [">/dev/full", ">&-"] {
            let ran = sh(&format!("{command} {stdout}"), &root);
            assert_eq!(ran.code, 4, "{format} {stdout}: {ran:?}");
        }
        let ran = run_unread(&["apply", "--yes", "--format", format, "--root", path]);
        assert_eq!(ran.code, 4, "{format}: {ran:?}");
        let names: Vec<_> = fs::read_dir(&root).unwrap().collect();
        assert_eq!(names.len(), 1, "not even a state directory: {names:?}");
        let config = fs::read_to_string(root.join("etc/containerd/config.toml")).unwrap();
        assert_eq!(config, MIRROR);
    }
    assert_eq!(run(["apply", "--yes", "--root", path]).code, 0);
    let written = support::tree(&root);
    let ran = sh("exec \"$0\" rollback --yes --root \"$1\" >/dev/full", &root);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(support::tree(&root), written);
}

#[test]
fn a_stdout_that_fails_after_the_files_are_written_changes_nothing_any_more() {
    let root = scratch("cli-closed");
    let (node, begun) = (root.join("node"), root.join("begun"));
    copy_tree(&private_http_registry().join("node"), &node);
    let restart = format!("touch {}; sleep 1", begun.display());
    let mut child = Command::new(PROGRAM)
        .args(["apply", "--yes", "--root", node.to_str().unwrap()])
        .args(["--restart", "--health-command", "true"])
        .args(["--restart-command", &restart])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !begun.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(child.stdout.take());
    let ran = support::ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    for said in ["warning: cannot print", "Written: ", "To go back: "] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    let after = private_http_registry().join("after");
    assert_eq!(tree_difference(&after, &node), "");
}

#[test]
fn the_next_command_repeats_every_option_and_works_as_printed() {
    let parent = scratch("cli-next it's");
    let root = parent.join("node");
    copy_tree(&private_http_registry().join("node"), &root);
    let ran = run([
        "plan",
        "--root",
        root.to_str().unwrap(),
        "--from",
        "1.6.20",
        "--to",
        "2.1",
        "--certs-dir",
        "/etc/registries",
        "--allow",
        "unparsable-endpoint",
    ]);
    let next = ran
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("Next: "))
        .unwrap();
    for part in [
        "--from 1.6.20",
        "--to 2.1.9",
        "--certs-dir /etc/registries",
        "--allow unparsable-endpoint",
        "--expect ",
    ] {
        assert!(next.contains(part), "{part}: {next}");
    }
    let path = format!(
        "{}:{}",
        Path::new(PROGRAM).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let status = Command::new("sh")
        .args(["-c", next])
        .env("PATH", path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0), "{next}");
    assert!(
        root.join("etc/registries/192.168.0.4:5500/hosts.toml")
            .exists()
    );
}

#[test]
fn no_output_ever_shows_a_secret() {
    let config = "version = 2
# password: swordfish
[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]
  # token = fishsword
  endpoint = [\"https://user:hunter2@m.example/v2?sig=abcdef\", \"https://hunter3@[bad\"]
[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"m.example\".auth]
  password = '''hunter4
hunter5'''
  auth = \"dXNlcjpodW50ZXI2\"
[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"m.example\".tls]
  ca_file = \"/hunter4/dXNlcjpodW50ZXI2\"
";
    let root = node("cli-secrets", config);
    let root = root.to_str().unwrap();
    for args in [
        &["plan"][..],
        &["plan", "--format", "diff"],
        &["plan", "--format", "json"],
        &["check"],
        &["check", "--format", "json"],
        &["apply", "--yes"],
    ] {
        for allow in [&[][..], &["--allow", "unparsable-endpoint"]] {
            let ran = run([args, &["--root", root], allow].concat());
            let all = format!("{}{}", ran.stdout, ran.stderr);
            for secret in ["hunter", "swordfish", "fishsword", "abcdef", "dXNlcjpo"] {
                // The path of a file is shown, whatever it repeats.
                let all = all.replace("/hunter4/dXNlcjpodW50ZXI2", "");
                assert!(!all.contains(secret), "{secret}: {all}");
            }
        }
    }
    let broken = node("cli-secrets-broken", "password = \"hunter2\nversion = 2\n");
    let ran = run(["plan", "--root", broken.to_str().unwrap()]);
    assert!(ran.code == 3 && !ran.stderr.contains("hunter2"), "{ran:?}");
}

#[test]
fn check_shows_no_secret_of_a_hosts_file_in_two_pieces_either() {
    let config = "version = 2
[plugins.\"io.containerd.grpc.v1.cri\".registry]
  config_path = \"/etc/containerd/certs.d:/etc/other\"
";
    let root = node("cli-secrets-hosts-file", config);
    // Wherever the cell is broken, a piece of one of them would show.
    let secrets = ["s3cretswordfish/0123456789", "n0thingt0see/abcdefghijklmn"];
    for (directory, secret) in ["etc/containerd/certs.d", "etc/other"].iter().zip(secrets) {
        let directory = root.join(directory).join("m.example");
        fs::create_dir_all(&directory).unwrap();
        let hosts = format!("server = \"https://robot:{secret}@[bad.example/v2\"\n");
        fs::write(directory.join("hosts.toml"), hosts).unwrap();
    }
    let ran = run(["check", "--root", root.to_str().unwrap()]);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains("cannot be parsed"), "{all}");
    for piece in [
        "s3cr", "fish", "0123", "456", "n0th", "see/", "abcd", "jklm",
    ] {
        assert!(!all.contains(piece), "{piece}: {all}");
    }
}

#[test]
fn colours_come_only_when_asked_for() {
    let root = node("cli-color", MIRROR);
    let root = root.to_str().unwrap();
    assert!(!run(["plan", "--root", root]).stdout.contains('\u{1b}'));
    assert!(
        run(["plan", "--root", root, "--color", "always"])
            .stdout
            .contains("\u{1b}[32m+server")
    );
    assert!(
        !run([
            "plan", "--root", root, "--color", "always", "--format", "diff"
        ])
        .stdout
        .contains('\u{1b}')
    );
}

#[test]
fn no_input_makes_it_panic() {
    let fixtures = support::fixtures();
    let root = scratch("cli-garbage");
    fs::create_dir_all(root.join("etc/containerd")).unwrap();
    let config = root.join("etc/containerd/config.toml");
    // Every fourth prefix and every cut-out of a real file: what an editor or a full disk leaves behind.
    for fixture in fixtures
        .iter()
        .filter(|f| ["inline-registry", "comments-move", "crlf"].contains(&f.run_name()))
    {
        let bytes = fs::read(fixture.node().join("etc/containerd/config.toml")).unwrap();
        for cut in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
            for garbage in [
                bytes[..cut].to_vec(),
                [&bytes[..cut], &bytes[(cut + 7).min(bytes.len())..]].concat(),
            ] {
                fs::write(&config, &garbage).unwrap();
                let ran = run(["plan", "--root", root.to_str().unwrap()]);
                assert!(
                    [0, 1, 3].contains(&ran.code),
                    "{}: {ran:?}",
                    String::from_utf8_lossy(&garbage)
                );
            }
        }
    }
}

/// The one document that a command prints.
fn document(args: &[&str]) -> serde_json::Value {
    let ran = run([args, &["--format", "json"]].concat());
    assert_eq!(ran.stderr, "", "{ran:?}");
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["exit_code"], ran.code, "{ran:?}");
    assert_eq!(document["schema"], 1);
    document
}

#[test]
fn json_is_one_document_whatever_comes_of_it() {
    let mirror = node("cli-json", MIRROR);
    let broken = node("cli-json-broken", "version = \n");
    let empty = scratch("cli-json-empty");
    let current = node("cli-json-current", "version = 2\n");
    let tls = "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"m.example\".tls]\ninsecure_skip_verify = true\n";
    let ignored = node("cli-json-ignored", &format!("{MIRROR}{tls}"));
    for (command, root, outcome) in [
        ("plan", &mirror, "changes"),
        ("plan", &current, "nothing"),
        ("plan", &broken, "refused"),
        ("plan", &empty, "failed"),
        ("check", &mirror, "ready"),
        ("check", &ignored, "not-ready"),
        ("check", &broken, "refused"),
        ("check", &empty, "failed"),
    ] {
        let args = [
            command,
            "--root",
            root.to_str().unwrap(),
            "--from",
            "1.7",
            "--to",
            "2.1",
        ];
        let document = document(&args);
        assert_eq!(document["outcome"], outcome, "{document:#}");
        assert_eq!(document["command"], command);
    }
    let ran = run(["plan", "--format", "json", "--no-such-option"]);
    assert!(ran.code == 2 && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn json_says_what_the_text_says() {
    let root = node("cli-json-text", MIRROR);
    let args = [
        "plan",
        "--root",
        root.to_str().unwrap(),
        "--from",
        "1.7",
        "--to",
        "2.1",
    ];
    let (document, text) = (document(&args), run(args));
    let digest = document["digest"].as_str().unwrap();
    let next = document["next"][0].as_str().unwrap();
    let diffs: String = document["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["diff"].as_str().unwrap())
        .collect();
    for part in [
        &format!("Digest: {digest}\n"),
        &format!("Next: {next}\n"),
        &diffs,
    ] {
        assert!(text.stdout.contains(part.as_str()), "{part}: {text:?}");
    }
    let hosts_file = &document["files"][0];
    assert_eq!(
        hosts_file["path"],
        "/etc/containerd/certs.d/docker.io/hosts.toml"
    );
    assert_eq!(
        (&hosts_file["action"], &hosts_file["mode"]),
        (&"create".into(), &"0644".into())
    );
    let namespace = &document["namespaces"][0];
    assert_eq!(
        (&namespace["name"], &namespace["same"]),
        (&"docker.io".into(), &true.into())
    );
    assert_eq!(namespace["after"][0]["url"], "https://m.example/v2");
    let setting = &document["settings"][0];
    assert_eq!(
        (&setting["file"], &setting["line"]),
        (&"/etc/containerd/config.toml".into(), &3.into())
    );
    assert_eq!(setting["outcome"]["kind"], "carried");
}

const TLS: &str = "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"m.example\".tls]\ninsecure_skip_verify = true\n";

/// A node that is migrated for the upgrade from 1.7 to 2.3.
fn migrated(name: &str, config: &str) -> PathBuf {
    let root = node(name, config);
    let path = root.to_str().unwrap();
    let ran = run([
        "apply", "--yes", "--from", "1.7", "--to", "2.3", "--root", path,
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    root
}

#[test]
fn a_rollback_after_the_upgrade_says_what_the_installed_containerd_does_differently() {
    let root = migrated("cli-rollback-upgraded", &format!("{MIRROR}{TLS}"));
    let path = root.to_str().unwrap();
    let back = |arguments: &[&str]| {
        let rollback = ["rollback", "--yes", "--root", path];
        run([&rollback[..], arguments].concat())
    };
    let config = root.join("etc/containerd/config.toml");
    let written = fs::read_to_string(&config).unwrap();
    let ran = back(&["--from", "2.3"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    for part in [
        "error[rollback-after-upgrade]: with the files from before run 1, containerd 2.3.",
        "m.example",
        "--allow rollback-after-upgrade",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(fs::read_to_string(&config).unwrap(), written);
    let ran = back(&["--from", "2.3", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["outcome"], "refused");
    assert_eq!(document["findings"][0]["code"], "rollback-after-upgrade");
    let ran = back(&["--from", "2.3", "--allow", "rollback-after-upgrade"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("warning[rollback-after-upgrade]"),
        "{ran:?}"
    );
    assert_eq!(
        fs::read_to_string(&config).unwrap(),
        format!("{MIRROR}{TLS}")
    );
}

#[test]
fn a_rollback_that_the_installed_containerd_reads_alike_needs_no_answer() {
    // What the other files of the tree are for is not known, so that nothing is compared.
    for (name, config, arguments) in [
        ("mirror", MIRROR.to_owned(), &["--from", "2.3"][..]),
        ("tls-before", format!("{MIRROR}{TLS}"), &["--from", "1.7"]),
        ("tls-unknown", format!("{MIRROR}{TLS}"), &[]),
        // CRI is down with the old files, whichever reads them.
        (
            "rescue",
            format!(
                "{MIRROR}[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n"
            ),
            &["--from", "2.3"],
        ),
    ] {
        let root = migrated(&format!("cli-rollback-{name}"), &config);
        let path = root.to_str().unwrap();
        let rollback = ["rollback", "--yes", "--root", path];
        let ran = run([&rollback[..], arguments].concat());
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        let now = fs::read_to_string(root.join("etc/containerd/config.toml")).unwrap();
        assert_eq!(now, config, "{name}");
    }
}

#[test]
fn the_help_of_a_command_describes_that_command() {
    for command in ["check", "hosts"] {
        for option in ["-h", "--help"] {
            let help = run([command, option]).stdout;
            assert!(help.contains("Report as text, json or markdown"), "{help}");
            assert!(!help.contains("unified diff"), "{help}");
        }
    }
    let help = run(["rollback", "--help"]).stdout;
    assert!(!help.contains("`apply` puts"), "{help}");
    assert!(help.contains("not with --list"), "{help}");
}

#[test]
fn a_pipe_in_place_of_a_hosts_file_is_no_regular_file_and_leads_somewhere() {
    let root = node("cli-pipe", MIRROR);
    let directory = root.join("etc/containerd/certs.d/docker.io");
    fs::create_dir_all(&directory).unwrap();
    let made = Command::new("mkfifo")
        .arg(directory.join("hosts.toml"))
        .status();
    assert!(made.unwrap().success());
    let ran = run(["plan", "--root", root.to_str().unwrap()]);
    assert_eq!(ran.code, 3, "{ran:?}");
    for part in [
        "error[unreadable-directory]",
        "docker.io/hosts.toml` is not a regular file",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.stdout.contains("leads nowhere"), "{ran:?}");
}

/// No path of a report can name it, so that nobody knows what is in it.
#[test]
fn a_drop_in_whose_name_is_not_utf_8_is_refused_and_no_answer_accepts_it() {
    use std::os::unix::ffi::OsStrExt;
    let root = node(
        "cli-not-utf8",
        &format!("imports = [\"/etc/containerd/conf.d/*.toml\"]\n{MIRROR}"),
    );
    let directory = root.join("etc/containerd/conf.d");
    fs::create_dir_all(&directory).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"bad\xff.toml");
    fs::write(directory.join(name), MIRROR).unwrap();
    for answers in [&[][..], &["--allow", "import-missing"]] {
        let plan = ["plan", "--root", root.to_str().unwrap()];
        let ran = run([&plan[..], answers].concat());
        assert_eq!(ran.code, 3, "{ran:?}");
        for part in [
            "error[not-utf8]: the name of `/etc/containerd/conf.d/bad\\xff.toml` is not UTF-8",
            "rename it",
        ] {
            assert!(ran.stdout.contains(part), "{part}: {ran:?}");
        }
        assert!(!ran.stdout.contains("does not exist"), "{ran:?}");
    }
}

#[test]
fn a_node_with_only_what_a_configuration_is_made_of_is_told_what_to_edit() {
    let k3s = "/var/lib/rancher/k3s/agent/etc/containerd";
    let rke2 = "/var/lib/rancher/rke2/agent/etc/containerd";
    let trees = [
        (
            vec![format!("{k3s}/config.toml.tmpl")],
            "k3s",
            "edit the template",
        ),
        (
            vec![format!("{k3s}/config-v3.toml.tmpl")],
            "k3s",
            "edit the template",
        ),
        (
            vec![format!("{rke2}/config.toml.tmpl")],
            "rke2",
            "edit the template",
        ),
        (
            vec![format!("{rke2}/config-v3.toml.tmpl")],
            "rke2",
            "edit the template",
        ),
        (
            vec!["/var/snap/microk8s/current/args/containerd-template.toml".to_owned()],
            "microk8s",
            "edit the template",
        ),
        (
            vec![
                "/run/k0s/containerd.toml".to_owned(),
                "/etc/k0s/containerd.d/mirrors.toml".to_owned(),
            ],
            "k0s",
            "edit the drop-ins in `/etc/k0s/containerd.d`",
        ),
    ];
    for (number, (files, name, advice)) in trees.iter().enumerate() {
        let root = scratch(&format!("cli-sources-{number}"));
        for file in files {
            let file = root.join(file.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, MIRROR).unwrap();
        }
        for command in ["plan", "check"] {
            let ran = run([command, "--root", root.to_str().unwrap()]);
            assert_eq!(ran.code, 4, "{ran:?}");
            let place = &files[0];
            for part in [format!("but {name} has `{place}`").as_str(), advice] {
                assert!(ran.stderr.contains(part), "{part}: {ran:?}");
            }
            assert!(
                !ran.stderr.contains("nothing else of containerd"),
                "{ran:?}"
            );
        }
    }
}

#[test]
fn the_list_of_runs_says_what_is_left_of_a_damaged_one_in_every_format() {
    let root = migrated("cli-list", MIRROR);
    let list = |format: &str| {
        let root = root.to_str().unwrap();
        run(["rollback", "--list", "--root", root, "--format", format])
    };
    let markdown = list("markdown").stdout;
    assert!(markdown.starts_with("**1 run**.\n"), "{markdown}");
    assert!(
        markdown.contains("| run | begun | files | state | plan |"),
        "{markdown}"
    );
    assert!(markdown.contains("| 2 | applied | "), "{markdown}");

    let journals =
        root.join(containerd_registry_migrate::request::STATE_DIR.trim_start_matches('/'));
    let journal = fs::read_dir(journals).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension()
            .is_some_and(|end| end == "journal")
            .then_some(path)
    });
    let journal = journal.unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    let (record, _) = text.split_once('\n').unwrap();
    fs::write(
        &journal,
        text.replacen(record, &"x".repeat(record.len()), 1),
    )
    .unwrap();
    for format in ["text", "markdown", "json"] {
        let ran = list(format);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
        for part in [
            "run 1 is damaged: ",
            "0001.journal",
            "config.toml",
            ", intact",
        ] {
            let said = ran.stdout.replace("`1`", "1");
            assert!(said.contains(part), "{format}: {part}: {}", ran.stdout);
        }
        assert!(!ran.stdout.contains("Nothing to migrate"), "{ran:?}");
    }
    let document: serde_json::Value = serde_json::from_str(&list("json").stdout).unwrap();
    assert_eq!(document["runs"][0]["state"], "damaged");
    assert_eq!(document["notes"].as_array().map(Vec::len), Some(1));
}

#[test]
fn markdown_of_a_change_says_first_what_is_about_to_be_done_and_then_what_came_of_it() {
    let root = node("cli-markdown-apply", MIRROR);
    let change = |command: &str| {
        let root = root.to_str().unwrap();
        run([
            command, "--yes", "--from", "1.7", "--root", root, "--format", "markdown",
        ])
    };
    for (command, head, tail) in [
        (
            "apply",
            "**To be applied** to `/etc/containerd/config.toml`, containerd 1.7.",
            "### Result\n\n**Applied** to ",
        ),
        (
            "rollback",
            "**To be rolled back**: run 1, 1 file to change, 1 file to remove.\n",
            "### Result\n\n**Rolled back**: run 1.\n",
        ),
    ] {
        let ran = change(command);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
        assert!(ran.stdout.starts_with(head), "{}", ran.stdout);
        let (before, after) = ran.stdout.split_once("### Result").unwrap();
        assert!(ran.stdout.contains(tail), "{}", ran.stdout);
        assert!(
            !before.contains("```sh") && !before.contains("### Commands"),
            "{before}"
        );
        assert!(after.contains("```text\n"), "{after}");
    }
}

#[test]
fn markdown_of_a_failure_has_what_a_command_printed_in_a_block() {
    let root = node("cli-markdown-failure", MIRROR);
    let ran = run([
        "apply",
        "--yes",
        "--from",
        "1.7",
        "--format",
        "markdown",
        "--root",
        root.to_str().unwrap(),
        "--restart",
        "--restart-command",
        "printf 'one line\\nanother line\\n' >&2; exit 1",
        "--health-command",
        "true",
        "--health-timeout",
        "1",
    ]);
    let (_, result) = ran.stdout.split_once("### Result\n").unwrap();
    assert!(
        result.contains("```text\none line\nanother line\n```\n"),
        "{result}"
    );
}

/// The options of a restart, as they are typed and as they are printed.
const RESTART: [&str; 7] = [
    "--restart",
    "--restart-command",
    "echo \"restarted\"",
    "--health-command",
    "true",
    "--health-timeout",
    "9",
];
const RESTART_AS_PRINTED: &str =
    "--restart --restart-command 'echo \"restarted\"' --health-command true --health-timeout 9";

#[test]
fn every_printed_command_that_continues_keeps_the_restart_that_was_typed() {
    let root = node("cli-keeps-restart", MIRROR);
    let path = root.to_str().unwrap();
    let said = |command: &[&str]| {
        let versions = ["--from", "1.7", "--to", "2.3", "--root", path];
        let ran = run([command, &versions, &RESTART].concat());
        format!("{}{}", ran.stdout, ran.stderr)
    };
    let digest = "0".repeat(64);
    for (command, printed) in [
        (&["plan"][..], "Next: containerd-registry-migrate apply "),
        (
            &["plan"],
            "To go back: containerd-registry-migrate rollback --root ",
        ),
        (
            &["apply", "--dry-run"],
            "Next: containerd-registry-migrate apply ",
        ),
        (&["check"], "Next: containerd-registry-migrate plan "),
        (&["apply"], "next: containerd-registry-migrate plan "),
        (
            &["apply", "--expect", &digest],
            "next: containerd-registry-migrate apply ",
        ),
        (
            &["apply", "--yes"],
            "To go back: containerd-registry-migrate rollback 1 --root ",
        ),
        (
            &["rollback"],
            "next: containerd-registry-migrate rollback 1 --root ",
        ),
    ] {
        let said = said(command);
        let mut lines = said.lines();
        let line = lines.find(|line| line.starts_with(printed));
        let line = line.unwrap_or_else(|| panic!("{command:?}: {printed}: {said}"));
        assert!(line.contains(RESTART_AS_PRINTED), "{command:?}: {line}");
        assert!(line.contains(path), "{command:?}: {line}");
    }
}

/// A run that was killed by its own restart command.
fn killed_in_its_restart(name: &str) -> PathBuf {
    let root = node(name, MIRROR);
    let ran = run([
        "apply",
        "--yes",
        "--from",
        "1.7",
        "--root",
        root.to_str().unwrap(),
        "--restart",
        "--restart-command",
        "kill -KILL $PPID",
        "--health-command",
        "true",
    ]);
    assert_eq!(ran.code, -1, "{ran:?}");
    root
}

#[test]
fn a_run_that_waits_for_its_restart_is_rolled_back_as_was_asked() {
    let root = killed_in_its_restart("cli-waiting");
    let path = root.to_str().unwrap();
    for (options, printed) in [
        (&[][..], format!("rollback 1 --root {path}\n")),
        (
            &RESTART,
            format!("rollback 1 --root {path} {RESTART_AS_PRINTED}\n"),
        ),
    ] {
        let ran = run([&["apply", "--yes", "--root", path], options].concat());
        assert_eq!(ran.code, 3, "{ran:?}");
        let next = format!("next: containerd-registry-migrate {printed}");
        assert!(ran.stderr.contains(&next), "{next}: {ran:?}");
    }
}

#[test]
fn a_restart_without_anything_to_write_says_that_it_is_not_made() {
    let root = node("cli-no-restart", "version = 2\n");
    let mark = root.join("mark");
    let restart = format!("touch {}", mark.display());
    let ran = run([
        "apply",
        "--root",
        root.to_str().unwrap(),
        "--restart",
        "--restart-command",
        &restart,
        "--health-command",
        "true",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "containerd is not restarted, because nothing was written",
        &format!("since the last run: {restart}\n"),
        "Nothing to migrate",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(!mark.exists());
}

/// `--from` does not hide what the installed containerd does with the old files, nor the other way round.
#[test]
fn a_rollback_is_refused_if_one_of_the_containerds_that_may_read_the_old_files_loses_pulls() {
    use containerd_registry_migrate::apply::{Origin, Run, RunState, WayBack};
    use containerd_registry_migrate::commands;
    use containerd_registry_migrate::containerd::release::Version;
    use containerd_registry_migrate::node::NodePath;
    use containerd_registry_migrate::plan::FileKind;
    use containerd_registry_migrate::report::{Outcome, Shown};
    use containerd_registry_migrate::request::Request;

    let root = migrated("cli-rollback-both", &format!("{MIRROR}{TLS}"));
    let version = |text: &str| Version::parse(text).unwrap();
    let path = NodePath::new("/etc/containerd/config.toml");
    let request = Request {
        root: root.to_str().unwrap().to_owned(),
        from: Some(version("1.6.20")),
        ..Request::default()
    };
    let run = Run {
        run: 1,
        state: RunState::Applied,
        begun: String::new(),
        tool: String::new(),
        plan: String::new(),
        origin: Some(Origin {
            from: version("1.7.24"),
            config: path.clone(),
        }),
        files: vec![path.clone()],
        directories: Vec::new(),
        damage: None,
    };
    let files = [WayBack {
        kind: FileKind::Configuration,
        path,
        now: Some(fs::read(root.join("etc/containerd/config.toml")).unwrap()),
        old: Some(format!("{MIRROR}{TLS}").into_bytes()),
    }];
    for (installed, outcome) in [
        (&["1.6.20"][..], Outcome::Changes),
        (&["2.3.7"], Outcome::Refused),
        (&["2.3.7", "1.6.20"], Outcome::Refused),
        (&["1.6.20", "2.3.7"], Outcome::Refused),
    ] {
        let versions: Vec<Version> = installed.iter().map(|text| version(text)).collect();
        let shown = Shown::default();
        let report = commands::way_back(&request, &versions, &run, &files, false, &shown);
        assert_eq!(report.outcome, outcome, "{installed:?}");
    }
}

#[test]
fn check_after_the_upgrade_has_no_next_command() {
    let root = node("cli-check-upgraded", MIRROR);
    let path = root.to_str().unwrap();
    let check = || run(["check", "--from", "2.3.7", "--to", "2.3", "--root", path]);
    let said = check().stdout;
    assert!(
        said.contains("Ready: containerd 2.3.7 reads these files\n")
            && said.contains("Next: containerd-registry-migrate plan "),
        "{said}"
    );
    let root = migrated("cli-check-upgraded", MIRROR);
    let ran = run([
        "check",
        "--from",
        "2.3.7",
        "--to",
        "2.3",
        "--root",
        root.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let end = "Ready: containerd 2.3.7 reads these files, and nothing is left to migrate\n";
    assert!(ran.stdout.ends_with(end), "{ran:?}");
}

#[test]
fn check_leads_to_the_end_of_an_unfinished_run_first() {
    let root = killed_in_its_restart("cli-check-unfinished");
    let path = root.to_str().unwrap();
    let ran = run(["check", "--from", "1.7", "--root", path]);
    for part in [
        "note: run 1 is waiting for its restart: `apply --restart` with the same commands continues it",
        &format!("Next: containerd-registry-migrate apply --root {path} --from 1.7.35 --restart\n"),
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.stdout.contains("upgrade containerd"), "{ran:?}");
}

#[test]
fn a_command_at_work_is_said_with_its_process() {
    let root = node("cli-at-work", MIRROR);
    let path = root.to_str().unwrap();
    let (begun, go) = (root.join("begun"), root.join("go"));
    let restart = format!(
        "touch {}; until [ -e {} ]; do sleep 0.05; done",
        begun.display(),
        go.display()
    );
    let mut child = Command::new(PROGRAM)
        .args(["apply", "--yes", "--from", "1.7", "--root", path])
        .args(["--restart", "--health-command", "true"])
        .args(["--restart-command", &restart])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !begun.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let [plan, check] = ["plan", "check"].map(|command| run([command, "--root", path]));
    fs::write(go, "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let note = format!(
        "note: another command is changing this node (pid {}, `apply`, since ",
        child.id()
    );
    for ran in [plan, check] {
        assert!(ran.stdout.contains(&note), "{note}: {ran:?}");
        for part in ["waiting for its restart", "upgrade containerd"] {
            assert!(!ran.stdout.contains(part), "{part}: {ran:?}");
        }
    }
    let after = run(["check", "--root", path]).stdout;
    assert!(!after.contains("another command"), "{after}");
}
