//! How often a peer, or a page, may do something.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config;
use crate::limits::Peer;

/// How many seconds' worth may come at once: all pages of an office come back together.
const BURST: NonZeroU32 = NonZeroU32::new(10).expect("it is not zero");

/// See the module's text. `None` where there is no limit.
#[derive(Debug)]
pub(super) struct Rates {
    handshakes: Option<DefaultKeyedRateLimiter<Peer>>,
    logins: Option<DefaultKeyedRateLimiter<Peer>>,
}

/// What one page may say.
#[derive(Debug)]
pub struct Budget {
    per_second: Option<NonZeroU32>,
    /// A page that says one thing only, its uid, needs none.
    spent: Option<Box<DefaultDirectRateLimiter>>,
    is_first: bool,
}

impl Rates {
    pub(super) fn new(config: &config::Limits) -> Self {
        let by_peer = |n| NonZeroU32::new(n).map(|n| RateLimiter::keyed(quota(n)));
        Self {
            handshakes: by_peer(config.handshakes_per_second),
            logins: by_peer(config.logins_per_second),
        }
    }

    pub(super) fn handshake(&self, peer: Peer) -> bool {
        is_within(&self.handshakes, peer)
    }

    pub(super) fn login(&self, peer: Peer) -> bool {
        is_within(&self.logins, peer)
    }

    /// Forgets peers that could do as much as any other.
    pub(super) fn sweep(&self) {
        for rate in self.handshakes.iter().chain(&self.logins) {
            rate.retain_recent();
            rate.shrink_to_fit();
        }
    }
}

impl Budget {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: NonZeroU32::new(per_second),
            spent: None,
            is_first: true,
        }
    }

    /// Takes one message off. False when it is one too many.
    pub fn spend(&mut self) -> bool {
        if std::mem::take(&mut self.is_first) {
            return true;
        }
        let Some(per_second) = self.per_second else {
            return true;
        };
        let spent = self
            .spent
            .get_or_insert_with(|| Box::new(RateLimiter::direct(quota(per_second))));
        spent.check().is_ok()
    }
}

fn is_within(rate: &Option<DefaultKeyedRateLimiter<Peer>>, peer: Peer) -> bool {
    rate.as_ref()
        .is_none_or(|rate| rate.check_key(&peer).is_ok())
}

fn quota(per_second: NonZeroU32) -> Quota {
    let burst = per_second.saturating_mul(BURST);
    Quota::per_second(per_second).allow_burst(burst)
}
