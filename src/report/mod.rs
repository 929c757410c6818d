//! What an operator reads: the diff, the report, the findings. Pure: data in, text out; `cli` prints it.
//!
//! Every text made here is masked where secrets stand, and made printable.

pub mod check;
pub mod diff;
pub mod digest;
pub mod explain;
pub mod findings;
pub mod text;
pub mod transaction;

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::printable::printable;
use crate::secret::{Masked, Secrets};

/// What may be shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Whether secrets are shown as they are (`--show-secrets`).
    pub secrets: bool,
}

impl Shown {
    /// Secrets are shown if `secrets` says so.
    pub fn new(secrets: bool) -> Self {
        Self { secrets }
    }

    /// A command, or a line that one has printed, as it may be shown.
    pub fn prose(self, line: &str) -> String {
        if self.secrets {
            printable(line)
        } else {
            printable(&Masked::new(line, Secrets::of_prose(line).ranges()).text)
        }
    }
}

/// What is said of a file of which nothing can be shown.
fn summary(bytes: &[u8]) -> String {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    let sha_256 = hexadecimal(&Sha256::digest(bytes));
    format!("{lines} lines, {} bytes, SHA-256 {sha_256}", bytes.len())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
