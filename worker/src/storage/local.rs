//! A local folder as an object store whose writes are on the disk, name and bytes, when they return. The one
//! `object_store` brings never syncs, so a power cut after a commit could leave the commit's name without its bytes.

use std::{fmt, io, path::Path as FsPath, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, local::LocalFileSystem,
    path::Path,
};

use super::disk::{self, Existing, Folders};

const STORE: &str = "local folder";

/// See the module.
#[derive(Clone, Debug)]
pub struct DurableFolder {
    files: LocalFileSystem,
    folders: Arc<Folders>,
}

/// An upload in parts that is on the disk when it is complete.
#[derive(Debug)]
struct DurableUpload {
    parts: Box<dyn MultipartUpload>,
    target: PathBuf,
    folders: Arc<Folders>,
}

impl DurableFolder {
    /// Opens an existing folder.
    pub fn open(root: &FsPath) -> Result<Self> {
        let files = LocalFileSystem::new_with_prefix(root)?;
        let root = root.canonicalize().map_err(|cause| failure(root, cause))?;
        Ok(Self { files, folders: Arc::new(Folders::under(root)) })
    }

    async fn settle(&self, location: &Path) -> Result<()> {
        settle(self.folders.clone(), self.files.path_to_filesystem(location)?).await
    }
}

async fn settle(folders: Arc<Folders>, target: PathBuf) -> Result<()> {
    tokio::task::spawn_blocking(move || disk::settle_file(&folders, &target).map_err(|cause| failure(&target, cause)))
        .await?
}

fn failure(path: &FsPath, cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: path.display().to_string(), source: cause.into() },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.display().to_string(), source: cause.into() },
        io::ErrorKind::PermissionDenied => {
            Error::PermissionDenied { path: path.display().to_string(), source: cause.into() }
        }
        _ => Error::Generic { store: STORE, source: cause.into() },
    }
}

#[async_trait]
impl ObjectStore for DurableFolder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let existing = match options.mode {
            PutMode::Create => Existing::Keep,
            PutMode::Overwrite => Existing::Replace,
            // Which the file system cannot do; it says so.
            PutMode::Update(_) => return self.files.put_opts(location, payload, options).await,
        };
        let target = self.files.path_to_filesystem(location)?;
        let folders = self.folders.clone();
        let parts: Vec<Bytes> = payload.iter().cloned().collect();
        tokio::task::spawn_blocking(move || {
            disk::write(&folders, &target, &parts, existing).map_err(|cause| failure(&target, cause))
        })
        .await??;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.files.path_to_filesystem(location)?;
        let parts = self.files.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload { parts, target, folders: self.folders.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        self.settle(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await?;
        self.settle(to).await
    }
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.parts.complete().await?;
        settle(self.folders.clone(), self.target.clone()).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.abort().await
    }
}

impl fmt::Display for DurableFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFolder({})", self.folders.root().display())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::TryStreamExt;
    use object_store::{ObjectStoreExt, WriteMultipart};

    use super::*;

    fn open() -> (tempfile::TempDir, DurableFolder) {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFolder::open(folder.path()).unwrap();
        (folder, store)
    }

    async fn create(store: &DurableFolder, path: &str, text: &'static str) -> Result<PutResult> {
        store.put_opts(&Path::from(path), PutPayload::from_static(text.as_bytes()), PutMode::Create.into()).await
    }

    #[tokio::test]
    async fn of_two_creates_of_one_key_the_second_fails_and_changes_nothing() {
        let (_folder, store) = open();
        create(&store, "a/b/c.json", "first").await.unwrap();
        let again = create(&store, "a/b/c.json", "second").await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        let found = store.get(&Path::from("a/b/c.json")).await.unwrap().bytes().await.unwrap();
        assert_eq!(found, Bytes::from_static(b"first"));
    }

    #[tokio::test]
    async fn writes_leave_only_the_files_that_were_asked_for() {
        let (folder, store) = open();
        create(&store, "log/1", "one").await.unwrap();
        create(&store, "log/1", "uno").await.unwrap_err();
        store.put(&Path::from("log/2"), PutPayload::from_static(b"two")).await.unwrap();
        store.put(&Path::from("log/2"), PutPayload::from_static(b"zwei")).await.unwrap();
        let upload = store.put_multipart(&Path::from("data/x=1/3")).await.unwrap();
        let mut upload = WriteMultipart::new(upload);
        upload.write(b"three");
        upload.finish().await.unwrap();

        let mut listed: Vec<_> =
            store.list(None).map_ok(|meta| (meta.location.to_string(), meta.size)).try_collect().await.unwrap();
        listed.sort();
        let expected = [("data/x=1/3", 5), ("log/1", 3), ("log/2", 4)];
        assert_eq!(listed, expected.map(|(path, size)| (path.to_owned(), size)));
        assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn many_writers_of_one_key_have_one_winner() {
        let (_folder, store) = open();
        let writers = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { create(&store, "deep/er/key", "mine").await.is_ok() })
        });
        let won = futures::future::join_all(writers).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        assert_eq!(won, 1);
    }

    #[tokio::test]
    async fn a_copied_and_a_renamed_file_arrive() {
        let (_folder, store) = open();
        create(&store, "a", "text").await.unwrap();
        store.copy(&Path::from("a"), &Path::from("new/b")).await.unwrap();
        store.rename(&Path::from("a"), &Path::from("new/c")).await.unwrap();
        assert!(store.head(&Path::from("a")).await.is_err());
        assert_eq!(store.head(&Path::from("new/b")).await.unwrap().size, 4);
        assert_eq!(store.head(&Path::from("new/c")).await.unwrap().size, 4);
    }
}
