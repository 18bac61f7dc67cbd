//! Packets that socketioxide answers by closing the connection, and the original ignored; and packets
//! that it answers with as much as it got.
//!
//! An event whose name is not a text (`emit(5, "x")` is legal JavaScript) or that is no list at
//! all closes the whole connection in socketioxide 0.18.9; the page would come back and do it
//! again for ever. Such a packet is changed, by one byte and in place, into an event for a
//! namespace that does not exist, and those are ignored: `42[5,"x"]` becomes `42/5,"x"]`. On a websocket
//! one that a client of its own making splits or fragments within its first bytes passes; it harms its
//! own connection only.
//!
//! A connect to a namespace is answered with the namespace's name, however long it is, and a full
//! queue of such answers would be a lot of memory. On a websocket a very long name ends early, by a
//! comma, however it is fragmented; in a poll, of which all is there, the packet is ignored.

mod polled;

pub(super) use polled::{Framing, mend_polled};

/// Mends what arrives on a websocket, whose frames are masked.
#[derive(Debug, Default)]
pub(super) struct WebsocketMender {
    head: Head,
    /// Payload bytes of the current frame that have not arrived yet.
    remaining: u64,
    /// The mask of the current frame, from its next byte on; `None` where the frame is of no text.
    mask: Option<[u8; 4]>,
    /// Whether the first byte of a text message comes next.
    begins: bool,
    /// The text message, which may have begun in an earlier frame.
    connect: Connect,
    /// Whether the page's half of a heartbeat has arrived.
    is_alive: bool,
}

/// The head of a frame, as far as it has arrived.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; LONGEST_HEAD],
    length: u8,
}

/// How far a message is a connect to another namespace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Connect {
    /// So many bytes of [`CONNECT`] have been met.
    Begins(u8),
    /// So many bytes of the name.
    Name(u16),
    /// It is none, or its name has ended.
    #[default]
    Not,
}

/// Where a packet's data, namespace or ack id begins.
const DATA: usize = 2;

/// How a connect to another namespace begins; the slash is the name's.
const CONNECT: &[u8] = b"40/";

/// The longest name of a namespace that is answered.
pub(super) const LONGEST_NAME: u16 = 256;

/// The most bytes of a packet that are looked at for what they mean.
const LOOKED_AT: usize = 32;

/// The longest head of a frame.
const LONGEST_HEAD: usize = 14;

impl WebsocketMender {
    /// Takes the next bytes that arrived. Says whether the page's half of a heartbeat was among them.
    pub(super) fn filter(&mut self, mut arrived: &mut [u8]) -> bool {
        self.is_alive = false;
        while !arrived.is_empty() {
            if self.remaining == 0 {
                arrived = self.read_head(arrived);
                continue;
            }
            let here = usize::try_from(self.remaining).unwrap_or(usize::MAX);
            let (payload, rest) = arrived.split_at_mut(here.min(arrived.len()));
            if let Some(mask) = self.mask {
                self.mend(payload, mask);
                let mut next = mask;
                next.rotate_left(payload.len() % 4);
                self.mask = Some(next);
            }
            self.remaining -= payload.len() as u64;
            arrived = rest;
        }
        self.is_alive
    }

    /// Takes bytes of a text.
    fn mend(&mut self, payload: &mut [u8], mask: [u8; 4]) {
        if std::mem::take(&mut self.begins) {
            // A pong of Engine.IO 4, a ping of 3.
            self.is_alive |= self.remaining == 1 && matches!(payload[0] ^ mask[0], b'2' | b'3');
            mend_masked(payload, mask);
        }
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            if self.connect == Connect::Not {
                return;
            }
            if let Some(mended) = self.connect.take(*byte ^ mask) {
                *byte = mended ^ mask;
            }
        }
    }

    /// Takes bytes of a frame's head. Returns what follows the head.
    fn read_head<'a>(&mut self, arrived: &'a mut [u8]) -> &'a mut [u8] {
        let (rest, is_whole) = self.head.take(arrived);
        if is_whole {
            let head = self.head.bytes();
            self.remaining = payload_length(head);
            // Pings and the like may come between the fragments of a message.
            self.mask = match head[0] & 0x0F {
                0x00 => mask(head),
                0x01 => {
                    (self.begins, self.connect) = (true, Connect::Begins(0));
                    mask(head)
                }
                0x02 => {
                    self.connect = Connect::Not;
                    None
                }
                _ => None,
            };
            self.head.length = 0;
        }
        rest
    }
}

