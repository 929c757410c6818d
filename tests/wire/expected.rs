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
    /// What the version of the daemon begins with.
    version: &'static str,
    reason: &'static str,
}

const EXPECTED: &[Expected] = &[];

/// What is expected of one case, and what of it was seen.
pub(crate) struct Expectations(Vec<(&'static Expected, bool)>);

impl Expectations {
    pub(crate) fn of(case: &str) -> Expectations {
        let of_case = EXPECTED.iter().filter(|expected| expected.case == case);
        Expectations(of_case.map(|expected| (expected, false)).collect())
    }

    /// Whether a difference in this namespace on this daemon is meant to be.
    pub(crate) fn covers(&mut self, namespace: &str, version: &str) -> bool {
        let mut covers = false;
        for (expected, seen) in &mut self.0 {
            if expected
                .namespace
                .is_none_or(|expected| expected == namespace)
                && version.starts_with(expected.version)
            {
                *seen = true;
                covers = true;
            }
        }
        covers
    }

    pub(crate) fn unseen(&self) -> Vec<String> {
        let unseen = self.0.iter().filter(|(_, seen)| !seen);
        let text = |expected: &Expected| {
            format!(
                "{} on {}*: {}",
                expected.case, expected.version, expected.reason
            )
        };
        unseen.map(|(expected, _)| text(expected)).collect()
    }
}
