//! Whether a window's objects are all there: by a file that says so, or by the next window's objects.

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use windrow_common::{
    error,
    readiness::Condition,
    window::{Axis, Window},
};

use super::template::{PathTemplate, Target};
use crate::{
    error::{Result, WorkerError},
    source::pin::unreadable,
};

/// Why the condition makes no sense for the path, if it does not.
pub(super) fn check(path: &PathTemplate, condition: &Condition) -> Result<(), String> {
    match condition {
        Condition::Marker(marker) => path.marker(marker).map(drop),
        Condition::NextPartition(_) if !path.by_window() => {
            Err("without `{window.start:..}` in the path there is no next partition".to_owned())
        }
        Condition::NextPartition(_) if path.names_end() => {
            Err("where the next window ends is not known here: write the path by `{window.start:..}` alone".to_owned())
        }
        Condition::NextPartition(_) => Ok(()),
        Condition::Pipeline(_) => Err("what other pipelines have published is nothing files tell".to_owned()),
        Condition::Delta(_) | Condition::Sql(_) => Err("what lies elsewhere is nothing files tell".to_owned()),
        Condition::Count(_) => Err("files are counted by reading them, which says nothing new".to_owned()),
    }
}

/// What is missing for the condition to hold, in words; `None` if it holds.
pub(super) async fn lacks(
    store: &dyn ObjectStore,
    path: &PathTemplate,
    condition: &Condition,
    window: &Window,
) -> Result<Option<String>> {
    let refused = |message: String| WorkerError::never(error::BAD_VALUE, message);
    check(path, condition).map_err(refused)?;
    match condition {
        Condition::Marker(marker) => {
            let marker = path.marker(marker).map_err(refused)?.in_window(window)?;
            let there = any(store, &marker).await?;
            Ok((!there).then(|| format!("there is no {:?} yet", marker.text())))
        }
        Condition::NextPartition(_) => {
            let next = path.in_window(&after(window)?)?;
            let there = any(store, &next).await?;
            Ok((!there).then(|| format!("nothing matches {:?}, the next partition, yet", next.text())))
        }
        // The check above lets none come here.
        Condition::Pipeline(_) | Condition::Delta(_) | Condition::Sql(_) | Condition::Count(_) => Ok(None),
    }
}

/// The window that begins where this one ends. Of its end nothing is asked.
fn after(window: &Window) -> Result<Window> {
    let length = window.end().saturating_sub(window.start());
    Window::new(Axis::Time, window.end(), window.end().saturating_add(length))
        .map_err(|cause| WorkerError::never(error::BAD_WINDOW, "there is no next window").because(cause))
}

/// Whether there is any object.
async fn any(store: &dyn ObjectStore, target: &Target) -> Result<bool> {
    match target {
        Target::Object(path) => exists(store, path).await,
        Target::Matching { folder, matcher, text } => {
            let mut listing = store.list(folder.as_ref());
            while let Some(meta) = listing.try_next().await.map_err(|cause| unreadable(text, cause))? {
                if matcher.is_match(meta.location.as_ref()) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

async fn exists(store: &dyn ObjectStore, path: &Path) -> Result<bool> {
    match store.head(path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(cause) => Err(unreadable(path.as_ref(), cause)),
    }
}
