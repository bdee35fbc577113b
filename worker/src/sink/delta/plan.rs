//! What the next commit removes, what it has to rewrite, and which staged files it takes as they are. Pure: windows in,
//! decisions out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use windrow_common::{
    intent::IntentTask,
    manifest::{Manifest, StagedFile, WriteMode},
    window::{Axis, Window},
};

use super::table::ActiveFile;

/// The next commit before any file is read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Active files that stop being part of the table, rewritten ones included.
    pub(super) remove: BTreeSet<String>,
    /// Files of which a part stays.
    pub(super) rewrite: Vec<Rewrite>,
    /// Staged files that are taken whole, in the order of their tasks.
    pub(super) take: Vec<Taken>,
}

/// A file some windows are cut out of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rewrite {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) window: Option<Window>,
    pub(super) partition: BTreeMap<String, Option<String>>,
    pub(super) cuts: Vec<Window>,
    /// The task that cut last: the rewritten files carry its name.
    pub(super) task: usize,
}

/// A staged file and the place of its task in the intent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) task: usize,
    pub(super) file: StagedFile,
}

/// How a window meets a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    Apart,
    /// Every row of the file is replaced.
    Covered,
    /// Some rows may be.
    Cut,
}

/// What has happened to a file so far.
#[derive(Debug, Default)]
struct Fate {
    gone: bool,
    cuts: Vec<Window>,
    task: usize,
}

/// Works the tasks off in order: files staged by an earlier one are as active as those of the table.
pub(super) fn plan(active: &HashMap<String, ActiveFile>, tasks: &[(IntentTask, Manifest)]) -> Plan {
    let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
    let mut staged: Vec<(Taken, Fate)> = Vec::new();
    for (task, (intent, manifest)) in tasks.iter().enumerate() {
        match manifest.write {
            WriteMode::Append => {}
            WriteMode::ReplaceAll => {
                active.keys().for_each(|path| fates.entry(path).or_default().gone = true);
                staged.iter_mut().for_each(|(_, fate)| fate.gone = true);
            }
            WriteMode::ReplaceWindow => {
                for (path, file) in active {
                    match meet(file, &intent.window) {
                        Meeting::Apart => {}
                        meeting => fates.entry(path).or_default().strike(meeting, intent.window, task),
                    }
                }
                for (taken, fate) in &mut staged {
                    fate.strike(meet_window(&taken.file.window, &intent.window), intent.window, task);
                }
            }
        }
        staged.extend(manifest.files.iter().map(|file| (Taken { task, file: file.clone() }, Fate::default())));
    }
    let mut plan = Plan::default();
    for (path, fate) in fates {
        if let Some(file) = active.get(path) {
            plan.settle_active(path, file, fate);
        }
    }
    staged.into_iter().for_each(|(taken, fate)| plan.settle_staged(taken, fate));
    plan
}

impl Fate {
    fn strike(&mut self, meeting: Meeting, window: Window, task: usize) {
        match meeting {
            Meeting::Apart => return,
            Meeting::Covered => self.gone = true,
            Meeting::Cut => self.cuts.push(window),
        }
        self.task = task;
    }

    /// Nothing is left: covered at once, or by all the cuts together.
    fn is_over(&self, window: Option<&Window>) -> bool {
        self.gone || (!self.cuts.is_empty() && window.is_some_and(|window| kept(window, &self.cuts).is_empty()))
    }
}

impl Plan {
    fn settle_active(&mut self, path: &str, file: &ActiveFile, fate: Fate) {
        if fate.is_over(file.window.as_ref()) {
            self.remove.insert(path.to_owned());
        } else if !fate.cuts.is_empty() {
            self.remove.insert(path.to_owned());
            self.rewrite.push(Rewrite {
                path: path.to_owned(),
                bytes: file.bytes,
                window: file.window,
                partition: file.partition.clone(),
                cuts: fate.cuts,
                task: fate.task,
            });
        }
    }

