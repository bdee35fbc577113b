//! The parameters of the source: as they are written, and checked. Nothing here touches a database.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use windrow_common::{
    error::{self, ErrorCode},
    quantity::Pause,
};

use crate::{
    postgres::copy::Special,
    source::{ParamError, decode::faults::decode_fault},
};

/// The parameters as they stand in a pipeline file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The table, view or partitioned table: `public.visits`. Names are taken as they stand, capitals and all; a name with a dot
    /// in it is written in double quotes. Without a schema it is looked for in `public`.
    #[serde(default)]
    table: Option<String>,
    /// A SELECT instead of a table.
    #[serde(default)]
    query: Option<String>,
    /// The columns that are read, in this order; all of them when left out.
    #[serde(default)]
    columns: Option<Vec<String>>,
    /// Columns that are read as another type than theirs: `text` for any, `decimal(p,s)` for a `numeric`.
    #[serde(default)]
    schema: BTreeMap<String, String>,
    /// IANA zone of timestamps without time zone, which then become instants.
    #[serde(default)]
    timezone: Option<String>,
    /// IANA zone of the cursor's values, where it differs from `timezone`; of days, where it is not UTC.
    #[serde(default)]
    cursor_timezone: Option<String>,
    /// What becomes of rows with NaN or infinity in a decimal, infinity in a date or timestamp, years before 1 or after 9999,
    /// and the time 24:00: they are rejected, or the value becomes null. Left out, they are rejected where values are decoded, and
    /// travel untouched where they are not.
    #[serde(default)]
    special_values: Option<SpecialParam>,
    /// What becomes of rows whose cursor is null, which belong to no window.
    #[serde(default)]
    null_cursor: NullCursor,
    /// How long a transaction may take to commit what it stamped. A window then closes so long after its end, whatever is
    /// still open in the database. Left out, a window waits for every transaction from before its end, which takes the role
    /// `pg_read_all_stats` to see.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    commit_lag: Option<Pause>,
    /// What row level security means for the source.
    #[serde(default)]
    row_policies: RowPolicies,
    /// Into how many shards a full load of a table is cut, for as many workers to read from one snapshot.
    #[serde(default)]
    shards: Shards,
}

/// How a full load of a table is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shards {
    /// How many rows a shard has, about; a smaller table is not cut.
    pub(super) rows: NonZeroU64,
    /// Most shards; with 1 the table is never cut.
    #[schemars(range(min = 1, max = 64))]
    pub(super) most: u32,
}

impl Shards {
    /// The coordinator takes no more.
    const MOST: u32 = 64;
}

impl Default for Shards {
    fn default() -> Self {
        Self { rows: NonZeroU64::MIN.saturating_add(9_999_999), most: 16 }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SpecialParam {
    Reject,
    Null,
}

/// What becomes of rows whose cursor is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NullCursor {
    /// As long as there are any, no window is loaded.
    #[default]
    Refuse,
    /// Every window rejects them, within `limits.max_rejected`.
    Reject,
    /// They are left out, and nobody looks whether there are any.
    Ignore,
}

/// What row level security means for the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RowPolicies {
    /// A policy that would hide rows is an error.
    #[default]
    Refuse,
    /// What the policies hide is not read.
    Apply,
}

/// The parameters, checked.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) what: What,
    pub(super) columns: Option<Vec<String>>,
    pub(super) overrides: BTreeMap<String, Override>,
    pub(super) zone: Option<String>,
    pub(super) cursor: Option<String>,
    /// The zone of a cursor whose values have none.
    pub(super) cursor_zone: Option<String>,
    /// As it is said; where values are decoded without a word, such rows are rejected.
    pub(super) special: Option<Special>,
    pub(super) null_cursor: NullCursor,
    pub(super) commit_lag: Option<Duration>,
    pub(super) row_policies: RowPolicies,
    pub(super) shards: Shards,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Table { schema: String, name: String },
    Query(String),
}

impl Config {
    /// The same of these columns alone, whatever window their rows are of.
    pub(super) fn of_columns(&self, columns: &[String]) -> Self {
        let overrides = self.overrides.iter().filter(|(name, _)| columns.contains(name));
        Self {
            columns: Some(columns.to_vec()),
            overrides: overrides.map(|(name, meant)| (name.clone(), *meant)).collect(),
            // Its values may have a zone of their own.
            cursor: self.cursor.clone().filter(|cursor| columns.contains(cursor)),
            ..self.clone()
        }
    }

    /// What becomes of values that arrow has not, where they are decoded.
    pub(super) fn special(&self) -> Special {
        self.special.unwrap_or(Special::Reject)
    }
}

impl What {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Table { schema, name } => format!("{schema}.{name}"),
            Self::Query(_) => "a query".to_owned(),
        }
    }
}

/// Another type than a column's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Override {
    Text,
    Decimal { precision: u8, scale: i8 },
}

