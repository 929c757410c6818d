//! The edge of the commands that change a node: what they refuse, run, and say. No daemon is needed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::disk::{CONFIG, OLD, PROGRAM, Scratch, apply, expect, is_new, rollback};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Only one of the two commands is given, so the other would be about this machine.
#[test]
fn a_restart_on_another_root_needs_both_commands() {
    let scratch = Scratch::node("edge-both-commands");
    let root = scratch.at("node");
    // Whatever this machine has, it is not called.
    let touch = scratch.at("called");
    scratch.write(
        "bin/systemctl",
        &format!("#!/bin/sh\n>{}\n", touch.display()),
    );
    expect(
        Command::new("chmod")
            .arg("+x")
            .arg(scratch.at("bin/systemctl")),
        0,
    );
    for commands in [
        &["--health-command", "true"][..],
        &["--restart-command", "true"],
        &[],
    ] {
        let mut command = apply(&root);
        command.arg("--restart").args(commands);
        command.env(
            "PATH",
            format!("{}:/usr/bin:/bin", scratch.at("bin").display()),
        );
        let output = expect(&mut command, 2);
        assert!(stderr(&output).contains("--health-command"), "{output:?}");
        assert!(!touch.exists(), "{commands:?}");
        assert_eq!(scratch.read(CONFIG), OLD);
    }
    let both = ["--restart-command", "true", "--health-command", "true"];
    expect(apply(&root).arg("--restart").args(both), 0);
    assert!(is_new(&scratch.read(CONFIG)));
}

/// Another run between the plan and the lock makes the program begin again: signals are still only noted.
#[test]
fn a_second_pass_does_not_make_signals_deadly() {
    let scratch = Scratch::node("edge-second-pass");
    let root = scratch.at("node");
    let mut first = Command::new("strace");
    first
        .args(["-qq", "-o", "/dev/null", "-e"])
        .arg("inject=flock:delay_enter=4000000:when=1")
        .arg(PROGRAM)
        .args(["apply", "--yes", "--existing", "replace", "--root"])
        .arg(&root)
        .args(["--restart", "--restart-command", "kill -TERM $PPID"])
        .args(["--health-command", "true"]);
    let first = first
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2000));
    expect(&mut apply(&root), 0);
    expect(&mut rollback(&root), 0);
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("(run 2)"),
        "{output:?}"
    );
    assert!(is_new(&scratch.read(CONFIG)));
}

/// `nohup` wants a dropped terminal to change nothing.
#[test]
fn a_signal_that_is_ignored_stays_so() {
    let scratch = Scratch::node("edge-nohup");
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", PROGRAM])
        .args(["apply", "--yes", "--existing", "replace", "--root"])
        .arg(scratch.at("node"))
        .args(["--restart", "--health-command", "true", "--restart-command"])
        .arg(format!(
            "grep SigIgn /proc/$PPID/status >{}",
            scratch.at("ignored").display()
        ));
    expect(&mut command, 0);
    let mask = scratch.read("ignored");
    let mask = mask.trim_start_matches("SigIgn:").trim();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1, 1, "{mask}");
}

/// `/proc/PID/root` is a link that reads `/`; what it leads to is the other process's root.
#[test]
fn the_root_of_another_process_is_not_taken_for_this_one() {
    let scratch = Scratch::node("edge-proc-root");
    let script = format!(
        "mount -t tmpfs none /mnt && cp {} /mnt && echo ready && read _",
        scratch.at(CONFIG).display()
    );
    let mut other = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let on = |command: &[&str], root: &str| {
        let mut program = Command::new(PROGRAM);
        program.args(command);
        program.args(["--config", "/mnt/config.toml", "--root", root]);
        program
    };
    let root = format!("/proc/{}/root", other.id());
    let output = expect(&mut on(&["plan"], &root), 1);
    // The containerd of this machine says nothing about that one.
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("mirror.example"), "{stdout}");
    expect(&mut on(&["plan"], "/proc/self/root"), 4);
    // It is no `/` to restart a daemon of, either.
    expect(&mut on(&["apply", "--yes", "--restart"], &root), 2);
    drop(other.stdin.take());
    other.wait().unwrap();
}

/// An apply raises its limit of open files; a daemon that is started from it must not have another one than before.
#[test]
fn the_restart_command_has_the_usual_limit_of_open_files() {
    let scratch = Scratch::node("edge-limit");
    let limit = scratch.at("limit");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -n 100; exec \"$@\"", "sh", PROGRAM])
        .args(["apply", "--yes", "--existing", "replace", "--root"])
        .arg(scratch.at("node"))
        .args(["--restart", "--health-command", "true", "--restart-command"])
        .arg(format!("ulimit -S -n >{}", limit.display()));
    expect(&mut command, 0);
    assert_eq!(scratch.read("limit"), "100\n");
}

