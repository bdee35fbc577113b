//! The JSON Schema of a pipeline file, by which editors complete and check it: draft-07, which is what they read.
//! It is made from the types the file is decoded by and from the connectors' own schemas.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use windrow_common::manifest::WriteMode;
use windrow_worker::{connection, postgres};

use super::{
    Connectors,
    connector::{self, SinkConnector},
    many,
    spec::FileBlock,
};

/// The schema with all connectors of this windrow.
pub fn json_schema() -> Value {
    build(&Connectors::all())
}

pub(crate) fn build(connectors: &Connectors) -> Value {
    let mut root = SchemaSettings::draft07().into_generator().into_root_schema_for::<FileBlock>().to_value();
    let mut definitions = Definitions(take_map(&mut root, "definitions"));
    let base = definitions.properties("ConnectionBlock");
    let connections = connection::all().map(|kind| {
        let mut own = base.clone();
        own.insert("type".to_owned(), json!({ "const": kind.kind }));
        definitions.block(kind.kind, (kind.schema)(), Value::Object(own), &["type"])
    });
    let connections: Vec<_> = connections.collect();
    let base = definitions.properties("SourceBlock");
    let sources: Vec<_> = connectors
        .sources
        .iter()
        .map(|kind| {
            let mut own = base.clone();
            if !kind.connections.contains(&postgres::CONNECTION) {
                many::KEYS.iter().for_each(|key| drop(own.remove(*key)));
            }
            definitions.block(kind.kind, (kind.schema)(), Value::Object(own), &["from"])
        })
        .collect();
    let base = definitions.properties("SinkBlock");
    let sinks: Vec<_> = connectors.sinks.iter().map(|kind| sink(kind, base.clone(), &mut definitions)).collect();
    definitions.replace("ConnectionBlock", "oneOf", connections);
    definitions.replace("SourceBlock", "anyOf", sources);
    definitions.replace("SinkBlock", "oneOf", sinks);
    root["definitions"] = Value::Object(definitions.0);
    root
}

fn sink(kind: &SinkConnector, mut own: Map<String, Value>, definitions: &mut Definitions) -> Value {
    let writes: Vec<_> = kind.capabilities.writes.iter().map(|mode| connector::word(*mode)).collect();
    own.insert("format".to_owned(), json!({ "enum": kind.formats }));
    own.insert("write".to_owned(), json!({ "enum": writes }));
    let mut required = vec!["to", "format"];
    if !kind.capabilities.writes.contains(&WriteMode::Upsert) {
        connector::BY_KEY.iter().for_each(|key| drop(own.remove(*key)));
    }
    match kind.staging {
        [] => drop(own.remove("staging")),
        _ => required.push("staging"),
    }
    definitions.block(kind.kind, (kind.schema)(), Value::Object(own), &required)
}

/// The named parts of the schema.
struct Definitions(Map<String, Value>);

impl Definitions {
    fn properties(&self, block: &str) -> Map<String, Value> {
        let properties = self.0.get(block).and_then(|block| block.get("properties"));
        properties.and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// A connector's block: its own parameters and those every block of the sort has. The connector's definitions
    /// move here under its name.
    fn block(&mut self, connector: &str, schema: schemars::Schema, own: Value, required: &[&str]) -> Value {
        let mut schema = schema.to_value();
        // A connector that takes no parameters may say so by any schema that is no object's.
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            schema = json!({ "type": "object" });
        }
        for key in ["definitions", "$defs"] {
            for (name, mut definition) in take_map(&mut schema, key) {
                rename_references(&mut definition, connector);
                self.0.insert(format!("{connector}.{name}"), definition);
            }
        }
        rename_references(&mut schema, connector);
        let mut properties = take_map(&mut schema, "properties");
        properties.extend(own.as_object().cloned().unwrap_or_default());
        let mut needed: Vec<Value> = required.iter().map(|&key| key.into()).collect();
        needed.extend(schema["required"].as_array().cloned().unwrap_or_default());
        schema["properties"] = Value::Object(properties);
        schema["required"] = Value::Array(needed);
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        schema
    }

    fn replace(&mut self, block: &str, choice: &str, choices: Vec<Value>) {
        let description = self.0.get(block).and_then(|block| block.get("description")).cloned().unwrap_or_default();
        let replaced = json!({ "description": description, choice: choices });
        self.0.insert(block.to_owned(), replaced);
    }
}

fn take_map(value: &mut Value, key: &str) -> Map<String, Value> {
    match value.as_object_mut().and_then(|map| map.remove(key)) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn rename_references(value: &mut Value, connector: &str) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, inner)| match inner {
            Value::String(target) if key == "$ref" => {
                if let Some(name) = target.strip_prefix("#/definitions/").or(target.strip_prefix("#/$defs/")) {
                    *target = format!("#/definitions/{connector}.{name}");
                }
            }
            inner => rename_references(inner, connector),
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| rename_references(item, connector)),
        _ => {}
    }
}
