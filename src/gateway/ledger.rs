//! What one page has been handed, and how much of that has arrived.
//!
//! On a raw websocket that is simple: the queue is ours, and so is the writing. On Socket.IO
//! socketioxide tells neither how full a page's queue is, nor which page a broadcast passed over, nor
//! what became of a packet. So each message is entered here, under the lock of the hub that orders
//! them, before it is put into the page's queue; and it is struck off as it is seen to leave: in the
//! bytes that the kernel takes (`socketio::wire`), or in the answer to a poll. The queue in
//! socketioxide has more places than are used here, so it is never full; should a message vanish in it
//! all the same, the next one that leaves is not the one that is expected, and the page is cut.
//!
//! From this follows where a page that comes back begins, by how its connection ended:
//!
//! | end | the page has |
//! |---|---|
//! | a closing frame, a disconnect packet, the server's goodbye | what its kernel had acknowledged by then |
//! | the connection broke, or we cut it | the same, less what was accepted within `recovery.rewind` |
//! | it did not answer the heartbeat | what had left before the last one that it answered |
//!
//! A page that polls has what was in an answer once it has polled again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::push::PushId;

/// How much may wait for one page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Messages.
    pub(super) messages: usize,
    /// Bytes. One message above it still waits if it is alone.
    pub(super) bytes: usize,
}

/// How a page's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The page said goodbye.
    Left,
    /// The server did, since it stops.
    Stopped,
    /// It broke, or we cut it.
    Broken,
    /// The page did not answer any more.
    Silent,
}

/// Whether there is room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It may be put into the queue.
    Kept,
    /// The same; but the queue is more than half full.
    Behind,
    /// There is none: the page has to go.
    Full,
    /// The page is being cut.
    Gone,
}

/// A message that is for the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: PushId,
    /// Its number in the backlog; the least where it is not kept there.
    pub(super) parcel: PushId,
    /// The length of its packet.
    pub(super) length: usize,
    /// It reaches the page live while that catches up with what is older, and says nothing of how far.
    pub(super) is_early: bool,
}

/// See the module's text.
pub(super) struct Ledger {
    bounds: Bounds,
    state: Mutex<State>,
    /// Who wants to know what of the backlog the page has for certain.
    confirms: OnceLock<Confirms>,
}

/// Told the number up to which the page has what was kept for it. Must not block.
pub(super) type Confirms = Box<dyn Fn(PushId) + Send + Sync>;

#[derive(Debug, Default)]
struct State {
    /// In the queue.
    waiting: VecDeque<Entry>,
    waiting_bytes: usize,
    /// Out of it by polls that have not been followed by another.
    polled: VecDeque<PushId>,
    /// Out of it, and not known to have arrived.
    under_way: VecDeque<UnderWay>,
    /// Where `under_way` is looked through next.
    prune_at: usize,
    /// The last that left the queue.
    left: Mark,
    /// The last that had left when the page was asked for life, while it has not answered.
    asked: Option<Mark>,
    /// The last that had left when the page was asked for life and then answered.
    confirmed: Mark,
    /// The page got nothing from this one on.
    gap: Option<PushId>,
}

#[derive(Debug)]
struct UnderWay {
    id: PushId,
    /// Where its last byte stands among all that were written.
    end: u64,
}

/// Something else left than what was expected.
#[derive(Debug)]
struct Unexpected;

/// How far a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    id: PushId,
    /// The last of the backlog.
    parcel: PushId,
}

/// So many messages may be under way before the kernel is asked which have arrived.
const FEW: usize = 32;

/// A list that has grown beyond this gives its memory back when it is empty.
const SMALL: usize = 256;

