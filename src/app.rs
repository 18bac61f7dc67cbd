//! The composition root: builds every part, owns listeners and loops, and orders the stop.

mod admin;
mod listeners;
mod loops;
mod records;
mod stop;
mod warnings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Auth;
use crate::auth::api_keys::Keys;
use crate::chat::Chat;
use crate::config::Config;
use crate::gateway::chat::ChatSocket;
use crate::gateway::entrance::Entrance;
use crate::gateway::socketio::{Lobby, SocketIoGateway};
use crate::gateway::topic_socket::TopicSocket;
use crate::gateway::uid_socket::UidSocket;
use crate::gateway::websocket::{Drain, Quarters, WebsocketEgress};
use crate::hub::{Backlog, Egress, Hub};
use crate::ingress::text::TextIngress;
use crate::ingress::udp::PacketReader;
use crate::ingress::{Publisher, form};
use crate::limits::Limits;
use crate::metrics::{Ingress, Metrics};
use crate::net::Listener;
use crate::readiness::Readiness;
use crate::topic::TopicReader;
use crate::web::{self, Neighbours};
use admin::Admin;
pub use listeners::Addresses;
use listeners::Listeners;
use loops::Loops;
use records::Records;
use stop::{Running, Stop};

/// How often the log is tidied up.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// A server with its ports open.
#[derive(Debug)]
pub struct App {
    config: Config,
    hub: Arc<Hub>,
    gateway: SocketIoGateway,
    websockets: Arc<WebsocketEgress>,
    auth: Arc<Auth>,
    entrance: Arc<Entrance>,
    keys: Arc<Keys>,
    limits: Arc<Limits>,
    topics: Arc<TopicReader>,
    records: Option<Records>,
    chat: Option<Arc<Chat>>,
    metrics: Metrics,
    readiness: Readiness,
    admin: Admin,
    addresses: Addresses,
    listeners: Listeners,
}

