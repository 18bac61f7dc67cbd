//! Pages that misbehave. After each of them every honest page still gets its next message within
//! a second, and nobody else has been disconnected.

use std::time::Duration;

use bytesize::ByteSize;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::Server;
use crate::harness::http::Http;
use crate::harness::page::{
    DIALECTS, EIO3_POLLING, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page,
};

const MAX_PAYLOAD: usize = 64 * 1024;

/// A server with an honest page of every dialect on it.
struct Town {
    server: Server,
    honest: Vec<Page>,
}

impl Town {
    async fn new() -> Self {
        let server = Server::start_with(|config| {
            config.socketio.max_payload = ByteSize::b(MAX_PAYLOAD as u64);
        });
        let mut honest = Vec::new();
        for (n, dialect) in DIALECTS.into_iter().enumerate() {
            honest.push(server.login_by(dialect, &format!("honest {n}")).await);
        }
        Self { server, honest }
    }

    /// Each honest page gets a message of its own, and nothing besides, within a second.
    async fn is_unharmed(&mut self, after: &str) {
        for (n, page) in self.honest.iter_mut().enumerate() {
            let uid = format!("honest {n}");
            let delivery = async {
                assert_eq!(
                    self.server.push(&uid, after).await,
                    "ok",
                    "{uid} after {after}"
                );
                assert_eq!(page.next_message().await, escaped(after), "{uid}");
            };
            let delivered = tokio::time::timeout(Duration::from_secs(1), delivery).await;
            assert!(delivered.is_ok(), "{uid} waited too long after {after}");
        }
    }
}

fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#039;")
}

/// Gives the server a moment to take in what was sent. Some attacks leave it waiting for more,
/// so that no answer tells when.
async fn settles(page: &mut Page) {
    let moment = Duration::from_millis(100);
    tokio::time::timeout(moment, page.is_heard()).await.ok();
}

/// The original's worker died of most of these; a page may send them by mistake and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_mean_nothing_are_ignored_and_the_page_goes_on() {
    let mut town = Town::new().await;
    for dialect in DIALECTS {
        let mut page = town.server.connect_by(dialect).await;
        for packet in [
            r#"42["login"]"#,
            r#"420["login"]"#,
            r#"42"str""#,
            r#"42{"a":1}"#,
            r#"42[["login"],"x"]"#,
            r#"42[{"a":1},"x"]"#,
            r#"42[5,"x"]"#,
            r#"42[null]"#,
            "42null",
            "42true",
            r#"42["no such event"]"#,
            r#"42["new_msg","forged"]"#,
            r#"42["update_online_count","forged"]"#,
            r#"42["disconnect"]"#,
            r#"42["connection"]"#,
            r#"42["__proto__",{"__proto__":1}]"#,
            r#"4399["never issued"]"#,
            "430[]",
            r#"42/admin,["login","admin"]"#,
            "40/admin,",
            r#"40/admin,{"token":1}"#,
        ] {
            page.sends(packet).await;
            assert!(
                page.is_heard().await,
                "{dialect:?} was cut off after {packet}"
            );
        }
        town.is_unharmed("events that mean nothing").await;
        page.logs_in("mistaken").await;
        assert_eq!(town.server.push("mistaken", "hi").await, "ok");
        page.receives("hi").await;
        page.leaves().await;
        town.server.waits_until_offline("mistaken").await;
    }
}

