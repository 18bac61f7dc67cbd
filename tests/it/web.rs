//! The demo page: its files, its three endpoints, and who may use them.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::Server;
use crate::harness::http::{Answer, Http};

/// A server with a demo page of one file.
fn with_page(listen: [u8; 4]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    file("index.html", "<h1>the page</h1>").expect("a file can be written");
    file("app.js", "// the script").expect("a file can be written");
    let root = folder.path().to_owned();
    let server = Server::start_with(|config| {
        config.web.listen = Some(SocketAddr::from((listen, 0)));
        config.web.root = root;
    });
    (folder, server)
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

async fn request(server: &Server, head: &str) -> Answer {
    let mut http = Http::open(server.web()).await;
    http.send(format!("{head}\r\nHost: localhost\r\n\r\n"))
        .await;
    http.answer().await
}

async fn get(server: &Server, target: &str) -> Answer {
    request(server, &format!("GET {target} HTTP/1.1")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_files_are_served_and_no_others() {
    let (_folder, server) = with_page(LOOPBACK);
    for (target, body, kind) in [
        ("/", "<h1>the page</h1>", "text/html"),
        ("/index.html", "<h1>the page</h1>", "text/html"),
        ("/app.js", "// the script", "text/javascript"),
    ] {
        let answer = get(&server, target).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
        assert_eq!(answer.header("content-type"), Some(kind));
    }
    for target in [
        "/none",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/%00",
    ] {
        let status = get(&server, target).await.status;
        assert!(matches!(status, 400 | 404), "{target}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_page_is_no_reason_not_to_start() {
    let server = Server::start_with(|config| {
        config.web.listen = Some(SocketAddr::from((LOOPBACK, 0)));
        config.web.root = "no/such/folder".into();
    });
    assert_eq!(get(&server, "/").await.status, 404);
    assert_eq!(get(&server, "/demo.json").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_learns_where_the_other_ports_are() {
    let (_folder, server) = with_page(LOOPBACK);
    let answer = get(&server, "/demo.json").await;
    let expected = json!({
        "socketio": { "port": server.socketio().port(), "path": "/socket.io", "tls": false },
        "http": { "port": server.http().port(), "tls": false },
        "escape_html": true,
        "push": true,
        "key": false,
        "version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_push_and_another_sites_page_cannot() {
    let (_folder, server) = with_page(LOOPBACK);
    let mut alice = server.login("alice").await;
    let push = "GET /push?type=publish&to=alice&content=hi HTTP/1.1";
    for site in [
        "",
        "\r\nSec-Fetch-Site: same-origin",
        "\r\nSec-Fetch-Site: none",
    ] {
        let answer = request(&server, &format!("{push}{site}")).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{site}"
        );
        alice.receives("hi").await;
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        let head = format!("{push}\r\nSec-Fetch-Site: {site}");
        assert_eq!(request(&server, &head).await.status, 403, "{site}");
        let head = format!("GET /online.json HTTP/1.1\r\nSec-Fetch-Site: {site}");
        assert_eq!(request(&server, &head).await.status, 403, "{site}");
    }
    // Another site may let a name of its own point to this machine.
    for (host, status) in [
        ("evil.example:2123", 403),
        ("LocalHost:1", 200),
        ("[::1]:2123", 200),
    ] {
        let mut http = Http::open(server.web()).await;
        http.send(format!("GET /online.json HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_eq!(http.answer().await.status, status, "{host}");
    }
    let mut http = Http::open(server.web()).await;
    let form = "application/x-www-form-urlencoded";
    http.post("/push", form, b"type=publish&to=alice&content=posted")
        .await;
    assert_eq!(http.answer().await.text(), "ok");
    alice.receives("posted").await;
    server.nothing_else_comes_to([&mut alice]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_who_is_online() {
    let (_folder, server) = with_page(LOOPBACK);
    let nobody = json!({ "users": 0, "pages": 0, "uids": [] });
    assert_eq!(get(&server, "/online.json").await.json(), nobody);
    let _first = server.login("<b>'用户'").await;
    let _second = server.login("<b>'用户'").await;
    let _guest = server.login("").await;
    let online = json!({ "users": 2, "pages": 3, "uids": [{ "uid": "<b>'用户'", "pages": 2 }] });
    assert_eq!(get(&server, "/online.json").await.json(), online);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_private_stays_so_when_the_page_is_shown_to_others() {
    let (_folder, server) = with_page([0, 0, 0, 0]);
    let mut alice = server.login("alice").await;
    for head in [
        "GET /push?type=publish&content=hi HTTP/1.1",
        "POST /push?type=publish&content=hi HTTP/1.1",
        "HEAD /push HTTP/1.1\r\nConnection: close",
        "GET /push/?type=publish&content=hi HTTP/1.1",
        "GET /online.json HTTP/1.1",
        "GET /online.json HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1",
    ] {
        let mut http = Http::open(server.web()).await;
        http.send(format!("{head}\r\nHost: 127.0.0.1\r\n\r\n"))
            .await;
        let status = http.answer_to_head().await.status;
        assert!(matches!(status, 403 | 404), "{head}: {status}");
    }
    assert_eq!(get(&server, "/online.json").await.status, 403);
    assert_eq!(get(&server, "/push?type=publish").await.status, 403);
    assert_eq!(get(&server, "/demo.json").await.json()["push"], false);
    assert_eq!(get(&server, "/").await.status, 200);
    server.nothing_else_comes_to([&mut alice]).await;
}
