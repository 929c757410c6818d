//! The crash and fault matrices: every system call of an apply and of a rollback killed, and those that touch the disk
//! refused, one at a time.
//!
//! `strace` injects; the program knows nothing of it. strace counts the calls of each name by themselves, so a plain
//! run is traced first, and then there is one run for each name and number.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use crate::disk::{IMPORTS, Layout, PLAIN, Scratch, Tree, apply_to, expect, rollback, state, tree};

/// What is killed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Apply,
    Rollback,
}

/// A node, and the trees that may be found.
struct Matrix {
    scratch: Scratch,
    layout: &'static Layout,
    action: Action,
    old: Tree,
    new: Tree,
}

impl Matrix {
    fn new(name: &str, layout: &'static Layout, action: Action) -> Self {
        let name = format!("{name}-{}", layout.files.len());
        let scratch = Scratch::in_memory(&name).with(layout);
        let root = scratch.copy("once");
        let old = tree(&root);
        expect(&mut apply_to(layout, &root), 0);
        let new = tree(&root);
        assert_eq!(
            new.len(),
            old.len() + 6,
            "three hosts files in three directories"
        );
        for (path, _) in layout.files {
            assert_ne!(new[*path], old[*path], "{path}");
        }
        Self {
            scratch,
            layout,
            action,
            old,
            new,
        }
    }

    fn start_and_end(&self) -> (&Tree, &Tree) {
        match self.action {
            Action::Apply => (&self.old, &self.new),
            Action::Rollback => (&self.new, &self.old),
        }
    }

    /// A node before the action, and the action.
    fn prepare(&self, name: &str) -> (PathBuf, Command) {
        let root = self.scratch.copy(name);
        let command = match self.action {
            Action::Apply => apply_to(self.layout, &root),
            Action::Rollback => {
                expect(&mut apply_to(self.layout, &root), 0);
                rollback(&root)
            }
        };
        (root, command)
    }

    /// How often each system call is made, and how often before the program itself begins.
    fn calls(&self) -> BTreeMap<String, (usize, usize)> {
        let (_, command) = self.prepare("traced");
        let trace = self.scratch.at("trace");
        expect(&mut strace(&command, &trace, &[]), 0);
        let mut calls: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut is_loading = true;
        for line in fs::read_to_string(trace).unwrap().lines() {
            let Some((name, _)) = line.split_once('(') else {
                continue;
            };
            // The first call of Rust's runtime; what comes before is the dynamic loader.
            is_loading &= name != "poll";
            let counts = calls.entry(name.to_owned()).or_default();
            counts.0 += 1;
            counts.1 += usize::from(is_loading);
        }
        // Making the process itself cannot be injected.
        calls.remove("execve");
        // How often the heap grows differs from run to run, and is no step of the program.
        calls.remove("brk");
        calls
    }

    /// At any instant: every configuration file is whole, and the one at the commit point is new only where all others
    /// and all hosts files are, since with `config_path` in effect a mirror left in any of them takes CRI down. Returns
    /// whether it is new.
    fn assert_starts(&self, root: &Path, context: &str) -> bool {
        let found = tree(root);
        let mut is_new = false;
        for (path, _) in self.layout.files {
            let entry = found.get(*path);
            is_new = entry == self.new.get(*path);
            assert!(
                is_new || entry == self.old.get(*path),
                "{context}: {entry:?}"
            );
        }
        if is_new {
            for (path, file) in &self.new {
                assert_eq!(found.get(path), Some(file), "{context}: {path}");
            }
        }
        is_new
    }

