//! containerd's versions, and the table of what changed when.
//!
//! Everything in this crate that depends on a containerd version asks [`Behaviour`], and [`Behaviour`] is computed
//! from the table in this module alone.
//!
//! How a row is known stands beside it: a file at a tag (`path@v1.7.34`:line) or a commit is read in containerd's source,
//! "on daemons" is measured on releases that are named, "inferred" is neither. Whatever its mark, every row is compared
//! with the newest daemon of each line from 1.6 to 2.4 by the wire tests.

use std::fmt;

use crate::toml::spelling::GoToml;

/// A released version of containerd. Suffixes such as `~ds1`, `-k3s1` or `-rc.3` are not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number; `major.minor` is the release line.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

const fn version(major: u16, minor: u16, patch: u16) -> Version {
    Version {
        major,
        minor,
        patch,
    }
}

/// Every release line that the behaviour table knows, oldest first, with its newest release.
const LINES: [Version; 8] = [
    version(1, 5, 18),
    version(1, 6, 39),
    version(1, 7, 35),
    version(2, 0, 14),
    version(2, 1, 9),
    version(2, 2, 9),
    version(2, 3, 7),
    version(2, 4, 2),
];

/// The first release with `config_path`; before it there is nothing to migrate to.
pub const OLDEST: Version = version(1, 5, 0);
/// The newest release that the table knows.
pub const NEWEST: Version = {
    let [.., newest] = LINES;
    newest
};

/// The line that is planned to remove `mirrors`, `configs` and `auths` (docs/containerd.md §13).
pub const REMOVES_LEGACY: &str = "2.7";
/// When that line is planned for.
pub const REMOVES_LEGACY_WHEN: &str = "September 2027";

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// Reads `1.7`, `v2.1.9`, `1.6.20~ds1` or `2.0.5-k3s1`.
    ///
    /// A line without a patch number means its newest known release. `None` if the text is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let numbers_end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (numbers, suffix) = text.split_at(numbers_end);
        if !(suffix.is_empty() || suffix.starts_with(['~', '-', '+'])) {
            return None;
        }
        let mut parts = numbers.split('.').map(str::parse::<u16>);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = match parts.next() {
            Some(patch) => patch.ok()?,
            None => version(major, minor, 0)
                .newest_of_line()
                .map_or(0, |newest| newest.patch),
        };
        parts
            .next()
            .is_none()
            .then_some(version(major, minor, patch))
    }

    /// Every known release from `from` to `to`, both included, oldest first.
    ///
    /// `from` and `to` themselves are in the list even if the table has never heard of them.
    pub fn between(from: Self, to: Self) -> Vec<Self> {
        let mut versions = vec![from];
        versions.extend(
            LINES
                .iter()
                .flat_map(|line| (0..=line.patch).map(|patch| Self { patch, ..*line }))
                .filter(|version| from < *version && *version < to),
        );
        if to > from {
            versions.push(to);
        }
        versions
    }

    /// This release as the table has it: a patch that is newer than the table counts as the newest known one of its
    /// line, and a release of an unknown line as the newest known one before it.
    pub fn known(self) -> Self {
        if let Some(newest) = self.newest_of_line() {
            return self.min(newest);
        }
        let before = LINES.iter().rfind(|line| **line < self);
        before.copied().unwrap_or(OLDEST)
    }

    /// Whether the table has its release line.
    pub fn is_of_known_line(self) -> bool {
        self.newest_of_line().is_some()
    }

    /// Whether both are of one release line.
    pub fn is_of_line(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }

    fn newest_of_line(self) -> Option<Self> {
        let mut lines = LINES.iter();
        lines.find(|line| line.is_of_line(self)).copied()
    }

    /// `2.4` for 2.4.2.
    pub fn line(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Whether a change that first appeared in the releases `first` (one for each line that got it as a
    /// backport, oldest first; the last is where it entered for good) is in this release.
    fn has(self, first: &[Self]) -> bool {
        match first
            .iter()
            .find(|at| (at.major, at.minor) == (self.major, self.minor))
        {
            Some(at) => self >= *at,
            None => first.last().is_some_and(|last| self > *last),
        }
    }
}

/// The two generations of containerd, which differ in all that came with 2.0: the TOML library and with it how keys are
/// looked up, how files are merged, the names of plugins, and that `configs.*.tls` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Major {
    /// 1.x. go-toml 1.8 and 1.9 find a key as in the Go struct's tag, or all in capitals.
    One,
    /// 2.x. go-toml 2 finds keys without regard to case, and the last one wins.
    Two,
}

