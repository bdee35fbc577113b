//! Ranges of a pinned object for the Parquet reader: every single one is checked to be of the version that was pinned.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, coalesce_ranges};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{ParquetError, Result},
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};
use windrow_common::manifest::Input;

use crate::{
    error::WorkerError,
    source::pin::{changed, path_of, unreadable, verify_meta},
};

/// Bytes of the end that are read first; the footer of most files lies in them.
const FOOTER: usize = 64 * 1024;

/// Reads a pinned object by ranges.
pub(super) struct Ranges {
    store: Arc<dyn ObjectStore>,
    pin: Input,
}

impl Ranges {
    pub(super) fn new(store: Arc<dyn ObjectStore>, pin: &Input) -> Self {
        Self { store, pin: pin.clone() }
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes, WorkerError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let failed = |cause| match cause {
            object_store::Error::NotFound { .. } => changed(&self.pin, "it is gone"),
            cause => unreadable(&self.pin.name, cause),
        };
        let result = self.store.get_opts(&path_of(&self.pin)?, options).await.map_err(failed)?;
        verify_meta(&result.meta, &self.pin)?;
        result.bytes().await.map_err(failed)
    }
}

impl AsyncFileReader for Ranges {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.get(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move {
            let fetched = coalesce_ranges(&ranges, |range| self.get(range), OBJECT_STORE_COALESCE_DEFAULT).await;
            fetched.map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.pin.bytes;
            let mut reader = ParquetMetaDataReader::new()
                .with_metadata_options(options.map(|options| options.metadata_options().clone()))
                .with_prefetch_hint(Some(FOOTER));
            reader.try_load(self, size).await?;
            Ok(Arc::new(reader.finish()?))
        }
        .boxed()
    }
}

fn external(error: WorkerError) -> ParquetError {
    ParquetError::External(Box::new(error))
}
