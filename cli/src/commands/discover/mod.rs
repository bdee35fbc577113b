//! `windrow discover`: what a database has to read, and pipelines that read it.

use std::io::{self, Write};

use serde_json::{Map, json};
use windrow_common::{
    count::grouped,
    pipeline::{Connection, SourceLimits},
};
use windrow_worker::{
    postgres::{CONNECTION, Listed},
    source::postgres::discover,
};

use super::{exit::Exit, failure::Mistake};
use crate::{
    file::has_password,
    show::{self, Output, number::bytes, table::table},
};

mod pipelines;

/// Show what a database has to read, or write pipelines that read it
///
/// `windrow discover 'public.*' --to ./lake > pipelines.yaml` makes a file that `windrow run` takes as it is: a pipeline
/// for each table, and for each the columns by which it could be read in windows instead.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tables, as `schema.table` with `*` for any part of a name; without a dot they are of the schema public. All, if none
    /// is given
    #[arg(value_name = "PATTERN")]
    only: Vec<String>,
    /// Tables that are left out
    #[arg(long, value_name = "PATTERN")]
    except: Vec<String>,
    /// The database: an address without a password, or a reference to one
    #[arg(long, value_name = "URL", default_value = "${env:DATABASE_URL}")]
    url: String,
    /// Write pipelines that load the tables to this folder or bucket: ./lake, s3://bucket/folder
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// The format they write
    #[arg(long, value_enum, default_value_t, requires = "to")]
    format: Format,
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t, conflicts_with = "to")]
    output: Output,
}

/// What tables can become in object storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Delta,
    Parquet,
    Json,
    Csv,
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.to.is_some() && has_password(&args.url) {
        return Err(Mistake::usage(
            "the file would hold the password; put the address into a variable and say --url '${env:NAME}'",
        ));
    }
    let params = Map::from_iter([("url".to_owned(), json!(args.url))]);
    let connection = Connection {
        name: pipelines::DATABASE.to_owned(),
        kind: CONNECTION.to_owned(),
        limits: SourceLimits::default(),
        params,
    };
    let (place, found) = discover(&connection, &args.only, &args.except).await?;
    if found.is_empty() {
        let which = if args.only.is_empty() { "it has none".to_owned() } else { args.only.join(" ") };
        return Err(Mistake::NotFound(format!("no table of {place} is meant: {which}")).into());
    }
    let text = match &args.to {
        Some(to) => pipelines::render(&place, &found, &pipelines::Target { url: &args.url, to, format: args.format }),
        None => match show::encoded(&found, args.output)? {
            Some(text) => text,
            None => list(&found),
        },
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

fn list(found: &[Listed]) -> String {
    let row = |table: &Listed| {
        let rows = table.rows.map_or_else(|| "?".to_owned(), grouped);
        let size = if table.bytes > 0 { bytes(table.bytes) } else { String::new() };
        let kind = if table.readable { table.kind.clone() } else { format!("{}, may not be read", table.kind) };
        let name = format!("{}.{}", table.schema, table.name);
        vec![name, rows, size, table.key.join(", "), pipelines::cursors(table).join(", "), kind]
    };
    table(&["TABLE", "ROWS", "SIZE", "KEY", "TIMES", "KIND"], found.iter().map(row))
}
