//! Registry settings where no containerd reads them: under a wrong name, in a wrong table, in a wrong file. Each is a warning
//! with the lines to write instead.
//!
//! One walk through each configuration file follows what containerd's structs look up (`Spot`). What is beside that way is
//! taken apart into words of the list in `names`; a name that is none is the registry that it is about. So it does not matter
//! in which order the tables stand, or what is between them.

pub(crate) mod advice;
pub(crate) mod hosts_files;
pub(crate) mod names;

use std::collections::BTreeMap;
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
use crate::secret::{self, TextKind, shown_names};
use crate::toml::syntax::{Node, Table, Value, ValueKind};

/// Looks at every configuration file.
pub(crate) fn check(planner: &Planner<'_>, findings: &mut Findings) {
    let files = planner.configuration().files.iter().enumerate();
    for (index, loaded) in files {
        let mut walk = Walk::new(planner, index, loaded);
        walk.table(loaded.file.tree(), Spot::Root, 0, &mut Vec::new());
        walk.report(findings);
    }
}

/// A place that containerd looks at for registry settings.
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
}

impl Spot {
    /// Whether containerd has other settings here, too, of which nothing is known.
    fn has_others(self) -> bool {
        matches!(self, Self::Root | Self::Plugins | Self::Section(_))
    }
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
    /// What was found, by where its table begins, with the spot that containerd followed the names to.
    found: BTreeMap<(usize, Kind), (Spot, Unread<'t>)>,
}

/// What of a table is said together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// All that is in it.
    Table,
    Tls,
    Credentials,
    /// The key at this place.
    Key(usize),
}

impl Kind {
    fn of(node: &Node, whole: bool) -> Self {
        match Setting::called(&node.key.name) {
            _ if whole => Self::Table,
            Some(setting) if setting.is_tls() => Self::Tls,
            Some(setting) if setting.is_credential() => Self::Credentials,
            _ => Self::Key(node.key.range.start),
        }
    }
}

