//! What waits to be written to one page: bounded, so that a page that does not read loses its own
//! connection and nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::ledger::{Entry, Ledger};
use crate::hub::Pace;
use crate::metrics::Reason;
use crate::push::{Push, PushId};
use crate::record::RecordId;

/// How much may wait for one page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Messages.
    pub(super) messages: usize,
    /// Bytes. One message above it still waits if it is alone.
    pub(super) bytes: usize,
}

/// Why a connection ends: what its page is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: CloseCode,
    /// At most 123 bytes.
    pub(crate) reason: String,
    /// What it is counted as.
    pub(super) counts_as: Reason,
}

/// One frame that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) frame: Bytes,
    /// The record that it carries, if it is kept.
    pub(crate) record: Option<RecordId>,
    /// Its length, where the page's ledger has it.
    pub(super) entered: Option<usize>,
}

/// What became of a frame that was to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handed {
    /// Whether it waits; if not, the connection is ending.
    pub(crate) is_taken: bool,
    pub(crate) pace: Pace,
}

/// How long a page may be more than half its queue behind while publishers wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Outbox {
    bounds: Bounds,
    state: Mutex<State>,
    changed: Notify,
    /// Pages that get what they missed have one.
    ledger: OnceLock<Arc<Ledger>>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Waiting>,
    bytes: usize,
    end: Option<Close>,
    is_overrun: bool,
    /// Since when more than half of the queue has been full.
    behind_since: Option<Instant>,
}

/// A queue that has grown beyond this gives its memory back when it is empty.
const SMALL_QUEUE: usize = 64;

