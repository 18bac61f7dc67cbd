//! The one place where messages are kept before they are delivered: what waits together is made
//! durable together, and then delivered in the order of its numbers.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc};

use crate::hub::Hub;
use crate::push::{Push, Recorded};
use crate::record::{Draft, RecordId};
use crate::store::{MessageStore, StoreError};
use crate::uid::Uid;

/// How many messages may wait to be kept.
const MAX_WAITING: usize = 16_384;

/// How many bytes of them.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// How many are taken from the queue at once.
const MAX_BATCH: usize = 4096;

/// What is made durable at once, in addressees and bytes: a batch has to be done well within the
/// store's timeout, whatever its messages are.
const MAX_ADDRESSEES: usize = 8192;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How many cursors may wait for the store.
const MAX_MOVING: usize = 100_000;

/// A message that is to be kept, and what follows.
pub struct Keep {
    /// What is kept.
    pub draft: Draft,
    /// What is delivered once it is kept; `None` delivers nothing.
    pub push: Option<Push>,
    /// Told, in the order of the numbers, what became of it. Must not block.
    pub done: Box<dyn FnOnce(Result<Kept, KeepError>) + Send>,
}

/// A message that is durable, and delivered to whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub id: RecordId,
    /// How many sessions it concerned when it was delivered.
    pub delivered: usize,
}

/// Why a message was not delivered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeepError {
    /// Too many wait already; it was not kept.
    #[error("too many messages wait to be kept")]
    Busy,
    /// The store did not keep it, or cannot say whether it did.
    #[error("the message was not kept")]
    Store(#[source] Arc<StoreError>),
}

enum Job {
    Keep(Keep),
    /// To look at the cursors that are to be moved.
    Cursors,
}

/// See the module's text.
#[derive(Debug)]
pub struct Recorder {
    hub: Arc<Hub>,
    store: Arc<dyn MessageStore>,
    jobs: mpsc::Sender<Job>,
    waiting: Mutex<mpsc::Receiver<Job>>,
    /// The newest record whose delivery has begun.
    begun: AtomicU64,
    is_failing: AtomicBool,
    /// Bytes of the messages that wait.
    waiting_bytes: AtomicUsize,
    /// Cursors on their way to the store.
    moving: StdMutex<HashMap<Uid, RecordId>>,
}

