//! Sources that change, what attempts prove of them, and what the leader makes of that.

use windrow_common::{
    claim::Token,
    id::WorkerId,
    invariant::Violation,
    manifest::{Digest, ManifestRef, Proof},
    task::{Lane, Task},
    window::{Axis, Window},
};

use super::{Mail, Outcome, World};
use crate::core::{
    lifecycle::HeldClaim,
    recount::{self, Counted},
    tests::bench::{hour, manifest},
    unchanged,
};

impl World {
    /// Somebody writes to a source: to what all of a full load is read from, or to one window.
    pub(super) fn change_source(&mut self, arg: usize) {
        let key = match arg % 3 {
            0 => ("planes".to_owned(), 0),
            _ => ("weather".to_owned(), hour(i64::try_from(arg / 4 % 16).unwrap())),
        };
        *self.written.entry(key).or_default() += 1;
    }

    fn proof(&self, task: &Task) -> Proof {
        let of_window = |window: &Window| {
            let at = if window.axis() == Axis::Version { 0 } else { window.start() };
            let times = self.written.get(&(task.pipeline.to_string(), at)).copied().unwrap_or_default();
            Digest(*blake3::hash(format!("{} {at} {times}", task.pipeline).as_bytes()).as_bytes())
        };
        let windows: Vec<Digest> = task.each_window().iter().map(of_window).collect();
        let [one] = windows[..] else {
            let all: Vec<u8> = windows.iter().flat_map(|digest| digest.0).collect();
            return Proof { whole: Digest(*blake3::hash(&all).as_bytes()), windows };
        };
        one.into()
    }

    /// What an attempt seals, with a proof if it was asked for one.
    pub(super) fn manifest(&self, task: &Task, token: Token) -> ManifestRef {
        let entry = self.leader.table.pipeline(&task.pipeline);
        let asked = entry.is_some_and(|entry| unchanged::is_proven(entry, task, self.now()));
        ManifestRef { proof: asked.then(|| self.proof(task)), ..manifest(task, token) }
    }

    /// Whether an attempt has something to say of its source before it loads anything. Its claim goes on until it is heard.
    pub(super) fn prove(&mut self, from: WorkerId, claim: &HeldClaim) -> bool {
        let table = &self.leader.table;
        let Some(task) = table.task(&claim.task).map(|entry| entry.value.clone()) else { return false };
        // Whoever cuts has found that it loads.
        if table.shards_of(&task.id).next().is_some() {
            return false;
        }
        let proof = self.proof(&task);
        let seq = match unchanged::loaded(table, &task) {
            _ if task.lane == Lane::Recount => 0,
            Some(loaded) if loaded.proof == proof.whole && self.sinks[&task.sink].is_applied(loaded.seq) => loaded.seq,
            _ => return false,
        };
        self.mail.push(Mail::Proven { from, claim: *claim, proof, seq });
        true
    }

    /// Whoever was given up says what its source holds.
    pub(super) fn ghost_proves(&mut self, claim: &HeldClaim) -> Outcome {
        let table = &self.leader.table;
        let Some(task) = table.task(&claim.task).map(|entry| entry.value.clone()) else { return Ok(()) };
        let loaded = table.pipeline(&task.pipeline).and_then(|entry| entry.coverage.value.loaded);
        self.take_proof(claim, &self.proof(&task), loaded.map_or(0, |loaded| loaded.seq))
    }

    /// The leader hears of it, perhaps much later. Whoever is told to go on does not seal here; the next attempt will.
    pub(super) fn take_proof(&mut self, claim: &HeldClaim, proof: &Proof, seq: u64) -> Outcome {
        let Some(task) = self.leader.table.task(&claim.task).map(|entry| entry.value.clone()) else { return Ok(()) };
        let (table, epoch, now) = (&self.leader.table, self.epoch, self.now());
        if task.lane == Lane::Recount {
            return match recount::counted(table, epoch, claim, (proof, ""), now) {
                Ok(Counted::Same(change)) => {
                    let windows = task.each_window();
                    windows.iter().zip(each(proof)).try_for_each(|(window, found)| self.holds(&task, window, found))?;
                    self.write(&change).map(drop)
                }
                Ok(Counted::Stale(change) | Counted::Late(change, _)) => self.write(&change).map(drop),
                Err(_) => Ok(()),
            };
        }
        let Ok(Some(change)) = unchanged::publish(table, epoch, claim, (proof.whole, seq)) else { return Ok(()) };
        self.shows(&task, proof.whole)?;
        self.write(&change).map(drop)
    }

    /// A window that is said to be what was loaded is that in the sink, unless it was loaded once more since.
    fn holds(&self, task: &Task, window: &Window, proof: Digest) -> Outcome {
        let found = self.sinks[&task.sink].holds(&task.pipeline, window);
        let is_so = found.is_some_and(|(revision, held)| revision > task.revision || held == Some(proof));
        same(is_so, window)
    }

    /// Readers of a version that is published without rows see rows of that very source.
    fn shows(&self, task: &Task, proof: Digest) -> Outcome {
        let sink = &self.sinks[&task.sink];
        let found = sink.shown.and_then(|shown| sink.holds(&task.pipeline, &Window::version(shown)));
        same(found.is_some_and(|(_, held)| held == Some(proof)), &task.window)
    }
}

/// What was found of each window.
fn each(proof: &Proof) -> Vec<Digest> {
    if proof.windows.is_empty() { vec![proof.whole] } else { proof.windows.clone() }
}

fn same(is_so: bool, window: &Window) -> Outcome {
    match is_so {
        true => Ok(()),
        false => {
            Err(Violation { id: "INV-1", message: format!("{window} is said to hold rows that readers do not see") })
        }
    }
}
