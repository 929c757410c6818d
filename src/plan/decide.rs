//! Who decides what every namespace must have after the migration: the legacy settings, or a hosts file that exists.

use super::namespaces::{AllWanted, Decider, Wanted};
use super::planner::{InEffect, Planner, in_effect};
use super::settings::{check_no_host, check_trouble};
use crate::containerd::host::{Host, Pulls, Scheme, default_host};
use crate::containerd::hosts_file::difference::difference;
use crate::containerd::hosts_file::directory::{DEFAULT, RegistryDirectory};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{Legacy, LegacyHost, Origin, Trouble, WILDCARD};
use crate::containerd::release::{Behaviour, Generation, ranges};
use crate::finding::{self, Findings, Place};
use crate::node::NodePath;
use crate::question::Existing;

/// The two lists that a decision is between, of one registry.
struct Both<'a> {
    /// The directory in the certs directory.
    name: &'a str,
    settings: &'a Pulls,
    file: Pulls,
    /// The first release on which they differ.
    behaviour: Behaviour,
    /// Which that is, if it is not the one that runs.
    on: String,
    /// The registry, or a made-up name that stands for every one that nobody named.
    namespace: &'a str,
    /// Whether it is about those that nobody named.
    unnamed: bool,
}

impl Both<'_> {
    /// The registry's name in `--existing`.
    fn registry(&self) -> &str {
        if self.unnamed {
            DEFAULT
        } else {
            self.namespace
        }
    }

    /// Whether the file asks the same registries as the settings, only over HTTPS before plain HTTP.
    fn is_https_first(&self) -> bool {
        let plain = |pulls: &Pulls| match pulls {
            Pulls::Hosts(hosts) => {
                let hosts = hosts.iter().map(|host| match host.scheme {
                    Scheme::HttpsThenHttp => Host {
                        scheme: Scheme::Http,
                        ..host.clone()
                    },
                    Scheme::Http | Scheme::Https => host.clone(),
                });
                Pulls::Hosts(hosts.collect())
            }
            Pulls::Fail(reason) => Pulls::Fail(reason.clone()),
        };
        plain(&self.file).same(&plain(self.settings))
    }
}