impl Recorder {
    /// A recorder that keeps in `store`, whose newest record is `newest`, and delivers by `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, store: Arc<dyn MessageStore>, newest: RecordId) -> Arc<Self> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        Arc::new(Self {
            hub,
            store,
            jobs,
            waiting: Mutex::new(waiting),
            begun: AtomicU64::new(newest.0),
            is_failing: AtomicBool::new(false),
            waiting_bytes: AtomicUsize::new(0),
            moving: StdMutex::default(),
        })
    }

    /// What is kept, to be read.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn MessageStore> {
        &self.store
    }

    /// Takes a message to be kept. `keep.done` is called in any case, at once if too many wait.
    pub fn keep(&self, keep: Keep) {
        let bytes = keep.draft.body.len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let refused = if waiting + bytes > MAX_WAITING_BYTES && waiting > 0 {
            Err(TrySendError::Full(Job::Keep(keep)))
        } else {
            self.jobs.try_send(Job::Keep(keep))
        };
        if let Err(TrySendError::Full(job) | TrySendError::Closed(job)) = refused
            && let Job::Keep(Keep { done, .. }) = job
        {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            done(Err(KeepError::Busy));
        }
    }

    /// Notes how far a user has been handed what was for them. Should it fail, the user gets some
    /// of it again at the next login.
    pub fn move_cursor(&self, uid: Uid, handed: RecordId) {
        let mut moving = self.moving();
        if moving.len() >= MAX_MOVING && !moving.contains_key(&uid) {
            tracing::debug!("cursor not moved: too many wait");
            return;
        }
        let cursor = moving.entry(uid).or_default();
        *cursor = handed.max(*cursor);
        drop(moving);
        // Where the queue is full there is work, and with it the cursors are looked at.
        self.jobs.try_send(Job::Cursors).ok();
    }

    /// Up to which record a user has been handed what was for them; the first for one who was
    /// never here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn cursor(&self, uid: &Uid) -> Result<RecordId, StoreError> {
        // Asked in this order: what leaves the one is in the other by then.
        let moving = self.moving().get(uid).copied().unwrap_or_default();
        let kept = self.store.cursor(uid).await?.unwrap_or_default();
        Ok(kept.max(moving))
    }

    fn moving(&self) -> MutexGuard<'_, HashMap<Uid, RecordId>> {
        // Nothing that can panic runs under this lock.
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest record whose delivery has begun. A page that has joined its room before it asks
    /// gets every later one live; this one and earlier ones it can read from the store.
    #[must_use]
    pub fn begun(&self) -> RecordId {
        RecordId(self.begun.load(Ordering::SeqCst))
    }

    /// Works until `stop` completes, then does what waits and returns.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut waiting = self.waiting.lock().await;
        let mut jobs = Vec::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                _ = waiting.recv_many(&mut jobs, MAX_BATCH) => self.work(&mut jobs).await,
                () = &mut stop => break,
            }
        }
        waiting.close();
        while waiting.recv_many(&mut jobs, MAX_BATCH).await > 0 {
            self.work(&mut jobs).await;
        }
    }

    async fn work(&self, jobs: &mut Vec<Job>) {
        let (mut batch, mut addressees, mut bytes) = (Vec::new(), 0, 0);
        for job in jobs.drain(..) {
            let Job::Keep(keep) = job else { continue };
            let (more, weight) = (keep.draft.addressees.len(), keep.draft.body.len());
            self.waiting_bytes.fetch_sub(weight, Ordering::Relaxed);
            if addressees + more > MAX_ADDRESSEES || bytes + weight > MAX_BYTES {
                self.keep_all(std::mem::take(&mut batch)).await;
                (addressees, bytes) = (0, 0);
            }
            (addressees, bytes) = (addressees + more, bytes + weight);
            batch.push(keep);
        }
        self.keep_all(batch).await;
        self.move_cursors().await;
    }

    async fn keep_all(&self, keeps: Vec<Keep>) {
        if keeps.is_empty() {
            return;
        }
        let (mut drafts, mut nexts) = (Vec::new(), Vec::new());
        for Keep { draft, push, done } in keeps {
            drafts.push(draft);
            nexts.push((push, done));
        }
        let appended = self.store.append(&drafts).await;
        self.note(appended.as_ref().err());
        match appended.map_err(|e| KeepError::Store(Arc::new(e))) {
            Ok(first) => {
                for ((draft, id), (push, done)) in drafts.into_iter().zip(first.0..).zip(nexts) {
                    done(Ok(self.deliver(RecordId(id), draft, push)));
                }
            }
            Err(fault) => nexts
                .into_iter()
                .for_each(|(_, done)| done(Err(fault.clone()))),
        }
    }

    async fn move_cursors(&self) {
        let cursors: Vec<_> = self
            .moving()
            .iter()
            .map(|(uid, id)| (uid.clone(), *id))
            .collect();
        if cursors.is_empty() {
            return;
        }
        match self.store.move_cursors(&cursors).await {
            Ok(()) => {
                let mut moving = self.moving();
                for (uid, moved) in &cursors {
                    if moving.get(uid) == Some(moved) {
                        moving.remove(uid);
                    }
                }
            }
            Err(e) => tracing::debug!(error = &e as &dyn Error, "cursors were not moved"),
        }
    }

    fn deliver(&self, id: RecordId, draft: Draft, push: Option<Push>) -> Kept {
        // Before the delivery: a page that joins its room now must find it in the store.
        self.begun.store(id.0, Ordering::SeqCst);
        let mut delivered = 0;
        if let Some(mut push) = push {
            push.record = Some(Recorded {
                id,
                at: draft.at,
                sender: draft.sender,
            });
            delivered = self.hub.deliver(&push);
        }
        Kept { id, delivered }
    }

    /// Tells when the store begins to fail, and when it is well again; not of each message.
    fn note(&self, fault: Option<&StoreError>) {
        let was_failing = self.is_failing.swap(fault.is_some(), Ordering::Relaxed);
        match fault {
            Some(e) if !was_failing => {
                tracing::error!(error = e as &dyn Error, "the store fails: nothing is kept");
            }
            None if was_failing => tracing::info!("the store is well again"),
            Some(_) | None => {}
        }
    }
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keep")
            .field("draft", &self.draft)
            .finish_non_exhaustive()
    }
}
