//! One line of the text push port: what it asks for. Knows no wire and no hub.

use std::borrow::Cow;

use crate::group::{Group, InvalidGroup};
use crate::php::json::{self, Member};
use crate::push::Target;
use crate::uid::{InvalidUid, Uid};

/// A line, taken apart as far as it is of interest.
pub(super) struct Line<'a> {
    text: &'a str,
    uid: Option<Member<'a>>,
    /// The word after `@`, which the original does not know.
    order: Option<Member<'a>>,
    to: Option<Member<'a>>,
    key: Option<Member<'a>>,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order<'a> {
    /// To deliver this text.
    Push(Target, &'a str),
    /// To say whether a user is online.
    IsOnline(Uid),
    /// To end the connections of a user's pages.
    Kick(Uid),
}

/// Why a line is answered `fail`.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidLine {
    #[error("not valid UTF-8")]
    NotUtf8,
    #[error("not a JSON object: {0}")]
    NotObject(serde_json::Error),
    #[error("no uid")]
    NoUid,
    #[error("{0} is neither a text nor a whole number")]
    NotName(&'static str),
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    #[error(transparent)]
    Group(#[from] InvalidGroup),
    #[error("unknown order {0:?}; there are all, group, online and kick")]
    Order(String),
}

impl<'a> Line<'a> {
    /// Reads a line without its LF. Trailing CRs, however many, are not part of it.
    pub(super) fn read(mut line: &'a [u8]) -> Result<Self, InvalidLine> {
        while let [rest @ .., b'\r'] = line {
            line = rest;
        }
        let text = std::str::from_utf8(line).map_err(|_| InvalidLine::NotUtf8)?;
        let mut read = Self {
            text,
            uid: None,
            order: None,
            to: None,
            key: None,
        };
        let wanted = |name: &str| matches!(name, "uid" | "@" | "to" | "key");
        // Of two members with one name the last counts.
        json::members(text, wanted, |name, value| match &*name {
            "uid" => read.uid = Some(value),
            "@" => read.order = Some(value),
            "key" => read.key = Some(value),
            _ => read.to = Some(value),
        })
        .map_err(InvalidLine::NotObject)?;
        Ok(read)
    }

    /// The key that it shows, for the lines after it; `None` for every other line. The original
    /// refuses a line without a uid, so that is where there is room for it.
    pub(super) fn key(&self) -> Option<&str> {
        match (&self.order, &self.key) {
            (Some(Member::Text(order)), Some(Member::Text(key))) if order == "key" => Some(key),
            _ => None,
        }
    }

    /// What it asks for; `extensions`: whether orders beyond the original's are taken.
    pub(super) fn order(self, extensions: bool) -> Result<Order<'a>, InvalidLine> {
        // The original refuses a line without a uid, so that is where there is room for more. The
        // two orders that name a uid are told from pushes by their `@`.
        if extensions && let Some(Member::Text(order)) = &self.order {
            return match &**order {
                "all" => Ok(Order::Push(Target::Everyone, self.text)),
                "group" => {
                    let name = name("to", self.to.as_ref())?;
                    Ok(Order::Push(Target::Group(Group::parse(&name)?), self.text))
                }
                "online" => Ok(Order::IsOnline(self.uid()?)),
                "kick" => Ok(Order::Kick(self.uid()?)),
                other => Err(InvalidLine::Order(other.to_owned())),
            };
        }
        let target = Target::Users([self.uid()?].into());
        Ok(Order::Push(target, self.text))
    }

    fn uid(&self) -> Result<Uid, InvalidLine> {
        let uid = self.uid.as_ref();
        let uid = uid.filter(|uid| **uid != Member::Null);
        Ok(Uid::parse(&name(
            "uid",
            Some(uid.ok_or(InvalidLine::NoUid)?),
        )?)?)
    }
}

fn name<'a>(
    field: &'static str,
    member: Option<&'a Member<'_>>,
) -> Result<Cow<'a, str>, InvalidLine> {
    let name = member.and_then(Member::to_name);
    name.ok_or(InvalidLine::NotName(field))
}
