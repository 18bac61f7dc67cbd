//! The store in trouble: no place, no permission, locked, stopped, or silent; and after it.

use std::error::Error;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile::record::RecordId;
use campanile::store::{self, MessageStore, Options, StoreError};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;

use crate::harness::postgres::Postgres;
use crate::harness::records::{draft, user};
use crate::harness::within;

/// Short, since most of these tests wait for it to run out.
const OPTIONS: Options = Options {
    timeout: Duration::from_secs(1),
};

#[tokio::test]
async fn a_url_that_names_no_store_is_refused_without_repeating_it() {
    let urls = [
        "",
        "mysql://ann:s3cret@db/app",
        "s3cret",
        "sqlite:",
        "sqlite::memory:",
        "postgres://ann:s3cret@db:port/app",
        "postgresql://ann:s3cret@db/app?sslmode=s0me",
    ];
    for url in urls {
        let error = store::open(url, OPTIONS).await.expect_err(url);
        assert!(matches!(error, StoreError::Failed(_)), "{url}: {error:?}");
        assert!(!told(&error).contains("s3cret"), "{}", told(&error));
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_named() {
    // Nobody may make files in these, not even root.
    for path in ["/proc/self/store.db", "/nowhere/at/all/store.db"] {
        let opened = store::open(&format!("sqlite:{path}"), OPTIONS).await;
        let error = opened.expect_err("there is no place for it");
        assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
        assert!(told(&error).contains(path), "{}", told(&error));
    }
}

#[tokio::test]
async fn a_new_file_is_for_nobody_else_to_read_and_an_old_one_keeps_its_mode() {
    let mode = |path: &str| {
        let about = std::fs::metadata(path);
        about.expect("the file is there").permissions().mode() & 0o777
    };
    let (_folder, url) = sqlite();
    let path = url.strip_prefix("sqlite:").expect("it is a file");
    for expected in [0o600, 0o640] {
        let store = open(&url).await;
        append(&store).await.expect("it is kept");
        for file in [path, &format!("{path}-wal"), &format!("{path}-shm")] {
            assert_eq!(mode(file), expected, "{file}");
        }
        store.close().await;
        let shared = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(path, shared).expect("it is ours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_may_be_opened_by_many_at_once() {
    for _ in 0..20 {
        let (_folder, url) = sqlite();
        let opening = || {
            let url = url.clone();
            tokio::spawn(async move { open(&url).await })
        };
        let opening: Vec<_> = [(); 6].map(|()| opening()).into();
        for (opened, id) in opening.into_iter().zip(1..) {
            let store = opened.await.expect("every one of them opens it");
            let kept = append(&store).await;
            assert_eq!(kept.expect("it is kept"), RecordId(id));
        }
    }
}

#[tokio::test]
async fn a_file_that_refuses_to_write_is_used_again_once_it_does_not() {
    let (_folder, url) = sqlite();
    let store = open(&url).await;
    assert_eq!(append(&store).await.expect("it is kept"), RecordId(1));
    // This ends the transaction from within, as a full disk does.
    let mut other = SqliteConnection::connect(&url).await.expect("it is there");
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON addressees
        BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    other.execute(trigger).await.expect("it takes triggers");
    for _ in 0..3 {
        let error = append(&store).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
        assert!(told(&error).contains("the disk is full"));
    }
    let newest = store.newest().await;
    assert_eq!(newest.expect("it can still be read"), RecordId(1));
    let removal = other.execute("DROP TRIGGER full").await;
    removal.expect("it is there");
    assert_eq!(append(&store).await.expect("it is kept"), RecordId(2));
}

#[tokio::test]
async fn a_file_that_another_writes_is_unavailable_until_it_ends() {
    let (_folder, url) = sqlite();
    let store = open(&url).await;
    append(&store).await.expect("it is kept");
    let mut other = SqliteConnection::connect(&url).await.expect("it is there");
    let lock = other.begin_with("BEGIN IMMEDIATE").await;
    let lock = lock.expect("nobody else has it");
    is_unavailable_in_time(&store).await;
    lock.rollback().await.expect("it is still there");
    append(&store).await.expect("it is kept");
}

#[tokio::test]
async fn a_server_that_stopped_is_noticed_and_used_again_when_it_is_back() {
    let mut server = Postgres::start().await;
    let store = open(&server.url()).await;
    for _ in 0..2 {
        let before = append(&store).await.expect("it is kept");
        server.stop();
        is_unavailable_in_time(&store).await;
        is_unavailable_in_time(&store).await;
        server.restart().await;
        let after = append(&store).await.expect("it is kept");
        assert_eq!(after, RecordId(before.0 + 1));
    }
}

#[tokio::test]
async fn a_table_that_another_locks_is_unavailable_until_it_ends() {
    let server = Postgres::start().await;
    let store = open(&server.url()).await;
    let before = append(&store).await.expect("it is kept");
    let mut other = server.connect().await;
    let mut lock = other.begin().await.expect("it takes transactions");
    let locked = lock.execute("LOCK TABLE counters").await;
    locked.expect("nobody else has it");
    is_unavailable_in_time(&store).await;
    lock.rollback().await.expect("it is still there");
    // What was given up is not done later.
    let after = append(&store).await.expect("it is kept");
    assert_eq!(after, RecordId(before.0 + 1));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unavailable() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it is bound");
    let url = format!("postgres://ann:s3cret@{address}/app");
    let started = Instant::now();
    let opened = within("the end of it", store::open(&url, OPTIONS)).await;
    let error = opened.expect_err("nobody answers");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(started.elapsed() < 2 * OPTIONS.timeout);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let opened = store::open(&format!("postgres://ann:s3cret@{address}/app"), OPTIONS).await;
    let error = opened.expect_err("nobody listens");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(told(&error).contains("refused"), "{}", told(&error));
    assert!(!format!("{error:?} {}", told(&error)).contains("s3cret"));
}

#[tokio::test]
async fn a_store_does_not_show_its_password() {
    let server = Postgres::start().await;
    let store = open(&server.url_with("s3cret")).await;
    assert!(!format!("{store:?}").contains("s3cret"), "{store:?}");
    let nowhere = server.url_with("s3cret").replace("/postgres?", "/nowhere?");
    let error = store::open(&nowhere, OPTIONS).await.expect_err("no such");
    assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
    assert!(told(&error).contains("nowhere"), "{}", told(&error));
    assert!(!format!("{error:?} {}", told(&error)).contains("s3cret"));
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

async fn append(store: &Arc<dyn MessageStore>) -> Result<RecordId, StoreError> {
    let drafts = [draft("ann", [user("bob")], "hi")];
    within("an answer", store.append(&drafts)).await
}

/// A call ends within the store's timeout, give or take what a busy machine needs.
async fn is_unavailable_in_time(store: &Arc<dyn MessageStore>) {
    let started = Instant::now();
    let error = append(store).await.expect_err("it cannot be kept");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(started.elapsed() < 2 * OPTIONS.timeout);
}

/// An error with its causes, as a log has them.
fn told(error: &StoreError) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
