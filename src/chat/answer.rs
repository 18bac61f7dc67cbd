//! What a chat page is told, as JSON texts.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::group::Group;
use crate::hub::Kept;
use crate::record::{Record, RecordId};
use crate::uid::Uid;

/// A page's `ref`, as it wrote it.
pub(crate) type Reference = Option<Box<RawValue>>;

/// One answer. `type` tells which.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Answer<'a> {
    /// The message is durable.
    Ack {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        id: RecordId,
        delivered: usize,
    },
    /// The request was not carried out.
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        error: String,
        /// A word for it that stays the same, where a program may want to tell it from others.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'static str>,
    },
    /// The page is somebody now. `last` is the newest record that it has or need not have; where
    /// it is to catch up, what it said itself, or nothing.
    Login {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        uid: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<RecordId>,
    },
    /// The page hears the group. `last` as above.
    Joined {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        group: &'a str,
        last: RecordId,
    },
    /// The page does not hear the group any more.
    Left {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        group: &'a str,
    },
    /// A watched user has come or gone, or is watched from now on.
    Presence { uid: &'a str, online: bool },
    /// What was said, the newest first; `more`: there is older.
    History {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        with: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        items: Vec<Item<'a>>,
        more: bool,
    },
}

/// A record, as a page gets it.
#[derive(Debug, Serialize)]
pub(crate) struct Item<'a> {
    id: RecordId,
    ts: u64,
    from: Option<&'a str>,
    message: &'a RawValue,
}

impl<'a> Item<'a> {
    /// `None` for a record that a page cannot read: what other ingresses keep need not be JSON.
    pub(crate) fn new(record: &'a Record) -> Option<Self> {
        Some(Self {
            id: record.id,
            ts: record.at,
            from: record.sender.as_ref().map(Uid::as_str),
            message: serde_json::from_str(&record.body).ok()?,
        })
    }
}

impl Answer<'_> {
    /// As a page gets it.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("an answer is plain data")
    }
}

/// The answer to a message that was kept.
pub(crate) fn ack(reference: &Reference, kept: Kept) -> String {
    let Kept { id, delivered } = kept;
    let reference = reference.as_deref();
    Answer::Ack {
        reference,
        id,
        delivered,
    }
    .text()
}

/// The answer to a request that was not carried out.
pub(crate) fn error(reference: &Reference, fault: &impl std::fmt::Display) -> String {
    refused(reference, &fault.to_string(), None)
}

/// The same, with a word for programs.
pub(crate) fn refused(reference: &Reference, fault: &str, code: Option<&'static str>) -> String {
    Answer::Error {
        reference: reference.as_deref(),
        error: fault.to_owned(),
        code,
    }
    .text()
}

/// The answer to a watch, and the news of one.
pub(crate) fn presence(uid: &Uid, online: bool) -> String {
    let uid = uid.as_str();
    Answer::Presence { uid, online }.text()
}

/// The answer to leaving a group.
pub(crate) fn left(reference: &Reference, group: &Group) -> String {
    let (reference, group) = (reference.as_deref(), group.as_str());
    Answer::Left { reference, group }.text()
}
