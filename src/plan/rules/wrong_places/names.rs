//! The one list of names: what people call registry settings, and which setting each of them is.
//!
//! Names are compared without regard to capitals, `-`, `_` and spaces. What is not in the list is taken for a misspelling of a
//! name of containerd's own if one or two letters make the difference.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::containerd::contents::PluginId;
use crate::containerd::legacy::unmatchable;
use crate::near::is_near;

/// What a key with a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    /// The directory of the hosts files.
    ConfigPath,
    /// The URLs of a mirror.
    Endpoint,
    /// The CA of a registry.
    CaFile,
    /// The client certificate for a registry.
    CertFile,
    /// The key of it.
    KeyFile,
    /// That the certificate of a registry is not verified.
    SkipVerify,
    /// The user at a registry.
    Username,
    /// Its password.
    Password,
    /// Both in base64.
    Auth,
    /// A token instead.
    IdentityToken,
    /// Other configuration files.
    Imports,
    /// Docker's list of registries without TLS, or with a certificate that nobody knows.
    InsecureRegistries,
    /// Docker's list of mirrors of Docker Hub.
    RegistryMirrors,
    /// What the containerd of k3s and rke2 replaces in names of images.
    Rewrite,
    /// A key of hosts files.
    OfHostsFile,
}

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `plugins`.
    Plugins,
    /// The CRI plugin, under one of its names or something like it.
    Cri,
    /// `registry`.
    Registry,
    /// `registry.mirrors`.
    Mirrors,
    /// `registry.configs`.
    Configs,
    /// `registry.configs.*.tls`.
    Tls,
    /// `registry.configs.*.auth`, and `registry.auths`.
    Auth,
    /// `registry.headers`.
    Headers,
    /// The name of a registry, or a piece of it where the quotes are missing.
    Name,
}

/// The settings: which, as containerd calls it, and what else it is called.
#[rustfmt::skip]
const SETTINGS: &[(Setting, &str, &str)] = &[
    (Setting::ConfigPath, "config_path", "hosts_dir certs_dir certs_path cert_path certs.d registry_config_path"),
    (Setting::Endpoint, "endpoint", "endpoints url urls mirror_endpoint mirror_url proxy_url"),
    (Setting::CaFile, "ca_file", "ca cas ca_cert ca_certs ca_cert_file ca_path root_ca trusted_ca"),
    (Setting::CertFile, "cert_file", "cert certificate certificate_file client_cert client_certificate client_cert_file"),
    (Setting::KeyFile, "key_file", "key private_key client_key client_key_file tls_key"),
    (Setting::SkipVerify, "insecure_skip_verify", "insecure skip_verify insecure_skip_tls_verify skip_tls_verify tls_skip_verify insecure_skip_tls insecure_tls insecure_skip_verification"),
    (Setting::Username, "username", "user login"),
    (Setting::Password, "password", "passwd pass pwd"),
    (Setting::Auth, "auth", "authorization basic_auth"),
    (Setting::IdentityToken, "identitytoken", "id_token"),
    (Setting::Imports, "imports", "import include includes"),
    (Setting::InsecureRegistries, "insecure-registries", "insecure_registry insecure_hosts insecure_endpoints"),
    (Setting::RegistryMirrors, "registry-mirrors", "registry_mirror docker_mirrors"),
    (Setting::Rewrite, "rewrite", "rewrites"),
    (Setting::OfHostsFile, "override_path", "capabilities server dial_timeout client"),
];

/// The tables: which, as containerd calls it, and what else it is called.
#[rustfmt::skip]
const TABLES: &[(Part, &str, &str)] = &[
    (Part::Plugins, "plugins", "plugin"),
    (Part::Cri, "cri", "containerd images image runtime"),
    (Part::Registry, "registry", "registries registrys"),
    (Part::Mirrors, "mirrors", "mirror registry_mirrors registry_mirror"),
    (Part::Configs, "configs", "config conf configurations registry_configs registry_config host hosts"),
    (Part::Tls, "tls", "ssl tsl tls_config certs certificates"),
    (Part::Auth, "auth", "auths authentication authorization credentials credential auth_config creds"),
    (Part::Headers, "headers", "header http_headers"),
];

