//! Which part of a URL or a host name is secret: user information, query and fragment. Host names, ports and paths are
//! not: they are what is reviewed.

use std::ops::Range;

use super::{MASK, Secrets, words};
use crate::go::url;
use crate::toml::edit::quote;

/// The ranges of `text`, a URL or a host with or without a scheme, that are not shown. Sorted, not overlapping.
///
/// User information ends where Go's URL parser says that the authority ends: `https://good.example/proxy/@team` has
/// none. Of a text whose authority Go refuses or does not find nobody knows where a password ends, so all up to the last
/// at sign is hidden, or all behind the scheme.
pub(super) fn hidden(text: &str) -> Vec<Range<usize>> {
    let is_bare_token = || {
        let mut tokens = words::tokens(text);
        words::is_token(text) || !text.contains(['.', ':', '/']) && tokens.next().is_some()
    };
    if is_bare_token() {
        return std::iter::once(0..text.len()).collect();
    }
    hidden_of(text, false)
}

/// The same of a name. A name with a colon and no scheme is an odd name, not a password.
pub(super) fn hidden_in_name(name: &str) -> Vec<Range<usize>> {
    hidden_of(name, true)
}

/// What is hidden of any name: PEM blocks, and tokens whose shape nothing else has.
pub(super) fn tokens(text: &str) -> Vec<Range<usize>> {
    if words::has_pem(text) {
        return std::iter::once(0..text.len()).collect();
    }
    words::exact_tokens(text).collect()
}

fn hidden_of(text: &str, is_name: bool) -> Vec<Range<usize>> {
    let all = |start: usize| -> Vec<Range<usize>> { std::iter::once(start..text.len()).collect() };
    if words::has_pem(text) {
        return all(0);
    }
    let (start, slashes) = authority_start(text);
    let has_scheme = start > 0;
    let rest = text.get(start..).unwrap_or_default();
    let fragment = rest.find('#').unwrap_or(rest.len());
    let before_fragment = rest.get(..fragment).unwrap_or_default();
    let query = before_fragment.find('?').unwrap_or(fragment);
    let before_query = rest.get(..query).unwrap_or_default();
    let authority = before_query.split('/').next().unwrap_or_default();
    let mut ranges = Vec::new();
    let mut host = 0;
    let mut path = authority.len();
    if let Some(at) = authority.rfind('@') {
        ranges.push(start..start + at);
        host = at + 1;
    } else if rest.contains('@') || rest.contains("%40") {
        if !is_authority(authority) {
            return all(start);
        }
        // `https:/user:password@h`, `https:///user:password@h`, `https://user:/password@h`.
        if has_scheme && (slashes != 2 || authority.is_empty() || authority.ends_with(':')) {
            let Some(at) = rest.rfind('@') else {
                return all(start);
            };
            // `https:/h/@team` has none.
            let before = rest.get(..at).unwrap_or_default();
            if before.contains(':') || !before.ends_with('/') {
                ranges.push(start..start + at);
                path = at;
            }
        }
    }
    let name = authority.get(host..).unwrap_or_default();
    if (has_scheme || !is_name)
        && let Some(port) = bad_port(name)
    {
        ranges.push(start + host + port..start + authority.len());
    }
    if let Some(part) = rest.get(path..query).and_then(password) {
        ranges.push(start + path + part.start..start + path + part.end);
    }
    // What follows the sign, which itself is shown.
    for (sign, end) in [(query, fragment), (fragment, rest.len())] {
        if sign + 1 < end {
            ranges.push(start + sign + 1..start + end);
        }
    }
    ranges.extend(words::exact_tokens(text));
    Secrets::new(ranges).ranges
}

/// Where the authority begins behind a scheme and its slashes, and how many slashes there are.
fn authority_start(text: &str) -> (usize, usize) {
    let of_scheme = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let scheme = text.bytes().take_while(of_scheme).count();
    let behind = text.get(scheme..).unwrap_or_default();
    let (start, behind) = match behind.strip_prefix(':') {
        Some(rest) if rest.starts_with('/') => (scheme + 1, rest),
        _ if text.starts_with("//") => (0, text),
        _ => return (0, 0),
    };
    let slashes = behind.len() - behind.trim_start_matches('/').len();
    (start + slashes, slashes)
}

