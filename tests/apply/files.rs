//! What happens to files on real file systems: metadata, links, mounts, full and read-only disks, two runs at once.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::disk::{self, NEW, OLD, Scratch, apply, expect, rollback, state, tree};

/// Runs `script` in a mount namespace of its own, so that no mount outlives it; `$1` is the program, `$2` the scratch
/// directory.
fn with_mounts(scratch: &Scratch, script: &str) -> std::process::Output {
    Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("set -e; {script}"), "sh"])
        .args([&disk::program(), &scratch.0])
        .output()
        .unwrap()
}

#[track_caller]
fn assert_message(stderr: &[u8], words: &[&str]) {
    let stderr = String::from_utf8_lossy(stderr);
    for word in words {
        assert!(stderr.contains(word), "no `{word}` in: {stderr}");
    }
}

#[test]
fn mode_owner_attributes_and_acl_survive_apply_and_rollback() {
    let scratch = Scratch::node("metadata");
    let root = scratch.at("node");
    let config = root.join("etc/containerd/config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o604)).unwrap();
    std::os::unix::fs::chown(&config, Some(1234), Some(1235)).unwrap();
    rustix::fs::setxattr(
        &config,
        "user.note",
        b"\xff\x00",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let acl = Command::new("setfacl")
        .args(["-m", "u:1300:r", "-m", "g:1301:rw"])
        .arg(&config)
        .status();
    assert!(acl.unwrap().success());
    // New files in this directory would get an ACL that the old ones do not have.
    let directory = root.join("etc/containerd/certs.d/replaced");
    let acl = Command::new("setfacl")
        .args(["-d", "-m", "u:1302:rwx"])
        .arg(&directory)
        .status();
    assert!(acl.unwrap().success());
    let before = tree(&root);
    expect(&mut apply(&root, &scratch.at("after")), 0);
    let after = tree(&root);
    // The same but for the bytes.
    let file = "/etc/containerd/config.toml";
    assert_eq!(after[file], before[file].replace(OLD, NEW));
    assert_ne!(after[file], before[file]);
    let file = "/etc/containerd/certs.d/replaced/hosts.toml";
    assert_eq!(after[file], before[file].replace("before", "after"));
    expect(&mut rollback(&root, 1), 0);
    assert_eq!(tree(&root), before);
}

#[test]
fn new_files_do_not_depend_on_the_umask() {
    let scratch = Scratch::node("umask");
    let root = scratch.at("node");
    let output = Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" apply \"$1\" \"$2\""])
        .args([&disk::program(), &root, &scratch.at("after")])
        .output()
        .unwrap();
    assert!(output.status.success());
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("etc/containerd/certs.d/quay.io"), 0o755);
    assert_eq!(mode("etc/containerd/certs.d/quay.io/hosts.toml"), 0o644);
    assert_eq!(mode("var/lib/containerd-registry-migrate"), 0o700);
    for name in state(&root) {
        let path = format!("var/lib/containerd-registry-migrate/{name}");
        assert_eq!(mode(&path), 0o600, "{name}");
    }
}

