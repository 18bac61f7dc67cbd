//! HTTP in front of socketioxide: routing, CORS, origins and the client bundle.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use tower::{Service, ServiceExt as _};
use tower_http::services::ServeDir;

use crate::config;
use crate::gateway::entrance::{Entrance, Visitor, over_limit};
use crate::gateway::origins::Origins;
use crate::gateway::socketio::connections::Connections;
use crate::gateway::socketio::link::Link;
use crate::gateway::socketio::mend::{Framing, mend_polled};
use crate::gateway::socketio::payload;
use crate::gateway::socketio::request::{parameter, slim};
use crate::gateway::socketio::wire::Wire;
use crate::limits::{Over, Way};
use crate::net::{Asks, Connection, body};

/// Where 1.x and 2.x pages load the client from.
const BUNDLE_PATH: &str = "/socket.io/socket.io";

/// What the gateway is called by those who are asked about a login.
const GATEWAY: &str = "socketio";

/// How long a page's polled message may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

/// What all connections of the gateway share.
#[derive(Debug)]
pub(super) struct Front {
    /// `None` takes any path.
    path: Option<String>,
    origins: Origins,
    max_payload: usize,
    bundle: ServeDir,
    connections: Arc<Connections>,
    entrance: Arc<Entrance>,
}

/// The service of one connection.
#[derive(Clone)]
pub(crate) struct PageService {
    front: Arc<Front>,
    engine: SocketIoService<Router>,
    connection: Connection,
}

impl Front {
    pub(super) fn new(
        config: &config::SocketIo,
        web_root: &Path,
        connections: Arc<Connections>,
        entrance: &Arc<Entrance>,
    ) -> Self {
        let client = web_root.join("node_modules/socket.io-client/dist");
        let path = config.path.trim_end_matches('/').to_owned();
        Self {
            path: (config.path != "*").then_some(path),
            origins: Origins::new(&config.origins),
            max_payload: config.max_payload_bytes(),
            bundle: ServeDir::new(client),
            connections,
            entrance: Arc::clone(entrance),
        }
    }

