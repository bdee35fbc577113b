//! The parameters of the sink `postgres`, as they stand beside `to`, `format`, `write` and `staging`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use windrow_common::{count::counted, error, manifest::WriteMode, quantity::Pause, upsert::Upsert};

use super::{
    types::Declared,
    vacuum::{Cleaning, Vacuum},
};
use crate::{
    sink::{expose::Expose, undecoded},
    source::ParamError,
};

/// Names longer than this leave no room for `_v<seq>` and for the names of indexes within PostgreSQL's 63 bytes.
const LONGEST_NAME: usize = 40;
const LONGEST_IDENTIFIER: usize = 63;
/// Most columns an index may have.
const MOST_KEY_COLUMNS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// `schema.table`, or `table` in the schema `public`. A full load makes it a view of its newest version.
    pub(super) table: String,
    /// Columns of the primary key of tables that windrow makes.
    #[serde(default)]
    pub(super) primary_key: Vec<String>,
    /// Indexes of tables that windrow makes, each a list of columns.
    #[serde(default)]
    pub(super) indexes: Vec<Vec<String>>,
    /// Types of columns of tables that windrow makes, where they are to differ from those of the rows: `uuid`,
    /// `numeric(10,2)`, `jsonb`.
    #[serde(default)]
    pub(super) types: BTreeMap<String, String>,
    /// How full loads are shown.
    #[serde(default)]
    pub(super) expose: Expose,
    /// Whether values are decoded on their way. Left out, they are only where they must be: from a PostgreSQL database, rows go into
    /// columns of the very same types as they are.
    #[serde(default)]
    pub(super) decode: Decode,
    /// With `write: upsert`: how long it is remembered that a key was deleted. Left out, always.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) keep_deleted: Option<Pause>,
    /// What becomes of rows that are dead.
    #[serde(default)]
    pub(super) cleaning: Cleaning,
}

/// Whether values are decoded on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decode {
    /// Where they must be.
    #[default]
    Auto,
    /// Rows that would have to be decoded are refused.
    Never,
    Always,
}

/// A table within its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) schema: String,
    pub(super) table: String,
}

/// The parameters, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checked {
    pub(super) name: Name,
    pub(super) primary_key: Vec<String>,
    pub(super) indexes: Vec<Vec<String>>,
    pub(super) types: BTreeMap<String, Declared>,
    pub(super) keep_versions: u32,
    pub(super) decode: Decode,
    pub(super) keep_deleted: Option<Duration>,
    pub(super) vacuum: Vacuum,
}

impl Checked {
    pub(super) fn decode(params: &Map<String, Value>) -> Result<Self, ParamError> {
        let params: Params = serde_path_to_error::deserialize(Value::Object(params.clone())).map_err(undecoded)?;
        let name = Name::parse(&params.table)?;
        for (place, columns) in
            [("primary_key", &params.primary_key)].into_iter().chain(params.indexes.iter().map(|one| ("indexes", one)))
        {
            check_columns(place, columns)?;
        }
        if params.indexes.iter().any(Vec::is_empty) {
            return Err(bad("indexes", "an index needs columns".to_owned(), "name its columns: `indexes: [[a, b]]`"));
        }
        let keep_versions = params.expose.keep()?;
        let declare = |(column, text): (&String, &String)| match Declared::parse(text) {
            Some(declared) => Ok((column.clone(), declared)),
            None => Err(bad(
                &format!("types.{column}"),
                format!("{text:?} is no type that windrow can declare"),
                "write a type by its name, with its numbers: `numeric(10,2)`, `uuid`, `jsonb`, `text[]`",
            )),
        };
        let types = params.types.iter().map(declare).collect::<Result<_, _>>()?;
        let keep_deleted = params.keep_deleted.map(|pause| pause.0);
        let Params { primary_key, indexes, decode, cleaning, .. } = params;
        Ok(Self { name, primary_key, indexes, types, keep_versions, decode, keep_deleted, vacuum: cleaning.vacuum })
    }
}

impl Checked {
    /// What becomes of older versions and of dead rows, in words.
    pub(super) fn lifecycle(&self, write: WriteMode) -> Vec<String> {
        vec![match write {
            WriteMode::ReplaceAll => Expose { keep_versions: self.keep_versions }.in_words(),
            _ => self.vacuum.in_words(),
        }]
    }

    /// The key of the rows is that of the table.
    pub(super) fn key_by(&mut self, upsert: &Upsert) -> Result<(), ParamError> {
        let (asked, key): (BTreeSet<_>, BTreeSet<_>) = (self.primary_key.iter().collect(), upsert.key.iter().collect());
        if !asked.is_empty() && asked != key {
            let message = format!("rows are told by ({}), and the primary key is another", upsert.key.join(", "));
            return Err(bad("primary_key", message, "remove `primary_key`: the table is made with `key` as its own"));
        }
        if key.len() > MOST_KEY_COLUMNS {
            let message = format!("the key has {}", counted(key.len(), "column"));
            return Err(bad("key", message, "name at most 32 columns, as many as an index may have"));
        }
        self.primary_key.clone_from(&upsert.key);
        Ok(())
    }
}