/// Settings of one table that no containerd reads.
struct Unread<'t> {
    /// The names from the root to the table.
    path: Vec<&'t Node>,
    /// Whether it is the table, with all that is in it.
    whole: bool,
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
        }
    }

    /// Follows the names of a table as far as containerd does: `spot` is where it got by the first `followed` names of `path`.
    fn table(&mut self, table: &'t Table, spot: Spot, followed: usize, path: &mut Vec<&'t Node>) {
        for node in table.iter() {
            let name = node.key.name.as_str();
            let is_followed = followed == path.len();
            let next = is_followed.then(|| self.next(spot, name)).flatten();
            if is_followed && self.is_left_alone(spot, next, name) {
                continue;
            }
            match (node.table(), next) {
                (Some(inner), next) => {
                    path.push(node);
                    let followed = followed + usize::from(next.is_some());
                    self.table(inner, next.unwrap_or(spot), followed, path);
                    path.pop();
                }
                // It is read, or of the wrong type, which is said elsewhere.
                (None, Some(_)) => {}
                (None, None) => self.setting(node, spot, followed, path),
            }
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
            Spot::Root => None,
            Spot::Plugins => {
                let id = PluginId::ALL.into_iter().find(|id| id.name() == name);
                id.map(Spot::Section)
            }
            Spot::Section(id) => {
                // 2.x moves what older files say by its exact name.
                let moved = |reader: &Major| id != PluginId::Images && *reader == Major::Two;
                let reads = |reader: &Major| match reader {
                    Major::One => ["registry", "REGISTRY"].contains(&name),
                    Major::Two => name == "registry" || !moved(reader) && is("registry"),
                };
                self.readers.iter().any(reads).then_some(Spot::Registry)
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
        }
    }

    /// Whether nothing is to be said of what is below this name.
    fn is_left_alone(&self, spot: Spot, next: Option<Spot>, name: &str) -> bool {
        match (spot, next) {
            (_, Some(Spot::Section(id))) => self.skipped.contains(&id),
            // Plugins of others have settings of their own. Without quotes a name is cut at its dots, and then 1.x
            // does not start, which is said.
            (Spot::Plugins, _) => {
                !names::is_own_plugin(name) && !names::is_like_cri(name)
                    || name == "io" && !self.starts
            }
            _ => false,
        }
    }

    /// A setting that no containerd reads here.
    fn setting(&mut self, node: &'t Node, spot: Spot, followed: usize, path: &[&'t Node]) {
        let name = node.key.name.as_str();
        // Most settings are of something else.
        if spot.has_others() && Setting::called(name).is_none() {
            return;
        }
        let names = names_of(path);
        let parts = parts(&names);
        if spot.has_others() && !is_about_registries(node, name, &parts) {
            return;
        }
        // Other tables of containerd's are in order; what is about registries begins below.
        let lost_from = match spot.has_others() {
            true => first_of_registries(&parts).unwrap_or(names.len()),
            false => followed,
        };
        let whole = lost_from < names.len();
        let kind = Kind::of(node, whole);
        let start = path.last().map_or(0, |table| table.key.range.start);
        let (_, unread) = self.found.entry((start, kind)).or_insert_with(|| {
            let path = path.to_vec();
            let settings = Vec::new();
            (
                spot,
                Unread {
                    path,
                    whole,
                    settings,
                },
            )
        });
        unread.settings.push(node);
    }

    fn report(self, findings: &mut Findings) {
        for (spot, unread) in self.found.values() {
            let Some(code) = self.code(*spot, unread) else {
                continue;
            };
            let place = self.loaded.file.place(unread.place());
            if findings.has(&finding::KEY_CASE, &place) {
                continue;
            }
            let advice = self.advice(*spot, unread);
            let becomes = match code == &finding::UNKNOWN_KEY {
                true => {
                    "correct it before you migrate: it has no effect, and is removed with its table"
                }
                false => "this has no effect, and is kept",
            };
            findings.add(
                code,
                place,
                format!("no containerd reads {}", unread.shown()),
                format!("{advice}; {becomes}"),
            );
        }
    }

    /// Under which code it is said; `None` if something else says it.
    fn code(&self, spot: Spot, unread: &Unread<'_>) -> Option<&'static Code> {
        let names = names_of(&unread.path);
        let is_credential = |(setting, ..): (Setting, _, _)| setting.is_credential();
        match spot {
            // They go with their entry, if that is not said to be without effect itself.
            Spot::Mirror => is_matchable(names.get(4)?).then_some(&finding::UNKNOWN_KEY),
            Spot::Tls => self
                .is_asked(names.get(4)?)
                .then_some(&finding::UNKNOWN_KEY),
            Spot::Auth => Some(&finding::UNKNOWN_CREDENTIAL_KEY),
            _ if unread.known().any(is_credential) => Some(&finding::DEAD_CREDENTIALS),
            _ if unread.whole => Some(&finding::MISSPELT_TABLE),
            _ => Some(&finding::MISPLACED_SETTING),
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
    fn advice(&self, spot: Spot, unread: &Unread<'_>) -> String {
        let adviser = Adviser::new(self.planner, self.index);
        let names = names_of(&unread.path);
        let parts = parts(&names);
        let settings = unread.shown_settings(TextKind::Configuration);
        let pairs = advice::pairs(&settings);
        if pairs.is_empty() {
            let known = match spot {
                Spot::Auth => "it knows `username`, `password`, `auth` and `identitytoken` here",
                Spot::Tls => {
                    "it knows `ca_file`, `cert_file`, `key_file` and `insecure_skip_verify` here"
                }
                Spot::Mirror => "it knows `endpoint` here",
                _ if parts.iter().any(|part| part.part == Some(Part::Headers)) => {
                    return format!("write `{}` with it", adviser.header(&["headers"]));
                }
                _ => "it has no registry setting of this name",
            };
            return known.to_owned();
        }
        let host = named_host(&parts);
        let namespace = host.as_deref().map(|host| match host {
            "index.docker.io" => "docker.io",
            host => host,
        });
        let mut advice: Vec<String> = Vec::new();
        if names
            .iter()
            .any(|name| name.starts_with("io.containerd.transfer.v1"))
        {
            advice.push("this plugin takes `config_path` and never uses it".to_owned());
        }
        for (setting, value) in &pairs {
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
                Setting::OfHostsFile => advice.push("it belongs in a hosts file".to_owned()),
                _ => {}
            }
        }
        let endpoints = endpoints(unread);
        let hosts = self.asked_hosts(&endpoints, host);
        let tls = select(&pairs, Setting::is_tls);
        if !tls.is_empty() {
            let right = adviser.tls(&hosts, &tls);
            let is_http = |endpoint: &&str| endpoint.starts_with("http://");
            advice.push(
                match !endpoints.is_empty() && endpoints.iter().all(is_http) {
                    true => format!("plain HTTP has no certificate to verify; for HTTPS {right}"),
                    false => right,
                },
            );
        }
        let credentials = select(&pairs, Setting::is_credential);
        if !credentials.is_empty() {
            advice.push(adviser.credentials(&hosts, &credentials));
        }
        advice.join("; ")
    }

    /// The hosts that certificates and credentials are for: in a mirror those of its endpoints.
    fn asked_hosts(&self, endpoints: &[&str], host: Option<String>) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        for endpoint in endpoints {
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
}

/// The endpoints of the mirror that settings stand in.
fn endpoints<'t>(unread: &Unread<'t>) -> Vec<&'t str> {
    let is_mirrors = |node: &&&Node| Part::called(&node.key.name) == Some(Part::Mirrors);
    let below = unread
        .path
        .iter()
        .skip_while(|node| !is_mirrors(node))
        .skip(1);
    let mut tables = below.filter_map(|node| node.table());
    let endpoint = tables.find_map(|table| table.get("endpoint")?.value());
    let mut endpoints = endpoint.map(advice::strings).unwrap_or_default();
    let names = names_of(&unread.path);
    let mirrors = names
        .iter()
        .position(|name| Part::called(name) == Some(Part::Mirrors));
    // The mirror's own name is the next one.
    let mirror = names
        .get(..mirrors.map_or(0, |at| at + 2))
        .unwrap_or_default();
    let setting = [mirror, &["endpoint"]].concat();
    endpoints.retain(|url| secret::is_shown(TextKind::Configuration, &setting, url));
    endpoints
}

