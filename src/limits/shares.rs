//! How much of something that all share each peer has taken.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::Peer;

/// Of how many parts one peer gets one.
const PARTS: usize = 4;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<HashMap<Peer, usize>>);

/// One that a peer has taken; it counts until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    /// `None` where no limit of a peer applies.
    peer: Option<Peer>,
}

impl Shares {
    /// One more of `all` for a peer; `None` when that is more than its part.
    pub(super) fn take(this: &Arc<Self>, peer: Option<Peer>, all: usize) -> Option<Share> {
        if let Some(peer) = peer {
            let mut taken = this.0.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = taken.entry(peer).or_default();
            if *taken >= (all / PARTS).max(1) {
                return None;
            }
            *taken += 1;
        }
        let shares = Arc::clone(this);
        Some(Share { shares, peer })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut share) = taken.entry(peer) {
            *share.get_mut() -= 1;
            if *share.get() == 0 {
                share.remove();
            }
        }
        // A crowd of strangers is not kept in mind for ever.
        let room = taken.len() * 2 + 64;
        if taken.capacity() > room * 2 {
            taken.shrink_to(room);
        }
    }
}
