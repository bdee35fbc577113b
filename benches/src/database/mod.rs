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

pub(crate) fn run(_: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    let mut table = Table::fill(ROWS)?;
    report.say(format!(
        "{} rows of 8 columns (int8, int4, float8, numeric(12,2), two of text, timestamptz, bool); medians of {ROUNDS} rounds",
        crate::report::grouped(ROWS)
    ));
    full::measure(&mut table, settings, report)?;
    windows::measure(&mut table, report)?;
    drop(table);
    full::growth(settings, report)
}
