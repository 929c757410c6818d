//! What an operator reads, as data first and as text then.
//!
//! `build` makes a [`Report`] of what the other modules have found; it masks secrets field by field. `text`, `diff`,
//! `findings` and `check` make text of it: pure functions that add nothing and hide nothing. A new format is one more of
//! them.
//!
//! Texts have ANSI colours, which the command line takes out where they are not wanted.

pub mod build;
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

use self::transaction::Failure;
use crate::apply::RunState;
use crate::check::Verdict;
use crate::containerd::host::ShownHost;
use crate::containerd::release::{NEWEST, Version};
use crate::finding::{Code, Severity};
use crate::node::NodePath;
use crate::plan::FileKind;
use crate::printable::printable;
use crate::read::locate::{Found, Located};
use crate::secret::{MASK, Masked, Secrets};

/// The version of the report's form. Fields are only ever added.
pub const SCHEMA: u32 = 1;

/// All that a command has to say about a node.
///
/// Paths are those that the node sees. Nothing in it depends on the machine that the program runs on, or on the time,
/// but for `--root` in the commands of `next` and the times of `runs`.
///
/// What is known before anything is changed comes first, and from `outcome` on what came of it: a document that ends
/// before that is of a command that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The command that was run.
    pub command: Command,
    /// A label for the node, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The containerd that is installed and the target.
    pub versions: Versions,
    /// The configuration that was read.
    pub config: ConfigSummary,
    /// What `apply --expect` takes, if there is a plan that changes something.
    pub digest: Option<String>,
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
    /// The runs in the journals, oldest first (`rollback --list`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<RunRow>>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed or was refused, if no finding says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether anything on the node was changed.
    pub changed: bool,
    /// The run in the journal, if there is one.
    pub run: Option<u32>,
    /// Whether what is planned or written needs a restart of containerd to take effect.
    pub restart_needed: bool,
    /// Whether containerd was restarted, and CRI came up.
    pub restarted: bool,
    /// What else is to be known, such as a run that was killed.
    pub notes: Vec<String>,
    /// Commands to go on with.
    pub next: Vec<String>,
    /// The command that undoes what was written, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_back: Option<String>,
    /// The exit code.
    pub exit_code: u8,
}

impl Report {
    /// A report that says nothing of a node.
    pub fn new(command: Command, outcome: Outcome) -> Self {
        Self {
            schema: SCHEMA,
            command,
            node: None,
            versions: Versions::default(),
            config: ConfigSummary::default(),
            digest: None,
            files: Vec::new(),
            namespaces: Vec::new(),
            settings: Vec::new(),
            questions: Vec::new(),
            findings: Vec::new(),
            releases: Vec::new(),
            not_ready: Vec::new(),
            remark: None,
            runs: None,
            outcome,
            error: None,
            changed: false,
            run: None,
            restart_needed: false,
            restarted: false,
            notes: Vec::new(),
            next: Vec::new(),
            way_back: None,
            exit_code: outcome.exit_code(),
        }
    }

    /// The configuration files that change, as they are named.
    fn changed_configuration(&self) -> Vec<&NodePath> {
        let files = self.files.iter();
        let files = files.filter(|file| file.kind == FileKind::Configuration);
        files
            .map(|file| file.named.as_ref().unwrap_or(&file.path))
            .collect()
    }

    /// A registry that is worth a try once the plan is written: one with a hosts file that is written.
    fn example(&self) -> String {
        let written = |name: &&str| {
            let mut files = self.files.iter();
            files.any(|file| file.kind == FileKind::HostsFile && file.path.parent().name() == *name)
        };
        let names = self.namespaces.iter();
        let mut names = names.filter_map(|namespace| namespace.name.as_deref());
        names.find(written).unwrap_or("docker.io").to_owned()
    }

