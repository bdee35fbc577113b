//! The object store under the sinks, as each worker sees it: conditional creates and copies, and all that goes wrong
//! between an S3 client and a bucket. What is on its way arrives even if whoever sent it is dead by then.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use rand::Rng;
use tokio::sync::oneshot;

use crate::{
    clock::ORIGIN_SECONDS,
    plan::{Fault, Sabotage},
    world::World,
};

/// How long a stalled call takes, at most.
const STALL_MS: u64 = 30_000;

/// All places sinks write to, by root.
#[derive(Default)]
pub(crate) struct Objects {
    places: Mutex<BTreeMap<String, Arc<Place>>>,
    on_their_way: Mutex<Vec<(Duration, BoxFuture<'static, ()>)>>,
}

#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) objects: InMemory,
    /// When each was written, by the simulation's time.
    written: Mutex<BTreeMap<String, Duration>>,
    changes: AtomicU64,
}

/// Without anything that goes wrong: for those who look at it, and those who are not windrow.
impl Place {
    pub(crate) async fn write(&self, world: &World, path: &str, bytes: Bytes) {
        self.objects.put(&path.into(), bytes.into()).await.unwrap();
        self.changed(Some((path, world.now())));
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.objects.delete(&path.into()).await.unwrap();
        self.changed(None);
    }

    fn changed(&self, written: Option<(&str, Duration)>) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.written.lock().unwrap().extend(written.map(|(path, at)| (path.to_owned(), at)));
    }

    /// Counts writes and deletes.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self, path: &str) -> Option<Bytes> {
        let found = self.objects.get(&path.into()).now_or_never()?.ok()?;
        found.bytes().now_or_never()?.ok()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.objects.head(&path.into()).now_or_never().is_some_and(|found| found.is_ok())
    }

    /// What readers of the folder take for data, by its names.
    pub(crate) fn shown(&self) -> Vec<String> {
        let is_hidden = |path: &str| path.split('/').any(|part| part.starts_with('_'));
        self.listed().into_iter().filter(|path| !is_hidden(path)).collect()
    }

    /// What readers of the folder take for the sign that a window is complete.
    pub(crate) fn markers(&self) -> Vec<String> {
        self.listed().into_iter().filter(|path| path.starts_with("ready/")).collect()
    }

    /// Sorted.
    fn listed(&self) -> Vec<String> {
        let listed = self.objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>();
        let mut listed = listed.now_or_never().and_then(Result::ok).unwrap_or_default();
        listed.sort();
        listed
    }
}

impl Objects {
    pub(crate) fn place(&self, root: &str) -> Arc<Place> {
        self.places.lock().unwrap().entry(root.to_owned()).or_default().clone()
    }

    pub(crate) fn places(&self) -> Vec<(String, Arc<Place>)> {
        self.places.lock().unwrap().iter().map(|(root, place)| (root.clone(), place.clone())).collect()
    }

    /// Has what was on its way arrive, as far as it is due.
    pub(crate) fn arrive(&self, now: Duration) {
        let mut waiting = self.on_their_way.lock().unwrap();
        let (due, later) = std::mem::take(&mut *waiting).into_iter().partition(|(at, _)| *at <= now);
        *waiting = later;
        drop(waiting);
        let mut due: Vec<_> = due;
        due.sort_by_key(|(at, _)| *at);
        for (_, effect) in due {
            effect.now_or_never();
        }
    }
}

/// One worker's way to a place.
pub(crate) struct Bucket {
    world: Arc<World>,
    host: String,
    root: String,
    place: Arc<Place>,
}

/// What happens to a call.
enum Course {
    Normal,
    /// It is done late.
    Stalled(Duration),
    /// It is done, and the answer comes late.
    Late(Duration),
    /// It is done, and the answer is an error.
    ReplyLost,
    /// It is done, and the answer is that somebody else did it.
    Echo,
}

impl Bucket {
    pub(crate) fn new(world: Arc<World>, host: String, root: &str) -> Self {
        let place = world.objects.place(root);
        Self { world, host, root: root.to_owned(), place }
    }