impl Head {
    /// Takes bytes of it. Returns what follows, and whether it is whole.
    fn take<'a>(&mut self, arrived: &'a mut [u8]) -> (&'a mut [u8], bool) {
        let known = self.bytes().len();
        let missing = head_length(self.bytes()).saturating_sub(known);
        let (more, rest) = arrived.split_at_mut(missing.min(arrived.len()));
        self.bytes[known..known + more.len()].copy_from_slice(more);
        // At most 14.
        self.length += more.len() as u8;
        (rest, self.bytes().len() == head_length(self.bytes()))
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Connect {
    /// Takes the next byte; gives what is to stand in its place, if it is to be another.
    fn take(&mut self, byte: u8) -> Option<u8> {
        *self = match *self {
            Self::Begins(met) if CONNECT[usize::from(met)] != byte => Self::Not,
            Self::Begins(met) if usize::from(met) + 1 < CONNECT.len() => Self::Begins(met + 1),
            Self::Begins(_) => Self::Name(1),
            Self::Name(_) if byte == b',' => Self::Not,
            Self::Name(LONGEST_NAME) => {
                *self = Self::Not;
                return Some(b',');
            }
            Self::Name(length) => Self::Name(length + 1),
            Self::Not => Self::Not,
        };
        None
    }
}

/// The length of a frame's head, as far as the bytes of it that are known tell.
fn head_length(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else { return 2 };
    let extended = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    2 + extended + mask
}

fn payload_length(head: &[u8]) -> u64 {
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    match head[1] & 0x7F {
        126 => big_endian(&head[2..4]),
        127 => big_endian(&head[2..10]),
        short => u64::from(short),
    }
}

fn mask(head: &[u8]) -> Option<[u8; 4]> {
    if head[1] & 0x80 == 0 {
        return None;
    }
    head.last_chunk().copied()
}

/// `payload` is the start of a message, as far as it has arrived.
fn mend_masked(payload: &mut [u8], mask: [u8; 4]) {
    let mut start = [0; LOOKED_AT];
    let looked_at = payload.len().min(LOOKED_AT);
    for (i, byte) in payload[..looked_at].iter().enumerate() {
        start[i] = byte ^ mask[i % 4];
    }
    if is_bad_event(&start[..looked_at]) {
        payload[DATA] = b'/' ^ mask[DATA % 4];
    }
}

/// Whether a packet of the default namespace is an event that has no name. `start` may be cut
/// off; a packet that cannot be told from its start is left alone.
fn is_bad_event(start: &[u8]) -> bool {
    let Some(data) = start.strip_prefix(b"42") else {
        return false;
    };
    let ack = data.iter().take_while(|b| b.is_ascii_digit()).count();
    match &data[ack..] {
        // Nothing to change it in, or another namespace, where it is ignored anyway.
        [] | [b'/', ..] => false,
        [b'[', inner @ ..] => {
            let name = inner.iter().find(|b| !b.is_ascii_whitespace());
            name.is_some_and(|b| *b != b'"')
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::WebsocketMender;

    const MASK: [u8; 4] = [0x12, 0xA5, 0x00, 0xFF];

    fn frame(payload: &str) -> Vec<u8> {
        let mut frame = vec![0x81];
        match u8::try_from(payload.len()) {
            Ok(n) if n < 126 => frame.push(0x80 | n),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.bytes().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    #[test]
    fn events_without_a_name_are_moved_out_of_the_way() {
        for (sent, read) in [
            (r#"42[5,"x"]"#, r#"42/5,"x"]"#),
            (r#"42[null,"x"]"#, r#"42/null,"x"]"#),
            ("42null", "42/ull"),
            (r#"4217[true]"#, r#"42/7[true]"#),
            (r#"42["login","a"]"#, r#"42["login","a"]"#),
            (r#"427["login","a"]"#, r#"427["login","a"]"#),
            (r#"42/x,[5]"#, r#"42/x,[5]"#),
            ("40/x,", "40/x,"),
            ("42", "42"),
            ("2", "2"),
        ] {
            let mut bytes = frame(sent);
            WebsocketMender::default().filter(&mut bytes);
            assert_eq!(bytes, frame(read), "{sent}");
        }
    }

    /// A message in fragments of these lengths, with a ping within.
    fn fragments(message: &str, lengths: &[usize]) -> Vec<u8> {
        let (mut stream, mut rest) = (Vec::new(), message.as_bytes());
        for (n, length) in lengths.iter().chain([&message.len()]).enumerate() {
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            rest = after;
            let mut fragment = frame(std::str::from_utf8(piece).unwrap());
            let is_last = if n == lengths.len() { 0x80 } else { 0 };
            fragment[0] = is_last | u8::from(n == 0);
            stream.extend(fragment);
            if is_last == 0 {
                stream.extend([0x89, 0x81, 1, 2, 3, 4, b'4' ^ 1]);
            }
        }
        stream
    }

    #[test]
    fn a_very_long_name_of_a_namespace_ends_early_however_it_is_fragmented() {
        let long = "x".repeat(255);
        for (sent, read) in [
            (format!("40/{long}x,{{}}"), format!("40/{long},,{{}}")),
            (
                format!("40/{long}{long}"),
                format!("40/{long},{}", &long[1..]),
            ),
            (format!("40/{long},{long}"), format!("40/{long},{long}")),
            (format!("40{long}/{long}"), format!("40{long}/{long}")),
            (format!("41/{long}{long}"), format!("41/{long}{long}")),
        ] {
            for lengths in [
                &[][..],
                &[1],
                &[2],
                &[0, 2, 1],
                &[4],
                &[1, 1, 1],
                &[200, 30, 60],
            ] {
                let (sent, read) = (fragments(&sent, lengths), fragments(&read, lengths));
                let mut whole = sent.clone();
                WebsocketMender::default().filter(&mut whole);
                assert_eq!(whole, read, "{lengths:?}");
                let (mut bytes, mut mender) = (sent.clone(), WebsocketMender::default());
                bytes.chunks_mut(1).for_each(|byte| {
                    mender.filter(byte);
                });
                assert_eq!(bytes, read, "{lengths:?}, byte by byte");
            }
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_arrive() {
        let long = format!(r#"42["login","{}"]"#, "x".repeat(300));
        let sent = [frame("2"), frame(&long), frame("42[5]"), frame("42[6]")].concat();
        let whole = {
            let mut bytes = sent.clone();
            WebsocketMender::default().filter(&mut bytes);
            bytes
        };
        let read = [frame("2"), frame(&long), frame("42/5]"), frame("42/6]")].concat();
        assert_eq!(whole, read);
        for split in 1..sent.len() {
            let mut bytes = sent.clone();
            let mut mender = WebsocketMender::default();
            let (first, second) = bytes.split_at_mut(split);
            mender.filter(first);
            mender.filter(second);
            // A packet that is split in its first bytes passes as it is; all else is the same.
            let changed = bytes.iter().zip(&whole).filter(|(a, b)| a != b).count();
            assert!(changed <= 1, "split at {split}");
        }
    }
}
