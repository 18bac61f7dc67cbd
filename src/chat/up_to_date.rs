//! Which users have a chat page that has been handed all that was missed. Another page of theirs
//! then has nothing to catch up with.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::uid::Uid;

/// Pages that are up to date, by user.
#[derive(Debug, Default)]
pub(crate) struct UpToDate(Mutex<HashMap<Uid, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it means that the page is gone"]
pub(crate) struct UpToDatePage {
    pages: Arc<UpToDate>,
    uid: Uid,
}

impl UpToDate {
    pub(crate) fn has(&self, uid: &Uid) -> bool {
        self.lock().contains_key(uid)
    }

    pub(crate) fn enter(self: &Arc<Self>, uid: Uid) -> UpToDatePage {
        *self.lock().entry(uid.clone()).or_insert(0) += 1;
        UpToDatePage {
            pages: Arc::clone(self),
            uid,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, usize>> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UpToDatePage {
    fn drop(&mut self) {
        if let Entry::Occupied(mut pages) = self.pages.lock().entry(self.uid.clone()) {
            *pages.get_mut() -= 1;
            if *pages.get() == 0 {
                pages.remove();
            }
        }
    }
}
