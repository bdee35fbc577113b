//! Records as they lie in the store and messages as they come over the wire. What is taken in is put out as it was.

use windrow_common::{intent::IntentRef, task::Task};
use windrow_proto::{record::decode, v1};

/// The input as each kind of record.
pub fn check(data: &[u8]) {
    if let Some(task) = decode::<v1::TaskRecord>(data).ok().and_then(|record| Task::try_from(record).ok()) {
        assert_eq!(Task::try_from(v1::TaskRecord::from(&task)).ok().as_ref(), Some(&task));
        check_windows(&task);
    }
    if let Some(intent) = decode::<v1::IntentRecord>(data).ok().and_then(|record| IntentRef::try_from(record).ok()) {
        assert_eq!(IntentRef::try_from(v1::IntentRecord::from(&intent)).ok().as_ref(), Some(&intent));
    }
}

/// The windows of a task tile it, whatever its seams say.
fn check_windows(task: &Task) {
    const MOST: i64 = 10_000;
    // A year in seconds is 31 million windows: right, and too slow for a fuzzer.
    if let windrow_common::task::Seams::Every(step) = task.seams
        && (i128::from(task.window.end()) - i128::from(task.window.start())) / i128::from(step.max(1))
            > i128::from(MOST)
    {
        return;
    }
    let windows = task.each_window();
    assert_eq!(windows.first().map(|window| window.start()), Some(task.window.start()));
    assert_eq!(windows.last().map(|window| window.end()), Some(task.window.end()));
    assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].start()), "{windows:?} do not meet");
    assert_eq!(windows.len(), task.windows());
}
