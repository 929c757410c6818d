//! Who decides what every namespace must have after the migration: the legacy settings, or a hosts file that exists.

use super::namespaces::{AllWanted, Decider, Wanted};
use super::planner::{InEffect, Planner};
use super::settings::{check_no_host, check_trouble};
use crate::containerd::host::{Pulls, default_host};
use crate::containerd::hosts_file::directory::{DEFAULT, RegistryDirectory};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{Legacy, LegacyHost, Origin, Trouble, WILDCARD};
use crate::containerd::release::{Generation, ranges};
use crate::finding::{self, Findings};
use crate::node::NodePath;
use crate::read::Existing;

/// The two lists that a decision is between.
struct Both<'a> {
    settings: &'a Pulls,
    file: &'a Pulls,
    /// On which containerd, if not on the one that runs.
    on: String,
    /// The name that stands for every registry that nobody named, if it is about those.
    unnamed: Option<&'a str>,
}

impl std::fmt::Display for Both<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [settings, file] = [self.settings, self.file].map(|pulls| pulls.shown(self.unnamed));
        write!(
            formatter,
            "the settings give {settings}; the file gives {file}{}",
            self.on
        )
    }
}

/// The hosts that each interesting namespace must have.
pub(crate) fn wanted(planner: &Planner<'_>, findings: &mut Findings) -> AllWanted {
    let behaviour = planner.behaviour();
    let nobody = planner.from.last.is_none()
        || planner.in_effect == InEffect::Settings && !planner.migrates();
    let (default_decider, default_hosts) = match planner.namespaces.last() {
        Some(unnamed) if !nobody => default_directory(planner, &unnamed.name, findings),
        _ => (Decider::Nobody, None),
    };
    // Where the operator accepts that, the daemon that is there may start all the same.
    let refused = planner.from.text_refused().map(|reason| reason.code);
    let not_started = refused.filter(|code| !findings.allows(code));
    let mut namespaces = Vec::new();
    for namespace in &planner.namespaces {
        let name = &namespace.name;
        let resolved = planner.legacy().resolve(name, behaviour, true);
        check_trouble(planner, &resolved.trouble, findings);
        let mut hosts = resolved.hosts.clone();
        if hosts.is_empty() {
            check_no_host(name, resolved.mirror, findings);
            hosts = Legacy::default().resolve(name, behaviour, true).hosts;
        }
        let settings = Pulls::Hosts(hosts.iter().map(|host| host.host.clone()).collect());
        let decider = if nobody {
            Decider::Nobody
        } else {
            decider(planner, name, &settings, default_decider, findings)
        };
        let before = match planner.in_effect {
            InEffect::Settings | InEffect::HostsFiles => planner.from.pulls(name),
            InEffect::Nothing(_) => Pulls::Fail("CRI does not load".to_owned()),
        };
        let after = match decider {
            Decider::Nobody => before.clone(),
            Decider::HostsFile => reader::pulls(&planner.certs, name, behaviour),
            Decider::KeptFile => in_file(planner, name, &before).0,
            Decider::Settings => settings,
        };
        let before = match &not_started {
            Some(_) => Pulls::Fail("containerd does not start".to_owned()),
            None => before,
        };
        let changed = (!before.same(&after)).then(|| match (planner.in_effect, decider) {
            (InEffect::Nothing(code), _) => code,
            (InEffect::HostsFiles, Decider::Settings)
                if planner.registry().config_paths().len() > 1 =>
            {
                &finding::SEVERAL_CONFIG_PATHS
            }
            (_, Decider::HostsFile | Decider::KeptFile) => &finding::EXISTING_HOSTS_FILE,
            (_, Decider::Settings | Decider::Nobody) => {
                match resolved.trouble.iter().find(|trouble| trouble.fails()) {
                    Some(Trouble::Unparsable { .. }) => &finding::UNPARSABLE_ENDPOINT,
                    Some(_) => &finding::CERTIFICATE_WITHOUT_KEY,
                    None if resolved.hosts.is_empty() => &finding::NO_USABLE_ENDPOINT,
                    None if planner.in_effect == InEffect::HostsFiles
                        && planner.inputs.options.existing == Existing::Replace =>
                    {
                        &finding::EXISTING_HOSTS_FILE
                    }
                    None if planner
                        .registry()
                        .configs
                        .iter()
                        .any(|config| config.tls.is_some()) =>
                    {
                        &finding::TLS_IGNORED_TODAY
                    }
                    None => &finding::PROOF_FAILED,
                }
            }
        });
        let changed = not_started.or(changed);
        namespaces.push(Wanted {
            name: name.clone(),
            unnamed: namespace.unnamed,
            before,
            after,
            changed,
            legacy: hosts,
            mirror: resolved.mirror.map(|mirror| mirror.name.value.clone()),
            decider,
            same_as_default: false,
        });
    }
    AllWanted {
        namespaces,
        default_hosts,
    }
}

