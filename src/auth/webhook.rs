//! The rule of the webhook: the application is asked about each login. Never logs what a page sent.
//!
//! A slow or broken application is not made worse: so many are asked about at once and so many wait,
//! nothing is repeated, and after a row of failures it is left alone for a while.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;

use super::client::{Bounds, Client};
use super::{Admission, Admitted, Caller, Claim, Refused, Unusable, at, groups, now, uid};
use crate::config;

/// The longest claim that the application is asked about.
pub(super) const MAX_LOGIN: usize = 16 * 1024;

/// How large an answer may be, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How much of the application's reason a page is told, in characters.
const MAX_REASON: usize = 200;

/// So many failures in a row, and the application is left alone
const MAX_FAILURES: u32 = 5;

/// for this time.
const REST: Duration = Duration::from_secs(1);

/// An application that is asked.
pub(super) struct Webhook {
    client: Client,
    url: Uri,
    bearer: Option<HeaderValue>,
    headers: Vec<HeaderName>,
    bounds: Bounds,
    /// For those that are asked about and those that wait.
    places: Arc<Semaphore>,
    /// For those that are asked about.
    turns: Arc<Semaphore>,
    fuse: Fuse,
}

/// Blows after a row of failures.
#[derive(Debug, Default)]
struct Fuse(Mutex<Row>);

#[derive(Debug, Default)]
struct Row {
    failures: u32,
    blown_until: Option<Instant>,
}

#[derive(Serialize)]
struct Question<'a> {
    login: &'a Value,
    gateway: Option<&'a str>,
    peer: Option<String>,
    headers: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Answer {
    uid: Option<Value>,
    groups: Option<Value>,
    expires: Option<Value>,
    error: Option<Value>,
}

impl Webhook {
    pub(super) fn new(config: &config::Auth) -> Result<Self, Unusable> {
        const NAME: &str = "auth.webhook_url";
        let url: Result<Uri, _> = config.webhook_url.parse();
        let url = url.map_err(|_| Unusable::new(NAME, "is not a URL"))?;
        let bearer = match config.webhook_secret.expose() {
            "" => None,
            secret => {
                let bearer = HeaderValue::from_str(&format!("Bearer {secret}"));
                let mut bearer = bearer.map_err(|_| {
                    Unusable::new("auth.webhook_secret", "has what a header cannot hold")
                })?;
                bearer.set_sensitive(true);
                Some(bearer)
            }
        };
        let names = config.webhook_headers.iter().map(|name| name.parse());
        let headers: Result<Vec<HeaderName>, _> = names.collect();
        let headers = headers
            .map_err(|_| Unusable::new("auth.webhook_headers", "has what is no header's name"))?;
        let (at_once, waiting) = (config.webhook_concurrency, config.webhook_queue);
        Ok(Self {
            client: Client::new(&url, at_once, NAME)?,
            url,
            bearer,
            headers,
            bounds: Bounds {
                bytes: MAX_ANSWER,
                time: config.webhook_timeout,
            },
            places: Arc::new(Semaphore::new(at_once + waiting)),
            turns: Arc::new(Semaphore::new(at_once)),
            fuse: Fuse::default(),
        })
    }

    pub(super) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    pub(super) fn admit(this: &Arc<Self>, claim: Claim<'_>) -> Admission {
        let unavailable = Admission::Now(Err(Refused::Unavailable));
        if this.fuse.is_blown() {
            return unavailable;
        }
        let Ok(place) = Arc::clone(&this.places).try_acquire_owned() else {
            return unavailable;
        };
        let question = this.question(claim);
        let this = Arc::clone(this);
        Admission::Later(Box::pin(async move {
            let _place = place;
            let turn = tokio::time::timeout(this.bounds.time, this.turns.acquire()).await;
            let Ok(Ok(_turn)) = turn else {
                return Err(Refused::Unavailable);
            };
            // It may have blown while this one waited.
            if !this.fuse.lets_through() {
                return Err(Refused::Unavailable);
            }
            this.ask(question).await
        }))
    }

