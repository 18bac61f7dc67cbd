//! Pushes that are signed rather than that they show a key, and pushes that a browser sends for a page
//! of another site.

use campanile::config::Config;

use crate::harness::Server;
use crate::harness::http::{Answer, Http};
use crate::harness::mint::{hmac, now};
use crate::harness::page::EIO4_WEBSOCKET;

const KEY: &str = "the-key-to-sign-pushes-with";
const READ: &str = "a-key-that-may-only-read..";
const FORM: &str = "application/x-www-form-urlencoded";

/// A request to be signed, and then perhaps changed.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    target: String,
    /// Empty: there is none.
    content_type: &'static str,
    body: String,
    timestamp: String,
    nonce: String,
    signature: String,
    more: String,
}

impl Signed {
    fn new(nonce: &str, content: &str) -> Self {
        Self::by(KEY, nonce, now(), content)
    }

    fn by(key: &str, nonce: &str, timestamp: u64, content: &str) -> Self {
        let mut request = Self {
            method: "POST",
            target: "/push?a=1".to_owned(),
            content_type: FORM,
            body: format!("type=publish&to=alice&content={content}"),
            timestamp: timestamp.to_string(),
            nonce: nonce.to_owned(),
            signature: String::new(),
            more: String::new(),
        };
        request.sign(key);
        request
    }

    fn sign(&mut self, key: &str) {
        let Self {
            method,
            target,
            content_type,
            body,
            timestamp,
            nonce,
            ..
        } = &self;
        let text = format!("{timestamp}\n{nonce}\n{method}\n{target}\n{content_type}\n{body}");
        let digits = hmac(key, text.as_bytes());
        self.signature = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    }

    async fn sent(&self, server: &Server) -> Answer {
        let Self {
            method,
            target,
            content_type,
            body,
            timestamp,
            nonce,
            signature,
            more,
        } = self;
        let content_type = match *content_type {
            "" => String::new(),
            some => format!("Content-Type: {some}\r\n"),
        };
        server
            .request(format!(
                "{method} {target} HTTP/1.1\r\nHost: x\r\n{content_type}\
                 Content-Length: {}\r\nX-Campanile-Timestamp: {timestamp}\r\n\
                 X-Campanile-Nonce: {nonce}\r\nX-Campanile-Signature: {signature}\r\n{more}\r\n{body}",
                body.len()
            ))
            .await
    }
}

fn server(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        config.api.keys = [format!("push:{KEY}"), format!("read:{READ}")]
            .iter()
            .map(|entry| entry.as_str().into())
            .collect();
        change(config);
    })
}

