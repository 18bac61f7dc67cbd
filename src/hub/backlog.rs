//! The backlog: pushes that are on disk before they are answered, and wait there until each user they
//! are for has them for certain. Knows no SQL, and no pages.
//!
//! What waits together is made durable together, then delivered in the order of its numbers. Users
//! confirm by their pages: a page that has answered a heartbeat has what it was sent before.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config;
use crate::hub::Hub;
use crate::hub::commits::Commits;
use crate::hub::queue::{Load, Queue, Weight};
use crate::hub::recorder::KeepError;
use crate::metrics::Metrics;
use crate::push::{Delivery, Push, PushId, Target};
use crate::store::{Holder, MessageStore, Parcel, StoreError, Tally, Waiting};
use crate::uid::Uid;

pub use crate::store::Held;

/// How many users' confirmations may wait for the store; who is not among them gets some messages
/// again.
const MAX_CONFIRMED: usize = 100_000;

/// How many entries expire at a time: what waits to be kept gets its turn in between.
const EXPIRE_STEP: u32 = 1000;

/// See the module's text.
#[derive(Debug)]
pub struct Backlog {
    hub: Arc<Hub>,
    store: Arc<dyn MessageStore>,
    commits: Commits,
    metrics: Metrics,
    ttl: Duration,
    keep: Tally,
    jobs: Queue<Job>,
    /// What waits for whom.
    tallies: Mutex<HashMap<Holder, Tally>>,
    /// Confirmations on their way to the store.
    confirmed: Mutex<HashMap<Uid, PushId>>,
}

#[derive(Debug)]
enum Job {
    Keep(Push, oneshot::Sender<Result<Delivery, KeepError>>),
    /// To look at what users have confirmed.
    Confirm,
}

impl Weight for Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Keep(push, _) => push.content.event.len(),
            Self::Confirm => 0,
        }
    }
}

impl Backlog {
    /// A backlog in `store`.
    ///
    /// # Errors
    /// When the store cannot tell what waits already.
    pub async fn open(
        hub: Arc<Hub>,
        store: Arc<dyn MessageStore>,
        bounds: config::Backlog,
        (commits, metrics): (Commits, Metrics),
    ) -> Result<Arc<Self>, StoreError> {
        let tallies = store.tallies().await?.into_iter().collect();
        Ok(Arc::new(Self {
            hub,
            store,
            commits,
            metrics,
            ttl: bounds.ttl,
            keep: Tally {
                messages: bounds.max_messages,
                bytes: bounds.max_bytes.as_u64(),
            },
            jobs: Queue::new(),
            tallies: Mutex::new(tallies),
            confirmed: Mutex::default(),
        }))
    }

    /// Keeps a push to users or to everyone, then delivers it. Who is in a group, and who wants a
    /// topic, is known of live pages only: such a push is just delivered.
    ///
    /// # Errors
    /// When it was not kept; then it was not delivered either.
    pub async fn publish(&self, push: Push) -> Result<Delivery, KeepError> {
        if matches!(push.target, Target::Group(_) | Target::Topic(_)) {
            return Ok(self.hub.publish(push).await);
        }
        let (done, kept) = oneshot::channel();
        self.jobs
            .offer(Job::Keep(push, done))
            .map_err(|_| KeepError::Busy)?;
        // It is dropped only when the server ends.
        kept.await.unwrap_or(Err(KeepError::Busy))
    }

    /// A user has everything up to this one.
    pub fn confirm(&self, uid: &Uid, up_to: PushId) {
        if !self.may_hold(uid) {
            return;
        }
        let mut confirmed = lock(&self.confirmed);
        let is_full = confirmed.len() >= MAX_CONFIRMED;
        match confirmed.entry(uid.clone()) {
            Entry::Occupied(mut known) => {
                let up_to = up_to.max(*known.get());
                known.insert(up_to);
            }
            Entry::Vacant(_) if is_full => {
                tracing::debug!("confirmation dropped: too many wait");
                return;
            }
            Entry::Vacant(place) => {
                place.insert(up_to);
            }
        }
        drop(confirmed);
        // Where the queue is full there is work, and with it the confirmations are looked at.
        self.jobs.offer(Job::Confirm).ok();
    }

    /// Whether something may wait for a user.
    #[must_use]
    pub fn may_hold(&self, uid: &Uid) -> bool {
        let tallies = lock(&self.tallies);
        tallies.contains_key(&Holder::Everyone) || tallies.contains_key(&Holder::User(uid.clone()))
    }

