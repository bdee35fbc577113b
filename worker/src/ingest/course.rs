//! In which form a task's rows travel: left as their source wrote them where source and sink are agreed, else as values.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use windrow_common::pipeline::Pipeline;

use super::{Found, check_run, keyed::Keyed, one_by_one};
use crate::{
    error::Result,
    flight::{Hop, Pass},
    session::Assignment,
    source::Source,
    stage::BatchStream,
    transform::{Shape, Transform},
    verbatim::{Verbatim, values_needed},
};

/// See the module.
pub(super) enum Course {
    /// Nothing looks at them.
    Verbatim(Verbatim),
    Values(Box<Values>),
}

/// Rows whose values are looked at.
pub(super) struct Values {
    input: SchemaRef,
    transform: Transform,
    shape: Shape,
    keyed: Option<Keyed>,
}

impl Course {
    /// Of rows of a source that was resolved.
    pub(super) async fn of(
        pipeline: &Pipeline,
        task: &Assignment,
        source: &dyn Source,
        (hop, pass): (&Hop, &Pass),
        transform: Transform,
    ) -> Result<Self> {
        let cursor = pipeline.source.cursor.as_deref();
        match agreed(pipeline, source, (hop, pass)).await? {
            Ok(rows) => {
                let keeps_cursor = cursor.is_some_and(|name| rows.columns.iter().any(|column| column.name == name));
                match task.windows <= 1 || keeps_cursor {
                    true => Ok(Self::Verbatim(rows)),
                    false => {
                        Err(one_by_one(task.windows, "the rows have no cursor, by which a window's are told apart"))
                    }
                }
            }
            Err(why) => {
                tracing::debug!(why, "rows are decoded");
                let input = source.schema().await?;
                let shape = transform.check(input.clone(), cursor).await?;
                check_run(&shape, task.windows)?;
                let keyed = pipeline.sink.upsert.as_ref().map(|upsert| Keyed::of(upsert, &shape.output)).transpose()?;
                Ok(Self::Values(Box::new(Values { input, transform, shape, keyed })))
            }
        }
    }

    pub(super) fn is_verbatim(&self) -> bool {
        matches!(self, Self::Verbatim(_))
    }

    /// Of the rows as they are read.
    pub(super) fn input(&self) -> SchemaRef {
        match self {
            Self::Verbatim(rows) => rows.schema(),
            Self::Values(values) => values.input.clone(),
        }
    }

    /// Of the rows as they are staged.
    pub(super) fn output(&self) -> SchemaRef {
        match self {
            Self::Verbatim(rows) => rows.schema(),
            Self::Values(values) => values.shape.output.clone(),
        }
    }

    /// Whether rows may be read in any parts: nothing looks at more than one.
    pub(super) fn is_row_wise(&self) -> bool {
        match self {
            Self::Verbatim(_) => true,
            Self::Values(values) => values.shape.row_wise,
        }
    }

    /// What becomes of the rows on their way.
    pub(super) async fn apply(self, rows: BatchStream, found: &Arc<Found>) -> Result<BatchStream> {
        let Self::Values(values) = self else { return Ok(rows) };
        let Values { input, transform, keyed, .. } = *values;
        let rows = transform.apply(input, rows).await?;
        Ok(match keyed {
            Some(keyed) => keyed.of_rows(rows, found.clone()),
            None => rows,
        })
    }
}

/// What the rows are if nobody needs their values; why they are decoded if somebody does.
async fn agreed(
    pipeline: &Pipeline,
    source: &dyn Source,
    (hop, pass): (&Hop, &Pass),
) -> Result<Result<Verbatim, String>> {
    if let Some(why) = values_needed(pipeline) {
        return Ok(Err(why.to_owned()));
    }
    let rows = match source.verbatim().await? {
        Ok(rows) => rows,
        Err(why) => return Ok(Err(why)),
    };
    Ok(hop.verbatim(pass, &rows).await?.map_or(Ok(rows), Err))
}
