//! How much pages may take: who is over a limit is told so and counted, and who is in already does not
//! notice. What one page may say and how many of a user there may be is in `limits_of_pages`.

use std::net::SocketAddr;

use campanile::config::{Config, Trusted};

use crate::harness::chat::{ChatPage, ChatServer};
use crate::harness::figures::Figures;
use crate::harness::http::{Answer, Http};
use crate::harness::line::Line;
use crate::harness::page::{EIO3_POLLING, EIO4_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::raw::{KEY, Pusher, RawPage};
use crate::harness::{FREE, Server, eventually, within};

/// A server that makes no exception for this machine.
pub(crate) fn limited(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        config.limits.exempt.clear();
        config.uid_socket.listen = FREE;
        config.topic_socket.listen = FREE;
        config.admin.listen = FREE;
        change(config);
    })
}

/// What opens a session: by polling, and by websocket.
pub(crate) const POLLS: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n";
pub(crate) const UPGRADES: &str =
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n";

/// Shakes hands on a connection of its own, which stays open with the answer.
async fn shakes(address: SocketAddr, head: &str, lines: &str) -> (Http, Answer) {
    let mut http = Http::open(address).await;
    let upgrade =
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}");
    let upgrade = if head == POLLS { "" } else { &upgrade };
    http.send(format!("{head}{upgrade}{lines}\r\n")).await;
    let answer = http.answer().await;
    (http, answer)
}

pub(crate) fn is_over(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.head);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let told = answer.json();
    assert_eq!(told["code"], code, "{told}");
    let text = told["message"].as_str().expect("a text for people");
    assert!(text.len() > 10 && !text.contains('"'), "{text}");
}

