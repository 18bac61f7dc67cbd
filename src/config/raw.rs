//! Sections of the raw websockets and of the ports that push to them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::config::units;

/// What holds for every raw websocket, whatever it speaks.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Websocket {
    /// How many messages may wait for one page; a page that falls further behind is cut off.
    pub max_queue: usize,
    /// How many bytes may wait for one page. A single message may be larger.
    pub max_queue_bytes: ByteSize,
    /// Origins whose pages may connect; `*` is any.
    pub origins: Vec<String>,
    /// How often a page is pinged; one that has sent nothing from one ping to the next is gone.
    #[serde(with = "units::duration")]
    pub ping_interval: Duration,
}

/// The uid websocket.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UidSocket {
    /// Address for pages; `None` turns the gateway off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
}

/// The text push port.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Text {
    /// Address for backends; `None` turns the ingress off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
    /// The longest line, with its end.
    pub max_line: ByteSize,
    /// Whether orders beyond the original's are taken: `@` with `all`, `group`, `online`, `kick`.
    pub extensions: bool,
}

/// The topic websocket.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSocket {
    /// Address for pages; `None` turns the gateway off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
}

/// The UDP push port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// Address for backends; `None` turns the ingress off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
    /// What each packet has to say in its field `secret`; empty asks for nothing.
    pub secret: Secret,
}

/// How topics are told apart.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// The fields that make a topic; `exact` matching takes all.
    pub keys: Vec<String>,
    /// When a packet is for a page.
    pub matching: Matching,
}

/// When a packet is for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// At least one key is in both, and every key that is in both has the same value.
    #[default]
    Shared,
    /// Every field of the page's subscription is in the packet, with the same value.
    Exact,
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself. Not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `shown` is the secret, found out in a time that does not tell how much of it is.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Tells only whether there is one.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "***" })
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { "***" })
    }
}

impl Websocket {
    /// `max_queue_bytes` in bytes.
    #[must_use]
    pub fn max_queue_bytes(&self) -> usize {
        units::as_usize(self.max_queue_bytes)
    }
}

impl Text {
    /// `max_line` in bytes.
    #[must_use]
    pub fn max_line_bytes(&self) -> usize {
        units::as_usize(self.max_line)
    }
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            max_queue: 4096,
            max_queue_bytes: ByteSize::mib(1),
            origins: vec!["*".to_owned()],
            ping_interval: Duration::from_secs(50),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self {
            listen: None,
            max_line: ByteSize::mib(10),
            extensions: false,
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            keys: vec!["school_id".to_owned(), "school_class_id".to_owned()],
            matching: Matching::Shared,
        }
    }
}
