//! Users whose coming and going somebody wants to know. Knows no sockets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::uid::Uid;

/// The users that are watched, and those of them who came or went since they were asked for.
#[derive(Debug, Default)]
pub(super) struct Watches {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    watchers: HashMap<Uid, usize>,
    /// Only watched users, so that it is bounded by them.
    changed: HashSet<Uid>,
}

impl Watches {
    /// Notes that a user has come or gone.
    pub(super) fn note(&self, uid: &Uid) {
        let mut state = self.lock();
        if state.watchers.contains_key(uid) && state.changed.insert(uid.clone()) {
            self.changed.notify_one();
        }
    }

    /// Waits for one of them.
    pub(super) async fn changed(&self) -> Uid {
        loop {
            if let Some(uid) = self.take() {
                return uid;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Uid> {
        let mut state = self.lock();
        let uid = state.changed.iter().next().cloned()?;
        state.changed.take(&uid)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's wish to know of a user, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watched {
    hub: Arc<super::Hub>,
    uid: Uid,
}

impl Watched {
    pub(super) fn new(hub: Arc<super::Hub>, uid: Uid) -> Self {
        *hub.watches.lock().watchers.entry(uid.clone()).or_insert(0) += 1;
        Self { hub, uid }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = self.hub.watches.lock();
        let Some(watchers) = state.watchers.get_mut(&self.uid) else {
            return;
        };
        *watchers -= 1;
        if *watchers == 0 {
            state.watchers.remove(&self.uid);
            state.changed.remove(&self.uid);
        }
    }
}
