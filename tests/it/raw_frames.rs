//! Raw pages that misbehave: frames against the protocol, or too large, or never read. They lose
//! their own connection; after each of them every honest page still gets its next message within
//! a second.

use std::time::{Duration, Instant};

use crate::harness::page::{EIO4_WEBSOCKET, Page};
use crate::harness::raw::{
    BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Pusher, RawPage, TEXT, frame, text,
};
use crate::harness::{FREE, Server};
use crate::stall::narrow_connection;

const MEBIBYTE: usize = 1024 * 1024;

/// A server with honest pages on it.
struct Town {
    server: Server,
    raw: RawPage,
    socketio: Page,
}

impl Town {
    async fn new() -> Self {
        let server = Server::start_with(|config| {
            config.uid_socket.listen = FREE;
            config.text.listen = FREE;
        });
        Self {
            raw: RawPage::saying(server.uid_socket(), "honest").await,
            socketio: server.login_by(EIO4_WEBSOCKET, "honest").await,
            server,
        }
    }

    /// The honest pages get a message, and nothing besides, within a second.
    async fn is_unharmed(&mut self, after: &str) {
        let delivery = async {
            assert_eq!(self.server.push("honest", after).await, "ok", "{after}");
            self.raw.receives(after).await;
            self.socketio.receives(after).await;
        };
        let delivered = tokio::time::timeout(Duration::from_secs(1), delivery).await;
        assert!(delivered.is_ok(), "waited too long after {after}");
    }

