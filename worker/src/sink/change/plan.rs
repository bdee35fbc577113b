//! What the next commit removes, what it has to rewrite, and which staged files it takes as they are. Pure: windows in,
//! decisions out.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::{
    intent::IntentTask,
    manifest::{Manifest, StagedFile, WriteMode},
    window::{Axis, Window},
};

/// A file that is part of the table.
pub(in crate::sink) trait Standing {
    fn bytes(&self) -> u64;

    fn partition(&self) -> &BTreeMap<String, Option<String>>;

    /// The stretch that holds all its rows; absent where nobody wrote it down.
    fn window(&self) -> Option<Window>;

    /// Whether it may hold rows of a window of time, as far as anything but its own window tells.
    fn may_hold(&self, _window: &Window) -> bool {
        true
    }
}

/// The next commit before any file is read.
#[derive(Debug, Default, PartialEq)]
pub(in crate::sink) struct Plan {
    /// Active files that stop being part of the table, rewritten ones included.
    pub(in crate::sink) remove: BTreeSet<String>,
    /// Files of which a part stays.
    pub(in crate::sink) rewrite: Vec<Rewrite>,
    /// Staged files that are taken whole, in the order of their tasks.
    pub(in crate::sink) take: Vec<Taken>,
}

/// A file some windows are cut out of.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sink) struct Rewrite {
    pub(in crate::sink) path: String,
    pub(in crate::sink) bytes: u64,
    pub(in crate::sink) window: Option<Window>,
    pub(in crate::sink) partition: BTreeMap<String, Option<String>>,
    pub(in crate::sink) cuts: Vec<Window>,
    /// The task that cut last: the rewritten files carry its name.
    pub(in crate::sink) task: usize,
}

