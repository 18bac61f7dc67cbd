//! Values that are well-formed but contradict each other or make no sense.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use tracing::level_filters::LevelFilter;

use crate::config::{AuthMode, Config, Secret};

/// A value that is well-formed but cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The key, as `section.key`.
    pub key: String,
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
            ("websocket.ping_interval", self.websocket.ping_interval),
            ("store.timeout", self.store.timeout),
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
        let lists = [
            ("socketio.origins", &self.socketio.origins),
            ("websocket.origins", &self.websocket.origins),
        ];
        for (key, origins) in lists {
            require(
                origins.iter().all(|o| o == "*" || o.contains("://")),
                key,
                "each has to be \"*\" or scheme://host[:port], as \"https://www.example.com\"",
            )?;
        }
        self.check_api()?;
        self.check_raw()?;
        self.check_chat()?;
        self.check_auth()?;
        self.check_recovery()?;
        self.check_doors()?;
        require(
            is_log_level(&self.log.level),
            "log.level",
            "expected off, error, warn, info, debug or trace, or target=level pairs with commas",
        )
    }

    fn check_recovery(&self) -> Result<(), Contradiction> {
        require(
            self.socketio.max_queue_bytes.as_u64() >= 64 * 1024,
            "socketio.max_queue_bytes",
            "has to be at least 64 KiB",
        )?;
        require(
            self.recovery.window <= Duration::from_secs(24 * 3600),
            "recovery.window",
            "has to be at most 1day; what has to wait for longer is for store=1",
        )?;
        require(
            self.recovery.max_bytes.as_u64() >= 64 * 1024,
            "recovery.max_bytes",
            "has to be at least 64 KiB",
        )?;
        require(
            self.backlog.max_messages > 0,
            "backlog.max_messages",
            "has to be at least 1",
        )?;
        require(
            !self.backlog.ttl.is_zero(),
            "backlog.ttl",
            "has to be longer than zero",
        )
    }

    fn check_doors(&self) -> Result<(), Contradiction> {
        let (pages, pushes) = (&self.socketio.unix, &self.http.unix);
        require(
            pages != pushes || pages.as_os_str().is_empty(),
            "http.unix",
            "is the path of socketio.unix too; each needs its own",
        )?;
        let is_path = |path: &PathBuf| !path.as_os_str().is_empty();
        let mut ports = self.listeners().into_iter();
        let is_on = ports.any(|(_, port)| port.is_some()) || is_path(pages) || is_path(pushes);
        require(
            is_on,
            "socketio.listen",
            "is empty, and so is every other listener: there is nothing to serve",
        )?;
        let (has_cert, has_key) = (self.tls.is_on(), !self.tls.key.as_os_str().is_empty());
        require(
            has_cert || !has_key,
            "tls.cert",
            "has to be set where tls.key is",
        )?;
        require(
            has_key || !has_cert,
            "tls.key",
            "has to be set where tls.cert is",
        )?;
        require(
            !self.proxy.protocol || !self.proxy.trusted.is_empty(),
            "proxy.protocol",
            "has to be false where proxy.trusted names nobody",
        )
    }

    fn check_raw(&self) -> Result<(), Contradiction> {
        let (messages, bytes) = (
            self.websocket.max_queue,
            self.websocket.max_queue_bytes.as_u64(),
        );
        require(
            (32..=65_536).contains(&messages),
            "websocket.max_queue",
            "has to be from 32 to 65536",
        )?;
        require(
            bytes >= 64 * 1024,
            "websocket.max_queue_bytes",
            "has to be at least 64 KiB",
        )?;
        require(
            self.text.max_line.as_u64() >= 1024,
            "text.max_line",
            "has to be at least 1 KiB",
        )?;
        let keys = &self.topics.keys;
        require(
            (1..=16).contains(&keys.len()) && keys.iter().all(|key| !key.is_empty()),
            "topics.keys",
            "has to name from 1 to 16 fields, as [\"school_id\"]",
        )
    }

    fn check_chat(&self) -> Result<(), Contradiction> {
        let url = self.store.url.expose();
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        require(
            url.is_empty() || schemes.iter().any(|scheme| url.starts_with(scheme)),
            "store.url",
            "has to be sqlite: and a file, as \"sqlite:campanile.db\", or postgres://user@host/name, \
             or \"\" for none",
        )?;
        require(
            !(url.is_empty() && self.chat.is_on()),
            "store.url",
            "has to name a store where the chat is on",
        )?;
        require(
            (1024..=16 * 1024 * 1024).contains(&self.chat.max_message.as_u64()),
            "chat.max_message",
            "has to be from 1 KiB to 16 MiB",
        )?;
        require(
            self.chat.max_message.as_u64() <= self.websocket.max_queue_bytes.as_u64() / 2,
            "chat.max_message",
            "has to be at most half of websocket.max_queue_bytes",
        )?;
        require(
            (1..=10_000).contains(&self.chat.max_addressees),
            "chat.max_addressees",
            "has to be from 1 to 10000",
        )?;
        require(
            (1..=1000).contains(&self.chat.max_history),
            "chat.max_history",
            "has to be from 1 to 1000",
        )
    }

    fn check_auth(&self) -> Result<(), Contradiction> {
        let auth = &self.auth;
        let is_long = |secret: &Secret| secret.expose().len() >= 16;
        require(
            auth.mode != AuthMode::Signed || is_long(&auth.secret),
            "auth.secret",
            "has to be at least 16 bytes long where auth.mode is \"signed\"",
        )?;
        require(
            auth.old_secrets.iter().all(is_long),
            "auth.old_secrets",
            "each has to be at least 16 bytes long",
        )?;
        self.check_jwt()?;
        require(
            auth.mode != AuthMode::Webhook || !auth.webhook_url.is_empty(),
            "auth.webhook_url",
            "has to be given where auth.mode is \"webhook\"",
        )?;
        require(
            auth.webhook_url.is_empty() || is_http(&auth.webhook_url),
            "auth.webhook_url",
            "has to be an address, as \"http://127.0.0.1:8000/login\"",
        )?;
        let secret = &auth.webhook_secret;
        require(
            secret.is_empty() || (is_long(secret) && is_header_value(secret)),
            "auth.webhook_secret",
            "has to be at least 16 bytes long, and of what a header can hold",
        )?;
        let is_name = |name: &String| HeaderName::from_bytes(name.as_bytes()).is_ok();
        require(
            auth.webhook_headers.iter().all(is_name),
            "auth.webhook_headers",
            "each has to be the name of a header, as \"cookie\"",
        )?;
        let timeout = auth.webhook_timeout;
        require(
            timeout > Duration::ZERO && timeout <= Duration::from_secs(60),
            "auth.webhook_timeout",
            "has to be longer than zero and at most 1m",
        )?;
        require(
            (1..=10_000).contains(&auth.webhook_concurrency),
            "auth.webhook_concurrency",
            "has to be from 1 to 10000",
        )?;
        require(
            auth.webhook_queue <= 1_000_000,
            "auth.webhook_queue",
            "has to be at most 1000000",
        )
    }

    fn check_jwt(&self) -> Result<(), Contradiction> {
        let auth = &self.auth;
        let has_keys = !auth.jwt_keys.is_empty() || !auth.jwks_url.is_empty();
        require(
            auth.mode != AuthMode::Jwt || has_keys,
            "auth.jwt_keys",
            "has to name a key where auth.mode is \"jwt\", or auth.jwks_url where keys are",
        )?;
        for (i, key) in auth.jwt_keys.iter().enumerate() {
            let has_file = !key.file.as_os_str().is_empty();
            let problem = match (has_file, key.secret.expose().len()) {
                (true, 0) | (false, 32..) => continue,
                (true, _) => "has a file and a secret; each needs a key of its own",
                (false, 0) => "has neither a file nor a secret",
                (false, _) => "has a secret of less than 32 bytes, which is too short to be safe",
            };
            let problem = format!("number {} {problem}", i + 1);
            require(false, "auth.jwt_keys", &problem)?;
        }
        require(
            auth.jwks_url.is_empty() || is_http(&auth.jwks_url),
            "auth.jwks_url",
            "has to be an address, as \"https://login.example.com/.well-known/jwks.json\"",
        )?;
        require(
            (Duration::from_secs(10)..=Duration::from_secs(7 * 24 * 3600))
                .contains(&auth.jwks_refresh),
            "auth.jwks_refresh",
            "has to be from 10s to 7days",
        )?;
        require(
            auth.jwt_leeway <= Duration::from_secs(3600),
            "auth.jwt_leeway",
            "has to be at most 1h",
        )
    }

    fn listeners_differ(&self) -> Result<(), Contradiction> {
        // The one that is not TCP is in nobody's way.
        let tcp = self
            .listeners()
            .into_iter()
            .filter(|(name, _)| *name != "udp");
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        for (name, address) in tcp {
            let Some(address) = address.filter(|address| address.port() != 0) else {
                continue;
            };
            if let Some((other, _)) = taken.iter().find(|(_, known)| *known == address) {
                let problem = format!("is the address of {other}.listen too; each needs its own");
                let key = format!("{name}.listen");
                return Err(Contradiction { key, problem });
            }
            taken.push((name, address));
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

/// Whether `url` is one that can be called.
fn is_http(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|h| !h.is_empty())
}

fn is_header_value(secret: &Secret) -> bool {
    HeaderValue::from_str(secret.expose()).is_ok()
}

fn require(holds: bool, key: &'static str, problem: &str) -> Result<(), Contradiction> {
    if holds {
        return Ok(());
    }
    let (key, problem) = (key.to_owned(), problem.to_owned());
    Err(Contradiction { key, problem })
}
