//! Who may connect from where: CORS, the list of origins, the path, and the client's bundle.

use crate::harness::Server;
use crate::harness::http::{Answer, Http};
use crate::harness::page::DIALECTS;

async fn request(server: &Server, head: &str) -> Answer {
    let mut http = Http::open(server.socketio()).await;
    http.send(format!("{head}\r\nHost: x\r\n\r\n")).await;
    http.answer().await
}

async fn handshake(server: &Server, path: &str, origin: Option<&str>) -> Answer {
    let origin = origin.map(|origin| format!("\r\nOrigin: {origin}"));
    let origin = origin.unwrap_or_default();
    let target = format!("{path}?EIO=4&transport=polling");
    request(server, &format!("GET {target} HTTP/1.1{origin}")).await
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

async fn websocket(server: &Server, origin: &str) -> u16 {
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut http = Http::open(server.socketio()).await;
    http.send(format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n{origin}\r\n\r\n"
    ))
    .await;
    http.answer_to_head().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_echoed_with_credentials_and_without_one_anybody_may_read() {
    let server = Server::start();
    let allowed = |answer: &Answer| {
        let origin = answer
            .header("access-control-allow-origin")
            .map(str::to_owned);
        let credentials = answer.header("access-control-allow-credentials");
        (origin, credentials.map(str::to_owned))
    };
    let any = handshake(&server, "/socket.io/", None).await;
    assert_eq!(any.status, 200);
    assert_eq!(allowed(&any), (Some("*".to_owned()), None));
    for origin in ["https://www.example.com", "http://localhost:8080", "null"] {
        let echoed = handshake(&server, "/socket.io/", Some(origin)).await;
        assert_eq!(echoed.status, 200);
        assert_eq!(
            allowed(&echoed),
            (Some(origin.to_owned()), Some("true".to_owned()))
        );
        assert_eq!(echoed.header("vary"), Some("Origin"));
        // On errors too, or the page could not read what is wrong.
        let head = format!("GET /socket.io/?transport=none HTTP/1.1\r\nOrigin: {origin}");
        let refused = request(&server, &head).await;
        assert!(refused.status >= 400);
        assert_eq!(allowed(&refused).0, Some(origin.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_with_what_it_asks_for() {
    let server = Server::start();
    let preflight = "OPTIONS /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\
        Origin: https://www.example.com\r\nAccess-Control-Request-Method: POST";
    let answer = request(&server, preflight).await;
    assert_eq!(answer.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://www.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, POST"),
        ("access-control-allow-headers", "Content-Type"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let asking = format!("{preflight}\r\nAccess-Control-Request-Headers: x-one, x-two");
    let answer = request(&server, &asking).await;
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("x-one, x-two")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_connect() {
    let server = Server::start_with(|config| {
        let origins = ["https://www.example.com", "http://localhost:*"];
        config.socketio.origins = origins.map(str::to_owned).to_vec();
    });
    for origin in [
        "https://www.example.com",
        "http://localhost",
        "http://localhost:8080",
    ] {
        assert_eq!(
            handshake(&server, "/socket.io/", Some(origin)).await.status,
            200
        );
        assert_eq!(websocket(&server, &format!("Origin: {origin}")).await, 101);
    }
    for origin in [
        "https://www.example.com.evil.example",
        "https://evil.example",
        "http://www.example.com",
        "https://www.example.com:444",
        "http://localhost:80.evil.example",
        "null",
        "",
    ] {
        let refused = handshake(&server, "/socket.io/", Some(origin)).await;
        assert_eq!(refused.status, 403, "{origin}");
        assert_eq!(refused.header("access-control-allow-origin"), None);
        assert_eq!(
            websocket(&server, &format!("Origin: {origin}")).await,
            403,
            "{origin}"
        );
        let preflight = format!(
            "OPTIONS / HTTP/1.1\r\nAccess-Control-Request-Method: POST\r\nOrigin: {origin}"
        );
        assert_eq!(request(&server, &preflight).await.status, 403, "{origin}");
    }
    // Programs have no origin; the list is against other sites' pages.
    assert_eq!(handshake(&server, "/socket.io/", None).await.status, 200);
    assert_eq!(websocket(&server, "X-Nothing: 1").await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_path_is_the_endpoint_unless_one_is_set() {
    let anywhere = Server::start();
    for path in [
        "/socket.io/",
        "/socket.io",
        "/",
        "/any/path",
        "//",
        "/socket.io.js",
    ] {
        assert_eq!(handshake(&anywhere, path, None).await.status, 200, "{path}");
    }
    for setting in ["/x", "/x/"] {
        let server = Server::start_with(|config| config.socketio.path = setting.to_owned());
        for (path, status) in [
            ("/x", 200),
            ("/x/", 200),
            ("/", 404),
            ("/xy", 404),
            ("/socket.io/", 404),
        ] {
            let answer = handshake(&server, path, None).await;
            assert_eq!(answer.status, status, "{path} with {setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_version_is_of_the_third() {
    let server = Server::start();
    let answer = request(&server, "GET /?transport=polling&b64=1 HTTP/1.1").await;
    let body = answer.text();
    let open = body.split_once(':').map(|(_, open)| open);
    assert!(
        open.is_some_and(|open| open.starts_with("0{\"sid\":")),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_bundle_is_served_where_it_is_installed() {
    let bare = tempfile::tempdir().expect("there is a temporary folder");
    let root = bare.path().to_owned();
    let without = Server::start_with(|config| config.web.root = root);
    let missing = request(&without, "GET /socket.io/socket.io.js HTTP/1.1").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("npm install"), "{}", missing.text());

    let folder = bare.path().join("node_modules/socket.io-client/dist");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    for name in ["socket.io.js", "socket.io.js.map", "socket.io.min.js"] {
        std::fs::write(folder.join(name), name).expect("a file can be written");
    }
    std::fs::write(folder.join("secret.js"), "secret").expect("a file can be written");
    let root = bare.path().to_owned();
    let with = Server::start_with(|config| config.web.root = root);
    for name in ["socket.io.js", "socket.io.js.map", "socket.io.min.js"] {
        let found = request(&with, &format!("GET /socket.io/{name} HTTP/1.1")).await;
        assert_eq!((found.status, found.text().as_str()), (200, name));
        assert_eq!(found.header("access-control-allow-origin"), Some("*"));
    }
    let other = request(&with, "GET /socket.io/secret.js HTTP/1.1").await;
    assert!(other.status >= 400, "{}", other.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_begin_by_polling_can_go_on_by_websocket() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let server = Server::start();
    for dialect in DIALECTS.into_iter().filter(|dialect| dialect.polling) {
        let page = server.login_by(dialect, "alice").await;
        let tcp = tokio::net::TcpStream::connect(server.socketio()).await;
        let (eio, sid) = (dialect.eio, &page.sid);
        let url = format!("ws://localhost/socket.io/?EIO={eio}&transport=websocket&sid={sid}");
        let upgrading = tokio_tungstenite::client_async(url, tcp.expect("the port is open"));
        let (mut websocket, _) = upgrading.await.expect("an upgrade begins");
        websocket
            .send(Message::text("2probe"))
            .await
            .expect("the probe is taken");
        let answer = websocket
            .next()
            .await
            .expect("it stays open")
            .expect("a frame");
        assert_eq!(answer.into_text().expect("it is text").as_str(), "3probe");
        websocket
            .send(Message::text("5"))
            .await
            .expect("the upgrade is taken");
        assert_eq!(server.push("alice", "after the upgrade").await, "ok");
        let arrives = async {
            loop {
                let frame = websocket
                    .next()
                    .await
                    .expect("it stays open")
                    .expect("a frame");
                if frame
                    .to_text()
                    .is_ok_and(|text| text.contains("after the upgrade"))
                {
                    return;
                }
            }
        };
        crate::harness::within("the message on the websocket", arrives).await;
        websocket.close(None).await.ok();
        server.waits_until_offline("alice").await;
    }
}
