//! Ends the sessions of pages that cannot keep up.
//!
//! socketioxide has no call for it that works: `disconnect()` needs a place in the very queue that
//! is full. So a websocket's TCP connection is cut, and a polling session is closed as its own page
//! would close it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Router;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method};
use socketioxide::extract::SocketRef;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use socketioxide::{ProtocolVersion, TransportType};
use tower::Service as _;

use crate::gateway::socketio::request::slim;
use crate::net::Connection;

/// The way to every session's end.
///
/// It knows the websocket connections of sessions that began by polling: socketioxide keeps the
/// request that opened a session for the session's life, and with it our handle on that request's
/// connection. After an upgrade that is the wrong one, and nothing tells the socket of the new
/// request; so upgrades are remembered here.
pub(super) struct Connections {
    engine: SocketIoService<Router>,
    upgrades: Mutex<Upgrades>,
}

#[derive(Debug, Default)]
struct Upgrades {
    by_sid: HashMap<Sid, Connection>,
    prune_at: usize,
}

/// The table is first searched for closed connections when it is this long.
const FIRST_PRUNE: usize = 1024;

impl Connections {
    pub(super) fn new(engine: SocketIoService<Router>) -> Self {
        Self {
            engine,
            upgrades: Mutex::default(),
        }
    }

    /// Remembers that `sid` goes on over `connection`. The first that is still open stays: a
    /// session is upgraded once, and who asks again is refused later.
    pub(super) fn upgraded(&self, sid: Sid, connection: Connection) {
        let mut upgrades = self.lock();
        if upgrades.by_sid.len() >= upgrades.prune_at.max(FIRST_PRUNE) {
            upgrades.by_sid.retain(|_, connection| connection.is_open());
            upgrades.prune_at = upgrades.by_sid.len() * 2;
            let room = upgrades.prune_at;
            upgrades.by_sid.shrink_to(room);
        }
        let known = upgrades.by_sid.get(&sid);
        if !known.is_some_and(Connection::is_open) {
            upgrades.by_sid.insert(sid, connection);
        }
    }

    /// Ends the session of a page that cannot keep up. It notices, and comes back.
    pub(super) fn cut(&self, socket: &SocketRef) {
        tracing::debug!(session = %socket.id, "page cannot keep up, connection cut");
        if socket.transport_type() == TransportType::Polling {
            self.close_polling(socket);
            return;
        }
        // After an upgrade the connection that opened the session may carry somebody else's
        // requests by now: browsers and proxies reuse it.
        if let Some(upgraded) = self.lock().by_sid.get(&socket.id) {
            upgraded.cut();
            return;
        }
        if let Some(opened) = socket.req_parts().extensions.get::<Connection>() {
            opened.cut();
        }
    }

    /// Closes a polling session by the packet that its page would post to close it. The page's
    /// next poll is told that its session is unknown.
    fn close_polling(&self, socket: &SocketRef) {
        let (version, close) = match socket.protocol() {
            ProtocolVersion::V4 => (3, "1:1"),
            ProtocolVersion::V5 => (4, "1"),
        };
        let query = format!("EIO={version}&transport=polling&sid={}", socket.id);
        let body = Bytes::from_static(close.as_bytes());
        let request = slim(&Method::POST, &query, &HeaderMap::new(), body);
        // The body is in memory, so there is nothing to wait for.
        if self.engine.clone().call(request).now_or_never().is_none() {
            tracing::error!(session = %socket.id, "polling session did not close at once");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Upgrades> {
        // Nothing that can panic runs under this lock.
        self.upgrades.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let upgrades = self.lock().by_sid.len();
        f.debug_struct("Connections")
            .field("upgrades", &upgrades)
            .finish_non_exhaustive()
    }
}
