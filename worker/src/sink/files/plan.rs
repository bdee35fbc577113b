//! What the next commit does to the files: which stay, which go, and which hold windows that stay beside windows that
//! go. Pure.

use std::collections::BTreeMap;

use windrow_common::{
    manifest::{StagedFile, WriteMode},
    window::Window,
};

use super::{entry::File, state::State};

/// One task's contribution, in the order of publishing.
pub(super) struct Contribution<'a> {
    pub(super) write: WriteMode,
    pub(super) window: Window,
    pub(super) files: &'a [StagedFile],
}

/// The next commit, but for the rewriting.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Staged files as they are.
    pub(super) add: Vec<StagedFile>,
    /// Published paths that go, those to be rewritten included.
    pub(super) remove: Vec<String>,
    pub(super) rewrites: Vec<Rewrite>,
}

/// A file of which some windows are replaced.
#[derive(Debug, PartialEq)]
pub(super) struct Rewrite {
    /// Where it can be read.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) partition: BTreeMap<String, Option<String>>,
    /// The stretches that stay, ascending.
    pub(super) keep: Vec<Window>,
    /// The contribution that cut it last; it lends the new files its name.
    pub(super) by: usize,
}

/// A file that is part of the table so far, and what was cut out of its window.
struct Held<'a> {
    file: Origin<'a>,
    window: Window,
    cuts: Vec<Window>,
    by: usize,
}

