//! What every column becomes on its way from source to sink, and what is lost, before anything runs.

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::{Field, Schema};
use serde::Serialize;
use windrow_common::{pipeline::Pipeline, task::Retry, upsert::DELETED_COLUMN};
use windrow_worker::{
    error::{Outcome, WorkerError},
    mapping::{Loss, Origin, Stored, TableChange},
    sink::{self, Sink},
    source::{self, Source},
    transform::{Transform, TransformLimits},
    verbatim::{Verbatim, VerbatimColumn, values_needed},
};

use crate::show::{Style, table::table};

/// A column of the rows.
#[derive(Debug, Serialize)]
pub(super) struct Column {
    name: String,
    /// Its type in the source's words; `(computed)` where a transform makes it.
    source: String,
    /// Its arrow type in the rows, if their values are decoded.
    rows: String,
    /// Its type in the sink's words.
    sink: Option<String>,
    /// What becomes of the table for it.
    change: Option<TableChange>,
    losses: Vec<Lost>,
    /// Why it cannot be written.
    pub(super) error: Option<Refused>,
}

/// Something lost.
#[derive(Debug, Serialize)]
struct Lost {
    loss: Loss,
    what: &'static str,
}

/// Why a column has no place in the sink.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    code: &'static str,
    message: String,
    fix: Option<String>,
}

/// What becomes of a pipeline's rows.
pub(super) struct Mapping {
    pub(super) columns: Vec<Column>,
    /// Why the sink refuses them together, if it does.
    pub(super) refused: Option<String>,
    /// Why their values are decoded; `None` if they travel as they are.
    pub(super) decoded: Option<String>,
}

/// What becomes of the rows; the reason in words if it cannot be told.
pub(super) async fn of(pipeline: &Pipeline) -> Result<Mapping, String> {
    let params =
        |errors: Vec<source::ParamError>| errors.first().map(|error| error.message.clone()).unwrap_or_default();
    let kind = source::find(&pipeline.source).ok_or("no source serves the connection")?;
    let source = (kind.build)(&pipeline.source).map_err(params)?;
    let input = source.schema().await.map_err(in_words)?;
    let origins = source.origins().await.map_err(in_words)?;
    let sink_kind = sink::find(&pipeline.sink).ok_or("no sink writes the format")?;
    let sink = (sink_kind.build)(pipeline).map_err(params)?;
    let decoded = match agreed(pipeline, source.as_ref(), sink.as_ref()).await {
        Err(error) if error.outcome() == Outcome::Failed(Retry::Never) => {
            let decoded = Some(error.to_string());
            return Ok(Mapping { columns: Vec::new(), refused: Some(in_words(error)), decoded });
        }
        Err(error) => return Err(in_words(error)),
        Ok(Ok(rows)) => {
            let refused = never(sink.layout(rows.schema()).await.err());
            return Ok(Mapping { columns: as_they_are(&origins, &rows), refused, decoded: None });
        }
        Ok(Err(why)) => Some(why),
    };
    let limits = TransformLimits { memory: pipeline.limits.memory, spill: None };
    let deleted = pipeline.sink.upsert.as_ref().and_then(|upsert| upsert.deleted.as_deref());
    let transform = Transform::new(&pipeline.transform, limits).marking(deleted);
    let rows = transform.check(input, pipeline.source.cursor.as_deref()).await.map_err(in_words)?.output;
    // A mark of deletion is no column of the sink's.
    let own = rows.fields().iter().filter(|field| field.name() != DELETED_COLUMN).cloned();
    let own = Arc::new(Schema::new(own.collect::<Vec<_>>()));
    let stored = sink.stored(own.clone()).await.map_err(in_words)?;
    let columns = columns(&origins, &own, stored);
    let refused = match columns.iter().any(|column| column.error.is_some()) {
        true => None,
        false => sink.layout(rows).await.err(),
    };
    Ok(Mapping { columns, refused: never(refused), decoded })
}

/// Whoever cannot be reached now may be later.
fn never(refused: Option<WorkerError>) -> Option<String> {
    refused.filter(|error| error.outcome() == Outcome::Failed(Retry::Never)).map(in_words)
}

/// As a task finds out whether rows travel as they are.
async fn agreed(
    pipeline: &Pipeline,
    source: &dyn Source,
    sink: &dyn Sink,
) -> Result<Result<Verbatim, String>, WorkerError> {
    if let Some(why) = values_needed(pipeline) {
        return Ok(Err(why.to_owned()));
    }
    let rows = match source.verbatim().await? {
        Ok(rows) => rows,
        Err(why) => return Ok(Err(why)),
    };
    Ok(sink.verbatim(&rows).await?.map_or(Ok(rows), Err))
}

/// Columns whose values nobody looks at: what is lost is what was said of the column, not of its values.
fn as_they_are(origins: &[Origin], rows: &Verbatim) -> Vec<Column> {
    let column = |column: &VerbatimColumn| {
        let origin = origins.iter().find(|origin| origin.column == column.name);
        let rules = origin.is_some_and(|origin| origin.losses.contains(&Loss::DomainRules));
        Column {
            name: column.name.clone(),
            source: origin.map_or_else(|| column.kind.sql.clone(), |origin| origin.kind.clone()),
            rows: "as it is".to_owned(),
            sink: Some(column.kind.sql.clone()),
            change: None,
            losses: rules
                .then(|| Lost { loss: Loss::DomainRules, what: Loss::DomainRules.text() })
                .into_iter()
                .collect(),
            error: None,
        }
    };
    rows.columns.iter().map(column).collect()
}

