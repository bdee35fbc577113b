//! What people and programs get to see: tables, JSON, YAML, colours, diagnostics. It decides nothing and knows no verb.

use clap::ValueEnum;
use serde::Serialize;

pub mod calendar;
pub mod diagnostics;
pub mod number;
pub mod progress;
pub mod state;
pub mod style;
pub mod summary;
pub mod table;
pub mod waits;

pub use style::Style;

/// The forms a result can be printed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    Yaml,
}

/// The value as JSON or YAML, with a line end; `None` for a table, which each result lays out itself.
pub fn encoded<T: Serialize>(value: &T, output: Output) -> anyhow::Result<Option<String>> {
    Ok(match output {
        Output::Table => None,
        Output::Json => Some(format!("{}\n", serde_json::to_string_pretty(value)?)),
        Output::Yaml => Some(serde_saphyr::to_string(value)?),
    })
}

/// Microseconds since 1970 as an instant in text.
pub fn instant(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default()
}
