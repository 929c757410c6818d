//! The types whose JSON form is a string: how they are written and read, and what the JSON Schema says of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::containerd::release::Version;
use crate::finding::{self, Code};
use crate::node::NodePath;

macro_rules! string_schema {
    ($type:ty, $name:literal, $pattern:literal, $description:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

string_schema!(
    Version,
    "Version",
    r"^[0-9]+\.[0-9]+\.[0-9]+$",
    "A version of containerd."
);
string_schema!(NodePath, "Path", "^/", "A path as the node sees it.");
string_schema!(
    Code,
    "Code",
    "^[a-z0-9]+(-[a-z0-9]+)*$",
    "The code of a finding, which `--explain` takes. Later versions of the program have more of them."
);

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a version of containerd"))
    }
}

impl Serialize for NodePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&Cow::<str>::deserialize(deserializer)?))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(code(&Cow::<str>::deserialize(deserializer)?))
    }
}

/// The finding of this name; of one that only a later version of the program knows, a row with the name alone.
fn code(name: &str) -> &'static Code {
    /// There are few, and they are kept until the program ends.
    static LATER: Mutex<BTreeMap<String, &'static Code>> = Mutex::new(BTreeMap::new());
    if let Some(code) = finding::code(name) {
        return code;
    }
    let mut later = LATER
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(code) = later.get(name) {
        return code;
    }
    let code = Box::leak(Box::new(Code::named(String::leak(name.to_owned()))));
    later.insert(name.to_owned(), code);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_of_a_later_version_keeps_its_name() {
        let read = |name: &str| serde_json::from_value::<&'static Code>(name.into()).unwrap();
        assert!(std::ptr::eq(read("unknown-key"), &finding::UNKNOWN_KEY));
        let later = read("found-in-2030");
        assert_eq!(later.name, "found-in-2030");
        assert!(std::ptr::eq(later, read("found-in-2030")));
    }
}
