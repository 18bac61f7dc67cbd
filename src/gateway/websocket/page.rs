//! One page of a raw websocket, from its handshake to its end: reads, writes, heartbeat. What its
//! messages mean is its [`Protocol`]'s business.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::websocket::drain::Turn;
use crate::gateway::websocket::frame::{self, Decoder, FrameError, Limits, Message};
use crate::gateway::websocket::outbox::{Close, Outbox, Waiting};
use crate::metrics::Reason;
use crate::net::Stream;
use crate::record::RecordId;

/// Bytes read at a time.
const READ: usize = 8 * 1024;

/// Frames written at a time.
const WRITE: usize = 64;

/// Writes in a turn; then the page is read, and other pages get theirs.
const ROUNDS: usize = 4;

/// Bytes taken from the outbox at a time, so that what waits stays within its bounds there.
const TAKE: usize = 64 * 1024;

/// How long a page may take to close its side after we have said goodbye.
const LINGER: Duration = Duration::from_secs(1);

/// How long a page that is sent away may take to read what waits for it.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a page's messages mean.
pub(crate) trait Protocol: Send + 'static {
    /// The longest message that is of use now; of longer ones only the length is told.
    fn appetite(&self) -> usize;

    /// A message has arrived. Its answers go to the page's outbox.
    ///
    /// # Errors
    /// Ends the connection.
    fn receive(&mut self, message: Received) -> Result<(), Close>;

    /// Whether the next message can be taken. While it is not, nothing is read.
    fn is_ready(&self) -> bool {
        true
    }

    /// Goes on with what was begun, until something has changed. May be dropped and called again
    /// at any time.
    fn progress(&mut self) -> impl Future<Output = Progress> + Send {
        std::future::pending()
    }

    /// Whether what waits in the outbox has to go on waiting.
    fn holds_outbox(&self) -> bool {
        false
    }

    /// Whether a record that waits in the outbox has reached the page already.
    fn skips(&self, _record: RecordId) -> bool {
        false
    }

    /// A frame that carries this record has been handed to the kernel whole, and all before it.
    fn wrote(&mut self, _record: RecordId) {}
}

/// A message of a page.
#[derive(Debug)]
pub(crate) enum Received {
    /// Its bytes.
    Whole(Bytes),
    /// It was above [`Protocol::appetite`]; its length.
    Oversized(u64),
}

/// Frames that go to the page before what waits in its outbox.
#[derive(Debug, Default)]
pub(crate) struct Progress(pub(crate) Vec<Waiting>);

/// How a page is treated, whatever it speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Treatment {
    /// A frame above this ends the connection.
    pub(crate) max_frame: u64,
    /// How often the page is pinged. One that has sent nothing since the last ping is gone.
    pub(crate) ping_interval: Duration,
}

/// One page.
pub(super) struct Page<P> {
    stream: Stream,
    outbox: Arc<Outbox>,
    protocol: P,
    treatment: Treatment,
    decoder: Decoder,
    writing: VecDeque<Waiting>,
    heartbeat: Interval,
    was_heard: bool,
    /// When a page that is sent away has had time enough.
    leaves_by: Option<Instant>,
}

/// How far a turn's writing went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// All that waited, or all that the kernel takes.
    All,
    /// More may wait.
    Some,
}

/// Why a page's loop ends.
enum End {
    /// The connection is of no more use.
    Broken(Reason, &'static str),
    /// The page has said goodbye.
    Left,
    /// We say goodbye.
    Close(Reason, Close),
}

impl<P: Protocol> Page<P> {
    /// `early` is what arrived with the handshake.
    pub(super) fn new(
        stream: Stream,
        early: &[u8],
        outbox: Arc<Outbox>,
        protocol: P,
        treatment: Treatment,
    ) -> Self {
        let mut decoder = Decoder::default();
        decoder.feed(early);
        let period = treatment.ping_interval;
        let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream,
            outbox,
            protocol,
            treatment,
            decoder,
            writing: VecDeque::new(),
            heartbeat,
            was_heard: true,
            leaves_by: None,
        }
    }

    /// Serves the page until it leaves, or is told to; `closed` is told why.
    pub(super) async fn serve(mut self, farewell: Turn, closed: impl FnOnce(Reason)) {
        let end = loop {
            if let Err(end) = self.turn(&farewell).await {
                break end;
            }
        };
        let Self {
            stream,
            protocol,
            mut writing,
            ..
        } = self;
        // First of all nobody finds it any more.
        drop(protocol);
        closed(end.reason());
        let (close, lingers) = match end {
            End::Broken(_, reason) => {
                tracing::debug!(reason, "page lost");
                return;
            }
            End::Left => (frame::close(CloseCode::Normal, ""), false),
            End::Close(_, close) => {
                tracing::debug!(reason = close.reason, "page sent away");
                (frame::close(close.code, &close.reason), true)
            }
        };
        writing.push_back(Waiting::from(close));
        // A page that does not read gets no goodbye.
        let written = write(stream.tcp(), &mut writing, |_| {});
        if written.is_ok() && writing.is_empty() && lingers {
            linger(stream.tcp()).await;
        }
    }

