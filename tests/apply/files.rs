//! What happens to files on real file systems: metadata, links, mounts, full and read-only disks, two runs at once.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::disk::{
    CONFIG, OLD, PROGRAM, REPLACED, Scratch, apply, expect, is_new, rollback, state, tree,
};

/// Runs `script` in a mount namespace of its own, so that no mount outlives it; `$1` is the program, `$2` the scratch
/// directory.
fn with_mounts(scratch: &Scratch, script: &str) -> Output {
    Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            &format!("set -e; {script}"),
            "sh",
            PROGRAM,
        ])
        .arg(&scratch.0)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_message(output: &[u8], words: &[&str]) {
    let output = String::from_utf8_lossy(output);
    for word in words {
        assert!(output.contains(word), "no `{word}` in: {output}");
    }
}

#[test]
fn mode_owner_attributes_and_acl_survive_apply_and_rollback() {
    let scratch = Scratch::node("metadata");
    let root = scratch.at("node");
    let config = scratch.at(CONFIG);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o604)).unwrap();
    std::os::unix::fs::chown(&config, Some(1234), Some(1235)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&config, "user.note", b"\xff\x00", flags).unwrap();
    let set_acl = |arguments: &[&str], path: &Path| {
        let set = Command::new("setfacl").args(arguments).arg(path).status();
        assert!(set.unwrap().success());
    };
    set_acl(&["-m", "u:1300:r", "-m", "g:1301:rw"], &config);
    // New files in this directory would get an ACL that the old one does not have.
    set_acl(
        &["-d", "-m", "u:1302:rwx"],
        scratch.at(REPLACED).parent().unwrap(),
    );
    let before = tree(&root);
    expect(&mut apply(&root), 0);
    let after = tree(&root);
    for file in [CONFIG, REPLACED] {
        let file = file.strip_prefix("node").unwrap();
        assert_eq!(after[file].metadata, before[file].metadata);
        assert_ne!(after[file].contents, before[file].contents);
    }
    expect(&mut rollback(&root), 0);
    assert_eq!(tree(&root), before);
}

#[test]
fn new_files_do_not_depend_on_the_umask() {
    let scratch = Scratch::node("umask");
    let root = scratch.at("node");
    set_mode(&scratch, CONFIG, 0o644);
    let output = Command::new("sh")
        .args([
            "-c",
            "umask 077; exec \"$0\" apply --yes --existing replace --root \"$1\"",
            PROGRAM,
        ])
        .arg(&root)
        .output()
        .unwrap();
    assert!(output.status.success());
    let mode = |path: &str| mode(&scratch, &format!("node/{path}"));
    assert_eq!(mode("etc/containerd/certs.d/quay.io"), 0o755);
    assert_eq!(mode("etc/containerd/certs.d/quay.io/hosts.toml"), 0o644);
    assert_eq!(mode("var/lib/containerd-registry-migrate"), 0o700);
    assert_eq!(state(&root), ["0001.journal", "lock"]);
    for name in state(&root) {
        let path = format!("var/lib/containerd-registry-migrate/{name}");
        assert_eq!(mode(&path), 0o600, "{name}");
    }
}

fn mode(scratch: &Scratch, path: &str) -> u32 {
    fs::metadata(scratch.at(path)).unwrap().mode() & 0o7777
}

