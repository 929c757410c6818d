//! What is asked of the program, whichever command it is, and the command line that asks the same again.

use crate::containerd::release::Version;
use crate::finding::Code;
use crate::node::NodePath;
use crate::question::{ExistingAnswers, Inert, Version1};
use crate::shell;

/// Where the journals of all runs are by default.
pub const STATE_DIR: &str = "/var/lib/containerd-registry-migrate";

/// Which node, for which containerd, and how open questions are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The directory of this machine that is the root of the node's file system.
    pub root: String,
    /// The config.toml to migrate; `None` is the one that the daemon reads.
    pub config: Option<NodePath>,
    /// The directory for hosts files, if it was named.
    pub certs_directory: Option<NodePath>,
    /// The containerd whose behaviour is kept; `None` is the one that the file's version is for.
    pub from: Option<Version>,
    /// The target version of a direct upgrade; `None` are the newest releases of every line after that of `from`.
    pub to: Option<Version>,
    /// Who decides where a hosts file would change pulls.
    pub existing: ExistingAnswers,
    /// What becomes of settings that one release reads and another does not.
    pub inert: Option<Inert>,
    /// What is done with a version-1 file.
    pub version_1: Version1,
    /// Whether containerd is kept from pulling through the transfer service.
    pub keep_local_pull: bool,
    /// Where the journals of all runs are.
    pub state_dir: NodePath,
    /// The findings that are accepted.
    pub allow: Vec<&'static Code>,
    /// The options of a restart, with the values as they are shown. They change nothing about the plan; every command that
    /// is printed to continue has them.
    pub restart: Vec<Argument>,
    /// A label for the node in the report. It changes nothing else, and no command that is printed has it.
    pub node: Option<String>,
    /// Whether secrets are shown. It changes nothing about the plan, and no command that is printed has it.
    pub show_secrets: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            root: "/".to_owned(),
            config: None,
            certs_directory: None,
            from: None,
            to: None,
            existing: ExistingAnswers::default(),
            inert: None,
            version_1: Version1::Auto,
            keep_local_pull: false,
            state_dir: NodePath::new(STATE_DIR),
            allow: Vec::new(),
            restart: Vec::new(),
            node: None,
            show_secrets: false,
        }
    }
}

/// An option as it is typed, and its value if it takes one.
pub type Argument = (&'static str, Option<String>);

impl Request {
    /// The options that say what differs from [`Request::default`].
    pub fn arguments(&self) -> Vec<Argument> {
        // Each field by its name, so that none can be forgotten.
        let Self {
            root,
            config,
            certs_directory,
            from,
            to,
            existing,
            inert,
            version_1,
            keep_local_pull,
            state_dir,
            allow,
            restart,
            node: _,
            show_secrets: _,
        } = self;
        let default = Self::default();
        let unless =
            |is_default: bool, value: &dyn ToString| (!is_default).then(|| value.to_string());
        let version = |version: &Option<Version>| version.map(|version| version.to_string());
        let path = |path: &Option<NodePath>| path.as_ref().map(NodePath::to_string);
        let valued = [
            ("--root", unless(*root == default.root, root)),
            ("--config", path(config)),
            ("--certs-dir", path(certs_directory)),
            ("--from", version(from)),
            ("--to", version(to)),
        ];
        let mut arguments: Vec<Argument> = Vec::new();
        let given = |(name, value): (&'static str, Option<String>)| Some((name, Some(value?)));
        arguments.extend(valued.into_iter().filter_map(given));
        let existing = existing.values().into_iter();
        arguments.extend(existing.map(|value| ("--existing", Some(value))));
        let answers = [
            ("--inert", inert.map(|inert| inert.to_string())),
            ("--v1", unless(*version_1 == default.version_1, version_1)),
        ];
        arguments.extend(answers.into_iter().filter_map(given));
        arguments.extend(keep_local_pull.then_some(("--keep-local-pull", None)));
        let state_dir = unless(*state_dir == default.state_dir, state_dir);
        arguments.extend(state_dir.map(|path| ("--state-dir", Some(path))));
        arguments.extend(
            allow
                .iter()
                .map(|code| ("--allow", Some(code.name.to_owned()))),
        );
        arguments.extend_from_slice(restart);
        arguments
    }

    /// What is asked of a rollback of what this asks for.
    pub fn back(&self) -> Self {
        Self {
            root: self.root.clone(),
            // It says where the daemon listens.
            config: (self.config.clone()).filter(|_| !self.restart.is_empty()),
            state_dir: self.state_dir.clone(),
            restart: self.restart.clone(),
            ..Self::default()
        }
    }

    /// The command that asks this of `rollback`, for one run or for the last one.
    pub fn rollback_command(&self, run: Option<u32>) -> String {
        let run = run.map(|run| format!(" {run}")).unwrap_or_default();
        command_line(&format!("rollback{run}"), self.arguments())
    }
}

/// Whether a text has the form of a plan's digest.
pub fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_digit)
}

/// A command of this program with its arguments, for a POSIX shell.
pub fn command_line(command: &str, arguments: impl IntoIterator<Item = Argument>) -> String {
    let mut words = vec![env!("CARGO_PKG_NAME").to_owned(), command.to_owned()];
    for (name, value) in arguments {
        match value {
            // Alone it would be taken for an option.
            Some(value) if value.starts_with('-') => {
                words.push(format!("{name}={}", shell::quote(&value)));
            }
            Some(value) => words.extend([name.to_owned(), shell::quote(&value)]),
            None => words.push(name.to_owned()),
        }
    }
    words.join(" ")
}
