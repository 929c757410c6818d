//! What the tests share: fixtures, copies of trees, runs of the program.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test crate uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

pub mod report;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-registry-migrate");

/// One run of the program on a golden node: `fixtures/<topic>/<node>/`, or one `[[run]]` of it.
#[derive(Debug)]
pub struct Fixture {
    /// `<topic>/<node>`, or `<topic>/<node>/<run>` where several runs share the node.
    pub name: String,
    /// The directory of the node.
    pub path: PathBuf,
    /// Options for every command.
    pub args: Vec<String>,
    /// The exit code of `plan`.
    pub exit: i32,
    /// The codes of the findings.
    pub findings: Vec<String>,
    /// The exit code of `check`; none where it depends on more than the node.
    pub check: Option<i32>,
    /// The file that the daemon reads, where neither `--config` says it nor the default path is it.
    config: Option<String>,
    /// The hosts that are tried after the migration, by namespace.
    pub pulls: BTreeMap<String, Vec<String>>,
    /// Whether the printed plan has a golden file.
    pub text: bool,
    /// Whether the printed table of `check` has a golden file.
    pub table: bool,
    /// The directory with the migrated tree.
    after: String,
    /// What distinguishes the golden files of this run from those of other runs.
    suffix: String,
}

impl Fixture {
    pub fn node(&self) -> PathBuf {
        self.path.join("node")
    }

    pub fn after(&self) -> PathBuf {
        self.path.join(&self.after)
    }

    pub fn is_migrated(&self) -> bool {
        self.exit == 1
    }

    /// The last component of the name, which is unique on its own.
    pub fn run_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// A golden file of this run, such as `plan.txt`.
    pub fn golden(&self, stem: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{stem}{}.{extension}", self.suffix))
    }

    /// The value of an option, if it is given.
    pub fn option(&self, name: &str) -> Option<&str> {
        let place = self.args.iter().position(|argument| argument == name)?;
        self.args.get(place + 1).map(String::as_str)
    }

    /// The file that the daemon reads.
    pub fn config(&self) -> &str {
        let config = self.option("--config").or(self.config.as_deref());
        config.unwrap_or("/etc/containerd/config.toml")
    }

    /// The runs of the `case.toml` in a directory.
    fn read(path: &Path, name: &str) -> Vec<Self> {
        let file = path.join("case.toml");
        let text = fs::read_to_string(&file).unwrap();
        let case = toml_edit::Document::parse(text).unwrap_or_else(|e| panic!("{file:?}: {e}"));
        match case.get("run").map(|runs| runs.as_array_of_tables()) {
            None => vec![Self::of(path, name.to_owned(), String::new(), &case)],
            Some(Some(runs)) => runs
                .iter()
                .map(|run| {
                    let run_name = run["name"].as_str().unwrap();
                    let suffix = format!("-{run_name}");
                    Self::of(path, format!("{name}/{run_name}"), suffix, run)
                })
                .collect(),
            Some(None) => panic!("{file:?}: `run` is not [[run]]"),
        }
    }

    fn of(path: &Path, name: String, suffix: String, table: &toml_edit::Table) -> Self {
        let known = [
            "name", "about", "args", "exit", "findings", "check", "config", "pulls", "text",
            "table", "after",
        ];
        for (key, _) in table {
            assert!(known.contains(&key), "{name}: unknown key `{key}`");
        }
        let required = |key: &str| {
            let item = table.get(key);
            item.unwrap_or_else(|| panic!("{name}: `{key}` is missing in case.toml"))
        };
        let strings = |item: &toml_edit::Item| -> Vec<String> {
            let array = item.as_array();
            let array = array.unwrap_or_else(|| panic!("{name}: not an array"));
            let strings = array.iter().map(|value| value.as_str().unwrap().to_owned());
            strings.collect()
        };
        let code = |item: &toml_edit::Item| i32::try_from(item.as_integer().unwrap()).unwrap();
        let flag = |key| table.get(key).is_some_and(|flag| flag.as_bool().unwrap());
        let pulls = table.get("pulls").and_then(|pulls| pulls.as_table());
        let pulls = pulls.into_iter().flat_map(|pulls| pulls.iter());
        assert!(required("about").is_str(), "{name}: about is a string");
        Self {
            path: path.to_owned(),
            args: strings(required("args")),
            exit: code(required("exit")),
            findings: strings(required("findings")),
            check: table.get("check").map(code),
            config: table
                .get("config")
                .map(|config| config.as_str().unwrap().to_owned()),
            pulls: pulls
                .map(|(namespace, hosts)| (namespace.to_owned(), strings(hosts)))
                .collect(),
            text: flag("text"),
            table: flag("table"),
            after: table.get("after").map_or_else(
                || "after".to_owned(),
                |after| after.as_str().unwrap().to_owned(),
            ),
            suffix,
            name,
        }
    }
}

