//! What is said about the content of a node's files: codes, severities and places.
//!
//! A finding is data. `Err` is for I/O and broken promises; whatever an operator wrote into a file ends here. The
//! table of all codes is in this module, and a code that is not in the table does not exist.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the record.
    Note,
    /// Someone should look, nothing is in the way.
    Warning,
    /// Nothing is written until it is decided or mended.
    Error,
}

/// What an operator can do about an error besides editing the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the file has to be mended.
    HandEdit,
    /// `--allow CODE`, which does what the text says.
    Allow(&'static str),
    /// Another option, which the text names.
    Option(&'static str),
}

/// One row of the table of findings.
#[derive(Debug)]
pub struct Code {
    /// The word that names it, in messages and for `--allow`.
    pub name: &'static str,
    /// Its weight before any decision.
    pub severity: Severity,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// How an error is decided.
    pub decision: Decision,
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Code {}

/// Declares the codes and the table of them all in one place.
macro_rules! codes {
    ($($constant:ident $name:literal $severity:ident $decision:expr, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Code = Code {
                name: $name,
                severity: Severity::$severity,
                meaning: $meaning,
                decision: $decision,
            };
        )*
        /// Every code, sorted by name.
        pub static ALL: &[&Code] = &[$(&$constant),*];
    };
}

use Decision::{Allow, HandEdit, Option as Choose};

codes! {
    BUILT_IN_CONFIG_PATH "built-in-config-path" Warning HandEdit,
        "without config_path, newer containerd reads /etc/containerd/certs.d by itself: what is there comes alive";
    BYTE_ORDER_MARK "byte-order-mark" Error
        Allow("migrates and keeps the mark; containerd 2.x will not start with it"),
        "the file begins with a byte order mark, with which containerd 2.x does not start";
    CA_WITHOUT_CERTIFICATE "ca-without-certificate" Warning HandEdit,
        "a CA file that holds no certificate is left out: ignored today, in a hosts file it would fail every pull";
    CERTIFICATE_DIRECTORY "certificate-directory" Error
        Choose("--existing keep: what the directory gives is kept; --existing replace: the settings decide"),
        "a directory without a hosts.toml in the certs directory would change pulls";
    CERTIFICATE_FILE_MISSING "certificate-file-missing" Warning HandEdit,
        "a certificate or key file is not there or cannot be read; the setting is carried as written";
    CERTIFICATE_WITHOUT_KEY "certificate-without-key" Error
        Allow("leaves the lone file out; pulls that fail today then work without a client certificate"),
        "a client certificate without its key, or a key alone, fails every pull through this host on containerd 1.x";
    CERTS_DIR_CONTRADICTS_CONFIG_PATH "certs-dir-contradicts-config-path" Error
        Choose("leave --certs-dir out, or name the directory that config_path names"),
        "--certs-dir names another directory than config_path";
    CHANGED_SINCE_APPLY "changed-since-apply" Error
        Allow("lets rollback and recovery overwrite what somebody changed since the run; the journal keeps it"),
        "a file is neither what a run wrote nor what was there before it";
    COMMENT_DROPPED "comment-dropped" Note HandEdit,
        "a comment goes away with an entry that gets no hosts file";
    CRI_DISABLED "cri-disabled" Warning HandEdit,
        "CRI is in disabled_plugins, so that the registry settings have no effect";
    DEAD_CONFIG_KEY "dead-config-key" Warning HandEdit,
        "TLS settings under a name that no endpoint has; they have no effect and go";
    DEAD_CREDENTIALS "dead-credentials" Warning HandEdit,
        "credentials that containerd never uses, today or afterwards; they stay";
    DEAD_MIRROR_KEY "dead-mirror-key" Warning HandEdit,
        "a mirror under a name that no image has; it has no effect and goes";
    DISCARDED_HOSTS_FILE "discarded-hosts-file" Warning HandEdit,
        "a hosts file that containerd discards, so that it counts for nothing";
    EXISTING_HOSTS_FILE "existing-hosts-file" Error
        Choose("--existing keep: the file decides; --existing replace: the settings that are in effect today decide"),
        "a hosts file that is already in the certs directory would change pulls";
    GENERATED_FILE "generated-file" Warning HandEdit,
        "something else writes this file: if it renders mirrors again, CRI fails at its next restart";
    GO_TEMPLATE "go-template" Error HandEdit,
        "the file is a template, not the configuration that is made of it";
    IMPORT_MISSING "import-missing" Error
        Allow("plans as if the file were empty; containerd does not start without it"),
        "an imported file is not there, so that containerd does not start";
    INERT_SECTION "inert-section" Warning HandEdit,
        "registry settings in a section that no containerd from --from to --to reads; they stay";
    INTERMEDIATE_VERSION "intermediate-version" Error
        Allow("accepts that the versions named pull differently"),
        "a containerd version between --from and --to would pull differently";
    INVALID_PLUGIN_ID "invalid-plugin-id" Error HandEdit,
        "a plugin name that containerd 1.x does not accept in a version-2 file: it does not start";
    INVALID_TOML "invalid-toml" Error HandEdit,
        "the file is not valid TOML";
    IPV6_ENDPOINT_NOT_LAST "ipv6-endpoint-not-last" Error
        Allow("writes the table; containerd 1.x then ignores the whole hosts file"),
        "containerd 1.x cannot read a hosts file with an IPv6 address in a table name";
    KEY_CASE "key-case" Error HandEdit,
        "a key whose capitals or escapes make one containerd read it and another not";
    LINKED_HOSTS_FILE "linked-hosts-file" Error HandEdit,
        "several registries share one hosts file through a link, but need different ones";
    MIRRORS_BESIDE_CONFIG_PATH "mirrors-beside-config-path" Warning HandEdit,
        "with mirrors and config_path both set CRI does not load; the mirrors are carried";
    MISSPELT_TABLE "misspelt-table" Warning HandEdit,
        "a table that looks like registry settings under a name that no containerd reads; it stays";
    MIXED_VERSIONS "mixed-versions" Error
        Allow("accepts what the containerd versions named make of the files"),
        "imported files of another version than the main file, which containerd versions read differently";
    NO_USABLE_ENDPOINT "no-usable-endpoint" Error
        Allow("leaves the unusable endpoints out, so that the registry itself is asked"),
        "no host is left for this name: every pull fails today";
    NOT_UTF8 "not-utf8" Error HandEdit,
        "the file is not UTF-8, which TOML and containerd 2.x require";
    OTHER_PLUGIN_ID "other-plugin-id" Error
        Allow("removes the registry settings that --from does not read; the journal keeps them"),
        "registry settings under the CRI plugin's name of another file version, live on one containerd and inert on another";
    OVERRIDDEN_SETTING "overridden-setting" Note HandEdit,
        "a file that is read later sets the same again, so that this one has no effect";
    OVERRIDE_PATH_UNSUPPORTED "override-path-unsupported" Error
        Allow("writes override_path, which containerd 1.5 ignores"),
        "containerd 1.5 has no override_path, without which an endpoint's path cannot be kept";
    PATH_WITHOUT_V2 "path-without-v2" Warning HandEdit,
        "an endpoint whose path has no /v2 is asked without it, today and afterwards; most registries answer 404";
    PROOF_FAILED "proof-failed" Error HandEdit,
        "the planned files would not give the same pulls";
    PULL_SERVICE_CHANGES "pull-service-changes" Note HandEdit,
        "without legacy settings containerd 2.1 and later pull through the transfer service";
    RELATIVE_CERTIFICATE_PATH "relative-certificate-path" Warning HandEdit,
        "a relative certificate path is made absolute against /, where containerd runs";
    RELATIVE_CONFIG_PATH "relative-config-path" Warning HandEdit,
        "a relative config_path is made absolute against /, where containerd runs";
    RELATIVE_IMPORT_PATTERN "relative-import-pattern" Error HandEdit,
        "a relative pattern in imports, which older containerd looks up in its working directory";
    REPEATED_ENDPOINT "repeated-endpoint" Note HandEdit,
        "an endpoint that stands twice is tried once, where it stands first";
    SAME_AS_DEFAULT "same-as-default" Note HandEdit,
        "what is set is what containerd does anyway; no hosts file is needed";
    SECRET_COMMENT "secret-comment" Note HandEdit,
        "a comment that looks like a secret is not moved into a hosts file";
    SECTION_SHADOWED "section-shadowed" Error
        Allow("removes the registry settings that --from does not read; the journal keeps them"),
        "registry settings that imports make inert on one containerd and live on another";
    SEVERAL_CONFIG_PATHS "several-config-paths" Error
        Choose("--existing keep: what the other directories give today is written into the first one; --existing replace: the settings decide"),
        "config_path names several directories, which containerd 2.1 and later do not find";
    SHADOWED_DIRECTORY "shadowed-directory" Warning HandEdit,
        "a directory in the certs directory that another spelling of its name hides";
    SKIP_VERIFY_ON_HTTP_ENDPOINT "skip-verify-on-http-endpoint" Note HandEdit,
        "insecure_skip_verify for an http endpoint is left out: newer containerd would try HTTPS first";
    TLS_BESIDE_CONFIG_PATH "tls-beside-config-path" Warning HandEdit,
        "with configs.*.tls and config_path both set containerd 1.x does not load CRI; the settings are carried";
    TLS_IGNORED_TODAY "tls-ignored-today" Warning HandEdit,
        "containerd 2.x ignores configs.*.tls; the settings are carried as 1.x meant them";
    TLS_ON_HTTP_ENDPOINT "tls-on-http-endpoint" Warning HandEdit,
        "certificates for an http endpoint are left out; they only matter where it redirects to https";
    TOML_DIALECT "toml-dialect" Error
        Allow("migrates and keeps the text; the containerd named does not start with it"),
        "a way to write TOML that one containerd reads and another does not";
    UNKNOWN_CREDENTIAL_KEY "unknown-credential-key" Warning HandEdit,
        "a key beside credentials that containerd does not know; it stays, without effect";
    UNKNOWN_KEY "unknown-key" Error
        Allow("drops the key; the old file keeps it"),
        "a key that containerd does not know, in an entry that goes away";
    UNPARSABLE_AUTHS_KEY "unparsable-auths-key" Error HandEdit,
        "a name in registry.auths that containerd cannot parse: CRI does not load";
    UNPARSABLE_ENDPOINT "unparsable-endpoint" Error
        Allow("leaves the endpoint out; pulls that fail today then go to the other hosts"),
        "an endpoint that containerd cannot parse, so that every pull of this name fails today";
    UNREACHABLE_ENDPOINT "unreachable-endpoint" Warning HandEdit,
        "an endpoint without a host, or with a scheme other than http and https, never answers and is left out";
    UNREADABLE_DIRECTORY "unreadable-directory" Error HandEdit,
        "containerd cannot read the directory of a registry, so that its pulls would fail";
    UNSUPPORTED_VERSION "unsupported-version" Error HandEdit,
        "the file's version is not 1, 2, 3 or 4";
    VERSION_1 "version-1" Error
        Choose("--v1 convert: give every plugin its version-2 name; --v1 keep: migrate in place"),
        "containerd 2.0 to 2.2 drop the whole CRI section of a version-1 file";
    VERSION_1_SETTING "version-1-setting" Warning HandEdit,
        "a setting of a version-1 file that containerd 2.x does not read under any name";
    VERSION_MISSING "version-missing" Error
        Allow("removes the registry settings that --from does not read; the journal keeps them"),
        "the file has registry settings but no version, which containerd versions read differently";
    VERSION_NEWER_THAN_KNOWN "version-newer-than-known" Warning HandEdit,
        "a containerd newer than this program knows is taken as the newest known one";
    VERSION_NOT_READ "version-not-read" Error
        Choose("name the containerd versions that read this file with --from and --to"),
        "one of the two containerd versions does not read a config.toml of this version";
    WILDCARD_UNSUPPORTED "wildcard-unsupported" Error
        Allow("writes _default, which containerd before 1.6.17 does not look up"),
        "containerd before 1.6.17 has no _default directory, without which mirrors.\"*\" cannot be kept";
    WRONG_TYPE "wrong-type" Error HandEdit,
        "a value of the wrong type, with which containerd does not start";
}

/// The code with this name.
pub fn code(name: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.name == name)
}

/// A file that findings point into, by its number in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub usize);

/// A range of bytes in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The bytes.
    pub range: Range<usize>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// One thing that is said about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which row of the table.
    pub code: &'static Code,
    /// Its weight here: less than the code's if an operator has accepted it.
    pub severity: Severity,
    /// What is the matter, as a phrase.
    pub message: String,
    /// Where, if it is about a place in a file.
    pub place: Option<Place>,
    /// What to do, or what is done.
    pub help: String,
}