/// A staged file and the place of its task in the intent.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sink) struct Taken {
    pub(in crate::sink) task: usize,
    pub(in crate::sink) file: StagedFile,
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
pub(in crate::sink) fn plan<'a, F: Standing + 'a>(
    active: impl IntoIterator<Item = (&'a String, &'a F)>,
    tasks: &[(IntentTask, Manifest)],
) -> Plan {
    let active: BTreeMap<&str, &F> = active.into_iter().map(|(path, file)| (path.as_str(), file)).collect();
    let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
    let mut staged: Vec<(Taken, Fate)> = Vec::new();
    for (task, (intent, manifest)) in tasks.iter().enumerate() {
        match manifest.write {
            // Sinks of files take no upserts; whoever asks one for them is refused when it is opened.
            WriteMode::Append | WriteMode::Upsert => {}
            WriteMode::ReplaceAll => {
                active.keys().for_each(|path| fates.entry(path).or_default().gone = true);
                staged.iter_mut().for_each(|(_, fate)| fate.gone = true);
            }
            WriteMode::ReplaceWindow => {
                for (path, file) in &active {
                    match meet(*file, &intent.window) {
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
            plan.settle_active(path, *file, fate);
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
    fn settle_active(&mut self, path: &str, file: &impl Standing, fate: Fate) {
        if fate.is_over(file.window().as_ref()) {
            self.remove.insert(path.to_owned());
        } else if !fate.cuts.is_empty() {
            self.remove.insert(path.to_owned());
            self.rewrite.push(Rewrite {
                path: path.to_owned(),
                bytes: file.bytes(),
                window: file.window(),
                partition: file.partition().clone(),
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

fn meet(file: &impl Standing, window: &Window) -> Meeting {
    match &file.window() {
        Some(tagged) if tagged.axis() == window.axis() => meet_window(tagged, window),
        // Which version of a full load a row belongs to cannot be told without a tag.
        _ if window.axis() == Axis::Version => Meeting::Apart,
        _ if !file.may_hold(window) => Meeting::Apart,
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
pub(in crate::sink) fn kept(window: &Window, cuts: &[Window]) -> Vec<Window> {
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
    use windrow_common::{
        claim::Token,
        id::{PipelineName, TaskId},
        manifest::{Counts, Digest, ManifestRef},
    };

    use super::*;

    fn time(start: i64, end: i64) -> Window {
        Window::new(Axis::Time, start, end).unwrap()
    }

    /// A file, and the stretch its statistics speak of.
    struct File(Option<Window>, Option<Window>);

    impl Standing for File {
        fn bytes(&self) -> u64 {
            1
        }

        fn partition(&self) -> &BTreeMap<String, Option<String>> {
            static NONE: BTreeMap<String, Option<String>> = BTreeMap::new();
            &NONE
        }

        fn window(&self) -> Option<Window> {
            self.0
        }

        fn may_hold(&self, window: &Window) -> bool {
            self.1.is_none_or(|stretch| stretch.overlaps(window))
        }
    }

    #[test]
    fn a_file_is_met_by_its_tag_and_without_one_by_its_statistics() {
        let window = time(10, 20);
        let cases = [
            (File(Some(time(10, 20)), None), Meeting::Covered),
            (File(Some(time(12, 13)), None), Meeting::Covered),
            (File(Some(time(0, 10)), None), Meeting::Apart),
            (File(Some(time(20, 30)), None), Meeting::Apart),
            (File(Some(time(0, 11)), None), Meeting::Cut),
            (File(Some(Window::version(3)), None), Meeting::Cut),
            (File(None, None), Meeting::Cut),
            (File(None, Some(time(20, 30))), Meeting::Apart),
            (File(None, Some(time(0, 11))), Meeting::Cut),
        ];
        for (number, (file, meeting)) in cases.into_iter().enumerate() {
            assert_eq!(meet(&file, &window), meeting, "case {number}");
        }
        assert_eq!(meet(&File(None, None), &Window::version(3)), Meeting::Apart);
    }

    fn replace(start: i64, end: i64, paths: &[&str]) -> (IntentTask, Manifest) {
        task(WriteMode::ReplaceWindow, time(start, end), paths)
    }

    /// A task whose files fill its window.
    fn task(write: WriteMode, window: Window, paths: &[&str]) -> (IntentTask, Manifest) {
        let file = |path: &&str| StagedFile {
            path: (*path).to_owned(),
            bytes: 1,
            sha256: Digest([0; 32]),
            rows: 1,
            window,
            partition: BTreeMap::new(),
            stats: None,
            clustered: None,
        };
        let (task, token) = (TaskId::from_bytes([1; 16]), Token { epoch: 1, revision: 1 });
        let pipeline: PipelineName = "flights".parse().unwrap();
        let manifest = Manifest {
            task,
            token,
            attempt: 1,
            pipeline: pipeline.clone(),
            sink: "lake".parse().unwrap(),
            window,
            write,
            schema: serde_json::Value::Null,
            files: paths.iter().map(file).collect(),
            dead_letters: Vec::new(),
            inputs: Vec::new(),
            counts: Counts::default(),
        };
        let reference =
            ManifestRef { path: String::new(), sha256: Digest([0; 32]), counts: Counts::default(), proof: None };
        (IntentTask { task, pipeline, window, revision: 0, token, manifest: reference, declared: None }, manifest)
    }

    /// Files there are, tasks, and what is removed, taken and cut.
    type Case<'a> = (&'a [(&'a str, i64, i64)], Vec<(IntentTask, Manifest)>, [&'a [&'a str]; 3]);

    /// What is removed, taken and cut, by path.
    fn outcome(
        active: &[(&str, i64, i64)],
        tasks: &[(IntentTask, Manifest)],
    ) -> (Vec<String>, Vec<String>, Vec<String>) {
        let active: BTreeMap<String, File> = active
            .iter()
            .map(|(path, start, end)| ((*path).to_owned(), File(Some(time(*start, *end)), None)))
            .collect();
        let plan = plan(&active, tasks);
        let taken = plan.take.into_iter().map(|taken| taken.file.path);
        (plan.remove.into_iter().collect(), taken.collect(), plan.rewrite.into_iter().map(|cut| cut.path).collect())
    }

    #[test]
    fn what_goes_stays_and_is_cut_follows_from_the_windows_in_the_order_of_the_tasks() {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let three = [("a", 0, 10), ("b", 10, 20), ("c", 20, 30)];
        let cases: [Case<'_>; 7] = [
            (&three, vec![replace(10, 20, &["new"])], [&["b"], &["new"], &[]]),
            (&three, vec![replace(10, 20, &[])], [&["b"], &[], &[]]),
            (&[("a", 0, 100)], vec![replace(10, 20, &[]), replace(90, 200, &[])], [&["a"], &[], &["a"]]),
            (&[("a", 0, 20)], vec![replace(0, 10, &[]), replace(10, 20, &[])], [&["a"], &[], &[]]),
            (&[], vec![replace(0, 10, &["old"]), replace(0, 10, &["new"])], [&[], &["new"], &[]]),
            (
                &three,
                vec![task(WriteMode::ReplaceAll, Window::version(3), &["new"])],
                [&["a", "b", "c"], &["new"], &[]],
            ),
            (&three, vec![task(WriteMode::Append, time(0, 10), &["new"])], [&[], &["new"], &[]]),
        ];
        for (number, (active, tasks, [removed, taken, cut])) in cases.into_iter().enumerate() {
            assert_eq!(outcome(active, &tasks), (owned(removed), owned(taken), owned(cut)), "case {number}");
        }
    }

    proptest! {
        /// Proves IL3.
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
