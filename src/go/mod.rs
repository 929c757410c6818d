//! What Go's standard library does with texts that containerd hands to it: URLs, glob patterns, PEM files.

pub mod glob;
pub mod pem;
pub mod url;
