//! Against whose limits a listener's connections count, and what one is told for which there is no place.

use std::io::Write as _;
use std::sync::Arc;

use socket2::SockRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Limits, Over, Seat};
use crate::net::peer::Peer;
use crate::net::socket::Socket;

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) enum Guests {
    /// Those of pages.
    Pages(Arc<Limits>),
    /// Those of publishers.
    Publishers(Arc<Limits>),
    /// Those of publishers whose connections may be idle.
    Lines(Arc<Limits>),
    /// Neither: a listener's own few places, so that the others cannot take them, nor it theirs.
    Few(Arc<Limits>, Arc<Semaphore>),
}

/// A connection's place. Keep it for as long as the connection is there.
#[derive(Debug)]
pub(crate) enum Place {
    /// Of a page.
    Page(Seat, Arc<Limits>),
    /// Of a publisher.
    Publisher(#[expect(dead_code, reason = "a guard: it is only ever dropped")] Seat),
    /// Of the few.
    Few(#[expect(dead_code, reason = "a guard: it is only ever dropped")] OwnedSemaphorePermit),
}

/// So many of the descriptors in reserve are a listener's own, and at least so many.
const SHARE: usize = 16;
const FEWEST: usize = 8;

/// What a publisher of lines is told for whom there is no place.
const FULL_OF_LINES: &[u8] = b"fail\n";

/// What everybody else is told, before being heard.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-type: text/plain\r\n\
    content-length: 22\r\nconnection: close\r\n\r\ntoo many connections\r\n";

impl Guests {
    /// A listener with a few places of its own, out of the descriptors in `reserve`.
    pub(crate) fn few(limits: &Arc<Limits>, reserve: usize) -> Self {
        let places = Semaphore::new((reserve / SHARE).max(FEWEST));
        Self::Few(Arc::clone(limits), Arc::new(places))
    }

    /// Whoever connects.
    pub(super) fn place(&self, peer: Peer) -> Result<Place, Over> {
        let address = (!peer.is_trusted()).then_some(peer.address);
        match self {
            Self::Publishers(limits) => limits.publisher_connects(address).map(Place::Publisher),
            Self::Lines(limits) => limits.line_connects(address).map(Place::Publisher),
            Self::Pages(limits) => {
                let seat = limits.page_connects(address)?;
                Ok(Place::Page(seat, Arc::clone(limits)))
            }
            Self::Few(limits, places) => {
                let place = Arc::clone(places).try_acquire_owned();
                place.map(Place::Few).map_err(|_| limits.is_full())
            }
        }
    }

    fn word(&self) -> &'static [u8] {
        match self {
            Self::Lines(_) => FULL_OF_LINES,
            Self::Pages(_) | Self::Publishers(_) | Self::Few(..) => FULL,
        }
    }
}

impl Place {
    /// It turns out who is on the other side of a proxy's connection.
    pub(super) fn is_of(&mut self, peer: Peer) -> Result<(), Over> {
        match self {
            Self::Page(seat, limits) if !peer.is_trusted() => limits.page_is_of(seat, peer.address),
            Self::Page(..) | Self::Publisher(_) | Self::Few(_) => Ok(()),
        }
    }
}

/// Says so in a word, if the kernel takes it, and hangs up. Not where TLS is spoken.
pub(super) fn refuse(socket: &Socket, guests: Option<&Guests>, is_plain: bool) {
    if is_plain {
        let word = guests.map_or(FULL, Guests::word);
        // By the kernel itself: the runtime has not been told yet that there is room.
        (&*SockRef::from(socket)).write_all(word).ok();
        socket.finish().ok();
        // What is not read would undo it.
        while matches!(socket.try_read(&mut [0; 1024]), Ok(1..)) {}
    }
}
