//! What both databases share of the backlog: statements that read the same in each, and how its
//! values stand in them. Knows no connection.

use std::collections::{BTreeMap, HashMap};

use crate::push::PushId;
use crate::store::sql;
use crate::store::{Held, Holder, Parcel, Tally, Waiting};
use crate::uid::Uid;

/// `backlog.holder` of what is for everyone.
pub(super) const EVERYONE: &[u8] = b"";

/// By uid, after, time, limit, [`EVERYONE`]. Contents are read only of what is found.
pub(super) const WAITING: &str = "
    SELECT found.id, found.at, p.content FROM (
        SELECT * FROM (
            SELECT b.id, b.parcel, p.at FROM backlog AS b CROSS JOIN parcels AS p
            WHERE p.parcel = b.parcel AND p.at >= $3 AND b.holder = $1 AND b.id > $2
            ORDER BY b.id, b.parcel LIMIT $4
        ) AS own
        UNION ALL
        SELECT * FROM (
            SELECT b.id, b.parcel, p.at FROM backlog AS b CROSS JOIN parcels AS p
            WHERE p.parcel = b.parcel AND p.at >= $3 AND b.holder = $5
                AND b.id > (SELECT coalesce(max(id), $2) FROM confirmed WHERE uid = $1 AND id > $2)
            ORDER BY b.id, b.parcel LIMIT $4
        ) AS everyones
    ) AS found JOIN parcels AS p ON p.parcel = found.parcel
    ORDER BY found.id, found.parcel LIMIT $4";

/// By holder.
pub(super) const TALLY: &str = "
    SELECT count(*), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM backlog WHERE holder = $1";

/// All of them.
pub(super) const TALLIES: &str = "
    SELECT holder, count(*), CAST(sum(bytes) AS BIGINT) FROM backlog GROUP BY holder";

/// By holder, after, limit: id and bytes.
pub(super) const OLDEST: &str = "
    SELECT id, bytes FROM backlog WHERE holder = $1 AND id > $2 ORDER BY id LIMIT $3";

/// By holder, id.
pub(super) const REMOVE: &str = "
    DELETE FROM backlog WHERE holder = $1 AND id <= $2 RETURNING parcel, bytes";

/// By time, limit.
pub(super) const EXPIRE: &str = "
    DELETE FROM backlog WHERE (holder, id, parcel) IN (
        SELECT b.holder, b.id, b.parcel FROM parcels AS p CROSS JOIN backlog AS b
        WHERE b.parcel = p.parcel AND p.at < $1 ORDER BY p.at LIMIT $2
    ) RETURNING holder, parcel, bytes";

/// By [`EVERYONE`], the last id there could be, limit. Whoever has confirmed only what is gone gets
/// the same as one who has confirmed nothing.
pub(super) const FORGET: &str = "
    DELETE FROM confirmed WHERE uid IN (
        SELECT uid FROM confirmed
        WHERE id < coalesce((SELECT min(id) FROM backlog WHERE holder = $1), $2)
        ORDER BY id LIMIT $3
    )";

pub(super) const UNSAVE: &str = "DELETE FROM state";

pub(super) const TAKE_STATE: &str = "DELETE FROM state RETURNING part, bytes";

/// A row that [`WAITING`] finds: id, time, content.
pub(super) type HeldRow = (i64, i64, Vec<u8>);

/// How much a holder has, of [`TALLIES`].
pub(super) type TallyRow = (Vec<u8>, i64, i64);

/// What [`EXPIRE`] has removed: holder, parcel, bytes.
pub(super) type ExpiredRow = (Vec<u8>, i64, i64);

/// How many of a holder's oldest are looked at together, to trim.
const PIECE: u64 = 16;
const MAX_PIECE: u64 = 4096;

/// A row of `backlog`, its parcel counted from 0 within the parcels.
pub(super) struct BacklogRow<'a> {
    pub(super) holder: &'a [u8],
    pub(super) id: i64,
    pub(super) parcel: usize,
    pub(super) bytes: i64,
}

/// The parcels that anybody waits for.
pub(super) fn awaited(parcels: &[Parcel]) -> Vec<&Parcel> {
    let is_awaited = |to: &Waiting| match to {
        Waiting::Everyone => true,
        Waiting::Users(users) => !users.is_empty(),
    };
    parcels.iter().filter(|p| is_awaited(&p.to)).collect()
}

/// The rows of `backlog` for `parcels`. In the order of the table, so that a page is touched once.
pub(super) fn rows<'a>(parcels: &[&'a Parcel]) -> Vec<BacklogRow<'a>> {
    let mut rows = Vec::new();
    for (number, parcel) in parcels.iter().enumerate() {
        let row = |holder| BacklogRow {
            holder,
            id: sql::number(parcel.id.0),
            parcel: number,
            bytes: sql::count(parcel.content.len()),
        };
        match &parcel.to {
            Waiting::Everyone => rows.push(row(EVERYONE)),
            Waiting::Users(users) => rows.extend(users.iter().map(|user| row(sql::uid(user)))),
        }
    }
    rows.sort_unstable_by_key(|row| (row.holder, row.id));
    rows
}

