//! JSON Schemas of the files, for editors.

use serde_json::Value;

use super::raw;

/// The JSON Schema of `tidemill.toml`.
pub fn host_schema() -> Value {
    let mut schema = schemars::schema_for!(raw::Host).to_value();
    optional(&mut schema);
    schema
}

/// The JSON Schema of a pipeline file.
pub fn pipeline_schema() -> Value {
    schemars::schema_for!(raw::Pipeline).to_value()
}

/// Every host setting has a default in `default.toml`, or may be given elsewhere: none is required in the file.
fn optional(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("required");
            map.values_mut().for_each(optional);
        }
        Value::Array(items) => items.iter_mut().for_each(optional),
        _ => {}
    }
}
