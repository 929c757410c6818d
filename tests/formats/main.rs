//! The forms of a report that other programs read. JSON: every document of every command on every fixture is valid against
//! the schema and agrees with the exit code. Markdown: rendered as forges do it, the structure is the one that is meant,
//! whatever names and messages hold.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod folding;
mod hosts;
mod json;
mod label;
mod markdown;
mod summary;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;

use support::{Fixture, fixtures};

/// Tries all fixtures, and says of all that fail what is wrong.
fn on_every_fixture(wrong: impl Fn(&Fixture) -> Result<(), String> + Sync) {
    let fixtures = fixtures();
    let next = Mutex::new(fixtures.iter());
    let failures = Mutex::new(String::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let fixture = next.lock().unwrap().next();
                    let Some(fixture) = fixture else { break };
                    if let Err(error) = wrong(fixture) {
                        let line = format!("{}: {error}\n", fixture.name);
                        failures.lock().unwrap().push_str(&line);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures}");
}
