//! The digest of a plan: what `--expect` compares, so that what was reviewed is what is written.
//!
//! It is the SHA-256 of a versioned encoding in which every text has its length in front, so that no two plans have one
//! encoding. It does not depend on how the diff is laid out, on `--show-secrets`, or on lines that stay: nodes that
//! differ only elsewhere share a digest.

use std::ops::Range;

use sha2::{Digest, Sha256};
use similar::DiffOp;

use super::changed::{ChangedLines, Side};
use crate::containerd::host::{Host, Pulls};
use crate::plan::{Change, Decider, FileKind, Plan, Wanted};
use crate::secret::{shown_url, without_user_information};
use crate::text::FileText;

/// What the encoding begins with. Whoever changes it makes reviewed plans worthless, and says so here.
const VERSION: &str = "containerd-registry-migrate digest 1";
/// How often a secret is hashed that is written again, so that it takes long to guess one from a digest.
const ROUNDS: u32 = 1 << 16;

/// The digest of what a plan does, in hexadecimal: per file its paths, its kind and, if it is created, its mode; per
/// edit the tables in which its lines stand and the lines, masked; and the pulls afterwards of the namespaces that change
/// or that an existing file decides.
pub fn digest(plan: &Plan) -> String {
    let mut digester = Digester::new(plan.changes.len());
    for change in &plan.changes {
        let changed = ChangedLines::new(change.before.as_ref(), Some(&change.after));
        digester.change(change, &changed);
    }
    digester.finish(plan)
}

/// The digest, file by file.
pub struct Digester {
    hash: Sha256,
    /// What is encoded and not yet hashed.
    encoder: Encoder,
}

impl Digester {
    /// For a plan of so many changes.
    pub fn new(changes: usize) -> Self {
        let mut encoder = Encoder::default();
        encoder.text(VERSION);
        encoder.number(changes);
        Self {
            hash: Sha256::new(),
            encoder,
        }
    }

    /// Adds a change, with the lines that change.
    pub fn change(&mut self, change: &Change, changed: &ChangedLines<'_>) {
        encode_change(change, changed, &mut self.encoder);
        self.hash();
    }

    fn hash(&mut self) {
        self.hash.update(&self.encoder.0);
        self.encoder.0.clear();
    }

    /// The digest, once all changes are added.
    pub fn finish(mut self, plan: &Plan) -> String {
        let decided = |wanted: &&Wanted| {
            wanted.changed.is_some()
                || matches!(wanted.decider, Decider::HostsFile | Decider::KeptFile)
        };
        let namespaces: Vec<&Wanted> = plan.namespaces.iter().filter(decided).collect();
        self.encoder.list(&namespaces, |wanted, encoder| {
            encoder.text(&without_user_information(&wanted.name));
            encoder.flag(wanted.unnamed);
            encode_pulls(&wanted.after, encoder);
        });
        self.hash();
        super::hexadecimal(&self.hash.finalize())
    }
}

/// Writes values one after the other so that what was written can be told from the bytes.
#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn number(&mut self, number: usize) {
        // No number here is longer than a file.
        self.0.extend((number as u64).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn list<T>(&mut self, items: &[T], encode: impl Fn(&T, &mut Self)) {
        self.number(items.len());
        for item in items {
            encode(item, self);
        }
    }
}

fn encode_change(change: &Change, changed: &ChangedLines<'_>, encoder: &mut Encoder) {
    let name = match change.kind {
        FileKind::HostsFile => "hosts file",
        FileKind::Configuration => "configuration",
    };
    encoder.text(change.named.as_ref().unwrap_or(&change.path).as_str());
    encoder.text(change.path.as_str());
    encoder.text(name);
    encoder.flag(change.before.is_none());
    if change.before.is_none() {
        encoder.0.extend(u64::from(change.mode).to_be_bytes());
    }
    let edits = changed.ops.iter();
    let edits: Vec<&DiffOp> = edits
        .filter(|edit| !matches!(edit, DiffOp::Equal { .. }))
        .collect();
    encoder.list(&edits, |edit, encoder| {
        encode_lines(&changed.before, &edit.old_range(), encoder);
        encode_lines(&changed.after, &edit.new_range(), encoder);
    });
    let added = edits.iter().map(|edit| edit.new_range());
    encoder.bytes(&stretched_secrets(&changed.after, added));
}

/// The path of a table as it stands before each of its lines: the number of its names, and the names. A long one is
/// represented by its SHA-256, behind a number that no path has: a file may have many lines.
fn encoded_path(names: &[String]) -> Vec<u8> {
    const LONG: usize = 512;
    let mut encoder = Encoder::default();
    encoder.list(names, |name, encoder| encoder.text(name));
    if encoder.0.len() <= LONG {
        return encoder.0;
    }
    let hash = Sha256::digest(&encoder.0);
    encoder.0.clear();
    encoder.number(usize::MAX);
    encoder.0.extend(hash);
    encoder.0
}

