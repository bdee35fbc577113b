//! Which small files become one. Pure: what is known of a table's files in, groups out.
//!
//! A file that is rewritten is read and written whole, so it should not happen to the same rows again and again: a file that is
//! more than twice as large as all the others together waits until they have grown, and each row is rewritten a number of times that grows with the
//! logarithm of the file it ends in. For the same reason they are weighed by what they come to, and not by their bytes: else files that
//! shrink by half would come out small, and be rewritten once more.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::{
    compaction::{Clustering, FileLayout},
    id::SinkId,
    window::{Axis, Window},
};

use super::{
    group::{Bin, Group, Major, Member, join},
    major::{self, MajorRule},
    weight::Weights,
};

/// A group that has come to so many bytes is full: one task reads about so much.
const GROUP_BYTES: u64 = 256 << 20;
/// Most files of a group, unless they become one.
pub(super) const GROUP_FILES: usize = 1_000;
/// Most files made by one task.
const GROUP_BINS: usize = 64;
/// Most groups of one answer; it has to fit a message.
const MOST_GROUPS: usize = 100;

/// What makes files worth rewriting.
#[derive(Clone, Debug, PartialEq)]
pub struct Packing {
    /// Bytes a rewritten file is to reach.
    pub target: u64,
    /// Files of fewer bytes are small.
    pub small_below: u64,
    /// So many small files that may become one are rewritten.
    pub min_files: usize,
    /// Fewer are when one of them was written before this, in milliseconds since 1970.
    pub stale_before: i64,
    /// Rows of different windows have to be told apart later.
    pub windows_are_replaced: bool,
    /// Paths of files that are rewritten already.
    pub busy: BTreeSet<String>,
    /// Large files are rewritten, too.
    pub major: Option<MajorRule>,
}

/// A file that is part of the table.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sink) struct Found<'a> {
    pub(in crate::sink) path: &'a str,
    pub(in crate::sink) bytes: u64,
    pub(in crate::sink) rows: Option<u64>,
    /// Of a file of others: what it is now.
    pub(in crate::sink) version: Option<&'a str>,
    pub(in crate::sink) partition: &'a BTreeMap<String, Option<String>>,
    pub(in crate::sink) window: Option<Window>,
    /// Every row says by its cursor which window it is of.
    pub(in crate::sink) told_apart: bool,
    /// When it was written, in milliseconds since 1970.
    pub(in crate::sink) modified: i64,
    /// What a rewrite made of it, if one did.
    pub(in crate::sink) clustered: Option<Set<'a>>,
}

/// Files that were clustered together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sink) struct Set<'a> {
    pub(in crate::sink) by: &'a Clustering,
    /// What tells this set from others.
    pub(in crate::sink) of: &'a str,
}

/// What a look at a table came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    pub layout: FileLayout,
    /// Worth most first.
    pub groups: Vec<Group>,
}

/// Files that may become one are of one partition and of one kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kin {
    /// Nobody says which windows they hold.
    Untagged,
    /// The rows say it themselves, or nobody will ever want to know.
    Together,
    /// Each window, or version of a full load, by itself.
    Apart(Window),
}

