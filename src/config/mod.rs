//! config.toml: its text, its legacy registry settings, and the edits that take them out.

pub mod edit;
pub mod syntax;
