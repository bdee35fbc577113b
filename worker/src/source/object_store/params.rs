//! The parameters of the source: as they are written, and checked. Nothing here touches a store.

use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use windrow_common::{error, quantity::ByteSize};

use super::{
    faults::{Faults, decode_fault},
    format::{Compression, Csv, Format},
    template::PathTemplate,
    time::{Ambiguous, Zone},
    types::Declared,
};
use crate::source::ParamError;

/// The parameters as they stand in a pipeline file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// What to read, relative to the connection's root: a file, a glob (`*`, `**`, `?`, `[..]`, `{a,b}`), or either
    /// with placeholders: `dt={window.start:%Y-%m-%d}/*.csv.gz`.
    path: String,
    /// The format and its options; told by the file's extension when left out.
    #[serde(default)]
    #[schemars(schema_with = "format_schema")]
    format: Option<FormatParams>,
    /// `text` reads each line, whatever the format, as the one column `value`, untouched.
    #[serde(default)]
    read_as: ReadAs,
    /// CSV and JSON: a column of this name is added behind the others. It holds each row's own text as it stands in the file, to the
    /// byte, so that rows can be chosen by what they say and written as they came.
    #[serde(default)]
    raw: Option<String>,
    /// Reads every column as text, untouched.
    #[serde(default)]
    as_text: bool,
    /// How the files are compressed; told by the extension when left out.
    #[serde(default)]
    compression: CompressionParam,
    /// The columns and their types, as a map or, to fix the order, as a list of one-entry maps. Inferred from the
    /// first rows when left out.
    #[serde(default)]
    schema: Option<Value>,
    /// IANA zone of timestamps written without one, and of the placeholders in `path` (there UTC when left out).
    #[serde(default)]
    timezone: Option<String>,
    /// IANA zone of the cursor column's values, where it differs from `timezone`.
    #[serde(default)]
    cursor_timezone: Option<String>,
    /// Which instant a local time means that a change of clocks makes ambiguous; without it such a value is rejected.
    #[serde(default)]
    ambiguous: Option<Ambiguous>,
    /// Limits that keep a hostile or broken file from taking the worker down.
    #[serde(default)]
    limits: LimitParams,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FormatParams {
    #[serde(rename = "type")]
    kind: FormatKind,
    /// CSV: the character between fields; `,` when left out.
    #[serde(default)]
    delimiter: Option<String>,
    /// CSV: whether the first line names the columns; yes when left out.
    #[serde(default)]
    header: Option<bool>,
    /// CSV: the quoting character; `"` when left out, the empty text for none.
    #[serde(default)]
    quote: Option<String>,
    /// CSV: the character that makes a quote inside quotes a plain one; a doubled quote does so when left out.
    #[serde(default)]
    escape: Option<String>,
    /// CSV and JSON: the texts that mean null. An empty CSV field of a column that is no text is always null; one
    /// of a text column is null unless this is given without `""`.
    #[serde(default)]
    nulls: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FormatKind {
    Csv,
    /// One JSON object per line.
    Json,
    Parquet,
    /// Each line is the one column `value`, untouched.
    Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReadAs {
    #[default]
    Rows,
    Text,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CompressionParam {
    #[default]
    Auto,
    None,
    Gzip,
    Zstd,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LimitParams {
    /// Longest line or CSV record.
    #[schemars(with = "String")]
    line: ByteSize,
    /// Most bytes one object may have when decompressed.
    #[schemars(with = "String")]
    decompressed: ByteSize,
    /// Most decompressed bytes per compressed byte, beyond the first 16 MiB.
    ratio: u64,
}

impl Default for LimitParams {
    fn default() -> Self {
        Self { line: ByteSize(16 << 20), decompressed: ByteSize(1 << 40), ratio: 200 }
    }
}

/// `csv`, or an object with the options.
fn format_schema(generator: &mut SchemaGenerator) -> Schema {
    let (kind, full) = (generator.subschema_for::<FormatKind>(), generator.subschema_for::<FormatParams>());
    json_schema!({ "anyOf": [kind, full] })
}

/// The parameters, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) path: PathTemplate,
    pub(super) format: Format,
    pub(super) compression: Option<Compression>,
    pub(super) columns: Columns,
    /// The column that holds each row's own text.
    pub(super) raw: Option<String>,
    /// Texts that mean null; `None` where the user left it to us.
    pub(super) nulls: Option<Vec<String>>,
    pub(super) cursor: Option<String>,
    /// The zone of cursor values without one.
    pub(super) cursor_zone: Option<Zone>,
    pub(super) limits: ReadLimits,
}

/// Where a source's columns and types come from.
#[derive(Clone, Debug)]
pub(super) enum Columns {
    Declared(Declared),
    Inferred,
    /// All columns there are, as text.
    AsText,
}

/// How much of a file is taken before it is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLimits {
    /// Bytes of a line or record.
    pub(super) line: usize,
    /// Bytes of a decompressed object.
    pub(super) decompressed: u64,
    /// Decompressed bytes per compressed byte.
    pub(super) ratio: u64,
}

/// Decodes and checks the parameters; all faults found are reported together.
pub(super) fn decode(params: &Map<String, Value>, cursor: Option<&str>) -> Result<Config, Vec<ParamError>> {
    let raw: Params = serde_path_to_error::deserialize(Value::Object(spelled_out(params)))
        .map_err(|fault| vec![decode_fault(&fault)])?;
    let mut faults = Faults::default();
    let zone_of = |name: &Option<String>| -> Result<Option<Zone>, String> {
        let Some(name) = name else { return Ok(None) };
        let zone = TimeZone::get(name).map_err(|_| format!("{name:?} is no time zone this machine knows"))?;
        Ok(Some(Zone { zone, ambiguous: raw.ambiguous }))
    };
    let zone = faults.take("timezone", zone_of(&raw.timezone)).flatten();
    let own_cursor_zone = faults.take("cursor_timezone", zone_of(&raw.cursor_timezone)).flatten();
    let template_zone = zone.as_ref().map_or(TimeZone::UTC, |zone| zone.zone.clone());
    let path = faults.take("path", PathTemplate::parse(&raw.path, template_zone));
    let format = format_of(&raw, &mut faults);
    let columns = columns_of(&raw, format.as_ref(), zone.as_ref(), &mut faults);
    if let (Some(cursor), Columns::Declared(declared)) = (cursor, &columns)
        && !declared.has(cursor)
    {
        faults.add("schema", error::CURSOR_MISSING, format!("the cursor column {cursor:?} is not declared"));
    }
    check_raw(&raw, format.as_ref(), &columns, &mut faults);
    let config = path.zip(format).map(|(path, format)| Config {
        path,
        format,
        compression: match raw.compression {
            CompressionParam::Auto => None,
            CompressionParam::None => Some(Compression::None),
            CompressionParam::Gzip => Some(Compression::Gzip),
            CompressionParam::Zstd => Some(Compression::Zstd),
        },
        columns,
        raw: raw.raw,
        nulls: raw.format.and_then(|format| format.nulls).or_else(|| raw.as_text.then(Vec::new)),
        cursor: cursor.map(str::to_owned),
        cursor_zone: own_cursor_zone.or(zone),
        limits: ReadLimits {
            line: usize::try_from(raw.limits.line.0).unwrap_or(usize::MAX),
            decompressed: raw.limits.decompressed.0,
            ratio: raw.limits.ratio.max(1),
        },
    });
    match config {
        Some(config) if faults.0.is_empty() => Ok(config),
        _ => Err(faults.0),
    }
}

/// `format: csv` means `format: { type: csv }`.
fn spelled_out(params: &Map<String, Value>) -> Map<String, Value> {
    let mut params = params.clone();
    if let Some(format) = params.get_mut("format")
        && format.is_string()
    {
        *format = serde_json::json!({ "type": format.take() });
    }
    params
}

fn format_of(raw: &Params, faults: &mut Faults) -> Option<Format> {
    if raw.read_as == ReadAs::Text {
        return Some(Format::Text);
    }
    let kind = raw.format.as_ref().map(|format| format.kind).or_else(|| kind_by_extension(&raw.path));
    let Some(kind) = kind else {
        faults.add_with_fix(
            "format",
            error::MISSING_KEY,
            format!("the name {:?} does not tell the format", raw.path),
            "write `format: csv`, json, parquet or text",
        );
        return None;
    };
    let given = raw.format.as_ref();
    let csv_only = given.is_some_and(|given| {
        given.delimiter.is_some() || given.header.is_some() || given.quote.is_some() || given.escape.is_some()
    });
    if kind != FormatKind::Csv && csv_only {
        faults.add("format", error::CONTRADICTION, "delimiter, header, quote and escape belong to csv alone");
    }
    if matches!(kind, FormatKind::Parquet | FormatKind::Text) && given.is_some_and(|given| given.nulls.is_some()) {
        faults.add("format.nulls", error::CONTRADICTION, "only csv and json have texts that mean null");
    }
    match kind {
        FormatKind::Csv => csv_of(given, faults).map(Format::Csv),
        FormatKind::Json => Some(Format::Json),
        FormatKind::Parquet => Some(Format::Parquet),
        FormatKind::Text => Some(Format::Text),
    }
}

fn csv_of(given: Option<&FormatParams>, faults: &mut Faults) -> Option<Csv> {
    let mut byte = |name: &str, text: Option<&String>, default: Option<u8>| match text.map(|text| text.as_bytes()) {
        None => Some(default),
        Some([]) if name != "delimiter" => Some(None),
        Some([one]) if one.is_ascii() && !matches!(one, b'\n' | b'\r') => Some(Some(*one)),
        Some(_) => {
            faults.add(format!("format.{name}"), error::BAD_VALUE, "it is one ASCII character, no line end");
            None
        }
    };
    let delimiter = byte("delimiter", given.and_then(|given| given.delimiter.as_ref()), Some(b','))??;
    let quote = byte("quote", given.and_then(|given| given.quote.as_ref()), Some(b'"'))?;
    let escape = byte("escape", given.and_then(|given| given.escape.as_ref()), None)?;
    if quote == Some(delimiter) || escape == Some(delimiter) {
        faults.add("format.delimiter", error::CONTRADICTION, "delimiter, quote and escape must differ");
        return None;
    }
    let header = given.and_then(|given| given.header).unwrap_or(true);
    Some(Csv { delimiter, header, quote, escape: escape.filter(|escape| quote != Some(*escape)) })
}

/// The format a path's name tells, under its compression.
fn kind_by_extension(path: &str) -> Option<FormatKind> {
    let (bare, _) = Compression::strip(path);
    match bare.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "csv" => Some(FormatKind::Csv),
        "json" | "jsonl" | "ndjson" => Some(FormatKind::Json),
        "parquet" => Some(FormatKind::Parquet),
        "txt" | "log" => Some(FormatKind::Text),
        _ => None,
    }
}

fn columns_of(raw: &Params, format: Option<&Format>, zone: Option<&Zone>, faults: &mut Faults) -> Columns {
    let Some(schema) = &raw.schema else {
        return if raw.as_text { as_text(format, faults) } else { Columns::Inferred };
    };
    if raw.as_text {
        faults.add("as_text", error::CONTRADICTION, "with a declared schema the columns have the declared types");
    }
    if matches!(format, Some(Format::Text)) {
        faults.add("schema", error::CONTRADICTION, "text has the one column `value`, a string");
    }
    let declared = Declared::parse(schema, zone, raw.ambiguous, faults);
    let headerless = matches!(format, Some(Format::Csv(csv)) if !csv.header);
    if headerless && schema.is_object() {
        faults.add_with_fix(
            "schema",
            error::CONTRADICTION,
            "without a header the columns need an order, and a map has none",
            "write the schema as a list: [{id: int}, {name: string}]",
        );
    }
    Columns::Declared(declared)
}

fn check_raw(raw: &Params, format: Option<&Format>, columns: &Columns, faults: &mut Faults) {
    let Some(name) = &raw.raw else { return };
    match format {
        Some(Format::Text) => {
            faults.add("raw", error::CONTRADICTION, "text has its lines in the column `value` already")
        }
        Some(Format::Parquet) => faults.add("raw", error::CONTRADICTION, "rows of parquet have no text of their own"),
        _ => {}
    }
    if name.is_empty() {
        faults.add("raw", error::BAD_VALUE, "the column needs a name");
    }
    if matches!(columns, Columns::Declared(declared) if declared.has(name)) {
        faults.add("raw", error::CONTRADICTION, format!("the column {name:?} is declared in `schema` as another"));
    }
}

fn as_text(format: Option<&Format>, faults: &mut Faults) -> Columns {
    if matches!(format, Some(Format::Parquet)) {
        faults.add("as_text", error::CONTRADICTION, "parquet values are no text; declare `schema` to cast them");
    }
    Columns::AsText
}
