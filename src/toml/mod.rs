//! TOML files as they are written: their syntax with byte ranges, edits of those ranges, and the spellings that
//! containerd's TOML libraries do not read alike. Nothing here knows what a key means.

mod commented;
pub mod edit;
pub mod mistake;
pub mod spelling;
pub mod syntax;
