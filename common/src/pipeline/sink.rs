//! Where and how a pipeline writes, and the lane of commits that goes with the place. What a connector's parameters mean it does not
//! know.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Connection;
use crate::{gather::Gather, id::SinkId, manifest::WriteMode, upsert::Upsert};

/// Where and how to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkSpec {
    pub to: Connection,
    /// `delta`, `parquet`, `csv`, `json`, `postgres`.
    pub format: String,
    pub write: WriteMode,
    /// Present if and only if the mode is `upsert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsert: Option<Box<Upsert>>,
    /// Where rows are staged, for a sink that keeps no files itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<Box<Connection>>,
    /// How long sealed windows wait for more of them; left out, they are committed as soon as the committer is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gather: Option<Gather>,
    #[serde(flatten)]
    pub params: Map<String, Value>,
}

impl SinkSpec {
    /// The lane of commits of the place this writes to: the same for every pipeline that writes there.
    pub fn id(&self) -> SinkId {
        // The first of the keys that says something: places are folders, or tables of a database.
        let text = |map: &Map<String, Value>, keys: [&str; 2]| {
            let found = keys.iter().find_map(|key| map.get(*key).and_then(Value::as_str));
            found.unwrap_or_default().trim_matches('/').to_owned()
        };
        let root = text(&self.to.params, ["root", "url"]);
        let path = text(&self.params, ["path", "table"]);
        let place = blake3::hash(format!("{}\0{root}\0{path}", self.to.kind).as_bytes()).to_hex();
        let readable: String =
            path.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(40).collect();
        let name = format!("{}{readable}-{}", if readable.is_empty() { "sink" } else { "" }, &place[..12]);
        let name = if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { format!("sink{name}") };
        // Holds: letters, digits, '_' and '-', at most 57 characters.
        name.parse().unwrap_or_else(|_| unreachable_name(&place[..12]))
    }
}

fn unreachable_name(hash: &str) -> SinkId {
    match hash.parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a hexadecimal hash is a valid name"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pipelines_that_write_one_place_share_its_lane() {
        let sink = |root: &str, path: &str| -> SinkSpec {
            serde_json::from_value(serde_json::json!({
                "to": { "name": "lake", "type": "local", "root": root },
                "format": "delta", "write": "append", "path": path,
            }))
            .unwrap()
        };
        assert_eq!(sink("/lake", "flights").id(), sink("/lake/", "/flights/").id());
        assert_ne!(sink("/lake", "flights").id(), sink("/lake", "planes").id());
        assert_ne!(sink("/lake", "flights").id(), sink("/lake2", "flights").id());
        assert!(sink("", "").id().as_str().starts_with("sink"));
    }

    #[test]
    fn a_table_is_a_place_too() {
        let sink = |url: &str, table: &str| -> SinkSpec {
            serde_json::from_value(serde_json::json!({
                "to": { "name": "shop", "type": "postgres", "url": url },
                "format": "postgres", "write": "append", "table": table,
            }))
            .unwrap()
        };
        let devices = sink("${env:SHOP}", "public.devices").id();
        assert_eq!(devices, sink("${env:SHOP}", "public.devices").id());
        assert_ne!(devices, sink("${env:SHOP}", "public.visits").id());
        assert_ne!(devices, sink("${env:OTHER}", "public.devices").id());
        assert!(devices.as_str().starts_with("public_devices-"), "{devices}");
    }
}
