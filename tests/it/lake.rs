//! Pipelines whose source and sink are buckets of a real S3 server. Keys are referred to, never written down.

use std::{fs, path::Path};

use object_store::{ObjectStore, ObjectStoreExt};
use windrow_tests::{
    s3::{self, S3},
    skip::skip,
};

/// The server, if there is one; otherwise the test is left out.
pub(crate) fn server(test: &str) -> Option<S3> {
    let s3 = S3::start().unwrap();
    if s3.is_none() {
        skip(test, "there is no S3 server: `make tools` installs one");
    }
    s3
}

/// A connection to the bucket at `address`, a proxy's perhaps, whose secret stands in a file beside the pipeline.
pub(crate) fn connection(folder: &Path, address: &str, root: &str) -> String {
    let secret = folder.join("secret");
    fs::write(&secret, s3::SECRET).unwrap();
    connection_as(address, root, s3::KEY_ID, &format!("${{file:{}}}", secret.display()))
}

/// The same with other keys.
pub(crate) fn connection_as(address: &str, root: &str, key: &str, secret: &str) -> String {
    let region = s3::REGION;
    format!(
        "{{ type: s3, root: \"s3://{root}\", endpoint: \"http://{address}\", region: {region}, \
         access_key_id: {key}, secret_access_key: \"{secret}\" }}"
    )
}

/// Puts a file into the bucket as a producer would.
pub(crate) async fn upload(s3: &S3, file: &Path, key: &str) {
    let bytes = fs::read(file).unwrap();
    s3.client().unwrap().put(&key.into(), bytes.into()).await.unwrap();
}

/// Replaces a line's part in a pipeline file that must be there.
pub(crate) fn edit(pipelines: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(pipelines).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(pipelines, text.replace(from, to)).unwrap();
}

/// Rows of a Delta table in the bucket by its log alone, and how often each file is added.
pub(crate) async fn rows_by_log(store: &dyn ObjectStore, table: &str) -> u64 {
    let mut files = std::collections::BTreeMap::new();
    for version in 0.. {
        let path = format!("{table}/_delta_log/{version:020}.json").into();
        let Ok(found) = store.get(&path).await else { break };
        for line in String::from_utf8(found.bytes().await.unwrap().to_vec()).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(path) = action["remove"]["path"].as_str() {
                assert!(files.remove(path).is_some(), "version {version} removes {path}, which is not there");
            }
            if let Some(path) = action["add"]["path"].as_str() {
                let stats: serde_json::Value = serde_json::from_str(action["add"]["stats"].as_str().unwrap()).unwrap();
                let before = files.insert(path.to_owned(), stats["numRecords"].as_u64().unwrap());
                assert!(before.is_none(), "version {version} adds {path} again");
            }
        }
    }
    files.values().sum()
}
