//! A JSON Web Token taken apart (RFC 7515, compact), and what its claims have to say (RFC 7519).
//! Knows no key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Admitted, Refused, at, groups, now, uid};
use crate::config;

/// The longest token. Those in use have up to a few KiB.
pub(super) const MAX_TOKEN: usize = 16 * 1024;

const FORM: Refused = Refused::NotToken("a JSON Web Token");

/// How a token says that it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Es256,
    EdDsa,
}

/// A token taken apart. Nothing of it is to be believed before its signature is verified.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// The name of its key.
    pub(super) kid: Option<String>,
    /// What is signed.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    payload: Vec<u8>,
}

/// What the claims have to say.
#[derive(Debug)]
pub(super) struct Claims {
    audience: Vec<String>,
    issuer: Vec<String>,
    /// Seconds.
    leeway: u64,
    must_end: bool,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What has to be understood beyond the standard. We understand nothing of it.
    crit: Option<Value>,
}

/// The claims that we look at; a claim that is there twice is an error.
#[derive(Deserialize)]
struct Payload {
    sub: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    aud: Option<Value>,
    iss: Option<Value>,
    groups: Option<Value>,
}

impl<'a> Token<'a> {
    pub(super) fn read(token: &'a [u8]) -> Result<Self, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(FORM);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FORM);
        };
        let signed = &token[..header.len() + 1 + payload.len()];
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| FORM);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| FORM)?;
        if header.crit.is_some() {
            return Err(FORM);
        }
        Ok(Self {
            algorithm: Algorithm::named(&header.alg).ok_or(Refused::Algorithm)?,
            kid: header.kid,
            signed,
            signature: decode(signature)?,
            payload: decode(payload)?,
        })
    }
}

impl Algorithm {
    /// `none`, and whatever else is not among ours, is no algorithm.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "HS384" => Some(Self::Hs384),
            "HS512" => Some(Self::Hs512),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            // By RFC 8037, and by RFC 9864.
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// Whether who verifies could also sign.
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

impl Claims {
    pub(super) fn new(config: &config::Auth) -> Self {
        Self {
            audience: config.jwt_audience.clone(),
            issuer: config.jwt_issuer.clone(),
            leeway: config.jwt_leeway.as_secs(),
            must_end: config.jwt_require_exp,
        }
    }

    /// Judges what a token says. Its signature has been verified.
    pub(super) fn judge(&self, token: &Token<'_>) -> Result<Admitted, Refused> {
        let said: Payload = serde_json::from_slice(&token.payload).map_err(|_| FORM)?;
        let end = time(said.exp.as_ref(), "exp")?;
        if end.is_none() && self.must_end {
            return Err(Refused::Field("exp"));
        }
        let end = end.map(|end| end.saturating_add(self.leeway));
        let now = now();
        if end.is_some_and(|end| end <= now) {
            return Err(Refused::Expired);
        }
        let begin = time(said.nbf.as_ref(), "nbf")?;
        if begin.is_some_and(|begin| begin > now.saturating_add(self.leeway)) {
            return Err(Refused::NotYet);
        }
        if !self.issuer.is_empty() && !is_among(&self.issuer, said.iss.as_ref()) {
            return Err(Refused::Issuer);
        }
        if !self.audience.is_empty() && !self.is_for_us(said.aud.as_ref()) {
            return Err(Refused::Audience);
        }
        Ok(Admitted {
            uid: uid(said.sub.as_ref(), "sub")?,
            expires: end.and_then(at),
            groups: groups(said.groups)?,
        })
    }

    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        match audience {
            Some(Value::Array(all)) => all.iter().any(|one| is_among(&self.audience, Some(one))),
            one => is_among(&self.audience, one),
        }
    }
}

fn is_among(names: &[String], said: Option<&Value>) -> bool {
    let said = said.and_then(Value::as_str);
    said.is_some_and(|said| names.iter().any(|name| name == said))
}

/// Seconds since 1970, which may have a fraction.
fn time(said: Option<&Value>, field: &'static str) -> Result<Option<u64>, Refused> {
    let Some(said) = said else {
        return Ok(None);
    };
    let whole = said.as_u64().or_else(|| {
        let seconds = said.as_f64().filter(|seconds| *seconds >= 0.0)?;
        // Saturates.
        Some(seconds as u64)
    });
    whole.map(Some).ok_or(Refused::Field(field))
}
