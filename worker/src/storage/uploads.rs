//! Uploads in parts that nobody finished: the bucket keeps their parts, and they are paid for, until somebody aborts
//! them. `object_store` aborts the uploads it began but does not list those of a process that died; that one question
//! is asked here, signed as its own are.

use std::{
    io,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use object_store::{
    ClientOptions, Error,
    aws::{AmazonS3, AwsAuthorizer},
    client::{HttpClient, HttpConnector, HttpRequestBody, ReqwestConnector},
    multipart::MultipartStore,
    path::Path,
    signer::Signer,
};
use serde::Deserialize;
use url::Url;

use super::{Storage, partial, sink_error};
use crate::error::Result;

/// Uploads asked for at a time, as many as S3 gives.
const PAGE: usize = 1_000;
/// Pages read in one go; what is left is found the next time.
const MOST_PAGES: usize = 100;
/// For the signed address that the bucket's own is taken from; it is never used.
const INSTANT: Duration = Duration::from_secs(60);

/// An upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Relative to the storage's root.
    pub path: String,
    pub id: String,
    /// When it was begun, by the store's clock.
    pub since: Timestamp,
}

/// Where what was begun is found.
pub(super) enum Begun {
    Bucket(Uploads),
    /// A local folder, where it lies as files under other names.
    Folder(PathBuf),
}

/// Does something slow with a folder.
async fn in_folder<T, F>(root: &FsPath, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&FsPath) -> io::Result<T> + Send + 'static,
{
    let root = root.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&root)).await?;
    done.map_err(|cause| Error::Generic { store: "local folder", source: cause.into() })
}

/// The uploads below a prefix of a bucket.
pub(super) struct Uploads {
    store: Arc<AmazonS3>,
    prefix: String,
}

impl Storage {
    /// The uploads nobody has finished yet, those under way included. None where the store cannot tell.
    pub async fn unfinished_uploads(&self) -> Result<Vec<Unfinished>> {
        let found = match self.begun.as_deref() {
            Some(Begun::Bucket(uploads)) => uploads.list().await,
            Some(Begun::Folder(root)) => in_folder(root, partial::list).await,
            None => Ok(Vec::new()),
        };
        found.map_err(|cause| sink_error(cause, self.url().to_string()))
    }

    /// Ends an upload; its parts go. One that has ended is fine.
    pub async fn abort_upload(&self, path: &str, id: &str) -> Result<()> {
        let aborted = match self.begun.as_deref() {
            Some(Begun::Bucket(uploads)) => {
                uploads.store.abort_multipart(&uploads.location(path), &id.to_owned()).await
            }
            Some(Begun::Folder(root)) => {
                let (path, id) = (path.to_owned(), id.to_owned());
                in_folder(root, move |root| partial::remove(root, &path, &id)).await
            }
            None => Ok(()),
        };
        match aborted {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(sink_error(cause, path)),
        }
    }
}

/// S3's `ListMultipartUploadsResult`, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: Option<String>,
    #[serde(default)]
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    upload_id: String,
    initiated: Timestamp,
}

impl Uploads {
    pub(super) fn of(store: Arc<AmazonS3>, prefix: &str) -> Self {
        Self { store, prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") } }
    }

    fn location(&self, path: &str) -> Path {
        Path::from(format!("{}{path}", self.prefix))
    }

    async fn list(&self) -> Result<Vec<Unfinished>, Error> {
        let signed = self.store.signed_url(Method::GET, &Path::default(), INSTANT).await?;
        let Some(region) = region_of(&signed) else { return Ok(Vec::new()) };
        let options = ClientOptions::new().with_allow_http(signed.scheme() == "http");
        let client = ReqwestConnector::default().connect(&options)?;
        let mut bucket = signed;
        let mut found = Vec::new();
        let mut markers = None;
        for _ in 0..MOST_PAGES {
            self.ask_for(&mut bucket, markers.take());
            let Some(page) = self.page(&client, &bucket, &region).await? else { return Ok(Vec::new()) };
            found.extend(page.uploads.into_iter().filter_map(|entry| self.upload(entry)));
            match (page.is_truncated, page.next_key_marker) {
                (true, Some(key)) => markers = Some((key, page.next_upload_id_marker.unwrap_or_default())),
                _ => break,
            }
        }
        Ok(found)
    }

    fn ask_for(&self, bucket: &mut Url, markers: Option<(String, String)>) {
        let mut query = bucket.query_pairs_mut();
        query.clear().append_pair("uploads", "").append_pair("prefix", &self.prefix);
        query.append_pair("max-uploads", &PAGE.to_string());
        if let Some((key, id)) = markers {
            query.append_pair("key-marker", &key).append_pair("upload-id-marker", &id);
        }
    }

    /// `None` where the store does not know the question.
    async fn page(&self, client: &HttpClient, url: &Url, region: &str) -> Result<Option<Page>, Error> {
        let credential = self.store.credentials().get_credential().await?;
        let mut request = Request::builder().uri(url.as_str()).body(HttpRequestBody::empty()).map_err(generic)?;
        AwsAuthorizer::new(&credential, "s3", region).authorize(&mut request, None);
        let reply = client.execute(request).await.map_err(generic)?;
        let status = reply.status();
        let bytes = reply.into_body().bytes().await.map_err(generic)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match status {
            StatusCode::OK => quick_xml::de::from_str(&text).map(Some).map_err(generic),
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            StatusCode::FORBIDDEN => Err(Error::PermissionDenied { path: url.path().to_owned(), source: text.into() }),
            StatusCode::NOT_FOUND => Err(Error::NotFound { path: url.path().to_owned(), source: text.into() }),
            status => Err(generic(format!("{status}: {text}"))),
        }
    }

    fn upload(&self, entry: Entry) -> Option<Unfinished> {
        let path = entry.key.strip_prefix(&self.prefix)?.to_owned();
        Some(Unfinished { path, id: entry.upload_id, since: entry.initiated })
    }
}

/// A signed address says for which region it is: `<key>/<date>/<region>/s3/aws4_request`. Without a signature there is
/// nothing to sign with.
fn region_of(signed: &Url) -> Option<String> {
    let (_, scope) = signed.query_pairs().find(|(name, _)| name == "X-Amz-Credential")?;
    scope.split('/').nth_back(2).map(str::to_owned)
}

fn generic(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "S3", source: cause.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_of_uploads_is_read_with_and_without_entries() {
        let page = |entries: &str, more: &str| {
            let text = format!(
                "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Bucket>lake</Bucket><KeyMarker/>{more}{entries}</ListMultipartUploadsResult>"
            );
            quick_xml::de::from_str::<Page>(&text).unwrap()
        };
        let entry = "<Upload><Key>t/a&amp;b</Key><UploadId>7</UploadId><Owner><ID>x</ID></Owner>\
                     <Initiated>2026-03-01T10:00:00.000Z</Initiated></Upload>";
        assert!(page("", "<IsTruncated>false</IsTruncated>").uploads.is_empty());
        let more = "<IsTruncated>true</IsTruncated><NextKeyMarker>t/a&amp;b</NextKeyMarker>";
        let found = page(&entry.repeat(2), more);
        assert_eq!((found.uploads.len(), found.is_truncated), (2, true));
        assert_eq!((found.uploads[0].key.as_str(), found.next_key_marker.as_deref()), ("t/a&b", Some("t/a&b")));
    }
}
