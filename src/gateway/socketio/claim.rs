//! Who a page says it is: the payload of `login`, by the rules of the PHP original.

use serde_json::Value;
use socketioxide::extract::SocketRef;
use socketioxide::{ProtocolVersion, TransportType};

use crate::auth::{Auth, Refused};
use crate::php::PhpValue;
use crate::uid::Uid;

/// Why a login is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidClaim {
    /// An object is none of the original's forms.
    #[error("login with an object; expected a text or a number")]
    Object,
    /// It gives no right to a uid.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// The uid that a page may have: its claim is PHP's string cast of what it sent, untrimmed. `None`
/// is a guest: `""`, `null` and `false` were counted as a page without a name.
pub(super) fn uid(
    claim: Value,
    socket: &SocketRef,
    auth: &Auth,
) -> Result<Option<Uid>, InvalidClaim> {
    if claim.is_object() {
        return Err(InvalidClaim::Object);
    }
    let claim = PhpValue::from(claim);
    // PHP casts an array to this word.
    let text = claim.to_text().unwrap_or_else(|| b"Array"[..].into());
    let text = String::from_utf8_lossy(&text);
    if text.is_empty() && auth.is_open() {
        return Ok(None);
    }
    let text = if may_be_double_encoded(socket) {
        undo_double_utf8(&text).unwrap_or_else(|| text.into_owned())
    } else {
        text.into_owned()
    };
    Ok(Some(auth.uid(text.as_bytes())?))
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
