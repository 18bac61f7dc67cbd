//! Signed requests: made for one request, good for five minutes, and once on a server that is not
//! restarted meanwhile. Knows no wire.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::auth::now;
use crate::auth::signed::unhex;

/// How far a request's clock may be from ours, in seconds.
const WINDOW: u64 = 300;

/// The longest nonce, in bytes.
const MAX_NONCE: usize = 128;

/// The most nonces that are remembered at a time: about 100 MB.
const MAX_NONCES: usize = 1_000_000;

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A key is needed.
    #[error("no key was shown; send it as authorization: Bearer, or as the parameter key")]
    Missing,
    /// It is none of ours.
    #[error("the key is not known")]
    Unknown,
    /// It is ours, but not for this.
    #[error("the key is not for this")]
    Scope,
    /// Keys may not be shown here.
    #[error("a signature is needed; see x-campanile-signature")]
    Unsigned,
    /// A part of the signature is missing or has no such form.
    #[error(
        "x-campanile-timestamp, x-campanile-nonce and x-campanile-signature do not make a signature"
    )]
    Malformed,
    /// Made too long ago, or in the future.
    #[error("x-campanile-timestamp is more than five minutes from this server's clock")]
    Clock,
    /// Made with another key, or for another request.
    #[error("the signature is not of this request by a known key")]
    Signature,
    /// The same request has come before.
    #[error("x-campanile-nonce has been used before")]
    Replayed,
    /// Too many signed requests in five minutes.
    #[error("too many nonces to remember; try again")]
    Busy,
}

/// A request that somebody says to have signed.
pub struct Signed<'a> {
    timestamp: u64,
    nonce: &'a str,
    signature: [u8; 32],
    /// What stands in front of the path.
    method: &'a str,
    /// The path and the query, as they stand in the request.
    target: &'a str,
    /// As it stands in the request.
    content_type: &'a [u8],
}

impl<'a> Signed<'a> {
    /// `timestamp` is in seconds since 1970; `signature` is the HMAC-SHA256, in hexadecimal digits, of
    /// timestamp, nonce, method, target, content type and body, with a line feed between each two. The
    /// content type is empty where there is none; it decides what a body means.
    ///
    /// # Errors
    /// When they have no such form, or the timestamp is not of now.
    pub fn new(
        [timestamp, nonce, signature]: [&'a str; 3],
        (method, target): (&'a str, &'a str),
        content_type: &'a [u8],
    ) -> Result<Self, Denied> {
        let is_sound = (8..=MAX_NONCE).contains(&nonce.len());
        let timestamp = timestamp.parse().ok().filter(|_| is_sound);
        let request = Self {
            timestamp: timestamp.ok_or(Denied::Malformed)?,
            nonce,
            signature: unhex(signature).ok_or(Denied::Malformed)?,
            method,
            target,
            content_type,
        };
        request.is_of_now()?;
        Ok(request)
    }

    pub(super) fn is_of_now(&self) -> Result<(), Denied> {
        if self.timestamp.abs_diff(now()) > WINDOW {
            return Err(Denied::Clock);
        }
        Ok(())
    }

    pub(super) fn is_by(&self, key: &str, body: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let mut mac = hmac::Context::with_key(&key);
        let timestamp = self.timestamp.to_string();
        for part in [&timestamp, self.nonce, self.method, self.target] {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        mac.update(self.content_type);
        mac.update(b"\n");
        mac.update(body);
        mac.sign().as_ref().ct_eq(&self.signature).into()
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
        let nonce = digest(&SHA256, request.nonce.as_bytes());
        let nonce: [u8; 32] = nonce.as_ref().try_into().expect("of 32 bytes");
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

impl Denied {
    /// Whether the one who asks is known: then there is no use in asking who it is.
    #[must_use]
    pub fn is_known(self) -> bool {
        self == Self::Scope
    }
}

impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
