//! Manifests and intent bodies in the sink's own storage, under the SHA-256 of their bytes: writing one twice changes
//! nothing, and what is read is what was written or an error.

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use object_store::{ObjectStoreExt, path::Path};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use windrow_common::{
    count::{counted, grouped},
    error,
    intent::{IntentBody, IntentRef, Seq},
    manifest::{Digest, Manifest, ManifestRef, StagedFile},
};

use crate::{
    error::{Result, WorkerError},
    storage::{Storage, sink_error},
};

const MANIFESTS: &str = "_windrow/manifests";
const INTENTS: &str = "_windrow/intents";
const GROUPS: &str = "_windrow/groups";
/// Largest body that is written or read.
const MAX_BODY_BYTES: u64 = 256 << 20;
/// Files looked at a time.
const HEADS_AT_A_TIME: usize = 16;
/// A store may answer "exists" while another create of the key is on its way, and "not found" right after.
const TRIES: usize = 5;

/// Writes a manifest; durable when it returns.
pub async fn put_manifest(storage: &Storage, manifest: &Manifest) -> Result<ManifestRef> {
    let (bytes, sha256) = body(manifest)?;
    let path = storage.record(&format!("{MANIFESTS}/{sha256}"));
    put_body(storage, &path, bytes, &sha256).await?;
    Ok(ManifestRef { path, sha256, counts: manifest.counts, proof: None })
}

/// Reads a manifest. `STAGED_FILE_BAD` when it is missing or not what was sealed.
pub async fn get_manifest(storage: &Storage, reference: &ManifestRef) -> Result<Manifest> {
    get_body(storage, &reference.path, &reference.sha256).await
}

/// Reads the manifest with this digest. `STAGED_FILE_BAD` when it is missing or another.
pub async fn find_manifest(storage: &Storage, sha256: &Digest) -> Result<Manifest> {
    get_body(storage, &format!("{MANIFESTS}/{sha256}.json"), sha256).await
}

/// Writes the list of files of a group under its digest; durable when it returns.
pub async fn put_list(storage: &Storage, list: &impl Serialize) -> Result<Digest> {
    let (bytes, sha256) = body(list)?;
    put_body(storage, &storage.record(&format!("{GROUPS}/{sha256}")), bytes, &sha256).await?;
    Ok(sha256)
}

/// Reads it. `STAGED_FILE_BAD` when it is missing or another.
pub async fn get_list<T: DeserializeOwned>(storage: &Storage, sha256: &Digest) -> Result<T> {
    get_body(storage, &storage.record(&format!("{GROUPS}/{sha256}")), sha256).await
}

/// Writes an intent's body and returns its path and digest; durable when it returns.
pub async fn put_intent(storage: &Storage, intent: &IntentBody) -> Result<(String, Digest)> {
    let (bytes, sha256) = body(intent)?;
    let path = intent_path(storage, intent.seq, &sha256);
    put_body(storage, &path, bytes, &sha256).await?;
    Ok((path, sha256))
}

/// Reads an intent's body. `STAGED_FILE_BAD` when it is missing or not what was recorded.
pub async fn get_intent(storage: &Storage, reference: &IntentRef) -> Result<IntentBody> {
    get_body(storage, &reference.path, &reference.digest).await
}

/// Reads the body of the intent with this seq and digest. `STAGED_FILE_BAD` when it is missing or another.
pub async fn find_intent(storage: &Storage, seq: Seq, digest: &Digest) -> Result<IntentBody> {
    get_body(storage, &intent_path(storage, seq, digest), digest).await
}

/// The digests of all intents that were ever worked out for a seq; at most one of them was recorded.
pub async fn intents_of(storage: &Storage, seq: Seq) -> Result<Vec<Digest>> {
    let (start, ending) = (format!("{seq:020}-"), storage.record(""));
    let all = storage.objects().list(Some(&parsed(INTENTS)?)).map_err(|cause| sink_error(cause, INTENTS));
    let digests = all.try_filter_map(|object| {
        let name = object.location.filename().and_then(|name| name.strip_prefix(&start)?.strip_suffix(&ending));
        let digest = name.and_then(|digest| Digest::try_from(digest.to_owned()).ok());
        std::future::ready(Ok(digest))
    });
    digests.try_collect().await
}

fn intent_path(storage: &Storage, seq: Seq, digest: &Digest) -> String {
    storage.record(&format!("{INTENTS}/{seq:020}-{digest}"))
}

/// Looks whether each file exists with its size. `STAGED_FILE_BAD` names the first that does not.
pub async fn verify_files(storage: &Storage, files: &[StagedFile]) -> Result<()> {
    stream::iter(files.iter().map(Ok)).try_for_each_concurrent(HEADS_AT_A_TIME, |file| verify(storage, file)).await
}

async fn verify(storage: &Storage, file: &StagedFile) -> Result<()> {
    let path = parsed(&file.path)?;
    match storage.objects().head(&path).await {
        Ok(found) if found.size == file.bytes => Ok(()),
        Ok(found) => Err(bad(
            &file.path,
            format!("a staged file has {} instead of {}", counted(found.size, "byte"), grouped(file.bytes)),
        )),
        Err(object_store::Error::NotFound { .. }) => Err(bad(&file.path, "a staged file is missing".to_owned())),
        Err(cause) => Err(sink_error(cause, &file.path)),
    }
}

fn body(value: &impl Serialize) -> Result<(Bytes, Digest)> {
    let bytes = serde_json::to_vec(value)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a record cannot be written as JSON").because(cause))?;
    let sha256 = sha256(&bytes);
    Ok((bytes.into(), sha256))
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

async fn put_body(storage: &Storage, path: &str, bytes: Bytes, digest: &Digest) -> Result<()> {
    if bytes.len() as u64 > MAX_BODY_BYTES {
        return Err(WorkerError::never(error::SINK_UNSUPPORTED, "too many files for one manifest")
            .at(path)
            .fix("partition by fewer values, or set a larger target size"));
    }
    let mut last = None;
    for _ in 0..TRIES {
        if storage.create(path, bytes.clone()).await? {
            return Ok(());
        }
        match read(storage, path).await? {
            Some(found) if sha256(&found) == *digest => return Ok(()),
            Some(_) => return Err(bad(path, "a body differs from its digest".to_owned())),
            None => last = Some(bad(path, "a body exists and does not".to_owned())),
        }
    }
    last.map_or(Ok(()), Err)
}

async fn get_body<T: DeserializeOwned>(storage: &Storage, path: &str, digest: &Digest) -> Result<T> {
    let Some(bytes) = read(storage, path).await? else {
        return Err(bad(path, "a body is missing".to_owned()));
    };
    if sha256(&bytes) != *digest {
        return Err(bad(path, "a body differs from its digest".to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|cause| bad(path, "a body is not readable".to_owned()).because(cause))
}

async fn read(storage: &Storage, path: &str) -> Result<Option<Bytes>> {
    let location = parsed(path)?;
    let found = match storage.objects().get(&location).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(cause) => return Err(sink_error(cause, path)),
    };
    if found.meta.size > MAX_BODY_BYTES {
        return Err(bad(path, format!("a body of {} is too large", counted(found.meta.size, "byte"))));
    }
    found.bytes().await.map(Some).map_err(|cause| sink_error(cause, path))
}

fn parsed(path: &str) -> Result<Path> {
    Path::parse(path).map_err(|cause| bad(path, "a path is not valid".to_owned()).because(cause))
}

/// Staging the rows again makes it good, so it is worth another try.
fn bad(path: &str, message: String) -> WorkerError {
    WorkerError::later(error::STAGED_FILE_BAD, message).at(path)
}
