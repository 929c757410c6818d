//! Legacy settings beside a `config_path` that takes effect today.

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
    let kept = planner.inputs.kept_version();
    let carried = "they are carried into hosts files; the hosts files of other registries take effect as they are";
    if let (true, Some(mirror)) = (down, mirror) {
        findings.add(
            &finding::MIRRORS_BESIDE_CONFIG_PATH,
            mirror,
            if planner.registry().config_path.is_some() {
                format!("CRI of containerd {kept} does not load: `mirrors` and `config_path` are both set")
            } else {
                format!("CRI of containerd {kept} does not load: it has a built-in `config_path`, beside which it refuses `mirrors`")
            },
            carried,
        );
    }
    let reads_tls = planner.behaviour().reads_legacy_tls();
    if let (true, true, Some(tls)) = (down, reads_tls, &tls) {
        findings.add(
            &finding::TLS_BESIDE_CONFIG_PATH,
            tls.clone(),
            format!("CRI of containerd {kept} does not load: `configs.*.tls` and `config_path` are both set"),
            carried,
        );
    }
}
