//! No command shows a secret, in whatever format and with whatever findings; and no mask alters anything else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use containerd_registry_migrate::finding::{self, Decision};

use support::{MemoryScratch, run};

/// What no output may hold. It is an ordinary word, so that only its position tells.
const SECRET: &str = "zebrafalke";
const CONFIG: &str = "etc/containerd/config.toml";
const HOSTS: &str = "etc/containerd/certs.d/m.example/hosts.toml";
const REGISTRY: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";

/// A node with a secret: `@S` is the secret, `@B` base64 of `bob:` and the secret, and `@R` the registry's table.
struct Node {
    name: String,
    files: Vec<(String, String)>,
}

fn filled(text: &str) -> String {
    let basic = STANDARD.encode(format!("bob:{SECRET}"));
    text.replace("@S", SECRET)
        .replace("@B", &basic)
        .replace("@R", REGISTRY)
}

/// The config.toml of a node with a mirror, with more lines below it.
fn config(below: &str) -> String {
    format!(
        "version = 2\n[{REGISTRY}.mirrors.\"m.example\"]\nendpoint = [\"https://m.example\"]\n{below}"
    )
}

fn corpus() -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut add = |name: String, files: &[(&str, String)]| {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), filled(text)))
            .collect();
        nodes.push(Node { name, files });
    };
    let values = [
        "[@R.configs.\"m.example\".auth]\nusername = \"bob\"\npassword = \"@S\"",
        "[@R.configs.\"m.example\".auth]\nauth = \"@B\"",
        "[@R.configs.\"m.example\".auth]\npassword = '''\n@S\n'''",
        "[@R.configs.\"m.example\".auht]\npassword = \"/@S\"",
        "[@R.configs.\"m.example\"]\npassword = \"@S\"",
        "[@R.configs.\"m.example\".tls]\npassword_prod = \"@S\"\nca_file = \"/etc/ca.crt\"",
        "[@R.configs.\"m.example\".tls]\nca_file = \"-----BEGIN KEY-----\\n@S\\n-----END KEY-----\"",
        "[@R.configs.\"bob:@S@m.example\".tls]\ninsecure_skip_verify = true",
        "[@R.configs.\"m.example\"]\nauth = [{ password = \"@S\" }]",
        "[@R.configs]\nm = { tls = { ca_file = \"/etc/ca.crt\" }, auth = { password = \"@S\" } }",
        "[@R.auths.\"https://bob:@S@m.example\"]\nauth = \"@B\"",
        "[@R]\nauths = [\"@S\"]",
        "[@R.headers]\nX-Corp = [\"@S\"]",
        "[@R.haeders]\nX-Corp = [\"/@S\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:@S@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:@S\\u0040a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://a.example\\u003fx=@S\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://a.example/#@S\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://a.example/ghp_0123456789@S/x\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:@S/x@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:@S:x@a.example:port\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"bob:@S@a.example:5000\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = \"https://bob:@S@a.example\"",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"ftp://bob:@S@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoints = [\"https://bob:@S@a.example\"]\npw = \"@S\"",
        "[@R.mirrors.\"https://bob:@S@a.example\"]\nendpoint = [\"https://a.example\"]",
        "[@R.mirrors.\"https://bob:@S\\u0040a.example\"]\nendpoint = [\"https://a.example\"]",
        "[@R.mirrors.\"a.example\"]\nusername = \"bob\"\npassword = \"@S\"",
        "[registry.mirrors.\"https://bob:@S@a.example\"]\nendpoint = [\"https://bob:@S@a.example\"]",
        "[stream_processors.x]\nargs = [\"-u\", \"bob:@S\", \"/@S\"]\nenv = [\"PASSWORD_DB=@S\"]",
        "[proxy_plugins.x]\naddress = \"https://bob:@S@h\"",
        "[@R.registry]\nconfig_path = \"bob:@S@h\"",
        "[@R.mirrors.\"a.example\"]\ninsecure_registries = [\"Basic @B\"]\nca_file = \"password: @S\"",
        "[@R.configs.\"m.example\".tls]\nca_file = \"password: @S x\"",
        "[@R.configs.\"m.example\".tls]\nca_file = \"@S\"\n[@R.mirrors.\"m.example\"]\nendpoint = [\"https://m.example\"]",
        "[@R.configs.\"m.example\".tls]\ncert_file = \"@S\"\nkey_file = \"x/@S\"",
        "[@R]\nconfig_path = \"@S\"",
        "[@R]\nconfig_path = \"/etc/certs.d:@S\"",
        "[@R.mirrors]\nconfig_path = \"password: @S\"\nimports = [\"password: @S\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https:/bob:@S@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https:///bob:@S@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:/@S@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:@S\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https://bob:@S:5000/x\", \"bob:@S:5000\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"https//bob:@S@a.example\"]",
        "[@R.mirrors.\"a.example\"]\nendpoint = [\"eyJhUnTr2abcdefghijk.@S.y\"]",
        "[@R.mirrors.\"https:/bob:@S@a.example\"]\nendpoint = [\"https://a.example\"]",
        "[@R.configs.\"https:///bob:@S@a.example\".tls]\ninsecure_skip_verify = true",
        "[@R.configs.\"m.example\".tls]\n\"-----BEGIN X-----\\n@S\" = 1",
        "[@R.mirrors.\"a.example\"]\n\"ghp_0123456789ABCDEFghij@S\" = 1",
        "[@R.mirrors.\"-----BEGIN X-----\\n@S\"]\nendpoint = [\"https://a.example\"]",
        "[\"-----BEGIN X-----\\n@S\"]\nx = 1",
        "[@R]\ninsecure_registries = [\"Basic @B\", \"@S:5000\", \"bob:@S@h\"]",
        "[@R]\ninsecure = [\"@S\"]",
        "[@R.mirror.\"a.example\"]\nendpoint = [\"@S:5000\", \"Basic @B\"]\nca_file = \"@S.pem\"",
        "[ttrpc]\nconfig_path = \"/etc/https://bob:@S@h\"\nimports = [\"@S\", \"bob:@S@h\"]",
        "[some.tool]\nwebhook = \"https://hooks.example/?token=@S\"\nname = \"@S\"",
    ];
    for (number, value) in values.iter().enumerate() {
        let below = format!("{value} # its own words\n");
        add(format!("value-{number}"), &[(CONFIG, config(&below))]);
    }
    let units = [
        "https://bob:@S@h/x",
        "bob:@S@h",
        "ghp_0123456789@S",
        "/etc/https://bob:@S@h/x.toml",
    ];
    for (number, value) in units.iter().enumerate() {
        let unit = format!("[Service]\nExecStart=/usr/bin/containerd --config {value}\n");
        let files = [("etc/systemd/system/containerd.service", unit)];
        add(format!("unit-{number}"), &files);
    }
    // No file system has such a long name.
    for (number, path) in ["bob:@S@h", "https://h/?a=@S", "password: @S x", "@S"]
        .iter()
        .enumerate()
    {
        let long = format!("imports = [\"{path}{}\"]\n", "x".repeat(300));
        add(
            format!("long-import-{number}"),
            &[(CONFIG, long + &config(""))],
        );
    }
    let tops = [
        "imports = [\"https://bob:@S@h/x.toml\"]",
        "imports = [\"bob:@S@h/*[\"]",
        "imports = [\"password: @S\"]",
        "imports = [\"ghp_0123456789@S\"]",
        "imports = [\"https://h/?a=@S\"]",
        "imports = [\"password: @S*[\"]",
        "disabled_plugins = [\"bob:@S@h\"]",
        "required_plugins = [\"bob:@S@h\"]",
        "x = \"@S\"",
        "\"https://bob:@S@h\" = 1",
    ];
    for (number, top) in tops.iter().enumerate() {
        add(
            format!("top-{number}"),
            &[(CONFIG, format!("{top}\n{}", config("")))],
        );
    }
    for (number, path) in ["bob:@S@h", "ghp_0123456789@S", "Basic @B", "password: @S"]
        .iter()
        .enumerate()
    {
        let text = format!("version = 2\n[{REGISTRY}]\nconfig_path = \"{path}\"\n");
        add(format!("path-{number}"), &[(CONFIG, text)]);
    }
    let comments = [
        "password: @S",
        "the password is @S",
        "Passwort: @S",
        "contraseña: @S",
        "mot de passe : @S",
        "senha=@S",
        "пароль: @S",
        "密码：@S",
        "密码是@S",
        "パスワード: @S",
        "비밀번호: @S",
        "hasło: @S",
        "password:\n  # @S",
        "curl -u bob:@S https://h",
        "curl -ubob:@S https://h",
        "curl --user=bob:@S https://h",
        "https://bob:@S@h/x",
        "bob:@S@h",
        "https://h/?token=@S",
        "Authorization: Basic @B",
        "@B",
        "auth @B",
        "curl -H 'X-Corp: @S' https://h",
        "password = \"@S\"",
        "[@R.configs.\"m\".auth]\n  # password = \"@S\"",
        "endpoint = [\n  #  \"https://bob:@S@m\",\n  # ]",
        "-----BEGIN PRIVATE KEY-----\n  # @S\n  # -----END PRIVATE KEY-----",
        "env = [\"X=@S\"]",
        "token = @S",
        "docker login -p @S h",
        "ghp_0123456789@S",
        "glpat-0123456789@S",
        "eyJhbGciOiJIUzI1NiJ9.@S.x",
        "-----BEGIN RSA PRIVATE KEY-----\n\n  # @S\n# -----END RSA PRIVATE KEY-----",
        "password: \\\n  #   @S",
        "password:\n\n  # @S",
        "[x.auth]\n  # a = @S",
        "login bob @S",
        "creds bob / @S",
        "bob@h:@S",
        "curl --header=X:@S h",
        "echo @S | docker login h.example",
        "docker login h.example <<< @S",
        "pswd @S",
        "psswd @S",
        "passwrd: @S",
        "p4ssw0rd @S",
        "tok: @S",
        "otp: @S",
        "p/w: @S",
    ];
    for (number, comment) in comments.iter().enumerate() {
        let text = format!(
            "version = 2\n# {comment}\n[{REGISTRY}.mirrors.\"m.example\"]\n  # {comment}\n  endpoint = [\"https://h.example\"] # x\n"
        );
        add(format!("comment-{number}"), &[(CONFIG, text)]);
    }
    let hosts = [
        "@B==\n",
        "{\"auths\": {\"m.example\": {\"auth\": \"@B\"}}}\n",
        "Authorization: Basic @B\nX-Corp: @S\n",
        "server = \"https://m.example\"\npassword = @S\n",
        "server = \"https://bob:@S@m.example\"\n[host.\"https://bob:@S@h.example\"]\n",
        "[host.\"https://bob:@S\\u0040h.example\"]\ncapabilities = [\"pull\"]\n",
        "[host.\"https://h.example\"]\ncapabilities = [\"bob:@S@h\"]\n",
        "[host.\"https://h.example/ghp_0123456789@S/x\"]\n",
        "[host.\"https://h.example\"]\n[host.\"https://h.example\".header]\nAuthorization = \"Basic @B\"\nx = [\"@S\"]\n",
        "server = \"https://bob:@S@m.example:port\"\n",
        "server = \"Basic @B\"\n",
        "server = \"password: @S x\"\n",
        "server = \"-----BEGIN KEY-----\\n@S\"\n",
        "[host.\"https://h.example\"]\nca = \"password: @S\"\nclient = \"Basic @B\"\n",
        "[host.\"https://h.example\"]\nca = \"https://h/?a=@S\"\n",
        "host = { \"bob:@S@h\" = 1 }\n",
        "server = \"https:/bob:@S@m.example\"\n[host.\"https:///bob:@S@h.example\"]\n",
        "server = \"https://bob:@S\"\n[host.\"https://bob:/@S@h.example\"]\n",
        "[host.\"-----BEGIN X-----\\n@S\"]\n[host.\"ghp_0123456789ABCDEFghij@S\"]\n",
        "ca = \"@S\"\n[host.\"https://h.example\"]\nca = [\"a.crt\", \"@S\"]\nclient = [[\"@S\", \"x/@S\"], [\"@S\", \"\"]]\n",
        "mirrors = [\"@S:5000\"]\nendpoint = [\"Basic @B\", \"@S\"]\nca_file = \"Basic @B\"\n",
        "# password: @S\nserver = \"https://other.example\"\nca = \"-----BEGIN @S\"\n",
    ];
    for (number, text) in hosts.iter().enumerate() {
        for (kind, path) in ["", "config_path = \"/etc/containerd/certs.d\"\n"]
            .iter()
            .enumerate()
        {
            let config = format!(
                "version = 2\n[{REGISTRY}]\n{path}[{REGISTRY}.mirrors.\"m.example\"]\nendpoint = [\"https://h.example\"]\n"
            );
            add(
                format!("hosts-{number}-{kind}"),
                &[(CONFIG, config), (HOSTS, (*text).to_owned())],
            );
        }
    }
    for (number, text) in [
        "@B==\n",
        "{\"auths\": {\"h\": {\"auth\": \"@B\"}}}\n",
        "password = @S\n",
        "[a]\n[a]\nx = \"@S\"\n",
        "[@S]\n[@S]\n",
        "[a.\"Basic @B\"]\n[a.\"Basic @B\"]\n",
        "@S = 1\n[@S]\n",
        "x = \"{{ @S }}\n",
    ]
    .iter()
    .enumerate()
    {
        add(
            format!("not-toml-{number}"),
            &[(CONFIG, (*text).to_owned())],
        );
        let imports = format!("imports = [\"conf.d/*.toml\"]\n{}", config(""));
        add(
            format!("not-toml-import-{number}"),
            &[
                (CONFIG, imports),
                ("etc/containerd/conf.d/x.toml", (*text).to_owned()),
            ],
        );
    }
    nodes
}

