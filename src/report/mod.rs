//! What an operator reads, as data first and as text then.
//!
//! `build` makes a [`Report`] of what the other modules have found; it masks secrets field by field. `text`, `markdown`,
//! `diff`, `findings` and `check` make text of it: pure functions that add nothing. What `fold` leaves out of a large
//! change they count. A new format is one more of them.
//!
//! Texts have ANSI colours, which the command line takes out where they are not wanted.

pub mod build;
pub mod changed;
pub mod check;
mod deprecation;
pub mod diff;
pub mod digest;
pub mod explain;
pub mod findings;
pub mod fold;
pub mod images;
mod line_diff;
mod lines;
pub mod markdown;
pub mod questions;
mod strings;
pub mod text;
pub mod transaction;
mod wrap;

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::ops::Range;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::transaction::Failure;
use crate::apply::RunState;
use crate::apply::guard::RESTART_COMMAND;
use crate::check::{ReleaseRow, Removal};
use crate::containerd::host::ShownHost;
use crate::containerd::release::{Version, list};
use crate::finding::{Code, Severity};
use crate::node::NodePath;
use crate::plan::FileKind;
use crate::printable::printable;
use crate::read::locate::{Found, Located};
use crate::secret::{Masked, Secrets};
use crate::text::TomlText;

pub use deprecation::Deprecation;

/// The version of the report's form. Fields are only ever added.
pub const SCHEMA: u32 = 1;

/// What a command reports about a node.
///
/// Fields are only ever added: a reader ignores those that it does not know. Paths are those that the node sees. Nothing
/// depends on the time or on the machine that the program runs on, except `node`, the times of `runs`, and `--root` in
/// commands.
///
/// What is known before anything is changed comes first, and from `outcome` on what came of it: a document that ends
/// before that is of a command that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The version of this form.
    pub schema: u32,
    /// The command that made the report.
    pub command: Command,
    /// The label that `--node` gave; it is in the report and in nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The versions of containerd that the report is about.
    pub versions: Versions,
    /// The configuration that was read.
    pub config: ConfigSummary,
    /// What `apply --expect` takes, if there is a plan that changes something.
    pub digest: Option<String>,
    /// The files that change, in the order in which they are written.
    #[serde(default)]
    pub files: Vec<FileChange>,
    /// The hosts of every namespace that a setting or a hosts file concerns.
    #[serde(default)]
    pub namespaces: Vec<NamespacePulls>,
    /// What becomes of every legacy setting.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// What must be decided before anything is written.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// The findings about the content of files.
    #[serde(default)]
    pub findings: Vec<ShownFinding>,
    /// What each release of containerd makes of the node, oldest first (`check`).
    #[serde(default)]
    pub releases: Vec<ReleaseRow>,
    /// The target versions that pull as `from` does with the files as they are (`check`).
    #[serde(default)]
    pub ready_for: Vec<Version>,
    /// What keeps the node from being upgraded as it is (`check`).
    #[serde(default)]
    pub not_ready: Vec<String>,
    /// The settings in use that a later release removes (`check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// What is not compared, and changes nevertheless (`check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// The images that were asked for, and the hosts that containerd tries for each (`hosts`).
    #[serde(default)]
    pub images: Vec<images::ImageHosts>,
    /// The runs in the journals, oldest first (`rollback --list`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<RunRow>>,
    /// What came of the command.
    pub outcome: Outcome,
    /// Why it failed or was refused, where no finding says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the command changed anything on the node.
    pub changed: bool,
    /// The number of the run in the journal, if there is one.
    pub run: Option<u32>,
    /// Whether what is planned or written takes effect only after a restart of containerd.
    pub restart_needed: bool,
    /// Whether containerd was restarted, and CRI came up.
    #[serde(default)]
    pub restarted: bool,
    /// What else the operator should know, for example that a run was killed.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The commands to continue with.
    #[serde(default)]
    pub next: Vec<String>,
    /// The command that undoes what was written, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_back: Option<String>,
    /// The exit code of the command.
    pub exit_code: u8,
}

