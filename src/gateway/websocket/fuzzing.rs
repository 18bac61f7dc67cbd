//! What holds of frames and handshakes, whatever is sent. Built only for fuzzing; see
//! `crate::fuzzing`.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::gateway::websocket::frame::{self, Decoder, FrameError, Limits, Message};
use crate::gateway::websocket::switching;

/// Two servers: one that takes little, and one that takes more than is fuzzed with.
const LIMITS: [Limits; 2] = [
    Limits {
        keep: 20,
        frame: 200,
    },
    Limits {
        keep: 1 << 16,
        frame: 1 << 17,
    },
];

/// Frames mean the same however they arrive, and what is told of a message keeps to the limits.
pub(crate) fn frames(cuttings: &[Vec<&[u8]>; 3]) {
    let [whole, ..] = cuttings;
    for limits in LIMITS {
        let read = messages(whole, limits);
        for pieces in cuttings {
            assert_eq!(messages(pieces, limits), read, "{pieces:?}");
        }
        for message in &read.0 {
            match message {
                Message::Data(data) => assert!(data.len() <= limits.keep),
                Message::Oversized(length) => assert!(*length > limits.keep as u64),
                Message::Ping(payload) => assert!(payload.len() <= 125),
                Message::Pong | Message::Close => {}
            }
        }
    }
    written(&String::from_utf8_lossy(&whole.concat()));
}

fn messages(pieces: &[&[u8]], limits: Limits) -> (Vec<Message>, Option<FrameError>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next(limits) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
    }
    (messages, None)
}

/// What is written is what a page would read: masked as a page masks, it is read here.
fn written(text: &str) {
    let written = frame::text(text);
    let head = written.len() - text.len();
    let mut masked = written[..head].to_vec();
    masked[1] |= 0x80;
    masked.extend([0; 4]);
    masked.extend_from_slice(text.as_bytes());
    let [_, wide] = LIMITS;
    let expected = (vec![Message::Data(text.to_owned().into())], None);
    assert_eq!(messages(&[&masked], wide), expected);
}

/// Whatever a page asks for, the answer is one that it takes.
pub(crate) fn handshake(key: &[u8], protocols: &[u8]) {
    let Ok(key) = HeaderValue::from_bytes(key) else {
        return;
    };
    let mut asked = HeaderMap::new();
    if let Ok(protocols) = HeaderValue::from_bytes(protocols) {
        asked.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    let answer = switching(&key, &asked);
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let accept = answer.headers()[header::SEC_WEBSOCKET_ACCEPT].as_bytes();
    assert_eq!(accept.len(), 28, "20 bytes in base64");
    if let Some(protocol) = answer.headers().get(header::SEC_WEBSOCKET_PROTOCOL) {
        let protocol = protocol.as_bytes();
        assert!(!protocol.contains(&b','), "{protocol:?}");
        assert_eq!(protocol.trim_ascii(), protocol);
    }
}
