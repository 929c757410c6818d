//! What the library's model of containerd predicts, to be compared with what the daemons did.

use std::path::Path;

use containerd_registry_migrate::finding::Findings;
use containerd_registry_migrate::hosts::{Host, Pulls, Scheme, reader};
use containerd_registry_migrate::inputs::{self, Existing, Inputs, Options, Sources, Version1};
use containerd_registry_migrate::node::{Node, NodePath};
use containerd_registry_migrate::resolve::Legacy;
use containerd_registry_migrate::version::{Behaviour, Version};

/// A node's registry settings as the library reads them, for one version of containerd.
pub(crate) struct Model {
    inputs: Inputs,
    version: Version,
}

impl Model {
    /// `None` where the library does not understand the settings.
    pub(crate) fn of(tree: &Path, config: &Path, version: &str) -> Option<Model> {
        let version = Version::parse(version)?;
        let config = NodePath::new(config.to_str()?);
        let mut inputs = read(tree, &config, None, version)?;
        let registry = Some(&inputs.registry);
        if let Some(path) = registry.and_then(|registry| registry.config_path.as_ref()) {
            let path = NodePath::new(&path.value);
            inputs = read(tree, &config, Some(path), version)?;
        }
        Some(Model { inputs, version })
    }

    /// The hosts that containerd tries for the images of a namespace, in order, repeats folded, each
    /// as `scheme://host/path`. For a tag and for a digest they may be others.
    pub(crate) fn hosts(&self, namespace: &str, by_digest: bool) -> Vec<String> {
        let behaviour = Behaviour::of(self.version);
        let registry = Some(&self.inputs.registry);
        let pulls = if registry.is_some_and(|registry| registry.config_path.is_some()) {
            reader::pulls(&self.inputs.certs, namespace, &behaviour)
        } else {
            // 2.x does not know legacy TLS settings.
            let legacy = Legacy::new(registry);
            legacy
                .resolve(namespace, &behaviour, self.version.major == 1)
                .pulls()
        };
        let hosts = match pulls {
            Pulls::Hosts(hosts) => hosts,
            Pulls::Fail(_) => Vec::new(),
        };
        let mut urls: Vec<String> = Vec::new();
        let asked = |host: &&Host| if by_digest { host.pull } else { host.resolve };
        for host in hosts.iter().filter(asked) {
            let schemes: &[&str] = match host.scheme {
                Scheme::Http => &["http"],
                Scheme::Https => &["https"],
                Scheme::HttpsThenHttp => &["https", "http"],
            };
            for scheme in schemes {
                let url = format!("{scheme}://{}{}", host.host, host.path);
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
        }
        urls
    }
}

fn read(
    tree: &Path,
    config: &NodePath,
    certs_directory: Option<NodePath>,
    version: Version,
) -> Option<Inputs> {
    let node = Node::open(tree.to_str()?).ok()?;
    let options = Options {
        config: config.clone(),
        certs_directory,
        from: Some(version),
        to: version,
        existing: Existing::Keep,
        version_1: Version1::Keep,
        keep_local_pull: false,
    };
    inputs::read(
        &node,
        options,
        &mut Findings::new([]),
        &mut Sources::default(),
    )
    .ok()?
}
