//! Writes a hosts.toml in the subset of TOML that every containerd reads alike.
//!
//! LF, nothing but ASCII in keys and hosts, root keys first, then one `[host."URL"]` header for each host with its keys below: containerd 2.x finds
//! hosts by their headers alone, and 1.x discards a file without a `host` table. Which hosts there are, and in which
//! order, is `plan`'s business.

use std::collections::HashSet;
use std::fmt::Write;

use crate::containerd::host::{Host, Scheme};
use crate::go::url;
use crate::secret::TextKind;
use crate::text::FileText;
use crate::toml::edit::quote;

/// A hosts.toml to be written.
#[derive(Clone, Debug, Default)]
pub struct NewHostsFile {
    /// The comment lines at the top, without `# `: where the file comes from.
    pub origins: Vec<String>,
    /// The comments that stood with the entry, each from its `#` on.
    pub comments: Vec<String>,
    /// The last host of the list; `None` leaves it to containerd's default.
    pub server: Option<NewHost>,
    /// The hosts that are tried before it.
    pub hosts: Vec<NewHost>,
}

/// A host in a file to be written.
#[derive(Clone, Debug)]
pub struct NewHost {
    /// The host; [`Scheme::HttpsThenHttp`] cannot be written, and is not planned.
    pub host: Host,
    /// What it is used for; `None` is everything, push included.
    pub capabilities: Option<&'static [&'static str]>,
    /// The comments that stood with its endpoint, each from its `#` on.
    pub comments: Vec<String>,
}

impl NewHostsFile {
    /// The file's content.
    pub fn content(&self) -> FileText {
        FileText::new(self.render().into_bytes(), TextKind::HostsFile)
    }

    /// The text of the file.
    fn render(&self) -> String {
        let mut text = String::new();
        for origin in &self.origins {
            let _ = writeln!(text, "# {}", clean_comment(origin));
        }
        for comment in &self.comments {
            line(&mut text, &clean_comment(comment));
        }
        if let Some(server) = &self.server {
            line(&mut text, "");
            for comment in &server.comments {
                line(&mut text, &clean_comment(comment));
            }
            let _ = writeln!(text, "server = {}", quote(&server.url(), false));
            server.keys("", &mut text);
        }
        let mut tables = HashSet::new();
        for host in &self.hosts {
            line(&mut text, "");
            for comment in &host.comments {
                line(&mut text, &clean_comment(comment));
            }
            let mut url = host.url();
            if !tables.insert(url.clone()) {
                // `https://m` and `https://m/` are two endpoints. Only the bare path can be spelled in two ways, and
                // with override_path a slash at the end changes nothing else.
                url.push('/');
            }
            let _ = writeln!(text, "[host.{}]", quote(&url, false));
            host.keys("  ", &mut text);
        }
        if self.hosts.is_empty() {
            line(&mut text, "");
            line(&mut text, "[host]");
        }
        text
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A comment without what makes containerd 2.x drop the file, or ends the line for some readers.
fn clean_comment(comment: &str) -> String {
    comment
        .chars()
        .filter(|c| *c == '\t' || !c.is_control())
        .collect::<String>()
        .trim_end()
        .to_owned()
}

impl NewHost {
    /// The URL to write: without the path if that is `/v2`, which containerd appends, or nothing but a slash.
    fn url(&self) -> String {
        let scheme = match self.host.scheme {
            Scheme::Http => "http",
            Scheme::Https | Scheme::HttpsThenHttp => "https",
        };
        let path = match self.host.path.as_str() {
            "/v2" | "/" => "",
            path => path,
        };
        format!("{scheme}://{}{path}", url::escape_host(&self.host.host))
    }

    fn keys(&self, indentation: &str, text: &mut String) {
        let mut key = |key: &str, value: &str| {
            let _ = writeln!(text, "{indentation}{key} = {value}");
        };
        if let Some(capabilities) = self.capabilities {
            let quoted: Vec<String> = capabilities.iter().map(|name| quote(name, false)).collect();
            key("capabilities", &format!("[{}]", quoted.join(", ")));
        }
        let tls = &self.host.tls;
        if self.host.scheme != Scheme::Http {
            match tls.ca.as_slice() {
                [] => {}
                [file] => key("ca", &quote(file, false)),
                files => {
                    let quoted: Vec<String> = files.iter().map(|file| quote(file, false)).collect();
                    key("ca", &format!("[{}]", quoted.join(", ")));
                }
            }
            if !tls.client.is_empty() {
                let pairs: Vec<String> = tls
                    .client
                    .iter()
                    .map(|(certificate, key)| {
                        format!("[{}, {}]", quote(certificate, false), quote(key, false))
                    })
                    .collect();
                key("client", &format!("[{}]", pairs.join(", ")));
            }
            if tls.skip_verify {
                key("skip_verify", "true");
            }
        }
        if !self.host.path.ends_with("/v2") {
            key("override_path", "true");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::containerd::host::{Pulls, TlsSettings};
    use crate::containerd::hosts_file::directory::{CertsDirectory, HostsFile, RegistryDirectory};
    use crate::containerd::hosts_file::reader;
    use crate::containerd::release::{Behaviour, Version, generations};
    use crate::node::NodePath;

    fn new_host(host: Host) -> NewHost {
        NewHost {
            host,
            capabilities: Some(&["pull", "resolve"]),
            comments: vec!["# c\u{7}\r".to_owned()],
        }
    }

    #[test]
    fn every_version_reads_back_what_is_written() {
        let mut secured = Host::new(Scheme::Https, "m.example:443", b"/v2/a proj/");
        secured.tls = TlsSettings {
            ca: vec!["/etc/ssl/a\\b.pem".to_owned()],
            client: vec![("/c".to_owned(), "/k".to_owned())],
            skip_verify: true,
            ..TlsSettings::default()
        };
        let hosts = [
            secured,
            Host::new(Scheme::Http, "m.example", b"/"),
            Host::new(Scheme::Https, "h", b""),
            Host::new(Scheme::Http, "[fd00::1]:5000", b"/foo/v2"),
        ];
        let file = NewHostsFile {
            origins: vec!["from here".to_owned()],
            comments: vec!["#x".to_owned()],
            server: hosts.last().cloned().map(new_host),
            hosts: hosts[..3].iter().cloned().map(new_host).collect(),
        };
        let text = file.render();
        assert!(
            text.is_ascii() && text.starts_with("# from here\n#x\n\n# c\nserver = "),
            "{text}"
        );
        let path = NodePath::new("/etc/containerd/certs.d");
        let mut directory = RegistryDirectory::empty(path.clone());
        directory.hosts_file = Some(HostsFile::new(path.clone(), file.content()));
        let certs = CertsDirectory {
            real: path.clone(),
            path,
            directories: [("h".to_owned(), Rc::new(directory))].into(),
            linked: std::collections::BTreeMap::new(),
            dangling: Vec::new(),
        };
        let (from, to) = (
            Version::parse("1.6.0").unwrap(),
            crate::containerd::release::NEWEST,
        );
        for generation in generations(from, to) {
            let read = reader::pulls(&certs, "h", &generation.behaviour);
            assert_eq!(
                read,
                Pulls::Hosts(hosts.to_vec()),
                "{:?}\n{text}",
                generation.versions
            );
        }
        let old = Behaviour::of(Version::parse("1.5").unwrap());
        assert_ne!(
            reader::pulls(&certs, "h", &old),
            Pulls::Hosts(hosts.to_vec()),
            "1.5 has no override_path"
        );
    }
}
