//! WebSocket frames: owns parsing of what a server sends (unmasked) and
//! writing of what a page sends (masked), over plain byte slices.

/// Opcode of a continuation frame.
const CONTINUATION: u8 = 0x0;
/// Opcode of a text frame.
pub(crate) const TEXT: u8 = 0x1;
/// Opcode of a close frame.
pub(crate) const CLOSE: u8 = 0x8;
/// Opcode of a WebSocket ping.
pub(crate) const PING: u8 = 0x9;
/// Opcode of a WebSocket pong.
pub(crate) const PONG: u8 = 0xA;

/// Close frame with code 1001 (the page is going away).
pub(crate) const GOING_AWAY: [u8; 8] = [0x80 | CLOSE, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

/// What stands at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// More bytes are needed.
    Incomplete,
    /// One whole frame.
    Frame {
        /// Frame opcode, 4 bits.
        opcode: u8,
        /// Payload bytes.
        payload: &'a [u8],
        /// Bytes of the buffer the frame takes, header included.
        used: usize,
    },
    /// Nothing this tool can read; the connection is of no more use.
    Invalid(&'static str),
}

/// Reads the frame at the start of `buf`.
pub(crate) fn parse(buf: &[u8]) -> Parsed<'_> {
    let &[first, second, ..] = buf else {
        return Parsed::Incomplete;
    };
    if first & 0x70 != 0 {
        return Parsed::Invalid("reserved frame bits are set (compression was not asked for)");
    }
    if first & 0x80 == 0 || first & 0x0F == CONTINUATION {
        return Parsed::Invalid("fragmented frames are not supported");
    }
    if second & 0x80 != 0 {
        return Parsed::Invalid("the server masked a frame");
    }
    let (header, length) = match second {
        126 => match buf.get(2..4) {
            Some(bytes) => (4, usize::from(bytes[0]) << 8 | usize::from(bytes[1])),
            None => return Parsed::Incomplete,
        },
        127 => match buf.get(2..10) {
            Some(bytes) => (10, wide_length(bytes)),
            None => return Parsed::Incomplete,
        },
        short => (2, usize::from(short)),
    };
    let used = header + length;
    match buf.get(header..used) {
        Some(payload) => Parsed::Frame {
            opcode: first & 0x0F,
            payload,
            used,
        },
        None => Parsed::Incomplete,
    }
}

/// The 8-byte length, capped so that adding the header cannot overflow.
fn wide_length(bytes: &[u8]) -> usize {
    let length = bytes
        .iter()
        .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
    usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(usize::MAX / 2)
}

/// Appends one masked frame to `out`. The mask key is zero, which is a legal
/// key and leaves the payload as it is. Payloads above 65,535 bytes are cut.
pub(crate) fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let payload = &payload[..payload.len().min(usize::from(u16::MAX))];
    out.push(0x80 | opcode);
    if payload.len() < 126 {
        out.push(0x80 | payload.len() as u8);
    } else {
        out.push(0x80 | 126);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::{PING, Parsed, TEXT, parse, write};

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | TEXT];
        match payload.len() {
            short @ 0..126 => out.push(short as u8),
            middle @ 126..65_536 => {
                out.push(126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn every_split_of_a_stream_yields_the_same_frames() {
        let payloads: Vec<Vec<u8>> = [0, 1, 125, 126, 300, 65_536]
            .iter()
            .map(|&n| vec![b'x'; n])
            .collect();
        let stream: Vec<u8> = payloads.iter().flat_map(|p| server_frame(p)).collect();
        for step in [1, 2, 3, 7, 127, 4096, stream.len()] {
            let (mut held, mut found) = (Vec::new(), Vec::new());
            for chunk in stream.chunks(step) {
                held.extend_from_slice(chunk);
                while let Parsed::Frame {
                    opcode,
                    payload,
                    used,
                } = parse(&held)
                {
                    assert_eq!(opcode, TEXT);
                    found.push(payload.to_vec());
                    held.drain(..used);
                }
            }
            assert!(held.is_empty());
            assert_eq!(found, payloads, "step {step}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_invalid() {
        for bytes in [[0xC1, 0], [0x01, 0], [0x80, 0], [0x81, 0x81]] {
            assert!(matches!(parse(&bytes), Parsed::Invalid(_)), "{bytes:?}");
        }
        let mut huge = vec![0x81, 127];
        huge.extend_from_slice(&[0xFF; 8]);
        assert_eq!(parse(&huge), Parsed::Incomplete);
    }

    #[test]
    fn written_frames_are_masked_with_their_length() {
        let mut out = Vec::new();
        write(&mut out, PING, b"ab");
        assert_eq!(out, [0x89, 0x82, 0, 0, 0, 0, b'a', b'b']);
        out.clear();
        write(&mut out, TEXT, &[b'x'; 300]);
        assert_eq!(out[..8], [0x81, 0xFE, 1, 44, 0, 0, 0, 0]);
        assert_eq!(out.len(), 308);
    }
}
