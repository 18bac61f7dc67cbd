//! The packets of what a polling page posts, found as socketioxide finds them: what it takes for a packet
//! must not be hidden from us. All of them are there, so a packet that is not to be answered is changed
//! into one that is ignored; letters of one byte replace each other, and no length changes.

use crate::gateway::socketio::mend::{CONNECT, DATA, LONGEST_NAME, LOOKED_AT, is_bad_event};
use crate::gateway::socketio::request::version;

/// How the packets of a payload are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway::socketio) enum Framing {
    /// By a byte between them, in Engine.IO 4.
    Separated,
    /// By lengths in front of them, in Engine.IO 3: `5:40/x,`. They count UTF-16 units.
    Text,
    /// The same in its binary form, as [`payload`](crate::gateway::socketio::payload) has it.
    Binary,
}

/// Engine.IO 4 puts this between the packets.
const SEPARATOR: u8 = 0x1E;

/// What ends a length of the binary form, and the most bytes before that.
const LENGTH_END: u8 = 0xFF;
const LONGEST_LENGTH: usize = 9;

/// Where a `0` makes a packet a connect and a `2` an event.
const KIND: usize = 1;

impl Framing {
    /// That of a request.
    pub(in crate::gateway::socketio) fn of(query: &str, content_type: Option<&[u8]>) -> Self {
        match version(query) {
            "4" => Self::Separated,
            _ if content_type == Some(b"application/octet-stream") => Self::Binary,
            _ => Self::Text,
        }
    }
}

/// Mends the packets of a payload.
pub(in crate::gateway::socketio) fn mend_polled(payload: &mut [u8], framing: Framing) {
    let mut rest = match framing {
        Framing::Separated => {
            payload.split_mut(|b| *b == SEPARATOR).for_each(mend);
            return;
        }
        Framing::Text | Framing::Binary => payload,
    };
    loop {
        let first = match framing {
            Framing::Binary => first_of_binary(rest),
            Framing::Text | Framing::Separated => first_of_text(rest),
        };
        let (start, end) = match first {
            First::Packet(start, end) => (start, end),
            First::Straddles => {
                // engineioxide 0.17.9 would look for the end of such a packet for ever.
                rest[0] = b'x';
                return;
            }
            First::None => return,
        };
        let (packet, after) = rest.split_at_mut(end);
        mend(&mut packet[start..]);
        rest = after;
    }
}

/// What a payload with lengths begins with.
enum First {
    /// A packet, from here to there.
    Packet(usize, usize),
    /// Its length ends within a letter.
    Straddles,
    /// Nothing, or nothing that is taken.
    None,
}

fn first_of_text(rest: &[u8]) -> First {
    let Some((start, length)) = length_before(rest, b':') else {
        return First::None;
    };
    let (mut end, mut units) = (start, 0);
    while units < length {
        let Some(letter) = first_letter(&rest[end..]) else {
            return First::None;
        };
        end += letter.len_utf8();
        units += letter.len_utf16();
    }
    if units == length {
        First::Packet(start, end)
    } else {
        First::Straddles
    }
}

/// Not by looking at all that follows: there may be many packets.
fn first_letter(text: &[u8]) -> Option<char> {
    let length = match text.first()? {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    };
    std::str::from_utf8(text.get(..length)?)
        .ok()?
        .chars()
        .next()
}

fn length_before(rest: &[u8], end: u8) -> Option<(usize, usize)> {
    let end = rest.iter().position(|byte| *byte == end)?;
    let length = std::str::from_utf8(&rest[..end]).ok()?;
    Some((end + 1, length.parse().ok()?))
}

fn first_of_binary(rest: &[u8]) -> First {
    let first = || {
        let end = rest.iter().position(|byte| *byte == LENGTH_END)?;
        let (kind, digits) = rest[..end].split_first()?;
        if end > LONGEST_LENGTH || !matches!(kind, 0 | 1) {
            return None;
        }
        let digits = digits.iter().map(|b| char::from(b.wrapping_add(b'0')));
        let length: usize = digits.collect::<String>().parse().ok()?;
        let start = end + 1;
        let end = start.checked_add(length).filter(|end| *end <= rest.len())?;
        (length > 0).then_some(First::Packet(start, end))
    };
    first().unwrap_or(First::None)
}

