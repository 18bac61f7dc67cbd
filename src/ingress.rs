//! The publisher side: what every ingress turns its own grammar into, and how it is answered.

pub mod form;
pub(crate) mod text;
pub(crate) mod udp;

use std::sync::Arc;

use crate::metrics::Outcome;
use crate::push::{Content, Delivery, Push, Target};

/// What a publisher asked for, whatever protocol it speaks.
#[derive(Debug)]
pub(crate) struct Command {
    /// Whom the message is for.
    pub(crate) target: Target,
    /// The message, escaped where the ingress escapes.
    pub(crate) content: String,
}

impl Command {
    /// The push that the hub gets.
    pub(crate) fn into_push(self) -> Push {
        Push::new(self.target, Content::from(Arc::from(self.content)))
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
}

impl Reply {
    /// The word of web-msg-sender's push port.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Offline => "offline",
            Self::Fail => "fail",
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
        }
    }
}
