//! Websocket frames that no client sends. Each may cost its sender the connection, and costs
//! nobody else anything.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::Server;
use crate::harness::http::Http;
use crate::harness::page::{EIO4_WEBSOCKET, Page};

/// A websocket of which every byte is the test's.
async fn raw_websocket(server: &Server) -> Http {
    let mut http = Http::open(server.socketio()).await;
    http.send(format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        EIO4_WEBSOCKET.target()
    ))
    .await;
    assert_eq!(http.answer().await.status, 101);
    http.send(frame(0x81, b"40")).await;
    http
}

/// A frame with a mask of zeros, under which bytes stay as they are.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..126 => frame.push(0x80 | u8::try_from(n).expect("it is short")),
        n => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(n).expect("it is not long").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

async fn is_unharmed(server: &Server, honest: &mut Page, after: &str) {
    let delivery = async {
        assert_eq!(
            server.push("honest", "still there").await,
            "ok",
            "after {after}"
        );
        honest.receives("still there").await;
    };
    let delivered = tokio::time::timeout(Duration::from_secs(1), delivery).await;
    assert!(
        delivered.is_ok(),
        "the honest page waited too long after {after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_none_ends_its_connection_and_no_other() {
    let server = Server::start();
    let mut honest = server.login("honest").await;
    let claims = |n: u64, rest: &[u8]| [&[0x81, 0xff], &n.to_be_bytes()[..], rest].concat();
    for (what, bytes) in [
        ("an unknown opcode", frame(0x83, b"x")),
        ("an unknown control opcode", frame(0x8f, b"x")),
        ("reserved bits", frame(0xf1, b"2")),
        ("an unmasked frame", vec![0x81, 1, b'3']),
        ("a continuation of nothing", frame(0x80, b"x")),
        (
            "text within a fragmented text",
            [frame(0x01, b"4"), frame(0x81, b"2")].concat(),
        ),
        (
            "a control frame that is too long",
            frame(0x89, &[b'x'; 126]),
        ),
        ("a fragmented ping", frame(0x09, b"x")),
        ("text that is no UTF-8", frame(0x81, b"42[\"\xff\xfe\"]")),
        (
            "text that ends within a character",
            frame(0x81, b"42[\"\xe4\xbd"),
        ),
        ("a close of one byte", frame(0x88, b"x")),
        ("a close with a bad code", frame(0x88, &[0, 0])),
        ("a claim of 2^63 bytes", claims(1 << 63, b"\0\0\0\x0042")),
        ("a claim of 2^64-1 bytes", claims(u64::MAX, b"\0\0\0\x0042")),
        ("a claim of 1 TiB", claims(1 << 40, b"\0\0\0\x0042")),
    ] {
        let mut attacker = raw_websocket(&server).await;
        attacker.send(&bytes).await;
        assert!(attacker.is_cut_off().await, "{what}");
        is_unharmed(&server, &mut honest, what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tiny_fragments_end_at_the_payload_limit() {
    let server = Server::start_with(|config| {
        config.socketio.max_payload = bytesize::ByteSize::kib(16);
    });
    let mut honest = server.login("honest").await;
    let mut attacker = raw_websocket(&server).await;
    attacker.send(frame(0x01, b"42[\"")).await;
    let fragments = frame(0x00, b"x").repeat(1000);
    for _ in 0..20 {
        attacker.send(&fragments).await;
    }
    assert!(
        attacker.is_cut_off().await,
        "more than the limit came in fragments"
    );
    is_unharmed(&server, &mut honest, "a message in fragments").await;

    let mut attacker = raw_websocket(&server).await;
    attacker.send(frame(0x01, b"42[\"")).await;
    let empty = frame(0x00, b"").repeat(1000);
    for _ in 0..100 {
        attacker.send(&empty).await;
    }
    is_unharmed(&server, &mut honest, "100,000 empty fragments").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_fragments_is_read() {
    let server = Server::start();
    let login = br#"42["login","in pieces"]"#;
    for size in [1, 3, 10] {
        let mut page = server.connect().await;
        let mut opcode = OpCode::Data(Data::Text);
        for piece in login.chunks(size) {
            let piece = Frame::message(piece.to_vec(), opcode, false);
            assert!(page.sends_frame(Message::Frame(piece)).await);
            // Control frames may stand between.
            assert!(page.sends_frame(Message::Ping(Bytes::new())).await);
            opcode = OpCode::Data(Data::Continue);
        }
        let last = Frame::message(Bytes::new(), opcode, true);
        assert!(page.sends_frame(Message::Frame(last)).await);
        page.next_count().await;
        assert_eq!(server.push("in pieces", "hi").await, "ok");
        page.receives("hi").await;
        page.leaves().await;
        server.waits_until_offline("in pieces").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_with_and_without_payload_are_answered() {
    let server = Server::start();
    let tcp = tokio::net::TcpStream::connect(server.socketio()).await;
    let url = format!("ws://localhost{}", EIO4_WEBSOCKET.target());
    let opened = tokio_tungstenite::client_async(url, tcp.expect("the port is open")).await;
    let (mut websocket, _) = opened.expect("a websocket opens");
    for payload in ["", "payload"] {
        let ping = Message::Ping(payload.as_bytes().to_vec().into());
        websocket.send(ping).await.expect("a ping is taken");
        let answered = async {
            loop {
                let message = websocket.next().await.expect("it stays open");
                if let Message::Pong(echo) = message.expect("a frame") {
                    return echo;
                }
            }
        };
        let echo = crate::harness::within("a pong", answered).await;
        assert_eq!(&echo[..], payload.as_bytes());
    }
}
