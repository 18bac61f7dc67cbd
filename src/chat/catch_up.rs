//! What a page has missed, read from the store piece by piece.

use std::pin::Pin;
use std::sync::Arc;

use crate::chat::{Chat, Missed};
use crate::config::Strategy;
use crate::record::{Addressee, Record, RecordId, stamped};
use crate::store::StoreError;

/// Records read at a time.
const PIECE: u32 = 200;

/// One piece under way.
pub(crate) type Step = Pin<Box<dyn Future<Output = Result<Stepped, StoreError>> + Send>>;

/// One piece: messages in their order, as pages get them live.
pub(crate) struct Stepped {
    pub(crate) messages: Vec<String>,
    pub(crate) ids: Vec<RecordId>,
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
            (Missed::Nothing, _) => until,
            (Missed::Since(since), _) => since,
            // Who was never here gets all that is kept for them.
            (Missed::Cursor, Addressee::User(uid)) => {
                chat.recorder.store().cursor(uid).await?.unwrap_or_default()
            }
            (Missed::Cursor, Addressee::Group(_)) => until,
        };
        let records = if since < until {
            let store = chat.recorder.store();
            store.after(&addressee, since, until, PIECE).await?
        } else {
            Vec::new()
        };
        let last = records.last().map(|record| record.id);
        let stepped = Stepped {
            messages: records
                .iter()
                .map(|record| message(&chat, record))
                .collect(),
            ids: records.iter().map(|record| record.id).collect(),
            next: last
                .filter(|_| records.len() == PIECE as usize)
                .map(|last| {
                    let missed = Missed::Since(last);
                    catch_up(Arc::clone(&chat), addressee.clone(), missed, until)
                }),
        };
        if stepped.next.is_none()
            && chat.config.strategy == Strategy::LiveAndOffline
            && let Addressee::User(uid) = addressee
        {
            chat.recorder.move_cursor(uid, until);
        }
        Ok(stepped)
    })
}

fn message(chat: &Chat, record: &Record) -> String {
    if chat.config.stamp {
        stamped(&record.body, record.id, record.sender.as_ref(), record.at)
    } else {
        record.body.clone()
    }
}
