//! What a chat page asks for: one JSON object a message. Knows no wire and no hub.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::group::{Group, InvalidGroup};
use crate::php::json::Member;
use crate::record::{Conversation, RecordId};
use crate::uid::{InvalidUid, Uid};

/// The longest `ref`, in bytes of JSON.
const MAX_REF: usize = 128;

/// A request, and the `ref` by which its answer is known.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) order: Order,
    /// As JSON, as it was written.
    pub(crate) reference: Option<Box<RawValue>>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To be somebody.
    Login {
        uid: Option<String>,
        token: Option<String>,
        since: Option<RecordId>,
    },
    /// To send the request itself, as it stands.
    Send(Recipient),
    /// To read what was said.
    History {
        of: Recipient,
        before: Option<RecordId>,
        limit: Option<u32>,
    },
    /// To hear what is sent to a group.
    Join {
        group: Group,
        since: Option<RecordId>,
    },
    /// Not to hear it any more.
    Leave(Group),
    /// To be told when users come and go.
    Watch(Vec<Uid>),
    /// Not to be told any more.
    Unwatch(Vec<Uid>),
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// At least one, none twice.
    Users(Vec<Uid>),
    Group(Group),
}

impl Recipient {
    /// What a page of `me` means by it when it asks for the history.
    pub(crate) fn conversation_of(self, me: &Uid) -> Conversation {
        match self {
            Self::Group(group) => Conversation::Group(group),
            Self::Users(mut uids) => {
                let with = uids.pop().unwrap_or_else(|| me.clone());
                Conversation::Between(me.clone(), with)
            }
        }
    }
}

