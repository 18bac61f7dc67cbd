//! Sections of the chat, and of the store that keeps its records.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::config::{Secret, units};

/// The chat.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chat {
    /// Address of the chat websocket; `None` turns it off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
    /// Whether logged-in Socket.IO pages may send, too.
    pub socketio: bool,
    /// Whether `?uid=` in a page's URL is its login. Only behind something that checks it.
    pub trust_uid: bool,
    /// What becomes of a message besides being kept.
    pub strategy: Strategy,
    /// Whether delivered messages carry `_id`, `_from` and `_ts`.
    pub stamp: bool,
    /// The largest message of a page.
    pub max_message: ByteSize,
    /// The most users that one message may be for.
    pub max_addressees: usize,
    /// The most records that one answer to `history` holds.
    pub max_history: u32,
    /// A user who is back within this time was never away, for those who watch presence.
    #[serde(with = "units::duration")]
    pub presence_grace: Duration,
}

/// What becomes of a message besides being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
pub enum Strategy {
    /// Delivered to who is online now.
    #[default]
    #[serde(rename = "live")]
    Live,
    /// Delivered to who is online now, and at the next login to a user who was not.
    #[serde(rename = "live+offline")]
    LiveAndOffline,
    /// Not delivered: it is there for `history`.
    #[serde(rename = "store-only")]
    StoreOnly,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:` and a file, or `postgres://…`. Opened only when something keeps records.
    pub url: Secret,
    /// How long the store may take to answer.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Older records go; zero keeps them whatever their age.
    #[serde(with = "units::duration")]
    pub max_age: Duration,
    /// Beyond this many the oldest records go; 0 keeps any number.
    pub max_records: u64,
}

impl Chat {
    /// Whether anything of it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.listen.is_some() || self.socketio
    }

    /// `max_message` in bytes.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        units::as_usize(self.max_message)
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            listen: None,
            socketio: false,
            trust_uid: false,
            strategy: Strategy::Live,
            stamp: false,
            max_message: ByteSize::kib(64),
            max_addressees: 1000,
            max_history: 200,
            presence_grace: Duration::from_secs(2),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: Secret::from("sqlite:campanile.db"),
            timeout: Duration::from_secs(5),
            max_age: Duration::ZERO,
            max_records: 0,
        }
    }
}
