//! Reading: one COPY out of one snapshot, decoded or cut into rows as it comes.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio_postgres::CopyOutStream;
use windrow_common::{
    count::{counted, either},
    error,
    window::{Axis, Window},
};

use super::{
    changed,
    cut::Part,
    desk::Desk,
    layout::Layout,
    params::Config,
    select::{self, Values},
};
use crate::{
    error::{Result, WorkerError},
    postgres::{
        Session,
        copy::{Decoder, Flawed, Framer, Limits, StreamError},
        source_error,
    },
    source::{Chunk, MAX_REJECT_BYTES, Reject, RowStream},
};

/// Rows without a cursor are counted up to here.
const MOST_COUNTED: u32 = 10_000;
/// Nothing of the transaction outlives it, and none of its statements writes.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What is read.
#[derive(Clone, Copy)]
pub(super) struct What<'a> {
    /// For people.
    pub(super) input: &'a str,
    pub(super) window: &'a Window,
    pub(super) part: Option<&'a Part>,
    pub(super) values: Values,
}

/// Begins the transaction that is read in, for a shard as of the moment it was cut.
pub(super) async fn begin(session: &Session, part: Option<&Part>) -> Result<()> {
    session.client().batch_execute(BEGIN).await.map_err(|cause| source_error(cause, session.place()))?;
    match part {
        Some(part) => part.import(session).await,
        None => Ok(()),
    }
}

/// The rows, in the transaction that the session has begun. It is the stream's from now on: whoever drops the stream ends the
/// COPY. When it has come to its end, the session goes to `keep`, if others read from its snapshot.
pub(super) async fn read(
    session: Session,
    config: &Config,
    layout: Arc<Layout>,
    What { input, window, part, values }: What<'_>,
    keep: Option<Arc<Desk>>,
) -> Result<RowStream> {
    let place = input.to_owned();
    let failed = |cause| source_error(cause, &place);
    let found = Layout::find(&session, config).await?;
    if found.digest != layout.digest || values == Values::AsTheyAre && found.verbatim != layout.verbatim {
        return Err(changed(input));
    }
    if window.axis() == Axis::Time
        && let Some(count) = select::count_null_cursors(&layout, config, MOST_COUNTED)
    {
        let count: i64 =
            session.client().query_one(&count, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
        refuse_null_cursors(count, config, input)?;
    }
    let statement = select::copy((&layout, values), config, window, part)?;
    let taking = match (values, &layout.verbatim) {
        (Values::AsTheyAre, Ok(rows)) => {
            Taking::AsTheyAre(Framer::new(rows.schema(), layout.columns.len(), Limits::default()))
        }
        (Values::AsTheyAre, Err(why)) => return Err(WorkerError::later(error::NOT_VERBATIM, why.clone()).at(input)),
        (Values::Decoded, _) => Taking::Decoded(Box::new(decoder(&layout, config, window))),
    };
    let mut session = session;
    session.set_busy(true);
    let copy = session.client().copy_out(&statement).await.map_err(failed)?;
    let reading = Reading {
        copy: Box::pin(copy),
        session: Some(session),
        keep,
        taking,
        chunk: Bytes::new(),
        ready: VecDeque::new(),
        ended: false,
        input: place,
    };
    Ok(stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed())
}

fn decoder(layout: &Layout, config: &Config, window: &Window) -> Decoder {
    let cursor = config.cursor.as_deref().filter(|_| window.axis() == Axis::Time);
    let cursor = cursor.and_then(|name| layout.columns.iter().position(|chosen| chosen.column.name == name));
    let forms = layout.columns.iter().map(|chosen| chosen.form.clone()).collect();
    Decoder::new(layout.schema.clone(), forms, config.special(), Limits::default())
        .with_cursor(cursor)
        .showing(MAX_REJECT_BYTES)
}

fn refuse_null_cursors(count: i64, config: &Config, input: &str) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let cursor = config.cursor.as_deref().unwrap_or_default();
    let rows = match count >= i64::from(MOST_COUNTED) {
        true => format!("{count} or more rows"),
        false => counted(count, "row"),
    };
    let belong = either(count, "belongs", "belong");
    let message = format!("the cursor {cursor:?} is null in {rows}, which {belong} to no window");
    Err(WorkerError::never(error::CURSOR_MISSING, message).at(input).fix(
        "give them a value and the column NOT NULL, or say what is to become of them: `null_cursor: reject` or `ignore`",
    ))
}

