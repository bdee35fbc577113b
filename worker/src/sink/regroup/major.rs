//! Which files of one partition and kin a major rewrite takes. Pure.
//!
//! Files that were clustered together are a set, and lie in an order of their own. New files are clustered with the sets that are not
//! full yet, so that sets are few; a full one is left as it is. That is due as soon as the new files are half of what the open
//! sets hold: so each row is rewritten a number of times that grows with the logarithm of its set's size, and never again once the set is full.

use std::collections::BTreeMap;

use windrow_common::compaction::Clustering;

use super::{
    group::{Bin, Major},
    pack::{Found, GROUP_FILES, Packing, bin_of, cut, order},
};

/// What makes a major rewrite.
#[derive(Clone, Debug, PartialEq)]
pub struct MajorRule {
    pub clustering: Clustering,
    /// Somebody wants it: whatever is not clustered so is, however little that is.
    pub asked: bool,
    /// Most bytes of files that are clustered together.
    pub most: u64,
}

impl MajorRule {
    /// What is done with the rows.
    pub(super) fn does(&self, target: u64) -> Major {
        Major { clustering: self.clustering.clone(), target }
    }

    /// Whether a file is as it is to be.
    pub(super) fn is_done(&self, file: &Found<'_>) -> bool {
        file.clustered.is_some_and(|set| *set.by == self.clustering)
    }
}