/// An apply whose restart command kills the guard once, and fails from then on. The killed one is done.
fn killed_guard(scratch: &Scratch, says: &str) -> Command {
    let once = scratch.at("once");
    let restart = format!(
        "if [ -e {once} ]; then echo {says}; exit 1; fi; touch {once}; kill -KILL $PPID",
        once = once.display()
    );
    let mut command = apply(&scratch.at("node"));
    command.args(["--restart", "--health-command", "true", "--restart-command"]);
    let output = command.arg(restart).output().unwrap();
    assert_eq!(output.status.code(), None, "{output:?}");
    assert!(is_new(&scratch.read(CONFIG)));
    command
}

/// What containerd or the restart command says is masked by what the files hold, before and after.
#[test]
fn a_killed_guard_that_is_taken_up_again_shows_no_secret() {
    let scratch = Scratch::node("edge-killed-secret");
    let auth = r#"imports = ["conf.d/*.toml"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."mirror.example".auth]
  password = "hunter2hunter2"
"#;
    // A table comes last, a key first.
    let (import, auth) = auth.split_at(auth.find('[').unwrap() + "[\"conf.d/*.toml\"]\n".len());
    scratch.write(CONFIG, &format!("{import}{OLD}{auth}"));
    scratch.write(
        "node/etc/containerd/conf.d/proxy.toml",
        "version = 2\n[proxy]\n  password = \"fishsword\"\n",
    );
    let mut again = killed_guard(&scratch, "bad hunter2hunter2 or fishsword");
    let output = expect(&mut again, 5);
    let stderr = stderr(&output);
    assert!(stderr.contains("| bad "), "{stderr}");
    for secret in ["hunter2", "fishsword"] {
        assert!(!stderr.contains(secret), "{stderr}");
    }
}

/// Whoever edits config.toml after a guard was killed has taken over: the edit stays, and so does the run.
#[test]
fn a_killed_guard_and_an_edited_config_lead_home() {
    let scratch = Scratch::node("edge-killed-edited");
    killed_guard(&scratch, "bad");
    let edited = format!("# edited\n{}", scratch.read(CONFIG));
    scratch.write(CONFIG, &edited);
    let output = expect(&mut apply(&scratch.at("node")), 0);
    let said = stderr(&output);
    assert!(said.contains("config.toml` was changed since"), "{said}");
    assert!(!said.contains("restarting"), "{said}");
    assert_eq!(scratch.read(CONFIG), edited);
    // The way back stops at the edit, shows it, and takes it away only when told to.
    let output = expect(&mut rollback(&scratch.at("node")), 3);
    let said = stderr(&output);
    assert!(said.contains("+# edited"), "{said}");
    assert_eq!(scratch.read(CONFIG), edited);
    let mut allowed = rollback(&scratch.at("node"));
    allowed.args(["--allow", "changed-since-apply"]);
    expect(&mut allowed, 0);
    assert_eq!(scratch.read(CONFIG), OLD);
}

/// A tree that was copied from a node, or was made by someone: what is in its journal is not executed.
#[test]
fn nothing_that_a_journal_waits_for_is_executed_unasked() {
    let scratch = Scratch::node("edge-waiting");
    let root = scratch.at("node");
    let ran = scratch.at("ran");
    let mut command = apply(&root);
    command.args(["--restart", "--health-command", "true", "--restart-command"]);
    command.arg(format!("echo >>{}; kill -KILL $PPID", ran.display()));
    assert_eq!(command.output().unwrap().status.code(), None);
    std::fs::remove_file(&ran).unwrap();
    let mut asking = Command::new(PROGRAM);
    asking
        .args(["apply", "--existing", "replace", "--root"])
        .arg(&root);
    let other = [
        "--restart",
        "--restart-command",
        "true",
        "--health-command",
        "true",
    ];
    let mut with_another = apply(&root);
    with_another.args(other);
    for command in [&mut apply(&root), &mut asking, &mut with_another] {
        let said = stderr(&expect(command, 3));
        assert!(said.contains("run 1 has written its files"), "{said}");
        assert!(said.contains("the same `--restart-command`"), "{said}");
        assert!(
            said.contains("next: containerd-registry-migrate rollback 1 --root"),
            "{said}"
        );
        assert!(!said.contains("KILL"), "{said}");
    }
    assert!(is_new(&scratch.read(CONFIG)));
    expect(&mut rollback(&root), 0);
    assert_eq!(scratch.read(CONFIG), OLD);
    assert!(!ran.exists());
}

/// A health command that cannot tell anything is noticed before the first file is written; for a rollback it is not asked
/// to succeed, since CRI may be why it is done.
#[test]
fn a_health_command_that_fails_before_is_refused() {
    let scratch = Scratch::node("edge-health");
    let root = scratch.at("node");
    let guarded = |mut command: Command, health: &str| {
        let ran = format!("echo >>{}", scratch.at("restarts").display());
        command.args([
            "--restart",
            "--health-timeout",
            "1",
            "--health-command",
            health,
        ]);
        command.arg("--restart-command").arg(ran);
        command
    };
    let output = expect(&mut guarded(apply(&root), "echo no such tool; exit 9"), 3);
    let said = stderr(&output);
    assert!(
        said.contains("error: the health command fails before"),
        "{said}"
    );
    assert!(said.contains("  | no such tool\n"), "{said}");
    assert_eq!(scratch.read(CONFIG), OLD);
    assert!(!scratch.at("restarts").exists());
    // With mirrors beside config_path CRI is down, and the migration brings it up.
    let config = scratch.at(CONFIG);
    let table = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n";
    scratch.write(CONFIG, &format!("{OLD}{table}"));
    let health = format!("! grep -q mirrors {}", config.display());
    expect(&mut guarded(apply(&root), &health), 0);
    assert!(is_new(&scratch.read(CONFIG)));
    let output = expect(&mut guarded(rollback(&root), "false"), 4);
    assert!(
        stderr(&output).contains("CRI was not up before, either"),
        "{output:?}"
    );
    assert!(!is_new(&scratch.read(CONFIG)));
}

