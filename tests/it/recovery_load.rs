//! Much at once: pages that stop reading, a burst for all, and connections that break all the time.
//! What each page gets stays whole and in order, and the server's memory within what is configured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::line::Door;
use crate::harness::listener::Listener;
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::process::Process;
use crate::stall::narrow_connection;

const ANY: &str = "127.0.0.1:0";

async fn start(more: &[&str]) -> Process {
    let always = ["presence.interval=1h"];
    let settings: Vec<_> = always.iter().chain(more).copied().collect();
    Process::start(ANY, ANY, &settings).await
}

/// Pushes numbers to everyone, `padding` bytes each, over one connection that waits for no answer.
async fn bursts(http: SocketAddr, count: usize, padding: usize) {
    let tcp = TcpStream::connect(http).await.expect("the port is open");
    let (mut answers, mut requests) = tcp.into_split();
    let sending = tokio::spawn(async move {
        let padding = "x".repeat(padding);
        for number in 0..count {
            let end = if number + 1 < count {
                "keep-alive"
            } else {
                "close"
            };
            let request = format!(
                "GET /?type=publish&to=&content={number}+{padding} HTTP/1.1\r\nHost: x\r\n\
                 Connection: {end}\r\n\r\n"
            );
            let sent = requests.write_all(request.as_bytes()).await;
            sent.expect("the server reads");
        }
        requests
    });
    let mut all = Vec::new();
    answers.read_to_end(&mut all).await.expect("it is answered");
    sending.await.expect("every push is sent");
    let all = String::from_utf8(all).expect("answers are text");
    assert_eq!(all.matches("HTTP/1.1 200").count(), count);
}

/// Pages that stop reading, and what may wait for each of them.
const STALLED: usize = 1000;
const MAX_QUEUE: usize = 64;
const MAX_QUEUE_BYTES: usize = 64 * 1024;

/// What pages that come back may get.
const LOG_BYTES: usize = 8 * 1024 * 1024;

/// What else the process may come to have: buffers that have grown to up to twice of what is in them,
/// half a queue for each page; and what the allocator holds back.
const ALLOWANCE: usize = STALLED * MAX_QUEUE_BYTES / 2 + 16 * 1024 * 1024;

/// A page that has logged in and reads nothing from now on.
async fn stalled(socketio: SocketAddr, n: usize) -> Page {
    let tcp = narrow_connection(socketio).await;
    let mut page = Page::open(tcp, DIALECTS[n % 2]).await;
    page.joins().await;
    page.logs_in(&format!("stalled-{n}")).await;
    page
}

async fn pages(web: SocketAddr) -> u64 {
    let mut http = Http::open(web).await;
    http.get("/online.json").await;
    http.answer().await.json()["pages"]
        .as_u64()
        .expect("a number")
}

