//! The rule of the webhook: the application is asked about each login. Never logs what a page sent.
//!
//! A slow or broken application is not made worse: so many are asked about at once and so many wait,
//! nothing is repeated, and after a row of failures it is left alone for a while. What an application that
//! is well says of one claim is no failure, whatever it is: a stranger chooses the claim.

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

use super::client::{Bounds, CallError, Client};
use super::{Admission, Admitted, Caller, Claim, Refused, Unusable, at, groups, now, uid};
use crate::config;

/// The longest claim that the application is asked about, in bytes.
pub(super) const MAX_LOGIN: usize = 16 * 1024;

/// How large an answer may be, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How much of the application's reason a page is told, in characters.
const MAX_REASON: usize = 200;

/// So many failures in a row, and the application is left alone
const MAX_FAILURES: u32 = 5;

/// for this time.
const REST: Duration = Duration::from_secs(1);

/// An answer that is no verdict is told once in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

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
    /// Both together, at most.
    most: usize,
    fuse: Fuse,
    complained: Mutex<Option<Instant>>,
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
            most: at_once + waiting,
            fuse: Fuse::default(),
            complained: Mutex::default(),
        })
    }

    pub(super) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// How many may be asked about and wait.
    pub(super) fn places(&self) -> usize {
        self.most
    }

    pub(super) fn admit(this: &Arc<Self>, claim: Claim<'_>) -> Admission {
        let length = length(claim);
        if length > MAX_LOGIN {
            return Admission::Now(Err(Refused::TooLong(length, MAX_LOGIN)));
        }
        let unavailable = Admission::Now(Err(Refused::Unavailable));
        if this.fuse.is_blown(Instant::now()) {
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
            if !this.fuse.lets_through(Instant::now()) {
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
        let headers = claim.caller.and_then(|caller| caller.headers.as_deref());
        let headers = headers.unwrap_or(&empty);
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
            // A page that says what is wrong, at length: its status tells as much.
            Err(CallError::Long(status, _)) => {
                let mut answer = Response::new(Bytes::new());
                *answer.status_mut() = status;
                answer
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                self.fuse
                    .burn(Instant::now(), || warn!(error, "the login webhook fails"));
                return Err(Refused::Unavailable);
            }
        };
        let status = answer.status();
        if status.is_server_error() {
            let status = status.as_u16();
            self.fuse
                .burn(Instant::now(), || warn!(status, "the login webhook fails"));
            return Err(Refused::Unavailable);
        }
        self.fuse.mend();
        let verdict = judge(&answer);
        if verdict == Err(Refused::Unavailable) || !is_foreseen(status) {
            self.complain(Instant::now(), status);
        }
        verdict
    }

    /// The settings may be wrong. Or the claim is, so it is not told each time.
    fn complain(&self, now: Instant, status: StatusCode) {
        let mut told = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.duration_since(told) >= COMPLAINT_INTERVAL) {
            *told = Some(now);
            drop(told);
            let status = status.as_u16();
            warn!(status, "the login webhook answers what is no verdict");
        }
    }
}

/// How long a claim is, in bytes.
fn length(claim: Claim<'_>) -> usize {
    match claim.payload {
        None => claim.credential.len(),
        Some(Value::String(text)) => text.len(),
        Some(payload) => serde_json::to_vec(payload).map_or(usize::MAX, |json| json.len()),
    }
}

/// Whether an answer of this status says who a page is, or that it is nobody.
fn is_foreseen(status: StatusCode) -> bool {
    let foreseen = [
        StatusCode::OK,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
    ];
    foreseen.contains(&status)
}

