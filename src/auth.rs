//! Who may log in: what a page claims, made into a uid. Knows no wire and no gateway.
//!
//! One rule a mode, each in its file: `signed`, `jwt` (with the keys that it is given, and those that
//! an issuer publishes, in `jwks`) and `webhook`. What they have in common is here. Who may push: [`api_keys`].

pub mod api_keys;
pub mod signature;

mod client;
mod jwks;
mod jwt;
mod keys;
#[cfg(test)]
mod mint;
mod refused;
mod signed;
#[cfg(test)]
mod stub;
mod token;
mod webhook;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::config::AuthMode;
use crate::group::Group;
use crate::uid::Uid;

use jwt::Jwt;
pub use refused::Refused;
use signed::Signed;
use webhook::Webhook;

/// The rule by which claims are judged.
#[derive(Debug)]
pub struct Auth {
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Open,
    Signed(Signed),
    Jwt(Arc<Jwt>),
    Webhook(Arc<Webhook>),
}

/// Who makes a claim, as far as its gateway knows. Shared by all claims of one connection.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The page's address, or that of what stands before us.
    pub peer: IpAddr,
    /// Of its handshake, what [`Auth::wanted_headers`] asks for.
    /// In a box, since most have none and every page has a caller.
    pub headers: Option<Box<HeaderMap>>,
    /// What it speaks, by the name of its section: `socketio`, `uid_socket`, `chat`.
    pub gateway: &'static str,
}

/// What a page logs in with. Its `Debug` tells nothing of it.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The text that the page gave: the uid itself where anybody may be anyone, else a token.
    pub credential: &'a [u8],
    /// All that the page sent, for who is asked about it; without it the credential is.
    pub payload: Option<&'a Value>,
    /// Who makes it.
    pub caller: Option<&'a Caller>,
}

/// The verdict on a claim.
#[must_use]
pub enum Admission {
    /// It stands.
    Now(Result<Admitted, Refused>),
    /// Somebody has to be asked. Takes a bounded time; to drop it is to give up.
    Later(BoxFuture<'static, Result<Admitted, Refused>>),
}

/// What a page may have by its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who it is.
    pub uid: Uid,
    /// Until when; `None` is for as long as it is there.
    pub expires: Option<SystemTime>,
    /// What it is in from the beginning, each once.
    pub groups: Vec<Group>,
}

/// Why nobody could be judged by a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct Unusable {
    /// The key, as `auth.key`.
    key: String,
    /// What is wrong, and what would be right.
    problem: String,
    /// What the system said.
    #[source]
    source: Option<std::io::Error>,
}

impl Auth {
    /// Judges by `config`.
    ///
    /// # Errors
    /// When a key cannot be read, or is none.
    pub fn new(config: &config::Auth) -> Result<Self, Unusable> {
        let rule = match config.mode {
            AuthMode::Open => Rule::Open,
            AuthMode::Signed => Rule::Signed(Signed::new(config)),
            AuthMode::Jwt => Rule::Jwt(Arc::new(Jwt::new(config)?)),
            AuthMode::Webhook => Rule::Webhook(Arc::new(Webhook::new(config)?)),
        };
        Ok(Self { rule })
    }

    /// Whether anybody may be anyone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.rule, Rule::Open)
    }

    /// Whether a claim is judged by more than its text: a page may then log in with nothing.
    #[must_use]
    pub fn judges_more(&self) -> bool {
        matches!(self.rule, Rule::Webhook(_))
    }

    /// How many claims may wait for their verdict at a time, where that is bounded.
    #[must_use]
    pub fn places(&self) -> Option<usize> {
        match &self.rule {
            Rule::Webhook(webhook) => Some(webhook.places()),
            Rule::Open | Rule::Signed(_) | Rule::Jwt(_) => None,
        }
    }

    /// The longest claim that can be right, in bytes.
    #[must_use]
    pub fn max_claim(&self) -> usize {
        match self.rule {
            Rule::Open => Uid::MAX_LEN,
            Rule::Signed(_) => signed::MAX_TOKEN,
            Rule::Jwt(_) => token::MAX_TOKEN,
            Rule::Webhook(_) => webhook::MAX_LOGIN,
        }
    }

    /// The headers of a handshake that a claim is judged by. A gateway keeps no others.
    #[must_use]
    pub fn wanted_headers(&self) -> &[HeaderName] {
        match &self.rule {
            Rule::Webhook(webhook) => webhook.headers(),
            Rule::Open | Rule::Signed(_) | Rule::Jwt(_) => &[],
        }
    }

    /// Judges a claim.
    pub fn admit(&self, claim: Claim<'_>) -> Admission {
        match &self.rule {
            Rule::Open => {
                let uid = Uid::parse_bytes(claim.credential);
                Admission::Now(uid.map(Admitted::from).map_err(Refused::Uid))
            }
            Rule::Signed(signed) => Admission::Now(signed.admit(claim.credential)),
            Rule::Jwt(jwt) => Jwt::admit(jwt, claim.credential),
            Rule::Webhook(webhook) => Webhook::admit(webhook, claim),
        }
    }

    /// Keeps what claims are judged by up to date, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        match &self.rule {
            Rule::Jwt(jwt) => jwt.run(stop).await,
            Rule::Open | Rule::Signed(_) | Rule::Webhook(_) => stop.cancelled().await,
        }
    }
}

