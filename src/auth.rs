//! Who may log in: what a page claims, made into a uid. And who may push: [`api_keys`]. Knows no wire.

pub mod api_keys;
pub mod signature;

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config::{self, AuthMode, Secret};
use crate::uid::{InvalidUid, Uid};

/// The rule by which claims are judged.
#[derive(Debug)]
pub struct Auth {
    /// `None` takes any uid.
    secret: Option<Secret>,
}

/// Why a claim is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The uid cannot be one.
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    /// Not `uid.expiry.signature`.
    #[error("not a token; expected uid.expiry.signature")]
    NotToken,
    /// The token's time is over.
    #[error("token has expired")]
    Expired,
    /// Signed by somebody else, or changed.
    #[error("token's signature is wrong")]
    Signature,
}

/// What a token has beside its uid: two dots, seconds since 1970, 64 hexadecimal digits.
const TOKEN_TAIL: usize = 2 + 20 + 64;

impl Auth {
    /// Judges by `config`.
    #[must_use]
    pub fn new(config: &config::Auth) -> Self {
        let secret = match config.mode {
            AuthMode::Open => None,
            AuthMode::Signed => Some(config.secret.clone()),
        };
        Self { secret }
    }

    /// Whether anybody may be anyone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.secret.is_none()
    }

    /// The longest claim that can be right, in bytes.
    #[must_use]
    pub fn max_claim(&self) -> usize {
        match self.secret {
            None => Uid::MAX_LEN,
            Some(_) => Uid::MAX_LEN + TOKEN_TAIL,
        }
    }

    /// The uid that a page may have by its claim: the uid itself where anybody may be anyone, else
    /// a token, `uid.expiry.signature`. The expiry is in seconds since 1970, the signature the
    /// HMAC-SHA256 of `uid.expiry` in hexadecimal digits.
    ///
    /// # Errors
    /// When it may have none.
    pub fn uid(&self, claim: &[u8]) -> Result<Uid, Refused> {
        let Some(secret) = &self.secret else {
            return Ok(Uid::parse_bytes(claim)?);
        };
        let claim = std::str::from_utf8(claim).map_err(|_| Refused::NotToken)?;
        let (signed, signature) = claim.rsplit_once('.').ok_or(Refused::NotToken)?;
        let (uid, expiry) = signed.rsplit_once('.').ok_or(Refused::NotToken)?;
        let expiry: u64 = expiry.parse().map_err(|_| Refused::NotToken)?;
        let signature = unhex(signature).ok_or(Refused::NotToken)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
            .expect("an HMAC takes a key of any length");
        mac.update(signed.as_bytes());
        // Compares in constant time.
        mac.verify_slice(&signature)
            .map_err(|_| Refused::Signature)?;
        if expiry <= now() {
            return Err(Refused::Expired);
        }
        Ok(Uid::parse(uid)?)
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
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
