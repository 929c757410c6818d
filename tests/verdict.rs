//! The verdict of `check`, and the versions that a plan is for where none is named. Fixtures name their target, so that a
//! new release moves none of them; what holds without one is here.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;

use serde_json::Value;

use support::{Ran, run, scratch};

/// A node of these files.
fn node(name: &str, files: &[(&str, &str)]) -> String {
    let root = scratch(&format!("verdict-{name}"));
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root.to_str().unwrap().to_owned()
}

const CONFIG: &str = "etc/containerd/config.toml";
const GRPC: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";

/// A version-2 file with one https mirror.
fn mirror() -> String {
    format!("version = 2\n[{GRPC}.mirrors.\"docker.io\"]\nendpoint = [\"https://m.example\"]\n")
}

/// What a command says, as text and as data.
struct Said {
    text: Ran,
    data: Value,
}

fn said(command: &str, root: &str, options: &[&str]) -> Said {
    let args = [&[command, "--root", root], options].concat();
    let text = run(&args);
    let json = run([&args[..], &["--format", "json"]].concat());
    let data: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(data["exit_code"], text.code, "{text:?}");
    Said { text, data }
}

fn check(root: &str, options: &[&str]) -> Said {
    let said = said("check", root, options);
    let has_error = said.has("error");
    assert!(!(has_error && said.text.code == 0), "{:?}", said.text);
    let last = said.text.stdout.lines().last().unwrap();
    assert!(last.starts_with("Next: "), "{:?}", said.text);
    said
}

impl Said {
    fn has(&self, severity: &str) -> bool {
        let mut findings = self.data["findings"].as_array().unwrap().iter();
        findings.any(|finding| finding["severity"] == severity)
    }

    /// The messages of the findings of this code, each with its help.
    fn messages(&self, code: &str) -> Vec<String> {
        let findings = self.data["findings"].as_array().unwrap().iter();
        let of_code = findings.filter(|finding| finding["code"] == code);
        let text = |finding: &Value| {
            let [message, help] = ["message", "help"].map(|key| finding[key].as_str().unwrap());
            format!("{message}: {help}")
        };
        of_code.map(text).collect()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let texts = self.data[key].as_array().unwrap().iter();
        texts
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    }

    fn targets(&self) -> Vec<String> {
        let targets = self.data["versions"]["to"].as_array().unwrap().iter();
        let version = |target: &Value| target["version"].as_str().unwrap().to_owned();
        targets.map(version).collect()
    }

    /// The lines of the text as one, so that it does not matter where they are broken.
    fn words(&self) -> String {
        let words: Vec<&str> = self.text.stdout.split_whitespace().collect();
        words.join(" ")
    }
}

#[test]
fn a_node_with_one_mirror_is_ready_for_every_later_line_and_2_2_2_is_the_first_good_patch() {
    let root = node("mirror", &[(CONFIG, &mirror())]);
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(
        (said.text.code, &said.data["outcome"]),
        (0, &"ready".into())
    );
    let lines: Vec<String> = said.texts("ready_for");
    assert_eq!(lines, said.targets());
    for line in ["2.0.", "2.1.", "2.2.", "2.3.", "2.4."] {
        assert!(
            lines.iter().any(|release| release.starts_with(line)),
            "{lines:?}"
        );
    }
    let older = said.messages("intermediate-version");
    assert_eq!(older.len(), 1, "{older:?}");
    assert!(
        older[0].contains("pulls on containerd 2.2.0 to 2.2.1 are not those on 1.7."),
        "{older:?}"
    );
    assert!(older[0].contains("CRI does not load"), "{older:?}");
    assert!(older[0].contains("2.2.2 is the first"), "{older:?}");
    let removed =
        "containerd 2.7 (planned for September 2027) removes `mirrors`, which this node uses";
    assert!(said.words().contains(removed), "{:?}", said.text);
    assert_eq!(said.data["removal"]["settings"][0], "mirrors");

    // The planned files work on 2.2.0, too.
    let plan = self::said("plan", &root, &["--from", "1.7"]);
    assert_eq!(plan.messages("intermediate-version"), [""; 0]);
}

#[test]
fn ca_files_that_2_does_not_read_are_what_breaks() {
    let tls = format!("[{GRPC}.configs.\"m.example\".tls]\nca_file = \"/etc/ssl/harbor.pem\"\n");
    let root = node("tls", &[(CONFIG, &format!("{}{tls}", mirror()))]);
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(
        (said.text.code, &said.data["outcome"]),
        (1, &"not-ready".into())
    );
    assert!(
        said.texts("not_ready")
            .contains(&"docker.io: CA /etc/ssl/harbor.pem is not used on 2.0 to 2.4".to_owned()),
        "{:?}",
        said.texts("not_ready")
    );
    assert_eq!(said.texts("ready_for"), [""; 0]);
    assert!(said.texts("next")[0].contains(" plan "), "{:?}", said.text);
    // Named, the target is named by its own number.
    let said = check(&root, &["--from", "1.7", "--to", "2.4.0"]);
    let reasons = said.texts("not_ready");
    assert!(reasons[0].ends_with("is not used on 2.4.0"), "{reasons:?}");
}

