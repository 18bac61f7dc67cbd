//! The query of a chat page's URL: one way to say who it is.

use percent_encoding::percent_decode_str;

use crate::record::RecordId;

/// What of it counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) uid: Option<String>,
    pub(super) token: Option<String>,
    pub(super) since: Option<RecordId>,
}

impl Query {
    /// Reads `uid=…&token=…&since=…`; what cannot be read is not there.
    pub(super) fn read(query: &str) -> Self {
        let mut read = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.replace('+', " ");
            let Ok(value) = percent_decode_str(&value).decode_utf8() else {
                continue;
            };
            match name {
                "uid" => read.uid = Some(value.into_owned()),
                "token" => read.token = Some(value.into_owned()),
                "since" => read.since = value.parse().ok().map(RecordId),
                _ => {}
            }
        }
        read
    }
}