/// What this release of containerd reads its files with (`go.mod` at each tag).
fn go_toml(version: Version) -> GoToml {
    match (version.major, version.minor) {
        (..=1, _) => GoToml::V1,
        (2, ..=2) => GoToml::V2_2,
        (2, 3) => GoToml::V2_3,
        _ => GoToml::V2_4,
    }
}

/// Which names count as the local machine when a scheme has to be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalNames {
    /// Exactly `localhost`, `127.0.0.1` and `::1`.
    Three,
    /// `localhost` and every loopback address.
    Loopback,
}

/// What a hosts file's default host is for a namespace on the local machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalDefault {
    /// HTTPS with verification, as for every other name.
    Https,
    /// Plain HTTP.
    Http,
    /// HTTPS without verification, and HTTP after it unless the port is missing or 443; HTTP alone on port 80.
    HttpsFirst,
}

/// When a host with the scheme `http` and any TLS setting is tried over HTTPS first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpsFirst {
    /// Never: the scheme is taken at its word.
    Never,
    /// If a port is given and is not 80.
    OtherPort,
    /// Unless the port is 80, so also without one.
    NotPort80,
}

/// What one containerd version does with registry settings, as far as versions differ.
///
/// Two versions with equal behaviours are the same to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Behaviour {
    /// 1.x or 2.x.
    pub major: Major,
    /// Which texts that library takes for TOML.
    pub go_toml: GoToml,
    /// `docker.IsLocalhost` replaced three literals in 1.6.9 (`pkg/cri/server/image_pull.go@v1.6.39`:460).
    pub local_names: LocalNames,
    /// `remotes/docker/config/hosts.go`: v1.5.18:99, v1.7.7:100, v1.7.34:98.
    pub local_default: LocalDefault,
    /// `remotes/docker/config/hosts.go`: v1.6.39:254, v1.7.34:254.
    pub https_first: HttpsFirst,
    /// `dial_timeout` counts as a TLS setting (`core/remotes/docker/config/hosts.go@v2.0.11`:184; fixed in 2.1).
    pub dial_timeout_is_tls: bool,
    /// `override_path` is known (1.6.0; ignored as an unknown key before).
    pub override_path: bool,
    /// The directory `_default` is looked up (`remotes/docker/config/config_unix.go`, 1.6.17).
    pub default_directory: bool,
    /// A hosts.toml without a `host` table is discarded (containerd#10027; fixed in 1.7.32).
    pub host_table_required: bool,
    /// The capability `referrers` is known (2.2.0); before, it makes the whole file an error.
    pub referrers: bool,
    /// A colon in a URL's host outside brackets is an error: Go 1.26 modules, so containerd 2.3 (`go.mod@v2.3.4`).
    pub strict_colons: bool,
    /// A version-1 file loses its whole CRI section (2.0 to 2.2: `MigrateConfigTo` bumps the number first and the
    /// plugins' own migrations are skipped, `cmd/containerd/server/config/config.go@v2.0.11`:315).
    pub loses_version_1: bool,
    /// The highest `version` of a config.toml that is read as meant (3 from 2.0 on, 4 from 2.3 on).
    pub newest_file_version: i64,
    /// `config_path` when none is set: 2.2.0 and 2.2.1 have two directories there, beside mirrors, too.
    pub default_config_path: DefaultConfigPath,
    /// How the files that config.toml imports are put together.
    pub merging: Merging,
    /// What a relative pattern in `imports` is relative to.
    pub pattern_base: PatternBase,
    /// A config.toml newer than `newest_file_version` keeps the daemon from starting: 1.6.32, 1.7.17, all 2.x
    /// (`ValidateV2`, `services/server/config/config.go@v1.7.34`:121). Before, the number 3 was as good as 2.
    pub refuses_newer_file: bool,
    /// What the name of a plugin must look like in a file of version 2 and later.
    pub plugin_names: PluginNames,
    /// A drop-in of a higher version than config.toml keeps the daemon from starting
    /// (2.3.0 to 2.3.4: `cmd/containerd/server/config/config.go@v2.3.4`:475; reverted by 1125b053f in 2.3.5 and by
    /// a8ed54668 before 2.4.0). On daemons: 2.3.4 refuses it; 2.3.5, 2.3.7, 2.4.0 and 2.4.2 do not.
    pub refuses_newer_drop_in: bool,
    /// Pulls go through the transfer service unless a setting forbids it (2.1,
    /// `internal/cri/server/images/image_pull.go@v2.1.9`:311).
    pub transfer_service: bool,
}

