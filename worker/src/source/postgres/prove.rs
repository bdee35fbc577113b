//! What a relation or a query holds, as its server counts and hashes it: two hashes of every row as text, added up, so that
//! neither their order nor where they stand matters. The server reads all of it; nothing but three numbers leaves it.
//!
//! The counters of `pg_stat_all_tables` would be cheaper, and prove nothing: sessions tell them late, a crash loses them, TRUNCATE
//! does not count, and a view has none.

use windrow_common::window::Window;

use super::{layout::Layout, params::Config, select};
use crate::{
    error::Result,
    postgres::{Session, source_error},
};

/// In the transaction that the session has begun.
pub(super) async fn state(
    session: &mut Session,
    (layout, config): (&Layout, &Config),
    window: &Window,
) -> Result<String> {
    let query = select::counted(layout, config, window)?;
    session.set_busy(true);
    let row = session.client().query_one(&query, &[]).await;
    session.set_busy(false);
    let state = row.and_then(|row| row.try_get::<_, String>(0));
    let state = state.map_err(|cause| source_error(cause, session.place()))?;
    Ok(format!("columns {}, {state}", layout.digest))
}
