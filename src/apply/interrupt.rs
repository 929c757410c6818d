//! Signals that ask the program to stop, turned into a flag that is looked at between two steps.
//!
//! Nothing is done in a handler: a step that has begun is finished, and then what was done is undone or completed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ApplyError;

/// Whether somebody asked the program to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Whether a signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), ApplyError> {
        if self.is_set() {
            Err(ApplyError::Interrupted)
        } else {
            Ok(())
        }
    }
}