impl Report {
    /// What a plan is for, and the target versions that it cannot do it for; `None` if no configuration was read.
    pub fn promise(&self) -> Option<String> {
        let versions = &self.versions;
        let from = versions.from.as_ref()?;
        let changed = self.namespaces.iter().flat_map(|pulls| &pulls.changed_on);
        let changed: BTreeSet<Version> = changed.copied().collect();
        let mut targets = versions.targets();
        targets.retain(|target| !changed.contains(target));
        let mut promise = match versions.carried {
            Some(carried) => format!(
                "Gives every release the pulls that containerd {carried} has with these files, verified for {from}"
            ),
            None => format!("Preserves the pulls of containerd {from}"),
        };
        if !targets.is_empty() {
            let word = if versions.carried.is_some() {
                " and"
            } else {
                ", verified for"
            };
            promise.push_str(&format!("{word} {}", list(&targets, "and")));
        }
        if !changed.is_empty() {
            let changed: Vec<Version> = changed.into_iter().collect();
            promise.push_str(&format!("; pulls change on {}", list(&changed, "and")));
        }
        Some(promise)
    }

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
            ready_for: Vec::new(),
            not_ready: Vec::new(),
            removal: None,
            remark: None,
            images: Vec::new(),
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

/// The command that made a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// `hosts`
    Hosts,
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There is nothing to do.
    Nothing,
    /// There are changes to make.
    Changes,
    /// Something must be decided; nothing was written.
    Refused,
    /// The plan is written.
    Applied,
    /// A run is undone.
    RolledBack,
    /// The node can be upgraded as it is.
    Ready,
    /// The node cannot be upgraded as it is.
    NotReady,
    /// The command only shows something, and has shown it.
    Shown,
    /// The command failed; with exit code 4 the node is as it was.
    Failed,
}

impl Outcome {
    /// The exit code that says so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Nothing | Self::Applied | Self::RolledBack | Self::Ready | Self::Shown => 0,
            Self::Changes | Self::NotReady => 1,
            Self::Refused => 3,
            Self::Failed => 4,
        }
    }
}

/// The versions of containerd that a report is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The installed version, whose behaviour is kept; `null` if it is not given and the file that it follows from was
    /// not read.
    pub from: Option<UsedVersion>,
    /// The target versions, oldest first: the one that is given, or the newest release of every line after that of
    /// `from`.
    #[serde(default)]
    pub to: Vec<UsedVersion>,
    /// With `--inert carry` the target version that says what the files mean, on every release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Version>,
}

impl Versions {
    /// The target versions.
    pub fn targets(&self) -> Vec<Version> {
        self.to.iter().map(|used| used.version).collect()
    }

    /// Whether the target version is the one that is installed.
    fn is_reached(&self) -> bool {
        let from = self.from.iter().map(|used| used.version);
        from.eq(self.to.iter().map(|used| used.version))
    }
}

/// A version, and whether it is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsedVersion {
    /// The version.
    pub version: Version,
    /// Whether no option and no containerd on the node gave it.
    pub assumed: bool,
}

impl fmt::Display for UsedVersion {
    /// `--from` as it is said.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.version.fmt(formatter)?;
        match self.assumed {
            true => formatter.write_str(" (assumed; set --from to change)"),
            false => Ok(()),
        }
    }
}

/// The configuration file and what it imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigSummary {
    /// The path of the file.
    pub path: NodePath,
    /// How it was found.
    pub found: FoundBy,
    /// The file of containerd's systemd unit that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<NodePath>,
    /// The `version` in the file; `null` if it has none or was not read.
    pub version: Option<i64>,
    /// What became of the request to convert the file to version 2, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Conversion>,
    /// The files that it imports, in the order in which containerd reads them.
    #[serde(default)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What became of the request to convert a version-1 file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Conversion {
    /// The file is converted to version 2.
    Converted,
    /// The file has no registry settings that need the conversion.
    NotNeeded,
}

/// A file that the plan writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    /// The path of the file, links resolved.
    pub path: NodePath,
    /// The path under which the configuration names the file, if a link on it leads to `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<NodePath>,
    /// What containerd reads it for.
    pub kind: FileKind,
    /// What is done to the file.
    pub action: Action,
    /// The mode of a new file; a file that exists keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// When containerd reads what is written.
    pub takes_effect: TakesEffect,
    /// The unified diff, secrets masked.
    pub diff: String,
    /// Whether something in the diff is masked or escaped, so that it cannot be applied with `patch`.
    pub masked: bool,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The file is new.
    Create,
    /// The file exists and gets new content.
    Change,
    /// The file is removed (`rollback`).
    Remove,
}

/// When a file takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TakesEffect {
    /// With the next pull: `config_path` is in effect already.
    AtOnce,
    /// After a restart of containerd.
    AfterRestart,
}