/// The most memory that the process has had while `work` was done.
async fn most_resident(process: &Process, work: impl Future<Output = ()>) -> u64 {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut most = process.resident();
    loop {
        tokio::select! {
            () = &mut work => return most,
            _ = ticks.tick() => most = most.max(process.resident()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pages_that_stop_reading_are_cut_and_take_no_more_than_their_queues() {
    const MESSAGES: usize = 30_000;
    const LENGTH: usize = 5000;
    let mut process = start(&[
        "web.listen=127.0.0.1:0",
        &format!("socketio.max_queue={MAX_QUEUE}"),
        &format!("socketio.max_queue_bytes={MAX_QUEUE_BYTES}B"),
        &format!("recovery.max_bytes={LOG_BYTES}B"),
        // Who does not answer is not what is looked for here.
        "socketio.ping_interval=10m",
        "socketio.ping_timeout=10m",
    ])
    .await;
    let (socketio, http) = (process.socketio, process.http);
    let web = process.listens("web").await;
    let coming = (0..STALLED).map(|n| tokio::spawn(stalled(socketio, n)));
    let mut stalled = Vec::new();
    for page in coming.collect::<Vec<_>>() {
        stalled.push(page.await.expect("it logs in"));
    }
    let mut honest = Listener::comes(socketio, EIO4_WEBSOCKET, ("honest", true)).await;
    assert_eq!(pages(web).await, STALLED as u64 + 1);
    let before = process.resident();
    let listening = tokio::spawn(async move {
        honest.hears_until(MESSAGES).await;
        honest
    });
    let most = most_resident(&process, bursts(http, MESSAGES, LENGTH)).await;
    let honest = listening.await;
    let honest = honest.expect("the honest page gets everything, in order");
    eventually("those that do not read to be offline", async || {
        pages(web).await == 1
    })
    .await;
    for mut page in stalled {
        page.is_disconnected().await;
    }
    let bound = STALLED * MAX_QUEUE_BYTES + LOG_BYTES + ALLOWANCE;
    let grown = most.saturating_sub(before);
    assert!(grown < bound as u64, "{grown} bytes, {bound} at most");
    drop(honest);
    assert_eq!(process.faults_till_the_end().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_for_everyone_reaches_each_page_whole_whether_it_was_cut_or_not() {
    const PUSHES: usize = 3000;
    const HEALTHY: usize = 50;
    // They do not read while it lasts, and it is more than waits for them.
    const LATE: usize = 8;
    let mut process = start(&[]).await;
    let (over, _) = tokio::sync::watch::channel(false);
    let mut listening = Vec::new();
    for n in 0..HEALTHY + LATE {
        let who = (&*format!("listener-{n}"), n / 4 % 2 == 0);
        let mut listener = Listener::comes(process.socketio, DIALECTS[n % 4], who).await;
        let (is_late, mut over) = (n >= HEALTHY, over.subscribe());
        listening.push(tokio::spawn(async move {
            if is_late {
                over.wait_for(|over| *over).await.expect("it ends");
            }
            listener.hears_until(PUSHES).await;
            assert!(!is_late || listener.cuts > 0, "never cut: {listener:?}");
            listener
        }));
    }
    bursts(process.http, PUSHES, 1000).await;
    over.send_replace(true);
    for listener in listening {
        listener.await.expect("each page gets every message");
    }
    assert_eq!(process.faults_till_the_end().await, [""; 0]);
}

/// Pushes a second, and for how long, while connections break.
const RATE: u32 = 300;
const SECONDS: u32 = 6;

/// How far a page may be behind when its connection breaks, in messages: what its kernel has had for
/// longer than `recovery.rewind` it has to have read, for nobody else can know that it has not.
const BEHIND: usize = 8;

/// Breaks the page's connection at random instants until it has had all before `end`.
async fn is_torn(
    mut listener: Listener,
    end: usize,
    pushed: Arc<AtomicUsize>,
) -> (Listener, usize) {
    let mut random = Random(listener.uid.bytes().fold(1, |n, b| n * 31 + u64::from(b)));
    let mut breaks = 0;
    while listener.next < end {
        let instant = Instant::now() + Duration::from_millis(200 + random.below(1600));
        while listener.next < end {
            let torn = tokio::time::timeout_at(instant.into(), listener.hears()).await;
            if torn.is_err() && pushed.load(Ordering::SeqCst) <= listener.next + BEHIND {
                break;
            }
        }
        listener.breaks();
        breaks += 1;
    }
    (listener, breaks)
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_all_the_time_lose_nothing_and_repeat_little() {
    let process = start(&["recovery.rewind=100ms"]).await;
    let door = process.socketio.into();
    connections_break_all_the_time(process, &door).await;
}

/// Pushes by the plain port while the connections of pages that come by `door` break: they lose
/// nothing, and little is repeated.
pub(crate) async fn connections_break_all_the_time(mut process: Process, door: &Door) {
    const PLAIN: usize = 8;
    const SINCE: usize = 8;
    let end = (RATE * SECONDS) as usize;
    let pushed = Arc::new(AtomicUsize::new(0));
    let (mut torn, mut users) = (Vec::new(), Vec::new());
    for n in 0..PLAIN + SINCE {
        // Nobody but its page learns soon that a connection is gone over which it polls.
        let (dialect, says_since) = match n {
            0..PLAIN => ([EIO3_WEBSOCKET, EIO4_WEBSOCKET][n % 2], false),
            _ => (DIALECTS[n % 4], true),
        };
        let uid = format!("torn-{n}");
        let listener = Listener::comes(door.clone(), dialect, (&uid, says_since)).await;
        torn.push(tokio::spawn(is_torn(listener, end, Arc::clone(&pushed))));
        users.push(format!("to[]={uid}"));
    }
    let (everyone, users) = ("to=".to_owned(), users.join("&"));
    let mut http = Http::open(process.http).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for number in 0..end {
        ticks.tick().await;
        let to = if number % 2 == 0 { &everyone } else { &users };
        http.get(&format!("/?type=publish&{to}&content={number}"))
            .await;
        assert_eq!(http.answer().await.status, 200);
        pushed.store(number + 1, Ordering::SeqCst);
    }
    let (mut repeated, mut breaks) = (0, 0);
    for torn in torn {
        let (listener, broken) = torn.await.expect("each page gets every message");
        breaks += broken;
        repeated += listener.repeated;
        assert_eq!(listener.cuts, 0, "{listener:?}");
    }
    let plain = PLAIN * end;
    assert!(breaks >= PLAIN + SINCE, "{breaks}");
    assert!(repeated * 5 < plain, "{repeated} of {plain} came again");
    assert_eq!(process.faults_till_the_end().await, [""; 0]);
}
