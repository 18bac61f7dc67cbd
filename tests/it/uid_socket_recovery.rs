//! The uid websocket: what a page gets that comes back, and what waited on disk for its user.

use std::time::Duration;

use crate::harness::page::EIO4_WEBSOCKET;
use crate::harness::raw::{CLOSE, RawPage, frame};
use crate::harness::{FREE, Server, eventually, within};
use crate::stall::narrow_connection;

async fn start() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("store.db");
    let server = Server::open_with(|config| {
        config.uid_socket.listen = FREE;
        config.web.listen = FREE;
        config.recovery.window = Duration::from_secs(120);
        config.websocket.max_queue = 64;
        config.websocket.ping_interval = Duration::from_millis(300);
        config.store.url = format!("sqlite:{}", file.display()).as_str().into();
    })
    .await;
    (server, folder)
}

async fn page(server: &Server, uid: &str) -> RawPage {
    RawPage::saying(server.uid_socket(), uid).await
}

async fn is_left(server: &Server) {
    eventually("the pages to be gone", async || server.pages().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_back_gets_what_it_missed_in_order_and_once() {
    let (server, _folder) = start().await;
    let mut alice = page(&server, "alice").await;
    server.push("alice", "heard").await;
    alice.receives("heard").await;
    alice.sends_frames([frame(CLOSE, b"")]).await;
    alice.is_closed_with(1000).await;
    is_left(&server).await;
    assert_eq!(server.push("alice", "one").await, "offline");
    server.push_to_everyone("two").await;
    let mut alice = page(&server, "alice").await;
    server.push("alice", "three").await;
    for content in ["one", "two", "three"] {
        alice.receives(content).await;
    }
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_queue_holds_is_caught_up_with_also_on_another_gateway() {
    let (server, _folder) = start().await;
    let page_of_socketio = server.login_by(EIO4_WEBSOCKET, "alice").await;
    page_of_socketio.leaves().await;
    is_left(&server).await;
    for n in 0..500 {
        assert_eq!(server.push("alice", &n.to_string()).await, "offline");
    }
    let mut alice = page(&server, "alice").await;
    for n in 0..500 {
        alice.receives(&n.to_string()).await;
    }
    server.push("alice", "live").await;
    alice.receives("live").await;
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_keep_up_is_cut_and_then_has_every_message() {
    let (server, _folder) = start().await;
    let tcp = narrow_connection(server.uid_socket()).await;
    let (mut slow, _) = RawPage::over(tcp, "").await;
    slow.says("slow").await;
    eventually("the login", async || server.pages().await == 1).await;
    let content = |n: usize| format!("{n} {}", "x".repeat(20_000));
    for n in 0..200 {
        server.push("slow", &content(n)).await;
    }
    let mut next = 0;
    while let Some(arrived) = slow.next_frame().await {
        let text = String::from_utf8_lossy(&arrived.payload).into_owned();
        if text.contains(' ') && arrived.opcode == 1 {
            assert_eq!(text, content(next), "a gap");
            next += 1;
        }
    }
    assert!(next < 200, "it was never cut");
    let mut slow = page(&server, "slow").await;
    let first = slow.next_message().await;
    let at: usize = first
        .split_once(' ')
        .expect("a number")
        .0
        .parse()
        .expect("a number");
    assert!(at <= next, "{next} to {at} are lost");
    for n in at + 1..200 {
        slow.receives(&content(n)).await;
    }
    slow.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_disk_comes_until_a_ping_is_answered() {
    let (server, _folder) = start().await;
    for n in 0..300 {
        let form = format!("type=publish&to=alice&content={n}&store=1");
        assert_eq!(server.push_form(&form).await, "offline");
    }
    // One that does not live long enough to answer.
    let mut short = page(&server, "alice").await;
    for n in 0..300 {
        short.receives(&n.to_string()).await;
    }
    short.resets();
    is_left(&server).await;
    let mut alice = page(&server, "alice").await;
    for n in 0..300 {
        alice.receives(&n.to_string()).await;
    }
    // Reading answers the pings; once they are confirmed, another page gets none of them.
    within("the confirmation", async {
        loop {
            assert!(alice.is_heard().await);
            let mut other = page(&server, "alice").await;
            server.push("alice", "marker").await;
            alice.receives("marker").await;
            if other.next_message().await == "marker" {
                return;
            }
        }
    })
    .await;
}
