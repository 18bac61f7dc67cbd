//! A server that stops in order and starts again: pages that come back have every message.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::harness::http::Http;
use crate::harness::keeping::{logs_in_with, next_numbered, stored, url_in};
use crate::harness::page::{DIALECTS, Dialect, EIO4_WEBSOCKET, Page};
use crate::harness::process::Process;
use crate::harness::records::open;
use crate::harness::{encode, eventually, within};

const ANY: &str = "127.0.0.1:0";

/// Pages, each of a user of its own. Every third says since.
const PAGES: usize = 50;

/// How many backends push at once.
const BACKENDS: usize = 5;

/// A page that has logged in by its name, and lost nothing that came since.
pub(crate) async fn page_on(server: &Process, uid: &str) -> Page {
    let mut page = Page::connect(server.socketio, EIO4_WEBSOCKET).await;
    let answer = logs_in_with(&mut page, json!(uid)).await;
    assert_eq!(answer["ok"], true, "{answer}");
    page
}

/// Pushes what is not stored; gives the answer's word.
pub(crate) async fn push(server: &Process, uid: &str, content: &str) -> String {
    let mut http = Http::open(server.http).await;
    let (uid, content) = (encode(uid), encode(content));
    http.get(&format!("/?type=publish&to={uid}&content={content}"))
        .await;
    http.answer().await.text()
}

fn settings(folder: &TempDir) -> Vec<String> {
    let store = format!("store.url={}", url_in(folder));
    let more = [
        "recovery.window=2m",
        "presence.interval=1h",
        "shutdown.drain=2s",
    ];
    more.map(str::to_owned).into_iter().chain([store]).collect()
}

async fn start(at: Option<(SocketAddr, SocketAddr)>, settings: &[String]) -> Process {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let address =
        |address: Option<SocketAddr>| address.map_or(ANY.to_owned(), |address| address.to_string());
    let (socketio, http) = at.unzip();
    Process::start(&address(socketio), &address(http), &settings).await
}

/// What one page's user reads, over all its connections.
#[derive(Debug, Default)]
struct Diary {
    uid: String,
    says_since: bool,
    read: Vec<String>,
    since: Option<u64>,
    /// The number of the last message.
    newest: Option<u64>,
    /// What was for everyone before the server came to its login: it has a second for that.
    overheard: Vec<String>,
    is_in: bool,
    /// How often it was let in.
    logins: usize,
}

impl Diary {
    /// Connects again and again until it has read "end".
    async fn write(mut self, address: SocketAddr, dialect: Dialect) -> Self {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        let is_end = |read: &[String]| read.last().is_some_and(|last| last == "end");
        while !is_end(&self.read) && !is_end(&self.overheard) {
            again.tick().await;
            let Ok(tcp) = TcpStream::connect(address).await else {
                continue;
            };
            // A server that stops may cut it before it is in: a failure elsewhere, not here.
            let connecting = tokio::spawn(async move {
                let mut page = Page::open(tcp, dialect).await;
                page.joins().await;
                page
            });
            let Ok(mut page) = connecting.await else {
                continue;
            };
            self.is_in = false;
            if self.logs_in(&mut page).await {
                while self.reads(&mut page).await {}
            }
        }
        self
    }

