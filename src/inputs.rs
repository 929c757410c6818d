//! Everything that a plan is made from, read from the node: the configuration, the certs directory, and what is known
//! of the certificate files. After this no module reads the disk until `apply`.

use std::collections::{BTreeMap, BTreeSet};

use crate::certificate::holds_certificate;
use crate::config::ConfigFile;
use crate::config::legacy::{self, Registry};
use crate::config::syntax::ValueKind;
use crate::config::version_1;
use crate::finding::{self, FileId, Findings, Placed};
use crate::glob;
use crate::hosts::directory::{CertsDirectory, Dangling, HOSTS_FILE, HostsFile, RegistryDirectory};
use crate::node::{EntryKind, Node, NodeError, NodePath};
use crate::resolve::absolute;
use crate::version::{Behaviour, TomlReader, Version};

/// Where containerd looks when nobody says otherwise.
pub const DEFAULT_CERTS_DIRECTORY: &str = "/etc/containerd/certs.d";

/// The second directory of the built-in `config_path` of containerd 2.2 and later.
pub const DOCKER_CERTS_DIRECTORY: &str = "/etc/docker/certs.d";

/// What an operator has settled before anything is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The config.toml to migrate.
    pub config: NodePath,
    /// `--certs-dir`, if it was given.
    pub certs_directory: Option<NodePath>,
    /// `--from`, if it was given or the node's containerd answered.
    pub from: Option<Version>,
    /// `--to`.
    pub to: Version,
    /// `--existing`.
    pub existing: Existing,
    /// `--v1`.
    pub version_1: Version1,
}

/// Who decides where a hosts file is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Existing {
    /// Nobody yet: a difference is refused
    Refuse,
    /// The file
    Keep,
    /// The settings that are in effect today
    Replace,
}

/// What is done with a version-1 file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Version1 {
    /// It is refused
    Refuse,
    /// It is migrated in place and stays version 1
    Keep,
    /// It becomes a version-2 file: every plugin gets its version-2 name
    Convert,
}

/// What reading a certificate file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFile {
    /// It is there, and may hold a certificate or a key.
    Read,
    /// It was read completely, and holds no certificate by Go's rules.
    WithoutCertificate,
    /// It is not there.
    Missing,
    /// It could not be read, for this reason.
    Unreadable(String),
}

/// The inputs of a plan.
#[derive(Debug)]
pub struct Inputs {
    /// What was asked for.
    pub options: Options,
    /// The containerd whose behaviour is kept.
    pub from: Version,
    /// The config.toml, and later what it imports, in load order.
    pub files: Vec<ConfigFile>,
    /// The text of config.toml as it is on the disk, if `files` holds it converted to version 2.
    pub converted_from: Option<String>,
    /// The registry settings of the file that has them.
    pub registry: Option<Registry>,
    /// The directory that `config_path` names afterwards.
    pub certs: CertsDirectory,
    /// Whether there is a `/etc/docker/certs.d`, which the built-in `config_path` of 2.2 and later names, too.
    pub has_docker_directory: bool,
    /// What is known of each certificate file that a setting names.
    pub certificates: BTreeMap<String, CertificateFile>,
}

