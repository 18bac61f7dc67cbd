//! Many at the backlog of a store: users whom one push is for, calls at once, and servers.

use std::sync::Arc;

use campanile::store::MessageStore;

use crate::harness::parcels::{confirm, count, expire, parcel, put, tallies, tally, users, waits};
use crate::harness::postgres::Postgres;
use crate::harness::records::open;
use crate::harness::within;

/// Users whom one push is for.
const MANY: usize = 10_000;

#[tokio::test]
async fn a_sqlite_file_bears_many() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    tell_the_story(&url).await;
}

#[tokio::test]
async fn a_postgres_database_bears_many() {
    let server = Postgres::start().await;
    tell_the_story(&server.url()).await;
}

/// Each chapter leaves an empty store to the next.
async fn tell_the_story(url: &str) {
    let store = open(url).await;
    a_push_may_be_for_many(&*store).await;
    two_may_give_the_same_number(&*store, url).await;
    many_may_confirm_at_once(&store).await;
    assert_eq!(tallies(&*store).await, []);
    assert_eq!(count(url, "parcels").await, 0);
}

async fn a_push_may_be_for_many(store: &dyn MessageStore) {
    let names: Vec<_> = (0..MANY).map(|number| format!("user {number}")).collect();
    let all = || users(names.iter().map(String::as_str));
    let some = users(["user 7", "user 9999"]);
    let parcels = [parcel(800, all(), "many"), parcel(801, some, "some")];
    within("many rows to be kept", put(store, &parcels)).await;
    assert_eq!(tallies(store).await.len(), MANY);
    assert_eq!(waits(store, "user 7").await, ["many", "some"]);
    assert_eq!(waits(store, "user 5000").await, ["many"]);
    let confirmed: Vec<_> = names.iter().map(|name| (name.as_str(), 800)).collect();
    let left = within("many to confirm", confirm(store, &confirmed)).await;
    let expected = (0..MANY).map(|number| match number {
        7 | 9_999 => tally(1, 4),
        _ => tally(0, 0),
    });
    assert_eq!(left, expected.collect::<Vec<_>>());

    put(store, &[parcel(802, all(), "many again")]).await;
    let (mut rows, mut steps) = (0, 0);
    loop {
        match expire(store, 803, 4_096).await {
            went if went.is_empty() => break,
            went => rows += went.iter().map(|(_, went)| went.messages).sum::<u64>(),
        }
        steps += 1;
    }
    assert_eq!((rows, steps), (MANY as u64 + 2, 3));
    assert_eq!(tallies(store).await, []);
}

async fn two_may_give_the_same_number(store: &dyn MessageStore, url: &str) {
    let other = open(url).await;
    put(store, &[parcel(900, users(["ann"]), "one")]).await;
    put(&*other, &[parcel(900, users(["ann"]), "other")]).await;
    assert_eq!(waits(&*other, "ann").await, ["one", "other"]);
    assert_eq!(confirm(store, &[("ann", 900)]).await, [tally(0, 0)]);
    assert_eq!(waits(&*other, "ann").await, [""; 0]);
    other.close().await;
}

/// Whoever is the last has to take the content along.
async fn many_may_confirm_at_once(store: &Arc<dyn MessageStore>) {
    let names: Vec<_> = (0..8).map(|number| format!("user {number}")).collect();
    for id in 1_000..1_010 {
        let all = users(names.iter().map(String::as_str));
        put(&**store, &[parcel(id, all, "for some")]).await;
        let calls = names.iter().map(|name| {
            let (store, name) = (Arc::clone(store), name.clone());
            tokio::spawn(async move { confirm(&*store, &[(&name, id)]).await })
        });
        let calls: Vec<_> = calls.collect();
        for call in calls {
            assert_eq!(call.await.expect("it is answered"), [tally(0, 0)]);
        }
    }
}