/// Where in a host the port begins that is none.
fn bad_port(host: &str) -> Option<usize> {
    let of_address = |c: char| c.is_ascii_hexdigit() || ":.[]".contains(c);
    let is_understood = match host.matches(':').count() {
        0 => true,
        1 => is_authority(host),
        // Go takes `bob:password:5000` for a host and a port.
        _ => host.chars().all(of_address) || host.starts_with('[') && is_authority(host),
    };
    if is_understood {
        return None;
    }
    let address = if host.starts_with('[') {
        host.find(']').unwrap_or_default()
    } else {
        0
    };
    let colon = address + host.get(address..)?.find(':')?;
    let port = host.get(colon + 1..)?;
    (!port.bytes().all(|byte| byte.is_ascii_digit())).then_some(colon + 1)
}

/// What is like `user:password` before an at sign of a path. A port has a slash behind it, and `C:` a backslash;
/// `name:tag@sha256:…` is an image.
pub(super) fn password(path: &str) -> Option<Range<usize>> {
    let mut signs = path.rmatch_indices('@').map(|(at, _)| at);
    let is_digest = |at: &usize| {
        let rest = path.get(at + 1..).unwrap_or_default();
        rest.starts_with("sha256:") || rest.starts_with("sha512:")
    };
    let end = signs.find(|at| !is_digest(at))?;
    let before = path.get(..end)?;
    let is_port = |colon: &usize| {
        let rest = path.get(colon + 1..).unwrap_or_default();
        let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        behind.starts_with('\\') || behind.len() < rest.len() && behind.starts_with('/')
    };
    let mut colons = before.match_indices(':').map(|(colon, _)| colon);
    let colon = colons.find(|colon| !is_port(colon))?;
    let start = before.get(..colon)?.rfind('/').map_or(0, |slash| slash + 1);
    Some(start..end)
}

fn is_authority(authority: &str) -> bool {
    url::parse(&format!("http://{authority}"), false).is_ok()
}

/// A name as a part of a setting's path, without user information: bare where TOML allows it and it has no dot.
pub fn shown_name(name: &str) -> String {
    let name = &*shown(name, hidden_in_name(name));
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quote(name, false)
    }
}

/// A setting's path, without user information.
pub fn shown_names<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(shown_name).collect();
    names.join(".")
}

/// A URL, a host or a name from a file as it may be quoted in a message: without user information, query and fragment.
pub fn shown_url(text: &str) -> String {
    shown(text, hidden(text))
}

/// A text with a mask in the place of each of these ranges.
pub(super) fn shown(text: &str, hidden: Vec<Range<usize>>) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut copied = 0;
    for range in hidden {
        shown.push_str(text.get(copied..range.start).unwrap_or_default());
        shown.push_str(MASK);
        copied = range.end;
    }
    shown.push_str(text.get(copied..).unwrap_or_default());
    shown
}

