//! Replies that are lost, answers that lie, and stores that cannot do what is asked: the log decides, not the answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult, path::Path,
};
use windrow_common::error;

use super::*;

/// What goes wrong on log entries and copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The create is done and the reply says it failed.
    LostReply,
    /// The create is done, tried again by the client, and so answered "exists".
    OwnEcho,
    /// "Exists" though nothing does, as S3's 409 is mapped.
    FalseExists,
    /// Creates overwrite.
    NoConditionalPuts,
    /// No copy-if-absent, as on plain S3.
    NoConditionalCopies,
    /// Copies fail for a while.
    FailingCopies,
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    left: AtomicUsize,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({:?})", self.fault)
    }
}

impl Faulty {
    fn strikes(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

fn generic() -> Error {
    Error::Generic { store: "faulty", source: "reply lost".into() }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "faulty".into() }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> StoreResult<PutResult> {
        let on_log = path.as_ref().contains("_windrow/log/") && options.mode == PutMode::Create;
        if self.fault == Fault::NoConditionalPuts {
            options.mode = PutMode::Overwrite;
        }
        if !on_log || !matches!(self.fault, Fault::LostReply | Fault::OwnEcho | Fault::FalseExists) || !self.strikes() {
            return self.inner.put_opts(path, payload, options).await;
        }
        match self.fault {
            Fault::FalseExists => Err(exists(path)),
            fault => {
                self.inner.put_opts(path, payload, options).await?;
                Err(if fault == Fault::OwnEcho { exists(path) } else { generic() })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        match self.fault {
            Fault::FailingCopies if self.strikes() => Err(generic()),
            Fault::NoConditionalCopies if options.mode == object_store::CopyMode::Create => {
                Err(Error::NotImplemented { operation: "copy".to_owned(), implementer: "faulty".to_owned() })
            }
            _ => self.inner.copy_opts(from, to, options).await,
        }
    }
}

/// The sink with its log behind a faulty store.
fn faulty(place: &Place, fault: Fault, times: usize) -> FilesSink {
    let inner = Arc::clone(place.storage.objects());
    let objects = Arc::new(Faulty { inner, fault, left: AtomicUsize::new(times) });
    FilesSink {
        log: log::Log::new(Storage::over(objects, place.storage.url().clone())),
        storage: place.storage.clone(),
        settings: settings(),
        clock: Arc::new(SystemClock::new()),
        later: 0,
    }
}

async fn first_intent(sink: &FilesSink) -> (IntentBody, Digest) {
    let task = sealed(sink, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
    intent(sink, 1, None, vec![task]).await
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_is_found_done() {
    let place = Place::new();
    let sink = faulty(&place, Fault::LostReply, 1);
    let (body, digest) = first_intent(&sink).await;
    let error = sink.commit(&body, &digest).await.unwrap_err();
    assert_eq!(error.code(), error::SINK_UNREACHABLE);
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
    assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
}

#[tokio::test]
async fn the_echo_of_an_own_create_is_not_taken_for_somebody_elses() {
    for fault in [Fault::OwnEcho, Fault::FalseExists] {
        let place = Place::new();
        let sink = faulty(&place, fault, 1);
        let (body, digest) = first_intent(&sink).await;
        assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 }, "{fault:?}");
        assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
    }
}

#[tokio::test]
async fn a_store_that_always_says_exists_ends_as_unknown_not_as_success() {
    let place = Place::new();
    let sink = faulty(&place, Fault::FalseExists, 1_000);
    let (body, digest) = first_intent(&sink).await;
    assert_eq!(sink.commit(&body, &digest).await.unwrap_err().code(), error::SINK_UNREACHABLE);
    assert_eq!(sink.probe().await.unwrap(), None);
}

#[tokio::test]
async fn a_store_without_conditional_writes_is_refused() {
    let place = Place::new();
    let sink = faulty(&place, Fault::NoConditionalPuts, 0);
    let (body, digest) = first_intent(&sink).await;
    assert_eq!(sink.commit(&body, &digest).await.unwrap_err().code(), error::SINK_UNCONDITIONAL);
    assert_eq!(sink.probe().await.unwrap(), None);
}

#[tokio::test]
async fn a_store_without_conditional_copies_publishes_all_the_same() {
    let place = Place::new();
    let sink = faulty(&place, Fault::NoConditionalCopies, 0);
    let (body, digest) = first_intent(&sink).await;
    for _ in 0..2 {
        assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
        assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
    }
}

#[tokio::test]
async fn a_crash_between_the_log_and_the_copies_is_made_good_by_the_same_intent() {
    let place = Place::new();
    let crashing = faulty(&place, Fault::FailingCopies, 1);
    let (body, digest) = first_intent(&crashing).await;
    assert!(crashing.commit(&body, &digest).await.is_err());
    assert_eq!(visible_files(&place), Vec::<String>::new());
    let next = sink(&place);
    assert_eq!(next.probe().await.unwrap().unwrap().seq, 1);
    assert_eq!(next.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
    assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
}

#[tokio::test]
async fn a_crash_between_the_log_and_the_copies_is_made_good_by_the_next_intent() {
    let place = Place::new();
    let crashing = faulty(&place, Fault::FailingCopies, 1);
    let (body, digest) = first_intent(&crashing).await;
    assert!(crashing.commit(&body, &digest).await.is_err());
    load(&sink(&place), 2, Some(digest), 2, WriteMode::Append, hours(10, 20)).await;
    assert_eq!(visible(&place), expected(&[(0, 10, "a"), (10, 20, "task 2")]));
}

#[tokio::test]
async fn a_crash_between_the_copies_and_the_removals_is_made_good() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::ReplaceWindow, hours(0, 10)).await;
    let task = sealed(&sink, 2, WriteMode::ReplaceWindow, hours(0, 10), rows_of(hours(0, 10), "b")).await;
    let (body, digest) = intent(&sink, 2, Some(first), vec![task]).await;
    // What such a crash leaves: the entry and the copy, and the removed file still there.
    let entry = entry::Entry::applied(&body, &digest, sink.committer());
    assert!(matches!(sink.log.create(&entry).await.unwrap(), log::Created::Mine));
    std::fs::copy(place.folder.path().join(&entry.add[0].staged), place.folder.path().join(&entry.add[0].path))
        .unwrap();
    assert_eq!(visible(&place).len(), 20);
    assert_eq!(super::sink(&place).commit(&body, &digest).await.unwrap(), Applied::Committed { version: 2 });
    assert_eq!(visible(&place), expected(&[(0, 10, "b")]));
}

#[tokio::test]
async fn somebody_elses_file_in_the_way_is_reported_and_not_overwritten() {
    let place = Place::new();
    let sink = sink(&place);
    let (body, digest) = first_intent(&sink).await;
    let path = place.folder.path().join("part-0101010101010101-0.parquet");
    std::fs::write(&path, "mine").unwrap();
    assert_eq!(sink.commit(&body, &digest).await.unwrap_err().code(), error::SINK_CONFLICT);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
}
