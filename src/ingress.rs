//! The publisher side: what every ingress turns its own grammar into, and how it is answered.

pub mod form;
pub(crate) mod text;
pub(crate) mod udp;

use std::sync::Arc;

use crate::auth::api_keys::Denied;
use crate::hub::{Backlog, Hub, KeepError};
use crate::metrics::{Ingress, Metrics, Outcome};
use crate::push::{Content, Delivery, Push, Target};

/// What a publisher asked for, whatever protocol it speaks.
#[derive(Debug)]
pub(crate) struct Command {
    /// Whom the message is for.
    pub(crate) target: Target,
    /// The message, escaped where the ingress escapes.
    pub(crate) content: String,
    /// Whether it waits on disk for those who are away.
    pub(crate) is_stored: bool,
}

impl Command {
    /// The push that the hub gets.
    fn into_push(self) -> Push {
        Push::new(self.target, Content::from(Arc::from(self.content)))
    }
}

/// Carries out commands, and counts them.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    hub: Arc<Hub>,
    /// `None` where there is no store.
    backlog: Option<Arc<Backlog>>,
    metrics: Metrics,
    ingress: Ingress,
}

impl Publisher {
    /// Commands count as those of `ingress`.
    pub(crate) fn new(
        hub: &Arc<Hub>,
        backlog: Option<&Arc<Backlog>>,
        metrics: &Metrics,
        ingress: Ingress,
    ) -> Self {
        Self {
            hub: Arc::clone(hub),
            backlog: backlog.cloned(),
            metrics: metrics.clone(),
            ingress,
        }
    }

    /// Carries out a command.
    pub(crate) async fn publish(&self, command: Command) -> Reply {
        let reply = match (command.is_stored, &self.backlog) {
            (false, _) => self.hub.publish(command.into_push()).await.into(),
            (true, None) => Reply::Unkept(Unkept::NoStore),
            (true, Some(backlog)) => match backlog.publish(command.into_push()).await {
                Ok(delivery) => delivery.into(),
                Err(KeepError::Busy) => Reply::Unkept(Unkept::Busy),
                Err(KeepError::Store(_)) => Reply::Unkept(Unkept::Store),
            },
        };
        self.note(reply);
        reply
    }

    /// Counts a command that was answered otherwise.
    pub(crate) fn note(&self, reply: Reply) {
        self.metrics.pushed(self.ingress, reply.into());
    }
}

/// The answer to a command; each ingress writes it in its own form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Somebody it is for is online, or it was for everyone.
    Ok,
    /// Nobody it is for is online.
    Offline,
    /// The command could not be understood; nothing was published.
    Fail,
    /// It had to be kept, and was not; nothing was published.
    Unkept(Unkept),
    /// Whoever asks may not.
    Denied(Denied),
    /// A page of another site made a browser ask.
    CrossSite,
}

/// Why a push was not kept; sent to the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unkept {
    /// This server keeps nothing.
    #[error("store=1 needs a store: store.url is empty")]
    NoStore,
    /// Too many pushes wait to be kept.
    #[error("too many pushes wait to be kept; try again")]
    Busy,
    /// It does not answer, or has no room.
    #[error("the store failed; try again, the server's log says more")]
    Store,
}

impl Reply {
    /// The word of web-msg-sender's push port.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Offline => "offline",
            Self::Fail | Self::Unkept(_) | Self::Denied(_) | Self::CrossSite => "fail",
        }
    }
}

impl From<Delivery> for Reply {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Online => Self::Ok,
            Delivery::Offline => Self::Offline,
        }
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Ok => Self::Ok,
            Reply::Offline => Self::Offline,
            Reply::Fail => Self::Fail,
            Reply::Unkept(_) => Self::Unkept,
            Reply::Denied(_) | Reply::CrossSite => Self::Denied,
        }
    }
}