/// Gathers small files into bins up to the target, or all files of a kin whose rows are to be clustered; and bins into groups.
pub(super) fn pack<'a>(
    sink: &SinkId,
    files: impl Iterator<Item = Found<'a>>,
    rule: &Packing,
    weights: &Weights,
) -> Packed {
    let mut layout = FileLayout::default();
    let mut partitions: BTreeMap<_, (u64, BTreeMap<Kin, Vec<Found<'a>>>)> = BTreeMap::new();
    for file in files {
        layout.files += 1;
        layout.bytes += file.bytes;
        let (count, kins) = partitions.entry(file.partition).or_default();
        *count += 1;
        layout.small_files += u64::from(rule.is_small(&file));
        if (rule.is_small(&file) || rule.major.is_some()) && !rule.busy.contains(file.path) {
            kins.entry(kin(&file, rule)).or_default().push(file);
        }
    }
    layout.partitions = partitions.len() as u64;
    layout.most_in_partition = partitions.values().map(|(count, _)| *count).max().unwrap_or(0);
    let (mut minor, mut major) = (Vec::new(), Vec::new());
    for files in partitions.into_values().flat_map(|(_, kins)| kins.into_values()) {
        match rule.major.as_ref().and_then(|wanted| major::due(&files, wanted, rule)) {
            Some(bins) => major.extend(bins),
            None => minor.extend(bins(files, rule, weights)),
        }
    }
    let mut all = groups(sink, minor, (None, GROUP_BYTES));
    if let Some(wanted) = &rule.major {
        all.extend(groups(sink, major, (Some(wanted.does(rule.target)), wanted.most)));
    }
    all.truncate(MOST_GROUPS);
    Packed { layout, groups: all }
}

impl Packing {
    fn is_small(&self, file: &Found<'_>) -> bool {
        file.bytes < self.small_below
    }

    /// Whether a file has waited for others long enough.
    pub(super) fn is_stale(&self, file: &Found<'_>) -> bool {
        file.modified < self.stale_before
    }

    /// Whether a file may be merged with others as it is: clustered ones would lose their order.
    fn may_be_merged(&self, file: &Found<'_>) -> bool {
        self.is_small(file) && !self.major.as_ref().is_some_and(|major| major.is_done(file))
    }
}

fn kin(file: &Found<'_>, rule: &Packing) -> Kin {
    match file.window {
        None => Kin::Untagged,
        // What lies at the beginning of time has no cursor.
        Some(window) if window.axis() == Axis::Version || window.start() == i64::MIN => Kin::Apart(window),
        Some(_) if file.told_apart || !rule.windows_are_replaced => Kin::Together,
        Some(window) => Kin::Apart(window),
    }
}

/// The bins worth making of files of one kin.
fn bins(mut files: Vec<Found<'_>>, rule: &Packing, weights: &Weights) -> Vec<Bin> {
    files.retain(|file| rule.may_be_merged(file));
    let is_stale = |file: &Found<'_>| rule.is_stale(file);
    let stale = files.iter().any(is_stale);
    let weigh = |file: &Found<'_>| weights.weigh(file);
    if !stale {
        leave_large(&mut files, weigh);
    }
    if files.len() < 2 || files.len() < rule.min_files && !stale {
        return Vec::new();
    }
    // Neighbours in time become neighbours in a file.
    files.sort_by(|a, b| order(a).cmp(&order(b)));
    let worth = |bin: &Vec<Found<'_>>| {
        let bytes: u64 = bin.iter().map(weigh).sum();
        bin.len() > 1 && (bin.len() >= rule.min_files || bytes >= rule.small_below || bin.iter().any(is_stale))
    };
    let most = GROUP_BYTES.max(rule.target);
    let cut = cut(files, weigh, |_, size| size.written <= rule.target && size.read <= most);
    cut.into_iter().filter(worth).filter_map(|bin| bin_of(&bin)).collect()
}

/// Bytes of a bin's files, and what they come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) read: u64,
    pub(super) written: u64,
}

/// One file after the other, into one bin for as long as it fits when that has come to such a size.
pub(super) fn cut<'a>(
    files: Vec<Found<'a>>,
    weigh: impl Fn(&Found<'a>) -> u64,
    fits: impl Fn(&[Found<'a>], Size) -> bool,
) -> Vec<Vec<Found<'a>>> {
    let mut cut: Vec<Vec<Found<'a>>> = Vec::new();
    let mut size = Size::default();
    for file in files {
        let with = Size { read: size.read + file.bytes, written: size.written + weigh(&file) };
        match cut.last_mut() {
            Some(bin) if fits(bin, with) => {
                size = with;
                bin.push(file);
            }
            _ => {
                size = Size { read: file.bytes, written: weigh(&file) };
                cut.push(vec![file]);
            }
        }
    }
    cut
}

/// Leaves out the largest for as long as it is more than twice as large as the others together.
fn leave_large<'a>(files: &mut Vec<Found<'a>>, weigh: impl Fn(&Found<'a>) -> u64) {
    files.sort_by_key(|file| (weigh(file), file.path));
    let mut rest: u64 = files.iter().map(&weigh).sum();
    while let Some(largest) = files.last() {
        rest -= weigh(largest);
        if weigh(largest) <= rest.saturating_mul(2) {
            return;
        }
        files.pop();
    }
}

pub(super) fn order<'a>(file: &'a Found<'_>) -> (Option<Window>, &'a str) {
    (file.window, file.path)
}