/// Where a finding's place begins.
type Start = (FileId, usize);

/// The findings of a run, and what the operator has accepted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    /// What was said where, so that nothing is said twice.
    seen: HashSet<(&'static str, Option<Start>, String)>,
    allowed: BTreeSet<&'static str>,
}

impl Findings {
    /// An empty list; findings with one of the codes `allowed` do not stand in the way.
    pub fn new(allowed: impl IntoIterator<Item = &'static Code>) -> Self {
        Self {
            allowed: allowed.into_iter().map(|code| code.name).collect(),
            ..Self::default()
        }
    }

    /// Whether the operator accepts this code.
    pub fn allows(&self, code: &'static Code) -> bool {
        self.allowed.contains(code.name)
    }

    /// Adds a finding; the same one at the same place is not repeated.
    pub fn add(
        &mut self,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let accepted = code.severity == Severity::Error && self.allows(code);
        let finding = Finding {
            code,
            severity: if accepted {
                Severity::Warning
            } else {
                code.severity
            },
            message: without_control_characters(&message.into()),
            place: place.into(),
            help: without_control_characters(&help.into()),
        };
        let place = finding
            .place
            .as_ref()
            .map(|place| (place.file, place.range.start));
        if self
            .seen
            .insert((code.name, place, finding.message.clone()))
        {
            self.found.push(finding);
        }
    }

