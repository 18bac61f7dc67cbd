//! A page's websocket, watched: which messages the kernel has taken, when the page was asked for life
//! and when it answered. Mends what arrives on the way; see [`WebsocketMender`].

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::gateway::ledger::Ledger;
use crate::gateway::socketio::mend::WebsocketMender;
use crate::net::{Connection, Tap};

/// How every packet begins that carries a message.
pub(super) const MESSAGE: &[u8] = br#"42["new_msg","#;

/// How often it is looked whether a connection that is ending has ended.
const LOOKS: usize = 10_000;

/// One websocket, from its handshake on.
#[derive(Debug)]
pub(super) struct Wire {
    connection: Connection,
    arriving: Mutex<WebsocketMender>,
    leaving: Mutex<Leaving>,
    /// How many bytes had arrived when the connection ended, if that could be told.
    end: OnceLock<Option<u64>>,
}

/// What is written, and into whose ledger it is entered.
#[derive(Debug, Default)]
struct Leaving {
    frames: Frames,
    /// Known before anything that matters is written. A page that leaves the namespace and joins it
    /// again has another.
    ledger: Option<Arc<Ledger>>,
}

/// The frames that are written, found in their bytes. They are not masked.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes since the handshake's answer began.
    written: u64,
    /// How much of the end of that answer has been met.
    answer_end: usize,
    head: Vec<u8>,
    /// Payload bytes of the current frame that are still to come, and all of them.
    remaining: u64,
    length: u64,
    /// The start of the current payload.
    start: Vec<u8>,
}

/// Something that was written whole.
pub(super) enum Written {
    /// A message, of so many bytes.
    Message(u64),
    /// The server's half of a heartbeat.
    Heartbeat,
}

/// What ends the answer to the handshake.
const ANSWER_END: &[u8] = b"\r\n\r\n";

impl Wire {
    pub(super) fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            connection,
            arriving: Mutex::default(),
            leaving: Mutex::default(),
            end: OnceLock::new(),
        })
    }

    /// Enters what leaves into `ledger` from now on.
    pub(super) fn serves(&self, ledger: &Arc<Ledger>) {
        self.leaving().ledger = Some(Arc::clone(ledger));
    }

    fn leaving(&self) -> MutexGuard<'_, Leaving> {
        // Nothing that can panic runs under this lock.
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to look at what goes over the connection.
    pub(super) fn watch(self: &Arc<Self>) {
        self.connection
            .becomes_websocket(Arc::clone(self) as Arc<dyn Tap>);
    }

    /// Ends the connection at once.
    pub(super) fn cut(&self) {
        self.connection.cut();
    }

    /// Says goodbye. What the kernel has is still sent.
    pub(super) fn close(&self) {
        self.connection.close();
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// How many bytes have arrived at the page's kernel; `None` where it cannot be told.
    pub(super) fn arrived(&self) -> Option<u64> {
        if let Some(end) = self.end.get() {
            return *end;
        }
        // Not under the lock: the connection may end while it is asked, and `ended` takes it.
        let written = self.leaving().frames.written;
        if let Some(missing) = self.connection.unacknowledged() {
            return Some(written.saturating_sub(missing));
        }
        if self.is_open() {
            return None;
        }
        self.arrived_till_its_end()
    }

    /// The connection is ending in this very moment, on another thread: that looks how much has
    /// arrived, and needs nothing that we hold. One that had ended before it was watched never tells.
    fn arrived_till_its_end(&self) -> Option<u64> {
        for _ in 0..LOOKS {
            if let Some(end) = self.end.get() {
                return *end;
            }
            std::thread::yield_now();
        }
        None
    }
}

impl Tap for Wire {
    fn arrived(&self, bytes: &mut [u8]) {
        // Only the one reader of the stream locks it.
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let is_alive = arriving.filter(bytes);
        drop(arriving);
        if is_alive && let Some(ledger) = self.leaving().ledger.clone() {
            ledger.answered();
        }
    }

    fn wrote(&self, bytes: &[u8]) {
        let mut guard = self.leaving();
        let Leaving { frames, ledger } = &mut *guard;
        let Some(ledger) = ledger else {
            frames.read(bytes, |_, _| {});
            return;
        };
        let mut leaving = ledger.leaving();
        let mut is_sound = true;
        frames.read(bytes, |what, end| match what {
            Written::Message(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                is_sound &= leaving.message(length, end);
            }
            Written::Heartbeat => leaving.heartbeat(),
        });
        if leaving.is_long() {
            let missing = self.connection.unacknowledged();
            leaving.arrived(missing.map(|missing| frames.written.saturating_sub(missing)));
        }
        drop(leaving);
        drop(guard);
        if !is_sound {
            // Only a page that fills its own queue with answers comes to this.
            tracing::debug!("a message got lost on its way to a page; the page is cut");
            self.connection.cut();
        }
    }

    fn ended(&self, unacknowledged: &dyn Fn() -> Option<u64>) {
        // In this order: what is written in between must not count as arrived.
        let written = self.leaving().frames.written;
        let arrived = unacknowledged().map(|missing| written.saturating_sub(missing));
        self.end.get_or_init(|| arrived);
    }
}