fn judge(answer: &Response<Bytes>) -> Result<Admitted, Refused> {
    let read: Result<Answer, _> = serde_json::from_slice(answer.body());
    let status = answer.status();
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        let error = read.ok().and_then(|answer| answer.error);
        return Err(Refused::Unwanted(error.as_ref().and_then(reason)));
    }
    if status != StatusCode::OK {
        return Err(Refused::Unavailable);
    }
    let answer = read.map_err(|_| Refused::Unavailable)?;
    if let Some(error) = answer.error {
        return Err(Refused::Unwanted(reason(&error)));
    }
    if answer.uid.as_ref().is_none_or(is_nobody) {
        return Err(Refused::Unwanted(None));
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

/// What applications say where there is no user.
fn is_nobody(uid: &Value) -> bool {
    matches!(uid, Value::Null | Value::Bool(false)) || uid.as_str() == Some("")
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

    fn is_blown(&self, now: Instant) -> bool {
        let until = self.row().blown_until;
        until.is_some_and(|until| now < until)
    }

    /// Whether one more may be asked about: while it is whole any, and after each rest one, which
    /// tries whether the application has recovered.
    fn lets_through(&self, now: Instant) -> bool {
        let mut row = self.row();
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
    fn burn(&self, now: Instant, tell: impl FnOnce()) {
        let mut row = self.row();
        row.failures = row.failures.saturating_add(1);
        if row.failures < MAX_FAILURES {
            return;
        }
        let is_first = row.blown_until.is_none();
        row.blown_until = Some(now + REST);
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
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, header};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::{Fuse, MAX_ANSWER, MAX_FAILURES, MAX_LOGIN, REST, Webhook};
    use crate::auth::stub::{Reply, Stub};
    use crate::auth::{Admission, Admitted, Caller, Claim, Refused, at, now};
    use crate::config;
    use crate::config::Secret;

    fn webhook(url: String) -> Arc<Webhook> {
        with(url, |_| {})
    }

    fn with(url: String, change: impl FnOnce(&mut config::Auth)) -> Arc<Webhook> {
        let mut config = config::Auth {
            webhook_url: url,
            ..config::Auth::default()
        };
        change(&mut config);
        Arc::new(Webhook::new(&config).unwrap())
    }

    fn ask(webhook: &Arc<Webhook>) -> Admission {
        Webhook::admit(webhook, Claim::of(b"alice"))
    }

    async fn verdict(reply: Reply) -> Result<Admitted, Refused> {
        let stub = Stub::start(reply).await;
        ask(&webhook(stub.url())).wait().await
    }

    fn good() -> Reply {
        Reply::Json(200, json!({"uid": "u1"}))
    }

    #[tokio::test]
    async fn the_application_is_told_who_asks_and_what_for() {
        let stub = Stub::start(good()).await;
        let webhook = with(stub.url(), |config| {
            config.webhook_secret = Secret::from("secret of the webhook");
        });
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        headers.append(header::USER_AGENT, HeaderValue::from_static("unwanted"));
        let caller = Caller {
            peer: IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4)),
            headers: Some(Box::new(headers)),
            gateway: "socketio",
        };
        let login = json!({"session": "s", "since": 7});
        let claim = Claim {
            credential: b"",
            payload: Some(&login),
            caller: Some(&caller),
        };
        let admitted = Webhook::admit(&webhook, claim).wait().await.unwrap();
        assert_eq!(admitted.uid.as_str(), "u1");
        let asked = stub.last();
        let told = json!({
            "login": login,
            "gateway": "socketio",
            "peer": "1.2.3.4",
            "headers": {"cookie": "a=1; b=2"},
        });
        assert_eq!(asked.body, told);
        assert_eq!(asked.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(
            asked.headers[header::AUTHORIZATION],
            "Bearer secret of the webhook"
        );
        // Without more than the text, that is what it is told.
        assert!(ask(&webhook).wait().await.is_ok());
        assert_eq!(stub.last().body["login"], "alice");
    }

    #[tokio::test]
    async fn the_application_says_who_the_page_is() {
        let end = now() + 60;
        let answer = json!({"uid": 7, "groups": ["b", "a"], "expires": end});
        let admitted = verdict(Reply::Json(200, answer)).await.unwrap();
        assert_eq!(admitted.uid.as_str(), "7");
        let groups: Vec<_> = admitted.groups.iter().map(|group| group.as_str()).collect();
        assert_eq!(groups, ["a", "b"]);
        assert_eq!(admitted.expires, at(end));
    }

    #[tokio::test]
    async fn the_application_refuses_in_its_own_words() {
        let unwanted = |why: Option<&str>| Err(Refused::Unwanted(why.map(Into::into)));
        let cases = [
            (403, json!({}), None),
            (401, json!("no json object"), None),
            (403, json!({"error": "banned"}), Some("banned")),
            (
                200,
                json!({"error": "ban\u{7}ned", "uid": "u1"}),
                Some("banned"),
            ),
            (200, json!({"error": {"code": 7}}), None),
        ];
        for (status, answer, why) in cases {
            assert_eq!(verdict(Reply::Json(status, answer)).await, unwanted(why));
        }
        let long = "x".repeat(5000);
        let told = verdict(Reply::Json(403, json!({"error": long}))).await;
        assert_eq!(told, unwanted(Some(&long[..200])));
        let past = verdict(Reply::Json(200, json!({"uid": "u1", "expires": 1000}))).await;
        assert_eq!(past, Err(Refused::Expired));
    }

    #[tokio::test]
    async fn what_is_no_verdict_is_for_later() {
        for reply in no_verdicts().into_iter().chain(failures()) {
            assert_eq!(verdict(reply).await, Err(Refused::Unavailable));
        }
    }

    fn json(status: u16, answer: Value) -> Reply {
        Reply::Json(status, answer)
    }

    /// Answers of an application that is well, and that a stranger may bring about by what he sends.
    fn no_verdicts() -> Vec<Reply> {
        vec![
            json(200, json!({"uid": {"id": 7}})),
            json(200, json!({"uid": "x".repeat(2000)})),
            json(200, json!({"uid": "u1", "groups": "all"})),
            json(200, json!({"uid": "u1", "groups": [""]})),
            json(200, json!({"uid": "u1", "expires": "soon"})),
            json(200, json!(null)),
            json(201, json!({"uid": "u1"})),
            json(429, json!({"error": "too many requests"})),
            Reply::Text("<html>"),
            Reply::Redirect,
            Reply::Endless,
        ]
    }

    /// Answers of one that is not.
    fn failures() -> Vec<Reply> {
        let long = "x".repeat(2 * MAX_ANSWER);
        vec![
            json(500, json!({"uid": "u1"})),
            json(500, json!(long)),
            json(503, json!({"error": "overloaded"})),
        ]
    }

    /// Refusals in no words of its own.
    fn refusals() -> Vec<Reply> {
        let long = "x".repeat(2 * MAX_ANSWER);
        vec![
            json(200, json!({})),
            json(200, json!({"uid": null})),
            json(200, json!({"uid": ""})),
            json(200, json!({"uid": false})),
            json(404, json!("no such page")),
            json(422, json!({"errors": {"token": ["is missing"]}})),
            json(400, json!(long)),
        ]
    }

    #[tokio::test]
    async fn what_says_of_no_user_or_of_a_fault_in_the_claim_is_a_refusal() {
        for reply in refusals() {
            assert_eq!(verdict(reply).await, Err(Refused::Unwanted(None)));
        }
        let told = verdict(json(400, json!({"error": "no such user"}))).await;
        assert_eq!(told, Err(Refused::Unwanted(Some("no such user".into()))));
    }

    #[tokio::test]
    async fn only_an_application_that_fails_is_left_alone_whatever_pages_make_it_answer() {
        for reply in no_verdicts().into_iter().chain(refusals()) {
            let stub = Stub::start(reply).await;
            let webhook = webhook(stub.url());
            for _ in 0..=MAX_FAILURES {
                assert!(ask(&webhook).wait().await.is_err());
            }
            stub.answers(good());
            assert!(ask(&webhook).wait().await.is_ok());
        }
        for reply in failures() {
            let stub = Stub::start(reply).await;
            let webhook = webhook(stub.url());
            for _ in 0..MAX_FAILURES {
                assert_eq!(ask(&webhook).wait().await, Err(Refused::Unavailable));
            }
            stub.answers(good());
            assert_eq!(ask(&webhook).now(), Err(Refused::Unavailable));
            assert_eq!(stub.count(), MAX_FAILURES as usize);
        }
    }

    #[tokio::test]
    async fn a_claim_that_is_too_long_is_refused_unasked() {
        let stub = Stub::start(good()).await;
        let webhook = webhook(stub.url());
        let judge = |payload: Option<&Value>, credential: &[u8]| {
            let claim = Claim {
                credential,
                payload,
                caller: None,
            };
            Webhook::admit(&webhook, claim).wait()
        };
        let (most, more) = ("x".repeat(MAX_LOGIN), "x".repeat(MAX_LOGIN + 1));
        assert!(judge(None, most.as_bytes()).await.is_ok());
        assert!(judge(Some(&json!(most)), b"").await.is_ok());
        let refused = Err(Refused::TooLong(MAX_LOGIN + 1, MAX_LOGIN));
        assert_eq!(judge(None, more.as_bytes()).await, refused);
        assert_eq!(judge(Some(&json!(more)), b"").await, refused);
        let object = json!({"token": "short", "padding": "x".repeat(MAX_LOGIN)});
        let told = judge(Some(&object), b"short").await;
        assert!(matches!(told, Err(Refused::TooLong(..))), "{told:?}");
        assert_eq!(stub.count(), 2);
    }

    #[tokio::test]
    async fn an_application_that_is_down_or_slow_is_for_later() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let down = ask(&webhook(nobody)).wait().await;
        assert_eq!(down, Err(Refused::Unavailable));
        let stub = Stub::start(Reply::Silence).await;
        let slow = with(stub.url(), |config| {
            config.webhook_timeout = Duration::from_millis(100);
        });
        assert_eq!(ask(&slow).wait().await, Err(Refused::Unavailable));
        assert_eq!(stub.count(), 1);
    }

    #[tokio::test]
    async fn so_many_are_asked_about_and_so_many_wait() {
        let stub = Stub::start(Reply::Silence).await;
        let webhook = with(stub.url(), |config| {
            config.webhook_concurrency = 2;
            config.webhook_queue = 1;
            config.webhook_timeout = Duration::from_secs(60);
        });
        let asked: Vec<_> = (0..2).map(|_| tokio::spawn(ask(&webhook).wait())).collect();
        stub.is_asked(2).await;
        let waits = tokio::spawn(ask(&webhook).wait());
        assert_eq!(ask(&webhook).now(), Err(Refused::Unavailable));
        assert!(matches!(ask(&webhook), Admission::Now(_)));
        // A page that leaves gives its turn to the next one.
        stub.answers(good());
        asked[0].abort();
        assert!(waits.await.unwrap().is_ok());
        assert_eq!(stub.count(), 3);
        asked[1].abort();
    }

    #[tokio::test]
    async fn an_application_that_fails_in_a_row_is_left_alone() {
        let stub = Stub::start(Reply::Json(500, json!("broken"))).await;
        let webhook = webhook(stub.url());
        for _ in 0..MAX_FAILURES {
            assert_eq!(ask(&webhook).wait().await, Err(Refused::Unavailable));
        }
        assert!(matches!(
            ask(&webhook),
            Admission::Now(Err(Refused::Unavailable))
        ));
        assert_eq!(stub.count(), MAX_FAILURES as usize);
    }

    #[test]
    fn after_each_rest_one_tries_whether_the_application_is_back() {
        let (fuse, begin) = (Fuse::default(), Instant::now());
        let mut told = 0;
        for _ in 1..MAX_FAILURES {
            fuse.burn(begin, || told += 1);
            assert!(fuse.lets_through(begin));
        }
        // A verdict in between begins the row anew.
        fuse.mend();
        for _ in 0..MAX_FAILURES {
            assert!(fuse.lets_through(begin));
            fuse.burn(begin, || told += 1);
        }
        assert_eq!(told, 1);
        assert!(fuse.is_blown(begin) && !fuse.lets_through(begin));
        let later = begin + REST;
        assert!(!fuse.is_blown(later));
        assert!(fuse.lets_through(later) && !fuse.lets_through(later));
        fuse.burn(later, || told += 1);
        assert_eq!(told, 1);
        let latest = later + REST;
        assert!(fuse.lets_through(latest));
        fuse.mend();
        assert!(fuse.lets_through(latest) && fuse.lets_through(latest));
    }
}