/// Reads the node. `None` if its configuration cannot be understood, which the findings say.
///
/// The text of every file that was read is handed to `sources` for excerpts and masks, also of those that are not
/// understood.
pub fn read(
    node: &Node,
    options: Options,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<Option<Inputs>, ReadError> {
    let Some(file) = node.read(&options.config)? else {
        return Err(ReadError::NoConfig(options.config));
    };
    let id = sources.add(&file.path, &file.bytes);
    let Some(config) =
        ConfigFile::parse(id, options.config.clone(), file.path, file.bytes, findings)
    else {
        return Ok(None);
    };
    let from = options
        .from
        .unwrap_or_else(|| default_from(&config).min(options.to));
    let readers: Vec<TomlReader> = crate::version::generations(from, options.to.max(from))
        .iter()
        .map(|generation| generation.behaviour.toml)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut registry = legacy::read(&config, &readers, findings);
    let imported = read_imports(node, &config, findings, sources)?;
    let mut config = config;
    let mut converted_from = None;
    let pending = registry.as_ref().filter(|registry| registry.pending());
    if options.version_1 == Version1::Convert && pending.is_some_and(|found| found.version == 1) {
        let Some(converted) = convert(&config, &imported, findings, sources) else {
            return Ok(None);
        };
        registry = legacy::read(&converted, &readers, findings);
        converted_from = Some(std::mem::replace(&mut config, converted).text);
    }
    let certs_path = certs_path(&options, registry.as_ref(), findings);
    let certs = read_certs_directory(node, certs_path)?;
    let docker = node.list(&NodePath::new(DOCKER_CERTS_DIRECTORY))?;
    let certificates = read_certificates(node, registry.as_ref());
    let configs = registry
        .iter_mut()
        .flat_map(|registry| &mut registry.configs);
    for tls in configs.filter_map(|config| config.tls.as_mut()) {
        let read = |file: &Placed<String>| certificates.get(&absolute(&file.value));
        if tls.ca_file.as_ref().and_then(read) == Some(&CertificateFile::WithoutCertificate) {
            tls.empty_ca_file = tls.ca_file.take();
        }
    }
    Ok(Some(Inputs {
        options,
        from,
        files: vec![config],
        converted_from,
        registry,
        certs,
        has_docker_directory: docker.is_some_and(|entries| !entries.is_empty()),
        certificates,
    }))
}

/// The config.toml as it is now and what it imports, in load order, for those who need no plan: what is not understood
/// is left out, and nobody is told.
pub fn configuration(
    node: &Node,
    path: &NodePath,
    sources: &mut Sources,
) -> Result<Vec<ConfigFile>, NodeError> {
    let mut unused = Findings::new([]);
    let Some(file) = node.read(path)? else {
        return Ok(Vec::new());
    };
    let id = sources.add(&file.path, &file.bytes);
    let main = ConfigFile::parse(id, path.clone(), file.path, file.bytes, &mut unused);
    let mut files: Vec<ConfigFile> = main.into_iter().collect();
    if let Some(main) = files.first() {
        let imported = read_imports(node, main, &mut unused, sources)?;
        files.extend(imported);
    }
    Ok(files)
}

/// The file as version 2, under a number of its own: findings point into the converted text.
fn convert(
    config: &ConfigFile,
    imported: &[ConfigFile],
    findings: &mut Findings,
    sources: &mut Sources,
) -> Option<ConfigFile> {
    // Whichever file is converted first, containerd 1.x does not start between the two (semantics §12.2).
    let names_plugins = |file: &&ConfigFile| {
        ["plugins", "disabled_plugins", "required_plugins"]
            .iter()
            .any(|name| file.tree.get(name).is_some())
    };
    if let Some(file) = imported.iter().find(names_plugins) {
        findings.add(
            &finding::VERSION_1,
            file.place(0..0),
            format!("`{}` is imported and names plugins, too: it would have to be converted at the same instant", file.path),
            "merge it into the main file first, or --v1 keep",
        );
        return None;
    }
    let refused = match version_1::convert(&config.text, &config.syntax) {
        Ok(renames) => match version_1::apply(&config.text, &renames) {
            Some(text) => {
                let id = sources.add(&config.real, text.as_bytes());
                let (path, real) = (config.path.clone(), config.real.clone());
                return ConfigFile::parse(id, path, real, text.into_bytes(), findings);
            }
            None => (0..0, "its names overlap".to_owned()),
        },
        Err(refusal) => (refusal.range, refusal.reason),
    };
    findings.add(
        &finding::VERSION_1,
        config.place(refused.0),
        format!("this file cannot be converted to version 2: {}", refused.1),
        "mend this, or --v1 keep",
    );
    None
}

/// The containerd that a file is for when nobody says it.
fn default_from(config: &ConfigFile) -> Version {
    let version = config
        .tree
        .get("version")
        .and_then(|node| node.value())
        .map(|value| &value.kind);
    let line = match version {
        Some(ValueKind::Integer(3)) => "2.0",
        Some(ValueKind::Integer(4)) => "2.3",
        _ => "1.7",
    };
    Version::parse(line).unwrap_or(crate::version::NEWEST)
}

/// The texts that findings point into and that masks are made for.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: NodePath,
    /// Its text, with replacement characters where it is not UTF-8.
    pub text: String,
}

impl Sources {
    /// Adds a file and numbers it.
    pub fn add(&mut self, path: &NodePath, bytes: &[u8]) -> FileId {
        self.files.push(Source {
            path: path.clone(),
            text: String::from_utf8_lossy(bytes).into_owned(),
        });
        FileId(self.files.len() - 1)
    }

    /// The file of this number.
    pub fn get(&self, id: FileId) -> Option<&Source> {
        self.files.get(id.0)
    }

    /// Every file.
    pub fn iter(&self) -> std::slice::Iter<'_, Source> {
        self.files.iter()
    }
}

/// Why the node could not be read; exit code 4.
#[derive(Debug)]
pub enum ReadError {
    /// There is no such config.toml. It may be a mistyped `--root` or `--config`, so it is not "nothing to do".
    NoConfig(NodePath),
    /// Reading failed.
    Node(NodeError),
}

