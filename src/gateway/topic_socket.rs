//! The topic websocket of Swoole's example: a page's message is what it wants to hear of, a JSON
//! object such as `{"school_id":"2"}`, and replaces what it wanted before. It gets each push that
//! this concerns as a text frame. It is never answered.

use std::sync::Arc;

use crate::config;
use crate::gateway::websocket::{
    Asks, Close, Dialect, Handshake, Member, Outbox, Protocol, Quarters, Received, Room,
    WebsocketEgress,
};
use crate::hub::{Hub, Subscribed};
use crate::metrics::Gateway;
use crate::net::Connection;
use crate::topic::TopicReader;

/// The largest frame, head included: the original's `package_max_length`.
const MAX_FRAME: u64 = 2 * 1024 * 1024;

/// The dialect.
#[derive(Debug, Clone)]
pub(crate) struct TopicSocket {
    pub(crate) hub: Arc<Hub>,
    pub(crate) egress: Arc<WebsocketEgress>,
    pub(crate) topics: Arc<TopicReader>,
}

/// One page's side of it.
pub(crate) struct TopicProtocol {
    dialect: TopicSocket,
    outbox: Arc<Outbox>,
    subscription: Option<(Subscribed, [Member; 2])>,
}

impl TopicSocket {
    /// Serves each connection of a listener.
    pub(crate) fn service(
        self,
        config: &config::Websocket,
        quarters: Quarters,
    ) -> impl Fn(Connection) -> Handshake<Self> + use<> {
        Handshake::new(self, config, MAX_FRAME, quarters).for_each_connection()
    }
}

impl Dialect for TopicSocket {
    const GATEWAY: Gateway = Gateway::TopicSocket;

    type Protocol = TopicProtocol;

    fn open(
        &self,
        _query: &str,
        outbox: &Arc<Outbox>,
        _asks: Asks,
    ) -> Result<TopicProtocol, Close> {
        Ok(TopicProtocol {
            dialect: self.clone(),
            outbox: Arc::clone(outbox),
            subscription: None,
        })
    }
}

impl Protocol for TopicProtocol {
    fn appetite(&self) -> usize {
        TopicReader::MAX_LEN
    }

    fn receive(&mut self, message: Received) -> Result<(), Close> {
        let Received::Whole(message) = message else {
            tracing::debug!("subscription too long, ignored");
            return Ok(());
        };
        let wanted = match self.dialect.topics.subscription(&message) {
            Ok(wanted) => wanted,
            Err(fault) => {
                tracing::debug!(%fault, "subscription ignored");
                return Ok(());
            }
        };
        let TopicSocket { hub, egress, .. } = &self.dialect;
        // The hub learns of the new wish before it forgets the old, and the page changes rooms in
        // one step: no push falls between the two, and none comes twice.
        match (wanted, &mut self.subscription) {
            (None, subscription) => *subscription = None,
            (Some(wanted), Some((subscribed, [room, _]))) => {
                let new = hub.subscribe(wanted.clone());
                room.change_to(Room::Subscription(wanted));
                *subscribed = new;
            }
            (Some(wanted), subscription) => {
                let room = Room::Subscription(wanted.clone());
                let rooms = [room, Room::Everyone].map(|room| egress.enter(room, &self.outbox));
                *subscription = Some((hub.subscribe(wanted), rooms));
            }
        }
        Ok(())
    }
}
