//! The backlog of a store in trouble, and after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile::push::PushId;
use campanile::store::{self, Holder, MessageStore, Options, StoreError, Waiting};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;

use crate::harness::parcels::{holder, parcel, put, tallies, tally, users, waits};
use crate::harness::postgres::Postgres;
use crate::harness::records::uid;
use crate::harness::within;

/// Short, since most of these tests wait for it to run out.
const OPTIONS: Options = Options {
    timeout: Duration::from_millis(500),
};

#[tokio::test]
async fn a_file_that_refuses_to_write_keeps_all_or_nothing() {
    let (_folder, url) = sqlite();
    let store = open(&url).await;
    put(&*store, &[parcel(1, users(["ann"]), "before")]).await;
    store
        .save_state(&[b"before".to_vec()])
        .await
        .expect("saved");
    let mut other = SqliteConnection::connect(&url).await.expect("it is there");
    // Each ends a transaction from within, as a full disk does, and as late as it can be.
    for trigger in [
        "CREATE TRIGGER put BEFORE INSERT ON backlog WHEN NEW.holder = CAST('zoe' AS BLOB)
            BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END",
        "CREATE TRIGGER remove BEFORE DELETE ON parcels
            BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END",
        "CREATE TRIGGER save BEFORE INSERT ON state WHEN NEW.part = 1
            BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END",
        "CREATE TRIGGER take BEFORE DELETE ON state
            BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END",
    ] {
        other.execute(trigger).await.expect("it takes triggers");
    }
    for answer in writes(&*store).await {
        assert!(matches!(answer, Err(StoreError::Failed(_))), "{answer:?}");
    }
    // Nothing half done is there, and it can still be read.
    assert_eq!(waits(&*store, "ann").await, ["before"]);
    assert_eq!(tallies(&*store).await, [(holder("ann"), tally(1, 6))]);
    for trigger in ["take", "save", "put", "remove"] {
        // It fails in another place once the state can be removed.
        let parts = [b"too".to_vec(), b"much".to_vec()];
        if trigger != "put" && trigger != "remove" {
            let saved = store.save_state(&parts).await;
            assert!(matches!(saved, Err(StoreError::Failed(_))), "{saved:?}");
        }
        let removal = format!("DROP TRIGGER {trigger}");
        let removal = other.execute(sqlx::AssertSqlSafe(removal)).await;
        removal.expect("it is there");
    }
    let state = store.take_state().await.expect("it answers");
    assert_eq!(state, [b"before"]);
    all_is_well(&*store).await;
}

#[tokio::test]
async fn a_file_that_another_writes_is_unavailable_until_it_ends() {
    let (_folder, url) = sqlite();
    let store = open(&url).await;
    put(&*store, &[parcel(1, users(["ann"]), "before")]).await;
    let mut other = SqliteConnection::connect(&url).await.expect("it is there");
    let lock = other.begin_with("BEGIN IMMEDIATE").await;
    let lock = lock.expect("nobody else has it");
    are_unavailable_in_time(&*store).await;
    assert_eq!(waits(&*store, "ann").await, ["before"]);
    lock.rollback().await.expect("it is still there");
    all_is_well(&*store).await;
}

#[tokio::test]
async fn a_server_that_stopped_is_used_again_when_it_is_back() {
    let mut server = Postgres::start().await;
    let store = open(&server.url()).await;
    put(&*store, &[parcel(1, users(["ann"]), "before")]).await;
    server.stop();
    are_unavailable_in_time(&*store).await;
    let uid = uid("ann");
    let answers = [
        store.waiting(&uid, PushId(0), 0, 9).await.map(drop),
        store.tallies().await.map(drop),
    ];
    for answer in answers {
        let unavailable = matches!(answer, Err(StoreError::Unavailable(_)));
        assert!(unavailable, "{answer:?}");
    }
    server.restart().await;
    assert_eq!(waits(&*store, "ann").await, ["before"]);
    all_is_well(&*store).await;
}

#[tokio::test]
async fn a_table_that_another_locks_is_unavailable_until_it_ends() {
    let server = Postgres::start().await;
    let store = open(&server.url()).await;
    put(&*store, &[parcel(1, users(["ann"]), "before")]).await;
    let mut other = server.connect().await;
    let mut lock = other.begin().await.expect("it takes transactions");
    for table in ["backlog", "state"] {
        let locking = format!("LOCK TABLE {table}");
        let locked = lock.execute(sqlx::AssertSqlSafe(locking)).await;
        locked.expect("nobody else has it");
    }
    are_unavailable_in_time(&*store).await;
    lock.rollback().await.expect("it is still there");
    // What was given up is not done later.
    assert_eq!(waits(&*store, "ann").await, ["before"]);
    all_is_well(&*store).await;
}

/// What every call that writes answers.
async fn writes(store: &dyn MessageStore) -> [Result<(), StoreError>; 6] {
    let parcels = [
        parcel(2, users(["ann"]), "too much"),
        parcel(3, users(["ann", "zoe"]), "too much"),
    ];
    let confirmed = [(uid("ann"), PushId(9))];
    let parts = [b"too".to_vec(), b"much".to_vec()];
    [
        store.put(&parcels).await,
        store.confirm(&confirmed).await.map(drop),
        store.trim(&holder("ann"), tally(0, 0)).await.map(drop),
        store.expire(9, 9).await.map(drop),
        store.save_state(&parts).await,
        store.take_state().await.map(drop),
    ]
}

/// Each call ends within the store's timeout, give or take what a busy machine needs.
async fn are_unavailable_in_time(store: &dyn MessageStore) {
    let started = Instant::now();
    let answers = within("six answers", writes(store)).await;
    for answer in answers {
        let unavailable = matches!(answer, Err(StoreError::Unavailable(_)));
        assert!(unavailable, "{answer:?}");
    }
    assert!(started.elapsed() < 2 * 6 * OPTIONS.timeout);
}

/// From one parcel for ann on.
async fn all_is_well(store: &dyn MessageStore) {
    assert_eq!(tallies(store).await, [(holder("ann"), tally(1, 6))]);
    put(store, &[parcel(4, Waiting::Everyone, "after")]).await;
    assert_eq!(waits(store, "ann").await, ["before", "after"]);
    for answer in writes(store).await {
        answer.expect("it is well again");
    }
    let left = tallies(store).await;
    assert_eq!(left, [] as [(Holder, store::Tally); 0]);
}

/// A folder, and the url of a file in it.
fn sqlite() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    (folder, url)
}

async fn open(url: &str) -> Arc<dyn MessageStore> {
    let opened = within("the store to open", store::open(url, OPTIONS)).await;
    opened.expect("the store can be opened")
}
