//! Signatures as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.body`. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Fewest bytes of a key.
const SHORTEST: usize = 24;
/// What a key in base64 begins with.
const PREFIX: &str = "whsec_";

/// What receivers verify signatures with.
pub(super) struct Key(Vec<u8>);

impl Key {
    /// `whsec_` and the key in base64.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(encoded) = text.strip_prefix(PREFIX) else { return Err("the secret does not begin with `whsec_`") };
        let key = STANDARD.decode(encoded).map_err(|_| "what follows `whsec_` is no base64")?;
        if key.len() < SHORTEST { Err("the key has fewer than 24 bytes") } else { Ok(Self(key)) }
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_the_one_other_libraries_make() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_no_key_is_refused() {
        for bad in ["", "whsec_", "whsec_?", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }
}
