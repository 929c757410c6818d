//! The hosts of an image, as data and as text.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Report;
use crate::containerd::host::{Host, Scheme, ShownHost, default_host};
use crate::containerd::reference::{ImageReference, Object};
use crate::containerd::release::{Version, ranges};
use crate::containerd::trace::{HostsFiles, Source, SourceKind, Trace, TracedHost};
use crate::images::{self, Pull};
use crate::node::NodePath;
use crate::printable::printable;
use crate::secret::shown_url;

/// An image, and the hosts that containerd tries for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageHosts {
    /// The name as it was given.
    pub image: String,
    /// The name in full, as CRI normalizes it.
    pub reference: String,
    /// The registry part of it, by which mirrors and hosts files are looked up.
    pub namespace: String,
    /// What each release does, oldest first.
    #[serde(default)]
    pub releases: Vec<ImageRelease>,
}

/// What releases that follow each other do for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageRelease {
    /// The releases, oldest first.
    pub versions: Vec<Version>,
    /// What they do with the node as it is.
    pub today: ImagePull,
    /// What they do after the migration; `null` if there is no plan that can be written.
    pub after: Option<ImagePull>,
    /// Whether the requests, TLS settings and credentials are the same today and after the migration.
    pub same: bool,
}

/// What containerd does for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagePull {
    /// Why every pull fails before any host is tried, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// What becomes of hosts files.
    pub hosts_files: HostsFilesUse,
    /// The hosts in the order in which they are tried.
    #[serde(default)]
    pub hosts: Vec<ImageHost>,
}

/// What becomes of hosts files at a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostsFilesUse {
    /// Whether they decide, and if not, why.
    pub state: HostsFilesState,
    /// The directories that are looked into.
    #[serde(default)]
    pub directories: Vec<NodePath>,
    /// The hosts file or the directory that is found for the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<NodePath>,
    /// Why containerd discards the hosts file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether hosts files decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostsFilesState {
    /// containerd does not get so far that it pulls.
    Down,
    /// They are not read: `config_path` is not set.
    NotRead,
    /// There is no directory for the namespace, and no `_default`.
    NoDirectory,
    /// The hosts file decides.
    InEffect,
    /// The directory has no hosts file; its certificate files are used.
    CertificatesOnly,
    /// containerd discards the hosts file.
    Discarded,
}

/// A host that containerd tries for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageHost {
    /// The host.
    #[serde(flatten)]
    pub host: ShownHost,
    /// The URLs of the requests for the manifest, in order: none if the host is not asked for such an image, and two where
    /// HTTPS is tried before HTTP.
    #[serde(default)]
    pub requests: Vec<String>,
    /// What names the host.
    pub source: Source,
    /// What gives its TLS settings, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_source: Option<Source>,
    /// The credentials that containerd has for the host. Those of the CRI request, such as image pull secrets, take
    /// precedence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<HostCredentials>,
}

/// Credentials for a host, without their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostCredentials {
    /// The keys that are set.
    pub keys: Vec<String>,
    /// What gives them.
    pub source: Source,
}

/// The images as they are reported.
pub(super) fn shown(names: &[String], images: &[images::Image]) -> Vec<ImageHosts> {
    let image = |(name, image): (&String, &images::Image)| {
        let reference = &image.reference;
        let pull = |pull: &Pull| shown_pull(pull, reference);
        let release = |row: &images::Row| {
            let (today, after) = (pull(&row.today), row.after.as_ref().map(pull));
            ImageRelease {
                versions: row.versions.clone(),
                same: after.as_ref().is_some_and(|after| same(&today, after)),
                today,
                after,
            }
        };
        ImageHosts {
            image: printable(name),
            reference: reference.to_string(),
            namespace: reference.namespace.clone(),
            releases: image.rows.iter().map(release).collect(),
        }
    };
    names.iter().zip(images).map(image).collect()
}

/// Whether two pulls send the same, wherever it comes from.
fn same(one: &ImagePull, other: &ImagePull) -> bool {
    let sent = |host: &ImageHost| {
        let keys = host.credentials.as_ref().map(|found| found.keys.clone());
        (host.host.clone(), host.requests.clone(), keys)
    };
    let all = |pull: &ImagePull| -> Vec<_> { pull.hosts.iter().map(sent).collect() };
    one.fails.is_some() == other.fails.is_some() && all(one) == all(other)
}

