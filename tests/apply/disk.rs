//! What the disk tests share: nodes to write to, the program that writes, and a comparison of whole trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A scratch directory with a node in it, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self::in_directory(std::env::temp_dir(), name)
    }

    /// One in memory, where an fsync costs nothing.
    pub(crate) fn in_memory(name: &str) -> Self {
        let memory = PathBuf::from("/dev/shm");
        Self::in_directory(
            if memory.is_dir() {
                memory
            } else {
                std::env::temp_dir()
            },
            name,
        )
    }

    fn in_directory(directory: PathBuf, name: &str) -> Self {
        let path = directory.join(format!("disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Writes a file and the directories to it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// The node that the disk tests change: three hosts files are new, one is replaced, one that is not in the plan
    /// stays.
    pub(crate) fn node(name: &str) -> Self {
        Self::new(name).with_node()
    }

    pub(crate) fn with_node(self) -> Self {
        self.with(&PLAIN)
    }

    /// The same node with another layout of its configuration.
    pub(crate) fn with(self, layout: &Layout) -> Self {
        for (mode, (path, text)) in [0o640, 0o604, 0o600].into_iter().zip(layout.files) {
            self.write(&format!("node{path}"), text);
            let path = self.at(&format!("node{path}"));
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        for (link, target) in layout.links {
            let link = self.at(&format!("node{link}"));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        self.write(REPLACED, "server = \"https://other.example\"\n[host]\n");
        self.write(
            "node/etc/containerd/certs.d/kept.example/hosts.toml",
            "server = \"https://kept.example\"\n[host]\n",
        );
        // Where a node has it; the program makes only what is below.
        fs::create_dir_all(self.at("node/var/lib")).unwrap();
        self
    }

    /// A copy of its node, with everything that files have.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let copy = self.at(name);
        let _ = fs::remove_dir_all(&copy);
        let copied = Command::new("cp")
            .arg("-a")
            .args([&self.at("node"), &copy])
            .status();
        assert!(copied.unwrap().success());
        copy
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Its config.toml and the hosts file that is replaced, in the scratch directory.
pub(crate) const CONFIG: &str = "node/etc/containerd/config.toml";
pub(crate) const REPLACED: &str = "node/etc/containerd/certs.d/replaced.example/hosts.toml";

/// Its config.toml.
pub(crate) const OLD: &str = r#"version = 2

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.example"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."quay.io"]
  endpoint = ["https://mirror.example/quay"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."192.168.0.4:5500"]
  endpoint = ["http://192.168.0.4:5500"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."replaced.example"]
  endpoint = ["https://mirror.example"]
"#;

/// Where the mirrors of a node stand.
pub(crate) struct Layout {
    /// Real paths and texts, in the order in which they are to be written: the last one is the commit point.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Links on the way to them, and where they lead.
    pub(crate) links: &'static [(&'static str, &'static str)],
    /// What an apply needs to be told.
    options: &'static [&'static str],
}

/// All in config.toml.
pub(crate) const PLAIN: Layout = Layout {
    files: &[("/etc/containerd/config.toml", OLD)],
    links: &[],
    options: &[],
};

/// The same mirrors in config.toml and two drop-ins: one whose name says something else, and the last one, which gets
/// `config_path`, in a directory of its own behind a link. containerd 2.1 merges all three.
pub(crate) const IMPORTS: Layout = Layout {
    files: &[
        (
            "/etc/containerd/config.toml",
            r#"version = 2
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.example"]
"#,
        ),
        (
            "/etc/containerd/conf.d/hosts.toml",
            r#"version = 2

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."quay.io"]
  endpoint = ["https://mirror.example/quay"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."192.168.0.4:5500"]
  endpoint = ["http://192.168.0.4:5500"]
"#,
        ),
        (
            "/opt/registry/last.toml",
            r#"version = 2

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."replaced.example"]
  endpoint = ["https://mirror.example"]
"#,
        ),
    ],
    links: &[(
        "/etc/containerd/conf.d/registry.toml",
        "/opt/registry/last.toml",
    )],
    options: &["--from", "2.1"],
};

/// A config.toml that was migrated.
pub(crate) fn is_new(config: &str) -> bool {
    config.contains("config_path = \"/etc/containerd/certs.d\"") && !config.contains("mirrors")
}

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-registry-migrate");

pub(crate) fn apply(root: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["apply", "--yes", "--existing", "replace", "--root"])
        .arg(root);
    command
}

pub(crate) fn rollback(root: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["rollback", "--yes", "--root"]).arg(root);
    command
}

/// The same for a node of another layout.
pub(crate) fn apply_to(layout: &Layout, root: &Path) -> Command {
    let mut command = apply(root);
    command.args(layout.options);
    command
}

/// Runs it and expects an exit code.
#[track_caller]
pub(crate) fn expect(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Mode, owner, attributes.
    pub(crate) metadata: String,
    /// Bytes, or where a link leads.
    pub(crate) contents: String,
}

pub(crate) type Tree = BTreeMap<String, Entry>;

/// Everything in a tree less the state directory.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut found = BTreeMap::new();
    walk(root, "", &mut found);
    found
}

fn walk(path: &Path, name: &str, found: &mut Tree) {
    if name == "/var/lib/containerd-registry-migrate" {
        return;
    }
    let metadata = fs::symlink_metadata(path).unwrap();
    let contents = if metadata.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = format!(
                "{name}/{}",
                String::from_utf8_lossy(entry.file_name().as_bytes())
            );
            walk(&entry.path(), &name, found);
        }
        "directory".to_owned()
    } else {
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    };
    let mode = metadata.permissions().mode();
    let owner = (metadata.uid(), metadata.gid());
    let metadata = format!("{mode:o} {owner:?} {:?}", attributes(path, &metadata));
    found.insert(name.to_owned(), Entry { metadata, contents });
}

fn attributes(path: &Path, metadata: &fs::Metadata) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    if metadata.is_symlink() {
        return found;
    }
    let (mut names, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let length = rustix::fs::listxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0);
    for name in names.filter(|name| !name.is_empty()) {
        let length = rustix::fs::getxattr(path, name, value.as_mut_slice()).unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        found.insert(name, value[..length].to_vec());
    }
    found
}

/// The names in the state directory.
pub(crate) fn state(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("var/lib/containerd-registry-migrate"));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