pub(super) fn bin_of(files: &[Found<'_>]) -> Option<Bin> {
    let first = files.first()?;
    let window = match first.window {
        None => None,
        Some(hull) => Some(files.iter().try_fold(hull, |hull, file| join(hull, file.window?))?),
    };
    let member = |file: &Found<'_>| Member {
        path: file.path.to_owned(),
        bytes: file.bytes,
        rows: file.rows,
        version: file.version.map(str::to_owned),
    };
    Some(Bin { partition: first.partition.clone(), window, files: files.iter().map(member).collect() })
}

/// Bins one after the other, until a group has come to so many bytes; those worth most first.
fn groups(sink: &SinkId, bins: Vec<Bin>, (major, most): (Option<Major>, u64)) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut bytes, mut files) = (0_u64, 0_usize);
    for bin in bins {
        let size = bin.bytes();
        let fits = |group: &Group| {
            bytes + size <= most && files + bin.files.len() <= GROUP_FILES && group.bins.len() < GROUP_BINS
        };
        match groups.last_mut().filter(|group| fits(group)) {
            Some(group) => {
                (bytes, files) = (bytes + size, files + bin.files.len());
                group.bins.push(bin);
            }
            None => {
                (bytes, files) = (size, bin.files.len());
                groups.push(Group { sink: sink.clone(), bins: vec![bin], major: major.clone() });
            }
        }
    }
    let gain = |group: &Group| (group.members().count() - group.bins.len()) as f64 / group.bytes().max(1) as f64;
    groups.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    groups
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::{collection::vec, prelude::*};

    use super::*;

    pub(in crate::sink::regroup) const RULE: Packing = Packing {
        target: 100,
        small_below: 50,
        min_files: 3,
        stale_before: 0,
        windows_are_replaced: true,
        busy: BTreeSet::new(),
        major: None,
    };

    /// A file of so many bytes and rows, of which nothing else is known.
    pub(in crate::sink::regroup) fn found<'a>(
        path: &'a str,
        (bytes, rows): (u64, Option<u64>),
        partition: &'a BTreeMap<String, Option<String>>,
    ) -> Found<'a> {
        Found {
            path,
            bytes,
            rows,
            version: None,
            partition,
            window: None,
            told_apart: false,
            modified: 1,
            clustered: None,
        }
    }

    fn time(start: i64, end: i64) -> Window {
        Window::new(Axis::Time, start, end).unwrap()
    }

    struct File(&'static str, u64, Option<Window>, bool, &'static str, i64);

    /// The paths of each bin.
    fn packed(files: &[File], rule: Packing) -> Vec<Vec<String>> {
        let partitions: Vec<BTreeMap<String, Option<String>>> =
            files.iter().map(|file| [("day".to_owned(), Some(file.4.to_owned()))].into()).collect();
        let found = files.iter().zip(&partitions).map(|(file, partition)| Found {
            path: file.0,
            bytes: file.1,
            rows: Some(1),
            version: None,
            partition,
            window: file.2,
            told_apart: file.3,
            modified: file.5,
            clustered: None,
        });
        let packed = pack(&"lake".parse().unwrap(), found, &rule, &Weights::default());
        let paths = |bin: &Bin| bin.files.iter().map(|file| file.path.clone()).collect();
        packed.groups.iter().flat_map(|group| &group.bins).map(paths).collect()
    }

    fn told(path: &'static str, bytes: u64, hour: i64) -> File {
        File(path, bytes, Some(time(hour, hour + 1)), true, "1", 1)
    }

    #[test]
    fn small_files_of_a_partition_become_one_up_to_the_target() {
        let files = [told("c", 30, 2), told("a", 30, 0), told("b", 30, 1), told("d", 30, 3), told("big", 70, 4)];
        // The fourth does not fit, and alone it stays as it is.
        assert_eq!(packed(&files, RULE), [["a", "b", "c"]]);
        let two = [told("a", 30, 0), told("b", 30, 1)];
        assert!(packed(&two, RULE).is_empty(), "two are too few");
        let busy = Packing { busy: ["a".to_owned()].into(), ..RULE };
        assert_eq!(packed(&files, busy), [["b", "c", "d"]], "what another group rewrites is left to it");
    }

    /// Where rows are clustered, small files that are not yet become one until there are enough of them.
    #[test]
    fn small_files_are_merged_while_they_wait_to_be_clustered() {
        let partition = BTreeMap::new();
        let clustering = Clustering { columns: vec!["a".to_owned()], ..Clustering::default() };
        let rule =
            Packing { major: Some(MajorRule { clustering: clustering.clone(), asked: false, most: 1_000 }), ..RULE };
        let file = |path, bytes, set| Found {
            path,
            bytes,
            rows: None,
            version: None,
            partition: &partition,
            window: None,
            told_apart: false,
            modified: 1,
            clustered: set,
        };
        let set = Some(Set { by: &clustering, of: "s" });
        let few =
            [file("s1", 90, set), file("s2", 40, set), file("x", 20, None), file("y", 20, None), file("z", 20, None)];
        let packed = |files: &[Found<'_>]| {
            pack(&"lake".parse().unwrap(), files.iter().cloned(), &rule, &Weights::default()).groups
        };
        let found = packed(&few);
        assert_eq!((found.len(), found[0].major.is_some(), found[0].members().count()), (1, false, 3));
        let found = packed(&[few.as_slice(), &[file("big", 80, None)]].concat());
        assert_eq!((found.len(), found[0].major.is_some(), found[0].members().count()), (1, true, 6));
    }

    /// Proves CO14.
    #[test]
    fn few_files_are_rewritten_when_one_of_them_has_waited_long_enough() {
        let two = [told("a", 30, 0), told("b", 30, 1)];
        assert_eq!(packed(&two, Packing { stale_before: 2, ..RULE }), [["a", "b"]]);
        // Late files beside one that was made of others: when they are many, or old.
        let late = [told("made", 45, 0), told("x", 5, 0), told("y", 5, 0)];
        assert!(packed(&late, RULE).is_empty());
        assert_eq!(packed(&late, Packing { stale_before: 2, ..RULE }), [["made", "x", "y"]]);
        let more = [told("made", 45, 0), told("x", 5, 0), told("y", 5, 0), told("z", 5, 0)];
        assert_eq!(packed(&more, RULE), [["x", "y", "z"]], "what is much larger than the others together waits");
    }

    #[test]
    fn files_of_windows_that_cannot_be_told_apart_stay_apart() {
        let file = |path, hour: i64, told| File(path, 10, Some(time(hour, hour + 1)), told, "1", 1);
        let mixed =
            [file("a", 0, false), file("b", 0, false), file("c", 0, false), file("d", 1, false), file("e", 1, true)];
        assert_eq!(packed(&mixed, RULE), [["a", "b", "c"]]);
        let all = packed(&mixed, Packing { windows_are_replaced: false, ..RULE });
        assert_eq!(all, [["a", "b", "c", "d", "e"]]);
    }

    #[test]
    fn what_differs_in_partition_version_or_tag_stays_apart() {
        let version = |path, version| File(path, 10, Some(Window::version(version)), false, "1", 1);
        let none = |path, day| File(path, 10, None, false, day, 1);
        let files = [
            version("v1", 1),
            version("v2", 2),
            version("w2", 2),
            version("x2", 2),
            none("a", "1"),
            none("b", "1"),
            none("c", "1"),
            none("d", "2"),
        ];
        assert_eq!(packed(&files, RULE), [["a", "b", "c"], ["v2", "w2", "x2"]]);
    }

    /// Proves CO12.
    #[test]
    fn one_huge_table_becomes_groups_of_bounded_size() {
        let partition = BTreeMap::new();
        let rule = Packing { target: 64 << 20, small_below: 32 << 20, ..RULE };
        let paths: Vec<String> = (0..5_000).map(|n| format!("f{n:04}")).collect();
        let found = paths.iter().map(|path| found(path, (1 << 20, None), &partition));
        let packed = pack(&"lake".parse().unwrap(), found, &rule, &Weights::default());
        assert!(packed.groups.len() >= 5_000 / 256, "{}", packed.groups.len());
        for group in &packed.groups {
            assert!(group.bytes() <= GROUP_BYTES && group.members().count() <= GROUP_FILES);
        }
        assert_eq!(packed.groups.iter().map(|group| group.members().count()).sum::<usize>(), 5_000);
    }

    /// Rows of ten bytes each that take five in a large file.
    #[test]
    fn bins_are_filled_by_what_their_files_come_to() {
        let partition = BTreeMap::new();
        let small = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let packed = |rule: &Packing, large: Option<u64>| {
            let small = small.map(|path| found(path, (20, Some(2)), &partition)).into_iter();
            let files: Vec<Found<'_>> =
                small.chain(large.map(|rows| found("large", (90, Some(rows)), &partition))).collect();
            let weights = Weights::of(files.iter().cloned());
            let groups = pack(&"lake".parse().unwrap(), files.into_iter(), rule, &weights).groups;
            groups.iter().flat_map(|group| &group.bins).map(|bin| bin.files.len()).collect::<Vec<_>>()
        };
        assert_eq!(packed(&RULE, None), [5, 5], "nobody knows");
        assert_eq!(packed(&RULE, Some(18)), [10]);
        let seven = Packing { target: 70, small_below: 60, min_files: 4, ..RULE };
        assert_eq!(packed(&seven, Some(18)), [7], "three come to 30 and wait");
    }

    proptest! {
        /// Whatever the files are, each is in one bin at most, with its like, and no bin is larger than the target.
        #[test]
        fn each_file_is_taken_once_and_among_its_like(
            files in vec((1_u64..80, 0_i64..6, any::<bool>(), 0_u8..3, 0_i64..4), 0..60),
            stale_before in 0_i64..4,
        ) {
            let partitions: Vec<BTreeMap<String, Option<String>>> =
                (0..3).map(|p| [("p".to_owned(), Some(p.to_string()))].into()).collect();
            let paths: Vec<String> = (0..files.len()).map(|n| format!("f{n:03}")).collect();
            let found: Vec<Found<'_>> = files.iter().zip(&paths).map(|((bytes, hour, told_apart, p, modified), path)| Found {
                path,
                bytes: *bytes,
                rows: None,
                version: None,
                partition: &partitions[*p as usize],
                window: (*hour > 0).then(|| time(*hour, hour + 1)),
                told_apart: *told_apart,
                modified: *modified,
                clustered: None,
            }).collect();
            let rule = Packing { stale_before, ..RULE };
            let packed = pack(&"lake".parse().unwrap(), found.iter().cloned(), &rule, &Weights::default());
            let mut taken = std::collections::BTreeSet::new();
            for bin in packed.groups.iter().flat_map(|group| &group.bins) {
                prop_assert!(bin.files.len() > 1);
                prop_assert!(bin.files.iter().map(|file| file.bytes).sum::<u64>() <= rule.target);
                for member in &bin.files {
                    prop_assert!(taken.insert(member.path.clone()));
                    let file = found.iter().find(|file| file.path == member.path).unwrap();
                    prop_assert!(file.bytes < rule.small_below && *file.partition == bin.partition);
                    match (bin.window, file.window) {
                        (None, None) => {}
                        (Some(hull), Some(window)) => prop_assert!(hull.covers(&window) && (file.told_apart || hull == window)),
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
            }
            prop_assert_eq!(packed.layout.files, files.len() as u64);
        }
    }
}
