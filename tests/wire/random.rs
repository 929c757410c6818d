//! Random nodes from a seed: overlapping mirrors, `"*"`, every spelling of an endpoint, TLS and
//! credentials on the hosts that occur, several ways to write it down.

use std::fmt::Write;

use crate::numbers::Random;

const NAMESPACES: &[&str] = &[
    "docker.io",
    "quay.io",
    "registry.k8s.io",
    "reg.example:5000",
    "m1.example",
    "m2.example:5000",
    "10.0.0.9:5000",
    "localhost:5000",
    "127.0.0.1:5001",
    "h.example:443",
    "*",
    "*",
];

const HOSTS: &[&str] = &[
    "m1.example",
    "m1.example",
    "m2.example:5000",
    "m2.example:5000",
    "m3.example:8443",
    "10.0.0.9:5000",
    "reg.example:5000",
    "h.example",
    "h.example:443",
    "registry-1.docker.io",
    "quay.io",
    "localhost:5000",
    "127.0.0.1:5001",
];

const PATHS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    "/",
    "/v2",
    "/v2/",
    "/foo",
    "/foo/",
    "/foo/v2",
    "/v2/proj",
    "/a//b/../c",
    "/V2",
];

/// One legacy setting.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    /// No list at all is something else than an empty one.
    Mirror {
        namespace: String,
        endpoints: Option<Vec<String>>,
    },
    /// Keys and values, as TOML.
    Tls {
        host: String,
        keys: Vec<(&'static str, String)>,
    },
    Auth {
        host: String,
        keys: Vec<(&'static str, String)>,
    },
    /// The old place for credentials, by URL.
    Auths {
        url: String,
        keys: Vec<(&'static str, String)>,
    },
    Header {
        name: &'static str,
        value: &'static str,
    },
}

/// A node as its settings, and how they are written down.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Vec<Setting>,
    /// For 2.x only, by its own plugin's name.
    pub(crate) is_version_3: bool,
    style: Style,
}

#[derive(Clone, Debug)]
struct Style {
    /// Which of the ways to nest tables.
    shape: usize,
    literal_id: bool,
    literal_values: bool,
    indented: bool,
    long_arrays: bool,
    empty_config_path: bool,
    crlf: bool,
    comments: bool,
}

/// The node of a seed.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut random = Random(seed);
    let mut settings = Vec::new();
    let mut namespaces: Vec<&str> = Vec::new();
    let mut hosts: Vec<String> = Vec::new();
    for _ in 0..1 + random.below(4) {
        let namespace = random.pick(NAMESPACES);
        if namespaces.contains(&namespace) {
            continue;
        }
        namespaces.push(namespace);
        let endpoints = match random.below(20) {
            0 => None,
            1 => Some(0),
            _ => Some(1 + random.below(4)),
        };
        let endpoints = endpoints.map(|count| -> Vec<String> {
            (0..count)
                .map(|_| endpoint(&mut random, &mut hosts))
                .collect()
        });
        settings.push(Setting::Mirror {
            namespace: namespace.to_string(),
            endpoints,
        });
    }
    hosts.extend(
        namespaces
            .iter()
            .filter(|name| **name != "*")
            .map(ToString::to_string),
    );
    hosts.push("private.example:6443".to_string());
    hosts.push("registry-1.docker.io".to_string());
    hosts.sort();
    hosts.dedup();
    for host in hosts {
        if random.percent(45) {
            settings.push(Setting::Tls {
                keys: tls(&mut random, &host),
                host: host.clone(),
            });
        }
        if random.percent(25) {
            settings.push(Setting::Auth {
                keys: auth(&mut random),
                host,
            });
        }
    }
    if random.percent(10) {
        let url = format!("https://{}", random.pick(HOSTS));
        settings.push(Setting::Auths {
            url,
            keys: auth(&mut random),
        });
    }
    if random.percent(15) {
        settings.push(Setting::Header {
            name: "X-Meta-Node",
            value: "a b",
        });
    }
    let style = Style {
        shape: random.below(5),
        literal_id: random.percent(30),
        literal_values: random.percent(30),
        indented: random.percent(50),
        long_arrays: random.percent(30),
        empty_config_path: random.percent(40),
        crlf: random.percent(10),
        comments: random.percent(30),
    };
    let is_version_3 = random.percent(10);
    let mut plan = Plan {
        settings,
        is_version_3,
        style,
    };
    if is_version_3 {
        // 2.x ignores them, and they are carried all the same: no behaviour that could be compared.
        plan.settings
            .retain(|setting| !matches!(setting, Setting::Tls { .. }));
    }
    plan
}

