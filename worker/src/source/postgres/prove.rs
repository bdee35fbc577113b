//! What a relation or a query holds, as its server counts and hashes it: two hashes of every row as text, added up, so that
//! neither their order nor where they stand matters. The server reads all of it; nothing but three numbers leaves it.
//!
//! The counters of `pg_stat_all_tables` would be cheaper, and prove nothing: sessions tell them late, a crash loses them, TRUNCATE
//! does not count, and a view has none.

use tokio_postgres::Row;
use windrow_common::{error, window::Window};

use super::{layout::Layout, params::Config, select};
use crate::{
    error::{Result, WorkerError},
    postgres::{Session, source_error},
};

/// What the server says of no rows at all.
const NO_ROWS: &str = "0 0 0";

/// In the transaction that the session has begun.
pub(super) async fn state(
    session: &mut Session,
    (layout, config): (&Layout, &Config),
    window: &Window,
) -> Result<String> {
    let rows = asked(session, &select::counted(layout, config, window)?).await?;
    let state = rows.first().map(|row| row.try_get::<_, String>(0)).transpose();
    let state = state.map_err(|cause| source_error(cause, session.place()))?.unwrap_or_default();
    Ok(told(layout, &state))
}

/// The same of each window of a run, by one statement.
pub(super) async fn states(
    session: &mut Session,
    (layout, config): (&Layout, &Config),
    windows: &[Window],
) -> Result<Vec<String>> {
    let rows = asked(session, &select::counted_each(layout, config, windows)?).await?;
    let (mut states, mut without) = (vec![NO_ROWS.to_owned(); windows.len()], String::new());
    for row in rows {
        let failed = |cause| source_error(cause, session.place());
        let number: Option<i32> = row.try_get(0).map_err(failed)?;
        let state: String = row.try_get(1).map_err(failed)?;
        let Some(number) = number else {
            // Each of the windows has them.
            without = format!(", without a cursor {state}");
            continue;
        };
        let window = usize::try_from(number).ok().and_then(|number| states.get_mut(number));
        *window.ok_or_else(|| WorkerError::never(error::INTERNAL, "the database counts windows there are not"))? =
            state;
    }
    Ok(states.iter().map(|state| told(layout, &format!("{state}{without}"))).collect())
}

fn told(layout: &Layout, state: &str) -> String {
    format!("columns {}, {state}", layout.digest)
}

async fn asked(session: &mut Session, query: &str) -> Result<Vec<Row>> {
    session.set_busy(true);
    let rows = session.client().query(query, &[]).await;
    session.set_busy(false);
    rows.map_err(|cause| source_error(cause, session.place()))
}
