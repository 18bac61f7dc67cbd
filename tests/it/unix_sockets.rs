//! Unix sockets: pages and backends that come by them, and the files that they are found by.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use campanile::app::App;
use campanile::config::Config;

use crate::harness::http::Http;
use crate::harness::line::Door;
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::process::Process;
use crate::harness::{Server, within};
use crate::recovery_load::connections_break_all_the_time;

const FORM: &str = "application/x-www-form-urlencoded";

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    for listen in [
        &mut config.socketio.listen,
        &mut config.http.listen,
        &mut config.web.listen,
        &mut config.admin.listen,
    ] {
        *listen = None;
    }
    config.socketio.unix = folder.join("pages.sock");
    config.http.unix = folder.join("push.sock");
    config.presence.interval = Duration::from_secs(3600);
    config.store.url = "".into();
    config.shutdown.drain = Duration::ZERO;
    config
}

async fn pushes(http: &mut Http, content: &str) -> String {
    let body = format!("type=publish&to=alice&content={content}");
    http.post("/", FORM, body.as_bytes()).await;
    http.answer().await.text()
}

/// Waits until alice is offline.
async fn is_left(http: &mut Http) {
    let left = async { while pushes(http, "while away").await != "offline" {} };
    within("alice to be offline", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_backends_come_by_unix_sockets_with_no_port_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let (pages, push) = (config.socketio.unix.clone(), config.http.unix.clone());
    let app = App::bind(config).await.expect("they can be opened");
    let addresses = app.addrs();
    assert_eq!(addresses.socketio_unix.as_ref(), Some(&pages));
    assert_eq!(addresses.http_unix.as_ref(), Some(&push));
    assert_eq!((addresses.socketio, addresses.http), (None, None));
    tokio::spawn(app.run(std::future::pending()));
    let mut http = Http::by(&Door::Unix(push)).await;
    for dialect in DIALECTS {
        let mut page = Page::connect(Door::Unix(pages.clone()), dialect).await;
        page.logs_in("alice").await;
        let long = "x".repeat(1024 * 1024);
        for content in ["hi", &long] {
            assert_eq!(pushes(&mut http, content).await, "ok");
            page.receives(content).await;
        }
        page.leaves().await;
        is_left(&mut http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_has_its_mode_replaces_a_dead_servers_and_goes_with_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.http.unix_mode = 0o600;
    let (pages, push) = (config.socketio.unix.clone(), config.http.unix.clone());
    // What a server leaves behind that was killed.
    drop(UnixListener::bind(&push).expect("bound"));
    assert!(push.exists());
    let app = App::bind(config.clone()).await.expect("it is replaced");
    let mode = |path: &Path| {
        let file = std::fs::metadata(path).expect("it is there");
        file.permissions().mode() & 0o777
    };
    assert_eq!((mode(&pages), mode(&push)), (0o660, 0o600));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async { drop(stopped.await) }));
    let mut http = Http::by(&Door::Unix(push.clone())).await;
    assert_eq!(pushes(&mut http, "hi").await, "offline");
    let second = App::bind(config.clone()).await.map(drop);
    let told = format!("{:#}", second.expect_err("a server is there"));
    for word in ["socketio.unix", "pages.sock", "running"] {
        assert!(told.contains(word), "{word} is not in {told}");
    }
    // The attempt has cost the first nothing.
    let mut http = Http::by(&Door::Unix(push.clone())).await;
    assert_eq!(pushes(&mut http, "hi").await, "offline");
    stop.send(()).expect("it runs");
    running.await.expect("no panic").expect("it stops");
    assert!(!pages.exists() && !push.exists());
    std::fs::write(&push, "precious").expect("written");
    let third = App::bind(config).await.map(drop);
    let told = format!("{:#}", third.expect_err("a file is there"));
    assert!(told.contains("not a socket"), "{told}");
    assert_eq!(std::fs::read(&push).expect("it is there"), b"precious");
    assert!(!pages.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_read_of_a_unix_socket_comes_again_to_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pages.sock");
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = Server::start_with(|config| {
            config.recovery.window = Duration::from_secs(120);
            config.recovery.rewind = Duration::ZERO;
            config.socketio.unix = socket.clone();
        });
        let door = Door::Unix(socket.clone());
        let mut page = Page::connect(door.clone(), dialect).await;
        page.logs_in("alice").await;
        // All of it waits in the socket, and is thrown away when the page closes.
        let content = |n: usize| format!("{n} {}", "x".repeat(100));
        for n in 0..20 {
            assert_eq!(server.push("alice", &content(n)).await, "ok");
        }
        page.resets();
        server.waits_until_offline("alice").await;
        let mut page = Page::connect(door, dialect).await;
        page.logs_in_with(r#""alice""#).await;
        for n in 0..20 {
            page.receives(&content(n)).await;
        }
        drop((page, server));
        std::fs::remove_file(&socket).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_all_the_time_lose_nothing_by_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pages.sock");
    let setting = format!("socketio.unix={}", socket.display());
    let settings = [&setting, "presence.interval=1h", "recovery.rewind=100ms"];
    let process = Process::start("127.0.0.1:0", "127.0.0.1:0", &settings).await;
    connections_break_all_the_time(process, &Door::Unix(socket)).await;
}
