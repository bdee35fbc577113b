//! One entry for many tables: `source.tables` names them by patterns, and each table they mean becomes a pipeline of its own
//! before anything else is read. So one that fails holds up no other, and each has its own ledger, limits and versions.

use std::{borrow::Cow, collections::BTreeSet};

use windrow_common::{
    error,
    id::PipelineName,
    pipeline::{Connection, Pipeline},
};
use windrow_worker::{
    error::WorkerError,
    postgres::{CONNECTION, Listed, identifier},
};

use super::{
    connection::Connections,
    diagnostic::{Findings, Span},
    tree::{Entry, Node, Value},
};

/// Says which tables of a database patterns mean: those of the first list without those of the second.
pub type Lister = Box<dyn Fn(&Connection, &[String], &[String]) -> Result<Vec<Listed>, WorkerError>>;

/// Most tables one entry may mean: each is a pipeline.
const MOST_TABLES: usize = 1_000;
/// What a `source` says instead of `table`.
pub(crate) const KEYS: [&str; 2] = ["tables", "except"];
/// Keys of `sink` that say where rows go.
const PLACES: [&str; 2] = ["path", "table"];
const FIX_PLACE: &str = "put {table} into it, and {schema} where there are several: `path: \"{schema}/{table}\"`";

/// An entry that means many tables.
struct Many<'a> {
    entry: &'a Entry,
    source: &'a Node,
    /// The value of `tables`.
    at: Span,
    only: Vec<String>,
    except: Vec<String>,
}

/// The entry itself, or one for each table it means; none where that cannot be said, and the reason is found. Without a
/// lister nobody asks the database, and the entry is read as if it meant one table.
pub(crate) fn expanded<'a>(
    entry: &'a Entry,
    connections: &Connections<'_>,
    list: Option<&Lister>,
    findings: &mut Findings,
) -> Vec<Cow<'a, Entry>> {
    let source = entry.node.get("source");
    let Some((source, tables)) = source.and_then(|source| Some((source, source.get("tables")?))) else {
        return vec![Cow::Borrowed(entry)];
    };
    let before = findings.errors();
    let (only, except) = (patterns(tables, findings), source.get("except").map(|node| patterns(node, findings)));
    let many = Many { entry, source, at: tables.span, only, except: except.unwrap_or_default() };
    many.check(findings);
    let connection = many.connection(connections, findings).filter(|_| findings.errors() == before);
    let entries = match (connection, list) {
        (None, _) => Vec::new(),
        (Some(_), None) => vec![many.of(&entry.key, "public", "table")],
        (Some(connection), Some(list)) => many.all(&connection, list, findings),
    };
    entries.into_iter().map(Cow::Owned).collect()
}

