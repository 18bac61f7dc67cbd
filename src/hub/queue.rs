//! Work that waits to be done together: bounded in jobs and bytes, done in the order in which it came.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, mpsc};

/// How many jobs may wait.
const MAX_WAITING: usize = 16_384;

/// How many bytes of them; a single one may be larger.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// How many are taken at once.
const MAX_BATCH: usize = 4096;

/// What is made durable at once, in addressees and bytes: a batch has to be done well within the
/// store's timeout, whatever its messages are.
const MAX_ADDRESSEES: usize = 8192;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a batch weighs so far that is made durable at once.
#[derive(Debug, Default)]
pub(super) struct Load {
    addressees: usize,
    bytes: usize,
}

impl Load {
    /// Adds a message. False when it is too much for this batch: then it is the first of the next.
    pub(super) fn add(&mut self, addressees: usize, bytes: usize) -> bool {
        let (addressees, bytes) = (self.addressees + addressees, self.bytes + bytes);
        let fits = addressees <= MAX_ADDRESSEES && bytes <= MAX_BYTES;
        *self = if fits {
            Self { addressees, bytes }
        } else {
            Self {
                addressees: addressees - self.addressees,
                bytes: bytes - self.bytes,
            }
        };
        fits
    }
}

/// What one of them weighs.
pub(super) trait Weight {
    fn bytes(&self) -> usize;
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Queue<J> {
    jobs: mpsc::Sender<J>,
    waiting: Mutex<mpsc::Receiver<J>>,
    bytes: AtomicUsize,
}

impl<J: Weight> Queue<J> {
    pub(super) fn new() -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        Self {
            jobs,
            waiting: Mutex::new(waiting),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Adds a job; gives it back when too much waits already, or nothing is done any more.
    pub(super) fn offer(&self, job: J) -> Result<(), J> {
        let bytes = job.bytes();
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let refused = if waiting + bytes > MAX_WAITING_BYTES && waiting > 0 {
            Err(job)
        } else {
            self.jobs
                .try_send(job)
                .map_err(mpsc::error::TrySendError::into_inner)
        };
        if refused.is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        refused
    }

    /// What waits, once something does. After `stop` has completed, what is left; `None` when nothing
    /// is. For one caller.
    pub(super) async fn next<S>(&self, stop: &mut S) -> Option<Vec<J>>
    where
        S: Future<Output = ()> + Unpin,
    {
        let mut waiting = self.waiting.lock().await;
        let mut jobs = Vec::new();
        if !waiting.is_closed() {
            tokio::select! {
                biased;
                _ = waiting.recv_many(&mut jobs, MAX_BATCH) => return Some(self.taken(&mut jobs)),
                () = stop => waiting.close(),
            }
        }
        let left = waiting.recv_many(&mut jobs, MAX_BATCH).await;
        (left > 0).then(|| self.taken(&mut jobs))
    }

    fn taken(&self, jobs: &mut Vec<J>) -> Vec<J> {
        let bytes = jobs.iter().map(Weight::bytes).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        std::mem::take(jobs)
    }
}
