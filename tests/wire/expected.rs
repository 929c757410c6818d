//! The differences that are meant to be, in one place, each with its reason. Everything else fails,
//! and so does an entry that is not seen.
//!
//! Two more are not looked at anywhere. Registries on loopback that no setting names turn from http
//! to HTTPS first under a `config_path` (semantics §2.10, §8.3): they are not pulled from. And
//! `registry.headers` on requests to token servers, which 2.1 sends and 1.x does not, with legacy
//! settings as without (semantics §1.7): they are not recorded there.

/// One difference that is meant to be.
struct Expected {
    /// The fixture.
    case: &'static str,
    /// The namespace whose pulls differ, or all of them.
    namespace: Option<&'static str>,
    /// What the versions of the daemons begin with.
    versions: &'static [&'static str],
    from: From,
    reason: &'static str,
}

/// What a run differs from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The node before. What was predicted by hand and by the model is still what happens.
    Before,
    /// What was predicted, too: it is not this daemon's behaviour.
    Prediction,
}

const EVERY: &[&str] = &[""];
/// They lose the whole CRI section of a version-1 file (semantics §5.2).
const LOSE_VERSION_1: &[&str] = &["2.0.", "2.1.", "2.2."];

const EXPECTED: &[Expected] = &[
    Expected {
        case: "bom-allowed",
        namespace: None,
        versions: &["2."],
        from: From::Prediction,
        reason: "2.x does not start with a byte order mark, which the operator allowed to stay",
    },
    Expected {
        case: "existing-kept",
        namespace: Some("docker.io"),
        versions: EVERY,
        from: From::Before,
        reason: "the operator kept a hosts file that says something else",
    },
    Expected {
        case: "existing-unnamed-kept",
        namespace: Some("ghcr.io"),
        versions: EVERY,
        from: From::Before,
        reason: "the operator kept a hosts file that was dormant",
    },
    Expected {
        case: "import-missing",
        namespace: None,
        versions: EVERY,
        from: From::Prediction,
        reason: "the import is elsewhere than in this tree: no daemon starts, before or after",
    },
    Expected {
        case: "loopback-from-1-6-8",
        namespace: None,
        versions: EVERY,
        from: From::Before,
        reason: "the behaviour kept is 1.6.8's, for which this address was not loopback",
    },
    Expected {
        case: "tls-from-2",
        namespace: None,
        versions: EVERY,
        from: From::Before,
        reason: "2.x ignores legacy TLS settings; they are carried as 1.x meant them",
    },
    Expected {
        case: "unparsable-endpoint-allowed",
        namespace: Some("docker.io"),
        versions: EVERY,
        from: From::Before,
        reason: "every pull of the namespace failed; the operator allowed to drop the endpoint",
    },
    Expected {
        case: "version-1-kept",
        namespace: None,
        versions: LOSE_VERSION_1,
        from: From::Prediction,
        reason: "the operator kept a version-1 file",
    },
    Expected {
        case: "version-1-wildcard-and-tls",
        namespace: None,
        versions: LOSE_VERSION_1,
        from: From::Prediction,
        reason: "the operator kept a version-1 file",
    },
    Expected {
        case: "version-3-tls",
        namespace: Some("reg.example"),
        versions: EVERY,
        from: From::Before,
        reason: "2.x ignores legacy TLS settings; they are carried as 1.x meant them",
    },
];

/// The cases that have an entry.
pub(crate) fn cases() -> impl Iterator<Item = &'static str> {
    EXPECTED.iter().map(|expected| expected.case)
}

/// What is expected of one case, and what of it was seen.
pub(crate) struct Expectations(Vec<(&'static Expected, bool)>);

impl Expectations {
    pub(crate) fn of(case: &str) -> Expectations {
        let of_case = EXPECTED.iter().filter(|expected| expected.case == case);
        Expectations(of_case.map(|expected| (expected, false)).collect())
    }

    /// Whether a difference in this namespace on this daemon is meant to be.
    pub(crate) fn covers(&mut self, namespace: &str, version: &str, from: From) -> bool {
        let mut covers = false;
        for (expected, seen) in &mut self.0 {
            if expected
                .namespace
                .is_none_or(|expected| expected == namespace)
                && expected.is_for(version)
                && (from == From::Before || expected.from == From::Prediction)
            {
                *seen = true;
                covers = true;
            }
        }
        covers
    }

    /// What did not happen although a daemon ran with which it should have.
    pub(crate) fn unseen(&self, versions: &[&str]) -> Vec<String> {
        let due = |expected: &Expected| versions.iter().any(|version| expected.is_for(version));
        let unseen = self
            .0
            .iter()
            .filter(|(expected, seen)| !seen && due(expected));
        unseen
            .map(|(expected, _)| expected.reason.to_string())
            .collect()
    }
}

impl Expected {
    fn is_for(&self, version: &str) -> bool {
        self.versions
            .iter()
            .any(|beginning| version.starts_with(beginning))
    }
}