impl Many<'_> {
    fn check(&self, findings: &mut Findings) {
        if let Some(one) = self.source.entry("table") {
            findings
                .error(error::CONTRADICTION, one.key_span, "`table` and `tables` both say what to read")
                .fix("keep one of the two");
        }
        let Some(sink) = self.entry.node.entry("sink") else { return };
        let places = PLACES.iter().filter_map(|key| sink.node.get(key));
        if !places.filter_map(Node::text).any(|place| place.contains("{table}")) {
            let span = PLACES.iter().find_map(|key| sink.node.get(key)).map_or(sink.key_span, |place| place.span);
            findings.error(error::CONTRADICTION, span, "all tables would be written to one place").fix(FIX_PLACE);
        }
    }

    /// The database, if it is one. What is wrong with a connection is told where it stands.
    fn connection(&self, connections: &Connections<'_>, findings: &mut Findings) -> Option<Connection> {
        let from = self.source.get("from")?;
        let connection = connections.get(from.text()?)?.connection.clone()?;
        if connection.kind == CONNECTION {
            return Some(connection);
        }
        let message = format!(
            "`tables` are of a database, and {:?} is a connection of type {:?}",
            connection.name, connection.kind
        );
        findings.error(error::CONTRADICTION, self.at, message).fix("read from a connection of type postgres");
        None
    }

    fn all(&self, connection: &Connection, list: &Lister, findings: &mut Findings) -> Vec<Entry> {
        let found = match list(connection, &self.only, &self.except) {
            Ok(found) => found,
            Err(cause) => {
                let fix = cause.fix_text().map(str::to_owned);
                let message =
                    format!("which tables there are cannot be said: {}", windrow_worker::error::in_one_line(&cause));
                findings.error(cause.code(), self.at, message).fix = fix;
                return Vec::new();
            }
        };
        if found.is_empty() || found.len() > MOST_TABLES {
            let (name, patterns) = (&connection.name, self.only.join(", "));
            let message = match found.len() {
                0 => format!("no table of {name:?} is meant by {patterns}"),
                many => format!("{many} tables of {name:?} are meant by {patterns}"),
            };
            let fix = match found.is_empty() {
                true => "see what there is: windrow discover".to_owned(),
                false => format!("one entry may mean {MOST_TABLES}: cut it into several"),
            };
            findings.error(error::SOURCE_MISSING, self.at, message).fix(fix);
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for table in &found {
            let relation = relation(table);
            if !table.readable {
                let message = format!("the user may not read {relation}, and it is left out");
                let fix = format!("GRANT SELECT ON {relation}, or leave it out by `except`");
                findings.warning(error::SOURCE_FORBIDDEN, self.at, message).fix(fix);
                continue;
            }
            let name = format!("{}.{}", self.entry.key, name(table, &mut names));
            entries.push(self.of(&name, &table.schema, &table.name));
        }
        entries
    }

    /// The entry for one of its tables.
    fn of(&self, name: &str, schema: &str, table: &str) -> Entry {
        let mut entry = self.entry.clone();
        name.clone_into(&mut entry.key);
        for block in entries(&mut entry.node).into_iter().flatten() {
            match block.key.as_str() {
                "source" => {
                    let relation = format!("{}.{}", part(schema), part(table));
                    let node = Node { span: self.at, value: Value::Text(relation) };
                    if let Some(own) = entries(&mut block.node) {
                        own.retain(|parameter| !KEYS.contains(&parameter.key.as_str()));
                        own.push(Entry { key: "table".to_owned(), key_span: self.at, node });
                    }
                }
                "sink" => {
                    let own = entries(&mut block.node).into_iter().flatten();
                    for place in own.filter(|place| PLACES.contains(&place.key.as_str())) {
                        if let Value::Text(text) = &mut place.node.value {
                            // Names in a database may hold anything; in a path they must not.
                            let shown = if place.key == "table" { part } else { safe };
                            *text = text.replace("{schema}", &shown(schema)).replace("{table}", &shown(table));
                        }
                    }
                }
                _ => {}
            }
        }
        entry
    }
}

/// What else a block is, is told where it is read.
fn entries(node: &mut Node) -> Option<&mut Vec<Entry>> {
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

/// That no table's pipeline is called as another one.
pub(crate) fn check_names(pipelines: &[(&Entry, Pipeline)], findings: &mut Findings) {
    let mut known = BTreeSet::new();
    for (entry, pipeline) in pipelines {
        if !known.insert(&pipeline.name) {
            let message = format!("two pipelines would be called `{}`", pipeline.name);
            findings.error(error::DUPLICATE_KEY, entry.key_span, message).fix("rename one of the two entries");
        }
    }
}

/// A pattern or a list of them.
fn patterns(node: &Node, findings: &mut Findings) -> Vec<String> {
    let items = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    let mut texts = Vec::new();
    for item in items {
        match item.text() {
            Some(text) => texts.push(text.to_owned()),
            None => {
                let message = format!("a pattern of tables is {}, not a text", item.kind());
                findings.error(error::BAD_VALUE, item.span, message).fix("write `public.*`, or a list of such");
            }
        }
    }
    texts
}

/// A table's name for pipelines and folders, with its schema's before it unless that is `public`. No two differ by case
/// alone.
pub(crate) fn name(table: &Listed, taken: &mut BTreeSet<String>) -> String {
    let whole = match table.schema.as_str() {
        "public" => table.name.clone(),
        schema => format!("{schema}.{}", table.name),
    };
    let mut base: String = safe(&whole).chars().take(90).collect();
    if base.parse::<PipelineName>().is_err() {
        base.insert(0, 't');
    }
    let mut name = base.clone();
    let mut again = 2;
    while !taken.insert(name.to_lowercase()) {
        name = format!("{base}-{again}");
        again += 1;
    }
    name
}

/// A table as the source takes it: `schema.table`, quoted where it has to be.
pub(crate) fn relation(table: &Listed) -> String {
    format!("{}.{}", part(&table.schema), part(&table.name))
}

fn part(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { identifier(name) }
}

fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' }).collect()
}

/// Whether it means the same with quotes as without.
pub(crate) fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
