//! The section of who may log in.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Secret, units};

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// By what a page's claim is judged.
    pub mode: AuthMode,
    /// What tokens are signed with.
    pub secret: Secret,
    /// What tokens were signed with before and may be still.
    pub old_secrets: Vec<Secret>,
    /// What JSON Web Tokens are signed with.
    pub jwt_keys: Vec<JwtKey>,
    /// Whom a JSON Web Token may be for; empty does not ask.
    pub jwt_audience: Vec<String>,
    /// Who may have made a JSON Web Token; empty does not ask.
    pub jwt_issuer: Vec<String>,
    /// How far the clocks of who makes tokens and of this server may be apart.
    #[serde(with = "units::duration")]
    pub jwt_leeway: Duration,
    /// Whether a JSON Web Token has to say when it ends.
    pub jwt_require_exp: bool,
    /// Where the issuer publishes its keys; empty is nowhere.
    pub jwks_url: String,
    /// How often they are read again.
    #[serde(with = "units::duration")]
    pub jwks_refresh: Duration,
    /// The application's address that says who a page is.
    pub webhook_url: String,
    /// What the application is shown, so that it knows who asks; empty shows nothing.
    pub webhook_secret: Secret,
    /// The headers of a page's handshake that the application is told.
    pub webhook_headers: Vec<String>,
    /// How long the application may take to answer.
    #[serde(with = "units::duration")]
    pub webhook_timeout: Duration,
    /// How many logins the application is asked about at once.
    pub webhook_concurrency: usize,
    /// How many more may wait for their turn.
    pub webhook_queue: usize,
}

/// By what a page's claim is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// By nothing: anybody may be anyone, as in the originals.
    #[default]
    Open,
    /// By its signature: a page logs in with a token that the application made.
    Signed,
    /// By its signature, where it is a JSON Web Token.
    Jwt,
    /// By the application, which is asked.
    Webhook,
}

/// What a JSON Web Token may be signed with: a public key's file, or a shared secret.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtKey {
    /// A public key in PEM: RSA, P-256 or Ed25519.
    pub file: PathBuf,
    /// A secret that the issuer shares.
    pub secret: Secret,
    /// The key's name; a token that names another is not tried with it. Empty is no name.
    pub kid: String,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Open,
            secret: Secret::default(),
            old_secrets: Vec::new(),
            jwt_keys: Vec::new(),
            jwt_audience: Vec::new(),
            jwt_issuer: Vec::new(),
            jwt_leeway: Duration::from_secs(30),
            jwt_require_exp: true,
            jwks_url: String::new(),
            jwks_refresh: Duration::from_secs(3600),
            webhook_url: String::new(),
            webhook_secret: Secret::default(),
            webhook_headers: vec!["cookie".to_owned(), "authorization".to_owned()],
            webhook_timeout: Duration::from_secs(3),
            webhook_concurrency: 64,
            webhook_queue: 1024,
        }
    }
}
