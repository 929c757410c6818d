//! `hosts`: which hosts containerd tries for an image.

use super::arguments::{Format, Hosts};
use super::{Run, Stop};
use crate::commands;
use crate::printable::printable;
use crate::report::Report;

impl Run {
    pub(super) fn hosts(&self, hosts: &Hosts) -> anyhow::Result<Report> {
        if self.output.format == Format::Diff {
            return Err(Stop::usage("`hosts` has no diff; leave --format out").into());
        }
        let node = self.node()?;
        let request = self.asked(&node)?;
        let report = commands::hosts(&node, &request, &hosts.images, hosts.all_releases);
        let report = report.map_err(|unread| self.unread(unread))?;
        for (name, reference) in &hosts.images {
            if is_like_a_registry(name) {
                let name = printable(name);
                self.output.remark(&format!(
                    "note: `{name}` is the image `{reference}`; to ask about a registry, add an image: `{name}/x`"
                ));
            }
        }
        Ok(report)
    }
}

/// Whether someone may mean a registry by this name of an image.
fn is_like_a_registry(name: &str) -> bool {
    let host = name.split([':', '@']).next().unwrap_or_default();
    !name.contains('/') && (host.contains('.') || host == "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_slash_may_mean_a_registry() {
        for name in ["quay.io", "localhost:5000", "10.0.0.7:5000", "localhost"] {
            assert!(is_like_a_registry(name), "{name}");
        }
        for name in [
            "nginx",
            "nginx:1.25",
            "nginx@sha256:0",
            "quay.io/x",
            "redis:7.2-alpine",
        ] {
            assert!(!is_like_a_registry(name), "{name}");
        }
    }
}