fn in_words(error: WorkerError) -> String {
    let fix = error.fix_text().map(|fix| format!("; {fix}")).unwrap_or_default();
    format!("{error}{fix} [{}]", error.code())
}

fn columns(origins: &[Origin], rows: &Schema, stored: Vec<Result<Stored, WorkerError>>) -> Vec<Column> {
    let column = |(field, stored): (&Arc<Field>, Result<Stored, WorkerError>)| {
        let origin = origins.iter().find(|origin| origin.column == *field.name());
        let (stored, error) = match stored {
            Ok(stored) => (Some(stored), None),
            Err(error) => (None, Some(error)),
        };
        let mut losses: Vec<Loss> = origin.map(|origin| origin.losses.clone()).unwrap_or_default();
        losses.extend(stored.iter().flat_map(|stored| &stored.losses));
        losses.sort_unstable();
        losses.dedup();
        Column {
            name: field.name().clone(),
            source: origin.map_or_else(|| "(computed)".to_owned(), |origin| origin.kind.clone()),
            rows: field.data_type().to_string(),
            change: stored.as_ref().and_then(|stored| stored.change),
            sink: stored.map(|stored| stored.kind),
            losses: losses.into_iter().map(|loss| Lost { loss, what: loss.text() }).collect(),
            error: error.map(|error| Refused {
                code: error.code().code,
                message: error.to_string(),
                fix: error.fix_text().map(str::to_owned),
            }),
        }
    };
    rows.fields().iter().zip(stored).map(column).collect()
}

/// A table for people; below it what is lost, in words, and what cannot be written.
pub(super) fn render(columns: &[Column], style: Style) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let row = |column: &Column| {
        let name = format!("  {}", column.name);
        vec![name, column.source.clone(), column.rows.clone(), column.sink.clone().unwrap_or_default(), note(column)]
    };
    let mut text = table(&["  COLUMN", "SOURCE", "ROWS", "SINK", ""], columns.iter().map(row));
    let mut lost: BTreeMap<Loss, Vec<&str>> = BTreeMap::new();
    for column in columns {
        column.losses.iter().for_each(|one| lost.entry(one.loss).or_default().push(&column.name));
    }
    if !lost.is_empty() {
        text.push_str(&format!("  {}\n", style.yellow("lost on the way:")));
    }
    for (loss, names) in lost {
        text.push_str(&format!("    {}: {}\n", names.join(", "), loss.text()));
    }
    for column in columns {
        let Some(error) = &column.error else { continue };
        text.push_str(&format!("  {}: {}\n", style.red(format!("error[{}]", error.code)), error.message));
        if let Some(fix) = &error.fix {
            text.push_str(&format!("    fix: {fix}\n"));
        }
    }
    text
}

fn note(column: &Column) -> String {
    let change = column.change.map(|change| match change {
        TableChange::Added => "is added to the table",
        TableChange::Changed => "gets this type in the table",
        TableChange::LeftOut => "is not in the table: its values are discarded",
        TableChange::Kept => "keeps this type: values that do not fit are discarded",
    });
    let lossy = (!column.losses.is_empty()).then_some("loses something");
    let refused = column.error.as_ref().map(|_| "cannot be written");
    [change, lossy, refused].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;
    use windrow_common::error;

    use super::*;

    #[test]
    fn losses_and_refusals_stand_below_the_table() {
        let origin = |column: &str, kind: &str, losses: Vec<Loss>| Origin {
            column: column.to_owned(),
            kind: kind.to_owned(),
            losses,
        };
        let origins = [
            origin("id", "bigint", vec![]),
            origin("price", "numeric", vec![Loss::NumberAsText]),
            origin("stay", "interval", vec![]),
        ];
        let rows = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("price", DataType::Utf8, true),
            Field::new("twice", DataType::UInt8, true),
            Field::new("stay", DataType::Utf8, true),
        ]);
        let stored = |kind: &str, change, losses| Ok(Stored { kind: kind.to_owned(), change, losses });
        let refused = WorkerError::never(error::SINK_UNSUPPORTED_TYPE, "no form").at("column \"stay\"").fix("cast it");
        let columns = columns(
            &origins,
            &rows,
            vec![
                stored("long", None, vec![]),
                stored("string", Some(TableChange::Added), vec![]),
                stored("short", None, vec![Loss::Unsigned]),
                Err(refused),
            ],
        );
        let expected = "  COLUMN  SOURCE      ROWS   SINK\n\
                        \x20 id      bigint      Int64  long\n\
                        \x20 price   numeric     Utf8   string  is added to the table; loses something\n\
                        \x20 twice   (computed)  UInt8  short   loses something\n\
                        \x20 stay    interval    Utf8           cannot be written\n\
                        \x20 lost on the way:\n\
                        \x20   price: a number of any size becomes text, which neither adds up nor sorts as a number\n\
                        \x20   twice: an unsigned number becomes a wider signed one: nothing keeps it from being negative later\n\
                        \x20 error[WR-K005]: no form (column \"stay\")\n\
                        \x20   fix: cast it\n";
        assert_eq!(render(&columns, Style::plain()), expected);
        let json = serde_json::to_value(&columns).unwrap_or_default();
        assert_eq!(json[1]["change"], "added");
        assert_eq!(json[1]["losses"][0]["loss"], "number_as_text");
        assert_eq!(json[3]["error"]["code"], "WR-K005");
    }
}
