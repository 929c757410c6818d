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
        // Somebody may mean a registry.
        for (name, reference) in &hosts.images {
            if !name.contains('/') && name.contains(['.', ':']) {
                let name = printable(name);
                self.output.remark(&format!(
                    "note: `{name}` is the image `{reference}`; to ask about a registry, add an image: `{name}/x`"
                ));
            }
        }
        Ok(report)
    }
}
