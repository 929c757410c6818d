//! All files that containerd reads when it starts: config.toml, what it imports, and in which order.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::contents::Contents;
use super::file::ConfigFile;
use super::lookup::CaseError;
use crate::containerd::release::{Behaviour, Major, PatternBase};
use crate::finding::Place;
use crate::text::FileText;
use crate::toml::spelling::GoToml;
use crate::toml::spelling::Refusal;

/// A file with what each containerd makes of it.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    /// The file.
    pub file: ConfigFile,
    /// What it says to readers of 1.x and of 2.x: mostly the same, which is then one value.
    contents: OnceCell<[Rc<Contents>; 2]>,
}

impl LoadedFile {
    /// Nothing is looked at yet.
    pub fn new(file: ConfigFile) -> Self {
        Self {
            file,
            contents: OnceCell::new(),
        }
    }

    /// What the file says to this reader.
    pub fn contents(&self, reader: Major) -> &Contents {
        let [one, two] = self.all_contents();
        match reader {
            Major::One => one,
            Major::Two => two,
        }
    }

    /// What readers do not agree about.
    pub fn cases(&self, readers: &[Major]) -> Vec<CaseError> {
        let [one, two] = self.all_contents();
        match Rc::ptr_eq(one, two) {
            true => Vec::new(),
            false => Contents::of(&self.file, readers).cases,
        }
    }

    fn all_contents(&self) -> &[Rc<Contents>; 2] {
        self.contents.get_or_init(|| {
            let both = [Major::One, Major::Two];
            let contents = Rc::new(Contents::of(&self.file, &both));
            match contents.cases.is_empty() {
                true => [Rc::clone(&contents), contents],
                false => both.map(|reader| Rc::new(Contents::of(&self.file, &[reader]))),
            }
        })
    }

    /// What this reader stops at, as it is TOML to others only.
    pub fn refusal(&self, reader: GoToml) -> Option<&Refusal> {
        self.file.toml.syntax.refusal(reader)
    }
}

/// Which files are read, in load order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOrder {
    /// Indexes into [`Configuration::files`].
    pub files: Vec<usize>,
    /// What keeps the daemon from starting, as a phrase, and the import that asks for it.
    pub missing: Vec<(String, Place)>,
}

/// A node's configuration.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Every file that some containerd reads; config.toml is the first.
    pub files: Vec<LoadedFile>,
    /// Which are read, and when, by what relative patterns in `imports` are relative to and by how the key is found.
    pub orders: BTreeMap<(PatternBase, Major), LoadOrder>,
}

impl Configuration {
    /// The files that a containerd of this behaviour reads, in load order.
    pub fn order(&self, behaviour: &Behaviour) -> Option<&LoadOrder> {
        self.orders.get(&(behaviour.pattern_base, behaviour.major))
    }

    /// config.toml itself.
    pub fn main(&self) -> Option<&ConfigFile> {
        self.files.first().map(|loaded| &loaded.file)
    }

    /// The configuration with other texts, by index. `None` if one of them is not TOML.
    pub fn with_texts(&self, texts: &BTreeMap<usize, FileText>) -> Option<Self> {
        let files = self.files.iter().enumerate().map(|(index, loaded)| {
            let Some(text) = texts.get(&index) else {
                return Some(loaded.clone());
            };
            Some(LoadedFile::new(ConfigFile {
                toml: Rc::clone(text.toml()?),
                ..loaded.file.clone()
            }))
        });
        Some(Self {
            files: files.collect::<Option<_>>()?,
            orders: self.orders.clone(),
        })
    }
}