/// A holder as it is kept.
pub(super) fn holder(holder: &Holder) -> &[u8] {
    match holder {
        Holder::Everyone => EVERYONE,
        Holder::User(user) => sql::uid(user),
    }
}

/// A holder as it was kept.
fn kept_holder(kept: &[u8]) -> Result<Holder, sqlx::Error> {
    if kept == EVERYONE {
        return Ok(Holder::Everyone);
    }
    let uid = Uid::parse_bytes(kept).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Holder::User(uid))
}

/// What rows of [`WAITING`] hold.
pub(super) fn held(rows: Vec<HeldRow>) -> Result<Vec<Held>, sqlx::Error> {
    let held = rows.into_iter().map(|(id, at, content)| {
        let content = String::from_utf8(content);
        Ok(Held {
            id: PushId(unsigned(id)),
            at: unsigned(at),
            content: content.map_err(|error| sqlx::Error::Decode(error.into()))?,
        })
    });
    held.collect()
}

/// A tally as it was counted.
pub(super) fn tally((messages, bytes): (i64, i64)) -> Tally {
    Tally {
        messages: unsigned(messages),
        bytes: unsigned(bytes),
    }
}

/// How much parcels of these bytes are.
pub(super) fn sum(bytes: impl Iterator<Item = i64>) -> Tally {
    bytes.fold(Tally::default(), |mut sum, bytes| {
        sum += tally((1, bytes));
        sum
    })
}

/// What rows of [`TALLIES`] hold.
pub(super) fn tallies(rows: Vec<TallyRow>) -> Result<Vec<(Holder, Tally)>, sqlx::Error> {
    let tallies = rows
        .into_iter()
        .map(|(holder, messages, bytes)| Ok((kept_holder(&holder)?, tally((messages, bytes)))));
    tallies.collect()
}

/// What each user has, by the rows of those who have any.
pub(super) fn tallies_of(confirmed: &[(Uid, PushId)], rows: Vec<TallyRow>) -> Vec<Tally> {
    let counted = rows
        .into_iter()
        .map(|(holder, messages, bytes)| (holder, tally((messages, bytes))));
    let counted: HashMap<_, _> = counted.collect();
    let of = |uid| counted.get(sql::uid(uid)).copied().unwrap_or_default();
    confirmed.iter().map(|(uid, _)| of(uid)).collect()
}

/// What went from whom.
pub(super) fn expired(rows: &[ExpiredRow]) -> Result<Vec<(Holder, Tally)>, sqlx::Error> {
    let mut went = BTreeMap::<&[u8], Tally>::new();
    for (holder, _, bytes) in rows {
        *went.entry(holder).or_default() += tally((1, *bytes));
    }
    let went = went
        .into_iter()
        .map(|(holder, tally)| Ok((kept_holder(holder)?, tally)));
    went.collect()
}

/// Parcels that rows have left, none twice.
pub(super) fn parcels(rows: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut parcels: Vec<_> = rows.collect();
    parcels.sort_unstable();
    parcels.dedup();
    parcels
}

/// The parts of a state, in their order.
pub(super) fn parts(mut rows: Vec<(i64, Vec<u8>)>) -> Vec<Vec<u8>> {
    rows.sort_unstable_by_key(|(part, _)| *part);
    rows.into_iter().map(|(_, bytes)| bytes).collect()
}

/// How far a backlog is trimmed, found out from its oldest on.
pub(super) struct Trim {
    keep: Tally,
    left: Tally,
    /// The last that goes; -1 is before all.
    pub(super) last: i64,
}

impl Trim {
    /// `left` is what waits, `keep` what may.
    pub(super) fn new(left: Tally, keep: Tally) -> Self {
        Self {
            keep,
            left,
            last: -1,
        }
    }

    /// How many of those after the last have to be looked at; 0: no more.
    pub(super) fn piece(&self) -> i64 {
        let too_many = self.left.messages.saturating_sub(self.keep.messages);
        let too_long = self.left.bytes > self.keep.bytes && self.left.messages > 1;
        if too_many == 0 && !too_long {
            return 0;
        }
        sql::number(too_many.clamp(PIECE, MAX_PIECE))
    }

    /// Looks at the next, which are id and bytes each; none: there are no more.
    pub(super) fn look_at(&mut self, oldest: &[(i64, i64)]) {
        if oldest.is_empty() {
            self.left = Tally::default();
        }
        for (id, bytes) in oldest {
            if self.piece() == 0 {
                return;
            }
            self.left -= tally((1, *bytes));
            self.last = *id;
        }
    }
}

fn unsigned(kept: i64) -> u64 {
    u64::try_from(kept).unwrap_or_default()
}
