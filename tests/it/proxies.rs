//! Proxies in front of the server, and those who only say that they are one. Whom a request is from
//! is looked at beside the code, in `net`.

use campanile::config::Trusted;
use campanile::config::load::{Sources, load};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::certificate::Pair;
use crate::harness::http::Http;
use crate::harness::line::Line;
use crate::harness::page::{DIALECTS, Page};
use crate::harness::{FREE, Server, eventually};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC0\0\x02\x07\x0A\0\0\x01\x12\x67\0\x50";
const PUSH: &[u8] = b"GET /?type=publish&to=alice&content=hi HTTP/1.1\r\nHost: x\r\n\r\n";

fn server(trusted: &str) -> Server {
    Server::start_with(|config| {
        let trusted: Result<Trusted, _> = trusted.parse();
        config.proxy.trusted = vec![trusted.expect("a network")];
        config.proxy.protocol = true;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_begins_with_the_proxy_protocol() {
    let server = server("127.0.0.0/8");
    for header in [V1, V2] {
        let mut http = Http::open(server.http()).await;
        for piece in header.chunks(5) {
            http.send(piece).await;
        }
        for _ in 0..2 {
            http.send(PUSH).await;
            assert_eq!(http.answer().await.text(), "offline");
        }
        for dialect in DIALECTS {
            let mut http = Http::open(server.socketio()).await;
            http.send(header).await;
            let mut page = Page::open(http.line, dialect).await;
            page.joins().await;
            page.logs_in("bob").await;
            page.leaves().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_that_does_not_is_shown_out_unheard() {
    let server = server("127.0.0.1");
    for garbage in [
        PUSH,
        b"PROXY TCP4 nonsense\r\nGET / HTTP/1.1\r\n\r\n",
        &[b"PROXY TCP4 ", &[b'1'; 4096][..]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF",
        b"PRO",
    ] {
        for address in [server.http(), server.socketio()] {
            let mut http = Http::open(address).await;
            http.send(garbage).await;
            http.finish_sending().await;
            http.ends().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_anybody_else_a_proxys_header_is_no_request() {
    let server = server("10.0.0.0/8");
    for header in [V1, V2] {
        let mut http = Http::open(server.http()).await;
        http.send([header, PUSH].concat()).await;
        assert_eq!(http.answer().await.status, 400);
    }
    let mut http = Http::open(server.http()).await;
    http.send(PUSH).await;
    assert_eq!(http.answer().await.text(), "offline");
    let mut page = server.login("alice").await;
    assert_eq!(server.push("alice", "hi").await, "ok");
    page.receives("hi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_header_comes_before_the_handshake_of_tls() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder"), Pair::new());
    let (cert, key) = pair.write(folder.path());
    let server = Server::start_with(|config| {
        (config.tls.cert, config.tls.key) = (cert, key);
        config.proxy.trusted = vec!["127.0.0.1".parse().expect("an address")];
        config.proxy.protocol = true;
    });
    for header in [V1, V2] {
        let mut tcp = TcpStream::connect(server.http()).await.expect("it is open");
        tcp.write_all(header).await.expect("sent");
        let line = Line::secured(tcp, &pair.connector()).await;
        let mut http = Http::over(line.expect("hands are shaken"));
        http.send(PUSH).await;
        assert_eq!(http.answer().await.text(), "offline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_proxys_header_names_has_so_many_connections() {
    let server = Server::start_with(|config| {
        config.proxy.trusted = vec!["127.0.0.1".parse().expect("an address")];
        config.proxy.protocol = true;
        config.limits.exempt.clear();
        config.limits.connections_per_peer = 2;
        config.uid_socket.listen = FREE;
    });
    let request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    let other = b"PROXY TCP4 192.0.2.8 10.0.0.1 4711 80\r\n";
    for address in [server.socketio(), server.uid_socket()] {
        let asks = async |header: &[u8]| {
            let mut http = Http::open(address).await;
            http.send([header, request].concat()).await;
            let answer = http.answer().await;
            (http, answer)
        };
        let mut standing = Vec::new();
        for header in [V1, V2] {
            let mut http = Http::open(address).await;
            http.send(header).await;
            standing.push(http);
        }
        eventually("their places to be taken", async || {
            let (mut http, answer) = asks(V1).await;
            if answer.status != 503 {
                return false;
            }
            assert_eq!(answer.header("retry-after"), Some("5"));
            http.ends().await;
            true
        })
        .await;
        assert_eq!(asks(other).await.1.status, 400, "another peer");
        drop(standing);
        eventually("a place", async || asks(V2).await.1.status == 400).await;
    }
}

#[test]
fn a_mistake_about_who_may_come_and_how_is_told_with_its_key() {
    for (flags, words) in [
        (
            &["proxy.trusted=[\"10.0.0.0/33\"]"][..],
            &["proxy.trusted", "10.0.0.0/33"][..],
        ),
        (
            &["proxy.trusted=[\"nginx\"]"],
            &["proxy.trusted", "nginx", "unix"],
        ),
        (
            &["proxy.header=x-real-ip"],
            &["proxy.header", "x-real-ip", "x-forwarded-for"],
        ),
        (
            &["proxy.protocol=true"],
            &["proxy.protocol", "proxy.trusted"],
        ),
        (&["tls.cert=c.pem"], &["tls.key", "tls.cert"]),
        (&["tls.key=k.pem"], &["tls.cert", "tls.key"]),
        (
            &["tls.listeners=[\"udp\"]"],
            &["tls.listeners", "udp", "socketio"],
        ),
        (&["http.unix_mode=rw"], &["http.unix_mode", "rw", "octal"]),
        (&["http.unix_mode=1777"], &["http.unix_mode", "1777"]),
        (
            &["http.unix=s", "socketio.unix=s"],
            &["http.unix", "socketio.unix"],
        ),
    ] {
        let sources = Sources {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..Sources::default()
        };
        let told = load(&sources).expect_err("a mistake").to_string();
        for word in words {
            assert!(told.contains(word), "{word} is not in {told}");
        }
    }
}
