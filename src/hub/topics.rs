//! What pages have subscribed to, and which subscriptions a topic concerns. Knows no sockets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::topic::{Pair, Subscription, Topic};

/// Every subscription that somebody has, found by any of its pairs.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    pages: HashMap<Subscription, usize>,
    by_pair: HashMap<Pair, HashSet<Subscription>>,
}

impl Topics {
    pub(super) fn add(&self, subscription: &Subscription) {
        let mut index = self.lock();
        let pages = index.pages.entry(subscription.clone()).or_insert(0);
        *pages += 1;
        if *pages > 1 {
            return;
        }
        for pair in subscription.pairs() {
            let found = index.by_pair.entry(pair.clone()).or_default();
            found.insert(subscription.clone());
        }
    }

    pub(super) fn remove(&self, subscription: &Subscription) {
        let mut index = self.lock();
        let Some(pages) = index.pages.get_mut(subscription) else {
            return;
        };
        *pages -= 1;
        if *pages > 0 {
            return;
        }
        index.pages.remove(subscription);
        for pair in subscription.pairs() {
            if let Some(found) = index.by_pair.get_mut(pair) {
                found.remove(subscription);
                if found.is_empty() {
                    index.by_pair.remove(pair);
                }
            }
        }
    }

    /// Gives `deliver` the subscriptions that `topic` concerns, each once. No subscription comes or
    /// goes meanwhile: a page that changes its own is found by the old or by the new one.
    pub(super) fn with_concerned<T>(
        &self,
        topic: &Topic,
        deliver: impl FnOnce(&[Subscription]) -> T,
    ) -> T {
        let index = self.lock();
        let mut concerned = Vec::new();
        for pair in topic.pairs() {
            let candidates = index.by_pair.get(pair).into_iter().flatten();
            // One that shares several pairs is found by each; its first tells.
            let candidates = candidates.filter(|s| is_first_in_common(s, topic, pair));
            concerned.extend(candidates.filter(|s| topic.concerns(s)).cloned());
        }
        deliver(&concerned)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        // A delivery that panics leaves the index as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_first_in_common(subscription: &Subscription, topic: &Topic, pair: &Pair) -> bool {
    let mut common = subscription.pairs().iter();
    common.find(|(name, value)| topic.value(name) == Some(value)) == Some(pair)
}

/// One page's subscription, known to the hub until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Subscribed {
    hub: Arc<super::Hub>,
    subscription: Subscription,
}

impl Subscribed {
    pub(super) fn new(hub: Arc<super::Hub>, subscription: Subscription) -> Self {
        hub.topics.add(&subscription);
        Self { hub, subscription }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.hub.topics.remove(&self.subscription);
    }
}
