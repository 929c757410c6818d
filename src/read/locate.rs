//! Which config.toml the daemon reads: the one that its systemd unit names, else the default one. Where there is none, what
//! else the node has.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::node::{Node, NodeError, NodePath};
use crate::printable::printable;
use crate::secret::{Content, shown_path};

/// So many bytes of variables are put into the command lines of a unit. The kernel takes no longer argument
/// (`MAX_ARG_STRLEN`).
const LONGEST_COMMAND: usize = 128 << 10;

/// The file that containerd reads if its command line names none (`defaults.DefaultConfigDir`).
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// Where systemd looks for units, the first one first.
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

const UNIT: &str = "containerd.service";

/// Where a containerd may be installed.
const BINARIES: [&str; 4] = [
    "/usr/bin/containerd",
    "/usr/local/bin/containerd",
    "/usr/sbin/containerd",
    "/bin/containerd",
];

/// The files of distributions that run a containerd of their own.
const ELSEWHERE: [(&str, &str); 4] = [
    (
        "k3s",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    ),
    (
        "rke2",
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    ),
    ("k0s", "/etc/k0s/containerd.toml"),
    (
        "microk8s",
        "/var/snap/microk8s/current/args/containerd.toml",
    ),
];

/// What distributions make their configuration of: the files, and what to do.
const SOURCES: [(&str, &[&str], &str); 4] = [
    (
        "k3s",
        &[
            "/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl",
            "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
        ],
        EDIT_TEMPLATE,
    ),
    (
        "rke2",
        &[
            "/var/lib/rancher/rke2/agent/etc/containerd/config.toml.tmpl",
            "/var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.tmpl",
        ],
        EDIT_TEMPLATE,
    ),
    (
        "microk8s",
        &["/var/snap/microk8s/current/args/containerd-template.toml"],
        EDIT_TEMPLATE,
    ),
    (
        "k0s",
        &["/run/k0s/containerd.toml", "/etc/k0s/containerd.d"],
        "edit the drop-ins in `/etc/k0s/containerd.d` by hand; this program does not write what k0s makes of them",
    ),
];

const EDIT_TEMPLATE: &str = "edit the template by hand; this program writes neither a template nor what is rendered from it";

/// What a distribution has where it has no file that containerd reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The distribution.
    name: &'static str,
    paths: Vec<NodePath>,
    /// What to do.
    advice: &'static str,
}

/// The config.toml of a node, which may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its path.
    pub path: NodePath,
    /// How it was found.
    pub found: Found,
}

impl Default for Located {
    fn default() -> Self {
        Self {
            path: NodePath::new(CONFIG),
            found: Found::Default,
        }
    }
}

/// How a config.toml was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// By `--config`.
    Given,
    /// This file of containerd's systemd unit names it.
    Unit(NodePath),
    /// It is the one that containerd reads if nobody names one.
    Default,
    /// It does not exist: containerd runs on its built-in defaults.
    BuiltIn,
}

/// What a node has in place of the config.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoConfig {
    /// The file that does not exist.
    pub located: Located,
    /// Whether a link of that name leads nowhere.
    pub is_dangling: bool,
    /// The files that exist elsewhere, with the name of the distribution that has it there.
    pub elsewhere: Vec<(&'static str, NodePath)>,
    /// What other distributions make such a file of.
    pub sources: Vec<Source>,
    /// What shows that this is a node with a containerd.
    pub containerd: Option<NodePath>,
}

impl NoConfig {
    /// Whether the daemon runs on its built-in defaults. Where someone has named the file, it does not start without it,
    /// or it is the wrong name.
    pub fn runs_on_defaults(&self) -> bool {
        self.located.found == Found::Default
            && !self.is_dangling
            && self.elsewhere.is_empty()
            && self.sources.is_empty()
            && self.containerd.is_some()
    }
}

