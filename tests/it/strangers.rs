//! What somebody without a key can take of push ports that ask for one: time, memory and seats.

use std::time::{Duration, Instant};

use campanile::config::Config;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::harness::attack::{Town, server_apart, stranger};
use crate::harness::http::Http;
use crate::harness::page::EIO4_WEBSOCKET;
use crate::harness::process::campanile;
use crate::harness::raw::Pusher;
use crate::harness::{FREE, Server, eventually, within};
use crate::keys::{PUSH, READ, keys};

const LINE: &str = r#"{"uid":"alice","n":1}"#;
const MIB: usize = 1024 * 1024;

fn shows(key: &str) -> String {
    format!(r#"{{"@":"key","key":"{key}"}}"#)
}

fn locked(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        keys(config);
        config.text.listen = FREE;
        change(config);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_key_in_ten_seconds_is_shown_out_of_the_text_port() {
    let server = locked(|_| {});
    let began = Instant::now();
    let mut backend = Pusher::open(server.text()).await;
    assert_eq!(backend.pushes(shows(PUSH)).await, "ok");
    let mut reader = Pusher::open(server.text()).await;
    assert_eq!(reader.pushes(shows(READ)).await, "ok");
    // One that had a key and then shows one that is none is a stranger again.
    let mut lapsed = Pusher::open(server.text()).await;
    assert_eq!(lapsed.pushes(shows(PUSH)).await, "ok");
    assert_eq!(lapsed.pushes(shows("nothing-of-ours-at-all")).await, "fail");
    let mut silent = Pusher::open(server.text()).await;
    let mut half = Pusher::open(server.text()).await;
    half.sends(&shows(PUSH)[..20]).await;
    let mut busy = Pusher::open(server.text()).await;
    let mut again = tokio::time::interval(Duration::from_millis(500));
    let talking = tokio::spawn(async move {
        let mut bytes = [0; 64];
        loop {
            again.tick().await;
            busy.sends("junk\n").await;
            match busy.tcp.try_read(&mut bytes) {
                Ok(0) => return,
                Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    });
    for stranger in [&mut silent, &mut half, &mut lapsed] {
        assert_eq!(stranger.replies(1).await, ["fail"]);
        stranger.is_cut().await;
    }
    within("the end of the busy one", talking)
        .await
        .expect("it ended");
    assert!(
        began.elapsed() > Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    // Whoever has shown one may be idle for as long as it likes.
    assert_eq!(backend.pushes(LINE).await, "fail", "alice is away");
    assert_eq!(reader.pushes(LINE).await, "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_key_lines_are_short_and_after_it_as_long_as_ever() {
    let server = locked(|_| {});
    let mut alice = server.login_by(EIO4_WEBSOCKET, "alice").await;
    for line in ["x".repeat(4096), "x".repeat(100_000)] {
        for end in ["", "\n"] {
            let mut stranger = Pusher::open(server.text()).await;
            assert_eq!(stranger.pushes("x".repeat(4000)).await, "fail");
            stranger.sends(format!("{line}{end}")).await;
            assert_eq!(stranger.replies(1).await, ["fail"]);
            // What was on its way may have ended it before its end was sent.
            stranger.is_cut().await;
        }
    }
    // In one write, so that the long line has begun to arrive before the key is known.
    let mut backend = Pusher::open(server.text()).await;
    let long = format!(r#"{{"uid":"alice","x":"{}"}}"#, "x".repeat(100_000));
    backend.sends(format!("{}\n{long}\n", shows(PUSH))).await;
    assert_eq!(backend.replies(2).await, ["ok", "ok"]);
    assert!(alice.next_message().await == long, "it was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stranger_does_not_take_all_seats_of_those_who_push() {
    let town = Town::start_with(|config| {
        keys(config);
        config.limits.reserve = 32;
    })
    .await;
    for (port, seats) in [(town.server.text(), 8), (town.server.http(), 16)] {
        let mut taken = Vec::new();
        for _ in 0..seats {
            taken.push(stranger(2, port).await);
        }
        let refused = seats / 2;
        eventually("half of the strangers to be refused", async || {
            town.refused_by("peer_connections").await >= refused
        })
        .await;
        if port == town.server.text() {
            let mut backends = Vec::new();
            for _ in 0..seats / 2 {
                let mut backend = Pusher::open(port).await;
                assert_eq!(backend.pushes(shows(PUSH)).await, "ok");
                backends.push(backend);
            }
            continue;
        }
        let mut backends = Vec::new();
        for _ in 0..seats / 2 {
            let mut backend = Http::open(port).await;
            backend.get(&format!("/?type=publish&key={PUSH}")).await;
            assert_eq!(backend.answer().await.status, 200);
            backends.push(backend);
        }
    }
}

/// The head of a push whose body of so many bytes is to follow.
fn head(target: &str, lines: &str, bytes: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {bytes}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_be_told_by_the_head_is_denied_before_the_body() {
    let signing = locked(|config| config.api.require_signature = true);
    let keyed = locked(|_| {});
    let signature = |time: u64| {
        format!(
            "X-Campanile-Timestamp: {time}\r\nX-Campanile-Nonce: nonce-1234\r\nX-Campanile-Signature: {}\r\n",
            "0".repeat(64)
        )
    };
    let late = signature(1_000_000_000);
    let query = format!("/?key={READ}");
    for (server, target, lines, status, why) in [
        (&signing, "/", "", 401, "x-campanile-signature"),
        (
            &signing,
            "/",
            "X-Campanile-Signature: 00\r\n",
            401,
            "do not make",
        ),
        (&signing, "/", &late, 401, "five minutes"),
        (&keyed, "/", &late, 401, "five minutes"),
        (&keyed, "/?key=nothing-of-ours-at-all", "", 401, "not known"),
        (&keyed, &query, "", 403, "not for this"),
    ] {
        let mut http = Http::open(server.http()).await;
        http.send(head(target, lines, 100_000)).await;
        let answer = http.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "fail"));
        let reason = answer.header("x-campanile-reason").expect("it says why");
        assert!(reason.contains(why), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_of_strangers_fill_no_memory_and_keep_no_push_out() {
    const STRANGERS: usize = 30;
    let entries = format!(r#"api.keys=["push:{PUSH}"]"#);
    let (process, server) = server_apart(campanile, &[&entries]).await;
    let before = process.resident();
    let piece = "x".repeat(9 * MIB);
    let mut strangers = FuturesUnordered::new();
    for _ in 0..STRANGERS {
        let mut http = Http::open(server.http()).await;
        http.send(head("/", "", 10 * MIB)).await;
        http.send(&piece).await;
        strangers.push(async move { http.answer().await });
    }
    // Whichever came first have the room that there is, and wait for their time to be over.
    for _ in 0..STRANGERS - 10 {
        let answer = strangers.next().await.expect("there are more of them");
        assert_eq!(answer.status, 503, "{}", answer.head);
        assert!(answer.text().contains("authorization"), "{}", answer.text());
    }
    let more = process.resident().saturating_sub(before);
    assert!(more < 128 * MIB as u64, "{more} bytes");
    // Pushes of ordinary size, and large ones that show a key at once, are taken.
    let small = format!("type=publish&to=nobody&content=hi&key={PUSH}");
    let large = format!("type=publish&to=nobody&content={piece}");
    let form = "application/x-www-form-urlencoded";
    for (target, body) in [("/", &small), (&format!("/?key={PUSH}"), &large)] {
        let mut http = Http::open(server.http()).await;
        http.post(target, form, body.as_bytes()).await;
        assert_eq!(http.answer().await.text(), "offline");
    }
    drop(strangers);
    eventually("there to be room again", async || {
        let large = format!("{large}&key={PUSH}");
        let mut http = Http::open(server.http()).await;
        http.post("/", form, large.as_bytes()).await;
        http.answer().await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_in_every_kind_of_body_whatever_stands_around_it() {
    let server = locked(|_| {});
    let mut page = server.login("alice").await;
    let push = "type=publish&to=alice&content=hi";
    let parts = |fields: &[(&str, &str)]| {
        let mut body = String::new();
        for (name, value) in fields {
            body += &format!(
                "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        body + "--b--\r\n"
    };
    let fields = [("type", "publish"), ("to", "alice"), ("content", "hi")];
    let with = |key| {
        [
            ("x[]", "1"),
            (" key", "wrong"),
            fields[0],
            fields[1],
            fields[2],
            ("key", key),
        ]
    };
    let form = "application/x-www-form-urlencoded";
    for (key, is_good) in [(PUSH, true), ("nothing-of-ours-at-all", false), ("", false)] {
        let json = format!(
            r#"{{"x":[[{{"key":"a"}}]],"key":"wrong","type":"publish","to":"alice","content":"hi","\u006bey":"{key}"}}"#
        );
        for (content_type, body) in [
            (form, format!("{push}&k=1&%6bey=wrong&+key={key}")),
            ("application/json", json),
            ("multipart/form-data; boundary=b", parts(&with(key))),
        ] {
            let answer = server.post(content_type, body.as_bytes()).await;
            let expected = if is_good { (200, "ok") } else { (401, "fail") };
            assert_eq!((answer.status, answer.text().as_str()), expected, "{body}");
            if is_good {
                page.receives("hi").await;
            }
        }
    }
}