#[test]
fn what_a_direct_upgrade_skips_is_a_warning_and_a_target_between_is_what_breaks() {
    let version_1 =
        "[plugins.cri.registry.mirrors.\"reg.corp:5000\"]\nendpoint = [\"http://reg.corp:5000\"]\n";
    let root = node("version-1", &[(CONFIG, version_1)]);
    // 2.0 to 2.2 lose the section (docs/containerd.md §5.2).
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(said.text.code, 1, "{:?}", said.text);
    let ready = said.texts("ready_for");
    assert!(
        ready.iter().all(|release| release.as_str() > "2.3"),
        "{ready:?}"
    );
    let reasons = said.texts("not_ready");
    let lost = "reg.corp:5000: https://reg.corp:5000/v2 is asked instead of http://reg.corp:5000/v2 on 2.0, 2.1 and 2.2";
    assert!(reasons.contains(&lost.to_owned()), "{reasons:?}");
    assert!(
        said.words()
            .contains("would; --to asks about a direct upgrade"),
        "{:?}",
        said.text
    );

    let said = check(&root, &["--from", "1.7", "--to", "2.3"]);
    let older = said.messages("intermediate-version");
    assert!(
        older[0].contains("pulls on containerd 2.0.0 to 2.2.9 are not those"),
        "{older:?}"
    );
    assert!(older[0].contains("2.3.0 is the first"), "{older:?}");
}

#[test]
fn an_assumed_version_is_called_assumed_and_a_named_one_is_not() {
    let root = node("named", &[(CONFIG, &mirror())]);
    for command in ["plan", "check"] {
        let assumed = said(command, &root, &[]);
        assert_eq!(assumed.data["versions"]["from"]["assumed"], true);
        assert!(assumed.words().contains("(assumed; set --from to change)"));
        let named = said(command, &root, &["--from", "1.7"]);
        assert_eq!(named.data["versions"]["from"]["assumed"], false);
        assert!(!named.words().contains("assumed"), "{:?}", named.text);
    }
    let plan = said("plan", &root, &["--to", "2.4.2"]);
    let from = plan.data["versions"]["from"]["version"].as_str().unwrap();
    let promise = format!(
        "Preserves the pulls of containerd {from} (assumed; set --from to change), verified for 2.4.2\n"
    );
    assert!(plan.text.stdout.contains(&promise), "{:?}", plan.text);
}

#[test]
fn a_line_means_its_newest_release_for_both_ends_and_an_unknown_one_is_a_warning() {
    let root = node("lines", &[(CONFIG, &mirror())]);
    let versions = |said: &Said| {
        let versions = &said.data["versions"];
        (versions["from"]["version"].clone(), said.targets())
    };
    let line = said("plan", &root, &["--from", "1.7", "--to", "2.3"]);
    let patch = said("plan", &root, &["--from", "1.7.99", "--to", "2.3.99"]);
    assert_eq!(versions(&line), versions(&patch));
    for known in [&line, &patch] {
        assert_eq!(known.messages("version-newer-than-known"), [""; 0]);
    }
    let unknown = said("plan", &root, &["--from", "1.7", "--to", "2.99"]);
    let messages = unknown.messages("version-newer-than-known");
    assert!(messages[0].contains("release line 2.99"), "{messages:?}");
    assert_eq!(unknown.data["outcome"], "changes");
}

#[test]
fn the_newest_line_has_itself_as_its_target() {
    let root = node("newest", &[(CONFIG, &mirror())]);
    let said = check(&root, &["--from", "2.4.0"]);
    assert_eq!(said.targets().len(), 1, "{:?}", said.text);
    assert_eq!(said.text.code, 0, "{:?}", said.text);
}

