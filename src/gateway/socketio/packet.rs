//! A message as pages get it: `new_msg` with the content, and with what is known of it for those who
//! are told. Encoded once for all of them, and only if somebody is there.

use std::cell::OnceCell;

use serde::Serialize;

use crate::gateway::parcels::Since;
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::wire::MESSAGE;
use crate::push::{Push, Recorded};
use crate::uid::Uid;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    push: &'a Push,
    /// Where a page stands that has it; `None` where its number tells.
    since: Option<Since>,
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
    id: Since,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
}

impl<'a> Packet<'a> {
    pub(super) fn new(push: &'a Push) -> Self {
        Self::since(push, None)
    }

    pub(super) fn since(push: &'a Push, since: Option<Since>) -> Self {
        Self {
            push,
            since,
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
            return Some(
                self.numbered
                    .get_or_init(|| number_stamp(self.push, self.since)),
            );
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

fn number_stamp(push: &Push, since: Option<Since>) -> AsciiJson {
    let record = push.record.as_ref();
    let id = since.unwrap_or(Since {
        id: push.id,
        parcel: None,
    });
    // What comes from the backlog alone has no other number.
    let accepted = match push.id.0 {
        0 => push.parcel.unwrap_or_default(),
        _ => push.id,
    };
    AsciiJson::of(&NumberStamp {
        id,
        ts: accepted.millis(),
        from: record
            .and_then(|record| record.sender.as_ref())
            .map(Uid::as_str),
        record: record.map(|record| record.id.0),
    })
}
