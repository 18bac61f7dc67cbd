//! The uid websocket of Workerman's example: a page's first message is its uid, verbatim; whatever
//! it sends later is ignored. It gets each push as a text frame, and first those that its user has
//! missed.

mod standing;

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::config;
use crate::gateway::websocket::{
    Close, CloseCode, Dialect, Handshake, Outbox, Progress, Protocol, Quarters, Received,
    WebsocketEgress,
};
use crate::hub::{Backlog, Hub};
use crate::metrics::{Gateway, Metrics, Reason};
use crate::net::Connection;
use crate::uid::Uid;
use standing::Presence;

/// The largest frame, head included, as in the original. What is of no use is passed over as it
/// arrives, so the figure costs no memory.
const MAX_FRAME: u64 = 10 * 1024 * 1024;

/// The dialect.
#[derive(Debug, Clone)]
pub(crate) struct UidSocket {
    pub(crate) hub: Arc<Hub>,
    pub(crate) egress: Arc<WebsocketEgress>,
    pub(crate) auth: Arc<Auth>,
    /// `None` where there is no store.
    pub(crate) backlog: Option<Arc<Backlog>>,
    pub(crate) metrics: Metrics,
    /// How far a connection that breaks is taken back.
    pub(crate) rewind: Duration,
}

/// One page's side of it.
pub(crate) struct UidProtocol {
    dialect: UidSocket,
    outbox: Arc<Outbox>,
    /// Once it has said who it is.
    presence: Option<Presence>,
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
            presence: None,
        })
    }
}

impl Protocol for UidProtocol {
    fn appetite(&self) -> usize {
        match self.presence {
            None => self.dialect.auth.max_claim(),
            Some(_) => 0,
        }
    }

    fn receive(&mut self, message: Received) -> Result<(), Close> {
        if self.presence.is_some() {
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
        self.presence = Some(Presence::begin(&self.dialect, &self.outbox, uid));
        Ok(())
    }

    async fn progress(&mut self) -> Progress {
        if let Some(presence) = &mut self.presence {
            presence.progress(&self.dialect, &self.outbox).await;
            return Progress::default();
        }
        std::future::pending().await
    }

    fn ends(&mut self, reason: Reason, arrived: Option<u64>) {
        if let Some(presence) = self.presence.take() {
            presence.end(&self.dialect, reason, arrived);
        }
    }
}
