//! Whether a version-1 file becomes one of version 2, the last step of its edit.

use super::placement::{Effect, Placement};
use crate::containerd::configuration::Configuration;
use crate::containerd::contents::PluginSection;
use crate::containerd::file::ConfigFile;
use crate::containerd::release::{Behaviour, Major, NEWEST, Version};
use crate::containerd::version_1::{self, FullNames};
use crate::finding::{self, Place};
use crate::question::Version1;
use crate::read::Inputs;
use crate::secret::TextKind;
use crate::text::FileText;

/// What becomes of the version of config.toml.
pub(crate) enum Conversion {
    /// It stays.
    No,
    /// The file becomes one of version 2.
    Yes(FullNames),
    /// It is asked for, or needed, and cannot be done.
    Impossible(Obstacle),
}

/// What keeps a version-1 file from being converted.
pub(crate) struct Obstacle {
    /// Where it is.
    pub place: Place,
    /// What it is, as a phrase.
    pub reason: String,
}

impl Conversion {
    /// Whether the file is to be converted, and can be. Where `--from` drops the section, a conversion would make it
    /// take effect.
    pub(crate) fn of(inputs: &Inputs, inert: &[Placement<'_>]) -> Self {
        let configuration = inputs.snapshot.configuration();
        let is_wanted = match inputs.options.version_1 {
            Version1::Keep => false,
            Version1::Convert => true,
            Version1::Auto => later_release_loses_it(inputs.from),
        };
        // What only newer releases read for want of a version takes effect on all with one.
        let takes_effect = inputs.carries() && inert.iter().any(is_of_version_1);
        let full_names = match takes_effect {
            true => FullNames::Keep,
            false => FullNames::Refuse,
        };
        if !(is_wanted && !inputs.behaviour().loses_version_1 || takes_effect)
            || !says_something_in_version_1(configuration)
        {
            return Self::No;
        }
        match obstacle(configuration, full_names) {
            Some(obstacle) => Self::Impossible(obstacle),
            None => Self::Yes(full_names),
        }
    }
}

/// Whether it is for want of a version that a release does not read these settings.
fn is_of_version_1(inert: &Placement<'_>) -> bool {
    let codes = [&finding::VERSION_1, &finding::VERSION_MISSING];
    matches!(&inert.effect, Effect::Later { code, .. } if codes.contains(code))
        || inert.version <= 1 && matches!(inert.effect, Effect::Idle)
}

/// Whether a release that this node may be upgraded to drops the CRI section of a version-1 file, wherever `--to` leads.
fn later_release_loses_it(from: Version) -> bool {
    let mut later = Version::between(from, NEWEST.max(from)).into_iter();
    later.any(|version| Behaviour::of(version).loses_version_1)
}

/// Whether there are registry settings in files whose main one is of version 1; one that says no version is one.
fn says_something_in_version_1(configuration: &Configuration) -> bool {
    let mut contents = configuration
        .files
        .iter()
        .map(|loaded| loaded.contents(Major::One))
        .peekable();
    let version = contents.peek().map_or(0, |main| main.version);
    let mut sections = contents.flat_map(|contents| &contents.sections);
    let says_something = |section: &PluginSection| {
        section
            .registry
            .as_ref()
            .is_some_and(|registry| registry.says_something())
    };
    version <= 1 && sections.any(says_something)
}

/// Why the file cannot be converted, if it cannot.
fn obstacle(configuration: &Configuration, full_names: FullNames) -> Option<Obstacle> {
    let config = configuration.main()?;
    // Whichever file is converted first, containerd 1.x does not start between the two (docs/containerd.md §12.2).
    let names_plugins = |file: &&ConfigFile| {
        ["plugins", "disabled_plugins", "required_plugins", "version"]
            .iter()
            .any(|name| {
                let mut keys = file.tree().iter().map(|node| &node.key.name);
                keys.any(|key| key.eq_ignore_ascii_case(name))
            })
    };
    let imported = configuration
        .files
        .iter()
        .skip(1)
        .map(|loaded| &loaded.file);
    if let Some(file) = imported.into_iter().find(names_plugins) {
        return Some(Obstacle {
            place: file.place(0..0),
            reason: format!(
                "`{}` is imported and has plugin names or a version of its own, so that both files would have to change \
                 at the same instant; move its settings into `{}`",
                file.path, config.path
            ),
        });
    }
    let (text, syntax) = (&config.toml.text, &config.toml.syntax);
    let refusal = version_1::convert(text, syntax, full_names).err()?;
    Some(Obstacle {
        place: config.place(refusal.range),
        reason: refusal.reason,
    })
}

/// The text of a version-1 file as one of version 2. `None` if it cannot be converted.
pub(crate) fn converted(text: &FileText, full_names: FullNames) -> Option<FileText> {
    let toml = text.toml()?;
    let renames = version_1::convert(&toml.text, &toml.syntax, full_names).ok()?;
    let converted = version_1::apply(&toml.text, &renames)?;
    Some(FileText::new(
        converted.into_bytes(),
        TextKind::Configuration,
    ))
}