    /// Up to `limit` pushes that wait for a user, after `after`, the oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn waiting(
        &self,
        uid: &Uid,
        after: PushId,
        limit: u32,
    ) -> Result<Vec<Held>, StoreError> {
        self.store.waiting(uid, after, self.oldest(), limit).await
    }

    /// What waits for all users together.
    #[must_use]
    pub fn size(&self) -> Tally {
        let mut size = Tally::default();
        for tally in lock(&self.tallies).values() {
            size += *tally;
        }
        size
    }

    /// Works until `stop` completes, then does what waits and returns.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        while let Some(jobs) = self.jobs.next(&mut stop).await {
            self.work(jobs).await;
        }
    }

    /// Removes what has waited for too long.
    pub async fn expire(&self) {
        loop {
            match self.store.expire(self.oldest(), EXPIRE_STEP).await {
                Ok(gone) if gone.is_empty() => return,
                Ok(gone) => self.subtract(&gone),
                Err(e) => {
                    tracing::warn!(error = &e as &dyn Error, "the backlog was not tidied up");
                    return;
                }
            }
        }
    }

    /// When what expires now was accepted, in milliseconds since 1970.
    fn oldest(&self) -> u64 {
        PushId::now().before(self.ttl).millis()
    }

    async fn work(&self, jobs: Vec<Job>) {
        let (mut batch, mut load) = (Vec::new(), Load::default());
        for job in jobs {
            let Job::Keep(push, done) = job else { continue };
            let addressees = match &push.target {
                Target::Users(uids) => uids.len(),
                Target::Everyone | Target::Group(_) | Target::Topic(_) => 1,
            };
            if !load.add(addressees, push.content.event.len()) {
                self.keep_all(std::mem::take(&mut batch)).await;
            }
            batch.push((push, done));
        }
        self.keep_all(batch).await;
        self.confirm_all().await;
    }

    async fn keep_all(&self, batch: Vec<(Push, oneshot::Sender<Result<Delivery, KeepError>>)>) {
        if batch.is_empty() {
            return;
        }
        let numbers = self.hub.draw(batch.len());
        let parcels = batch
            .iter()
            .zip(numbers)
            .map(|((push, _), id)| parcel(push, id));
        let parcels: Vec<Parcel> = parcels.collect();
        let kept = self.commits.watch(self.store.put(&parcels)).await;
        if let Err(e) = kept {
            let fault = Arc::new(e);
            for (_, done) in batch {
                // Who does not wait any more needs no answer.
                done.send(Err(KeepError::Store(Arc::clone(&fault)))).ok();
            }
            return;
        }
        let full = self.count(&parcels);
        for ((mut push, done), parcel) in batch.into_iter().zip(&parcels) {
            push.parcel = Some(parcel.id);
            done.send(Ok(self.hub.deliver_kept(push))).ok();
        }
        for holder in full {
            self.trim(&holder).await;
        }
    }

    /// Adds what was kept; gives those who have too much now.
    fn count(&self, parcels: &[Parcel]) -> HashSet<Holder> {
        let mut tallies = lock(&self.tallies);
        let mut full = HashSet::new();
        for parcel in parcels {
            let bytes = parcel.content.len() as u64;
            let holders = holders(&parcel.to);
            self.metrics.backlog_kept(holders.len() as u64);
            for holder in holders {
                let tally = tallies.entry(holder.clone()).or_default();
                *tally += Tally { messages: 1, bytes };
                if tally.messages > self.keep.messages || tally.bytes > self.keep.bytes {
                    full.insert(holder);
                }
            }
        }
        full
    }

    async fn trim(&self, holder: &Holder) {
        match self.store.trim(holder, self.keep).await {
            Ok((dropped, left)) => {
                tracing::debug!(dropped, ?holder, "the oldest of a full backlog went");
                self.metrics.backlog_dropped(dropped);
                self.set(holder.clone(), left);
            }
            Err(e) => tracing::debug!(error = &e as &dyn Error, "a full backlog was not trimmed"),
        }
    }

    async fn confirm_all(&self) {
        let confirmed = lock(&self.confirmed).clone();
        if confirmed.is_empty() {
            return;
        }
        let confirmed: Vec<_> = confirmed.into_iter().collect();
        match self.store.confirm(&confirmed).await {
            Ok(left) => {
                let mut waiting = lock(&self.confirmed);
                for (uid, up_to) in &confirmed {
                    if waiting.get(uid) == Some(up_to) {
                        waiting.remove(uid);
                    }
                }
                drop(waiting);
                for ((uid, _), left) in confirmed.into_iter().zip(left) {
                    let gone = self.set(Holder::User(uid), left);
                    self.metrics.backlog_confirmed(gone);
                }
            }
            // They stay, and are tried again with the next.
            Err(e) => tracing::debug!(error = &e as &dyn Error, "nothing was confirmed"),
        }
    }

    /// Notes what is left; says how many messages fewer that is.
    fn set(&self, holder: Holder, left: Tally) -> u64 {
        let mut tallies = lock(&self.tallies);
        let before = if left.messages == 0 {
            tallies.remove(&holder)
        } else {
            tallies.insert(holder, left)
        };
        before
            .unwrap_or_default()
            .messages
            .saturating_sub(left.messages)
    }

    fn subtract(&self, gone: &[(Holder, Tally)]) {
        let mut tallies = lock(&self.tallies);
        for (holder, gone) in gone {
            self.metrics.backlog_expired(gone.messages);
            if let Entry::Occupied(mut tally) = tallies.entry(holder.clone()) {
                *tally.get_mut() -= *gone;
                if tally.get().messages == 0 {
                    tally.remove();
                }
            }
        }
    }
}

fn parcel(push: &Push, id: PushId) -> Parcel {
    Parcel {
        id,
        to: match &push.target {
            Target::Users(uids) => Waiting::Users(uids.clone()),
            Target::Everyone | Target::Group(_) | Target::Topic(_) => Waiting::Everyone,
        },
        at: id.millis(),
        content: Arc::clone(&push.content.event),
    }
}

fn holders(to: &Waiting) -> Vec<Holder> {
    match to {
        Waiting::Everyone => vec![Holder::Everyone],
        Waiting::Users(uids) => uids.iter().cloned().map(Holder::User).collect(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
