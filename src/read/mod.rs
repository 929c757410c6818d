//! Everything that a plan is made from, read from the node: the configuration, the certs directory, and what is known
//! of the certificate files. After this no module reads the disk until `apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use self::locate::{Found, Located, NoConfig};
use crate::containerd::configuration::{Configuration, LoadedFile};
use crate::containerd::contents::Contents;
use crate::containerd::file::ConfigFile;
use crate::containerd::hosts_file::directory::{CertsDirectories, CertsDirectory, DEFAULT};
use crate::containerd::hosts_file::reader;
use crate::containerd::legacy::{Legacy, WILDCARD};
use crate::containerd::loader::Startup;
use crate::containerd::registry::{HostConfig, Registry, absolute};
use crate::containerd::release::{
    Behaviour, Major, NEWEST, OLDEST, Version, default_targets, generations,
};
use crate::containerd::sight::Sight;
use crate::containerd::snapshot::Snapshot;
use crate::finding::{self, Code, FileId, Findings};
use crate::go::pem::holds_certificate;
use crate::node::{Node, NodeError, NodeFile, NodePath};
use crate::question::{ExistingAnswers, Inert, Version1};
use crate::secret::{Content, TextKind, shown_word};
use crate::text::{FileText, TomlText};

mod certs;
mod imports;
pub mod locate;
mod release;
mod windows;

pub use imports::import_path;
pub use release::Release;

/// Where containerd looks when nobody says otherwise.
pub const DEFAULT_CERTS_DIRECTORY: &str = "/etc/containerd/certs.d";

/// The second directory of the built-in `config_path` of containerd 2.2 and later.
pub const DOCKER_CERTS_DIRECTORY: &str = "/etc/docker/certs.d";

/// The most lines and commas in a file: each value takes a hundred times its room in memory.
pub const MOST_VALUES: usize = 1_000_000;
/// The most bytes of all configuration files and hosts files together.
pub const LARGEST_NODE: usize = 64 << 20;
/// The most files that are imported.
pub const MOST_IMPORTS: usize = 1_000;
/// The most steps, about one a character, in which names are compared with the patterns of imports.
pub const MOST_STEPS: usize = 200_000_000;
/// The most directories in `config_path`.
pub const MOST_CERTS_DIRECTORIES: usize = 100;
/// The most hosts in the lists of all registries together.
pub const MOST_HOSTS: usize = 100_000;

/// What an operator has settled before anything is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The config.toml to migrate.
    pub config: Located,
    /// `--certs-dir`, if it was given.
    pub certs_directory: Option<NodePath>,
    /// `--from`, if it was given or the node's containerd answered.
    pub from: Option<Version>,
    /// `--to`, if it was given: a direct upgrade. Else the targets are those of [`default_targets`].
    pub to: Option<Version>,
    /// `--existing`.
    pub existing: ExistingAnswers,
    /// `--inert`.
    pub inert: Option<Inert>,
    /// `--v1`.
    pub version_1: Version1,
    /// `--keep-local-pull`.
    pub keep_local_pull: bool,
    /// `--allow`.
    pub allow: Vec<&'static Code>,
}

