//! Finding objects and pinning them.

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use windrow_common::{error, manifest::Input};

use super::template::Target;
use crate::{
    error::{Result, WorkerError},
    source::pin::{pinned, unreadable},
};

/// Most objects one window may be read from.
const MAX_OBJECTS: usize = 100_000;

/// The pinned objects a target means, in the order of their names; none when there are none.
pub(super) async fn find(store: &dyn ObjectStore, target: &Target) -> Result<Vec<Input>> {
    match target {
        Target::Object(path) => match store.head(path).await {
            // By the name it was asked for: some stores answer with one that begins at their own root.
            Ok(meta) => Ok(vec![pinned(path, &meta)]),
            // The answer has no body, so it does not tell whether the bucket is there; a listing does.
            Err(object_store::Error::NotFound { .. }) => {
                store.list(Some(path)).try_next().await.map_err(|cause| unreadable(path.as_ref(), cause))?;
                Ok(Vec::new())
            }
            Err(cause) => Err(unreadable(path.as_ref(), cause)),
        },
        Target::Matching { folder, matcher, text } => {
            let mut found = Vec::new();
            let mut listing = store.list(folder.as_ref());
            while let Some(meta) = listing.try_next().await.map_err(|cause| unreadable(text, cause))? {
                if !matcher.is_match(meta.location.as_ref()) {
                    continue;
                }
                if found.len() == MAX_OBJECTS {
                    return Err(WorkerError::never(
                        error::INPUT_TOO_LARGE,
                        format!("more than {MAX_OBJECTS} objects match {text:?}"),
                    )
                    .fix("narrow the path, for example by a {window.start:..} placeholder"));
                }
                found.push(pinned(&meta.location, &meta));
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        }
    }
}
