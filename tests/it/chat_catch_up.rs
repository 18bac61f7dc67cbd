//! What a page has missed reaches it when it comes, in order and once.

use bytesize::ByteSize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::harness::chat::{ChatPage, ChatServer, acked, note, note_to_group};
use crate::harness::within;

#[tokio::test]
async fn a_login_brings_what_came_since_and_then_what_comes() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let since = ann.tells("bob", "heard").await;
    ann.tells("cid", "not his").await;
    let mut newest = since;
    // More than is read from the store at a time.
    let missed: Vec<_> = (0..450).map(|n| n.to_string()).collect();
    for n in &missed {
        newest = ann.tells("bob", n).await;
    }
    for (since, heard) in [
        (since, 0),
        (newest - 200, 250),
        (newest - 3, 447),
        (newest, 450),
    ] {
        let mut bob = server.chat_page().await;
        // It may rely on no more before it has it.
        assert_eq!(bob.logs_in_since("bob", since).await, since);
        for n in &missed[heard..] {
            bob.hears(&note("bob", n)).await;
        }
        bob.hears_nothing().await;
        bob.tells("cid", "he can go on").await;
        newest = ann.tells("nobody", "a record").await;
    }
    let mut bob = server.chat_page().await;
    assert_eq!(bob.logs_in_since("bob", u64::MAX).await, newest);
    ann.tells("bob", "live").await;
    bob.hears(&note("bob", "live")).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn a_join_brings_what_came_since_and_then_what_comes() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    ann.joins("g").await;
    let since = ann.tells_group("g", "heard").await;
    let mut bob = server.chats_as("bob").await;
    for n in 0..250 {
        ann.tells_group("g", &n.to_string()).await;
    }
    let join = format!(r#"{{"type":"join","group":"g","since":{since},"ref":1}}"#);
    let joined = bob.asks(&join).await;
    assert_eq!(joined["type"], "joined");
    assert_eq!(joined["last"], since);
    for n in 0..250 {
        bob.hears(&note_to_group("g", &n.to_string())).await;
    }
    ann.tells_group("g", "live").await;
    bob.hears(&note_to_group("g", "live")).await;
    // Without it, there is nothing to catch up with.
    let mut cid = server.chats_as("cid").await;
    cid.joins("g").await;
    cid.hears_nothing().await;
}

/// How many messages a round has.
const BURST: usize = 30;

/// Sends a burst while `asks` is on its way; says what number its last record got.
async fn burst(
    mut ann: ChatPage,
    round: usize,
    begun: oneshot::Sender<()>,
    text: fn(&str) -> String,
) -> (ChatPage, u64) {
    let notes = (0..BURST).map(|n| text(&format!("{round}.{n}")));
    let notes: Vec<_> = notes.collect();
    // The other page comes after some of them.
    let (early, late) = notes.split_at(round % BURST);
    assert!(ann.tries_to_say(early.iter().map(String::as_str)).await);
    begun.send(()).ok();
    assert!(ann.tries_to_say(late.iter().map(String::as_str)).await);
    let mut last = 0;
    for _ in 0..BURST {
        last = acked(&ann.next_json().await);
    }
    (ann, last)
}

async fn hears_the_burst(page: &mut ChatPage, round: usize, text: fn(&str) -> String) {
    for n in 0..BURST {
        page.hears(&text(&format!("{round}.{n}"))).await;
    }
    page.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_amid_a_burst_gets_each_message_once_and_in_order() {
    let server = ChatServer::start().await;
    let text: fn(&str) -> String = |text| note("bob", text);
    let (mut ann, mut since) = (server.chats_as("ann").await, 0);
    for round in 0..300 {
        let (begun, has_begun) = oneshot::channel();
        let sending = tokio::spawn(burst(ann, round, begun, text));
        let mut bob = server.chat_page().await;
        has_begun.await.expect("it begins");
        bob.logs_in_since("bob", since).await;
        hears_the_burst(&mut bob, round, text).await;
        (ann, since) = within("the burst", sending).await.expect("it is sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_amid_a_burst_gets_each_message_once_and_in_order() {
    let server = ChatServer::start().await;
    let text: fn(&str) -> String = |text| note_to_group("g", text);
    let (mut ann, mut since) = (server.chats_as("ann").await, 0);
    // Who writes hears itself too, so it is another page that reads the acknowledgements.
    let mut bob = server.chats_as("bob").await;
    for round in 0..100 {
        ann.joins("g").await;
        let left = bob.asks(r#"{"type":"leave","group":"g"}"#).await;
        assert_eq!(left["type"], "left");
        let notes = (0..BURST).map(|n| text(&format!("{round}.{n}")));
        let notes: Vec<_> = notes.collect();
        let sending = tokio::spawn(async move {
            assert!(ann.tries_to_say(notes.iter().map(String::as_str)).await);
            let mut last = 0;
            for _ in 0..2 * BURST {
                let answer = ann.next_json().await;
                last = answer["id"].as_u64().unwrap_or(last);
            }
            (ann, last)
        });
        let join = format!(r#"{{"type":"join","group":"g","since":{since}}}"#);
        assert_eq!(bob.asks(&join).await["type"], "joined");
        hears_the_burst(&mut bob, round, text).await;
        (ann, since) = within("the burst", sending).await.expect("it is sent");
    }
}

/// A page that comes back by the number of what it heard last goes on right after it.
#[tokio::test(flavor = "multi_thread")]
async fn logins_amid_a_stream_are_without_gap_or_repeat() {
    let server = ChatServer::start_with(|config| {
        config.chat.stamp = true;
        // The stream must not be too much for a page that is slow in a slow test.
        config.websocket.max_queue = 65_536;
        config.websocket.max_queue_bytes = ByteSize::mib(64);
    })
    .await;
    let mut ann = server.chats_as("ann").await;
    let enough = CancellationToken::new();
    let is_enough = enough.clone();
    let sending = tokio::spawn(async move {
        let mut count = 0;
        while !is_enough.is_cancelled() {
            let texts = (count..count + 250).map(|n| format!(r#"{{"uid":"bob","n":{n}}}"#));
            assert!(ann.tries_to_say(texts).await);
            count += 250;
            ann.tells("nobody", "all are kept").await;
        }
    });
    let (mut since, mut expected) = (0, 0);
    for _ in 0..100 {
        let mut bob = server.chat_page().await;
        let last = bob.logs_in_since("bob", since).await;
        // Beyond what was read from the store.
        while since <= last {
            let message = bob.next_json().await;
            assert_eq!(message["n"], expected, "after a login since {since}");
            expected += 1;
            since = message["_id"].as_u64().expect("it is stamped");
        }
    }
    enough.cancel();
    within("the stream", sending).await.expect("it is sent");
}
