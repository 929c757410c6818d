//! Whether a version-1 file becomes one of version 2, the last step of its edit.

use crate::containerd::configuration::Configuration;
use crate::containerd::contents::PluginSection;
use crate::containerd::file::ConfigFile;
use crate::containerd::release::Major;
use crate::containerd::version_1;
use crate::finding::{self, Findings};
use crate::read::{Inputs, Version1};
use crate::secret::TextKind;
use crate::text::FileText;

/// Whether the file is to be converted, and can be. Where the section is dropped today, a conversion would make it take
/// effect. What cannot be converted is a finding, and the node is planned for as it is.
pub(crate) fn converts(inputs: &Inputs, findings: &mut Findings) -> bool {
    let configuration = inputs.snapshot.configuration();
    inputs.options.version_1 == Version1::Convert
        && !inputs.behaviour().loses_version_1
        && says_something_in_version_1(configuration)
        && can_be_converted(configuration, findings)
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

/// Whether the file can be converted; why it cannot is a finding.
fn can_be_converted(configuration: &Configuration, findings: &mut Findings) -> bool {
    let Some(config) = configuration.main() else {
        return false;
    };
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
        return false;
    }
    let Err(refusal) = version_1::convert(&config.toml.text, &config.toml.syntax) else {
        return true;
    };
    findings.add(
        &finding::VERSION_1,
        config.place(refusal.range),
        format!(
            "this file cannot be converted to version 2: {}",
            refusal.reason
        ),
        "mend this, or --v1 keep",
    );
    false
}

/// The text of a version-1 file as one of version 2. `None` if it cannot be converted.
pub(crate) fn converted(text: &FileText) -> Option<FileText> {
    let toml = text.toml()?;
    let renames = version_1::convert(&toml.text, &toml.syntax).ok()?;
    let converted = version_1::apply(&toml.text, &renames)?;
    Some(FileText::new(
        converted.into_bytes(),
        TextKind::Configuration,
    ))
}
