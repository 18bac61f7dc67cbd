//! The one place where messages are kept before they are delivered: what waits together is made
//! durable together, and then delivered in the order of its numbers.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc};

use crate::hub::Hub;
use crate::push::{Push, Recorded};
use crate::record::{Draft, RecordId};
use crate::store::{MessageStore, StoreError};
use crate::uid::Uid;

/// How many messages may wait to be kept.
const MAX_WAITING: usize = 16_384;

/// How many are made durable at once.
const MAX_BATCH: usize = 4096;

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
    Cursor(Uid, RecordId),
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
        })
    }

    /// What is kept, to be read.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn MessageStore> {
        &self.store
    }

    /// Takes a message to be kept. `keep.done` is called in any case, at once if too many wait.
    pub fn keep(&self, keep: Keep) {
        let refused = self.jobs.try_send(Job::Keep(keep));
        if let Err(TrySendError::Full(job) | TrySendError::Closed(job)) = refused
            && let Job::Keep(Keep { done, .. }) = job
        {
            done(Err(KeepError::Busy));
        }
    }

    /// Notes how far a user has been handed what was for them. Should it fail, the user gets some
    /// of it again at the next login.
    pub fn move_cursor(&self, uid: Uid, handed: RecordId) {
        if self.jobs.try_send(Job::Cursor(uid, handed)).is_err() {
            tracing::debug!("cursor not moved: too much waits");
        }
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
        let (mut drafts, mut nexts, mut cursors) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Keep(Keep { draft, push, done }) => {
                    drafts.push(draft);
                    nexts.push((push, done));
                }
                Job::Cursor(uid, handed) => {
                    // The later of two for one user counts.
                    cursors.retain(|(known, _)| *known != uid);
                    cursors.push((uid, handed));
                }
            }
        }
        if !drafts.is_empty() {
            let appended = self.store.append(&drafts).await;
            self.note(appended.as_ref().err());
            match appended.map_err(|e| KeepError::Store(Arc::new(e))) {
                Ok(first) => {
                    for ((draft, id), (push, done)) in drafts.into_iter().zip(first.0..).zip(nexts)
                    {
                        done(Ok(self.deliver(RecordId(id), draft, push)));
                    }
                }
                Err(fault) => nexts
                    .into_iter()
                    .for_each(|(_, done)| done(Err(fault.clone()))),
            }
        }
        if !cursors.is_empty()
            && let Err(e) = self.store.move_cursors(&cursors).await
        {
            tracing::debug!(error = &e as &dyn Error, "cursors were not moved");
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