fn set_mode(scratch: &Scratch, path: &str, mode: u32) {
    fs::set_permissions(scratch.at(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// The JSON that `plan` prints of the node.
fn plan(scratch: &Scratch, options: &[&str]) -> serde_json::Value {
    let mut plan = Command::new(PROGRAM);
    plan.args(["plan", "--format", "json", "--root"]);
    plan.arg(scratch.at("node")).args(options);
    serde_json::from_slice(&expect(&mut plan, 1).stdout).unwrap()
}

/// A comment moves with its entry, and so does all else that a file of root alone says.
#[test]
fn a_new_file_is_no_more_open_than_what_its_content_comes_from() {
    let certs = "node/etc/containerd/certs.d";
    let mut digests = Vec::new();
    // The mode of config.toml, of a new hosts file, and of a new directory. The group of the new file may be another.
    for (config, file, directory) in [
        (0o644, 0o644, 0o755),
        (0o666, 0o644, 0o755),
        (0o444, 0o444, 0o755),
        (0o640, 0o600, 0o700),
        (0o600, 0o600, 0o700),
        (0o400, 0o400, 0o700),
    ] {
        let scratch = Scratch::new(&format!("modes-{config:o}"));
        scratch.write(CONFIG, &format!("{OLD}  # the team's own words\n"));
        set_mode(&scratch, CONFIG, config);
        let plan = plan(&scratch, &[]);
        let files = plan["files"].as_array().unwrap();
        for new in files.iter().filter(|file| file["action"] == "create") {
            assert_eq!(new["mode"], format!("{file:04o}"), "{config:o}");
        }
        digests.push((file, plan["digest"].to_string()));
        expect(&mut apply(&scratch.at("node")), 0);
        let new = format!("{certs}/replaced.example/hosts.toml");
        assert!(scratch.read(&new).contains("the team's own words"));
        assert_eq!(mode(&scratch, &new), file, "{config:o}");
        for made in [certs, &format!("{certs}/replaced.example")] {
            assert_eq!(mode(&scratch, made), directory, "{config:o} {made}");
        }
        assert_eq!(mode(&scratch, CONFIG), config);
    }
    for (one, digest) in &digests {
        for (other, other_digest) in &digests {
            assert_eq!(one == other, digest == other_digest, "{one:o} {other:o}");
        }
    }
}

/// Only what comes from the file of few is for few: not what other files of the configuration say.
#[test]
fn each_new_file_has_the_mode_of_its_own_sources() {
    let table = |name: &str| format!("[plugins.\"io.containerd.grpc.v1.cri\".registry.{name}]\n");
    let mirror = |name: &str, host: &str| {
        format!(
            "{}  endpoint = [\"https://{host}\"]\n",
            table(&format!("mirrors.\"{name}\""))
        )
    };
    let scratch = Scratch::new("modes-imports");
    let open = format!(
        "version = 2\nimports = [\"conf.d/*.toml\"]\n{}{}{}",
        mirror("open.example", "m.example"),
        mirror("verified.example", "tls.example"),
        mirror("moved.example", "m.example"),
    );
    scratch.write(CONFIG, &open);
    let drop_in = "node/etc/containerd/conf.d/few.toml";
    scratch.write(
        drop_in,
        &format!(
            "version = 2\n{}{}  ca_file = \"/etc/ca.pem\"\n{}",
            mirror("few.example", "m.example"),
            table("configs.\"tls.example\".tls"),
            mirror("moved.example", "m2.example"),
        ),
    );
    scratch.write("node/etc/ca.pem", include_str!("../data/pem/00_plain.pem"));
    set_mode(&scratch, CONFIG, 0o644);
    set_mode(&scratch, drop_in, 0o600);
    expect(apply(&scratch.at("node")).args(["--from", "2.1"]), 0);
    let certs = "node/etc/containerd/certs.d";
    // Others must be able to get to the file that they can read.
    assert_eq!(mode(&scratch, certs), 0o755);
    for (name, file, directory) in [
        ("open.example", 0o644, 0o755),
        ("few.example", 0o600, 0o700),
        ("verified.example", 0o600, 0o700),
        ("moved.example", 0o600, 0o700),
    ] {
        let made = format!("{certs}/{name}");
        assert_eq!(mode(&scratch, &made), directory, "{name}");
        assert_eq!(
            mode(&scratch, &format!("{made}/hosts.toml")),
            file,
            "{name}"
        );
    }
}

/// A file that exists keeps its mode, so it does not get the comment.
#[test]
fn a_comment_of_a_file_of_few_is_not_moved_into_an_existing_file_of_many() {
    for (mode, moves) in [(0o644, false), (0o640, false), (0o600, true)] {
        let scratch = Scratch::node("modes-replaced");
        scratch.write(CONFIG, &format!("{OLD}  # the team's own words\n"));
        set_mode(&scratch, CONFIG, 0o600);
        set_mode(&scratch, REPLACED, mode);
        let output = expect(&mut apply(&scratch.at("node")), 0);
        let has_moved = scratch.read(REPLACED).contains("the team's own words");
        assert_eq!(has_moved, moves, "{mode:o}");
        let said = String::from_utf8_lossy(&output.stdout).contains("note[comment-dropped]");
        assert_eq!(said, !moves, "{mode:o}");
        assert_eq!(self::mode(&scratch, REPLACED), mode);
    }
}

/// With several directories in `config_path`, a hosts file of one is copied to another.
#[test]
fn a_copied_hosts_file_is_no_more_open_than_the_one_it_is_copied_from() {
    let scratch = Scratch::new("modes-copied");
    scratch.write(
        CONFIG,
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/a:/etc/b\"\n",
    );
    for (name, mode) in [("open", 0o644), ("few", 0o600)] {
        let path = format!("node/etc/b/{name}.example/hosts.toml");
        scratch.write(&path, "server = \"https://m.example\"\n[host]\n");
        set_mode(&scratch, &path, mode);
    }
    scratch.write(
        "node/etc/a/a.example/hosts.toml",
        "server = \"https://a.example\"\n[host]\n",
    );
    let mut apply = Command::new(PROGRAM);
    apply.args(["apply", "--yes", "--existing", "keep", "--root"]);
    expect(apply.arg(scratch.at("node")), 0);
    for (name, file, directory) in [("open", 0o644, 0o755), ("few", 0o600, 0o700)] {
        let made = format!("node/etc/a/{name}.example");
        assert_eq!(
            mode(&scratch, &format!("{made}/hosts.toml")),
            file,
            "{name}"
        );
        assert_eq!(mode(&scratch, &made), directory, "{name}");
    }
}

#[test]
fn a_linked_config_stays_a_link() {
    let scratch = Scratch::node("link");
    let root = scratch.at("node");
    let link = scratch.at(CONFIG);
    fs::create_dir_all(root.join("opt")).unwrap();
    fs::rename(&link, root.join("opt/config.toml")).unwrap();
    // Absolute, as the node sees it: outside of the root there is no such file.
    symlink("/opt/config.toml", &link).unwrap();
    let before = tree(&root);
    expect(&mut apply(&root), 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(is_new(&scratch.read("node/opt/config.toml")));
    expect(&mut rollback(&root), 0);
    assert_eq!(tree(&root), before);
}

#[test]
fn a_link_out_of_the_root_leads_nowhere() {
    let scratch = Scratch::node("escape");
    scratch.write("outside/quay.io/hosts.toml", "not ours");
    let root = scratch.at("node");
    fs::remove_dir_all(root.join("etc/containerd/certs.d")).unwrap();
    symlink("../../../outside", root.join("etc/containerd/certs.d")).unwrap();
    expect(&mut apply(&root), 0);
    assert_eq!(scratch.read("outside/quay.io/hosts.toml"), "not ours");
    assert!(
        scratch
            .read("node/outside/quay.io/hosts.toml")
            .contains("quay.io")
    );
}

#[test]
fn a_mounted_certs_directory() {
    let scratch = Scratch::node("mounted");
    scratch.write(
        "elsewhere/replaced.example/hosts.toml",
        "server = \"https://other.example\"\n",
    );
    let before = tree(&scratch.at("elsewhere"));
    let output = with_mounts(
        &scratch,
        r#"mount --bind "$2/elsewhere" "$2/node/etc/containerd/certs.d"
        "$1" apply --yes --existing replace --root "$2/node"
        cp -r "$2/elsewhere" "$2/during"
        "$1" rollback --yes --root "$2/node""#,
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        scratch
            .read("during/quay.io/hosts.toml")
            .contains("https://mirror.example/quay")
    );
    assert!(
        scratch
            .read("during/replaced.example/hosts.toml")
            .contains("https://mirror.example")
    );
    assert_eq!(tree(&scratch.at("elsewhere")), before);
}

/// What keeps a file from being replaced is found while planning: every command says so, and none leaves a journal.
#[track_caller]
fn assert_obstacle(scratch: &Scratch, arrange: &str, path: &str, words: &[&str]) {
    let before = tree(&scratch.at("node"));
    let script = format!(
        r#"{arrange}
        code() {{ code=0; "$@" >>"$out" 2>&1 || code=$?; echo "$code"; }}
        root=$2/node out=$2/out
        rm -f "$out"
        code "$1" plan --existing replace --root "$root"
        code "$1" check --existing replace --root "$root"
        code "$1" apply --yes --existing replace --root "$root"
        code "$1" apply --yes --existing replace --root "$root""#
    );
    let output = with_mounts(scratch, &script);
    let stripped = Command::new("chattr")
        .args(["-R", "-f", "-i", "-a"])
        .arg(scratch.at("node"))
        .status();
    assert!(stripped.unwrap().success());
    let said = scratch.read("out");
    assert_eq!(output.stdout, b"3\n1\n3\n3\n", "{output:?}\n{said}");
    let messages: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("error[file-cannot-be-replaced]"))
        .collect();
    assert_eq!(messages.len(), 4, "{said}");
    for message in messages {
        assert!(message.contains(&format!("`{path}`")), "{message}");
        assert_message(message.as_bytes(), words);
    }
    assert_eq!(tree(&scratch.at("node")), before);
    assert!(state(&scratch.at("node")).is_empty());
}

#[test]
fn a_mounted_file_is_found_while_planning() {
    for (name, file) in [("config", CONFIG), ("hosts", REPLACED)] {
        let scratch = Scratch::node(&format!("mounted-{name}"));
        scratch.write("elsewhere", &scratch.read(file));
        let mount = format!(r#"mount --bind "$2/elsewhere" "$2/{file}""#);
        let path = file.trim_start_matches("node");
        assert_obstacle(&scratch, &mount, path, &["is a mount point"]);
        // Of the same file system, so that only the mount tells.
        let mount = format!(r#"mount --bind "$2/{file}" "$2/{file}""#);
        assert_obstacle(&scratch, &mount, path, &["is a mount point"]);
    }
}

const READ_ONLY: &str =
    r#"mount --bind "$2/node$3" "$2/node$3"; mount -o remount,ro,bind "$2/node$3""#;

#[test]
fn a_read_only_mount_is_found_while_planning() {
    for path in [
        "/etc/containerd",
        "/etc/containerd/certs.d",
        "/etc/containerd/certs.d/replaced.example",
    ] {
        let scratch = Scratch::node("read-only");
        let arrange = READ_ONLY.replace("$3", path);
        assert_obstacle(&scratch, &arrange, path, &["is on a read-only file system"]);
    }
}

/// A container that only plans mounts the tree so.
#[test]
fn a_tree_that_is_read_only_from_its_root_on_is_planned_and_not_written() {
    let scratch = Scratch::node("read-only-tree");
    let before = tree(&scratch.at("node"));
    let script = format!(
        r#"{}
        "$1" plan --existing replace --root "$2/node" >&2 || echo $?
        "$1" apply --yes --existing replace --root "$2/node" >&2 || echo $?"#,
        READ_ONLY.replace("$3", "")
    );
    let output = with_mounts(&scratch, &script);
    assert_eq!(output.stdout, b"1\n4\n", "{output:?}");
    assert_message(&output.stderr, &["ead-only file system"]);
    assert_eq!(tree(&scratch.at("node")), before);
}

/// `chattr +a` and `chattr +i`, on a file, its directory, or the directory in which one is to be made.
#[test]
fn a_protected_file_or_directory_is_found_while_planning() {
    for (flag, word) in [("i", "is immutable"), ("a", "is append-only")] {
        for path in [
            "/etc/containerd/config.toml",
            "/etc/containerd",
            "/etc/containerd/certs.d",
            "/etc/containerd/certs.d/replaced.example/hosts.toml",
            "/etc/containerd/certs.d/replaced.example",
        ] {
            let scratch = Scratch::node("protected");
            let arrange = format!(r#"chattr +{flag} "$2/node{path}""#);
            assert_obstacle(&scratch, &arrange, path, &[word]);
        }
    }
}

#[test]
fn a_directory_with_the_name_of_a_temporary_file_is_found_while_planning() {
    let scratch = Scratch::node("temporary-name");
    let path = "/etc/containerd/.containerd-registry-migrate.1.4";
    let arrange = format!(r#"mkdir -p "$2/node{path}""#);
    fs::create_dir(scratch.at(&format!("node{path}"))).unwrap();
    assert_obstacle(&scratch, &arrange, path, &["is a directory"]);
}

#[test]
fn a_rollback_stops_before_a_read_only_mount() {
    let scratch = Scratch::node("read-only-back");
    let root = scratch.at("node");
    expect(&mut apply(&root), 0);
    let before = tree(&root);
    let script = format!(
        r#"{}
        "$1" rollback --yes --root "$2/node" >&2 || echo $?"#,
        READ_ONLY.replace("$3", "/etc/containerd/certs.d")
    );
    let output = with_mounts(&scratch, &script);
    assert_eq!(output.stdout, b"3\n", "{output:?}");
    assert_message(
        &output.stderr,
        &["/etc/containerd/certs.d", "is on a read-only file system"],
    );
    assert_eq!(tree(&root), before);
}

/// A rollback looks, too, before it changes anything; and so does a session that finds a killed run.
#[test]
fn a_rollback_stops_before_a_protected_file() {
    let scratch = Scratch::node("protected-back");
    let root = scratch.at("node");
    expect(&mut apply(&root), 0);
    let before = tree(&root);
    let chattr = |flag: &str| {
        let status = Command::new("chattr")
            .arg(flag)
            .arg(root.join("etc/containerd/certs.d"))
            .status();
        assert!(status.unwrap().success());
    };
    chattr("+a");
    let output = rollback(&root).output().unwrap();
    chattr("-a");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_message(
        &output.stderr,
        &[
            "`/etc/containerd/certs.d` is append-only",
            "chattr -a",
            "nothing was written",
        ],
    );
    assert_eq!(tree(&root), before);
    expect(&mut rollback(&root), 0);
}

#[test]
fn a_full_disk_is_a_failure_without_a_trace() {
    let scratch = Scratch::node("full");
    fs::create_dir_all(scratch.at("small")).unwrap();
    // With more and more pages left, every step is once the one that finds no room. The state directory is elsewhere
    // for the second half.
    let output = with_mounts(
        &scratch,
        r#"mount -t tmpfs -o size=128k tmpfs "$2/small"
        cp -a "$2/node/." "$2/small"
        for where in same other; do
          if [ $where = other ]; then
            mkdir -p "$2/state" "$2/small/var/lib/containerd-registry-migrate"
            mount --bind "$2/state" "$2/small/var/lib/containerd-registry-migrate"
          fi
          for left in 0 4 8 12 16 20 24 28 32 36; do
            dd if=/dev/zero of="$2/small/filler" bs=1024 2>/dev/null || true
            size=$(stat -c %s "$2/small/filler")
            truncate -s $((size - left * 1024)) "$2/small/filler"
            cp -a "$2/small/etc" "$2/expected"
            code=0
            "$1" apply --yes --existing replace --root "$2/small" >"$2/out" || code=$?
            echo $where $left $code
            if [ $code = 0 ]; then
              rm "$2/small/filler"
              "$1" rollback --yes --root "$2/small" >"$2/out"
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
    for needed in [
        "same 0 4",
        "same 36 0",
        "other 0 4",
        "other 4 4",
        "other 36 0",
    ] {
        assert!(stdout.contains(needed), "no `{needed}` in: {stdout}");
    }
    assert_message(&output.stderr, &["No space left"]);
}

/// The disk fills while the guard waits: what containerd reads when it starts goes back all the same.
#[test]
fn a_disk_that_is_full_when_the_guard_goes_back() {
    let scratch = Scratch::node("full-guard");
    fs::create_dir_all(scratch.at("small")).unwrap();
    let output = with_mounts(
        &scratch,
        r#"mount -t tmpfs -o size=256k tmpfs "$2/small"
        cp -a "$2/node/." "$2/small"
        code=0
        "$1" apply --yes --existing replace --root "$2/small" --restart --health-timeout 1 \
          --restart-command "test -e $2/filled || cat /dev/zero >>$2/small/filler; touch $2/filled" \
          --health-command "grep -q mirrors $2/small/etc/containerd/config.toml" || code=$?
        echo code $code
        cmp "$2/small/etc/containerd/config.toml" "$2/node/etc/containerd/config.toml"
        rm "$2/small/filler"
        "$1" rollback --yes --root "$2/small"
        diff -r "$2/small/etc" "$2/node/etc"
        "$1" apply --yes --existing replace --root "$2/small"
        "$1" rollback --yes --root "$2/small"
        diff -r "$2/small/etc" "$2/node/etc""#,
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    // One hosts file had to be written, and there was no room for it.
    assert_message(&output.stdout, &["code 5"]);
    assert_message(
        &output.stderr,
        &[
            "No space left",
            "`/etc/containerd/config.toml` is as before",
        ],
    );
}

/// Each file is open until it has its name, and the usual limit is low.
#[test]
fn more_files_than_may_be_open() {
    let scratch = Scratch::node("many");
    let root = scratch.at("node");
    let mut config = OLD.to_owned();
    for number in 0..200 {
        config.push_str(&format!(
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"r{number}.example\"]\n  \
             endpoint = [\"https://mirror.example/{number}\"]\n"
        ));
    }
    fs::write(scratch.at(CONFIG), config).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -S -n 100; exec \"$0\" apply --yes --existing replace --root \"$1\"",
            PROGRAM,
        ])
        .arg(&root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_message(&output.stdout, &["Written: 205 files"]);
}

#[test]
fn two_runs_at_once() {
    let scratch = Scratch::node("twice");
    let root = scratch.at("node");
    // Many at once, a few times: one writes, and each other one is refused or has nothing to do.
    for _ in 0..5 {
        let spawn = || {
            apply(&root)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        let children: Vec<_> = (0..6).map(|_| spawn().unwrap()).collect();
        let mut written = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let stdout = String::from_utf8_lossy(&output.stdout);
            let stderr = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) if stdout.contains("Written:") => written += 1,
                Some(0) => assert!(stdout.contains("Nothing to migrate"), "{stdout}"),
                Some(4) => assert!(stderr.contains("another run holds the lock"), "{stderr}"),
                code => panic!("{code:?}: {stderr}"),
            }
        }
        assert_eq!(written, 1);
        assert!(is_new(&scratch.read(CONFIG)));
        expect(&mut rollback(&root), 0);
    }
}

#[test]
fn a_run_that_waits_keeps_others_out() {
    let scratch = Scratch::node("holder");
    let root = scratch.at("node");
    let begun = scratch.at("begun");
    let mut first = apply(&root);
    restarting(&mut first, &format!("touch {}; sleep 2", begun.display()));
    let first = first
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&begun);
    let output = expect(&mut rollback(&root), 4);
    let holder = format!("pid {}, `apply`, since 2", first.id());
    assert_message(&output.stderr, &["another run holds the lock", &holder]);
    assert!(first.wait_with_output().unwrap().status.success());
}

#[test]
fn a_file_edited_between_plan_and_write() {
    let scratch = Scratch::node("edited");
    let root = scratch.at("node");
    // It waits a second for its lock; by then it has its plan.
    let traced = apply(&root);
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "inject=flock:delay_enter=1000000"]);
    command.arg(traced.get_program()).args(traced.get_args());
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&root.join("var/lib/containerd-registry-migrate/lock"));
    let edited = format!("{OLD}# edited\n");
    fs::write(scratch.at(CONFIG), &edited).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_message(
        &output.stderr,
        &[
            "changed since the plan was made",
            "/etc/containerd/config.toml",
        ],
    );
    assert_eq!(scratch.read(CONFIG), edited);
    assert!(!root.join("etc/containerd/certs.d/quay.io").exists());
}

#[test]
fn what_changed_since_is_shown_and_given_up_only_when_asked() {
    let scratch = Scratch::node("since");
    let root = scratch.at("node");
    let before = tree(&root);
    expect(&mut apply(&root), 0);
    let edited = scratch.read(CONFIG) + "# mine\n";
    fs::write(scratch.at(CONFIG), &edited).unwrap();
    let output = expect(&mut rollback(&root), 3);
    assert_message(
        &output.stderr,
        &[
            "error[changed-since-apply]",
            "+# mine",
            "--allow changed-since-apply",
        ],
    );
    assert_eq!(scratch.read(CONFIG), edited);
    expect(rollback(&root).args(["--allow", "changed-since-apply"]), 0);
    assert_eq!(tree(&root), before);
}

#[test]
fn the_list_of_runs_and_what_is_not_there() {
    let scratch = Scratch::node("list");
    let root = scratch.at("node");
    let output = expect(&mut rollback(&root), 0);
    assert_message(&output.stdout, &["nothing to roll back"]);
    let output = expect(rollback(&root).arg("--list"), 0);
    assert_message(
        &output.stdout,
        &["No runs in /var/lib/containerd-registry-migrate"],
    );
    assert!(state(&root).is_empty());
    expect(&mut apply(&root), 0);
    let output = expect(rollback(&root).arg("2"), 3);
    assert_message(&output.stderr, &["there is no run 2"]);
    expect(rollback(&root).arg("1"), 0);
    let output = expect(rollback(&root).arg("1"), 0);
    assert_message(&output.stdout, &["run 1 is not in effect"]);
    expect(&mut apply(&root), 0);
    let output = expect(rollback(&root).arg("--list"), 0);
    let list = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[1].contains("  rolled back  ") && lines[2].contains("  applied  "),
        "{list}"
    );
}

#[test]
fn what_is_no_file_under_the_name_of_a_journal_is_a_damaged_one() {
    let scratch = Scratch::node("no-journal");
    let root = scratch.at("node");
    expect(&mut apply(&root), 0);
    let journal = |run: u32| {
        root.join(format!(
            "var/lib/containerd-registry-migrate/{run:04}.journal"
        ))
    };
    let pipe = Command::new("mkfifo").arg(journal(2)).status();
    assert!(pipe.unwrap().success());
    fs::create_dir(journal(3)).unwrap();
    let output = expect(rollback(&root).arg("--list"), 0);
    assert_message(&output.stdout, &["applied", "damaged"]);
    for command in [&mut apply(&root), &mut rollback(&root)] {
        let output = expect(command, 4);
        assert_message(
            &output.stderr,
            &[
                "0002.journal",
                "not a regular file",
                "out of the state directory",
            ],
        );
    }
}

/// Adds a restart that is always accepted.
fn restarting(command: &mut Command, restart: &str) {
    command.args([
        "--restart",
        "--restart-command",
        restart,
        "--health-command",
        "true",
    ]);
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{} does not come",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_while_the_restart_is_judged_changes_nothing() {
    for signal in ["INT", "TERM", "HUP"] {
        let scratch = Scratch::node(&format!("signal-{signal}"));
        let root = scratch.at("node");
        let begun = scratch.at("begun");
        let mut command = apply(&root);
        restarting(&mut command, &format!("touch {}; sleep 1", begun.display()));
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&begun);
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{signal}: {stderr}");
        assert!(is_new(&scratch.read(CONFIG)));
    }
}
