//! How many are in: connections, sessions, and those of each peer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config;
use crate::limits::{Over, Peer};
use crate::metrics::Limit;

/// What is assumed where the process cannot be asked how many files it may have open.
const FILES: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Doors {
    pages: Count,
    publishers: Desk,
    /// Connections that push lines, which may be idle for ever.
    lines: Desk,
    polling: Count,
    polling_of: Peers,
    polling_per_peer: usize,
    per_peer: usize,
    /// Connections, as they are accepted; behind a proxy these are the proxy's.
    connections: Peers,
    sessions: Peers,
}

/// How a session is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By polling, at first.
    Polling,
    /// Over a websocket.
    Websocket,
}

/// A connection that counts.
#[derive(Debug)]
pub struct Seat {
    doors: Arc<Doors>,
    peer: Option<Peer>,
    by: By,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy)]
enum By {
    Page,
    Publisher,
    Lines,
}

/// A session that counts.
#[derive(Debug)]
pub struct Stay {
    doors: Arc<Doors>,
    peer: Option<Peer>,
    polls: AtomicBool,
}

/// So many, of at most so many; zero is any number.
#[derive(Debug)]
struct Count {
    now: AtomicUsize,
    most: usize,
}

/// Seats for publishers of one kind.
#[derive(Debug)]
struct Desk {
    all: Count,
    /// What one peer may have of them: half, so that a backend with many workers has room and no
    /// stranger keeps it out.
    per_peer: usize,
    peers: Peers,
}

#[derive(Debug, Default)]
struct Peers(Mutex<HashMap<Peer, usize>>);

impl Doors {
    pub(super) fn new(config: &config::Limits) -> Self {
        let most = match config.connections {
            0 => files().saturating_sub(config.reserve).max(64),
            most => most,
        };
        Self {
            pages: Count::of(most),
            // The last quarter is the store's, and whatever else opens a file.
            publishers: Desk::of(config.reserve / 2),
            lines: Desk::of(config.reserve / 4),
            polling: Count::of(config.polling_sessions),
            polling_of: Peers::default(),
            polling_per_peer: polling_share(config.polling_sessions),
            per_peer: config.connections_per_peer,
            connections: Peers::default(),
            sessions: Peers::default(),
        }
    }

    pub(super) fn page(self: &Arc<Self>, peer: Option<Peer>) -> Result<Seat, Over> {
        self.pages.enter(Limit::Connections)?;
        if let Err(over) = self.connections.enter(peer, self.per_peer) {
            self.pages.leave();
            return Err(over);
        }
        Ok(self.seat(peer, By::Page))
    }

    pub(super) fn publisher(self: &Arc<Self>, peer: Option<Peer>) -> Result<Seat, Over> {
        self.publishers.enter(peer)?;
        Ok(self.seat(peer, By::Publisher))
    }

    pub(super) fn lines(self: &Arc<Self>, peer: Option<Peer>) -> Result<Seat, Over> {
        self.lines.enter(peer)?;
        Ok(self.seat(peer, By::Lines))
    }

    fn seat(self: &Arc<Self>, peer: Option<Peer>, by: By) -> Seat {
        Seat {
            doors: Arc::clone(self),
            peer,
            by,
        }
    }

    pub(super) fn session(self: &Arc<Self>, peer: Option<Peer>, way: Way) -> Result<Stay, Over> {
        let polls = way == Way::Polling;
        if polls {
            self.polls(peer)?;
        }
        if let Err(over) = self.sessions.enter(peer, self.per_peer) {
            if polls {
                self.polls_no_more(peer);
            }
            return Err(over);
        }
        Ok(Stay {
            doors: Arc::clone(self),
            peer,
            polls: AtomicBool::new(polls),
        })
    }
}

/// One peer must not keep out all others that poll, and an office is one peer.
const POLLING_SHARE: usize = 8;
const SMALLEST_SHARE: usize = 64;

fn polling_share(most: usize) -> usize {
    match most {
        0 => 0,
        most => (most / POLLING_SHARE).max(SMALLEST_SHARE),
    }
}

impl Doors {
    fn polls(&self, peer: Option<Peer>) -> Result<(), Over> {
        self.polling.enter(Limit::Polling)?;
        let entered = self.polling_of.enter(peer, self.polling_per_peer);
        entered.inspect_err(|_| self.polling.leave())
    }

    fn polls_no_more(&self, peer: Option<Peer>) {
        self.polling.leave();
        self.polling_of.leave(peer);
    }
}

impl Seat {
    /// It turns out whose it is.
    pub(super) fn is_of(&mut self, peer: Option<Peer>) -> Result<(), Over> {
        self.doors.connections.enter(peer, self.doors.per_peer)?;
        let before = std::mem::replace(&mut self.peer, peer);
        self.doors.connections.leave(before);
        Ok(())
    }
}

impl Stay {
    /// The session has been upgraded to a websocket.
    pub fn no_longer_polls(&self) {
        if self.polls.swap(false, Ordering::Relaxed) {
            self.doors.polls_no_more(self.peer);
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.no_longer_polls();
        self.doors.sessions.leave(self.peer);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self.by {
            By::Page => {
                self.doors.pages.leave();
                self.doors.connections.leave(self.peer);
            }
            By::Publisher => self.doors.publishers.leave(self.peer),
            By::Lines => self.doors.lines.leave(self.peer),
        }
    }
}

impl Count {
    fn of(most: usize) -> Self {
        Self {
            now: AtomicUsize::new(0),
            most,
        }
    }

    fn enter(&self, limit: Limit) -> Result<(), Over> {
        let before = self.now.fetch_add(1, Ordering::Relaxed);
        if self.most > 0 && before >= self.most {
            self.leave();
            return Err(Over(limit));
        }
        Ok(())
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    fn of(most: usize) -> Self {
        Self {
            all: Count::of(most.max(1)),
            per_peer: (most / 2).max(1),
            peers: Peers::default(),
        }
    }

    fn enter(&self, peer: Option<Peer>) -> Result<(), Over> {
        self.all.enter(Limit::PushConnections)?;
        let entered = self.peers.enter(peer, self.per_peer);
        if entered.is_err() {
            self.all.leave();
        }
        entered
    }

    fn leave(&self, peer: Option<Peer>) {
        self.peers.leave(peer);
        self.all.leave();
    }
}

impl Peers {
    fn enter(&self, peer: Option<Peer>, most: usize) -> Result<(), Over> {
        let Some(peer) = peer else { return Ok(()) };
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        if most > 0 && *count >= most {
            return Err(Over(Limit::PeerConnections));
        }
        *count += 1;
        Ok(())
    }

    fn leave(&self, peer: Option<Peer>) {
        let Some(peer) = peer else { return };
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = peers.entry(peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        // A crowd of strangers is not kept in mind for ever.
        let room = peers.len() * 2 + 64;
        if peers.capacity() > room * 2 {
            peers.shrink_to(room);
        }
    }
}

/// How many files the process may have open.
fn files() -> usize {
    #[cfg(unix)]
    if let Some(files) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        return usize::try_from(files).unwrap_or(FILES);
    }
    FILES
}
