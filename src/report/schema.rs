//! What the JSON Schema says of the types whose JSON form is a string.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::containerd::release::Version;
use crate::finding::Code;
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
    "The code of a finding, which `--explain` takes; later versions have more of them."
);