impl From<NodeError> for ReadError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoConfig(path) => write!(
                formatter,
                "there is no `{path}`; check --root and --config (`systemctl cat containerd` shows whether the \
                 daemon is started with another file)"
            ),
            Self::Node(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoConfig(_) => None,
            Self::Node(error) => Some(error),
        }
    }
}

/// The directory of the hosts files: what `config_path` says, else `--certs-dir`, else the usual one.
fn certs_path(options: &Options, registry: Option<&Registry>, findings: &mut Findings) -> NodePath {
    let asked = options.certs_directory.clone();
    let set = registry
        .filter(|registry| registry.pending())
        .and_then(|registry| {
            let [path] = registry.config_paths()[..] else {
                return None;
            };
            Some((
                NodePath::new(path),
                registry.config_path.as_ref()?.place.clone(),
            ))
        });
    match (set, asked) {
        (Some((set, place)), Some(asked)) if set != asked => {
            findings.add(
                &finding::CERTS_DIR_CONTRADICTS_CONFIG_PATH,
                place,
                format!("`config_path` is `{set}`, but --certs-dir is `{asked}`"),
                "leave --certs-dir out, or change `config_path` first",
            );
            set
        }
        (Some((set, _)), _) => set,
        (None, Some(asked)) => asked,
        (None, None) => NodePath::new(DEFAULT_CERTS_DIRECTORY),
    }
}

fn read_certs_directory(node: &Node, path: NodePath) -> Result<CertsDirectory, NodeError> {
    let real = node.real(&path)?;
    let mut directories = BTreeMap::new();
    let mut dangling = Vec::new();
    for entry in node.list(&real)?.unwrap_or_default() {
        let directory = match entry.kind {
            EntryKind::Directory => {
                let inside = node.real(&real.join(&entry.name))?;
                let (directory, is_dangling) = read_registry_directory(node, inside)?;
                if is_dangling {
                    let hosts_path = directory.real.join(HOSTS_FILE);
                    dangling.push(Dangling {
                        link: path.join(&entry.name).join(HOSTS_FILE),
                        target: target(node, &hosts_path),
                        blocked: hosts_path,
                    });
                }
                directory
            }
            EntryKind::File => RegistryDirectory {
                unreadable: Some(format!("`{}` is a file", path.join(&entry.name))),
                is_file: true,
                ..RegistryDirectory::empty(real.join(&entry.name))
            },
            // A link that leads nowhere is no directory to containerd either.
            EntryKind::Other => {
                let link = real.join(&entry.name);
                dangling.push(Dangling {
                    blocked: link.join(HOSTS_FILE),
                    target: target(node, &link).join(HOSTS_FILE),
                    link: path.join(&entry.name),
                });
                continue;
            }
        };
        if entry.is_utf8 {
            directories.insert(entry.name, directory);
        }
    }
    Ok(CertsDirectory {
        path,
        real,
        directories,
        dangling,
    })
}

/// Where a link that leads nowhere would lead; one that cannot be followed leads to itself.
fn target(node: &Node, link: &NodePath) -> NodePath {
    node.real(link).unwrap_or_else(|_| link.clone())
}

/// What is in a registry's directory, and whether its hosts.toml is a link that leads nowhere.
fn read_registry_directory(
    node: &Node,
    real: NodePath,
) -> Result<(RegistryDirectory, bool), NodeError> {
    let entries = node.list(&real)?.unwrap_or_default();
    let mut directory = RegistryDirectory::empty(real);
    let mut is_dangling = false;
    for entry in entries {
        let file = directory.real.join(&entry.name);
        if entry.name == HOSTS_FILE {
            match entry.kind {
                EntryKind::File => {
                    directory.hosts_file = node
                        .read(&file)?
                        .map(|file| HostsFile::new(file.path, file.bytes));
                }
                EntryKind::Directory => {
                    directory.unreadable = Some(format!("`{file}` is a directory"));
                }
                EntryKind::Other => is_dangling = true,
            }
        } else if entry.kind != EntryKind::Directory
            && [".crt", ".cert", ".key"]
                .iter()
                .any(|ending| entry.name.ends_with(ending))
        {
            directory.certificates.push(entry.name);
        }
    }
    Ok((directory, is_dangling))
}

