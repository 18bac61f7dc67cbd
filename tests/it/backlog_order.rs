//! Pushes that wait on disk, many of them, large ones, and among those that do not: the order in which
//! pages get them.

use std::time::Duration;

use bytesize::ByteSize;
use campanile::config::Config;

use crate::harness::keeping::{comes, confirms, gets, is_left, keep, keeping, waiting};
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET};
use crate::harness::within;

fn remembers(config: &mut Config) {
    config.recovery.window = Duration::from_secs(120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_back_gets_stored_and_other_messages_in_the_order_of_acceptance() {
    for dialect in DIALECTS {
        let (server, _folder) = keeping(remembers).await;
        let page = server.login_by(dialect, "alice").await;
        page.leaves().await;
        is_left(&server).await;
        for n in 0..40 {
            let content = n.to_string();
            match n % 4 {
                0 => assert_eq!(keep(&server, "alice", &content).await, "offline"),
                1 => assert_eq!(server.push("alice", &content).await, "offline"),
                2 => assert_eq!(keep(&server, "", &content).await, "ok"),
                _ => server.push_to_everyone(&content).await,
            }
            assert_eq!(keep(&server, "bob", "another's").await, "offline");
        }
        let mut page = comes(&server, dialect, "alice").await;
        for n in 0..40 {
            page.receives(&n.to_string()).await;
        }
        server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_go_on_during_the_login_come_in_order_after_what_waited() {
    for window in [0, 120] {
        let (server, _folder) = keeping(|config| {
            config.recovery.window = Duration::from_secs(window);
            config.socketio.max_queue = 64;
        })
        .await;
        for round in 0..5 {
            let uid = format!("user {round}");
            for n in 0..200 {
                assert_eq!(keep(&server, &uid, &n.to_string()).await, "offline");
            }
            let pushing = async {
                for n in 200..300 {
                    keep(&server, &uid, &n.to_string()).await;
                }
            };
            let dialect = DIALECTS[round % DIALECTS.len()];
            let reading = async {
                let mut page = comes(&server, dialect, &uid).await;
                for n in 0..300 {
                    page.receives(&n.to_string()).await;
                }
                page
            };
            let ((), mut page) = tokio::join!(pushing, reading);
            server.nothing_else_comes_to([&mut page]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_queue_holds_comes_in_order_without_a_cut() {
    const MANY: usize = 3000;
    let (server, _folder) = keeping(|config| {
        config.socketio.max_queue = 64;
        config.backlog.max_messages = 10_000;
        config.socketio.ping_interval = Duration::from_millis(500);
    })
    .await;
    let dialects = [EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET];
    for n in 0..MANY {
        let form = "type=publish&store=1&to[]=0&to[]=1&to[]=2";
        let word = server.push_form(&format!("{form}&content={n}")).await;
        assert_eq!(word, "offline");
    }
    for (uid, dialect) in dialects.into_iter().enumerate() {
        let mut page = comes(&server, dialect, &uid.to_string()).await;
        let numbers: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
        for some in numbers.chunks(500) {
            gets(&mut page, some).await;
        }
        server.nothing_else_comes_to([&mut page]).await;
        let left = (dialects.len() - uid - 1) * MANY;
        confirms(&server, &mut page, left as u64).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_mebibyte_and_any_script_arrive_whole() {
    let (server, _folder) = keeping(|config| {
        config.backlog.max_bytes = ByteSize::mib(8);
    })
    .await;
    let large = "x".repeat(1 << 20);
    let scripts = "你好 — ħéllo 😀 \u{2028} \u{0}end \"quoted\" \\ \u{7f}";
    let expected = scripts.replace('"', "&quot;");
    for dialect in DIALECTS {
        let uid = format!("用户 {dialect:?}");
        for content in ["small", &large, scripts, &large, "last"] {
            assert_eq!(keep(&server, &uid, content).await, "offline");
        }
        let mut page = comes(&server, dialect, &uid).await;
        for content in ["small", &large, &expected, &large, "last"] {
            let got = page.next_message().await;
            assert_eq!(got.len(), content.len());
            assert_eq!(got, content);
        }
        server.nothing_else_comes_to([&mut page]).await;
        page.leaves().await;
        is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_backends_that_store_at_once_are_each_heard_in_order() {
    let (server, _folder) = keeping(|config| config.backlog.max_messages = 10_000).await;
    let backend = |name: usize| {
        let server = &server;
        async move {
            for n in 0..50 {
                let content = format!("{name} {n}");
                assert_eq!(keep(server, "alice", &content).await, "offline");
            }
        }
    };
    let all = futures_util::future::join_all((0..8).map(backend));
    within("the backends", all).await;
    assert_eq!(waiting(&server).await, 400);
    let mut page = comes(&server, EIO4_WEBSOCKET, "alice").await;
    let mut next = [0; 8];
    for _ in 0..400 {
        let message = page.next_message().await;
        let (name, n) = message.split_once(' ').expect("two words");
        let name: usize = name.parse().expect("a number");
        assert_eq!(n, next[name].to_string());
        next[name] += 1;
    }
    server.nothing_else_comes_to([&mut page]).await;
}
