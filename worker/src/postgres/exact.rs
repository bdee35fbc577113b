//! Which types' values have one binary form on every server, so that their bytes may be taken from one to another. A built-in type
//! is what it is everywhere; an enumeration is its labels, whose names are what is sent; a type of an extension is what that
//! extension's version makes of it. Whatever is told by the numbers one database gave its types has no such form.

use tokio_postgres::{Client, Error, Row};

use super::Type;
use crate::verbatim::ExactType;

/// The form of rows in [`crate::verbatim::Verbatim`]: tuples of binary COPY, without its head and its end.
pub const FORM: &str = "postgres copy binary 1";
/// Types of the server's own catalogue whose bytes mean something else elsewhere.
const BY_NUMBER: &str = "its values are numbers that each database gives itself";
const MONEY: &str = "what an amount of money is depends on the server's locale";
const NO_BINARY: &str = "it has no binary form";
const NOT_TAKEN: &str = "a server does not take back all of its values as it sends them";
const ITEMS: &str =
    "an array says by a number what its elements are, and each database gives its own types their numbers";
const PARTS: &str = "a value says by numbers what it is made of, and each database gives its own types their numbers";
const STRANGER: &str = "nothing tells that it is the same type elsewhere";

/// The server's own types, beside ranges, whose values it takes back as it sends them, whatever they are. Left out are an empty
/// `tsquery` or `int2vector`, which no server takes, and `xml`, which comes back with another declaration.
#[rustfmt::skip]
const SOUND: [&str; 42] = [
    "bit", "bool", "box", "bpchar", "bytea", "char", "cid", "cidr", "circle", "date", "float4", "float8", "inet", "int2", "int4", "int8",
    "interval", "json", "jsonb", "jsonpath", "line", "lseg", "macaddr", "macaddr8", "name", "numeric", "oid", "path", "pg_lsn",
    "pg_snapshot", "point", "polygon", "text", "tid", "time", "timestamp", "timestamptz", "timetz", "tsvector", "uuid", "varbit", "varchar",
];

/// A server's types.
pub struct ExactTypes {
    /// As the server counts its versions, 160004; 0 if no type was asked for.
    pub server: i32,
    /// For each type that was asked for what it is exactly, or why its bytes mean nothing elsewhere.
    pub types: Vec<Result<ExactType, &'static str>>,
}

/// What types are exactly, domains looked through.
pub async fn exact_types<'t>(client: &Client, types: impl Iterator<Item = &'t Type>) -> Result<ExactTypes, Error> {
    let (oids, modifiers): (Vec<u32>, Vec<i32>) = types.map(|kind| (kind.oid, kind.modifier)).unzip();
    read(client, &oids, &modifiers).await
}

/// The same of types by their names, with the modifiers they have elsewhere; `None` where there is no type of the name.
pub async fn exact_types_named(
    client: &Client,
    types: &[&ExactType],
) -> Result<Vec<Option<Result<ExactType, &'static str>>>, Error> {
    let names: Vec<&str> = types.iter().map(|kind| kind.name.as_str()).collect();
    let found = client.query(NAMED, &[&names]).await?;
    let oids = found.iter().map(|row| row.try_get::<_, Option<u32>>(0)).collect::<Result<Vec<_>, _>>()?;
    let known: Vec<(u32, i32)> =
        oids.iter().zip(types).filter_map(|(oid, kind)| Some(((*oid)?, kind.modifier))).collect();
    let (known_oids, modifiers): (Vec<u32>, Vec<i32>) = known.into_iter().unzip();
    let mut exact = read(client, &known_oids, &modifiers).await?.types.into_iter();
    Ok(oids.into_iter().map(|oid| oid.and_then(|_| exact.next())).collect())
}

/// In the order they were asked for. A name that is none is no error.
const NAMED: &str = "SELECT pg_catalog.to_regtype(name)::pg_catalog.oid \
    FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS asked (name, place) ORDER BY place";

async fn read(client: &Client, oids: &[u32], modifiers: &[i32]) -> Result<ExactTypes, Error> {
    let rows = client.query(TYPES, &[&oids, &modifiers]).await?;
    let server = rows.first().map(|row| row.try_get("server")).transpose()?.unwrap_or_default();
    let types = rows.iter().map(|row| Found::of(row).map(|found| found.exact())).collect::<Result<Vec<_>, _>>()?;
    Ok(ExactTypes { server, types })
}

/// In the order they were asked for. What is in `pg_catalog` is found whatever the search path; `format_type` with a modifier
/// never leaves out what a bare name would stand for, such as one character for `character`.
const TYPES: &str = "SELECT CASE WHEN n.nspname = 'pg_catalog' THEN pg_catalog.format_type(t.oid, -1) \
        ELSE pg_catalog.format('%I.%I', n.nspname, t.typname) END AS name, \
    CASE WHEN n.nspname = 'pg_catalog' THEN pg_catalog.format_type(t.oid, asked.modifier) \
        ELSE pg_catalog.format('%I.%I', n.nspname, t.typname) END AS sql, \
    asked.modifier, n.nspname = 'pg_catalog' AS own, t.typname::pg_catalog.text AS short, t.typtype::pg_catalog.text AS kind, \
    t.typsend <> 0 AND t.typreceive <> 0 AS binary, i.typname::pg_catalog.text AS item, \
    (SELECT m.nspname = 'pg_catalog' AND i.typtype <> 'c' FROM pg_catalog.pg_namespace m WHERE m.oid = i.typnamespace) AS own_item, \
    (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel::pg_catalog.text), ', ' ORDER BY e.enumsortorder) \
        FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels, \
    (SELECT pg_catalog.concat(x.extname, ' ', x.extversion) FROM pg_catalog.pg_depend d \
        JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass \
        AND d.objid = t.oid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e') AS extension, \
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS server \
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int4[])) \
    WITH ORDINALITY AS asked (oid, modifier, place) \
    JOIN pg_catalog.pg_type t ON t.oid = asked.oid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
    LEFT JOIN pg_catalog.pg_type i ON i.oid = t.typelem AND t.typcategory = 'A' ORDER BY asked.place";

