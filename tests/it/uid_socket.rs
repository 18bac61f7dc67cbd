//! The uid websocket: who a page is, what reaches it, and how it ends. Frames that break the
//! protocol are in `raw_frames`, signed logins in `tokens`.

use std::time::{Duration, Instant};

use campanile::app::App;
use campanile::config::Config;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

use crate::harness::page::{DIALECTS, EIO3_POLLING, EIO4_WEBSOCKET};
use crate::harness::raw::{BINARY, CLOSE, Pusher, RawPage, frame, text};
use crate::harness::{FREE, Server, within};

fn start() -> Server {
    Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
    })
}

/// A page that has logged in as `uid`.
async fn page(server: &Server, uid: &str) -> RawPage {
    RawPage::saying(server.uid_socket(), uid).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_a_uid_gets_it_and_one_that_leaves_leaves_the_others() {
    let server = start();
    let mut pages = Vec::new();
    for _ in 0..5 {
        pages.push(page(&server, "alice").await);
    }
    let mut bob = page(&server, "bob").await;
    let mut pusher = Pusher::open(server.text()).await;
    // The oldest, the newest and one between.
    for leaving in [0, 3, 1] {
        let line = format!(r#"{{"uid":"alice","before":{leaving}}}"#);
        assert_eq!(pusher.pushes(&line).await, "ok");
        for page in &mut pages {
            page.receives(&line).await;
        }
        let mut gone = pages.remove(leaving);
        gone.sends_frames([frame(CLOSE, b"")]).await;
        gone.is_closed_with(1000).await;
    }
    assert_eq!(server.push("alice", "to the rest").await, "ok");
    for page in &mut pages {
        page.receives("to the rest").await;
        page.has_nothing().await;
    }
    bob.has_nothing().await;
    for page in pages {
        page.leaves().await;
    }
    server.waits_until_offline("alice").await;
    assert_eq!(pusher.pushes(r#"{"uid":"alice"}"#).await, "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_frames_are_no_uid_and_the_first_that_is_not_empty_is() {
    let server = start();
    let mut page = RawPage::open(server.uid_socket()).await;
    for opcode in [1, BINARY] {
        page.sends_frames([frame(opcode, b"")]).await;
    }
    page.sends_frames([text("").unfinished(), frame(0, b"")])
        .await;
    assert!(page.is_heard().await);
    let mut pusher = Pusher::open(server.text()).await;
    for line in [r#"{"uid":""}"#, r#"{"uid":null}"#, "{}", "", "junk"] {
        assert_eq!(pusher.pushes(line).await, "fail", "{line}");
    }
    page.says("late").await;
    page.says("later").await;
    assert!(page.is_heard().await);
    assert_eq!(pusher.pushes(r#"{"uid":"later"}"#).await, "fail");
    assert_eq!(pusher.pushes(r#"{"uid":"late"}"#).await, "ok");
    page.receives(r#"{"uid":"late"}"#).await;
    page.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uid_of_1024_bytes_is_taken_and_a_longer_one_is_sent_away_with_both_lengths() {
    let server = start();
    let longest = "é".repeat(512);
    let mut known = page(&server, &longest).await;
    assert_eq!(server.push(&longest, "long").await, "ok");
    known.receives("long").await;
    for length in [1025, 1026, 70_000] {
        let mut page = RawPage::open(server.uid_socket()).await;
        page.says(&"x".repeat(length)).await;
        let reason = page.is_closed_with(1008).await;
        assert!(reason.contains(&length.to_string()), "{reason}");
        assert!(reason.contains("1024"), "{reason}");
    }
    // The whole of the fragments counts.
    let half = || text(vec![b'x'; 512]).unfinished();
    for (last, fits) in [(512, true), (513, false)] {
        let mut page = RawPage::open(server.uid_socket()).await;
        page.sends_frames([half(), frame(0, vec![b'x'; last])])
            .await;
        if fits {
            assert!(page.is_heard().await);
            assert_eq!(server.push(&"x".repeat(1024), "hi").await, "ok");
            page.receives("hi").await;
        } else {
            let reason = page.is_closed_with(1008).await;
            assert!(reason.contains("1025"), "{reason}");
        }
    }
    known.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uid_that_is_not_utf8_is_sent_away() {
    let server = start();
    for uid in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
        for opcode in [1, BINARY] {
            let mut page = RawPage::open(server.uid_socket()).await;
            page.sends_frames([frame(opcode, uid)]).await;
            let reason = page.is_closed_with(1008).await;
            assert!(reason.contains("UTF-8"), "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_subprotocols_that_a_page_asks_for_the_first_comes_back() {
    let server = start();
    for (asked, answered) in [
        ("Sec-WebSocket-Protocol: push\r\n", Some("push")),
        ("sec-websocket-protocol:  b , a\r\n", Some("b")),
        ("", None),
    ] {
        let (mut page, head) = RawPage::open_with(server.uid_socket(), asked).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let given: Vec<_> = lines
            .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"))
            .map(|(_, value)| value.trim().to_owned())
            .collect();
        assert_eq!(given, answered.into_iter().collect::<Vec<_>>());
        // The answer to the sample of RFC 6455.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        page.says("alice").await;
        assert!(page.is_heard().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_may_have_15_kilobytes_and_is_refused_above_16() {
    let server = start();
    let cookies = |bytes: usize| format!("Cookie: {}\r\n", "c".repeat(bytes));
    let (mut page, head) = RawPage::open_with(server.uid_socket(), &cookies(15_000)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    page.says("alice").await;
    assert!(page.is_heard().await);
    for bytes in [17_000, 1_000_000] {
        let (mut page, head) = RawPage::open_with(server.uid_socket(), &cookies(bytes)).await;
        // A reset may swallow the answer.
        assert!(
            head.is_empty() || head.starts_with("HTTP/1.1 431 "),
            "{head}"
        );
        page.is_cut().await;
    }
    assert_eq!(server.push("alice", "still there").await, "ok");
    page.receives("still there").await;
}

/// Takes ten seconds: that is how long a handshake may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_dribbles_or_never_begins_is_dropped() {
    let server = start();
    let mut honest = page(&server, "honest").await;
    let mut silent = Pusher::open(server.uid_socket()).await;
    let mut dribbling = Pusher::open(server.uid_socket()).await;
    let started = Instant::now();
    dribbling.sends("GET / HTTP/1.1\r\nX: ").await;
    let mut drop_by_drop = tokio::time::interval(Duration::from_millis(200));
    let (reader, mut writer) = dribbling.tcp.split();
    let dribble = async {
        while writer.write_all(b"x").await.is_ok() {
            drop_by_drop.tick().await;
        }
    };
    let ended = async {
        let mut answer = [0; 512];
        loop {
            reader.readable().await.expect("a socket can be waited for");
            match reader.try_read(&mut answer) {
                Ok(1..) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => break,
            }
        }
    };
    within("the dribbling page to be dropped", async {
        tokio::select! {
            () = dribble => {}
            () = ended => {}
        }
    })
    .await;
    silent.is_cut().await;
    let took = started.elapsed();
    assert!(took > Duration::from_secs(9), "{took:?}");
    assert!(took < Duration::from_secs(13), "{took:?}");
    assert_eq!(server.push("honest", "hi").await, "ok");
    honest.receives("hi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_by_http_comes_as_text_frames_and_only_to_pages_with_a_uid() {
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut bob = page(&server, "bob").await;
    let mut nobody = RawPage::open(server.uid_socket()).await;
    let mut socketio = server.login("alice").await;
    assert_eq!(server.push("alice", "für <dich>").await, "ok");
    alice.receives("für &lt;dich&gt;").await;
    socketio.receives("für &lt;dich&gt;").await;
    server.push_to_everyone("all").await;
    alice.receives("all").await;
    bob.receives("all").await;
    socketio.receives("all").await;
    for length in [125, 126, 65_535, 65_536] {
        let content = "y".repeat(length);
        assert_eq!(server.push("bob", &content).await, "ok");
        bob.receives(&content).await;
    }
    for page in [&mut alice, &mut bob, &mut nobody] {
        page.has_nothing().await;
    }
    // Now it has one.
    nobody.says("carol").await;
    assert!(nobody.is_heard().await);
    server.push_to_everyone("again").await;
    for page in [&mut alice, &mut bob, &mut nobody] {
        page.receives("again").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_pages_are_counted_from_their_uid_on() {
    let server = Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.presence.interval = Duration::from_millis(20);
    });
    let mut watching = server.login("watching").await;
    watching.waits_for_count(1, 1).await;
    let mut alice = RawPage::open(server.uid_socket()).await;
    assert!(alice.is_heard().await);
    assert_eq!(server.push("alice", "too early").await, "offline");
    alice.says("alice").await;
    watching.waits_for_count(2, 2).await;
    let second = page(&server, "alice").await;
    watching.waits_for_count(2, 3).await;
    let third = server.login_by(EIO3_POLLING, "alice").await;
    watching.waits_for_count(2, 4).await;
    third.leaves().await;
    second.leaves().await;
    watching.waits_for_count(2, 2).await;
    assert_eq!(server.push("alice", "hi").await, "ok");
    // Raw pages get pushes, never counts.
    alice.receives("hi").await;
    alice.has_nothing().await;
    drop(alice);
    watching.waits_for_count(1, 1).await;
    assert_eq!(server.push("alice", "gone").await, "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_frame_a_fin_and_a_reset_all_make_the_user_offline() {
    let server = start();
    for round in 0..5 {
        let uid = format!("alice {round}");
        page(&server, &uid).await.leaves().await;
        server.waits_until_offline(&uid).await;
        page(&server, &uid).await.resets();
        server.waits_until_offline(&uid).await;
        let mut half = page(&server, &uid).await;
        // Its other half stays open.
        half.tcp.shutdown().await.expect("the connection is open");
        server.waits_until_offline(&uid).await;
        let mut slow = page(&server, &uid).await;
        // It never closes its side of TCP.
        slow.sends_frames([frame(CLOSE, b"\x03\xe9"), text("still here")])
            .await;
        server.waits_until_offline(&uid).await;
        slow.next_frame().await.expect("the close is answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_line_reaches_socketio_pages_of_the_uid_as_a_message() {
    let server = start();
    let mut raw = page(&server, "alice").await;
    let mut pages = Vec::new();
    for dialect in DIALECTS {
        pages.push(server.login_by(dialect, "alice").await);
    }
    let mut bob = server.login_by(EIO4_WEBSOCKET, "bob").await;
    let mut pusher = Pusher::open(server.text()).await;
    let line = r#"{"uid":"alice", "percent":"88%","html":"<b>ü</b> 😀"}"#;
    assert_eq!(pusher.pushes(format!("{line}\r")).await, "ok");
    raw.receives(line).await;
    for page in &mut pages {
        page.receives(line).await;
    }
    server.nothing_else_comes_to([&mut bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_raw_pages_that_the_server_goes_away() {
    let mut config = Config::default();
    (config.web.listen, config.http.listen) = (None, FREE);
    (config.socketio.listen, config.uid_socket.listen) = (FREE, FREE);
    config.admin.listen = None;
    let app = App::bind(config).await.expect("there are free ports");
    let address = app.addrs().uid_socket.expect("the gateway is on");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async move { drop(stopped.await) }));
    let mut pages = vec![RawPage::open(address).await];
    for n in 0..20 {
        pages.push(RawPage::saying(address, &format!("page {n}")).await);
    }
    let started = Instant::now();
    stop.send(()).expect("the server runs");
    for page in &mut pages {
        page.is_closed_with(1001).await;
    }
    drop(pages);
    let ended = within("the end of the server", running).await;
    ended
        .expect("it does not panic")
        .expect("it ends without an error");
    assert!(started.elapsed() < Duration::from_secs(3));
}
