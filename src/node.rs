//! The node's file tree: the only module that reads the disk.
//!
//! Every path is one as the node sees it; with `--root` it is resolved inside that directory, links included.

use std::fmt;

/// An absolute, lexically cleaned path as the node itself sees it (never with `--root` in front).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(String);

impl NodePath {
    /// Cleans `path` as Go's `path.Clean("/" + path)` does; a relative one is taken against `/`.
    pub fn new(path: &str) -> Self {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        Self(format!("/{}", parts.join("/")))
    }

    /// The path below `self` with the relative `path` appended.
    pub fn join(&self, path: &str) -> Self {
        Self::new(&format!("{}/{path}", self.0))
    }

    /// The directory that holds this path; the root is its own parent.
    pub fn parent(&self) -> Self {
        Self::new(self.0.rsplit_once('/').map_or("/", |(parent, _)| parent))
    }

    /// The path as text, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
