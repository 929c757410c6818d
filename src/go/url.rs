//! Go's `net/url.Parse`, the parts that decide where a pull goes.
//!
//! No Rust crate parses as Go does (the `url` crate drops `:443`, rewrites hosts and resolves `..`), so this is a
//! port of the behaviour, checked against measured answers in `tests/data/go-url-parse.tsv`. It does no I/O, keeps
//! every byte of the host, and knows nothing of registries.

use std::fmt;

use crate::work;

/// A parsed URL: what containerd reads of it. User info, query and fragment are checked and dropped, as there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoUrl {
    /// In lower case; empty if there is none.
    pub scheme: String,
    /// What follows `scheme:` if it does not begin with a slash.
    pub opaque: String,
    /// Host and port as written, percent-escapes decoded.
    pub host: String,
    /// The decoded path: bytes, since an escape may decode to anything.
    pub path: Vec<u8>,
}

/// Why Go refuses a URL, in Go's words but without the part of the input that Go quotes: it may be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoUrlError {
    /// A byte below 0x20, or DEL.
    ControlCharacter,
    /// The text begins with a colon.
    MissingScheme,
    /// `a:b/c` without a scheme.
    ColonInFirstSegment,
    /// Something else than digits behind the host's colon.
    InvalidPort,
    /// `[` without `]`, or around something that is no IPv6 address.
    InvalidBrackets,
    /// A colon in a host outside brackets; an error from Go 1.26 on.
    AmbiguousColon,
    /// A percent sign that does not begin a valid escape for its place.
    InvalidEscape,
    /// A character that no host has.
    InvalidHostCharacter,
    /// A character that no user info has.
    InvalidUserInfo,
}

impl fmt::Display for GoUrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlCharacter => formatter.write_str("invalid control character in URL"),
            Self::MissingScheme => formatter.write_str("missing protocol scheme"),
            Self::ColonInFirstSegment => {
                formatter.write_str("first path segment in URL cannot contain colon")
            }
            Self::InvalidPort => formatter.write_str("invalid port after host"),
            Self::InvalidBrackets => formatter.write_str("invalid IPv6 address in brackets"),
            Self::AmbiguousColon => formatter.write_str("colon in a host without brackets"),
            Self::InvalidEscape => formatter.write_str("invalid URL escape"),
            Self::InvalidHostCharacter => formatter.write_str("invalid character in host name"),
            Self::InvalidUserInfo => formatter.write_str("invalid user info"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Other,
}

/// Parses `raw` as Go's `url.Parse` does.
///
/// `strict_colons` is Go 1.26's rule that the host of an http or https URL has at most one colon outside brackets.
pub fn parse(raw: &str, strict_colons: bool) -> Result<GoUrl, GoUrlError> {
    work::count(raw.len());
    let (text, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err(GoUrlError::ControlCharacter);
    }
    let url = parse_without_fragment(text, strict_colons)?;
    unescape(fragment, Part::Other)?;
    Ok(url)
}

fn parse_without_fragment(text: &str, strict_colons: bool) -> Result<GoUrl, GoUrlError> {
    let (scheme, rest) = split_scheme(text)?;
    let mut url = GoUrl {
        scheme: scheme.to_ascii_lowercase(),
        opaque: String::new(),
        host: String::new(),
        path: Vec::new(),
    };
    let rest = rest
        .split_once('?')
        .map_or(rest, |(before_query, _)| before_query);
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            rest.clone_into(&mut url.opaque);
            return Ok(url);
        }
        let first_segment = rest.split_once('/').map_or(rest, |(first, _)| first);
        if first_segment.contains(':') {
            return Err(GoUrlError::ColonInFirstSegment);
        }
    }
    let mut path = rest;
    if let Some(authority_and_path) = rest.strip_prefix("//")
        && (!url.scheme.is_empty() || !rest.starts_with("///"))
    {
        let slash = authority_and_path
            .find('/')
            .unwrap_or(authority_and_path.len());
        let (authority, rest) = authority_and_path.split_at(slash);
        let strict_colons = strict_colons && ["http", "https"].contains(&url.scheme.as_str());
        url.host = parse_authority(authority, strict_colons)?;
        path = rest;
    }
    url.path = unescape(path, Part::Other)?;
    Ok(url)
}

