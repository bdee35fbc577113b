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

use super::{CommandError, Controller, Reply, commands::respond, wishes::Wish};
use crate::{
    core::{
        pins::{self, BadPin, Phase, Pin},
        table::Change,
    },
    ledger::LedgerError,
};

/// How long one may take: a worker may just be starting, and looks at every file of the version.
const PATIENCE: Duration = Duration::from_secs(120);
/// The version of the session protocol in which workers know pins.
const KNOWN_SINCE: u32 = 3;

/// A pin that is being found out about.
pub(super) struct PinWish {
    id: PinId,
    replies: Vec<Reply<Pin>>,
}

/// What the committer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub version: Version,
    pub files: u64,
    pub bytes: u64,
}

impl Controller {
    /// A repeat of a request finds its pin, or waits for it beside the first one.
    pub(super) async fn wish_for_pin(&mut self, request: &pins::Request, reply: Reply<Pin>) -> Result<(), LedgerError> {
        if self.table.recovery().is_some() {
            return respond(reply, Err(CommandError::Recovering));
        }
        let id = pins::id_of(&request.request_id);
        if let Some(wish) = self.pin_wishes.iter_mut().find(|wish| wish.of.id == id) {
            wish.of.replies.push(reply);
            return Ok(());
        }
        let known = pins::sink_of(&self.table, &id).and_then(|sink| self.table.sink(sink)?.pins.get(&id));
        if let Some(held) = known.filter(|pin| pin.value.phase != Phase::Asked) {
            return respond(reply, Ok(held.value.clone()));
        }
        if self.pin_wishes.is_full() {
            return respond(reply, Err(CommandError::NoCommitter));
        }
        let (sink, pin) = match pins::ask(&self.table, request, self.now()) {
            Ok(asked) => asked,
            Err(refused) => return respond(reply, Err(refused.into())),
        };
        self.persist(&pins::record(&sink, pin)).await?;
        self.pin_wishes.add(sink, self.clock.elapsed(), PinWish { id, replies: vec![reply] });
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
        for wish in self.pin_wishes.take_late(self.clock.elapsed(), PATIENCE, PATIENCE) {
            self.refuse_pin(wish, || CommandError::NoCommitter).await?;
        }
        for at in 0..self.pin_wishes.len() {
            let Some(wish) = self.pin_wishes.get(at).filter(|wish| self.is_open(wish)) else { continue };
            let (sink, id) = (wish.sink.clone(), wish.of.id.clone());
            let Some(worker) = self.cleaner(&sink).await? else { continue };
            let Some(pipeline) = self.any_pipeline_of(&sink) else { continue };
            let pin = self.table.sink(&sink).and_then(|entry| entry.pins.get(&id)).map(|pin| pin.value.wanted);
            let Some(wanted) = pin else {
                // Somebody let go of it.
                let wish = self.pin_wishes.remove(at);
                return self.refuse_pin(wish, || CommandError::NotFound { kind: "pin", name: id.to_string() }).await;
            };
            let request = self.next_request();
            self.pin_wishes.asked(at, request, worker.clone());
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
        let change = pins::hold(&self.table, &wish.sink, &wish.of.id, (version, files, bytes));
        if let Some(change) = change {
            self.persist(&change).await?;
        }
        let held =
            self.table.sink(&wish.sink).and_then(|entry| entry.pins.get(&wish.of.id)).map(|pin| pin.value.clone());
        let Some(pin) = held else {
            let name = wish.of.id.to_string();
            return self.refuse_pin(wish, || CommandError::NotFound { kind: "pin", name: name.clone() }).await;
        };
        info!(pin = %pin.id, pipeline = %pin.pipeline, %version, until = %pin.until, "is held");
        wish.of.replies.into_iter().try_for_each(|reply| respond(reply, Ok(pin.clone())))
    }

    /// Its record goes too, so that cleaning goes on.
    async fn refuse_pin(&mut self, wish: Wish<PinWish>, why: impl Fn() -> CommandError) -> Result<(), LedgerError> {
        if let Some(change) = pins::release(&self.table, &wish.sink, &wish.of.id) {
            self.persist(&change).await?;
        }
        wish.of.replies.into_iter().try_for_each(|reply| respond(reply, Err(why())))
    }

    /// Ends pins whose time is over, and those that were asked for of another leader: whoever waited there asks again.
    pub(super) async fn end_pins(&mut self) -> Result<(), LedgerError> {
        while let Some(change) = pins::expire(&self.table, self.now().wall).or_else(|| self.orphaned_pin()) {
            self.persist(&change).await?;
        }
        Ok(())
    }

    fn orphaned_pin(&self) -> Option<Change> {
        let asked = |pin: &Pin| pin.phase == Phase::Asked && !self.pin_wishes.iter().any(|wish| wish.of.id == pin.id);
        self.table.sinks().find_map(|(sink, entry)| {
            let id = entry.pins.values().find(|pin| asked(&pin.value)).map(|pin| &pin.value.id)?;
            pins::release(&self.table, sink, id)
        })
    }

    /// Who may be asked about pins of a sink, and to clean it; an older worker would take away what they hold.
    pub(super) async fn cleaner(&mut self, sink: &SinkId) -> Result<Option<WorkerId>, LedgerError> {
        Ok(self.committer_of(sink).await?.filter(|worker| self.knows_pins(worker)))
    }

    pub(super) fn knows_pins(&self, worker: &WorkerId) -> bool {
        self.workers.speaks(worker, KNOWN_SINCE)
    }
}

impl BadPin {
    pub(crate) fn is_of_the_request(&self) -> bool {
        matches!(self, Self::Length | Self::Reason)
    }
}
