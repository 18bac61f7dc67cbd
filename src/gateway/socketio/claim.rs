//! Who a page says it is: the payload of `login`, by the rules of the PHP original.

use serde_json::Value;
use socketioxide::extract::SocketRef;
use socketioxide::{ProtocolVersion, TransportType};

use crate::auth::Auth;
use crate::gateway::parcels::Since;
use crate::php::PhpValue;
use crate::push::PushId;

/// Why a login names nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nobody {
    /// An object has to name the user.
    #[error("login with an object that has neither uid nor token")]
    Nameless,
    /// It cannot be one.
    #[error("uid is neither a text nor a number")]
    NotUid,
    /// It is no number of ours.
    #[error("since is not an id that a message, or a login, came with")]
    Since,
}

/// What a page logs in with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// What is judged: the uid itself where anybody may be anyone, else a token.
    pub(super) credential: String,
    /// Whom the page names beside its token.
    pub(super) named: Option<String>,
    /// `""`, `null` and `false` were counted as a page without a name.
    pub(super) is_guest: bool,
    /// Whether the page wants to be told the numbers of messages, since it will say up to which it
    /// has everything: it logged in with an object.
    pub(super) is_numbered: bool,
    /// Up to which it has.
    pub(super) since: Option<Since>,
}

impl Login {
    /// Reads what a page sent: the original's plain value, or `{uid, token?, since?}`.
    pub(super) fn read(sent: &Value, socket: &SocketRef, auth: &Auth) -> Result<Self, Nobody> {
        let Value::Object(members) = sent else {
            let credential = text(sent, socket);
            return Ok(Self {
                is_guest: credential.is_empty() && auth.is_open(),
                credential,
                named: None,
                is_numbered: false,
                since: None,
            });
        };
        let member = |name| members.get(name).filter(|value| !value.is_null());
        let since = since(member("since"))?;
        let (named, token) = (member("uid"), member("token"));
        let is_plain = |value: &Value| value.is_string() || value.is_number();
        if !named.iter().chain(&token).all(|value| is_plain(value)) {
            return Err(Nobody::NotUid);
        }
        let named = named.map(|named| text(named, socket));
        let (credential, named) = match (token, named) {
            // Who is asked looks at more than that.
            (None, None) if auth.judges_more() => (String::new(), None),
            (None, None) => return Err(Nobody::Nameless),
            // Where anybody may be anyone, a token is nobody's name.
            (Some(_), None) if auth.is_open() => return Err(Nobody::Nameless),
            (Some(_), Some(named)) if auth.is_open() => (named, None),
            (None, Some(named)) => (named, None),
            (Some(token), named) => (text(token, socket), named),
        };
        Ok(Self {
            is_guest: credential.is_empty() && auth.is_open(),
            credential,
            named,
            is_numbered: true,
            since,
        })
    }
}

/// What a page was told, or the same as a text, as pages keep it in their storage.
fn since(sent: Option<&Value>) -> Result<Option<Since>, Nobody> {
    let since = match sent {
        None => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(sent) => sent.as_u64().map(|id| Since {
            id: PushId(id),
            parcel: None,
        }),
    };
    since.map(Some).ok_or(Nobody::Since)
}

/// PHP's string cast of what a page sent, untrimmed.
fn text(claim: &Value, socket: &SocketRef) -> String {
    let claim = PhpValue::from(claim.clone());
    // PHP casts an array to this word.
    let text = claim.to_text().unwrap_or_else(|| b"Array"[..].into());
    let text = String::from_utf8_lossy(&text);
    if may_be_double_encoded(socket) {
        undo_double_utf8(&text).unwrap_or_else(|| text.into_owned())
    } else {
        text.into_owned()
    }
}

/// Only 1.x clients encode twice, and only while they poll; 2.x clients, which do not, cannot be
/// told from them.
fn may_be_double_encoded(socket: &SocketRef) -> bool {
    socket.protocol() == ProtocolVersion::V4 && socket.transport_type() == TransportType::Polling
}

/// UTF-8 that was taken for Latin-1 and encoded again, decoded; `None` when the text is not that.
pub(super) fn undo_double_utf8(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    String::from_utf8(bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::undo_double_utf8;

    #[test]
    fn text_encoded_twice_is_decoded_once_and_other_text_is_left_alone() {
        let twice: String = "用户😀".bytes().map(char::from).collect();
        assert_eq!(undo_double_utf8(&twice).as_deref(), Some("用户😀"));
        assert_eq!(undo_double_utf8("用户"), None);
        assert_eq!(undo_double_utf8("plain"), None);
        assert_eq!(undo_double_utf8("caf\u{e9}"), None);
    }
}
