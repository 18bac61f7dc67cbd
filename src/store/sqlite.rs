//! The store in a SQLite file: one connection writes, a few read beside it. Owns the SQL that only
//! SQLite speaks; knows neither hub nor wires.

mod backlog;
mod queries;
mod rows;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, timeout_at};

use crate::record::{Addressee, Conversation, Draft, Record, RecordId};
use crate::store::connections::{Connections, failed_commit, passes};
use crate::store::sql;
use crate::store::sqlite::rows::{Rows, Statement};
use crate::store::{MessageStore, Options, Retention, StoreError};
use crate::uid::Uid;

const MIGRATIONS: [(&str, &str); 2] = [
    (
        "records",
        include_str!("migrations/sqlite/0001_records.sql"),
    ),
    (
        "backlog",
        include_str!("migrations/sqlite/0002_backlog.sql"),
    ),
];

/// How many connections read.
const READERS: u32 = 4;

/// How long to wait before trying again to open a file that another process is opening.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
#[error("cannot open {path}")]
struct CannotOpen {
    path: PathBuf,
    #[source]
    source: sqlx::Error,
}

/// A store in a file.
pub(super) struct SqliteStore {
    path: PathBuf,
    /// One, since SQLite lets one write at a time.
    writer: Connections<SqliteConnectOptions>,
    readers: Connections<SqliteConnectOptions>,
    records: Rows,
    addressees: Rows,
    cursors: Rows,
    backlog: backlog::Statements,
    /// Rows that are not filled in yet, or more.
    unindexed: AtomicUsize,
}

impl SqliteStore {
    pub(super) async fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        // Absolute, so that no path looks like one of SQLite's special names or URIs.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let writer = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(options.timeout)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            // Names come in any order, so most of a batch's pages are at random places: keep them
            // at hand, and let more of them gather before they are copied to the file.
            .pragma("cache_size", "-32768")
            .pragma("wal_autocheckpoint", "4096")
            .disable_statement_logging();
        let deadline = Instant::now() + options.timeout;
        create(&path);
        prepare(&writer, deadline).await.map_err(|error| {
            let unavailable = passes(&error);
            let path = path.clone();
            let cannot_open = CannotOpen {
                path,
                source: error,
            };
            if unavailable {
                StoreError::Unavailable(cannot_open.into())
            } else {
                StoreError::Failed(cannot_open.into())
            }
        })?;
        let reader = writer
            .clone()
            .pragma("query_only", "ON")
            .pragma("cache_size", "-4096");
        Ok(Self {
            path,
            // What an earlier process left is looked for at the first message.
            unindexed: AtomicUsize::new(usize::MAX),
            writer: Connections::new(writer, 1, options.timeout),
            readers: Connections::new(reader, READERS, options.timeout),
            records: Rows::inserted("INSERT INTO records (id, at, sender, body)", 4, ""),
            addressees: Rows::inserted(
                "INSERT INTO addressees (record, kind, name, sender)",
                4,
                "",
            ),
            cursors: Rows::inserted(
                "INSERT INTO cursors (uid, record)",
                2,
                " ON CONFLICT (uid) DO UPDATE SET record = excluded.record \
                  WHERE cursors.record < excluded.record",
            ),
            backlog: backlog::Statements::new(),
        })
    }

    /// Keeps `drafts` and returns the number of the first.
    async fn keep(
        &self,
        connection: &mut SqliteConnection,
        drafts: &[Draft],
    ) -> Result<RecordId, sqlx::Error> {
        // Immediate: a transaction that began by reading could find its snapshot outdated.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let drawn = "UPDATE counters SET last = last + $1 RETURNING last - $1 + 1";
        let first: i64 = sqlx::query_scalar(drawn)
            .bind(sql::count(drafts.len()))
            .fetch_one(&mut *transaction)
            .await?;
        let mut unindexed = self.unindexed.load(Ordering::Relaxed);
        if unindexed > queries::MAX_UNINDEXED {
            let until = fill_in(&mut transaction).await?;
            // Until all is done the count is a guess that is not too small.
            let is_done = until.is_none_or(|until| until == first - 1);
            unindexed = if is_done { 0 } else { unindexed };
        }
        let records: Vec<_> = (first..).zip(drafts).collect();
        let bind = |statement: Statement<'static>, (id, draft): &(i64, &Draft)| {
            statement
                .bind(*id)
                .bind(sql::number(draft.at))
                .bind(sql::sender(draft))
                .bind(draft.body.as_bytes())
        };
        for statement in self.records.statements(&records, bind) {
            statement.execute(&mut *transaction).await?;
        }
        let addressees = sql::addressee_rows(drafts);
        let bind = |statement: Statement<'static>, row: &sql::AddresseeRow<'_>| {
            statement
                .bind(first + row.draft)
                .bind(row.kind)
                .bind(row.name)
                .bind(row.sender)
        };
        for statement in self.addressees.statements(&addressees, bind) {
            statement.execute(&mut *transaction).await?;
        }
        transaction.commit().await.map_err(failed_commit)?;
        let unindexed = unindexed.saturating_add(addressees.len());
        self.unindexed.store(unindexed, Ordering::Relaxed);
        Ok(sql::id(first))
    }

    async fn move_on(
        &self,
        connection: &mut SqliteConnection,
        cursors: &[(Uid, RecordId)],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let bind = |statement: Statement<'static>, (uid, id): &(Uid, RecordId)| {
            statement.bind(sql::uid(uid)).bind(sql::number(id.0))
        };
        for statement in self.cursors.statements(cursors, bind) {
            statement.execute(&mut *transaction).await?;
        }
        transaction.commit().await.map_err(failed_commit)
    }
}

