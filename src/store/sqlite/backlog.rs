//! The backlog in a SQLite file. Owns the SQL for it that only SQLite speaks; knows neither hub nor
//! wires.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, FromRow, Row};
use tokio::time::timeout_at;

use crate::push::PushId;
use crate::store::backlog_sql::{self, EVERYONE};
use crate::store::connections::failed_commit;
use crate::store::sql;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::rows::{Rows, Statement};
use crate::store::{BacklogStore, Held, Holder, Parcel, StoreError, Tally};
use crate::uid::Uid;

/// A number that no parcel has. It may be one that was there before: nothing refers to that.
const UNUSED: &str = "SELECT coalesce(max(parcel), 0) + 1 FROM parcels";

/// The statements that take many rows.
pub(super) struct Statements {
    parcels: Rows,
    backlog: Rows,
    confirm: Rows,
    clear: Rows,
    move_on: Rows,
    tallies: Rows,
    state: Rows,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            parcels: Rows::inserted("INSERT INTO parcels (parcel, at, content)", 3, ""),
            backlog: Rows::inserted("INSERT INTO backlog (holder, id, parcel, bytes)", 4, ""),
            confirm: Rows::new(2, confirm),
            clear: Rows::new(1, clear),
            move_on: Rows::new(2, move_on),
            tallies: Rows::new(1, tallies),
            state: Rows::inserted("INSERT INTO state (part, bytes)", 2, ""),
        }
    }

    async fn put(
        &self,
        connection: &mut SqliteConnection,
        parcels: &[&Parcel],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let first: i64 = sqlx::query_scalar(UNUSED)
            .fetch_one(&mut *transaction)
            .await?;
        let numbered: Vec<_> = (first..).zip(parcels.iter().copied()).collect();
        let bind = |statement: Statement<'static>, (number, parcel): &(i64, &Parcel)| {
            statement
                .bind(*number)
                .bind(sql::number(parcel.at))
                .bind(parcel.content.as_bytes())
        };
        for statement in self.parcels.statements(&numbered, bind) {
            statement.execute(&mut *transaction).await?;
        }
        let rows = backlog_sql::rows(parcels);
        let bind = |statement: Statement<'static>, row: &backlog_sql::BacklogRow<'_>| {
            statement
                .bind(row.holder)
                .bind(row.id)
                .bind(first + sql::count(row.parcel))
                .bind(row.bytes)
        };
        for statement in self.backlog.statements(&rows, bind) {
            statement.execute(&mut *transaction).await?;
        }
        transaction.commit().await.map_err(failed_commit)
    }

    async fn confirm(
        &self,
        connection: &mut SqliteConnection,
        confirmed: &[(Uid, PushId)],
    ) -> Result<Vec<Tally>, sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let bind = |statement: Statement<'static>, (uid, id): &(Uid, PushId)| {
            statement.bind(sql::uid(uid)).bind(sql::number(id.0))
        };
        let mut left = Vec::new();
        for statement in self.confirm.statements(confirmed, bind) {
            let parcel = |row: SqliteRow| row.try_get::<i64, _>(0);
            let removed = statement.try_map(parcel);
            left.extend(removed.fetch_all(&mut *transaction).await?);
        }
        self.clear(&mut transaction, left.into_iter()).await?;
        for statement in self.move_on.statements(confirmed, bind) {
            statement.execute(&mut *transaction).await?;
        }
        let bind =
            |statement: Statement<'static>, (uid, _): &(Uid, PushId)| statement.bind(sql::uid(uid));
        let mut rows: Vec<backlog_sql::TallyRow> = Vec::new();
        for statement in self.tallies.statements(confirmed, bind) {
            let counted = statement.try_map(|row| FromRow::from_row(&row));
            rows.extend(counted.fetch_all(&mut *transaction).await?);
        }
        transaction.commit().await.map_err(failed_commit)?;
        Ok(backlog_sql::tallies_of(confirmed, rows))
    }

    /// Removes those of `parcels` that nobody waits for any more.
    async fn clear(
        &self,
        connection: &mut SqliteConnection,
        parcels: impl Iterator<Item = i64>,
    ) -> Result<(), sqlx::Error> {
        let parcels = backlog_sql::parcels(parcels);
        let bind = |statement: Statement<'static>, parcel: &i64| statement.bind(*parcel);
        for statement in self.clear.statements(&parcels, bind) {
            statement.execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn trim(
        &self,
        connection: &mut SqliteConnection,
        holder: &[u8],
        keep: Tally,
    ) -> Result<(u64, Tally), sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let counting = sqlx::query_as(backlog_sql::TALLY).bind(holder);
        let mut left = backlog_sql::tally(counting.fetch_one(&mut *transaction).await?);
        let mut trim = backlog_sql::Trim::new(left, keep);
        while trim.piece() > 0 {
            let oldest = sqlx::query_as(backlog_sql::OLDEST)
                .bind(holder)
                .bind(trim.last)
                .bind(trim.piece());
            trim.look_at(&oldest.fetch_all(&mut *transaction).await?);
        }
        let removing = sqlx::query_as(backlog_sql::REMOVE)
            .bind(holder)
            .bind(trim.last);
        let removed: Vec<(i64, i64)> = removing.fetch_all(&mut *transaction).await?;
        let parcels = removed.iter().map(|(parcel, _)| *parcel);
        self.clear(&mut transaction, parcels).await?;
        transaction.commit().await.map_err(failed_commit)?;
        let gone = backlog_sql::sum(removed.iter().map(|(_, bytes)| *bytes));
        left -= gone;
        Ok((gone.messages, left))
    }

    async fn expire(
        &self,
        connection: &mut SqliteConnection,
        not_before: u64,
        limit: u32,
    ) -> Result<Vec<(Holder, Tally)>, sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let removing = sqlx::query_as(backlog_sql::EXPIRE)
            .bind(sql::number(not_before))
            .bind(i64::from(limit));
        let removed: Vec<backlog_sql::ExpiredRow> = removing.fetch_all(&mut *transaction).await?;
        let parcels = removed.iter().map(|(_, parcel, _)| *parcel);
        self.clear(&mut transaction, parcels).await?;
        let forgetting = sqlx::query(backlog_sql::FORGET)
            .bind(EVERYONE)
            .bind(i64::MAX)
            .bind(i64::from(limit) - sql::count(removed.len()));
        forgetting.execute(&mut *transaction).await?;
        transaction.commit().await.map_err(failed_commit)?;
        backlog_sql::expired(&removed)
    }

    async fn save_state(
        &self,
        connection: &mut SqliteConnection,
        parts: &[Vec<u8>],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let removing = sqlx::query(backlog_sql::UNSAVE);
        removing.execute(&mut *transaction).await?;
        let numbered: Vec<_> = (0_i64..).zip(parts).collect();
        let bind = |statement: Statement<'static>, (part, bytes): &(i64, &Vec<u8>)| {
            statement.bind(*part).bind(bytes.as_slice())
        };
        for statement in self.state.statements(&numbered, bind) {
            statement.execute(&mut *transaction).await?;
        }
        transaction.commit().await.map_err(failed_commit)
    }
}

