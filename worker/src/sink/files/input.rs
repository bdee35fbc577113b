//! A published Parquet file read in ranges.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{ParquetError, Result},
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use super::objects::Objects;

pub(super) struct Input {
    pub(super) objects: Objects,
    pub(super) path: Path,
    /// The file's size.
    pub(super) bytes: u64,
}

impl AsyncFileReader for Input {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let read = async move { self.objects.get_range(&self.path, range).await };
        read.map(|bytes| bytes.map_err(|cause| ParquetError::External(Box::new(cause)))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let bytes = self.bytes;
        let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        async move { reader.load_and_finish(self, bytes).await.map(Arc::new) }.boxed()
    }
}
