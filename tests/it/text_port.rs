//! The text push port: lines, what they ask for, and connections that misbehave. Many lines at
//! once are in `text_flood`.

use std::ops::Range;

use bytesize::ByteSize;
use campanile::config::Config;
use socket2::SockRef;

use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET, Page};
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::{FREE, Server, within};
use crate::raw_frames::Noise;

fn start() -> Server {
    start_with(|_| {})
}

fn start_with(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
        change(config);
    })
}

async fn page(server: &Server, uid: &str) -> RawPage {
    RawPage::saying(server.uid_socket(), uid).await
}

const LINE: &str = r#"{"uid":"alice","n":1}"#;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_line_waits_for_its_other_half_and_other_pushers_do_not() {
    let server = start();
    let mut alice = page(&server, "alice").await;
    let (mut slow, mut quick) = (
        Pusher::open(server.text()).await,
        Pusher::open(server.text()).await,
    );
    slow.sends(&LINE[..9]).await;
    assert_eq!(quick.pushes(r#"{"uid":"alice","quick":1}"#).await, "ok");
    alice.receives(r#"{"uid":"alice","quick":1}"#).await;
    alice.has_nothing().await;
    slow.sends(&LINE[9..]).await;
    slow.sends("\r").await;
    assert_eq!(quick.pushes("junk").await, "fail");
    alice.has_nothing().await;
    slow.sends("\n{\"uid\":").await;
    assert_eq!(slow.replies(1).await, ["ok"]);
    alice.receives(LINE).await;
    // Two lines and a half by one, then byte by byte.
    for byte in b"\"alice\"}\n{}\n{\"uid\":\"alice\",\"last\":true}\n{\"uid" {
        slow.sends([*byte]).await;
    }
    assert_eq!(slow.replies(3).await, ["ok", "fail", "ok"]);
    alice.receives(r#"{"uid":"alice"}"#).await;
    alice.receives(r#"{"uid":"alice","last":true}"#).await;
    drop(slow);
    assert_eq!(quick.pushes("junk").await, "fail");
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cr_alone_ends_no_line_and_crs_before_the_lf_are_not_delivered() {
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut pusher = Pusher::open(server.text()).await;
    // Two objects with CRs between them are one line, and not JSON.
    pusher.sends(format!("{LINE}\r{LINE}\r\r{LINE}\r")).await;
    alice.has_nothing().await;
    pusher.sends("\n").await;
    assert_eq!(pusher.replies(1).await, ["fail"]);
    pusher.sends("\r\r\r").await;
    pusher.sends(format!("{LINE}\r\r\r\n")).await;
    assert_eq!(pusher.replies(1).await, ["ok"]);
    alice.receives(&format!("\r\r\r{LINE}")).await;
    assert_eq!(pusher.pushes("\r").await, "fail");
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_pipelined_garbage_is_answered_and_good_lines_between_are_delivered() {
    const ROUNDS: usize = 50;
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut pusher = Pusher::open(server.text()).await;
    let deep = format!(
        r#"{{"uid":"alice","x":{}{}}}"#,
        "[".repeat(600),
        "]".repeat(601)
    );
    let garbage: &[&[u8]] = &[
        b"",
        b"\r",
        b"junk",
        b"null",
        b"5",
        b"\"alice\"",
        b"[]",
        b"[\"alice\"]",
        b"{\"uid\":[\"alice\"]}",
        b"{\"uid\":{\"uid\":\"alice\"}}",
        b"{\"uid\":true}",
        b"{\"uid\":\"\"}",
        b"{\"uid\":\"alice\"",
        b"{\"uid\":\"alice\"}}",
        b"{\"uid\":\"alice\"}{\"uid\":\"alice\"}",
        b"\xef\xbb\xbf{\"uid\":\"alice\"}",
        b"{\"uid\":\"alice\xff\"}",
        b"{\"uid\":\"alice\",\"x\":\"\xff\"}",
        b"{\"uid\":\"alice\",\"x\":\"\0\"}",
        b"{'uid':'alice'}",
        b"POST / HTTP",
        b"type=publish&to=alice&content=hi",
        deep.as_bytes(),
    ];
    let mut bytes = Vec::new();
    for n in 0..ROUNDS {
        for line in garbage {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        bytes.extend(format!("{{\"uid\":\"alice\",\"n\":{n}}}\n").bytes());
    }
    pusher.sends(&bytes).await;
    let replies = pusher.replies(ROUNDS * (garbage.len() + 1)).await;
    for (n, round) in replies.chunks(garbage.len() + 1).enumerate() {
        let (good, bad) = round.split_last().expect("a round has replies");
        assert_eq!(good, "ok", "{n}");
        assert!(bad.iter().all(|reply| reply == "fail"), "{n}: {bad:?}");
        alice
            .receives(&format!(r#"{{"uid":"alice","n":{n}}}"#))
            .await;
    }
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_noise_gets_one_fail_a_line_and_harms_nobody() {
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut honest = Pusher::open(server.text()).await;
    let mut noise = Noise(11);
    for length in [1, 10, 1000, 100_000, 1_000_000] {
        let mut bytes: Vec<u8> = (0..length).map(|_| noise.next()).collect();
        bytes.push(b'\n');
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let mut pusher = Pusher::open(server.text()).await;
        pusher.sends(&bytes).await;
        let replies = pusher.replies(lines).await;
        assert!(replies.iter().all(|reply| reply == "fail"), "{length}");
        assert_eq!(pusher.pushes(LINE).await, "ok");
        alice.receives(LINE).await;
        assert_eq!(honest.pushes(LINE).await, "ok");
        alice.receives(LINE).await;
    }
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_just_below_ten_mebibytes_is_delivered_whole() {
    const MOST: usize = 10 * 1024 * 1024 - 1;
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut socketio = server.login_by(EIO4_WEBSOCKET, "alice").await;
    let mut pusher = Pusher::open(server.text()).await;
    let frame = r#"{"uid":"alice","x":""}"#;
    let content = format!("\"{}\"", "x".repeat(MOST - frame.len() - 1));
    let line = frame.replace("\"\"", &content);
    // With its LF.
    assert_eq!(line.len() + 1, MOST);
    let expected = line.clone();
    let pushing = tokio::spawn(async move { pusher.pushes(line.as_bytes()).await });
    assert!(alice.next_message().await == expected, "it was changed");
    assert!(socketio.next_message().await == expected, "it was changed");
    assert_eq!(pushing.await.expect("it is answered"), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_never_ends_is_cut_at_the_limit_and_nobody_else_notices() {
    const MOST: usize = 1_000_000;
    let server = start_with(|config| config.text.max_line = ByteSize::b(MOST as u64));
    let mut alice = page(&server, "alice").await;
    let mut honest = Pusher::open(server.text()).await;
    for (length, is_cut) in [(MOST - 1, false), (MOST, true), (3 * MOST, true)] {
        let mut endless = Pusher::open(server.text()).await;
        // Lines before it are answered all the same.
        assert_eq!(endless.pushes(LINE).await, "ok");
        alice.receives(LINE).await;
        endless.sends("x".repeat(length)).await;
        if is_cut {
            endless.is_cut().await;
        } else {
            assert_eq!(endless.pushes("").await, "fail");
            assert_eq!(endless.pushes(LINE).await, "ok");
            alice.receives(LINE).await;
        }
        assert_eq!(honest.pushes(LINE).await, "ok");
        alice.receives(LINE).await;
    }
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pusher_that_goes_without_reading_its_replies_is_heard_to_the_end() {
    const LINES: usize = 2000;
    const FIRST: usize = 1900;
    let server = start();
    let mut alice = page(&server, "alice").await;
    let line = |n: usize| format!(r#"{{"uid":"alice","n":{n}}}"#);
    let lines = |some: Range<usize>| some.map(|n| line(n) + "\n").collect::<String>();
    for ending in ["close", "close with replies unread", "reset", "late reset"] {
        let mut pusher = Pusher::open(server.text()).await;
        let mut heard = 0;
        if ending == "late reset" {
            // The last lines come while the first are handled, so that there is more to be read
            // when the first replies cannot be written.
            pusher.sends(lines(0..FIRST)).await;
            alice.receives(&line(0)).await;
            heard = 1;
            pusher.sends(lines(FIRST..LINES)).await;
        } else {
            pusher.sends(lines(0..LINES)).await;
        }
        if ending == "close with replies unread" {
            let mut first = [0];
            within("a reply", pusher.tcp.peek(&mut first))
                .await
                .expect("the connection is open");
        }
        if ending.ends_with("reset") {
            SockRef::from(&pusher.tcp)
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("a socket can be told not to linger");
        }
        drop(pusher);
        for n in heard..LINES {
            assert_eq!(alice.next_message().await, line(n), "{ending}");
        }
    }
    alice.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_a_fin_are_answered_and_half_a_line_is_not() {
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut pusher = Pusher::open(server.text()).await;
    pusher
        .sends(format!("{LINE}\njunk\n{LINE}\n{LINE}").as_bytes())
        .await;
    pusher.finishes().await;
    assert_eq!(pusher.replies(3).await, ["ok", "fail", "ok"]);
    pusher.is_cut().await;
    alice.receives(LINE).await;
    alice.receives(LINE).await;
    alice.has_nothing().await;
}

const ORDERS: [&str; 4] = [
    r#"{"@":"all","x":1}"#,
    r#"{"@":"group","to":"g"}"#,
    r#"{"@":"online"}"#,
    r#"{"@":"kick"}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn without_extensions_orders_are_lines_without_a_uid() {
    let server = start();
    let mut alice = page(&server, "alice").await;
    let mut socketio = server.login("alice").await;
    let mut pusher = Pusher::open(server.text()).await;
    for order in ORDERS {
        assert_eq!(pusher.pushes(order).await, "fail", "{order}");
    }
    // As the original: a member like any other.
    let line = r#"{"@":"kick","uid":"alice"}"#;
    assert_eq!(pusher.pushes(line).await, "ok");
    alice.receives(line).await;
    socketio.receives(line).await;
    alice.has_nothing().await;
    server.nothing_else_comes_to([&mut socketio]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_all_reaches_every_page_that_pushes_to_everyone_reach() {
    let server = start_with(|config| config.text.extensions = true);
    let mut raw = [page(&server, "alice").await, page(&server, "bob").await];
    let mut nobody = RawPage::open(server.uid_socket()).await;
    let mut pages: Vec<Page> = Vec::new();
    for dialect in DIALECTS {
        pages.push(server.login_by(dialect, "carol").await);
    }
    let mut pusher = Pusher::open(server.text()).await;
    // A uid beside it changes nothing.
    for line in [r#"{"@":"all" , "x":"<é>"}"#, r#"{"uid":"bob","@":"all"}"#] {
        assert_eq!(pusher.pushes(line).await, "ok");
        for page in &mut raw {
            page.receives(line).await;
        }
        for page in &mut pages {
            page.receives(line).await;
        }
    }
    for page in raw.iter_mut().chain([&mut nobody]) {
        page.has_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_carried_out_fail() {
    let server = start_with(|config| config.text.extensions = true);
    let mut alice = page(&server, "alice").await;
    let mut pusher = Pusher::open(server.text()).await;
    for line in [
        r#"{"@":"group","to":"nobody is in it"}"#,
        r#"{"@":"group"}"#,
        r#"{"@":"group","to":""}"#,
        r#"{"@":"group","to":["g"]}"#,
        r#"{"@":"online"}"#,
        r#"{"@":"online","uid":"bob"}"#,
        r#"{"@":"online","uid":""}"#,
        r#"{"@":"kick"}"#,
        r#"{"@":"kick","uid":"bob"}"#,
        r#"{"@":"dance","uid":"alice"}"#,
        r#"{"@":"ALL"}"#,
        r#"{"@":""}"#,
        r#"{"@":"all"}}"#,
    ] {
        assert_eq!(pusher.pushes(line).await, "fail", "{line}");
    }
    assert_eq!(pusher.pushes(r#"{"@":"online","uid":"alice"}"#).await, "ok");
    // The page that is asked after hears nothing of it.
    alice.has_nothing().await;
    // What is no text is no order.
    for line in [r#"{"@":5,"uid":"alice"}"#, r#"{"@":null,"uid":"alice"}"#] {
        assert_eq!(pusher.pushes(line).await, "ok", "{line}");
        alice.receives(line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_closes_every_page_of_the_uid_once_it_has_what_was_pushed_before() {
    let server = start_with(|config| config.text.extensions = true);
    let mut raw = [page(&server, "7").await, page(&server, "7").await];
    let mut other = page(&server, "8").await;
    let mut pages: Vec<Page> = Vec::new();
    for dialect in DIALECTS {
        pages.push(server.login_by(dialect, "7").await);
    }
    let mut pusher = Pusher::open(server.text()).await;
    // A number names the same user as its digits.
    let lines = ["{\"uid\":7,\"x\":1}\n", "{\"@\":\"kick\",\"uid\":7}\n"];
    pusher.sends(lines.concat()).await;
    assert_eq!(pusher.replies(2).await, ["ok", "ok"]);
    for page in &mut raw {
        page.receives(lines[0].trim_end()).await;
        page.is_closed_with(1008).await;
    }
    for page in &mut pages {
        page.receives(lines[0].trim_end()).await;
        page.is_disconnected().await;
    }
    server.waits_until_offline("7").await;
    assert_eq!(pusher.pushes(r#"{"@":"online","uid":7}"#).await, "fail");
    assert_eq!(pusher.pushes(r#"{"@":"kick","uid":"7"}"#).await, "fail");
    other.has_nothing().await;
    // They may come back.
    let mut back = page(&server, "7").await;
    assert_eq!(pusher.pushes(r#"{"uid":"7"}"#).await, "ok");
    back.receives(r#"{"uid":"7"}"#).await;
}
