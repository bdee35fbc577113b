//! Pins. A pin is recorded first, so that no cleaning is decided without it any more; then the sink's committer is asked
//! whether its version is whole and certain to stay. Whoever asked for it hears of it when that is known.

use std::time::Duration;

use tracing::info;
use windrow_common::{
    id::{PinId, SinkId, WorkerId},
    pin::Version,
    task::Failure,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{CommandError, Controller, Reply, commands::respond};
use crate::{
    core::{
        commit,
        pins::{self, BadPin, Phase, Pin},
        table::Change,
    },
    ledger::LedgerError,
};

/// Pins that may be found out about at a time.
const MOST_WISHES: usize = 64;
/// How long one may take: a worker may just be starting, and looks at every file of the version.
const PATIENCE: Duration = Duration::from_secs(120);
/// The version of the session protocol in which workers know pins.
const KNOWN_SINCE: u32 = 3;

/// Pins that are being found out about.
#[derive(Default)]
pub(super) struct PinWishes(Vec<Wish>);

struct Wish {
    sink: SinkId,
    id: PinId,
    until: Duration,
    /// The request that is under way, and who was asked.
    asked: Option<(u64, WorkerId)>,
    replies: Vec<Reply<Pin>>,
}

/// What the committer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub version: Version,
    pub files: u64,
    pub bytes: u64,
}

impl PinWishes {
    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.iter_mut().for_each(|wish| drop(wish.asked.take_if(|(_, worker)| worker == gone)));
    }

    fn answered(&mut self, worker: &WorkerId, request: u64) -> Option<Wish> {
        let asked = |wish: &Wish| wish.asked.as_ref().is_some_and(|(number, who)| *number == request && who == worker);
        let at = self.0.iter().position(asked)?;
        Some(self.0.swap_remove(at))
    }
}

impl Controller {
    /// A repeat of a request finds its pin, or waits for it beside the first one.
    pub(super) async fn wish_for_pin(&mut self, request: &pins::Request, reply: Reply<Pin>) -> Result<(), LedgerError> {
        if self.table.recovery().is_some() {
            return respond(reply, Err(CommandError::Recovering));
        }
        let id = pins::id_of(&request.request_id);
        if let Some(wish) = self.pin_wishes.0.iter_mut().find(|wish| wish.id == id) {
            wish.replies.push(reply);
            return Ok(());
        }
        let known = pins::sink_of(&self.table, &id).and_then(|sink| self.table.sink(sink)?.pins.get(&id));
        if let Some(held) = known.filter(|pin| pin.value.phase != Phase::Asked) {
            return respond(reply, Ok(held.value.clone()));
        }
        if self.pin_wishes.0.len() >= MOST_WISHES {
            return respond(reply, Err(CommandError::NoCommitter));
        }
        let (sink, pin) = match pins::ask(&self.table, request, self.now()) {
            Ok(asked) => asked,
            Err(refused) => return respond(reply, Err(refused.into())),
        };
        self.persist(&pins::record(&sink, pin)).await?;
        let until = self.clock.elapsed() + PATIENCE;
        self.pin_wishes.0.push(Wish { sink, id, until, asked: None, replies: vec![reply] });
        Ok(())
    }

    /// Letting go of what is not there is fine: the answer to the first request may have been lost.
    pub(super) async fn unpin(&mut self, id: &PinId) -> Result<(), CommandError> {
        let sink = pins::sink_of(&self.table, id).cloned();
        if let Some(change) = sink.and_then(|sink| pins::release(&self.table, &sink, id)) {
            self.persist(&change).await?;
            info!(pin = %id, "is let go of");
        }
        Ok(())
    }

