//! Flight tickets. Nothing opens but what was signed, as it was signed, before its time is over.

use jiff::Timestamp;
use windrow_common::ticket::{Ticket, TicketError, TicketKey, TicketKeys};

/// How many places of a signed ticket are damaged, for each of them costs two signatures.
const DAMAGED: usize = 8;

/// The input as a signed ticket, and as what a ticket may say.
pub fn check(data: &[u8]) {
    let keys = keys("coordinator", 7);
    let now = Timestamp::UNIX_EPOCH;
    if let Ok(verified) = keys.verify(data, now) {
        assert_eq!(keys.sign(verified.ticket()).as_deref(), Ok(data), "a ticket opens that nobody signed");
    }
    if let Ok(ticket) = serde_json::from_slice::<Ticket>(data) {
        check_signed(&ticket, &keys);
    }
}

fn check_signed(ticket: &Ticket, keys: &TicketKeys) {
    let signed = keys.sign(ticket).expect("there is a key");
    let Some(last) = ticket.expires_unix_ms.checked_sub(1).and_then(|ms| Timestamp::from_millisecond(ms).ok()) else {
        return;
    };
    let verified = keys.verify(&signed, last).expect("what was signed opens to its last millisecond");
    assert_eq!(verified.ticket(), ticket);
    if let Ok(over) = Timestamp::from_millisecond(ticket.expires_unix_ms) {
        assert_eq!(keys.verify(&signed, over), Err(TicketError::Expired(ticket.task)));
    }
    for other in [self::keys("coordinator", 8), self::keys("another", 7)] {
        assert!(other.verify(&signed, last).is_err(), "a key opens what it did not sign");
    }
    // Which places, the ticket decides, so that all of them come up.
    let seed = ticket.expires_unix_ms.unsigned_abs() as usize;
    for place in 0..DAMAGED {
        let bit = (seed.wrapping_mul(31).wrapping_add(place.wrapping_mul(1_009))) % (signed.len() * 8);
        let mut forged = signed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(keys.verify(&forged, last).is_err(), "bit {bit} is not signed");
        assert!(keys.verify(&signed[..bit / 8], last).is_err(), "cut at {}", bit / 8);
    }
    let longer = [&signed[..], b" "].concat();
    assert!(keys.verify(&longer, last).is_err(), "something may be added");
}

fn keys(id: &str, byte: u8) -> TicketKeys {
    TicketKeys::new(vec![TicketKey::new(id, &[byte; 32]).expect("a key")])
}
