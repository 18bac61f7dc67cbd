//! The store in a PostgreSQL database. Owns the SQL that only
//! PostgreSQL speaks; knows neither hub nor wires.

mod backlog;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{timeout, timeout_at};

use crate::record::{Addressee, Conversation, Draft, Record, RecordId};
use crate::store::connections::{Connections, store_error, too_late};
use crate::store::sql;
use crate::store::{MessageStore, Options, Retention, StoreError};
use crate::uid::Uid;

/// By kind, name, before, limit.
const BEFORE: &str = "
    SELECT r.id, r.at, r.sender, r.body FROM addressees a JOIN records r ON r.id = a.record
    WHERE a.kind = $1 AND a.name = $2 AND a.record < $3
    ORDER BY a.record DESC LIMIT $4";

/// By one, other, before, limit. The two may be the same, so the union must not count twice.
const BETWEEN: &str = "
    SELECT id, at, sender, body FROM records WHERE id IN (
        SELECT record FROM (
            SELECT record FROM addressees
            WHERE kind = 0 AND name = $1 AND sender = $2 AND record < $3
            ORDER BY record DESC LIMIT $4
        ) AS one
        UNION
        SELECT record FROM (
            SELECT record FROM addressees
            WHERE kind = 0 AND name = $2 AND sender = $1 AND record < $3
            ORDER BY record DESC LIMIT $4
        ) AS other
    ) ORDER BY id DESC LIMIT $4";

/// By kind, name, since, until, limit.
const AFTER: &str = "
    SELECT r.id, r.at, r.sender, r.body FROM addressees a JOIN records r ON r.id = a.record
    WHERE a.kind = $1 AND a.name = $2 AND a.record > $3 AND a.record <= $4
    ORDER BY a.record LIMIT $5";

const MIGRATIONS: [(&str, &str); 2] = [
    (
        "records",
        include_str!("migrations/postgres/0001_records.sql"),
    ),
    (
        "backlog",
        include_str!("migrations/postgres/0002_backlog.sql"),
    ),
];

/// How many connections one server opens at most.
const CONNECTIONS: u32 = 8;

/// One statement, so that keeping costs one round trip, and the lock on the counter is held no
/// longer than the server itself needs.
const APPEND: &str = "
    WITH drawn AS (
        UPDATE counters SET last = last + $1 RETURNING last - $1 + 1 AS first
    ), kept AS (
        INSERT INTO records (id, at, sender, body)
        SELECT first + position - 1, at, sender, body
        FROM drawn, unnest($2::bigint[], $3::bytea[], $4::bytea[])
            WITH ORDINALITY AS draft (at, sender, body, position)
    ), addressed AS (
        INSERT INTO addressees (record, kind, name, sender)
        SELECT first + draft, kind, name, sender
        FROM drawn, unnest($5::bigint[], $6::smallint[], $7::bytea[], $8::bytea[])
            AS addressee (draft, kind, name, sender)
    )
    SELECT first FROM drawn";

/// In the order of uids, so that two servers cannot lock each other out.
const MOVE_CURSORS: &str = "
    INSERT INTO cursors (uid, record)
    SELECT uid, record FROM unnest($1::bytea[], $2::bigint[]) AS moved (uid, record) ORDER BY uid
    ON CONFLICT (uid) DO UPDATE SET record = excluded.record
        WHERE cursors.record < excluded.record";

const REMOVE: &str = "
    WITH forgotten AS (DELETE FROM addressees WHERE record <= $1)
    DELETE FROM records WHERE id <= $1";

/// A store in a PostgreSQL database.
pub(super) struct PostgresStore {
    connections: Connections<PgConnectOptions>,
}

impl PostgresStore {
    pub(super) async fn open(
        server: PgConnectOptions,
        options: Options,
    ) -> Result<Self, StoreError> {
        let server = server.disable_statement_logging();
        let server = match server.get_application_name() {
            None => server.application_name(env!("CARGO_PKG_NAME")),
            Some(_) => server,
        };
        migrate(&server, options.timeout).await?;
        let milliseconds = options.timeout.as_millis().to_string();
        let server = server.options([
            // The server gives up what nobody waits for any more, and with it the locks.
            ("statement_timeout", milliseconds.as_str()),
            ("idle_in_transaction_session_timeout", milliseconds.as_str()),
            // The others report conflicts that these statements could never have.
            ("default_transaction_isolation", "read committed"),
        ]);
        Ok(Self {
            connections: Connections::new(server, CONNECTIONS, options.timeout),
        })
    }
}

