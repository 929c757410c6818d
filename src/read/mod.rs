//! Everything that a plan is made from, read from the node: the configuration, the certs directory, and what is known
//! of the certificate files. After this no module reads the disk until `apply`.

use std::collections::{BTreeMap, BTreeSet};

use crate::containerd::configuration::{Configuration, LoadedFile};
use crate::containerd::contents::{Contents, Section};
use crate::containerd::file::ConfigFile;
use crate::containerd::hosts_file::directory::CertsDirectory;
use crate::containerd::registry::Registry;
use crate::containerd::registry::absolute;
use crate::containerd::release::{
    Behaviour, Generation, NEWEST, OLDEST, TomlReader, Version, generations,
};
use crate::containerd::sight::{Roots, View, Views};
use crate::containerd::version_1;
use crate::finding::{self, FileId, Findings};
use crate::go::pem::holds_certificate;
use crate::node::{Node, NodeError, NodePath};
use crate::plan::carry::{Carried, carry};

mod certs;
mod imports;

pub use imports::import_path;

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
    /// `--keep-local-pull`.
    pub keep_local_pull: bool,
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
    /// config.toml and what it imports.
    pub configuration: Configuration,
    /// The text of config.toml as it is on the disk, if `configuration` holds it converted to version 2.
    pub converted_from: Option<String>,
    /// What the containerd whose behaviour is kept makes of the configuration.
    pub view: View,
    /// What every containerd from that one to `--to` makes of it.
    pub views: Vec<(Generation, View)>,
    /// What they make of the files as they are on the disk, in the same order: not converted.
    pub today: Vec<View>,
    /// The registry settings that are in effect for it. CA files without a certificate count as not set.
    pub registry: Registry,
    /// The directory that `config_path` names afterwards.
    pub certs: CertsDirectory,
    /// Files that are to be written into it, since another directory of `config_path` gives them today. `certs` has them
    /// already.
    pub carried: Vec<Carried>,
    /// Every directory that some containerd takes for its `config_path`, today or afterwards.
    pub roots: Roots,
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
    let Some(main) = read_main(node, &options.config, findings, sources)? else {
        return Ok(None);
    };
    let from = options
        .from
        .unwrap_or_else(|| default_from(&main).min(options.to));
    let Some(mut configuration) = imports::read(node, main, findings, sources)? else {
        return Ok(None);
    };
    let behaviour = Behaviour::of(from);
    let mut views = Views::default();
    let mut view = views.of(&configuration, &behaviour);
    let mut converted_from = None;
    let mut on_the_disk = None;
    // What cannot be converted is a finding, and the node is looked at as it is. Where the section is dropped today, a
    // conversion would bring it to life.
    if options.version_1 == Version1::Convert
        && !behaviour.loses_version_1
        && says_something_in_version_1(&configuration)
        && let Some(converted) = convert(&configuration, findings, sources)
    {
        on_the_disk = Some(configuration.clone());
        if let Some(main) = configuration.files.first_mut() {
            converted_from = Some(
                std::mem::replace(main, LoadedFile::new(converted))
                    .file
                    .text,
            );
        }
        views = Views::default();
        view = views.of(&configuration, &behaviour);
    }
    let mut registry = Registry::clone(&view.registry);
    let path = certs_path(&options, &registry, findings);
    let mut certs = certs::read(node, path, sources)?;
    let mut roots = Roots::new();
    for configuration in std::iter::once(&configuration).chain(&on_the_disk) {
        let mut views = Views::default();
        for generation in generations(OLDEST, NEWEST) {
            let view = views.of(configuration, &generation.behaviour);
            let split = view.config_path.split(':').filter(|root| !root.is_empty());
            for root in view.roots().into_iter().chain(split) {
                if !roots.contains_key(root) {
                    // A colon separates names, so that a name with one is never there.
                    let path = NodePath::new(root);
                    let directory = if root.contains(':') {
                        CertsDirectory::empty(path)
                    } else {
                        certs::read(node, path, sources)?
                    };
                    roots.insert(root.to_owned(), directory);
                }
            }
        }
    }
    roots.insert(certs.path.to_string(), certs.clone());
    let mut carried = Vec::new();
    let paths: Vec<&str> = match (&registry.config_path, view.conflict()) {
        (None, None) => view.roots(),
        _ => registry.config_paths(),
    };
    if paths.len() > 1 && options.existing == Existing::Keep {
        let others = paths
            .iter()
            .filter(|path| NodePath::new(path) != certs.path);
        let others: Vec<&CertsDirectory> = others.filter_map(|path| roots.get(*path)).collect();
        carried = carry(&certs, &others, &behaviour);
        for file in &carried {
            certs.write(&file.path, &file.bytes);
        }
    }
    let docker = node.list(&NodePath::new(DOCKER_CERTS_DIRECTORY))?;
    let certificates = read_certificates(node, &registry);
    registry.ignore_ca_files(|path| {
        certificates.get(path) == Some(&CertificateFile::WithoutCertificate)
    });
    let views: Vec<(Generation, View)> = generations(from, options.to)
        .into_iter()
        .map(|generation| {
            let view = views.of(&configuration, &generation.behaviour);
            (generation, view)
        })
        .collect();
    let today = match &on_the_disk {
        Some(configuration) => {
            let mut views_today = Views::default();
            let of = |(generation, _): &(Generation, View)| {
                views_today.of(configuration, &generation.behaviour)
            };
            views.iter().map(of).collect()
        }
        None => views.iter().map(|(_, view)| view.clone()).collect(),
    };
    Ok(Some(Inputs {
        options,
        from,
        configuration,
        converted_from,
        view,
        views,
        today,
        registry,
        certs,
        carried,
        roots,
        has_docker_directory: docker.is_some_and(|entries| !entries.is_empty()),
        certificates,
    }))
}

