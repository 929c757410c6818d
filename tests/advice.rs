//! What a finding about a misplaced setting says is to be written is written, and then every containerd does what was meant.
//!
//! Each node has one setting in a wrong place. The lines that the help has in backquotes are put where it says, in place of the
//! wrong ones: the finding must disappear, and after the migration the installed containerd and the newest release of each
//! later line must pull with the setting.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use containerd_registry_migrate::commands;
use containerd_registry_migrate::containerd::host::Pulls;
use containerd_registry_migrate::containerd::release::{Behaviour, Version};
use containerd_registry_migrate::node::Node;
use containerd_registry_migrate::report::Command;
use containerd_registry_migrate::request::Request;

/// What has to come of a setting.
enum Meant {
    /// Pulls of this namespace try this URL first.
    Mirror(&'static str, &'static str),
    /// This namespace's pulls do not verify the certificate of this host.
    SkipVerify(&'static str, &'static str),
    /// They trust this CA for this host.
    Ca(&'static str, &'static str, &'static str),
    /// There are credentials for this host.
    Credentials(&'static str),
}

use Meant::{Ca, Credentials, Mirror, SkipVerify};

/// A node with a setting in a wrong place.
struct Case {
    from: &'static str,
    right: &'static str,
    wrong: &'static str,
    files: &'static [(&'static str, &'static str)],
    meant: Meant,
}

const GRPC: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"registry.k8s.io/pause:3.9\"\n";
const CERTS_D: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n";
const IMAGES: &str =
    "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  max_concurrent_downloads = 5\n";
const SHORT: &str = "[plugins.cri]\n  sandbox_image = \"registry.k8s.io/pause:3.9\"\n";
const MIRROR: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]\n  endpoint = [\"https://m.example:8443\"]\n";
const DOCKER_IO: &[(&str, &str)] = &[(
    "etc/containerd/certs.d/docker.io/hosts.toml",
    "server = \"https://registry-1.docker.io\"\n\n[host.\"https://m.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
)];

fn case(from: &'static str, right: &'static str, wrong: &'static str, meant: Meant) -> Case {
    Case {
        from,
        right,
        wrong,
        files: &[],
        meant,
    }
}

fn cases() -> Vec<Case> {
    let m = || Mirror("quay.io", "https://m.example/v2");
    let skip = || SkipVerify("h.example", "h.example");
    let wrong_mirrors = [
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirror.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registery.mirrors.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".mirrors.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".cri.registry.mirrors.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.registry.mirrors.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".\"registry.mirrors\".\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cr\".registry.mirrors.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri.registry\".mirrors.\"quay.io\"]",
        "[plugin.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]",
        "[\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]",
        "[registry.mirrors.\"quay.io\"]",
        "[debug.plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"https://quay.io\"]",
    ];
    let wrong_tls = [
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.tls.\"h.example\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.config.\"h.example\".tls]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.tls.\"h.example\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"h.example\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"https://h.example\".tls]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.h.example.tls]",
        "[plugins.\"io.containerd.grpc.v1.cri\".configs.\"h.example\".tls]",
    ];
    let wrong_credentials = [
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.auth.\"h.example\".auth]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.auth.\"h.example\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.auth.\"h.example\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.auths.\"https://h.example\".auth]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"h.example\"]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"https://h.example\".auth]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.h.example.auth]",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.auths.\"h.example:5000\"]",
    ];
    let mut cases = Vec::new();
    for from in ["1.7", "2.1"] {
        for right in [GRPC, CERTS_D] {
            for header in wrong_mirrors {
                if right == CERTS_D && header.contains("mirrors.\"https") {
                    // Beside config_path any mirror stops CRI, whatever it is called.
                    continue;
                }
                let wrong = leak(format!("{header}\n  endpoint = [\"https://m.example\"]\n"));
                cases.push(case(from, right, wrong, m()));
            }
            for header in wrong_tls {
                if right == CERTS_D && header.contains("\"https")
                    || from == "2.1" && header.contains("\"https")
                {
                    continue;
                }
                let wrong = leak(format!("{header}\n  insecure_skip_verify = true\n"));
                cases.push(case(from, right, wrong, skip()));
            }
            for header in wrong_credentials {
                let wrong = leak(format!(
                    "{header}\n  username = \"u\"\n  password = \"hunter2\"\n"
                ));
                let host = if header.contains("5000") {
                    "h.example:5000"
                } else {
                    "h.example"
                };
                cases.push(case(from, right, wrong, Credentials(host)));
            }
            let wrong = "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.tls.\"docker.io\"]\n  ca_file = \"/etc/ssl/c.pem\"\n";
            cases.push(case(
                from,
                right,
                wrong,
                Ca("docker.io", "registry-1.docker.io", "/etc/ssl/c.pem"),
            ));
        }
        // Keys of a mirror.
        for (wrong, meant) in [
            (
                "  insecure_skip_verify = true\n",
                SkipVerify("quay.io", "m.example:8443"),
            ),
            (
                "  skip_verify = true\n",
                SkipVerify("quay.io", "m.example:8443"),
            ),
            (
                "  tls = { ca_file = \"/etc/ssl/c.pem\" }\n",
                Ca("quay.io", "m.example:8443", "/etc/ssl/c.pem"),
            ),
            (
                "  username = \"u\"\n  password = \"hunter2\"\n",
                Credentials("m.example:8443"),
            ),
        ] {
            if from == "2.1" && !matches!(meant, Credentials(_)) {
                // On 2.x certificates belong into the hosts files that the migration writes.
                continue;
            }
            cases.push(case(from, MIRROR, wrong, meant));
        }
        cases.push(Case {
            files: DOCKER_IO,
            ..case(
                from,
                GRPC,
                "[ttrpc]\n  address = \"\"\nconfig_path = \"/etc/containerd/certs.d\"\n",
                Mirror("docker.io", "https://m.example/v2"),
            )
        });
    }
    for (right, wrong, meant) in [
        (
            GRPC,
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"docker.io\".auth]\n  username = \"u\"\n",
            Credentials("registry-1.docker.io"),
        ),
        (
            GRPC,
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"https://index.docker.io/v1/\".auth]\n  auth = \"dTpw\"\n",
            Credentials("registry-1.docker.io"),
        ),
        (
            SHORT,
            "[plugins.cri.registry.mirror.\"quay.io\"]\n  endpoint = [\"https://m.example\"]\n",
            m(),
        ),
        (
            SHORT,
            "[plugins.cri.registry.configs.tls.\"h.example\"]\n  insecure_skip_verify = true\n",
            skip(),
        ),
    ] {
        cases.push(case("1.7", right, wrong, meant));
    }
    for (wrong, meant) in [
        (
            "[plugins.'io.containerd.cri.v1.runtime'.registry.mirrors.'quay.io']\n  endpoint = ['https://m.example']\n",
            m(),
        ),
        (
            "[plugins.'io.containerd.cri.v1.image'.registry.configs.'h.example'.auth]\n  username = 'u'\n",
            Credentials("h.example"),
        ),
        (
            "[plugins.'io.containerd.cri.v1.images'.registry.configs.tls.'h.example']\n  insecure_skip_verify = true\n",
            skip(),
        ),
    ] {
        cases.push(case("2.0", IMAGES, wrong, meant));
    }
    cases
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A directory of its own for a node.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("advice")
        .join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir_all(&path).unwrap();
    path
}

/// The files of a node.
type Tree = BTreeMap<String, String>;

const CONFIG: &str = "etc/containerd/config.toml";

fn planned(name: &str, tree: &Tree, from: &str) -> commands::Migration {
    let root = scratch(name);
    for (path, text) in tree {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let request = Request {
        root: root.to_str().unwrap().to_owned(),
        from: Version::parse(from),
        ..Request::default()
    };
    let node = Node::open(root.to_str().unwrap()).unwrap();
    commands::plan(&node, Command::Plan, &request).unwrap_or_else(|error| panic!("{error}"))
}

/// Does what the help says. Values that it does not show are taken from the wrong lines.
fn follow(help: &str, wrong: &str, tree: &mut Tree) {
    let value = |key: &str| {
        let canonical = |line: &&str| line.trim_start().starts_with(key);
        let line = wrong
            .lines()
            .find(canonical)
            .unwrap_or_else(|| panic!("{key}: {wrong}"));
        line.trim().to_owned()
    };
    let spans = help.split('`').enumerate();
    let mut file = CONFIG.to_owned();
    let mut lines: Vec<String> = Vec::new();
    let mut header: Option<String> = None;
    let mut before = "";
    let mut put = |file: &str, header: &Option<String>, lines: &mut Vec<String>| {
        let text = tree.entry(file.to_owned()).or_default();
        let body: String = lines.drain(..).map(|line| format!("{line}\n")).collect();
        match header {
            None if file == CONFIG => text.insert_str(0, &body),
            None => text.push_str(&body),
            Some(header) => match text.find(&format!("{header}\n")) {
                Some(at) => text.insert_str(at + header.len() + 1, &body),
                None => text.push_str(&format!("{header}\n{body}")),
            },
        }
    };
    for (index, span) in spans {
        if index % 2 == 0 {
            if span.contains("; ") || span.contains(", and write into ") {
                put(&file, &header, &mut lines);
                (file, header) = (CONFIG.to_owned(), None);
            }
            if span.contains("this has no effect") || span.contains("have no effect") && index > 0 {
                break;
            }
            before = span;
            continue;
        }
        if span.starts_with('/') && (before.contains("into ") || before.contains("add to ")) {
            file = span.trim_start_matches('/').to_owned();
        } else if span.starts_with('[') && file == CONFIG {
            header = Some(span.to_owned());
        } else if span.starts_with('[') || span.contains(" = ") {
            lines.push(span.to_owned());
        } else {
            lines.push(value(span));
        }
    }
    put(&file, &header, &mut lines);
}

/// The part of a help that says what to write.
fn advice(help: &str) -> &str {
    help.split_once("is meant, ")
        .map_or(help, |(_, advice)| advice)
}

const CODES: &[&str] = &[
    "misplaced-setting",
    "misspelt-table",
    "unknown-key",
    "dead-credentials",
    "dead-config-key",
    "dead-mirror-key",
];

#[test]
fn what_the_advice_says_is_read_by_every_containerd() {
    let mut failures = Vec::new();
    for (index, case) in cases().iter().enumerate() {
        if let Err(reason) = check(case, index) {
            failures.push(format!(
                "--from {}\n{}{}\n{reason}",
                case.from, case.right, case.wrong
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} failed\n\n{}",
        failures.len(),
        failures.join("\n---\n")
    );
}

fn check(case: &Case, index: usize) -> Result<(), String> {
    let mut tree: Tree = case
        .files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    tree.insert(CONFIG.to_owned(), format!("{}{}", case.right, case.wrong));
    let before = planned(&format!("{index}-wrong"), &tree, case.from);
    let said: Vec<_> = before
        .report
        .findings
        .iter()
        .filter(|found| CODES.contains(&found.code.name))
        .collect();
    let [finding] = said.as_slice() else {
        let codes: Vec<&str> = before
            .report
            .findings
            .iter()
            .map(|found| found.code.name)
            .collect();
        return Err(format!("one finding was expected: {codes:?}"));
    };
    let help = advice(&finding.help);
    tree.insert(CONFIG.to_owned(), case.right.to_owned());
    follow(help, case.wrong, &mut tree);
    let text: String = tree
        .iter()
        .map(|(path, text)| format!("# {path}\n{text}"))
        .collect();
    let fail = |reason: String| {
        Err(format!(
            "{}: {}\n{text}{reason}",
            finding.message, finding.help
        ))
    };
    let after = planned(&format!("{index}-right"), &tree, case.from);
    let left: Vec<_> = after
        .report
        .findings
        .iter()
        .filter(|found| CODES.contains(&found.code.name))
        .collect();
    if !left.is_empty() {
        return fail(format!("still said: {left:?}"));
    }
    let Some((inputs, plan)) = &after.plan else {
        return fail(format!("no plan: {:?}", after.report.findings));
    };
    if after.report.outcome == containerd_registry_migrate::report::Outcome::Refused {
        return fail(format!("refused: {:?}", after.report.findings));
    }
    let migrated = plan.after(inputs).unwrap();
    for (version, snapshot) in [
        (case.from, &inputs.snapshot),
        (case.from, &migrated),
        ("2.2", &migrated),
        ("2.3", &migrated),
        ("2.4", &migrated),
    ] {
        let sight = snapshot.seen_by(&Behaviour::of(Version::parse(version).unwrap()));
        let hosts = |namespace: &str| match sight.pulls(namespace) {
            Pulls::Hosts(hosts) => hosts,
            Pulls::Fail(_) => Vec::new(),
        };
        let holds = match case.meant {
            Mirror(namespace, url) => hosts(namespace)
                .first()
                .is_some_and(|host| host.url() == url),
            SkipVerify(namespace, host) => hosts(namespace)
                .iter()
                .any(|found| found.host == host && found.tls.skip_verify),
            Ca(namespace, host, path) => hosts(namespace)
                .iter()
                .any(|found| found.host == host && found.tls.ca == [path]),
            Credentials(host) => sight.credentials(host).is_some(),
        };
        if !holds {
            return fail(format!("{version} does not do what is meant"));
        }
    }
    Ok(())
}