fn shown_pull(pull: &Pull, reference: &ImageReference) -> ImagePull {
    match pull {
        Pull::Trace(trace) => shown_trace(trace, reference),
        Pull::Down(reason) => ImagePull {
            fails: Some(reason.clone()),
            hosts_files: HostsFilesUse {
                state: HostsFilesState::Down,
                directories: Vec::new(),
                path: None,
                reason: None,
            },
            hosts: Vec::new(),
        },
    }
}

fn shown_trace(trace: &Trace, reference: &ImageReference) -> ImagePull {
    let (state, path, reason) = match &trace.hosts_files {
        HostsFiles::NotRead => (HostsFilesState::NotRead, None, None),
        HostsFiles::NoDirectory => (HostsFilesState::NoDirectory, None, None),
        HostsFiles::InEffect(path) => (HostsFilesState::InEffect, Some(path), None),
        HostsFiles::CertificatesOnly(path) => (HostsFilesState::CertificatesOnly, Some(path), None),
        HostsFiles::Discarded(path, reason) => {
            (HostsFilesState::Discarded, Some(path), Some(reason))
        }
    };
    let hosts = trace.hosts.as_ref();
    ImagePull {
        fails: hosts.err().cloned(),
        hosts_files: HostsFilesUse {
            state,
            directories: trace.directories.clone(),
            path: path.cloned(),
            reason: reason.cloned(),
        },
        hosts: hosts
            .into_iter()
            .flatten()
            .map(|host| shown_host(host, reference))
            .collect(),
    }
}

fn shown_host(traced: &TracedHost, reference: &ImageReference) -> ImageHost {
    let credentials = traced.credentials.as_ref();
    ImageHost {
        host: ShownHost::of(&traced.host),
        requests: requests(&traced.host, reference),
        source: traced.source.clone(),
        tls_source: traced.tls.clone(),
        credentials: credentials.map(|(source, keys)| HostCredentials {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            source: source.clone(),
        }),
    }
}

/// The requests for the manifest (`Resolve`, `core/remotes/docker/resolver.go@HEAD`:233): by tag of hosts that resolve, by
/// digest of all that pull. `ns` is sent to whoever is not the registry itself (`isProxy`, `registry.go`:86).
fn requests(host: &Host, reference: &ImageReference) -> Vec<String> {
    let (object, is_asked) = match &reference.object {
        Object::Tag(tag) => (tag, host.pull && host.resolve),
        Object::Digest(digest) => (digest, host.pull),
    };
    if !is_asked {
        return Vec::new();
    }
    let schemes: &[&str] = match host.scheme {
        Scheme::Http => &["http"],
        Scheme::Https => &["https"],
        Scheme::HttpsThenHttp => &["https", "http"],
    };
    let namespace = &reference.namespace;
    let is_own =
        host.host == *namespace || namespace == "docker.io" && host.host == default_host(namespace);
    let query = if is_own {
        String::new()
    } else {
        format!("?ns={}", query_escape(namespace))
    };
    let path = host.path.trim_end_matches('/');
    let request = |scheme: &&str| {
        let url = format!(
            "{scheme}://{}{path}/{}/manifests/{object}",
            host.host, reference.repository
        );
        format!("{}{query}", shown_url(&url))
    };
    schemes.iter().map(request).collect()
}

/// Go's `url.QueryEscape`, of a namespace.
fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The hosts of every image, in words.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for image in &report.images {
        let _ = write!(text, "{}", printable(&image.reference));
        if image.image != image.reference {
            let _ = write!(text, " ({})", printable(&image.image));
        }
        text.push('\n');
        for release in &image.releases {
            let versions = ranges(release.versions.clone());
            let _ = writeln!(text, "\n  containerd {versions}, today");
            pull(&release.today, &mut text);
            let _ = write!(text, "\n  containerd {versions}, after the migration");
            match &release.after {
                None => text.push_str(": no plan can be written, see `plan`\n"),
                Some(after) if *after == release.today => text.push_str(": no change\n"),
                Some(after) => {
                    let _ = writeln!(text, ": {}", effect(release.same));
                    pull(after, &mut text);
                }
            }
        }
        text.push('\n');
    }
    text
}

