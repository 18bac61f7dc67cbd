//! What one page has joined, and how much of it waits to be kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::chat::SendError;
use crate::chat::request::Recipient;
use crate::group::Group;
use crate::hub::{Hub, Joined};

/// How many messages of one page may wait to be kept.
const MAX_IN_FLIGHT: usize = 256;

/// How many bytes of them. Well below what may wait for a page: who is sent so much at once must
/// have time to read it.
const MAX_BYTES_IN_FLIGHT: usize = 256 * 1024;

/// The groups that a page has joined. `R` is its place in each group's room.
#[derive(Debug)]
pub(crate) struct JoinedGroups<R>(HashMap<Group, (Joined, R)>);

impl<R> JoinedGroups<R> {
    /// The most groups that a page may join.
    const MAX: usize = 1000;

    /// Joins a group; `enter` puts the page into its room. Once is enough.
    pub(crate) fn join(
        &mut self,
        group: Group,
        hub: &Arc<Hub>,
        enter: impl FnOnce(&Group) -> R,
    ) -> Result<(), SendError> {
        let is_full = self.0.len() >= Self::MAX;
        match self.0.entry(group) {
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(_) if is_full => Err(SendError::TooManyGroups(Self::MAX)),
            Entry::Vacant(place) => {
                // It can be found before it is counted.
                let room = enter(place.key());
                let joined = hub.join(place.key().clone());
                place.insert((joined, room));
                Ok(())
            }
        }
    }

    /// Which they are.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Group> {
        self.0.keys()
    }

    /// The page's places in their rooms.
    pub(crate) fn rooms(&mut self) -> impl Iterator<Item = &mut R> {
        self.0.values_mut().map(|(_, room)| room)
    }

    /// Leaves a group; the page's place in its room is the caller's to give up.
    pub(crate) fn leave(&mut self, group: &Group) -> Option<R> {
        self.0.remove(group).map(|(_, room)| room)
    }

    /// Only who hears a group may talk to it, or read it.
    pub(crate) fn may_address(&self, recipient: &Recipient) -> Result<(), SendError> {
        match recipient {
            Recipient::Group(group) if !self.0.contains_key(group) => {
                Err(SendError::NotJoined(group.clone()))
            }
            Recipient::Group(_) | Recipient::Users(_) => Ok(()),
        }
    }
}

impl<R> Default for JoinedGroups<R> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// The messages of a page that wait to be kept.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    count: AtomicUsize,
    bytes: AtomicUsize,
    changed: Notify,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Landing {
    home: Arc<InFlight>,
    bytes: usize,
}

impl InFlight {
    /// Whether another may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.count.load(Ordering::SeqCst) < MAX_IN_FLIGHT
            && self.bytes.load(Ordering::SeqCst) < MAX_BYTES_IN_FLIGHT
    }

    /// Waits until none is left.
    pub(crate) async fn all_landed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Before the count is asked, so that no landing falls between.
            changed.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Waits until one has landed. For one caller at a time.
    pub(crate) async fn landed(&self) {
        self.changed.notified().await;
    }

    /// Whether none is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// One more, of so many bytes.
    pub(crate) fn begin(self: &Arc<Self>, bytes: usize) -> Landing {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        Landing {
            home: Arc::clone(self),
            bytes,
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.home.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.home.count.fetch_sub(1, Ordering::SeqCst);
        self.home.changed.notify_waiters();
        // For one who is about to wait.
        self.home.changed.notify_one();
    }
}
