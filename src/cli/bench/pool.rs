//! The pages: owns their sockets, one epoll loop over all of them, and the
//! walk of each from upgrade to login. Everything runs on the calling thread;
//! a delivery costs one read and no allocation.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::cli::bench::Clock;
use crate::cli::bench::dialect::{Dialect, PAGE_PING, Stage, Step};
use crate::cli::bench::frame::{self, Parsed};
use crate::cli::bench::tally::Tally;
use crate::cli::bench::target::Target;

/// Events taken from the kernel at once.
const BATCH: usize = 1024;
/// Smallest size of the read buffer, in bytes.
const BUFFER: usize = 64 * 1024;
/// How often pages that have to ping are looked through, in microseconds.
const PING_SCAN: u64 = 250_000;

/// What a pool is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) dialect: Dialect,
    pub(crate) target: Target,
    /// Whether loopback source addresses are spread.
    pub(crate) spread: bool,
    pub(crate) clients: u32,
    /// Message size in bytes, for the read buffer.
    pub(crate) size: usize,
    /// Connects per second, 0 for no pace.
    pub(crate) rate: u32,
}

/// One page. Only a frame cut in two keeps bytes here.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) stream: Option<TcpStream>,
    pub(crate) partial: Vec<u8>,
    /// When the page last pinged, milliseconds of the run.
    pub(crate) last_ping: u32,
    pub(crate) stage: Stage,
    pub(crate) attempts: u8,
}

/// What the pool has seen since the round began.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Pages whose login is sent and that are still connected.
    pub(crate) logged_in: u32,
    /// Pages whose login the server has answered.
    pub(crate) confirmed: u32,
    /// Pages given up before their login.
    pub(crate) failed: u32,
    /// Pages lost after their login.
    pub(crate) dropped: u32,
    /// Handshakes tried again.
    pub(crate) retries: u32,
    /// Text frames that are neither messages nor protocol (online counts).
    pub(crate) other: u64,
    /// Time of the last login or its confirmation, microseconds of the run.
    pub(crate) last_login: u64,
    /// Time of the last event frame of any kind, microseconds of the run.
    pub(crate) last_frame: u64,
    /// The first thing that went wrong.
    pub(crate) first_error: Option<String>,
}

/// Connects that are still to be made.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// First client never tried.
    pub(crate) next: u32,
    /// Clients to try again, with the time from which on.
    pub(crate) retry: VecDeque<(u64, u32)>,
    /// Handshakes under way.
    pub(crate) in_flight: u32,
    /// When the round began to connect, microseconds of the run.
    pub(crate) began: u64,
}

/// All pages of a run.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) setup: Setup,
    pub(crate) upgrade: String,
    pub(crate) poll: Poll,
    pub(crate) slots: Vec<Slot>,
    pub(crate) queue: Queue,
    /// Connection attempts of the whole run.
    pub(crate) attempts: u64,
    pub(crate) counts: Counts,
    pub(crate) tally: Tally,
    /// Time spent waiting for events, microseconds.
    pub(crate) waited: u64,
    events: Events,
    buffer: Vec<u8>,
    out: Vec<u8>,
    /// Interval at which pages ping, in milliseconds, when they have to.
    ping_every: Option<u32>,
    next_scan: u64,
}

impl Pool {
    /// A pool without connections.
    ///
    /// # Errors
    /// When epoll is not available.
    pub(crate) fn new(setup: Setup) -> Result<Self> {
        let slots = (0..setup.clients).map(|_| Slot {
            stream: None,
            partial: Vec::new(),
            last_ping: 0,
            stage: Stage::Absent,
            attempts: 0,
        });
        Ok(Self {
            upgrade: setup.dialect.upgrade_request(&setup.target.host),
            poll: Poll::new().context("creating an epoll instance")?,
            slots: slots.collect(),
            queue: Queue::default(),
            attempts: 0,
            counts: Counts::default(),
            tally: Tally::new(0, 0, 0, None),
            waited: 0,
            events: Events::with_capacity(BATCH),
            buffer: vec![0; BUFFER + 2 * setup.size],
            out: Vec::with_capacity(256),
            ping_every: None,
            next_scan: 0,
            setup,
        })
    }