impl fmt::Display for NoConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.located.path.as_str();
        // What an operator typed is shown as it is.
        let path = printable(match self.located.found {
            Found::Given => path,
            _ => shown_path(path),
        });
        if self.is_dangling {
            write!(formatter, "`{path}` is a link that leads nowhere")?;
        } else {
            write!(formatter, "`{path}` does not exist")?;
        }
        match &self.located.found {
            Found::Given => formatter.write_str("; check --root and --config"),
            Found::Unit(unit) => write!(
                formatter,
                ", although `{}` names it: containerd does not start without it",
                printable(unit.as_str())
            ),
            Found::Default if self.is_dangling => Ok(()),
            Found::Default if self.elsewhere.is_empty() && self.sources.is_empty() => formatter
                .write_str(", and nothing else of containerd does; check --root and --config"),
            Found::Default | Found::BuiltIn => {
                let others = self.elsewhere.iter();
                let others = others.map(|(name, path)| format!("{name} has `{path}`"));
                let sources = self.sources.iter().map(ToString::to_string);
                let others: Vec<String> = others.chain(sources).collect();
                write!(formatter, ", but {}", others.join(" and "))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            paths,
            advice,
        } = self;
        let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
        write!(formatter, "{name} has {}: {advice}", paths.join(" and "))
    }
}

/// Which config.toml the daemon reads.
pub fn locate(node: &Node, given: Option<&NodePath>) -> Result<Located, NodeError> {
    if let Some(path) = given {
        return Ok(Located {
            path: path.clone(),
            found: Found::Given,
        });
    }
    Ok(match unit_config(node)? {
        Some((unit, path)) => Located {
            path,
            found: Found::Unit(unit),
        },
        None => Located::default(),
    })
}

/// What there is where this file does not exist.
pub fn missing(node: &Node, located: Located) -> Result<NoConfig, NodeError> {
    let path = &located.path;
    let siblings = node.list(&path.parent())?.unwrap_or_default();
    let is_dangling = siblings.iter().any(|entry| entry.name == path.name());
    let mut elsewhere = Vec::new();
    for (name, path) in ELSEWHERE {
        let path = NodePath::new(path);
        if node.exists(&path)? {
            elsewhere.push((name, path));
        }
    }
    let mut sources = Vec::new();
    for (name, paths, advice) in SOURCES {
        // What is made of it is what containerd reads.
        if elsewhere.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let mut existing = Vec::new();
        for path in paths {
            let path = NodePath::new(path);
            if node.exists(&path)? {
                existing.push(path);
            }
        }
        if !existing.is_empty() {
            let paths = existing;
            sources.push(Source {
                name,
                paths,
                advice,
            });
        }
    }
    let units = UNIT_DIRECTORIES.map(|directory| format!("{directory}/{UNIT}"));
    let signs = BINARIES.into_iter().chain(units.iter().map(String::as_str));
    let mut containerd = None;
    for sign in signs.chain(["/etc/containerd"]) {
        let sign = NodePath::new(sign);
        if node.exists(&sign)? {
            containerd = Some(sign);
            break;
        }
    }
    Ok(NoConfig {
        located,
        is_dangling,
        elsewhere,
        sources,
        containerd,
    })
}

/// The file that containerd's unit names, and the file of the unit that does.
fn unit_config(node: &Node) -> Result<Option<(NodePath, NodePath)>, NodeError> {
    let mut service = Service::default();
    for path in unit_files(node)? {
        if let Some(file) = node.read(&path)? {
            service.read(&path, &String::from_utf8_lossy(&file.bytes));
        }
    }
    service.read_environment_files(node);
    let Some((unit, value)) = service.config() else {
        return Ok(None);
    };
    // A report names the file in more places than one.
    if !Content::Path.is_shown(&value) {
        let why = "the value of `--config` is masked, because it does not look like a path; give the path with --config";
        let step = "find config.toml in the unit";
        return Err(NodeError::new(&unit, step, io::Error::other(why)));
    }
    Ok(Some((unit, NodePath::new(&value))))
}

