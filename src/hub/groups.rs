//! How many sessions each group has. Knows no sockets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::group::Group;

/// Sessions by group; a group without sessions is not there.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<HashMap<Group, usize>>);

impl Groups {
    pub(super) fn sessions(&self, group: &Group) -> usize {
        self.lock().get(group).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Group, usize>> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's membership, counted until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the group"]
pub struct Joined {
    hub: Arc<super::Hub>,
    group: Group,
}

impl Joined {
    pub(super) fn new(hub: Arc<super::Hub>, group: Group) -> Self {
        *hub.groups.lock().entry(group.clone()).or_insert(0) += 1;
        Self { hub, group }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Entry::Occupied(mut sessions) = self.hub.groups.lock().entry(self.group.clone()) {
            *sessions.get_mut() -= 1;
            if *sessions.get() == 0 {
                sessions.remove();
            }
        }
    }
}
