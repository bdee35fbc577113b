//! The columns a source yields: declared, or found in a file once.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use object_store::ObjectStore;
use tokio::task::spawn_blocking;
use windrow_common::{error, manifest::Input};

use super::{
    bytes::{self, Content},
    csv::CsvReader,
    faults::duplicate,
    format::{Compression, Csv, Format},
    infer::{Guesses, SAMPLE_ROWS},
    json::{self, JsonReader},
    params::{Columns, Config},
    parquet::{self, Place},
    reader::RowReader,
    rows::{PARSE_ROWS, Rows},
    table::line_columns,
    types::{Column, Kind, schema_of},
    values::Nulls,
};
use crate::error::{Result, WorkerError};

/// The columns of a source in their order.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Columns that are made of text; empty for Parquet, whose files know their own types.
    pub(super) columns: Arc<[Column]>,
    pub(super) schema: SchemaRef,
    /// Whether nobody declared the columns, so that a key that is none of them is a fault.
    pub(super) inferred: bool,
}

impl Layout {
    /// The layout, if no file has to be looked at.
    pub(super) fn declared(config: &Config) -> Option<Self> {
        match (&config.format, &config.columns) {
            (Format::Text, _) => Some(Self::of(line_columns(), false)),
            (Format::Json, Columns::Declared(declared)) => Some(Self::of(declared.columns.clone(), false)),
            (_, Columns::Declared(declared)) if declared.ordered => Some(Self::of(declared.columns.clone(), false)),
            _ => None,
        }
    }

    /// The layout a file shows: its names and, unless declared, its types.
    pub(super) async fn of_file(store: Arc<dyn ObjectStore>, pin: &Input, config: &Arc<Config>) -> Result<Self> {
        if let Format::Parquet = config.format {
            return Self::of_parquet(&parquet::columns(store, pin).await?, &config.columns)
                .map_err(|error| error.at(&pin.name));
        }
        let names = sampled(store.as_ref(), pin, config, names).await?;
        if let Some(twice) = duplicate(names.iter().map(String::as_str)) {
            let message = format!("the column {twice:?} stands twice");
            return Err(WorkerError::never(error::SCHEMA_MISMATCH, message).at(&pin.name));
        }
        match &config.columns {
            Columns::AsText => Ok(Self::of(names.iter().map(|name| Column::text(name)).collect(), true)),
            Columns::Declared(declared) => {
                let order = order(&names, &declared.columns).map_err(|error| error.at(&pin.name))?;
                let mut by_place: Vec<_> = order.into_iter().zip(declared.columns.iter().cloned()).collect();
                by_place.sort_by_key(|(place, _)| *place);
                Ok(Self::of(by_place.into_iter().map(|(_, column)| column).collect(), false))
            }
            Columns::Inferred => {
                let guess = move |content: &mut Content, config: &Config| guess(content, config, names);
                Ok(Self::of(sampled(store.as_ref(), pin, config, guess).await?, true))
            }
        }
    }

    /// A Parquet file's own columns, or the declared ones in its order.
    fn of_parquet(stored: &Schema, columns: &Columns) -> Result<Self> {
        let Columns::Declared(declared) = columns else {
            return Ok(Self { columns: Arc::new([]), schema: Arc::new(stored.clone()), inferred: true });
        };
        let mut by_place: Vec<_> =
            order(&names_of(stored), &declared.columns)?.into_iter().zip(declared.columns.iter().cloned()).collect();
        by_place.sort_by_key(|(place, _)| *place);
        Ok(Self::of(by_place.into_iter().map(|(_, column)| column).collect(), false))
    }

    /// The same with a column for each row's own text, if one is wanted.
    pub(super) fn with_raw(self, config: &Config) -> Result<Self> {
        let Some(name) = &config.raw else { return Ok(self) };
        let mut columns = self.columns.to_vec();
        if columns.iter().any(|column| column.name == *name) {
            let message = format!("the files have a column {name:?} of their own");
            return Err(WorkerError::never(error::SCHEMA_MISMATCH, message).fix("give `raw` another name"));
        }
        columns.push(Column { name: name.clone(), kind: Kind::Line });
        Ok(Self::of(columns, self.inferred))
    }

    /// The columns that are fields of a row.
    pub(super) fn fields(&self) -> Arc<[Column]> {
        self.columns.iter().filter(|column| column.kind != Kind::Line).cloned().collect()
    }

    /// Where the columns are in a Parquet file, which has these and no others.
    pub(super) fn places(&self, stored: &Schema) -> Result<Vec<Place>> {
        let columns: Vec<_> = names_of(&self.schema).iter().map(|name| Column::text(name)).collect();
        Ok(order(&names_of(stored), &columns)?.into_iter().map(Place::Stored).collect())
    }

