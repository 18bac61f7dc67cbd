//! Connects to namespaces that do not exist. A page is told so with the name that it gave, so how long
//! that may be bounds what it can make the server keep, by whatever way it asks.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::attack::{Town, has_said_little};
use crate::harness::http::Http;
use crate::harness::page::{EIO3_POLLING, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::raw::{KEY, text};
use crate::harness::{Server, within};

/// The longest answer: a name, and what is said of it.
const MOST: usize = 320;

fn long() -> String {
    format!("40/{}", "x".repeat(40_000))
}

/// Every answer that comes before the one to the last connect.
async fn answers_are_short(page: &mut Page, how: &str) {
    loop {
        let packet = page.next_packet().await;
        let packet = packet.unwrap_or_else(|| panic!("{how} ended the connection"));
        assert!(packet.len() <= MOST, "{how}: told {} bytes", packet.len());
        if packet.starts_with("44/nowhere") {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_websocket_no_answer_is_long_however_the_connect_is_fragmented() {
    let server = Server::start();
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        for lengths in [&[][..], &[1], &[2], &[4], &[0, 1, 1], &[200, 100]] {
            let mut page = server.connect_by(dialect).await;
            let connect = long();
            let (mut rest, mut opcode) = (connect.as_bytes(), OpCode::Data(Data::Text));
            for length in lengths {
                let (piece, after) = rest.split_at(*length);
                rest = after;
                let piece = Frame::message(piece.to_vec(), opcode, false);
                assert!(page.sends_frame(Message::Frame(piece)).await);
                assert!(page.sends_frame(Message::Ping("4".into())).await);
                opcode = OpCode::Data(Data::Continue);
            }
            let last = Frame::message(rest.to_vec(), opcode, true);
            assert!(page.sends_frame(Message::Frame(last)).await);
            page.sends("40/nowhere,").await;
            answers_are_short(&mut page, &format!("{lengths:?} of {dialect:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_poll_no_answer_is_long_wherever_the_connect_stands() {
    let server = Server::start();
    let connect = long();
    for dialect in [EIO3_POLLING, EIO4_POLLING] {
        let mut page = server.connect_by(dialect).await;
        let packets = ["40/a,", &connect, r#"42["é😀:"]"#, &connect, "40/nowhere,"];
        page.sends_together(&packets).await;
        answers_are_short(&mut page, &format!("{dialect:?}")).await;
    }
    let mut page = server.connect_by(EIO3_POLLING).await;
    let mut http = Http::open(server.socketio()).await;
    let target = format!("/socket.io/?EIO=3&transport=polling&sid={}", page.sid);
    let framed = |packet: &str| {
        let digits = packet.len().to_string();
        let digits: Vec<u8> = digits.bytes().map(|digit| digit - b'0').collect();
        [&[0][..], &digits, &[0xFF], packet.as_bytes()].concat()
    };
    let payload = [framed(&connect), framed(&connect), framed("40/nowhere,")].concat();
    http.post(&target, "application/octet-stream", &payload)
        .await;
    assert_eq!(http.answer().await.status, 200);
    answers_are_short(&mut page, "the binary form").await;
}

/// What is sent before the handshake is answered, and when it is.
async fn told_after(server: &Server, before: &[u8], after: &[u8]) -> Vec<u8> {
    let tcp = within("a connection", TcpStream::connect(server.socketio())).await;
    let mut tcp = tcp.expect("the port is open");
    tcp.write_all(before).await.expect("it is taken");
    let mut told = Vec::new();
    let reads = async {
        let mut sent = false;
        while !told.windows(10).any(|word| word == b"44/nowhere") {
            match tcp.read_buf(&mut told).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
            if !sent {
                sent = true;
                tcp.write_all(after).await.ok();
            }
        }
    };
    within("all that is told", reads).await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_with_the_handshake_are_looked_at_like_all_others() {
    let server = Server::start();
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n{KEY}\r\n",
        EIO4_WEBSOCKET.target()
    );
    let frames = [
        text("40").bytes(),
        text(long()).bytes(),
        text("40/nowhere,").bytes(),
    ]
    .concat();
    for (early, head) in [0, 3, 12, 100, frames.len()].map(|early| (early, head.clone())) {
        let before = [head.as_bytes(), &frames[..early]].concat();
        let told = told_after(&server, &before, &frames[early..]).await;
        let end = String::from_utf8_lossy(&told).into_owned();
        assert!(end.contains("44/nowhere"), "{early}: {end}");
        assert!(told.len() < 2_000, "{early}: {} bytes", told.len());
    }
    // A request that is answered later hides nothing either.
    let poll = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
    for end in ["", "\r\n\r\n"] {
        let padded = [frames.as_slice(), end.as_bytes()].concat();
        let before = [poll.as_bytes(), head.as_bytes(), &padded].concat();
        let told = told_after(&server, &before, b"").await;
        assert!(told.len() < 2_500, "{} bytes", told.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_ends_within_a_letter_ends_its_session_and_holds_nobody_up() {
    let (process, mut town) = Town::apart(&[]).await;
    // More than there are threads.
    for _ in 0..8 {
        let page = town.server.connect_by(EIO3_POLLING).await;
        let mut http = Http::open(town.server.socketio()).await;
        let target = format!("/socket.io/?EIO=3&transport=polling&sid={}", page.sid);
        let payload = "1:\u{1F600}x";
        http.post(&target, "text/plain", payload.as_bytes()).await;
        let answer = http.answer_or_end().await;
        assert!(answer.is_none_or(|answer| answer.status == 400));
    }
    town.is_unharmed("lengths that end within a letter").await;
    town.is_alone().await;
    has_said_little(process, 20).await;
}
