//! The hub's way to the pages of the raw websockets, whatever dialect they speak.

use std::sync::Arc;

use bytes::Bytes;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::rooms::{Room, Rooms};
use crate::gateway::websocket::frame;
use crate::gateway::websocket::outbox::{Close, Outbox};
use crate::hub::{Audience, Egress, Pace};
use crate::metrics::{Metrics, Wire};
use crate::push::Push;
use crate::uid::Uid;

/// One gateway egress for all raw dialects: a user's pages are found whatever they speak.
#[derive(Debug)]
pub struct WebsocketEgress {
    rooms: Arc<Rooms<Outbox>>,
    /// Users' pages that still get what they missed, and hear nothing live.
    arriving: Arc<Rooms<Outbox>>,
    metrics: Metrics,
}

/// A page's place in a room.
pub(crate) type Member = crate::gateway::rooms::Member<Outbox>;

impl WebsocketEgress {
    /// An egress with no pages.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            rooms: Arc::default(),
            arriving: Arc::default(),
            metrics,
        }
    }

    /// Puts a page into a room.
    pub(crate) fn enter(&self, room: Room, outbox: &Arc<Outbox>) -> Member {
        self.rooms.enter(room, outbox)
    }

    /// Finds a page by its user that is in no room yet. Keep it until the page is.
    pub(crate) fn expect(&self, uid: Uid, outbox: &Arc<Outbox>) -> Member {
        self.arriving.enter(Room::User(uid), outbox)
    }
}

impl Egress for WebsocketEgress {
    fn deliver(&self, audience: Audience<'_>, push: &Push) -> Pace {
        // Encoded once, and only if somebody is there.
        let mut encoded: Option<Bytes> = None;
        let (mut pace, mut delivered) = (Pace::Kept, 0);
        self.rooms.each(audience, |outbox| {
            let frame = encoded.get_or_insert_with(|| frame::text(&push.frame()));
            let handed = outbox.push(frame.clone(), push);
            pace = pace.max(handed.pace);
            delivered += u64::from(handed.is_taken);
        });
        self.metrics.delivered(Wire::Websocket, delivered);
        pace
    }

    fn disconnect(&self, uid: &Uid) {
        let pages = Audience::Users(std::slice::from_ref(uid));
        // In this order, as a page goes from the one to the other.
        for rooms in [&self.arriving, &self.rooms] {
            rooms.each(pages, |outbox| {
                outbox.close(Close::new(
                    CloseCode::Policy,
                    "disconnected by the application",
                ));
            });
        }
    }
}
