//! A pull that succeeds, and the broken states of containerd that the migration is about.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::Daemons;
use crate::check::run_all;
use crate::compare::hosts;
use crate::cri::Answer;
use crate::daemon::{Boot, Containerd, Run};
use crate::node::Node;
use crate::world::{ServedImage, Stall, World};

const CONFIG: &str = "etc/containerd/config.toml";

/// An image behind a mirror on loopback with a path, a private authority and a client certificate
/// is there before and after the migration, and nowhere else.
pub(crate) fn real_pull(daemons: &Daemons, by_hand: bool) -> Result<(), String> {
    let mut node = Node::of_files(&[(CONFIG, LEGACY)]);
    let world: &mut World = Arc::get_mut(&mut node.world).unwrap();
    world.image = Some(served_image(b"hello\n").0);
    let image = "docker.io/library/small:1".to_string();

    let mut trees: Vec<(&Containerd, PathBuf)> = Vec::new();
    for daemon in daemons.one() {
        trees.push((daemon, node.tree()));
        let options = ["--from".to_string(), daemon.version.clone()];
        let name = format!("after-{}", daemon.version);
        let migrated = match by_hand {
            true => node.with_files(&name, MIGRATED_BY_HAND),
            false => node.applied(&name, &options)?,
        };
        trees.extend(
            daemons
                .all()
                .into_iter()
                .map(|daemon| (daemon, migrated.clone())),
        );
    }
    // The image is really served to the certificate alone.
    let anonymous = node.with_files(
        "anonymous",
        &[
            MIGRATED_BY_HAND,
            &[(HOSTS_OF_DOCKER_IO, "[host.\"https://localhost:8443/cache\"]\n  override_path = true\n  skip_verify = true\n")],
        ]
        .concat(),
    );
    let last = *daemons.all().last().unwrap();
    let refused = run_all(&node, std::slice::from_ref(&image), &[(last, anonymous)]);
    assert!(matches!(refused[0].pulls[0].answer, Answer::Failed(_)));

    let mut report = String::new();
    for (run, (_, tree)) in run_all(&node, &[image], &trees).iter().zip(&trees) {
        let pulled = run.pulls.first().map(|pull| &pull.answer);
        if !matches!(pulled, Some(Answer::Pulled(_))) {
            report.push_str(&format!(
                "{} on {}: {:?} {pulled:?}\n{}",
                run.daemon,
                tree.display(),
                run.boot,
                run.log_that_matters()
            ));
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

const LEGACY: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://localhost:8443/cache"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."localhost:8443".tls]
  ca_file = "/etc/ssl/mirror/ca.pem"
  cert_file = "/etc/ssl/mirror/client.crt"
  key_file = "/etc/ssl/mirror/client.key"
"#;

const HOSTS_OF_DOCKER_IO: &str = "etc/containerd/certs.d/docker.io/hosts.toml";

const MIGRATED_BY_HAND: &[(&str, &str)] = &[
    (
        CONFIG,
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"#,
    ),
    (
        HOSTS_OF_DOCKER_IO,
        r#"server = "https://registry-1.docker.io"

[host."https://localhost:8443/cache"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/mirror/ca.pem"
  client = [["/etc/ssl/mirror/client.crt", "/etc/ssl/mirror/client.key"]]
  override_path = true
"#,
    ),
];

/// One layer with one file, its configuration and its manifest; and what the layer's path ends with.
fn served_image(content: &[u8]) -> (ServedImage, String) {
    let layer = tar_of("hello", content);
    let layer_digest = digest(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
    );
    let config_digest = digest(config.as_bytes());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_digest}","size":{}}}]}}"#,
        config.len(),
        layer.len()
    );
    let manifest_digest = digest(manifest.as_bytes());
    let blob = "application/octet-stream".to_string();
    let contents = BTreeMap::from([
        (
            "manifests/1".to_string(),
            (media_type.to_string(), manifest.clone().into_bytes()),
        ),
        (
            format!("manifests/{manifest_digest}"),
            (media_type.to_string(), manifest.into_bytes()),
        ),
        (
            format!("blobs/{config_digest}"),
            (blob.clone(), config.into_bytes()),
        ),
        (format!("blobs/{layer_digest}"), (blob, layer)),
    ]);
    let image = ServedImage {
        host: "localhost:8443".to_string(),
        prefix: "/cache/library/small/".to_string(),
        client: "/etc/ssl/mirror/client.crt".to_string(),
        contents,
        stalled: None,
    };
    (image, format!("blobs/{layer_digest}"))
}

fn digest(bytes: &[u8]) -> String {
    let hex = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!("sha256:{hex}")
}

/// A tar archive with one file.
fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |place: usize, text: &str| {
        header[place..place + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header;
    archive.extend_from_slice(content);
    // The content is padded to a block, and two empty blocks end the archive.
    archive.resize(512 + content.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// What a broken node does on a daemon.
enum Outcome {
    /// The daemon runs and CRI is refused, for a reason that has this in it.
    CriRefused(&'static str),
    /// CRI works, and the daemon asks these hosts for the image.
    Asks(&'static [&'static str]),
}

/// A broken node.
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    files: &'static [(&'static str, &'static str)],
    image: &'static str,
    /// By what the daemons' versions begin with.
    outcomes: &'static [(&'static str, Outcome)],
}

pub(crate) const BROKEN: &[Broken] = &[
    Broken {
        name: "mirrors-beside-config-path",
        files: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://m.example"]
"#,
        )],
        image: "docker.io/wire/image:t",
        outcomes: &[(
            "",
            Outcome::CriRefused("`mirrors` cannot be set when `config_path` is provided"),
        )],
    },
    Broken {
        name: "tls-beside-config-path",
        files: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".tls]
  ca_file = "/etc/ssl/r.pem"
"#,
        )],
        image: "r.example/wire/image:t",
        outcomes: &[
            (
                "1.",
                Outcome::CriRefused("`configs.tls` cannot be set when `config_path` is provided"),
            ),
            ("2.", Outcome::Asks(&["https://r.example/… (TLS refused)"])),
        ],
    },
    Broken {
        name: "hosts-file-without-host-table",
        files: &[
            (
                CONFIG,
                r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"#,
            ),
            (
                "etc/containerd/certs.d/r.example/hosts.toml",
                "server = \"https://m.example/v2\"\n",
            ),
        ],
        image: "r.example/wire/image:t",
        outcomes: &[
            ("1.7.30", Outcome::Asks(&["https://r.example/v2"])),
            ("1.7.31", Outcome::Asks(&["https://r.example/v2"])),
            ("1.7.3", Outcome::Asks(&["https://m.example/v2"])),
            ("1.", Outcome::Asks(&["https://r.example/v2"])),
            ("2.", Outcome::Asks(&["https://m.example/v2"])),
        ],
    },
    Broken {
        name: "dial-timeout-on-plain-http",
        files: &[
            (
                CONFIG,
                r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"#,
            ),
            (
                "etc/containerd/certs.d/r.example/hosts.toml",
                "server = \"https://r.example\"\n\n[host.\"http://m.example:5000\"]\n  dial_timeout = \"5s\"\n",
            ),
        ],
        image: "r.example/wire/image:t",
        outcomes: &[
            (
                "2.0.",
                Outcome::Asks(&[
                    "https://m.example:5000/…",
                    "http://m.example:5000/v2",
                    "https://r.example/v2",
                ]),
            ),
            (
                "",
                Outcome::Asks(&["http://m.example:5000/v2", "https://r.example/v2"]),
            ),
        ],
    },
    Broken {
        name: "legacy-tls",
        files: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".tls]
  ca_file = "/etc/ssl/r.pem"
"#,
        )],
        image: "r.example/wire/image:t",
        outcomes: &[
            ("1.", Outcome::Asks(&["https://r.example/v2"])),
            ("2.", Outcome::Asks(&["https://r.example/… (TLS refused)"])),
        ],
    },
    Broken {
        name: "version-1",
        files: &[(
            CONFIG,
            r#"version = 1
[plugins.cri.registry.mirrors."docker.io"]
  endpoint = ["https://m.example"]
"#,
        )],
        image: "docker.io/wire/image:t",
        outcomes: &[
            (
                "1.",
                Outcome::Asks(&["https://m.example/v2", "https://registry-1.docker.io/v2"]),
            ),
            ("2.0.", Outcome::Asks(&["https://registry-1.docker.io/v2"])),
            ("2.1.", Outcome::Asks(&["https://registry-1.docker.io/v2"])),
            ("2.2.", Outcome::Asks(&["https://registry-1.docker.io/v2"])),
            (
                "2.",
                Outcome::Asks(&["https://m.example/v2", "https://registry-1.docker.io/v2"]),
            ),
        ],
    },
];