fn split_scheme(text: &str) -> Result<(&str, &str), GoUrlError> {
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err(GoUrlError::MissingScheme),
            b':' => return Ok(text.split_once(':').unwrap_or(("", text))),
            _ => break,
        }
    }
    Ok(("", text))
}

fn parse_authority(authority: &str, strict_colons: bool) -> Result<String, GoUrlError> {
    let Some((user_info, host)) = authority.rsplit_once('@') else {
        return parse_host(authority, strict_colons);
    };
    let host = parse_host(host, strict_colons)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user_info.bytes().all(allowed) {
        return Err(GoUrlError::InvalidUserInfo);
    }
    unescape(user_info, Part::Other)?;
    Ok(host)
}

fn parse_host(host: &str, strict_colons: bool) -> Result<String, GoUrlError> {
    let bytes = if host.starts_with('[') {
        let end = host.rfind(']').ok_or(GoUrlError::InvalidBrackets)?;
        let (address, close_and_port) = host.split_at(end);
        let port = close_and_port.strip_prefix(']').unwrap_or_default();
        check_port(port)?;
        let (number, zone) = address.split_at(address.find("%25").unwrap_or(address.len()));
        let number_text = number.strip_prefix('[').unwrap_or_default();
        // Go 1.25.2 and 1.24.8 refuse anything else in brackets (CVE-2025-47912); no registry answers there anyway.
        if number_text.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(GoUrlError::InvalidBrackets);
        }
        let mut bytes = unescape(number, Part::Host)?;
        bytes.extend(unescape(zone, Part::Zone)?);
        bytes.extend(unescape(close_and_port, Part::Host)?);
        bytes
    } else {
        if let Some(colon) = host.rfind(':') {
            let (name, port) = host.split_at(colon);
            check_port(port)?;
            if strict_colons && name.contains(':') {
                return Err(GoUrlError::AmbiguousColon);
            }
        }
        unescape(host, Part::Host)?
    };
    String::from_utf8(bytes).map_err(|_| GoUrlError::InvalidHostCharacter)
}

fn check_port(port: &str) -> Result<(), GoUrlError> {
    let digits = port.strip_prefix(':').unwrap_or(port);
    let valid =
        port.is_empty() || (port.starts_with(':') && digits.bytes().all(|b| b.is_ascii_digit()));
    if valid {
        Ok(())
    } else {
        Err(GoUrlError::InvalidPort)
    }
}

/// The characters that a host may hold as they are (`shouldEscape` in Go's `net/url/url.go`).
fn host_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn unescape(text: &str, part: Part) -> Result<Vec<u8>, GoUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            if part != Part::Other && byte < 0x80 && !host_character(byte) {
                return Err(GoUrlError::InvalidHostCharacter);
            }
            bytes.push(byte);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(GoUrlError::InvalidEscape);
        };
        let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else {
            return Err(GoUrlError::InvalidEscape);
        };
        let decoded = high << 4 | low;
        let allowed = match part {
            Part::Other => true,
            // RFC 6874: in a host an escape may only stand for a non-ASCII byte, or for the percent sign.
            Part::Host => high >= 8 || decoded == b'%',
            Part::Zone => decoded == b'%' || decoded == b' ' || host_character(decoded),
        };
        if !allowed {
            return Err(GoUrlError::InvalidEscape);
        }
        bytes.push(decoded);
        rest = tail;
    }
    Ok(bytes)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Go's `path.Clean`, on the bytes of a path.
