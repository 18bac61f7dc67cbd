//! The gateway's grip on one page: what it has been handed, and how its connection is cut.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use socketioxide::ProtocolVersion;
use socketioxide::socket::Sid;

use crate::gateway::entrance::Visitor;
use crate::gateway::ledger::{Bounds, Ledger};
use crate::gateway::socketio::wire::Wire;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sid: Sid,
    pub(super) protocol: ProtocolVersion,
    pub(super) ledger: Arc<Ledger>,
    /// Its websocket; `None` while it polls.
    wire: Mutex<Option<Arc<Wire>>>,
    /// Whether the page is told the number of each message.
    is_numbered: AtomicBool,
    fate: AtomicU8,
    visitor: Arc<Visitor>,
}

/// What the server has decided of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Free,
    /// The server stops, and has said goodbye.
    SentAway,
    /// It cannot keep up.
    Slow,
    /// Its logins were refused once too often, or it says too much.
    Refused,
    /// Its claim is good no longer.
    Expired,
}

impl Link {
    pub(super) fn new(
        sid: Sid,
        protocol: ProtocolVersion,
        bounds: Bounds,
        visitor: Arc<Visitor>,
    ) -> Self {
        Self {
            sid,
            protocol,
            ledger: Arc::new(Ledger::new(bounds)),
            wire: Mutex::default(),
            is_numbered: AtomicBool::new(false),
            fate: AtomicU8::new(Fate::Free as u8),
            visitor,
        }
    }

    /// Notes that the page's packets go over `wire` from now on.
    pub(super) fn goes_over(&self, wire: Arc<Wire>) {
        wire.serves(&self.ledger);
        self.visitor.no_longer_polls();
        let mut known = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(wire);
    }

    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        self.wire
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many bytes have arrived over the websocket.
    pub(super) fn arrived(&self) -> Option<u64> {
        self.wire().and_then(|wire| wire.arrived())
    }

    /// Tells the page the numbers, or not. Only while it is found by no push.
    pub(super) fn set_numbered(&self, is_numbered: bool) {
        self.is_numbered.store(is_numbered, Ordering::Relaxed);
    }

    /// The first decision counts; true when this is it.
    pub(super) fn decide(&self, fate: Fate) -> bool {
        let (free, fate) = (Fate::Free as u8, fate as u8);
        let decided = self
            .fate
            .compare_exchange(free, fate, Ordering::SeqCst, Ordering::SeqCst);
        decided.is_ok()
    }

    pub(super) fn fate(&self) -> Fate {
        match self.fate.load(Ordering::SeqCst) {
            fate if fate == Fate::SentAway as u8 => Fate::SentAway,
            fate if fate == Fate::Slow as u8 => Fate::Slow,
            fate if fate == Fate::Refused as u8 => Fate::Refused,
            fate if fate == Fate::Expired as u8 => Fate::Expired,
            _ => Fate::Free,
        }
    }

    pub(super) fn is_numbered(&self) -> bool {
        self.is_numbered.load(Ordering::Relaxed)
    }
}