/// What containerd itself brings, by the beginnings of the plugins' names. Others may have settings of their own that are
/// called like those of registries.
const OWN_PLUGINS: &[&str] = &[
    "io.containerd.cri.v1.",
    "io.containerd.gc.v1.",
    "io.containerd.grpc.v1.",
    "io.containerd.image-verifier.v1.",
    "io.containerd.internal.v1.",
    "io.containerd.metadata.v1.",
    "io.containerd.monitor.",
    "io.containerd.nri.v1.",
    "io.containerd.runtime.v1.",
    "io.containerd.runtime.v2.",
    "io.containerd.service.v1.",
    "io.containerd.snapshotter.v1.overlayfs",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.",
    "io.containerd.transfer.v1.",
    "io.containerd.ttrpc.v1.",
];

impl Setting {
    /// What containerd calls it.
    pub(super) fn name(self) -> &'static str {
        let mut all = SETTINGS.iter();
        all.find(|(setting, _, _)| *setting == self)
            .map_or("", |(_, name, _)| name)
    }

    /// Which one is called like this.
    pub(super) fn called(name: &str) -> Option<Self> {
        static NAMES: LazyLock<Names<Setting>> = LazyLock::new(|| Names::new(SETTINGS));
        NAMES.called(name)
    }

    /// Whether it belongs in `configs.*.tls`.
    pub(super) fn is_tls(self) -> bool {
        [
            Self::CaFile,
            Self::CertFile,
            Self::KeyFile,
            Self::SkipVerify,
        ]
        .contains(&self)
    }

    /// Whether it belongs in `configs.*.auth`.
    pub(super) fn is_credential(self) -> bool {
        [
            Self::Username,
            Self::Password,
            Self::Auth,
            Self::IdentityToken,
        ]
        .contains(&self)
    }
}

impl Part {
    /// What a table of this name is; `None` is something else.
    pub(super) fn called(name: &str) -> Option<Self> {
        if is_like_cri(name) {
            return Some(Self::Cri);
        }
        static NAMES: LazyLock<Names<Part>> = LazyLock::new(|| Names::new(TABLES));
        NAMES.called(name)
    }
}

/// Whether this is a name of the CRI plugin, or one like it: of the part that runs containers, with letters wrong, or with
/// more behind it.
pub(super) fn is_like_cri(name: &str) -> bool {
    let ids = PluginId::ALL.iter().map(|id| id.name());
    let mut ids = ids
        .chain(["io.containerd.cri.v1.runtime"])
        .filter(|id| id.contains('.'));
    ids.any(|id| {
        name.strip_prefix(id)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            || name.starts_with("io.") && is_near(name, id)
    }) || ["io.containerd.cri", "io.containerd.cri.v1"].contains(&name)
}

/// The parts of a name that holds several of them, as in `"io.containerd.grpc.v1.cri.registry"`.
pub(super) fn split(name: &str) -> Vec<&str> {
    let ids = PluginId::ALL
        .iter()
        .map(|id| id.name())
        .filter(|id| id.contains('.'));
    for id in ids {
        if let Some(rest) = name
            .strip_prefix(id)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            return [vec![id], split(rest)].concat();
        }
    }
    // A host may begin like that, too, but not go on with a table of `registry`.
    let Some((first, rest)) = name.split_once('.') else {
        return vec![name];
    };
    let (second, behind) = match rest.split_once('.') {
        Some((second, behind)) => (second, Some(behind)),
        None => (rest, None),
    };
    let is_table = matches!(
        Part::called(second),
        Some(Part::Mirrors | Part::Configs | Part::Auth)
    );
    if Part::called(first) == Some(Part::Registry) && is_table {
        return [first, second].into_iter().chain(behind).collect();
    }
    vec![name]
}

/// Whether a plugin is containerd's own.
pub(super) fn is_own_plugin(name: &str) -> bool {
    !name.contains('.') || OWN_PLUGINS.iter().any(|own| name.starts_with(own))
}

/// Whether this can only be the name of a registry.
pub(super) fn is_host(name: &str) -> bool {
    name.contains(['.', ':', '/', '*']) || unmatchable(name).is_none()
}

/// The host whose certificates and credentials are meant by a name that containerd does not look up: Docker Hub is asked under
/// another name. `None` if no registry can be called so.
pub(crate) fn meant_host(name: &str) -> Option<&str> {
    match host(name) {
        "docker.io" | "index.docker.io" | "hub.docker.com" => Some("registry-1.docker.io"),
        host => (host != name && unmatchable(host).is_none()).then_some(host),
    }
}

/// The namespace that is meant by the name of a mirror that no image has.
pub(crate) fn meant_namespace(name: &str) -> Option<&str> {
    match host(name) {
        "index.docker.io" | "docker" | "dockerhub" => Some("docker.io"),
        host => (host != name && unmatchable(host).is_none()).then_some(host),
    }
}

