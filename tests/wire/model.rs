//! What the library's model of containerd predicts, to be compared with what the daemons did.

use std::path::Path;

/// The hosts that containerd of this version tries for the images of a namespace on the node in this
/// tree, in order, repeats folded, each as `scheme://host/path`; `None` where the model says nothing.
pub(crate) fn model_hosts(_tree: &Path, _namespace: &str, _version: &str) -> Option<Vec<String>> {
    // To be filled from `containerd_registry_migrate::resolve`.
    None
}
