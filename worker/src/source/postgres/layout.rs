//! The columns a source has: which of the relation's or query's, under which arrow types, and how they are asked for.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use windrow_common::error;

use super::{
    params::{Config, Override, What},
    preflight, verbatim,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{
        self, Class, Column, Session,
        copy::{Form, Special},
        identifier, literal, source_error,
    },
    verbatim::Verbatim,
};

/// `timestamp without time zone`.
pub(super) const TIMESTAMP: u32 = 1114;

/// The columns of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) columns: Vec<Chosen>,
    pub(super) schema: SchemaRef,
    /// Of everything above: whether two layouts are one.
    pub(super) digest: String,
    /// The rows as the server itself writes them, or why they have to be decoded.
    pub(super) verbatim: Result<Verbatim, String>,
}

/// A column that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) column: Column,
    pub(super) form: Form,
    /// What is selected for it.
    pub(super) expression: String,
}

impl Layout {
    /// As the database has it now. Fails with what the session lacks to read it.
    pub(super) async fn find(session: &Session, config: &Config) -> Result<Self> {
        let failed = |cause| source_error(cause, session.place());
        let columns = match &config.what {
            What::Table { schema, name } => {
                let found = postgres::relation(session.client(), schema, name).await.map_err(failed)?;
                let found = preflight::readable(session, found, (schema, name), config).await?;
                found.columns
            }
            What::Query(query) => {
                let query = format!("SELECT * FROM ({query}\n) AS windrow_query");
                postgres::columns_of_query(session.client(), &query).await.map_err(failed)?
            }
        };
        let types = columns.iter().map(|column| &column.data_type);
        let postgres::ExactTypes { server, types } =
            postgres::exact_types(session.client(), types).await.map_err(failed)?;
        let exact = columns.iter().map(|column| column.name.clone()).zip(types).collect();
        let layout = Self::of(columns, config);
        let layout = layout.map_err(|error| error.at(format!("{} of {}", config.what.name(), session.place())))?;
        let verbatim = verbatim::of(&layout.columns, exact, config);
        Ok(Self { verbatim: verbatim.map(|columns| verbatim::rows(columns, server)), ..layout })
    }

    fn of(all: Vec<Column>, config: &Config) -> Result<Self> {
        let columns = chosen(all, config)?;
        let columns = columns.into_iter().map(|column| choose(column, config)).collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().map(|chosen| {
            let nullable = chosen.column.nullable || (config.special() == Special::Null && chosen.form.has_special());
            Field::new(&chosen.column.name, chosen.form.data_type(), nullable)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let digest = blake3::hash(format!("{columns:?}").as_bytes()).to_hex();
        Ok(Self {
            digest: digest[..16].to_owned(),
            columns,
            schema,
            verbatim: Err("nobody asked the server".to_owned()),
        })
    }

    pub(super) fn column(&self, name: &str) -> Option<&Chosen> {
        self.columns.iter().find(|chosen| chosen.column.name == name)
    }
}

/// The columns that are asked for, each once and by a name that is there.
fn chosen(all: Vec<Column>, config: &Config) -> Result<Vec<Column>> {
    let missing = |name: &str, code, key: &str| {
        let known = all.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        WorkerError::never(code, format!("there is no column {name:?}; there are {known}"))
            .fix(format!("correct `{key}`"))
    };
    let has = |name: &str| all.iter().any(|column| column.name == name);
    if let Some(cursor) = config.cursor.as_deref().filter(|cursor| !has(cursor)) {
        return Err(missing(cursor, error::CURSOR_MISSING, "cursor"));
    }
    if let Some(name) = config.overrides.keys().find(|name| !has(name)) {
        return Err(missing(name, error::SCHEMA_MISMATCH, "schema"));
    }
    let Some(names) = &config.columns else {
        return match all.iter().enumerate().find(|(at, column)| all[..*at].iter().any(|one| one.name == column.name)) {
            None => Ok(all),
            Some((_, twice)) => {
                Err(WorkerError::never(error::SCHEMA_MISMATCH, format!("the query has two columns {:?}", twice.name))
                    .fix("give each a name of its own with AS"))
            }
        };
    };
    let find = |name: &String| {
        let found = all.iter().find(|column| column.name == *name).cloned();
        found.ok_or_else(|| missing(name, error::SCHEMA_MISMATCH, "columns"))
    };
    names.iter().map(find).collect()
}

fn choose(column: Column, config: &Config) -> Result<Chosen> {
    let name = identifier(&column.name);
    let is_cursor = config.cursor.as_deref() == Some(column.name.as_str());
    let zone = if is_cursor { config.cursor_zone.as_ref() } else { config.zone.as_ref() };
    let own = Form::of(&column.data_type);
    let (form, expression) = match (config.overrides.get(&column.name), own) {
        (Some(Override::Decimal { precision, scale }), Some(Form::Decimal { .. } | Form::NumericText)) => {
            (Form::Decimal { precision: *precision, scale: *scale }, name)
        }
        (Some(Override::Decimal { .. }), _) => {
            let message = format!("the column {:?} is of type {}, no numeric", column.name, column.data_type.name);
            return Err(
                WorkerError::never(error::SCHEMA_MISMATCH, message).fix("correct `schema`, or cast it in `query`")
            );
        }
        (Some(Override::Text), _) if is_cursor => {
            let message = format!("the cursor column {:?} cannot be read as text", column.name);
            return Err(WorkerError::never(error::CURSOR_MISSING, message).fix("remove it from `schema`"));
        }
        // Of what becomes text anyway the decoder's text is that of the server.
        (Some(Override::Text), Some(form))
            if form.data_type() == Form::Text.data_type() && form != Form::NumericText =>
        {
            (form, name)
        }
        (Some(Override::Text), Some(Form::Decimal { .. } | Form::NumericText)) => (Form::NumericText, name),
        (Some(Override::Text), _) => (Form::Text, format!("{name}::pg_catalog.text")),
        (None, Some(Form::Timestamp { utc: false })) if column.data_type.oid == TIMESTAMP && zone.is_some() => {
            let zone = literal(zone.map_or("UTC", String::as_str));
            (Form::Timestamp { utc: true }, format!("({name} AT TIME ZONE {zone})"))
        }
        (None, Some(form)) => (form, name),
        (None, None) if matches!(column.data_type.class, Class::Array(_)) => {
            (Form::List(Box::new(Form::Text)), format!("{name}::pg_catalog.text[]"))
        }
        (None, None) => (Form::Text, format!("{name}::pg_catalog.text")),
    };
    Ok(Chosen { column, form, expression })
}

#[cfg(test)]
pub(super) fn of_columns(all: Vec<Column>, config: &Config) -> Result<Layout> {
    Layout::of(all, config)
}
