//! Pushes as PHP programs make them, by the real PHP. The scripts are in `tests/php`.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::process::output_of;
use crate::harness::{FREE, Server, within};

/// Runs a script with the push port's address and gives what it printed.
async fn php(server: &Server, script: &str, arguments: &[&str]) -> String {
    php_at(format!("http://{}/", server.http()), script, arguments).await
}

/// Runs a script with any address.
async fn php_at(address: String, script: &str, arguments: &[&str]) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/php");
    let mut version = Command::new("php");
    version.args(["-r", "exit(extension_loaded('curl') ? 0 : 1);"]);
    let has_curl = version.output().await;
    let has_curl = has_curl.expect("this test needs the program php on the path");
    assert!(
        has_curl.status.success(),
        "this test needs PHP's curl extension"
    );
    let mut command = Command::new("php");
    command
        .args(["-d", "error_reporting=-1", "-d", "display_errors=stderr"])
        .arg(format!("{folder}/{script}"))
        .arg(address)
        .args(arguments);
    let output = output_of(command).await;
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{script}: {complaints}"
    );
    String::from_utf8(output.stdout).expect("it prints text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_example_pushes_with_an_array_and_an_empty_expect() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    assert_eq!(
        php(&server, "curl_array.php", &["alice", "你好 <b>&"]).await,
        "ok"
    );
    alice.receives("你好 &lt;b&gt;&amp;").await;
    assert_eq!(
        php(&server, "curl_array.php", &["bob", "hi"]).await,
        "offline"
    );
    assert_eq!(
        php(&server, "curl_array.php", &["", "@everyone"]).await,
        "ok"
    );
    alice.receives("@everyone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_array_may_wait_for_100_continue_and_arrives() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let long = "x".repeat(100_000);
    let started = Instant::now();
    assert_eq!(
        php(&server, "curl_continue.php", &["alice", &long]).await,
        "ok"
    );
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    alice.receives(&long).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_pushes_with_a_string_and_keeps_its_connection() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let printed = php(&server, "curl_string.php", &["alice", "a+b & 100% 'ok'"]).await;
    // The second number counts the connections that were opened for the second push.
    assert_eq!(printed, "ok ok 0");
    alice.receives("a+b &amp; 100% &#039;ok&#039;").await;
    alice.receives("a+b &amp; 100% &#039;ok&#039;").await;
}

/// The original never closed the connection, for which `file_get_contents` waits: two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn file_get_contents_returns_within_a_second() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    for method in ["get", "post", "get-1.1", "post-1.1"] {
        let printed = php(
            &server,
            "file_get_contents.php",
            &[method, "alice", "用户 & 1"],
        )
        .await;
        let (word, seconds) = printed.split_once(' ').expect("a word and a time");
        assert_eq!(word, "ok", "{method}");
        alice.receives("用户 &amp; 1").await;
        let seconds: f64 = seconds.parse().expect("a time is a number");
        assert!(seconds < 1.0, "{method} took {seconds} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_users_are_named_by_an_array() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let mut bob = server.login("7").await;
    for form in ["query", "multipart", "json"] {
        let printed = php(
            &server,
            "several.php",
            &[form, "hi", "alice", "7", "nobody"],
        )
        .await;
        assert_eq!(printed, "ok", "{form}");
        alice.receives("hi").await;
        bob.receives("hi").await;
        let printed = php(&server, "several.php", &[form, "hi", "nobody", "none"]).await;
        assert_eq!(printed, "offline", "{form}");
    }
    server.nothing_else_comes_to([&mut alice, &mut bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_by_stream_socket_client_is_answered_ok_and_arrives() {
    let server = Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
    });
    let tcp = TcpStream::connect(server.uid_socket()).await;
    let (mut page, _) = client_async("ws://localhost/", tcp.expect("the port is open"))
        .await
        .expect("a websocket opens");
    page.send(Message::text("uid1")).await.expect("it is open");
    page.send(Message::Ping("taken?".into()))
        .await
        .expect("it is open");
    let pong = within("the pong", page.next()).await;
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))), "{pong:?}");
    let line = r#"{"uid":"uid1","percent":"88%"}"#;
    let lines = [line, r#"{"uid":"nobody"}"#, "hello"];
    let printed = php_at(server.text().to_string(), "text_line.php", &lines).await;
    assert_eq!(printed, "ok\nfail\nfail\n");
    let message = within("the line", page.next()).await.expect("it is open");
    assert_eq!(message.expect("it is sound"), Message::text(line));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_by_php_reaches_who_subscribed() {
    let server = Server::start_with(|config| config.udp.listen = FREE);
    let mut page = server.login("alice").await;
    page.sends(r#"42["subscribe",{"school_id":2}]"#).await;
    page.is_heard().await;
    let packet = r#"{"school_id":"2","title":"exam"}"#;
    let printed = php_at(server.udp().to_string(), "udp_packet.php", &[packet]).await;
    assert_eq!(printed, "32\n");
    page.receives(packet).await;
}
