//! The uid value: the name that the application behind us gives a user. Knows no wire.

use std::fmt;
use std::sync::Arc;

/// A user id given by the application: any text of 1 to [`Uid::MAX_LEN`] bytes, compared exactly
/// (no trimming, no case folding), since that is how the pages and backends in use compare it.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Arc<str>);

/// Why a text is not a [`Uid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUid {
    /// An empty text names nobody.
    #[error("uid is empty")]
    Empty,
    /// Longer than [`Uid::MAX_LEN`]; carries the length in bytes.
    #[error("uid is {0} bytes long, the most is {max}", max = Uid::MAX_LEN)]
    TooLong(usize),
    /// Not UTF-8, so no page can have logged in with it.
    #[error("uid is not valid UTF-8")]
    NotUtf8,
}

impl Uid {
    /// The longest uid, in bytes. Far above what applications use; it bounds what a stranger can
    /// make the server remember.
    pub const MAX_LEN: usize = 1024;

    /// Takes `text` as a uid.
    ///
    /// # Errors
    /// When it is empty or longer than [`Uid::MAX_LEN`].
    pub fn parse(text: &str) -> Result<Self, InvalidUid> {
        match text.len() {
            0 => Err(InvalidUid::Empty),
            n if n > Self::MAX_LEN => Err(InvalidUid::TooLong(n)),
            _ => Ok(Self(text.into())),
        }
    }

    /// Takes bytes off a wire as a uid.
    ///
    /// # Errors
    /// As [`Uid::parse`], and when the bytes are not UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, InvalidUid> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| InvalidUid::NotUtf8)?)
    }

    /// The text of the uid.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Quoted and escaped, so that control characters in a uid cannot forge log lines.
impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
