//! What must not be shown of a file. Secrets are masked by position and never hunted for in other text: a mask in a host
//! name, a path or one of our own sentences would give the secret away and hide what is reviewed.
//!
//! * `setting` says which values of a TOML file are shown: those at known positions with harmless content.
//! * `comment` says what of a comment is not shown, and of other lines that are for people.
//! * `url` says what of a URL is not shown, and is what every message that quotes one goes through.
//!
//! Masks have one fixed width and keep line ends, so that masked texts can be compared and say nothing about a secret,
//! not even its length. Of a text that is not TOML nobody knows what is secret: nothing of it is shown, which is the
//! caller's part. This module prints nothing.

use std::fmt;
use std::ops::Range;

use crate::toml::syntax::Syntax;

mod comment;
mod message;
mod setting;
mod url;
mod words;

pub use message::known_names;
pub use setting::{
    CONFIGURATION, Content, HOSTS_FILE, is_shown, shown_file, shown_path, shown_word,
};
pub use url::{shown_name, shown_names, shown_url, without_user_information};

/// What stands where a secret stood.
pub const MASK: &str = "********";

/// A text that cannot print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text that nobody is to see.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// Which settings are known in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// A config.toml, or a file that it imports.
    Configuration,
    /// A hosts.toml.
    HostsFile,
}

/// The parts of a text that are masked, in order, not overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    ranges: Vec<Range<usize>>,
}

impl Secrets {
    /// The secrets of a TOML text in some parts of it: of its names, values and comments. Those beside a part, in the same
    /// value or block of comments, may be among them.
    pub fn of<'p>(
        text: &str,
        syntax: &Syntax,
        kind: TextKind,
        parts: impl IntoIterator<Item = &'p Range<usize>>,
    ) -> Self {
        let mut settings = setting::Settings {
            text,
            kind,
            ranges: Vec::new(),
        };
        let sections = &syntax.sections;
        let mut comments = comment::Comments::new(text, kind, &syntax.comments);
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by_key(|part| part.start);
        // How far the text has been looked at.
        let mut looked_at = 0;
        for part in parts {
            let rest = part.start.max(looked_at)..part.end;
            let first = sections.partition_point(|section| section.start() <= rest.start);
            let sections = sections.get(first.saturating_sub(1)..).unwrap_or_default();
            for section in sections.iter().take_while(|it| it.start() < rest.end) {
                looked_at = looked_at.max(settings.section(section, &rest));
            }
            comments.find(part);
        }
        settings.ranges.append(&mut comments.secrets);
        Self::new(settings.ranges)
    }

    /// The secrets of a line that is for people: what a command printed.
    pub fn of_prose(line: &str) -> Self {
        Self::new(comment::Prose::default().line(line))
    }

    /// These ranges, in whatever order; those that overlap are one.
    pub(crate) fn new(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ if range.is_empty() => {}
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }

    /// The parts, in order.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// The parts that `range` touches.
    pub fn inside(&self, range: &Range<usize>) -> &[Range<usize>] {
        let start = self
            .ranges
            .partition_point(|secret| secret.end <= range.start);
        let end = self
            .ranges
            .partition_point(|secret| secret.start < range.end);
        self.ranges.get(start..end).unwrap_or_default()
    }

    /// Whether `range` touches a secret.
    pub fn touches(&self, range: &Range<usize>) -> bool {
        !self.inside(range).is_empty()
    }
}

/// A text whose secrets are masked, with the way from old to new positions.
#[derive(Clone, Debug)]
pub struct Masked {
    /// The text to show.
    pub text: String,
    /// The ranges of the masks in the new text.
    pub masks: Vec<Range<usize>>,
    /// For each secret: its range in the old text and the range of what replaces it.
    moved: Vec<(Range<usize>, Range<usize>)>,
}

impl Masked {
    /// Masks `ranges` of `text`. A secret of several lines keeps its line ends, so that line numbers stay.
    pub fn new(text: &str, ranges: &[Range<usize>]) -> Self {
        let mut masked = Self {
            text: String::with_capacity(text.len()),
            masks: Vec::new(),
            moved: Vec::new(),
        };
        let mut copied = 0;
        for range in ranges {
            masked
                .text
                .push_str(text.get(copied..range.start).unwrap_or_default());
            let start = masked.text.len();
            for line in text
                .get(range.clone())
                .unwrap_or_default()
                .split_inclusive('\n')
            {
                let content = line.trim_end_matches(['\r', '\n']);
                let mask_start = masked.text.len();
                masked.text.push_str(MASK);
                masked.masks.push(mask_start..masked.text.len());
                masked
                    .text
                    .push_str(line.get(content.len()..).unwrap_or_default());
            }
            masked.moved.push((range.clone(), start..masked.text.len()));
            copied = range.end;
        }
        masked.text.push_str(text.get(copied..).unwrap_or_default());
        masked
    }