impl Ledger {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
            confirms: OnceLock::new(),
        }
    }

    /// Tells `confirms` from now on, and of what has been confirmed before. The first call counts.
    pub(super) fn on_confirmed(&self, confirms: Confirms) {
        let confirms = self.confirms.get_or_init(|| confirms);
        let confirmed = self.lock().confirmed.parcel;
        if confirmed > PushId::default() {
            confirms(confirmed);
        }
    }

    /// The page has shown life.
    pub(super) fn answered(&self) {
        let answered = |state: &mut State| state.asked.take();
        self.confirm(answered);
    }

    /// The page has polled again: it has what was in the answers before.
    pub(super) fn polled_again(&self) {
        self.confirm(|state| {
            state.polled.clear();
            Some(state.left)
        });
    }

    /// The page has everything up to what `mark` gives.
    fn confirm(&self, mark: impl FnOnce(&mut State) -> Option<Mark>) {
        let mut state = self.lock();
        let Some(mark) = mark(&mut state) else { return };
        let before = std::mem::replace(&mut state.confirmed, mark);
        drop(state);
        if mark.parcel > before.parcel
            && let Some(confirms) = self.confirms.get()
        {
            confirms(mark.parcel);
        }
    }

    /// Enters a message that is about to be put into the page's queue.
    pub(super) fn enter(&self, entry: Entry) -> Entered {
        let Bounds { messages, bytes } = self.bounds;
        let mut state = self.lock();
        if state.gap.is_some() {
            return Entered::Gone;
        }
        let (waiting, weight) = (state.waiting.len(), state.waiting_bytes + entry.length);
        if waiting > 0 && (waiting >= messages || weight > bytes) {
            state.gap = Some(entry.id);
            return Entered::Full;
        }
        state.waiting_bytes = weight;
        let id = if entry.is_early {
            PushId::default()
        } else {
            entry.id
        };
        state.waiting.push_back(Entry { id, ..entry });
        if waiting > messages / 2 || weight > bytes / 2 {
            Entered::Behind
        } else {
            Entered::Kept
        }
    }

    /// Whether a message of so many bytes may be added while the page catches up: what is live needs
    /// room too, and comes faster than the page can be waited for.
    pub(super) fn has_room(&self, length: usize) -> bool {
        let state = self.lock();
        let Bounds { messages, bytes } = self.bounds;
        state.waiting.is_empty()
            || (state.waiting.len() < messages / 2 && state.waiting_bytes + length <= bytes / 2)
    }

    /// The page got nothing from `first` on, and is to be cut.
    pub(super) fn give_up(&self, first: PushId) {
        self.lock().gap.get_or_insert(first);
    }

    /// Looks at what leaves the queue.
    pub(super) fn leaving(&self) -> Leaving<'_> {
        Leaving { state: self.lock() }
    }

    /// The oldest message that has not arrived for certain; the first `arrived` bytes have.
    pub(super) fn oldest_in_flight(&self, arrived: Option<u64>) -> Option<PushId> {
        let mut state = self.lock();
        state.prune(arrived);
        state.oldest()
    }

    /// Up to which message the page has everything; `arrived` bytes have, and `newest` is the last
    /// that could have been handed to it.
    pub(super) fn reached(
        &self,
        end: End,
        arrived: Option<u64>,
        rewind: Duration,
        newest: PushId,
    ) -> PushId {
        let mut state = self.lock();
        state.prune(arrived);
        if end == End::Left && arrived.is_none() {
            // A page that polls and says goodbye has had its answers.
            state.polled.clear();
        }
        let mut oldest_missing = state.oldest();
        if end == End::Silent && state.left != state.confirmed {
            // Whatever its kernel has acknowledged.
            oldest_missing = Some(PushId(state.confirmed.id.0 + 1));
        }
        let missing = [oldest_missing, state.gap].into_iter().flatten().min();
        let before = |first: PushId| PushId(first.0.saturating_sub(1));
        // A page may be given up from later on than it has read.
        let reached = missing.map_or(newest, before).min(newest);
        match end {
            // The clock may have been set back.
            End::Broken => reached.min(PushId::now().max(newest).before(rewind)),
            End::Left | End::Stopped | End::Silent => reached,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A look at what leaves a page's queue, while nothing is put into it.
#[derive(Debug)]
pub(super) struct Leaving<'a> {
    state: MutexGuard<'a, State>,
}

impl Leaving<'_> {
    /// A message of so many bytes has left by the answer to a poll. False when it is not the one that
    /// was expected: something was lost.
    #[must_use]
    pub(super) fn polled(&mut self, length: usize) -> bool {
        let left = self.left(length);
        if let Ok(Some(id)) = left {
            self.state.polled.push_back(id);
        }
        left.is_ok()
    }

    /// A message has left over the websocket; its last byte is number `end`. Otherwise the same.
    #[must_use]
    pub(super) fn message(&mut self, length: usize, end: u64) -> bool {
        let left = self.left(length);
        if let Ok(Some(id)) = left {
            // A page that has been upgraded has had the answers to its polls.
            self.state.polled.clear();
            self.state.under_way.push_back(UnderWay { id, end });
        }
        left.is_ok()
    }

    /// Takes what leaves out of the queue; nothing once the page is given up.
    fn left(&mut self, length: usize) -> Result<Option<PushId>, Unexpected> {
        let state = &mut *self.state;
        if state.gap.is_some() {
            return Ok(None);
        }
        let Some(entry) = state.waiting.pop_front() else {
            return Err(Unexpected);
        };
        if entry.length != length {
            state.gap = Some(entry.id);
            return Err(Unexpected);
        }
        state.waiting_bytes -= length;
        state.left = Mark {
            id: entry.id.max(state.left.id),
            parcel: entry.parcel.max(state.left.parcel),
        };
        if state.waiting.is_empty() && state.waiting.capacity() > SMALL {
            state.waiting = VecDeque::new();
        }
        Ok(Some(entry.id))
    }

    /// The page is asked for life.
    pub(super) fn heartbeat(&mut self) {
        let left = self.state.left;
        self.state.asked.get_or_insert(left);
    }

    /// Whether so much is under way that it is time to ask how much has arrived.
    pub(super) fn is_long(&self) -> bool {
        self.state.under_way.len() >= self.state.prune_at.max(FEW)
    }

    /// The first so many bytes have arrived.
    pub(super) fn arrived(&mut self, bytes: Option<u64>) {
        self.state.prune(bytes);
        self.state.prune_at = self.state.under_way.len() * 2;
    }
}

impl State {
    fn prune(&mut self, arrived: Option<u64>) {
        let Some(arrived) = arrived else { return };
        let gone = self.under_way.partition_point(|sent| sent.end <= arrived);
        self.under_way.drain(..gone);
        if self.under_way.is_empty() && self.under_way.capacity() > SMALL {
            self.under_way = VecDeque::new();
        }
    }

    fn oldest(&self) -> Option<PushId> {
        let polled = self.polled.iter().copied();
        let under_way = self.under_way.iter().map(|sent| sent.id);
        let waiting = self.waiting.iter().map(|entry| entry.id);
        // Parcels of earlier days have no place in the log, and wait elsewhere. All others are in order.
        let mut all = polled.chain(under_way).chain(waiting);
        all.find(|id| *id > PushId::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bounds, End, Ledger};
    use crate::push::PushId;

    #[test]
    fn a_page_that_is_given_up_from_later_on_has_no_more_than_it_was_handed() {
        let bounds = Bounds {
            messages: 8,
            bytes: 1024,
        };
        let ledger = Ledger::new(bounds);
        ledger.give_up(PushId(100));
        let reached = ledger.reached(End::Stopped, None, Duration::ZERO, PushId(7));
        assert_eq!(reached, PushId(7));
    }
}
