//! The exact lines to write for a setting that stands in the wrong place, such that the containerd that is installed and those
//! that it is upgraded to read them.
//!
//! Until `config_path` is set that is config.toml; the migration carries it over. Beside `config_path`, and for certificates
//! on 2.x, it is a hosts file.

use super::names::Setting;
use crate::containerd::contents::PluginId;
use crate::containerd::host::{Host, Pulls, Scheme, default_host};
use crate::containerd::hosts_file::directory::{DEFAULT, HOSTS_FILE};
use crate::containerd::hosts_file::reader;
use crate::containerd::hosts_file::writer::{NewHost, NewHostsFile};
use crate::containerd::legacy::{WILDCARD, parse_endpoint};
use crate::containerd::registry::{Credentials, Tls, absolute};
use crate::finding::{Place, Placed};
use crate::node::NodePath;
use crate::plan::planner::Planner;
use crate::secret::{Content, shown_names, shown_path};
use crate::toml::edit::quote;
use crate::toml::syntax::{Node, Value, ValueKind};

/// Stands for the name of a registry that nobody knows.
const HOST: &str = "HOST";
/// Stands for an endpoint that is masked.
const UNKNOWN_URL: &str = "https://HOST";
/// Stands for a path that is masked.
const UNKNOWN_PATH: &str = "/PATH";
/// So many lines are written out; more would be a file of their own.
const MOST: usize = 3;

/// Gives advice about one file.
#[derive(Clone, Copy)]
pub(crate) struct Adviser<'p, 'i> {
    planner: &'p Planner<'i>,
    /// The index of the file with the setting.
    file: usize,
}

/// A setting with its value.
pub(super) type Pair<'v> = (Setting, &'v Value);

impl<'p, 'i> Adviser<'p, 'i> {
    pub(crate) fn new(planner: &'p Planner<'i>, file: usize) -> Self {
        Self { planner, file }
    }

    /// Advice about the file of a place.
    pub(crate) fn at(planner: &'p Planner<'i>, place: &Place) -> Self {
        let mut files = planner.configuration().files.iter();
        let file = files.position(|loaded| loaded.file.id == place.file);
        Self::new(planner, file.unwrap_or_default())
    }

    /// The file and the name of the section in which registry settings take effect, or would: on 1.x only those of the
    /// last file that has the section.
    fn section(&self) -> (usize, PluginId) {
        if let Some(last) = self.planner.from.last {
            return last;
        }
        let file = self.planner.configuration().files.get(self.file);
        let contents = file.map(|file| file.contents(self.planner.behaviour().major));
        let id = contents.map_or(PluginId::Grpc, |contents| {
            // Beside the long name the short one would be taken at random by 2.3 and later.
            match contents.section(PluginId::Grpc) {
                Some(_) if contents.version == 0 => PluginId::Grpc,
                _ => PluginId::of_version(contents.version),
            }
        });
        (self.file, id)
    }

    /// The header of a table below `registry`.
    pub(crate) fn header(&self, below: &[&str]) -> String {
        let (_, id) = self.section();
        let names = ["plugins", id.name(), "registry"]
            .into_iter()
            .chain(below.iter().copied());
        // Whoever puts a name in its place needs the quotes.
        let quoted = format!(".\"{HOST}\"");
        format!("[{}]", shown_names(names)).replace(&format!(".{HOST}"), &quoted)
    }

