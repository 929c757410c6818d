//! Which line of a hosts.toml makes its hosts differ from others.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::directory::{CertsDirectory, HostsFile, RegistryDirectory};
use super::reader;
use crate::containerd::host::{Host, Pulls};
use crate::containerd::release::Behaviour;
use crate::secret::TextKind;
use crate::text::FileText;
use crate::toml::syntax::{Entry, Syntax, ValueKind};

/// In a file with more lines than this only the first other host is looked for.
const MOST_LINES: usize = 64;

/// Where the hosts file in the directory `name` says something else than `wanted` for `namespace`: the first key or table
/// without which it gives that, else the first host that is another one.
pub fn difference(
    certs: &CertsDirectory,
    name: &str,
    namespace: &str,
    behaviour: &Behaviour,
    wanted: &Pulls,
) -> Option<Range<usize>> {
    let directory = certs.directories.get(name)?;
    let file = directory.hosts_file.as_ref()?;
    let text = std::str::from_utf8(file.content.bytes()).ok()?;
    let syntax = file.read_by(behaviour.go_toml).ok()?;
    let given = |content: FileText| {
        let mut directory = RegistryDirectory::clone(directory);
        directory.hosts_file = Some(HostsFile::new(file.real.clone(), content));
        let alone = CertsDirectory {
            directories: BTreeMap::from([(name.to_owned(), Rc::new(directory))]),
            ..CertsDirectory::empty(certs.path.clone())
        };
        reader::pulls(&alone, namespace, behaviour)
    };
    let parts = parts(syntax, text.len());
    let alone = parts
        .iter()
        .take(MOST_LINES)
        .filter(|_| parts.len() <= MOST_LINES);
    let decides = alone.into_iter().find(|(range, _)| {
        let without = [text.get(..range.start), text.get(range.end..)];
        let without: String = without.into_iter().flatten().collect();
        given(FileText::new(without.into_bytes(), TextKind::HostsFile)).same(wanted)
    });
    if let Some((_, shown)) = decides {
        return Some(shown.clone());
    }
    let (Pulls::Hosts(hosts), Pulls::Hosts(wanted)) = (given(file.content.clone()), wanted) else {
        return None;
    };
    let other = hosts.iter().enumerate().find(|(index, host)| {
        let theirs = wanted.get(*index);
        theirs.is_none_or(|theirs| !theirs.is_same(host))
    });
    host_place(syntax, other?.1)
}

/// Every key, and every table with what is in it: what is taken out to look at the file without it, and what is shown.
fn parts(syntax: &Syntax, end: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let mut parts = Vec::new();
    let mut sections = syntax.sections.iter().peekable();
    while let Some(section) = sections.next() {
        parts.extend(section.entries.iter().map(|entry| {
            let range = entry.range();
            (range.clone(), range)
        }));
        let next = sections.peek().and_then(|next| next.header.as_ref());
        if let Some(header) = &section.header {
            let end = next.map_or(end, |next| next.range.start);
            parts.push((header.range.start..end, header.range.clone()));
        }
    }
    parts
}

/// The table of a host, or the `server` that names it.
fn host_place(syntax: &Syntax, host: &Host) -> Option<Range<usize>> {
    let mut headers = syntax.sections.iter().filter_map(|s| s.header.as_ref());
    let table = headers.find(|header| {
        let url = header.keys.get(1);
        url.is_some_and(|url| url.name.contains(&host.host))
    });
    if let Some(table) = table {
        return Some(table.range.clone());
    }
    let mut entries = syntax.sections.iter().flat_map(|s| &s.entries);
    let names = |entry: &&Entry| match &entry.value.kind {
        ValueKind::String(url) => url.contains(&host.host),
        _ => false,
    };
    Some(entries.find(names)?.range())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::host::Scheme;
    use crate::containerd::release::NEWEST;
    use crate::node::NodePath;

    fn line_of(text: &str, wanted: &[Host]) -> Option<String> {
        let mut certs = CertsDirectory::empty(NodePath::new("/c"));
        let content = FileText::new(text.as_bytes().to_vec(), TextKind::HostsFile);
        certs.write(&NodePath::new("/c/r.example/hosts.toml"), &content);
        let wanted = Pulls::Hosts(wanted.to_vec());
        let behaviour = Behaviour::of(NEWEST);
        let range = difference(&certs, "r.example", "r.example", &behaviour, &wanted)?;
        text.get(range).map(str::to_owned)
    }

    #[test]
    fn the_line_is_the_one_without_which_there_is_no_difference() {
        let http = Host::new(Scheme::Http, "r.example:5000", b"/v2");
        let own = Host::new(Scheme::Https, "r.example", b"/v2");
        let mirror = Host::new(Scheme::Https, "m.example", b"/v2");
        let https_first = "server = \"http://r.example:5000\"\n[host.\"http://r.example:5000\"]\n  skip_verify = true\n";
        assert_eq!(
            line_of(https_first, std::slice::from_ref(&http)).as_deref(),
            Some("skip_verify = true")
        );
        let one_more = "[host.\"https://m.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
        assert_eq!(
            line_of(one_more, std::slice::from_ref(&own)).as_deref(),
            Some("[host.\"https://m.example\"]")
        );
        let others = "server = \"https://s.example\"\n[host.\"https://n.example\"]\n";
        assert_eq!(
            line_of(others, &[mirror, own]).as_deref(),
            Some("[host.\"https://n.example\"]")
        );
    }
}
