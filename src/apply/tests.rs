use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::journal::Entry;
use super::transaction::{Content, FileChange, Found, OnFailure};
use super::*;
use crate::plan::{Change, FileKind, NEW_FILE};
use crate::secret::TextKind;
use crate::text::FileText;

/// That of some plan.
const DIGEST: &str = "aa7e25f80cf4f64e990b78a9fc5ebd6c57e77d9b1cc6e18f13e9c2f6a4d1f0c3";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("apply-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("etc/containerd")).unwrap();
        fs::write(path.join("etc/containerd/config.toml"), "old").unwrap();
        Self(path)
    }

    /// A path of the node.
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn node(&self) -> Node {
        Node::open(self.0.to_str().unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn content(text: &str) -> FileText {
    FileText::new(text.into(), TextKind::Configuration)
}

fn change(path: &str, before: Option<&str>, after: &str) -> Change {
    Change {
        kind: if path.ends_with("/hosts.toml") {
            FileKind::HostsFile
        } else {
            FileKind::Configuration
        },
        path: NodePath::new(path),
        named: None,
        before: before.map(content),
        after: content(after),
        mode: NEW_FILE,
    }
}

fn changes() -> Vec<Change> {
    vec![
        change("/etc/containerd/certs.d/a/hosts.toml", None, "hosts of a"),
        change("/etc/containerd/certs.d/b/hosts.toml", None, "hosts of b"),
        change("/etc/containerd/config.toml", Some("old"), "new"),
    ]
}

/// Applies in a session of its own.
fn apply(node: &Node, changes: &[Change]) -> Result<Applied, ApplyError> {
    let (mut session, _) = begin(node)?;
    session.apply(changes, DIGEST, None, &mut |_| {})
}

fn begin(node: &Node) -> Result<(Session<'_>, Vec<Recovered>), ApplyError> {
    begin_with(node, ChangedSinceApply::Refuse)
}

fn begin_with(
    node: &Node,
    changed: ChangedSinceApply,
) -> Result<(Session<'_>, Vec<Recovered>), ApplyError> {
    let interrupt = Interrupt::deaf();
    Session::begin(
        node,
        &state_dir(),
        Purpose::Apply,
        interrupt,
        changed,
        None,
        &mut |_| {},
    )
}

fn begin_for<'a>(
    node: &'a Node,
    purpose: Purpose,
    guard: Option<&guard::Guard>,
) -> Result<(Session<'a>, Vec<Recovered>), ApplyError> {
    let (interrupt, changed) = (Interrupt::deaf(), ChangedSinceApply::Refuse);
    Session::begin(
        node,
        &state_dir(),
        purpose,
        interrupt,
        changed,
        guard,
        &mut |_| {},
    )
}

fn state_dir() -> NodePath {
    NodePath::new("/var/lib/state")
}

/// Every path in a tree, but not the state directory.
fn tree(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("var") {
            continue;
        }
        found.push(path.to_str().unwrap().to_owned());
        if path.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn all_files_are_written_and_nothing_else_is_there() {
    let scratch = Scratch::new("all");
    let certs = scratch.0.join("etc/containerd/certs.d");
    apply(&scratch.node(), &changes()).unwrap();
    assert_eq!(
        fs::read_to_string(certs.join("a/hosts.toml")).unwrap(),
        "hosts of a"
    );
    assert_eq!(
        fs::read_to_string(scratch.0.join("etc/containerd/config.toml")).unwrap(),
        "new"
    );
    assert_eq!(fs::metadata(&certs).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(
        fs::metadata(certs.join("a/hosts.toml")).unwrap().mode() & 0o7777,
        0o644
    );
    assert_eq!(tree(&scratch.0).len(), 8);
}

#[test]
fn what_a_file_has_besides_its_bytes_stays() {
    let scratch = Scratch::new("metadata");
    let config = scratch.0.join("etc/containerd/config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o604)).unwrap();
    std::os::unix::fs::chown(&config, Some(1234), Some(4321)).unwrap();
    rustix::fs::setxattr(&config, "user.t", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    apply(&scratch.node(), &changes()).unwrap();
    let metadata = fs::metadata(&config).unwrap();
    assert_eq!(
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
        (0o604, 1234, 4321)
    );
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&config, "user.t", value.as_mut_slice()).unwrap();
    assert_eq!(&value[..length], b"kept");
}

#[test]
fn a_file_that_changed_since_the_plan_stops_everything() {
    let scratch = Scratch::new("changed");
    fs::write(scratch.0.join("etc/containerd/config.toml"), "other").unwrap();
    let before = tree(&scratch.0);
    let error = apply(&scratch.node(), &changes()).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        "changed since the plan was made: `/etc/containerd/config.toml`; nothing was written"
    );
    assert_eq!(tree(&scratch.0), before);
}

#[test]
fn a_link_in_the_place_of_a_planned_file_is_a_change() {
    let scratch = Scratch::new("link");
    fs::create_dir_all(scratch.0.join("etc/containerd/certs.d/a")).unwrap();
    let link = scratch.0.join("etc/containerd/certs.d/a/hosts.toml");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    let error = apply(&scratch.node(), &changes()).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_failure_undoes_everything() {
    let scratch = Scratch::new("failure");
    // A directory cannot be made where a file is.
    fs::create_dir_all(scratch.0.join("etc/containerd/certs.d")).unwrap();
    fs::write(scratch.0.join("etc/containerd/certs.d/b"), "in the way").unwrap();
    let before = tree(&scratch.0);
    let error = apply(&scratch.node(), &changes()).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(
        error.to_string().contains("/etc/containerd/certs.d/b"),
        "{error}"
    );
    assert_eq!(tree(&scratch.0), before);
}

/// The files of a node, less the state directory: path, bytes, mode.
fn contents(scratch: &Scratch) -> Vec<(String, Vec<u8>, u32)> {
    let read = |path: String| {
        let metadata = fs::metadata(&path).unwrap();
        let bytes = if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        (path, bytes, metadata.mode())
    };
    tree(&scratch.0).into_iter().map(read).collect()
}

fn rollback(node: &Node, run: u32, changed: ChangedSinceApply) -> Result<RolledBack, ApplyError> {
    let interrupt = Interrupt::deaf();
    let (mut session, _) = Session::begin(
        node,
        &state_dir(),
        Purpose::Apply,
        interrupt,
        changed,
        None,
        &mut |_| {},
    )?;
    session.rollback(run, None, &mut |_| {})
}

#[test]
fn a_rollback_gives_the_tree_from_before() {
    let scratch = Scratch::new("rollback");
    let node = scratch.node();
    let config = scratch.0.join("etc/containerd/config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let before = contents(&scratch);
    let run = apply(&node, &changes()).unwrap().run;
    assert_eq!(run, 1);
    let back = begin(&node).unwrap().0.way_back(run).unwrap();
    assert_eq!(back.len(), 3);
    assert_eq!(back[2].now.as_deref(), Some(b"new".as_slice()));
    assert_eq!(back[2].old.as_deref(), Some(b"old".as_slice()));
    rollback(&node, run, ChangedSinceApply::Refuse).unwrap();
    assert_eq!(contents(&scratch), before);
    let state = fs::metadata(scratch.0.join("var/lib/state")).unwrap();
    assert_eq!(state.mode() & 0o7777, 0o700);
    let journal = fs::metadata(scratch.0.join("var/lib/state/0001.journal")).unwrap();
    assert_eq!(journal.mode() & 0o7777, 0o600);
    // A second time there is nothing to go back to.
    let error = rollback(&node, run, ChangedSinceApply::Refuse).unwrap_err();
    assert_eq!(
        error.to_string(),
        "run 1 cannot be rolled back: it is rolled back"
    );
    assert_eq!(apply(&node, &changes()).unwrap().run, 2);
    let states: Vec<_> = runs(&node, &state_dir())
        .unwrap()
        .iter()
        .map(|run| run.state)
        .collect();
    assert_eq!(states, [RunState::RolledBack, RunState::Applied]);
}

#[test]
fn a_directory_with_someone_elses_file_stays() {
    let scratch = Scratch::new("stays");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let other = scratch.0.join("etc/containerd/certs.d/a/ca.crt");
    fs::write(&other, "theirs").unwrap();
    rollback(&node, 1, ChangedSinceApply::Refuse).unwrap();
    assert!(other.exists());
    assert!(
        !scratch
            .0
            .join("etc/containerd/certs.d/a/hosts.toml")
            .exists()
    );
    assert!(!scratch.0.join("etc/containerd/certs.d/b").exists());
}

#[test]
fn a_file_that_changed_since_the_apply_is_given_up_only_when_asked() {
    let scratch = Scratch::new("since");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let config = scratch.0.join("etc/containerd/config.toml");
    fs::write(&config, "edited \u{fffd}").unwrap();
    let before = contents(&scratch);
    let error = rollback(&node, 1, ChangedSinceApply::Refuse).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        "changed since run 1: `/etc/containerd/config.toml`"
    );
    assert_eq!(contents(&scratch), before);
    rollback(&node, 1, ChangedSinceApply::Overwrite).unwrap();
    assert_eq!(fs::read_to_string(&config).unwrap(), "old");
    let journal = fs::read_to_string(scratch.0.join("var/lib/state/0001.journal")).unwrap();
    assert!(journal.contains("edited \u{fffd}"), "{journal}");
}

/// A name that no file system can hold is found before the first file is written.
#[test]
fn a_name_that_is_too_long_stops_everything() {
    let scratch = Scratch::new("too-long");
    let node = scratch.node();
    let mut changes = changes();
    let long = "x".repeat(256);
    changes[1].path = NodePath::new(&format!("/etc/containerd/certs.d/{long}/hosts.toml"));
    let found = obstacles(&node, &changes);
    let path = NodePath::new(&format!("/etc/containerd/certs.d/{long}"));
    let kind = ObstacleKind::NameTooLong;
    assert_eq!(found, [Obstacle { path, kind }]);
    let before = contents(&scratch);
    let error = apply(&node, &changes).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert_eq!(contents(&scratch), before);
    assert!(runs(&node, &state_dir()).unwrap().is_empty());
}

/// Someone's directory has the name of a temporary file: it stays, and is not in the way of the way back.
#[test]
fn a_directory_with_the_name_of_a_temporary_file_stays() {
    let scratch = Scratch::new("in-the-way");
    let node = scratch.node();
    let before = contents(&scratch);
    apply(&node, &changes()).unwrap();
    let ours = scratch.at("/etc/containerd/.containerd-registry-migrate.1.2");
    forget_events(&scratch);
    fs::write(scratch.at("/etc/containerd/config.toml"), "old").unwrap();
    fs::create_dir(&ours).unwrap();
    let error = begin(&node).unwrap_err();
    assert!(matches!(error, ApplyError::Obstacles(_)), "{error}");
    assert_eq!(error.exit_code(), 3);
    let journal = journal_of(&node);
    journal.transaction(&node).remove_temporaries().unwrap();
    assert!(ours.exists());
    fs::remove_dir(&ours).unwrap();
    begin(&node).unwrap();
    assert_eq!(contents(&scratch), before);
}

/// Killed after its journal was written, and before anything else: there is nothing to remember.
#[test]
fn a_run_that_changed_nothing_leaves_no_journal() {
    let scratch = Scratch::new("nothing");
    let node = scratch.node();
    let before = contents(&scratch);
    apply(&node, &changes()).unwrap();
    forget_events(&scratch);
    let journal = scratch.0.join("var/lib/state/0001.journal");
    let text = fs::read(&journal).unwrap();
    begin(&node).unwrap();
    rollback(&node, 1, ChangedSinceApply::Refuse).unwrap();
    fs::write(&journal, text).unwrap();
    let (_, recovered) = begin(&node).unwrap();
    assert_eq!(recovered[0].what, Recovery::Undone);
    assert_eq!(contents(&scratch), before);
    assert!(runs(&node, &state_dir()).unwrap().is_empty());
    assert_eq!(apply(&node, &changes()).unwrap().run, 1);
}

/// A run that was killed right after its journal was written, and one after its commit point.
#[test]
fn a_killed_run_is_undone_or_finished() {
    let scratch = Scratch::new("killed");
    let node = scratch.node();
    let before = contents(&scratch);
    apply(&node, &changes()).unwrap();
    let after = contents(&scratch);
    let journal = scratch.0.join("var/lib/state/0001.journal");
    let text = fs::read_to_string(&journal).unwrap();
    // Cut off in the middle of the event.
    fs::write(&journal, text.strip_suffix("plied\"}\n").unwrap()).unwrap();
    assert_eq!(
        unfinished(&node, &state_dir()).unwrap()[0].state,
        RunState::Unfinished
    );
    let (_, recovered) = begin(&node).unwrap();
    assert_eq!(recovered[0].what, Recovery::Finished);
    assert_eq!(contents(&scratch), after);
    assert!(unfinished(&node, &state_dir()).unwrap().is_empty());
    assert_eq!(fs::read_to_string(&journal).unwrap(), text);
    // As if the last rename had not happened, and with a leftover.
    forget_events(&scratch);
    fs::write(scratch.0.join("etc/containerd/config.toml"), "old").unwrap();
    fs::write(
        scratch
            .0
            .join("etc/containerd/.containerd-registry-migrate.1.2"),
        "ne",
    )
    .unwrap();
    let (_, recovered) = begin(&node).unwrap();
    assert_eq!(recovered[0].what, Recovery::Undone);
    assert_eq!(contents(&scratch), before);
}

/// The journal of run 1 with these events: it was killed before it could write others.
fn set_events(scratch: &Scratch, events: &[&str]) {
    let journal = scratch.0.join("var/lib/state/0001.journal");
    let text = fs::read_to_string(&journal).unwrap();
    let lines = text.split_inclusive('\n');
    let records: String = lines.filter(|line| !line.contains("\"event\":")).collect();
    let mut bytes = records.into_bytes();
    for event in events {
        bytes.extend(journal::line(event.as_bytes()));
    }
    fs::write(&journal, bytes).unwrap();
}

fn forget_events(scratch: &Scratch) {
    set_events(scratch, &[]);
}

const PENDING: &str = r#"{"event":"restart-pending"}"#;
const RESTARTED: &str = r#"{"event":"restarted"}"#;
const GOING_BACK: &str = r#"{"event":"going-back","found":{},"restart":null,"judged":true}"#;

fn state_of(node: &Node, run: usize) -> RunState {
    runs(node, &state_dir()).unwrap()[run - 1].state
}

#[test]
fn an_edit_after_a_run_that_was_committed_stays_and_so_does_the_run() {
    for changed in [ChangedSinceApply::Refuse, ChangedSinceApply::Overwrite] {
        let scratch = Scratch::new("edited");
        let node = scratch.node();
        apply(&node, &changes()).unwrap();
        forget_events(&scratch);
        fs::write(scratch.0.join("etc/containerd/config.toml"), "new, edited").unwrap();
        let before = contents(&scratch);
        let (_, recovered) = begin_with(&node, changed).unwrap();
        assert_eq!(recovered[0].what, Recovery::Finished);
        assert_eq!(
            recovered[0].kept,
            [NodePath::new("/etc/containerd/config.toml")]
        );
        assert_eq!(contents(&scratch), before);
        assert_eq!(state_of(&node, 1), RunState::Applied);
    }
}

#[test]
fn an_edit_after_a_run_that_left_nothing_stays_and_the_run_is_closed() {
    for changed in [ChangedSinceApply::Refuse, ChangedSinceApply::Overwrite] {
        let scratch = Scratch::new("edited-undone");
        let node = scratch.node();
        apply(&node, &changes()).unwrap();
        forget_events(&scratch);
        fs::remove_dir_all(scratch.0.join("etc/containerd/certs.d")).unwrap();
        fs::write(scratch.0.join("etc/containerd/config.toml"), "old, edited").unwrap();
        let before = contents(&scratch);
        let (_, recovered) = begin_with(&node, changed).unwrap();
        assert_eq!(recovered[0].what, Recovery::Undone);
        assert_eq!(contents(&scratch), before);
        assert_eq!(state_of(&node, 1), RunState::Undone);
    }
}

/// Killed between the hosts files and the commit point, which its temporary file shows.
#[test]
fn an_edit_beside_half_a_run_needs_leave_and_stays() {
    let scratch = Scratch::new("edited-half");
    let node = scratch.node();
    let before = contents(&scratch);
    apply(&node, &changes()).unwrap();
    forget_events(&scratch);
    let config = scratch.0.join("etc/containerd/config.toml");
    fs::write(
        config.with_file_name(".containerd-registry-migrate.1.2"),
        "new",
    )
    .unwrap();
    fs::write(&config, "old, edited").unwrap();
    let half = contents(&scratch);
    let error = begin(&node).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(contents(&scratch), half);
    let (_, recovered) = begin_with(&node, ChangedSinceApply::Overwrite).unwrap();
    assert_eq!(recovered[0].what, Recovery::Undone);
    assert_eq!(fs::read_to_string(&config).unwrap(), "old, edited");
    fs::write(&config, "old").unwrap();
    assert_eq!(contents(&scratch), before);
}

#[test]
fn an_edit_after_a_killed_rollback_is_given_up_only_where_it_must_and_is_shown() {
    let scratch = Scratch::new("edited-back");
    let node = scratch.node();
    let config = scratch.0.join("etc/containerd/config.toml");
    apply(&node, &changes()).unwrap();
    let journal = scratch.0.join("var/lib/state/0001.journal");
    set_events(&scratch, &[GOING_BACK]);
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&config, "edited").unwrap();
    assert_eq!(begin(&node).unwrap_err().exit_code(), 3);
    let mut seen = Vec::new();
    let (interrupt, changed) = (Interrupt::deaf(), ChangedSinceApply::Overwrite);
    Session::begin(
        &node,
        &state_dir(),
        Purpose::Apply,
        interrupt,
        changed,
        None,
        &mut |progress| {
            seen.push(progress);
        },
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&config).unwrap(), "old");
    assert!(matches!(
        seen.as_slice(),
        [guard::Progress::Notice(Notice::GivenUp { run: 1, files })]
            if files[0].found.as_deref() == Some(b"edited") && files[0].after == b"new"
    ));
    // The hosts files are back, too: now nothing is in the way of an edit.
    fs::write(&journal, &text).unwrap();
    fs::write(&config, "edited").unwrap();
    let (_, recovered) = begin(&node).unwrap();
    assert_eq!(recovered[0].kept.len(), 1);
    assert_eq!(fs::read_to_string(&config).unwrap(), "edited");
}

#[test]
fn an_event_that_cannot_be_recorded_is_said() {
    let scratch = Scratch::new("not-recorded");
    let node = scratch.node();
    let (mut session, _) = begin(&node).unwrap();
    let mut seen = Vec::new();
    let journal = scratch.0.join("var/lib/state/0001.journal");
    // The restart takes the journal away.
    let guard = guard(&format!("mv {0} {0}.away", journal.display()), "true");
    session
        .apply(&changes(), DIGEST, Some(&guard), &mut |progress| {
            seen.push(progress)
        })
        .unwrap();
    let is_said = |progress: &guard::Progress| {
        matches!(progress, guard::Progress::Notice(Notice::NotRecorded { run: 1, reason })
            if reason.contains("0001.journal"))
    };
    assert!(seen.iter().any(is_said), "{seen:?}");
}

#[test]
fn what_is_edited_during_the_restart_of_a_rollback_stays() {
    let scratch = Scratch::new("edited-meanwhile");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let hosts = |name: &str| {
        scratch
            .0
            .join(format!("etc/containerd/certs.d/{name}/hosts.toml"))
    };
    let guard = guard(&format!("echo mine > {}", hosts("a").display()), "true");
    let (mut session, _) = begin(&node).unwrap();
    let mut seen = Vec::new();
    session
        .rollback(1, Some(&guard), &mut |progress| seen.push(progress))
        .unwrap();
    assert_eq!(fs::read_to_string(hosts("a")).unwrap(), "mine\n");
    assert!(!hosts("b").exists());
    let left = Notice::Left(vec![NodePath::new("/etc/containerd/certs.d/a/hosts.toml")]);
    assert!(seen.contains(&guard::Progress::Notice(left)), "{seen:?}");
}

#[test]
fn a_way_back_that_the_guard_needs_is_not_stopped_by_a_hosts_file() {
    let scratch = Scratch::new("hosts-fail");
    let node = scratch.node();
    let certs = scratch.0.join("etc/containerd/certs.d");
    fs::create_dir_all(certs.join("a")).unwrap();
    fs::write(certs.join("a/hosts.toml"), "old hosts").unwrap();
    let mut changes = changes();
    changes[0].before = Some(content("old hosts"));
    // What cannot be replaced is where the temporary file would be.
    let in_the_way = certs.join("a/.containerd-registry-migrate.1.0/full");
    let guard = guard(&format!("mkdir -p {}", in_the_way.display()), "false");
    let (mut session, _) = begin(&node).unwrap();
    let error = session
        .apply(&changes, DIGEST, Some(&guard), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    let config = scratch.0.join("etc/containerd/config.toml");
    assert_eq!(fs::read_to_string(config).unwrap(), "old");
    assert!(!certs.join("b/hosts.toml").exists());
    assert_eq!(
        fs::read_to_string(certs.join("a/hosts.toml")).unwrap(),
        "hosts of a"
    );
}

#[test]
fn a_link_that_leads_elsewhere_since_stops_apply_and_rollback() {
    let scratch = Scratch::new("repointed");
    let node = scratch.node();
    let named = scratch.0.join("etc/containerd/config.toml");
    let point_to = |name: &str| {
        fs::remove_file(&named).unwrap();
        std::os::unix::fs::symlink(name, &named).unwrap();
    };
    fs::write(named.with_file_name("one.toml"), "old").unwrap();
    fs::write(named.with_file_name("two.toml"), "old").unwrap();
    let mut change = change("/etc/containerd/one.toml", Some("old"), "new");
    change.named = Some(NodePath::new("/etc/containerd/config.toml"));
    point_to("two.toml");
    let error = apply(&node, std::slice::from_ref(&change)).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    point_to("one.toml");
    apply(&node, &[change]).unwrap();
    point_to("two.toml");
    let before = contents(&scratch);
    let error = rollback(&node, 1, ChangedSinceApply::Overwrite).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        "`/etc/containerd/config.toml` leads to `/etc/containerd/two.toml` now, and run 1 changed \
         `/etc/containerd/one.toml`: nothing was written"
    );
    assert!(begin(&node).unwrap().0.way_back(1).is_err());
    assert_eq!(contents(&scratch), before);
    point_to("one.toml");
    rollback(&node, 1, ChangedSinceApply::Refuse).unwrap();
}

#[test]
fn a_run_beneath_a_newer_one_is_not_rolled_back() {
    let scratch = Scratch::new("beneath");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let newer = change(
        "/etc/containerd/certs.d/a/hosts.toml",
        Some("hosts of a"),
        "2",
    );
    apply(&node, &[newer]).unwrap();
    let error = rollback(&node, 1, ChangedSinceApply::Overwrite).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(
        error.to_string().ends_with("roll back run 2 first"),
        "{error}"
    );
    rollback(&node, 2, ChangedSinceApply::Refuse).unwrap();
    rollback(&node, 1, ChangedSinceApply::Refuse).unwrap();
    // Which is closed by now; the newest one is not in its way.
    let error = rollback(&node, 1, ChangedSinceApply::Refuse).unwrap_err();
    assert!(matches!(error, ApplyError::NoSuchRun { .. }));
}

#[test]
fn runs_with_different_state_directories_exclude_each_other() {
    let scratch = Scratch::new("two-states");
    let node = scratch.node();
    let (mut session, _) = begin(&node).unwrap();
    let guard = guard("true", "true");
    let mut inner = None;
    session
        .apply(&changes(), DIGEST, Some(&guard), &mut |_| {
            let other = NodePath::new("/var/lib/other");
            let (interrupt, changed) = (Interrupt::deaf(), ChangedSinceApply::Refuse);
            let (mut session, _) = Session::begin(
                &node,
                &other,
                Purpose::Apply,
                interrupt,
                changed,
                None,
                &mut |_| {},
            )
            .unwrap();
            let result = session.apply(&changes(), DIGEST, None, &mut |_| {});
            inner.get_or_insert(result.unwrap_err());
        })
        .unwrap();
    let error = inner.unwrap();
    assert_eq!(error.exit_code(), 4);
    assert!(
        error.to_string().contains("lock `/etc/containerd`"),
        "{error}"
    );
}

#[test]
fn a_damaged_journal_of_a_closed_run_stops_nothing_but_what_is_beneath_it() {
    let scratch = Scratch::new("damaged");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let state = scratch.0.join("var/lib/state");
    let mut closed = b"damaged\n".to_vec();
    closed.extend(journal::line(br#"{"event":"rolled-back"}"#));
    fs::write(state.join("0002.journal"), closed).unwrap();
    // Not the name of a journal.
    fs::write(state.join("3.journal"), "").unwrap();
    assert!(begin(&node).is_ok());
    assert_eq!(state_of(&node, 2), RunState::Damaged);
    assert_eq!(runs(&node, &state_dir()).unwrap().len(), 2);
    assert!(unfinished(&node, &state_dir()).unwrap().is_empty());
    // Its number is not given again.
    let other = change("/etc/other", None, "other");
    assert_eq!(apply(&node, &[other]).unwrap().run, 3);
    rollback(&node, 3, ChangedSinceApply::Refuse).unwrap();
    let error = rollback(&node, 1, ChangedSinceApply::Refuse).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(
        error
            .to_string()
            .contains("move `/var/lib/state/0002.journal` out of"),
        "{error}"
    );
    fs::remove_file(state.join("0002.journal")).unwrap();
    rollback(&node, 1, ChangedSinceApply::Refuse).unwrap();
}

/// A bit that flipped: nothing is put back from it, and the message says what can still be had.
#[test]
fn a_damaged_journal_says_which_old_bytes_are_intact() {
    let (scratch, changes) = imports("intact");
    let node = scratch.node();
    apply(&node, &changes).unwrap();
    let journal = scratch.0.join("var/lib/state/0001.journal");
    let text = fs::read_to_string(&journal).unwrap();
    let damaged = text.replacen(
        "\"before\":{\"bytes\":{\"text\":\"old",
        "\"before\":{\"bytes\":{\"text\":\"olt",
        1,
    );
    assert_ne!(damaged, text);
    fs::write(&journal, damaged).unwrap();
    let after = nodes_contents(&scratch);
    let error = rollback(&node, 1, ChangedSinceApply::Overwrite).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let said = error.to_string();
    assert!(said.contains("line 2 is damaged"), "{said}");
    for (line, path) in [(4, IMPORTS[2]), (5, IMPORTS[3]), (6, IMPORTS[4])] {
        let intact =
            format!("line {line} of `/var/lib/state/0001.journal` has the old bytes of `{path}`");
        assert!(said.contains(&intact), "{said}");
    }
    // The damaged one, and one that did not exist.
    assert!(
        !said.contains(IMPORTS[0]) && !said.contains(IMPORTS[1]),
        "{said}"
    );
    assert_eq!(nodes_contents(&scratch), after);
}

#[test]
fn a_mode_that_was_made_stricter_since_stays() {
    let scratch = Scratch::new("stricter");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let config = scratch.0.join("etc/containerd/config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let (mut session, _) = begin(&node).unwrap();
    let mut seen = Vec::new();
    session
        .rollback(1, None, &mut |progress| seen.push(progress))
        .unwrap();
    assert_eq!(fs::metadata(&config).unwrap().mode() & 0o7777, 0o600);
    let path = NodePath::new("/etc/containerd/config.toml");
    let stricter = guard::Progress::Notice(Notice::Stricter(path, 0o600));
    assert_eq!(seen, [stricter]);
}

#[test]
fn two_sessions_cannot_write_at_once() {
    let scratch = Scratch::new("lock");
    let node = scratch.node();
    let (mut first, _) = begin(&node).unwrap();
    let (mut second, _) = begin(&node).unwrap();
    assert!(first.lock().unwrap());
    let error = second.lock().unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let pid = format!("pid {}, `apply`, since 20", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
    first.apply(&changes(), DIGEST, None, &mut |_| {}).unwrap();
    drop(first);
    // Another run has changed the node meanwhile.
    assert!(!second.lock().unwrap());
}

/// A lock that is another name of someone's file is held, and neither written to nor shown.
#[test]
fn a_hard_linked_lock_keeps_what_it_says() {
    let scratch = Scratch::new("hard-link");
    let node = scratch.node();
    let state = scratch.0.join("var/lib/state");
    assert!(lock_in(&node, "/var/lib/state").unwrap());
    fs::remove_file(state.join("lock")).unwrap();
    let other = scratch.at("/etc/shadow");
    fs::write(&other, "secret").unwrap();
    fs::hard_link(&other, state.join("lock")).unwrap();
    let (mut first, _) = begin(&node).unwrap();
    assert!(first.lock().unwrap());
    let error = lock_in(&node, "/var/lib/state").unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert_eq!(
        error.to_string(),
        "another run holds the lock `/var/lib/state/lock`"
    );
    assert_eq!(fs::read_to_string(&other).unwrap(), "secret");
}

#[test]
fn a_lock_that_is_no_file_is_refused() {
    let scratch = Scratch::new("lock-pipe");
    let node = scratch.node();
    assert!(lock_in(&node, "/var/lib/state").unwrap());
    let lock = scratch.0.join("var/lib/state/lock");
    fs::remove_file(&lock).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &lock, kind, mode, 0).unwrap();
    let error = lock_in(&node, "/var/lib/state").unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a_journal_of_another_schema_is_left_alone() {
    let scratch = Scratch::new("schema");
    let node = scratch.node();
    apply(&node, &changes()).unwrap();
    let journal = scratch.0.join("var/lib/state/0001.journal");
    let text = fs::read_to_string(&journal).unwrap();
    let (record, others) = text.split_once('\n').unwrap();
    let (_, record) = record.split_once(' ').unwrap();
    let mut other = journal::line(record.replace("\"schema\":3", "\"schema\":4").as_bytes());
    other.extend(others.bytes());
    fs::write(&journal, other).unwrap();
    let error = rollback(&node, 1, ChangedSinceApply::Refuse).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("schema 4"), "{error}");
    assert!(unfinished(&node, &state_dir()).unwrap().is_empty());
    // Of one that may be unfinished nothing is known.
    forget_events(&scratch);
    assert_eq!(begin(&node).unwrap_err().exit_code(), 4);
    assert_eq!(
        unfinished(&node, &state_dir()).unwrap()[0].state,
        RunState::Damaged
    );
}

#[test]
fn a_signal_undoes_what_was_begun() {
    let scratch = Scratch::new("signal");
    let node = scratch.node();
    let before = contents(&scratch);
    let interrupt = Interrupt::set();
    let (mut session, _) = Session::begin(
        &node,
        &state_dir(),
        Purpose::Apply,
        interrupt,
        ChangedSinceApply::Refuse,
        None,
        &mut |_| {},
    )
    .unwrap();
    let error = session
        .apply(&changes(), DIGEST, None, &mut |_| {})
        .unwrap_err();
    assert_eq!(error.to_string(), "interrupted; every file is as it was");
    assert_eq!(contents(&scratch), before);
}

/// A guard whose restart and health are shell commands on the scratch tree.
fn guard(restart: &str, health: &str) -> guard::Guard {
    guard::Guard {
        restart_command: restart.to_owned(),
        health: guard::Health::Command(health.to_owned()),
        timeout: 1,
        is_rescue: true,
    }
}

#[test]
fn an_unhealthy_restart_puts_the_old_files_back() {
    let scratch = Scratch::new("unhealthy");
    let node = scratch.node();
    let before = contents(&scratch);
    let config = scratch.0.join("etc/containerd/config.toml");
    let running = scratch.0.join("var/running");
    fs::create_dir_all(scratch.0.join("var")).unwrap();
    fs::write(&running, "old").unwrap();
    // What runs is what was there at the restart; only the old one is healthy.
    let guard = guard(
        &format!("cp {} {}", config.display(), running.display()),
        &format!("grep -q old {}", running.display()),
    );
    let (mut session, _) = begin(&node).unwrap();
    let mut seen = Vec::new();
    let error = session
        .apply(&changes(), DIGEST, Some(&guard), &mut |progress| {
            seen.push(progress)
        })
        .unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert_eq!(
        error.to_string(),
        "CRI does not answer after 1 s; the files from before run 1 are back, and CRI is up again"
    );
    assert!(seen.contains(&guard::Progress::PuttingBack));
    assert_eq!(contents(&scratch), before);
    assert_eq!(
        runs(&node, &state_dir()).unwrap()[0].state,
        RunState::RolledBack
    );
}

#[test]
fn a_restart_command_that_always_fails_does_not_say_that_cri_is_down() {
    let scratch = Scratch::new("wrong-command");
    let node = scratch.node();
    let before = contents(&scratch);
    let guard = guard("exit 5", "true");
    let (mut session, _) = begin(&node).unwrap();
    let error = session
        .apply(&changes(), DIGEST, Some(&guard), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert_eq!(
        error.to_string(),
        "the restart command failed (exit status: 5); the files from before run 1 are back, but containerd could not be \
         restarted with them: until someone does that by hand, it may run with the new ones"
    );
    assert_eq!(error.next(), [Next::Restart("exit 5".to_owned())]);
    assert_eq!(contents(&scratch), before);
}

/// The old files are back, and CRI is as it was before, up or down: only a CRI that was up is missed.
#[test]
fn a_rollback_after_which_cri_is_down_fails_as_far_as_it_was_up() {
    for (before, exit_code, words) in [
        ("true", 5, "but CRI is not up with them"),
        ("false", 4, "and CRI was not up before, either"),
    ] {
        let scratch = Scratch::new("rollback-down");
        let node = scratch.node();
        let old = contents(&scratch);
        let run = apply(&node, &changes()).unwrap().run;
        let restarted = scratch.0.join("var/restarted");
        let guard = guard(
            &format!(">{}", restarted.display()),
            &format!(
                "if [ -e {} ]; then false; else {before}; fi",
                restarted.display()
            ),
        );
        let purpose = Purpose::Rollback(Some(run));
        let (mut session, _) = begin_for(&node, purpose, Some(&guard)).unwrap();
        let error = session
            .rollback(run, Some(&guard), &mut |_| {})
            .unwrap_err();
        assert_eq!(error.exit_code(), exit_code, "{error}");
        assert!(error.to_string().ends_with(words), "{error}");
        assert_eq!(error.next(), [Next::Restart(guard.restart_command)]);
        assert_eq!(contents(&scratch), old);
    }
}

#[test]
fn a_guard_that_was_killed_is_taken_up_again() {
    let scratch = Scratch::new("pending");
    let node = scratch.node();
    let (mut session, _) = begin(&node).unwrap();
    let guard = guard("true", "true");
    let run = session
        .apply(&changes(), DIGEST, Some(&guard), &mut |_| {})
        .unwrap()
        .run;
    drop(session);
    let journal = scratch.0.join("var/lib/state/0001.journal");
    let text = fs::read_to_string(&journal).unwrap();
    set_events(&scratch, &[PENDING, RESTARTED]);
    let pending = fs::read_to_string(&journal).unwrap();
    assert!(text.starts_with(&pending));
    assert_eq!(
        unfinished(&node, &state_dir()).unwrap()[0].state,
        RunState::RestartPending
    );
    let mut seen = Vec::new();
    let (_, recovered) = Session::begin(
        &node,
        &state_dir(),
        Purpose::Apply,
        Interrupt::deaf(),
        ChangedSinceApply::Refuse,
        Some(&guard),
        &mut |progress| seen.push(progress),
    )
    .unwrap();
    assert_eq!(
        (recovered[0].run, recovered[0].what),
        (run, Recovery::Healthy)
    );
    // The restart is not repeated.
    assert!(
        !seen
            .iter()
            .any(|progress| matches!(progress, guard::Progress::Restarting(_)))
    );
    assert_eq!(fs::read_to_string(&journal).unwrap(), text);
}

/// The events after which a session would go on with a restart, on the files that it would find then: a run that was
/// killed right after its commit point, before its restart, after it, and on the way back.
const WAITING: [&[&str]; 4] = [
    &[],
    &[PENDING],
    &[PENDING, RESTARTED],
    &[r#"{"event":"going-back","found":{},"restart":RESTART,"judged":true}"#],
];

/// A run of `guard` that was killed where `events` say.
fn waiting(scratch: &Scratch, guard: &guard::Guard, events: &[&str]) {
    let node = scratch.node();
    let (mut session, _) = begin(&node).unwrap();
    session
        .apply(&changes(), DIGEST, Some(guard), &mut |_| {})
        .unwrap();
    let restart = journal_of(&node).record.restart.unwrap();
    let restart = serde_json::to_string(&restart).unwrap();
    let events: Vec<String> = events
        .iter()
        .map(|event| event.replace("RESTART", &restart))
        .collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    set_events(scratch, &events);
}

#[test]
fn a_restart_that_a_journal_waits_for_runs_only_if_the_same_commands_are_given() {
    for events in WAITING {
        let scratch = Scratch::new("same-commands");
        let ran = scratch.0.join("var/ran");
        let said = |text: &str| format!("echo {text} >>{}", ran.display());
        let own = guard(&said("restart"), &said("health"));
        waiting(&scratch, &own, events);
        fs::remove_file(&ran).unwrap();
        let node = scratch.node();
        let before = contents(&scratch);
        let others = [
            None,
            Some(guard("true", &said("health"))),
            Some(guard(&said("restart"), "true")),
            Some(guard::Guard {
                health: guard::Health::Ctr("/no/such.sock".to_owned()),
                ..own.clone()
            }),
        ];
        for other in &others {
            let error = begin_for(&node, Purpose::Apply, other.as_ref()).unwrap_err();
            assert!(
                matches!(error, ApplyError::RestartPending { run: 1, .. }),
                "{error}"
            );
            assert_eq!(error.exit_code(), 3);
            assert_eq!(error.next(), [Next::Rollback(1)], "{error:?}");
        }
        assert_eq!(contents(&scratch), before);
        assert!(!ran.exists(), "{events:?}");
        begin_for(&node, Purpose::Apply, Some(&own)).unwrap();
        assert!(ran.exists(), "{events:?}");
    }
}

#[test]
fn a_run_that_waits_for_its_restart_can_be_rolled_back_without_one() {
    for events in WAITING {
        let scratch = Scratch::new("back-without");
        let before = contents(&scratch);
        let ran = scratch.0.join("var/ran");
        let own = guard(&format!("echo >>{}", ran.display()), "true");
        waiting(&scratch, &own, events);
        fs::remove_file(&ran).unwrap();
        let node = scratch.node();
        let (session, recovered) = begin_for(&node, Purpose::Rollback(Some(1)), None).unwrap();
        assert!(recovered.is_empty());
        assert_eq!(session.way_back(1).unwrap().len(), 3);
        drop(session);
        // Not the one that is waiting.
        let error = begin_for(&node, Purpose::Rollback(Some(2)), None).unwrap_err();
        assert!(
            matches!(error, ApplyError::RestartPending { .. }),
            "{error}"
        );
        let (mut session, _) = begin_for(&node, Purpose::Rollback(None), None).unwrap();
        session.rollback(1, None, &mut |_| {}).unwrap();
        assert!(!ran.exists(), "{events:?}");
        assert_eq!(contents(&scratch), before);
        assert_eq!(state_of(&node, 1), RunState::RolledBack);
    }
}

/// The commands of the rollback are those of its own command line, whatever the run was given.
#[test]
fn a_run_that_waits_for_its_restart_can_be_rolled_back_with_another_one() {
    for events in WAITING {
        let scratch = Scratch::new("back-with");
        let ran = scratch.0.join("var/ran");
        let said = |text: &str| format!("echo {text} >>{}", ran.display());
        waiting(&scratch, &guard(&said("own"), "true"), events);
        fs::remove_file(&ran).unwrap();
        let node = scratch.node();
        let other = guard(&said("other"), "true");
        let purpose = Purpose::Rollback(Some(1));
        let (mut session, _) = begin_for(&node, purpose, Some(&other)).unwrap();
        session.rollback(1, Some(&other), &mut |_| {}).unwrap();
        assert_eq!(fs::read_to_string(&ran).unwrap(), "other\n", "{events:?}");
    }
}

/// They may hold a password, and are not what is executed.
#[test]
fn a_journal_holds_no_command() {
    let scratch = Scratch::new("no-command");
    waiting(&scratch, &guard(": hunter2", ": hunter3"), WAITING[3]);
    let journal = fs::read_to_string(scratch.0.join("var/lib/state/0001.journal")).unwrap();
    assert!(!journal.contains("hunter"), "{journal}");
}

/// A session that only wants its lock, in this state directory.
fn lock_in(node: &Node, state_dir: &str) -> Result<bool, ApplyError> {
    let state_dir = NodePath::new(state_dir);
    let (interrupt, changed) = (Interrupt::deaf(), ChangedSinceApply::Refuse);
    Session::begin(
        node,
        &state_dir,
        Purpose::Apply,
        interrupt,
        changed,
        None,
        &mut |_| {},
    )?
    .0
    .lock()
}

#[test]
fn a_state_directory_that_is_someone_elses_is_left_as_it_is() {
    let scratch = Scratch::new("shared");
    let node = scratch.node();
    let mode = |path: &str| fs::metadata(scratch.0.join(path)).unwrap().mode() & 0o7777;
    let set = |path: &str, mode| {
        let path = scratch.0.join(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir_all(scratch.0.join("var/lib/other")).unwrap();
    set("var/lib", 0o755);
    // Even if it was used for this once.
    fs::write(scratch.0.join("var/lib/lock"), "").unwrap();
    set("etc/containerd", 0o711);
    set("tmp", 0o1777);
    set("srv/open", 0o777);
    fs::write(scratch.0.join("srv/open/lock"), "").unwrap();
    for (path, before) in [
        ("var/lib", 0o755),
        ("etc/containerd", 0o711),
        ("tmp", 0o1777),
        ("srv/open", 0o777),
    ] {
        let error = lock_in(&node, path).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let advice = format!("(chmod 0700 {})", scratch.0.join(path).display());
        assert!(error.to_string().contains(&advice), "{error}");
        assert_eq!(mode(path), before, "{path}");
    }
    let error = lock_in(&node, "/").unwrap_err();
    assert!(
        error.to_string().contains("it is the root directory"),
        "{error}"
    );
    // One that was made for this, and one that is closed already.
    for open in [0o755, 0o775, 0o777] {
        let path = format!("srv/state-{open:o}");
        set(&path, open);
        assert!(lock_in(&node, &path).unwrap());
        assert_eq!(mode(&path), 0o700);
    }
    set("etc/containerd", 0o700);
    assert!(lock_in(&node, "/etc/containerd").unwrap());
}

fn journal_of(node: &Node) -> Journal {
    match Store::new(node, &state_dir())
        .entries()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
    {
        Entry::Run(journal) => *journal,
        Entry::Damaged(damaged) => panic!("{}", damaged.error),
    }
}

/// The files of [`imports`] in the order of a run: two hosts files, two other configuration files, the commit point.
const IMPORTS: [&str; 5] = [
    "/srv/shared/of-a",
    "/etc/containerd/certs.d/b/hosts.toml",
    "/etc/containerd/config.toml",
    "/opt/extra.toml",
    "/etc/containerd/conf.d/hosts.toml",
];

/// A node whose configuration is three files, and their names say nothing: the drop-in at the commit point is called
/// hosts.toml, another one is a link, and so is a hosts file.
fn imports(name: &str) -> (Scratch, Vec<Change>) {
    let scratch = Scratch::new(name);
    let mut changes = Vec::new();
    for (number, path) in IMPORTS.into_iter().enumerate() {
        let real = scratch.at(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        let mut change = change(path, Some("old"), &format!("new {number}"));
        change.kind = if number < 2 {
            FileKind::HostsFile
        } else {
            FileKind::Configuration
        };
        if number == 1 {
            fs::remove_dir_all(real.parent().unwrap()).unwrap();
            change.before = None;
        } else {
            fs::write(&real, "old").unwrap();
            let mode = [0o604, 0, 0o640, 0o600, 0o644][number];
            fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
        }
        changes.push(change);
    }
    let link = |number: usize, named: &str| {
        let link = scratch.at(named);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(IMPORTS[number], link).unwrap();
        Some(NodePath::new(named))
    };
    changes[0].named = link(0, "/etc/containerd/certs.d/a/hosts.toml");
    changes[3].named = link(3, "/etc/containerd/conf.d/extra.toml");
    (scratch, changes)
}

/// The files of a node with links, which lead nowhere outside of it, less the state directory: path, bytes, mode.
fn nodes_contents(scratch: &Scratch) -> Vec<(String, Vec<u8>, u32)> {
    let read = |path: String| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let bytes = match () {
            () if metadata.is_file() => fs::read(&path).unwrap(),
            () if metadata.is_symlink() => {
                Vec::from(fs::read_link(&path).unwrap().to_str().unwrap())
            }
            () => Vec::new(),
        };
        (path, bytes, metadata.mode())
    };
    tree(&scratch.0).into_iter().map(read).collect()
}

/// Which of [`IMPORTS`] are new.
fn which_are_new(scratch: &Scratch) -> [bool; 5] {
    IMPORTS.map(|path| {
        let text = fs::read_to_string(scratch.at(path)).unwrap_or_default();
        text.starts_with("new")
    })
}

#[test]
fn several_configuration_files_are_written_and_put_back() {
    let (scratch, changes) = imports("several");
    let node = scratch.node();
    let before = nodes_contents(&scratch);
    // Whatever the order of the others is, hosts files come first.
    let shuffled: Vec<Change> = [2, 0, 3, 1, 4].map(|at: usize| changes[at].clone()).into();
    let applied = apply(&node, &shuffled).unwrap();
    let paths: Vec<&str> = applied.files.iter().map(NodePath::as_str).collect();
    assert_eq!(paths, IMPORTS);
    assert_eq!(which_are_new(&scratch), [true; 5]);
    let modes = |contents: &[(String, Vec<u8>, u32)]| -> Vec<(String, u32)> {
        let old = contents
            .iter()
            .filter(|(path, ..)| !path.contains("certs.d/b"));
        old.map(|(path, _, mode)| (path.clone(), *mode)).collect()
    };
    assert_eq!(modes(&nodes_contents(&scratch)), modes(&before));
    rollback(&node, 1, ChangedSinceApply::Refuse).unwrap();
    assert_eq!(nodes_contents(&scratch), before);
}

/// Every state in which a kill can leave the files: those before `done` are new, in the order in which an apply or a
/// way back changes them.
#[test]
fn a_run_with_several_configuration_files_may_be_killed_between_any_two() {
    // The way back has the commit point first, and hosts files last.
    const BACK: [usize; 5] = [4, 3, 2, 1, 0];
    for done in 0..=5 {
        for is_back in [false, true] {
            let (scratch, changes) = imports("prefix");
            let node = scratch.node();
            let before = nodes_contents(&scratch);
            apply(&node, &changes).unwrap();
            let after = nodes_contents(&scratch);
            forget_events(&scratch);
            if is_back {
                set_events(&scratch, &[GOING_BACK]);
            }
            let old = if is_back {
                BACK[..done].to_vec()
            } else {
                (done..5).collect()
            };
            for number in old {
                let path = scratch.at(IMPORTS[number]);
                match &changes[number].before {
                    Some(content) => fs::write(path, content.bytes()).unwrap(),
                    None => fs::remove_file(path).unwrap(),
                }
            }
            // What it had written for the rest, and kept of the others.
            for (number, path) in IMPORTS.into_iter().enumerate() {
                let path = scratch.at(path);
                let leave = |name: &str| {
                    let name = format!(".containerd-registry-migrate.1{name}");
                    fs::write(path.with_file_name(name), "half").unwrap();
                };
                leave(&format!(".{number}"));
                match number {
                    4 => leave(".old"),
                    2 | 3 => leave(&format!(".{number}.old")),
                    _ => {}
                }
            }
            let (_, recovered) = begin(&node).unwrap();
            let (what, expected) = match (is_back, done) {
                (true, _) => (Recovery::RolledBack, &before),
                (false, 5) => (Recovery::Finished, &after),
                (false, _) => (Recovery::Undone, &before),
            };
            assert_eq!(recovered[0].what, what, "{done}");
            assert_eq!(&nodes_contents(&scratch), expected, "{done}, {is_back}");
            assert!(unfinished(&node, &state_dir()).unwrap().is_empty());
        }
    }
}

/// What is new when each file is about to be put back, beginning with that file's number.
#[test]
fn the_way_back_begins_at_the_commit_point_and_ends_with_the_hosts_files() {
    let (scratch, changes) = imports("order");
    let node = scratch.node();
    apply(&node, &changes).unwrap();
    let journal = journal_of(&node);
    let transaction = journal.transaction(&node);
    let steps = std::cell::RefCell::new(Vec::new());
    let is_ours = |index, _: &FileChange, _: &Found| {
        let new = which_are_new(&scratch);
        steps
            .borrow_mut()
            .push((index, new.iter().filter(|new| **new).count()));
        true
    };
    let mut back = transaction
        .back(&is_ours, true, OnFailure::ChangeNothing)
        .unwrap();
    back.configuration().unwrap();
    assert_eq!(which_are_new(&scratch), [true, true, false, false, false]);
    back.hosts_files().unwrap();
    assert_eq!(which_are_new(&scratch), [false; 5]);
    // Once when it is prepared, and once right before the step.
    assert_eq!(
        steps.into_inner(),
        [
            (4, 5),
            (3, 5),
            (2, 5),
            (1, 5),
            (0, 5),
            (4, 5),
            (3, 4),
            (2, 3),
            (1, 2),
            (0, 1)
        ]
    );
}

/// What someone makes of the file at the commit point while it is to be put back may hold `config_path`, beside which
/// the mirrors of the others must not come back.
#[test]
fn a_commit_point_that_is_edited_on_the_way_back_keeps_the_others_new() {
    for is_prepared in [false, true] {
        let (scratch, changes) = imports("taken-over");
        let node = scratch.node();
        apply(&node, &changes).unwrap();
        let journal = journal_of(&node);
        let transaction = journal.transaction(&node);
        let edit = || fs::write(scratch.at(IMPORTS[4]), "new, edited").unwrap();
        if !is_prepared {
            edit();
        }
        let is_ours = |_, file: &FileChange, found: &Found| found.is(Some(&file.after));
        let mut back = transaction
            .back(&is_ours, true, OnFailure::ChangeNothing)
            .unwrap();
        edit();
        back.configuration().unwrap();
        let error = back.stuck().unwrap_err();
        assert_eq!(error.path.as_str(), IMPORTS[4]);
        drop(back);
        transaction.remove_temporaries().unwrap();
        assert_eq!(which_are_new(&scratch), [true; 5]);
        // The same of a run that has just been committed, and is to be undone.
        let error = transaction.undo(&(0..5).collect()).unwrap_err();
        assert_eq!(error.path.as_str(), IMPORTS[4]);
        assert_eq!(which_are_new(&scratch), [true; 5]);
        // One that never got there goes back as far as it got.
        transaction.undo(&(0..4).collect()).unwrap();
        assert_eq!(which_are_new(&scratch), [false, false, false, false, true]);
    }
}

/// An edit of any configuration file after the commit point: the run is closed, and nothing is restarted for it.
#[test]
fn an_edited_drop_in_of_a_committed_run_stays_and_so_does_the_run() {
    for number in [2, 3, 4] {
        // Each guard takes its seconds, and one tells as much as three.
        for is_guarded in [false, true].into_iter().take(1 + number % 2) {
            let (scratch, changes) = imports("edited-drop-in");
            let node = scratch.node();
            let restarted = scratch.0.join("var/restarted");
            let guard = guard(&format!("echo >>{}", restarted.display()), "true");
            let (mut session, _) = begin(&node).unwrap();
            let guard = is_guarded.then_some(&guard);
            session.apply(&changes, DIGEST, guard, &mut |_| {}).unwrap();
            drop(session);
            forget_events(&scratch);
            if is_guarded {
                fs::remove_file(&restarted).unwrap();
            }
            let path = IMPORTS[number];
            fs::write(scratch.at(path), "new, edited").unwrap();
            let before = nodes_contents(&scratch);
            let (_, recovered) = begin(&node).unwrap();
            assert_eq!(recovered[0].what, Recovery::Finished);
            assert_eq!(recovered[0].kept, [NodePath::new(path)]);
            assert_eq!(nodes_contents(&scratch), before);
            assert_eq!(state_of(&node, 1), RunState::Applied);
            assert!(!restarted.exists());
            // The way back says what it would give up.
            let error = rollback(&node, 1, ChangedSinceApply::Refuse).unwrap_err();
            assert_eq!(error.to_string(), format!("changed since run 1: `{path}`"));
        }
    }
}

/// A guard that was killed, and a commit point that is old again: what the other files said must not be lost.
#[test]
fn a_commit_point_that_was_put_back_by_hand_takes_the_others_with_it() {
    let (scratch, changes) = imports("by-hand");
    let node = scratch.node();
    let before = nodes_contents(&scratch);
    let (mut session, _) = begin(&node).unwrap();
    let guard = guard("true", "true");
    session
        .apply(&changes, DIGEST, Some(&guard), &mut |_| {})
        .unwrap();
    drop(session);
    set_events(&scratch, &[PENDING, RESTARTED]);
    fs::write(scratch.at(IMPORTS[4]), "old").unwrap();
    let (_, recovered) = begin_for(&node, Purpose::Apply, Some(&guard)).unwrap();
    assert_eq!(recovered[0].what, Recovery::RolledBack);
    assert_eq!(nodes_contents(&scratch), before);
}

/// The guard puts the configuration back, restarts, and only then takes the hosts files away.
#[test]
fn an_unhealthy_restart_puts_all_configuration_files_back_before_it_restarts_again() {
    let (scratch, changes) = imports("guard-several");
    let node = scratch.node();
    let before = nodes_contents(&scratch);
    let seen = scratch.0.join("var/seen");
    fs::create_dir_all(scratch.0.join("var")).unwrap();
    let at = |number: usize| scratch.at(IMPORTS[number]).display().to_string();
    // The old configuration files are at hand under names of ours, so that going back needs no room.
    let kept =
        "ls -A etc/containerd etc/containerd/conf.d opt | { grep -c 'migrate.*old' || true; }";
    let restart = format!(
        "cd {}; cat {} {} {} {} {} >>{seen}; {kept} >>{seen}",
        scratch.0.display(),
        at(0),
        at(1),
        at(2),
        at(3),
        at(4),
        seen = seen.display()
    );
    let guard = guard(&restart, &format!("grep -qx old {}", at(4)));
    let (mut session, _) = begin(&node).unwrap();
    let error = session
        .apply(&changes, DIGEST, Some(&guard), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    let text = fs::read_to_string(&seen).unwrap();
    assert_eq!(text, "new 0new 1new 2new 3new 43\nnew 0new 1oldoldold0\n");
    assert_eq!(nodes_contents(&scratch), before);
}

/// A configuration file that cannot be written does not keep the commit point from going back, which is what CRI
/// loads with, and what is left is completed later.
#[test]
fn a_way_back_that_the_guard_needs_is_not_stopped_by_another_configuration_file() {
    let (scratch, changes) = imports("other-fails");
    let node = scratch.node();
    let before = nodes_contents(&scratch);
    // What cannot be replaced is where the temporary file would be, and what was kept is gone.
    let beside = scratch.0.join("opt");
    let in_the_way = beside.join(".containerd-registry-migrate.1.3");
    let restarts = scratch.0.join("var/restarts");
    let guard = guard(
        &format!(
            "test -e {} || mkdir -p {}/full; rm -f {}/.*.old; echo >>{}",
            scratch.0.join("var/enough").display(),
            in_the_way.display(),
            beside.display(),
            restarts.display()
        ),
        &format!("grep -qx old {}", scratch.at(IMPORTS[4]).display()),
    );
    let (mut session, _) = begin(&node).unwrap();
    let error = session
        .apply(&changes, DIGEST, Some(&guard), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    let said = error.to_string();
    assert!(said.contains("`/opt/extra.toml` is as planned"), "{said}");
    assert_eq!(which_are_new(&scratch), [false, false, false, true, false]);
    assert_eq!(fs::read_to_string(&restarts).unwrap(), "\n\n");
    drop(session);
    fs::remove_dir_all(&in_the_way).unwrap();
    fs::write(scratch.0.join("var/enough"), "").unwrap();
    let (_, recovered) = begin_for(&node, Purpose::Apply, Some(&guard)).unwrap();
    assert_eq!(recovered[0].what, Recovery::RolledBack);
    assert_eq!(nodes_contents(&scratch), before);
}

/// A directory is locked for each file that is in it, and for hosts files the one above: by what they are, not by
/// their names.
#[test]
fn runs_on_one_drop_in_with_different_state_directories_exclude_each_other() {
    let (scratch, changes) = imports("two-states-drop-in");
    let node = scratch.node();
    let (mut session, _) = begin(&node).unwrap();
    let guard = guard("true", "true");
    let mut inner = None;
    session
        .apply(&changes, DIGEST, Some(&guard), &mut |_| {
            let other = NodePath::new("/var/lib/other");
            let (interrupt, changed) = (Interrupt::deaf(), ChangedSinceApply::Refuse);
            let (mut session, _) = Session::begin(
                &node,
                &other,
                Purpose::Apply,
                interrupt,
                changed,
                None,
                &mut |_| {},
            )
            .unwrap();
            let result = session.apply(&changes[4..], DIGEST, None, &mut |_| {});
            inner.get_or_insert(result.unwrap_err().to_string());
        })
        .unwrap();
    let error = inner.unwrap();
    assert!(error.contains("lock `/etc/containerd/conf.d`"), "{error}");
}

#[test]
fn the_commit_point_tells_how_far_a_run_is_and_every_configuration_file_whether_it_is_edited() {
    let (scratch, changes) = imports("look");
    let node = scratch.node();
    apply(&node, &changes).unwrap();
    let journal = journal_of(&node);
    let transaction = journal.transaction(&node);
    let look = |number: usize, content| {
        let mut look = [Content::New; 5];
        look[number] = content;
        look
    };
    for (content, is_committed) in [
        (Content::New, true),
        (Content::Old, false),
        (Content::Other, true),
    ] {
        let look = look(4, content);
        assert_eq!(transaction.is_committed(&look).unwrap(), is_committed);
        assert_eq!(transaction.is_back(&look), content == Content::Old);
    }
    for number in 0..5 {
        assert_eq!(
            transaction.is_edited(&look(number, Content::Other)),
            number > 1
        );
        assert!(!transaction.is_edited(&look(number, Content::Old)));
    }
}
