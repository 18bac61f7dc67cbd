//! What somebody without a key can take of push ports that ask for one: time, memory and seats.

use std::time::{Duration, Instant};

use campanile::config::Config;

use crate::harness::attack::{Town, stranger};
use crate::harness::http::Http;
use crate::harness::page::EIO4_WEBSOCKET;
use crate::harness::raw::Pusher;
use crate::harness::{FREE, Server, eventually, within};
use crate::keys::{PUSH, READ, keys};

const LINE: &str = r#"{"uid":"alice","n":1}"#;

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
