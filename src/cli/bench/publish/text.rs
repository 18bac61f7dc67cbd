//! Publishing at the text port: owns its connections, the lines of each that
//! have no reply, and the reading of replies. Lines and replies go by the
//! bufferful; what is done for each is a few bytes copied and one entry set.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::cli::bench::answer::Answer;
use crate::cli::bench::dialect;
use crate::cli::bench::publish::pace::{Pace, Room, Share};
use crate::cli::bench::publish::{GIVE_UP, IDLE, Outcome, Plan, Shared, connect};
use crate::cli::bench::tally::write_content;

/// Bytes of lines after which a write is made.
const CHUNK: usize = 64 * 1024;
/// Size of the read buffer in bytes; a longer reply is none.
const BUFFER: usize = 64 * 1024;

/// Connects and sets the publisher going.
///
/// # Errors
/// When a connection cannot be made; nothing is published then.
pub(super) fn start(
    plan: &Arc<Plan>,
    shared: &Arc<Shared>,
    pipeline: u32,
) -> Result<JoinHandle<Outcome>> {
    let poll = Poll::new().context("creating an epoll instance")?;
    let lanes = (0..plan.concurrency as usize)
        .map(|number| {
            let stream = connect(plan, &poll, number)?;
            Ok(Lane {
                stream: Some(stream),
                ..Lane::default()
            })
        })
        .collect::<io::Result<Vec<_>>>()
        .with_context(|| format!("--text {}: connecting", plan.target.host))?;
    let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
    Ok(thread::spawn(move || {
        let share = Share {
            // What is due in a millisecond: epoll does not wait for less.
            rate: (plan.rate / 1000).max(1),
            window: (plan.window / 8).max(1),
        };
        Publisher {
            plan: &plan,
            shared: &shared,
            pace: Pace::new(&plan, &shared, share),
            pipeline,
            poll,
            lanes,
            first: 0,
            next: 0,
            in_flight: 0,
            failures: 0,
            buffer: vec![0; BUFFER],
            outcome: Outcome::new(&plan),
        }
        .run()
    }))
}

/// Publishes of consecutive numbers that were sent at one time.
#[derive(Debug)]
struct Batch {
    /// The first without a reply.
    next: u32,
    /// The first beyond the batch.
    end: u32,
    /// Microseconds of the run.
    sent: u64,
}

/// One connection.
#[derive(Default)]
struct Lane {
    stream: Option<TcpStream>,
    /// What has no reply, the oldest first.
    batches: VecDeque<Batch>,
    /// Lines in `batches`.
    in_flight: u32,
    /// Lines to write.
    out: Vec<u8>,
    /// Bytes of `out` the socket has taken.
    written: usize,
    /// The beginning of a reply whose end has not arrived.
    held: Vec<u8>,
}

impl Lane {
    /// Writes what the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        while let (Some(stream), true) = (&mut self.stream, self.written < self.out.len()) {
            match stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How many lines may follow, 0 as well when so few that they had better
    /// wait for more.
    fn free(&self, pipeline: u32) -> u32 {
        let free = pipeline - self.in_flight;
        if self.written < self.out.len() || free < (pipeline / 4).max(1) {
            return 0;
        }
        free
    }

    /// Books one reply: the number of its publish and when that was sent.
    fn reply(&mut self) -> io::Result<(u32, u64)> {
        let Some(batch) = self.batches.front_mut() else {
            return Err(io::Error::other("a reply to no line"));
        };
        let found = (batch.next, batch.sent);
        batch.next += 1;
        if batch.next == batch.end {
            self.batches.pop_front();
        }
        self.in_flight -= 1;
        Ok(found)
    }
}

struct Publisher<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    pace: Pace<'a>,
    /// Lines without a reply on one connection.
    pipeline: u32,
    poll: Poll,
    lanes: Vec<Lane>,
    /// The lane whose turn it is to be filled first.
    first: usize,
    /// The next publish to make.
    next: u32,
    in_flight: u32,
    /// Connections that failed, without a reply in between.
    failures: u32,
    buffer: Vec<u8>,
    outcome: Outcome,
}