/// The values of `--format`, as the program lists them: a new one joins by itself.
fn formats() -> Vec<String> {
    let refused = run(["plan", "--format", "?"]).stderr;
    let (_, values) = refused.split_once("[possible values: ").unwrap();
    let (values, _) = values.split_once(']').unwrap();
    values.split(", ").map(str::to_owned).collect()
}

fn write(root: &Path, files: &[(String, String)]) {
    let _ = fs::remove_dir_all(root);
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Images of all registries that have settings with a secret.
const IMAGES: [&str; 3] = ["nginx", "m.example/x", "a.example/x"];

/// All that the commands print of a node, with the command that printed it.
fn printed(root: &Path, files: &[(String, String)], formats: &[String]) -> Vec<(String, String)> {
    let allowed = finding::ALL
        .iter()
        .filter(|code| matches!(code.decision, Decision::Allow(_)));
    let allows: Vec<&str> = allowed.flat_map(|code| ["--allow", code.name]).collect();
    let answers: [Vec<&str>; 3] = [
        Vec::new(),
        [&allows[..], &["--existing", "replace", "--v1", "convert"]].concat(),
        [&allows[..], &["--existing", "keep", "--v1", "keep"]].concat(),
    ];
    let root_name = root.to_str().unwrap();
    // The two differ only where there is a hosts file.
    let has_hosts_file = files.iter().any(|(path, _)| path == HOSTS);
    let answers = if has_hosts_file {
        &answers[..]
    } else {
        &answers[..2]
    };
    let mut all = Vec::new();
    let mut add = |command: &[&str], answers: &[&str]| {
        let arguments = [command, &["--root", root_name], answers].concat();
        let ran = run(&arguments);
        all.push((
            format!("{} {}", command.join(" "), answers.first().unwrap_or(&"")),
            ran.stdout + &ran.stderr,
        ));
        ran.code
    };
    for answers in answers {
        for format in formats {
            write(root, files);
            add(&["plan", "--format", format], answers);
            if add(&["apply", "--yes", "--format", format], answers) == 0 {
                add(&["rollback", "--yes", "--format", format], &[]);
            }
        }
        write(root, files);
        add(&["check"], answers);
    }
    // The answers that make a plan of most nodes.
    let answers = &answers[1];
    let report = root.join("report.json");
    let plan = ["plan", "--format", "json", "--root", root_name];
    fs::write(&report, run([&plan[..], answers].concat()).stdout).unwrap();
    let mut summaries = Vec::new();
    for format in formats.iter().filter(|format| *format != "diff") {
        add(&["check", "--format", format], answers);
        add(
            &[&["hosts", "--format", format][..], &IMAGES].concat(),
            answers,
        );
        let ran = run(["summarize", "--format", format, report.to_str().unwrap()]);
        summaries.push((format!("summarize {format}"), ran.stdout + &ran.stderr));
    }
    all.extend(summaries);
    all
}

#[test]
fn no_command_shows_a_secret() {
    let scratch = MemoryScratch::new("leaks");
    let formats = formats();
    let encoded = STANDARD.encode(SECRET);
    let basic = STANDARD.encode(format!("bob:{SECRET}"));
    let needles = [
        SECRET,
        encoded.trim_end_matches('='),
        basic.trim_end_matches('='),
    ];
    let leaks = |node: &Node| {
        let root = scratch.join(&node.name);
        let mut leaks = String::new();
        for (command, output) in printed(&root, &node.files, &formats) {
            let leak = output
                .lines()
                .find(|line| needles.iter().any(|needle| line.contains(needle)));
            if let Some(line) = leak {
                let _ = writeln!(leaks, "{}: {command}: {line}", node.name);
            }
        }
        fs::remove_dir_all(root).unwrap();
        leaks
    };
    let nodes = corpus();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: String = std::thread::scope(|scope| {
        let parts = nodes.chunks(nodes.len().div_ceil(threads));
        let workers: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().map(leaks).collect::<String>()))
            .collect();
        let found = workers.into_iter().map(|worker| worker.join().unwrap());
        found.collect()
    });
    assert!(failures.is_empty(), "{failures}");
}

