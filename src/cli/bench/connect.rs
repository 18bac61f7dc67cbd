//! Opening of pages: owns the pace of connects, the bound on handshakes under
//! way, retries, and what happens when a connection is lost.

use std::io;

use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::bench::dialect::Stage;
use crate::cli::bench::pool::{Pool, Queue, write_whole};
use crate::cli::bench::target;

/// Handshakes under way at once: below the shortest usual listen backlog (128),
/// beyond which the kernel drops connects and tries them again a second later.
const MAX_IN_FLIGHT: u32 = 100;
/// Times a failed handshake is tried again.
const MAX_RETRIES: u8 = 5;
/// Wait before the first retry in microseconds; it doubles each time.
const RETRY_AFTER: u64 = 50_000;

impl Queue {
    /// The next client whose turn it is at `now`, with `rate` new ones a second.
    fn due(&mut self, now: u64, clients: u32, rate: u32) -> Option<u32> {
        if let Some(&(from, client)) = self.retry.front()
            && from <= now
        {
            self.retry.pop_front();
            return Some(client);
        }
        let allowed = u64::from(rate) * now.saturating_sub(self.began) / 1_000_000;
        if self.next < clients && (rate == 0 || u64::from(self.next) <= allowed) {
            self.next += 1;
            return Some(self.next - 1);
        }
        None
    }
}

impl Pool {
    /// Begins to connect all pages.
    pub(crate) fn begin_connects(&mut self) {
        self.queue.began = self.setup.clock.micros();
    }

    /// Starts as many handshakes as pace and bound allow.
    pub(crate) fn drive_connects(&mut self) {
        let now = self.setup.clock.micros();
        while self.queue.in_flight < MAX_IN_FLIGHT {
            let (clients, rate) = (self.setup.clients, self.setup.rate);
            let Some(client) = self.queue.due(now, clients, rate) else {
                return;
            };
            let index = client as usize;
            self.queue.in_flight += 1;
            self.slots[index].stage = Stage::Connecting;
            if let Err(error) = self.open(index) {
                self.lose(index, &format!("connect: {error}"));
            }
        }
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let addr = self.setup.target.addr;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.setup.spread {
            // Ports of connections that are over may be taken again.
            socket.set_reuse_address(true)?;
            socket.bind(&target::source(self.attempts).into())?;
        }
        self.attempts += 1;
        // EINPROGRESS is the usual answer; anything else fails at once.
        if let Err(error) = socket.connect(&addr.into())
            && error.raw_os_error() != Some(EINPROGRESS)
        {
            return Err(error);
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)?;
        self.slots[index].stream = Some(stream);
        Ok(())
    }

    /// The connect of a page came to its end: asks for the upgrade.
    pub(crate) fn connected(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(stream) = slot.stream.as_mut() else {
            return;
        };
        let result = match stream.take_error() {
            Ok(None) => write_whole(stream, self.upgrade.as_bytes()),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        match result {
            Ok(()) => slot.stage = Stage::Upgrading,
            Err(error) => self.lose(index, &format!("connect: {error}")),
        }
    }

    /// Closes a page and books it: before its login it is tried again, a few
    /// times; after it the page is gone.
    pub(crate) fn lose(&mut self, index: usize, why: &str) {
        let slot = &mut self.slots[index];
        let stage = slot.stage;
        slot.stream = None;
        slot.partial.clear();
        slot.stage = Stage::Absent;
        self.counts
            .first_error
            .get_or_insert_with(|| why.to_owned());
        match stage {
            Stage::Absent => {}
            Stage::LoginSent | Stage::Ready => {
                self.counts.logged_in -= 1;
                self.counts.dropped += 1;
                if stage == Stage::Ready {
                    self.counts.confirmed -= 1;
                }
            }
            Stage::Connecting | Stage::Upgrading | Stage::Opening | Stage::Joining => {
                self.queue.in_flight -= 1;
                slot.attempts += 1;
                if slot.attempts > MAX_RETRIES {
                    self.counts.failed += 1;
                    return;
                }
                self.counts.retries += 1;
                let from = self.setup.clock.micros() + (RETRY_AFTER << (slot.attempts - 1));
                self.queue.retry.push_back((from, index as u32));
            }
        }
    }
}

/// `EINPROGRESS` on Linux: a non-blocking connect is under way.
const EINPROGRESS: i32 = 115;
