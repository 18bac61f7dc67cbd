//! A few connections to one database, each lent to one call at a time, and what becomes of a call
//! that goes wrong. Knows no SQL.
//!
//! sqlx has a pool; this is smaller and keeps a stricter promise. A server that is away is
//! reported at once and with the cause. A connection on which anything went wrong, or whose
//! caller gave up, is never used again, so that nothing half done is left in it. Nothing happens
//! behind the callers, so every call ends in time, whatever the network does.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use crate::store::StoreError;

/// A connection that has rested for longer is asked whether it still lives before it is used.
const RESTED: Duration = Duration::from_secs(1);

/// SQLite's result codes, without their extensions.
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_IOERR: i32 = 10;

/// Why a call failed, where the database has not said so itself.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {0:?}")]
    TooLate(Duration),
    #[error("the store is closed")]
    Closed,
}

/// At most so many connections to one database.
pub(super) struct Connections<O: ConnectOptions<Connection: Sized>> {
    options: O,
    timeout: Duration,
    most: u32,
    free: Semaphore,
    idle: Mutex<Vec<Idle<O::Connection>>>,
    closed: AtomicBool,
}

/// A connection that nobody uses.
struct Idle<C> {
    connection: C,
    since: Instant,
}

/// A connection that one call uses. Dropped, it takes the connection with it.
pub(super) struct Lease<'a, O: ConnectOptions<Connection: Sized>> {
    connection: O::Connection,
    deadline: Instant,
    home: &'a Connections<O>,
    _permit: SemaphorePermit<'a>,
}

impl<O: ConnectOptions<Connection: Sized>> Connections<O> {
    /// Up to `most` connections, opened when they are needed. A call may take `timeout`.
    pub(super) fn new(options: O, most: u32, timeout: Duration) -> Self {
        Self {
            options,
            timeout,
            most,
            free: Semaphore::new(most as usize),
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// When a call that starts now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Lends a connection for a call that starts now.
    pub(super) async fn lend(&self) -> Result<Lease<'_, O>, StoreError> {
        self.lend_until(self.deadline()).await
    }

    /// Lends a connection for a call that must have ended at `deadline`.
    pub(super) async fn lend_until(&self, deadline: Instant) -> Result<Lease<'_, O>, StoreError> {
        let lending = async {
            let permit = self.free.acquire().await.expect("it is never closed");
            if self.closed.load(Ordering::SeqCst) {
                return Err(StoreError::Failed(CallError::Closed.into()));
            }
            let connection = self.connection().await.map_err(store_error)?;
            Ok((permit, connection))
        };
        let (permit, connection) = timeout_at(deadline, lending)
            .await
            .map_err(|_| too_late(self.timeout))??;
        Ok(Lease {
            connection,
            deadline,
            home: self,
            _permit: permit,
        })
    }

    /// One that lives: the one used last, or else a new one.
    async fn connection(&self) -> Result<O::Connection, sqlx::Error> {
        if let Some(mut idle) = self.pop() {
            if idle.since.elapsed() < RESTED {
                return Ok(idle.connection);
            }
            // A firewall may have forgotten it; then no answer comes, and time must be left.
            let answer = timeout(self.timeout / 4, idle.connection.ping()).await;
            if let Ok(Ok(())) = answer {
                return Ok(idle.connection);
            }
            // What cut this one off has most likely cut off the others too.
            while self.pop().is_some() {}
        }
        self.options.connect().await
    }

    fn pop(&self) -> Option<Idle<O::Connection>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn push(&self, connection: O::Connection) {
        let since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { connection, since });
    }

    /// Waits for the calls that run, closes all connections, and lends none any more.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let closing = async {
            let _all = self.free.acquire_many(self.most).await;
            while let Some(idle) = self.pop() {
                // It is closed either way; this only lets the other side know.
                let _ = idle.connection.close().await;
            }
        };
        let _ = timeout(self.timeout, closing).await;
    }
}

impl<O: ConnectOptions<Connection: Sized>> Lease<'_, O> {
    /// The connection, and when the call must have ended.
    pub(super) fn parts(&mut self) -> (&mut O::Connection, Instant) {
        (&mut self.connection, self.deadline)
    }

    /// Ends the call. Only when all went well is the connection used again.
    pub(super) fn end<T>(
        self,
        done: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T, StoreError> {
        let value = done
            .map_err(|_| too_late(self.home.timeout))?
            .map_err(store_error)?;
        self.home.push(self.connection);
        Ok(value)
    }
}

/// What a call that takes longer than `timeout` ends with.
pub(super) fn too_late(timeout: Duration) -> StoreError {
    StoreError::Unavailable(CallError::TooLate(timeout).into())
}

/// What the store says of what the database said.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let passing = passes(&error);
    let source: Box<dyn Error + Send + Sync> = error.into();
    if passing {
        StoreError::Unavailable(source)
    } else {
        StoreError::Failed(source)
    }
}

/// Whether the same call may well succeed later, with nobody doing anything about it here.
pub(super) fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(refusal) => {
            if let Some(refusal) = refusal.try_downcast_ref::<PgDatabaseError>() {
                return postgres_passes(refusal.code());
            }
            matches!(sqlite_code(error), Some(SQLITE_BUSY | SQLITE_LOCKED))
        }
        sqlx::Error::Migrate(failed) => match &**failed {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                passes(error)
            }
            _ => false,
        },
        _ => false,
    }
}

/// By the classes of PostgreSQL's error codes: the connection (08), conflicts with others (40),
/// too many connections (53300), locks (55P03), and a server that stops, starts or was told to
/// give up the statement (57).
fn postgres_passes(code: &str) -> bool {
    let classes = ["08", "40", "53300", "55P03", "57"];
    classes.iter().any(|class| code.starts_with(class))
}

/// A commit that failed. When SQLite could not make it durable, a crash decides whether it was.
pub(super) fn failed_commit(error: sqlx::Error) -> sqlx::Error {
    match sqlite_code(&error) {
        Some(SQLITE_IOERR) => sqlx::Error::Io(std::io::Error::other(error)),
        _ => error,
    }
}

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}
