//! The ports: which are open, and what is said of them at the start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::warnings;
use crate::config::{AuthMode, Config, Tls, TlsListener};
use crate::gateway::websocket;
use crate::ingress::udp::UdpIngress;
use crate::limits::Limits;
use crate::net::{Certificate, Guests, Listener, Proxies, Tuning};
use crate::web;

/// The largest head of a push: a long message may stand in the query.
const MAX_PUSH_HEAD: usize = 128 * 1024;

/// How long a backend may leave an answer unacknowledged.
const PUSH_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The addresses that an [`App`](crate::app::App) has opened; `None` where a listener is off.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Pages connect here by Socket.IO.
    pub socketio: Option<SocketAddr>,
    /// Backends push here by HTTP.
    pub http: Option<SocketAddr>,
    /// The demo page.
    pub web: Option<SocketAddr>,
    /// Health and figures.
    pub admin: Option<SocketAddr>,
    /// Pages of the uid websocket.
    pub uid_socket: Option<SocketAddr>,
    /// Backends push lines here.
    pub text: Option<SocketAddr>,
    /// Pages of the topic websocket.
    pub topic_socket: Option<SocketAddr>,
    /// Backends push packets here.
    pub udp: Option<SocketAddr>,
    /// Pages of the chat websocket.
    pub chat: Option<SocketAddr>,
    /// Pages connect here by Socket.IO, through a proxy on this machine.
    pub socketio_unix: Option<PathBuf>,
    /// Backends on this machine push here.
    pub http_unix: Option<PathBuf>,
}

/// Open ports, not yet served.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) socketio: Option<Listener>,
    pub(super) http: Option<Listener>,
    pub(super) web: Option<Listener>,
    pub(super) admin: Option<Listener>,
    pub(super) uid_socket: Option<Listener>,
    pub(super) text: Option<Listener>,
    pub(super) topic_socket: Option<Listener>,
    pub(super) udp: Option<UdpIngress>,
    pub(super) chat: Option<Listener>,
    pub(super) socketio_unix: Option<Listener>,
    pub(super) http_unix: Option<Listener>,
    /// What those that speak TLS show.
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl Listeners {
    /// Opens what `config` wants; `pages` is how Socket.IO's connections are treated.
    pub(super) fn bind(
        config: &Config,
        pages: Tuning,
        limits: &Arc<Limits>,
    ) -> anyhow::Result<Self> {
        let push = Tuning {
            send_buffer: None,
            user_timeout: PUSH_USER_TIMEOUT,
            max_head: MAX_PUSH_HEAD,
            head_timeout: config.http.request_timeout,
            mend_first_line: true,
            // `printf … | nc` closes its side and waits for the word.
            half_close: true,
        };
        let raw = websocket::tuning(&config.websocket);
        let proxies = Arc::new(Proxies::new(&config.proxy));
        let behind = |listener: Option<Listener>| listener.map(|open| open.behind(&proxies));
        let pages_in = |listener: Option<Listener>| {
            behind(listener).map(|open| open.limited(Guests::Pages(Arc::clone(limits))))
        };
        let pushes_in = |listener: Option<Listener>| {
            listener.map(|open| open.limited(Guests::Publishers(Arc::clone(limits))))
        };
        let few_in = |listener: Option<Listener>| {
            let few = Guests::few(limits, config.limits.reserve);
            listener.map(|open| open.limited(few))
        };
        let certificate = load(&config.tls)?;
        let secured = |name, listener: Option<Listener>| match &certificate {
            Some(shown) if config.tls.is_spoken(name) => listener.map(|open| open.secured(shown)),
            Some(_) | None => listener,
        };
        let (socketio, http) = (&config.socketio, &config.http);
        let unix = |section, path, mode, tuning| open_unix(section, (path, mode), tuning);
        Ok(Self {
            socketio: secured(
                TlsListener::SocketIo,
                pages_in(open("socketio", socketio.listen, pages)?),
            ),
            http: secured(
                TlsListener::Http,
                pushes_in(behind(open("http", http.listen, push)?)),
            ),
            web: few_in(open("web", config.web.listen, push)?),
            admin: few_in(open("admin", config.admin.listen, push)?),
            uid_socket: pages_in(open("uid_socket", config.uid_socket.listen, raw)?),
            text: open("text", config.text.listen, push)?
                .map(|open| open.limited(Guests::Lines(Arc::clone(limits)))),
            topic_socket: pages_in(open("topic_socket", config.topic_socket.listen, raw)?),
            udp: open_by("udp", config.udp.listen, UdpIngress::bind)?,
            chat: pages_in(open("chat", config.chat.listen, raw)?),
            socketio_unix: pages_in(unix("socketio", &socketio.unix, socketio.unix_mode, pages)?),
            http_unix: pushes_in(behind(unix("http", &http.unix, http.unix_mode, push)?)),
            certificate,
        })
    }

    pub(super) fn addresses(&self, config: &Config) -> Addresses {
        let address = |listener: &Option<Listener>| listener.as_ref().and_then(Listener::address);
        let path =
            |listener: &Option<Listener>, path: &PathBuf| listener.as_ref().map(|_| path.clone());
        Addresses {
            socketio: address(&self.socketio),
            http: address(&self.http),
            web: address(&self.web),
            admin: address(&self.admin),
            uid_socket: address(&self.uid_socket),
            text: address(&self.text),
            topic_socket: address(&self.topic_socket),
            udp: self.udp.as_ref().map(UdpIngress::address),
            chat: address(&self.chat),
            socketio_unix: path(&self.socketio_unix, &config.socketio.unix),
            http_unix: path(&self.http_unix, &config.http.unix),
        }
    }
}

