//! Pages whose connection ends, and that come back: what they missed, in order, each message once.

use std::time::Duration;

use crate::harness::Server;
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::recovery::{
    breaks, comes_back, first_after_the_break, recovering, recovering_with, server_is_left,
};
use crate::stall::narrow_connection;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_back_gets_what_it_missed_in_order_before_anything_newer() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = recovering();
        let mut page = server.login_by(dialect, "alice").await;
        assert_eq!(server.push("alice", "heard").await, "ok");
        page.receives("heard").await;
        page.leaves().await;
        server_is_left(&server).await;
        assert_eq!(server.push("alice", "one").await, "offline");
        server.push_to_everyone("two").await;
        assert_eq!(server.push("bob", "for another").await, "offline");
        assert_eq!(
            server
                .push_form("type=publish&to[]=bob&to[]=alice&content=three")
                .await,
            "offline"
        );
        let mut page = comes_back(&server, dialect, "alice").await;
        assert_eq!(
            server.push_form("type=publish&to=&content=four").await,
            "ok"
        );
        for content in ["one", "two", "three", "four"] {
            page.receives(content).await;
        }
        server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_has_heard_before_its_goodbye_is_not_repeated() {
    for dialect in DIALECTS {
        let server = recovering();
        let mut page = server.login_by(dialect, "alice").await;
        for n in 0..50 {
            server.push("alice", &n.to_string()).await;
        }
        for n in 0..50 {
            page.receives(&n.to_string()).await;
        }
        if dialect.polling {
            // That it has the last answer is known once it polls again.
            server.push("alice", "50").await;
            page.receives("50").await;
            assert!(page.is_heard().await);
        }
        page.leaves().await;
        server_is_left(&server).await;
        let mut page = comes_back(&server, dialect, "alice").await;
        server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_connection_had_not_delivered_comes_again() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = recovering();
        let tcp = narrow_connection(server.socketio()).await;
        let mut page = Page::open(tcp, dialect).await;
        page.joins().await;
        page.logs_in("alice").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(2000));
        // More than its kernel takes while it does not read.
        for n in 0..200 {
            assert_eq!(server.push("alice", &content(n)).await, "ok");
        }
        let mut next = 0;
        while next < 5 {
            page.receives(&content(next)).await;
            next += 1;
        }
        breaks(&server, page, "alice").await;
        let mut page = comes_back(&server, dialect, "alice").await;
        let first = page.next_message().await;
        let at: usize = first
            .split_once(' ')
            .expect("a number")
            .0
            .parse()
            .expect("a number");
        // What its kernel had may have been read, or not.
        assert!(at < 150, "only {at} and later came again");
        for n in at + 1..200 {
            page.receives(&content(n)).await;
        }
        server.push_to_everyone("now").await;
        assert_eq!(first_after_the_break(&mut page).await, "now");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fell_silent_gets_all_since_it_last_answered() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET, EIO4_POLLING] {
        let server = recovering_with(|config| {
            config.socketio.ping_interval = Duration::from_millis(400);
            config.socketio.ping_timeout = Duration::from_millis(800);
        });
        let page = server.login_by(dialect, "alice").await;
        // Its kernel takes them; the page sleeps.
        for content in ["one", "two", "three"] {
            assert_eq!(server.push("alice", content).await, "ok");
        }
        server_is_left(&server).await;
        let mut again = comes_back(&server, dialect, "alice").await;
        for content in ["one", "two", "three"] {
            again.receives(content).await;
        }
        server.nothing_else_comes_to([&mut again]).await;
        drop(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_keep_up_is_cut_and_then_has_every_message() {
    let server = recovering_with(|config| {
        config.socketio.max_queue = 64;
    });
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let tcp = narrow_connection(server.socketio()).await;
        let mut slow = Page::open(tcp, dialect).await;
        slow.joins().await;
        slow.logs_in("slow").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(5000));
        for n in 0..500 {
            server.push_to_everyone(&content(n)).await;
        }
        let mut next = 0;
        while let Some((event, message)) = slow.next_event().await {
            if event == "new_msg" {
                assert_eq!(message, content(next), "a gap");
                next += 1;
            }
        }
        assert!(next < 500, "it was never cut");
        let mut slow = comes_back(&server, dialect, "slow").await;
        let first = slow.next_message().await;
        let at: usize = first
            .split_once(' ')
            .expect("a number")
            .0
            .parse()
            .expect("a number");
        assert!(at <= next, "{next} to {at} are lost");
        for n in at + 1..500 {
            slow.receives(&content(n)).await;
        }
        server.nothing_else_comes_to([&mut slow]).await;
        slow.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_queue_holds_is_caught_up_with() {
    let server = recovering_with(|config| {
        config.socketio.max_queue = 64;
    });
    for dialect in DIALECTS {
        let page = server.login_by(dialect, "alice").await;
        page.leaves().await;
        server_is_left(&server).await;
        for n in 0..1000 {
            server.push("alice", &n.to_string()).await;
        }
        let mut page = comes_back(&server, dialect, "alice").await;
        for n in 0..1000 {
            page.receives(&n.to_string()).await;
        }
        server.nothing_else_comes_to([&mut page]).await;
        page.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_everyone_does_not_overtake_what_a_page_is_about_to_get() {
    let server = recovering();
    for dialect in DIALECTS {
        let page = server.login_by(dialect, "alice").await;
        page.leaves().await;
        server_is_left(&server).await;
        assert_eq!(server.push("alice", "first").await, "offline");
        let mut page = server.connect_by(dialect).await;
        server.push_to_everyone("second").await;
        page.logs_in_with(r#""alice""#).await;
        page.receives("first").await;
        page.receives("second").await;
        server.nothing_else_comes_to([&mut page]).await;
        page.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_log_in_hears_what_is_for_everyone_once() {
    let server = recovering();
    let mut guest = server.connect().await;
    for n in 0..5 {
        server.push_to_everyone(&n.to_string()).await;
    }
    for n in 0..5 {
        guest.receives(&n.to_string()).await;
    }
    server.push_to_everyone("live").await;
    guest.receives("live").await;
    // What it has heard as a guest it does not get again when it logs in.
    guest.logs_in_with(r#""alice""#).await;
    server.nothing_else_comes_to([&mut guest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_of_the_same_user_does_not_keep_what_went_into_it() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET, EIO4_POLLING] {
        let server = recovering();
        let tcp = narrow_connection(server.socketio()).await;
        let mut dead = Page::open(tcp, dialect).await;
        dead.joins().await;
        dead.logs_in("alice").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(20_000));
        for n in 0..20 {
            assert_eq!(server.push("alice", &content(n)).await, "ok");
        }
        // It does not read, and has not said goodbye: nobody knows yet that it is gone.
        let mut again = comes_back(&server, dialect, "alice").await;
        let first = again.next_message().await;
        let at: usize = first
            .split_once(' ')
            .expect("a number")
            .0
            .parse()
            .expect("a number");
        for n in at + 1..20 {
            again.receives(&content(n)).await;
        }
        server.nothing_else_comes_to([&mut again]).await;
        drop(dead);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_zero_is_the_original() {
    let server = Server::start();
    let mut page = server.login("alice").await;
    page.leaves().await;
    server.waits_until_offline("alice").await;
    server.push_to_everyone("lost").await;
    page = comes_back(&server, EIO4_WEBSOCKET, "alice").await;
    server.nothing_else_comes_to([&mut page]).await;
}
