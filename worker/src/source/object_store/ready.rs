//! Whether windows' objects are all there: by files that say so, or by the next windows' objects.

use object_store::ObjectStore;
use windrow_common::{
    error,
    readiness::Condition,
    window::{Axis, Window},
};

use super::{
    super::Told,
    template::{PathTemplate, Target},
    there::there,
};
use crate::error::{Result, WorkerError};

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

/// For which windows the condition holds, and what is missing for the others.
pub(super) async fn told(
    store: &dyn ObjectStore,
    path: &PathTemplate,
    condition: &Condition,
    windows: &[Window],
) -> Result<Told> {
    let refused = |message: String| WorkerError::never(error::BAD_VALUE, message);
    check(path, condition).map_err(refused)?;
    let marker = match condition {
        Condition::Marker(marker) => Some(path.marker(marker).map_err(refused)?),
        _ => None,
    };
    let target = |window: &Window| match &marker {
        Some(marker) => marker.in_window(window),
        None => path.in_window(&after(window)?),
    };
    let targets: Vec<Target> = windows.iter().map(target).collect::<Result<_>>()?;
    let holds = there(store, &targets).await?;
    // Of several there is no room to tell all paths.
    let text = match &targets[..] {
        [one] => one.text(),
        _ => marker.as_ref().unwrap_or(path).text(),
    };
    let missing = match &marker {
        Some(_) => format!("there is no {text:?} yet"),
        None => format!("nothing matches {text:?}, the next partition, yet"),
    };
    Ok(Told { holds, missing })
}

/// The window that begins where this one ends. Of its end nothing is asked.
fn after(window: &Window) -> Result<Window> {
    let length = window.end().saturating_sub(window.start());
    Window::new(Axis::Time, window.end(), window.end().saturating_add(length))
        .map_err(|cause| WorkerError::never(error::BAD_WINDOW, "there is no next window").because(cause))
}