impl Frames {
    /// Takes the next bytes; tells `met` what ends in them, and where.
    pub(super) fn read(&mut self, bytes: &[u8], mut met: impl FnMut(Written, u64)) {
        let from = self.written;
        self.written += bytes.len() as u64;
        let mut rest = bytes;
        while self.answer_end < ANSWER_END.len() {
            let Some((byte, after)) = rest.split_first() else {
                return;
            };
            rest = after;
            self.answer_end = match *byte == ANSWER_END[self.answer_end] {
                true => self.answer_end + 1,
                false => usize::from(*byte == ANSWER_END[0]),
            };
        }
        while !rest.is_empty() {
            // Most frames are written whole.
            if self.remaining == 0
                && self.head.is_empty()
                && let Some((payload, after)) = whole_frame(rest)
            {
                rest = after;
                let end = from + (bytes.len() - rest.len()) as u64;
                if payload.starts_with(MESSAGE) {
                    met(Written::Message(payload.len() as u64), end);
                } else if matches!(payload, b"2" | b"3") {
                    met(Written::Heartbeat, end);
                }
                continue;
            }
            if self.remaining == 0 {
                rest = self.read_head(rest);
            }
            let here = usize::try_from(self.remaining)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (payload, after) = rest.split_at(here);
            let missing = MESSAGE.len().saturating_sub(self.start.len());
            self.start.extend_from_slice(&payload[..missing.min(here)]);
            self.remaining -= here as u64;
            rest = after;
            if self.remaining == 0 && self.head.is_empty() {
                let end = from + (bytes.len() - rest.len()) as u64;
                match self.start.as_slice() {
                    MESSAGE => met(Written::Message(self.length), end),
                    b"2" | b"3" => met(Written::Heartbeat, end),
                    _ => {}
                }
                self.start.clear();
            }
        }
    }

    /// Takes bytes of a frame's head. Returns what follows it.
    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = head_length(&self.head) - self.head.len();
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head.extend_from_slice(more);
        if self.head.len() == head_length(&self.head) {
            let digits = match self.head[1] {
                126 => &self.head[2..4],
                127 => &self.head[2..10],
                _ => &self.head[1..2],
            };
            self.length = digits.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            self.remaining = self.length;
            self.head.clear();
            return rest;
        }
        // The second byte tells how long it is.
        if self.head.len() == 2 && !rest.is_empty() {
            return self.read_head(rest);
        }
        rest
    }
}

/// The payload of the first frame, and what follows it; `None` when not all of it is there, or it is
/// long.
fn whole_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, after) = match bytes {
        [_, length @ 0..126, after @ ..] => (usize::from(*length), after),
        [_, 126, high, low, after @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), after),
        _ => return None,
    };
    after.split_at_checked(length)
}

fn head_length(head: &[u8]) -> usize {
    match head.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::{Frames, Wire, Written};
    use crate::net::Stream;

    fn frame(payload: &str) -> Vec<u8> {
        let mut frame = vec![0x81];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(n), _) if n < 126 => frame.push(n),
            (_, Ok(n)) => {
                frame.push(126);
                frame.extend(n.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(payload.bytes());
        frame
    }

    #[test]
    fn messages_and_heartbeats_are_found_however_the_bytes_are_written() {
        let message = |n: usize| format!(r#"42["new_msg","{}"]"#, "x".repeat(n));
        let written = [
            b"HTTP/1.1 101 \r\r\n\r\n".to_vec(),
            frame("0{}"),
            frame(&message(1)),
            frame(r#"42["update_online_count","x"]"#),
            frame("2"),
            frame(""),
            frame(&message(300)),
            frame("3probe"),
            frame(&message(70_000)),
            frame("3"),
        ]
        .concat();
        let read = |pieces: Vec<&[u8]>| {
            let (mut frames, mut met) = (Frames::default(), Vec::new());
            for piece in pieces {
                frames.read(piece, |what, end| {
                    met.push(match what {
                        Written::Message(length) => (length, end),
                        Written::Heartbeat => (1, end),
                    });
                });
            }
            met
        };
        let whole = read(vec![&written]);
        let lengths: Vec<u64> = whole.iter().map(|(length, _)| *length).collect();
        assert_eq!(lengths, [17, 1, 316, 70_016, 1]);
        assert_eq!(whole[4].1, written.len() as u64);
        assert_eq!(whole[3].1, written.len() as u64 - 3);
        for at in (1..500).chain([70_400, written.len() - 1]) {
            let (one, other) = written.split_at(at);
            assert_eq!(read(vec![one, other]), whole, "split at {at}");
        }
        assert_eq!(read(written.chunks(1).collect()), whole);
    }

    #[tokio::test]
    async fn a_connection_that_ends_while_it_is_asked_what_has_arrived_tells_it_and_holds_nobody_up()
    -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        for _ in 0..1_000 {
            let (page, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let stream = Stream::new(accepted?.0, false);
            let wire = Wire::new(stream.connection());
            wire.watch();
            let (done, is_done) = mpsc::sync_channel(1);
            let asked = std::thread::spawn(move || {
                let mut is_told = true;
                while is_told && wire.is_open() {
                    is_told &= wire.arrived() == Some(0);
                }
                done.send(is_told && wire.arrived() == Some(0)).ok();
            });
            std::thread::yield_now();
            drop(stream);
            let end = is_done.recv_timeout(Duration::from_secs(10));
            assert!(end.expect("not held up"), "it cannot be told");
            asked.join().expect("no panic");
            drop(page);
        }
        Ok(())
    }
}
