//! How much of what TLS was given has arrived, told from what the kernel says of the ciphertext.
//!
//! Both are counted. Wherever TLS had nothing left to write, all plaintext so far was in the
//! ciphertext so far; these points are remembered. What the peer's kernel has acknowledged reaches up
//! to some point or beyond it, and of a record that has arrived in part the peer can read nothing: so
//! it has, for certain, the plaintext up to that point.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most that TLS may hold of what it was given, in bytes.
pub(super) const HELD: usize = 64 * 1024;

/// The most that one record of TLS can be.
const RECORD: u64 = 16 * 1024 + 256;

/// So many points are remembered; then every other is forgotten. What is missing then seems up to twice
/// as much.
const POINTS: usize = 64;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// Bytes of ciphertext that the kernel has taken.
    ciphertext: AtomicU64,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    /// Bytes of plaintext.
    plaintext: u64,
    points: VecDeque<Point>,
}

/// Where both stood when TLS had nothing left to write.
#[derive(Debug, Clone, Copy)]
struct Point {
    ciphertext: u64,
    plaintext: u64,
}

impl Sealed {
    /// The kernel has taken ciphertext.
    pub(super) fn wrote(&self, bytes: usize) {
        self.ciphertext.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    /// TLS has taken plaintext. `is_flushed`: and it has nothing left to write.
    pub(super) fn took(&self, bytes: usize, is_flushed: bool) {
        let ciphertext = self.ciphertext.load(Ordering::Acquire);
        let mut given = self.given();
        given.plaintext += bytes as u64;
        let plaintext = given.plaintext;
        let is_new = given
            .points
            .back()
            .is_none_or(|last| last.plaintext < plaintext);
        if !is_flushed || !is_new {
            return;
        }
        if given.points.len() == POINTS {
            let mut is_kept = false;
            given.points.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
        given.points.push_back(Point {
            ciphertext,
            plaintext,
        });
    }

    /// How many bytes of plaintext may not have arrived, never too few; `outstanding` tells how many
    /// of ciphertext have not.
    pub(super) fn missing(&self, outstanding: impl FnOnce() -> Option<u64>) -> Option<u64> {
        // In this order: what is written in between must not count as acknowledged.
        let ciphertext = self.ciphertext.load(Ordering::Acquire);
        let outstanding = outstanding()?;
        let acknowledged = ciphertext.saturating_sub(outstanding);
        let mut given = self.given();
        let reached = |point: Option<&Point>| {
            point
                .filter(|point| point.ciphertext <= acknowledged)
                .copied()
        };
        while reached(given.points.get(1)).is_some() {
            given.points.pop_front();
        }
        let arrived = reached(given.points.front()).map_or(0, |point| point.plaintext);
        // A page that is always behind has no points. Then so much is missing at most: what is under
        // way, the record that it may have begun with, and what TLS holds.
        let most = outstanding + RECORD + HELD as u64;
        Some((given.plaintext - arrived).min(most))
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        // Nothing that can panic runs under this lock, and nothing that takes another.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{HELD, RECORD, Sealed};

    #[test]
    fn what_has_arrived_is_told_up_to_the_last_flush_that_was_acknowledged() {
        let sealed = Sealed::default();
        let missing = |outstanding| sealed.missing(|| Some(outstanding));
        assert_eq!(missing(0), Some(0));
        // The handshake.
        sealed.wrote(3000);
        assert_eq!(missing(1000), Some(0));
        for _ in 0..10 {
            sealed.wrote(122);
            sealed.took(100, true);
        }
        assert_eq!(missing(10 * 122), Some(1000));
        assert_eq!(missing(9 * 122 + 1), Some(1000));
        assert_eq!(missing(9 * 122), Some(900));
        assert_eq!(missing(1), Some(100));
        assert_eq!(missing(0), Some(0));
        // In part in the kernel, and flushed later.
        sealed.wrote(500);
        sealed.took(1000, false);
        assert_eq!(missing(0), Some(1000));
        sealed.wrote(522);
        sealed.took(0, true);
        assert_eq!(missing(1), Some(1000));
        assert_eq!(missing(0), Some(0));
        assert_eq!(sealed.missing(|| None), None);
    }

    #[test]
    fn points_that_are_forgotten_make_it_more_and_never_less() {
        let sealed = Sealed::default();
        let mut fewest = 0;
        for n in 1..=1000_u64 {
            sealed.wrote(122);
            sealed.took(100, true);
            // Half of it has not arrived.
            let missing = sealed.missing(|| Some(n / 2 * 122)).unwrap();
            assert!(missing >= n / 2 * 100, "{n}: {missing}");
            fewest = missing;
        }
        assert!(fewest < 100_000, "{fewest}");
        for _ in 0..1000 {
            sealed.wrote(1022);
            sealed.took(1000, false);
        }
        let most = 5000 + RECORD + HELD as u64;
        assert_eq!(sealed.missing(|| Some(5000)), Some(most));
    }
}