/// Lines as they are shown, each with the table that it stands in.
fn encode_lines(side: &Side<'_>, lines: &Range<usize>, encoder: &mut Encoder) {
    let Some(masked) = side.masked(lines) else {
        // What is not TOML is shown as one line, by size and digest.
        encoder.number(lines.len());
        if !lines.is_empty() {
            encoder.number(0);
            encoder.text(&super::summary(side.bytes()));
        }
        return;
    };
    let sections = side.content.and_then(FileText::toml);
    let sections = sections.map_or(&[][..], |toml| &toml.syntax.sections);
    let mut table = encoded_path(&[]);
    let mut number = None;
    encoder.number(lines.len());
    for (line_number, line) in (lines.start..).zip(masked.text.split_inclusive('\n')) {
        // A header stands in its own table.
        let end = side.range(&(line_number..line_number + 1)).end;
        let section = sections.partition_point(|section| section.start() < end);
        let section = section.saturating_sub(1);
        if number != Some(section) {
            let header = sections.get(section).and_then(|it| it.header.as_ref());
            let keys = header.iter().flat_map(|header| &header.keys);
            let names: Vec<String> = keys.map(|key| shown_url(&key.name)).collect();
            table = encoded_path(&names);
            number = Some(section);
        }
        encoder.0.extend(&table);
        encoder.text(line);
    }
}

/// What stands for the secrets in lines that are written: if an inline table holds a password, its new line holds it, too,
/// and a plan with another password is another plan. Hashing it many times makes guessing it slow.
fn stretched_secrets(side: &Side<'_>, written: impl Iterator<Item = Range<usize>>) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for lines in written {
        for secret in side.secrets(&lines) {
            encoder.bytes(side.bytes().get(secret.clone()).unwrap_or_default());
        }
    }
    if encoder.0.is_empty() {
        return Vec::new();
    }
    let mut hash = Sha256::digest(&encoder.0);
    for _ in 1..ROUNDS {
        hash = Sha256::digest(hash);
    }
    hash.to_vec()
}

fn encode_pulls(pulls: &Pulls, encoder: &mut Encoder) {
    match pulls.folded() {
        Pulls::Hosts(hosts) => {
            encoder.text("hosts");
            encoder.list(&hosts, encode_host);
        }
        Pulls::Fail(reason) => {
            encoder.text("fail");
            encoder.text(&reason);
        }
    }
}

fn encode_host(host: &Host, encoder: &mut Encoder) {
    encoder.text(&host.scheme.to_string());
    encoder.text(&host.host);
    encoder.text(&host.path);
    encoder.flag(host.pull);
    encoder.flag(host.resolve);
    encoder.list(&host.tls.ca, |file, encoder| encoder.text(file));
    encoder.list(&host.tls.client, |(certificate, key), encoder| {
        encoder.text(certificate);
        encoder.text(key);
    });
    encoder.flag(host.tls.skip_verify);
    let headers: Vec<_> = host.headers.iter().collect();
    encoder.list(&headers, |(name, values), encoder| {
        encoder.text(name);
        encoder.list(values, |value, encoder| encoder.text(value));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodePath;
    use crate::secret::TextKind;

    fn of(kind: FileKind, path: &str, before: Option<&str>, after: &str) -> String {
        let text_kind = match kind {
            FileKind::HostsFile => TextKind::HostsFile,
            FileKind::Configuration => TextKind::Configuration,
        };
        let content = |text: &str| FileText::new(text.into(), text_kind);
        let change = Change {
            kind,
            path: NodePath::new(path),
            named: None,
            before: before.map(content),
            after: content(after),
            mode: crate::plan::NEW_FILE,
        };
        let mut encoder = Encoder::default();
        let changed = ChangedLines::new(change.before.as_ref(), Some(&change.after));
        encode_change(&change, &changed, &mut encoder);
        super::super::hexadecimal(&Sha256::digest(&encoder.0))
    }

    fn edit(before: &str, after: &str) -> String {
        of(FileKind::Configuration, "/c.toml", Some(before), after)
    }

    #[test]
    fn edits_that_write_different_things_have_different_digests() {
        let different = [
            edit("[a]\nx = 1\n", "[a]\n"),
            edit("[b]\nx = 1\n", "[b]\n"),
            edit("[a]\nx = 1", "[a]\n"),
            edit("[a]\nx = 1\ny = 2\n", "[a]\n"),
            edit("[a]\n", "[a]\nx = 1\n"),
            edit("[a]\n", "[a]\nx = 1\r\n"),
            edit("[a]\nx = 1\n", "[a]\nx = 2\n"),
            // The new line holds the password.
            edit(
                "c = { tls = 1, password = \"p\" }\n",
                "c = { password = \"p\" }\n",
            ),
            edit(
                "c = { tls = 1, password = \"q\" }\n",
                "c = { password = \"q\" }\n",
            ),
            // Not TOML.
            edit("x\n", "[a]\n"),
            edit("y\n", "[a]\n"),
            of(
                FileKind::HostsFile,
                "/c.toml",
                Some("[a]\nx = 1\n"),
                "[a]\n",
            ),
            of(
                FileKind::Configuration,
                "/d.toml",
                Some("[a]\nx = 1\n"),
                "[a]\n",
            ),
            of(FileKind::HostsFile, "/c.toml", Some(""), "[a]\n"),
            of(FileKind::HostsFile, "/c.toml", None, "[a]\n"),
        ];
        for (at, digest) in different.iter().enumerate() {
            assert_eq!(different.iter().position(|other| other == digest), Some(at));
        }
    }

    #[test]
    fn lines_that_stay_and_secrets_that_stay_are_not_in_a_digest() {
        let nodes = [
            "[a]\nx = 1\n[auth]\npassword = \"p\"\n",
            "[a]\nx = 1\n[auth]\npassword = \"another\"\n",
            "# above\n[other]\n\n[a]\nx = 1\ny = 2\n",
        ];
        let digests = nodes.map(|node| edit(node, &node.replacen("x = 1\n", "", 1)));
        assert_eq!(digests[0], digests[1]);
        assert_eq!(digests[0], digests[2]);
    }
}
