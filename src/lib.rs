//! Migrates containerd's legacy CRI registry settings (`registry.mirrors`, `registry.configs` in config.toml) to
//! `certs.d/<host>/hosts.toml`, so that every pull goes where it went before.
//!
//! Data goes one way, and only the ends touch the disk:
//!
//! ```text
//! node → inputs → config, hosts → resolve → plan → verify → report
//!        (read)   (parse)         (what containerd does)  └→ apply (transaction, restart guard)
//! ```
//!
//! * [`node`] is the file tree under `--root`, [`inputs`] all that is read of it; after that nothing but [`apply`] looks
//!   at the disk.
//! * [`config`] and [`hosts`] are the two kinds of files: what is written in them, with byte ranges, and how they are
//!   edited and written. They take keys and texts as containerd's own readers do.
//! * [`resolve`] and [`hosts::reader`] are containerd's rules: the ordered hosts of a namespace from legacy settings and
//!   from hosts files. [`view`] is what one containerd makes of the whole: whether it starts, which settings of which
//!   file are in effect, which hosts a pull tries. What differs between versions is in the one table of [`version`].
//! * [`plan`] is pure. It is believed only after [`verify`] has read the planned bytes back.
//! * [`check`] is the same views, of every known version, as a table.
//! * [`finding`] has the table of everything that is said about the content of files; an `Err` is for I/O and broken
//!   promises. [`secret`] keeps what must not be shown out of all of it.
//! * [`cli`] is the edge: it prints, and knows exit codes.

pub mod apply;
pub mod certificate;
pub mod check;
pub mod cli;
pub mod config;
pub mod finding;
pub mod glob;
pub mod go_url;
pub mod hosts;
pub mod inputs;
pub mod node;
pub mod plan;
pub mod report;
pub mod resolve;
pub mod secret;
mod shell;
pub mod verify;
pub mod version;
pub mod view;
