//! Pushes that wait on disk, where the log, the store and other connections of the same page have their
//! part in it too.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::json;

use crate::harness::keeping::{
    comes, is_left, keep, keeping, logs_in_with, next_numbered, url_in, waiting,
};
use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET};
use crate::harness::postgres::Postgres;
use crate::harness::process::Process;
use crate::harness::recovery::next_stamped;
use crate::harness::{FREE, Server, eventually};
use crate::restart::{page_on, push};

const ANY: &str = "127.0.0.1:0";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_server_kept_comes_at_the_first_login_after_it() {
    for window in [0, 120] {
        let window = Duration::from_secs(window);
        let (server, folder) = keeping(|config| config.recovery.window = window).await;
        assert_eq!(keep(&server, "alice", "one").await, "offline");
        server.stops().await;
        let next = Server::open_with(|config| {
            config.store.url = url_in(&folder).as_str().into();
            config.recovery.window = window;
            config.admin.listen = FREE;
            config.web.listen = FREE;
        })
        .await;
        assert_eq!(waiting(&next).await, 1);
        let mut page = comes(&next, EIO4_WEBSOCKET, "alice").await;
        // Before its login a page may hear what is for everyone.
        eventually("the login", async || next.pages().await == 1).await;
        next.push_to_everyone("live").await;
        page.receives("one").await;
        page.receives("live").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_since_loses_nothing_stored_where_nothing_is_recovered() {
    let (server, _folder) = keeping(|_| {}).await;
    let mut page = server.connect().await;
    logs_in_with(&mut page, json!({"uid": "alice"})).await;
    assert_eq!(keep(&server, "alice", "one").await, "ok");
    let (heard, since) = next_numbered(&mut page).await.expect("it is pushed");
    assert_eq!(heard, "one");
    page.leaves().await;
    is_left(&server).await;
    assert_eq!(keep(&server, "alice", "two").await, "offline");
    let mut page = server.connect().await;
    logs_in_with(&mut page, json!({"uid": "alice", "since": since})).await;
    assert_eq!(keep(&server, "alice", "three").await, "ok");
    let (heard, _) = next_numbered(&mut page).await.expect("it waits");
    assert_eq!(heard, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_the_store_is_away_is_not_confirmed_by_what_comes_later() {
    let mut postgres = Postgres::start().await;
    let (server, _folder) = keeping(|config| {
        config.store.url = postgres.url().as_str().into();
        config.store.timeout = Duration::from_secs(2);
        config.socketio.ping_interval = Duration::from_millis(100);
    })
    .await;
    assert_eq!(keep(&server, "alice", "one").await, "offline");
    postgres.stop();
    let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
    eventually("the page to be logged in", async || {
        server.push("alice", "live").await == "ok"
    })
    .await;
    page.receives("live").await;
    postgres.restart().await;
    eventually("the store to be well", async || {
        keep(&server, "alice", "two").await == "ok"
    })
    .await;
    page.receives("two").await;
    // The heartbeats of this page confirm "two", and must not confirm "one" with it.
    let mut heard = Vec::new();
    let alive = async {
        while let Some(packet) = page.next_packet().await {
            heard.push(packet);
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(1), alive).await;
    ended.expect_err("the page is connected");
    page.leaves().await;
    is_left(&server).await;
    if !heard
        .iter()
        .any(|packet| packet == r#"42["new_msg","one"]"#)
    {
        let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
        eventually("the login", async || server.pages().await == 1).await;
        server.push_to_everyone("marker").await;
        page.receives("one").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_since_gets_what_waited_while_the_store_was_away() {
    for window in [0, 120] {
        let mut postgres = Postgres::start().await;
        let (server, _folder) = keeping(|config| {
            config.store.url = postgres.url().as_str().into();
            config.store.timeout = Duration::from_secs(2);
            config.recovery.window = Duration::from_secs(window);
            config.socketio.ping_interval = Duration::from_millis(100);
        })
        .await;
        assert_eq!(keep(&server, "alice", "one").await, "offline");
        postgres.stop();
        let mut page = server.connect().await;
        logs_in_with(&mut page, json!({"uid": "alice"})).await;
        eventually("the page to hear what is live", async || {
            server.push("alice", "live").await == "ok"
        })
        .await;
        let (heard, since) = next_stamped(&mut page).await;
        assert_eq!(heard, "live");
        postgres.restart().await;
        eventually("the store to be well", async || {
            keep(&server, "alice", "two").await == "ok"
        })
        .await;
        assert_eq!(next_stamped(&mut page).await.0, "two");
        page.was_asked_for_life().await;
        page.leaves().await;
        is_left(&server).await;
        let mut page = server.connect().await;
        logs_in_with(&mut page, json!({"uid": "alice", "since": since})).await;
        assert_eq!(next_stamped(&mut page).await.0, "one", "{since}");
        assert_eq!(next_stamped(&mut page).await.0, "two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_has_heard_before_its_login_does_not_come_a_second_time() {
    for (dialect, window) in DIALECTS.into_iter().flat_map(|d| [(d, 0), (d, 120)]) {
        let (server, _folder) =
            keeping(|config| config.recovery.window = Duration::from_secs(window)).await;
        let mut page = server.connect_by(dialect).await;
        assert_eq!(keep(&server, "", "for everyone").await, "ok");
        page.receives("for everyone").await;
        page.logs_in_with(r#""alice""#).await;
        server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_just_does_not_fit_waits_for_room_and_costs_no_connection() {
    for window in [0, 120] {
        let (server, _folder) = keeping(|config| {
            config.recovery.window = Duration::from_secs(window);
            config.socketio.max_queue_bytes = ByteSize::kib(64);
            config.backlog.max_bytes = ByteSize::mib(8);
        })
        .await;
        for dialect in DIALECTS {
            let uid = format!("{dialect:?}");
            let large = "x".repeat(70_000);
            for content in ["small", &large, "small", &large, "last"] {
                assert_eq!(keep(&server, &uid, content).await, "offline");
            }
            let mut page = comes(&server, dialect, &uid).await;
            for content in ["small", &large, "small", &large, "last"] {
                page.receives(content).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_did_not_come_back_after_a_stop_repeats_nothing_after_the_next() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let store = format!("store.url={}", url_in(&folder));
    let settings = [store.as_str(), "recovery.window=2m", "presence.interval=1h"];
    let mut server = Process::start(ANY, ANY, &settings).await;
    let mut tabs = [
        page_on(&server, "alice").await,
        page_on(&server, "alice").await,
    ];
    assert_eq!(push(&server, "alice", "before").await, "ok");
    for tab in &mut tabs {
        tab.receives("before").await;
        // What it says acknowledges at once what it has got; else its kernel may take its time.
        assert!(tab.is_heard().await);
    }
    // One that is dropped would have broken, and would get again what it has just got.
    let mut kept = Vec::new();
    for message in ["between the stops", "after them"] {
        server.signal("TERM").await;
        assert_eq!(server.ends().await.code(), Some(0));
        server = Process::start(ANY, ANY, &settings).await;
        let mut tab = page_on(&server, "alice").await;
        assert_eq!(push(&server, "alice", message).await, "ok");
        tab.receives(message).await;
        assert!(tab.is_heard().await);
        kept.push(tab);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_that_a_login_is_told_comes_before_every_message_after_it() {
    for dialect in DIALECTS {
        let (server, _folder) = keeping(|config| {
            config.recovery.window = Duration::from_secs(120);
        })
        .await;
        let mut page = server.connect_by(dialect).await;
        server.push_to_everyone("since the connect").await;
        let answer = logs_in_with(&mut page, json!({"uid": "alice"})).await;
        let (heard, id) = next_numbered(&mut page).await.expect("it is connected");
        assert_eq!(heard, "since the connect");
        assert!(answer["since"].as_u64() < Some(id), "{answer}, then {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_cut_while_it_gets_what_waited_gets_the_rest_and_confirms_none_of_it() {
    let (earlier, folder) = keeping(|_| {}).await;
    for content in ["one", "two"] {
        assert_eq!(keep(&earlier, "alice", content).await, "offline");
    }
    earlier.stops().await;
    let server = Server::open_with(|config| {
        config.store.url = url_in(&folder).as_str().into();
        config.recovery.window = Duration::from_secs(120);
        config.admin.listen = FREE;
    })
    .await;
    // The log has this one, and it is older than the logins.
    assert_eq!(keep(&server, "alice", "three").await, "offline");
    let mut page = server.connect().await;
    let answer = logs_in_with(&mut page, json!({"uid": "alice"})).await;
    // It has got none of them when it is cut, and then the same again.
    for _ in 0..2 {
        let mut page = server.connect().await;
        let login = json!({"uid": "alice", "since": answer["since"]});
        logs_in_with(&mut page, login).await;
        for content in ["one", "two", "three"] {
            let (heard, _) = next_numbered(&mut page).await.expect("it waits");
            assert_eq!(heard, content);
        }
        // Confirmations go the same way, and before this one.
        assert_eq!(keep(&server, "bob", "marker").await, "offline");
    }
    assert_eq!(waiting(&server).await, 5);
}
