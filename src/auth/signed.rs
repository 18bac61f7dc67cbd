//! Tokens of our own form, `uid.expiry.signature`. The expiry is in seconds since 1970, the signature
//! the HMAC-SHA256 of `uid.expiry` in hexadecimal digits.

use std::fmt;

use ring::hmac;

use super::{Admitted, Refused, at, now};
use crate::config;
use crate::config::Secret;
use crate::uid::Uid;

/// The longest token: behind the uid two dots, seconds since 1970, 64 hexadecimal digits.
pub(super) const MAX_TOKEN: usize = Uid::MAX_LEN + 2 + 20 + 64;

const FORM: Refused = Refused::NotToken("uid.expiry.signature");

/// What tokens are signed with: the secret, and before it others.
pub(super) struct Signed {
    keys: Vec<hmac::Key>,
}

impl Signed {
    pub(super) fn new(config: &config::Auth) -> Self {
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let secrets = std::iter::once(&config.secret).chain(&config.old_secrets);
        let keys = secrets.map(key).collect();
        Self { keys }
    }

    pub(super) fn admit(&self, token: &[u8]) -> Result<Admitted, Refused> {
        let token = std::str::from_utf8(token).map_err(|_| FORM)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
        let (uid, expiry) = signed.rsplit_once('.').ok_or(FORM)?;
        let expiry: u64 = expiry.parse().map_err(|_| FORM)?;
        let signature = unhex(signature).ok_or(FORM)?;
        // Each comparison takes a constant time.
        let is_by = |key| hmac::verify(key, signed.as_bytes(), &signature).is_ok();
        if !self.keys.iter().any(is_by) {
            return Err(Refused::Signature);
        }
        if expiry <= now() {
            return Err(Refused::Expired);
        }
        Ok(Admitted {
            uid: Uid::parse(uid)?,
            expires: at(expiry),
            groups: Vec::new(),
        })
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}
