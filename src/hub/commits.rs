//! How the store fares with what is to be made durable: how long it takes, and whether it fails.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::store::StoreError;

/// Watches commits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commits {
    metrics: Metrics,
    readiness: Readiness,
    is_failing: Arc<AtomicBool>,
}

impl Commits {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(metrics: Metrics, readiness: Readiness) -> Self {
        Self {
            metrics,
            readiness,
            is_failing: Arc::default(),
        }
    }

    /// Whether the last one failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Awaits a commit. Tells when the store begins to fail, and when it is well again; not of each
    /// commit.
    ///
    /// # Errors
    /// What the store says.
    pub async fn watch<T>(
        &self,
        commit: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let done = commit.await;
        self.metrics.committed(started.elapsed());
        let was_failing = self.is_failing.swap(done.is_err(), Ordering::Relaxed);
        match &done {
            Err(e) => {
                self.readiness.store_is_down(&reason(e));
                if !was_failing {
                    tracing::error!(error = e as &dyn Error, "the store fails: nothing is kept");
                }
            }
            Ok(_) => {
                if was_failing {
                    self.readiness.store_is_well();
                    tracing::info!("the store is well again");
                }
            }
        }
        done
    }
}

/// What is wrong with the store, and why; it names no address and no password.
fn reason(e: &StoreError) -> String {
    match e.source() {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}
