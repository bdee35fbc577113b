//! The source on real files in temporary folders.
#![allow(clippy::unwrap_used)]

use std::{fs, io::Write, path::Path, sync::Arc};

use arrow_array::{Array, RecordBatch};
use arrow_select::concat::concat_batches;
use futures::TryStreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use windrow_common::{pipeline::SourceSpec, window::Axis};

use super::*;
use crate::source::{Chunk, Reject};

mod columns;
mod csv;
mod flights;
mod json;
mod objects;
mod params;
mod parquet;
mod rejects;

/// A folder of input files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(name: &str, content: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.put(name, content);
        folder
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A source over the folder; `params` may hold `cursor`.
    fn source(&self, params: Value) -> Arc<dyn Source> {
        source(self.path(), params)
    }
}

fn source(root: &Path, params: Value) -> Arc<dyn Source> {
    (KIND.build)(&spec(root, params)).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn spec(root: &Path, mut params: Value) -> SourceSpec {
    params["from"] = json!({ "name": "files", "type": "local", "root": root });
    serde_json::from_value(params).unwrap()
}

/// What a window's slices yield.
#[derive(Debug)]
struct Taken {
    rows: RecordBatch,
    rejects: Vec<Reject>,
}

impl Taken {
    /// The rows as CSV without a header, for comparison by eye.
    fn text(&self) -> String {
        let mut text = Vec::new();
        let mut writer = arrow_csv::WriterBuilder::new().with_header(false).with_null("~".to_owned()).build(&mut text);
        writer.write(&self.rows).unwrap();
        drop(writer);
        String::from_utf8(text).unwrap()
    }

    fn column(&self, name: &str) -> &dyn Array {
        self.rows.column_by_name(name).unwrap().as_ref()
    }

    /// Line, code and reason of each reject.
    fn faults(&self) -> Vec<(u64, &str, &str)> {
        self.rejects.iter().map(|reject| (reject.position, reject.code, reject.reason.as_str())).collect()
    }
}

async fn take(source: &Arc<dyn Source>, window: &Window) -> Result<Taken> {
    let slices = source.resolve(window).await?;
    take_slices(source, &slices, window).await
}

async fn take_slices(source: &Arc<dyn Source>, slices: &[Slice], window: &Window) -> Result<Taken> {
    let schema = source.schema().await?;
    let (mut batches, mut rejects) = (Vec::new(), Vec::new());
    for slice in slices {
        let mut stream = source.read(slice, window).await?;
        while let Some(chunk) = stream.try_next().await? {
            match chunk {
                Chunk::Rows(batch) => {
                    assert_eq!(batch.schema(), schema);
                    batches.push(batch);
                }
                Chunk::Rejected(some) => rejects.extend(some),
            }
        }
    }
    Ok(Taken { rows: concat_batches(&schema, &batches).unwrap(), rejects })
}

/// All rows, as a full load reads them.
async fn take_all(source: &Arc<dyn Source>) -> Result<Taken> {
    take(source, &Window::version(1)).await
}

fn window(start: &str, end: &str) -> Window {
    let micros = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
    Window::new(Axis::Time, micros(start), micros(end)).unwrap()
}

fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(content.as_ref(), 1).unwrap()
}
