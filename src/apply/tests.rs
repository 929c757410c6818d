use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("apply-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("etc/containerd")).unwrap();
        fs::write(path.join("etc/containerd/config.toml"), "old").unwrap();
        Self(path)
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

fn change(path: &str, before: Option<&str>, after: &str) -> Change {
    Change {
        path: NodePath::new(path),
        before: before.map(|text| text.as_bytes().to_vec()),
        after: after.as_bytes().to_vec(),
    }
}

fn changes() -> Vec<Change> {
    vec![
        change("/etc/containerd/certs.d/a/hosts.toml", None, "hosts of a"),
        change("/etc/containerd/certs.d/b/hosts.toml", None, "hosts of b"),
        change("/etc/containerd/config.toml", Some("old"), "new"),
    ]
}

/// Every path in a tree.
fn tree(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
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
    apply(&scratch.node(), &changes(), &Interrupt::default()).unwrap();
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
    apply(&scratch.node(), &changes(), &Interrupt::default()).unwrap();
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
    let error = apply(&scratch.node(), &changes(), &Interrupt::default()).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        "changed since the plan was made: `/etc/containerd/config.toml`"
    );
    assert_eq!(tree(&scratch.0), before);
}

#[test]
fn a_link_in_the_place_of_a_planned_file_is_a_change() {
    let scratch = Scratch::new("link");
    fs::create_dir_all(scratch.0.join("etc/containerd/certs.d/a")).unwrap();
    let link = scratch.0.join("etc/containerd/certs.d/a/hosts.toml");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    let error = apply(&scratch.node(), &changes(), &Interrupt::default()).unwrap_err();
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
    let error = apply(&scratch.node(), &changes(), &Interrupt::default()).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(
        error.to_string().contains("/etc/containerd/certs.d/b"),
        "{error}"
    );
    assert_eq!(tree(&scratch.0), before);
}
