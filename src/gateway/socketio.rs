//! The Socket.IO gateway: pages of every client generation, on socketioxide.
//!
//! It knows the hub and HTTP; it knows nothing of who publishes. Where the code looks odd, it
//! works around a defect of socketioxide 0.18.9 that is named there.

mod ascii;
mod claim;
mod connections;
mod egress;
mod expiries;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod link;
mod mend;
mod newcomers;
mod packet;
mod page;
mod payload;
mod presence;
mod request;
mod service;
mod talk;
mod wire;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::gateway::entrance::Entrance;
use crate::gateway::ledger::Bounds;
use crate::hub::{Egress, Hub};
use crate::metrics::Metrics;
use crate::net::{Connection, Tuning};
use crate::push::PushId;
use connections::Connections;
use egress::{ROOT, SocketIoEgress};
use expiries::Expiries;
use newcomers::Newcomers;
pub(crate) use page::Lobby;
use page::{House, Page};
use presence::Announcer;
use service::{Front, PageService};

/// How long an Engine.IO 4 page may take to join the namespace after its transport is open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a page may take to finish an upgrade that it has begun.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes read at a time from a websocket: what pages send is small, and the buffer is kept for
/// each of them.
const READ_BUFFER: usize = 512;

/// How many attachments a packet may announce.
const MAX_ATTACHMENTS: usize = 10;

/// Places in a page's queue for what is no message: counts, answers, heartbeats. With them the queue
/// of a page that is not behind in messages is never full.
const OTHER_PACKETS: usize = 256;

/// How long pages that are cut at a stop may take to be gone.
const CUT: Duration = Duration::from_millis(500);

/// How finely the pages' goodbyes are spread.
const TICK: Duration = Duration::from_millis(5);

/// What the kernel may hold for a page that does not read; without a bound that is megabytes.
const SEND_BUFFER: usize = 128 * 1024;

/// The largest request head; room for the cookies of a large site.
const MAX_HEAD: usize = 32 * 1024;

/// How long a page's request head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The gateway, built but not yet serving: the hub needs its egress first.
pub struct SocketIoGateway {
    io: SocketIo,
    engine: SocketIoService<Router>,
    front: Arc<Front>,
    egress: SocketIoEgress,
    announcer: Arc<Announcer>,
    newcomers: Arc<Newcomers<Page>>,
    expiries: Arc<Expiries<Page>>,
    bounds: Bounds,
    user_timeout: Duration,
}

impl SocketIoGateway {
    /// Builds the gateway. `web_root` is where the official client may be installed, which old
    /// pages load from `/socket.io/socket.io.js`.
    #[must_use]
    pub(crate) fn new(
        config: &config::SocketIo,
        presence: config::Presence,
        web_root: &Path,
        entrance: &Arc<Entrance>,
        metrics: &Metrics,
    ) -> Self {
        let max_payload = config.max_payload_bytes();
        let (engine, io) = SocketIo::builder()
            .req_path(request::ENGINE_PATH)
            .ping_interval(config.ping_interval)
            .ping_timeout(config.ping_timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .upgrade_timeout(UPGRADE_TIMEOUT)
            .max_payload(max_payload as u64)
            .max_buffer_size(config.max_queue + OTHER_PACKETS)
            .ws_read_buffer_size(READ_BUFFER)
            .ws_max_message_size(max_payload)
            .ws_max_frame_size(max_payload)
            // Nothing here takes binary, so none is kept.
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(max_payload),
            )
            .build_with_inner_svc(Router::new());
        let connections = Arc::new(Connections::new(engine.clone(), metrics.clone()));
        let egress = SocketIoEgress {
            io: io.clone(),
            connections: Arc::clone(&connections),
            rooms: Arc::default(),
            arriving: Arc::default(),
            push_to_sid: config.push_to_sid,
            metrics: metrics.clone(),
        };
        Self {
            io,
            engine,
            front: Arc::new(Front::new(config, web_root, connections, entrance)),
            egress,
            announcer: Announcer::new(presence),
            newcomers: Arc::default(),
            expiries: Arc::default(),
            bounds: Bounds {
                messages: config.max_queue,
                bytes: config.max_queue_bytes(),
            },
            user_timeout: config.ping_timeout,
        }
    }

