//! The composition root: builds every part, owns listeners and loops, and orders the stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::gateway::socketio::SocketIoGateway;
use crate::hub::Hub;
use crate::ingress::form;
use crate::net::{Listener, Tuning};
use crate::web::{self, Neighbours};

/// The largest head of a push: a long message may stand in the query.
const MAX_PUSH_HEAD: usize = 128 * 1024;

/// How long a backend may leave an answer unacknowledged.
const PUSH_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long pushes in flight may take to be answered once the server stops.
const PUSHES_END: Duration = Duration::from_secs(2);

/// How long the last answers to pages may take once every page has been said goodbye to.
const GOODBYE: Duration = Duration::from_millis(500);

/// The addresses that an [`App`] has opened; `None` where a listener is off.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Pages connect here by Socket.IO.
    pub socketio: Option<SocketAddr>,
    /// Backends push here by HTTP.
    pub http: Option<SocketAddr>,
    /// The demo page.
    pub web: Option<SocketAddr>,
}

/// A server with its ports open.
#[derive(Debug)]
pub struct App {
    config: Config,
    hub: Arc<Hub>,
    gateway: SocketIoGateway,
    socketio: Option<Listener>,
    http: Option<Listener>,
    web: Option<Listener>,
}

impl App {
    /// Builds the server and opens its ports; port 0 takes a free one.
    ///
    /// # Errors
    /// When an address cannot be opened; names the key and the address.
    pub fn bind(config: Config) -> anyhow::Result<Self> {
        let gateway =
            SocketIoGateway::new(&config.socketio, config.presence.clone(), &config.web.root);
        let push = Tuning {
            send_buffer: None,
            user_timeout: PUSH_USER_TIMEOUT,
            max_head: MAX_PUSH_HEAD,
            head_timeout: config.http.request_timeout,
            mend_first_line: true,
            // `printf … | nc` closes its side and waits for the word.
            half_close: true,
        };
        let socketio = bind("socketio.listen", config.socketio.listen, gateway.tuning())?;
        let http = bind("http.listen", config.http.listen, push)?;
        let web = bind("web.listen", config.web.listen, push)?;
        let hub = Hub::new(vec![gateway.egress()]);
        gateway.open(&hub);
        Ok(Self {
            config,
            hub,
            gateway,
            socketio,
            http,
            web,
        })
    }

    /// Which addresses are open.
    #[must_use]
    pub fn addrs(&self) -> Addresses {
        let address = |listener: &Option<Listener>| listener.as_ref().map(Listener::address);
        Addresses {
            socketio: address(&self.socketio),
            http: address(&self.http),
            web: address(&self.web),
        }
    }

    /// Serves until `shutdown` completes, then stops in order: no more pushes, answer those in
    /// flight, say goodbye to the pages, end the loops. Returns within `shutdown.grace`.
    ///
    /// # Errors
    /// None today; a part that cannot go on will end the server with one.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.log_listeners();
        let grace = self.config.shutdown.grace;
        let running = self.start();
        shutdown.await;
        tracing::info!(?grace, "stopping");
        if tokio::time::timeout(grace, running.stop()).await.is_err() {
            tracing::warn!(
                ?grace,
                "not everything ended within the grace; stopping anyway"
            );
        }
        tracing::info!("stopped");
        Ok(())
    }

    fn start(self) -> Running {
        let addresses = self.addrs();
        let stop = Stop::default();
        let (pushes, pages) = (TaskTracker::new(), TaskTracker::new());
        let loops = TaskTracker::new();
        let form = form::endpoint(Arc::clone(&self.hub), &self.config.http);
        if let Some(listener) = self.http {
            let router = Router::new().fallback_service(form.clone());
            pushes.spawn(serve_router(listener, router, &stop.pushes, &pushes));
        }
        if let (Some(listener), Some(web)) = (self.web, addresses.web) {
            let neighbours = Neighbours {
                socketio: addresses.socketio,
                http: addresses.http,
                web,
            };
            let hub = Arc::clone(&self.hub);
            let router = web::router(&self.config, hub, form, neighbours);
            pushes.spawn(serve_router(listener, router, &stop.pushes, &pushes));
        }
        if let Some(listener) = self.socketio {
            let service = self.gateway.service();
            pages.spawn(listener.serve(service, stop.pages.clone(), pages.clone()));
            loops.spawn(self.gateway.announce(&self.hub, stop.loops.clone()));
        }
        Running {
            gateway: self.gateway,
            stop,
            pushes,
            pages,
            loops,
        }
    }

    /// One line a listener: which address is open, for what, and whether it asks who is there.
    fn log_listeners(&self) {
        let addresses = self.addrs();
        let listeners = [
            (
                "socketio",
                addresses.socketio,
                "pages connect here by Socket.IO; anyone may log in as any uid",
            ),
            (
                "http",
                addresses.http,
                "backends push here; no credentials are asked for",
            ),
            ("web", addresses.web, "the demo page; open it in a browser"),
        ];
        for (listener, address, purpose) in listeners {
            match address {
                Some(address) => tracing::info!(listener, %address, purpose, "listening"),
                None => tracing::info!(listener, "off"),
            }
        }
        if addresses
            .http
            .is_some_and(|address| !address.ip().is_loopback())
        {
            tracing::warn!("http.listen is not a loopback address: whoever reaches it can push");
        }
        if addresses.web.is_some() && !web::is_installed(&self.config.web.root) {
            let root = self.config.web.root.display();
            tracing::warn!(%root, "web.root holds no index.html: there is no demo page to show");
        }
    }
}

/// What stops, in this order.
#[derive(Debug, Default)]
struct Stop {
    pushes: CancellationToken,
    pages: CancellationToken,
    loops: CancellationToken,
}

struct Running {
    gateway: SocketIoGateway,
    stop: Stop,
    pushes: TaskTracker,
    pages: TaskTracker,
    loops: TaskTracker,
}

impl Running {
    async fn stop(self) {
        self.stop.pushes.cancel();
        self.pushes.close();
        // A push that dribbles must not cost the pages their goodbye.
        tokio::time::timeout(PUSHES_END, self.pushes.wait())
            .await
            .ok();
        // Stop accepting first, so that pages do not come back to a server that is leaving.
        self.stop.pages.cancel();
        self.gateway.close().await;
        self.pages.close();
        // The goodbyes of long polls are on their way. A poll whose session never joined, or has
        // left, the namespace gets none and would wait for its heartbeat.
        tokio::time::timeout(GOODBYE, self.pages.wait()).await.ok();
        self.stop.loops.cancel();
        self.loops.close();
        self.loops.wait().await;
    }
}

fn serve_router(
    listener: Listener,
    router: Router,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> impl Future<Output = ()> + Send + use<> {
    listener.serve(move |_| router.clone(), stop.clone(), tasks.clone())
}

fn bind(
    key: &str,
    address: Option<SocketAddr>,
    tuning: Tuning,
) -> anyhow::Result<Option<Listener>> {
    let open = |address| {
        Listener::bind(address, tuning).with_context(|| format!("cannot open {key} = {address}"))
    };
    address.map(open).transpose()
}
