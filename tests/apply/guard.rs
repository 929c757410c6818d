//! The guarded restart against real daemons, under a supervisor of ten lines.
//!
//! `tests/containerd.sh` unpacks them under `target/containerd`; without any the tests say so and pass, except under `CI=true`.

use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_registry_migrate::containerd::release::Version;

use crate::disk::{PROGRAM, Scratch};

/// The directories with the oldest and the newest daemon that start here: what a guard sees of a daemon is the same in
/// every release of a generation.
fn daemons() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/containerd");
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<(Version, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path().join("usr/bin");
            let output = Command::new(path.join("containerd"))
                .arg("--version")
                .output()
                .ok()?;
            // `containerd github.com/containerd/containerd v1.7.24 <revision>`
            let text = String::from_utf8(output.stdout).ok()?;
            let version = text.split_whitespace().nth(2)?;
            Some((Version::parse(version)?, path))
        })
        .collect();
    found.sort();
    let mut found: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    if found.len() > 2 {
        found.drain(1..found.len() - 1);
    }
    if found.is_empty() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "under CI=true daemons must be there: run tests/containerd.sh"
        );
        println!("no containerd under target/containerd: not tested against real daemons");
    }
    found
}

/// A config.toml with a mirror, and a place for what breaks it later. The socket is not where the program would guess.
const CONFIG: &str = r#"version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
[grpc]
  address = "/run/own/containerd.sock"
[plugins."io.containerd.grpc.v1.cri".registry]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["http://127.0.0.1:5000"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."127.0.0.1:5000".auth]
  password = "hunter2hunter2"
"#;

/// What spoils a migrated configuration, as a template that renders `mirrors` again does; the old one bears it.
const SPOIL: &str = r#"mkdir -p /etc/containerd/conf.d
if grep -q config_path /etc/containerd/config.toml; then
  cat >/etc/containerd/conf.d/rendered.toml <<'END'
version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://m.example/?password=hunter3hunter3"]
END
else
  rm -f /etc/containerd/conf.d/rendered.toml
fi
"#;

/// Runs `script` on a node of its own, and returns what it prints.
fn on_node(daemon: &Path, name: &str, config: &str, script: &str) -> String {
    let suite = daemon.iter().rev().nth(2).unwrap().to_str().unwrap();
    let scratch = Scratch::new(&format!("guard-{name}-{suite}"));
    scratch.write("node/etc/containerd/config.toml", config);
    scratch.write("node/opt/not-yet", SPOIL);
    std::fs::create_dir_all(scratch.at("root")).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", include_str!("guard.sh"), "sh"])
        .args([
            &scratch.at("root"),
            &scratch.at("node"),
            daemon,
            Path::new(PROGRAM),
        ])
        .arg(format!("exec 2>&1; {script}"))
        .output()
        .unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = String::from_utf8(output.stdout).unwrap();
    println!("=== {suite}, {name}\n{output}");
    assert!(!output.contains("hunter"), "a secret: {output}");
    output
}

const APPLY: &str = "containerd-registry-migrate apply --yes --restart --restart-command restart-containerd \
                     --health-timeout 20; echo exit $?; cri; grep -c config_path /etc/containerd/config.toml; ";
const ROLLBACK: &str = "containerd-registry-migrate rollback --yes --restart --restart-command restart-containerd \
                        --health-timeout 20; echo exit $?; cri; grep -c config_path /etc/containerd/config.toml; ";

#[track_caller]
fn assert_lines(output: &str, lines: &[&str]) {
    let mut rest = output.lines();
    for line in lines {
        let found = rest.any(|other| other.contains(line));
        assert!(found, "no `{line}` (in this order) in:\n{output}");
    }
}

#[test]
fn a_healthy_migration_stays_and_can_be_rolled_back() {
    for daemon in daemons() {
        let script = format!("restart-containerd; cri; {APPLY} {ROLLBACK} wc -l </run/started");
        let output = on_node(&daemon, "healthy", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "cri: ok",
                "before the restart: CRI is up",
                "restarting: restart-containerd",
                "Restarted: CRI is up",
                "exit 0",
                "cri: ok",
                "1",
                "Rolled back run 1",
                "exit 0",
                "cri: ok",
                "0",
                "3",
            ],
        );
    }
}

#[test]
fn a_spoiled_migration_is_put_back_by_itself() {
    for daemon in daemons() {
        let script = format!(
            "restart-containerd; cri; mv /opt/not-yet /opt/spoil; {APPLY}
            ls /etc/containerd/certs.d; containerd-registry-migrate rollback --list"
        );
        let output = on_node(&daemon, "spoiled", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "cri: ok",
                "putting the old files back",
                "CRI failed to load; the files from before run 1 are back, and CRI is up again",
                "config_path",
                "exit 4",
                "cri: ok",
                "0",
                "rolled back",
            ],
        );
        assert!(
            output.contains("'/etc/containerd/certs.d'"),
            "removed: {output}"
        );
    }
}

