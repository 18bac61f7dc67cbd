//! Raw websockets: handshake, frames, queue and heartbeat of the three dialects that are not
//! Socket.IO. What a dialect's messages mean is in its own file.

mod drain;
mod frame;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod outbox;
mod page;
mod rooms;
mod write;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;
use tower::Service;
use tungstenite::handshake::derive_accept_key;

use crate::config;
use crate::gateway::entrance::{Entrance, Visitor, over_limit};
use crate::gateway::origins::Origins;
pub(crate) use crate::gateway::rooms::Room;
use crate::limits::Way;
use crate::metrics::{Gateway, Metrics, Reason, Wire};
use crate::net::{Connection, Stream, Tuning};
use crate::push::Push;
use crate::record::RecordId;
pub(crate) use drain::Drain;
use outbox::Bounds;
pub(crate) use outbox::{Close, Outbox, Waiting};
use page::Page;
pub(crate) use page::{Progress, Protocol, Received, Treatment};
pub(crate) use rooms::Member;
pub use rooms::WebsocketEgress;

/// What the kernel may hold for a page that does not read.
const SEND_BUFFER: usize = 128 * 1024;

/// The largest handshake. The original had no bound.
const MAX_HEAD: usize = 16 * 1024;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the listener treats pages' connections.
pub(crate) fn tuning(config: &config::Websocket) -> Tuning {
    Tuning {
        send_buffer: Some(SEND_BUFFER),
        user_timeout: config.ping_interval * 2,
        max_head: MAX_HEAD,
        head_timeout: HANDSHAKE_TIMEOUT,
        mend_first_line: false,
        half_close: false,
    }
}

/// A text frame, for [`Progress`], and the record that the page has with it and all before it.
pub(crate) fn text_frame(text: &str, record: Option<RecordId>) -> Waiting {
    Waiting {
        record,
        ..Waiting::from(frame::text(text))
    }
}

/// A push as pages get it.
pub(crate) fn text_message(push: &Push) -> Bytes {
    frame::text(&push.frame())
}

/// Lets pages of one dialect in.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// One page's side of it.
    type Protocol: Protocol;

    /// Whose pages they count as.
    const GATEWAY: Gateway;

    /// A page has shaken hands. `query` is what stood in its URL, without the `?`.
    ///
    /// # Errors
    /// Sends the page away.
    fn open(&self, query: &str, outbox: &Arc<Outbox>, asks: Asks) -> Result<Self::Protocol, Close>;
}

/// What a page logs in through.
#[derive(Debug, Clone)]
pub(crate) struct Asks {
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) visitor: Arc<Visitor>,
}

/// Where a dialect's pages live and are counted, and how they end.
#[derive(Debug, Clone)]
pub(crate) struct Quarters {
    pub(crate) tasks: TaskTracker,
    pub(crate) drain: Drain,
    pub(crate) metrics: Metrics,
    pub(crate) entrance: Arc<Entrance>,
}

/// The service of one connection: the handshake. Cheap to clone.
pub(crate) struct Handshake<D> {
    dialect: Arc<D>,
    origins: Arc<Origins>,
    bounds: Bounds,
    treatment: Treatment,
    quarters: Quarters,
}

impl<D: Dialect> Handshake<D> {
    /// `max_frame`: a longer frame, head included, ends the connection.
    pub(crate) fn new(
        dialect: D,
        config: &config::Websocket,
        max_frame: u64,
        quarters: Quarters,
    ) -> Self {
        Self {
            dialect: Arc::new(dialect),
            origins: Arc::new(Origins::new(&config.origins)),
            bounds: Bounds {
                messages: config.max_queue,
                bytes: config.max_queue_bytes(),
            },
            treatment: Treatment {
                max_frame,
                ping_interval: config.ping_interval,
            },
            quarters,
        }
    }

    /// As a listener wants it.
    pub(crate) fn for_each_connection(self) -> impl Fn(Connection) -> Self {
        move |_| self.clone()
    }

