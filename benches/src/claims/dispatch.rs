//! Claims as workers see them: a leading controller with everything it does, and the sessions of many workers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use windrow_common::{
    clock::{Clock, SystemClock},
    error,
    id::{TaskId, WorkerId},
    task::{Failure, Retry},
};
use windrow_coordinator::{
    controller::{self, Handle, SessionEvent, Timing},
    core::{
        lifecycle::HeldClaim,
        workers::{Role, WorkerInfo},
    },
    store::MetaStore,
};
use windrow_proto::v1::{self, session_response::Message};

use super::{led::Led, rate};
use crate::{
    report::{Report, millis},
    sample::{median_time, percentile},
};

const TASKS: usize = 10_000;
/// Together they have a slot for every task.
const CROWD: usize = 100;
const SLOTS: usize = 100;
/// Workers of one slot that give each task back for the next.
const TURNERS: usize = 64;
const TURNS: usize = 50;
/// As a session's channel of answers is bounded.
const ANSWERS: usize = 1_024;
/// How long to wait for any answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(store: &Arc<dyn MetaStore>, report: &mut Report) -> Result<()> {
    let led = Led::start(store, "dispatch", TASKS).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (ledger, _leadership) = led.hand_over()?;
    let (handle, running) = controller::start(ledger, clock, Timing::default()).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let leading = tokio::spawn(running.run(async {
        let _ = stopped.await;
    }));

    let mut turners = Vec::new();
    for number in 0..TURNERS {
        turners.push(Worker::connect(&handle, &format!("turner-{number}"), 1).await?);
    }
    let began = Instant::now();
    let turning = turners.into_iter().map(|worker| tokio::spawn(worker.turn(TURNS)));
    let turned = futures::future::try_join_all(turning).await?.into_iter().collect::<Result<Vec<_>>>()?;
    let took = began.elapsed().as_secs_f64();
    let waits: Vec<Duration> = turned.into_iter().flatten().collect();
    report.figure(
        &format!("{TURNERS} workers of one slot, a task given back for the next"),
        format!(
            "{}, p50 {}, p99 {}",
            rate(waits.len() as f64 / took),
            millis(median_time(&waits)),
            millis(percentile(&waits, 99))
        ),
    );

    let left = TASKS - TURNERS * (TURNS + 1);
    let began = Instant::now();
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(Worker::connect(&handle, &format!("crowd-{number}"), SLOTS).await?);
    }
    let mut answers = stream::select_all(crowd.into_iter().map(|worker| ReceiverStream::new(worker.answers)));
    let mut claims = BTreeSet::new();
    while claims.len() < left {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await?.context("all sessions were closed")?;
        let Some(claim) = assigned(*answer)? else { continue };
        ensure!(claims.insert(claim.task), "task {} was given out twice", claim.task);
    }
    let took = began.elapsed().as_secs_f64();
    report.figure(&format!("{left} tasks to {CROWD} workers with room for all"), rate(left as f64 / took));
    let _ = stop.send(());
    leading.await?;
    Ok(())
}

/// A worker's end of a session.
struct Worker {
    id: WorkerId,
    handle: Handle,
    answers: mpsc::Receiver<Box<v1::SessionResponse>>,
}

impl Worker {
    async fn connect(handle: &Handle, id: &str, slots: usize) -> Result<Self> {
        let (out, answers) = mpsc::channel(ANSWERS);
        let id: WorkerId = id.parse()?;
        let info = WorkerInfo {
            id: id.clone(),
            roles: [Role::Ingest, Role::Sink].into(),
            slots: u32::try_from(slots)?,
            version: "bench".to_owned(),
            protocol: windrow_proto::version::NEWEST,
            flight_endpoint: String::new(),
        };
        let hello = SessionEvent::Hello { info, protocol: windrow_proto::version::NEWEST, held: Vec::new(), out };
        handle.session(id.clone(), 1, hello).await?;
        Ok(Self { id, handle: handle.clone(), answers })
    }

    /// Gives each task back as not ready and waits for the next; how long each wait was. It leaves with its last one.
    async fn turn(mut self, turns: usize) -> Result<Vec<Duration>> {
        let mut claim = self.next().await?;
        let mut waits = Vec::with_capacity(turns);
        for request in 0..turns {
            let failure = Failure {
                code: error::SOURCE_MISSING.code.to_owned(),
                message: "not ready".to_owned(),
                retry: Retry::Later,
                at: SystemClock::new().now(),
                took: Duration::ZERO,
                worker: Some(self.id.clone()),
            };
            let began = Instant::now();
            let event = SessionEvent::Fail { request: request as u64, claim, failure, not_ready: true, trace: None };
            self.handle.session(self.id.clone(), 1, event).await?;
            claim = self.next().await?;
            waits.push(began.elapsed());
        }
        Ok(waits)
    }

    async fn next(&mut self) -> Result<HeldClaim> {
        loop {
            let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await?;
            if let Some(claim) = assigned(*answer.context("the session was closed")?)? {
                return Ok(claim);
            }
        }
    }
}

fn assigned(answer: v1::SessionResponse) -> Result<Option<HeldClaim>> {
    let Some(Message::Assign(assign)) = answer.message else { return Ok(None) };
    let task: [u8; 16] = assign.task.as_slice().try_into()?;
    let token = assign.token.context("an assignment has a token")?;
    Ok(Some(HeldClaim { task: TaskId::from_bytes(task), token: token.into() }))
}
