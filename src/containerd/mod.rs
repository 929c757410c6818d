//! containerd's rules: what each release makes of its configuration and of hosts files.

pub mod configuration;
pub mod contents;
pub mod difference;
pub mod file;
pub mod host;
pub mod hosts_file;
pub mod legacy;
pub mod loader;
pub mod lookup;
pub mod merge;
pub mod reference;
pub mod registry;
pub mod release;
pub mod sight;
pub mod snapshot;
pub mod trace;
pub mod version_1;
