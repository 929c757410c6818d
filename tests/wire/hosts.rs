//! What `hosts --format json` says of images, to be compared with the requests that the daemons sent.

use std::collections::BTreeMap;
use std::path::Path;

use containerd_registry_migrate::commands;
use containerd_registry_migrate::containerd::reference::ImageReference;
use containerd_registry_migrate::containerd::release::Version;
use containerd_registry_migrate::node::{Node, NodePath};
use containerd_registry_migrate::request::Request;
use serde_json::Value;

use crate::compare::{Event, What, without_own_port};
use crate::cri::percent_decoded;

/// The requests for the manifest of each image that this version sends on a tree, first to last, as the document has them.
/// `None` where the program does not understand the settings.
pub(crate) fn predicted(
    tree: &Path,
    config: &Path,
    version: &str,
    images: &[String],
) -> Option<BTreeMap<String, Vec<String>>> {
    let version = Version::parse(version);
    let request = Request {
        config: Some(NodePath::new(config.to_str()?)),
        from: version,
        to: version,
        ..Request::default()
    };
    let name = |image: &String| Some((image.clone(), ImageReference::parse(image).ok()?));
    let names: Option<Vec<_>> = images.iter().map(name).collect();
    let node = Node::open(tree.to_str()?).ok()?;
    let report = commands::hosts(&node, &request, &names?, false).ok()?;
    let document = serde_json::to_value(&report).ok()?;
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let image = |image: &Value| {
        let hosts = array(&image["releases"][0]["today"]["hosts"]);
        let requests = hosts.iter().flat_map(|host| array(&host["requests"]));
        let mut urls: Vec<String> = Vec::new();
        for request in requests {
            let url = comparable(request.as_str().unwrap_or_default());
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        (
            image["image"].as_str().unwrap_or_default().to_string(),
            urls,
        )
    };
    let images = array(&document["images"]);
    (!images.is_empty()).then(|| images.iter().map(image).collect())
}

/// The requests for a manifest that a daemon sent, first to last; of a host with which TLS failed only that it was tried.
pub(crate) fn recorded(events: &[Event]) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for event in events {
        let url = match &event.what {
            What::Request { path, .. } if !path.contains("/manifests/") => continue,
            What::Request { path, query, .. } => {
                let query = if query.is_empty() {
                    String::new()
                } else {
                    format!("?{query}")
                };
                format!("{}://{}{path}{query}", event.scheme, event.host)
            }
            What::TlsRefused | What::TlsOnPlainHost => failed(event.scheme, &event.host),
        };
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// The recorder has queries decoded.
fn comparable(url: &str) -> String {
    match url.split_once('?') {
        Some((url, query)) => format!("{url}?{}", percent_decoded(query)),
        None => url.to_string(),
    }
}

fn failed(scheme: &str, host: &str) -> String {
    format!("{scheme}://{}/…", without_own_port(scheme, host))
}

/// The predicted requests, where TLS failed without their paths: nobody predicts which certificate a host shows.
pub(crate) fn as_recorded(predicted: &[String], recorded: &[String]) -> Vec<String> {
    let mut expected: Vec<String> = Vec::new();
    for url in predicted {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let failed = failed(scheme, rest.split('/').next().unwrap_or_default());
        let is_failed = recorded.contains(&failed) && !recorded.contains(url);
        let url = if is_failed { failed } else { url.clone() };
        if !expected.contains(&url) {
            expected.push(url);
        }
    }
    expected
}