impl<'a> Claim<'a> {
    /// A claim of nobody known, by its text alone.
    #[must_use]
    pub fn of(credential: &'a [u8]) -> Self {
        Self {
            credential,
            payload: None,
            caller: None,
        }
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

impl Admission {
    /// The verdict, when it stands.
    ///
    /// # Errors
    /// Those of the verdict.
    pub async fn wait(self) -> Result<Admitted, Refused> {
        match self {
            Self::Now(verdict) => verdict,
            Self::Later(verdict) => verdict.await,
        }
    }

    /// The verdict for a gateway that cannot wait: one that does not stand yet is a refusal.
    ///
    /// # Errors
    /// Those of the verdict, and [`Refused::Unavailable`].
    pub fn now(self) -> Result<Admitted, Refused> {
        match self {
            Self::Now(verdict) => verdict,
            Self::Later(_) => Err(Refused::Unavailable),
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(verdict) => f.debug_tuple("Now").field(verdict).finish(),
            Self::Later(_) => f.debug_tuple("Later").finish_non_exhaustive(),
        }
    }
}

/// For as long as it is there, in no group.
impl From<Uid> for Admitted {
    fn from(uid: Uid) -> Self {
        Self {
            uid,
            expires: None,
            groups: Vec::new(),
        }
    }
}

impl Unusable {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
            source: None,
        }
    }

    fn because(self, source: std::io::Error) -> Self {
        let source = Some(source);
        Self { source, ..self }
    }
}

/// A time in seconds since 1970; `None` is further off than the clock goes.
fn at(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The groups of a list of names, each once. What is no text names none.
fn groups(names: Option<Value>) -> Result<Vec<Group>, Refused> {
    let names = match names {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(Refused::Field("groups")),
    };
    let names = names.iter().filter_map(Value::as_str);
    let groups: Result<Vec<Group>, _> = names.map(Group::parse).collect();
    let mut groups = groups?;
    groups.sort();
    groups.dedup();
    Ok(groups)
}

/// The uid that a text or an integer names.
fn uid(name: Option<&Value>, field: &'static str) -> Result<Uid, Refused> {
    match name {
        Some(Value::String(name)) => Ok(Uid::parse(name)?),
        Some(Value::Number(name)) if name.is_i64() || name.is_u64() => {
            Ok(Uid::parse(&name.to_string())?)
        }
        _ => Err(Refused::Field(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Auth, Claim};
    use crate::config;
    use crate::config::AuthMode;
    use crate::uid::Uid;

    fn auth(mode: AuthMode) -> Auth {
        let config = config::Auth {
            mode,
            webhook_url: "http://127.0.0.1:1/".to_owned(),
            ..config::Auth::default()
        };
        Auth::new(&config).unwrap()
    }

    #[test]
    fn where_it_is_open_anybody_is_anyone_who_can_be_one() {
        let open = auth(AuthMode::Open);
        let uid = |claim: &[u8]| open.admit(Claim::of(claim)).now();
        assert!(open.is_open() && open.max_claim() == Uid::MAX_LEN);
        assert_eq!(uid("用户".as_bytes()).unwrap().uid.as_str(), "用户");
        for bad in [&b""[..], &b"\xff"[..], &[b'x'; 1025][..]] {
            assert_eq!(uid(bad).unwrap_err().code(), "invalid_uid");
        }
    }

    #[test]
    fn only_the_webhook_wants_headers() {
        for mode in [AuthMode::Open, AuthMode::Signed, AuthMode::Jwt] {
            assert!(auth(mode).wanted_headers().is_empty());
        }
        let webhook = auth(AuthMode::Webhook);
        assert_eq!(webhook.wanted_headers(), ["cookie", "authorization"]);
        assert!(!webhook.is_open());
    }

    #[test]
    fn a_claim_is_not_shown() {
        let shown = format!("{:?}", Claim::of(b"hidden"));
        assert_eq!(shown, "Claim { .. }");
    }
}
