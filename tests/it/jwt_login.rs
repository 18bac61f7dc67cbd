//! Logins by JSON Web Token, on every gateway that knows logins: who is let in, as whom, and what who
//! is not is told.

use std::sync::Arc;

use campanile::config::Config;
use serde_json::{Value, json};

use crate::harness::chat::{ChatPage, ChatServer};
use crate::harness::figures::Figures;
use crate::harness::line::Line;
use crate::harness::mint::{asks_for_tokens, base64, jwt, jwt_by, now, signed, token};
use crate::harness::page::{DIALECTS, Dialect, EIO4_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::recovery::{logs_in_with, message};
use crate::harness::{FREE, Server};

fn guarded() -> Server {
    guarded_with(|_| {})
}

pub(crate) fn guarded_with(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        asks_for_tokens(config);
        config.uid_socket.listen = FREE;
        config.admin.listen = FREE;
        change(config);
    })
}

/// The next packet that is an event of this name, as its argument.
pub(crate) async fn next_of(page: &mut Page, name: &str) -> Value {
    let begin = format!(r#"42["{name}","#);
    loop {
        let packet = page.next_packet().await.expect("the page is connected");
        if let Some(argument) = packet.strip_prefix(&begin) {
            let argument = argument.strip_suffix(']').expect("an event ends");
            return serde_json::from_str(argument).expect("it is JSON");
        }
    }
}

/// The next message is this one, whether the page is told its number or not.
pub(crate) async fn gets(page: &mut Page, content: &str) {
    loop {
        let packet = page.next_packet().await.expect("the page is connected");
        if let Some((message, _)) = message(&packet) {
            assert_eq!(message, content);
            return;
        }
    }
}

/// A page that says who it is as it connects.
pub(crate) async fn connect_as(server: &Server, dialect: Dialect, auth: &Value) -> Page {
    let tcp = tokio::net::TcpStream::connect(server.socketio()).await;
    let line = Line::from(tcp.expect("the port is open"));
    let mut page = Page::open(line, dialect).await;
    page.reads_handshake().await;
    page.sends(&format!("40{auth}")).await;
    page
}

/// Claims, the code of why they are refused, and a word of the text.
fn refusals() -> Vec<(String, &'static str, &'static str)> {
    let claims = |sub: Value, exp: u64| json!({"sub": sub, "exp": exp});
    let right = token("alice");
    let mut changed = right.clone().into_bytes();
    let last = changed.len() - 5;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let none = format!(
        "{}.{}.",
        base64(r#"{"alg":"none"}"#),
        base64(claims(json!("alice"), now() + 60).to_string())
    );
    let foreign = jwt_by(
        "another secret, of thirty-two b.",
        &claims(json!("alice"), now() + 60),
    );
    let later = json!({"sub": "alice", "exp": now() + 60, "nbf": now() + 50});
    let bad_groups = json!({"sub": "alice", "exp": now() + 60, "groups": "staff"});
    vec![
        ("alice".to_owned(), "not_a_token", "JSON Web Token"),
        (
            String::from_utf8(changed).expect("it is ASCII"),
            "bad_signature",
            "signature",
        ),
        (foreign, "bad_signature", "signature"),
        (
            jwt(&claims(json!("alice"), now() - 1)),
            "token_expired",
            "expired",
        ),
        (jwt(&json!({"sub": "alice"})), "invalid_field", "exp"),
        (jwt(&later), "token_not_yet_valid", "yet"),
        (jwt(&claims(json!(""), now() + 60)), "invalid_uid", "empty"),
        (
            jwt(&claims(json!(["a"]), now() + 60)),
            "invalid_field",
            "sub",
        ),
        (jwt(&bad_groups), "invalid_field", "groups"),
        (none, "wrong_algorithm", "signed"),
        (
            signed(
                &json!({"alg": "HS256", "crit": ["x"]}),
                &claims(json!("alice"), now() + 60),
                |text| crate::harness::mint::hmac(crate::harness::mint::SECRET, text),
            ),
            "not_a_token",
            "JSON Web Token",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_socket_io_logs_in_by_its_token_in_each_form() {
    let server = guarded();
    for dialect in DIALECTS {
        let token = token("alice");
        for login in [
            json!(token),
            json!({"token": token}),
            json!({"uid": "alice", "token": token}),
            json!({"uid": token}),
        ] {
            let mut page = server.connect_by(dialect).await;
            let answer = logs_in_with(&mut page, login.clone()).await;
            assert_eq!(
                (&answer["ok"], &answer["uid"]),
                (&json!(true), &json!("alice")),
                "{dialect:?} {login}"
            );
            assert_eq!(server.push("alice", "hi").await, "ok");
            gets(&mut page, "hi").await;
            page.leaves().await;
            server.waits_until_offline("alice").await;
        }
    }
    // A number is a user's name as well as a text is.
    let mut page = server.connect().await;
    let answer = logs_in_with(
        &mut page,
        json!(jwt(&json!({"sub": 42, "exp": now() + 60}))),
    )
    .await;
    assert_eq!(answer["uid"], "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_say_who_it_is_as_it_connects() {
    let server = guarded();
    for dialect in [EIO4_WEBSOCKET, EIO4_POLLING] {
        let mut page = connect_as(&server, dialect, &json!({"token": token("alice")})).await;
        let told = next_of(&mut page, "login").await;
        assert_eq!((&told["ok"], &told["uid"]), (&json!(true), &json!("alice")));
        assert_eq!(server.push("alice", "hi").await, "ok");
        gets(&mut page, "hi").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
        let mut page = connect_as(&server, dialect, &json!({"token": "junk"})).await;
        let told = next_of(&mut page, "login_error").await;
        assert_eq!(told["ok"], false);
        assert_eq!(told["code"], "not_a_token");
        // It may try again.
        let answer = logs_in_with(&mut page, json!(token("alice"))).await;
        assert_eq!(answer["ok"], true, "{answer}");
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_told_why_by_the_answer_it_asked_for() {
    let server = guarded_with(|config| config.limits.refused_logins = 0);
    let mut page = server.connect().await;
    for (claim, code, word) in refusals() {
        let answer = logs_in_with(&mut page, json!(claim)).await;
        assert_eq!(answer["ok"], false, "{claim}");
        assert_eq!(answer["code"], code, "{claim}: {answer}");
        let error = answer["error"].as_str().expect("a text for people");
        assert!(error.contains(word), "{claim}: {error}");
        assert!(!error.contains(&claim), "{error}");
    }
    let other = json!({"uid": "bob", "token": token("alice")});
    let answer = logs_in_with(&mut page, other).await;
    assert_eq!(answer["code"], "other_uid", "{answer}");
    let answer = logs_in_with(&mut page, json!({"name": "bob"})).await;
    assert_eq!(answer["code"], "invalid_login", "{answer}");
    for uid in ["alice", "bob"] {
        assert_eq!(server.push(uid, "hi").await, "offline");
    }
    let answer = logs_in_with(&mut page, json!(token("alice"))).await;
    assert_eq!(answer["ok"], true);
    // Who is somebody already is told so, and stays who it is.
    let answer = logs_in_with(&mut page, json!(token("bob"))).await;
    assert_eq!(answer["code"], "already_logged_in", "{answer}");
    page.logs_in_with(&json!(token("bob")).to_string()).await;
    let told = next_of(&mut page, "login_error").await;
    assert_eq!(told, answer);
    assert_eq!(server.push("bob", "hi").await, "offline");
    assert_eq!(server.push("alice", "hi").await, "ok");
    page.receives("hi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_no_answer_is_told_by_an_event_and_the_refusals_are_counted() {
    let server = guarded();
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        page.logs_in_with(r#""alice""#).await;
        let told = next_of(&mut page, "login_error").await;
        assert_eq!(
            (&told["ok"], &told["code"]),
            (&json!(false), &json!("not_a_token")),
            "{dialect:?}"
        );
        page.logs_in_with(&json!(token("alice")).to_string()).await;
        assert!(page.is_heard().await);
        assert_eq!(server.push("alice", "hi").await, "ok");
        page.receives("hi").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
    let refused = r#"campanile_logins_refused_total{code="not_a_token"}"#;
    assert_eq!(Figures::of(&server).await.value(refused), 4.0);
}

/// The original answered nothing, and no page of it expects an event that it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_uid_websocket_logs_in_by_its_token() {
    let server = guarded();
    let mut page = RawPage::saying(server.uid_socket(), &token("alice")).await;
    assert_eq!(server.push("alice", "hi").await, "ok");
    page.receives("hi").await;
    for (claim, _, word) in refusals() {
        let mut refused = RawPage::open(server.uid_socket()).await;
        refused.says(&claim).await;
        let reason = refused.is_closed_with(1008).await;
        assert!(reason.contains(word), "{claim}: {reason}");
    }
    page.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_page_logs_in_by_its_token() {
    let server = ChatServer::start_with(|config| {
        asks_for_tokens(config);
        config.limits.refused_logins = 0;
    })
    .await;
    let login = |token: &str| json!({"type": "login", "token": token, "ref": 7}).to_string();
    let mut page = server.chat_page().await;
    for (claim, code, word) in refusals() {
        let answer = page.asks(&login(&claim)).await;
        assert_eq!(answer["type"], "error", "{claim}: {answer}");
        assert_eq!((&answer["code"], &answer["ref"]), (&json!(code), &json!(7)));
        let error = answer["error"].as_str().expect("a text for people");
        assert!(error.contains(word), "{claim}: {error}");
    }
    page.is_refused(r#"{"type":"login","uid":"alice"}"#, "token is missing")
        .await;
    page.logs_in_by(&login(&token("alice")), "alice").await;
    let answer = page.asks(&login(&token("bob"))).await;
    assert_eq!(answer["code"], "already_logged_in", "{answer}");
    let mut by_url = server
        .chat_page_with(&format!("token={}", token("bob")))
        .await;
    let told = by_url.next_json().await;
    assert_eq!(
        (&told["type"], &told["uid"]),
        (&json!("login"), &json!("bob"))
    );
    page.tells("bob", "hello").await;
    assert_eq!(by_url.next_json().await["text"], "hello");
    let mut refused: ChatPage = server.chat_page_with("token=junk").await;
    let reason = refused.is_closed_with(1008).await;
    assert!(reason.contains("not a token"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_page_that_is_refused_again_and_again_has_to_go() {
    let server = ChatServer::start_with(|config| {
        asks_for_tokens(config);
        config.limits.refused_logins = 2;
    })
    .await;
    let mut page = server.chat_page().await;
    for _ in 0..2 {
        page.says(r#"{"type":"login","token":"junk"}"#).await;
    }
    let first = page.next_json().await;
    assert_eq!(first["code"], "not_a_token");
    let reason = page.is_closed_with(1008).await;
    assert!(reason.contains("not a token"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_group_by_its_token_hears_the_group_on_every_gateway() {
    let server = ChatServer::start_with(|config| {
        asks_for_tokens(config);
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
        config.text.extensions = true;
    })
    .await;
    let member =
        |uid: &str| jwt(&json!({"sub": uid, "exp": now() + 600, "groups": ["g", "other", "g"]}));
    let mut socketio = server.connect().await;
    logs_in_with(&mut socketio, json!(member("a"))).await;
    let mut raw = RawPage::saying(server.uid_socket(), &member("b")).await;
    let mut chat = server.chat_page().await;
    let login = json!({"type": "login", "token": member("c")}).to_string();
    chat.logs_in_by(&login, "c").await;
    let mut stranger = server.connect().await;
    logs_in_with(&mut stranger, json!(token("d"))).await;
    let mut backend = Pusher::open(server.text()).await;
    for n in 0..3 {
        let line = format!(r#"{{"@":"group","to":"g","n":{n}}}"#);
        assert_eq!(backend.pushes(&line).await, "ok");
        socketio.receives(&line).await;
        raw.receives(&line).await;
        chat.hears(&line).await;
    }
    // Its own place in the group ends with each page.
    server.nothing_else_comes_to([&mut stranger]).await;
    raw.leaves().await;
    chat.leaves().await;
    socketio.leaves().await;
    for uid in ["a", "b", "c"] {
        server.waits_until_offline(uid).await;
    }
    let line = r#"{"@":"group","to":"g"}"#;
    assert_eq!(backend.pushes(line).await, "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_tokens_at_once_are_all_let_in() {
    let server = Arc::new(guarded());
    let coming = (0..2000).map(|n| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut page = server.connect_by(DIALECTS[n % 2]).await;
            let answer = logs_in_with(&mut page, json!(token(&format!("u{n}")))).await;
            assert_eq!(answer["ok"], true, "{answer}");
            page
        })
    });
    let mut pages = Vec::new();
    for page in coming.collect::<Vec<_>>() {
        pages.push(page.await.expect("each is let in"));
    }
    let figures = Figures::of(&server).await;
    assert_eq!(figures.value("campanile_users"), 2000.0);
    for n in [0, 1, 1000, 1999] {
        assert_eq!(server.push(&format!("u{n}"), "hi").await, "ok");
        pages[n].receives("hi").await;
    }
}
