//! How rows are staged for a table, and what of them is copied: pure but for what the catalogue said.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use windrow_common::{count::counted, error, schema::OnChange, upsert::DELETED_COLUMN};

use super::{
    change::{Alter, NewColumn},
    params::Checked,
    target::{Column, Table, WINDOW_COLUMN},
    types,
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        TARGET_FILE_SIZE,
        policy::{Meeting, Policy, holds, new_column, type_changed},
    },
    stage::{Changes, FileFormat, Layout, mark_of, unmarked},
};

/// Where files are staged, relative to the root of the sink's staging place.
pub(super) const STAGE_FOLDER: &str = "_windrow/stage";
/// Most columns a table of PostgreSQL may have, less those of ours.
const MOST_COLUMNS: usize = 1_590;
/// Names of columns with more bytes are cut by PostgreSQL.
const LONGEST_NAME: usize = 63;

/// The layout for rows of `wire`.
pub(super) fn layout(wire: SchemaRef, changes: Changes) -> Layout {
    Layout {
        format: FileFormat::Parquet { metadata: BTreeMap::new() },
        schema: wire,
        partition_by: Vec::new(),
        target_bytes: TARGET_FILE_SIZE.0,
        folder: STAGE_FOLDER.to_owned(),
        cursor: None,
        stats: false,
        changes,
    }
}

/// What the pipeline says of the rows.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) params: &'a Checked,
    pub(super) policy: &'a Policy,
    /// Whether a column of ours may say which rows delete.
    pub(super) marked: bool,
}

impl Rules<'_> {
    /// The same for rows that were staged: what they bring was decided then.
    fn frozen(self) -> Self {
        Self { policy: &Policy::FROZEN, ..self }
    }
}

/// The rows' columns in the types they are staged and copied in, and what the policy makes of those that do not fit. `table` is the
/// one that takes them; without it one is made, or a version.
pub(super) fn wire(rows: &Schema, table: Option<&Table>, rules: Rules<'_>) -> Result<(SchemaRef, Changes)> {
    let Rules { params, policy, marked } = rules;
    let is_mark = |field: &FieldRef| marked && field.name() == DELETED_COLUMN;
    let (marks, rows): (Vec<FieldRef>, Vec<FieldRef>) = rows.fields().iter().cloned().partition(is_mark);
    let rows = &Schema::new(rows);
    check_rows(rows, table, params)?;
    let mut changes = table.map_or_else(Changes::default, |_| policy.changes());
    let mut fields: Vec<FieldRef> = Vec::with_capacity(rows.fields().len());
    for field in rows.fields() {
        let before =
            table.and_then(|table| table.columns.get(field.name())).and_then(|column| types::own_wire(&column.target));
        let before = before.map(|kind| Arc::new(Field::new(field.name(), kind, true)));
        fields.extend(meet(field, table, params, policy)?.staged(before.as_ref(), &mut changes));
    }
    fields.extend(marks);
    Ok((Arc::new(Schema::new(fields)), changes))
}

/// How a column of the rows meets the table, in the type it is staged in.
pub(super) fn meet(field: &Field, table: Option<&Table>, params: &Checked, policy: &Policy) -> Result<Meeting> {
    let as_wire = |kind: DataType| Arc::new(Field::new(field.name(), kind, true));
    // As a column that is made for it has it.
    let made_for = || match params.types.get(field.name()) {
        Some(declared) => types::wire(field, &declared.target).map(as_wire),
        None => types::wire_of_rows(field).map(as_wire),
    };
    let Some(table) = table else { return made_for().map(Meeting::Fits) };
    let Some(column) = table.columns.get(field.name()) else {
        let own = made_for()?;
        return policy.meet(&own, None, |_, _| false);
    };
    let own = as_wire(types::wire_of_rows(field)?);
    if column.made {
        return Err(made(field));
    }
    let kept = types::own_wire(&column.target);
    let widens = kept.as_ref().is_some_and(|kept| kept != own.data_type() && holds(kept, own.data_type()));
    if policy.type_change == OnChange::Evolve && widens {
        return Ok(Meeting::Changed(own));
    }
    match (types::wire(field, &column.target), kept) {
        (Ok(wire), _) if !policy.type_change.discards() || holds(own.data_type(), &wire) => {
            Ok(Meeting::Fits(as_wire(wire)))
        }
        (Ok(wire), _) => Ok(Meeting::Doubted(as_wire(wire))),
        (Err(_), Some(kept)) if policy.type_change.discards() => Ok(Meeting::Doubted(as_wire(kept))),
        // The cause says more than that the types differ.
        (Err(cause), _) => Err(type_changed(field.name(), field.data_type(), &column.cast).because(cause)),
    }
}

