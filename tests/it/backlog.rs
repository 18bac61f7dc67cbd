//! Pushes with `store=1`: they wait on disk until a page of their user has them for certain.

use std::time::{Duration, Instant};

use bytesize::ByteSize;
use campanile::config::Config;
use serde_json::json;

use crate::harness::figures::Figures;
use crate::harness::keeping::{
    comes, confirms, gets, is_left, keep, keep_and_see, keeping, logs_in_with, next_numbered,
    url_in, waiting,
};
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET};
use crate::harness::{FREE, Server, eventually};

const MULTIPART: &str = "multipart/form-data; boundary=b0";

/// A push in a multipart body.
fn parts(fields: &[(&str, &str)]) -> String {
    let parts = fields.iter().map(|(name, value)| {
        format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    });
    parts.collect::<String>() + "--b0--\r\n"
}

async fn counted(server: &Server, what: &str) -> u64 {
    let name = format!("campanile_backlog_{what}_total");
    Figures::of(server).await.value(&name) as u64
}

fn remembers(config: &mut Config) {
    config.recovery.window = Duration::from_secs(120);
}

fn often(config: &mut Config) {
    config.socketio.ping_interval = Duration::from_millis(100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_stored_in_any_encoding_comes_at_the_next_login_in_order() {
    let (server, _folder) = keeping(|_| {}).await;
    let query = server
        .get("type=publish&to=alice&content=one&store=1")
        .await;
    assert_eq!((query.status, query.text().as_str()), (200, "offline"));
    let form = keep_and_see(&server, "alice", "two").await;
    assert_eq!((form.status, form.text().as_str()), (200, "offline"));
    let fields = [
        ("type", "publish"),
        ("to", "alice"),
        ("content", "three"),
        ("store", "1"),
    ];
    let multipart = server.post(MULTIPART, parts(&fields).as_bytes()).await;
    assert_eq!(multipart.text(), "offline");
    for (content, store) in [("four", "1"), ("five", r#""1""#)] {
        let body =
            format!(r#"{{"type":"publish","to":"alice","content":"{content}","store":{store}}}"#);
        let json = server.post("application/json", body.as_bytes()).await;
        assert_eq!(json.text(), "offline");
    }
    assert_eq!(server.push("alice", "not stored").await, "offline");
    let unstored = "type=publish&to=alice&content=no&store=0";
    assert_eq!(server.push_form(unstored).await, "offline");
    assert_eq!(waiting(&server).await, 5);
    let mut other = comes(&server, EIO4_WEBSOCKET, "bob").await;
    let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
    for content in ["one", "two", "three", "four", "five"] {
        page.receives(content).await;
    }
    server.nothing_else_comes_to([&mut page, &mut other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_comes_again_until_a_heartbeat_confirms_it_and_then_no_more() {
    for (dialect, window) in DIALECTS.into_iter().flat_map(|d| [(d, 0), (d, 120)]) {
        let (server, _folder) = keeping(|config| {
            config.recovery.window = Duration::from_secs(window);
            // The pages of this one answer none before they are told to.
            config.socketio.ping_interval = Duration::from_millis(300);
        })
        .await;
        for content in ["one", "two"] {
            assert_eq!(keep(&server, "alice", content).await, "offline");
        }
        if !dialect.polling {
            let first = comes(&server, dialect, "alice").await;
            // It breaks before it has answered anything.
            first.resets();
            is_left(&server).await;
            assert_eq!(waiting(&server).await, 2);
        }
        let mut page = comes(&server, dialect, "alice").await;
        gets(&mut page, ["one", "two"]).await;
        assert_eq!(keep(&server, "alice", "three").await, "ok");
        gets(&mut page, ["three"]).await;
        confirms(&server, &mut page, 0).await;
        page.leaves().await;
        is_left(&server).await;
        let mut page = comes(&server, dialect, "alice").await;
        server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_leaves_before_a_heartbeat_gets_all_of_it_again() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        for window in [0, 120] {
            let change = |config: &mut Config| {
                config.recovery.window = Duration::from_secs(window);
            };
            let (server, _folder) = keeping(change).await;
            assert_eq!(keep(&server, "alice", "one").await, "offline");
            for _ in 0..3 {
                let mut page = comes(&server, dialect, "alice").await;
                page.receives("one").await;
                server.nothing_else_comes_to([&mut page]).await;
                page.leaves().await;
                is_left(&server).await;
            }
            assert_eq!(waiting(&server).await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_poll_is_confirmed_by_the_poll_after_it() {
    for dialect in DIALECTS.into_iter().filter(|dialect| dialect.polling) {
        let (server, _folder) = keeping(|_| {}).await;
        assert_eq!(keep(&server, "alice", "one").await, "offline");
        let mut page = comes(&server, dialect, "alice").await;
        page.receives("one").await;
        // It has not polled again.
        assert_eq!(waiting(&server).await, 1);
        let mut again = comes(&server, EIO4_WEBSOCKET, "alice").await;
        again.receives("one").await;
        confirms(&server, &mut page, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_several_users_waits_for_each_of_them() {
    let (server, _folder) = keeping(often).await;
    let form = "type=publish&store=1&to[]=alice&to[]=bob&to[]=alice&content=both";
    assert_eq!(server.push_form(form).await, "offline");
    assert_eq!(waiting(&server).await, 2);
    let mut alice = comes(&server, EIO4_WEBSOCKET, "alice").await;
    gets(&mut alice, ["both"]).await;
    confirms(&server, &mut alice, 1).await;
    let mut carol = comes(&server, EIO4_WEBSOCKET, "carol").await;
    let mut bob = comes(&server, EIO4_WEBSOCKET, "bob").await;
    gets(&mut bob, ["both"]).await;
    let pages = [&mut alice, &mut bob, &mut carol];
    server.nothing_else_comes_to(pages).await;
    confirms(&server, &mut bob, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_everyone_comes_once_to_each_who_logs_in_later() {
    for window in [0, 120] {
        let (server, _folder) = keeping(|config| {
            config.recovery.window = Duration::from_secs(window);
            often(config);
        })
        .await;
        let mut here = comes(&server, EIO4_WEBSOCKET, "here").await;
        assert!(here.is_heard().await);
        assert_eq!(keep(&server, "alice", "before").await, "offline");
        assert_eq!(keep(&server, "", "all").await, "ok");
        assert_eq!(keep(&server, "alice", "after").await, "offline");
        assert_eq!(waiting(&server).await, 3);
        gets(&mut here, ["all"]).await;
        for (uid, left) in [("bob", 3), ("alice", 1), ("carol", 1)] {
            let mut page = comes(&server, EIO4_WEBSOCKET, uid).await;
            let own: &[_] = match uid {
                "alice" => &["before", "all", "after"],
                _ => &["all"],
            };
            gets(&mut page, own).await;
            // How far a user is with what is for everyone no figure tells; this one's own does.
            keep(&server, uid, "own").await;
            gets(&mut page, ["own"]).await;
            confirms(&server, &mut page, left).await;
            page.leaves().await;
            eventually("it to be gone", async || server.pages().await == 1).await;
            let mut page = comes(&server, EIO4_WEBSOCKET, uid).await;
            server.nothing_else_comes_to([&mut page, &mut here]).await;
            page.leaves().await;
            eventually("it to be gone", async || server.pages().await == 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_go_when_too_many_wait_and_that_is_counted() {
    let (server, _folder) = keeping(|config| config.backlog.max_messages = 10).await;
    for n in 0..25 {
        assert_eq!(keep(&server, "alice", &n.to_string()).await, "offline");
        assert_eq!(keep(&server, "bob", "his own").await, "offline");
        if n == 4 {
            // Each has its own bounds.
            assert_eq!(counted(&server, "dropped").await, 0);
        }
    }
    eventually("20 to wait", async || waiting(&server).await == 20).await;
    assert_eq!(counted(&server, "dropped").await, 30);
    assert_eq!(counted(&server, "kept").await, 50);
    let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
    for n in 15..25 {
        page.receives(&n.to_string()).await;
    }
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_go_when_too_many_bytes_wait_but_never_the_newest() {
    let change = |config: &mut Config| config.backlog.max_bytes = ByteSize::kib(10);
    let (server, _folder) = keeping(change).await;
    let content = |n: usize| format!("{n} {}", "x".repeat(3000));
    for n in 0..5 {
        assert_eq!(keep(&server, "alice", &content(n)).await, "offline");
    }
    eventually("3 to wait", async || waiting(&server).await == 3).await;
    assert_eq!(counted(&server, "dropped").await, 2);
    let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
    for n in 2..5 {
        page.receives(&content(n)).await;
    }
    server.nothing_else_comes_to([&mut page]).await;
    let large = "y".repeat(20_000);
    assert_eq!(keep(&server, "bob", "small").await, "offline");
    assert_eq!(keep(&server, "bob", &large).await, "offline");
    eventually("4 to wait", async || waiting(&server).await == 4).await;
    let mut page = comes(&server, EIO4_WEBSOCKET, "bob").await;
    page.receives(&large).await;
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_waited_for_too_long_comes_no_more_and_is_tidied_up() {
    let ttl = Duration::from_secs(1);
    let (server, folder) = keeping(|config| config.backlog.ttl = ttl).await;
    assert_eq!(keep(&server, "alice", "old").await, "offline");
    assert_eq!(keep(&server, "", "old").await, "ok");
    let pushed = Instant::now();
    eventually("it to be old", async || pushed.elapsed() > ttl * 3 / 2).await;
    assert_eq!(keep(&server, "alice", "new").await, "offline");
    let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
    page.receives("new").await;
    server.nothing_else_comes_to([&mut page]).await;
    page.leaves().await;
    server.stops().await;
    // A server tidies up when it starts.
    let next = Server::open_with(|config| {
        config.store.url = url_in(&folder).as_str().into();
        config.backlog.ttl = ttl;
        config.admin.listen = FREE;
    })
    .await;
    eventually("the old to go", async || {
        let figures = Figures::of(&next).await;
        figures.value("campanile_backlog_expired_total") >= 2.0 && waiting(&next).await <= 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tab_that_logs_in_before_it_is_confirmed_gets_it_and_hears_on() {
    let (server, _folder) = keeping(remembers).await;
    assert_eq!(keep(&server, "alice", "one").await, "offline");
    let mut first = comes(&server, EIO4_WEBSOCKET, "alice").await;
    first.receives("one").await;
    let mut second = comes(&server, EIO3_WEBSOCKET, "alice").await;
    second.receives("one").await;
    for content in ["two", "three"] {
        assert_eq!(keep(&server, "alice", content).await, "ok");
        first.receives(content).await;
        second.receives(content).await;
    }
    let mut third = comes(&server, EIO4_WEBSOCKET, "alice").await;
    for content in ["one", "two", "three"] {
        third.receives(content).await;
    }
    let pages = [&mut first, &mut second, &mut third];
    server.nothing_else_comes_to(pages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_since_gets_exactly_what_came_after_stored_or_not() {
    for dialect in DIALECTS {
        let (server, _folder) = keeping(remembers).await;
        let mut page = server.connect_by(dialect).await;
        assert_eq!(keep(&server, "alice", "0").await, "offline");
        let answer = logs_in_with(&mut page, json!({"uid": "alice"})).await;
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(next_numbered(&mut page).await.expect("it waits").0, "0");
        let mut numbers = Vec::new();
        for n in 1..7 {
            let content = n.to_string();
            match n % 3 {
                0 => server.push_to_everyone(&content).await,
                1 => assert_eq!(keep(&server, "alice", &content).await, "ok"),
                _ => assert_eq!(server.push("alice", &content).await, "ok"),
            }
            let (heard, id) = next_numbered(&mut page).await.expect("it is pushed");
            assert_eq!(heard, content);
            numbers.push((content, id));
        }
        page.leaves().await;
        is_left(&server).await;
        for at in 0..6 {
            let mut page = server.connect_by(dialect).await;
            let login = json!({"uid": "alice", "since": numbers[at].1});
            let answer = logs_in_with(&mut page, login).await;
            assert_eq!(answer["recovered"], true, "{answer}");
            for expected in &numbers[at + 1..] {
                assert_eq!(next_numbered(&mut page).await.as_ref(), Some(expected));
            }
            let marker = format!("marker {at}");
            assert_eq!(keep(&server, "alice", &marker).await, "ok");
            let (heard, id) = next_numbered(&mut page).await.expect("it is pushed");
            assert_eq!(heard, marker);
            numbers.push((marker, id));
            page.leaves().await;
            is_left(&server).await;
        }
    }
}
