//! Pages whose connection ends, and that come back: what they missed, in order, each message once.

use std::time::Duration;

use campanile::config::Config;
use serde_json::{Value, json};

use crate::harness::page::{DIALECTS, Dialect, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::{FREE, Server, eventually};
use crate::stall::narrow_connection;

/// A server that remembers.
fn recovering() -> Server {
    recovering_with(|_| {})
}

fn recovering_with(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        config.recovery.window = Duration::from_secs(120);
        // It tells how many pages are there.
        config.web.listen = FREE;
        change(config);
    })
}

/// Logs in with an object and gives the answer.
async fn logs_in_with(page: &mut Page, login: Value) -> Value {
    page.sends(&format!(r#"427["login",{login}]"#)).await;
    loop {
        let packet = page.next_packet().await.expect("the login is answered");
        if let Some(answer) = packet.strip_prefix("437") {
            let [answer] = serde_json::from_str::<[Value; 1]>(answer).expect("one argument");
            return answer;
        }
    }
}

/// The next message of a page that is told the numbers, with its number.
async fn next_numbered(page: &mut Page) -> (String, u64) {
    loop {
        let packet = page.next_packet().await.expect("the page is connected");
        let Some(event) = packet.strip_prefix(r#"42["new_msg","#) else {
            continue;
        };
        let event: (String, Value) = serde_json::from_str(&format!("[{event}")).expect("two");
        let id = event.1["id"].as_u64().expect("a number");
        assert_eq!(event.1["ts"].as_u64(), Some(id / 1000));
        return (event.0, id);
    }
}

async fn number_of(page: &mut Page, content: &str) -> u64 {
    let (got, id) = next_numbered(page).await;
    assert_eq!(got, content);
    id
}

/// A page that logs in, and then reads whatever comes.
async fn comes_back(server: &Server, dialect: Dialect, uid: &str) -> Page {
    let mut page = server.connect_by(dialect).await;
    page.logs_in_with(&format!("{uid:?}")).await;
    page
}

/// The connection of `page` breaks, and the server has noticed.
async fn breaks(server: &Server, page: Page, uid: &str) {
    page.resets();
    eventually("the session to end", async || {
        server.push(uid, "while away").await == "offline"
    })
    .await;
}

/// Reads what was pushed by [`breaks`], up to the first other message.
async fn first_after_the_break(page: &mut Page) -> String {
    loop {
        let message = page.next_message().await;
        if message != "while away" {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_back_gets_what_it_missed_in_order_before_anything_newer() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = recovering();
        let mut page = server.login_by(dialect, "alice").await;
        assert_eq!(server.push("alice", "heard").await, "ok");
        page.receives("heard").await;
        page.leaves().await;
        server_is_left(&server).await;
        assert_eq!(server.push("alice", "one").await, "offline");
        server.push_to_everyone("two").await;
        assert_eq!(server.push("bob", "for another").await, "offline");
        assert_eq!(
            server
                .push_form("type=publish&to[]=bob&to[]=alice&content=three")
                .await,
            "offline"
        );
        let mut page = comes_back(&server, dialect, "alice").await;
        assert_eq!(
            server.push_form("type=publish&to=&content=four").await,
            "ok"
        );
        for content in ["one", "two", "three", "four"] {
            page.receives(content).await;
        }
        server.nothing_else_comes_to([&mut page]).await;
    }
}

/// Waits until no session is there. A push would tell too, but it would be remembered.
async fn server_is_left(server: &Server) {
    eventually("the pages to be gone", async || server.pages().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_has_heard_before_its_goodbye_is_not_repeated() {
    for dialect in DIALECTS {
        let server = recovering();
        let mut page = server.login_by(dialect, "alice").await;
        for n in 0..50 {
            server.push("alice", &n.to_string()).await;
        }
        for n in 0..50 {
            page.receives(&n.to_string()).await;
        }
        if dialect.polling {
            // That it has the last answer is known once it polls again.
            server.push("alice", "50").await;
            page.receives("50").await;
            assert!(page.is_heard().await);
        }
        page.leaves().await;
        server_is_left(&server).await;
        let mut page = comes_back(&server, dialect, "alice").await;
        server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_connection_had_not_delivered_comes_again() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = recovering();
        let tcp = narrow_connection(server.socketio()).await;
        let mut page = Page::open(tcp, dialect).await;
        page.joins().await;
        page.logs_in("alice").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(2000));
        // More than its kernel takes while it does not read.
        for n in 0..200 {
            assert_eq!(server.push("alice", &content(n)).await, "ok");
        }
        let mut next = 0;
        while next < 5 {
            page.receives(&content(next)).await;
            next += 1;
        }
        breaks(&server, page, "alice").await;
        let mut page = comes_back(&server, dialect, "alice").await;
        let first = page.next_message().await;
        let at: usize = first
            .split_once(' ')
            .expect("a number")
            .0
            .parse()
            .expect("a number");
        // What its kernel had may have been read, or not.
        assert!(at < 150, "only {at} and later came again");
        for n in at + 1..200 {
            page.receives(&content(n)).await;
        }
        server.push_to_everyone("now").await;
        assert_eq!(first_after_the_break(&mut page).await, "now");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fell_silent_gets_all_since_it_last_answered() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET, EIO4_POLLING] {
        let server = recovering_with(|config| {
            config.socketio.ping_interval = Duration::from_millis(400);
            config.socketio.ping_timeout = Duration::from_millis(800);
        });
        let page = server.login_by(dialect, "alice").await;
        // Its kernel takes them; the page sleeps.
        for content in ["one", "two", "three"] {
            assert_eq!(server.push("alice", content).await, "ok");
        }
        server_is_left(&server).await;
        let mut again = comes_back(&server, dialect, "alice").await;
        for content in ["one", "two", "three"] {
            again.receives(content).await;
        }
        server.nothing_else_comes_to([&mut again]).await;
        drop(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_keep_up_is_cut_and_then_has_every_message() {
    let server = recovering_with(|config| {
        config.socketio.max_queue = 64;
    });
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let tcp = narrow_connection(server.socketio()).await;
        let mut slow = Page::open(tcp, dialect).await;
        slow.joins().await;
        slow.logs_in("slow").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(5000));
        for n in 0..500 {
            server.push_to_everyone(&content(n)).await;
        }
        let mut next = 0;
        while let Some((event, message)) = slow.next_event().await {
            if event == "new_msg" {
                assert_eq!(message, content(next), "a gap");
                next += 1;
            }
        }
        assert!(next < 500, "it was never cut");
        let mut slow = comes_back(&server, dialect, "slow").await;
        let first = slow.next_message().await;
        let at: usize = first
            .split_once(' ')
            .expect("a number")
            .0
            .parse()
            .expect("a number");
        assert!(at <= next, "{next} to {at} are lost");
        for n in at + 1..500 {
            slow.receives(&content(n)).await;
        }
        server.nothing_else_comes_to([&mut slow]).await;
        slow.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_queue_holds_is_caught_up_with() {
    let server = recovering_with(|config| {
        config.socketio.max_queue = 64;
    });
    for dialect in DIALECTS {
        let page = server.login_by(dialect, "alice").await;
        page.leaves().await;
        server_is_left(&server).await;
        for n in 0..1000 {
            server.push("alice", &n.to_string()).await;
        }
        let mut page = comes_back(&server, dialect, "alice").await;
        for n in 0..1000 {
            page.receives(&n.to_string()).await;
        }
        server.nothing_else_comes_to([&mut page]).await;
        page.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_since_gets_exactly_what_came_after() {
    for dialect in DIALECTS {
        let server = recovering();
        let mut page = server.connect_by(dialect).await;
        let answer = logs_in_with(&mut page, json!({"uid": "alice"})).await;
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(answer["recovered"], true, "{answer}");
        server.push("alice", "one").await;
        server.push_to_everyone("two").await;
        server.push("alice", "three").await;
        let one = number_of(&mut page, "one").await;
        assert!(answer["since"].as_u64() < Some(one));
        let two = number_of(&mut page, "two").await;
        let three = number_of(&mut page, "three").await;
        assert!(one < two && two < three);
        // Another tab of the same user is there all the time, and the old connection may be too.
        for since in [one, two, three] {
            let mut tab = server.connect_by(dialect).await;
            let answer = logs_in_with(&mut tab, json!({"uid": "alice", "since": since})).await;
            assert_eq!(answer["recovered"], true, "{answer}");
            for (id, content) in [(two, "two"), (three, "three")] {
                if id > since {
                    assert_eq!(next_numbered(&mut tab).await, (content.to_owned(), id));
                }
            }
            server.push("alice", "marker").await;
            assert_eq!(next_numbered(&mut tab).await.0, "marker");
            assert_eq!(next_numbered(&mut page).await.0, "marker");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_since_in_the_handshake_is_told_by_an_event() {
    let server = recovering();
    let mut page = server.connect().await;
    logs_in_with(&mut page, json!({"uid": "alice"})).await;
    server.push("alice", "one").await;
    server.push("alice", "two").await;
    let one = number_of(&mut page, "one").await;
    let two = number_of(&mut page, "two").await;
    let tcp = tokio::net::TcpStream::connect(server.socketio())
        .await
        .expect("the port is open");
    let mut page = Page::open(tcp, EIO4_WEBSOCKET).await;
    page.reads_handshake().await;
    page.sends(&format!(r#"40{{"uid":"alice","since":{one}}}"#))
        .await;
    let joined = page.next_packet().await.expect("the page is let in");
    assert!(joined.starts_with("40"), "{joined}");
    let told = page.next_packet().await.expect("the page is told");
    let told: (String, Value) = serde_json::from_str(&told[2..]).expect("an event");
    assert_eq!(told.0, "login");
    assert_eq!(told.1["ok"], true);
    assert_eq!(told.1["uid"], "alice");
    assert_eq!(next_numbered(&mut page).await, ("two".to_owned(), two));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_when_the_log_does_not_reach_back_far_enough() {
    let server = recovering_with(|config| {
        config.recovery.max_bytes = bytesize::ByteSize::kib(64);
    });
    let mut page = server.connect().await;
    logs_in_with(&mut page, json!({"uid": "alice"})).await;
    server.push("alice", "one").await;
    let one = number_of(&mut page, "one").await;
    let content = "x".repeat(10_000);
    let mut ids = Vec::new();
    for _ in 0..20 {
        server.push("alice", &content).await;
        ids.push(number_of(&mut page, &content).await);
    }
    let mut late = server.connect().await;
    let answer = logs_in_with(&mut late, json!({"uid": "alice", "since": one})).await;
    assert_eq!(answer["recovered"], false, "{answer}");
    let oldest = answer["oldest"].as_u64().expect("it is told");
    assert!(oldest > one && ids.contains(&oldest));
    for id in ids.into_iter().filter(|id| *id > oldest) {
        assert_eq!(next_numbered(&mut late).await.1, id);
    }
    // A number that was never given is no better.
    let mut forged = server.connect().await;
    let answer = logs_in_with(&mut forged, json!({"uid": "alice", "since": 1_u64 << 60})).await;
    assert_eq!(answer["recovered"], false, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_object_that_cannot_be_meant_is_answered_with_what_is_wrong() {
    let server = recovering();
    let mut page = server.connect().await;
    for (login, named) in [
        (json!({}), "uid"),
        (json!({"uid": null}), "uid"),
        (json!({"uid": "alice", "since": "soon"}), "since"),
        (json!({"uid": "alice", "since": -1}), "since"),
        (json!({"uid": "alice", "since": 1.5}), "since"),
        (json!({"uid": "x".repeat(2000)}), "2000"),
    ] {
        let answer = logs_in_with(&mut page, login.clone()).await;
        assert_eq!(answer["ok"], false, "{login}");
        let error = answer["error"].as_str().expect("it says why");
        assert!(error.contains(named), "{login}: {error}");
    }
    let answer = logs_in_with(&mut page, json!({"uid": 7, "since": "0"})).await;
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["recovered"], false);
    let answer = logs_in_with(&mut page, json!({"uid": "bob"})).await;
    assert_eq!(answer["ok"], false);
    assert_eq!(server.push("7", "hi").await, "ok");
    assert_eq!(next_numbered(&mut page).await.0, "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_everyone_does_not_overtake_what_a_page_is_about_to_get() {
    let server = recovering();
    for dialect in DIALECTS {
        let page = server.login_by(dialect, "alice").await;
        page.leaves().await;
        server_is_left(&server).await;
        assert_eq!(server.push("alice", "first").await, "offline");
        let mut page = server.connect_by(dialect).await;
        server.push_to_everyone("second").await;
        page.logs_in_with(r#""alice""#).await;
        page.receives("first").await;
        page.receives("second").await;
        server.nothing_else_comes_to([&mut page]).await;
        page.leaves().await;
        server_is_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_log_in_hears_what_is_for_everyone_once() {
    let server = recovering();
    let mut guest = server.connect().await;
    for n in 0..5 {
        server.push_to_everyone(&n.to_string()).await;
    }
    for n in 0..5 {
        guest.receives(&n.to_string()).await;
    }
    server.push_to_everyone("live").await;
    guest.receives("live").await;
    // What it has heard as a guest it does not get again when it logs in.
    guest.logs_in_with(r#""alice""#).await;
    server.nothing_else_comes_to([&mut guest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_of_the_same_user_does_not_keep_what_went_into_it() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET, EIO4_POLLING] {
        let server = recovering();
        let tcp = narrow_connection(server.socketio()).await;
        let mut dead = Page::open(tcp, dialect).await;
        dead.joins().await;
        dead.logs_in("alice").await;
        let content = |n: usize| format!("{n} {}", "x".repeat(20_000));
        for n in 0..20 {
            assert_eq!(server.push("alice", &content(n)).await, "ok");
        }
        // It does not read, and has not said goodbye: nobody knows yet that it is gone.
        let mut again = comes_back(&server, dialect, "alice").await;
        let first = again.next_message().await;
        let at: usize = first
            .split_once(' ')
            .expect("a number")
            .0
            .parse()
            .expect("a number");
        for n in at + 1..20 {
            again.receives(&content(n)).await;
        }
        server.nothing_else_comes_to([&mut again]).await;
        drop(dead);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_zero_is_the_original() {
    let server = Server::start();
    let mut page = server.login("alice").await;
    page.leaves().await;
    server.waits_until_offline("alice").await;
    server.push_to_everyone("lost").await;
    page = comes_back(&server, EIO4_WEBSOCKET, "alice").await;
    server.nothing_else_comes_to([&mut page]).await;
}
