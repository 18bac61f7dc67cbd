//! Places that are some peers' or listeners' own: who polls, the demo page, and the figures.

use crate::harness::attack::stranger;
use crate::harness::http::Http;
use crate::harness::raw::KEY;
use crate::harness::{FREE, eventually};
use crate::limits::{POLLS, UPGRADES, is_over, limited};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_its_share_of_the_sessions_that_poll_and_leaves_the_others_theirs() {
    let server = limited(|config| {
        config.limits.polling_sessions = 1024;
        config.limits.handshakes_per_second = 0;
        config.limits.exempt = vec!["127.0.0.4/32".parse().expect("a network")];
    });
    let opens = async |last: u8, most: usize| {
        let mut http = Http::over(stranger(last, server.socketio()).await);
        for n in 0..most {
            http.send(format!("{POLLS}\r\n")).await;
            let answer = http.answer().await;
            if answer.status != 200 {
                is_over(&answer, 429, "peer_connections");
                return n;
            }
        }
        most
    };
    // An eighth.
    assert_eq!(opens(2, 200).await, 128);
    assert_eq!(opens(3, 200).await, 128);
    assert_eq!(opens(4, 200).await, 200, "no limit of a peer applies");
    // By websocket there is room.
    let mut http = Http::over(stranger(2, server.socketio()).await);
    let upgrade =
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}");
    http.send(format!("{UPGRADES}{upgrade}\r\n")).await;
    assert_eq!(http.answer().await.status, 101);
    // They never join, and are forgotten.
    let place = async || opens(2, 1).await == 1;
    eventually("a place", place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_page_and_the_figures_have_a_few_places_of_their_own() {
    let server = limited(|config| {
        config.limits.connections = 1;
        config.limits.reserve = 256;
        config.web.listen = FREE;
    });
    let _page = server.login("alice").await;
    let mut full = Http::open(server.socketio()).await;
    assert_eq!(full.answer().await.status, 503);
    let (admin, web) = (server.admin(), server.web());
    let asked = [
        (admin, "/healthz"),
        (admin, "/readyz"),
        (admin, "/metrics"),
        (web, "/demo.json"),
    ];
    for (address, target) in asked {
        let mut http = Http::open(address).await;
        http.get(target).await;
        assert_eq!(http.answer().await.status, 200, "{target}");
    }
    for (address, target) in [(admin, "/healthz"), (web, "/demo.json")] {
        let mut idle = Vec::new();
        while idle.len() < 100 {
            let mut http = Http::open(address).await;
            http.get(target).await;
            let is_in = http.answer().await.status == 200;
            idle.push(http);
            if !is_in {
                break;
            }
        }
        assert!(
            (10..=20).contains(&idle.len()),
            "{} of {target}",
            idle.len()
        );
        let mut http = Http::open(address).await;
        let answer = http.answer().await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("5"))
        );
        drop(idle);
        eventually("a place", async || {
            let mut http = Http::open(address).await;
            http.get(target).await;
            http.answer().await.status == 200
        })
        .await;
    }
}