fn endpoint(random: &mut Random, hosts: &mut Vec<String>) -> String {
    let host = random.pick(HOSTS);
    hosts.push(host.to_string());
    // Most hosts speak one of the two, as in life; now and then both are asked for.
    let usual = match host {
        "m2.example:5000" | "10.0.0.9:5000" | "localhost:5000" | "127.0.0.1:5001" => "http://",
        _ => "https://",
    };
    let scheme = match random.below(20) {
        0 => "http://",
        1 => "https://",
        2 => "HTTPS://",
        3..6 => "",
        _ => usual,
    };
    let user = if random.percent(3) { "user@" } else { "" };
    let query = if random.percent(3) { "?a=b" } else { "" };
    let path = random.pick(PATHS);
    format!("{scheme}{user}{host}{path}{query}")
}

fn tls(random: &mut Random, host: &str) -> Vec<(&'static str, String)> {
    let folder = format!("/etc/ssl/{}", host.replace(':', "-"));
    let mut keys = Vec::new();
    if random.percent(50) {
        keys.push(("ca_file", format!("{folder}/ca.pem")));
    } else if random.percent(10) {
        keys.push(("ca_file", String::new()));
    }
    if random.percent(40) {
        keys.push(("cert_file", format!("{folder}/client.crt")));
        keys.push(("key_file", format!("{folder}/client.key")));
    }
    match random.below(4) {
        0 => keys.push(("insecure_skip_verify", "true".to_string())),
        1 => keys.push(("insecure_skip_verify", "false".to_string())),
        _ => {}
    }
    keys
}

fn auth(random: &mut Random) -> Vec<(&'static str, String)> {
    match random.below(3) {
        // user:pass word
        0 => vec![("auth", "dXNlcjpwYXNzIHdvcmQ=".to_string())],
        1 => vec![("identitytoken", "identity-1".to_string())],
        _ => vec![
            ("username", "reader".to_string()),
            ("password", "p:w".to_string()),
        ],
    }
}

impl Plan {
    pub(crate) fn has_tls(&self) -> bool {
        self.settings
            .iter()
            .any(|setting| matches!(setting, Setting::Tls { .. }))
    }

    /// The node without one of its settings.
    pub(crate) fn without(&self, index: usize) -> Plan {
        let mut smaller = self.clone();
        smaller.settings.remove(index);
        smaller
    }

