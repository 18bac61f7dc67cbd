//! Which TCP connection carries a session, so that it can be cut.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;

use crate::net::Connection;

/// The websocket connections of sessions that began by polling.
///
/// socketioxide keeps the request that opened a session for the session's life, and with it our
/// handle on that request's connection. After an upgrade that is the wrong one, and nothing tells
/// the socket of the new request; so upgrades are remembered here.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Upgrades>);

#[derive(Debug, Default)]
struct Upgrades {
    by_sid: HashMap<Sid, Connection>,
    prune_at: usize,
}

/// The table is first searched for closed connections when it is this long.
const FIRST_PRUNE: usize = 1024;

impl Connections {
    /// Remembers that `sid` goes on over `connection`.
    pub(super) fn upgraded(&self, sid: Sid, connection: Connection) {
        let mut upgrades = self.lock();
        if upgrades.by_sid.len() >= upgrades.prune_at.max(FIRST_PRUNE) {
            upgrades.by_sid.retain(|_, connection| connection.is_open());
            upgrades.prune_at = upgrades.by_sid.len() * 2;
            let room = upgrades.prune_at;
            upgrades.by_sid.shrink_to(room);
        }
        upgrades.by_sid.insert(sid, connection);
    }

    /// Ends the connection of a page that cannot keep up. It notices, and comes back.
    pub(super) fn cut(&self, socket: &SocketRef) {
        if let Some(upgraded) = self.lock().by_sid.get(&socket.id) {
            upgraded.cut();
        }
        if let Some(opened) = socket.req_parts().extensions.get::<Connection>() {
            opened.cut();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Upgrades> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