    /// Where a position of the old text is in the new one; inside a secret, the mask's start or, for `end`, its end.
    pub fn position(&self, at: usize, end: bool) -> usize {
        let index = self.moved.partition_point(|(old, _)| old.start <= at);
        let Some((old, new)) = index.checked_sub(1).and_then(|last| self.moved.get(last)) else {
            return at;
        };
        match (at < old.end, end) {
            (true, false) => new.start,
            (true, true) => new.end,
            (false, _) => new.end + (at - old.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked_as(kind: TextKind, text: &str) -> String {
        let syntax = Syntax::parse(text).unwrap();
        let secrets = Secrets::of(text, &syntax, kind, [&(0..text.len())]);
        Masked::new(text, secrets.ranges()).text
    }

    fn masked(text: &str) -> String {
        masked_as(TextKind::Configuration, text)
    }

    #[test]
    fn known_settings_are_shown_and_every_other_string_is_masked() {
        let registry = "[plugins.\"io.containerd.grpc.v1.cri\".registry";
        let text = format!(
            "\
version = 2
root = \"/var/lib/containerd\"
imports = [\"conf.d/*.toml\", '/etc/x.toml']
disabled_plugins = [\"io.containerd.internal.v1.opt\"]
[plugins.\"io.containerd.grpc.v1.cri\"]
sandbox_image = \"registry.k8s.io/pause@sha256:abc\"
stream_idle_timeout = \"4h0m0s\"
some_name = \"hunter2\"
homepage = \"https://h.example/x\"
hook = \"https://h.example/x?sig=1\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
SystemdCgroup = true
BinaryName = \"runc\"
{registry}.mirrors.\"m\"]
endpoint = [\"https://m:5000/v2\", \"m2:5000\"] # the cache
pw = \"hunter3\"
{registry}.configs.\"auth.example\".tls]
ca_file = \"/etc/ca.crt\"
cert_file = \"ca.pem\"
insecure_skip_verify = true
key_data = \"hunter4\"
"
        );
        let expected = text
            .replace("\"hunter2\"", MASK)
            .replace("\"hunter3\"", MASK)
            .replace("\"hunter4\"", MASK)
            .replace("\"https://h.example/x?sig=1\"", MASK);
        assert_eq!(masked(&text), expected);
    }

    #[test]
    fn everything_in_tables_of_credentials_and_headers_is_masked_with_one_width() {
        let text = "\
[configs.h.auth]
  username = \"u\"
  password = \"\"\"
_json_key
hunter2
\"\"\" # kept
  x = \"/etc/shadow\"
  pin = 12345
  on = true
[headers]
  X-Secret = [\"a1b2c3\", 'd']
[host.\"h\".haeder]
  X = \"https://plain\"
[t]
  password_prod = \"/one/level/too/high\"
  password = 123
  auths.\"https://h\".auth = \"dXNlcjpodW50ZXIz\"
  plain = { auth = { identitytoken = \"tok\" }, other = 1 }
  auth = [{ password = \"p\", n = 1 }]
";
        assert_eq!(
            masked(text),
            "\
[configs.h.auth]
  username = ********
  password = ********
********
********
******** # kept
  x = ********
  pin = ********
  on = ********
[headers]
  X-Secret = [********, ********]
[host.\"h\".haeder]
  X = ********
[t]
  password_prod = ********
  password = ********
  auths.\"https://h\".auth = ********
  plain = { auth = { identitytoken = ******** }, other = 1 }
  auth = [{ password = ********, n = ******** }]
"
        );
    }

    #[test]
    fn user_information_in_urls_and_names_is_masked_and_nothing_else_of_them() {
        let text = r#"
[plugins.cri.registry.mirrors."https://ghp_tokenF@quay.io"]
endpoint = ["https://user:sup3r@m1", 'user:s3cret@m2:5000', "https://good.example/proxy/@team", "https://bob:S\u0040h", "h\u003fx=S"]
[plugins.cri.registry.mirrors.y]
endpoint = "https://bob:S@h"
[plugins.cri.registry.configs.'https://tokenG@h'.tls]
["x.y"."bob:S\u0040h"]
args = ["-u", "bob:S", "/etc/S"]
env = ["PASSWORD_DB=S"]
"#;
        assert_eq!(
            masked(text),
            r#"
[plugins.cri.registry.mirrors."https://********@quay.io"]
endpoint = ["https://********@m1", '********@m2:5000', "https://good.example/proxy/@team", ********, ********]
[plugins.cri.registry.mirrors.y]
endpoint = "https://********@h"
[plugins.cri.registry.configs.'https://********@h'.tls]
["x.y".********]
args = [********, ********, ********]
env = [********]
"#
        );
        let hosts = "server = \"https://u:p@h\"\n[host.\"https://u:p@m/v2\"]\ncapabilities = [\"pull\"]\nca = \"a.crt\"\nclient = [[\"/c\", \"/k\"]]\nnote = \"x\"\n[host.\"https://m\".header]\nA = \"/x\"\n";
        assert_eq!(
            masked_as(TextKind::HostsFile, hosts),
            hosts
                .replace("u:p@", "********@")
                .replace("\"x\"", MASK)
                .replace("\"/x\"", MASK)
        );
    }

    #[test]
    fn pem_blocks_and_tokens_are_masked_in_known_positions_too() {
        for value in [
            "\"-----BEGIN PRIVATE KEY-----\\nMII\\n-----END\"",
            "\"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\"",
            "\"hunter2\"",
            "\"/ghp_0123456789abcdef\"",
        ] {
            let text = format!("[plugins.cri.registry.configs.h.tls]\nca_file = {value}\n");
            let expected = text.replace(value, MASK);
            assert_eq!(masked(&text), expected);
        }
    }

    #[test]
    fn paths_hosts_and_images_are_shown_however_odd_their_words_are() {
        let text = r#"
root = "/data/ClusterProvisioner2024Registry"
imports = ["/etc/containerd/conf.d/10-ClusterProvisioner2024Registry.toml"]
[plugins.cri]
sandbox_image = "h.example/pypi-docker-hosted-internal/pause:3.9"
[plugins.cri.registry]
config_path = "/opt/ClusterProvisioner2024Registry/certs.d:/etc/certs.d"
[plugins.cri.registry.mirrors.m]
endpoint = ["https://h/repository/pypi-docker-hosted-internal/v2", "npm_mirror-production-eu", "https://sk-mirror-production-frankfurt"]
[plugins.cri.registry.configs.h.tls]
ca_file = "/etc/pki/CorpRootCA2023Production.pem"
cert_file = "/etc/containerd/certs.d/reg:5000/client@prod.cert"
key_file = "/etc/containerd/certs.d/reg:5000/client"
[plugins."io.containerd.runtime.ClusterProvisioner2024Registry"]
"#;
        assert_eq!(masked(text), text);
    }

    #[test]
    fn names_that_are_secrets_are_masked() {
        let text = r#"
["-----BEGIN X-----\nS"]
"ghp_0123456789abcdefABCDEF012345678901" = 1
[x."my_ghp_0123456789abcdefABCDEF012345678901"]
eyJhUnTr2abcdefghijk.hUnTr2.y = 1
"#;
        assert_eq!(
            masked(text),
            r#"
[********]
"********" = 1
[x."my_********"]
eyJhUnTr2abcdefghijk.hUnTr2.y = 1
"#
        );
    }

    #[test]
    fn settings_that_are_commented_out_follow_the_rules_of_settings() {
        let text = "\
#[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"m\"]
#  endpoint = [
#    \"https://bob:S@m\",
#    \"https://m2\",
#  ]
#[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"m\".auth]
#  username = \"bob\" # her words
#  on = true

# endpoint = [\"https://m3\"]
## ca_file = \"/etc/ca.crt\"
# some_name = \"S\"
# oom_score = 0
a = 1 # this = \"S\"

# and so on:
# [x.headers]
# n = 1
";
        assert_eq!(
            masked(text),
            "\
#[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"m\"]
#  endpoint = [
#    \"https://********@m\",
#    \"https://m2\",
#  ]
#[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"m\".auth]
#  username = ******** # her words
#  on = ********

# endpoint = [\"https://m3\"]
## ca_file = \"/etc/ca.crt\"
# some_name = ********
# oom_score = 0
a = 1 # this = ********

# and so on:
# [x.headers]
# n = ********
"
        );
    }

    #[test]
    fn comments_are_shown_less_what_looks_like_a_secret() {
        for (comment, shown) in [
            ("password: swordfish # x", "password: ********"),
            ("my_token = 'abc'", "my_token = ********"),
            ("PASSWORD hunter2", "PASSWORD ********"),
            (
                "the robot password is hunter2",
                "the robot password ********",
            ),
            ("Passwort: S", "Passwort: ********"),
            ("la contraseña es S", "la contraseña ********"),
            ("le mot de passe est S", "le mot de passe ********"),
            ("senha=S", "senha=********"),
            ("пароль: S", "пароль: ********"),
            ("密码是S", "密码********"),
            ("パスワード：S", "パスワード：********"),
            (
                "curl -u admin:hunter2 https://m",
                "curl -u ******** https://m",
            ),
            (
                "curl -uadmin:hunter2 https://m",
                "curl -u******** https://m",
            ),
            ("curl --user=bob:S https://m", "curl --user=********"),
            (
                "echo hunter2 | docker login -u bob --password-stdin quay.io",
                "********",
            ),
            ("kata laluan hunter2", "kata laluan ********"),
            ("Passw0rd: hunter2", "Passw0rd: ********"),
            (
                "docker login -u bob -p hunter2xyz quay.io",
                "docker login -u bob -p ******** quay.io",
            ),
            (
                "docker run -p 5000:5000 registry",
                "docker run -p 5000:5000 registry",
            ),
            (
                "see https://u:p@h/x?sig=1 and http://h/y",
                "see https://********@h/x?******** and http://h/y",
            ),
            (
                "https://a:b@h,https://c:d@e",
                "https://********@h,https://********@e",
            ),
            ("bob:S@h:5000", "********@h:5000"),
            ("mail ops@corp.example", "mail ops@corp.example"),
            ("pause:3.9@sha256:abc", "pause:3.9@sha256:abc"),
            ("Authorization: Basic Ym9iOlM=", "Authorization: ********"),
            ("basic Ym9iOlMzY3JldA==", "basic ********"),
            ("x Ym9iOlMzY3JldA== y", "x ******** y"),
            ("use ghp_0123456789abcdef here", "use ******** here"),
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "********"),
            ("apikey a1b2c3d4e5", "apikey ********"),
            ("-H 'X-Corp: S' https://h", "-H '********"),
            ("-----BEGIN KEY-----", "********"),
            ("key", "key"),
            (
                "docker login registry-1.docker.io",
                "docker login registry-1.docker.io",
            ),
            (
                "user registry-1.docker.io:5000/x",
                "user registry-1.docker.io:5000/x",
            ),
            (
                "login https://registry-1.docker.io/v2",
                "login https://registry-1.docker.io/v2",
            ),
            ("login 10.0.0.1:5000", "login 10.0.0.1:5000"),
            ("login to quay", "login to quay"),
            (
                "see https://wiki/pages/ClusterProvisioner2024Registry",
                "see https://wiki/pages/********",
            ),
            ("login bob Sx", "login ********"),
            ("creds bob / S", "creds ********"),
            ("bob@h:S", "bob@h:********"),
            ("git@h.example:team/x", "git@h.example:team/x"),
            ("curl --header=X:S h", "curl --header=********"),
            ("curl --header=\"X: S\" h", "curl --header=\"********"),
            ("curl -HX:S h", "curl -H********"),
            (
                "echo S | docker login h.example",
                "******** | docker login h.example",
            ),
            (
                "docker login h.example <<< S",
                "docker login h.example <<<********",
            ),
            ("| name | login |", "| name | login |"),
            ("<<< end of block <<<", "<<< end of block <<<"),
            ("pswd S", "pswd ********"),
            ("psswd: S", "psswd: ********"),
            ("passwrd S", "passwrd ********"),
            ("p4ssw0rd S", "p4ssw0rd ********"),
            ("tok: S", "tok: ********"),
            ("otp=S", "otp=********"),
            ("the p/w: S", "the p/w: ********"),
            ("p/w a1b2c3", "p/w ********"),
            ("the p/w is S", "the p/w ********"),
            (
                "image:tag host:5000 name:value",
                "image:tag host:5000 name:value",
            ),
            ("Author: me", "Author: me"),
            ("the key is elsewhere", "the key is elsewhere"),
            ("the key is a1b2c3", "the key ********"),
            ("the token is abc", "the token ********"),
            (
                "certificates and credentials",
                "certificates and credentials",
            ),
            ("Basic authentication is off", "Basic authentication is off"),
            ("Docker Hub, paid plan", "Docker Hub, paid plan"),
            ("a robot account", "a robot account"),
            (
                "---- free standing, between two entries ----",
                "---- free standing, between two entries ----",
            ),
            (
                "change 4711 at 10.0.0.1:5000/path",
                "change 4711 at 10.0.0.1:5000/path",
            ),
        ] {
            let text = format!("# {comment}\n");
            assert_eq!(masked(&text), format!("# {shown}\n"));
        }
    }

    #[test]
    fn what_a_comment_announces_may_be_on_the_next_line() {
        assert_eq!(
            masked("# the password:\n# hunter2\n# other\n"),
            "# the password:\n# ********\n# other\n"
        );
        assert_eq!(
            masked("# -----BEGIN KEY-----\n# abc\n#\n# def=\n# -----END KEY-----\n# other\n"),
            "# ********\n# ********\n#\n# ********\n# -----END KEY-----\n# other\n"
        );
    }

    #[test]
    fn what_a_comment_begins_goes_on_behind_empty_lines_and_settings() {
        for (text, shown) in [
            (
                "# -----BEGIN RSA PRIVATE KEY-----\n\n# S\n# -----END\n# x\n",
                "# ********\n\n# ********\n# -----END\n# x\n",
            ),
            (
                "# -----BEGIN RSA PRIVATE KEY-----\nx = 1 # S\ny = 1\n# S=\n",
                "# ********\nx = 1 # ********\ny = 1\n# ********\n",
            ),
            ("# password: \\\n#   S\n", "# password: \\\n#   ********\n"),
            (
                "# password: \\\n# S \\\n# S\n",
                "# password: \\\n# ********\n# ********\n",
            ),
            ("# password: |\n# S\n", "# password: |\n# ********\n"),
            (
                "# password:\n\n# S\n# x\n",
                "# password:\n\n# ********\n# x\n",
            ),
            (
                "# password:\nx = 1\n# S\n",
                "# password:\nx = 1\n# ********\n",
            ),
            ("# the password\n\n# of it\n", "# the password\n\n# of it\n"),
            (
                "# [x.auth]\n# a = S\n# b = \"S\"\n# c = S\n# see here\n# d = e\n",
                "# [x.auth]\n# a = ********\n# b = ********\n# c = ********\n# see here\n# d = e\n",
            ),
            ("# [x.auth]\n\n# n = 1\n", "# [x.auth]\n\n# n = ********\n"),
            (
                "# [x.auth]\na = true\n# n = 1\n",
                "# [x.auth]\na = true\n# n = 1\n",
            ),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    /// What a part of a text is asked for does not change what is secret in it.
    #[test]
    fn a_key_that_begins_before_the_part_is_known() {
        let text = "# -----BEGIN KEY-----\n\n# S\nx = 1\n# S\n";
        let part = text.rfind('#').unwrap()..text.len();
        let syntax = Syntax::parse(text).unwrap();
        let secrets = Secrets::of(text, &syntax, TextKind::Configuration, [&part]);
        assert!(secrets.touches(&part));
    }

    /// Doubling what is read doubles the work: were it more, these would take minutes.
    #[test]
    fn long_comments_and_many_values_take_one_pass() {
        let long = "x".repeat(80_000);
        for text in [
            format!("# {}\n", ":".repeat(80_000)),
            format!("# {}\n", "\"".repeat(80_000)),
            format!("# {}\n", "'\"=: ".repeat(20_000)),
            format!("# {}\n", "key ".repeat(20_000)),
            format!("# {}\n", "://".repeat(20_000)),
            format!("# {}\n", "_ghp".repeat(20_000)),
            format!("# {}\n", "a@b:c".repeat(20_000)),
            format!(
                "[auth]\npassword = \"{long}\"\n{}",
                format!("# {}\n", "x".repeat(79_000)).repeat(4)
            ),
            "# password: x\n".repeat(5_000),
            "# [x.auth]\n# a = S\n\n".repeat(5_000),
            format!("# {}\n", "login / ".repeat(20_000)),
            format!("# {}\n", "p/w".repeat(20_000)),
            format!("# {}\n", "https://a.b/c".repeat(20_000)),
            format!("# {}\n", "a:b@".repeat(20_000)),
            format!("x = [\"https:/{}\"]\n", "a:b@".repeat(20_000)),
            format!("ca_file = \"/{}\"\n", "a:1/".repeat(20_000)),
            format!("\"{}\" = 1\n", "ghp_".repeat(200)),
        ] {
            let t = std::time::Instant::now();
            masked(&text);
            eprintln!(
                "{:?} {:?}",
                text.chars().take(12).collect::<String>(),
                t.elapsed()
            );
        }
    }

    #[test]
    fn positions_move_with_the_masks() {
        let text = "a = \"secret\" b";
        let masked = Masked::new(text, std::slice::from_ref(&(4..12)));
        assert_eq!(masked.text, "a = ******** b");
        assert_eq!(
            (masked.position(0, false), masked.position(5, false)),
            (0, 4)
        );
        assert_eq!(
            (masked.position(5, true), masked.position(13, false)),
            (12, 13)
        );
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret("x".to_owned())), MASK);
    }
}