/// How the files that config.toml imports are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merging {
    /// 1.x: the last file that has a plugin's section has all of it (`mergeConfig`,
    /// `services/server/config/config.go@v1.7.34`:305).
    Sections,
    /// 2.0 to 2.2: key by key, and then one migration of it all (`cmd/containerd/server/config/config.go@v2.0.11`:432,
    /// `cmd/containerd/server/server.go@v2.0.11`:255).
    KeysThenMigration,
    /// 2.3 and later: every file is migrated by itself, and then merged key by key
    /// (`cmd/containerd/server/config/config.go@v2.3.4`:483).
    MigrationThenKeys,
}

/// What a relative pattern in `imports` is relative to (`resolveImports`, `services/server/config/config.go@v1.6.39`:303).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternBase {
    /// Where the daemon was started, which is `/` under systemd: 1.5, 1.6.0 to 1.6.28, 1.7.0 to 1.7.15.
    WorkingDirectory,
    /// The importing file.
    ImportingFile,
}

/// What the name of a plugin must look like in a file of version 2 and later; others keep the daemon from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PluginNames {
    /// Four parts (`ValidateV2`, `services/server/config/config.go@v1.6.39`).
    FourParts,
    /// Four parts, the first two `io.containerd` (`ValidateV2`, `services/server/config/config.go@v1.7.34`:128).
    FourPartsOfContainerd,
    /// In the lists of plugins two parts; tables may be called anything (`ValidateVersion`,
    /// `cmd/containerd/server/config/config.go@v2.0.11`:115).
    TwoPartsInLists,
}

/// The built-in `config_path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultConfigPath {
    /// None: without the setting no directory is read.
    None,
    /// `/etc/containerd/certs.d:/etc/docker/certs.d`, mirrors or not, which makes mirrors fatal (containerd#12612).
    Always,
    /// The same two directories, but only where no mirrors are configured (`plugins/cri/images/plugin.go@v2.2.7`:64).
    WithoutMirrors,
}

impl Behaviour {
    /// Whether `configs.*.tls` is read; gone from `RegistryConfig` in 2.0
    /// (`internal/cri/config/config.go@v2.0.11`).
    pub fn reads_legacy_tls(&self) -> bool {
        self.major == Major::One
    }

    /// The table of what changed when: each row names the first releases that have a change.
    pub fn of(at: Version) -> Self {
        let two = at.has(&[version(2, 0, 0)]);
        let loopback = at.has(&[version(1, 6, 9), version(1, 7, 0)]);
        let fallback = at.has(&[version(1, 6, 25), version(1, 7, 8)]);
        let fallback_without_port = at.has(&[version(1, 7, 24), version(2, 0, 0)]);
        Self {
            major: if two { Major::Two } else { Major::One },
            go_toml: go_toml(at),
            local_names: if loopback {
                LocalNames::Loopback
            } else {
                LocalNames::Three
            },
            local_default: match (loopback, fallback) {
                (_, true) => LocalDefault::HttpsFirst,
                (true, false) => LocalDefault::Http,
                (false, false) => LocalDefault::Https,
            },
            https_first: match (fallback, fallback_without_port) {
                (_, true) => HttpsFirst::NotPort80,
                (true, false) => HttpsFirst::OtherPort,
                (false, false) => HttpsFirst::Never,
            },
            dial_timeout_is_tls: at.has(&[version(2, 0, 7)]) && !at.has(&[version(2, 1, 0)]),
            override_path: at.has(&[version(1, 6, 0)]),
            default_directory: at.has(&[version(1, 6, 17), version(1, 7, 0)]),
            host_table_required: !at.has(&[version(1, 7, 32), version(2, 0, 0)]),
            referrers: at.has(&[version(2, 2, 0)]),
            strict_colons: at.has(&[version(2, 3, 0)]),
            loses_version_1: two && !at.has(&[version(2, 3, 0)]),
            newest_file_version: match (two, at.has(&[version(2, 3, 0)])) {
                (_, true) => 4,
                (true, false) => 3,
                (false, false) => 2,
            },
            default_config_path: match (at.has(&[version(2, 2, 0)]), at.has(&[version(2, 2, 2)])) {
                (_, true) => DefaultConfigPath::WithoutMirrors,
                (true, false) => DefaultConfigPath::Always,
                (false, false) => DefaultConfigPath::None,
            },
            merging: match (two, at.has(&[version(2, 3, 0)])) {
                (_, true) => Merging::MigrationThenKeys,
                (true, false) => Merging::KeysThenMigration,
                (false, false) => Merging::Sections,
            },
            pattern_base: if at.has(&[version(1, 6, 29), version(1, 7, 16)]) {
                PatternBase::ImportingFile
            } else {
                PatternBase::WorkingDirectory
            },
            refuses_newer_file: at.has(&[version(1, 6, 32), version(1, 7, 17)]),
            plugin_names: match (two, at.has(&[version(1, 7, 0)])) {
                (true, _) => PluginNames::TwoPartsInLists,
                (false, true) => PluginNames::FourPartsOfContainerd,
                (false, false) => PluginNames::FourParts,
            },
            refuses_newer_drop_in: at.has(&[version(2, 3, 0)])
                && !at.has(&[version(2, 3, 5), version(2, 4, 0)]),
            transfer_service: at.has(&[version(2, 1, 0)]),
        }
    }
}