    /// Adds a finding that an option of its own has decided.
    pub fn add_decided(
        &mut self,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(code, place, message, help);
        if let Some(finding) = self.found.last_mut()
            && finding.code == code
        {
            finding.severity = finding.severity.min(Severity::Warning);
        }
    }

    /// Whether this is said of this place.
    pub fn has(&self, code: &'static Code, place: &Place) -> bool {
        let mut found = self.found.iter();
        found.any(|finding| finding.code == code && finding.place.as_ref() == Some(place))
    }

    /// Whether something stands in the way of writing.
    pub fn refused(&self) -> bool {
        self.found
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// The findings by file and place; those without a place come last.
    pub fn sorted(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.found.iter().collect();
        findings.sort_by_key(|finding| {
            let place = finding.place.as_ref();
            let position = place.map(|place| (place.file, place.range.start, place.range.end));
            (place.is_none(), position)
        });
        findings
    }
}

/// Text from a file may hold anything; on a terminal or in a ticket a line is a line.
pub fn without_control_characters(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_unique_and_says_what_it_must() {
        assert!(
            ALL.is_sorted_by(|a, b| a.name < b.name),
            "sorted by name, each once"
        );
        for code in ALL {
            assert!(
                code.name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                code.name
            );
            assert!(
                !code.meaning.ends_with('.') && !code.meaning.is_empty(),
                "{}",
                code.name
            );
            assert!(
                code.severity == Severity::Error || code.decision == HandEdit,
                "{}",
                code.name
            );
        }
    }

    #[test]
    fn an_accepted_error_is_a_warning_and_no_other_one() {
        let mut findings = Findings::new([&UNKNOWN_KEY]);
        findings.add(&UNKNOWN_KEY, None, "k", "");
        assert!(!findings.refused());
        findings.add(&WRONG_TYPE, None, "t", "");
        assert!(findings.refused());
        findings.add(&WRONG_TYPE, None, "t", "");
        assert_eq!(findings.sorted().len(), 2);
    }
}
