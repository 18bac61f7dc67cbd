//! Claims that end while their page is there: the page is told and has to go, unless it brings a new
//! one of the same user in time.

use serde_json::{Value, json};

use crate::harness::chat::ChatServer;
use crate::harness::figures::Figures;
use crate::harness::mint::{asks_for_tokens, brief, jwt, now, token};
use crate::harness::page::DIALECTS;
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::recovery::{logs_in_with, recovering_with, server_is_left};
use crate::harness::{FREE, Server, eventually, within};
use crate::jwt_login::{connect_as, next_of};
use crate::stall::narrow_connection;

fn guarded() -> Server {
    Server::start_with(|config| {
        asks_for_tokens(config);
        config.uid_socket.listen = FREE;
        config.admin.listen = FREE;
        config.web.listen = FREE;
    })
}

async fn closed(server: &Server, gateway: &str, reason: &str) -> f64 {
    let name =
        format!(r#"campanile_sessions_closed_total{{gateway="{gateway}",reason="{reason}"}}"#);
    Figures::of(server).await.value(&name)
}

/// A test that waits for the clock waits for it once, for all dialects together.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_socket_io_whose_token_ends_is_told_and_shown_out() {
    let server = guarded();
    let mut pages = Vec::new();
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        let answer = logs_in_with(&mut page, json!(brief("alice", 2))).await;
        assert_eq!(answer["ok"], true, "{answer}");
        pages.push(page);
    }
    let auth = json!({"token": brief("alice", 2)});
    let mut page = connect_as(&server, DIALECTS[1], &auth).await;
    next_of(&mut page, "login").await;
    pages.push(page);
    assert_eq!(server.pages().await, 5);
    for page in &mut pages {
        let told = next_of(page, "login_error").await;
        assert_eq!(told["code"], "token_expired", "{told}");
        assert!(!told["error"].as_str().unwrap_or_default().is_empty());
        // What clients call "io server disconnect".
        assert_eq!(page.next_packet().await.as_deref(), Some("41"));
    }
    for page in &mut pages {
        let end = async { while page.next_packet().await.is_some() {} };
        within("the end of the connection", end).await;
    }
    server.waits_until_offline("alice").await;
    server_is_left(&server).await;
    eventually("them to be counted", async || {
        closed(&server, "socketio", "expired").await == 5.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_reads_nothing_is_gone_all_the_same() {
    let server = guarded();
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        logs_in_with(&mut page, json!(brief("alice", 1))).await;
        server.waits_until_offline("alice").await;
        eventually("it to be counted", async || {
            let expired = closed(&server, "socketio", "expired").await;
            expired as usize > DIALECTS.iter().position(|d| *d == dialect).unwrap_or(9)
        })
        .await;
        drop(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_a_raw_websocket_stay_for_as_long_as_there_is_something_to_write_to_it() {
    let server = guarded();
    let tcp = narrow_connection(server.uid_socket()).await;
    let (mut page, _) = RawPage::over(tcp, "").await;
    page.says(&brief("alice", 2)).await;
    eventually("the login", async || server.pages().await == 1).await;
    // More than the kernel takes, and no more than may wait.
    let content = "x".repeat(20_000);
    for _ in 0..40 {
        assert_eq!(server.push("alice", &content).await, "ok");
    }
    server_is_left(&server).await;
    assert_eq!(closed(&server, "uid_socket", "expired").await, 1.0);
    drop(page);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_of_the_same_user_goes_on_where_the_old_one_ends() {
    let server = guarded();
    let mut pages = Vec::new();
    let end = now() + 2;
    for (n, dialect) in DIALECTS.into_iter().enumerate() {
        let mut page = server.connect_by(dialect).await;
        let short = jwt(&json!({"sub": format!("u{n}"), "exp": end}));
        logs_in_with(&mut page, json!(short)).await;
        pages.push(page);
    }
    // Pushes go on all the time.
    let mut sent = 0;
    let mut renewed = false;
    while now() < end + 2 {
        for n in 0..pages.len() {
            let content = format!("{n}: {sent}");
            assert_eq!(server.push(&format!("u{n}"), &content).await, "ok");
        }
        sent += 1;
        if !renewed && sent > 3 {
            renewed = true;
            for (n, page) in pages.iter_mut().enumerate() {
                let login = json!({"token": token(&format!("u{n}"))});
                let login = if n % 2 == 0 {
                    login["token"].clone()
                } else {
                    login
                };
                page.sends(&format!(r#"428["login",{login}]"#)).await;
            }
        }
    }
    for (n, page) in pages.iter_mut().enumerate() {
        let mut next = 0;
        let mut answer = None;
        while next < sent || answer.is_none() {
            let packet = page.next_packet().await.expect("the page is connected");
            if let Some(told) = packet.strip_prefix("438") {
                let [told]: [Value; 1] = serde_json::from_str(told).expect("one argument");
                answer = Some(told);
            } else if let Some(event) = packet.strip_prefix(r#"42["new_msg",""#) {
                assert_eq!(event, format!(r#"{n}: {next}"]"#), "lost, or repeated");
                next += 1;
            } else {
                assert!(packet.contains("update_online_count"), "{packet}");
            }
        }
        let answer = answer.expect("it came");
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(answer["renewed"], true, "{answer}");
        assert_eq!(answer["uid"], format!("u{n}"));
    }
    // They were counted once.
    assert_eq!(server.pages().await, 4);
    assert_eq!(closed(&server, "socketio", "expired").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_renewal_leaves_the_old_token_its_time() {
    let server = guarded();
    let mut page = server.connect().await;
    logs_in_with(&mut page, json!(brief("alice", 2))).await;
    for (login, code) in [
        (json!(token("bob")), "already_logged_in"),
        (json!("junk"), "not_a_token"),
    ] {
        let answer = logs_in_with(&mut page, login).await;
        assert_eq!(
            (&answer["ok"], &answer["code"]),
            (&json!(false), &json!(code))
        );
    }
    assert_eq!(server.push("alice", "hi").await, "ok");
    page.receives("hi").await;
    let told = next_of(&mut page, "login_error").await;
    assert_eq!(told["code"], "token_expired");
    page.is_disconnected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_uid_websocket_is_closed_or_renews_by_a_further_message() {
    let server = guarded();
    let end = now() + 2;
    let short = |uid: &str| jwt(&json!({"sub": uid, "exp": end}));
    let mut ends = RawPage::saying(server.uid_socket(), &short("alice")).await;
    let mut renews = RawPage::saying(server.uid_socket(), &short("bob")).await;
    let mut other = RawPage::saying(server.uid_socket(), &short("carol")).await;
    assert_eq!(server.push("bob", "before").await, "ok");
    renews.says(&token("bob")).await;
    assert_eq!(server.push("bob", "after").await, "ok");
    other.says(&token("dave")).await;
    let reason = other.is_closed_with(1008).await;
    assert!(reason.contains("already logged in"), "{reason}");
    let reason = ends.is_closed_with(4001).await;
    assert!(reason.contains("expired"), "{reason}");
    server.waits_until_offline("alice").await;
    eventually("the clock to go on", async || now() > end + 1).await;
    assert_eq!(server.push("bob", "later").await, "ok");
    for message in ["before", "after", "later"] {
        renews.receives(message).await;
    }
    renews.has_nothing().await;
    assert_eq!(closed(&server, "uid_socket", "expired").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_page_is_closed_or_renews_by_a_further_login() {
    let server = ChatServer::start_with(asks_for_tokens).await;
    let end = now() + 2;
    let login = |uid: &str, exp: u64| {
        let token = jwt(&json!({"sub": uid, "exp": exp}));
        json!({"type": "login", "token": token}).to_string()
    };
    let mut ends = server.chat_page().await;
    ends.logs_in_by(&login("alice", end), "alice").await;
    let mut renews = server.chat_page().await;
    renews.logs_in_by(&login("bob", end), "bob").await;
    let answer = renews.asks(&login("alice", now() + 60)).await;
    assert_eq!(answer["type"], "error", "{answer}");
    ends.tells("bob", "before").await;
    assert_eq!(renews.next_json().await["text"], "before");
    renews.logs_in_by(&login("bob", now() + 60), "bob").await;
    let reason = ends.is_closed_with(4001).await;
    assert!(reason.contains("expired"), "{reason}");
    eventually("the clock to go on", async || now() > end + 1).await;
    let mut other = server.chat_page().await;
    other.logs_in_by(&login("carol", now() + 60), "carol").await;
    other.tells("bob", "after").await;
    assert_eq!(renews.next_json().await["text"], "after");
    renews.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_group_no_longer_by_its_next_token_hears_it_no_longer() {
    let server = recovering_with(|config| {
        asks_for_tokens(config);
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
        config.text.extensions = true;
    });
    let with = |groups: Value| jwt(&json!({"sub": "alice", "exp": now() + 600, "groups": groups}));
    let mut backend = Pusher::open(server.text()).await;
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        logs_in_with(&mut page, json!(with(json!(["g", "h"])))).await;
        assert_eq!(
            backend.pushes(r#"{"@":"group","to":"g","x":1}"#).await,
            "ok"
        );
        page.receives(r#"{"@":"group","to":"g","x":1}"#).await;
        if dialect.polling {
            page.leaves().await;
        } else {
            page.resets();
        }
        server_is_left(&server).await;
        backend.pushes(r#"{"@":"group","to":"g","missed":1}"#).await;
        backend.pushes(r#"{"@":"group","to":"h","missed":1}"#).await;
        let mut page = server.connect_by(dialect).await;
        logs_in_with(&mut page, json!(with(json!(["h"])))).await;
        page.receives(r#"{"@":"group","to":"h","missed":1}"#).await;
        backend.pushes(r#"{"@":"group","to":"g","live":1}"#).await;
        assert_eq!(
            backend.pushes(r#"{"@":"group","to":"h","live":1}"#).await,
            "ok"
        );
        page.receives(r#"{"@":"group","to":"h","live":1}"#).await;
        page.leaves().await;
        server_is_left(&server).await;
    }
    let mut page = RawPage::saying(server.uid_socket(), &with(json!(["g"]))).await;
    backend.pushes(r#"{"@":"group","to":"g","n":1}"#).await;
    page.receives(r#"{"@":"group","to":"g","n":1}"#).await;
    page.resets();
    server_is_left(&server).await;
    let mut page = RawPage::saying(server.uid_socket(), &with(json!([]))).await;
    backend.pushes(r#"{"@":"group","to":"g","n":2}"#).await;
    page.has_nothing().await;
}