/// The columns in which staged rows are copied, and what the table becomes for them: columns say by a mark that the table is to
/// change.
pub(super) fn of_staged(staged: &Schema, table: Option<&Table>, rules: Rules<'_>) -> Result<(SchemaRef, Vec<Alter>)> {
    let mut alter = Vec::new();
    let plain: Vec<Field> = staged.fields().iter().map(|field| unmarked(field)).collect();
    let Some(table) = table else {
        return wire(&Schema::new(plain), None, rules.frozen()).map(|(wire, _)| (wire, alter));
    };
    let (mut marked, mut others) = (Vec::new(), Vec::new());
    for (field, staged) in plain.into_iter().zip(staged.fields()) {
        let Some(before) = mark_of(staged) else {
            others.push(field);
            continue;
        };
        let sql = match rules.params.types.get(field.name()).filter(|_| before.is_empty()) {
            Some(declared) => declared.sql.clone(),
            None => types::sql(field.data_type()).ok_or_else(|| restage(&field))?,
        };
        let had = |column: &Column| types::own_wire(&column.target).is_some_and(|kind| kind.to_string() == before);
        match table.columns.get(field.name()) {
            Some(column) if column.is_of(&sql) => {}
            None if before.is_empty() => alter.push(Alter { column: field.name().clone(), sql, add: true }),
            Some(column) if had(column) => alter.push(Alter { column: field.name().clone(), sql, add: false }),
            _ => return Err(restage(&field)),
        }
        marked.push(Arc::new(field));
    }
    let (wire, _) = wire(&Schema::new(others), Some(table), rules.frozen())?;
    // In the order they were staged in.
    let find = |name: &String| {
        let fields = wire.fields().iter().chain(&marked);
        fields.into_iter().find(|field| field.name() == name).cloned()
    };
    let fields: Vec<FieldRef> = staged.fields().iter().filter_map(|field| find(field.name())).collect();
    Ok((Arc::new(Schema::new(fields)), alter))
}

fn restage(field: &Field) -> WorkerError {
    WorkerError::later(error::SINK_SCHEMA, "rows were staged for other columns than there are")
        .at(format!("column {:?}", field.name()))
        .fix("stage the window again")
}

/// Fails where a load that makes a table of its own has other columns than the view shows, and the policy does not allow it.
pub(super) fn check_frozen(wire: &Schema, view: &Table, params: &Checked, policy: &Policy) -> Result<()> {
    for (column, field) in new_columns(wire, params)?.iter().zip(wire.fields()) {
        match view.columns.get(&column.name) {
            None if policy.new_column == OnChange::Freeze => return Err(new_column(&column.name, field.data_type())),
            Some(known) if policy.type_change == OnChange::Freeze && !known.is_of(&column.sql) => {
                return Err(type_changed(&column.name, field.data_type(), &known.cast));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The columns of a table made for rows of `wire`; a mark is none.
pub(super) fn new_columns(wire: &Schema, params: &Checked) -> Result<Vec<NewColumn>> {
    let column = |field: &FieldRef| {
        let usual = types::sql(field.data_type()).ok_or_else(|| {
            WorkerError::never(error::INTERNAL, format!("a column is staged as {}", field.data_type()))
        })?;
        let declared = params.types.get(field.name()).map(|declared| declared.sql.clone());
        let sql = declared.unwrap_or_else(|| usual.clone());
        let cast = types::copied(field.data_type()) != Some(sql.clone());
        Ok(NewColumn { name: field.name().clone(), sql, cast })
    };
    wire.fields().iter().filter(|field| field.name() != DELETED_COLUMN).map(column).collect()
}

/// Fails where the names of the rows' columns are none of a table, or of this one, whatever the types.
pub(super) fn check_rows(rows: &Schema, table: Option<&Table>, params: &Checked) -> Result<()> {
    check_names(rows)?;
    match table {
        Some(table) => check_needed(rows, table),
        None => check_declared(rows, params),
    }
}

fn check_names(rows: &Schema) -> Result<()> {
    let mut seen = BTreeSet::new();
    let bad =
        |message: String| Err(WorkerError::never(error::SINK_SCHEMA, message).fix("rename the column in a transform"));
    for name in rows.fields().iter().map(|field| field.name()) {
        if !seen.insert(name) {
            return bad(format!("two columns are called {name:?}"));
        }
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            return bad(format!("PostgreSQL has no column called {name:?}"));
        }
        if name.starts_with("_windrow_") {
            return bad(format!("the name {name:?} is taken by windrow"));
        }
    }
    if rows.fields().is_empty() || rows.fields().len() > MOST_COLUMNS {
        return bad(format!("the rows have {}", counted(rows.fields().len(), "column")));
    }
    Ok(())
}

fn check_needed(rows: &Schema, table: &Table) -> Result<()> {
    let lacking = table
        .columns
        .iter()
        .find(|(name, column)| column.needed && name.as_str() != WINDOW_COLUMN && rows.field_with_name(name).is_err());
    match lacking {
        None => Ok(()),
        Some((name, _)) => Err(WorkerError::never(
            error::SINK_SCHEMA,
            format!("the table wants a value for the column {name:?}, which the rows lack"),
        )
        .fix("give the column a value in a transform, or a default in the table")),
    }
}

/// What the pipeline declares must be about columns there are.
fn check_declared(rows: &Schema, params: &Checked) -> Result<()> {
    let named = params.primary_key.iter().chain(params.indexes.iter().flatten()).chain(params.types.keys());
    match named.into_iter().find(|name| rows.field_with_name(name).is_err()) {
        None => Ok(()),
        Some(name) => Err(WorkerError::never(error::SINK_SCHEMA, format!("the rows have no column {name:?}"))
            .fix("correct `primary_key`, `indexes` or `types`, or add the column in a transform")),
    }
}

fn made(field: &Field) -> WorkerError {
    WorkerError::never(
        error::SINK_SCHEMA,
        format!("the table makes the values of the column {:?} itself", field.name()),
    )
    .fix("leave the column out in a transform")
}