/// A type as the catalogue has it.
#[derive(Clone, Debug, Default)]
struct Found {
    name: String,
    sql: String,
    modifier: i32,
    /// Whether it is the server's own.
    own: bool,
    /// Its name in its schema.
    short: String,
    /// `b`, `e`, `c`, `r`, ...
    kind: String,
    binary: bool,
    /// Of an array the name of its elements' type, and whether that is the server's own.
    item: Option<(String, bool)>,
    labels: Option<String>,
    extension: Option<String>,
}

impl Found {
    fn of(row: &Row) -> Result<Self, Error> {
        let own_item = row.try_get::<_, Option<bool>>("own_item")?.unwrap_or_default();
        Ok(Self {
            name: row.try_get("name")?,
            sql: row.try_get("sql")?,
            modifier: row.try_get("modifier")?,
            own: row.try_get("own")?,
            short: row.try_get("short")?,
            kind: row.try_get("kind")?,
            binary: row.try_get("binary")?,
            item: row.try_get::<_, Option<String>>("item")?.map(|item| (item, own_item)),
            labels: row.try_get("labels")?,
            extension: row.try_get("extension")?,
        })
    }

    fn exact(self) -> Result<ExactType, &'static str> {
        let definition = self.definition()?;
        Ok(ExactType { name: self.name, sql: self.sql, modifier: self.modifier, definition })
    }

    fn definition(&self) -> Result<String, &'static str> {
        if !self.binary {
            return Err(NO_BINARY);
        }
        match (self.kind.as_str(), &self.item, &self.labels, &self.extension) {
            ("c", ..) => Err(PARTS),
            (_, Some((_, false)), ..) => Err(ITEMS),
            // An array proper is named after its elements; a vector is not.
            (_, Some((item, true)), ..) if self.short.starts_with('_') => sound(item).map(|()| "built in".to_owned()),
            ("b" | "r" | "m", None, ..) if self.own => sound(&self.short).map(|()| "built in".to_owned()),
            ("e", _, Some(labels), _) => Ok(format!("the labels {labels}")),
            ("b", _, _, Some(extension)) if self.modifier == -1 => Ok(format!("of the extension {extension}")),
            (_, Some(_), ..) => Err(NOT_TAKEN),
            _ => Err(STRANGER),
        }
    }
}

/// Whether values of the server's own type mean the same on another.
fn sound(name: &str) -> Result<(), &'static str> {
    match name {
        _ if SOUND.contains(&name) || name.ends_with("range") => Ok(()),
        "money" => Err(MONEY),
        _ if name.starts_with("reg") => Err(BY_NUMBER),
        _ => Err(NOT_TAKEN),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn own(short: &str, kind: &str) -> Found {
        let name = short.to_owned();
        Found {
            sql: name.clone(),
            modifier: -1,
            own: true,
            short: name.clone(),
            kind: kind.to_owned(),
            binary: true,
            name,
            ..Found::default()
        }
    }

    #[test]
    fn the_servers_own_types_mean_the_same_everywhere_but_for_what_a_database_numbers_itself() {
        for found in [own("numeric", "b"), own("int4range", "r"), own("int4multirange", "m")] {
            assert_eq!(found.definition().unwrap(), "built in", "{found:?}");
        }
        let array = |item: &str, own_item| Found { item: Some((item.to_owned(), own_item)), ..own("_x", "b") };
        assert_eq!(array("numeric", true).definition().unwrap(), "built in");
        for (found, why) in [
            (own("regclass", "b"), BY_NUMBER),
            (array("regtype", true), BY_NUMBER),
            (own("money", "b"), MONEY),
            (own("tsquery", "b"), NOT_TAKEN),
            (Found { short: "int2vector".to_owned(), ..array("int2", true) }, NOT_TAKEN),
            (array("mood", false), ITEMS),
            (own("pg_type", "c"), PARTS),
            (Found { binary: false, ..own("aclitem", "b") }, NO_BINARY),
        ] {
            assert_eq!(found.definition().unwrap_err(), why, "{found:?}");
        }
    }

    #[test]
    fn a_type_of_somebody_elses_is_what_defines_it() {
        let stranger = |kind: &str| Found { own: false, ..own("mood", kind) };
        let labels = Found { labels: Some("'sad', 'glad'".to_owned()), ..stranger("e") };
        assert_eq!(labels.definition().unwrap(), "the labels 'sad', 'glad'");
        let extension = Found { extension: Some("citext 1.6".to_owned()), ..stranger("b") };
        assert_eq!(extension.definition().unwrap(), "of the extension citext 1.6");
        assert_eq!(Found { modifier: 4, ..extension }.definition().unwrap_err(), STRANGER);
        assert_eq!(stranger("r").definition().unwrap_err(), STRANGER);
        assert_eq!(stranger("b").definition().unwrap_err(), STRANGER);
    }
}
