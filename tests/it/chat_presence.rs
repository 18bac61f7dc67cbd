//! Who watches a user is told when the user comes and goes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::chat::{ChatPage, ChatServer};
use crate::harness::page::{EIO3_WEBSOCKET, EIO4_POLLING};
use crate::harness::{FREE, eventually};

/// A server with a short grace.
async fn hasty() -> ChatServer {
    graceful(Duration::from_millis(50)).await
}

async fn graceful(grace: Duration) -> ChatServer {
    ChatServer::start_with(|config| {
        config.chat.presence_grace = grace;
        config.uid_socket.listen = FREE;
    })
    .await
}

fn presence(uid: &str, online: bool) -> Value {
    json!({"type": "presence", "uid": uid, "online": online})
}

async fn watches(page: &mut ChatPage, uid: &str) -> bool {
    let answer = page
        .asks(&format!(r#"{{"type":"watch","uid":"{uid}"}}"#))
        .await;
    let online = answer["online"].as_bool().expect("it tells");
    assert_eq!(answer, presence(uid, online));
    online
}

async fn is_told(page: &mut ChatPage, uid: &str, online: bool) {
    assert_eq!(page.next_json().await, presence(uid, online));
}

#[tokio::test]
async fn a_watch_tells_how_it_is_and_then_how_it_changes() {
    let server = hasty().await;
    let mut ann = server.chats_as("ann").await;
    assert!(!watches(&mut ann, "bob").await);
    for _ in 0..3 {
        let mut bob = server.chats_as("bob").await;
        is_told(&mut ann, "bob", true).await;
        assert!(watches(&mut ann, "bob").await);
        bob.hears_nothing().await;
        drop(bob);
        is_told(&mut ann, "bob", false).await;
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn a_list_of_users_is_watched_at_once() {
    let server = hasty().await;
    let _bob = server.chats_as("bob").await;
    let _seven = server.chats_as("7").await;
    let mut ann = server.chats_as("ann").await;
    ann.says(r#"{"type":"watch","uid":["bob","cid","bob",7]}"#)
        .await;
    for (uid, online) in [("bob", true), ("cid", false), ("7", true)] {
        is_told(&mut ann, uid, online).await;
    }
    ann.hears_nothing().await;
    let _cid = server.chats_as("cid").await;
    is_told(&mut ann, "cid", true).await;
}

#[tokio::test]
async fn a_reload_within_the_grace_is_not_told() {
    let server = graceful(Duration::from_secs(1)).await;
    let mut bob = server.chats_as("bob").await;
    let clock = server.chats_as("clock").await;
    let mut ann = server.chats_as("ann").await;
    assert!(watches(&mut ann, "bob").await);
    assert!(watches(&mut ann, "clock").await);
    drop(bob);
    server.waits_until_offline("bob").await;
    bob = server.chats_as("bob").await;
    // This one leaves later, so that it is told later.
    drop(clock);
    is_told(&mut ann, "clock", false).await;
    drop(bob);
    is_told(&mut ann, "bob", false).await;
    ann.hears_nothing().await;
}

/// Each absence has the whole grace, however many there were before it.
#[tokio::test]
async fn a_user_who_reloads_again_and_again_was_never_away() {
    let grace = Duration::from_secs(1);
    let server = graceful(grace).await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    assert!(watches(&mut ann, "bob").await);
    let began = Instant::now();
    while began.elapsed() < grace * 2 {
        drop(bob);
        server.waits_until_offline("bob").await;
        bob = server.chats_as("bob").await;
    }
    ann.hears_nothing().await;
    drop(bob);
    is_told(&mut ann, "bob", false).await;
}

#[tokio::test]
async fn many_pages_of_a_user_count_as_one() {
    let server = hasty().await;
    let mut ann = server.chats_as("ann").await;
    assert!(!watches(&mut ann, "bob").await);
    let mut pages = Vec::new();
    for _ in 0..3 {
        pages.push(server.chats_as("bob").await);
    }
    is_told(&mut ann, "bob", true).await;
    let last = pages.pop().expect("there are three");
    drop(pages);
    let clock = server.chats_as("clock").await;
    assert!(watches(&mut ann, "clock").await);
    drop(clock);
    is_told(&mut ann, "clock", false).await;
    drop(last);
    is_told(&mut ann, "bob", false).await;
    ann.hears_nothing().await;
}

#[tokio::test]
async fn who_unwatches_is_told_no_more() {
    let server = hasty().await;
    let mut ann = server.chats_as("ann").await;
    let mut cid = server.chats_as("cid").await;
    for page in [&mut ann, &mut cid] {
        assert!(!watches(page, "bob").await);
    }
    ann.says(r#"{"type":"unwatch","uid":["bob","never watched"]}"#)
        .await;
    ann.hears_nothing().await;
    let bob = server.chats_as("bob").await;
    is_told(&mut cid, "bob", true).await;
    drop(bob);
    is_told(&mut cid, "bob", false).await;
    ann.hears_nothing().await;
    // And again, if it wants to.
    assert!(!watches(&mut ann, "bob").await);
    let _bob = server.chats_as("bob").await;
    is_told(&mut ann, "bob", true).await;
}

#[tokio::test]
async fn a_user_may_watch_itself() {
    let server = hasty().await;
    let mut ann = server.chats_as("ann").await;
    assert!(watches(&mut ann, "ann").await);
    let mut tab = server.chats_as("ann").await;
    assert!(watches(&mut tab, "ann").await);
    drop(tab);
    let clock = server.chats_as("clock").await;
    assert!(watches(&mut ann, "clock").await);
    drop(clock);
    is_told(&mut ann, "clock", false).await;
    // Its watches go with the page.
    drop(ann);
    server.waits_until_offline("ann").await;
    let mut ann = server.chats_as("ann").await;
    ann.hears_nothing().await;
}

#[tokio::test]
async fn pages_of_other_protocols_count_too() {
    let server = hasty().await;
    let mut ann = server.chats_as("ann").await;
    assert!(!watches(&mut ann, "bob").await);
    for dialect in [EIO3_WEBSOCKET, EIO4_POLLING] {
        let page = server.login_by(dialect, "bob").await;
        is_told(&mut ann, "bob", true).await;
        page.leaves().await;
        is_told(&mut ann, "bob", false).await;
    }
    let mut page = ChatPage::connect(server.uid_socket(), "").await;
    page.says("bob").await;
    is_told(&mut ann, "bob", true).await;
    drop(page);
    is_told(&mut ann, "bob", false).await;
}

#[tokio::test]
async fn a_watch_ends_with_its_page() {
    let server = hasty().await;
    let mut ann = server.chats_as("ann").await;
    let mut cid = server.chats_as("cid").await;
    for page in [&mut ann, &mut cid] {
        assert!(!watches(page, "bob").await);
    }
    drop(cid);
    server.waits_until_offline("cid").await;
    let _bob = server.chats_as("bob").await;
    is_told(&mut ann, "bob", true).await;
    eventually("ann to hear her own", async || {
        server.push("ann", "{}").await == "ok"
    })
    .await;
    ann.hears("{}").await;
}