/// The host in a name that people give to a registry: without scheme, user information and path.
pub(super) fn host(name: &str) -> &str {
    let host = name.split_once("://").map_or(name, |(_, rest)| rest);
    let authority = host.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// A list of names, to look them up in.
struct Names<T> {
    all: HashMap<String, T>,
    /// Those of containerd's own, of which there may be misspellings, in the order of the list.
    own: Vec<(String, T)>,
}

impl<T: Copy> Names<T> {
    fn new(list: &[(T, &str, &str)]) -> Self {
        let mut all = HashMap::new();
        for (what, own, others) in list {
            for name in std::iter::once(*own).chain(others.split(' ')) {
                all.insert(plain(name), *what);
            }
        }
        let own = list.iter().map(|(what, own, _)| (plain(own), *what));
        Self {
            all,
            own: own.collect(),
        }
    }

    fn called(&self, name: &str) -> Option<T> {
        let name = plain(name);
        let misspelt = || self.own.iter().find(|(own, _)| is_near(&name, own));
        let found = self.all.get(&name);
        found.copied().or_else(|| misspelt().map(|(_, what)| *what))
    }
}

fn plain(name: &str) -> String {
    let mut plain = name.to_ascii_lowercase();
    if plain.bytes().any(|byte| matches!(byte, b'-' | b'_' | b' ')) {
        plain.retain(|c| !matches!(c, '-' | '_' | ' '));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_call_a_setting_is_known() {
        for (name, setting) in [
            ("config_path", Some(Setting::ConfigPath)),
            ("config-path", Some(Setting::ConfigPath)),
            ("config_pth", Some(Setting::ConfigPath)),
            ("Endpoint", Some(Setting::Endpoint)),
            ("endpont", Some(Setting::Endpoint)),
            ("ca_flie", Some(Setting::CaFile)),
            ("cafile", Some(Setting::CaFile)),
            ("insecure_skip_verfy", Some(Setting::SkipVerify)),
            ("insecure", Some(Setting::SkipVerify)),
            ("insecure_registries", Some(Setting::InsecureRegistries)),
            ("identity_token", Some(Setting::IdentityToken)),
            ("passwrod", Some(Setting::Password)),
            ("sandbox_image", None),
            ("key_model", None),
            ("tls_cert_file", None),
            ("keys", None),
        ] {
            assert_eq!(Setting::called(name), setting, "{name}");
        }
        for (name, part) in [
            ("registery", Some(Part::Registry)),
            ("regsitry", Some(Part::Registry)),
            ("mirrros", Some(Part::Mirrors)),
            ("mirror", Some(Part::Mirrors)),
            ("config", Some(Part::Configs)),
            ("plugin", Some(Part::Plugins)),
            ("io.containerd.grpc.v1.cr", Some(Part::Cri)),
            ("io.containerd.cri.v1.image", Some(Part::Cri)),
            ("io.containerd.grpc.v1.cri.registry", Some(Part::Cri)),
            ("io.containerd.grpc.v1.containers", None),
            ("io.containerd.snapshotter.v1.stargz", None),
            ("cni", None),
            ("docker", None),
        ] {
            assert_eq!(Part::called(name), part, "{name}");
        }
    }

    #[test]
    fn a_name_with_dots_is_taken_apart_where_words_are_in_it() {
        let grpc = PluginId::Grpc.name();
        for (name, parts) in [
            ("io.containerd.grpc.v1.cri.registry", vec![grpc, "registry"]),
            (
                "io.containerd.grpc.v1.cri.registry.mirrors.docker.io",
                vec![grpc, "registry", "mirrors", "docker.io"],
            ),
            ("registry.configs", vec!["registry", "configs"]),
            ("docker.io", vec!["docker.io"]),
            ("registry.example", vec!["registry.example"]),
        ] {
            assert_eq!(split(name), parts, "{name}");
        }
    }

    #[test]
    fn no_name_of_the_list_is_in_it_twice() {
        let settings = SETTINGS.iter().map(|(_, own, others)| (*own, *others));
        let tables = TABLES.iter().map(|(_, own, others)| (*own, *others));
        for list in [settings.collect::<Vec<_>>(), tables.collect()] {
            let all = list
                .iter()
                .flat_map(|(own, others)| std::iter::once(*own).chain(others.split(' ')));
            let mut names: Vec<String> = all.map(plain).collect();
            names.sort();
            assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
        }
    }
}
