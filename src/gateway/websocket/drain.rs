//! The pages' way out when the server stops: spread over a time, so that they do not all come back at
//! one instant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// See the module's text. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    over: Duration,
    /// How long pages that are slow to go may take beyond it.
    patience: Duration,
    began: Arc<OnceLock<Instant>>,
    begins: CancellationToken,
    pages: Arc<AtomicU64>,
    here: TaskTracker,
}

/// One page's turn to go. The page is here until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    drain: Drain,
    after: Duration,
    _here: TaskTrackerToken,
}

/// How long those that are cut may take to be gone.
const CUT: Duration = Duration::from_millis(500);

/// Multiples of it, less their whole parts, fill the span from 0 to 1 evenly however many they are.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;

impl Drain {
    pub(crate) fn new(over: Duration, patience: Duration) -> Self {
        Self {
            over,
            patience,
            began: Arc::default(),
            begins: CancellationToken::new(),
            pages: Arc::default(),
            here: TaskTracker::new(),
        }
    }

    /// From now on pages go.
    pub(crate) fn begin(&self) {
        self.began.get_or_init(Instant::now);
        self.begins.cancel();
    }

    /// Waits until all of them have gone, or should have. What is saved after that is where they were.
    pub(crate) async fn is_over(&self) {
        self.here.close();
        let most = self.over + self.patience + CUT;
        tokio::time::timeout(most, self.here.wait()).await.ok();
    }

    /// A page's turn.
    pub(super) fn turn(&self) -> Turn {
        let page = self.pages.fetch_add(1, Ordering::Relaxed);
        let share = (page as f64 * GOLDEN_RATIO).fract();
        Turn {
            drain: self.clone(),
            after: self.over.mul_f64(share),
            _here: self.here.token(),
        }
    }
}

impl Turn {
    /// Waits for it; where the page `is_leaving` already, until it has no more time for that. May be
    /// dropped and called again at any time.
    pub(super) async fn comes(&self, is_leaving: bool) {
        let Drain {
            begins,
            began,
            over,
            patience,
            ..
        } = &self.drain;
        begins.cancelled().await;
        let after = match is_leaving {
            true => *over + *patience,
            false => self.after,
        };
        if let Some(began) = began.get() {
            tokio::time::sleep_until(*began + after).await;
        }
    }
}
