//! What waits on disk for users who are away, and the state that a server leaves to the next: the
//! values, and what a store does with them. Knows no SQL.

use std::fmt::Debug;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use async_trait::async_trait;

use crate::push::PushId;
use crate::store::StoreError;
use crate::uid::Uid;

/// A push that waits until those it is for have it.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its number.
    pub id: PushId,
    /// Whom it waits for.
    pub to: Waiting,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
    /// What they get.
    pub content: Arc<str>,
}

/// Whom a parcel waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// All users, known or not, until it is trimmed or expires.
    Everyone,
    /// These users. Never holds one uid twice; when it is empty nothing is kept.
    Users(Box<[Uid]>),
}

/// A parcel as one of those it is for gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: PushId,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
    /// What it holds.
    pub content: String,
}

/// How much waits, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tally {
    /// How many parcels.
    pub messages: u64,
    /// How long their contents are together.
    pub bytes: u64,
}

/// Whose backlog: what is for everyone waits once, in a backlog of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The one for everyone.
    Everyone,
    /// A user's own.
    User(Uid),
}

/// A place that keeps parcels, and a state. Every method may be called from many tasks at once.
///
/// Several servers may share the tables without harming each other: two parcels of the same number
/// are both kept. But they share the backlog as well: numbers grow within one server only, so a user
/// who confirms what one has sent them may confirm what another has not; and there is one state.
#[async_trait]
pub trait BacklogStore: Send + Sync + Debug {
    /// Keeps `parcels`, all or none. What it has returned for survives the end of the process and
    /// of the machine. Numbers are distinct, and larger than those that this server has kept before.
    ///
    /// # Errors
    /// When nothing was kept, or, with [`StoreError::Unavailable`], when that cannot be told.
    async fn put(&self, parcels: &[Parcel]) -> Result<(), StoreError>;

    /// Up to `limit` parcels that wait for a user, the oldest first, after `after` and not accepted
    /// before `not_before` (milliseconds since 1970): their own, and among them those for everyone
    /// that are newer than all that they have confirmed.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn waiting(
        &self,
        uid: &Uid,
        after: PushId,
        not_before: u64,
        limit: u32,
    ) -> Result<Vec<Held>, StoreError>;

    /// Users have what was for them, each up to and including a number: it waits for them no more.
    /// Never goes back. Returns what of their own still waits, in the order of `confirmed`. No uid
    /// stands in it twice.
    ///
    /// # Errors
    /// When nothing was confirmed, or, with [`StoreError::Unavailable`], when that cannot be told.
    async fn confirm(&self, confirmed: &[(Uid, PushId)]) -> Result<Vec<Tally>, StoreError>;

    /// Removes the oldest of a holder's parcels until no more than `keep` is left, in number and in
    /// bytes; but the newest never goes for its bytes alone. Returns how many went, and what is left.
    ///
    /// # Errors
    /// When nothing was removed, or, with [`StoreError::Unavailable`], when that cannot be told.
    async fn trim(&self, holder: &Holder, keep: Tally) -> Result<(u64, Tally), StoreError>;

    /// Removes what was accepted before `not_before` (milliseconds since 1970), at most `limit`
    /// entries at a time: a parcel has one for each user it still waits for. Returns what went from
    /// whom; nothing: none is left. What remains of `limit` goes to what is remembered of users who
    /// have confirmed parcels for everyone that are no longer there.
    ///
    /// # Errors
    /// When nothing was removed, or, with [`StoreError::Unavailable`], when that cannot be told.
    async fn expire(&self, not_before: u64, limit: u32)
    -> Result<Vec<(Holder, Tally)>, StoreError>;

    /// What waits, for all who have any.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn tallies(&self) -> Result<Vec<(Holder, Tally)>, StoreError>;

    /// Saves the parts of a state in place of what was saved before, all or none, as durably as
    /// [`put`](Self::put). Without parts nothing is saved any more.
    ///
    /// # Errors
    /// When nothing was saved, or, with [`StoreError::Unavailable`], when that cannot be told.
    async fn save_state(&self, parts: &[Vec<u8>]) -> Result<(), StoreError>;

    /// Takes the state back, its parts in their order. What it has returned is no longer saved, also
    /// after a crash, so it is never taken twice.
    ///
    /// # Errors
    /// When the store does not answer; with [`StoreError::Unavailable`] the state may be lost.
    async fn take_state(&self) -> Result<Vec<Vec<u8>>, StoreError>;
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.messages = self.messages.saturating_add(more.messages);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// Never below zero.
impl SubAssign for Tally {
    fn sub_assign(&mut self, gone: Self) {
        self.messages = self.messages.saturating_sub(gone.messages);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
    }
}
