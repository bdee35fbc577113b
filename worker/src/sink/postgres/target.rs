//! The table that is written, as the catalogue has it, and what the session may do to it.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use windrow_common::{error, upsert::Upsert};

use super::{
    change::NewColumn,
    failure::{failed, in_words},
    load::list,
    params::Name,
    types::{Base, Declared, Target},
};
use crate::{
    error::{Result, WorkerError},
    postgres::{Kind, RelationKind, identifier, kind_of, literal, relation},
};

/// Holds what a row's window is where no column of its own tells it.
pub(super) const WINDOW_COLUMN: &str = "_windrow_window";

/// A table or view of the name.
pub(super) struct Table {
    pub(super) oid: u32,
    pub(super) kind: RelationKind,
    /// By name.
    pub(super) columns: BTreeMap<String, Column>,
}

pub(super) struct Column {
    pub(super) target: Target,
    /// Its type without length and precision: what a value is cast to before it is checked against them.
    pub(super) cast: String,
    /// How its texts compare, where they do: ` COLLATE ..`, so that they compare with others as among themselves.
    pub(super) collate: String,
    /// Whether a row must bring a value.
    pub(super) needed: bool,
    /// Whether no row may.
    pub(super) made: bool,
}

impl Column {
    /// Whether the column is of the type that stands so in a statement.
    pub(super) fn is_of(&self, sql: &str) -> bool {
        let declared = Declared::parse(sql);
        // The catalogue leaves out a schema that is looked in anyway.
        let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
        let named =
            |declared: &Declared| declared.target.base != Base::Other || last(&declared.sql) == last(&self.cast);
        declared.is_some_and(|declared| declared.target == self.target && named(&declared))
    }
}

/// What the session is going to do, so that a missing grant is told before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Append,
    Replace,
    Version,
    Upsert,
}

/// Looks the table up; `None` if there is nothing of the name.
pub(super) async fn read(client: &Client, name: &Name, place: &str) -> Result<Option<Table>> {
    let error = |cause| failed(cause, place);
    let Some(found) = relation(client, &name.schema, &name.table).await.map_err(error)? else { return Ok(None) };
    let more = client.query(MORE, &[&found.oid]).await.map_err(error)?;
    let mut columns = BTreeMap::new();
    for row in more {
        let (name, cast): (String, String) = (row.get("name"), row.get("cast"));
        let Some(known) = found.columns.iter().find(|column| column.name == name) else { continue };
        let always = row.get::<_, bool>("always");
        let column = Column {
            target: Target::of(&known.data_type),
            cast,
            collate: row.get("collate"),
            needed: !known.nullable && !row.get::<_, bool>("filled"),
            made: known.generated || always,
        };
        columns.insert(name, column);
    }
    Ok(Some(Table { oid: found.oid, kind: found.kind, columns }))
}

/// What the catalogue of relations does not tell.
const MORE: &str = "SELECT a.attname::pg_catalog.text AS name, pg_catalog.format_type(a.atttypid, -1) AS cast, \
    coalesce((SELECT pg_catalog.format(' COLLATE %I.%I', n.nspname, c.collname) FROM pg_catalog.pg_collation c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = a.attcollation), '') AS collate, \
    a.atthasdef OR a.attidentity <> '' AS filled, a.attidentity = 'a' AS always \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

/// Fails with every grant that is missing, by name.
pub(super) async fn check_grants(client: &Client, name: &Name, use_of: Use, place: &str) -> Result<()> {
    let error = |cause| failed(cause, place);
    let asked = client.query(grants(name, use_of).as_str(), &[]).await.map_err(error)?;
    let role: String = client.query_one("SELECT current_user::text", &[]).await.map_err(error)?.get(0);
    let missing: Vec<String> = asked.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let grants: Vec<String> = missing.iter().map(|grant| format!("GRANT {grant} TO {}", identifier(&role))).collect();
    Err(WorkerError::never(error::SINK_FORBIDDEN, format!("the role {role} may not {}", missing.join(", ")))
        .at(format!("{name} in {place}"))
        .fix(format!("run as their owner: {}", grants.join("; "))))
}

