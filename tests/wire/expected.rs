//! The differences that are meant to be, in one place, each with its reason. Everything else fails,
//! and so does an entry that is not seen, unless a daemon throws dice.
//!
//! Two more are not looked at anywhere. Registries on loopback that no setting names turn from http
//! to HTTPS first under a `config_path` (docs/containerd.md §2.10, §8.3): they are not pulled from. And
//! `registry.headers` on requests to token servers, which 2.1 sends and 1.x does not, with legacy
//! settings as without (docs/containerd.md §1.7): they are not recorded there.

/// One difference that is meant to be.
struct Expected {
    /// The run of a fixture, by the last component of its name.
    case: &'static str,
    /// The namespace whose pulls differ, or all of them.
    namespace: Option<&'static str>,
    /// What the daemons' versions begin with, as [`Containerd::build`] writes them.
    ///
    /// [`Containerd::build`]: crate::daemon::Containerd::build
    versions: &'static [&'static str],
    from: From,
    reason: &'static str,
}

/// What a run differs from, each with those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    /// The node before. What was predicted by hand and by the model is still what happens.
    Before,
    /// What was written by hand, too, for another version. The model still predicts what happens.
    ByHand,
    /// The model, too: it is not this daemon's behaviour.
    Prediction,
}

const EVERY: &[&str] = &[""];
/// Those that migrate each file by itself.
const FROM_2_3: &[&str] = &["2.3.", "2.4."];
/// Debian builds its 2.1.9 with a newer go-toml than containerd's release has.
const DEBIAN_2: &[&str] = &["2.1.9-debian"];
const DEBIAN_2_READS: &str = "Debian's 2.1.9 links a newer go-toml, which reads this";

const EXPECTED: &[Expected] = &[
    Expected {
        case: "certificate-files-unreadable",
        namespace: None,
        versions: EVERY,
        from: From::Prediction,
        reason: "every pull fails for want of the file; the views know settings, not what is in files",
    },
    Expected {
        case: "imports-toml-dialect-in-a-drop-in",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "inline-table-on-several-lines",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "inline-table-on-several-lines-skipped",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "inline-table-on-several-lines-on-1-x",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "several-paths-discarded-file-keep",
        namespace: Some("docker.io"),
        versions: &["1.6.", "1.7.2"],
        from: From::ByHand,
        reason: "1.x before 1.7.32 discards the file that is kept; the list is what comes",
    },
    Expected {
        case: "several-paths-discarded-file-replace",
        namespace: Some("docker.io"),
        versions: EVERY,
        from: From::Before,
        reason: "what is kept is what 1.7.24 does, which discards the file; 1.7.32 and later read it before",
    },
    Expected {
        case: "version-missing-dormant-keep",
        namespace: Some("docker.io"),
        versions: EVERY,
        from: From::ByHand,
        reason: "the list is what comes with 2.3, which reads the file and has a config_path built in",
    },
    Expected {
        case: "upgrade-changes-a-hosts-file",
        namespace: Some("quay.io"),
        versions: &["1.7.", "2."],
        from: From::Prediction,
        reason: "the host answers over TLS here, so that the second try over HTTP is not needed",
    },
    Expected {
        case: "version-1-kept-to-2-1",
        namespace: Some("docker.io"),
        versions: &["1."],
        from: From::ByHand,
        reason: "the list is what comes with 2.1, which drops the section",
    },
    Expected {
        case: "toml-dialect-goes-with-its-section",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "toml-trailing-comma",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "toml-trailing-comma-from-2-4",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "imports-glob-relative",
        namespace: None,
        versions: &["1.6."],
        from: From::ByHand,
        reason: "1.6.20 looks for the pattern elsewhere; the plan is for 1.7",
    },
    Expected {
        case: "imports-registry-in-capitals-beside",
        namespace: None,
        versions: &["1."],
        from: From::Prediction,
        reason: "1.x takes one of the two spellings; the views take neither, and the plan is for 2.x",
    },
    Expected {
        case: "loopback-from-1-6-8",
        namespace: None,
        versions: EVERY,
        from: From::Before,
        reason: "the behaviour kept is 1.6.8's, for which this address was not loopback",
    },
    Expected {
        case: "ignored-beside-a-hosts-file",
        namespace: Some("h.example"),
        versions: EVERY,
        from: From::Prediction,
        reason: "the host is asked again with its certificate verified, which ends before there is a path",
    },
    Expected {
        case: "toml-dialect-nothing-pending-skipped",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "toml-dialect-nothing-pending",
        namespace: None,
        versions: DEBIAN_2,
        from: From::Prediction,
        reason: DEBIAN_2_READS,
    },
    Expected {
        case: "two-roots-second-not-utf8",
        namespace: Some("quay.io"),
        versions: &["1."],
        from: From::Prediction,
        reason: "1.x reads the file although it is no TOML; the views do not, and the plan is refused",
    },
    Expected {
        case: "host-that-cannot-be-dialled",
        namespace: Some("docker.io"),
        versions: EVERY,
        from: From::Prediction,
        reason: "no connection can be made to such hosts; the recorder is a proxy, which takes every name",
    },
    Expected {
        case: "name-too-long",
        namespace: None,
        versions: &["1.6."],
        from: From::Prediction,
        reason: "1.6 refuses images whose name has more than 255 characters with the registry's; later lines count the rest alone",
    },
    Expected {
        case: "discarded-control-character-from-2",
        namespace: Some("ghcr.io"),
        versions: &["1."],
        from: From::Prediction,
        reason: "1.x reads the file although it is no TOML; the views do not, and on a node that runs 1.x the plan is refused",
    },
    Expected {
        case: "toml-escape-in-header",
        namespace: None,
        versions: &["1."],
        from: From::Prediction,
        reason: "1.x takes the escape literally; the views do not, and the plan is refused where it matters",
    },
    Expected {
        case: "toml-escape-in-header-from-2",
        namespace: None,
        versions: &["1."],
        from: From::Prediction,
        reason: "1.x takes the escape literally; the views do not, and the plan is refused where it matters",
    },
    Expected {
        case: "version-1-disabled-content",
        namespace: None,
        versions: EVERY,
        from: From::Prediction,
        reason: "the content store is disabled, without which CRI does not load; the views know CRI's own plugins only",
    },
];

