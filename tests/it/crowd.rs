//! Many pages at once: no login is lost, and what is answered `ok` is delivered.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::Server;
use crate::harness::http::Http;
use crate::harness::page::{DIALECTS, Dialect, Page};

const CROWD: usize = 500;
const LARGE_CROWD: usize = 2000;

/// Connects and logs in with the very packet that tells it that it is connected, as pages do
/// that emit in their `connect` callback.
async fn logs_in_inside_the_connect(server: &Server, dialect: Dialect, uid: &str) -> Page {
    let mut page = server.connect_by(dialect).await;
    page.logs_in_with(&format!("\"{uid}\"")).await;
    page
}

async fn gathers(
    server: &Arc<Server>,
    crowd: usize,
    dialect: impl Fn(usize) -> Dialect,
) -> Vec<Page> {
    let coming = (0..crowd).map(|n| {
        let (server, dialect) = (Arc::clone(server), dialect(n));
        tokio::spawn(async move {
            logs_in_inside_the_connect(&server, dialect, &format!("page-{n}")).await
        })
    });
    let mut pages = Vec::new();
    for page in coming.collect::<Vec<_>>() {
        pages.push(page.await.expect("every login is heard"));
    }
    pages
}

async fn are_counted_and_reached(server: &Server, pages: &mut [Page]) {
    let mut http = Http::open(server.http()).await;
    for (n, page) in pages.iter_mut().enumerate() {
        http.get(&format!("/?type=publish&to=page-{n}&content=for-{n}"))
            .await;
        assert_eq!(http.answer().await.text(), "ok", "{n}");
        page.receives(&format!("for-{n}")).await;
    }
    server.push_to_everyone("for all").await;
    for page in pages {
        page.receives("for all").await;
    }
}

fn counting() -> Arc<Server> {
    Arc::new(Server::start_with(|config| {
        config.presence.interval = Duration::from_millis(20);
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_websockets_that_log_in_at_once_are_all_heard() {
    let server = counting();
    let mut watcher = server.connect().await;
    let mut pages = gathers(&server, CROWD, |n| DIALECTS[n % 2]).await;
    watcher.waits_for_count(CROWD, CROWD).await;
    are_counted_and_reached(&server, &mut pages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_pages_of_every_dialect_that_log_in_at_once_are_all_heard() {
    // Seldom, so that the counts that everybody gets do not drown the logins. Who came first reads
    // nothing until the last is in, which takes long on a busy machine.
    let server = Arc::new(Server::start_with(|config| {
        config.presence.interval = Duration::from_millis(500);
        config.socketio.ping_timeout = Duration::from_secs(300);
    }));
    let mut watcher = server.connect().await;
    let mut pages = gathers(&server, LARGE_CROWD, |n| DIALECTS[n % 4]).await;
    watcher.waits_for_count(LARGE_CROWD, LARGE_CROWD).await;
    are_counted_and_reached(&server, &mut pages).await;
    // And all of them are gone again.
    for page in pages {
        page.leaves().await;
    }
    watcher.waits_for_count(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_pages_of_one_user_all_get_the_message() {
    let server = counting();
    let mut watcher = server.connect().await;
    let coming = (0..CROWD).map(|n| {
        let server = Arc::clone(&server);
        tokio::spawn(
            async move { logs_in_inside_the_connect(&server, DIALECTS[n % 2], "alice").await },
        )
    });
    let mut pages = Vec::new();
    for page in coming.collect::<Vec<_>>() {
        pages.push(page.await.expect("every login is heard"));
    }
    watcher.waits_for_count(1, CROWD).await;
    assert_eq!(server.push("alice", "hi").await, "ok");
    for page in &mut pages {
        page.receives("hi").await;
    }
}

/// Publishes while the page logs in. Gives the word of the answer.
async fn races(http: &mut Http, page: &mut Page, uid: &str, delay: usize) -> String {
    let login = async {
        page.logs_in_with(&format!("\"{uid}\"")).await;
    };
    let push = async {
        for _ in 0..delay {
            tokio::task::yield_now().await;
        }
        http.get(&format!("/?type=publish&to={uid}&content=raced"))
            .await;
        http.answer().await.text()
    };
    tokio::join!(login, push).1
}

/// What the page got by the race, which is over once the login counts.
async fn messages_of(http: &mut Http, page: &mut Page, uid: &str) -> Vec<String> {
    let mut word = String::new();
    while word != "ok" {
        http.get(&format!("/?type=publish&to={uid}&content=after"))
            .await;
        word = http.answer().await.text();
    }
    let mut messages = Vec::new();
    loop {
        match page.next_message().await.as_str() {
            "after" => return messages,
            message => messages.push(message.to_owned()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_races_with_a_login_and_is_answered_ok_is_delivered() {
    const ROUNDS: usize = 200;
    let server = Arc::new(Server::start());
    let racers = (0..10).map(|racer| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut http = Http::open(server.http()).await;
            let mut answered_ok = 0;
            for round in 0..ROUNDS {
                let uid = format!("{racer}-{round}");
                let mut page = server.connect_by(DIALECTS[round % 2]).await;
                let word = races(&mut http, &mut page, &uid, round % 40).await;
                let got = messages_of(&mut http, &mut page, &uid).await;
                assert!(got.len() <= 1, "{uid} got it twice: {got:?}");
                if word == "ok" {
                    answered_ok += 1;
                    assert_eq!(got, ["raced"], "{uid} missed what was answered ok");
                }
            }
            answered_ok
        })
    });
    let mut answered_ok = 0;
    for racer in racers.collect::<Vec<_>>() {
        answered_ok += racer.await.expect("nothing answered ok is lost");
    }
    assert!(answered_ok > 0, "not one push came late enough to race");
}
