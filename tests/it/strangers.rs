//! What somebody without a key can take of push ports that ask for one: time, memory and seats.

use crate::harness::attack::{Town, stranger};
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::raw::Pusher;
use crate::keys::{PUSH, keys};

fn shows(key: &str) -> String {
    format!(r#"{{"@":"key","key":"{key}"}}"#)
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
