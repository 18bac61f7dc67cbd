//! How much one page may say, how often a peer may log in, and how many pages a user may have.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::chat::ChatServer;
use crate::harness::line::Line;
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::raw::RawPage;
use crate::harness::recovery::logs_in_with;
use crate::harness::{eventually, within};
use crate::jwt_login::next_of;
use crate::limits::{counted, limited};

/// Sends a packet over a websocket that was not opened as one.
pub(crate) async fn says(websocket: &mut WebSocketStream<Line>, packet: &str) {
    let sent = within("room", websocket.send(Message::text(packet))).await;
    sent.expect("the page is connected");
}

/// The next packet.
pub(crate) async fn next(websocket: &mut WebSocketStream<Line>) -> String {
    let frame = within("the next packet", websocket.next()).await;
    let frame = frame.expect("the page is connected").expect("a frame");
    frame.to_text().expect("it is text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_logs_in_so_often_in_a_second() {
    for dialect in DIALECTS {
        let server = limited(|config| config.limits.logins_per_second = 1);
        let mut pages = Vec::new();
        let (mut page, told): (Page, Value) = loop {
            let mut page = server.connect_by(dialect).await;
            let uid = format!("u{}", pages.len());
            let told = logs_in_with(&mut page, json!(uid)).await;
            if told["ok"] == false {
                break (page, told);
            }
            pages.push(page);
            assert!(pages.len() < 100, "there is no limit");
        };
        assert!(pages.len() >= 10, "{}", pages.len());
        assert_eq!(told["code"], "logins", "{dialect:?}: {told}");
        // Anybody may be anyone here, and is told of this all the same: the original knew no limit.
        let told = loop {
            page.sends_together(&[r#"42["login","x"]"#, "40/nowhere,"])
                .await;
            let packet = loop {
                let packet = page.next_packet().await.expect("it is connected");
                if packet.starts_with(r#"42["login_error""#) || packet.starts_with("44") {
                    break packet;
                }
            };
            if packet.starts_with("42") {
                break packet;
            }
            // A second has gone by, and it is somebody now.
            page = server.connect_by(dialect).await;
        };
        assert!(told.contains(r#""code":"logins""#), "{told}");
        assert!(counted(&server, "logins").await >= 2.0);
        let uid = format!("u{}", pages.len() - 1);
        assert_eq!(server.push(&uid, "hi").await, "ok");
        let last = pages.len() - 1;
        pages[last].receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_websocket_that_logs_in_too_often_is_told_so() {
    let server = limited(|config| config.limits.logins_per_second = 1);
    let mut pages = Vec::new();
    loop {
        let mut page = RawPage::open(server.uid_socket()).await;
        page.says("alice").await;
        if !page.is_heard().await {
            break;
        }
        pages.push(page);
        assert!(pages.len() < 100, "there is no limit");
    }
    assert!(pages.len() >= 10, "{}", pages.len());
    assert!(counted(&server, "logins").await >= 1.0);
    let server = ChatServer::start_with(|config| {
        config.limits.exempt.clear();
        config.limits.logins_per_second = 1;
    })
    .await;
    let mut pages = Vec::new();
    let told = loop {
        let mut page = server.chat_page().await;
        let told = page.asks(r#"{"type":"login","uid":"alice","ref":3}"#).await;
        if told["type"] != "login" {
            break told;
        }
        pages.push(page);
        assert!(pages.len() < 100, "there is no limit");
    };
    assert_eq!(
        (&told["type"], &told["code"], &told["ref"]),
        (&json!("error"), &json!("logins"), &json!(3)),
        "{told}"
    );
}

/// Says one thing after the other until that was one too many; gives what it is told then.
async fn says_until_it_is_told(page: &mut Page, event: &str) -> Value {
    for _ in 0..100 {
        page.sends(event).await;
        page.sends("40/nowhere,").await;
        loop {
            let packet = page.next_packet().await.expect("it is connected");
            if packet.starts_with("44/nowhere") {
                break;
            }
            if let Some(told) = packet.strip_prefix(r#"42["limit","#) {
                let told = told.strip_suffix(']').expect("an event ends");
                return serde_json::from_str(told).expect("it is JSON");
            }
        }
    }
    panic!("there is no limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_too_much_is_told_and_shown_out() {
    let server = limited(|config| config.limits.events_per_second = 1);
    let mut bystander = server.login("bob").await;
    // Also by what nobody minds.
    let events = [r#"42["login","alice"]"#, r#"42["whatever",{"x":1}]"#];
    let pages = DIALECTS
        .into_iter()
        .flat_map(|dialect| events.map(|event| (dialect, event)));
    for (n, (dialect, event)) in pages.enumerate() {
        let mut page = server.connect_by(dialect).await;
        // The first is free, and ten more may come at once.
        let few: Vec<&str> = vec![r#"42["login","alice"]"#; 11];
        page.sends_together(&few).await;
        assert!(page.is_heard().await, "{dialect:?}");
        assert_eq!(server.push("alice", "hi").await, "ok");
        page.receives("hi").await;
        let told = says_until_it_is_told(&mut page, event).await;
        assert_eq!(
            (&told["ok"], &told["code"]),
            (&json!(false), &json!("events")),
            "{told}"
        );
        // What it was asked before is still answered.
        let goodbye = async {
            loop {
                let packet = page.next_packet().await.expect("it is said goodbye to");
                if !packet.starts_with("44") {
                    return packet;
                }
            }
        };
        assert_eq!(within("the goodbye", goodbye).await, "41");
        let end = async { while page.next_packet().await.is_some() {} };
        within("the end of the connection", end).await;
        assert_eq!(
            counted(&server, "events").await,
            (n + 1) as f64,
            "{dialect:?}"
        );
        server.waits_until_offline("alice").await;
    }
    assert_eq!(server.push("bob", "hi").await, "ok");
    bystander.receives("hi").await;
    for address in [server.uid_socket(), server.topic_socket()] {
        let before = counted(&server, "events").await;
        let mut page = RawPage::open(address).await;
        for _ in 0..11 {
            page.says(r#"{"a":"1"}"#).await;
        }
        for _ in 0..15 {
            page.says(r#"{"a":"1"}"#).await;
        }
        let reason = page.is_closed_with(1008).await;
        assert_eq!(reason, "too many messages");
        assert_eq!(counted(&server, "events").await, before + 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_leaves_the_namespace_and_joins_it_again_may_not_say_more_for_it() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = limited(|config| config.limits.events_per_second = 1);
        let mut page = server.connect_by(dialect).await;
        let few = [r#"42["login","alice"]"#; 11];
        page.sends_together(&few).await;
        assert!(page.is_heard().await, "{dialect:?}");
        page.sends("41").await;
        server.waits_until_offline("alice").await;
        page.sends("40").await;
        let joined = async {
            while page
                .next_packet()
                .await
                .is_some_and(|packet| !packet.starts_with("40"))
            {}
        };
        within("the answer to the connect", joined).await;
        page.sends_together(&few).await;
        let told = next_of(&mut page, "limit").await;
        assert_eq!(told["code"], "events", "{dialect:?}: {told}");
        page.is_disconnected().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_pages_whatever_they_speak() {
    let server = ChatServer::start_with(|config| {
        config.limits.pages_per_uid = 2;
        config.limits.refused_logins = 0;
        config.uid_socket.listen = crate::harness::FREE;
        config.admin.listen = crate::harness::FREE;
    })
    .await;
    let first = server.login("alice").await;
    let second = RawPage::saying(server.uid_socket(), "alice").await;
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        let told = logs_in_with(&mut page, json!("alice")).await;
        assert_eq!(told["code"], "pages_per_uid", "{told}");
        page.logs_in_with(r#""alice""#).await;
        let told = next_of(&mut page, "login_error").await;
        assert_eq!(told["code"], "pages_per_uid", "{told}");
        // Another user may, on the same page.
        let told = logs_in_with(&mut page, json!("bob")).await;
        assert_eq!(told["ok"], true, "{told}");
        page.leaves().await;
        server.waits_until_offline("bob").await;
    }
    let mut raw = RawPage::open(server.uid_socket()).await;
    raw.says("alice").await;
    let reason = raw.is_closed_with(1008).await;
    assert_eq!(reason, "this user has too many pages open");
    let mut chat = server.chat_page().await;
    let login = r#"{"type":"login","uid":"alice"}"#;
    let told = chat.asks(login).await;
    assert_eq!(told["code"], "pages_per_uid", "{told}");
    assert_eq!(counted(&server, "pages_per_uid").await, 10.0);
    first.leaves().await;
    eventually("a place", async || {
        let mut chat = server.chat_page().await;
        let told = chat.asks(login).await;
        chat.leaves().await;
        told["type"] == "login"
    })
    .await;
    second.leaves().await;
    server.waits_until_offline("alice").await;
    // Of many at once no more get in than may.
    let coming = (0..20).map(|_| async {
        let mut page = server.connect().await;
        let told = logs_in_with(&mut page, json!("alice")).await;
        (page, told["ok"] == true)
    });
    let pages = futures_util::future::join_all(coming).await;
    assert_eq!(pages.iter().filter(|(_, is_in)| *is_in).count(), 2);
}
