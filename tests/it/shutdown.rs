//! How the process stops: in order, within its grace, and at once when asked twice.

use std::time::{Duration, Instant};

use crate::harness::http::Http;
use crate::harness::page::{DIALECTS, Page};
use crate::harness::process::Process;
use crate::harness::within;

const ANY: &str = "127.0.0.1:0";

async fn page_on(process: &Process, uid: &str, n: usize) -> Page {
    let mut page = Page::connect(process.socketio, DIALECTS[n % DIALECTS.len()]).await;
    page.logs_in_with(&format!("\"{uid}\"")).await;
    page.next_count().await;
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_process_well_and_pages_are_told() {
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(ANY, ANY, &["presence.interval=1h"]).await;
        let mut pages = Vec::new();
        for n in 0..DIALECTS.len() {
            pages.push(page_on(&process, "alice", n).await);
        }
        let closed: Vec<_> = pages
            .into_iter()
            .map(|mut page| tokio::spawn(async move { page.is_disconnected().await }))
            .collect();
        let started = Instant::now();
        process.signal(signal).await;
        assert_eq!(process.ends().await.code(), Some(0), "{signal}");
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
        for page in closed {
            within("the goodbye", page)
                .await
                .expect("each page is told");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_ports_can_be_opened_again_at_once() {
    let mut first = Process::start(ANY, ANY, &[]).await;
    let (socketio, http) = (first.socketio.to_string(), first.http.to_string());
    let page = page_on(&first, "alice", 0).await;
    first.signal("TERM").await;
    first.ends().await;
    let second = Process::start(&socketio, &http, &[]).await;
    let mut back = page_on(&second, "alice", 1).await;
    let mut push = Http::open(second.http).await;
    push.get("/?type=publish&to=alice&content=hi").await;
    assert_eq!(push.answer().await.text(), "ok");
    back.receives("hi").await;
    drop(page);
}

/// A push of which all but the last byte has been sent.
async fn unfinished_push(process: &Process) -> Http {
    let mut push = Http::open(process.http).await;
    // The answer to the first shows that the second has been begun on an open connection.
    push.get("/?type=nothing").await;
    assert_eq!(push.answer().await.text(), "fail");
    push.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(push.answer().await.status, 100);
    push.send("type=publish&to=alice&content=").await;
    push
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_in_flight_is_answered_and_delivered() {
    let mut process = Process::start(ANY, ANY, &["shutdown.drain=4s"]).await;
    let mut alice = page_on(&process, "alice", 1).await;
    let mut push = unfinished_push(&process).await;
    process.signal("TERM").await;
    process.logs("stopping").await;
    push.send("!").await;
    assert_eq!(push.answer().await.text(), "ok");
    alice.receives("!").await;
    assert_eq!(process.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_does_not_end_is_waited_for_no_longer_than_the_grace() {
    let mut process = Process::start(ANY, ANY, &["shutdown.grace=300ms"]).await;
    let push = unfinished_push(&process).await;
    let started = Instant::now();
    process.signal("TERM").await;
    assert_eq!(process.ends().await.code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    drop(push);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_does_not_end_does_not_cost_the_pages_their_goodbye() {
    let mut process = Process::start(ANY, ANY, &[]).await;
    let mut page = page_on(&process, "alice", 1).await;
    let push = unfinished_push(&process).await;
    process.signal("TERM").await;
    page.is_disconnected().await;
    assert_eq!(process.ends().await.code(), Some(0));
    drop(push);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    let mut process = Process::start(ANY, ANY, &["shutdown.grace=10m"]).await;
    let push = unfinished_push(&process).await;
    process.signal("TERM").await;
    process.logs("stopping").await;
    process.signal("TERM").await;
    assert_eq!(process.ends().await.code(), Some(1));
    drop(push);
}
