//! Signed requests: made for one request, good for five minutes, and once. Knows no wire.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::auth::api_keys::Denied;
use crate::auth::{now, unhex};

/// How far a request's clock may be from ours, in seconds.
const WINDOW: u64 = 300;

/// The longest nonce, in bytes.
const MAX_NONCE: usize = 128;

/// The most nonces that are remembered at a time: about 100 MB.
const MAX_NONCES: usize = 1_000_000;

/// A request that somebody says to have signed.
pub struct Signed<'a> {
    timestamp: u64,
    nonce: &'a str,
    signature: [u8; 32],
    /// What stands in front of the path.
    method: &'a str,
    /// The path and the query, as they stand in the request.
    target: &'a str,
    body: &'a [u8],
}

impl<'a> Signed<'a> {
    /// `timestamp` is in seconds since 1970; `signature` is the HMAC-SHA256, in hexadecimal digits, of
    /// timestamp, nonce, method, target and body, with a line feed between each two.
    ///
    /// # Errors
    /// When they have no such form.
    pub fn new(
        [timestamp, nonce, signature]: [&'a str; 3],
        (method, target): (&'a str, &'a str),
        body: &'a [u8],
    ) -> Result<Self, Denied> {
        let is_sound = (8..=MAX_NONCE).contains(&nonce.len());
        let timestamp = timestamp.parse().ok().filter(|_| is_sound);
        Ok(Self {
            timestamp: timestamp.ok_or(Denied::Malformed)?,
            nonce,
            signature: unhex(signature).ok_or(Denied::Malformed)?,
            method,
            target,
            body,
        })
    }

    pub(super) fn is_of_now(&self) -> Result<(), Denied> {
        if self.timestamp.abs_diff(now()) > WINDOW {
            return Err(Denied::Clock);
        }
        Ok(())
    }

    pub(super) fn is_by(&self, key: &str) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
            .expect("an HMAC takes a key of any length");
        let timestamp = self.timestamp.to_string();
        for part in [&timestamp, self.nonce, self.method, self.target] {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        mac.update(self.body);
        // Compares in constant time.
        mac.verify_slice(&self.signature).is_ok()
    }
}

/// The nonces of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    known: HashSet<[u8; 32]>,
    /// Each with the second in which it need not be known any longer; about in that order.
    by_age: VecDeque<(u64, [u8; 32])>,
}

impl Nonces {
    /// Uses up the nonce of a request that is sound otherwise.
    pub(super) fn take(&self, request: &Signed<'_>) -> Result<(), Denied> {
        let nonce: [u8; 32] = Sha256::digest(request.nonce).into();
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        // A clock that runs ahead of ours may use the same nonce for so much longer.
        let until = request.timestamp.max(now) + WINDOW + 1;
        while used.by_age.front().is_some_and(|(until, _)| *until < now) {
            if let Some((_, old)) = used.by_age.pop_front() {
                used.known.remove(&old);
            }
        }
        if used.known.contains(&nonce) {
            return Err(Denied::Replayed);
        }
        if used.known.len() >= MAX_NONCES {
            return Err(Denied::Busy);
        }
        used.known.insert(nonce);
        used.by_age.push_back((until, nonce));
        Ok(())
    }
}

impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;

    use super::Signed;
    use crate::auth::api_keys::{Denied, Keys, Scope};
    use crate::auth::now;
    use crate::config;

    const KEY: &str = "0123456789abcdef";

    fn sign(timestamp: u64, nonce: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
        mac.update(format!("{timestamp}\n{nonce}\nPOST\n/?a=1\n{body}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_signed_request_is_taken_once_and_only_as_it_was_signed() {
        let keys = Keys::open(&config::Api {
            keys: vec![format!("push:{KEY}").as_str().into()],
            ..config::Api::default()
        })
        .expect("sound keys");
        let ask = |timestamp: u64, nonce: &str, signature: &str, body: &str| {
            let timestamp = timestamp.to_string();
            let parts = [timestamp.as_str(), nonce, signature];
            let signed = Signed::new(parts, ("POST", "/?a=1"), body.as_bytes())?;
            keys.signed(&signed, Scope::Push)
        };
        let now = now();
        let good = sign(now, "nonce-001", "body");
        assert_eq!(
            ask(now, "nonce-001", &good, "other"),
            Err(Denied::Signature)
        );
        assert_eq!(ask(now, "nonce-002", &good, "body"), Err(Denied::Signature));
        assert_eq!(
            ask(now - 1, "nonce-001", &good, "body"),
            Err(Denied::Signature)
        );
        assert_eq!(ask(now, "nonce-001", &good, "body"), Ok(()));
        assert_eq!(ask(now, "nonce-001", &good, "body"), Err(Denied::Replayed));
        for off in [now - 302, now + 302] {
            let signature = sign(off, "nonce-003", "body");
            assert_eq!(
                ask(off, "nonce-003", &signature, "body"),
                Err(Denied::Clock)
            );
        }
        // The edge of the window, and the same again.
        let edge = now + 298;
        let signature = sign(edge, "nonce-004", "body");
        assert_eq!(ask(edge, "nonce-004", &signature, "body"), Ok(()));
        assert_eq!(
            ask(edge, "nonce-004", &signature, "body"),
            Err(Denied::Replayed)
        );
        assert_eq!(ask(now, "short", &good, "body"), Err(Denied::Malformed));
        assert_eq!(ask(now, "nonce-005", "xyz", "body"), Err(Denied::Malformed));
    }
}