    /// After anything: the next apply completes, and the next rollback gives the old tree, with nothing left over.
    fn assert_leads_home(&self, root: &Path, context: &str) {
        let run = |command: &mut Command, what: &str| {
            let output = command.output().unwrap();
            assert!(
                output.status.success(),
                "{context}, {what}: {}",
                text(&output.stderr)
            );
        };
        run(&mut apply_to(self.layout, root), "the next apply");
        assert_eq!(tree(root), self.new, "{context}");
        run(&mut rollback(root), "the next rollback");
        assert_eq!(tree(root), self.old, "{context}");
        let is_known = |name: &String| name == "lock" || name.ends_with(".journal");
        assert!(
            state(root).iter().all(is_known),
            "{context}: {:?}",
            state(root)
        );
    }

    /// Calls `test` for every injection, on all cores, and says how many there were. What several configuration files
    /// add is tried at every fifteenth call only, unless `CRASH=all` is set: the rest is the same as with one.
    fn run(&self, injections: &[Injection], test: impl Fn(&Injection, &str) + Sync) -> usize {
        let is_thinned =
            self.layout.files.len() > 1 && std::env::var("CRASH").as_deref() != Ok("all");
        let step = if is_thinned { 15 } else { 1 };
        let next = Mutex::new(injections.iter().step_by(step));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (next, test) = (&next, &test);
                scope.spawn(move || {
                    loop {
                        let Some(injection) = next.lock().unwrap().next() else {
                            return;
                        };
                        test(injection, &format!("copy-{thread}"));
                    }
                });
            }
        });
        injections.iter().step_by(step).count()
    }
}

/// One call that is interfered with.
#[derive(Clone, Debug)]
struct Injection {
    call: String,
    /// The how manyth of its name; with a `+`, and all after it.
    when: String,
    what: String,
}

impl Injection {
    fn option(&self) -> String {
        let Self { call, when, what } = self;
        format!("inject={call}:{what}:when={when}")
    }
}