    /// Asks for whoever waits, as soon as there is somebody to be asked.
    pub(super) async fn ask_about_pins(&mut self) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        let (waiting, late) = std::mem::take(&mut self.pin_wishes.0).into_iter().partition(|wish| wish.until > now);
        self.pin_wishes.0 = waiting;
        for wish in late {
            self.refuse_pin(wish, || CommandError::NoCommitter).await?;
        }
        for at in 0..self.pin_wishes.0.len() {
            let open = |wish: &&Wish| wish.asked.as_ref().is_none_or(|(_, worker)| !self.serves(&wish.sink, worker));
            let Some(wish) = self.pin_wishes.0.get(at).filter(open) else { continue };
            let (sink, id) = (wish.sink.clone(), wish.id.clone());
            let Some(worker) = self.cleaner(&sink).await? else { continue };
            let Some(pipeline) = self.any_pipeline_of(&sink) else { continue };
            let pin = self.table.sink(&sink).and_then(|entry| entry.pins.get(&id)).map(|pin| pin.value.wanted);
            let Some(wanted) = pin else {
                // Somebody let go of it.
                let wish = self.pin_wishes.0.swap_remove(at);
                return self.refuse_pin(wish, || CommandError::NotFound { kind: "pin", name: id.to_string() }).await;
            };
            let request = self.next_request();
            if let Some(wish) = self.pin_wishes.0.get_mut(at) {
                wish.asked = Some((request, worker.clone()));
            }
            let pinned = pins::held(&self.table, &sink).into_iter().map(Into::into).collect();
            let check = v1::CheckPin { request, sink: sink.to_string(), pipeline, wanted: Some(wanted.into()), pinned };
            self.tell(&worker, Out::CheckPin(check));
        }
        Ok(())
    }

    /// The committer has looked.
    pub(super) async fn pin_checked(
        &mut self,
        worker: &WorkerId,
        request: u64,
        found: Result<Whole, Failure>,
    ) -> Result<(), LedgerError> {
        let Some(wish) = self.pin_wishes.answered(worker, request) else { return Ok(()) };
        let whole = match found {
            Ok(whole) => whole,
            Err(failure) => return self.refuse_pin(wish, || CommandError::Worker(failure.clone())).await,
        };
        let Whole { version, files, bytes } = whole;
        let change = pins::hold(&self.table, &wish.sink, &wish.id, (version, files, bytes));
        if let Some(change) = change {
            self.persist(&change).await?;
        }
        let held = self.table.sink(&wish.sink).and_then(|entry| entry.pins.get(&wish.id)).map(|pin| pin.value.clone());
        let Some(pin) = held else {
            let name = wish.id.to_string();
            return self.refuse_pin(wish, || CommandError::NotFound { kind: "pin", name: name.clone() }).await;
        };
        info!(pin = %pin.id, pipeline = %pin.pipeline, %version, until = %pin.until, "is held");
        wish.replies.into_iter().try_for_each(|reply| respond(reply, Ok(pin.clone())))
    }

    /// Its record goes too, so that cleaning goes on.
    async fn refuse_pin(&mut self, wish: Wish, why: impl Fn() -> CommandError) -> Result<(), LedgerError> {
        if let Some(change) = pins::release(&self.table, &wish.sink, &wish.id) {
            self.persist(&change).await?;
        }
        wish.replies.into_iter().try_for_each(|reply| respond(reply, Err(why())))
    }

    /// Ends pins whose time is over, and those that were asked for of another leader: whoever waited there asks again.
    pub(super) async fn end_pins(&mut self) -> Result<(), LedgerError> {
        while let Some(change) = pins::expire(&self.table, self.now().wall).or_else(|| self.orphaned_pin()) {
            self.persist(&change).await?;
        }
        Ok(())
    }

    fn orphaned_pin(&self) -> Option<Change> {
        let asked = |pin: &Pin| pin.phase == Phase::Asked && !self.pin_wishes.0.iter().any(|wish| wish.id == pin.id);
        self.table.sinks().find_map(|(sink, entry)| {
            let id = entry.pins.values().find(|pin| asked(&pin.value)).map(|pin| &pin.value.id)?;
            pins::release(&self.table, sink, id)
        })
    }

    /// Who may be asked about pins of a sink, and to clean it; an older worker would take away what they hold.
    pub(super) async fn cleaner(&mut self, sink: &SinkId) -> Result<Option<WorkerId>, LedgerError> {
        if let Some(change) = commit::appoint(&self.table, &self.workers, sink, self.clock.elapsed()) {
            self.persist(&change).await?;
        }
        let committer = self.table.sink(sink).and_then(|entry| entry.committer.as_ref()).map(|found| &found.value);
        let able = committer.filter(|worker| self.workers.can_commit(worker) && self.knows_pins(worker));
        Ok(able.cloned())
    }

    /// Whether a worker that was asked is the sink's committer still: one that stands still is replaced, and answers nothing.
    pub(super) fn serves(&self, sink: &SinkId, worker: &WorkerId) -> bool {
        let committer = self.table.sink(sink).and_then(|entry| entry.committer.as_ref());
        committer.is_some_and(|found| found.value == *worker) && self.workers.can_commit(worker)
    }

    pub(super) fn knows_pins(&self, worker: &WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|state| state.info.protocol >= KNOWN_SINCE)
    }
}

impl BadPin {
    pub(crate) fn is_of_the_request(&self) -> bool {
        matches!(self, Self::Length | Self::Reason)
    }
}
