//! The reports of many nodes, made into one: nodes grouped by what came of them and by what would be written, so that one
//! ticket covers a fleet.
//!
//! Documents are read one by one, and of each group only the first report is kept: memory grows with the names of the
//! nodes and with the number of different plans, not with the number of reports.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};

use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::finding::Severity;
use crate::printable::printable;
use crate::report::{Outcome, Report, SCHEMA};
use crate::request::is_digest;

mod render;
mod stream;

pub use render::{markdown, text};
use stream::{Part, Start};

/// So many documents that are no reports are named; more of them are only counted.
const NAMED: usize = 1000;

/// What is said of text between reports.
const NO_REPORT: &str = "this is text, not a report";

/// The reports of many nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// The version of this form.
    pub schema: u32,
    /// Always `summarize`.
    pub command: Command,
    /// How many reports there are.
    pub reports: usize,
    /// How many of them have each outcome.
    pub outcomes: BTreeMap<String, usize>,
    /// The nodes in groups: those with changes first, the largest group first, then those that need none, those that are
    /// refused, and failures.
    pub groups: Vec<Group>,
    /// What is no report of this program, or not a whole one.
    pub broken: Vec<Broken>,
    /// How many of those there are; of very many only the first are in `broken`.
    pub broken_count: usize,
    /// The digests of the plans that are not applied yet: approve those that you have reviewed.
    pub digests: Vec<String>,
    /// Nodes with more than one report.
    pub repeated: Vec<String>,
    /// The exit code: 4 if a node failed or a document is broken, 3 if a node is refused, 1 if there is something to do.
    pub exit_code: u8,
}

/// The command that made the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// `summarize`
    Summarize,
}

/// Nodes of which the same came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Group {
    /// The outcome of all of them.
    pub outcome: String,
    /// The digest of the plan of all of them, if there is one.
    pub digest: Option<String>,
    /// Why, where it is not the plan: the codes of what is in the way, the reasons why a node is not ready, or the error.
    pub reasons: Vec<String>,
    /// The nodes, by the label in the report, or by the file and line where there is none.
    pub nodes: Vec<String>,
    /// The node whose report stands for all of them: the first that was read.
    pub reported_by: String,
    /// Its report; `null` if this program does not know all that is in it.
    #[schemars(with = "Option<Report>")]
    pub report: Option<KeptReport>,
}

/// A report as it was read: as bytes it is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptReport(Vec<u8>);

impl Serialize for KeptReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_slice(&self.0).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

/// A document that is no report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Broken {
    /// The file; `-` is standard input.
    pub file: String,
    /// Where it begins: the byte, counted from zero.
    pub offset: u64,
    /// The line, counted from one.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What a report is grouped by: the least of it that must be understood.
#[derive(Deserialize)]
struct Head<'d> {
    schema: u64,
    #[serde(borrow)]
    outcome: Cow<'d, str>,
    exit_code: u8,
    #[serde(borrow, default)]
    node: Option<Cow<'d, str>>,
    #[serde(borrow, default)]
    digest: Option<Cow<'d, str>>,
    #[serde(borrow, default)]
    error: Option<Cow<'d, str>>,
    #[serde(borrow, default)]
    findings: Vec<HeadFinding<'d>>,
    #[serde(borrow, default)]
    questions: Vec<HeadQuestion<'d>>,
    #[serde(borrow, default)]
    not_ready: Vec<Cow<'d, str>>,
}

#[derive(Deserialize)]
struct HeadFinding<'d> {
    #[serde(borrow)]
    code: Cow<'d, str>,
    severity: Severity,
}

#[derive(Deserialize)]
struct HeadQuestion<'d> {
    #[serde(borrow)]
    code: Cow<'d, str>,
}

/// What nodes of one group share, in the order in which groups are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: Class,
    outcome: String,
    digest: Option<String>,
    reasons: Vec<String>,
}

/// What has to be done about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// There is a plan to approve, or something else is pending.
    Pending,
    /// Nothing, or it is done.
    Done,
    /// Something must be decided.
    Refused,
    /// It failed.
    Failed,
}

/// The nodes of a group while documents are read.
struct Members {
    nodes: Vec<String>,
    /// The first report, as it was read.
    first: Vec<u8>,
}

/// Reads reports and keeps what they have in common.
#[derive(Default)]
pub struct Collector {
    groups: BTreeMap<Key, Members>,
    seen: BTreeMap<String, usize>,
    reports: usize,
    broken: Vec<Broken>,
    broken_count: usize,
}