/// The new config.toml itself is spoiled, by someone else's hand in the very moment of the restart.
#[test]
fn a_config_that_is_edited_under_the_guard_is_put_back_too() {
    for daemon in daemons() {
        let script = format!(
            "restart-containerd; cri
            echo 'if grep -q config_path /etc/containerd/config.toml; then sed -i 1s/2/x/ /etc/containerd/config.toml; fi' \
              >/opt/spoil
            {APPLY} grep -c 'version = x' /var/lib/containerd-registry-migrate/0001.journal"
        );
        let output = on_node(&daemon, "edited", CONFIG, &script);
        assert_lines(&output, &["CRI is up again", "exit 4", "cri: ok", "0", "1"]);
    }
}

/// Nothing was restarted, so nothing has to be restarted again, and nothing is broken.
#[test]
fn a_restart_command_that_does_nothing() {
    for daemon in daemons() {
        let script = format!(
            "restart-containerd; cri; {} wc -l </run/started",
            APPLY.replace(
                "--restart-command restart-containerd",
                "--restart-command 'echo no such unit; false'"
            )
        );
        let output = on_node(&daemon, "nothing", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "warning: the restart command failed",
                "| no such unit",
                "containerd was not restarted within 5 s; the files from before run 1 are back, and CRI is up again",
                "exit 4",
                "cri: ok",
                "0",
                "1",
            ],
        );
    }
}

/// `config_path` beside `mirrors`: CRI is down, and the migration is what brings it up.
#[test]
fn a_rescue() {
    let config = CONFIG.replace(
        "cri\".registry]\n",
        "cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
    );
    for daemon in daemons() {
        let script = format!("restart-containerd; cri; {APPLY}");
        let output = on_node(&daemon, "rescue", &config, &script);
        assert_lines(
            &output,
            &[
                "cri: error",
                "before the restart: CRI failed to load",
                "exit 0",
                "cri: ok",
                "1",
            ],
        );
        // One that does not help: the old files come back without a second verdict.
        let script = format!("restart-containerd; cri; mv /opt/not-yet /opt/spoil; {APPLY}");
        let output = on_node(&daemon, "no-rescue", &config, &script);
        assert_lines(
            &output,
            &[
                "cri: error",
                "and CRI was not up before, either",
                "exit 4",
                "cri: error",
            ],
        );
    }
}

#[test]
fn a_guard_that_is_killed_is_taken_up_by_the_next_command() {
    for daemon in daemons() {
        // Killed after the restart, while it watches a CRI that is down.
        let script = format!(
            "restart-containerd; cri; mv /opt/not-yet /opt/spoil; echo 'sleep 2' >>/opt/spoil
            (containerd-registry-migrate apply --yes --restart --restart-command restart-containerd) &
            while [ $(wc -l </run/started) = 1 ]; do sleep 0.1; done; sleep 0.5
            kill -KILL $(pidof containerd-registry-migrate); sleep 3; cri
            containerd-registry-migrate plan
            {APPLY}"
        );
        let output = on_node(&daemon, "killed", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "cri: ok",
                "cri: error",
                "note: run 1 is waiting for its restart",
                "the files from before run 1 are back, and CRI is up again",
                "exit 4",
                "cri: ok",
                "0",
            ],
        );
    }
}