impl App {
    /// Builds the server and opens its ports, and its store if something keeps records; port 0
    /// takes a free one. Without a store there is nothing to wait for.
    ///
    /// # Errors
    /// When an address or the store cannot be opened; names the key and the address.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let keys = Arc::new(Keys::open(&config.api)?);
        let limits = Limits::new(&config.limits, &metrics);
        let (presence, root) = (config.presence.clone(), &config.web.root);
        let auth = Arc::new(Auth::new(&config.auth)?);
        let entrance = Entrance::new(Arc::clone(&auth), Arc::clone(&limits), metrics.clone());
        let gateway = SocketIoGateway::new(&config.socketio, presence, root, &entrance, &metrics);
        let mut listeners = Listeners::bind(&config, gateway.tuning(), &limits)?;
        let addresses = listeners.addresses(&config);
        let websockets = Arc::new(WebsocketEgress::new(metrics.clone()));
        let egresses = vec![gateway.egress(), Arc::clone(&websockets) as Arc<dyn Egress>];
        let hub = Hub::new(egresses, config.recovery);
        // Before the store is opened, which may take a while.
        let backlog = Arc::default();
        let levels = (&hub, &backlog);
        let admin = Admin::start(
            listeners.admin.take(),
            (&metrics, &readiness),
            &keys,
            levels,
        );
        let topics = Arc::new(TopicReader::new(&config.topics));
        let records = Records::open(&config, &hub, &metrics, &readiness).await?;
        if let Some(records) = &records {
            backlog.get_or_init(|| Arc::clone(&records.backlog));
        }
        let chat = match &records {
            Some(records) => records.begin(&config, &hub, &metrics).await?,
            None => None,
        };
        let lobby = Lobby {
            hub: Arc::clone(&hub),
            entrance: Arc::clone(&entrance),
            topics: config.udp.listen.map(|_| Arc::clone(&topics)),
            chat: chat.clone().filter(|_| config.chat.socketio),
            backlog: records.as_ref().map(|records| Arc::clone(&records.backlog)),
            metrics: metrics.clone(),
        };
        gateway.open(lobby, config.recovery.rewind);
        Ok(Self {
            config,
            hub,
            gateway,
            websockets,
            auth,
            entrance,
            keys,
            limits,
            topics,
            records,
            chat,
            metrics,
            readiness,
            admin,
            addresses,
            listeners,
        })
    }

    /// Reads the files that `config` names, keys and certificates, as [`bind`](Self::bind) does.
    ///
    /// # Errors
    /// When one cannot be read or used; names the key and the path.
    pub fn check_files(config: &Config) -> anyhow::Result<()> {
        Keys::open(&config.api)?;
        Auth::new(&config.auth)?;
        listeners::load(&config.tls)?;
        Ok(())
    }

    /// Which addresses are open.
    #[must_use]
    pub fn addrs(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Serves until `shutdown` completes, then stops in order: take in no more pages, send away those
    /// that are here while pushes are still answered, then no more pushes; end the loops, leave to
    /// the next server what it needs; the admin listener, which tells of it, comes last. Returns
    /// within `shutdown.grace`.
    ///
    /// # Errors
    /// When a part of the server could not go on, so that it had to stop.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.addresses.log(&self.config);
        let grace = self.config.shutdown.grace;
        let running = self.start();
        self.readiness.ready();
        let broken = running.loops.break_down();
        let is_broken = tokio::select! {
            biased;
            () = broken => true,
            () = shutdown => false,
        };
        if is_broken {
            tracing::error!("a part of the server has panicked; without it pushes would be lost");
        }
        tracing::info!(?grace, "stopping");
        self.readiness.draining();
        if tokio::time::timeout(grace, self.stop(running))
            .await
            .is_err()
        {
            tracing::warn!(
                ?grace,
                "not everything ended within the grace; stopping anyway"
            );
        }
        self.admin.stop().await;
        tracing::info!("stopped");
        anyhow::ensure!(!is_broken, "a part of the server has panicked");
        Ok(())
    }

    fn start(&mut self) -> Running {
        let running = Running {
            drain: Drain::new(self.drain_time(), self.patience()),
            stop: Stop::default(),
            pushes: TaskTracker::new(),
            pages: TaskTracker::new(),
            loops: Loops::default(),
        };
        self.start_ingresses(&running);
        self.start_gateways(&running);
        let (loops, stop) = (&running.loops, &running.stop.loops);
        if let Some(records) = &self.records {
            records.start(&self.config.store, loops, stop);
        }
        if let Some(chat) = &self.chat {
            records::start_chat(chat, loops, stop);
        }
        if let Some(certificate) = self.listeners.certificate.take() {
            loops.spawn(certificate.watch(stop.clone()));
        }
        loops.spawn(forget(Arc::clone(&self.hub), stop.clone()));
        let (limits, end) = (Arc::clone(&self.limits), stop.clone());
        loops.spawn(async move { limits.run(end).await });
        let (auth, end) = (Arc::clone(&self.auth), stop.clone());
        loops.spawn(async move { auth.run(end).await });
        running
    }

    fn start_ingresses(&mut self, running: &Running) {
        let Running { stop, pushes, .. } = running;
        let (hub, config, metrics) = (&self.hub, &self.config, &self.metrics);
        let backlog = self.backlog().cloned();
        let form = |ingress, door| {
            let publisher = Publisher::new(hub, backlog.as_ref(), metrics, ingress);
            form::endpoint(publisher, Arc::clone(&self.keys), &config.http, door)
        };
        let doors = [self.listeners.http.take(), self.listeners.http_unix.take()];
        for listener in doors.into_iter().flatten() {
            let form = form(Ingress::Http, listener.address());
            let router = Router::new().fallback_service(form);
            pushes.spawn(serve_router(listener, router, &stop.pushes, pushes));
        }
        if let (Some(listener), Some(web)) = (self.listeners.web.take(), self.addresses.web) {
            let neighbours = Neighbours {
                socketio: self.addresses.socketio,
                http: self.addresses.http,
                web,
            };
            // It is found by its own name only.
            let form = form(Ingress::Web, None);
            let router = web::router(config, Arc::clone(hub), form, neighbours);
            pushes.spawn(serve_router(listener, router, &stop.pushes, pushes));
        }
        if let Some(listener) = self.listeners.text.take() {
            let text = TextIngress::new(
                Arc::clone(hub),
                Arc::clone(&self.keys),
                &config.text,
                metrics.clone(),
            );
            let end = &stop.pushes;
            let ends = end.clone();
            let serve = move |accepted| text.clone().serve(accepted, ends.clone());
            pushes.spawn(listener.accept(serve, end.clone(), pushes.clone()));
        }
        if let Some(port) = self.listeners.udp.take() {
            let reader = PacketReader::new(
                Arc::clone(&self.topics),
                config.udp.secret.clone(),
                Arc::clone(&self.keys),
            );
            let (hub, metrics) = (Arc::clone(hub), metrics.clone());
            pushes.spawn(port.run(reader, hub, metrics, stop.pushes.clone()));
        }
    }

    fn start_gateways(&mut self, running: &Running) {
        let Running {
            stop, pages, loops, ..
        } = running;
        let listeners = &mut self.listeners;
        let doors = [listeners.socketio.take(), listeners.socketio_unix.take()];
        if doors.iter().any(Option::is_some) {
            loops.spawn(self.gateway.announce(&self.hub, stop.loops.clone()));
            loops.spawn(self.gateway.welcome(stop.loops.clone()));
            loops.spawn(self.gateway.expire(stop.loops.clone()));
        }
        for listener in doors.into_iter().flatten() {
            let service = self.gateway.service();
            pages.spawn(listener.serve(service, stop.accepting.clone(), pages.clone()));
        }
        let quarters = || Quarters {
            tasks: pages.clone(),
            drain: running.drain.clone(),
            metrics: self.metrics.clone(),
            entrance: Arc::clone(&self.entrance),
        };
        let (websocket, egress) = (&self.config.websocket, &self.websockets);
        if let Some(listener) = self.listeners.uid_socket.take() {
            let dialect = UidSocket {
                hub: Arc::clone(&self.hub),
                egress: Arc::clone(egress),
                backlog: self.backlog().cloned(),
                metrics: self.metrics.clone(),
                rewind: self.config.recovery.rewind,
            };
            let service = dialect.service(websocket, quarters());
            pages.spawn(listener.serve(service, stop.accepting.clone(), pages.clone()));
        }
        if let Some(listener) = self.listeners.topic_socket.take() {
            let dialect = TopicSocket {
                hub: Arc::clone(&self.hub),
                egress: Arc::clone(egress),
                topics: Arc::clone(&self.topics),
            };
            let service = dialect.service(websocket, quarters());
            pages.spawn(listener.serve(service, stop.accepting.clone(), pages.clone()));
        }
        if let (Some(listener), Some(chat)) = (self.listeners.chat.take(), &self.chat) {
            let dialect = ChatSocket {
                chat: Arc::clone(chat),
                egress: Arc::clone(egress),
            };
            let service = dialect.service(websocket, quarters());
            pages.spawn(listener.serve(service, stop.accepting.clone(), pages.clone()));
        }
    }

    fn backlog(&self) -> Option<&Arc<Backlog>> {
        self.records.as_ref().map(|records| &records.backlog)
    }
}

/// Frees what the log need not hold any longer, also while nothing is pushed.
async fn forget(hub: Arc<Hub>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => hub.forget(),
        }
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
