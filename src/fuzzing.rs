//! What holds of every parser, whatever bytes it gets: the fuzz targets of `fuzz/`, one function a
//! target. Built only for fuzzing. Each panics when something does not hold.
//!
//! What needs the private parts of a module stands in that module's own `fuzzing`; here are the
//! names, how bytes are cut into pieces, and what is told of values.

mod php;
mod values;

pub use php::{escape, json, query};
pub use values::{chat_request, jwt, token, topic};

use crate::gateway::socketio::fuzzing as socketio;
use crate::gateway::{chat, websocket};
use crate::ingress;
use crate::net;

/// A form, in a URL and in a body.
pub fn form(bytes: &[u8]) {
    ingress::form::fuzzing::urlencoded(bytes);
}

/// A multipart body.
pub fn multipart(bytes: &[u8]) {
    ingress::form::fuzzing::multipart(bytes);
}

/// A JSON body.
pub fn json_body(bytes: &[u8]) {
    ingress::form::fuzzing::json(bytes);
}

/// A line of the text push port.
pub fn text_line(bytes: &[u8]) {
    ingress::text::fuzzing::line(bytes);
}

/// A packet of the UDP push port.
pub fn udp_packet(bytes: &[u8]) {
    ingress::udp::fuzzing::packet(bytes);
}

/// What a page sends over a raw websocket.
pub fn frames(bytes: &[u8]) {
    websocket::fuzzing::frames(&cuttings(bytes));
}

/// A raw websocket's handshake: its key, the protocols that are asked for, and the URL's query.
pub fn handshake(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    websocket::fuzzing::handshake(line(), line());
    if let Ok(query) = std::str::from_utf8(line()) {
        chat::fuzzing::query(query);
    }
}

/// What a page sends over Socket.IO's websocket, or posts, on its way to socketioxide.
pub fn mend(bytes: &[u8]) {
    socketio::arriving(&cuttings(bytes));
    socketio::posted(bytes);
}

/// What socketioxide writes to a page's websocket.
pub fn wire(bytes: &[u8]) {
    socketio::leaving(&cuttings(bytes));
}

/// What socketioxide answers polls with, and how text gets into it.
pub fn payload(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        socketio::answered(text);
        socketio::encoded(text);
    }
}

/// The first line of an HTTP request.
pub fn first_line(bytes: &[u8]) {
    net::fuzzing::first_line(&cuttings(bytes));
}

/// The bytes in pieces, in three ways: whole, byte by byte, and cut at places that the bytes
/// themselves choose. A parser of a stream has to make the same of all.
fn cuttings(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    // FNV-1a, then an LCG: enough to cut one input differently from the next.
    let mut dice = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    });
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let most = if dice >> 63 == 0 { 4 } else { 64 };
        let length = 1 + (dice >> 33) as usize % most;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    [vec![bytes], bytes.chunks(1).collect(), pieces]
}
