//! Pages that have connected and not logged in yet.
//!
//! A page that comes back logs in as soon as it is connected. What is pushed to everyone in between
//! must not overtake what it is about to get of the time before; so it hears nothing until it has
//! logged in, or has had time enough to. Then it gets what it has not heard, from the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socketioxide::socket::Sid;
use tokio_util::sync::CancellationToken;

/// How long a page may take to log in before it hears what is for everyone.
const PATIENCE: Duration = Duration::from_secs(1);

/// After how long a page that never came as far as the namespace is given up: its connection failed
/// in that very moment, of which socketioxide tells nobody.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// How often it is looked for those who have had their time.
const INTERVAL: Duration = Duration::from_millis(250);

/// A page that may be new.
pub(super) trait Newcomer {
    /// Lets it hear what is for everyone. `Some(true)` when it does, or need not any more;
    /// `Some(false)` when it is not done; `None` when it is not in the namespace.
    fn hears_as_guest(&self) -> Option<bool>;

    /// It is gone.
    fn leaves(&self);
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Newcomers<P>(Mutex<HashMap<Sid, (Instant, Arc<P>)>>);

impl<P: Newcomer> Newcomers<P> {
    pub(super) fn add(&self, sid: Sid, page: Arc<P>) {
        self.lock().insert(sid, (Instant::now() + PATIENCE, page));
    }

    /// A page that is still new.
    pub(super) fn get(&self, sid: Sid) -> Option<Arc<P>> {
        self.lock().get(&sid).map(|(_, page)| Arc::clone(page))
    }

    /// The page is not new any more, or gone.
    pub(super) fn remove(&self, sid: Sid) {
        let removed = self.lock().remove(&sid);
        drop(removed);
    }

    /// Lets those hear who have had their time, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            for (sid, due, page) in self.due(now) {
                match page.hears_as_guest() {
                    Some(true) => self.remove(sid),
                    None if now > due + GIVEN_UP => page.leaves(),
                    Some(false) | None => {}
                }
            }
        }
    }

    fn due(&self, now: Instant) -> Vec<(Sid, Instant, Arc<P>)> {
        let newcomers = self.lock();
        let due = newcomers.iter().filter(|(_, (due, _))| *due <= now);
        due.map(|(sid, (due, page))| (*sid, *due, Arc::clone(page)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, (Instant, Arc<P>)>> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Default for Newcomers<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
