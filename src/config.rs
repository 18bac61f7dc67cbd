//! The configuration: one section a concern, parsed once and passed by value.
//!
//! Plain data. Where the values come from, and the errors that name a key, its value and its
//! origin, are in [`load`].

pub mod load;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

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
    /// How content is escaped before pages get it.
    pub escape_html: EscapeHtml,
    /// The largest request body.
    pub max_body: ByteSize,
    /// How long a request's head, and then its body, may take to arrive.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
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
}

impl Default for SocketIo {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 2120))),
            path: "*".to_owned(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(60),
            max_payload: ByteSize::kib(128),
            max_queue: 1024,
            origins: vec!["*".to_owned()],
            push_to_sid: true,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 2121))),
            escape_html: EscapeHtml::Modern,
            max_body: ByteSize::mib(10),
            request_timeout: Duration::from_secs(30),
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

/// A value that is well-formed but cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Config {
    /// Looks for values that contradict each other or make no sense.
    ///
    /// # Errors
    /// The first one found.
    pub fn validate(&self) -> Result<(), Contradiction> {
        self.listeners_differ()?;
        let positive = [
            ("socketio.ping_interval", self.socketio.ping_interval),
            ("socketio.ping_timeout", self.socketio.ping_timeout),
            ("http.request_timeout", self.http.request_timeout),
            ("presence.interval", self.presence.interval),
        ];
        for (key, duration) in positive {
            require(duration > Duration::ZERO, key, "has to be longer than zero")?;
        }
        let path = &self.socketio.path;
        require(
            path == "*" || (path.len() > 1 && path.starts_with('/')),
            "socketio.path",
            "has to be \"*\" or start with a slash, as \"/socket.io\"",
        )?;
        let payload = self.socketio.max_payload_bytes();
        require(
            payload >= 1024,
            "socketio.max_payload",
            "has to be at least 1 KiB",
        )?;
        let body = self.http.max_body_bytes();
        require(body > 0, "http.max_body", "has to be at least 1 byte")?;
        let queue = self.socketio.max_queue;
        let in_bounds = (32..=65_536).contains(&queue);
        require(
            in_bounds,
            "socketio.max_queue",
            "has to be from 32 to 65536",
        )?;
        let origins = &self.socketio.origins;
        require(
            origins.iter().all(|o| o == "*" || o.contains("://")),
            "socketio.origins",
            "each has to be \"*\" or scheme://host[:port], as \"https://www.example.com\"",
        )?;
        require(
            is_log_level(&self.log.level),
            "log.level",
            "expected off, error, warn, info, debug or trace, or target=level pairs with commas",
        )
    }

    fn listeners_differ(&self) -> Result<(), Contradiction> {
        let listeners = [
            ("socketio.listen", self.socketio.listen),
            ("http.listen", self.http.listen),
            ("web.listen", self.web.listen),
        ];
        for (i, (key, address)) in listeners.iter().enumerate() {
            let Some(address) = address.filter(|a| a.port() != 0) else {
                continue;
            };
            let taken = listeners[..i].iter().find(|(_, a)| *a == Some(address));
            if let Some((other, _)) = taken {
                let problem = format!("is the address of {other} too; each needs its own");
                return Err(Contradiction { key, problem });
            }
        }
        Ok(())
    }
}

/// Whether `level` is a level, or levels by target. A bare word that is no level would pass as the
/// name of a target and silence all others.
fn is_log_level(level: &str) -> bool {
    let is_level = |level: &str| level.trim().parse::<LevelFilter>().is_ok();
    level.split(',').all(|part| match part.split_once('=') {
        Some((_, level)) => is_level(level),
        None => is_level(part),
    })
}

fn require(holds: bool, key: &'static str, problem: &str) -> Result<(), Contradiction> {
    if holds {
        return Ok(());
    }
    let problem = problem.to_owned();
    Err(Contradiction { key, problem })
}
