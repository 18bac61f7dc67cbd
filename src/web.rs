//! The demo page: static files, and three small endpoints that let the page show what it does.
//!
//! It is given the push endpoint rather than knowing it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tower_http::services::ServeDir;

use crate::config::{Config, EscapeHtml, TlsListener};
use crate::hub::Hub;

/// The most users that the page lists.
const LISTED: usize = 100;

/// What the page has to know of the other listeners.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbours {
    /// The Socket.IO gateway's address.
    pub(crate) socketio: Option<SocketAddr>,
    /// The push port's address.
    pub(crate) http: Option<SocketAddr>,
    /// The web listener's own address.
    pub(crate) web: SocketAddr,
}

/// The router of the demo page; `push` answers pushes that the page's form makes.
pub(crate) fn router(
    config: &Config,
    hub: Arc<Hub>,
    push: MethodRouter,
    neighbours: Neighbours,
) -> Router {
    // Whoever reaches these can push to everybody and see who is online. The page is a demo: it
    // may do both only where nobody but this machine's user reaches it.
    let private = neighbours.web.ip().is_loopback();
    let demo = Arc::new(describe(config, neighbours, private));
    Router::new()
        .route("/online.json", get(online).with_state(hub))
        .route("/push", push)
        .layer(from_fn(same_site_only))
        .layer(from_fn_with_state(private, private_only))
        .route(
            "/demo.json",
            get(move || std::future::ready(Json((*demo).clone()))),
        )
        .fallback_service(ServeDir::new(&config.web.root))
}

/// Whether the page's files are where the configuration says.
pub(crate) fn is_installed(root: &Path) -> bool {
    root.join("index.html").is_file()
}

fn describe(config: &Config, neighbours: Neighbours, private: bool) -> Value {
    let path = match config.socketio.path.as_str() {
        "*" => "/socket.io",
        path => path,
    };
    let tls = |listener| config.tls.is_spoken(listener);
    json!({
        "socketio": neighbours
            .socketio
            .map(|a| json!({ "port": a.port(), "path": path, "tls": tls(TlsListener::SocketIo) })),
        "http": neighbours
            .http
            .map(|a| json!({ "port": a.port(), "tls": tls(TlsListener::Http) })),
        "escape_html": config.http.escape_html != EscapeHtml::Off,
        "push": private,
        "key": config.api.has_keys(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

async fn online(State(hub): State<Arc<Hub>>) -> Json<Value> {
    let presence = hub.presence();
    let users = hub.online(LISTED);
    let listed: Vec<Value> = users
        .into_iter()
        .map(|(uid, pages)| json!({ "uid": uid.as_str(), "pages": pages }))
        .collect();
    Json(json!({ "users": presence.users, "pages": presence.pages, "uids": listed }))
}

async fn private_only(State(private): State<bool>, request: Request, next: Next) -> Response {
    if private {
        return next.run(request).await;
    }
    let reason = "only on a loopback address: set web.listen to 127.0.0.1\n";
    (StatusCode::FORBIDDEN, reason).into_response()
}

/// Refuses what another site's page makes the user's browser send, also by a name of its own
/// that it lets point to this machine.
async fn same_site_only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site");
    let cross = site.is_some_and(|site| site != "same-origin" && site != "none");
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if cross || !host.is_none_or(is_loopback_name) {
        return (StatusCode::FORBIDDEN, "only for this page\n").into_response();
    }
    next.run(request).await
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = name.parse();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