/// Were it looked for elsewhere, a password that is a part of a host name would alter it.
#[test]
fn what_a_password_is_changes_nothing_that_is_printed() {
    let scratch = MemoryScratch::new("passwords");
    let formats = formats();
    let root = scratch.join("node");
    let node = |password: &str| {
        let text = format!(
            "version = 2\n# the mirror in 5000\n[{REGISTRY}.mirrors.\"docker.io\"]\nendpoint = [\"https://registry-1.docker.io:5000/proxy/@team\"]\n\
             [{REGISTRY}.configs.\"registry-1.docker.io:5000\".tls]\nca_file = \"/etc/docker/ca.crt\"\n\
             [{REGISTRY}.configs.\"registry-1.docker.io:5000\".auth]\nusername = \"bob\"\npassword = \"{password}\"\n"
        );
        vec![(CONFIG.to_owned(), text)]
    };
    let expected = printed(&root, &node(SECRET), &formats);
    let all: String = expected.iter().map(|(_, output)| output.as_str()).collect();
    for shown in [
        "https://registry-1.docker.io:5000/proxy/@team",
        "/etc/docker/ca.crt",
        "# the mirror in 5000",
        "password = ********",
    ] {
        assert!(all.contains(shown), "{shown}: {all}");
    }
    for password in [
        "docker",
        "5000",
        "registry",
        "https",
        "endpoint",
        "containerd",
        "config_path",
        "/etc/docker/ca.crt",
        "mirrors",
    ] {
        assert_eq!(
            printed(&root, &node(password), &formats),
            expected,
            "{password}"
        );
    }
}