impl Collector {
    /// Reads the documents of a stream; `read` hears how many bytes and how many reports there were after each chunk.
    pub fn stream(
        &mut self,
        file: &str,
        stream: impl Read,
        mut read: impl FnMut(usize, usize),
    ) -> io::Result<()> {
        let before = self.reports + self.broken_count;
        let collector = std::cell::RefCell::new(&mut *self);
        let result = stream::parts(
            stream,
            |bytes| read(bytes, collector.borrow().reports),
            |start, part| {
                let mut collector = collector.borrow_mut();
                match part {
                    Part::Document(document) => collector.document(file, start, document),
                    Part::BrokenOff(document) => {
                        let what = match label(document) {
                            Some(node) => format!("the report of `{node}` breaks off"),
                            None => "the document breaks off".to_owned(),
                        };
                        let reason = format!("{what}: the command did not come to its end");
                        collector.broken(file, start, reason);
                    }
                    Part::TooLong => {
                        let longest = stream::LONGEST >> 20;
                        let reason = format!("the document is longer than {longest} MiB");
                        collector.broken(file, start, reason);
                    }
                    Part::Text => collector.broken(file, start, NO_REPORT),
                    Part::Endless => {
                        let reason = format!("{NO_REPORT}, and what follows is not read");
                        collector.broken(file, start, reason);
                    }
                }
            },
        );
        if result.is_ok() && self.reports + self.broken_count == before {
            self.broken(file, BEGIN, "there is no report in it");
        }
        result
    }

    /// Notes a file that cannot be read.
    pub fn unreadable(&mut self, file: &str, error: &io::Error) {
        self.broken(file, BEGIN, format!("it cannot be read: {error}"));
    }

    fn broken(&mut self, file: &str, start: Start, reason: impl Into<String>) {
        self.broken_count += 1;
        if self.broken.len() < NAMED {
            self.broken.push(Broken {
                file: file.to_owned(),
                offset: start.offset,
                line: start.line,
                reason: reason.into(),
            });
        }
    }

    fn document(&mut self, file: &str, start: Start, document: &[u8]) {
        let head = match serde_json::from_slice::<Head<'_>>(document) {
            Ok(head) if head.schema > u64::from(SCHEMA) => {
                let schema = head.schema;
                let reason = format!(
                    "its schema is {schema}, and this program knows {SCHEMA}: take a newer release of it"
                );
                return self.broken(file, start, reason);
            }
            // What a release that is not known yet reports may be anything, also a failure.
            Ok(head) if !is_outcome(&head.outcome) => {
                let reason = format!(
                    "this program does not know its outcome `{}`: take a newer release of it",
                    printable(&head.outcome)
                );
                return self.broken(file, start, reason);
            }
            Ok(head) => head,
            Err(error) => return self.broken(file, start, foreign(document, &error)),
        };
        self.reports += 1;
        let node = match &head.node {
            Some(node) => node.to_string(),
            None if start.offset == 0 => file.to_owned(),
            None => format!("{file}:{}", start.line),
        };
        *self.seen.entry(node.clone()).or_default() += 1;
        let members = self
            .groups
            .entry(Key::of(&head))
            .or_insert_with(|| Members {
                nodes: Vec::new(),
                first: document.to_vec(),
            });
        members.nodes.push(node);
    }

    /// What there is to say of all of them.
    pub fn finish(self) -> Summary {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for (key, members) in &self.groups {
            *outcomes.entry(key.outcome.clone()).or_default() += members.nodes.len();
        }
        let worst = self.groups.keys().map(|key| key.class);
        let pending = worst.clone().any(|class| class == Class::Pending);
        let exit_code = match worst.max() {
            _ if self.broken_count > 0 => 4,
            Some(Class::Failed) => 4,
            Some(Class::Refused) => 3,
            _ if pending => 1,
            _ => 0,
        };
        let mut groups: Vec<(Key, Members)> = self.groups.into_iter().collect();
        groups.sort_by_key(|(key, members)| (key.class, std::cmp::Reverse(members.nodes.len())));
        let open = groups.iter().filter(|(key, _)| key.outcome == "changes");
        let digests = open.filter_map(|(key, _)| key.digest.clone());
        let repeated = self.seen.into_iter().filter(|(_, count)| *count > 1);
        Summary {
            schema: SCHEMA,
            command: Command::Summarize,
            reports: self.reports,
            outcomes,
            digests: digests.collect(),
            groups: groups.into_iter().map(group).collect(),
            broken: self.broken,
            broken_count: self.broken_count,
            repeated: repeated.map(|(node, _)| node).collect(),
            exit_code,
        }
    }
}