/// The unit and its drop-ins, in the order in which systemd reads them: of files of one name only the first directory's
/// counts, and drop-ins are read by name, whichever directory they are in.
fn unit_files(node: &Node) -> Result<Vec<NodePath>, NodeError> {
    let mut unit = None;
    let mut drop_ins: BTreeMap<String, NodePath> = BTreeMap::new();
    for directory in UNIT_DIRECTORIES.map(NodePath::new) {
        let path = directory.join(UNIT);
        if unit.is_none() && node.exists(&path)? {
            unit = Some(path);
        }
        let directory = directory.join(&format!("{UNIT}.d"));
        for entry in node.list(&directory)?.unwrap_or_default() {
            if entry.escaped.is_none() && entry.name.ends_with(".conf") {
                let path = directory.join(&entry.name);
                drop_ins.entry(entry.name).or_insert(path);
            }
        }
    }
    // A link to /dev/null masks a file of that name in the directories after it; it is read as an empty one.
    let mut files: Vec<NodePath> = unit.into_iter().collect();
    files.extend(drop_ins.into_values());
    let null = NodePath::new("/dev/null");
    let mut read = Vec::new();
    for path in files {
        if node.real(&path)? != null {
            read.push(path);
        }
    }
    Ok(read)
}

/// What the `[Service]` section of a unit and its drop-ins says about the command line.
#[derive(Debug, Default)]
struct Service {
    /// Each `ExecStart=` in effect, with the file that has it.
    commands: Vec<(NodePath, String)>,
    variables: BTreeMap<String, String>,
    /// Each `EnvironmentFile=` in effect.
    environment_files: Vec<String>,
}

impl Service {
    fn read(&mut self, path: &NodePath, text: &str) {
        let mut section = String::new();
        for line in logical_lines(text) {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                section = name.to_owned();
            } else if section == "Service"
                && let Some((key, value)) = line.split_once('=')
            {
                self.set(path, key.trim_end(), value.trim_start());
            }
        }
    }

    fn set(&mut self, path: &NodePath, key: &str, value: &str) {
        match (key, value) {
            // An empty value takes back what was said before.
            ("ExecStart", "") => self.commands.clear(),
            ("ExecStart", value) => self.commands.push((path.clone(), value.to_owned())),
            ("Environment", "") => self.variables.clear(),
            ("Environment", value) => {
                let assignments = words(value).into_iter();
                let assignments = assignments.filter_map(|word| {
                    let (name, value) = word.text.split_once('=')?;
                    Some((name.to_owned(), value.to_owned()))
                });
                self.variables.extend(assignments);
            }
            ("EnvironmentFile", "") => self.environment_files.clear(),
            ("EnvironmentFile", value) => self.environment_files.push(value.to_owned()),
            _ => {}
        }
    }

    /// Files of variables count more than `Environment=`. One that cannot be read is left out: only `-` before its name
    /// lets the unit start without it, and then it says nothing.
    fn read_environment_files(&mut self, node: &Node) {
        for name in std::mem::take(&mut self.environment_files) {
            let path = NodePath::new(name.trim_start_matches('-'));
            let Ok(Some(file)) = node.read(&path) else {
                continue;
            };
            for line in logical_lines(&String::from_utf8_lossy(&file.bytes)) {
                if let Some((name, value)) = line.split_once('=') {
                    let value = words(value).into_iter().map(|word| word.text);
                    let value: Vec<String> = value.collect();
                    self.variables
                        .insert(name.trim().to_owned(), value.join(" "));
                }
            }
        }
    }

    /// The unit's file with the last command line that runs containerd, and the value of its `--config`.
    fn config(&self) -> Option<(NodePath, String)> {
        let mut commands = self.commands.iter().rev();
        let mut room = LONGEST_COMMAND;
        let (unit, arguments) = commands.find_map(|(unit, command)| {
            let words = self.expanded(command, &mut room);
            Some((unit, containerd_arguments(words)?))
        })?;
        Some((unit.clone(), config_option(&arguments)?))
    }

    /// The words of a command line, as systemd makes them: `$NAME` alone is several words, `${NAME}` is text. Values may
    /// have `room` bytes, and are left out where there is no more of it.
    fn expanded(&self, command: &str, room: &mut usize) -> Vec<String> {
        let mut value = |name: &str| {
            let value = self.variables.get(name)?;
            *room = room.checked_sub(value.len())?;
            Some(value.as_str())
        };
        let mut expanded = Vec::new();
        for word in words(command) {
            let bare = word.text.strip_prefix('$').filter(|_| !word.is_quoted);
            match bare.filter(|name| is_name(name)) {
                Some(name) => {
                    let words = value(name).unwrap_or_default().split_whitespace();
                    expanded.extend(words.map(str::to_owned));
                }
                None => expanded.push(substituted(&word.text, &mut value).replace("%%", "%")),
            }
        }
        expanded
    }
}