/// What is reviewed is never masked, however odd its words are.
#[test]
fn no_mask_alters_paths_hosts_and_urls() {
    let scratch = MemoryScratch::new("odd-names");
    let root = scratch.join("ClusterProvisioner2024Registry/bob:node@dc1");
    let shown = [
        "/etc/pki/CorpRootCA2023Production.pem",
        "https://h.example/repository/pypi-docker-hosted-internal/v2",
        "npm_mirror-production-eu.example",
        "sk-mirror-production-frankfurt.example",
        "https://wiki.example/pages/",
        "docker login registry-1.docker.io",
    ];
    let text = format!(
        "version = 2\nimports = [\"conf.d/*.toml\"]\n\
         # see https://wiki.example/pages/ClusterProvisioner2024Registry\n# docker login registry-1.docker.io\n\
         [{REGISTRY}.mirrors.\"npm_mirror-production-eu.example\"]\n\
         # see https://wiki.example/pages/ClusterProvisioner2024Registry\n# docker login registry-1.docker.io\n\
         endpoint = [\"https://h.example/repository/pypi-docker-hosted-internal/v2\", \"https://sk-mirror-production-frankfurt.example\"]\n\
         [{REGISTRY}.configs.\"h.example\".tls]\nca_file = \"/etc/pki/CorpRootCA2023Production.pem\"\n"
    );
    let files = [(CONFIG.to_owned(), text)];
    write(&root, &files);
    let output = run(["plan", "--root", root.to_str().unwrap()]);
    for shown in shown {
        assert!(output.stdout.contains(shown), "{shown}: {}", output.stdout);
    }
    let drop_in = root.join("etc/containerd/conf.d/10-ClusterProvisioner2024Registry.toml");
    fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    let too_large = fs::File::create(drop_in).unwrap();
    too_large.set_len(17 << 20).unwrap();
    let output = run(["plan", "--root", root.to_str().unwrap()]).stderr;
    assert!(
        output.contains("conf.d/10-ClusterProvisioner2024Registry.toml`"),
        "{output}"
    );
    let missing = scratch.join("ClusterProvisioner2024Registry/bob:other@dc1");
    let missing = missing.to_str().unwrap();
    let output = run(["plan", "--root", missing]).stderr;
    assert!(output.contains(missing), "{output}");
}