fn read_main(
    node: &Node,
    path: &NodePath,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<Option<ConfigFile>, ReadError> {
    let Some(file) = node.read(path)? else {
        return Err(ReadError::NoConfig(path.clone()));
    };
    let id = sources.add(&file.path, &file.bytes);
    Ok(ConfigFile::parse(
        id,
        path.clone(),
        file.path,
        file.bytes,
        findings,
    ))
}

/// Whether there are registry settings in files whose main one is of version 1; one that says no version is one.
fn says_something_in_version_1(configuration: &Configuration) -> bool {
    let mut contents = configuration
        .files
        .iter()
        .map(|loaded| loaded.contents(TomlReader::One))
        .peekable();
    let version = contents.peek().map_or(0, |main| main.version);
    let mut sections = contents.flat_map(|contents| &contents.sections);
    let says_something = |section: &Section| {
        section
            .registry
            .as_ref()
            .is_some_and(Registry::says_something)
    };
    version <= 1 && sections.any(says_something)
}

/// The config.toml as it is now and what it imports, for those who need no plan: what is not understood is left out,
/// and nobody is told.
pub fn configuration(
    node: &Node,
    path: &NodePath,
    sources: &mut Sources,
) -> Result<Vec<ConfigFile>, NodeError> {
    let mut unused = Findings::default();
    let main = match read_main(node, path, &mut unused, sources) {
        Ok(main) => main,
        Err(ReadError::NoConfig(_)) => None,
        Err(ReadError::Node(error)) => return Err(error),
    };
    let Some(main) = main else {
        return Ok(Vec::new());
    };
    let files = match imports::read(node, main.clone(), &mut unused, sources)? {
        Some(configuration) => configuration.files,
        None => vec![LoadedFile::new(main)],
    };
    Ok(files.into_iter().map(|loaded| loaded.file).collect())
}

/// The file as version 2, under a number of its own: findings point into the converted text.
fn convert(
    configuration: &Configuration,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Option<ConfigFile> {
    let config = configuration.main()?;
    // Whichever file is converted first, containerd 1.x does not start between the two (semantics §12.2).
    let names_plugins = |file: &&ConfigFile| {
        ["plugins", "disabled_plugins", "required_plugins", "version"]
            .iter()
            .any(|name| {
                let mut keys = file.tree.iter().map(|node| &node.key.name);
                keys.any(|key| key.eq_ignore_ascii_case(name))
            })
    };
    let imported = configuration
        .files
        .iter()
        .skip(1)
        .map(|loaded| &loaded.file);
    if let Some(file) = imported.into_iter().find(names_plugins) {
        findings.add(
            &finding::VERSION_1,
            file.place(0..0),
            format!(
                "`{}` is imported and has a version or names plugins, too: both files would have to be converted at \
                 the same instant",
                file.path
            ),
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
    let line = match Contents::of(config, &[TomlReader::Two]).version {
        3 => "2.0",
        4 => "2.3",
        _ => "1.7",
    };
    Version::parse(line).unwrap_or(crate::containerd::release::NEWEST)
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
    /// Its bytes, if they are not those of the text.
    bytes: Option<Vec<u8>>,
}

impl Source {
    /// Where in the text a byte of the file is.
    pub fn position(&self, at: usize) -> usize {
        let at = match &self.bytes {
            Some(bytes) => String::from_utf8_lossy(bytes.get(..at).unwrap_or(bytes)).len(),
            None => at,
        };
        self.text.floor_char_boundary(at)
    }
}

impl Sources {
    /// Adds a file and numbers it.
    pub fn add(&mut self, path: &NodePath, bytes: &[u8]) -> FileId {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.files.push(Source {
            path: path.clone(),
            bytes: (text.as_bytes() != bytes).then(|| bytes.to_vec()),
            text,
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
fn certs_path(options: &Options, registry: &Registry, findings: &mut Findings) -> NodePath {
    let asked = options.certs_directory.clone();
    let mut paths = registry.config_paths().into_iter();
    let set = paths
        .find(|path| !path.is_empty())
        .zip(registry.config_path.as_ref())
        .map(|(path, setting)| (NodePath::new(path), setting.place.clone()));
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

fn read_certificates(node: &Node, registry: &Registry) -> BTreeMap<String, CertificateFile> {
    let files = registry
        .configs
        .iter()
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

impl Inputs {
    /// The CA files that hold no certificate, by their absolute paths.
    pub fn empty_ca_files(&self) -> BTreeSet<String> {
        let files = self.certificates.iter();
        let empty = files.filter(|(_, file)| **file == CertificateFile::WithoutCertificate);
        empty.map(|(path, _)| path.clone()).collect()
    }

    /// The version that config.toml says it has; 0 if it says none.
    pub fn file_version(&self) -> i64 {
        let main = self.configuration.files.first();
        main.map_or(0, |main| main.contents(self.behaviour().toml).version)
    }

    /// What the containerd does whose behaviour is kept.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour::of(self.from)
    }
}
