//! The record value: a message as it is kept. Knows neither wires nor SQL.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::group::Group;
use crate::uid::Uid;

/// The number of a record: each new record has a larger one, in the order in which records become
/// durable, and none is ever used twice. 0 is below every record.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct RecordId(pub u64);

/// Whom a record is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Addressee {
    /// A user.
    User(Uid),
    /// A group.
    Group(Group),
}

/// A message that is to be kept.
#[derive(Debug, Clone)]
pub struct Draft {
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
    /// The uid that its session is bound to; `None` when it came from the backend. Never taken
    /// from the message itself.
    pub sender: Option<Uid>,
    /// Whom it is for: at least one, none twice.
    pub addressees: Box<[Addressee]>,
    /// The message, byte for byte.
    pub body: Arc<str>,
}

/// A message that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub id: RecordId,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
    /// Who sent it; `None` for the backend.
    pub sender: Option<Uid>,
    /// The message, byte for byte.
    pub body: String,
}

/// Two users' exchange, or a group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conversation {
    /// What the one sent to the other, both ways. The two may be the same user.
    Between(Uid, Uid),
    /// What was sent to a group.
    Group(Group),
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message with the server's word on where it comes from: `_id`, `_from` and `_ts` after its own
/// members. `body` is a JSON object that has none of the three.
#[must_use]
pub fn stamped(body: &str, id: RecordId, sender: Option<&Uid>, at: u64) -> String {
    let Some(open) = body.trim_end().strip_suffix('}') else {
        return body.to_owned();
    };
    let comma = if open.trim_end().ends_with('{') {
        ""
    } else {
        ","
    };
    let from = serde_json::Value::from(sender.map(Uid::as_str));
    format!("{open}{comma}\"_id\":{id},\"_from\":{from},\"_ts\":{at}}}")
}
