//! What a page of any website can make a browser on this machine send to push ports that ask for no key:
//! HTTP to the text port, and requests by a name that the page's site lets point here. Requests that
//! say where they are from are in `signed_pushes`.

use std::net::SocketAddr;

use crate::harness::http::{Answer, Http};
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::{FREE, Server};

const EVIL: &str = r#"{"uid":"alice","content":"evil"}"#;

fn text_server() -> Server {
    Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
    })
}

/// What Chromium sends for `fetch(port, {method: 'POST', mode: 'no-cors', body})`.
fn fetch(port: SocketAddr, first: &str, body: &str) -> String {
    format!(
        "{first}\r\nHost: {port}\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nAccept: */*\r\nOrigin: http://evil.example.org\r\n\
         Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\n\
         Referer: http://evil.example.org/\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Accept-Language: en-US,en;q=0.9\r\n\r\n{body}",
        body.len()
    )
}

/// An honest line comes first: nothing that was sent before has been pushed.
async fn only_honest_lines_arrive(server: &Server, alice: &mut RawPage, after: &str) {
    let honest = r#"{"uid":"alice","honest":"GET / HTTP/1.1"}"#;
    let mut backend = Pusher::open(server.text()).await;
    assert_eq!(backend.pushes(honest).await, "ok", "{after}");
    alice.receives(honest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_browser_ends_its_connection_to_the_text_port_and_pushes_nothing() {
    let server = text_server();
    let port = server.text();
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let body = format!("\n{EVIL}\n{EVIL}\n");
    let long = format!("POST /{} HTTP/1.1", "x".repeat(100_000));
    for first in [
        "POST / HTTP/1.1",
        "GET /?a=b HTTP/1.0",
        "PUT /x HTTP/1.1",
        "PRI * HTTP/2.0",
        &long,
    ] {
        let mut browser = Pusher::open(port).await;
        browser.sends(fetch(port, first, &body)).await;
        assert_eq!(browser.replies(1).await, ["fail"], "{first:.40}");
        browser.is_cut().await;
        only_honest_lines_arrive(&server, &mut alice, first).await;
    }
    // A websocket's handshake is a request, too, and its frames are the page's own words.
    let mut browser = Pusher::open(port).await;
    let shakes = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    browser.sends(format!("{shakes}{EVIL}\n")).await;
    assert_eq!(browser.replies(1).await, ["fail"]);
    browser.is_cut().await;
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_in_pieces_or_after_lines_ends_the_connection_as_well() {
    let server = text_server();
    let port = server.text();
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let mut browser = Pusher::open(port).await;
    for piece in ["POST / HT", "TP/1.", "1\r", "\nHost: x\r\n\r\n"] {
        browser.sends(piece).await;
    }
    assert_eq!(browser.replies(1).await, ["fail"]);
    browser.is_cut().await;
    let mut mixed = Pusher::open(port).await;
    let first = r#"{"uid":"alice","n":1}"#;
    let sent = format!("{first}\njunk\n{}", fetch(port, "POST / HTTP/1.1", EVIL));
    mixed.sends(format!("{sent}\n")).await;
    assert_eq!(mixed.replies(3).await, ["ok", "fail", "fail"]);
    mixed.is_cut().await;
    alice.receives(first).await;
    only_honest_lines_arrive(&server, &mut alice, "requests among lines").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_handshake_with_lines_in_its_session_ticket_pushes_nothing() {
    let server = text_server();
    let mut alice = RawPage::saying(server.uid_socket(), "alice").await;
    let mut browser = Pusher::open(server.text()).await;
    let hello = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[7; 32][..],
    ]
    .concat();
    let ticket = format!("\n{EVIL}\n{EVIL}\n");
    browser.sends([&hello, ticket.as_bytes()].concat()).await;
    assert_eq!(browser.replies(1).await, ["fail"]);
    browser.is_cut().await;
    only_honest_lines_arrive(&server, &mut alice, "a handshake").await;
}

/// Asks for a push by this name of the port; `lines` are the headers beside it.
async fn pushes_by(server: &Server, name: &str, lines: &str) -> Answer {
    let port = server.http().port();
    let mut http = Http::open(server.http()).await;
    http.send(format!(
        "GET /?type=publish&content=hi HTTP/1.1\r\nHost: {name}:{port}\r\n{lines}\r\n"
    ))
    .await;
    http.answer().await
}

/// What a browser adds to a plain request for its own site, over `http://`.
const OWN_SITE: &str = "Accept: */*\r\nAccept-Language: en\r\nReferer: http://evil.com/\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_sites_name_points_to_this_machine_cannot_push() {
    let server = Server::start_with(|_| {});
    let mut alice = server.login("alice").await;
    let answer = pushes_by(&server, "evil.com", OWN_SITE).await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "fail"));
    let reason = answer.header("x-campanile-reason").expect("it says why");
    assert!(reason.contains("http.allow_cross_site"), "{reason}");
    // Browsers by the machine's own names, and backends by any, push as ever.
    for (name, lines) in [
        ("127.0.0.1", OWN_SITE),
        ("localhost", OWN_SITE),
        ("box", OWN_SITE),
        ("shop.test", OWN_SITE),
        ("push.example.com", ""),
        (
            "push.example.com",
            "User-Agent: Mozilla/5.0\r\nAccept: */*\r\n",
        ),
    ] {
        assert_eq!(pushes_by(&server, name, lines).await.text(), "ok", "{name}");
        alice.receives("hi").await;
    }
    // Through a proxy that passes the name on, which has not this server's port.
    let request =
        format!("GET /?type=publish&content=by HTTP/1.1\r\nHost: evil.com\r\n{OWN_SITE}\r\n");
    assert_eq!(server.request(request).await.text(), "ok");
    alice.receives("by").await;
    let lax = Server::start_with(|config| config.http.allow_cross_site = true);
    assert_eq!(pushes_by(&lax, "evil.com", OWN_SITE).await.text(), "ok");
    // Where there is a key the page has none, and a backend's own page may have one.
    let keyed = Server::start_with(crate::keys::keys);
    assert_eq!(pushes_by(&keyed, "evil.com", OWN_SITE).await.status, 401);
    let bearer = format!("{OWN_SITE}Authorization: Bearer {}\r\n", crate::keys::PUSH);
    assert_eq!(pushes_by(&keyed, "evil.com", &bearer).await.status, 200);
}
