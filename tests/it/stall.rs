//! Pages that stop reading, and pages that vanish: they lose their own connection, never anybody
//! else's message.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};

use crate::harness::Server;
use crate::harness::page::{
    Dialect, EIO3_POLLING, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page,
};

/// A connection that takes hardly anything until it is read.
pub(crate) async fn narrow_connection(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there is a socket");
    socket
        .set_recv_buffer_size(4096)
        .expect("a buffer may be small");
    socket.connect(address).await.expect("the port is open")
}

/// A page that has logged in as `uid` and reads nothing from now on.
async fn stalled_page(server: &Server, dialect: Dialect, uid: &str) -> Page {
    let tcp = narrow_connection(server.socketio()).await;
    let mut page = Page::open(tcp, dialect).await;
    page.joins().await;
    page.logs_in(uid).await;
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_stops_reading_is_cut_off_and_delays_nobody() {
    const MESSAGES: usize = 3000;
    let server = Server::start_with(|config| config.socketio.max_queue = 256);
    let stalled = [
        stalled_page(&server, EIO3_WEBSOCKET, "stalled 3").await,
        stalled_page(&server, EIO4_WEBSOCKET, "stalled 4").await,
    ];
    let mut honest = server.login("honest").await;
    let content = |n: usize| format!("{n} {}", "x".repeat(10_000));
    let reading = tokio::spawn(async move {
        for n in 0..MESSAGES {
            honest.receives(&content(n)).await;
        }
        honest
    });
    let mut slowest = Duration::ZERO;
    for n in 0..MESSAGES {
        let started = Instant::now();
        server.push_to_everyone(&content(n)).await;
        slowest = slowest.max(started.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(1),
        "a push was answered after {slowest:?}"
    );
    let mut honest = reading.await.expect("the honest page gets every message");
    server.waits_until_offline("stalled 3").await;
    server.waits_until_offline("stalled 4").await;
    for mut page in stalled {
        page.is_disconnected().await;
    }
    assert_eq!(server.push("honest", "the last").await, "ok");
    honest.receives("the last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_cut_off_can_come_back() {
    let server = Server::start_with(|config| config.socketio.max_queue = 32);
    let stalled = stalled_page(&server, EIO4_WEBSOCKET, "alice").await;
    let content = "x".repeat(20_000);
    crate::harness::eventually("alice to be cut off", async || {
        server.push("alice", &content).await == "offline"
    })
    .await;
    let mut alice = server.login("alice").await;
    assert_eq!(server.push("alice", "welcome back").await, "ok");
    alice.receives("welcome back").await;
    drop(stalled);
    server.nothing_else_comes_to([&mut alice]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_vanish_amid_pushes_harm_nobody() {
    let server = Server::start();
    let mut honest = server.login("honest").await;
    for round in 0..20 {
        let mut leaving = Vec::new();
        for n in 0..10 {
            leaving.push(server.login(&format!("vanishing {n}")).await);
        }
        for page in leaving {
            server.push_to_everyone(&format!("round {round}")).await;
            page.resets();
        }
        for _ in 0..10 {
            honest.receives(&format!("round {round}")).await;
        }
    }
    for n in 0..10 {
        server.waits_until_offline(&format!("vanishing {n}")).await;
    }
    server.nothing_else_comes_to([&mut honest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_silent_for_too_long_is_offline() {
    let server = Server::start_with(|config| {
        config.socketio.ping_interval = Duration::from_millis(200);
        config.socketio.ping_timeout = Duration::from_millis(200);
    });
    for dialect in crate::harness::page::DIALECTS {
        // It is not read any more, so no heartbeat of the server is answered either.
        let silent = server.login_by(dialect, "silent").await;
        server.waits_until_offline("silent").await;
        drop(silent);
    }
}

/// A page that polls has no connection that could break: it must learn in another way that it
/// has missed something, and come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_polls_too_seldom_is_cut_off_rather_than_left_with_a_gap() {
    for dialect in [EIO3_POLLING, EIO4_POLLING] {
        let server = Server::start_with(|config| config.socketio.max_queue = 32);
        let mut page = server.login_by(dialect, "seldom").await;
        for n in 0..100 {
            server.push("seldom", &n.to_string()).await;
        }
        server.push_to_everyone("100").await;
        page.takes_another_connection().await;
        let mut next = 0;
        while next <= 100 {
            let Some((event, content)) = page.next_event().await else {
                break;
            };
            if event != "new_msg" {
                continue;
            }
            assert_eq!(content, next.to_string(), "a gap, {dialect:?}");
            next += 1;
        }
    }
}
