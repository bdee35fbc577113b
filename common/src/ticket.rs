//! The ticket: what a claim allows at the sink worker, signed by the coordinator so that nobody else can say it, and only
//! for a while. The sink worker verifies it; whoever reads the source passes it on as it is.
//!
//! ```text
//! version 1 | length of key id | key id | HMAC-SHA256 over the rest and this head | ticket as JSON
//! ```

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    claim::Token,
    id::{PipelineName, SinkId, TaskId},
    manifest::Digest,
    window::Window,
};

const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
const MAX_TICKET_BYTES: usize = 4 * 1024;
const MIN_KEY_BYTES: usize = 32;
const MAX_KEY_ID_BYTES: usize = 32;

/// A claim's right to stage files for a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    pub task: TaskId,
    pub token: Token,
    pub attempt: u32,
    pub pipeline: PipelineName,
    pub sink: SinkId,
    pub window: Window,
    /// SHA-256 of the pipeline's JSON, which the reader sends along: the sink worker opens no other.
    pub pipeline_sha256: Digest,
    /// Milliseconds since 1970 after which it opens nothing any more.
    pub expires_unix_ms: i64,
}

impl Ticket {
    /// Whether the ticket was signed for this very pipeline.
    pub fn is_for(&self, pipeline_json: &[u8]) -> bool {
        sha256(pipeline_json) == self.pipeline_sha256
    }
}

/// The digest a ticket names a pipeline by.
pub fn sha256(pipeline_json: &[u8]) -> Digest {
    Digest(Sha256::digest(pipeline_json).into())
}

/// A ticket whose signature and time were found good. Only [`TicketKeys::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified(Ticket);

impl Verified {
    pub fn ticket(&self) -> &Ticket {
        &self.0
    }
}

/// Why a ticket opens nothing, or cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("there is no key to sign a ticket with")]
    NoKey,
    #[error("a ticket is damaged")]
    Damaged,
    #[error("a ticket is signed with a key unknown here")]
    UnknownKey,
    #[error("a ticket is forged")]
    Forged,
    #[error("the ticket of task {0} has expired")]
    Expired(TaskId),
}

/// A secret shared by those who sign and those who verify.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    id: String,
    secret: Vec<u8>,
}

/// A key that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ticket key has an id of 1 to {MAX_KEY_ID_BYTES} bytes and a secret of at least {MIN_KEY_BYTES} bytes")]
pub struct InvalidKey;

impl TicketKey {
    pub fn new(id: &str, secret: &[u8]) -> Result<Self, InvalidKey> {
        let good = (1..=MAX_KEY_ID_BYTES).contains(&id.len()) && secret.len() >= MIN_KEY_BYTES;
        if good { Ok(Self { id: id.to_owned(), secret: secret.to_vec() }) } else { Err(InvalidKey) }
    }

    /// A key nobody else has, for one process.
    pub fn random() -> Self {
        let secret = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        Self { id: "process".to_owned(), secret }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes themselves, to hand to a peer that verifies.
    pub fn reveal(&self) -> &[u8] {
        &self.secret
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        let mut mac = match <Hmac<Sha256> as Mac>::new_from_slice(&self.secret) {
            Ok(mac) => mac,
            Err(_) => unreachable!("an HMAC key has no length limit"),
        };
        mac.update(&[VERSION]);
        mac.update(self.id.as_bytes());
        mac.update(&[0]);
        mac.update(payload);
        mac
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKey({}, ..)", self.id)
    }
}

/// The keys in use, newest first: the newest signs, all verify. Clones share them, so that a rotation reaches everybody.
#[derive(Clone, Debug, Default)]
pub struct TicketKeys(Arc<RwLock<Vec<TicketKey>>>);

impl TicketKeys {
    pub fn new(newest_first: Vec<TicketKey>) -> Self {
        Self(Arc::new(RwLock::new(newest_first)))
    }

    /// Rotates: tickets signed with a key that is left out open nothing any more.
    pub fn replace(&self, newest_first: Vec<TicketKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = newest_first;
    }

