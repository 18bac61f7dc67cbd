//! The chat websocket: a page says who it is, then sends JSON objects to users and groups. Each is
//! kept, then delivered verbatim.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod query;
mod talk;

use std::sync::Arc;
use std::time::Instant;

use crate::chat::Chat;
use crate::config;
use crate::gateway::websocket::{
    Asks, Close, Dialect, Handshake, Outbox, Progress, Protocol, Quarters, Received,
    WebsocketEgress,
};
use crate::metrics::Gateway;
use crate::net::Connection;
use crate::record::RecordId;
use query::Query;
use talk::{Claim, Talk};

/// Room for a frame's head, beside the message that it carries.
const HEAD: u64 = 14;

/// The dialect.
#[derive(Debug, Clone)]
pub(crate) struct ChatSocket {
    pub(crate) chat: Arc<Chat>,
    pub(crate) egress: Arc<WebsocketEgress>,
}

impl ChatSocket {
    /// Serves each connection of a listener.
    pub(crate) fn service(
        self,
        config: &config::Websocket,
        quarters: Quarters,
    ) -> impl Fn(Connection) -> Handshake<Self> + use<> {
        // What is too long to be a message is passed over and answered, up to a bound.
        let max_frame = 4 * self.chat.config.max_message.as_u64() + HEAD;
        Handshake::new(self, config, max_frame, quarters).for_each_connection()
    }
}

impl Dialect for ChatSocket {
    const GATEWAY: Gateway = Gateway::Chat;

    type Protocol = Talk;

    fn open(&self, query: &str, outbox: &Arc<Outbox>, asks: Asks) -> Result<Talk, Close> {
        let query = Query::read(query);
        let is_open = asks.entrance.auth.is_open();
        let mut talk = Talk::new(self.clone(), Arc::clone(outbox), asks);
        let trusted = query.uid.filter(|_| self.chat.config.trust_uid);
        let token = query.token.filter(|_| !is_open);
        let claim = token.map(Claim::Token).or(trusted.map(Claim::Uid));
        if let Some(claim) = claim {
            let entered = talk.enter(claim, query.since, &None);
            entered.map_err(|fault| Close::refused(&fault.text))?;
        }
        Ok(talk)
    }
}

impl Protocol for Talk {
    fn appetite(&self) -> usize {
        self.max_message()
    }

    fn receive(&mut self, message: Received) -> Result<(), Close> {
        match message {
            Received::Whole(bytes) => self.hear(&bytes),
            Received::Oversized(length) => self.refuse_length(length),
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    async fn progress(&mut self) -> Progress {
        Self::progress(self).await
    }

    fn expires(&self) -> Option<Instant> {
        Self::expires(self)
    }

    fn holds_outbox(&self) -> bool {
        self.is_catching_up()
    }

    fn skips(&self, record: RecordId) -> bool {
        self.has_caught(record)
    }

    fn wrote(&mut self, record: RecordId) {
        Self::wrote(self, record);
    }
}
