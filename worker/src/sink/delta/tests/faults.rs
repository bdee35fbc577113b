//! An object store that counts what is asked of it and misbehaves on commits of a log when told to.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is applied, and an error is reported.
    ReplyLost,
    /// It is not applied, and an error is reported.
    Refused,
    /// It is not applied, and is said to exist already: what object_store makes of S3's 409.
    SaidToExist,
}

#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<Vec<Fault>>,
    /// A commit that somebody else makes between the look at the log and the next write to it.
    rival: Mutex<Option<Bytes>>,
    /// Whether creates replace what exists.
    pub(super) forgetful: std::sync::atomic::AtomicBool,
    gets: AtomicU64,
    puts: AtomicU64,
    lists: AtomicU64,
}

/// Requests made so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) gets: u64,
    pub(super) puts: u64,
    pub(super) lists: u64,
}

impl Faulty {
    pub(super) fn over(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            rival: Mutex::default(),
            forgetful: false.into(),
            gets: 0.into(),
            puts: 0.into(),
            lists: 0.into(),
        }
    }

    /// The next commits meet these faults, in order.
    pub(super) fn next(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults.iter().rev());
    }

    /// The next commit finds that somebody else has just taken its version with this text.
    pub(super) fn overtake(&self, text: impl Into<Bytes>) {
        *self.rival.lock().unwrap() = Some(text.into());
    }

    pub(super) fn requests(&self) -> Requests {
        Requests {
            gets: self.gets.load(Ordering::Relaxed),
            puts: self.puts.load(Ordering::Relaxed),
            lists: self.lists.load(Ordering::Relaxed),
        }
    }
}

fn is_commit(path: &Path) -> bool {
    path.as_ref().starts_with("_delta_log/") && path.as_ref().ends_with(".json")
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "the connection broke".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        if self.forgetful.load(Ordering::Relaxed) {
            options.mode = PutMode::Overwrite;
        }
        let rival = if is_commit(location) { self.rival.lock().unwrap().take() } else { None };
        if let Some(rival) = rival {
            self.inner.put_opts(location, rival.into(), PutMode::Create.into()).await?;
        }
        let fault = if is_commit(location) { self.faults.lock().unwrap().pop() } else { None };
        match fault {
            None => self.inner.put_opts(location, payload, options).await,
            Some(Fault::ReplyLost) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(broken())
            }
            Some(Fault::Refused) => Err(broken()),
            Some(Fault::SaidToExist) => {
                Err(Error::AlreadyExists { path: location.to_string(), source: "conflict".into() })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}