    /// What the hub delivers through.
    #[must_use]
    pub fn egress(&self) -> Arc<dyn Egress> {
        Arc::new(self.egress.clone())
    }

    /// Lets pages in: from now on they can log in. A connection that breaks is taken back by `rewind`.
    pub(crate) fn open(&self, lobby: Lobby, rewind: Duration) {
        let house = Arc::new(House {
            lobby,
            egress: self.egress.clone(),
            announcer: Arc::clone(&self.announcer),
            newcomers: Arc::clone(&self.newcomers),
            expiries: Arc::clone(&self.expiries),
            bounds: self.bounds,
            rewind,
        });
        // In a middleware, because the connect handler runs only after the page has been told
        // that it is connected: of 900 pages that log in at once, 2 to 5 % were never heard.
        let attach = move |socket: SocketRef, auth: TryData<Value>| {
            Page::attach(&socket, auth.0.ok(), &house);
            std::future::ready(Ok::<(), Infallible>(()))
        };
        let newcomers = Arc::clone(&self.newcomers);
        let connected = move |socket: SocketRef| {
            let page = newcomers.get(socket.id);
            let rest = page.and_then(|page| page.is_connected(&socket));
            async move {
                if let Some(rest) = rest {
                    rest.await;
                }
            }
        };
        self.io.ns(ROOT, connected.with(attach));
    }

    /// Ends the sessions of pages whose claims expire, until `stop`.
    pub(crate) fn expire(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (expiries, egress) = (Arc::clone(&self.expiries), self.egress.clone());
        async move { expiries.run(&egress, stop).await }
    }

    /// Lets pages hear that do not log in, until `stop`.
    pub(crate) fn welcome(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let newcomers = Arc::clone(&self.newcomers);
        async move { newcomers.run(stop).await }
    }

    /// Tells pages of changed counts until `stop`.
    pub(crate) fn announce(
        &self,
        hub: &Arc<Hub>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let announcer = Arc::clone(&self.announcer);
        announcer.run(Arc::clone(hub), self.egress.clone(), stop)
    }

    /// The HTTP service of one connection.
    pub(crate) fn service(&self) -> impl Fn(Connection) -> PageService + Send + use<> {
        let (front, engine) = (Arc::clone(&self.front), self.engine.clone());
        move |connection| PageService::new(Arc::clone(&front), engine.clone(), connection)
    }

    /// How the listener treats pages' connections.
    pub(crate) fn tuning(&self) -> Tuning {
        Tuning {
            send_buffer: Some(SEND_BUFFER),
            user_timeout: self.user_timeout,
            max_head: MAX_HEAD,
            head_timeout: HEAD_TIMEOUT,
            mend_first_line: false,
            // A page that has closed its side of a long poll is gone.
            half_close: false,
        }
    }

    /// Sends the pages away, evenly over `time`, so that they do not come back at one instant; then
    /// waits for those that are slow to go, and after `patience` cuts the others.
    pub(crate) async fn drain(&self, hub: &Hub, time: Duration, patience: Duration) {
        let connections = &self.egress.connections;
        let links = connections.links();
        let (steps, started) = (links.len().max(1), Instant::now());
        for (n, link) in links.iter().enumerate() {
            let due = time.mul_f64((n as f64 + 0.5) / steps as f64);
            if due > started.elapsed() + TICK {
                tokio::time::sleep_until((started + due).into()).await;
            }
            // What comes from now on does not leave, and the page gets it when it is back.
            connections.close(link);
            hub.between_pushes(|still| link.ledger.give_up(PushId(still.newest().0 + 1)));
        }
        if tokio::time::timeout(patience, are_gone(connections))
            .await
            .is_err()
        {
            for link in connections.links() {
                connections.cut(&link);
            }
            // What is saved next is where they were.
            tokio::time::timeout(CUT, are_gone(connections)).await.ok();
        }
    }

    /// Ends every session that is left. Waits for them, so a page that does not read holds it up:
    /// bound it.
    pub async fn close(&self) {
        self.io.close().await;
    }
}

async fn are_gone(connections: &Connections) {
    while !connections.links().is_empty() {
        tokio::time::sleep(TICK).await;
    }
}

impl std::fmt::Debug for SocketIoGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketIoGateway")
            .field("front", &self.front)
            .finish_non_exhaustive()
    }
}
