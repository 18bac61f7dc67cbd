//! Whether memory is so short that no page may be let in.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Memory {
    /// Bytes in use from which on it is short; `None` where it cannot be told.
    most: Option<u64>,
    interval: Duration,
    is_short: AtomicBool,
}

impl Memory {
    pub(super) fn new(config: &config::Limits) -> Self {
        let most = match config.memory.as_u64() {
            0 => available().map(|bytes| bytes / 10 * 9),
            most => Some(most),
        };
        Self {
            most,
            interval: config.memory_interval,
            is_short: AtomicBool::new(false),
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    pub(super) fn look(&self) {
        let (Some(most), Some(used)) = (self.most, used()) else {
            return;
        };
        let is_short = used >= most;
        let was_short = self.is_short.swap(is_short, Ordering::Relaxed);
        if is_short && !was_short {
            tracing::error!(used, most, "memory is short: no new page is let in");
        } else if was_short && !is_short {
            tracing::info!(used, most, "pages are let in again");
        }
    }
}

/// Bytes of memory that the process uses.
fn used() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// Bytes that the process may use: what its control group, or else the machine, has.
fn available() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    let group = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let group = group
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}