impl Options {
    /// Whether the operator accepts findings of this code.
    pub fn allows(&self, code: &Code) -> bool {
        self.allow.contains(&code)
    }
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

/// What a plan is made from.
#[derive(Debug)]
pub struct Inputs {
    /// What was asked for.
    pub options: Options,
    /// The installed containerd, whose behaviour is kept.
    pub from: Version,
    /// The target versions, oldest first; never empty.
    pub targets: Vec<Version>,
    /// `from`, the targets and every known release between them, with what each makes of the node.
    pub releases: Vec<Release>,
    /// The node as it is on the disk.
    pub snapshot: Snapshot,
    /// The permission bits of each configuration file and hosts file.
    pub modes: BTreeMap<FileId, u32>,
    /// What is known of each certificate file that a setting names, by its absolute path.
    pub certificates: BTreeMap<String, CertificateFile>,
}

/// Reads the node. `None` if its configuration cannot be understood, which the findings say. A node that runs on
/// containerd's built-in defaults counts as one with an empty config.toml.
///
/// The text of every file that was read is handed to `sources` for excerpts and masks, also of those that are not
/// understood.
pub fn read(
    node: &Node,
    mut options: Options,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<Option<Inputs>, ReadError> {
    let main = match read_main(node, &options.config, findings, sources) {
        Err(ReadError::NoConfig(missing)) if missing.runs_on_defaults() => {
            options.config.found = Found::BuiltIn;
            let path = &options.config.path;
            let empty = FileText::new(Vec::new(), TextKind::Configuration);
            let id = sources.add(path, empty.clone());
            ConfigFile::new(id, path.clone(), path.clone(), &empty, findings)
        }
        main => main?,
    };
    let Some(main) = main else {
        return Ok(None);
    };
    if is_windows(&main, findings) {
        return Ok(None);
    }
    let from = options.from.unwrap_or_else(|| {
        let assumed = default_from(&main);
        options.to.map_or(assumed, |to| assumed.min(to))
    });
    let targets = match options.to {
        Some(to) => vec![to],
        None => default_targets(from),
    };
    let Some(configuration) = imports::read(node, main, findings, sources)? else {
        return Ok(None);
    };
    let mut imported = configuration.files.iter().skip(1);
    if imported.any(|loaded| is_windows(&loaded.file, findings)) {
        return Ok(None);
    }
    if has_masked_path(&configuration, findings) {
        return Ok(None);
    }
    let certificates = read_certificates(node, &configuration);
    let files = certificates.iter();
    let empty = files.filter(|(_, file)| **file == CertificateFile::WithoutCertificate);
    let empty = empty.map(|(path, _)| path.clone()).collect();
    let mut inputs = Inputs {
        options,
        from,
        targets,
        releases: Vec::new(),
        snapshot: Snapshot::new(configuration, empty),
        modes: BTreeMap::new(),
        certificates,
    };
    let certs = read_certs_directories(node, &inputs, sources)?;
    inputs.snapshot = inputs.snapshot.with_certs(certs);
    inputs.modes = sources.modes();
    if has_too_many_hosts(&inputs) {
        findings.add(
            &finding::TOO_MANY_HOSTS,
            None,
            format!("the lists of all registries together have more than {MOST_HOSTS} hosts"),
            "this program does not work with so many; remove mirrors that nobody uses",
        );
        return Ok(None);
    }
    inputs.releases = Release::all(&inputs.snapshot, from, &inputs.targets);
    Ok(Some(inputs))
}

/// Whether there is a path in the registry settings that is masked where it stands, but would be shown by what is made of
/// it: the names of hosts files, or the absolute path of a certificate.
fn has_masked_path(configuration: &Configuration, findings: &mut Findings) -> bool {
    let mut has_any = false;
    for registry in registries(configuration) {
        let config_path = registry.config_path.iter();
        let config_path = config_path.filter(|path| !Content::Paths.is_shown(&path.value));
        let certificates = registry
            .certificate_files()
            .filter(|path| !path.value.starts_with('/') && !Content::Path.is_shown(&path.value));
        for path in config_path.chain(certificates) {
            has_any = true;
            // The major versions may read the same section.
            if !findings.has(&finding::NOT_A_PATH, &path.place) {
                findings.add(
                    &finding::NOT_A_PATH,
                    path.place.clone(),
                    "containerd takes this value for a path, but it does not look like one",
                    "write the absolute path, or remove the value if it is not a path",
                );
            }
        }
    }
    has_any
}

/// The registry settings of each file, as each major version reads them.
fn registries(configuration: &Configuration) -> impl Iterator<Item = &Registry> {
    let files = configuration.files.iter();
    files
        .flat_map(|loaded| [Major::One, Major::Two].map(|major| loaded.contents(major)))
        .flat_map(Contents::registries)
}

/// Whether the lists of hosts of all names together are too long, wildcards counted for each name that they are for.
fn has_too_many_hosts(inputs: &Inputs) -> bool {
    let behaviour = inputs.behaviour();
    let configuration = inputs.snapshot.configuration();
    let files = configuration.files.iter();
    let registries = files.flat_map(|loaded| loaded.contents(behaviour.major).registries());
    let (mut names, mut hosts, mut shared) = (0, 0, 1);
    for registry in registries {
        names += registry.mirrors.len() + registry.configs.len();
        for mirror in &registry.mirrors {
            // Each endpoint is a registry, too.
            names += mirror.endpoints.len();
            hosts += mirror.endpoints.len();
            if mirror.name.value == WILDCARD {
                shared += mirror.endpoints.len();
            }
        }
    }
    for certs in inputs.snapshot.certs().values() {
        names += certs.directories.len();
        for (name, directory) in &certs.directories {
            let count = directory.hosts_file.as_ref().map_or(0, reader::host_count);
            hosts += count;
            if name == DEFAULT {
                shared += count;
            }
        }
    }
    hosts + names * shared > MOST_HOSTS
}

/// Every directory that some release takes for its `config_path`, or would if another file decided, and the one that
/// it names afterwards.
fn read_certs_directories(
    node: &Node,
    inputs: &Inputs,
    sources: &mut Sources,
) -> Result<CertsDirectories, NodeError> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut add = |config_path: &str| {
        let split = config_path.split(':').chain([config_path]);
        names.extend(split.filter(|name| !name.is_empty()).map(str::to_owned));
    };
    for generation in generations(OLDEST, NEWEST) {
        add(&inputs.snapshot.seen_by(&generation.behaviour).config_path);
    }
    for loaded in &inputs.snapshot.configuration().files {
        for section in &loaded.contents(inputs.behaviour().major).sections {
            let registry = section.registry.as_ref();
            if let Some(path) = registry.and_then(|registry| registry.config_path.as_ref()) {
                add(&path.value);
            }
        }
    }
    // Whichever release's view of the files is kept: that is asked later.
    for version in inputs.versions() {
        names.insert(inputs.certs_path_of(version).to_string());
    }
    if names.len() > MOST_CERTS_DIRECTORIES {
        let why = format!(
            "`config_path` names more than {MOST_CERTS_DIRECTORIES} directories, the most that are read"
        );
        let path = inputs.certs_path();
        return Err(NodeError::new(&path, "read", io::Error::other(why)));
    }
    let mut directories: BTreeMap<NodePath, Rc<CertsDirectory>> = BTreeMap::new();
    let mut certs = CertsDirectories::new();
    for name in names {
        let path = NodePath::new(&name);
        let directory = match directories.get(&path) {
            Some(directory) => Rc::clone(directory),
            // A colon separates names, so that a name with one never exists.
            None if name.contains(':') => Rc::new(CertsDirectory::empty(path.clone())),
            None => Rc::new(certs::read(node, path.clone(), sources)?),
        };
        directories.insert(path, Rc::clone(&directory));
        certs.insert(name, directory);
    }
    Ok(certs)
}

fn read_main(
    node: &Node,
    located: &Located,
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<Option<ConfigFile>, ReadError> {
    let path = &located.path;
    let Some(file) = node.read(path)? else {
        return Err(ReadError::NoConfig(Box::new(locate::missing(
            node,
            located.clone(),
        )?)));
    };
    let (real, content, id) = sources.add_file(TextKind::Configuration, file)?;
    Ok(ConfigFile::new(id, path.clone(), real, &content, findings))
}

/// Whether this is a file of a Windows node, which is said: its paths mean nothing to the rules of this program.
fn is_windows(file: &ConfigFile, findings: &mut Findings) -> bool {
    let Some(key) = windows::path(file) else {
        return false;
    };
    findings.add(
        &finding::WINDOWS_NODE,
        key.place,
        format!(
            "`{}` is a path of Windows, and this program migrates Linux nodes only",
            shown_word(&key.value)
        ),
        "write the hosts files of this node by hand",
    );
    true
}

/// The config.toml as it is now and what it imports, for those who need no plan: what is not understood is left out,
/// and nobody is told.
pub fn configuration(
    node: &Node,
    located: &Located,
    sources: &mut Sources,
) -> Result<Vec<ConfigFile>, NodeError> {
    let mut unused = Findings::default();
    let main = match read_main(node, located, &mut unused, sources) {
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

/// The containerd that is assumed for a file where none is named.
fn default_from(config: &ConfigFile) -> Version {
    let line = match Contents::version_of(config, Major::Two) {
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
    /// How many bytes were read.
    bytes: usize,
}

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: NodePath,
    /// What is in it.
    pub content: FileText,
    /// Its permission bits, if it is a file on the disk.
    mode: Option<u32>,
}

impl Sources {
    /// Adds a text that is no file of the node and numbers it.
    pub fn add(&mut self, path: &NodePath, content: FileText) -> FileId {
        self.push(path, content, None)
    }

    /// Adds a file that was read and numbers it; its real path and its content are what is left of it. An error if that
    /// is more than can be worked with.
    fn add_file(
        &mut self,
        kind: TextKind,
        file: NodeFile,
    ) -> Result<(NodePath, FileText, FileId), NodeError> {
        let failed = |why: String| {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, why);
            Err(NodeError::new(&file.path, "read", source))
        };
        let separators = file.bytes.iter().filter(|byte| b"\n,".contains(byte));
        if separators.count() > MOST_VALUES {
            return failed(format!(
                "it has more than {MOST_VALUES} lines and commas, the most that are read of such a file"
            ));
        }
        self.bytes += file.bytes.len();
        if self.bytes > LARGEST_NODE {
            let mebibytes = LARGEST_NODE >> 20;
            return failed(format!(
                "all files together are larger than {mebibytes} MiB, the most that is read of a node"
            ));
        }
        let content = FileText::new(file.bytes, kind);
        let id = self.push(&file.path, content.clone(), Some(file.mode));
        Ok((file.path, content, id))
    }

    fn push(&mut self, path: &NodePath, content: FileText, mode: Option<u32>) -> FileId {
        self.files.push(Source {
            path: path.clone(),
            content,
            mode,
        });
        FileId(self.files.len() - 1)
    }

    /// The permission bits of the files that were read.
    fn modes(&self) -> BTreeMap<FileId, u32> {
        let files = self.files.iter().enumerate();
        let modes = files.filter_map(|(number, source)| Some((FileId(number), source.mode?)));
        modes.collect()
    }

    /// The texts that are TOML.
    pub fn texts(&self) -> impl Iterator<Item = &TomlText> {
        let texts = self.files.iter().filter_map(|source| source.content.toml());
        texts.map(Rc::as_ref)
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
    /// There is no such config.toml.
    NoConfig(Box<NoConfig>),
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
            Self::NoConfig(missing) => missing.fmt(formatter),
            Self::Node(error) => error.fmt(formatter),
        }
    }
}

impl ReadError {
    /// Whether root could do what this user may not.
    pub fn needs_root(&self) -> bool {
        matches!(self, Self::Node(error) if error.needs_root())
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

fn read_certificates(
    node: &Node,
    configuration: &Configuration,
) -> BTreeMap<String, CertificateFile> {
    let mut certificates = BTreeMap::new();
    for file in registries(configuration).flat_map(Registry::certificate_files) {
        let path = absolute(&file.value);
        certificates.entry(path.clone()).or_insert_with(|| {
            match node.read_certificate(&NodePath::new(&path)) {
                Ok(Some(bytes)) if holds_certificate(&bytes) => CertificateFile::Read,
                Ok(Some(_)) => CertificateFile::WithoutCertificate,
                Ok(None) => CertificateFile::Missing,
                Err(error) => CertificateFile::Unreadable(error.to_string()),
            }
        });
    }
    certificates
}

impl Inputs {
    /// Whether there is no config.toml, and containerd runs on its built-in defaults.
    pub fn runs_on_defaults(&self) -> bool {
        self.options.config.found == Found::BuiltIn
    }

    /// The versions that a plan is verified for: `from` and the targets.
    pub fn versions(&self) -> Vec<Version> {
        let targets = self.targets.iter().filter(|target| **target != self.from);
        std::iter::once(&self.from)
            .chain(targets)
            .copied()
            .collect()
    }

    /// Those of `versions` that a plan is verified for.
    pub fn verified(&self, versions: &[Version]) -> Vec<Version> {
        let mut verified = self.versions();
        verified.retain(|version| versions.contains(version));
        verified
    }

    /// What the containerd whose behaviour is kept does.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour::of(self.from)
    }

    /// What that containerd makes of the node.
    pub fn sight(&self) -> Rc<Sight> {
        self.snapshot.seen_by(&self.behaviour())
    }

    /// Whether settings that one release reads and another does not are to take effect everywhere.
    pub fn carries(&self) -> bool {
        self.options.inert == Some(Inert::Carry)
    }

    /// The release whose view of the files is kept: `from`, or with `--inert carry` the newest target.
    pub fn kept_version(&self) -> Version {
        let target = self.targets.last().filter(|_| self.carries());
        target.copied().unwrap_or(self.from)
    }

    /// What that release makes of the node.
    pub fn kept(&self) -> Rc<Sight> {
        self.seen_by(self.kept_version())
    }

    fn seen_by(&self, version: Version) -> Rc<Sight> {
        self.snapshot.seen_by(&Behaviour::of(version))
    }

    /// The legacy settings whose meaning is kept: those that take effect on that release. TLS settings that it ignores are
    /// among them, but do not switch verification off unless that is asked for.
    pub fn kept_settings(&self) -> Rc<Legacy> {
        let kept = self.kept();
        let settings = kept.settings();
        let skips = |config: &HostConfig| {
            let tls = config.tls.as_ref();
            tls.is_some_and(|tls| tls.skip_verify.is_some())
        };
        let is_ignored = !kept.behaviour.reads_legacy_tls() && !self.carries();
        if !is_ignored || !settings.registry().configs.iter().any(skips) {
            return settings;
        }
        let mut registry = settings.registry().clone();
        let configs = registry.configs.iter_mut();
        for tls in configs.filter_map(|config| config.tls.as_mut()) {
            tls.skip_verify = None;
        }
        Rc::new(Legacy::new(Rc::new(registry)))
    }

    /// The version that config.toml says it has; 0 if it says none.
    pub fn file_version(&self) -> i64 {
        let main = self.snapshot.configuration().files.first();
        main.map_or(0, |main| main.contents(self.behaviour().major).version)
    }

    /// How far a containerd gets, as far as the operator lets imports count that do not exist.
    pub fn startup(&self, sight: &Sight) -> Startup {
        sight.startup(self.options.allows(&finding::IMPORT_MISSING))
    }

    /// The directory of the hosts files: what `config_path` says, else `--certs-dir`, else the usual one.
    pub fn certs_path(&self) -> NodePath {
        self.certs_path_of(self.kept_version())
    }

    /// The same, if this release's view of the files were kept.
    fn certs_path_of(&self, version: Version) -> NodePath {
        let sight = self.seen_by(version);
        let mut paths = sight.registry().config_paths().into_iter();
        match (
            paths.find(|path| !path.is_empty()),
            &self.options.certs_directory,
        ) {
            (Some(set), _) => NodePath::new(set),
            (None, Some(asked)) => asked.clone(),
            (None, None) => NodePath::new(DEFAULT_CERTS_DIRECTORY),
        }
    }
}