/// Who decides for registries that nobody named, and the `_default` file to write for them.
fn default_directory(
    planner: &Planner<'_>,
    unnamed: &str,
    findings: &mut Findings,
) -> (Decider, Option<Vec<LegacyHost>>) {
    let behaviour = planner.behaviour();
    let resolved = planner.legacy().resolve(unnamed, behaviour, true);
    let wildcard = planner.legacy().mirror(WILDCARD).is_some();
    let hosts = || Some(resolved.hosts.clone());
    let Some(directory) = planner.certs.directories.get(DEFAULT) else {
        let endpoints = resolved
            .hosts
            .iter()
            .any(|host| host.origin != Origin::Default);
        return (
            Decider::Settings,
            if wildcard && endpoints { hosts() } else { None },
        );
    };
    let settings = resolved.usable();
    let same = planner.generations().all(|generation| {
        !generation.behaviour.default_directory
            || reader::pulls(&planner.certs, unnamed, &generation.behaviour).same(&settings)
    });
    if same {
        return (Decider::Settings, None);
    }
    if planner.in_effect != InEffect::Settings && !wildcard && stays_in_effect(planner, unnamed) {
        return (Decider::HostsFile, None);
    }
    let named = wildcard || directory.hosts_file.is_some();
    let (file, on) = in_file(planner, unnamed, &settings);
    let both = Both {
        settings: &settings,
        file: &file,
        on,
        unnamed: Some(unnamed),
    };
    if !file_decides(planner, DEFAULT, directory, named, &both, findings) {
        return (Decider::Settings, hosts());
    }
    (Decider::KeptFile, None)
}

/// Whether what the certs directory gives for `namespace`, whose settings nobody has named, is in effect today, or is
/// for each containerd what that or the one that runs makes of the node as it is. Else it comes alive by the
/// migration: a `config_path` of other directories leads to it, or one that is looked into in another way.
fn stays_in_effect(planner: &Planner<'_>, namespace: &str) -> bool {
    let behaviour = planner.behaviour();
    let certs = &planner.certs;
    let name = certs.lookup(namespace, behaviour);
    let directory =
        name.and_then(|name| Some((certs.directories.get(&name)?, certs.path.join(&name))));
    let is_read = directory.is_some_and(|(directory, path)| {
        let file = directory.hosts_file.as_ref();
        file.is_some_and(|file| reader::discarded(file, &path, behaviour).is_none())
    });
    let mut roots = planner.from.roots().into_iter();
    if is_read && roots.any(|root| NodePath::new(root) == certs.path) {
        return true;
    }
    let today = planner.from.pulls(namespace);
    planner.releases.iter().all(|release| {
        let behaviour = &release.generation.behaviour;
        let planned = reader::pulls(&planner.certs, namespace, behaviour);
        planned.same(&today) || planned.same(&release.sight.pulls(namespace))
    })
}

/// Who decides for `namespace`.
fn decider(
    planner: &Planner<'_>,
    namespace: &str,
    settings: &Pulls,
    default: Decider,
    findings: &mut Findings,
) -> Decider {
    let has_tls = [namespace, default_host(namespace)]
        .into_iter()
        .any(|host| {
            planner
                .legacy()
                .config(host)
                .is_some_and(|config| config.tls.is_some())
        });
    let named = planner.legacy().mirror(namespace).is_some() || has_tls;
    let Some(name) = planner.certs.own(namespace) else {
        if default == Decider::Settings || !named {
            return default;
        }
        // With settings of its own a namespace gets a file of its own, which hides `_default`. That is what it
        // has today, unless `_default` is in effect and only TLS settings are to be added.
        let adds_tls =
            planner.in_effect != InEffect::Settings && planner.legacy().mirror(namespace).is_none();
        if !adds_tls {
            return Decider::Settings;
        }
        return decide(planner, namespace, DEFAULT, settings, named, findings);
    };
    let same = planner.generations().all(|generation| {
        reader::pulls(&planner.certs, namespace, &generation.behaviour).same(settings)
    });
    if same {
        return Decider::Settings;
    }
    if planner.in_effect != InEffect::Settings && !named && stays_in_effect(planner, namespace) {
        return Decider::HostsFile;
    }
    decide(planner, namespace, &name, settings, named, findings)
}