enum Origin<'a> {
    Published(&'a File),
    Staged(&'a StagedFile),
}

pub(super) fn plan(state: &State, contributions: &[Contribution<'_>]) -> Plan {
    let published = |file| Held { file: Origin::Published(file), window: file.window, cuts: Vec::new(), by: 0 };
    let mut held: Vec<Held<'_>> = state.files.values().map(published).collect();
    let mut plan = Plan::default();
    for (by, contribution) in contributions.iter().enumerate() {
        match contribution.write {
            WriteMode::Append => {}
            WriteMode::ReplaceAll => held.drain(..).for_each(|gone| plan.drop(&gone)),
            WriteMode::ReplaceWindow => cut_out(&mut held, contribution.window, by, &mut plan),
        }
        let staged = |file| Held { file: Origin::Staged(file), window: file.window, cuts: Vec::new(), by };
        held.extend(contribution.files.iter().map(staged));
    }
    for held in held {
        plan.settle(held);
    }
    plan.remove.sort_unstable();
    plan
}

fn cut_out(held: &mut Vec<Held<'_>>, window: Window, by: usize, plan: &mut Plan) {
    held.retain_mut(|held| {
        if !held.window.overlaps(&window) {
            return true;
        }
        held.cuts.push(window);
        held.by = by;
        let stays = !kept(&held.window, &held.cuts).is_empty();
        if !stays {
            plan.drop(held);
        }
        stays
    });
}

impl Plan {
    /// A file of which nothing stays. A staged one is simply not named; the sweep takes it.
    fn drop(&mut self, held: &Held<'_>) {
        if let Origin::Published(file) = held.file {
            self.remove.push(file.path.clone());
        }
    }

    fn settle(&mut self, held: Held<'_>) {
        if held.cuts.is_empty() {
            if let Origin::Staged(file) = held.file {
                self.add.push(file.clone());
            }
            return;
        }
        self.drop(&held);
        let (path, bytes, partition) = match held.file {
            Origin::Published(file) => (&file.path, file.bytes, &file.partition),
            Origin::Staged(file) => (&file.path, file.bytes, &file.partition),
        };
        self.rewrites.push(Rewrite {
            path: path.clone(),
            bytes,
            partition: partition.clone(),
            keep: kept(&held.window, &held.cuts),
            by: held.by,
        });
    }
}

/// What the cuts leave of a window, ascending; neighbours are one.
fn kept(window: &Window, cuts: &[Window]) -> Vec<Window> {
    let mut cuts: Vec<(i64, i64)> = cuts.iter().map(|cut| (cut.start(), cut.end())).collect();
    cuts.sort_unstable();
    let mut left = Vec::new();
    let mut from = window.start();
    for (start, end) in cuts {
        left.extend(Window::new(window.axis(), from, start.min(window.end())));
        from = from.max(end);
    }
    left.extend(Window::new(window.axis(), from, window.end()));
    left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use windrow_common::{manifest::Digest, window::Axis};

    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window::new(Axis::Time, start, end).unwrap()
    }

    fn staged(path: &str, start: i64, end: i64) -> StagedFile {
        StagedFile {
            path: path.to_owned(),
            bytes: 1,
            sha256: Digest([0; 32]),
            rows: 1,
            window: window(start, end),
            partition: BTreeMap::new(),
            stats: None,
        }
    }

    fn holding(files: &[(&str, i64, i64)]) -> State {
        let file = |(path, start, end): &(&str, i64, i64)| {
            let file = File {
                path: (*path).to_owned(),
                staged: String::new(),
                bytes: 1,
                sha256: Digest([0; 32]),
                rows: 1,
                window: window(*start, *end),
                partition: BTreeMap::new(),
            };
            ((*path).to_owned(), file)
        };
        State { files: files.iter().map(file).collect(), ..State::default() }
    }

    fn replace(start: i64, end: i64, files: &[StagedFile]) -> Contribution<'_> {
        Contribution { write: WriteMode::ReplaceWindow, window: window(start, end), files }
    }

    #[test]
    fn replacing_a_window_takes_its_files_and_leaves_its_neighbours() {
        let state = holding(&[("a", 0, 10), ("b", 10, 20), ("c", 20, 30)]);
        let new = [staged("new", 10, 20)];
        let plan = plan(&state, &[replace(10, 20, &new)]);
        assert_eq!((plan.remove, plan.add, plan.rewrites.len()), (vec!["b".to_owned()], new.to_vec(), 0));
    }

    #[test]
    fn a_window_without_rows_still_replaces_what_was_there() {
        let plan = plan(&holding(&[("a", 0, 10)]), &[replace(0, 10, &[])]);
        assert_eq!((plan.remove, plan.add), (vec!["a".to_owned()], vec![]));
    }

    #[test]
    fn a_file_of_several_windows_keeps_those_that_were_not_replaced() {
        let plan =
            plan(&holding(&[("a", 0, 100)]), &[replace(10, 20, &[]), replace(20, 30, &[]), replace(90, 200, &[])]);
        assert_eq!(plan.remove, ["a"]);
        assert_eq!(plan.rewrites.len(), 1);
        assert_eq!(plan.rewrites[0].keep, [window(0, 10), window(30, 90)]);
    }

    #[test]
    fn cuts_that_together_cover_a_file_leave_nothing_to_rewrite() {
        let plan = plan(&holding(&[("a", 0, 20)]), &[replace(0, 10, &[]), replace(10, 20, &[])]);
        assert_eq!((plan.remove, plan.rewrites), (vec!["a".to_owned()], vec![]));
    }

    #[test]
    fn later_tasks_of_one_commit_replace_earlier_ones() {
        let (first, second) = ([staged("first", 0, 10)], [staged("second", 0, 10)]);
        let plan = plan(&State::default(), &[replace(0, 10, &first), replace(0, 10, &second)]);
        assert_eq!((plan.add, plan.remove), (second.to_vec(), vec![]));
    }

    #[test]
    fn replacing_all_leaves_only_the_new_and_appending_removes_nothing() {
        let state = holding(&[("a", 0, 10), ("b", 10, 20)]);
        let new = [staged("new", 0, 1)];
        let all = [Contribution { write: WriteMode::ReplaceAll, window: Window::version(3), files: &new }];
        assert_eq!(plan(&state, &all).remove, ["a", "b"]);
        let append = [Contribution { write: WriteMode::Append, window: window(0, 10), files: &new }];
        let appended = plan(&state, &append);
        assert_eq!((appended.remove, appended.add), (vec![], new.to_vec()));
    }

    proptest! {
        /// Proves IL3.
        #[test]
        fn what_is_kept_and_what_is_cut_tile_the_window(cuts in prop::collection::vec((0_i64..50, 1_i64..20), 0..6)) {
            let whole = window(5, 45);
            let cuts: Vec<Window> = cuts.into_iter().map(|(start, length)| window(start, start + length)).collect();
            let left = kept(&whole, &cuts);
            for point in 0..60 {
                let stays = left.iter().filter(|part| part.contains(point)).count();
                let wanted = whole.contains(point) && !cuts.iter().any(|cut| cut.contains(point));
                prop_assert_eq!(stays, usize::from(wanted));
            }
        }
    }
}
