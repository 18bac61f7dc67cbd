//! Section of how much pages may take.

use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::units;

/// How much a page, a peer, and all of them may take. Zero is no limit, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of pages; 0 is as many as there are file descriptors, less `reserve`.
    pub connections: usize,
    /// File descriptors that pages leave to pushes, the store and the rest.
    pub reserve: usize,
    /// Connections, and sessions, of one peer.
    pub connections_per_peer: usize,
    /// Pages of one peer that may connect in a second; ten times as many at once.
    pub handshakes_per_second: u32,
    /// Logins of one peer in a second; ten times as many at once.
    pub logins_per_second: u32,
    /// Messages of one page in a second; ten times as many at once.
    pub events_per_second: u32,
    /// Sessions that poll.
    pub polling_sessions: usize,
    /// Pages of one uid.
    pub pages_per_uid: usize,
    /// Memory in use above which no new page is let in; 0 is nine tenths of what there is.
    pub memory: ByteSize,
    /// Networks to whose peers no limit of a peer applies.
    pub exempt: Vec<IpNet>,
    /// Logins of one page that may be refused before its connection ends.
    pub refused_logins: usize,
    /// How often it is looked how much memory is in use.
    #[serde(with = "units::duration")]
    pub memory_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        let loopback = loopback.map(|net| net.parse().expect("a network"));
        Self {
            connections: 0,
            reserve: 1024,
            connections_per_peer: 4096,
            handshakes_per_second: 200,
            logins_per_second: 200,
            events_per_second: 1000,
            polling_sessions: 20_000,
            pages_per_uid: 0,
            memory: ByteSize::b(0),
            exempt: loopback.to_vec(),
            refused_logins: 5,
            memory_interval: Duration::from_millis(500),
        }
    }
}
