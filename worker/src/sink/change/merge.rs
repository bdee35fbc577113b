//! Which small staged files become one. Pure.

use std::collections::BTreeMap;

use windrow_common::window::{Axis, Window};

use super::plan::Taken;
use crate::stage::told_apart;

/// Files to be merged, in order, and those that stay as they are.
#[derive(Debug, Default, PartialEq)]
pub(in crate::sink) struct Merge {
    pub(in crate::sink) bins: Vec<Vec<Taken>>,
    pub(in crate::sink) alone: Vec<Taken>,
}

/// How merging is bounded.
#[derive(Clone, Copy, Debug)]
pub(in crate::sink) struct Rule<'a> {
    /// The size of a merged file, about.
    pub(in crate::sink) target_bytes: u64,
    /// The column by which rows of different windows can be told apart later. Without it, and for files with rows
    /// that have no value there, each window keeps its own files.
    pub(in crate::sink) cursor: Option<&'a str>,
    /// The windows of the tasks.
    pub(in crate::sink) windows: &'a [Window],
}

/// Gathers files of one partition whose windows meet, smaller than half the target, up to the target.
pub(in crate::sink) fn merge(files: Vec<Taken>, rule: Rule<'_>) -> Merge {
    let mut merge = Merge::default();
    let mut partitions: BTreeMap<_, Vec<Taken>> = BTreeMap::new();
    for taken in files {
        if taken.file.bytes > rule.target_bytes / 2 {
            merge.alone.push(taken);
        } else {
            partitions.entry(taken.file.partition.clone()).or_default().push(taken);
        }
    }
    for mut small in partitions.into_values() {
        small.sort_by(|a, b| key(a, rule).cmp(&key(b, rule)));
        let mut bin: Vec<Taken> = Vec::new();
        let mut bytes = 0;
        for taken in small {
            if bin.last().is_some_and(|_| bytes + taken.file.bytes > rule.target_bytes || !joins(&bin, &taken, rule)) {
                merge.close(std::mem::take(&mut bin));
                bytes = 0;
            }
            bytes += taken.file.bytes;
            bin.push(taken);
        }
        merge.close(bin);
    }
    merge
}

fn key<'a>(taken: &'a Taken, rule: Rule<'_>) -> (Option<Window>, Window, &'a str) {
    (rule.windows.get(taken.task).copied(), taken.file.window, taken.file.path.as_str())
}

impl Merge {
    fn close(&mut self, bin: Vec<Taken>) {
        if bin.len() > 1 { self.bins.push(bin) } else { self.alone.extend(bin) }
    }
}

/// Whether the file's task follows on those of the bin without a gap: then the merged file's stretch holds no window
/// that is somebody else's.
fn joins(bin: &[Taken], next: &Taken, rule: Rule<'_>) -> bool {
    let window = |taken: &Taken| rule.windows.get(taken.task).copied();
    let (Some(of_last), Some(of_next)) = (bin.last().and_then(window), window(next)) else { return false };
    if of_last == of_next {
        return true;
    }
    let reach = bin.iter().filter_map(window).map(|window| window.end()).max().unwrap_or(i64::MIN);
    let told_apart = bin.iter().chain([next]).all(|taken| told_apart(&taken.file, rule.cursor));
    told_apart && of_last.axis() == Axis::Time && of_next.axis() == Axis::Time && of_next.start() <= reach
}

/// The stretch that holds all the files' rows.
pub(in crate::sink) fn hull(bin: &[Taken]) -> Option<Window> {
    let first = bin.first()?.file.window;
    bin.iter().try_fold(first, |hull, taken| {
        let window = taken.file.window;
        Window::new(hull.axis(), hull.start().min(window.start()), hull.end().max(window.end())).ok()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use windrow_common::manifest::{Digest, StagedFile};

    use super::*;

    fn time(start: i64, end: i64) -> Window {
        Window::new(Axis::Time, start, end).unwrap()
    }

    fn taken(task: usize, window: Window, bytes: u64, partition: &str) -> Taken {
        let file = StagedFile {
            path: format!("{partition}/{task}-{bytes}"),
            bytes,
            sha256: Digest([0; 32]),
            rows: 1,
            window,
            partition: [("p".to_owned(), Some(partition.to_owned()))].into(),
            stats: Some(serde_json::json!({ "nullCount": { "at": 0 } })),
            clustered: None,
        };
        Taken { task, file }
    }

    fn shape(merge: &Merge) -> (Vec<Vec<usize>>, Vec<usize>) {
        let tasks = |files: &[Taken]| files.iter().map(|taken| taken.task).collect::<Vec<_>>();
        (merge.bins.iter().map(|bin| tasks(bin)).collect(), tasks(&merge.alone))
    }

    #[test]
    fn neighbours_are_merged_up_to_the_target_and_never_across_a_gap() {
        let windows = [time(0, 10), time(10, 20), time(30, 40), time(40, 50), time(50, 60)];
        let files: Vec<_> = windows
            .iter()
            .enumerate()
            .map(|(task, w)| taken(task, time(w.start() + 1, w.end() - 1), 40, "a"))
            .collect();
        let rule = Rule { target_bytes: 100, cursor: Some("at"), windows: &windows };
        let found = merge(files.clone(), rule);
        assert_eq!(shape(&found), (vec![vec![0, 1], vec![2, 3]], vec![4]));
        assert_eq!(hull(&found.bins[0]), Some(time(1, 19)));

        let alone = merge(files.clone(), Rule { cursor: None, ..rule });
        assert!(alone.bins.is_empty());
        let mut with_null = files;
        with_null[0].file.stats = Some(serde_json::json!({ "nullCount": { "at": 1 } }));
        assert_eq!(shape(&merge(with_null, rule)), (vec![vec![2, 3]], vec![0, 1, 4]));
    }

    #[test]
    fn big_files_and_other_partitions_stay_apart() {
        let windows = [time(0, 10), time(0, 10)];
        let rule = Rule { target_bytes: 100, cursor: None, windows: &windows };
        let files = vec![
            taken(0, windows[0], 10, "a"),
            taken(1, windows[1], 20, "a"),
            taken(0, windows[0], 10, "b"),
            taken(1, windows[1], 51, "a"),
        ];
        assert_eq!(shape(&merge(files, rule)), (vec![vec![0, 1]], vec![1, 0]));
    }
}
