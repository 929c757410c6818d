//! Nodes as trees on disk: copies of fixtures and hand-made ones, and what `apply` makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::daemon::temporary_folder;
use crate::world::{World, toml_paths};

/// Where config.toml is when nothing else is said.
pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";

/// A node's tree in a folder of its own, with certificates, and the world that it names.
pub(crate) struct Node {
    folder: TempDir,
    pub(crate) world: Arc<World>,
}

impl Node {
    /// A copy of a tree whose config.toml has this path.
    pub(crate) fn copy_of(tree: &Path, config: &str) -> Node {
        let folder = temporary_folder();
        copy(tree, &folder.path().join("node"));
        Node::in_folder(folder, config)
    }

    /// A node of these files.
    pub(crate) fn of_files(files: &[(&str, &str)]) -> Node {
        let folder = temporary_folder();
        write_files(&folder.path().join("node"), files);
        Node::in_folder(folder, CONFIG)
    }

    fn in_folder(folder: TempDir, config: &str) -> Node {
        let world = Arc::new(World::of(&folder.path().join("node"), config));
        Node { folder, world }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    /// The tree with these files written over it.
    pub(crate) fn with_files(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let changed = self.folder.path().join(name);
        copy(&self.tree(), &changed);
        write_files(&changed, files);
        changed
    }

    /// The tree with every TOML file of another tree written over it.
    pub(crate) fn with_configuration_of(&self, name: &str, other: &Path) -> PathBuf {
        let changed = self.folder.path().join(name);
        copy(&self.tree(), &changed);
        // A link's file is in the tree as well.
        for path in toml_paths(other)
            .into_iter()
            .filter(|path| !path.is_symlink())
        {
            let target = changed.join(path.strip_prefix(other).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(path, target).unwrap();
        }
        changed
    }

    /// The tree after `apply` with these options, or what it said instead.
    pub(crate) fn applied(&self, name: &str, options: &[String]) -> Result<PathBuf, String> {
        let (tree, _) = self.apply(name, options)?;
        Ok(tree)
    }

    /// The tree after `apply` with these options, and what it said of it; or what it said instead.
    pub(crate) fn apply(
        &self,
        name: &str,
        options: &[String],
    ) -> Result<(PathBuf, String), String> {
        let changed = self.folder.path().join(name);
        copy(&self.tree(), &changed);
        let output = Command::new(env!("CARGO_BIN_EXE_containerd-registry-migrate"))
            .args(["apply", "--yes", "--root"])
            .arg(&changed)
            .args(options)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if output.status.success() {
            return Ok((changed, said.into_owned()));
        }
        Err(format!(
            "apply {}: {}\n{said}",
            options.join(" "),
            output.status
        ))
    }
}

/// Links, modes and all.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(
        status.success(),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
}

fn write_files(tree: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(tree).unwrap();
    for (path, text) in files {
        let target = tree.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, text).unwrap();
    }
}

/// Whether two trees are the same to containerd. What the program remembers of a run is its own, and each run's.
pub(crate) fn same_files(one: &Path, other: &Path) -> bool {
    let status = Command::new("diff")
        // A link leads to a path of the node, not of this machine.
        .args(["-r", "-q", "--no-dereference"])
        .args(["--exclude", "containerd-registry-migrate"])
        .args([one, other])
        .stdout(Stdio::null())
        .status();
    status.unwrap().success()
}
