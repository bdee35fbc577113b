//! Object storage behind a connection: local folders and S3. Writes to a local folder are on the disk (file and folder
//! synced) when they return. It may not know formats, tables or tasks.

use std::{fmt, io::ErrorKind, path::Path as FsPath, sync::Arc, time::Duration};

use object_store::{BackoffConfig, ObjectStore, RetryConfig, aws::AmazonS3Builder, prefix::PrefixStore};
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;
use windrow_common::{
    error::{self, ErrorCode},
    pipeline::Connection,
};

use crate::source::ParamError;

mod conditional;
mod disk;
mod failure;
mod local;
mod object;
mod partial;
mod said;
mod secret;
mod uploads;

#[cfg(test)]
pub(crate) mod tests;

pub use failure::sink_error;
pub use local::DurableFolder;
pub use object::Copied;
pub use said::{SAY_WHO, names_no_bucket, names_no_credentials, refuses, said};
pub use secret::{Secret, resolve};
pub use uploads::Unfinished;
use uploads::{Begun, Uploads};

/// A folder of an object store.
#[derive(Clone)]
pub struct Storage {
    objects: Arc<dyn ObjectStore>,
    url: Url,
    /// Where what was begun and never finished is found; `None` where nobody can tell.
    begun: Option<Arc<Begun>>,
    /// Whether it was seen to honour conditional writes.
    conditional: Arc<OnceCell<()>>,
    /// What names of windrow's own records end in.
    records: &'static str,
}

impl Storage {
    /// The connection types that are object stores.
    pub const CONNECTIONS: &'static [&'static str] = &["local", "s3"];

    /// Opens the folder `path` under the connection's root. Local folders are made when they are missing and
    /// `create` says so. Connects to nothing yet.
    pub fn open(connection: &Connection, path: &str, create: bool) -> Result<Self, ParamError> {
        match connection.kind.as_str() {
            "local" => Self::open_local(connection, path, create),
            "s3" => Self::open_s3(connection, path),
            other => Err(ParamError {
                path: "connection.type".to_owned(),
                code: error::UNKNOWN_CONNECTOR,
                message: format!("a connection of type {other:?} is no object store"),
                fix: Some(format!("use one of {}", Self::CONNECTIONS.join(", "))),
            }),
        }
    }

    /// A store of the caller's own, rooted at the folder; `url` is for people and for Delta.
    pub fn over(objects: Arc<dyn ObjectStore>, url: Url) -> Self {
        Self::new(objects, url, None)
    }

    fn new(objects: Arc<dyn ObjectStore>, url: Url, begun: Option<Begun>) -> Self {
        Self { objects, url, begun: begun.map(Arc::new), conditional: Arc::default(), records: "json" }
    }

    /// The same where records have names of another ending, for the folder's data files have this one.
    pub fn with_records(self, ending: &'static str) -> Self {
        Self { records: ending, ..self }
    }

    /// The path of a record.
    pub fn record(&self, stem: &str) -> String {
        format!("{stem}.{}", self.records)
    }

    /// The store, rooted at the folder: paths are relative to it.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Where it lies, for people and for Delta; never with credentials in it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    fn open_local(connection: &Connection, path: &str, create: bool) -> Result<Self, ParamError> {
        let root = text(connection, "root").unwrap_or(".");
        let folder = FsPath::new(root).join(path.trim_matches('/'));
        let bad = |message: String, fix: &str| ParamError {
            path: "connection.root".to_owned(),
            code: error::SOURCE_MISSING,
            message,
            fix: Some(fix.to_owned()),
        };
        if create {
            disk::create_folders(&folder).map_err(|cause| ParamError {
                code: uncreated(&cause),
                ..bad(
                    format!("cannot make the folder {}: {cause}", folder.display()),
                    "check its owner and permissions",
                )
            })?;
        }
        let folder = folder
            .canonicalize()
            .map_err(|cause| bad(format!("no folder {}: {cause}", folder.display()), "correct `root` or `path`"))?;
        let objects =
            DurableFolder::open(&folder).map_err(|cause| bad(cause.to_string(), "check the folder's permissions"))?;
        let url = Url::from_directory_path(&folder)
            .map_err(|()| bad(format!("{} is no absolute path", folder.display()), "write an absolute path"))?;
        Ok(Self::new(Arc::new(objects), url, Some(Begun::Folder(folder))))
    }

    fn open_s3(connection: &Connection, path: &str) -> Result<Self, ParamError> {
        let bad = |param: &str, message: String| ParamError {
            path: format!("connection.{param}"),
            code: error::BAD_VALUE,
            message,
            fix: None,
        };
        let root = text(connection, "root").unwrap_or_default();
        let mut url =
            Url::parse(root).map_err(|cause| bad("root", format!("{root:?} is no s3:// address: {cause}")))?;
        let Some(bucket) = url.host_str().map(str::to_owned).filter(|_| url.scheme() == "s3") else {
            return Err(bad("root", format!("{root:?} is no s3:// address with a bucket")));
        };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries());
        for (param, value) in &connection.params {
            let Some(value) = value.as_str() else { continue };
            let value = resolve(value).map_err(|cause| ParamError {
                code: error::SECRET_UNRESOLVED,
                fix: Some(
                    "give this worker the variable or the file, or run the pipeline on one that has it".to_owned(),
                ),
                ..bad(param, cause.to_string())
            })?;
            builder = match param.as_str() {
                "region" => builder.with_region(value.reveal()),
                "endpoint" => {
                    builder.with_endpoint(value.reveal()).with_allow_http(value.reveal().starts_with("http:"))
                }
                "access_key_id" => builder.with_access_key_id(value.reveal()),
                "secret_access_key" => builder.with_secret_access_key(value.reveal()),
                "session_token" => builder.with_token(value.reveal()),
                _ => builder,
            };
        }
        let prefix = [url.path().trim_matches('/'), path.trim_matches('/')].join("/");
        let prefix = prefix.trim_matches('/');
        url.set_path(&format!("{prefix}/"));
        let store = Arc::new(builder.build().map_err(|cause| bad("root", cause.to_string()))?);
        let uploads = Uploads::of(Arc::clone(&store), prefix);
        let objects: Arc<dyn ObjectStore> = store;
        Ok(Self::new(Arc::new(PrefixStore::new(objects, prefix)), url, Some(Begun::Bucket(uploads))))
    }
}

/// How long a request to a bucket is tried: some ten seconds, so that a short outage costs no attempt at a task, and an
/// address that is wrong is still told soon. `object_store`'s own pauses hardly grow; together they are two seconds.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(3), base: 2.5 };
    RetryConfig { backoff, max_retries: 10, retry_timeout: Duration::from_secs(60) }
}

/// Folders are made for sinks alone.
fn uncreated(cause: &std::io::Error) -> ErrorCode {
    match cause.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => error::SINK_FORBIDDEN,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => error::SINK_FULL,
        _ => error::SINK_UNREACHABLE,
    }
}

fn text<'a>(connection: &'a Connection, param: &str) -> Option<&'a str> {
    connection.params.get(param).and_then(Value::as_str)
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.url)
    }
}