/// Fails unless rows can take the places of those of their keys: in the table that is there, or in one of these columns.
pub(super) async fn check_keys(
    client: &Client,
    (name, place): (&Name, &str),
    table: Option<&Table>,
    columns: &[NewColumn],
    upsert: &Upsert,
) -> Result<()> {
    let from = match table {
        Some(_) => name.quoted(),
        None => {
            let of = |column: &NewColumn| format!("NULL::{} AS {}", column.sql, identifier(&column.name));
            format!("(SELECT {}) made", columns.iter().map(of).collect::<Vec<_>>().join(", "))
        }
    };
    let by = [upsert.key.as_slice(), &upsert.order].concat();
    let ordered = format!("SELECT FROM {from} ORDER BY {} LIMIT 0", list(&by));
    if let Err(cause) = client.query(ordered.as_str(), &[]).await {
        // No rows are read, so it is the types that are wrong.
        let Some(said) = cause.as_db_error().filter(|_| kind_of(&cause) == Kind::Statement).map(in_words) else {
            return Err(failed(cause, place));
        };
        return Err(WorkerError::never(error::SINK_UNSUPPORTED_TYPE, format!("rows cannot go by their keys: {said}"))
            .at(format!("{name} in {place}"))
            .fix("name columns in `key` and `order` whose values can be compared, or give them another type"));
    }
    let Some(table) = table else { return Ok(()) };
    let found = client.query_one(UNIQUE, &[&table.oid, &upsert.key]).await.map_err(|cause| failed(cause, place))?;
    if found.get(0) {
        return Ok(());
    }
    let key = list(&upsert.key);
    Err(WorkerError::never(error::SINK_UNSUPPORTED, format!("nothing keeps ({key}) unique in {name}"))
        .at(place)
        .fix(format!("run CREATE UNIQUE INDEX ON {} ({key}); it fails where two rows have one key", name.quoted())))
}

/// An index by which `ON CONFLICT` finds a row: of these columns and no others, for all rows, checked at once.
const UNIQUE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid \
    AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = cardinality($2::text[]) \
    AND (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid \
        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) @> $2::text[])";

/// Fails unless the session may change the table's columns, which only its owner may.
pub(super) async fn check_owner(client: &Client, name: &Name, place: &str) -> Result<()> {
    const OWNER: &str = "SELECT pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'USAGE'), current_user::text \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let found = client.query_opt(OWNER, &[&name.schema, &name.table]).await.map_err(|cause| failed(cause, place))?;
    let Some(found) = found.filter(|found| !found.get::<_, bool>(1)) else { return Ok(()) };
    let (owner, role): (String, String) = (found.get(0), found.get(2));
    Err(WorkerError::never(error::SINK_FORBIDDEN, format!("the role {role} may not change the table's columns"))
        .at(format!("{name} in {place}"))
        .fix(format!(
            "change them by hand as the owner, {owner}, or run: GRANT {} TO {}",
            identifier(&owner),
            identifier(&role)
        )))
}

/// A query of one row per privilege: what is missing, or null. It asks the catalogue, since names are not looked up in a
/// schema that may not be used.
fn grants(name: &Name, use_of: Use) -> String {
    let (schema, table) = (literal(&name.schema), literal(&name.table));
    let (shown_schema, shown) = (literal(&identifier(&name.schema)), literal(&name.quoted()));
    let space = format!("(SELECT oid FROM pg_namespace WHERE nspname = {schema})");
    let oid = format!("(SELECT oid FROM pg_class WHERE relnamespace = {space} AND relname = {table})");
    let may = |privilege: &str| format!("has_schema_privilege({space}, '{privilege}')");
    let missing = |when: String, what: String| format!("SELECT CASE WHEN {when} THEN {what} END");
    let mut queries = vec![
        missing(format!("{space} IS NULL"), format!("'USAGE, CREATE ON SCHEMA ' || {shown_schema}")),
        missing(format!("NOT {}", may("USAGE")), format!("'USAGE ON SCHEMA ' || {shown_schema}")),
        // The schemas of our own are made when they are missing.
        missing(
            "(to_regnamespace('windrow') IS NULL OR to_regnamespace('windrow_stage') IS NULL) \
             AND NOT has_database_privilege(current_database(), 'CREATE')"
                .to_owned(),
            "'CREATE ON DATABASE ' || quote_ident(current_database())".to_owned(),
        ),
    ];
    for own in ["windrow", "windrow_stage"] {
        let may = |privilege: &str| format!("has_schema_privilege(to_regnamespace('{own}')::oid, '{privilege}')");
        let when = format!("NOT ({} AND {})", may("USAGE"), may("CREATE"));
        queries.push(missing(when, format!("'USAGE, CREATE ON SCHEMA {own}'")));
    }
    if use_of == Use::Upsert {
        // Rows come into a temporary table before the newest are taken.
        let when = "NOT has_database_privilege(current_database(), 'TEMPORARY')".to_owned();
        queries.push(missing(when, "'TEMPORARY ON DATABASE ' || quote_ident(current_database())".to_owned()));
    }
    let makes = if use_of == Use::Version { "true".to_owned() } else { format!("{oid} IS NULL") };
    queries
        .push(missing(format!("{makes} AND NOT {}", may("CREATE")), format!("'CREATE ON SCHEMA ' || {shown_schema}")));
    let on_table: &[&str] = match use_of {
        Use::Append => &["INSERT"],
        // A row is found before it is deleted.
        Use::Replace => &["INSERT", "DELETE", "SELECT"],
        Use::Version => &[],
        Use::Upsert => &["INSERT", "UPDATE", "DELETE", "SELECT"],
    };
    for privilege in on_table {
        let when = format!("NOT has_table_privilege({oid}, '{privilege}')");
        queries.push(missing(when, format!("'{privilege} ON ' || {shown}")));
    }
    queries.join(" UNION ALL ")
}
