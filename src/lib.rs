//! Migrates containerd's legacy CRI registry settings to `certs.d/<host>/hosts.toml`.

pub mod apply;
pub mod certificate;
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
