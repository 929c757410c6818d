//! The disk side against real disks, kills and faults.
//!
//! Needs root, `strace`, `setfacl` and `unshare`; `tests/run.sh` installs what is missing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod crash;
mod disk;
mod edge;
mod files;
mod guard;
