//! What an operator reads, as data first and as text then.
//!
//! `build` makes a [`Report`] of what the other modules have found; it masks secrets field by field. `text`, `diff`,
//! `findings` and `check` make text of it: pure functions that add nothing and hide nothing. A new format is one more of
//! them.
//!
//! Texts have ANSI colours, which the command line takes out where they are not wanted.

pub mod build;
pub mod changed;
pub mod check;
pub mod diff;
pub mod digest;
pub mod explain;
pub mod findings;
mod lines;
pub mod text;
pub mod transaction;

use std::fmt::Write;
use std::rc::Rc;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::check::Verdict;
use crate::containerd::host::ShownHost;
use crate::containerd::release::Version;
use crate::finding::{Code, Severity};
use crate::node::NodePath;
use crate::printable::printable;
use crate::secret::{MASK, Masked, Secrets};
use crate::text::TomlText;

/// The version of the report's form. Fields are only ever added.
pub const SCHEMA: u32 = 1;

/// All that a command has to say about a node.
///
/// Paths are those that the node sees. Nothing in it depends on the machine that the program runs on, or on the time,
/// but for `--root` in the commands of `next`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The command that was run.
    pub command: Command,
    /// A label for the node, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether anything on the node was changed.
    pub changed: bool,
    /// What `apply --expect` takes, if there is a plan that changes something.
    pub digest: Option<String>,
    /// The run in the journal, if there is one.
    pub run: Option<u32>,
    /// Whether what is planned or written needs a restart of containerd to take effect.
    pub restart_needed: bool,
    /// The containerd that runs and the one that comes.
    pub versions: Versions,
    /// The configuration that was read.
    pub config: ConfigSummary,
    /// The files that change, in the order in which they are written.
    pub files: Vec<FileChange>,
    /// The hosts of every namespace that the settings or the files are about.
    pub namespaces: Vec<NamespacePulls>,
    /// What becomes of every legacy setting.
    pub settings: Vec<Setting>,
    /// What has to be answered before anything is written.
    pub questions: Vec<Question>,
    /// What is to be said about the content of files, by file and place.
    pub findings: Vec<ShownFinding>,
    /// What each containerd makes of the node, oldest first (`check`).
    pub releases: Vec<ReleaseRow>,
    /// Why the node as it is must not be upgraded (`check`).
    pub not_ready: Vec<String>,
    /// What is not compared, and changes all the same (`check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// What else is to be known, such as a run that was killed.
    pub notes: Vec<String>,
    /// Commands to go on with.
    pub next: Vec<String>,
    /// The exit code.
    pub exit_code: u8,
}

/// The commands that make a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// `plan`
    Plan,
    /// `apply`
    Apply,
    /// `check`
    Check,
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There is nothing to do.
    Nothing,
    /// There are changes to make.
    Changes,
    /// Something needs a decision; nothing was written.
    Refused,
    /// The node can be upgraded as it is.
    Ready,
    /// It cannot.
    NotReady,
    /// Something went wrong; the node is as it was.
    Failed,
}

impl Outcome {
    /// The exit code that says so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Nothing | Self::Ready => 0,
            Self::Changes | Self::NotReady => 1,
            Self::Refused => 3,
            Self::Failed => 4,
        }
    }
}

/// The containerd that runs and the one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// The one whose behaviour is kept; `None` if the file that would say so was not read.
    pub from: Option<UsedVersion>,
    /// The target.
    pub to: UsedVersion,
}

/// A version, and whether somebody has named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsedVersion {
    /// The version.
    pub version: Version,
    /// Whether nobody has named it and no containerd has said it.
    pub assumed: bool,
}

/// config.toml and what it imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigSummary {
    /// Its path.
    pub path: NodePath,
    /// The version that it says it has; `None` if it says none or was not read.
    pub version: Option<i64>,
    /// What became of the wish to convert it to version 2, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Conversion>,
    /// The files that it imports, in the order in which containerd reads them.
    pub imports: Vec<NodePath>,
}

/// What became of the wish to convert a version-1 file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conversion {
    /// It is converted to version 2.
    Converted,
    /// It has no registry settings that it would be converted for.
    NotNeeded,
}

/// A file that the plan writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The real file.
    pub path: NodePath,
    /// The path as it is named, where a link on it leads to `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<NodePath>,
    /// Whether the file is there already.
    pub action: Action,
    /// The mode of a new file; a file that is there keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// From when containerd goes by what is written.
    pub takes_effect: TakesEffect,
    /// The unified diff, secrets masked.
    pub diff: String,
    /// Whether something in the diff is not shown as it is, so that it cannot be applied.
    pub masked: bool,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is new.
    Create,
    /// It is written over.
    Change,
}

/// From when containerd goes by a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakesEffect {
    /// From the next pull on: `config_path` is in effect already.
    AtOnce,
    /// When containerd is restarted.
    AfterRestart,
}