/// The broken states are what the documentation says.
pub(crate) fn broken(daemons: &Daemons, broken: &Broken) -> Result<(), String> {
    let node = Node::of_files(broken.files);
    let trees: Vec<_> = daemons
        .all()
        .into_iter()
        .map(|daemon| (daemon, node.tree()))
        .collect();
    let mut report = String::new();
    for run in run_all(&node, &[broken.image.to_string()], &trees) {
        let mut outcomes = broken.outcomes.iter();
        let outcome = outcomes.find(|(versions, _)| run.daemon.version.starts_with(versions));
        let Some((_, outcome)) = outcome else {
            report.push_str(&format!("{}: nothing is expected of it\n", run.daemon));
            continue;
        };
        if let Some(text) = outcome.contradiction(&run) {
            report.push_str(&format!(
                "{}: {text}\n{}",
                run.daemon,
                run.log_that_matters()
            ));
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

impl Outcome {
    fn contradiction(&self, run: &Run) -> Option<String> {
        let happened = match (self, &run.boot) {
            (Outcome::CriRefused(reason), Boot::CriRefused(line)) => line.contains(reason),
            (Outcome::Asks(expected), Boot::Booted) => {
                hosts(&run.pulls[0].events, "wire/image") == *expected
            }
            _ => false,
        };
        let pulls = run
            .pulls
            .iter()
            .map(|pull| hosts(&pull.events, "wire/image"));
        (!happened).then(|| format!("{:?} {:?}", run.boot, pulls.collect::<Vec<_>>()))
    }
}

/// A mirror that stops in the middle of an answer, under an `image_pull_progress_timeout` of some seconds.
pub(crate) struct Stalled {
    pub(crate) name: &'static str,
    stall: Stall,
    /// Whether the pull is cancelled when it goes through the transfer service. Local pull is cancelled wherever it
    /// stops, from 1.7 on: 1.6 does not have the setting.
    is_cancelled: bool,
}

/// The transfer service watches a layer from its first bytes that are written, and it writes a mebibyte at a time.
pub(crate) const STALLED: &[Stalled] = &[
    Stalled {
        name: "before-the-head",
        stall: Stall::Head,
        is_cancelled: false,
    },
    Stalled {
        name: "in-the-first-mebibyte",
        stall: Stall::Body(1000),
        is_cancelled: false,
    },
    Stalled {
        name: "after-three-mebibytes",
        stall: Stall::Body(3 << 20),
        is_cancelled: true,
    },
];

/// What `image_pull_progress_timeout` does: the reason for what `pull-service-changes` says.
pub(crate) fn stalled(daemons: &Daemons, stalled: &Stalled) -> Result<(), String> {
    let config = MIGRATED_BY_HAND[0].1;
    let transferred = format!(
        "{config}[plugins.\"io.containerd.grpc.v1.cri\"]\n  image_pull_progress_timeout = \"2s\"\n"
    );
    let pulled = format!(
        "{transferred}[plugins.\"io.containerd.cri.v1.images\"]\n  use_local_image_pull = true\n"
    );
    let mut node = Node::of_files(&[(CONFIG, &pulled), MIGRATED_BY_HAND[1]]);
    let world: &mut World = Arc::get_mut(&mut node.world).unwrap();
    let (image, layer) = served_image(&vec![b'x'; 4 << 20]);
    world.image = Some(ServedImage {
        stalled: Some((layer, stalled.stall)),
        ..image
    });
    world.patience = Duration::from_secs(10);
    let image = "docker.io/library/small:1".to_string();
    let transferred = node.with_files("transferred", &[(CONFIG, &transferred)]);
    let daemons = daemons.all().into_iter();
    let trees: Vec<_> = daemons
        .flat_map(|daemon| {
            let has_transfer_service = daemon.generation >= (2, 1);
            let trees = [(daemon, node.tree()), (daemon, transferred.clone())];
            trees
                .into_iter()
                .take(1 + usize::from(has_transfer_service))
        })
        .collect();
    let mut report = String::new();
    for (run, (daemon, tree)) in run_all(&node, &[image], &trees).iter().zip(&trees) {
        let is_local = *tree == node.tree();
        let answer = run.pulls.first().map(|pull| &pull.answer);
        let is_cancelled = match answer {
            Some(Answer::Failed(text)) if text.contains("context canceled") => true,
            Some(Answer::None) => false,
            _ => {
                report.push_str(&format!(
                    "{daemon}: {:?} {answer:?}\n{}",
                    run.boot,
                    run.log_that_matters()
                ));
                continue;
            }
        };
        let expected = match is_local {
            true => daemon.generation >= (1, 7),
            false => stalled.is_cancelled,
        };
        if is_cancelled != expected {
            let service = if is_local {
                "local pull"
            } else {
                "transfer service"
            };
            report.push_str(&format!("{daemon}, {service}: {answer:?}\n"));
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}
