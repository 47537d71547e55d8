//! The JSON Schema of the configuration file, for editors.
//!
//! What a key may be is said in `shapes`; what it is for, and its default, in the annotated `config/idemproxy.toml` (`reference`), whose
//! values a test compares with the code. Tests compare the keys with those that the reader takes, and the shapes with what it says that
//! it expects. What a schema cannot say, that two settings do not go together for one, `check` says.

mod reference;
mod shapes;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use self::reference::Reference;
use self::shapes::{Shape, keys, required};

/// The JSON Schema (2020-12) of the configuration file, of TOML as JSON.
pub fn schema() -> Value {
    let mut schema = table("", &Reference::read());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("The configuration of idemproxy");
    schema
}

/// A table of the file; every key that is not named is a mistake.
fn table(section: &'static str, reference: &Reference) -> Value {
    let properties: Map<String, Value> = keys(section)
        .into_iter()
        .map(|(key, shape)| {
            let value = match shape {
                Shape::Is(shape) => leaf(section, key, shape, reference),
                Shape::Table(section) => table(section, reference),
                Shape::Tables(section) => {
                    json!({"type": "array", "items": table(section, reference)})
                }
            };
            (key.to_owned(), value)
        })
        .collect();
    let mut table = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let Some(description) = reference.section(section) {
        table["description"] = json!(description);
    }
    for (keyword, value) in required(section) {
        table[keyword] = value;
    }
    table
}

/// A setting, with what the reference says of it.
fn leaf(section: &str, key: &str, mut shape: Value, reference: &Reference) -> Value {
    let own = reference.entry(section, key);
    // What a route does not set is as in [policy].
    let entry = match section {
        "route" => own.or_else(|| reference.entry("policy", key)),
        _ => own,
    };
    let Some(entry) = entry else { return shape };
    shape["description"] = json!(entry.description);
    // The one setting that has none.
    let has_default = section != "route" && (section, key) != ("", "upstream");
    match &entry.value {
        _ if shape.get("default").is_some() => {}
        value if entry.is_set && has_default => shape["default"] = value.clone(),
        value => shape["examples"] = json!([value]),
    }
    shape
}
