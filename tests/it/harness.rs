//! A real server on free ports, and the verbs of a backend that pushes to it.

pub(crate) mod attack;
pub(crate) mod backend;
pub(crate) mod certificate;
pub(crate) mod chat;
pub(crate) mod figures;
pub(crate) mod http;
pub(crate) mod keeping;
pub(crate) mod line;
pub(crate) mod listener;
pub(crate) mod mint;
pub(crate) mod page;
pub(crate) mod parcels;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod records;
pub(crate) mod recovery;

use std::net::SocketAddr;
use std::time::Duration;

use campanile::app::{Addresses, App};
use campanile::config::Config;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use http::{Answer, Http};
use page::{Dialect, EIO4_WEBSOCKET, Page};

/// Any free port.
pub(crate) const FREE: Option<SocketAddr> = Some(SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    0,
));

/// How long a condition may take to come true before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Awaits `future` within the deadline.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} for {what}"),
    }
}

/// Asks again and again until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    within(what, async {
        while !condition().await {
            again.tick().await;
        }
    })
    .await;
}

/// A server in this process. It ends with the test's runtime, unless it is told to before.
#[derive(Debug)]
pub(crate) struct Server {
    addrs: Addresses,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Server {
    /// A server that announces counts only to the page that logs in, so that nothing but pushes
    /// arrives at pages by itself.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let opened = Self::open_with(change).now_or_never();
        opened.expect("without a store there is nothing to wait for")
    }

    /// A server that may keep records.
    pub(crate) async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.socketio.listen = FREE;
        config.http.listen = FREE;
        config.web.listen = None;
        config.admin.listen = None;
        config.presence.interval = Duration::from_secs(3600);
        // As the original: what a page misses it has missed. Tests of what is not lost turn it on.
        config.recovery.window = Duration::ZERO;
        config.store.url = "".into();
        change(&mut config);
        config
            .validate()
            .expect("the test's configuration is sound");
        let app = App::bind(config).await;
        let app = app.expect("a free port, and the store, can be opened");
        let addrs = app.addrs();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let running = tokio::spawn(async move {
            app.run(stopped).await.expect("it ends in order");
        });
        Self {
            addrs,
            running: Some((stop, running)),
        }
    }

    /// A server that somebody else runs.
    pub(crate) fn at(addrs: Addresses) -> Self {
        Self {
            addrs,
            running: None,
        }
    }

    /// Stops it in order: its store is free for another.
    pub(crate) async fn stops(self) {
        let (stop, running) = self.running.expect("it is ours");
        stop.cancel();
        within("the end of the server", running)
            .await
            .expect("it ends in order");
    }

    /// What is open, and where.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addrs.clone()
    }

    /// Where pages of the uid websocket connect.
    pub(crate) fn uid_socket(&self) -> SocketAddr {
        self.addrs.uid_socket.expect("the gateway is on")
    }

    /// Where backends push lines.
    pub(crate) fn text(&self) -> SocketAddr {
        self.addrs.text.expect("the ingress is on")
    }

    /// Where pages of the topic websocket connect.
    pub(crate) fn topic_socket(&self) -> SocketAddr {
        self.addrs.topic_socket.expect("the gateway is on")
    }

    /// Where backends push packets.
    pub(crate) fn udp(&self) -> SocketAddr {
        self.addrs.udp.expect("the ingress is on")
    }

    /// Where pages chat.
    pub(crate) fn chat(&self) -> SocketAddr {
        self.addrs.chat.expect("the gateway is on")
    }

    /// Where pages connect.
    pub(crate) fn socketio(&self) -> SocketAddr {
        self.addrs.socketio.expect("the gateway is on")
    }

    /// Where backends push.
    pub(crate) fn http(&self) -> SocketAddr {
        self.addrs.http.expect("the ingress is on")
    }

    /// Where health and figures are told.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.addrs.admin.expect("the listener is on")
    }

    /// Where the demo page is, by loopback.
    pub(crate) fn web(&self) -> SocketAddr {
        let port = self.addrs.web.expect("the demo page is on").port();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// A page that has connected and not logged in.
    pub(crate) async fn connect(&self) -> Page {
        self.connect_by(EIO4_WEBSOCKET).await
    }

    pub(crate) async fn connect_by(&self, dialect: Dialect) -> Page {
        within("the connect", Page::connect(self.socketio(), dialect)).await
    }

    /// A page that has logged in as `uid`.
    pub(crate) async fn login(&self, uid: &str) -> Page {
        self.login_by(EIO4_WEBSOCKET, uid).await
    }

    pub(crate) async fn login_by(&self, dialect: Dialect, uid: &str) -> Page {
        let mut page = self.connect_by(dialect).await;
        page.logs_in(uid).await;
        page
    }

    /// Pushes as a backend does; gives the answer's word.
    pub(crate) async fn push(&self, to: &str, content: &str) -> String {
        let (to, content) = (encode(to), encode(content));
        let form = format!("type=publish&to={to}&content={content}");
        self.push_form(&form).await
    }

    pub(crate) async fn push_to_everyone(&self, content: &str) {
        assert_eq!(self.push("", content).await, "ok");
    }

    /// Pushes a form as it stands.
    pub(crate) async fn push_form(&self, form: &str) -> String {
        let form_type = "application/x-www-form-urlencoded";
        self.post(form_type, form.as_bytes()).await.text()
    }

    /// Posts `body` to the push port.
    pub(crate) async fn post(&self, content_type: &str, body: &[u8]) -> Answer {
        let mut http = Http::open(self.http()).await;
        http.post("/", content_type, body).await;
        http.answer().await
    }

    /// Pushes by the query of a `GET`.
    pub(crate) async fn get(&self, query: &str) -> Answer {
        self.request(format!("GET /?{query} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await
    }

    /// Sends bytes to the push port and reads one answer.
    pub(crate) async fn request(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut http = Http::open(self.http()).await;
        http.send(bytes.as_ref()).await;
        http.answer().await
    }

    /// Shows that nothing else is on its way to these pages: a message to everyone is the next
    /// thing that each of them gets.
    pub(crate) async fn nothing_else_comes_to<const N: usize>(&self, pages: [&mut Page; N]) {
        self.push_to_everyone("the marker").await;
        for page in pages {
            page.receives("the marker").await;
        }
    }

    /// How many pages are logged in, as the demo page tells; it has to be on.
    pub(crate) async fn pages(&self) -> u64 {
        let mut http = Http::open(self.web()).await;
        http.get("/online.json").await;
        let online: serde_json::Value =
            serde_json::from_str(&http.answer().await.text()).expect("JSON");
        online["pages"].as_u64().expect("a number of pages")
    }

    /// Waits until a user has no page any more.
    pub(crate) async fn waits_until_offline(&self, uid: &str) {
        let what = format!("{uid} to be offline");
        eventually(&what, async || {
            self.push(uid, "still there?").await == "offline"
        })
        .await;
    }
}

/// Percent-encodes all but letters and digits.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
