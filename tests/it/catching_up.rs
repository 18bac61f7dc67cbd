//! What reaches a page live while it still catches up: it neither costs the page what is older, nor comes
//! twice.

use std::net::SocketAddr;

use campanile::config::Config;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::harness::chat::{ChatServer, Talker};
use crate::harness::mint::{asks_for_tokens, jwt, now};
use crate::harness::page::{EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::raw::Pusher;
use crate::harness::recovery::{logs_in_with, next_stamped, recovering_with, server_is_left};
use crate::harness::{FREE, Server, eventually};
use crate::stall::narrow_connection;

/// More than a queue holds, and than kernels do.
const MISSED: usize = 60;

fn missed(n: usize) -> String {
    format!("missed {n} {}", "x".repeat(20_000))
}

/// Few messages wait for a page: the others it catches up with.
fn few(config: &mut Config) {
    config.socketio.max_queue = 32;
}

/// A page that takes hardly anything until it is read.
async fn narrow_page(server: &Server) -> Page {
    let tcp = narrow_connection(server.socketio()).await;
    let mut page = Page::open(tcp, EIO4_WEBSOCKET).await;
    page.joins().await;
    page
}

/// Where alice stands who has missed nothing yet. She has left.
async fn stood(server: &Server, login: Value) -> Value {
    let mut page = server.connect_by(EIO4_WEBSOCKET).await;
    let answer = logs_in_with(&mut page, login).await;
    page.leaves().await;
    server_is_left(server).await;
    answer["since"].clone()
}

/// A page reads up to `live` and breaks; the one that follows has all the others, in order, and once.
async fn breaks_after(server: &Server, mut page: Page, live: &str) {
    let mut next = 0;
    let since = loop {
        let (content, since) = next_stamped(&mut page).await;
        if content == live {
            break since;
        }
        assert_eq!(content, missed(next));
        next += 1;
    };
    assert!(next < MISSED, "it had caught up before");
    page.resets();
    server_is_left(server).await;
    let mut page = server.connect_by(EIO4_WEBSOCKET).await;
    let answer = logs_in_with(&mut page, json!({"uid": "alice", "since": since})).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    for n in next..MISSED {
        let (content, _) = next_stamped(&mut page).await;
        assert_eq!(content, missed(n));
    }
    server.push("alice", "the last").await;
    assert_eq!(next_stamped(&mut page).await.0, "the last");
    page.leaves().await;
    server_is_left(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_to_its_socket_or_topic_does_not_hide_what_a_page_has_not_got() {
    let server = recovering_with(|config| {
        few(config);
        config.udp.listen = FREE;
    });
    for live in ["to its socket", r#"{"school_id":"1","live":1}"#] {
        let since = stood(&server, json!({"uid": "alice"})).await;
        for n in 0..MISSED {
            assert_eq!(server.push("alice", &missed(n)).await, "offline");
        }
        let mut page = narrow_page(&server).await;
        page.sends(r#"42["subscribe",{"school_id":"1"}]"#).await;
        logs_in_with(&mut page, json!({"uid": "alice", "since": since})).await;
        if live.starts_with('{') {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let backend = UdpSocket::bind(any).await.expect("there is a port");
            let sent = backend.send_to(live.as_bytes(), server.udp()).await;
            sent.expect("the port is open");
        } else {
            // As in the original, the answer tells of users only.
            let sid = page.sid.clone();
            assert_eq!(server.push(&sid, live).await, "offline");
        }
        breaks_after(&server, page, live).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_is_sent_while_its_page_catches_up_comes_in_its_place_and_once() {
    let server = recovering_with(|config| {
        few(config);
        asks_for_tokens(config);
        config.text.listen = FREE;
        config.text.extensions = true;
    });
    let token = jwt(&json!({"sub": "alice", "exp": now() + 600, "groups": ["g"]}));
    let mut backend = Pusher::open(server.text()).await;
    let since = stood(&server, json!({"token": token})).await;
    let line = |n: usize| format!(r#"{{"@":"group","to":"g","n":{n},"x":"{}"}}"#, missed(n));
    for n in 0..MISSED {
        backend.pushes(line(n)).await;
    }
    let mut page = narrow_page(&server).await;
    let login = json!({"token": token, "since": since});
    let answer = logs_in_with(&mut page, login).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    assert_eq!(backend.pushes(line(MISSED)).await, "ok");
    for n in 0..=MISSED {
        assert_eq!(next_stamped(&mut page).await.0, line(n));
    }
    assert_eq!(backend.pushes(line(MISSED + 1)).await, "ok");
    assert_eq!(next_stamped(&mut page).await.0, line(MISSED + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_group_was_sent_and_the_log_has_forgotten_is_told_as_lost() {
    let server = recovering_with(|config| {
        asks_for_tokens(config);
        config.recovery.max_bytes = bytesize::ByteSize::kib(64);
        config.text.listen = FREE;
        config.text.extensions = true;
    });
    let token = |groups: Value| jwt(&json!({"sub": "alice", "exp": now() + 600, "groups": groups}));
    let member = token(json!(["g"]));
    let since = stood(&server, json!({"token": member})).await;
    let mut backend = Pusher::open(server.text()).await;
    for n in 0..MISSED {
        let content = missed(n);
        backend
            .pushes(format!(r#"{{"@":"group","to":"g","x":"{content}"}}"#))
            .await;
    }
    for (token, is_whole) in [(member, false), (token(json!([])), true)] {
        let mut page = server.connect_by(EIO4_WEBSOCKET).await;
        let login = json!({"token": token, "since": since});
        let answer = logs_in_with(&mut page, login).await;
        assert_eq!(answer["recovered"], is_whole, "{answer}");
        page.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_again_while_it_catches_up_is_still_in_its_groups() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = ChatServer::start_with(|config| {
            few(config);
            config.chat.socketio = true;
            config.web.listen = FREE;
            config.recovery.window = std::time::Duration::from_secs(120);
        })
        .await;
        let mut bob = Talker::login(&server, dialect, "bob").await;
        bob.asks("join", json!({"group": "g"})).await;
        let mut ann = Talker::login(&server, dialect, "ann").await;
        ann.asks("join", json!({"group": "g"})).await;
        ann.page.resets();
        eventually("ann to be gone", async || server.pages().await == 1).await;
        for n in 0..MISSED {
            bob.asks("new_msg", json!({"group": "g", "content": missed(n)}))
                .await;
        }
        let mut ann = narrow_page(&server).await;
        logs_in_with(&mut ann, json!("ann")).await;
        ann.resets();
        eventually("ann to be gone", async || server.pages().await == 1).await;
        bob.asks("new_msg", json!({"group": "g", "content": "later"}))
            .await;
        let mut ann = server.connect_by(dialect).await;
        ann.logs_in_with(r#""ann""#).await;
        let mut ann = Talker::new(ann);
        // What it had read before it broke again it need not get again.
        let mut next = ann.next_arguments().await[0].clone();
        while next != "later" {
            next = ann.next_arguments().await[0].clone();
        }
        ann.asks("new_msg", json!({"group": "g", "content": "heard"}))
            .await;
        assert_eq!(ann.next_arguments().await[0], "heard");
    }
}