pub fn clean_path(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            name => parts.push(name),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Writes a decoded path so that [`parse`] reads the same bytes again, in ASCII.
pub fn escape_path(path: &[u8]) -> String {
    escape(path, |byte| {
        byte.is_ascii_alphanumeric() || b"-_.~/$&+,=:@".contains(&byte)
    })
}

/// Writes a decoded host so that [`parse`] reads the same text again, in ASCII.
pub fn escape_host(host: &str) -> String {
    escape(host.as_bytes(), host_character)
}

fn escape(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    bytes
        .iter()
        .map(|&byte| {
            if keep(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Splits `host:port` as Go's `net.SplitHostPort` does; `None` where Go returns an error.
pub fn split_host_port(host_port: &str) -> Option<(&str, &str)> {
    let (host, port) = host_port.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return (!inner.contains(['[', ']'])).then_some((inner, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the Go-quoted strings of the data file.
    fn unquote(quoted: &str) -> String {
        let inner = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap();
        let mut text = String::new();
        let mut characters = inner.chars();
        while let Some(c) = characters.next() {
            text.push(match c {
                '\\' => match characters.next().unwrap() {
                    't' => '\t',
                    'r' => '\r',
                    'n' => '\n',
                    other => other,
                },
                other => other,
            });
        }
        text
    }

    #[test]
    fn every_measured_answer_of_go_is_the_same() {
        let data = include_str!("../../tests/data/go-url-parse.tsv");
        let mut seen = 0;
        for line in data.lines() {
            let (input, answer) = line.split_once('\t').unwrap();
            let input = unquote(input);
            let ours = parse(&input, false);
            if answer.starts_with("ERR") {
                let error = ours.expect_err(&input).to_string();
                // Go quotes the part that is wrong in the midst of the same words.
                let (first, last) = error
                    .split_once(" after ")
                    .or(error.split_once(" in "))
                    .unwrap_or((&error, ""));
                assert!(
                    answer.contains(first) && answer.contains(last),
                    "{input:?}: {error} / {answer}"
                );
            } else {
                let ours = ours.unwrap_or_else(|error| panic!("{input:?}: {error}"));
                let shown = format!(
                    "scheme={:?} opaque={:?} host={:?} port=",
                    ours.scheme, ours.opaque, ours.host
                );
                let path = String::from_utf8(ours.path).unwrap();
                assert!(answer.starts_with(&shown), "{input:?}: {shown} / {answer}");
                assert!(
                    answer.contains(&format!(" path={path:?} raw=")),
                    "{input:?}: {path} / {answer}"
                );
            }
            seen += 1;
        }
        assert!(
            seen > 60,
            "the data file is there and was read: {seen} lines"
        );
    }

    #[test]
    fn go_1_26_refuses_an_ipv6_address_without_brackets() {
        assert!(parse("http://::1:5000", false).is_ok());
        assert_eq!(
            parse("http://::1:5000", true),
            Err(GoUrlError::AmbiguousColon)
        );
        assert!(parse("http://[::1]:5000", true).is_ok());
        // Databases have URLs with several colons.
        assert!(parse("dummy://::1:5000", true).is_ok());
        assert!(parse("http://[::1", false).is_err() && parse("http://[x]", false).is_err());
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, clean) in [
            ("", "."),
            ("/", "/"),
            ("//v2//x", "/v2/x"),
            ("/a/../b/./c/", "/b/c"),
            ("/../..", "/"),
            ("a/../../b", "../b"),
        ] {
            assert_eq!(clean_path(path.as_bytes()), clean.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        for (host, path) in [
            ("h:5000", "/a b/%zz?#\"ü"),
            ("[fe80::1%eth0]:1", "/"),
            ("héllo", "/v2"),
        ] {
            let url = format!(
                "https://{}{}",
                escape_host(host),
                escape_path(path.as_bytes())
            );
            assert!(url.is_ascii());
            let parsed = parse(&url, true).unwrap();
            assert_eq!(
                (parsed.host.as_str(), parsed.path.as_slice()),
                (host, path.as_bytes()),
                "{url}"
            );
        }
    }

    #[test]
    fn host_and_port_are_split_as_go_does() {
        assert_eq!(split_host_port("h:5000"), Some(("h", "5000")));
        assert_eq!(split_host_port("[::1]:5000"), Some(("::1", "5000")));
        assert_eq!(split_host_port("h:"), Some(("h", "")));
        for bad in ["h", "::1", "[::1]", "a:b:c"] {
            assert_eq!(split_host_port(bad), None, "{bad}");
        }
    }
}