impl Addresses {
    /// One line a listener: which address is open, for what, and whether it asks who is there.
    pub(super) fn log(&self, config: &Config) {
        let logins = match config.auth.mode {
            AuthMode::Open => "anyone may log in as any uid",
            AuthMode::Signed => "a login takes a signed token",
            AuthMode::Jwt => "a login takes a JSON Web Token",
            AuthMode::Webhook => "the webhook is asked about each login",
        };
        let chat_logins = match (config.auth.mode, config.chat.trust_uid) {
            (AuthMode::Open, _) | (_, false) => logins.to_owned(),
            (_, true) => format!("{logins}, but ?uid= in the URL takes none (chat.trust_uid)"),
        };
        let none = "no credentials are asked for";
        let pushes = match (config.api.has_keys(), config.api.require_signature) {
            (false, _) => none,
            (true, false) => "a push takes a key",
            (true, true) => "a push takes a signature",
        };
        for (listener, address, purpose) in self.purposes() {
            let Some(address) = address else {
                tracing::debug!(listener, "off");
                continue;
            };
            let credentials = match listener {
                "socketio" | "uid_socket" => logins,
                "chat" => &chat_logins,
                "udp" => asks_of_packets(config),
                "http" | "text" => pushes,
                "web" => "its form pushes for pages of this machine",
                "admin" if config.api.has_keys() && !address.ip().is_loopback() => {
                    "figures take a key"
                }
                _ => none,
            };
            let tls = match listener {
                "socketio" => config.tls.is_spoken(TlsListener::SocketIo),
                "http" => config.tls.is_spoken(TlsListener::Http),
                _ => false,
            };
            tracing::info!(listener, %address, purpose, credentials, tls, "listening");
        }
        let sockets = [
            (
                "socketio",
                &self.socketio_unix,
                "a proxy brings pages here",
                logins,
            ),
            ("http", &self.http_unix, "backends push here", pushes),
        ];
        for (listener, path, purpose, credentials) in sockets {
            if let Some(path) = path {
                let path = path.display();
                tracing::info!(listener, %path, purpose, credentials, "listening");
            }
        }
        warnings::log(self, config);
        if self.web.is_some() && !web::is_installed(&config.web.root) {
            let root = config.web.root.display();
            tracing::warn!(%root, "web.root holds no index.html: there is no demo page to show");
        }
    }

    /// What each port is for.
    fn purposes(&self) -> [(&'static str, Option<SocketAddr>, &'static str); 9] {
        [
            ("socketio", self.socketio, "pages connect here by Socket.IO"),
            ("http", self.http, "backends push here"),
            ("web", self.web, "the demo page; open it in a browser"),
            ("admin", self.admin, "health and figures"),
            (
                "uid_socket",
                self.uid_socket,
                "pages connect here by websocket",
            ),
            ("text", self.text, "backends push lines here"),
            (
                "topic_socket",
                self.topic_socket,
                "pages subscribe to topics here",
            ),
            ("udp", self.udp, "backends push packets here"),
            ("chat", self.chat, "pages chat here"),
        ]
    }
}

fn asks_of_packets(config: &Config) -> &'static str {
    match (config.udp.secret.is_empty(), config.api.has_keys()) {
        (true, false) => "no credentials are asked for",
        (false, false) => "a packet has to carry the secret",
        (_, true) => "a packet has to carry a key",
    }
}

fn open(
    section: &str,
    address: Option<SocketAddr>,
    tuning: Tuning,
) -> anyhow::Result<Option<Listener>> {
    open_by(section, address, |address| Listener::bind(address, tuning))
}

pub(super) fn load(tls: &Tls) -> anyhow::Result<Option<Arc<Certificate>>> {
    if !tls.is_on() {
        return Ok(None);
    }
    let certificate = Certificate::load(&tls.cert, &tls.key)?;
    Ok(Some(Arc::new(certificate)))
}

fn open_unix(
    section: &str,
    (path, mode): (&Path, u32),
    tuning: Tuning,
) -> anyhow::Result<Option<Listener>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let opened = Listener::bind_unix(path, mode, tuning);
    let path = path.display();
    opened
        .map(Some)
        .with_context(|| format!("cannot open {section}.unix = {path}"))
}

fn open_by<T>(
    section: &str,
    address: Option<SocketAddr>,
    open: impl FnOnce(SocketAddr) -> std::io::Result<T>,
) -> anyhow::Result<Option<T>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let opened = open(address).with_context(|| format!("cannot open {section}.listen = {address}"));
    opened.map(Some)
}
