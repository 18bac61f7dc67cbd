//! Whether the server can do its work now, for those who send it some. Told by whoever knows; it
//! knows none of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands between the server and its work. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Why the store cannot be used.
    store: Option<String>,
}

/// Later beats earlier: a server that stops does not become ready any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Draining,
}

impl Readiness {
    /// The server has started.
    pub fn ready(&self) {
        self.enter(Phase::Ready);
    }

    /// The server has begun to stop.
    pub fn draining(&self) {
        self.enter(Phase::Draining);
    }

    /// The store has answered.
    pub fn store_is_well(&self) {
        self.lock().store = None;
    }

    /// The store cannot be used; `reason` is shown, so it must hold no secret.
    pub fn store_is_down(&self, reason: &str) {
        // One line a reason.
        let reason: Vec<&str> = reason.split_whitespace().collect();
        self.lock().store = Some(reason.join(" "));
    }

    /// Why the server is not ready, a line a reason; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let state = self.lock();
        let phase = match state.phase {
            Phase::Starting => Some("starting".to_owned()),
            Phase::Ready => None,
            Phase::Draining => Some("draining".to_owned()),
        };
        let store = state.store.as_ref();
        let store = store.map(|reason| format!("store down: {reason}"));
        phase.into_iter().chain(store).collect()
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase.max(state.phase);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_is_ready_and_drains_in_this_order_only() {
        let readiness = Readiness::default();
        assert_eq!(readiness.reasons(), ["starting"]);
        readiness.clone().ready();
        assert!(readiness.reasons().is_empty());
        readiness.draining();
        readiness.ready();
        assert_eq!(readiness.reasons(), ["draining"]);
    }

    #[test]
    fn a_store_that_is_down_is_told_in_one_line_until_it_is_well() {
        let readiness = Readiness::default();
        readiness.store_is_down("the disk\nis full ");
        assert_eq!(
            readiness.reasons(),
            ["starting", "store down: the disk is full"]
        );
        readiness.ready();
        readiness.store_is_down("it is gone");
        assert_eq!(readiness.reasons(), ["store down: it is gone"]);
        readiness.store_is_well();
        assert!(readiness.reasons().is_empty());
    }
}
