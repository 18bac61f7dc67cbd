//! One page of a raw websocket, from its handshake to its end: reads, writes, heartbeat. What its
//! messages mean is its [`Protocol`]'s business.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::entrance;
use crate::gateway::websocket::drain::Turn;
use crate::gateway::websocket::frame::{self, Decoder, FrameError, Limits, Message};
use crate::gateway::websocket::outbox::{Close, Outbox, Waiting};
use crate::gateway::websocket::write::{Left, WRITE, say_goodbye, write};
use crate::limits::{self, Budget};
use crate::metrics::Reason;
use crate::net::Stream;
use crate::record::RecordId;

/// Bytes read at a time.
const READ: usize = 8 * 1024;

/// Writes in a turn; then the page is read, and other pages get theirs.
const ROUNDS: usize = 4;

/// Bytes taken from the outbox at a time, so that what waits stays within its bounds there.
const TAKE: usize = 64 * 1024;

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

    /// When the page's claim is good no longer.
    fn expires(&self) -> Option<std::time::Instant> {
        None
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

    /// The connection has ended. So many bytes of the frames had arrived at the page's kernel, if that
    /// can be told.
    fn ends(&mut self, _reason: Reason, _arrived: Option<u64>) {}
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
    limits: Arc<limits::Limits>,
    /// For what it says.
    budget: Budget,
    decoder: Decoder,
    writing: VecDeque<Waiting>,
    /// Bytes since the handshake.
    written: u64,
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
        (treatment, limits): (Treatment, Arc<limits::Limits>),
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
            budget: limits.budget(),
            limits,
            decoder,
            writing: VecDeque::new(),
            written: 0,
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
            mut protocol,
            mut writing,
            mut written,
            ..
        } = self;
        let missing = stream.connection().unacknowledged();
        let arrived = missing.map(|missing| written.saturating_sub(missing));
        // First of all nobody finds it any more.
        protocol.ends(end.reason(), arrived);
        drop((protocol, farewell));
        closed(end.reason());
        match end {
            End::Broken(_, reason) => tracing::debug!(reason, "page lost"),
            End::Left => {
                writing.push_back(Waiting::from(frame::close(CloseCode::Normal, "")));
                // It has gone already, or goes now.
                write(stream.socket(), &mut writing, &mut written, |_| {}).ok();
            }
            End::Close(_, close) => {
                tracing::debug!(reason = close.reason, "page sent away");
                say_goodbye(&stream, writing, &close).await;
            }
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
        let socket = stream.socket();
        let leaves = outbox.is_ending();
        let deadline = leaves.then(|| *leaves_by.get_or_insert(Instant::now() + FAREWELL));
        // Who is sent away has no more say.
        let (reads, written) = (protocol.is_ready() && !leaves, writing.is_empty());
        tokio::select! {
            biased;
            () = farewell.comes(leaves) => {
                if leaves {
                    return Err(End::Broken(Reason::Stopped, "the server cannot wait for it"));
                }
                outbox.close(Close::new(CloseCode::Away, "server is stopping"));
            }
            () = until(deadline.map(Instant::into_std)) => {
                let counts_as = outbox.ends_as().unwrap_or(Reason::Stopped);
                return Err(End::Broken(counts_as, "no time left for the goodbye"));
            }
            // Whatever is being written: who reads slowly must not stay for it.
            () = until(protocol.expires()), if !leaves => {
                outbox.close(Close::expired(&entrance::expired().to_string()));
            }
            ready = socket.writable(), if !written => ready.map_err(|_| broken("not writable"))?,
            Progress(frames) = protocol.progress(), if written => writing.extend(frames),
            _ = heartbeat.tick() => self.beat(reads)?,
            ready = socket.readable(), if reads => {
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
            // Frames that carry nothing count as well: each costs an answer.
            if !self.budget.spend() {
                let over = self.limits.talks_too_much();
                let close = Close::refused(&over.to_string());
                return Err(End::Close(Reason::Refused, close));
            }
            let received = match message {
                Message::Data(bytes) => Received::Whole(bytes),
                Message::Oversized(length) => Received::Oversized(length),
                Message::Ping(payload) => {
                    self.outbox.add(frame::pong(&payload));
                    continue;
                }
                Message::Pong => {
                    if let Some(ledger) = self.outbox.ledger() {
                        ledger.answered();
                    }
                    continue;
                }
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
            .fill(READ, |room| self.stream.socket().try_read_buf(room))
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
                    return Err(End::Close(close.counts_as, close));
                }
            }
            if self.writing.is_empty() {
                return Ok(Written::All);
            }
            self.write_out()?;
            if !self.writing.is_empty() {
                return Ok(Written::All);
            }
        }
        Ok(Written::Some)
    }

    /// Writes until the kernel takes no more, and notes what it has.
    fn write_out(&mut self) -> Result<(), End> {
        let (protocol, ledger) = (&mut self.protocol, self.outbox.ledger());
        let wrote = |left: Left| {
            if let Some(record) = left.record {
                protocol.wrote(record);
            }
            if let (Some(ledger), Some(length)) = (ledger, left.entered) {
                // Nothing can come between our queue and the kernel.
                let _expected = ledger.leaving().message(length, left.end);
            }
        };
        let socket = self.stream.socket();
        let written = write(socket, &mut self.writing, &mut self.written, wrote);
        written.map_err(|_| broken("write failed"))?;
        if let Some(ledger) = ledger {
            let mut leaving = ledger.leaving();
            if leaving.is_long() {
                let missing = self.stream.connection().unacknowledged();
                leaving.arrived(missing.map(|missing| self.written.saturating_sub(missing)));
            }
        }
        Ok(())
    }

    /// The heartbeat: a page that has sent nothing since the last one is gone.
    fn beat(&mut self, reads: bool) -> Result<(), End> {
        if !self.was_heard {
            return Err(End::Broken(Reason::Silent, "no answer to a ping"));
        }
        // While nothing is read nothing can be heard.
        self.was_heard = !reads;
        if let Some(ledger) = self.outbox.ledger() {
            ledger.leaving().heartbeat();
        }
        self.outbox.add(frame::ping());
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

/// Waits for a time that may never come.
async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
