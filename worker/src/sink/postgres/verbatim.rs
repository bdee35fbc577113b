//! Rows that come as another server wrote them: whether the database takes them so, and in which columns. It does where each column
//! is of the very type that the values were written in, length and precision included.

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use windrow_common::{count::counted, error, schema::OnChange};

use super::{
    PostgresSink,
    change::NewColumn,
    failure::failed,
    layout,
    params::Decode,
    session::Open,
    target::{self, Table},
};
use crate::{
    error::{Result, WorkerError},
    postgres::{self, FORM},
    stage::{Changes, FileFormat, Layout},
    verbatim::{ExactType, Verbatim, VerbatimColumn},
};

/// Since this version an interval may be infinite; to older ones its bytes are a very long one.
const INFINITE_INTERVALS: i32 = 170_000;
/// Types of values that tell a row's window.
const INSTANTS: [&str; 3] = ["timestamp with time zone", "timestamp without time zone", "bigint"];

/// How such rows are staged.
pub(super) fn layout(rows: Verbatim) -> Layout {
    let schema = rows.schema();
    Layout { format: FileFormat::Verbatim(Box::new(rows)), ..layout::layout(schema, Changes::default()) }
}

/// The columns of a table that is made for the rows.
pub(super) fn new_columns(rows: &Verbatim) -> Vec<NewColumn> {
    let column =
        |column: &VerbatimColumn| NewColumn { name: column.name.clone(), sql: column.kind.sql.clone(), cast: false };
    rows.columns.iter().map(column).collect()
}

/// Whether a column of the rows tells instants.
pub(super) fn has_instant(rows: &Verbatim, name: &str) -> bool {
    rows.columns.iter().any(|column| column.name == name && INSTANTS.contains(&column.kind.name.as_str()))
}

impl PostgresSink {
    /// Why the rows have to be decoded, in words; `None` if they go into the table as they are, or into one made for them. What
    /// would not go there decoded either is an error.
    pub(super) async fn misfit(&self, open: &Open, rows: &Verbatim, table: Option<&Table>) -> Result<Option<String>> {
        if self.params.decode == Decode::Always {
            return Ok(Some("`decode: always` says so".to_owned()));
        }
        if rows.form != FORM {
            return Ok(Some(format!("they are in a form of their own, {:?}", rows.form)));
        }
        if self.upsert.is_some() {
            return Ok(Some("rows take each other's places by the values of their keys".to_owned()));
        }
        if let Some(column) = rows.columns.iter().find(|column| self.params.types.contains_key(&column.name)) {
            return Ok(Some(format!("`types` gives the column {:?} another type", column.name)));
        }
        layout::check_rows(&named(rows), table, &self.params)?;
        match table {
            Some(table) => self.misfit_of_table(open, rows, table).await,
            None => self.misfit_of_types(open, rows).await,
        }
    }

    /// The types there are have to be those of the rows.
    async fn misfit_of_types(&self, open: &Open, rows: &Verbatim) -> Result<Option<String>> {
        let kinds: Vec<&ExactType> = rows.columns.iter().map(|column| &column.kind).collect();
        let found = postgres::exact_types_named(open.client(), &kinds).await;
        let found = found.map_err(|cause| failed(cause, open.place()))?;
        for (column, found) in rows.columns.iter().zip(found) {
            let why = match found {
                None => format!("there is no type {}", column.kind.name),
                Some(Err(why)) => why.to_owned(),
                Some(Ok(found)) if found != column.kind => format!("{} is another type here", column.kind.name),
                Some(Ok(_)) => continue,
            };
            return Ok(Some(format!("the column {:?}: {why}", column.name)));
        }
        if let Some(why) = older(rows, open).await? {
            return Ok(Some(why));
        }
        self.misfit_of_view(open, rows).await
    }

    /// The table's columns have to be of the rows' types; one without length and precision takes any.
    async fn misfit_of_table(&self, open: &Open, rows: &Verbatim, table: &Table) -> Result<Option<String>> {
        let (name, error) = (&self.params.name, |cause| failed(cause, open.place()));
        let Some(found) = postgres::relation(open.client(), &name.schema, &name.table).await.map_err(error)? else {
            return Err(
                WorkerError::later(error::SINK_CONFLICT, "the table was dropped a moment ago").at(name.to_string())
            );
        };
        let types = found.columns.iter().map(|column| &column.data_type);
        let exact = postgres::exact_types(open.client(), types).await.map_err(error)?.types;
        for column in &rows.columns {
            let there = found.columns.iter().zip(&exact).find(|(there, _)| there.name == column.name);
            let why = match there {
                None => "the table has no such column".to_owned(),
                Some((_, Err(why))) => (*why).to_owned(),
                Some((there, Ok(exact))) => {
                    let same = exact.name == column.kind.name && exact.definition == column.kind.definition;
                    let fits = exact.modifier == column.kind.modifier || exact.modifier == -1;
                    match (same && fits, table.columns.get(&there.name).is_some_and(|column| column.made)) {
                        (true, false) => continue,
                        (true, true) => "the table makes its values itself".to_owned(),
                        (false, _) => format!("it is {} at the source and {} in the table", column.kind.sql, exact.sql),
                    }
                }
            };
            return Ok(Some(format!("the column {:?}: {why}", column.name)));
        }
        older(rows, open).await
    }

    /// Where the columns that the view shows may not change, the rows' have to be those.
    async fn misfit_of_view(&self, open: &Open, rows: &Verbatim) -> Result<Option<String>> {
        if ![self.policy.new_column, self.policy.type_change].contains(&OnChange::Freeze) {
            return Ok(None);
        }
        let Some(view) = target::read(open.client(), &self.params.name, open.place()).await? else { return Ok(None) };
        let differs = |column: &&VerbatimColumn| {
            view.columns.get(&column.name).is_none_or(|known| !known.is_of(&column.kind.sql))
        };
        let found = rows.columns.iter().find(differs);
        Ok(found
            .map(|column| format!("the column {:?} is not as the view has it, and the policy is to look", column.name)))
    }
}

/// The names of the columns, whatever their types.
fn named(rows: &Verbatim) -> Schema {
    let field = |column: &VerbatimColumn| Field::new(&column.name, DataType::Null, true);
    Schema::new(rows.columns.iter().map(field).collect::<Vec<_>>())
}

/// Of the server that is asked.
const VERSION: &str = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4";

/// What a server of another version would take for something else.
async fn older(rows: &Verbatim, open: &Open) -> Result<Option<String>> {
    let interval = |column: &&VerbatimColumn| column.kind.name.starts_with("interval");
    let Some(column) = rows.columns.iter().find(interval).filter(|_| rows.server >= INFINITE_INTERVALS) else {
        return Ok(None);
    };
    let here = open.client().query_one(VERSION, &[]).await.and_then(|row| row.try_get::<_, i32>(0));
    let here = here.map_err(|cause| failed(cause, open.place()))?;
    let message =
        || format!("the column {:?}: an infinite interval is another value to this older server", column.name);
    Ok((here < INFINITE_INTERVALS).then(message))
}

/// Rows are decoded, and the pipeline says that they must not be.
pub(super) fn check_decoded(decode: Decode, rows: &SchemaRef) -> Result<()> {
    if decode != Decode::Never {
        return Ok(());
    }
    let message = format!("`decode: never`, and rows of {} come decoded", counted(rows.fields().len(), "column"));
    Err(WorkerError::never(error::NOT_VERBATIM, message)
        .fix("`windrow plan` says why they are decoded; change that, or remove `decode`"))
}
