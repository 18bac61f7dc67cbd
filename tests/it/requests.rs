//! The push port's HTTP: methods, limits, and requests that are none.

use std::time::Duration;

use bytesize::ByteSize;

use crate::harness::http::Http;
use crate::harness::{DEADLINE, Server};

const QUERY: &str = "/?type=publish&content=hi";

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_looks_as_the_originals() {
    let server = Server::start();
    let answer = server.get("type=publish&content=hi").await;
    assert!(
        answer.head.starts_with("HTTP/1.1 200 OK\r\n"),
        "{}",
        answer.head
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/html;charset=utf-8")
    );
    assert_eq!(answer.header("content-length"), Some("2"));
    assert_eq!(answer.body, b"ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_mean_a_push_publish() {
    let server = Server::start();
    let mut page = server.connect().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let request = format!("{method} {QUERY} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(server.request(request).await.text(), "ok", "{method}");
        page.receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_probe_publish_nothing() {
    let server = Server::start();
    let mut page = server.connect().await;
    let mut http = Http::open(server.http()).await;
    http.send(format!("HEAD {QUERY} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    assert_eq!(http.answer_to_head().await.status, 200);
    http.send(format!("OPTIONS {QUERY} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    let options = http.answer().await;
    assert_eq!(options.status, 204);
    assert_eq!(
        options.header("allow"),
        Some("GET, POST, PUT, PATCH, DELETE")
    );
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_publishes_nothing() {
    let server = Server::start();
    let mut page = server.connect().await;
    for request in [
        format!("TRACE {QUERY} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("PURGE {QUERY} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("get {QUERY} HTTP/1.1\r\nHost: x\r\n\r\n"),
        "garbage\r\n\r\n".to_owned(),
        format!("GET {QUERY} HTTP/9.9\r\n\r\n"),
        format!("GET {QUERY} HTTP/1.1\r\nno colon\r\n\r\n"),
        format!("POST {QUERY} HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        format!("POST {QUERY} HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
        format!("POST {QUERY} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        format!("POST {QUERY} HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"),
        format!("POST {QUERY} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a length\r\n"),
    ] {
        let mut http = Http::open(server.http()).await;
        http.send(&request).await;
        assert_eq!(http.answer().await.status, 400, "{request:?}");
        http.ends().await;
    }
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_client_is_told_off_rather_than_kept_waiting() {
    let server = Server::start();
    let mut http = Http::open(server.http()).await;
    http.send(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 and so on\r\n\r\n")
        .await;
    let refused = http.answer_or_end().await;
    assert!(refused.is_none_or(|answer| answer.status == 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_up_to_the_limit_is_read_and_a_larger_one_is_refused() {
    let server = Server::start_with(|config| config.http.max_body = ByteSize::kib(2));
    let mut page = server.connect().await;
    let start = "type=publish&content=";
    let largest = format!("{start}{}", "x".repeat(2048 - start.len()));
    assert_eq!(server.push_form(&largest).await, "ok");
    page.receives(&largest[start.len()..]).await;

    let form = "application/x-www-form-urlencoded";
    let refused = server.post(form, format!("{largest}x").as_bytes()).await;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.header("connection"), Some("close"));

    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        4096
    );
    let refused = server.request(head + &"x".repeat(4096)).await;
    assert_eq!(refused.status, 413, "without a length");

    server.nothing_else_comes_to([&mut page]).await;
}

/// As in the original. Whoever asks first, by `Expect`, then need not send it at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let server = Server::start_with(|config| config.http.max_body = ByteSize::kib(2));
    for length in [2049, u64::MAX / 2] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let head = format!("Host: x\r\nContent-Length: {length}\r\n{expect}");
            let refused = server
                .request(format!("POST / HTTP/1.1\r\n{head}\r\n"))
                .await;
            assert_eq!(refused.status, 413, "{head:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_may_stand_in_the_query() {
    let server = Server::start();
    let mut page = server.connect().await;
    let long = "x".repeat(60_000);
    assert_eq!(
        server
            .get(&format!("type=publish&content={long}"))
            .await
            .text(),
        "ok"
    );
    page.receives(&long).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_ten_mebibytes_arrives() {
    let server = Server::start();
    let mut page = server.connect().await;
    let long = "x".repeat(10 * 1024 * 1024 - 64);
    assert_eq!(
        server
            .push_form(&format!("type=publish&content={long}"))
            .await,
        "ok"
    );
    page.receives(&long).await;
}

fn impatient() -> Server {
    Server::start_with(|config| config.http.request_timeout = Duration::from_millis(300))
}

/// Sends bytes one at a time until the answer or the end comes, and gives that.
async fn dribbles(http: &mut Http, byte: &str) -> Option<u16> {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..DEADLINE.as_millis() / 20 {
        ticks.tick().await;
        http.send(byte).await;
        let looked = tokio::time::timeout(Duration::from_millis(1), http.poll()).await;
        if let Ok(answer) = looked {
            return answer.map(|answer| answer.status);
        }
    }
    panic!("the connection stayed open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_dribbles_is_refused_in_time() {
    let server = impatient();
    let mut http = Http::open(server.http()).await;
    http.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        .await;
    assert_eq!(dribbles(&mut http, "x").await, Some(408));
    http.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_dribbles_ends_the_connection_in_time() {
    let server = impatient();
    let mut http = Http::open(server.http()).await;
    http.send("GET / HTTP/1.1\r\nX: ").await;
    let answer = dribbles(&mut http, "x").await;
    assert!(matches!(answer, None | Some(408)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_ends_in_time() {
    let server = impatient();
    Http::open(server.http()).await.ends().await;
    let mut used = Http::open(server.http()).await;
    used.get(QUERY).await;
    assert_eq!(used.answer().await.text(), "ok");
    used.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_refused() {
    let server = Server::start();
    let mut http = Http::open(server.http()).await;
    http.send("GET / HTTP/1.1\r\n").await;
    let line = format!("X-Padding: {}\r\n", "x".repeat(1000));
    for _ in 0..300 {
        http.send(&line).await;
    }
    let refused = http.answer_or_end().await;
    // The refusal is lost where the kernel answers unread bytes by a reset.
    assert!(refused.is_none_or(|answer| answer.status == 431 || answer.status == 400));
}

#[tokio::test]
async fn what_fails_says_why_in_a_header() {
    let server = Server::start();
    for (query, why) in [
        ("to=alice&content=hi", "`type`"),
        ("type=publish&to=alice&content[]=hi", "`content`"),
        ("type=publish&to[]=&content=hi", "`to`"),
    ] {
        let answer = server.get(query).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "fail"));
        let reason = answer.header("x-campanile-reason").expect("it says why");
        assert!(reason.contains(why), "{query}: {reason}");
    }
    let answer = server.get("type=publish&to=alice&content=hi").await;
    assert_eq!(answer.text(), "offline");
    assert_eq!(answer.header("x-campanile-reason"), None);
}
