//! Whether pages' queues have been full of late.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after a full queue was met full queues are looked for in advance.
const LASTS: Duration = Duration::from_secs(10);

/// Remembers when a queue was found full last.
#[derive(Debug, Default)]
pub(super) struct Pressure(Mutex<Option<Instant>>);

impl Pressure {
    /// Notes a full queue. True when that is news: there was no pressure before.
    pub(super) fn begins(&self) -> bool {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = met.is_none_or(|at| at.elapsed() > LASTS);
        *met = Some(Instant::now());
        news
    }

    /// Whether a queue was full within the last seconds.
    pub(super) fn is_on(&self) -> bool {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.is_some_and(|at| at.elapsed() <= LASTS)
    }
}
