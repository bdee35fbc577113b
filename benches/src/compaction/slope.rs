//! What a file costs beside its rows: the same rows in a hundred files and in ten thousand.

use anyhow::Result;

use super::{
    ROUNDS, by_windrow,
    peers::{WAYS, Way},
    table::{Lot, Table},
};
use crate::report::{Goal, Report, grouped};

const FEW: Lot = Lot { files: 100, rows: 60_000, target: 80 << 20, shared: 80 << 20 };
const MANY: Lot = Lot { files: 10_000, rows: 600, ..FEW };

pub(super) fn measure(report: &mut Report) -> Result<()> {
    let mut tables = [Table::make(FEW)?, Table::make(MANY)?];
    let [_, (polars, libraries), ..] = WAYS;
    let mut windrow = [Way::named("windrow"), Way::named("windrow")];
    let mut peers = [Way::of(polars, libraries), Way::of(polars, libraries)];
    for _ in 0..ROUNDS {
        for (number, table) in tables.iter_mut().enumerate() {
            peers[number].rounds.push(table.by_peer(polars, libraries)?);
            let copy = table.copy()?;
            windrow[number].rounds.push(by_windrow(table, &copy)?);
        }
    }
    let rows = grouped(FEW.files * FEW.rows);
    report.say(format!("  {rows} rows in {} files, then in {}", grouped(FEW.files), grouped(MANY.files)));
    for way in peers.iter().chain(&windrow) {
        way.tell(report);
    }
    let ([few, many], [polars_few, polars_many]) = (&windrow, &peers);
    report.goal("  many to few", many.time_to(few), Goal::AtMost(1.6), "x");
    report.figure("  polars' many to few", format!("{:.2}x", polars_many.time_to(polars_few)));
    Ok(())
}
