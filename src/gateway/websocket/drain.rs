//! The pages' way out when the server stops: spread over a time, so that they do not all come back at
//! one instant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// See the module's text. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    over: Duration,
    began: Arc<OnceLock<Instant>>,
    begins: CancellationToken,
    pages: Arc<AtomicU64>,
}

/// One page's turn to go.
#[derive(Debug)]
pub(crate) struct Turn {
    drain: Drain,
    after: Duration,
}

/// Multiples of it, less their whole parts, fill the span from 0 to 1 evenly however many they are.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;

impl Drain {
    pub(crate) fn new(over: Duration) -> Self {
        Self {
            over,
            began: Arc::default(),
            begins: CancellationToken::new(),
            pages: Arc::default(),
        }
    }

    /// From now on pages go.
    pub(crate) fn begin(&self) {
        self.began.get_or_init(Instant::now);
        self.begins.cancel();
    }

    /// A page's turn.
    pub(super) fn turn(&self) -> Turn {
        let page = self.pages.fetch_add(1, Ordering::Relaxed);
        let share = (page as f64 * GOLDEN_RATIO).fract();
        Turn {
            drain: self.clone(),
            after: self.over.mul_f64(share),
        }
    }
}

impl Turn {
    /// Waits for it. May be dropped and called again at any time.
    pub(super) async fn comes(&self) {
        self.drain.begins.cancelled().await;
        if let Some(began) = self.drain.began.get() {
            tokio::time::sleep_until(*began + self.after).await;
        }
    }
}
