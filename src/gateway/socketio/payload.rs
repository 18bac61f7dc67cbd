//! Engine.IO 3 payloads in the binary form that the original answered polls with.
//!
//! socketioxide answers with the text form (`2:40`) as long as no packet is binary. The browser
//! bundle of 1.3.7 reads an answer that is not `application/octet-stream` as the word `ok`, so a
//! page without `b64=1` gets what PHPSocketIO sent: for each packet a zero byte (it is text), its
//! length in decimal with one byte a digit, `FF`, and the packet.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::gateway::ledger::Ledger;
use crate::gateway::socketio::request::parameter;
use crate::gateway::socketio::wire::MESSAGE;

/// Whether a request is a poll whose answer has to be in the binary form.
pub(super) fn wants_binary(method: &Method, query: &str) -> bool {
    method == Method::GET
        && parameter(query, "transport") == Some("polling")
        && matches!(parameter(query, "EIO"), None | Some("3"))
        && parameter(query, "b64").is_none()
        && parameter(query, "j").is_none()
}

/// The answer to such a poll; anything but a text payload is passed on as it is.
pub(super) async fn to_binary(response: Response<Body>) -> Response<Body> {
    let (response, text) = text(response).await;
    let Some(binary) = text.and_then(|text| reframe(&text)) else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    let octets = HeaderValue::from_static("application/octet-stream");
    parts.headers.insert(header::CONTENT_TYPE, octets);
    let length = HeaderValue::from(binary.len());
    parts.headers.insert(header::CONTENT_LENGTH, length);
    Response::from_parts(parts, Body::from(binary))
}

/// The payload of an answer, if it is a text, and the same answer.
pub(super) async fn text(response: Response<Body>) -> (Response<Body>, Option<String>) {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_text = content_type.is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    if response.status() != StatusCode::OK || !is_text {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(e) => {
            tracing::error!(error = %e, "cannot read an answer that is in memory");
            Bytes::new()
        }
    };
    let text = String::from_utf8(bytes.to_vec()).ok();
    (Response::from_parts(parts, Body::from(bytes)), text)
}

/// Enters the messages of a payload as having left. False when one is missing.
pub(super) fn enter(payload: &str, ledger: &Ledger) -> bool {
    let mut leaving = ledger.leaving();
    let mut is_sound = true;
    for packet in packets(payload) {
        if packet.as_bytes().starts_with(MESSAGE) {
            is_sound &= leaving.polled(packet.len());
        } else if matches!(packet, "2" | "3") {
            leaving.heartbeat();
        }
    }
    is_sound
}

/// The packets of a payload: separated in Engine.IO 4, with their lengths in front in 3. No packet
/// begins with two digits and a colon.
pub(super) fn packets(payload: &str) -> Vec<&str> {
    let mut packets = Vec::new();
    let mut rest = payload;
    while let Some((packet, after)) = first_framed(rest) {
        packets.push(packet);
        rest = after;
    }
    packets.extend(rest.split('\u{1E}').filter(|packet| !packet.is_empty()));
    packets
}

/// The first packet of `length:packet…`, whose lengths count UTF-16 units, and what follows it.
fn first_framed(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(':')?;
    let end = utf16_end(rest, length.parse().ok()?)?;
    Some(rest.split_at(end))
}

/// Rewrites `length:packet…`, whose lengths count UTF-16 units. `None` when it is not that.
pub(super) fn reframe(mut text: &str) -> Option<Vec<u8>> {
    let mut binary = Vec::with_capacity(text.len() + 16);
    while !text.is_empty() {
        let (packet, rest) = first_framed(text)?;
        binary.push(0);
        binary.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
        binary.push(0xFF);
        binary.extend_from_slice(packet.as_bytes());
        text = rest;
    }
    Some(binary)
}

/// Where the first `units` UTF-16 units of `text` end.
fn utf16_end(text: &str, units: usize) -> Option<usize> {
    let mut count = 0;
    for (at, c) in text.char_indices() {
        if count == units {
            return Some(at);
        }
        count += c.len_utf16();
    }
    (count == units).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::reframe;

    #[test]
    fn text_payloads_are_reframed_packet_by_packet() {
        assert_eq!(reframe("2:40").unwrap(), b"\x00\x02\xFF40");
        assert_eq!(reframe("2:401:6").unwrap(), b"\x00\x02\xFF40\x00\x01\xFF6");
        let twelve = format!("12:{}", "x".repeat(12));
        assert_eq!(
            reframe(&twelve).unwrap(),
            [&b"\x00\x01\x02\xFF"[..], b"xxxxxxxxxxxx"].concat()
        );
        // Lengths are UTF-16 units before and bytes after.
        assert_eq!(
            reframe("3:4\u{1F600}").unwrap(),
            [&b"\x00\x05\xFF4"[..], "\u{1F600}".as_bytes()].concat()
        );
        assert_eq!(reframe("ok"), None);
        assert_eq!(reframe("9:40"), None);
    }
}
