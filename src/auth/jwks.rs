//! The keys that an issuer publishes at a URL (RFC 7517): read again now and then, and when a token
//! needs one that is not known, by one loop, so that any number of logins make one request. Keys that
//! were read stay in use while the issuer cannot be reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
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
            .field("url", &self.url)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
