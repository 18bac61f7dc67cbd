//! The pages that are connected, by their sessions' ids; and how one that cannot keep up is cut.
//!
//! socketioxide has no call for it that works: `disconnect()` needs a place in the very queue that
//! is full. So a websocket's TCP connection is cut, and a polling session is closed as its own page
//! would close it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method};
use socketioxide::ProtocolVersion;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use tower::Service as _;

use crate::gateway::socketio::link::{Fate, Link};
use crate::gateway::socketio::request::slim;
use crate::gateway::socketio::wire::Wire;
use crate::metrics::{self, Metrics};

/// See the module's text.
pub(super) struct Connections {
    engine: SocketIoService<Router>,
    metrics: Metrics,
    known: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_sid: HashMap<Sid, Known>,
    prune_at: usize,
}

/// What is known of a session. A page may be upgraded to a websocket before it has joined the
/// namespace, so either can come first; and it may leave the namespace and join it again.
#[derive(Debug, Default)]
struct Known {
    link: Option<Arc<Link>>,
    /// The websocket that a session that began by polling goes on over.
    wire: Option<Arc<Wire>>,
}

/// The table is first searched for sessions that never became pages when it is this long.
const FIRST_PRUNE: usize = 1024;

impl Connections {
    pub(super) fn new(engine: SocketIoService<Router>, metrics: Metrics) -> Self {
        Self {
            engine,
            metrics,
            known: Mutex::default(),
        }
    }

    /// Takes in a page.
    pub(super) fn attach(&self, link: &Arc<Link>) {
        let mut known = self.lock();
        let known = known.by_sid.entry(link.sid).or_default();
        if let Some(wire) = &known.wire {
            link.goes_over(Arc::clone(wire));
        }
        known.link = Some(Arc::clone(link));
    }

    /// Notes that a session that began by polling goes on over `wire`.
    pub(super) fn upgraded(&self, sid: Sid, wire: Arc<Wire>) {
        let mut table = self.lock();
        table.prune_if_long();
        let known = table.by_sid.entry(sid).or_default();
        if known.wire.as_ref().is_some_and(|wire| wire.is_open()) {
            // A session is upgraded once; who asks again is refused later.
            return;
        }
        if let Some(link) = &known.link {
            link.goes_over(Arc::clone(&wire));
        }
        known.wire = Some(wire);
    }

    /// Forgets a page that is gone.
    pub(super) fn detach(&self, link: &Arc<Link>) {
        let mut table = self.lock();
        table.prune_if_long();
        let Entry::Occupied(mut known) = table.by_sid.entry(link.sid) else {
            return;
        };
        if known
            .get()
            .link
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, link))
        {
            known.get_mut().link = None;
        }
        if !known.get().is_of_use() {
            known.remove();
        }
    }

    /// A connected page.
    pub(super) fn link(&self, sid: Sid) -> Option<Arc<Link>> {
        self.lock().by_sid.get(&sid)?.link.clone()
    }

    /// Every connected page.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let table = self.lock();
        let links = table.by_sid.values();
        links.filter_map(|known| known.link.clone()).collect()
    }

    /// Ends the connection of a page that cannot keep up. It notices, and comes back.
    pub(super) fn cut(&self, link: &Link) {
        if link.decide(Fate::Slow) {
            tracing::debug!(session = %link.sid, "page cannot keep up, connection cut");
            self.metrics.slow_page_closed(metrics::Wire::SocketIo);
        }
        if let Some(wire) = link.wire() {
            wire.cut();
        }
        self.close_polling(link.sid, link.protocol);
    }

    /// Ends the connection of a page that has been told to go.
    pub(super) fn end(&self, link: &Link) {
        match link.wire() {
            Some(wire) => wire.cut(),
            None => self.close_polling(link.sid, link.protocol),
        }
    }

    /// Says goodbye to a page, as a server that stops: its connection ends once what is on its way has
    /// arrived, and the page comes back by itself. A disconnect packet would
    /// tell it not to.
    pub(super) fn close(&self, link: &Link) {
        link.decide(Fate::SentAway);
        match link.wire() {
            Some(wire) => wire.close(),
            None => self.close_polling(link.sid, link.protocol),
        }
    }

    /// Closes a polling session by the packet that its page would post to close it. The page's
    /// next poll is told that its session is unknown. A session that does not poll refuses it.
    fn close_polling(&self, sid: Sid, protocol: ProtocolVersion) {
        let (version, close) = match protocol {
            ProtocolVersion::V4 => (3, "1:1"),
            ProtocolVersion::V5 => (4, "1"),
        };
        let query = format!("EIO={version}&transport=polling&sid={sid}");
        let body = Bytes::from_static(close.as_bytes());
        let request = slim(&Method::POST, &query, &HeaderMap::new(), body);
        // The body is in memory, so there is nothing to wait for.
        if self.engine.clone().call(request).now_or_never().is_none() {
            tracing::error!(session = %sid, "polling session did not close at once");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing that can panic runs under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn prune_if_long(&mut self) {
        if self.by_sid.len() < self.prune_at.max(FIRST_PRUNE) {
            return;
        }
        self.by_sid.retain(|_, known| known.is_of_use());
        self.prune_at = self.by_sid.len() * 2;
        let room = self.prune_at;
        self.by_sid.shrink_to(room);
    }
}

impl Known {
    fn is_of_use(&self) -> bool {
        let wire = self.wire.as_ref();
        self.link.is_some() || wire.is_some_and(|wire| wire.is_open())
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pages = self.lock().by_sid.len();
        f.debug_struct("Connections")
            .field("pages", &pages)
            .finish_non_exhaustive()
    }
}
