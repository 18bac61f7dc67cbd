//! The store: where messages are kept that must outlive the moment. Owns the SQL; knows neither
//! hub nor wires.

mod backlog;
mod backlog_sql;
mod claim;
mod connections;
mod postgres;
mod sql;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::record::{Addressee, Conversation, Draft, Record, RecordId};
use crate::uid::Uid;

pub use self::backlog::{BacklogStore, Held, Holder, Parcel, Tally, Waiting};
pub use self::claim::Claim;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time. Try again later.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused: no space, no permission, damaged, or a fault of ours.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a text does not name a store. Never repeats the text, which may hold a password.
#[derive(Debug, thiserror::Error)]
enum InvalidUrl {
    #[error("a store is sqlite:<path> or postgres://<user>:<password>@<host>/<database>")]
    Unknown,
    #[error("sqlite: must be followed by the path of a file")]
    NoFile,
    #[error("not a PostgreSQL url")]
    Postgres(#[source] sqlx::Error),
}

/// How a store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The longest that a call may take; one that takes longer is [`StoreError::Unavailable`].
    pub timeout: Duration,
}

/// How long records are kept. Both bounds hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Older ones go; `None` keeps them whatever their age.
    pub max_age: Option<Duration>,
    /// Beyond this many the oldest go; `None` keeps any number.
    pub max_records: Option<u64>,
}

/// A place that keeps records, and the backlog. Every method may be called from many tasks at once.
#[async_trait]
pub trait MessageStore: BacklogStore {
    /// Keeps `drafts`, all or none, and returns the number of the first; those of the others
    /// follow without a gap. What it has returned for survives the end of the process and of the
    /// machine. Numbers grow in the order in which calls return, whoever else writes to the same
    /// store. An empty slice writes nothing and returns the number that the next would get.
    ///
    /// # Errors
    /// When nothing was kept, or, with [`StoreError::Unavailable`], when that cannot be told.
    async fn append(&self, drafts: &[Draft]) -> Result<RecordId, StoreError>;

    /// Up to `limit` records of a conversation, the newest first; only those before `before`.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn history(
        &self,
        of: &Conversation,
        before: Option<RecordId>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError>;

    /// Up to `limit` records for an addressee, the oldest first, after `since` and up to and
    /// including `until`.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn after(
        &self,
        addressee: &Addressee,
        since: RecordId,
        until: RecordId,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError>;

    /// The number of the newest record ever kept, whether or not it has been pruned since.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn newest(&self) -> Result<RecordId, StoreError>;

    /// Up to which record a user has been handed what was for them; `None` for an unknown user.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn cursor(&self, uid: &Uid) -> Result<Option<RecordId>, StoreError>;

    /// Moves cursors forward, never back. No uid stands in `cursors` twice.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn move_cursors(&self, cursors: &[(Uid, RecordId)]) -> Result<(), StoreError>;

    /// Removes at most `limit` of the oldest records that `retention` does not keep, as of `now`
    /// (milliseconds since 1970), and says how many it removed; 0: none is left.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn prune(&self, retention: Retention, now: u64, limit: u32) -> Result<u32, StoreError>;

    /// Ends what is open. Calls after it fail.
    async fn close(&self);
}

/// Opens the store that `url` names, and creates or updates its tables: `sqlite:<path>`, a file
/// that is created when it is missing, or `postgres://…` (`postgresql://…`), a database that is
/// there. Numbers stay sound if several servers share it; but each delivers, and lets its pages catch
/// up with, only what it has kept itself.
///
/// A PostgreSQL server that goes away later is noticed by the calls that need it, and used again
/// once it is back. What it has answered for is as durable as its `synchronous_commit` makes it.
///
/// # Errors
/// When `url` names no store, or the store cannot be opened.
pub async fn open(url: &str, options: Options) -> Result<Arc<dyn MessageStore>, StoreError> {
    let invalid = |error: InvalidUrl| StoreError::Failed(error.into());
    match url.split_once(':') {
        Some(("sqlite", path)) => {
            let path = file_at(path);
            if path.is_empty() || path == ":memory:" {
                return Err(invalid(InvalidUrl::NoFile));
            }
            let store = sqlite::SqliteStore::open(path.as_ref(), options).await?;
            Ok(Arc::new(store))
        }
        Some(("postgres" | "postgresql", _)) => {
            let server = url
                .parse()
                .map_err(|error| invalid(InvalidUrl::Postgres(error)))?;
            let store = postgres::PostgresStore::open(server, options).await?;
            Ok(Arc::new(store))
        }
        _ => Err(invalid(InvalidUrl::Unknown)),
    }
}

/// Claims the store that `url` names for this server alone, once it has been opened. Only of a file can
/// that be told.
///
/// # Errors
/// When another server has.
pub fn claim(url: &str) -> Result<Option<Claim>, StoreError> {
    match url.split_once(':') {
        Some(("sqlite", path)) => claim::file(file_at(path).as_ref()),
        _ => Ok(None),
    }
}

/// The path that follows `sqlite:`.
fn file_at(path: &str) -> &str {
    path.strip_prefix("//").unwrap_or(path)
}
