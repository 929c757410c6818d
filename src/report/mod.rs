//! What an operator reads: the diff, the report, the findings. Pure: data in, text out; `cli` prints it.
//!
//! Every text made here is masked; the diff and its digest are made of the same masked bytes that are printed.

pub mod check;
pub mod diff;
pub mod explain;
pub mod findings;
pub mod text;
pub mod transaction;

use crate::read::{Inputs, Sources};
use crate::secret::{Filter, Secrets};

/// What may be shown.
#[derive(Default)]
pub struct Shown {
    /// Whether secrets are shown as they are (`--show-secrets`).
    pub secrets: bool,
    /// Takes known secrets out of everything that is printed.
    pub filter: Filter,
}

impl Shown {
    /// Collects the secrets of everything that was read.
    pub fn new(show_secrets: bool, sources: &Sources, inputs: Option<&Inputs>) -> Self {
        let mut secrets = Vec::new();
        for source in sources.iter() {
            secrets.push(Secrets::of_text(&source.text));
        }
        let directories = inputs
            .iter()
            .flat_map(|inputs| inputs.snapshot.certs().values())
            .flat_map(|certs| certs.directories.values());
        for file in directories.filter_map(|directory| directory.hosts_file.as_ref()) {
            secrets.push(Secrets::of_text(&String::from_utf8_lossy(&file.bytes)));
        }
        Self {
            secrets: show_secrets,
            filter: Filter::new(&secrets),
        }
    }

    /// The text as it may be printed.
    pub fn filtered(&self, text: &str) -> String {
        if self.secrets {
            text.to_owned()
        } else {
            self.filter.apply(text)
        }
    }
}
