//! What both databases share: statements that read the same in each, and how values stand in
//! them. Knows no connection.

use std::time::Duration;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::group::Group;
use crate::record::{Addressee, Draft, Record, RecordId};
use crate::store::Retention;
use crate::uid::Uid;

/// `addressees.kind` of a user.
const USER: i16 = 0;
/// `addressees.kind` of a group.
pub(super) const GROUP: i16 = 1;

pub(super) const NEWEST: &str = "SELECT last FROM counters";

/// By uid.
pub(super) const CURSOR: &str = "SELECT record FROM cursors WHERE uid = $1";

/// By limit: id, time, and how many it is for.
pub(super) const OLDEST: &str = "
    SELECT id, at, (SELECT count(*) FROM addressees WHERE record = id)
    FROM records ORDER BY id LIMIT $1";

/// How many rows of `addressees` are removed at a time: it has to be done well within the store's
/// timeout, and messages wait for it.
const MAX_REMOVED: i64 = 16_384;

/// A row of [`OLDEST`].
pub(super) type OldRow = (i64, i64, i64);

/// A row of `records`: id, at, sender, body.
pub(super) type RecordRow = (i64, i64, Option<Vec<u8>>, Vec<u8>);

/// A row of `addressees`, its record counted from 0 within the drafts.
pub(super) struct AddresseeRow<'a> {
    pub(super) draft: i64,
    pub(super) kind: i16,
    pub(super) name: &'a [u8],
    pub(super) sender: Option<&'a [u8]>,
}

/// The rows of `addressees` for `drafts`.
pub(super) fn addressee_rows(drafts: &[Draft]) -> Vec<AddresseeRow<'_>> {
    let numbered = (0..).zip(drafts);
    let rows = numbered.flat_map(|(number, draft)| {
        draft.addressees.iter().map(move |addressee| {
            let (kind, name) = key(addressee);
            AddresseeRow {
                draft: number,
                kind,
                name,
                sender: sender(draft),
            }
        })
    });
    rows.collect()
}

/// Who sent a draft, as it is kept.
pub(super) fn sender(draft: &Draft) -> Option<&[u8]> {
    draft.sender.as_ref().map(uid)
}

/// A uid as it is kept.
pub(super) fn uid(uid: &Uid) -> &[u8] {
    uid.as_str().as_bytes()
}

/// A group as it is kept.
pub(super) fn group(group: &Group) -> &[u8] {
    group.as_str().as_bytes()
}

/// An addressee as it is kept: kind and name.
pub(super) fn key(addressee: &Addressee) -> (i16, &[u8]) {
    match addressee {
        Addressee::User(user) => (USER, uid(user)),
        Addressee::Group(name) => (GROUP, group(name)),
    }
}

/// A number as it is kept. What the databases cannot hold is beyond all that they do.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count as it is bound.
pub(super) fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A number as it was kept.
pub(super) fn id(kept: i64) -> RecordId {
    RecordId(u64::try_from(kept).unwrap_or_default())
}

/// Before which number a history ends.
pub(super) fn before(before: Option<RecordId>) -> i64 {
    before.map_or(i64::MAX, |id| number(id.0))
}

/// The records that rows hold.
pub(super) fn records(rows: Vec<RecordRow>) -> Result<Vec<Record>, sqlx::Error> {
    rows.into_iter().map(record).collect()
}

fn record((kept, at, sender, body): RecordRow) -> Result<Record, sqlx::Error> {
    let damaged = |error| sqlx::Error::Decode(error);
    let sender = sender.map(|sender| Uid::parse_bytes(&sender)).transpose();
    Ok(Record {
        id: id(kept),
        at: u64::try_from(at).unwrap_or_default(),
        sender: sender.map_err(|error| damaged(error.into()))?,
        body: String::from_utf8(body).map_err(|error| damaged(error.into()))?,
    })
}

/// The records that are to go.
pub(super) struct Expired {
    pub(super) count: u32,
    pub(super) last: i64,
}

/// Which of the oldest records `retention` does not keep, as far as they go at a time. The first that
/// it keeps ends them. Numbers have no gaps, so they say how many records there are.
pub(super) fn expired(
    oldest: &[OldRow],
    newest: RecordId,
    retention: Retention,
    now: u64,
) -> Option<Expired> {
    let too_many = retention
        .max_records
        .map_or(0, |most| newest.0.saturating_sub(most));
    let too_old = retention.max_age.map_or(0, |age| since(now, age));
    let expired = oldest
        .iter()
        .take_while(|(id, at, _)| *id <= number(too_many) || *at < too_old);
    let (mut count, mut last, mut rows) = (0, None, 0);
    for (id, _, more) in expired {
        rows += more;
        // One at least, or there would be no end.
        if rows > MAX_REMOVED && count > 0 {
            break;
        }
        (count, last) = (count + 1, Some(*id));
    }
    last.map(|last| Expired { count, last })
}

fn since(now: u64, age: Duration) -> i64 {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    number(now.saturating_sub(age))
}

/// The tables as they grew, from the texts of `migrations/`.
pub(super) fn migrator(texts: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = (1..).zip(texts);
    let migrations = numbered.map(|(version, (name, text))| {
        let text = SqlStr::from_static(text);
        Migration::new(version, (*name).into(), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.collect())
}
