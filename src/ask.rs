//! The answers to open questions, tried before they are printed: each is planned and verified on this node, from what was
//! read once. What makes no difference is no question (docs/questions.md).

use std::collections::BTreeMap;

use crate::apply;
use crate::finding::{self, Code, Decision, Findings};
use crate::node::Node;
use crate::plan::{self, Change, FileKind, Plan, Wanted};
use crate::question::{Existing, Inert, Question, Version1};
use crate::read::{Inputs, Options};
use crate::verify;

/// As many plans are made for one node at most. Answers for single registries are tried together, so that only questions
/// that bring up others come near it.
pub const MOST_PLANS: usize = 24;

/// What is listed of registries or files that differ; more of them are only counted.
const LISTED: usize = 3;

/// A plan with what is said of it.
pub struct Settled {
    /// The plan.
    pub plan: Plan,
    /// What was found.
    pub findings: Findings,
    /// What only an operator can answer, if the plan is refused for it.
    pub questions: Vec<Open>,
}

/// A question that is open, and the answers that work.
pub struct Open {
    /// The finding that asks it.
    pub code: &'static Code,
    /// The option that answers it.
    pub option: &'static str,
    /// Those that were planned and verified.
    pub answers: Vec<Answer>,
}

/// An answer that was planned and verified, together with answers to all other questions that are open.
pub struct Answer {
    /// The value of the option.
    pub value: String,
    /// The options with all answers.
    pub options: Options,
    /// What it makes different, as a phrase.
    pub differs: String,
}

/// Plans with the answers that were given. Where some are missing all are tried: what makes no difference is taken, and
/// what does is asked. `base` is what was found while reading.
pub fn settle(node: &Node, inputs: &mut Inputs, base: &Findings) -> Settled {
    let given = inputs.options.clone();
    let mut trials = Trials {
        node,
        inputs,
        base,
        left: MOST_PLANS,
        verified: Vec::new(),
        asked: BTreeMap::new(),
    };
    let mut first = trials.attempt(given.clone(), BTreeMap::new());
    if !first.findings.refused() {
        trials.hint(&mut first);
    } else if !base.blocked() {
        trials.explore(&first);
    }
    let Trials {
        inputs,
        mut verified,
        asked,
        ..
    } = trials;
    inputs.options = given;
    if let Some(why) = why_taken(inputs, &verified) {
        let mut taken = verified.swap_remove(0);
        taken.findings.settle(why);
        return taken.settled(Vec::new());
    }
    let questions = questions(&inputs.options, &verified, &asked);
    first.settled(questions)
}

/// A plan that was made, and what came of it.
struct Attempt {
    options: Options,
    plan: Plan,
    findings: Findings,
    /// The answers that it has beyond those that were given.
    answers: BTreeMap<Kind, String>,
}

/// The questions that one option answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Inert,
    Existing,
    Version1,
    Accept,
}

impl Kind {
    fn of(question: &Question) -> Self {
        match question {
            Question::Inert => Self::Inert,
            Question::Existing(_) => Self::Existing,
            Question::Version1 => Self::Version1,
            Question::Accept => Self::Accept,
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Inert => "--inert",
            Self::Existing => "--existing",
            Self::Version1 => "--v1",
            Self::Accept => "--allow",
        }
    }
}

impl Attempt {
    /// The first question that is open, and the codes of the findings that ask it.
    fn open(&self) -> Option<(Kind, Vec<&'static Code>)> {
        let questions = self.findings.questions();
        let kind = Kind::of(questions.keys().next()?);
        let findings = questions.into_iter();
        let findings = findings.filter(|(question, _)| Kind::of(question) == kind);
        let mut codes: Vec<&'static Code> = Vec::new();
        for finding in findings.flat_map(|(_, findings)| findings) {
            if !codes.contains(&finding.code) {
                codes.push(finding.code);
            }
        }
        Some((kind, codes))
    }

