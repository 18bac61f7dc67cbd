//! Attacks by HTTP that `requests`, `wire` and `proxies` do not play: idle connections, bodies without
//! end, forged peers, strangers who open too fast.

use std::time::Duration;

use campanile::config::Config;
use tokio::net::TcpStream;

use crate::harness::attack::{Town, has_said_little, memory_is_back, stranger};
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::page::EIO4_POLLING;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_and_dribbling_heads_harm_nobody_and_are_ended() {
    const IDLE: usize = 5000;
    let (process, mut town) = Town::apart(&[]).await;
    let before = process.resident();
    let mut idle = Vec::new();
    for n in 0..IDLE {
        let tcp = TcpStream::connect(town.server.socketio()).await;
        let mut http = Http::over(tcp.expect("the port is open"));
        if n % 4 == 0 {
            http.send("GET /socket.io/?EIO=4 HTTP/1.1\r\nX-A: ").await;
        }
        idle.push(http);
    }
    town.is_unharmed("idle connections").await;
    let ends = async {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let (dribbling, silent) = idle.split_at_mut(100);
        let dribble = async {
            loop {
                seconds.tick().await;
                for http in dribbling.iter_mut() {
                    http.send("x").await;
                }
            }
        };
        let wait = async {
            for http in silent {
                while http.poll().await.is_some() {}
            }
        };
        tokio::select! {
            () = dribble => {}
            () = wait => {}
        }
        for http in dribbling {
            while http.poll().await.is_some() {}
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(25), ends).await;
    assert!(ended.is_ok(), "a connection without a request was kept");
    drop(idle);
    town.takes_another_connection().await;
    town.is_unharmed("their end").await;
    memory_is_back(&process, before, 48 * MIB).await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stranger_gets_his_share_of_the_connections_and_no_more() {
    const MOST: usize = 50;
    let settings = [format!("limits.connections_per_peer={MOST}")];
    let (process, mut town) = Town::apart(&settings.each_ref().map(String::as_str)).await;
    let ports = [town.server.socketio(), town.server.uid_socket()];
    let mut idle = Vec::new();
    let (mut refused, mut told) = (0, 0);
    for n in 0..10 * MOST {
        // One port accepts them in their order; the first refusal tells that all before are counted.
        let port = if n <= MOST { ports[0] } else { ports[n % 2] };
        let mut http = Http::over(stranger(2, port).await);
        if n < MOST {
            idle.push(http);
            continue;
        }
        // He is told before he says anything, if the kernel takes it at once.
        if let Some(answer) = http.answer_or_end().await {
            assert_eq!(answer.status, 503, "connection {n}");
            assert_eq!(answer.text(), "too many connections\r\n");
            told += 1;
        }
        refused += 1;
    }
    assert_eq!(town.refused_by("peer_connections").await, refused);
    assert!(told > 0, "nobody was told");
    assert_eq!(town.opens_from(3, "").await.0, 200);
    town.is_unharmed("one stranger's connections").await;
    drop(idle);
    eventually("the stranger to be let in again", async || {
        let mut http = Http::over(stranger(2, ports[0]).await);
        http.get(&EIO4_POLLING.target()).await;
        http.answer_or_end().await.is_some_and(|a| a.status == 200)
    })
    .await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_without_end_are_refused_at_their_limits() {
    let (process, mut town) = Town::apart(&["http.max_body=1MiB"]).await;
    let before = process.resident();
    let page = town.server.connect_by(EIO4_POLLING).await;
    let polled = format!("{}&sid={}", EIO4_POLLING.target(), page.sid);
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let line = "X-Padding: x\r\n".repeat(1000);
    for (address, target) in [
        (town.server.http(), "/?type=publish"),
        (town.server.socketio(), polled.as_str()),
    ] {
        for _ in 0..20 {
            let mut http = Http::open(address).await;
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
                 Transfer-Encoding: chunked\r\n\r\n"
            );
            http.send(head).await;
            for _ in 0..100 {
                http.send(&chunk).await;
            }
            if let Some(answer) = http.answer_or_end().await {
                assert_eq!(answer.status, 413, "{target}");
            }
            let mut http = Http::open(address).await;
            http.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n"))
                .await;
            for _ in 0..200 {
                http.send(&line).await;
            }
            if let Some(answer) = http.answer_or_end().await {
                assert_eq!(answer.status, 431, "{target}");
            }
        }
        town.is_unharmed("what never ends").await;
    }
    memory_is_back(&process, before, 32 * MIB).await;
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_as_long_as_it_says_and_what_follows_is_no_part_of_it() {
    let mut town = Town::start().await;
    let page = town.server.connect_by(EIO4_POLLING).await;
    let polled = format!("{}&sid={}", EIO4_POLLING.target(), page.sid);
    let push = "type=publish&content=forged";
    let login = r#"42["login","forged"]"#;
    let lying = |target: &str, length: usize, body: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    for (address, target, body) in [
        (town.server.http(), "/", push),
        (town.server.socketio(), polled.as_str(), login),
    ] {
        // More than is said: the rest is no request.
        let mut http = Http::open(address).await;
        http.send(lying(target, 3, body)).await;
        assert!(http.answer_or_end().await.is_some());
        let rest = http.answer_or_end().await;
        assert!(rest.is_none_or(|answer| answer.status == 400));
        // Less: it is not taken, whether the sender goes or stays.
        let stays = {
            let mut http = Http::open(address).await;
            http.send(lying(target, 1000, body)).await;
            http
        };
        let mut goes = Http::open(address).await;
        goes.send(lying(target, 1000, body)).await;
        drop(goes);
        // Two lengths, or a length and chunks, of which one would smuggle a request.
        for lines in [
            "Content-Length: 3\r\nContent-Length: 30\r\n",
            "Content-Length: 3, 30\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 0x3\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
        ] {
            let mut http = Http::open(address).await;
            http.send(format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}"
            ))
            .await;
            let answer = http.answer_or_end().await;
            assert!(answer.is_none_or(|answer| answer.status == 400), "{lines}");
        }
        // A push would have reached everyone before this.
        town.is_unharmed(target).await;
        town.is_alone().await;
        drop(stays);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_header_is_no_way_around_a_limit() {
    let mut town = Town::start_with(|config| config.limits.connections_per_peer = 3).await;
    let forged = |n: u8| format!("X-Forwarded-For: 10.0.0.{n}\r\nForwarded: for=10.0.0.{n}\r\n");
    for n in 0..10 {
        let (status, code) = town.opens_from(2, &forged(n)).await;
        let expected = if n < 3 { 200 } else { 429 };
        assert_eq!(status, expected, "session {n}");
        if n >= 3 {
            assert_eq!(code, "peer_connections");
        }
    }
    // Nor one to use up somebody else's.
    assert_eq!(town.opens_from(3, &forged(200)).await.0, 200);
    let names_other = "X-Forwarded-For: 127.0.0.4\r\n";
    for _ in 0..5 {
        town.opens_from(3, names_other).await;
    }
    assert_eq!(town.opens_from(4, "").await.0, 200);
    assert_eq!(town.refused_by("peer_connections").await, 7 + 3);
    town.is_unharmed("forged headers").await;
    town.is_alone().await;

    // Behind a proxy each peer has its own.
    let trusted = |config: &mut Config| {
        config.limits.connections_per_peer = 3;
        config.proxy.trusted = vec!["127.0.0.2".parse().expect("an address")];
    };
    let town = Town::start_with(trusted).await;
    for n in 0..10 {
        let lines = format!("X-Forwarded-For: 6.6.6.6, 10.0.0.{n}\r\n");
        assert_eq!(town.opens_from(2, &lines).await.0, 200, "peer {n}");
    }
    for n in 0..4 {
        // What the client itself has written in front counts for nothing.
        let lines = format!("X-Forwarded-For: 6.6.6.{n}, 192.0.2.1\r\n");
        let expected = if n < 3 { 200 } else { 429 };
        assert_eq!(town.opens_from(2, &lines).await.0, expected, "claim {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_whose_addresses_are_one_peer_is_told_of_as_one() {
    let flags = [
        "limits.handshakes_per_second=1",
        r#"proxy.trusted=["127.0.0.2"]"#,
    ];
    let (mut process, town) = Town::apart(&flags).await;
    let mut refused = 0;
    for n in 0..100 {
        let lines = format!("X-Forwarded-For: 2001:db8:1:2::{n:x}\r\n");
        refused += usize::from(town.opens_from(2, &lines).await.0 == 429);
    }
    assert!(refused > 50, "{refused}");
    let lines = process.lines_till_the_end().await;
    let told = lines.iter().filter(|line| line.contains("refused;"));
    assert!((1..=2).contains(&told.count()), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_opens_too_fast_is_refused_counted_and_told_of_once() {
    let (process, mut town) = Town::apart(&["limits.handshakes_per_second=2"]).await;
    let mut refused = 0;
    for _ in 0..300 {
        match town.opens_from(2, "").await {
            (200, _) => {}
            (429, code) => {
                assert_eq!(code, "handshakes");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((200..=280).contains(&refused), "{refused} of 300 refused");
    assert_eq!(town.refused_by("handshakes").await, refused);
    assert_eq!(town.opens_from(3, "").await.0, 200);
    town.is_unharmed("too many handshakes").await;
    has_said_little(process, 20).await;
}