impl std::fmt::Display for Both<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unnamed = self.unnamed.then_some(self.namespace);
        let [settings, file] = [self.settings, &self.file].map(|pulls| pulls.shown(unnamed));
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
    let nobody = planner.from.last.is_none() || !planner.uses_hosts_files;
    let (default_decider, default_hosts) = match planner.namespaces.last() {
        Some(unnamed) if !nobody => default_directory(planner, &unnamed.name, findings),
        _ => (Decider::Nobody, None),
    };
    // Where the operator accepts that, the daemon that is there may start all the same.
    let refused = planner.installed.text_refused().map(|reason| reason.code);
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
        let before = match in_effect(&planner.installed) {
            InEffect::Settings | InEffect::HostsFiles => planner.installed.pulls(name),
            InEffect::Nothing(_) => Pulls::Fail("CRI does not load".to_owned()),
        };
        let after = match decider {
            Decider::Nobody if planner.in_effect != InEffect::HostsFiles => settings,
            Decider::Nobody => planner.from.pulls(name),
            Decider::HostsFile => reader::pulls(&planner.certs, name, behaviour),
            Decider::KeptFile => read_otherwise(planner, name, &before).1,
            Decider::Settings => settings,
        };
        let before = match &not_started {
            Some(_) => Pulls::Fail("containerd does not start".to_owned()),
            None => before,
        };
        let carried = planner.inert_code().filter(|_| planner.inputs.carries());
        let changed = (!before.same(&after)).then(|| match (planner.in_effect, decider) {
            (InEffect::Settings | InEffect::HostsFiles, _) if carried.is_some() => {
                carried.unwrap_or(&finding::PROOF_FAILED)
            }
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
                        && planner.inputs.options.existing.of(name) == Some(Existing::Replace) =>
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
            changed_on: Vec::new(),
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
    let same = planner.verified().all(|release| {
        let behaviour = &release.generation.behaviour;
        !behaviour.default_directory
            || reader::pulls(&planner.certs, unnamed, behaviour).same(&settings)
    });
    if same {
        return (Decider::Settings, None);
    }
    if planner.in_effect != InEffect::Settings && !wildcard && stays_in_effect(planner, unnamed) {
        return (Decider::HostsFile, None);
    }
    let named = wildcard || directory.hosts_file.is_some();
    let both = both(planner, DEFAULT, unnamed, &settings, true);
    match directory_decides(planner, directory, named, &both, findings) {
        true => (Decider::KeptFile, None),
        false => (Decider::Settings, hosts()),
    }
}

/// Whether what the certs directory gives for `namespace` is in effect today, or is for each release what that or the
/// one that runs makes of the node as it is. Else it takes effect by the migration: a `config_path` of other directories
/// leads to it, or one that is looked into in another way.
fn stays_in_effect(planner: &Planner<'_>, namespace: &str) -> bool {
    if is_in_effect(planner, namespace) {
        return true;
    }
    let today = planner.from.pulls(namespace);
    planner.verified().all(|release| {
        let behaviour = &release.generation.behaviour;
        let planned = reader::pulls(&planner.certs, namespace, behaviour);
        planned.same(&today) || planned.same(&release.sight.pulls(namespace))
    })
}

/// Whether a directory below `config_path` decides for `namespace` today, or would if CRI loaded.
fn is_in_effect(planner: &Planner<'_>, namespace: &str) -> bool {
    let behaviour = planner.behaviour();
    let certs = &planner.certs;
    let Some(name) = certs.lookup(namespace, behaviour) else {
        return false;
    };
    let path = certs.path.join(name);
    let is_read = certs.directories.get(name).is_some_and(|directory| {
        let file = directory.hosts_file.as_ref();
        // Without a hosts.toml, or with an empty one, the certificates beside it are read.
        file.is_none_or(|file| reader::discarded(file, &path, behaviour).is_none())
    });
    let mut roots = planner.from.roots().into_iter();
    is_read && roots.any(|root| NodePath::new(root) == certs.path)
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
    let has_mirror = planner.legacy().mirror(namespace).is_some();
    let named = has_mirror || has_tls;
    let own = planner.certs.own(namespace);
    if own.is_none() && (default == Decider::Settings || !named) {
        return default;
    }
    let same = planner.verified().all(|release| {
        let behaviour = &release.generation.behaviour;
        reader::pulls(&planner.certs, namespace, behaviour).same(settings)
    });
    if own.is_some() && same {
        return Decider::Settings;
    }
    let stays = match planner.in_effect {
        InEffect::Settings => false,
        // TLS settings beside it are ignored today.
        InEffect::HostsFiles if named => is_in_effect(planner, namespace),
        InEffect::HostsFiles | InEffect::Nothing(_) => {
            !named && stays_in_effect(planner, namespace)
        }
    };
    if stays {
        return Decider::HostsFile;
    }
    // With settings of its own a namespace gets a file of its own, which hides `_default`. That is what it has today,
    // unless hosts files were to be in effect and only TLS settings are to be added.
    let name = match own {
        Some(name) => name,
        None if planner.in_effect == InEffect::Settings || has_mirror => return Decider::Settings,
        None => DEFAULT,
    };
    let Some(directory) = planner.certs.directories.get(name) else {
        return Decider::Settings;
    };
    let both = both(planner, name, namespace, settings, false);
    match directory_decides(planner, directory, named, &both, findings) {
        true => Decider::KeptFile,
        false => Decider::Settings,
    }
}

/// What the settings give for `namespace` and what the certs directory does, as the first release reads it for which
/// that is something else.
fn both<'a>(
    planner: &Planner<'_>,
    name: &'a str,
    namespace: &'a str,
    settings: &'a Pulls,
    unnamed: bool,
) -> Both<'a> {
    let (behaviour, file, on) = read_otherwise(planner, namespace, settings);
    Both {
        name,
        settings,
        file,
        behaviour,
        on,
        namespace,
        unnamed,
    }
}

