//! What holds of any bytes in the place of a config.toml, a hosts.toml, a journal or a URL. The fuzz targets in `fuzz/`
//! and the tests beside this file call the same functions; what does not hold is a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use containerd_registry_migrate::apply::{
    self, ApplyError, ChangedSinceApply, Interrupt, Purpose, Session,
};
use containerd_registry_migrate::commands;
use containerd_registry_migrate::containerd::release::Version;
use containerd_registry_migrate::finding::{self, Decision};
use containerd_registry_migrate::go::url;
use containerd_registry_migrate::node::{Node, NodePath};
use containerd_registry_migrate::plan::{FileKind, Plan};
use containerd_registry_migrate::question::{Existing, ExistingAnswers, Version1};
use containerd_registry_migrate::report::fold::Detail;
use containerd_registry_migrate::report::{self, Command, Outcome, Report};
use containerd_registry_migrate::request::Request;
use containerd_registry_migrate::secret::{shown_name, shown_url, without_user_information};
use sha2::{Digest, Sha256};

const CONFIG: &str = "etc/containerd/config.toml";
const HOSTS: &str = "etc/containerd/certs.d/m.example/hosts.toml";
const JOURNAL: &str = "state/0001.journal";

/// What no output may show. It is nothing that a fuzzer comes upon.
const SECRET: &str = "Hunter2Hunter2Hunter2";
/// Base64 of `bob:` and the secret, less what depends on its padding.
const BASIC: &str = "Ym9iOkh1bnRlcjJIdW50ZXIySHVudGVyM";

/// Put behind a text, so that whatever the text is, this is secret or the whole is not TOML.
const CONFIG_SECRETS: &str = r#"
[plugins."io.containerd.grpc.v1.cri".registry.configs."secrets.example".auth]
username = "bob"
password = "Hunter2Hunter2Hunter2"
auth = "Ym9iOkh1bnRlcjJIdW50ZXIySHVudGVyMg=="
[plugins."io.containerd.grpc.v1.cri".registry.configs."secrets.example".tls]
ca_file = "https://bob:Hunter2Hunter2Hunter2@secrets.example/ca"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."secrets.example"]
endpoint = ["https://bob:Hunter2Hunter2Hunter2@secrets.example"] # password: Hunter2Hunter2Hunter2
[stream_processors."secrets.example"]
args = ["-u", "bob:Hunter2Hunter2Hunter2"]
"#;
const HOSTS_SECRETS: &str = r#"
[host."https://bob:Hunter2Hunter2Hunter2@secrets.example".header]
Authorization = "Basic Ym9iOkh1bnRlcjJIdW50ZXIySHVudGVyMg=="
X-Secret = ["Hunter2Hunter2Hunter2"]
"#;

