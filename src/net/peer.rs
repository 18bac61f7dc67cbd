//! Who is on the other side of a connection.

use std::net::IpAddr;

/// Who is really on the other side. Each request that a listener serves has it in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: IpAddr,
}