/// Every run of every fixture, by name.
pub fn fixtures() -> Vec<Fixture> {
    fixtures_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"))
}

/// Every run of every fixture somewhere below a directory, by name.
pub fn fixtures_in(directory: &Path) -> Vec<Fixture> {
    fn walk(directory: &Path, name: &str, found: &mut Vec<Fixture>) {
        if directory.join("case.toml").is_file() {
            found.extend(Fixture::read(directory, name));
            return;
        }
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let below = entry.file_name().into_string().unwrap();
            let separator = if name.is_empty() { "" } else { "/" };
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}{separator}{below}"), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, "", &mut found);
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// The fixture with this last component of its name.
pub fn fixture(run_name: &str) -> Fixture {
    let mut fixtures = fixtures().into_iter();
    fixtures
        .find(|fixture| fixture.run_name() == run_name)
        .unwrap_or_else(|| panic!("no fixture {run_name}"))
}

/// A directory of its own for a test, empty.
pub fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir_all(&path).unwrap();
    path
}

/// A directory in memory where there is such a thing, removed at the end: for tests that write hundreds of trees and
/// need no disk that is waited for.
pub struct MemoryScratch(PathBuf);

impl MemoryScratch {
    pub fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        if !memory.is_dir() {
            return Self(scratch(name));
        }
        let path = memory.join(format!("registry-migrate-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for MemoryScratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a tree with links and modes; `to` does not exist before.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What is at a path: everything that must be equal when two trees are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Directory { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link(PathBuf),
}

/// Where the program keeps its journals.
const STATE_DIR: &str = "var/lib/containerd-registry-migrate";

/// The whole tree, by path below its root; less the state directory, and what was made only to hold it.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    fn walk(root: &Path, below: &Path, tree: &mut BTreeMap<PathBuf, Entry>) {
        for entry in fs::read_dir(root.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if path == Path::new(STATE_DIR) {
                continue;
            }
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                tree.insert(path, Entry::Link(fs::read_link(entry.path()).unwrap()));
            } else if metadata.is_dir() {
                tree.insert(path.clone(), Entry::Directory { mode });
                walk(root, &path, tree);
            } else {
                tree.insert(
                    path,
                    Entry::File {
                        mode,
                        bytes: fs::read(entry.path()).unwrap(),
                    },
                );
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, Path::new(""), &mut found);
    if root.join(STATE_DIR).exists() {
        for parent in Path::new(STATE_DIR).ancestors().skip(1) {
            if found.keys().filter(|path| path.starts_with(parent)).count() == 1 {
                found.remove(parent);
            }
        }
    }
    found
}

/// Says how two trees differ, file by file; empty if they are equal.
pub fn tree_difference(expected: &Path, found: &Path) -> String {
    let (expected, found) = (tree(expected), tree(found));
    let mut difference = String::new();
    for (path, entry) in &expected {
        match found.get(path) {
            None => difference.push_str(&format!("missing: {}\n", path.display())),
            Some(other) if other != entry => {
                difference.push_str(&format!("different: {}\n", path.display()));
                if let (Entry::File { bytes: a, .. }, Entry::File { bytes: b, .. }) = (entry, other)
                {
                    let (a, b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
                    let diff = similar::TextDiff::from_lines(&*a, &*b);
                    difference
                        .push_str(&diff.unified_diff().header("expected", "found").to_string());
                } else {
                    difference.push_str(&format!("  {entry:?}\n  {other:?}\n"));
                }
            }
            Some(_) => {}
        }
    }
    for (path, entry) in &found {
        if !expected.contains_key(path) {
            let text = match entry {
                Entry::File { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            };
            difference.push_str(&format!("not expected: {}\n{text}\n", path.display()));
        }
    }
    difference
}

/// A run of the program with its streams apart.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program without a terminal and without colours.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let output = Command::new(PROGRAM)
        .args(args)
        .env("NO_COLOR", "1")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    ran(output)
}

/// What a program that has ended has said.
pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command of the program on a node with a fixture's options.
pub fn run_on(fixture: &Fixture, root: &Path, command: &[&str]) -> Ran {
    let mut args: Vec<&str> = command.to_vec();
    let root = root.to_str().unwrap();
    args.extend(["--root", root]);
    args.extend(fixture.args.iter().map(String::as_str));
    run(args)
}