/// A URL with the user information left out, and all else as it is: for what is compared, not shown.
pub fn without_user_information(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at(start);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}{}", rest.get(at + 1..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_ends_where_go_says_that_the_authority_ends() {
        for (text, shown) in [
            (
                "https://good.example/proxy/@team",
                "https://good.example/proxy/@team",
            ),
            ("https://u:p@h/@team", "https://********@h/@team"),
            ("https://u:p@x@h:5000/v2", "https://********@h:5000/v2"),
            ("u:p@h:5000", "********@h:5000"),
            ("token@h", "********@h"),
            ("//u:p@h", "//********@h"),
            ("h:5000/@team", "h:5000/@team"),
            ("good.example/proxy/@team", "good.example/proxy/@team"),
            ("https://h/x?sig=1#f", "https://h/x?********#********"),
            ("https://h/x#f?g", "https://h/x#********"),
            ("https://h/?", "https://h/?"),
            ("https://[::1]:5000/@x", "https://[::1]:5000/@x"),
            ("ftp://u:p@h", "ftp://********@h"),
            ("https:/bob:S@h", "https:/********@h"),
            ("https:/bob:S/x@h", "https:/********"),
            ("https:///bob:S@h", "https:///********@h"),
            ("https:///bob:S%40h", "https:///********"),
            ("https://bob:/S@h/v2", "https://********@h/v2"),
            ("https://bob:S:5000/v2", "https://bob:********/v2"),
            ("bob:S:5000", "bob:********"),
            ("https://fd00::1:5000/v2", "https://fd00::1:5000/v2"),
            ("https://[fd00::1]:5000/v2", "https://[fd00::1]:5000/v2"),
            ("https:/h/proxy/@team", "https:/h/proxy/@team"),
            ("https:/h/S@x", "https:/********@x"),
            ("https:////S@h", "https:////********@h"),
            ("https//bob:S@h", "https//********@h"),
            ("https://https://bob:S@h", "https://********@h"),
            ("https:bob:S@h", "********@h"),
            ("https://h/x/bob:S@y/v2", "https://h/x/********@y/v2"),
            ("https://h/r:5000/@team", "https://h/r:5000/@team"),
            ("h/x?token=S&u=https://y", "h/x?********"),
            ("h/library/x:1@sha256:ab", "h/library/x:1@sha256:ab"),
            ("plain", "plain"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(shown_url(text), shown, "{text}");
        }
    }

    #[test]
    fn of_a_url_that_go_refuses_a_password_may_be_anywhere() {
        for text in [
            "https://u:s3cret/x@h",
            "https://u:s3cret?x@h",
            "https://u:s3#cret@h",
            "https://u:s3cret%40h",
        ] {
            assert_eq!(shown_url(text), "https://********", "{text}");
        }
        assert_eq!(shown_url("u:s3/cret@h"), "********");
        // The host is what is to be reviewed.
        for (text, shown) in [
            ("https://h:port/x", "https://h:********/x"),
            ("https://bob:S", "https://bob:********"),
            ("https:/bob:S", "https:/bob:********"),
            ("bob:S", "bob:********"),
            ("https://[::1]:S", "https://[::1]:********"),
            ("https://[::1", "https://[::1"),
            ("https://[bob:S", "https://[bob:********"),
            ("https://h:", "https://h:"),
        ] {
            assert_eq!(shown_url(text), shown, "{text}");
        }
        assert_eq!(shown_name("bob:x"), "\"bob:x\"");
    }

    #[test]
    fn tokens_are_hidden_and_names_that_are_like_them_are_not() {
        for (text, shown) in [
            (
                "https://h/ghp_0123456789abcdefABCDEF012345678901/x",
                "https://h/********/x",
            ),
            ("eyJhUnTr2abcdefghijk.hUnTr2.y", "********"),
            (
                "https://eyJhUnTr2abcdefghijk.hUnTr2.y/v2",
                "https://********/v2",
            ),
            ("Ym9iOlMzY3JldA==", "********"),
            ("-----BEGIN X-----\nS", "********"),
        ] {
            assert_eq!(shown_url(text), shown, "{text}");
        }
        for text in [
            "https://h/repository/pypi-docker-hosted-internal/v2",
            "https://npm_mirror-production-eu/v2",
            "npm_mirror-production-eu",
            "sk-mirror-production-frankfurt",
            "ClusterProvisioner2024Registry",
            "https://h/ClusterProvisioner2024Registry",
        ] {
            assert_eq!(shown_url(text), text);
        }
    }

    #[test]
    fn pem_and_tokens_are_hidden_in_names() {
        assert_eq!(shown_name("-----BEGIN X-----\nS"), "\"********\"");
        assert_eq!(
            shown_name("ghp_0123456789abcdefABCDEF012345678901"),
            "\"********\""
        );
        assert_eq!(shown_name("ghp_mirror"), "ghp_mirror");
    }

    #[test]
    fn what_is_compared_keeps_all_but_user_information() {
        assert_eq!(
            without_user_information("https://u:p@h/x?y#z"),
            "https://h/x?y#z"
        );
        assert_eq!(
            without_user_information("https://h/@x?y@z"),
            "https://h/@x?y@z"
        );
    }
}
