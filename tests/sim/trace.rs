//! What happened, in order: told to whoever looks, and hashed, so that two runs can be compared.

use std::time::Duration;

pub(crate) struct Trace {
    hash: blake3::Hasher,
    events: u64,
    tells: bool,
}

impl Trace {
    pub(crate) fn new(tells: bool) -> Self {
        Self { hash: blake3::Hasher::new(), events: 0, tells }
    }

    pub(crate) fn note(&mut self, at: Duration, event: &str) {
        self.events += 1;
        let line = format!("{:>9.3} {event}\n", at.as_secs_f64());
        self.hash.update(line.as_bytes());
        if self.tells {
            eprint!("{line}");
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn hash(&self) -> String {
        self.hash.finalize().to_hex()[..32].to_owned()
    }
}
