//! How much of bodies may be in memory whose senders have not proved yet that they may push. Knows
//! nothing of keys.

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Bytes that each body has for itself, so that strangers keep out no push of ordinary size: there
/// are only so many connections.
const OWN: usize = 64 * 1024;

/// Bytes beyond those, of all bodies together.
const SHARED: usize = 64 * 1024 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    taken: AtomicUsize,
    shared: usize,
}

/// There is no room for more of a body.
#[derive(Debug, thiserror::Error)]
#[error(
    "too much is arriving from senders that have shown no key yet; show it as authorization: Bearer, or try again"
)]
pub(super) struct NoRoom;

/// What one body takes of the room, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'r> {
    room: &'r WaitingRoom,
    bytes: usize,
    shared: usize,
}

/// A body that arrives only as far as there is room.
#[derive(Debug)]
pub(super) struct Arriving<'p, 'r> {
    body: Body,
    place: &'p mut Place<'r>,
}

impl WaitingRoom {
    /// Of bodies of at most so many bytes at least one has room.
    pub(super) fn new(max_body: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            shared: SHARED.max(max_body),
        }
    }

    pub(super) fn enter(&self) -> Place<'_> {
        Place {
            room: self,
            bytes: 0,
            shared: 0,
        }
    }
}

impl<'r> Place<'r> {
    pub(super) fn of<'p>(&'p mut self, body: Body) -> Arriving<'p, 'r> {
        Arriving { body, place: self }
    }

    fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.bytes += bytes;
        let more = self.bytes.saturating_sub(OWN) - self.shared;
        let before = self.room.taken.fetch_add(more, Ordering::Relaxed);
        self.shared += more;
        // What is refused is given back with the place.
        if more > 0 && before + more > self.room.shared {
            return Err(NoRoom);
        }
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.shared, Ordering::Relaxed);
    }
}

impl http_body::Body for Arriving<'_, '_> {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(e)) => return Poll::Ready(Some(Err(e.into()))),
            Some(Ok(frame)) => frame,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let taken = self.place.take(bytes).map(|()| frame);
        Poll::Ready(Some(taken.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{OWN, WaitingRoom};

    #[test]
    fn each_body_has_a_little_for_itself_and_all_share_the_rest() {
        let room = WaitingRoom::new(0);
        let mut large = room.enter();
        assert!(large.take(OWN).is_ok());
        assert!(large.take(room.shared).is_ok(), "all of it");
        let mut other = room.enter();
        assert!(other.take(OWN - 1).is_ok() && other.take(1).is_ok());
        assert!(other.take(1).is_err());
        drop(other);
        assert!(
            room.enter().take(OWN + 1).is_err(),
            "what was refused is not kept"
        );
        drop(large);
        assert!(room.enter().take(OWN + room.shared).is_ok());
        assert!(room.enter().take(OWN + room.shared + 1).is_err());
    }
}
