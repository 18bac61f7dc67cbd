//! Who a page says it is: the payload of `login`, by the rules of the PHP original.

use serde_json::Value;
use socketioxide::extract::SocketRef;
use socketioxide::{ProtocolVersion, TransportType};

use crate::auth::{Auth, Refused};
use crate::gateway::parcels::Since;
use crate::php::PhpValue;
use crate::push::PushId;
use crate::uid::Uid;

/// Why a login is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidClaim {
    /// An object has to name the user.
    #[error("login with an object that has neither uid nor token")]
    Nameless,
    /// It cannot be one.
    #[error("uid is neither a text nor a number")]
    NotUid,
    /// It is for another user.
    #[error("the token is not for this uid")]
    OtherUid,
    /// It is no number of ours.
    #[error("since is not an id that a message, or a login, came with")]
    Since,
    /// It gives no right to a uid.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What a page logs in with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// `None` is a guest.
    pub(super) uid: Option<Uid>,
    /// Whether the page wants to be told the numbers of messages, since it will say up to which it
    /// has everything: it logged in with an object.
    pub(super) is_numbered: bool,
    /// Up to which it has.
    pub(super) since: Option<Since>,
}

impl Claim {
    /// Reads what a page sent: the original's plain value, or `{uid, token?, since?}`.
    pub(super) fn read(sent: Value, socket: &SocketRef, auth: &Auth) -> Result<Self, InvalidClaim> {
        let Value::Object(mut sent) = sent else {
            return Ok(Self {
                uid: uid(sent, socket, auth)?,
                is_numbered: false,
                since: None,
            });
        };
        let since = since(sent.remove("since"))?;
        let named = sent.remove("uid").filter(|uid| !uid.is_null());
        let token = sent.remove("token").filter(|token| !token.is_null());
        let is_plain = |value: &Value| value.is_string() || value.is_number();
        if !named.iter().chain(&token).all(is_plain) {
            return Err(InvalidClaim::NotUid);
        }
        let uid = match (token, named) {
            (None, None) => return Err(InvalidClaim::Nameless),
            (None, Some(named)) => uid(named, socket, auth)?,
            // Where anybody may be anyone, a token is nobody's name.
            (Some(_), Some(named)) if auth.is_open() => uid(named, socket, auth)?,
            (Some(token), named) => {
                let uid = uid(token, socket, auth)?;
                let named = named.map(|named| text(named, socket));
                if named.is_some_and(|named| uid.as_ref().is_none_or(|uid| uid.as_str() != named)) {
                    return Err(InvalidClaim::OtherUid);
                }
                uid
            }
        };
        Ok(Self {
            uid,
            is_numbered: true,
            since,
        })
    }
}

/// What a page was told, or the same as a text, as pages keep it in their storage.
fn since(sent: Option<Value>) -> Result<Option<Since>, InvalidClaim> {
    let since = match sent {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(sent) => sent.as_u64().map(|id| Since {
            id: PushId(id),
            parcel: None,
        }),
    };
    since.map(Some).ok_or(InvalidClaim::Since)
}

/// The uid that a page may have: its claim is PHP's string cast of what it sent, untrimmed. `None`
/// is a guest: `""`, `null` and `false` were counted as a page without a name.
fn uid(claim: Value, socket: &SocketRef, auth: &Auth) -> Result<Option<Uid>, InvalidClaim> {
    let text = text(claim, socket);
    if text.is_empty() && auth.is_open() {
        return Ok(None);
    }
    Ok(Some(auth.uid(text.as_bytes())?))
}

fn text(claim: Value, socket: &SocketRef) -> String {
    let claim = PhpValue::from(claim);
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
fn undo_double_utf8(text: &str) -> Option<String> {
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