/// A COPY under way.
struct Reading {
    copy: Pin<Box<CopyOutStream>>,
    /// Cut off when it is dropped, unless it is kept.
    session: Option<Session>,
    keep: Option<Arc<Desk>>,
    taking: Taking,
    /// What was not taken yet.
    chunk: Bytes,
    /// What was taken and not given out yet.
    ready: VecDeque<Chunk>,
    ended: bool,
    input: String,
}

/// What becomes of the rows.
enum Taking {
    Decoded(Box<Decoder>),
    AsTheyAre(Framer),
}

impl Taking {
    fn feed(&mut self, chunk: &mut &[u8]) -> Result<bool, StreamError> {
        match self {
            Self::Decoded(decoder) => decoder.feed(chunk),
            Self::AsTheyAre(framer) => framer.feed(chunk),
        }
    }

    fn take(&mut self) -> Result<(RecordBatch, Vec<Flawed>), ArrowError> {
        match self {
            Self::Decoded(decoder) => decoder.take(),
            Self::AsTheyAre(framer) => Ok((framer.take()?, Vec::new())),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Decoded(decoder) => decoder.rows(),
            Self::AsTheyAre(framer) => framer.rows(),
        }
    }

    fn finish(&self) -> Result<(), StreamError> {
        match self {
            Self::Decoded(decoder) => decoder.finish(),
            Self::AsTheyAre(framer) => framer.finish(),
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if self.ended {
                return Ok(None);
            }
            if self.feed()? {
                self.take()?;
                continue;
            }
            match self.copy.next().await {
                Some(chunk) => self.chunk = chunk.map_err(|cause| source_error(cause, &self.input))?,
                None => self.end()?,
            }
        }
    }

    /// Whether a batch is full.
    fn feed(&mut self) -> Result<bool> {
        let mut rest = &self.chunk[..];
        let full = self.taking.feed(&mut rest).map_err(|cause| self.broken(cause))?;
        let left = rest.len();
        let taken = self.chunk.len() - left;
        self.chunk = self.chunk.slice(taken..);
        Ok(full)
    }

    fn take(&mut self) -> Result<()> {
        let (rows, flawed) = self.taking.take().map_err(|cause| {
            WorkerError::never(error::INTERNAL, "the rows could not be put together").at(&self.input).because(cause)
        })?;
        if !flawed.is_empty() {
            self.ready.push_back(Chunk::Rejected(flawed.into_iter().map(|flawed| self.reject(flawed)).collect()));
        }
        if rows.num_rows() > 0 {
            self.ready.push_back(Chunk::Rows(rows));
        }
        Ok(())
    }

    /// Takes the last rows; that they are the last, the stream itself has to say.
    fn end(&mut self) -> Result<()> {
        self.taking.finish().map_err(|cause| self.broken(cause))?;
        self.ended = true;
        if let Some(mut session) = self.session.take() {
            session.set_busy(false);
            if let Some(desk) = self.keep.take() {
                desk.keep(session);
            }
        }
        match self.taking.rows() {
            0 => Ok(()),
            _ => self.take(),
        }
    }

    fn reject(&self, flawed: Flawed) -> Reject {
        Reject {
            input: self.input.clone(),
            position: flawed.position,
            code: flawed.flaw.code.code,
            reason: flawed.flaw.reason,
            raw: flawed.raw,
        }
    }

    fn broken(&self, cause: StreamError) -> WorkerError {
        let error = match cause {
            StreamError::TooLong(_) => WorkerError::never(error::INPUT_TOO_LARGE, "a row is too long")
                .fix("leave its longest column out by `columns`, or cut it in `query`"),
            _ => WorkerError::later(error::SOURCE_UNREADABLE, "the database's answer cannot be read"),
        };
        error.at(&self.input).because(cause)
    }
}
