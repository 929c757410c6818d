//! Pairs made by hand from the rules: a node, the same node migrated, and wrong translations. They show
//! that the harness sees what it is for: it takes the right ones and finds every wrong one.

/// Files by path.
pub(crate) type Files = &'static [(&'static str, &'static str)];

pub(crate) struct Pair {
    pub(crate) name: &'static str,
    pub(crate) before: Files,
    /// Written over the files before.
    pub(crate) after: Files,
    /// Written over the files after; `None` where the whole translation is right.
    pub(crate) wrong: &'static [(&'static str, Files)],
}

const CONFIG: &str = "etc/containerd/config.toml";

const MIGRATED: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"#;

const WITH_CREDENTIALS: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.configs."m1.example".auth]
  username = "reader"
  password = "secret"
[plugins."io.containerd.grpc.v1.cri".registry.configs."registry-1.docker.io".auth]
  auth = "dXNlcjpwYXNz"
"#;

pub(crate) const PAIRS: &[Pair] = &[
    Pair {
        name: "private-http-registry",
        before: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = ""
  [plugins."io.containerd.grpc.v1.cri".registry.configs."192.168.0.4:5500".tls]
    insecure_skip_verify = true
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."192.168.0.4:5500"]
    endpoint = ["http://192.168.0.4:5500"]
"#,
        )],
        after: &[
            (CONFIG, MIGRATED),
            (
                "etc/containerd/certs.d/192.168.0.4:5500/hosts.toml",
                "server = \"http://192.168.0.4:5500\"\n\n[host]\n",
            ),
        ],
        wrong: &[
            (
                "no server: the default host is asked over https",
                &[(
                    "etc/containerd/certs.d/192.168.0.4:5500/hosts.toml",
                    "[host.\"http://192.168.0.4:5500\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
                )],
            ),
            (
                "no host table: old versions discard the file",
                &[(
                    "etc/containerd/certs.d/192.168.0.4:5500/hosts.toml",
                    "server = \"http://192.168.0.4:5500\"\n",
                )],
            ),
            (
                "skip_verify on http: new versions try HTTPS first",
                &[(
                    "etc/containerd/certs.d/192.168.0.4:5500/hosts.toml",
                    "server = \"http://192.168.0.4:5500\"\nskip_verify = true\n\n[host]\n",
                )],
            ),
            (
                "mirrors left behind: CRI does not load",
                &[(
                    CONFIG,
                    r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."192.168.0.4:5500"]
    endpoint = ["http://192.168.0.4:5500"]
"#,
                )],
            ),
        ],
    },
    Pair {
        name: "every-setting",
        before: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://m1.example", "http://m2.example:5000/foo", "m3.example:8443", "https://m4.example/"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."m1.example".tls]
  ca_file = "/etc/ssl/m1.pem"
  cert_file = "/etc/ssl/m1.crt"
  key_file = "/etc/ssl/m1.key"
[plugins."io.containerd.grpc.v1.cri".registry.configs."m3.example:8443".tls]
  insecure_skip_verify = true
[plugins."io.containerd.grpc.v1.cri".registry.configs."m1.example".auth]
  username = "reader"
  password = "secret"
[plugins."io.containerd.grpc.v1.cri".registry.configs."registry-1.docker.io".auth]
  auth = "dXNlcjpwYXNz"
"#,
        )],
        after: &[
            (CONFIG, WITH_CREDENTIALS),
            ("etc/containerd/certs.d/docker.io/hosts.toml", DOCKER_IO),
            (
                "etc/containerd/certs.d/m1.example/hosts.toml",
                r#"server = "https://m1.example"
ca = "/etc/ssl/m1.pem"
client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host]
"#,
            ),
            (
                "etc/containerd/certs.d/m3.example:8443/hosts.toml",
                "server = \"https://m3.example:8443\"\nskip_verify = true\n\n[host]\n",
            ),
        ],
        wrong: &[
            (
                "order swapped",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", ORDER_SWAPPED)],
            ),
            (
                "override_path missing",
                &[(
                    "etc/containerd/certs.d/docker.io/hosts.toml",
                    OVERRIDE_PATH_MISSING,
                )],
            ),
            (
                "override_path missing at a slash",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", SLASH_LOST)],
            ),
            (
                "ca dropped",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", CA_DROPPED)],
            ),
            (
                "client dropped",
                &[(
                    "etc/containerd/certs.d/docker.io/hosts.toml",
                    CLIENT_DROPPED,
                )],
            ),
            (
                "skip_verify dropped",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", SKIP_DROPPED)],
            ),
            (
                "wrong server",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", WRONG_SERVER)],
            ),
            (
                "resolve dropped",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", NO_RESOLVE)],
            ),
            (
                "pull dropped",
                &[("etc/containerd/certs.d/docker.io/hosts.toml", NO_PULL)],
            ),
            ("credentials dropped", &[(CONFIG, MIGRATED)]),
            (
                "TLS of a registry that is no mirror dropped",
                &[("etc/containerd/certs.d/m1.example/hosts.toml", "")],
            ),
            (
                "a comment in the host table's place",
                &[(
                    "etc/containerd/certs.d/docker.io/hosts.toml",
                    "# not written yet\n",
                )],
            ),
        ],
    },
    Pair {
        name: "own-host-not-last",
        before: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."r.example"]
  endpoint = ["https://r.example/sub", "https://m.example"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."localhost:5000"]
  endpoint = ["http://lm.example"]
