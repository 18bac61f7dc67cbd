//! What holds of what goes between pages and socketioxide, whatever it is. Built only for fuzzing;
//! see `crate::fuzzing`.

use serde_json::Value;

use crate::gateway::ledger::{Bounds, Entry, Ledger};
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::claim::undo_double_utf8;
use crate::gateway::socketio::mend::{Framing, LONGEST_NAME, WebsocketMender, mend_polled};
use crate::gateway::socketio::payload::{enter, packets, reframe};
use crate::gateway::socketio::wire::{Frames, MESSAGE, Written};
use crate::push::PushId;

/// Mending changes bytes in place, is done once, and where a packet arrives in pieces not more is
/// changed than where it arrives whole.
pub(crate) fn arriving(cuttings: &[Vec<&[u8]>; 3]) {
    let [whole, ..] = cuttings;
    let sent = whole.concat();
    let all = mended(whole);
    assert_eq!(mended(&[&all]), all, "what is mended is sound");
    for pieces in cuttings {
        let read = mended(pieces);
        for ((read, sent), all) in read.iter().zip(&sent).zip(&all) {
            assert!(read == sent || read == all, "{pieces:?}");
        }
        names_are_short(&read);
    }
    // The same of a connect in frames of any length, with others in between.
    let name = whole.concat();
    let times = usize::from(LONGEST_NAME) / name.len().max(1) + 2;
    let connect = [b"40/", name.repeat(times).as_slice()].concat();
    let mut stream = Vec::new();
    for pieces in cuttings {
        let mut rest = connect.as_slice();
        let mut lengths = pieces.iter().map(|piece| piece.len()).cycle();
        let mut opcode = 1;
        while !rest.is_empty() {
            let length = lengths.next().unwrap_or(1).clamp(1, rest.len());
            let (fragment, after) = rest.split_at(length);
            rest = after;
            let is_last = if rest.is_empty() { 0x80 } else { 0 };
            stream.extend(masked(opcode | is_last, fragment));
            stream.extend(masked(0x89, &fragment[..length.min(125)]));
            opcode = 0;
        }
    }
    let once = mended(&[&stream]);
    names_are_short(&once);
    assert_eq!(mended(&stream.chunks(3).collect::<Vec<_>>()), once);
}

/// A frame as a page sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0xA5, payload.len() as u8, 0xFF];
    let length = payload.len() as u64;
    let mut frame = vec![first, 0xFF];
    frame.extend(length.to_be_bytes());
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// Of the text messages of a websocket none is a connect with a long name.
fn names_are_short(mut stream: &[u8]) {
    let (mut message, mut is_text) = (Vec::new(), false);
    while let Some((frame, after)) = frame(stream) {
        stream = after;
        match frame.opcode {
            0 => {}
            1 | 2 => (message, is_text) = (Vec::new(), frame.opcode == 1),
            _ => continue,
        }
        // Without a mask it is none of a page, and ends the connection.
        let Some(mask) = frame.mask else { return };
        message.extend(
            frame
                .payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(b, m)| b ^ m),
        );
        if is_text {
            name_is_short(&message);
        }
    }
}

fn name_is_short(packet: &[u8]) {
    if packet.starts_with(b"40/") {
        let name = packet[2..].split(|byte| *byte == b',').next();
        let length = name.map_or(0, <[u8]>::len);
        assert!(length <= usize::from(LONGEST_NAME), "a name of {length}");
    }
}

/// A frame of a page.
struct Sent<'a> {
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// As much of it as is there.
    payload: &'a [u8],
}

/// The first frame, and what follows it.
fn frame(stream: &[u8]) -> Option<(Sent<'_>, &[u8])> {
    let (first, second) = (*stream.first()?, *stream.get(1)?);
    let (length, rest) = match second & 0x7F {
        126 => {
            let (length, rest) = stream[2..].split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = stream[2..].split_first_chunk()?;
            (u64::from_be_bytes(*length), rest)
        }
        short => (u64::from(short), &stream[2..]),
    };
    let (mask, rest) = match second & 0x80 {
        0 => (None, rest),
        _ => rest
            .split_first_chunk()
            .map(|(mask, rest)| (Some(*mask), rest))?,
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (payload, after) = rest.split_at(length.min(rest.len()));
    let sent = Sent {
        opcode: first & 0x0F,
        mask,
        payload,
    };
    Some((sent, after))
}

fn mended(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut mender, mut out) = (WebsocketMender::default(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        mender.filter(&mut piece);
        out.extend(piece);
    }
    out
}

/// The same for a body that is posted, whatever its form; and no name of a namespace is long.
pub(crate) fn posted(bytes: &[u8]) {
    let form = |framing| {
        let mut once = bytes.to_vec();
        mend_polled(&mut once, framing);
        let changed = once.iter().zip(bytes).filter(|(a, b)| a != b);
        assert!(
            changed
                .map(|(new, _)| *new)
                .all(|new| matches!(new, b'/' | b'2' | b'x'))
        );
        let mut twice = once.clone();
        mend_polled(&mut twice, framing);
        assert_eq!(twice, once, "what is mended is sound");
        once
    };
    let separated = form(Framing::Separated);
    let count = |bytes: &[u8]| bytes.split(|byte| *byte == 0x1E).count();
    assert_eq!(count(&separated), count(bytes));
    separated
        .split(|byte| *byte == 0x1E)
        .for_each(name_is_short);
    form(Framing::Binary);
    let text = form(Framing::Text);
    let Ok(mut rest) = std::str::from_utf8(&text) else {
        return;
    };
    while let Some((length, after)) = rest.split_once(':') {
        let Ok(length) = length.parse::<usize>() else {
            return;
        };
        let units: Vec<u16> = after.encode_utf16().collect();
        let Some(packet) = units
            .get(..length)
            .and_then(|units| String::from_utf16(units).ok())
        else {
            return;
        };
        name_is_short(packet.as_bytes());
        rest = &after[packet.len()..];
    }
}

/// What leaves is found however it is written.
pub(crate) fn leaving(cuttings: &[Vec<&[u8]>; 3]) {
    let [whole, ..] = cuttings;
    let found = met(whole);
    for pieces in cuttings {
        assert_eq!(met(pieces), found, "{pieces:?}");
    }
    let total = whole.concat().len() as u64 + 4;
    assert!(found.is_sorted_by(|(_, a), (_, b)| a < b), "{found:?}");
    for (length, end) in &found {
        assert!(
            length.saturating_add(2) <= *end && *end <= total,
            "{found:?}"
        );
    }
    // Messages that are written are met, each with its length and its end.
    let (mut stream, mut written) = (Vec::new(), Vec::new());
    for text in whole.concat().split(|byte| *byte == b'|') {
        let payload = [MESSAGE, text].concat();
        stream.push(0x81);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length), _) if length < 126 => stream.push(length),
            (_, Ok(length)) => {
                stream.push(126);
                stream.extend(length.to_be_bytes());
            }
            _ => {
                stream.push(127);
                stream.extend((payload.len() as u64).to_be_bytes());
            }
        }
        stream.extend(&payload);
        written.push((payload.len() as u64, stream.len() as u64 + 4));
    }
    assert_eq!(met(&stream.chunks(50).collect::<Vec<_>>()), written);
}

