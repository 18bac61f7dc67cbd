//! The rule of JSON Web Tokens: a key signs, the claims decide. A key that is not known may have been
//! published since, so the verdict waits for the issuer's keys.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::jwks::{Jwks, Outlook};
use super::keys::{Key, Trial, verify};
use super::token::{Claims, Token};
use super::{Admission, Admitted, Refused, Unusable};
use crate::config;

/// What JSON Web Tokens are judged by.
#[derive(Debug)]
pub(super) struct Jwt {
    configured: Vec<Key>,
    published: Option<Jwks>,
    claims: Claims,
}

/// A refusal, and whether newer keys could turn it.
struct Doubt {
    refused: Refused,
    is_open: bool,
}

impl Jwt {
    pub(super) fn new(config: &config::Auth) -> Result<Self, Unusable> {
        let published = match config.jwks_url.as_str() {
            "" => None,
            url => Some(Jwks::new(url, config.jwks_refresh)?),
        };
        Ok(Self {
            configured: Key::configured(config)?,
            published,
            claims: Claims::new(config),
        })
    }

    pub(super) fn admit(this: &Arc<Self>, token: &[u8]) -> Admission {
        let read = match Token::read(token) {
            Ok(read) => read,
            Err(refused) => return Admission::Now(Err(refused)),
        };
        let Some(published) = &this.published else {
            return Admission::Now(this.judge(&read, &[]).map_err(|doubt| doubt.refused));
        };
        let known = published.known();
        let doubt = match this.judge(&read, &known.keys) {
            Err(doubt) if doubt.is_open => doubt,
            verdict => return Admission::Now(verdict.map_err(|doubt| doubt.refused)),
        };
        match published.outlook(&known) {
            Outlook::Settled => return Admission::Now(Err(doubt.refused)),
            Outlook::Down => return Admission::Now(Err(Refused::Unavailable)),
            Outlook::Wait => {}
        }
        let (this, token) = (Arc::clone(this), token.to_vec());
        Admission::Later(Box::pin(async move {
            let published = this.published.as_ref().ok_or(Refused::Unavailable)?;
            let newer = published.newer(&known).await;
            let newer = newer.ok_or(Refused::Unavailable)?;
            let verdict = this.judge(&Token::read(&token)?, &newer.keys);
            verdict.map_err(|doubt| match doubt.is_open && newer.is_stale {
                true => Refused::Unavailable,
                false => doubt.refused,
            })
        }))
    }

    pub(super) async fn run(&self, stop: CancellationToken) {
        match &self.published {
            Some(published) => published.run(stop).await,
            None => stop.cancelled().await,
        }
    }

    fn judge(&self, token: &Token<'_>, published: &[Key]) -> Result<Admitted, Doubt> {
        let (refused, is_open) = match verify(token, self.configured.iter().chain(published)) {
            Trial::Signed => {
                let verdict = self.claims.judge(token);
                return verdict.map_err(|refused| Doubt {
                    refused,
                    is_open: false,
                });
            }
            Trial::Failed { is_named, is_fit } if is_fit => (Refused::Signature, !is_named),
            Trial::Failed { is_named, .. } => (Refused::Algorithm, !is_named),
            Trial::NoKey => (Refused::UnknownKey, true),
        };
        // No shared secret is ever published.
        let is_open = is_open && !token.algorithm.is_shared();
        Err(Doubt { refused, is_open })
    }
}
