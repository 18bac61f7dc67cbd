//! Groups over a connection that breaks: what they were sent meanwhile, and that they are heard again.

use std::time::Duration;

use serde_json::json;

use crate::harness::chat::{ChatServer, Talker};
use crate::harness::page::{EIO3_WEBSOCKET, EIO4_WEBSOCKET};
use crate::harness::{FREE, eventually};

async fn start() -> ChatServer {
    ChatServer::start_with(|config| {
        config.chat.socketio = true;
        config.web.listen = FREE;
        config.recovery.window = Duration::from_secs(120);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_gets_what_its_groups_were_sent_and_is_in_them_again() {
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let server = start().await;
        let mut bob = Talker::login(&server, dialect, "bob").await;
        bob.asks("join", json!({"group": "g"})).await;
        let mut ann = Talker::login(&server, dialect, "ann").await;
        ann.asks("join", json!({"group": "g"})).await;
        ann.page.resets();
        eventually("ann to be gone", async || server.pages().await == 1).await;
        for content in ["one", "two"] {
            bob.asks("new_msg", json!({"group": "g", "content": content}))
                .await;
        }
        let mut ann = server.connect_by(dialect).await;
        ann.logs_in_with(r#""ann""#).await;
        let mut ann = Talker::new(ann);
        for content in ["one", "two"] {
            assert_eq!(ann.next_arguments().await[0], content);
        }
        // She need not join again to hear, and to be heard.
        ann.asks("new_msg", json!({"group": "g", "content": "three"}))
            .await;
        assert_eq!(ann.next_arguments().await[0], "three");
        ann.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_said_goodbye_has_left_its_groups() {
    let server = start().await;
    let mut bob = Talker::login(&server, EIO4_WEBSOCKET, "bob").await;
    bob.asks("join", json!({"group": "g"})).await;
    let mut ann = Talker::login(&server, EIO4_WEBSOCKET, "ann").await;
    ann.asks("join", json!({"group": "g"})).await;
    ann.leaves().await;
    eventually("ann to be gone", async || server.pages().await == 1).await;
    bob.asks("new_msg", json!({"group": "g", "content": "one"}))
        .await;
    let mut ann = Talker::login(&server, EIO4_WEBSOCKET, "ann").await;
    bob.asks("new_msg", json!({"group": "g", "content": "two"}))
        .await;
    ann.hears_nothing().await;
}
