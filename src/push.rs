//! The push value: a message on its way from a publisher to pages. Knows no wire.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::group::Group;
use crate::record::{RecordId, stamped};
use crate::topic::Topic;
use crate::uid::Uid;

/// A push's number: sorts by acceptance, and is never used twice, also after a restart. Microseconds
/// since 1970, counted on where two would be the same; it fits the whole numbers of JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PushId(pub u64);

/// Whom a push is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every page. On the raw websockets that is every page that has said who it is or what it
    /// wants; on Socket.IO every page, logged in or not.
    Everyone,
    /// Every page of these users. Never holds one uid twice; empty when no addressee can exist.
    Users(Box<[Uid]>),
    /// Every page that has joined this group.
    Group(Group),
    /// Every page whose subscription this concerns.
    Topic(Topic),
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Push {
    /// Its number; the hub gives it when it accepts the push.
    pub id: PushId,
    /// Whom it is for.
    pub target: Target,
    /// What they get.
    pub content: Content,
    /// The record that it was kept as, if it was.
    pub record: Option<Recorded>,
    /// The number under which it waits on disk until those it is for have it, if it does. Smaller
    /// than `id`: it is kept before it is accepted.
    pub parcel: Option<PushId>,
}

/// What pages get. The two texts are the same unless a page wrote them.
#[derive(Debug, Clone)]
pub struct Content {
    /// The text frame of a raw websocket.
    pub frame: Arc<str>,
    /// The first argument of Socket.IO's `new_msg`. Pages insert it as HTML, so what comes from
    /// other pages is escaped in it.
    pub event: Arc<str>,
    /// Whether the text frame says by `_id`, `_from` and `_ts` what is known of it.
    pub stamped: bool,
}

/// What is known of a push that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub id: RecordId,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
    /// Who sent it; `None` for the backend.
    pub sender: Option<Uid>,
}

impl PushId {
    /// The number of something that is accepted now, if none greater was given before.
    #[must_use]
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(u64::MAX))
    }

    /// When it was accepted, in milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// The number that something accepted so much earlier would have had.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Push {
    /// A push that nothing is kept of.
    #[must_use]
    pub fn new(target: Target, content: Content) -> Self {
        Self {
            id: PushId::default(),
            target,
            content,
            record: None,
            parcel: None,
        }
    }

    /// Whether it is for every page.
    #[must_use]
    pub fn is_for_everyone(&self) -> bool {
        matches!(self.target, Target::Everyone)
    }

    /// The text frame of a raw websocket.
    #[must_use]
    pub fn frame(&self) -> Cow<'_, str> {
        match &self.record {
            Some(Recorded { id, at, sender }) if self.content.stamped => {
                Cow::Owned(stamped(&self.content.frame, *id, sender.as_ref(), *at))
            }
            Some(_) | None => Cow::Borrowed(&self.content.frame),
        }
    }
}

impl From<Arc<str>> for Content {
    fn from(text: Arc<str>) -> Self {
        Self {
            frame: Arc::clone(&text),
            event: text,
            stamped: false,
        }
    }
}

/// What became of a push when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It was for everyone, or at least one session here is concerned.
    Online,
    /// No session is concerned.
    Offline,
}

impl Delivery {
    /// What became of a push that concerned so many sessions.
    pub(crate) fn of(target: &Target, reach: usize) -> Self {
        match (target, reach) {
            (Target::Everyone, _) | (_, 1..) => Self::Online,
            _ => Self::Offline,
        }
    }
}
