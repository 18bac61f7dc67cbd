//! Pages and backends that come by TLS, and certificates that change under them.

use std::path::Path;

use campanile::config::TlsListener;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::harness::certificate::Pair;
use crate::harness::http::Http;
use crate::harness::line::{Door, Line};
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::process::{Process, campanile, output_of};
use crate::harness::recovery::recovering_with;
use crate::harness::{FREE, Server, eventually, within};
use crate::recovery_load::connections_break_all_the_time;
use crate::stall::narrow_connection;

const FORM: &str = "application/x-www-form-urlencoded";

fn tls_settings(folder: &Path) -> [String; 2] {
    let setting = |key, file: &str| format!("tls.{key}={}", folder.join(file).display());
    [setting("cert", "cert.pem"), setting("key", "key.pem")]
}

/// A server in a process of its own that speaks TLS to pages.
async fn process(folder: &Path, more: &[&str]) -> Process {
    let [cert, key] = tls_settings(folder);
    let always = [cert.as_str(), &key, "presence.interval=1h"];
    let settings: Vec<_> = always.iter().chain(more).copied().collect();
    Process::start("127.0.0.1:0", "127.0.0.1:0", &settings).await
}

const PAGES_ONLY: &str = r#"tls.listeners=["socketio"]"#;

fn a_certificate() -> (TempDir, Pair) {
    let (folder, pair) = (tempfile::tempdir().expect("a folder"), Pair::new());
    pair.write(folder.path());
    (folder, pair)
}

fn server(folder: &Path) -> Server {
    Server::start_with(|config| {
        config.tls.cert = folder.join("cert.pem");
        config.tls.key = folder.join("key.pem");
    })
}

async fn pushes(http: &mut Http, to: &str, content: &str) -> String {
    let body = format!("type=publish&to={to}&content={content}");
    http.post("/", FORM, body.as_bytes()).await;
    http.answer().await.text()
}

