//! Which part of a URL or a host name is secret: user information, query and fragment. Host names, ports and paths are
//! not: they are what is reviewed.

use std::ops::Range;

use super::{MASK, words};
use crate::go::url;
use crate::toml::edit::quote;

/// The ranges of `text`, a URL or a host with or without a scheme, that are not shown. Sorted, not overlapping.
///
/// User information ends where Go's URL parser says that the authority ends: `https://good.example/proxy/@team` has
/// none. Of a text whose authority Go refuses nobody knows where a password ends; with an at sign anywhere, all of it
/// behind the scheme is hidden.
pub(super) fn hidden(text: &str) -> Vec<Range<usize>> {
    let start = match text.find("://") {
        Some(at) => at + "://".len(),
        None if text.starts_with("//") => "//".len(),
        None => 0,
    };
    let rest = text.get(start..).unwrap_or_default();
    let fragment = rest.find('#').unwrap_or(rest.len());
    let before_fragment = rest.get(..fragment).unwrap_or_default();
    let query = before_fragment.find('?').unwrap_or(fragment);
    let before_query = rest.get(..query).unwrap_or_default();
    let authority = before_query.split('/').next().unwrap_or_default();
    let mut ranges = Vec::new();
    if let Some(at) = authority.rfind('@') {
        if at > 0 {
            ranges.push(start..start + at);
        }
    } else if (rest.contains('@') || rest.contains("%40")) && !is_authority(authority) {
        return std::iter::once(start..text.len()).collect();
    }
    // What follows the sign, which itself is shown.
    for (sign, end) in [(query, fragment), (fragment, rest.len())] {
        if sign + 1 < end {
            ranges.push(start + sign + 1..start + end);
        }
    }
    let path = query.min(authority.len())..query;
    let base = start + path.start;
    let tokens = words::tokens(rest.get(path).unwrap_or_default());
    ranges.extend(tokens.map(|token| base + token.start..base + token.end));
    ranges.sort_by_key(|range| range.start);
    ranges
}

fn is_authority(authority: &str) -> bool {
    url::parse(&format!("http://{authority}"), false).is_ok()
}

/// A name as a part of a setting's path, without user information: bare where TOML allows it and it has no dot.
pub fn shown_name(name: &str) -> String {
    let name = &*shown_url(name);
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
    let mut shown = String::with_capacity(text.len());
    let mut copied = 0;
    for range in hidden(text) {
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
        assert_eq!(shown_url("https://h:port/x"), "https://h:port/x");
    }

    #[test]
    fn tokens_in_paths_are_hidden() {
        assert_eq!(
            shown_url("https://h/ghp_0123456789abcdefABCDEF/x"),
            "https://h/********/x"
        );
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