    fn settle_staged(&mut self, taken: Taken, fate: Fate) {
        if fate.is_over(Some(&taken.file.window)) {
            return;
        }
        if fate.cuts.is_empty() {
            self.take.push(taken);
            return;
        }
        self.rewrite.push(Rewrite {
            path: taken.file.path,
            bytes: taken.file.bytes,
            window: Some(taken.file.window),
            partition: taken.file.partition,
            cuts: fate.cuts,
            task: fate.task,
        });
    }
}

fn meet(file: &ActiveFile, window: &Window) -> Meeting {
    match &file.window {
        Some(tagged) if tagged.axis() == window.axis() => meet_window(tagged, window),
        // Which version of a full load a row belongs to cannot be told without a tag.
        _ if window.axis() == Axis::Version => Meeting::Apart,
        _ if file.bounds.is_some_and(|bounds| !bounds.touch(window)) => Meeting::Apart,
        _ => Meeting::Cut,
    }
}

fn meet_window(file: &Window, window: &Window) -> Meeting {
    if window.covers(file) {
        Meeting::Covered
    } else if window.overlaps(file) {
        Meeting::Cut
    } else {
        Meeting::Apart
    }
}

/// What is left of `window` without the cuts, in order.
pub(super) fn kept(window: &Window, cuts: &[Window]) -> Vec<Window> {
    let mut cuts: Vec<_> = cuts.iter().filter(|cut| cut.overlaps(window)).collect();
    cuts.sort_unstable_by_key(|cut| cut.start());
    let mut left = Vec::new();
    let mut at = window.start();
    for cut in cuts {
        left.extend(Window::new(window.axis(), at, cut.start()).ok());
        at = at.max(cut.end());
    }
    left.extend(Window::new(window.axis(), at, window.end()).ok());
    left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::sink::delta::bounds::Bounds;

    fn time(start: i64, end: i64) -> Window {
        Window::new(Axis::Time, start, end).unwrap()
    }

    fn file(window: Option<Window>, bounds: Option<Bounds>) -> ActiveFile {
        ActiveFile { bytes: 1, partition: BTreeMap::new(), window, bounds, deletion_vector: None }
    }

    #[test]
    fn a_file_is_met_by_its_tag_and_without_one_by_its_statistics() {
        let window = time(10, 20);
        let cases = [
            (file(Some(time(10, 20)), None), Meeting::Covered),
            (file(Some(time(12, 13)), None), Meeting::Covered),
            (file(Some(time(0, 10)), None), Meeting::Apart),
            (file(Some(time(20, 30)), None), Meeting::Apart),
            (file(Some(time(0, 11)), None), Meeting::Cut),
            (file(Some(Window::version(3)), None), Meeting::Cut),
            (file(None, None), Meeting::Cut),
            (file(None, Some(Bounds { min: 20, max: 30 })), Meeting::Apart),
            (file(None, Some(Bounds { min: 0, max: 10 })), Meeting::Cut),
        ];
        for (file, meeting) in cases {
            assert_eq!(meet(&file, &window), meeting, "{file:?}");
        }
        assert_eq!(meet(&file(None, None), &Window::version(3)), Meeting::Apart);
    }

    proptest! {
        #[test]
        fn each_point_of_a_window_is_either_cut_or_kept_once(
            cuts in prop::collection::vec((0_i64..40, 1_i64..10), 0..6),
        ) {
            let window = time(5, 35);
            let cuts: Vec<_> = cuts.into_iter().map(|(start, length)| time(start, start + length)).collect();
            let left = kept(&window, &cuts);
            for point in 0..50 {
                let cut = cuts.iter().any(|cut| cut.contains(point));
                let kept = left.iter().filter(|kept| kept.contains(point)).count();
                prop_assert_eq!(kept, usize::from(window.contains(point) && !cut));
            }
        }
    }
}
