//! Pages that break off, and what stays behind of them.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::Server;
use crate::harness::http::Http;
use crate::harness::process::Process;
use crate::stall::narrow_connection;

const HANDSHAKE: &str = "GET /socket.io/?EIO=3&transport=websocket HTTP/1.1\r\nHost: x\r\n\
     Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A session that stays behind takes broadcasts until its queue is full, and is then found by
/// every one that follows; 1,000 tries left 10 and more.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_off_within_its_handshake_leaves_no_session() {
    let any = "127.0.0.1:0";
    let level = "log.level=info,campanile::gateway::socketio::connections=debug";
    let mut process = Process::start(any, any, &["socketio.max_queue=32", level]).await;
    for _ in 0..1000 {
        let tcp = TcpStream::connect(process.socketio).await;
        let mut tcp = tcp.expect("the port is open");
        let sent = tcp.write_all(HANDSHAKE.as_bytes()).await;
        sent.expect("it is taken");
    }
    let mut http = Http::open(process.http).await;
    for _ in 0..232 {
        http.get("/?type=publish&content=x").await;
        assert_eq!(http.answer().await.text(), "ok");
    }
    process.signal("TERM").await;
    let cut = process.logged_till_the_end("cannot keep up").await;
    // Some that broke off last may still have been leaving when the first pushes came.
    assert!(cut < 100, "{cut} pages were found behind");
}

/// Browsers and proxies reuse the connection that a page polled over before its upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn cutting_an_upgraded_page_spares_the_connection_that_it_polled_over() {
    let server = Server::start_with(|config| config.socketio.max_queue = 32);
    let mut first = Http::open(server.socketio()).await;
    first.get("/socket.io/?EIO=4&transport=polling").await;
    let open = first.answer().await.text();
    let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("an open packet");
    let sid = open["sid"].as_str().expect("it has a sid").to_owned();
    let poll = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    for packet in ["40", r#"42["login","stalls"]"#] {
        first.post(&poll, "text/plain", packet.as_bytes()).await;
        assert_eq!(first.answer().await.text(), "ok");
        // As pages do, it waits until it is let in before it logs in.
        let mut told = packet != "40";
        while !told {
            first.get(&poll).await;
            told = first.answer().await.text().contains("40{");
        }
    }
    let url = format!("ws://localhost/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let narrow = narrow_connection(server.socketio()).await;
    let upgrading = tokio_tungstenite::client_async(url, narrow).await;
    let (mut websocket, _) = upgrading.expect("an upgrade begins");
    websocket.send(Message::text("2probe")).await.expect("sent");
    let answer = websocket.next().await.expect("it is open").expect("sent");
    assert_eq!(answer, Message::text("3probe"));
    websocket.send(Message::text("5")).await.expect("sent");
    // Somebody else's session, over the connection that the page no longer needs.
    first.get("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(first.answer().await.status, 200);
    // It reads nothing from now on.
    let long = "x".repeat(20_000);
    while server.push("stalls", &long).await == "ok" {}
    first.get("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(first.answer().await.status, 200);
    drop(websocket);
}
