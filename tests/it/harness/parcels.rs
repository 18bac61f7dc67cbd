//! The backlog of a store, short to write.

use campanile::push::PushId;
use campanile::store::{Holder, MessageStore, Parcel, Tally, Waiting};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::harness::records::uid;

/// One that was accepted at the millisecond of its number.
pub(crate) fn parcel(id: u64, to: Waiting, content: &str) -> Parcel {
    Parcel {
        id: PushId(id),
        to,
        at: id,
        content: content.into(),
    }
}

pub(crate) fn users<'a>(names: impl IntoIterator<Item = &'a str>) -> Waiting {
    Waiting::Users(names.into_iter().map(uid).collect())
}

pub(crate) fn holder(name: &str) -> Holder {
    Holder::User(uid(name))
}

pub(crate) fn tally(messages: u64, bytes: u64) -> Tally {
    Tally { messages, bytes }
}

pub(crate) async fn put(store: &dyn MessageStore, parcels: &[Parcel]) {
    store.put(parcels).await.expect("they are kept");
}

/// All that waits for a user.
pub(crate) async fn waits(store: &dyn MessageStore, name: &str) -> Vec<String> {
    piece(store, name, 0, 100_000)
        .await
        .into_iter()
        .map(|(_, content)| content)
        .collect()
}

/// Some of what waits for a user, by number.
pub(crate) async fn piece(
    store: &dyn MessageStore,
    name: &str,
    after: u64,
    limit: u32,
) -> Vec<(u64, String)> {
    let found = store.waiting(&uid(name), PushId(after), 0, limit).await;
    let found = found.expect("it answers").into_iter();
    found.map(|held| (held.id.0, held.content)).collect()
}

/// What still waits for each.
pub(crate) async fn confirm(store: &dyn MessageStore, confirmed: &[(&str, u64)]) -> Vec<Tally> {
    let confirmed = confirmed.iter().map(|(name, id)| (uid(name), PushId(*id)));
    let left = store.confirm(&confirmed.collect::<Vec<_>>()).await;
    left.expect("it answers")
}

pub(crate) async fn trim(store: &dyn MessageStore, holder: &Holder, keep: Tally) -> (u64, Tally) {
    store.trim(holder, keep).await.expect("it answers")
}

pub(crate) async fn expire(
    store: &dyn MessageStore,
    not_before: u64,
    limit: u32,
) -> Vec<(Holder, Tally)> {
    let went = store.expire(not_before, limit).await;
    sorted(went.expect("it answers"))
}

pub(crate) async fn tallies(store: &dyn MessageStore) -> Vec<(Holder, Tally)> {
    sorted(store.tallies().await.expect("it answers"))
}

fn sorted(mut tallies: Vec<(Holder, Tally)>) -> Vec<(Holder, Tally)> {
    tallies.sort_by(|(one, _), (other, _)| one.cmp(other));
    tallies
}

/// Counts what might be left behind, which no call shows.
pub(crate) async fn count(url: &str, table: &str) -> i64 {
    let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let counted = if url.starts_with("sqlite") {
        let mut file = SqliteConnection::connect(url).await.expect("it is there");
        sqlx::query_scalar(query).fetch_one(&mut file).await
    } else {
        let mut server = PgConnection::connect(url).await.expect("it is there");
        sqlx::query_scalar(query).fetch_one(&mut server).await
    };
    counted.expect("it can be counted")
}