impl Outbox {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
            changed: Notify::new(),
            ledger: OnceLock::new(),
        }
    }

    /// Enters into `ledger` what the page is handed from now on. The first call counts.
    pub(in crate::gateway) fn keeps(&self, ledger: Arc<Ledger>) {
        self.ledger.get_or_init(|| ledger);
    }

    /// Where it is entered, if it is.
    pub(super) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.get().map(|ledger| &**ledger)
    }

    /// Whether a message of so many bytes may be added while the page catches up: what is live needs
    /// room too.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        let state = self.lock();
        let Bounds { messages, bytes } = self.bounds;
        state.end.is_some()
            || state.frames.is_empty()
            || (state.frames.len() < messages / 2 && state.bytes + length <= bytes / 2)
    }

    /// Adds a frame that is no message.
    pub(super) fn add(&self, frame: Bytes) {
        self.push_frame(Waiting::from(frame));
    }

    /// Adds a message; see [`Outbox::push_frame`].
    pub(crate) fn push(&self, frame: Bytes, push: &Push) -> Handed {
        let entered = self.ledger.get().map(|ledger| {
            // Before it can leave. How much may wait is this queue's business.
            ledger.enter(Entry {
                id: push.id,
                parcel: push.parcel.unwrap_or_default(),
                length: frame.len(),
                is_early: false,
            });
            frame.len()
        });
        let handed = self.push_frame(Waiting {
            frame,
            record: push.record.as_ref().map(|record| record.id),
            entered,
        });
        if let (false, Some(ledger)) = (handed.is_taken, self.ledger.get()) {
            ledger.give_up(push.id);
        }
        handed
    }

    /// Adds a frame. Never blocks: without room the page's connection ends instead, and what
    /// waited is dropped with it.
    fn push_frame(&self, waiting: Waiting) -> Handed {
        let Bounds { messages, bytes } = self.bounds;
        let mut state = self.lock();
        if state.end.is_some() {
            return Handed {
                is_taken: false,
                pace: Pace::Kept,
            };
        }
        let (count, weight) = (state.frames.len(), state.bytes + waiting.frame.len());
        let is_behind = count > messages / 2 || weight > bytes / 2;
        let since = is_behind.then(|| state.behind_since.unwrap_or_else(Instant::now));
        state.behind_since = since;
        let is_slow = since.is_some_and(|since| since.elapsed() > PATIENCE);
        let is_taken = count == 0 || (count < messages && weight <= bytes && !is_slow);
        if is_taken {
            state.bytes = weight;
            state.frames.push_back(waiting);
        } else {
            state.fall_behind();
        }
        drop(state);
        self.changed.notify_one();
        let pace = if is_behind { Pace::Behind } else { Pace::Kept };
        Handed { is_taken, pace }
    }

    /// Ends the connection of a page that cannot keep up; it gets nothing from `first` on.
    pub(crate) fn overrun(&self, first: PushId) {
        if let Some(ledger) = self.ledger() {
            ledger.give_up(first);
        }
        self.lock().fall_behind();
        self.changed.notify_one();
    }

    /// Adds a text message.
    pub(crate) fn text(&self, text: &str) {
        self.add(super::frame::text(text));
    }

    /// Ends the connection once what waits is written.
    pub(crate) fn close(&self, close: Close) {
        self.lock().end.get_or_insert(close);
        self.changed.notify_one();
    }

    /// Takes the oldest frames that wait, up to so many, and no more once they have so many bytes.
    /// Those that `skips` names are dropped.
    pub(super) fn take(
        &self,
        into: &mut VecDeque<Waiting>,
        (frames, bytes): (usize, usize),
        skips: impl Fn(RecordId) -> bool,
    ) {
        let mut state = self.lock();
        let mut taken = 0;
        while into.len() < frames
            && taken < bytes
            && let Some(waiting) = state.frames.pop_front()
        {
            state.bytes -= waiting.frame.len();
            if !waiting.record.is_some_and(&skips) {
                taken += waiting.frame.len();
                into.push_back(waiting);
            }
        }
        if state.frames.is_empty() && state.frames.capacity() > SMALL_QUEUE {
            state.frames = VecDeque::new();
        }
    }

    /// How the connection is to end, if it is, once nothing waits.
    pub(super) fn end(&self) -> Option<Close> {
        let state = self.lock();
        state.end.clone().filter(|_| state.frames.is_empty())
    }

    /// Whether the connection is to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.lock().end.is_some()
    }

    /// What its end will be counted as.
    pub(super) fn ends_as(&self) -> Option<Reason> {
        self.lock().end.as_ref().map(|close| close.counts_as)
    }

    /// Lets [`Outbox::changed`] return at once.
    pub(super) fn touch(&self) {
        self.changed.notify_one();
    }

    /// Whether the page has fallen too far behind, so that it has to go even if it does not read.
    pub(super) fn is_overrun(&self) -> bool {
        self.lock().is_overrun
    }

    /// Waits until something was added since it was asked last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fall_behind(&mut self) {
        self.frames = VecDeque::new();
        self.bytes = 0;
        self.end = Some(Close::new(CloseCode::Again, "page cannot keep up"));
        self.is_overrun = true;
    }
}

impl From<Bytes> for Waiting {
    /// A frame that carries no record.
    fn from(frame: Bytes) -> Self {
        Self {
            frame,
            record: None,
            entered: None,
        }
    }
}

/// The code of a page whose claim is good no longer; those from 4000 on are ours to use.
const EXPIRED: CloseCode = CloseCode::Library(4001);

impl Close {
    /// The page's claim is good no longer.
    pub(crate) fn expired(why: &str) -> Self {
        Self {
            counts_as: Reason::Expired,
            ..Self::new(EXPIRED, why)
        }
    }

    /// What the page said cannot be accepted.
    pub(crate) fn refused(why: &str) -> Self {
        Self {
            counts_as: Reason::Refused,
            ..Self::new(CloseCode::Policy, why)
        }
    }

    pub(crate) fn new(code: CloseCode, reason: &str) -> Self {
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            code,
            reason: reason[..end].to_owned(),
            counts_as: Reason::Stopped,
        }
    }
}