#[async_trait]
impl MessageStore for PostgresStore {
    async fn append(&self, drafts: &[Draft]) -> Result<RecordId, StoreError> {
        if drafts.is_empty() {
            let RecordId(newest) = self.newest().await?;
            return Ok(RecordId(newest + 1));
        }
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, keep(connection, drafts)).await;
        lease.end(done)
    }

    async fn history(
        &self,
        of: &Conversation,
        before: Option<RecordId>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = match of {
            Conversation::Between(one, other) => sqlx::query_as(BETWEEN)
                .bind(sql::uid(one))
                .bind(sql::uid(other)),
            Conversation::Group(group) => sqlx::query_as(BEFORE)
                .bind(sql::GROUP)
                .bind(sql::group(group)),
        };
        let query = query.bind(sql::before(before)).bind(i64::from(limit));
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
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let (kind, name) = sql::key(addressee);
        let query = sqlx::query_as(AFTER)
            .bind(kind)
            .bind(name)
            .bind(sql::number(since.0))
            .bind(sql::number(until.0))
            .bind(i64::from(limit));
        let done = timeout_at(deadline, query.fetch_all(connection)).await;
        lease.end(done.map(|rows| rows.and_then(sql::records)))
    }

    async fn newest(&self) -> Result<RecordId, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_scalar(sql::NEWEST);
        let done = timeout_at(deadline, query.fetch_one(connection)).await;
        lease.end(done).map(sql::id)
    }

    async fn cursor(&self, uid: &Uid) -> Result<Option<RecordId>, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query_scalar(sql::CURSOR).bind(sql::uid(uid));
        let done = timeout_at(deadline, query.fetch_optional(connection)).await;
        lease.end(done).map(|found| found.map(sql::id))
    }

    async fn move_cursors(&self, cursors: &[(Uid, RecordId)]) -> Result<(), StoreError> {
        let uids: Vec<_> = cursors.iter().map(|(uid, _)| sql::uid(uid)).collect();
        let ids: Vec<_> = cursors.iter().map(|(_, id)| sql::number(id.0)).collect();
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let query = sqlx::query(MOVE_CURSORS).bind(uids).bind(ids);
        let done = timeout_at(deadline, query.execute(connection)).await;
        lease.end(done).map(drop)
    }

    async fn prune(&self, retention: Retention, now: u64, limit: u32) -> Result<u32, StoreError> {
        let mut lease = self.connections.lend().await?;
        let (connection, deadline) = lease.parts();
        let done = timeout_at(deadline, remove(connection, retention, now, limit)).await;
        lease.end(done)
    }

    async fn close(&self) {
        self.connections.close().await;
    }
}

/// Without the options, which hold the password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

/// Brings the tables up to date. Only connecting has a bound: on many records the rest may take
/// long, and another server that is at it is waited for.
async fn migrate(server: &PgConnectOptions, bound: Duration) -> Result<(), StoreError> {
    let connecting = timeout(bound, server.connect()).await;
    let connected = connecting.map_err(|_| too_late(bound))?;
    let mut connection = connected.map_err(store_error)?;
    let migrator = sql::migrator(&MIGRATIONS);
    let migrated = migrator.run_direct(None, &mut connection, false).await;
    migrated.map_err(|error| store_error(error.into()))?;
    connection.close().await.map_err(store_error)
}

/// Keeps `drafts` and returns the number of the first.
async fn keep(connection: &mut PgConnection, drafts: &[Draft]) -> Result<RecordId, sqlx::Error> {
    let times: Vec<_> = drafts.iter().map(|draft| sql::number(draft.at)).collect();
    let senders: Vec<_> = drafts.iter().map(sql::sender).collect();
    let bodies: Vec<_> = drafts.iter().map(|draft| draft.body.as_bytes()).collect();
    let rows = sql::addressee_rows(drafts);
    let first: i64 = sqlx::query_scalar(APPEND)
        .bind(sql::count(drafts.len()))
        .bind(times)
        .bind(senders)
        .bind(bodies)
        .bind(rows.iter().map(|row| row.draft).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.kind).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.name).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.sender).collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    Ok(sql::id(first))
}

/// Removes what `retention` does not keep, and says how many records that were.
async fn remove(
    connection: &mut PgConnection,
    retention: Retention,
    now: u64,
    limit: u32,
) -> Result<u32, sqlx::Error> {
    let newest = sqlx::query_scalar(sql::NEWEST);
    let newest = sql::id(newest.fetch_one(&mut *connection).await?);
    let oldest = sqlx::query_as(sql::OLDEST).bind(i64::from(limit));
    let oldest: Vec<sql::OldRow> = oldest.fetch_all(&mut *connection).await?;
    let Some(expired) = sql::expired(&oldest, newest, retention, now) else {
        return Ok(0);
    };
    let removing = sqlx::query(REMOVE).bind(expired.last);
    removing.execute(connection).await?;
    Ok(expired.count)
}
