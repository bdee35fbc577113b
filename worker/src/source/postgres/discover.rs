//! Which tables of a database somebody means by patterns: `*`, `sales.*`, `public.{users,orders}`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use windrow_common::{error, pipeline::Connection};

use crate::{
    error::{Result, WorkerError},
    postgres::{Listed, Session, Settings, source_error, tables},
};

/// What the server's own lists call our session.
const APPLICATION: &str = "windrow discover";

/// The connection's tables and views that match one of `only` and none of `except`, and where they are, without
/// credentials. Patterns are of `schema.table`; one without a dot means the schema `public`. No pattern at all means every
/// table of every schema.
///
/// # Errors
/// A pattern that makes no sense, and whatever keeps the database from answering.
pub async fn discover(connection: &Connection, only: &[String], except: &[String]) -> Result<(String, Vec<Listed>)> {
    let (only, except) = (patterns(only)?, patterns(except)?);
    let settings = Settings::of(connection, APPLICATION)?;
    let failed = |cause| source_error(cause, settings.place());
    let session = Session::open(&settings).await.map_err(failed)?;
    let mut found = tables(session.client()).await.map_err(failed)?;
    found.retain(|table| {
        let name = format!("{}.{}", table.schema, table.name);
        (only.is_empty() || only.is_match(&name)) && !except.is_match(&name)
    });
    Ok((settings.place().to_owned(), found))
}

fn patterns(texts: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let whole = if text.contains('.') { text.clone() } else { format!("public.{text}") };
        set.add(GlobBuilder::new(&whole).build().map_err(|cause| nonsense(text, &cause))?);
    }
    set.build().map_err(|cause| nonsense(&texts.join(" "), &cause))
}

fn nonsense(pattern: &str, cause: &globset::Error) -> WorkerError {
    WorkerError::never(error::USAGE, format!("the pattern {pattern:?} makes no sense: {}", cause.kind()))
        .fix("write a name, or `*` for any part of one: public.*, sales.order_*")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_are_of_whole_names() {
        let matches = |pattern: &str, name: &str| patterns(&[pattern.to_owned()]).unwrap().is_match(name);
        assert!(matches("users", "public.users") && !matches("users", "sales.users"));
        assert!(matches("*", "public.users") && !matches("*", "sales.users"));
        assert!(matches("*.*", "sales.users") && matches("sales.u*", "sales.users"));
        assert!(matches("public.{users,orders}", "public.orders") && !matches("public.{users,orders}", "public.order"));
        assert_eq!(patterns(&["a[".to_owned()]).unwrap_err().code(), error::USAGE);
    }
}
