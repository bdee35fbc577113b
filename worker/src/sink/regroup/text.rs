//! Files of text into one: record by record as they are written, so no value is parsed and none can change. Bytes stream
//! through; one record and one part of an upload are in memory.

use bytes::{BufMut, Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};
use windrow_common::{error, manifest::StagedFile};

use super::{
    digest::Seen,
    group::Bin,
    records::{BYTE_ORDER_MARK, Record, Records},
    write::{Regrouper, check_told, check_written},
};
use crate::{
    error::{Result, WorkerError},
    stage::Upload,
    storage::{Storage, sink_error},
};

/// Bytes that pile up before they are handed to the upload.
const HAND_OVER_BYTES: usize = 1 << 20;

/// What the records of files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Text {
    Lines,
    /// Lines that are JSON objects. Blank ones are no rows.
    Json,
    Csv {
        delimiter: u8,
        header: bool,
    },
}

/// Takes the records of one file after the other, and knows what all of them have to have alike.
struct Reading {
    text: Text,
    /// The first record of the first file, where that names columns, and how many.
    header: Option<(Bytes, usize)>,
    /// Whether it has been written.
    begun: bool,
    seen: Seen,
}

impl Text {
    fn records(self) -> Records {
        match self {
            Self::Lines | Self::Json => Records::new(None),
            Self::Csv { delimiter, .. } => Records::new(Some(delimiter)),
        }
    }
}

/// Writes the records of a bin's files into one.
pub(super) async fn join(regrouper: &Regrouper<'_>, bin: &Bin, text: Text) -> Result<StagedFile> {
    let path = regrouper.place(bin, extension(text))?;
    let location = Path::parse(&path).map_err(|cause| {
        WorkerError::never(error::BAD_VALUE, "this is no path of an object").at(path.clone()).because(cause)
    })?;
    let mut upload = Upload::new(regrouper.storage.objects(), path.clone(), location);
    let mut reading = Reading { text, header: None, begun: false, seen: Seen::default() };
    for member in &bin.files {
        let before = reading.seen.rows;
        let mut out = BytesMut::new();
        let mut records = text.records();
        let mut bytes = open(regrouper.storage, &member.path).await?;
        let here = |cause: WorkerError| cause.at(member.path.clone());
        while let Some(part) = bytes.try_next().await.map_err(|cause| sink_error(cause, &member.path))? {
            let rows = reading.seen.rows;
            records.feed(&part, &mut |record| reading.take(record, &mut out)).map_err(here)?;
            (regrouper.read)(reading.seen.rows - rows);
            if out.len() >= HAND_OVER_BYTES {
                upload.write(out.split().freeze()).await?;
            }
        }
        let rows = reading.seen.rows;
        records.finish(&mut |record| reading.take(record, &mut out)).map_err(here)?;
        (regrouper.read)(reading.seen.rows - rows);
        upload.write(out.freeze()).await?;
        check_told(reading.seen.rows - before, member)?;
    }
    let uploaded = upload.finish().await?;
    check_written(reading.seen, again(regrouper.storage, &path, &reading).await?, &path)?;
    Ok(StagedFile {
        path,
        bytes: uploaded.bytes,
        sha256: uploaded.sha256,
        rows: reading.seen.rows,
        window: bin.told_window(),
        partition: bin.partition.clone(),
        stats: None,
        clustered: None,
    })
}

fn extension(text: Text) -> &'static str {
    match text {
        Text::Lines => "txt",
        Text::Json => "jsonl",
        Text::Csv { .. } => "csv",
    }
}

type Parts = futures::stream::BoxStream<'static, object_store::Result<Bytes>>;

async fn open(storage: &Storage, path: &str) -> Result<Parts> {
    let location = Path::parse(path).map_err(|cause| {
        WorkerError::never(error::BAD_VALUE, "this is no path of an object").at(path.to_owned()).because(cause)
    })?;
    let found = storage.objects().get(&location).await.map_err(|cause| sink_error(cause, path))?;
    Ok(found.into_stream())
}

/// What a reader finds in the written file.
async fn again(storage: &Storage, path: &str, wrote: &Reading) -> Result<Seen> {
    let mut reading = Reading { text: wrote.text, header: wrote.header.clone(), begun: false, seen: Seen::default() };
    let mut records = wrote.text.records();
    let mut bytes = open(storage, path).await?;
    let mut out = BytesMut::new();
    while let Some(part) = bytes.try_next().await.map_err(|cause| sink_error(cause, path))? {
        records.feed(&part, &mut |record| reading.take(record, &mut out))?;
        out.clear();
    }
    records.finish(&mut |record| reading.take(record, &mut out))?;
    Ok(reading.seen)
}

impl Reading {
    /// Writes a record behind the others. The first of a file is its header, where files have one, and is written once.
    fn take(&mut self, mut record: Record<'_>, out: &mut BytesMut) -> Result<()> {
        // In plain lines it may be part of the text.
        if record.number == 1 && self.text != Text::Lines {
            record.bytes = record.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(record.bytes);
        }
        match self.text {
            Text::Lines => {}
            Text::Json if record.bytes.trim_ascii().is_empty() => return Ok(()),
            Text::Json => check_object(record)?,
            Text::Csv { header: true, .. } if record.number == 1 => return self.take_header(record, out),
            Text::Csv { .. } => self.check_fields(record)?,
        }
        self.seen.rows += 1;
        self.seen.sum = self.seen.sum.wrapping_add(digest(record.bytes));
        out.put_slice(record.bytes);
        out.put_u8(b'\n');
        Ok(())
    }

    fn take_header(&mut self, record: Record<'_>, out: &mut BytesMut) -> Result<()> {
        let (header, _) = self.header.get_or_insert_with(|| (Bytes::copy_from_slice(record.bytes), record.fields));
        if header != record.bytes {
            let (first, this) = (String::from_utf8_lossy(header), String::from_utf8_lossy(record.bytes));
            return Err(WorkerError::never(
                error::COMPACTION_UNSUPPORTED,
                format!("files that are to become one name other columns: {}, and {}", short(&first), short(&this)),
            )
            .fix("give files of other columns a folder of their own"));
        }
        if !std::mem::replace(&mut self.begun, true) {
            out.put_slice(record.bytes);
            out.put_u8(b'\n');
        }
        Ok(())
    }

    /// A blank line is as many fields as a reader likes.
    fn check_fields(&self, record: Record<'_>) -> Result<()> {
        let Some((_, expected)) = self.header.as_ref().filter(|_| !record.bytes.is_empty()) else { return Ok(()) };
        if record.fields == *expected {
            return Ok(());
        }
        let message =
            format!("record {} has {} fields, and its file names {expected} columns", record.number, record.fields);
        Err(WorkerError::never(error::ROW_MALFORMED, message)
            .fix("correct the file, or take it out of the folder; nothing was changed"))
    }
}

fn check_object(record: Record<'_>) -> Result<()> {
    let object = record.bytes.trim_ascii_start().first() == Some(&b'{');
    if object && serde_json::from_slice::<IgnoredAny>(record.bytes).is_ok() {
        return Ok(());
    }
    Err(WorkerError::never(error::ROW_MALFORMED, format!("line {} is no JSON object", record.number))
        .fix("write one object a line; a file that is one JSON document cannot become part of another"))
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

/// A record's share of a digest that does not depend on the order of records.
fn digest(record: &[u8]) -> u128 {
    let hash = Sha256::digest(record);
    let mut head = [0; 16];
    head.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(head)
}
