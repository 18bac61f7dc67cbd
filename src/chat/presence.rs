//! Who is told when users come and go. A user who is back within the grace was never away.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, Watched};
use crate::uid::Uid;

/// Tells one page; must not block.
pub(crate) type Tell = Box<dyn Fn(&Uid, bool) + Send + Sync>;

/// See the module's text.
pub(crate) struct Presences {
    hub: Arc<Hub>,
    grace: Duration,
    users: Mutex<HashMap<Uid, Watchers>>,
    next: AtomicU64,
}

struct Watchers {
    /// What they were told last.
    online: bool,
    pages: HashMap<u64, Tell>,
    /// Held for its `Drop`, which ends the hub's watch.
    _watched: Watched,
}

/// One page's watch over one user, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub(crate) struct Watching {
    presences: Arc<Presences>,
    uid: Uid,
    id: u64,
}

impl Presences {
    pub(super) fn new(hub: Arc<Hub>, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            hub,
            grace,
            users: Mutex::default(),
            next: AtomicU64::default(),
        })
    }

    /// Tells whether `uid` is online now, and from now on when that changes.
    pub(crate) fn watch(self: &Arc<Self>, uid: Uid, tell: Tell) -> Watching {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut users = self.lock();
        let watchers = users.entry(uid.clone()).or_insert_with(|| {
            // Watched before it is asked, so that no change falls between.
            let watched = self.hub.watch(uid.clone());
            Watchers {
                online: self.hub.is_online(&uid),
                pages: HashMap::new(),
                _watched: watched,
            }
        });
        tell(&uid, watchers.online);
        watchers.pages.insert(id, tell);
        drop(users);
        Watching {
            presences: Arc::clone(self),
            uid,
            id,
        }
    }

    /// Tells of changes until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        // The grace is the same for all, so that the first to leave is the first to be told of.
        let mut leaving: VecDeque<(Instant, Uid)> = VecDeque::new();
        // When each of them is due; who has come back is not due any more.
        let mut due_at: HashMap<Uid, Instant> = HashMap::new();
        loop {
            let due = leaving.front().map(|(due, _)| *due);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                uid = self.hub.changed_user() => {
                    if self.hub.is_online(&uid) {
                        due_at.remove(&uid);
                        self.tell(&uid, true);
                    } else {
                        let due = Instant::now() + self.grace;
                        due_at.insert(uid.clone(), due);
                        leaving.push_back((due, uid));
                    }
                }
                () = until(due) => {
                    if let Some((due, uid)) = leaving.pop_front()
                        && due_at.get(&uid) == Some(&due)
                    {
                        due_at.remove(&uid);
                        if !self.hub.is_online(&uid) {
                            self.tell(&uid, false);
                        }
                    }
                }
            }
        }
    }

    fn tell(&self, uid: &Uid, online: bool) {
        if let Some(watchers) = self.lock().get_mut(uid)
            && watchers.online != online
        {
            watchers.online = online;
            watchers.pages.values().for_each(|tell| tell(uid, online));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Watchers>> {
        // Telling a page cannot panic, and nothing else runs under this lock.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut users = self.presences.lock();
        if let Some(watchers) = users.get_mut(&self.uid) {
            watchers.pages.remove(&self.id);
            if watchers.pages.is_empty() {
                users.remove(&self.uid);
            }
        }
    }
}

impl std::fmt::Debug for Presences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presences")
            .field("users", &self.lock().len())
            .finish_non_exhaustive()
    }
}