    /// Signs with the newest key; fails while there is none.
    pub fn sign(&self, ticket: &Ticket) -> Result<Vec<u8>, TicketError> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.first().ok_or(TicketError::NoKey)?;
        let payload = serde_json::to_vec(ticket).map_err(|_| TicketError::Damaged)?;
        let mut signed = vec![VERSION, u8::try_from(key.id.len()).unwrap_or(u8::MAX)];
        signed.extend_from_slice(key.id.as_bytes());
        signed.extend_from_slice(&key.mac(&payload).finalize().into_bytes());
        signed.extend_from_slice(&payload);
        Ok(signed)
    }

    /// What a ticket says, unless it is forged, damaged, of an unknown key or past its time.
    pub fn verify(&self, signed: &[u8], now: Timestamp) -> Result<Verified, TicketError> {
        let envelope = Envelope::parse(signed).ok_or(TicketError::Damaged)?;
        self.check(&envelope)?;
        let ticket: Ticket = serde_json::from_slice(envelope.payload).map_err(|_| TicketError::Damaged)?;
        match now.as_millisecond() < ticket.expires_unix_ms {
            true => Ok(Verified(ticket)),
            false => Err(TicketError::Expired(ticket.task)),
        }
    }

    fn check(&self, envelope: &Envelope<'_>) -> Result<(), TicketError> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.id.as_bytes() == envelope.key_id).ok_or(TicketError::UnknownKey)?;
        // Compares in constant time.
        key.mac(envelope.payload).verify_slice(envelope.mac).map_err(|_| TicketError::Forged)
    }
}

struct Envelope<'a> {
    key_id: &'a [u8],
    mac: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn parse(signed: &'a [u8]) -> Option<Self> {
        if signed.len() > MAX_TICKET_BYTES {
            return None;
        }
        let (&version, rest) = signed.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (key_id, rest) = rest.split_at_checked(length.into())?;
        let (mac, payload) = rest.split_at_checked(MAC_BYTES)?;
        (version == VERSION).then_some(Self { key_id, mac, payload })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::window::Axis;

    fn ticket() -> Ticket {
        Ticket {
            task: TaskId::from_bytes([7; 16]),
            token: Token { epoch: 1, revision: 42 },
            attempt: 1,
            pipeline: "flights".parse().unwrap(),
            sink: "lake".parse().unwrap(),
            window: Window::new(Axis::Time, 0, 10).unwrap(),
            pipeline_sha256: sha256(b"{}"),
            expires_unix_ms: 1_000,
        }
    }

    fn key(id: &str) -> TicketKey {
        TicketKey::new(id, &[id.len() as u8; 32]).unwrap()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn a_signed_ticket_opens_until_it_expires() {
        let keys = TicketKeys::new(vec![key("a")]);
        let signed = keys.sign(&ticket()).unwrap();
        assert_eq!(keys.verify(&signed, at(999)).unwrap().ticket(), &ticket());
        assert_eq!(keys.verify(&signed, at(1_000)), Err(TicketError::Expired(ticket().task)));
        assert!(ticket().is_for(b"{}") && !ticket().is_for(b"{} "));
    }

    #[test]
    fn no_changed_byte_is_accepted() {
        let keys = TicketKeys::new(vec![key("a")]);
        let signed = keys.sign(&ticket()).unwrap();
        for index in 0..signed.len() {
            let mut forged = signed.clone();
            forged[index] ^= 1;
            assert!(keys.verify(&forged, at(0)).is_err(), "byte {index}");
            assert!(keys.verify(&signed[..index], at(0)).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn keys_rotate_without_refusing_what_the_older_one_signed() {
        let keys = TicketKeys::new(vec![key("a")]);
        let signed = keys.sign(&ticket()).unwrap();
        keys.replace(vec![key("bb"), key("a")]);
        assert!(keys.verify(&signed, at(0)).is_ok());
        assert!(keys.verify(&keys.sign(&ticket()).unwrap(), at(0)).is_ok());
        keys.replace(vec![key("bb")]);
        assert!(keys.verify(&signed, at(0)).is_err());
        assert!(TicketKeys::default().sign(&ticket()).is_err());
    }

    #[test]
    fn weak_keys_are_refused_and_no_key_shows_itself() {
        assert!(TicketKey::new("a", &[1; 16]).is_err());
        assert!(TicketKey::new("", &[1; 32]).is_err());
        assert_eq!(format!("{:?}", key("a")), "TicketKey(a, ..)");
    }
}