    async fn logs_in(&self, page: &mut Page) -> bool {
        let login = match (self.says_since, self.since) {
            (false, _) => json!(self.uid),
            (true, None) => json!({"uid": self.uid}),
            (true, Some(since)) => json!({"uid": self.uid, "since": since}),
        };
        page.tries_to_send(&[&format!(r#"427["login",{login}]"#)])
            .await
    }

    /// False at the end of the connection, or of everything.
    async fn reads(&mut self, page: &mut Page) -> bool {
        let Some(packet) = page.next_packet().await else {
            return false;
        };
        if let Some(answer) = packet.strip_prefix("437") {
            let [answer] = serde_json::from_str::<[Value; 1]>(answer).expect("one argument");
            assert_eq!(answer["recovered"], true, "{}: {answer}", self.uid);
            self.since = self.since.or(answer["since"].as_u64());
            (self.is_in, self.logins) = (true, self.logins + 1);
        }
        let Some(event) = packet.strip_prefix(r#"42["new_msg","#) else {
            return !matches!(packet.as_str(), "1" | "41");
        };
        let event: Vec<Value> = serde_json::from_str(&format!("[{event}")).expect("an event");
        let content = event[0].as_str().expect("a text").to_owned();
        if let Some(stamp) = event.get(1) {
            let id = stamp["id"].as_u64();
            assert!(id > self.newest, "{content} as {id:?} to {self:?}");
            (self.newest, self.since) = (id, id);
        }
        let is_end = content == "end";
        let heard = if self.is_in {
            &mut self.read
        } else {
            &mut self.overheard
        };
        heard.push(content);
        !is_end
    }
}

/// Pushes to its own users in turn, and to everyone, over the stop and the start, until `is_over`;
/// gives what was answered.
async fn pushes(
    http: SocketAddr,
    backend: usize,
    is_over: watch::Receiver<bool>,
) -> Vec<(Option<usize>, String)> {
    let mut connection = None;
    let mut answered = Vec::new();
    let mut paced = tokio::time::interval(Duration::from_millis(5));
    for number in 0.. {
        if *is_over.borrow() {
            break;
        }
        paced.tick().await;
        let content = format!("{backend}.{number}");
        let user = (number % 10 != 9).then_some(number % PAGES / BACKENDS * BACKENDS + backend);
        let to = user.map(|user| format!("user {user}")).unwrap_or_default();
        let form = match user {
            // Plain pages get again what they have not confirmed of these.
            Some(user) if user % 3 == 0 && number % 2 == 0 => stored(&to, &content),
            _ => format!("type=publish&to={}&content={content}", encode(&to)),
        };
        let mut open = match connection.take() {
            Some(open) => open,
            None => match TcpStream::connect(http).await {
                Ok(tcp) => Http::over(tcp),
                Err(_) => continue,
            },
        };
        open.get(&format!("/?{form}")).await;
        if let Some(answer) = open.answer_or_end().await {
            let word = answer.text();
            if word == "ok" || word == "offline" {
                answered.push((user, content));
            }
            if answer.header("connection") != Some("close") {
                connection = Some(open);
            }
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_answered_over_a_restart_arrives_in_order() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let settings = settings(&folder);
    let mut server = start(None, &settings).await;
    let (socketio, http) = (server.socketio, server.http);
    let diaries: Vec<_> = (0..PAGES)
        .map(|n| {
            let diary = Diary {
                uid: format!("user {n}"),
                says_since: n % 3 == 0,
                ..Diary::default()
            };
            tokio::spawn(diary.write(socketio, DIALECTS[n % DIALECTS.len()]))
        })
        .collect();
    for n in 0..PAGES {
        let is_there = async || push(&server, &format!("user {n}"), "hello").await == "ok";
        eventually("each page to be there", is_there).await;
    }
    let (over, is_over) = watch::channel(false);
    let backends: Vec<_> = (0..BACKENDS)
        .map(|backend| tokio::spawn(pushes(http, backend, is_over.clone())))
        .collect();
    for _ in 0..2 {
        // Under load for a while.
        let loaded = Instant::now();
        eventually("some load", async || {
            loaded.elapsed() > Duration::from_secs(1)
        })
        .await;
        server.signal("TERM").await;
        assert_eq!(server.ends().await.code(), Some(0));
        let lost = "a message got lost on its way to a page";
        assert_eq!(server.logged_till_the_end(lost).await, 0);
        server = start(Some((socketio, http)), &settings).await;
    }
    let loaded = Instant::now();
    eventually("some load", async || {
        loaded.elapsed() > Duration::from_secs(1)
    })
    .await;
    over.send(true).expect("they push");
    let mut answered = Vec::new();
    for backend in backends {
        answered.push(backend.await.expect("a backend does not panic"));
    }
    assert_eq!(push(&server, "", "end").await, "ok");
    let mut total = (0, 0);
    for (n, diary) in diaries.into_iter().enumerate() {
        let diary = within("the end", diary).await.expect("a page reads");
        let (messages, again) = compare(n, &diary, &answered);
        total = (total.0 + messages, total.1 + again);
    }
    assert!(total.0 > 1000, "{total:?}");
    assert!(total.1 * 20 < total.0, "{total:?}");
}

/// Each page has everything in order; says how many messages it has, and how many of them again.
fn compare(n: usize, diary: &Diary, answered: &[Vec<(Option<usize>, String)>]) -> (usize, usize) {
    let (mut seen, mut again) = (BTreeSet::from_iter(&diary.overheard), 0);
    let mut firsts: Vec<Vec<&str>> = vec![Vec::new(); BACKENDS];
    for content in diary.read.iter().filter(|content| content.contains('.')) {
        let backend: usize = content[..1].parse().expect("a backend");
        if seen.insert(content) {
            firsts[backend].push(content);
        } else {
            again += 1;
        }
    }
    for (backend, firsts) in firsts.iter().enumerate() {
        let number = |content: &&str| content[2..].parse::<usize>().expect("a number");
        let disorder = firsts
            .windows(2)
            .find(|two| number(&two[0]) > number(&two[1]));
        assert_eq!(disorder, None, "{diary:?}");
        for (user, content) in &answered[backend] {
            let concerns = user.is_none_or(|user| user == n);
            assert!(
                !concerns || seen.contains(content),
                "{n} lost {content}: {diary:?}"
            );
        }
    }
    assert!(
        !diary.says_since || again == 0,
        "{n} said since: {:?}",
        diary.read
    );
    assert!(diary.logins <= 3, "{n} was cut: {diary:?}");
    (diary.read.len(), again)
}

/// What a page is told that says since.
async fn comes_since(server: &Process, since: u64) -> (Page, Value) {
    let mut page = Page::connect(server.socketio, EIO4_WEBSOCKET).await;
    let answer = logs_in_with(&mut page, json!({"uid": "alice", "since": since})).await;
    (page, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_state_is_taken_once_and_not_after_a_crash() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let settings = settings(&folder);
    let mut server = start(None, &settings).await;
    let mut page = Page::connect(server.socketio, EIO4_WEBSOCKET).await;
    logs_in_with(&mut page, json!({"uid": "alice"})).await;
    for content in ["one", "two"] {
        assert_eq!(push(&server, "alice", content).await, "ok");
    }
    let (_, one) = next_numbered(&mut page).await.expect("it is pushed");
    drop(page);
    server.signal("TERM").await;
    assert_eq!(server.ends().await.code(), Some(0));
    let mut server = start(None, &settings).await;
    let (mut page, answer) = comes_since(&server, one).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    assert_eq!(
        next_numbered(&mut page).await.expect("it is saved").0,
        "two"
    );
    server.is_killed().await;
    let server = start(None, &settings).await;
    let (mut page, answer) = comes_since(&server, one).await;
    assert_eq!(answer["recovered"], false, "{answer}");
    assert_eq!(push(&server, "alice", "three").await, "ok");
    assert_eq!(
        next_numbered(&mut page).await.expect("it is live").0,
        "three"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_read_is_warned_of_and_the_server_starts() {
    let states: [&[u8]; 4] = [
        b"garbage",
        b"\xff\xfe\0\0\n",
        br#"{"head":{"version":99,"floor":1,"newest":2}}"#,
        br#"{"cursor":{"uid":"alice","at":1,"left":2,"pages":1}}"#,
    ];
    for state in states {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let store = open(&url_in(&folder)).await;
        store
            .save_state(&[state.to_vec()])
            .await
            .expect("it is kept");
        store.close().await;
        let mut server = start(None, &settings(&folder)).await;
        let mut page = page_on(&server, "alice").await;
        assert_eq!(push(&server, "alice", "live").await, "ok");
        page.receives("live").await;
        let warning = "what the last server has left is not taken up";
        assert!(server.logged_early(warning), "{}", state.escape_ascii());
        server.signal("TERM").await;
        assert_eq!(server.ends().await.code(), Some(0));
    }
}

/// When the connection of a page ended.
async fn end(mut page: Page) -> Instant {
    while page.next_packet().await.is_some_and(|packet| packet != "1") {}
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_sent_away_evenly_while_pushes_are_answered_and_nobody_is_let_in() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let mut server = start(None, &settings(&folder)).await;
    let mut ends = Vec::new();
    for n in 0..40 {
        let mut page = Page::connect(server.socketio, DIALECTS[n % DIALECTS.len()]).await;
        logs_in_with(&mut page, json!(format!("user {n}"))).await;
        ends.push(tokio::spawn(end(page)));
    }
    let ends = futures_util::future::join_all(ends);
    let began = Instant::now();
    server.signal("TERM").await;
    server.logs("stopping").await;
    eventually("nobody to be let in", async || {
        TcpStream::connect(server.socketio).await.is_err()
    })
    .await;
    let mut words = BTreeSet::new();
    while began.elapsed() < Duration::from_millis(1500) {
        assert!(
            TcpStream::connect(server.socketio).await.is_err(),
            "a page is let in"
        );
        words.insert(push(&server, "user 7", "late").await);
    }
    assert!(
        words.contains("ok") || words.contains("offline"),
        "{words:?}"
    );
    assert!(!words.contains("fail"), "{words:?}");
    let ends = within("the goodbyes", ends).await;
    let ends = ends.into_iter().map(|end| end.expect("it reads") - began);
    let mut ends: Vec<Duration> = ends.collect();
    ends.sort();
    assert!(ends[30] - ends[9] > Duration::from_millis(900), "{ends:?}");
    assert!(ends[39] < Duration::from_millis(3500), "{ends:?}");
    assert_eq!(server.ends().await.code(), Some(0));
}