impl<'t> Unread<'t> {
    /// The settings that are known.
    fn known(&self) -> impl Iterator<Item = (Setting, &'t Node, &'t Value)> {
        self.settings.iter().filter_map(|node| {
            let value = node.value()?;
            let setting = match (Setting::called(&node.key.name)?, &value.kind) {
                // `insecure = ["HOST"]`.
                (Setting::SkipVerify, ValueKind::Array(_)) => Setting::InsecureRegistries,
                (setting, _) => setting,
            };
            Some((setting, *node, value))
        })
    }

    /// What is known of them, with words in place of the strings that excerpts mask.
    fn shown_settings(&self, kind: TextKind) -> Vec<(Setting, Value)> {
        let above = names_of(&self.path);
        let shown = |(setting, node, value): (Setting, &'t Node, &'t Value)| {
            let names = [&above[..], &[node.key.name.as_str()]].concat();
            let is_shown = |text: &str| secret::is_shown(kind, &names, text);
            (setting, advice::shown_value(setting, value, &is_shown))
        };
        self.known().map(shown).collect()
    }

    /// The header of the table, or the first key of it.
    fn place(&self) -> Range<usize> {
        let header = self.path.last().and_then(|table| table.header.clone());
        let key = self.settings.first().map(|node| node.key.range.clone());
        header.filter(|_| self.whole).or(key).unwrap_or_default()
    }

    /// What it is called, by the header that it stands below.
    fn shown(&self) -> String {
        let names = names_of(&self.path);
        let header = self.path.iter().rposition(|node| node.header.is_some());
        let (above, below) = names.split_at(header.map_or(0, |at| at + 1));
        let shown = |names: &[&str]| shown_names(names.iter().copied());
        if self.whole && below.is_empty() {
            return format!("`[{}]`", shown(&names));
        }
        let keys = self.settings.iter().map(|node| {
            let key = [below, &[node.key.name.as_str()]].concat();
            format!("`{}`", shown(&key))
        });
        let keys: Vec<String> = keys.collect();
        match above {
            [] => format!("{} at the top of the file", keys.join(", ")),
            above => format!("{} in `[{}]`", keys.join(", "), shown(above)),
        }
    }
}

fn names_of<'t>(path: &[&'t Node]) -> Vec<&'t str> {
    path.iter().map(|node| node.key.name.as_str()).collect()
}

fn select<'t>(pairs: &[Pair<'t>], is: fn(Setting) -> bool) -> Vec<Pair<'t>> {
    let selected = pairs.iter().filter(|(setting, _)| is(*setting));
    selected.copied().collect()
}

/// Whether one of the settings outside CRI's `registry` is meant to be in it.
fn is_about_registries(node: &Node, name: &str, parts: &[Word<'_>]) -> bool {
    let is_below = |word: &str| parts.iter().any(|part| part.name == word);
    let value = node.value().map(|value| &value.kind);
    match name {
        "config_path" => matches!(value, Some(ValueKind::String(text)) if text.starts_with('/')),
        "imports" => !parts.is_empty() && matches!(value, Some(ValueKind::Array(_))),
        _ if is_below("runtimes") && is_below(OPTIONS) => false,
        _ if first_of_registries(parts).is_some() => true,
        "endpoint" | "insecure_skip_verify" => {
            parts.iter().any(|part| part.part == Some(Part::Cri))
        }
        // Docker's names.
        "insecure_registries" | "insecure-registries" => true,
        "registry_mirrors" | "registry-mirrors" => true,
        _ => false,
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
                    let is_rest = match words.last() {
                        // The rest of a host without quotes; one with a dot in it has quotes, and is whole.
                        Some(word) if word.part == Some(Part::Name) => {
                            !word.name.contains(['.', ':', '/'])
                        }
                        _ => matches!(
                            before,
                            Some(Part::Mirrors | Part::Configs | Part::Auth | Part::Tls)
                        ),
                    };
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