/// Whether the directory `name` decides for `namespace`, or the settings, which give other pulls.
fn decide(
    planner: &Planner<'_>,
    namespace: &str,
    name: &str,
    settings: &Pulls,
    named: bool,
    findings: &mut Findings,
) -> Decider {
    let Some(directory) = planner.certs.directories.get(name) else {
        return Decider::Settings;
    };
    let (file, on) = in_file(planner, namespace, settings);
    let both = Both {
        settings,
        file: &file,
        on,
        unnamed: None,
    };
    match file_decides(planner, name, directory, named, &both, findings) {
        true => Decider::KeptFile,
        false => Decider::Settings,
    }
}

/// What the certs directory gives for `namespace`, as the first containerd reads it for which that is not `other`,
/// and which that is where it is not the one that runs.
fn in_file(planner: &Planner<'_>, namespace: &str, other: &Pulls) -> (Pulls, String) {
    let read = |g: &Generation| reader::pulls(&planner.certs, namespace, &g.behaviour);
    let mut generations = planner.generations().map(|g| (g, read(g)));
    match generations.find(|(_, pulls)| !pulls.same(other)) {
        Some((generation, pulls)) if !generation.versions.contains(&planner.inputs.from) => {
            let on = format!(" on containerd {}", ranges(generation.versions.clone()));
            (pulls, on)
        }
        Some((_, pulls)) => (pulls, String::new()),
        None => {
            let behaviour = planner.behaviour();
            let pulls = reader::pulls(&planner.certs, namespace, behaviour);
            (pulls, String::new())
        }
    }
}

/// A directory gives other pulls than the settings: `--existing` decides, or nobody yet.
fn file_decides(
    planner: &Planner<'_>,
    name: &str,
    directory: &RegistryDirectory,
    named: bool,
    both: &Both<'_>,
    findings: &mut Findings,
) -> bool {
    let path = planner.certs.path.join(name);
    if let Some(reason) = &directory.unreadable {
        findings.add(
            &finding::UNREADABLE_DIRECTORY,
            None,
            format!("{reason}, so that containerd would find no hosts file and fail every pull"),
            format!("move `{path}` out of the certs directory"),
        );
        return false;
    }
    if directory
        .hosts_file
        .as_ref()
        .is_none_or(|file| file.is_empty())
    {
        // Where the settings name it, the hosts.toml that is written decides, and the certificates beside it are
        // not read: that is what it was until now.
        if named && planner.in_effect == InEffect::Settings {
            return false;
        }
        let message =
            format!("`{path}` has no hosts.toml, but as a directory it changes pulls: {both}");
        let help = [
            "containerd reads certificates there and looks no further; --existing keep: the directory decides; \
             --existing replace: a hosts.toml with what the settings give is written into it",
            "it is kept, and decides",
            "a hosts.toml is written into it",
        ];
        let code = &finding::CERTIFICATE_DIRECTORY;
        return planner.existing_decides(code, None, message, help, findings);
    }
    let reason = match planner.in_effect {
        InEffect::HostsFiles | InEffect::Nothing(_) if named => {
            "beside legacy settings for the same name"
        }
        _ => "without effect until now",
    };
    let mut carried = planner.carried.iter();
    let is_there = match carried.find(|file| file.path == directory.hosts_path()) {
        Some(carried) => format!("`{}/hosts.toml`, which is to be kept,", carried.from),
        None => format!("`{path}/hosts.toml` is there, {reason}, and"),
    };
    let message = format!("{is_there} gives other pulls than the settings: {both}");
    let help = [
        "--existing keep: the file decides; --existing replace: what the settings give is written over it",
        "it is kept, and decides",
        "it is written over; the old file stays in the diff",
    ];
    let code = &finding::EXISTING_HOSTS_FILE;
    planner.existing_decides(code, None, message, help, findings)
}
