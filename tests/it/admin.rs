//! The admin listener: what it answers, to whom, and from when until when. The figures are in
//! `figures`.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use campanile::app::App;
use campanile::config::load::{Sources, load};
use campanile::config::{Config, Secret};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::harness::figures::Figures;
use crate::harness::http::{Answer, Http};
use crate::harness::page::{EIO4_WEBSOCKET, Page};
use crate::harness::process::Process;
use crate::harness::raw::RawPage;
use crate::harness::{FREE, Server, eventually, within};
use crate::stall::narrow_connection;

fn start() -> Server {
    Server::start_with(|config| config.admin.listen = FREE)
}

async fn get(address: SocketAddr, target: &str) -> Answer {
    let mut http = Http::open(address).await;
    http.get(target).await;
    http.answer().await
}

/// The status and the text of `/readyz`.
async fn readyz(address: SocketAddr) -> (u16, String) {
    let answer = get(address, "/readyz").await;
    (answer.status, answer.text())
}

async fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_lives_is_ready_and_has_figures() {
    let server = start();
    let health = get(server.admin(), "/healthz").await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    let plain = Some("text/plain; charset=utf-8");
    assert_eq!(health.header("content-type"), plain);
    let ready = get(server.admin(), "/readyz").await;
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    assert_eq!(ready.header("content-type"), plain);
    let metrics = get(server.admin(), "/metrics").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    Figures::read(&metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_else_is_not_found_and_other_methods_are_not_allowed() {
    let server = start();
    let mut http = Http::open(server.admin()).await;
    for target in [
        "/",
        "/health",
        "/healthz/",
        "/metrics/x",
        "/demo.json",
        "//",
    ] {
        http.get(target).await;
        assert_eq!(http.answer().await.status, 404, "{target}");
    }
    http.post("/", "text/plain", b"").await;
    assert_eq!(http.answer().await.status, 404);
    for target in ["/healthz", "/readyz", "/metrics"] {
        http.post(target, "text/plain", b"x").await;
        assert_eq!(http.answer().await.status, 405, "{target}");
        for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            http.send(head).await;
            assert_eq!(http.answer().await.status, 405, "{method} {target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_host_or_query_a_stranger_names_does_no_harm() {
    let server = start();
    let mut ledger = Figures::of(&server).await;
    for host in ["evil.example", "127.0.0.1:2124", "[::1]", "", "a b"] {
        for query in ["", "?type=publish&to=&content=x", "?%00", "?a=%F0%9F&&&=="] {
            let mut http = Http::open(server.admin()).await;
            let head = format!("GET /readyz{query} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            http.send(head).await;
            let answer = http.answer().await;
            assert_eq!(answer.text(), "ready\n", "{host:?} {query}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    // What is no HTTP at all does none either.
    let mut junk = Http::open(server.admin()).await;
    junk.send([&[0xff; 4096][..], b"\r\n\r\n"].concat()).await;
    assert!(junk.is_cut_off().await);
    ledger.moves(&server, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_listen_turns_it_off() {
    let server = Server::start_with(|config| config.admin.listen = None);
    assert_eq!(server.addresses().admin, None);
    assert_eq!(server.push("", "pushes go on").await, "ok");
}

#[test]
fn it_needs_an_address_of_its_own() {
    let flags = vec!["admin.listen=127.0.0.1:2121".to_owned()];
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    let message = load(&sources).expect_err("it is taken").to_string();
    for word in ["admin.listen", "127.0.0.1:2121", "http.listen too"] {
        assert!(message.contains(word), "no {word} in {message}");
    }
}

#[tokio::test]
async fn an_address_beyond_the_machine_is_warned_of_at_the_start() {
    let settings = ["admin.listen=0.0.0.0:0"];
    let mut process = Process::start("127.0.0.1:0", "127.0.0.1:0", &settings).await;
    let warning = "admin.listen is not a loopback address: whoever reaches it can read figures";
    process.logs(warning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_store_does_not_answer_yet_lives_but_is_not_ready() {
    let silent = StdListener::bind("127.0.0.1:0").expect("there is a port");
    let store = silent.local_addr().expect("it has an address").port();
    // Nobody is told the address before the server has started, so it has to be known.
    let reserved = StdListener::bind("127.0.0.1:0").expect("there is a port");
    let admin = reserved.local_addr().expect("it has an address");
    drop(reserved);
    let mut config = Config::default();
    (config.socketio.listen, config.chat.listen) = (FREE, FREE);
    (config.http.listen, config.web.listen) = (None, None);
    config.admin.listen = Some(admin);
    config.store.url = Secret::from(format!("postgres://x@127.0.0.1:{store}/x").as_str());
    let starting = tokio::spawn(App::bind(config));
    eventually("the admin listener", async || !is_closed(admin).await).await;
    assert_eq!(readyz(admin).await, (503, "starting\n".to_owned()));
    assert_eq!(get(admin, "/healthz").await.status, 200);
    // Nobody can connect to the store any more.
    drop(silent);
    let started = within("the end of the start", starting).await;
    let error = started.expect("it does not panic");
    error.expect_err("there is no store");
    eventually("the end of the listener", || is_closed(admin)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_stops_it_is_draining_and_the_admin_listener_ends_last() {
    let mut config = Config::default();
    (config.socketio.listen, config.uid_socket.listen) = (FREE, FREE);
    (config.http.listen, config.admin.listen) = (FREE, FREE);
    config.web.listen = None;
    // Half of it is what a page that does not read is waited for.
    config.shutdown.grace = Duration::from_secs(120);
    let app = App::bind(config).await.expect("there are free ports");
    let server = Server::at(app.addrs());
    let admin = server.admin();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async move { drop(stopped.await) }));
    let mut ledger = Figures::of(&server).await;
    let mut raw = RawPage::saying(server.uid_socket(), "raw").await;
    let opened = r#"sessions_opened{gateway="uid_socket"}"#;
    ledger.moves_among(&server, opened, 1).await;

    let tcp = narrow_connection(server.socketio()).await;
    let mut stuck = Page::open(tcp, EIO4_WEBSOCKET).await;
    stuck.joins().await;
    stuck.logs_in("stuck").await;
    let long = "x".repeat(10_000);
    for _ in 0..200 {
        assert_eq!(server.push("stuck", &long).await, "ok");
    }
    assert_eq!(readyz(admin).await, (200, "ready\n".to_owned()));

    stop.send(()).expect("it runs");
    let draining = (503, "draining\n".to_owned());
    eventually("it to drain", async || readyz(admin).await == draining).await;
    raw.is_closed_with(1001).await;
    let closed = r#"sessions_closed{gateway="uid_socket",reason="stopped"}"#;
    ledger.moves_among(&server, closed, 1).await;
    eventually("no more pages", || is_closed(server.socketio())).await;
    assert_eq!(readyz(admin).await, draining);
    assert_eq!(get(admin, "/healthz").await.status, 200);
    assert!(!running.is_finished());

    drop(stuck);
    let ended = within("the end of the server", running).await;
    let ended = ended.expect("it does not panic");
    ended.expect("it ends without an error");
    assert!(is_closed(admin).await);
}