    /// Handles what has arrived, writes what can be written, waits for more of either.
    async fn turn(&mut self, farewell: &Turn) -> Result<(), End> {
        self.handle()?;
        if self.write()? == Written::Some {
            // A page that is sent much must not keep its thread from others.
            self.outbox.touch();
            tokio::task::yield_now().await;
        }
        let Self {
            stream,
            outbox,
            protocol,
            writing,
            heartbeat,
            leaves_by,
            ..
        } = self;
        let tcp = stream.tcp();
        let leaves = outbox.is_ending();
        let deadline = leaves.then(|| *leaves_by.get_or_insert(Instant::now() + FAREWELL));
        // Who is sent away has no more say.
        let (reads, written) = (protocol.is_ready() && !leaves, writing.is_empty());
        tokio::select! {
            biased;
            () = farewell.comes(), if !leaves => {
                outbox.close(Close::new(CloseCode::Away, "server is stopping"));
            }
            () = until(deadline) => {
                return Err(End::Broken(Reason::Stopped, "no time left for the goodbye"));
            }
            ready = tcp.writable(), if !written => ready.map_err(|_| broken("not writable"))?,
            Progress(frames) = protocol.progress(), if written => writing.extend(frames),
            _ = heartbeat.tick() => self.beat(reads)?,
            ready = tcp.readable(), if reads => {
                ready.map_err(|_| broken("not readable"))?;
                self.was_heard = true;
                self.read()?;
            }
            // Last, so that a page that is sent much is still read.
            () = outbox.changed() => {}
        }
        Ok(())
    }

    fn handle(&mut self) -> Result<(), End> {
        while self.protocol.is_ready() && !self.outbox.is_ending() {
            let limits = Limits {
                keep: self.protocol.appetite(),
                frame: self.treatment.max_frame,
            };
            let message = match self.decoder.next(limits) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(e) => return Err(violation(e)),
            };
            let received = match message {
                Message::Data(bytes) => Received::Whole(bytes),
                Message::Oversized(length) => Received::Oversized(length),
                Message::Ping(payload) => {
                    self.outbox.push(frame::pong(&payload), None);
                    continue;
                }
                Message::Pong => continue,
                Message::Close => return Err(End::Left),
            };
            let refused = |close| End::Close(Reason::Refused, close);
            self.protocol.receive(received).map_err(refused)?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        match self
            .decoder
            .fill(READ, |room| self.stream.tcp().try_read_buf(room))
        {
            Ok(0) => Err(broken("closed by the page")),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(broken("read failed")),
        }
    }

    /// Writes as much as the kernel takes, for a few rounds.
    fn write(&mut self) -> Result<Written, End> {
        for _ in 0..ROUNDS {
            if self.writing.is_empty() && !self.protocol.holds_outbox() {
                let protocol = &self.protocol;
                let skips = |record| protocol.skips(record);
                self.outbox.take(&mut self.writing, (WRITE, TAKE), skips);
            }
            if let Some(close) = self.outbox.end() {
                if self.outbox.is_overrun() {
                    return Err(End::Close(Reason::Slow, close));
                }
                if self.writing.is_empty() {
                    return Err(End::Close(Reason::Stopped, close));
                }
            }
            if self.writing.is_empty() {
                return Ok(Written::All);
            }
            let protocol = &mut self.protocol;
            let wrote = |record| protocol.wrote(record);
            match write(self.stream.tcp(), &mut self.writing, wrote) {
                Ok(()) if self.writing.is_empty() => {}
                Ok(()) => return Ok(Written::All),
                Err(_) => return Err(broken("write failed")),
            }
        }
        Ok(Written::Some)
    }

    /// The heartbeat: a page that has sent nothing since the last one is gone.
    fn beat(&mut self, reads: bool) -> Result<(), End> {
        if !self.was_heard {
            return Err(End::Broken(Reason::Silent, "no answer to a ping"));
        }
        // While nothing is read nothing can be heard.
        self.was_heard = !reads;
        self.outbox.push(frame::ping(), None);
        Ok(())
    }
}

impl End {
    fn reason(&self) -> Reason {
        match self {
            Self::Broken(reason, _) | Self::Close(reason, _) => *reason,
            Self::Left => Reason::Left,
        }
    }
}

fn violation(e: FrameError) -> End {
    tracing::debug!(error = %e, "page broke the protocol");
    End::Broken(Reason::Refused, "protocol violated")
}

fn broken(what: &'static str) -> End {
    End::Broken(Reason::Broken, what)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Writes frames until the kernel takes no more; the first may be left in part. Tells the records
/// that have gone out whole.
fn write(
    tcp: &TcpStream,
    frames: &mut VecDeque<Waiting>,
    mut wrote: impl FnMut(RecordId),
) -> io::Result<()> {
    while !frames.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE];
        for (slice, frame) in slices.iter_mut().zip(frames.iter()) {
            *slice = IoSlice::new(&frame.frame);
        }
        let count = frames.len().min(WRITE);
        let mut written = match tcp.try_write_vectored(&slices[..count]) {
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        while let Some(Waiting { frame, record }) = frames.front_mut() {
            if written < frame.len() {
                frame.advance(written);
                break;
            }
            written -= frame.len();
            if let Some(record) = *record {
                wrote(record);
            }
            frames.pop_front();
        }
    }
    Ok(())
}

/// Waits for the page to close its side, so that unread bytes of it do not undo our goodbye.
async fn linger(tcp: &TcpStream) {
    SockRef::from(tcp).shutdown(std::net::Shutdown::Write).ok();
    let drained = async {
        while tcp.readable().await.is_ok() {
            match tcp.try_read(&mut [0; 512]) {
                Ok(0) => return,
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(LINGER, drained).await.ok();
}

/// Says goodbye to a page that was not let in.
pub(super) async fn send_away(stream: &Stream, close: &Close) {
    tracing::debug!(reason = close.reason, "page not let in");
    let close = frame::close(close.code, &close.reason);
    let mut goodbye = VecDeque::from([Waiting::from(close)]);
    if write(stream.tcp(), &mut goodbye, |_| {}).is_ok() && goodbye.is_empty() {
        linger(stream.tcp()).await;
    }
}
