//! Where tests of sinks and staging put their files: a folder, or, when `WINDROW_TEST_S3` names a server, a bucket whose
//! objects that server keeps as files. In both cases the files can be looked at, and damaged, without the store.
#![allow(clippy::unwrap_used)]

use std::{env, path::PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::Storage;

/// A place of one test's own, gone when it is dropped.
pub(crate) struct Ground {
    pub(crate) folder: TempDir,
    pub(crate) storage: Storage,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let (folder, connection) = match s3() {
            None => {
                let folder = tempfile::tempdir().unwrap();
                let connection = json!({ "name": "here", "type": "local", "root": folder.path() });
                (folder, connection)
            }
            Some((endpoint, bucket)) => {
                let folder = tempfile::Builder::new().prefix("test-").tempdir_in(&bucket).unwrap();
                let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
                let connection = json!({
                    "name": "here",
                    "type": "s3",
                    "root": format!("s3://{}/{}", name(&bucket), name(folder.path())),
                    "endpoint": endpoint,
                    "access_key_id": "${env:WINDROW_TEST_S3_KEY_ID}",
                    "secret_access_key": "${env:WINDROW_TEST_S3_SECRET}",
                    "region": "us-east-1",
                });
                (folder, connection)
            }
        };
        let storage = Storage::open(&serde_json::from_value(connection).unwrap(), "", true).unwrap();
        Self { folder, storage }
    }

    /// Whether it is a bucket.
    pub(crate) fn is_bucket() -> bool {
        s3().is_some()
    }
}

/// The server's address and the bucket's folder.
fn s3() -> Option<(String, PathBuf)> {
    Some((env::var("WINDROW_TEST_S3").ok()?, env::var_os("WINDROW_TEST_S3_BUCKET")?.into()))
}