/// One behaviour and the versions of a range that have it.
#[derive(Clone, Debug)]
pub struct Generation {
    /// What these versions do.
    pub behaviour: Behaviour,
    /// The versions, oldest first; never empty.
    pub versions: Vec<Version>,
}

/// The distinct behaviours of the known versions from `from` to `to`, in order of their first version.
pub fn generations(from: Version, to: Version) -> Vec<Generation> {
    let mut generations: Vec<Generation> = Vec::new();
    for version in Version::between(from, to) {
        let behaviour = Behaviour::of(version);
        match generations
            .iter_mut()
            .find(|generation| generation.behaviour == behaviour)
        {
            Some(generation) => generation.versions.push(version),
            None => generations.push(Generation {
                behaviour,
                versions: vec![version],
            }),
        }
    }
    generations
}

/// The target versions where none is named: the newest release of every line after that of `from`, oldest first; where
/// there is no later line, the newest of its own.
pub fn default_targets(from: Version) -> Vec<Version> {
    let later = |line: &&Version| (line.major, line.minor) > (from.major, from.minor);
    let targets: Vec<Version> = LINES.iter().filter(later).copied().collect();
    if targets.is_empty() {
        return vec![from.newest_of_line().unwrap_or(NEWEST)];
    }
    targets
}

/// Known releases that follow each other are one run: oldest first, each run as its releases.
pub fn runs(mut versions: Vec<Version>) -> Vec<Vec<Version>> {
    versions.sort_unstable();
    let mut runs: Vec<Vec<Version>> = Vec::new();
    for version in versions {
        let last = runs.last_mut();
        let follows = |last: &Version| Version::between(*last, version).len() <= 2;
        match last {
            Some(run) if run.last().is_some_and(follows) => run.push(version),
            _ => runs.push(vec![version]),
        }
    }
    runs
}

/// `1.6.0 to 1.6.16, 1.7.3`: runs of releases that follow each other.
pub fn ranges(versions: Vec<Version>) -> String {
    let runs: Vec<String> = runs(versions)
        .iter()
        .filter_map(|run| Some((run.first()?, run.last()?)))
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first} to {last}")
            }
        })
        .collect();
    runs.join(", ")
}

