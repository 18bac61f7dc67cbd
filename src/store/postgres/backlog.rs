//! The backlog in a PostgreSQL database. Owns the SQL for it that only PostgreSQL speaks; knows
//! neither hub nor wires.

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{Connection, Transaction};
use tokio::time::timeout_at;

use crate::push::PushId;
use crate::store::backlog_sql::{self, EVERYONE};
use crate::store::postgres::PostgresStore;
use crate::store::sql;
use crate::store::{BacklogStore, Held, Holder, Parcel, StoreError, Tally};
use crate::uid::Uid;

/// By how many. Numbers that are drawn and then not used are missed by nobody.
const DRAW: &str = "SELECT nextval('parcel_numbers') FROM generate_series(1, $1)";

/// One statement, so that all is kept or nothing. By parcel, time, content; and by holder, id,
/// parcel, bytes.
const PUT: &str = "
    WITH kept AS (
        INSERT INTO parcels (parcel, at, content)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
    )
    INSERT INTO backlog (holder, id, parcel, bytes)
    SELECT * FROM unnest($4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[])";

/// Held until the transaction ends.
const LOCK: &str = "LOCK TABLE removals IN EXCLUSIVE MODE";

/// By uids, ids.
const CONFIRM: &str = "
    DELETE FROM backlog AS b USING unnest($1::bytea[], $2::bigint[]) AS c (uid, id)
    WHERE b.holder = c.uid AND b.id <= c.id
    RETURNING b.parcel";

/// By parcels.
const CLEAR: &str = "
    DELETE FROM parcels AS p WHERE p.parcel = ANY($1)
        AND NOT EXISTS (SELECT FROM backlog AS b WHERE b.parcel = p.parcel)";

/// By uids, ids, [`EVERYONE`]. Whom nothing for everyone waits for needs no row; and for nobody it goes
/// back, since there is something between what was confirmed before and the id.
const MOVE_ON: &str = "
    INSERT INTO confirmed (uid, id)
    SELECT c.uid, c.id FROM unnest($1::bytea[], $2::bigint[]) AS c (uid, id)
    WHERE EXISTS (
        SELECT FROM backlog AS b WHERE b.holder = $3 AND b.id <= c.id
            AND b.id > coalesce((SELECT k.id FROM confirmed AS k WHERE k.uid = c.uid), 0)
    )
    ON CONFLICT (uid) DO UPDATE SET id = excluded.id";

/// By uids.
const TALLIES_OF: &str = "
    SELECT holder, count(*), CAST(sum(bytes) AS BIGINT) FROM backlog
    WHERE holder = ANY($1) GROUP BY holder";

/// By parts.
const SAVE: &str = "
    INSERT INTO state (part, bytes)
    SELECT part, bytes FROM unnest($1::bytea[]) WITH ORDINALITY AS saved (bytes, part)";

#[async_trait]
impl BacklogStore for PostgresStore {
    async fn put(&self, parcels: &[Parcel]) -> Result<(), StoreError> {
        let parcels = backlog_sql::awaited(parcels);
        if parcels.is_empty() {
            return Ok(());
        }
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, put(connection, &parcels)).await;
        lease.end(done)
    }

    async fn waiting(
        &self,
        uid: &Uid,
        after: PushId,
        not_before: u64,
        limit: u32,
    ) -> Result<Vec<Held>, StoreError> {
        let mut lease = self.connections.lend().await?;
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
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, confirm(connection, confirmed)).await;
        lease.end(done)
    }

    async fn trim(&self, holder: &Holder, keep: Tally) -> Result<(u64, Tally), StoreError> {
        let holder = backlog_sql::holder(holder);
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, trim(connection, holder, keep)).await;
        lease.end(done)
    }

    async fn expire(
        &self,
        not_before: u64,
        limit: u32,
    ) -> Result<Vec<(Holder, Tally)>, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, expire(connection, not_before, limit)).await;
        lease.end(done)
    }

    async fn tallies(&self) -> Result<Vec<(Holder, Tally)>, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_as(backlog_sql::TALLIES);
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.and_then(backlog_sql::tallies)))
    }

    async fn save_state(&self, parts: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, save_state(connection, parts)).await;
        lease.end(done)
    }

    async fn take_state(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_as(backlog_sql::TAKE_STATE);
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.map(backlog_sql::parts)))
    }
}