    /// The options with each answer to this question.
    fn answered(&self, kind: Kind, codes: &[&'static Code]) -> Vec<(String, Options)> {
        let mut answered = Vec::new();
        let mut add = |value: String, set: &dyn Fn(&mut Options)| {
            let mut options = self.options.clone();
            set(&mut options);
            answered.push((value, options));
        };
        match kind {
            Kind::Inert => {
                for inert in [Inert::Drop, Inert::Carry] {
                    add(inert.to_string(), &|options| options.inert = Some(inert));
                }
            }
            Kind::Existing => {
                for existing in [Existing::Keep, Existing::Replace] {
                    add(existing.to_string(), &|options| {
                        options.existing.general = Some(existing);
                    });
                }
            }
            Kind::Version1 => {
                let keep = Version1::Keep;
                add(keep.to_string(), &|options| options.version_1 = keep);
            }
            Kind::Accept => {
                let names: Vec<&str> = codes.iter().map(|code| code.name).collect();
                // As the options are written, one behind the other.
                let all = names.join(" --allow ");
                add(all, &|options| options.allow.extend(codes));
            }
        }
        answered
    }

    /// Whether pulls stay what they are on every release, and nothing that exists is given up.
    fn loses_nothing(&self, inputs: &Inputs) -> bool {
        let stays = |wanted: &Wanted| wanted.changed.is_none();
        let replaces =
            |change: &Change| change.kind == FileKind::HostsFile && change.before.is_some();
        let from = inputs.sight();
        let mut targets = inputs.releases.iter().filter(|one| !one.targets.is_empty());
        let namespaces = &self.plan.namespaces;
        namespaces.iter().all(stays)
            && !self.plan.changes.iter().any(replaces)
            && targets.all(|target| {
                let pulls = |wanted: &Wanted| target.sight.pulls(&wanted.name);
                let mut namespaces = namespaces.iter();
                namespaces.all(|wanted| pulls(wanted).same(&wanted.after))
                    && from.headers() == target.sight.headers()
                    && from.other_credentials(&target.sight).is_empty()
            })
    }

    /// The `config_path` that each release reads afterwards.
    fn config_paths(&self, inputs: &Inputs) -> Option<Vec<String>> {
        let after = self.plan.after(inputs)?;
        let releases = inputs.releases.iter().filter(|one| one.is_verified());
        let sights = releases.map(|release| after.seen_by(&release.generation.behaviour));
        Some(sights.map(|sight| sight.config_path.clone()).collect())
    }

    fn settled(self, questions: Vec<Open>) -> Settled {
        Settled {
            plan: self.plan,
            findings: self.findings,
            questions,
        }
    }
}

/// The plans that are made to find out which answers work.
struct Trials<'t> {
    node: &'t Node,
    inputs: &'t mut Inputs,
    base: &'t Findings,
    /// How many plans may still be made.
    left: usize,
    /// Those that were verified, in the order of the answers.
    verified: Vec<Attempt>,
    /// What asked each question first.
    asked: BTreeMap<Kind, &'static Code>,
}

impl Trials<'_> {
    /// Tries all answers to what an attempt leaves open, and to what they bring up.
    fn explore(&mut self, attempt: &Attempt) {
        let Some((kind, codes)) = attempt.open() else {
            return;
        };
        if let Some(code) = codes.first() {
            self.asked.entry(kind).or_insert(code);
        }
        for (value, options) in attempt.answered(kind, &codes) {
            let is_answered = kind != Kind::Accept && attempt.answers.contains_key(&kind);
            if self.left == 0 || is_answered {
                return;
            }
            let mut answers = attempt.answers.clone();
            answers.insert(kind, value);
            let next = self.attempt(options, answers);
            if next.findings.refused() {
                self.explore(&next);
            } else {
                self.verified.push(next);
            }
        }
    }

    /// Where nothing has to be asked, but `--inert carry` would make something take effect, says so if that works.
    fn hint(&mut self, attempt: &mut Attempt) {
        if !attempt.findings.hints_carry() || attempt.options.inert.is_some() {
            return;
        }
        let carry = Options {
            inert: Some(Inert::Carry),
            ..attempt.options.clone()
        };
        let carried = self.attempt(carry, BTreeMap::new());
        if !carried.findings.refused() && carried.plan.changes != attempt.plan.changes {
            attempt
                .findings
                .add_hint("; --inert carry makes it take effect");
        }
    }

    /// Makes a plan and verifies it. Where a conversion to version 2 that nobody has asked for fails, the file is kept.
    fn attempt(&mut self, options: Options, answers: BTreeMap<Kind, String>) -> Attempt {
        let converts = options.version_1 == Version1::Auto;
        let mut attempt = self.make(options, answers);
        if converts && attempt.plan.converts && attempt.findings.blocked() && self.left > 0 {
            let keep = Options {
                version_1: Version1::Keep,
                ..attempt.options.clone()
            };
            let kept = self.make(keep, attempt.answers.clone());
            if !kept.findings.blocked() {
                attempt = Attempt {
                    options: attempt.options,
                    ..kept
                };
            }
        }
        attempt
    }

    fn make(&mut self, options: Options, answers: BTreeMap<Kind, String>) -> Attempt {
        self.left = self.left.saturating_sub(1);
        self.inputs.options = options.clone();
        let mut findings = self.base.accepting(&options.allow);
        let mut plan = plan::plan(self.inputs, &mut findings);
        if self.inputs.runs_on_defaults() {
            // There is nothing to migrate, whatever a setting could be good for.
            plan = Plan::empty(plan.certs);
        }
        verify::verify(self.inputs, &mut plan, &mut findings);
        for obstacle in apply::obstacles(self.node, &plan.changes) {
            let code = &finding::FILE_CANNOT_BE_REPLACED;
            findings.add(code, None, obstacle.to_string(), obstacle.help());
        }
        Attempt {
            options,
            plan,
            findings,
            answers,
        }
    }
}

