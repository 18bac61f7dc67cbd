//! The gateway's grip on one page: what it has been handed, and how its connection is cut.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use socketioxide::ProtocolVersion;
use socketioxide::socket::Sid;

use crate::gateway::entrance::Visitor;
use crate::gateway::ledger::{Bounds, Ledger};
use crate::gateway::parcels::Since;
use crate::gateway::socketio::wire::Wire;
use crate::push::{Push, PushId};

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
    is_apart: AtomicBool,
    apart: Mutex<Apart>,
    fate: AtomicU8,
    visitor: Arc<Visitor>,
}

/// Where a page stands that cannot be told the number of a message as others are: what it says at its next
/// login would be that it has what it has not got. Such a page is in none of socketioxide's rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Apart {
    /// While it catches up it has everything up to this one, whatever reaches it live.
    pub(super) at: Option<PushId>,
    /// The store could not be read: it has no more of the backlog than up to this one.
    pub(super) parcel: Option<PushId>,
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
            is_apart: AtomicBool::new(false),
            apart: Mutex::default(),
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

    /// Where the page stands, if not where others do.
    pub(super) fn apart(&self) -> Option<Apart> {
        let is_apart = self.is_apart.load(Ordering::Relaxed);
        is_apart.then(|| *self.apart.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets it stand there. Between two pushes only.
    pub(super) fn stands(&self, apart: Apart) {
        let is_apart = apart != Apart::default();
        *self.apart.lock().unwrap_or_else(PoisonError::into_inner) = apart;
        self.is_apart.store(is_apart, Ordering::Relaxed);
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

impl Apart {
    /// Where a page that stands here is when it has this push too.
    pub(super) fn with(self, push: &Push) -> Since {
        Since {
            id: self.at.unwrap_or(push.id),
            parcel: self.parcel,
        }
    }
}
