//! Requests as socketioxide gets them: slimmed down to what a session may keep.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

/// The path that socketioxide serves. Requests are rewritten to it, whatever path they came by.
pub(super) const ENGINE_PATH: &str = "/socket.io";

/// The headers that socketioxide reads. It keeps a session's first request for as long as the
/// session lives, so nothing else may stay in it.
const KEPT_HEADERS: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];

/// A request that names no version comes from a tool; the original spoke version 3 only.
const VERSION: &str = "3";

/// A request with nothing but what socketioxide reads, all of it copied: slices of hyper's read
/// buffer would keep 16 KiB alive for each page.
pub(super) fn slim(
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let version = match parameter(query, "EIO") {
        Some(_) => String::new(),
        None => format!("&EIO={VERSION}"),
    };
    let uri: Result<Uri, _> = format!("{ENGINE_PATH}/?{query}{version}").parse();
    let mut slim = Request::new(Full::new(body));
    *slim.method_mut() = method.clone();
    *slim.uri_mut() = uri.expect("the query came out of a valid URI");
    for name in KEPT_HEADERS {
        let kept = headers.get(&name).map(HeaderValue::as_bytes);
        if let Some(value) = kept.and_then(|bytes| HeaderValue::from_bytes(bytes).ok()) {
            slim.headers_mut().insert(name, value);
        }
    }
    slim
}

/// The first value of a parameter, not decoded: socketioxide reads queries so.
pub(super) fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(name));
    values.find_map(|rest| rest.strip_prefix('='))
}

/// The version of Engine.IO that a request is taken for.
pub(super) fn version(query: &str) -> &str {
    let version = parameter(query, "EIO").unwrap_or(VERSION);
    version.split('=').next().unwrap_or_default()
}