/// A word with values in the place of `${NAME}`. What stands in a value is not looked at again, and a name without a value
/// stays as it is.
fn substituted<'v>(word: &str, mut value: impl FnMut(&str) -> Option<&'v str>) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once("${") {
        text.push_str(before);
        let length = behind.bytes().take_while(is_of_name).count();
        let (name, behind_name) = behind.split_at(length);
        match behind_name.strip_prefix('}') {
            Some(after) => {
                match value(name) {
                    Some(value) => text.push_str(value),
                    None => text.extend(["${", name, "}"]),
                }
                rest = after;
            }
            None => {
                text.push_str("${");
                rest = behind;
            }
        }
    }
    text + rest
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| is_of_name(&byte))
}

fn is_of_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// The lines without comments, those that end in a backslash continued by the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (line, continues) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let mut whole = begun.take().unwrap_or_default();
        whole.push_str(line);
        if continues {
            whole.push(' ');
            begun = Some(whole);
        } else if !whole.is_empty() {
            lines.push(whole);
        }
    }
    lines.extend(begun);
    lines
}

/// A word of a command line.
struct Word {
    text: String,
    is_quoted: bool,
}

/// The words of a line, with quotes taken off and the character after a backslash as it is.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert(Word {
            text: String::new(),
            is_quoted: false,
        });
        match character {
            _ if quote == Some(character) => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(character);
                word.is_quoted = true;
            }
            '\\' => word.text.extend(characters.next()),
            other => word.text.push(other),
        }
    }
    words.extend(word);
    words
}

/// The arguments of containerd in a command line; `None` if it is not run.
fn containerd_arguments(words: Vec<String>) -> Option<Vec<String>> {
    // `sh -c "exec containerd …"` has it inside of a word.
    let words: Vec<String> = words
        .iter()
        .flat_map(|word| word.split_whitespace().map(str::to_owned))
        .collect();
    let is_containerd = |word: &String| {
        // Systemd's own marks stand before the program.
        let program = word.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        program.rsplit('/').next() == Some("containerd")
    };
    let at = words.iter().position(is_containerd)?;
    Some(words.into_iter().skip(at + 1).collect())
}

