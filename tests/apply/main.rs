//! The disk side against real disks, kills and faults.
//!
//! Needs root, `strace`, `setfacl` and `unshare`; `tests/run.sh` installs what is missing.

mod crash;
mod disk;
mod files;
