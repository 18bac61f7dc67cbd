//! Logins that the application is asked about: what it is told, what its answer does, and what becomes
//! of pages while it does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile::config::{AuthMode, Config, JwtKey};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::harness::backend::{Backend, Reply};
use crate::harness::chat::ChatServer;
use crate::harness::http::Http;
use crate::harness::mint::{base64, now, signed};
use crate::harness::page::{DIALECTS, EIO4_POLLING, EIO4_WEBSOCKET};
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::recovery::{logs_in_with, server_is_left};
use crate::harness::{FREE, Server, eventually};
use crate::jwt_login::next_of;

fn asks(backend: &Backend, config: &mut Config) {
    config.auth.mode = AuthMode::Webhook;
    config.auth.webhook_url = backend.url();
    config.auth.webhook_secret = "shown to the application".into();
}

pub(crate) fn asking(backend: &Backend, change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        asks(backend, config);
        config.uid_socket.listen = FREE;
        config.web.listen = FREE;
        config.limits.refused_logins = 0;
        change(config);
    })
}

pub(crate) fn alice() -> Reply {
    Reply::Json(200, json!({"uid": "alice"}))
}

/// Each with a CRLF at its end.
const HEADERS: &str = "Cookie: sid=secret-1\r\nCookie: b=2\r\nX-Other: no\r\nUser-Agent: x\r\n";

