//! Publishing over HTTP: owns the keep-alive HTTP/1.1 connections, each with at
//! most one publish in flight.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::cli::bench::answer::{Answer, Head};
use crate::cli::bench::dialect;
use crate::cli::bench::publish::pace::{Pace, Room, Share};
use crate::cli::bench::publish::{GIVE_UP, IDLE, Outcome, Plan, Shared, connect};
use crate::cli::bench::tally::write_content;

/// Connects and sets the publisher going.
///
/// # Errors
/// When a connection cannot be made; nothing is published then.
pub(super) fn start(plan: &Arc<Plan>, shared: &Arc<Shared>) -> Result<JoinHandle<Outcome>> {
    let poll = Poll::new().context("creating an epoll instance")?;
    let lanes = (0..plan.concurrency as usize)
        .map(|number| Lane::open(plan, &poll, number))
        .collect::<io::Result<Vec<_>>>()
        .with_context(|| format!("--http http://{}: connecting", plan.target.host))?;
    let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
    Ok(thread::spawn(move || {
        let share = Share { rate: 1, window: 1 };
        Publisher {
            plan: &plan,
            shared: &shared,
            pace: Pace::new(&plan, &shared, share),
            poll,
            lanes,
            next: 0,
            in_flight: 0,
            failures: 0,
            body: Vec::new(),
            outcome: Outcome::new(&plan),
        }
        .run()
    }))
}

/// One keep-alive connection with at most one publish in flight.
struct Lane {
    stream: Option<TcpStream>,
    /// The publish in flight and when it was sent, microseconds of the run.
    current: Option<(u32, u64)>,
    request: Vec<u8>,
    /// Bytes of the request the socket has taken.
    written: usize,
    /// What has arrived of the answer.
    answer: Vec<u8>,
}

impl Lane {
    fn open(plan: &Plan, poll: &Poll, number: usize) -> io::Result<Self> {
        let mut lane = Self {
            stream: None,
            current: None,
            request: Vec::new(),
            written: 0,
            answer: Vec::new(),
        };
        lane.connect(plan, poll, number)?;
        Ok(lane)
    }

    fn connect(&mut self, plan: &Plan, poll: &Poll, number: usize) -> io::Result<()> {
        self.stream = Some(connect(plan, poll, number)?);
        Ok(())
    }

    /// Writes what the socket takes of the request.
    fn flush(&mut self) -> io::Result<()> {
        while let (Some(stream), true) = (&mut self.stream, self.written < self.request.len()) {
            match stream.write(&self.request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is; the answer once it is whole.
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        let mut chunk = [0; 4096];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut chunk) {
                Ok(0) if self.current.is_none() => self.stream = None,
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.answer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            let Some(head) = Head::parse(&self.answer)? else {
                continue;
            };
            if let Some(answer) = head.answer(&self.answer) {
                if head.close {
                    self.stream = None;
                }
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }
}

struct Publisher<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    pace: Pace<'a>,
    poll: Poll,
    lanes: Vec<Lane>,
    /// The next publish to make.
    next: u32,
    in_flight: u32,
    /// Failed exchanges in a row.
    failures: u32,
    body: Vec<u8>,
    outcome: Outcome,
}

impl Publisher<'_> {
    fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(self.lanes.len());
        loop {
            let mut rest = IDLE;
            for number in 0..self.lanes.len() {
                if self.lanes[number].current.is_none() {
                    rest = self.hold();
                    if rest > 0 {
                        break;
                    }
                    self.send(number);
                }
            }
            if self.in_flight == 0 {
                if self.next >= self.plan.publishes {
                    return self.outcome;
                }
                thread::sleep(Duration::from_micros(rest));
                continue;
            }
            let timeout = Duration::from_micros(rest.max(1000));
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                self.outcome.error = Some(error.to_string());
                return self.outcome;
            }
            for event in &events {
                self.ready(event.token().0);
            }
            self.expire();
        }
    }

    /// Microseconds until the next publish may be made, 0 for now; a guess, to
    /// be asked again then.
    fn hold(&mut self) -> u64 {
        if self.failures >= GIVE_UP {
            self.next = self.plan.publishes;
        }
        match self.pace.room(self.next, self.in_flight) {
            Room::Now(_) => 0,
            Room::Later(rest) => rest,
        }
    }

    /// Makes the next publish on an idle lane.
    fn send(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        let sent = self.plan.clock.micros();
        self.plan
            .request(self.next, sent, &mut self.body, &mut lane.request);
        lane.written = 0;
        lane.answer.clear();
        lane.current = Some((self.next, sent));
        self.next += 1;
        self.in_flight += 1;
        let result = match lane.stream {
            Some(_) => lane.flush(),
            None => lane
                .connect(self.plan, &self.poll, number)
                .and_then(|()| lane.flush()),
        };
        if let Err(error) = result {
            self.fail(number, &error);
        }
    }

    fn ready(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        match lane.flush().and_then(|()| lane.receive()) {
            Ok(Some(answer)) => {
                self.failures = 0;
                self.finish(number, answer);
            }
            Ok(None) => {}
            Err(error) => self.fail(number, &error),
        }
    }

    /// Gives up the exchanges that take too long.
    fn expire(&mut self) {
        let now = self.plan.clock.micros();
        let limit = self.plan.timeout.as_micros() as u64;
        for number in 0..self.lanes.len() {
            let current = self.lanes[number].current;
            if current.is_some_and(|(_, sent)| now.saturating_sub(sent) > limit) {
                self.fail(number, &ErrorKind::TimedOut.into());
            }
        }
    }

    fn fail(&mut self, number: usize, error: &io::Error) {
        self.lanes[number].stream = None;
        self.outcome
            .error
            .get_or_insert_with(|| format!("publish: {error}"));
        self.finish(number, Answer::Other);
        self.failures += 1;
    }

    fn finish(&mut self, number: usize, answer: Answer) {
        let Some((index, sent)) = self.lanes[number].current.take() else {
            return;
        };
        let now = self.plan.clock.micros();
        self.outcome.ended = now;
        self.outcome.waits.saturating_record((now - sent).max(1));
        self.outcome.answered += 1;
        self.outcome.answers[index as usize] = answer;
        self.in_flight -= 1;
        if answer == Answer::Ok {
            let pages = u64::from(self.plan.pages);
            self.shared.due.fetch_add(pages, Ordering::Release);
        }
    }
}

impl Plan {
    /// Writes the request of publish `index`, sent at `micros`, into `request`.
    fn request(&self, index: u32, micros: u64, body: &mut Vec<u8>, request: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(b"type=publish&to=");
        if let Some(targets) = &self.targets {
            dialect::write_uid(body, targets[index as usize]);
        }
        body.extend_from_slice(b"&content=");
        write_content(body, self.base + u64::from(index), micros, self.size);
        request.clear();
        write!(
            request,
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n",
            self.target.host,
            body.len()
        )
        .expect("a vector takes every write");
        request.extend_from_slice(body);
    }
}