/// Decodes and checks the parameters; all faults found are reported together.
pub(super) fn decode(params: &Map<String, Value>, cursor: Option<&str>) -> Result<Config, Vec<ParamError>> {
    let raw: Params =
        serde_path_to_error::deserialize(Value::Object(params.clone())).map_err(|fault| vec![decode_fault(&fault)])?;
    let mut faults = Vec::new();
    let what = what(&raw).map_err(|fault| faults.push(fault));
    for (path, zone) in [("timezone", &raw.timezone), ("cursor_timezone", &raw.cursor_timezone)] {
        if let Some(zone) = zone.as_ref().filter(|zone| TimeZone::get(zone).is_err()) {
            let message = format!("{zone:?} is no time zone this machine knows");
            faults.push(fault(path, error::BAD_VALUE, message, "write a name such as Europe/Paris"));
        }
    }
    let mut overrides = BTreeMap::new();
    for (column, written) in &raw.schema {
        match Override::parse(written) {
            Some(meant) => drop(overrides.insert(column.clone(), meant)),
            None => {
                let path = format!("schema.{column}");
                let message = format!("{written:?} is no type a column of a database can be read as");
                faults.push(fault(&path, error::BAD_VALUE, message, "write text or decimal(p,s)"));
            }
        }
    }
    if !(1..=Shards::MOST).contains(&raw.shards.most) {
        let message = format!("a table is cut into 1 to {} shards", Shards::MOST);
        faults.push(fault("shards.most", error::BAD_VALUE, message, "correct it; 1 cuts nothing"));
    }
    check_columns(&raw, cursor, &mut faults);
    match what {
        Ok(what) if faults.is_empty() => Ok(Config {
            what,
            columns: raw.columns,
            overrides,
            cursor: cursor.map(str::to_owned),
            cursor_zone: raw.cursor_timezone.or_else(|| raw.timezone.clone()),
            zone: raw.timezone,
            special: raw.special_values.map(|said| match said {
                SpecialParam::Reject => Special::Reject,
                SpecialParam::Null => Special::Null,
            }),
            null_cursor: raw.null_cursor,
            commit_lag: raw.commit_lag.map(|lag| lag.0),
            row_policies: raw.row_policies,
            shards: raw.shards,
        }),
        _ => Err(faults),
    }
}

fn what(raw: &Params) -> Result<What, ParamError> {
    match (&raw.table, &raw.query) {
        (Some(table), None) => {
            let (schema, name) = table_name(table).ok_or_else(|| {
                let message = format!("{table:?} is no name of a table");
                fault(
                    "table",
                    error::BAD_VALUE,
                    message,
                    "write schema.table, with quotes around a name with a dot in it",
                )
            })?;
            Ok(What::Table { schema, name })
        }
        (None, Some(query)) => {
            // What ends the statement would end ours, which it becomes a part of.
            let query = query.trim().trim_end_matches(';').trim_end();
            match query.is_empty() {
                true => Err(fault("query", error::BAD_VALUE, "the query is empty", "write a SELECT")),
                false => Ok(What::Query(query.to_owned())),
            }
        }
        (Some(_), Some(_)) => {
            Err(fault("query", error::CONTRADICTION, "both `table` and `query` are given", "remove one"))
        }
        (None, None) => {
            Err(fault("table", error::MISSING_KEY, "nothing says what to read", "add `table: schema.name`"))
        }
    }
}

fn check_columns(raw: &Params, cursor: Option<&str>, faults: &mut Vec<ParamError>) {
    let Some(columns) = &raw.columns else { return };
    let has = |name: &str| columns.iter().any(|column| column == name);
    if columns.is_empty() {
        faults.push(fault("columns", error::BAD_VALUE, "no column is left", "name some, or remove `columns`"));
    }
    if let Some(twice) = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
        faults.push(fault("columns", error::BAD_VALUE, format!("{:?} is named twice", twice.1), "name it once"));
    }
    if let Some(cursor) = cursor.filter(|cursor| !has(cursor)) {
        let message = format!("the cursor column {cursor:?} is not among them");
        faults.push(fault("columns", error::CURSOR_MISSING, message, "add it: rows are told apart by it"));
    }
    if let Some(stranger) = raw.schema.keys().find(|name| !has(name)) {
        let message = format!("{stranger:?} has a type in `schema` and is not among them");
        faults.push(fault("columns", error::CONTRADICTION, message, "add it, or remove its type"));
    }
}

impl Override {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if matches!(text.as_str(), "text" | "string") {
            return Some(Self::Text);
        }
        let inner = text.strip_prefix("decimal")?.trim().strip_prefix('(')?.strip_suffix(')')?;
        let (precision, scale) = inner.split_once(',')?;
        let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        let valid = (1..=76).contains(&precision) && 0 <= scale && scale.unsigned_abs() <= precision;
        valid.then_some(Self::Decimal { precision, scale })
    }
}

/// `table`, `schema.table`, either part in double quotes.
fn table_name(text: &str) -> Option<(String, String)> {
    let (first, rest) = name_part(text)?;
    match rest.strip_prefix('.') {
        None if rest.is_empty() => Some(("public".to_owned(), first)),
        Some(rest) => name_part(rest).filter(|(_, rest)| rest.is_empty()).map(|(name, _)| (first, name)),
        None => None,
    }
}

/// A name at the front, and what follows it.
fn name_part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let sound = !name.is_empty() && !name.contains('"') && name.trim() == name;
        return sound.then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        // A doubled quote is one within the name.
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

fn fault(path: &str, code: ErrorCode, message: impl Into<String>, fix: &str) -> ParamError {
    ParamError { path: path.to_owned(), code, message: message.into(), fix: Some(fix.to_owned()) }
}