fn strace(command: &Command, trace: &Path, injections: &[&Injection]) -> Command {
    let mut strace = Command::new("strace");
    strace.arg("-y").arg("-o").arg(trace);
    for injection in injections {
        strace.args(["-e", &injection.option()]);
    }
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn kill_everywhere(matrix: &Matrix) {
    let calls = matrix.calls();
    let total: usize = calls.values().map(|(count, _)| count).sum();
    let injections: Vec<Injection> = calls
        .iter()
        .flat_map(|(call, (count, _))| {
            (1..=*count).map(|number| Injection {
                call: call.clone(),
                when: number.to_string(),
                what: "signal=KILL".to_owned(),
            })
        })
        .collect();
    assert_eq!(injections.len(), total);
    let fired = Mutex::new(0);
    let tried = matrix.run(&injections, |injection, name| {
        let (root, command) = matrix.prepare(name);
        let trace = matrix.scratch.at(&format!("{name}.trace"));
        let output = strace(&command, &trace, &[injection]).output().unwrap();
        let context = format!("{:?}, {}", matrix.action, injection.option());
        assert_eq!(
            output.status.signal(),
            Some(9),
            "{context}: {}",
            text(&output.stderr)
        );
        *fired.lock().unwrap() += 1;
        matrix.assert_starts(&root, &context);
        matrix.assert_leads_home(&root, &context);
    });
    assert_eq!(*fired.lock().unwrap(), tried);
    println!(
        "{:?}: killed at {tried} of {total} system calls",
        matrix.action
    );
}

#[test]
fn an_apply_may_be_killed_anywhere() {
    kill_everywhere(&Matrix::new("kill-apply", &PLAIN, Action::Apply));
}

#[test]
fn a_rollback_may_be_killed_anywhere() {
    kill_everywhere(&Matrix::new("kill-rollback", &PLAIN, Action::Rollback));
}

/// A signal at any time: the program ends at once while it changes nothing, else it undoes or completes what it does.
fn interrupt_everywhere(matrix: &Matrix) {
    let injections: Vec<Injection> = matrix
        .calls()
        .iter()
        .flat_map(|(call, (count, _))| {
            (1..=*count).map(|number| Injection {
                call: call.clone(),
                when: number.to_string(),
                // Each of them somewhere; they are handled alike.
                what: format!("signal={}", ["INT", "TERM", "HUP"][number % 3]),
            })
        })
        .collect();
    let outcomes = Mutex::new(BTreeMap::<String, usize>::new());
    matrix.run(&injections, |injection, name| {
        let (root, command) = matrix.prepare(name);
        let trace = matrix.scratch.at(&format!("{name}.trace"));
        let output = strace(&command, &trace, &[injection]).output().unwrap();
        let context = injection.option();
        let ended = match (output.status.code(), output.status.signal()) {
            (Some(0), _) => {
                assert_eq!(tree(&root), matrix.new, "{context}");
                "completed"
            }
            (Some(4), _) => {
                assert!(text(&output.stderr).contains("interrupted"), "{context}");
                assert_eq!(tree(&root), matrix.old, "{context}");
                "undone"
            }
            (None, Some(_)) if text(&output.stdout).contains("Written:") => {
                assert_eq!(tree(&root), matrix.new, "{context}");
                "ended when all was done and said"
            }
            (None, Some(_)) => {
                assert_eq!(tree(&root), matrix.old, "{context}");
                "ended before it changed anything"
            }
            ended => panic!("{context}: {ended:?}, {}", text(&output.stderr)),
        };
        *outcomes
            .lock()
            .unwrap()
            .entry(ended.to_owned())
            .or_default() += 1;
        matrix.assert_leads_home(&root, &context);
    });
    println!(
        "{} signals: {:?}",
        injections.len(),
        outcomes.into_inner().unwrap()
    );
}

#[test]
fn an_apply_may_be_interrupted_anywhere() {
    interrupt_everywhere(&Matrix::new("interrupt", &PLAIN, Action::Apply));
}

/// Kernels before 5.6 have no `openat2`, and old seccomp profiles forbid it.
#[test]
fn an_old_kernel_does_as_well() {
    for error in ["ENOSYS", "EPERM", "EAGAIN"] {
        let matrix = Matrix::new("old-kernel", &PLAIN, Action::Apply);
        let (root, command) = matrix.prepare("copy");
        let always = Injection {
            call: "openat2".to_owned(),
            when: "1+".to_owned(),
            what: format!("error={error}"),
        };
        expect(
            &mut strace(&command, &matrix.scratch.at("trace"), &[&always]),
            0,
        );
        assert_eq!(tree(&root), matrix.new, "{error}");
        matrix.assert_leads_home(&root, error);
    }
}

/// Calls that a disk may refuse, and with what.
const REFUSED: [&str; 16] = [
    "write",
    "fsync",
    "open",
    "openat",
    "openat2",
    "rename",
    "renameat",
    "mkdirat",
    "fchmod",
    "fchown",
    "fsetxattr",
    "unlinkat",
    "ftruncate",
    "flock",
    "read",
    "getdents64",
];
const ERRORS: [&str; 4] = ["ENOSPC", "EIO", "EROFS", "EACCES"];

/// Each of [`REFUSED`] in turn, once or from then on.
fn faults(matrix: &Matrix, stays: bool) -> Vec<Injection> {
    let mut injections = Vec::new();
    for (call, (count, loading)) in matrix.calls() {
        if !REFUSED.contains(&call.as_str()) {
            continue;
        }
        for number in loading + 1..=count {
            let injection = |error: &str| Injection {
                call: call.clone(),
                when: format!("{number}{}", if stays { "+" } else { "" }),
                what: format!("error={error}"),
            };
            if stays {
                // One of them will do here: all of them are tried above.
                injections.push(injection(ERRORS[number % ERRORS.len()]));
            } else {
                injections.extend(ERRORS.map(injection));
            }
        }
    }
    injections
}

/// The step that a message names when this call is refused.
const STEPS: [(&str, &[&str]); 14] = [
    ("write", &["write", "add to the journal", "lock"]),
    ("fsync", &["fsync", "add to the journal"]),
    (
        "openat",
        &[
            "open",
            "list",
            "read",
            "create",
            "lock",
            "add to the journal",
        ],
    ),
    ("openat2", &["open", "read"]),
    ("open", &["open"]),
    ("renameat", &["rename"]),
    ("mkdirat", &["make the directory"]),
    (
        "fchmod",
        &["set mode", "make the directory", "use the state directory"],
    ),
    ("fchown", &["set mode"]),
    ("unlinkat", &["remove", "create"]),
    ("ftruncate", &["lock", "add to the journal"]),
    ("flock", &["lock"]),
    ("read", &["read", "add to the journal"]),
    ("getdents64", &["list"]),
];

/// The message says what failed: the path that was refused, and the step.
fn assert_message(
    layout: &Layout,
    output: &Output,
    trace: &str,
    call: &str,
    root: &Path,
    context: &str,
) {
    let stderr = text(&output.stderr);
    let line = trace.lines().find(|line| line.contains("(INJECTED)"));
    let line = line.unwrap();
    let (_, arguments) = line.split_once('(').unwrap();
    if ["1<", "2<"]
        .iter()
        .any(|stream| arguments.starts_with(stream))
    {
        return;
    }
    if arguments.contains("<pipe:") {
        // The report: stdout under another number.
        assert!(
            stderr.contains("cannot print the report: "),
            "{context}: {line}\n{stderr}"
        );
        return;
    }
    // `openat(5</directory>, "name", …`, `fsync(5</file>)`
    let between = |from, to| Some(arguments.split_once(from)?.1.split_once(to)?.0);
    let file = between('<', '>').unwrap_or("/");
    let name = between('"', '"').filter(|_| call.ends_with("at") || call.starts_with("open"));
    let refused = Path::new(file).join(name.unwrap_or("").trim_start_matches('/'));
    let refused = refused.strip_prefix(root).unwrap_or(&refused);
    let (_, steps) = STEPS.iter().find(|(name, _)| *name == call).unwrap();
    let is_clear = stderr.lines().any(|line| {
        let Some(step) = line.strip_prefix("error: cannot ") else {
            return false;
        };
        let named = line.split('`').nth(1).unwrap_or("");
        let link = layout.links.iter().find(|(link, _)| *link == named);
        let is_there = [Some(named), link.map(|(_, target)| *target)];
        let is_there = is_there.into_iter().flatten().any(|path| {
            let path = Path::new(path.trim_start_matches('/'));
            // On the way to it, itself, or a temporary file beside it.
            path.starts_with(refused)
                || refused.starts_with(path)
                || refused.parent() == path.parent()
        });
        is_there && line.contains("(os error") && steps.iter().any(|word| step.starts_with(word))
    });
    assert!(is_clear, "{context}: {line}\n{stderr}");
}

fn refuse_everywhere(matrix: &Matrix) {
    let (start, end) = matrix.start_and_end();
    let injections = faults(matrix, false);
    let outcomes = Mutex::new(BTreeMap::<i32, usize>::new());
    matrix.run(&injections, |injection, name| {
        let (root, command) = matrix.prepare(name);
        let trace = matrix.scratch.at(&format!("{name}.trace"));
        let output = strace(&command, &trace, &[injection]).output().unwrap();
        let context = format!("{:?}, {}", matrix.action, injection.option());
        let trace = fs::read_to_string(trace).unwrap();
        assert!(trace.contains("(INJECTED)"), "{context}: not fired");
        let code = output.status.code().unwrap_or(-1);
        *outcomes.lock().unwrap().entry(code).or_default() += 1;
        match code {
            0 => assert_eq!(&tree(&root), end, "{context}: {}", text(&output.stderr)),
            4 => {
                assert_eq!(&tree(&root), start, "{context}: {}", text(&output.stderr));
                let (layout, call) = (matrix.layout, &injection.call);
                assert_message(layout, &output, &trace, call, &root, &context);
            }
            code => panic!("{context}: {code}, {}", text(&output.stderr)),
        }
        matrix.assert_leads_home(&root, &context);
    });
    println!(
        "{:?}: {} faults, by exit code {:?}",
        matrix.action,
        injections.len(),
        outcomes.into_inner().unwrap()
    );
}

#[test]
fn an_apply_may_be_refused_anything() {
    refuse_everywhere(&Matrix::new("fault-apply", &PLAIN, Action::Apply));
}

#[test]
fn a_rollback_may_be_refused_anything() {
    refuse_everywhere(&Matrix::new("fault-rollback", &PLAIN, Action::Rollback));
}

/// Where the disk stays broken, the way back may be closed, too: then that is said, the configuration is one that is
/// whole, and the next run leads home.
fn refuse_from_then_on(matrix: &Matrix) {
    let (start, end) = matrix.start_and_end();
    let injections = faults(matrix, true);
    let outcomes = Mutex::new(BTreeMap::<i32, usize>::new());
    matrix.run(&injections, |injection, name| {
        let (root, command) = matrix.prepare(name);
        let trace = matrix.scratch.at(&format!("{name}.trace"));
        let output = strace(&command, &trace, &[injection]).output().unwrap();
        let context = format!("{:?}, {}", matrix.action, injection.option());
        let code = output.status.code().unwrap_or(-1);
        *outcomes.lock().unwrap().entry(code).or_default() += 1;
        let is_new = matrix.assert_starts(&root, &context);
        let found = tree(&root);
        let stderr = text(&output.stderr);
        match code {
            0 => assert_eq!(&found, end, "{context}: {stderr}"),
            4 => assert_eq!(&found, start, "{context}: {stderr}"),
            5 => {
                // Unless nothing can be written to stderr, either.
                assert!(
                    stderr.contains("next: ") || context.contains("inject=write"),
                    "{context}: {stderr}"
                );
                assert!(
                    !is_new || matrix.action == Action::Rollback,
                    "{context}: {stderr}"
                );
            }
            code => panic!("{context}: {code}, {stderr}"),
        }
        matrix.assert_leads_home(&root, &context);
    });
    println!(
        "{:?}: {} lasting faults, by exit code {:?}",
        matrix.action,
        injections.len(),
        outcomes.into_inner().unwrap()
    );
}

#[test]
fn an_apply_on_a_disk_that_breaks() {
    refuse_from_then_on(&Matrix::new("broken-apply", &PLAIN, Action::Apply));
}

#[test]
fn a_rollback_on_a_disk_that_breaks() {
    refuse_from_then_on(&Matrix::new("broken-rollback", &PLAIN, Action::Rollback));
}

/// The same for a configuration of three files.
mod with_imports {
    use super::*;

    #[test]
    fn an_apply_may_be_killed_anywhere() {
        kill_everywhere(&Matrix::new("kill-apply", &IMPORTS, Action::Apply));
    }

    #[test]
    fn a_rollback_may_be_killed_anywhere() {
        kill_everywhere(&Matrix::new("kill-rollback", &IMPORTS, Action::Rollback));
    }

    #[test]
    fn an_apply_may_be_interrupted_anywhere() {
        interrupt_everywhere(&Matrix::new("interrupt", &IMPORTS, Action::Apply));
    }

    #[test]
    fn an_apply_may_be_refused_anything() {
        refuse_everywhere(&Matrix::new("fault-apply", &IMPORTS, Action::Apply));
    }

    #[test]
    fn a_rollback_may_be_refused_anything() {
        refuse_everywhere(&Matrix::new("fault-rollback", &IMPORTS, Action::Rollback));
    }

    #[test]
    fn an_apply_on_a_disk_that_breaks() {
        refuse_from_then_on(&Matrix::new("broken-apply", &IMPORTS, Action::Apply));
    }

    #[test]
    fn a_rollback_on_a_disk_that_breaks() {
        refuse_from_then_on(&Matrix::new("broken-rollback", &IMPORTS, Action::Rollback));
    }
}
