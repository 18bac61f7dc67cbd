//! Pages whose claim is good until some time, and pages that have been told to go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use socketioxide::socket::Sid;
use tokio_util::sync::CancellationToken;

use crate::gateway::socketio::egress::SocketIoEgress;
use crate::gateway::socketio::link::Link;

/// How often it is looked whose time is over.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long a page may take to read that it has to go, and why.
const FAREWELL: Duration = Duration::from_secs(1);

/// A page whose claim may expire.
pub(super) trait Expiring {
    /// Its time is over.
    fn expires(self: Arc<Self>);
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Expiries<P> {
    claims: Mutex<HashMap<Sid, (Instant, Weak<P>)>>,
    leaving: Mutex<Vec<Leaving>>,
}

/// A page that has to go.
#[derive(Debug)]
struct Leaving {
    link: Arc<Link>,
    /// When its connection ends; `None` until the goodbye has been said.
    by: Option<Instant>,
}

impl<P: Expiring> Expiries<P> {
    /// The page's claim is good until then; replaces what was known of it.
    pub(super) fn set(&self, sid: Sid, until: Option<Instant>, page: &Arc<P>) {
        let mut claims = lock(&self.claims);
        match until {
            Some(until) => {
                claims.insert(sid, (until, Arc::downgrade(page)));
            }
            None => {
                claims.remove(&sid);
            }
        }
    }

    /// The page is gone.
    pub(super) fn remove(&self, sid: Sid) {
        lock(&self.claims).remove(&sid);
    }

    /// The page has been told why it has to go. The goodbye itself follows with the next look, and soon
    /// the connection ends, whatever the page does. Not at once: socketioxide ends a session that has
    /// been said goodbye to as soon as anything more comes from it, and a page that polls and has
    /// posted several events would be told nothing.
    pub(super) fn leaves(&self, link: &Arc<Link>) {
        let link = Arc::clone(link);
        lock(&self.leaving).push(Leaving { link, by: None });
    }

    /// Ends what is over, until `stop`.
    pub(super) async fn run(&self, egress: &SocketIoEgress, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            for page in self.expired(now) {
                page.expires();
            }
            self.see_off(egress, now);
        }
    }

    fn see_off(&self, egress: &SocketIoEgress, now: Instant) {
        let leaving = std::mem::take(&mut *lock(&self.leaving));
        let mut left = Vec::new();
        for Leaving { link, by } in leaving {
            match by {
                None => {
                    egress.say_goodbye(&link);
                    let by = Some(now + FAREWELL);
                    left.push(Leaving { link, by });
                }
                Some(by) if by <= now => egress.connections.end(&link),
                Some(_) => left.push(Leaving { link, by }),
            }
        }
        lock(&self.leaving).append(&mut left);
    }

    fn expired(&self, now: Instant) -> Vec<Arc<P>> {
        let mut claims = lock(&self.claims);
        let mut expired = Vec::new();
        claims.retain(|_, (until, page)| {
            let is_over = *until <= now;
            if is_over {
                expired.extend(page.upgrade());
            }
            !is_over
        });
        expired
    }
}

impl<P> Default for Expiries<P> {
    fn default() -> Self {
        Self {
            claims: Mutex::default(),
            leaving: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
