//! Counts of sessions by uid. Knows neither sockets nor pushes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::uid::Uid;

/// How many are online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Presence {
    /// Users with at least one session; all guests together count as one.
    pub users: usize,
    /// Sessions: pages that have logged in.
    pub pages: usize,
}

/// Sessions by uid, and guests, whose uid is `None`.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sessions: HashMap<Uid, usize>,
    guests: usize,
    pages: usize,
}

/// Below this many slots the table is left alone; see [`Counts::shrink`].
const SMALL_TABLE: usize = 1024;

impl Registry {
    /// Counts a session. True when it is the first of its user.
    pub(super) fn add(&self, uid: Option<&Uid>) -> bool {
        let mut counts = self.lock();
        counts.pages += 1;
        let Some(uid) = uid else {
            counts.guests += 1;
            return false;
        };
        let sessions = counts.sessions.entry(uid.clone()).or_insert(0);
        *sessions += 1;
        *sessions == 1
    }

    /// Counts a session no more. True when it was the last of its user.
    pub(super) fn remove(&self, uid: Option<&Uid>) -> bool {
        let mut counts = self.lock();
        counts.pages -= 1;
        let Some(uid) = uid else {
            counts.guests -= 1;
            return false;
        };
        let Entry::Occupied(mut entry) = counts.sessions.entry(uid.clone()) else {
            return false;
        };
        *entry.get_mut() -= 1;
        if *entry.get() > 0 {
            return false;
        }
        entry.remove();
        counts.shrink();
        true
    }

    pub(super) fn sessions(&self, uid: &Uid) -> usize {
        self.lock().sessions.get(uid).copied().unwrap_or(0)
    }

    pub(super) fn presence(&self) -> Presence {
        let counts = self.lock();
        Presence {
            users: counts.sessions.len() + usize::from(counts.guests > 0),
            pages: counts.pages,
        }
    }

    pub(super) fn users(&self, limit: usize) -> Vec<(Uid, usize)> {
        let counts = self.lock();
        let users = counts.sessions.iter().take(limit);
        users.map(|(uid, pages)| (uid.clone(), *pages)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No code that can panic runs under this lock, and counts stay consistent if one did.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// A table that once held a large crowd gives its memory back when the crowd has left.
    fn shrink(&mut self) {
        if self.sessions.capacity() > SMALL_TABLE
            && self.sessions.len() < self.sessions.capacity() / 8
        {
            self.sessions.shrink_to(self.sessions.len() * 2);
        }
    }
}