/// What the certs directory gives for `namespace`, as the first release reads it for which that is not `other`, and
/// which that is where it is not the one that runs.
fn read_otherwise(
    planner: &Planner<'_>,
    namespace: &str,
    other: &Pulls,
) -> (Behaviour, Pulls, String) {
    let read = |g: &Generation| reader::pulls(&planner.certs, namespace, &g.behaviour);
    let mut generations = planner.verified().map(|release| {
        let generation = &release.generation;
        (generation, read(generation))
    });
    match generations.find(|(_, pulls)| !pulls.same(other)) {
        Some((generation, pulls)) => {
            let is_from = generation.versions.contains(&planner.inputs.from);
            let on = match is_from {
                true => String::new(),
                false => format!(" on containerd {}", ranges(generation.versions.clone())),
            };
            (generation.behaviour, pulls, on)
        }
        None => {
            let behaviour = *planner.behaviour();
            let pulls = reader::pulls(&planner.certs, namespace, &behaviour);
            (behaviour, pulls, String::new())
        }
    }
}

/// A directory gives other pulls than the settings: whether it decides is what `--existing` says, or nobody yet.
fn directory_decides(
    planner: &Planner<'_>,
    directory: &RegistryDirectory,
    named: bool,
    both: &Both<'_>,
    findings: &mut Findings,
) -> bool {
    let path = planner.certs.path.join(both.name);
    if let Some(reason) = &directory.unreadable {
        findings.add(
            &finding::UNREADABLE_DIRECTORY,
            None,
            format!("{reason}: containerd finds no hosts file there and fails every pull"),
            format!("move `{path}` out of the certs directory"),
        );
        return false;
    }
    let is_settled = planner.in_effect == InEffect::Settings;
    let elsewhere = match is_settled && planner.registry().config_path.is_none() {
        true => "; --certs-dir DIR: write the hosts files to another directory",
        false => "",
    };
    if directory
        .hosts_file
        .as_ref()
        .is_none_or(|file| file.is_empty())
    {
        // Where the settings name it, the hosts.toml that is written decides, and the certificates beside it are
        // not read: that is what it was until now.
        if named && is_settled {
            return false;
        }
        let message = format!("`{path}` has no hosts.toml, but changes pulls: {both}");
        let help = [
            &*format!(
                "containerd takes the certificates in it and looks no further; --existing keep: the directory \
                 decides; --existing replace: write a hosts.toml with what the settings give{elsewhere}"
            ),
            "it stays, and decides",
            "a hosts.toml is written into it",
        ];
        let code = &finding::CERTIFICATE_DIRECTORY;
        return planner.existing_decides(both.registry(), code, None, message, help, findings);
    }
    let mut carried = planner.carried.iter();
    let carried = carried.find(|file| file.path == directory.hosts_path());
    let file = match carried {
        Some(carried) => format!("`{}/hosts.toml`", carried.from),
        None => format!("`{path}/hosts.toml`"),
    };
    let place = difference_place(planner, directory, both);
    let code = &finding::EXISTING_HOSTS_FILE;
    if matches!(planner.in_effect, InEffect::Nothing(_)) && both.is_https_first() {
        findings.add_note(
            code,
            place,
            format!(
                "{file} asks the same registries as the settings, but tries HTTPS before plain HTTP"
            ),
            "it stays as it is; remove this line if the registry has no HTTPS",
        );
        return true;
    }
    let effect = match planner.in_effect {
        InEffect::Settings | InEffect::HostsFiles => "has no effect today",
        InEffect::Nothing(_) => "is beside settings for the same name",
    };
    let message = format!("{file} {effect} and gives other pulls than the settings: {both}");
    let help = [
        &*format!(
            "--existing keep: the file decides; --existing replace: write what the settings give over it{elsewhere}"
        ),
        "it stays, and decides",
        "it is replaced; the old file stays in the journal",
    ];
    planner.existing_decides(both.registry(), code, place, message, help, findings)
}

/// Which line of the hosts file makes the difference, else the file.
fn difference_place(
    planner: &Planner<'_>,
    directory: &RegistryDirectory,
    both: &Both<'_>,
) -> Option<Place> {
    let found = difference(
        &planner.certs,
        both.name,
        both.namespace,
        &both.behaviour,
        both.settings,
    );
    let range = found.unwrap_or(0..0);
    let id = directory.hosts_file.as_ref().and_then(|file| file.id);
    // One that is only to be written has its number elsewhere.
    let file = id.or_else(|| {
        let mut carried = planner.carried.iter();
        carried
            .find(|file| file.path == directory.hosts_path())?
            .copied
    })?;
    Some(Place { file, range })
}
