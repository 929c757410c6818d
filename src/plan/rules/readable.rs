//! Configurations that no plan can be made for.

use crate::containerd::loader::Startup;
use crate::containerd::release::list;
use crate::finding::{self, Findings};
use crate::plan::planner::Planner;

/// Whether the configuration cannot be looked at with the eyes of the containerd whose behaviour is kept, which is
/// said.
pub(crate) fn is_not_read(planner: &Planner<'_>, findings: &mut Findings) -> bool {
    let file_version = planner.inputs.file_version();
    if !(0..=4).contains(&file_version) {
        return true;
    }
    let unread = planner.verified().find(|release| {
        let newest = release.generation.behaviour.newest_file_version;
        // 1.x goes by the number that comes last, which may be a drop-in's.
        newest < file_version && newest < release.sight.version
    });
    if let Some(unread) = unread {
        let from = unread.is_from.then_some(planner.inputs.from);
        let versions = from.map_or_else(|| unread.targets.clone(), |from| vec![from]);
        findings.add(
            &finding::VERSION_NOT_READ,
            planner.config.version_place(),
            format!(
                "containerd {} does not read a config.toml of version {file_version}",
                list(&versions, "or")
            ),
            "set --from to the installed containerd, and --to to the target version",
        );
        return true;
    }
    if let Some(reason) = planner.from.auths_error() {
        findings.add(
            reason.code,
            reason.place,
            format!("CRI does not load: {}", reason.text),
            "write the name with its scheme: `https://` and the host",
        );
        return true;
    }
    // No migration removes the reason, and a plan for a daemon that does not start would mean nothing.
    matches!(
        planner.inputs.startup(&planner.from),
        Startup::DoesNotStart(reason) if reason.code.stays
    )
}
