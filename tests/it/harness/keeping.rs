//! A server that keeps pushes on disk for users who are away, and how a page confirms what it has.

use std::time::{Duration, Instant};

use campanile::config::Config;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::figures::Figures;
use crate::harness::http::{Answer, Http};
use crate::harness::page::{Dialect, Page};
pub(crate) use crate::harness::recovery::{logs_in_with, server_is_left as is_left};
use crate::harness::{DEADLINE, FREE, Server, encode, within};

/// A server with a store in a file of its own. Nothing is confirmed by heartbeats unless the test
/// makes them more frequent.
pub(crate) async fn keeping(change: impl FnOnce(&mut Config)) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let url = url_in(&folder);
    let server = Server::open_with(|config| {
        config.store.url = url.as_str().into();
        config.admin.listen = FREE;
        // It tells how many pages are there.
        config.web.listen = FREE;
        change(config);
    });
    (server.await, folder)
}

/// A store in a file in `folder`.
pub(crate) fn url_in(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("kept.db").display())
}

/// The form of a push that waits on disk.
pub(crate) fn stored(to: &str, content: &str) -> String {
    let (to, content) = (encode(to), encode(content));
    format!("type=publish&store=1&to={to}&content={content}")
}

/// Pushes what waits on disk; gives the answer's word.
pub(crate) async fn keep(server: &Server, to: &str, content: &str) -> String {
    server.push_form(&stored(to, content)).await
}

/// The same, and the whole answer.
pub(crate) async fn keep_and_see(server: &Server, to: &str, content: &str) -> Answer {
    let form = stored(to, content);
    let form_type = "application/x-www-form-urlencoded";
    server.post(form_type, form.as_bytes()).await
}

/// The status and the text of `/readyz`.
pub(crate) async fn readyz(server: &Server) -> (u16, String) {
    let mut http = Http::open(server.admin()).await;
    http.get("/readyz").await;
    let answer = http.answer().await;
    (answer.status, answer.text())
}

/// How many messages wait on disk.
pub(crate) async fn waiting(server: &Server) -> u64 {
    Figures::of(server)
        .await
        .value("campanile_backlog_messages") as u64
}

/// A page that logs in, and then reads whatever comes.
pub(crate) async fn comes(server: &Server, dialect: Dialect, uid: &str) -> Page {
    let mut page = server.connect_by(dialect).await;
    // Only what comes after its login is of interest.
    page.was_asked_for_life().await;
    page.logs_in_with(&format!("{uid:?}")).await;
    page
}

/// A page gets these messages in time, however often it is asked for life meanwhile.
pub(crate) async fn gets<S: AsRef<str>>(page: &mut Page, contents: impl IntoIterator<Item = S>) {
    let getting = async {
        for content in contents {
            page.receives(content.as_ref()).await;
        }
    };
    within("the messages", getting).await;
}

/// A page lives on, answering heartbeats, until no more than `left` messages wait. What it reads
/// meanwhile is lost.
pub(crate) async fn confirms(server: &Server, page: &mut Page, left: u64) {
    let deadline = Instant::now() + DEADLINE;
    let mut again = tokio::time::interval(Duration::from_millis(20));
    while waiting(server).await > left {
        assert!(Instant::now() < deadline, "it was never confirmed");
        if page.dialect.eio == 3 && !page.dialect.polling {
            page.sends("2").await;
        }
        assert!(page.is_heard().await, "the page was cut");
        again.tick().await;
    }
}

/// The next message of a page that is told the numbers, with its number; `None` at the end. What waited
/// on disk has a text with two: where the page stands in the log, and its number on the disk.
pub(crate) async fn next_numbered(page: &mut Page) -> Option<(String, u64)> {
    loop {
        let packet = page.next_packet().await?;
        let Some(event) = packet.strip_prefix(r#"42["new_msg","#) else {
            continue;
        };
        let event: (String, Value) = serde_json::from_str(&format!("[{event}")).expect("two");
        let id = match &event.1["id"] {
            Value::String(text) => text.split(':').next().expect("the first").parse().ok(),
            id => id.as_u64(),
        };
        return Some((event.0, id.expect("a number")));
    }
}
