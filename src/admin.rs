//! The admin listener: whether the server lives, whether it can do its work, and its figures. Knows
//! none of those who count.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

use crate::auth::api_keys::{Denied, Keys, Scope};
use crate::metrics::{Levels, Metrics};
use crate::readiness::Readiness;

/// The media type of [`Metrics::encode`].
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The router of the admin listener at `address`; `levels` is asked at each reading of the figures.
pub(crate) fn router(
    metrics: Metrics,
    readiness: Readiness,
    (keys, address): (Arc<Keys>, Option<SocketAddr>),
    levels: impl Fn() -> Levels + Clone + Send + Sync + 'static,
) -> Router {
    // What watches over a server on its own machine needs no key.
    let asks = address.is_some_and(|address| !address.ip().is_loopback());
    let figures = move |headers: HeaderMap| {
        let answer = match asks.then(|| may_read(&keys, &headers)) {
            Some(Err(denied)) => refusal(denied),
            Some(Ok(())) | None => figures(&metrics, &levels()),
        };
        std::future::ready(answer)
    };
    Router::new()
        .route("/healthz", get("ok\n"))
        .route(
            "/readyz",
            get(move || std::future::ready(readyz(&readiness))),
        )
        .route("/metrics", get(figures))
}

fn may_read(keys: &Keys, headers: &HeaderMap) -> Result<(), Denied> {
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let key = shown.and_then(|shown| {
        let (scheme, key) = shown.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    keys.shown(key, Scope::Read)
}

fn refusal(denied: Denied) -> Response {
    if denied.is_known() {
        return (StatusCode::FORBIDDEN, format!("{denied}\n")).into_response();
    }
    let bearer = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, bearer, format!("{denied}\n")).into_response()
}

fn readyz(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = reasons.iter().map(|reason| format!("{reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

fn figures(metrics: &Metrics, levels: &Levels) -> Response {
    let text = metrics.encode(levels);
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}