async fn is_denied(server: &Server, request: &Signed, status: u16, why: &str) {
    let answer = request.sent(server).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (status, "fail"),
        "{why}"
    );
    let reason = answer.header("x-campanile-reason").expect("it says why");
    assert!(reason.contains(why), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_push_is_taken_once() {
    let server = server(|config| config.api.require_signature = true);
    let mut page = server.login("alice").await;
    let request = Signed::new("nonce-001", "first");
    assert_eq!(request.sent(&server).await.text(), "ok");
    page.receives("first").await;
    is_denied(&server, &request, 401, "used before").await;
    let upper = Signed {
        signature: Signed::new("nonce-002", "second").signature.to_uppercase(),
        ..Signed::new("nonce-002", "second")
    };
    if upper.timestamp == Signed::new("nonce-002", "second").timestamp {
        assert_eq!(upper.sent(&server).await.text(), "ok");
        page.receives("second").await;
    }
    let mut get = Signed::new("nonce-003", "");
    get.method = "GET";
    get.target = "/?type=publish&to=alice&content=query".to_owned();
    get.body.clear();
    get.content_type = "";
    get.sign(KEY);
    assert_eq!(get.sent(&server).await.text(), "ok");
    page.receives("query").await;
    // The same again a hundred times at once is one push.
    let many = Signed::new("nonce-004", "once");
    let mut taken = 0;
    for answer in futures_util::future::join_all((0..100).map(|_| many.sent(&server))).await {
        taken += usize::from(answer.text() == "ok");
    }
    assert_eq!(taken, 1);
    page.receives("once").await;
    let last = Signed::new("nonce-005", "last");
    assert_eq!(last.sent(&server).await.text(), "ok");
    page.receives("last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_changed_is_not_the_one_that_was_signed() {
    let server = server(|config| config.api.require_signature = true);
    let mut page = server.login("alice").await;
    let right = Signed::new("nonce-101", "right");
    let not_its = "not of this request";
    for change in [
        |request: &mut Signed| request.body = request.body.replace("right", "wrong"),
        |request: &mut Signed| request.target = "/push?a=2".to_owned(),
        |request: &mut Signed| request.target = "/other?a=1".to_owned(),
        |request: &mut Signed| request.method = "PUT",
        |request: &mut Signed| request.content_type = "",
        |request: &mut Signed| request.content_type = "application/json",
        |request: &mut Signed| request.nonce = "nonce-102".to_owned(),
        |request: &mut Signed| request.timestamp = (now() - 2).to_string(),
        |request: &mut Signed| request.sign("the-key-to-sign-pushes-witH"),
    ] {
        let mut request = right.clone();
        change(&mut request);
        is_denied(&server, &request, 401, not_its).await;
    }
    for seconds in [now() - 302, now() + 303, 0] {
        let request = Signed::by(KEY, "nonce-103", seconds, "late");
        is_denied(&server, &request, 401, "five minutes").await;
    }
    for seconds in [now() - 280, now() + 280] {
        let request = Signed::by(KEY, &format!("nonce-{seconds}"), seconds, "near");
        assert_eq!(request.sent(&server).await.text(), "ok");
        page.receives("near").await;
    }
    let malformed = "do not make a signature";
    for change in [
        |request: &mut Signed| request.signature.truncate(62),
        |request: &mut Signed| request.signature.replace_range(..1, "g"),
        |request: &mut Signed| request.signature.clear(),
        |request: &mut Signed| request.timestamp = "now".to_owned(),
        |request: &mut Signed| request.nonce = "short".to_owned(),
        |request: &mut Signed| request.nonce = "n".repeat(129),
    ] {
        let mut request = right.clone();
        change(&mut request);
        is_denied(&server, &request, 401, malformed).await;
    }
    // A key that may only read signs no push, and what was refused has not used up its nonce.
    let read = Signed::by(READ, "nonce-101", now(), "read");
    is_denied(&server, &read, 403, "not for this").await;
    assert_eq!(right.sent(&server).await.text(), "ok");
    page.receives("right").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_push_is_not_read_as_one_of_another_content_type() {
    let server = server(|config| config.api.require_signature = true);
    let mut page = server.login("alice").await;
    // As a form it is a push to everyone, of something else.
    let mut json = Signed::new("nonce-301", "");
    json.content_type = "application/json";
    json.body =
        r#"{"type":"publish","to":"alice","content":"&type=publish&content=other&x="}"#.to_owned();
    json.sign(KEY);
    let form = Signed {
        content_type: FORM,
        ..json.clone()
    };
    is_denied(&server, &form, 401, "not of this request").await;
    assert_eq!(json.sent(&server).await.text(), "ok");
    page.receives("&amp;type=publish&amp;content=other&amp;x=")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_asked_for_a_key_is_not_to_be_shown() {
    for asks in [true, false] {
        let server = server(|config| config.api.require_signature = asks);
        let mut http = Http::open(server.http()).await;
        for request in [
            format!(
                "GET /?type=publish&to=alice&content=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
            ),
            format!("GET /?type=publish&to=alice&content=x&key={KEY} HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            http.send(request).await;
            let answer = http.answer().await;
            if !asks {
                assert_eq!(answer.text(), "offline");
                continue;
            }
            assert_eq!((answer.status, answer.text().as_str()), (401, "fail"));
            let reason = answer.header("x-campanile-reason").expect("it says why");
            assert!(reason.contains("x-campanile-signature"), "{reason}");
        }
        // Who may show a key may sign as well.
        let signed = Signed::new("nonce-201", "x");
        assert_eq!(signed.sent(&server).await.text(), "offline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_does_not_push_for_a_page_of_another_site() {
    let (strict, lax) = (
        Server::start_with(|_| {}),
        Server::start_with(|config| config.http.allow_cross_site = true),
    );
    let push = async |server: &Server, lines: &str| {
        let request = format!(
            "GET /?type=publish&content=hi HTTP/1.1\r\nHost: push.example.com:2121\r\n{lines}\r\n"
        );
        let answer = server.request(request).await;
        assert!(
            !answer.head.to_lowercase().contains("access-control"),
            "{}",
            answer.head
        );
        answer
    };
    let mut page = strict.login_by(EIO4_WEBSOCKET, "alice").await;
    for foreign in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: https://evil.example.org\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: http://push.example.com\r\n",
    ] {
        let answer = push(&strict, foreign).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (403, "fail"),
            "{foreign}"
        );
        let reason = answer.header("x-campanile-reason").expect("it says why");
        assert!(reason.contains("http.allow_cross_site"), "{reason}");
        assert_eq!(push(&lax, foreign).await.text(), "ok", "{foreign}");
    }
    for own in [
        "",
        "Sec-Fetch-Site: none\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: https://push.example.com\r\n",
    ] {
        assert_eq!(push(&strict, own).await.text(), "ok", "{own}");
        page.receives("hi").await;
    }
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example.org\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let answer = strict.request(preflight).await;
    assert!(!answer.head.to_lowercase().contains("access-control"));
}