#[async_trait]
impl BacklogStore for SqliteStore {
    async fn put(&self, parcels: &[Parcel]) -> Result<(), StoreError> {
        let parcels = backlog_sql::awaited(parcels);
        if parcels.is_empty() {
            return Ok(());
        }
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, self.backlog.put(connection, &parcels)).await;
        lease.end(done)
    }

    async fn waiting(
        &self,
        uid: &Uid,
        after: PushId,
        not_before: u64,
        limit: u32,
    ) -> Result<Vec<Held>, StoreError> {
        let mut lease = self.readers.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_as(backlog_sql::WAITING)
            .bind(sql::uid(uid))
            .bind(sql::number(after.0))
            .bind(sql::number(not_before))
            .bind(i64::from(limit))
            .bind(EVERYONE);
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.and_then(backlog_sql::held)))
    }

    async fn confirm(&self, confirmed: &[(Uid, PushId)]) -> Result<Vec<Tally>, StoreError> {
        if confirmed.is_empty() {
            return Ok(Vec::new());
        }
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, self.backlog.confirm(connection, confirmed)).await;
        lease.end(done)
    }

    async fn trim(&self, holder: &Holder, keep: Tally) -> Result<(u64, Tally), StoreError> {
        let holder = backlog_sql::holder(holder);
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, self.backlog.trim(connection, holder, keep)).await;
        lease.end(done)
    }

    async fn expire(
        &self,
        not_before: u64,
        limit: u32,
    ) -> Result<Vec<(Holder, Tally)>, StoreError> {
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let expiring = self.backlog.expire(connection, not_before, limit);
        let done = timeout_at(deadline, expiring).await;
        lease.end(done)
    }

    async fn tallies(&self) -> Result<Vec<(Holder, Tally)>, StoreError> {
        let mut lease = self.readers.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_as(backlog_sql::TALLIES);
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.and_then(backlog_sql::tallies)))
    }

    async fn save_state(&self, parts: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, self.backlog.save_state(connection, parts)).await;
        lease.end(done)
    }

    async fn take_state(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut lease = self.writer.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, take_state(connection)).await;
        lease.end(done)
    }
}

async fn take_state(connection: &mut SqliteConnection) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let taking = sqlx::query_as(backlog_sql::TAKE_STATE);
    let rows = taking.fetch_all(&mut *transaction).await?;
    transaction.commit().await.map_err(failed_commit)?;
    Ok(backlog_sql::parts(rows))
}

/// Of uid and id. The cross joins here and below keep SQLite from beginning with the larger table.
fn confirm(values: &str) -> String {
    format!(
        "DELETE FROM backlog WHERE (holder, id, parcel) IN (
            SELECT b.holder, b.id, b.parcel FROM ({values}) AS c CROSS JOIN backlog AS b
            WHERE b.holder = c.column1 AND b.id <= c.column2
        ) RETURNING parcel"
    )
}

/// Of parcels.
fn clear(values: &str) -> String {
    format!(
        "DELETE FROM parcels WHERE parcel IN ({values})
            AND NOT EXISTS (SELECT 1 FROM backlog AS b WHERE b.parcel = parcels.parcel)"
    )
}

/// Of uid and id. Whom nothing for everyone waits for needs no row; and for nobody it goes back, since
/// there is something between what was confirmed before and the id.
fn move_on(values: &str) -> String {
    format!(
        "INSERT INTO confirmed (uid, id) SELECT c.column1, c.column2 FROM ({values}) AS c
        WHERE EXISTS (
            SELECT 1 FROM backlog AS b WHERE b.holder = x'' AND b.id <= c.column2
                AND b.id > coalesce((SELECT id FROM confirmed WHERE uid = c.column1), 0)
        )
        ON CONFLICT (uid) DO UPDATE SET id = excluded.id"
    )
}

/// Of uids.
fn tallies(values: &str) -> String {
    format!(
        "SELECT holder, count(*), CAST(sum(bytes) AS BIGINT) FROM backlog
        WHERE holder IN ({values}) GROUP BY holder"
    )
}