/// Why the first of these plans is taken without a question, if it is: all of them write the same, or leave all pulls as
/// they are, or it is the only one and loses nothing. What has to be accepted is never taken so.
fn why_taken(inputs: &Inputs, verified: &[Attempt]) -> Option<&'static str> {
    let first = verified.first()?;
    let accepts = |attempt: &Attempt| attempt.answers.contains_key(&Kind::Accept);
    if verified.iter().any(accepts) {
        return None;
    }
    let same = |attempt: &Attempt| attempt.plan.changes == first.plan.changes;
    if verified.len() > 1 {
        if verified.iter().all(same) {
            return Some("every answer writes the same files, so that nothing has to be decided");
        }
        let paths = first.config_paths(inputs);
        let is_alike = |attempt: &Attempt| {
            attempt.answers.contains_key(&Kind::Inert)
                && attempt.loses_nothing(inputs)
                && attempt.config_paths(inputs) == paths
        };
        return verified
            .iter()
            .all(is_alike)
            .then_some("they are what containerd does anyway, and are removed");
    }
    first
        .loses_nothing(inputs)
        .then_some("only this can be verified, and nothing is lost by it")
}

/// What is left to ask: every question whose answers write different files, or to which only one answer works.
fn questions(
    given: &Options,
    verified: &[Attempt],
    asked: &BTreeMap<Kind, &'static Code>,
) -> Vec<Open> {
    let mut open = Vec::new();
    for (kind, code) in asked.iter().filter(|(kind, _)| **kind != Kind::Accept) {
        let answers = answers(*kind, verified);
        if !answers.is_empty() {
            open.push(Open {
                code,
                option: kind.option(),
                answers,
            });
        }
    }
    // What only some answers need accepted is in their commands.
    let Some(first) = verified.first() else {
        return open;
    };
    let accepted = |attempt: &Attempt, code: &&'static Code| attempt.options.allow.contains(code);
    let codes = first.options.allow.iter();
    let codes = codes.filter(|code| !given.allow.contains(code));
    for code in codes.filter(|code| verified.iter().all(|one| accepted(one, code))) {
        let mut answer = first.answer(Kind::Accept, code.name.to_owned(), None);
        if let Decision::Allow(effect) = code.decision {
            answer.differs = format!("{effect}; {}", answer.differs);
        }
        open.push(Open {
            code,
            option: Kind::Accept.option(),
            answers: vec![answer],
        });
    }
    open
}