/// A namespace and the hosts that containerd tries for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamespacePulls {
    /// Its name; `None` stands for every registry that nothing names.
    pub name: Option<String>,
    /// Whether it stands for every registry that nothing names.
    pub unnamed: bool,
    /// The hosts today, in order.
    pub before: Vec<ShownHost>,
    /// Why every pull fails today, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_fails: Option<String>,
    /// The hosts after the migration, in order.
    pub after: Vec<ShownHost>,
    /// Why every pull will fail, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_fails: Option<String>,
    /// Whether pulls stay the same.
    pub same: bool,
    /// Why they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<&'static Code>,
}

/// A legacy setting and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its path, from `registry` on.
    pub setting: String,
    /// The file that it is in.
    pub file: NodePath,
    /// The line, from one.
    pub line: usize,
    /// What becomes of it.
    pub outcome: SettingFate,
}

/// What becomes of a legacy setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SettingFate {
    /// It is in these hosts files.
    Carried {
        /// The hosts files.
        files: Vec<NodePath>,
    },
    /// It had no effect and is removed.
    WithoutEffect {
        /// Why.
        code: &'static Code,
    },
    /// It is left out.
    LeftOut {
        /// Why.
        code: &'static Code,
    },
    /// A hosts file that is there decides instead.
    Overruled {
        /// Why.
        code: &'static Code,
    },
    /// It stays in config.toml.
    Stays,
}

/// What has to be answered before anything is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// The finding that asks it.
    pub code: &'static Code,
    /// The option that answers it.
    pub option: String,
    /// The answers that work.
    pub answers: Vec<Answer>,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The whole command.
    pub command: String,
    /// What it makes different.
    pub differs: String,
}

/// One thing that is to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownFinding {
    /// Which one of the table of findings.
    pub code: &'static Code,
    /// How much it weighs here.
    pub severity: Severity,
    /// What is the matter.
    pub message: String,
    /// What to do, or what is done.
    pub help: String,
    /// Where it is, if it is about a place in a file.
    #[serde(flatten)]
    pub position: Option<Position>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The file.
    pub file: NodePath,
    /// The line, from one.
    pub line: usize,
    /// The column, in characters from one, of the line as it is shown: a mask has one width, whatever it hides.
    pub column: usize,
    /// The line, if it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// A line of a file, secrets masked; of a long one only what is near the mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// What is before the mark.
    pub before: String,
    /// What the finding is about.
    pub marked: String,
    /// What comes after it.
    pub after: String,
}

/// What versions of containerd that follow each other and behave alike make of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseRow {
    /// The versions, oldest first.
    pub versions: Vec<Version>,
    /// The node as it is.
    pub today: Verdict,
    /// The node after the migration; `None` if there is no plan that could be written.
    pub after: Option<Verdict>,
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for NodePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// What may be shown.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Whether secrets are shown as they are (`--show-secrets`).
    pub secrets: bool,
    /// The secrets of the node's files, for what commands print: a daemon may repeat them in its log, where no position
    /// tells them. Nothing else is looked through for them.
    known: Rc<[String]>,
}

impl Shown {
    /// Secrets are shown if `secrets` says so.
    pub fn new(secrets: bool) -> Self {
        Self {
            secrets,
            known: Rc::default(),
        }
    }

    /// The same, with the secrets of these texts masked in what commands print.
    pub fn knowing<'t>(secrets: bool, texts: impl IntoIterator<Item = &'t TomlText>) -> Self {
        /// Shorter ones are parts of ordinary words.
        const SHORTEST: usize = 6;
        let mut known: Vec<String> = Vec::new();
        for toml in texts {
            let secrets = toml.secrets();
            let values = secrets
                .ranges()
                .iter()
                .filter_map(|range| toml.text.get(range.clone()))
                .map(|value| value.trim_matches(['"', '\'']));
            known.extend(
                values
                    .filter(|value| value.len() >= SHORTEST)
                    .map(str::to_owned),
            );
        }
        // Of two that overlap the longer one is masked whole.
        known.sort_by_key(|value| std::cmp::Reverse(value.len()));
        known.dedup();
        Self {
            secrets,
            known: Rc::from(known),
        }
    }

    /// A command, or a line that one has printed, as it may be shown.
    pub fn prose(&self, line: &str) -> String {
        if self.secrets {
            return printable(line);
        }
        let mut shown = Masked::new(line, Secrets::of_prose(line).ranges()).text;
        for known in self.known.iter() {
            if shown.contains(known.as_str()) {
                shown = shown.replace(known.as_str(), MASK);
            }
        }
        printable(&shown)
    }
}

/// What is said of a file of which nothing can be shown.
fn summary(bytes: &[u8]) -> String {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    let sha_256 = hexadecimal(&Sha256::digest(bytes));
    format!("{lines} lines, {} bytes, SHA-256 {sha_256}", bytes.len())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
