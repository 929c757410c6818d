//! What the library's views of containerd predict, to be compared with what the daemons did.

use std::path::Path;
use std::rc::Rc;

use containerd_registry_migrate::containerd::host::{Host, Pulls, Scheme};
use containerd_registry_migrate::containerd::loader::Startup;
use containerd_registry_migrate::containerd::release::Version;
use containerd_registry_migrate::containerd::sight::Sight;
use containerd_registry_migrate::finding::{self, Findings};
use containerd_registry_migrate::node::{Node, NodePath};
use containerd_registry_migrate::question::{ExistingAnswers, Version1};
use containerd_registry_migrate::read::locate::{Found, Located};
use containerd_registry_migrate::read::{self, Options, Sources};

use crate::daemon::Boot;

/// What one version of containerd makes of a tree, as `check` would say it.
pub(crate) struct Model {
    sight: Rc<Sight>,
}

impl Model {
    /// `None` where the library does not understand the settings.
    pub(crate) fn of(tree: &Path, config: &Path, version: &str) -> Option<Model> {
        let version = Version::parse(version)?;
        let node = Node::open(tree.to_str()?).ok()?;
        let options = Options {
            config: Located {
                path: NodePath::new(config.to_str()?),
                found: Found::Given,
            },
            certs_directory: None,
            from: Some(version),
            to: Some(version),
            existing: ExistingAnswers::default(),
            inert: None,
            version_1: Version1::Keep,
            keep_local_pull: false,
            allow: Vec::new(),
        };
        let mut findings = Findings::default();
        let inputs = read::read(&node, options, &mut findings, &mut Sources::default());
        let inputs = inputs.ok()??;
        let sight = inputs.sight();
        Some(Model { sight })
    }

    /// Whether CRI is to load.
    pub(crate) fn loads(&self) -> bool {
        self.sight.startup(false) == Startup::Loads
    }

    /// What is wrong with how far the daemon came, if it is not how far it should have come.
    pub(crate) fn contradicts(&self, boot: &Boot) -> Option<String> {
        let startup = self.sight.startup(false);
        let agrees = match (&startup, boot) {
            (Startup::Loads | Startup::CriDisabled(_), Boot::Booted)
            | (Startup::CriFails(_), Boot::CriRefused(_))
            | (Startup::DoesNotStart(_), Boot::DidNotStart(_)) => true,
            // The log of a daemon without CRI says so in words like those of one that refuses it.
            (Startup::CriDisabled(reason), Boot::CriRefused(_)) => {
                reason.code == &finding::CRI_DISABLED
            }
            _ => false,
        };
        (!agrees).then(|| format!("the sight says {startup:?}, the daemon {boot:?}"))
    }

    /// The hosts that containerd tries for the images of a namespace, in order, repeats folded, each
    /// as `scheme://host/path`. For a tag and for a digest they may be others.
    pub(crate) fn hosts(&self, namespace: &str, by_digest: bool) -> Vec<String> {
        if !self.loads() {
            return Vec::new();
        }
        let hosts = match self.sight.pulls(namespace) {
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
