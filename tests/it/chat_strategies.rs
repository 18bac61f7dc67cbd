//! What becomes of a message to a user who is away, by each strategy.

use campanile::config::Strategy;
use campanile::record::RecordId;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::chat::{ChatServer, acked, note, texts};
use crate::harness::records::{open, uid};
use crate::harness::within;

async fn server_with(strategy: Strategy) -> ChatServer {
    ChatServer::start_with(|config| config.chat.strategy = strategy).await
}

#[tokio::test]
async fn live_brings_nothing_of_what_came_before() {
    let server = server_with(Strategy::Live).await;
    let mut ann = server.chats_as("ann").await;
    ann.tells("bob", "too early").await;
    let mut bob = server.chats_as("bob").await;
    bob.hears_nothing().await;
    assert_eq!(texts(&bob.reads(r#""with":"ann""#).await), ["too early"]);
}

#[tokio::test]
async fn store_only_delivers_nothing_and_keeps_all() {
    let server = server_with(Strategy::StoreOnly).await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    let answer = ann.asks(&note("bob", "one")).await;
    assert_eq!(answer["delivered"], 0);
    ann.joins("g").await;
    bob.joins("g").await;
    ann.tells_group("g", "two").await;
    bob.hears_nothing().await;
    assert_eq!(texts(&bob.reads(r#""with":"ann""#).await), ["one"]);
    assert_eq!(texts(&bob.reads(r#""group":"g""#).await), ["two"]);
    drop(bob);
    server.waits_until_offline("bob").await;
    let mut bob = server.chats_as("bob").await;
    bob.hears_nothing().await;
    let mut again = server.chat_page().await;
    again.logs_in_since("bob", 0).await;
    again.hears(&note("bob", "one")).await;
    again.hears_nothing().await;
}

#[tokio::test]
async fn what_came_while_a_user_was_away_comes_at_the_next_login() {
    let server = server_with(Strategy::LiveAndOffline).await;
    let mut ann = server.chats_as("ann").await;
    // Nobody has ever seen bob.
    let missed: Vec<_> = (0..450).map(|n| n.to_string()).collect();
    for n in &missed {
        ann.tells("bob", n).await;
        ann.tells("cid", "not his").await;
    }
    let mut bob = server.chats_as("bob").await;
    for n in &missed {
        bob.hears(&note("bob", n)).await;
    }
    ann.tells("bob", "live").await;
    bob.hears(&note("bob", "live")).await;
    // A second page of his gets no repeat, and neither does the first one.
    let mut tab = server.chats_as("bob").await;
    for page in [&mut bob, &mut tab] {
        page.hears_nothing().await;
    }
    // With one of them there, nothing is missed.
    drop(bob);
    ann.tells("bob", "to the other").await;
    tab.hears(&note("bob", "to the other")).await;
    drop(tab);
    server.waits_until_offline("bob").await;

    ann.tells("bob", "away 1").await;
    let server = server.restart().await;
    let mut ann = server.chats_as("ann").await;
    ann.tells("bob", "away 2").await;
    let mut bob = server.chats_as("bob").await;
    // What he had heard last may come again.
    let first = bob.next_json().await;
    if first["text"] == "to the other" {
        bob.hears(&note("bob", "away 1")).await;
    } else {
        assert_eq!(first["text"], "away 1");
    }
    bob.hears(&note("bob", "away 2")).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn who_has_caught_up_with_whole_pieces_has_caught_up() {
    let server = server_with(Strategy::LiveAndOffline).await;
    let mut ann = server.chats_as("ann").await;
    // As many as are read at a time, and no more.
    for n in 0..200 {
        ann.tells("bob", &n.to_string()).await;
    }
    let mut bob = server.chats_as("bob").await;
    for n in 0..200 {
        bob.hears(&note("bob", &n.to_string())).await;
    }
    bob.hears_nothing().await;
    let mut another = server.chats_as("bob").await;
    another.hears_nothing().await;
}

#[tokio::test]
async fn what_a_user_has_heard_does_not_come_again_at_the_next_login() {
    let server = server_with(Strategy::LiveAndOffline).await;
    let store = open(&server.store_url()).await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    for n in ["1", "2", "3"] {
        ann.tells("bob", n).await;
        bob.hears(&note("bob", n)).await;
    }
    drop(bob);
    within("bob's leaving to be noted", async {
        let noted = async || store.cursor(&uid("bob")).await.expect("it answers");
        while noted().await < Some(RecordId(2)) {
            ann.tells("nobody", "a moment").await;
        }
    })
    .await;
    let mut bob = server.chats_as("bob").await;
    bob.hears_nothing().await;
}

/// A reload is a login right after the leaving.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_repeats_nothing_of_what_was_heard_long_before() {
    let server = server_with(Strategy::LiveAndOffline).await;
    let mut ann = server.chats_as("ann").await;
    for round in 0..100 {
        let mut bob = server.chats_as("bob").await;
        // The last of the round before may come again, which is for another test to say.
        let fence = note("bob", &format!("{round} begins"));
        ann.says(&fence).await;
        let mut early = Vec::new();
        loop {
            let text = bob.next_text().await.expect("he is connected");
            if text == fence {
                break;
            }
            early.push(text);
        }
        assert!(early.len() <= 1, "in round {round} came again {early:?}");
        acked(&ann.next_json().await);
        for n in 0..5 {
            let text = format!("{round}.{n}");
            ann.tells("bob", &text).await;
            bob.hears(&note("bob", &text)).await;
        }
        bob.leaves().await;
    }
}

/// A page that says goodbye and reads on until the answer has read all that it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_comes_and_goes_amid_a_burst_misses_nothing() {
    let server = server_with(Strategy::LiveAndOffline).await;
    let mut ann = server.chats_as("ann").await;
    let enough = CancellationToken::new();
    let (is_enough, mut count) = (enough.clone(), 0);
    let sending = tokio::spawn(async move {
        while !is_enough.is_cancelled() {
            let texts = (count..count + 100).map(|n| format!(r#"{{"uid":"bob","text":"{n}"}}"#));
            assert!(ann.tries_to_say(texts).await);
            count += 100;
            ann.tells("nobody", "all are kept").await;
        }
        count
    });
    let mut expected = 0;
    for _ in 0..200 {
        let mut bob = server.chats_as("bob").await;
        let next = bob.next_text().await.expect("he is connected");
        for text in [next].into_iter().chain(bob.leaves().await) {
            // What was on its way when he left may come twice, but nothing is left out.
            let n = number(&text);
            assert!(n <= expected, "{n} came where {expected} was due");
            expected = expected.max(n + 1);
        }
    }
    enough.cancel();
    let count = within("the burst", sending).await.expect("it is sent");
    let mut bob = server.chats_as("bob").await;
    while expected < count {
        let n = number(&bob.next_text().await.expect("he is connected"));
        assert!(n <= expected, "{n} came where {expected} was due");
        expected = expected.max(n + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_with_a_page_that_was_cut_comes_at_the_next_login() {
    const ALL: u32 = 300;
    let server = ChatServer::start_with(|config| {
        config.chat.strategy = Strategy::LiveAndOffline;
        config.websocket.max_queue = 32;
    })
    .await;
    let mut bob = server.chats_as("bob").await;
    let mut ann = server.chats_as("ann").await;
    let padding = "x".repeat(60_000);
    for n in 0..ALL {
        let text = format!(r#"{{"uid":"bob","text":"{n}","padding":"{padding}","ref":1}}"#);
        acked(&ann.asks(&text).await);
    }
    let mut expected = 0;
    while let Some(text) = bob.next_text().await {
        assert_eq!(number(&text), expected);
        expected += 1;
    }
    assert!(expected < ALL, "nothing was dropped");
    let mut bob = server.chats_as("bob").await;
    let mut next = number(&bob.next_text().await.expect("he is connected"));
    assert!(next <= expected, "{next} came where {expected} was due");
    while next + 1 < ALL {
        let text = bob.next_text().await.expect("he is connected");
        assert_eq!(number(&text), next + 1);
        next += 1;
    }
    bob.hears_nothing().await;
}

/// A user may use one page of each protocol.
#[tokio::test]
async fn what_a_chat_page_has_heard_does_not_come_again_because_of_a_socketio_page() {
    let server = server_with(Strategy::LiveAndOffline).await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    for n in ["1", "2", "3"] {
        ann.tells("bob", n).await;
        bob.hears(&note("bob", n)).await;
    }
    ann.tells("nobody", "one more").await;
    let other = server.login("bob").await;
    bob.leaves().await;
    other.leaves().await;
    server.waits_until_offline("bob").await;
    let mut bob = server.chats_as("bob").await;
    bob.hears_nothing().await;
}

fn number(text: &str) -> u32 {
    let message: Value = serde_json::from_str(text).expect("it is JSON");
    let text = message["text"].as_str().expect("it has a text");
    text.parse().expect("it is a number")
}
