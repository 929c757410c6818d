//! Random nodes: settings of every kind, what is in the certs directory, and the options.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path as DiskPath;

use containerd_registry_migrate::question::Inert;

use crate::layout::{Fate, Style, Written, write};
use crate::random::Random;
use crate::tree::{Path, Tree, table};

/// What every generated secret begins with, and what base64 makes of `user:` and that.
pub(crate) const SECRETS: [&str; 2] = ["SEKRET", "dXNlcjpTRUtS"];

const NAMES: &[&str] = &[
    "docker.io",
    "docker.io",
    "registry-1.docker.io",
    "quay.io",
    "m.example",
    "m.example:5000",
    "m.example:443",
    "reg.example:80",
    "REG",
    "localhost",
    "localhost:5000",
    "127.0.0.1:5001",
    "127.0.0.2:80",
    "192.168.0.4:5500",
    "[::1]:5000",
    "[fd00::1]",
    "[fd00::1]:5000",
    "registry.invalid",
    "*",
    "*",
    "*",
];

const DEAD_NAMES: &[&str] = &[
    "https://m.example",
    "docker",
    "docker.io/library",
    "..",
    "",
    "index.docker.io",
    "h_x:1",
    "_default",
    "a b",
    "it's \"odd\"\\",
    "https://SEKRETname@quay.io",
    "tab\there",
];

const HOSTS: &[&str] = &[
    "m.example",
    "m.example",
    "m.example:5000",
    "m.example:5000",
    "m.example:443",
    "reg.example:80",
    "localhost:5000",
    "127.0.0.1:5001",
    "127.0.0.2:80",
    "[::1]:5000",
    "[fd00::1]",
    "docker.io",
    "registry-1.docker.io",
    "quay.io",
    "REG",
    "192.168.0.4:5500",
    "h_x:1",
    "http-mirror",
    "registry.invalid",
    "",
    "a b",
    "m.example:port",
];

const SCHEMES: &[&str] = &[
    "http://",
    "http://",
    "https://",
    "https://",
    "https://",
    "HTTPS://",
    "",
    "",
    "docker://",
    "https://user:SEKRETpw@",
    "http://SEKRETtoken@",
    "user:SEKRETpw@",
];

const PATHS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    "",
    "/",
    "/v2",
    "/v2/",
    "/foo",
    "/foo/v2",
    "/v2/foo",
    "//",
    "/a%20b",
    "/a%2fb",
    "/ü",
    "/../x",
    "/V2",
    "/%zz",
    "?token=SEKRETq",
    "/v2?sig=SEKRETq#y",
    "/v2#f",
    "/;a",
    "/a:b@c",
    "/a'b",
    "/{x}",
    "/a\\b",
    "/[x]",
];

const RELEASES: &[&str] = &[
    "1.5", "1.6.8", "1.6.20", "1.6", "1.7.5", "1.7.20", "1.7", "2.0", "2.1", "2.2.0", "2.2", "2.3",
    "2.4",
];

const HOSTS_FILES: &[&str] = &[
    "",
    "server = \"https://s.example\"\n",
    "[host.\"https://h.example\"]\n",
    "server = \"http://s.example\"\n\n[host.\"h.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
    "[host]\n",
    "server = \"https://registry-1.docker.io\"\n[host.\"https://user:SEKRETpw@m.example\"]\n",
    "[host.\"http://m.example:5000\"]\n  skip_verify = true\n",
    "[host.\"https://m.example\".header]\n  Authorization = \"Bearer SEKRETbearer\"\n",
    "# token = SEKRETfile\nbad = = \n",
];

/// A setting of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) from: Option<&'static str>,
    pub(crate) to: Option<&'static str>,
    pub(crate) existing: &'static str,
    pub(crate) inert: Option<Inert>,
    pub(crate) keeps_version_1: bool,
    pub(crate) certs_directory: Option<&'static str>,
    /// All codes that can be accepted, or none.
    pub(crate) allows_all: bool,
}

/// Something in the node's tree besides config.toml.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    File(&'static str),
    Link(String),
    Directory,
}

/// A node and what is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) tree: Tree,
    pub(crate) style: Style,
    pub(crate) files: Vec<(String, Entry)>,
    pub(crate) options: Options,
}

pub(crate) const CONFIG: &str = "etc/containerd/config.toml";

