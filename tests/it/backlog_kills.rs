//! A stored push that was answered arrives, whenever the server is killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;

use crate::harness::http::Http;
use crate::harness::keeping::{stored, url_in};
use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET, Page};
use crate::harness::postgres::Postgres;
use crate::harness::process::Process;
use crate::harness::within;

const ANY: &str = "127.0.0.1:0";

/// Backends that push at once, each to a user of its own; the pages of every other are there.
const BACKENDS: usize = 8;

/// What each user has received, in order.
type Received = BTreeMap<String, Vec<String>>;

fn user(backend: usize) -> String {
    format!("user {backend}")
}

/// Pushes one after the other until the server is gone; tells each that was answered.
async fn pushes(http: SocketAddr, kill: usize, backend: usize, told: Sender<(usize, String)>) {
    let mut connection = Http::open(http).await;
    for number in 0.. {
        let content = format!("{kill}.{number}");
        let form_type = "application/x-www-form-urlencoded";
        let form = stored(&user(backend), &content);
        connection.post("/", form_type, form.as_bytes()).await;
        let Some(answer) = connection.answer_or_end().await else {
            return;
        };
        let word = answer.text();
        assert!(word == "ok" || word == "offline", "{word}");
        told.send((backend, content)).await.ok();
    }
}

/// Reads, and answers heartbeats, until the server is gone; then gives what was read.
async fn reads(mut page: Page, is_over: Arc<AtomicBool>) -> Vec<String> {
    let mut read = Vec::new();
    while let Some((event, content)) = page.next_event().await {
        if event == "new_msg" {
            read.push(content);
        }
    }
    assert!(is_over.load(Ordering::SeqCst), "a page was cut");
    read
}

async fn comes(socketio: SocketAddr, n: usize, uid: &str) -> Page {
    let mut page = Page::connect(socketio, DIALECTS[n % DIALECTS.len()]).await;
    page.logs_in_with(&format!("{uid:?}")).await;
    page
}

/// One life of the server, under load until `moment` pushes are answered. Gives those.
async fn one_life(
    settings: &[&str],
    kill: usize,
    moment: usize,
    received: &mut Received,
) -> Vec<(usize, String)> {
    let mut server = Process::start(ANY, ANY, settings).await;
    let (http, is_over) = (server.http, Arc::new(AtomicBool::new(false)));
    let mut pages: Vec<(usize, JoinHandle<Vec<String>>)> = Vec::new();
    for backend in (0..BACKENDS).step_by(2) {
        let page = comes(server.socketio, kill + backend / 2, &user(backend)).await;
        pages.push((backend, tokio::spawn(reads(page, Arc::clone(&is_over)))));
    }
    let (told, mut answers) = channel(1000);
    let backends: Vec<_> = (0..BACKENDS)
        .map(|backend| tokio::spawn(pushes(http, kill, backend, told.clone())))
        .collect();
    drop(told);
    let mut answered = Vec::new();
    while answered.len() < moment {
        let answer = within("an answer", answers.recv()).await;
        answered.push(answer.expect("one more"));
    }
    is_over.store(true, Ordering::SeqCst);
    server.is_killed().await;
    while let Some(answer) = answers.recv().await {
        answered.push(answer);
    }
    for backend in backends {
        backend.await.expect("it ends with its connection");
    }
    for (backend, page) in pages {
        let read = page.await.expect("it ends with its connection");
        received.entry(user(backend)).or_default().extend(read);
    }
    let lost = server.logged_till_the_end("a message got lost on its way to a page");
    assert_eq!(lost.await, 0);
    answered
}

/// Kills a loaded server `kills` times, the last when some `last` pushes are answered, and compares what
/// was answered with what was received. Says how many were answered.
async fn what_is_answered_arrives(url: &str, kills: usize, last: usize) -> usize {
    let store = format!("store.url={url}");
    let settings = [
        store.as_str(),
        "backlog.max_messages=1000000",
        "backlog.max_bytes=1GiB",
        "socketio.ping_interval=200ms",
        "presence.interval=1h",
    ];
    let (mut answered, mut received) = (Vec::new(), Received::new());
    for kill in 0..kills {
        // At another moment each time: within the first commits, or deep in the load.
        let moment = 1 + kill * kill * last / (kills * kills);
        answered.extend(one_life(&settings, kill, moment, &mut received).await);
    }
    let server = Process::start(ANY, ANY, &settings).await;
    let mut push = Http::open(server.http).await;
    for backend in 0..BACKENDS {
        let uid = user(backend);
        let form = stored(&uid, "end");
        push.get(&format!("/?{form}")).await;
        assert_eq!(push.answer().await.text(), "offline");
        let mut page = Page::connect(server.socketio, EIO4_WEBSOCKET).await;
        page.logs_in_with(&format!("{uid:?}")).await;
        let read = received.entry(uid).or_default();
        let end = async {
            loop {
                let content = page.next_message().await;
                if content == "end" {
                    break;
                }
                read.push(content);
            }
        };
        within("the end", end).await;
    }
    compare(&answered, &received);
    answered.len()
}

fn compare(answered: &[(usize, String)], received: &Received) {
    let mut missing = Vec::new();
    for (backend, content) in answered {
        if !received[&user(*backend)].contains(content) {
            missing.push((backend, content));
        }
    }
    assert!(missing.is_empty(), "answered and lost: {missing:?}");
    for (uid, read) in received {
        // When each came first is in the order in which they were pushed.
        let mut seen = std::collections::BTreeSet::new();
        let firsts = read
            .iter()
            .filter(|content| seen.insert((*content).clone()));
        let numbers: Vec<(usize, usize)> = firsts.map(|content| numbers(content)).collect();
        assert!(numbers.is_sorted(), "{uid} got {numbers:?}");
    }
}

/// `3.14` is push 14 before kill 3.
fn numbers(content: &str) -> (usize, usize) {
    let (kill, number) = content.split_once('.').expect("two numbers");
    let number = number.parse().expect("a number");
    (kill.parse().expect("a number"), number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_loses_no_stored_push_that_was_answered_with_sqlite() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let answered = what_is_answered_arrives(&url_in(&folder), 20, 2000).await;
    assert!(answered > 10_000, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_loses_no_stored_push_that_was_answered_with_postgres() {
    let postgres = Postgres::start().await;
    let answered = what_is_answered_arrives(&postgres.url(), 6, 1000).await;
    assert!(answered > 1000, "{answered}");
}
