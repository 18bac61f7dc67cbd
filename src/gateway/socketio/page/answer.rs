//! What a page is told of its login: by the acknowledgement of the event, or by an event of its own.

use serde::Serialize;

use crate::gateway::parcels::{Parcels, Since};
use crate::gateway::socketio::ascii::AsciiJson;
use crate::hub::Recovered;
use crate::push::PushId;
use crate::uid::Uid;

/// What a page is told of its login.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// A word for it that stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The claim is good for longer now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    renewed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    /// Whether it gets all that it has missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    /// It gets everything after this one: what to say at its next login, until a message comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Since>,
    /// The same, where it is later than the page had asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
}

impl<'a> Answer<'a> {
    /// It is logged in, has everything up to `after`, and gets `parcels` first.
    pub(super) fn begun(
        uid: Option<&'a Uid>,
        (after, recovered): (PushId, Recovered),
        parcels: Option<&Parcels>,
    ) -> AsciiJson {
        let plain = Since {
            id: after,
            parcel: None,
        };
        AsciiJson::of(&Self {
            ok: true,
            error: None,
            code: None,
            renewed: false,
            uid: uid.map(Uid::as_str),
            recovered: Some(recovered != Recovered::Partly),
            since: Some(parcels.map_or(plain, |parcels| parcels.since(after))),
            oldest: (recovered == Recovered::Partly).then_some(after.0),
        })
    }

    /// It is not.
    pub(super) fn refused(fault: &impl ToString, code: &'static str) -> AsciiJson {
        AsciiJson::of(&Self::no((fault.to_string(), code), None))
    }

    /// It still is, as `uid`.
    pub(super) fn renewed(uid: Option<&'a Uid>) -> AsciiJson {
        AsciiJson::of(&Self {
            ok: true,
            error: None,
            code: None,
            renewed: true,
            ..Self::no((String::new(), ""), uid.map(Uid::as_str))
        })
    }

    /// It is already, as `uid`.
    pub(super) fn second(uid: Option<&'a Uid>) -> AsciiJson {
        let uid = uid.map(Uid::as_str);
        AsciiJson::of(&Self::no(
            ("already logged in".to_owned(), "already_logged_in"),
            uid,
        ))
    }

    fn no((error, code): (String, &'static str), uid: Option<&'a str>) -> Self {
        Self {
            ok: false,
            error: Some(error),
            code: Some(code),
            renewed: false,
            uid,
            recovered: None,
            since: None,
            oldest: None,
        }
    }
}
