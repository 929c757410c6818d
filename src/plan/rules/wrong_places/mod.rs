//! Registry settings where no containerd reads them: under a wrong name, in a wrong table, in a wrong file. Each is a warning
//! with the lines to write instead.
//!
//! One walk through each configuration file follows what containerd's structs look up (`Spot`). What is beside that way is
//! taken apart into words of the list in `names`; a name that is none is the registry that it is about. So it does not matter
//! in which order the tables stand, or what is between them.

pub(crate) mod advice;
pub(crate) mod hosts_files;
pub(crate) mod names;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use self::advice::{Adviser, Pair};
use self::names::{Part, Setting};
use crate::containerd::configuration::LoadedFile;
use crate::containerd::contents::PluginId;
use crate::containerd::host::default_host;
use crate::containerd::legacy::{is_matchable, parse_endpoint, unmatchable};
use crate::containerd::loader::Startup;
use crate::containerd::release::Major;
use crate::finding::{self, Code, Findings};
use crate::plan::placement::Effect;
use crate::plan::planner::Planner;
use crate::secret::shown_names;
use crate::toml::syntax::{Node, Table, Value, ValueKind};

/// Looks at every configuration file.
pub(crate) fn check(planner: &Planner<'_>, findings: &mut Findings) {
    let files = planner.configuration().files.iter().enumerate();
    for (index, loaded) in files {
        let mut walk = Walk::new(planner, index, loaded);
        walk.table(loaded.file.tree(), Some(Spot::Root), &mut Vec::new());
        walk.report(findings);
    }
}

/// A place that containerd looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    Root,
    Plugins,
    Section(PluginId),
    Registry,
    Mirrors,
    Mirror,
    Configs,
    Config,
    Tls,
    Auth,
    Auths,
    Headers,
    /// A setting that is read.
    Setting,
    /// What is not about registries: nothing is known of it.
    Other,
}

/// Tables in settings of the CRI plugin whose keys are a runtime's: `ConfigPath` is one of Kata's.
const OPTIONS: &str = "options";

struct Walk<'p, 'i, 't> {
    planner: &'p Planner<'i>,
    loaded: &'t LoadedFile,
    index: usize,
    readers: Vec<Major>,
    /// Sections of the CRI plugin of which all is said elsewhere, since no containerd reads them here or only a later one.
    skipped: Vec<PluginId>,
    /// Whether the containerd that is installed starts with the names of plugins in this file.
    starts: bool,
    /// What was found, by where it begins.
    found: BTreeMap<usize, Found<'t>>,
    /// Where the certificates and the credentials of a table begin, by where that is: they are said together.
    together: HashMap<(usize, Kind), usize>,
}

/// What is said together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Tls,
    Credentials,
}

/// Settings of one table that no containerd reads.
struct Found<'t> {
    /// The names from the root to the table, and of a setting that stands alone also its own.
    path: Vec<&'t Node>,
    /// Whether it is the table, with all that is in it.
    whole: bool,
    /// The spot that the last name that containerd follows leads to.
    spot: Spot,
    settings: Vec<&'t Node>,
}

impl<'p, 'i, 't> Walk<'p, 'i, 't> {
    fn new(planner: &'p Planner<'i>, index: usize, loaded: &'t LoadedFile) -> Self {
        let placements = planner
            .placements
            .iter()
            .filter(|placement| placement.id.0 == index);
        let is_inert = |effect: &Effect| matches!(effect, Effect::Later { .. } | Effect::Never);
        Self {
            planner,
            loaded,
            index,
            readers: planner.generations().map(|g| g.behaviour.major).collect(),
            skipped: placements
                .filter(|placement| is_inert(&placement.effect))
                .map(|placement| placement.id.1)
                .collect(),
            starts: !matches!(
                planner.inputs.startup(&planner.from),
                Startup::DoesNotStart(_)
            ),
            found: BTreeMap::new(),
            together: HashMap::new(),
        }
    }