impl Name {
    /// `schema.table` or `table`; names are taken as they stand, and neither may have a dot in it.
    fn parse(text: &str) -> Result<Self, ParamError> {
        let (schema, table) = text.split_once('.').unwrap_or(("public", text));
        let longest = schema.len() > LONGEST_IDENTIFIER || table.len() > LONGEST_NAME;
        if longest {
            let message = format!("the table's name is longer than {LONGEST_NAME} bytes");
            return Err(bad("table", message, "give the table a shorter name: its versions and indexes need room"));
        }
        if [schema, table].iter().any(|part| part.is_empty() || part.contains(['.', '\0', '"'])) {
            return Err(bad("table", format!("{text:?} names no table"), "write `schema.table`, without quotes"));
        }
        if ["windrow", "windrow_stage", "pg_catalog", "information_schema"].contains(&schema) {
            return Err(bad("table", format!("the schema {schema} is not for data"), "write to another schema"));
        }
        Ok(Self { schema: schema.to_owned(), table: table.to_owned() })
    }

    /// The table of a version.
    pub(super) fn version(&self, seq: u64) -> Self {
        Self { schema: self.schema.clone(), table: format!("{}_v{seq}", self.table) }
    }

    /// As it stands in statements.
    pub(super) fn quoted(&self) -> String {
        crate::postgres::qualified(&self.schema, &self.table)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

fn check_columns(place: &str, columns: &[String]) -> Result<(), ParamError> {
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(column.as_str())) {
        Some(twice) => Err(bad(place, format!("column {twice:?} is named twice"), "name each column once")),
        None => Ok(()),
    }
}

fn bad(path: &str, message: String, fix: &str) -> ParamError {
    ParamError { path: path.to_owned(), code: error::BAD_VALUE, message, fix: Some(fix.to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn decode(value: &Value) -> Result<Checked, ParamError> {
        Checked::decode(value.as_object().unwrap())
    }

    #[test]
    fn a_table_is_named_with_or_without_its_schema() {
        let name = |table: &str| decode(&json!({ "table": table })).map(|params| params.name.to_string());
        assert_eq!(name("shop.devices").unwrap(), "shop.devices");
        assert_eq!(name("devices").unwrap(), "public.devices");
        for wrong in ["", ".", "a.b.c", "shop.", "\"a\"", "windrow.head", &"x".repeat(41)] {
            assert_eq!(name(wrong).unwrap_err().path, "table", "{wrong:?}");
        }
    }

    #[test]
    fn the_key_of_the_rows_is_that_of_a_table_that_is_made() {
        let upsert = |key: &[&str]| Upsert {
            key: key.iter().map(|column| (*column).to_owned()).collect(),
            order: vec!["at".to_owned()],
            deleted: None,
        };
        let keyed = |params: Value, key: &[&str]| {
            let mut params = decode(&params).unwrap();
            params.key_by(&upsert(key)).map(|()| params.primary_key).map_err(|bad| bad.path)
        };
        assert_eq!(keyed(json!({ "table": "x" }), &["b", "a"]).unwrap(), ["b", "a"]);
        assert_eq!(keyed(json!({ "table": "x", "primary_key": ["a", "b"] }), &["b", "a"]).unwrap(), ["b", "a"]);
        assert_eq!(keyed(json!({ "table": "x", "primary_key": ["a"] }), &["b", "a"]).unwrap_err(), "primary_key");
        let many: Vec<String> = (0..33).map(|column| format!("c{column}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(keyed(json!({ "table": "x" }), &many).unwrap_err(), "key");
    }

    #[test]
    fn a_wrong_parameter_is_refused_with_its_place() {
        let cases = [
            (json!({}), "", error::MISSING_KEY),
            (json!({ "table": "x", "path": "y" }), "path", error::UNKNOWN_KEY),
            (json!({ "table": "x", "primary_key": ["a", "a"] }), "primary_key", error::BAD_VALUE),
            (json!({ "table": "x", "cleaning": { "vacuum": "often" } }), "cleaning.vacuum", error::BAD_VALUE),
            (json!({ "table": "x", "indexes": [[]] }), "indexes", error::BAD_VALUE),
            (json!({ "table": "x", "types": { "a": "int; drop table x" } }), "types.a", error::BAD_VALUE),
            (json!({ "table": "x", "expose": { "keep_versions": 0 } }), "expose.keep_versions", error::BAD_VALUE),
        ];
        for (value, path, code) in cases {
            let found = decode(&value).unwrap_err();
            assert_eq!((found.path.as_str(), found.code), (path, code), "{value}");
        }
    }
}