/// The answers to one question: two that write different files, and differ in this answer alone if that is possible.
fn answers(kind: Kind, verified: &[Attempt]) -> Vec<Answer> {
    let with = |attempt: &&Attempt| attempt.answers.contains_key(&kind);
    let Some(first) = verified.iter().find(with) else {
        return Vec::new();
    };
    let value = |attempt: &Attempt| attempt.answers.get(&kind).cloned().unwrap_or_default();
    let others = |attempt: &Attempt| {
        let mut answers = attempt.answers.clone();
        answers.remove(&kind);
        answers
    };
    let candidates = verified.iter().filter(with);
    let mut pairs: Vec<(&Attempt, &Attempt)> = candidates
        .clone()
        .flat_map(|one| candidates.clone().map(move |other| (one, other)))
        .filter(|(one, other)| value(one) == value(first) && value(one) != value(other))
        .collect();
    if pairs.is_empty() {
        return vec![first.answer(kind, value(first), None)];
    }
    pairs.retain(|(one, other)| one.plan.changes != other.plan.changes);
    // The first of equals is the first in the order of the answers.
    pairs.sort_by_key(|(one, other)| others(one) != others(other));
    let pair = pairs.into_iter().next();
    pair.map_or_else(Vec::new, |(one, other)| {
        vec![
            one.answer(kind, value(one), Some(other)),
            other.answer(kind, value(other), Some(one)),
        ]
    })
}

impl Attempt {
    fn answer(&self, kind: Kind, value: String, other: Option<&Self>) -> Answer {
        // What it makes different may depend on the answers to other questions, which its command has, too.
        let others = self.answers.iter().filter(|(other, _)| **other != kind);
        let others: Vec<String> = others
            .map(|(kind, value)| format!("{} {value}", kind.option()))
            .collect();
        let differs = self.differs(other);
        Answer {
            value,
            options: self.options.clone(),
            differs: match others.is_empty() {
                true => differs,
                false => format!("{differs}; together with {}", others.join(" ")),
            },
        }
    }

    /// What it makes different from another one, or from today.
    fn differs(&self, other: Option<&Self>) -> String {
        let theirs: BTreeMap<&str, &Wanted> = other
            .iter()
            .flat_map(|other| &other.plan.namespaces)
            .map(|wanted| (wanted.name.as_str(), wanted))
            .collect();
        let is_different = |wanted: &&Wanted| match (other, theirs.get(wanted.name.as_str())) {
            (None, _) => wanted.changed.is_some(),
            (Some(_), Some(theirs)) => !theirs.after.same(&wanted.after),
            (Some(_), None) => wanted.changed.is_some(),
        };
        let namespaces = self.plan.namespaces.iter().filter(is_different);
        let mut phrases: Vec<String> = listed(namespaces.map(pulls), "registries");
        let files = other.map_or_else(Vec::new, |other| self.other_files(other));
        phrases.extend(listed(files.into_iter(), "files"));
        if phrases.is_empty() {
            phrases.push("no pull changes".to_owned());
        }
        phrases.join("; ")
    }

    /// What becomes of the files that another one treats otherwise.
    fn other_files(&self, other: &Self) -> Vec<String> {
        let same = |change: &&Change| {
            let mut theirs = other.plan.changes.iter();
            theirs.any(|their| their.path == change.path && their.kind == FileKind::Configuration)
                || other.plan.changes.contains(change)
        };
        let changes = self.plan.changes.iter().filter(|change| !same(change));
        let written = changes.map(|change| match (change.kind, &change.before) {
            (_, None) => format!("creates {}", change.path),
            (FileKind::HostsFile, Some(_)) => format!("replaces {}", change.path),
            (FileKind::Configuration, Some(_)) => format!("changes {}", change.path),
        });
        let is_written = |change: &&Change| {
            let mut ours = self.plan.changes.iter();
            ours.any(|our| our.path == change.path)
        };
        let theirs = other.plan.changes.iter();
        let left = theirs.filter(|change| change.before.is_some() && !is_written(change));
        let left = left.map(|change| format!("leaves {} as it is", change.path));
        written.chain(left).collect()
    }
}

/// The pulls of one registry, as a phrase.
fn pulls(wanted: &Wanted) -> String {
    let unnamed = wanted.unnamed.then_some(wanted.name.as_str());
    let name = match unnamed {
        Some(_) => "any other registry",
        None => &wanted.name,
    };
    format!("{name}: {}", wanted.after.shown(unnamed))
}

/// The first of these phrases, and how many there are besides.
fn listed(phrases: impl Iterator<Item = String>, of: &str) -> Vec<String> {
    let mut listed: Vec<String> = phrases.collect();
    let more = listed.len().saturating_sub(LISTED);
    if more > 0 {
        listed.truncate(LISTED);
        listed.push(format!("{more} more of the {of}"));
    }
    listed
}