    /// Pages that send this are cut off, whether they have a uid or not, and nobody else is.
    async fn cuts_off(&mut self, what: &str, bytes: &[u8]) {
        for uid in ["", "hostile"] {
            let mut page = RawPage::open(self.server.uid_socket()).await;
            page.says(uid).await;
            assert!(page.is_heard().await);
            page.sends(bytes).await;
            let cut = async { page.next_frame().await };
            let frame = tokio::time::timeout(Duration::from_secs(2), cut).await;
            assert_eq!(frame, Ok(None), "{what}");
            self.server.waits_until_offline("hostile").await;
        }
        self.is_unharmed(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_against_the_protocol_end_the_connection_and_harm_nobody_else() {
    let mut town = Town::new().await;
    town.cuts_off("unmasked", &text("x").unmasked().bytes())
        .await;
    town.cuts_off("unmasked ping", &frame(PING, "").unmasked().bytes())
        .await;
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        town.cuts_off(&format!("opcode {opcode}"), &frame(opcode, "x").bytes())
            .await;
    }
    for bits in [0x40, 0x20, 0x10, 0x70] {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let bytes = frame(opcode, "x").reserved(bits).bytes();
            town.cuts_off(&format!("bits {bits:x}"), &bytes).await;
        }
    }
    for opcode in [PING, PONG, CLOSE] {
        let large = frame(opcode, [b'x'; 126]).bytes();
        town.cuts_off("a control frame of 126 bytes", &large).await;
        let part = frame(opcode, "x").unfinished().bytes();
        town.cuts_off("a control frame in fragments", &part).await;
        let endless = frame(opcode, "x").declaring(1 << 63).bytes();
        town.cuts_off("an endless control frame", &endless).await;
    }
    for finished in [
        frame(CONTINUATION, "x"),
        frame(CONTINUATION, "x").unfinished(),
    ] {
        town.cuts_off("a continuation of nothing", &finished.bytes())
            .await;
    }
    for within in [text("b"), frame(BINARY, "b"), text("b").unfinished()] {
        let bytes = [text("a").unfinished().bytes(), within.bytes()].concat();
        town.cuts_off("a new message within fragments", &bytes)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_announces_more_than_10_mebibytes_ends_the_connection_at_once() {
    let mut town = Town::new().await;
    let head = 2 + 8 + 4;
    let most = 10 * MEBIBYTE as u64 - head;
    for length in [
        most + 1,
        10 * MEBIBYTE as u64 + 1,
        1 << 32,
        1 << 63,
        u64::MAX,
    ] {
        let bytes = text("some of it").declaring(length).bytes();
        town.cuts_off(&format!("{length} bytes"), &bytes).await;
        let started = [text("a").unfinished().bytes(), bytes].concat();
        let mut continued = started;
        // The same as a continuation: the opcode stands in the eighth byte, after a frame of 7.
        continued[7] = 0x80;
        town.cuts_off(&format!("{length} bytes more"), &continued)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_between_fragments_are_answered_and_the_message_is_whole() {
    let town = Town::new().await;
    let mut page = RawPage::open(town.server.uid_socket()).await;
    for part in [
        text("frag"),
        frame(CONTINUATION, ""),
        frame(CONTINUATION, "men"),
    ] {
        page.sends_frames([part.unfinished(), frame(PING, "p"), frame(PONG, "unasked")])
            .await;
        let pong = page.next_frame().await.expect("a ping is answered");
        assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"p"[..]));
        assert_eq!(town.server.push("fragmented", "early").await, "offline");
    }
    page.sends_frames([frame(CONTINUATION, "ted")]).await;
    assert!(page.is_heard().await);
    assert_eq!(town.server.push("fragmented", "hi").await, "ok");
    page.receives("hi").await;
    // The largest ping, byte by byte.
    let ping = frame(PING, [b'p'; 125]);
    for byte in ping.bytes() {
        page.sends([byte]).await;
    }
    let pong = page.next_frame().await.expect("a ping is answered");
    assert_eq!((pong.opcode, pong.payload), (PONG, vec![b'p'; 125]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_after_the_login_are_ignored_and_delay_nobody() {
    let mut town = Town::new().await;
    let address = town.server.uid_socket();
    let mut page = RawPage::saying(address, "talkative").await;
    let whole: Frame = text(vec![b'x'; 10 * MEBIBYTE - 14]);
    let (done, mut is_done) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(async move {
        page.sends(whole.bytes()).await;
        // More than 10 MiB in fragments is no frame above it.
        let part = vec![b'y'; 4 * MEBIBYTE];
        page.sends_frames([text(&part).unfinished()]).await;
        for _ in 0..3 {
            page.sends_frames([frame(CONTINUATION, &part).unfinished(), frame(PING, "p")])
                .await;
        }
        page.sends_frames([frame(CONTINUATION, "")]).await;
        done.send(()).expect("the test waits for it");
        page
    });
    let mut rounds = 0;
    while is_done.try_recv().is_err() || rounds < 10 {
        town.is_unharmed(&format!("round {rounds}")).await;
        rounds += 1;
    }
    let mut page = sending.await.expect("everything was sent");
    for _ in 0..3 {
        let pong = page.next_frame().await.expect("each ping is answered");
        assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"p"[..]));
    }
    page.has_nothing().await;
    assert_eq!(town.server.push("talkative", "still here").await, "ok");
    page.receives("still here").await;
    town.is_unharmed("all of it").await;
}

/// A page that never reads again; what the kernel takes for it is little.
async fn stalled_page(server: &Server, uid: &str) -> RawPage {
    let tcp = narrow_connection(server.uid_socket()).await;
    let (mut page, _) = RawPage::over(tcp, "").await;
    page.says(uid).await;
    assert!(page.is_heard().await);
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_stops_reading_is_cut_and_the_others_get_everything() {
    const MESSAGES: usize = 2000;
    let server = Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.text.listen = FREE;
        config.websocket.max_queue = 128;
    });
    let mut stalled = stalled_page(&server, "crowd").await;
    let line = |n: usize| format!(r#"{{"uid":"crowd","n":{n},"x":"{}"}}"#, "x".repeat(5000));
    let mut honest = RawPage::saying(server.uid_socket(), "crowd").await;
    let reading = tokio::spawn(async move {
        for n in 0..MESSAGES {
            honest.receives(&line(n)).await;
        }
        honest
    });
    let mut pusher = Pusher::open(server.text()).await;
    let mut slowest = Duration::ZERO;
    for n in 0..MESSAGES {
        let started = Instant::now();
        assert_eq!(pusher.pushes(line(n)).await, "ok");
        slowest = slowest.max(started.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(1),
        "a line was answered after {slowest:?}"
    );
    let mut honest = reading.await.expect("the honest page gets every line");
    honest.has_nothing().await;
    honest.leaves().await;
    server.waits_until_offline("crowd").await;
    // What it finds when it reads at last: the oldest lines without a gap, then the end.
    let mut found = 0;
    while let Some(arrived) = stalled.next_frame().await {
        if arrived.opcode == CLOSE {
            assert_eq!(arrived.payload[..2], 1013_u16.to_be_bytes());
            continue;
        }
        assert_eq!(arrived.payload, line(found).into_bytes());
        found += 1;
    }
    assert!(found < MESSAGES, "it was not cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_sends_pings_and_never_reads_the_answers_is_cut() {
    let mut town = Town::new().await;
    let mut page = stalled_page(&town.server, "pinging").await;
    let pings = frame(PING, [b'p'; 125]).bytes().repeat(1000);
    let flood = async {
        use tokio::io::AsyncWriteExt as _;
        while page.tcp.write_all(&pings).await.is_ok() {}
    };
    crate::harness::within("the page to be cut", flood).await;
    town.server.waits_until_offline("pinging").await;
    town.is_unharmed("pings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_websocket_harm_nobody() {
    let mut town = Town::new().await;
    let mut noise = Noise(7);
    for round in 0..200 {
        let mut page = RawPage::open(town.server.uid_socket()).await;
        let bytes: Vec<u8> = (0..1 + round * 10).map(|_| noise.next()).collect();
        page.sends(bytes).await;
        page.resets();
        let mut unshaken = Pusher::open(town.server.uid_socket()).await;
        let bytes: Vec<u8> = (0..1 + round * 10).map(|_| noise.next()).collect();
        unshaken.sends(bytes).await;
        if round % 20 == 0 {
            town.is_unharmed(&format!("noise {round}")).await;
        }
    }
    town.is_unharmed("all the noise").await;
}

/// Bytes without a pattern, the same in every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}