/// The lengths and ends of what is met; a heartbeat's length is 1.
fn met(pieces: &[&[u8]]) -> Vec<(u64, u64)> {
    let (mut frames, mut met) = (Frames::default(), Vec::new());
    let mut read = |piece: &[u8]| {
        frames.read(piece, |what, end| match what {
            Written::Message(length) => met.push((length, end)),
            Written::Heartbeat => met.push((1, end)),
        });
    };
    // The end of the answer to the handshake.
    read(b"\r\n\r\n");
    pieces.iter().for_each(|piece| read(piece));
    met
}

/// Answers to polls are taken apart and written anew without loss.
pub(crate) fn answered(text: &str) {
    if let Some(binary) = reframe(text) {
        let unframed = unframed(&binary);
        assert_eq!(unframed.concat().len(), packets(text).concat().len());
        let read: Vec<&[u8]> = packets(text).into_iter().map(str::as_bytes).collect();
        let unframed: Vec<&[u8]> = unframed.into_iter().filter(|p| !p.is_empty()).collect();
        let read: Vec<&[u8]> = read.into_iter().filter(|p| !p.is_empty()).collect();
        assert_eq!(unframed, read, "{text}");
    }
    let pieces = || text.split(['|', '\u{1E}']);
    // Only what we send is in ASCII.
    let raw: Vec<String> = pieces().map(|text| format!("42[{text}")).collect();
    assert_eq!(packets(&framed(&raw)), raw);
    let sent: Vec<String> = pieces().map(message).collect();
    let third = framed(&sent);
    assert_eq!(packets(&third), sent);
    assert!(reframe(&third).is_some(), "{third}");
    let fourth = sent.join("\u{1E}");
    assert_eq!(packets(&fourth), sent);
    for payload in [third, fourth] {
        let ledger = Ledger::new(Bounds {
            messages: sent.len() + 1,
            bytes: usize::MAX / 4,
        });
        for (packet, id) in sent.iter().zip(1..) {
            ledger.enter(Entry {
                id: PushId(id),
                parcel: PushId::default(),
                length: packet.len(),
                is_early: false,
            });
        }
        assert!(enter(&payload, &ledger), "all that was entered has left");
        ledger.polled_again();
        assert_eq!(ledger.oldest_in_flight(None), None);
    }
}

/// A payload of Engine.IO 3: before each packet its length in UTF-16 units.
fn framed(packets: &[String]) -> String {
    let framed = |packet: &String| format!("{}:{packet}", packet.encode_utf16().count());
    packets.iter().map(framed).collect()
}

fn message(text: &str) -> String {
    let content = AsciiJson::new(text);
    format!("42[\"new_msg\",{}]", content.raw().get())
}

/// The packets of a payload in the binary form.
fn unframed(mut binary: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some((kind, rest)) = binary.split_first() {
        assert_eq!(*kind, 0, "all are texts");
        let end = rest.iter().position(|byte| *byte == 0xFF);
        let (digits, rest) = rest.split_at(end.expect("a length ends"));
        let length = digits
            .iter()
            .fold(0, |n, digit| n * 10 + usize::from(*digit));
        let (packet, after) = rest[1..].split_at(length);
        packets.push(packet);
        binary = after;
    }
    packets
}

/// Text gets into a packet in ASCII, and out of it as it was.
pub(crate) fn encoded(text: &str) {
    let json = AsciiJson::new(text);
    let json = json.raw().get();
    assert!(json.is_ascii(), "{json}");
    assert_eq!(
        serde_json::from_str::<String>(json).ok().as_deref(),
        Some(text)
    );
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let json = AsciiJson::of_json(text);
        assert!(json.raw().get().is_ascii());
        let read: Value = serde_json::from_str(json.raw().get()).expect("JSON stays JSON");
        assert_eq!(read, value, "{text}");
    }
    let twice: String = text.bytes().map(char::from).collect();
    let once = undo_double_utf8(&twice);
    assert_eq!(once.as_deref(), (!text.is_ascii()).then_some(text));
}
