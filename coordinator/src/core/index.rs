//! Tasks by what may happen to them next, so that a round of the leader looks at those and not at all of them.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::{
    id::{PipelineName, SinkId, TaskId},
    task::{Lane, Task, TaskPhase, TaskState},
};

/// See the module. It holds no empty set.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) lanes: BTreeMap<PipelineName, BTreeMap<Lane, Phases>>,
    /// Sealed tasks in the order of their seals.
    pub(super) sealed: BTreeMap<SinkId, BTreeSet<(i64, TaskId)>>,
}

/// A lane's tasks by phase, ordered by window. There is no lane and no phase without a task.
pub(super) type Phases = BTreeMap<TaskPhase, BTreeSet<(i64, TaskId)>>;

impl Index {
    pub(super) fn insert(&mut self, task: &Task, revision: i64) {
        let phases = self.lanes.entry(task.pipeline.clone()).or_default().entry(task.lane.clone()).or_default();
        phases.entry(task.state.phase()).or_default().insert((task.window.start(), task.id));
        if matches!(task.state, TaskState::Sealed { .. }) {
            self.sealed.entry(task.sink.clone()).or_default().insert((revision, task.id));
        }
    }

    pub(super) fn remove(&mut self, task: &Task, revision: i64) {
        remove_from(&mut self.sealed, &task.sink, &(revision, task.id));
        let Some(lanes) = self.lanes.get_mut(&task.pipeline) else { return };
        let Some(phases) = lanes.get_mut(&task.lane) else { return };
        remove_from(phases, &task.state.phase(), &(task.window.start(), task.id));
        if phases.is_empty() {
            lanes.remove(&task.lane);
        }
        if lanes.is_empty() {
            self.lanes.remove(&task.pipeline);
        }
    }
}

/// Removes a task from a set and the set from the map when it was the last, so that the map holds only what there is.
fn remove_from<K: Ord>(map: &mut BTreeMap<K, BTreeSet<(i64, TaskId)>>, key: &K, task: &(i64, TaskId)) {
    if let Some(tasks) = map.get_mut(key) {
        tasks.remove(task);
        if tasks.is_empty() {
            map.remove(key);
        }
    }
}
