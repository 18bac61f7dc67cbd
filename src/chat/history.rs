//! What was said, as the answer to `history`.

use std::sync::Arc;

use crate::chat::answer::{Answer, Item, Reference};
use crate::chat::{Chat, SendError, answer};
use crate::record::{Conversation, Record, RecordId};
use crate::uid::Uid;

/// What the messages of an answer may weigh, in bytes: it waits in memory until the page has read
/// it.
const WEIGHT: usize = 1024 * 1024;

/// How many records an answer holds when the page does not say.
const DEFAULT_LIMIT: u32 = 50;

/// The answer to a page of `uid`. The newest first, before `before`; whether the page may read the
/// conversation is for the caller to see.
pub(crate) async fn history(
    chat: Arc<Chat>,
    of: Conversation,
    before: Option<RecordId>,
    limit: Option<u32>,
    reference: Reference,
) -> String {
    let limit = limit.unwrap_or(DEFAULT_LIMIT).min(chat.config.max_history);
    let store = chat.recorder.store();
    // One more than asked for tells whether there is more.
    let mut records = match store.history(&of, before, limit + 1).await {
        Ok(records) => records,
        Err(e) => {
            tracing::debug!(error = &e as &dyn std::error::Error, "history not read");
            return answer::error(&reference, &SendError::Unread);
        }
    };
    let mut weight = 0;
    let fits = |record: &&Record| {
        weight += record.body.len();
        weight <= WEIGHT
    };
    // One at least, or nobody would get any further.
    let whole = records
        .iter()
        .take(limit as usize)
        .take_while(fits)
        .count()
        .max(usize::from(limit > 0));
    let more = records.len() > whole;
    records.truncate(whole);
    let (with, group) = match &of {
        Conversation::Between(_, with) => (Some(Uid::as_str(with)), None),
        Conversation::Group(group) => (None, Some(group.as_str())),
    };
    Answer::History {
        reference: reference.as_deref(),
        with,
        group,
        items: records.iter().filter_map(Item::new).collect(),
        more,
    }
    .text()
}
