//! The rules that a plan says something by, one subject a file. A rule looks at the node and the plan; it changes neither.

pub(crate) mod certs_directory;
pub(crate) mod config_path;
pub(crate) mod contents;
pub(crate) mod credentials;
pub(crate) mod generated;
pub(crate) mod imports;
pub(crate) mod in_effect;
pub(crate) mod names;
pub(crate) mod placements;
pub(crate) mod readable;
pub(crate) mod version_1;
pub(crate) mod wrong_places;