    async fn call<T: Send + 'static>(
        &self,
        what: &str,
        creates: Option<&Path>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let world = &self.world;
        let what = format!("{} {} {what}", self.host, self.root);
        self.awake().await;
        tokio::time::sleep(Duration::from_millis(world.draw(|rng| rng.random_range(1..15)))).await;
        if world.strikes(Fault::StoreFails, &what) {
            return Err(failure());
        }
        let answer = match self.course(&what, creates) {
            Course::Normal => work.await,
            Course::Stalled(time) => self.later(time, work).await,
            Course::Late(time) => {
                let answer = work.await;
                tokio::time::sleep(time).await;
                answer
            }
            Course::ReplyLost => {
                let _ = work.await;
                Err(failure())
            }
            Course::Echo => work.await.and_then(|_| {
                let path = creates.map(ToString::to_string).unwrap_or_default();
                Err(Error::AlreadyExists { path, source: "a try of the same client".into() })
            }),
        };
        self.awake().await;
        answer
    }

    fn course(&self, what: &str, creates: Option<&Path>) -> Course {
        let world = &self.world;
        let long = || Duration::from_millis(world.draw(|rng| rng.random_range(500..STALL_MS)));
        if world.strikes(Fault::StoreReplyLost, what) {
            Course::ReplyLost
        } else if creates.is_some() && world.strikes(Fault::StoreEcho, what) {
            Course::Echo
        } else if world.strikes(Fault::StoreStalls, what) {
            Course::Stalled(long())
        } else if world.strikes(Fault::StoreAnswersLate, what) {
            Course::Late(long())
        } else {
            Course::Normal
        }
    }

    /// The call is on its way: it arrives whatever happens to the caller.
    async fn later<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let effect = async move {
            let _ = reply.send(work.await);
        };
        self.world.objects.on_their_way.lock().unwrap().push((self.world.now() + time, effect.boxed()));
        answer.await.unwrap_or_else(|_| Err(failure()))
    }

    /// A suspended host does nothing.
    async fn awake(&self) {
        while self.world.is_suspended(&self.host) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn wrote(&self, path: &Path) -> impl FnOnce(&World) + Send + 'static {
        let (place, root, path) = (self.place.clone(), self.root.clone(), path.to_string());
        move |world| {
            world.note(format!("store {root} wrote {path}"));
            place.changed(Some((path.as_str(), world.now())));
        }
    }
}

/// A commit that does not tell which files others stand for.
fn without_retired(payload: &PutPayload) -> PutPayload {
    let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
    let Ok(mut entry) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return payload.clone() };
    if let Some(entry) = entry.as_object_mut() {
        entry.remove("retire");
    }
    entry.to_string().into()
}

fn failure() -> Error {
    Error::Generic { store: "bucket", source: "the connection broke".into() }
}

fn time(elapsed: Duration) -> DateTime<Utc> {
    let origin = DateTime::from_timestamp(ORIGIN_SECONDS, 0).unwrap_or_default();
    origin + elapsed
}

#[async_trait::async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (place, world, wrote, at) = (self.place.clone(), self.world.clone(), self.wrote(path), path.clone());
        let creates = (options.mode == PutMode::Create).then_some(path);
        let payload = match world.sabotage {
            Some(Sabotage::Unretired) if path.as_ref().starts_with("_windrow/log/") => without_retired(&payload),
            _ => payload,
        };
        let put = async move {
            let put = place.objects.put_opts(&at, payload, options).await?;
            wrote(&world);
            Ok(put)
        };
        self.call(&format!("put {path}"), creates, put).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".to_owned(), implementer: self.to_string() })
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (place, at) = (self.place.clone(), path.clone());
        self.call(&format!("get {path}"), None, async move { place.objects.get_opts(&at, options).await }).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (place, at, ranges) = (self.place.clone(), path.clone(), ranges.to_vec());
        self.call(&format!("get {path}"), None, async move { place.objects.get_ranges(&at, &ranges).await }).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = Self::new(self.world.clone(), self.host.clone(), &self.root);
        let deletes = paths.then(move |path| {
            let bucket = Self::new(bucket.world.clone(), bucket.host.clone(), &bucket.root);
            async move {
                let path = path?;
                let (place, at, world) = (bucket.place.clone(), path.clone(), bucket.world.clone());
                let root = bucket.root.clone();
                let delete = async move {
                    if world.sabotage == Some(Sabotage::Unwithdrawn) && at.as_ref().starts_with("ready/") {
                        return Ok(());
                    }
                    world.note(format!("store {root} deletes {at}"));
                    place.objects.delete(&at).await.inspect(|()| place.changed(None))
                };
                bucket.call(&format!("delete {path}"), None, delete).await?;
                Ok(path)
            }
        });
        deletes.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = self.place.clone();
        let listed = self.place.objects.list(prefix).map(move |meta| {
            meta.map(|mut meta| {
                let written = place.written.lock().unwrap().get(meta.location.as_ref()).copied();
                meta.last_modified = time(written.unwrap_or_default());
                meta
            })
        });
        listed.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.place.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (place, world, wrote) = (self.place.clone(), self.world.clone(), self.wrote(to));
        let (source, target) = (from.clone(), to.clone());
        let creates = (options.mode == object_store::CopyMode::Create).then_some(to);
        let copy = async move {
            place.objects.copy_opts(&source, &target, options).await?;
            wrote(&world);
            Ok(())
        };
        self.call(&format!("copy {to}"), creates, copy).await
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.root)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
