//! Pages that say up to which message they have everything.

use serde_json::{Value, json};

use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET, Page};
use crate::harness::recovery::{logs_in_with, next_numbered, recovering, recovering_with};

async fn number_of(page: &mut Page, content: &str) -> u64 {
    let (got, id) = next_numbered(page).await;
    assert_eq!(got, content);
    id
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
async fn a_page_whose_last_message_is_old_misses_nothing_when_the_log_has_forgotten_others() {
    let server = recovering_with(|config| {
        config.recovery.max_bytes = bytesize::ByteSize::kib(64);
    });
    let mut page = server.connect().await;
    logs_in_with(&mut page, json!({"uid": "alice"})).await;
    server.push("alice", "one").await;
    let one = number_of(&mut page, "one").await;
    for _ in 0..20 {
        server.push("bob", &"x".repeat(10_000)).await;
    }
    let mut again = server.connect().await;
    let answer = logs_in_with(&mut again, json!({"uid": "alice", "since": one})).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    for _ in 0..20 {
        server.push("alice", &"x".repeat(10_000)).await;
    }
    let mut late = server.connect().await;
    let answer = logs_in_with(&mut late, json!({"uid": "alice", "since": one})).await;
    assert_eq!(answer["recovered"], false, "{answer}");
}
