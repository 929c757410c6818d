//! hosts.toml: the directories that hold it, how containerd reads it, and how it is written.

pub mod difference;
pub mod directory;
pub mod reader;
pub mod writer;