fn read_certificates(
    node: &Node,
    registry: Option<&Registry>,
) -> BTreeMap<String, CertificateFile> {
    let settings = registry.iter().flat_map(|registry| &registry.configs);
    let files = settings
        .filter_map(|config| config.tls.as_ref())
        .flat_map(|tls| {
            [&tls.ca_file, &tls.cert_file, &tls.key_file]
                .into_iter()
                .flatten()
        });
    let mut certificates = BTreeMap::new();
    for file in files {
        let path = absolute(&file.value);
        certificates.entry(path.clone()).or_insert_with(|| {
            match node.read(&NodePath::new(&path)) {
                Ok(Some(file)) if holds_certificate(&file.bytes) => CertificateFile::Read,
                Ok(Some(_)) => CertificateFile::WithoutCertificate,
                Ok(None) => CertificateFile::Missing,
                Err(error) => CertificateFile::Unreadable(error.to_string()),
            }
        });
    }
    certificates
}

/// Follows `imports` as containerd does, as far as to say whether an imported file touches CRI
/// (`LoadConfig`, `services/server/config/config.go@v1.7.34`:295; `cmd/containerd/server/config/config.go@v2.0.11`).
fn read_imports(
    node: &Node,
    main: &ConfigFile,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<Vec<ConfigFile>, NodeError> {
    let mut seen: BTreeSet<NodePath> = [main.path.clone()].into();
    let mut queue: Vec<ConfigFile> = Vec::new();
    let mut current = main;
    let mut next = 0;
    let mut parsed;
    loop {
        for (pattern, place) in imports_of(current) {
            let place = if current.id == main.id {
                place
            } else {
                current.place(0..0)
            };
            for path in resolve_import(node, &current.path, &pattern)? {
                if !seen.insert(path.clone()) {
                    continue;
                }
                let Some(file) = node.read(&path)? else {
                    findings.add(
                        &finding::IMPORT_MISSING,
                        place.clone(),
                        format!("`{path}` is imported, but it is not there"),
                        "containerd does not start without it; what it holds is not looked at here",
                    );
                    continue;
                };
                let id = sources.add(&file.path, &file.bytes);
                if let Some(imported) = ConfigFile::parse(id, path, file.path, file.bytes, findings)
                {
                    queue.push(imported);
                }
            }
        }
        let Some(file) = queue.get(next) else { break };
        parsed = file.clone();
        current = &parsed;
        next += 1;
        if let Some(node) = [
            "cri",
            "io.containerd.grpc.v1.cri",
            "io.containerd.cri.v1.images",
        ]
        .iter()
        .find_map(|id| current.tree.table_at(&["plugins"])?.get(id))
        {
            findings.add(
                &finding::IMPORTS_TOUCH_CRI,
                current.place(node.key.range.clone()),
                format!(
                    "`{}` is imported and has a CRI section of its own",
                    current.path
                ),
                "this release migrates a single file; merge the section into the main file first, \
                 or wait for the release that reads imports",
            );
        }
    }
    Ok(queue)
}

fn imports_of(file: &ConfigFile) -> Vec<(String, finding::Place)> {
    let value = file.tree.get("imports").and_then(|node| node.value());
    let Some(ValueKind::Array(elements)) = value.map(|value| &value.kind) else {
        return Vec::new();
    };
    elements
        .iter()
        .filter_map(|element| match &element.kind {
            ValueKind::String(text) => Some((text.clone(), file.place(element.range.clone()))),
            _ => None,
        })
        .collect()
}

/// The files that an element of `imports` means: a pattern if it has a `*`, and relative to the importing file.
fn resolve_import(
    node: &Node,
    importer: &NodePath,
    pattern: &str,
) -> Result<Vec<NodePath>, NodeError> {
    let pattern = if pattern.starts_with('/') {
        NodePath::new(pattern)
    } else {
        importer.parent().join(pattern)
    };
    if !pattern.as_str().contains('*') {
        return Ok(vec![pattern]);
    }
    let mut paths = vec![NodePath::new("/")];
    for part in pattern.as_str().split('/').filter(|part| !part.is_empty()) {
        let mut matched = Vec::new();
        for path in paths {
            if !part.contains(['*', '?', '[', '\\']) {
                matched.push(path.join(part));
                continue;
            }
            let entries = node.list(&path).ok().flatten().unwrap_or_default();
            let names = entries
                .iter()
                .filter(|entry| entry.is_utf8 && glob::matches(part, &entry.name));
            matched.extend(names.map(|entry| path.join(&entry.name)));
        }
        paths = matched;
    }
    // A pattern's files may have literal parts behind the `*` that do not exist.
    Ok(paths
        .into_iter()
        .filter(|path| matches!(node.read(path), Ok(Some(_)) | Err(_)))
        .collect())
}

impl Inputs {
    /// What the containerd does whose behaviour is kept.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour::of(self.from)
    }
}