/// The value of `-c` or `--config`, as Go's flag package takes them: one dash or two, `=` or a word of its own. The last
/// one counts.
fn config_option(arguments: &[String]) -> Option<String> {
    let mut found = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(option) = argument.strip_prefix('-') else {
            continue;
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        match option.split_once('=') {
            Some(("c" | "config", value)) => found = Some(value.to_owned()),
            None if matches!(option, "c" | "config") => found = rest.next().cloned(),
            _ => {}
        }
    }
    found.filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that a unit names, with its drop-ins.
    fn named(files: &[&str]) -> Option<String> {
        let mut service = Service::default();
        for text in files {
            service.read(&NodePath::new("/unit"), text);
        }
        service.config().map(|(_, path)| path)
    }

    #[test]
    fn what_stands_in_a_variable_is_not_replaced_again() {
        let unit = "[Service]\nEnvironment=A=${B} B=/etc/b.toml\nExecStart=containerd --config ";
        let of = |config: &str| named(&[&format!("{unit}{config}\n")]);
        assert_eq!(of("${A}").as_deref(), Some("${B}"));
        assert_eq!(of("${B}").as_deref(), Some("/etc/b.toml"));
        assert_eq!(of("${C}${${B}").as_deref(), Some("${C}${/etc/b.toml"));
        assert_eq!(of("/${").as_deref(), Some("/${"));
    }

    /// The kernel starts no command that is so long.
    #[test]
    fn a_command_line_does_not_grow_without_bound() {
        let mut service = Service::default();
        let value = "x".repeat(1 << 10);
        let command = "containerd ${V} ".repeat(1 << 12) + "$V";
        let unit = format!("[Service]\nEnvironment=V={value}\nExecStart={command}\n");
        service.read(&NodePath::new("/unit"), &unit);
        let mut room = LONGEST_COMMAND;
        let words = service.expanded(&command, &mut room);
        let length: usize = words.iter().map(String::len).sum();
        assert!(length <= LONGEST_COMMAND + command.len(), "{length}");
        assert!(room < value.len());
    }

    fn of_command(command: &str) -> Option<String> {
        named(&[&format!("[Service]\nExecStart={command}\n")])
    }

    #[test]
    fn a_command_line_names_the_file_in_every_way_that_containerd_takes() {
        for command in [
            "/usr/bin/containerd -c /etc/x.toml",
            "/usr/bin/containerd --config /etc/x.toml --log-level info",
            "/usr/bin/containerd --log-level info --config=/etc/x.toml",
            "/usr/bin/containerd -config=/etc/x.toml",
            "-/usr/local/bin/containerd -c=/etc/x.toml",
            "containerd \"--config\" '/etc/x.toml'",
            "/usr/bin/containerd -c /etc/y.toml -c /etc/x.toml",
            "/usr/bin/env LANG=C /usr/bin/containerd -c /etc/x.toml",
            "/bin/sh -c \"exec /usr/bin/containerd -c /etc/x.toml\"",
            "/usr/bin/containerd \\\n  --config \\\n  # a comment between\n  /etc/x.toml",
        ] {
            assert_eq!(
                of_command(command).as_deref(),
                Some("/etc/x.toml"),
                "{command}"
            );
        }
    }

    #[test]
    fn a_command_line_without_the_option_names_no_file() {
        for command in [
            "/usr/bin/containerd",
            "/usr/bin/containerd --log-level debug",
            "/usr/bin/containerd -c",
            "/bin/sh -c /usr/bin/start",
            "/usr/bin/dockerd -c /etc/x.toml",
            "/usr/bin/containerd --config-dir /etc/x",
        ] {
            assert_eq!(of_command(command), None, "{command}");
        }
    }

    #[test]
    fn a_drop_in_counts_more_than_the_unit_and_can_take_it_back() {
        let unit = "[Service]\nExecStart=/usr/bin/containerd -c /etc/one.toml\n";
        let drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/containerd -c /etc/two.toml\n";
        let reset = "[Service]\nExecStart=\nExecStart=/usr/bin/containerd\n";
        let of_another = "[Unit]\nExecStart=/usr/bin/containerd -c /etc/three.toml\n";
        assert_eq!(named(&[unit, drop_in]).as_deref(), Some("/etc/two.toml"));
        assert_eq!(named(&[unit, drop_in, reset]), None);
        assert_eq!(named(&[unit, of_another]).as_deref(), Some("/etc/one.toml"));
    }

    #[test]
    fn variables_of_the_unit_are_put_in() {
        let unit = "[Service]\nEnvironment=OTHER=1 \"ARGS=--log-level info -c /etc/x.toml\"\nExecStart=/usr/bin/containerd $ARGS\n";
        assert_eq!(named(&[unit]).as_deref(), Some("/etc/x.toml"));
        let unit =
            "[Service]\nEnvironment=DIR=/etc\nExecStart=/usr/bin/containerd -c ${DIR}/x.toml\n";
        assert_eq!(named(&[unit]).as_deref(), Some("/etc/x.toml"));
        let unit = "[Service]\nExecStart=/usr/bin/containerd $UNKNOWN\n";
        assert_eq!(named(&[unit]), None);
    }
}
