//! What a page has missed, read from the store piece by piece.

use std::pin::Pin;
use std::sync::Arc;

use crate::chat::{Chat, Missed};
use crate::record::{Addressee, Record, RecordId, stamped};
use crate::store::StoreError;

/// The most records in a piece.
const MOST: usize = 200;

/// What a piece may weigh, in bytes, if every message were as long as it may be: it waits in memory
/// until the page has read it.
const WEIGHT: usize = 2 * 1024 * 1024;

/// One piece under way.
pub(crate) type Step = Pin<Box<dyn Future<Output = Result<Stepped, StoreError>> + Send>>;

/// One piece: messages in their order, as pages get them live.
pub(crate) struct Stepped {
    pub(crate) messages: Vec<(RecordId, String)>,
    /// The next piece, if there is more.
    pub(crate) next: Option<Step>,
}

/// What `addressee` has `missed` up to and including `until`.
pub(crate) fn catch_up(
    chat: Arc<Chat>,
    addressee: Addressee,
    missed: Missed,
    until: RecordId,
) -> Step {
    Box::pin(async move {
        let since = match (missed, &addressee) {
            (Missed::Since(since), _) => since,
            // Who was never here gets all that is kept for them.
            (Missed::Cursor, Addressee::User(uid)) => chat.recorder.cursor(uid).await?,
            (Missed::Nothing, _) | (Missed::Cursor, Addressee::Group(_)) => until,
        };
        let piece = (WEIGHT / chat.config.max_message_bytes()).clamp(1, MOST);
        let records = if since < until {
            let (store, limit) = (chat.recorder.store(), piece as u32);
            store.after(&addressee, since, until, limit).await?
        } else {
            Vec::new()
        };
        let last = records.last().map(|record| record.id);
        let messages = records.iter().map(|r| (r.id, message(&chat, r))).collect();
        let next = last.filter(|_| records.len() == piece).map(|last| {
            let missed = Missed::Since(last);
            catch_up(chat, addressee, missed, until)
        });
        Ok(Stepped { messages, next })
    })
}

fn message(chat: &Chat, record: &Record) -> String {
    if chat.config.stamp {
        stamped(&record.body, record.id, record.sender.as_ref(), record.at)
    } else {
        record.body.clone()
    }
}