    /// `spot` is what the table is to containerd; `None` is a table that it does not know where it looks for registries.
    fn table(&mut self, table: &'t Table, spot: Option<Spot>, path: &mut Vec<&'t Node>) {
        for node in table.iter() {
            let name = node.key.name.as_str();
            let next = spot.and_then(|spot| self.next(spot, name));
            if self.is_left_alone(spot, next, name) {
                continue;
            }
            path.push(node);
            match node.table() {
                Some(inner) => self.table(inner, next, path),
                None => self.setting(node, spot, next, path),
            }
            path.pop();
        }
    }

    /// Where containerd gets by this name.
    fn next(&self, spot: Spot, name: &str) -> Option<Spot> {
        let is = |known: &str| {
            self.readers.iter().any(|reader| match reader {
                Major::One => name == known || name == known.to_ascii_uppercase(),
                Major::Two => name.eq_ignore_ascii_case(known),
            })
        };
        let one_of = |known: &[&str]| known.iter().any(|known| is(known)).then_some(Spot::Setting);
        match spot {
            Spot::Root if is("plugins") => Some(Spot::Plugins),
            Spot::Root => Some(Spot::Other),
            Spot::Plugins => {
                let id = PluginId::ALL.into_iter().find(|id| id.name() == name);
                Some(id.map_or(Spot::Other, Spot::Section))
            }
            Spot::Section(id) => {
                // 2.x moves what older files say by its exact name.
                let moved = |reader: &Major| id != PluginId::Images && *reader == Major::Two;
                let reads = |reader: &Major| match reader {
                    Major::One => ["registry", "REGISTRY"].contains(&name),
                    Major::Two => name == "registry" || !moved(reader) && is("registry"),
                };
                Some(match self.readers.iter().any(reads) {
                    true => Spot::Registry,
                    false => Spot::Other,
                })
            }
            Spot::Registry if is("mirrors") => Some(Spot::Mirrors),
            Spot::Registry if is("configs") => Some(Spot::Configs),
            Spot::Registry if is("auths") => Some(Spot::Auths),
            Spot::Registry if is("headers") => Some(Spot::Headers),
            Spot::Registry => one_of(&["config_path"]),
            Spot::Mirrors => Some(Spot::Mirror),
            Spot::Mirror => one_of(&["endpoint"]),
            Spot::Configs => Some(Spot::Config),
            Spot::Config if is("tls") => Some(Spot::Tls),
            Spot::Config if is("auth") => Some(Spot::Auth),
            Spot::Config => None,
            Spot::Tls => one_of(&["ca_file", "cert_file", "key_file", "insecure_skip_verify"]),
            Spot::Auths => Some(Spot::Auth),
            Spot::Auth => one_of(&["username", "password", "auth", "identitytoken"]),
            Spot::Headers | Spot::Setting => Some(Spot::Setting),
            Spot::Other => Some(Spot::Other),
        }
    }

    /// Whether nothing is to be said of what is below this name.
    fn is_left_alone(&self, spot: Option<Spot>, next: Option<Spot>, name: &str) -> bool {
        match (spot, next) {
            (_, Some(Spot::Section(id))) => self.skipped.contains(&id),
            // Plugins of others have settings of their own. Without quotes a name is cut at its dots, and then 1.x
            // does not start, which is said.
            (Some(Spot::Plugins), _) => {
                !names::is_own_plugin(name) && !names::is_like_cri(name)
                    || name == "io" && !self.starts
            }
            _ => false,
        }
    }

