//! The uid websocket of Workerman's example: a page's first message is its uid, verbatim; whatever
//! it sends later is ignored. It gets each push as a text frame, and first those that its user has
//! missed.

mod standing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::auth::Admitted;
use crate::config;
use crate::gateway::entrance::{self, Refusal, Verdict};
use crate::gateway::websocket::{
    Asks, Close, Dialect, Handshake, Outbox, Progress, Protocol, Quarters, Received,
    WebsocketEgress,
};
use crate::hub::{Backlog, Hub};
use crate::metrics::{Gateway, Metrics, Reason};
use crate::net::Connection;
use standing::Presence;

/// The largest frame, head included, as in the original. What is of no use is passed over as it
/// arrives, so the figure costs no memory.
const MAX_FRAME: u64 = 10 * 1024 * 1024;

/// The dialect.
#[derive(Debug, Clone)]
pub(crate) struct UidSocket {
    pub(crate) hub: Arc<Hub>,
    pub(crate) egress: Arc<WebsocketEgress>,
    /// `None` where there is no store.
    pub(crate) backlog: Option<Arc<Backlog>>,
    pub(crate) metrics: Metrics,
    /// How far a connection that breaks is taken back.
    pub(crate) rewind: Duration,
}

/// One page's side of it.
pub(crate) struct UidProtocol {
    dialect: UidSocket,
    asks: Asks,
    outbox: Arc<Outbox>,
    /// Whether it may be who it says is being asked.
    asking: Option<BoxFuture<'static, Result<Admitted, Refusal>>>,
    /// Once it has said who it is.
    presence: Option<Presence>,
    /// When its claim is good no longer.
    expires: Option<Instant>,
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

    fn open(&self, _query: &str, outbox: &Arc<Outbox>, asks: Asks) -> Result<UidProtocol, Close> {
        Ok(UidProtocol {
            dialect: self.clone(),
            asks,
            outbox: Arc::clone(outbox),
            asking: None,
            presence: None,
            expires: None,
        })
    }
}

impl UidProtocol {
    /// The verdict on what the page said.
    fn judged(&mut self, verdict: Result<Admitted, Refusal>) -> Result<(), Close> {
        let admitted = match verdict {
            Ok(admitted) => admitted,
            // Its claim is good for as long as it was.
            Err(refusal) if self.presence.is_some() => return self.renewal_refused(&refusal),
            Err(refusal) => return Err(self.refused(&refusal)),
        };
        let expires = entrance::deadline(admitted.expires);
        if let Some(presence) = &self.presence {
            if !entrance::renews(&self.asks.entrance.auth, presence.uid(), &admitted) {
                return Err(self.refused(&Refusal::Second));
            }
        } else {
            let pages = self.dialect.hub.sessions(&admitted.uid);
            let may = self.asks.entrance.limits.user_opens(pages);
            may.map_err(|over| self.refused(&over.into()))?;
            self.presence = Some(Presence::begin(&self.dialect, &self.outbox, admitted));
        }
        self.expires = expires;
        Ok(())
    }

    fn refused(&self, refusal: &Refusal) -> Close {
        self.asks.entrance.refused(&self.asks.visitor, refusal);
        Close::refused(&refusal.to_string())
    }

    fn renewal_refused(&self, refusal: &Refusal) -> Result<(), Close> {
        let Asks { entrance, visitor } = &self.asks;
        if entrance.refused(visitor, refusal) {
            return Err(Close::refused(&refusal.to_string()));
        }
        Ok(())
    }

    /// What the page says next is of use if it can renew its claim.
    fn is_deaf(&self) -> bool {
        self.presence.is_some() && self.expires.is_none()
    }
}

impl Protocol for UidProtocol {
    fn appetite(&self) -> usize {
        if self.is_deaf() {
            return 0;
        }
        self.asks.entrance.auth.max_claim()
    }

    fn receive(&mut self, message: Received) -> Result<(), Close> {
        if self.is_deaf() {
            return Ok(());
        }
        let claim = match message {
            // The original took an empty message for a uid, to which it then gave every faulty
            // push.
            Received::Whole(claim) if claim.is_empty() => return Ok(()),
            Received::Whole(claim) => claim,
            Received::Oversized(length) => {
                let most = self.asks.entrance.auth.max_claim();
                let reason = format!("uid is {length} bytes long, the most is {most}");
                return Err(Close::refused(&reason));
            }
        };
        let Asks { entrance, visitor } = &self.asks;
        match entrance.ask(visitor, &claim, None) {
            Verdict::Now(verdict) => self.judged(verdict),
            Verdict::Later(verdict) => {
                self.asking = Some(verdict);
                Ok(())
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.asking.is_none()
    }

    async fn progress(&mut self) -> Progress {
        if let Some(verdict) = &mut self.asking {
            let verdict = verdict.await;
            self.asking = None;
            if let Err(close) = self.judged(verdict) {
                self.outbox.close(close);
            }
            return Progress::default();
        }
        let Self {
            presence: Some(presence),
            dialect,
            outbox,
            ..
        } = self
        else {
            return std::future::pending().await;
        };
        presence.progress(dialect, outbox).await;
        Progress::default()
    }

    fn expires(&self) -> Option<Instant> {
        self.expires
    }

    fn ends(&mut self, reason: Reason, arrived: Option<u64>) {
        if let Some(presence) = self.presence.take() {
            presence.end(&self.dialect, reason, arrived);
        }
    }
}