/// What happens at some boots only: 2.3 and later rename the sections of a version-1 file in the order of a Go map, and
/// where two get one name the last one wins. That is the later one of the file at seven boots of eight or so. Plans for
/// such nodes are refused (`same-plugin-twice`).
const SOMETIMES: &[Expected] = &[
    Expected {
        case: "both-names-version-1",
        namespace: Some("reg.example:5000"),
        versions: FROM_2_3,
        from: From::Prediction,
        reason: "one of the two sections is in effect, by chance; the views take the one with the short name",
    },
    Expected {
        case: "both-names-version-1-to-2-2",
        namespace: Some("reg.example:5000"),
        versions: FROM_2_3,
        from: From::Prediction,
        reason: "one of the two sections is in effect, by chance; the views take the one with the short name",
    },
    Expected {
        case: "both-names-empty-registry",
        namespace: Some("docker.io"),
        versions: FROM_2_3,
        from: From::Prediction,
        reason: "the empty registry table below the short name replaces the other, by chance; the views take the other",
    },
    Expected {
        case: "version-1-not-convertible",
        namespace: Some("docker.io"),
        versions: FROM_2_3,
        from: From::Prediction,
        reason: "one of the two sections is in effect, by chance; the views take the one with the short name",
    },
    Expected {
        case: "version-missing-both-cri-ids",
        namespace: Some("docker.io"),
        versions: FROM_2_3,
        from: From::Prediction,
        reason: "one of the two sections is in effect, by chance; the views take the one with the short name",
    },
];

/// The cases that have an entry.
pub(crate) fn cases() -> impl Iterator<Item = &'static str> {
    let all = EXPECTED.iter().chain(SOMETIMES);
    all.map(|expected| expected.case)
}

/// What is expected of one case, and what of it was seen.
pub(crate) struct Expectations {
    of_case: Vec<(&'static Expected, bool)>,
    sometimes: Vec<&'static Expected>,
}

impl Expectations {
    pub(crate) fn of(case: &str) -> Expectations {
        let of_case = EXPECTED.iter().filter(|expected| expected.case == case);
        let sometimes = SOMETIMES.iter().filter(|expected| expected.case == case);
        Expectations {
            of_case: of_case.map(|expected| (expected, false)).collect(),
            sometimes: sometimes.collect(),
        }
    }

    /// Whether a difference in this namespace on this daemon is meant to be.
    pub(crate) fn covers(&mut self, namespace: &str, version: &str, from: From) -> bool {
        let is_meant = |expected: &Expected| expected.covers(namespace, version, from);
        let mut covers = self.sometimes.iter().any(|expected| is_meant(expected));
        for (expected, seen) in &mut self.of_case {
            if is_meant(expected) {
                *seen = true;
                covers = true;
            }
        }
        covers
    }

    /// What did not happen although a daemon ran with which it should have.
    pub(crate) fn unseen(&self, versions: &[String]) -> Vec<String> {
        let due = |expected: &Expected| versions.iter().any(|version| expected.is_for(version));
        let unseen = self
            .of_case
            .iter()
            .filter(|(expected, seen)| !seen && due(expected));
        unseen
            .map(|(expected, _)| expected.reason.to_string())
            .collect()
    }
}

impl Expected {
    fn covers(&self, namespace: &str, version: &str, from: From) -> bool {
        let is_here = self.namespace.is_none_or(|expected| expected == namespace);
        is_here && self.is_for(version) && from <= self.from
    }

    fn is_for(&self, version: &str) -> bool {
        self.versions
            .iter()
            .any(|beginning| version.starts_with(beginning))
    }
}