#[test]
fn a_migrated_node_is_judged_by_its_hosts_files() {
    let config = format!("version = 2\n[{GRPC}]\nconfig_path = \"/etc/containerd/certs.d\"\n");
    let hosts = "etc/containerd/certs.d/quay.io/hosts.toml";
    let good = "server = \"https://quay.io\"\n[host.\"https://m.example\"]\n";
    let root = node("migrated", &[(CONFIG, &config), (hosts, good)]);
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(said.text.code, 0, "{:?}", said.text);
    assert!(
        said.text.stdout.ends_with("Next: upgrade containerd\n"),
        "{:?}",
        said.text
    );
    assert!(said.data.get("removal").is_none(), "{}", said.data);

    // 2.2 knows the capability, and releases before discard the file (docs/containerd.md §2.7).
    let referrers = "server = \"https://quay.io\"\n[host.\"https://m.example\"]\ncapabilities = [\"pull\", \"resolve\", \"referrers\"]\n";
    let root = node(
        "migrated-referrers",
        &[(CONFIG, &config), (hosts, referrers)],
    );
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(said.text.code, 1, "{:?}", said.text);
    assert_eq!(
        said.texts("not_ready"),
        ["quay.io: https://m.example/v2 is asked on 2.2 to 2.4"]
    );
    // Every release that may run discards it: nothing changes, and the table says so.
    let said = check(&root, &["--from", "1.7", "--to", "2.1"]);
    assert_eq!(said.text.code, 0, "{:?}", said.text);
    assert!(
        said.text.stdout.contains("hosts files ignored"),
        "{:?}",
        said.text
    );
    assert_eq!(said.messages("discarded-hosts-file").len(), 1);

    // Of two spellings of a name the second is never read (docs/containerd.md §2.9).
    let files = [
        (CONFIG, config.as_str()),
        ("etc/containerd/certs.d/reg.example_5000_/hosts.toml", good),
        ("etc/containerd/certs.d/reg.example:5000/hosts.toml", good),
    ];
    let said = check(&node("migrated-shadowed", &files), &["--from", "1.7"]);
    assert_eq!(said.messages("shadowed-directory").len(), 1);
    assert_eq!(said.text.code, 0, "{:?}", said.text);
}

#[test]
fn an_error_finding_is_never_beside_ready() {
    // The upgrade changes no pulls, but the migration asks a question.
    let other = "server = \"https://registry-1.docker.io\"\n[host.\"https://old.example\"]\n";
    let hosts = "etc/containerd/certs.d/docker.io/hosts.toml";
    let root = node("question", &[(CONFIG, &mirror()), (hosts, other)]);
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(said.text.code, 1, "{:?}", said.text);
    assert_eq!(said.texts("ready_for"), said.targets());
    assert_eq!(
        said.texts("not_ready"),
        ["error[existing-hosts-file] has to be fixed or decided"]
    );
    let answered = check(&root, &["--from", "1.7", "--existing", "keep"]);
    assert_eq!(answered.text.code, 0, "{:?}", answered.text);
    assert!(answered.texts("next")[0].contains("--existing keep"));
}

#[test]
fn what_cannot_be_read_is_3_and_the_next_command_is_check() {
    let root = node("unreadable", &[(CONFIG, "version = \n")]);
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(
        (said.text.code, &said.data["outcome"]),
        (3, &"refused".into())
    );
    let last = said.text.stdout.lines().last().unwrap();
    assert!(
        last.starts_with("Next: fix the file, then ") && last.contains(" check "),
        "{last}"
    );
}

#[test]
fn a_version_3_file_lists_no_release_that_was_never_meant_to_read_it() {
    let images = "plugins.\"io.containerd.cri.v1.images\".registry";
    let config = format!(
        "version = 3\n[{images}.mirrors.\"docker.io\"]\nendpoint = [\"https://m.example\"]\n"
    );
    let root = node("version-3", &[(CONFIG, &config)]);
    let said = check(&root, &[]);
    assert_eq!(said.text.code, 0, "{:?}", said.text);
    let table: Vec<&str> = said
        .text
        .stdout
        .lines()
        .filter(|line| line.starts_with("1."))
        .collect();
    assert_eq!(table, [""; 0]);
    assert!(
        said.words()
            .contains("which cannot read a file of version 3"),
        "{:?}",
        said.text
    );
    // Where it is the installed one, it is what breaks.
    let said = check(&root, &["--from", "1.7"]);
    assert_eq!(said.text.code, 1, "{:?}", said.text);
}

#[test]
fn the_table_fits_80_columns_and_breaks_no_path() {
    let tls = format!("[{GRPC}.configs.\"m.example\".tls]\nca_file = \"/etc/ssl/harbor.pem\"\n");
    let discarded = "server = \"https://quay.io\"\n";
    let hosts = "etc/containerd/certs.d/quay.io/hosts.toml";
    let root = node(
        "table",
        &[(CONFIG, &format!("{}{tls}", mirror())), (hosts, discarded)],
    );
    for from in ["1.5", "1.6", "1.7", "2.1", "2.2.1"] {
        let said = check(&root, &["--from", from, "--existing", "keep"]);
        let lines = said
            .text
            .stdout
            .lines()
            .filter(|line| !line.starts_with("Next: "));
        for line in lines {
            // What findings print is as wide as a terminal may be.
            let is_finding = line.contains(" = help:") || line.contains(']') || line.contains('|');
            assert!(is_finding || line.chars().count() <= 80, "{line}");
        }
        for path in [
            "/etc/containerd/config.toml:",
            "/etc/containerd/certs.d/quay.io/hosts.toml",
        ] {
            let words = said.words();
            assert!(words.contains(path), "{path}: {words}");
        }
    }
}
