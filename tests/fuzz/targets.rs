//! What is fuzzed, and the inputs that are worth to begin with: the fixtures.

use std::fs;
use std::path::{Path, PathBuf};

use crate::properties;

/// Something that holds of any bytes, and inputs that are worth to begin with.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) property: fn(&[u8]),
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "config_toml",
        property: properties::config_toml,
        seeds: || with_choices(&texts("config.toml")),
    },
    Target {
        name: "hosts_toml",
        property: properties::hosts_toml,
        seeds: || with_choices(&texts("hosts.toml")),
    },
    Target {
        name: "journal",
        property: properties::journal,
        seeds: || with_choices(&journals()),
    },
    Target {
        name: "url",
        property: properties::url,
        seeds: urls,
    },
];

/// The texts of the fixtures' files of this name, each once.
fn texts(name: &str) -> Vec<Vec<u8>> {
    fn walk(directory: &Path, name: &str, found: &mut Vec<Vec<u8>>) {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(&path, name, found);
            } else if path.file_name().is_some_and(|found| found == name) {
                found.extend(fs::read(path));
            }
        }
    }
    let mut found = Vec::new();
    // This file is a part of two crates.
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let fixtures = crates.map(|directory| directory.join("fixtures"));
    let fixtures = fixtures.filter(|directory| directory.is_dir()).take(1);
    fixtures.for_each(|directory| walk(&directory, name, &mut found));
    found.sort();
    found.dedup();
    found.retain(|text| text.len() < 8192);
    found
}

/// Puts the two bytes in front that say what is asked: another one for each text.
fn with_choices(texts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let texts = texts.iter().zip((0..=255u8).cycle());
    texts
        .map(|(text, number)| {
            let choices = [number.wrapping_mul(37), number.wrapping_mul(11)];
            [&choices, text.as_slice()].concat()
        })
        .collect()
}

/// Journals of one to three files, without the checksums: of a run that is applied, of one that was killed, and of one
/// that is on its way back.
fn journals() -> Vec<Vec<u8>> {
    let digest = "d".repeat(64);
    let record = |files: usize, restart: &str| {
        format!(
            r#"{{"schema":3,"run":1,"tool":"0.1.0","plan":"{digest}","begun":"2026-11-22T09:48:00Z","directories":["/etc/containerd/certs.d/b"],"files":{files},"restart":{restart}}}"#
        )
    };
    let config = r#"{"path":"/etc/containerd/config.toml","kind":"configuration","before":{"bytes":{"text":"old"},"mode":"0644","uid":0,"gid":0,"xattrs":{}},"after":{"text":"new"},"mode":"0644"}"#;
    let hosts = r#"{"path":"/etc/containerd/certs.d/a/hosts.toml","kind":"hosts-file","before":null,"after":{"text":"hosts"},"mode":"0600"}"#;
    let absent = r#"{"path":"/etc/containerd/certs.d/b/hosts.toml","kind":"hosts-file","before":{"bytes":{"hex":"6f6c64"},"mode":"0600","uid":0,"gid":0,"xattrs":{"user.a":{"text":"b"}}},"after":{"text":"x"},"mode":"0644"}"#;
    let restart = r#"{"commands":"00","before":{"cri":"up","crictl":false}}"#;
    let going_back = r#"{"event":"going-back","found":{"/etc/containerd/certs.d/a/hosts.toml":{"text":"hosts"}},"restart":null,"judged":true}"#;
    let events = [
        "",
        r#"{"event":"applied"}"#,
        r#"{"event":"restart-pending"}"#,
        r#"{"event":"restarted"}"#,
        going_back,
        r#"{"event":"undone"}"#,
        r#"{"event":"rolled-back"}"#,
    ];
    let mut journals = Vec::new();
    for event in events {
        for files in [&[config][..], &[hosts, config], &[hosts, absent, config]] {
            for restart in ["null", restart] {
                let record = record(files.len(), restart);
                let lines = [&[record.as_str()], files, &[event]].concat();
                journals.push(lines.join("\n").into_bytes());
            }
        }
    }
    journals
}

/// The URLs that Go's answers are known of, and more.
fn urls() -> Vec<Vec<u8>> {
    let measured = include_str!("../data/go-url-parse.tsv");
    let measured = measured.lines().filter_map(|line| line.split('"').nth(1));
    let more = [
        "https://bob:S@h.example:5000/v2/x?y=z#f",
        "bob:S@h.example",
        "https://[fe80::1%25eth0]:5000/@team",
        "https://h/ghp_0123456789abcdef/x",
        "//u@h//x",
    ];
    measured
        .chain(more)
        .map(|url| url.as_bytes().to_vec())
        .collect()
}
