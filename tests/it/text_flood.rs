//! Many lines at once on the text push port: all of them arrive, in order, and each is answered.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::harness::page::EIO4_WEBSOCKET;
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::{FREE, Server, within};
use crate::stall::narrow_connection;

fn start() -> Server {
    Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
    })
}

fn line(uid: &str, n: usize) -> String {
    format!(r#"{{"uid":"{uid}","n":{n}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_lines_at_once_arrive_in_order_with_their_replies_in_order() {
    const LINES: usize = 2000;
    let server = start();
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let mut socketio = server.login_by(EIO4_WEBSOCKET, "carol").await;
    let mut pusher = Pusher::open(server.text()).await;
    // Each third line is for nobody, so that the order of replies can be told.
    let whose = |n: usize| if n % 3 == 2 { "nobody" } else { "alice" };
    let lines: String = (0..LINES).map(|n| line(whose(n), n) + "\n").collect();
    pusher.sends(&lines).await;
    for n in (0..LINES).filter(|n| n % 3 != 2) {
        alice.receives(&line("alice", n)).await;
    }
    let replies = pusher.replies(LINES).await;
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply, if n % 3 == 2 { "fail" } else { "ok" }, "{n}");
    }
    alice.has_nothing().await;
    server.nothing_else_comes_to([&mut socketio]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_can_flood_a_page_that_reads_without_a_loss() {
    floods(&start(), 50_000, 0).await;
}

/// The queue is far too small for what comes, so the pusher is slowed down.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_can_flood_a_page_with_a_short_queue_without_a_loss() {
    let server = Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
        config.websocket.max_queue = 512;
    });
    floods(&server, 10_000, 2000).await;
}

async fn floods(server: &Server, count: usize, padding: usize) {
    let flood = move |n: usize| {
        line("alice", n).replace('}', &format!(r#","x":"{}"}}"#, "x".repeat(padding)))
    };
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let mut other = RawPage::saying(server.uid_socket(), "other").await;
    let reading = tokio::spawn(async move {
        for n in 0..count {
            alice.receives(&flood(n)).await;
        }
        alice
    });
    let pusher = Pusher::open(server.text()).await;
    let (mut replies, mut lines) = pusher.tcp.into_split();
    let sending = tokio::spawn(async move {
        let all: String = (0..count).map(|n| flood(n) + "\n").collect();
        lines.write_all(all.as_bytes()).await.expect("it is read");
        lines
    });
    let answering = tokio::spawn(async move {
        let mut answers = vec![0; count * 3];
        tokio::io::AsyncReadExt::read_exact(&mut replies, &mut answers)
            .await
            .expect("each line is answered");
        answers
    });
    // The flood delays nobody else.
    let mut slowest = Duration::ZERO;
    let mut second = Pusher::open(server.text()).await;
    let mut n = 0;
    while !reading.is_finished() || n < 10 {
        let started = Instant::now();
        assert_eq!(second.pushes(line("other", n)).await, "ok");
        other.receives(&line("other", n)).await;
        slowest = slowest.max(started.elapsed());
        n += 1;
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let mut alice = reading.await.expect("alice gets every line");
    alice.has_nothing().await;
    let answers = within("the replies", answering).await;
    let answers = answers.expect("each line is answered");
    assert!(answers == b"ok\n".repeat(count), "a line was refused");
    drop(sending.await.expect("the flood is read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pushers_keep_the_order_of_each() {
    const PUSHERS: usize = 8;
    const LINES: usize = 1000;
    let server = start();
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let mut pushing = Vec::new();
    for who in 0..PUSHERS {
        let mut pusher = Pusher::open(server.text()).await;
        pushing.push(tokio::spawn(async move {
            let line = |n| format!("{{\"uid\":\"alice\",\"who\":{who},\"n\":{n}}}\n");
            let lines: String = (0..LINES).map(line).collect();
            pusher.sends(&lines).await;
            pusher.replies(LINES).await
        }));
    }
    let mut next = [0; PUSHERS];
    for _ in 0..PUSHERS * LINES {
        let message = alice.next_message().await;
        let message: serde_json::Value = serde_json::from_str(&message).expect("it was JSON");
        let who = message["who"].as_u64().expect("it says who") as usize;
        assert_eq!(message["n"], next[who], "of {who}");
        next[who] += 1;
    }
    alice.has_nothing().await;
    for pusher in pushing {
        let replies = pusher.await.expect("each line is answered");
        assert!(replies.iter().all(|reply| reply == "ok"));
    }
}

/// Its replies fill up; that is its own matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_pusher_that_never_reads_its_replies_delays_nobody_else() {
    let server = start();
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let mut narrow = narrow_connection(server.text()).await;
    let flooding = tokio::spawn(async move {
        let junk = b"\n".repeat(64 * 1024);
        while narrow.write_all(&junk).await.is_ok() {}
    });
    let mut honest = Pusher::open(server.text()).await;
    for n in 0..500 {
        let delivery = async {
            assert_eq!(honest.pushes(line("alice", n)).await, "ok");
            alice.receives(&line("alice", n)).await;
        };
        let delivered = tokio::time::timeout(Duration::from_secs(1), delivery).await;
        assert!(delivered.is_ok(), "{n} waited too long");
    }
    flooding.abort();
}
