//! Websocket frames (RFC 6455), on the heads of tungstenite: what a page sends is taken apart as it
//! arrives, what it gets is one unmasked frame a message. Knows neither sockets nor dialects.

use std::io::Cursor;

use bytes::{Buf as _, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest payload of a ping, pong or close.
const MAX_CONTROL: u64 = 125;

/// A whole message of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Text or binary; which of the two makes no difference to any dialect.
    Data(Bytes),
    /// A text or binary message above the limit, passed over; its length so far.
    Oversized(u64),
    /// A ping, to be answered with the same payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// A close.
    Close,
}

/// Why a connection cannot go on: the peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A page has to mask what it sends.
    #[error("unmasked frame")]
    Unmasked,
    /// No extension was agreed that gives these bits a meaning.
    #[error("reserved bits are set")]
    Reserved,
    /// Not an opcode.
    #[error("unknown opcode")]
    Opcode,
    /// A control frame in fragments, or above 125 bytes.
    #[error("control frame in fragments or above 125 bytes")]
    Control,
    /// A continuation of nothing, or a new message within another.
    #[error("fragments out of order")]
    Fragments,
    /// A frame above what any page may send.
    #[error("frame of {0} bytes")]
    TooLong(u64),
}

/// Takes a byte stream apart. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    unread: BytesMut,
    /// The frame whose payload is on its way.
    frame: Option<Frame>,
    /// The fragments so far of a message.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    /// Bytes of the payload that have not been taken yet.
    rest: u64,
    /// How many were passed over.
    passed: u64,
}

#[derive(Debug, Default)]
struct Partial {
    bytes: BytesMut,
    /// The length so far once the limit is passed; then nothing is kept.
    oversized: Option<u64>,
}

/// What one message may weigh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longer messages are passed over as they arrive, and told as [`Message::Oversized`].
    pub(super) keep: usize,
    /// A frame that announces a longer payload ends the connection.
    pub(super) frame: u64,
}

impl Decoder {
    /// Adds what has arrived.
    pub(super) fn feed(&mut self, arrived: &[u8]) {
        self.unread.extend_from_slice(arrived);
    }

    /// Lets `read` add what arrives, with room for `most` bytes.
    pub(super) fn fill<T>(&mut self, most: usize, read: impl FnOnce(&mut BytesMut) -> T) -> T {
        self.unread.reserve(most);
        read(&mut self.unread)
    }

    /// The next whole message, if it has arrived.
    pub(super) fn next(&mut self, limits: Limits) -> Result<Option<Message>, FrameError> {
        let message = self.step(limits);
        if self.unread.is_empty() {
            // An idle page keeps no buffer.
            self.unread = BytesMut::new();
        }
        message
    }

    fn step(&mut self, limits: Limits) -> Result<Option<Message>, FrameError> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                match self.head(limits)? {
                    Some(frame) => self.frame = Some(frame),
                    None => return Ok(None),
                }
                continue;
            };
            let is_control = matches!(frame.opcode, OpCode::Control(_));
            let so_far = self.partial.as_ref().map_or(0, |p| p.bytes.len() as u64);
            let keep = limits.keep as u64;
            if !is_control
                && (self.is_oversized() || frame.passed > 0 || so_far + frame.rest > keep)
            {
                let arrived = frame.rest.min(self.unread.len() as u64);
                self.unread.advance(arrived as usize);
                frame.rest -= arrived;
                frame.passed += arrived;
                if frame.rest > 0 {
                    self.frame = Some(frame);
                    return Ok(None);
                }
                if let Some(message) = self.passed_over(&frame, so_far) {
                    return Ok(Some(message));
                }
                continue;
            }
            if (self.unread.len() as u64) < frame.rest {
                self.frame = Some(frame);
                return Ok(None);
            }
            let mut payload = self.unread.split_to(frame.rest as usize);
            unmask(&mut payload, frame.mask);
            if let Some(message) = self.whole(&frame, payload) {
                return Ok(Some(message));
            }
        }
    }

    /// The head of the next frame, once it is there whole.
    fn head(&mut self, limits: Limits) -> Result<Option<Frame>, FrameError> {
        let mut cursor = Cursor::new(&self.unread[..]);
        let Ok(head) = FrameHeader::parse(&mut cursor) else {
            return Err(FrameError::Opcode);
        };
        let Some((head, length)) = head else {
            return Ok(None);
        };
        let used = cursor.position() as usize;
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(FrameError::Reserved);
        }
        let mask = head.mask.ok_or(FrameError::Unmasked)?;
        match head.opcode {
            OpCode::Control(_) if !head.is_final || length > MAX_CONTROL => {
                return Err(FrameError::Control);
            }
            OpCode::Data(Data::Continue) if self.partial.is_none() => {
                return Err(FrameError::Fragments);
            }
            OpCode::Data(Data::Text | Data::Binary) if self.partial.is_some() => {
                return Err(FrameError::Fragments);
            }
            // The limit counts the head too, as the original's did.
            OpCode::Data(_) if length.saturating_add(used as u64) > limits.frame => {
                return Err(FrameError::TooLong(length));
            }
            OpCode::Control(_) | OpCode::Data(_) => {}
        }
        self.unread.advance(used);
        Ok(Some(Frame {
            opcode: head.opcode,
            is_final: head.is_final,
            mask,
            rest: length,
            passed: 0,
        }))
    }

    fn is_oversized(&self) -> bool {
        self.partial.as_ref().is_some_and(|p| p.oversized.is_some())
    }

    /// A frame of a message above the limit has gone by.
    fn passed_over(&mut self, frame: &Frame, so_far: u64) -> Option<Message> {
        let partial = self.partial.take().unwrap_or_default();
        let length = partial.oversized.unwrap_or(so_far) + frame.passed;
        if frame.is_final {
            return Some(Message::Oversized(length));
        }
        self.partial = Some(Partial {
            bytes: BytesMut::new(),
            oversized: Some(length),
        });
        None
    }

    /// A frame is whole; `None` when more fragments have to follow.
    fn whole(&mut self, frame: &Frame, payload: BytesMut) -> Option<Message> {
        match frame.opcode {
            OpCode::Control(Control::Ping) => Some(Message::Ping(payload.freeze())),
            OpCode::Control(Control::Pong) => Some(Message::Pong),
            OpCode::Control(Control::Close | Control::Reserved(_)) => Some(Message::Close),
            OpCode::Data(_) if frame.is_final && self.partial.is_none() => {
                Some(Message::Data(payload.freeze()))
            }
            OpCode::Data(_) => {
                let mut partial = self.partial.take().unwrap_or_default();
                partial.bytes.extend_from_slice(&payload);
                if frame.is_final {
                    return Some(Message::Data(partial.bytes.freeze()));
                }
                self.partial = Some(partial);
                None
            }
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        for (byte, mask) in word.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// A text frame.
pub(super) fn text(content: &str) -> Bytes {
    frame(OpCode::Data(Data::Text), content.as_bytes())
}

/// A ping.
pub(super) fn ping() -> Bytes {
    frame(OpCode::Control(Control::Ping), b"")
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), payload)
}

/// A close; `reason` is at most 123 bytes.
pub(super) fn close(code: CloseCode, reason: &str) -> Bytes {
    let code = u16::from(code).to_be_bytes();
    let payload = [&code[..], reason.as_bytes()].concat();
    frame(OpCode::Control(Control::Close), &payload)
}

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let head = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let length = payload.len() as u64;
    let mut frame = Vec::with_capacity(head.len(length) + payload.len());
    head.format(length, &mut frame)
        .expect("memory can be written");
    frame.extend_from_slice(payload);
    frame.into()
}
