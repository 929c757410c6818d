//! What the library's model of containerd predicts, to be compared with what the daemons did.

use std::path::Path;

use containerd_registry_migrate::finding::Findings;
use containerd_registry_migrate::hosts::{Host, Pulls, Scheme, reader};
use containerd_registry_migrate::inputs::{self, Existing, Inputs, Options, Sources, Version1};
use containerd_registry_migrate::node::{Node, NodePath};
use containerd_registry_migrate::resolve::Legacy;
use containerd_registry_migrate::version::{Behaviour, Version};

/// The hosts that containerd of this version tries for the images of a namespace on the node in this
/// tree, in order, repeats folded, each as `scheme://host/path`; `None` where the model says nothing.
/// Tags and digests are asked of different hosts.
pub(crate) fn model_hosts(
    tree: &Path,
    config: &Path,
    namespace: &str,
    by_digest: bool,
    version: &str,
) -> Option<Vec<String>> {
    let version = Version::parse(version)?;
    let behaviour = Behaviour::of(version);
    let config = NodePath::new(config.to_str()?);
    let mut inputs = read(tree, &config, None, version)?;
    let set = inputs
        .registry
        .as_ref()
        .and_then(|registry| registry.config_path.as_ref());
    let set = set.map(|path| NodePath::new(&path.value));
    let pulls = if let Some(path) = set {
        inputs = read(tree, &config, Some(path), version)?;
        reader::pulls(&inputs.certs, namespace, &behaviour)
    } else {
        // 2.x does not know legacy TLS settings.
        let legacy = Legacy::new(inputs.registry.as_ref());
        legacy
            .resolve(namespace, &behaviour, version.major == 1)
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
    Some(urls)
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
    };
    inputs::read(
        &node,
        options,
        &mut Findings::new([]),
        &mut Sources::default(),
    )
    .ok()?
}
