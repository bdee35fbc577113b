//! Which of many paths lead to something: by a listing of the folder they share rather than by a request for each.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use super::template::Target;
use crate::{error::Result, source::pin::unreadable};

/// So many are asked for one by one.
const FEW: usize = 8;
/// Most objects that are listed for many; where the folder holds more, what was not found is asked for by itself.
const MOST_LISTED: usize = 10_000;
/// Requests under way at a time.
const AT_A_TIME: usize = 16;

/// Whether there is any object, for each target.
pub(super) async fn there(store: &dyn ObjectStore, targets: &[Target]) -> Result<Vec<bool>> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, target) in targets.iter().enumerate() {
        places.entry(target.text()).or_default().push(place);
    }
    let distinct: Vec<&Target> = places.values().filter_map(|same| targets.get(*same.first()?)).collect();
    let mut found = vec![false; targets.len()];
    for (same, there) in places.values().zip(there_of(store, &distinct).await?) {
        same.iter().for_each(|place| found[*place] = there);
    }
    Ok(found)
}

async fn there_of(store: &dyn ObjectStore, targets: &[&Target]) -> Result<Vec<bool>> {
    let (mut found, whole) = match targets.len() > FEW {
        true => listed(store, targets).await?,
        false => (vec![false; targets.len()], false),
    };
    if !whole {
        let missing: Vec<usize> = (0..targets.len()).filter(|place| !found[*place]).collect();
        let asked: Vec<_> = missing.iter().map(|place| is_there(store, targets[*place])).collect();
        let asked: Vec<bool> = stream::iter(asked).buffered(AT_A_TIME).try_collect().await?;
        missing.into_iter().zip(asked).for_each(|(place, there)| found[place] = there);
    }
    Ok(found)
}

/// Those a listing shows, and whether it was whole.
async fn listed(store: &dyn ObjectStore, targets: &[&Target]) -> Result<(Vec<bool>, bool)> {
    let mut found = vec![false; targets.len()];
    let mut missing = targets.len();
    let by_folder = by_folder(targets);
    let (folder, first) = stretch(targets);
    let mut listing = match &first {
        Some(first) => store.list_with_offset(folder.as_ref(), first),
        None => store.list(folder.as_ref()),
    };
    let unlisted = |cause| unreadable(folder.as_ref().map_or("", Path::as_ref), cause);
    let mut seen = 0;
    while let Some(meta) = listing.try_next().await.map_err(unlisted)? {
        seen += 1;
        if seen > MOST_LISTED {
            return Ok((found, false));
        }
        for place in folders_of(meta.location.as_ref()).filter_map(|folder| by_folder.get(folder)).flatten() {
            if !found[*place] && is_meant(targets[*place], &meta.location) {
                found[*place] = true;
                missing -= 1;
            }
        }
        if missing == 0 {
            break;
        }
    }
    Ok((found, true))
}

/// The folder all lie in, and what comes before the first of them.
fn stretch(targets: &[&Target]) -> (Option<Path>, Option<Path>) {
    let Some(first) = targets.iter().map(|target| target.literal()).min() else { return (None, None) };
    let shared = |with: &str| first.bytes().zip(with.bytes()).take_while(|(a, b)| a == b).count();
    let shared = targets.iter().map(|target| shared(target.literal())).min().unwrap_or_default();
    let folder = first.get(..shared).and_then(|text| text.rsplit_once('/')).map(|(folder, _)| folder);
    let before = first.char_indices().next_back().map(|(last, _)| &first[..last]);
    let path = |text: &str| Path::parse(text).ok().filter(|path| !path.as_ref().is_empty());
    (folder.and_then(path), before.and_then(path))
}

/// The targets by the folders all their objects lie below.
fn by_folder<'a>(targets: &[&'a Target]) -> BTreeMap<&'a str, Vec<usize>> {
    let mut by_folder: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, target) in targets.iter().enumerate() {
        let folder = target.literal().rsplit_once('/').map_or("", |(folder, _)| folder);
        by_folder.entry(folder).or_default().push(place);
    }
    by_folder
}

/// Every folder an object lies in or below, the root included.
fn folders_of(object: &str) -> impl Iterator<Item = &str> {
    let below = object.match_indices('/').map(|(end, _)| &object[..end]);
    std::iter::once("").chain(below)
}

fn is_meant(target: &Target, object: &Path) -> bool {
    match target {
        Target::Object(path) => path == object,
        Target::Matching { matcher, .. } => matcher.is_match(object.as_ref()),
    }
}

async fn is_there(store: &dyn ObjectStore, target: &Target) -> Result<bool> {
    match target {
        Target::Object(path) => match store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(cause) => Err(unreadable(path.as_ref(), cause)),
        },
        Target::Matching { folder, text, .. } => {
            let mut listing = store.list(folder.as_ref());
            while let Some(meta) = listing.try_next().await.map_err(|cause| unreadable(text, cause))? {
                if is_meant(target, &meta.location) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::tz::TimeZone;
    use object_store::memory::InMemory;
    use proptest::prelude::*;
    use windrow_common::window::{Axis, Window};

    use super::{super::template::PathTemplate, *};

    fn targets(path: &str, hours: i64) -> Vec<Target> {
        let path = PathTemplate::parse(path, TimeZone::UTC).unwrap();
        let hour = |n: i64| Window::new(Axis::Time, n * 3_600_000_000, (n + 1) * 3_600_000_000).unwrap();
        (0..hours).map(|n| path.in_window(&hour(n)).unwrap()).collect()
    }

    proptest! {
        /// Whether few are asked for one by one or many are looked for in a listing: what is found is what is there.
        #[test]
        fn what_is_found_is_what_is_there(
            hours in 1..40_i64,
            delivered in prop::collection::btree_set((0..45_i64, 0..3_usize), 0..60),
            path in prop::sample::select(vec![
                "{window.start:%F}/{window.start:%H}.ok",
                "in/h={window.start:%FT%H}/_SUCCESS",
                "in/{window.start:%FT%H}-*.csv",
                "in/d={window.start:%F}/h={window.start:%H}/*",
                "in/*/{window.start:%FT%H}.csv",
                "{window.start:%H}*",
                "all/_SUCCESS",
            ]),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (store, targets) = (InMemory::new(), targets(path, hours));
            runtime.block_on(async {
                for (hour, more) in delivered {
                    // What matches an hour's path, what does not, and what lies beside.
                    let text = super::tests::targets(path, hour + 1).pop().unwrap().text().replace('*', "a");
                    let text = match more { 0 => text, 1 => format!("{text}x/y"), _ => format!("a{text}") };
                    store.put(&Path::from(text), "x".into()).await.unwrap();
                }
                let mut expected = Vec::new();
                for target in &targets {
                    expected.push(is_there(&store, target).await.unwrap());
                }
                assert_eq!(there(&store, &targets).await.unwrap(), expected);
            });
        }
    }

    #[tokio::test]
    async fn of_a_folder_with_too_many_objects_only_some_are_listed() {
        let store = InMemory::new();
        for n in 0..MOST_LISTED {
            store.put(&Path::from(format!("in/1970-01-01T00/n{n}")), "".into()).await.unwrap();
        }
        let targets = targets("in/{window.start:%FT%H}/_SUCCESS", 10);
        store.put(&Path::from("in/1970-01-01T09/_SUCCESS"), "".into()).await.unwrap();
        let all: Vec<&Target> = targets.iter().collect();
        assert_eq!(listed(&store, &all).await.unwrap(), (vec![false; 10], false));
        let found = there(&store, &targets).await.unwrap();
        assert_eq!(found.iter().position(|there| *there), Some(9));
    }
}
