//! What a page of Socket.IO is told of a login that is refused, and how often: nothing at all where anybody
//! may be anyone, as the original told nothing.

use serde_json::json;

use crate::harness::chat::ChatPage;
use crate::harness::figures::Figures;
use crate::harness::mint::{SECRET, jwt, jwt_by, now, token};
use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET, Page};
use crate::harness::process::Process;
use crate::harness::raw::RawPage;
use crate::harness::recovery::logs_in_with;
use crate::harness::{Server, eventually, within};
use crate::jwt_login::{connect_as, guarded_with, next_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_refused_again_and_again_has_to_go() {
    let server = guarded_with(|config| config.limits.refused_logins = 3);
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        for n in 1..=3 {
            assert!(page.tries_to_send(&[r#"42["login","junk"]"#]).await, "{n}");
            let told = next_of(&mut page, "login_error").await;
            assert_eq!(told["code"], "not_a_token", "{dialect:?}");
        }
        assert_eq!(
            page.next_packet().await.as_deref(),
            Some("41"),
            "{dialect:?}"
        );
        // What it says now counts no more.
        page.tries_to_send(&[&format!(r#"42["login",{:?}]"#, token("alice"))])
            .await;
        let end = async { while page.next_packet().await.is_some() {} };
        within("the end of the connection", end).await;
        assert_eq!(server.push("alice", "hi").await, "offline", "{dialect:?}");
    }
    let refused = r#"campanile_sessions_closed_total{gateway="socketio",reason="refused"}"#;
    eventually("them to be counted", async || {
        Figures::of(&server).await.value(refused) == 4.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_anybody_may_be_anyone_nobody_is_told_of_errors() {
    let server = Server::start();
    let long = format!("{:?}", "x".repeat(1025));
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        for ignored in [r#"{"name":"alice"}"#, r#"{"uid":{}}"#, &long] {
            page.logs_in_with(ignored).await;
            page.sends("40/nowhere,").await;
            let packet = page.next_packet().await;
            let packet = packet.expect("the page is connected");
            assert!(packet.starts_with("44/nowhere"), "{dialect:?}: {packet}");
        }
        page.sends(r#"42["login"]"#).await;
        page.logs_in("alice").await;
        page.logs_in_with(r#""bob""#).await;
        page.logs_in_with(&long).await;
        page.sends("40/nowhere,").await;
        let packet = page.next_packet().await.expect("the page is connected");
        assert!(packet.starts_with("44/nowhere"), "{dialect:?}: {packet}");
        assert_eq!(server.push("bob", "hi").await, "offline");
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
    // What else applications put there is none of ours.
    for auth in [
        json!({"token": "for another"}),
        json!({"key": "x"}),
        json!({}),
    ] {
        let mut page = connect_as(&server, EIO4_WEBSOCKET, &auth).await;
        let packet = page.next_packet().await.expect("it is let in");
        assert!(packet.starts_with("40{"), "{packet}");
        page.sends("40/nowhere,").await;
        let packet = page.next_packet().await.expect("the page is connected");
        assert!(packet.starts_with("44/nowhere"), "{auth}: {packet}");
        page.logs_in("alice").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}

/// A token that was good for nothing ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_not_let_in_is_not_shown_out_when_its_token_ends() {
    let server = guarded_with(|config| config.limits.pages_per_uid = 1);
    let end = now() + 2;
    let short = jwt(&json!({"sub": "alice", "exp": end}));
    let mut first = server.connect().await;
    assert_eq!(
        logs_in_with(&mut first, json!(token("alice"))).await["ok"],
        true
    );
    let mut second = server.connect().await;
    let told = logs_in_with(&mut second, json!(short)).await;
    assert_eq!(told["code"], "pages_per_uid", "{told}");
    // Others whose token ends at the same time are shown out.
    let mut other = server.connect().await;
    let short = jwt(&json!({"sub": "bob", "exp": end}));
    assert_eq!(logs_in_with(&mut other, json!(short)).await["ok"], true);
    let told = next_of(&mut other, "login_error").await;
    assert_eq!(told["code"], "token_expired", "{told}");
    other.is_disconnected().await;
    let told = logs_in_with(&mut second, json!(token("carol"))).await;
    assert_eq!(told["ok"], true, "{told}");
    assert_eq!(server.push("carol", "hi").await, "ok");
    second.receives("hi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_never_logged() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let store = format!("store.url=sqlite:{}", folder.path().join("x.db").display());
    let keys = format!("auth.jwt_keys=[{{ secret = {SECRET:?} }}]");
    let more = [
        store.as_str(),
        keys.as_str(),
        "auth.mode=jwt",
        "log.level=trace",
        "uid_socket.listen=127.0.0.1:0",
        "chat.listen=127.0.0.1:0",
    ];
    let mut process = Process::start("127.0.0.1:0", "127.0.0.1:0", &more).await;
    let uid_socket = process.listens("uid_socket").await;
    let chat = process.listens("chat").await;
    let (right, wrong) = (
        token("alice"),
        jwt_by("another secret, of thirty-two b.", &json!({})),
    );
    for token in [&right, &wrong] {
        for dialect in DIALECTS {
            let mut page = Page::connect(process.socketio, dialect).await;
            logs_in_with(&mut page, json!(token)).await;
            page.leaves().await;
        }
        let mut raw = RawPage::open(uid_socket).await;
        raw.says(token).await;
        raw.is_heard().await;
        let mut page = ChatPage::connect(chat, &format!("token={token}")).await;
        page.tries_to_say([json!({"type": "login", "token": token}).to_string()])
            .await;
        page.leaves().await;
    }
    process.signal("TERM").await;
    let told = process.log_till_the_end().await;
    assert!(
        told.contains("signature is wrong"),
        "it is at debug: {told}"
    );
    for token in [&right, &wrong] {
        let signature = token.rsplit('.').next().expect("a part");
        for secret in [token.as_str(), signature, SECRET] {
            let line = told.lines().find(|line| line.contains(secret));
            assert_eq!(line, None);
        }
    }
}
