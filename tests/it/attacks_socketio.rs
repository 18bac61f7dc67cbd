//! Attacks on the Socket.IO gateway that `hostile` and `frames` do not play: sessions and upgrades
//! without end, attachments, floods, large and compressed packets.

use std::time::Duration;

use bytesize::ByteSize;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::attack::{
    Town, has_said_little, memory_is_back, next_of, server_apart, stranger,
};
use crate::harness::http::Http;
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::process::campanile;
use crate::harness::raw::{KEY, RawPage, text};
use crate::harness::{Server, eventually};
use crate::tokens::token;

const MIB: u64 = 1024 * 1024;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

#[tokio::test(flavor = "multi_thread")]
async fn polling_sessions_without_end_are_refused_and_those_that_never_join_are_forgotten() {
    const MOST: usize = 1000;
    const TRIES: usize = 3000;
    let setting = format!("limits.polling_sessions={MOST}");
    let (process, mut town) = Town::apart(&[&setting]).await;
    let before = process.resident();
    let mut http = Http::open(town.server.socketio()).await;
    let mut let_in = 0;
    for _ in 0..TRIES {
        http.get(OPEN).await;
        let answer = http.answer().await;
        if answer.status == 200 {
            let_in += 1;
            continue;
        }
        assert_eq!(answer.status, 503, "{}", answer.head);
        assert_eq!(answer.json()["code"], "polling");
        http = Http::open(town.server.socketio()).await;
    }
    // One honest page polls.
    assert_eq!(let_in, MOST - 1);
    assert_eq!(town.refused_by("polling").await, TRIES - let_in);
    town.is_unharmed("polling sessions without end").await;
    // They had ten seconds to join.
    let mut tries = tokio::time::interval(Duration::from_millis(100));
    let mut came = 0;
    let come = async {
        while came < MOST - 1 {
            http.get(OPEN).await;
            if http.answer().await.status == 200 {
                came += 1;
            } else {
                tries.tick().await;
                http = Http::open(town.server.socketio()).await;
            }
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(20), come).await;
    assert!(all.is_ok(), "{came} places have become free");
    town.is_unharmed("all of it").await;
    memory_is_back(&process, before, 32 * MIB).await;
    has_said_little(process, 20).await;
}

async fn begins_an_upgrade(server: &Server, probes: bool) -> (Page, WebSocketStream<TcpStream>) {
    let page = server.connect_by(EIO4_POLLING).await;
    let tcp = TcpStream::connect(server.socketio()).await;
    let sid = &page.sid;
    let url = format!("ws://localhost/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let tcp = tcp.expect("the port is open");
    let begun = tokio_tungstenite::client_async(url, tcp).await;
    let (mut websocket, _) = begun.expect("an upgrade begins");
    if probes {
        let probe = websocket.send(Message::text("2probe")).await;
        probe.expect("the probe is taken");
    }
    (page, websocket)
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_that_never_finish_are_ended_and_cost_nothing_afterwards() {
    let (process, mut town) = Town::apart(&[]).await;
    let before = process.resident();
    let mut begun = Vec::new();
    for n in 0..300 {
        begun.push(begins_an_upgrade(&town.server, n % 2 == 0).await);
    }
    town.is_unharmed("upgrades that never finish").await;
    let ends = async {
        for (_, websocket) in &mut begun {
            while let Some(Ok(message)) = websocket.next().await {
                assert!(!message.is_binary());
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ends).await;
    assert!(ended.is_ok(), "an upgrade was waited for without end");
    drop(begun);
    town.is_unharmed("their end").await;
    memory_is_back(&process, before, 32 * MIB).await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_that_never_come_cost_a_page_its_payload_and_no_more() {
    const PAGES: usize = 200;
    let (process, mut town) = Town::apart(&[]).await;
    let before = process.resident();
    let places: Vec<String> = (0..10)
        .map(|n| format!(r#"{{"_placeholder":true,"num":{n}}}"#))
        .collect();
    let header = format!(r#"4510-["x",{}]"#, places.join(","));
    let mut waiting = Vec::new();
    for n in 0..PAGES {
        let dialect = [EIO3_WEBSOCKET, EIO4_WEBSOCKET][n % 2];
        let mut page = town.server.login_by(dialect, "collector").await;
        page.tries_to_send(&[&header]).await;
        // Nine of ten, each just below the limit of a payload.
        for _ in 0..9 {
            let attachment = vec![4; 127 * 1024];
            if !page.sends_frame(Message::binary(attachment)).await {
                break;
            }
        }
        waiting.push(page);
    }
    town.is_unharmed("attachments that never come").await;
    let most = before + PAGES as u64 * 300 * 1024;
    assert!(process.resident() < most, "all that came was kept");
    drop(waiting);
    town.is_alone().await;
    memory_is_back(&process, before, 48 * MIB).await;
    // A count that cannot be meant, none, and one where text follows.
    for header in [
        "4518446744073709551615-[\"x\"]",
        "4599999999-[\"x\",{\"_placeholder\":true,\"num\":0}]",
        "4511-[\"x\"]",
        "450-[\"login\",{\"_placeholder\":true,\"num\":0}]",
        "451-[\"login\",{\"_placeholder\":true,\"num\":0}]",
    ] {
        for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
            let mut page = town.server.connect_by(dialect).await;
            let follows = r#"42["login","follows"]"#;
            page.tries_to_send(&[header, follows, header]).await;
            page.leaves().await;
        }
        town.is_unharmed(header).await;
    }
    town.is_alone().await;
    has_said_little(process, 20).await;
}

const SECRET: &str = "a secret of the backend";

fn good_token(uid: &str) -> String {
    token(uid, u64::MAX >> 20, SECRET)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_logins_are_refused_has_to_go_and_one_that_never_logs_in_is_a_guest() {
    let (process, server) = server_apart(
        campanile,
        &["auth.mode=signed", &format!("auth.secret={SECRET}")],
    )
    .await;
    let mut town = Town::around(server, good_token).await;
    for dialect in DIALECTS {
        let mut guest = town.server.connect_by(dialect).await;
        let mut page = town.server.connect_by(dialect).await;
        for _ in 0..5 {
            page.logs_in_with(r#""honest 1""#).await;
            let told = next_of(&mut page, "login_error").await;
            assert_eq!(told["code"], "not_a_token");
            assert_eq!(told["ok"], false);
        }
        page.is_disconnected().await;
        town.is_unharmed("logins that are refused").await;
        guest.receives(&town.last_first()).await;
        guest.leaves().await;
    }
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_served_and_a_flood_is_told_so_and_cut() {
    let mut town = Town::start_with(|config| config.limits.events_per_second = 100).await;
    for dialect in DIALECTS {
        let mut page = town.server.login_by(dialect, "talks").await;
        page.sends_together(&[r#"42["new_msg",{}]"#; 900]).await;
        assert!(page.is_heard().await, "{dialect:?} was cut after a burst");
        assert_eq!(town.server.push("talks", "go on").await, "ok");
        page.receives("go on").await;
        page.tries_to_send(&[r#"42["login","talks"]"#; 1000]).await;
        if !dialect.polling {
            let told = next_of(&mut page, "limit").await;
            assert_eq!(told["code"], "events");
        }
        // What follows in the same payload may end a polling page's session before it is told.
        while page
            .next_packet()
            .await
            .is_some_and(|packet| packet != "41")
        {}
        town.is_unharmed("a flood").await;
        town.server.waits_until_offline("talks").await;
    }
    let mut raw = RawPage::saying(town.server.uid_socket(), "talks").await;
    let words: Vec<u8> = (0..2000).flat_map(|_| text("x").bytes()).collect();
    raw.sends(words).await;
    assert_eq!(raw.is_closed_with(1008).await, "too many messages");
    town.is_unharmed("a flood of frames").await;
    town.is_alone().await;
    assert_eq!(town.refused_by("events").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_what_is_no_event_harms_nobody_else() {
    let mut town = Town::start().await;
    for packet in [
        "40/nowhere,",
        r#"42["no such event"]"#,
        "43999[]",
        r#"4399["not yours"]"#,
        "2",
    ] {
        for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
            let mut page = town.server.login_by(dialect, "babbles").await;
            let many = vec![packet; 1000];
            for _ in 0..5 {
                if !page.tries_to_send(&many).await {
                    break;
                }
            }
            town.is_unharmed(packet).await;
            page.resets();
        }
    }
    town.is_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_packets_before_a_page_has_joined_harm_nobody() {
    let mut town = Town::start().await;
    let long = "x".repeat(127 * 1024);
    let packets = [
        format!(r#"42["login","{long}"]"#),
        format!(r#"40{{"uid":"{long}"}}"#),
        format!(r#"40{{"token":["{long}"]}}"#),
        format!("40/{long},"),
        format!(r#"40{{"uid":"{long}{long}"}}"#),
    ];
    for dialect in [EIO4_WEBSOCKET, EIO4_POLLING] {
        for packet in &packets {
            let tcp = stranger(1, town.server.socketio()).await;
            let mut page = Page::open(tcp, dialect).await;
            page.reads_handshake().await;
            for _ in 0..10 {
                if !page.tries_to_send(&[packet]).await {
                    break;
                }
            }
            town.is_unharmed(&packet[..20]).await;
        }
    }
    let mut raw = RawPage::open(town.server.uid_socket()).await;
    raw.says(&"u".repeat(9 * MIB as usize)).await;
    raw.is_closed_with(1008).await;
    town.is_unharmed("a uid of 9 MiB").await;
    town.is_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_in_pieces_is_taken_below_the_limit_and_ends_its_page_above_it() {
    const LIMIT: usize = 64 * 1024;
    let mut town = Town::start_with(|config| {
        config.socketio.max_payload = ByteSize::b(LIMIT as u64);
    })
    .await;
    for (length, is_taken) in [(LIMIT - 16, true), (LIMIT + 16, false)] {
        for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
            let mut page = town.server.connect_by(dialect).await;
            let event = format!(r#"42["x","{}"]"#, "x".repeat(length - 9));
            let mut opcode = OpCode::Data(Data::Text);
            let mut lasts = true;
            for piece in event.as_bytes().chunks(1000) {
                let piece = Frame::message(piece.to_vec(), opcode, false);
                lasts = lasts && page.sends_frame(Message::Frame(piece)).await;
                opcode = OpCode::Data(Data::Continue);
            }
            let last = Frame::message(Vec::new(), opcode, true);
            lasts = lasts && page.sends_frame(Message::Frame(last)).await;
            let is_heard = lasts && page.is_heard().await;
            assert_eq!(is_heard, is_taken, "{length} bytes of {dialect:?}");
            town.is_unharmed("a payload in pieces").await;
        }
    }
}

/// `42["login","packed"]`, by gzip.
const PACKED: [u8; 40] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x33, 0x31, 0x8a, 0x56, 0xca, 0xc9,
    0x4f, 0xcf, 0xcc, 0x53, 0xd2, 0x51, 0x2a, 0x48, 0x4c, 0xce, 0x4e, 0x4d, 0x51, 0x8a, 0x05, 0x00,
    0xe6, 0x32, 0x1d, 0x77, 0x14, 0x00, 0x00, 0x00,
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_unpacked_and_compression_is_never_agreed_on() {
    let mut town = Town::start().await;
    let page = town.server.connect_by(EIO4_POLLING).await;
    for encoding in ["gzip", "deflate", "br", "gzip, gzip", "zstd"] {
        let mut http = Http::open(town.server.socketio()).await;
        let head = format!(
            "POST {OPEN}&sid={} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
             Content-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            page.sid,
            PACKED.len()
        );
        http.send([head.as_bytes(), &PACKED].concat()).await;
        http.answer_or_end().await;
        town.is_unharmed(encoding).await;
    }
    town.is_alone().await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (mut raw, head) = RawPage::open_with(town.server.uid_socket(), offer).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(!head.to_lowercase().contains("extensions"), "{head}");
    raw.sends_frames([text("packed").reserved(0x40)]).await;
    raw.is_cut().await;
    let mut http = Http::open(town.server.socketio()).await;
    let target = EIO4_WEBSOCKET.target();
    http.send(format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n{KEY}{offer}\r\n"
    ))
    .await;
    let answer = http.answer().await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-extensions"), None);
    http.send(text(r#"40{"uid":"packed"}"#).reserved(0x40).bytes())
        .await;
    assert!(http.is_cut_off().await, "a packed frame was taken");
    eventually("nobody to be packed", async || {
        town.server.push("packed", "?").await == "offline"
    })
    .await;
    town.is_unharmed("packed frames").await;
}