    fn of(columns: Vec<Column>, inferred: bool) -> Self {
        Self { schema: schema_of(&columns), columns: columns.into(), inferred }
    }
}

fn names_of(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The texts that mean null in the files of a source.
pub(super) fn nulls(config: &Config) -> Nulls {
    match config.format {
        Format::Csv(_) => Nulls::csv(config.nulls.as_deref()),
        Format::Json | Format::Parquet | Format::Text => Nulls::declared(config.nulls.as_deref()),
    }
}

/// For each column its place among a file's fields; names must be the same on both sides.
pub(super) fn order(header: &[String], columns: &[Column]) -> Result<Vec<usize>> {
    let place = |column: &Column| header.iter().position(|name| *name == column.name);
    let missing: Vec<&str> =
        columns.iter().filter(|column| place(column).is_none()).map(|column| column.name.as_str()).collect();
    let is_known = |name: &&String| columns.iter().any(|column| column.name == **name);
    let unexpected: Vec<&str> = header.iter().filter(|name| !is_known(name)).map(String::as_str).collect();
    if missing.is_empty() && unexpected.is_empty() && header.len() == columns.len() {
        return Ok(columns.iter().filter_map(place).collect());
    }
    let list = |what: &str, names: &[&str]| match names {
        [] => None,
        names => Some(format!("{what} {}", names.join(", "))),
    };
    let said: Vec<String> =
        [list("missing", &missing), list("unexpected", &unexpected)].into_iter().flatten().collect();
    let said = if said.is_empty() { "a column stands twice".to_owned() } else { said.join("; ") };
    Err(WorkerError::never(error::SCHEMA_MISMATCH, format!("the header does not have the source's columns: {said}"))
        .fix("correct `schema`, `format.header` or `format.delimiter`, or have the file delivered as agreed"))
}

/// Runs `look` on the beginning of a file, on a thread that may block.
async fn sampled<T: Send + 'static>(
    store: &dyn ObjectStore,
    pin: &Input,
    config: &Arc<Config>,
    look: impl FnOnce(&mut Content, &Config) -> Result<T> + Send + 'static,
) -> Result<T> {
    let opened = bytes::open(store, pin).await?;
    let config = config.clone();
    let compression = config.compression.unwrap_or_else(|| Compression::of(&pin.name));
    let task = spawn_blocking(move || look(&mut opened.decompress(compression, config.limits)?, &config));
    task.await.map_err(|cause| WorkerError::later(error::INTERNAL, "the reading thread died").because(cause))?
}

fn names(content: &mut Content, config: &Config) -> Result<Vec<String>> {
    match config.format {
        Format::Csv(csv) => {
            let mut reader = CsvReader::new(csv, config.limits.line);
            let header = reader.header(content)?.ok_or_else(|| no_header(content))?;
            Ok(if csv.header { header } else { (1..=header.len()).map(|i| format!("column_{i}")).collect() })
        }
        Format::Json => json::keys(content, SAMPLE_ROWS, config.limits.line),
        Format::Parquet | Format::Text => Ok(Vec::new()),
    }
}

/// An empty file has no columns, and a file that should have some is taken for a broken delivery.
pub(super) fn no_header(content: &Content) -> WorkerError {
    WorkerError::never(error::SCHEMA_MISMATCH, "the file is empty, without even a header")
        .at(content.name())
        .fix("deliver the file again, with its header")
}

fn guess(content: &mut Content, config: &Config, names: Vec<String>) -> Result<Vec<Column>> {
    match config.format {
        Format::Csv(csv) => {
            let mut reader = bound(csv, names.len(), config, content)?;
            guess_rows(&mut reader, content, config, names)
        }
        _ => {
            let mut reader = JsonReader::new(names.iter().map(String::as_str), false, config.limits.line);
            guess_rows(&mut reader, content, config, names)
        }
    }
}

/// A reader of all the file's fields, behind its header.
fn bound(csv: Csv, fields: usize, config: &Config, content: &mut Content) -> Result<CsvReader> {
    let mut reader = CsvReader::new(csv, config.limits.line);
    if csv.header {
        reader.header(content)?;
    }
    reader.bind(fields, (0..fields).collect());
    Ok(reader)
}

fn guess_rows(
    reader: &mut impl RowReader,
    content: &mut Content,
    config: &Config,
    names: Vec<String>,
) -> Result<Vec<Column>> {
    let nulls = nulls(config);
    let mut guesses = Guesses::new(names);
    let mut left = SAMPLE_ROWS;
    while left > 0
        && let Some(rows) = reader.next(content, left.min(PARSE_ROWS))?
    {
        left -= rows.len();
        guesses.look(&rows, &nulls);
    }
    Ok(guesses.columns())
}
