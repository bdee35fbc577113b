//! Tickets: a claim in a form that sink workers can check without asking anybody. The coordinator signs one for each
//! claim; it goes with the claim to the ingest worker, which shows it to the sink worker. It carries no path, no SQL and
//! no address.

use std::time::Duration;

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    claim::Token,
    id::{PipelineName, SinkId, TaskId},
    manifest::Digest,
    window::Window,
};

/// What a ticket says: who may stage what, where, until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub task: TaskId,
    pub token: Token,
    pub attempt: u32,
    pub pipeline: PipelineName,
    pub sink: SinkId,
    pub window: Window,
    /// Of the pipeline as JSON, which the ingest worker passes on: the sink is opened by it.
    pub pipeline_sha256: Digest,
    pub expires_unix_ms: i64,
}

/// A key tickets are signed with.
#[derive(Clone)]
pub struct TicketKey {
    id: String,
    key: Vec<u8>,
}

/// The keys a sink worker knows, newest last.
#[derive(Clone, Debug, Default)]
pub struct TicketKeys {
    keys: Vec<TicketKey>,
}

/// Why a ticket is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTicket {
    #[error("ticket cannot be read")]
    Unreadable,
    #[error("ticket is signed with an unknown key")]
    UnknownKey,
    #[error("ticket's signature does not fit")]
    Forged,
    #[error("ticket has expired")]
    Expired,
}

/// A ticket on its way.
#[derive(Serialize, Deserialize)]
struct Signed {
    key: String,
    ticket: String,
    signature: Vec<u8>,
}

/// Keys a sink worker keeps: the leader's and those of leaders before it, whose tickets are still on their way.
const MAX_KEYS: usize = 4;
/// Tickets are good for at least this long, and for no longer than the attempt may take.
const MIN_LIFE: Duration = Duration::from_secs(300);

impl Ticket {
    pub fn pipeline_digest(pipeline: &[u8]) -> Digest {
        Digest(Sha256::digest(pipeline).into())
    }

    /// When a ticket for an attempt that may take until `deadline` runs out, in Unix milliseconds.
    pub fn expiry(now: Timestamp, deadline: Duration) -> i64 {
        now.checked_add(deadline.max(MIN_LIFE)).unwrap_or(Timestamp::MAX).as_millisecond()
    }
}

impl TicketKey {
    /// A new random key.
    pub fn generate() -> Self {
        let (first, second) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let key = [first.as_bytes().as_slice(), second.as_bytes().as_slice()].concat();
        Self { id: uuid::Uuid::new_v4().simple().to_string(), key }
    }

    pub fn from_wire(id: String, key: Vec<u8>) -> Self {
        Self { id, key }
    }

    /// Id and key, for the sink workers.
    pub fn to_wire(&self) -> (String, Vec<u8>) {
        (self.id.clone(), self.key.clone())
    }

    pub fn sign(&self, ticket: &Ticket) -> Vec<u8> {
        let ticket = serde_json::to_string(ticket).unwrap_or_default();
        let signature = self.mac(&ticket).finalize().into_bytes().to_vec();
        serde_json::to_vec(&Signed { key: self.id.clone(), ticket, signature }).unwrap_or_default()
    }

    fn mac(&self, ticket: &str) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(ticket.as_bytes());
        mac
    }
}

impl TicketKeys {
    /// Learns a key; the oldest is forgotten when there are too many.
    pub fn learn(&mut self, key: TicketKey) {
        if self.keys.iter().any(|known| known.id == key.id) {
            return;
        }
        self.keys.push(key);
        if self.keys.len() > MAX_KEYS {
            self.keys.remove(0);
        }
    }

    /// Reads a ticket and checks its signature (in constant time) and its expiry.
    pub fn verify(&self, bytes: &[u8], now: Timestamp) -> Result<Ticket, BadTicket> {
        let signed: Signed = serde_json::from_slice(bytes).map_err(|_| BadTicket::Unreadable)?;
        let key = self.keys.iter().find(|key| key.id == signed.key).ok_or(BadTicket::UnknownKey)?;
        key.mac(&signed.ticket).verify_slice(&signed.signature).map_err(|_| BadTicket::Forged)?;
        let ticket: Ticket = serde_json::from_str(&signed.ticket).map_err(|_| BadTicket::Unreadable)?;
        if ticket.expires_unix_ms < now.as_millisecond() { Err(BadTicket::Expired) } else { Ok(ticket) }
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ticket() -> Ticket {
        let pipeline: PipelineName = "flights".parse().unwrap();
        let window = Window::version(0);
        Ticket {
            task: TaskId::of(&pipeline, 0, &window, 0),
            token: Token { epoch: 1, revision: 9 },
            attempt: 1,
            pipeline,
            sink: "lake".parse().unwrap(),
            window,
            pipeline_sha256: Ticket::pipeline_digest(b"{}"),
            expires_unix_ms: 1_000,
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn a_signed_ticket_is_read_by_who_knows_the_key_and_only_before_it_expires() {
        let key = TicketKey::generate();
        let bytes = key.sign(&ticket());
        let mut keys = TicketKeys::default();
        assert_eq!(keys.verify(&bytes, at(1)), Err(BadTicket::UnknownKey));
        keys.learn(key);
        assert_eq!(keys.verify(&bytes, at(1)).unwrap(), ticket());
        assert_eq!(keys.verify(&bytes, at(1_001)), Err(BadTicket::Expired));
    }

    #[test]
    fn a_changed_ticket_is_forged() {
        let key = TicketKey::generate();
        let mut keys = TicketKeys::default();
        keys.learn(key.clone());
        let text = String::from_utf8(key.sign(&ticket())).unwrap();
        let forged = text.replace("flights", "flightz");
        assert_ne!(forged, text);
        assert_eq!(keys.verify(forged.as_bytes(), at(1)), Err(BadTicket::Forged));
        assert_eq!(keys.verify(b"nonsense", at(1)), Err(BadTicket::Unreadable));
    }
}
