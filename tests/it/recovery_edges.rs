//! What pages miss at the edges of the window, of an answer and of a queue.

use std::time::{Duration, Instant};

use crate::harness::eventually;
use crate::harness::page::{
    DIALECTS, EIO3_POLLING, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page,
};
use crate::harness::recovery::{comes_back, recovering_with, server_is_left};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_leaves_after_a_long_quiet_gets_what_came_meanwhile() {
    let window = Duration::from_secs(2);
    let server = recovering_with(|config| config.recovery.window = window);
    let page = server.login_by(EIO4_WEBSOCKET, "alice").await;
    let since = Instant::now();
    eventually("the window to pass without a push", async || {
        since.elapsed() > window
    })
    .await;
    page.leaves().await;
    server_is_left(&server).await;
    assert_eq!(server.push("alice", "meanwhile").await, "offline");
    let mut page = comes_back(&server, EIO4_WEBSOCKET, "alice").await;
    page.receives("meanwhile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_polls_and_is_cut_gets_again_the_answer_that_it_never_read() {
    for dialect in [EIO3_POLLING, EIO4_POLLING] {
        let server = recovering_with(|config| config.socketio.max_queue = 32);
        let mut page = server.login_by(dialect, "alice").await;
        page.polls_without_reading().await;
        assert_eq!(server.push("alice", "0").await, "ok");
        page.resets();
        let mut pushed = 1;
        while server.pages().await > 0 {
            server.push("alice", &pushed.to_string()).await;
            pushed += 1;
        }
        let mut page = comes_back(&server, dialect, "alice").await;
        for number in 0..pushed {
            page.receives(&number.to_string()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_on_the_wire_than_in_memory_is_caught_up_with() {
    for dialect in DIALECTS {
        let server = recovering_with(|config| {
            config.socketio.max_queue_bytes = bytesize::ByteSize::kib(64);
        });
        let page = server.login_by(dialect, "alice").await;
        page.leaves().await;
        server_is_left(&server).await;
        // Four bytes a character, and twelve in a packet.
        let content = |n: usize| format!("{n} {}", "😀".repeat(100));
        for n in 0..200 {
            server.push("alice", &content(n)).await;
        }
        let mut page = comes_back(&server, dialect, "alice").await;
        for n in 0..200 {
            page.receives(&content(n)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_leaves_the_namespace_and_joins_again_on_one_connection_is_served_on() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET, EIO4_POLLING] {
        let server = recovering_with(|_| {});
        let mut page = server.login_by(dialect, "alice").await;
        for round in 0..3 {
            for n in 0..40 {
                let content = format!("{round}.{n}");
                assert_eq!(server.push("alice", &content).await, "ok");
                page.receives(&content).await;
            }
            page.sends("41").await;
            server_is_left(&server).await;
            joins_again(&mut page).await;
            page.logs_in_with(r#""alice""#).await;
            eventually("the login", async || server.pages().await == 1).await;
        }
        server.push("alice", "the last").await;
        page.receives("the last").await;
        server.nothing_else_comes_to([&mut page]).await;
    }
}

/// Asks to be let in until it is: what asks in the moment that ends its first stay is not heard, and who
/// asks for what there is not is answered at once.
async fn joins_again(page: &mut Page) {
    let mut is_in = false;
    while !is_in {
        page.sends_together(&["40", "40/nowhere,"]).await;
        loop {
            let packet = page.next_packet().await.expect("it is still connected");
            if packet.starts_with("44/nowhere") {
                break;
            }
            is_in |= packet.starts_with("40");
        }
    }
}
