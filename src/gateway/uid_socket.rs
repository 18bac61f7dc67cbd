//! The uid websocket of Workerman's example: a page's first message is its uid, verbatim; whatever
//! it sends later is ignored. It gets each push as a text frame.

use std::sync::Arc;

use crate::auth::Auth;
use crate::config;
use crate::gateway::websocket::{
    Close, CloseCode, Dialect, Handshake, Member, Outbox, Protocol, Quarters, Received, Room,
    WebsocketEgress,
};
use crate::hub::{Hub, Session};
use crate::metrics::Gateway;
use crate::net::Connection;
use crate::uid::Uid;

/// The largest frame, head included, as in the original. What is of no use is passed over as it
/// arrives, so the figure costs no memory.
const MAX_FRAME: u64 = 10 * 1024 * 1024;

/// The dialect.
#[derive(Debug, Clone)]
pub(crate) struct UidSocket {
    pub(crate) hub: Arc<Hub>,
    pub(crate) egress: Arc<WebsocketEgress>,
    pub(crate) auth: Arc<Auth>,
}

/// One page's side of it.
pub(crate) struct UidProtocol {
    dialect: UidSocket,
    outbox: Arc<Outbox>,
    /// Dropped in this order: first the page is no longer counted, then no longer found.
    session: Option<(Session, [Member; 2])>,
}

impl UidSocket {
    /// Serves each connection of a listener.
    pub(crate) fn service(
        self,
        config: &config::Websocket,
        quarters: Quarters,
    ) -> impl Fn(Connection) -> Handshake<Self> + use<> {
        Handshake::new(self, config, MAX_FRAME, quarters).for_each_connection()
    }
}

impl Dialect for UidSocket {
    const GATEWAY: Gateway = Gateway::UidSocket;

    type Protocol = UidProtocol;

    fn open(&self, _query: &str, outbox: &Arc<Outbox>) -> Result<UidProtocol, Close> {
        Ok(UidProtocol {
            dialect: self.clone(),
            outbox: Arc::clone(outbox),
            session: None,
        })
    }
}

impl Protocol for UidProtocol {
    fn appetite(&self) -> usize {
        match self.session {
            None => self.dialect.auth.max_claim(),
            Some(_) => 0,
        }
    }

    fn receive(&mut self, message: Received) -> Result<(), Close> {
        if self.session.is_some() {
            return Ok(());
        }
        let claim = match message {
            // The original took an empty message for a uid, to which it then gave every faulty
            // push.
            Received::Whole(claim) if claim.is_empty() => return Ok(()),
            Received::Whole(claim) => claim,
            Received::Oversized(length) => {
                let most = Uid::MAX_LEN;
                let reason = format!("uid is {length} bytes long, the most is {most}");
                return Err(Close::new(CloseCode::Policy, &reason));
            }
        };
        let uid = self.dialect.auth.uid(&claim);
        let uid = uid.map_err(|e| Close::new(CloseCode::Policy, &e.to_string()))?;
        // Found before it is counted: a push that is answered `ok` finds the page.
        let enter = |room| self.dialect.egress.enter(room, &self.outbox);
        let rooms = [enter(Room::User(uid.clone())), enter(Room::Everyone)];
        self.session = Some((self.dialect.hub.login(Some(uid)), rooms));
        Ok(())
    }
}
