//! Packets that socketioxide answers by closing the connection, and the original ignored.
//!
//! An event whose name is not a text (`emit(5, "x")` is legal JavaScript) or that is no list at
//! all closes the whole connection in socketioxide 0.18.9; the page would come back and do it
//! again for ever. Such a packet is changed, by one byte and in place, into an event for a
//! namespace that does not exist, and those are ignored: `42[5,"x"]` becomes `42/5,"x"]`.
//!
//! A connect to a namespace is answered with the namespace's name, however long it is, and a full
//! queue of such answers is a lot of memory; one with a very long name is ignored in the same way.
//!
//! What a client of its own making splits or fragments within the first bytes of a packet passes
//! unmended; it harms its own connection only.

/// Mends what arrives on a websocket, whose frames are masked.
#[derive(Debug, Default)]
pub(super) struct WebsocketMender {
    head: Vec<u8>,
    /// Payload bytes of the current frame that have not arrived yet.
    remaining: u64,
    /// The mask of a text message whose first byte comes next.
    begins: Option<[u8; 4]>,
    /// Whether the page's half of a heartbeat has arrived.
    is_alive: bool,
}

/// Where a `0` makes a packet a connect and a `2` an event.
const KIND: usize = 1;

/// Where a packet's data, namespace or ack id begins.
const DATA: usize = 2;

/// The longest connect to another namespace that is answered.
const LONGEST_CONNECT: u64 = 256;

/// The most bytes of a packet that are looked at.
const LOOKED_AT: usize = 32;

/// Engine.IO 4 puts this between the packets of a polled payload.
const SEPARATOR: u8 = 0x1E;

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
            if let Some(mask) = self.begins.take() {
                // A pong of Engine.IO 4, a ping of 3.
                self.is_alive |= self.remaining == 1 && matches!(payload[0] ^ mask[0], b'2' | b'3');
                mend_masked(payload, mask, self.remaining);
            }
            self.remaining -= payload.len() as u64;
            arrived = rest;
        }
        self.is_alive
    }

    /// Takes bytes of a frame's head. Returns what follows the head.
    fn read_head<'a>(&mut self, arrived: &'a mut [u8]) -> &'a mut [u8] {
        let missing = head_length(&self.head).saturating_sub(self.head.len());
        let (more, rest) = arrived.split_at_mut(missing.min(arrived.len()));
        self.head.extend_from_slice(more);
        if self.head.len() == head_length(&self.head) {
            self.remaining = payload_length(&self.head);
            let is_text = self.head[0] & 0x0F == 0x01;
            self.begins = mask(&self.head).filter(|_| is_text);
            self.head.clear();
        }
        rest
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

/// `payload` is the start of a message of `length` bytes, as far as it has arrived.
fn mend_masked(payload: &mut [u8], mask: [u8; 4], length: u64) {
    let mut start = [0; LOOKED_AT];
    let looked_at = payload.len().min(LOOKED_AT);
    for (i, byte) in payload[..looked_at].iter().enumerate() {
        start[i] = byte ^ mask[i % 4];
    }
    if let Some((at, byte)) = mended(&start[..looked_at], length) {
        payload[at] = byte ^ mask[at % 4];
    }
}

/// Mends the packets of a polled payload: separated in Engine.IO 4, with their lengths in front
/// in Engine.IO 3, where only the first is looked at.
pub(super) fn mend_polled(payload: &mut [u8]) {
    for packet in payload.split_mut(|b| *b == SEPARATOR) {
        let digits = packet.iter().take_while(|b| b.is_ascii_digit()).count();
        let start = match packet.get(digits) {
            Some(b':') if digits > 0 => digits + 1,
            _ => 0,
        };
        let packet = &mut packet[start..];
        let start = &packet[..packet.len().min(LOOKED_AT)];
        if let Some((at, byte)) = mended(start, packet.len() as u64) {
            packet[at] = byte;
        }
    }
}

/// The byte to change in a packet of `length` bytes, of which `start` is known, and its new value.
fn mended(start: &[u8], length: u64) -> Option<(usize, u8)> {
    if is_bad_event(start) {
        return Some((DATA, b'/'));
    }
    // An event for a namespace that does not exist is ignored; a connect is answered.
    let long_namespace = start.starts_with(b"40/") && length > LONGEST_CONNECT;
    long_namespace.then_some((KIND, b'2'))
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
    use super::{WebsocketMender, mend_polled};

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

    #[test]
    fn a_connect_with_a_very_long_namespace_is_moved_out_of_the_way() {
        let long = "x".repeat(300);
        let mut bytes = frame(&format!("40/{long}"));
        WebsocketMender::default().filter(&mut bytes);
        assert_eq!(bytes, frame(&format!("42/{long}")));
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

    #[test]
    fn polled_payloads_are_mended_too() {
        for (sent, read) in [
            ("9:42[5,\"x\"]", "9:42/5,\"x\"]"),
            (
                "42[5]\u{1e}42[\"a\"]\u{1e}42[7]",
                "42/5]\u{1e}42[\"a\"]\u{1e}42/7]",
            ),
            ("15:42[\"login\",\"a\"]", "15:42[\"login\",\"a\"]"),
        ] {
            let mut bytes = sent.as_bytes().to_vec();
            mend_polled(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), read);
        }
    }
}
