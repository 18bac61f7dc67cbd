//! The configuration: one section a concern, parsed once and passed by value.
//!
//! Plain data. Where the values come from, and the errors that name a key, its value and its
//! origin, are in [`load`].

mod api;
mod auth;
mod chat;
mod check;
mod limits;
pub mod load;
mod proxy;
mod raw;
mod recovery;
mod tls;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

pub use api::Api;
pub use auth::{Auth, AuthMode, JwtKey};
pub use chat::{Chat, Store, Strategy};
pub use check::Contradiction;
pub use limits::Limits;
pub use proxy::{ForwardedBy, Proxy, Trusted};
pub use raw::{Matching, Secret, Text, TopicSocket, Topics, Udp, UidSocket, Websocket};
pub use recovery::{Backlog, Recovery};
pub use tls::{Tls, TlsListener};

/// The commented example: every key with its default. Printed by `campanile config`.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The Socket.IO gateway, to which pages connect.
    pub socketio: SocketIo,
    /// The HTTP ingress, to which backends push.
    pub http: Http,
    /// The demo page.
    pub web: Web,
    /// Health and figures.
    pub admin: Admin,
    /// The uid websocket.
    pub uid_socket: UidSocket,
    /// The text push port.
    pub text: Text,
    /// The topic websocket.
    pub topic_socket: TopicSocket,
    /// The UDP push port.
    pub udp: Udp,
    /// How topics are told apart.
    pub topics: Topics,
    /// The chat.
    pub chat: Chat,
    /// Where records are kept.
    pub store: Store,
    /// What holds for every raw websocket.
    pub websocket: Websocket,
    /// Which certificate is shown, and where.
    pub tls: Tls,
    /// What stands in front of the server.
    pub proxy: Proxy,
    /// Who may log in.
    pub auth: Auth,
    /// Who may push.
    pub api: Api,
    /// How much pages may take.
    pub limits: Limits,
    /// What pages get that reconnect.
    pub recovery: Recovery,
    /// What users get who were away.
    pub backlog: Backlog,
    /// The online count that pages get.
    pub presence: Presence,
    /// How the process stops.
    pub shutdown: Shutdown,
    /// What is logged, and how.
    pub log: Log,
}

/// The Socket.IO gateway.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketIo {
    /// Address for pages; `None` turns the gateway off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
    /// A Unix socket for pages that a proxy brings, beside it; empty for none.
    pub unix: PathBuf,
    /// Who may connect to it.
    #[serde(with = "units::mode")]
    pub unix_mode: u32,
    /// Path of the Socket.IO endpoint; `*` takes any, as the original did.
    pub path: String,
    /// How often a connection is checked for life.
    #[serde(with = "units::duration")]
    pub ping_interval: Duration,
    /// How long a page may take to answer a check before it counts as gone.
    #[serde(with = "units::duration")]
    pub ping_timeout: Duration,
    /// The largest message a page may send.
    pub max_payload: ByteSize,
    /// How many messages may wait for one page; a page that falls further behind is cut off.
    pub max_queue: usize,
    /// How many bytes of them. A single message may be larger.
    pub max_queue_bytes: ByteSize,
    /// Origins whose pages may connect; `*` is any.
    pub origins: Vec<String>,
    /// Whether `to` may also name a socket by its id, as in the original.
    pub push_to_sid: bool,
}

/// The HTTP ingress.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address for backends; `None` turns the ingress off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
    /// A Unix socket for backends on this machine, beside it; empty for none.
    pub unix: PathBuf,
    /// Who may connect to it.
    #[serde(with = "units::mode")]
    pub unix_mode: u32,
    /// How content is escaped before pages get it.
    pub escape_html: EscapeHtml,
    /// The largest request body.
    pub max_body: ByteSize,
    /// How long a request's head, and then its body, may take to arrive.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// Whether a browser may push from another site's page.
    pub allow_cross_site: bool,
}

/// How content is escaped: `true`, `false` or `"compat"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapeHtml {
    /// `htmlspecialchars` of PHP 8.1 and newer.
    #[default]
    Modern,
    /// `htmlspecialchars` before PHP 8.1: `'` stays, invalid UTF-8 empties the text.
    Compat,
    /// Not at all: pages must then insert content as text, never as HTML.
    Off,
}

/// The demo page.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Address of the demo page; `None` turns it off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
    /// Folder of the page's files.
    pub root: PathBuf,
}

/// The admin listener: health and figures.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address for operators and what watches for them; `None` turns it off.
    #[serde(with = "units::listen")]
    pub listen: Option<SocketAddr>,
}

/// The online count that pages get.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// How often pages are told of a changed count.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// The text; `{users}` and `{pages}` are replaced.
    pub text: String,
}

/// How the process stops.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// The most that an orderly stop may take.
    #[serde(with = "units::duration")]
    pub grace: Duration,
    /// Over how long the pages are sent away, so that they do not all come back at one instant. At
    /// most half of `grace`.
    #[serde(with = "units::duration")]
    pub drain: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or `target=level` pairs with commas.
    pub level: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Every listener by the name of its section; `None` where it is off.
    #[must_use]
    pub fn listeners(&self) -> [(&'static str, Option<SocketAddr>); 9] {
        [
            ("socketio", self.socketio.listen),
            ("http", self.http.listen),
            ("web", self.web.listen),
            ("admin", self.admin.listen),
            ("uid_socket", self.uid_socket.listen),
            ("text", self.text.listen),
            ("topic_socket", self.topic_socket.listen),
            ("udp", self.udp.listen),
            ("chat", self.chat.listen),
        ]
    }
}

impl Http {
    /// `max_body` in bytes.
    #[must_use]
    pub fn max_body_bytes(&self) -> usize {
        units::as_usize(self.max_body)
    }
}

impl SocketIo {
    /// `max_payload` in bytes.
    #[must_use]
    pub fn max_payload_bytes(&self) -> usize {
        units::as_usize(self.max_payload)
    }

    /// `max_queue_bytes` in bytes.
    #[must_use]
    pub fn max_queue_bytes(&self) -> usize {
        units::as_usize(self.max_queue_bytes)
    }
}

impl Default for SocketIo {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 2120))),
            unix: PathBuf::new(),
            unix_mode: 0o660,
            path: "*".to_owned(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(60),
            max_payload: ByteSize::kib(128),
            max_queue: 1024,
            max_queue_bytes: ByteSize::mib(4),
            origins: vec!["*".to_owned()],
            push_to_sid: true,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 2121))),
            unix: PathBuf::new(),
            unix_mode: 0o660,
            escape_html: EscapeHtml::Modern,
            max_body: ByteSize::mib(10),
            request_timeout: Duration::from_secs(30),
            allow_cross_site: false,
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 2123))),
            root: PathBuf::from("web-demo"),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 2124))),
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            text: "当前<b>{users}</b>人在线，共打开<b>{pages}</b>个页面".to_owned(),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            drain: Duration::from_secs(2),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Pretty,
        }
    }
}