    /// A setting that containerd may not read.
    fn setting(
        &mut self,
        node: &'t Node,
        spot: Option<Spot>,
        next: Option<Spot>,
        path: &[&'t Node],
    ) {
        let names: Vec<&str> = path.iter().map(|node| node.key.name.as_str()).collect();
        let Some((name, above)) = names.split_last() else {
            return;
        };
        let parts = parts(above);
        let is_lost = match (spot, next) {
            // Where registry settings are looked for.
            (_, None) => true,
            // A value where a table must be: the daemon does not start, which is said.
            (Some(spot), _)
                if spot != Spot::Other && !matches!(spot, Spot::Root | Spot::Section(_)) =>
            {
                false
            }
            (_, Some(Spot::Registry | Spot::Plugins)) => false,
            _ => self.is_about_registries(node, name, &parts),
        };
        if !is_lost {
            return;
        }
        // The first name that containerd does not follow.
        let mut spots = vec![Spot::Root];
        for name in &names {
            match spots.last().and_then(|spot| self.next(*spot, name)) {
                Some(next) if next != Spot::Other => spots.push(next),
                _ => break,
            }
        }
        let followed = spots.len() - 1;
        let spot = spots.last().copied().unwrap_or(Spot::Root);
        let lost_from = match spot {
            Spot::Root | Spot::Plugins | Spot::Section(_) => {
                // Other tables of containerd's are in order; what is about registries begins below.
                first_of_registries(&parts).unwrap_or(names.len() - 1)
            }
            _ => followed,
        };
        let whole = lost_from < names.len() - 1;
        let path = if whole {
            path.get(..path.len() - 1).unwrap_or(path)
        } else {
            path
        };
        let Some(last) = path.last() else { return };
        let mut start = last.key.range.start;
        let kind = Setting::called(name).and_then(|setting| match setting {
            setting if setting.is_tls() => Some(Kind::Tls),
            setting if setting.is_credential() => Some(Kind::Credentials),
            _ => None,
        });
        if let (false, Some(kind), Some(table)) = (whole, kind, path.iter().rev().nth(1)) {
            let table = table.key.range.start;
            start = *self.together.entry((table, kind)).or_insert(start);
        }
        let found = self.found.entry(start).or_insert_with(|| Found {
            path: path.to_vec(),
            whole,
            spot,
            settings: Vec::new(),
        });
        found.settings.push(node);
    }

    /// Whether a setting outside CRI's `registry` is meant to be in it.
    fn is_about_registries(&self, node: &Node, name: &str, parts: &[Word<'_>]) -> bool {
        let words = |word: &str| parts.iter().any(|part| part.name == word);
        let in_options = words("runtimes") && words(OPTIONS);
        let is_path =
            |value: &Value| matches!(&value.kind, ValueKind::String(text) if text.starts_with('/'));
        let is_list = |value: &Value| matches!(&value.kind, ValueKind::Array(_));
        let value = node.value();
        match name {
            "config_path" => return value.is_some_and(is_path),
            "imports" => return !parts.is_empty() && value.is_some_and(is_list),
            _ if in_options => return false,
            _ => {}
        }
        if first_of_registries(parts).is_some() {
            return Setting::called(name).is_some();
        }
        let in_cri = parts.iter().any(|part| part.part == Some(Part::Cri));
        match Setting::is_telling(name) {
            Some(Setting::Endpoint | Setting::SkipVerify) => in_cri,
            telling => telling.is_some(),
        }
    }

    fn report(self, findings: &mut Findings) {
        for found in self.found.values() {
            let Some(code) = self.code(found) else {
                continue;
            };
            let place = self.loaded.file.place(found.place());
            if findings.has(&finding::KEY_CASE, &place) {
                continue;
            }
            let advice = self.advice(found);
            let becomes = match code == &finding::UNKNOWN_KEY {
                true => "this has no effect, and is removed with its table",
                false => "this has no effect, and is kept",
            };
            findings.add(
                code,
                place,
                format!("no containerd reads {}", found.shown()),
                format!("{advice}; {becomes}"),
            );
        }
    }

    /// Under which code it is said; `None` if something else says it.
    fn code(&self, found: &Found<'_>) -> Option<&'static Code> {
        let names = found.names();
        match found.spot {
            // They go with their entry, if that is not said to be without effect itself.
            Spot::Mirror => {
                let entry = names.get(4)?;
                is_matchable(entry).then_some(&finding::UNKNOWN_KEY)
            }
            Spot::Tls => self
                .is_asked(names.get(4)?)
                .then_some(&finding::UNKNOWN_KEY),
            Spot::Auth => Some(&finding::UNKNOWN_CREDENTIAL_KEY),
            _ => {
                let mut settings = found.settings.iter();
                let is_credential = |node: &&&Node| {
                    Setting::called(&node.key.name).is_some_and(Setting::is_credential)
                };
                if settings.any(|node| is_credential(&node)) {
                    return Some(&finding::DEAD_CREDENTIALS);
                }
                let words = parts(&names);
                let is_right =
                    |word: &Word<'_>| word.part == Some(Part::Name) || is_containerds(word.name);
                // Quotes where none belong, or none where they do.
                let is_cut = words.windows(2).any(|pair| {
                    let [one, other] = pair else { return false };
                    one.at == other.at || one.part == Some(Part::Name) && one.part == other.part
                });
                Some(
                    match !found.whole || words.iter().all(is_right) && !is_cut {
                        true => &finding::MISPLACED_SETTING,
                        false => &finding::MISSPELT_TABLE,
                    },
                )
            }
        }
    }

    /// Whether TLS settings of this host take effect.
    fn is_asked(&self, host: &str) -> bool {
        let behaviour = self.planner.behaviour();
        let mirrors = self.planner.registry().mirrors.iter();
        let mut endpoints = mirrors.flat_map(|mirror| &mirror.endpoints);
        let is_it = |endpoint: &str| {
            parse_endpoint(endpoint, behaviour).is_ok_and(|parsed| parsed.host == host)
        };
        unmatchable(host).is_none() && host != "docker.io"
            || endpoints.any(|endpoint| is_it(&endpoint.value))
    }

    /// What to write instead.
    fn advice(&self, found: &Found<'_>) -> String {
        let adviser = Adviser::new(self.planner, self.index);
        let names = found.names();
        let tables = match found.whole {
            true => names.as_slice(),
            false => names.get(..names.len() - 1).unwrap_or_default(),
        };
        let parts = parts(tables);
        let host = named_host(&parts);
        let mut pairs: Vec<Pair<'_>> = Vec::new();
        for node in &found.settings {
            let setting = Setting::called(&node.key.name);
            if let (Some(setting), Some(value)) = (setting, node.value()) {
                pairs.push((setting, value));
            }
        }
        if tables
            .iter()
            .any(|name| name.starts_with("io.containerd.transfer.v1"))
        {
            return format!(
                "this plugin takes `config_path` and never uses it; {}",
                self.of_pairs(adviser, found, host, &pairs)
            );
        }
        if parts.iter().any(|part| part.part == Some(Part::Headers)) && pairs.is_empty() {
            return format!("write `{}` with it", adviser.header(&["headers"]));
        }
        if pairs.is_empty() {
            return match found.spot {
                Spot::Auth => {
                    "it knows `username`, `password`, `auth` and `identitytoken` here".to_owned()
                }
                Spot::Tls => {
                    "it knows `ca_file`, `cert_file`, `key_file` and `insecure_skip_verify` here"
                        .to_owned()
                }
                Spot::Mirror => "it knows `endpoint` here".to_owned(),
                _ => "it has no registry setting of this name".to_owned(),
            };
        }
        self.of_pairs(adviser, found, host, &pairs)
    }

    /// What to write for these settings, each kind in its table.
    fn of_pairs(
        &self,
        adviser: Adviser<'_, '_>,
        found: &Found<'_>,
        host: Option<String>,
        pairs: &[Pair<'_>],
    ) -> String {
        let mut advice: Vec<String> = Vec::new();
        let of = |is: &dyn Fn(Setting) -> bool| -> Vec<Pair<'_>> {
            pairs
                .iter()
                .copied()
                .filter(|(setting, _)| is(*setting))
                .collect()
        };
        let namespace = host.as_deref().map(|host| match host {
            "index.docker.io" => "docker.io",
            host => host,
        });
        for (setting, value) in pairs {
            match setting {
                Setting::ConfigPath => advice.push(adviser.config_path(value)),
                Setting::Endpoint => advice.push(adviser.mirror(namespace, value)),
                Setting::RegistryMirrors => advice.push(adviser.mirror(Some("docker.io"), value)),
                Setting::InsecureRegistries => advice.push(adviser.insecure(value)),
                Setting::Imports => advice.push(adviser.imports(value)),
                Setting::Rewrite => advice.push(
                    "only the containerd of k3s and rke2 reads `rewrite`, from registries.yaml"
                        .to_owned(),
                ),
                Setting::OfHostsFile => advice.push("it belongs into a hosts file".to_owned()),
                _ => {}
            }
        }
        let tls = of(&Setting::is_tls);
        let credentials = of(&Setting::is_credential);
        if !tls.is_empty() || !credentials.is_empty() {
            let hosts = self.asked_hosts(found, host);
            if !tls.is_empty() {
                advice.push(adviser.tls(&hosts, &tls));
                if found.spot == Spot::Mirror && self.is_http_only(found) {
                    advice.push("on an http endpoint no certificate is verified".to_owned());
                }
            }
            if !credentials.is_empty() {
                advice.push(adviser.credentials(&hosts, &credentials));
            }
        }
        advice.join("; ")
    }

    /// The hosts that certificates and credentials are for: in a mirror those of its endpoints.
    fn asked_hosts(&self, found: &Found<'_>, host: Option<String>) -> Vec<String> {
        let endpoints = self.endpoints(found);
        let mut hosts: Vec<String> = Vec::new();
        for endpoint in &endpoints {
            if let Ok(parsed) = parse_endpoint(endpoint, self.planner.behaviour())
                && !hosts.contains(&parsed.host)
            {
                hosts.push(parsed.host);
            }
        }
        if hosts.is_empty() {
            // Docker Hub is asked under another name.
            let host = host.filter(|host| host != "*");
            hosts.extend(host.map(|host| match host.as_str() {
                "index.docker.io" => default_host("docker.io").to_owned(),
                host => default_host(host).to_owned(),
            }));
        }
        hosts
    }

    /// The endpoints of the mirror that it stands in.
    fn endpoints<'f>(&self, found: &Found<'f>) -> Vec<&'f str> {
        let is_mirrors = |node: &&&Node| Part::called(&node.key.name) == Some(Part::Mirrors);
        let Some(at) = found.path.iter().position(|node| is_mirrors(&node)) else {
            return Vec::new();
        };
        let mut tables = found
            .path
            .iter()
            .skip(at + 1)
            .filter_map(|node| node.table());
        let endpoint = tables.find_map(|table| table.get("endpoint")?.value());
        endpoint.map(advice::strings).unwrap_or_default()
    }

    fn is_http_only(&self, found: &Found<'_>) -> bool {
        let endpoints = self.endpoints(found);
        !endpoints.is_empty()
            && endpoints
                .iter()
                .all(|endpoint| endpoint.starts_with("http://"))
    }
}

impl Found<'_> {
    fn names(&self) -> Vec<&str> {
        self.path
            .iter()
            .map(|node| node.key.name.as_str())
            .collect()
    }