    /// What to write into a table below `registry`: into one that exists only what it does not have.
    fn write(&self, below: &[&str], pairs: &[Pair<'_>]) -> String {
        let header = self.header(below);
        let (file, id) = self.section();
        let Some(loaded) = self.planner.configuration().files.get(file) else {
            return format!("write `{header}` with {}", lines(pairs));
        };
        let in_file = match file == self.file {
            true => String::new(),
            false => format!(" in `{}`", loaded.file.path),
        };
        let names: Vec<&str> = ["plugins", id.name(), "registry"]
            .into_iter()
            .chain(below.iter().copied())
            .collect();
        let node = names.split_last().and_then(|(last, above)| {
            let above = loaded.file.tree().table_at(above)?;
            above.get(last)
        });
        if let Some(table) = node.filter(|node| !node.is_implied()).and_then(Node::table) {
            let is_new = |(setting, _): &&Pair<'_>| table.get(setting.name()).is_none();
            let new: Vec<Pair<'_>> = pairs.iter().filter(is_new).copied().collect();
            return match new.as_slice() {
                [] => format!(
                    "`{header}`{in_file} has {} already; merge the two",
                    lines_of(pairs.iter().map(|(setting, _)| setting.name().to_owned()))
                ),
                new => format!("add {} to `{header}`{in_file}", lines(new)),
            };
        }
        let contents = loaded.contents(self.planner.behaviour().major);
        let version = match contents.version == 0 && id != PluginId::Cri {
            true if self.planner.from.last.is_none() => "`version = 2` in the first line, and ",
            _ => "",
        };
        let with = match pairs {
            [] => String::new(),
            pairs => format!(" with {}", lines(pairs)),
        };
        format!("write {version}`{header}`{in_file}{with}")
    }

    /// `config_path` is set, so that mirrors and certificates have to be in hosts files.
    fn has_config_path(&self) -> bool {
        self.planner.registry().config_path.is_some()
    }

    /// The advice for a mirror: `namespace` is asked through these endpoints.
    pub(super) fn mirror(&self, namespace: Option<&str>, endpoints: &Value) -> String {
        let name = namespace.unwrap_or(HOST);
        if self.has_config_path() {
            return self.mirror_in_hosts_file(name, endpoints);
        }
        self.write(&["mirrors", name], &[(Setting::Endpoint, endpoints)])
    }

    fn mirror_in_hosts_file(&self, namespace: &str, endpoints: &Value) -> String {
        let behaviour = self.planner.behaviour();
        let urls = strings(endpoints);
        let parsed = urls
            .iter()
            .filter_map(|url| parse_endpoint(url, behaviour).ok()?.to_host());
        let hosts: Vec<Host> = parsed.collect();
        let known = match reader::pulls(&self.planner.certs, namespace, behaviour) {
            Pulls::Hosts(hosts) => hosts,
            Pulls::Fail(_) => Vec::new(),
        };
        let file = self.hosts_file(namespace);
        let is_known = |host: &Host| known.iter().any(|other| other.same_try(host));
        if !hosts.is_empty() && hosts.iter().all(is_known) {
            return format!("`{file}` has it already");
        }
        let new = NewHostsFile {
            hosts: hosts
                .into_iter()
                .map(|host| mirror_of(host, false))
                .collect(),
            ..NewHostsFile::default()
        };
        self.new_hosts_file(namespace, &new)
    }

    /// The advice for certificates and their verification.
    pub(super) fn tls(&self, hosts: &[String], pairs: &[Pair<'_>]) -> String {
        let hosts = or_any(hosts);
        let pairs: Vec<Pair<'_>> = pairs
            .iter()
            .copied()
            .filter(|pair| !is_off(*pair))
            .collect();
        let pairs = pairs.as_slice();
        if pairs.is_empty() {
            return "containerd verifies certificates without it, too".to_owned();
        }
        if !self.has_config_path() && self.planner.behaviour().reads_legacy_tls() {
            return self.of_each(&hosts, |host| self.write(&["configs", host, "tls"], pairs));
        }
        let migrates = self.planner.migrates();
        let files: Vec<String> = hosts
            .iter()
            .take(MOST)
            .map(|host| self.tls_in_hosts_file(host, pairs, migrates))
            .collect();
        let files = files.join("; ");
        match (self.has_config_path(), migrates) {
            (true, false) => files,
            (_, true) => format!("after the migration, {files}"),
            (false, false) => format!("{}, and {files}", self.set_config_path(None)),
        }
    }

    fn tls_in_hosts_file(&self, host: &str, pairs: &[Pair<'_>], migrates: bool) -> String {
        // Docker Hub is asked under another name than that of its images.
        let hub = default_host("docker.io");
        let namespace = if host == hub { "docker.io" } else { host };
        let new = tls_file(host, pairs);
        let files = match migrates {
            // Those that the migration will write are not known yet.
            true => vec![self.hosts_file(namespace)],
            false => self.files_that_ask(&new),
        };
        if files.is_empty() {
            return self.new_hosts_file(namespace, &new);
        }
        let keys = tls_keys(pairs).into_iter().map(|line| format!("`{line}`"));
        let keys: Vec<String> = keys.collect();
        let say = if files.len() == 1 { "says" } else { "say" };
        format!(
            "add {} to what {} {say} of `https://{host}`",
            keys.join(" and "),
            lines_of(files.iter().map(NodePath::to_string))
        )
    }

    /// The hosts files in which this host is.
    fn files_that_ask(&self, new: &NewHostsFile) -> Vec<NodePath> {
        let certs = &self.planner.certs;
        let Some(server) = &new.server else {
            return Vec::new();
        };
        let asks = |namespace: &String| {
            let directory = certs
                .own(namespace)
                .and_then(|name| certs.directories.get(name));
            let has_file = directory.is_some_and(|directory| directory.hosts_file.is_some());
            match reader::pulls(certs, namespace, self.planner.behaviour()) {
                Pulls::Hosts(hosts) => {
                    has_file && hosts.iter().any(|host| host.host == server.host.host)
                }
                Pulls::Fail(_) => false,
            }
        };
        let asking = certs.namespaces().filter(asks);
        asking
            .map(|namespace| self.hosts_file(&namespace))
            .collect()
    }

    fn exists(&self, namespace: &str) -> bool {
        let file = self.hosts_file(namespace);
        let directory = self.planner.certs.directories.get(file.parent().name());
        directory.is_some_and(|directory| directory.hosts_file.is_some())
    }

    /// The advice for credentials. They stay in config.toml, whatever else is in hosts files.
    pub(super) fn credentials(&self, hosts: &[String], pairs: &[Pair<'_>]) -> String {
        let hosts = or_any(hosts);
        self.of_each(&hosts, |host| self.write(&["configs", host, "auth"], pairs))
    }

    fn of_each(&self, hosts: &[String], advice: impl Fn(&str) -> String) -> String {
        let each: Vec<String> = hosts.iter().take(MOST).map(|host| advice(host)).collect();
        let registries = match hosts.iter().any(|host| host == HOST) {
            true => ", once for each registry",
            false => "",
        };
        format!("{}{registries}", each.join("; "))
    }

    /// The advice for a mirror under a name that no image has, where another one is meant.
    pub(crate) fn mirror_called(&self, name: &str, endpoints: &[Placed<String>]) -> String {
        let urls: Vec<&str> = endpoints
            .iter()
            .map(|endpoint| endpoint.value.as_str())
            .collect();
        self.mirror(Some(name), &array(&urls))
    }

    /// The same for TLS settings.
    pub(crate) fn tls_called(&self, host: &str, tls: &Tls) -> String {
        let files = [
            (Setting::CaFile, &tls.ca_file),
            (Setting::CertFile, &tls.cert_file),
            (Setting::KeyFile, &tls.key_file),
        ];
        let file = |(setting, file): (Setting, &Option<Placed<String>>)| {
            let kind = ValueKind::String(file.as_ref()?.value.clone());
            Some((setting, Value { range: 0..0, kind }))
        };
        let mut values: Vec<(Setting, Value)> = files.into_iter().filter_map(file).collect();
        values.extend(
            tls.skip_verify
                .is_some()
                .then(|| (Setting::SkipVerify, truth())),
        );
        let pairs: Vec<Pair<'_>> = values
            .iter()
            .map(|(setting, value)| (*setting, value))
            .collect();
        self.tls(&[host.to_owned()], &pairs)
    }

    /// The same for credentials.
    pub(crate) fn credentials_called(&self, host: &str, credentials: &Credentials) -> String {
        let mut settings: Vec<Setting> = credentials
            .keys()
            .filter_map(|key| Setting::called(key))
            .collect();
        settings.sort_unstable();
        let unshown = truth();
        let pairs: Vec<Pair<'_>> = settings
            .iter()
            .map(|setting| (*setting, &unshown))
            .collect();
        self.credentials(&[host.to_owned()], &pairs)
    }

    /// The advice for `config_path`: beside mirrors it would keep CRI from loading.
    pub(super) fn config_path(&self, value: &Value) -> String {
        if let Some(set) = &self.planner.registry().config_path {
            return format!("`config_path` is `{}` where containerd reads it", set.value);
        }
        if self.planner.migrates() {
            return "the migration sets `config_path` where containerd reads it".to_owned();
        }
        self.set_config_path(text(value))
    }

    fn set_config_path(&self, path: Option<&str>) -> String {
        // Several directories are one name to 2.1 and later.
        let first = path.and_then(|path| path.split(':').find(|path| !path.is_empty()));
        let first = first.filter(|path| Content::Path.is_shown(path));
        let path = first.map_or_else(|| self.planner.certs.path.to_string(), absolute);
        let value = Value {
            range: 0..0,
            kind: ValueKind::String(path),
        };
        self.write(&[], &[(Setting::ConfigPath, &value)])
    }

    /// The advice for `imports`.
    pub(super) fn imports(&self, value: &Value) -> String {
        let paths: Vec<String> = strings(value)
            .into_iter()
            .map(|path| quote(&Content::Path.shown(path), false))
            .collect();
        let file = self.planner.configuration().files.get(self.file);
        let exists = file.is_some_and(|loaded| loaded.file.tree().get("imports").is_some());
        match exists {
            true => format!(
                "add {} to `imports` above the first table of the file",
                paths.join(", ")
            ),
            false => format!(
                "write `imports = [{}]` above the first table of the file",
                paths.join(", ")
            ),
        }
    }

    /// The advice for Docker's list of insecure registries.
    pub(super) fn insecure(&self, value: &Value) -> String {
        let hosts: Vec<String> = strings(value)
            .into_iter()
            .map(|host| super::names::host(host).to_owned())
            .collect();
        let hosts = or_any(&hosts);
        let advice = |host: &String| {
            let url = format!("http://{host}");
            let endpoints = array(&[url.as_str()]);
            let verify = truth();
            format!(
                "for plain HTTP {}; for HTTPS without verification {}",
                self.mirror(Some(host), &endpoints),
                self.tls(
                    std::slice::from_ref(host),
                    &[(Setting::SkipVerify, &verify)]
                )
            )
        };
        let advice: Vec<String> = hosts.iter().take(MOST).map(advice).collect();
        advice.join("; ")
    }

    fn hosts_file(&self, namespace: &str) -> NodePath {
        let certs = &self.planner.certs;
        let name = match namespace {
            WILDCARD => DEFAULT.to_owned(),
            name => certs.name_for(name),
        };
        certs.path.join(&name).join(HOSTS_FILE)
    }

    fn new_hosts_file(&self, namespace: &str, new: &NewHostsFile) -> String {
        let file = self.hosts_file(namespace);
        let lines: Vec<String> = written(new)
            .iter()
            .map(|line| format!("`{line}`"))
            .collect();
        let lines = lines.join(", ");
        match self.exists(namespace) {
            true => format!("add to `{file}`: {lines}"),
            false => format!("write into `{file}`: {lines}"),
        }
    }
}

/// A hosts file with these certificates for a host.
fn tls_file(host: &str, pairs: &[Pair<'_>]) -> NewHostsFile {
    let path = |setting| {
        let (_, value) = pairs.iter().find(|(other, _)| *other == setting)?;
        Some(shown_path(&absolute(text(value)?)).to_owned())
    };
    let mut asked = Host::new(Scheme::Https, host, b"/v2");
    asked.tls.ca.extend(path(Setting::CaFile));
    let (cert, key) = (path(Setting::CertFile), path(Setting::KeyFile));
    if cert.is_some() || key.is_some() {
        let or = |path: Option<String>, name: &str| path.unwrap_or_else(|| name.to_owned());
        asked
            .tls
            .client
            .push((or(cert, "CERTIFICATE"), or(key, "KEY")));
    }
    let is_skip = |pair: &Pair<'_>| pair.0 == Setting::SkipVerify && !is_off(*pair);
    asked.tls.skip_verify = pairs.iter().any(is_skip);
    NewHostsFile {
        server: Some(mirror_of(asked, true)),
        ..NewHostsFile::default()
    }
}

/// Certificates and their verification, as a hosts file says it.
pub(super) fn tls_keys(pairs: &[Pair<'_>]) -> Vec<String> {
    let mut lines = written(&tls_file(HOST, pairs));
    lines.retain(|line| !line.starts_with("server = ") && line != "[host]");
    lines
}

/// Whether this says what containerd does anyway.
fn is_off((setting, value): Pair<'_>) -> bool {
    setting == Setting::SkipVerify && matches!(value.kind, ValueKind::Boolean(false))
}

/// The lines of a hosts file.
fn written(new: &NewHostsFile) -> Vec<String> {
    let content = new.content();
    let text = String::from_utf8_lossy(content.bytes()).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

fn mirror_of(host: Host, is_own: bool) -> NewHost {
    NewHost {
        host,
        capabilities: (!is_own).then_some(&["pull", "resolve"]),
        comments: Vec::new(),
    }
}

/// Settings with their values.
pub(super) fn pairs(settings: &[(Setting, Value)]) -> Vec<Pair<'_>> {
    let settings = settings.iter();
    settings.map(|(setting, value)| (*setting, value)).collect()
}

/// A value that advice may quote: where a string of it is masked, a word stands for it.
pub(super) fn shown_value(
    setting: Setting,
    value: &Value,
    is_shown: &impl Fn(&str) -> bool,
) -> Value {
    let unknown = match setting {
        Setting::Endpoint | Setting::RegistryMirrors => UNKNOWN_URL,
        Setting::InsecureRegistries => HOST,
        _ => UNKNOWN_PATH,
    };
    let kind = match &value.kind {
        ValueKind::String(text) if !is_shown(text) => ValueKind::String(unknown.to_owned()),
        ValueKind::Array(elements) => {
            let mut elements: Vec<Value> = elements
                .iter()
                .map(|element| shown_value(setting, element, is_shown))
                .collect();
            let is_unknown = |value: &Value| text(value) == Some(unknown);
            elements.dedup_by(|one, other| is_unknown(one) && is_unknown(other));
            ValueKind::Array(elements)
        }
        kind => kind.clone(),
    };
    Value {
        range: value.range.clone(),
        kind,
    }
}

fn or_any(hosts: &[String]) -> Vec<String> {
    match hosts {
        [] => vec![HOST.to_owned()],
        hosts => hosts.to_vec(),
    }
}

fn array(strings: &[&str]) -> Value {
    let element = |text: &&str| Value {
        range: 0..0,
        kind: ValueKind::String((*text).to_owned()),
    };
    Value {
        range: 0..0,
        kind: ValueKind::Array(strings.iter().map(element).collect()),
    }
}

fn truth() -> Value {
    Value {
        range: 0..0,
        kind: ValueKind::Boolean(true),
    }
}

/// The string, or those of an array.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    match &value.kind {
        ValueKind::Array(elements) => elements.iter().filter_map(text).collect(),
        _ => text(value).into_iter().collect(),
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

/// The lines of these settings, without a value where that may be a secret.
fn lines(pairs: &[Pair<'_>]) -> String {
    lines_of(pairs.iter().map(|pair| line(*pair)))
}

fn lines_of(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.map(|line| format!("`{line}`")).collect();
    lines.dedup();
    match lines.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

fn line((setting, value): Pair<'_>) -> String {
    let name = setting.name();
    match setting {
        Setting::SkipVerify => format!("{name} = true"),
        Setting::CaFile | Setting::CertFile | Setting::KeyFile | Setting::ConfigPath => {
            match text(value) {
                Some(path) if Content::Path.is_shown(path) => {
                    format!("{name} = {}", quote(path, false))
                }
                _ => name.to_owned(),
            }
        }
        Setting::Endpoint => {
            let urls = strings(value);
            let quoted: Vec<String> = urls.iter().map(|url| quote(url, false)).collect();
            match urls.iter().all(|url| Content::Endpoint.is_shown(url)) {
                true => format!("{name} = [{}]", quoted.join(", ")),
                false => name.to_owned(),
            }
        }
        _ => name.to_owned(),
    }
}