/// Killed at each step that changes what a daemon would read: whatever is left, it starts with CRI.
#[test]
fn every_half_of_an_apply_is_one_that_containerd_starts_with() {
    for daemon in daemons() {
        let script = "cp -a /etc/containerd /saved
            for call in mkdirat:2 mkdirat:3 renameat:2 renameat:3 renameat:4; do
              rm -rf /etc/containerd /var/lib/containerd-registry-migrate
              cp -a /saved /etc/containerd
              strace -qq -o /dev/null -e inject=${call%:*}:signal=KILL:when=${call#*:} \
                containerd-registry-migrate apply --yes >/dev/null || echo killed
              restart-containerd; cri
            done
            containerd-registry-migrate apply --yes >/dev/null; restart-containerd; cri
            for call in renameat:1 unlinkat:4 unlinkat:5; do
              strace -qq -o /dev/null -e inject=${call%:*}:signal=KILL:when=${call#*:} \
                containerd-registry-migrate rollback --yes >/dev/null || echo killed
              restart-containerd; cri
              containerd-registry-migrate rollback --yes >/dev/null
              containerd-registry-migrate apply --yes >/dev/null
            done";
        let output = on_node(&daemon, "halves", CONFIG, script);
        let count = |line: &str| output.lines().filter(|other| *other == line).count();
        assert_eq!((count("killed"), count("cri: ok")), (8, 9), "{output}");
    }
}

/// The socket is in an imported file; without it, the one that is asked would be another one.
const IMPORTED: &str = "echo '[grpc]\n  address = \"/run/own/containerd.sock\"' >/opt/address
    sed -i '/^.grpc/,/address/d' /etc/containerd/config.toml
    mkdir -p /etc/containerd/conf.d
    (echo version = 2; cat /opt/address) >/etc/containerd/conf.d/own.toml
    restart-containerd; cri; ";

#[test]
fn a_socket_in_an_imported_file_is_the_one_that_is_asked() {
    for daemon in daemons() {
        let script = format!("{IMPORTED} {APPLY} {ROLLBACK}");
        let output = on_node(&daemon, "imported", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "cri: ok",
                "before the restart: CRI is up",
                "exit 0",
                "cri: ok",
                "before the restart: CRI is up",
                "exit 0",
                "cri: ok",
            ],
        );
    }
}

#[test]
fn a_socket_at_which_nobody_listens_is_refused_while_a_containerd_runs() {
    for daemon in daemons() {
        let script =
            format!("{IMPORTED} rm /etc/containerd/conf.d/own.toml; {APPLY} wc -l </run/started");
        let output = on_node(&daemon, "elsewhere", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "cri: ok",
                "nobody listens at `/run/containerd/containerd.sock`",
                "exit 4",
                "cri: ok",
                "0",
                "1",
            ],
        );
        assert!(output.contains("`--health-command`"), "{output}");
        assert!(!output.contains("restarting"), "{output}");
    }
}

#[test]
fn a_stopped_containerd_is_said_and_started() {
    for daemon in daemons() {
        let output = on_node(&daemon, "stopped", CONFIG, APPLY);
        assert_lines(
            &output,
            &[
                "nobody listens at `/run/own/containerd.sock` and no containerd runs",
                "before the restart: CRI does not answer",
                "exit 0",
                "cri: ok",
                "1",
            ],
        );
    }
}

/// Errors from before the restart are not the reason.
#[test]
fn only_what_was_logged_since_the_restart_is_shown() {
    let journalctl = "echo '#!/bin/sh
        echo \"$@\" >>/run/journalctl
        echo level=error of today' >/opt/bin/journalctl
        chmod +x /opt/bin/journalctl; date +%s >/run/date;";
    for daemon in daemons() {
        let script = format!(
            "restart-containerd; cri; mv /opt/not-yet /opt/spoil; {journalctl} {APPLY}
            read now </run/date; read line </run/journalctl
            since=${{line##*--since=@}}; [ $since -ge $now ] && [ $since -le $(date +%s) ] && echo bounded"
        );
        let output = on_node(&daemon, "since", CONFIG, &script);
        assert_lines(&output, &["| level=error of today", "exit 4", "bounded"]);
    }
}

/// A signal while containerd is being watched does not end the guard, and is not lost silently.
#[test]
fn a_signal_under_the_guard_is_noted() {
    for daemon in daemons() {
        let script = format!(
            "restart-containerd; cri; {}",
            APPLY.replace(
                "--restart-command restart-containerd",
                "--restart-command 'kill -TERM $PPID; restart-containerd'"
            )
        );
        let output = on_node(&daemon, "signal", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "restarting: ",
                "signal noted: waiting until CRI is up, at most 120 s for the restart command and",
                "Restarted: CRI is up",
                "exit 0",
            ],
        );
    }
}

/// Killed between the restart of a rollback and its end: the next rollback completes it, with its own restart command,
/// and does not ask for another restart.
#[test]
fn a_rollback_that_was_killed_is_completed_with_another_restart_command() {
    for daemon in daemons() {
        let killing = ROLLBACK.replace(
            "--restart-command restart-containerd",
            "--restart-command 'if [ -e /run/once ]; then restart-containerd; else touch /run/once; kill -KILL $PPID; fi'",
        );
        let script = format!("restart-containerd; cri; {APPLY} {killing} {ROLLBACK}");
        let output = on_node(&daemon, "completed", CONFIG, &script);
        assert_lines(
            &output,
            &[
                "exit 0",
                "exit 137",
                "restarting: restart-containerd",
                "Rolled back run 1",
                "exit 0",
                "cri: ok",
                "0",
            ],
        );
        let (_, after) = output.split_once("Rolled back run 1").unwrap();
        assert!(!after.contains("Next: "), "{output}");
    }
}