    /// Its config.toml.
    pub(crate) fn config(&self) -> String {
        let style = &self.style;
        let (version, id) = match self.is_version_3 {
            true => (3, "io.containerd.cri.v1.images"),
            false => (2, "io.containerd.grpc.v1.cri"),
        };
        let quote = if style.literal_id { '\'' } else { '"' };
        let id = format!("plugins.{quote}{id}{quote}");
        let mut text = format!("version = {version}\noom_score = 0\n\n");
        let registry = format!("{id}.registry");
        let _ = writeln!(text, "[{id}]\n  max_concurrent_downloads = 3\n");
        // Inline and dotted ways need the header; the others may do without.
        if style.empty_config_path || style.shape >= 2 {
            let _ = writeln!(text, "{}[{registry}]", self.indent(1));
        }
        if style.empty_config_path {
            let _ = writeln!(text, "{}config_path = \"\"", self.indent(2));
        }
        match style.shape {
            0 => self.as_headers(&mut text, &registry),
            1 => self.as_headers_of_pairs(&mut text, &registry),
            2 => self.as_dotted_keys(&mut text),
            3 => self.as_inline_tables(&mut text),
            _ => self.as_headers(&mut text, &registry),
        }
        let _ = writeln!(
            text,
            "\n[timeouts]\n  \"io.containerd.timeout.shim.load\" = \"5s\""
        );
        if style.crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        }
    }

    /// `[….mirrors."docker.io"]` and `endpoint = […]`.
    fn as_headers(&self, text: &mut String, registry: &str) {
        let indent = self.indent(2);
        for (number, setting) in self.settings.iter().enumerate() {
            if self.style.comments {
                let _ = writeln!(text, "\n{indent}# setting {number}");
            }
            let _ = writeln!(text, "{indent}[{registry}.{}]", self.path(setting));
            for (key, value) in self.pairs(setting) {
                let _ = writeln!(text, "{indent}  {key} = {value}");
            }
        }
    }

    /// `[….mirrors]` and `"docker.io" = { endpoint = […] }`.
    fn as_headers_of_pairs(&self, text: &mut String, registry: &str) {
        for parent in ["mirrors", "configs", "auths", "headers"] {
            let lines = self.inline_entries(parent);
            if !lines.is_empty() {
                let _ = writeln!(text, "{}[{registry}.{parent}]", self.indent(2));
            }
            for line in lines {
                let _ = writeln!(text, "{}{line}", self.indent(3));
            }
        }
    }

    /// `mirrors."docker.io".endpoint = […]`.
    fn as_dotted_keys(&self, text: &mut String) {
        for setting in &self.settings {
            let path = self.path(setting);
            for (key, value) in self.pairs(setting) {
                let _ = writeln!(text, "{}{path}.{key} = {value}", self.indent(2));
            }
        }
    }

    /// `mirrors = { "docker.io" = { endpoint = […] }, … }`.
    fn as_inline_tables(&self, text: &mut String) {
        for parent in ["mirrors", "configs", "auths", "headers"] {
            let entries = self.inline_entries(parent);
            if !entries.is_empty() {
                let entries = entries.join(", ");
                let _ = writeln!(text, "{}{parent} = {{ {entries} }}", self.indent(2));
            }
        }
    }

    fn inline_entries(&self, parent: &str) -> Vec<String> {
        let table = |setting: &Setting| {
            let pairs = self.pairs(setting);
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        };
        let mut entries: Vec<(String, Vec<String>)> = Vec::new();
        for setting in &self.settings {
            let (of, key, value) = match setting {
                Setting::Mirror { namespace, .. } => ("mirrors", namespace, table(setting)),
                Setting::Tls { host, .. } => ("configs", host, format!("tls = {}", table(setting))),
                Setting::Auth { host, .. } => {
                    ("configs", host, format!("auth = {}", table(setting)))
                }
                Setting::Auths { url, .. } => ("auths", url, table(setting)),
                Setting::Header { .. } if parent == "headers" => {
                    return self
                        .pairs(setting)
                        .iter()
                        .map(|(key, value)| format!("{key} = {value}"))
                        .collect();
                }
                Setting::Header { .. } => continue,
            };
            if of != parent {
                continue;
            }
            match entries.iter_mut().find(|(known, _)| known == key) {
                Some((_, values)) => values.push(value),
                None => entries.push((key.clone(), vec![value])),
            }
        }
        let line = |(key, values): (String, Vec<String>)| match parent {
            "mirrors" | "auths" => format!("{} = {}", self.quoted(&key), values.join(", ")),
            _ => format!("{} = {{ {} }}", self.quoted(&key), values.join(", ")),
        };
        entries.into_iter().map(line).collect()
    }

    /// The path of a setting's table below `registry`.
    fn path(&self, setting: &Setting) -> String {
        match setting {
            Setting::Mirror { namespace, .. } => format!("mirrors.{}", self.quoted(namespace)),
            Setting::Tls { host, .. } => format!("configs.{}.tls", self.quoted(host)),
            Setting::Auth { host, .. } => format!("configs.{}.auth", self.quoted(host)),
            Setting::Auths { url, .. } => format!("auths.{}", self.quoted(url)),
            Setting::Header { .. } => "headers".to_string(),
        }
    }

    fn pairs(&self, setting: &Setting) -> Vec<(String, String)> {
        match setting {
            Setting::Mirror {
                endpoints: None, ..
            } => Vec::new(),
            Setting::Mirror {
                endpoints: Some(endpoints),
                ..
            } => {
                let values: Vec<_> = endpoints.iter().map(|url| self.quoted(url)).collect();
                let inline = matches!(self.style.shape, 1 | 3);
                let value = if self.style.long_arrays && !inline && !values.is_empty() {
                    let comment = if self.style.comments {
                        " # one of them"
                    } else {
                        ""
                    };
                    let lines: Vec<_> = values
                        .iter()
                        .map(|value| format!("\n      {value},{comment}"))
                        .collect();
                    format!("[{}\n    ]", lines.concat())
                } else {
                    format!("[{}]", values.join(", "))
                };
                vec![("endpoint".to_string(), value)]
            }
            Setting::Tls { keys, .. }
            | Setting::Auth { keys, .. }
            | Setting::Auths { keys, .. } => {
                let value = |key: &str, value: &str| match key {
                    "insecure_skip_verify" => value.to_string(),
                    _ => self.quoted(value),
                };
                keys.iter()
                    .map(|(key, text)| (key.to_string(), value(key, text)))
                    .collect()
            }
            Setting::Header { name, value } => {
                vec![(name.to_string(), format!("[{}]", self.quoted(value)))]
            }
        }
    }

    fn quoted(&self, text: &str) -> String {
        if self.style.literal_values {
            format!("'{text}'")
        } else {
            format!("\"{text}\"")
        }
    }

    fn indent(&self, depth: usize) -> String {
        if self.style.indented {
            "  ".repeat(depth)
        } else {
            String::new()
        }
    }
}