#[async_trait]
impl MessageStore for SqliteStore {
    async fn append(&self, drafts: &[Draft]) -> Result<RecordId, StoreError> {
        if drafts.is_empty() {
            let RecordId(newest) = self.newest().await?;
            return Ok(RecordId(newest + 1));
        }
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, self.keep(connection, drafts)).await;
        lease.end(done)
    }

    async fn history(
        &self,
        of: &Conversation,
        before: Option<RecordId>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let mut lease = self.readers.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = match of {
            Conversation::Between(one, other) => sqlx::query_as(queries::BETWEEN)
                .bind(sql::uid(one))
                .bind(sql::uid(other)),
            Conversation::Group(group) => sqlx::query_as(queries::BEFORE)
                .bind(sql::GROUP)
                .bind(sql::group(group)),
        };
        let query = query.bind(sql::before(before)).bind(limit);
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.and_then(sql::records)))
    }

    async fn after(
        &self,
        addressee: &Addressee,
        since: RecordId,
        until: RecordId,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let mut lease = self.readers.lend().await?;
        let (connection, deadline) = lease.parts();
        let (kind, name) = sql::key(addressee);
        let query = sqlx::query_as(queries::AFTER)
            .bind(kind)
            .bind(name)
            .bind(sql::number(since.0))
            .bind(sql::number(until.0))
            .bind(limit);
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.and_then(sql::records)))
    }

    async fn newest(&self) -> Result<RecordId, StoreError> {
        let mut lease = self.readers.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_scalar(sql::NEWEST);
        let done = timeout_at(deadline, query.fetch_one(connection)).await;
        lease.end(done).map(sql::id)
    }

    async fn cursor(&self, uid: &Uid) -> Result<Option<RecordId>, StoreError> {
        let mut lease = self.readers.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_scalar(sql::CURSOR).bind(sql::uid(uid));
        let done = timeout_at(deadline, query.fetch_optional(connection)).await;
        lease.end(done).map(|found| found.map(sql::id))
    }

    async fn move_cursors(&self, cursors: &[(Uid, RecordId)]) -> Result<(), StoreError> {
        if cursors.is_empty() {
            return Ok(());
        }
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, self.move_on(connection, cursors)).await;
        lease.end(done)
    }

    async fn prune(&self, retention: Retention, now: u64, limit: u32) -> Result<u32, StoreError> {
        let deadline = self.readers.deadline();
        // Looked for beside the writer: most of the time there is nothing to remove.
        let mut lease = self.readers.lend_until(deadline).await?;
        let looking = oldest(lease.parts().0, limit);
        let done = timeout_at(deadline, looking).await;
        let (newest, oldest) = lease.end(done)?;
        let Some(expired) = sql::expired(&oldest, newest, retention, now) else {
            return Ok(0);
        };
        let mut lease = self.writer.lend_until(deadline).await?;
        let removing = remove(lease.parts().0, expired.last);
        let done = timeout_at(deadline, removing).await;
        lease.end(done).map(|()| expired.count)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.path).finish()
    }
}

/// Creates the file when it is missing, for nobody else to read; SQLite would ask nothing but the umask. What
/// SQLite puts beside it gets its mode. One that is there keeps its own, and is not even opened: to close
/// it would undo the locks that this process has on it.
fn create(path: &Path) {
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    // What is wrong with the path SQLite tells.
    file.open(path).ok();
}

/// Creates the file when it is missing, and its tables.
async fn prepare(options: &SqliteConnectOptions, deadline: Instant) -> Result<(), sqlx::Error> {
    let options = options
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    loop {
        match migrate(&options).await {
            // Two that turn the same new file to WAL stand in each other's way, and SQLite's own
            // waiting does not cover that.
            Err(error) if passes(&error) && Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn migrate(options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    // sqlx does not lock SQLite files; this transaction around its own does.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let migrator = sql::migrator(&MIGRATIONS);
    migrator.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    connection.close().await
}

/// Fills in some rows; up to which record, if there were any.
async fn fill_in(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let until = sqlx::query_scalar(queries::FILL_IN_UNTIL).bind(sql::count(queries::FILL_IN_ROWS));
    let until: Option<i64> = until.fetch_one(&mut *connection).await?;
    if let Some(until) = until {
        for statement in queries::FILL_IN {
            let query = sqlx::query(statement).bind(until);
            query.execute(&mut *connection).await?;
        }
    }
    Ok(until)
}

/// The newest number, and the oldest records by id and time.
async fn oldest(
    connection: &mut SqliteConnection,
    limit: u32,
) -> Result<(RecordId, Vec<sql::OldRow>), sqlx::Error> {
    let newest = sqlx::query_scalar(sql::NEWEST);
    let newest = newest.fetch_one(&mut *connection).await?;
    let oldest = sqlx::query_as(sql::OLDEST).bind(limit);
    Ok((sql::id(newest), oldest.fetch_all(connection).await?))
}

/// Removes all records up to `last`.
async fn remove(connection: &mut SqliteConnection, last: i64) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for statement in queries::REMOVE {
        let query = sqlx::query(statement).bind(last);
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await.map_err(failed_commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_writer_waits_for_the_disk_at_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let timeout = Duration::from_secs(5);
        let path = dir.path().join("store.db");
        let store = SqliteStore::open(&path, Options { timeout }).await.unwrap();
        let mut lease = store.writer.lend().await.unwrap();
        let setting = sqlx::query_scalar("PRAGMA synchronous");
        let setting: i64 = setting.fetch_one(lease.parts().0).await.unwrap();
        // 2 is FULL. NORMAL would lose what was last kept when the power goes.
        assert_eq!(setting, 2);
    }
}
