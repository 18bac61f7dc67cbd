//! The pushing side: owns what a publisher is told and what it finds. A
//! publisher has one thread for all its connections; how it speaks is below.

mod http;
mod pace;
mod text;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::cli::bench::Clock;
use crate::cli::bench::answer::Answer;
use crate::cli::bench::tally::histogram;
use crate::cli::bench::target::Target;

/// Failed exchanges in a row after which the publisher gives up.
const GIVE_UP: u32 = 3;
/// Longest rest of the publisher, in microseconds.
const IDLE: u64 = 20_000;

/// How a publisher speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One HTTP request per publish.
    Http,
    /// One line per publish at the text port.
    Text {
        /// Lines without a reply on one connection.
        pipeline: u32,
    },
}

/// What the publisher of one round does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) clock: Clock,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
    pub(crate) publishes: u32,
    /// Number of the first publish.
    pub(crate) base: u64,
    /// Message size in bytes.
    pub(crate) size: usize,
    /// Target client of each publish; none when everyone is meant.
    pub(crate) targets: Option<Arc<[u32]>>,
    /// Deliveries due of one publish.
    pub(crate) pages: u32,
    /// Connections to publish over.
    pub(crate) concurrency: u32,
    /// Publishes per second, 0 for no pace.
    pub(crate) rate: u32,
    /// Publishes whose deliveries may be outstanding, 0 for no bound.
    pub(crate) window: u32,
    /// Longest wait for one answer.
    pub(crate) timeout: Duration,
}

/// What publisher and reading thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Deliveries due of the publishes answered `ok` so far.
    pub(crate) due: AtomicU64,
    /// Deliveries made so far.
    pub(crate) delivered: AtomicU64,
}

/// What the publisher did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The answer of each publish.
    pub(crate) answers: Vec<Answer>,
    /// Publishes that came to an end, by an answer or, over HTTP, without one.
    pub(crate) answered: u32,
    /// Publish call to answer, microseconds.
    pub(crate) waits: Histogram<u64>,
    /// Time of the last answer, microseconds of the run.
    pub(crate) ended: u64,
    /// The first exchange that failed.
    pub(crate) error: Option<String>,
}

impl Outcome {
    /// Nothing answered yet, now.
    fn new(plan: &Plan) -> Self {
        Self {
            answers: vec![Answer::Other; plan.publishes as usize],
            answered: 0,
            waits: histogram(),
            ended: plan.clock.micros(),
            error: None,
        }
    }
}

/// Connects and sets the publisher going.
///
/// # Errors
/// When a connection cannot be made; nothing is published then.
pub(crate) fn start(plan: &Arc<Plan>, shared: &Arc<Shared>) -> Result<JoinHandle<Outcome>> {
    match plan.protocol {
        Protocol::Http => http::start(plan, shared),
        Protocol::Text { pipeline } => text::start(plan, shared, pipeline),
    }
}

/// Makes connection `number` and has `poll` look at it.
fn connect(plan: &Plan, poll: &Poll, number: usize) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::connect_timeout(&plan.target.addr, plan.timeout)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry()
        .register(&mut stream, Token(number), interest)?;
    Ok(stream)
}
