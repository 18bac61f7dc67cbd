//! The topic values: what a page subscribes to, and what a push is about. Knows no wire.

mod reader;

use std::sync::Arc;

pub(crate) use reader::TopicReader;

/// One named value, such as `school_id` = `2`. Values are compared as texts.
pub type Pair = (Arc<str>, Arc<str>);

/// What a page wants: named values, each name once, in the order of their names.
///
/// Cloning is cheap: the pairs are shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscription(Arc<[Pair]>);

/// What a push is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pairs: Box<[Pair]>,
    matching: Matching,
}

/// When a topic concerns a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// At least one name is in both, and every name that is in both has the same value.
    Shared,
    /// Every name of the subscription is in the topic, with the same value.
    Exact,
}

impl Subscription {
    /// Takes pairs; of those with one name the last counts. `None` when there are none.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Option<Self> {
        let pairs = ordered(pairs);
        (!pairs.is_empty()).then(|| Self(pairs.into()))
    }

    /// Its pairs, in the order of their names.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.0
    }
}

impl Topic {
    /// Takes pairs; of those with one name the last counts.
    #[must_use]
    pub fn new(pairs: Vec<Pair>, matching: Matching) -> Self {
        Self {
            pairs: ordered(pairs).into(),
            matching,
        }
    }

    /// Its pairs, in the order of their names.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Whether a push about this is for who subscribed to that.
    #[must_use]
    pub fn concerns(&self, subscription: &Subscription) -> bool {
        let mut common = 0;
        for (name, wanted) in subscription.pairs() {
            match self.value(name) {
                Some(value) if value == &**wanted => common += 1,
                Some(_) => return false,
                None if self.matching == Matching::Exact => return false,
                None => {}
            }
        }
        common > 0
    }

    /// The value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let at = self
            .pairs
            .binary_search_by(|(known, _)| (**known).cmp(name));
        at.ok().map(|at| &*self.pairs[at].1)
    }
}

fn ordered(mut pairs: Vec<Pair>) -> Vec<Pair> {
    // The sort is stable, so that the last of those with one name can be told.
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs.reverse();
    pairs.dedup_by(|(a, _), (b, _)| a == b);
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::{Matching, Pair, Subscription, Topic};

    fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
        let pair = |&(name, value): &(&str, &str)| (name.into(), value.into());
        pairs.iter().map(pair).collect()
    }

    fn concerns(matching: Matching, topic: &[(&str, &str)], wanted: &[(&str, &str)]) -> bool {
        let subscription = Subscription::new(pairs(wanted)).unwrap();
        Topic::new(pairs(topic), matching).concerns(&subscription)
    }

    #[test]
    fn a_shared_topic_needs_a_name_in_common_and_no_conflict() {
        let is = |topic, wanted| concerns(Matching::Shared, topic, wanted);
        let class = &[("school", "2"), ("class", "1")][..];
        assert!(is(&[("school", "2"), ("class", "1")], class));
        assert!(is(&[("school", "2")], class));
        assert!(is(class, &[("school", "2")]));
        assert!(!is(&[("school", "2"), ("class", "9")], class));
        assert!(!is(&[("school", "3"), ("class", "1")], class));
        assert!(!is(&[("other", "1")], class));
        assert!(!is(&[], class));
    }

    #[test]
    fn an_exact_topic_has_all_that_is_wanted() {
        let is = |topic, wanted| concerns(Matching::Exact, topic, wanted);
        assert!(is(
            &[("a", "1"), ("b", "2"), ("c", "3")],
            &[("c", "3"), ("a", "1")]
        ));
        assert!(!is(&[("a", "1")], &[("c", "3"), ("a", "1")]));
        assert!(!is(&[("a", "1"), ("c", "4")], &[("c", "3"), ("a", "1")]));
    }

    #[test]
    fn of_two_values_with_one_name_the_last_counts() {
        let twice = Subscription::new(pairs(&[("a", "1"), ("b", "2"), ("a", "3")]));
        assert_eq!(twice, Subscription::new(pairs(&[("b", "2"), ("a", "3")])));
        assert_eq!(Subscription::new(Vec::new()), None);
    }
}
