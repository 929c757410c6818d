//! The JSON Schema of what the program prints as JSON.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::report::Report;
use crate::summary::Summary;

/// What `--format json` prints: the report of a node, or the summary of many reports.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    clippy::large_enum_variant,
    reason = "it stands for its schema"
)]
enum Document {
    Report(Report),
    Summary(Summary),
}

/// The schema of every document, in the draft 2020-12 of JSON Schema.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with_transform(RecursiveTransform(unwrap_description));
    settings.into_generator().into_root_schema_for::<Document>()
}

/// Doc comments are wrapped for the source; a description is wrapped by whatever shows it.
fn unwrap_description(schema: &mut Schema) {
    if let Some(serde_json::Value::String(description)) = schema.get_mut("description") {
        let paragraphs = description.split("\n\n");
        let paragraphs: Vec<String> = paragraphs.map(|text| text.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}
