//! The group value: a named set of sessions, joined and left by the application. Knows no wire.

use std::fmt;
use std::sync::Arc;

/// The name of a group: any text of 1 to [`Group::MAX_LEN`] bytes, compared exactly. `"0"` is a
/// name like any other.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Arc<str>);

/// Why a text is not a [`Group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroup {
    /// An empty text names no group.
    #[error("group is empty")]
    Empty,
    /// Longer than [`Group::MAX_LEN`]; carries the length in bytes.
    #[error("group is {0} bytes long, the most is {max}", max = Group::MAX_LEN)]
    TooLong(usize),
}

impl Group {
    /// The longest name, in bytes; it bounds what a page can make the server remember.
    pub const MAX_LEN: usize = 256;

    /// Takes `text` as a group's name.
    ///
    /// # Errors
    /// When it is empty or longer than [`Group::MAX_LEN`].
    pub fn parse(text: &str) -> Result<Self, InvalidGroup> {
        match text.len() {
            0 => Err(InvalidGroup::Empty),
            n if n > Self::MAX_LEN => Err(InvalidGroup::TooLong(n)),
            _ => Ok(Self(text.into())),
        }
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Quoted and escaped, so that control characters in a name cannot forge log lines.
impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
