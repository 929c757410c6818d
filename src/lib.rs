//! Migrates containerd's legacy CRI registry settings to `certs.d/<host>/hosts.toml`.

pub mod apply;
pub mod config;
pub mod finding;
pub mod go_url;
pub mod hosts;
pub mod node;
pub mod plan;
pub mod resolve;
pub mod secret;
pub mod version;