    /// Waits up to `timeout` for events and handles one batch of them.
    ///
    /// # Errors
    /// When waiting fails.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let from = self.setup.clock.micros();
        let polled = self.poll.poll(&mut events, Some(timeout));
        let now = self.setup.clock.micros();
        self.waited += now - from;
        if polled.is_ok() {
            for event in &events {
                let index = event.token().0;
                if self.slots[index].stage == Stage::Connecting {
                    self.connected(index);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(index);
                }
            }
        }
        self.events = events;
        if now >= self.next_scan {
            self.next_scan = now + PING_SCAN;
            self.ping_due(now);
        }
        match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                Err(error).context("waiting for the pages' sockets")
            }
            _ => Ok(()),
        }
    }

    /// Ends every session and closes every socket; the next round starts anew.
    pub(crate) fn leave(&mut self) {
        for slot in &mut self.slots {
            if let Some(mut stream) = slot.stream.take() {
                // A page that goes away does not wait for anything either.
                let _ = stream.write(&frame::GOING_AWAY);
            }
            slot.partial = Vec::new();
            slot.stage = Stage::Absent;
            slot.attempts = 0;
        }
        self.queue = Queue::default();
        self.counts = Counts::default();
    }

    /// Reads all there is for one page.
    fn read(&mut self, index: usize) {
        loop {
            let slot = &mut self.slots[index];
            let Some(stream) = slot.stream.as_mut() else {
                return;
            };
            let kept = slot.partial.len();
            if kept >= self.buffer.len() {
                self.lose(index, "a frame is larger than the read buffer");
                return;
            }
            self.buffer[..kept].copy_from_slice(&slot.partial);
            match stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return self.lose(index, "the server closed the connection"),
                Ok(count) => {
                    slot.partial.clear();
                    let filled = kept + count;
                    if let Err(why) = self.consume(index, filled) {
                        return self.lose(index, &why);
                    }
                    // A read that leaves room has emptied the socket; what
                    // comes later is a new event.
                    if filled < self.buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, &error.to_string()),
            }
        }
    }

    /// Handles the first `filled` bytes of the buffer; what is left of a frame
    /// stays with the page.
    fn consume(&mut self, index: usize, filled: usize) -> Result<(), String> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..filled];
        let result = self.consume_frames(index, &mut rest);
        if result.is_ok() && !rest.is_empty() {
            self.slots[index].partial.extend_from_slice(rest);
        }
        self.buffer = buffer;
        result
    }

    fn consume_frames(&mut self, index: usize, rest: &mut &[u8]) -> Result<(), String> {
        let now = self.setup.clock.micros();
        if self.slots[index].stage == Stage::Upgrading {
            let Some(used) = upgraded(rest)? else {
                return Ok(());
            };
            *rest = &rest[used..];
            self.slots[index].stage = Stage::Opening;
            if self.setup.dialect.speaks_first() {
                self.log_in(index, now)?;
            }
        }
        loop {
            match frame::parse(rest) {
                Parsed::Incomplete => return Ok(()),
                Parsed::Invalid(why) => return Err(why.to_owned()),
                Parsed::Frame {
                    opcode,
                    payload,
                    used,
                } => {
                    match opcode {
                        frame::TEXT => self.text(index, payload, now)?,
                        frame::PING => self.send(index, frame::PONG, payload)?,
                        frame::PONG => self.pong(index, now),
                        frame::CLOSE => return Err("the server sent a close frame".to_owned()),
                        _ => {}
                    }
                    *rest = &rest[used..];
                }
            }
        }
    }

    /// Handles one text frame.
    fn text(&mut self, index: usize, payload: &[u8], now: u64) -> Result<(), String> {
        let stage = self.slots[index].stage;
        match self.setup.dialect.step(stage, payload) {
            Step::Message(text) => {
                self.tally.arrive(index as u32, text, now);
                self.counts.last_frame = now;
            }
            Step::Reply(reply) => self.send(index, frame::TEXT, reply)?,
            Step::Join(text, interval) => {
                self.ping_every = interval;
                self.slots[index].last_ping = (now / 1000) as u32;
                self.slots[index].stage = Stage::Joining;
                if !text.is_empty() {
                    self.send(index, frame::TEXT, text)?;
                }
            }
            Step::Login => self.log_in(index, now)?,
            Step::Confirmed => self.confirm(index, now),
            Step::Leave(why) => return Err(why.to_owned()),
            Step::Other => {
                self.counts.other += 1;
                self.counts.last_frame = now;
            }
        }
        Ok(())
    }

    /// Sends the login of a page.
    fn log_in(&mut self, index: usize, now: u64) -> Result<(), String> {
        self.out.clear();
        self.setup.dialect.login(&mut self.out, index as u32);
        self.send_out(index)?;
        self.slots[index].stage = Stage::LoginSent;
        self.queue.in_flight -= 1;
        self.counts.logged_in += 1;
        self.counts.last_login = now;
        Ok(())
    }

    fn confirm(&mut self, index: usize, now: u64) {
        self.slots[index].stage = Stage::Ready;
        self.counts.confirmed += 1;
        self.counts.last_login = now;
        self.counts.last_frame = now;
    }

    fn pong(&mut self, index: usize, now: u64) {
        let stage = self.slots[index].stage;
        if self.setup.dialect.pong_confirms(stage) {
            self.confirm(index, now);
        }
    }

    /// Sends one small frame; a socket that cannot take it is given up.
    fn send(&mut self, index: usize, opcode: u8, payload: &[u8]) -> Result<(), String> {
        self.out.clear();
        frame::write(&mut self.out, opcode, payload);
        self.send_out(index)
    }

    fn send_out(&mut self, index: usize) -> Result<(), String> {
        let Some(stream) = self.slots[index].stream.as_mut() else {
            return Ok(());
        };
        write_whole(stream, &self.out).map_err(|error| error.to_string())
    }

    /// Pings for the pages whose turn it is.
    fn ping_due(&mut self, now: u64) {
        let Some(every) = self.ping_every else {
            return;
        };
        let now = (now / 1000) as u32;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.stage >= Stage::Joining && now.saturating_sub(slot.last_ping) >= every {
                slot.last_ping = now;
                if let Err(why) = self.send(index, frame::TEXT, PAGE_PING) {
                    self.lose(index, &why);
                }
            }
        }
    }
}

/// Writes `bytes` at once or fails: they are few and the socket is idle.
pub(crate) fn write_whole(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let written = stream.write(bytes)?;
    if written < bytes.len() {
        return Err(io::Error::other("the send buffer of a page is full"));
    }
    Ok(())
}

/// Length of the answer to the upgrade once it is whole.
fn upgraded(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    if bytes.get(8..12) == Some(b" 101") {
        return Ok(Some(end + 4));
    }
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or(bytes);
    let line = String::from_utf8_lossy(line);
    Err(format!("the upgrade was answered {line:?}"))
}