    /// The body of the request. The claim is not kept beyond it.
    fn question(&self, claim: Claim<'_>) -> Bytes {
        let text;
        let login = match claim.payload {
            Some(payload) => payload,
            None => {
                text = Value::from(String::from_utf8_lossy(claim.credential));
                &text
            }
        };
        let empty = HeaderMap::new();
        let headers = claim.caller.map_or(&empty, |caller| &caller.headers);
        let headers = self.headers.iter().filter_map(|name| {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            let separator = if *name == header::COOKIE { "; " } else { ", " };
            let text =
                |value: &&HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let values: Vec<String> = values.iter().map(text).collect();
            let is_there = !values.is_empty();
            is_there.then(|| (name.as_str().to_owned(), values.join(separator).into()))
        });
        let question = Question {
            login,
            gateway: claim.caller.map(|caller| caller.gateway),
            peer: claim.caller.map(|caller: &Caller| caller.peer.to_string()),
            headers: headers.collect(),
        };
        let question = serde_json::to_vec(&question);
        question.expect("it is plain data").into()
    }

    async fn ask(&self, question: Bytes) -> Result<Admitted, Refused> {
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(question).expect("its parts are valid");
        let answer = match self.client.call(request, self.bounds).await {
            Ok(answer) => answer,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                self.fuse.burn(|| warn!(error, "the login webhook fails"));
                return Err(Refused::Unavailable);
            }
        };
        let verdict = judge(&answer);
        if verdict == Err(Refused::Unavailable) {
            let status = answer.status().as_u16();
            self.fuse.burn(|| {
                warn!(status, "the login webhook answers what is no verdict");
            });
        } else {
            self.fuse.mend();
        }
        verdict
    }
}

fn judge(answer: &Response<Bytes>) -> Result<Admitted, Refused> {
    let read: Result<Answer, _> = serde_json::from_slice(answer.body());
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let error = read.ok().and_then(|answer| answer.error);
            return Err(Refused::Unwanted(error.as_ref().and_then(reason)));
        }
        _ => return Err(Refused::Unavailable),
    }
    let answer = read.map_err(|_| Refused::Unavailable)?;
    if let Some(error) = answer.error {
        return Err(Refused::Unwanted(reason(&error)));
    }
    // What the application gets wrong is no fault of the page.
    let wrong = |_| Refused::Unavailable;
    let uid = uid(answer.uid.as_ref(), "uid").map_err(wrong)?;
    let groups = groups(answer.groups).map_err(wrong)?;
    let end = match answer.expires {
        None => None,
        Some(end) => Some(end.as_u64().ok_or(Refused::Unavailable)?),
    };
    if end.is_some_and(|end| end <= now()) {
        return Err(Refused::Expired);
    }
    Ok(Admitted {
        uid,
        expires: end.and_then(at),
        groups,
    })
}

/// What a page is told of the application's reason.
fn reason(error: &Value) -> Option<Box<str>> {
    let text = error.as_str().filter(|text| !text.is_empty())?;
    let text: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_REASON)
        .collect();
    Some(text.into())
}

impl Fuse {
    fn row(&self) -> std::sync::MutexGuard<'_, Row> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_blown(&self) -> bool {
        let until = self.row().blown_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether one more may be asked about: while it is whole any, and after each rest one, which
    /// tries whether the application has recovered.
    fn lets_through(&self) -> bool {
        let mut row = self.row();
        let now = Instant::now();
        match row.blown_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                row.blown_until = Some(now + REST);
                true
            }
        }
    }

    /// A failure; `tell` is called for the one by which it blows.
    fn burn(&self, tell: impl FnOnce()) {
        let mut row = self.row();
        row.failures = row.failures.saturating_add(1);
        if row.failures < MAX_FAILURES {
            return;
        }
        let is_first = row.blown_until.is_none();
        row.blown_until = Some(Instant::now() + REST);
        drop(row);
        if is_first {
            tell();
        }
    }

    fn mend(&self) {
        *self.row() = Row::default();
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