/// What the migration does to the pulls of an image, where something is read from another place.
pub(super) fn effect(is_same: bool) -> &'static str {
    if is_same {
        "the pulls stay the same"
    } else {
        "the pulls change"
    }
}

fn pull(pull: &ImagePull, text: &mut String) {
    let _ = writeln!(
        text,
        "    hosts files: {}",
        printable(&hosts_files(&pull.hosts_files))
    );
    if let Some(reason) = &pull.fails {
        let _ = writeln!(text, "    every pull fails: {}", printable(reason));
    }
    for (number, host) in (1..).zip(&pull.hosts) {
        let mut requests = host.requests.iter().map(|url| printable(url));
        let first = requests.next();
        let first = first.unwrap_or_else(|| format!("{} is not asked", printable(&host.host.url)));
        let _ = writeln!(text, "    {number}. {first}");
        for other in requests {
            let _ = writeln!(text, "       then {other}");
        }
        for line in details(host) {
            let _ = writeln!(text, "       {}", printable(&line));
        }
    }
}

/// What is to be said of a host besides its requests, each in a phrase.
fn details(host: &ImageHost) -> Vec<String> {
    let mut lines = vec![match host.source.kind {
        SourceKind::BuiltIn => source(&host.source),
        _ => format!("from {}", source(&host.source)),
    }];
    let from = |found: &Source| format!("from {}", source(found));
    if let Some(tls) = tls(&host.host) {
        let from = host.tls_source.as_ref().map(from);
        let from = from.map(|from| format!(", {from}"));
        lines.push(format!("TLS: {tls}{}", from.unwrap_or_default()));
    }
    lines.push(match &host.credentials {
        None => "no credentials".to_owned(),
        Some(found) => {
            let keys = found.keys.join(" and ");
            format!("credentials: {keys}, {}", from(&found.source))
        }
    });
    if !host.host.headers.is_empty() {
        lines.push(format!("headers: {}", host.host.headers.join(", ")));
    }
    lines
}

/// The TLS settings of a host, as a phrase; `None` if there are none.
pub(super) fn tls(host: &ShownHost) -> Option<String> {
    let mut tls: Vec<String> = host.ca.iter().map(|file| format!("CA {file}")).collect();
    tls.extend(host.client.iter().map(ToString::to_string));
    if host.skip_verify {
        tls.push("certificate not verified".to_owned());
    }
    (!tls.is_empty()).then(|| tls.join(", "))
}

/// Where something comes from: the setting, the file and the line.
pub(super) fn source(source: &Source) -> String {
    let file = source.file.as_ref().map(|file| match source.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_string(),
    });
    match (source.kind, &source.setting, file) {
        (SourceKind::BuiltIn, ..) => "containerd's default".to_owned(),
        (_, Some(setting), Some(file)) => format!("{setting} in {file}"),
        (_, Some(setting), None) => setting.clone(),
        (_, None, file) => file.unwrap_or_default(),
    }
}

/// Whether hosts files are used, as a phrase.
pub(super) fn hosts_files(found: &HostsFilesUse) -> String {
    let directories: Vec<&str> = found.directories.iter().map(NodePath::as_str).collect();
    let directories = directories.join(" and ");
    let path = found
        .path
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    match found.state {
        HostsFilesState::Down => "not read, containerd does not pull".to_owned(),
        HostsFilesState::NotRead => "not read, config_path is not set".to_owned(),
        HostsFilesState::NoDirectory => {
            format!("{directories} has none for this registry, and no _default")
        }
        HostsFilesState::InEffect => format!("{path} is in effect"),
        HostsFilesState::CertificatesOnly => {
            format!("{path} has none; its certificate files are used")
        }
        HostsFilesState::Discarded => {
            let reason = found.reason.as_deref().unwrap_or_default();
            format!("containerd discards {path}: {reason}")
        }
    }
}