/// Mends one packet.
fn mend(packet: &mut [u8]) {
    let start = &packet[..packet.len().min(LOOKED_AT)];
    if is_bad_event(start) {
        packet[DATA] = b'/';
    } else if packet.starts_with(CONNECT) {
        let name = packet[DATA..].iter().take_while(|byte| **byte != b',');
        if name.count() > usize::from(LONGEST_NAME) {
            // An event for a namespace that does not exist is ignored.
            packet[KIND] = b'2';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Framing, mend_polled};

    fn mended(sent: &[u8], framing: Framing) -> Vec<u8> {
        let mut bytes = sent.to_vec();
        mend_polled(&mut bytes, framing);
        bytes
    }

    fn lengths(packets: &[&str]) -> String {
        let framed = packets.iter().map(|packet| {
            let units = packet.encode_utf16().count();
            format!("{units}:{packet}")
        });
        framed.collect()
    }

    fn binary(packets: &[&str]) -> Vec<u8> {
        let framed = packets.iter().map(|packet| {
            let digits = packet.len().to_string();
            let digits: Vec<u8> = digits.bytes().map(|digit| digit - b'0').collect();
            [&[0][..], &digits, &[0xFF], packet.as_bytes()].concat()
        });
        framed.collect::<Vec<_>>().concat()
    }

    #[test]
    fn every_packet_of_a_payload_is_mended_however_they_are_told_apart() {
        let (long, fits) = ("x".repeat(256), "x".repeat(255));
        let (connect, ignored) = (format!("40/{long}"), format!("42/{long}"));
        let short = format!("40/{fits},{long}");
        let sent = [
            "2",
            r#"42["é\u{1F600}:"]"#,
            &connect,
            "42[7]",
            &short,
            r#"42[5,"x"]"#,
            &connect,
        ];
        let read = [
            "2",
            r#"42["é\u{1F600}:"]"#,
            &ignored,
            "42/7]",
            &short,
            r#"42/5,"x"]"#,
            &ignored,
        ];
        let separated = (sent.join("\u{1E}"), read.join("\u{1E}"));
        assert_eq!(
            mended(separated.0.as_bytes(), Framing::Separated),
            separated.1.as_bytes()
        );
        assert_eq!(
            mended(lengths(&sent).as_bytes(), Framing::Text),
            lengths(&read).as_bytes()
        );
        assert_eq!(mended(&binary(&sent), Framing::Binary), binary(&read));
        // A length may be written in more ways than one.
        let odd = format!("0:+259:{connect}0259:{connect}");
        let read = format!("0:+259:{ignored}0259:{ignored}");
        assert_eq!(mended(odd.as_bytes(), Framing::Text), read.as_bytes());
    }

    #[test]
    fn a_length_that_ends_within_a_letter_is_no_length() {
        let sent = "2:401:\u{1F600}x";
        assert_eq!(
            mended(sent.as_bytes(), Framing::Text),
            "2:40x:\u{1F600}x".as_bytes()
        );
    }

    #[test]
    fn the_form_of_a_payload_is_told_as_socketioxide_tells_it() {
        let octets = Some(&b"application/octet-stream"[..]);
        for (query, content_type, framing) in [
            ("EIO=4&transport=polling", octets, Framing::Separated),
            ("EIO=4=3&EIO=3", None, Framing::Separated),
            ("EIO=3", None, Framing::Text),
            ("transport=polling", Some(&b"text/plain"[..]), Framing::Text),
            ("EIO=3&EIO=4", octets, Framing::Binary),
            ("", octets, Framing::Binary),
        ] {
            assert_eq!(Framing::of(query, content_type), framing, "{query}");
        }
    }
}