    /// The header of the table, or the first key of it.
    fn place(&self) -> Range<usize> {
        let Some(last) = self.path.last() else {
            return 0..0;
        };
        let first = self
            .settings
            .first()
            .map_or(0..0, |node| node.key.range.clone());
        match (self.whole, &last.header) {
            (true, Some(header)) => header.clone(),
            _ => first,
        }
    }

    /// What it is called, by the header that it stands below.
    fn shown(&self) -> String {
        let names = self.names();
        let header = self.path.iter().rposition(|node| node.header.is_some());
        let above = header.map_or(0, |at| at + 1);
        let shown = |names: &[&str]| shown_names(names.iter().copied());
        let table = || match header {
            Some(_) => format!("in `[{}]`", shown(names.get(..above).unwrap_or_default())),
            None => "at the top of the file".to_owned(),
        };
        if self.whole && above == names.len() {
            return format!("`[{}]`", shown(&names));
        }
        let below = match self.whole {
            true => names.get(above..),
            false => names.get(above..names.len() - 1),
        };
        let keys = self.settings.iter().map(|node| {
            let mut key = below.unwrap_or_default().to_vec();
            key.push(&node.key.name);
            format!("`{}`", shown(&key))
        });
        let keys: Vec<String> = keys.collect();
        format!("{} {}", keys.join(", "), table())
    }
}

