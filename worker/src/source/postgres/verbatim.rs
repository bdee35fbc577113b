//! Whether the rows can be left as the server writes them, and what is asked for then. Pure.

use std::collections::BTreeMap;

use super::{
    layout::{Chosen, TIMESTAMP},
    params::{Config, NullCursor},
};
use crate::{
    postgres::{
        FORM,
        copy::{Form, Special},
        identifier,
    },
    verbatim::{ExactType, Verbatim, VerbatimColumn},
};

/// The columns of rows that are left as they are, or in words why they have to be decoded. `exact` is what the types are by the
/// columns' names.
pub(super) fn of(
    columns: &[Chosen],
    mut exact: BTreeMap<String, Result<ExactType, &'static str>>,
    config: &Config,
) -> Result<Vec<VerbatimColumn>, String> {
    if !config.overrides.is_empty() {
        return Err("`schema` has columns read as other types".to_owned());
    }
    match config.special {
        Some(Special::Null) => return Err("`special_values: null` looks at values".to_owned()),
        Some(Special::Reject) => return Err("`special_values: reject` looks at values".to_owned()),
        None => {}
    }
    let is_cursor = |chosen: &&Chosen| config.cursor.as_ref() == Some(&chosen.column.name);
    if config.null_cursor == NullCursor::Reject && columns.iter().find(is_cursor).is_some_and(|one| one.column.nullable)
    {
        return Err("`null_cursor: reject` looks at values".to_owned());
    }
    if columns.is_empty() {
        return Err("there are no columns".to_owned());
    }
    let column = |chosen: &Chosen| {
        let name = &chosen.column.name;
        if becomes_instant(chosen) {
            return Ok(VerbatimColumn { name: name.clone(), kind: instant() });
        }
        match exact.remove(name) {
            Some(Ok(kind)) => Ok(VerbatimColumn { name: name.clone(), kind }),
            found => {
                let why = found.and_then(Result::err).unwrap_or("its type is not known");
                Err(format!("the column {name:?} is of type {}: {why}", chosen.column.data_type.name))
            }
        }
    };
    columns.iter().map(column).collect()
}

pub(super) fn rows(columns: Vec<VerbatimColumn>, server: i32) -> Verbatim {
    Verbatim { form: FORM.to_owned(), server, columns }
}

/// What is selected for a column.
pub(super) fn expression(chosen: &Chosen) -> String {
    match becomes_instant(chosen) {
        true => chosen.expression.clone(),
        false => identifier(&chosen.column.name),
    }
}

/// Whether a zone was declared for local times; the server makes instants of them.
fn becomes_instant(chosen: &Chosen) -> bool {
    chosen.column.data_type.oid == TIMESTAMP && chosen.form == Form::Timestamp { utc: true }
}

fn instant() -> ExactType {
    let name = "timestamp with time zone".to_owned();
    ExactType { sql: name.clone(), name, modifier: -1, definition: "built in".to_owned() }
}