impl Node {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::of(seed, "node");
        let tree = config(&mut random);
        let mut node = Self {
            tree,
            style: Style::of(seed),
            files: Vec::new(),
            options: options(&mut random),
        };
        node.files = files(&mut random, &node.certs_directory());
        let answers = [
            None,
            Some(Inert::Drop),
            Some(Inert::Drop),
            Some(Inert::Carry),
        ];
        node.options.inert = answers[Random::of(seed, "inert").below(answers.len())];
        node
    }

    /// Nodes with one thing less, most first.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for index in 0..self.files.len() {
            let mut node = self.clone();
            node.files.remove(index);
            all.push(node);
        }
        for tree in self.tree.smaller() {
            let mut node = self.clone();
            node.tree = tree;
            all.push(node);
        }
        for style in self.style.plainer() {
            let mut node = self.clone();
            node.style = style;
            all.push(node);
        }
        let options = &self.options;
        if options.from.is_some() || options.to.is_some() {
            let mut node = self.clone();
            (node.options.from, node.options.to) = (None, None);
            all.push(node);
        }
        all
    }

    pub(crate) fn version(&self) -> Option<i64> {
        match self.tree.find("version") {
            Some((_, Tree::Raw(raw))) => raw.parse().ok(),
            _ => None,
        }
    }

    /// The path of the registry table that this file's version has, as it is spelled.
    pub(crate) fn registry_path(&self) -> Option<[String; 3]> {
        let id = match self.version()? {
            1 => "cri",
            2 => "io.containerd.grpc.v1.cri",
            3 | 4 => "io.containerd.cri.v1.images",
            _ => return None,
        };
        let (plugins, tree) = self.tree.find("plugins")?;
        let (_, plugin) = tree.entries().iter().find(|(key, _)| key == id)?;
        let (registry, tree) = plugin.find("registry")?;
        tree.is_table()
            .then(|| [plugins, id, registry].map(str::to_owned))
    }

    pub(crate) fn registry(&self) -> Option<&Tree> {
        let mut tree = &self.tree;
        for name in self.registry_path()? {
            tree = &tree.entries().iter().find(|(key, _)| *key == name)?.1;
        }
        Some(tree)
    }

    pub(crate) fn config_path(&self) -> Option<&str> {
        match self.registry()?.find("config_path")? {
            (_, Tree::Text(path)) if !path.is_empty() => Some(path),
            _ => None,
        }
    }

    /// The hosts below `configs` with TLS settings, each with how `tls` is spelled, and whether there is more.
    fn configs(&self) -> Vec<(&str, Option<&str>, bool)> {
        let configs = self
            .registry()
            .and_then(|registry| registry.find("configs"));
        configs
            .into_iter()
            .flat_map(|(_, configs)| configs.entries())
            .map(|(name, tree)| {
                let tls = tree.find("tls").map(|(key, _)| key);
                let more = tree.entries().len() > usize::from(tls.is_some());
                (name.as_str(), tls, more)
            })
            .collect()
    }

    pub(crate) fn has_legacy(&self) -> bool {
        let mirrors = self
            .registry()
            .and_then(|registry| registry.find("mirrors"));
        mirrors.is_some_and(|(_, mirrors)| !mirrors.entries().is_empty())
            || self.configs().iter().any(|(_, tls, _)| tls.is_some())
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.has_legacy()
            || self
                .config_path()
                .is_some_and(|path| !path.starts_with('/') && !path.contains(':'))
    }

    /// The directory of the hosts files.
    pub(crate) fn certs_directory(&self) -> String {
        let default = self.options.certs_directory;
        let default = default.unwrap_or("/etc/containerd/certs.d");
        match self.config_path() {
            Some(path) if path.starts_with('/') => path.trim_end_matches('/').to_owned(),
            Some(path) if !path.contains(':') => format!("/{path}"),
            _ => default.to_owned(),
        }
    }

    /// The key paths that go: `mirrors`, every `configs.*.tls`, and what is empty by that.
    pub(crate) fn removed(&self) -> Vec<Path> {
        let Some((path, registry)) = self.registry_path().zip(self.registry()) else {
            return Vec::new();
        };
        if !self.has_legacy() {
            return Vec::new();
        }
        let below = |names: &[&str]| -> Path {
            path.iter()
                .cloned()
                .chain(names.iter().map(|name| (*name).to_owned()))
                .collect()
        };
        let mut removed = Vec::new();
        if let Some((key, _)) = registry.find("mirrors") {
            removed.push(below(&[key]));
        }
        let Some((key, _)) = registry.find("configs") else {
            return removed;
        };
        let configs = self.configs();
        if !configs.is_empty() && configs.iter().all(|(_, tls, more)| tls.is_some() && !more) {
            removed.push(below(&[key]));
            return removed;
        }
        for (name, tls, more) in configs {
            match tls {
                Some(tls) if more => removed.push(below(&[key, name, tls])),
                Some(_) => removed.push(below(&[key, name])),
                None => {}
            }
        }
        removed
    }

    /// Where `config_path` is set to what, if it is.
    pub(crate) fn setting(&self) -> Option<(Path, String)> {
        let path = self.registry_path().filter(|_| self.is_pending())?;
        if self.config_path().is_some_and(|path| path.starts_with('/')) {
            return None;
        }
        let key = self.registry()?.find("config_path");
        let mut path = path.to_vec();
        path.push(key.map_or("config_path", |(key, _)| key).to_owned());
        Some((path, self.certs_directory()))
    }

    pub(crate) fn write(&self) -> Written {
        let (removed, setting) = (self.removed(), self.setting());
        write(&self.tree, &self.style, &|path| {
            fate(path, &removed, setting.as_ref().map(|(path, _)| path))
        })
    }

    /// Writes the node's tree to an empty directory.
    pub(crate) fn lay_out(&self, root: &DiskPath, config: &str) {
        fs::create_dir_all(root.join("etc/containerd")).unwrap();
        fs::write(root.join(CONFIG), config).unwrap();
        for (path, entry) in &self.files {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            stays_inside(root, &path);
            match entry {
                Entry::File(text) => fs::write(path, text).unwrap(),
                Entry::Link(target) => symlink(target, path).unwrap(),
                Entry::Directory => fs::create_dir_all(path).unwrap(),
            }
        }
    }
}