pub(crate) async fn counted(server: &Server, limit: &str) -> f64 {
    let name = format!(r#"campanile_refused_by_limit_total{{limit="{limit}"}}"#);
    Figures::of(server).await.value(&name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_opens_so_many_sessions_in_a_second_whatever_it_speaks() {
    let raw = "GET / HTTP/1.1\r\nHost: x\r\n";
    for way in 0..4 {
        let server = limited(|config| config.limits.handshakes_per_second = 1);
        let (address, head) = match way {
            0 => (server.socketio(), POLLS),
            1 => (server.socketio(), UPGRADES),
            2 => (server.uid_socket(), raw),
            _ => (server.topic_socket(), raw),
        };
        let mut standing = Vec::new();
        // Ten seconds' worth may come at once; some seconds may have gone by.
        let refused = loop {
            let (http, answer) = shakes(address, head, "").await;
            if !matches!(answer.status, 101 | 200) {
                break (http, answer);
            }
            standing.push(http);
            assert!(standing.len() < 100, "way {way} has no limit");
        };
        assert!(standing.len() >= 10, "{} at way {way}", standing.len());
        let (mut http, answer) = refused;
        is_over(&answer, 429, "handshakes");
        http.ends().await;
        assert!(counted(&server, "handshakes").await >= 1.0);
        // In a while it may again.
        eventually("a place", async || {
            matches!(shakes(address, head, "").await.1.status, 101 | 200)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_no_peer_unless_it_is_said_to_be() {
    let server = Server::start_with(|config| {
        config.limits.handshakes_per_second = 1;
        config.limits.connections_per_peer = 1;
    });
    for _ in 0..30 {
        assert_eq!(shakes(server.socketio(), POLLS, "").await.1.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_sessions_and_connections() {
    let server = limited(|config| config.limits.connections_per_peer = 2);
    // Sessions by one connection.
    let mut http = Http::open(server.socketio()).await;
    for _ in 0..2 {
        http.send(format!("{POLLS}\r\n")).await;
        assert_eq!(http.answer().await.status, 200);
    }
    http.send(format!("{POLLS}\r\n")).await;
    is_over(&http.answer().await, 429, "peer_connections");
    http.ends().await;
    assert_eq!(counted(&server, "peer_connections").await, 1.0);
    // Connections are refused before a word is said.
    let server = limited(|config| config.limits.connections_per_peer = 2);
    let first = RawPage::saying(server.uid_socket(), "alice").await;
    let mut second = server.login("bob").await;
    for address in [
        server.uid_socket(),
        server.socketio(),
        server.topic_socket(),
    ] {
        let mut third = Http::open(address).await;
        let answer = third.answer().await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    assert_eq!(counted(&server, "peer_connections").await, 3.0);
    assert_eq!(server.push("bob", "hi").await, "ok");
    second.receives("hi").await;
    first.leaves().await;
    eventually("the place of the first", async || {
        shakes(server.uid_socket(), "GET / HTTP/1.1\r\nHost: x\r\n", "")
            .await
            .1
            .status
            == 101
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_there_are_and_no_more() {
    let server = limited(|config| config.limits.connections = 2);
    let _raw = RawPage::saying(server.uid_socket(), "alice").await;
    let mut page = server.login("bob").await;
    for address in [server.topic_socket(), server.socketio()] {
        let mut third = Http::open(address).await;
        let answer = third.answer().await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text(), "too many connections\r\n");
        third.ends().await;
    }
    assert_eq!(counted(&server, "connections").await, 2.0);
    // Pushes and the figures have places of their own.
    assert_eq!(server.push("bob", "hi").await, "ok");
    page.receives("hi").await;
    page.leaves().await;
    eventually("its place", async || {
        shakes(server.socketio(), POLLS, "").await.1.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_push_and_no_more() {
    let server = limited(|config| {
        config.limits.reserve = 4;
        config.text.listen = FREE;
        // A peer that is not exempt has half of them.
        config.limits.exempt = vec!["127.0.0.1/32".parse().expect("a network")];
    });
    let mut first = Http::open(server.http()).await;
    let mut second = Http::open(server.http()).await;
    for http in [&mut first, &mut second] {
        http.get("/?type=publish&to=a&content=b").await;
        assert_eq!(http.answer().await.text(), "offline");
    }
    let mut third = Http::open(server.http()).await;
    assert_eq!(third.answer().await.status, 503);
    assert_eq!(counted(&server, "push_connections").await, 1.0);
    // Lines have their own, since such connections may be idle.
    let mut lines = Pusher::open(server.text()).await;
    assert_eq!(lines.pushes(r#"{"uid":"a"}"#).await, "fail");
    let mut more = Pusher::open(server.text()).await;
    assert_eq!(more.replies(1).await, ["fail"]);
    more.is_cut().await;
    assert_eq!(counted(&server, "push_connections").await, 2.0);
    // Pages have places of their own, and who was in goes on.
    let _page = server.login("alice").await;
    first.get("/?type=publish&to=alice&content=b").await;
    assert_eq!(first.answer().await.text(), "ok");
    drop(second);
    eventually("its place", async || {
        let mut http = Http::open(server.http()).await;
        http.get("/?type=publish&to=a&content=b").await;
        http.answer().await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_sessions_poll_until_one_is_upgraded_or_leaves() {
    for dialect in [EIO3_POLLING, EIO4_POLLING] {
        let server = limited(|config| config.limits.polling_sessions = 2);
        let leaving = server.connect_by(dialect).await;
        let mut upgrading = server.connect_by(dialect).await;
        let is_full = async || {
            let (_, answer) = shakes(server.socketio(), POLLS, "").await;
            if answer.status != 200 {
                is_over(&answer, 503, "polling");
                return true;
            }
            false
        };
        assert!(is_full().await, "{dialect:?}");
        let _websocket = server.connect_by(EIO4_WEBSOCKET).await;
        assert!(is_full().await, "{dialect:?}");
        assert_eq!(counted(&server, "polling").await, 2.0);
        leaving.leaves().await;
        eventually("the place of who left", async || !is_full().await).await;
        assert!(is_full().await, "{dialect:?}");
        let mut websocket = upgrades(&server, &mut upgrading).await;
        eventually("the place of who was upgraded", async || !is_full().await).await;
        assert!(is_full().await, "{dialect:?}");
        // The upgraded session is the one that it was.
        crate::limits_of_pages::says(&mut websocket, r#"42["login","alice"]"#).await;
        eventually("the page to be somebody", async || {
            server.push("alice", "hi").await == "ok"
        })
        .await;
    }
}

type Websocket = tokio_tungstenite::WebSocketStream<Line>;

/// Goes over to a websocket as clients do.
async fn upgrades(server: &Server, page: &mut Page) -> Websocket {
    let tcp = tokio::net::TcpStream::connect(server.socketio()).await;
    let line = Line::from(tcp.expect("the port is open"));
    let (eio, sid) = (page.dialect.eio, &page.sid);
    let url = format!("ws://localhost/socket.io/?EIO={eio}&transport=websocket&sid={sid}");
    let opened = within("an upgrade", tokio_tungstenite::client_async(url, line)).await;
    let (mut websocket, _) = opened.expect("a websocket opens");
    crate::limits_of_pages::says(&mut websocket, "2probe").await;
    assert_eq!(crate::limits_of_pages::next(&mut websocket).await, "3probe");
    // The poll that hangs is let go.
    page.polls_without_reading().await;
    crate::limits_of_pages::says(&mut websocket, "5").await;
    websocket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_short_of_memory_lets_nobody_in_and_keeps_who_is_in() {
    let server = limited(|config| {
        config.limits.memory = bytesize::ByteSize::b(1);
    });
    for (address, head) in [
        (server.socketio(), POLLS),
        (server.socketio(), UPGRADES),
        (server.uid_socket(), "GET / HTTP/1.1\r\nHost: x\r\n"),
    ] {
        eventually("it to be noticed", async || {
            let (_, answer) = shakes(address, head, "").await;
            if matches!(answer.status, 101 | 200) {
                return false;
            }
            is_over(&answer, 503, "memory");
            true
        })
        .await;
    }
    assert!(counted(&server, "memory").await >= 3.0);
    assert_eq!(server.push("alice", "hi").await, "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_trusted_proxy_speaks_for_is_the_peer_and_whom_another_names_is_not() {
    let network = |text: &str| text.parse::<Trusted>().expect("a network");
    let forwarded = |peer: &str| format!("X-Forwarded-For: {peer}\r\n");
    let raw = "GET / HTTP/1.1\r\nHost: x\r\n";
    let server = limited(|config| {
        config.proxy.trusted = vec![network("127.0.0.1")];
        config.limits.connections_per_peer = 1;
    });
    for (address, head) in [(server.socketio(), POLLS), (server.uid_socket(), raw)] {
        let net = if head == POLLS {
            "192.0.2"
        } else {
            "198.51.100"
        };
        let mut standing = Vec::new();
        for host in 1..=3 {
            let peer = forwarded(&format!("{net}.{host}"));
            let (http, answer) = shakes(address, head, &peer).await;
            assert!(matches!(answer.status, 101 | 200), "{}", answer.head);
            standing.push(http);
            let (_, answer) = shakes(address, head, &peer).await;
            is_over(&answer, 429, "peer_connections");
        }
        // What the page itself wrote before the proxy's word is nobody's.
        let forged = forwarded(&format!("203.0.113.9, {net}.1"));
        let (_, answer) = shakes(address, head, &forged).await;
        is_over(&answer, 429, "peer_connections");
    }
    let server = limited(|config| {
        config.proxy.trusted = vec![network("10.0.0.0/8")];
        config.limits.connections_per_peer = 1;
    });
    let mut http = Http::open(server.socketio()).await;
    http.send(format!("{POLLS}{}\r\n", forwarded("192.0.2.1")))
        .await;
    assert_eq!(http.answer().await.status, 200);
    http.send(format!("{POLLS}{}\r\n", forwarded("192.0.2.2")))
        .await;
    is_over(&http.answer().await, 429, "peer_connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_pages_shake_hands_within_the_same_limits() {
    let server = ChatServer::start_with(|config| {
        config.limits.exempt.clear();
        config.limits.handshakes_per_second = 1;
    })
    .await;
    let mut pages: Vec<ChatPage> = Vec::new();
    for _ in 0..10 {
        pages.push(server.chats_as("alice").await);
    }
    let head = "GET /chat HTTP/1.1\r\nHost: x\r\n";
    let mut tries = 0;
    let answer = loop {
        let (_, answer) = shakes(server.chat(), head, "").await;
        if answer.status != 101 {
            break answer;
        }
        tries += 1;
        assert!(tries < 90, "there is no limit");
    };
    is_over(&answer, 429, "handshakes");
}