#[test]
fn a_linked_config_stays_a_link() {
    let scratch = Scratch::node("link");
    let root = scratch.at("node");
    let link = root.join("etc/containerd/config.toml");
    fs::create_dir_all(root.join("opt")).unwrap();
    fs::rename(&link, root.join("opt/config.toml")).unwrap();
    // Absolute, as the node sees it: outside of the root there is no such file.
    symlink("/opt/config.toml", &link).unwrap();
    let before = tree(&root);
    expect(&mut apply(&root, &scratch.at("after")), 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(scratch.read("node/opt/config.toml"), NEW);
    expect(&mut rollback(&root, 1), 0);
    assert_eq!(tree(&root), before);
}

#[test]
fn a_link_out_of_the_root_leads_nowhere() {
    let scratch = Scratch::node("escape");
    scratch.write("outside/quay.io/hosts.toml", "not ours");
    let root = scratch.at("node");
    fs::remove_dir_all(root.join("etc/containerd/certs.d")).unwrap();
    symlink("../../../outside", root.join("etc/containerd/certs.d")).unwrap();
    expect(&mut apply(&root, &scratch.at("after")), 0);
    assert_eq!(scratch.read("outside/quay.io/hosts.toml"), "not ours");
    assert_eq!(scratch.read("node/outside/quay.io/hosts.toml"), "quay.io");
}

#[test]
fn a_mounted_certs_directory() {
    let scratch = Scratch::node("mounted");
    fs::create_dir_all(scratch.at("elsewhere/replaced")).unwrap();
    scratch.write("elsewhere/replaced/hosts.toml", "replaced, before");
    let before = tree(&scratch.at("elsewhere"));
    let output = with_mounts(
        &scratch,
        r#"mount --bind "$2/elsewhere" "$2/node/etc/containerd/certs.d"
        "$1" apply "$2/node" "$2/after"
        cp -r "$2/elsewhere" "$2/during"
        "$1" rollback "$2/node" 1"#,
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(scratch.read("during/quay.io/hosts.toml"), "quay.io");
    assert_eq!(
        scratch.read("during/replaced/hosts.toml"),
        "replaced, after"
    );
    assert_eq!(tree(&scratch.at("elsewhere")), before);
}

#[test]
fn a_read_only_mount_is_a_failure_without_a_trace() {
    let scratch = Scratch::node("read-only");
    let before = tree(&scratch.at("node"));
    let output = with_mounts(
        &scratch,
        r#"mount --bind "$2/node/etc/containerd/certs.d" "$2/node/etc/containerd/certs.d"
        mount -o remount,ro,bind "$2/node/etc/containerd/certs.d"
        exec "$1" apply "$2/node" "$2/after""#,
    );
    assert_eq!(output.status.code(), Some(4));
    assert_message(
        &output.stderr,
        &["/etc/containerd/certs.d/192.168.0.4:5500", "Read-only"],
    );
    assert_eq!(tree(&scratch.at("node")), before);
}

#[test]
fn a_full_disk_is_a_failure_without_a_trace() {
    let scratch = Scratch::node("full");
    fs::create_dir_all(scratch.at("small")).unwrap();
    // With fewer and fewer pages left, every step is the one that finds no room. The state directory is elsewhere for
    // the second half.
    let output = with_mounts(
        &scratch,
        r#"mount -t tmpfs -o size=96k tmpfs "$2/small"
        cp -a "$2/node/." "$2/small"
        for where in same other; do
          if [ $where = other ]; then
            mkdir -p "$2/state" "$2/small/var/lib/containerd-registry-migrate"
            mount --bind "$2/state" "$2/small/var/lib/containerd-registry-migrate"
          fi
          for left in 0 4 8 12 16 20 24 28 32; do
            dd if=/dev/zero of="$2/small/filler" bs=1024 2>/dev/null || true
            size=$(stat -c %s "$2/small/filler")
            truncate -s $((size - left * 1024)) "$2/small/filler"
            cp -a "$2/small/etc" "$2/expected"
            code=0
            "$1" apply "$2/small" "$2/after" || code=$?
            echo $where $left $code
            if [ $code = 0 ]; then
              rm "$2/small/filler"
              runs=$(ls "$2/small/var/lib/containerd-registry-migrate" | grep -c journal)
              "$1" rollback "$2/small" $runs
            else
              test $code = 4
            fi
            diff -r "$2/small/etc" "$2/expected"
            rm -rf "$2/expected" "$2/small/filler"
          done
        done"#,
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for needed in ["same 0 4", "other 0 4", "other 4 4", "other 32 0"] {
        assert!(stdout.contains(needed), "no `{needed}` in: {stdout}");
    }
    assert_message(&output.stderr, &["No space left"]);
}

#[test]
fn two_runs_at_once() {
    let scratch = Scratch::node("twice");
    let (root, after) = (scratch.at("node"), scratch.at("after"));
    // Many at once, a few times: one writes, and each other one is refused or comes too late.
    let mut applied = 0;
    for _ in 0..5 {
        let spawn = || {
            apply(&root, &after)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        let children: Vec<_> = (0..6).map(|_| spawn().unwrap()).collect();
        let mut written = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => written += usize::from(!output.stdout.is_empty()),
                Some(4) => assert!(stderr.contains("another run holds the lock"), "{stderr}"),
                Some(3) => assert!(stderr.contains("changed since the plan"), "{stderr}"),
                code => panic!("{code:?}: {stderr}"),
            }
        }
        assert_eq!(written, 1);
        applied += 1;
        assert_eq!(
            fs::read_to_string(root.join("etc/containerd/config.toml")).unwrap(),
            NEW
        );
        expect(&mut rollback(&root, applied), 0);
    }
}

#[test]
fn a_file_edited_between_plan_and_write() {
    let scratch = Scratch::node("edited");
    let root = scratch.at("node");
    let config = root.join("etc/containerd/config.toml");
    let mut command = apply(&root, &scratch.at("after"));
    command.env("PAUSE", format!("echo edited > {}", config.display()));
    let output = expect(&mut command, 3);
    assert_message(&output.stderr, &["/etc/containerd/config.toml"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), "edited\n");
    assert!(!root.join("etc/containerd/certs.d/quay.io").exists());
}

/// Sends `signal` when `begun` is there, and returns how the program ended.
fn interrupted(command: &mut Command, begun: &Path, signal: &str) -> std::process::Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !begun.exists() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    child.wait_with_output().unwrap()
}

#[test]
fn a_signal_at_the_prompt_ends_the_program() {
    let scratch = Scratch::node("prompt");
    let root = scratch.at("node");
    let before = tree(&root);
    let begun = scratch.at("begun");
    let mut command = apply(&root, &scratch.at("after"));
    // The sleep must not hold the pipes when the program is gone.
    let pause = format!("touch {}; exec sleep 2 >/dev/null 2>&1", begun.display());
    let output = interrupted(command.env("PAUSE", pause), &begun, "INT");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(2)
    );
    assert_eq!(tree(&root), before);
}

#[test]
fn a_signal_while_the_restart_is_judged_changes_nothing() {
    let scratch = Scratch::node("hangup");
    let root = scratch.at("node");
    let begun = scratch.at("begun");
    let mut command = apply(&root, &scratch.at("after"));
    command
        .arg(format!("touch {}; sleep 1", begun.display()))
        .arg("true");
    let output = interrupted(&mut command, &begun, "HUP");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        fs::read_to_string(root.join("etc/containerd/config.toml")).unwrap(),
        NEW
    );
}
