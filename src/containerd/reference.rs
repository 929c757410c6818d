//! Names of images as CRI normalizes them before it pulls: a port of the behaviour of `ParseDockerRef`
//! (`normalize.go` and `regexp.go` of github.com/distribution/reference, which every containerd has), checked against
//! measured answers in `tests/data/image-references.tsv`.

use std::fmt;

/// The name of an image in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// The registry part, by which mirrors and hosts files are looked up.
    pub namespace: String,
    /// The repository in it.
    pub repository: String,
    /// Which image of the repository.
    pub object: Object,
}

/// Which image of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A tag; it is resolved by hosts that may resolve.
    Tag(String),
    /// A digest, with its algorithm.
    Digest(String),
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.repository)?;
        match &self.object {
            Object::Tag(tag) => write!(formatter, ":{tag}"),
            Object::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

/// The registry of names that name none.
const DOCKER_IO: &str = "docker.io";
/// A repository is not longer.
const LONGEST: usize = 255;

impl ImageReference {
    /// The image that someone means by this name, or why containerd refuses the name.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.len() == 64 && name.bytes().all(is_lower_hex) {
            return Err("this is the ID of an image; give its name".to_owned());
        }
        if name.contains("://") {
            return Err("the name of an image has no scheme such as `https://`".to_owned());
        }
        let (domain, remainder) = split_domain(name);
        let remote = remainder.split(':').next().unwrap_or_default();
        let lower = remote.to_lowercase();
        if lower != remote {
            let named = if name.contains(remote) {
                &lower
            } else {
                lower.trim_start_matches("library/")
            };
            return Err(format!("a repository is in lower case: `{named}`"));
        }
        let full = format!("{domain}/{remainder}");
        let (named, digest) = match full.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (full.as_str(), None),
        };
        let last = named.rfind('/').unwrap_or_default();
        let colon = named.get(last..).and_then(|part| part.find(':'));
        let (path, tag) = match colon {
            Some(at) => (
                named.get(..last + at).unwrap_or_default(),
                named.get(last + at + 1..),
            ),
            None => (named, None),
        };
        let (namespace, repository) = path.split_once('/').unwrap_or_default();
        let has_domain = is_domain(namespace) && is_repository(repository);
        // What is not the name of a host may be the first part of a repository, and is looked up all the same.
        if !has_domain && !is_repository(path) {
            return Err(
                "the name of an image is meant, such as nginx:1.27 or quay.io/team/app".to_owned(),
            );
        }
        if (if has_domain { repository } else { path }).len() > LONGEST {
            return Err(format!("a repository has at most {LONGEST} characters"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("the tag is not valid".to_owned());
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(
                "the digest is not valid: sha256: and 64 lower-case hexadecimal digits".to_owned(),
            );
        }
        // Of the two the digest counts.
        let object = match (digest, tag) {
            (Some(digest), _) => Object::Digest(digest.to_owned()),
            (None, tag) => Object::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            repository: repository.to_owned(),
            object,
        })
    }
}

/// `splitDockerDomain`: which registry, and the rest.
fn split_domain(name: &str) -> (&str, String) {
    let library = |rest: &str| format!("library/{rest}");
    let Some((first, rest)) = name.split_once('/') else {
        return (DOCKER_IO, library(name));
    };
    let is_domain =
        first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first;
    let (domain, rest) = match first {
        "index.docker.io" => (DOCKER_IO, rest),
        _ if is_domain => (first, rest),
        _ => (DOCKER_IO, name),
    };
    if domain == DOCKER_IO && !rest.contains('/') {
        return (domain, library(rest));
    }
    (domain, rest.to_owned())
}

/// Whether this is a host, with or without a port, or an IPv6 address in brackets.
fn is_domain(domain: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some((address, rest)) = domain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        let is_address = !address.is_empty()
            && address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Whether this is a path of components.
fn is_repository(path: &str) -> bool {
    path.split('/').all(is_component)
}

/// Whether this is a component of a repository: lower-case letters and digits, with a dot, one or two underscores, or any
/// number of dashes between them.
pub fn is_component(component: &str) -> bool {
    let mut separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let first = separators.next();
    let last = separators.next_back();
    // Between two letters there is nothing.
    let is_separator =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    first == Some("") && last == Some("") && separators.all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// `Digest.Validate` of github.com/opencontainers/go-digest, with the algorithms that containerd links.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, encoded)) = digest.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    encoded.len() == length && encoded.bytes().all(is_lower_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_as_containerd_does_it() {
        let data = include_str!("../../tests/data/image-references.tsv");
        let mut tried = 0;
        for line in data.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let parsed = ImageReference::parse(fields[0]);
            match fields[1..] {
                ["-"] => assert!(parsed.is_err(), "{line}: {parsed:?}"),
                [full, namespace, repository, object] => {
                    let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
                    assert_eq!(parsed.to_string(), full, "{line}");
                    assert_eq!(parsed.namespace, namespace, "{line}");
                    assert_eq!(parsed.repository, repository, "{line}");
                    let found = match parsed.object {
                        Object::Tag(tag) => tag,
                        Object::Digest(digest) => format!("@{digest}"),
                    };
                    assert_eq!(found, object, "{line}");
                }
                _ => panic!("{line}"),
            }
            tried += 1;
        }
        assert!(tried > 80);
    }

    #[test]
    fn what_is_refused_says_how_to_write_it() {
        let error = |name| ImageReference::parse(name).unwrap_err();
        assert_eq!(error("NGINX"), "a repository is in lower case: `nginx`");
        assert!(error("https://quay.io/x").contains("no scheme"));
        assert!(error("quay.io/x@sha256:abc").contains("64"));
    }
}
