//! The one place where messages are kept before they are delivered: what waits together is made
//! durable together, and then delivered in the order of its numbers.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::Hub;
use crate::hub::commits::Commits;
use crate::hub::queue::{Load, Queue, Weight};
use crate::push::{Push, Recorded};
use crate::record::{Draft, RecordId};
use crate::store::{MessageStore, StoreError};
use crate::uid::Uid;

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

#[derive(Debug)]
enum Job {
    Keep(Keep),
    /// To look at the cursors that are to be moved.
    Cursors,
}

impl Weight for Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Keep(keep) => keep.draft.body.len(),
            Self::Cursors => 0,
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Recorder {
    hub: Arc<Hub>,
    store: Arc<dyn MessageStore>,
    jobs: Queue<Job>,
    /// The newest record whose delivery has begun.
    begun: AtomicU64,
    commits: Commits,
    /// Cursors on their way to the store.
    moving: Mutex<HashMap<Uid, RecordId>>,
}

impl Recorder {
    /// A recorder that keeps in `store`, whose newest record is `newest`, and delivers by `hub`.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        store: Arc<dyn MessageStore>,
        newest: RecordId,
        commits: Commits,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            store,
            jobs: Queue::new(),
            begun: AtomicU64::new(newest.0),
            commits,
            moving: Mutex::default(),
        })
    }

    /// What is kept, to be read.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn MessageStore> {
        &self.store
    }

    /// Takes a message to be kept. `keep.done` is called in any case, at once if too many wait.
    pub fn keep(&self, keep: Keep) {
        if let Err(Job::Keep(Keep { done, .. })) = self.jobs.offer(Job::Keep(keep)) {
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
        self.jobs.offer(Job::Cursors).ok();
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
        let mut stop = std::pin::pin!(stop);
        while let Some(jobs) = self.jobs.next(&mut stop).await {
            self.work(jobs).await;
        }
    }

    async fn work(&self, jobs: Vec<Job>) {
        let (mut batch, mut load) = (Vec::new(), Load::default());
        for job in jobs {
            let Job::Keep(keep) = job else { continue };
            if !load.add(keep.draft.addressees.len(), keep.draft.body.len()) {
                self.keep_all(std::mem::take(&mut batch)).await;
            }
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
        let appended = self.commits.watch(self.store.append(&drafts)).await;
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
            delivered = self.hub.deliver(push);
        }
        Kept { id, delivered }
    }
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keep")
            .field("draft", &self.draft)
            .finish_non_exhaustive()
    }
}