    /// It was refused, or has failed.
    pub fn fails(&mut self, exit_code: u8, failure: &Failure) {
        self.outcome = match exit_code {
            3 => Outcome::Refused,
            _ => Outcome::Failed,
        };
        self.exit_code = exit_code;
        self.changed = exit_code == 5;
        self.error.get_or_insert_with(|| failure.message.clone());
        let details = Some(failure.details.trim_end()).filter(|details| !details.is_empty());
        self.notes.extend(details.map(str::to_owned));
        self.notes.extend_from_slice(&failure.help);
        self.next.clone_from(&failure.next);
    }

    /// What came of it, with the exit code that says so.
    pub fn ends(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        self.exit_code = outcome.exit_code();
    }
}

/// The commands that make a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// `plan`
    Plan,
    /// `apply`
    Apply,
    /// `rollback`
    Rollback,
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
    /// The plan is written.
    Applied,
    /// A run is undone.
    RolledBack,
    /// The node can be upgraded as it is.
    Ready,
    /// It cannot.
    NotReady,
    /// Something went wrong; with exit code 4 the node is as it was.
    Failed,
}

impl Outcome {
    /// The exit code that says so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Nothing | Self::Applied | Self::RolledBack | Self::Ready => 0,
            Self::Changes | Self::NotReady => 1,
            Self::Refused => 3,
            Self::Failed => 4,
        }
    }
}

/// The containerd that is installed and the target.
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

impl Default for Versions {
    fn default() -> Self {
        Self {
            from: None,
            to: UsedVersion {
                version: NEWEST,
                assumed: true,
            },
        }
    }
}

/// config.toml and what it imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigSummary {
    /// Its path.
    pub path: NodePath,
    /// How it was found.
    pub found: FoundBy,
    /// The file of containerd's systemd unit that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<NodePath>,
    /// The version that it says it has; `None` if it says none or was not read.
    pub version: Option<i64>,
    /// What became of the wish to convert it to version 2, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Conversion>,
    /// The files that it imports, in the order in which containerd reads them.
    pub imports: Vec<NodePath>,
}

impl ConfigSummary {
    /// A file that was found, and not read yet.
    pub fn of(located: &Located) -> Self {
        let (found, unit) = match &located.found {
            Found::Given => (FoundBy::Option, None),
            Found::Unit(unit) => (FoundBy::Unit, Some(unit.clone())),
            Found::Default => (FoundBy::Default, None),
            Found::BuiltIn => (FoundBy::BuiltIn, None),
        };
        Self {
            path: located.path.clone(),
            found,
            unit,
            version: None,
            conversion: None,
            imports: Vec::new(),
        }
    }
}

impl Default for ConfigSummary {
    fn default() -> Self {
        Self::of(&Located::default())
    }
}

/// How a config.toml was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// By `--config`.
    Option,
    /// containerd's systemd unit names it.
    Unit,
    /// It is the one that containerd reads if nobody names one.
    Default,
    /// It does not exist, and containerd runs on what is built in.
    BuiltIn,
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
    /// What containerd reads it for.
    pub kind: FileKind,
    /// What is done to it.
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
    /// It is removed (`rollback`).
    Delete,
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

/// A run in the journals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Its number.
    pub run: u32,
    /// How far it is.
    pub state: RunState,
    /// When it began, in UTC; empty if its journal cannot be read, as are the fields after it.
    pub begun: String,
    /// The version of the program that wrote it.
    pub tool: String,
    /// The digest of its plan.
    pub digest: String,
    /// The files that it changes.
    pub files: Vec<NodePath>,
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
    pub fn knowing<'t>(secrets: bool, texts: impl IntoIterator<Item = (&'t str, Secrets)>) -> Self {
        /// Shorter ones are parts of ordinary words.
        const SHORTEST: usize = 6;
        let mut known: Vec<String> = Vec::new();
        for (text, found) in texts {
            let values = found
                .ranges()
                .iter()
                .filter_map(|range| text.get(range.clone()))
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
