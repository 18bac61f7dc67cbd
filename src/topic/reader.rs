//! How JSON objects name topics: of a page's wish, or of a packet.

use std::sync::Arc;

use crate::config;
use crate::php::json;
use crate::topic::{Matching, Pair, Subscription, Topic};

/// Reads topics by the configured names.
#[derive(Debug)]
pub(crate) struct TopicReader {
    names: Box<[Arc<str>]>,
    matching: Matching,
}

/// Why a text is not a subscription.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidSubscription {
    /// Longer than a page may send; carries the length in bytes.
    #[error("{0} bytes, the most is {max}", max = TopicReader::MAX_LEN)]
    TooLong(usize),
    /// Not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// Not one JSON object.
    #[error("not a JSON object: {0}")]
    NotObject(serde_json::Error),
    /// A member is a list or an object; carries its name.
    #[error("{0:?} is not a text, a number, true, false or null")]
    Nested(String),
    /// More members than a page may name.
    #[error("{0} members, the most is {max}", max = TopicReader::MAX_MEMBERS)]
    TooMany(usize),
}

impl TopicReader {
    /// The longest subscription, in bytes.
    pub(crate) const MAX_LEN: usize = 4096;

    /// The most members of a subscription.
    pub(crate) const MAX_MEMBERS: usize = 16;

    pub(crate) fn new(config: &config::Topics) -> Self {
        Self {
            names: config.keys.iter().map(|name| Arc::from(&**name)).collect(),
            matching: match config.matching {
                config::Matching::Shared => Matching::Shared,
                config::Matching::Exact => Matching::Exact,
            },
        }
    }

    /// What a page wants; `None` when it names nothing that a topic could have.
    pub(crate) fn subscription(
        &self,
        json: &[u8],
    ) -> Result<Option<Subscription>, InvalidSubscription> {
        if json.len() > Self::MAX_LEN {
            return Err(InvalidSubscription::TooLong(json.len()));
        }
        let text = std::str::from_utf8(json).map_err(|_| InvalidSubscription::NotUtf8)?;
        let (mut pairs, mut nested, mut count) = (Vec::new(), None, 0);
        json::members(
            text,
            |_| true,
            |name, value| {
                count += 1;
                match value.to_text() {
                    Some(value) => pairs.extend(self.pair(&name, &value)),
                    None => nested = Some(name.into_owned()),
                }
            },
        )
        .map_err(InvalidSubscription::NotObject)?;
        if count > Self::MAX_MEMBERS {
            return Err(InvalidSubscription::TooMany(count));
        }
        match nested {
            Some(name) => Err(InvalidSubscription::Nested(name)),
            None => Ok(Subscription::new(pairs)),
        }
    }

    /// One pair of a topic, if it is one that counts.
    pub(crate) fn pair(&self, name: &str, value: &str) -> Option<Pair> {
        let name = match self.matching {
            Matching::Shared => Arc::clone(self.names.iter().find(|known| &***known == name)?),
            Matching::Exact => Arc::from(name),
        };
        Some((name, Arc::from(value)))
    }

    /// What a packet is about.
    pub(crate) fn topic(&self, pairs: Vec<Pair>) -> Topic {
        Topic::new(pairs, self.matching)
    }
}
