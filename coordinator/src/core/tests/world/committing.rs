//! Between the leader and a sink: requests to the committer, what the committer does, and what follows from its answer.

use windrow_common::{
    id::{SinkId, TaskId, WorkerId},
    intent::{Seq, Verdict},
    invariant::Violation,
    manifest::Digest,
    task::{Retry, TaskState},
};

use super::{Body, Mail, Moved, Moves, Outcome, Sabotage, Unprepared, World};
use crate::core::{
    commit::{self, Answer, Draft, Step, Todo},
    gather::When,
    lifecycle, rollback,
    tests::bench::failure,
};

impl World {
    pub(super) fn see_to_sinks(&mut self) -> Outcome {
        let sinks: Vec<SinkId> = self.leader.table.pipelines().map(|(_, entry)| entry.sink.clone()).collect();
        let when = When { now: self.now(), elapsed: self.elapsed, leaves: false };
        for sink in sinks {
            let run = self.leader.runs.entry(sink.clone()).or_default();
            let todo = commit::next(&self.leader.table, &self.leader.workers, &sink, run, when);
            match todo {
                None => {}
                Some(Todo::Take(change)) => {
                    let _ = self.write(&change)?;
                }
                Some(Todo::Prepare { worker, draft }) => {
                    let rolls_back =
                        rollback::open(&self.leader.table, &sink).map(|found| found.value.request_id.clone());
                    let request = self.leader.request();
                    let groups: Vec<_> = draft.tasks.iter().filter_map(|(task, _)| self.group_of(task)).collect();
                    let moves = match groups.is_empty() {
                        true => Moves {
                            tasks: draft.tasks.iter().map(|(task, _)| self.moved(task)).collect(),
                            ..Moves::default()
                        },
                        false => Moves { groups, ..Moves::default() },
                    };
                    if !moves.groups.is_empty() && moves.groups.len() != draft.tasks.len() {
                        let message = "windows and files that were rewritten go in one intent".to_owned();
                        return Err(Violation { id: "INV-15", message });
                    }
                    self.run(&sink).preparing(request, worker.clone(), draft.clone());
                    self.mail.push(Mail::Prepare { to: worker, request, sink, draft, moves, rolls_back });
                }
                Some(Todo::Commit { worker, intent, abort }) => {
                    let request = self.leader.request();
                    self.run(&sink).committing(request, worker.clone());
                    let (seq, digest) = (intent.seq, intent.digest);
                    self.mail.push(Mail::Commit { to: worker, request, sink, seq, digest, abort });
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, sink: &SinkId) -> &mut commit::SinkRun {
        self.leader.runs.entry(sink.clone()).or_default()
    }

    /// What a sealed task's manifest says.
    fn moved(&self, id: &TaskId) -> Moved {
        let task = &self.leader.table.task(id).expect("a drafted task exists").value;
        let TaskState::Sealed { manifest, .. } = &task.state else { panic!("a drafted task is sealed") };
        Moved {
            task: *id,
            pipeline: task.pipeline.clone(),
            windows: task.each_window(),
            revision: task.revision,
            counts: manifest.counts,
            shard: task.shard,
            of: task.part.as_ref().map_or(1, |part| part.of),
            proof: manifest.proof.clone(),
        }
    }

    /// A message arrives. Requests reach a committer even when it is none any more; answers need a session.
    pub(super) fn deliver(&mut self, mail: Mail) -> Outcome {
        match mail {
            Mail::Prepare { to, request, sink, draft, moves, rolls_back } => {
                let outcome = self.prepare(&sink, (draft, rolls_back), moves, request);
                self.mail.push(Mail::Prepared { from: to, request, sink, outcome });
                Ok(())
            }
            Mail::Commit { to, request, sink, seq, digest, abort } => {
                let answer = self.commit(&sink, seq, &digest, abort)?;
                self.mail.push(Mail::Settled { from: to, request, sink, answer });
                Ok(())
            }
            Mail::Prepared { from, request, sink, outcome } if self.has_session(&from) => {
                self.take_prepared(&sink, request, outcome)
            }
            Mail::Settled { from, request, sink, answer } if self.has_session(&from) => {
                self.take_settled(&sink, request, answer)
            }
            Mail::Proven { from, claim, proof, seq } if self.has_session(&from) => self.take_proof(&claim, &proof, seq),
            Mail::Prepared { .. } | Mail::Settled { .. } | Mail::Proven { .. } => Ok(()),
        }
    }

    fn has_session(&self, id: &WorkerId) -> bool {
        self.workers.iter().any(|worker| worker.info.id == *id && worker.session)
    }

    fn prepare(
        &mut self,
        sink: &SinkId,
        (draft, rolls_back): (Draft, Option<String>),
        Moves { tasks, groups }: Moves,
        request: u64,
    ) -> Result<Digest, Unprepared> {
        let shows = draft.shows.map(|shows| (shows.version, rolls_back.unwrap_or_default()));
        if let Some(shows) = draft.shows
            && self.sinks.get(sink).and_then(|model| model.shown) != Some(shows.instead_of)
        {
            return Err(Unprepared::Unfit);
        }
        if !tasks.is_empty() && std::mem::take(&mut self.next.staged_files_bad) {
            return Err(Unprepared::FilesBad(tasks[0].task));
        }
        if !groups.is_empty() && std::mem::take(&mut self.next.staged_files_bad) {
            return Err(Unprepared::FilesBad(groups[0].0));
        }
        let groups: Vec<_> = groups.into_iter().map(|(task, sha256)| (task, self.groups[&sha256].clone())).collect();
        // Each must still be there, and be nobody else's.
        let mut files = self.sinks.get(sink).map(|model| model.files.clone()).unwrap_or_default();
        for (task, group) in &groups {
            if !files.have(group) || files.regroup(group).is_err() {
                return Err(Unprepared::FilesBad(*task));
            }
        }
        if any_in(&tasks, &self.faults.unpreparable) {
            return Err(Unprepared::Unfit);
        }
        // Files are merged anew each time, so no two bodies are the same.
        let digest = Digest(*blake3::hash(&[request.to_be_bytes(), draft.seq.to_be_bytes()].concat()).as_bytes());
        self.bodies.insert(digest, Body { seq: draft.seq, previous: draft.previous, tasks, groups, shows });
        Ok(digest)
    }

    fn commit(&mut self, sink: &SinkId, seq: Seq, digest: &Digest, abort: bool) -> Outcome<Answer> {
        let lost = self.next.commit_lost.take();
        if lost == Some(false) {
            return Ok(Answer::Unknown(None));
        }
        let Some(body) = self.bodies.get(digest).filter(|body| body.seq == seq) else {
            let message = format!("the body of intent {seq} is not that intent's");
            return Err(Violation { id: "INV-9", message });
        };
        let model = self.sinks.entry(sink.clone()).or_default();
        let answer = match model.judge(body, digest, self.sabotage) {
            Verdict::Apply if !abort && any_in(&body.tasks, &self.faults.refused) => {
                Answer::Refused(failure(Retry::Never, self.wall))
            }
            Verdict::Apply if !abort && std::mem::take(&mut self.next.conflict) => {
                Answer::Refused(failure(Retry::Later, self.wall))
            }
            Verdict::Apply if !abort && !body.groups.iter().all(|(_, group)| model.files.have(group)) => {
                Answer::Refused(failure(Retry::Later, self.wall))
            }
            Verdict::Apply => {
                model.apply(body, *digest, abort)?;
                if abort { Answer::Aborted } else { Answer::Committed }
            }
            Verdict::Done => Answer::Committed,
            Verdict::Aborted => Answer::Aborted,
            Verdict::Stale => Answer::Stale,
            Verdict::Forked | Verdict::RolledBack => Answer::Halt(failure(Retry::Never, self.wall)),
        };
        Ok(if lost == Some(true) { Answer::Unknown(None) } else { answer })
    }

    fn take_prepared(&mut self, sink: &SinkId, request: u64, outcome: Result<Digest, Unprepared>) -> Outcome {
        let (sabotage, elapsed, now) = (self.sabotage, self.elapsed, self.now());
        let run = self.run(sink);
        let draft = match &run.step {
            Step::Preparing { draft, .. } if sabotage == Sabotage::AnyAnswer => Some(draft.clone()),
            _ => run.prepared(request).cloned(),
        };
        let Some(draft) = draft else { return Ok(()) };
        let refusal = failure(Retry::Never, now.wall);
        let change = match outcome {
            Ok(digest) => match commit::record(&self.leader.table, sink, &draft, (digest.to_string(), digest), &[]) {
                Some(change) => {
                    self.run(sink).done();
                    change
                }
                None => {
                    self.run(sink).again(elapsed);
                    return Ok(());
                }
            },
            Err(Unprepared::Unfit) if draft.shows.is_some() => {
                run.done();
                match rollback::give_up(&self.leader.table, sink, refusal) {
                    Some(change) => change,
                    None => return Ok(()),
                }
            }
            Err(Unprepared::Unfit) => match run.blame(elapsed) {
                Some(task) => lifecycle::quarantine_sealed(&self.leader.table, &task, refusal, now).unwrap(),
                None => return Ok(()),
            },
            Err(Unprepared::FilesBad(task)) => {
                run.again(elapsed);
                match lifecycle::unseal(&self.leader.table, &task, refusal, now) {
                    Ok(change) => change,
                    Err(_) => return Ok(()),
                }
            }
        };
        self.write(&change).map(drop)
    }

    fn take_settled(&mut self, sink: &SinkId, request: u64, answer: Answer) -> Outcome {
        let (sabotage, elapsed, now) = (self.sabotage, self.elapsed, self.now());
        let run = self.run(sink);
        let any = sabotage == Sabotage::AnyAnswer && matches!(run.step, Step::Committing { .. });
        if !any && !run.is_committing(request) {
            return Ok(());
        }
        let change = match answer {
            Answer::Committed => {
                run.done();
                commit::finalize(&self.leader.table, sink, now)
            }
            Answer::Aborted => {
                let reason = run.abort_reason(now);
                let intent = self.leader.table.sink(sink).and_then(|entry| entry.intent.as_ref());
                let tasks = intent.map_or(0, |intent| intent.value.tasks.len());
                self.run(sink).aborted(tasks);
                commit::finalize_abort(&self.leader.table, sink, &reason, now)
            }
            Answer::Refused(failure) => {
                run.abort_next(failure, elapsed);
                None
            }
            Answer::Unknown(_) => {
                run.again(elapsed);
                None
            }
            Answer::Stale | Answer::Halt(_) => {
                let message = format!("the sink has another history than the ledger: {answer:?}");
                return Err(Violation { id: "INV-6", message });
            }
        };
        change.map_or(Ok(()), |change| self.write(&change).map(drop))
    }
}

fn any_in(tasks: &[Moved], bad: &[i64]) -> bool {
    tasks.iter().flat_map(|task| &task.windows).any(|window| bad.contains(&window.start()))
}