impl Publisher<'_> {
    fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(self.lanes.len());
        loop {
            let rest = self.fill();
            if self.in_flight == 0 {
                if self.next >= self.plan.publishes {
                    return self.outcome;
                }
                thread::sleep(Duration::from_micros(rest));
                continue;
            }
            if let Err(error) = self
                .poll
                .poll(&mut events, Some(Duration::from_micros(rest)))
                && error.kind() != ErrorKind::Interrupted
            {
                self.outcome.error = Some(error.to_string());
                return self.outcome;
            }
            for event in &events {
                let number = event.token().0;
                let closed = event.is_read_closed();
                let done = self.lanes[number].flush();
                if let Err(error) = done.and_then(|()| self.receive(number, closed)) {
                    self.fail(number, &error);
                }
            }
            self.expire();
        }
    }

    /// Gives each lane that has room a write of lines. Microseconds for which
    /// there is no more to do, but for replies.
    fn fill(&mut self) -> u64 {
        if self.failures >= GIVE_UP {
            self.next = self.plan.publishes;
        }
        let lanes = self.lanes.len();
        self.first = (self.first + 1) % lanes;
        let mut again = false;
        for step in 0..lanes {
            let number = (self.first + step) % lanes;
            let free = self.lanes[number].free(self.pipeline);
            if free == 0 {
                continue;
            }
            match self.pace.room(self.next, self.in_flight) {
                Room::Later(rest) => return rest,
                Room::Now(room) => self.send(number, free.min(room)),
            }
            again |= self.lanes[number].free(self.pipeline) > 0;
        }
        if again { 0 } else { IDLE }
    }

    /// Writes up to `most` lines, and no more than a write takes, on one lane.
    fn send(&mut self, number: usize, most: u32) {
        let lane = &mut self.lanes[number];
        let sent = self.plan.clock.micros();
        lane.out.clear();
        lane.written = 0;
        let (next, last) = (self.next, self.next + most);
        while self.next < last && lane.out.len() < CHUNK {
            self.plan.line(self.next, sent, &mut lane.out);
            self.next += 1;
        }
        lane.batches.push_back(Batch {
            next,
            end: self.next,
            sent,
        });
        lane.in_flight += self.next - next;
        self.in_flight += self.next - next;
        let result = match lane.stream {
            Some(_) => lane.flush(),
            None => connect(self.plan, &self.poll, number).and_then(|stream| {
                lane.stream = Some(stream);
                lane.flush()
            }),
        };
        if let Err(error) = result {
            self.fail(number, &error);
        }
    }

    /// Reads what there is on one lane, to the end when the server `closed` it.
    fn receive(&mut self, number: usize, closed: bool) -> io::Result<()> {
        loop {
            let lane = &mut self.lanes[number];
            let Some(stream) = &mut lane.stream else {
                return Ok(());
            };
            let kept = lane.held.len();
            self.buffer[..kept].copy_from_slice(&lane.held);
            match stream.read(&mut self.buffer[kept..]) {
                Ok(0) if lane.in_flight == 0 => lane.stream = None,
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    lane.held.clear();
                    let filled = kept + count;
                    self.replies(number, filled)?;
                    // A read that leaves room has emptied the socket; what
                    // comes later is a new event.
                    if filled < self.buffer.len() && !closed {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Books the replies in the first `filled` bytes of the buffer.
    fn replies(&mut self, number: usize, filled: usize) -> io::Result<()> {
        let now = self.plan.clock.micros();
        let lane = &mut self.lanes[number];
        let mut rest = &self.buffer[..filled];
        let (mut count, mut ok) = (0, 0);
        let result = loop {
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                break match rest.len() < self.buffer.len() {
                    true => Ok(()),
                    false => Err(io::Error::other("a reply without an end")),
                };
            };
            let answer = Answer::of_line(&rest[..end]);
            rest = &rest[end + 1..];
            match lane.reply() {
                Ok((index, sent)) => {
                    self.outcome.answers[index as usize] = answer;
                    let waited = now.saturating_sub(sent).max(1);
                    self.outcome.waits.saturating_record(waited);
                }
                Err(error) => break Err(error),
            }
            count += 1;
            ok += u64::from(answer == Answer::Ok);
        };
        if count > 0 {
            self.failures = 0;
            self.in_flight -= count;
            self.outcome.answered += count;
            self.outcome.ended = now;
            let due = ok * u64::from(self.plan.pages);
            self.shared.due.fetch_add(due, Ordering::Release);
        }
        lane.held.extend_from_slice(rest);
        result
    }

    /// Gives up the connections that take too long.
    fn expire(&mut self) {
        let now = self.plan.clock.micros();
        let limit = self.plan.timeout.as_micros() as u64;
        for number in 0..self.lanes.len() {
            let oldest = self.lanes[number].batches.front();
            if oldest.is_some_and(|batch| now.saturating_sub(batch.sent) > limit) {
                self.fail(number, &ErrorKind::TimedOut.into());
            }
        }
    }

    /// Ends a connection; what it has in flight stays without an answer.
    fn fail(&mut self, number: usize, error: &io::Error) {
        let lane = std::mem::take(&mut self.lanes[number]);
        self.in_flight -= lane.in_flight;
        self.outcome
            .error
            .get_or_insert_with(|| format!("publish: {error}"));
        self.failures += 1;
    }
}

impl Plan {
    /// Appends the line of publish `index`, sent at `micros`, to `out`.
    fn line(&self, index: u32, micros: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"uid\":\"");
        if let Some(targets) = &self.targets {
            dialect::write_uid(out, targets[index as usize]);
        }
        out.extend_from_slice(b"\",\"m\":\"");
        write_content(out, self.base + u64::from(index), micros, self.size);
        out.extend_from_slice(b"\"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Lane};

    #[test]
    fn replies_go_to_the_oldest_lines_in_their_order() {
        let mut lane = Lane {
            in_flight: 3,
            ..Lane::default()
        };
        for (next, end, sent) in [(4, 6, 10), (9, 10, 20)] {
            lane.batches.push_back(Batch { next, end, sent });
        }
        let mut reply = || lane.reply().ok();
        assert_eq!((reply(), reply()), (Some((4, 10)), Some((5, 10))));
        assert_eq!((reply(), reply()), (Some((9, 20)), None));
        assert_eq!(lane.in_flight, 0);
    }

    #[test]
    fn a_lane_is_filled_by_the_quarter() {
        let lane = |in_flight, out: &[u8]| Lane {
            in_flight,
            out: out.to_vec(),
            ..Lane::default()
        };
        assert_eq!(lane(75, b"").free(100), 25);
        assert_eq!(lane(76, b"").free(100), 0);
        assert_eq!(lane(0, b"x").free(100), 0);
        assert_eq!((lane(0, b"").free(1), lane(1, b"").free(1)), (1, 0));
    }
}