/// Why a request is refused; told to the page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRequest {
    #[error("the message is not valid UTF-8")]
    NotUtf8,
    #[error("the message is {0} bytes long, the most is {1}")]
    TooLong(u64, usize),
    #[error("the message is not a JSON object: {0}")]
    NotObject(String),
    #[error("the message has no addressee: expected uid or group")]
    NoAddressee,
    #[error("the message has both uid and group: expected one of them")]
    TwoAddressees,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} has to be a text or a whole number")]
    NotName(&'static str),
    #[error("{0} is {1}: expected a whole number, not negative")]
    NotNumber(&'static str, String),
    #[error("uid is an empty list")]
    NoUids,
    #[error("uid is a list of {0}, the most is {1}")]
    TooManyUids(usize, usize),
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    #[error(transparent)]
    Group(#[from] InvalidGroup),
    #[error("ref has to be a text or a number of at most {MAX_REF} bytes")]
    Ref,
    #[error("{0:?} is stamped by the server and cannot be in a message")]
    Stamp(&'static str),
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Member<'a>>,
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
    #[serde(borrow)]
    group: Option<Member<'a>>,
    #[serde(borrow)]
    with: Option<Member<'a>>,
    #[serde(borrow)]
    token: Option<Member<'a>>,
    #[serde(rename = "ref", borrow)]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(rename = "_id", borrow)]
    id: Option<Member<'a>>,
    #[serde(rename = "_from", borrow)]
    from: Option<Member<'a>>,
    #[serde(rename = "_ts", borrow)]
    ts: Option<Member<'a>>,
}

/// What bounds a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most users that a message may be for.
    pub(crate) max_addressees: usize,
    /// Whether `_id`, `_from` and `_ts` are the server's.
    pub(crate) stamps: bool,
}

impl Request {
    /// Reads a message. With the error comes the `ref`, if that could be read.
    pub(crate) fn read(
        text: &str,
        limits: Limits,
    ) -> Result<Self, (InvalidRequest, Option<Box<RawValue>>)> {
        // A list would pass for a struct.
        if !text.trim_start().starts_with('{') {
            let reason = "it does not start with {".to_owned();
            return Err((InvalidRequest::NotObject(reason), None));
        }
        let wire: Wire<'_> = serde_json::from_str(text)
            .map_err(|e| (InvalidRequest::NotObject(e.to_string()), None))?;
        let reference = wire.reference.map(ToOwned::to_owned);
        if reference.as_deref().is_some_and(|r| !is_reference(r)) {
            return Err((InvalidRequest::Ref, None));
        }
        match wire.order(limits) {
            Ok(order) => Ok(Self { order, reference }),
            Err(fault) => Err((fault, reference)),
        }
    }
}

fn is_reference(reference: &RawValue) -> bool {
    let json = reference.get();
    json.len() <= MAX_REF && !json.starts_with(['{', '[', 't', 'f', 'n'])
}

impl Wire<'_> {
    fn order(self, limits: Limits) -> Result<Order, InvalidRequest> {
        let kind = match &self.kind {
            Some(Member::Text(kind)) => &**kind,
            _ => "",
        };
        Ok(match kind {
            "login" => Order::Login {
                uid: match self.uid.map(one).transpose()? {
                    Some(uid) => text("uid", Some(uid))?,
                    None => None,
                },
                token: text("token", self.token)?,
                since: number("since", self.since)?.map(RecordId),
            },
            "history" => Order::History {
                of: match (text("with", self.with)?, text("group", self.group)?) {
                    (Some(with), None) => Recipient::Users(vec![Uid::parse(&with)?]),
                    (None, Some(group)) => Recipient::Group(Group::parse(&group)?),
                    (None, None) => return Err(InvalidRequest::Missing("with or group")),
                    (Some(_), Some(_)) => return Err(InvalidRequest::TwoAddressees),
                },
                before: number("before", self.before)?.map(RecordId),
                limit: number("limit", self.limit)?.map(at_most),
            },
            "join" => Order::Join {
                group: group(self.group)?,
                since: number("since", self.since)?.map(RecordId),
            },
            "leave" => Order::Leave(group(self.group)?),
            "watch" => Order::Watch(uids(self.uid, limits)?),
            "unwatch" => Order::Unwatch(uids(self.uid, limits)?),
            // Any other word is the application's own.
            _ => self.message(limits)?,
        })
    }

    fn message(self, limits: Limits) -> Result<Order, InvalidRequest> {
        if limits.stamps {
            for (name, member) in [("_id", self.id), ("_from", self.from), ("_ts", self.ts)] {
                if member.is_some() {
                    return Err(InvalidRequest::Stamp(name));
                }
            }
        }
        Ok(Order::Send(match (self.uid, self.group) {
            (Some(_), Some(_)) => return Err(InvalidRequest::TwoAddressees),
            (None, None) => return Err(InvalidRequest::NoAddressee),
            (uid @ Some(_), None) => Recipient::Users(uids(uid, limits)?),
            (None, name) => Recipient::Group(group(name)?),
        }))
    }
}

fn text(field: &'static str, member: Option<Member<'_>>) -> Result<Option<String>, InvalidRequest> {
    let Some(member) = member else {
        return Ok(None);
    };
    let name = member.to_name().ok_or(InvalidRequest::NotName(field))?;
    Ok(Some(name.into_owned()))
}

fn group(member: Option<Member<'_>>) -> Result<Group, InvalidRequest> {
    let name = text("group", member)?.ok_or(InvalidRequest::Missing("group"))?;
    Ok(Group::parse(&name)?)
}

/// A number. What stands under such a name in an ordinary message is the application's own, so it
/// is looked at only where an order uses it.
fn number(field: &'static str, json: Option<&RawValue>) -> Result<Option<u64>, InvalidRequest> {
    let Some(json) = json else {
        return Ok(None);
    };
    let number = serde_json::from_str(json.get());
    number.map(Some).map_err(|_| {
        let shown: String = json.get().chars().take(40).collect();
        InvalidRequest::NotNumber(field, shown)
    })
}

fn at_most(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One uid, or a list of them.
fn uids(names: Option<&RawValue>, limits: Limits) -> Result<Vec<Uid>, InvalidRequest> {
    let names = names.ok_or(InvalidRequest::Missing("uid"))?;
    let members: Vec<Member<'_>> = if names.get().starts_with('[') {
        let list = serde_json::from_str(names.get());
        list.map_err(|_| InvalidRequest::NotName("uid"))?
    } else {
        vec![one(names)?]
    };
    if members.is_empty() {
        return Err(InvalidRequest::NoUids);
    }
    if members.len() > limits.max_addressees {
        return Err(InvalidRequest::TooManyUids(
            members.len(),
            limits.max_addressees,
        ));
    }
    let (mut uids, mut seen) = (Vec::with_capacity(members.len()), HashSet::new());
    for member in members {
        let name = member.to_name().ok_or(InvalidRequest::NotName("uid"))?;
        let uid = Uid::parse(&name)?;
        if seen.insert(uid.clone()) {
            uids.push(uid);
        }
    }
    Ok(uids)
}

fn one(name: &RawValue) -> Result<Member<'_>, InvalidRequest> {
    serde_json::from_str(name.get()).map_err(|_| InvalidRequest::NotName("uid"))
}