"#,
        )],
        after: &[
            (CONFIG, MIGRATED),
            (
                "etc/containerd/certs.d/r.example/hosts.toml",
                r#"server = "https://m.example"
capabilities = ["pull", "resolve"]

[host."https://r.example/sub"]
  capabilities = ["pull", "resolve", "push"]
  override_path = true
"#,
            ),
            (
                "etc/containerd/certs.d/localhost:5000/hosts.toml",
                r#"server = "http://localhost:5000"

[host."http://lm.example"]
  capabilities = ["pull", "resolve"]
"#,
            ),
        ],
        wrong: &[
            (
                "no server: the default host comes last",
                &[(
                    "etc/containerd/certs.d/r.example/hosts.toml",
                    r#"[host."https://r.example/sub"]
  override_path = true
[host."https://m.example"]
"#,
                )],
            ),
            (
                "https for a registry on loopback",
                &[(
                    "etc/containerd/certs.d/localhost:5000/hosts.toml",
                    "server = \"localhost:5000\"\n[host.\"http://lm.example\"]\n",
                )],
            ),
        ],
    },
    Pair {
        name: "wildcard",
        before: &[(
            CONFIG,
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
  endpoint = ["http://s.example:5000"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."quay.io"]
"#,
        )],
        after: &[
            (CONFIG, MIGRATED),
            (
                "etc/containerd/certs.d/_default/hosts.toml",
                "[host.\"http://s.example:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            ),
            (
                "etc/containerd/certs.d/s.example:5000/hosts.toml",
                "server = \"http://s.example:5000\"\n\n[host]\n",
            ),
            (
                "etc/containerd/certs.d/quay.io/hosts.toml",
                "server = \"https://quay.io\"\n\n[host]\n",
            ),
        ],
        wrong: &[
            (
                "the mirror's own namespace falls to _default",
                &[(
                    "etc/containerd/certs.d/s.example:5000/hosts.toml",
                    "server = \"https://s.example:5000\"\n\n[host.\"http://s.example:5000\"]\n",
                )],
            ),
            (
                "an empty entry no longer masks the wildcard",
                &[(
                    "etc/containerd/certs.d/quay.io/hosts.toml",
                    "server = \"https://quay.io\"\n\n[host.\"http://s.example:5000\"]\n",
                )],
            ),
        ],
    },
];

const DOCKER_IO: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const ORDER_SWAPPED: &str = r#"server = "https://registry-1.docker.io"

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const OVERRIDE_PATH_MISSING: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const SLASH_LOST: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
"#;

const CA_DROPPED: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const CLIENT_DROPPED: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const SKIP_DROPPED: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const WRONG_SERVER: &str = r#"server = "https://docker.io"

[host."https://m1.example"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const NO_RESOLVE: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["pull"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;

const NO_PULL: &str = r#"server = "https://registry-1.docker.io"

[host."https://m1.example"]
  capabilities = ["resolve"]
  ca = "/etc/ssl/m1.pem"
  client = [["/etc/ssl/m1.crt", "/etc/ssl/m1.key"]]

[host."http://m2.example:5000/foo"]
  capabilities = ["pull", "resolve"]
  override_path = true

[host."https://m3.example:8443"]
  capabilities = ["pull", "resolve"]
  skip_verify = true

[host."https://m4.example"]
  capabilities = ["pull", "resolve"]
  override_path = true
"#;
