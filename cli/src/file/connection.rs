//! The `connections` block: names for places.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use serde_json::{Map, Value as Json};
use windrow_common::{error, pipeline::Connection};
use windrow_worker::connection;

use super::{
    decode::{self, Shape},
    diagnostic::{Findings, Span},
    secret,
    spec::ConnectionBlock,
    suggest,
    tree::Node,
};

/// A connection as it was declared.
#[derive(Debug)]
pub(crate) struct Declared<'a> {
    /// Where its name stands.
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    /// `None` if it has errors; they are reported where it stands, not where it is used.
    pub(crate) connection: Option<Connection>,
    /// Whether some secret of it is not to be had on this machine.
    pub(crate) unresolved: bool,
}

/// All connections by name.
pub(crate) type Connections<'a> = BTreeMap<&'a str, Declared<'a>>;

/// Reads one connection. `folder` is what a relative `root` is relative to.
pub(crate) fn read<'a>(
    name: &str,
    (at, node): (Span, &'a Node),
    folder: &Path,
    (hidden, findings): (&mut Vec<Span>, &mut Findings),
) -> Declared<'a> {
    let before = findings.errors();
    let secrets = secret::check(node, findings);
    hidden.extend(secrets.spans);
    let block: Option<ConnectionBlock> = decode::block(node, at, &format!("connection `{name}`"), findings);
    let connection = block.and_then(|block| {
        let params = checked(name, &block, (at, node), findings)?;
        let params = if block.kind == "local" { rooted(params, folder) } else { params };
        Some(Connection { name: name.to_owned(), kind: block.kind, limits: block.limits, params })
    });
    let connection = connection.filter(|_| findings.errors() == before);
    Declared { at, node, connection, unresolved: secrets.unresolved }
}

fn checked(
    name: &str,
    block: &ConnectionBlock,
    (at, node): (Span, &Node),
    findings: &mut Findings,
) -> Option<Map<String, Json>> {
    let Some(kind) = connection::find(&block.kind) else {
        let span = node.get("type").map_or(at, |kind| kind.span);
        let known: Vec<_> = connection::all().map(|kind| kind.kind).collect();
        findings
            .error(error::UNKNOWN_CONNECTOR, span, format!("no connector serves connections of type {:?}", block.kind))
            .fix(match suggest::nearest(&block.kind, known.iter().copied()) {
                Some(meant) => format!("write `{meant}`"),
                None => format!("use one of {}", known.join(", ")),
            });
        return None;
    };
    let mut shape = Shape::read(&(kind.schema)());
    shape.known.extend(["type".to_owned(), "limits".to_owned()]);
    shape.check(node, at, &format!("{} connection `{name}`", kind.kind), findings);
    decode::values(Json::Object(block.params.clone()), kind.check, node, findings)?;
    Some(block.params.clone())
}

/// The parameters of a local connection with its root made absolute, so that the pipeline means the same wherever
/// its reader stands.
fn rooted(mut params: Map<String, Json>, folder: &Path) -> Map<String, Json> {
    let root = params.get("root").and_then(Json::as_str).unwrap_or(".");
    let root = plain(&folder.join(root));
    params.insert("root".to_owned(), root.to_string_lossy().into_owned().into());
    params
}

/// The path without `.` and `..`, which the file system need not know yet.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
        plain
    })
}