const BEGIN: Start = Start { offset: 0, line: 1 };

/// The node of a report that breaks off: its label is near the start.
fn label(document: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\"node\"";
    let at = document
        .windows(NAME.len())
        .position(|bytes| bytes == NAME)?;
    let rest = document.get(at + NAME.len()..)?.trim_ascii_start();
    let value = rest.strip_prefix(b":")?;
    let mut strings = serde_json::Deserializer::from_slice(value).into_iter::<String>();
    strings.next()?.ok()
}

/// Why a document is no report.
fn foreign(document: &[u8], error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() || serde_json::from_slice::<Any>(document).is_err() {
        return format!("this is not JSON: {error}");
    }
    format!("this is JSON, but not a report of this program: {error}")
}

fn is_outcome(name: &str) -> bool {
    let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        name.into_deserializer();
    Outcome::deserialize(name).is_ok()
}

/// Any JSON document.
type Any = serde::de::IgnoredAny;

impl Key {
    fn of(head: &Head<'_>) -> Self {
        let class = match (&*head.outcome, head.exit_code) {
            ("failed", _) | (_, 4..) => Class::Failed,
            ("refused", _) | (_, 3) => Class::Refused,
            (_, 0) => Class::Done,
            _ => Class::Pending,
        };
        let digest = head.digest.as_ref().filter(|digest| is_digest(digest));
        let errors = head.findings.iter();
        let errors = errors.filter(|finding| finding.severity == Severity::Error);
        let mut reasons: Vec<String> = match class {
            Class::Refused if !head.questions.is_empty() => {
                let questions = head.questions.iter();
                questions
                    .map(|question| question.code.to_string())
                    .collect()
            }
            Class::Refused => errors.map(|finding| finding.code.to_string()).collect(),
            Class::Pending => head.not_ready.iter().map(ToString::to_string).collect(),
            Class::Failed | Class::Done => Vec::new(),
        };
        reasons.sort_unstable();
        reasons.dedup();
        if reasons.is_empty() && matches!(class, Class::Refused | Class::Failed) {
            reasons.extend(head.error.as_ref().map(ToString::to_string));
        }
        let is_plan = !matches!(class, Class::Refused | Class::Failed);
        Self {
            class,
            outcome: head.outcome.to_string(),
            digest: digest.filter(|_| is_plan).map(ToString::to_string),
            reasons,
        }
    }
}

fn group((key, members): (Key, Members)) -> Group {
    let Members { mut nodes, first } = members;
    let reported_by = nodes.first().cloned().unwrap_or_default();
    nodes.sort_unstable();
    let is_known = serde_json::from_slice::<Report>(&first).is_ok();
    let report = is_known.then_some(KeptReport(first));
    Group {
        outcome: key.outcome,
        digest: key.digest,
        reasons: key.reasons,
        nodes,
        reported_by,
        report,
    }
}

/// The report of a group, fit to be shown: it comes from another machine, and may say anything.
fn shown(group: &Group) -> Option<Report> {
    fn clean(value: &mut Value, name: &str) {
        match value {
            Value::String(text) if name == "diff" => *text = printable_lines(text),
            Value::String(text) => *text = printable(text),
            Value::Array(values) => {
                values.iter_mut().for_each(|value| clean(value, name));
            }
            Value::Object(fields) => {
                fields
                    .iter_mut()
                    .for_each(|(name, value)| clean(value, name));
            }
            _ => {}
        }
    }
    let KeptReport(bytes) = group.report.as_ref()?;
    let mut report: Value = serde_json::from_slice(bytes).ok()?;
    clean(&mut report, "");
    Report::deserialize(report).ok()
}

/// The lines of a diff, each fit to be printed; tabs and line ends stay.
fn printable_lines(text: &str) -> String {
    let line = |line: &str| {
        let content = line.trim_end_matches(['\r', '\n']);
        let fields: Vec<String> = content.split('\t').map(printable).collect();
        let end = line.get(content.len()..).unwrap_or_default();
        fields.join("\t") + if end.is_empty() { "" } else { "\n" }
    };
    let mut lines: String = text.split_inclusive('\n').map(line).collect();
    // What is printed below it begins a line.
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines
}
