//! Stores, and the values that they keep, short to write.

use std::sync::Arc;
use std::time::Duration;

use campanile::group::Group;
use campanile::record::{Addressee, Conversation, Draft, Record, RecordId};
use campanile::store::{self, MessageStore, Options, Retention};
use campanile::uid::Uid;

use crate::harness::within;

/// Time enough for any call.
const OPTIONS: Options = Options {
    timeout: Duration::from_secs(10),
};

/// The last number there could be.
pub(crate) const END: RecordId = RecordId(u64::MAX);

pub(crate) async fn open(url: &str) -> Arc<dyn MessageStore> {
    let opened = within("the store to open", store::open(url, OPTIONS)).await;
    opened.expect("the store can be opened")
}

pub(crate) async fn append(store: &dyn MessageStore, drafts: &[Draft]) -> u64 {
    store.append(drafts).await.expect("they are kept").0
}

pub(crate) async fn newest(store: &dyn MessageStore) -> u64 {
    store.newest().await.expect("it answers").0
}

pub(crate) async fn prune(
    store: &dyn MessageStore,
    retention: Retention,
    now: u64,
    limit: u32,
) -> u32 {
    let removed = store.prune(retention, now, limit).await;
    removed.expect("it answers")
}

/// A whole conversation, the newest first.
pub(crate) async fn history(store: &dyn MessageStore, of: &Conversation) -> Vec<String> {
    let found = store.history(of, None, 1_000).await;
    bodies(found.expect("it answers"))
}

/// All for an addressee, the oldest first.
pub(crate) async fn all_for(store: &dyn MessageStore, addressee: &Addressee) -> Vec<String> {
    let found = store.after(addressee, RecordId(0), END, 1_000).await;
    bodies(found.expect("it answers"))
}

pub(crate) fn bodies(records: Vec<Record>) -> Vec<String> {
    records.into_iter().map(|record| record.body).collect()
}

pub(crate) fn draft(sender: &str, to: impl Into<Box<[Addressee]>>, body: &str) -> Draft {
    Draft {
        at: 1_000,
        sender: Some(uid(sender)),
        addressees: to.into(),
        body: body.into(),
    }
}

pub(crate) fn between(one: &str, other: &str) -> Conversation {
    Conversation::Between(uid(one), uid(other))
}

pub(crate) fn user(name: &str) -> Addressee {
    Addressee::User(uid(name))
}

pub(crate) fn group(name: &str) -> Addressee {
    Addressee::Group(group_named(name))
}

pub(crate) fn group_named(name: &str) -> Group {
    Group::parse(name).expect("it is a group's name")
}

pub(crate) fn uid(name: &str) -> Uid {
    Uid::parse(name).expect("it is a uid")
}