    fn respond(&self, mut request: Request<Incoming>) -> Response<Body> {
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let (&Method::GET, Some(key), Some(upgrade)) = (request.method(), key, upgrade) else {
            return refusal(StatusCode::BAD_REQUEST, "this port speaks websocket\n");
        };
        let origin = request.headers().get(header::ORIGIN);
        if !self.origins.allow(origin) {
            tracing::debug!(?origin, "origin refused");
            return refusal(
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect\n",
            );
        }
        let entrance = &self.quarters.entrance;
        let visitor = match entrance.open(&request, Way::Websocket, D::GATEWAY.name()) {
            Ok(visitor) => visitor,
            Err(over) => return over_limit(over),
        };
        let query = request.uri().query().unwrap_or_default().to_owned();
        let handshake = self.clone();
        let tasks = &self.quarters.tasks;
        tasks.spawn(async move {
            match upgrade.await {
                Ok(upgraded) => handshake.serve(upgraded, query, visitor).await,
                Err(e) => tracing::debug!(error = %e, "page lost within its handshake"),
            }
        });
        switching(&key, request.headers())
    }

    async fn serve(self, upgraded: Upgraded, query: String, visitor: Arc<Visitor>) {
        let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
            tracing::error!("a page's connection is not one of ours");
            return;
        };
        let Quarters {
            drain,
            metrics,
            entrance,
            ..
        } = self.quarters;
        metrics.opened(D::GATEWAY);
        let outbox = Arc::new(Outbox::new(self.bounds));
        let (stream, early) = (parts.io.into_inner(), parts.read_buf);
        let limits = Arc::clone(&entrance.limits);
        let asks = Asks { entrance, visitor };
        match self.dialect.open(&query, &outbox, asks) {
            Ok(protocol) => {
                let treatment = (self.treatment, limits);
                let page = Page::new(stream, &early, outbox, protocol, treatment);
                // The page is here for long; what its handshake was read into need not be.
                drop((early, query));
                page.serve(drain.turn(), |reason| closed::<D>(&metrics, reason))
                    .await;
            }
            Err(close) => {
                closed::<D>(&metrics, Reason::Refused);
                write::say_goodbye(&stream, VecDeque::new(), &close).await;
            }
        }
    }
}

fn closed<D: Dialect>(metrics: &Metrics, reason: Reason) {
    metrics.closed(D::GATEWAY, reason);
    if reason == Reason::Slow {
        metrics.slow_page_closed(Wire::Websocket);
    }
}

fn switching(key: &HeaderValue, asked: &HeaderMap) -> Response<Body> {
    let accept = derive_accept_key(key.as_bytes());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&accept).expect("base64 is a header's value");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    // Browsers and Node fail when none of those that they asked for comes back, as the original's
    // did not.
    if let Some(protocol) = first_protocol(asked) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn first_protocol(asked: &HeaderMap) -> Option<HeaderValue> {
    let protocols = asked.get(header::SEC_WEBSOCKET_PROTOCOL)?.as_bytes();
    let first = protocols.split(|byte| *byte == b',').next()?;
    HeaderValue::from_bytes(first.trim_ascii()).ok()
}

fn refusal(status: StatusCode, reason: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(reason));
    *response.status_mut() = status;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

impl<D: Dialect> Service<Request<Incoming>> for Handshake<D> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        std::future::ready(Ok(self.respond(request)))
    }
}

impl<D> Clone for Handshake<D> {
    fn clone(&self) -> Self {
        Self {
            dialect: Arc::clone(&self.dialect),
            origins: Arc::clone(&self.origins),
            bounds: self.bounds,
            treatment: self.treatment,
            quarters: self.quarters.clone(),
        }
    }
}

impl<D> std::fmt::Debug for Handshake<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake")
            .field("treatment", &self.treatment)
            .finish_non_exhaustive()
    }
}
