//! A server that stops in order and starts again, with pages of raw websockets and no others: they are
//! sent away, and what they miss comes to them.

use std::time::{Duration, Instant};

use crate::harness::eventually;
use crate::harness::keeping::url_in;
use crate::harness::process::Process;
use crate::harness::raw::RawPage;
use crate::restart::push;

const ANY: &str = "127.0.0.1:0";
const PAGES: usize = 12;

async fn start(store: &str) -> (Process, std::net::SocketAddr) {
    let settings = [
        "recovery.window=2m",
        "shutdown.drain=1s",
        "uid_socket.listen=127.0.0.1:0",
        store,
    ];
    let mut server = Process::start(ANY, ANY, &settings).await;
    let uid_socket = server.listens("uid_socket").await;
    (server, uid_socket)
}

async fn is_online(server: &Process, uid: &str) {
    let is_there = async || push(server, uid, "hello").await == "ok";
    eventually("the page to be there", is_there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_uid_websocket_alone_are_sent_away_evenly_and_miss_nothing() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let store = format!("store.url={}", url_in(&folder));
    let (mut server, uid_socket) = start(&store).await;
    let mut ends = Vec::new();
    for n in 0..PAGES {
        let uid = format!("user {n}");
        let mut page = RawPage::saying(uid_socket, &uid).await;
        is_online(&server, &uid).await;
        page.receives("hello").await;
        ends.push(tokio::spawn(async move {
            page.is_closed_with(1001).await;
            Instant::now()
        }));
    }
    server.signal("TERM").await;
    server.logs("stopping").await;
    let began = Instant::now();
    // Pushes are answered while pages are still there.
    assert_ne!(push(&server, "nobody", "late").await, "fail");
    let mut times = Vec::new();
    for end in ends {
        times.push(end.await.expect("it is said goodbye to") - began);
    }
    times.sort();
    assert!(
        times[PAGES - 1] - times[0] > Duration::from_millis(500),
        "{times:?}"
    );
    assert_eq!(server.ends().await.code(), Some(0));
    let (server, uid_socket) = start(&store).await;
    for n in 0..PAGES {
        let uid = format!("user {n}");
        assert_eq!(push(&server, &uid, "missed").await, "offline");
        let mut page = RawPage::saying(uid_socket, &uid).await;
        page.receives("missed").await;
    }
}
