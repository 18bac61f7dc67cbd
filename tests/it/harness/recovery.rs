//! Servers that remember, and pages that come back to them.

use std::time::Duration;

use campanile::config::Config;
use serde_json::Value;

use crate::harness::page::{Dialect, Page};
use crate::harness::{FREE, Server, eventually};

/// A server that remembers.
pub(crate) fn recovering() -> Server {
    recovering_with(|_| {})
}

pub(crate) fn recovering_with(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        config.recovery.window = Duration::from_secs(120);
        // It tells how many pages are there.
        config.web.listen = FREE;
        change(config);
    })
}

/// Logs in with an object and gives the answer.
pub(crate) async fn logs_in_with(page: &mut Page, login: Value) -> Value {
    page.sends(&format!(r#"427["login",{login}]"#)).await;
    loop {
        let packet = page.next_packet().await.expect("the login is answered");
        if let Some(answer) = packet.strip_prefix("437") {
            let [answer] = serde_json::from_str::<[Value; 1]>(answer).expect("one argument");
            return answer;
        }
    }
}

/// What a packet tells a page, if it is a message: the content, and the number where it is told it.
pub(crate) fn message(packet: &str) -> Option<(String, Option<u64>)> {
    let event = packet.strip_prefix(r#"42["new_msg","#)?;
    let event: Vec<Value> = serde_json::from_str(&format!("[{event}")).expect("arguments");
    let content = event[0].as_str().expect("the content is a text");
    let id = event.get(1).map(|stamp| {
        let id = stamp["id"].as_u64().expect("a number");
        assert_eq!(stamp["ts"].as_u64(), Some(id / 1000));
        id
    });
    Some((content.to_owned(), id))
}

/// The next message of a page that is told the numbers, with its number.
pub(crate) async fn next_numbered(page: &mut Page) -> (String, u64) {
    loop {
        let packet = page.next_packet().await.expect("the page is connected");
        if let Some((content, id)) = message(&packet) {
            return (content, id.expect("it is told the number"));
        }
    }
}

/// The next message, and where the page stands when it has it.
pub(crate) async fn next_stamped(page: &mut Page) -> (String, Value) {
    loop {
        let packet = page.next_packet().await.expect("the page is connected");
        if let Some(event) = packet.strip_prefix(r#"42["new_msg","#) {
            let event: (String, Value) = serde_json::from_str(&format!("[{event}")).expect("two");
            return (event.0, event.1["id"].clone());
        }
    }
}

/// A page that logs in, and then reads whatever comes.
pub(crate) async fn comes_back(server: &Server, dialect: Dialect, uid: &str) -> Page {
    let mut page = server.connect_by(dialect).await;
    page.logs_in_with(&format!("{uid:?}")).await;
    page
}

/// The connection of `page` breaks, and the server has noticed.
pub(crate) async fn breaks(server: &Server, page: Page, uid: &str) {
    page.resets();
    eventually("the session to end", async || {
        server.push(uid, "while away").await == "offline"
    })
    .await;
}

/// Reads what was pushed by [`breaks`], up to the first other message.
pub(crate) async fn first_after_the_break(page: &mut Page) -> String {
    loop {
        let message = page.next_message().await;
        if message != "while away" {
            return message;
        }
    }
}

/// Waits until no session is there. A push would tell too, but it would be remembered.
pub(crate) async fn server_is_left(server: &Server) {
    eventually("the pages to be gone", async || server.pages().await == 0).await;
}
