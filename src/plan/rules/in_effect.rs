//! Legacy settings beside a `config_path` that takes effect today.

use crate::containerd::release::Major;
use crate::finding::{self, Findings};
use crate::plan::planner::{InEffect, Planner};

pub(crate) fn check_today(planner: &Planner<'_>, findings: &mut Findings) {
    let mirror = planner
        .registry()
        .mirrors
        .first()
        .map(|mirror| mirror.name.place.clone());
    let tls = planner
        .registry()
        .configs
        .iter()
        .find_map(|config| config.tls.as_ref());
    let tls = tls.map(|tls| tls.place.clone());
    let down = matches!(planner.in_effect, InEffect::Nothing(_));
    let carried =
        "they are carried into hosts files; hosts files for other registries count as they are";
    if let (true, Some(mirror)) = (down, mirror) {
        findings.add(
            &finding::MIRRORS_BESIDE_CONFIG_PATH,
            mirror,
            if planner.registry().config_path.is_some() {
                "CRI does not load today: `mirrors` and `config_path` are both set"
            } else {
                "CRI does not load today: containerd 2.2.0 and 2.2.1 have a `config_path` built in"
            },
            carried,
        );
    }
    let reads_tls = planner.behaviour().reads_legacy_tls();
    if let (true, true, Some(tls)) = (down, reads_tls, &tls) {
        findings.add(
            &finding::TLS_BESIDE_CONFIG_PATH,
            tls.clone(),
            "CRI does not load today: `configs.*.tls` and `config_path` are both set",
            carried,
        );
    }
    let mut tls = planner
        .registry()
        .configs
        .iter()
        .filter_map(|c| c.tls.as_ref());
    let tls = tls.find(|tls| tls.says_something());
    let tls = tls.map(|tls| tls.place.clone());
    if let (Some(tls), Major::Two) = (tls, planner.behaviour().major) {
        findings.add(
            &finding::TLS_IGNORED_TODAY,
            tls,
            format!("containerd {} ignores `configs.*.tls`", planner.inputs.from),
            "the settings are carried as containerd 1.x meant them: pulls get the CA and the certificates that \
             they lack today",
        );
    }
}