/// A directory of its own for each process and thread, in memory where there is such a thing.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let thread = format!("{:?}", std::thread::current().id());
        let number = thread.trim_matches(|c: char| !c.is_ascii_digit());
        let path = directory.join(format!("fuzz-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn node(&self) -> Node {
        Node::open(self.0.to_str().unwrap()).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is asked, by the first byte.
fn request(choice: u8) -> Request {
    let from = match choice & 7 {
        0 => None,
        1 => Some("1.5.11"),
        2 => Some("1.6.20"),
        3 => Some("1.7.24"),
        4 => Some("2.0.11"),
        5 => Some("2.1.9"),
        6 => Some("2.2.0"),
        _ => Some("2.3.4"),
    };
    let allowed = finding::ALL.iter().copied();
    let allowed = allowed.filter(|code| matches!(code.decision, Decision::Allow(_)));
    let allows = choice & 0x80 != 0;
    Request {
        from: from.map(|text| Version::parse(text).unwrap()),
        existing: match choice >> 3 & 3 {
            0 | 3 => ExistingAnswers::default(),
            1 => Existing::Keep.into(),
            _ => Existing::Replace.into(),
        },
        version_1: match choice >> 5 & 3 {
            0 | 3 => Version1::Auto,
            1 => Version1::Keep,
            _ => Version1::Convert,
        },
        allow: allowed.filter(|_| allows).collect(),
        ..Request::default()
    }
}

/// Any bytes as config.toml. The first byte says what is asked, and the second one whether secrets are put behind.
pub(crate) fn config_toml(data: &[u8]) {
    let [choice, secrets, text @ ..] = data else {
        return;
    };
    let tree = Tree::new("config");
    let secrets = if secrets & 1 == 1 { CONFIG_SECRETS } else { "" };
    tree.write(CONFIG, &[text, secrets.as_bytes()].concat());
    plan_and_check(&tree, &request(*choice));
}

/// Any bytes as a hosts.toml: of a directory that is in effect, or that will be. The second byte says which, and whether
/// secrets are put behind.
pub(crate) fn hosts_toml(data: &[u8]) {
    let [choice, kind, text @ ..] = data else {
        return;
    };
    let tree = Tree::new("hosts");
    let secrets = if kind & 1 == 1 { HOSTS_SECRETS } else { "" };
    tree.write(HOSTS, &[text, secrets.as_bytes()].concat());
    let registry = "plugins.\"io.containerd.grpc.v1.cri\".registry";
    let config_path = if kind & 2 == 2 {
        "config_path = \"/etc/containerd/certs.d\"\n"
    } else {
        ""
    };
    let mirrors = if kind & 4 == 4 || kind & 2 == 0 {
        format!("[{registry}.mirrors.\"m.example\"]\nendpoint = [\"https://h.example\"]\n")
    } else {
        String::new()
    };
    let config = format!("version = 2\n[{registry}]\n{config_path}{mirrors}");
    tree.write(CONFIG, config.as_bytes());
    plan_and_check(&tree, &request(*choice));
}

fn plan_and_check(tree: &Tree, request: &Request) {
    let node = tree.node();
    let planned = match commands::plan(&node, Command::Plan, request) {
        Ok(planned) => planned,
        Err(unread) => {
            assert_no_secret(&unread.to_string());
            assert_no_secret(&printed(&unread.report));
            return;
        }
    };
    assert_no_secret(&printed(&planned.report));
    assert!(
        !says(&planned.report, "proof-failed"),
        "{}",
        printed(&planned.report)
    );
    match commands::check(&node, request) {
        Ok(report) => assert_no_secret(&printed(&report)),
        Err(unread) => assert_no_secret(&unread.to_string()),
    }
    if planned.report.outcome != Outcome::Changes {
        return;
    }
    let (_, plan) = planned.plan.unwrap();
    assert_rest_is_left_alone(&plan);
    for change in &plan.changes {
        let path = change.path.as_str().trim_start_matches('/');
        tree.write(path, change.after.bytes());
    }
    let again = commands::plan(&node, Command::Plan, request).unwrap();
    assert_eq!(
        again.report.outcome,
        Outcome::Nothing,
        "before: {}\nafter: {}",
        printed(&planned.report),
        printed(&again.report)
    );
}

/// All that is printed of a report, in every format.
fn printed(report: &Report) -> String {
    let mut printed = report::diff::render(report);
    for detail in [Detail::All, Detail::Folded] {
        printed.push_str(&report::text::render(report, detail));
        printed.push_str(&report::markdown::render(report, detail));
    }
    printed.push_str(&serde_json::to_string_pretty(report).unwrap());
    printed
}

fn says(report: &Report, code: &str) -> bool {
    report.findings.iter().any(|found| found.code.name == code)
}

fn assert_no_secret(text: &str) {
    for secret in [SECRET, BASIC] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Configuration files lose registry settings, get `config_path`, and are otherwise what they were.
fn assert_rest_is_left_alone(plan: &Plan) {
    for change in &plan.changes {
        let (Some(before), FileKind::Configuration, false) =
            (&change.before, change.kind, plan.converts)
        else {
            continue;
        };
        let [before, after] =
            [before, &change.after].map(|text| std::str::from_utf8(text.bytes()).unwrap());
        let context = || format!("--- before\n{before}\n--- after\n{after}");
        let [old, new] = [before, after].map(settings);
        for (path, value) in &new {
            let is_ours = path.ends_with("config_path") || path.ends_with("use_local_image_pull");
            let is_old = old.get(path) == Some(value);
            assert!(is_old || is_ours, "{path}: {}", context());
        }
        for path in old.keys().filter(|path| !new.contains_key(*path)) {
            let lower = path.to_ascii_lowercase();
            assert!(lower.contains("\u{1f}registry"), "{path}: {}", context());
        }
        let lines: BTreeSet<&str> = before.lines().collect();
        for line in after.lines().filter(|line| !lines.contains(line)) {
            let is_ours = line.contains("config_path")
                || line.contains("use_local_image_pull")
                || line.trim_start().starts_with('[');
            // An inline table loses some of its keys, and may be joined with what was behind them.
            assert!(is_ours || is_part(line, before), "{line}: {}", context());
        }
    }
}

/// Every setting as it is written, by its path, whose names are joined by a character that no name has.
fn settings(text: &str) -> BTreeMap<String, &str> {
    fn collect<'t>(
        path: &str,
        table: &dyn toml_edit::TableLike,
        text: &'t str,
        found: &mut BTreeMap<String, &'t str>,
    ) {
        for (key, item) in table.iter() {
            let path = format!("{path}\u{1f}{key}");
            match item.as_table_like() {
                Some(table) => collect(&path, table, text, found),
                None => {
                    let written = item.span().and_then(|span| text.get(span));
                    found.insert(path, written.unwrap_or_default());
                }
            }
        }
    }
    let document = toml_edit::Document::parse(text).unwrap();
    let mut found = BTreeMap::new();
    collect("", document.as_table(), text, &mut found);
    found
}

/// Whether the characters of `line` are in `text`, in this order.
fn is_part(line: &str, text: &str) -> bool {
    let mut rest = text.chars();
    line.chars().all(|wanted| rest.any(|found| found == wanted))
}

/// Any lines as a journal, each with the checksum that it needs; the second byte says which lines are damaged. It is
/// refused, or its run is rolled back as it says, and nothing is touched that it does not name.
pub(crate) fn journal(data: &[u8]) {
    let [choice, damage, text @ ..] = data else {
        return;
    };
    let tree = Tree::new("journal");
    tree.write("node/etc/containerd/config.toml", b"new");
    tree.write("node/etc/containerd/certs.d/a/hosts.toml", b"hosts");
    tree.write("node/etc/containerd/other", b"other");
    tree.write("outside", b"outside");
    let mut journal = Vec::new();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for (number, line) in lines.iter().enumerate() {
        let mut checksum = String::new();
        for byte in Sha256::digest(line) {
            checksum.push_str(&format!("{byte:02x}"));
        }
        if number < 8 && damage >> number & 1 == 1 {
            checksum.replace_range(..1, "x");
        }
        journal.extend_from_slice(checksum.as_bytes());
        journal.push(b' ');
        journal.extend_from_slice(line);
        journal.push(b'\n');
    }
    if choice & 1 == 1 {
        journal.pop();
    }
    tree.write(&format!("node/{JOURNAL}"), &journal);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(tree.0.join("node/state"), fs::Permissions::from_mode(0o700)).unwrap();

    let root = tree.0.join("node");
    let node = Node::open(root.to_str().unwrap()).unwrap();
    let state = NodePath::new("/state");
    let before = files(&tree.0);
    let runs = apply::runs(&node, &state);
    let _ = apply::unfinished(&node, &state);
    if let Ok(runs) = &runs {
        let _: Vec<_> = runs.iter().map(report::transaction::row).collect();
    }
    assert_eq!(files(&tree.0), before, "looking changes nothing");

    let purpose = match choice >> 1 & 3 {
        0 => Purpose::Apply,
        1 => Purpose::Rollback(Some(1)),
        _ => Purpose::Rollback(None),
    };
    let changed = if choice & 8 == 8 {
        ChangedSinceApply::Overwrite
    } else {
        ChangedSinceApply::Refuse
    };
    let explain = |error: &ApplyError| {
        let _ = report::transaction::failure(error, &report::Shown::default(), &Request::default());
    };
    let ran = Session::begin(
        &node,
        &state,
        purpose,
        Interrupt::deaf(),
        changed,
        None,
        &mut |_| {},
    )
    .and_then(|(mut session, _)| {
        session.way_back(1)?;
        session.rollback(1, None, &mut |_| {})
    });
    let named = named_files(text);
    let after = files(&tree.0);
    match &ran {
        Ok(rolled_back) => {
            for path in &rolled_back.files {
                let is_named = named.iter().any(|(name, _)| name == path);
                assert!(is_named, "{path}");
            }
        }
        Err(error) => explain(error),
    }
    for (path, bytes) in &before {
        let below = path.strip_prefix("node").ok();
        let is_state = below.is_some_and(|below| below.starts_with("state"));
        let is_named = below.is_some_and(|below| {
            let path = NodePath::new(below.to_str().unwrap());
            named.iter().any(|(name, _)| *name == path)
        });
        assert!(
            is_state || is_named || after.get(path) == Some(bytes),
            "{path:?} was touched"
        );
    }
    // What is there afterwards is what was there, or what the journal says was there before.
    for (path, bytes) in &after {
        let Some(below) = path.strip_prefix("node").ok() else {
            assert_eq!(before.get(path), Some(bytes), "{path:?}");
            continue;
        };
        if below.starts_with("state") || before.get(path) == Some(bytes) {
            continue;
        }
        let path = NodePath::new(below.to_str().unwrap());
        let is_old = named
            .iter()
            .any(|(name, old)| *name == path && old.as_ref() == Some(bytes));
        assert!(is_old, "{path} holds what the journal does not say");
    }
}

/// The files that the lines of a journal name, and what they were before.
fn named_files(text: &[u8]) -> Vec<(NodePath, Option<Vec<u8>>)> {
    let mut named = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(line) else {
            continue;
        };
        let Some(path) = line["path"].as_str() else {
            continue;
        };
        let before = &line["before"]["bytes"];
        let hex = |hex: &str| -> Option<Vec<u8>> {
            let pairs = hex.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            pairs.map(byte).collect()
        };
        let before = before["text"]
            .as_str()
            .map(|text| text.as_bytes().to_vec())
            .or_else(|| before["hex"].as_str().and_then(hex));
        named.push((NodePath::new(path), before));
    }
    named
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(directory: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let below = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &below, found);
            } else {
                found.insert(below, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, Path::new(""), &mut found);
    found
}

/// Any text as a URL.
pub(crate) fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (lenient, strict) = (url::parse(text, false), url::parse(text, true));
    if let Ok(strict) = &strict {
        assert_eq!(lenient.as_ref(), Ok(strict), "the stricter one reads less");
    }
    let (shown, compared) = (shown_url(text), without_user_information(text));
    let Ok(lenient) = lenient else {
        return;
    };
    // Without a scheme it is a path to Go, and a host to containerd.
    let Some((scheme, rest)) = text.split_once("://").filter(|_| !lenient.host.is_empty()) else {
        return;
    };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return;
    }
    // What is compared keeps all but the user information.
    if let Ok(compared) = url::parse(&compared, false) {
        assert_eq!(compared.host, lenient.host, "{text:?}");
        assert_eq!(compared.path, lenient.path, "{text:?}");
    }
    // What is shown hides that, and not the host.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    // A host may have the shape of a token, and a PEM block hides the text around it.
    if text.contains("-----BEGIN") || shown_name(host).contains("********") {
        return;
    }
    // Go takes `user:password:5000` for a host and a port.
    if !host.starts_with('[') && host.matches(':').count() > 1 {
        return;
    }
    // What follows an empty port may be a password that begins with a slash.
    if host.ends_with(':') && (rest.contains('@') || rest.contains("%40")) {
        return;
    }
    let mask = if user.is_empty() { "" } else { "********" };
    let at = if authority.contains('@') { "@" } else { "" };
    let begins = format!("{scheme}://{mask}{at}{host}");
    assert!(shown.starts_with(&begins), "{text:?}: {shown}");
}