/// Waits until alice is offline.
async fn is_left(http: &mut Http) {
    let left = async { while pushes(http, "alice", "while away").await != "offline" {} };
    within("alice to be offline", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_connect_and_backends_push_by_tls() {
    let (folder, pair) = a_certificate();
    let server = server(folder.path());
    let pages = Door::Tls(server.socketio(), pair.connector());
    let mut http = Http::by(&Door::Tls(server.http(), pair.connector())).await;
    for dialect in DIALECTS {
        let mut page = Page::connect(pages.clone(), dialect).await;
        page.logs_in("alice").await;
        assert_eq!(pushes(&mut http, "alice", "hi").await, "ok");
        page.receives("hi").await;
        // More than TLS takes at once.
        let long = "x".repeat(1024 * 1024);
        assert_eq!(pushes(&mut http, "alice", &long).await, "ok");
        page.receives(&long).await;
        page.leaves().await;
        is_left(&mut http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_versions_are_spoken_and_http_1_on_them() {
    let (folder, pair) = a_certificate();
    let server = server(folder.path());
    for version in [&TLS12, &TLS13] {
        let connector = |protocols: &[&[u8]]| {
            pair.connector_with(&[version], |config| {
                config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            })
        };
        for protocols in [&[][..], &[b"h2", &b"http/1.1"[..]], &[b"http/1.1"]] {
            let door = Door::Tls(server.http(), connector(protocols));
            let mut http = Http::by(&door).await;
            assert_eq!(pushes(&mut http, "alice", "hi").await, "offline");
        }
        let tcp = TcpStream::connect(server.http()).await;
        let only_2 = connector(&[b"h2".as_slice()]);
        let refused = Line::secured(tcp.expect("the port is open"), &only_2).await;
        refused.expect_err("HTTP/2 is not spoken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_stops_reading_is_cut_by_tls_and_delays_nobody() {
    let (folder, pair) = a_certificate();
    let server = Server::start_with(|config| {
        config.tls.cert = folder.path().join("cert.pem");
        config.tls.key = folder.path().join("key.pem");
        config.tls.listeners = vec![TlsListener::SocketIo];
        config.socketio.max_queue = 64;
    });
    let tcp = narrow_connection(server.socketio()).await;
    let line = Line::secured(tcp, &pair.connector()).await;
    let mut stalled = Page::open(line.expect("hands are shaken"), EIO4_WEBSOCKET).await;
    stalled.joins().await;
    stalled.logs_in("stalled").await;
    let door = Door::Tls(server.socketio(), pair.connector());
    let mut honest = Page::connect(door, EIO4_WEBSOCKET).await;
    honest.logs_in("honest").await;
    let long = "x".repeat(5000);
    let pushing = async { while server.push("stalled", &long).await == "ok" {} };
    within("the page to be cut", pushing).await;
    assert_eq!(server.push("honest", "hi").await, "ok");
    honest.receives("hi").await;
    stalled.is_disconnected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_sends_pages_away_by_tls_and_waits_for_nobody() {
    let (folder, pair) = a_certificate();
    let mut process = process(folder.path(), &[PAGES_ONLY]).await;
    let door = Door::Tls(process.socketio, pair.connector());
    let mut pages = Vec::new();
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let mut page = Page::connect(door.clone(), dialect).await;
        page.logs_in("alice").await;
        pages.push(page);
    }
    // One that is still shaking hands.
    let silent = Http::open(process.socketio).await;
    process.signal("TERM").await;
    for page in &mut pages {
        page.is_disconnected().await;
    }
    process.logs("stopped").await;
    assert!(process.ends().await.success());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_speak_tls_is_shown_out() {
    let (folder, pair) = a_certificate();
    let server = server(folder.path());
    let mut silent = Http::open(server.http()).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 4096],
        &[0x16, 0x03, 0x01, 0xFF, 0xFF, 0x01],
        b"",
    ] {
        for address in [server.http(), server.socketio()] {
            let mut http = Http::open(address).await;
            http.send(garbage).await;
            http.finish_sending().await;
            assert!(http.is_cut_off().await, "{garbage:?}");
        }
    }
    // A client that trusts somebody else goes away by itself.
    let tcp = TcpStream::connect(server.http()).await;
    let stranger = Pair::new().connector();
    let refused = Line::secured(tcp.expect("the port is open"), &stranger).await;
    refused.expect_err("not trusted");
    let mut http = Http::by(&Door::Tls(server.http(), pair.connector())).await;
    assert_eq!(pushes(&mut http, "alice", "hi").await, "offline");
    // Whoever says nothing has ten seconds.
    assert!(silent.is_cut_off().await);
    assert_eq!(pushes(&mut http, "alice", "hi").await, "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_connection_had_not_delivered_comes_again_by_tls() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let (folder, pair) = a_certificate();
        let server = recovering_with(|config| {
            config.tls.cert = folder.path().join("cert.pem");
            config.tls.key = folder.path().join("key.pem");
            config.recovery.rewind = std::time::Duration::ZERO;
        });
        let door = Door::Tls(server.socketio(), pair.connector());
        let mut http = Http::by(&Door::Tls(server.http(), pair.connector())).await;
        let tcp = narrow_connection(server.socketio()).await;
        let line = Line::secured(tcp, &pair.connector()).await;
        let mut page = Page::open(line.expect("hands are shaken"), dialect).await;
        page.joins().await;
        page.logs_in("alice").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(2000));
        for n in 0..300 {
            assert_eq!(pushes(&mut http, "alice", &content(n)).await, "ok");
        }
        for n in 0..5 {
            page.receives(&content(n)).await;
        }
        page.resets();
        is_left(&mut http).await;
        let mut page = Page::connect(door, dialect).await;
        page.logs_in_with(r#""alice""#).await;
        let first = page.next_message().await;
        let at = first.split_once(' ').and_then(|(at, _)| at.parse().ok());
        let at: usize = at.expect("a number");
        // What its kernel had, or its TLS, may have been read, or not: that is about 130 kB. What ours
        // had is as much again, and did not arrive.
        assert!(at < 80, "only {at} and later came again");
        for n in at + 1..300 {
            page.receives(&content(n)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_all_the_time_lose_nothing_by_tls() {
    let (folder, pair) = a_certificate();
    let process = process(folder.path(), &[PAGES_ONLY, "recovery.rewind=100ms"]).await;
    let door = Door::Tls(process.socketio, pair.connector());
    connections_break_all_the_time(process, &door).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_connections_and_costs_no_old_one() {
    let (folder, old) = a_certificate();
    let server = server(folder.path());
    let address = server.socketio();
    let mut page = Page::connect(Door::Tls(address, old.connector()), EIO4_WEBSOCKET).await;
    page.logs_in("alice").await;
    let mut http = Http::by(&Door::Tls(server.http(), old.connector())).await;
    let new = Pair::new();
    new.write(folder.path());
    let connector = new.connector();
    eventually("the new certificate to be shown", async || {
        let tcp = TcpStream::connect(address).await;
        let tcp = tcp.expect("the port is open");
        Line::secured(tcp, &connector).await.is_ok()
    })
    .await;
    assert_eq!(pushes(&mut http, "alice", "still here").await, "ok");
    page.receives("still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_loads_the_certificate_and_a_broken_one_changes_nothing() {
    let (folder, old) = a_certificate();
    let mut process = process(folder.path(), &[]).await;
    let door = Door::Tls(process.socketio, old.connector());
    let mut http = Http::by(&Door::Tls(process.http, old.connector())).await;
    let mut page = Page::connect(door.clone(), EIO4_WEBSOCKET).await;
    page.logs_in("alice").await;
    // The key of another.
    std::fs::write(folder.path().join("key.pem"), Pair::new().key).expect("written");
    process.signal("HUP").await;
    process
        .logs("certificate not loaded, the one before stays")
        .await;
    let mut later = Page::connect(door, EIO4_WEBSOCKET).await;
    later.logs_in("alice").await;
    let new = Pair::new();
    new.write(folder.path());
    process.signal("HUP").await;
    process.logs("certificate loaded").await;
    let door = Door::Tls(process.socketio, new.connector());
    let mut newest = Page::connect(door, EIO4_WEBSOCKET).await;
    newest.logs_in("alice").await;
    assert_eq!(pushes(&mut http, "alice", "hi").await, "ok");
    for page in [&mut page, &mut later, &mut newest] {
        page.receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_page_is_told_where_tls_is_spoken() {
    let (folder, _) = a_certificate();
    let server = Server::start_with(|config| {
        config.tls.cert = folder.path().join("cert.pem");
        config.tls.key = folder.path().join("key.pem");
        config.tls.listeners = vec![TlsListener::SocketIo];
        config.web.listen = FREE;
    });
    let mut http = Http::open(server.web()).await;
    http.get("/demo.json").await;
    let told = http.answer().await.json();
    assert_eq!(told["socketio"]["tls"], true);
    assert_eq!(told["http"]["tls"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_at_the_start_is_told_with_key_and_path() {
    let (folder, pair) = a_certificate();
    let says = async |words: &[&str]| {
        let [cert, key] = tls_settings(folder.path());
        let quiet = ["http", "web", "admin"].map(|name| format!("{name}.listen="));
        let any = "socketio.listen=127.0.0.1:0".to_owned();
        let settings = quiet.iter().chain([&any, &cert, &key]);
        let arguments: Vec<_> = settings.flat_map(|s| ["--set", s]).collect();
        let more = ["--set", "store.url="];
        let output = within(
            "the end",
            output_of(campanile(&[&arguments[..], &more].concat())),
        );
        let output = output.await;
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).expect("it is text");
        for word in words {
            assert!(told.contains(word), "{word:?} is not in {told}");
        }
    };
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&key, Pair::new().key).expect("written");
    says(&[
        "tls.cert",
        "cert.pem",
        "tls.key",
        "key.pem",
        "do not go together",
    ])
    .await;
    std::fs::write(&key, "no key").expect("written");
    says(&["tls.key", "key.pem"]).await;
    std::fs::remove_file(&key).expect("removed");
    says(&["tls.key", "key.pem", "No such file"]).await;
    std::fs::write(&key, &pair.key).expect("written");
    std::fs::write(&cert, "nothing").expect("written");
    says(&["no certificate", "tls.cert", "cert.pem"]).await;
    std::fs::remove_file(&cert).expect("removed");
    says(&["tls.cert", "cert.pem", "No such file"]).await;
}