/// Begins to remove something; nobody else does so meanwhile.
async fn removal(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query(LOCK).execute(&mut *transaction).await?;
    Ok(transaction)
}

async fn put(connection: &mut PgConnection, parcels: &[&Parcel]) -> Result<(), sqlx::Error> {
    let drawing = sqlx::query_scalar(DRAW).bind(sql::count(parcels.len()));
    let numbers: Vec<i64> = drawing.fetch_all(&mut *connection).await?;
    let times: Vec<_> = parcels.iter().map(|p| sql::number(p.at)).collect();
    let contents: Vec<_> = parcels.iter().map(|p| p.content.as_bytes()).collect();
    let rows = backlog_sql::rows(parcels);
    let of_rows: Vec<_> = rows.iter().map(|row| numbers[row.parcel]).collect();
    let putting = sqlx::query(PUT)
        .bind(&numbers)
        .bind(times)
        .bind(contents)
        .bind(rows.iter().map(|row| row.holder).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(of_rows)
        .bind(rows.iter().map(|row| row.bytes).collect::<Vec<_>>());
    putting.execute(connection).await?;
    Ok(())
}

async fn confirm(
    connection: &mut PgConnection,
    confirmed: &[(Uid, PushId)],
) -> Result<Vec<Tally>, sqlx::Error> {
    let uids: Vec<_> = confirmed.iter().map(|(uid, _)| sql::uid(uid)).collect();
    let ids: Vec<_> = confirmed.iter().map(|(_, id)| sql::number(id.0)).collect();
    let mut transaction = removal(connection).await?;
    let removing = sqlx::query_scalar(CONFIRM).bind(&uids).bind(&ids);
    let removed: Vec<i64> = removing.fetch_all(&mut *transaction).await?;
    clear(&mut transaction, removed.into_iter()).await?;
    let moving = sqlx::query(MOVE_ON).bind(&uids).bind(&ids).bind(EVERYONE);
    moving.execute(&mut *transaction).await?;
    let counting = sqlx::query_as(TALLIES_OF).bind(&uids);
    let rows = counting.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(backlog_sql::tallies_of(confirmed, rows))
}

/// Removes those of `parcels` that nobody waits for any more.
async fn clear(
    connection: &mut PgConnection,
    parcels: impl Iterator<Item = i64>,
) -> Result<(), sqlx::Error> {
    let parcels = backlog_sql::parcels(parcels);
    if !parcels.is_empty() {
        let clearing = sqlx::query(CLEAR).bind(parcels);
        clearing.execute(connection).await?;
    }
    Ok(())
}

async fn trim(
    connection: &mut PgConnection,
    holder: &[u8],
    keep: Tally,
) -> Result<(u64, Tally), sqlx::Error> {
    let mut transaction = removal(connection).await?;
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
    clear(&mut transaction, parcels).await?;
    transaction.commit().await?;
    let gone = backlog_sql::sum(removed.iter().map(|(_, bytes)| *bytes));
    left -= gone;
    Ok((gone.messages, left))
}

async fn expire(
    connection: &mut PgConnection,
    not_before: u64,
    limit: u32,
) -> Result<Vec<(Holder, Tally)>, sqlx::Error> {
    let mut transaction = removal(connection).await?;
    let removing = sqlx::query_as(backlog_sql::EXPIRE)
        .bind(sql::number(not_before))
        .bind(i64::from(limit));
    let removed: Vec<backlog_sql::ExpiredRow> = removing.fetch_all(&mut *transaction).await?;
    let parcels = removed.iter().map(|(_, parcel, _)| *parcel);
    clear(&mut transaction, parcels).await?;
    let forgetting = sqlx::query(backlog_sql::FORGET)
        .bind(EVERYONE)
        .bind(i64::MAX)
        .bind(i64::from(limit) - sql::count(removed.len()));
    forgetting.execute(&mut *transaction).await?;
    transaction.commit().await?;
    backlog_sql::expired(&removed)
}

async fn save_state(connection: &mut PgConnection, parts: &[Vec<u8>]) -> Result<(), sqlx::Error> {
    let mut transaction = removal(connection).await?;
    let removing = sqlx::query(backlog_sql::UNSAVE);
    removing.execute(&mut *transaction).await?;
    sqlx::query(SAVE)
        .bind(parts)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