/// What is written through a link must not leave the node's tree.
pub(crate) fn stays_inside(root: &DiskPath, path: &DiskPath) {
    let parent = fs::canonicalize(path.parent().unwrap()).unwrap();
    let root = fs::canonicalize(root).unwrap();
    assert!(parent.starts_with(root), "{} leads out", path.display());
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    assert!(!is_link, "{} is a link", path.display());
}

/// What must become of the things at a key path.
pub(crate) fn fate(path: &[String], removed: &[Path], setting: Option<&Path>) -> Fate {
    if removed.iter().any(|removed| path.starts_with(removed)) {
        Fate::Goes
    } else if removed.iter().any(|removed| removed.starts_with(path))
        || setting.is_some_and(|setting| setting.starts_with(path))
    {
        Fate::Changes
    } else {
        Fate::Stays
    }
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn raw(text: &str) -> Tree {
    Tree::Raw(text.to_owned())
}

fn config(random: &mut Random) -> Tree {
    let version = match random.below(40) {
        0 => None,
        1..4 => Some("1"),
        4..10 => Some("3"),
        10..12 => Some("4"),
        12 => Some("5"),
        _ => Some("2"),
    };
    let id = match version {
        Some("1") => "cri",
        Some("3" | "4") => "io.containerd.cri.v1.images",
        _ => "io.containerd.grpc.v1.cri",
    };
    let mut tree = table(Vec::new());
    if let Some(version) = version {
        tree.at(&[]).push(("version".to_owned(), raw(version)));
    }
    let others: &[(&[&str], Tree)] = &[
        (&[], table(vec![("oom_score", raw("0"))])),
        (&[], table(vec![("root", text("/var/lib/containerd"))])),
        (
            &["grpc"],
            table(vec![("address", text("/run/containerd/containerd.sock"))]),
        ),
        (&["debug"], table(Vec::new())),
        (
            &["timeouts"],
            table(vec![("io.containerd.timeout.shim.load", text("5s"))]),
        ),
        (
            &["plugins", "io.containerd.gc.v1.scheduler"],
            table(vec![
                ("pause_threshold", raw("0.02")),
                ("mutation", raw("[1, 2]")),
            ]),
        ),
        (
            &["plugins", id],
            table(vec![("sandbox_image", text("registry.k8s.io/pause:3.9"))]),
        ),
        (
            &["plugins", id, "cni"],
            table(vec![("bin_dir", text("/opt/cni/bin"))]),
        ),
        (
            &["plugins", id, "containerd", "runtimes", "runc", "options"],
            table(vec![("SystemdCgroup", raw("true"))]),
        ),
        (
            &["proxy_plugins", "stargz"],
            table(vec![(
                "note",
                raw("\"\"\"\n[plugins.cri.registry.mirrors.x]\n# no comment\nendpoint\"\"\""),
            )]),
        ),
    ];
    for (path, entries) in others {
        if random.percent(35) {
            tree.at(path).extend(entries.entries().iter().cloned());
        }
    }
    let capitals = |random: &mut Random, name: &str| match random.below(60) {
        0 => name.to_ascii_uppercase(),
        _ => name.to_owned(),
    };
    let registry_key = capitals(random, "registry");
    let path = ["plugins", id, &registry_key];
    tree.at(&path);
    if random.percent(60) {
        let value = random.pick(&[
            "",
            "",
            "",
            "/etc/containerd/certs.d",
            "/etc/containerd/certs.d",
            "/etc/other certs/",
            "etc/containerd/certs.d",
            "etc/certs",
            "/a:/b",
        ]);
        let key = capitals(random, "config_path");
        tree.at(&path).push((key, text(value)));
    }
    let mut hosts: Vec<String> = Vec::new();
    if random.percent(80) {
        let key = capitals(random, "mirrors");
        let mirrors: Vec<(String, Tree)> = (0..random.below(5))
            .map(|_| mirror(random, &mut hosts))
            .collect();
        let mirrors = without_repeats(mirrors);
        tree.at(&path).push((key, Tree::Table(mirrors)));
    }
    hosts.extend(["registry-1.docker.io", "m.example", "docker.io"].map(str::to_owned));
    if random.percent(60) {
        let mut configs = Vec::new();
        for _ in 0..random.below(4) {
            let host = if random.percent(90) {
                hosts[random.below(hosts.len())].clone()
            } else {
                random.pick(DEAD_NAMES).to_owned()
            };
            configs.push((host, host_config(random)));
        }
        let configs = without_repeats(configs);
        tree.at(&path)
            .push(("configs".to_owned(), Tree::Table(configs)));
    }
    if random.percent(25) {
        let auths = match random.below(3) {
            0 => Vec::new(),
            _ => vec![("https://m.example", auth(random))],
        };
        tree.at(&path).push(("auths".to_owned(), table(auths)));
    }
    if random.percent(25) {
        let headers = match random.below(3) {
            0 => Vec::new(),
            _ => vec![(
                "X-Node",
                Tree::Strings(vec!["SEKRETheader".to_owned(), "b".to_owned()]),
            )],
        };
        tree.at(&path).push(("headers".to_owned(), table(headers)));
    }
    if random.percent(4) {
        tree.at(&path).push(("unknown".to_owned(), raw("1")));
    }
    if random.percent(3) {
        // What containerd does not take.
        let broken = [
            ("mirrors.x", raw("1")),
            ("auths", raw("\"x\"")),
            ("Endpoint", text("x")),
        ];
        let (key, value) = broken[random.below(3)].clone();
        tree.at(&path).push((key.to_owned(), value));
        let entries = tree.at(&path).clone();
        *tree.at(&path) = without_repeats(entries);
    }
    if random.percent(3) {
        let other = ["cri", "io.containerd.grpc.v1.cri"][random.below(2)];
        tree.at(&["plugins", other, "registry", "mirrors", "o.example"]);
    }
    tree
}

fn without_repeats(entries: Vec<(String, Tree)>) -> Vec<(String, Tree)> {
    let mut kept: Vec<(String, Tree)> = Vec::new();
    for entry in entries {
        if kept.iter().all(|(name, _)| *name != entry.0) {
            kept.push(entry);
        }
    }
    kept
}

fn mirror(random: &mut Random, hosts: &mut Vec<String>) -> (String, Tree) {
    let name = match random.below(8) {
        0 => random.pick(DEAD_NAMES),
        _ => random.pick(NAMES),
    };
    let mut entries = Vec::new();
    if random.percent(92) {
        let count = random.below(5);
        let plain = random.percent(50);
        let endpoints: Vec<String> = (0..count)
            .map(|_| {
                let host = if plain {
                    random.pick(&HOSTS[..16])
                } else {
                    random.pick(HOSTS)
                };
                hosts.push(host.to_owned());
                if plain {
                    let scheme = random.pick(&SCHEMES[..6]);
                    return format!("{scheme}{host}{}", random.pick(&PATHS[..8]));
                }
                match random.below(40) {
                    0 => random
                        .pick(&["", " https://m.example", "https://", "://", "\t"])
                        .to_owned(),
                    _ => format!("{}{host}{}", random.pick(SCHEMES), random.pick(PATHS)),
                }
            })
            .collect();
        let key = ["endpoint", "ENDPOINT"][usize::from(random.percent(3))];
        entries.push((key, Tree::Strings(endpoints)));
    }
    if random.percent(6) {
        entries.push(match random.below(3) {
            0 => ("rewrite", table(vec![("^a/(.*)", text("b/$1"))])),
            1 => ("password", text("SEKRETunknown")),
            _ => ("skip_verify", raw("true")),
        });
    }
    (name.to_owned(), table(entries))
}

fn host_config(random: &mut Random) -> Tree {
    let mut entries = Vec::new();
    if random.percent(80) {
        let mut keys: Vec<(&str, Tree)> = Vec::new();
        match random.below(6) {
            0 => keys.push(("ca_file", text("/etc/ssl/ca.pem"))),
            1 => keys.push(("ca_file", text("rel/ca.pem"))),
            2 => keys.push(("ca_file", text(""))),
            3 => keys.push(("ca_file", text("/etc/ssl/no-ca.pem"))),
            _ => {}
        }
        if random.percent(30) {
            keys.push(("cert_file", text("/etc/ssl/c 1.pem")));
        }
        if random.percent(30) {
            keys.push(("key_file", text("/etc/ssl/k.pem")));
        }
        match random.below(4) {
            0 => keys.push(("insecure_skip_verify", raw("true"))),
            1 => keys.push(("insecure_skip_verify", raw("false"))),
            _ => {}
        }
        if random.percent(5) {
            keys.push(("server_name", text("x")));
        }
        let key = ["tls", "TLS"][usize::from(random.percent(3))];
        entries.push((key, table(keys)));
    }
    if random.percent(30) {
        entries.push(("auth", auth(random)));
    }
    if random.percent(4) {
        entries.push(("tlss", table(vec![("ca_file", text("x"))])));
    }
    table(entries)
}

fn auth(random: &mut Random) -> Tree {
    table(match random.below(4) {
        0 => vec![
            ("username", text("bob")),
            ("password", text("SEKRETpassword")),
        ],
        // user:SEKRETbasic
        1 => vec![("auth", text("dXNlcjpTRUtSRVRiYXNpYw=="))],
        2 => vec![("identitytoken", text("SEKRETidentity"))],
        _ => vec![(
            "password",
            raw("'''\nSEKRETline1\nSEKRETline2 # no comment\n'''"),
        )],
    })
}

fn options(random: &mut Random) -> Options {
    let mut options = Options {
        from: None,
        to: None,
        existing: ["refuse", "keep", "replace", "replace"][random.below(4)],
        inert: None,
        keeps_version_1: random.percent(70),
        certs_directory: random.percent(5).then_some("/opt/certs.d"),
        allows_all: random.percent(75),
    };
    if random.percent(50) {
        let from = random.below(RELEASES.len());
        options.from = Some(RELEASES[from]);
        if random.percent(30) {
            options.to = Some(RELEASES[from + random.below(RELEASES.len() - from)]);
        }
    }
    options
}

fn files(random: &mut Random, certs: &str) -> Vec<(String, Entry)> {
    let mut files = Vec::new();
    for (path, text) in [
        (
            "/etc/ssl/ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        ("/etc/ssl/no-ca.pem", "nothing\n"),
    ] {
        if random.percent(50) && !text.is_empty() && (path.contains("/ca") || random.percent(10)) {
            files.push((path.to_owned(), Entry::File(text)));
        }
    }
    if random.percent(60) {
        return files;
    }
    let names = [
        "docker.io",
        "m.example",
        "m.example_5000_",
        "m.example:5000",
        "_default",
        "quay.io",
        "localhost:5000",
        "127.0.0.1_5001_",
        "zz.example",
        "README.txt",
    ];
    let mut linked: Vec<&str> = Vec::new();
    for name in names {
        if !random.percent(15) {
            continue;
        }
        let path = format!("{certs}/{name}");
        match random.below(12) {
            0 => files.push((path, Entry::Link("nowhere".to_owned()))),
            1 => match linked.first() {
                Some(target) => files.push((path, Entry::Link((*target).to_owned()))),
                None => files.push((path, Entry::Link("m.example".to_owned()))),
            },
            2 => files.push((path, Entry::File("stray\n"))),
            3 => files.push((path, Entry::Directory)),
            4 => files.push((format!("{path}/ca.crt"), Entry::File("x"))),
            5 => match linked.first() {
                Some(target) => files.push((
                    format!("{path}/hosts.toml"),
                    Entry::Link(format!("../{target}/hosts.toml")),
                )),
                None => files.push((format!("{path}/hosts.toml"), Entry::Directory)),
            },
            _ => {
                let text = HOSTS_FILES[random.below(HOSTS_FILES.len())];
                files.push((format!("{path}/hosts.toml"), Entry::File(text)));
                linked.push(name);
            }
        }
    }
    files
}