/// `2.2.9, 2.3.7 and 2.4.2`, each with the word before the last.
pub fn list(versions: &[Version], word: &str) -> String {
    let mut words: Vec<String> = versions.iter().map(Version::to_string).collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} {word} {last}", words.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_dropped_and_a_line_means_its_newest_release() {
        assert_eq!(Version::parse("1.6.20~ds1"), Some(version(1, 6, 20)));
        assert_eq!(Version::parse("v2.0.5-k3s1"), Some(version(2, 0, 5)));
        assert_eq!(Version::parse("1.7"), Some(version(1, 7, 35)));
        assert_eq!(Version::parse("9.9"), Some(version(9, 9, 0)));
        assert_eq!(Version::parse("2.3"), Some(version(2, 3, 7)));
        for bad in ["", "1", "1.x", "1.7.34.1", "latest", "1.7 beta", "70000.1"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn backports_count_in_their_own_line_only() {
        let default_directory =
            |text| Behaviour::of(Version::parse(text).unwrap()).default_directory;
        assert!(!default_directory("1.5.18"));
        assert!(!default_directory("1.6.16"));
        assert!(default_directory("1.6.17"));
        assert!(default_directory("1.7.0"));
        assert!(default_directory("2.0.0"));

        let required = |text| Behaviour::of(Version::parse(text).unwrap()).host_table_required;
        assert!(required("1.6.39") && required("1.7.31"));
        assert!(!required("1.7.32") && !required("2.0.0"));

        let https_first = |text| Behaviour::of(Version::parse(text).unwrap()).https_first;
        assert_eq!(https_first("1.6.24"), HttpsFirst::Never);
        assert_eq!(https_first("1.6.25"), HttpsFirst::OtherPort);
        assert_eq!(https_first("1.7.7"), HttpsFirst::Never);
        assert_eq!(https_first("1.7.23"), HttpsFirst::OtherPort);
        assert_eq!(https_first("1.7.24"), HttpsFirst::NotPort80);

        let dial = |text| Behaviour::of(Version::parse(text).unwrap()).dial_timeout_is_tls;
        assert!(!dial("2.0.6") && dial("2.0.7") && dial("2.0.14") && !dial("2.1.0"));

        let refuses = |text| Behaviour::of(Version::parse(text).unwrap()).refuses_newer_drop_in;
        assert!(!refuses("2.2.9") && refuses("2.3.0") && refuses("2.3.4"));
        assert!(!refuses("2.3.5") && !refuses("2.4.0"));
    }

    #[test]
    fn each_containerd_has_its_go_toml() {
        let of = |text| go_toml(Version::parse(text).unwrap());
        assert_eq!([of("1.5.0"), of("1.7.34")], [GoToml::V1; 2]);
        assert_eq!([of("2.0.0"), of("2.2.7")], [GoToml::V2_2; 2]);
        assert_eq!(of("2.3.4"), GoToml::V2_3);
        assert_eq!([of("2.4.0"), of("3.0.0")], [GoToml::V2_4; 2]);
    }

    #[test]
    fn a_newer_patch_counts_as_the_newest_of_its_line_and_an_unknown_line_as_what_is_before_it() {
        let known = |text| Version::parse(text).unwrap().known().to_string();
        assert_eq!([known("2.3.99"), known("1.7.20")], ["2.3.7", "1.7.20"]);
        assert_eq!([known("2.9.1"), known("1.9")], ["2.4.2", "1.7.35"]);
        assert_eq!(known("1.4.3"), "1.5.0");
        assert!(version(2, 3, 99).is_of_known_line() && !version(1, 9, 0).is_of_known_line());
    }

    #[test]
    fn the_default_targets_are_the_newest_releases_of_all_later_lines() {
        let of = |text| list(&default_targets(Version::parse(text).unwrap()), "and");
        assert_eq!(of("1.7.20"), "2.0.14, 2.1.9, 2.2.9, 2.3.7 and 2.4.2");
        assert_eq!(of("2.2.0"), "2.3.7 and 2.4.2");
        assert_eq!([of("2.4.0"), of("2.4.2")], ["2.4.2", "2.4.2"]);
    }

    #[test]
    fn releases_that_follow_each_other_are_one_range() {
        let all = [(1, 7, 35), (2, 0, 0), (2, 2, 0), (2, 2, 1), (2, 1, 9)];
        let all = all.map(|(major, minor, patch)| version(major, minor, patch));
        assert_eq!(ranges(all.to_vec()), "1.7.35 to 2.0.0, 2.1.9 to 2.2.1");
    }

    #[test]
    fn the_range_holds_every_known_release_and_its_ends() {
        let (from, to) = (version(1, 7, 30), version(2, 0, 2));
        let between = Version::between(from, to);
        assert_eq!(between.len(), 6 + 3);
        assert_eq!(
            Version::between(version(1, 7, 99), version(2, 0, 0)).len(),
            2
        );
        assert_eq!(Version::between(from, from), [from]);
        let counted: usize = generations(from, to).iter().map(|g| g.versions.len()).sum();
        assert_eq!(counted, between.len());
    }
}