/// A name on the way to a setting, and what it stands for.
struct Word<'n> {
    name: &'n str,
    part: Option<Part>,
    /// Which of the names it is, or is in.
    at: usize,
}

/// What the names of tables stand for, those that hold several taken apart.
fn parts<'n>(names: &[&'n str]) -> Vec<Word<'n>> {
    let mut words: Vec<Word<'n>> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let before = words.last().and_then(|word| word.part);
        let holds_hosts = matches!(
            before,
            Some(Part::Mirrors | Part::Configs | Part::Auth | Part::Tls)
        );
        let split = match holds_hosts || before == Some(Part::Name) {
            true => vec![*name],
            false => names::split(name),
        };
        for name in split {
            let before = words.last().and_then(|word| word.part);
            let part = if names::is_like_cri(name) {
                Some(Part::Cri)
            } else if at > 0 && before.is_some_and(may_hold_hosts) && names::is_host(name) {
                Some(Part::Name)
            } else {
                Part::called(name).or_else(|| {
                    // The rest of a host without quotes.
                    let is_rest = matches!(
                        before,
                        Some(Part::Mirrors | Part::Configs | Part::Name | Part::Auth | Part::Tls)
                    );
                    is_rest.then_some(Part::Name)
                })
            };
            words.push(Word { name, part, at });
        }
    }
    words
}