/// Texts that are no packets, or not now, or not to the end.
const NO_PACKETS: &[&str] = &[
    "",
    "4",
    "42",
    "425",
    "42123",
    "48",
    "49[]",
    "4z",
    "7",
    "9",
    "abc",
    " 42[]",
    "42[",
    "42]",
    "42[]",
    r#"42["login""#,
    r#"42["login",}"#,
    r#"42["login","\ud83d"]"#,
    "44",
    "41/none,",
    "43",
    "43[]",
    "43999999999999999999999[]",
    "42999999999999999999999[]",
    "0",
    "1",
    "2",
    "3",
    "3probe",
    "2probe",
    "5",
    "6",
    "40",
    "40{",
    "40[]",
    "40/",
    "40/x?y=1,",
    "40,",
    "41",
    "b",
    "bAAAA",
    "b4AAAA",
    "45",
    "45-",
    r#"450-["x"]"#,
    r#"451-["x"]"#,
    r#"451-["x",{"_placeholder":true,"num":0}]"#,
    r#"45999999999-["x"]"#,
    r#"4518446744073709551615-["x",{"_placeholder":true,"num":7}]"#,
    "461-[]",
    r#"451-["login",{"_placeholder":true,"num":99}]"#,
    "45x-[]",
    "\0",
    "4\u{0}2[]",
];

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_none_harm_nobody_else() {
    let mut town = Town::new().await;
    let deep = format!(r#"42["x",{}1{}]"#, "[".repeat(20_000), "]".repeat(20_000));
    let name = format!(r#"42["{}"]"#, "n".repeat(MAX_PAYLOAD - 1024));
    let large = [deep.as_str(), name.as_str()];
    for packet in NO_PACKETS.iter().copied().chain(large) {
        for dialect in DIALECTS {
            let mut page = town.server.connect_by(dialect).await;
            page.tries_to_send(&[packet]).await;
            settles(&mut page).await;
        }
        town.is_unharmed(&format!("{packet:.40}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_before_the_connect_and_after_the_disconnect_harm_nobody_else() {
    let mut town = Town::new().await;
    for (dialect, before) in [(EIO4_WEBSOCKET, true), (EIO4_POLLING, true)]
        .into_iter()
        .chain(DIALECTS.map(|dialect| (dialect, false)))
    {
        let tcp = tokio::net::TcpStream::connect(town.server.socketio()).await;
        let mut page = Page::open(tcp.expect("the port is open"), dialect).await;
        page.reads_handshake().await;
        if !before {
            page.tries_to_send(&["40"]).await;
            page.tries_to_send(&["41"]).await;
        }
        page.tries_to_send(&[r#"42["login","early"]"#]).await;
        page.tries_to_send(&[r#"42["login","early"]"#, "40", r#"42["login","early"]"#])
            .await;
        settles(&mut page).await;
        town.is_unharmed("events at the wrong time").await;
        drop(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_twice_and_to_a_thousand_namespaces_harms_nobody_else() {
    let mut town = Town::new().await;
    for dialect in DIALECTS {
        let mut page = town.server.login_by(dialect, "greedy").await;
        page.tries_to_send(&["40", "40", r#"42["login","ghost"]"#])
            .await;
        let names: Vec<String> = (0..1000).map(|n| format!("40/{n},")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        page.tries_to_send(&names).await;
        settles(&mut page).await;
        town.is_unharmed("a thousand namespaces").await;
        page.leaves().await;
        // No ghost is left behind, as the original's second socket on a connection was.
        town.server.waits_until_offline("greedy").await;
        town.server.waits_until_offline("ghost").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_in_one_burst_harm_nobody() {
    let mut town = Town::new().await;
    for dialect in DIALECTS {
        let mut page = town.server.connect_by(dialect).await;
        let mut packets = vec![r#"42["no such event",{"a":[1,2,3]}]"#; 999];
        packets.push(r#"42["login","eager"]"#);
        page.sends_together(&packets).await;
        page.next_count().await;
        assert_eq!(town.server.push("eager", "hi").await, "ok");
        page.receives("hi").await;
        town.is_unharmed("a thousand events").await;
        page.leaves().await;
        town.server.waits_until_offline("eager").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_just_below_the_limit_is_taken_and_one_above_it_is_refused() {
    let mut town = Town::new().await;
    for dialect in DIALECTS {
        let mut page = town.server.connect_by(dialect).await;
        let event = |length: usize| format!(r#"42["x","{}"]"#, "x".repeat(length - 9));
        assert!(
            page.tries_to_send(&[&event(MAX_PAYLOAD - 16)]).await,
            "{dialect:?}"
        );
        assert!(
            page.is_heard().await,
            "{dialect:?} was cut off by a payload below the limit"
        );
        town.is_unharmed("a payload below the limit").await;
        let sent = page.tries_to_send(&[&event(MAX_PAYLOAD + 16)]).await;
        if dialect.polling {
            assert!(!sent, "{dialect:?}: a payload above the limit was taken");
        } else {
            page.is_disconnected().await;
        }
        town.is_unharmed("a payload above the limit").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_where_text_is_due_harms_nobody_else() {
    let mut town = Town::new().await;
    let login = br#"42["login","binary"]"#;
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let frames: [&[u8]; 6] = [
            b"",
            &[0; 100],
            &[4, 0xff, 0xfe],
            login,
            b"\x042",
            &[0xff; 5000],
        ];
        for frame in frames {
            let mut page = town.server.connect_by(dialect).await;
            page.sends_frame(Message::binary(frame.to_vec())).await;
            page.sends_frame(Message::Ping(b"with a payload"[..].into()))
                .await;
            page.sends_frame(Message::Pong(b"unasked for"[..].into()))
                .await;
            settles(&mut page).await;
            town.is_unharmed("binary frames").await;
        }
    }
    let payloads: [&[u8]; 12] = [
        b"0:",
        b"abc",
        b"1:9",
        b"1:1",
        b"-1:4",
        b"99999999999999999999:4",
        b"9999:42[\"a\"]",
        b"3:42[\"login\",\"lies\"]",
        b"\x00\x02\xff4",
        b"\xff\xfe\x1e\xf0\x9f",
        b"\x1e\x1e\x1e",
        b"",
    ];
    for dialect in [EIO3_POLLING, EIO4_POLLING] {
        for payload in payloads {
            let mut page = town.server.connect_by(dialect).await;
            page.posts(payload).await;
            settles(&mut page).await;
            town.is_unharmed(&format!("the payload {}", payload.escape_ascii()))
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_begun_and_not_finished_harm_nobody() {
    let mut town = Town::new().await;
    let mut begun = Vec::new();
    for n in 0..300 {
        let mut http = Http::open(town.server.socketio()).await;
        http.get("/socket.io/?EIO=4&transport=polling").await;
        assert_eq!(http.answer().await.status, 200);
        if n % 3 == 0 {
            begun.push(http);
        }
    }
    town.is_unharmed("sessions that never poll").await;
    let mut half_upgraded = Vec::new();
    for n in 0..50 {
        let page = town.server.connect_by(EIO4_POLLING).await;
        let tcp = tokio::net::TcpStream::connect(town.server.socketio()).await;
        let sid = &page.sid;
        let url = format!("ws://localhost/socket.io/?EIO=4&transport=websocket&sid={sid}");
        let tcp = tcp.expect("the port is open");
        let probing = tokio_tungstenite::client_async(url, tcp).await;
        let (mut websocket, _) = probing.expect("an upgrade begins");
        if n % 2 == 0 {
            use futures_util::SinkExt as _;
            websocket
                .send(Message::text("2probe"))
                .await
                .expect("the probe is taken");
        }
        half_upgraded.push((page, websocket));
    }
    town.is_unharmed("upgrades that are never finished").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_harm_nobody() {
    let mut town = Town::new().await;
    let padding = "X-Padding: x\r\n".repeat(20_000);
    let post = "POST /?EIO=4&transport=polling";
    for request in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "garbage\r\n\r\n".to_owned(),
        "\x16\x03\x01\x00\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /?transport=telepathy HTTP/1.1\r\n\r\n".to_owned(),
        "GET /?EIO=9&transport=polling HTTP/1.1\r\n\r\n".to_owned(),
        "GET /?EIO=4&transport=polling&sid=0000000000000000 HTTP/1.1\r\n\r\n".to_owned(),
        "GET /?EIO=4&transport[]=polling&sid[]=x HTTP/1.1\r\n\r\n".to_owned(),
        "GET /?EIO=4&transport=websocket HTTP/1.1\r\n\r\n".to_owned(),
        "GET /?EIO=4&transport=websocket HTTP/1.1\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
            .to_owned(),
        "PUT /?EIO=4&transport=polling HTTP/1.1\r\n\r\n".to_owned(),
        format!("{post} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n4x"),
        format!("{post} HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n4"),
        format!("{post}&sid=x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n"),
        format!("{post}&sid=%ff HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n4"),
        format!("GET /?EIO=4&transport=polling HTTP/1.1\r\n{padding}"),
    ] {
        let mut http = Http::open(town.server.socketio()).await;
        http.send(&request).await;
        let answer = tokio::time::timeout(Duration::from_millis(500), http.poll()).await;
        if let Ok(Some(answer)) = answer {
            assert!(
                answer.status >= 400 || answer.status == 200,
                "{request:.60}"
            );
        }
        town.is_unharmed(&format!("{request:.60}")).await;
    }
}
