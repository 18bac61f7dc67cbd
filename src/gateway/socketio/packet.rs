//! A message as pages get it: `new_msg` with the content, and with what is known of it for those who
//! are told. Encoded once for all of them, and only if somebody is there.

use std::cell::OnceCell;

use serde::Serialize;

use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::wire::MESSAGE;
use crate::push::{Push, PushId, Recorded};
use crate::uid::Uid;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    push: &'a Push,
    content: OnceCell<AsciiJson>,
    plain: OnceCell<Option<AsciiJson>>,
    numbered: OnceCell<AsciiJson>,
}

/// What a page that chats is told of a message that is kept, beside the message.
#[derive(Debug, Serialize)]
struct RecordStamp<'a> {
    id: u64,
    ts: u64,
    from: Option<&'a str>,
}

/// What a page is told of a message that will say up to which it has everything.
#[derive(Debug, Serialize)]
struct NumberStamp<'a> {
    id: u64,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
}

impl<'a> Packet<'a> {
    pub(super) fn new(push: &'a Push) -> Self {
        Self {
            push,
            content: OnceCell::new(),
            plain: OnceCell::new(),
            numbered: OnceCell::new(),
        }
    }

    /// The first argument of the event.
    pub(super) fn content(&self) -> &AsciiJson {
        let encode = || AsciiJson::new(&self.push.content.event);
        self.content.get_or_init(encode)
    }

    /// The second, if there is one.
    pub(super) fn stamp(&self, is_numbered: bool) -> Option<&AsciiJson> {
        if is_numbered {
            return Some(self.numbered.get_or_init(|| number_stamp(self.push)));
        }
        let stamp = || self.push.record.as_ref().map(record_stamp);
        self.plain.get_or_init(stamp).as_ref()
    }

    /// The length of the packet on the wire.
    pub(super) fn length(&self, is_numbered: bool) -> usize {
        let length = |json: &AsciiJson| json.raw().get().len();
        let stamp = self.stamp(is_numbered).map_or(0, |stamp| 1 + length(stamp));
        MESSAGE.len() + length(self.content()) + stamp + 1
    }
}

fn record_stamp(record: &Recorded) -> AsciiJson {
    AsciiJson::of(&RecordStamp {
        id: record.id.0,
        ts: record.at,
        from: record.sender.as_ref().map(Uid::as_str),
    })
}

fn number_stamp(push: &Push) -> AsciiJson {
    let record = push.record.as_ref();
    // What has waited for longer than the log reaches is known by the number under which it waited.
    let id = match push.parcel {
        Some(parcel) if push.id == PushId::default() => parcel,
        Some(_) | None => push.id,
    };
    AsciiJson::of(&NumberStamp {
        id: id.0,
        ts: id.millis(),
        from: record
            .and_then(|record| record.sender.as_ref())
            .map(Uid::as_str),
        record: record.map(|record| record.id.0),
    })
}