fn may_hold_hosts(part: Part) -> bool {
    !matches!(part, Part::Plugins | Part::Cri)
}

/// The registry that settings are about, in whatever table it is named.
fn named_host(parts: &[Word<'_>]) -> Option<String> {
    let is_name = |word: &&Word<'_>| word.part == Some(Part::Name);
    let first = parts.iter().skip_while(|word| !is_name(word));
    let pieces: Vec<&str> = first.take_while(is_name).map(|word| word.name).collect();
    let joined = pieces.join(".");
    let host = names::host(&joined);
    (!host.is_empty()).then(|| host.to_owned())
}

/// The first name of a table that is about registries.
fn first_of_registries(words: &[Word<'_>]) -> Option<usize> {
    let mut numbered = words.iter().enumerate();
    let (_, first) = numbered.find(|(index, word)| match word.part {
        Some(Part::Registry | Part::Mirrors) => true,
        // Anything may have a table called so; not one for a host.
        Some(Part::Configs) => words
            .get(index + 1)
            .is_some_and(|next| next.part == Some(Part::Name)),
        _ => false,
    })?;
    Some(first.at)
}

/// Whether containerd itself has a table of this name.
fn is_containerds(name: &str) -> bool {
    let known = [
        "plugins", "registry", "mirrors", "configs", "auths", "headers", "tls", "auth",
    ];
    let core = [
        "containerd",
        "grpc",
        "ttrpc",
        "debug",
        "metrics",
        "cgroup",
        "timeouts",
        "proxy_plugins",
        "stream_processors",
    ];
    known.contains(&name)
        || core.contains(&name)
        || PluginId::ALL.iter().any(|id| id.name() == name)
        || !names::is_like_cri(name) && Part::called(name).is_none()
}
