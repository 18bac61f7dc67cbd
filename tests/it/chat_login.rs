//! Who a chat page is: by its first message, by its URL, by a token.

use std::time::{SystemTime, UNIX_EPOCH};

use campanile::config::{AuthMode, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::harness::chat::ChatServer;
use crate::harness::encode;

const SECRET: &str = "0123456789abcdef";

const LOG_IN_FIRST: &str = r#"log in first: {"type":"login",…}"#;

#[tokio::test]
async fn nothing_can_be_done_without_a_login() {
    let server = ChatServer::start().await;
    let mut bob = server.chats_as("bob").await;
    let mut stranger = server.chat_page().await;
    for request in [
        r#"{"uid":"bob","text":"hi"}"#,
        r#"{"group":"g","text":"hi"}"#,
        r#"{"type":"history","with":"bob"}"#,
        r#"{"type":"join","group":"g"}"#,
        r#"{"type":"leave","group":"g"}"#,
        r#"{"type":"watch","uid":"bob"}"#,
        r#"{"type":"unwatch","uid":"bob"}"#,
    ] {
        stranger.is_refused(request, LOG_IN_FIRST).await;
    }
    bob.hears_nothing().await;
    assert_eq!(bob.tells("cid", "the first record").await, 1);
    stranger.logs_in("ann").await;
    assert_eq!(stranger.tells("bob", "hi").await, 2);
}

#[tokio::test]
async fn a_login_needs_a_uid_that_can_be_one() {
    let server = ChatServer::start().await;
    let mut page = server.chat_page().await;
    let long = format!(r#"{{"type":"login","uid":"{}"}}"#, "é".repeat(513));
    for (login, error) in [
        (r#"{"type":"login"}"#, "uid is missing"),
        (r#"{"type":"login","uid":null}"#, "uid is missing"),
        (r#"{"type":"login","token":"ann.9.00"}"#, "uid is missing"),
        (r#"{"type":"login","uid":""}"#, "uid is empty"),
        (&long, "uid is 1026 bytes long, the most is 1024"),
        (
            r#"{"type":"login","uid":{"a":1}}"#,
            "uid has to be a text or a whole number",
        ),
        (
            r#"{"type":"login","uid":["ann"]}"#,
            "uid has to be a text or a whole number",
        ),
        (
            r#"{"type":"login","uid":true}"#,
            "uid has to be a text or a whole number",
        ),
        (
            r#"{"type":"login","uid":1.5}"#,
            "uid has to be a text or a whole number",
        ),
    ] {
        page.is_refused(login, error).await;
    }
    let longest = "é".repeat(512);
    page.logs_in(&longest).await;
    let mut number = server.chat_page().await;
    number.logs_in_by(r#"{"type":"login","uid":7}"#, "7").await;
    let mut zero = server.chat_page().await;
    let login = r#"{"type":"login","uid":"0","ref":"first"}"#;
    let answer = zero.asks(login).await;
    let expected = serde_json::json!({"type": "login", "ref": "first", "uid": "0", "last": 0});
    assert_eq!(answer, expected);
    number.tells("0", "to zero").await;
    assert_eq!(zero.next_json().await["text"], "to zero");
}

#[tokio::test]
async fn a_page_logs_in_once() {
    let server = ChatServer::start_with(|config| config.chat.trust_uid = true).await;
    let mut by_message = server.chats_as("ann").await;
    let mut by_query = server.chat_page_with("uid=ann").await;
    assert_eq!(by_query.next_json().await["type"], "login");
    for page in [&mut by_message, &mut by_query] {
        for uid in ["ann", "bob"] {
            let login = format!(r#"{{"type":"login","uid":"{uid}"}}"#);
            let error = r#"this page is logged in as "ann" already"#;
            page.is_refused(&login, error).await;
        }
    }
    assert_eq!(server.push("bob", "nobody").await, "offline");
    by_message.tells("ann", "still here").await;
    assert_eq!(by_query.next_json().await["text"], "still here");
}

#[tokio::test]
async fn a_uid_in_the_url_counts_only_where_it_is_trusted() {
    let server = ChatServer::start().await;
    let mut page = server.chat_page_with("uid=ann").await;
    page.is_refused(r#"{"uid":"bob"}"#, LOG_IN_FIRST).await;
    page.logs_in("cid").await;

    let server = ChatServer::start_with(|config| config.chat.trust_uid = true).await;
    let odd = "ann & bob+é/名";
    let mut odd_page = server
        .chat_page_with(&format!("a=1&uid={}&since=0", encode(odd)))
        .await;
    assert_eq!(odd_page.next_json().await["uid"], odd);
    let mut plus = server.chat_page_with("uid=ann+b").await;
    assert_eq!(plus.next_json().await["uid"], "ann b");
    assert_eq!(plus.tells(odd, "hi").await, 1);
    assert_eq!(odd_page.next_json().await["text"], "hi");
    let mut later = server
        .chat_page_with(&format!("uid={}&since=0", encode(odd)))
        .await;
    assert_eq!(later.next_json().await["last"], 0);
    assert_eq!(later.next_json().await["text"], "hi");

    let mut none = server.chat_page_with("uid").await;
    none.is_refused(r#"{"uid":"bob"}"#, LOG_IN_FIRST).await;
    let mut empty = server.chat_page_with("uid=").await;
    assert_eq!(empty.is_closed_with(1008).await, "uid is empty");
    let mut long = server
        .chat_page_with(&format!("uid={}", "x".repeat(1025)))
        .await;
    let reason = long.is_closed_with(1008).await;
    assert_eq!(reason, "uid is 1025 bytes long, the most is 1024");
}

/// A server where pages need a token.
async fn signed() -> ChatServer {
    ChatServer::start_with(|config| {
        config.auth.mode = AuthMode::Signed;
        config.auth.secret = Secret::from(SECRET);
    })
    .await
}

fn token(uid: &str, expiry: u64, secret: &str) -> String {
    let signed = format!("{uid}.{expiry}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(signed.as_bytes());
    let signature = mac.finalize().into_bytes();
    let digits: Vec<_> = signature.iter().map(|b| format!("{b:02x}")).collect();
    format!("{signed}.{}", digits.concat())
}

fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs() + 3600
}

#[tokio::test]
async fn a_token_is_a_login_by_message_and_by_url() {
    let server = signed().await;
    for uid in ["ann", "a.dotted.uid", "名字"] {
        let token = token(uid, in_an_hour(), SECRET);
        let mut by_message = server.chat_page().await;
        let login = format!(r#"{{"type":"login","token":"{token}","uid":"somebody else"}}"#);
        by_message.logs_in_by(&login, uid).await;
        let mut by_url = server
            .chat_page_with(&format!("token={}", encode(&token)))
            .await;
        assert_eq!(by_url.next_json().await["uid"], uid);
        let upper = token.rsplit_once('.').expect("it has dots");
        let upper = format!("{}.{}", upper.0, upper.1.to_uppercase());
        let mut shouted = server.chat_page().await;
        let login = format!(r#"{{"type":"login","token":"{upper}"}}"#);
        shouted.logs_in_by(&login, uid).await;
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_by_message_and_by_url() {
    let server = signed().await;
    let soon = in_an_hour();
    let right = token("ann", soon, SECRET);
    let not_a_token = "not a token; expected uid.expiry.signature";
    let wrong = "token's signature is wrong";
    for (claim, error) in [
        ("ann".to_owned(), not_a_token),
        (String::new(), not_a_token),
        (format!("ann.{soon}"), not_a_token),
        (format!("ann.soon.{}", "0".repeat(64)), not_a_token),
        (right[..right.len() - 1].to_owned(), not_a_token),
        (right.replacen("ann", "bob", 1), wrong),
        (
            right.replacen(&soon.to_string(), &(soon + 1).to_string(), 1),
            wrong,
        ),
        (token("ann", soon, "another secret of some length"), wrong),
        (token("ann", 1_000, SECRET), "token has expired"),
        (token("", soon, SECRET), "uid is empty"),
    ] {
        let mut page = server.chat_page().await;
        let login = format!(r#"{{"type":"login","token":"{claim}"}}"#);
        page.is_refused(&login, error).await;
        page.is_refused(r#"{"uid":"bob"}"#, LOG_IN_FIRST).await;
        let mut by_url = server
            .chat_page_with(&format!("token={}", encode(&claim)))
            .await;
        assert_eq!(by_url.is_closed_with(1008).await, error, "{claim}");
    }
    let mut page = server.chat_page_with("uid=ann").await;
    let login = r#"{"type":"login","uid":"ann"}"#;
    page.is_refused(login, "token is missing").await;
    assert_eq!(server.push("ann", "anybody?").await, "offline");
}
