//! Reading an object on a thread of its own: bytes to rows to batches, into a bounded channel. The stream that comes
//! out fails if the thread did, or if the object is not what was pinned any more.

use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::ObjectStore;
use tokio::{sync::mpsc, task::spawn_blocking};
use windrow_common::{error, manifest::Input, window::Window};

use super::{
    bytes::{self, Content, Opened},
    csv::CsvReader,
    cursor::Cursor,
    emit::{AHEAD, Emitter, received},
    format::{Compression, Csv, Format},
    json::JsonReader,
    layout::{self, Layout, no_header},
    lines::LineReader,
    params::{Config, ReadLimits},
    pin,
    reader::RowReader,
    rows::PARSE_ROWS,
    table::Table,
    types::Column,
};
use crate::{
    error::{Result, WorkerError},
    source::{Chunk, RowStream},
};

/// All a thread needs to read one object.
struct TextJob {
    format: Format,
    compression: Compression,
    limits: ReadLimits,
    /// The fields of a row.
    columns: Arc<[Column]>,
    /// Whether a JSON key that is no column is a fault.
    strict: bool,
    table: Table,
}

/// The rows of a text object that lie in the window.
pub(super) async fn read_text(
    store: &dyn ObjectStore,
    pin: &Input,
    config: &Config,
    layout: &Layout,
    window: &Window,
) -> Result<RowStream> {
    let cursor = Cursor::of_text(config.cursor.as_deref(), &layout.columns, config.cursor_zone.as_ref(), window)?;
    let job = TextJob {
        format: config.format,
        compression: config.compression.unwrap_or_else(|| Compression::of(&pin.name)),
        limits: config.limits,
        columns: layout.fields(),
        strict: layout.inferred,
        table: Table::new(layout.columns.clone(), layout::nulls(config), cursor),
    };
    let opened = bytes::open(store, pin).await?;
    let (send, receive) = mpsc::channel(AHEAD);
    let thread = spawn_blocking(move || job.run(opened, send));
    Ok(received(receive, thread))
}

impl TextJob {
    fn run(self, opened: Opened, send: mpsc::Sender<Chunk>) -> Result<()> {
        let mut out = Emitter::new(opened.name(), self.table.schema().clone(), send);
        let mut content = opened.decompress(self.compression, self.limits)?;
        match self.format {
            Format::Csv(csv) => {
                let reader = self.csv_reader(csv, &mut content)?;
                self.pump(reader, &mut content, &mut out)?;
            }
            Format::Json => {
                let names = self.columns.iter().map(|column| column.name.as_str());
                self.pump(JsonReader::new(names, self.strict, self.limits.line), &mut content, &mut out)?;
            }
            Format::Text => self.pump(LineReader::new(self.limits.line, false), &mut content, &mut out)?,
            Format::Parquet => {
                return Err(WorkerError::never(error::INTERNAL, "parquet is no text").at(content.name()));
            }
        }
        out.finish()
    }

    fn pump(&self, mut reader: impl RowReader, content: &mut Content, out: &mut Emitter) -> Result<()> {
        while let Some(rows) = reader.next(content, PARSE_ROWS)? {
            self.table.take(&rows, out)?;
        }
        Ok(())
    }

    /// A reader behind the header, which has to name the columns.
    fn csv_reader(&self, csv: Csv, content: &mut Content) -> Result<CsvReader> {
        let mut reader = CsvReader::new(csv, self.limits.line);
        let fields = self.columns.len();
        let order = if csv.header {
            let header = reader.header(content)?.ok_or_else(|| no_header(content))?;
            layout::order(&header, &self.columns).map_err(|error| error.at(content.name()))?
        } else {
            (0..fields).collect()
        };
        reader.bind(fields, order);
        Ok(reader)
    }
}

/// The rows, and an error in place of their end if the object has changed. An error on the way, too, is taken for the
/// change's doing: a file that is being written again looks damaged.
pub(super) fn guarded(rows: RowStream, store: Arc<dyn ObjectStore>, pin: Input) -> RowStream {
    stream::unfold(Some((rows, store, pin)), |state| async {
        let (mut rows, store, pin) = state?;
        match rows.next().await {
            Some(Ok(chunk)) => Some((Ok(chunk), Some((rows, store, pin)))),
            Some(Err(error)) => Some((Err(pin::verify(store.as_ref(), &pin).await.err().unwrap_or(error)), None)),
            None => pin::verify(store.as_ref(), &pin).await.err().map(|changed| (Err(changed), None)),
        }
    })
    .boxed()
}
