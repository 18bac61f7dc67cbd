//! The keys that an issuer publishes at a URL (RFC 7517): read again now and then, and when a token
//! needs one that is not known, by one loop, so that any number of logins make one request. Keys that
//! were read stay in use while the issuer cannot be reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, StatusCode, Uri, header};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Unusable;
use super::client::{Bounds, CallError, Client};
use super::keys::Key;

/// The most keys that are taken of one answer: any may have to be tried on a token without a kid.
const MAX_KEYS: usize = 64;

/// How large an answer may be, in bytes, and how long it may take.
const BOUNDS: Bounds = Bounds {
    bytes: 1024 * 1024,
    time: Duration::from_secs(10),
};

/// An issuer's keys.
pub(super) struct Jwks {
    client: Client,
    url: Uri,
    pace: Pace,
    known: watch::Sender<Known>,
    /// A token needs a key that is not known.
    wanted: Notify,
}

/// How often the issuer is asked, and how long a login waits for it.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// As long as it answers.
    refresh: Duration,
    /// At most this often for tokens whose key is not known, so that such tokens are no storm.
    gap: Duration,
    /// After its first failure; each further one doubles it.
    backoff: Duration,
    /// The longest time between two attempts that fail.
    max_backoff: Duration,
    /// How long a login waits for newer keys.
    patience: Duration,
}

/// What is known of the keys.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) keys: Arc<[Key]>,
    /// The last attempt has failed, or there was none.
    pub(super) is_stale: bool,
    /// How many attempts have ended.
    attempts: u64,
    /// When the last began.
    asked: Option<Instant>,
    is_asking: bool,
}