/// Without `sh` there is no restart: known before anything is changed.
#[test]
fn a_missing_shell_is_named_before_anything_is_changed() {
    let scratch = Scratch::node("edge-shell");
    let mut command = apply(&scratch.at("node"));
    command.args([
        "--restart",
        "--health-command",
        "true",
        "--restart-command",
        "true",
    ]);
    let output = expect(command.env("PATH", scratch.at("bin")), 4);
    let said = stderr(&output);
    assert!(said.contains("cannot run `sh`"), "{said}");
    assert_eq!(scratch.read(CONFIG), OLD);
}

/// Whoever has no rights is told so, whatever it is that needs them.
#[test]
fn a_run_without_root_says_that_root_is_needed() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let scratch = Scratch::node("edge-no-root");
    let root = scratch.at("node");
    let copy = scratch.at("program");
    std::fs::copy(PROGRAM, &copy).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(arguments).arg("--root").arg(&root);
        command.uid(65534).gid(65534);
        expect(&mut command, 4)
    };
    // Its config.toml is 0640.
    for command in [&["plan"][..], &["check"], &["apply", "--yes"]] {
        let said = stderr(&run(command));
        assert!(
            said.contains("Permission denied (os error 13); run this as root"),
            "{said}"
        );
        let again = format!(
            "next: sudo containerd-registry-migrate {} --root {}\n",
            command.join(" "),
            root.display()
        );
        assert!(said.contains(&again), "{said}");
    }
    std::os::unix::fs::chown(scratch.at(CONFIG), Some(65534), None).unwrap();
    let said = stderr(&run(&["apply", "--yes", "--existing", "replace"]));
    assert!(said.contains("run this as root"), "{said}");
    // A run that was killed would be mentioned, if it could be seen.
    let state = root.join("var/lib/containerd-registry-migrate");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    for (command, code) in [("plan", 3), ("check", 1)] {
        let mut plan = Command::new(&copy);
        plan.arg(command).arg("--root").arg(&root);
        plan.uid(65534).gid(65534);
        let output = expect(&mut plan, code);
        let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("run this as root to see unfinished runs"),
            "{said}"
        );
    }
}

/// The way back of a guarded apply is a guarded one, and works as printed.
#[test]
fn the_way_back_of_a_guarded_apply_has_its_restart() {
    let scratch = Scratch::node("edge-back");
    let restarted = scratch.at("restarted");
    let mut command = apply(&scratch.at("node"));
    command.args([
        "--restart",
        "--health-command",
        "true",
        "--health-timeout",
        "7",
    ]);
    command.arg("--restart-command");
    command.arg(format!("echo \"it's\" >>{}", restarted.display()));
    let output = expect(&mut command, 0);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let back = stdout
        .lines()
        .find_map(|line| line.strip_prefix("To go back: "));
    let back = back.unwrap();
    assert!(back.contains(" --health-timeout 7"), "{back}");
    let directory = std::path::Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("{back} --yes")]).env("PATH", path);
    expect(&mut sh, 0);
    assert_eq!(scratch.read("restarted"), "it's\nit's\n");
    assert_eq!(scratch.read(CONFIG), OLD);
}

/// `plan` mentions what a killed run left, wherever its journals are, and its next command goes there.
#[test]
fn a_plan_looks_for_unfinished_runs_in_the_state_directory_that_is_given() {
    let scratch = Scratch::node("edge-plan-state");
    let root = scratch.at("node");
    let mut command = apply(&root);
    command.args([
        "--state-dir",
        "/srv/journals",
        "--restart",
        "--health-command",
        "true",
    ]);
    command.args(["--restart-command", "kill -KILL $PPID"]);
    assert_eq!(command.output().unwrap().status.code(), None);
    scratch.write(CONFIG, OLD);
    let plan = |options: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["plan", "--existing", "replace", "--root"])
            .arg(&root);
        command.args(options);
        expect(&mut command, 1)
    };
    let stdout = |options: &[&str]| String::from_utf8_lossy(&plan(options).stdout).into_owned();
    let said = stdout(&["--state-dir", "/srv/journals"]);
    assert!(
        said.contains("note: run 1 is waiting for its restart"),
        "{said}"
    );
    assert!(said.contains(" --state-dir /srv/journals"), "{said}");
    assert!(!stdout(&[]).contains("run 1"));
}
