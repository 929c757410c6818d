//! The JSON Schema of what the program prints as JSON.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;

use crate::report::Report;

/// The schema of every document, in the draft 2020-12 of JSON Schema.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with_transform(RecursiveTransform(unwrap_description));
    settings.into_generator().into_root_schema_for::<Report>()
}

/// Doc comments are wrapped for the source; a description is wrapped by whatever shows it.
fn unwrap_description(schema: &mut Schema) {
    if let Some(serde_json::Value::String(description)) = schema.get_mut("description") {
        let paragraphs = description.split("\n\n");
        let paragraphs: Vec<String> = paragraphs.map(|text| text.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}
