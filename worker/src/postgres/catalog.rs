//! What the catalogue knows of a relation or of a query's result: columns and their types down to what they are made of.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error, Row};

/// Domains over domains and arrays of them end somewhere; the catalogue is not trusted to.
const DEEPEST_TYPE: u8 = 16;

/// A table, a view or something else with columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    /// Whether policies may hide rows from whoever asks.
    pub row_security: bool,
    /// In their order.
    pub columns: Vec<Column>,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
    /// A sequence, an index, a composite type.
    Other,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub data_type: Type,
    /// Whether null may stand in it, as far as the catalogue knows.
    pub nullable: bool,
    /// `GENERATED ALWAYS AS (..) STORED`.
    pub generated: bool,
    /// `GENERATED .. AS IDENTITY`.
    pub identity: bool,
    /// Its place in the primary key, from 1.
    pub key: Option<u16>,
    /// Whether the session may read it.
    pub readable: bool,
}

/// A type, domains looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Of what values look like: a domain's base.
    pub oid: u32,
    /// As the catalogue writes it, with its modifier: `numeric(12,2)`, `character varying(20)[]`.
    pub name: String,
    /// Length, precision and the like, or -1.
    pub modifier: i32,
    pub class: Class,
    /// The domain's name where the column's type is one.
    pub domain: Option<String>,
}

/// What kind of type it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    Base,
    Enum,
    Array(Box<Type>),
    Composite,
    Range,
    Pseudo,
}

/// The relation of that name as the session sees it; `None` if there is none.
pub async fn relation(client: &Client, schema: &str, name: &str) -> Result<Option<Relation>, Error> {
    let found = client.query_opt(RELATION, &[&schema, &name]).await?;
    let Some(found) = found else { return Ok(None) };
    let oid: u32 = found.try_get("oid")?;
    let rows = client.query(COLUMNS, &[&oid]).await?;
    let oids = rows.iter().map(|row| row.try_get("type")).collect::<Result<Vec<u32>, _>>()?;
    let types = Types::read(client, &oids).await?;
    let columns = rows.iter().map(|row| column(row, &types)).collect::<Result<_, _>>()?;
    let kind = match found.try_get::<_, String>("kind")?.as_str() {
        "r" => RelationKind::Table,
        "p" => RelationKind::Partitioned,
        "v" => RelationKind::View,
        "m" => RelationKind::MaterializedView,
        "f" => RelationKind::Foreign,
        _ => RelationKind::Other,
    };
    let row_security = found.try_get("row_security")?;
    Ok(Some(Relation { oid, schema: schema.to_owned(), name: name.to_owned(), kind, row_security, columns }))
}

/// The columns of a query's result. Of these the catalogue knows neither nulls nor keys.
pub async fn columns_of_query(client: &Client, query: &str) -> Result<Vec<Column>, Error> {
    let statement = client.prepare(query).await?;
    let oids: Vec<u32> = statement.columns().iter().map(|column| column.type_().oid()).collect();
    let types = Types::read(client, &oids).await?;
    let columns = statement.columns().iter().map(|column| {
        let data_type = types.resolve(column.type_().oid(), column.type_modifier());
        let name = column.name().to_owned();
        Column { name, data_type, nullable: true, generated: false, identity: false, key: None, readable: true }
    });
    Ok(columns.collect())
}

fn column(row: &Row, types: &Types) -> Result<Column, Error> {
    let mut data_type = types.resolve(row.try_get("type")?, row.try_get("modifier")?);
    data_type.name = row.try_get("type_name")?;
    Ok(Column {
        name: row.try_get("name")?,
        data_type,
        nullable: row.try_get("nullable")?,
        generated: row.try_get("generated")?,
        identity: row.try_get("identity")?,
        key: row.try_get::<_, Option<i32>>("key")?.and_then(|place| u16::try_from(place).ok()),
        readable: row.try_get("readable")?,
    })
}

const RELATION: &str = "SELECT c.oid, c.relkind::pg_catalog.text AS kind, c.relrowsecurity AS row_security \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2";

/// A relation has one primary key, whose columns `indkey` lists from 0.
const COLUMNS: &str = "SELECT a.attname AS name, a.atttypid AS type, a.atttypmod AS modifier, \
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name, \
    NOT (a.attnotnull OR t.typnotnull) AS nullable, a.attgenerated <> '' AS generated, a.attidentity <> '' AS identity, \
    (pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum) + 1)::pg_catalog.int4 AS key, \
    pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// The types and all they are made of.
const TYPES: &str = "WITH RECURSIVE needed (oid) AS (\
    SELECT * FROM pg_catalog.unnest($1::pg_catalog.oid[]) UNION \
    SELECT part.oid FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid \
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS part (oid) WHERE part.oid <> 0) \
    SELECT t.oid, pg_catalog.format_type(t.oid, NULL) AS name, t.typtype::pg_catalog.text AS kind, \
    t.typbasetype AS base, t.typtypmod AS modifier, \
    CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0::pg_catalog.oid END AS element \
    FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid";

/// Types by oid.
struct Types(BTreeMap<u32, Known>);

struct Known {
    name: String,
    kind: String,
    base: u32,
    modifier: i32,
    element: u32,
}

impl Types {
    async fn read(client: &Client, oids: &[u32]) -> Result<Self, Error> {
        let rows = client.query(TYPES, &[&oids]).await?;
        let known = rows.iter().map(|row| {
            let known = Known {
                name: row.try_get("name")?,
                kind: row.try_get("kind")?,
                base: row.try_get("base")?,
                modifier: row.try_get("modifier")?,
                element: row.try_get("element")?,
            };
            Ok((row.try_get("oid")?, known))
        });
        Ok(Self(known.collect::<Result<_, Error>>()?))
    }

    fn resolve(&self, oid: u32, modifier: i32) -> Type {
        self.resolve_within(oid, modifier, DEEPEST_TYPE)
    }

    fn resolve_within(&self, oid: u32, modifier: i32, deepest: u8) -> Type {
        let unknown = || Type { oid, name: format!("type {oid}"), modifier, class: Class::Pseudo, domain: None };
        let (Some(known), Some(deeper)) = (self.0.get(&oid), deepest.checked_sub(1)) else { return unknown() };
        if known.kind == "d" {
            let base = self.resolve_within(known.base, known.modifier, deeper);
            return Type { domain: Some(known.name.clone()), ..base };
        }
        let class = match known.kind.as_str() {
            "b" if known.element != 0 => Class::Array(Box::new(self.resolve_within(known.element, modifier, deeper))),
            "b" => Class::Base,
            "e" => Class::Enum,
            "c" => Class::Composite,
            "r" | "m" => Class::Range,
            _ => Class::Pseudo,
        };
        Type { oid, name: known.name.clone(), modifier, class, domain: None }
    }
}