    fn is_endpoint(&self, path: &str) -> bool {
        let Some(endpoint) = &self.path else {
            return true;
        };
        let rest = path.strip_prefix(endpoint.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl PageService {
    pub(super) fn new(
        front: Arc<Front>,
        engine: SocketIoService<Router>,
        connection: Connection,
    ) -> Self {
        connection.may_become_websocket();
        Self {
            front,
            engine,
            connection,
        }
    }

    async fn respond(self, request: Request<Incoming>) -> Response<Body> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = if !self.front.origins.allow(origin.as_ref()) {
            // No CORS headers: the browser must not show the page even this.
            tracing::debug!(?origin, "origin refused");
            return refusal(StatusCode::FORBIDDEN, r#"{"code":4,"message":"Forbidden"}"#);
        } else if is_preflight(&request) {
            preflight(&request)
        } else if let Some(name) = bundle_name(request.uri()) {
            self.bundle(&name).await
        } else if self.front.is_endpoint(request.uri().path()) {
            self.engine(request).await
        } else {
            refusal(StatusCode::NOT_FOUND, r#"{"message":"no such path"}"#)
        };
        allow_origin(response.headers_mut(), origin);
        response
    }

    /// The official client, as installed beside the demo page.
    async fn bundle(&self, name: &str) -> Response<Body> {
        let request = Request::builder().uri(name).body(Body::empty());
        let request = request.expect("the name is a valid path");
        match self.front.bundle.clone().oneshot(request).await {
            Ok(found) if found.status() != StatusCode::NOT_FOUND => found.map(Body::new),
            _ => refusal(
                StatusCode::NOT_FOUND,
                r#"{"message":"the client is not installed: run npm install in web-demo"}"#,
            ),
        }
    }

    async fn engine(mut self, request: Request<Incoming>) -> Response<Body> {
        // Who goes on with a session has been let in.
        let visitor = match self.opens(&request).transpose() {
            Ok(visitor) => visitor,
            Err(over) => return over_limit(over),
        };
        let (mut parts, incoming) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        // One whose request has a body would have been read from.
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.filter(|_| incoming.is_end_stream());
        let body = match body::read(incoming, self.front.max_payload, BODY_TIMEOUT).await {
            Ok(body) => body,
            Err(e) => {
                tracing::debug!(error = %e, "polled message refused");
                return refusal(e.status(), BAD_REQUEST);
            }
        };
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let framing = Framing::of(&query, content_type.map(HeaderValue::as_bytes));
        let body = mended(body, framing);
        let mut slim = slim(&parts.method, &query, &parts.headers, body);
        if let Some(visitor) = visitor {
            // Kept for as long as the session is.
            slim.extensions_mut().insert(visitor);
        }
        if let Some(upgrade) = upgrade {
            slim.extensions_mut().insert(upgrade);
            return self.websocket(slim, &query).await;
        }
        let Some(link) = self.polling_page(&parts.method, &query) else {
            let Ok(response) = self.engine.call(slim).await;
            return self
                .answer(response.map(Body::new), &parts.method, &query)
                .await;
        };
        link.ledger.polled_again();
        let Ok(response) = self.engine.call(slim).await;
        let (response, text) = payload::text(response.map(Body::new)).await;
        if !text.is_none_or(|text| payload::enter(&text, &link.ledger)) {
            tracing::debug!(session = %link.sid, "a message got lost on its way to a page");
            self.front.connections.cut(&link);
        }
        self.answer(response, &parts.method, &query).await
    }

    /// Lets in who asks for a new session.
    fn opens(&self, request: &Request<Incoming>) -> Option<Result<Arc<Visitor>, Over>> {
        let query = request.uri().query().unwrap_or_default();
        if parameter(query, "sid").is_some() {
            return None;
        }
        let way = match parameter(query, "transport") {
            Some("websocket") => Way::Websocket,
            _ => Way::Polling,
        };
        Some(self.front.entrance.open(request, way, GATEWAY))
    }

    /// A request that may become a websocket, with the query that it had.
    async fn websocket(mut self, mut slim: Request<Full<Bytes>>, query: &str) -> Response<Body> {
        let wire = Wire::new(self.connection.clone());
        slim.extensions_mut().insert(Arc::clone(&wire));
        let Ok(response) = self.engine.call(slim).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            wire.watch();
            if let Some(sid) = session(query, "websocket") {
                self.front.connections.upgraded(sid, wire);
            }
        }
        response.map(Body::new)
    }

    /// The page that a poll is of; `None` for any other request.
    fn polling_page(&self, method: &Method, query: &str) -> Option<Arc<Link>> {
        let sid = session(query, "polling").filter(|_| *method == Method::GET)?;
        self.front.connections.link(sid)
    }

    async fn answer(
        &self,
        response: Response<Body>,
        method: &Method,
        query: &str,
    ) -> Response<Body> {
        if payload::wants_binary(method, query) {
            return payload::to_binary(response).await;
        }
        response
    }
}

fn mended(body: Bytes, framing: Framing) -> Bytes {
    if body.is_empty() {
        return body;
    }
    let mut body = body.to_vec();
    mend_polled(&mut body, framing);
    body.into()
}

/// The session that a request of this transport goes on with.
fn session(query: &str, transport: &str) -> Option<Sid> {
    if parameter(query, "transport") != Some(transport) {
        return None;
    }
    parameter(query, "sid")?.parse().ok()
}

/// The file name within the client's folder, for a path that asks for the client.
fn bundle_name(uri: &Uri) -> Option<String> {
    let ending = uri.path().strip_prefix(BUNDLE_PATH)?;
    matches!(ending, ".js" | ".js.map" | ".min.js" | ".min.js.map")
        .then(|| format!("/socket.io{ending}"))
}

fn is_preflight<B>(request: &Request<B>) -> bool {
    let asked = header::ACCESS_CONTROL_REQUEST_METHOD;
    request.method() == Method::OPTIONS && request.headers().contains_key(asked)
}

fn preflight<B>(request: &Request<B>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let asked = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.cloned();
    let names = asked.unwrap_or_else(|| HeaderValue::from_static("Content-Type"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    response
}

/// As the original: the origin is echoed with credentials allowed, on errors too; without an
/// origin anybody may read.
fn allow_origin(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    let Some(origin) = origin else {
        let anybody = HeaderValue::from_static("*");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
        return;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let yes = HeaderValue::from_static("true");
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
}

fn refusal(status: StatusCode, json: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

impl Service<Request<Incoming>> for PageService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let (service, connection) = (self.clone(), self.connection.clone());
        // Now, since nothing more is read before.
        let asks = asks(&request);
        let may = connection.is_asked(asks);
        Box::pin(async move {
            let response = match may {
                true => service.respond(request).await,
                false => refusal(StatusCode::BAD_REQUEST, BAD_REQUEST),
            };
            connection.answered(asks);
            Ok(response)
        })
    }
}

fn asks(request: &Request<Incoming>) -> Asks {
    if !request.body().is_end_stream() {
        return Asks::AnswerToBody;
    }
    match request.extensions().get::<OnUpgrade>() {
        Some(_) => Asks::Websocket,
        None => Asks::Answer,
    }
}

impl std::fmt::Debug for PageService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageService")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
