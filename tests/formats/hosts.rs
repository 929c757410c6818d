//! What `hosts` says of images, and that it is what `plan` says of their namespaces.

use std::fs;

use serde_json::{Value, json};

use crate::json::{document, strict};
use crate::on_every_fixture;
use crate::support::{self, run, run_on, scratch};

/// The hosts of a list without repeats, in the form that `plan` has them.
fn hosts(pull: &Value) -> Vec<Value> {
    let mut hosts: Vec<Value> = Vec::new();
    for host in pull["hosts"].as_array().unwrap() {
        let mut host = host.clone();
        let fields = host.as_object_mut().unwrap();
        for name in ["requests", "source", "tls_source", "credentials"] {
            fields.remove(name);
        }
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

#[test]
fn hosts_are_those_of_the_plan_and_each_says_where_it_comes_from() {
    let validator = strict();
    on_every_fixture(|fixture| {
        let node = fixture.node();
        let plan = run_on(fixture, &node, &["plan", "--format", "json"]);
        let plan = document(&plan, &validator)?;
        let namespaces = plan["namespaces"].as_array().unwrap();
        let named = namespaces
            .iter()
            .filter(|namespace| namespace["name"].is_string());
        let mut images: Vec<String> = named
            .clone()
            .map(|namespace| format!("{}/x:t", namespace["name"].as_str().unwrap()))
            .collect();
        images.push("nginx".to_owned());
        let mut command = vec!["hosts", "--format", "json"];
        command.extend(images.iter().map(String::as_str));
        let ran = run_on(fixture, &node, &command);
        let found = document(&ran, &validator)?;
        if found["outcome"] != "shown" {
            return match plan["outcome"].as_str() {
                Some("refused" | "failed") => Ok(()),
                other => Err(format!("{} of {other:?}", found["outcome"])),
            };
        }
        let from = &plan["versions"]["from"]["version"];
        for (namespace, image) in named.zip(found["images"].as_array().unwrap()) {
            let releases = image["releases"].as_array().unwrap();
            let has_from =
                |release: &&Value| release["versions"].as_array().unwrap().contains(from);
            let release = releases.iter().find(has_from).unwrap();
            // Where CRI does not load, the plan says what it would do.
            let is_down = |pull: &Value| pull["hosts_files"]["state"] == "down";
            let today = &release["today"];
            if !is_down(today) && namespace["before"] != json!(hosts(today)) {
                let (name, before) = (&namespace["name"], &namespace["before"]);
                return Err(format!("{name} before: {before} but {today}"));
            }
            // What a target makes of the files may be what is promised.
            let mut afters = releases.iter().map(|release| &release["after"]);
            if !afters.any(|after| is_down(after) || namespace["after"] == json!(hosts(after))) {
                let (name, after) = (&namespace["name"], &namespace["after"]);
                return Err(format!("{name} after: {after} but {image}"));
            }
            for release in releases {
                for pull in [&release["today"], &release["after"]] {
                    for host in pull["hosts"].as_array().unwrap() {
                        explains(host)?;
                    }
                }
            }
        }
        Ok(())
    });
}

/// Whether the host says what names it, and what gives its TLS settings.
fn explains(host: &Value) -> Result<(), String> {
    let is_complete = |source: &Value| match source["kind"].as_str().unwrap() {
        "built-in" => true,
        "certificate-files" => source["file"].is_string(),
        "hosts-file" | "default-hosts-file" => {
            source["file"].is_string() && source["line"].is_number()
        }
        _ => source["setting"].is_string() && source["line"].is_number(),
    };
    let has_tls = host["skip_verify"] == true
        || ["ca", "client"]
            .iter()
            .any(|key| host[*key] != Value::Array(Vec::new()));
    let tls = &host["tls_source"];
    if !is_complete(&host["source"])
        || has_tls != tls.is_object()
        || has_tls && !is_complete(tls)
        || host["credentials"].is_object() && !is_complete(&host["credentials"]["source"])
    {
        return Err(format!("incomplete: {host}"));
    }
    Ok(())
}

/// A node with a setting of every kind.
#[test]
fn every_host_names_the_setting_that_it_comes_from() {
    let root = scratch("formats-hosts");
    let certs = root.join("etc/containerd/certs.d");
    fs::create_dir_all(certs.join("quay.io")).unwrap();
    fs::create_dir_all(certs.join("_default")).unwrap();
    fs::create_dir_all(certs.join("gcr.io")).unwrap();
    fs::create_dir_all(certs.join("ghcr.io")).unwrap();
    let registry = "plugins.\"io.containerd.grpc.v1.cri\".registry";
    let config = |config_path: &str, mirrors: &str| {
        let text = format!(
            "version = 2\n[{registry}]\n{config_path}\n[{registry}.configs.\"m.example\".auth]\nusername = \"bob\"\n\
             password = \"zebrafalke\"\n[{registry}.auths.\"https://quay.io\"]\nauth = \"x\"\n{mirrors}"
        );
        fs::write(root.join("etc/containerd/config.toml"), text).unwrap();
    };
    fs::write(
        certs.join("quay.io/hosts.toml"),
        "server = \"https://quay.io\"\n\n[host.\"https://m.example/q\"]\n  ca = \"ca.crt\"\n",
    )
    .unwrap();
    fs::write(
        certs.join("_default/hosts.toml"),
        "[host.\"http://m.example:5000\"]\n",
    )
    .unwrap();
    fs::write(certs.join("gcr.io/ca.crt"), "").unwrap();
    fs::write(certs.join("ghcr.io/hosts.toml"), "server = 1\n").unwrap();
    let lines = |images: &[&str]| {
        let common = [
            "--root",
            root.to_str().unwrap(),
            "--from",
            "1.7.35",
            "--to",
            "1.7.35",
        ];
        let ran = run([&["hosts"], images, &common].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!ran.stdout.contains("zebrafalke"));
        let (today, _) = ran.stdout.split_once("after the migration").unwrap();
        let lines = today.lines().skip(3).filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
        lines
    };
    config("config_path = \"/etc/containerd/certs.d\"", "");
    assert_eq!(
        lines(&["quay.io/a/b:1"])[..8],
        [
            "hosts files: /etc/containerd/certs.d/quay.io/hosts.toml is in effect",
            "1. https://m.example/q/v2/a/b/manifests/1?ns=quay.io",
            "from /etc/containerd/certs.d/quay.io/hosts.toml:3",
            "TLS: CA /etc/containerd/certs.d/quay.io/ca.crt, from /etc/containerd/certs.d/quay.io/hosts.toml:4",
            "credentials: password and username, from registry.configs.\"m.example\".auth in /etc/containerd/config.toml:4",
            "2. https://quay.io/v2/a/b/manifests/1",
            "from /etc/containerd/certs.d/quay.io/hosts.toml:1",
            "credentials: auth, from registry.auths.\"https://quay.io\" in /etc/containerd/config.toml:7",
        ]
    );
    assert_eq!(
        lines(&["localhost:5000/x"])[..3],
        [
            "hosts files: /etc/containerd/certs.d/_default/hosts.toml is in effect",
            "1. http://m.example:5000/v2/x/manifests/latest?ns=localhost%3A5000",
            "from /etc/containerd/certs.d/_default/hosts.toml:1",
        ]
    );
    assert_eq!(
        lines(&["gcr.io/x"])[..4],
        [
            "hosts files: /etc/containerd/certs.d/gcr.io has none; its certificate files are used",
            "1. https://gcr.io/v2/x/manifests/latest",
            "containerd's default",
            "TLS: CA /etc/containerd/certs.d/gcr.io/ca.crt, from /etc/containerd/certs.d/gcr.io",
        ]
    );
    assert!(lines(&["ghcr.io/x"])[0].starts_with(
        "hosts files: containerd discards /etc/containerd/certs.d/ghcr.io/hosts.toml: "
    ));
    config(
        "",
        &format!(
            "[{registry}.mirrors.\"docker.io\"]\nendpoint = [\"https://m.example\"]\n\
             [{registry}.configs.\"m.example\".tls]\ninsecure_skip_verify = true\n"
        ),
    );
    let digest = format!("nginx@sha256:{}", "0".repeat(64));
    assert_eq!(
        lines(&[&digest])[..6],
        [
            "hosts files: not read, config_path is not set".to_owned(),
            format!("1. https://m.example/v2/library/nginx/manifests/sha256:{}?ns=docker.io", "0".repeat(64)),
            "from registry.mirrors.\"docker.io\".endpoint in /etc/containerd/config.toml:10".to_owned(),
            "TLS: certificate not verified, from registry.configs.\"m.example\".tls in /etc/containerd/config.toml:11".to_owned(),
            "credentials: password and username, from registry.configs.\"m.example\".auth in /etc/containerd/config.toml:4".to_owned(),
            format!("2. https://registry-1.docker.io/v2/library/nginx/manifests/sha256:{}", "0".repeat(64)),
        ]
    );
}

#[test]
fn a_name_that_containerd_refuses_is_a_usage_error() {
    for name in ["NGINX", "https://quay.io/x", "quay.io/", "a b", "-x", ""] {
        let ran = run(["hosts", name, "--format", "json"]);
        assert_eq!((ran.code, &*ran.stdout), (2, ""), "{name}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{name}");
    }
    assert_eq!(run(["hosts"]).code, 2);
}

#[test]
fn every_release_is_shown_when_that_is_asked() {
    let fixture = support::fixture("private-http-registry");
    let command = [
        "hosts",
        "192.168.0.4:5500/x",
        "--all-releases",
        "--format",
        "json",
    ];
    let ran = run_on(&fixture, &fixture.node(), &command);
    let found = document(&ran, &strict()).unwrap();
    let releases = found["images"][0]["releases"].as_array().unwrap();
    let versions = releases
        .iter()
        .flat_map(|release| release["versions"].as_array().unwrap());
    let versions: Vec<&str> = versions.map(|version| version.as_str().unwrap()).collect();
    assert_eq!(versions[0], "1.5.0");
    assert!(versions.contains(&"2.2.1") && versions.contains(&"2.4.2"));
    // Beside mirrors 2.2.0 and 2.2.1 have a built-in config_path.
    let down = releases
        .iter()
        .find(|release| release["today"]["fails"].is_string());
    assert_eq!(down.unwrap()["versions"], json!(["2.2.0", "2.2.1"]));
}
