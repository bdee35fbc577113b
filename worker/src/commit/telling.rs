//! Telling receivers what was published: from the commits themselves, in their order, from the one after the last that was told.
//! What the ledger keeps is that one number; a crash costs that some are told again, under the same ids.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use windrow_common::{clock::Clock, error, intent::Seq, pipeline::Pipeline};
use windrow_proto::v1;

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    notify::{Event, Webhook, events},
    open::{Connectors, read_pipeline},
    sink::Sink,
    stage::chain::{self, Link},
    telemetry::Metrics,
};

/// Most commits one question is about; the coordinator asks again.
const MOST_COMMITS: usize = 100;
/// After so long no further event is begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sinks whose commits are kept in memory between two questions.
const MOST_KEPT: usize = 64;

/// How far it came, and what kept it from going on.
pub(super) struct Told {
    pub(super) up_to: Seq,
    pub(super) failure: Option<WorkerError>,
}

/// The commits of sinks that are still to be told, so that a receiver that does not answer does not have them all read again.
#[derive(Default)]
pub(super) struct Backlogs(Mutex<BTreeMap<String, Vec<Link>>>);

pub(super) struct Teller<'a> {
    pub(super) backlogs: &'a Backlogs,
    pub(super) connectors: &'a Connectors,
    pub(super) clock: &'a dyn Clock,
    pub(super) metrics: &'a Metrics,
}

impl Teller<'_> {
    pub(super) async fn tell(&self, asked: &v1::Notify) -> Told {
        let mut told = Told { up_to: asked.after, failure: None };
        if let Err(cause) = self.tell_all(asked, &mut told.up_to).await {
            told.failure = Some(cause);
        }
        told
    }

    async fn tell_all(&self, asked: &v1::Notify, told: &mut Seq) -> Result<()> {
        let pipelines = asked.pipelines.iter().map(|pipeline| read_pipeline(pipeline)).collect::<Result<Vec<_>>>()?;
        let first = pipelines.first().ok_or_else(|| WorkerError::later(error::VERSION_SKEW, "nobody is to be told"))?;
        checked_sink(&asked.sink, first)?;
        let sink = self.connectors.sink(first)?;
        let receivers = receivers(&pipelines)?;
        let begun = self.clock.elapsed();
        for link in self.untold(sink.as_ref(), asked).await? {
            if !link.aborted {
                let body = chain::body(sink.storage(), &link).await?;
                for (pipeline, receiver) in &receivers {
                    for event in events(&body, &pipeline.name, pipeline.beside.as_ref().map(|beside| &beside.of)) {
                        self.send(receiver, &event).await?;
                    }
                }
            }
            *told = link.seq;
            if self.clock.elapsed().saturating_sub(begun) > PATIENCE {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, receiver: &Webhook, event: &Event) -> Result<()> {
        let sent = receiver.send(event, self.clock.now()).await;
        self.metrics.event(&event.pipeline, sent.is_ok());
        sent
    }

    /// The next commits to be told of, oldest first.
    async fn untold(&self, sink: &dyn Sink, asked: &v1::Notify) -> Result<Vec<Link>> {
        let mut links = self.backlogs.kept(&asked.sink, asked.after);
        let known = links.last().copied();
        let Some(newest) = sink.probe().await? else { return Ok(Vec::new()) };
        let mut fresh = Vec::new();
        let mut next = Some(chain::tip(sink.storage(), newest).await?);
        while let Some(link) = next {
            if link.seq <= asked.after || known.is_some_and(|known| link.seq <= known.seq) {
                break;
            }
            fresh.push(link);
            // Not asked of the last one: what lies before it may be gone for long.
            let more = link.seq > asked.after + 1 && known.is_none_or(|known| link.seq > known.seq + 1);
            next = match more {
                true => chain::before(&chain::body(sink.storage(), &link).await?)?,
                false => None,
            };
        }
        links.extend(fresh.into_iter().rev());
        self.backlogs.keep(&asked.sink, &links);
        Ok(links.into_iter().take_while(|link| link.seq <= asked.up_to).take(MOST_COMMITS).collect())
    }
}

impl Backlogs {
    fn kept(&self, sink: &str, after: Seq) -> Vec<Link> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let links = kept.get(sink).into_iter().flatten().copied();
        let links: Vec<Link> = links.filter(|link| link.seq > after).collect();
        // With a gap before it, it is of another time.
        if links.first().is_some_and(|link| link.seq == after + 1) { links } else { Vec::new() }
    }

    /// The newest is left out: it may yet turn out to be an abort, if it is told of before its successor says so.
    fn keep(&self, sink: &str, links: &[Link]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = links.split_last().map_or(&[][..], |(_, settled)| settled);
        kept.insert(sink.to_owned(), settled.to_vec());
        while kept.len() > MOST_KEPT {
            kept.pop_first();
        }
    }
}

/// Who is to be told, by pipeline.
fn receivers(pipelines: &[Pipeline]) -> Result<Vec<(&Pipeline, Webhook)>> {
    let told = pipelines.iter().filter_map(|pipeline| Some((pipeline, pipeline.readiness.notify.as_ref()?)));
    told.map(|(pipeline, notify)| Ok((pipeline, Webhook::open(&pipeline.name, notify)?))).collect()
}
