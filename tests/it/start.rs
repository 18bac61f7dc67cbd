//! What the program does before it serves, and what does not end it.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::http::Http;
use crate::harness::process::{Process, campanile, output_of};
use crate::harness::within;

#[tokio::test]
async fn a_hangup_does_not_end_a_server_that_has_no_certificate() {
    let server = Process::start("127.0.0.1:0", "127.0.0.1:0", &[]).await;
    server.signal("HUP").await;
    let mut http = Http::open(server.http).await;
    http.send(b"GET /?type=publish&to=alice&content=hi HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(http.answer().await.text(), "offline");
}

#[tokio::test]
async fn check_config_reads_the_files_that_are_named() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let missing = folder.path().join("missing");
    for key in ["api.key_file", "tls.cert"] {
        let setting = format!("{key}={}", missing.display());
        let other = format!("tls.key={}", missing.display());
        let mut arguments = vec!["check-config", "--set", &setting];
        if key == "tls.cert" {
            arguments.extend(["--set", &other]);
        }
        let output = output_of(campanile(&arguments)).await;
        assert_eq!(output.status.code(), Some(1), "{key}");
        let said = String::from_utf8(output.stderr).expect("it is text");
        let is_named = said.contains(key) && said.contains("missing");
        assert!(is_named, "{said}");
    }
}

#[tokio::test]
async fn a_server_may_open_as_many_files_as_the_system_allows() {
    let mut command = Command::new("sh");
    let start = r#"ulimit -S -n 256; ulimit -H -n 4096; exec "$0" "$@""#;
    command.args(["-c", start, env!("CARGO_BIN_EXE_campanile")]);
    for setting in ["socketio.listen=127.0.0.1:0", "http.listen=", "web.listen="] {
        command.args(["--set", setting]);
    }
    command.args(["--set", "admin.listen=", "--set", "store.url="]);
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the shell starts");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let listens = async {
        while let Some(line) = log.next_line().await.expect("it is text") {
            if line.contains("listening") {
                return;
            }
        }
        panic!("it ended");
    };
    within("the server to listen", listens).await;
    let pid = child.id().expect("it runs");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it is Linux");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<&str> = files.expect("a limit").split_whitespace().collect();
    assert_eq!(files[3..5], ["4096", "4096"]);
}

/// The lines that a server logs as it starts, but for the first ones of its listeners.
async fn logged_at_the_start(settings: &[&str]) -> String {
    let mut server = Process::start("127.0.0.1:0", "127.0.0.1:0", settings).await;
    server.lines_till_the_end().await.join("\n")
}

#[tokio::test]
async fn cookies_that_any_website_may_use_are_warned_of() {
    let webhook = ["auth.mode=webhook", "auth.webhook_url=http://127.0.0.1:9/"];
    let with = |more: &[&'static str]| [&webhook, more].concat();
    let logged = logged_at_the_start(&with(&[])).await;
    assert!(logged.contains("socketio.origins has"), "{logged}");
    assert!(!logged.contains("websocket.origins has"), "{logged}");
    let raw = [
        "uid_socket.listen=127.0.0.1:0",
        "auth.webhook_headers=Cookie",
    ];
    let logged = logged_at_the_start(&with(&raw)).await;
    assert!(logged.contains("socketio.origins has"), "{logged}");
    assert!(logged.contains("websocket.origins has"), "{logged}");
    let safe: [&[&str]; 3] = [
        &["socketio.origins=https://www.example.com"],
        &["auth.webhook_headers=authorization"],
        &["auth.mode=signed", "auth.secret=0123456789abcdef"],
    ];
    for more in safe {
        let logged = logged_at_the_start(&with(more)).await;
        assert!(!logged.contains("origins has"), "{more:?}: {logged}");
    }
}

#[tokio::test]
async fn an_issuer_whose_keys_pass_in_the_clear_is_warned_of() {
    for (url, is_warned_of) in [
        ("http://issuer.invalid/keys", true),
        ("https://issuer.invalid/keys", false),
        ("http://localhost:9/keys", false),
    ] {
        let url = format!("auth.jwks_url={url}");
        let logged = logged_at_the_start(&["auth.mode=jwt", &url]).await;
        assert_eq!(
            logged.contains("auth.jwks_url is http"),
            is_warned_of,
            "{logged}"
        );
        assert!(!logged.contains("issuer.invalid/keys"), "{logged}");
    }
}

#[tokio::test]
async fn a_chat_that_trusts_the_uid_of_a_url_says_so_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = format!("store.url=sqlite:{}", folder.path().join("c.db").display());
    let chat = [&store, "chat.listen=127.0.0.1:0"];
    let trusts = "?uid= in the URL takes none (chat.trust_uid)";
    let signed = ["auth.mode=signed", "auth.secret=0123456789abcdef"];
    let cases: [(&[&str], bool); 3] = [
        (&["chat.trust_uid=true"], true),
        (&["chat.trust_uid=false"], false),
        (&["chat.trust_uid=true", "auth.mode=open"], false),
    ];
    for (more, says) in cases {
        let logged = logged_at_the_start(&[&chat, &signed[..], more].concat()).await;
        assert!(logged.contains(r#""listener":"chat""#), "{logged}");
        assert_eq!(logged.contains(trusts), says, "{more:?}: {logged}");
    }
}

#[tokio::test]
async fn a_file_is_the_store_of_one_server_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("kept.db");
    let store = format!("store.url=sqlite:{}", path.display());
    let mut first = Process::start("127.0.0.1:0", "127.0.0.1:0", &[&store]).await;
    let mut arguments = vec!["serve", "--set", &store];
    let listeners = ["socketio", "http", "web", "admin"].map(|name| match name {
        "socketio" => "socketio.listen=127.0.0.1:0".to_owned(),
        name => format!("{name}.listen="),
    });
    for listener in &listeners {
        arguments.extend(["--set", listener]);
    }
    let second = output_of(campanile(&arguments)).await;
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).expect("it is text");
    let is_named = said.contains("store.url") && said.contains("kept.db");
    assert!(is_named && said.contains("another server uses"), "{said}");
    assert_eq!(first.faults_till_the_end().await, [""; 0]);
    let mut next = Process::start("127.0.0.1:0", "127.0.0.1:0", &[&store]).await;
    assert_eq!(next.faults_till_the_end().await, [""; 0]);
}

#[tokio::test]
async fn settings_of_a_mode_that_is_not_on_are_warned_of() {
    let secret = "auth.secret=0123456789abcdef";
    let logged = logged_at_the_start(&[secret]).await;
    assert!(logged.contains("auth.secret is of no effect"), "{logged}");
    assert!(!logged.contains("0123456789"), "{logged}");
    let logged = logged_at_the_start(&[secret, "auth.mode=signed"]).await;
    assert!(!logged.contains("of no effect"), "{logged}");
}

#[tokio::test]
async fn a_server_without_a_listener_does_not_start() {
    let off = ["socketio", "http", "web", "admin"].map(|name| format!("{name}.listen="));
    let arguments: Vec<&str> = off.iter().flat_map(|off| ["--set", off]).collect();
    let ended = output_of(campanile(&[&["serve"], &arguments[..]].concat())).await;
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).expect("it is text");
    let is_named = said.contains("socketio.listen") && said.contains("every other listener");
    assert!(is_named, "{said}");
}