fn is_told(backend: &Backend, login: &Value, gateway: &str) {
    let asked = backend.last();
    let expected = json!({
        "login": login, "gateway": gateway, "peer": "127.0.0.1",
        "headers": {"cookie": "sid=secret-1; b=2"},
    });
    assert_eq!(asked.body, expected);
    assert_eq!(
        asked.headers["authorization"],
        "Bearer shown to the application"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_told_what_the_page_sent_and_those_headers_that_it_wants() {
    let backend = Backend::start(alice()).await;
    let server = asking(&backend, |_| {});
    let mut raw = RawPage::open_with(server.uid_socket(), HEADERS).await.0;
    raw.says("anything").await;
    assert!(raw.is_heard().await);
    is_told(&backend, &json!("anything"), "uid_socket");
    assert_eq!(server.push("alice", "hi").await, "ok");
    raw.receives("hi").await;
    raw.leaves().await;
    server.waits_until_offline("alice").await;
    // A page of Socket.IO that polls; it has nothing to say but its cookie.
    let target = EIO4_POLLING.target();
    let mut http = Http::open(server.socketio()).await;
    http.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{HEADERS}\r\n"))
        .await;
    let open = http.answer().await.text();
    let open: Value = serde_json::from_str(&open[1..]).expect("open is JSON");
    let sid = open["sid"].as_str().expect("it has an id");
    let target = format!("{target}&sid={sid}");
    http.post(&target, "text/plain", b"40").await;
    assert_eq!(http.answer().await.text(), "ok");
    // Its first heartbeat may come before.
    let mut joined = String::new();
    while !joined.contains("40{") {
        http.get(&target).await;
        joined = http.answer().await.text();
    }
    http.post(&target, "text/plain", br#"420["login",{"x":[1]}]"#)
        .await;
    assert_eq!(http.answer().await.text(), "ok");
    backend.is_asked(2).await;
    is_told(&backend, &json!({"x": [1]}), "socketio");
    eventually("the page to be somebody", async || {
        server.push("alice", "hi").await == "ok"
    })
    .await;
    let wants_none = asking(&backend, |config| config.auth.webhook_headers.clear());
    let mut raw = RawPage::open_with(wants_none.uid_socket(), HEADERS).await.0;
    raw.says("x").await;
    assert!(raw.is_heard().await);
    assert_eq!(backend.last().body["headers"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_says_who_the_page_is_in_which_groups_and_until_when() {
    let backend = Backend::start(alice()).await;
    let server = asking(&backend, |config| {
        config.text.listen = FREE;
        config.text.extensions = true;
    });
    let answer = json!({"uid": 7, "groups": ["g"], "expires": now() + 2});
    backend.answers(Reply::Json(200, answer));
    let mut page = server.connect().await;
    let told = logs_in_with(&mut page, json!("whatever")).await;
    assert_eq!((&told["ok"], &told["uid"]), (&json!(true), &json!("7")));
    let mut raw = RawPage::saying(server.uid_socket(), "whatever").await;
    let mut pusher = Pusher::open(server.text()).await;
    let line = r#"{"@":"group","to":"g"}"#;
    assert_eq!(pusher.pushes(line).await, "ok");
    page.receives(line).await;
    raw.receives(line).await;
    let told = next_of(&mut page, "login_error").await;
    assert_eq!(told["code"], "token_expired");
    page.is_disconnected().await;
    raw.is_closed_with(4001).await;
    server_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_the_application_does_not_want_is_told_its_reason() {
    let backend = Backend::start(alice()).await;
    let server = asking(&backend, |_| {});
    for (status, error, text) in [
        (403, json!("banned"), "refused: banned"),
        (401, json!("no\r\nsession"), "refused: nosession"),
        (200, json!("banned"), "refused: banned"),
        (403, json!(null), "refused"),
    ] {
        backend.answers(Reply::Json(status, json!({"error": error})));
        let mut page = server.connect().await;
        let told = logs_in_with(&mut page, json!("x")).await;
        assert_eq!(told["code"], "refused", "{told}");
        assert_eq!(told["error"], text);
        page.logs_in_with(r#""x""#).await;
        assert_eq!(next_of(&mut page, "login_error").await, told);
        let mut raw = RawPage::open(server.uid_socket()).await;
        raw.says("x").await;
        assert_eq!(raw.is_closed_with(1008).await, text);
    }
    let chat = ChatServer::start_with(|config| asks(&backend, config)).await;
    let mut page = chat.chat_page().await;
    let told = page.asks(r#"{"type":"login","ref":1}"#).await;
    assert_eq!(told["error"], "refused", "{told}");
    assert_eq!(
        (&told["code"], &told["ref"]),
        (&json!("refused"), &json!(1))
    );
    backend.answers(Reply::AsAsked);
    let mut by_url = chat.chat_page_with("token=bob").await;
    assert_eq!(by_url.next_json().await["uid"], "bob");
    let login = r#"{"type":"login","token":"carol"}"#;
    page.logs_in_by(login, "carol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_in_trouble_costs_logins_and_nothing_else() {
    let mut backend = Backend::start(alice()).await;
    let server = asking(&backend, |config| {
        config.auth.webhook_timeout = Duration::from_millis(300);
    });
    let mut honest = server.connect().await;
    assert_eq!(logs_in_with(&mut honest, json!("x")).await["ok"], true);
    for trouble in [
        Reply::Json(500, json!({"uid": "bob"})),
        Reply::Json(200, json!({"uid": ["bob"]})),
        Reply::Json(200, json!("bob")),
        Reply::Json(302, json!({"uid": "bob"})),
        Reply::Endless,
        Reply::Silence,
    ] {
        backend.answers(trouble.clone());
        let begun = Instant::now();
        let mut page = server.connect().await;
        let told = logs_in_with(&mut page, json!("x")).await;
        assert_eq!(told["code"], "unavailable", "{trouble:?}: {told}");
        let mut raw = RawPage::open(server.uid_socket()).await;
        raw.says("x").await;
        raw.is_closed_with(1008).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{trouble:?}");
        assert_eq!(server.push("alice", "hi").await, "ok");
        honest.receives("hi").await;
        // It is well again, and soon asked again.
        backend.answers(Reply::AsAsked);
        eventually("logins to be possible", async || {
            let mut page = server.connect().await;
            let told = logs_in_with(&mut page, json!("bob")).await;
            page.leaves().await;
            told["ok"] == true
        })
        .await;
    }
    backend.goes_down().await;
    for _ in 0..10 {
        let mut page = server.connect().await;
        let told = logs_in_with(&mut page, json!("x")).await;
        assert_eq!(told["code"], "unavailable", "{told}");
    }
    assert_eq!(server.push("alice", "still").await, "ok");
    honest.receives("still").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_logins_at_once_are_asked_about_four_at_a_time() {
    let backend = Backend::start(Reply::AsAsked).await;
    let server = asking(&backend, |config| config.auth.webhook_concurrency = 4);
    let server = Arc::new(server);
    let coming = (0..200).map(|n| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let uid = format!("u{n}");
            if n % 5 == 4 {
                let page = RawPage::saying(server.uid_socket(), &uid).await;
                return (None, Some(page));
            }
            let mut page = server.connect_by(DIALECTS[n % 4]).await;
            let told = logs_in_with(&mut page, json!(uid)).await;
            assert_eq!(told["uid"], uid, "{told}");
            (Some(page), None)
        })
    });
    let mut pages = Vec::new();
    for page in coming.collect::<Vec<_>>() {
        pages.push(page.await.expect("each is let in"));
    }
    assert_eq!(backend.count(), 200);
    assert!(backend.most_at_once() <= 4, "{}", backend.most_at_once());
    eventually("all to be counted", async || server.pages().await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_to_wait_is_told_at_once() {
    let backend = Backend::start(Reply::Held(json!({"uid": "alice"}))).await;
    let server = asking(&backend, |config| {
        config.auth.webhook_concurrency = 1;
        config.auth.webhook_queue = 1;
    });
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut page = server.connect().await;
        page.sends(r#"427["login","x"]"#).await;
        assert!(
            page.is_heard().await,
            "a page that waits is heard all the same"
        );
        waiting.push(page);
    }
    let mut page = server.connect().await;
    let told = logs_in_with(&mut page, json!("x")).await;
    assert_eq!(told["code"], "unavailable", "{told}");
    backend.answers(alice());
    backend.lets_go().await;
    eventually("those to be let in", async || server.pages().await == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_leaves_while_it_is_asked_about_is_nobody() {
    let backend = Backend::start(Reply::Held(json!({"uid": "alice"}))).await;
    let server = asking(&backend, |_| {});
    for (n, dialect) in DIALECTS.into_iter().enumerate() {
        let mut page = server.connect_by(dialect).await;
        page.sends(r#"42["login","x"]"#).await;
        backend.is_asked(2 * n + 1).await;
        page.leaves().await;
        let mut raw = RawPage::open(server.uid_socket()).await;
        raw.says("x").await;
        backend.is_asked(2 * n + 2).await;
        raw.resets();
        backend.lets_go().await;
    }
    backend.answers(Reply::AsAsked);
    let mut page = server.connect().await;
    assert_eq!(logs_in_with(&mut page, json!("bob")).await["uid"], "bob");
    eventually("alice to be nobody", async || server.pages().await == 1).await;
    assert_eq!(server.push("alice", "hi").await, "offline");
    page.leaves().await;
    server_is_left(&server).await;
}

/// A key of an issuer, by one byte.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]);
        Self(pair.expect("any seed makes a key"))
    }

    fn published(&self, kid: &str) -> Reply {
        let x = base64(self.0.public_key());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x});
        Reply::Json(200, json!({"keys": [key]}))
    }

    fn token(&self, kid: &str, uid: &str) -> Value {
        let claims = json!({"sub": uid, "exp": now() + 60});
        let header = json!({"alg": "EdDSA", "kid": kid});
        let token = signed(&header, &claims, |text| self.0.sign(text).as_ref().to_vec());
        json!(token)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_keys_are_read_from_its_url_and_read_again_when_they_change() {
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    let mut backend = Backend::start(old.published("old")).await;
    let server = Server::start_with(|config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.jwks_url = backend.url();
        config.auth.jwt_keys = Vec::<JwtKey>::new();
    });
    let login = async |token: Value| {
        let mut page = server.connect_by(EIO4_WEBSOCKET).await;
        let told = logs_in_with(&mut page, token).await;
        page.leaves().await;
        told
    };
    let told = login(old.token("old", "alice")).await;
    assert_eq!(told["uid"], "alice", "{told}");
    let told = login(new.token("old", "alice")).await;
    assert_eq!(told["code"], "bad_signature", "{told}");
    backend.answers(new.published("new"));
    eventually("the new key to be known", async || {
        let told = login(new.token("new", "bob")).await;
        assert!(
            told["ok"] == true || told["code"] == "unknown_key",
            "{told}"
        );
        told["uid"] == "bob"
    })
    .await;
    let asked = backend.count();
    assert!(asked <= 3, "unknown keys made a storm of {asked}");
    let told = login(old.token("old", "alice")).await;
    assert_eq!(told["ok"], false, "{told}");
    backend.goes_down().await;
    assert_eq!(login(new.token("new", "bob")).await["uid"], "bob");
}
