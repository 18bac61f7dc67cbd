//! Sections of what is not lost: the log of recent pushes, and the backlog of those who are away.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::config::units;

/// How long, and how much, is remembered for pages that reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// A user who is back within this time gets what was missed; zero is the original, where it is
    /// lost.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// What the pushes of that time may take in memory; beyond it the oldest go.
    pub max_bytes: ByteSize,
    /// A connection that just broke gets again what it was sent so long before: the peer's kernel
    /// may have acknowledged what its page never saw.
    #[serde(with = "units::duration")]
    pub rewind: Duration,
}

/// What waits on disk for users who are away.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backlog {
    /// How long.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// How many messages for one user; beyond them the oldest go.
    pub max_messages: u64,
    /// How many bytes of them.
    pub max_bytes: ByteSize,
}

impl Recovery {
    /// `max_bytes` in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        units::as_usize(self.max_bytes)
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(120),
            max_bytes: ByteSize::mib(64),
            rewind: Duration::from_millis(50),
        }
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(7 * 24 * 3600),
            max_messages: 1000,
            max_bytes: ByteSize::mib(1),
        }
    }
}
