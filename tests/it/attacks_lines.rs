//! Attacks on the text and UDP push ports that `text_port`, `text_flood` and `udp` do not play.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::harness::FREE;
use crate::harness::attack::{Town, has_said_little, memory_is_back};
use crate::harness::raw::Pusher;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_that_push_lines_keep_no_other_push_out() {
    let mut town = Town::start().await;
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(Pusher::open(town.server.text()).await);
    }
    town.is_unharmed("idle connections").await;
    drop(idle);
    town.is_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_in_one_write_are_answered_in_order_and_delay_nobody() {
    const LINES: usize = 100_000;
    let (process, mut town) = Town::apart(&[]).await;
    let before = process.resident();
    let kinds = [
        r#"{"uid":"nobody","n":1}"#,
        "garbage",
        "",
        r#"{"uid":"honest 3","x":"told"}"#,
    ];
    // The honest page is told of one line in a thousand: it reads only between attacks.
    let line = |n: usize| match n % 1000 {
        3 => kinds[3],
        _ => kinds[n % 3],
    };
    let lines: String = (0..LINES).map(|n| format!("{}\n", line(n))).collect();
    let mut pusher = Pusher::open(town.server.text()).await;
    let (tell, mut told) = (lines.clone(), 0);
    let address = town.server.text();
    let writing = tokio::spawn(async move {
        let mut other = Pusher::open(address).await;
        other.sends(tell).await;
        other
    });
    pusher.sends(lines).await;
    for n in 0..LINES {
        let reply = pusher.replies(1).await.remove(0);
        let expected = if line(n) == kinds[3] { "ok" } else { "fail" };
        assert_eq!(reply, expected, "line {n}");
        told += usize::from(reply == "ok");
    }
    assert_eq!(told, LINES / 1000);
    let mut other = writing.await.expect("it is written");
    assert_eq!(other.replies(LINES).await.len(), LINES);
    town.raw_receives(kinds[3], 2 * told).await;
    town.is_unharmed("a hundred thousand lines").await;
    memory_is_back(&process, before, 48 * MIB).await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_never_end_are_cut_and_their_memory_comes_back() {
    const PUSHERS: usize = 10;
    let (process, mut town) = Town::apart(&[]).await;
    let before = process.resident();
    let piece = vec![b'x'; MIB as usize];
    let mut pushers = Vec::new();
    for _ in 0..PUSHERS {
        let mut pusher = Pusher::open(town.server.text()).await;
        for _ in 0..9 {
            pusher.sends(&piece).await;
        }
        pushers.push(pusher);
    }
    town.is_unharmed("lines of nine mebibytes").await;
    for pusher in &mut pushers {
        for _ in 0..3 {
            pusher.sends(&piece).await;
        }
        pusher.is_cut().await;
    }
    town.is_unharmed("lines above the limit").await;
    memory_is_back(&process, before, 32 * MIB).await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_at_full_rate_delay_no_push_by_another_way() {
    let mut town = Town::start_with(|config| {
        config.topic_socket.listen = FREE;
        config.udp.listen = FREE;
        config.udp.secret = "the secret of the backends".into();
    })
    .await;
    let udp = town.server.udp();
    let floods = (0..2).map(|n| {
        tokio::spawn(async move {
            let any = SocketAddr::from(([127, 0, 0, 2 + n], 0));
            let socket = UdpSocket::bind(any).await.expect("there is a port");
            let long = [b'{'; 9000];
            for round in 0..20_000 {
                let packet: &[u8] = match round % 4 {
                    0 => b"",
                    1 => b"{\"school_id\":\"2\"}",
                    2 => b"{\"school_id\":\"2\",\"secret\":\"the secret of the backend\"}",
                    _ => &long,
                };
                socket.send_to(packet, udp).await.ok();
            }
        })
    });
    let floods: Vec<_> = floods.collect();
    for n in 0..10 {
        town.is_unharmed(&format!("flood {n}")).await;
    }
    for flood in floods {
        flood.await.expect("it ends");
    }
    town.is_unharmed("the flood").await;
    town.is_alone().await;
}
