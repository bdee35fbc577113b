//! A table of PostgreSQL as files, as a Delta table, and by windows: windrow as users run it, beside the
//! database's own binary COPY, which nobody who reads it can beat, and beside peers. Everything is read back before a
//! figure is printed.

mod full;
mod table;
mod windows;

use anyhow::Result;

use self::table::Table;
use crate::{Settings, report::Report};

const ROUNDS: usize = 3;
/// As many as the peers were measured with elsewhere.
const ROWS: u64 = 5_000_000;

pub(crate) fn whole(_: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    full::measure(&mut filled(report)?, settings, report)
}

pub(crate) fn by_windows(_: &tokio::runtime::Runtime, _: &Settings, report: &mut Report) -> Result<()> {
    windows::measure(&mut filled(report)?, report)
}

pub(crate) fn memory(_: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    full::growth(settings, report)
}

fn filled(report: &mut Report) -> Result<Table> {
    report.say(format!(
        "{} rows of 8 columns (int8, int4, float8, numeric(12,2), two of text, timestamptz, bool); medians of {ROUNDS} rounds",
        crate::report::grouped(ROWS)
    ));
    Table::fill(ROWS)
}