/// What a token can hope for whose key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing: the keys are fresh.
    Settled,
    /// Nothing for the moment: the issuer has just failed.
    Down,
    /// Newer keys, which are on their way.
    Wait,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    #[error("the answer is not a set of keys")]
    NotKeys,
    #[error("none of the keys can be used")]
    NoKey,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Jwks {
    /// The keys at `url`, read again every `refresh`. None is known before [`Jwks::run`].
    pub(super) fn new(url: &str, refresh: Duration) -> Result<Self, Unusable> {
        let pace = Pace {
            refresh,
            gap: Duration::from_secs(10),
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
            patience: Duration::from_secs(5),
        };
        Self::at(url, pace)
    }

    fn at(url: &str, pace: Pace) -> Result<Self, Unusable> {
        const NAME: &str = "auth.jwks_url";
        let url: Uri = url
            .parse()
            .map_err(|_| Unusable::new(NAME, "is not a URL"))?;
        let known = Known {
            keys: Arc::default(),
            is_stale: true,
            attempts: 0,
            asked: None,
            is_asking: false,
        };
        Ok(Self {
            client: Client::new(&url, 1, NAME)?,
            url,
            pace,
            known: watch::Sender::new(known),
            wanted: Notify::new(),
        })
    }

    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Whether there can soon be more than is `known`; asks for it if so.
    pub(super) fn outlook(&self, known: &Known) -> Outlook {
        let is_due = known
            .asked
            .is_none_or(|asked| asked.elapsed() >= self.pace.gap);
        if known.is_asking {
            Outlook::Wait
        } else if is_due {
            self.wanted.notify_one();
            Outlook::Wait
        } else if known.is_stale {
            Outlook::Down
        } else {
            Outlook::Settled
        }
    }

    /// What is known after the next attempt; `None` if it takes too long.
    pub(super) async fn newer(&self, than: &Known) -> Option<Known> {
        let mut known = self.known.subscribe();
        let newer = known.wait_for(|known| known.attempts > than.attempts);
        let newer = tokio::time::timeout(self.pace.patience, newer).await;
        newer.ok()?.ok().map(|known| known.clone())
    }

    pub(super) async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_reading()).await;
    }

    async fn keep_reading(&self) {
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            self.known.send_modify(|known| {
                known.asked = Some(asked);
                known.is_asking = true;
            });
            // Whoever wanted newer keys until now is served by this attempt.
            let _ = self.wanted.notified().now_or_never();
            let read = self.read().await;
            match &read {
                Ok(keys) if failures > 0 => {
                    info!(keys = keys.len(), "the issuer's keys could be read again");
                    failures = 0;
                }
                Ok(_) => {}
                Err(error) => {
                    // One line an outage.
                    if failures == 0 {
                        let error: &dyn std::error::Error = error;
                        warn!(
                            error,
                            "the issuer's keys cannot be read; those known stay in use"
                        );
                    }
                    failures += 1;
                }
            }
            self.known.send_modify(|known| {
                known.is_asking = false;
                known.attempts += 1;
                known.is_stale = read.is_err();
                if let Ok(keys) = read {
                    known.keys = keys.into();
                }
            });
            tokio::select! {
                () = tokio::time::sleep(self.pause(failures)) => {}
                () = self.is_wanted(asked) => {}
            }
        }
    }

    /// Somebody wants newer keys, and may have them.
    async fn is_wanted(&self, asked: Instant) {
        loop {
            self.wanted.notified().await;
            if asked.elapsed() >= self.pace.gap {
                return;
            }
        }
    }

    /// The time to the next attempt, from three to five quarters of what is due, so that servers which
    /// began together do not ask together.
    fn pause(&self, failures: u32) -> Duration {
        let due = match failures.checked_sub(1) {
            None => self.pace.refresh,
            Some(before) => {
                let longer = self.pace.backoff.saturating_mul(1 << before.min(16));
                longer.min(self.pace.max_backoff).min(self.pace.refresh)
            }
        };
        let mut random = [128];
        // Without randomness it is just not spread.
        let _ = SystemRandom::new().fill(&mut random);
        due.mul_f64(0.75 + f64::from(random[0]) / 512.0)
    }

    async fn read(&self) -> Result<Vec<Key>, ReadError> {
        let request = Request::get(self.url.clone()).header(header::ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(CallError::from)?;
        let answer = self.client.call(request, BOUNDS).await?;
        if answer.status() != StatusCode::OK {
            return Err(ReadError::Status(answer.status()));
        }
        let set: Result<KeySet, _> = serde_json::from_slice(answer.body());
        let set = set.map_err(|_| ReadError::NotKeys)?;
        let keys = set.keys.into_iter().filter_map(Key::published);
        let keys: Vec<Key> = keys.take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err(ReadError::NoKey);
        }
        Ok(keys)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks")
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::future::join_all;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;
    use tokio_util::sync::DropGuard;

    use super::{Jwks, Pace};
    use crate::auth::jwt::Jwt;
    use crate::auth::mint::Signer;
    use crate::auth::stub::{Reply, Stub};
    use crate::auth::{Admission, Admitted, Refused, now};
    use crate::config;

    const HOUR: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(100);

    /// Asks only when it has to, and then always.
    const PACE: Pace = Pace {
        refresh: HOUR,
        gap: Duration::ZERO,
        backoff: HOUR,
        max_backoff: HOUR,
        patience: Duration::from_secs(20),
    };

    fn set(signer: &Signer, kid: &str) -> Reply {
        Reply::Json(200, json!({"keys": [signer.jwk(kid)]}))
    }

    /// A rule that has tried to read its keys once.
    async fn jwt(stub: &Stub, pace: Pace) -> (Arc<Jwt>, DropGuard) {
        let jwks = Jwks::at(&stub.url(), pace).unwrap();
        let mut known = jwks.known.subscribe();
        let jwt = Arc::new(Jwt::of(&config::Auth::default(), jwks));
        let stop = CancellationToken::new();
        let (running, stopped) = (Arc::clone(&jwt), stop.clone());
        tokio::spawn(async move { running.run(stopped).await });
        known.wait_for(|known| known.attempts == 1).await.unwrap();
        (jwt, stop.drop_guard())
    }

    async fn admit(jwt: &Arc<Jwt>, signer: &Signer, kid: &str) -> Result<Admitted, Refused> {
        let token = signer.token(Some(kid), &alice());
        Jwt::admit(jwt, token.as_bytes()).wait().await
    }

    fn alice() -> Value {
        json!({"sub": "alice", "exp": now() + 60})
    }

    #[tokio::test]
    async fn a_known_key_is_judged_at_once_and_a_new_one_is_fetched() {
        let stub = Stub::start(set(&Signer::Es256, "first")).await;
        let (jwt, _stop) = jwt(&stub, PACE).await;
        let token = Signer::Es256.token(Some("first"), &alice());
        assert!(Jwt::admit(&jwt, token.as_bytes()).now().is_ok());
        assert_eq!(stub.count(), 1);
        stub.answers(set(&Signer::EdDsa, "second"));
        assert!(admit(&jwt, &Signer::EdDsa, "second").await.is_ok());
        assert_eq!(stub.count(), 2);
        // What the issuer does not publish any more is no key.
        let old = admit(&jwt, &Signer::Es256, "first").await;
        assert_eq!(old, Err(Refused::UnknownKey));
    }

    #[tokio::test]
    async fn a_forged_token_of_a_known_key_asks_nobody() {
        let stub = Stub::start(set(&Signer::Es256, "k")).await;
        let (jwt, _stop) = jwt(&stub, PACE).await;
        let mut token = Signer::Es256.token(Some("k"), &alice());
        token.replace_range(token.len() - 4.., "AAAA");
        let verdict = Jwt::admit(&jwt, token.as_bytes());
        assert!(matches!(verdict, Admission::Now(Err(Refused::Signature))));
        let verdict = Jwt::admit(
            &jwt,
            Signer::Hs256("x").token(Some("j"), &alice()).as_bytes(),
        );
        assert!(matches!(verdict, Admission::Now(Err(Refused::UnknownKey))));
        assert_eq!(stub.count(), 1);
    }

    #[tokio::test]
    async fn any_number_of_unknown_keys_is_one_request() {
        let stub = Stub::start(set(&Signer::Es256, "first")).await;
        let (jwt, _stop) = jwt(&stub, PACE).await;
        stub.answers(set(&Signer::EdDsa, "second"));
        let verdicts = (0..200).map(|i| {
            let kid = if i % 2 == 0 {
                "second".to_owned()
            } else {
                i.to_string()
            };
            let token = Signer::EdDsa.token(Some(&kid), &alice());
            Jwt::admit(&jwt, token.as_bytes())
        });
        // All are there before the first is answered.
        let verdicts: Vec<Admission> = verdicts.collect();
        let verdicts = join_all(verdicts.into_iter().map(Admission::wait)).await;
        assert_eq!(stub.count(), 2);
        for (i, verdict) in verdicts.into_iter().enumerate() {
            let expected = if i % 2 == 0 {
                None
            } else {
                Some(Refused::UnknownKey)
            };
            assert_eq!(verdict.err(), expected, "{i}");
        }
    }

    #[tokio::test]
    async fn unknown_keys_are_no_storm() {
        let stub = Stub::start(set(&Signer::Es256, "k")).await;
        let (jwt, _stop) = jwt(&stub, Pace { gap: HOUR, ..PACE }).await;
        for i in 0..200 {
            let token = Signer::EdDsa.token(Some(&i.to_string()), &alice());
            let verdict = Jwt::admit(&jwt, token.as_bytes());
            assert!(matches!(verdict, Admission::Now(Err(Refused::UnknownKey))));
        }
        assert_eq!(stub.count(), 1);
    }

    #[tokio::test]
    async fn keys_stay_in_use_while_the_issuer_answers_nothing_useful() {
        let stub = Stub::start(set(&Signer::Es256, "k")).await;
        let (jwt, _stop) = jwt(&stub, PACE).await;
        let replies = [
            Reply::Json(500, json!({"keys": [Signer::EdDsa.jwk("new")]})),
            Reply::Json(200, json!({"keys": []})),
            Reply::Json(
                200,
                json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "new"}]}),
            ),
            Reply::Text("<html>"),
            Reply::Redirect,
            Reply::Endless,
        ];
        for reply in replies {
            let asked = stub.count();
            stub.answers(reply);
            let new = admit(&jwt, &Signer::EdDsa, "new").await;
            assert_eq!(new, Err(Refused::Unavailable));
            assert_eq!(stub.count(), asked + 1);
            assert!(admit(&jwt, &Signer::Es256, "k").await.is_ok());
        }
        stub.answers(set(&Signer::EdDsa, "new"));
        assert!(admit(&jwt, &Signer::EdDsa, "new").await.is_ok());
    }

    #[tokio::test]
    async fn an_issuer_that_is_down_from_the_beginning_is_asked_again() {
        let stub = Stub::start(Reply::Text("not yet")).await;
        let (jwt, _stop) = jwt(
            &stub,
            Pace {
                backoff: SOON,
                ..PACE
            },
        )
        .await;
        stub.is_asked(3).await;
        stub.answers(set(&Signer::Es256, "k"));
        // The attempt on its way may have the old answer still.
        let admitted = async { while admit(&jwt, &Signer::Es256, "k").await.is_err() {} };
        tokio::time::timeout(PACE.patience, admitted).await.unwrap();
    }

    #[tokio::test]
    async fn just_after_a_failure_a_login_does_not_wait() {
        let stub = Stub::start(Reply::Text("down")).await;
        let (jwt, _stop) = jwt(&stub, Pace { gap: HOUR, ..PACE }).await;
        let token = Signer::Es256.token(Some("k"), &alice());
        let verdict = Jwt::admit(&jwt, token.as_bytes());
        assert!(matches!(verdict, Admission::Now(Err(Refused::Unavailable))));
    }

    #[tokio::test]
    async fn a_login_does_not_wait_for_ever() {
        let stub = Stub::start(set(&Signer::Es256, "k")).await;
        let (jwt, _stop) = jwt(
            &stub,
            Pace {
                patience: SOON,
                ..PACE
            },
        )
        .await;
        stub.answers(Reply::Silence);
        let new = admit(&jwt, &Signer::EdDsa, "new").await;
        assert_eq!(new, Err(Refused::Unavailable));
        assert!(admit(&jwt, &Signer::Es256, "k").await.is_ok());
    }

    #[tokio::test]
    async fn keys_are_read_again_by_themselves() {
        let stub = Stub::start(set(&Signer::Es256, "k")).await;
        let (_jwt, _stop) = jwt(
            &stub,
            Pace {
                refresh: SOON,
                ..PACE
            },
        )
        .await;
        stub.is_asked(4).await;
    }

    #[test]
    fn the_pause_grows_with_failures_and_is_spread() {
        let jwks = Jwks::new("http://127.0.0.1:1/", HOUR).unwrap();
        let due = [(0, 3600), (1, 1), (2, 2), (5, 16), (12, 300), (1000, 300)];
        for (failures, seconds) in due {
            let due = Duration::from_secs(seconds);
            let pauses: Vec<_> = (0..50).map(|_| jwks.pause(failures)).collect();
            assert!(
                pauses
                    .iter()
                    .all(|p| *p >= due * 3 / 4 && *p <= due * 5 / 4)
            );
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
