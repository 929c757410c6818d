//! The change: what every file is before and after.

use crate::node::NodePath;

/// One file that the plan writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The real file (links already followed inside the root).
    pub path: NodePath,
    /// The bytes that were read when the plan was made; `None` if the file did not exist.
    pub before: Option<Vec<u8>>,
    /// The bytes to write.
    pub after: Vec<u8>,
}
