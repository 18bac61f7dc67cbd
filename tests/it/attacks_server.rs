//! Attacks on the whole server: files, memory, the stack, and an application that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::attack::{Town, has_said_little, memory_is_back, next_of, server_apart};
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET, Page};
use crate::harness::process::{campanile, campanile_with_files};
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::recovery::logs_in_with;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_use_up_the_files_leave_enough_for_pushes_and_are_told_so() {
    const FILES: u32 = 400;
    const PAGES: usize = 200;
    let limited = |arguments: &[&str]| campanile_with_files(FILES, arguments);
    let (process, mut town) = Town::apart_by(limited, &["limits.reserve=200"]).await;
    let mut greedy = Vec::new();
    let mut refused = 0;
    for n in 0..500 {
        // One port accepts them in their order; the first refusal tells that all before are counted.
        let address = match n % 2 {
            1 if n > PAGES => town.server.uid_socket(),
            _ => town.server.socketio(),
        };
        let mut http = Http::open(address).await;
        http.send("GET / HTTP/1.1\r\n").await;
        if n >= PAGES {
            refused += 1;
            // What it has sent unheard may cost it the answer.
            if let Some(answer) = http.answer_or_end().await {
                assert_eq!(answer.status, 503, "connection {n}");
            }
        } else {
            greedy.push(http);
        }
    }
    assert!(town.refused_by("connections").await >= refused - 3);
    for _ in 0..3 {
        town.is_unharmed("files are used up").await;
    }
    drop(greedy);
    eventually("pages to be let in again", async || {
        let mut http = Http::open(town.server.socketio()).await;
        http.get("/socket.io/?EIO=4&transport=polling").await;
        http.answer_or_end().await.is_some_and(|a| a.status == 200)
    })
    .await;
    town.is_unharmed("they have left").await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_memory_is_short_no_page_is_let_in_and_pushes_go_on() {
    let settings = ["limits.memory=120MiB", "limits.memory_interval=50ms"];
    let (mut process, mut town) = Town::apart(&settings).await;
    let piece = vec![b'x'; MIB as usize];
    let mut pushers = Vec::new();
    for _ in 0..20 {
        let mut pusher = Pusher::open(town.server.text()).await;
        for _ in 0..9 {
            pusher.sends(&piece).await;
        }
        pushers.push(pusher);
    }
    eventually("new pages to be refused", async || {
        town.opens_from(1, "").await == (503, json!("memory"))
    })
    .await;
    let (_, head) = RawPage::open_with(town.server.uid_socket(), "").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(town.refused_by("memory").await >= 2);
    for _ in 0..3 {
        town.is_unharmed("memory has become short").await;
    }
    drop(pushers);
    eventually("new pages to be let in", async || {
        town.opens_from(1, "").await.0 == 200
    })
    .await;
    town.is_unharmed("memory is back").await;
    let lines = process.lines_till_the_end().await;
    let told = lines.iter().filter(|line| line.contains("memory is short"));
    // It may have been at the brink for a moment.
    assert!((1..=3).contains(&told.count()), "{lines:#?}");
    assert!(lines.len() < 20, "{lines:#?}");
}

/// Deep values in what Socket.IO pages send.
async fn nests_in_events(town: &Town, values: [&String; 2]) {
    for dialect in DIALECTS {
        for nested in values {
            for event in [
                "login",
                "subscribe",
                "new_msg",
                "join",
                "history",
                "no such",
            ] {
                let mut page = town.server.connect_by(dialect).await;
                page.tries_to_send(&[&format!(r#"421["{event}",{nested}]"#)])
                    .await;
                page.is_heard().await;
            }
            let mut page = town.server.connect_by(dialect).await;
            page.tries_to_send(&[&format!("40{nested}")]).await;
            page.tries_to_send(&[&format!("431[{nested}]")]).await;
            page.is_heard().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_a_hundred_thousand_deep_overflows_nothing() {
    const DEPTH: usize = 100_000;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = format!("store.url=sqlite:{}", folder.path().join("a.db").display());
    let settings = [
        "socketio.max_payload=4MiB",
        "chat.listen=127.0.0.1:0",
        "chat.socketio=true",
        "chat.max_message=4MiB",
        "websocket.max_queue_bytes=16MiB",
        &store,
        "topic_socket.listen=127.0.0.1:0",
        "udp.listen=127.0.0.1:0",
    ];
    let (mut process, mut town) = Town::apart(&settings).await;
    let topic_socket = process.listens("topic_socket").await;
    let chat = process.listens("chat").await;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let deep = format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
        let half = open.repeat(DEPTH);
        nests_in_events(&town, [&deep, &half]).await;
        town.is_unharmed("deep events").await;
        for nested in [&deep, &half] {
            for json in [
                nested.clone(),
                format!(r#"{{"type":"publish","to":{nested},"content":"x"}}"#),
                format!(r#"{{"type":"publish","to":"alice","content":{nested}}}"#),
                format!(r#"{{"uid":"alice","x":{nested}}}"#),
                format!(r#"{{"uid":{nested}}}"#),
                format!(r#"{{"type":"login","uid":{nested}}}"#),
            ] {
                town.server.post("application/json", json.as_bytes()).await;
                Pusher::open(town.server.text()).await.pushes(&json).await;
                for address in [topic_socket, chat, town.server.uid_socket()] {
                    let mut raw = RawPage::open(address).await;
                    raw.says(&json).await;
                    raw.is_heard().await;
                }
            }
        }
        let form = format!("type=publish&to{}=alice&content=x", "[a]".repeat(DEPTH));
        town.server.push_form(&form).await;
        town.is_unharmed("deep requests").await;
    }
    has_said_little(process, 20).await;
}

/// How the application behaves.
const HONEST: usize = 0;
const SLOW: usize = 1;
const ENDLESS: usize = 2;
const BROKEN: usize = 3;
const DOWN: usize = 4;

/// An application that is asked about logins, and lets everybody in while it is honest.
async fn application(mode: Arc<AtomicUsize>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("there is a port");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if mode.load(Ordering::SeqCst) != DOWN {
                tokio::spawn(answers(tcp, Arc::clone(&mode)));
            }
        }
    });
    address
}

async fn answers(tcp: TcpStream, mode: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut tcp = BufReader::new(tcp);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if tcp.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim().to_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        tcp.read_exact(&mut body).await?;
        let asked: Value = serde_json::from_slice(&body).expect("the question is JSON");
        let login = &asked["login"];
        let uid = login.get("uid").unwrap_or(login);
        let answer = json!({ "uid": uid }).to_string();
        match mode.load(Ordering::SeqCst) {
            HONEST => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                tcp.write_all([head, answer].concat().as_bytes()).await?;
            }
            SLOW => return std::future::pending().await,
            ENDLESS => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"x\":\"";
                tcp.write_all(head.as_bytes()).await?;
                let piece = vec![b'x'; MIB as usize];
                loop {
                    tcp.write_all(&piece).await?;
                }
            }
            BROKEN => {
                tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{]\n")
                    .await?;
            }
            _ => return Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_down_slow_or_endless_costs_new_logins_and_nothing_else() {
    let mode = Arc::new(AtomicUsize::new(HONEST));
    let webhook = application(Arc::clone(&mode)).await;
    let (process, server) = server_apart(
        campanile,
        &[
            "auth.mode=webhook",
            &format!("auth.webhook_url=http://{webhook}/login"),
            "auth.webhook_timeout=300ms",
            "limits.refused_logins=0",
        ],
    )
    .await;
    let mut town = Town::around(server, str::to_owned).await;
    let before = process.resident();
    for bad in [SLOW, ENDLESS, BROKEN, DOWN] {
        mode.store(bad, Ordering::SeqCst);
        let mut pages = Vec::new();
        for n in 0..100 {
            let mut page = town.server.connect_by(DIALECTS[n % 4]).await;
            page.logs_in_with(&format!("\"late {n}\"")).await;
            pages.push(page);
        }
        town.is_unharmed(&format!("logins in mode {bad}")).await;
        for page in &mut pages {
            let told = next_of(page, "login_error").await;
            assert_eq!(told["code"], "unavailable", "{told}");
        }
        town.is_alone().await;
        mode.store(HONEST, Ordering::SeqCst);
        // It is left alone for a second.
        let mut page = Page::connect(town.server.socketio(), EIO4_WEBSOCKET).await;
        let mut again = tokio::time::interval(std::time::Duration::from_millis(100));
        let back = async {
            while logs_in_with(&mut page, json!("back")).await["ok"] != true {
                again.tick().await;
            }
        };
        crate::harness::within("logins to work again", back).await;
        page.leaves().await;
        drop(pages);
        town.is_alone().await;
    }
    memory_is_back(&process, before, 48 * MIB).await;
    has_said_little(process, 40).await;
}