/// The bins of files of one kin; `None` where nothing is due.
pub(super) fn due(files: &[Found<'_>], major: &MajorRule, rule: &Packing) -> Option<Vec<Bin>> {
    let (done, new): (Vec<&Found<'_>>, Vec<&Found<'_>>) = files.iter().partition(|file| major.is_done(file));
    let mut sets: BTreeMap<&str, u64> = BTreeMap::new();
    for file in &done {
        *sets.entry(set_of(file)).or_default() += file.bytes;
    }
    let is_open = |file: &&&Found<'_>| sets.get(set_of(file)).is_some_and(|bytes| *bytes < major.most / 2);
    let open: Vec<&Found<'_>> = done.iter().filter(is_open).copied().collect();
    let sum = |files: &[&Found<'_>]| files.iter().map(|file| file.bytes).sum::<u64>();
    let many = new.len() >= rule.min_files || sum(&new) >= rule.target || new.iter().any(|file| rule.is_stale(file));
    let enough = many && sum(&new).saturating_mul(2) >= sum(&open);
    if new.is_empty() || !(major.asked || enough) {
        return None;
    }
    let mut all: Vec<Found<'_>> = new.into_iter().chain(open).cloned().collect();
    all.sort_by(|a, b| order(a).cmp(&order(b)));
    let does = major.does(rule.target);
    let bins = cut(all, |file| file.bytes, |bin, size| size.read <= major.most && bin.len() < GROUP_FILES);
    let bins =
        bins.into_iter().filter(|bin| bin.iter().any(|file| !major.is_done(file))).filter_map(|bin| bin_of(&bin));
    // Without an order a file of the right size is as it should be.
    Some(bins.filter(|bin| !does.clustering.columns.is_empty() || does.changes(bin)).collect())
}

fn set_of<'a>(file: &Found<'a>) -> &'a str {
    file.clustered.map_or("", |set| set.of)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};
    use windrow_common::{
        compaction::Order,
        window::{Axis, Window},
    };

    use super::*;
    use crate::sink::regroup::pack::{Set, tests::RULE};

    /// A file that somebody wrote, or one of a set.
    #[derive(Clone, Debug)]
    struct File {
        path: String,
        bytes: u64,
        hour: i64,
        set: Option<(Clustering, String)>,
    }

    fn by(columns: &[&str]) -> Clustering {
        Clustering { columns: columns.iter().map(|&name| name.to_owned()).collect(), order: Order::Sort }
    }

    fn rule(asked: bool, clustering: Clustering) -> Packing {
        Packing { major: Some(MajorRule { clustering, asked, most: 1_000 }), ..RULE }
    }

    fn new(path: &str, bytes: u64) -> File {
        File { path: path.to_owned(), bytes, hour: 1, set: None }
    }

    fn of_set(path: &str, bytes: u64, set: &str, clustering: Clustering) -> File {
        File { set: Some((clustering, set.to_owned())), ..new(path, bytes) }
    }

    fn looked(files: &[File], rule: &Packing) -> Option<Vec<Bin>> {
        let partition = BTreeMap::new();
        let found: Vec<Found<'_>> = files.iter().map(|file| found(file, &partition)).collect();
        due(&found, rule.major.as_ref().unwrap(), rule)
    }

    fn found<'a>(file: &'a File, partition: &'a BTreeMap<String, Option<String>>) -> Found<'a> {
        Found {
            path: &file.path,
            bytes: file.bytes,
            rows: Some(1),
            version: None,
            partition,
            window: Some(Window::new(Axis::Time, file.hour, file.hour + 1).unwrap()),
            told_apart: true,
            modified: 1,
            clustered: file.set.as_ref().map(|(by, of)| Set { by, of }),
        }
    }

    fn paths(bins: Option<Vec<Bin>>) -> Vec<Vec<String>> {
        let of = |bin: &Bin| bin.files.iter().map(|file| file.path.clone()).collect();
        bins.unwrap_or_default().iter().map(of).collect()
    }

    #[test]
    fn new_files_join_a_set_when_they_are_half_of_it_and_a_full_set_stays() {
        let rule = rule(false, by(&["a"]));
        let set = [of_set("s1", 100, "s", by(&["a"])), of_set("s2", 100, "s", by(&["a"]))];
        let with = |more: &[File]| paths(looked(&[&set, more].concat(), &rule));
        assert!(with(&[]).is_empty(), "what is clustered is not clustered again");
        assert!(with(&[new("x", 20), new("y", 20), new("z", 20)]).is_empty(), "60 are less than half of 200");
        assert_eq!(with(&[new("x", 40), new("y", 40), new("z", 40)]), [["s1", "s2", "x", "y", "z"]]);
        assert_eq!(with(&[new("big", 300)]), [["big", "s1", "s2"]], "large files, too, and one is enough");
        let full: Vec<File> = (0..6).map(|n| of_set(&format!("f{n}"), 100, "f", by(&["a"]))).collect();
        assert_eq!(paths(looked(&[full, vec![new("big", 300)]].concat(), &rule)), [["big"]]);
    }

    #[test]
    fn another_order_is_no_order() {
        let old: Vec<File> = (0..4).map(|n| of_set(&format!("f{n}"), 200, "f", by(&["b"]))).collect();
        assert_eq!(paths(looked(&old, &rule(false, by(&["a"])))), [["f0", "f1", "f2", "f3"]]);
        assert!(looked(&old, &rule(false, by(&["b"]))).is_none());
        assert!(looked(&old, &rule(true, by(&["b"]))).is_none(), "whoever asks for it has it already");
    }

    #[test]
    fn whoever_asks_does_not_wait_for_enough() {
        let files = [of_set("s", 400, "s", by(&["a"])), new("x", 1)];
        assert!(looked(&files, &rule(false, by(&["a"]))).is_none());
        assert_eq!(paths(looked(&files, &rule(true, by(&["a"])))), [["s", "x"]]);
        // Without columns sizes alone matter.
        assert_eq!(paths(looked(&[new("x", 90)], &rule(true, by(&[])))), Vec::<Vec<String>>::new());
        assert_eq!(paths(looked(&[new("x", 300)], &rule(true, by(&[])))), [["x"]]);
        assert_eq!(paths(looked(&[new("x", 60), new("y", 60)], &rule(true, by(&[])))), [["x", "y"]]);
    }

    proptest! {
        /// Files come and are clustered when that is due, a hundred times: no bin is too large, every file is in one, there are few
        /// sets, and no byte is rewritten often.
        #[test]
        fn bytes_are_clustered_a_few_times_and_end_in_full_sets(sizes in vec(1_u64..200, 100)) {
            let rule = rule(false, by(&["a"]));
            let (mut files, mut written, mut loaded) = (Vec::<File>::new(), 0, 0);
            for (number, bytes) in sizes.into_iter().enumerate() {
                files.push(File { hour: number as i64 + 1, ..new(&format!("n{number:03}"), bytes) });
                loaded += bytes;
                for bin in looked(&files, &rule).unwrap_or_default() {
                    let size: u64 = bin.files.iter().map(|file| file.bytes).sum();
                    prop_assert!(size <= 1_000);
                    let taken: BTreeSet<&str> = bin.files.iter().map(|file| file.path.as_str()).collect();
                    prop_assert_eq!(taken.len(), bin.files.len());
                    files.retain(|file| !taken.contains(file.path.as_str()));
                    let set = format!("s{number}-{}", bin.files[0].path);
                    for part in 0..rule.major.as_ref().unwrap().does(rule.target).makes(&bin) {
                        let bytes = size / rule.major.as_ref().unwrap().does(rule.target).makes(&bin);
                        files.push(File { hour: number as i64 + 1, ..of_set(&format!("{set}-{part}"), bytes, &set, by(&["a"])) });
                    }
                    written += size;
                }
            }
            let sets: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.set.as_ref()?.1.as_str())).collect();
            prop_assert!(sets.len() as u64 <= loaded / 400 + 2, "{} sets of {loaded} bytes", sets.len());
            prop_assert!(written <= 7 * loaded, "{written} bytes were written for {loaded}");
        }
    }
}
