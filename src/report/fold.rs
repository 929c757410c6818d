//! What of a large change is shown to people, so that they can still read it. JSON and the digest have everything.

use std::collections::HashMap;

use super::{Action, FileChange, NamespacePulls};
use crate::containerd::hosts_file::directory::HOSTS_FILE;

/// So many namespaces with unchanged pulls are shown.
pub(super) const UNCHANGED: usize = 20;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What is alike is shown once, and what does not change is counted beyond twenty.
    Folded,
    /// Everything is shown.
    All,
}

/// A file, and those whose diffs differ from its own only in the name of the registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileGroup<'r> {
    pub(super) file: &'r FileChange,
    pub(super) alike: Vec<&'r FileChange>,
}

impl FileGroup<'_> {
    /// The registries of the other files.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.alike.iter().filter_map(|file| registry(file))
    }
}

/// The files in groups, in the order of their first.
pub(super) fn files(files: &[FileChange], detail: Detail) -> Vec<FileGroup<'_>> {
    let mut groups: Vec<FileGroup<'_>> = Vec::new();
    let mut known: HashMap<(Action, String), usize> = HashMap::new();
    for file in files {
        if let Some(name) = registry(file).filter(|_| detail == Detail::Folded) {
            // No text of a diff has this character.
            let shape = file.diff.replace(&name, "\0");
            let index = *known.entry((file.action, shape)).or_insert(groups.len());
            if let Some(group) = groups.get_mut(index) {
                group.alike.push(file);
                continue;
            }
        }
        let alike = Vec::new();
        groups.push(FileGroup { file, alike });
    }
    groups
}

/// The directory of a hosts file, which is the name of its registry.
fn registry(file: &FileChange) -> Option<String> {
    let is_hosts_file = file.path.name() == HOSTS_FILE;
    let name = file.path.parent().name().to_owned();
    (is_hosts_file && !name.is_empty()).then_some(name)
}

/// The namespaces to show, in order, and how many with unchanged pulls there are besides.
pub(super) fn namespaces(
    namespaces: &[NamespacePulls],
    detail: Detail,
) -> (Vec<&NamespacePulls>, usize) {
    let mut unchanged = 0;
    let mut shown: Vec<&NamespacePulls> = namespaces.iter().collect();
    if detail == Detail::Folded {
        shown.retain(|namespace| {
            unchanged += usize::from(namespace.same);
            !namespace.same || unchanged <= UNCHANGED
        });
    }
    let hidden = namespaces.len() - shown.len();
    (shown, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodePath;
    use crate::plan::FileKind;
    use crate::report::TakesEffect;

    fn file(path: &str, diff: &str) -> FileChange {
        FileChange {
            path: NodePath::new(path),
            named: None,
            kind: FileKind::HostsFile,
            action: Action::Create,
            mode: None,
            takes_effect: TakesEffect::AfterRestart,
            diff: diff.to_owned(),
            masked: false,
        }
    }

    #[test]
    fn hosts_files_that_differ_only_in_the_name_are_one_group() {
        let all = [
            file(
                "/c/a.example/hosts.toml",
                "+server = \"https://a.example\"\n",
            ),
            file(
                "/c/b.example/hosts.toml",
                "+server = \"https://b.example\"\n",
            ),
            file(
                "/c/c.example/hosts.toml",
                "+server = \"https://other.example\"\n",
            ),
            file("/c/config.toml", "+x = 1\n"),
            file("/d/config.toml", "+x = 1\n"),
            file(
                "/c/d.example/hosts.toml",
                "+server = \"https://d.example\"\n",
            ),
        ];
        let groups = files(&all, Detail::Folded);
        let names: Vec<Vec<String>> = groups.iter().map(|group| group.names().collect()).collect();
        assert_eq!(
            names,
            [vec!["b.example", "d.example"], vec![], vec![], vec![]]
        );
        assert_eq!(files(&all, Detail::All).len(), all.len());
    }

    #[test]
    fn namespaces_with_unchanged_pulls_are_counted_beyond_twenty() {
        let namespace = |number: usize| NamespacePulls {
            name: Some(number.to_string()),
            unnamed: false,
            before: Vec::new(),
            before_fails: None,
            after: Vec::new(),
            after_fails: None,
            same: number.is_multiple_of(2),
            changed_by: None,
            changed_on: Vec::new(),
        };
        let all: Vec<NamespacePulls> = (0..50).map(namespace).collect();
        let (shown, hidden) = namespaces(&all, Detail::Folded);
        assert_eq!((shown.len(), hidden), (25 + UNCHANGED, 5));
        assert_eq!(shown.iter().filter(|namespace| !namespace.same).count(), 25);
        let (shown, hidden) = namespaces(&all, Detail::All);
        assert_eq!((shown.len(), hidden), (50, 0));
    }
}
