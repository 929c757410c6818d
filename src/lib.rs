//! Migrates containerd's legacy CRI registry settings (`registry.mirrors`, `registry.configs` in config.toml) to
//! `certs.d/<host>/hosts.toml`, so that every pull goes where it went before.
//!
//! Data goes one way, and only the ends touch the disk:
//!
//! ```text
//! disk ─ read → configuration, certs directories
//!                  └ containerd: what a release makes of them → plan → verify → report
//!                                                                  └→ apply (transaction, guarded restart)
//! ```
//!
//! * [`node`] is the file tree under `--root`, [`read`] all that is read of it; after that nothing but [`apply`] looks at
//!   the disk.
//! * [`toml`] is a text as it is written, with byte ranges; [`go`] is what Go's standard library makes of URLs, patterns
//!   and PEM files.
//! * [`containerd`] is containerd's rules. What differs between releases is in the one table of
//!   [`containerd::release`].
//! * [`plan`] is pure. It is believed only after [`verify`] has read the planned bytes back.
//! * [`check`] is what every known release makes of the node, as a table.
//! * [`finding`] has the table of everything that is said about the content of files; an `Err` is for I/O and broken
//!   promises. [`secret`] keeps what must not be shown out of all of it, and [`printable`] what a terminal would obey.
//! * [`text`] is the content of a file, parsed once for all of them.
//! * [`question`] is what an operator may be asked, and the answers.
//! * [`report`] is all that is said about a node, as data, and the texts that are made of it. [`request`] is what was asked,
//!   [`commands`] one function for each command that only reads.
//! * [`cli`] is the edge: it prints, and an error becomes an exit code.

pub mod apply;
pub mod ask;
pub mod check;
pub mod cli;
pub mod commands;
pub mod containerd;
pub mod finding;
pub mod go;
pub mod images;
pub mod markdown;
mod near;
pub mod node;
pub mod plan;
pub mod printable;
pub mod question;
pub mod read;
pub mod report;
pub mod request;
pub mod schema;
pub mod secret;
mod shell;
pub mod summary;
pub mod text;
pub mod toml;
pub mod verify;
mod work;
