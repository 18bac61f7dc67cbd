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

#[cfg(test)]
mod tests {
    use super::{FORM, Signed};
    use crate::auth::{Refused, at};
    use crate::config;
    use crate::config::Secret;

    /// Made with openssl dgst -sha256 -hmac.
    const BY_SECRET: &str = "22ec2c9dacd70c8c25ec23e5383c0fe182045539bc62549581f925f608102fb0";
    const BY_OLD_SECRET: &str = "5734fcd4dbc8572306ade2103f13d2eb9b9e874afd8269ad71d7ec5b882c9997";
    const LONG_AGO: &str = "122a70458f090391f8b584b2a51617d6d8e7a2a109b7ef364b812ab11bce576d";

    fn signed(old_secrets: &[&str]) -> Signed {
        Signed::new(&config::Auth {
            secret: Secret::from("0123456789abcdef"),
            old_secrets: old_secrets.iter().map(|secret| (*secret).into()).collect(),
            ..config::Auth::default()
        })
    }

    #[test]
    fn a_token_that_openssl_signed_is_good_until_its_expiry() {
        let token = format!("alice.4102444800.{BY_SECRET}");
        let admitted = signed(&[]).admit(token.as_bytes()).unwrap();
        assert_eq!(admitted.uid.as_str(), "alice");
        assert_eq!(admitted.expires, at(4_102_444_800));
        assert!(admitted.groups.is_empty());
    }

    #[test]
    fn an_old_secret_is_good_for_as_long_as_it_is_configured() {
        let token = format!("alice.4102444800.{BY_OLD_SECRET}");
        let token = token.as_bytes();
        assert_eq!(signed(&[]).admit(token), Err(Refused::Signature));
        let both = signed(&["another secret..", "the secret before"]);
        assert_eq!(both.admit(token).unwrap().uid.as_str(), "alice");
    }

    #[test]
    fn what_is_wrong_with_a_token_is_told() {
        let cases = [
            ("alice".to_owned(), FORM),
            (format!("alice.{BY_SECRET}"), FORM),
            (format!("alice.soon.{BY_SECRET}"), FORM),
            (format!("alice.4102444800.{}", &BY_SECRET[1..]), FORM),
            (format!("bob.4102444800.{BY_SECRET}"), Refused::Signature),
            (format!("alice.1000.{LONG_AGO}"), Refused::Expired),
        ];
        for (token, why) in cases {
            assert_eq!(signed(&[]).admit(token.as_bytes()), Err(why), "{token}");
        }
    }
}
