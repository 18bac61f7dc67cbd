//! The push port's connections: keep-alive, pipelining, chunks, halves, and who is answered when.

use std::time::{Duration, Instant};

use crate::harness::http::Http;
use crate::harness::page::Page;
use crate::harness::{Server, within};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_waits_for_100_continue_gets_it_at_once() {
    let server = Server::start();
    let mut page = server.connect().await;
    let mut http = Http::open(server.http()).await;
    let body = "type=publish&content=hi";
    let length = body.len();
    let started = Instant::now();
    http.send(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    ))
    .await;
    assert_eq!(http.answer().await.status, 100);
    assert!(started.elapsed() < Duration::from_secs(1));
    http.send(body).await;
    assert_eq!(http.answer().await.text(), "ok");
    page.receives("hi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_ends_where_the_sender_expects_it_to() {
    let server = Server::start();
    for head in [
        "GET /?type=publish HTTP/1.0\r\n\r\n",
        "GET /?type=publish HTTP/1.0\r\nHost: x\r\n\r\n",
        "GET /?type=publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /?type=publish HTTP/1.0\r\nConnection: close\r\n\r\n",
    ] {
        let mut http = Http::open(server.http()).await;
        http.send(head).await;
        assert_eq!(http.answer().await.text(), "ok", "{head:?}");
        http.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_the_next_push() {
    let server = Server::start();
    let mut http = Http::open(server.http()).await;
    for keep_alive in [
        "HTTP/1.1\r\nHost: x",
        "HTTP/1.1",
        "HTTP/1.0\r\nConnection: keep-alive",
    ] {
        http.send(format!("GET /?type=publish {keep_alive}\r\n\r\n"))
            .await;
        assert_eq!(http.answer().await.text(), "ok", "{keep_alive:?}");
        http.post("/", FORM, b"type=nothing").await;
        assert_eq!(http.answer().await.text(), "fail");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_pushes_are_answered_in_order() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let mut http = Http::open(server.http()).await;
    let tos = ["alice", "nobody", "", "alice", "nobody"];
    let targets = tos.iter().enumerate();
    let requests = targets.map(|(n, to)| {
        format!("GET /?type=publish&to={to}&content={n} HTTP/1.1\r\nHost: x\r\n\r\n")
    });
    http.send(requests.collect::<String>()).await;
    for word in ["ok", "offline", "ok", "ok", "offline"] {
        assert_eq!(http.answer().await.text(), word);
    }
    for content in ["0", "2", "3"] {
        alice.receives(content).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pipelined_pushes_reach_fifty_pages_in_order() {
    let server = Server::start();
    let mut pages: Vec<Page> = Vec::new();
    for n in 0..50 {
        pages.push(server.login(&n.to_string()).await);
    }
    let reading = pages.into_iter().map(|mut page| {
        tokio::spawn(async move {
            for n in 0..200 {
                page.receives(&n.to_string()).await;
            }
        })
    });
    let reading: Vec<_> = reading.collect();
    let mut http = Http::open(server.http()).await;
    let requests =
        (0..200).map(|n| format!("GET /?type=publish&content={n} HTTP/1.1\r\nHost: x\r\n\r\n"));
    http.send(requests.collect::<String>()).await;
    for _ in 0..200 {
        assert_eq!(http.answer().await.text(), "ok");
    }
    for page in reading {
        page.await.expect("every message comes in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_is_read() {
    let server = Server::start();
    let mut page = server.connect().await;
    let mut http = Http::open(server.http()).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    http.send(&head).await;
    for piece in ["type=pub", "lish&con", "tent=hi%2", "0there"] {
        http.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
    }
    http.send("0\r\n\r\n").await;
    assert_eq!(http.answer().await.text(), "ok");
    page.receives("hi there").await;
}

/// Whichever of the two counts, the rest of the bytes must not be taken for a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_length_and_chunks_smuggles_nothing() {
    let server = Server::start();
    let mut page = server.connect().await;
    let smuggled = "GET /?type=publish&content=smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked_body = format!("0\r\n\r\n{smuggled}");
    for headers in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked",
            chunked_body.len()
        ),
        format!(
            "Transfer-Encoding: chunked\r\nContent-Length: {}",
            chunked_body.len()
        ),
    ] {
        let mut http = Http::open(server.http()).await;
        http.send(format!(
            "POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{chunked_body}"
        ))
        .await;
        let first = http.answer_or_end().await;
        assert!(first.is_none_or(|answer| answer.status == 400 || answer.text() == "fail"));
        let second = http.answer_or_end().await;
        assert!(
            second.is_none(),
            "{headers:?}: the rest was read as a request: {second:?}"
        );
    }
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_has_closed_its_side_is_answered() {
    let server = Server::start();
    let mut page = server.connect().await;
    let body = "type=publish&content=hi";
    let length = body.len();
    let posted = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    let query = "GET /?type=publish&content=hi HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    for request in [posted, query] {
        let mut http = Http::open(server.http()).await;
        http.send(&request).await;
        http.finish_sending().await;
        assert_eq!(http.answer().await.text(), "ok", "{request:?}");
        http.ends().await;
        page.receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_in_any_pieces() {
    let server = Server::start();
    let mut page = server.connect().await;
    let body = "type=publish&to=&content=%E4%BD%A0";
    let length = body.len();
    let request = format!(
        "POST /push HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\
         \r\n{body}"
    );
    let mut http = Http::open(server.http()).await;
    for size in [1, 2, 7, 64] {
        for piece in request.as_bytes().chunks(size) {
            http.send(piece).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(http.answer().await.text(), "ok", "in pieces of {size}");
        page.receives("你").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_leaves_in_the_middle_publishes_nothing() {
    let server = Server::start();
    let mut page = server.connect().await;
    let mut http = Http::open(server.http()).await;
    http.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\ntype=publish&content=half")
        .await;
    drop(http);
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_a_push_waiting() {
    let server = Server::start();
    let mut idle = Vec::new();
    for _ in 0..500 {
        let mut http = Http::open(server.http()).await;
        http.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            .await;
        idle.push(http);
    }
    let started = Instant::now();
    within("a push", server.push_to_everyone("hi")).await;
    assert!(started.elapsed() < Duration::from_secs(1));
}
