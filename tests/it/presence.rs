//! How many are online: what pages are told, and that it is true.

use std::time::Duration;

use crate::harness::Server;
use crate::harness::page::{DIALECTS, Page, count};

const TICK: Duration = Duration::from_millis(20);

fn counting() -> Server {
    Server::start_with(|config| config.presence.interval = TICK)
}

/// A page that logs in and has not looked at any count yet.
async fn logs_in_unseen(server: &Server, uid: &str) -> Page {
    let mut page = server.connect().await;
    page.logs_in_with(&format!("\"{uid}\"")).await;
    page
}

/// The server may still be busy with the connect when the login comes.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_greeted_however_early_it_logs_in() {
    let server = Server::start();
    for n in 0..1000 {
        let mut page = server.connect_by(DIALECTS[n % 2]).await;
        page.logs_in_with(&n.to_string()).await;
        let greeting = tokio::time::timeout(Duration::from_secs(3), page.next_count()).await;
        assert!(greeting.is_ok(), "page {n} was not greeted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_reads_as_the_originals_byte_for_byte() {
    let server = counting();
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        page.logs_in_with(r#""alice""#).await;
        loop {
            let (event, text) = page.next_event().await.expect("a count");
            assert_eq!(event, "update_online_count");
            if text == "当前<b>1</b>人在线，共打开<b>1</b>个页面" {
                break;
            }
        }
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_can_read_otherwise() {
    let server = Server::start_with(|config| {
        config.presence.text = "{pages} pages, {users} users, {pages} {other}".to_owned();
    });
    let mut page = server.connect().await;
    page.logs_in_with("1").await;
    assert_eq!(page.next_count().await, "0 pages, 0 users, 0 {other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_greeted_with_the_count_that_was_announced_last() {
    // Nothing is announced within this test: the last announced count stays what it was.
    let quiet = Server::start();
    for n in 0..3 {
        let mut page = quiet.connect().await;
        page.logs_in_with(&n.to_string()).await;
        assert_eq!(page.next_count().await, count(0, 0));
        page.leaves().await;
    }
    let server = counting();
    let mut first = logs_in_unseen(&server, "first").await;
    first.waits_for_count(1, 1).await;
    let mut second = logs_in_unseen(&server, "second").await;
    // Either the greeting, or an announcement that overtook it.
    let greeting = second.next_count().await;
    assert!(
        greeting == count(1, 1) || greeting == count(2, 2),
        "{greeting}"
    );
    first.waits_for_count(2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_have_not_logged_in_are_told_and_not_counted() {
    let server = counting();
    let mut watchers = Vec::new();
    for dialect in DIALECTS {
        watchers.push(server.connect_by(dialect).await);
    }
    let page = server.login("alice").await;
    for watcher in &mut watchers {
        watcher.waits_for_count(1, 1).await;
    }
    page.leaves().await;
    for watcher in &mut watchers {
        watcher.waits_for_count(0, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_one_user_count_as_pages_and_as_one_user() {
    let server = counting();
    let mut watcher = server.connect().await;
    let mut pages = Vec::new();
    for n in 1..=3 {
        pages.push(server.login("alice").await);
        watcher.waits_for_count(1, n).await;
    }
    let bob = server.login("bob").await;
    watcher.waits_for_count(2, 4).await;
    for n in [3, 2] {
        pages.pop().expect("there are three").leaves().await;
        watcher.waits_for_count(2, n).await;
    }
    pages.pop().expect("one is left").leaves().await;
    watcher.waits_for_count(1, 1).await;
    bob.leaves().await;
    watcher.waits_for_count(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_logins_are_not_counted() {
    let server = counting();
    let mut watcher = server.connect().await;
    let mut page = server.login("alice").await;
    watcher.waits_for_count(1, 1).await;
    for uid in ["1", r#""alice""#, "null", r#""bob""#] {
        page.logs_in_with(uid).await;
    }
    assert!(page.is_heard().await);
    let other = server.login("carol").await;
    assert_eq!(watcher.next_count().await, count(2, 2));
    page.leaves().await;
    other.leaves().await;
    watcher.waits_for_count(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_and_goes_within_one_tick_is_not_announced() {
    let tick = Duration::from_millis(1500);
    let server = Server::start_with(|config| config.presence.interval = tick);
    let mut watcher = server.connect().await;
    let _first = server.login("first").await;
    // An announcement comes with a tick, so a whole interval is left from here.
    watcher.waits_for_count(1, 1).await;
    for dialect in DIALECTS {
        server.login_by(dialect, "fleeting").await.leaves().await;
        server.waits_until_offline("fleeting").await;
    }
    let silence = tokio::time::timeout(3 * tick, watcher.next_event()).await;
    assert!(silence.is_err(), "announced: {silence:?}");
    server.nothing_else_comes_to([&mut watcher]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_offline_as_soon_as_the_last_page_has_left() {
    let server = Server::start();
    for dialect in DIALECTS {
        let first = server.login_by(dialect, "alice").await;
        let second = server.login_by(dialect, "alice").await;
        first.leaves().await;
        assert_eq!(server.push("alice", "one is left").await, "ok");
        second.leaves().await;
        let offline = server.waits_until_offline("alice");
        let offline = tokio::time::timeout(Duration::from_secs(1), offline).await;
        assert!(offline.is_ok(), "{dialect:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_disconnects_its_socket_is_offline_though_its_transport_is_open() {
    let server = Server::start();
    for dialect in DIALECTS {
        let mut page = server.login_by(dialect, "alice").await;
        page.tries_to_send(&["41"]).await;
        server.waits_until_offline("alice").await;
    }
}

/// One visit, of a kind that depends on its number.
async fn visits(server: &Server, n: usize) {
    let dialect = DIALECTS[n % DIALECTS.len()];
    let mut page: Page = server.connect_by(dialect).await;
    let uid = format!("\"user {}\"", n % 7);
    if !n.is_multiple_of(5) {
        page.logs_in_with(&uid).await;
    }
    if n.is_multiple_of(3) {
        page.logs_in_with(r#""somebody else""#).await;
    }
    match n % 4 {
        0 => page.leaves().await,
        1 => page.resets(),
        2 => drop(page),
        _ => {
            page.is_heard().await;
            page.resets();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_return_to_zero_after_two_thousand_visits_of_every_kind() {
    let server = std::sync::Arc::new(Server::start_with(|config| {
        config.presence.interval = TICK;
        // A page that polled and left without a word is noticed by this.
        config.socketio.ping_interval = Duration::from_millis(500);
        config.socketio.ping_timeout = Duration::from_millis(1500);
    }));
    let visitors = (0..20).map(|visitor| {
        let server = std::sync::Arc::clone(&server);
        tokio::spawn(async move {
            for n in 0..100 {
                visits(&server, visitor * 7 + n).await;
            }
        })
    });
    for visitor in visitors.collect::<Vec<_>>() {
        visitor.await.expect("visits succeed");
    }
    for n in 0..7 {
        server.waits_until_offline(&format!("user {n}")).await;
    }
    server.waits_until_offline("somebody else").await;
    // The count itself agrees: the only page that is there now is the only one in it.
    let mut last = logs_in_unseen(&server, "last").await;
    last.waits_for_count(1, 1).await;
}
