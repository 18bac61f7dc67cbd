//! What stands before every gateway: who asks, and the answer to those for whom there is no place.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};

use crate::limits::Over;
use crate::net::Peer;

/// Seconds after which somebody over a limit may try again.
const RETRY_AFTER: &str = "5";

/// Who makes a request.
pub(in crate::gateway) fn peer<B>(request: &Request<B>) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    // Every listener says who it is.
    peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.address)
}

/// The answer to who is over a limit, as JSON: `code` is for programs, `message` for people.
pub(in crate::gateway) fn refusal(over: Over) -> Response<Body> {
    tracing::debug!(limit = over.code(), "page refused by a limit");
    let json = format!(r#"{{"code":"{}","message":"{over}"}}"#, over.code());
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = if over.is_of_peer() {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::RETRY_AFTER, RETRY_AFTER),
        (header::CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