/// A namespace and the hosts that containerd tries for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespacePulls {
    /// The namespace; `null` stands for every registry that nothing names.
    pub name: Option<String>,
    /// Whether this is about every registry that nothing names.
    pub unnamed: bool,
    /// The hosts before the migration, in order.
    #[serde(default)]
    pub before: Vec<ShownHost>,
    /// Why every pull fails before the migration, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_fails: Option<String>,
    /// The hosts after the migration, in order.
    #[serde(default)]
    pub after: Vec<ShownHost>,
    /// Why every pull fails after the migration, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_fails: Option<String>,
    /// Whether pulls stay the same.
    pub same: bool,
    /// The finding that explains why they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<&'static Code>,
    /// The target versions on which they change, where that is not what the plan decides for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_on: Vec<Version>,
}

/// A legacy setting and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The path of the setting, from `registry` on.
    pub setting: String,
    /// containerd's own identifier of the deprecation, as in `ctr deprecations list`, if the setting is deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecation: Option<Deprecation>,
    /// The file that has the setting.
    pub file: NodePath,
    /// The line, counted from one.
    pub line: usize,
    /// What becomes of the setting.
    pub outcome: SettingFate,
}

/// What becomes of a legacy setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SettingFate {
    /// These files carry it: hosts files, or certificate files in their place.
    Carried {
        /// The files.
        files: Vec<NodePath>,
    },
    /// It has no effect and is removed.
    WithoutEffect {
        /// The finding that explains why.
        code: &'static Code,
    },
    /// It is left out.
    LeftOut {
        /// The finding that explains why.
        code: &'static Code,
    },
    /// A hosts file that exists decides instead.
    Overruled {
        /// The finding that explains why.
        code: &'static Code,
    },
    /// It stays in the configuration file.
    Stays,
}

/// What must be decided before anything is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// The finding that asks it.
    pub code: &'static Code,
    /// The option that answers it.
    pub option: String,
    /// The answers that work: each was planned and verified on this node. With a single one, the other way is to edit
    /// the files.
    #[serde(default)]
    pub answers: Vec<Answer>,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The option with its value.
    pub option: String,
    /// The whole command, with answers to all questions that are open.
    pub command: String,
    /// What differs from the other answers.
    pub differs: String,
}

/// A finding about the content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownFinding {
    /// The code of the finding.
    pub code: &'static Code,
    /// The severity; a decision of the operator can lower that of an error.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do, or what the program does.
    pub help: String,
    /// containerd's own identifier of the deprecation, as in `ctr deprecations list`, if the finding is about a
    /// deprecated setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecation: Option<Deprecation>,
    /// Where, if the finding is about a place in a file.
    #[serde(flatten)]
    pub position: Option<Position>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// The file.
    pub file: NodePath,
    /// The line, counted from one.
    pub line: usize,
    /// The column, in characters counted from one, of the line as it is shown: a mask has one width, whatever it hides.
    pub column: usize,
    /// The line, if it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// A line of a file, secrets masked; of a long line only what is near the mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excerpt {
    /// The text before the mark.
    pub before: String,
    /// The text that the finding is about.
    pub marked: String,
    /// The text after the mark.
    pub after: String,
}

/// A run in the journals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The version of containerd whose pulls the run preserves, if its journal says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The files that it changes.
    pub files: Vec<NodePath>,
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

    /// A command as someone has typed it, which may have a secret of the files in it; the program's own is no secret.
    pub fn typed(&self, command: &str) -> String {
        match command {
            RESTART_COMMAND => command.to_owned(),
            _ => self.printed(command),
        }
    }

    /// A line that a command has printed.
    pub fn printed(&self, line: &str) -> String {
        if self.secrets {
            return printable(line);
        }
        let mut ranges = Secrets::of_prose(line).ranges().to_vec();
        for known in self.known.iter() {
            let found = line.match_indices(known.as_str());
            let found = found.map(|(at, known)| at..at + known.len());
            ranges.extend(found.filter(|range| !is_part_of_word(line, range)));
        }
        printable(&Masked::new(line, Secrets::new(ranges).ranges()).text)
    }
}

/// Whether what stands in this range is a word as people use them, such as `docker`, in a longer name, such as
/// `registry-1.docker.io`: a mask there would give away that it is a secret, and hide what the line is about.
fn is_part_of_word(line: &str, range: &Range<usize>) -> bool {
    let known = line.get(range.clone()).unwrap_or_default();
    let is_word = known.bytes().all(|byte| byte.is_ascii_lowercase())
        || known.bytes().all(|byte| byte.is_ascii_digit());
    let before = line.get(..range.start).unwrap_or_default();
    let after = line.get(range.end..).unwrap_or_default();
    let joins = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    is_word && (before.ends_with(joins) || after.starts_with(joins))
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
