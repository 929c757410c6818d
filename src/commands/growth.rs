//! What is done grows with the input, and not with its square: for each kind of node, `plan` and `check` do about twice as
//! much work for one that is twice as large. Work is counted, see [`crate::work`]; time depends on the machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::commands;
use crate::containerd::reference::ImageReference;
use crate::node::Node;
use crate::question::{Existing, Version1};
use crate::report::fold::Detail;
use crate::report::{self, Command};
use crate::request::Request;
use crate::work;

/// The size of the smaller node: large enough for a square to show, and small enough for every test run.
const SIZE: usize = 150;
/// Twice, and a little more for what is sorted. The square would be four times.
const GROWTH: f64 = 2.25;

const CONFIG: &str = "etc/containerd/config.toml";
const REGISTRY: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";

/// A node in a directory of its own, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(kind: &str) -> Self {
        let path = std::env::temp_dir().join(format!("growth-{kind}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(path)).unwrap();
    }

    /// A config.toml with a mirror, and with this.
    fn config(&self, top: &str, below: &str) {
        let mirror = mirror("m.example", "https://e.example");
        self.write(CONFIG, &format!("version = 2\n{top}\n{mirror}{below}"));
    }

    fn hosts_file(&self, name: &str, text: &str) {
        self.write(&format!("etc/containerd/certs.d/{name}/hosts.toml"), text);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mirror(name: &str, endpoint: &str) -> String {
    format!("[{REGISTRY}.mirrors.\"{name}\"]\nendpoint = [\"{endpoint}\"]\n")
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

/// What `plan` and `check` do with a node, and all that is printed of it.
fn work(tree: &Tree, existing: Existing) -> usize {
    let node = Node::open(tree.0.to_str().unwrap()).unwrap();
    let request = Request {
        existing: existing.into(),
        version_1: Version1::Keep,
        ..Request::default()
    };
    work::done_in(|| {
        let planned = commands::plan(&node, Command::Plan, &request).unwrap();
        let checked = commands::check(&node, &request).unwrap();
        for report in [&planned.report, &checked] {
            report::text::render(report, Detail::All);
            report::markdown::render(report, Detail::Folded);
        }
    })
}

/// Lays out nodes of two sizes and compares what is done with them.
#[track_caller]
fn assert_linear(kind: &str, lay_out: impl Fn(&Tree, usize)) {
    for existing in [Existing::Replace, Existing::Keep] {
        assert_linear_work(kind, |size| {
            let tree = Tree::new(kind);
            lay_out(&tree, size);
            work(&tree, existing)
        });
    }
}

/// Compares what is done for two sizes.
#[track_caller]
fn assert_linear_work(kind: &str, of: impl Fn(usize) -> usize) {
    // What is done for any node is no part of it.
    let base = of(1);
    let [small, large] = [of(SIZE) - base, of(2 * SIZE) - base];
    assert!(
        (large as f64) < GROWTH * small as f64,
        "{kind}: {small} for {SIZE}, and {large} for twice as many"
    );
}

#[test]
fn mirrors() {
    assert_linear("mirrors", |tree, size| {
        let mirrors = many(size, |n| {
            mirror(&format!("m{n}.example"), &format!("https://e{n}.example"))
        });
        let tls = many(size, |n| {
            format!("[{REGISTRY}.configs.\"e{n}.example\".tls]\nca_file = \"/ca{n}.pem\"\n")
        });
        tree.config("", &format!("{mirrors}{tls}"));
    });
}

#[test]
fn mirrors_between_what_stays() {
    assert_linear("interleaved", |tree, size| {
        let both = many(size, |n| {
            format!(
                "{}[{REGISTRY}.configs.\"e{n}.example\".auth]\npassword = \"p{n}\"\n",
                mirror(&format!("m{n}.example"), &format!("https://e{n}.example"))
            )
        });
        tree.config("", &both);
    });
}

#[test]
fn endpoints_of_one_mirror() {
    for end in ["", ":port", "/x"] {
        assert_linear("endpoints", |tree, size| {
            let endpoints = many(size, |n| format!("\"https://e{n}.example{end}\", # {n}\n"));
            let mirror = format!("[{REGISTRY}.mirrors.\"n.example\"]\nendpoint = [{endpoints}]\n");
            tree.config("", &mirror);
        });
    }
}

#[test]
fn references_on_many_sides() {
    // One host with TLS settings in many mirrors, and one hosts file under many names.
    assert_linear("references", |tree, size| {
        let mirrors = many(size, |n| {
            mirror(&format!("m{n}.example"), "https://e.example")
        });
        let tls = format!("[{REGISTRY}.configs.\"e.example\".tls]\nca_file = \"/ca.pem\"\n");
        tree.config("", &format!("{mirrors}{tls}"));
        tree.hosts_file("one", "server = \"https://x.example\"\n[host]\n");
        for number in 0..size {
            tree.link(&format!("etc/containerd/certs.d/m{number}.example"), "one");
        }
    });
}

#[test]
fn the_length_of_a_comment() {
    for part in [
        ":",
        "\"",
        "'",
        "=",
        "[",
        "@",
        "-",
        "#",
        "`",
        "é",
        "密码",
        "QUJD",
        "://",
        "password ",
        "key is ",
        "-u ",
        "-----BEGIN ",
        "ghp_",
        "http://a@",
        "\\",
    ] {
        assert_linear("comment", |tree, size| {
            let comment = format!("# {}\n", part.repeat(4 * size));
            tree.config(&comment, &format!("{comment}x = 1 {comment}"));
        });
    }
}

#[test]
fn comments() {
    for line in [
        "# password and more\n",
        "# a = \"x\n",
        "# a = [\n",
        "# a = 1\n",
    ] {
        assert_linear("comments", |tree, size| {
            tree.config(&line.repeat(size), &line.repeat(size));
        });
    }
}

#[test]
fn findings_on_one_line_and_on_many() {
    for separator in [", ", "\n"] {
        assert_linear("findings", |tree, size| {
            let keys = many(size, |n| format!("k{n} = \"s{n}\"{separator}"));
            let keys = if separator == "\n" {
                format!("[{REGISTRY}.mirrors.\"n.example\"]\n{keys}")
            } else {
                format!("[{REGISTRY}.mirrors]\n\"n.example\" = {{ {keys} x = 1 }}\n")
            };
            tree.config("", &keys);
        });
    }
}

#[test]
fn imports() {
    // Equal patterns, patterns that take the same files, and files that import each other.
    for (kind, pattern) in [("equal", "*.toml"), ("overlapping", "?*.toml")] {
        assert_linear(kind, |tree, size| {
            let patterns = many(size, |n| {
                let pattern = if kind == "equal" {
                    pattern.to_owned()
                } else {
                    format!("{}{pattern}", "?".repeat(n % 4))
                };
                format!("\"/etc/c/{pattern}\", ")
            });
            tree.config(&format!("imports = [{patterns}]"), "");
            for number in 0..size {
                let mirror = mirror(&format!("m{number}.example"), "https://e.example");
                tree.write(
                    &format!("etc/c/{number}.toml"),
                    &format!("version = 2\nimports = [\"*.toml\"]\n{mirror}"),
                );
            }
        });
    }
}

#[test]
fn a_long_password_and_comments_that_share_its_beginning() {
    assert_linear("password", |tree, size| {
        let comments = "# aaaaaaaaaaaaaaaa\n".repeat(size);
        let password = "a".repeat(8 * size);
        tree.config(
            "",
            &format!("[{REGISTRY}.configs.\"h\".auth]\npassword = \"{password}\"\n{comments}"),
        );
    });
}

#[test]
fn what_lies_about_in_the_certs_directory() {
    type LayOut = fn(&Tree, usize);
    let kinds: [(&str, LayOut); 6] = [
        ("files", |tree, number| {
            tree.write(&format!("etc/containerd/certs.d/f{number}:5000"), "x");
        }),
        ("broken", |tree, number| {
            tree.hosts_file(&format!("h{number}.example"), "server =\n");
        }),
        ("other", |tree, number| {
            let text = format!("server = \"https://x{number}.example\"\n[host]\n");
            tree.hosts_file(&format!("h{number}.example"), &text);
            tree.hosts_file(&format!("h{number}.example_5000_"), &text);
            tree.hosts_file(&format!("h{number}.example:5000"), &text);
        }),
        ("dangling", |tree, number| {
            let path = format!("etc/containerd/certs.d/h{number}.example");
            tree.link(&path, format!("/nowhere/{number}"));
        }),
        ("certificates", |tree, number| {
            let path = format!("etc/containerd/certs.d/m.example/{number}");
            tree.write(&format!("{path}.cert"), "x");
            tree.write(&format!("{path}.key"), "x");
        }),
        ("nested", |tree, number| {
            let path = format!("etc/containerd/certs.d/m.example/{number}/hosts.toml");
            tree.write(&path, "");
        }),
    ];
    for (kind, one) in kinds {
        assert_linear(kind, |tree, size| {
            tree.config("", "");
            (0..size).for_each(|number| one(tree, number));
        });
    }
}

#[test]
fn one_hosts_file() {
    for header in [
        "[host.\"https://h@N.example\"]\n",
        "[host.a.x@N]\n[host.b.x@N]\n",
    ] {
        assert_linear("hosts", |tree, size| {
            tree.config("", "");
            let text = many(size, |n| header.replace("@N", &n.to_string()));
            tree.hosts_file("m.example", &text);
        });
    }
}

#[test]
fn parts_of_one_key() {
    for [before, after] in [
        ["", " = 1\n"],
        ["[", "]\n"],
        ["x = {", " = 1}\n"],
        ["# ", " = 1\n"],
        ["# [", "]\n"],
        ["a", "\n"],
    ] {
        assert_linear("key", |tree, size| {
            // All are longer than a key may be.
            let parts = vec!["a"; 1024 + 16 * size].join(".");
            tree.config("", &format!("{before}{parts}{after}"));
        });
    }
}

/// What `hosts` does with a node for these images, and all that is printed of it.
fn work_for_images(tree: &Tree, names: &[String]) -> usize {
    let node = Node::open(tree.0.to_str().unwrap()).unwrap();
    let images: Vec<_> = names
        .iter()
        .map(|name| (name.clone(), ImageReference::parse(name).unwrap()))
        .collect();
    work::done_in(|| {
        let report = commands::hosts(&node, &Request::default(), &images, false).unwrap();
        report::text::render(&report, Detail::All);
        report::markdown::render(&report, Detail::Folded);
    })
}

#[test]
fn hosts_of_one_image() {
    for separator in [" ", "\n"] {
        assert_linear_work("hosts", |size| {
            let tree = Tree::new("hosts");
            let endpoints = many(size, |n| format!("\"https://e{n}.example\",{separator}"));
            let auths = many(size, |n| {
                format!("[{REGISTRY}.auths.\"https://e{n}.example\"]\nauth = \"x\"\n")
            });
            tree.config(
                "",
                &format!("[{REGISTRY}.mirrors.\"n.example\"]\nendpoint = [{endpoints}]\n{auths}"),
            );
            work_for_images(&tree, &["n.example/x".to_owned()])
        });
        assert_linear_work("hosts-file", |size| {
            let tree = Tree::new("hosts-file");
            tree.write(
                CONFIG,
                &format!("version = 2\n[{REGISTRY}]\nconfig_path = \"/etc/containerd/certs.d\"\n"),
            );
            tree.hosts_file(
                "n.example",
                &many(size, |n| {
                    format!("[host.\"https://e{n}.example\"]\nskip_verify = true\n")
                }),
            );
            work_for_images(&tree, &["n.example/x".to_owned()])
        });
    }
}

#[test]
fn images_and_their_hosts() {
    assert_linear_work("images", |size| {
        let tree = Tree::new("images");
        let mirrors = many(size, |n| {
            mirror(&format!("m{n}.example"), &format!("https://e{n}.example"))
        });
        tree.config("", &mirrors);
        let names: Vec<_> = (0..size).map(|n| format!("m{n}.example/x")).collect();
        work_for_images(&tree, &names)
    });
}

#[test]
fn a_hosts_file_that_is_replaced() {
    assert_linear("replaced", |tree, size| {
        tree.config("", "");
        let lines = many(20 * size, |n| format!("# line {n}\n"));
        tree.hosts_file(
            "m.example",
            &format!("server = \"https://x.example\"\n{lines}"),
        );
    });
}
