//! The admin listener: whether the server lives, whether it can do its work, and its figures. Knows
//! none of those who count.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::metrics::{Levels, Metrics};
use crate::readiness::Readiness;

/// The media type of [`Metrics::encode`].
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The router of the admin listener; `levels` is asked at each reading of the figures.
pub(crate) fn router(
    metrics: Metrics,
    readiness: Readiness,
    levels: impl Fn() -> Levels + Clone + Send + Sync + 'static,
) -> Router {
    let figures = move || std::future::ready(figures(&metrics, &levels()));
    Router::new()
        .route("/healthz", get("ok\n"))
        .route(
            "/readyz",
            get(move || std::future::ready(readyz(&readiness))),
        )
        .route("/metrics", get(figures))
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
